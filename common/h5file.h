/* HDF5 files under this project's rules: every failure is a Status with one line that names the file and the dataset,
 * what was expected and what was found; sizes are checked before memory is taken; new files appear whole or not at all.
 *
 *     H5File *file;                                          H5File *file;
 *     TRY(h5file_open(path, &file));                         TRY(h5file_create(path, &file));
 *     Status status = read_all(file);                        Status status = write_all(file);
 *     h5file_close(file);                                    if (status == STATUS_OK) status = h5file_commit(file);
 *     return status;                                         else h5file_close(file);
 *
 * Names are paths such as "params/out.2.weight"; dots are ordinary characters; "/" or "" is the root. Files made here are
 * in HDF5's oldest format that can keep the order of names. Links to other places or other files are treated as absent.
 * Errors: STATUS_BAD_INPUT for what is missing, damaged or of another type or shape than expected; STATUS_IO for what the
 * operating system refused (full disk); STATUS_NO_MEMORY. One H5File belongs to one thread at a time; different ones may
 * be used at once (Debian's libhdf5 is built thread-safe). HDF5's own messages are never printed. */
#ifndef GLIDE_COMMON_H5FILE_H
#define GLIDE_COMMON_H5FILE_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H5FILE_MAX_DIMS 8

typedef struct H5File H5File;

/* How values are stored. H5KIND_OTHER: anything else (other widths of integers can still be read as a wider one). */
typedef enum {
    H5KIND_F32, H5KIND_F16, H5KIND_F64, H5KIND_I32, H5KIND_I64, H5KIND_U8, H5KIND_TEXT, H5KIND_OTHER
} H5Kind;

typedef struct H5Info {
    H5Kind kind;
    int ndim; /* 0: a single value */
    int64_t dims[H5FILE_MAX_DIMS];
    int64_t size;   /* elements */
    int64_t offset; /* of the values in the file when they lie there plain and in one piece, to map them; else -1 */
} H5Info;

/* --- files --- */
/* Open for reading. Errors tell apart: missing, not a file, not HDF5, truncated. */
Status h5file_open(const char *path, H5File **out);
/* Start a new file that will be `path`. Until the commit it is "PATH.part" in the same folder, locked against a second
 * writer; an older file at `path` stays untouched. Errors: folder missing or not writable, another writer. */
Status h5file_create(const char *path, H5File **out);
/* Flush to the disk, rename to the final name, flush the folder. Frees the file whether it succeeds or not; on failure
 * nothing is left behind and an older file at `path` is as it was. */
Status h5file_commit(H5File *file);
/* The same without waiting for the disk, which for a file of gigabytes takes minutes: for what can be made again. Whatever
 * the program does the file is whole; only a power cut soon after can lose or empty it. */
Status h5file_commit_cached(H5File *file);
/* Close; a new file that was not committed is removed. NULL is fine. */
void h5file_close(H5File *file);
const char *h5file_path(const H5File *file);

/* --- what is there --- */
bool h5file_has_dataset(const H5File *file, const char *name);
bool h5file_has_group(const H5File *file, const char *name);
Status h5file_stat(const H5File *file, const char *name, H5Info *out); /* of a dataset */
/* "(32,3,3,3) f16" for messages and listings. Returns `text`. */
const char *h5info_describe(const H5Info *info, char *text, size_t size);

enum { H5LIST_DATASETS = 1, H5LIST_GROUPS = 2, H5LIST_RECURSE = 4 };
/* Names in a group (H5LIST_RECURSE: and in its groups, as "a/b"), in the order they were created where the file kept it,
 * else by name. One free(*names) releases all. */
Status h5file_list(const H5File *file, const char *group, unsigned what, char ***names, int *count);

/* The whole file as it lies on the disk, read-only; munmap() it. Values are at H5Info.offset. */
Status h5file_map(const H5File *file, void **data, size_t *size);

/* --- read datasets --- */
/* Read into the caller's memory; the stored shape must be exactly dims[0..ndim-1]. `kind` is the type in memory: F32 and F64
 * take any stored float (F16 too), I32 and I64 any stored integer that cannot overflow them, U8 stored u8 only. */
