#include "glide/ablation/study_prompts.h"

#include "data/captions.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 26 };

static Status prompts_init(StudyPrompts *p, int count)
{
    size_t n = (size_t)count + 1;
    *p = (StudyPrompts){.count = count, .text = calloc(n, sizeof *p->text), .of_class = calloc(n, sizeof *p->of_class),
                        .picture = calloc(n, sizeof *p->picture), .other = calloc(n, sizeof *p->other)};
    if (p->text && p->of_class && p->picture && p->other) return STATUS_OK;
    study_prompts_release(p);
    return status_fail(STATUS_NO_MEMORY, "out of memory for %d prompts", count);
}

void study_prompts_release(StudyPrompts *p)
{
    for (int i = 0; p->text && i < p->count; i++) free(p->text[i]);
    for (int i = 0; p->of_class && i < p->count; i++) free(p->of_class[i]);
    free(p->text);
    free(p->of_class);
    free(p->picture);
    free(p->other);
    *p = (StudyPrompts){0};
}

bool study_prompts_counted(const char *asked, int *count)
{
    char *end;
    errno = 0;
    long n = strtol(asked, &end, 10);
    *count = n > 0 && n <= STUDY_PROMPTS_MOST && !errno ? (int)n : 0;
    return end != asked && !*end;
}

/* The next different one from half the list on. */
static void choose_others(StudyPrompts *p)
{
    bool all = true;
    for (int i = 0; i < p->count; i++) {
        p->other[i] = -1;
        for (int k = 0; k < p->count && p->other[i] < 0; k++) {
            int other = (int)(((int64_t)i + p->count / 2 + k) % p->count);
            if (strcmp(p->text[other], p->text[i]) != 0) p->other[i] = other;
        }
        all = all && p->other[i] >= 0;
    }
    if (all) return;
    free(p->other);
    p->other = NULL;
}

/* --- captions of the data set ----------------------------------------------------------------------------- */

typedef struct Picker {
    const Dataset *dataset;
    int *candidates, count;  /* pictures in a random order; -1 once taken */
    int *styles, *roots, *groups; /* how often each is in the study so far; groups by the candidate that first has it */
    int *group_of;
} Picker;

static void picker_release(Picker *k)
{
    free(k->candidates);
    free(k->styles);
    free(k->roots);
    free(k->groups);
    free(k->group_of);
}

static Status picker_init(Picker *k, const Dataset *d, uint64_t seed)
{
    size_t n = (size_t)dataset_count(d);
    RngKey key = {.seed = seed, .stream = RNG_DATA};
    *k = (Picker){.dataset = d, .candidates = calloc(n, sizeof(int)), .styles = calloc((size_t)dataset_style_count(d), sizeof(int)),
                  .roots = calloc((size_t)dataset_root_count(d), sizeof(int)), .groups = calloc(n, sizeof(int)),
                  .group_of = calloc(n, sizeof(int))};
    if (!k->candidates || !k->styles || !k->roots || !k->groups || !k->group_of)
        return status_fail(STATUS_NO_MEMORY, "out of memory for choosing prompts");
    for (int i = 0; i < dataset_count(d); i++)
        if (dataset_item(d, i)->split == SPLIT_TEST_PAIR) k->candidates[k->count++] = i;
    for (int i = k->count - 1; i > 0; i--) {
        int other = (int)rng_below(&key, (uint32_t)i, (uint32_t)i + 1), kept = k->candidates[i];
        k->candidates[i] = k->candidates[other];
        k->candidates[other] = kept;
    }
    for (int i = 0; i < k->count; i++) {
        int first = 0;
        while (strcmp(dataset_item(d, k->candidates[first])->group, dataset_item(d, k->candidates[i])->group) != 0) first++;
        k->group_of[i] = first;
    }
    return STATUS_OK;
}

/* The candidate whose style, then concept, then group the study has least of. */
static int pick_one(Picker *k)
{
    int best = -1, least[3] = {0};
    for (int i = 0; i < k->count; i++) {
        if (k->candidates[i] < 0) continue;
        const DatasetItem *item = dataset_item(k->dataset, k->candidates[i]);
        const int has[3] = {k->styles[item->style_id], k->roots[item->root_id], k->groups[k->group_of[i]]};
        bool better = best < 0;
        for (int j = 0; j < 3 && !better && has[j] <= least[j]; j++) better = has[j] < least[j];
        if (!better) continue;
        best = i;
        memcpy(least, has, sizeof least);
    }
    const DatasetItem *item = dataset_item(k->dataset, k->candidates[best]);
    int picture = k->candidates[best];
    k->styles[item->style_id]++;
    k->roots[item->root_id]++;
    k->groups[k->group_of[best]]++;
    k->candidates[best] = -1;
    return picture;
}

