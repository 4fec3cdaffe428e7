/* Pictures for terminals: every encoder against small pictures done by hand, and which of them a terminal gets. */
#include "common/image_read.h"
#include "common/terminal_picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void noise(uint8_t *bytes, size_t n)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
}

static void check_sixel(int w, int h, const uint8_t *pixels, const char *expected)
{
    uint8_t copy[3 * 64];
    char *bytes;
    size_t size;
    memcpy(copy, pixels, (size_t)(3 * w * h));
    assert_int_equal(terminal_sixel(&(Image){w, h, copy}, &bytes, &size), STATUS_OK);
    assert_string_equal(bytes, expected);
    assert_int_equal(size, strlen(expected));
    free(bytes);
}

static void test_sixel(void **state)
{
    (void)state;
    /* red, blue
     * blue, red: sixel bits 1 and 2, letters 63 + bits */
    static const uint8_t four[] = {255, 0, 0, 0, 0, 255, 0, 0, 255, 255, 0, 0};
    check_sixel(2, 2, four, "\033P0;1;0q\"1;1;2;2#0;2;0;0;100#1;2;100;0;0#0A@$#1@A\033\\");
    /* one colour, 5 x 7: a run, and a second band of one row */
    uint8_t plain[3 * 35];
    memset(plain, 128, sizeof plain);
    check_sixel(5, 7, plain, "\033P0;1;0q\"1;1;5;7#0;2;50;50;50#0!5~-#0!5@\033\\");
    /* white on black in one column of six: bit 5 is the lowest row */
    static const uint8_t column[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255};
    check_sixel(1, 6, column, "\033P0;1;0q\"1;1;1;6#0;2;0;0;0#1;2;100;100;100#0^$#1_\033\\");
}

/* More colours than the palette holds: no more than 256, and every pixel in exactly one of them. */
static void test_sixel_palette(void **state)
{
    (void)state;
    enum { SIDE = 48 };
    Image a = {0};
    char *bytes;
    size_t size;
    assert_int_equal(image_init(SIDE, SIDE, &a), STATUS_OK);
    noise(a.pixels, image_bytes(&a));
    assert_int_equal(terminal_sixel(&a, &bytes, &size), STATUS_OK);
    int most = 0, pixels = 0, run = 0;
    for (const char *at = bytes; (at = strstr(at, "#")) != NULL; at++)
        if (atoi(at + 1) > most) most = atoi(at + 1);
    for (char *at = strrchr(strstr(bytes, "q\""), ';'), *p = at + strcspn(at, "#"); *p && *p != '\033'; p++) {
        if (*p == '#') p += strspn(p + 1, "0123456789");
        else if (*p == '!') run = (int)strtol(p + 1, &p, 10), p--;
        else if (*p >= '?' && *p <= '~') pixels += __builtin_popcount((unsigned)*p - 63) * (run ? run : 1), run = 0;
    }
    assert_int_equal(most, 255);
    assert_int_equal(pixels, SIDE * SIDE);
    free(bytes);
    image_release(&a);
}

static char *draw(TerminalGraphics kind, int w, int h, const uint8_t *pixels, const TerminalPlace *place)
{
    Image a = {0};
    char *bytes;
    size_t size;
    assert_int_equal(image_init(w, h, &a), STATUS_OK);
    memcpy(a.pixels, pixels, image_bytes(&a));
    assert_int_equal(terminal_picture(kind, &a, place, &bytes, &size), STATUS_OK);
    assert_int_equal(strlen(bytes), size);
    image_release(&a);
    return bytes;
}

