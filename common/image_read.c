#include "common/image_read.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <jpeglib.h>
#include <jerror.h>
#include <png.h>

#define FILE_MAX_BYTES    ((size_t)256 << 20)
#define DECODER_MAX_BYTES ((size_t)1 << 30)
#define TEXT_MAX_BYTES    ((size_t)32 << 20)
#define JPEG_MAX_SCANS    200 /* progressive files have about 10; each scan costs time for the whole picture */

typedef struct Bytes {
    const char *name; /* for messages */
    const unsigned char *data;
    size_t size, used;
} Bytes;

/* --- what kind of file --- */
typedef enum { KIND_PNG, KIND_JPEG, KIND_OTHER } FileKind;

static bool starts_with(const Bytes *file, const char *magic, size_t n)
{
    return file->size >= n && !memcmp(file->data, magic, n);
}

static FileKind file_kind(const Bytes *file)
{
    if (starts_with(file, "\x89PNG\r\n\x1a\n", 8)) return KIND_PNG;
    return starts_with(file, "\xff\xd8\xff", 3) ? KIND_JPEG : KIND_OTHER;
}

static Status refuse_kind(const Bytes *file, const char *expected)
{
    static const struct {
        const char *magic, *what;
    } known[] = {{"\x89PNG\r\n\x1a\n", "a PNG"}, {"\xff\xd8\xff", "a JPEG"}, {"\x89PNG", "a PNG damaged in transfer"},
                 {"\x89HDF\r\n", "an HDF5 file"}, {"GIF8", "a GIF"}, {"RIFF", "a WebP or another RIFF file"},
                 {"BM", "a BMP"}, {"II*", "a TIFF"}, {"MM", "a TIFF"}, {"<svg", "an SVG"}, {"<?xml", "an XML file"},
                 {"%PDF", "a PDF"}, {"PK\3\4", "a ZIP file"}, {"\x1f\x8b", "a gzip file"}};
    if (file->size == 0)
        return status_fail(STATUS_BAD_INPUT, "%s: expected %s, found an empty file", file->name, expected);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts_with(file, known[i].magic, strlen(known[i].magic)))
            return status_fail(STATUS_BAD_INPUT, "%s: expected %s, found %s", file->name, expected, known[i].what);
    return status_fail(STATUS_BAD_INPUT, "%s: expected %s, found something else", file->name, expected);
}

/* --- PNG --- */
/* libpng and libjpeg leave by longjmp. What must be freed afterwards lives in a struct outside the function that calls
 * setjmp, so that no local variable's value is in doubt. */
typedef struct PngJob {
    Bytes *file;
    png_structp png;
    png_infop info;
    int w, h;
    unsigned char *rgba; /* (H,W,4), or one row (W,4) when only the texts are wanted */
    bool keep_pixels;
    Status code; /* why png_on_error was called; libpng's own reasons are the file's fault */
    char message[256];
    jmp_buf leave;
} PngJob;

static void png_on_error(png_structp png, png_const_charp message)
{
    PngJob *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", message);
    longjmp(job->leave, 1);
}

static void png_on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void png_take(png_structp png, png_bytep out, size_t n)
{
    Bytes *file = png_get_io_ptr(png);
    if (n > file->size - file->used) png_error(png, "the file ends too early");
    memcpy(out, file->data + file->used, n);
    file->used += n;
}

static void png_check_size(PngJob *job)
{
    png_uint_32 w = png_get_image_width(job->png, job->info), h = png_get_image_height(job->png, job->info);
    if (w > IMAGE_MAX_SIDE || h > IMAGE_MAX_SIDE || (int64_t)w * h > IMAGE_MAX_PIXELS) {
        snprintf(job->message, sizeof job->message, "%ux%u pixels: expected sides up to %d and at most %lld million", w,
                 h, IMAGE_MAX_SIDE, (long long)(IMAGE_MAX_PIXELS / 1000000));
        longjmp(job->leave, 1);
    }
    /* Deflate makes at most 1032 bytes of one: a small file that claims more is refused before memory is taken. */
    if (png_get_rowbytes(job->png, job->info) * (size_t)h / 1040 > job->file->size)
        png_error(job->png, "the file ends too early");
    job->w = (int)w;
    job->h = (int)h;
}

