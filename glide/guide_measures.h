/* How good guides and judge are on held-out pictures: the figures of data/TRAINING.md, of checkpoints and of `glide evaluate`. */
#ifndef GLIDE_GUIDE_MEASURES_H
#define GLIDE_GUIDE_MEASURES_H

#include "data/subgroups.h"
#include "glide/ablation/judge.h"
#include "guidance/classifier.h"
#include "guidance/clip.h"
#include "text_transformer/clip_bpe.h"

enum { MEASURE_GROUP = 64 };

typedef struct ClassifierScore {
    int timestep, n;           /* n: pictures whose class it knows */
    double top1, top5, style;  /* shares: the subject is its first, is among its first five, the style is its first */
} ClassifierScore;

/* pictures (n): indices in `d`, whose small pictures are loaded. Noise is always the same. */
Status measure_classifier(Kernels *k, const Classifier *m, const Dataset *d, const Subgroups *s, const int *pictures, int n,
                          int timestep, ClassifierScore *out);

/* Embeddings of pictures and of their plain English captions (captions.h), (n,width) of unit length each. */
Status embed_with_clip(Kernels *k, const Clip *m, const ClipBpe *bpe, const Dataset *d, const int *pictures, int n, int timestep,
                       float *seen, float *read);
Status embed_with_judge(Kernels *k, Judge *j, const Dataset *d, const int *pictures, int n, float *seen, float *read);

/* How often the own text (picture) is the most similar one, or among the first five, in groups of `group` pairs in their order;
 * what is left over makes no group. A tie counts as lost. Chance is 1 / group and 5 / group. */
typedef struct RetrievalScore {
    int n, group; /* pairs that were in groups */
    double text_top1, text_top5, picture_top1, picture_top5;
} RetrievalScore;

void measure_retrieval(const float *seen, const float *read, int n, int width, int group, RetrievalScore *out);

#endif
