/* PyTorch checkpoints: against the values PyTorch itself saw, hand-made hostile pickles, and thousands of damaged copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support_folder.h"
#include "tests/support_status.h"
#include "common/h5file.h"
#include "common/pickle.h"
#include "common/pt_reader.h"
#include "common/rng.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#define FIXTURES "tests/fixtures/"

static char path[128];

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("x.pt"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return test_folder_remove_with(path);
}

/* --- files that PyTorch wrote --- */

/* Values of a dataset as doubles, whatever it holds. */
static void compare_values(const H5File *file, StateDict *dict, const char *tensor_name)
{
    char name[80], *dtype;
    snprintf(name, sizeof name, "tensors/%s", tensor_name);
    StateTensor *tensor = state_dict_find(dict, tensor_name);
    if (!tensor) fail_msg("no tensor %s", tensor_name);
    H5Info info;
    OK(h5file_stat(file, name, &info));
    OK(h5file_attr_text(file, name, "dtype", &dtype));
    assert_string_equal(dtype, pt_dtype_name(tensor->dtype));
    free(dtype);
    assert_int_equal(tensor->ndim, info.ndim);
    for (int i = 0; i < info.ndim; i++) assert_int_equal(tensor->dims[i], info.dims[i]);
    assert_int_equal(tensor->size, info.size);
    size_t n = (size_t)info.size;
    float *single = malloc(4 * n + 4);
    double *wide = malloc(8 * n + 8), *expected = NULL;
    int64_t *whole = malloc(8 * n + 8), *expected_whole = NULL;
    OK(state_dict_read_f32(dict, tensor, single));
    OK(state_dict_read_f64(dict, tensor, wide));
    if (info.kind == H5KIND_F32 || info.kind == H5KIND_F64) {
        OK(h5file_load_f64(file, name, &expected, NULL));
        for (size_t i = 0; i < n; i++) assert_true(wide[i] == expected[i] && single[i] == (float)expected[i]);
        FAILS(state_dict_read_i64(dict, tensor, whole), STATUS_BAD_INPUT, "expected whole numbers");
    } else {
        OK(h5file_load_i64(file, name, &expected_whole, NULL));
        OK(state_dict_read_i64(dict, tensor, whole));
        for (size_t i = 0; i < n; i++) assert_true(whole[i] == expected_whole[i] && wide[i] == (double)whole[i]);
    }
    free(single);
    free(wide);
    free(expected);
    free(whole);
    free(expected_whole);
}

static void test_every_format(void **state)
{
    (void)state;
    const char *const files[] = {FIXTURES "pt_zip.pt", FIXTURES "pt_legacy.pt", FIXTURES "pt_nested.pt"};
    H5File *file;
    char **names;
    int count;
    OK(h5file_open(FIXTURES "pt_formats.h5", &file));
    OK(h5file_list(file, "tensors", H5LIST_DATASETS, &names, &count));
    assert_int_equal(count, 17);
    for (int i = 0; i < 3; i++) {
        StateDict *dict;
        OK(state_dict_open(files[i], NULL, &dict));
        assert_int_equal(dict->count, count);
        assert_string_equal(dict->items[0].name, "plain");
        assert_string_equal(dict->items[1].name, "transposed");
        for (int j = 0; j < count; j++) compare_values(file, dict, names[j]);
        state_dict_close(dict);
    }
    free(names);
    h5file_close(file);
}

static void test_nested(void **state)
{
    (void)state;
    StateDict *dict;
    OK(state_dict_open(FIXTURES "pt_nested.pt", &(StateDictOptions){.flatten = true}, &dict));
    assert_int_equal(dict->count, 18);
    assert_string_equal(dict->items[0].name, "state_dict.plain");
    assert_true(strchr(dict->items[17].name, '.') != NULL);
    assert_true(dict->skipped > 0);
    state_dict_close(dict);
    OK(state_dict_open(FIXTURES "pt_nested.pt", &(StateDictOptions){.key = "state_dict"}, &dict));
    assert_int_equal(dict->count, 17);
    state_dict_close(dict);
    FAILS(state_dict_open(FIXTURES "pt_nested.pt", &(StateDictOptions){.key = "weights"}, &dict), STATUS_BAD_INPUT,
          "no dictionary under the key weights; there are: state_dict, ");
    assert_null(dict);
}

