/* The upsampler's degraded inputs, and noise whose level it is told. */
#include "common/diffusion.h"
#include "common/kernels.h"
#include "glide/stage.h"
#include "glide/trainer.h"
#include "tests/support_dataset.h"
#include "tests/support_folder.h"
#include "tests/support_gradcheck.h"
#include "tests/support_models.h"
#include "tests/support_status.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/degrade.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64, SMALL = SIDE / DEGRADE_FACTOR, BIG_SIZE = SIDE * SIDE * 3, SMALL_SIZE = SMALL * SMALL * 3 };

static float picture[BIG_SIZE], work[BIG_SIZE];

/* Waves with some noise, within [-0.9,0.9]. */
static int setup(void **state)
{
    rng_normal(&(RngKey){.seed = 1, .stream = RNG_TEST}, work, BIG_SIZE);
    for (int i = 0; i < BIG_SIZE; i++) {
        int y = i / (SIDE * 3), x = i / 3 % SIDE, c = i % 3;
        float v = 0.4f * sinf(0.31f * (float)x + (float)c) + 0.3f * cosf(0.23f * (float)y) + 0.08f * work[i];
        picture[i] = v < -0.9f ? -0.9f : v > 0.9f ? 0.9f : v;
    }
    return test_folder_setup(state);
}

static RngKey row_key(uint32_t row)
{
    return (RngKey){.seed = 5, .image = row, .step = 3};
}

static double rms(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)(a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum / n);
}

/* --- single steps ------------------------------------------------------------------------------------ */

static void test_blur(void **state)
{
    (void)state;
    static float x[BIG_SIZE];
    for (float sigma = 0.6f; sigma < 3; sigma += 0.6f) {
        memset(x, 0, sizeof x);
        for (int c = 0; c < 3; c++) x[(32 * SIDE + 31) * 3 + c] = 1;
        degrade_blur(x, SIDE, SIDE, sigma, work);
        double sum = 0, var_x = 0, var_y = 0;
        for (int i = 0; i < SIDE * SIDE; i++) {
            sum += x[3 * i];
            var_x += x[3 * i] * (i % SIDE - 31) * (i % SIDE - 31);
            var_y += x[3 * i + 2] * (i / SIDE - 32) * (i / SIDE - 32);
        }
        assert_true(fabs(sum - 1) < 1e-5); /* the picture's brightness stays */
        assert_true(fabs(sqrt(var_x) / sigma - 1) < 0.03 && fabs(sqrt(var_y) / sigma - 1) < 0.03);
    }
    for (int i = 0; i < BIG_SIZE; i++) x[i] = 0.25f;
    degrade_blur(x, SIDE, SIDE, 2, work);
    for (int i = 0; i < BIG_SIZE; i++) assert_true(fabsf(x[i] - 0.25f) < 1e-6f); /* at edges, too */
}

static void test_reductions(void **state)
{
    (void)state;
    static float x[BIG_SIZE], low[SMALL_SIZE], mean[SMALL_SIZE];
    for (int i = 0; i < SMALL_SIZE; i++) {
        int y = i / (SMALL * 3), column = i / 3 % SMALL, c = i % 3;
        float sum = 0;
        for (int k = 0; k < 16; k++) sum += picture[((4 * y + k / 4) * SIDE + 4 * column + k % 4) * 3 + c];
        mean[i] = sum / 16;
    }
    degrade_reduce(REDUCE_BLOCK_MEAN, picture, SIDE, SIDE, low, work);
    assert_true(rms(low, mean, SMALL_SIZE) < 1e-6);
    for (int f = 0; f < REDUCE_FILTERS; f++) {
        for (int i = 0; i < BIG_SIZE; i++) x[i] = -0.3f;
        degrade_reduce((ReduceFilter)f, x, SIDE, SIDE, low, work);
        for (int i = 0; i < SMALL_SIZE; i++) assert_true(fabsf(low[i] + 0.3f) < 1e-5f);
        for (int i = 0; i < BIG_SIZE; i++) x[i] = (float)(i / 3 % SIDE) / SIDE - 0.5f; /* a ramp stays one */
        degrade_reduce((ReduceFilter)f, x, SIDE, SIDE, low, work);
        for (int i = 0; i < SMALL_SIZE; i++) {
            int column = i / 3 % SMALL;
            if (column > 3 && column < SMALL - 4) assert_true(fabsf(low[i] - ((4 * (float)column + 1.5f) / SIDE - 0.5f)) < 2e-3f);
        }
        degrade_reduce((ReduceFilter)f, picture, SIDE, SIDE, low, work);
        double other = rms(low, mean, SMALL_SIZE); /* another filter, the same picture */
        if (f) assert_true(other > 0.005 && other < 0.1);
    }
}

