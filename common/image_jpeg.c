#include "common/jpeg_write.h"
#include "common/picture_decode.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#define MAX_SCANS 200 /* progressive files have about 10; each scan costs time for the whole picture */

typedef struct JpegJob {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    const Bytes *file;
    unsigned char *pixels; /* (H,W,3), or (H,W,4) for CMYK */
    JOCTET *icc;
    unsigned icc_size;
    char *text;
    int orientation;
    Status code;
    char message[JMSG_LENGTH_MAX];
    jmp_buf leave;
} JpegJob;

static void on_error(j_common_ptr info)
{
    JpegJob *job = info->client_data;
    int code = info->err->msg_code;
    if (code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE) job->code = STATUS_NO_MEMORY;
    info->err->format_message(info, job->message);
    longjmp(job->leave, 1);
}

/* libjpeg goes on after damage and fills what is missing with grey; most warnings mean that. */
static void on_message(j_common_ptr info, int level)
{
    if (level >= 0) return;
    switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA: /* bytes between markers: some cameras do that */
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
    case JWRN_BOGUS_ICC: /* a part of the profile is missing: there is none then */
        return;
    default:
        on_error(info);
    }
}

static void on_progress(j_common_ptr info)
{
    JpegJob *job = info->client_data;
    if (job->jpeg.input_scan_number <= MAX_SCANS) return;
    snprintf(job->message, sizeof job->message, "more than %d scans", MAX_SCANS);
    longjmp(job->leave, 1);
}

static void check_size(JpegJob *job)
{
    unsigned w = job->jpeg.image_width, h = job->jpeg.image_height;
    if (decode_check_size(w, h) != STATUS_OK)
        snprintf(job->message, sizeof job->message, "%s", status_message());
    else if ((size_t)w * h / 1024 > job->file->size) /* each 8x8 block of some component takes at least one bit */
        snprintf(job->message, sizeof job->message, "the file ends too early");
    else return;
    longjmp(job->leave, 1);
}

static int orientation_of(const JpegJob *job)
{
    for (jpeg_saved_marker_ptr m = job->jpeg.marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length >= 6 && !memcmp(m->data, "Exif\0\0", 6))
            return exif_orientation(m->data, m->data_length);
    return 1;
}

/* The parts of the comment that jpeg_write.h makes, in one text; NULL where there is none. */
static void take_text(JpegJob *job)
{
    const size_t prefix = strlen(JPEG_TEXT_PREFIX);
    size_t size = 0;
    for (jpeg_saved_marker_ptr m = job->jpeg.marker_list; m; m = m->next) {
        if (m->marker != JPEG_COM || m->data_length <= prefix || memcmp(m->data, JPEG_TEXT_PREFIX, prefix) != 0) continue;
        size_t n = m->data_length - prefix;
        char *longer = realloc(job->text, size + n + 1);
        if (!longer) ERREXIT1(&job->jpeg, JERR_OUT_OF_MEMORY, 0);
        job->text = longer;
        memcpy(job->text + size, m->data + prefix, n);
        job->text[size += n] = 0;
    }
}

/* libjpeg forgets its markers with the picture's end. */
static void take_markers(JpegJob *job)
{
    jpeg_read_icc_profile(&job->jpeg, &job->icc, &job->icc_size);
    job->orientation = orientation_of(job);
    take_text(job);
}

static void read_pixels(JpegJob *job) /* leaves by longjmp on errors */
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = job;
    jpeg->mem->max_memory_to_use = (long)DECODER_MAX_BYTES;
    jpeg->progress = &job->progress;
    jpeg_mem_src(jpeg, job->file->data, (unsigned long)job->file->size);
    const int kept[] = {JPEG_APP0 + 1, JPEG_APP0 + 2, JPEG_COM}; /* EXIF, profile, recipe */
    for (int i = 0; i < 3; i++) jpeg_save_markers(jpeg, kept[i], 0xffff);
    jpeg_read_header(jpeg, TRUE);
    check_size(job);
    take_markers(job);
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

static Status run(JpegJob *job)
{
    job->code = STATUS_BAD_INPUT;
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->jpeg.client_data = job;
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->progress.progress_monitor = on_progress;
    if (setjmp(job->leave)) {
        if (job->code == STATUS_NO_MEMORY)
            return status_fail(job->code, "%s: JPEG cannot be read: out of memory (limit %zu MiB)", job->file->name,
                               DECODER_MAX_BYTES >> 20);
        return status_fail(job->code, "%s: JPEG cannot be read: %s", job->file->name, job->message);
    }
    read_pixels(job);
    return STATUS_OK;
}

/* --- what it says ------------------------------------------------------------------------------------- */

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

static Status give_picture(JpegJob *job, Picture *out)
{
    Picture p = {.w = (int)job->jpeg.output_width, .h = (int)job->jpeg.output_height, .channels = 3, .bits = 8,
                 .grey = job->jpeg.jpeg_color_space == JCS_GRAYSCALE};
    bool cmyk = job->jpeg.output_components == 4;
    size_t n = (size_t)p.w * (size_t)p.h;
    if (cmyk) cmyk_to_rgb(job->pixels, n, job->jpeg.saw_Adobe_marker);
    unsigned char *smaller = cmyk ? realloc(job->pixels, 3 * n) : NULL; /* the spare quarter goes back */
    p.values = smaller ? smaller : job->pixels;
    job->pixels = NULL;
    Status s = picture_set_profile(&p, cmyk ? NULL : job->icc, job->icc_size);
    if (s == STATUS_OK) s = picture_turn(&p, job->orientation);
    if (s == STATUS_OK) *out = p;
    else picture_release(&p);
    return s;
}

Status decode_jpeg(const Bytes *file, const Decoded *out)
{
    JpegJob job = {.file = file};
    Status s = run(&job);
    if (s == STATUS_OK && out->texts && job.text) {
        s = decode_add_text(out->texts, strdup(JPEG_TEXT_KEY), job.text);
        job.text = NULL;
    }
    if (s == STATUS_OK && out->picture) s = give_picture(&job, out->picture);
    jpeg_destroy_decompress(&job.jpeg);
    free(job.pixels);
    free(job.icc);
    free(job.text);
    return s;
}
