#include "data/build_dataset.h"

#include "common/h5file.h"
#include "common/image.h"
#include "data/build_render.h"
#include "data/dataset.h"
#include "data/manifest.h"

#include <errno.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFLATE_LEVEL 2 /* flat colours: higher levels gain little and cost much */

typedef struct Build {
    const BuildOptions *options;
    Manifest manifest;
    SourceList sources;
    char *attribution;
    H5File *file;
    int done;
    Status status; /* first failure of any thread, with its message */
    char message[1024];
} Build;

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
    for (int i = 0; i < m->count; i++) texts[i] = sources_find(&b->sources, m->rows[i].id)->licence;
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

static Status render_all(Build *b)
{
    const Manifest *m = &b->manifest;
    const int64_t n = m->count;
    TRY(h5file_create_rows(b->file, "images", H5KIND_U8, 4, (int64_t[]){n, DATASET_SIDE, DATASET_SIDE, 3}, 1,
                           DEFLATE_LEVEL));
    TRY(h5file_create_rows(b->file, "images64", H5KIND_U8, 4, (int64_t[]){n, DATASET_SMALL_SIDE, DATASET_SMALL_SIDE, 3},
                           0, 0));
    for (int first = 0, last; first < m->count; first = last) {
        const Source *source = sources_find(&b->sources, m->rows[first].id);
        for (last = first; last < m->count && strcmp(m->rows[last].id, source->id) == 0;) last++;
        char folder[4096];
        snprintf(folder, sizeof folder, "%s/%s-%s", b->options->cache, source->id, source->version);
        IconSet *set;
        TRY(iconset_open(source, folder, &set));
        Status status = render_rows(b, set, first, last);
        iconset_free(set);
        TRY(status);
    }
    return STATUS_OK;
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
    sources_release(&b.sources);
    free(b.attribution);
    return status;
}
