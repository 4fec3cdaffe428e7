/* Pictures of any size made larger: windows, padding, back-projection, noise levels. */
#include "glide/enlarge.h"
#include "glide/glide.h"
#include "glide/tiles.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static Kernels *kernels;
static TextUNet *model; /* 16x16 -> 64x64, random weights */

static int setup(void **state)
{
    if (kernels_new(KERNELS_BEST, &kernels) != STATUS_OK) return -1;
    model = tiny_model(true, 5);
    return tiny_weights_setup(state);
}

static int teardown(void **state)
{
    text_unet_free(model);
    kernels_free(kernels);
    return tiny_weights_teardown(state);
}

/* --- windows ------------------------------------------------------------------------------------------ */

static void test_axis(void **state)
{
    (void)state;
    static const int lengths[] = {16, 32, 64, 80, 96, 128, 144, 256, 400, 1024, 4000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int tile = 32; tile <= 128; tile *= 2)
            for (int overlap = 0; overlap <= tile / 2; overlap += 16) {
                TileAxis a;
                int length = lengths[i];
                OK(tile_axis_init(&a, length, tile, overlap));
                assert_int_equal(a.tile, tile < length ? tile : length);
                assert_int_equal(a.starts[0], 0);
                assert_int_equal(a.starts[a.count - 1] + a.tile, length);
                double *sums = calloc((size_t)length, sizeof *sums);
                for (int w = 0; w < a.count; w++) {
                    assert_int_equal(a.starts[w] % TILE_STEP, 0);
                    if (w) assert_true(a.starts[w] > a.starts[w - 1]);
                    if (w) assert_true(a.starts[w - 1] + a.tile - a.starts[w] >= overlap - TILE_STEP);
                    for (int k = 0; k < a.tile; k++) {
                        float v = a.weights[w * a.tile + k];
                        assert_true(v > 0 && v <= 1);
                        if (a.count == 1) assert_true(v == 1);
                        sums[a.starts[w] + k] += v;
                    }
                }
                for (int k = 0; k < length; k++) assert_true(fabs(sums[k] - 1) < 1e-5);
                free(sums);
                tile_axis_release(&a);
            }
}

/* Windows of a picture, blended, are the picture. */
static void test_blend(void **state)
{
    (void)state;
    enum { H = 112, W = 208, N = 2 };
    static float x[N * H * W * 3], y[N * H * W * 3], part[N * 64 * 64 * 3], low[N * 16 * 16 * 3];
    Tiles t;
    rng_normal(&(RngKey){.stream = RNG_TEST}, x, N * H * W * 3);
    OK(tiles_init(&t, H, W, 64, 16));
    assert_true(tiles_count(&t) == 2 * 4 || tiles_count(&t) == 3 * 5 || tiles_count(&t) == 2 * 5 || tiles_count(&t) == 3 * 4);
    for (int64_t k = 0; k < tiles_count(&t); k++) {
        tiles_cut(&t, k, 1, x, N, 3, part);
        tiles_blend(&t, k, part, N, 3, 3, y);
    }
    for (int i = 0; i < N * H * W * 3; i++) assert_true(fabsf(x[i] - y[i]) < 1e-5f);
    static float small[N * (H / 4) * (W / 4) * 3]; /* and what lies under a window of the small picture is a fourth of it */
    for (int i = 0; i < N * (H / 4) * (W / 4) * 3; i++) small[i] = (float)i;
    int64_t last = tiles_count(&t) - 1;
    tiles_cut(&t, last, 4, small, N, 3, low);
    assert_true(low[16 * 16 * 3 - 1] == (float)((H / 4) * (W / 4) * 3 - 1));
    assert_true(low[N * 16 * 16 * 3 - 1] == (float)(N * (H / 4) * (W / 4) * 3 - 1));
    tiles_release(&t);
}

/* --- pictures ----------------------------------------------------------------------------------------- */

/* Smooth shapes with an edge, away from black and white. */
static Image picture(int w, int h)
{
    Image image = {0};
    OK(image_init(w, h, &image));
    for (int i = 0; i < w * h; i++)
        for (int c = 0; c < 3; c++) {
            int x = i % w, y = i / w;
            image.pixels[3 * i + c] = (uint8_t)(128 + 50 * sin(0.3 * x + c) + 30 * cos(0.4 * y) + (x > y ? 20 : -20));
        }
    return image;
}

static Status take(void *ctx, int64_t index, Image *image)
{
    assert_int_equal(index, 0);
    *(Image *)ctx = *image;
    *image = (Image){0};
    return STATUS_OK;
}

static StageOptions quick(void)
{
    CascadeOptions o;
    cascade_options_defaults(&o);
    o.upsampler.steps = "3";
    return o.upsampler;
}

