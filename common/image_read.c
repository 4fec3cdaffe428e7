#include "common/image_read.h"

#include "common/picture_decode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)256 << 20)

/* --- what kind of file --- */
typedef enum { KIND_PNG, KIND_JPEG, KIND_WEBP, KIND_OTHER } FileKind;

static bool starts_with(const Bytes *file, const char *magic, size_t n)
{
    return file->size >= n && !memcmp(file->data, magic, n);
}

static FileKind file_kind(const Bytes *file)
{
    if (starts_with(file, "\x89PNG\r\n\x1a\n", 8)) return KIND_PNG;
    if (starts_with(file, "RIFF", 4) && file->size >= 12 && !memcmp(file->data + 8, "WEBP", 4)) return KIND_WEBP;
    return starts_with(file, "\xff\xd8\xff", 3) ? KIND_JPEG : KIND_OTHER;
}

static Status refuse_kind(const Bytes *file, const char *expected)
{
    static const struct {
        const char *magic, *what;
    } known[] = {{"\x89PNG\r\n\x1a\n", "a PNG"}, {"\xff\xd8\xff", "a JPEG"}, {"\x89PNG", "a PNG damaged in transfer"},
                 {"\x89HDF\r\n", "an HDF5 file"}, {"GIF8", "a GIF"}, {"RIFF", "a RIFF file that is no WebP"},
                 {"BM", "a BMP"}, {"II*", "a TIFF"}, {"MM", "a TIFF"}, {"<svg", "an SVG"}, {"<?xml", "an XML file"},
                 {"%PDF", "a PDF"}, {"PK\3\4", "a ZIP file"}, {"\x1f\x8b", "a gzip file"}};
    if (file->size == 0)
        return status_fail(STATUS_BAD_INPUT, "%s: expected %s, found an empty file", file->name, expected);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts_with(file, known[i].magic, strlen(known[i].magic)))
            return status_fail(STATUS_BAD_INPUT, "%s: expected %s, found %s", file->name, expected, known[i].what);
    return status_fail(STATUS_BAD_INPUT, "%s: expected %s, found something else", file->name, expected);
}

Status decode_check_size(int64_t w, int64_t h)
{
    if (w <= IMAGE_MAX_SIDE && h <= IMAGE_MAX_SIDE && w * h <= IMAGE_MAX_PIXELS) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%lldx%lld pixels: expected sides up to %d and at most %lld million", (long long)w,
                       (long long)h, IMAGE_MAX_SIDE, (long long)(IMAGE_MAX_PIXELS / 1000000));
}

static Status decode(const char *name, const unsigned char *bytes, size_t size, const Decoded *out)
{
    Bytes file = {.name = name, .data = bytes, .size = size};
    switch (file_kind(&file)) {
    case KIND_PNG: return decode_png(&file, out);
    case KIND_JPEG: return decode_jpeg(&file, out);
    case KIND_WEBP: return decode_webp(&file, out);
    default: return refuse_kind(&file, out->picture ? "a PNG, JPEG or WebP picture" : "a PNG or JPEG picture");
    }
}

/* --- whole files --- */
/* Read the rest of `in` after looking at its start, so that a large file of another kind is refused at once. */
static Status load_stream(FILE *in, const char *name, unsigned char **data, size_t *size)
{
    size_t room = (size_t)64 << 10, used = 0;
    unsigned char *buffer = NULL;
    for (;;) {
        unsigned char *larger = realloc(buffer, room);
        if (!larger) {
            free(buffer);
            return status_fail(STATUS_NO_MEMORY, "%s: out of memory", name);
        }
        buffer = larger;
        errno = 0;
        used += fread(buffer + used, 1, room - used, in);
        if (ferror(in)) {
            free(buffer);
            return status_fail(STATUS_IO, "%s: cannot be read: %s", name, strerror(errno));
        }
        Bytes start = {.name = name, .data = buffer, .size = used};
        if (used < room || file_kind(&start) == KIND_OTHER) break;
        if (used > FILE_MAX_BYTES) {
            free(buffer);
            return status_fail(STATUS_BAD_INPUT, "%s: expected a picture of at most %zu MiB, found more", name,
                               FILE_MAX_BYTES >> 20);
        }
        room *= 2;
    }
    *data = buffer;
    *size = used;
    return STATUS_OK;
}

static Status load_file(const char *path, Bytes *file)
{
    bool standard_input = !strcmp(path, "-");
    FILE *in = standard_input ? stdin : fopen(path, "rbe");
    *file = (Bytes){.name = standard_input ? "standard input" : path};
    if (!in) return status_fail(STATUS_IO, "%s: cannot be read: %s", path, strerror(errno));
    unsigned char *data = NULL;
    Status status = load_stream(in, file->name, &data, &file->size);
    file->data = data;
    if (!standard_input) fclose(in);
    return status;
}

