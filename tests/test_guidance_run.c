/* Guided runs of a stage with tiny models: what is off leaves the bits alone, and batches and threads change nothing. */
#include "glide/stage.h"

#include "tests/support_guide_models.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { N = 2, SIDE = TINY_BASE_SIDE, SIZE = SIDE * SIDE * 3, STEPS = 4 };

typedef struct Fixture {
    Kernels *kernels;
    TextUNet *base;
    StageGuides guides;
    TextUNet *weaker;
    Classifier *classifier;
    Clip *clip;
    ClipBpe *bpe;
} Fixture;

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    f->base = tiny_model(false, 1);
    f->weaker = tiny_model(false, 63);
    f->classifier = small_classifier(61);
    f->clip = small_clip(62);
    f->bpe = small_clip_bpe();
    f->guides = (StageGuides){f->weaker, f->classifier, f->clip, f->bpe};
    OK(kernels_new(KERNELS_BEST, &f->kernels));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    text_unet_free(f->base);
    text_unet_free(f->weaker);
    classifier_free(f->classifier);
    clip_free(f->clip);
    clip_bpe_free(f->bpe);
    kernels_free(f->kernels);
    free(f);
    return 0;
}

/* --- one run --- */

typedef struct Result {
    float x[N * SIZE], after[STEPS][N * SIZE]; /* in the end, and after each step */
    double flops;
} Result;

static const char *const prompts[N] = {"apple red", "le"};
static const int32_t labels[N] = {4, 2};

static int keep(void *ctx, const SamplerProgress *p)
{
    Result *r = ctx;
    memcpy(r->after[p->done - 1], p->x, sizeof r->after[0]);
    return 0;
}

static StageOptions options(const Fixture *f, const char *sampler)
{
    StageOptions o;
    stage_options_defaults(&o);
    o.sampler = sampler;
    o.steps = "4";
    o.guides = f->guides;
    return o;
}

static void run_rows(const Fixture *f, const StageOptions *o, const char *const *texts, int first, int n, Result *r)
{
    StageOptions mine = *o;
    StageStats stats = {0};
    SamplerRow rows[N];
    for (int i = 0; i < n; i++) rows[i] = (SamplerRow){.seed = 9, .image = (uint32_t)(first + i)};
    mine.stats = &stats;
    if (n == N && o->max_rows == 0) {
        mine.progress = keep;
        mine.progress_ctx = r;
    }
    StageInput in = {.n = n, .side = SIDE, .prompts = texts ? texts + first : NULL, .labels = labels + first, .rows = rows};
    OK(stage_sample(f->kernels, f->base, &mine, &in, r->x));
    r->flops = stats.flops;
}

static Result *run(const Fixture *f, const StageOptions *o, const char *const *texts)
{
    Result *r = calloc(1, sizeof *r);
    assert_non_null(r);
    run_rows(f, o, texts, 0, N, r);
    return r;
}

static void assert_same(const Result *a, const Result *b)
{
    assert_memory_equal(a->x, b->x, sizeof a->x);
}

static void assert_different(const Result *a, const Result *b)
{
    for (int row = 0; row < N; row++) assert_memory_not_equal(a->x + row * SIZE, b->x + row * SIZE, SIZE * sizeof *a->x);
}

/* Every mode at once, scaled so that each shows. */
static void guide_all(StageOptions *o, double strength)
{
    for (int i = 0; i < GUIDANCE_MODES; i++)
        o->guidance.terms[i].scale = guidance_mode((GuidanceModeId)i)->neutral + strength * (i == GUIDANCE_CLIP ? 0.2 : 1.5);
}

/* --- what is off --- */

static void test_neutral_is_unguided(void **state)
{
    const Fixture *f = *state;
    static const char *const samplers[] = {"ddpm", "ddim", "heun", "dpmpp_2m", "plms"};
    for (int k = 0; k < 5; k++) {
        StageOptions o = options(f, samplers[k]);
        o.guides = (StageGuides){0};
        Result *plain = run(f, &o, prompts), *neutral, *guided;
        o.guides = f->guides;
        o.negative_prompt = "red";
        guide_all(&o, 0);
        neutral = run(f, &o, prompts);
        assert_same(plain, neutral);
        assert_true(neutral->flops == plain->flops); /* and costs nothing */
        guide_all(&o, 1);
        guided = run(f, &o, prompts);
        assert_different(plain, guided);
        for (int i = 0; i < N * SIZE; i++) assert_true(isfinite(guided->x[i]));
        free(plain);
        free(neutral);
        free(guided);
    }
}

/* Each mode alone: scale 0 leaves the bits, any other does not. */
static void test_each_mode(void **state)
{
    const Fixture *f = *state;
    StageOptions o = options(f, "ddim");
    Result *plain = run(f, &o, prompts);
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        o = options(f, "ddim");
        double neutral = guidance_mode((GuidanceModeId)i)->neutral;
        o.guidance.terms[i].scale = neutral + 1;
        Result *guided = run(f, &o, prompts);
        assert_different(plain, guided);
        o.guidance.terms[i].scale = neutral;
        Result *off = run(f, &o, prompts);
        assert_same(plain, off);
        free(guided);
        free(off);
    }
    free(plain);
}