static Status pick(StudyPrompts *p, Picker *k)
{
    char caption[CAPTION_SIZE];
    if (p->count > k->count)
        return status_fail(STATUS_BAD_INPUT, "--prompts: the data set has %d pictures of the split test_pair, expected at most as "
                           "many, found %d", k->count, p->count);
    for (int i = 0; i < p->count; i++) {
        p->picture[i] = pick_one(k);
        caption_plain(k->dataset, p->picture[i], false, caption, sizeof caption);
        p->text[i] = strdup(caption);
        if (!p->text[i]) return status_fail(STATUS_NO_MEMORY, "out of memory for %d prompts", p->count);
    }
    choose_others(p);
    return STATUS_OK;
}

Status study_prompts_pick(StudyPrompts *p, const Dataset *d, int count, uint64_t seed)
{
    Picker k;
    TRY(prompts_init(p, count));
    Status s = picker_init(&k, d, seed);
    if (s == STATUS_OK) s = pick(p, &k);
    picker_release(&k);
    if (s != STATUS_OK) study_prompts_release(p);
    return s;
}

/* --- files -------------------------------------------------------------------------------------------------- */

static Status read_text(const char *path, char **out, size_t *size)
{
    FILE *f = fopen(path, "rb");
    *out = NULL;
    if (!f) return status_fail(STATUS_IO, "--prompts: %s: %s; expected a number of captions or a file", path, strerror(errno));
    size_t used = 0, room = 1 << 16;
    char *text = malloc(room + 1);
    while (text && used < MOST_BYTES) {
        size_t n = fread(text + used, 1, room - used, f);
        if (n == 0) break;
        used += n;
        char *more = used == room ? realloc(text, 2 * room + 1) : text;
        if (used == room) room *= 2;
        if (!more) free(text);
        text = more;
    }
    bool failed = ferror(f);
    fclose(f);
    if (text && !failed && used < MOST_BYTES) {
        text[used] = 0;
        *out = text;
        *size = used;
        return STATUS_OK;
    }
    free(text);
    if (failed) return status_fail(STATUS_IO, "--prompts: %s: cannot be read", path);
    return text ? status_fail(STATUS_BAD_INPUT, "--prompts: %s: larger than %d bytes", path, MOST_BYTES)
                : status_fail(STATUS_NO_MEMORY, "--prompts: %s: out of memory", path);
}

static bool is_utf8(const char *text)
{
    json_t *value = json_string(text);
    json_decref(value);
    return value != NULL;
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    for (size_t n = strlen(text); n > 0 && strchr(" \t\r", text[n - 1]); n--) text[n - 1] = 0;
    return text;
}

static Status take_line(StudyPrompts *p, char *line, const char *path, int number)
{
    const char *begin = line + strspn(line, " \t\r");
    if (!*begin || *begin == '#') return STATUS_OK;
    if (strlen(line) >= CAPTION_SIZE || !is_utf8(line))
        return status_fail(STATUS_BAD_INPUT, "--prompts: %s: line %d: expected UTF-8 of less than %d bytes", path, number,
                           CAPTION_SIZE);
    if (p->count == STUDY_PROMPTS_MOST)
        return status_fail(STATUS_BAD_INPUT, "--prompts: %s: more than %d prompts", path, STUDY_PROMPTS_MOST);
    char *tab = strchr(line, '\t');
    if (tab) *tab = 0;
    line = trim(line);
    if (!*line) return status_fail(STATUS_BAD_INPUT, "--prompts: %s: line %d: expected a prompt in front of the TAB", path, number);
    p->picture[p->count] = -1;
    p->text[p->count] = strdup(line);
    if (tab) p->of_class[p->count] = strdup(trim(tab + 1));
    bool ok = p->text[p->count] && (!tab || p->of_class[p->count]);
    p->count++;
    return ok ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "--prompts: %s: out of memory", path);
}

Status study_prompts_read(StudyPrompts *p, const char *path)
{
    char *text;
    size_t size;
    int lines = 1, number = 0;
    TRY(read_text(path, &text, &size));
    for (const char *c = text; *c; c++) lines += *c == '\n';
    Status s = prompts_init(p, lines < STUDY_PROMPTS_MOST ? lines : STUDY_PROMPTS_MOST);
    p->count = 0;
    char *begin = text + (strncmp(text, "\xef\xbb\xbf", 3) ? 0 : 3); /* a byte order mark is no part of a prompt */
    if (s == STATUS_OK && strlen(text) < size)
        s = status_fail(STATUS_BAD_INPUT, "--prompts: %s: expected text, found a NUL byte in line %d", path, lines);
    for (char *line = begin, *end; s == STATUS_OK && line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        s = take_line(p, line, path, ++number);
    }
    if (s == STATUS_OK && p->count == 0) s = status_fail(STATUS_BAD_INPUT, "--prompts: %s: expected a prompt a line, found none",
                                                         path);
    if (s == STATUS_OK) choose_others(p);
    free(text);
    if (s != STATUS_OK) study_prompts_release(p);
    return s;
}
