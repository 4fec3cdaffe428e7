/* Painting on a part of a picture, starting from a picture, and keeping colours: what the stages are given, and what comes back. */
#include "common/image_read.h"
#include "glide/glide.h"
#include "glide/inpaint.h"
#include "glide/inpaint_detail.h"
#include "glide/stage_hooks.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_pictures.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SMALL = TINY_BASE_SIDE, LARGE = TINY_UPSAMPLER_SIDE };

static void check(GlideStatus s)
{
    if (s != GLIDE_OK) fail_msg("%s", glide_message());
}

static uint32_t below(uint32_t n)
{
    static uint32_t drawn;
    return rng_below(&(RngKey){.seed = 3, .stream = RNG_TEST}, drawn++, n);
}

static void fill_noise(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)below(256);
}

/* --- the part that is shown -------------------------------------------------------------------------- */

/* A rectangle of a picture's mask, anywhere. */
static void draw_rectangle(uint8_t *paint, int w, int h)
{
    int x0 = (int)below((uint32_t)w), y0 = (int)below((uint32_t)h);
    int x1 = x0 + (int)below((uint32_t)(w - x0)), y1 = y0 + (int)below((uint32_t)(h - y0));
    memset(paint, 0, (size_t)w * (size_t)h);
    for (int y = y0; y <= y1; y++) memset(paint + (size_t)y * (size_t)w + x0, 1, (size_t)(x1 - x0 + 1));
}

/* Every painted pixel is inside the part; the part is inside the picture and as large as it should be. */
static void check_part(const Inpaint *p, const uint8_t *paint)
{
    int least = LARGE;
    assert_true(p->x >= 0 && p->y >= 0 && p->x + p->part_w <= p->w && p->y + p->part_h <= p->h);
    assert_true(p->part_w == p->w || p->part_w >= least);
    assert_true(p->part_h == p->h || p->part_h >= least);
    assert_true(p->part_w == p->part_h || p->part_w == p->w || p->part_h == p->h);
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++)
            if (paint[y * p->w + x])
                assert_true(x >= p->x && x < p->x + p->part_w && y >= p->y && y < p->y + p->part_h);
}

/* Whether cell i of `cells` on an axis of `size` pixels overlaps pixel `at`. */
static bool overlaps(int i, int cells, int at, int size)
{
    return (int64_t)at * cells < (int64_t)(i + 1) * size && (int64_t)(at + 1) * cells > (int64_t)i * size;
}

/* A cell of a stage is known exactly when no pixel of the part that it overlaps is painted. */
static void check_mask(const Inpaint *p, const float *mask, int side)
{
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            bool painted = false;
            for (int y = 0; y < p->part_h; y++)
                for (int x = 0; x < p->part_w; x++)
                    painted |= overlaps(i, side, y, p->part_h) && overlaps(j, side, x, p->part_w) &&
                               p->paint[(p->y + y) * p->w + p->x + x];
            assert_true(mask[i * side + j] == (painted ? 0 : 1));
        }
}

static void test_part(void **state)
{
    (void)state;
    for (int round = 0; round < 12; round++) {
        int w = 1 + (int)below(150), h = 1 + (int)below(150);
        Image picture = {0};
        Inpaint p;
        uint8_t *paint = malloc((size_t)w * (size_t)h);
        OK(image_init(w, h, &picture));
        fill_noise(picture.pixels, image_bytes(&picture));
        draw_rectangle(paint, w, h);
        OK(inpaint_init(&p, &picture, paint, SMALL, LARGE));
        check_part(&p, paint);
        check_mask(&p, p.given.small_mask, SMALL);
        if (round < 3) check_mask(&p, p.given.large_mask, LARGE);
        inpaint_release(&p);
        memset(paint, 0, (size_t)w * (size_t)h);
        FAILS(inpaint_init(&p, &picture, paint, SMALL, LARGE), STATUS_BAD_INPUT, "marks nothing");
        free(paint);
        image_release(&picture);
    }
}

