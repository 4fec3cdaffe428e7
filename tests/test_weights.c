/* weights: a file that describes itself, binding by name and shape, hashes, checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support_folder.h"
#include "tests/support_status.h"
#include "common/float16.h"
#include "common/kernels.h"
#include "common/params_match.h"
#include "common/rng.h"
#include "common/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[128];

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("w.h5"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return test_folder_remove_with(path);
}

typedef struct Config {
    int channels, levels;
    float mult[8];
    int ds_count, ds[4];
    bool norm;
    float dropout;
    double scale;
    int64_t steps;
    char schedule[24];
} Config;

static const ConfigField fields[] = {
    CONFIG_FIELD(Config, CONFIG_INT, "channels", channels),
    CONFIG_ARRAY(Config, CONFIG_FLOATS, "channel_mult", mult, levels),
    CONFIG_ARRAY(Config, CONFIG_INTS, "attention_ds", ds, ds_count),
    CONFIG_FIELD(Config, CONFIG_BOOL, "norm", norm),
    CONFIG_OPTIONAL(Config, CONFIG_FLOAT, "dropout", dropout),
    CONFIG_FIELD(Config, CONFIG_DOUBLE, "scale", scale),
    CONFIG_FIELD(Config, CONFIG_I64, "steps", steps),
    CONFIG_FIELD(Config, CONFIG_TEXT, "schedule", schedule),
    {0}};

static const Config sample_config = {.channels = 64, .levels = 3, .mult = {1, 1.5f, 0.1f}, .ds_count = 2, .ds = {1, 2},
                                     .norm = true, .dropout = 0.1f, .scale = 1e-9, .steps = 1LL << 40,
                                     .schedule = "squaredcos_cap_v2"};

static const char *const names[] = {"time_embed.0.weight", "time_embed.0.bias", "input_blocks.0.0.weight", "out.2.weight",
                                    "padding_embedding"};

/* rename_at: index of a parameter with another name; widen_at: of one with another shape; -1: none. */
static void fill_params(ParamSet *set, int count, int rename_at, int widen_at)
{
    params_init(set);
    for (int i = 0; i < count; i++) {
        int64_t dims[4] = {8 + (i == widen_at), 3, 3, 3};
        params_add(set, INIT_FAN_IN, 1, i % 4 + 1, dims, "%s%s", names[i], i == rename_at ? "x" : "");
    }
    params_randomize(set, 1);
}

static void write_weights(const ParamSet *set, H5Kind kind)
{
    H5File *file;
    OK(weights_create(path, "base", &file));
    OK(config_write(file, "/", fields, &sample_config));
    OK(h5file_set_text(file, "provenance", "licence", "MIT"));
    OK(weights_write_merges(file, "#version: 0.2\nĠ a\nb c\n"));
    OK(weights_write_params(file, set, kind));
    OK(h5file_commit(file));
}

static void test_config(void **state)
{
    (void)state;
    ParamSet set;
    H5File *file;
    Config config = {0};
    char text[64];
    fill_params(&set, 5, -1, -1);
    write_weights(&set, H5KIND_F32);
    OK(weights_open(path, "base", &file));
    OK(config_read(file, "/", fields, &config));
    assert_memory_equal(&config, &sample_config, sizeof config);
    double stored;
    OK(h5file_attr_f64(file, "/", "dropout", &stored));
    assert_true(stored == 0.1); /* not 0.10000000149 */
    assert_string_equal(config_show(&fields[1], &config, text, sizeof text), "1,1.5,0.1");
    assert_string_equal(config_show(&fields[2], &config, text, sizeof text), "1,2");
    assert_string_equal(config_show(&fields[3], &config, text, sizeof text), "yes");
    assert_string_equal(config_show(&fields[7], &config, text, 8), "squared");
    ConfigField wrong[] = {CONFIG_FIELD(Config, CONFIG_BOOL, "channels", norm), {0}};
    FAILS(config_read(file, "/", wrong, &config), STATUS_BAD_INPUT, "attribute channels is 64, expected 0 to 1");
    wrong[0] = (ConfigField)CONFIG_FIELD(Config, CONFIG_INT, "missing", channels);
    FAILS(config_read(file, "/", wrong, &config), STATUS_BAD_INPUT, "there is no attribute missing");
    wrong[0] = (ConfigField)CONFIG_OPTIONAL(Config, CONFIG_INT, "missing", channels);
    OK(config_read(file, "/", wrong, &config));
    wrong[0] = (ConfigField)CONFIG_FIELD(Config, CONFIG_INT, "steps", channels);
    FAILS(config_read(file, "/", wrong, &config), STATUS_BAD_INPUT, "attribute steps is 1099511627776");
    wrong[0] = (ConfigField)CONFIG_FIELD(Config, CONFIG_TEXT, "schedule", scale); /* 8 bytes */
    FAILS(config_read(file, "/", wrong, &config), STATUS_BAD_INPUT, "has 17 characters, expected at most 7");
    wrong[0] = (ConfigField)CONFIG_ARRAY(Config, CONFIG_FLOATS, "channel_mult", scale, levels);
    FAILS(config_read(file, "/", wrong, &config), STATUS_BAD_INPUT, "channel_mult has 3 values, expected at most 2");
    h5file_close(file);
    params_release(&set);
}

