#include "data/build_render.h"

#include <cairo.h>
#include <errno.h>
#include <jansson.h>
#include <librsvg/rsvg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>

#define MAX_WEBP_BYTES (16 << 20)
#define MAX_WEBP_SIDE  4096
#define MIN_INK        1.0 /* mean of 255 - value below which a picture counts as blank */

struct IconSet {
    const Source *source;
    char *folder;
    json_t *root;        /* icons.json; NULL for WebP */
    const json_t *icons; /* inside root */
};

Status iconset_open(const Source *source, const char *folder, IconSet **out)
{
    IconSet *set = calloc(1, sizeof *set);
    if (!set || !(set->folder = strdup(folder))) {
        free(set);
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory", folder);
    }
    set->source = source;
    if (source->kind == SOURCE_ICONIFY) {
        char path[4096];
        json_error_t error;
        snprintf(path, sizeof path, "%s/icons.json", folder);
        set->root = json_load_file(path, 0, &error);
        set->icons = json_object_get(set->root, "icons");
        if (!json_is_object(set->icons)) {
            Status status =
                status_fail(STATUS_BAD_INPUT, "%s: %s", path, set->root ? "has no object 'icons'" : error.text);
            iconset_free(set);
            return status;
        }
    }
    *out = set;
    return STATUS_OK;
}

void iconset_free(IconSet *set)
{
    if (!set) return;
    json_decref(set->root);
    free(set->folder);
    free(set);
}

/* A number of the icon, else of the set, else `fallback`. */
static double icon_number(const IconSet *set, const json_t *icon, const char *key, double fallback)
{
    const json_t *value = json_object_get(icon, key);
    if (!json_is_number(value)) value = json_object_get(set->root, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

/* The icon as an SVG document; the caller frees it. */
static Status icon_svg(const IconSet *set, const char *name, char **svg)
{
    const json_t *icon = json_object_get(set->icons, name);
    const char *body = json_string_value(json_object_get(icon, "body"));
    if (!body) return status_fail(STATUS_BAD_INPUT, "%s: no icon '%s' in icons.json", set->source->id, name);
    double width = icon_number(set, icon, "width", 16), height = icon_number(set, icon, "height", 16);
    if (!(width > 0 && height > 0))
        return status_fail(STATUS_BAD_INPUT, "%s: icon '%s' is %gx%g large", set->source->id, name, width, height);
    int n = asprintf(svg,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" "
                     "width=\"%g\" height=\"%g\" viewBox=\"%g %g %g %g\">%s</svg>",
                     width, height, icon_number(set, icon, "left", 0), icon_number(set, icon, "top", 0), width, height,
                     body);
    return n < 0 ? status_fail(STATUS_NO_MEMORY, "%s: out of memory", name) : STATUS_OK;
}

static void copy_rgb(cairo_surface_t *surface, uint8_t *rgb)
{
    cairo_surface_flush(surface);
    const uint8_t *data = cairo_image_surface_get_data(surface);
    int stride = cairo_image_surface_get_stride(surface);
    for (int y = 0; y < DATASET_SIDE; y++) {
        const uint8_t *row = data + (ptrdiff_t)y * stride;
        for (int x = 0; x < DATASET_SIDE; x++, rgb += 3) {
            uint32_t pixel;
            memcpy(&pixel, row + 4 * x, 4);
            rgb[0] = (uint8_t)(pixel >> 16);
            rgb[1] = (uint8_t)(pixel >> 8);
            rgb[2] = (uint8_t)pixel;
        }
    }
}

/* A white 256x256 surface and its context. */
static cairo_t *canvas_new(cairo_surface_t **surface)
{
    *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, DATASET_SIDE, DATASET_SIDE);
    cairo_t *cr = cairo_create(*surface);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    return cr;
}

/* Copy the canvas to rgb unless drawing failed, and free it. */
static Status canvas_finish(cairo_t *cr, cairo_surface_t *surface, uint8_t *rgb)
{
    cairo_status_t error = cairo_status(cr);
    if (error == CAIRO_STATUS_SUCCESS) copy_rgb(surface, rgb);
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return error == CAIRO_STATUS_SUCCESS ? STATUS_OK
                                         : status_fail(STATUS_INTERNAL, "cairo: %s", cairo_status_to_string(error));
}

static Status render_svg(const char *svg, int margin, uint8_t *rgb)
{
    GError *error = NULL;
    RsvgHandle *handle = rsvg_handle_new_from_data((const guint8 *)svg, strlen(svg), &error);
    cairo_surface_t *surface;
    cairo_t *cr = canvas_new(&surface);
    double side = DATASET_SIDE - 2.0 * margin;
    RsvgRectangle viewport = {margin, margin, side, side}; /* keeps the proportions and centres */
    gboolean drawn = handle && rsvg_handle_render_document(handle, cr, &viewport, &error);
    Status status = canvas_finish(cr, surface, rgb);
    if (!drawn) { /* the XML parser's messages go over several lines */
        char *text = error ? g_strchomp(g_strdelimit(error->message, "\n", ' ')) : NULL;
        status = status_fail(STATUS_BAD_INPUT, "librsvg: %s", text ? text : "no message");
    }
    g_clear_error(&error);
    g_clear_object(&handle);
    return status;
}

static Status read_file(const char *path, uint8_t **bytes, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    uint8_t *data = malloc(MAX_WEBP_BYTES);
    size_t n = data ? fread(data, 1, MAX_WEBP_BYTES, file) : 0;
    int bad = ferror(file);
    fclose(file);
    if (!data) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    if (bad || n == 0 || n == MAX_WEBP_BYTES) {
        free(data);
        return status_fail(STATUS_BAD_INPUT, "%s: unreadable, empty or larger than %d MiB", path, MAX_WEBP_BYTES >> 20);
    }
    *bytes = data;
    *size = n;
    return STATUS_OK;
}

/* Decode a WebP file and lay it on white: *pixels (height,width,4), opaque; the caller frees it with WebPFree(). */
static Status webp_load(const char *path, uint8_t **pixels, int *width, int *height)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    TRY(read_file(path, &bytes, &size));
    *pixels = NULL;
    if (WebPGetInfo(bytes, size, width, height) && *width <= MAX_WEBP_SIDE && *height <= MAX_WEBP_SIDE)
        *pixels = WebPDecodeBGRA(bytes, size, width, height);
    free(bytes);
    if (!*pixels) return status_fail(STATUS_BAD_INPUT, "%s: not a readable WebP file", path);
    uint8_t *p = *pixels;
    for (size_t i = 0; i < (size_t)*width * (size_t)*height; i++, p += 4) {
        for (int c = 0; c < 3; c++) p[c] = (uint8_t)((p[c] * p[3] + 255 * (255 - p[3]) + 127) / 255);
        p[3] = 255;
    }
    return STATUS_OK;
}

