/* What picture files say besides 8-bit colours: read, turned, written, enlarged. */
#include "common/image_read.h"
#include "common/jpeg_write.h"
#include "common/png_write.h"
#include "common/rng.h"
#include "glide/enlarge.h"
#include "glide/frame.h"
#include "glide/glide.h"
#include "tests/support_models.h"
#include "tests/support_pictures.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static Picture read_back(FileBytes f)
{
    Picture p;
    OK(picture_decode("it", f.bytes, f.size, &p));
    free(f.bytes);
    return p;
}

static void check_same(const Picture *a, const Picture *b, int tolerance)
{
    assert_int_equal(a->w, b->w);
    assert_int_equal(a->h, b->h);
    assert_int_equal(a->channels, b->channels);
    assert_int_equal(a->bits, b->bits);
    assert_int_equal(a->grey, b->grey);
    for (size_t i = 0; i < (size_t)a->w * (size_t)a->h * (size_t)a->channels; i++)
        assert_in_range(abs((int)picture_value(a, i) - (int)picture_value(b, i)), 0, tolerance);
    assert_int_equal(a->icc_size, b->icc_size);
    if (a->icc) assert_memory_equal(a->icc, b->icc, a->icc_size);
}

static void check_read(FileBytes f, const Picture *expected, int tolerance)
{
    Picture p = read_back(f);
    check_same(expected, &p, tolerance);
    picture_release(&p);
}

/* --- files ---------------------------------------------------------------------------------------------- */

/* Every kind, there and back, to the bit where the format can. */
static void test_kinds(void **state)
{
    (void)state;
    unsigned char icc[TEST_ICC_SIZE];
    for (int channels = 3; channels <= 4; channels++)
        for (int bits = 8; bits <= 16; bits += 8)
            for (int grey = 0; grey < 2; grey++)
                for (int profile = 0; profile < 2; profile++) {
                    Picture p = test_picture(9, 7, channels, bits, grey);
                    test_icc(grey ? "GRAY" : "RGB ", icc);
                    if (profile) OK(picture_set_profile(&p, icc, sizeof icc));
                    check_read(test_png_file(&p, NULL), &p, 0);
                    if (bits == 8 && !grey) check_read(test_webp_file(&p, true, NULL), &p, 0);
                    if (bits == 8 && channels == 3) check_read(test_jpeg_file(&p, NULL), &p, grey ? 6 : 60);
                    picture_release(&p);
                }
    Picture p = test_picture(64, 48, 4, 8, false);
    Picture lossy = read_back(test_webp_file(&p, false, NULL));
    assert_int_equal(lossy.channels, 4);
    for (size_t i = 3; i < 64 * 48 * 4; i += 4) assert_int_equal(picture_value(&p, i), picture_value(&lossy, i));
    picture_release(&lossy);
    picture_release(&p);
}

static void test_profiles(void **state)
{
    (void)state;
    unsigned char icc[TEST_ICC_SIZE];
    Picture p = test_picture(4, 4, 3, 8, false);
    static const char *const others[] = {"GRAY", "CMYK", "Lab "};
    for (int i = 0; i < 3; i++) {
        test_icc(others[i], icc);
        OK(picture_set_profile(&p, icc, sizeof icc));
        assert_null(p.icc);
    }
    test_icc("RGB ", icc);
    OK(picture_set_profile(&p, icc, 100));
    assert_null(p.icc);
    picture_release(&p);
}

