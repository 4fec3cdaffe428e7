#include "glide/ablation/cell_shard.h"

#include "common/h5file.h"
#include "guidance/telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_FORMAT "glide-ablation-cells"

enum { SHARD_VERSION = 1, NAME = 64, COMPRESSION = 4 };

/* --- telemetry's columns --------------------------------------------------------------------------------------- */

int shard_telemetry_count(void)
{
    char name[NAME];
    int count = 0;
    for (int i = 0; telemetry_name(i, name, sizeof name); i++) count += *name != 0;
    return count;
}

int shard_telemetry_index(int column)
{
    char name[NAME];
    int i = -1;
    while (column >= 0) {
        if (!telemetry_name(++i, name, sizeof name)) return -1;
        column -= *name != 0;
    }
    return i;
}

const char *shard_telemetry_name(int column, char *text, size_t size)
{
    return telemetry_name(shard_telemetry_index(column), text, size);
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static size_t small_bytes(const StudySpec *s, int n)
{
    return (size_t)n * (size_t)s->side * (size_t)s->side * 3;
}

static size_t large_bytes(const StudySpec *s, int n)
{
    return (size_t)n * (size_t)s->large_side * (size_t)s->large_side * 3;
}

static size_t telemetry_floats(const StudySpec *s, int n)
{
    return (size_t)n * (size_t)s->steps * (size_t)shard_telemetry_count();
}

Status cell_shard_alloc(const StudySpec *s, int n, CellShard *shard)
{
    *shard = (CellShard){.n = n, .pictures = calloc(1, small_bytes(s, n)),
                         .telemetry = calloc(telemetry_floats(s, n), sizeof(float))};
    if (s->large_side) shard->large = calloc(1, large_bytes(s, n));
    if (shard->pictures && shard->telemetry && (shard->large || !s->large_side)) return STATUS_OK;
    cell_shard_release(shard);
    return status_fail(STATUS_NO_MEMORY, "out of memory for %d pictures", n);
}

void cell_shard_release(CellShard *shard)
{
    free(shard->pictures);
    free(shard->large);
    free(shard->telemetry);
    *shard = (CellShard){0};
}

/* FNV-1a, 64 bit, over 8 bytes at a time. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = 0;
        memcpy(&word, (const char *)bytes + at, size - at < 8 ? size - at : 8);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
    }
    return hash;
}

uint64_t cell_shard_hash(const StudySpec *s, const CellShard *shard)
{
    const double counts[] = {shard->first, shard->n, shard->evaluations, shard->gradients};
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), counts, sizeof counts);
    hash = mix(hash, shard->pictures, small_bytes(s, shard->n));
    if (shard->large) hash = mix(hash, shard->large, large_bytes(s, shard->n));
    return mix(hash, shard->telemetry, telemetry_floats(s, shard->n) * sizeof(float));
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static Status write_pictures(H5File *f, const char *name, int n, int side, const uint8_t *pixels)
{
    const int64_t dims[] = {n, side, side, 3};
    TRY(h5file_create_rows(f, name, H5KIND_U8, 4, dims, 1, COMPRESSION));
    return h5file_write_rows(f, name, 0, n, (int64_t)side * side * 3, pixels);
}

static Status write_all(H5File *f, const StudySpec *s, const char *label, const CellShard *shard)
{
    char names[SHARD_TELEMETRY_MOST * NAME] = "", name[NAME];
    size_t used = 0;
    int columns = shard_telemetry_count();
    for (int i = 0; i < columns; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? "," : "",
                                 shard_telemetry_name(i, name, sizeof name));
    TRY(h5file_set_text(f, "/", "format", SHARD_FORMAT));
    TRY(h5file_set_i64(f, "/", "format_version", SHARD_VERSION));
    TRY(h5file_set_text(f, "/", "condition", label));
    TRY(h5file_set_i64(f, "/", "first_row", shard->first));
    TRY(h5file_set_f64(f, "/", "evaluations", shard->evaluations));
    TRY(h5file_set_f64(f, "/", "gradients", shard->gradients));
    TRY(h5file_set_text(f, "/", "telemetry_names", names));
    TRY(write_pictures(f, "pictures", shard->n, s->side, shard->pictures));
    if (shard->large) TRY(write_pictures(f, "large", shard->n, s->large_side, shard->large));
    return h5file_write(f, "telemetry", H5KIND_F32, 3, (int64_t[]){shard->n, s->steps, columns}, shard->telemetry);
}

Status cell_shard_write(const StudySpec *s, const char *path, const char *label, const CellShard *shard)
{
    H5File *f;
    TRY(h5file_create(path, &f));
    Status status = write_all(f, s, label, shard);
    if (status == STATUS_OK) return h5file_commit(f);
    h5file_close(f);
    return status;
}

static Status read_all(const H5File *f, const StudySpec *s, CellShard *shard)
{
    int64_t version, first, n = shard->n;
    TRY(h5file_attr_i64(f, "/", "format_version", &version));
    if (version != SHARD_VERSION)
        return status_fail(STATUS_BAD_INPUT, "expected format_version %d, found %lld", SHARD_VERSION, (long long)version);
    TRY(h5file_attr_i64(f, "/", "first_row", &first));
    shard->first = (int)first;
    TRY(h5file_attr_f64(f, "/", "evaluations", &shard->evaluations));
    TRY(h5file_attr_f64(f, "/", "gradients", &shard->gradients));
    TRY(h5file_read(f, "pictures", H5KIND_U8, 4, (int64_t[]){n, s->side, s->side, 3}, shard->pictures));
    if (shard->large)
        TRY(h5file_read(f, "large", H5KIND_U8, 4, (int64_t[]){n, s->large_side, s->large_side, 3}, shard->large));
    return h5file_read(f, "telemetry", H5KIND_F32, 3, (int64_t[]){n, s->steps, shard_telemetry_count()}, shard->telemetry);
}

Status cell_shard_read(const StudySpec *s, const char *path, CellShard *shard)
{
    H5File *f;
    TRY(h5file_open(path, &f));
    Status status = read_all(f, s, shard);
    h5file_close(f);
    return status;
}

Status cell_shard_read_large(const StudySpec *s, const char *path, int row, uint8_t *large)
{
    H5File *f;
    TRY(h5file_open(path, &f));
    Status status = h5file_read_rows(f, "large", H5KIND_U8, row, 1, (int64_t)s->large_side * s->large_side * 3, large);
    h5file_close(f);
    return status;
}
