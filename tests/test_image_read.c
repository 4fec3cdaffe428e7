/* Reading pictures from anywhere: every kind of PNG and JPEG, and every way of being none. */
#include "common/image_read.h"
#include "common/png_write.h"
#include "common/rng.h"
#include "tests/support_pictures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <jpeglib.h>
#include <png.h>

typedef struct File {
    unsigned char *bytes;
    size_t size;
} File;

/* --- makers --- */
static void append(png_structp png, png_bytep data, png_size_t n)
{
    File *file = png_get_io_ptr(png);
    file->bytes = realloc(file->bytes, file->size + n);
    assert_non_null(file->bytes);
    memcpy(file->bytes + file->size, data, n);
    file->size += n;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static const png_color palette[4] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {10, 20, 30}};

/* rows: (h) rows as the colour type and depth want them */
static File make_png(int w, int h, int depth, int type, int interlace, unsigned char **rows)
{
    File file = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &file, append, flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, depth, type, interlace, 0, 0);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        static const png_byte alpha[2] = {255, 0}; /* green is clear */
        png_set_PLTE(png, info, palette, 4);
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_write_info(png, info);
    png_write_image(png, rows);
    png_text text = {.compression = PNG_TEXT_COMPRESSION_zTXt, .key = "late", .text = "after the pixels"};
    png_set_text(png, info, &text, 1);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return file;
}

static File make_jpeg(int w, int h, J_COLOR_SPACE in, J_COLOR_SPACE out, int channels, int progressive,
                      const unsigned char *pixels)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    File file = {0};
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file.bytes, &size);
    jpeg.image_width = (JDIMENSION)w;
    jpeg.image_height = (JDIMENSION)h;
    jpeg.input_components = channels;
    jpeg.in_color_space = in;
    jpeg_set_defaults(&jpeg);
    jpeg_set_colorspace(&jpeg, out);
    jpeg_set_quality(&jpeg, 95, TRUE);
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = (JSAMPROW)pixels + (size_t)jpeg.next_scanline * (size_t)w * (size_t)channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    file.size = size;
    return file;
}

static File make_rgb_jpeg(int w, int h, int progressive)
{
    unsigned char *pixels = malloc((size_t)w * (size_t)h * 3);
    assert_non_null(pixels);
    for (int i = 0; i < w * h * 3; i++)
        pixels[i] = (unsigned char)(128 + 100 * sin(i / 3 % w * 0.1 + i % 3) * cos(i / 3 / w * 0.1));
    File file = make_jpeg(w, h, JCS_RGB, JCS_YCbCr, 3, progressive, pixels);
    free(pixels);
    return file;
}

static Image decode(File file)
{
    Image image;
    Status status = image_decode("memory", file.bytes, file.size, &image);
    if (status != STATUS_OK) print_error("%s\n", status_message());
    assert_int_equal(status, STATUS_OK);
    free(file.bytes);
    return image;
}

static void assert_pixel(const Image *image, int i, int r, int g, int b, int tolerance)
{
    const uint8_t *p = image->pixels + (size_t)i * 3;
    if (abs(p[0] - r) > tolerance || abs(p[1] - g) > tolerance || abs(p[2] - b) > tolerance)
        fail_msg("pixel %d is %d %d %d, expected %d %d %d", i, p[0], p[1], p[2], r, g, b);
}

