#include "glide/ablation/report.h"

#include "common/file_write.h"
#include "glide/ablation/chart.h"
#include "glide/ablation/report_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MOST = 5000000, SHEET_MOST = 64 << 20 };

/* --- page --------------------------------------------------------------------------------------------- */

static const char page_css[] =
    "*{box-sizing:border-box}html{scroll-behavior:smooth}\n"
    "body{margin:0 auto;padding:1.2rem clamp(.8rem,3vw,2.4rem);max-width:1500px;background:var(--ground);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}\n"
    "h1{font-size:1.9rem;line-height:1.2;margin:.2em 0}h2{margin-top:2.2em;border-bottom:1px solid "
    "var(--grid);padding-bottom:.2em}h3{margin-top:1.8em}\n"
    "p,li{max-width:75em}.lead,.note{color:var(--soft)}a{color:var(--c1)}nav{display:flex;flex-wrap:wrap;gap:0 1em}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:1rem}.charts.large{grid-template-"
    "columns:repeat(auto-fit,minmax(min(100%,560px),1fr))}\n"
    "figure{margin:0;padding:.6rem;background:var(--panel);border-radius:8px;overflow-x:auto;--ground:var(--panel)}\n"
    "figure img{max-width:100%;height:auto;image-rendering:auto;background:#fff}figcaption{color:var(--soft);font-size:.9rem}\n"
    ".wide{overflow:auto;max-height:85vh;margin:1rem 0;border:1px solid var(--grid);border-radius:8px}\n"
    "table{border-collapse:separate;border-spacing:0;font-size:.84rem;font-variant-numeric:tabular-nums;width:100%}\n"
    "caption{text-align:left;padding:.6rem .7rem;font-weight:600}th,td{padding:.3rem .6rem;border-top:1px solid "
    "var(--grid);text-align:right;vertical-align:top}\n"
    "thead "
    "th{position:sticky;top:0;background:var(--panel);z-index:2;vertical-align:bottom}th[scope=row]{position:sticky;left:0;"
    "background:var(--ground);"
    "text-align:left;font-weight:500;white-space:nowrap;z-index:1}th:first-child,.texts "
    "th{text-align:left}td.text{text-align:left;min-width:18em;overflow-wrap:anywhere}\n"
    "small{color:var(--soft);font-weight:400;white-space:nowrap;font-size:.78rem}.best,.clear{font-weight:700}.pass{color:var(--c3)"
    "}.warn{color:var(--c5)}.fail{color:var(--c2)}"
    ".pass,.warn,.fail,.missing{white-space:nowrap;font-weight:600;text-align:left}td.pass,td.warn,td.fail,td.missing{text-align:"
    "left}\n"
    "dt{font-weight:600}summary{cursor:pointer}code{font-size:.95em;overflow-wrap:anywhere}\n"
    "@media print{.wide{max-height:none;overflow:visible}}\n";

