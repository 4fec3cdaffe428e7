/* Write a whole file at once, so that it appears complete or not at all.
 *
 * A new or regular file is written under a temporary name in its folder (".glide-PID-N.tmp"), flushed to the disk and
 * renamed; on failure the temporary file is gone and an older file is as it was. Symbolic links stay links: what they
 * point to is replaced. "-" and "/dev/stdout" are standard output, and what is not a regular file (/dev/stderr, a pipe,
 * a device) is written directly. An older file's permissions are kept; a file without write permission is not replaced.
 * Errors: STATUS_IO with one line that names `path`. */
#ifndef GLIDE_COMMON_FILE_WRITE_H
#define GLIDE_COMMON_FILE_WRITE_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

Status file_write(const char *path, const void *bytes, size_t size);

/* The same for a file that must be new: where `path` is there already, by whomever and however lately, nothing is written and *taken
 * is true, with STATUS_OK. */
Status file_write_new(const char *path, const void *bytes, size_t size, bool *taken);

/* The same for a file that a library writes: `write_it` makes the file `name`, an empty one so far, in the folder of `path`, which
 * is then flushed to the disk and renamed. `path` may be new or a regular file, nothing else (STATUS_BAD_INPUT). A failure of
 * `write_it` is handed on, and the temporary file is gone. */
Status file_write_with(const char *path, Status (*write_it)(void *ctx, const char *name), void *ctx);

/* Removes what file_write() left in `folder` when its program was killed, and nothing else: regular files of just such a name
 * that nobody writes. A writer holds a lock (flock) on its temporary file until the file has its final name, so programs that
 * write into the folder meanwhile, or threads of this one, lose nothing; where there are no locks (some network file systems)
 * nothing is removed. How many were. */
int file_remove_stale(const char *folder);

/* Whether file_write() has a chance, to be asked before long work: the folder exists and can be written, `path` is not
 * a folder. A full disk shows only later. */
Status file_check_writable(const char *path);

#endif
