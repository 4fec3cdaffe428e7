#include "glide/ablation/study_spec.h"

#include "common/file_write.h"
#include "data/dataset.h"
#include "glide/ablation/condition_grid.h"
#include "glide/ablation/study_prompts.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS_MOST = 100000, ROWS_MOST = 1 << 20, STEPS_MOST = 100000, SIDE_MOST = 4096 };

/* --- memory ------------------------------------------------------------------------------------------------ */

Status study_spec_alloc(StudySpec *s)
{
    size_t n = (size_t)s->prompts;
    s->condition = calloc((size_t)s->conditions, sizeof *s->condition);
    s->prompt = calloc(n, sizeof *s->prompt);
    s->label = calloc(n, sizeof *s->label);
    s->picture = calloc(n, sizeof *s->picture);
    s->other = calloc(n, sizeof *s->other);
    s->timestep = calloc((size_t)s->steps, sizeof *s->timestep);
    if (s->condition && s->prompt && s->label && s->picture && s->other && s->timestep) return STATUS_OK;
    study_spec_release(s);
    return status_fail(STATUS_NO_MEMORY, "out of memory for a study");
}

static void facts_release(StudyFacts *f)
{
    for (int i = 0; i < f->count; i++) {
        free(f->items[i].name);
        free(f->items[i].value);
    }
    free(f->items);
}

void study_spec_release(StudySpec *s)
{
    for (int i = 0; s->prompt && i < s->prompts; i++) free(s->prompt[i]);
    free(s->prompt);
    free(s->condition);
    free(s->label);
    free(s->picture);
    free(s->other);
    free(s->timestep);
    facts_release(&s->settings);
    facts_release(&s->facts);
    *s = (StudySpec){0};
}

Status study_facts_add(StudyFacts *f, const char *name, const char *format, ...)
{
    char *value = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&value, format, args);
    va_end(args);
    if (n < 0) return status_fail(STATUS_NO_MEMORY, "out of memory for a fact");
    if (f->count == f->room) {
        StudyFact *more = realloc(f->items, (size_t)(f->room + 16) * sizeof *more);
        if (more) f->items = more, f->room += 16;
    }
    char *copy = f->count < f->room ? strdup(name) : NULL;
    if (!copy) {
        free(value);
        return status_fail(STATUS_NO_MEMORY, "out of memory for a fact");
    }
    f->items[f->count++] = (StudyFact){copy, value};
    return STATUS_OK;
}

const char *study_facts_find(const StudyFacts *f, const char *name)
{
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->items[i].name, name)) return f->items[i].value;
    return NULL;
}

int study_rows(const StudySpec *s)
{
    return s->prompts * s->seeds;
}

int study_blocks(const StudySpec *s)
{
    return (study_rows(s) + s->rows - 1) / s->rows;
}

int study_block_rows(const StudySpec *s, int block, int *first)
{
    *first = block * s->rows;
    return study_rows(s) - *first < s->rows ? study_rows(s) - *first : s->rows;
}

/* --- to JSON ------------------------------------------------------------------------------------------------ */

static const char *const controls[] = {"", "scale 0", "shuffled prompts", "untrained", NULL};

static json_t *show_condition(const AblationCondition *c)
{
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:s, s:i, s:i}", "label", c->label, "mode", c->mode, "variant", c->variant,
                     "scale",
                     c->scale, "low", c->low, "high", c->high, "control", controls[c->control], "must_equal", c->must_equal,
                         "equals",
                     c->equals);
}

static json_t *show_facts(const StudyFacts *f)
{
    json_t *all = json_array();
    for (int i = 0; i < f->count; i++) json_array_append_new(all, json_pack("[s,s]", f->items[i].name, f->items[i].value));
    return all;
}

static json_t *show_spec(const StudySpec *s)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s->seed); /* beyond what JSON's numbers hold */
    json_t *root = json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:i}", "format", STUDY_FORMAT, "format_version", STUDY_VERSION,
                             "seed",
                             seed, "seeds", s->seeds, "steps", s->steps, "side", s->side, "large_side", s->large_side, "rows",
                                 s->rows);
    json_t *conditions = json_array(), *prompts = json_array(), *timesteps = json_array();
    for (int i = 0; i < s->conditions; i++) json_array_append_new(conditions, show_condition(&s->condition[i]));
    for (int i = 0; i < s->prompts; i++)
        json_array_append_new(prompts, json_pack("{s:s, s:i, s:i, s:i}", "text", s->prompt[i], "class", s->label[i], "picture",
                                                 s->picture[i], "other", s->other[i]));
    for (int i = 0; i < s->steps; i++) json_array_append_new(timesteps, json_real(s->timestep[i]));
    json_object_set_new(root, "conditions", conditions);
    json_object_set_new(root, "prompts", prompts);
    json_object_set_new(root, "timesteps", timesteps);
    json_object_set_new(root, "settings", show_facts(&s->settings));
    json_object_set_new(root, "facts", show_facts(&s->facts));
    return root;
}