/* Classifier-free: 1 is the conditional picture, 0 the one without prompts, or that of the negative prompt. */
static void test_cfg_ends(void **state)
{
    const Fixture *f = *state;
    static const char *const reds[N] = {"red", "red"};
    StageOptions o = options(f, "ddpm");
    Result *conditional = run(f, &o, prompts), *none = run(f, &o, NULL), *red = run(f, &o, reds), *found;
    o.guidance.terms[GUIDANCE_CFG].scale = 0;
    found = run(f, &o, prompts);
    assert_same(found, none);
    assert_true(found->flops == none->flops); /* one evaluation a step */
    assert_different(found, conditional);
    free(found);
    o.negative_prompt = "red";
    found = run(f, &o, prompts);
    assert_same(found, red);
    free(found);
    o.guidance.terms[GUIDANCE_CFG].scale = 3;
    found = run(f, &o, prompts);
    o.negative_prompt = NULL;
    Result *plain = run(f, &o, prompts);
    assert_different(found, plain);
    assert_true(plain->flops > 1.9 * conditional->flops);
    free(found);
    free(plain);
    free(conditional);
    free(none);
    free(red);
}

/* --- intervals --- */

/* Before guidance begins a run is the unguided one to the bit; an interval that no step meets changes nothing. */
static void test_intervals(void **state)
{
    const Fixture *f = *state;
    static const char *const samplers[] = {"ddpm", "ddim", "heun"};
    for (int k = 0; k < 3; k++) {
        StageOptions o = options(f, samplers[k]);
        Result *plain = run(f, &o, prompts), *late, *never;
        guide_all(&o, 1);
        for (int i = 0; i < GUIDANCE_MODES; i++) OK(guidance_parse_interval("0:400", &o.guidance.terms[i]));
        late = run(f, &o, prompts);
        assert_memory_equal(plain->after[0], late->after[0], sizeof plain->after[0]); /* timestep 999 */
        assert_memory_not_equal(plain->after[STEPS - 1], late->after[STEPS - 1], sizeof plain->after[0]);
        for (int i = 0; i < GUIDANCE_MODES; i++) OK(guidance_parse_interval("1.25:1.5", &o.guidance.terms[i]));
        never = run(f, &o, prompts);
        assert_same(plain, never);
        assert_true(never->flops < 1.01 * plain->flops); /* CLIP's texts are encoded, no more */
        free(plain);
        free(late);
        free(never);
    }
}

/* --- batches and threads --- */

static void check_rows(const Fixture *f, const StageOptions *o)
{
    Result *all = run(f, o, prompts), *alone = calloc(1, sizeof *alone), *split = calloc(1, sizeof *split);
    StageOptions one_by_one = *o;
    run_rows(f, o, prompts, 1, 1, alone);
    assert_memory_equal(all->x + SIZE, alone->x, SIZE * sizeof *all->x);
    one_by_one.max_rows = 1;
    run_rows(f, &one_by_one, prompts, 0, N, split);
    assert_same(all, split);
    int threads = omp_get_max_threads();
    omp_set_num_threads(threads == 1 ? 2 : 1);
    Result *other = run(f, o, prompts);
    assert_same(all, other);
    free(other);
    omp_set_num_threads(threads);
    free(all);
    free(alone);
    free(split);
}

static void test_rows(void **state)
{
    const Fixture *f = *state;
    StageOptions o = options(f, "ddpm");
    guide_all(&o, 1);
    o.negative_prompt = "red";
    o.guidance.rescale = 0.7;
    o.guidance.threshold = GUIDANCE_THRESHOLD_DYNAMIC;
    o.guidance.apg = (GuidanceApg){true, 0.2, 5, -0.5};
    check_rows(f, &o);
    o = options(f, "ddim");
    guide_all(&o, 1);
    o.guidance.terms[GUIDANCE_CFG].scale = 0.6;
    o.guidance.cfgpp = true;
    OK(guidance_parse_schedule("cosine", &o.guidance.terms[GUIDANCE_CLIP]));
    check_rows(f, &o);
}

/* --- guides that are missing --- */

static void test_missing(void **state)
{
    const Fixture *f = *state;
    static const char *const expected[GUIDANCE_MODES] = {[GUIDANCE_AUTOGUIDANCE] = "autoguidance: expected a weaker model",
                                                         [GUIDANCE_CLASSIFIER] = "classifier: expected a classifier and a class",
                                                         [GUIDANCE_CLIP] = "CLIP: expected a CLIP with its tokenizer"};
    float x[SIZE];
    SamplerRow row = {0};
    StageInput in = {.n = 1, .side = SIDE, .prompts = prompts, .rows = &row};
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        StageOptions o = options(f, "ddim");
        if (!expected[i]) continue;
        o.guides = (StageGuides){0};
        o.guidance.terms[i].scale = 1;
        FAILS(stage_sample(f->kernels, f->base, &o, &in, x), STATUS_BAD_INPUT, expected[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neutral_is_unguided), cmocka_unit_test(test_each_mode), cmocka_unit_test(test_cfg_ends),
        cmocka_unit_test(test_intervals),           cmocka_unit_test(test_rows),      cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
