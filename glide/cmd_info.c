/* glide info FILE... */
#include "common/image_read.h"
#include "data/dataset.h"
#include "glide/cli_commands.h"
#include "glide/recipe.h"
#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/tokenizer_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KEY_WIDTH = 22, VALUE_WIDTH = 200 };

/* --- output ----------------------------------------------------------------------------------------- */

static void line(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "  key   value", the value on one line and of bearable length. */
static void line(const char *key, const char *format, ...)
{
    char value[VALUE_WIDTH + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(value, sizeof value, format, args);
    va_end(args);
    size_t used = strlen(value);
    if (n > VALUE_WIDTH) {
        while (used > 0 && ((unsigned char)value[used] & 0xc0) == 0x80) used--;
        if ((unsigned char)value[used] >= 0xc0) value[used] = 0; /* half a character */
    }
    for (char *c = value; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = ' ';
    printf("  %-*s %s%s\n", KEY_WIDTH, key, value, n > VALUE_WIDTH ? "..." : "");
}

/* 12345678 -> "12,345,678" */
static const char *grouped(int64_t n, char text[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n), used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-') text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = 0;
    return text;
}

static void print_size(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0) line("file", "%.1f MB", (double)st.st_size * 1e-6);
}

/* Attributes of a group, one a line. */
static Status print_attributes(const H5File *file, const char *group)
{
    char **names, value[VALUE_WIDTH + 64];
    int count;
    TRY(h5file_attr_names(file, group, &names, &count));
    Status s = STATUS_OK;
    for (int i = 0; i < count && s == STATUS_OK; i++) {
        s = h5file_attr_show(file, group, names[i], value, sizeof value);
        if (s == STATUS_OK) line(names[i], "%s", value);
    }
    free(names);
    return s;
}

/* --- weights ---------------------------------------------------------------------------------------- */

/* Name and value pairs, several a line. */
static void print_config(const ConfigField *fields, const void *c)
{
    int column = 0;
    puts("configuration");
    for (const ConfigField *f = fields; f->name; f++) {
        char value[64], pair[160];
        snprintf(pair, sizeof pair, "%s %s", f->name, config_show(f, c, value, sizeof value));
        if (column > 0 && column + 2 + (int)strlen(pair) > 79) column = 0, putchar('\n');
        if (column == 0) column = printf("    %s", pair);
        else column += printf(", %s", pair);
    }
    putchar('\n');
}

/* What only reading all of it can tell: that it is whole, and the hash that pictures carry. */
static Status print_text_unet(const char *path, const char *kind)
{
    TextUNet *m;
    uint64_t hash;
    TRY(text_unet_map(path, kind, &m, &hash));
    if (m->bpe) line("tokenizer", "%d tokens", bpe_vocab_size(m->bpe));
    line("hash", "%016llx", (unsigned long long)hash);
    print_config(text_unet_fields, &m->config);
    text_unet_free(m);
    return STATUS_OK;
}

static Status print_classifier(const char *path)
{
    Classifier *m;
    uint64_t hash;
    TRY(classifier_load(path, &m, &hash));
    line("hash", "%016llx", (unsigned long long)hash);
    print_config(classifier_fields, &m->config);
    classifier_free(m);
    return STATUS_OK;
}

static Status print_clip_tokenizer(const H5File *file)
{
    ClipBpe *bpe;
    TRY(tokenizer_read_clip(file, &bpe));
    line("tokenizer", "%d tokens", clip_bpe_vocab_size(bpe));
    clip_bpe_free(bpe);
    return STATUS_OK;
}

static Status print_clip(const char *path, const H5File *file, bool has_merges)
{
    Clip *m;
    uint64_t hash;
    if (has_merges) TRY(print_clip_tokenizer(file));
    TRY(clip_load(path, &m, &hash));
    line("hash", "%016llx", (unsigned long long)hash);
    print_config(clip_fields, &m->config);
    clip_free(m);
    return STATUS_OK;
}

static Status print_model(const char *path, const H5File *file, const WeightsSummary *w)
{
    if (!strcmp(w->kind, "base") || !strcmp(w->kind, "upsampler")) return print_text_unet(path, w->kind);
    if (!strcmp(w->kind, CLASSIFIER_KIND)) return print_classifier(path);
    if (!strcmp(w->kind, CLIP_KIND)) return print_clip(path, file, w->has_merges);
    return print_attributes(file, "/");
}

static Status print_weights(const char *path, const H5File *file)
{
    WeightsSummary w;
    char number[32];
    TRY(weights_summary(file, &w));
    printf("%s: %s %s\n", path, w.has_checkpoint ? "training checkpoint of kind" : "weights of kind", w.kind);
    print_size(path);
    line("parameters", "%s in %d arrays, %s precision", grouped(w.elements, number), w.params,
         w.halves == 0 ? "single" : w.halves == w.elements ? "half" : "mixed");
    TRY(print_model(path, file, &w));
    if (h5file_has_group(file, "provenance")) {
        puts("provenance");
        TRY(print_attributes(file, "provenance"));
    }
    if (!w.has_checkpoint) return STATUS_OK;
    puts("checkpoint");
    return print_attributes(file, "checkpoint");
}

/* --- data sets -------------------------------------------------------------------------------------- */

static void print_split_header(void)
{
    char text[160];
    int n = 0;
    for (int s = 0; s < SPLIT_COUNT; s++) n += snprintf(text + n, sizeof text - (size_t)n, "%13s", split_name((Split)s));
    line("style", "%s", text);
}

static Status print_styles(const Dataset *d)
{
    int styles = dataset_style_count(d), (*counts)[SPLIT_COUNT] = calloc((size_t)styles + 1, sizeof *counts);
    if (!counts) return status_fail(STATUS_NO_MEMORY, "out of memory for %d styles", styles);
    for (int i = 0; i < dataset_count(d); i++) {
        const DatasetItem *item = dataset_item(d, i);
        counts[item->style_id][item->split]++;
        counts[styles][item->split]++;
    }
    print_split_header();
    for (int style = 0; style <= styles; style++) {
        char text[160];
        int n = 0;
        for (int s = 0; s < SPLIT_COUNT; s++) n += snprintf(text + n, sizeof text - (size_t)n, "%13d", counts[style][s]);
        line(style < styles ? dataset_style(d, style) : "all", "%s", text);
    }
    free(counts);
    return STATUS_OK;
}

static Status print_dataset(const char *path)
{
    Dataset *d;
    TRY(dataset_open(path, &d));
    printf("%s: data set\n", path);
    print_size(path);
    line("pictures", "%d of %d concepts, %dx%d pixels", dataset_count(d), dataset_root_count(d), DATASET_SIDE, DATASET_SIDE);
    Status s = print_styles(d);
    if (*dataset_attribution(d)) line("attribution", "%s", dataset_attribution(d));
    dataset_free(d);
    return s;
}

/* --- pictures --------------------------------------------------------------------------------------- */

static void print_recipe(const GlideRecipe *r)
{
    for (int i = 0; i < r->count; i++) line(r->lines[i].key, "%s", r->lines[i].value);
}

static Status print_recipe_of(const char *path, const Image *image, const char *kind)
{
    PngTexts texts;
    GlideRecipe *recipe;
    TRY(png_read_text(path, &texts));
    Status s = recipe_from_png(path, &texts, &recipe);
    png_texts_release(&texts);
    if (s != STATUS_OK) return s;
    printf("%s: %s picture, %dx%d%s\n", path, kind, image->w, image->h, recipe ? "" : ", no recipe: not made by glide");
    if (recipe) print_recipe(recipe);
    recipe_free(recipe);
    return STATUS_OK;
}

static Status print_picture(const char *path, const char *kind)
{
    Image image = {0};
    TRY(image_read(path, &image));
    Status s = print_recipe_of(path, &image, kind);
    image_release(&image);
    return s;
}

/* --- which it is ------------------------------------------------------------------------------------ */

static Status print_hdf5(const char *path)
{
    H5File *file;
    char *format;
    TRY(h5file_open(path, &file));
    Status s = h5file_attr_text_or(file, "/", "format", "", &format);
    if (s != STATUS_OK) {
        h5file_close(file);
        return s;
    }
    if (!strcmp(format, WEIGHTS_FORMAT)) {
        h5file_close(file);
        s = weights_open(path, NULL, &file); /* checks the version, too */
        if (s == STATUS_OK) s = print_weights(path, file);
    } else if (!strcmp(format, DATASET_FORMAT)) {
        s = print_dataset(path);
    } else {
        s = status_fail(STATUS_BAD_INPUT, "%s: an HDF5 file, but neither weights, nor a checkpoint, nor a data set of glide", path);
    }
    free(format);
    h5file_close(file);
    return s;
}

static Status read_start(const char *path, unsigned char start[12], size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) return status_fail(STATUS_IO, "%s: cannot be read: %s", path, strerror(errno));
    errno = 0;
    *size = fread(start, 1, 12, f);
    int error = ferror(f) ? errno : 0;
    fclose(f);
    return error ? status_fail(STATUS_IO, "%s: cannot be read: %s", path, strerror(error)) : STATUS_OK;
}

static Status print_file(const char *path)
{
    unsigned char start[12];
    size_t size = 0;
    TRY(read_start(path, start, &size));
    if (size >= 8 && !memcmp(start, "\x89HDF\r\n\x1a\n", 8)) return print_hdf5(path);
    if (size >= 8 && !memcmp(start, "\x89PNG\r\n\x1a\n", 8)) return print_picture(path, "PNG");
    if (size >= 3 && !memcmp(start, "\xff\xd8\xff", 3)) return print_picture(path, "JPEG");
    if (size == 12 && !memcmp(start, "RIFF", 4) && !memcmp(start + 8, "WEBP", 4)) return print_picture(path, "WebP");
    return status_fail(STATUS_BAD_INPUT, "%s: %s neither weights, nor a checkpoint, nor a data set, nor a picture", path,
                       size == 0 ? "empty:" : "this is");
}

static Status run(CliArgs *args)
{
    for (int i = 0; i < args->operand_count; i++) {
        if (i > 0) putchar('\n');
        TRY(print_file(args->operands[i]));
    }
    return STATUS_OK;
}

const CliCommand cli_command_info = {
    .name = "info",
    .summary = "tell what a file is: weights, a checkpoint, a data set or a picture",
    .operands = "FILE...",
    .min_operands = 1,
    .max_operands = CLI_ANY,
    .description =
        "Weights and checkpoints: kind, parameters, configuration, tokenizer, hash, where they come from; they are read whole, so "
        "damage shows. Data sets: how many pictures of which style in which split. Pictures made by this program: the recipe (prompt, "
        "seed, image number, sampler, steps, guidance scale, weights' hashes).",
    .examples = "glide info data/weights/base.h5\n"
                "glide info apple.png",
    .run = run,
};