/* A stage's answer of another colour than the picture has around the mask: its own differences stay, the colour gives way. */
static void test_paste(void **state)
{
    (void)state;
    Image picture = {0}, answer = {0}, out = {0};
    static uint8_t paint[100 * 80];
    Inpaint p;
    OK(image_init(100, 80, &picture));
    OK(image_init(LARGE, LARGE, &answer));
    memset(picture.pixels, 90, image_bytes(&picture));
    memset(answer.pixels, 230, image_bytes(&answer));
    for (int y = 30; y < 60; y++) memset(paint + 100 * y + 40, 1, 30);
    OK(inpaint_init(&p, &picture, paint, SMALL, LARGE));
    OK(inpaint_paste(&p, &picture, &answer, &out));
    assert_memory_equal(out.pixels, picture.pixels, image_bytes(&picture));
    image_release(&out);
    int x = (55 - p.x) * LARGE / p.part_w, y = (45 - p.y) * LARGE / p.part_h; /* of the mask's middle */
    for (int i = y - 3; i <= y + 3; i++) memset(answer.pixels + 3 * (LARGE * i + x - 3), 200, 3 * 7);
    OK(inpaint_paste(&p, &picture, &answer, &out));
    assert_int_equal(out.pixels[3 * (100 * 45 + 55)], 60);
    assert_int_equal(out.pixels[3 * (100 * 45 + 42)], 90);
    image_release(&out);
    image_release(&picture);
    image_release(&answer);
    inpaint_release(&p);
}

static void test_fit_mask(void **state)
{
    (void)state;
    uint8_t values[6] = {0, 127, 128, 255, 0, 200}, *paint; /* 3 x 2 */
    Mask mask = {.w = 3, .h = 2, .values = values};
    OK(inpaint_fit_mask(&mask, false, 3, 2, &paint));
    assert_memory_equal(paint, ((uint8_t[]){0, 0, 1, 1, 0, 1}), 6);
    free(paint);
    OK(inpaint_fit_mask(&mask, true, 6, 2, &paint));
    assert_memory_equal(paint, ((uint8_t[]){1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0}), 12);
    free(paint);
    OK(inpaint_fit_mask(&mask, false, 1, 1, &paint));
    assert_int_equal(paint[0], 0); /* the middle is value (1,1) */
    free(paint);
}

/* --- painting ---------------------------------------------------------------------------------------- */

typedef struct Scene {
    GlidePicture picture;
    GlideMask mask;
} Scene;

static Scene scene_new(int w, int h)
{
    size_t n = (size_t)w * (size_t)h;
    Scene s = {{.width = w, .height = h, .rgb = malloc(3 * n)}, {w, h, malloc(n)}};
    fill_noise(s.picture.rgb, 3 * n);
    draw_rectangle(s.mask.paint, w, h);
    return s;
}

static void scene_free(Scene *s)
{
    glide_picture_release(&s->picture);
    glide_mask_release(&s->mask);
}

static GlideInpaintOptions quick(void)
{
    GlideInpaintOptions o = glide_inpaint_defaults();
    o.sample.steps = "4";
    o.sample.upsampler_steps = "2";
    o.jump = 2;
    o.repeats = 2;
    return o;
}

/* Not one byte differs outside the mask, and something does inside. */
static void check_outside(const Scene *s, const GlidePicture *painted)
{
    int64_t n = (int64_t)s->picture.width * s->picture.height, changed = 0;
    assert_true(painted->width == s->picture.width && painted->height == s->picture.height);
    for (int64_t i = 0; i < n; i++) {
        bool same = !memcmp(s->picture.rgb + 3 * i, painted->rgb + 3 * i, 3);
        assert_true(same || s->mask.paint[i]);
        changed += !same;
    }
    assert_true(changed > 0);
}

static void paint_everywhere(Glide *g)
{
    const int sizes[][2] = {{64, 64}, {100, 70}, {20, 90}, {3, 1}};
    for (int i = 0; i < 4; i++) {
        Scene s = scene_new(sizes[i][0], sizes[i][1]);
        GlideInpaintOptions o = quick();
        GlidePicture out[2] = {{0}};
        o.sample.n = 2;
        o.sample.upsample = i != 1;
        check(glide_inpaint(g, &s.picture, &s.mask, "cat", &o, out));
        check_outside(&s, &out[0]);
        check_outside(&s, &out[1]);
        assert_string_equal(glide_picture_recipe(&out[0], "repeats"), "2");
        if (i == 0) assert_memory_not_equal(out[0].rgb, out[1].rgb, 3 * 64 * 64);
        glide_picture_release(&out[0]);
        glide_picture_release(&out[1]);
        scene_free(&s);
    }
}

/* The second of two pictures alone, on another number of threads. */
static void paint_alone(int n, uint32_t image, int threads, const Scene *s, GlidePicture *out)
{
    Glide *g;
    GlideInpaintOptions o = quick();
    GlideOptions with = glide_defaults();
    with.threads = threads;
    o.sample.n = n;
    o.sample.image = image;
    check(glide_open(&with, &g));
    check(glide_inpaint(g, &s->picture, &s->mask, "cat", &o, out));
    glide_close(g);
}

