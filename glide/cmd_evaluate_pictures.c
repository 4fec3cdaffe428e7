#include "glide/cmd_evaluate_pictures.h"

#include "common/image_read.h"
#include "data/guide_rows.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DATASET_PICTURES = 64 }; /* of a data set, unless --limit says another number */

/* --- folders ---------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int is_picture(const struct dirent *entry)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".webp"};
    const char *dot = strrchr(entry->d_name, '.');
    for (int i = 0; dot && dot != entry->d_name && i < CLI_COUNT(endings); i++)
        if (!strcasecmp(dot, endings[i])) return 1;
    return 0;
}

static void free_names(char **names, int count)
{
    for (int i = 0; names && i < count; i++) free(names[i]);
    free(names);
}

/* Paths of the pictures in it, in the order of their names, which no locale changes. */
static Status list_folder(CliArgs *args, const char *folder, char ***names, int *count)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, is_picture, NULL), failed = 0;
    *names = NULL;
    *count = 0;
    if (n < 0) return cli_usage_fail(args, "--pairs: %s: %s", folder, strerror(errno));
    if (n > 0) *names = calloc((size_t)n, sizeof **names);
    for (int i = 0; i < n; i++) {
        const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
        if (*names && asprintf(&(*names)[i], "%s%s%s", folder, slash, entries[i]->d_name) < 0) failed = 1, (*names)[i] = NULL;
        free(entries[i]);
    }
    free(entries);
    *count = n;
    if (n == 0) return cli_usage_fail(args, "--pairs: %s: a folder without pictures", folder);
    return *names && !failed ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for names");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool same_stem(const char *a, const char *b)
{
    const char *x = base_name(a), *y = base_name(b);
    ptrdiff_t n = strrchr(x, '.') - x;
    return n == strrchr(y, '.') - y && !strncmp(x, y, (size_t)n);
}

/* smalls (count) in the order of the originals. */
static Status match_names(CliArgs *args, EvaluatePictures *p, char **found, int found_count)
{
    p->smalls = calloc((size_t)p->count, sizeof *p->smalls);
    if (!p->smalls) return status_fail(STATUS_NO_MEMORY, "out of memory for names");
    for (int i = 0; i < p->count; i++) {
        for (int k = 0; k < found_count && !p->smalls[i]; k++)
            if (found[k] && same_stem(p->originals[i], found[k])) {
                p->smalls[i] = found[k];
                found[k] = NULL;
            }
        if (!p->smalls[i]) return cli_usage_fail(args, "--pairs: %s: expected a picture of that name in x, too", p->originals[i]);
    }
    for (int k = 0; k < found_count; k++)
        if (found[k]) return cli_usage_fail(args, "--pairs: %s: expected a picture of that name in y, too", found[k]);
    return STATUS_OK;
}

static Status list_pairs(EvaluatePictures *p, CliArgs *args, const char *folder)
{
    char x[PATH_MAX], y[PATH_MAX], **found = NULL;
    int found_count = 0;
    snprintf(x, sizeof x, "%s/x", folder);
    snprintf(y, sizeof y, "%s/y", folder);
    bool pairs = is_folder(x) && is_folder(y);
    Status s = list_folder(args, pairs ? y : folder, &p->originals, &p->count);
    if (s == STATUS_OK) qsort(p->originals, (size_t)p->count, sizeof *p->originals, compare_names);
    if (s == STATUS_OK && pairs) s = list_folder(args, x, &found, &found_count);
    if (s == STATUS_OK && pairs) s = match_names(args, p, found, found_count);
    free_names(found, found_count);
    return s;
}

/* --- reading ---------------------------------------------------------------------------------------------- */

/* *picture becomes a part of itself. */
static Status cut(Image *picture, int left, int top, int w, int h)
{
    Image part = {0};
    if (left == 0 && top == 0 && w == picture->w && h == picture->h) return STATUS_OK;
    TRY(image_init(w, h, &part));
    for (int y = 0; y < h; y++)
        memcpy(part.pixels + (size_t)y * (size_t)w * 3,
               picture->pixels + ((size_t)(top + y) * (size_t)picture->w + (size_t)left) * 3, (size_t)w * 3);
    image_release(picture);
    *picture = part;
    return STATUS_OK;
}