/* --- checkpoints against the sums that were taken when they were written --- */

static void compare_sums(StateDict *dict, const StateTensor *tensor, const double *sums, const float *ends)
{
    size_t n = (size_t)tensor->size;
    double *values = malloc(8 * n + 8), total = 0, magnitudes = 0, weighted = 0;
    OK(state_dict_read_f64(dict, tensor, values));
    for (size_t i = 0; i < n; i++) {
        total += values[i];
        magnitudes += fabs(values[i]);
        weighted += (double)(i + 1) * values[i];
    }
    double tolerance = 1e-12 * magnitudes;
    if (!(fabs(total - sums[0]) <= tolerance && fabs(magnitudes - sums[1]) <= tolerance &&
          fabs(weighted - sums[2]) <= tolerance * (double)n))
        fail_msg("%s: sums %.17g %.17g %.17g, expected %.17g %.17g %.17g", tensor->name, total, magnitudes, weighted, sums[0],
                 sums[1], sums[2]);
    assert_true((float)values[0] == ends[0] && (float)values[n - 1] == ends[1]);
    free(values);
}

/* Group `group` of an HDF5 file describes the checkpoint `pt`. How many tensors were compared. */
static int compare_checkpoint(const H5File *file, const char *group, const char *pt)
{
    char name[64], **names, **dtypes;
    int count, again;
    int32_t *ndim, *shape;
    double *sums;
    float *ends;
    H5Info info;
    StateDict *dict;
#define PART(part) (snprintf(name, sizeof name, "%s/" part, group), name)
    OK(h5file_load_texts(file, PART("names"), &names, &count));
    OK(h5file_load_texts(file, PART("dtypes"), &dtypes, &again));
    OK(h5file_load_i32(file, PART("ndim"), &ndim, NULL));
    OK(h5file_load_i32(file, PART("shape"), &shape, &info));
    OK(h5file_load_f64(file, PART("sums"), &sums, NULL));
    OK(h5file_load_f32(file, PART("ends"), &ends, NULL));
#undef PART
    assert_true(count == again && info.dims[0] == count && info.dims[1] == 4);
    OK(state_dict_open(pt, NULL, &dict));
    assert_int_equal(dict->count, count);
    for (int i = 0; i < count; i++) {
        const StateTensor *tensor = &dict->items[i];
        assert_string_equal(tensor->name, names[i]);
        assert_string_equal(pt_dtype_name(tensor->dtype), dtypes[i]);
        assert_int_equal(tensor->ndim, ndim[i]);
        for (int j = 0; j < ndim[i]; j++) assert_int_equal(tensor->dims[j], shape[4 * i + j]);
        compare_sums(dict, tensor, sums + 3 * i, ends + 2 * i);
    }
    state_dict_close(dict);
    free(names);
    free(dtypes);
    free(ndim);
    free(shape);
    free(sums);
    free(ends);
    return count;
}

static int compare_folder(const char *where)
{
    static const char *const kinds[][2] = {{"checkpoint", "checkpoint"},
                                           {"checkpoint_image", "image_checkpoint"},
                                           {"checkpoint_text", "text_checkpoint"}};
    int compared = 0;
    DIR *entries = opendir(where);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        char full[600], *pt;
        H5File *file;
        size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 3, ".h5")) continue;
        snprintf(full, sizeof full, "%s/%s", where, entry->d_name);
        OK(h5file_open(full, &file));
        for (int i = 0; i < 3; i++) {
            if (!h5file_has_group(file, kinds[i][0]) || !h5file_has_attr(file, "/", kinds[i][1])) continue;
            OK(h5file_attr_text(file, "/", kinds[i][1], &pt));
            snprintf(full, sizeof full, "%s/%s", where, pt);
            free(pt);
            if (access(full, R_OK) == 0) compared += compare_checkpoint(file, kinds[i][0], full);
        }
        h5file_close(file);
    }
    closedir(entries);
    return compared;
}

