#include "common/file_write.h"
#include "common/image_read.h"
#include "common/jpeg_write.h"
#include "glide/context.h"
#include "glide/recipe.h"

#include <stdlib.h>

/* --- from inside and outside ------------------------------------------------------------------------- */

void picture_give(Image *image, GlidePicture *out)
{
    *out = (GlidePicture){.width = image->w, .height = image->h, .rgb = image->pixels};
    *image = (Image){0};
}

Image picture_view(const GlidePicture *p)
{
    return (Image){p->width, p->height, p->rgb};
}

Picture picture_whole(const GlidePicture *p)
{
    Picture whole = {.w = p->width, .h = p->height, .channels = 3, .bits = 8};
    if (p->detail) whole = p->detail->picture;
    if (!whole.values) whole.values = p->rgb;
    return whole;
}

/* Whether 8-bit RGB is not all of it. */
static bool says_more(const Picture *p)
{
    return p->channels == 4 || p->bits == 16 || p->grey || p->icc;
}

Status picture_give_whole(Picture *picture, GlidePicture *out)
{
    Image shown = {0};
    bool more = says_more(picture), same = picture->channels == 3 && picture->bits == 8;
    GlideDetail *detail = more ? calloc(1, sizeof *detail) : NULL;
    Status s = more && !detail ? status_fail(STATUS_NO_MEMORY, "out of memory for a picture") : STATUS_OK;
    if (same) {
        shown = (Image){picture->w, picture->h, picture->values};
        if (s == STATUS_OK) picture->values = NULL;
    } else if (s == STATUS_OK) {
        s = picture_to_image(picture, &shown);
    }
    if (s == STATUS_OK) {
        picture_give(&shown, out);
        out->detail = detail;
        if (more) detail->picture = *picture, *picture = (Picture){0};
    } else {
        free(detail);
    }
    picture_release(picture);
    return s;
}

GlideStatus glide_picture_read(const char *path, GlidePicture *out)
{
    Picture picture;
    *out = (GlidePicture){0};
    Status s = picture_read(path, &picture);
    return (GlideStatus)(s == STATUS_OK ? picture_give_whole(&picture, out) : s);
}

void glide_picture_release(GlidePicture *p)
{
    free(p->rgb);
    recipe_free(p->recipe);
    if (p->detail) picture_release(&p->detail->picture);
    free(p->detail);
    *p = (GlidePicture){0};
}

const char *glide_picture_recipe(const GlidePicture *p, const char *key)
{
    return p->recipe ? recipe_find(p->recipe, key) : NULL;
}

/* --- into files --------------------------------------------------------------------------------------- */

static Status encode_png(const GlidePicture *p, const PngText *texts, int count, unsigned char **bytes, size_t *size)
{
    Image image = picture_view(p);
    if (!p->detail) return png_encode(&image, texts, count, bytes, size);
    return png_encode_picture(&p->detail->picture, picture_whole(p).values, texts, count, bytes, size);
}

Status picture_encode(const GlidePicture *p, unsigned char **bytes, size_t *size)
{
    PngText texts[RECIPE_CHUNKS];
    if (!p->recipe) return encode_png(p, NULL, 0, bytes, size);
    TRY(recipe_to_png(p->recipe, p->width, p->height, texts));
    Status s = encode_png(p, texts, RECIPE_CHUNKS, bytes, size);
    for (int i = 0; i < RECIPE_CHUNKS; i++) free((char *)texts[i].value);
    return s;
}

static Status encode_jpeg(const GlidePicture *p, int quality, unsigned char **bytes, size_t *size)
{
    Image image = picture_view(p);
    JpegOptions o = {.quality = quality};
    char *json = NULL;
    if (quality < 1 || quality > 100) return status_fail(STATUS_BAD_INPUT, "jpeg_quality: expected 1 to 100, found %d", quality);
    if (p->detail) {
        o.grey = p->detail->picture.grey;
        o.icc = p->detail->picture.icc;
        o.icc_size = p->detail->picture.icc_size;
    }
    if (p->recipe) TRY(recipe_to_json(p->recipe, 0, &json));
    o.text = json;
    Status s = jpeg_encode(&image, &o, bytes, size);
    free(json);
    return s;
}

GlideWriteOptions glide_write_defaults(void)
{
    return (GlideWriteOptions){.jpeg_quality = JPEG_PICTURE_QUALITY};
}

GlideStatus glide_picture_write_with(const GlidePicture *p, const char *path, const GlideWriteOptions *options)
{
    if (!p->rgb) return (GlideStatus)status_fail(STATUS_BAD_INPUT, "%s: there is no picture to write", path);
    unsigned char *bytes;
    size_t size;
    Status s = jpeg_is_named(path) ? encode_jpeg(p, options->jpeg_quality, &bytes, &size) : picture_encode(p, &bytes, &size);
    if (s != STATUS_OK) return (GlideStatus)s;
    s = file_write(path, bytes, size);
    free(bytes);
    return (GlideStatus)s;
}

GlideStatus glide_picture_write(const GlidePicture *p, const char *path)
{
    GlideWriteOptions defaults = glide_write_defaults();
    return glide_picture_write_with(p, path, &defaults);
}
