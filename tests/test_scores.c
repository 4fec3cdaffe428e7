/* The table of scores on studies that are made up: effects are found, nothing is found where nothing is, controls and files. */
#include "glide/ablation/score.h"
#include "tests/support_folder.h"
#include "tests/support_status.h"
#include "tests/support_synthetic.h"

#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

static int find(const AblationResults *r, const char *label)
{
    for (int c = 0; c < r->conditions; c++)
        if (strcmp(r->condition[c].label, label) == 0) return c;
    fail_msg("no condition %s", label);
    return -1;
}

static const ScoreValue *value_of(const ScoreTable *t, const char *label, ScoreMetricId metric)
{
    return score_value(t, find(t->results, label), metric);
}

static const ScoreCheck *check_of(const ScoreTable *t, const char *name)
{
    for (int i = 0; i < t->check_count; i++)
        if (strcmp(t->checks[i].name, name) == 0) return &t->checks[i];
    fail_msg("no check %s", name);
    return NULL;
}

static void test_effects(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *t;
    synthetic_init(&s, &o);
    OK(ablation_score(&s.results, &s.sight, &t));
    for (int c = 0; c < s.results.conditions; c++)
        for (int m = 0; m < SCORE_METRICS; m++) {
            const ScoreValue *v = score_value(t, c, (ScoreMetricId)m);
            if (!(v->low <= v->value && v->value <= v->high))
                fail_msg("%s %s", s.results.condition[c].label, score_metric((ScoreMetricId)m)->name);
            assert_int_equal(v->n, 128);
        }
    assert_true(value_of(t, "cfg 8", SCORE_TOP5)->low > value_of(t, "none", SCORE_TOP5)->high);
    assert_true(value_of(t, "cfg 8", SCORE_DIVERSITY)->high < value_of(t, "none", SCORE_DIVERSITY)->low);
    assert_true(value_of(t, "cfg 1", SCORE_TOP1)->value == value_of(t, "none", SCORE_TOP1)->value);
    const ScorePair *p = score_pair(t, SCORE_AGAINST_FIRST, find(&s.results, "cfg 8"), SCORE_TOP5);
    assert_true(p->difference > 0 && p->p < 1e-4 && p->p_holm < 0.05 && p->p_holm >= p->p);
    p = score_pair(t, SCORE_AGAINST_FIRST, find(&s.results, "cfg 1"), SCORE_TOP5);
    assert_true(p->difference == 0 && isnan(p->p) && isnan(p->p_holm)); /* the same by definition: no test */
    p = score_pair(t, SCORE_AGAINST_NEIGHBOUR, find(&s.results, "cfg 3"), SCORE_TOP5);
    assert_int_equal(p->against, find(&s.results, "cfg 2"));
    assert_null(score_pair(t, SCORE_AGAINST_NEIGHBOUR, find(&s.results, "classifier 0.5"), SCORE_TOP5));
    assert_true(isnan(score_pair(t, SCORE_AGAINST_FIRST, find(&s.results, "cfg 8"), SCORE_SECONDS)->p));
    for (int i = 0; i < t->trend_count; i++) {
        const ScoreTrend *x = &t->trends[i];
        if (strcmp(s.results.condition[x->first].label, "classifier 0.5") != 0) continue;
        if (x->metric == SCORE_SIMILARITY) assert_true(x->change > 0 && x->p_holm < 0.01 && x->scales == 6);
        if (x->metric == SCORE_DIVERSITY) assert_true(x->change < 0 && x->p_holm < 0.01);
    }
    score_free(t);
    synthetic_release(&s);
}

