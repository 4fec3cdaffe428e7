/* Pictures: conversion, resizing, contact sheets, and PNG files that appear whole or not at all. */
#include "common/file_write.h"
#include "common/image.h"
#include "common/image_read.h"
#include "common/png_write.h"
#include "common/rng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static Image random_image(int w, int h, uint32_t number)
{
    Image image;
    assert_int_equal(image_init(w, h, &image), STATUS_OK);
    RngKey key = {.seed = 1, .stream = RNG_TEST, .image = number};
    for (size_t i = 0; i < image_bytes(&image); i++) {
        uint32_t bits[4];
        rng_bits(&key, (uint32_t)i, bits);
        image.pixels[i] = (uint8_t)bits[0];
    }
    return image;
}

static Image smooth_image(int w, int h)
{
    Image image;
    assert_int_equal(image_init(w, h, &image), STATUS_OK);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++)
                image.pixels[(y * w + x) * 3 + c] = (uint8_t)(128 + 100 * sin(x * 0.05 + c) * cos(y * 0.03));
    return image;
}

static void assert_same(const Image *a, const Image *b)
{
    assert_int_equal(a->w, b->w);
    assert_int_equal(a->h, b->h);
    assert_memory_equal(a->pixels, b->pixels, image_bytes(a));
}

static void test_limits(void **state)
{
    (void)state;
    static const int sizes[][2] = {{0, 1}, {1, 0}, {-1, 5}, {65501, 1}, {65500, 65500}, {46341, 46341}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Image image;
        assert_int_equal(image_init(sizes[i][0], sizes[i][1], &image), STATUS_BAD_INPUT);
        assert_null(image.pixels);
    }
    Image empty = {0};
    image_release(&empty);
}

static void test_f32(void **state)
{
    (void)state;
    /* exact halves: k + 0.5 codes are (2k+1)/255 - 1; 0.5 -> 0, 1.5 -> 2, 126.5 -> 126, 127.5 -> 128 */
    float x[12] = {-1, 0, 1, 2, -7, NAN, INFINITY, -INFINITY, 126.5f / 127.5f - 1, -1 + 0.4f / 127.5f,
                   -1 + 0.6f / 127.5f, 254.6f / 127.5f - 1};
    uint8_t expected[12] = {0, 128, 255, 255, 0, 0, 255, 0, 126, 0, 1, 255};
    Image image;
    assert_int_equal(image_from_f32(x, 2, 2, &image), STATUS_OK);
    assert_memory_equal(image.pixels, expected, 12);
    image_release(&image);

    assert_int_equal(image_init(256, 1, &image), STATUS_OK);
    for (int i = 0; i < 768; i++) image.pixels[i] = (uint8_t)(i / 3);
    float back[768];
    image_to_f32(&image, back);
    assert_true(back[0] == -1 && back[767] == 1);
    Image again;
    assert_int_equal(image_from_f32(back, 256, 1, &again), STATUS_OK);
    assert_same(&image, &again);
    image_release(&image);
    image_release(&again);
}

/* What resizing means, in double and without tables. */
static double resized_value(const Image *in, int c, double sx, double sy, int x, int y)
{
    double sum = 0;
    for (int j = 0; j < in->h; j++)
        for (int i = 0; i < in->w; i++) {
            double wx, wy;
            if (sx > 1) wx = fmax(0, fmin((x + 1) * sx, i + 1) - fmax(x * sx, i)) / sx;
            else wx = fmax(0, 1 - fabs(fmin(fmax((x + 0.5) * sx - 0.5, 0), in->w - 1) - i));
            if (sy > 1) wy = fmax(0, fmin((y + 1) * sy, j + 1) - fmax(y * sy, j)) / sy;
            else wy = fmax(0, 1 - fabs(fmin(fmax((y + 0.5) * sy - 0.5, 0), in->h - 1) - j));
            sum += wx * wy * in->pixels[(j * in->w + i) * 3 + c];
        }
    return sum;
}

