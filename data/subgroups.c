#include "data/subgroups.h"

#include "text_transformer/bpe_merges.h"

#include <stdlib.h>
#include <string.h>

typedef struct Entry {
    const char *root, *name;
} Entry;

struct Subgroups {
    char *text; /* what the entries point into */
    Entry *entries; /* in the order of their roots */
    size_t count;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const Entry *)a)->root, ((const Entry *)b)->root);
}

static size_t count_lines(const char *text)
{
    size_t count = 1;
    for (; (text = strchr(text, '\n')); text++) count++;
    return count;
}

static Status parse(const char *path, Subgroups *s)
{
    int number = 0;
    for (char *line = s->text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        number++;
        line[strcspn(line, "\r")] = 0; /* of a file with CRLF */
        if (!*line || *line == '#') continue;
        char *tab = strchr(line, '\t');
        if (!tab || tab == line || !tab[1] || strchr(tab + 1, '\t'))
            return status_fail(STATUS_BAD_INPUT, "%s: line %d: expected a root, a tab and a subgroup, found \"%.40s\"", path,
                               number, line);
        *tab = 0;
        s->entries[s->count++] = (Entry){line, tab + 1};
    }
    if (s->count == 0) return status_fail(STATUS_BAD_INPUT, "%s: expected lines of a root, a tab and a subgroup, found none", path);
    qsort(s->entries, s->count, sizeof *s->entries, compare);
    for (size_t i = 1; i < s->count; i++)
        if (strcmp(s->entries[i - 1].root, s->entries[i].root) == 0)
            return status_fail(STATUS_BAD_INPUT, "%s: %s is listed twice", path, s->entries[i].root);
    return STATUS_OK;
}

Status subgroups_load(const char *path, Subgroups **out)
{
    size_t size;
    *out = NULL;
    Subgroups *s = calloc(1, sizeof *s);
    if (!s) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    Status status = bpe_read_text(path, &s->text, &size);
    if (status == STATUS_OK && strlen(s->text) < size)
        status = status_fail(STATUS_BAD_INPUT, "%s: expected text, found a NUL byte at %zu", path, strlen(s->text));
    if (status == STATUS_OK) {
        s->entries = calloc(count_lines(s->text), sizeof *s->entries);
        status = s->entries ? parse(path, s) : status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    if (status == STATUS_OK) *out = s;
    else subgroups_free(s);
    return status;
}

void subgroups_free(Subgroups *s)
{
    if (!s) return;
    free(s->text);
    free(s->entries);
    free(s);
}

const char *subgroups_find(const Subgroups *s, const char *root)
{
    Entry key = {root, NULL};
    const Entry *found = bsearch(&key, s->entries, s->count, sizeof key, compare);
    return found ? found->name : NULL;
}

const char *subgroups_of(const Subgroups *s, const DatasetItem *item)
{
    const char *found = subgroups_find(s, item->root);
    return found ? found : item->group;
}
