/* Private to the public API's files: models that guide, read when they are first named and kept as long as the context. */
#ifndef GLIDE_GUIDES_H
#define GLIDE_GUIDES_H

#include "glide/context.h"
#include "guidance/classifier.h"
#include "guidance/clip.h"
#include "text_transformer/clip_bpe.h"

typedef enum { GUIDES_CLASSIFIER, GUIDES_CLIP, GUIDES_WEAKER } GuidesKind;

/* One file; what it is not is NULL. */
typedef struct GuideFile {
    char *path;
    GuidesKind kind;
    uint64_t hash;
    Classifier *classifier;
    Clip *clip;
    ClipBpe *clip_bpe;
    TextUNet *weaker;
    struct GuideFile *next;
} GuideFile;

/* path "": the default one (weights_path.h), which autoguidance has not. *out is the context's. Errors name the file. A CLIP's file
 * must hold its tokenizer. */
Status guides_load(Glide *g, GuidesKind kind, const char *path, const GuideFile **out);
void guides_free(GuideFile *all); /* NULL is fine */

#endif