/* --- kinds of PNG --- */
static void test_png_kinds(void **state)
{
    (void)state;
    unsigned char grey[] = {0, 77, 255}, grey_alpha[] = {100, 255, 100, 0, 100, 128}, bits[] = {0xa0};
    unsigned char rgba[] = {10, 20, 30, 255, 10, 20, 30, 0, 10, 20, 30, 51}, indices[] = {0x18}; /* 0 1 2 at 2 bits */
    unsigned char grey16[] = {0x00, 0x80, 0x80, 0x00, 0xff, 0x7e}; /* 128, 32768, 65406 of 65535 */
    unsigned char *row = grey;
    Image image = decode(make_png(3, 1, 8, PNG_COLOR_TYPE_GRAY, 0, &row));
    for (int i = 0; i < 3; i++) assert_pixel(&image, i, grey[i], grey[i], grey[i], 0);
    image_release(&image);

    row = grey_alpha;
    image = decode(make_png(3, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, &row));
    assert_pixel(&image, 0, 100, 100, 100, 0);
    assert_pixel(&image, 1, 255, 255, 255, 0);
    assert_pixel(&image, 2, 177, 177, 177, 0); /* (100 * 128 + 255 * 127) / 255 = 177.2 */
    image_release(&image);

    row = bits;
    image = decode(make_png(3, 1, 1, PNG_COLOR_TYPE_GRAY, 0, &row));
    for (int i = 0; i < 3; i++) assert_pixel(&image, i, i == 1 ? 0 : 255, i == 1 ? 0 : 255, i == 1 ? 0 : 255, 0);
    image_release(&image);

    row = rgba;
    image = decode(make_png(3, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, 0, &row));
    assert_pixel(&image, 0, 10, 20, 30, 0);
    assert_pixel(&image, 1, 255, 255, 255, 0);
    assert_pixel(&image, 2, 206, 208, 210, 0);
    image_release(&image);

    row = indices;
    image = decode(make_png(3, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, &row));
    assert_pixel(&image, 0, 255, 0, 0, 0);
    assert_pixel(&image, 1, 255, 255, 255, 0);
    assert_pixel(&image, 2, 0, 0, 255, 0);
    image_release(&image);

    row = grey16;
    image = decode(make_png(3, 1, 16, PNG_COLOR_TYPE_GRAY, 0, &row));
    assert_pixel(&image, 0, 0, 0, 0, 0); /* 128/257 = 0.498; 32768/257 = 127.5; 65406/257 = 254.498 */
    assert_pixel(&image, 1, 128, 128, 128, 0);
    assert_pixel(&image, 2, 254, 254, 254, 0);
    image_release(&image);
}

static void test_png_interlaced(void **state)
{
    (void)state;
    enum { W = 19, H = 11 };
    unsigned char pixels[H][W * 3], *rows[H];
    for (int y = 0; y < H; y++) {
        rows[y] = pixels[y];
        for (int i = 0; i < W * 3; i++) pixels[y][i] = (unsigned char)(y * 23 + i * 7);
    }
    Image image = decode(make_png(W, H, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, rows));
    assert_int_equal(image.w, W);
    assert_int_equal(image.h, H);
    assert_memory_equal(image.pixels, pixels, sizeof pixels);
    image_release(&image);
}

/* --- kinds of JPEG --- */
static void test_jpeg_kinds(void **state)
{
    (void)state;
    enum { W = 24, H = 16 };
    static unsigned char pixels[W * H * 4];
    for (int i = 0; i < W * H; i++) pixels[i] = (unsigned char)(i % W * 10);
    Image image = decode(make_jpeg(W, H, JCS_GRAYSCALE, JCS_GRAYSCALE, 1, 0, pixels));
    for (int i = 0; i < W * H; i++) assert_pixel(&image, i, pixels[i], pixels[i], pixels[i], 4);
    image_release(&image);
    for (int i = 0; i < W * H; i++) memcpy(pixels + i * 3, (unsigned char[]){200, 100, 50}, 3);
    for (int progressive = 0; progressive < 2; progressive++)
        for (int rgb = 0; rgb < 2; rgb++) {
            image = decode(make_jpeg(W, H, JCS_RGB, rgb ? JCS_RGB : JCS_YCbCr, 3, progressive, pixels));
            assert_int_equal(image.w, W);
            assert_int_equal(image.h, H);
            for (int i = 0; i < W * H; i++) assert_pixel(&image, i, 200, 100, 50, 3);
            image_release(&image);
        }
    /* libjpeg marks what it writes as Adobe's, so the amounts of ink are inverted: cyan 55, yellow 205, black 55 */
    for (int i = 0; i < W * H; i++) memcpy(pixels + i * 4, (unsigned char[]){200, 255, 50, 200}, 4);
    for (int ycck = 0; ycck < 2; ycck++) {
        image = decode(make_jpeg(W, H, JCS_CMYK, ycck ? JCS_YCCK : JCS_CMYK, 4, 0, pixels));
        for (int i = 0; i < W * H; i++) assert_pixel(&image, i, 157, 200, 39, 3);
        image_release(&image);
    }
}