static void begin_page(Report *r)
{
    const char *title = r->options->title ? r->options->title : "Guidance ablation";
    text_buffer_add(
        &r->out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
                 "content=\"width=device-width,initial-scale=1\"/>\n<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>");
    text_buffer_add_escaped(&r->out, title);
    text_buffer_add(&r->out, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<header>\n<h1>", chart_css(), page_css);
    text_buffer_add_escaped(&r->out, title);
    text_buffer_add(
        &r->out,
        "</h1>\n<nav><a href=\"#summary\">Summary</a><a href=\"#plots\">Plots</a>%s<a href=\"#checks\">Controls</a>"
        "<a href=\"#values\">Values</a><a href=\"#differences\">Differences</a><a href=\"#provenance\">Provenance</a></nav>\n"
        "</header>\n<main>\n<h2 id=\"summary\">Summary</h2>\n",
        r->options->sheet_count > 0 ? "<a href=\"#sheets\">Pictures</a>" : "");
}

/* --- contact sheets ----------------------------------------------------------------------------------- */

static Status read_sheet(const char *path, unsigned char **bytes, size_t *size)
{
    FILE *f = fopen(path, "rb");
    *bytes = NULL;
    *size = 0;
    if (!f) return status_fail(STATUS_IO, "%s: cannot be read", path);
    long length = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    Status s = STATUS_OK;
    if (length < 8 || length > SHEET_MOST || fseek(f, 0, SEEK_SET) != 0)
        s = status_fail(STATUS_BAD_INPUT, "%s: expected a picture of 8 bytes to %d MiB, found %ld bytes", path, SHEET_MOST >> 20,
                        length);
    if (s == STATUS_OK && !(*bytes = malloc((size_t)length))) s = status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    if (s == STATUS_OK && fread(*bytes, 1, (size_t)length, f) != (size_t)length)
        s = status_fail(STATUS_IO, "%s: cannot be read", path);
    fclose(f);
    if (s == STATUS_OK) *size = (size_t)length;
    return s;
}

static const char *picture_type(const unsigned char *bytes)
{
    return memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0 ? "png" : memcmp(bytes, "\xff\xd8\xff", 3) == 0 ? "jpeg" : NULL;
}

/* A page's worth of text is left for what comes after the sheets. */
static Status add_sheet(Report *r, const ReportSheet *sheet, size_t room, int *left_out)
{
    unsigned char *bytes;
    size_t size;
    Status s = read_sheet(sheet->path, &bytes, &size);
    const char *type = s == STATUS_OK ? picture_type(bytes) : NULL;
    if (s == STATUS_OK && !type) s = status_fail(STATUS_BAD_INPUT, "%s: expected a PNG or JPEG file", sheet->path);
    if (s == STATUS_OK && r->out.size + size * 4 / 3 + 200 > room) {
        ++*left_out;
    } else if (s == STATUS_OK) {
        text_buffer_add(&r->out, "<figure><img loading=\"lazy\" alt=\"");
        text_buffer_add_escaped(&r->out, sheet->caption ? sheet->caption : "contact sheet");
        text_buffer_add(&r->out, "\" src=\"data:image/%s;base64,", type);
        text_buffer_add_base64(&r->out, bytes, size);
        text_buffer_add(&r->out, "\"/><figcaption>");
        text_buffer_add_escaped(&r->out, sheet->caption ? sheet->caption : "");
        text_buffer_add(&r->out, "</figcaption></figure>\n");
    }
    free(bytes);
    return s;
}

static Status add_sheets(Report *r, size_t room)
{
    int left_out = 0;
    if (r->options->sheet_count <= 0) return STATUS_OK;
    text_buffer_add(&r->out, "<h2 id=\"sheets\">Pictures</h2>\n");
    for (int i = 0; i < r->options->sheet_count; i++) TRY(add_sheet(r, &r->options->sheets[i], room, &left_out));
    if (left_out)
        text_buffer_add(&r->out,
                        "<p class=\"note\">Left out, for they would make this page larger than 5 MB: %d contact sheet%s.</p>\n",
                        left_out, left_out == 1 ? "" : "s");
    return STATUS_OK;
}

/* --- all ---------------------------------------------------------------------------------------------- */

static Status write_page(Report *r, const char *path)
{
    TextBuffer page = {0};
    report_tables(r); /* first, to know how much room they leave for the sheets */
    TextBuffer tables = r->out;
    r->out = page;
    begin_page(r);
    report_words(r);
    report_plots(r);
    report_steps(r);
    Status s = add_sheets(r, tables.size + 1000 < PAGE_MOST ? PAGE_MOST - tables.size - 1000 : 0);
    if (tables.data) text_buffer_add_bytes(&r->out, tables.data, tables.size);
    text_buffer_add(&r->out, "</main>\n</body>\n</html>\n");
    if (s == STATUS_OK && (r->out.failed || tables.failed))
        s = status_fail(STATUS_NO_MEMORY, "%s: out of memory for the report", path);
    text_buffer_release(&tables);
    return s == STATUS_OK ? file_write(path, r->out.data, r->out.size) : s;
}

Status report_write(const AblationResults *results, const ScoreTable *table, const ReportOptions *options, const char *path)
{
    ReportOptions none = {0};
    Report r = {.results = results, .table = table, .options = options ? options : &none};
    Status s = report_find_series(&r);
    if (s == STATUS_OK) s = write_page(&r, path);
    text_buffer_release(&r.out);
    free(r.series);
    return s;
}