static void test_inpaint(void **state)
{
    (void)state;
    Glide *g;
    check(glide_open(NULL, &g));
    paint_everywhere(g);
    glide_close(g);
    Scene s = scene_new(80, 80);
    GlidePicture two[2] = {{0}}, alone = {0};
    paint_alone(2, 1, 2, &s, two);
    paint_alone(1, 2, 1, &s, &alone);
    assert_memory_equal(two[1].rgb, alone.rgb, 3 * 80 * 80);
    glide_picture_release(&two[0]);
    glide_picture_release(&two[1]);
    glide_picture_release(&alone);
    scene_free(&s);
}

/* How far the painted pixels of a ramp, whose colours its surroundings tell, are from it. */
static int painted_off(Glide *g, const Scene *s, double strength, bool *told)
{
    GlideInpaintOptions o = quick();
    GlidePicture out = {0};
    int most = 0;
    o.sample.strength = strength;
    o.sample.upsample = false;
    check(glide_inpaint(g, &s->picture, &s->mask, "", &o, &out));
    for (int i = 0; i < 3 * s->picture.width * s->picture.height; i++)
        if (abs(out.rgb[i] - s->picture.rgb[i]) > most) most = abs(out.rgb[i] - s->picture.rgb[i]);
    *told = glide_picture_recipe(&out, "strength") != NULL;
    glide_picture_release(&out);
    return most;
}

/* Of strength 0 comes the colours around, which continue a ramp but for three roundings; what is drawn anew leads away from them. */
static void test_strength(void **state)
{
    (void)state;
    Glide *g;
    bool told;
    Scene s = scene_new(SMALL, SMALL);
    for (int i = 0; i < 3 * SMALL * SMALL; i++) s.picture.rgb[i] = (uint8_t)(20 + 3 * (i / 3 % SMALL) + 2 * (i / 3 / SMALL));
    memset(s.mask.paint, 0, SMALL * SMALL);
    for (int y = 4; y < SMALL - 5; y++) memset(s.mask.paint + y * SMALL + 3, 1, SMALL / 2);
    check(glide_open(NULL, &g));
    assert_true(painted_off(g, &s, 0, &told) <= 2 && told);
    assert_true(painted_off(g, &s, 0.6, &told) > 4 && told);
    assert_true(painted_off(g, &s, 1, &told) > 4 && !told);
    glide_close(g);
    scene_free(&s);
}

/* Models that take the known picture and its mask as channels. */
static void test_inpaint_models(void **state)
{
    (void)state;
    char path[2][96];
    Glide *g;
    for (int i = 0; i < 2; i++) {
        TextUNet *like = tiny_model(i == 1, 5);
        TextUNetConfig c = like->config;
        c.inpaint = true;
        TextUNet *m = random_model(&c, 5);
        snprintf(path[i], sizeof path[i], "%s/inpaint%d.h5", test_folder, i);
        write_model(m, path[i]);
        text_unet_free(m);
        text_unet_free(like);
    }
    GlideOptions o = glide_defaults();
    o.weights = path[0];
    o.upsampler_weights = path[1];
    check(glide_open(&o, &g));
    paint_everywhere(g);
    glide_close(g);
}

static void check_added_channels(Kernels *kernels)
{
    static float before[LARGE * LARGE * 3], after[LARGE * LARGE * 3], low[SMALL * SMALL * 3];
    const char *prompt = "cat";
    SamplerRow row = {.seed = 4};
    StageOptions o;
    stage_options_defaults(&o);
    o.steps = "3";
    for (int i = 0; i < SMALL * SMALL * 3; i++) low[i] = (float)(i % 7) / 7;
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        TextUNet *m = tiny_model(upsampler, 9);
        int side = m->config.unet.image_size;
        StageInput in = {.n = 1, .side = side, .prompts = &prompt, .rows = &row, .low_side = SMALL};
        if (upsampler) in.low_res = low;
        OK(stage_sample(kernels, m, &o, &in, before));
        OK(text_unet_add_inpaint(&m));
        assert_true(m->config.inpaint && m->bpe);
        OK(stage_sample(kernels, m, &o, &in, after));
        for (int i = 0; i < side * side * 3; i++) assert_true(fabsf(before[i] - after[i]) < 1e-4f);
        text_unet_free(m);
    }
}