static void test_resize_against_definition(void **state)
{
    (void)state;
    static const int sizes[][4] = {{17, 13, 5, 4},  {5, 7, 16, 9},  {9, 30, 20, 7}, {1, 1, 3, 2},
                                   {31, 1, 1, 5},   {12, 12, 6, 4}, {6, 6, 6, 6},   {3, 3, 2, 2},
                                   {16, 16, 64, 64}};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        const int *s = sizes[n];
        Image in = random_image(s[0], s[1], (uint32_t)n), out;
        assert_int_equal(image_resize(&in, s[2], s[3], &out), STATUS_OK);
        double worst = 0;
        for (int y = 0; y < s[3]; y++)
            for (int x = 0; x < s[2]; x++)
                for (int c = 0; c < 3; c++) {
                    double exact = resized_value(&in, c, (double)s[0] / s[2], (double)s[1] / s[3], x, y);
                    worst = fmax(worst, fabs(exact - out.pixels[(y * s[2] + x) * 3 + c]));
                }
        assert_true(worst <= 0.5001);
        image_release(&in);
        image_release(&out);
    }
}

static void test_resize_known(void **state)
{
    (void)state;
    Image in, out;
    assert_int_equal(image_init(2, 1, &in), STATUS_OK);
    memset(in.pixels + 3, 100, 3);
    assert_int_equal(image_resize(&in, 4, 1, &out), STATUS_OK); /* interpolate(mode="bilinear") gives 0 25 75 100 */
    static const uint8_t expected[] = {0, 0, 0, 25, 25, 25, 75, 75, 75, 100, 100, 100};
    assert_memory_equal(out.pixels, expected, sizeof expected);
    image_release(&out);
    assert_int_equal(image_resize(&in, 0, 1, &out), STATUS_BAD_INPUT);
    assert_null(out.pixels);
    image_release(&in);
}

static void test_block_mean(void **state)
{
    (void)state;
    Image in = random_image(64, 48, 7), mean, area;
    assert_int_equal(image_block_mean(&in, 4, &mean), STATUS_OK);
    assert_int_equal(image_resize(&in, 16, 12, &area), STATUS_OK); /* sixteenths are exact in f32: same bytes */
    assert_same(&mean, &area);
    for (int i = 0; i < 16 * 12 * 3; i++) {
        int x = i / 3 % 16, y = i / 48, sum = 0;
        for (int k = 0; k < 16; k++) sum += in.pixels[((y * 4 + k / 4) * 64 + x * 4 + k % 4) * 3 + i % 3];
        assert_int_equal(mean.pixels[i], (int)nearbyint(sum / 16.0));
    }
    image_release(&mean);
    image_release(&area);
    assert_int_equal(image_block_mean(&in, 5, &mean), STATUS_BAD_INPUT);
    assert_int_equal(image_block_mean(&in, 0, &mean), STATUS_BAD_INPUT);
    image_release(&in);
}

static void test_contact_sheet(void **state)
{
    (void)state;
    Image images[5];
    for (int i = 0; i < 5; i++) images[i] = random_image(i == 2 ? 4 : 8, 6, (uint32_t)i);
    ContactSheet sheet = contact_sheet_defaults();
    sheet.gap = 2;
    Image out;
    assert_int_equal(image_contact_sheet(images, 5, &sheet, &out), STATUS_OK);
    assert_int_equal(out.w, 3 * 10 + 2); /* 3 columns, 2 rows */
    assert_int_equal(out.h, 2 * 8 + 2);
    size_t covered = 0;
    for (int i = 0; i < 5; i++) {
        int x0 = 2 + i % 3 * 10 + (i == 2 ? 2 : 0), y0 = 2 + i / 3 * 8;
        for (int y = 0; y < 6; y++)
            assert_memory_equal(out.pixels + ((y0 + y) * out.w + x0) * 3, images[i].pixels + y * images[i].w * 3,
                                (size_t)images[i].w * 3);
        covered += image_bytes(&images[i]);
    }
    long long sum_out = 0, sum_in = 0;
    for (size_t i = 0; i < image_bytes(&out); i++) sum_out += out.pixels[i];
    for (int i = 0; i < 5; i++)
        for (size_t k = 0; k < image_bytes(&images[i]); k++) sum_in += images[i].pixels[k];
    assert_int_equal(sum_out - sum_in, (long long)(image_bytes(&out) - covered) * 255); /* the rest is white */
    image_release(&out);
    sheet.columns = 1;
    assert_int_equal(image_contact_sheet(images, 5, &sheet, &out), STATUS_OK);
    assert_int_equal(out.w, 12);
    image_release(&out);
    assert_int_equal(image_contact_sheet(images, 0, &sheet, &out), STATUS_BAD_INPUT);
    for (int i = 0; i < 5; i++) image_release(&images[i]);
}

