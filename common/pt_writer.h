/* State dictionaries for PyTorch: what torch.save() writes for an OrderedDict of tensors, which torch.load() and
 * load_state_dict(strict=True) take, with weights_only too. Zip archive of PyTorch 1.6 and later: NAME/data.pkl, NAME/data/0,
 * ..., NAME/version, nothing compressed, every entry aligned to 64 bytes. The same contents give the same bytes. */
#ifndef GLIDE_COMMON_PT_WRITER_H
#define GLIDE_COMMON_PT_WRITER_H

#include "common/params_match.h"
#include "common/pt_reader.h"

typedef struct PtWriteOptions {
    PtDType dtype; /* PT_F32 or PT_F16, of all tensors */
    /* Values of tensor `index`, asked for once each and in order, so that memory holds one tensor at a time. */
    Status (*read)(void *ctx, int index, float *values);
    void (*progress)(void *ctx, int64_t done); /* values written so far; may be NULL */
    bool (*stop)(void);                        /* asked now and then; may be NULL */
    void *ctx;
} PtWriteOptions;

/* Write tensors[0..count) under their names. The file appears whole or not at all, and only once it is on the disk
 * (file_write_with()). Errors: those of `read`; STATUS_IO; STATUS_BAD_INPUT for what is not a regular file and for values that are
 * not finite or too large for half precision; STATUS_INTERRUPTED. */
Status pt_write(const char *path, const NamedShape *tensors, int count, const PtWriteOptions *options);

#endif
