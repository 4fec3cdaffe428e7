#include "glide/quality/seam_score.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { BESIDE = 4, LEAST_BESIDE = 2 }; /* lines compared with: on each side of a border, and in all at least */
#define LEAST_JUMP 0.01                /* of a code: so that flat parts of a picture have a logarithm */

static const struct {
    int away, along;
} sides[SEAM_KINDS] = {[SEAM_EDGE] = {1, 1}, [SEAM_STEP] = {8, 16}};

/* The error, seen so that lines run down. */
typedef struct View {
    const uint8_t *result, *original;
    int across, along;            /* sides of the picture */
    ptrdiff_t step_across, step_along; /* bytes */
} View;

static View make_view(const Image *result, const Image *original, bool turned)
{
    View v = {result->pixels, original->pixels, result->w, result->h, 3, 3 * (ptrdiff_t)result->w};
    if (turned) v = (View){result->pixels, original->pixels, result->h, result->w, 3 * (ptrdiff_t)result->w, 3};
    return v;
}

/* Mean error of channel c in a box. */
static double box_error(const View *v, int from, int away, int top, int along, int c)
{
    int sum = 0;
    for (int i = top; i < top + along; i++)
        for (int k = from; k < from + away; k++) {
            ptrdiff_t at = k * v->step_across + i * v->step_along + c;
            sum += v->result[at] - v->original[at];
        }
    return (double)sum / away / along;
}

/* log q at a line; NAN where there is no room for it. */
static double line_jump(const View *v, SeamKind kind, int line)
{
    int away = sides[kind].away, along = sides[kind].along, n = v->along / along;
    double sum = 0;
    if (line < away || line + away > v->across || n == 0) return NAN;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            sum += fabs(box_error(v, line, away, i * along, along, c) - box_error(v, line - away, away, i * along, along, c));
    return log(sum / n / 3 + LEAST_JUMP);
}

static bool is_border(const int *borders, int count, int line)
{
    for (int i = 0; i < count; i++)
        if (borders[i] == line) return true;
    return false;
}

/* Of border `b` against the lines beside it; NAN where there are too few. */
static double border_value(const View *v, SeamKind kind, const int *borders, int count, int b, int unit)
{
    double sum = 0;
    int n = 0;
    for (int k = -BESIDE; k <= BESIDE; k++) {
        int line = borders[b] + k * unit;
        double jump = k && !is_border(borders, count, line) ? line_jump(v, kind, line) : NAN;
        if (isnan(jump)) continue;
        sum += jump;
        n++;
    }
    return n >= LEAST_BESIDE ? line_jump(v, kind, borders[b]) - sum / n : NAN;
}

static Status add_value(SeamScore *s, SeamKind kind, double value)
{
    if (isnan(value)) return STATUS_OK;
    if (s->counts[kind] == s->room[kind]) {
        int room = s->room[kind] ? 2 * s->room[kind] : 64;
        double *grown = realloc(s->values[kind], (size_t)room * sizeof *grown);
        if (!grown) return status_fail(STATUS_NO_MEMORY, "out of memory for the borders of windows");
        s->values[kind] = grown;
        s->room[kind] = room;
    }
    s->values[kind][s->counts[kind]++] = value;
    return STATUS_OK;
}

static Status add_axis(SeamScore *s, const View *v, const int *borders, int count, int unit)
{
    for (int kind = 0; kind < SEAM_KINDS; kind++)
        for (int b = 0; b < count; b++) TRY(add_value(s, kind, border_value(v, kind, borders, count, b, unit)));
    return STATUS_OK;
}

Status seam_score_add(SeamScore *s, const Image *result, const Image *original, const SeamLines *lines)
{
    assert(result->w == original->w && result->h == original->h && lines->unit >= 1);
    View upright = make_view(result, original, false), turned = make_view(result, original, true);
    TRY(add_axis(s, &upright, lines->x, lines->x_count, lines->unit));
    return add_axis(s, &turned, lines->y, lines->y_count, lines->unit);
}

void seam_score_release(SeamScore *s)
{
    for (int kind = 0; kind < SEAM_KINDS; kind++) free(s->values[kind]);
    *s = (SeamScore){0};
}

SeamResult seam_score_result(const SeamScore *s, SeamKind kind)
{
    int n = s->counts[kind];
    SeamResult r = {n, NAN, NAN, NAN, NAN};
    double mean = 0, square = 0;
    if (n < 2) return r;
    for (int i = 0; i < n; i++) mean += s->values[kind][i] / n;
    for (int i = 0; i < n; i++) square += (s->values[kind][i] - mean) * (s->values[kind][i] - mean);
    double error = sqrt(square / (n - 1) / n);
    r.ratio = exp(mean);
    r.low = exp(mean - 1.96 * error);
    r.high = exp(mean + 1.96 * error);
    r.z = error > 0 ? mean / error : mean == 0 ? 0 : copysign(INFINITY, mean);
    return r;
}
