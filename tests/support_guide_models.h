/* A small classifier and a small CLIP for pictures of 16x16, with random weights, and their files; for the tiny base model. */
#ifndef GLIDE_TESTS_SUPPORT_GUIDE_MODELS_H
#define GLIDE_TESTS_SUPPORT_GUIDE_MODELS_H

#include "guidance/classifier.h"
#include "guidance/clip.h"
#include "text_transformer/clip_bpe.h"

enum { SMALL_CLASSES = 5 };

/* Any failure fails the test. */
Classifier *small_classifier(uint64_t seed);
Clip *small_clip(uint64_t seed);
ClipBpe *small_clip_bpe(void);

/* classifier.h5, clip.h5 with its tokenizer, and weaker.h5, a base model of another seed, in a folder. */
void write_small_guides(const char *folder);

#endif
