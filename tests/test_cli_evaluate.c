/* glide evaluate upsample as people call it: folders, pairs, data sets, another program, and what is refused. */
#include "common/image.h"
#include "common/image_read.h"
#include "common/png_write.h"
#include "common/rng.h"
#include "tests/support_cli.h"
#include "tests/support_judge.h"
#include "tests/support_status.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVALUATE "$G evaluate upsample -q --steps 2 "
#define OURSELVES "--outside \"$G upsample {in} -o '{out}' --scale {scale} --steps 2 -s 0 -q\" "
/* Does not listen when it is asked to end. */
#define STUBBORN "exec $G evaluate upsample --pairs photos --outside 'sh -c \"trap : TERM; while :; do sleep 1; done\" {in} {out}'"

static void write_picture(const char *name, int w, int h, uint32_t seed)
{
    Image p = {0};
    OK(image_init(w, h, &p));
    for (size_t i = 0; i < image_bytes(&p); i++)
        p.pixels[i] = (uint8_t)(100 + 60 * sin((double)(i / 3 % (size_t)w) / (2 + seed)) +
                                rng_below(&(RngKey){.seed = seed, .stream = RNG_TEST}, (uint32_t)i, 40));
    OK(png_write(in_test_folder(name), &p, NULL, 0));
    image_release(&p);
}

/* photos/: three pictures of their own sizes; pairs/: one of them and its small version, told apart by endings; no-pair/ */
static int setup(void **state)
{
    if (cli_setup(state) != 0) return -1;
    Judge *j = small_judge();
    static const char *const folders[] = {"photos", "pairs", "pairs/x", "pairs/y", "lonely", "lonely/x", "lonely/y", "empty",
                                          "bad"};
    for (int i = 0; i < 9; i++) mkdir(in_test_folder(folders[i]), 0777);
    write_judge(j, in_test_folder("judge.h5"));
    judge_free(j);
    write_picture("photos/b.png", 90, 67, 1);
    write_picture("photos/a.png", 64, 64, 2);
    write_picture("photos/c.png", 130, 40, 3);
    write_picture("pairs/y/one.png", 64, 48, 4);
    write_picture("pairs/x/one.png", 16, 12, 5);
    write_picture("lonely/y/one.png", 64, 48, 4);
    write_picture("lonely/x/two.png", 16, 12, 5);
    write_picture("bad/a.png", 64, 64, 6);
    write_bytes(in_test_folder("bad/b.png"), "GIF89a", 6);
    write_picture("tiny.png", 3, 9, 7);
    return 0;
}

static json_t *read_json(const char *words)
{
    CliOutcome r;
    json_error_t error;
    cli_run_ok(&r, words);
    json_t *o = json_loads(r.out, 0, &error);
    if (!o) fail_msg("%s: %s", words, error.text);
    return o;
}

static const json_t *method(const json_t *o, const char *name)
{
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(o, "methods"), i, m)
        if (!strcmp(json_string_value(json_object_get(m, "name")), name)) return m;
    fail_msg("no method %s", name);
    return NULL;
}

static double number(const json_t *o, const char *measure, const char *what)
{
    const json_t *v = json_object_get(json_object_get(o, measure), what);
    if (!json_is_number(v)) fail_msg("%s has no %s", measure, what);
    return json_number_value(v);
}

static void test_table(void **state)
{
    (void)state;
    CliOutcome r;
    static const char *const rows[] = {"\nnearest ", "\nbicubic ", "\nlanczos ", "\nglide "};
    static const char *const columns[] = {"PSNR", "SSIM", "judge distance", "consistency", "colour, dE00", "tint", "edge energy",
                                          "seconds"};
    cli_run_ok(&r, EVALUATE "--pairs photos --sheet sheet.png");
    assert_non_null(strstr(r.out, "3 pictures of photos"));
    for (int i = 0; i < 4; i++) assert_non_null(strstr(r.out, rows[i]));
    for (int i = 0; i < 8; i++) assert_non_null(strstr(r.out, columns[i]));
    assert_non_null(strstr(r.out, "error at "));
    assert_null(strstr(r.out, "nan"));
    Image sheet = {0};
    OK(image_read(in_test_folder("sheet.png"), &sheet));
    assert_true(sheet.w > 6 * 160 && sheet.h > 2 * 160);
    image_release(&sheet);
    cli_run(&r, "$G evaluate upsample --steps 2 --pairs photos --limit 1"); /* shows progress, and one window is no seam */
    assert_int_equal(r.exit_status, 0);
    assert_non_null(strstr(r.err, "1 of 1, a.png, "));
    assert_non_null(strstr(r.out, "one window"));
}

