/* Files that appear whole or not at all: their bytes are on the disk before their name is there, and a disk that refuses leaves
 * nothing behind. This program's own fsync() and rename() stand before the C library's and write down what was asked for. */
#include "common/file_write.h"
#include "common/pt_writer.h"
#include "common/weights.h"
#include "tests/support_folder.h"
#include "tests/support_status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char path[128];

static struct Disk {
    char events[64];                 /* "f": a file was flushed; "r": it was renamed; "d": its folder was flushed */
    ino_t flushed, renamed;          /* the last ones */
    int refuse_fsync, refuse_rename; /* errno */
} disk;

static void note_event(char event)
{
    size_t n = strlen(disk.events);
    assert_true(n + 1 < sizeof disk.events);
    disk.events[n] = event;
}

int fsync(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    note_event(S_ISDIR(st.st_mode) ? 'd' : 'f');
    if (!S_ISDIR(st.st_mode)) disk.flushed = st.st_ino;
    if (disk.refuse_fsync && !S_ISDIR(st.st_mode)) {
        errno = disk.refuse_fsync;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    struct stat st;
    if (stat(from, &st) == 0) disk.renamed = st.st_ino;
    note_event('r');
    if (disk.refuse_rename) {
        errno = disk.refuse_rename;
        return -1;
    }
    return (int)syscall(SYS_renameat2, -100, from, -100, to, 0u); /* AT_FDCWD */
}

/* --- the writers --- */

static Status write_plainly(void)
{
    return file_write(path, "bytes", 5);
}

static Status make_bytes(void *ctx, const char *name)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs("bytes", f);
    fclose(f);
    return ctx ? status_fail(STATUS_INTERRUPTED, "stopped") : STATUS_OK;
}

static Status write_by_name(void)
{
    return file_write_with(path, make_bytes, NULL);
}

static Status zeros(void *ctx, int index, float *values)
{
    (void)ctx;
    (void)index;
    memset(values, 0, 3 * sizeof *values);
    return STATUS_OK;
}

static Status write_pt(void)
{
    const NamedShape shape = {"x", 1, (int64_t[]){3}};
    return pt_write(path, &shape, 1, &(PtWriteOptions){.dtype = PT_F32, .read = zeros});
}

static Status write_h5(void)
{
    H5File *file;
    TRY(weights_create(path, "base", &file));
    Status s = h5file_write(file, "x", H5KIND_F32, 1, (int64_t[]){3}, (float[]){1, 2, 3});
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}

static Status (*const writers[])(void) = {write_plainly, write_by_name, write_pt, write_h5};
enum { WRITERS = sizeof writers / sizeof *writers };

/* --- tests --- */

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("x"));
    return 0;
}

static void check_old(void)
{
    size_t size;
    uint8_t *bytes = read_bytes(path, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "old", 3);
    free(bytes);
    assert_int_equal(test_folder_count(), 1);
}

static void test_order(void **state)
{
    (void)state;
    for (int i = 0; i < WRITERS; i++)
        for (int again = 0; again < 2; again++) {
            struct stat st;
            disk = (struct Disk){0};
            OK(writers[i]());
            const char *end = disk.events + strlen(disk.events) - 3;
            if (end < disk.events || strcmp(end, "frd")) fail_msg("writer %d: %s", i, disk.events);
            assert_int_equal(stat(path, &st), 0);
            assert_true(st.st_ino == disk.flushed && st.st_ino == disk.renamed && st.st_size > 0);
            assert_int_equal(test_folder_count(), 1);
        }
    unlink(path);
}

/* Whatever the disk refuses: one line with the file and the reason; an older file is as it was, and no other is there. */
static void test_refusals(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++)
        for (int i = 0; i < WRITERS; i++) {
            disk = (struct Disk){0};
            if (old) OK(file_write(path, "old", 3));
            disk.refuse_fsync = ENOSPC;
            FAILS(writers[i](), STATUS_IO, path);
            assert_non_null(strstr(status_message(), "No space left on device"));
            disk = (struct Disk){.refuse_rename = EDQUOT};
            FAILS(writers[i](), STATUS_IO, path);
            assert_non_null(strstr(status_message(), "quota"));
            if (old) check_old();
            else assert_int_equal(test_folder_count(), 0);
        }
    disk = (struct Disk){0};
    assert_int_equal(file_write_with(path, make_bytes, &disk), STATUS_INTERRUPTED);
    check_old();
    unlink(path);
}

/* Links stay links, permissions stay; what is not a regular file is refused. */
static void test_places(void **state)
{
    (void)state;
    char name[140];
    struct stat st;
    disk = (struct Disk){0};
    snprintf(name, sizeof name, "%s.real", path);
    OK(file_write(name, "old", 3));
    assert_int_equal(chmod(name, 0640), 0);
    assert_int_equal(symlink("x.real", path), 0);
    for (int i = 0; i < WRITERS; i++) {
        OK(writers[i]());
        assert_int_equal(lstat(path, &st), 0);
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(lstat(name, &st), 0);
        if (writers[i] != write_h5) assert_int_equal(st.st_mode & 07777, 0640);
        disk = (struct Disk){0};
    }
    FAILS(file_write_with(test_folder, make_bytes, NULL), STATUS_BAD_INPUT, "not a regular file");
    FAILS(file_write_with("/dev/null", make_bytes, NULL), STATUS_BAD_INPUT, "/dev/null: exists and is not a regular file");
    FAILS(file_write_with("/nowhere/x", make_bytes, NULL), STATUS_IO, "/nowhere/x: cannot be written: No such file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_refusals), cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, setup, test_folder_teardown);
}
