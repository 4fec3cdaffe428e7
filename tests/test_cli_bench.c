/* glide bench as people run it: what each part prints, the table, and that Ctrl-C leaves no files behind. */
#include "tests/support_cli.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void test_step(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G bench step --config tiny-base --channels 64 --side 16 --batch 2 --precision f32 --runs 2 --json");
    cli_expect_words(&r, (const char *const[]){"\"part\": \"step\"", "\"seconds\": ", "\"gmac\": ", "\"gflops\": ", "\"peak_gflops\": ",
                                           "\"share\": ", "\"peak_rss_mb\": ", "\"kernels\": ", "\"threads\": ", "\"precision\": \"f32\"",
                                           "\"config\": \"tiny-base\"", "\"batch\": 2", "\"side\": 16", "\"runs\": 2", NULL});
    cli_run_ok(&r, "$G bench step --config tiny-upsampler --side 32 --runs 2 --profile");
    cli_expect_words(&r, (const char *const[]){"sampling step of the upsampler tiny-upsampler", "GMAC", "peak memory", "group norm",
                                           "output_blocks.3", "that a step takes in the mean", NULL});
}

/* Minutes on kernels without vectors: with GLIDE_TEST_LONG only. */
static void test_all(void **state)
{
    (void)state;
    CliOutcome r;
    if (!getenv("GLIDE_TEST_LONG")) skip();
    cli_run_ok(&r, "$G bench all --config tiny --batch 2 --side 32 --runs 1");
    cli_expect_words(&r, (const char *const[]){"convolution rate", "training step of the base model \"tiny\"", "images/s",
                                           "sampling step of the upsampler", "% of the", "from prompt to PNG", "opening ", NULL});
    cli_run_ok(&r, "$G bench all --config tiny --batch 2 --side 32 --runs 1 --json");
    cli_expect_words(&r, (const char *const[]){"\"step_base\": {", "\"step_upsampler\": {", "\"load\": {", "\"sample\": {", "\"conv\": {",
                                           "\"train\": {", "\"share\": ", "\"mb_per_second\": ", NULL});
    cli_run_ok(&r, "$G bench train --config tiny --batch 2 --side 32 --runs 1");
    cli_expect_words(&r, (const char *const[]){"with --checkpoint-blocks", NULL});
}

/* The table of one configuration: every row is measured, it tells how far it is, and no file is left. */
static void test_table(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "rm -rf tmp && mkdir tmp");
    cli_run_ok(&r, "TMPDIR=tmp $G bench table --config tiny --runs 1 -o table.md && cat table.md");
    cli_expect_words(&r, (const char *const[]){"`glide bench table --config tiny`, kernels ", "| | precision | seconds |",
                                           "| base model, pair of a guided step | bf16 | ", "| upsampler, step | bf16 | ",
                                           "| opening it |  | ", "| training step | bf16 | ", NULL});
    assert_null(strstr(r.out, "not measured"));
    assert_non_null(strstr(r.err, "upsampler, step, int8: ")); /* the title that "the same" stands for */
    assert_non_null(strstr(r.err, "bench: 8/8 rows (100%), "));
    cli_run_ok(&r, "ls -A tmp");
    assert_string_equal(r.out, "");
    cli_refuse("$G bench table --config none", "none");
    cli_refuse("$G bench sample --config tiny", "--config");
    cli_refuse("$G bench sample --steps 1", "expected at least 2");
    cli_run(&r, "echo junk > junk && $G bench load --weights junk");
    assert_int_equal(r.exit_status, 2);
}

/* Ctrl-C once there is a file like `pattern`: the child ends, and nothing is left. Two signals in a row, as timeout sends them, are
 * one request. */
static void interrupt_at(const char *words, const char *pattern, int signals)
{
    CliOutcome r;
    char command[256];
    glob_t found = {0};
    cli_run_ok(&r, "rm -rf tmp && mkdir tmp");
    snprintf(command, sizeof command, "export TMPDIR=tmp; exec $G bench %s", words);
    pid_t child = cli_start(command);
    for (int i = 0; i < 3000 && glob(in_test_folder(pattern), 0, NULL, &found) != 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_int_equal(found.gl_pathc, 1);
    globfree(&found);
    for (int i = 0; i < signals; i++) {
        assert_int_equal(kill(child, SIGINT), 0);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* otherwise they may become one on their way */
    }
    cli_finish(child, &r);
    if (r.exit_status != 130 || !strstr(r.err, ": stopped\n")) fail_msg("%s: exit status %d, \"%s\"", words, r.exit_status, r.err);
    cli_run_ok(&r, "ls -A tmp");
    assert_string_equal(r.out, "");
}

static void test_interrupt(void **state)
{
    (void)state;
    interrupt_at("sample --batch 2000 --steps 3", "tmp/glide-bench-*/picture-0002.png", 1);
    interrupt_at("load --config tiny-base --runs 100", "tmp/glide-bench-*/tiny-base.h5", 1);
    interrupt_at("table --config tiny", "tmp/glide-bench-*/tiny-base.h5", 1);
    interrupt_at("table --config tiny", "tmp/glide-bench-*/tiny-base.h5", 2);
    interrupt_at("table --config tiny", "tmp/glide-bench-*", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_step), cmocka_unit_test(test_all), cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_interrupt)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