static void test_checkpoints(void **state)
{
    (void)state;
    assert_true(compare_folder("tests/fixtures") >= 115);
    const char *more = getenv("GLIDE_FIXTURES"); /* a folder with more of them */
    if (more) print_message("%d tensors of %s compared\n", compare_folder(more), more);
}

static void test_bind(void **state)
{
    (void)state;
    StateDict *dict;
    ParamSet params;
    OK(state_dict_open(FIXTURES "unet_inpaint.pt", NULL, &dict));
    params_init(&params);
    for (int i = dict->count - 1; i >= 0; i--) /* in another order than the file's */
        params_add(&params, INIT_ZERO, 0, dict->items[i].ndim, dict->items[i].dims, "%s", dict->items[i].name);
    OK(state_dict_bind(dict, &params));
    float *values = malloc(4 * (size_t)dict->items[3].size);
    OK(state_dict_read_f32(dict, &dict->items[3], values));
    assert_memory_equal(values, params_find(&params, dict->items[3].name)->value, 4 * (size_t)dict->items[3].size);
    free(values);
    params_add(&params, INIT_ZERO, 0, 1, (int64_t[]){1}, "time_embed.0.weigth");
    FAILS(state_dict_bind(dict, &params), STATUS_BAD_INPUT, "the weights do not fit the model: 1 missing");
    assert_string_equal(status_details(), "  missing:\n    time_embed.0.weigth\n");
    params_release(&params);
    state_dict_close(dict);
}

/* --- hand-made files --- */

typedef struct Pickled {
    uint8_t bytes[4096];
    size_t size;
} Pickled;

static void put(Pickled *p, const char *bytes, size_t size)
{
    assert_true(p->size + size <= sizeof p->bytes);
    memcpy(p->bytes + p->size, bytes, size);
    p->size += size;
}
#define PUT(p, literal) put(p, literal, sizeof(literal) - 1)

static void put_text(Pickled *p, const char *text)
{
    char head[2] = {(char)0x8c, (char)strlen(text)};
    put(p, head, 2);
    put(p, text, strlen(text));
}

static void put_int(Pickled *p, int64_t value)
{
    char bytes[10] = {(char)0x8a, 8};
    memcpy(bytes + 2, &value, 8);
    put(p, bytes, 10);
}