/* New channels for masks do not change what a model answers. oneDNN's f32 kernels for AVX2 add up more channels in another order, which
 * the first step, a division by sqrt(alphas_cumprod), makes visible: the plain kernels do not. */
static void test_added_channels(void **state)
{
    (void)state;
    static const KernelsChoice choices[] = {KERNELS_NO_ONEDNN, KERNELS_BEST};
    for (int i = 0; i < 2; i++) {
        Kernels *kernels;
        OK(kernels_new(choices[i], &kernels));
        if (i == 0 || kernels->native_bf16) check_added_channels(kernels);
        kernels_free(kernels);
    }
}

/* What is expected inside a mask less what is known around it, over its border's edges and the steps so far. */
typedef struct Border {
    const StageInput *in;
    double off;
} Border;

static int add_border(void *ctx, const SamplerProgress *p)
{
    Border *b = ctx;
    int side = (int)b->in->side;
    double sum = 0;
    for (int y = 0; y < side; y++)
        for (int x = 0; x + 1 < side; x++)
            for (int down = 0; down < 2; down++) { /* the edge to the right, and of the transposed picture */
                int i = down ? x * side + y : y * side + x, j = i + (down ? side : 1);
                if (b->in->mask[i] == b->in->mask[j]) continue;
                for (int c = 0; c < 3; c++) sum += (b->in->mask[j] - b->in->mask[i]) * (p->x_0[3 * i + c] - p->x_0[3 * j + c]);
            }
    b->off += fabs(sum);
    return 0;
}

/* With closed seams the steps across a mask's border, which a model that knows nothing makes, cancel at every step of the process. */
static void test_closed_seam(void **state)
{
    (void)state;
    static float known[SMALL * SMALL * 3], mask[SMALL * SMALL], x[SMALL * SMALL * 3];
    const char *prompt = "";
    SamplerRow row = {.seed = 4};
    StageInput in = {.n = 1, .side = SMALL, .prompts = &prompt, .rows = &row, .known = known, .mask = mask};
    Border border[2] = {{&in, 0}, {&in, 0}};
    TextUNet *m = tiny_model(false, 9);
    Kernels *kernels;
    OK(kernels_new(KERNELS_BEST, &kernels));
    for (int i = 0; i < SMALL * SMALL * 3; i++) known[i] = 0.3f;
    for (int i = 0; i < SMALL * SMALL; i++) mask[i] = i % SMALL < 4 || i / SMALL < 3 || i % SMALL > 10 || i / SMALL > 9;
    for (int closed = 0; closed < 2; closed++) {
        StageOptions o;
        stage_options_defaults(&o);
        o.steps = "6";
        o.close_seam = closed;
        o.progress = add_border;
        o.progress_ctx = &border[closed];
        OK(stage_sample(kernels, m, &o, &in, x));
    }
    assert_true(border[0].off > 0.5);
    assert_true(border[1].off < 0.1 * border[0].off);
    text_unet_free(m);
    kernels_free(kernels);
}

/* --- what files say besides 8-bit colours ------------------------------------------------------------- */

/* The file kind.png painted on under `mask`, there and back by files. */
static Picture paint_file(Glide *g, const Picture *before, GlideMask *mask)
{
    GlidePicture in = {0}, out = {0};
    GlideInpaintOptions o = quick();
    Picture after;
    FileBytes f = test_png_file(before, NULL);
    write_bytes(in_test_folder("kind.png"), f.bytes, f.size);
    free(f.bytes);
    check(glide_picture_read(in_test_folder("kind.png"), &in));
    if (!mask->paint) check(glide_mask_read(in_test_folder("kind.png"), false, in.width, in.height, mask));
    check(glide_inpaint(g, &in, mask, "cat", &o, &out));
    check(glide_picture_write(&out, in_test_folder("painted.png")));
    glide_picture_release(&in);
    glide_picture_release(&out);
    OK(picture_read(in_test_folder("painted.png"), &after));
    return after;
}