/* An upright 3x2 picture stored in each of the eight ways. */
static void test_orientation(void **state)
{
    (void)state;
    static const int stored[8][6] = {{0, 1, 2, 3, 4, 5}, {2, 1, 0, 5, 4, 3}, {5, 4, 3, 2, 1, 0}, {3, 4, 5, 0, 1, 2},
                                     {0, 3, 1, 4, 2, 5}, {2, 5, 1, 4, 0, 3}, {5, 2, 4, 1, 3, 0}, {3, 0, 4, 1, 5, 2}};
    unsigned char exif[TEST_EXIF_SIZE];
    enum { CELL = 16 }; /* JPEG keeps flat cells */
    for (int o = 1; o <= 8; o++) {
        int w = o > 4 ? 2 : 3, h = o > 4 ? 3 : 2;
        Picture p;
        OK(picture_init(w * CELL, h * CELL, 3, 8, &p));
        for (int i = 0; i < w * h * CELL * CELL; i++) {
            int x = i % (w * CELL) / CELL, y = i / (w * CELL) / CELL;
            memset((uint8_t *)p.values + 3 * i, 20 + 40 * stored[o - 1][y * w + x], 3);
        }
        test_exif(o, o % 2, exif);
        FileBytes files[] = {test_png_file(&p, exif), test_jpeg_file(&p, exif), test_webp_file(&p, true, exif)};
        for (int k = 0; k < 3; k++) {
            Picture up = read_back(files[k]);
            assert_true(up.w == 3 * CELL && up.h == 2 * CELL);
            for (int cell = 0; cell < 6; cell++) {
                size_t at = (size_t)((cell / 3 * CELL + CELL / 2) * up.w + cell % 3 * CELL + CELL / 2) * 3;
                assert_in_range(picture_value(&up, at), 20 + 40 * cell - 2, 20 + 40 * cell + 2);
            }
            picture_release(&up);
        }
        picture_release(&p);
    }
}

static void test_exif_blocks(void **state)
{
    (void)state;
    unsigned char exif[TEST_EXIF_SIZE], prefixed[TEST_EXIF_SIZE + 6] = "Exif\0";
    test_exif(6, true, exif);
    memcpy(prefixed + 6, exif, sizeof exif);
    assert_int_equal(exif_orientation(exif, sizeof exif), 6);
    assert_int_equal(exif_orientation(prefixed, sizeof prefixed), 6);
    for (size_t n = 0; n < 22; n++) assert_int_equal(exif_orientation(exif, n), 1);
    for (int i = 0; i < 3; i++) {
        test_exif((const int[]){0, 9, 255}[i], true, exif);
        assert_int_equal(exif_orientation(exif, sizeof exif), 1);
    }
    test_exif(6, false, exif);
    exif[4] = exif[5] = 0xff; /* a directory far beyond the end */
    assert_int_equal(exif_orientation(exif, sizeof exif), 1);
}

static void test_jpeg_texts(void **state)
{
    (void)state;
    Image image;
    FileBytes f;
    PngTexts texts;
    char *text = malloc(200001);
    for (int i = 0; i < 200000; i++) text[i] = (char)('a' + i % 23); /* four comments */
    text[200000] = 0;
    OK(image_init(5, 4, &image));
    OK(jpeg_encode(&image, &(JpegOptions){.quality = 50, .text = text}, &f.bytes, &f.size));
    OK(png_decode_text("it", f.bytes, f.size, &texts));
    assert_string_equal(png_texts_find(&texts, JPEG_TEXT_KEY), text);
    png_texts_release(&texts);
    free(f.bytes);
    OK(jpeg_encode(&image, &(JpegOptions){.quality = 50}, &f.bytes, &f.size));
    OK(png_decode_text("it", f.bytes, f.size, &texts));
    assert_int_equal(texts.count, 0);
    png_texts_release(&texts);
    free(f.bytes);
    free(text);
    image_release(&image);
    assert_true(jpeg_is_named("a/b.JPG") && jpeg_is_named("x.jpeg") && !jpeg_is_named("a.jpg/b") && !jpeg_is_named("jpg"));
}

/* All that could be had without asking the system for more, so that what follows does not depend on what ran before. */
static void use_up_memory(void)
{
    void *volatile taken;
    do taken = malloc(1 << 14);
    while (taken);
}

