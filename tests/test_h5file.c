/* h5file: round trips, order, errors, files that appear whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support_folder.h"
#include "tests/support_status.h"
#include "common/float16.h"
#include "common/h5file.h"
#include "common/rng.h"

#include <dirent.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[128];

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("a.h5"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return test_folder_remove_with(path); /* fails if a temporary was left behind */
}

/* --- half precision --- */

static float exact_half(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    float value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                  : exponent     ? ldexpf((float)(1024 + mantissa), exponent - 25)
                                 : ldexpf((float)mantissa, -24);
    return h & 0x8000 ? -value : value;
}

static void test_float16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), expected = exact_half((uint16_t)h);
        if (isnan(expected)) {
            assert_true(isnan(f) && isnan(f16_to_f32(f32_to_f16(f))));
            continue;
        }
        assert_memory_equal(&f, &expected, 4);
        assert_int_equal(f32_to_f16(f), h);
        if ((h & 0x7fff) >= 0x7bff) continue;
        float next = f16_to_f32((uint16_t)(h + 1)), middle = f / 2 + next / 2;
        assert_int_equal(f32_to_f16(middle), h + (h & 1));                     /* to even */
        assert_int_equal(f32_to_f16(nextafterf(middle, next)), h + 1);
        assert_int_equal(f32_to_f16(nextafterf(middle, f)), h);
    }
    assert_int_equal(f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(f32_to_f16(1e-30f), 0);
}

/* --- round trips --- */

static const char *const order[] = {"p/out.2.weight", "p/input_blocks.1.0.in_layers.0.weight", "p/a", "p/zero", "p/scalar"};

static void write_sample(const char *where)
{
    H5File *file;
    float values[24];
    for (int i = 0; i < 24; i++) values[i] = (float)i / 3 - 2;
    OK(h5file_create(where, &file));
    OK(h5file_write(file, order[0], H5KIND_F32, 4, (int64_t[]){1, 2, 3, 4}, values));
    OK(h5file_write(file, order[1], H5KIND_F16, 2, (int64_t[]){4, 6}, values));
    OK(h5file_write(file, order[2], H5KIND_U8, 1, (int64_t[]){3}, (uint8_t[]){1, 0, 255}));
    OK(h5file_write(file, order[3], H5KIND_I32, 2, (int64_t[]){0, 5}, values));
    OK(h5file_write(file, order[4], H5KIND_F64, 0, NULL, (double[]){3.25}));
    OK(h5file_write(file, "i/x", H5KIND_I32, 1, (int64_t[]){2}, (int32_t[]){-7, 1 << 30}));
    OK(h5file_write(file, "i/y", H5KIND_I64, 1, (int64_t[]){2}, (int64_t[]){-7, INT64_MAX}));
    OK(h5file_write_texts(file, "texts", (const char *[]){"", "사과", "red apple"}, 3));
    OK(h5file_write_texts(file, "no_texts", NULL, 0));
    OK(h5file_set_text(file, "/", "kind", "base"));
    OK(h5file_set_i64(file, "/", "steps", 1LL << 40));
    OK(h5file_set_f64(file, "", "dropout", 0.1));
    OK(h5file_set_i32s(file, "/", "channel_mult", (int32_t[]){1, 2, 3}, 3));
    OK(h5file_set_f64s(file, "/", "none", NULL, 0));
    OK(h5file_set_text(file, "texts", "about", "first"));
    OK(h5file_set_text(file, "texts", "about", "second"));
    OK(h5file_commit(file));
}

static void test_many_texts(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static char texts[MANY][120];
    const char *pointers[MANY];
    char **back;
    int count;
    H5File *file;
    struct stat st;
    for (int i = 0; i < MANY; i++) {
        memset(texts[i], 'a' + i % 26, (size_t)i % 119);
        pointers[i] = texts[i];
    }
    OK(h5file_create(path, &file));
    OK(h5file_write_texts(file, "texts", pointers, MANY));
    OK(h5file_commit(file));
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 100000); /* compressed */
    OK(h5file_open(path, &file));
    OK(h5file_load_texts(file, "texts", &back, &count));
    assert_int_equal(count, MANY);
    for (int i = 0; i < MANY; i++) assert_string_equal(back[i], texts[i]);
    free(back);
    h5file_close(file);
}