/* --- what is not a picture --- */
static void expect_refused(const unsigned char *bytes, size_t size, const char *wording)
{
    Image image;
    assert_int_equal(image_decode("it.png", bytes, size, &image), STATUS_BAD_INPUT);
    assert_null(image.pixels);
    assert_memory_equal(status_message(), "it.png: ", 8);
    assert_null(strchr(status_message(), '\n'));
    if (!strstr(status_message(), wording)) fail_msg("\"%s\" does not say \"%s\"", status_message(), wording);
}

static void test_other_files(void **state)
{
    (void)state;
    expect_refused((const unsigned char *)"", 0, "found an empty file");
    expect_refused((const unsigned char *)"hello", 5, "found something else");
    expect_refused((const unsigned char *)"\x89HDF\r\n\x1a\n1234", 12, "found an HDF5 file");
    expect_refused((const unsigned char *)"GIF89a", 6, "found a GIF");
    expect_refused((const unsigned char *)"\x89PNG\n\x1a\n", 7, "damaged in transfer");
    expect_refused((const unsigned char *)"\x89PNG\r\n\x1a\n", 8, "ends too early");
    expect_refused((const unsigned char *)"\xff\xd8\xff", 3, "JPEG cannot be read");
    Image image;
    assert_int_equal(image_read("tests/no-such-file.png", &image), STATUS_IO);
    assert_string_equal(status_message(), "tests/no-such-file.png: cannot be read: No such file or directory");
    assert_int_equal(image_read("tests", &image), STATUS_IO);
    assert_int_equal(image_read("tests/test_image_read.c", &image), STATUS_BAD_INPUT);
    assert_int_equal(image_read("/dev/zero", &image), STATUS_BAD_INPUT);
    PngTexts texts;
    assert_int_equal(png_read_text("tests/test_image_read.c", &texts), STATUS_BAD_INPUT);
    assert_null(texts.keys);
}

static void fix_png_crcs(File file)
{
    for (size_t at = 8; at + 12 <= file.size;) {
        const unsigned char *p = file.bytes + at;
        size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (n > file.size - at - 12) return;
        uint32_t crc = 0xffffffff;
        for (size_t i = 4; i < n + 8; i++) {
            crc ^= p[i];
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320 : 0);
        }
        for (int i = 0; i < 4; i++) file.bytes[at + 8 + n + (size_t)i] = (unsigned char)(~crc >> (24 - 8 * i));
        at += n + 12;
    }
}

static File make_text_png(int w, int h)
{
    Image image;
    File file;
    assert_int_equal(image_init(w, h, &image), STATUS_OK);
    for (size_t i = 0; i < image_bytes(&image); i++) image.pixels[i] = (uint8_t)(i * i / 50);
    PngText texts[] = {{"prompt", "red apple"}, {"ko", "\xec\x82\xac\xea\xb3\xbc"}};
    assert_int_equal(png_encode(&image, texts, 2, &file.bytes, &file.size), STATUS_OK);
    image_release(&image);
    return file;
}

