/* Ablations run with tiny models: bits of the controls, what a kill leaves behind, folders that are equal byte for byte, plans. */
#include "glide/ablation/cell_shard.h"
#include "glide/ablation/study.h"
#include "glide/ablation/study_journal.h"
#include "glide/ablation/study_plan.h"
#include "glide/ablation/study_sheet.h"
#include "tests/support_folder.h"
#include "tests/support_guide_models.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prompts[] = "red apple\t1\nblue car\t2\napple\t0\n";

static int setup(void **state)
{
    if (tiny_weights_setup(state)) return -1;
    write_small_guides(test_folder);
    write_bytes(in_test_folder("prompts.txt"), prompts, sizeof prompts - 1);
    return 0;
}

static Glide *open_glide(int threads)
{
    Glide *g;
    GlideOptions o = glide_defaults();
    o.precision = GLIDE_PRECISION_F32;
    o.threads = threads;
    OK((Status)glide_open(&o, &g));
    return g;
}

/* Every mode, intervals that share beginnings, and what cannot be shared. */
static StudyAsk usual_ask(void)
{
    static char paths[4][256];
    static const char *const names[] = {"prompts.txt", "classifier.h5", "clip.h5", "weaker.h5"};
    for (int i = 0; i < 4; i++) snprintf(paths[i], sizeof paths[i], "%s/%s", test_folder, names[i]);
    StudyAsk ask = study_ask_defaults();
    ask.conditions = (ConditionTexts){"none,cfg,classifier,clip,autoguidance", "0,1,3", "plain;interval=200:800;apg=0:5:-0.5",
                                      true};
    ask.prompts = paths[0];
    ask.classifier = paths[1];
    ask.clip = paths[2];
    ask.guide_weights = paths[3];
    ask.seeds = 2;
    ask.seed = 7;
    ask.sampler = "dpmpp_2m";
    ask.steps = "5";
    ask.rows = 4;
    return ask;
}

static void run_study(const StudyAsk *ask, int threads, const char *folder)
{
    Glide *g = open_glide(threads);
    Study *s;
    OK(study_new(g, ask, &s));
    OK(study_run(s, folder, NULL));
    study_free(s);
    glide_close(g);
}

static const char *unbroken(void) /* made once */
{
    static bool made;
    const char *folder = in_test_folder("unbroken");
    StudyAsk ask = usual_ask();
    if (!made) run_study(&ask, 1, folder);
    made = true;
    return folder;
}

/* --- folders --------------------------------------------------------------------------------------------------- */

static void same_file(const char *a, const char *b, const char *name)
{
    char path[2][600];
    size_t size[2];
    uint8_t *bytes[2];
    snprintf(path[0], sizeof path[0], "%s/%s", a, name);
    snprintf(path[1], sizeof path[1], "%s/%s", b, name);
    for (int i = 0; i < 2; i++) bytes[i] = read_bytes(path[i], &size[i]);
    if (size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]) != 0) fail_msg("%s and %s differ", path[0], path[1]);
    free(bytes[0]);
    free(bytes[1]);
}

static int count_files(const char *folder, const char *below, const char *other)
{
    char path[600], name[600];
    int count = 0;
    snprintf(path, sizeof path, "%s/%s", folder, below);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.' && strlen(e->d_name) < 3) continue;
        snprintf(name, sizeof name, "%s/%.200s", below, e->d_name);
        if (other) same_file(folder, other, name);
        count++;
    }
    closedir(dir);
    return count;
}

/* All but timings. */
static void same_folders(const char *a, const char *b, bool same_facts)
{
    same_file(a, b, "journal");
    if (same_facts) same_file(a, b, "study.json");
    assert_int_equal(count_files(a, "cells", b), count_files(b, "cells", NULL));
}

/* --- bits ------------------------------------------------------------------------------------------------------ */

static int find(const AblationResults *r, const char *label)
{
    for (int c = 0; c < r->conditions; c++)
        if (!strcmp(r->condition[c].label, label)) return c;
    fail_msg("there is no condition \"%s\"", label);
    return -1;
}