/* Values are the means of what the table says of prompts; retrieval by hand in a study of one picture a prompt. */
static void test_by_hand(void **state)
{
    (void)state;
    static const float prompts[] = {1, 0, 0, 1, -1, 0, 0, -1}; /* four directions */
    static const float pictures[] = {1, 0, 1, 0, 0.6f, -0.8f, 0, -1}; /* right; wrong; wrong, third by similarity; right */
    static const float features[] = {0, 0, 0, 0}, real[] = {0, 0, 0, 0};
    static const uint8_t pixels[4 * 3] = {0};
    static const float ones[4] = {1, 1, 1, 2};
    static const char *const texts[] = {"a", "b", "c", "d"};
    AblationCondition none = {.label = "none", .mode = "none", .high = 999, .equals = -1, .must_equal = -1};
    AblationResults r = {.conditions = 1,
                         .prompts = 4,
                         .seeds = 1,
                         .side = 1,
                         .condition = &none,
                         .prompt = texts,
                         .pictures = pixels,
                         .seconds = ones,
                         .evaluations = ones,
                         .gradients = ones};
    AblationSight sight = {.features = 1,
                           .embedding = 2,
                           .picture = features,
                           .picture_embedding = pictures,
                           .prompt_embedding = prompts,
                           .real_count = 4,
                           .real = real,
                           .related = "the same file"};
    ScoreTable *t;
    OK(ablation_score(&r, &sight, &t));
    assert_true(score_value(t, 0, SCORE_TOP1)->value == 0.5);
    assert_true(score_value(t, 0, SCORE_TOP5)->value == 1); /* there are only four */
    assert_true(fabs(score_value(t, 0, SCORE_SIMILARITY)->value - (1 + 0 - 0.6 + 1) / 4) < 1e-6);
    assert_true(score_value(t, 0, SCORE_SECONDS)->value == 1.25 && t->seconds[0] == 5);
    assert_true(isnan(score_value(t, 0, SCORE_DIVERSITY)->value) && score_value(t, 0, SCORE_DIVERSITY)->n == 0);
    assert_true(t->clipped_of_pictures && score_value(t, 0, SCORE_CLIPPED)->value == 1);
    assert_int_equal(check_of(t, "independent judge")->mark, SCORE_WARN);
    assert_int_equal(check_of(t, "enough for the Fréchet distance")->mark, SCORE_PASS);
    assert_int_equal(check_of(t, "enough for KID")->mark, SCORE_WARN);
    assert_int_equal(check_of(t, "scale 0 equals none")->mark, SCORE_MISSING);
    score_free(t);
    float same[8] = {0}; /* all prompts alike to the judge: every answer is a guess */
    sight.prompt_embedding = same;
    OK(ablation_score(&r, &sight, &t));
    assert_true(score_value(t, 0, SCORE_TOP1)->value == 0.25);
    score_free(t);
}

static void test_controls(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *t;
    synthetic_init(&s, &o);
    OK(ablation_score(&s.results, &s.sight, &t));
    const ScoreCheck *zero = check_of(t, "scale 0 equals none"), *shuffled = check_of(t, "shuffled prompts");
    assert_int_equal(zero->mark, SCORE_PASS);
    assert_int_equal(check_of(t, "untrained guide")->mark, SCORE_PASS);
    print_message("%s\n%s\n", shuffled->text, check_of(t, "untrained guide")->text);
    int at_chance = 0;
    for (int i = 0; i < t->check_count; i++) {
        if (strcmp(t->checks[i].name, "shuffled prompts") != 0) continue;
        at_chance++;
        assert_true(t->checks[i].mark == SCORE_PASS && t->checks[i].low <= 5 / 32.0 && t->checks[i].expected == 5 / 32.0);
    }
    assert_int_equal(at_chance, 2); /* the condition, and the labels' own shuffling */
    assert_int_equal(check_of(t, "held-out pictures against themselves")->mark, SCORE_PASS);
    score_free(t);

    int control = find(&s.results, "control: classifier 0"); /* one bit of one picture */
    ((uint8_t *)s.results.pictures)[(int64_t)control * 128 * 16 * 16 * 3 + 5000] ^= 1;
    OK(ablation_score(&s.results, &s.sight, &t));
    zero = check_of(t, "scale 0 equals none");
    assert_true(zero->mark == SCORE_FAIL && zero->value == 1);
    assert_non_null(strstr(zero->text, "1 of 128 pictures differ from those of none"));
    score_free(t);

    int shuffled_condition = find(&s.results, "control: shuffled cfg 3"),
        plain = find(&s.results, "cfg 8"); /* a leak of the labels */
    memcpy((float *)s.sight.picture_embedding + (int64_t)shuffled_condition * 128 * s.sight.embedding,
           s.sight.picture_embedding + (int64_t)plain * 128 * s.sight.embedding, (size_t)(128 * s.sight.embedding) * sizeof(float));
    OK(ablation_score(&s.results, &s.sight, &t));
    assert_int_equal(check_of(t, "shuffled prompts")->mark, SCORE_FAIL);
    score_free(t);
    synthetic_release(&s);
}