static void test_bombs(void **state)
{
    (void)state;
    static const struct {
        unsigned char w[4], h[4];
        const char *wording;
    } claims[] = {
        {{0, 0, 0xff, 0xdc}, {0, 0, 0x80, 0}, "65500x32768 pixels"}, /* 2^31 */
        {{0x7f, 0xff, 0xff, 0xff}, {0x7f, 0xff, 0xff, 0xff}, "2147483647x2147483647 pixels"},
        {{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 1}, "PNG cannot be read"},
        {{0, 0, 0, 0}, {0, 0, 0, 1}, "PNG cannot be read"},
        {{0, 0, 0x27, 0x10}, {0, 0, 0x27, 0x10}, "ends too early"}, /* 10000 x 10000 in a few bytes */
    };
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        File file = make_text_png(4, 4);
        memcpy(file.bytes + 16, claims[i].w, 4);
        memcpy(file.bytes + 20, claims[i].h, 4);
        fix_png_crcs(file);
        expect_refused(file.bytes, file.size, claims[i].wording);
        free(file.bytes);
    }
    File file = make_rgb_jpeg(16, 16, 0);
    unsigned char *sof = memmem(file.bytes, file.size, "\xff\xc0", 2);
    assert_non_null(sof);
    memcpy(sof + 5, "\xff\xdc\xff\xdc", 4);
    expect_refused(file.bytes, file.size, "65500x65500 pixels");
    memcpy(sof + 5, "\x27\x10\x27\x10", 4);
    expect_refused(file.bytes, file.size, "ends too early");
    free(file.bytes);
}

static void test_truncated(void **state)
{
    (void)state;
    File png = make_text_png(32, 32), jpeg = make_rgb_jpeg(32, 32, 0), progressive = make_rgb_jpeg(32, 32, 1);
    for (size_t n = 8; n < png.size; n++) expect_refused(png.bytes, n, "");
    for (size_t n = 3; n < jpeg.size; n++) expect_refused(jpeg.bytes, n, "");
    for (size_t n = 3; n < progressive.size; n++) expect_refused(progressive.bytes, n, "");
    free(png.bytes);
    free(jpeg.bytes);
    free(progressive.bytes);
}

static void test_texts_after_pixels(void **state)
{
    (void)state;
    unsigned char grey[] = {1, 2, 3}, *row = grey;
    File file = make_png(3, 1, 8, PNG_COLOR_TYPE_GRAY, 0, &row);
    char path[] = "/tmp/glide-test-XXXXXX"; /* no .png: the content counts */
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file.bytes, file.size), (ssize_t)file.size);
    close(fd);
    PngTexts texts;
    assert_int_equal(png_read_text(path, &texts), STATUS_OK);
    assert_int_equal(texts.count, 1);
    assert_string_equal(png_texts_find(&texts, "late"), "after the pixels");
    png_texts_release(&texts);
    Image image;
    assert_int_equal(image_read(path, &image), STATUS_OK);
    assert_int_equal(image.w, 3);
    image_release(&image);
    unlink(path);
    free(file.bytes);
}

/* --- mutations --- */
static uint32_t draw(RngKey *key, uint32_t below)
{
    return rng_below(key, key->step++, below);
}

static File mutate(File from, RngKey *key, int fix_crcs)
{
    File file = {malloc(from.size + 64), from.size};
    assert_non_null(file.bytes);
    memcpy(file.bytes, from.bytes, from.size);
    static const unsigned char telling[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0xd9, 0xda};
    for (uint32_t n = draw(key, 6) + 1; n > 0; n--) {
        size_t at = draw(key, draw(key, 2) ? (uint32_t)file.size : 120) % file.size;
        switch (draw(key, 5)) {
        case 0: file.bytes[at] ^= (unsigned char)(1u << draw(key, 8)); break;
        case 1: file.bytes[at] = telling[draw(key, sizeof telling)]; break;
        case 2: file.bytes[at] = (unsigned char)draw(key, 256); break;
        case 3: /* cut a piece out */
            if (file.size > at + 9) {
                size_t cut = 1 + draw(key, 8);
                memmove(file.bytes + at, file.bytes + at + cut, file.size - at - cut);
                file.size -= cut;
            }
            break;
        default: /* repeat a piece */
            if (file.size + 8 <= from.size + 64 && at + 8 <= file.size) {
                memmove(file.bytes + at + 8, file.bytes + at, file.size - at);
                file.size += 8;
            }
        }
    }
    if (fix_crcs) fix_png_crcs(file);
    return file;
}

