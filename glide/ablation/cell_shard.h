/* Shards: the cells of one condition and one block of rows in an HDF5 file, which appears whole or not at all.
 *
 *     /             attributes: format "glide-ablation-cells", format_version 1, condition (its label), first_row, evaluations and
 *                   gradients (f64, of each picture), telemetry_names ("cond_norm,uncond_norm,...")
 *     pictures      (n,side,side,3) u8
 *     large         (n,large_side,large_side,3) u8, with the upsampler only
 *     telemetry     (n,steps,T) f32, NaN where there was nothing to measure
 *
 * With h5py:  f = h5py.File("cells/c001-b0000.h5"); f["pictures"][0]; f["telemetry"][0, :, 5] */
#ifndef GLIDE_CELL_SHARD_H
#define GLIDE_CELL_SHARD_H

#include "glide/ablation/study_spec.h"

typedef struct CellShard {
    int n, first;       /* rows */
    uint8_t *pictures;  /* (n,side,side,3) */
    uint8_t *large;     /* (n,large_side,large_side,3); NULL: none */
    float *telemetry;   /* (n,steps,shard_telemetry_count()) */
    double evaluations, gradients; /* of each picture */
} CellShard;

enum { SHARD_TELEMETRY_MOST = 64 };

int shard_telemetry_count(void);
/* Of telemetry column i; a static or per-call text in `text`. */
const char *shard_telemetry_name(int i, char *text, size_t size);
/* The index that telemetry_value() wants. */
int shard_telemetry_index(int i);

Status cell_shard_alloc(const StudySpec *s, int n, CellShard *shard); /* STATUS_NO_MEMORY: it is released */
void cell_shard_release(CellShard *shard);
uint64_t cell_shard_hash(const StudySpec *s, const CellShard *shard);

Status cell_shard_write(const StudySpec *s, const char *path, const char *label, const CellShard *shard);
/* Into memory of the study's shapes for shard->n rows; `large` is read where it is not NULL. Errors name the file. */
Status cell_shard_read(const StudySpec *s, const char *path, CellShard *shard);
/* One row of `large` (large_side,large_side,3). */
Status cell_shard_read_large(const StudySpec *s, const char *path, int row, uint8_t *large);

#endif
