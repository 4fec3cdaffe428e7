/* make install: what it puts where, and that it works from there: the header's example by pkg-config, pages, completions. */
#include "tests/support_cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 }; /* its run-time would have to be named to the linker */
#else
enum { SANITIZED = 0 };
#endif

/* The folder's weights stand for the default ones. */
static int setup(void **state)
{
    CliOutcome r;
    if (cli_setup(state) != 0) return -1;
    cli_run(&r, "cd $R && make -s --no-print-directory BUILD=\"${GLIDE_BUILD:-build}\" install PREFIX=$D/usr WEIGHTS=$D "
                "> $D/make.txt 2>&1");
    if (r.exit_status == 0) return 0;
    cli_run(&r, "cat make.txt");
    print_error("make install: %s\n", r.out);
    return -1;
}

static void test_files(void **state)
{
    (void)state;
    static const char *const files[] = {"bin/glide", "bin/glide-dataset", "lib/libglide.a", "lib/libglide.so", "lib/libglide.so.0",
                                        "include/glide/glide.h", "lib/pkgconfig/glide.pc", "share/glide/base.h5",
                                        "share/man/man1/glide.1", "share/bash-completion/completions/glide",
                                        "share/zsh/site-functions/_glide", "share/fish/vendor_completions.d/glide.fish"};
    char path[256];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "usr/%s", files[i]);
        if (!cli_exists(path)) fail_msg("%s is missing", path);
    }
    CliOutcome r;
    cli_run_ok(&r, "usr/bin/glide --version; cmp usr/include/glide/glide.h \"$R/glide/glide.h\"");
    cli_run_ok(&r, "cd / && env -u GLIDE_WEIGHTS $D/usr/bin/glide sample cat -s 1 -q -o $D/cat.png " QUICK);
    assert_true(cli_exists("cat.png")); /* the weights are found beside the program */
}

/* The header's own example, by its own words, from nowhere near the sources. */
static void test_example(void **state)
{
    (void)state;
    if (SANITIZED) skip();
    CliOutcome r;
    cli_run_ok(&r, "mkdir -p away && sed -n '/#include \"glide/,/^ \\*     }$/s/^ \\* \\{0,5\\}//p' usr/include/glide/glide.h > "
            "away/example.c");
    cli_run_ok(&r, "cd away && export PKG_CONFIG_PATH=$D/usr/lib/pkgconfig && ${CC:-cc} -std=c11 -Wall -Wextra -Werror example.c "
                   "-o example $(pkg-config --cflags --libs glide) && env -u GLIDE_WEIGHTS LD_LIBRARY_PATH=$D/usr/lib ./example");
    assert_non_null(strstr(r.out, "apple.png: 64 x 64 pixels"));
    cli_run_ok(&r, "cd away && export PKG_CONFIG_PATH=$D/usr/lib/pkgconfig && rm -f apple.png && ${CC:-cc} -std=c11 example.c "
                   "-Wl,--as-needed -o still $(pkg-config --cflags glide) $D/usr/lib/libglide.a $(pkg-config --libs --static glide) && ./still");
    assert_true(cli_exists("away/apple.png"));
}

/* A page for each command, which says what its help says. */
static void test_pages(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "set -e; for c in $($G help | sed -n '/^Commands:/,/^$/s/^  \\([a-z]*\\) .*/\\1/p'); do "
            "p=usr/share/man/man1/glide-$c.1; "
                   "grep -q '^.SH NAME' $p; grep -q '^.SH \"EXIT STATUS\"' $p; grep -q \"glide.-$c\" usr/share/man/man1/glide.1; "
                   "for o in $($G help $c | sed -n 's/^ *\\(-., \\)\\?--\\([a-z-]*\\).*/\\2/p'); do "
                   "grep -qF -- \"$(echo --$o | sed 's/-/\\\\-/g')\" $p || { echo $c $o; exit 1; }; done; done; ls "
                   "usr/share/man/man1 | wc -l");
    assert_true(atoi(r.out) >= 17);
    cli_run(&r, "command -v groff && for p in usr/share/man/man1/*.1; do LC_ALL=C.UTF-8 groff -k -man -Tutf8 -ww $p 2>&1 "
            ">/dev/null; done");
    if (strstr(r.out, "groff")) {
        char *end = strchr(r.out, '\n');
        if (end && end[1]) fail_msg("groff: %s", end + 1);
    }
}

static void check_completion(const char *words, int at, const char *expected)
{
    CliOutcome r;
    cli_run(&r, "bash -c 'source usr/share/bash-completion/completions/glide; COMP_WORDS=(%s); COMP_CWORD=%d; _glide; echo "
            "\"${COMPREPLY[*]}\"'",
            words, at);
    r.out[strcspn(r.out, "\n")] = 0;
    if (strcmp(r.out, expected) != 0) fail_msg("%s: \"%s\", expected \"%s\" (%s)", words, r.out, expected, r.err);
}

static void test_completions(void **state)
{
    (void)state;
    check_completion("glide sa", 1, "sample");
    check_completion("glide sample --neg", 2, "--negative-prompt");
    check_completion("glide sample --sampler dd", 3, "ddpm ddim");
    check_completion("glide sample --sampler = dd", 4, "ddpm ddim");
    check_completion("glide upsample -x \"\"", 3, "2 4 8");
    check_completion("glide sample -o bas", 3, "base.h5");
    check_completion("glide sample --steps 1", 3, "");
    check_completion("glide plan ups", 2, "upsample");
    check_completion("glide plan upsample --fid", 3, "--fidelity");
    check_completion("glide help ver", 2, "verify");
    CliOutcome r;
    cli_run_ok(&r, "grep -c \"__fish_seen_subcommand_from sample' -l sampler -x -a 'ddpm ddim\" "
            "usr/share/fish/vendor_completions.d/glide.fish");
    cli_run_ok(&r, "if command -v zsh; then zsh -n usr/share/zsh/site-functions/_glide; fi; head -1 "
            "usr/share/zsh/site-functions/_glide");
    assert_non_null(strstr(r.out, "#compdef glide"));
    cli_run(&r, "cd \"$R\"; make -s uninstall PREFIX=$D/usr; find $D/usr -type f | grep -v glide-dataset");
    if (*r.out) fail_msg("left behind: %s", r.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_example), cmocka_unit_test(test_pages),
                                       cmocka_unit_test(test_completions)};
    return cmocka_run_group_tests(tests, setup, cli_teardown);
}
