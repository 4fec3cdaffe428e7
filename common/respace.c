#include "common/respace.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A whole number >= 0 (spaces around it are fine), ended by `stop`. Moves *text behind it. */
static Status parse_count(const char **text, char stop, const char *all, int *out)
{
    char *end;
    errno = 0;
    long value = strtol(*text, &end, 10);
    while (end != *text && isspace((unsigned char)*end)) end++;
    if (end == *text || *end != stop || errno || value < 0 || value > INT32_MAX)
        return status_fail(
            STATUS_BAD_INPUT,
            "timestep respacing \"%.80s\": expected numbers of steps like \"100\" or \"10,10,3\", \"ddim50\", "
            "\"fast27\", \"karras20\" or \"logsnr20\", found \"%.40s\"",
            all, *text);
    *text = end;
    *out = (int)value;
    return STATUS_OK;
}

/* Distances between kept steps are added up in double and halves round to even, as Python does it: "19" depends on
 * both. */
static Status keep_section(int first, int size, int keep, int section, const char *all, int32_t *kept)
{
    if (keep > size)
        return status_fail(STATUS_BAD_INPUT,
                           "timestep respacing \"%.80s\": section %d has %d steps, cannot keep %d of them", all,
                           section + 1, size, keep);
    double stride = keep > 1 ? (double)(size - 1) / (keep - 1) : 1, at = 0;
    for (int i = 0; i < keep; i++, at += stride) kept[first + (int)nearbyint(at)] = 1;
    return STATUS_OK;
}

static Status keep_sections(int num_timesteps, const char *counts, const char *all, int32_t *kept)
{
    int sections = 1, first = 0;
    for (const char *c = counts; *c; c++) sections += *c == ',';
    for (int i = 0; i < sections; i++) {
        int keep, size = num_timesteps / sections + (i < num_timesteps % sections);
        TRY(parse_count(&counts, i + 1 < sections ? ',' : '\0', all, &keep));
        TRY(keep_section(first, size, keep, i, all, kept));
        first += size;
        counts++;
    }
    return STATUS_OK;
}

static Status keep_every(int num_timesteps, const char *count, const char *all, int32_t *kept)
{
    int keep;
    TRY(parse_count(&count, '\0', all, &keep));
    for (int stride = 1; stride < num_timesteps; stride++) {
        if ((num_timesteps - 1) / stride + 1 != keep) continue;
        for (int i = 0; i < num_timesteps; i += stride) kept[i] = 1;
        return STATUS_OK;
    }
    return status_fail(STATUS_BAD_INPUT, "timestep respacing \"%.80s\": no whole stride over %d steps keeps exactly %d",
                       all, num_timesteps, keep);
}

Status space_timesteps(int num_timesteps, const char *section_counts, int32_t *map, int *count)
{
    if (num_timesteps < 1)
        return status_fail(STATUS_BAD_INPUT, "timestep respacing: a process needs at least 1 step, found %d",
                           num_timesteps);
    int32_t *kept = map; /* first marks (0 or 1), then packed in place */
    memset(kept, 0, (size_t)num_timesteps * sizeof *kept);
    if (!strcmp(section_counts, "")) {
        for (int i = 0; i < num_timesteps; i++) kept[i] = 1;
    } else if (!strcmp(section_counts, "fast27")) {
        TRY(keep_sections(num_timesteps, "10,10,3,2,2", section_counts, kept));
        kept[num_timesteps - 1] = 0;
        kept[num_timesteps - 3] = 1;
    } else if (!strncmp(section_counts, "ddim", 4)) {
        TRY(keep_every(num_timesteps, section_counts + 4, section_counts, kept));
    } else {
        TRY(keep_sections(num_timesteps, section_counts, section_counts, kept));
    }
    *count = 0;
    for (int i = 0; i < num_timesteps; i++)
        if (kept[i]) map[(*count)++] = i;
    return STATUS_OK;
}

static const struct {
    const char *prefix;
    RespacingKind kind;
} level_kinds[] = {{"karras", RESPACING_KARRAS}, {"logsnr", RESPACING_LOGSNR}};

Status respacing_count(int num_timesteps, const char *text, RespacingKind *kind, int *count)
{
    RespacingKind unasked;
    if (!kind) kind = &unasked;
    for (size_t i = 0; i < sizeof level_kinds / sizeof *level_kinds; i++) {
        size_t prefix = strlen(level_kinds[i].prefix);
        if (strncmp(text, level_kinds[i].prefix, prefix)) continue;
        const char *number = text + prefix;
        *kind = level_kinds[i].kind;
        TRY(parse_count(&number, '\0', text, count));
        if (*count >= 2 && *count <= num_timesteps) return STATUS_OK;
        return status_fail(STATUS_BAD_INPUT, "timestep respacing \"%.80s\": expected 2 to %d levels", text, num_timesteps);
    }
    *kind = RESPACING_WHOLE;
    int32_t *map = malloc((size_t)(num_timesteps > 0 ? num_timesteps : 1) * sizeof *map);
    if (!map) return status_fail(STATUS_NO_MEMORY, "out of memory for %d timesteps", num_timesteps);
    Status s = space_timesteps(num_timesteps, text, map, count);
    free(map);
    return s;
}
