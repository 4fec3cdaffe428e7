/* Conditions and prompts of ablations: what --modes, --scales, --variants and --prompts mean, what equals what, what is shared. */
#include "glide/ablation/condition_grid.h"
#include "glide/ablation/study_prompts.h"
#include "tests/support_dataset.h"
#include "tests/support_folder.h"
#include "tests/support_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LAST = 999 };

static void walk(const char *sampler, const char *steps, ConditionWalk *out)
{
    Diffusion d;
    OK(diffusion_init(&d, "squaredcos_cap_v2", LAST + 1, steps));
    OK(condition_walk_init(out, &d, sampler_find(sampler)));
    diffusion_release(&d);
}

static void make(const char *modes, const char *scales, const char *variants, bool controls, const char *sampler, ConditionGrid *g)
{
    ConditionWalk w;
    walk(sampler, "10", &w);
    OK(condition_grid_init(g, &(ConditionTexts){modes, scales, variants, controls}, LAST));
    condition_grid_equate(g, &w);
    condition_walk_release(&w);
}

static int find(const ConditionGrid *g, const char *label)
{
    for (int i = 0; i < g->count; i++)
        if (!strcmp(g->items[i].shown.label, label)) return i;
    fail_msg("there is no condition \"%s\"", label);
    return -1;
}

static void check_equals(const ConditionGrid *g, const char *label, const char *other)
{
    int found = g->items[find(g, label)].shown.equals;
    if (found != (other ? find(g, other) : -1)) fail_msg("%s equals %d, expected %s", label, found, other ? other : "nothing");
}

static void test_equalities(void **state)
{
    (void)state;
    ConditionGrid g;
    make("none,cfg,classifier,autoguidance,cfg+clip", "0,1,3;cfg+clip=1+0,1+50,3+0,3+50",
         "plain;rescale=0.7;interval=200:800;threshold=dynamic;apg", false, "ddim", &g);
    check_equals(&g, "none", NULL);
    check_equals(&g, "cfg 0", NULL);
    check_equals(&g, "cfg 1", "none");
    check_equals(&g, "cfg 3", NULL);
    check_equals(&g, "classifier 0", "none");
    check_equals(&g, "classifier 1", NULL);
    check_equals(&g, "autoguidance 0", "none");
    check_equals(&g, "cfg+clip 1+0", "none");
    check_equals(&g, "cfg+clip 3+0", "cfg 3");
    check_equals(&g, "cfg+clip 3+50", NULL);
    check_equals(&g, "cfg 0 rescale 0.7", "cfg 0"); /* the unconditional answer is where guidance starts from */
    check_equals(&g, "cfg 1 rescale 0.7", "none");
    check_equals(&g, "cfg 3 rescale 0.7", NULL);
    check_equals(&g, "cfg 1 apg", "none");
    check_equals(&g, "cfg 0 interval 200:800", NULL);
    check_equals(&g, "classifier 0 interval 200:800", "none");
    check_equals(&g, "cfg 1 threshold dynamic", NULL); /* acts on unguided pictures, too */
    check_equals(&g, "classifier 0 threshold dynamic", "cfg 1 threshold dynamic");
    for (int i = 0; i < g.count; i++) { /* no difference, nothing to rescale or project */
        const AblationCondition *c = &g.items[i].shown;
        bool needs_difference = strstr(c->variant, "rescale") || strstr(c->variant, "apg");
        if (!strcmp(c->mode, "classifier") && needs_difference) fail_msg("%s", c->label);
        assert_int_equal(c->control, ABLATION_PLAIN);
        assert_true(c->low >= 0 && c->high <= LAST);
    }
    assert_true(g.uses[GUIDANCE_CFG] && g.uses[GUIDANCE_CLIP] && g.uses[GUIDANCE_CLASSIFIER] && !g.untrained);
    condition_grid_release(&g);
}

static void test_controls(void **state)
{
    (void)state;
    ConditionGrid g;
    make("cfg,clip", "0,2,4;clip=0,50", "plain;interval=0:500", true, "euler_ancestral", &g);
    int none = find(&g, "none"); /* not asked for: what the controls are compared with */
    const AblationCondition *c = &g.items[find(&g, "control: cfg 1")].shown;
    assert_true(c->control == ABLATION_SCALE_0 && c->must_equal == none && c->equals == -1);
    c = &g.items[find(&g, "control: clip 0")].shown;
    assert_true(c->control == ABLATION_SCALE_0 && c->must_equal == none && c->equals == -1);
    const Condition *without = &g.items[find(&g, "control: no prompt")];
    assert_true(without->shown.must_equal == find(&g, "cfg 0") && without->prompt == CONDITION_NO_PROMPT);
    const Condition *shuffled = &g.items[find(&g, "control: shuffled cfg 4")];
    assert_true(shuffled->prompt == CONDITION_OTHER_PROMPT && shuffled->guidance.terms[GUIDANCE_CFG].scale == 4);
    assert_int_equal(shuffled->shown.control, ABLATION_SHUFFLED_PROMPTS);
    const Condition *untrained = &g.items[find(&g, "control: untrained classifier 1")];
    assert_true(untrained->untrained && g.untrained && !g.uses[GUIDANCE_CLASSIFIER]);
    check_equals(&g, "clip 0", "none");
    int before = g.count;
    condition_grid_drop_shuffled(&g);
    assert_int_equal(g.count, before - 1);
    condition_grid_release(&g);
    make("classifier", "1,7,3", "plain", true, "ddpm", &g);
    find(&g, "control: untrained classifier 7");
    find(&g, "control: shuffled classifier 7");
    condition_grid_release(&g);
}