static void test_datasets(void **state)
{
    (void)state;
    write_sample(path);
    H5File *file;
    H5Info info;
    float *single, fixed[24];
    double *wide;
    uint8_t *bytes;
    int32_t *ints;
    int64_t *longs;
    char text[64];
    OK(h5file_open(path, &file));
    OK(h5file_load_f32(file, "p/out.2.weight", &single, &info));
    assert_string_equal(h5info_describe(&info, text, sizeof text), "(1,2,3,4) f32");
    assert_int_equal(info.size, 24);
    assert_true(info.offset > 0);
    for (int i = 0; i < 24; i++) assert_true(single[i] == (float)i / 3 - 2);
    free(single);
    OK(h5file_read(file, "/p/input_blocks.1.0.in_layers.0.weight", H5KIND_F32, 2, (int64_t[]){4, 6}, fixed));
    for (int i = 0; i < 24; i++) assert_true(fixed[i] == f16_to_f32(f32_to_f16((float)i / 3 - 2)));
    OK(h5file_load_f64(file, "p/input_blocks.1.0.in_layers.0.weight", &wide, &info)); /* HDF5's own conversion */
    for (int i = 0; i < 24; i++) assert_true(wide[i] == fixed[i]);
    assert_int_equal(info.kind, H5KIND_F16);
    free(wide);
    OK(h5file_load_f64(file, "p/scalar", &wide, &info));
    assert_true(info.ndim == 0 && wide[0] == 3.25);
    free(wide);
    OK(h5file_load_u8(file, "p/a", &bytes, NULL));
    assert_memory_equal(bytes, ((uint8_t[]){1, 0, 255}), 3);
    free(bytes);
    OK(h5file_load_i32(file, "p/a", &ints, NULL));
    assert_int_equal(ints[2], 255);
    free(ints);
    OK(h5file_load_i32(file, "p/zero", &ints, &info));
    assert_true(info.size == 0 && info.ndim == 2);
    free(ints);
    OK(h5file_load_i64(file, "i/x", &longs, NULL));
    assert_int_equal(longs[0], -7);
    free(longs);
    FAILS(h5file_load_i32(file, "i/y", &ints, NULL), STATUS_BAD_INPUT, "i/y holds i64 values, expected i32");
    FAILS(h5file_load_f32(file, "i/x", &single, NULL), STATUS_BAD_INPUT, "i/x holds i32 values, expected f32");
    FAILS(h5file_load_u8(file, "texts", &bytes, NULL), STATUS_BAD_INPUT, "holds text values, expected u8");
    FAILS(h5file_load_u8(file, "p", &bytes, NULL), STATUS_BAD_INPUT, "p is not a dataset");
    FAILS(h5file_load_u8(file, "p/x", &bytes, NULL), STATUS_BAD_INPUT, "there is no dataset p/x");
    FAILS(h5file_read(file, "p/out.2.weight", H5KIND_F32, 2, (int64_t[]){4, 6}, fixed), STATUS_BAD_INPUT,
          "p/out.2.weight is (1,2,3,4) f32, expected (4,6) f32");
    h5file_close(file);
}

static void test_texts_and_attributes(void **state)
{
    (void)state;
    write_sample(path);
    H5File *file;
    char **texts, *text, shown[8];
    int count;
    int32_t *ints;
    double number, *numbers;
    int64_t whole;
    OK(h5file_open(path, &file));
    OK(h5file_load_texts(file, "texts", &texts, &count));
    assert_int_equal(count, 3);
    assert_string_equal(texts[0], "");
    assert_string_equal(texts[1], "사과");
    assert_string_equal(texts[2], "red apple");
    free(texts);
    OK(h5file_load_texts(file, "no_texts", &texts, &count));
    assert_int_equal(count, 0);
    free(texts);
    OK(h5file_attr_text(file, "texts", "about", &text));
    assert_string_equal(text, "second");
    free(text);
    OK(h5file_attr_text_or(file, "/", "absent", "fallback", &text));
    assert_string_equal(text, "fallback");
    free(text);
    OK(h5file_attr_i64(file, "/", "steps", &whole));
    assert_true(whole == 1LL << 40);
    OK(h5file_attr_f64(file, "/", "steps", &number));
    assert_true(number == 0x1p40);
    OK(h5file_attr_i32s(file, "/", "channel_mult", &ints, &count));
    assert_true(count == 3 && ints[2] == 3);
    free(ints);
    OK(h5file_attr_f64s(file, "/", "none", &numbers, &count));
    assert_int_equal(count, 0);
    free(numbers);
    OK(h5file_attr_i64_or(file, "/", "absent", 5, &whole));
    assert_int_equal(whole, 5);
    FAILS(h5file_attr_i64(file, "/", "absent", &whole), STATUS_BAD_INPUT, "there is no attribute absent");
    FAILS(h5file_attr_i64(file, "/", "dropout", &whole), STATUS_BAD_INPUT, "attribute dropout holds 1 f64 value(s), expected a whole number");
    FAILS(h5file_attr_i64_or(file, "/", "kind", 5, &whole), STATUS_BAD_INPUT, "expected a whole number");
    FAILS(h5file_attr_text(file, "texts", "absent", &text), STATUS_BAD_INPUT, "there is no attribute absent of texts");
    FAILS(h5file_attr_text(file, "lost/x", "absent", &text), STATUS_BAD_INPUT, "there is no group or dataset lost/x");
    OK(h5file_attr_names(file, "/", &texts, &count));
    assert_int_equal(count, 5);
    assert_string_equal(texts[0], "kind");
    assert_string_equal(texts[3], "channel_mult");
    free(texts);
    OK(h5file_attr_show(file, "/", "channel_mult", shown, sizeof shown));
    assert_string_equal(shown, "1,2,3");
    OK(h5file_attr_show(file, "/", "dropout", shown, sizeof shown));
    assert_string_equal(shown, "0.1");
    h5file_close(file);
}

