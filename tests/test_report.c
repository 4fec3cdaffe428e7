/* report.html: well-formed, self-contained, says what the numbers say and no more; charts on awkward data. */
#include "common/png_write.h"
#include "common/text_buffer.h"
#include "glide/ablation/chart.h"
#include "glide/ablation/report.h"
#include "tests/support_folder.h"
#include "tests/support_markup.h"
#include "tests/support_status.h"
#include "tests/support_synthetic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *page_of(const Synthetic *s, bool judged, const ReportOptions *options)
{
    ScoreTable *table;
    size_t size;
    const char *path = in_test_folder("report.html");
    OK(ablation_score(&s->results, judged ? &s->sight : NULL, &table));
    OK(report_write(&s->results, table, options, path));
    score_free(table);
    uint8_t *bytes = read_bytes(path, &size);
    char *page = calloc(size + 1, 1);
    memcpy(page, bytes, size);
    free(bytes);
    remove(path);
    return page;
}

/* Nothing that another host would have to answer for, nothing that a reader cannot read. */
static void check_page(const char *page)
{
    char id[32];
    assert_markup(page);
    assert_null(strstr(page, "http"));
    assert_null(strstr(page, "<script"));
    static const char *const unknown[] = {">nan", " nan",  "-nan", "\"nan", "Mnan", "Lnan",
                                          ">inf", " inf ", "-inf", "Linf",  "[nan", "(nan"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) assert_null(strstr(page, unknown[i]));
    int charts = count_text(page, "<svg");
    assert_int_equal(count_text(page, "<desc id="), charts);
    assert_int_equal(count_text(page, "<caption>"), count_text(page, "<table"));
    for (int i = 1; i <= charts; i++) {
        snprintf(id, sizeof id, "<title id=\"chart%d-t\">", i);
        assert_int_equal(count_text(page, id), 1);
    }
    for (const char *at = page; (at = strstr(at, "href=\"#")); at += 7) { /* links lead somewhere */
        char target[64];
        snprintf(target, sizeof target, "id=\"%.*s\"", (int)strcspn(at + 7, "\""), at + 7);
        assert_non_null(strstr(page, target));
    }
}

static void test_page(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    synthetic_init(&s, &o);
    char *page = page_of(&s, true, NULL);
    check_page(page);
    static const char *const parts[] = {"Agreement against judge KID",
                                        "Precision against recall",
                                        "Judge KID by scale",
                                        "Saturation by scale",
                                        "Clipped share by scale",
                                        "Judge KID by interval: cfg 3",
                                        "Agreement against function evaluations",
                                        "Judge KID against time",
                                        "Cosine of conditional",
                                        "Gradients of guides",
                                        "pizza &lt;slice&gt;",
                                        "dog &amp; cat",
                                        "scale 0 equals none",
                                        "shuffled prompts",
                                        "untrained guide",
                                        "noise floor",
                                        "sha256 0000",
                                        "<b>cfg</b> wins with cfg",
                                        "<b>none</b> wins, ",
                                        "With the scale of <b>clip</b> from 10 to 400"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(page, parts[i])) fail_msg("the page lacks \"%s\"", parts[i]);
    char *again = page_of(&s, true, NULL);
    assert_string_equal(page, again);
    print_message("page of 46 conditions: %zu bytes, %d charts\n", strlen(page), count_text(page, "<svg"));
    assert_true(strlen(page) < 1000000);
    free(page);
    free(again);
    synthetic_release(&s);
}

/* Where conditions are alike the page names no winner and no trend. */
static void test_null(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    o.effect = 0;
    o.variants = false;
    o.steps = 2;
    synthetic_init(&s, &o);
    char *page = page_of(&s, true, NULL);
    check_page(page);
    assert_int_equal(count_text(page, "</b> wins"), 0);
    assert_int_equal(count_text(page, "no mode is clearly ahead"), 7);
    assert_null(strstr(page, "agreement, top-1 rises"));
    free(page);
    synthetic_release(&s);
}