static Image enlarge_with(const TextUNet *m, const StageOptions *stage, const EnlargeOptions *o, const Image *in)
{
    Picture small = {.w = in->w, .h = in->h, .channels = 3, .bits = 8, .values = in->pixels}, large;
    SamplerRow row = {.seed = 8, .image = 1};
    OK(enlarge_picture(&(Cascade){kernels, NULL, m}, stage, o, &small, "a cat", NULL, &row, &(CascadeHooks){0}, &large));
    return (Image){large.w, large.h, large.values};
}

static void check_same(Image *a, Image *b)
{
    assert_true(a->w == b->w && a->h == b->h);
    assert_memory_equal(a->pixels, b->pixels, image_bytes(a));
    image_release(a);
    image_release(b);
}

/* A picture that fits is made at once, whatever the window's size; and what the cascade makes of a square one is the same. */
static void test_one_window_is_the_whole(void **state)
{
    (void)state;
    StageOptions stage = quick();
    CascadeOptions o = {.upsampler = stage};
    Image in = picture(16, 16), cascade = {0}, wide = picture(40, 12);
    CascadeHooks hooks = {.finished = take, .ctx = &cascade};
    SamplerRow row = {.seed = 8, .image = 1};
    OK(cascade_upsample(&(Cascade){kernels, NULL, model}, &o, &in, "a cat", NULL, &row, &hooks));
    Image alone = enlarge_with(model, &stage, &(EnlargeOptions){.scale = 4}, &in);
    check_same(&cascade, &alone);
    Image exact = enlarge_with(model, &stage, &(EnlargeOptions){.scale = 4, .tile = 160}, &wide);
    Image larger = enlarge_with(model, &stage, &(EnlargeOptions){.scale = 4, .tile = 512}, &wide);
    check_same(&exact, &larger);
    image_release(&in);
    image_release(&wide);
}

static void test_threads(void **state)
{
    (void)state;
    StageOptions stage = quick();
    stage.fidelity = 0.5;
    Image in = picture(37, 23), out[2];
    int threads = omp_get_max_threads();
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i ? 3 : 1);
        out[i] = enlarge_with(model, &stage, &(EnlargeOptions){.scale = 4, .back_projection = true}, &in);
    }
    omp_set_num_threads(threads);
    check_same(&out[0], &out[1]);
    image_release(&in);
}

/* Mean square of what the picture, reduced to w x h, differs from `in`, in 8-bit steps. */
static double inconsistency(const Image *out, const Image *in)
{
    Image small = {0};
    double sum = 0;
    OK(image_resize(out, in->w, in->h, &small));
    for (size_t i = 0; i < image_bytes(in); i++) sum += pow((double)small.pixels[i] - in->pixels[i], 2);
    image_release(&small);
    return sum / (double)image_bytes(in);
}

static void test_any_size(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {3, 50}, {50, 3}, {17, 16}, {33, 31}, {5, 5}};
    StageOptions stage = quick();
    stage.fidelity = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int scale = 2; scale <= 8; scale *= 2) {
            if (scale != 4 && i > 1) continue;
            Image in = picture(sizes[i][0], sizes[i][1]);
            EnlargeOptions o = {.scale = scale, .back_projection = true};
            EnlargePlan plan;
            Image out = enlarge_with(model, &stage, &o, &in);
            assert_true(out.w == scale * in.w && out.h == scale * in.h);
            OK(enlarge_plan(model, &stage, &o, in.w, in.h, &plan));
            assert_true(plan.width == out.w && plan.height == out.h && plan.windows > 0 && plan.bytes > 0);
            assert_true(inconsistency(&out, &in) < 6.5); /* 40 dB */
            image_release(&in);
            image_release(&out);
        }
    Image in = picture(20, 10);
    Image out = enlarge_with(model, &stage, &(EnlargeOptions){.width = 50, .height = 33, .back_projection = true}, &in);
    assert_true(out.w == 50 && out.h == 33);
    image_release(&out);
    image_release(&in);
}

/* The window must not show: a random model's answer at an edge of its window is unlike that in the middle of another, yet what is
 * blended has no jump there. */
static void test_no_seams(void **state)
{
    (void)state;
    StageOptions stage = quick();
    Image in = picture(48, 16);
    Image out = enlarge_with(model, &stage, &(EnlargeOptions){.scale = 4, .back_projection = true}, &in);
    TileAxis a;
    OK(tile_axis_init(&a, out.w, 64, 16));
    double at = 0, elsewhere = 0;
    int n_at = 0, n_elsewhere = 0;
    for (int x = 1; x < out.w; x++) {
        double sum = 0;
        bool border = false;
        for (int y = 0; y < out.h; y++)
            for (int c = 0; c < 3; c++) sum += abs(out.pixels[3 * (y * out.w + x) + c] - out.pixels[3 * (y * out.w + x - 1) + c]);
        for (int w = 0; w < a.count; w++) border |= x == a.starts[w] || x == a.starts[w] + a.tile;
        if (x % 4) continue; /* borders lie on the small picture's pixels: compare like with like */
        *(border ? &at : &elsewhere) += sum;
        *(border ? &n_at : &n_elsewhere) += 1;
    }
    tile_axis_release(&a);
    assert_true(n_at >= 2);
    assert_true(at / n_at < 1.25 * elsewhere / n_elsewhere);
    image_release(&in);
    image_release(&out);
}

