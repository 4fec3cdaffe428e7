/* Parity of the diffusion process: schedules.h5. */
#include "common/respace.h"
#include "tests/support_diffusion_tables.h"
#include "tests/support_parity.h"

#include <stdlib.h>
#include <string.h>

/* Every table that the group has. */
static Status check_tables(Parity *p, const H5File *file, const char *item, const char *group, const Diffusion *d)
{
    const int64_t dims[1] = {d->num_timesteps};
    for (int i = 0; i < DIFFUSION_TABLES; i++) {
        const char *name = parity_text(p, "%s/%s", group, diffusion_tables[i].name);
        if (!h5file_has_dataset(file, name)) continue;
        double *expected = parity_alloc(p, dims[0], sizeof *expected);
        const double *found;
        TRY(h5file_read(file, name, H5KIND_F64, 1, dims, expected));
        memcpy(&found, (const char *)d + diffusion_tables[i].offset, sizeof found);
        parity_compare_f64(p, parity_text(p, "%s %s", item, diffusion_tables[i].name), found, expected, dims[0],
                           (Tolerance){.relative = 1e-12});
    }
    return STATUS_OK;
}

typedef struct Schedule {
    const char *file_name, *group, *name;
    int steps;
} Schedule;

static Status check_respaced(Parity *p, const H5File *file, const Schedule *c, const char *group)
{
    char *counts;
    int64_t constructible;
    H5Info info;
    int32_t *expected, *map = parity_alloc(p, c->steps, sizeof *map);
    int count = 0;
    Diffusion d;
    TRY(h5file_attr_text(file, group, "section_counts", &counts));
    parity_keep(p, counts);
    TRY(h5file_attr_i64(file, group, "constructible", &constructible));
    TRY(h5file_load_i32(file, parity_text(p, "%s/timestep_map", group), &expected, &info));
    parity_keep(p, expected);
    const char *item = parity_text(p, "%s %s \"%s\"", c->file_name, c->group, counts);
    const char *map_item = parity_text(p, "%s timestep_map", item);
    if (space_timesteps(c->steps, counts, map, &count) != STATUS_OK) {
        parity_broken(p, map_item);
        return STATUS_OK;
    }
    parity_exact(p, map_item, count != info.size || memcmp(map, expected, (size_t)count * sizeof *map), info.size, NULL);
    if (!constructible) return STATUS_OK;
    if (diffusion_init(&d, c->name, c->steps, counts) != STATUS_OK) {
        parity_broken(p, item);
        return STATUS_OK;
    }
    Status s = check_tables(p, file, item, group, &d);
    diffusion_release(&d);
    return s;
}

static Status check_rejected(Parity *p, const H5File *file, const Schedule *c)
{
    char **texts;
    int count, kept, wrong = 0;
    const char *first = NULL, *name = parity_text(p, "%s/rejected", c->group);
    int32_t *map = parity_alloc(p, c->steps, sizeof *map);
    if (!h5file_has_dataset(file, name)) return STATUS_OK;
    TRY(h5file_load_texts(file, name, &texts, &count));
    parity_keep(p, texts);
    for (int i = 0; i < count; i++) {
        if (space_timesteps(c->steps, texts[i], map, &kept) == STATUS_BAD_INPUT) continue;
        if (!wrong++) first = parity_text(p, "accepted: \"%s\"", texts[i]);
    }
    parity_exact(p, parity_text(p, "%s %s rejected", c->file_name, c->group), wrong, count, first);
    return STATUS_OK;
}

static Status check_schedule(Parity *p, const H5File *file, const char *file_name, const char *group)
{
    int64_t steps;
    char *schedule, **names;
    int count;
    Diffusion d;
    TRY(h5file_attr_text(file, group, "schedule", &schedule));
    parity_keep(p, schedule);
    TRY(h5file_attr_i64(file, group, "steps", &steps));
    if (steps < 1 || steps > DIFFUSION_MAX_TIMESTEPS) return parity_wrong(file, "steps out of range", group);
    Schedule c = {file_name, group, schedule, (int)steps};
    if (diffusion_init(&d, schedule, c.steps, "") != STATUS_OK) {
        parity_broken(p, parity_text(p, "%s %s", file_name, group));
    } else {
        Status s = check_tables(p, file, parity_text(p, "%s %s", file_name, group), group, &d);
        diffusion_release(&d);
        TRY(s);
    }
    TRY(check_rejected(p, file, &c));
    const char *respaced = parity_text(p, "%s/respaced", group);
    if (!h5file_has_group(file, respaced)) return STATUS_OK;
    TRY(parity_list(p, file, respaced, H5LIST_GROUPS, &names, &count));
    for (int i = 0; i < count; i++) TRY(check_respaced(p, file, &c, parity_text(p, "%s/%s", respaced, names[i])));
    return STATUS_OK;
}

static Status check_embeddings(Parity *p, const H5File *file, const char *file_name, const char *group)
{
    float *timesteps, *expected;
    int64_t n, dims[2];
    char **names;
    int count;
    TRY(parity_vector(p, file, parity_text(p, "%s/timesteps", group), &timesteps, &n));
    TRY(parity_list(p, file, group, H5LIST_DATASETS, &names, &count));
    for (int i = 0; i < count; i++) {
        if (!strcmp(names[i], "timesteps")) continue;
        const char *name = parity_text(p, "%s/%s", group, names[i]);
        TRY(parity_shape(file, name, 2, dims));
        if (dims[0] != n || dims[1] < 2) return parity_wrong(file, "expected one row per timestep", name);
        TRY(parity_f32(p, file, name, 2, dims, &expected));
        float *found = parity_alloc(p, n * dims[1], sizeof *found);
        timestep_embedding(timesteps, n, dims[1], found);
        parity_compare(p, parity_text(p, "%s %s", file_name, name), found, expected, n * dims[1],
                       (Tolerance){.absolute = 1e-4});
    }
    return STATUS_OK;
}

static Status check_file(Parity *p, const H5File *file, const char *file_name)
{
    char **groups;
    int count;
    TRY(parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count));
    for (int i = 0; i < count; i++) {
        if (h5file_has_attr(file, groups[i], "schedule")) TRY(check_schedule(p, file, file_name, groups[i]));
        else if (!strcmp(groups[i], "timestep_embedding")) TRY(check_embeddings(p, file, file_name, groups[i]));
    }
    return STATUS_OK;
}

Status parity_schedules(Parity *p, const char *name)
{
    H5File *file;
    TRY(parity_open(p, name, &file));
    Status s = check_file(p, file, name);
    h5file_close(file);
    return s;
}
