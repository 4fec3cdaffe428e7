/* The program as people run it: files, exit statuses, and the one line that says what was wrong. */
#include "base_model/base_model.h"
#include "common/image_read.h"
#include "common/png_write.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* --- glide sample ----------------------------------------------------------------------------------- */

static void test_sample(void **state)
{
    (void)state;
    CliOutcome r;
    char value[512];
    cli_run_ok(&r, "$G sample 'red apple' --seed 5 -o apple.png " QUICK);
    assert_string_equal(r.out, "apple.png\n");
    cli_check_picture("apple.png", TINY_UPSAMPLER_SIDE);
    static const char *const chunks[][2] = {{"prompt", "red apple"}, {"seed", "5"}, {"image", "1"}, {"sampler", "euler_ancestral"},
                                            {"steps", "3"}, {"guidance_scale", "3"}, {"upsampler_steps", "2"}};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        cli_read_recipe("apple.png", chunks[i][0], value, sizeof value);
        assert_string_equal(value, chunks[i][1]);
    }
    cli_run_ok(&r, "$G sample 'red apple' --no-upsample --steps 2 -s 5 -o small.png --quiet");
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    cli_check_picture("small.png", TINY_BASE_SIDE);
    cli_run_ok(&r, "$G sample 'red apple' -s 5 --sampler ddpm -g 2.5 --precision f32 --upsample-temp 1 -o other.png -q " QUICK);
    cli_read_recipe("other.png", "guidance_scale", value, sizeof value);
    assert_string_equal(value, "2.5");
    cli_read_recipe("other.png", "precision", value, sizeof value);
    assert_string_equal(value, "f32");
    cli_run_ok(&r, "$G sample 'red apple' -s 5 -q " QUICK "&& mv glide.png default.png");
    cli_assert_same_files("default.png", "apple.png");
    cli_run_ok(&r, "$G sample 'red apple' -s 5 -o - " QUICK "> piped.png");
    cli_assert_same_files("piped.png", "apple.png");
}

static void test_same_bytes(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample 'a cat' --seed 9 -n 4 -o many.png --threads 2 -q " QUICK);
    cli_run_ok(&r, "$G sample 'a cat' --seed 9 -o one.png --threads 1 -q " QUICK);
    cli_run_ok(&r, "$G sample 'a cat' --seed 9 --image 3 -o third.png -q " QUICK);
    cli_run_ok(&r, "$G sample 'a dog' 'a cat' --seed 9 -n 2 -o pair.png --threads 1 -q " QUICK);
    cli_assert_same_files("one.png", "many-1.png");
    cli_assert_same_files("third.png", "many-3.png");
    cli_assert_same_files("pair-3.png", "many-1.png"); /* another prompt before it changes nothing */
    cli_assert_same_files("pair-4.png", "many-2.png");
}

static void test_names(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample cat --no-upsample --steps 2 -s 1 -n 10 -o ten.png");
    assert_true(cli_exists("ten-01.png") && cli_exists("ten-10.png") && !cli_exists("ten.png"));
    assert_memory_equal(r.out, "ten-01.png\nten-02.png\n", 22);
    cli_run_ok(&r, "mkdir -p out && $G sample cat dog --no-upsample --steps 2 -s 1 -o out/");
    assert_string_equal(r.out, "out/glide-1.png\nout/glide-2.png\n");
    assert_true(cli_exists("out/glide-1.png") && cli_exists("out/glide-2.png"));
    cli_run_ok(&r, "$G sample cat --no-upsample --steps 2 -s 1 -o out -q");
    assert_true(cli_exists("out/glide.png"));
    cli_run_ok(&r, "$G sample cat --no-upsample --steps 2 -s 1 -n 2 -o plain -q");
    assert_true(cli_exists("plain-1") && cli_exists("plain-2"));
}