static void test_jpeg(void **state)
{
    (void)state;
    static float x[BIG_SIZE];
    double errors[3];
    for (int i = 0; i < 3; i++) {
        memcpy(x, picture, sizeof x);
        OK(degrade_jpeg(x, SIDE, 30 + 30 * i, 1, 3, 11));
        errors[i] = rms(x, picture, BIG_SIZE);
    }
    assert_true(errors[0] > errors[1] && errors[1] > errors[2] && errors[2] > 0.005 && errors[0] < 0.2);
    for (int i = 0; i < BIG_SIZE; i++) x[i] = 1.0f / 127.5f * 100 - 1; /* grey 100 survives anything */
    OK(degrade_jpeg(x, SIDE, 40, 0, 5, 0));
    for (int i = 0; i < BIG_SIZE; i++) assert_true(fabsf((x[i] + 1) * 127.5f - 100) < 1.01f);
    memcpy(x, picture, sizeof x);
    memcpy(work, picture, sizeof x);
    OK(degrade_jpeg(x, SIDE, 50, 1, 0, 0));
    OK(degrade_jpeg(work, SIDE, 50, 1, 4, 4)); /* another grid of blocks */
    assert_true(rms(x, work, BIG_SIZE) > 0.003);
}

/* --- rows -------------------------------------------------------------------------------------------- */

static void test_rows_depend_on_their_key_alone(void **state)
{
    (void)state;
    enum { ROWS = 40 };
    static float once[ROWS][SMALL_SIZE], again[ROWS][SMALL_SIZE];
    DegradeOptions o = degrade_defaults();
    for (uint32_t i = 0; i < ROWS; i++) {
        RngKey key = row_key(i);
        OK(degrade_row(&o, picture, SIDE, &key, once[i]));
        for (int v = 0; v < SMALL_SIZE; v++) assert_true(once[i][v] >= -1 && once[i][v] <= 1);
    }
#pragma omp parallel for num_threads(4) schedule(dynamic, 1)
    for (int i = ROWS - 1; i >= 0; i--) {
        RngKey key = row_key((uint32_t)i);
        if (degrade_row(&o, picture, SIDE, &key, again[i]) != STATUS_OK) abort();
    }
    assert_memory_equal(once, again, sizeof once);
    RngKey later = row_key(7);
    o.clean = 0;
    OK(degrade_row(&o, picture, SIDE, &later, once[0]));
    later.step++;
    OK(degrade_row(&o, picture, SIDE, &later, once[1]));
    assert_memory_not_equal(once[0], once[1], sizeof once[0]);
}

static float share_unlike_clean(DegradeOptions o, int rows)
{
    static float low[SMALL_SIZE], clean[SMALL_SIZE];
    int unlike = 0;
    degrade_reduce(REDUCE_BLOCK_MEAN, picture, SIDE, SIDE, clean, work);
    for (int i = 0; i < rows; i++) {
        RngKey key = row_key((uint32_t)i);
        OK(degrade_row(&o, picture, SIDE, &key, low));
        unlike += rms(low, clean, SMALL_SIZE) > 0.0035; /* more than rounding to 8 bits, which is up to 0.0039 and 0.0023 rms */
    }
    return (float)unlike / (float)rows;
}

static void test_shares(void **state)
{
    (void)state;
    enum { ROWS = 600 };
    DegradeOptions none = {.filters = {1}, .blur_sigma = {2, 2}, .noise_sigma = 1, .jpeg_quality = {20, 20}}, o = none;
    assert_true(share_unlike_clean(none, 50) == 0);
    o.blur = 0.3f;
    assert_true(fabsf(share_unlike_clean(o, ROWS) - 0.3f) < 0.08f);
    o = none;
    o.noise = 0.6f;
    assert_true(fabsf(share_unlike_clean(o, ROWS) - 0.6f) < 0.12f); /* noise may be very weak */
    o = none;
    o.jpeg = 0.5f;
    assert_true(fabsf(share_unlike_clean(o, ROWS) - 0.5f) < 0.08f);
    o = none;
    o.filters[REDUCE_MIDDLE] = 3;
    assert_true(fabsf(share_unlike_clean(o, ROWS) - 0.75f) < 0.08f);
    o.clean = 0.4f; /* then nothing else happens */
    assert_true(fabsf(share_unlike_clean(o, ROWS) - 0.45f) < 0.08f);
}

