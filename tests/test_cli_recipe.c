/* glide recipe, glide verify and glide sample --from as people run them. */
#include "common/image_read.h"
#include "common/png_write.h"
#include "glide/recipe.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

/* --- pictures that were changed ----------------------------------------------------------------------- */

/* A copy of a picture with one pixel changed, and a line of its recipe (NULL: none; a1111: in both texts). */
static void write_changed(const char *from, const char *to, bool pixel, const char *key, const char *value, bool a1111)
{
    GlideRecipe *r, *other;
    Image image = {0};
    PngText texts[RECIPE_CHUNKS], changed[RECIPE_CHUNKS];
    assert_int_equal(recipe_read(in_test_folder(from), &r), STATUS_OK);
    assert_int_equal(recipe_copy(r, &other), STATUS_OK);
    assert_int_equal(image_read(in_test_folder(from), &image), STATUS_OK);
    if (pixel) image.pixels[image_bytes(&image) / 2] ^= 4;
    if (key) recipe_set(other, key, value);
    assert_int_equal(recipe_to_png(r, image.w, image.h, texts), STATUS_OK);
    assert_int_equal(recipe_to_png(other, image.w, image.h, changed), STATUS_OK);
    PngText both[] = {a1111 ? changed[0] : texts[0], changed[1]};
    assert_int_equal(png_write(in_test_folder(to), &image, both, 2), STATUS_OK);
    for (int i = 0; i < RECIPE_CHUNKS; i++) {
        free((char *)texts[i].value);
        free((char *)changed[i].value);
    }
    image_release(&image);
    recipe_free(r);
    recipe_free(other);
}

/* A copy of a PNG whose byte `at` of all its texts' (keys and values, in the file's order) is another, with the right checksum.
 * False: there are not so many. */
static bool write_flipped(const char *from, const char *to, size_t at, uint8_t mask)
{
    size_t size;
    uint8_t *bytes = read_bytes(in_test_folder(from), &size);
    bool done = false;
    for (size_t i = 8, n; i + 12 <= size && !done; i += 12 + n) {
        uint8_t *chunk = bytes + i;
        n = (size_t)chunk[0] << 24 | (size_t)chunk[1] << 16 | (size_t)chunk[2] << 8 | chunk[3];
        if (memcmp(chunk + 4, "tEXt", 4) && memcmp(chunk + 4, "iTXt", 4)) continue;
        done = at < n;
        if (!done) {
            at -= n;
            continue;
        }
        chunk[8 + at] ^= mask;
        uint32_t sum = (uint32_t)crc32(0, chunk + 4, (uInt)n + 4);
        for (int k = 0; k < 4; k++) chunk[8 + n + (size_t)k] = (uint8_t)(sum >> (24 - 8 * k));
    }
    if (done) write_bytes(in_test_folder(to), bytes, size);
    free(bytes);
    return done;
}

static void check_other(const char *words, const char *part, const char *second)
{
    CliOutcome r;
    cli_run(&r, "%s", words);
    if (r.exit_status != 1 || !strstr(r.out, part) || (second && !strstr(r.out, second)))
        fail_msg("%s: exit status %d, \"%s\", \"%s\"; expected 1 and \"%s\"", words, r.exit_status, r.out, r.err, part);
    assert_non_null(strstr(r.err, "what"));
}

/* --- glide recipe ------------------------------------------------------------------------------------- */