/* A picture with profile and orientation, as PNG (16 bits), JPEG, WebP with alpha, and without, and without loss. */
static void make_whole_files(File out[5])
{
    unsigned char icc[TEST_ICC_SIZE], exif[TEST_EXIF_SIZE];
    Picture deep = test_picture(13, 18, 4, 16, false), plain = test_picture(24, 17, 3, 8, false);
    Picture alpha = test_picture(31, 16, 4, 8, false);
    Picture *const all[] = {&deep, &plain, &alpha};
    test_exif(6, true, exif);
    test_icc("RGB ", icc);
    for (int i = 0; i < 3; i++) assert_int_equal(picture_set_profile(all[i], icc, sizeof icc), STATUS_OK);
    FileBytes made[5] = {test_png_file(&deep, exif), test_jpeg_file(&plain, exif), test_webp_file(&alpha, false, exif)};
    made[3] = test_webp_file(&alpha, true, exif);
    picture_set_profile(&plain, NULL, 0);
    made[4] = test_webp_file(&plain, false, NULL);
    for (int i = 0; i < 5; i++) out[i] = (File){made[i].bytes, made[i].size};
    for (int i = 0; i < 3; i++) picture_release(all[i]);
}

/* Of each kind of file: more with GLIDE_TEST_LONG, any number with GLIDE_FUZZ_ROUNDS. */
static int mutation_rounds(void)
{
    const char *wanted = getenv("GLIDE_FUZZ_ROUNDS");
    return wanted ? atoi(wanted) : getenv("GLIDE_TEST_LONG") ? 2000 : 200;
}

static void test_mutations(void **state)
{
    (void)state;
    unsigned char rows[16][64], *row[16];
    for (int y = 0; y < 16; y++) {
        row[y] = rows[y];
        for (int i = 0; i < 64; i++) rows[y][i] = (unsigned char)(y * i);
    }
    static unsigned char ink[32 * 32 * 4];
    for (size_t i = 0; i < sizeof ink; i++) ink[i] = (unsigned char)(i / 16);
    File files[] = {make_text_png(24, 24),
                    make_png(16, 16, 8, PNG_COLOR_TYPE_RGB_ALPHA, PNG_INTERLACE_ADAM7, row),
                    make_png(16, 16, 2, PNG_COLOR_TYPE_PALETTE, 0, row),
                    make_png(16, 16, 16, PNG_COLOR_TYPE_GRAY_ALPHA, 0, row),
                    make_rgb_jpeg(40, 40, 0),
                    make_rgb_jpeg(40, 40, 1),
                    make_jpeg(32, 32, JCS_CMYK, JCS_YCCK, 4, 1, ink),
                    {0}, {0}, {0}, {0}, {0}};
    enum { KINDS = sizeof files / sizeof *files };
    int read = 0, refused = 0, total = KINDS * mutation_rounds();
    make_whole_files(files + KINDS - 5);
    for (int i = 0; i < total; i++) {
        RngKey key = {.seed = 5, .stream = RNG_TEST, .image = (uint32_t)i};
        File file = mutate(files[i % KINDS], &key, i / KINDS % 3 > 0);
        Picture picture;
        Status status = picture_decode("mutated", file.bytes, file.size, &picture);
        if (status == STATUS_OK) {
            uint64_t sum = 0; /* every value is there */
            size_t values = (size_t)picture.w * (size_t)picture.h * (size_t)picture.channels;
            for (size_t k = 0; k < values; k++) sum += picture_value(&picture, k);
            for (size_t k = 0; k < picture.icc_size; k++) sum += picture.icc[k];
            read += sum < UINT64_MAX;
            picture_release(&picture);
        } else {
            assert_null(picture.values);
            assert_memory_equal(status_message(), "mutated: ", 9);
            assert_null(strchr(status_message(), '\n'));
            refused++;
        }
        free(file.bytes);
    }
    assert_int_equal(read + refused, total);
    assert_true(read > total / 50 && refused > total / 5); /* both sides were reached */
    print_message("%d mutated pictures: %d read, %d refused\n", total, read, refused);
    for (int i = 0; i < KINDS; i++) free(files[i].bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_kinds),
        cmocka_unit_test(test_png_interlaced),
        cmocka_unit_test(test_jpeg_kinds),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_texts_after_pixels),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