static const uint8_t *pictures(const AblationResults *r, int condition)
{
    return r->pictures + (size_t)condition * (size_t)(r->prompts * r->seeds) * (size_t)(r->side * r->side * 3);
}

static bool same_pictures(const AblationResults *r, int a, int b)
{
    return !memcmp(pictures(r, a), pictures(r, b), (size_t)(r->prompts * r->seeds) * (size_t)(r->side * r->side * 3));
}

static void test_bits(void **state)
{
    (void)state;
    StudyData *d;
    OK(study_open(unbroken(), &d));
    const AblationResults *r = study_results(d);
    int none = find(r, "none"), controls = 0, per_condition = r->prompts * r->seeds;
    assert_true(r->side == TINY_BASE_SIDE && r->prompts == 3 && r->seeds == 2 && r->steps == 5);
    for (int c = 0; c < r->conditions; c++) {
        const AblationCondition *a = &r->condition[c];
        bool equal = a->control == ABLATION_SCALE_0 || a->equals >= 0;
        int with = a->equals >= 0 ? a->equals : a->control == ABLATION_SCALE_0 ? a->must_equal : none;
        if (c != none && same_pictures(r, c, with) != equal) fail_msg("%s: %s", a->label, equal ? "differs" : "changes nothing");
        controls += a->control == ABLATION_SCALE_0;
        for (int i = 0; i < per_condition; i++) {
            int64_t cell = (int64_t)c * per_condition + i;
            assert_true(r->seconds[cell] > 0 && r->evaluations[cell] >= 5);
            for (int s = 0; s < r->steps; s++) /* cond_norm or uncond_norm was measured at every step */
                assert_true(isfinite(r->telemetry[(cell * r->steps + s) * r->telemetry_count]) ||
                            isfinite(r->telemetry[(cell * r->steps + s) * r->telemetry_count + 1]));
        }
    }
    assert_int_equal(controls, 5);
    int cfg = find(r, "cfg 3"), inside = find(r, "classifier 1 interval 200:800");
    assert_true(r->evaluations[cfg * per_condition] == 10 && r->gradients[cfg * per_condition] == 0);
    assert_true(r->evaluations[inside * per_condition] == 5 && r->gradients[inside * per_condition] == 3); /* 749, 499, 250 */
    assert_true(r->timestep[0] == 999 && r->timestep[4] == 0);
    assert_string_equal(r->telemetry_name[0], "cond_norm");
    study_close(d);
}

/* What glide sample makes of the same seed and number is the same picture. */
static void test_as_sample(void **state)
{
    (void)state;
    StudyData *d;
    OK(study_open(unbroken(), &d));
    const AblationResults *r = study_results(d);
    Glide *g = open_glide(2);
    GlideSampleOptions o = glide_sample_defaults();
    GlidePicture picture;
    o.seed = 7;
    o.image = 1 + 3; /* prompt 1, seed 1 */
    o.upsample = false;
    o.sampler = "dpmpp_2m";
    o.steps = "5";
    o.guidance.cfg.scale = 3;
    o.guidance.cfg.interval = "200:800";
    OK((Status)glide_sample(g, "blue car", &o, &picture));
    size_t size = (size_t)(r->side * r->side * 3);
    assert_memory_equal(picture.rgb, pictures(r, find(r, "cfg 3 interval 200:800")) + 3 * size, size);
    glide_picture_release(&picture);
    glide_close(g);
    study_close(d);
}

/* --- gone on with ---------------------------------------------------------------------------------------------- */

typedef struct StopAt {
    int calls, at;
} StopAt;

static int stop(void *ctx, const StudyProgress *p)
{
    StopAt *s = ctx;
    assert_true(p->done <= p->total * (1 + 1e-9) && p->resumed <= p->done && p->cells_done <= p->cells);
    return ++s->calls >= s->at;
}

