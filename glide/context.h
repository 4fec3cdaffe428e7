/* Private to the public API's files: what a Glide is, and pictures as the inside sees them. */
#ifndef GLIDE_CONTEXT_H
#define GLIDE_CONTEXT_H

#include "common/picture.h"
#include "common/kernels.h"
#include "glide/glide.h"
#include "text_transformer/text_unet.h"

typedef struct Model {
    char *path; /* NULL: the default */
    TextUNet *net;
    uint64_t hash;
} Model;

struct Glide {
    Model base, upsampler;
    struct GuideFile *guides; /* guides.h: those read so far */
    Kernels *kernels;
    DType precision;
    bool int8; /* and 8 bits inside */
    int threads;
};

/* Reads the file the first time. */
Status context_load(Glide *g, bool upsampler);
/* The base model and, if *upsampler, the upsampler. The default one knows prompts: for a base model that takes none, and if no
 * other is named, *upsampler becomes false. */
Status context_load_both(Glide *g, bool *upsampler);
int context_side(const Model *m); /* of its pictures */
/* OpenMP's number of threads is a setting of the calling thread: borrowed for the time of a call. Returns what it was. */
int context_enter(const Glide *g);

struct GlideDetail {
    Picture picture; /* values NULL: they are those of the rgb beside it */
};

void picture_give(Image *image, GlidePicture *out); /* takes the pixels over */
Image picture_view(const GlidePicture *p);          /* borrowed */
/* All that is known of it; borrowed. */
Picture picture_whole(const GlidePicture *p);
/* A picture that has the 8-bit colours, and all else as its detail; `picture` is released in any case. */
Status picture_give_whole(Picture *picture, GlidePicture *out);
/* The bytes of the PNG file that glide_picture_write() would make; *bytes is to be freed. */
Status picture_encode(const GlidePicture *p, unsigned char **bytes, size_t *size);

#endif