static void test_seed(void **state)
{
    (void)state;
    CliOutcome r;
    char seed[64], line[128];
    cli_run_ok(&r, "$G sample cat --no-upsample --steps 2 -o seed.png");
    cli_read_recipe("seed.png", "seed", seed, sizeof seed);
    snprintf(line, sizeof line, "seed %s\n", seed);
    assert_memory_equal(r.err, line, strlen(line));
    cli_run(&r, "$G sample cat --no-upsample --steps 2 -q -o again.png --seed %s", seed);
    assert_int_equal(r.exit_status, 0);
    cli_assert_same_files("seed.png", "again.png");
}

static void test_long_prompt(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample \"$(yes apple | head -10000 | tr '\\n' ' ')\" -q -s 1 -o long.png " QUICK);
    const char *expected = "glide sample: warning: \"apple apple";
    assert_memory_equal(r.err, expected, strlen(expected));
    assert_non_null(strstr(r.err, "cut to its first 12 of 20000 tokens\n"));
    assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1);
    cli_check_picture("long.png", TINY_UPSAMPLER_SIDE);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"$G sample", "expected a prompt: what to draw"},
        {"$G sample ''", "expected a prompt, found an empty one; say what to draw"},
        {"$G sample ok ' \t '", "expected a prompt, found an empty one"},
        {"$G sample cat --sed 1", "--sed: no such option; did you mean --seed?"},
        {"$G sample cat --seed x", "--seed: expected a whole number of at least 0, found \"x\""},
        {"$G sample cat -n 0", "--number: expected a whole number from 1 to 100000, found \"0\""},
        {"$G sample cat --sampler ddmi", "did you mean ddim?"},
        {"$G sample cat --steps 1", "--steps: expected a whole number from 2 to 1000, or a respacing"},
        {"$G sample cat --steps ''", "--steps: expected"},
        {"$G sample cat --steps fast", "found \"fast\""},
        {"$G sample cat --upsampler-steps 2000", "--upsampler-steps: expected"},
        {"$G sample cat --guidance-scale 1e9", "--guidance-scale: expected a number from 0 to 100"},
        {"$G sample cat --precision f16", "--precision: expected f32, bf16 or int8, found \"f16\""},
        {"$G sample cat --no-upsample --upsampler-steps 3", "--no-upsample: expected no option of the upsampler"},
        {"$G sample cat -o cat.webp", "ends in .png or .jpg"},
        {"$G sample cat -n 2 -o -", "expected a file name for 2 pictures"},
        {"$G sample cat -o ''", "--output: expected a file name"},
        {"$G smaple cat", "did you mean \"sample\"?"},
        {"$G upsample small.png", "--output: expected a file"},
        {"$G upsample", "expected IN..., found nothing"},
        {"$G dataset", "--output: expected a file for the data set"},
        {"$G dataset -o x.h5 --cahce d", "did you mean --cache?"},
        {"$G bench load --profile", "--profile: expected bench step or bench train, found bench load"},
        {"$G bench step --config no-base", "--config: expected one of small-base, "},
        {"$G bench curves", "--output: expected a folder"},
        {"$G bench fast", "expected all, conv, step, sample, train, load, table or curves, found \"fast\""},
        {"$G info", "expected FILE..., found nothing"},
        {"$G train jugde --data data.h5 --out x.h5", "did you mean judge?"},
        {"$G train judge --data data.h5 --out x.h5 --drop 0.1", "--drop: not an option of \"train judge\""},
        {"$G train classifier --data data.h5 --out x.h5 --korean 0", "--korean: not an option of \"train classifier\""},
        {"$G train base --data data.h5 --out x.h5 --subgroups x.tsv", "--subgroups: not an option of \"train base\""},
        {"$G evaluate guide", "expected the file of a guide or judge"},
        {"$G evaluate guide base.h5", "--data: expected a data set"},
        {"$G evaluate guide base.h5 --data data.h5", "base.h5: expected a classifier, a CLIP or a judge, found weights of kind base"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) cli_refuse(cases[i][0], cases[i][1]);
}

