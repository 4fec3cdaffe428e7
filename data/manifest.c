#include "data/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_TEXT_BYTES  ((size_t)256 << 20)
#define MANIFEST_FIELDS 11
#define SOURCE_FIELDS   8
#define PHOTO_FIELDS    8

static const char *const source_kinds[SOURCE_KINDS] = {"iconify", "webp", "photo-deb", "photo-npm"};
static const char *const split_names[SPLIT_COUNT] = {"train", "test_pair", "test_tone", "test_concept", "test_photo"};

const char *split_name(Split split)
{
    return (unsigned)split < SPLIT_COUNT ? split_names[split] : "?";
}

int split_from_name(const char *name)
{
    for (int i = 0; i < SPLIT_COUNT; i++) {
        if (strcmp(name, split_names[i]) == 0) return i;
    }
    return -1;
}

/* The whole file, decompressed, as a string. */
static Status read_text(const char *path, char **out)
{
    gzFile file = gzopen(path, "rb");
    if (!file) return status_fail(STATUS_IO, "%s: cannot be opened", path);
    size_t size = 0, capacity = 1 << 20;
    char *text = malloc(capacity);
    Status status = text ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    while (status == STATUS_OK) {
        int n = gzread(file, text + size, (unsigned)(capacity - size - 1));
        if (n < 0) status = status_fail(STATUS_BAD_INPUT, "%s: damaged or truncated gzip file", path);
        if (n <= 0) break;
        size += (size_t)n;
        if (size > MAX_TEXT_BYTES) {
            status = status_fail(STATUS_BAD_INPUT, "%s: more than %zu MiB", path, MAX_TEXT_BYTES >> 20);
        } else if (capacity - size < 2) {
            char *bigger = realloc(text, capacity *= 2);
            if (!bigger) {
                status = status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
                break;
            }
            text = bigger;
        }
    }
    /* gzclose_r tells of a file that ends in the middle of a stream */
    if (gzclose_r(file) != Z_OK && status == STATUS_OK)
        status = status_fail(STATUS_BAD_INPUT, "%s: damaged or truncated gzip file", path);
    if (status == STATUS_OK && memchr(text, 0, size))
        status = status_fail(STATUS_BAD_INPUT, "%s: holds a zero byte, expected text", path);
    if (status != STATUS_OK) {
        free(text);
        return status;
    }
    text[size] = 0;
    *out = text;
    return STATUS_OK;
}

/* Cut the line at *cursor off, advance *cursor; NULL at the end. */
static char *next_line(char **cursor)
{
    char *line = *cursor;
    if (!*line) return NULL;
    char *end = strchr(line, '\n');
    if (end) {
        *end = 0;
        *cursor = end + 1;
    } else {
        *cursor = line + strlen(line);
    }
    return line;
}

/* Cut a line at its tabs. Returns the number of fields, of which at most `max` are stored. */
static int split_fields(char *line, const char **fields, int max)
{
    int count = 0;
    for (char *field; (field = strsep(&line, "\t"));) {
        if (count < max) fields[count] = field;
        count++;
    }
    return count;
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++) lines++;
    return lines + 1;
}

static Status parse_row(const char *path, int line, char *text, ManifestRow *row)
{
    const char *f[MANIFEST_FIELDS];
    int n = split_fields(text, f, MANIFEST_FIELDS);
    if (n != MANIFEST_FIELDS)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: %d columns, expected %d", path, line, n, MANIFEST_FIELDS);
    int split = split_from_name(f[6]);
    if (split < 0) return status_fail(STATUS_BAD_INPUT, "%s: line %d: unknown split '%s'", path, line, f[6]);
    *row = (ManifestRow){.id = f[0],
                         .icon = f[1],
                         .code = f[2],
                         .root = f[3],
                         .tone = f[4],
                         .group = f[5],
                         .split = (Split)split,
                         .label_en = f[7],
                         .label_ko = f[8],
                         .tags_en = f[9],
                         .tags_ko = f[10]};
    return STATUS_OK;
}

static Status parse_manifest(const char *path, Manifest *m)
{
    static const char header[] = "style\tname\tcode\troot\ttone\tgroup\tsplit\ten\tko\ttags_en\ttags_ko";
    m->rows = calloc((size_t)count_lines(m->text), sizeof *m->rows);
    if (!m->rows) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    char *cursor = m->text, *line = next_line(&cursor);
    if (!line || strcmp(line, header) != 0)
        return status_fail(STATUS_BAD_INPUT, "%s: line 1: not a manifest, expected the columns style, name, code, ...",
                           path);
    for (int number = 2; (line = next_line(&cursor)); number++)
        TRY(parse_row(path, number, line, &m->rows[m->count++]));
    if (m->count == 0) return status_fail(STATUS_BAD_INPUT, "%s: no pictures", path);
    return STATUS_OK;
}

