#include "glide/ablation/study_sheet.h"

#include "common/pixel_text.h"
#include "common/png_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 6, TEXT = PIXEL_TEXT_HEIGHT + 3, LEAST_SIDE = 64, PATH = 4096, LABEL = 128 };

static const uint8_t black[3] = {0, 0, 0}, grey[3] = {110, 110, 110};

/* --- rows ------------------------------------------------------------------------------------------------------ */

typedef struct Sheet {
    const StudyData *data;
    const StudySpec *spec;
    int prompt, seed;
    int side, zoom, shown; /* of a picture; shown = side * zoom */
    int left;              /* where pictures begin, right of the labels */
    int rows, columns;
    int *row, *column;     /* (conditions) */
} Sheet;

static bool is_control(const AblationCondition *c)
{
    return c->control != ABLATION_PLAIN;
}

static bool same_row(const AblationCondition *a, const AblationCondition *b)
{
    if (is_control(a) || is_control(b)) return is_control(a) && is_control(b);
    return !strcmp(a->mode, b->mode) && !strcmp(a->variant, b->variant);
}

/* A condition's row is that of the first of its kind; in it they stand in their order. */
static void lay_out(Sheet *s)
{
    int longest = 0;
    for (int i = 0; i < s->spec->conditions; i++) {
        const AblationCondition *c = &s->spec->condition[i];
        int first = 0, before = 0, name = pixel_text_length(c->mode), variant = pixel_text_length(c->variant);
        while (!same_row(&s->spec->condition[first], c)) first++;
        for (int k = first; k < i; k++) before += same_row(&s->spec->condition[k], c);
        s->row[i] = first == i ? s->rows++ : s->row[first];
        s->column[i] = before;
        if (before + 1 > s->columns) s->columns = before + 1;
        longest = name > longest && !is_control(c) ? name : longest;
        longest = variant > longest ? variant : longest;
    }
    s->left = GAP + PIXEL_TEXT_WIDTH * (longest > 8 ? longest : 8) + GAP;
}

/* --- drawing --------------------------------------------------------------------------------------------------- */

static void paste(const uint8_t *rgb, int side, int zoom, int x, int y, Image *out)
{
    for (int i = 0; i < side * zoom; i++)
        for (int j = 0; j < side * zoom; j++)
            memcpy(out->pixels + ((size_t)(y + i) * (size_t)out->w + (size_t)(x + j)) * 3,
                   rgb + ((size_t)(i / zoom) * (size_t)side + (size_t)(j / zoom)) * 3, 3);
}

static void name_row(const AblationCondition *c, int y, Image *out)
{
    pixel_text_draw(out, GAP, y + TEXT, 1, is_control(c) ? "controls" : c->mode, black);
    if (!is_control(c)) pixel_text_draw(out, GAP, y + 2 * TEXT, 1, c->variant, black);
}

static void name_cell(const Sheet *s, const AblationCondition *c, int x, int y, Image *out)
{
    char text[LABEL];
    const char *label = strncmp(c->label, "control: ", 9) ? c->label : c->label + 9;
    size_t fits = (size_t)((s->shown + GAP) / PIXEL_TEXT_WIDTH);
    if (is_control(c)) snprintf(text, sizeof text, "%.*s", (int)fits, label);
    else if (!strcmp(c->mode, "none")) snprintf(text, sizeof text, "none");
    else snprintf(text, sizeof text, "%g%s", c->scale, c->equals >= 0 ? " =" : "");
    pixel_text_draw(out, x, y, 1, text, grey);
}

static Status draw_cell(const Sheet *s, int condition, uint8_t *large, Image *out)
{
    const AblationResults *r = study_results(s->data);
    const AblationCondition *c = &s->spec->condition[condition];
    int row = s->prompt * s->spec->seeds + s->seed, y = 2 * GAP + TEXT + s->row[condition] * (s->shown + TEXT + GAP);
    int x = s->left + s->column[condition] * (s->shown + GAP);
    size_t cell = (size_t)condition * (size_t)study_rows(s->spec) + (size_t)row;
    const uint8_t *rgb = r->pictures + cell * (size_t)(r->side * r->side * 3);
    if (s->spec->large_side) {
        TRY(study_large(s->data, condition, row, large));
        rgb = large;
    }
    if (s->column[condition] == 0) name_row(c, y, out);
    name_cell(s, c, x, y, out);
    paste(rgb, s->side, s->zoom, x, y + TEXT, out);
    return STATUS_OK;
}

static Status draw(const Sheet *s, Image *out)
{
    char title[LABEL * 4];
    int width = s->left + s->columns * (s->shown + GAP), height = 2 * GAP + TEXT + s->rows * (s->shown + TEXT + GAP);
    uint8_t *large = s->spec->large_side ? malloc((size_t)s->side * (size_t)s->side * 3) : NULL;
    if (s->spec->large_side && !large) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
    Status status = image_init(width, height, out);
    if (status == STATUS_OK) {
        memset(out->pixels, 255, image_bytes(out));
        snprintf(title, sizeof title, "%.400s, seed %d", s->spec->prompt[s->prompt], s->seed + 1);
        pixel_text_draw(out, GAP, GAP, 1, title, black);
    }
    for (int c = 0; c < s->spec->conditions && status == STATUS_OK; c++) status = draw_cell(s, c, large, out);
    free(large);
    if (status != STATUS_OK) image_release(out);
    return status;
}

Status study_sheet_make(const StudyData *d, int prompt, int seed, Image *out)
{
    const StudySpec *spec = study_data_spec(d);
    size_t n = (size_t)spec->conditions;
    Sheet s = {.data = d, .spec = spec, .prompt = prompt, .seed = seed, .side = spec->large_side ? spec->large_side : spec->side,
               .row = calloc(n, sizeof(int)), .column = calloc(n, sizeof(int))};
    s.zoom = s.side < LEAST_SIDE ? LEAST_SIDE / s.side : 1;
    s.shown = s.side * s.zoom;
    Status status = s.row && s.column ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a contact sheet");
    if (status == STATUS_OK) {
        lay_out(&s);
        status = draw(&s, out);
    }
    free(s.row);
    free(s.column);
    return status;
}

const char *study_sheet_name(int prompt, char *name, size_t size)
{
    snprintf(name, size, "sheets/p%04d.png", prompt);
    return name;
}

Status study_sheets_write(const StudyData *d, const char *folder)
{
    char path[PATH], name[40];
    const StudySpec *spec = study_data_spec(d);
    Status s = STATUS_OK;
    for (int p = 0; p < spec->prompts && s == STATUS_OK; p++) {
        Image sheet = {0};
        snprintf(path, sizeof path, "%s/%s", folder, study_sheet_name(p, name, sizeof name));
        s = study_sheet_make(d, p, 0, &sheet);
        if (s == STATUS_OK) s = png_write(path, &sheet, &(PngText){"prompt", spec->prompt[p]}, 1);
        image_release(&sheet);
    }
    return s;
}
