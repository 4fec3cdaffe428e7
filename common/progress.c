#include "common/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define FADE_SECONDS 30.0
#define REDRAW_SECONDS 0.1
#define TENTH_SECONDS 1.0 /* lines at tenths are at least so far apart */

static double monotonic_seconds(void *context)
{
    (void)context;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ProgressOptions progress_defaults(FILE *out)
{
    return (ProgressOptions){.out = out, .style = PROGRESS_AUTO, .label = "", .unit = "steps", .line_seconds = 10};
}

static bool can_draw(FILE *out)
{
    const char *term = getenv("TERM");
    return isatty(fileno(out)) && term && *term && strcmp(term, "dumb");
}

void progress_start(Progress *p, const ProgressOptions *options)
{
    *p = (Progress){.options = *options, .done = options->done, .nothing_shown = true};
    ProgressOptions *o = &p->options;
    if (!o->clock) o->clock = monotonic_seconds;
    if (o->style == PROGRESS_AUTO) o->style = can_draw(o->out) ? PROGRESS_BAR : PROGRESS_LINES;
    p->start = p->last = p->last_shown = o->clock(o->clock_context);
    if (o->total > 0) p->tenth_shown = (int)(o->done * 10 / o->total);
}

double progress_rate(const Progress *p)
{
    return p->seconds > 0 ? p->units / p->seconds : 0;
}

const char *progress_format_time(double seconds, char *text, size_t size)
{
    if (!(seconds >= 0)) seconds = 0;
    long long s = seconds < 1e15 ? llround(seconds) : 0, hours = s / 3600;
    if (hours >= 48) snprintf(text, size, "%lld d %02lld:%02lld", hours / 24, hours % 24, s / 60 % 60);
    else if (hours > 0) snprintf(text, size, "%lld:%02lld:%02lld", hours, s / 60 % 60, s % 60);
    else snprintf(text, size, "%lld:%02lld", s / 60, s % 60);
    return text;
}

static void format_rate(double rate, const char *unit, char *text, size_t size)
{
    if (rate <= 0) snprintf(text, size, "%s", "");
    else if (rate < 0.1) snprintf(text, size, "%.2g %s/min", rate * 60, unit);
    else snprintf(text, size, rate < 0.995 ? "%.2f %s/s" : rate < 9.95 ? "%.1f %s/s" : "%.0f %s/s", rate, unit);
}

static int columns_of(const ProgressOptions *o)
{
    struct winsize size;
    if (o->width > 0) return o->width;
    return ioctl(fileno(o->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* What follows the bar or the label, with `between` between the parts. */
static void describe(const Progress *p, double rate, const char *time_text, const char *between, char *text, size_t size)
{
    const ProgressOptions *o = &p->options;
    char rate_text[64], count[96];
    format_rate(o->unit ? rate : 0, o->unit, rate_text, sizeof rate_text);
    if (!o->unit)
        snprintf(count, sizeof count, "%d%%", o->total > 0 ? (int)((double)p->done * 100 / (double)o->total) : 0);
    else if (o->total > 0)
        snprintf(count, sizeof count, "%lld/%lld %s", (long long)p->done, (long long)o->total, o->unit);
    else snprintf(count, sizeof count, "%lld %s", (long long)p->done, o->unit);
    if (o->unit && o->total > 0 && o->style == PROGRESS_LINES)
        snprintf(count + strlen(count), sizeof count - strlen(count), " (%d%%)",
                 (int)((double)p->done * 100 / (double)o->total));
    snprintf(text, size, "%s%s%s%s%s%s%s", count, *rate_text ? between : "", rate_text, *time_text ? between : "",
             time_text, *p->note ? between : "", p->note);
}

static void erase_bar(Progress *p)
{
    if (p->bar_on_screen) fputs("\r\033[K", p->options.out);
    p->bar_on_screen = false;
}

static void draw_bar(Progress *p, const char *rest)
{
    const ProgressOptions *o = &p->options;
    char bar[48] = "", line[512];
    if (o->total > 0) {
        int full = (int)((double)p->done * 20 / (double)o->total);
        full = full < 0 ? 0 : full > 20 ? 20 : full;
        snprintf(bar, sizeof bar, "[%.*s%.*s] ", full, "####################", 20 - full, "--------------------");
    }
    snprintf(line, sizeof line, "%s%s%s%s", o->label, *o->label ? "  " : "", bar, rest);
    /* the last column stays free: some terminals wrap there */
    fprintf(o->out, "\r%.*s\033[K", columns_of(o) - 1, line);
    p->bar_on_screen = true;
}

static void show(Progress *p, double rate, const char *time_text)
{
    const ProgressOptions *o = &p->options;
    bool bar = o->style == PROGRESS_BAR;
    char rest[400];
    describe(p, rate, time_text, bar ? "  " : ", ", rest, sizeof rest);
    if (bar) draw_bar(p, rest);
    else fprintf(o->out, "%s%s%s\n", o->label, *o->label ? ": " : "", rest);
    fflush(o->out);
    p->nothing_shown = false;
}

static void add_work(Progress *p, int64_t units, double seconds)
{
    double keep = exp(-seconds / FADE_SECONDS);
    p->units = p->units * keep + (double)units;
    p->seconds = p->seconds * keep + seconds;
}

static bool is_due(Progress *p, double now)
{
    const ProgressOptions *o = &p->options;
    double waited = now - p->last_shown;
    if (o->style == PROGRESS_BAR) return p->nothing_shown || waited >= REDRAW_SECONDS;
    int tenth = o->total > 0 ? (int)((double)p->done * 10 / (double)o->total) : 0;
    if (waited < o->line_seconds && (tenth <= p->tenth_shown || waited < TENTH_SECONDS)) return false;
    p->tenth_shown = tenth;
    return true;
}

void progress_update(Progress *p, int64_t done, const char *note)
{
    const ProgressOptions *o = &p->options;
    if (o->style == PROGRESS_QUIET) return;
    double now = o->clock(o->clock_context);
    add_work(p, done - p->done, now - p->last);
    p->done = done;
    p->last = now;
    if (note) snprintf(p->note, sizeof p->note, "%s", note);
    if (!is_due(p, now)) return;
    p->last_shown = now;
    char left[48] = "", time_text[32];
    double rate = progress_rate(p);
    if (o->total > done && rate > 0)
        snprintf(left, sizeof left, "%s left",
                 progress_format_time((double)(o->total - done) / rate, time_text, sizeof time_text));
    show(p, rate, left);
}

void progress_log(Progress *p, const char *format, ...)
{
    if (p->options.style == PROGRESS_QUIET) return;
    erase_bar(p);
    va_list args;
    va_start(args, format);
    vfprintf(p->options.out, format, args);
    va_end(args);
    fputc('\n', p->options.out);
    fflush(p->options.out);
    p->nothing_shown = true; /* the bar comes back with the next update */
}

void progress_clear(Progress *p)
{
    if (!p->bar_on_screen) return;
    erase_bar(p);
    fflush(p->options.out);
    p->nothing_shown = true;
}

void progress_finish(Progress *p)
{
    const ProgressOptions *o = &p->options;
    if (o->style == PROGRESS_QUIET) return;
    double seconds = o->clock(o->clock_context) - p->start;
    char took[48], time_text[32];
    if (seconds < 10) snprintf(took, sizeof took, "took %.1f s", seconds);
    else snprintf(took, sizeof took, "took %s", progress_format_time(seconds, time_text, sizeof time_text));
    show(p, seconds > 0 ? (double)(p->done - o->done) / seconds : 0, took);
    if (p->bar_on_screen) fputc('\n', o->out);
    fflush(o->out);
    p->bar_on_screen = false;
}

void progress_abort(Progress *p)
{
    if (!p->bar_on_screen) return;
    fputc('\n', p->options.out);
    fflush(p->options.out);
    p->bar_on_screen = false;
}
