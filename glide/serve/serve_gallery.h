/* The folder of finished pictures. Names are those that the server gave: no folders, nothing hidden, ".png" at the end. */
#ifndef GLIDE_SERVE_GALLERY_H
#define GLIDE_SERVE_GALLERY_H

#include "common/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The folder is made, with those above it; what a server that was killed left half written there is removed. */
Status gallery_open(const char *folder);
/* Keeps a job's picture as folder/20261122-193055-000012-01.png: names sort as pictures were made. Where another server gave that
 * name in the same second, a number follows. */
enum { GALLERY_NAME = 64 };
Status gallery_keep(const char *folder, uint64_t job, int index, const void *png, size_t size, char name[GALLERY_NAME]);
/* {"name", "size", "time"} of at most `most` pictures whose names sort below `before` (NULL: all), last name first. */
Status gallery_list(const char *folder, const char *before, int most, json_t **out);
/* STATUS_BAD_INPUT: there is none of that name. */
Status gallery_read(const char *folder, const char *name, unsigned char **bytes, size_t *size);
Status gallery_remove(const char *folder, const char *name);
bool gallery_name(const char *name);

#endif