static void test_blocks(void **state)
{
    (void)state;
    /* two columns, four rows: red over blue, twice; then the same colours again, which need no new codes */
    static const uint8_t p[] = {255, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0, 255, 0, 95, 0, 8, 8, 8, 255, 255, 255, 100, 100, 100};
    TerminalPlace place = {.columns = 2, .rows = 2, .colours = TERMINAL_RGB, .utf8 = true};
    char *bytes = draw(TERMINAL_BLOCKS, 2, 4, p, &place);
    assert_string_equal(
        bytes,
        "\033[38;2;255;0;0m\033[48;2;0;0;255m\xe2\x96\x80\xe2\x96\x80\033[0m\n"
        "\033[38;2;0;95;0m\033[48;2;255;255;255m\xe2\x96\x80\033[38;2;8;8;8m\033[48;2;100;100;100m\xe2\x96\x80\033[0m");
    free(bytes);
    place.colours = TERMINAL_256; /* 16 + 36 r + 6 g + b, and greys 232 + (v - 8) / 10 */
    bytes = draw(TERMINAL_BLOCKS, 2, 4, p, &place);
    assert_string_equal(bytes, "\033[38;5;196m\033[48;5;21m\xe2\x96\x80\xe2\x96\x80\033[0m\n"
                               "\033[38;5;22m\033[48;5;231m\xe2\x96\x80\033[38;5;232m\033[48;5;241m\xe2\x96\x80\033[0m");
    free(bytes);
    place.utf8 = false;
    place.colours = TERMINAL_RGB;
    place.rows = 1;
    bytes = draw(TERMINAL_BLOCKS, 2, 2, p, &place);
    assert_string_equal(bytes, "\033[48;2;128;0;128m \033[48;2;128;0;128m \033[0m");
    free(bytes);
}

/* --- kitty, iTerm2 --- */
static size_t from_base64(const char *text, size_t n, unsigned char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned v = 0;
    int bits = 0;
    size_t used = 0;
    for (size_t i = 0; i < n && text[i] != '='; i++) {
        v = v << 6 | (unsigned)(strchr(letters, text[i]) - letters);
        bits += 6;
        if (bits >= 8) bits -= 8, out[used++] = (unsigned char)(v >> bits);
    }
    return used;
}

static void test_kitty(void **state)
{
    (void)state;
    enum { SIDE = 60 };
    static uint8_t pixels[3 * SIDE * SIDE];
    noise(pixels, sizeof pixels); /* does not compress */
    TerminalPlace place = {.columns = 8, .rows = 4, .id = 77};
    char *bytes = draw(TERMINAL_KITTY, SIDE, SIDE, pixels, &place);
    static const char head[] = "\033_Ga=T,f=100,i=77,p=1,c=8,r=4,C=1,q=2,m=1;";
    assert_int_equal(strncmp(bytes, head, sizeof head - 1), 0);
    char *base64 = malloc(strlen(bytes)), *png = malloc(strlen(bytes));
    size_t used = 0, chunks = 0;
    for (const char *at = bytes; *at; chunks++) {
        const char *semicolon = strchr(at, ';'), *end = strstr(at, "\033\\");
        assert_int_equal(strncmp(at, "\033_G", 3), 0);
        assert_true(semicolon && end && semicolon < end);
        size_t n = (size_t)(end - semicolon - 1);
        assert_int_equal(semicolon[-1], end[2] ? '1' : '0'); /* m */
        if (end[2]) assert_int_equal(n, 4096);
        else assert_true(n > 0 && n <= 4096 && n % 4 == 0);
        if (chunks) assert_int_equal(semicolon - at, 6);
        memcpy(base64 + used, semicolon + 1, n);
        used += n;
        at = end + 2;
    }
    assert_int_equal(chunks, (used + 4095) / 4096);
    assert_true(chunks > 3);
    Image back = {0};
    assert_int_equal(
        image_decode("kitty's", (unsigned char *)png, from_base64(base64, used, (unsigned char *)png), &back),
        STATUS_OK);
    assert_int_equal(back.w, SIDE);
    assert_memory_equal(back.pixels, pixels, sizeof pixels);
    image_release(&back);
    free(bytes);

    bytes = draw(TERMINAL_ITERM2, SIDE, SIDE, pixels, &place);
    const char *colon = strchr(bytes, ':');
    int size = 0, at = 0;
    assert_int_equal(sscanf(bytes, "\033]1337;File=inline=1;size=%d;width=8;height=4;preserveAspectRatio=0:%n", &size, &at), 1);
    assert_ptr_equal(bytes + at, colon + 1);
    assert_int_equal(from_base64(colon + 1, strlen(colon + 1) - 1, (unsigned char *)png), size);
    assert_int_equal(bytes[strlen(bytes) - 1], '\a');
    assert_int_equal(image_decode("iTerm2's", (unsigned char *)png, (size_t)size, &back), STATUS_OK);
    image_release(&back);
    free(bytes);
    free(base64);
    free(png);
}

