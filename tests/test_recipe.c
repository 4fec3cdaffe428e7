/* Recipes: lines, JSON there and back, the text of AUTOMATIC1111's web UI as its reader takes it apart, PNGs, calls. */
#include "glide/recipe_call.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <jansson.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define HARD "빨간 사과, \"red\" \\ <b>\nsecond: line,\ttab é €"

static GlideRecipe *some_recipe(void)
{
    GlideRecipe *r;
    assert_int_equal(recipe_new("sample", &r), STATUS_OK);
    recipe_add_text(r, "prompt", HARD);
    recipe_add(r, "seed", "%llu", (unsigned long long)UINT64_MAX);
    recipe_add(r, "image", "%d", 3);
    recipe_add_text(r, "sampler", "euler_ancestral");
    recipe_add_text(r, "steps", "10,10,3");
    recipe_add_number(r, "guidance_scale", 2.1);
    recipe_add_text(r, "guidance_interval", "100:800");
    recipe_add_text(r, "negative_prompt", "green, \"blue\": x");
    recipe_add_number(r, "guidance_rescale", 1.0 / 3);
    recipe_add_text(r, "apg", "0:15:-0.5");
    recipe_add_text(r, "cfgpp", "yes");
    recipe_add_text(r, "upsampler_sampler", "dpmpp_2m");
    recipe_add_text(r, "upsampler_steps", "logsnr8");
    recipe_add_number(r, "upsample_temp", 0.997);
    recipe_add_text(r, "precision", "bf16");
    recipe_add_hash(r, "weights", 0x0123456789abcdefu);
    recipe_add_file(r, "weights", "/some/where/my base.h5");
    recipe_add_hash(r, "upsampler_weights", 7);
    assert_int_equal(recipe_status(r), STATUS_OK);
    return r;
}

static void assert_same_recipes(const GlideRecipe *a, const GlideRecipe *b)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        assert_string_equal(a->lines[i].key, b->lines[i].key);
        assert_string_equal(a->lines[i].value, b->lines[i].value);
    }
}

static void test_lines(void **state)
{
    (void)state;
    GlideRecipe *r = some_recipe(), *copy;
    assert_string_equal(recipe_find(r, "weights_file"), "my base.h5");
    assert_string_equal(recipe_find(r, "upsample_temp"), "0.997");
    assert_int_equal(recipe_copy(r, &copy), STATUS_OK);
    assert_same_recipes(r, copy);
    recipe_set(copy, "seed", "5");
    recipe_set(copy, "class", "2");
    recipe_set(copy, "cfgpp", NULL);
    assert_string_equal(recipe_find(copy, "seed"), "5");
    assert_string_equal(recipe_find(copy, "class"), "2");
    assert_null(recipe_find(copy, "cfgpp"));
    assert_string_equal(recipe_find(copy, "precision"), "bf16");
    recipe_add_file(copy, "input", "-");
    assert_null(recipe_find(copy, "input_file"));
    while (copy->count < RECIPE_MAX_LINES) recipe_add_text(copy, "more", "x");
    recipe_add_text(copy, "more", "x");
    assert_int_equal(recipe_status(copy), STATUS_NO_MEMORY);
    recipe_free(copy);
    recipe_free(r);
}