static void test_recipe(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample '빨간 \"사과\"\nzwei' --seed 8 --negative-prompt 'a: b, c' -o one.png -q " QUICK);
    cli_run_ok(&r, "$G recipe one.png");
    assert_non_null(strstr(r.out, "one.png\n"));
    assert_non_null(strstr(r.out, "  prompt                 빨간 \"사과\"\\nzwei\n"));
    cli_run_ok(&r, "$G recipe --json one.png");
    json_t *o = json_loads(r.out, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "prompt")), "빨간 \"사과\"\nzwei");
    assert_int_equal(json_integer_value(json_object_get(o, "seed")), 8);
    json_decref(o);
    cli_run_ok(&r, "$G recipe --json one.png one.png | wc -l");
    assert_string_equal(r.out, "2\n");
    cli_run_ok(&r, "$G recipe --a1111 one.png");
    assert_int_equal(
        strncmp(r.out,
                "빨간 \"사과\"\nzwei\nNegative prompt: a: b, c\nSteps: 3, Sampler: Euler a, CFG scale: 3, Seed: 8, ",
                84),
        0);
    cli_run_ok(&r, "$G recipe - < one.png | grep seed");
    assert_string_equal(r.out, "  seed                   8\n");
    cli_refuse("$G recipe missing.png", "missing.png: cannot be read");
    cli_refuse("$G recipe base.h5", "base.h5: expected a PNG or JPEG picture, found an HDF5 file");
    cli_refuse("head -c 200 one.png | $G recipe -", "standard input: PNG cannot be read");
    cli_refuse("$G recipe --json --a1111 one.png", "--a1111: expected no --json");
    cli_refuse("$G recipe", "expected");
}

/* --- glide verify ------------------------------------------------------------------------------------- */

static void test_verify(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample 'red apple' --seed 5 -n 2 --precision bf16 -o v.png -q --guidance-interval 100:800 "
                   "--negative-prompt x " QUICK);
    cli_run_ok(&r, "$G verify v-1.png v-2.png -t 1 2> /dev/null");
    assert_string_equal(r.out, "v-1.png: identical\nv-2.png: identical\n");
    cli_run_ok(&r, "$G verify v-1.png -t 2 -q");
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");

    write_changed("v-1.png", "pixel.png", true, NULL, NULL, false);
    check_other("$G verify pixel.png -q",
                "pixel.png: differs: 1 of 4096 pixels, the largest difference is 4 of 255, PSNR 77.0 dB\n", NULL);
    write_changed("v-1.png", "seed.png", false, "seed", "6", true);
    check_other("$G verify seed.png -q", "seed.png: differs: ", NULL);
    write_changed("v-1.png", "half.png", false, "seed", "6", false);
    check_other("$G verify half.png -q", "its \"parameters\" go on with \"5, Size: 64x64, ", "where its recipe says \"6, ");
    write_changed("v-1.png", "weights.png", false, "weights", "0123456789abcdef", true);
    check_other("$G verify weights.png -q", "identical\n  weights: \"0123456789abcdef\" in its recipe, \"", NULL);
    write_changed("v-1.png", "line.png", false, "colour", "red", true);
    check_other("$G verify line.png -q", "identical\n  colour: \"red\" in its recipe, none here\n", NULL);
    write_changed("v-1.png", "version.png", false, "version", "0.0.9", true);
    cli_run_ok(&r, "$G verify version.png -q");
    assert_string_equal(r.out, "version.png: identical\n  version: \"0.0.9\" in its recipe, \"0.1.0\" here\n");
    check_other("$G verify v-1.png --precision f32 -q", "precision: \"bf16\" in its recipe, \"f32\" here", "differs");
    check_other("$G verify pixel.png v-1.png 2> e.txt; s=$?; cat e.txt >&2; exit $s", "v-1.png: identical\n", "pixel.png: differs");

    write_changed("v-1.png", "number.png", false, "seed", "six", true);
    cli_refuse("$G verify number.png -q", "number.png: recipe: \"seed\": expected a whole number, found \"six\"");
    cli_refuse("$G verify base.h5", "expected a PNG or JPEG picture");
    cli_refuse("$G verify - < v-1.png", "expected a file, found standard input");
    cli_refuse("$G verify v-1.png -w nowhere.h5", "nowhere.h5");
}