/* Encodes noise with ever more address space until it is enough; 0: every failure before that was one of memory. */
static int encode_in_little_memory(bool png)
{
    Image noise;
    struct rlimit limit;
    unsigned long pages = 0;
    if (image_init(1200, 1200, &noise) != STATUS_OK) return 1;
    const RngKey key = {.stream = RNG_TEST};
    for (size_t i = 0; i < image_bytes(&noise); i++) noise.pixels[i] = (uint8_t)rng_below(&key, (uint32_t)i, 256);
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1 || getrlimit(RLIMIT_AS, &limit) != 0) return 2;
    for (int mib = 0, failures = 0; mib < 64; mib++, failures++) {
        unsigned char *bytes;
        size_t size;
        limit.rlim_cur = pages * (unsigned long)sysconf(_SC_PAGESIZE) + ((unsigned long)mib << 20);
        if (setrlimit(RLIMIT_AS, &limit) != 0) return 3;
        if (mib == 0) use_up_memory();
        Status s = png ? png_encode(&noise, NULL, 0, &bytes, &size)
                       : jpeg_encode(&noise, &(JpegOptions){.quality = 95}, &bytes, &size);
        if (s == STATUS_OK) return failures > 4 ? 0 : 4; /* some came after the first block had grown */
        if (s != STATUS_NO_MEMORY) return 5;
    }
    return 6;
}

static void test_encoding_without_memory(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) /* their memory is not limited in this way */
    skip();
#endif
    for (int png = 0; png < 2; png++) {
        int end;
        pid_t child = fork();
        if (child == 0) _exit(encode_in_little_memory(png));
        assert_int_equal(waitpid(child, &end, 0), child);
        assert_int_equal(end, 0);
    }
}

static void test_refused_webp(void **state)
{
    (void)state;
    Picture p = test_picture(40, 30, 3, 8, false), none;
    FileBytes f = test_webp_file(&p, false, NULL);
    for (size_t n = 12; n < f.size; n += 7)
        FAILS(picture_decode("it", f.bytes, n, &none), STATUS_BAD_INPUT, "it: WebP cannot be read: ");
    FAILS(picture_decode("it", (const unsigned char *)"RIFF1234WAVE", 12, &none), STATUS_BAD_INPUT,
          "found a RIFF file that is no WebP");
    free(f.bytes);
    picture_release(&p);
}

/* --- transparency --------------------------------------------------------------------------------------- */

/* A red disc on bright green that nobody sees. */
static Picture disc(int side, int bits)
{
    Picture p;
    OK(picture_init(side, side, 4, bits, &p));
    for (int i = 0; i < side * side; i++) {
        double r = hypot(i % side - side / 2.0 + 0.5, i / side - side / 2.0 + 0.5), a = fmin(1, fmax(0, side * 0.35 - r + 0.5));
        unsigned full = bits == 16 ? 65535 : 255;
        unsigned values[4] = {a > 0 ? full * 4 / 5 : 0, a > 0 ? 0 : full, 0, (unsigned)lrint(a * full)};
        for (int c = 0; c < 4; c++) {
            if (bits == 16) ((uint16_t *)p.values)[4 * i + c] = (uint16_t)values[c];
            else ((uint8_t *)p.values)[4 * i + c] = (uint8_t)values[c];
        }
    }
    return p;
}

static void test_unseen_colours(void **state)
{
    (void)state;
    Picture p = disc(33, 8);
    Frame f;
    OK(frame_of_colours(&p, &f));
    for (int i = 0; i < 33 * 33; i++) { /* red reaches three pixels far, green nowhere, and beyond is white */
        double r = hypot(i % 33 - 16, i / 33 - 16);
        bool red = f.x[3 * i] > 0.55f && f.x[3 * i] < 0.65f && f.x[3 * i + 1] < -0.99f;
        bool white = f.x[3 * i] == 1 && f.x[3 * i + 1] == 1 && f.x[3 * i + 2] == 1;
        assert_true(red || white);
        if (r < 33 * 0.35 + 2) assert_true(red);
        if (r > 33 * 0.35 + 7) assert_true(white);
    }
    frame_release(&f);
    memset(p.values, 0, 33 * 33 * 4); /* nothing to be seen at all */
    OK(frame_of_colours(&p, &f));
    for (int i = 0; i < 33 * 33 * 3; i++) assert_true(f.x[i] == 1);
    assert_false(frame_alpha_varies(&p));
    frame_release(&f);
    picture_release(&p);
}

static Kernels *kernels;
static TextUNet *model;

static int setup(void **state)
{
    (void)state;
    if (kernels_new(KERNELS_BEST, &kernels) != STATUS_OK) return -1;
    model = tiny_model(true, 5);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    text_unet_free(model);
    kernels_free(kernels);
    return 0;
}

