/* Tensors that share storages: checkpoints of guided-diffusion's trainer have all their parameters in two. */
#include "common/pickle_write.h"
#include "common/pt_reader.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <zip.h>

enum { STORAGE = 1 << 20, TENSORS = 64, PART = STORAGE / TENSORS }; /* floats: 4 MiB a storage */

static char path[128];
static float *storages[2];

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("x.pt"));
    for (int s = 0; s < 2; s++) {
        storages[s] = malloc(STORAGE * sizeof(float));
        for (int i = 0; i < STORAGE; i++) storages[s][i] = (float)(s ? -i : i);
    }
    return 0;
}

static int teardown(void **state)
{
    free(storages[0]);
    free(storages[1]);
    return test_folder_teardown(state);
}

/* (rows, columns) of storage `key` of `count` floats, with any strides. */
static void put_view(PickleWriter *w, const char *name, const char *key, int64_t count, int64_t offset, const int64_t dims[2],
                     const int64_t strides[2])
{
    pickle_put_text(w, name);
    pickle_put_global(w, "torch._utils", "_rebuild_tensor_v2");
    pickle_put(w, "((");
    pickle_put_text(w, "storage");
    pickle_put_global(w, "torch", "FloatStorage");
    pickle_put_text(w, key);
    pickle_put_text(w, "cpu");
    pickle_put_int(w, count);
    pickle_put(w, "tQ");
    pickle_put_int(w, offset);
    pickle_put_int(w, dims[0]);
    pickle_put_int(w, dims[1]);
    pickle_put(w, "\x86");
    pickle_put_int(w, strides[0]);
    pickle_put_int(w, strides[1]);
    pickle_put(w, "\x86\x89}tR");
}

/* The storages' names in the archive are x/data/a and x/data/b. */
static void write_file(PickleWriter *w)
{
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(zip);
    assert_false(w->failed);
    const void *bytes[] = {w->bytes, storages[0], storages[1]};
    const size_t sizes[] = {w->size, STORAGE * sizeof(float), STORAGE * sizeof(float)};
    static const char *const names[] = {"x/data.pkl", "x/data/a", "x/data/b"};
    for (int i = 0; i < 3; i++) {
        zip_int64_t at = zip_file_add(zip, names[i], zip_source_buffer(zip, bytes[i], sizes[i], 0), 0);
        assert_true(at >= 0);
        zip_set_file_compression(zip, (zip_uint64_t)at, ZIP_CM_STORE, 0);
    }
    assert_int_equal(zip_close(zip), 0);
    pickle_writer_release(w);
}

/* Parameters of both storages in turn, as names of a model come; the last one lies across. */
static void write_alternating(void)
{
    PickleWriter w = {0};
    char name[32];
    pickle_put(&w, "\x80\x02}(");
    for (int i = 0; i < 2 * TENSORS; i++) {
        snprintf(name, sizeof name, "t%d", i);
        put_view(&w, name, i % 2 ? "b" : "a", STORAGE, i / 2 * PART, (int64_t[]){PART / 4, 4}, (int64_t[]){4, 1});
    }
    put_view(&w, "across", "b", STORAGE, 1, (int64_t[]){4, STORAGE / 4 - 1}, (int64_t[]){1, 4});
    put_view(&w, "expanded", "a", STORAGE, 7, (int64_t[]){STORAGE / 4, 3}, (int64_t[]){0, 2});
    pickle_put(&w, "u.");
    write_file(&w);
}

static void test_alternating(void **state)
{
    (void)state;
    StateDict *dict;
    float *values = malloc(STORAGE * sizeof *values);
    write_alternating();
    OK(state_dict_open(path, NULL, &dict));
    assert_int_equal(dict->count, 2 * TENSORS + 2);
    for (int i = 0; i < 2 * TENSORS; i++) {
        OK(state_dict_read_f32(dict, &dict->items[i], values));
        assert_memory_equal(values, storages[i % 2] + i / 2 * PART, PART * sizeof *values);
    }
    OK(state_dict_read_f32(dict, state_dict_find(dict, "across"), values));
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < STORAGE / 4 - 1; c++) assert_true(values[r * (STORAGE / 4 - 1) + c] == storages[1][1 + r + 4 * c]);
    OK(state_dict_read_f32(dict, state_dict_find(dict, "expanded"), values));
    for (int i = 0; i < 3 * (STORAGE / 4); i++) assert_true(values[i] == (float)(7 + 2 * (i % 3)));
    state_dict_close(dict);
    free(values);
}

/* A damaged storage is noticed whichever part of it is asked for. */
static void test_checksum(void **state)
{
    (void)state;
    StateDict *dict;
    float values[PART];
    write_alternating();
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -100000, SEEK_END), 0); /* in b */
    fputc(0x55, f);
    fclose(f);
    OK(state_dict_open(path, NULL, &dict));
    OK(state_dict_read_f32(dict, &dict->items[0], values));
    FAILS(state_dict_read_f32(dict, &dict->items[1], values), STATUS_BAD_INPUT, "x.pt: damaged zip archive: entry number 2: CRC error");
    FAILS(state_dict_read_f32(dict, &dict->items[3], values), STATUS_BAD_INPUT, "CRC error");
    OK(state_dict_read_f32(dict, &dict->items[2], values));
    assert_memory_equal(values, storages[0] + PART, sizeof values);
    state_dict_close(dict);
}

/* No array of floats may be asked for that is much more than twice as large as the file. */
static void test_expansion(void **state)
{
    (void)state;
    StateDict *dict;
    const struct {
        int64_t rows;
        bool fits;
    } cases[] = {{STORAGE, true}, {4 * STORAGE, true}, {5 * STORAGE, false}, {INT64_MAX / 2, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PickleWriter w = {0};
        pickle_put(&w, "\x80\x02}(");
        put_view(&w, "t", "a", STORAGE, 0, (int64_t[]){cases[i].rows, 1}, (int64_t[]){0, 1});
        pickle_put(&w, "u.");
        write_file(&w);
        if (cases[i].fits) OK(state_dict_open(path, NULL, &dict));
        else FAILS(state_dict_open(path, NULL, &dict), STATUS_BAD_INPUT, "tensor t: a small storage expanded to a huge size");
        state_dict_close(dict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alternating),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_expansion),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
