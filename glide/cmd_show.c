#include "glide/cmd_show.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { QUERY_MS = 300, SIDE = 256, BLOCK_ROWS = 24, LARGEST = 640 };
#define REDRAW_SECONDS 0.1

const char *const cli_show_kinds[] = {"auto", "kitty", "iterm2", "sixel", "blocks", NULL};

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- what the terminal can do ------------------------------------------------------------------------- */

/* The answer, until it is complete or time is up. */
static TerminalGraphics read_reply(int tty)
{
    char reply[512] = "";
    size_t used = 0;
    bool complete = false;
    TerminalGraphics kind = TERMINAL_BLOCKS;
    for (double end = now_seconds() + QUERY_MS * 1e-3; !complete && used + 1 < sizeof reply;) {
        struct pollfd p = {.fd = tty, .events = POLLIN};
        int left = (int)((end - now_seconds()) * 1e3);
        if (left <= 0 || poll(&p, 1, left) <= 0) break;
        ssize_t n = read(tty, reply + used, sizeof reply - 1 - used);
        if (n <= 0) break;
        used += (size_t)n;
        reply[used] = 0;
        kind = terminal_of_reply(reply, &complete);
    }
    return kind;
}

/* Asks the terminal itself, in raw mode. Not from the background, where that would stop us. */
static TerminalGraphics ask_terminal(void)
{
    struct termios before, raw;
    TerminalGraphics kind = TERMINAL_BLOCKS;
    const char *term = getenv("TERM"), *question = terminal_query(!term || strncmp(term, "screen", 6) != 0);
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) return kind;
    if (tcgetpgrp(tty) == getpgrp() && tcgetattr(tty, &before) == 0) {
        raw = before;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        if (tcsetattr(tty, TCSADRAIN, &raw) == 0) {
            if (write(tty, question, strlen(question)) == (ssize_t)strlen(question)) kind = read_reply(tty);
            tcsetattr(tty, TCSADRAIN, &before);
        }
    }
    close(tty);
    return kind;
}

static bool is_terminal(FILE *f)
{
    const char *term = getenv("TERM");
    return isatty(fileno(f)) && term && *term && strcmp(term, "dumb");
}

static void measure(CliShow *s)
{
    struct winsize w = {0};
    if (ioctl(fileno(s->out), TIOCGWINSZ, &w) != 0) w = (struct winsize){0};
    s->columns = w.ws_col > 0 ? w.ws_col : 80;
    s->rows = w.ws_row > 0 ? w.ws_row : 24;
    s->place.cell_width = w.ws_col && w.ws_xpixel >= w.ws_col ? w.ws_xpixel / w.ws_col : 8;
    s->place.cell_height = w.ws_row && w.ws_ypixel >= w.ws_row ? w.ws_ypixel / w.ws_row : 16;
}

void cli_show_start(CliShow *s, const CliArgs *args, const CliShowOptions *options, bool quiet)
{
    static const TerminalGraphics kinds[] = {TERMINAL_BLOCKS, TERMINAL_KITTY, TERMINAL_ITERM2, TERMINAL_SIXEL, TERMINAL_BLOCKS};
    *s = (CliShow){.steps = options->steps};
    if (!cli_given(args, "show") && !options->steps) return;
    s->out = is_terminal(stderr) ? stderr : is_terminal(stdout) ? stdout : NULL;
    if (!s->out) {
        if (!quiet) fprintf(stderr, "glide %s: warning: --show: there is no terminal to draw on\n", args->command->name);
        return;
    }
    s->on = true;
    s->kind = kinds[options->kind];
    if (options->kind == 0 && !terminal_guess(getenv, &s->kind)) s->kind = ask_terminal();
    s->place.id = ((unsigned)getpid() & 0xffff) << 8 | 1;
    s->place.colours = terminal_colours(getenv);
    s->place.utf8 = terminal_is_utf8(getenv);
    measure(s);
}

/* --- drawing ------------------------------------------------------------------------------------------ */

/* Cells for a picture: as large as SIDE pixels where it is smaller, and so that it fits. */
static void place_picture(const CliShow *s, const Image *image, TerminalPlace *place)
{
    bool blocks = s->kind == TERMINAL_BLOCKS;
    double cell_w = blocks ? 1 : s->place.cell_width, cell_h = blocks ? 2 : s->place.cell_height;
    double high = blocks ? 2 * BLOCK_ROWS : image->h < SIDE ? SIDE : image->h > LARGEST ? LARGEST : image->h;
    double most_high = (s->rows > 6 ? s->rows - 3 : 3) * cell_h, most_wide = (s->columns > 4 ? s->columns - 1 : 3) * cell_w;
    if (high > most_high) high = most_high;
    if (high * image->w / image->h > most_wide) high = most_wide * image->h / image->w;
    *place = s->place;
    place->columns = (int)(high * image->w / image->h / cell_w + 0.5);
    place->rows = (int)(high / cell_h + 0.5);
    if (place->columns < 1) place->columns = 1;
    if (place->rows < 1) place->rows = 1;
}

/* From the line of the bar, an area of `rows` above it, free of what was there. */
static void make_area(CliShow *s, int rows, bool clear)
{
    if (s->area >= rows && !clear) return;
    fputc('\r', s->out);
    if (s->area) fprintf(s->out, "\033[%dA\033[J", s->area); /* at the top of the old one, nothing below */
    for (int i = 0; i < rows; i++) fputc('\n', s->out);      /* scrolls where there is no room */
    s->area = rows;
}

static void draw(CliShow *s, Progress *bar, const Image *image)
{
    TerminalPlace place;
    char *bytes;
    size_t size;
    place_picture(s, image, &place);
    if (terminal_picture(s->kind, image, &place, &bytes, &size) != STATUS_OK) return; /* a preview less */
    bool other = s->area && (place.columns != s->drawn_columns || place.rows != s->drawn_rows);
    if (bar) progress_clear(bar);
    make_area(s, place.rows, other);
    s->drawn_columns = place.columns;
    s->drawn_rows = place.rows;
    fprintf(s->out, "\r\033[%dA\0337", s->area);
    fwrite(bytes, 1, size, s->out);
    fprintf(s->out, "\0338\033[%dB\r", s->area);
    fflush(s->out);
    free(bytes);
}

/* Previews side by side. */
static Status previews_of(const GlideProgress *p, Image *out)
{
    ContactSheet sheet = contact_sheet_defaults();
    Image all[64];
    int count = p->count < 64 ? p->count : 64;
    size_t bytes = (size_t)p->preview_width * (size_t)p->preview_height * 3;
    for (int i = 0; i < count; i++)
        all[i] = (Image){p->preview_width, p->preview_height, (uint8_t *)p->preview + (size_t)i * bytes};
    sheet.columns = count;
    sheet.gap = count > 1 ? 2 : 0;
    return image_contact_sheet(all, count, &sheet, out);
}

void cli_show_step(CliShow *s, Progress *bar, const GlideProgress *p)
{
    Image image = {0};
    double now = now_seconds();
    if (!s->on || !s->steps || !p->preview || (now - s->drawn < REDRAW_SECONDS && p->step < p->steps)) return;
    if (previews_of(p, &image) == STATUS_OK) draw(s, bar, &image);
    image_release(&image);
    s->drawn = now;
}

void cli_show_picture(CliShow *s, Progress *bar, const GlidePicture *picture)
{
    if (!s->on || !picture->rgb) return;
    draw(s, bar, &(Image){picture->width, picture->height, picture->rgb});
    s->area = 0; /* it stays */
    s->place.id++;
}
