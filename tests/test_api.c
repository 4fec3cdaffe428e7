/* The public header: its example compiles, links and runs; contexts, errors, callbacks, recipes; nothing else is exported. */
#include "glide/recipe.h"
#include "glide/glide.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#ifdef __clang__
#define COMPILER "clang"
#else
#define COMPILER "gcc"
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZE " -fsanitize=address"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZE " -fsanitize=thread"
#else
#define SANITIZE ""
#endif

static void check(GlideStatus s)
{
    if (s != GLIDE_OK) fail_msg("%s", glide_message());
}

/* A failure, and what its one line says. */
static void check_fails(GlideStatus found, GlideStatus expected, const char *part)
{
    if (found != expected || !strstr(glide_message(), part) || strchr(glide_message(), '\n'))
        fail_msg("status %d, \"%s\"; expected %d, \"...%s...\"", found, glide_message(), expected, part);
}

static Glide *open_context(int threads, GlidePrecision precision)
{
    Glide *g;
    GlideOptions o = glide_defaults();
    o.threads = threads;
    o.precision = precision;
    check(glide_open(&o, &g));
    return g;
}

static GlideSampleOptions quick(void)
{
    GlideSampleOptions o = glide_sample_defaults();
    o.steps = "3";
    o.upsampler_steps = "2";
    return o;
}

static bool same(const GlidePicture *a, const GlidePicture *b)
{
    return a->width == b->width && a->height == b->height && !memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3);
}

/* --- the example --- */

