/* glide sample --grid as people run it: cells, labels, going on after a kill, what is refused. Letters for labels. */
#include "common/ascii_text.h"
#include "common/image_read.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define SMALL "--no-upsample --steps 3 -q "

static void test_letters(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"red apple", "red apple"}, {"빨간 사과", "ppalgan sagwa"}, {"한국어", "hangukeo"},
                                           {"값 닭 읽", "gap dak ik"}, {"Äpfel, café", "Apfel, cafe"}, {"ﬁ ½", "fi 1?2"},
                                           {"日本", "??"}, {"a\nb\tc", "a b c"}, {"", ""}};
    char text[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(ascii_text(cases[i][0], text, sizeof text), cases[i][1]);
    assert_string_equal(ascii_text("빨간", text, 4), "ppa");
    assert_string_equal(ascii_text("아빠", text, 3), "a"); /* letters stay whole */
    assert_string_equal(ascii_text("a\xff" "b", text, sizeof text), "a?b");
}

/* The pixels of a cell, at (x,y) of the sheet, are those of the picture. */
static bool has_picture(const Image *sheet, const char *name, int x, int y)
{
    Image a = {0};
    bool same = true;
    assert_int_equal(image_read(in_test_folder(name), &a), STATUS_OK);
    assert_true(x + a.w <= sheet->w && y + a.h <= sheet->h);
    for (int i = 0; i < a.h; i++)
        same = same && !memcmp(a.pixels + 3 * i * a.w, sheet->pixels + 3 * ((y + i) * sheet->w + x), (size_t)(3 * a.w));
    image_release(&a);
    return same;
}

static void test_sheet(void **state)
{
    (void)state;
    CliOutcome r;
    char value[128];
    cli_run_ok(&r, "$G sample 'red apple' --seed 5 " SMALL "--grid guidance-scale=1,4 --grid 'prompt:apple=apple,사과' -o sheet.png");
    assert_false(cli_exists("sheet.png.grid"));
    cli_run_ok(&r, "$G sample 'red apple' -g 1 --seed 5 " SMALL "-o a.png && $G sample 'red apple' -g 4 --seed 5 " SMALL
                   "-o b.png && "
                   "$G sample 'red 사과' -g 4 --seed 5 " SMALL "-o c.png");
    Image sheet = {0};
    assert_int_equal(image_read(in_test_folder("sheet.png"), &sheet), STATUS_OK);
    int side = TINY_BASE_SIDE, gap = 4, top = 3 * 12 + gap, left = gap + 2 * side + gap; /* "apple", cut to two pictures' width */
    if (sheet.w != left + 2 * (side + gap)) left = gap + 5 * 6 + gap;
    assert_int_equal(sheet.w, left + 2 * (side + gap));
    assert_int_equal(sheet.h, top + 2 * (side + gap));
    assert_true(has_picture(&sheet, "a.png", left, top));
    assert_true(has_picture(&sheet, "b.png", left + side + gap, top));
    assert_true(has_picture(&sheet, "c.png", left + side + gap, top + side + gap));
    assert_false(has_picture(&sheet, "b.png", left, top));
    int dark = 0; /* the labels */
    for (int i = 0; i < sheet.w * top; i++) dark += sheet.pixels[3 * i] < 50;
    assert_true(dark > 50);
    image_release(&sheet);
    cli_read_recipe("sheet.png", "task", value, sizeof value);
    assert_string_equal(value, "grid");
    cli_read_recipe("sheet.png", "columns", value, sizeof value);
    assert_string_equal(value, "guidance-scale=1,4");
    cli_read_recipe("sheet.png", "rows", value, sizeof value);
    assert_string_equal(value, "prompt:apple=apple,사과");
    cli_read_recipe("sheet.png", "guidance_scale", value, sizeof value);
    assert_string_equal(value, "");
    cli_read_recipe("sheet.png", "seed", value, sizeof value);
    assert_string_equal(value, "5");
    cli_run_ok(&r, "$G sample 'red apple' --seed 5 --steps 3 -q --grid no-upsample=no,yes --grid "
                   "sampler=ddim,heun "
                   "-o mixed.png");
    cli_run_ok(&r, "$G sample --from a.png -q --grid 'steps=2,2;3' -o by.png"); /* a recipe's picture */
    cli_run_ok(&r, "$G sample -q --no-upsample -s 1 --grid 'prompt=a cat;a dog, sitting' --steps 2 -o prompts.png");
}

/* A sheet's recipe makes the sheet again, by --from to the byte and by verify in memory; what one option says here changes it. */
static void test_again(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample cat -s 2 " SMALL "-o start.png");
    static const char *const sheets[] = {
        "'red apple' --grid guidance-scale=1,4 --grid 'prompt:apple=apple,사과' --no-upsample --steps 3",
        "'red apple' --seed 5 --steps 3 --grid no-upsample=no,yes --grid sampler=ddim,ddpm",
        "--grid 'prompt=a cat;a dog, sitting' --grid image=1,4 --no-upsample --steps 2",
        "cat --init-image start.png --grid strength=0.4,0.9 --grid upsampler-steps=2,3 --steps 4 --precision f32",
        "cat --weights base.h5 --upsampler-weights upsampler.h5 --grid upsample-temp=0.9,1 --upsampler-steps 2 --steps 2",
    };
    for (int i = 0; i < (int)(sizeof sheets / sizeof *sheets); i++) {
        char command[512];
        snprintf(command, sizeof command, "$G sample %s -q -o again.png && $G verify again.png && ls", sheets[i]);
        cli_run_ok(&r, command);
        assert_non_null(strstr(r.out, "again.png: identical\n"));
        assert_null(strstr(r.out, ".grid"));
        cli_run_ok(&r, "$G sample --from again.png -q -o same.png");
        cli_assert_same_files("again.png", "same.png");
    }
    cli_run_ok(&r, "$G sample --from again.png --steps 3 -q -o other.png");
    char value[64];
    cli_read_recipe("other.png", "columns", value, sizeof value);
    assert_string_equal(value, "upsample-temp=0.9,1");
    cli_read_recipe("other.png", "steps", value, sizeof value);
    assert_string_equal(value, "3");
    cli_read_recipe("same.png", "precision", value, sizeof value); /* the machine's own choice */
    cli_run(&r, strcmp(value, "f32") ? "$G verify same.png --precision f32" : "$G verify same.png --precision bf16");
    assert_int_equal(r.exit_status, 1);
    assert_non_null(strstr(r.out, "precision: "));
    cli_run_ok(&r, "$G sample --from again.png --grid seed=1,2 -q -o sheet.jpg");
    cli_refuse("$G verify sheet.jpg", "expected a PNG");
}