static void test_scales(void **state)
{
    (void)state;
    ConditionGrid g;
    make("cfg, classifier+clip", "1, 2 ;classifier+clip=3+100,5; cfgpp=0.4", "plain;cfgpp;cfgpp+interval=100:700", false, "ddim",
         &g);
    static const char *const labels[] = {"cfg 1", "cfg 2", "classifier+clip 3+100", "classifier+clip 5", "cfg 0.4 cfgpp",
                                         "cfg 0.4 cfgpp, interval 100:700"};
    assert_int_equal(g.count, 6);
    for (int i = 0; i < 6; i++) assert_int_equal(find(&g, labels[i]), i);
    const Guidance *both = &g.items[2].guidance, *same = &g.items[3].guidance, *inside = &g.items[5].guidance;
    assert_true(both->terms[GUIDANCE_CLASSIFIER].scale == 3 && both->terms[GUIDANCE_CLIP].scale == 100);
    assert_true(same->terms[GUIDANCE_CLASSIFIER].scale == 5 && same->terms[GUIDANCE_CLIP].scale == 5);
    assert_true(inside->cfgpp && inside->terms[GUIDANCE_CFG].low == 100 && inside->terms[GUIDANCE_CFG].high == 700);
    condition_grid_release(&g);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[][4] = {
        {"none,cgf", "1", "plain", "--modes: expected some of none, cfg, autoguidance, classifier, clip"},
        {"cfg,", "1", "plain", "--modes: expected some of"},
        {"cfg+cfg", "1", "plain", "--modes: cfg is twice"},
        {"cfg", "1,x", "plain", "--scales: expected numbers from 0 on"},
        {"cfg", "-1", "plain", "--scales: expected numbers from 0 on"},
        {"cfg", "", "plain", "--scales: "},
        {"cfg", "1,1", "plain", "\"cfg 1\" is asked for twice"},
        {"cfg", "1;clip=3", "plain", "--scales: \"clip\" is none of --modes"},
        {"cfg", "clip=3", "plain", "--scales: \"clip\" is none of --modes"},
        {"cfg,clip", "clip=3", "plain", "--scales: none are given for cfg"},
        {"cfg+clip", "1+2+3", "plain", "has more parts"},
        {"cfg+clip+classifier", "1+2", "plain", "has fewer parts"},
        {"cfg", "2,4", "cfgpp", "--scales: expected some from 0 to 1 for cfg with cfgpp"},
        {"cfg", "1", "rescal=1", "--variants: expected plain, rescale=PHI"},
        {"cfg", "1", "rescale", "--variants: expected plain, rescale=PHI"},
        {"cfg", "1", "rescale=2", "--variants: guidance rescale: expected 0 to 1"},
        {"cfg", "1", "apg=1:2:3:4", "--variants: expected apg or apg=ETA"},
        {"cfg", "1", "interval=5", "--variants: interval: expected"},
        {"cfg", "1", "interval=800:200", "--variants: "},
        {"cfg", "1", "schedule=0:1,9:2", "--variants: expected schedule=linear"},
        {"cfg", "1", "", "--variants: expected at least one"},
    };
    ConditionGrid g;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        FAILS(condition_grid_init(&g, &(ConditionTexts){cases[i][0], cases[i][1], cases[i][2], true}, LAST), STATUS_BAD_INPUT,
              cases[i][3]);
}

/* What a walk counts is what the sampler does. */
static void test_walk(void **state)
{
    (void)state;
    for (int k = 0; sampler_kind(k); k++) {
        const SamplerKind *kind = sampler_kind(k);
        ConditionWalk w;
        if (kind->ascending) continue;
        walk(kind->name, "20", &w);
        assert_int_equal(w.steps, 20);
        int expected = sampler_evaluations(kind, 20);
        bool fewer = kind->evaluations == 2 && w.count < expected; /* heun from levels of little but noise */
        if (w.count != expected && !fewer) fail_msg("%s: %d, not %d", kind->name, w.count, expected);
        assert_true(w.timestep[0] == 999 && w.timestep[19] == 0);
        Guidance g;
        guidance_defaults(&g);
        assert_true(condition_cost(&w, &g, 0).answers == w.count);
        g.terms[GUIDANCE_CFG].scale = 3;
        g.terms[GUIDANCE_AUTOGUIDANCE].scale = g.terms[GUIDANCE_CLIP].scale = 1;
        ConditionCost cost = condition_cost(&w, &g, 0);
        assert_true(cost.answers == 2 * w.count && cost.weaker == w.count && cost.gradients[GUIDANCE_CLIP] == w.count);
        assert_true(cost.gradients[GUIDANCE_CLASSIFIER] == 0 && condition_cost(&w, &g, 20).answers == 0);
        condition_walk_release(&w);
    }
}