/* _rebuild_tensor_v2 of a float storage "0" of `count` elements, one dimension. */
static void put_tensor(Pickled *p, int64_t count, int64_t offset, int64_t size, int64_t stride)
{
    PUT(p, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(p, "storage");
    PUT(p, "ctorch\nFloatStorage\n");
    put_text(p, "0");
    put_text(p, "cpu");
    put_int(p, count);
    PUT(p, "tQ");
    put_int(p, offset);
    put_int(p, size);
    PUT(p, "\x85");
    put_int(p, stride);
    PUT(p, "\x85\x89}tR");
}

static void write_zip(const Pickled *p, const void *storage, size_t size, bool compressed)
{
    unlink(path);
    int code;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    zip_int64_t a = zip_file_add(zip, "x/data.pkl", zip_source_buffer(zip, p->bytes, p->size, 0), 0);
    zip_int64_t b = zip_file_add(zip, "x/data/0", zip_source_buffer(zip, storage, size, 0), 0);
    assert_true(a >= 0 && b >= 0);
    zip_set_file_compression(zip, (zip_uint64_t)a, ZIP_CM_STORE, 0);
    zip_set_file_compression(zip, (zip_uint64_t)b, compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
    assert_int_equal(zip_close(zip), 0);
}

static const float four[4] = {1, 2, 3, 4};

static void test_views(void **state)
{
    (void)state;
    static const struct {
        int64_t count, offset, size, stride;
        const char *error; /* NULL: good */
    } cases[] = {
        {4, 0, 4, 1, NULL}, {4, 1, 2, 2, NULL}, {4, 3, 5, 0, NULL}, {4, 9, 0, 1, NULL},
        {4, 1, 4, 1, "tensor w: it reaches beyond its storage"},
        {4, 0, 2, 4, "reaches beyond"}, {4, 4, 1, 1, "reaches beyond"},
        {4, INT64_MAX, 2, 1, "impossible shape"}, {4, 0, INT64_MAX, 2, "impossible shape"},
        {4, 0, INT64_MAX, 0, "expanded to a huge size"},
        {4, -1, 4, 1, "unknown way"}, {4, 3, 4, -1, "unknown way"},
        {3, 0, 3, 1, "storage 0 has 16 bytes, expected 12"},
        {INT64_MAX / 2, 0, 3, 1, "claims 4611686018427387903 values, more than the file has"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Pickled p = {.size = 0};
        StateDict *dict;
        float values[8];
        PUT(&p, "\x80\x02}");
        put_text(&p, "w");
        put_tensor(&p, cases[i].count, cases[i].offset, cases[i].size, cases[i].stride);
        PUT(&p, "s.");
        write_zip(&p, four, sizeof four, false);
        if (cases[i].error) {
            FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, cases[i].error);
            continue;
        }
        OK(state_dict_open(path, NULL, &dict));
        OK(state_dict_read_f32(dict, &dict->items[0], values));
        for (int64_t j = 0; j < cases[i].size; j++)
            assert_true(values[j] == four[cases[i].offset + j * cases[i].stride]);
        state_dict_close(dict);
    }
}

static void expect_pickle_error(const char *pickle, size_t size, const char *error)
{
    Pickled p = {.size = 0};
    StateDict *dict;
    put(&p, pickle, size);
    write_zip(&p, four, sizeof four, false);
    FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, error);
    assert_null(dict);
}
#define PICKLE_ERROR(literal, error) expect_pickle_error(literal, sizeof(literal) - 1, error)

static void test_hostile_pickles(void **state)
{
    (void)state;
    PICKLE_ERROR("\x80\x02" "cposix\nsystem\nX\x02\0\0\0ls\x85R.", "it contains posix.system, which is not loaded");
    PICKLE_ERROR("\x80\x04\x8c\x08" "builtins\x8c\x04" "eval\x93.", "it contains builtins.eval, which is not loaded");
    PICKLE_ERROR("\x80\x02" "cargparse\nName\x1b[2Jspace\n)\x81.", "argparse.Name?[2Jspace");
    PICKLE_ERROR("\x80\x02}q\0.", "no tensors by name in it");
    PICKLE_ERROR("\x80\x02K\1.", "expected a dictionary of tensors");
    PICKLE_ERROR("\x80\x02i.", "opcode 0x69 at byte 2 is not one that torch.save writes");
    PICKLE_ERROR("\x80\x02}", "it ends in the middle");
    PICKLE_ERROR("\x80\x02X\xff\xff\xff\x7f", "it ends in the middle");
    PICKLE_ERROR("\x80\x02" "0.", "nothing left on the stack");
    PICKLE_ERROR("\x80\x02K\1(0.", "nothing left on the stack");
    PICKLE_ERROR("\x80\x02K\1s.", "nothing left on the stack");
    PICKLE_ERROR("\x80\x02tt.", "no mark");
    PICKLE_ERROR("\x80\x02}(K\1u.", "a key without a value");
    PICKLE_ERROR("\x80\x02}K\1a.", "not a container of this kind");
    PICKLE_ERROR("\x80\x02h\5.", "a memo index that was never set");
    PICKLE_ERROR("\x80\x02K\1r\xff\xff\xff\xff.", "an impossible memo index");
    PICKLE_ERROR("\x80\x02K\1)R.", "a call of what is not a name");
    PICKLE_ERROR("\x80\x02K\1K\2b.", "state for a value that has none");
    PICKLE_ERROR("\x80\x02\x8a\xff.", "more than 64 bits");
    PICKLE_ERROR("\x80\x05N.", "a protocol newer than 4");
    PICKLE_ERROR("\x80\x02K\1K\2.", "does not end with one value");
    PICKLE_ERROR("\x80\x02}K\1cmath\nsin\n", "math.sin");
    PICKLE_ERROR("\x80\x02}q\0X\1\0\0\0ah\0s.", "no tensors by name"); /* contains itself */
}

/* Lists of lists that each hold the one before many times: small to write, endless to walk. */
static void test_endless_walk(void **state)
{
    (void)state;
    Pickled p = {.size = 0};
    StateDict *dict;
    PUT(&p, "\x80\x02}");
    put_text(&p, "a");
    PUT(&p, "(]q\0");
    for (char level = 0; level < 12; level++) {
        char again[] = "]q\0(h\0h\0h\0h\0h\0h\0h\0h\0e";
        again[2] = (char)(level + 1);
        for (int i = 0; i < 8; i++) again[5 + 2 * i] = level;
        put(&p, again, sizeof again - 1);
    }
    PUT(&p, "ts.");
    write_zip(&p, four, sizeof four, false);
    FAILS(state_dict_open(path, &(StateDictOptions){.flatten = true}, &dict), STATUS_BAD_INPUT, "more than 1048576 entries");
    Pickled q = {.size = 0};
    PUT(&q, "\x80\x02}q\0");
    put_text(&q, "a");
    PUT(&q, "h\0s.");
    write_zip(&q, four, sizeof four, false);
    FAILS(state_dict_open(path, &(StateDictOptions){.flatten = true}, &dict), STATUS_BAD_INPUT, "nested more than 16 deep");
}

static void test_names(void **state)
{
    (void)state;
    Pickled p = {.size = 0};
    StateDict *dict;
    PUT(&p, "\x80\x02}(");
    put_text(&p, "w");
    put_tensor(&p, 4, 0, 4, 1);
    put_text(&p, "w");
    put_tensor(&p, 4, 0, 4, 1);
    PUT(&p, "u.");
    write_zip(&p, four, sizeof four, false);
    FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, "there are two tensors w");
    p.size = 0;
    PUT(&p, "\x80\x02}(");
    put_text(&p, "");
    put_tensor(&p, 4, 0, 4, 1);
    PUT(&p, "u.");
    write_zip(&p, four, sizeof four, false);
    FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, "whose name is empty");
    p.size = 3;
    put_text(&p, "w");
    put_tensor(&p, 4, 0, 4, 1);
    PUT(&p, "s.");
    write_zip(&p, (char[4096]){0}, 4096, true);
    FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, "is compressed or encrypted");
}

