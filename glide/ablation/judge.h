/* The judge of ablations: a feature network and text-image matcher that never guides. It is trained on clean pictures with another
 * seed, another architecture and another part of the training pictures than the guides (data/TRAINING.md).
 *
 *     Judge *judge;
 *     TRY(judge_load("judge.h5", &judge));
 *     TRY(judge_see(judge, kernels, x, n, features, embeddings));
 *     TRY(judge_read(judge, kernels, texts, n, text_embeddings));
 *     judge_free(judge);
 */
#ifndef GLIDE_ABLATION_JUDGE_H
#define GLIDE_ABLATION_JUDGE_H

#include "common/kernels.h"
#include "common/status.h"

typedef struct Judge Judge;

Status judge_load(const char *path, Judge **out);
void judge_free(Judge *j); /* NULL is fine. Before the kernels that it judged with: it holds copies that they packed */
uint64_t judge_hash(const Judge *j); /* weights_hash(), for provenance */
int judge_side(const Judge *j);      /* of the pictures it takes: 64 */
int judge_features(const Judge *j);  /* length of a feature vector */
int judge_embedding(const Judge *j); /* length of an embedding */

/* x (n,side,side,3) in [-1,1] -> features (n,features), what the network has before its last projection, and embeddings
 * (n,embedding) of unit length; either may be NULL. Rows are independent of one another, of n and of threads. */
Status judge_see(Judge *j, Kernels *kernels, const float *x, int64_t n, float *features, float *embeddings);
/* texts (n) UTF-8, cut where the judge stops reading -> embeddings (n,embedding) of unit length. */
Status judge_read(Judge *j, Kernels *kernels, const char *const *texts, int64_t n, float *embeddings);

#endif
