#include "data/build_dataset.h"

#include "common/h5file.h"
#include "common/image.h"
#include "common/png_write.h"
#include "data/build_photos.h"
#include "data/build_render.h"
#include "data/dataset.h"
#include "data/manifest.h"

#include <errno.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFLATE_LEVEL 2 /* flat colours: higher levels gain little and cost much */

typedef struct Build {
    const BuildOptions *options;
    Manifest manifest; /* with a row for each tile at the end, from `drawn` on */
    int drawn;
    SourceList sources;
    PhotoList photos;
    PhotoTiles tiles;
    char (*names)[2][128]; /* root and icon of each tile */
    char *attribution;
    H5File *file;
    int done;
    Status status; /* first failure of any thread, with its message */
    char message[1024];
} Build;

/* Whole photos for measuring: CACHE/photos-held-out/NAME.png. */
static Status keep_whole(const Build *b, const PhotoRow *row, const Image *photo)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/photos-held-out", b->options->cache);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    snprintf(path, sizeof path, "%s/photos-held-out/%s.png", b->options->cache, row->name);
    return png_write(path, photo, NULL, 0);
}

/* Find the tiles of all photos. */
static Status plan_photos(Build *b)
{
    for (int i = 0; i < b->photos.count; i++) {
        const PhotoRow *row = &b->photos.rows[i];
        Image photo = {0};
        TRY(photo_read(row, sources_find(&b->sources, row->id), b->options->cache, &photo));
        Status status = photo_tiles_add(&b->tiles, i, row, &photo);
        if (status == STATUS_OK && row->split == SPLIT_TEST_PHOTO) status = keep_whole(b, row, &photo);
        image_release(&photo);
        TRY(status);
        const BuildOptions *o = b->options;
        if (o->stop && o->stop(o->context)) return status_fail(STATUS_INTERRUPTED, "%s: interrupted, nothing kept", o->out);
    }
    return STATUS_OK;
}

/* A row of the manifest for every tile. */
static Status add_tile_rows(Build *b)
{
    Manifest *m = &b->manifest;
    ManifestRow *rows = realloc(m->rows, (size_t)(m->count + b->tiles.count) * sizeof *rows);
    if (rows) m->rows = rows;
    b->names = calloc((size_t)b->tiles.count + 1, sizeof *b->names);
    if (!rows || !b->names) return status_fail(STATUS_NO_MEMORY, "photos: out of memory");
    for (int i = 0; i < b->tiles.count; i++) {
        const PhotoTile *t = &b->tiles.items[i];
        const PhotoRow *p = &b->photos.rows[t->photo];
        char *root = b->names[i][0], *icon = b->names[i][1];
        snprintf(root, sizeof b->names[i][0], "photo:%s", p->name);
        snprintf(icon, sizeof b->names[i][1], "%s@%dx%d+%d+%d", p->name, t->w, t->h, t->x, t->y);
        rows[m->count++] = (ManifestRow){.id = p->id, .icon = icon, .code = "", .root = root, .tone = "", .group = "photo",
                                         .split = p->split, .label_en = p->label_en, .label_ko = p->label_ko, .tags_en = "",
                                         .tags_ko = "", .licence = p->licence};
    }
    return STATUS_OK;
}

static Status load_photos(Build *b)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/photos.tsv", b->options->lists);
    TRY(photos_load(path, &b->photos));
    for (int i = 0; i < b->photos.count; i++) {
        const Source *source = sources_find(&b->sources, b->photos.rows[i].id);
        if (!source || source->kind < SOURCE_PHOTO_DEB)
            return status_fail(STATUS_BAD_INPUT, "%s: %s: '%s' is no package of photos in sources.tsv", path,
                               b->photos.rows[i].name, b->photos.rows[i].id);
    }
    TRY(plan_photos(b));
    return add_tile_rows(b);
}

static Status read_attribution(const char *path, char **out)
{
    FILE *file = fopen(path, "r");
    if (!file) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    char *text = calloc(1, 1 << 14);
    size_t n = text ? fread(text, 1, (1 << 14) - 1, file) : 0;
    fclose(file);
    *out = text;
    if (!text) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    return n ? STATUS_OK : status_fail(STATUS_BAD_INPUT, "%s: is empty", path);
}

static Status load_lists(Build *b)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/sources.tsv", b->options->lists);
    TRY(sources_load(path, &b->sources));
    snprintf(path, sizeof path, "%s/manifest.tsv.gz", b->options->lists);
    TRY(manifest_load(path, &b->manifest));
    for (int i = 0; i < b->manifest.count; i++) {
        if (!sources_find(&b->sources, b->manifest.rows[i].id))
            return status_fail(STATUS_BAD_INPUT, "%s: line %d: package '%s' is not in sources.tsv", path, i + 2,
                               b->manifest.rows[i].id);
    }
    b->drawn = b->manifest.count;
    if (!b->options->no_photos) TRY(load_photos(b));
    snprintf(path, sizeof path, "%s/ATTRIBUTION.txt", b->options->lists);
    return read_attribution(path, &b->attribution);
}

