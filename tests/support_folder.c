#include "tests/support_folder.h"

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

char test_folder[64];

void make_test_folder(char folder[64])
{
    strcpy(folder, "/tmp/glide-test-XXXXXX");
    if (!mkdtemp(folder)) fail_msg("no folder below /tmp");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void remove_test_folder(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int test_folder_setup(void **state)
{
    (void)state;
    make_test_folder(test_folder);
    return 0;
}

int test_folder_teardown(void **state)
{
    (void)state;
    remove_test_folder(test_folder);
    return 0;
}

int test_folder_remove_with(const char *path)
{
    unlink(path);
    return rmdir(test_folder);
}

const char *in_test_folder(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    if (snprintf(path, sizeof paths[0], "%s/%s", test_folder, name) >= (int)sizeof paths[0]) fail_msg("name too long: %s", name);
    return path;
}

int test_folder_count(void)
{
    int count = -2; /* "." and ".." */
    DIR *dir = opendir(test_folder);
    assert_non_null(dir);
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

uint8_t *read_bytes(const char *path, size_t *size)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0 || st.st_size == 0) fail_msg("%s cannot be read", path);
    uint8_t *bytes = malloc((size_t)st.st_size);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)st.st_size, f);
    assert_int_equal(*size, st.st_size);
    fclose(f);
    return bytes;
}

void write_bytes(const char *path, const void *bytes, size_t size)
{
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}