static void test_json(void **state)
{
    (void)state;
    GlideRecipe *r = some_recipe(), *back;
    char *text;
    for (int indent = 0; indent <= 2; indent += 2) {
        assert_int_equal(recipe_to_json(r, indent, &text), STATUS_OK);
        assert_int_equal(recipe_from_json("it", text, strlen(text), &back), STATUS_OK);
        assert_same_recipes(r, back);
        recipe_free(back);
        if (indent == 0) assert_null(strchr(text, '\n'));
        json_t *o = json_loads(text, 0, NULL);
        assert_true(json_is_integer(json_object_get(o, "image")));
        assert_true(json_real_value(json_object_get(o, "guidance_scale")) == 2.1);
        assert_true(json_real_value(json_object_get(o, "guidance_rescale")) == 1.0 / 3);
        assert_string_equal(json_string_value(json_object_get(o, "seed")), "18446744073709551615"); /* too large for doubles */
        assert_true(json_is_true(json_object_get(o, "cfgpp")));
        assert_string_equal(json_string_value(json_object_get(o, "prompt")), HARD);
        json_decref(o);
        free(text);
    }
    recipe_set(r, "guidance_rescale", NULL);
    recipe_set(r, "prompt", "a\xff\xc3z"); /* no UTF-8 */
    assert_int_equal(recipe_to_json(r, 0, &text), STATUS_OK);
    assert_non_null(strstr(text, "\"upsample_temp\":0.997,"));
    assert_non_null(strstr(text, "\"prompt\":\"a\xef\xbf\xbd\xef\xbf\xbdz\""));
    free(text);
    recipe_free(r);
}

static void test_bad_json(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "no JSON"}, {"{", "no JSON"}, {"[1]", "no JSON object"}, {"{\"version\":\"1\"}", "no \"version\" and \"task\""},
        {"{\"version\":\"1\",\"task\":\"sample\",\"prompt\":[1]}", "\"prompt\" of its recipe: expected a text or a number"},
        {"{\"version\":\"1\",\"task\":\"sample\",\"\":1}", "a key of 0 bytes"},
        {"{\"version\":\"1\",\"version\":\"1\",\"task\":\"sample\"}", "duplicate"}};
    GlideRecipe *r;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(recipe_from_json("it.png", bad[i][0], strlen(bad[i][0]), &r), STATUS_BAD_INPUT);
        if (strncmp(status_message(), "it.png: ", 8) || !strstr(status_message(), bad[i][1]))
            fail_msg("%s: \"%s\", expected \"%s\"", bad[i][0], status_message(), bad[i][1]);
        assert_null(r);
    }
}

/* --- AUTOMATIC1111's web UI: what parse_generation_parameters() of modules/infotext_utils.py does ------- */

/* The value of `name` in the last line, by its regular expression; a quoted one is JSON. */
static char *a1111_value(const char *text, const char *name)
{
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    regex_t re;
    regmatch_t m[3];
    assert_int_equal(regcomp(&re, "^[ ]*([A-Za-z0-9_][A-Za-z0-9_ /-]+):[ ]*(\"([^\\\\\"]|\\\\.)+\"|[^,]*)(,|$)", REG_EXTENDED), 0);
    char *value = NULL;
    for (; !value && *line && regexec(&re, line, 3, m, 0) == 0; line += m[0].rm_eo) {
        if ((size_t)(m[1].rm_eo - m[1].rm_so) != strlen(name) || strncmp(line + m[1].rm_so, name, strlen(name))) continue;
        value = strndup(line + m[2].rm_so, (size_t)(m[2].rm_eo - m[2].rm_so));
        if (*value != '"') continue;
        json_t *plain = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(plain);
        free(value);
        value = strdup(json_string_value(plain));
        json_decref(plain);
    }
    regfree(&re);
    return value;
}

static void check_a1111(const char *text, const char *name, const char *expected)
{
    char *value = a1111_value(text, name);
    if (!value || strcmp(value, expected))
        fail_msg("%s is \"%s\" in \"%s\", expected \"%s\"", name, value ? value : "missing", text, expected);
    free(value);
}