/* Two threads, stopped again and again in the middle of conditions, so that nothing is there to be shared. */
static void test_stopped(void **state)
{
    (void)state;
    const char *folder = in_test_folder("stopped");
    StudyAsk ask = usual_ask();
    Glide *g = open_glide(2);
    Status status = STATUS_INTERRUPTED;
    int rounds = 0;
    while (status == STATUS_INTERRUPTED) {
        Study *s;
        StopAt at = {.at = 3 + rounds * 7 % 31};
        OK(study_new(g, &ask, &s));
        status = study_run(s, folder, &(StudyHooks){stop, &at});
        if (status == STATUS_INTERRUPTED) assert_non_null(strstr(status_message(), "the same command goes on"));
        study_free(s);
        assert_true(++rounds < 300);
    }
    assert_true(status == STATUS_OK && rounds > 10);
    glide_close(g);
    same_folders(unbroken(), folder, false);
}

static void copy_file(const char *from, const char *to, const char *name, size_t most)
{
    char path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", from, name);
    uint8_t *bytes = read_bytes(path, &size);
    snprintf(path, sizeof path, "%s/%s", to, name);
    write_bytes(path, bytes, size < most ? size : most);
    free(bytes);
}

/* The journal cut off at any byte, or damaged: what its whole lines say stands, the rest is dropped. */
static void test_torn_journal(void **state)
{
    (void)state;
    const char *folder = in_test_folder("torn"), *whole = unbroken();
    char path[600];
    size_t size;
    StudyJournal j;
    StudySpec spec;
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/study.json", whole);
    OK(study_spec_read(path, &spec));
    snprintf(path, sizeof path, "%s/journal", whole);
    uint8_t *bytes = read_bytes(path, &size);
    snprintf(path, sizeof path, "%s/journal", folder);
    for (size_t cut = 0; cut <= size; cut++) {
        size_t lines = 0, after, done = 0;
        copy_file(whole, folder, "journal", cut);
        for (size_t i = 0; i < cut; i++) lines += bytes[i] == '\n';
        OK(study_journal_open(folder, &spec, &j));
        for (int i = 0; i < j.conditions * j.blocks; i++) done += j.done[i];
        if (done + 1 != (lines ? lines : 1)) fail_msg("%zu bytes: %zu shards, expected %zu", cut, done, lines - 1);
        if (cut % 37 == 0) {
            FAILS(study_journal_open(folder, &spec, &(StudyJournal){0}), STATUS_IO, "another glide ablate");
            OK(study_journal_add(&j, 0, 0, 4, 1, 0.5)); /* what is appended starts a line of its own */
        }
        study_journal_close(&j);
        free(read_bytes(path, &after));
        OK(study_journal_read(folder, &spec, &j));
        if (cut % 37 == 0) assert_true(j.done[0]);
        study_journal_close(&j);
    }
    bytes[size / 2] ^= 0x20;
    write_bytes(path, bytes, size);
    OK(study_journal_open(folder, &spec, &j));
    study_journal_close(&j);
    write_bytes(path, "something else\n", 15);
    FAILS(study_journal_open(folder, &spec, &j), STATUS_BAD_INPUT, "is no journal");
    free(bytes);
    study_spec_release(&spec);
}

/* --- what goes wrong ------------------------------------------------------------------------------------------- */

