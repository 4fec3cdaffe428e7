#include "common/picture_decode.h"
#include "common/png_leave.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <png.h>

#define TEXT_MAX_BYTES ((size_t)32 << 20)

typedef struct PngJob {
    Bytes *file;
    png_structp png;
    png_infop info;
    Picture picture; /* of one row when only the texts are wanted */
    bool keep_pixels;
    Status code; /* why it was left; libpng's own reasons are the file's fault */
    PngLeave out;
} PngJob;

static void take_bytes(png_structp png, png_bytep out, size_t n)
{
    Bytes *file = png_get_io_ptr(png);
    if (n > file->size - file->used) png_error(png, "the file ends too early");
    memcpy(out, file->data + file->used, n);
    file->used += n;
}

static void fail(PngJob *job, Status code) /* with status_message() */
{
    job->code = code;
    png_leave_on_error(job->png, status_message());
}

static void check_size(PngJob *job)
{
    png_uint_32 w = png_get_image_width(job->png, job->info), h = png_get_image_height(job->png, job->info);
    if (decode_check_size(w, h) != STATUS_OK) fail(job, STATUS_BAD_INPUT);
    /* Deflate makes at most 1032 bytes of one: a small file that claims more is refused before memory is taken. */
    if (png_get_rowbytes(job->png, job->info) * (size_t)h / 1040 > job->file->size)
        png_error(job->png, "the file ends too early");
}

/* Every kind becomes RGB or RGBA of 8 or 16 bits. */
static void ask_for_rgb(PngJob *job)
{
    const unsigned one = 1;
    png_set_expand(job->png); /* palette and fewer bits to 8 bits, tRNS to alpha */
    png_set_gray_to_rgb(job->png);
    if (*(const unsigned char *)&one) png_set_swap(job->png); /* 16 bits are stored with the high byte first */
}

static void make_room(PngJob *job)
{
    int w = (int)png_get_image_width(job->png, job->info), h = (int)png_get_image_height(job->png, job->info);
    int channels = png_get_channels(job->png, job->info), bits = png_get_bit_depth(job->png, job->info);
    if ((channels != 3 && channels != 4) || (bits != 8 && bits != 16)) png_error(job->png, "unexpected pixel format");
    Status s = picture_init(w, job->keep_pixels ? h : 1, channels, bits, &job->picture);
    if (s != STATUS_OK) fail(job, s);
    if (png_get_rowbytes(job->png, job->info) != (size_t)w * picture_pixel_bytes(&job->picture))
        png_error(job->png, "unexpected pixel format");
}

static void read_pixels(PngJob *job) /* leaves by longjmp on errors */
{
    png_set_read_fn(job->png, job->file, take_bytes);
    png_set_chunk_malloc_max(job->png, TEXT_MAX_BYTES);
    png_set_user_limits(job->png, 0x7fffffff, 0x7fffffff); /* check_size() says it better */
    png_read_info(job->png, job->info);
    check_size(job);
    bool grey = !(png_get_color_type(job->png, job->info) & PNG_COLOR_MASK_COLOR);
    ask_for_rgb(job);
    int passes = png_set_interlace_handling(job->png), h = (int)png_get_image_height(job->png, job->info);
    png_read_update_info(job->png, job->info);
    make_room(job);
    job->picture.grey = grey;
    size_t row = png_get_rowbytes(job->png, job->info);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < h; y++)
            png_read_row(job->png, (png_bytep)job->picture.values + (job->keep_pixels ? row * (size_t)y : 0), NULL);
    png_read_end(job->png, job->info);
}

static Status run(PngJob *job)
{
    job->code = STATUS_BAD_INPUT;
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job->out, png_leave_on_error, png_leave_no_warning);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (!job->info) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", job->file->name);
    if (setjmp(job->out.leave)) {
        if (job->code == STATUS_NO_MEMORY) return status_fail(job->code, "%s: out of memory", job->file->name);
        return status_fail(job->code, "%s: PNG cannot be read: %s", job->file->name, job->out.message);
    }
    read_pixels(job);
    return STATUS_OK;
}

/* --- what else it says -------------------------------------------------------------------------------- */

static Status finish_picture(PngJob *job)
{
    png_charp name;
    png_bytep icc = NULL, exif = NULL;
    png_uint_32 icc_size = 0, exif_size = 0;
    int method;
    if (png_get_iCCP(job->png, job->info, &name, &method, &icc, &icc_size) & PNG_INFO_iCCP)
        TRY(picture_set_profile(&job->picture, icc, icc_size));
#ifdef PNG_eXIf_SUPPORTED
    if (png_get_eXIf_1(job->png, job->info, &exif_size, &exif) & PNG_INFO_eXIf)
        TRY(picture_turn(&job->picture, exif_orientation(exif, exif_size)));
#endif
    return STATUS_OK;
}

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
    Status s = STATUS_OK;
    png_get_text(job->png, job->info, &texts, &count);
    for (int i = 0; s == STATUS_OK && i < count; i++) {
        const char *value = texts[i].text ? texts[i].text : "";
        bool unicode = texts[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        s = decode_add_text(out, utf8_from_latin1(texts[i].key), unicode ? strdup(value) : utf8_from_latin1(value));
    }
    if (s != STATUS_OK) png_texts_release(out);
    return s == STATUS_OK ? s : status_fail(s, "%s: out of memory", job->file->name);
}

Status decode_png(Bytes *file, const Decoded *out)
{
    PngJob job = {.file = file, .keep_pixels = out->picture != NULL};
    Status s = run(&job);
    if (s == STATUS_OK && out->picture) s = finish_picture(&job);
    if (s == STATUS_OK && out->texts) s = copy_texts(&job, out->texts);
    if (s == STATUS_OK && out->picture) {
        *out->picture = job.picture;
        job.picture = (Picture){0};
    }
    png_destroy_read_struct(&job.png, &job.info, NULL);
    picture_release(&job.picture);
    return s;
}
