/* The command line: what is accepted, what is stored, and what is said when something is wrong. */
#include "glide/cli_help.h"
#include "glide/cli_options.h"
#include "glide/cli_suggest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct Options {
    const char *output, *note;
    int64_t steps, seed, count;
    double scale;
    int sampler;
    bool quiet, no_upsample;
} Options;

static const char *const samplers[] = {"ddpm", "ddim", "plms", NULL};
static const CliOption options_table[] = {
    CLI_FILE(Options, output, 'o', "output", "FILE", "out.png", "where the picture goes; with more than one picture a "
             "number comes before the ending, so that none of them is lost"),
    CLI_TEXT(Options, note, 0, "note", "TEXT", NULL, "kept in the file"),
    CLI_INT(Options, steps, 0, "steps", "N", 1, 1000, "27", "steps of the base model"),
    CLI_INT(Options, seed, 's', "seed", "S", 0, INT64_MAX, "0", "where randomness starts"),
    CLI_INT(Options, count, 'n', "count", "N", INT64_MIN, INT64_MAX, NULL, "how many"),
    CLI_DOUBLE(Options, scale, 'g', "guidance-scale", "G", 0, 20, "3", "how closely to follow the prompt"),
    CLI_CHOICE(Options, sampler, 0, "sampler", samplers, "ddim", "how to sample"),
    CLI_FLAG(Options, quiet, 'q', "quiet", "show no progress"),
    CLI_FLAG(Options, no_upsample, 0, "no-upsample", "stop at 64x64"),
};
static const CliCommand command = {
    .name = "sample", .summary = "make pictures from prompts", .operands = "PROMPT...", .min_operands = 1,
    .max_operands = 4, .options = options_table, .option_count = CLI_COUNT(options_table),
    .options_size = sizeof(Options), .examples = "glide sample \"red apple\"\nglide sample -n 4 cat"};

#define ARGS_MAX 12
typedef struct Case {
    Options options;
    CliArgs args;
    Status status;
} Case;

/* Words end with NULL. */
static Case parse(const char *const *words)
{
    char *argv[ARGS_MAX + 2] = {(char *)"sample"};
    int argc = 1;
    for (; words[argc - 1]; argc++) argv[argc] = (char *)words[argc - 1];
    Case c;
    c.status = cli_parse(&command, argc, argv, &c.options, &c.args);
    return c;
}
#define PARSE(...) parse((const char *const[ARGS_MAX]){__VA_ARGS__, NULL})

static Case parse_well(Case c) /* the struct moved */
{
    if (c.status != STATUS_OK) print_error("%s\n", status_message());
    assert_int_equal(c.status, STATUS_OK);
    c.args.options = NULL;
    return c;
}

static void test_defaults(void **state)
{
    (void)state;
    Case c = parse_well(PARSE("cat"));
    assert_string_equal(c.options.output, "out.png");
    assert_null(c.options.note);
    assert_int_equal(c.options.steps, 27);
    assert_int_equal(c.options.count, 0);
    assert_true(c.options.scale == 3);
    assert_int_equal(c.options.sampler, 1);
    assert_false(c.options.quiet);
    assert_int_equal(c.args.operand_count, 1);
    assert_string_equal(c.args.operands[0], "cat");
    assert_false(cli_given(&c.args, "steps"));
    cli_args_release(&c.args);
}

