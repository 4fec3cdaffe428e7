#include "data/dataset.h"

#include "common/h5file.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { LABEL_EN, LABEL_KO, TAGS_EN, TAGS_KO, STYLE, ROOT, TONE, GROUP, SPLIT, CODE, LICENCE, COLUMNS };

static const char *const column_names[COLUMNS] = {"label_en", "label_ko", "tags_en", "tags_ko", "style",  "root",
                                                  "tone",     "group",    "split",   "code",    "licence"};
/* Which may hold empty strings. */
static const bool column_optional[COLUMNS] = {[LABEL_KO] = true, [TAGS_EN] = true, [TAGS_KO] = true, [TONE] = true,
                                              [GROUP] = true,    [CODE] = true,    [LICENCE] = true};

#define MAX_STYLES 256

struct Dataset {
    H5File *file;
    pthread_mutex_t lock; /* of file */
    int count;
    DatasetItem *items;
    char **columns[COLUMNS]; /* what the items point into */
    const char *styles[MAX_STYLES];
    int style_count;
    const char **roots;
    int root_count;
    int split_counts[SPLIT_COUNT];
    char *attribution;
    uint8_t *small; /* (N,64,64,3) or NULL */
};

static Status check_format(const H5File *file)
{
    char *format;
    int64_t version;
    TRY(h5file_attr_text_or(file, "/", "format", "", &format));
    bool right = strcmp(format, DATASET_FORMAT) == 0;
    Status status = STATUS_OK;
    if (!right)
        status = status_fail(STATUS_BAD_INPUT, "%s: not a data set: attribute format is '%.40s', expected '%s'",
                             h5file_path(file), format, DATASET_FORMAT);
    free(format);
    TRY(status);
    TRY(h5file_attr_i64(file, "/", "format_version", &version));
    if (version != DATASET_FORMAT_VERSION)
        return status_fail(STATUS_BAD_INPUT, "%s: data set of format version %lld, expected %d", h5file_path(file),
                           (long long)version, DATASET_FORMAT_VERSION);
    return STATUS_OK;
}

static Status check_pictures(const H5File *file, const char *name, int64_t side, int64_t *count)
{
    H5Info info;
    char found[128];
    TRY(h5file_stat(file, name, &info));
    bool fits = info.kind == H5KIND_U8 && info.ndim == 4 && info.dims[1] == side && info.dims[2] == side &&
                info.dims[3] == 3 && info.dims[0] >= 1 && info.dims[0] <= DATASET_MAX_COUNT;
    if (!fits)
        return status_fail(STATUS_BAD_INPUT, "%s: %s is %s, expected (N,%d,%d,3) u8 with N from 1 to %d",
                           h5file_path(file), name, h5info_describe(&info, found, sizeof found), (int)side, (int)side,
                           DATASET_MAX_COUNT);
    if (*count && info.dims[0] != *count)
        return status_fail(STATUS_BAD_INPUT, "%s: %s holds %lld pictures, images %lld", h5file_path(file), name,
                           (long long)info.dims[0], (long long)*count);
    *count = info.dims[0];
    return STATUS_OK;
}

static Status check_text(const H5File *file, int column, int row, const char *text)
{
    size_t length = strlen(text);
    const char *wrong = NULL;
    if (length > DATASET_MAX_TEXT)
        wrong = "is too long";
    else if (length == 0 && !column_optional[column])
        wrong = "is empty";
    utf8proc_int32_t point;
    for (size_t at = 0; at < length && !wrong;) {
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(length - at), &point);
        if (n <= 0)
            wrong = "is not UTF-8";
        else
            at += (size_t)n;
    }
    if (!wrong) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: %s[%d] %s", h5file_path(file), column_names[column], row, wrong);
}

static Status load_columns(Dataset *d)
{
    for (int c = 0; c < COLUMNS; c++) {
        H5Info info;
        TRY(h5file_stat(d->file, column_names[c], &info));
        char found[128];
        if (info.kind != H5KIND_TEXT || info.ndim != 1 || info.dims[0] != d->count)
            return status_fail(STATUS_BAD_INPUT, "%s: %s is %s, expected (%d) strings", h5file_path(d->file),
                               column_names[c], h5info_describe(&info, found, sizeof found), d->count);
        int count;
        TRY(h5file_load_texts(d->file, column_names[c], &d->columns[c], &count));
        for (int i = 0; i < d->count; i++) TRY(check_text(d->file, c, i, d->columns[c][i]));
    }
    return STATUS_OK;
}

static Status fill_items(Dataset *d)
{
    d->items = calloc((size_t)d->count, sizeof *d->items);
    if (!d->items) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", h5file_path(d->file));
    for (int i = 0; i < d->count; i++) {
        int split = split_from_name(d->columns[SPLIT][i]);
        if (split < 0)
            return status_fail(STATUS_BAD_INPUT,
                               "%s: split[%d] is '%.40s', expected train, test_pair, test_tone, "
                               "test_concept or test_photo",
                               h5file_path(d->file), i, d->columns[SPLIT][i]);
        d->items[i] = (DatasetItem){.label_en = d->columns[LABEL_EN][i],
                                    .label_ko = d->columns[LABEL_KO][i],
                                    .tags_en = d->columns[TAGS_EN][i],
                                    .tags_ko = d->columns[TAGS_KO][i],
                                    .style = d->columns[STYLE][i],
                                    .root = d->columns[ROOT][i],
                                    .tone = d->columns[TONE][i],
                                    .group = d->columns[GROUP][i],
                                    .code = d->columns[CODE][i],
                                    .licence = d->columns[LICENCE][i],
                                    .split = (Split)split,
                                    .photo = strcmp(d->columns[GROUP][i], "photo") == 0};
        d->split_counts[split]++;
    }
    return STATUS_OK;
}