static void test_round_trip(void **state)
{
    (void)state;
    ParamSet set, back;
    H5File *file;
    WeightsSummary summary;
    char *merges;
    fill_params(&set, 5, -1, -1);
    fill_params(&back, 5, -1, -1);
    for (int half = 0; half < 2; half++) {
        write_weights(&set, half ? H5KIND_F16 : H5KIND_F32);
        for (int i = 0; i < 5; i++) memset(back.items[i]->value, 0xff, 4 * back.items[i]->size);
        uint64_t version = back.items[0]->version;
        OK(weights_open(path, NULL, &file));
        OK(weights_bind(file, &back));
        assert_true(back.items[0]->version > version);
        for (int i = 0; i < 5; i++)
            for (size_t j = 0; j < set.items[i]->size; j++) {
                float expected = set.items[i]->value[j];
                if (half) expected = f16_to_f32(f32_to_f16(expected));
                assert_true(back.items[i]->value[j] == expected);
            }
        OK(weights_summary(file, &summary));
        assert_string_equal(summary.kind, "base");
        assert_true(summary.params == 5 && summary.has_merges && !summary.has_checkpoint);
        assert_int_equal(summary.elements, set.total);
        assert_int_equal(summary.halves, half ? set.total : 0);
        OK(weights_read_merges(file, &merges));
        assert_string_equal(merges, "#version: 0.2\nĠ a\nb c\n");
        free(merges);
        h5file_close(file);
    }
    params_release(&set);
    params_release(&back);
}

/* Large parameters stay in the file, singles and halves; what kernels make of them is the same as from memory. */
static void add_large(ParamSet *set)
{
    params_add(set, INIT_FAN_IN, 1, 4, (int64_t[]){32, 64, 3, 3}, "conv.weight");
    params_add(set, INIT_FAN_IN, 1, 1, (int64_t[]){32}, "conv.bias");
    params_add(set, INIT_FAN_IN, 1, 2, (int64_t[]){700, 64}, "table.weight");
}

static void fill_large(ParamSet *set, bool shapes_only)
{
    params_init(set);
    set->shapes_only = shapes_only;
    add_large(set);
    if (!shapes_only) params_randomize(set, 2);
}

static void assert_same_convolution(Param *a, Param *b)
{
    enum { SIDE = 8, IN = 64, OUT = 32 };
    static float x[SIDE * SIDE * IN], y[2][SIDE * SIDE * OUT];
    ConvShape shape = {.N = 1, .H = SIDE, .W = SIDE, .Cin = IN, .Cout = OUT, .kernel = 3, .stride = 1};
    for (KernelsChoice choice = KERNELS_BEST; choice <= KERNELS_NO_ONEDNN; choice++) {
        Kernels *k;
        rng_normal(&(RngKey){.seed = 1, .stream = RNG_TEST}, x, SIDE * SIDE * IN);
        OK(kernels_new(choice, &k));
        for (int round = 0; round < 2; round++) { /* once to pack, once packed */
            OK(k->conv2d(k, &shape, x, a, NULL, NULL, y[0]));
            OK(k->conv2d(k, &shape, x, b, NULL, NULL, y[1]));
            assert_memory_equal(y[0], y[1], sizeof y[0]);
        }
        kernels_free(k);
    }
}