/* --- PNG --- */
static void test_png_round_trip(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {3, 2}, {1, 300}, {64, 64}, {257, 33}};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
        for (int smooth = 0; smooth < 2; smooth++) {
            Image in = smooth ? smooth_image(sizes[n][0], sizes[n][1]) : random_image(sizes[n][0], sizes[n][1], 3);
            Image out;
            unsigned char *bytes, *twice;
            size_t size, size_twice;
            assert_int_equal(png_encode(&in, NULL, 0, &bytes, &size), STATUS_OK);
            assert_int_equal(png_encode(&in, NULL, 0, &twice, &size_twice), STATUS_OK);
            assert_int_equal(size, size_twice);
            assert_memory_equal(bytes, twice, size);
            assert_int_equal(image_decode("memory", bytes, size, &out), STATUS_OK);
            assert_same(&in, &out);
            free(bytes);
            free(twice);
            image_release(&in);
            image_release(&out);
        }
}

typedef struct Folder {
    char path[64];
} Folder;

static int make_folder(void **state)
{
    static Folder folder;
    strcpy(folder.path, "/tmp/glide-test-XXXXXX");
    *state = &folder;
    return mkdtemp(folder.path) ? 0 : -1;
}

static int count_files(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int count = 0;
    for (struct dirent *e; (e = readdir(dir));) count += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(dir);
    return count;
}

static int remove_folder(void **state)
{
    Folder *folder = *state;
    DIR *dir = opendir(folder->path);
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    return rmdir(folder->path);
}

static const char *in_folder(Folder *folder, const char *name, char text[128])
{
    snprintf(text, 128, "%s/%s", folder->path, name);
    return text;
}

static void test_png_texts(void **state)
{
    char path[128];
    in_folder(*state, "a.png", path);
    const PngText texts[] = {{"prompt", "red apple, \"fluent 3d\" <emoji> & 100%"},
                             {"Title", "caf\xc3\xa9 \xc2\xb5"},
                             {"prompt ko", "\xeb\xb9\xa8\xea\xb0\x84 \xec\x82\xac\xea\xb3\xbc \xf0\x9f\x8d\x8e"},
                             {"broken", "a\xff" "b\xe2\x82"},
                             {"empty", ""},
                             {"two lines", "one\ntwo"},
                             {"tab", "one\ttwo"}};
    enum { COUNT = sizeof texts / sizeof *texts };
    Image image = smooth_image(20, 10);
    assert_int_equal(png_write(path, &image, texts, COUNT), STATUS_OK);
    PngTexts found;
    assert_int_equal(png_read_text(path, &found), STATUS_OK);
    assert_int_equal(found.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_string_equal(found.keys[i], texts[i].key);
        if (i != 3) assert_string_equal(found.values[i], texts[i].value);
    }
    assert_string_equal(found.values[3], "a\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(png_texts_find(&found, "two lines"), "one\ntwo");
    assert_null(png_texts_find(&found, "none"));
    png_texts_release(&found);
    Image again;
    assert_int_equal(image_read(path, &again), STATUS_OK);
    assert_same(&image, &again);
    image_release(&again);

    unsigned char *bytes;
    size_t size;
    assert_int_equal(png_encode(&image, texts, COUNT, &bytes, &size), STATUS_OK);
    assert_memory_equal(bytes + 37, "tEXtprompt", 11); /* right after IHDR; ASCII is tEXt, Korean iTXt */
    assert_non_null(memmem(bytes, size, "tEXtTitle\0caf\xe9", 14));
    assert_non_null(memmem(bytes, size, "iTXtprompt ko\0\0\0\0\0\xeb", 19));
    free(bytes);
    image_release(&image);
}

static void test_replaces_whole_files(void **state)
{
    char path[128], link[128];
    in_folder(*state, "a.bin", path);
    in_folder(*state, "link", link);
    assert_int_equal(file_check_writable(path), STATUS_OK);
    assert_int_equal(file_write(path, "old", 3), STATUS_OK);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink("a.bin", link), 0);
    assert_int_equal(file_write(link, "newer", 5), STATUS_OK);
    struct stat s;
    assert_int_equal(lstat(link, &s), 0);
    assert_true(S_ISLNK(s.st_mode));
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, 5);
    assert_int_equal(s.st_mode & 0777, 0640);
    assert_int_equal(count_files(((Folder *)*state)->path), 2);
}