static void png_decode(PngJob *job) /* leaves by longjmp on errors */
{
    png_set_read_fn(job->png, job->file, png_take);
    png_set_chunk_malloc_max(job->png, TEXT_MAX_BYTES);
    png_set_user_limits(job->png, 0x7fffffff, 0x7fffffff); /* png_check_size() says it better */
    png_read_info(job->png, job->info);
    png_check_size(job);
    png_set_expand(job->png); /* palette and fewer bits to 8 bits, tRNS to alpha */
    png_set_scale_16(job->png);
    png_set_gray_to_rgb(job->png);
    png_set_add_alpha(job->png, 0xff, PNG_FILLER_AFTER);
    int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    size_t row = (size_t)job->w * 4;
    if (png_get_rowbytes(job->png, job->info) != row) png_error(job->png, "unexpected pixel format");
    job->rgba = malloc(job->keep_pixels ? row * (size_t)job->h : row);
    if (!job->rgba) {
        job->code = STATUS_NO_MEMORY;
        png_error(job->png, "out of memory");
    }
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < job->h; y++)
            png_read_row(job->png, job->rgba + (job->keep_pixels ? row * (size_t)y : 0), NULL);
    png_read_end(job->png, job->info);
}

static Status png_run(PngJob *job)
{
    job->code = STATUS_BAD_INPUT;
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, png_on_error, png_on_warning);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (!job->info) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", job->file->name);
    if (setjmp(job->leave)) {
        if (job->code == STATUS_NO_MEMORY) return status_fail(job->code, "%s: out of memory", job->file->name);
        return status_fail(job->code, "%s: PNG cannot be read: %s", job->file->name, job->message);
    }
    png_decode(job);
    return STATUS_OK;
}

static void png_job_release(PngJob *job)
{
    png_destroy_read_struct(&job->png, &job->info, NULL);
    free(job->rgba);
}

/* (n,4) laid on white becomes (n,3), in place: writing never overtakes reading */
static void flatten_on_white(unsigned char *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned a = pixels[i * 4 + 3];
        for (int c = 0; c < 3; c++)
            pixels[i * 3 + c] = (unsigned char)((pixels[i * 4 + c] * a + 255 * (255 - a) + 127) / 255);
    }
}

/* The job's pixels become the image's; the spare quarter goes back. */
static void give_pixels(unsigned char **pixels, int w, int h, Image *out)
{
    unsigned char *smaller = realloc(*pixels, (size_t)w * (size_t)h * 3);
    *out = (Image){w, h, smaller ? smaller : *pixels};
    *pixels = NULL;
}

static Status decode_png(Bytes *file, Image *out)
{
    PngJob job = {.file = file, .keep_pixels = true};
    Status status = png_run(&job);
    if (status == STATUS_OK) {
        flatten_on_white(job.rgba, (size_t)job.w * (size_t)job.h);
        give_pixels(&job.rgba, job.w, job.h, out);
    }
    png_job_release(&job);
    return status;
}

/* --- JPEG --- */
typedef struct JpegJob {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    const Bytes *file;
    unsigned char *pixels; /* (H,W,3), or (H,W,4) for CMYK */
    Status code;
    char message[JMSG_LENGTH_MAX];
    jmp_buf leave;
} JpegJob;

static void jpeg_on_error(j_common_ptr info)
{
    JpegJob *job = info->client_data;
    int code = info->err->msg_code;
    if (code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE) job->code = STATUS_NO_MEMORY;
    info->err->format_message(info, job->message);
    longjmp(job->leave, 1);
}

/* libjpeg goes on after damage and fills what is missing with grey; most warnings mean that. */
static void jpeg_on_message(j_common_ptr info, int level)
{
    if (level >= 0) return;
    switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA: /* bytes between markers: some cameras do that */
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
        return;
    default:
        jpeg_on_error(info);
    }
}

static void jpeg_on_progress(j_common_ptr info)
{
    JpegJob *job = info->client_data;
    if (job->jpeg.input_scan_number <= JPEG_MAX_SCANS) return;
    snprintf(job->message, sizeof job->message, "more than %d scans", JPEG_MAX_SCANS);
    longjmp(job->leave, 1);
}

