/* glide ablate as people run it: killed at any time, stopped, planned, refused. */
#include "tests/support_cli.h"
#include "tests/support_guide_models.h"
#include "tests/support_status.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STUDY "$G ablate -q --modes none,cfg,clip --scales '0,2;clip=5' --variants 'plain;interval=200:800' "                      \
              "--prompts prompts.txt --clip clip.h5 --seeds 2 --steps 4 --batch 3 "

static int setup(void **state)
{
    int failed = cli_setup(state);
    if (failed) return failed;
    write_small_guides(test_folder);
    write_bytes(in_test_folder("prompts.txt"), "red apple\t1\nblue car\t2\napple\t0\n", 31);
    return 0;
}

static void wait_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Everything in the folder but what tells of time: timings, the report and the seconds in the metrics. */
static void compare(const char *a, const char *b)
{
    CliOutcome r;
    cli_run(&r, "diff -rq -x timings.csv -x metrics.csv -x report.html %s %s", a, b);
    if (r.exit_status != 0) fail_msg("%s and %s differ: %s", a, b, r.out);
    cli_run(&r, "for d in %s %s; do grep -v ',seconds,' $d/metrics.csv | cut -d, -f1-7,9- > $d.csv; done; cmp %s.csv %s.csv", a,
            b, a, b);
    if (r.exit_status != 0) fail_msg("metrics of %s and %s differ: %s", a, b, r.err);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The command is the same, so that study.json is, too: the folder is moved away when it is finished. */
static void test_killed(void **state)
{
    (void)state;
    CliOutcome r;
    unsigned random = 12345;
    double start = now();
    cli_run_ok(&r, STUDY "-o study && mv study unbroken");
    double whole = 1000 * (now() - start);
    for (int kills = 0; kills < 20;) {
        random = random * 1103515245 + 12345;
        pid_t child = cli_start("exec " STUDY "-o study");
        wait_ms((long)(0.5 * whole * ((random >> 16) % 1000) / 1000)); /* anywhere in a run, however fast the machine is */
        kill(child, SIGKILL);
        cli_finish(child, &r);
        kills += r.exit_status == 128 + SIGKILL;
        if (r.exit_status == 128 + SIGKILL) continue;
        if (r.exit_status != 0) fail_msg("exit status %d, \"%s\"", r.exit_status, r.err);
        compare("unbroken", "study"); /* finished: once more from the start */
        cli_run_ok(&r, "rm -r study");
    }
    cli_run_ok(&r, STUDY "-o study");
    compare("unbroken", "study");
    cli_run_ok(&r, STUDY "-o study"); /* nothing is missing */
    compare("unbroken", "study");
    cli_run_ok(&r, "mv study killed");
}

static void test_interrupted(void **state)
{
    (void)state;
    CliOutcome r;
    pid_t child = cli_start("exec " STUDY "-o study -t 1");
    for (int i = 0; i < 12000 && !cli_exists("study/cells/c000-b0000.h5"); i++) wait_ms(1);
    assert_int_equal(kill(child, SIGINT), 0);
    cli_finish(child, &r);
    assert_int_equal(r.exit_status, 130);
    if (!strstr(r.err, "pictures are in study; the same command goes on")) fail_msg("found \"%s\"", r.err);
    cli_refuse("$G ablate -q -o study --report-only", "study: is not finished");
    cli_refuse("$G ablate -q --modes none,cfg --prompts prompts.txt -o study", "study: holds another study");
    cli_run_ok(&r, STUDY "-o study -t 2");
    cli_run_ok(&r, "cmp unbroken/journal study/journal && for f in unbroken/cells/*; do cmp $f study/cells/${f##*/}; done");
}

/* A disk that is full after so many KiB, as far as the program can tell. */
static void test_full_disk(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run(&r, "trap '' XFSZ; ulimit -f 12; exec " STUDY "-o full");
    char *end = strchr(r.err, '\n');
    if (r.exit_status != 2 || !end || end[1] || !strstr(r.err, "full/")) fail_msg("exit status %d, \"%s\"", r.exit_status, r.err);
    cli_run_ok(&r, STUDY "-o full");
    cli_run_ok(&r, "cmp unbroken/journal full/journal && for f in unbroken/cells/*; do cmp $f full/cells/${f##*/}; done");
}

static void test_plan(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, STUDY "--plan -o planned");
    assert_false(cli_exists("planned"));
    assert_non_null(strstr(r.out, "12 conditions, 12 of them to be computed, "));
    assert_non_null(strstr(r.out, "each with 3 prompts x 2 seeds"));
    assert_non_null(strstr(r.out, "gradients, clip"));
    cli_run_ok(&r, STUDY "--plan --no-controls");
    assert_non_null(strstr(r.out, "7 conditions, 7 of them to be computed"));
}