/* Where conditions differ in noise alone, 5 % of uncorrected p-values are below 0.05 (also those of distances of sets, whose values
 * of prompts are linearised) and no corrected one. */
static void test_null(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    int small[SCORE_METRICS] = {0}, tests[SCORE_METRICS] = {0}, corrected = 0;
    o.effect = 0;
    o.variants = o.controls = false;
    o.steps = 2;
    for (o.seed = 1; o.seed <= 4; o.seed++) {
        Synthetic s;
        ScoreTable *t;
        synthetic_init(&s, &o);
        OK(ablation_score(&s.results, &s.sight, &t));
        for (int i = 0; i < t->pair_count; i++) {
            if (t->pairs[i].kind != SCORE_AGAINST_NEIGHBOUR || isnan(t->pairs[i].p)) continue;
            if (t->pairs[i].metric > SCORE_DIVERSITY) continue; /* telemetry and pictures differ by design */
            tests[t->pairs[i].metric]++;
            small[t->pairs[i].metric] += t->pairs[i].p < 0.05;
            corrected += t->pairs[i].p_holm < 0.05;
        }
        score_free(t);
        synthetic_release(&s);
    }
    for (int m = 0; m <= SCORE_DIVERSITY; m++) {
        print_message("%s: %d of %d p-values below 0.05\n", score_metric((ScoreMetricId)m)->name, small[m], tests[m]);
        assert_true(small[m] <= tests[m] * 0.16 + 1); /* neighbours are dependent; 3.5 standard errors of 80 */
    }
    assert_int_equal(corrected, 0);
}

static void test_threads(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *one, *three;
    int before = omp_get_max_threads();
    o.prompts = 8;
    o.steps = 3;
    synthetic_init(&s, &o);
    omp_set_num_threads(1);
    OK(ablation_score(&s.results, &s.sight, &one));
    omp_set_num_threads(3);
    OK(ablation_score(&s.results, &s.sight, &three));
    omp_set_num_threads(before);
    assert_int_equal(one->pair_count, three->pair_count);
    assert_memory_equal(one->value, three->value, (size_t)s.results.conditions * SCORE_METRICS * sizeof *one->value);
    assert_memory_equal(one->pairs, three->pairs, (size_t)one->pair_count * sizeof *one->pairs);
    assert_memory_equal(one->trends, three->trends, (size_t)one->trend_count * sizeof *one->trends);
    assert_memory_equal(one->checks, three->checks, (size_t)one->check_count * sizeof *one->checks);
    score_free(one);
    score_free(three);
    synthetic_release(&s);
}

static void test_without_judge(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *t;
    o.prompts = 6;
    o.seeds = 1;
    synthetic_init(&s, &o);
    OK(ablation_score(&s.results, NULL, &t));
    assert_true(isnan(score_value(t, 0, SCORE_KID)->value) && isnan(score_value(t, 0, SCORE_TOP1)->low));
    assert_true(score_value(t, 3, SCORE_SATURATION)->value > 0 && score_value(t, 3, SCORE_EVALUATIONS)->value > 0);
    assert_int_equal(check_of(t, "independent judge")->mark, SCORE_MISSING);
    assert_int_equal(check_of(t, "shuffled prompts")->mark, SCORE_MISSING);
    assert_null(score_pair(t, SCORE_AGAINST_FIRST, 3, SCORE_KID));
    assert_non_null(score_pair(t, SCORE_AGAINST_FIRST, 3, SCORE_SATURATION));
    score_free(t);
    synthetic_release(&s);
}