/* As long as cells are missing the folder stays; the sheet of a broken run is the one of an unbroken run. */
static void test_resume(void **state)
{
    (void)state;
    static const char words[] =
        "exec $G sample 'red apple' --no-upsample --steps 30 -q --grid guidance-scale=1,2,3,4 --grid seed=1,2 ";
    CliOutcome r;
    char command[512];
    snprintf(command, sizeof command, "%s -o whole.png", words);
    cli_run_ok(&r, command);
    snprintf(command, sizeof command, "%s -o broken.png", words);
    for (int kill_with = 0; kill_with < 2; kill_with++) {
        pid_t child = cli_start(command);
        for (int i = 0; i < 2000 && !cli_exists(kill_with ? "broken.png.grid/r001-c004.png" : "broken.png.grid/r001-c002.png"); i++)
            usleep(5000);
        kill(child, kill_with ? SIGINT : SIGKILL);
        cli_finish(child, &r);
        assert_int_equal(r.exit_status, 128 + (kill_with ? SIGINT : SIGKILL));
        assert_true(cli_exists("broken.png.grid/r001-c002.png"));
        assert_false(cli_exists("broken.png"));
        if (kill_with) assert_non_null(strstr(r.err, "are kept in broken.png.grid: the same command goes on"));
        cli_run_ok(&r, "$G verify -t 1 broken.png.grid/r001-c001.png && $G verify -t 2 broken.png.grid/r001-c002.png");
        assert_non_null(strstr(r.out, "r001-c001.png: identical\n"));
        assert_non_null(strstr(r.out, "r001-c002.png: identical\n"));
    }
    cli_run_ok(&r, "cp broken.png.grid/r001-c001.png kept.png && cp kept.png broken.png.grid/r001-c003.png"); /* not that cell's */
    cli_run_ok(&r, "touch -d @1 broken.png.grid/r001-c001.png && echo half > broken.png.grid/.glide-1-1.tmp");
    cli_run_ok(&r, command);
    cli_assert_same_files("whole.png", "broken.png");
    assert_false(cli_exists("broken.png.grid"));

    /* a seed that was drawn is found again */
    cli_run_ok(&r, "mkdir drawn.png.grid && $G sample cat --seed 77 -g 1 " SMALL "-o drawn.png.grid/r001-c001.png");
    cli_run_ok(&r, "$G sample cat " SMALL "--grid guidance-scale=1,2 -o drawn.png");
    char value[32];
    cli_read_recipe("drawn.png", "seed", value, sizeof value);
    assert_string_equal(value, "77");
    cli_run_ok(&r, "mkdir -p other.png.grid && touch other.png.grid/mine.txt && $G sample cat -s 1 " SMALL
                   "--grid seed=1,2 -o other.png");
    assert_true(cli_exists("other.png.grid/mine.txt")); /* what is not ours stays */
    cli_run_ok(&r, "rm -r other.png.grid");
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"--grid guidance=1", "expected an option of glide sample or \"prompt\" before the equals sign, found \"guidance\""},
        {"--grid guidance-scale=x", "--grid: --guidance-scale: expected a number from 0 to 100, found \"x\""},
        {"--grid guidance-scale=1,101", "--guidance-scale: expected a number from 0 to 100, found \"101\""},
        {"--grid guidance-scale=1,1", "1 is there twice"},
        {"--grid guidance-scale=", "expected NAME=VALUE"},
        {"--grid guidance-scale", "expected NAME=VALUE"},
        {"--grid seed=1,,2", "a value is empty"},
        {"--grid prompt:cat=dog", "there is no such word"},
        {"--grid prompt:=dog", "expected a word"},
        {"--grid steps:a=3", "expected NAME=VALUES or prompt:WORD=VALUES"},
        {"--grid output=a,b", "--output does not change a picture"},
        {"--grid no-upsample=maybe", "expected yes or no"},
        {"--grid steps=1", "--steps: expected a whole number from 2"},
        {"--grid seed=1 --grid seed=2", "two different options"},
        {"--grid seed=1 --grid steps=2 --grid image=1", "one or two of them"},
        {"--grid seed=1 -n 2", "no --number"},
        {"--grid seed=1 --trace t.h5", "no --trace"},
        {"--grid seed=1 -o - > /dev/null", "found standard output"},
        {"--grid weights=nowhere.h5 -s 1", "nowhere.h5"},
        {"dog --grid seed=1", "expected one prompt"},
    };
    char words[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(words, sizeof words, "$G sample 'red apple' -q -o no.png %s", cases[i][0]);
        cli_refuse(words, cases[i][1]);
    }
    assert_false(cli_exists("no.png.grid"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_letters), cmocka_unit_test(test_sheet), cmocka_unit_test(test_again),
                                       cmocka_unit_test(test_resume), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