static Picture enlarge(const Picture *in, int scale, double fidelity)
{
    CascadeOptions o;
    Picture out;
    SamplerRow row = {.seed = 8};
    cascade_options_defaults(&o);
    o.upsampler.steps = "2";
    o.upsampler.fidelity = fidelity;
    EnlargeOptions e = {.scale = scale, .back_projection = fidelity > 0};
    OK(enlarge_picture(&(Cascade){kernels, NULL, model}, &o.upsampler, &e, in, "", NULL, &row, &(CascadeHooks){0}, &out));
    return out;
}

static void test_alpha_enlarged(void **state)
{
    (void)state;
    for (int bits = 8; bits <= 16; bits += 8) {
        Picture p = disc(16, bits), large = enlarge(&p, 4, 1);
        unsigned full = bits == 16 ? 65535 : 255;
        double sum = 0, small = 0;
        assert_true(large.w == 64 && large.h == 64 && large.channels == 4 && large.bits == bits);
        for (size_t i = 0; i < 64 * 64; i++) sum += picture_value(&large, 4 * i + 3) / 16.0;
        for (size_t i = 0; i < 16 * 16; i++) small += picture_value(&p, 4 * i + 3);
        assert_true(fabs(sum / small - 1) < 0.05); /* as much is covered */
        assert_int_equal(picture_value(&large, 3), 0); /* nothing is made where nothing was */
        assert_int_equal(picture_value(&large, 4 * (32 * 64 + 32) + 3), full);
        for (size_t i = 0; i < 64 * 64; i++)
            if (picture_value(&large, 4 * i + 3) > 0) assert_true(picture_value(&large, 4 * i + 1) < full / 4); /* no green */
        picture_release(&large);
        for (int i = 0; i < 16 * 16; i++) { /* the same all over: nothing is asked of the model */
            if (bits == 16) ((uint16_t *)p.values)[4 * i + 3] = 1234;
            else ((uint8_t *)p.values)[4 * i + 3] = 77;
        }
        large = enlarge(&p, 2, 1);
        for (size_t i = 0; i < 32 * 32; i++) assert_int_equal(picture_value(&large, 4 * i + 3), bits == 16 ? 1234 : 77);
        picture_release(&large);
        picture_release(&p);
    }
}

/* More than 8 bits survive: a picture between two 8-bit steps comes back, reduced, nearer than half of one. And grey stays grey. */
static void test_16_bits_and_grey(void **state)
{
    (void)state;
    unsigned char icc[TEST_ICC_SIZE];
    Picture p;
    OK(picture_init(16, 16, 3, 16, &p));
    p.grey = true;
    test_icc("GRAY", icc);
    OK(picture_set_profile(&p, icc, sizeof icc));
    for (int i = 0; i < 16 * 16 * 3; i++) ((uint16_t *)p.values)[i] = (uint16_t)(30000 + i / 3 * 20);
    Picture large = enlarge(&p, 4, 1);
    assert_true(large.grey && large.bits == 16 && large.icc_size == sizeof icc);
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 16; x++) {
            double sum = 0;
            for (int k = 0; k < 16; k++) {
                size_t at = (size_t)((4 * y + k / 4) * 64 + 4 * x + k % 4) * 3;
                for (size_t c = 1; c < 3; c++) assert_int_equal(picture_value(&large, at), picture_value(&large, at + c));
                sum += picture_value(&large, at) / 16.0;
            }
            assert_true(fabs(sum - picture_value(&p, (size_t)(16 * y + x) * 3)) < 10); /* an 8-bit step is 257 */
        }
    picture_release(&large);
    picture_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_orientation),
        cmocka_unit_test(test_exif_blocks),
        cmocka_unit_test(test_jpeg_texts),
        cmocka_unit_test(test_encoding_without_memory),
        cmocka_unit_test(test_refused_webp),
        cmocka_unit_test(test_unseen_colours),
        cmocka_unit_test(test_alpha_enlarged),
        cmocka_unit_test(test_16_bits_and_grey),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