/* Whichever byte of the recipe is another: verify says what is wrong. Only a file's name and the version are no fault. */
static void test_verify_bytes(void **state)
{
    (void)state;
    CliOutcome r;
    int flips = 0, step = getenv("GLIDE_TEST_LONG") ? 1 : 19, notes = 0;
    cli_run_ok(&r, "$G sample 'red apple' --seed 5 --negative-prompt x -o b.png -q " QUICK);
    for (size_t at = 0; write_flipped("b.png", "flip.png", at, flips % 3 ? 1 : 0x20); at += (size_t)step, flips++) {
        cli_run(&r, "$G verify flip.png -q -t %d", 1 + flips % 2);
        if (r.exit_status > 2 || (r.exit_status == 0 && !strstr(r.out, "identical\n  ")) || (r.exit_status == 1 && !*r.out) ||
            (r.exit_status == 2 && !strstr(r.err, "flip.png")))
            fail_msg("byte %zu: exit status %d, \"%s\", \"%s\": the difference is not named", at, r.exit_status, r.out, r.err);
        notes += r.exit_status == 0;
    }
    assert_true(flips > 25);
    assert_true(notes < flips / 4);
    cli_run_ok(&r, "cp base.h5 mine.h5 && $G sample cat -w mine.h5 --seed 5 -o m.png -q --no-upsample --steps 3 && "
                   "$G verify m.png -q && mv mine.h5 yours.h5 && $G verify m.png -q -w yours.h5");
    assert_string_equal(r.out, "");
    cli_run_ok(&r, "rm yours.h5 && $G verify m.png -q"); /* the default weights are the same */
    assert_string_equal(r.out, "m.png: identical\n  weights_file: \"mine.h5\" in its recipe, which is not here\n");
}

static void test_verify_weights(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample cat --seed 5 -o w.png -q --no-upsample --steps 3");
    TextUNet *m = tiny_model(false, 99);
    write_model(m, in_test_folder("other.h5"));
    text_unet_free(m);
    check_other("$G verify w.png -w other.h5 -q", "weights: \"", "differs");
    cli_run_ok(&r, "$G sample cat --seed 5 -o o.png -w other.h5 -q --no-upsample --steps 3");
    cli_run_ok(&r, "$G verify o.png -q"); /* found by its name */
    cli_run_ok(&r, "mkdir -p else && mv other.h5 else/");
    check_other("$G verify o.png -q", "weights: \"", "differs"); /* with the default ones */
    cli_run_ok(&r, "$G verify o.png -w else/other.h5 -q");
}

/* Pictures made of pictures. */
static void test_verify_pictures(void **state)
{
    (void)state;
    CliOutcome r;
    Image a = {0};
    assert_int_equal(image_init(70, 50, &a), STATUS_OK);
    for (int i = 0; i < 3 * 70 * 50; i++) a.pixels[i] = (uint8_t)(i / 3 % 70 * 3);
    assert_int_equal(png_write(in_test_folder("ramp.png"), &a, NULL, 0), STATUS_OK);
    image_release(&a);
    assert_int_equal(image_init(7, 1, &a), STATUS_OK);
    memset(a.pixels, 255, 9);
    assert_int_equal(png_write(in_test_folder("mask.png"), &a, NULL, 0), STATUS_OK);
    image_release(&a);
    cli_run_ok(&r, "$G inpaint ramp.png -m mask.png -o p0.png --seed 1 --repeats 2 -q " QUICK);
    cli_run_ok(&r, "$G inpaint ramp.png -m mask.png -p cat -o p1.png --seed 1 --repeats 2 -q " QUICK);
    cli_run_ok(&r, "$G inpaint ramp.png -m mask.png --invert-mask -p cat -o p2.png --seed 1 --repeats 2 --no-upsample "
                   "-q --steps 3");
    cli_run_ok(&r, "$G sample cat --init-image ramp.png --strength 0.4 -o p3.png --seed 1 -q " QUICK);
    cli_run_ok(&r, "$G upsample ramp.png -p cat -o p4.png --seed 1 -q --steps 2 2> /dev/null");
    cli_run_ok(&r, "$G verify p0.png p1.png p2.png p3.png p4.png 2> /dev/null");
    assert_string_equal(r.out, "p0.png: identical\np1.png: identical\np2.png: identical\np3.png: identical\np4.png: identical\n");
    cli_run_ok(&r, "mkdir -p away && cp p?.png away && mv ramp.png away/r.png && mv mask.png away/m.png && rm p?.png");
    cli_refuse("$G verify away/p1.png -q", "away/p1.png: was made with ramp.png (");
    cli_refuse("$G verify away/p1.png --input away/r.png -q", "was made with mask.png");
    cli_run_ok(&r, "$G verify away/p1.png --input away/r.png --mask away/m.png -q");
    check_other("$G verify away/p2.png --input away/r.png --mask away/m.png -q", "mask: \"", "differs");
    cli_run_ok(&r, "$G verify away/p2.png --input away/r.png --mask away/m.png --invert-mask -q");
    cli_run_ok(&r, "$G verify away/p3.png away/p4.png --input away/r.png -q");
    cli_refuse("$G sample --from away/p3.png -o x.png", "--from: away/p3.png was made with the picture ramp.png");
    cli_run_ok(&r, "$G sample --from away/p3.png --init-image away/r.png -o again.png -q && $G verify again.png "
                   "--input away/r.png -q");
    cli_refuse("$G sample --from away/p4.png -o x.png", "was made by glide upsample, expected a picture of glide sample");
}

