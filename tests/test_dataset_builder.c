/* glide-dataset as a program: two made-up packages become a data set; whatever is wrong is one line and leaves no file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/h5file.h"
#include "common/image_read.h"
#include "common/png_write.h"
#include "data/dataset.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_builder.XXXXXX";
static char program[4096];
static char message[4096]; /* standard error of the last run */
static bool photos;        /* of photos.tsv, too */

#define HEADER        "style\tname\tcode\troot\ttone\tgroup\tsplit\ten\tko\ttags_en\ttags_ko\n"
#define ROW(id, icon) id "\t" icon "\t1F34E\t1F34E\t\tfood-drink\ttrain\tred apple\t빨간 사과\tfruit|ripe\t과일\n"

static const char sources[] = "# comment\n"
                              "flat\tflat style\t@x/flat\t1.0\t-\ticonify\t8\tMIT, somebody\n"
                              "photo\tphoto style\t@x/photo\t2.0\t-\twebp\t0\tCC0\n"
                              "camera\tphoto\tcamera\t3.0\t-\tphoto-deb\t0\tsee photos.tsv\n";

/* wide: 20x10, left half red, the other transparent; offset: a viewBox that starts at (100,100); empty: nothing. */
static const char icons[] =
    "{\"width\":10,\"height\":10,\"icons\":{"
    "\"wide\":{\"width\":20,\"body\":\"<path fill='#f00' d='M0 0h10v10H0z'/>\"},"
    "\"offset\":{\"left\":100,\"top\":100,\"body\":\"<path fill='currentColor' d='M100 100h10v5h-10z'/>\"},"
    "\"empty\":{\"body\":\"<path fill='#fff' d='M0 0h9v9z'/>\"},"
    "\"broken\":{\"body\":\"<path d='M0 0h9v9z'\"}}}";

/* 64x32, lossless: left half blue, right half half transparent blue. */
static const uint8_t webp[] = {0x52, 0x49, 0x46, 0x46, 0x26, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50,
                               0x56, 0x50, 0x38, 0x4c, 0x1a, 0x00, 0x00, 0x00, 0x2f, 0x3f, 0xc0, 0x07,
                               0x10, 0x0f, 0x10, 0x31, 0xff, 0xff, 0x03, 0x8c, 0x81, 0x58, 0x30, 0x99,
                               0xbf, 0x74, 0x08, 0xbd, 0x11, 0xfd, 0x8f, 0x2a, 0xf8, 0x06};

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static void write_lists(const char *manifest)
{
    write_file("manifest.tsv.gz", manifest, strlen(manifest));
    write_file("sources.tsv", sources, sizeof sources - 1);
    write_file("ATTRIBUTION.txt", "made up\n", 8);
}

static int setup(void **state)
{
    (void)state;
    static const char *const folders[] = {"", "/flat-1.0", "/photo-2.0", "/photo-2.0/assets", "/camera-3.0"};
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
    if (n < 0 || !mkdtemp(folder)) return -1;
    program[n] = 0;
    for (int up = 0; up < 2; up++) *strrchr(program, '/') = 0; /* BUILD/tests/test_x */
    strcat(program, "/glide-dataset");
    for (int i = 1; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s%s", folder, folders[i]);
        if (mkdir(path, 0777) != 0) return -1;
    }
    write_file("flat-1.0/icons.json", icons, sizeof icons - 1);
    write_file("photo-2.0/assets/blue.webp", webp, sizeof webp);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* Run the builder in the test's folder. Returns its exit status; its standard error goes to `message`. */
static int run(const char *const *more, bool interrupted)
{
    const char *arguments[16] = {program,  "--lists", ".",      "--cache", ".", "--no-fetch",
                                 "--quiet", "-o",     "out.h5", photos ? NULL : "--no-photos"};
    int count = photos ? 9 : 10, result, pipes[2];
    while (more && *more) arguments[count++] = *more++;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        if (chdir(folder) != 0) _exit(99);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        if (interrupted) { /* a blocked signal waits through exec: the first look finds it */
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGTERM);
            sigprocmask(SIG_BLOCK, &set, NULL);
            kill(getpid(), SIGTERM);
        }
        execv(program, (char *const *)arguments);
        _exit(98);
    }
    close(pipes[1]);
    size_t used = 0;
    for (ssize_t n; (n = read(pipes[0], message + used, sizeof message - 1 - used)) > 0;) used += (size_t)n;
    message[used] = 0;
    close(pipes[0]);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    return WEXITSTATUS(result);
}