static void test_noise(void **state)
{
    (void)state;
    static float low[SMALL_SIZE], flat[BIG_SIZE];
    int grey = 0;
    double sum = 0;
    enum { ROWS = 300 };
    DegradeOptions o = {.filters = {1}, .noise = 1, .noise_sigma = 0.2f, .grey_noise = 0.25f};
    for (uint32_t i = 0; i < ROWS; i++) {
        RngKey key = row_key(i);
        bool same = true;
        OK(degrade_row(&o, flat, SIDE, &key, low));
        for (int v = 0; v < SMALL_SIZE; v += 3) same &= low[v] == low[v + 1] && low[v] == low[v + 2];
        grey += same;
        sum += rms(low, flat, SMALL_SIZE);
    }
    assert_true(fabs(sum / ROWS - 0.2 / 3) < 0.01); /* sigma = 0.2 u^2 */
    assert_in_range(grey, ROWS / 4 - 30, ROWS / 4 + 40);
}

static void test_levels(void **state)
{
    (void)state;
    enum { ROWS = 4000 };
    static float low[SMALL_SIZE], zero[SMALL_SIZE];
    DegradeOptions o = degrade_defaults();
    int clean = 0;
    double sum = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        RngKey key = row_key(i);
        float level = degrade_draw_level(&o, &key);
        assert_true(level >= 0 && level <= o.level);
        clean += level == 0;
        sum += level;
    }
    assert_true(fabs((double)clean / ROWS - o.untold_level) < 0.04);
    assert_true(fabs(sum / (ROWS - clean) / o.level - 1.0 / 3) < 0.03);
    RngKey row = row_key(2), key = degrade_level_key(&row);
    OK(degrade_add_noise(low, SMALL_SIZE, 0.5f, &key));
    assert_true(fabs(rms(low, zero, SMALL_SIZE) - 0.5) < 0.04);
    memset(low, 0, sizeof low);
    OK(degrade_add_noise(low, SMALL_SIZE, 0, &key));
    assert_memory_equal(low, zero, sizeof low);
}

/* --- the model that is told --------------------------------------------------------------------------- */

static void test_taking_over(void **state)
{
    (void)state;
    enum { N = 2, S = TINY_UPSAMPLER_SIDE, L = S / 4 };
    static float before[N * S * S * 3], after[N * S * S * 3], low[N * L * L * 3];
    const char *prompts[N] = {"cat", ""};
    SamplerRow rows[N] = {{.seed = 4}, {.seed = 9, .image = 2}};
    StageInput in = {.n = N, .side = S, .prompts = prompts, .rows = rows, .low_side = L, .low_res = low};
    Kernels *kernels;
    OK(kernels_new(KERNELS_BEST, &kernels));
    rng_uniforms(&(RngKey){.stream = RNG_TEST}, low, N * L * L * 3);
    for (int precision = 0; precision < 2; precision++) {
        StageOptions o;
        stage_options_defaults(&o);
        o.steps = "3";
        o.precision = precision ? DTYPE_BF16 : DTYPE_F32;
        TextUNet *m = tiny_model(true, 9), *loaded;
        int count = m->params.count;
        OK(stage_sample(kernels, m, &o, &in, before));
        OK(text_unet_add_level(&m));
        assert_true(m->config.low_res_level && m->bpe);
        assert_int_equal(m->params.count, count + 2);
        OK(stage_sample(kernels, m, &o, &in, after));
        assert_memory_equal(before, after, sizeof before);
        const char *path = in_test_folder("told.h5");
        write_model(m, path);
        OK(text_unet_load(path, "upsampler", &loaded, NULL));
        assert_true(loaded->config.low_res_level);
        OK(text_unet_add_inpaint(&loaded)); /* one after the other, in either order */
        assert_true(loaded->config.low_res_level && params_find(&loaded->params, "low_res_level.weight"));
        text_unet_free(loaded);
        text_unet_free(m);
    }
    kernels_free(kernels);
    TextUNet *base = tiny_model(false, 1);
    FAILS(text_unet_add_level(&base), STATUS_BAD_INPUT, "low_res_level: expected it with super_res only");
    text_unet_free(base);
}

