#include "common/terminal_picture.h"

#include "common/png_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096 }; /* kitty: of base64, a multiple of 4 */

static Status finish(FILE *out, char **bytes)
{
    bool ok = !ferror(out);
    if (fclose(out) == 0 && ok) return STATUS_OK;
    free(*bytes);
    *bytes = NULL;
    return status_fail(STATUS_NO_MEMORY, "out of memory for a picture on the terminal");
}

static Status begin(char **bytes, size_t *size, FILE **out)
{
    *bytes = NULL;
    *out = open_memstream(bytes, size);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture on the terminal");
}

/* --- base64 ------------------------------------------------------------------------------------------- */

static char *base64(const unsigned char *in, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = malloc((n + 2) / 3 * 4 + 1), *p = out;
    for (size_t i = 0; out && i < n; i += 3) {
        unsigned v = (unsigned)in[i] << 16 | (i + 1 < n ? (unsigned)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);
        *p++ = letters[v >> 18];
        *p++ = letters[v >> 12 & 63];
        *p++ = i + 1 < n ? letters[v >> 6 & 63] : '=';
        *p++ = i + 2 < n ? letters[v & 63] : '=';
    }
    if (out) *p = 0;
    return out;
}

static Status png_base64(const Image *image, char **text, size_t *png_size)
{
    unsigned char *png;
    TRY(png_encode(image, NULL, 0, &png, png_size));
    *text = base64(png, *png_size);
    free(png);
    return *text ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture on the terminal");
}

static void put_kitty(FILE *out, const char *text, const TerminalPlace *place)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t some = n - at < CHUNK ? n - at : CHUNK;
        fputs("\033_G", out);
        if (at == 0) fprintf(out, "a=T,f=100,i=%u,p=1,c=%d,r=%d,C=1,q=2,", place->id, place->columns, place->rows);
        fprintf(out, "m=%d;%.*s\033\\", at + some < n, (int)some, text + at);
    }
}

static void put_iterm2(FILE *out, const char *text, size_t png_size, const TerminalPlace *place)
{
    fprintf(out, "\033]1337;File=inline=1;size=%zu;width=%d;height=%d;preserveAspectRatio=0:%s\a", png_size,
            place->columns, place->rows, text);
}

/* --- half blocks -------------------------------------------------------------------------------------- */

static int square(int x)
{
    return x * x;
}

/* The nearest of xterm's 6x6x6 colours and 24 greys. */
static int nearest_256(const uint8_t *c)
{
    static const int levels[6] = {0, 95, 135, 175, 215, 255};
    int cube = 16, of_cube = 0, grey = (c[0] + c[1] + c[2]) / 3, step = grey < 8 ? 0 : grey > 238 ? 23 : (grey - 3) / 10;
    for (int i = 0; i < 3; i++) {
        int best = 0;
        for (int k = 1; k < 6; k++)
            if (square(levels[k] - c[i]) < square(levels[best] - c[i])) best = k;
        cube += best * (i == 0 ? 36 : i == 1 ? 6 : 1);
        of_cube += square(levels[best] - c[i]);
    }
    int value = 8 + 10 * step, of_grey = square(value - c[0]) + square(value - c[1]) + square(value - c[2]);
    return of_grey < of_cube ? 232 + step : cube;
}

/* `ground`: 38 the letter's, 48 the one behind it. */
static void put_colour(FILE *out, int ground, const uint8_t *c, TerminalColours colours)
{
    if (colours == TERMINAL_RGB) fprintf(out, "\033[%d;2;%d;%d;%dm", ground, c[0], c[1], c[2]);
    else fprintf(out, "\033[%d;5;%dm", ground, nearest_256(c));
}

static void put_cell(FILE *out, const uint8_t *top, const uint8_t *bottom, const uint8_t *before[2], const TerminalPlace *place)
{
    uint8_t mean[3];
    if (!place->utf8) {
        for (int c = 0; c < 3; c++) mean[c] = (uint8_t)((top[c] + bottom[c] + 1) / 2);
        put_colour(out, 48, mean, place->colours);
        fputc(' ', out);
        return;
    }
    if (!before[0] || memcmp(before[0], top, 3)) put_colour(out, 38, top, place->colours);
    if (!before[1] || memcmp(before[1], bottom, 3)) put_colour(out, 48, bottom, place->colours);
    fputs("\xe2\x96\x80", out);
    before[0] = top;
    before[1] = bottom;
}

static void put_blocks(FILE *out, const Image *a, const TerminalPlace *place)
{
    for (int y = 0; y < place->rows; y++) {
        const uint8_t *before[2] = {NULL, NULL}, *row = a->pixels + (size_t)(2 * y * a->w) * 3;
        for (int x = 0; x < a->w; x++) put_cell(out, row + 3 * x, row + 3 * (x + a->w), before, place);
        fputs(y + 1 < place->rows ? "\033[0m\n" : "\033[0m", out);
    }
}