Status manifest_load(const char *path, Manifest *out)
{
    *out = (Manifest){0};
    TRY(read_text(path, &out->text));
    Status status = parse_manifest(path, out);
    if (status != STATUS_OK) manifest_release(out);
    return status;
}

void manifest_release(Manifest *m)
{
    free(m->rows);
    free(m->text);
    *m = (Manifest){0};
}

static Status parse_source(const char *path, int line, char *text, Source *out)
{
    const char *f[SOURCE_FIELDS];
    int n = split_fields(text, f, SOURCE_FIELDS);
    if (n != SOURCE_FIELDS)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: %d columns, expected %d", path, line, n, SOURCE_FIELDS);
    int kind = 0;
    while (kind < SOURCE_KINDS && strcmp(f[5], source_kinds[kind]) != 0) kind++;
    if (kind == SOURCE_KINDS)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: kind '%s', expected iconify, webp, photo-deb or photo-npm", path, line,
                           f[5]);
    char *end;
    long margin = strtol(f[6], &end, 10);
    if (!*f[6] || *end || margin < 0 || margin > 100)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: margin '%s', expected 0 to 100", path, line, f[6]);
    *out = (Source){.id = f[0],
                    .style = f[1],
                    .package = f[2],
                    .version = f[3],
                    .sha256 = f[4],
                    .kind = (SourceKind)kind,
                    .margin = (int)margin,
                    .licence = f[7]};
    return STATUS_OK;
}

static Status parse_sources(const char *path, SourceList *list)
{
    list->items = calloc((size_t)count_lines(list->text), sizeof *list->items);
    if (!list->items) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    char *cursor = list->text, *line;
    for (int number = 1; (line = next_line(&cursor)); number++) {
        if (*line && *line != '#') TRY(parse_source(path, number, line, &list->items[list->count++]));
    }
    return list->count ? STATUS_OK : status_fail(STATUS_BAD_INPUT, "%s: no packages", path);
}

Status sources_load(const char *path, SourceList *out)
{
    *out = (SourceList){0};
    TRY(read_text(path, &out->text));
    Status status = parse_sources(path, out);
    if (status != STATUS_OK) sources_release(out);
    return status;
}

void sources_release(SourceList *list)
{
    free(list->items);
    free(list->text);
    *list = (SourceList){0};
}

const Source *sources_find(const SourceList *list, const char *id)
{
    for (int i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].id, id) == 0) return &list->items[i];
    }
    return NULL;
}

/* A photo's name becomes a file's. */
static int good_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && n < 64 && name[n] == 0;
}

static Status parse_photo(const char *path, int line, char *text, PhotoRow *out)
{
    const char *f[PHOTO_FIELDS];
    int n = split_fields(text, f, PHOTO_FIELDS);
    if (n != PHOTO_FIELDS)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: %d columns, expected %d", path, line, n, PHOTO_FIELDS);
    int split = split_from_name(f[3]), halve = strcmp(f[4], "1") == 0;
    if (!good_name(f[1]))
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: name '%s', expected a-z, 0-9 and -", path, line, f[1]);
    if (split != SPLIT_TRAIN && split != SPLIT_TEST_PHOTO)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: split '%s', expected train or test_photo", path, line, f[3]);
    if (!halve && strcmp(f[4], "0") != 0)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: halve '%s', expected 0 or 1", path, line, f[4]);
    *out = (PhotoRow){.id = f[0], .name = f[1], .file = f[2], .split = (Split)split, .halve = halve, .licence = f[5],
                      .label_en = f[6], .label_ko = f[7]};
    return STATUS_OK;
}

static Status parse_photos(const char *path, PhotoList *list)
{
    static const char header[] = "source\tname\tfile\tsplit\thalve\tlicence\ten\tko";
    list->rows = calloc((size_t)count_lines(list->text), sizeof *list->rows);
    if (!list->rows) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    char *cursor = list->text, *line = next_line(&cursor);
    int number = 1;
    for (; line && *line == '#'; number++) line = next_line(&cursor);
    if (!line || strcmp(line, header) != 0)
        return status_fail(STATUS_BAD_INPUT, "%s: line %d: expected the columns source, name, file, split, ...", path, number);
    for (number++; (line = next_line(&cursor)); number++) {
        PhotoRow *row = &list->rows[list->count];
        TRY(parse_photo(path, number, line, row));
        for (int i = 0; i < list->count; i++)
            if (strcmp(list->rows[i].name, row->name) == 0)
                return status_fail(STATUS_BAD_INPUT, "%s: line %d: the name '%s' occurs twice", path, number, row->name);
        list->count++;
    }
    return list->count ? STATUS_OK : status_fail(STATUS_BAD_INPUT, "%s: no photos", path);
}

