/* Files that appear whole or not at all: their bytes are on the disk before their name is there, and a disk that refuses leaves
 * nothing behind. This program's own fsync() and rename() stand before the C library's and write down what was asked for. */
#include "common/file_write.h"
#include "common/pt_writer.h"
#include "common/weights.h"
#include "tests/support_folder.h"
#include "tests/support_status.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char path[128];

static struct Disk {
    char events[64];                 /* "f": a file was flushed; "r": it was renamed, "k": to a new name; "d": its folder was flushed */
    ino_t flushed, renamed;          /* the last ones */
    int refuse_fsync, refuse_rename, refuse_keeping; /* errno */
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

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags)
{
    note_event('k');
    if (disk.refuse_keeping) {
        errno = disk.refuse_keeping;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
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

/* A file that must be new: by a file system's own word, and by a link where it has none for it (EINVAL, as NFS says). */
static void test_new(void **state)
{
    (void)state;
    char name[140];
    bool taken = true;
    for (int way = 0; way < 2; way++) {
        disk = (struct Disk){.refuse_keeping = way ? EINVAL : 0};
        OK(file_write_new(path, "old", 3, &taken));
        assert_false(taken);
        assert_string_equal(disk.events, "fkd");
        check_old();
        OK(file_write_new(path, "bytes", 5, &taken));
        assert_true(taken);
        check_old();
        unlink(path);
    }
    snprintf(name, sizeof name, "%s.link", path);
    assert_int_equal(symlink("nowhere", name), 0); /* what leads to nothing is a name as well */
    OK(file_write_new(name, "bytes", 5, &taken));
    assert_true(taken);
    unlink(name);
    disk = (struct Disk){.refuse_keeping = EDQUOT};
    FAILS(file_write_new(path, "bytes", 5, &taken), STATUS_IO, path);
    assert_int_equal(test_folder_count(), 0);
    FAILS(file_write_new("/nowhere/x", "bytes", 5, &taken), STATUS_IO, "/nowhere/x: cannot be written: No such file");
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

/* What a killed program left is swept away; files that are being written, and all that is only similar, stay. */
static void test_stale(void **state)
{
    (void)state;
    static const char *const similar[] = {".glide-1-0.tmp.png", ".glide-1.tmp",   ".glide--1.tmp", ".glide-1-.tmp",  ".glide-1-0.part",
                                          ".glide-a-0.tmp",     "xglide-1-0.tmp", "glide-1-0.tmp", ".glide-1-0.tmpx", "picture.png"};
    enum { SIMILAR = sizeof similar / sizeof *similar };
    char folder[64], name[128];
    make_test_folder(folder);
    for (int i = 0; i < SIMILAR; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, similar[i]);
        write_bytes(name, "x", 1);
    }
    snprintf(name, sizeof name, "%s/.glide-3-3.tmp", folder);
    assert_int_equal(symlink("picture.png", name), 0);
    snprintf(name, sizeof name, "%s/.glide-4-4.tmp", folder);
    assert_int_equal(mkdir(name, 0700), 0);
    snprintf(name, sizeof name, "%s/.glide-5-5.tmp", folder);
    assert_int_equal(mkfifo(name, 0600), 0);
    snprintf(name, sizeof name, "%s/.glide-1-1.tmp", folder);
    write_bytes(name, "half", 4);
    int writer = open(name, O_WRONLY | O_CLOEXEC);
    assert_int_equal(flock(writer, LOCK_EX), 0); /* as file_write() does, here or in another program */
    snprintf(name, sizeof name, "%s/.glide-%ld-0.tmp", folder, (long)getpid());
    write_bytes(name, "half", 4); /* of an older program that had this one's number */
    assert_int_equal(file_remove_stale(folder), 1);
    assert_int_not_equal(access(name, F_OK), 0);
    close(writer);
    assert_int_equal(file_remove_stale(folder), 1);
    for (int i = 0; i < SIMILAR; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, similar[i]);
        assert_int_equal(access(name, F_OK), 0);
    }
    assert_int_equal(file_remove_stale("/nowhere"), 0);
    remove_test_folder(folder);
}

/* One thread writes on and on while another sweeps: every file arrives. */
static void *sweep(void *folder)
{
    for (int i = 0; i < 2000; i++) (void)file_remove_stale(folder);
    return NULL;
}

static void test_sweep_meanwhile(void **state)
{
    (void)state;
    char folder[64], name[128];
    pthread_t sweeper;
    make_test_folder(folder);
    snprintf(name, sizeof name, "%s/x", folder);
    assert_int_equal(pthread_create(&sweeper, NULL, sweep, folder), 0);
    for (int i = 0; i < 200; i++) {
        disk = (struct Disk){0};
        OK(file_write(name, "bytes", 5));
    }
    pthread_join(sweeper, NULL);
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_refusals), cmocka_unit_test(test_new), cmocka_unit_test(test_places),
        cmocka_unit_test(test_stale), cmocka_unit_test(test_sweep_meanwhile)};
    return cmocka_run_group_tests(tests, setup, test_folder_teardown);
}