Status study_spec_write(const StudySpec *s, const char *path)
{
    json_t *root = show_spec(s);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    Status status = file_write(path, text, strlen(text));
    free(text);
    return status;
}

/* --- from JSON ----------------------------------------------------------------------------------------------- */

typedef struct Reader {
    const char *path;
    bool failed; /* the message is in place */
} Reader;

static void wrong(Reader *r, const char *key, const char *expected)
{
    if (!r->failed) status_fail(STATUS_BAD_INPUT, "%s: %s: expected %s", r->path, key, expected);
    r->failed = true;
}

static int read_int(Reader *r, const json_t *object, const char *key, int low, int high)
{
    const json_t *v = json_object_get(object, key);
    if (json_is_integer(v) && json_integer_value(v) >= low && json_integer_value(v) <= high) return (int)json_integer_value(v);
    wrong(r, key, "a whole number in its range");
    return low;
}

static double read_real(Reader *r, const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v)) wrong(r, key, "a number");
    return json_number_value(v);
}

static const char *read_string(Reader *r, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text) wrong(r, key, "a text");
    return text ? text : "";
}

static const json_t *read_array(Reader *r, const json_t *object, const char *key, size_t low, size_t high, int *count)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_array(v) || json_array_size(v) < low || json_array_size(v) > high) wrong(r, key, "a list of its length");
    *count = r->failed ? 0 : (int)json_array_size(v);
    return v;
}

static void read_condition(Reader *r, const json_t *o, int index, AblationCondition *c)
{
    const char *control = read_string(r, o, "control");
    snprintf(c->label, sizeof c->label, "%s", read_string(r, o, "label"));
    snprintf(c->mode, sizeof c->mode, "%s", read_string(r, o, "mode"));
    snprintf(c->variant, sizeof c->variant, "%s", read_string(r, o, "variant"));
    c->scale = read_real(r, o, "scale");
    c->low = read_real(r, o, "low");
    c->high = read_real(r, o, "high");
    c->must_equal = read_int(r, o, "must_equal", -1, index - 1);
    c->equals = read_int(r, o, "equals", -1, index - 1);
    int k = 0;
    while (controls[k] && strcmp(controls[k], control) != 0) k++;
    if (!controls[k]) wrong(r, "control", "a kind of control");
    c->control = (AblationControl)(controls[k] ? k : 0);
}

static void read_facts(Reader *r, const json_t *root, const char *key, StudyFacts *out)
{
    int count;
    const json_t *all = read_array(r, root, key, 0, 10000, &count);
    for (int i = 0; i < count; i++) {
        const json_t *pair = json_array_get(all, (size_t)i);
        const char *name = json_string_value(json_array_get(pair, 0)), *value = json_string_value(json_array_get(pair, 1));
        if (!name || !value) wrong(r, key, "pairs of texts");
        else if (study_facts_add(out, name, "%s", value) != STATUS_OK) r->failed = true;
    }
}

static void read_lists(Reader *r, const json_t *root, StudySpec *s)
{
    const json_t *conditions = json_object_get(root, "conditions"), *prompts = json_object_get(root, "prompts");
    const json_t *timesteps = json_object_get(root, "timesteps");
    for (int i = 0; i < s->conditions; i++) {
        read_condition(r, json_array_get(conditions, (size_t)i), i, &s->condition[i]);
        int equals = s->condition[i].equals;
        if (equals >= 0 && s->condition[equals].equals >= 0) wrong(r, "equals", "a condition that was computed");
    }
    for (int i = 0; i < s->prompts; i++) {
        const json_t *o = json_array_get(prompts, (size_t)i);
        s->prompt[i] = strdup(read_string(r, o, "text"));
        s->label[i] = read_int(r, o, "class", -1, INT32_MAX);
        s->picture[i] = read_int(r, o, "picture", -1, DATASET_MAX_COUNT);
        s->other[i] = read_int(r, o, "other", -1, s->prompts - 1);
        if (!s->prompt[i]) wrong(r, "prompts", "memory for them");
    }
    for (int i = 0; i < s->steps; i++) s->timestep[i] = (float)json_number_value(json_array_get(timesteps, (size_t)i));
}

