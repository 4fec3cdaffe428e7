#include "common/png_write.h"

#include "common/file_write.h"
#include "common/png_compress.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

/* stb_image_write's own deflate ends the program when its buffers cannot grow. In the place of it; NULL when out of memory. */
static _Thread_local unsigned char *compressed; /* which stb_image_write forgets to free when there is no memory for the file */

static unsigned char *deflate_all(const unsigned char *data, int size, int *out_size)
{
    uLongf room = compressBound((uLong)size);
    compressed = malloc(room);
    if (!compressed || compress2(compressed, &room, data, (uLong)size, Z_DEFAULT_COMPRESSION) != Z_OK) {
        free(compressed);
        return compressed = NULL;
    }
    *out_size = (int)room;
    return compressed;
}

#define STBIW_ZLIB_COMPRESS(data, size, out_size, quality) ((void)(quality), deflate_all(data, size, out_size))

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_image_write.h>
#pragma GCC diagnostic pop

/* Size of signature and IHDR: text chunks come right after them, where every reader meets them before the pixels. */
enum { PNG_HEAD = 8 + 12 + 13 };

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static uint32_t crc32_of(const unsigned char *p, size_t n) /* PNG specification, annex D */
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static bool key_is_valid(const char *key)
{
    size_t n = strlen(key);
    if (n < 1 || n > 79 || key[0] == ' ' || key[n - 1] == ' ' || strstr(key, "  ")) return false;
    for (size_t i = 0; i < n; i++)
        if (key[i] < 32 || key[i] > 126) return false;
    return true;
}

/* The next character of *text, which moves on; U+FFFD for a byte that is not UTF-8. */
static utf8proc_int32_t next_character(const char **text)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)*text, -1, &c);
    *text += n > 0 ? n : 1;
    return n > 0 ? c : 0xfffd;
}

static bool fits_latin1(const char *text)
{
    while (*text) {
        utf8proc_int32_t c = next_character(&text);
        if (c != '\n' && (c < 32 || (c > 126 && c < 161) || c > 255)) return false;
    }
    return true;
}

/* Append a chunk at p (with room for it) and return its size; p NULL: only the size. */
static size_t put_text_chunk(unsigned char *p, const PngText *text)
{
    bool latin1 = fits_latin1(text->value);
    size_t key = strlen(text->key), n = 8 + key + (latin1 ? 1 : 5); /* iTXt: NUL, 2 flags, 2 empty strings */
    if (p) {
        memset(p, 0, n);
        memcpy(p + 4, latin1 ? "tEXt" : "iTXt", 4);
        memcpy(p + 8, text->key, key);
    }
    for (const char *rest = text->value; *rest;) {
        utf8proc_int32_t c = next_character(&rest);
        utf8proc_uint8_t code[4] = {(utf8proc_uint8_t)c};
        size_t length = latin1 ? 1 : (size_t)utf8proc_encode_char(c, code);
        if (p) memcpy(p + n, code, length);
        n += length;
    }
    if (p) {
        put_u32(p, (uint32_t)(n - 8));
        put_u32(p + n, crc32_of(p + 4, n - 4));
    }
    return n + 4;
}

/* The texts between the head and the rest of the file `bare`, which is taken over. */
static Status insert_texts(unsigned char *bare, size_t bare_size, const PngText *texts, int text_count, unsigned char **bytes,
                           size_t *size)
{
    size_t extra = 0;
    for (int i = 0; i < text_count; i++) {
        assert(key_is_valid(texts[i].key));
        if (strlen(texts[i].value) > (1u << 24)) {
            free(bare);
            return status_fail(STATUS_BAD_INPUT, "PNG text \"%s\": expected at most 16 MiB, found %zu bytes", texts[i].key,
                               strlen(texts[i].value));
        }
        extra += put_text_chunk(NULL, &texts[i]);
    }
    unsigned char *out = realloc(bare, bare_size + extra);
    if (!out) {
        free(bare);
        return status_fail(STATUS_NO_MEMORY, "PNG of %zu bytes: out of memory", bare_size + extra);
    }
    memmove(out + PNG_HEAD + extra, out + PNG_HEAD, bare_size - PNG_HEAD);
    unsigned char *p = out + PNG_HEAD;
    for (int i = 0; i < text_count; i++) p += put_text_chunk(p, &texts[i]);
    *bytes = out;
    *size = bare_size + extra;
    return STATUS_OK;
}

Status png_encode(const Image *image, const PngText *texts, int text_count, unsigned char **bytes, size_t *size)
{
    assert(image->pixels && (int64_t)image->w * image->h <= IMAGE_MAX_PIXELS);
    *bytes = NULL;
    *size = 0;
    int bare_size = 0;
    unsigned char *bare = stbi_write_png_to_mem(image->pixels, image->w * 3, image->w, image->h, 3, &bare_size);
    if (!bare) free(compressed);
    compressed = NULL;
    if (!bare) return status_fail(STATUS_NO_MEMORY, "PNG of %dx%d: out of memory", image->w, image->h);
    return insert_texts(bare, (size_t)bare_size, texts, text_count, bytes, size);
}

Status png_encode_picture(const Picture *picture, const void *values, const PngText *texts, int text_count, unsigned char **bytes,
                          size_t *size)
{
    unsigned char *bare;
    size_t bare_size;
    *bytes = NULL;
    *size = 0;
    TRY(png_compress(picture, values ? values : picture->values, &bare, &bare_size));
    return insert_texts(bare, bare_size, texts, text_count, bytes, size);
}

Status png_write(const char *path, const Image *image, const PngText *texts, int text_count)
{
    unsigned char *bytes;
    size_t size;
    TRY(png_encode(image, texts, text_count, &bytes, &size));
    Status status = file_write(path, bytes, size);
    free(bytes);
    return status;
}