static void test_unwritable(void **state)
{
    (void)state;
    CliOutcome r;
    cli_refuse("$G sample cat -q -o nowhere/cat.png", "nowhere");
    cli_refuse("$G sample cat -q -o nowhere/", "there is no folder nowhere/");
    cli_refuse("$G sample cat -q -o base.h5/cat.png", "base.h5/cat.png");
    cli_refuse("$G sample cat -q -o /proc/cat.png " QUICK, "/proc/cat.png: cannot be written");
    cli_refuse("$G sample cat -q -s 1 -o /dev/full " QUICK, "/dev/full: cannot be written: No space left on device");
    cli_refuse("$G sample cat -q -s 1 -o - " QUICK "> /dev/full", "standard output: cannot be written: No space left on device");
    if (geteuid() != 0) {
        cli_run_ok(&r, "mkdir -p closed && chmod 555 closed");
        cli_refuse("$G sample cat -q -o closed/cat.png", "closed");
    }
    cli_run_ok(&r, "echo precious > full.png");
    cli_refuse("(trap '' XFSZ; ulimit -f 4; exec $G sample cat -q -s 1 -o full.png " QUICK ")", "full.png: cannot be written: File too large");
    cli_run_ok(&r, "cat full.png"); /* as it was */
    assert_string_equal(r.out, "precious\n");
    cli_refuse("(trap '' XFSZ; ulimit -f 4; exec $G sample cat -q -s 1 -n 3 -o fresh.png " QUICK ")", "fresh-1.png: cannot be written");
}

/* --- wrong files ------------------------------------------------------------------------------------ */

/* The header of one model over the parameters of another. */
static void write_foreign(const char *path)
{
    H5File *file;
    TextUNet *m = tiny_model(false, 1), *other = tiny_model(true, 1);
    assert_int_equal(weights_create(path, "base", &file), STATUS_OK);
    assert_int_equal(text_unet_write_header(file, m), STATUS_OK);
    assert_int_equal(weights_write_params(file, &other->params, H5KIND_F32), STATUS_OK);
    assert_int_equal(h5file_commit(file), STATUS_OK);
    text_unet_free(m);
    text_unet_free(other);
}