static Status read_original(const EvaluatePictures *p, int i, Image *out)
{
    if (!p->dataset) return image_read(p->originals[i], out);
    TRY(image_init(DATASET_SIDE, DATASET_SIDE, out));
    return dataset_read(p->dataset, p->indices[i], out->pixels);
}

/* The middle of both that --crop leaves, in whole small pixels. */
static Status crop_both(const EvaluatePictures *p, int i, Image *original, Image *small)
{
    int w = original->w / p->scale, h = original->h / p->scale, most = p->crop > 0 ? p->crop / p->scale : INT_MAX;
    const char *name = p->originals ? p->originals[i] : "the picture";
    if (w == 0 || h == 0)
        return status_fail(STATUS_BAD_INPUT, "%s: %dx%d pixels are too few to be reduced by %d", name, original->w, original->h,
                           p->scale);
    if (small->pixels && (small->w * p->scale != original->w || small->h * p->scale != original->h))
        return status_fail(STATUS_BAD_INPUT, "%s: expected %d times %dx%d pixels, those of %s, found %dx%d", name, p->scale,
                           small->w, small->h, p->smalls[i], original->w, original->h);
    int across = w < most ? w : most, down = h < most ? h : most, left = (w - across) / 2, top = (h - down) / 2;
    if (small->pixels) TRY(cut(small, left, top, across, down));
    TRY(cut(original, left * p->scale, top * p->scale, across * p->scale, down * p->scale));
    return small->pixels ? STATUS_OK : image_block_mean(original, p->scale, small);
}

Status evaluate_pictures_read(const EvaluatePictures *p, int i, Image *original, Image *small)
{
    *small = *original = (Image){0};
    Status s = read_original(p, i, original);
    if (s == STATUS_OK && p->smalls) s = image_read(p->smalls[i], small);
    if (s == STATUS_OK) s = crop_both(p, i, original, small);
    if (s == STATUS_OK) return s;
    image_release(original);
    image_release(small);
    return s;
}

const char *evaluate_pictures_name(const EvaluatePictures *p, int i, char *name, size_t size)
{
    if (!p->dataset) {
        snprintf(name, size, "%s", base_name(p->originals[i]));
        return name;
    }
    const DatasetItem *item = dataset_item(p->dataset, p->indices[i]);
    snprintf(name, size, "%s, %s", item->label_en, item->style);
    return name;
}

/* --- the whole ---------------------------------------------------------------------------------------------- */

static Status measure_sizes(EvaluatePictures *p)
{
    p->pixels = calloc((size_t)p->count, sizeof *p->pixels);
    if (!p->pixels) return status_fail(STATUS_NO_MEMORY, "out of memory for names");
    for (int i = 0; i < p->count; i++) {
        Image original, small;
        p->pixels[i] = (double)DATASET_SIDE * DATASET_SIDE;
        if (p->dataset) continue;
        TRY(evaluate_pictures_read(p, i, &original, &small));
        p->pixels[i] = (double)original.w * original.h;
        image_release(&original);
        image_release(&small);
    }
    return STATUS_OK;
}

static Status list_dataset(EvaluatePictures *p, const EvaluateCommand *c)
{
    TRY(dataset_open(c->data, &p->dataset));
    TRY(guide_rows_held_out(p->dataset, (Split)c->split, c->limit > 0 ? (int)c->limit : DATASET_PICTURES, &p->indices, &p->count));
    if (p->count > 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected pictures of %s, found none", c->data, evaluate_splits[c->split]);
}

Status evaluate_pictures_init(EvaluatePictures *p, CliArgs *args, int scale)
{
    const EvaluateCommand *c = args->options;
    *p = (EvaluatePictures){.scale = scale, .crop = (int)c->crop};
    Status s = c->data ? list_dataset(p, c) : list_pairs(p, args, c->pairs);
    if (s == STATUS_OK && !c->data && c->limit > 0)
        for (; p->count > c->limit; p->count--) {
            free(p->originals[p->count - 1]);
            if (p->smalls) free(p->smalls[p->count - 1]);
        }
    if (s == STATUS_OK) s = measure_sizes(p);
    if (s != STATUS_OK) evaluate_pictures_release(p);
    return s;
}

void evaluate_pictures_release(EvaluatePictures *p)
{
    free_names(p->originals, p->count);
    free_names(p->smalls, p->count);
    free(p->indices);
    free(p->pixels);
    dataset_free(p->dataset);
    *p = (EvaluatePictures){0};
}