/* decode() of a file. */
static Status decode_file(const char *path, const Decoded *out)
{
    Bytes file;
    TRY(load_file(path, &file));
    Status status = decode(file.name, file.data, file.size, out);
    free((void *)file.data);
    return status;
}

/* --- pictures --- */
Status picture_decode(const char *name, const unsigned char *bytes, size_t size, Picture *out)
{
    *out = (Picture){0};
    return decode(name, bytes, size, &(Decoded){.picture = out});
}

Status picture_read(const char *path, Picture *out)
{
    *out = (Picture){0};
    return decode_file(path, &(Decoded){.picture = out});
}

/* The picture's 8-bit colours; it is released. */
static Status reduce(Status status, Picture *p, Image *out)
{
    if (status == STATUS_OK && p->channels == 3 && p->bits == 8) {
        *out = (Image){p->w, p->h, p->values};
        p->values = NULL;
    } else if (status == STATUS_OK) {
        status = picture_to_image(p, out);
    }
    picture_release(p);
    return status;
}

Status image_decode(const char *name, const unsigned char *bytes, size_t size, Image *out)
{
    Picture p;
    *out = (Image){0};
    return reduce(picture_decode(name, bytes, size, &p), &p, out);
}

Status image_read(const char *path, Image *out)
{
    Picture p;
    *out = (Image){0};
    return reduce(picture_read(path, &p), &p, out);
}

/* --- masks --- */
static uint8_t value_of_8(const Picture *p, size_t i)
{
    unsigned value = picture_value(p, i);
    return p->bits == 16 ? picture_8_of_16(value) : (uint8_t)value;
}

static bool any_transparent(const Picture *p, size_t n)
{
    for (size_t i = 0; p->channels == 4 && i < n; i++)
        if (value_of_8(p, 4 * i + 3) < 255) return true;
    return false;
}

/* How transparent, or the mean of the colours; the picture is released. */
static Status mask_of(Status status, const char *name, Picture *p, Mask *out)
{
    size_t n = (size_t)p->w * (size_t)p->h, channels = (size_t)p->channels;
    if (status == STATUS_OK) {
        *out = (Mask){.w = p->w, .h = p->h, .values = malloc(n), .from_alpha = any_transparent(p, n)};
        if (!out->values) status = status_fail(STATUS_NO_MEMORY, "%s: out of memory", name);
    }
    for (size_t i = 0; status == STATUS_OK && i < n; i++) {
        size_t at = i * channels;
        int sum = value_of_8(p, at) + value_of_8(p, at + 1) + value_of_8(p, at + 2);
        out->values[i] = out->from_alpha ? (uint8_t)(255 - value_of_8(p, at + 3)) : (uint8_t)((sum + 1) / 3);
    }
    if (status != STATUS_OK) *out = (Mask){0};
    picture_release(p);
    return status;
}

Status mask_decode(const char *name, const unsigned char *bytes, size_t size, Mask *out)
{
    Picture p;
    *out = (Mask){0};
    return mask_of(picture_decode(name, bytes, size, &p), name, &p, out);
}

Status mask_read(const char *path, Mask *out)
{
    Picture p;
    *out = (Mask){0};
    return mask_of(picture_read(path, &p), path, &p, out);
}

void mask_release(Mask *mask)
{
    free(mask->values);
    *mask = (Mask){0};
}

/* --- texts --- */
static char **grow(char **list, int count)
{
    return count % 16 ? list : realloc(list, (size_t)(count + 16) * sizeof *list);
}

Status decode_add_text(PngTexts *texts, char *key, char *value)
{
    char **keys = grow(texts->keys, texts->count);
    if (keys) texts->keys = keys;
    char **values = grow(texts->values, texts->count);
    if (values) texts->values = values;
    if (keys && values && key && value) {
        keys[texts->count] = key;
        values[texts->count++] = value;
        return STATUS_OK;
    }
    free(key);
    free(value);
    return status_fail(STATUS_NO_MEMORY, "out of memory for the texts of a picture");
}

static Status only_texts(Status status, PngTexts *out)
{
    if (status != STATUS_OK) png_texts_release(out);
    return status;
}

Status png_decode_text(const char *name, const unsigned char *bytes, size_t size, PngTexts *out)
{
    *out = (PngTexts){0};
    return only_texts(decode(name, bytes, size, &(Decoded){.texts = out}), out);
}

Status png_read_text(const char *path, PngTexts *out)
{
    *out = (PngTexts){0};
    return only_texts(decode_file(path, &(Decoded){.texts = out}), out);
}

void png_texts_release(PngTexts *texts)
{
    for (int i = 0; i < texts->count; i++) {
        free(texts->keys[i]);
        free(texts->values[i]);
    }
    free(texts->keys);
    free(texts->values);
    *texts = (PngTexts){0};
}

const char *png_texts_find(const PngTexts *texts, const char *key)
{
    for (int i = 0; i < texts->count; i++)
        if (!strcmp(texts->keys[i], key)) return texts->values[i];
    return NULL;
}