static void test_forms(void **state)
{
    (void)state;
    Case c = parse_well(PARSE("red", "--steps=50", "-o", "a.png", "blue apple", "-qg2.5", "--sampler", "plms"));
    assert_int_equal(c.options.steps, 50);
    assert_string_equal(c.options.output, "a.png");
    assert_true(c.options.quiet && c.options.scale == 2.5 && c.options.sampler == 2);
    assert_int_equal(c.args.operand_count, 2);
    assert_string_equal(c.args.operands[0], "red");
    assert_string_equal(c.args.operands[1], "blue apple");
    assert_true(cli_given(&c.args, "steps") && cli_given(&c.args, "quiet") && cli_given(&c.args, "guidance-scale"));
    assert_false(cli_given(&c.args, "seed") || cli_given(&c.args, "no-upsample"));
    cli_args_release(&c.args);

    c = parse_well(PARSE("--guid", "1e1", "--", "--steps", "-q", "--"));
    assert_true(c.options.scale == 10);
    assert_int_equal(c.args.operand_count, 3);
    assert_string_equal(c.args.operands[0], "--steps");
    assert_string_equal(c.args.operands[2], "--");
    assert_false(c.options.quiet);
    cli_args_release(&c.args);

    c = parse_well(PARSE("-", "-n", "-5", "--steps", "7", "--steps", "8", "--note", "", "--seed=9223372036854775807"));
    assert_string_equal(c.args.operands[0], "-");
    assert_int_equal(c.options.count, -5);
    assert_int_equal(c.options.steps, 8);
    assert_string_equal(c.options.note, "");
    assert_true(c.options.seed == INT64_MAX);
    cli_args_release(&c.args);

    setenv("POSIXLY_CORRECT", "1", 1); /* options still mix with operands */
    c = parse_well(PARSE("cat", "--quiet"));
    unsetenv("POSIXLY_CORRECT");
    assert_true(c.options.quiet);
    cli_args_release(&c.args);

    c = parse_well(PARSE("--help"));
    assert_true(c.args.help_wanted);
    cli_args_release(&c.args);
    c = parse_well(PARSE("cat", "-qh", "--nonsense"));
    assert_true(c.args.help_wanted);
    cli_args_release(&c.args);
}

static void expect_message(Case c, const char *message)
{
    assert_int_equal(c.status, STATUS_BAD_INPUT);
    assert_true(c.args.usage_error);
    assert_string_equal(status_message(), message);
    cli_args_release(&c.args);
}

static void test_wrong_options(void **state)
{
    (void)state;
    expect_message(PARSE("--stepz", "5", "cat"), "--stepz: no such option; did you mean --steps?");
    expect_message(PARSE("cat", "--stepz=5"), "--stepz: no such option; did you mean --steps?");
    expect_message(PARSE("cat", "--no-upsmaple"), "--no-upsmaple: no such option; did you mean --no-upsample?");
    expect_message(PARSE("cat", "--upsample"), "--upsample: no such option; did you mean --no-upsample?");
    expect_message(PARSE("cat", "--scale", "3"), "--scale: no such option; did you mean --guidance-scale?");
    expect_message(PARSE("cat", "--frobnicate"), "--frobnicate: no such option; see \"glide help sample\"");
    expect_message(PARSE("cat", "--hlep"), "--hlep: no such option; did you mean --help?");
    expect_message(PARSE("cat", "--s", "3"), "--s: can mean --steps, --seed, --sampler");
    expect_message(PARSE("cat", "-x"), "-x: no such option; see \"glide help sample\"");
    expect_message(PARSE("cat", "-qx"), "-x: no such option; see \"glide help sample\"");
    expect_message(PARSE("cat", "-\xc3\xa9"), "\"-\xc3\xa9\": no such option; see \"glide help sample\"");
    expect_message(PARSE("cat", "--quiet=yes"), "--quiet: expected no value, found \"yes\"");
    expect_message(PARSE("cat", "--help=me"), "--help: expected no value, found \"me\"");
    expect_message(PARSE("cat", "--a\nb"), "--a?b: no such option; see \"glide help sample\"");
    expect_message(PARSE("--quiet"), "expected PROMPT..., found nothing; see \"glide help sample\"");
    expect_message(PARSE("a", "b", "c", "d", "e"), "expected PROMPT..., found also \"e\"");
}

