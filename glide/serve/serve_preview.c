#include "glide/serve/serve_preview.h"

#include <png.h>
#include <stdlib.h>

Status preview_encode(const Image *image, unsigned char **bytes, size_t *size)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->w,
                     .height = (png_uint_32)image->h,
                     .format = PNG_FORMAT_RGB,
                     .flags = PNG_IMAGE_FLAG_FAST};
    png_alloc_size_t room = PNG_IMAGE_PNG_SIZE_MAX(png);
    *size = 0;
    *bytes = malloc(room);
    if (!*bytes) return status_fail(STATUS_NO_MEMORY, "out of memory for a preview");
    if (png_image_write_to_memory(&png, *bytes, &room, 0, image->pixels, 0, NULL)) {
        *size = room;
        return STATUS_OK;
    }
    free(*bytes);
    *bytes = NULL;
    return status_fail(STATUS_INTERNAL, "a preview could not be packed: %.60s", png.message);
}