/* What the numbers are of: the program itself as the other one makes the same picture. */
static void test_outside(void **state)
{
    (void)state;
    json_t *o = read_json(EVALUATE "--pairs photos --limit 1 --json --outside-name again " OURSELVES);
    const json_t *own = method(o, "glide"), *again = method(o, "again"), *nearest = method(o, "nearest");
    static const char *const measures[] = {"psnr", "ssim", "judge_distance", "consistency", "colour_difference", "tint",
                                           "edge_energy"};
    for (int i = 0; i < 7; i++) assert_true(number(own, measures[i], "value") == number(again, measures[i], "value"));
    assert_true(number(own, "psnr", "value") != number(nearest, "psnr", "value"));
    assert_true(number(nearest, "consistency", "value") == 100 && number(own, "consistency", "value") > 40);
    assert_true(number(nearest, "tint", "value") == 0 && number(own, "psnr", "n") == 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "pictures"), 0)), "a.png");
    json_decref(o);
    /* the same numbers on another number of threads, and again */
    json_t *one = read_json(EVALUATE "--pairs photos --json -t 1"), *two = read_json(EVALUATE "--pairs photos --json -t 2");
    for (int i = 0; i < 7; i++)
        assert_true(number(method(one, "glide"), measures[i], "value") == number(method(two, "glide"), measures[i], "value"));
    assert_true(number(method(one, "glide"), "seam_edge", "borders") == number(method(two, "nearest"), "seam_step", "borders"));
    json_decref(one);
    json_decref(two);
}

/* Names that are not UTF-8, and such as are cut within a character: every picture and method is there all the same. */
static void test_odd_names(void **state)
{
    (void)state;
    char hangul[160] = "";
    for (int i = 0; i < 45; i++) strcat(hangul, "\352\260\200");
    mkdir(in_test_folder("odd"), 0777);
    char path[200];
    snprintf(path, sizeof path, "odd/%s.png", hangul);
    write_picture(path, 16, 16, 8);
    write_picture("large.png", 16, 16, 10);
    write_picture("odd/caf\351.png", 16, 16, 9);
    CliOutcome r;
    json_error_t error;
    cli_run(&r, EVALUATE "--pairs odd --json --outside-name x%s --outside 'sh -c \"cp large.png {out}\" {in} \351'",
            hangul);
    json_t *o = json_loads(r.out, 0, &error);
    if (!o) fail_msg("%s: %s", error.text, r.err);
    const json_t *names = json_object_get(o, "pictures");
    assert_int_equal(json_array_size(names), 2);
    assert_string_equal(json_string_value(json_array_get(names, 0)), "caf\357\277\275.png");
    assert_memory_equal(json_string_value(json_array_get(names, 1)), hangul, strlen(hangul));
    assert_int_equal(json_array_size(json_object_get(o, "methods")), 5);
    assert_non_null(strstr(json_string_value(json_object_get(o, "outside")), "{in} \357\277\275"));
    json_decref(o);
}

