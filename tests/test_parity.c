/* The whole engine against the fixtures in tests/fixtures, with every set of kernels; and that the comparison itself fails
 * when it should. */
#include "tests/support_folder.h"
#include "tests/support_parity.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURES "tests/fixtures"

/* A folder of links to all fixtures, in which single files are then replaced. */
static int make_folder(void **state)
{
    char command[PATH_MAX];
    test_folder_setup(state);
    snprintf(command, sizeof command, "ln -s \"$PWD\"/" FIXTURES "/* %s/", test_folder);
    return system(command);
}

static void restore(const char *name)
{
    char target[PATH_MAX], here[PATH_MAX / 2];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(target, sizeof target, "%s/" FIXTURES "/%s", here, name);
    unlink(in_test_folder(name));
    assert_int_equal(symlink(target, in_test_folder(name)), 0);
}

/* --- the engine --- */

/* One thread: the models are so small that threads mostly wait for one another, on a busy machine for minutes. */
static void run_all(KernelsChoice choice)
{
    char *text, *rest;
    size_t size;
    Parity p = {.dir = FIXTURES, .out = open_memstream(&text, &size)};
    assert_non_null(p.out);
    omp_set_num_threads(1);
    assert_int_equal(kernels_new(choice, &p.kernels), STATUS_OK);
    Status s = parity_all(&p);
    kernels_free(p.kernels);
    fclose(p.out);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strstr(line, "FAILED")) print_error("%s\n", line);
    free(text);
    if (s != STATUS_OK) fail_msg("%s", status_message());
    assert_int_equal(p.failed, 0);
    assert_true(p.passed > 540); /* what the folder holds; fewer means that checks got lost */
}

static void test_best_kernels(void **state)
{
    (void)state;
    run_all(KERNELS_BEST);
}

static void test_simd_kernels(void **state)
{
    (void)state;
    run_all(KERNELS_NO_ONEDNN);
}

static void test_generic_kernels(void **state)
{
    (void)state;
    run_all(KERNELS_GENERIC);
}

/* --- the comparison --- */

static bool passes(const float *found, const float *expected, int64_t n, Tolerance tolerance)
{
    Parity p = {0};
    parity_compare(&p, "x", found, expected, n, tolerance);
    assert_int_equal(p.passed + p.failed, 1);
    return p.passed == 1;
}

static void test_tolerances(void **state)
{
    (void)state;
    const float expected[3] = {1, -2, 4}, rms = sqrtf(7);
    assert_true(passes(expected, expected, 3, (Tolerance){0}));
    assert_true(passes((float[]){1, -2.25f, 4}, expected, 3, (Tolerance){.absolute = 0.25}));
    assert_false(passes((float[]){1, -2.26f, 4}, expected, 3, (Tolerance){.absolute = 0.25}));
    assert_true(passes((float[]){1, -2, 4.5f}, expected, 3, (Tolerance){.relative = 0.125}));
    assert_false(passes((float[]){1.5f, -2, 4}, expected, 3, (Tolerance){.relative = 0.125}));
    assert_true(passes((float[]){1 + 0.49f * rms, -2, 4}, expected, 3, (Tolerance){.of_rms = 0.5}));
    assert_false(passes((float[]){1 + 0.51f * rms, -2, 4}, expected, 3, (Tolerance){.of_rms = 0.5}));
    assert_false(passes((float[]){1, NAN, 4}, expected, 3, (Tolerance){.absolute = 100}));
    assert_false(passes((float[]){1, NAN, 4.5f}, expected, 3, (Tolerance){.absolute = 100})); /* a later small error */
    assert_false(passes((float[]){INFINITY, -2, 4}, expected, 3, (Tolerance){.absolute = 100}));
    assert_false(passes(expected, (float[]){1, -2, INFINITY}, 3, (Tolerance){.absolute = 100, .relative = 1}));
    assert_true(passes((float[]){-INFINITY}, (float[]){-INFINITY}, 1, (Tolerance){0}));
}

static Status run_folder(Parity *p, Status (*check)(Parity *, const char *), const char *name)
{
    *p = (Parity){.dir = test_folder};
    omp_set_num_threads(1);
    assert_int_equal(kernels_new(KERNELS_BEST, &p->kernels), STATUS_OK);
    Status s = check(p, name);
    parity_forget(p);
    kernels_free(p->kernels);
    p->kernels = NULL;
    return s;
}

/* A file like layers.h5 with one wrong value of three. */
static void write_layers(float error)
{
    const float x[3] = {0, 1, -1}, silu[3] = {0, 0.7310585976f, -0.2689414024f + error}, gelu[3] = {0, 0.8413447f, -0.1586553f};
    const int64_t n = 3;
    H5File *file;
    unlink(in_test_folder("layers.h5"));
    assert_int_equal(h5file_create(in_test_folder("layers.h5"), &file), STATUS_OK);
    assert_int_equal(h5file_write(file, "activations/x", H5KIND_F32, 1, &n, x), STATUS_OK);
    assert_int_equal(h5file_write(file, "activations/silu", H5KIND_F32, 1, &n, silu), STATUS_OK);
    assert_int_equal(h5file_write(file, "activations/gelu", H5KIND_F32, 1, &n, gelu), STATUS_OK);
    assert_int_equal(h5file_commit(file), STATUS_OK);
}

static void test_wrong_numbers_fail(void **state)
{
    (void)state;
    Parity p;
    write_layers(0);
    assert_int_equal(run_folder(&p, parity_layers, "layers.h5"), STATUS_OK);
    assert_int_equal(p.passed, 2);
    assert_int_equal(p.failed, 0);
    write_layers(2e-5f);
    assert_int_equal(run_folder(&p, parity_layers, "layers.h5"), STATUS_OK);
    assert_int_equal(p.passed, 1);
    assert_int_equal(p.failed, 1);
    restore("layers.h5");
}