Status h5file_read(const H5File *file, const char *name, H5Kind kind, int ndim, const int64_t *dims, void *out);
/* Rows [first, first+count) of the first axis; `row` elements make one row (checked). */
Status h5file_read_rows(const H5File *file, const char *name, H5Kind kind, int64_t first, int64_t count, int64_t row,
                        void *out);
/* Allocate and read; *out is the caller's to free(). `info` (may be NULL) receives the shape. */
Status h5file_load_f32(const H5File *file, const char *name, float **out, H5Info *info);
Status h5file_load_f64(const H5File *file, const char *name, double **out, H5Info *info);
Status h5file_load_i32(const H5File *file, const char *name, int32_t **out, H5Info *info);
Status h5file_load_i64(const H5File *file, const char *name, int64_t **out, H5Info *info);
Status h5file_load_u8(const H5File *file, const char *name, uint8_t **out, H5Info *info);
/* Strings of a dataset of any shape (fixed length, zero-filled or space-padded, or variable length); count = elements.
 * One free(*out) releases all. */
Status h5file_load_texts(const H5File *file, const char *name, char ***out, int *count);

/* --- write datasets (parents are made as needed; a name can be written once) --- */
Status h5file_make_group(H5File *file, const char *name); /* existing is fine */
/* `kind` is how it is stored; `data` is of the same type, except that F16 takes f32 (values beyond 65504 are an error). */
Status h5file_write(H5File *file, const char *name, H5Kind kind, int ndim, const int64_t *dims, const void *data);
/* Zero-filled UTF-8 strings as long as the longest, shape (count); compressed when there are many. */
Status h5file_write_texts(H5File *file, const char *name, const char *const *texts, int count);
/* A dataset to be filled row by row with h5file_write_rows(), stored in chunks of `chunk_rows` rows and compressed with
 * deflate at `level` 1..9 (0: not compressed). chunk_rows 0: contiguous. Rows never written read as zero. */
Status h5file_create_rows(H5File *file, const char *name, H5Kind kind, int ndim, const int64_t *dims, int64_t chunk_rows,
                          int level);
Status h5file_write_rows(H5File *file, const char *name, int64_t first, int64_t count, int64_t row, const void *data);
/* A box of values, `count` of them along each axis from `start` on; ndim is the dataset's. */
Status h5file_write_part(H5File *file, const char *name, int ndim, const int64_t *start, const int64_t *count, const void *data);

/* --- attributes of `object` (a group or dataset; "/" is the file itself) --- */
bool h5file_has_attr(const H5File *file, const char *object, const char *name);
/* Required: absent is an error. */
Status h5file_attr_i64(const H5File *file, const char *object, const char *name, int64_t *out);
Status h5file_attr_f64(const H5File *file, const char *object, const char *name, double *out); /* takes integers too */
Status h5file_attr_text(const H5File *file, const char *object, const char *name, char **out); /* free() */
Status h5file_attr_i32s(const H5File *file, const char *object, const char *name, int32_t **out, int *count); /* free() */
Status h5file_attr_f64s(const H5File *file, const char *object, const char *name, double **out, int *count);  /* free() */
/* Absent gives the fallback; present but of a wrong type is still an error. */
Status h5file_attr_i64_or(const H5File *file, const char *object, const char *name, int64_t fallback, int64_t *out);
Status h5file_attr_f64_or(const H5File *file, const char *object, const char *name, double fallback, double *out);
Status h5file_attr_text_or(const H5File *file, const char *object, const char *name, const char *fallback, char **out);
/* Names of all attributes of the object, in the order they were made where the file kept it. One free(*names). */
Status h5file_attr_names(const H5File *file, const char *object, char ***names, int *count);
/* The value as text for listings ("64", "0.5", "1,2,4", "base"), cut to `size`. */
Status h5file_attr_show(const H5File *file, const char *object, const char *name, char *text, size_t size);

Status h5file_set_i64(H5File *file, const char *object, const char *name, int64_t value);
Status h5file_set_f64(H5File *file, const char *object, const char *name, double value);
Status h5file_set_text(H5File *file, const char *object, const char *name, const char *value);
Status h5file_set_i32s(H5File *file, const char *object, const char *name, const int32_t *values, int count);
Status h5file_set_f64s(H5File *file, const char *object, const char *name, const double *values, int count);

#endif