typedef struct Told {
    TextUNet *m;
    float levels[2];
} Told;

static Tensor *told_emb(Tape *t, const void *ctx, Tensor **in)
{
    const Told *told = ctx;
    UNetCondition c = {.emb = in[0]};
    text_unet_tell_level(t, told->m, told->levels, 2, &c);
    return c.emb;
}

static void layer_init(TextUNet *m)
{
    *m = (TextUNet){.config = {.unet = {.channels = 32}, .low_res_level = true}};
    params_init(&m->params);
    m->level = linear_make(&m->params, 32, 128, 0, "low_res_level");
}

/* What is added to the embedding depends on the level, and its weights have the gradients they should. */
static void test_level_is_heard(void **state)
{
    (void)state;
    TextUNet layer;
    Told told = {&layer, {0.1f, 0.4f}};
    Kernels *kernels;
    Tape *t;
    layer_init(&layer);
    gradcheck(told_emb, &told, 1, (int[]){2}, (int64_t[][4]){{2, 128}}, &layer.params, 2e-3);
    layer_init(&layer);
    rng_normal(&(RngKey){.stream = RNG_TEST}, layer.level.weight->value, 32 * 128);
    params_touch(&layer.params);
    OK(kernels_new(KERNELS_BEST, &kernels));
    OK(tape_new(kernels, &t));
    Tensor *emb = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){2, 128});
    memset(emb->data, 0, tensor_bytes(emb));
    emb = told_emb(t, &told, &emb);
    OK(tape_status(t));
    assert_true(rms(emb->data, (float *)emb->data + 128, 128) > 0.1);
    tape_free(t);
    params_release(&layer.params);
    kernels_free(kernels);
}

/* --- training ---------------------------------------------------------------------------------------- */

static TrainerOptions training(const char *data, const char *out)
{
    TrainerOptions o;
    trainer_options_defaults(&o, TRAIN_UPSAMPLER);
    o.data = data;
    o.out = out;
    o.config = "tiny";
    o.side = 32;
    o.batch = 4;
    o.n_vocab = 300;
    o.samples = false;
    o.progress = PROGRESS_QUIET;
    o.optimizer.total_steps = 4;
    o.optimizer.warmup_steps = 1;
    o.degrade = DEGRADE_REAL;
    return o;
}

static void test_training(void **state)
{
    (void)state;
    char data[128], plain[128], told[128], again[128];
    strcpy(data, in_test_folder("data.h5"));
    strcpy(plain, in_test_folder("plain.h5"));
    strcpy(told, in_test_folder("told.h5"));
    strcpy(again, in_test_folder("again.h5"));
    OK(tiny_dataset_write(data, &(TinyFaults){.photos = 1}));
    TrainerOptions o = training(data, plain);
    OK(trainer_run(&o));
    o.out = told;
    o.init = plain;
    o.noise_conditioning = true;
    o.batches.photos = 0.5f;
    OK(trainer_run(&o));
    TextUNet *m;
    OK(text_unet_load(told, "upsampler", &m, NULL));
    assert_true(m->config.low_res_level);
    const Param *w = params_find(&m->params, "low_res_level.weight");
    double moved = 0;
    for (size_t i = 0; i < w->size; i++) moved += fabsf(w->value[i]);
    assert_true(moved > 0); /* it learns */
    text_unet_free(m);
    o.out = again; /* the same rows in parts of another size, up to the order of sums */
    o.micro_batch = 1;
    OK(trainer_run(&o));
    o.init = NULL;
    o.resume = true;
    o.out = plain;
    FAILS(trainer_run(&o), STATUS_BAD_INPUT, "is not told noise levels; expected --init instead of --resume");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blur),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_rows_depend_on_their_key_alone),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_taking_over),
        cmocka_unit_test(test_level_is_heard),
        cmocka_unit_test(test_training),
    };
    return cmocka_run_group_tests(tests, setup, test_folder_teardown);
}
