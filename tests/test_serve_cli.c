/* glide serve as a program: what it prints, a port in use, its end by a signal. */
#include "tests/support_cli.h"
#include "tests/support_folder.h"
#include "tests/support_http.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* The port that the program says it listens on. */
static int wait_for_port(void)
{
    const struct timespec pause = {0, 20000000};
    int port = 0;
    for (int i = 0; i < 1000 && !port; i++) {
        FILE *f = fopen(in_test_folder("stdout.txt"), "r");
        if (f && fscanf(f, "http://127.0.0.1:%d/\n", &port) != 1) port = 0;
        if (f) fclose(f);
        if (!port) nanosleep(&pause, NULL);
    }
    assert_true(port > 0);
    return port;
}

static void test_life(void **state)
{
    (void)state;
    CliOutcome r, second;
    pid_t child = cli_start("exec $G serve --port 0 --gallery pictures/new --weights base.h5 --upsampler-weights upsampler.h5");
    int port = wait_for_port();
    json_t *job = http_json(port, "POST", "/api/jobs", "{\"steps\":900,\"sampler\":\"ddpm\"}", 201);
    json_decref(job);
    cli_run(&second, "$G serve --port %d --no-gallery", port);
    assert_int_equal(second.exit_status, 2);
    if (!strstr(second.err, "in use") || strchr(second.err, '\n') != second.err + strlen(second.err) - 1)
        fail_msg("\"%s\": expected one line about a port in use", second.err);
    assert_string_equal(second.out, "");
    /* that run's outputs took the place of the first one's, whose descriptors are the same files: it has said its lines already */
    kill(child, SIGTERM);
    cli_finish(child, &r);
    assert_int_equal(r.exit_status, 0);
    assert_true(cli_exists("pictures/new"));
}

static void test_refused(void **state)
{
    (void)state;
    cli_refuse("$G serve --host 0.0.0.0 --port 0 --no-gallery", "--api-key");
    cli_refuse("$G serve --port 70000", "--port");
    cli_refuse("$G serve --port 0 --no-gallery --weights data.h5", "data.h5");
    cli_refuse("$G serve --no-gallery --gallery x", "--no-gallery");
    cli_refuse("$G serve --port 0 --gallery base.h5", "base.h5");
    cli_refuse("$G serve something", "something");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