static void test_other_study(void **state)
{
    (void)state;
    static const char *const parts[] = {"seed", "sampler is dpmpp_2m there, ddim is asked for", "steps", "prompts", "conditions",
                                        "rows"};
    Glide *g = open_glide(1);
    Study *s;
    for (int i = 0; i < 6; i++) {
        StudyAsk ask = usual_ask();
        const char *other = in_test_folder("other.txt");
        write_bytes(other, "pear\t1\nblue car\t2\napple\t0\n", 26);
        if (i == 0) ask.seed = 8;
        if (i == 1) ask.sampler = "ddim";
        if (i == 2) ask.steps = "6";
        if (i == 3) ask.prompts = other;
        if (i == 4) ask.conditions.scales = "0,1,2";
        if (i == 5) ask.rows = 5;
        OK(study_new(g, &ask, &s));
        FAILS(study_run(s, unbroken(), NULL), STATUS_BAD_INPUT, "holds another study");
        if (!strstr(status_message(), parts[i])) fail_msg("%s", status_message());
        study_free(s);
    }
    StudyAsk ask = usual_ask();
    OK(study_new(g, &ask, &s));
    FAILS(study_run(s, test_folder, NULL), STATUS_BAD_INPUT, "expected a new or empty folder");
    FAILS(study_run(s, in_test_folder("none/below"), NULL), STATUS_IO, "none/below: cannot be made");
    FAILS(study_run(s, in_test_folder("base.h5"), NULL), STATUS_IO, "base.h5");
    study_free(s);
    glide_close(g);
}

static void test_damaged(void **state)
{
    (void)state;
    char folder[128];
    const char *shard = "damaged/cells/c000-b0001.h5";
    snprintf(folder, sizeof folder, "%s/damaged", test_folder);
    StudyAsk ask = usual_ask();
    StudyData *d;
    ask.conditions = (ConditionTexts){"none,cfg", "2", "plain", false};
    FAILS(study_open(in_test_folder("nothing"), &d), STATUS_BAD_INPUT, "holds no study");
    run_study(&ask, 1, folder);
    OK(study_open(folder, &d));
    study_close(d);
    size_t size;
    uint8_t *bytes = read_bytes(in_test_folder("damaged/cells/c001-b0001.h5"), &size);
    write_bytes(in_test_folder(shard), bytes, size); /* a whole one, but another */
    free(bytes);
    FAILS(study_open(folder, &d), STATUS_BAD_INPUT, "is not what the journal says it was; delete it");
    unlink(in_test_folder(shard));
    FAILS(study_open(folder, &d), STATUS_BAD_INPUT, "c000-b0001.h5");
    run_study(&ask, 1, folder); /* makes it again, and no second line */
    OK(study_open(folder, &d));
    study_close(d);
    run_study(&ask, 2, in_test_folder("damaged2"));
    same_folders(folder, in_test_folder("damaged2"), false);
    bytes = read_bytes(in_test_folder("damaged/journal"), &size);
    write_bytes(in_test_folder("damaged/journal"), bytes, size - 20);
    free(bytes);
    FAILS(study_open(folder, &d), STATUS_BAD_INPUT, "is not finished, 1 of 4 parts are missing");
    bytes = read_bytes(in_test_folder("damaged/study.json"), &size);
    for (size_t cut = 0; cut < size; cut += size / 40) {
        write_bytes(in_test_folder("damaged/study.json"), bytes, cut);
        FAILS(study_open(folder, &d), STATUS_BAD_INPUT, "study.json");
    }
    free(bytes);
}

static void test_guides_needed(void **state)
{
    (void)state;
    Glide *g = open_glide(1);
    Study *s;
    StudyAsk ask = usual_ask();
    ask.guide_weights = NULL;
    FAILS(study_new(g, &ask, &s), STATUS_BAD_INPUT, "autoguidance: expected --guide-weights");
    ask = usual_ask();
    ask.clip = ask.classifier;
    FAILS(study_new(g, &ask, &s), STATUS_BAD_INPUT, "classifier.h5");
    ask = usual_ask();
    ask.prompts = in_test_folder("bad.txt");
    write_bytes(ask.prompts, "red apple\t5\n", 12);
    FAILS(study_new(g, &ask, &s), STATUS_BAD_INPUT, "behind a TAB: class: expected a number from 0 to 4");
    write_bytes(ask.prompts, "red apple\n", 10);
    FAILS(study_new(g, &ask, &s), STATUS_BAD_INPUT, "behind a TAB: class: expected");
    ask.prompts = "4";
    FAILS(study_new(g, &ask, &s), STATUS_BAD_INPUT, "expected --data");
    ask = usual_ask();
    ask.steps = "1001";
    FAILS(study_new(g, &ask, &s), STATUS_BAD_INPUT, "--steps");
    glide_close(g);
}