static void test_sources(void **state)
{
    (void)state;
    json_t *o = read_json(EVALUATE "--pairs pairs --json"); /* the small picture is the one in x, which is another picture */
    assert_true(number(method(o, "nearest"), "consistency", "value") == 100 && number(method(o, "nearest"), "psnr", "value") < 25);
    json_decref(o);
    o = read_json(EVALUATE "--data data.h5 --split train --limit 2 --captions --json -x 2");
    assert_int_equal(json_array_size(json_object_get(o, "pictures")), 2);
    assert_true(number(method(o, "glide"), "psnr", "n") == 2);
    json_decref(o);
    o = read_json(EVALUATE "--pairs photos/ --crop 33 --scale 8 --json --fidelity 0.5 --tile 32 --seed 4");
    assert_true(number(method(o, "glide"), "psnr", "n") == 3);
    json_decref(o);
    CliOutcome r;
    cli_run_ok(&r, "mv judge.h5 elsewhere.h5; $G evaluate upsample --pairs photos -n 1 --steps 2; mv elsewhere.h5 judge.h5");
    assert_non_null(strstr(r.err, "there is no judge.h5"));
    assert_non_null(strstr(r.out, "  -"));
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"$G evaluate upsample", "expected one of --pairs DIR or --data FILE"},
        {"$G evaluate upsample --pairs photos --data data.h5", "expected either --pairs DIR or --data FILE"},
        {"$G evaluate upsample photos", "expected nothing after \"upsample\", found \"photos\""},
        {"$G evaluate upsample --pairs photos --subgroups x.tsv", "--subgroups: not an option of \"evaluate upsample\""},
        {"$G evaluate guide base.h5 --data data.h5 --crop 8", "--crop: not an option of \"evaluate guide\""},
        {"$G evaluate upsample --pairs photos --captions", "--captions: expected --data beside it"},
        {"$G evaluate upsample --pairs photos --split train", "--split: expected --data beside it"},
        {"$G evaluate upsample --pairs photos --tile 40", "--tile: expected a multiple of 16"},
        {"$G evaluate upsample --pairs photos --crop 3", "--crop: expected 0 or at least 8"},
        {"$G evaluate upsample --pairs photos --steps 1", "--steps: expected"},
        {"$G evaluate upsample --pairs photos --outside-name x", "--outside-name: expected --outside beside it"},
        {"$G evaluate upsample --pairs photos --outside 'cp {in} x.png'", "--outside: expected {out} in the command"},
        {"$G evaluate upsample --pairs photos --outside 'cp {out}'", "--outside: expected {in} in the command"},
        {"$G evaluate upsample --pairs photos --outside ''", "--outside: expected a command"},
        {"$G evaluate upsample --pairs photos --outside 'cp \"{in} {out}'", "--outside: a quotation mark (\") is not closed"},
        {"$G evaluate upsample --pairs photos --sheet no/such/sheet.png", "no/such/sheet.png"},
        {"$G evaluate upsample --pairs photos --sheet sheet.gif", "--sheet: expected a name that ends in .png, found \"sheet.gif\""},
        {EVALUATE "--pairs missing", "--pairs: missing: No such file or directory"},
        {EVALUATE "--pairs tiny.png", "--pairs: tiny.png: Not a directory"},
        {EVALUATE "--pairs empty", "--pairs: empty: a folder without pictures"},
        {EVALUATE "--pairs lonely", "one.png: expected a picture of that name in x, too"},
        {EVALUATE "--pairs bad", "bad/b.png"},
        {EVALUATE "--pairs pairs --scale 2", "expected 2 times 16x12 pixels, those of pairs/x/one.png, found 64x48"},
        {EVALUATE "--pairs photos --judge base.h5", "base.h5"},
        {EVALUATE "--pairs photos -w base.h5", "base.h5"},
        {EVALUATE "--data photos/a.png", "photos/a.png"},
        {EVALUATE "--pairs photos --outside 'no-such-program {in} {out}'",
         "no-such-program: cannot be run: No such file or directory"},
        {EVALUATE "--pairs photos --outside 'sh -c \"echo begun; echo it broke; exit 3\" {in} {out}'",
         "sh: exit status 3: it broke"},
        {EVALUATE "--pairs photos --outside 'sh -c \"kill -9 \\$\\$\" {in} {out}'", "sh: ended by signal 9"},
        {EVALUATE "--pairs photos --outside 'true {in} {out}'", "true: "},
        {EVALUATE "--pairs photos --outside 'cp {in} {out}'", "cp: made 16x16 pixels of 16x16, expected 64x64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) cli_refuse(cases[i][0], cases[i][1]);
    CliOutcome r;
    cli_run(&r, "mkdir few && cp tiny.png few/ && " EVALUATE "--pairs few");
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err, "few/tiny.png: 3x9 pixels are too few to be reduced by 4"));
}

/* Ctrl-C, while the other program runs and while the model does: nothing is printed, and no file stays behind. */
static void test_interrupt(void **state)
{
    (void)state;
    static const char *const words[] = {"exec $G evaluate upsample --pairs photos --outside 'sh -c \"exec sleep 60\" {in} {out}'",
                                        STUBBORN,
                                        "exec $G evaluate upsample --pairs photos --steps 900"};
    mkdir(in_test_folder("tmp"), 0777);
    setenv("TMPDIR", in_test_folder("tmp"), 1);
    for (int i = 0; i < 3; i++) {
        CliOutcome r;
        pid_t child = cli_start(words[i]);
        usleep(1500000);
        kill(child, SIGINT);
        cli_finish(child, &r);
        if (r.exit_status != 130 || *r.out || !strstr(r.err, "stopped"))
            fail_msg("%s: exit status %d, \"%s\", \"%s\"", words[i], r.exit_status, r.out, r.err);
        assert_int_equal(rmdir(in_test_folder("tmp")), 0); /* empty */
        mkdir(in_test_folder("tmp"), 0777);
    }
    unsetenv("TMPDIR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),    cmocka_unit_test(test_outside),   cmocka_unit_test(test_sources),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_interrupt), cmocka_unit_test(test_odd_names),
    };
    return cmocka_run_group_tests(tests, setup, cli_teardown);
}
