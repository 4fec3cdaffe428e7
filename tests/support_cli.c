#include "tests/support_cli.h"

#include "common/image_read.h"
#include "glide/recipe.h"
#include "tests/support_dataset.h"
#include "tests/support_models.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static pid_t start(const char *command)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    signal(SIGINT, SIG_DFL); /* shells start background jobs, and so perhaps this test, with it ignored */
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void read_all(const char *name, char *text, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
}

void cli_finish(pid_t child, CliOutcome *r)
{
    int how;
    struct rusage usage;
    assert_int_equal(wait4(child, &how, 0, &usage), child);
    r->exit_status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    r->peak_kb = usage.ru_maxrss;
    read_all("stdout.txt", r->out, sizeof r->out);
    read_all("stderr.txt", r->err, sizeof r->err);
}

pid_t cli_start(const char *words)
{
    char command[4096];
    snprintf(command, sizeof command, "cd %s && { %s ; } > stdout.txt 2> stderr.txt", test_folder, words);
    return start(command);
}

void cli_run(CliOutcome *r, const char *format, ...)
{
    char words[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    cli_finish(cli_start(words), r);
}

void cli_run_ok(CliOutcome *r, const char *words)
{
    cli_run(r, "%s", words);
    if (r->exit_status != 0) fail_msg("%s: exit status %d, \"%s\"", words, r->exit_status, r->err);
}

bool cli_exists(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    return access(path, F_OK) == 0;
}

void cli_refuse(const char *words, const char *part)
{
    CliOutcome r;
    int before = test_folder_count();
    cli_run(&r, "%s", words);
    char *end = strchr(r.err, '\n');
    if (r.exit_status != 2 || !strstr(r.err, part) || !end || end[1] || *r.out)
        fail_msg("%s: exit status %d, \"%s\", stdout \"%s\"; expected 2 and one line with \"%s\"", words, r.exit_status, r.err,
                 r.out, part);
    if (test_folder_count() != before) fail_msg("%s: left a file behind", words);
}

void cli_expect(const char *words, int exit_status, const char *part)
{
    char text[4096];
    FILE *pipe = popen(words, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, sizeof text - 1, pipe);
    text[n] = 0;
    int how = pclose(pipe), found = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    if (found != exit_status || !strstr(text, part) || (n > 0 && strchr(text, '\n') != text + n - 1))
        fail_msg("%s: exit status %d, \"%s\"; expected %d and one line with \"%s\"", words, found, text, exit_status, part);
}

void cli_check_picture(const char *name, int side)
{
    char path[512];
    Image image = {0};
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    if (image_read(path, &image) != STATUS_OK) fail_msg("%s", status_message());
    assert_int_equal(image.w, side);
    assert_int_equal(image.h, side);
    image_release(&image);
}

void cli_read_recipe(const char *name, const char *key, char *value, size_t size)
{
    char path[512];
    GlideRecipe *recipe;
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    if (recipe_read(path, &recipe) != STATUS_OK) fail_msg("%s", status_message());
    const char *found = recipe_find(recipe, key);
    snprintf(value, size, "%s", found ? found : "");
    recipe_free(recipe);
}

void cli_assert_same_files(const char *a, const char *b)
{
    CliOutcome r;
    cli_run(&r, "cmp %s %s", a, b);
    if (r.exit_status != 0) fail_msg("%s and %s differ", a, b);
}

int cli_setup(void **state)
{
    (void)state;
    char build[PATH_MAX], root[PATH_MAX], program[PATH_MAX + 16], path[256];
    const char *name = getenv("GLIDE_BUILD");
    if (!realpath(name ? name : "build", build) || !getcwd(root, sizeof root)) return -1;
    snprintf(program, sizeof program, "%s/glide", build);
    tiny_weights_setup(state);
    setenv("G", program, 1);
    setenv("D", test_folder, 1);
    setenv("R", root, 1);
    snprintf(path, sizeof path, "%s/data.h5", test_folder);
    return tiny_dataset_write(path, NULL) == STATUS_OK ? 0 : -1;
}

int cli_teardown(void **state)
{
    return tiny_weights_teardown(state);
}

void cli_expect_words(const CliOutcome *r, const char *const *words)
{
    for (; *words; words++)
        if (!strstr(r->out, *words)) fail_msg("\"%s\" is missing in:\n%s", *words, r->out);
}