static void test_map(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        ParamSet set, loaded, mapped;
        H5File *file;
        uint64_t hash;
        fill_large(&set, false);
        fill_large(&loaded, false);
        fill_large(&mapped, true);
        write_weights(&set, half ? H5KIND_F16 : H5KIND_F32);
        OK(weights_open(path, "base", &file));
        OK(weights_bind(file, &loaded));
        OK(weights_map(file, &mapped, &hash));
        h5file_close(file);
        assert_int_equal(unlink(path), 0); /* the map holds on to it */
        assert_true(hash == weights_hash(&loaded));
        for (int i = 0; i < 3; i++) {
            bool in_file = i != 1;
            assert_int_equal(mapped.items[i]->mapped != NULL, in_file);
            assert_int_equal(mapped.items[i]->value == NULL, in_file && half);
            for (int round = 0; round < 2; round++) {
                assert_memory_equal(param_fetch(mapped.items[i]), loaded.items[i]->value, 4 * loaded.items[i]->size);
                param_leave(mapped.items[i]);
            }
        }
        assert_same_convolution(mapped.items[0], loaded.items[0]);
        params_release(&mapped);
        params_release(&loaded);
        params_release(&set);
    }
}

static void test_map_not_finite(void **state)
{
    (void)state;
    ParamSet set, mapped;
    H5File *file;
    uint64_t hash;
    fill_large(&set, false);
    set.items[2]->value[4000] = NAN;
    OK(weights_create(path, "base", &file));
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "params/%s", set.items[i]->name);
        OK(h5file_write(file, name, H5KIND_F32, set.items[i]->ndim, set.items[i]->dims, set.items[i]->value));
    }
    OK(h5file_commit(file));
    OK(weights_open(path, "base", &file));
    fill_large(&mapped, true);
    FAILS(weights_map(file, &mapped, &hash), STATUS_BAD_INPUT,
          "params/table.weight holds 1 value(s) that are not finite (the first, number 4001 of 44800, is nan)");
    params_release(&mapped);
    h5file_close(file);
    params_release(&set);
}

/* Hundreds of names of every kind: what the file has is `found`, what the model has is `set`. */
static void add_crowd(ParamSet *set, NamedShape *found, char names_[][320], int count)
{
    static const int64_t one[] = {1}, many[] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    for (int i = 0; i < count; i++) {
        if (i % 3 == 0) params_add(set, INIT_ZERO, 0, 1, one, "gone_%0280d.\x1b[2J\n", i);
        snprintf(names_[i], 320, i % 3 == 0 ? "new_\xc3\xa9%0280d.\n" : "both_%0290d", i);
        if (i % 3) params_add(set, INIT_ZERO, 0, 1, one, "%s", names_[i]);
        found[i] = (NamedShape){names_[i], i % 3 == 1 ? 1 : 5, i % 3 == 1 ? one : many};
    }
}