static void test_wrong_files(void **state)
{
    (void)state;
    CliOutcome r;
    char path[256];
    snprintf(path, sizeof path, "%s/foreign.h5", test_folder);
    write_foreign(path);
    cli_run_ok(&r, "head -c 100000 base.h5 > cut.h5; head -c 3000 base.h5 > stub.h5; : > empty.h5; echo hello > text.h5;"
               "$G sample cat --no-upsample --steps 2 -q -o picture.png; head -c 200 picture.png > cut.png; ls > /dev/null");
    static const char *const cases[][2] = {
        {"-w cut.h5", "cut.h5: "},
        {"-w stub.h5", "stub.h5: "},
        {"-w empty.h5", "empty.h5: "},
        {"-w text.h5", "text.h5: not an HDF5 file"},
        {"-w picture.png", "picture.png: not an HDF5 file"},
        {"-w data.h5", "data.h5: not a file of weights"},
        {"-w upsampler.h5", "upsampler.h5: weights of kind \"upsampler\", expected \"base\""},
        {"--upsampler-weights base.h5", "base.h5: weights of kind \"base\", expected \"upsampler\""},
        {"-w absent.h5", "absent.h5: "},
        {"-w .", ".: "},
        {"-w /dev/null", "/dev/null: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[256];
        snprintf(words, sizeof words, "$G sample cat -q -o wrong.png " QUICK "%s", cases[i][0]);
        cli_refuse(words, cases[i][1]);
    }
    cli_run(&r, "$G sample cat -q -o wrong.png -w foreign.h5");
    if (r.exit_status != 2 || !strstr(r.err, "foreign.h5: the weights do not fit the model: ") || !strstr(r.err, "\n  unexpected:\n"))
        fail_msg("exit status %d, \"%s\"", r.exit_status, r.err);
    assert_false(cli_exists("wrong.png"));
    cli_refuse("GLIDE_WEIGHTS=/nowhere $G sample cat -q -o wrong.png", "no default weights: $GLIDE_WEIGHTS is /nowhere");
    cli_refuse("$G upsample absent.png -o wrong.png", "absent.png: ");
    cli_refuse("$G upsample cut.png -o wrong.png", "cut.png: ");
    cli_refuse("$G upsample base.h5 -o wrong.png", "base.h5: ");
    cli_refuse("$G upsample picture.png -o nowhere/wrong.png", "nowhere");
    cli_refuse("$G upsample picture.png -o picture.png", "expected another name");
    cli_refuse("$G upsample picture.png -o wrong.png --upsampler-weights cut.h5 -q", "cut.h5: ");
    static const char *const infos[][2] = {
        {"absent", "absent: cannot be read: No such file or directory"}, {".", ".: cannot be read: Is a directory"},
        {"text.h5", "text.h5: this is neither weights, nor a checkpoint, nor a data set, nor a picture"},
        {"empty.h5", "empty.h5: empty: neither"}, {"stub.h5", "stub.h5: "}, {"cut.png", "cut.png: "}};
    for (size_t i = 0; i < sizeof infos / sizeof *infos; i++) {
        char words[256];
        snprintf(words, sizeof words, "$G info %s", infos[i][0]);
        cli_refuse(words, infos[i][1]);
    }
}

/* What a command reads it never writes to, under any name. */
static void test_overwriting(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample cat --no-upsample --steps 2 -q -o kept.png && cp kept.png mask-1.png && ln -s kept.png link.png && "
               "cp base.h5 b.h5 && cksum kept.png mask-1.png *.h5 > before");
    static const char *const cases[][2] = {
        {"sample cat -q -o kept.png --trace kept.png", "--output: kept.png is the file of --trace, too"},
        {"sample cat -q -o new.png --trace new.png", "--output: new.png is the file of --trace, too"},
        {"sample cat -q -o link.png --init-image ./kept.png", "--output: link.png is the file of --init-image, too"},
        {"sample -q -o kept.png --from kept.png", "--output: kept.png is the file of --from, too"},
        {"sample cat -q -o x.png -w b.h5 --trace b.h5", "--trace: b.h5 is the file of --weights, too; expected another name"},
        {"upsample kept.png -o link.png", "--output: link.png is read, too, and would be lost; expected another name"},
        {"upsample kept.png -o x.png --trace kept.png", "--trace: kept.png is read, too"},
        {"inpaint kept.png -m mask-1.png -o mask-1.png", "--output: mask-1.png is the file of --mask, too"},
        {"inpaint kept.png -m mask-1.png -n 2 -o mask.png", "--output: mask-1.png is the file of --mask, too"},
        {"inpaint mask-1.png -m kept.png -n 2 -o mask.png", "--output: mask-1.png is read, too"},
        {"train base -d data.h5 -o data.h5", "--out: data.h5 is the file of --data, too"},
        {"train base -d data.h5 --init b.h5 -o b.h5", "--out: b.h5 is the file of --init, too"},
        {"average base.h5 b.h5 -o b.h5", "--output: b.h5 is read, too"},
        {"export b.h5 -o ./b.h5", "--output: ./b.h5 is read, too"},
        {"import b.h5 -o b.h5", "--output: b.h5 is read, too"},
        {"evaluate upsample -d data.h5 --sheet data.h5", "--sheet: data.h5 is the file of --data, too"},
        {"bench table -w b.h5 -o b.h5", "--output: b.h5 is the file of --weights, too"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[256];
        snprintf(words, sizeof words, "$G %s", cases[i][0]);
        cli_refuse(words, cases[i][1]);
    }
    cli_run_ok(&r, "cksum kept.png mask-1.png *.h5 | cmp - before");
    for (int i = 0; i < 2; i++) cli_run_ok(&r, "$G sample cat --no-upsample --steps 2 -q -o cat"); /* a prompt is no file */
}

/* Every truncation of a weights file is refused, or the file is complete. */
static void test_truncation(void **state)
{
    (void)state;
    CliOutcome r;
    struct stat st;
    char path[256];
    snprintf(path, sizeof path, "%s/base.h5", test_folder);
    assert_int_equal(stat(path, &st), 0);
    for (int i = 1; i <= 12; i++) {
        long size = (long)st.st_size * i / 13;
        cli_run(&r, "head -c %ld base.h5 > short.h5 && $G info short.h5", size);
        char *end = strchr(r.err, '\n');
        if (r.exit_status != 2 || !end || end[1]) fail_msg("%ld bytes: exit status %d, \"%s\"", size, r.exit_status, r.err);
    }
}

/* --- Ctrl-C ----------------------------------------------------------------------------------------- */

static void test_interrupt(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "rm -rf stop && mkdir stop");
    pid_t child = cli_start("exec $G sample cat -n 2000 -s 1 -o stop/cat.png " QUICK);
    for (int i = 0; i < 3000 && !cli_exists("stop/cat-0002.png"); i++) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_int_equal(kill(child, SIGINT), 0);
    cli_finish(child, &r);
    if (r.exit_status != 130) fail_msg("exit status %d, \"%s\"", r.exit_status, r.err);
    int written = 0;
    const char *told = strstr(r.err, "glide sample: stopped; ");
    assert_non_null(told);
    assert_int_equal(sscanf(told, "glide sample: stopped; %d of 2000 pictures written\n", &written), 1);
    assert_true(written >= 2 && written < 2000);
    cli_run_ok(&r, "ls -A stop | wc -l; ls -A stop | grep -vc '^cat-[0-9]*.png$' || :");
    assert_int_equal(atoi(r.out), written);               /* those that it tells of */
    assert_string_equal(strchr(r.out, '\n') + 1, "0\n"); /* and nothing else */
    cli_check_picture("stop/cat-0001.png", TINY_UPSAMPLER_SIDE);
}

