/* Closing the seam around what was painted, against the equation solved slowly, and what must stay as it is. */
#include "common/rng.h"
#include "glide/seam.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct Scene {
    int w, h;
    Image picture;
    uint8_t *paint;
} Scene;

static uint32_t below(uint32_t n)
{
    static uint32_t drawn;
    return rng_below(&(RngKey){.seed = 5, .stream = RNG_TEST}, drawn++, n);
}

static Scene scene_new(int w, int h)
{
    Scene s = {.w = w, .h = h, .paint = calloc((size_t)w * (size_t)h, 1)};
    OK(image_init(w, h, &s.picture));
    return s;
}

static void scene_free(Scene *s)
{
    image_release(&s->picture);
    free(s->paint);
}

static void close_all(Scene *s)
{
    OK(seam_close(&s->picture, s->paint, 0, 0, s->w, s->h));
}

static void paint_box(Scene *s, int x0, int y0, int x1, int y1)
{
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) s->paint[y * s->w + x] = 1;
}

/* An answer that is off by a colour comes back as that colour, in large pictures too; and the rectangle may be smaller. */
static void test_offset(void **state)
{
    (void)state;
    for (int scale = 1; scale <= 16; scale *= 4) {
        Scene s = scene_new(61 * scale, 47 * scale);
        paint_box(&s, 9 * scale, 5 * scale, 50 * scale, 40 * scale);
        for (int i = 0; i < s.w * s.h; i++)
            for (int c = 0; c < 3; c++) s.picture.pixels[3 * i + c] = (uint8_t)(60 + 40 * c + (s.paint[i] ? 35 - 20 * c : 0));
        OK(seam_close(&s.picture, s.paint, 7 * scale, 5 * scale, 44 * scale, 36 * scale));
        for (int i = 0; i < s.w * s.h; i++)
            for (int c = 0; c < 3; c++) assert_int_equal(s.picture.pixels[3 * i + c], 60 + 40 * c);
        scene_free(&s);
    }
}

/* What fits is left alone, however it looks inside; so is a picture that is painted all over. */
static void test_left_alone(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        Scene s = scene_new(40, 40);
        paint_box(&s, all ? 0 : 10, all ? 0 : 10, all ? 40 : 30, all ? 40 : 30);
        for (int y = 0; y < 40; y++)
            for (int x = 0; x < 40; x++)
                for (int c = 0; c < 3; c++) {
                    bool drawn = all || (x > 12 && x < 27 && y > 12 && y < 27);
                    s.picture.pixels[3 * (40 * y + x) + c] = (uint8_t)(drawn ? below(256) : 90);
                }
        Image before = {0};
        OK(image_init(40, 40, &before));
        memcpy(before.pixels, s.picture.pixels, image_bytes(&before));
        close_all(&s);
        assert_memory_equal(before.pixels, s.picture.pixels, image_bytes(&before));
        image_release(&before);
        scene_free(&s);
    }
}

/* c of one colour by so many plain averages that nothing changes any more. (h,w), free(). */
static double *solve_slowly(const Scene *s, const uint8_t *before, int channel)
{
    double *c = calloc((size_t)s->w * (size_t)s->h, sizeof *c);
    for (int round = 0; round < 8000; round++)
        for (int y = 0; y < s->h; y++)
            for (int x = 0; x < s->w; x++) {
                static const int dx[] = {1, -1, 0, 0}, dy[] = {0, 0, 1, -1};
                double sum = 0;
                int n = 0, i = y * s->w + x;
                if (!s->paint[i]) continue;
                for (int k = 0; k < 4; k++) {
                    int X = x + dx[k], Y = y + dy[k], j = Y * s->w + X;
                    if (X < 0 || Y < 0 || X >= s->w || Y >= s->h) continue;
                    sum += s->paint[j] ? c[j] : before[3 * j + channel] - before[3 * i + channel];
                    n++;
                }
                if (n > 0) c[i] = sum / n;
            }
    return c;
}

/* Random pictures and masks of odd shapes, at the picture's edges too. */
static void test_equation(void **state)
{
    (void)state;
    double worst = 0;
    for (int round = 0; round < 8; round++) {
        Scene s = scene_new(20 + (int)below(60), 20 + (int)below(60));
        for (int box = 0; box < 3; box++) {
            int x = (int)below((uint32_t)s.w), y = (int)below((uint32_t)s.h);
            paint_box(&s, x, y, x + 1 + (int)below((uint32_t)(s.w - x)), y + 1 + (int)below((uint32_t)(s.h - y)));
        }
        size_t n = image_bytes(&s.picture);
        for (size_t i = 0; i < n; i++) s.picture.pixels[i] = (uint8_t)(64 + (i * round) % 64 + below(64));
        uint8_t *before = malloc(n);
        memcpy(before, s.picture.pixels, n);
        close_all(&s);
        for (int channel = 0; channel < 3; channel++) {
            double *c = solve_slowly(&s, before, channel);
            for (int i = 0; i < s.w * s.h; i++) {
                double expected = fmin(255, fmax(0, before[3 * i + channel] + c[i]));
                if (!s.paint[i]) assert_int_equal(s.picture.pixels[3 * i + channel], before[3 * i + channel]);
                worst = fmax(worst, fabs(s.picture.pixels[3 * i + channel] - expected));
            }
            free(c);
        }
        free(before);
        scene_free(&s);
    }
    print_message("largest difference %.2f of 255\n", worst);
    assert_true(worst < 2);
}

/* A photo's stripes around an answer of another colour: the steps across the border are gone. */
static void test_step(void **state)
{
    (void)state;
    Scene s = scene_new(256, 256);
    double before = 0, after = 0;
    paint_box(&s, 80, 80, 176, 176);
    for (int y = 0; y < 256; y++)
        for (int x = 0; x < 256; x++)
            for (int c = 0; c < 3; c++) {
                int stripes = 90 + y / 4 + 30 * (x / 16 % 2);
                s.picture.pixels[3 * (256 * y + x) + c] = (uint8_t)(s.paint[256 * y + x] ? 250 - 8 * c : stripes);
            }
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        for (int i = 80; i < 176; i++)
            for (int c = 0; c < 3; c++) {
                const uint8_t *p = s.picture.pixels + c;
                sum += abs(p[3 * (256 * i + 79)] - p[3 * (256 * i + 80)]) + abs(p[3 * (256 * i + 176)] - p[3 * (256 * i + 175)]) +
                       abs(p[3 * (256 * 79 + i)] - p[3 * (256 * 80 + i)]) + abs(p[3 * (256 * 176 + i)] - p[3 * (256 * 175 + i)]);
            }
        *(pass ? &after : &before) = sum / (96 * 3 * 4);
        if (!pass) close_all(&s);
    }
    print_message("mean step across the border: %.1f before, %.1f after\n", before, after);
    assert_true(before > 80 && after < 3);
    scene_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offset), cmocka_unit_test(test_left_alone), cmocka_unit_test(test_equation),
        cmocka_unit_test(test_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
