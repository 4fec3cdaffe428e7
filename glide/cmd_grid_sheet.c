#include "glide/cmd_grid_sheet.h"

#include "common/ascii_text.h"
#include "common/pixel_text.h"

#include <stdio.h>
#include <string.h>

enum { LARGE = 192, TEXT_MOST = 512 }; /* cells from LARGE pixels on get letters twice as large */

static const uint8_t black[3] = {0, 0, 0}, grey[3] = {110, 110, 110};

typedef struct Layout {
    int columns, rows;
    int width, height; /* of a cell */
    int zoom, gap, line, left, top;
} Layout;

static int text_width(const Layout *l, const char *text)
{
    char plain[TEXT_MOST];
    return pixel_text_length(ascii_text(text, plain, sizeof plain)) * PIXEL_TEXT_WIDTH * l->zoom;
}

static Layout lay_out(const GridAxis *axes, int axis_count, const Image *cells)
{
    Layout l = {.columns = axes[0].count, .rows = axis_count > 1 ? axes[1].count : 1};
    for (int i = 0; i < l.columns * l.rows; i++) {
        if (cells[i].w > l.width) l.width = cells[i].w;
        if (cells[i].h > l.height) l.height = cells[i].h;
    }
    l.zoom = l.width >= LARGE ? 2 : 1;
    l.gap = 4 * l.zoom;
    l.line = PIXEL_TEXT_HEIGHT * l.zoom + l.gap;
    l.top = 3 * l.line + l.gap;
    l.left = l.gap;
    if (axis_count < 2) return l;
    int widest = text_width(&l, axes[1].name);
    for (int i = 0; i < axes[1].count; i++)
        if (text_width(&l, axes[1].values[i]) > widest) widest = text_width(&l, axes[1].values[i]);
    l.left += (widest < 2 * l.width ? widest : 2 * l.width) + l.gap;
    return l;
}

/* Of at most `width` pixels. */
static void draw_text(const Layout *l, int x, int y, int width, const char *text, const uint8_t *colour, Image *out)
{
    char plain[TEXT_MOST];
    int fits = width / (PIXEL_TEXT_WIDTH * l->zoom);
    ascii_text(text, plain, sizeof plain);
    if (fits >= 0 && fits < (int)sizeof plain && (int)strlen(plain) > fits) {
        plain[fits] = 0;
        if (fits > 2) memcpy(plain + fits - 2, "..", 2);
    }
    pixel_text_draw(out, x, y, l->zoom, plain, colour);
}

static const char *axis_title(const GridAxis *a, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s", a->word ? a->word : a->name, a->word ? " in the prompt" : "", "");
    return text;
}

static void draw_labels(const Layout *l, const GridAxis *axes, int axis_count, const char *title, Image *out)
{
    char text[TEXT_MOST];
    draw_text(l, l->gap, l->gap, out->w - 2 * l->gap, title, black, out);
    draw_text(l, l->left, l->gap + l->line, out->w - l->left - l->gap, axis_title(&axes[0], text, sizeof text), grey, out);
    for (int i = 0; i < l->columns; i++)
        draw_text(l, l->left + i * (l->width + l->gap), l->gap + 2 * l->line, l->width, axes[0].values[i], black, out);
    for (int i = 0; i < l->rows && axis_count > 1; i++) {
        int y = l->top + i * (l->height + l->gap), width = l->left - 2 * l->gap;
        draw_text(l, l->gap, y, width, axes[1].word ? axes[1].word : axes[1].name, grey, out);
        draw_text(l, l->gap, y + l->line, width, axes[1].values[i], black, out);
    }
}

static void paste(const Image *cell, int x, int y, Image *out)
{
    for (int i = 0; i < cell->h; i++)
        memcpy(out->pixels + ((size_t)(y + i) * (size_t)out->w + (size_t)x) * 3, cell->pixels + (size_t)i * (size_t)cell->w * 3,
               (size_t)cell->w * 3);
}

Status grid_sheet_make(const GridAxis *axes, int axis_count, const Image *cells, const char *title, Image *out)
{
    Layout l = lay_out(axes, axis_count, cells);
    TRY(image_init(l.left + l.columns * (l.width + l.gap), l.top + l.rows * (l.height + l.gap), out));
    memset(out->pixels, 255, image_bytes(out));
    draw_labels(&l, axes, axis_count, title, out);
    for (int i = 0; i < l.columns * l.rows; i++)
        paste(&cells[i], l.left + i % l.columns * (l.width + l.gap), l.top + i / l.columns * (l.height + l.gap), out);
    return STATUS_OK;
}