/* --- glide info ------------------------------------------------------------------------------------- */

static void test_info(void **state)
{
    (void)state;
    CliOutcome r;
    char hash[64], line[128];
    cli_run_ok(&r, "$G sample '빨간 사과' --seed 8 -o info.png -q " QUICK " && $G info info.png");
    cli_expect_words(&r, (const char *const[]){"info.png: PNG picture, 64x64\n", "prompt                 빨간 사과\n",
                                           "seed                   8\n", "version                0.", NULL});
    cli_read_recipe("info.png", "weights", hash, sizeof hash);
    snprintf(line, sizeof line, "hash                   %s\n", hash);
    cli_run_ok(&r, "$G info base.h5");
    cli_expect_words(&r, (const char *const[]){"base.h5: weights of kind base\n", line, "tokenizer              263 tokens\n", "num_channels 32",
                                           "half precision", "trained_with           nothing: random numbers of a test\n", NULL});
    cli_run_ok(&r, "$G info upsampler.h5 data.h5");
    cli_expect_words(&r, (const char *const[]){"upsampler.h5: weights of kind upsampler\n", "super_res yes", "data.h5: data set\n",
                                           "pictures               12 of 5 concepts", "test_concept", "all ", NULL});
    char path[256];
    Image plain = {0};
    assert_int_equal(image_init(3, 2, &plain), STATUS_OK);
    snprintf(path, sizeof path, "%s/plain.png", test_folder);
    assert_int_equal(png_write(path, &plain, NULL, 0), STATUS_OK);
    image_release(&plain);
    cli_run_ok(&r, "$G info plain.png");
    assert_string_equal(r.out, "plain.png: PNG picture, 3x2, no recipe: not made by glide\n");
}