static void test_full_disk(void **state)
{
    char path[128];
    in_folder(*state, "a.bin", path);
    assert_int_equal(file_write(path, "old", 3), STATUS_OK);
    static char large[100000];
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096; /* stands for a disk that fills up in the middle */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    Status status = file_write(path, large, sizeof large);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(status_message(), path));
    assert_int_equal(count_files(((Folder *)*state)->path), 1);
    FILE *f = fopen(path, "rb");
    char text[8] = "";
    assert_non_null(f);
    assert_int_equal(fread(text, 1, 8, f), 3);
    fclose(f);
    assert_string_equal(text, "old");

    assert_int_equal(file_write("/dev/full", "x", 1), STATUS_IO);
    assert_string_equal(status_message(), "/dev/full: cannot be written: No space left on device");
    assert_int_equal(file_write("/dev/null", "x", 1), STATUS_OK);
    struct stat s;
    assert_int_equal(stat("/dev/null", &s), 0);
    assert_true(S_ISCHR(s.st_mode));
}

static void test_unwritable(void **state)
{
    Folder *folder = *state;
    char path[128], expected[300];
    in_folder(folder, "none/a.png", path);
    const char *bad[] = {path, folder->path, "", "/proc/glide.png", "/dev/null/a.png"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (strncmp(bad[i], "/proc/", 6)) assert_int_equal(file_check_writable(bad[i]), STATUS_IO); /* root may */
        assert_int_equal(file_write(bad[i], "x", 1), STATUS_IO);
        snprintf(expected, sizeof expected, "%s: cannot be written: ", bad[i]);
        assert_memory_equal(status_message(), expected, strlen(expected));
    }
    char long_name[400];
    memset(long_name, 'a', sizeof long_name);
    long_name[399] = 0;
    assert_int_equal(file_write(long_name, "x", 1), STATUS_IO);
    in_folder(folder, "end/", path);
    assert_int_equal(file_write(path, "x", 1), STATUS_IO);
    assert_int_equal(count_files(folder->path), 0);

    char name[256]; /* the longest a folder takes: the temporary name must still fit */
    memset(name, 'b', 255);
    name[255] = 0;
    char *longest = malloc(400);
    assert_non_null(longest);
    snprintf(longest, 400, "%s/%s", folder->path, name);
    assert_int_equal(file_write(longest, "x", 1), STATUS_OK);
    free(longest);
}

static void test_standard_output(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDOUT_FILENO);
    fflush(stdout);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDOUT_FILENO);
    Status dash = file_write("-", "ab", 2), device = file_write("/dev/stdout", "cd", 2);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(ends[1]);
    char text[8] = "";
    assert_int_equal(read(ends[0], text, 4), 4);
    close(ends[0]);
    assert_int_equal(dash, STATUS_OK);
    assert_int_equal(device, STATUS_OK);
    assert_string_equal(text, "abcd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_resize_against_definition),
        cmocka_unit_test(test_resize_known),
        cmocka_unit_test(test_block_mean),
        cmocka_unit_test(test_contact_sheet),
        cmocka_unit_test(test_png_round_trip),
        cmocka_unit_test_setup_teardown(test_png_texts, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_replaces_whole_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_full_disk, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_unwritable, make_folder, remove_folder),
        cmocka_unit_test(test_standard_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