/* However much is wrong, it is a screen: so many lines of bearable length, nothing in them that a terminal obeys. */
static void test_screen(void **state)
{
    (void)state;
    enum { CROWD = 900 };
    static char crowd[CROWD][320];
    static NamedShape found[CROWD];
    static int index[CROWD];
    ParamSet set;
    params_init(&set);
    add_crowd(&set, found, crowd, CROWD);
    FAILS(params_match(&set, "w.h5", found, CROWD, index), STATUS_BAD_INPUT,
          "w.h5: the weights do not fit the model: 300 missing, 300 unexpected, 300 of another shape");
    const char *line = status_details();
    int lines = 1, more = 0;
    for (size_t length; (length = strcspn(line, "\n")) > 0; line += length + 1, lines++) {
        int n;
        assert_true(line[length] == '\n' && length < 240);
        more += sscanf(line, "    and %d more", &n) == 1 && n > 290;
        for (size_t i = 0; i < length; i++) assert_true((unsigned char)line[i] >= 32 && line[i] != 127);
    }
    assert_int_equal(*line, 0);
    assert_int_equal(lines, MATCH_LINES);
    assert_int_equal(more, 3);
    const char *first = strstr(status_details(), "    gone_0000");
    assert_non_null(first);
    assert_non_null(strstr(first, "...0000"));
    assert_non_null(strstr(status_details(), "    new_\xc3\xa9" "0000"));
    /* One list alone has the screen to itself, and a last one is named rather than counted. */
    ParamSet none;
    params_init(&none);
    for (int count = MATCH_LINES - 3; count <= MATCH_LINES; count++) {
        char end[40];
        assert_int_equal(params_match(&none, "w.h5", found, count, index), STATUS_BAD_INPUT);
        snprintf(end, sizeof end, "    and %d more\n", count - (MATCH_LINES - 3));
        lines = 1;
        for (const char *c = status_details(); *c; c++) lines += *c == '\n';
        assert_int_equal(lines, count + 2 < MATCH_LINES ? count + 2 : MATCH_LINES);
        assert_int_equal(strstr(status_details(), end) != NULL, count > MATCH_LINES - 2);
    }
    params_release(&none);
    params_release(&set);
}

static void test_mismatch(void **state)
{
    (void)state;
    ParamSet set, other;
    H5File *file;
    fill_params(&set, 5, -1, -1);
    write_weights(&set, H5KIND_F32);
    OK(weights_open(path, "base", &file));
    fill_params(&other, 5, 3, 2);
    FAILS(weights_bind(file, &other), STATUS_BAD_INPUT,
          "w.h5: the weights do not fit the model: 1 missing, 1 unexpected, 1 of another shape");
    assert_string_equal(status_details(), "  missing:\n    out.2.weightx (near out.2.weight)\n"
                                          "  unexpected:\n    out.2.weight (near out.2.weightx)\n"
                                          "  of another shape:\n    input_blocks.0.0.weight: found (8,3,3), expected (9,3,3)\n");
    status_prefix(STATUS_BAD_INPUT, "while testing");
    assert_non_null(strstr(status_details(), "out.2.weightx"));
    status_fail(STATUS_BAD_INPUT, "something else");
    assert_string_equal(status_details(), "");
    params_release(&other);
    fill_params(&other, 0, 0, 0);
    FAILS(weights_bind(file, &other), STATUS_BAD_INPUT, "w.h5: the weights do not fit the model: 5 unexpected");
    assert_string_equal(status_details(), "  unexpected:\n    time_embed.0.weight\n    time_embed.0.bias\n    input_blocks.0.0.weight\n"
                                          "    out.2.weight\n    padding_embedding\n");
    params_release(&other);
    h5file_close(file);
    FAILS(weights_open(path, "upsampler", &file), STATUS_BAD_INPUT, "weights of kind \"base\", expected \"upsampler\"");
    assert_null(file);
    FAILS(weights_open("tests/fixtures/pt_formats.h5", NULL, &file), STATUS_BAD_INPUT, "not a file of weights: its format is not stated");
    params_release(&set);
}

static void test_other_formats(void **state)
{
    (void)state;
    H5File *file;
    OK(h5file_create(path, &file));
    OK(h5file_set_text(file, "/", "format", "glide-dataset"));
    OK(h5file_commit(file));
    FAILS(weights_open(path, NULL, &file), STATUS_BAD_INPUT, "its format is \"glide-dataset\", expected \"glide-weights\"");
    OK(h5file_create(path, &file));
    OK(h5file_set_text(file, "/", "format", WEIGHTS_FORMAT));
    OK(h5file_set_i64(file, "/", "format_version", 2));
    OK(h5file_commit(file));
    FAILS(weights_open(path, NULL, &file), STATUS_BAD_INPUT, "weights of format version 2, this program reads up to 1");
}

