#include "common/png_compress.h"
#include "common/png_leave.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

typedef struct PngJob {
    const Picture *picture;
    const unsigned char *values;
    unsigned char *row; /* (W,1 or 2) of a grey picture */
    unsigned char *bytes;
    size_t size, room;
    PngLeave out;
} PngJob;

static void append(png_structp png, png_bytep data, size_t n)
{
    PngJob *job = png_get_io_ptr(png);
    if (job->size + n > job->room) {
        size_t room = 2 * job->room + n + 4096;
        unsigned char *larger = realloc(job->bytes, room);
        if (!larger) png_error(png, "out of memory");
        job->bytes = larger;
        job->room = room;
    }
    memcpy(job->bytes + job->size, data, n);
    job->size += n;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

/* One value of a pixel's equal three, and alpha. */
static void pack_grey(const Picture *p, const unsigned char *from, unsigned char *to)
{
    size_t value = (size_t)p->bits / 8, pixel = picture_pixel_bytes(p);
    for (int x = 0; x < p->w; x++, from += pixel) {
        memcpy(to, from, value);
        to += value;
        if (p->channels == 3) continue;
        memcpy(to, from + 3 * value, value);
        to += value;
    }
}

static void write_rows(PngJob *job, png_structp png)
{
    const Picture *p = job->picture;
    size_t row = (size_t)p->w * picture_pixel_bytes(p);
    for (int y = 0; y < p->h; y++) {
        const unsigned char *from = job->values + (size_t)y * row;
        if (p->grey) pack_grey(p, from, job->row);
        png_write_row(png, p->grey ? job->row : from);
    }
}

static void compress(PngJob *job, png_structp png, png_infop info) /* leaves by longjmp on errors */
{
    const Picture *p = job->picture;
    const unsigned one = 1;
    int type = (p->grey ? 0 : PNG_COLOR_MASK_COLOR) | (p->channels == 4 ? PNG_COLOR_MASK_ALPHA : 0);
    png_set_write_fn(png, job, append, flush_nothing);
    png_set_benign_errors(png, 1);
    png_set_IHDR(png, info, (png_uint_32)p->w, (png_uint_32)p->h, p->bits, type, PNG_INTERLACE_NONE, 0, 0);
    if (p->icc) png_set_iCCP(png, info, "ICC profile", PNG_COMPRESSION_TYPE_BASE, p->icc, (png_uint_32)p->icc_size);
    png_write_info(png, info);
    if (p->bits == 16 && *(const unsigned char *)&one) png_set_swap(png);
    write_rows(job, png);
    png_write_end(png, info);
}

static Status run(PngJob *job, png_structp png, png_infop info)
{
    if (setjmp(job->out.leave))
        return status_fail(STATUS_NO_MEMORY, "PNG of %dx%d: %s", job->picture->w, job->picture->h, job->out.message);
    compress(job, png, info);
    return STATUS_OK;
}

Status png_compress(const Picture *picture, const void *values, unsigned char **bytes, size_t *size)
{
    PngJob job = {.picture = picture, .values = values, .row = malloc((size_t)picture->w * picture_pixel_bytes(picture))};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job.out, png_leave_on_error, png_leave_no_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    Status s = info && job.row ? STATUS_OK
                               : status_fail(STATUS_NO_MEMORY, "PNG of %dx%d: out of memory", picture->w, picture->h);
    if (s == STATUS_OK) s = run(&job, png, info);
    png_destroy_write_struct(&png, &info);
    free(job.row);
    if (s != STATUS_OK) {
        free(job.bytes);
        return s;
    }
    *bytes = job.bytes;
    *size = job.size;
    return STATUS_OK;
}