/* --- plans, sheets, the cascade -------------------------------------------------------------------------------- */

static void test_plan(void **state)
{
    (void)state;
    Glide *g = open_glide(1);
    Study *s;
    StudyPlan plan;
    StudyData *d;
    StudyAsk ask = usual_ask();
    char text[8192] = "";
    OK(study_new(g, &ask, &s));
    OK(study_plan(s, &plan));
    FILE *out = fmemopen(text, sizeof text - 1, "w");
    study_plan_print(s, &plan, out);
    fclose(out);
    assert_non_null(strstr(text, "cfg 1                                        is none"));
    assert_non_null(strstr(text, "its first 1 steps are those of none"));
    assert_true(plan.seconds > 0 && plan.sampling_bytes > 1e6 && plan.disk_bytes > 1e5 &&
                plan.seconds_gradient[GUIDANCE_CLIP] >= 0);
    OK(study_open(unbroken(), &d));
    const AblationResults *r = study_results(d);
    double evaluations = 0, gradients = 0, planned = 0;
    int64_t cells = 0;
    for (int c = 0; c < r->conditions; c++) {
        for (int i = 0; r->condition[c].equals < 0 && i < r->prompts * r->seeds; i++, cells++) {
            evaluations += r->evaluations[c * r->prompts * r->seeds + i];
            gradients += r->gradients[c * r->prompts * r->seeds + i];
        }
    }
    for (int m = 0; m < GUIDANCE_MODES; m++) planned += plan.alone.gradients[m];
    assert_true(plan.cells == cells && plan.alone.answers + plan.alone.weaker == evaluations && planned == gradients);
    assert_true(plan.shared.answers < plan.alone.answers);
    study_close(d);
    study_free(s);
    glide_close(g);
}

static void test_cascade(void **state)
{
    (void)state;
    StudyAsk ask = usual_ask();
    StudyData *d;
    const char *folder = in_test_folder("cascade");
    ask.conditions = (ConditionTexts){"none,cfg", "1,3", "plain", true};
    ask.upsample = true;
    ask.upsampler_steps = "2";
    ask.seeds = 1;
    run_study(&ask, 2, folder);
    OK(study_open(folder, &d));
    const AblationResults *r = study_results(d);
    Glide *g = open_glide(1);
    GlideSampleOptions o = glide_sample_defaults();
    GlidePicture picture;
    uint8_t large[TINY_UPSAMPLER_SIDE * TINY_UPSAMPLER_SIDE * 3];
    o.seed = 7;
    o.image = 1 + 2;
    o.sampler = "dpmpp_2m";
    o.steps = "5";
    o.upsampler_steps = "2";
    OK((Status)glide_sample(g, "apple", &o, &picture));
    OK(study_large(d, find(r, "cfg 3"), 2, large));
    assert_int_equal(picture.width, TINY_UPSAMPLER_SIDE);
    assert_memory_equal(picture.rgb, large, sizeof large);
    OK(study_large(d, find(r, "cfg 1"), 2, large)); /* of the condition it equals */
    glide_picture_release(&picture);
    glide_close(g);
    OK(study_sheets_write(d, folder));
    Image sheet = {0};
    OK(study_sheet_make(d, 2, 0, &sheet));
    assert_true(sheet.w > 4 * TINY_UPSAMPLER_SIDE && sheet.h > 3 * TINY_UPSAMPLER_SIDE);
    image_release(&sheet);
    study_close(d);
    assert_int_equal(count_files(folder, "sheets", NULL), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),        cmocka_unit_test(test_as_sample),     cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_torn_journal), cmocka_unit_test(test_other_study),  cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_guides_needed), cmocka_unit_test(test_plan),        cmocka_unit_test(test_cascade),
    };
    return cmocka_run_group_tests(tests, setup, tiny_weights_teardown);
}
