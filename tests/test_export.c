/* State dicts written for PyTorch: read back to the bit, laid out as torch.save() does it, whole or not there at all. That
 * PyTorch itself takes them was tried by hand with 1.13. */
#include "common/pickle.h"
#include "common/pickle_write.h"
#include "common/pt_writer.h"
#include "common/rng.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"
#include "tests/support_status.h"
#include "text_transformer/text_unet_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[128];

static int setup(void **state)
{
    int result = cli_setup(state);
    strcpy(path, in_test_folder("x.pt"));
    return result;
}

/* --- the writer --- */

static const int64_t dims[][5] = {{3, 4}, {0}, {2, 3, 1, 2, 2}, {5, 0, 2}, {70000}, {1}};
static const NamedShape shapes[] = {{"a.weight", 2, dims[0]}, {"scalar", 0, dims[1]}, {"five", 5, dims[2]},
                                    {"empty", 3, dims[3]},    {"many", 1, dims[4]},   {"\xc3\xa9", 1, dims[5]}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int64_t size_of(const NamedShape *s)
{
    int64_t size = 1;
    for (int i = 0; i < s->ndim; i++) size *= s->dims[i];
    return size;
}

typedef struct Source {
    int asked, last, fail_at;
    float poison; /* put into the last value of "many" unless 0 */
    int64_t done;
    bool stop;
} Source;

static Status make_values(void *ctx, int index, float *values)
{
    Source *s = ctx;
    int64_t size = size_of(&shapes[index]);
    s->asked++;
    s->last = index;
    if (s->fail_at > 0 && index == s->fail_at) return status_fail(STATUS_BAD_INPUT, "source.h5: no more");
    rng_normal(&(RngKey){.seed = 3, .stream = RNG_TEST, .image = (uint32_t)index}, values, size);
    if (s->poison != 0 && index == 4) values[size - 1] = s->poison;
    return STATUS_OK;
}

static void note_progress(void *ctx, int64_t done)
{
    ((Source *)ctx)->done = done;
}

static void check_written(PtDType dtype)
{
    StateDict *dict;
    OK(state_dict_open(path, NULL, &dict));
    assert_int_equal(dict->count, SHAPES);
    for (int i = 0; i < SHAPES; i++) {
        const StateTensor *t = &dict->items[i];
        assert_string_equal(t->name, shapes[i].name);
        assert_int_equal(t->dtype, dtype);
        assert_int_equal(t->ndim, shapes[i].ndim);
        assert_int_equal(t->size, size_of(&shapes[i]));
        for (int j = 0; j < t->ndim; j++) assert_int_equal(t->dims[j], shapes[i].dims[j]);
        float *expected = malloc(4 * (size_t)t->size + 4), *found = malloc(4 * (size_t)t->size + 4);
        OK(make_values(&(Source){0}, i, expected));
        OK(state_dict_read_f32(dict, t, found));
        for (int64_t j = 0; j < t->size; j++)
            if (dtype == PT_F16 ? fabsf(found[j] - expected[j]) > fabsf(expected[j]) / 2048 + 1e-7f : found[j] != expected[j])
                fail_msg("%s: value %lld is %g, expected %g", t->name, (long long)j, found[j], expected[j]);
        free(expected);
        free(found);
    }
    state_dict_close(dict);
}

static uint32_t number(const uint8_t *bytes, int size)
{
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

/* Every entry stored, named x/..., its contents at a multiple of 64 bytes. */
static void check_layout(void)
{
    int entries = 0;
    size_t at = 0, size;
    uint8_t *bytes = read_bytes(path, &size);
    while (number(bytes + at, 4) == 0x04034b50) {
        uint32_t name = number(bytes + at + 26, 2), extra = number(bytes + at + 28, 2);
        assert_int_equal(number(bytes + at + 8, 2), 0);      /* stored */
        assert_int_equal(number(bytes + at + 10, 4), 0x21 << 16); /* 1980-01-01: the same bytes every time */
        assert_memory_equal(bytes + at + 30, "x/", 2);
        assert_int_equal((at + 30 + name + extra) % 64, 0);
        at += 30 + name + extra + number(bytes + at + 18, 4);
        entries++;
    }
    assert_int_equal(number(bytes + at, 4), 0x02014b50); /* the central directory */
    assert_int_equal(entries, SHAPES + 2);
    free(bytes);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        Source s = {0};
        const PtWriteOptions o = {.dtype = half ? PT_F16 : PT_F32, .read = make_values, .progress = note_progress, .ctx = &s};
        OK(pt_write(path, shapes, SHAPES, &o));
        assert_int_equal(s.asked, SHAPES);
        assert_int_equal(s.last, SHAPES - 1);
        assert_int_equal(s.done, 12 + 1 + 24 + 0 + 70000 + 1);
        check_written(o.dtype);
        check_layout();
    }
}

static bool stop_now(void)
{
    return true;
}

static void test_failures(void **state)
{
    (void)state;
    Source s = {.fail_at = 4};
    PtWriteOptions o = {.dtype = PT_F32, .read = make_values, .ctx = &s};
    unlink(path);
    int before = test_folder_count();
    FAILS(pt_write(path, shapes, SHAPES, &o), STATUS_BAD_INPUT, "source.h5: no more");
    s = (Source){.poison = NAN};
    FAILS(pt_write(path, shapes, SHAPES, &o), STATUS_BAD_INPUT, "x.pt: many holds 1 value(s) that are not finite");
    s = (Source){.poison = 70000};
    o.dtype = PT_F16;
    FAILS(pt_write(path, shapes, SHAPES, &o), STATUS_BAD_INPUT, "x.pt: many: 70000 is too large for half precision");
    o.stop = stop_now;
    FAILS(pt_write(path, shapes, SHAPES, &o), STATUS_INTERRUPTED, "x.pt was not written");
    o = (PtWriteOptions){.dtype = PT_F32, .read = make_values, .ctx = &s};
    FAILS(pt_write("/nowhere/x.pt", shapes, SHAPES, &o), STATUS_IO, "/nowhere/x.pt: cannot be written: ");
    FAILS(pt_write(test_folder, shapes, SHAPES, &o), STATUS_BAD_INPUT, "not a regular file");
    FAILS(pt_write("/dev/null", shapes, SHAPES, &o), STATUS_BAD_INPUT, "not a regular file");
    assert_int_equal(test_folder_count(), before);
}

/* An older file stays as it was when writing fails, and a link to it stays a link when it does not. */
static void test_replacing(void **state)
{
    (void)state;
    struct stat st;
    const char *link = in_test_folder("link.pt");
    Source s = {0};
    PtWriteOptions o = {.dtype = PT_F32, .read = make_values, .ctx = &s};
    OK(pt_write(path, shapes, SHAPES, &o));
    s.fail_at = 4;
    FAILS(pt_write(path, shapes, 5, &o), STATUS_BAD_INPUT, "no more");
    check_written(PT_F32);
    assert_int_equal(symlink("x.pt", link), 0);
    s.fail_at = 0;
    o.dtype = PT_F16;
    OK(pt_write(link, shapes, SHAPES, &o));
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    check_written(PT_F16);
    assert_int_equal(unlink(link), 0);
}

static void test_numbers(void **state)
{
    (void)state;
    static const int64_t values[] = {0, 255, 256, 65535, 65536, INT32_MAX, (int64_t)INT32_MAX + 1, INT64_MAX, -1, INT32_MIN, INT64_MIN};
    PickleWriter w = {0};
    Pickle *pickle;
    enum { COUNT = sizeof values / sizeof *values };
    pickle_put(&w, "\x80\x02(");
    for (int i = 0; i < COUNT; i++) pickle_put_int(&w, values[i]);
    pickle_put_text(&w, "");
    pickle_put(&w, "t.");
    assert_false(w.failed);
    OK(pickle_read(w.bytes, w.size, &(PickleOptions){.max_bytes = 1 << 20}, &pickle, NULL));
    const PickleValue *root = pickle_root(pickle);
    assert_int_equal(root->count, COUNT + 1);
    for (int i = 0; i < COUNT; i++) assert_true(root->items[i]->type == PICKLE_INT && root->items[i]->whole == values[i]);
    assert_true(pickle_text_is(root->items[COUNT], ""));
    pickle_free(pickle);
    pickle_writer_release(&w);
}

/* --- the command --- */

static void test_command(void **state)
{
    (void)state;
    TextUNet *m = tiny_model(true, 5), *again;
    write_model(m, in_test_folder("u.h5")); /* in half precision */
    cli_expect("$G export $D/u.h5 -o $D/u.pt 2>&1", 0, " values, single precision\n");
    cli_expect("cd $D && $G export u.h5 -o v.pt -q && ! cmp -s u.pt v.pt && $G export u.h5 -o w/u.pt 2>&1", 2, "w/u.pt: cannot be written");
    cli_expect("$G import $D/u.pt -o $D/again.h5 --num-head-channels 32 --xf-heads 2 --image-size 64 2>&1", 0, "upsampler, ");
    uint64_t a, b;
    OK(text_unet_load(in_test_folder("u.h5"), NULL, &again, &a));
    text_unet_free(again);
    OK(text_unet_load(in_test_folder("again.h5"), "upsampler", &again, &b));
    assert_true(a == b);
    text_unet_free(again);
    text_unet_free(m);
    cli_expect("$G export $D/u.h5 -o $D/h.pt --half 2>&1", 0, "half precision\n");
    cli_expect("$G export $D/u.h5 2>&1", 2, "--output: expected a file");
    cli_expect("$G export $D/u.pt -o $D/x.pt 2>&1", 2, "u.pt: not an HDF5 file");
    cli_expect("$G export tests/fixtures/layers.h5 -o $D/x.pt 2>&1", 2, "layers.h5: not a file of weights");
    cli_expect("(trap '' XFSZ; ulimit -f 100; exec $G export $D/u.h5 -o $D/full.pt) 2>&1", 2, "full.pt: cannot be written: ");
    cli_expect("(trap '' XFSZ; ulimit -f 100; exec $G import $D/u.pt -o $D/full.h5 --num-head-channels 32 --xf-heads 2) 2>&1", 2,
               "full.h5: ");
    cli_expect("ls $D | grep -c full", 1, "0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_failures), cmocka_unit_test(test_replacing),
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_command),
    };
    return cmocka_run_group_tests(tests, setup, cli_teardown);
}
