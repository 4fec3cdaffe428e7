#include "tests/support_pictures.h"

#include "common/jpeg_write.h"
#include "common/png_write.h"
#include "tests/support_status.h"

#include <stdlib.h>
#include <string.h>

#include <webp/encode.h>
#include <zlib.h>

static void put_32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> (24 - 8 * i));
}

void test_icc(const char *space, unsigned char out[TEST_ICC_SIZE])
{
    memset(out, 0, TEST_ICC_SIZE);
    put_32(out, TEST_ICC_SIZE);
    out[8] = 2;
    memcpy(out + 12, "mntr", 4);
    memcpy(out + 16, space, 4);
    memcpy(out + 20, "XYZ ", 4);
    memcpy(out + 36, "acsp", 4);
    put_32(out + 68, 0xf6d6);
    put_32(out + 72, 0x10000);
    put_32(out + 76, 0xd32d);
    put_32(out + 128, 1); /* a tag, of bytes that do not compress: libpng takes short chunks for damage */
    memcpy(out + 132, "desc", 4);
    put_32(out + 136, 144);
    put_32(out + 140, TEST_ICC_SIZE - 144);
    for (uint32_t i = 144; i < TEST_ICC_SIZE; i++) out[i] = (unsigned char)((i * 2654435761u) >> 13);
}

void test_exif(int orientation, bool little, unsigned char out[TEST_EXIF_SIZE])
{
    static const unsigned char big[TEST_EXIF_SIZE] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0};
    static const unsigned char small[TEST_EXIF_SIZE] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1};
    memcpy(out, little ? small : big, TEST_EXIF_SIZE);
    out[little ? 18 : 19] = (unsigned char)orientation;
}

Picture test_picture(int w, int h, int channels, int bits, bool grey)
{
    Picture p;
    OK(picture_init(w, h, channels, bits, &p));
    p.grey = grey;
    for (int i = 0; i < w * h * channels; i++) {
        int c = i % channels, x = i / channels % w, y = i / channels / w;
        int v = c == 3 ? 255 - x * 200 / (w > 1 ? w - 1 : 1) : (40 + x * 11 + y * 17 + (grey ? 0 : c * 60)) % 256;
        if (bits == 16) ((uint16_t *)p.values)[i] = (uint16_t)(v * 257 - (c != 3 && v > 0 ? 100 : 0));
        else ((uint8_t *)p.values)[i] = (uint8_t)v;
    }
    return p;
}

/* `size` bytes at `at`. */
static void insert(FileBytes *f, size_t at, const void *bytes, size_t size)
{
    f->bytes = realloc(f->bytes, f->size + size);
    memmove(f->bytes + at + size, f->bytes + at, f->size - at);
    memcpy(f->bytes + at, bytes, size);
    f->size += size;
}

FileBytes test_png_file(const Picture *p, const unsigned char *exif)
{
    FileBytes f;
    unsigned char chunk[TEST_EXIF_SIZE + 12];
    OK(png_encode_picture(p, NULL, NULL, 0, &f.bytes, &f.size));
    if (!exif) return f;
    put_32(chunk, TEST_EXIF_SIZE);
    memcpy(chunk + 4, "eXIf", 4);
    memcpy(chunk + 8, exif, TEST_EXIF_SIZE);
    put_32(chunk + 8 + TEST_EXIF_SIZE, (uint32_t)crc32(0, chunk + 4, TEST_EXIF_SIZE + 4));
    insert(&f, 8 + 25, chunk, sizeof chunk); /* behind IHDR */
    return f;
}

FileBytes test_jpeg_file(const Picture *p, const unsigned char *exif)
{
    FileBytes f;
    Image image;
    unsigned char marker[10 + TEST_EXIF_SIZE] = {0xff, 0xe1, 0, 8 + TEST_EXIF_SIZE, 'E', 'x', 'i', 'f'};
    JpegOptions o = {.quality = 98, .grey = p->grey, .icc = p->icc, .icc_size = p->icc_size};
    OK(picture_to_image(p, &image));
    OK(jpeg_encode(&image, &o, &f.bytes, &f.size));
    image_release(&image);
    if (exif) memcpy(marker + 10, exif, TEST_EXIF_SIZE);
    if (exif) insert(&f, 2, marker, sizeof marker);
    return f;
}

/* --- WebP: libwebp writes the bare file; chunks stand around its data in an extended one ----------------- */

static void append_chunk(FileBytes *f, const char *name, const unsigned char *bytes, size_t size)
{
    unsigned char head[8];
    memcpy(head, name, 4);
    for (int i = 0; i < 4; i++) head[4 + i] = (unsigned char)(size >> 8 * i);
    insert(f, f->size, head, 8);
    insert(f, f->size, bytes, size);
    if (size % 2) insert(f, f->size, "", 1);
}

FileBytes test_webp_file(const Picture *p, bool lossless, const unsigned char *exif)
{
    FileBytes f = {0}, bare = {0};
    uint8_t *out = NULL;
    int stride = p->w * p->channels;
    bool alpha = p->channels == 4;
    if (lossless) bare.size = alpha ? WebPEncodeLosslessRGBA(p->values, p->w, p->h, stride, &out)
                                    : WebPEncodeLosslessRGB(p->values, p->w, p->h, stride, &out);
    else bare.size = alpha ? WebPEncodeRGBA(p->values, p->w, p->h, stride, 90, &out)
                           : WebPEncodeRGB(p->values, p->w, p->h, stride, 90, &out);
    assert_true(bare.size > 20);
    insert(&f, 0, out, bare.size);
    WebPFree(out);
    if (!exif && !p->icc) return f;
    unsigned char extended[10] = {(unsigned char)((p->icc ? 0x20 : 0) | (alpha ? 0x10 : 0) | (exif ? 8 : 0))};
    for (int i = 0; i < 2; i++) {
        extended[4 + i] = (unsigned char)((p->w - 1) >> 8 * i);
        extended[7 + i] = (unsigned char)((p->h - 1) >> 8 * i);
    }
    size_t data = memcmp(f.bytes + 12, "VP8X", 4) == 0 ? 12 + 18 : 12; /* lossy with alpha is extended already */
    FileBytes whole = {0};
    insert(&whole, 0, f.bytes, 12);
    append_chunk(&whole, "VP8X", extended, 10);
    if (p->icc) append_chunk(&whole, "ICCP", p->icc, p->icc_size);
    insert(&whole, whole.size, f.bytes + data, f.size - data);
    if (exif) append_chunk(&whole, "EXIF", exif, TEST_EXIF_SIZE);
    for (int i = 0; i < 4; i++) whole.bytes[4 + i] = (unsigned char)((whole.size - 8) >> 8 * i);
    free(f.bytes);
    return whole;
}
