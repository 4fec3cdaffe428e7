/* Every set of kernels against single operations computed by PyTorch and the reference models
 * (tests/fixtures/layers.h5, channels first there), at that file's tolerance. */
#include "common/h5file.h"
#include "tests/support_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const double tolerance = 1e-5; /* of the largest |expected| or 1, whichever is larger */

typedef struct Data {
    float *x; /* channels last */
    int64_t n;
    int64_t dims[4]; /* (N,C,...) as in the file */
} Data;

/* Reads (N,C,...) as (N,...,C); `kept` reads without moving the channels. */
static Data read_data(const H5File *file, bool kept, const char *format, ...) __attribute__((format(printf, 3, 4)));
static Data read_data(const H5File *file, bool kept, const char *format, ...)
{
    char name[64];
    va_list args;
    H5Info info;
    float *raw;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (h5file_load_f32(file, name, &raw, &info) != STATUS_OK) fail_msg("%s", status_message());
    Data d = {.x = raw, .n = info.size};
    for (int i = 0; i < info.ndim && i < 4; i++) d.dims[i] = info.dims[i];
    if (kept || info.ndim < 3) return d;
    d.x = malloc(sizeof(float) * (size_t)d.n);
    assert_non_null(d.x);
    int64_t C = info.dims[1], pixels = d.n / info.dims[0] / C;
    for (int64_t i = 0; i < d.n; i++) d.x[(i / (C * pixels) * pixels + i % pixels) * C + i / pixels % C] = raw[i];
    free(raw);
    return d;
}

/* Compares y with d, and frees both. */
static void check_and_free(const char *what, float *y, Data d)
{
    double worst = 0, largest = 1;
    for (int64_t i = 0; i < d.n; i++) largest = fmax(largest, fabs((double)d.x[i]));
    for (int64_t i = 0; i < d.n; i++) {
        double error = fabs((double)y[i] - (double)d.x[i]) / largest;
        if (!(error <= worst)) worst = error;
    }
    if (!(worst <= tolerance)) fail_msg("%s: error %.2e, at most %.2e", what, worst, tolerance);
    free(y);
    free(d.x);
}

static float *floats(int64_t n)
{
    float *y = malloc(sizeof *y * (size_t)(n + 1));
    assert_non_null(y);
    for (int64_t i = 0; i < n; i++) y[i] = NAN;
    return y;
}

static void activations(Kernels *k, const H5File *file)
{
    Data x = read_data(file, false, "activations/x");
    for (int act = ACT_SILU; act <= ACT_GELU; act++) {
        float *y = floats(x.n);
        k->activate(DTYPE_F32, (Activation)act, x.n, x.x, y);
        check_and_free("activation", y, read_data(file, false, "activations/%s", act == ACT_SILU ? "silu" : "gelu"));
    }
    free(x.x);
}

static void group_norm(Kernels *k, const H5File *file)
{
    Data x = read_data(file, false, "group_norm/x"), weight = read_data(file, false, "group_norm/weight");
    Data bias = read_data(file, false, "group_norm/bias");
    for (int swish = 0; swish < 2; swish++) {
        GroupNormShape s = {.N = x.dims[0], .pixels = x.dims[2] * x.dims[3], .C = x.dims[1], .groups = 32};
        float *y = floats(x.n), *stats = floats(s.N * s.groups * 2);
        s.act = swish ? ACT_SILU : ACT_NONE;
        assert_int_equal(STATUS_OK, k->group_norm(k, &s, x.x, weight.x, bias.x, NULL, y, stats));
        check_and_free("group norm", y, read_data(file, false, "group_norm/%s", swish ? "swish" : "plain"));
        free(stats);
    }
    free(x.x), free(weight.x), free(bias.x);
}

static void layer_norm(Kernels *k, const H5File *file)
{
    Data x = read_data(file, true, "layer_norm/x"), weight = read_data(file, false, "layer_norm/weight");
    Data bias = read_data(file, false, "layer_norm/bias");
    float *y = floats(x.n), *stats = floats(x.n);
    assert_int_equal(STATUS_OK, k->layer_norm(k, DTYPE_F32, x.n / weight.n, weight.n, x.x, weight.x, bias.x, y, stats));
    check_and_free("layer norm", y, read_data(file, true, "layer_norm/out"));
    free(x.x), free(weight.x), free(bias.x), free(stats);
}

