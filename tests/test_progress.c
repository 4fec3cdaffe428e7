/* The progress bar and lines with a clock of our own, and the Ctrl-C flag. */
#include "common/interrupt.h"
#include "common/progress.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct Recorder {
    double now;
    FILE *out;
    char *text;
    size_t size;
    Progress p;
} Recorder;

static double fake_clock(void *context)
{
    return ((Recorder *)context)->now;
}

static void recorder_start(Recorder *r, ProgressStyle style, int64_t total, int64_t done)
{
    *r = (Recorder){.now = 100};
    r->out = open_memstream(&r->text, &r->size);
    assert_non_null(r->out);
    ProgressOptions options = progress_defaults(r->out);
    options.label = "base";
    options.style = style;
    options.total = total;
    options.done = done;
    options.width = 60;
    options.clock = fake_clock;
    options.clock_context = r;
    progress_start(&r->p, &options);
}

static void recorder_release(Recorder *r)
{
    fclose(r->out);
    free(r->text);
}

static int count_of(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
    return n;
}

static void test_bar(void **state)
{
    (void)state;
    Recorder r;
    recorder_start(&r, PROGRESS_BAR, 20, 0);
    for (int i = 1; i <= 10; i++) {
        r.now += 0.5;
        progress_update(&r.p, i, "loss 0.5");
    }
    const char *last = strrchr(r.text, '\r');
    assert_string_equal(last, "\rbase  [##########----------] 10/20 steps  2.0 steps/s  0:05\033[K"); /* 59 columns */
    progress_log(&r.p, "saved %s", "x.h5");
    assert_non_null(strstr(r.text, "\r\033[Ksaved x.h5\n"));
    r.p.options.width = 100;
    r.now += 0.01; /* too soon by the clock, but the bar was erased */
    progress_update(&r.p, 11, NULL);
    assert_non_null(strstr(strrchr(r.text, '\r'), "11/20 steps"));
    assert_non_null(strstr(strrchr(r.text, '\r'), "loss 0.5"));
    size_t before = r.size;
    r.now += 0.01;
    progress_update(&r.p, 12, NULL);
    assert_int_equal(r.size, before); /* not ten times a second */
    r.now += 0.98;
    progress_finish(&r.p);
    assert_non_null(strstr(r.text, "12/20 steps  2.0 steps/s  took 6.0 s  loss 0.5\033[K\n"));
    before = r.size;
    progress_abort(&r.p); /* nothing left to end */
    assert_int_equal(r.size, before);
    recorder_release(&r);
}

static void test_percent(void **state)
{
    (void)state;
    for (int bar = 0; bar < 2; bar++) {
        Recorder r;
        recorder_start(&r, bar ? PROGRESS_BAR : PROGRESS_LINES, 1000000, 0);
        r.p.options.unit = NULL;
        r.now += 3;
        progress_update(&r.p, 250000, "64x64");
        assert_non_null(strstr(r.text, bar ? "base  [#####---------------] 25%  0:09 left  64x64" : "base: 25%, 0:09 left, 64x64\n"));
        progress_finish(&r.p);
        assert_non_null(strstr(r.text, bar ? "25%  took 3.0 s  64x64" : "base: 25%, took 3.0 s, 64x64\n"));
        recorder_release(&r);
    }
}

static void test_lines(void **state)
{
    (void)state;
    Recorder r;
    recorder_start(&r, PROGRESS_LINES, 100, 0);
    for (int i = 1; i <= 100; i++) {
        r.now += 0.5;
        progress_update(&r.p, i, i == 100 ? "loss 0.1" : NULL);
    }
    progress_finish(&r.p);
    assert_int_equal(count_of(r.text, "\n"), 11); /* ten tenths and the end */
    assert_int_equal(count_of(r.text, "\r"), 0);
    assert_int_equal(count_of(r.text, "\033"), 0);
    assert_memory_equal(r.text, "base: 10/100 steps (10%), 2.0 steps/s, 0:45 left\n", 49);
    assert_non_null(strstr(r.text, "base: 100/100 steps (100%), 2.0 steps/s, took 0:50, loss 0.1\n"));
    recorder_release(&r);

    recorder_start(&r, PROGRESS_LINES, 1000000, 500000); /* slow and resumed: a line each 10 s */
    for (int i = 1; i <= 60; i++) {
        r.now += 1;
        progress_update(&r.p, 500000 + i * 3, NULL);
    }
    assert_int_equal(count_of(r.text, "\n"), 6);
    assert_non_null(strstr(r.text, "base: 500180/1000000 steps (50%), 3.0 steps/s, 46:16:47 left\n")); /* 499820 / 3 s */
    recorder_release(&r);

    recorder_start(&r, PROGRESS_LINES, 10, 0); /* quick: no flood */
    for (int i = 1; i <= 10; i++) {
        r.now += 0.05;
        progress_update(&r.p, i, NULL);
    }
    progress_finish(&r.p);
    assert_string_equal(r.text, "base: 10/10 steps (100%), 20 steps/s, took 0.5 s\n");
    recorder_release(&r);
}