/* One prompt, one seed, no judge, no telemetry, no controls; labels from somebody who means harm. */
static void test_bare(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    o.prompts = o.seeds = o.steps = 1;
    o.controls = o.variants = false;
    synthetic_init(&s, &o);
    AblationCondition *c = (AblationCondition *)s.results.condition;
    snprintf(c[2].label, sizeof c[2].label, "<script>alert(\"1\")</script>&\x01\xff");
    snprintf(c[2].mode, sizeof c[2].mode, "\"><b>");
    s.results.telemetry = NULL;
    ReportOptions options = {.title = "a < b & \"c\""};
    char *page = page_of(&s, false, &options);
    check_page(page);
    assert_non_null(strstr(page, "<title>a &lt; b &amp; &quot;c&quot;</title>"));
    assert_non_null(strstr(page, "has no judge"));
    assert_null(strstr(page, "Judge KID by scale"));
    free(page);
    page = page_of(&s, true, NULL); /* values, but no intervals and no tests */
    check_page(page);
    free(page);
    synthetic_release(&s);
}

static void test_sheets(void **state)
{
    (void)state;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    o.prompts = 4;
    o.steps = 2;
    o.variants = false;
    synthetic_init(&s, &o);
    Image small = {0};
    OK(image_init(3, 2, &small));
    memset(small.pixels, 77, image_bytes(&small));
    const char *path = in_test_folder("sheet.png"), *large = in_test_folder("large.png"), *text = in_test_folder("text.png");
    OK(png_write(path, &small, NULL, 0));
    image_release(&small);
    uint8_t *bytes = calloc(1, 6000000);
    memcpy(bytes, "\x89PNG\r\n\x1a\n", 8);
    write_bytes(large, bytes, 6000000);
    free(bytes);
    write_bytes(text, "not a picture", 13);
    ReportSheet sheets[] = {{path, "red \"apple\" <1>"}, {large, "too large"}};
    ReportOptions options = {.sheets = sheets, .sheet_count = 2};
    char *page = page_of(&s, true, &options);
    check_page(page);
    assert_int_equal(count_text(page, "<img"), 1);
    assert_non_null(strstr(page, "alt=\"red &quot;apple&quot; &lt;1&gt;\" src=\"data:image/png;base64,iVBORw0KGgo"));
    assert_non_null(strstr(page, "larger than 5 MB: 1 contact sheet."));
    assert_true(strlen(page) < 5000000);
    free(page);
    ScoreTable *table;
    OK(ablation_score(&s.results, NULL, &table));
    sheets[0].path = text;
    FAILS(report_write(&s.results, table, &options, in_test_folder("report.html")), STATUS_BAD_INPUT,
          "text.png: expected a PNG or JPEG");
    sheets[0].path = "/nowhere/x.png";
    FAILS(report_write(&s.results, table, &options, in_test_folder("report.html")), STATUS_IO, "/nowhere/x.png");
    assert_int_equal(access(in_test_folder("report.html"), F_OK), -1); /* nothing half-written */
    score_free(table);
    synthetic_release(&s);
}

/* --- charts ------------------------------------------------------------------------------------------- */

static char *draw(const ChartOptions *o, const ChartSeries *series, int count)
{
    TextBuffer out = {0};
    chart_lines(&out, o, series, count);
    assert_false(out.failed);
    assert_markup(out.data);
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    return out.data;
}