static void resample(Kernels *k, const H5File *file)
{
    Data x = read_data(file, false, "resample/x");
    float *up = floats(4 * x.n), *down = floats(x.n / 4);
    k->upsample2x(DTYPE_F32, x.dims[0], x.dims[2], x.dims[3], x.dims[1], x.x, up);
    k->avg_pool2x(DTYPE_F32, x.dims[0], x.dims[2] / 2, x.dims[3] / 2, x.dims[1], x.x, down);
    check_and_free("nearest2x", up, read_data(file, false, "resample/nearest2x"));
    check_and_free("avg_pool2x", down, read_data(file, false, "resample/avg_pool2x"));
    free(x.x);
}

/* Number of groups NAME/0, NAME/1, ... */
static int cases_of(const H5File *file, const char *name)
{
    char path[64];
    for (int i = 0;; i++) {
        snprintf(path, sizeof path, "%s/%d", name, i);
        if (!h5file_has_group(file, path)) return i;
    }
}

static void bilinear(Kernels *k, const H5File *file)
{
    for (int i = 0; i < cases_of(file, "bilinear"); i++) {
        Data x = read_data(file, false, "bilinear/%d/x", i), out = read_data(file, false, "bilinear/%d/out", i);
        float *y = floats(out.n);
        k->resize_bilinear(DTYPE_F32, x.dims[0], x.dims[2], x.dims[3], x.dims[1], x.x, out.dims[2], out.dims[3], y);
        check_and_free("bilinear", y, out);
        free(x.x);
    }
}

static void run_attention(Kernels *k, const AttentionShape *s, const float *qkv, const float *encoder_kv, Data expected)
{
    float *y = floats(expected.n);
    assert_int_equal(STATUS_OK, k->attention(k, s, qkv, encoder_kv, y, NULL));
    check_and_free("attention", y, expected);
}

static void attention(Kernels *k, const H5File *file)
{
    for (int i = 0; i < cases_of(file, "attention"); i++) {
        char group[64], name[96];
        int64_t heads;
        snprintf(group, sizeof group, "attention/%d", i);
        assert_int_equal(STATUS_OK, h5file_attr_i64(file, group, "heads", &heads));
        Data qkv = read_data(file, false, "%s/qkv", group);
        AttentionShape s = {.N = qkv.dims[0], .T = qkv.dims[2], .heads = (int)heads};
        s.D = (int)(qkv.dims[1] / 3 / heads);
        run_attention(k, &s, qkv.x, NULL, read_data(file, false, "%s/legacy", group));
        s.split_first = true;
        run_attention(k, &s, qkv.x, NULL, read_data(file, false, "%s/new", group));
        snprintf(name, sizeof name, "%s/encoder_kv", group);
        if (h5file_has_dataset(file, name)) {
            Data encoder_kv = read_data(file, false, "%s", name);
            s.split_first = false;
            s.S = encoder_kv.dims[2];
            run_attention(k, &s, qkv.x, encoder_kv.x, read_data(file, false, "%s/glide", group));
            free(encoder_kv.x);
        }
        free(qkv.x);
    }
}

static void text_attention(Kernels *k, const H5File *file)
{
    for (int i = 0; i < cases_of(file, "text_attention"); i++) {
        char group[64];
        int64_t heads;
        snprintf(group, sizeof group, "text_attention/%d", i);
        assert_int_equal(STATUS_OK, h5file_attr_i64(file, group, "heads", &heads));
        Data qkv = read_data(file, true, "%s/qkv", group);
        AttentionShape s = {.N = qkv.dims[0], .T = qkv.dims[1], .heads = (int)heads};
        s.D = (int)(qkv.dims[2] / 3 / heads);
        run_attention(k, &s, qkv.x, NULL, read_data(file, true, "%s/out", group));
        free(qkv.x);
    }
}

static void kernels_match_fixture(void **state)
{
    (void)state;
    void (*const checks[])(Kernels *, const H5File *) = {activations, group_norm, layer_norm,    resample,
                                                         bilinear,    attention,  text_attention};
    H5File *file;
    if (h5file_open("tests/fixtures/layers.h5", &file) != STATUS_OK) fail_msg("%s", status_message());
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) checks[i](k, file);
        kernels_free(k);
    }
    assert_true(cases_of(file, "attention") > 0 && cases_of(file, "text_attention") > 0 &&
                cases_of(file, "bilinear") > 0);
    h5file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(kernels_match_fixture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
