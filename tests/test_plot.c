/* Charts: what is drawn where, and that no input breaks the drawing. */
#include "common/plot.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* noinline: gcc 12 takes the string for a pointer to `svg` itself and warns that it dangles */
__attribute__((noinline)) static char *draw(const PlotOptions *options, const PlotSeries *series, int count)
{
    char *svg;
    Status status = plot_svg(options, series, count, &svg);
    if (status != STATUS_OK) print_error("%s\n", status_message());
    assert_int_equal(status, STATUS_OK);
    return svg;
}

/* Tags closed, quotes paired, nothing that is not a number, lines inside the frame (84..780, 42..424). */
static void assert_well_formed(const char *svg)
{
    assert_memory_equal(svg, "<svg xmlns", 10);
    assert_string_equal(svg + strlen(svg) - 7, "</svg>\n");
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    int depth = 0;
    for (const char *p = svg; (p = strchr(p, '<')); p++) {
        const char *end = strchr(p, '>');
        assert_non_null(end);
        int quotes = 0;
        for (const char *q = p; q < end; q++) quotes += *q == '"', assert_true(q == p || *q != '<');
        assert_int_equal(quotes % 2, 0);
        depth += p[1] == '/' ? -1 : end[-1] == '/' ? 0 : 1;
        assert_true(depth >= 0);
    }
    assert_int_equal(depth, 0);
    for (const char *p = svg; (p = strstr(p, "<path d=\"")); p += 9) {
        if (strstr(p, "stroke-linejoin") == NULL || strchr(p, '>') < strstr(p, "stroke-linejoin")) continue;
        double x, y;
        int n;
        for (const char *q = p + 9; sscanf(q, "%*1[ML]%lf %lf%n", &x, &y, &n) == 2; q += n)
            assert_true(x >= 83.9 && x <= 780.1 && y >= 41.9 && y <= 424.1);
    }
}

static void test_places(void **state)
{
    (void)state;
    double x[] = {0, 5, 10}, y[] = {0, 50, 100};
    PlotSeries series = {"a <b> & \"c\"", x, y, 3};
    PlotOptions options = plot_defaults();
    options.title = "loss";
    options.x_label = "step";
    options.y_label = "\xec\x86\x90\xec\x8b\xa4";
    char *svg = draw(&options, &series, 1);
    assert_well_formed(svg);
    /* x: 84..780; y: 424..42 with a margin of 4% of the range at both ends */
    assert_non_null(strstr(svg, "M84.0 409.9L432.0 233.0L780.0 56.1\""));
    assert_non_null(strstr(svg, ">a &lt;b&gt; &amp; &quot;c&quot;</text>"));
    assert_non_null(strstr(svg, ">loss</text>"));
    assert_non_null(strstr(svg, ">\xec\x86\x90\xec\x8b\xa4</text>"));
    assert_non_null(strstr(svg, ">20</text>"));
    char *again = draw(&options, &series, 1);
    assert_string_equal(svg, again);
    free(svg);
    free(again);

    double powers[] = {0.01, 1, 100}; /* equal distances when logarithmic */
    series.y = powers;
    options.log_y = true;
    svg = draw(&options, &series, 1);
    assert_well_formed(svg);
    assert_non_null(strstr(svg, "M84.0 409.9L432.0 233.0L780.0 56.1\""));
    assert_non_null(strstr(svg, ">0.01</text>"));
    assert_non_null(strstr(svg, ">100</text>"));
    free(svg);
}

/* The path that the series became. */
static void count_strokes(const char *svg, int *moves, int *lines)
{
    const char *line = strstr(svg, "\" fill=\"none\" stroke=\"#0072b2\"");
    assert_non_null(line);
    *moves = *lines = 0;
    for (size_t i = (size_t)(line - svg); svg[--i] != '"';) *moves += svg[i] == 'M', *lines += svg[i] == 'L';
}

static void test_gaps(void **state)
{
    (void)state;
    double x[] = {0, 1, 2, 3, 4, 5}, y[] = {1, 2, NAN, -1, 3, 4};
    PlotSeries series = {"", x, y, 6};
    PlotOptions options = plot_defaults();
    char *svg = draw(&options, &series, 1);
    int moves, lines;
    count_strokes(svg, &moves, &lines); /* 0 1 and 3 4 5 */
    assert_int_equal(moves, 2);
    assert_int_equal(lines, 3);
    free(svg);
    options.log_y = true; /* -1 has no logarithm: 0 1 and 4 5 */
    svg = draw(&options, &series, 1);
    assert_well_formed(svg);
    count_strokes(svg, &moves, &lines);
    assert_int_equal(moves, 2);
    assert_int_equal(lines, 2);
    free(svg);
}

static void test_long_series(void **state)
{
    (void)state;
    enum { N = 200000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    assert_true(x && y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = sin(i * 0.37);
    }
    y[77777] = 9; /* a single peak must stay */
    PlotSeries series = {"noise", x, y, N};
    PlotOptions options = plot_defaults();
    char *svg = draw(&options, &series, 1);
    assert_well_formed(svg);
    assert_true(strlen(svg) < 100000);
    /* 10 units of y are 382 / 1.08 pixels, the highest point is 42 + 0.04 / 1.08 * 382 = 56.1 */
    assert_non_null(strstr(svg, " 56.1L"));
    free(svg);
    free(x);
    free(y);
}

static void test_hostile_numbers(void **state)
{
    (void)state;
    double values[] = {0, -0.0, 1, -1, 1e-320, 1e308, -1e308, DBL_MAX, -DBL_MAX, NAN, INFINITY, -INFINITY, 5e-324,
                       1e16, 1e16 + 2, 1 + 1e-15};
    enum { N = sizeof values / sizeof *values };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < 8; k++) {
                double x[] = {values[i], values[j]}, y[] = {values[(i + 3 * k) % N], values[(j + k) % N]};
                PlotSeries series[] = {{"a", x, y, 2}, {NULL, x, y, 1}};
                PlotOptions options = plot_defaults();
                options.log_y = k % 2;
                char *svg = draw(&options, series, 2);
                assert_well_formed(svg);
                free(svg);
            }
    PlotOptions options = plot_defaults();
    char *svg = draw(&options, NULL, 0);
    assert_well_formed(svg);
    assert_non_null(strstr(svg, "no data"));
    free(svg);
    options.width = 100;
    assert_int_equal(plot_svg(&options, NULL, 0, &svg), STATUS_BAD_INPUT);
    assert_null(svg);
    options.width = 800;
    assert_int_equal(plot_svg(&options, NULL, PLOT_MAX_SERIES + 1, &svg), STATUS_BAD_INPUT);
}

static void test_write(void **state)
{
    (void)state;
    double x[] = {0, 1}, y[] = {0, 1};
    PlotSeries series = {"a", x, y, 2};
    PlotOptions options = plot_defaults();
    assert_int_equal(plot_write("/nonexistent/a.svg", &options, &series, 1), STATUS_IO);
    char path[] = "/tmp/glide-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(plot_write(path, &options, &series, 1), STATUS_OK);
    char *svg = draw(&options, &series, 1), *read_back = calloc(1, strlen(svg) + 2);
    assert_non_null(read_back);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(read_back, 1, strlen(svg) + 1, f), strlen(svg));
    assert_string_equal(svg, read_back);
    fclose(f);
    close(fd);
    unlink(path);
    free(svg);
    free(read_back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_long_series),
        cmocka_unit_test(test_hostile_numbers),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