static void test_wrong_values(void **state)
{
    (void)state;
    static const char *const bad[] = {"abc", "0", "1001", "", " 5", "5 ", "5.0", "0x10", "99999999999999999999", "1e2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "--steps: expected a whole number from 1 to 1000, found \"%s\"", bad[i]);
        expect_message(PARSE("cat", "--steps", bad[i]), expected);
    }
    static const char *const bad_scale[] = {"abc", "-0.1", "20.01", "", "nan", "inf", "1e999", "0x1p3", "2,5", " 3"};
    for (size_t i = 0; i < sizeof bad_scale / sizeof *bad_scale; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "--guidance-scale: expected a number from 0 to 20, found \"%s\"", bad_scale[i]);
        expect_message(PARSE("cat", "-g", bad_scale[i]), expected);
    }
    expect_message(PARSE("cat", "--seed", "-1"), "--seed: expected a whole number of at least 0, found \"-1\"");
    expect_message(PARSE("cat", "-n", "x"), "--count: expected a whole number, found \"x\"");
    expect_message(PARSE("cat", "--sampler", "ddmi"),
                   "--sampler: expected ddpm, ddim or plms, found \"ddmi\"; did you mean ddim?");
    expect_message(PARSE("cat", "--sampler", "euler"), "--sampler: expected ddpm, ddim or plms, found \"euler\"");
    expect_message(PARSE("cat", "-o", ""), "--output: expected a file name, found \"\"");
    expect_message(PARSE("cat", "--steps"), "--steps: expected a whole number from 1 to 1000 after it, found nothing");
    expect_message(PARSE("cat", "-n"), "--count: expected a whole number after it, found nothing");
    expect_message(PARSE("cat", "--steps", "1\n2"), "--steps: expected a whole number from 1 to 1000, found \"1?2\"");
}

static void test_commands_own_checks(void **state)
{
    (void)state;
    static const char *const models[] = {"base", "upsampler", NULL};
    int index = -1;
    Case c = parse_well(PARSE("upsampler"));
    assert_int_equal(cli_operand_choice(&c.args, 0, models, &index), STATUS_OK);
    assert_int_equal(index, 1);
    assert_int_equal(cli_operand_choice(&c.args, 1, models, &index), STATUS_BAD_INPUT);
    assert_string_equal(status_message(), "expected base or upsampler, found nothing");
    assert_true(c.args.usage_error);
    cli_args_release(&c.args);
    c = parse_well(PARSE("upsmapler"));
    assert_int_equal(cli_operand_choice(&c.args, 0, models, &index), STATUS_BAD_INPUT);
    assert_string_equal(status_message(), "expected base or upsampler, found \"upsmapler\"; did you mean upsampler?");
    cli_args_release(&c.args);
}

static void test_quote(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(cli_quote("abc", text, sizeof text), "\"abc\"");
    assert_string_equal(cli_quote("a\tb\033[1m", text, sizeof text), "\"a?b?[1m\"");
    assert_string_equal(cli_quote("0123456789", text, sizeof text), "\"012345678...\"");
    assert_string_equal(cli_quote("01234567\xea\xb0\x80\xea\xb0\x80", text, sizeof text), "\"01234567...\"");
}

/* Optimal string alignment by its recursive definition. */
static int slow_distance(const char *a, int na, const char *b, int nb)
{
    if (na == 0 || nb == 0) return na + nb;
    int best = slow_distance(a, na - 1, b, nb - 1) + (a[na - 1] != b[nb - 1]);
    int other = slow_distance(a, na - 1, b, nb) + 1;
    if (other < best) best = other;
    other = slow_distance(a, na, b, nb - 1) + 1;
    if (other < best) best = other;
    if (na > 1 && nb > 1 && a[na - 1] == b[nb - 2] && a[na - 2] == b[nb - 1]) {
        other = slow_distance(a, na - 2, b, nb - 2) + 1;
        if (other < best) best = other;
    }
    return best;
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(cli_distance("", ""), 0);
    assert_int_equal(cli_distance("steps", "Steps"), 0);
    assert_int_equal(cli_distance("smaple", "sample"), 1);
    assert_int_equal(cli_distance("ca", "abc"), 3);
    unsigned random = 1;
    for (int n = 0; n < 300; n++) {
        char words[2][8];
        int sizes[2];
        for (int w = 0; w < 2; w++) {
            sizes[w] = (int)((random = random * 1103515245 + 12345) >> 16) % 7;
            for (int i = 0; i < sizes[w]; i++)
                words[w][i] = (char)('a' + ((random = random * 1103515245 + 12345) >> 16) % 3);
            words[w][sizes[w]] = 0;
        }
        assert_int_equal(cli_distance(words[0], words[1]), slow_distance(words[0], sizes[0], words[1], sizes[1]));
    }
    char long_word[300];
    memset(long_word, 'a', sizeof long_word);
    long_word[299] = 0;
    assert_int_equal(cli_distance(long_word, "a"), 62); /* only 63 letters are looked at */
}