/* --- damaged files --- */

static void test_other_files(void **state)
{
    (void)state;
    StateDict *dict;
    FAILS(state_dict_open("/nowhere.pt", NULL, &dict), STATUS_BAD_INPUT, "/nowhere.pt: No such file");
    FAILS(state_dict_open("tests", NULL, &dict), STATUS_BAD_INPUT, "not a regular file");
    FAILS(state_dict_open("tests/test_pt_reader.c", NULL, &dict), STATUS_BAD_INPUT, "not a PyTorch checkpoint");
    FAILS(state_dict_open(FIXTURES "pt_formats.h5", NULL, &dict), STATUS_BAD_INPUT, "not a PyTorch checkpoint");
    write_bytes(path, (const uint8_t *)"", 0);
    FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, "the file is empty");
}

static void test_truncation(void **state)
{
    (void)state;
    const char *const files[] = {FIXTURES "pt_zip.pt", FIXTURES "pt_legacy.pt"};
    for (int i = 0; i < 2; i++) {
        size_t size;
        uint8_t *bytes = read_bytes(files[i], &size);
        for (size_t cut = size - 1; cut > 20; cut -= cut > size - 40 ? 1 : 19) {
            StateDict *dict;
            write_bytes(path, bytes, cut);
            FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, i && cut < 1930 ? "ends in the middle" : "truncated");
        }
        free(bytes);
    }
}

typedef struct Dice {
    RngKey key;
    uint32_t thrown;
} Dice;

static uint32_t throw_below(Dice *dice, size_t n)
{
    return rng_below(&dice->key, dice->thrown++, (uint32_t)n);
}