/* --- all of them -------------------------------------------------------------------------------------- */

static Status put_png(TerminalGraphics kind, const Image *image, const TerminalPlace *place, FILE *out)
{
    char *text;
    size_t size;
    TRY(png_base64(image, &text, &size));
    if (kind == TERMINAL_KITTY) put_kitty(out, text, place);
    else put_iterm2(out, text, size, place);
    free(text);
    return STATUS_OK;
}

static Status put_stretched(TerminalGraphics kind, const Image *image, const TerminalPlace *place, char **bytes, size_t *size)
{
    Image a = {0};
    FILE *out;
    bool blocks = kind == TERMINAL_BLOCKS;
    int w = place->columns * (blocks ? 1 : place->cell_width), h = place->rows * (blocks ? 2 : place->cell_height);
    TRY(image_resize(image, w, h, &a));
    Status s = blocks ? begin(bytes, size, &out) : terminal_sixel(&a, bytes, size);
    if (blocks && s == STATUS_OK) {
        put_blocks(out, &a, place);
        s = finish(out, bytes);
    }
    image_release(&a);
    return s;
}

Status terminal_picture(TerminalGraphics kind, const Image *image, const TerminalPlace *place, char **bytes, size_t *size)
{
    FILE *out;
    *bytes = NULL;
    if (kind == TERMINAL_BLOCKS || kind == TERMINAL_SIXEL) return put_stretched(kind, image, place, bytes, size);
    TRY(begin(bytes, size, &out));
    Status s = put_png(kind, image, place, out);
    if (s == STATUS_OK) return finish(out, bytes);
    fclose(out);
    free(*bytes);
    *bytes = NULL;
    return s;
}

/* --- which of them ------------------------------------------------------------------------------------ */

static bool is(char *(*env)(const char *name), const char *name, const char *value)
{
    const char *found = env(name);
    return found && !strcmp(found, value);
}

static bool begins(char *(*env)(const char *name), const char *name, const char *with)
{
    const char *found = env(name);
    return found && !strncmp(found, with, strlen(with));
}

bool terminal_guess(char *(*env)(const char *name), TerminalGraphics *graphics)
{
    *graphics = TERMINAL_BLOCKS;
    if (env("TMUX") || begins(env, "TERM", "screen") || begins(env, "TERM", "tmux")) return false; /* the others are of outside */
    if (is(env, "TERM", "linux")) return true;
    if (is(env, "TERM", "xterm-kitty") || is(env, "TERM", "xterm-ghostty") || env("KITTY_WINDOW_ID")) *graphics = TERMINAL_KITTY;
    else if (is(env, "TERM_PROGRAM", "iTerm.app") || is(env, "LC_TERMINAL", "iTerm2")) *graphics = TERMINAL_ITERM2;
    else if (is(env, "TERM_PROGRAM", "WezTerm")) *graphics = TERMINAL_ITERM2;
    else if (begins(env, "TERM", "foot") || begins(env, "TERM", "mlterm")) *graphics = TERMINAL_SIXEL;
    else return false;
    return true;
}

TerminalColours terminal_colours(char *(*env)(const char *name))
{
    const char *term = env("TERM");
    if (is(env, "COLORTERM", "truecolor") || is(env, "COLORTERM", "24bit")) return TERMINAL_RGB;
    return term && (strstr(term, "direct") || strstr(term, "kitty") || strstr(term, "ghostty")) ? TERMINAL_RGB : TERMINAL_256;
}

bool terminal_is_utf8(char *(*env)(const char *name))
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = env(names[i]);
        if (value && *value)
            return strstr(value, "UTF-8") || strstr(value, "utf8") || strstr(value, "UTF8") || strstr(value, "utf-8");
    }
    return false;
}

const char *terminal_query(bool apc)
{
    static const char both[] = "\033_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\033\\\033[c";
    return apc ? both : strstr(both, "\033[c");
}

TerminalGraphics terminal_of_reply(const char *reply, bool *complete)
{
    const char *attributes = strstr(reply, "\033[?"), *end = attributes ? strchr(attributes, 'c') : NULL;
    *complete = end != NULL;
    if (strstr(reply, "\033_Gi=31;OK")) return TERMINAL_KITTY;
    for (const char *at = attributes; end && at && at < end; at = strchr(at + 1, ';'))
        if (*at == ';' && at[1] == '4' && (at[2] == ';' || at[2] == 'c')) return TERMINAL_SIXEL;
    return TERMINAL_BLOCKS;
}