/* Weights of another model, which cannot be bound. */
static void test_wrong_weights_fail(void **state)
{
    (void)state;
    Parity p;
    assert_int_equal(run_folder(&p, parity_unet, "unet_upsampler.h5"), STATUS_OK);
    assert_int_equal(p.failed, 0);
    unlink(in_test_folder("unet_upsampler.pt"));
    char target[PATH_MAX];
    snprintf(target, sizeof target, "%s/unet_base.pt", test_folder);
    assert_int_equal(symlink(target, in_test_folder("unet_upsampler.pt")), 0);
    assert_int_equal(run_folder(&p, parity_unet, "unet_upsampler.h5"), STATUS_OK);
    assert_int_equal(p.failed, 1);
    assert_int_equal(p.passed, 0);
    assert_int_equal(run_folder(&p, parity_checkpoint, "unet_upsampler.h5"), STATUS_OK);
    assert_true(p.failed > 0);
    restore("unet_upsampler.pt");
}

/* One encoder's weights in place of the other's. */
static void test_wrong_guides_fail(void **state)
{
    (void)state;
    Parity p;
    char target[PATH_MAX];
    assert_int_equal(run_folder(&p, parity_clip, "clip.h5"), STATUS_OK);
    assert_int_equal(p.failed, 0);
    assert_true(p.passed > 10);
    unlink(in_test_folder("clip_image_enc.pt"));
    snprintf(target, sizeof target, "%s/clip_text_enc.pt", test_folder);
    assert_int_equal(symlink(target, in_test_folder("clip_image_enc.pt")), 0);
    assert_int_equal(run_folder(&p, parity_clip, "clip.h5"), STATUS_OK);
    assert_true(p.failed > 0);
    restore("clip_image_enc.pt");
}

static void test_faulty_folders(void **state)
{
    (void)state;
    Parity p;
    unlink(in_test_folder("unet_upsampler.pt"));
    assert_int_not_equal(run_folder(&p, parity_unet, "unet_upsampler.h5"), STATUS_OK);
    assert_non_null(strstr(status_message(), "unet_upsampler.pt"));
    restore("unet_upsampler.pt");

    unlink(in_test_folder("layers.h5"));
    FILE *f = fopen(in_test_folder("layers.h5"), "w");
    fputs("not HDF5", f);
    fclose(f);
    assert_int_not_equal(run_folder(&p, parity_layers, "layers.h5"), STATUS_OK);
    assert_non_null(strstr(status_message(), "layers.h5"));
    restore("layers.h5");

    unlink(in_test_folder("tokenizer.json"));
    assert_int_not_equal(run_folder(&p, parity_tokenizer, "tokenizer.json"), STATUS_OK);
    assert_non_null(strstr(status_message(), "tokenizer.json"));
    f = fopen(in_test_folder("tokenizer.json"), "w");
    fputs("{\"merges\": [[\"21\", \"2\"]]}", f);
    fclose(f);
    assert_int_equal(run_folder(&p, parity_tokenizer, "tokenizer.json"), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "merges: expected bytes in hex"));
    restore("tokenizer.json");
}

/* --- the tool --- */

static int run_tool(const char *words, char *text, size_t size)
{
    const char *build = getenv("GLIDE_BUILD");
    char line[PATH_MAX + 64];
    snprintf(line, sizeof line, "%s/tools/parity %s", build ? build : "build", words);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, size - 1, pipe);
    text[n] = 0;
    int how = pclose(pipe);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static const char *last_line(char *text)
{
    size_t n = strlen(text);
    if (n && text[n - 1] == '\n') text[n - 1] = 0;
    char *end = strrchr(text, '\n');
    return end ? end + 1 : text;
}

static void test_tool(void **state)
{
    (void)state;
    static char text[1 << 18];
    char path[PATH_MAX], words[PATH_MAX];
    const char *build = getenv("GLIDE_BUILD");
    int passed, failed, used = 0;
    snprintf(path, sizeof path, "%s/tools/parity", build ? build : "build");
    if (access(path, X_OK) != 0) skip();
    assert_int_equal(run_tool("2>&1", text, sizeof text), 2);
    assert_int_equal(run_tool("/nowhere 2>&1", text, sizeof text), 2);
    assert_string_equal(text, "parity: /nowhere: no such folder of fixtures\n");
    assert_int_equal(run_tool(FIXTURES " --kernels fast 2>&1", text, sizeof text), 2);

    snprintf(words, sizeof words, "%s 2>&1", test_folder);
    unlink(in_test_folder("schedules.h5"));
    assert_int_equal(run_tool(words, text, sizeof text), 2);
    snprintf(path, sizeof path, "parity: %s/schedules.h5: no such file", test_folder);
    assert_string_equal(last_line(text), path);
    restore("schedules.h5");

    write_layers(2e-5f);
    assert_int_equal(run_tool(words, text, sizeof text), 1);
    assert_int_equal(sscanf(last_line(text), "%d passed, %d failed%n", &passed, &failed, &used), 2);
    assert_int_equal(failed, 1);
    assert_int_equal(last_line(text)[used], 0);
    restore("layers.h5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_kernels),
        cmocka_unit_test(test_simd_kernels),
        cmocka_unit_test(test_generic_kernels),
        cmocka_unit_test(test_tolerances),
        cmocka_unit_test(test_wrong_numbers_fail),
        cmocka_unit_test(test_wrong_weights_fail),
        cmocka_unit_test(test_wrong_guides_fail),
        cmocka_unit_test(test_faulty_folders),
        cmocka_unit_test(test_tool),
    };
    return cmocka_run_group_tests(tests, make_folder, test_folder_teardown);
}