/* The code between the first "#include" of the header's comment and the first line that is no longer indented. */
static void write_example(const char *path)
{
    FILE *in = fopen("glide/glide.h", "r"), *out = fopen(path, "w");
    char text[512];
    bool inside = false;
    assert_non_null(in);
    assert_non_null(out);
    while (fgets(text, sizeof text, in)) {
        bool indented = !strncmp(text, " *     ", 7), empty = !strcmp(text, " *\n");
        if (!inside && indented && strstr(text, "#include")) inside = true;
        if (!inside) continue;
        if (!indented && !empty) break;
        fputs(empty ? "\n" : text + 7, out);
    }
    assert_true(inside);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void run_command(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run_command(const char *format, ...)
{
    char command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    int how = system(command);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) fail_msg("failed: %s", command);
}

static const char *build_folder(char path[PATH_MAX])
{
    const char *build = getenv("GLIDE_BUILD");
    return realpath(build ? build : "build", path);
}

static void test_example(void **state)
{
    (void)state;
    char build[PATH_MAX], root[PATH_MAX], library[PATH_MAX + 16];
    if (!build_folder(build) || !getcwd(root, sizeof root)) skip();
    snprintf(library, sizeof library, "%s/libglide.so", build);
    if (access(library, R_OK) != 0) skip();
    write_example(in_test_folder("example.c"));
    run_command("cd %s && " COMPILER " -std=c11 -Wall -Wextra -Werror" SANITIZE " -I%s example.c -o example -L%s -lglide "
                "-Wl,-rpath,%s", test_folder, root, build, build);
    run_command("cd %s && ./example > example.txt", test_folder);
    char text[128] = "";
    FILE *f = fopen(in_test_folder("example.txt"), "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "apple.png: 64 x 64 pixels\n"); /* the tiny models' size */
    GlideRecipe *recipe;
    assert_int_equal(recipe_read(in_test_folder("apple.png"), &recipe), 0);
    assert_string_equal(recipe_find(recipe, "prompt"), "red apple, fluent 3d emoji");
    assert_string_equal(recipe_find(recipe, "seed"), "7");
    recipe_free(recipe);
    run_command("cd %s && ! GLIDE_WEIGHTS=/nowhere ./example 2> error.txt && grep -q 'no default weights' error.txt", test_folder);
}

static int count_declarations(void)
{
    char text[512];
    int count = 0;
    FILE *f = fopen("glide/glide.h", "r");
    assert_non_null(f);
    while (fgets(text, sizeof text, f)) count += !strncmp(text, "GLIDE_API ", 10);
    fclose(f);
    assert_true(count > 10);
    return count;
}

static void test_exports(void **state)
{
    (void)state;
    char build[PATH_MAX], library[PATH_MAX + 16];
    if (!build_folder(build)) skip();
    snprintf(library, sizeof library, "%s/libglide.so", build);
    if (access(library, R_OK) != 0 || system("command -v nm > /dev/null") != 0) skip();
    run_command("nm -D --defined-only %s > %s", library, in_test_folder("names.txt"));
    FILE *f = fopen(in_test_folder("names.txt"), "r");
    char text[512], name[256], type;
    int count = 0;
    assert_non_null(f);
    while (fgets(text, sizeof text, f)) {
        if (sscanf(text, "%*x %c %255s", &type, name) != 2 || !strchr("TDBRVW", type)) continue;
        if (!strncmp(name, "__", 2) || !strcmp(name, "_init") || !strcmp(name, "_fini") || *name == '.') continue; /* compilers' */
        if (strncmp(name, "glide_", 6) != 0) fail_msg("libglide.so exports %s", name);
        count++;
    }
    fclose(f);
    assert_int_equal(count, count_declarations());
}

/* --- sampling --- */
static void test_sample(void **state)
{
    (void)state;
    GlideSampleOptions o = quick();
    GlidePicture alone[2] = {{0}}, together[3];
    Glide *one = open_context(1, GLIDE_PRECISION_AUTO), *two = open_context(2, GLIDE_PRECISION_AUTO);
    o.seed = 5;
    o.n = 3;
    check(glide_sample(two, "red apple", &o, together));
    o.n = 1;
    check(glide_sample(one, "red apple", &o, &alone[0]));
    o.image = 3;
    check(glide_sample(one, "red apple", &o, &alone[1]));
    assert_true(same(&together[0], &alone[0]));
    assert_true(same(&together[2], &alone[1]));
    assert_false(same(&together[0], &together[1]));
    assert_string_equal(glide_picture_recipe(&together[2], "image"), "3");
    for (int i = 0; i < 3; i++) glide_picture_release(&together[i]);
    for (int i = 0; i < 2; i++) glide_picture_release(&alone[i]);
    glide_close(one);
    glide_close(two);
}

/* Mean squared difference of two pictures of one size, of 255 * 255. */
static double difference(const GlidePicture *a, const GlidePicture *b)
{
    double sum = 0;
    int64_t n = (int64_t)a->width * a->height * 3;
    for (int64_t i = 0; i < n; i++) sum += pow(a->rgb[i] - (double)b->rgb[i], 2);
    return sum / (double)n;
}

/* Eight bits: nearly the same picture, but not quite, the same on any number of threads, and said so. Or a clear refusal. */
static void test_int8(void **state)
{
    (void)state;
    Glide *one, *two, *f32 = open_context(2, GLIDE_PRECISION_F32);
    GlideOptions options = glide_defaults();
    options.precision = GLIDE_PRECISION_INT8;
    options.threads = 1;
    if (glide_open(&options, &one) != GLIDE_OK) {
        check_fails(GLIDE_BAD_INPUT, GLIDE_BAD_INPUT, "precision: int8 asks for a processor with AVX512-VNNI");
        glide_close(f32);
        return;
    }
    two = open_context(2, GLIDE_PRECISION_INT8);
    GlidePicture a, b[2], exact;
    GlideSampleOptions o = quick();
    o.seed = 5;
    check(glide_sample(one, "red apple", &o, &a));
    check(glide_sample(f32, "red apple", &o, &exact));
    o.n = 2;
    check(glide_sample(two, "red apple", &o, b));
    assert_true(same(&a, &b[0]));
    double error = difference(&a, &exact), other = difference(&a, &b[1]);
    if (error == 0 || error > 0.1 * other) fail_msg("int8 is %g from f32, another seed %g", error, other);
    assert_string_equal(glide_picture_recipe(&a, "precision"), "int8");
    glide_picture_release(&a);
    glide_picture_release(&b[0]);
    glide_picture_release(&b[1]);
    glide_picture_release(&exact);
    glide_close(one);
    glide_close(two);
    glide_close(f32);
}

static void test_recipe(void **state)
{
    (void)state;
    Glide *g = open_context(0, GLIDE_PRECISION_F32);
    GlideSampleOptions o = quick();
    GlidePicture p;
    o.seed = UINT64_MAX;
    o.guidance.cfg.scale = 2.1;
    check(glide_sample(g, "빨간 사과", &o, &p));
    const struct {
        const char *key, *value;
    } expected[] = {{"prompt", "빨간 사과"}, {"seed", "18446744073709551615"}, {"image", "1"}, {"sampler", "euler_ancestral"},
                    {"steps", "3"}, {"guidance_scale", "2.1"}, {"upsampler_sampler", "ddim"}, {"upsampler_steps", "2"}, {"upsample_temp", "0.997"},
                    {"precision", "f32"}};
    check(glide_picture_write(&p, in_test_folder("recipe.png")));
    GlideRecipe *written;
    assert_int_equal(recipe_read(in_test_folder("recipe.png"), &written), 0);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_string_equal(glide_picture_recipe(&p, expected[i].key), expected[i].value);
        assert_string_equal(recipe_find(written, expected[i].key), expected[i].value);
    }
    assert_int_equal(strlen(glide_picture_recipe(&p, "weights")), 16);
    assert_string_not_equal(glide_picture_recipe(&p, "weights"), glide_picture_recipe(&p, "upsampler_weights"));
    assert_null(glide_picture_recipe(&p, "threads"));
    recipe_free(written);
    glide_picture_release(&p);
    glide_close(g);
}

/* --- callbacks --- */
typedef struct Watch {
    int progress, pictures, stop_progress, stop_pictures;
    double fraction;
    bool previews;
    unsigned long preview_sum;
} Watch;

static bool on_progress(void *context, const GlideProgress *p)
{
    Watch *w = context;
    assert_int_equal(p->preview != NULL, w->previews);
    if (p->preview) {
        assert_int_equal(p->side, p->stage == GLIDE_STAGE_BASE ? TINY_BASE_SIDE : TINY_UPSAMPLER_SIDE);
        assert_int_equal(p->preview_width, p->side);
        assert_int_equal(p->preview_height, p->side);
        for (int i = 0; i < p->count * p->side * p->side * 3; i++) w->preview_sum += p->preview[i];
    }
    w->fraction = p->fraction;
    return ++w->progress != w->stop_progress;
}

static bool on_picture(void *context, int index, GlidePicture *picture)
{
    Watch *w = context;
    assert_int_equal(index, w->pictures);
    assert_non_null(picture->rgb);
    if (index == 0) glide_picture_release(picture);
    return ++w->pictures != w->stop_pictures;
}

static void test_callbacks(void **state)
{
    (void)state;
    Glide *g = open_context(0, GLIDE_PRECISION_AUTO);
    GlidePicture p[3];
    Watch w = {.previews = true};
    GlideSampleOptions o = quick();
    o.n = 3;
    o.callbacks = (GlideCallbacks){.progress = on_progress, .previews = true, .picture = on_picture, .context = &w};
    check(glide_sample(g, "red apple", &o, p));
    assert_int_equal(w.pictures, 3);
    assert_float_equal(w.fraction, 1, 1e-9);
    assert_int_equal(w.progress, 3 + 3 * 2); /* the base model makes all three at once */
    assert_true(w.preview_sum > 0);
    assert_null(p[0].rgb); /* released by the callback */
    for (int i = 0; i < 3; i++) glide_picture_release(&p[i]);

    w = (Watch){.stop_pictures = 2};
    o.callbacks.previews = false;
    check_fails(glide_sample(g, "red apple", &o, p), GLIDE_CANCELLED, "stopped");
    assert_non_null(p[1].rgb); /* what is finished is kept */
    assert_null(p[2].rgb);
    for (int i = 0; i < 3; i++) glide_picture_release(&p[i]);

    w = (Watch){.stop_progress = 2};
    assert_int_equal(glide_sample(g, "red apple", &o, p), GLIDE_CANCELLED);
    for (int i = 0; i < 3; i++) assert_null(p[i].rgb);
    glide_close(g);
}

/* --- upsampling --- */
static void test_upsample(void **state)
{
    (void)state;
    Glide *g = open_context(0, GLIDE_PRECISION_AUTO);
    GlideSampleOptions o = quick();
    GlidePicture whole, small, large;
    o.seed = 3;
    o.image = 2;
    check(glide_sample(g, "red apple", &o, &whole));
    o.upsample = false;
    check(glide_sample(g, "red apple", &o, &small));
    assert_int_equal(small.width, TINY_BASE_SIDE);
    assert_null(glide_picture_recipe(&small, "upsampler_weights"));
    check(glide_picture_write(&small, in_test_folder("small.png")));
    glide_picture_release(&small);
    check(glide_picture_read(in_test_folder("small.png"), &small));
    GlideUpsampleOptions u = glide_upsample_defaults();
    u.prompt = "red apple";
    u.seed = 3;
    u.image = 2;
    u.steps = "2";
    check(glide_upsample(g, &small, &u, &large));
    assert_true(same(&whole, &large));
    assert_null(glide_picture_recipe(&large, "weights"));
    glide_picture_release(&large);
    u.prompt = NULL;
    check(glide_upsample(g, &small, &u, &large));
    assert_false(same(&whole, &large));
    glide_picture_release(&whole);
    glide_picture_release(&small);
    glide_picture_release(&large);
    check_fails(glide_upsample(g, &small, &u, &large), GLIDE_BAD_INPUT, "no picture");
    glide_close(g);
}

/* --- errors --- */
static void test_wrong_options(void **state)
{
    (void)state;
    Glide *g = open_context(0, GLIDE_PRECISION_AUTO);
    GlidePicture p;
    GlideSampleOptions o = quick();
    o.n = 0;
    check_fails(glide_sample(g, "a", &o, &p), GLIDE_BAD_INPUT, "n: expected 1 or more");
    o = quick();
    o.image = 0;
    check_fails(glide_sample(g, "a", &o, &p), GLIDE_BAD_INPUT, "image: expected a number from 1");
    o = quick();
    o.steps = "1";
    check_fails(glide_sample(g, "a", &o, &p), GLIDE_BAD_INPUT, "base model");
    o = quick();
    o.sampler = "magic";
    check_fails(glide_sample(g, "a", &o, &p), GLIDE_BAD_INPUT, "magic");
    o = quick();
    o.guidance.cfg.scale = 0.0 / 0.0;
    check_fails(glide_sample(g, "a", &o, &p), GLIDE_BAD_INPUT, "scale");
    o = quick();
    o.upsample_temp = -1;
    check_fails(glide_sample(g, "a", &o, &p), GLIDE_BAD_INPUT, "upsample_temp");
    glide_close(g);
    GlideOptions bad = glide_defaults();
    bad.threads = -1;
    check_fails(glide_open(&bad, &g), GLIDE_BAD_INPUT, "threads");
    assert_null(g);
    glide_close(NULL);
    p = (GlidePicture){0};
    check_fails(glide_picture_write(&p, in_test_folder("none.png")), GLIDE_BAD_INPUT, "no picture");
    check_fails(glide_picture_read(in_test_folder("base.h5"), &p), GLIDE_BAD_INPUT, "base.h5");
    glide_picture_release(&p);
}

static void check_weights_fail(const char *base, const char *upsampler, const char *part)
{
    Glide *g;
    GlidePicture p;
    GlideSampleOptions o = quick();
    GlideOptions options = glide_defaults();
    options.weights = base;
    options.upsampler_weights = upsampler;
    check(glide_open(&options, &g));
    GlideStatus s = glide_sample(g, "a", &o, &p);
    if (s == GLIDE_OK || !strstr(glide_message(), part))
        fail_msg("status %d, \"%s\"; expected \"...%s...\"", s, glide_message(), part);
    assert_null(p.rgb);
    glide_close(g);
}

static void test_wrong_weights(void **state)
{
    (void)state;
    char base[256];
    snprintf(base, sizeof base, "%s/base.h5", test_folder);
    check_weights_fail("/nowhere/base.h5", NULL, "/nowhere/base.h5");
    check_weights_fail(NULL, base, "kind \"base\", expected \"upsampler\"");
    check_weights_fail("glide/glide.h", NULL, "glide/glide.h");
    run_command("head -c 20000 %s > %s", base, in_test_folder("cut.h5"));
    check_weights_fail(in_test_folder("cut.h5"), NULL, "cut.h5");
    setenv("GLIDE_WEIGHTS", "/nowhere", 1);
    check_weights_fail(NULL, NULL, "no default weights");
    setenv("GLIDE_WEIGHTS", test_folder, 1);
}

/* --- other things --- */
static void test_prompt_tokens(void **state)
{
    (void)state;
    Glide *g = open_context(0, GLIDE_PRECISION_AUTO);
    int64_t tokens;
    int limit;
    check(glide_prompt_tokens(g, "red apple", &tokens, &limit));
    assert_int_equal(limit, 12);
    assert_int_equal(tokens, 4); /* r, ed, space, apple */
    glide_close(g);
    assert_true(strlen(glide_version()) >= 5);
}

typedef struct Job {
    pthread_t thread;
    GlidePicture picture;
    GlideStatus status;
} Job;

static void *sample_in_thread(void *argument)
{
    Job *job = argument;
    GlideOptions options = glide_defaults();
    GlideSampleOptions o = quick();
    Glide *g;
    options.threads = 1;
    job->status = glide_open(&options, &g);
    for (int i = 0; i < 3 && job->status == GLIDE_OK; i++) {
        glide_picture_release(&job->picture);
        job->status = glide_sample(g, "red apple", &o, &job->picture);
    }
    glide_close(g);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { JOBS = 3 };
    Job jobs[JOBS] = {{0}};
    GlidePicture expected;
    GlideSampleOptions o = quick();
    Glide *g = open_context(2, GLIDE_PRECISION_AUTO);
    for (int i = 0; i < JOBS; i++) assert_int_equal(pthread_create(&jobs[i].thread, NULL, sample_in_thread, &jobs[i]), 0);
    check(glide_sample(g, "red apple", &o, &expected));
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
        assert_int_equal(jobs[i].status, GLIDE_OK);
        assert_true(same(&expected, &jobs[i].picture));
        glide_picture_release(&jobs[i].picture);
    }
    glide_picture_release(&expected);
    glide_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),       cmocka_unit_test(test_exports),       cmocka_unit_test(test_sample),
        cmocka_unit_test(test_recipe),        cmocka_unit_test(test_callbacks),     cmocka_unit_test(test_upsample),
        cmocka_unit_test(test_wrong_options), cmocka_unit_test(test_wrong_weights), cmocka_unit_test(test_prompt_tokens),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_int8),
    };
    return cmocka_run_group_tests(tests, tiny_weights_setup, tiny_weights_teardown);
}