Status photos_load(const char *path, PhotoList *out)
{
    *out = (PhotoList){0};
    TRY(read_text(path, &out->text));
    Status status = parse_photos(path, out);
    if (status != STATUS_OK) photos_release(out);
    return status;
}

void photos_release(PhotoList *list)
{
    free(list->rows);
    free(list->text);
    *list = (PhotoList){0};
}

uint32_t split_hash(const char *text)
{
    uint32_t h = 2166136261u;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) h = (h ^ *p) * 16777619u;
    return h % 1000;
}

/* "fluent" for the three Fluent sets, else `id`. */
static const char *source_family(const char *id)
{
    if (strncmp(id, "fluent-", 7) == 0) return "fluent";
    return strcmp(id, "streamline-emojis") == 0 ? "streamline" : id;
}

/* Does `part` stand at p as whole code points? */
static size_t match_codes(const char *p, const char *part)
{
    size_t n = strlen(part);
    return strncmp(p, part, n) == 0 && (p[n] == 0 || p[n] == '-') ? n : 0;
}

int code_root(const char *code, char *out, size_t size)
{
    static const char *const removed[] = {"-FE0F", "-200D-2640", "-200D-2642"};
    size_t n = 0;
    for (const char *p = code; *p;) {
        size_t skip = 0;
        for (int i = 0; i < 3 && !skip; i++) skip = match_codes(p, removed[i]);
        if (*p == '0' && (p == code || p[-1] == '-')) skip = strspn(p, "0");
        p += skip;
        if (skip) continue;
        if (n + 1 >= size) return 0;
        out[n++] = *p++;
    }
    out[n] = 0;
    if (match_codes(out, "1F468") || match_codes(out, "1F469")) memcpy(out, "1F9D1", 5);
    return 1;
}

/* A (root, family or tone) pair with the row it came from. */
typedef struct RootKey {
    const char *root, *key;
} RootKey;

static int compare_root_key(const void *a, const void *b)
{
    const RootKey *x = a, *y = b;
    int order = strcmp(x->root, y->root);
    return order ? order : strcmp(x->key, y->key);
}

/* Different keys of the root, in a sorted list. */
static int count_keys(const RootKey *keys, int count, const char *root)
{
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (strcmp(keys[middle].root, root) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    int different = 0;
    for (int i = low; i < count && strcmp(keys[i].root, root) == 0; i++)
        different += i == low || strcmp(keys[i].key, keys[i - 1].key) != 0;
    return different;
}

static int below(int limit, const char *kind, const char *root, const char *key)
{
    char text[256];
    if (key)
        snprintf(text, sizeof text, "%s:%s:%s", kind, root, key);
    else
        snprintf(text, sizeof text, "%s:%s", kind, root);
    return split_hash(text) < (uint32_t)limit;
}

Status manifest_derive_splits(const Manifest *m, Split *out)
{
    RootKey *families = malloc((size_t)m->count * sizeof *families);
    RootKey *tones = malloc((size_t)m->count * sizeof *tones);
    if (!families || !tones) {
        free(families);
        free(tones);
        return status_fail(STATUS_NO_MEMORY, "splits: out of memory");
    }
    int toned = 0;
    for (int i = 0; i < m->count; i++) {
        const ManifestRow *r = &m->rows[i];
        families[i] = (RootKey){r->root, source_family(r->id)};
        if (*r->tone) tones[toned++] = (RootKey){r->root, r->tone};
    }
    qsort(families, (size_t)m->count, sizeof *families, compare_root_key);
    qsort(tones, (size_t)toned, sizeof *tones, compare_root_key);
    for (int i = 0; i < m->count; i++) {
        const ManifestRow *r = &m->rows[i];
        const char *family = source_family(r->id);
        if (below(20, "concept", r->root, NULL))
            out[i] = SPLIT_TEST_CONCEPT;
        else if (below(40, "pair", r->root, family) && count_keys(families, m->count, r->root) >= 3)
            out[i] = SPLIT_TEST_PAIR;
        else if (*r->tone && below(60, "tone", r->root, r->tone) && count_keys(tones, toned, r->root) >= 5)
            out[i] = SPLIT_TEST_TONE;
        else
            out[i] = SPLIT_TRAIN;
    }
    free(families);
    free(tones);
    return STATUS_OK;
}