/* Outside of the mask, values and profile stay to the bit. Inside, something changes, and alpha stays or becomes `opaque`. */
static void check_detail(const Picture *a, const Picture *b, const uint8_t *paint, bool opaque)
{
    int changed = 0;
    size_t channels = (size_t)a->channels;
    assert_true(a->w == b->w && a->h == b->h && a->channels == b->channels && a->bits == b->bits && a->icc_size == b->icc_size);
    if (a->icc) assert_memory_equal(a->icc, b->icc, a->icc_size);
    for (size_t i = 0; i < (size_t)(a->w * a->h); i++)
        for (size_t c = 0; c < channels; c++) {
            unsigned was = picture_value(a, i * channels + c), is = picture_value(b, i * channels + c);
            if (c == 3 && opaque && paint[i]) assert_int_equal(is, a->bits == 16 ? 65535 : 255);
            else if (c == 3 || !paint[i]) assert_int_equal(is, was);
            else changed += is != was;
        }
    assert_true(changed > 0);
}

/* Alpha of test_picture() falls to the right, at x = 38 below a half of 255. */
static void test_detail(void **state)
{
    (void)state;
    enum { W = 60, H = 50 };
    unsigned char icc[TEST_ICC_SIZE];
    uint8_t band[W * H] = {0}, *own = NULL;
    Glide *g;
    check(glide_open(NULL, &g));
    memset(band + 20 * W, 1, 10 * W); /* what can be seen and what cannot */
    for (int kind = 0; kind < 16; kind++) {
        int channels = 3 + (kind & 1), bits = kind & 2 ? 16 : 8;
        bool grey = kind & 4, profile = kind & 8;
        Picture p = test_picture(W, H, channels, bits, grey);
        test_icc(grey ? "GRAY" : "RGB ", icc);
        if (profile) OK(picture_set_profile(&p, icc, sizeof icc));
        GlideMask mask = {W, H, band};
        Picture after = paint_file(g, &p, &mask);
        check_detail(&p, &after, band, false);
        assert_int_equal(after.grey, grey && profile);
        picture_release(&after);
        if (channels == 4) {
            mask = (GlideMask){0};
            after = paint_file(g, &p, &mask);
            check_detail(&p, &after, mask.paint, true);
            own = mask.paint;
            assert_true(!own[37] && own[38]);
            glide_mask_release(&mask);
            picture_release(&after);
        }
        picture_release(&p);
    }
    glide_close(g);
}

/* Half-transparent pixels get the colours that look as painted on white, as far as there are such. */
static void test_detail_colours(void **state)
{
    (void)state;
    Picture p, out;
    Image painted, shown = {0};
    uint8_t paint[4] = {1, 1, 1, 1};
    OK(picture_init(2, 2, 4, 8, &p));
    OK(image_init(2, 2, &painted));
    const uint8_t alphas[4] = {255, 200, 100, 0}, wanted[4] = {7, 180, 30, 40}, expected[4] = {7, 180, 155, 255};
    for (int i = 0; i < 4; i++) {
        ((uint8_t *)p.values)[4 * i + 3] = alphas[i];
        memset(painted.pixels + 3 * i, wanted[i], 3);
    }
    OK(inpaint_detail(&p, paint, &painted, &out));
    OK(picture_to_image(&out, &shown));
    for (int i = 0; i < 4; i++) assert_in_range(abs(shown.pixels[3 * i] - expected[i]), 0, 1);
    image_release(&shown);
    image_release(&painted);
    picture_release(&out);
    picture_release(&p);
}

static void test_wrong_scenes(void **state)
{
    (void)state;
    Glide *g;
    Scene s = scene_new(64, 64);
    GlidePicture out = {0};
    GlideInpaintOptions o = quick();
    check(glide_open(NULL, &g));
    o.repeats = 17;
    FAILS((Status)glide_inpaint(g, &s.picture, &s.mask, "", &o, &out), STATUS_BAD_INPUT, "repeats: expected 1 to 16, found 17");
    o = quick();
    o.jump = 0;
    FAILS((Status)glide_inpaint(g, &s.picture, &s.mask, "", &o, &out), STATUS_BAD_INPUT, "jump");
    o = quick();
    o.sample.strength = 1.5;
    FAILS((Status)glide_inpaint(g, &s.picture, &s.mask, "", &o, &out), STATUS_BAD_INPUT, "strength: expected 0 to 1, found 1.5");
    o = quick();
    o.sample.init_image = &s.picture;
    FAILS((Status)glide_inpaint(g, &s.picture, &s.mask, "", &o, &out), STATUS_BAD_INPUT, "init_image");
    o = quick();
    s.mask.width = 32;
    FAILS((Status)glide_inpaint(g, &s.picture, &s.mask, "", &o, &out), STATUS_BAD_INPUT, "32x64 pixels, expected 64x64");
    s.mask.width = 64;
    memset(s.mask.paint, 0, 64 * 64);
    FAILS((Status)glide_inpaint(g, &s.picture, &s.mask, "", &o, &out), STATUS_BAD_INPUT, "marks nothing");
    assert_null(out.rgb);
    scene_free(&s);
    glide_close(g);
}