static void jpeg_check_size(JpegJob *job)
{
    unsigned w = job->jpeg.image_width, h = job->jpeg.image_height;
    if (w > IMAGE_MAX_SIDE || h > IMAGE_MAX_SIDE || (int64_t)w * h > IMAGE_MAX_PIXELS)
        snprintf(job->message, sizeof job->message, "%ux%u pixels: expected sides up to %d and at most %lld million", w,
                 h, IMAGE_MAX_SIDE, (long long)(IMAGE_MAX_PIXELS / 1000000));
    else if ((size_t)w * h / 1024 > job->file->size) /* each 8x8 block of some component takes at least one bit */
        snprintf(job->message, sizeof job->message, "the file ends too early");
    else return;
    longjmp(job->leave, 1);
}

static void jpeg_decode(JpegJob *job) /* leaves by longjmp on errors */
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = job;
    jpeg->mem->max_memory_to_use = (long)DECODER_MAX_BYTES;
    jpeg->progress = &job->progress;
    jpeg_mem_src(jpeg, job->file->data, (unsigned long)job->file->size);
    jpeg_read_header(jpeg, TRUE);
    jpeg_check_size(job);
    bool cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(jpeg);
    size_t row = (size_t)jpeg->output_width * (size_t)jpeg->output_components;
    if (jpeg->output_components != (cmyk ? 4 : 3)) ERREXIT(jpeg, JERR_CONVERSION_NOTIMPL);
    job->pixels = malloc(row * jpeg->output_height);
    if (!job->pixels) ERREXIT1(jpeg, JERR_OUT_OF_MEMORY, 0);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW line = job->pixels + row * jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, &line, 1);
    }
    jpeg_finish_decompress(jpeg);
}

static Status jpeg_run(JpegJob *job)
{
    job->code = STATUS_BAD_INPUT;
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->jpeg.client_data = job;
    job->errors.error_exit = jpeg_on_error;
    job->errors.emit_message = jpeg_on_message;
    job->progress.progress_monitor = jpeg_on_progress;
    if (setjmp(job->leave)) {
        if (job->code == STATUS_NO_MEMORY)
            return status_fail(job->code, "%s: JPEG cannot be read: out of memory (limit %zu MiB)", job->file->name,
                               DECODER_MAX_BYTES >> 20);
        return status_fail(job->code, "%s: JPEG cannot be read: %s", job->file->name, job->message);
    }
    jpeg_decode(job);
    return STATUS_OK;
}

/* (n,4) to (n,3) in place. Adobe's programs write the amounts of ink inverted, 255 for none. */
static void cmyk_to_rgb(unsigned char *pixels, size_t n, bool inverted)
{
    for (size_t i = 0; i < n; i++) {
        unsigned k = inverted ? pixels[i * 4 + 3] : 255u - pixels[i * 4 + 3];
        for (int c = 0; c < 3; c++) {
            unsigned light = inverted ? pixels[i * 4 + c] : 255u - pixels[i * 4 + c];
            pixels[i * 3 + c] = (unsigned char)((light * k + 127) / 255);
        }
    }
}

static Status decode_jpeg(Bytes *file, Image *out)
{
    JpegJob job = {.file = file};
    Status status = jpeg_run(&job);
    if (status == STATUS_OK) {
        int w = (int)job.jpeg.output_width, h = (int)job.jpeg.output_height;
        if (job.jpeg.output_components == 4)
            cmyk_to_rgb(job.pixels, (size_t)w * (size_t)h, job.jpeg.saw_Adobe_marker);
        give_pixels(&job.pixels, w, h, out);
    }
    jpeg_destroy_decompress(&job.jpeg);
    free(job.pixels);
    return status;
}

/* --- whole files --- */
Status image_decode(const char *name, const unsigned char *bytes, size_t size, Image *out)
{
    Bytes file = {.name = name, .data = bytes, .size = size};
    *out = (Image){0};
    switch (file_kind(&file)) {
    case KIND_PNG: return decode_png(&file, out);
    case KIND_JPEG: return decode_jpeg(&file, out);
    default: return refuse_kind(&file, "a PNG or JPEG picture");
    }
}

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

Status image_read(const char *path, Image *out)
{
    Bytes file;
    *out = (Image){0};
    TRY(load_file(path, &file));
    Status status = image_decode(file.name, file.data, file.size, out);
    free((void *)file.data);
    return status;
}

/* --- masks --- */
static bool any_transparent(const unsigned char *rgba, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rgba[4 * i + 3] < 255) return true;
    return false;
}

