/* glide upsample, glide inpaint and glide sample --init-image as people run them. */
#include "common/image_read.h"
#include "common/png_write.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* --- glide upsample --------------------------------------------------------------------------------- */

static void test_upsample(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    cli_run_ok(&r, "$G sample 'red apple' --seed 4 -o whole.png -q " QUICK);
    cli_run_ok(&r, "$G sample 'red apple' --seed 4 -o half.png -q --no-upsample --steps 3");
    cli_run_ok(&r, "$G upsample half.png -o large.png --prompt 'red apple' --seed 4 --steps 2");
    assert_string_equal(r.out, "large.png\n");
    cli_check_picture("large.png", TINY_UPSAMPLER_SIDE);
    Image a = {0}, b = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/whole.png", cli_folder);
    assert_int_equal(image_read(path, &a), STATUS_OK);
    snprintf(path, sizeof path, "%s/large.png", cli_folder);
    assert_int_equal(image_read(path, &b), STATUS_OK);
    assert_memory_equal(a.pixels, b.pixels, image_bytes(&a));
    image_release(&a);
    image_release(&b);
    cli_read_chunk("large.png", "upsampler_steps", value, sizeof value);
    assert_string_equal(value, "2");
    cli_read_chunk("large.png", "sampler", value, sizeof value);
    assert_string_equal(value, "");

    assert_int_equal(image_init(90, 40, &a), STATUS_OK); /* any picture */
    snprintf(path, sizeof path, "%s/wide.png", cli_folder);
    assert_int_equal(png_write(path, &a, NULL, 0), STATUS_OK);
    image_release(&a);
    cli_run_ok(&r, "mkdir -p up && $G upsample wide.png -o up --seed 4 --steps 2 -q");
    assert_string_equal(r.err, "glide upsample: warning: wide.png has 90x40 pixels; made square, its proportions change\n");
    cli_check_picture("up/wide-256.png", TINY_UPSAMPLER_SIDE);
    cli_run_ok(&r, "$G upsample - -o - --prompt 'red apple' --seed 4 --steps 2 < half.png > piped.png");
    cli_assert_same_files("piped.png", "large.png");
}

/* --- glide inpaint, glide sample --init-image ------------------------------------------------------- */

/* A grey picture of w x h, brighter to the right. */
static void write_ramp(const char *name, int w, int h)
{
    Image a = {0};
    char path[256];
    assert_int_equal(image_init(w, h, &a), STATUS_OK);
    for (int i = 0; i < 3 * w * h; i++) a.pixels[i] = (uint8_t)(i / 3 % w * 255 / (w > 1 ? w - 1 : 1));
    snprintf(path, sizeof path, "%s/%s", cli_folder, name);
    assert_int_equal(png_write(path, &a, NULL, 0), STATUS_OK);
    image_release(&a);
}

static void test_inpaint(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    write_ramp("ramp.png", 70, 50);
    write_ramp("mask.png", 7, 1); /* the right half */
    cli_run_ok(&r, "$G inpaint ramp.png --mask mask.png -p cat -o painted.png --seed 1 --repeats 2 -n 2 " QUICK);
    assert_string_equal(r.out, "painted-1.png\npainted-2.png\n");
    cli_read_chunk("painted-2.png", "repeats", value, sizeof value);
    assert_string_equal(value, "2");
    cli_run_ok(&r, "mkdir -p in && $G inpaint - -m mask.png --invert-mask -p cat -o in -q --seed 1 " QUICK " < ramp.png");
    assert_true(cli_exists("in/glide-painted.png"));
    cli_refuse("$G inpaint ramp.png -o x.png", "--mask: expected a picture");
    cli_refuse("$G inpaint ramp.png -m mask.png", "--output: expected a file");
    cli_refuse("$G inpaint ramp.png -m mask.png -o ramp.png", "is the picture to paint on");
    cli_refuse("$G inpaint - -m - -o x.png < ramp.png", "standard input is the picture already");
    cli_refuse("$G inpaint ramp.png -m missing.png -o x.png", "missing.png");
    cli_refuse("$G inpaint ramp.png -m base.h5 -o x.png", "found an HDF5 file");
    cli_refuse("$G inpaint ramp.png -m mask.png -o x.png --repeats 17", "--repeats");
    cli_run_ok(&r, "$G sample cat --init-image ramp.png --strength 0.25 -o from.png --seed 1 " QUICK);
    cli_read_chunk("from.png", "strength", value, sizeof value);
    assert_string_equal(value, "0.25");
    cli_refuse("$G sample cat --strength 0.5 -o x.png", "--strength: expected --init-image");
    cli_refuse("$G sample cat --init-image missing.png -o x.png", "missing.png");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_upsample), cmocka_unit_test(test_inpaint)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
