/* Where the storages of a PyTorch file lie: entries of a zip archive, or places in a file of the older format. For
 * pt_reader.c and pt_legacy.c only. */
#ifndef GLIDE_COMMON_PT_SOURCE_H
#define GLIDE_COMMON_PT_SOURCE_H

#include "common/pickle.h"
#include "common/pt_reader.h"

#include <zip.h>

typedef struct LegacyStorage {
    const char *key; /* in `pickled` */
    uint32_t key_length;
    PtDType dtype;
    int64_t count, offset; /* elements; byte of the first in the file */
} LegacyStorage;

typedef struct PtSource {
    char *path;
    int64_t bytes;    /* of the file */
    uint8_t *pickled; /* what `pickle` points into */
    size_t pickled_size;
    Pickle *pickle;
    zip_t *zip;       /* zip format */
    char *prefix;     /* "NAME/" of its entries */
    int fd;           /* older format, else -1 */
    LegacyStorage *legacy; /* sorted by key */
    int legacy_count;
    uint8_t *cache;   /* bytes [cache_first, cache_first + cache_bytes) of the storage at cache_place */
    int64_t cache_place, cache_first, cache_bytes;
    bool *verified;   /* zip format, by place: storages whose checksum was compared */
} PtSource;

/* Open the file and read its pickle. */
Status pt_source_open(const char *path, PtSource **out);
void pt_source_close(PtSource *source);

/* Memory that a file of this size may ask for, besides its storages. */
size_t pt_source_budget(const PtSource *source);
extern const char *const pt_allowed_names[];

/* What a persistent id says about a storage. Texts point into the pickle. */
typedef struct StorageId {
    const char *key;
    uint32_t key_length;
    PtDType dtype;
    int64_t count;
} StorageId;

Status pt_storage_id(const PtSource *source, const PickleValue *persistent, StorageId *out);
/* Find the storage and check that it has as many bytes as the id says. */
Status pt_storage_place(const PtSource *source, const StorageId *id, int64_t *place);
/* Bytes [first, first + bytes) of a storage of `size` bytes, borrowed until the next call. Checkpoints of guided-diffusion's
 * trainer have all parameters in two storages, so memory holds what is asked for, not the storage. */
Status pt_storage_bytes(PtSource *source, int64_t place, int64_t size, int64_t first, int64_t bytes, const uint8_t **out);

size_t pt_dtype_size(PtDType dtype);

/* The older format: does the file begin like it; read its pickles and find its storages (source->fd is open). */
bool pt_legacy_is(const uint8_t *start, size_t size);
Status pt_legacy_open(PtSource *source);
Status pt_legacy_place(const PtSource *source, const StorageId *id, int64_t *place);

#endif