static void test_order_of_names(void **state)
{
    (void)state;
    write_sample(path);
    H5File *file;
    char **names;
    int count;
    OK(h5file_open(path, &file));
    OK(h5file_list(file, "p", H5LIST_DATASETS, &names, &count));
    assert_int_equal(count, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(names[i], order[i] + 2);
    free(names);
    OK(h5file_list(file, "/", H5LIST_DATASETS | H5LIST_RECURSE, &names, &count));
    assert_int_equal(count, 9);
    assert_string_equal(names[0], order[0]);
    assert_string_equal(names[8], "no_texts");
    free(names);
    OK(h5file_list(file, "/", H5LIST_GROUPS, &names, &count));
    assert_int_equal(count, 2);
    assert_string_equal(names[1], "i");
    free(names);
    FAILS(h5file_list(file, "q", H5LIST_GROUPS, &names, &count), STATUS_BAD_INPUT, "there is no group q");
    assert_true(h5file_has_dataset(file, "p/a") && !h5file_has_dataset(file, "p") && !h5file_has_dataset(file, "p/a/b"));
    assert_true(h5file_has_group(file, "/") && h5file_has_group(file, "p") && !h5file_has_group(file, "p/a"));
    h5file_close(file);
}

static void test_rows(void **state)
{
    (void)state;
    H5File *file;
    uint8_t row[12], rows[48];
    OK(h5file_create(path, &file));
    OK(h5file_create_rows(file, "images", H5KIND_U8, 3, (int64_t[]){100, 4, 3}, 8, 4));
    OK(h5file_create_rows(file, "plain", H5KIND_F16, 2, (int64_t[]){3, 2}, 0, 0));
    for (int i = 0; i < 100; i++) {
        memset(row, i, sizeof row);
        if (i != 50) OK(h5file_write_rows(file, "images", i, 1, 12, row));
    }
    OK(h5file_write_rows(file, "plain", 1, 2, 2, (float[]){1, 2, 3, 4}));
    FAILS(h5file_write_rows(file, "images", 99, 2, 12, rows), STATUS_BAD_INPUT, "has 100 rows, rows 99 to 100 were asked");
    FAILS(h5file_write_rows(file, "images", 0, 1, 11, rows), STATUS_BAD_INPUT, "has 12 values, expected 11");
    OK(h5file_commit(file));
    OK(h5file_open(path, &file));
    OK(h5file_read_rows(file, "images", H5KIND_U8, 48, 4, 12, rows));
    assert_true(rows[0] == 48 && rows[12] == 49 && rows[24] == 0 && rows[47] == 51);
    float plain[4];
    OK(h5file_read_rows(file, "plain", H5KIND_F32, 0, 2, 2, plain));
    assert_true(plain[0] == 0 && plain[2] == 1 && plain[3] == 2);
    FAILS(h5file_read_rows(file, "images", H5KIND_U8, -1, 1, 12, rows), STATUS_BAD_INPUT, "rows -1 to -1");
    h5file_close(file);
}

static void test_reference_file(void **state)
{
    (void)state;
    H5File *file;
    char **names, *text;
    int count;
    OK(h5file_open("tests/fixtures/pt_formats.h5", &file));
    OK(h5file_attr_text(file, "/", "files", &text)); /* fixed-length bytes */
    assert_string_equal(text, "pt_zip.pt pt_legacy.pt pt_nested.pt");
    free(text);
    OK(h5file_list(file, "tensors", H5LIST_DATASETS, &names, &count));
    assert_int_equal(count, 17);
    free(names);
    h5file_close(file);
}

/* --- files that are not what they should be --- */

static void test_bad_files(void **state)
{
    (void)state;
    H5File *file;
    FAILS(h5file_open("/nowhere/x.h5", &file), STATUS_BAD_INPUT, "/nowhere/x.h5: No such file");
    FAILS(h5file_open("tests", &file), STATUS_BAD_INPUT, "not a regular file");
    FAILS(h5file_open("tests/test_h5file.c", &file), STATUS_BAD_INPUT, "not an HDF5 file");
    assert_null(file);
    FAILS(h5file_create("/nowhere/x.h5", &file), STATUS_IO, "/nowhere/x.h5: cannot write: No such file");
    FAILS(h5file_create("tests/test_h5file.c/x.h5", &file), STATUS_IO, "cannot write: Not a directory");
    FAILS(h5file_create("/dev/full", &file), STATUS_BAD_INPUT, "not a regular file");
}

static void test_truncation(void **state)
{
    (void)state;
    write_sample(path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (long size = (long)st.st_size - 1; size >= 0; size -= 61) {
        H5File *file;
        assert_int_equal(truncate(path, size), 0);
        FAILS(h5file_open(path, &file), STATUS_BAD_INPUT, size > 100 ? "truncated: only" : path);
    }
}

static void test_writer_errors(void **state)
{
    (void)state;
    H5File *file, *second;
    OK(h5file_create(path, &file));
    FAILS(h5file_create(path, &second), STATUS_IO, "another process is writing");
    OK(h5file_write(file, "a", H5KIND_U8, 1, (int64_t[]){1}, (uint8_t[]){1}));
    FAILS(h5file_write(file, "a", H5KIND_U8, 1, (int64_t[]){1}, (uint8_t[]){1}), STATUS_BAD_INPUT, "a would be written twice");
    FAILS(h5file_write(file, "a/b", H5KIND_U8, 1, (int64_t[]){1}, (uint8_t[]){1}), STATUS_IO, "cannot make group a");
    FAILS(h5file_write(file, "h", H5KIND_F16, 1, (int64_t[]){2}, (float[]){1, 70000}), STATUS_BAD_INPUT, "h: 70000 is too large");
    h5file_close(file);
    OK(h5file_create(path, &file)); /* the lock is free again */
    h5file_close(file);
    h5file_close(NULL);
}

/* An abandoned or failed file leaves the older one as it was, and nothing else. */
static void test_old_file_survives(void **state)
{
    (void)state;
    write_sample(path);
    H5File *file;
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    OK(h5file_create(path, &file));
    OK(h5file_write(file, "a", H5KIND_U8, 1, (int64_t[]){1}, (uint8_t[]){1}));
    h5file_close(file);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_size == after.st_size);
    OK(h5file_open(path, &file));
    h5file_close(file);
    char link_path[80];
    snprintf(link_path, sizeof link_path, "%s/link", test_folder);
    assert_int_equal(symlink("a.h5", link_path), 0);
    write_sample(link_path); /* a link stays a link */
    assert_int_equal(lstat(link_path, &after), 0);
    assert_true(S_ISLNK(after.st_mode));
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    unlink(link_path);
}

/* Write about 80 KB and say how it ended; `limit` is put on the size of files meanwhile (0: none). */
static Status write_until_full(rlim_t limit)
{
    float values[5000] = {0};
    char name[32];
    struct rlimit full = {limit, RLIM_INFINITY}, free_again = {RLIM_INFINITY, RLIM_INFINITY};
    H5File *file;
    TRY(h5file_create(path, &file));
    if (limit) setrlimit(RLIMIT_FSIZE, &full);
    Status status = STATUS_OK;
    for (int i = 0; i < 60 && status == STATUS_OK; i++) {
        snprintf(name, sizeof name, "params/layer.%d", i);
        status = h5file_write(file, name, H5KIND_F32, 1, (int64_t[]){i < 58 ? 40 : 5000}, values);
    }
    if (limit) setrlimit(RLIMIT_FSIZE, &free_again);
    if (status == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return status;
}

/* The write that hits the limit differs from limit to limit. */
static void test_size_limit(void **state)
{
    (void)state;
    unlink(path);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 100; limit < 50000; limit += 1717) {
        Status status = write_until_full(limit);
        if (status != STATUS_IO) fail_msg("status %d with a limit of %d", (int)status, (int)limit);
        if (!strstr(status_message(), "File too large")) fail_msg("%s", status_message());
        assert_int_equal(access(path, F_OK), -1);
    }
    write_sample(path); /* HDF5 still works */
    unlink(path);
}

/* In a child: a full file system of `size`. 77: the system lets us mount nothing. */
static int full_disk_child(const char *size)
{
    char options[32];
    snprintf(options, sizeof options, "size=%s", size);
    bool apart = geteuid() == 0 ? unshare(CLONE_NEWNS) == 0 : unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    if (!apart || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", test_folder, "tmpfs", 0, options) != 0)
        return 77;
    Status status = write_until_full(0);
    if (atoi(size) > 200) return status == STATUS_OK ? 0 : 1;
    if (status != STATUS_IO || !strstr(status_message(), "No space left on device")) return 2;
    if (access(path, F_OK) == 0) return 3;
    DIR *left = opendir(test_folder);
    for (struct dirent *entry; left && (entry = readdir(left));)
        if (entry->d_name[0] != '.') return 4;
    return 0;
}

static void test_full_disk(void **state)
{
    (void)state;
    const char *const sizes[] = {"400k", "4k", "8k", "12k", "20k", "32k", "40k", "48k", "52k", "56k", "60k", "64k", "68k"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) exit(full_disk_child(sizes[i])); /* exit: HDF5 closes what it thinks is open */
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        if (WIFEXITED(result) && WEXITSTATUS(result) == 77) skip();
        if (result != 0) fail_msg("size %s: wait status %x", sizes[i], (unsigned)result);
    }
}

/* --- damaged files --- */

/* In a child, for HDF5 itself could crash: look at everything that a file claims to have. */
static int look_at_everything(void)
{
    H5File *file;
    char **names, **more, text[80];
    int count, more_count;
    float *values;
    if (h5file_open(path, &file) != STATUS_OK) return 0;
    if (h5file_list(file, "/", H5LIST_DATASETS | H5LIST_GROUPS | H5LIST_RECURSE, &names, &count) != STATUS_OK) count = 0;
    for (int i = 0; i <= count; i++) {
        const char *name = i < count ? names[i] : "/";
        if (h5file_load_f32(file, name, &values, NULL) == STATUS_OK) free(values);
        if (h5file_load_texts(file, name, &more, &more_count) == STATUS_OK) free(more);
        if (h5file_attr_names(file, name, &more, &more_count) != STATUS_OK) continue;
        for (int j = 0; j < more_count; j++) (void)h5file_attr_show(file, name, more[j], text, sizeof text);
        free(more);
    }
    free(names);
    h5file_close(file);
    return 0;
}

static void test_damaged_files(void **state)
{
    (void)state;
    const RngKey key = {.seed = 3, .stream = RNG_TEST};
    static uint8_t bytes[1 << 16], copy[1 << 16];
    write_sample(path);
    FILE *stream = fopen(path, "rb");
    size_t size = fread(bytes, 1, sizeof bytes, stream);
    fclose(stream);
    for (uint32_t round = 0, thrown = 0; round < 400; round++) {
        memcpy(copy, bytes, size);
        for (uint32_t i = 0; i < 1 + round % 4; i++, thrown += 2)
            copy[rng_below(&key, thrown, (uint32_t)size)] = (uint8_t)rng_below(&key, thrown + 1, 256);
        unlink(path);
        stream = fopen(path, "wb");
        assert_int_equal(fwrite(copy, 1, size, stream), size);
        fclose(stream);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            _exit(look_at_everything());
        }
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        if (result != 0) fail_msg("round %u: wait status %x", round, (unsigned)result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float16),      cmocka_unit_test(test_datasets),
        cmocka_unit_test(test_many_texts),
        cmocka_unit_test(test_texts_and_attributes), cmocka_unit_test(test_order_of_names),
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_reference_file),
        cmocka_unit_test(test_bad_files),    cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_writer_errors), cmocka_unit_test(test_old_file_survives),
        cmocka_unit_test(test_size_limit),   cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