static void test_report(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "cp -r unbroken again && rm again/metrics.csv again/sheets/* && $G ablate -o again --report-only");
    assert_non_null(strstr(r.out, "again/metrics.csv"));
    assert_non_null(strstr(r.err, "not judged"));
    compare("unbroken", "again");
    cli_run_ok(&r, "$G ablate -q -o again --report-only --json");
    assert_true(r.out[0] == '{' && strstr(r.out, "evaluations"));
    cli_refuse("$G ablate -q -o again --report-only --judge base.h5", "base.h5");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "expected --output DIR"},
        {"-o x --modes none,cgf", "--modes: expected some of none, cfg"},
        {"-o x --scales 1,b", "--scales: expected numbers"},
        {"-o x --variants rescale", "--variants: expected plain"},
        {"-o x --prompts none.txt", "none.txt"},
        {"-o x --prompts 3", "--prompts: expected --data beside a number"},
        {"-o x --prompts 300 --data data.h5", "--prompts: the data set has"},
        {"-o x --prompts 0 --data data.h5", "--prompts: expected 1 to"},
        {"-o x --seeds 0", "--seeds"},
        {"-o x --steps 1", "--steps: expected"},
        {"-o x --upsampler-steps 3", "--upsampler-steps: expected --upsample beside it"},
        {"-o x --upsample --no-upsample", "--upsample: expected no --no-upsample"},
        {"-o x --prompts prompts.txt --modes classifier --classifier no.h5", "no.h5"},
        {"-o x --prompts prompts.txt --modes clip --clip classifier.h5", "classifier.h5"},
        {"-o x --prompts prompts.txt --modes autoguidance", "autoguidance: expected --guide-weights"},
        {"-o x --prompts prompts.txt --judge no.h5", "no.h5: No such file"}, /* before the pictures, not after */
        {"-o x --prompts prompts.txt --judge base.h5", "base.h5: weights of kind \"base\", expected \"judge\""},
        {"-o x --prompts prompts.txt --data base.h5", "base.h5: not a data set"},
        {"-o x/y --prompts prompts.txt", "x/y: cannot be made"},
        {"-o . --prompts prompts.txt", "expected a new or empty folder or that of a study"},
        {"-o base.h5 --prompts prompts.txt", "base.h5"},
        {"-o x --report-only", "x: holds no study"},
        {"-o x --plan --report-only", "--plan: expected no --report-only"},
    };
    char words[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(words, sizeof words, "$G ablate -q %s", cases[i][0]);
        cli_refuse(words, cases[i][1]);
    }
}

static void test_help(void **state)
{
    (void)state;
    CliOutcome r;
    static const char *const words[] = {"--modes", "--scales", "--variants", "--no-controls", "--report-only", "--plan",
                                        "interval=LO:HI"};
    cli_run_ok(&r, "$G help ablate");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strstr(r.out, words[i])) fail_msg("the help lacks %s", words[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed), cmocka_unit_test(test_interrupted), cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_report), cmocka_unit_test(test_refused),     cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, setup, cli_teardown);
}