static void test_help(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    cli_print_help(out, &command);
    fclose(out);
    assert_memory_equal(text, "usage: glide sample [OPTION...] PROMPT...\n\nmake pictures from prompts\n", 70);
    assert_non_null(strstr(text, "  -o, --output FILE           where the picture goes; with more than one picture\n"
                                 "                              a number comes before the ending, so that none of\n"
                                 "                              them is lost (default out.png)\n"));
    assert_non_null(strstr(text, "      --steps N               steps of the base model (1 to 1000; default 27)\n"));
    assert_non_null(strstr(text, "(at least 0; default 0)"));
    assert_non_null(strstr(text, "      --sampler WORD          how to sample (ddpm, ddim or plms; default ddim)\n"));
    assert_non_null(strstr(text, "  -n, --count N               how many\n"));
    assert_non_null(strstr(text, "  -h, --help                  show this help\n"));
    assert_non_null(strstr(text, "Examples:\n  glide sample \"red apple\"\n  glide sample -n 4 cat\n"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) assert_true(strcspn(line, "\n") <= 80);
    free(text);
}

/* --- the program itself, when it is built --- */
static int run_program(const char *words, char *text, size_t size)
{
    const char *build = getenv("GLIDE_BUILD");
    char line[512];
    snprintf(line, sizeof line, "%s/glide %s", build ? build : "build", words);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, size - 1, pipe);
    text[n] = 0;
    int how = pclose(pipe);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void test_program(void **state)
{
    (void)state;
    const char *build = getenv("GLIDE_BUILD");
    char path[256], text[8192];
    snprintf(path, sizeof path, "%s/glide", build ? build : "build");
    if (access(path, X_OK) != 0) skip();
    static const struct {
        const char *words;
        int exit_status;
        const char *begin;
    } cases[] = {
        {"--version 2>&1", 0, "glide "},
        {"2>&1", 2, "usage: glide COMMAND"},
        {"help 2>/dev/null", 0, "usage: glide COMMAND"},
        {"--help 2>/dev/null", 0, "usage: glide COMMAND"},
        {"-h help 2>/dev/null", 0, "usage: glide help"},
        {"help help 2>/dev/null", 0, "usage: glide help"},
        {"help --help 2>/dev/null", 0, "usage: glide help"},
        {"hepl 2>&1", 2, "glide: \"hepl\": no such command; did you mean \"help\"?\n"},
        {"help hepl 2>&1", 2, "glide help: \"hepl\": no such command; did you mean \"help\"?\n"},
        {"qqqqqq 2>&1", 2, "glide: \"qqqqqq\": no such command; see \"glide help\"\n"},
        {"'' 2>&1", 2, "glide: \"\": no such command; see \"glide help\"\n"},
        {"--steps 5 2>&1", 2, "glide: expected a command first, found \"--steps\"; see \"glide help\"\n"},
        {"help --hepl 2>&1", 2, "glide help: --hepl: no such option; did you mean --help?\n"},
        {"help a b 2>&1", 2, "glide help: expected [COMMAND], found also \"b\"\n"},
        {"help 2>&1 >/dev/full", 2, "glide: standard output cannot be written: No space left on device\n"},
        {"help 2>&1 >&-", 2, "glide: standard output cannot be written: Bad file descriptor\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int exit_status = run_program(cases[i].words, text, sizeof text);
        if (exit_status != cases[i].exit_status || strncmp(text, cases[i].begin, strlen(cases[i].begin)))
            fail_msg("glide %s: exit status %d, \"%s\"; expected %d, \"%s\"", cases[i].words, exit_status, text,
                     cases[i].exit_status, cases[i].begin);
        if (exit_status != 0 && i > 1) assert_true(strchr(text, '\n') == text + strlen(text) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_commands_own_checks),
        cmocka_unit_test(test_quote),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