static Status render_webp(const char *path, int margin, uint8_t *rgb)
{
    uint8_t *pixels = NULL;
    int width = 0, height = 0;
    TRY(webp_load(path, &pixels, &width, &height));
    cairo_surface_t *surface;
    cairo_t *cr = canvas_new(&surface);
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    if (cairo_surface_status(image) == CAIRO_STATUS_SUCCESS) {
        cairo_surface_flush(image);
        uint8_t *data = cairo_image_surface_get_data(image);
        int stride = cairo_image_surface_get_stride(image);
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                const uint8_t *p = pixels + 4 * ((size_t)y * (size_t)width + (size_t)x);
                uint32_t pixel = (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
                memcpy(data + (ptrdiff_t)y * stride + 4 * x, &pixel, 4);
            }
        }
        cairo_surface_mark_dirty(image);
    }
    double side = DATASET_SIDE - 2.0 * margin, scale = side / fmax(width, height); /* 1 for nearly all: an exact copy */
    cairo_translate(cr, margin + (side - width * scale) / 2, margin + (side - height * scale) / 2);
    cairo_scale(cr, scale, scale);
    cairo_set_source_surface(cr, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), scale == 1 ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_BEST);
    cairo_paint(cr);
    cairo_surface_destroy(image);
    WebPFree(pixels);
    return canvas_finish(cr, surface, rgb);
}

static double mean_ink(const uint8_t *rgb)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < DATASET_BYTES; i++) sum += 255u - rgb[i];
    return (double)sum / (double)DATASET_BYTES;
}

Status iconset_render(const IconSet *set, const char *name, uint8_t *rgb)
{
    Status status;
    if (set->source->kind == SOURCE_WEBP) {
        char path[4096];
        snprintf(path, sizeof path, "%s/assets/%s.webp", set->folder, name);
        status = render_webp(path, set->source->margin, rgb);
    } else {
        char *svg = NULL;
        TRY(icon_svg(set, name, &svg));
        status = render_svg(svg, set->source->margin, rgb);
        free(svg);
        if (status != STATUS_OK) status_prefix(status, "%s: icon '%s'", set->source->id, name);
    }
    if (status == STATUS_OK && mean_ink(rgb) < MIN_INK)
        status = status_fail(STATUS_BAD_INPUT, "%s: icon '%s' came out blank", set->source->id, name);
    return status;
}