/* (n,channels) -> (n): the mean of the colours. */
static void lightness(const unsigned char *pixels, size_t n, int channels, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = pixels + i * (size_t)channels;
        out[i] = (uint8_t)((p[0] + p[1] + p[2] + 1) / 3);
    }
}

static Status mask_init(int w, int h, const char *name, Mask *out)
{
    *out = (Mask){.w = w, .h = h, .values = malloc((size_t)w * (size_t)h)};
    return out->values ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", name);
}

static Status mask_of_png(Bytes *file, Mask *out)
{
    PngJob job = {.file = file, .keep_pixels = true};
    Status status = png_run(&job);
    if (status == STATUS_OK) status = mask_init(job.w, job.h, file->name, out);
    if (status == STATUS_OK) {
        size_t n = (size_t)job.w * (size_t)job.h;
        lightness(job.rgba, n, 4, out->values);
        out->from_alpha = any_transparent(job.rgba, n);
        for (size_t i = 0; out->from_alpha && i < n; i++) out->values[i] = (uint8_t)(255 - job.rgba[4 * i + 3]);
    }
    png_job_release(&job);
    return status;
}

static Status mask_of_picture(const Bytes *file, Mask *out)
{
    Image image = {0};
    TRY(image_decode(file->name, file->data, file->size, &image));
    Status status = mask_init(image.w, image.h, file->name, out);
    if (status == STATUS_OK) lightness(image.pixels, (size_t)image.w * (size_t)image.h, 3, out->values);
    image_release(&image);
    return status;
}

Status mask_decode(const char *name, const unsigned char *bytes, size_t size, Mask *out)
{
    Bytes file = {.name = name, .data = bytes, .size = size};
    *out = (Mask){0};
    return file_kind(&file) == KIND_PNG ? mask_of_png(&file, out) : mask_of_picture(&file, out);
}

Status mask_read(const char *path, Mask *out)
{
    Bytes file;
    *out = (Mask){0};
    TRY(load_file(path, &file));
    Status status = mask_decode(file.name, file.data, file.size, out);
    free((void *)file.data);
    return status;
}

void mask_release(Mask *mask)
{
    free(mask->values);
    *mask = (Mask){0};
}

/* --- text chunks --- */
static char *utf8_from_latin1(const char *text)
{
    char *out = malloc(strlen(text) * 2 + 1), *p = out;
    if (!out) return NULL;
    for (; *text; text++) p += utf8proc_encode_char((unsigned char)*text, (utf8proc_uint8_t *)p);
    *p = 0;
    return out;
}

static Status copy_texts(const PngJob *job, PngTexts *out)
{
    png_textp texts = NULL;
    int count = 0;
    png_get_text(job->png, job->info, &texts, &count);
    out->keys = calloc((size_t)count + 1, sizeof *out->keys);
    out->values = calloc((size_t)count + 1, sizeof *out->values);
    for (int i = 0; out->keys && out->values && i < count; i++) {
        const char *value = texts[i].text ? texts[i].text : "";
        bool unicode = texts[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        out->keys[i] = utf8_from_latin1(texts[i].key);
        out->values[i] = unicode ? strdup(value) : utf8_from_latin1(value);
        out->count = i + 1;
        if (!out->keys[i] || !out->values[i]) break;
    }
    if (out->count == count && out->keys && out->values && (!count || (out->keys[count - 1] && out->values[count - 1])))
        return STATUS_OK;
    png_texts_release(out);
    return status_fail(STATUS_NO_MEMORY, "%s: out of memory", job->file->name);
}

Status png_decode_text(const char *name, const unsigned char *bytes, size_t size, PngTexts *out)
{
    Bytes file = {.name = name, .data = bytes, .size = size};
    *out = (PngTexts){0};
    if (file_kind(&file) != KIND_PNG) return refuse_kind(&file, "a PNG picture");
    PngJob job = {.file = &file};
    Status status = png_run(&job);
    if (status == STATUS_OK) status = copy_texts(&job, out);
    png_job_release(&job);
    return status;
}

Status png_read_text(const char *path, PngTexts *out)
{
    Bytes file;
    *out = (PngTexts){0};
    TRY(load_file(path, &file));
    Status status = png_decode_text(file.name, file.data, file.size, out);
    free((void *)file.data);
    return status;
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