static void test_not_finite(void **state)
{
    (void)state;
    ParamSet set;
    H5File *file;
    fill_params(&set, 3, -1, -1);
    set.items[1]->value[2] = NAN;
    set.items[1]->value[3] = INFINITY;
    OK(weights_create(path, "base", &file));
    FAILS(weights_write_params(file, &set, H5KIND_F32), STATUS_BAD_INPUT,
          "params/time_embed.0.bias holds 2 value(s) that are not finite (the first, number 3 of 24, is nan)");
    h5file_close(file);
    OK(weights_create(path, "base", &file)); /* such values come from elsewhere */
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "params/%s", names[i]);
        OK(h5file_write(file, name, H5KIND_F16, set.items[i]->ndim, set.items[i]->dims, set.items[i]->value));
    }
    OK(h5file_commit(file));
    OK(weights_open(path, "base", &file));
    FAILS(weights_bind(file, &set), STATUS_BAD_INPUT, "params/time_embed.0.bias holds 2 value(s) that are not finite");
    h5file_close(file);
    params_release(&set);
}

static void test_hash(void **state)
{
    (void)state;
    ParamSet a, b;
    fill_params(&a, 5, -1, -1);
    uint64_t hash = weights_hash(&a);
    Param *swapped = a.items[0]; /* the order does not matter */
    a.items[0] = a.items[3];
    a.items[3] = swapped;
    assert_true(weights_hash(&a) == hash);
    for (int i = 0; i < a.count; i++)
        for (size_t j = 0; j < a.items[i]->size; j++) { /* every value does, and every sign */
            a.items[i]->value[j] = -a.items[i]->value[j];
            assert_true(weights_hash(&a) != hash);
            a.items[i]->value[j] = -a.items[i]->value[j];
        }
    float first = a.items[1]->value[0]; /* and where a value stands */
    a.items[1]->value[0] = a.items[1]->value[8];
    a.items[1]->value[8] = first;
    assert_true(weights_hash(&a) != hash);
    fill_params(&b, 5, 2, -1);
    assert_true(weights_hash(&b) != hash);
    params_release(&b);
    params_release(&a);
    params_init(&b);
    Param *p = params_add(&b, INIT_ZERO, 0, 2, (int64_t[]){3, 5}, "w");
    for (int i = 0; i < 15; i++) p->value[i] = (float)i;
    assert_true(weights_hash(&b) == UINT64_C(0x3e8b3744c4266492)); /* files and pictures carry it: it must not change */
    params_release(&b);
}

static void test_checkpoint(void **state)
{
    (void)state;
    ParamSet set, other;
    H5File *file;
    fill_params(&set, 5, -1, -1);
    float *moments = malloc(set.total * sizeof *moments), *back = malloc(set.total * sizeof *back);
    int64_t step;
    WeightsSummary summary;
    for (size_t i = 0; i < set.total; i++) moments[i] = (float)i * 1e-20f;
    OK(weights_create(path, "base", &file));
    OK(weights_write_params(file, &set, H5KIND_F32));
    OK(weights_write_array(file, "checkpoint/adam_m", &set, moments, H5KIND_F32));
    OK(h5file_set_i64(file, "checkpoint", "step", 12345));
    OK(h5file_commit(file));
    OK(weights_open(path, "base", &file));
    OK(weights_read_array(file, "checkpoint/adam_m", &set, back));
    assert_memory_equal(moments, back, set.total * sizeof *back);
    OK(h5file_attr_i64(file, "checkpoint", "step", &step));
    assert_int_equal(step, 12345);
    OK(weights_summary(file, &summary));
    assert_true(summary.has_checkpoint && !summary.has_merges);
    FAILS(weights_read_array(file, "checkpoint/ema", &set, back), STATUS_BAD_INPUT, "there is no group checkpoint/ema");
    fill_params(&other, 5, 1, -1);
    FAILS(weights_read_array(file, "checkpoint/adam_m", &other, back), STATUS_BAD_INPUT, "1 missing, 1 unexpected");
    params_release(&other);
    h5file_close(file);
    free(moments);
    free(back);
    params_release(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),     cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_map),        cmocka_unit_test(test_map_not_finite),
        cmocka_unit_test(test_screen),     cmocka_unit_test(test_other_formats), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_checkpoint),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