/* --- glide dataset, help ---------------------------------------------------------------------------- */

static void test_dataset(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "mkdir -p bin && cp $G bin/ && rm -f bin/glide-dataset");
    cli_refuse("bin/glide dataset -o x.h5", "glide-dataset: cannot be run: No such file or directory");
    cli_run_ok(&r, "printf '#!/bin/sh\\nfor a; do echo \"<$a>\"; done; exit 7\\n' > bin/glide-dataset && chmod +x bin/glide-dataset");
    cli_run(&r, "bin/glide dataset -o 'my data.h5' --cache=c --lists l --no-fetch -t 3 -q");
    assert_int_equal(r.exit_status, 7);
    assert_string_equal(r.out, "<-o>\n<my data.h5>\n<--cache>\n<c>\n<--lists>\n<l>\n<--no-fetch>\n<--quiet>\n<--threads>\n<3>\n");
}

static void test_help(void **state)
{
    (void)state;
    static const char *const commands[] = {"sample", "upsample", "train", "evaluate", "dataset", "info", "init", "import", "export", "average", "bench", "help"};
    CliOutcome r;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        cli_run(&r, "$G help %s", commands[i]);
        assert_int_equal(r.exit_status, 0);
        char usage[64];
        snprintf(usage, sizeof usage, "usage: glide %s", commands[i]);
        assert_memory_equal(r.out, usage, strlen(usage));
        cli_run(&r, "$G help | grep -c '^  %s '", commands[i]);
        assert_string_equal(r.out, "1\n");
    }
    cli_run_ok(&r, "$G --version");
    assert_memory_equal(r.out, "glide 0.", 8);
}

/* Threads that wait sleep, unless the user wants it otherwise; see main.c. */
static void test_wait_policy(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=true $G --version");
    assert_non_null(strcasestr(r.err, "passive"));
    cli_run_ok(&r, "env -u GOMP_SPINCOUNT OMP_WAIT_POLICY=active OMP_DISPLAY_ENV=true $G --version");
    assert_null(strcasestr(r.err, "passive"));
}

/* --- limits ----------------------------------------------------------------------------------------- */

/* With models of the default weights' size: under 400 MB (bf16; single precision takes more where the processor has none). */
static void test_memory(void **state)
{
    (void)state;
    if (SANITIZED) skip();
    CliOutcome r;
    cli_run_ok(&r, "mkdir -p real");
    char path[256];
    TextUNetConfig c;
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        assert_int_equal(upsampler ? upsampler_config("small", &c) : base_model_config("small", &c), STATUS_OK);
        TextUNet *m = random_model(&c, 1);
        snprintf(path, sizeof path, "%s/real/%s", test_folder, upsampler ? "upsampler.h5" : "base.h5");
        write_model(m, path);
        text_unet_free(m);
    }
    cli_run_ok(&r, "GLIDE_WEIGHTS=real exec $G sample cat -n 4 -s 1 -q -o real/cat.png --precision bf16 --steps 2 --upsampler-steps 2");
    cli_check_picture("real/cat-4.png", 256);
    print_message("peak memory %ld MB\n", r.peak_kb / 1000);
    assert_true(r.peak_kb * 1.024e-3 < 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),      cmocka_unit_test(test_same_bytes),  cmocka_unit_test(test_names),
        cmocka_unit_test(test_seed),        cmocka_unit_test(test_long_prompt), cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_unwritable),  cmocka_unit_test(test_wrong_files), cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_interrupt),   cmocka_unit_test(test_info),        cmocka_unit_test(test_dataset),
        cmocka_unit_test(test_help),        cmocka_unit_test(test_memory),      cmocka_unit_test(test_wait_policy),
        cmocka_unit_test(test_overwriting),
    };
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