static void test_a1111(void **state)
{
    (void)state;
    GlideRecipe *r = some_recipe();
    char *text;
    assert_int_equal(recipe_to_a1111(r, 256, 128, &text), STATUS_OK);
    assert_true(!strncmp(text, HARD "\nNegative prompt: green, \"blue\": x\nSteps: ", strlen(HARD) + 42));
    static const char *const expected[][2] = {
        {"Steps", "23"}, {"Sampler", "Euler a"}, {"Schedule type", "10,10,3"}, {"CFG scale", "2.1"},
        {"Seed", "18446744073709551615"}, {"Size", "256x128"}, {"Model hash", "0123456789abcdef"}, {"Model", "my base"},
        {"Image", "3"}, {"Guidance interval", "100:800"}, {"Precision", "bf16"}, {"Version", "glide 0.1.0"}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) check_a1111(text, expected[i][0], expected[i][1]);
    free(text);
    recipe_set(r, "prompt", "");
    recipe_set(r, "negative_prompt", NULL);
    recipe_set(r, "guidance_scale", NULL);
    recipe_set(r, "guidance_schedule", "0:2,500:6.5,999:1");
    assert_int_equal(recipe_to_a1111(r, 64, 64, &text), STATUS_OK);
    assert_true(!strncmp(text, "Steps: 23, ", 11));
    check_a1111(text, "CFG scale", "6.5");
    check_a1111(text, "Guidance schedule", "0:2,500:6.5,999:1");
    free(text);
    recipe_free(r);
}

static void test_samplers(void **state)
{
    (void)state;
    static const char *const all[] = {"ddpm", "ddim", "euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_full",
                                      "dpmpp_2s", "dpmpp_3s", "plms"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_string_equal(recipe_sampler_of_a1111(recipe_a1111_sampler(all[i])), all[i]);
        assert_string_equal(recipe_sampler_of_a1111(all[i]), all[i]);
    }
    assert_null(recipe_sampler_of_a1111("UniPC"));
}

/* --- PNGs --------------------------------------------------------------------------------------------- */

static void write_png(const char *name, const PngText *texts, int count)
{
    uint8_t pixels[3 * 4 * 2] = {1, 2, 3};
    Image image = {4, 2, pixels};
    assert_int_equal(png_write(in_test_folder(name), &image, texts, count), STATUS_OK);
}

static void check_refused_file(const char *name, const char *part)
{
    GlideRecipe *r;
    assert_int_equal(recipe_read(in_test_folder(name), &r), STATUS_BAD_INPUT);
    assert_null(r);
    if (!strstr(status_message(), part)) fail_msg("%s: \"%s\", expected \"%s\"", name, status_message(), part);
}

static void test_png(void **state)
{
    (void)state;
    GlideRecipe *r = some_recipe(), *back;
    PngText texts[RECIPE_CHUNKS];
    assert_int_equal(recipe_to_png(r, 4, 2, texts), STATUS_OK);
    write_png("it.png", texts, RECIPE_CHUNKS);
    assert_int_equal(recipe_read(in_test_folder("it.png"), &back), STATUS_OK);
    assert_same_recipes(r, back);
    recipe_free(back);
    size_t size;
    uint8_t *bytes = read_bytes(in_test_folder("it.png"), &size);
    assert_int_equal(recipe_decode("bytes", bytes, size, &back), STATUS_OK);
    assert_same_recipes(r, back);
    recipe_free(back);
    for (size_t i = 0; i < size; i++) { /* one byte of the recipe changed without its checksum: the chunk is no more */
        if (size - i < 9 || memcmp(bytes + i, "\"prompt\":", 9)) continue;
        bytes[i + 12] ^= 1;
        assert_int_equal(recipe_decode("changed", bytes, size, &back), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), "changed: carries no recipe of glide that can be read: it was changed"));
    }
    for (size_t cut = 0; cut < size; cut += 7) {
        assert_int_equal(recipe_decode("cut", bytes, cut, &back), STATUS_BAD_INPUT);
        assert_null(back);
    }
    free(bytes);
    write_png("bare.png", NULL, 0);
    check_refused_file("bare.png", "bare.png: carries no recipe of glide");
    write_png("other.png", &(PngText){"parameters", "cat\nSteps: 20, Sampler: Euler a, Version: v1.9.0"}, 1);
    check_refused_file("other.png", "it was made by another program");
    write_png("odd.png", &(PngText){"glide", "{\"version\""}, 1);
    check_refused_file("odd.png", "odd.png: its recipe is no JSON");
    write_bytes(in_test_folder("text.png"), "hello", 5);
    check_refused_file("text.png", "expected a PNG or JPEG picture");
    for (int i = 0; i < RECIPE_CHUNKS; i++) free((char *)texts[i].value);
    recipe_free(r);
}