/* One string dataset: the field at `offset` of every manifest row. */
static Status write_column(const Build *b, const char *name, size_t offset, const char **texts)
{
    for (int i = 0; i < b->manifest.count; i++)
        texts[i] = *(const char *const *)((const char *)&b->manifest.rows[i] + offset);
    return h5file_write_texts(b->file, name, texts, b->manifest.count);
}

static Status write_columns(const Build *b, const char **texts)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {
        {"label_en", offsetof(ManifestRow, label_en)}, {"label_ko", offsetof(ManifestRow, label_ko)},
        {"tags_en", offsetof(ManifestRow, tags_en)},   {"tags_ko", offsetof(ManifestRow, tags_ko)},
        {"root", offsetof(ManifestRow, root)},         {"tone", offsetof(ManifestRow, tone)},
        {"group", offsetof(ManifestRow, group)},       {"code", offsetof(ManifestRow, code)},
        {"icon", offsetof(ManifestRow, icon)},
    };
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        TRY(write_column(b, columns[i].name, columns[i].offset, texts));
    const Manifest *m = &b->manifest;
    for (int i = 0; i < m->count; i++) texts[i] = split_name(m->rows[i].split);
    TRY(h5file_write_texts(b->file, "split", texts, m->count));
    for (int i = 0; i < m->count; i++) texts[i] = sources_find(&b->sources, m->rows[i].id)->style;
    TRY(h5file_write_texts(b->file, "style", texts, m->count));
    for (int i = 0; i < m->count; i++)
        texts[i] = m->rows[i].licence ? m->rows[i].licence : sources_find(&b->sources, m->rows[i].id)->licence;
    return h5file_write_texts(b->file, "licence", texts, m->count);
}

static Status write_attributes(const Build *b)
{
    const Manifest *m = &b->manifest;
    int64_t counts[SPLIT_COUNT] = {0};
    for (int i = 0; i < m->count; i++) counts[m->rows[i].split]++;
    TRY(h5file_set_text(b->file, "/", "format", DATASET_FORMAT));
    TRY(h5file_set_i64(b->file, "/", "format_version", DATASET_FORMAT_VERSION));
    TRY(h5file_set_i64(b->file, "/", "count", m->count));
    for (int i = 0; i < SPLIT_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "count_%s", split_name((Split)i));
        TRY(h5file_set_i64(b->file, "/", name, counts[i]));
    }
    TRY(h5file_set_text(b->file, "/", "attribution", b->attribution));
    char packages[4096] = "";
    size_t used = 0;
    for (int i = 0; i < b->sources.count && used < sizeof packages; i++) {
        const Source *s = &b->sources.items[i];
        used += (size_t)snprintf(packages + used, sizeof packages - used, "%s%s: %s %s", i ? "; " : "", s->style,
                                 s->package, s->version);
    }
    return h5file_set_text(b->file, "/", "packages", packages);
}

/* Called by one thread at a time: store picture i and ask whether to go on. */
static Status store_picture(Build *b, int i, const Image *big, const Image *small)
{
    const BuildOptions *o = b->options;
    TRY(h5file_write_rows(b->file, "images", i, 1, DATASET_BYTES, big->pixels));
    TRY(h5file_write_rows(b->file, "images64", i, 1, DATASET_SMALL_BYTES, small->pixels));
    b->done++;
    if (o->progress) {
        const Source *source = sources_find(&b->sources, b->manifest.rows[i].id);
        o->progress(o->context, source->style, b->done, b->manifest.count);
    }
    if (o->stop && o->stop(o->context)) return status_fail(STATUS_INTERRUPTED, "%s: interrupted, nothing kept", o->out);
    return STATUS_OK;
}

/* Keep the first failure of any thread; its message belongs to the thread that failed. */
static void note_status(Build *b, Status status)
{
    if (status == STATUS_OK || b->status != STATUS_OK) return;
    snprintf(b->message, sizeof b->message, "%s", status_message());
#pragma omp atomic write
    b->status = status;
}

static void make_picture(Build *b, const IconSet *set, int i, Image *big)
{
    Status status;
#pragma omp atomic read
    status = b->status;
    if (status != STATUS_OK) return;
    Image small = {0};
    status = big->pixels ? iconset_render(set, b->manifest.rows[i].icon, big->pixels)
                         : status_fail(STATUS_NO_MEMORY, "pictures: out of memory");
    if (status == STATUS_OK) status = image_block_mean(big, DATASET_SIDE / DATASET_SMALL_SIDE, &small);
#pragma omp critical(build_store)
    {
        if (status == STATUS_OK && b->status == STATUS_OK) status = store_picture(b, i, big, &small);
        note_status(b, status);
    }
    image_release(&small);
}