static void test_shared(void **state)
{
    (void)state;
    ConditionWalk w;
    Guidance none, all, inside, late;
    walk("ddim", "10", &w); /* 999, 888, 777, ... */
    guidance_defaults(&none);
    all = none;
    all.terms[GUIDANCE_CFG].scale = 3;
    inside = late = all;
    inside.terms[GUIDANCE_CFG].low = 200;
    inside.terms[GUIDANCE_CFG].high = 800;
    late.terms[GUIDANCE_CFG].low = 300;
    assert_int_equal(condition_shared(&w, &none, &all), 0);
    assert_int_equal(condition_shared(&w, &none, &inside), 2);
    assert_int_equal(condition_shared(&w, &all, &late), 7); /* down to 333 */
    assert_int_equal(condition_shared(&w, &all, &all), 10);
    condition_walk_release(&w);
    walk("heun", "10", &w); /* a step's second evaluation is at the next level */
    assert_int_equal(condition_shared(&w, &none, &inside), 1);
    condition_walk_release(&w);
    Condition c = {.guidance = all};
    assert_true(condition_forks(&c));
    c.guidance.apg = (GuidanceApg){true, 0, 0, -0.5};
    assert_false(condition_forks(&c));
}

/* --- prompts ------------------------------------------------------------------------------------------------- */

static void test_prompt_files(void **state)
{
    (void)state;
    StudyPrompts p;
    const char *path = in_test_folder("prompts.txt");
    static const char text[] = "# a comment\nred apple\t3\n\n  blue car  \r\n고양이\tanimal-mammal\nred apple";
    write_bytes(path, text, sizeof text - 1);
    OK(study_prompts_read(&p, path));
    assert_int_equal(p.count, 4);
    assert_string_equal(p.text[0], "red apple");
    assert_string_equal(p.of_class[0], "3");
    assert_string_equal(p.text[1], "blue car");
    assert_null(p.of_class[1]);
    assert_string_equal(p.text[2], "고양이");
    assert_string_equal(p.of_class[2], "animal-mammal");
    for (int i = 0; i < 4; i++) assert_string_not_equal(p.text[p.other[i]], p.text[i]);
    study_prompts_release(&p);
    write_bytes(path, "one\none\n", 8);
    OK(study_prompts_read(&p, path));
    assert_null(p.other);
    study_prompts_release(&p);
    write_bytes(path, "\xef\xbb\xbfone\r\ntwo\r\n", 13);
    OK(study_prompts_read(&p, path));
    assert_int_equal(p.count, 2);
    assert_string_equal(p.text[0], "one");
    study_prompts_release(&p);
    write_bytes(path, "one\ntw\0o\n", 9);
    FAILS(study_prompts_read(&p, path), STATUS_BAD_INPUT, "expected text, found a NUL byte in line 2");
    write_bytes(path, "#\n", 2);
    FAILS(study_prompts_read(&p, path), STATUS_BAD_INPUT, "found none");
    write_bytes(path, "good\n\xff\xfe\n", 8);
    FAILS(study_prompts_read(&p, path), STATUS_BAD_INPUT, "line 2: expected UTF-8");
    write_bytes(path, "a\n\t3\n", 5);
    FAILS(study_prompts_read(&p, path), STATUS_BAD_INPUT, "line 2"); /* a class without a prompt */
    FAILS(study_prompts_read(&p, in_test_folder("none.txt")), STATUS_IO, "none.txt");
    unlink(path);
    int count;
    assert_true(study_prompts_counted("12", &count) && count == 12);
    assert_true(study_prompts_counted("0", &count) && count == 0);
    assert_false(study_prompts_counted("12.txt", &count));
}

static void test_captions(void **state)
{
    (void)state;
    const char *path = in_test_folder("data.h5");
    Dataset *d;
    StudyPrompts p, q;
    OK(tiny_dataset_write(path, NULL));
    OK(dataset_open(path, &d));
    int held = dataset_split_count(d, SPLIT_TEST_PAIR);
    assert_true(held > 0);
    OK(study_prompts_pick(&p, d, held, 1));
    OK(study_prompts_pick(&q, d, held, 1));
    for (int i = 0; i < held; i++) {
        assert_int_equal(dataset_item(d, p.picture[i])->split, SPLIT_TEST_PAIR);
        assert_int_equal(p.picture[i], q.picture[i]);
        assert_non_null(strstr(p.text[i], " emoji"));
        for (int k = 0; k < i; k++) assert_int_not_equal(p.picture[i], p.picture[k]);
    }
    study_prompts_release(&p);
    study_prompts_release(&q);
    FAILS(study_prompts_pick(&p, d, held + 1, 1), STATUS_BAD_INPUT, "--prompts: the data set has");
    dataset_free(d);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equalities), cmocka_unit_test(test_controls),     cmocka_unit_test(test_scales),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_walk),         cmocka_unit_test(test_shared),
        cmocka_unit_test(test_prompt_files), cmocka_unit_test(test_captions),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