/* --- starting from a picture ------------------------------------------------------------------------- */

static int largest_difference(const GlidePicture *a, const GlidePicture *b)
{
    int most = 0;
    assert_true(a->width == b->width && a->height == b->height);
    for (int i = 0; i < 3 * a->width * a->height; i++)
        if (abs(a->rgb[i] - b->rgb[i]) > most) most = abs(a->rgb[i] - b->rgb[i]);
    return most;
}

/* Strength 0 gives the picture back; more of it leads away; 1 is not the same as starting from noise, but nearly so. */
static void test_init_image(void **state)
{
    (void)state;
    Glide *g;
    Scene s = scene_new(LARGE, LARGE);
    GlideSampleOptions o = quick().sample;
    GlidePicture out = {0};
    int before = 0;
    const double strengths[] = {0, 0.5, 1};
    check(glide_open(NULL, &g));
    o.init_image = &s.picture;
    for (int i = 0; i < 3; i++) {
        o.strength = strengths[i];
        check(glide_sample(g, "cat", &o, &out));
        int difference = largest_difference(&s.picture, &out);
        assert_true(i == 0 ? difference == 0 : difference > before);
        if (i == 1) assert_string_equal(glide_picture_recipe(&out, "strength"), "0.5");
        if (i < 2) before = difference;
        glide_picture_release(&out);
    }
    o.strength = 1.5;
    FAILS((Status)glide_sample(g, "cat", &o, &out), STATUS_BAD_INPUT, "strength: expected 0 to 1, found 1.5");
    o.init_image = &(GlidePicture){0};
    FAILS((Status)glide_sample(g, "cat", &o, &out), STATUS_BAD_INPUT, "init_image");
    scene_free(&s);
    glide_close(g);
}

/* --- colours ----------------------------------------------------------------------------------------- */

/* A shift of all colours goes away; what is finer than the cells stays; a picture with the right colours is left alone. */
static void test_colours(void **state)
{
    (void)state;
    enum { SIDE = 32, LOW = 8 };
    static float low[2 * LOW * LOW * 3], x[2 * SIDE * SIDE * 3], right[2 * SIDE * SIDE * 3];
    StageOptions o;
    StageHooks h;
    Denoiser d = {0};
    for (int i = 0; i < 2 * LOW * LOW * 3; i++) low[i] = (float)(i % 3) * 0.2f;
    for (int i = 0; i < 2 * SIDE * SIDE * 3; i++) right[i] = (float)(i % 3) * 0.2f + (i / 3 % 2 ? 0.1f : -0.1f);
    for (int i = 0; i < 2 * SIDE * SIDE * 3; i++) x[i] = right[i] - 0.4f + (float)(i % 3) * 0.1f;
    stage_options_defaults(&o);
    StageInput in = {.n = 2, .side = SIDE, .low_res = low, .low_side = LOW};
    o.colour_cells = 4;
    OK(stage_hooks_init(&h, &o, &in));
    stage_hooks_install(&h, &d);
    OK(d.denoised(d.denoised_ctx, NULL, x));
    for (int i = 0; i < 2 * SIDE * SIDE * 3; i++) assert_true(fabsf(x[i] - right[i]) < 1e-5f);
    stage_hooks_release(&h);

    const int off[] = {0, 3, 16}; /* neither 3 nor 16 divides both sides */
    for (int i = 0; i < 3; i++) {
        o.colour_cells = off[i];
        d = (Denoiser){0};
        OK(stage_hooks_init(&h, &o, &in));
        stage_hooks_install(&h, &d);
        assert_true(d.denoised == NULL);
        stage_hooks_release(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_part),           cmocka_unit_test(test_paste),        cmocka_unit_test(test_fit_mask),
        cmocka_unit_test(test_inpaint),        cmocka_unit_test(test_strength),
        cmocka_unit_test(test_inpaint_models), cmocka_unit_test(test_wrong_scenes), cmocka_unit_test(test_init_image),
        cmocka_unit_test(test_colours),        cmocka_unit_test(test_added_channels), cmocka_unit_test(test_detail),
        cmocka_unit_test(test_detail_colours), cmocka_unit_test(test_closed_seam),
    };
    return cmocka_run_group_tests(tests, tiny_weights_setup, tiny_weights_teardown);
}