/* A few changed bytes, often to values that mean something; sometimes a cut or a repeated piece. */
static size_t damage(Dice *dice, uint8_t *bytes, size_t size)
{
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '(', ')', '.', 'R', 'Q', 't', 'u', 'q', 'h', 0x85, 0x8a, 0x94};
    uint32_t changes = 1 + throw_below(dice, 6);
    for (uint32_t i = 0; i < changes; i++) {
        size_t at = throw_below(dice, size);
        switch (throw_below(dice, 4)) {
        case 0: bytes[at] ^= (uint8_t)(1 << throw_below(dice, 8)); break;
        case 1: bytes[at] = (uint8_t)throw_below(dice, 256); break;
        case 2: bytes[at] = telling[throw_below(dice, sizeof telling)]; break;
        default: {
            size_t from = throw_below(dice, size), length = throw_below(dice, 24);
            if (from + length < size && at + length < size) memmove(bytes + at, bytes + from, length);
        }
        }
    }
    return throw_below(dice, 8) ? size : throw_below(dice, size);
}

static int read_everything(void)
{
    StateDict *dict;
    const StateDictOptions options = {.flatten = true};
    if (state_dict_open(path, &options, &dict) != STATUS_OK) {
        assert_true(strlen(status_message()) > 5);
        return 0;
    }
    for (int i = 0; i < dict->count; i++) {
        assert_true(dict->items[i].size < 1 << 22); /* no big allocation for a small file */
        float *values = malloc(4 * (size_t)dict->items[i].size + 4);
        (void)state_dict_read_f32(dict, &dict->items[i], values);
        free(values);
    }
    state_dict_close(dict);
    return 1;
}

static void test_damaged_files(void **state)
{
    (void)state;
    const char *const files[] = {FIXTURES "pt_zip.pt", FIXTURES "pt_nested.pt", FIXTURES "pt_legacy.pt"};
    Dice dice = {.key = {.seed = 1, .stream = RNG_TEST}};
    int opened = 0;
    alarm(120); /* a hang ends the test */
    for (int i = 0; i < 3; i++) {
        size_t size;
        uint8_t *bytes = read_bytes(files[i], &size), *copy = malloc(size);
        for (int round = 0; round < 700; round++) {
            memcpy(copy, bytes, size);
            write_bytes(path, copy, damage(&dice, copy, size));
            opened += read_everything();
        }
        free(copy);
        free(bytes);
    }
    alarm(0);
    print_message("%d of 2100 damaged files could still be read\n", opened);
    assert_true(opened > 20); /* else nothing behind the first check was tested */
}

/* The pickle alone, without the archive's checksum in the way. */
static void test_damaged_pickles(void **state)
{
    (void)state;
    static const char *const allowed[] = {
        "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.FloatStorage", "torch.HalfStorage",
        "torch.BFloat16Storage", "torch.DoubleStorage", "torch.LongStorage", "torch.IntStorage", "torch.ByteStorage",
        "torch.BoolStorage", NULL};
    const PickleOptions options = {.allowed = allowed, .max_bytes = 1 << 20};
    Dice dice = {.key = {.seed = 2, .stream = RNG_TEST}};
    size_t size;
    int read = 0;
    uint8_t *bytes = read_bytes(FIXTURES "pt_legacy.pt", &size), *copy = malloc(size);
    bytes += 137; /* the fourth pickle */
    size = 1682 - 137;
    alarm(120);
    for (int round = 0; round < 20000; round++) {
        Pickle *pickle;
        memcpy(copy, bytes, size);
        size_t cut = damage(&dice, copy, size);
        if (pickle_read(copy, cut, &options, &pickle, NULL) == STATUS_OK) read++;
        pickle_free(pickle);
    }
    alarm(0);
    print_message("%d of 20000 damaged pickles could still be read\n", read);
    assert_true(read > 200);
    free(copy);
    free(bytes - 137);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format),    cmocka_unit_test(test_nested),      cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_bind),            cmocka_unit_test(test_views),       cmocka_unit_test(test_hostile_pickles),
        cmocka_unit_test(test_endless_walk),    cmocka_unit_test(test_names),       cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_truncation),      cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_damaged_pickles),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