static void test_charts(void **state)
{
    (void)state;
    ChartPoint points[] = {{.x = 0, .y = 1, .low = -1, .high = 2, .label = "a"},
                           {.x = 1, .y = 10, .low = NAN, .high = NAN, .label = "b"},
                           {.x = NAN, .y = 3, .low = 2, .high = 4},
                           {.x = 100, .y = INFINITY, .low = 0, .high = INFINITY},
                           {.x = 1000, .y = 0, .low = 0, .high = 0, .tip = "<&\">"},
                           {.x = 1e308, .y = -1e308, .low = 0, .high = 0}};
    ChartSeries series[2] = {{.name = "one <1>", .colour = 1, .line = true, .marks = true, .points = points, .count = 6},
                             {.name = "two", .colour = 11, .dash = 7, .marks = true, .hollow = true, .points = points, .count = 6}};
    for (int k = 0; k < 16; k++) {
        ChartOptions o = {.id = "c",
                          .title = "t & u",
                          .description = "d",
                          .x_label = "x",
                          .y_label = "y",
                          .log_x = k & 1,
                          .log_y = k >> 1 & 1,
                          .reverse_x = k >> 2 & 1,
                          .large = k >> 3,
                          .level = k & 1 ? 5 : NAN,
                          .level_label = "none"};
        free(draw(&o, series, 2));
        free(draw(&o, series, 0));
    }
    /* on a logarithmic axis 0 has its own place, left of everything else, with a tick of its own */
    ChartPoint line[] = {{.x = 0, .y = 1, .low = NAN, .high = NAN},
                         {.x = 1, .y = 2, .low = NAN, .high = NAN},
                         {.x = 10, .y = 3, .low = NAN, .high = NAN}};
    ChartSeries one = {.name = "one", .line = true, .points = line, .count = 3};
    ChartOptions o = {.id = "c", .title = "t", .description = "d", .x_label = "x", .y_label = "y", .log_x = true, .level = NAN};
    char *svg = draw(&o, &one, 1);
    const char *path = strstr(strstr(svg, "class=\"line\""), " d=\"M");
    double x0, y0, x1, y1, x2, y2;
    assert_int_equal(sscanf(path, " d=\"M%lf %lfL%lf %lfL%lf %lf", &x0, &y0, &x1, &y1, &x2, &y2), 6);
    assert_true(x0 < x1 && x1 < x2 && y0 > y1 && y1 > y2);
    assert_non_null(strstr(svg, ">0</text>"));
    free(svg);
    double logs[] = {1, 100, NAN}, linear[] = {1, 20}, zero[] = {0, 100};
    assert_true(chart_wants_log(logs, 3, 30) && !chart_wants_log(linear, 2, 30) && !chart_wants_log(zero, 2, 30));
}

static void test_matrix(void **state)
{
    (void)state;
    static const char *const columns[] = {"600", "999"}, *const rows[] = {"0", "200"};
    double values[] = {1, NAN, 3, 2}, same[] = {1, 1, 1, 1};
    ChartMatrix m = {.id = "m", .title = "t", .description = "d", .x_label = "x", .y_label = "y", .columns = 2, .rows = 2,
                     .column_names = columns, .row_names = rows, .value = values};
    for (int k = 0; k < 2; k++, m.value = same) {
        TextBuffer out = {0};
        chart_matrix(&out, &m);
        assert_markup(out.data);
        assert_int_equal(count_text(out.data, "<rect"), k ? 4 : 3);
        assert_null(strstr(out.data, "nan"));
        text_buffer_release(&out);
    }
}

static void test_text_buffer(void **state)
{
    (void)state;
    TextBuffer out = {0};
    char *long_text = malloc(20001);
    memset(long_text, 'x', 20000);
    long_text[20000] = 0;
    text_buffer_add(&out, "%s", long_text);
    assert_int_equal(out.size, 20000);
    text_buffer_release(&out);
    free(long_text);
    text_buffer_add_escaped(&out, "a<\"\t\xc3\xa9\xff\xc0\x80\xed\xa0\x80&");
    assert_string_equal(out.data, "a&lt;&quot; \xc3\xa9?????" "?&amp;");
    text_buffer_release(&out);
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"}; /* RFC 4648, section 10 */
    static const char *const base64[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (int i = 0; i < 7; i++) {
        text_buffer_add_base64(&out, (const unsigned char *)plain[i], strlen(plain[i]));
        assert_string_equal(out.data, base64[i]);
        text_buffer_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page),   cmocka_unit_test(test_null),   cmocka_unit_test(test_bare),
                                       cmocka_unit_test(test_sheets), cmocka_unit_test(test_charts), cmocka_unit_test(test_matrix),
                                       cmocka_unit_test(test_text_buffer)};
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