/* Render rows [first, last), all of one source. Rendering is threaded, writing one at a time. */
static Status render_rows(Build *b, const IconSet *set, int first, int last)
{
    int threads = b->options->threads > 0 ? b->options->threads : omp_get_max_threads();
#pragma omp parallel num_threads(threads)
    {
        Image big = {DATASET_SIDE, DATASET_SIDE, malloc(DATASET_BYTES)};
#pragma omp for schedule(dynamic, 1)
        for (int i = first; i < last; i++) make_picture(b, set, i, &big);
        image_release(&big);
    }
    return b->status == STATUS_OK ? STATUS_OK : status_fail(b->status, "%s", b->message);
}

/* The tiles from `first` on that are of one photo at one scale; *next is the first that is not. */
static Status cut_scale(Build *b, const Image *photo, int first, int *next)
{
    const PhotoTile *tiles = b->tiles.items;
    Image reduced = {0}, small = {0}, big = {DATASET_SIDE, DATASET_SIDE, malloc(DATASET_BYTES)};
    Status status = big.pixels ? image_resize(photo, tiles[first].w, tiles[first].h, &reduced)
                               : status_fail(STATUS_NO_MEMORY, "photos: out of memory");
    int i = first;
    for (; status == STATUS_OK && i < b->tiles.count && tiles[i].photo == tiles[first].photo && tiles[i].w == reduced.w; i++) {
        photo_tile_cut(&reduced, &tiles[i], big.pixels);
        status = image_block_mean(&big, DATASET_SIDE / DATASET_SMALL_SIDE, &small);
        if (status == STATUS_OK) status = store_picture(b, b->drawn + i, &big, &small);
        image_release(&small);
    }
    *next = i;
    image_release(&reduced);
    image_release(&big);
    return status;
}

static Status cut_photos(Build *b)
{
    for (int i = 0; i < b->tiles.count;) {
        int which = b->tiles.items[i].photo;
        const PhotoRow *row = &b->photos.rows[which];
        Image photo = {0};
        TRY(photo_read(row, sources_find(&b->sources, row->id), b->options->cache, &photo));
        Status status = STATUS_OK;
        while (status == STATUS_OK && i < b->tiles.count && b->tiles.items[i].photo == which)
            status = cut_scale(b, &photo, i, &i);
        image_release(&photo);
        TRY(status);
    }
    return STATUS_OK;
}

static Status render_all(Build *b)
{
    const Manifest *m = &b->manifest;
    const int64_t n = m->count;
    TRY(h5file_create_rows(b->file, "images", H5KIND_U8, 4, (int64_t[]){n, DATASET_SIDE, DATASET_SIDE, 3}, 1,
                           DEFLATE_LEVEL));
    TRY(h5file_create_rows(b->file, "images64", H5KIND_U8, 4, (int64_t[]){n, DATASET_SMALL_SIDE, DATASET_SMALL_SIDE, 3},
                           0, 0));
    for (int first = 0, last; first < b->drawn; first = last) {
        const Source *source = sources_find(&b->sources, m->rows[first].id);
        for (last = first; last < b->drawn && strcmp(m->rows[last].id, source->id) == 0;) last++;
        char folder[4096];
        snprintf(folder, sizeof folder, "%s/%s-%s", b->options->cache, source->id, source->version);
        IconSet *set;
        TRY(iconset_open(source, folder, &set));
        Status status = render_rows(b, set, first, last);
        iconset_free(set);
        TRY(status);
    }
    return cut_photos(b);
}

static Status write_all(Build *b)
{
    const char **texts = malloc((size_t)b->manifest.count * sizeof *texts);
    if (!texts) return status_fail(STATUS_NO_MEMORY, "captions: out of memory");
    Status status = write_attributes(b);
    if (status == STATUS_OK) status = write_columns(b, texts);
    free(texts);
    return status == STATUS_OK ? render_all(b) : status;
}

Status build_dataset(const BuildOptions *options)
{
    Build b = {.options = options};
    Status status = load_lists(&b);
    if (status == STATUS_OK) status = h5file_create(options->out, &b.file);
    if (status == STATUS_OK) {
        status = write_all(&b);
        if (status == STATUS_OK)
            status = h5file_commit(b.file);
        else
            h5file_close(b.file);
    }
    manifest_release(&b.manifest);
    photos_release(&b.photos);
    photo_tiles_release(&b.tiles);
    free(b.names);
    sources_release(&b.sources);
    free(b.attribution);
    return status;
}