static Status read_spec(Reader *r, const json_t *root, StudySpec *s)
{
    int count;
    if (strcmp(read_string(r, root, "format"), STUDY_FORMAT) != 0) wrong(r, "format", "\"" STUDY_FORMAT "\"");
    read_int(r, root, "format_version", STUDY_VERSION, STUDY_VERSION);
    s->seeds = read_int(r, root, "seeds", 1, SEEDS_MOST);
    s->steps = read_int(r, root, "steps", 1, STEPS_MOST);
    s->side = read_int(r, root, "side", 1, SIDE_MOST);
    s->large_side = read_int(r, root, "large_side", 0, SIDE_MOST);
    s->rows = read_int(r, root, "rows", 1, ROWS_MOST);
    s->seed = strtoull(read_string(r, root, "seed"), NULL, 10);
    read_array(r, root, "conditions", 1, CONDITIONS_MOST, &s->conditions);
    read_array(r, root, "prompts", 1, STUDY_PROMPTS_MOST, &s->prompts);
    read_array(r, root, "timesteps", (size_t)s->steps, (size_t)s->steps, &count);
    if (!r->failed && (int64_t)s->prompts * s->seeds > STUDY_CELLS_MOST) wrong(r, "seeds", "fewer cells");
    if (r->failed) return STATUS_BAD_INPUT;
    TRY(study_spec_alloc(s));
    read_lists(r, root, s);
    read_facts(r, root, "settings", &s->settings);
    read_facts(r, root, "facts", &s->facts);
    return r->failed ? STATUS_BAD_INPUT : STATUS_OK;
}

static Status load(const char *path, json_t **out)
{
    json_error_t error;
    *out = json_load_file(path, 0, &error);
    if (*out) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: cannot be read as a study: %s", path, error.text);
}

Status study_spec_read(const char *path, StudySpec *s)
{
    json_t *root;
    Reader r = {path, false};
    *s = (StudySpec){0};
    TRY(load(path, &root));
    Status status = read_spec(&r, root, s);
    json_decref(root);
    if (status != STATUS_OK) study_spec_release(s);
    return status;
}

/* --- comparing ---------------------------------------------------------------------------------------------- */

/* The first setting that differs, by name. */
static Status differing_setting(const json_t *a, const json_t *b, const char *folder)
{
    for (size_t i = 0; i < json_array_size(a); i++) {
        const char *name = json_string_value(json_array_get(json_array_get(a, i), 0));
        const char *asked = json_string_value(json_array_get(json_array_get(a, i), 1));
        const char *found = json_string_value(json_array_get(json_array_get(b, i), 1));
        if (name && asked && found && strcmp(asked, found) != 0)
            return status_fail(STATUS_BAD_INPUT, "%s: holds another study: %s is %s there, %s is asked for; expected the same or "
                               "another "
                               "folder", folder, name, found, asked);
    }
    return status_fail(STATUS_BAD_INPUT, "%s: holds another study, with other settings; expected the same or another folder",
                       folder);
}

static Status compare(json_t *asked, const json_t *found, const char *folder)
{
    const char *key;
    json_t *value;
    json_object_foreach(asked, key, value) {
        const json_t *other = json_object_get(found, key);
        if (!strcmp(key, "facts") || json_equal(value, other)) continue;
        if (!strcmp(key, "settings")) return differing_setting(value, other, folder);
        return status_fail(STATUS_BAD_INPUT, "%s: holds another study, with other %s; expected the same or another folder",
                           folder, key);
    }
    return STATUS_OK;
}

Status study_spec_match(const StudySpec *asked, const char *path, const char *folder)
{
    json_t *found, *mine = show_spec(asked);
    char *text = mine ? json_dumps(mine, 0) : NULL; /* numbers as they come out of a file */
    json_decref(mine);
    mine = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (!mine) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    Status s = load(path, &found);
    if (s == STATUS_OK) {
        s = compare(mine, found, folder);
        json_decref(found);
    }
    json_decref(mine);
    return s;
}