/* --- calls -------------------------------------------------------------------------------------------- */

static void test_call(void **state)
{
    (void)state;
    GlideRecipe *r = some_recipe();
    RecipeCall c;
    assert_int_equal(recipe_call(r, &c), STATUS_OK);
    assert_int_equal(c.task, RECIPE_SAMPLE);
    assert_string_equal(c.prompt, HARD);
    assert_true(c.sample.seed == UINT64_MAX && c.sample.image == 3 && c.sample.label == -1 && c.sample.upsample);
    assert_true(c.sample.guidance.cfg.scale == 2.1 && c.sample.guidance.apg && c.sample.guidance.apg_norm == 15);
    assert_true(c.sample.guidance.apg_momentum == -0.5 && c.sample.guidance.cfgpp && c.precision == GLIDE_PRECISION_BF16);
    assert_string_equal(c.sample.guidance.cfg.interval, "100:800");
    assert_string_equal(c.sample.upsampler_steps, "logsnr8");
    static const char *const bad[][2] = {{"seed", "-1"}, {"seed", "18446744073709551616"}, {"image", "x"}, {"task", "paint"},
                                         {"guidance_scale", "nan"}, {"guidance_scale", "2x"}, {"apg", "0:1"}, {"precision", "f16"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        GlideRecipe *other;
        assert_int_equal(recipe_copy(r, &other), STATUS_OK);
        recipe_set(other, bad[i][0], bad[i][1]);
        assert_int_equal(recipe_call(other, &c), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), bad[i][0]));
        recipe_free(other);
    }
    recipe_free(r);
}

/* The call that a recipe tells of makes the same picture, and it is told before. */
static void test_again(void **state)
{
    (void)state;
    Glide *g;
    GlideOptions o = glide_defaults();
    char base[128], upsampler[128];
    snprintf(base, sizeof base, "%s", in_test_folder("base.h5"));
    snprintf(upsampler, sizeof upsampler, "%s", in_test_folder("upsampler.h5"));
    o.weights = base;
    o.upsampler_weights = upsampler;
    assert_int_equal(glide_open(&o, &g), GLIDE_OK);
    GlideSampleOptions s = glide_sample_defaults();
    s.steps = "3", s.upsampler_steps = "2", s.seed = 11, s.image = 4;
    s.guidance.cfg = (GlideGuidanceTerm){2.5, "100:800", "cosine"};
    s.guidance.negative_prompt = "파란";
    s.guidance.rescale = 0.3;
    s.upsampler_guidance.cfg.scale = 1.5;
    GlidePicture first, again;
    GlideRecipe *expected, *read;
    RecipeCall c;
    assert_int_equal(recipe_expect(g, "cat", &s, &expected), STATUS_OK);
    assert_int_equal(glide_sample(g, "cat", &s, &first), GLIDE_OK);
    assert_same_recipes(first.recipe, expected);
    assert_int_equal(glide_picture_write(&first, in_test_folder("first.png")), GLIDE_OK);
    assert_int_equal(recipe_read(in_test_folder("first.png"), &read), STATUS_OK);
    assert_same_recipes(first.recipe, read);
    assert_int_equal(recipe_call(read, &c), STATUS_OK);
    assert_int_equal(glide_sample(g, c.prompt, &c.sample, &again), GLIDE_OK);
    assert_memory_equal(first.rgb, again.rgb, (size_t)(first.width * first.height * 3));
    assert_same_recipes(first.recipe, again.recipe);
    glide_picture_release(&first);
    glide_picture_release(&again);
    recipe_free(expected);
    recipe_free(read);
    glide_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),    cmocka_unit_test(test_json), cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_a1111),    cmocka_unit_test(test_samplers), cmocka_unit_test(test_png),
        cmocka_unit_test(test_call),     cmocka_unit_test(test_again)};
    return cmocka_run_group_tests(tests, tiny_weights_setup, tiny_weights_teardown);
}