static void test_wrong_requests(void **state)
{
    (void)state;
    EnlargePlan plan;
    StageOptions stage = quick();
    FAILS(enlarge_plan(model, &stage, &(EnlargeOptions){.scale = 3}, 10, 10, &plan), STATUS_BAD_INPUT, "scale: expected 2, 4 or 8, found 3");
    FAILS(enlarge_plan(model, &stage, &(EnlargeOptions){.scale = 4}, 20000, 10, &plan), STATUS_BAD_INPUT, "80000x40 pixels, expected sides up to");
    FAILS(enlarge_plan(model, &stage, &(EnlargeOptions){.scale = 4}, 10000, 10000, &plan), STATUS_BAD_INPUT, "134 million");
    FAILS(enlarge_plan(model, &stage, &(EnlargeOptions){.width = 100}, 10, 10, &plan), STATUS_BAD_INPUT, "size: expected a width and a height");
    FAILS(enlarge_plan(model, &stage, &(EnlargeOptions){.width = 100, .height = 10}, 10, 10, &plan), STATUS_BAD_INPUT, "more than 8 times");
    FAILS(enlarge_plan(model, &stage, &(EnlargeOptions){.scale = 4, .tile = 40}, 10, 10, &plan), STATUS_BAD_INPUT, "tile: expected a multiple of");
    Image in = picture(8, 8);
    Picture out;
    stage.noise_level = 0.2;
    SamplerRow row = {.seed = 8};
    Picture small = {.w = 8, .h = 8, .channels = 3, .bits = 8, .values = in.pixels};
    FAILS(enlarge_picture(&(Cascade){kernels, NULL, model}, &stage, &(EnlargeOptions){.scale = 4}, &small, "", NULL, &row,
                          &(CascadeHooks){0}, &out),
          STATUS_BAD_INPUT, "the upsampler is not told how noisy its input is");
    image_release(&in);
}

static void test_noise_level(void **state)
{
    (void)state;
    TextUNet *told = tiny_model(true, 5);
    OK(text_unet_add_level(&told));
    Param *w = params_find(&told->params, "low_res_level.weight");
    rng_normal(&(RngKey){.stream = RNG_TEST}, w->value, (int64_t)w->size);
    params_touch(&told->params);
    StageOptions stage = quick();
    EnlargeOptions o = {.scale = 4};
    Image in = picture(9, 20), out[4];
    for (int i = 0; i < 4; i++) {
        stage.noise_level = (const double[]){0, 0.2, 0.2, 0.3}[i];
        out[i] = enlarge_with(told, &stage, &o, &in);
    }
    assert_memory_equal(out[1].pixels, out[2].pixels, image_bytes(&out[1]));
    assert_memory_not_equal(out[0].pixels, out[1].pixels, image_bytes(&out[1]));
    assert_memory_not_equal(out[1].pixels, out[3].pixels, image_bytes(&out[1]));
    for (int i = 0; i < 4; i++) image_release(&out[i]);
    image_release(&in);
    text_unet_free(told);
}

/* --- the public face ----------------------------------------------------------------------------------- */

static void check(GlideStatus s)
{
    if (s != GLIDE_OK) fail_msg("%s", glide_message());
}

static void test_api(void **state)
{
    (void)state;
    Glide *g;
    Image in = picture(21, 9);
    GlidePicture small = {.width = in.w, .height = in.h, .rgb = in.pixels}, large = {0};
    GlideUpsampleOptions o = glide_upsample_defaults();
    GlideUpsamplePlan plan;
    check(glide_open(NULL, &g));
    o.scale = 2;
    o.steps = "2";
    check(glide_upsample_plan(g, small.width, small.height, &o, &plan));
    check(glide_upsample(g, &small, &o, &large));
    assert_true(large.width == 42 && large.height == 18 && plan.width == 42 && plan.height == 18);
    assert_string_equal(glide_picture_recipe(&large, "scale"), "2");
    assert_string_equal(glide_picture_recipe(&large, "fidelity"), "1");
    assert_null(glide_picture_recipe(&large, "noise_level"));
    glide_picture_release(&large);
    o.fidelity = 1.5;
    assert_int_equal(glide_upsample(g, &small, &o, &large), GLIDE_BAD_INPUT);
    assert_non_null(strstr(glide_message(), "fidelity: expected 0 to 1, found 1.5"));
    glide_close(g);
    image_release(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axis),
        cmocka_unit_test(test_blend),
        cmocka_unit_test(test_one_window_is_the_whole),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_any_size),
        cmocka_unit_test(test_no_seams),
        cmocka_unit_test(test_wrong_requests),
        cmocka_unit_test(test_noise_level),
        cmocka_unit_test(test_api),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