/* That exit status, one line that says `part`, no output. */
static void run_fails(int status, const char *part, bool interrupted)
{
    char path[64];
    int found = run(NULL, interrupted);
    if (found != status || !strstr(message, part)) fail_msg("status %d, message '%s' lacks '%s'", found, message, part);
    assert_ptr_equal(strchr(message, '\n'), message + strlen(message) - 1);
    snprintf(path, sizeof path, "%s/out.h5", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/out.h5.part", folder);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void pixel_is(const uint8_t *rgb, int y, int x, int r, int g, int b)
{
    const uint8_t *p = rgb + (y * DATASET_SIDE + x) * 3;
    if (p[0] != r || p[1] != g || p[2] != b)
        fail_msg("pixel (%d,%d) is %d %d %d, expected %d %d %d", y, x, p[0], p[1], p[2], r, g, b);
}

static void test_builds(void **state)
{
    (void)state;
    write_lists(HEADER ROW("flat", "wide") ROW("flat", "offset") ROW("photo", "blue"));
    int status = run((const char *const[]){"--threads", "2", NULL}, false);
    if (status != 0) fail_msg("status %d: %s", status, message);
    assert_string_equal(message, "");
    Dataset *d;
    char path[64];
    snprintf(path, sizeof path, "%s/out.h5", folder);
    if (dataset_open(path, &d) != STATUS_OK) fail_msg("%s", status_message());
    assert_int_equal(dataset_count(d), 3);
    assert_string_equal(dataset_item(d, 1)->style, "flat style");
    assert_string_equal(dataset_item(d, 1)->label_ko, "빨간 사과");
    assert_string_equal(dataset_item(d, 2)->licence, "CC0");
    assert_string_equal(dataset_attribution(d), "made up\n");
    static uint8_t rgb[DATASET_BYTES];
    assert_int_equal(dataset_read(d, 0, rgb), STATUS_OK); /* 240x120 centred: x 8..247, y 68..187, left half red */
    pixel_is(rgb, 68, 8, 255, 0, 0);
    pixel_is(rgb, 187, 127, 255, 0, 0);
    pixel_is(rgb, 67, 60, 255, 255, 255);
    pixel_is(rgb, 188, 60, 255, 255, 255);
    pixel_is(rgb, 128, 7, 255, 255, 255);
    pixel_is(rgb, 128, 128, 255, 255, 255);
    assert_int_equal(dataset_read(d, 1, rgb), STATUS_OK); /* upper half black */
    pixel_is(rgb, 8, 8, 0, 0, 0);
    pixel_is(rgb, 127, 247, 0, 0, 0);
    pixel_is(rgb, 128, 128, 255, 255, 255);
    pixel_is(rgb, 7, 128, 255, 255, 255);
    assert_int_equal(dataset_read(d, 2, rgb), STATUS_OK); /* 256x128 centred, on white */
    pixel_is(rgb, 128, 20, 0, 0, 255);
    pixel_is(rgb, 128, 240, 127, 127, 255);
    pixel_is(rgb, 50, 20, 255, 255, 255);
    assert_int_equal(dataset_load_small(d), STATUS_OK);
    assert_int_equal(dataset_small(d, 0)[(17 * 64 + 2) * 3 + 1], 0);
    assert_int_equal(dataset_small(d, 0)[(16 * 64 + 2) * 3 + 1], 255);
    dataset_free(d);
    unlink(path);
}

static void test_failures(void **state)
{
    (void)state;
    write_lists(HEADER ROW("flat", "wide") ROW("flat", "round"));
    run_fails(2, "flat: no icon 'round'", false);
    write_lists(HEADER ROW("flat", "empty"));
    run_fails(2, "flat: icon 'empty' came out blank", false);
    write_lists(HEADER ROW("flat", "broken"));
    run_fails(2, "flat: icon 'broken': librsvg:", false);
    write_lists(HEADER ROW("photo", "green"));
    run_fails(2, "green.webp: No such file", false);
    write_lists(HEADER ROW("noto", "wide"));
    run_fails(2, "line 2: package 'noto' is not in sources.tsv", false);
    write_lists("nothing\n");
    run_fails(2, "manifest.tsv.gz: line 1", false);
    write_lists(HEADER ROW("photo", "blue"));
    write_file("photo-2.0/assets/blue.webp", webp, sizeof webp - 9);
    run_fails(2, "blue.webp: not a readable WebP file", false);
    write_file("photo-2.0/assets/blue.webp", webp, sizeof webp);
}

/* --- photos --- */

#define PHOTO_HEADER "# comment\nsource\tname\tfile\tsplit\thalve\tlicence\ten\tko\n"

/* Left half one colour, right half waves. */
static void write_photo(const char *name, int w, int h)
{
    char path[128];
    Image image = {0};
    assert_int_equal(image_init(w, h, &image), STATUS_OK);
    for (int i = 0; i < w * h; i++) {
        int x = i % w, y = i / w;
        for (int c = 0; c < 3; c++)
            image.pixels[3 * i + c] = (uint8_t)(x < w / 2 ? 40 : 128 + 60 * sin(x * 0.9 + c) + 60 * cos(y * 0.13));
    }
    snprintf(path, sizeof path, "%s/camera-3.0/%s", folder, name);
    assert_int_equal(png_write(path, &image, NULL, 0), STATUS_OK);
    image_release(&image);
}

static void write_photos(const char *rows)
{
    char text[2048];
    snprintf(text, sizeof text, PHOTO_HEADER "%s", rows);
    write_file("photos.tsv", text, strlen(text));
}

/* A tile is the part of the reduced photo that its icon says. */
static void check_tile(const char *icon, const char *file, const uint8_t *rgb)
{
    char path[128];
    int w, h, x, y;
    Image photo = {0}, reduced = {0};
    assert_int_equal(sscanf(icon, "%*[a-z]@%dx%d+%d+%d", &w, &h, &x, &y), 4);
    assert_true(x >= 0 && y >= 0 && x + DATASET_SIDE <= w && y + DATASET_SIDE <= h);
    snprintf(path, sizeof path, "%s/camera-3.0/%s", folder, file);
    assert_int_equal(image_read(path, &photo), STATUS_OK);
    assert_int_equal(image_resize(&photo, w, h, &reduced), STATUS_OK);
    for (int row = 0; row < DATASET_SIDE; row++)
        assert_memory_equal(rgb + row * DATASET_SIDE * 3, reduced.pixels + 3 * ((y + row) * w + x), DATASET_SIDE * 3);
    image_release(&photo);
    image_release(&reduced);
}

static void test_photos(void **state)
{
    (void)state;
    char path[64];
    static uint8_t rgb[DATASET_BYTES];
    write_lists(HEADER ROW("flat", "wide"));
    write_photo("big.png", 900, 700);
    write_photo("seen.png", 256, 300);
    write_photos("camera\tbig\tbig.png\ttrain\t0\tCC0, me\twaves\t물결\n"
                 "camera\tseen\tseen.png\ttest_photo\t1\tCC0, you\tmore waves\t\n");
    photos = true;
    int status = run(NULL, false);
    photos = false;
    if (status != 0) fail_msg("status %d: %s", status, message);
    snprintf(path, sizeof path, "%s/out.h5", folder);
    Dataset *d;
    if (dataset_open(path, &d) != STATUS_OK) fail_msg("%s", status_message());
    int big = dataset_split_count(d, SPLIT_TRAIN) - 1;
    /* 4x3 cells at 900x700, 3x2 at 636x495, 2x2 at 450x350, and 1x1 of 329x256; the flat left part says nothing. */
    assert_in_range(big, 9, 22);
    assert_in_range(dataset_split_count(d, SPLIT_TEST_PHOTO), 1, 2);
    H5File *file;
    char **places;
    int count;
    assert_int_equal(h5file_open(path, &file), STATUS_OK);
    assert_int_equal(h5file_load_texts(file, "icon", &places, &count), STATUS_OK);
    for (int i = 1; i < dataset_count(d); i++) {
        const DatasetItem *item = dataset_item(d, i);
        assert_true(item->photo);
        assert_string_equal(item->style, "photo");
        assert_string_equal(item->root, i <= big ? "photo:big" : "photo:seen");
        assert_string_equal(item->licence, i <= big ? "CC0, me" : "CC0, you");
        assert_string_equal(item->label_ko, i <= big ? "물결" : "");
        assert_int_equal(dataset_read(d, i, rgb), STATUS_OK);
        check_tile(places[i], i <= big ? "big.png" : "seen.png", rgb);
    }
    free(places);
    h5file_close(file);
    dataset_free(d);
    Image whole = {0};
    snprintf(path, sizeof path, "%s/photos-held-out/seen.png", folder);
    assert_int_equal(image_read(path, &whole), STATUS_OK);
    assert_int_equal(whole.w, 256);
    image_release(&whole);
    snprintf(path, sizeof path, "%s/photos-held-out/big.png", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/out.h5", folder);
    unlink(path);
}

static void test_photo_failures(void **state)
{
    (void)state;
    char path[64];
    static const char *const wrong[][2] = {
        {"camera\tbig\tbig.png\ttrain\t0\tCC0\twaves\n", "photos.tsv: line 3: 7 columns, expected 8"},
        {"camera\tBig\tbig.png\ttrain\t0\tCC0\twaves\t\n", "line 3: name 'Big'"},
        {"camera\t../x\tbig.png\ttrain\t0\tCC0\twaves\t\n", "line 3: name '../x'"},
        {"camera\tbig\tbig.png\ttest_pair\t0\tCC0\twaves\t\n", "split 'test_pair', expected train or test_photo"},
        {"camera\tbig\tbig.png\ttrain\t2\tCC0\twaves\t\n", "halve '2', expected 0 or 1"},
        {"camera\tbig\tnone.png\ttrain\t0\tCC0\twaves\t\n", "none.png"},
        {"camera\tbig\tsmall.png\ttrain\t0\tCC0\twaves\t\n", "255x300 pixels, expected at least 256"},
        {"flat\tbig\tbig.png\ttrain\t0\tCC0\twaves\t\n", "'flat' is no package of photos"},
        {"camera\ta\tbig.png\ttrain\t0\tCC0\tw\t\ncamera\ta\tbig.png\ttrain\t0\tCC0\tw\t\n", "line 4: the name 'a' occurs twice"},
        {"", "no photos"},
    };
    write_photo("big.png", 900, 700);
    write_photo("small.png", 255, 300);
    photos = true;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_photos(wrong[i][0]);
        run_fails(2, wrong[i][1], false);
    }
    snprintf(path, sizeof path, "%s/photos.tsv", folder);
    unlink(path);
    run_fails(2, "photos.tsv", false);
    photos = false;
}

static void test_interrupt_leaves_nothing(void **state)
{
    (void)state;
    write_lists(HEADER ROW("flat", "wide") ROW("flat", "offset") ROW("photo", "blue"));
    run_fails(128 + SIGTERM, "interrupted", true);
}

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(run((const char *const[]){"--threads", "0", NULL}, false), 2);
    assert_non_null(strstr(message, "--threads 0: expected a number from 1 to 1024"));
    assert_int_equal(run((const char *const[]){"--treads", "2", NULL}, false), 2);
    assert_string_equal(message, "glide-dataset: unknown option '--treads'; see --help\n");
    assert_int_equal(run((const char *const[]){"--cache", NULL}, false), 2);
    assert_string_equal(message, "glide-dataset: --cache: expected a value after it; see --help\n");
    assert_int_equal(run((const char *const[]){"more", NULL}, false), 2);
    assert_non_null(strstr(message, "'more': expected only options"));
}

/* Told before anything is fetched or read: the lists are missing too. */
static void test_unwritable(void **state)
{
    (void)state;
    assert_int_equal(run((const char *const[]){"--lists", "none", "-o", "none/out.h5", NULL}, false), 2);
    assert_string_equal(message, "glide-dataset: none/out.h5: cannot be written: folder none/: No such file or directory\n");
    assert_int_equal(run((const char *const[]){"--lists", "none", "-o", ".", NULL}, false), 2);
    assert_non_null(strstr(message, ".: cannot be written: Is a directory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builds),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_photos),
        cmocka_unit_test(test_photo_failures),
        cmocka_unit_test(test_interrupt_leaves_nothing),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
