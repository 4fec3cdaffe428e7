#include "common/jpeg_write.h"

#include "common/file_write.h"

#include <assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <jpeglib.h>
#include <jerror.h>

enum { FIRST_ROOM = 1 << 16 };

/* libjpeg leaves by longjmp: what must be freed lives outside of the function that it leaves. */
typedef struct JpegJob {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr to;
    unsigned char *bytes;
    size_t room;
    char message[JMSG_LENGTH_MAX];
    jmp_buf leave;
} JpegJob;

static void on_error(j_common_ptr info)
{
    JpegJob *job = info->client_data;
    info->err->format_message(info, job->message);
    longjmp(job->leave, 1);
}

static void no_message(j_common_ptr info, int level)
{
    (void)info;
    (void)level;
}

/* --- into memory (jpeg_mem_dest() tells where its block is only in the end: after a failure nobody could free it) --- */

static void make_room(j_compress_ptr jpeg)
{
    JpegJob *job = jpeg->client_data;
    size_t room = job->room ? 2 * job->room : FIRST_ROOM;
    unsigned char *bytes = realloc(job->bytes, room);
    if (!bytes) ERREXIT1(jpeg, JERR_OUT_OF_MEMORY, 0);
    job->to.next_output_byte = bytes + job->room;
    job->to.free_in_buffer = room - job->room;
    job->bytes = bytes;
    job->room = room;
}

static boolean make_more_room(j_compress_ptr jpeg) /* all of it is used, whatever free_in_buffer says */
{
    make_room(jpeg);
    return TRUE;
}

static void do_nothing(j_compress_ptr jpeg)
{
    (void)jpeg;
}

/* --- a file ------------------------------------------------------------------------------------------- */

static void write_text(struct jpeg_compress_struct *jpeg, const char *text)
{
    const size_t prefix = strlen(JPEG_TEXT_PREFIX), room = 65533 - prefix; /* a marker's length has 16 bits and counts itself */
    for (size_t left = strlen(text); left > 0;) {
        size_t n = left < room ? left : room;
        jpeg_write_m_header(jpeg, JPEG_COM, (unsigned)(prefix + n));
        for (size_t i = 0; i < prefix; i++) jpeg_write_m_byte(jpeg, JPEG_TEXT_PREFIX[i]);
        for (size_t i = 0; i < n; i++) jpeg_write_m_byte(jpeg, (unsigned char)text[i]);
        text += n;
        left -= n;
    }
}

static void compress(JpegJob *job, const Image *image, const JpegOptions *o)
{
    struct jpeg_compress_struct *jpeg = &job->jpeg;
    jpeg_create_compress(jpeg);
    jpeg->client_data = job;
    job->to = (struct jpeg_destination_mgr){
        .init_destination = make_room, .empty_output_buffer = make_more_room, .term_destination = do_nothing};
    jpeg->dest = &job->to;
    jpeg->image_width = (JDIMENSION)image->w;
    jpeg->image_height = (JDIMENSION)image->h;
    jpeg->input_components = 3;
    jpeg->in_color_space = JCS_RGB;
    jpeg_set_defaults(jpeg);
    if (o->grey) jpeg_set_colorspace(jpeg, JCS_GRAYSCALE);
    jpeg_set_quality(jpeg, o->quality, TRUE);
    jpeg->comp_info[0].h_samp_factor = jpeg->comp_info[0].v_samp_factor = o->halved_colours && !o->grey ? 2 : 1;
    jpeg_start_compress(jpeg, TRUE);
    if (o->icc) jpeg_write_icc_profile(jpeg, o->icc, (unsigned)o->icc_size);
    if (o->text) write_text(jpeg, o->text);
    while (jpeg->next_scanline < jpeg->image_height) {
        JSAMPROW row = image->pixels + (size_t)jpeg->next_scanline * (size_t)image->w * 3;
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
}

static Status run(JpegJob *job, const Image *image, const JpegOptions *o)
{
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->jpeg.client_data = job;
    job->errors.error_exit = on_error;
    job->errors.emit_message = no_message;
    if (setjmp(job->leave))
        return status_fail(STATUS_NO_MEMORY, "JPEG of %dx%d: %s", image->w, image->h, job->message);
    compress(job, image, o);
    return STATUS_OK;
}

bool jpeg_is_named(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

Status jpeg_encode(const Image *image, const JpegOptions *options, unsigned char **bytes, size_t *size)
{
    assert(options->quality >= 1 && options->quality <= 100);
    JpegJob job = {.bytes = NULL};
    Status status = run(&job, image, options);
    jpeg_destroy_compress(&job.jpeg);
    if (status != STATUS_OK) {
        free(job.bytes);
        return status;
    }
    *bytes = job.bytes;
    *size = job.room - job.to.free_in_buffer;
    return STATUS_OK;
}

Status jpeg_write(const char *path, const Image *image, const JpegOptions *options)
{
    unsigned char *bytes;
    size_t size;
    TRY(jpeg_encode(image, options, &bytes, &size));
    Status status = file_write(path, bytes, size);
    free(bytes);
    return status;
}