static Status number_styles(Dataset *d)
{
    for (int i = 0; i < d->count; i++) {
        int id = dataset_style_id(d, d->items[i].style);
        if (id < 0) {
            if (d->style_count == MAX_STYLES)
                return status_fail(STATUS_BAD_INPUT, "%s: style: more than %d styles", h5file_path(d->file),
                                   MAX_STYLES);
            id = d->style_count++;
            d->styles[id] = d->items[i].style;
        }
        d->items[i].style_id = id;
    }
    return STATUS_OK;
}

static int compare_roots(const void *a, const void *b)
{
    const DatasetItem *const *x = a, *const *y = b;
    return strcmp((*x)->root, (*y)->root);
}

/* Concepts are numbered in the order of their names. */
static Status number_roots(Dataset *d)
{
    DatasetItem **sorted = malloc((size_t)d->count * sizeof *sorted);
    d->roots = malloc((size_t)d->count * sizeof *d->roots);
    if (!sorted || !d->roots) {
        free(sorted);
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory", h5file_path(d->file));
    }
    for (int i = 0; i < d->count; i++) sorted[i] = &d->items[i];
    qsort(sorted, (size_t)d->count, sizeof *sorted, compare_roots);
    for (int i = 0; i < d->count; i++) {
        if (i == 0 || strcmp(sorted[i]->root, sorted[i - 1]->root) != 0) d->roots[d->root_count++] = sorted[i]->root;
        sorted[i]->root_id = d->root_count - 1;
    }
    free(sorted);
    return STATUS_OK;
}

static Status load_all(Dataset *d, const char *path)
{
    int64_t count = 0;
    TRY(h5file_open(path, &d->file));
    TRY(check_format(d->file));
    TRY(check_pictures(d->file, "images", DATASET_SIDE, &count));
    TRY(check_pictures(d->file, "images64", DATASET_SMALL_SIDE, &count));
    d->count = (int)count;
    TRY(load_columns(d));
    TRY(fill_items(d));
    TRY(number_styles(d));
    TRY(number_roots(d));
    return h5file_attr_text_or(d->file, "/", "attribution", "", &d->attribution);
}

Status dataset_open(const char *path, Dataset **out)
{
    Dataset *d = calloc(1, sizeof *d);
    if (!d) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    pthread_mutex_init(&d->lock, NULL);
    Status status = load_all(d, path);
    if (status != STATUS_OK)
        dataset_free(d);
    else
        *out = d;
    return status;
}

void dataset_free(Dataset *d)
{
    if (!d) return;
    h5file_close(d->file);
    pthread_mutex_destroy(&d->lock);
    for (int c = 0; c < COLUMNS; c++) free(d->columns[c]);
    free(d->items);
    free(d->roots);
    free(d->attribution);
    free(d->small);
    free(d);
}

int dataset_count(const Dataset *d)
{
    return d->count;
}

const DatasetItem *dataset_item(const Dataset *d, int i)
{
    return &d->items[i];
}

int dataset_style_count(const Dataset *d)
{
    return d->style_count;
}

const char *dataset_style(const Dataset *d, int style_id)
{
    return d->styles[style_id];
}

int dataset_style_id(const Dataset *d, const char *style)
{
    for (int k = 0; k < d->style_count; k++) {
        if (strcmp(d->styles[k], style) == 0) return k;
    }
    return -1;
}

int dataset_root_count(const Dataset *d)
{
    return d->root_count;
}

const char *dataset_root(const Dataset *d, int root_id)
{
    return d->roots[root_id];
}

const char *dataset_attribution(const Dataset *d)
{
    return d->attribution;
}

int dataset_split_count(const Dataset *d, Split split)
{
    return d->split_counts[split];
}

Status dataset_load_small(Dataset *d)
{
    if (d->small) return STATUS_OK;
    uint8_t *pictures = NULL;
    TRY(h5file_load_u8(d->file, "images64", &pictures, NULL));
    d->small = pictures;
    return STATUS_OK;
}

const uint8_t *dataset_small(const Dataset *d, int i)
{
    return d->small + (size_t)i * DATASET_SMALL_BYTES;
}

Status dataset_read(Dataset *d, int i, uint8_t *rgb)
{
    if (i < 0 || i >= d->count)
        return status_fail(STATUS_BAD_INPUT, "%s: picture %d asked for, there are %d", h5file_path(d->file), i,
                           d->count);
    pthread_mutex_lock(&d->lock);
    Status status = h5file_read_rows(d->file, "images", H5KIND_U8, i, 1, (int64_t)DATASET_BYTES, rgb);
    pthread_mutex_unlock(&d->lock);
    return status;
}
