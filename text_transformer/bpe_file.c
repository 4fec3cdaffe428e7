#include "text_transformer/bpe_file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The list as a text of the official format, which has one reader. */
static Status merges_text(const char *path, const json_t *list, char **out, size_t *size)
{
    FILE *f = open_memstream(out, size);
    if (!f) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    Status s = STATUS_OK;
    fputs("#version: 0.2\n", f);
    for (size_t i = 0; i < json_array_size(list) && s == STATUS_OK; i++) {
        const json_t *pair = json_array_get(list, i);
        const char *left = json_string_value(json_array_get(pair, 0)), *right = json_string_value(json_array_get(pair, 1));
        if (json_array_size(pair) != 2 || !left || !right || strpbrk(left, " \n\r") || strpbrk(right, " \n\r"))
            s = status_fail(STATUS_BAD_INPUT, "%s: merges[%zu]: expected two texts without blanks", path, i);
        else fprintf(f, "%s %s\n", left, right);
    }
    if (fclose(f) != 0 && s == STATUS_OK) s = status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    return s;
}

static Status from_json(const char *path, Bpe **out)
{
    json_error_t error;
    char *text = NULL;
    size_t size;
    json_t *root = json_load_file(path, 0, &error);
    if (!root) return status_fail(STATUS_BAD_INPUT, "%s: line %d: %s", path, error.line, error.text);
    const json_t *list = json_object_get(root, "merges");
    Status s = json_is_array(list) ? merges_text(path, list, &text, &size)
                                   : status_fail(STATUS_BAD_INPUT, "%s: merges: expected a list of pairs", path);
    if (s == STATUS_OK && (s = bpe_from_text(text, size, out)) != STATUS_OK) s = status_prefix(s, "%s", path);
    free(text);
    json_decref(root);
    return s;
}

static Status from_official(const char *path, Bpe **out)
{
    BpeMerges merges;
    TRY(bpe_merges_load(path, &merges));
    Status s = bpe_new(&merges, out);
    bpe_merges_release(&merges);
    return s == STATUS_OK ? s : status_prefix(s, "%s", path);
}

Status bpe_from_file(const char *path, Bpe **out)
{
    *out = NULL;
    FILE *f = fopen(path, "rb");
    if (!f) return status_fail(STATUS_IO, "%s: %m", path);
    int first = fgetc(f);
    while (first == ' ' || first == '\n' || first == '\t' || first == '\r') first = fgetc(f);
    fclose(f);
    return first == '{' ? from_json(path, out) : from_official(path, out);
}
