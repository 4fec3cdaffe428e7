/* A QualityTable as text and as JSON. */
#include "glide/quality/quality_table.h"

#include "glide/json_text.h"

#include <math.h>
#include <string.h>

typedef struct Column {
    const char *name, *title;
    int digits;
} Column;

static const Column columns[QUALITY_MEASURES] = {
    [QUALITY_PSNR] = {"psnr", "PSNR, dB", 2},
    [QUALITY_SSIM] = {"ssim", "SSIM", 4},
    [QUALITY_JUDGE] = {"judge_distance", "judge distance", 4},
    [QUALITY_CONSISTENCY] = {"consistency", "consistency, dB", 2},
    [QUALITY_COLOUR] = {"colour_difference", "colour, dE00", 3},
    [QUALITY_TINT] = {"tint", "tint, dE00", 3},
    [QUALITY_EDGES] = {"edge_energy", "edge energy", 3},
    [QUALITY_SECONDS] = {"seconds", "seconds", 2},
};
static const char *const seam_names[SEAM_KINDS] = {[SEAM_EDGE] = "seam_edge", [SEAM_STEP] = "seam_step"};

const char *quality_measure_name(QualityMeasure m)
{
    return columns[m].name;
}

/* --- text ----------------------------------------------------------------------------------------------- */

static void print_value(FILE *out, const QualityValue *v, int digits)
{
    if (v->n == 0) fprintf(out, "  %15s", "-");
    else if (isnan(v->low)) fprintf(out, "  %15.*f", digits, v->value);
    else fprintf(out, "  %7.*f \302\261%6.*f", digits, v->value, digits, (v->high - v->low) / 2);
}

static void print_difference(FILE *out, const QualityValue *v, int digits, bool sign)
{
    char text[64] = "-";
    if (v->n > 0) snprintf(text, sizeof text, sign ? "%+.*f" : "%.*f", digits, v->value);
    if (v->n > 1) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, " [%.*f, %.*f]", digits, v->low, digits, v->high);
    }
    fprintf(out, "  %27s", text);
}

static void print_seam(FILE *out, const SeamScore *seams, SeamKind kind)
{
    SeamResult r = seam_score_result(seams, kind);
    if (isnan(r.ratio)) fprintf(out, "  %34s", "-");
    else fprintf(out, "  %8.3f [%.3f, %.3f]  z %+6.2f", r.ratio, r.low, r.high, r.z);
}

static void print_against(const QualityTable *t, FILE *out)
{
    static const QualityMeasure shown[] = {QUALITY_PSNR, QUALITY_SSIM, QUALITY_JUDGE};
    const QualityMethod *own = &t->methods[t->own];
    char title[64];
    snprintf(title, sizeof title, "%s against", own->name);
    fprintf(out, "\n%-28s  %27s  %27s  %27s\n", title, "PSNR, dB, difference", "SSIM, difference", "judge distance, ratio");
    for (int m = 0; m < t->method_count; m++) {
        if (m == t->own) continue;
        fprintf(out, "%-28s", t->methods[m].name);
        for (int i = 0; i < 3; i++)
            print_difference(out, &t->methods[m].against[shown[i]], columns[shown[i]].digits, shown[i] != QUALITY_JUDGE);
        fputc('\n', out);
    }
}

static void print_seams(const QualityTable *t, FILE *out)
{
    int borders = t->methods[t->own].seams.counts[SEAM_EDGE];
    if (borders < 2) {
        fprintf(out, "\nseams: the pictures are made in one window\n");
        return;
    }
    fprintf(out, "\nseams: error at %d borders of windows against beside them (1: no seam)\n%-16s  %34s  %34s\n", borders, "",
            "edge of 1 pixel", "step of 8 pixels");
    for (int m = 0; m < t->method_count; m++) {
        fprintf(out, "%-16s", t->methods[m].name);
        for (int kind = 0; kind < SEAM_KINDS; kind++) print_seam(out, &t->methods[m].seams, kind);
        fputc('\n', out);
    }
}

void quality_table_print(const QualityTable *t, FILE *out)
{
    fprintf(out, "%-10s", "");
    for (int i = 0; i < QUALITY_MEASURES; i++) fprintf(out, "  %15s", columns[i].title);
    fputc('\n', out);
    for (int m = 0; m < t->method_count; m++) {
        fprintf(out, "%-10s", t->methods[m].name);
        for (int i = 0; i < QUALITY_MEASURES; i++) print_value(out, &t->methods[m].summary[i], columns[i].digits);
        fputc('\n', out);
    }
    if (t->method_count > 1) print_against(t, out);
    print_seams(t, out);
}

/* --- JSON ----------------------------------------------------------------------------------------------- */

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *value_json(const QualityValue *v)
{
    return json_pack("{s:o, s:o, s:o, s:i}", "value", number(v->value), "low", number(v->low), "high", number(v->high), "n", v->n);
}

static json_t *seam_json(const SeamScore *seams, SeamKind kind)
{
    SeamResult r = seam_score_result(seams, kind);
    return json_pack("{s:o, s:o, s:o, s:o, s:i}", "ratio", number(r.ratio), "low", number(r.low), "high", number(r.high), "z",
                     number(r.z), "borders", r.n);
}

static json_t *method_json(const QualityTable *t, const QualityMethod *method)
{
    json_t *o = json_pack("{s:o}", "name", json_text(method->name)), *each = json_object();
    for (int i = 0; i < QUALITY_MEASURES; i++) {
        json_t *values = json_array();
        for (int k = 0; k < t->pictures; k++) json_array_append_new(values, number(method->values[i * t->pictures + k]));
        json_object_set_new(each, columns[i].name, values);
        json_object_set_new(o, columns[i].name, value_json(&method->summary[i]));
    }
    for (int kind = 0; kind < SEAM_KINDS; kind++) json_object_set_new(o, seam_names[kind], seam_json(&method->seams, kind));
    json_object_set_new(o, "pictures", each);
    return o;
}

static json_t *against_json(const QualityTable *t, const QualityMethod *other)
{
    json_t *o = json_pack("{s:s, s:o}", "name", t->methods[t->own].name, "against", json_text(other->name));
    for (int i = 0; i < QUALITY_MEASURES; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s%s", columns[i].name, i == QUALITY_JUDGE ? "_ratio" : "");
        json_object_set_new(o, name, value_json(&other->against[i]));
    }
    return o;
}

Status quality_table_json(const QualityTable *t, json_t **out)
{
    json_t *methods = json_array(), *against = json_array();
    for (int m = 0; m < t->method_count; m++) {
        json_array_append_new(methods, method_json(t, &t->methods[m]));
        if (m != t->own) json_array_append_new(against, against_json(t, &t->methods[m]));
    }
    *out = json_pack("{s:o, s:o}", "methods", methods, "against", against);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for JSON");
}
