/* Running the program as people do, in a folder of the test's own that holds base.h5, upsampler.h5 (tiny models) and data.h5. */
#ifndef GLIDE_TESTS_SUPPORT_CLI_H
#define GLIDE_TESTS_SUPPORT_CLI_H

#include "tests/support_folder.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define QUICK "--steps 3 --upsampler-steps 2 "

/* For cmocka_run_group_tests(). $G is the program of $GLIDE_BUILD (default build), $GLIDE_WEIGHTS and $D the folder
 * (test_folder), $R the repository's root. */
int cli_setup(void **state);
int cli_teardown(void **state);

typedef struct CliOutcome {
    int exit_status; /* 128 + N: killed by signal N */
    char out[16384], err[8192];
    long peak_kb;
} CliOutcome;

/* A shell's command line in the folder; `exec` makes it the child itself. */
pid_t cli_start(const char *words);
void cli_finish(pid_t child, CliOutcome *r);
void cli_run(CliOutcome *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_run_ok(CliOutcome *r, const char *words); /* exit status 0 */
void cli_expect_words(const CliOutcome *r, const char *const *words); /* NULL at their end; all are in what was printed */
/* Exit status 2, one line on stderr with this in it, nothing on stdout, no file more than before. */
void cli_refuse(const char *words, const char *part);

/* From where the test runs (the repository's root) instead: exit status, and this in what is printed on stdout (and stderr,
 * if the line says 2>&1), which is one line at most. */
void cli_expect(const char *words, int exit_status, const char *part);

/* --- files of the folder --- */
bool cli_exists(const char *name);
void cli_check_picture(const char *name, int side);
void cli_read_recipe(const char *name, const char *key, char *value, size_t size); /* "" when there is no such line */
void cli_assert_same_files(const char *a, const char *b);

#endif
