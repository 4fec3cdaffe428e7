/* What the h5*.c files share and nobody else includes: the handle, guards that close ids and silence HDF5, error texts. */
#ifndef GLIDE_COMMON_H5FILE_INTERNAL_H
#define GLIDE_COMMON_H5FILE_INTERNAL_H

#include "common/h5file.h"

#define H5_USE_110_API /* newer versions keep these signatures under that name */
#include <hdf5.h>

struct H5File {
    hid_t id;
    char *path;
    int64_t bytes; /* size of the file when it was opened; 0 while writing */
    bool writing;
    char *final_path; /* writing: `path`, or what a symbolic link there points to */
    char *part_path;  /* writing: the temporary name beside it */
    int part_fd;     /* writing: holds the lock, and is what fsync() is called on */
};

/* HDF5 prints its error stack by itself unless told otherwise; the setting is per thread. A scope that starts with H5_QUIET
 * is silent, and leaves the setting as it was. Nor may HDF5 clean up when the program exits: every file is closed by then,
 * and after damaged files it prints about "infinite loop closing library", or crashes. */
typedef struct H5Quiet {
    H5E_auto2_t function;
    void *data;
} H5Quiet;

static inline H5Quiet h5_quiet_begin(void)
{
    H5Quiet quiet = {0};
    H5dont_atexit(); /* only counts before HDF5's first call; refused, harmlessly, later */
    H5Eget_auto2(H5E_DEFAULT, &quiet.function, &quiet.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return quiet;
}

static inline void h5_quiet_end(const H5Quiet *quiet)
{
    H5Eset_auto2(H5E_DEFAULT, quiet->function, quiet->data);
}

#define H5_QUIET __attribute__((cleanup(h5_quiet_end), unused)) H5Quiet quiet_ = h5_quiet_begin()

/* An id of any sort that is given back when the variable goes out of scope. */
static inline void h5_id_release(const hid_t *id)
{
    if (*id >= 0) H5Idec_ref(*id);
}

#define H5Id __attribute__((cleanup(h5_id_release))) hid_t

/* "PATH: what: HDF5's or the system's reason" from the current error stack. */
Status h5_fail(const H5File *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Open a dataset, or a group or dataset. */
Status h5_open_dataset(const H5File *file, const char *name, hid_t *out);
Status h5_open_object(const H5File *file, const char *name, hid_t *out);

/* "" and "/" are the root; a leading slash is dropped. */
const char *h5_clean(const char *name);

/* Make the groups above the last component of `name`. */
Status h5_make_parents(H5File *file, const char *name);

/* Types of numbers in the file (little endian) and in memory, -1 for others. The caller closes it. */
hid_t h5_file_type(H5Kind kind);
hid_t h5_memory_type(H5Kind kind);
/* Zero-filled UTF-8 of `length` bytes. Variable length would be handier for h5py, but reading it from a damaged file makes
 * HDF5 1.10.8 crash or loop (its global heap trusts every size), so texts are not written so. */
hid_t h5_text_type(size_t length);
H5Kind h5_kind_of(hid_t type);
/* Can values of the stored type be read as `kind` without harm? */
bool h5_kind_reads(H5Kind kind, hid_t stored);
const char *h5_kind_name(H5Kind kind);

/* A growing list of strings that ends as one block for one free(). */
typedef struct H5Texts {
    char *bytes;
    size_t length, capacity;
    int count;
} H5Texts;

Status h5_texts_add(H5Texts *texts, const char *text, size_t length);
Status h5_texts_finish(H5Texts *texts, char ***out, int *count); /* empties `texts` whatever happens */

/* Append `count` strings of a stored string type that lie at `data`, as H5Dread or H5Aread left them. */
Status h5_texts_add_stored(H5Texts *texts, hid_t type, const void *data, int64_t count);

#endif