/* --- glide sample --from ------------------------------------------------------------------------------ */

static void test_from(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample '빨간 사과' --seed 5 --image 3 -o f.png -q -g 2.1 --guidance-interval 100:800 --guidance-schedule cosine "
                   "--negative-prompt x --guidance-rescale .25 --apg 0.1:15:-0.5 --upsampler-guidance-scale 1.5 --sampler ddim "
                   "--precision f32 --colour-cells 8 " QUICK);
    cli_run_ok(&r, "$G sample --from f.png -o f2.png -q");
    cli_assert_same_files("f.png", "f2.png");
    cli_run_ok(
        &r,
        "$G sample --from f.png -o f3.png -q -g 4 --steps 4 --image 1 'a cat' && $G sample 'a cat' --seed 5 -o f4.png "
        "-q -g 4 "
        "--guidance-interval 100:800 --guidance-schedule cosine --negative-prompt x --guidance-rescale .25 "
        "--apg 0.1:15:-0.5 --upsampler-guidance-scale 1.5 --sampler ddim --precision f32 --colour-cells 8 --steps 4 "
        "--upsampler-steps 2");
    cli_assert_same_files("f3.png", "f4.png");
    cli_run_ok(&r, "$G sample cat --seed 5 -o f5.png -q --guidance-schedule 0:1,999:4 --no-upsample --steps 3");
    cli_run_ok(&r, "$G sample --from f5.png -o f6.png -q && $G sample --from f5.png -g 2 -o f7.png -q");
    cli_assert_same_files("f5.png", "f6.png");
    char value[64];
    cli_read_recipe("f7.png", "guidance_schedule", value, sizeof value);
    assert_string_equal(value, "");
    cli_run_ok(&r, "$G sample --from f5.png -o f8.png -q --upsampler-steps 2"); /* and on */
    cli_check_picture("f8.png", TINY_UPSAMPLER_SIDE);
    cli_run_ok(&r, "$G sample cat --seed 5 -o f9.png -q --cfgpp --no-upsample --steps 3 && $G sample --from f9.png -o f10.png -q");
    cli_assert_same_files("f9.png", "f10.png");

    write_changed("f5.png", "other.png", false, "weights", "0123456789abcdef", true);
    cli_run_ok(&r, "$G sample --from other.png -o x.png -q");
    assert_non_null(strstr(r.err, "glide sample: warning: --weights: "));
    write_changed("f5.png", "odd.png", false, "sampler", "magic", true);
    cli_refuse("$G sample --from odd.png -o y.png", "--from: odd.png: --sampler: expected ");
    write_changed("f5.png", "new.png", false, "colour", "red", true);
    cli_refuse("$G sample --from new.png -o y.png", "glide sample has no option for \"colour\" of its recipe");
    write_changed("f5.png", "path.png", false, "weights_file", "../secret.h5", true);
    cli_refuse("$G sample --from path.png -o y.png", "which is not here; expected --weights beside it");
    cli_refuse("$G sample --from missing.png -o y.png", "missing.png: cannot be read");
    cli_refuse("$G sample --from base.h5 -o y.png", "expected a PNG or JPEG picture, found an HDF5 file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recipe),         cmocka_unit_test(test_verify),
                                       cmocka_unit_test(test_verify_bytes),   cmocka_unit_test(test_verify_weights),
                                       cmocka_unit_test(test_verify_pictures), cmocka_unit_test(test_from)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