/* --- which of them --- */
static const char *const *variables; /* NAME, VALUE, ..., NULL */

static char *fake_env(const char *name)
{
    for (const char *const *v = variables; *v; v += 2)
        if (!strcmp(v[0], name)) return (char *)v[1];
    return NULL;
}

static void check_guess(const char *const *of, bool certain, TerminalGraphics expected)
{
    TerminalGraphics found;
    variables = of;
    assert_int_equal(terminal_guess(fake_env, &found), certain);
    assert_int_equal(found, expected);
}

static void test_guess(void **state)
{
    (void)state;
    check_guess((const char *const[]){"TERM", "xterm-256color", NULL}, false, TERMINAL_BLOCKS);
    check_guess((const char *const[]){"TERM", "xterm-kitty", NULL}, true, TERMINAL_KITTY);
    check_guess((const char *const[]){"TERM", "xterm-256color", "TERM_PROGRAM", "iTerm.app", NULL}, true, TERMINAL_ITERM2);
    check_guess((const char *const[]){"TERM", "foot", NULL}, true, TERMINAL_SIXEL);
    check_guess((const char *const[]){"TERM", "linux", NULL}, true, TERMINAL_BLOCKS);
    /* inside of a multiplexer what the outer terminal says does not count */
    check_guess((const char *const[]){"TERM", "tmux-256color", "TMUX", "x", "KITTY_WINDOW_ID", "1", NULL}, false, TERMINAL_BLOCKS);
    variables = (const char *const[]){"TERM", "xterm-256color", "LANG", "ko_KR.UTF-8", NULL};
    assert_int_equal(terminal_colours(fake_env), TERMINAL_256);
    assert_true(terminal_is_utf8(fake_env));
    variables = (const char *const[]){"TERM", "xterm", "COLORTERM", "truecolor", "LANG", "de_DE.UTF-8", "LC_ALL", "C", NULL};
    assert_int_equal(terminal_colours(fake_env), TERMINAL_RGB);
    assert_false(terminal_is_utf8(fake_env));
}

static void test_reply(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        bool complete;
        TerminalGraphics kind;
    } cases[] = {{"", false, TERMINAL_BLOCKS},
                 {"\033[?62;22c", true, TERMINAL_BLOCKS},
                 {"\033[?62;4;22c", true, TERMINAL_SIXEL},
                 {"\033[?62;4c", true, TERMINAL_SIXEL},
                 {"\033[?62;4", false, TERMINAL_BLOCKS},
                 {"\033[?64;41c", true, TERMINAL_BLOCKS},
                 {"\033[?4c", true, TERMINAL_BLOCKS}, /* the class, no attribute */
                 {"\033_Gi=31;OK\033\\", false, TERMINAL_KITTY},
                 {"\033_Gi=31;OK\033\\\033[?62;4c", true, TERMINAL_KITTY},
                 {"\033_Gi=31;EINVAL\033\\\033[?62c", true, TERMINAL_BLOCKS},
                 {"typed ahead\033[?1;2;4c", true, TERMINAL_SIXEL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool complete;
        assert_int_equal(terminal_of_reply(cases[i].reply, &complete), cases[i].kind);
        assert_int_equal(complete, cases[i].complete);
    }
    assert_string_equal(terminal_query(false), "\033[c");
    assert_int_equal(strncmp(terminal_query(true), "\033_Gi=31,", 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sixel),  cmocka_unit_test(test_sixel_palette),
                                       cmocka_unit_test(test_blocks), cmocka_unit_test(test_kitty),
                                       cmocka_unit_test(test_guess),  cmocka_unit_test(test_reply)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