static void test_unknown_total_and_quiet(void **state)
{
    (void)state;
    Recorder r;
    recorder_start(&r, PROGRESS_LINES, 0, 0);
    for (int i = 1; i <= 25; i++) {
        r.now += 1;
        progress_update(&r.p, i, NULL);
    }
    assert_string_equal(r.text, "base: 10 steps, 1.0 steps/s\nbase: 20 steps, 1.0 steps/s\n");
    recorder_release(&r);
    recorder_start(&r, PROGRESS_QUIET, 10, 0);
    r.now += 20;
    progress_update(&r.p, 5, NULL);
    progress_log(&r.p, "saved");
    progress_finish(&r.p);
    fflush(r.out);
    assert_int_equal(r.size, 0);
    recorder_release(&r);
    recorder_start(&r, PROGRESS_AUTO, 10, 0); /* memory is no terminal */
    assert_int_equal(r.p.options.style, PROGRESS_LINES);
    recorder_release(&r);
}

static void test_rate_fades(void **state)
{
    (void)state;
    Recorder r;
    recorder_start(&r, PROGRESS_LINES, 0, 0);
    assert_true(progress_rate(&r.p) == 0);
    int64_t done = 0;
    for (int i = 0; i < 100; i++) {
        r.now += 1;
        progress_update(&r.p, done += 10, NULL);
    }
    assert_true(progress_rate(&r.p) > 9.99 && progress_rate(&r.p) < 10.01);
    for (int i = 0; i < 200; i++) {
        r.now += 1;
        progress_update(&r.p, done += 1, NULL);
    }
    assert_true(progress_rate(&r.p) < 1.1);
    recorder_release(&r);
}

static void test_time(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0:00"}, {4.6, "0:05"}, {59.6, "1:00"}, {754, "12:34"}, {3723, "1:02:03"}, {-5, "0:00"},
                 {183845, "2 d 03:04"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        assert_string_equal(progress_format_time(cases[i].seconds, text, sizeof text), cases[i].text);
    }
}

static void test_interrupt_once(void **state)
{
    (void)state;
    assert_false(interrupt_requested());
    interrupt_install(NULL);
    raise(SIGTERM);
    assert_true(interrupt_requested());
    assert_int_equal(interrupt_signal(), SIGTERM);
    interrupt_restore();
    assert_false(interrupt_requested());
    signal(SIGINT, SIG_IGN); /* as nohup leaves it */
    interrupt_install(NULL);
    raise(SIGINT);
    assert_false(interrupt_requested());
    interrupt_restore();
    signal(SIGINT, SIG_DFL);
}

static void test_interrupt_twice(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGINT, SIG_DFL); /* whatever this test was started with */
        interrupt_install("stopping\n");
        raise(SIGINT);
        if (!interrupt_requested()) _exit(3);
        raise(SIGINT); /* the same request */
        if (write(STDERR_FILENO, "alive\n", 6) != 6) _exit(5);
        nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
        raise(SIGINT);
        _exit(4);
    }
    close(ends[1]);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGINT);
    char text[32] = "";
    assert_int_equal(read(ends[0], text, sizeof text - 1), 15);
    close(ends[0]);
    assert_string_equal(text, "stopping\nalive\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_percent), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_unknown_total_and_quiet),
        cmocka_unit_test(test_rate_fades),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_interrupt_once),
        cmocka_unit_test(test_interrupt_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