static void test_bad_input(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *t;
    o.prompts = 3;
    synthetic_init(&s, &o);
    AblationResults r = s.results;
    r.seeds = 0;
    FAILS(ablation_score(&r, NULL, &t), STATUS_BAD_INPUT, "0 seeds");
    r = s.results;
    ((AblationCondition *)r.condition)[2].equals = 5;
    FAILS(ablation_score(&r, NULL, &t), STATUS_BAD_INPUT, "an earlier one");
    ((AblationCondition *)r.condition)[2].equals = -1;
    ((float *)s.sight.picture_embedding)[17] = NAN;
    FAILS(ablation_score(&r, &s.sight, &t), STATUS_BAD_INPUT, "number 17");
    assert_null(t);
    synthetic_release(&s);
}

/* --- files -------------------------------------------------------------------------------------------- */

static char *read_text(const char *path)
{
    size_t size;
    char *bytes = (char *)read_bytes(path, &size), *text = calloc(size + 1, 1);
    memcpy(text, bytes, size);
    free(bytes);
    return text;
}

static void test_files(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *t;
    const char *csv = in_test_folder("metrics.csv"), *json = in_test_folder("metrics.json");
    o.prompts = 5;
    o.seeds = 1; /* no diversity: NaN */
    synthetic_init(&s, &o);
    snprintf(((AblationCondition *)s.results.condition)[2].label, 96, "cfg \"2\", half");
    ((float *)s.results.seconds)[0] = INFINITY;
    OK(ablation_score(&s.results, &s.sight, &t));
    OK(score_write_csv(t, csv));
    OK(score_write_json(t, json));
    char *text = read_text(csv);
    assert_memory_equal(text, "condition,against,metric,value,low,high,n,seconds,p,p_holm\nnone,,judge_top1,", 75);
    assert_non_null(strstr(text, "\n\"cfg \"\"2\"\", half\",,judge_kid,"));
    assert_non_null(strstr(text, "\nnone,,diversity,,,,0,"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    int rows = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), rows++) {
        int commas = 0;
        for (char *c = line, quoted = 0; *c; c++) quoted ^= *c == '"', commas += *c == ',' && !quoted;
        assert_int_equal(commas, 9);
    }
    assert_int_equal(rows, 1 + s.results.conditions * SCORE_METRICS + t->pair_count);
    free(text);
    json_t *root = json_load_file(json, 0, NULL);
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "conditions")), s.results.conditions);
    json_t *none = json_object_get(json_array_get(json_object_get(root, "conditions"), 0), "metrics");
    assert_true(json_is_null(json_object_get(json_object_get(none, "diversity"), "value")));
    assert_true(fabs(json_real_value(json_object_get(json_object_get(none, "judge_top1"), "value")) -
                     score_value(t, 0, SCORE_TOP1)->value) < 1e-8);
    assert_int_equal(json_array_size(json_object_get(root, "differences")), t->pair_count);
    assert_int_equal(json_array_size(json_object_get(root, "checks")), t->check_count);
    assert_int_equal(json_array_size(json_object_get(root, "trends")), t->trend_count);
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "facts"), "version")), "synthetic");
    json_decref(root);
    score_free(t);
    synthetic_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_effects),   cmocka_unit_test(test_by_hand),
                                       cmocka_unit_test(test_controls),  cmocka_unit_test(test_null),
                                       cmocka_unit_test(test_threads),   cmocka_unit_test(test_without_judge),
                                       cmocka_unit_test(test_bad_input), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
