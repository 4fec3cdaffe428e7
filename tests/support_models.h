/* Small models with random weights, and their files, for tests of what is built on models. */
#ifndef GLIDE_TESTS_SUPPORT_MODELS_H
#define GLIDE_TESTS_SUPPORT_MODELS_H

#include "text_transformer/text_unet.h"

#include <stdbool.h>

enum { TINY_BASE_SIDE = 16, TINY_UPSAMPLER_SIDE = 64 };

/* 16x16, or 16x16 -> 64x64; a few hundred thousand parameters, none of them zero, and a tokenizer of single bytes and a few
 * merges. Any failure fails the test. Free with text_unet_free(). */
TextUNet *tiny_model(bool upsampler, uint64_t seed);

/* Any configuration, likewise. */
TextUNet *random_model(const TextUNetConfig *config, uint64_t seed);

/* As `glide train` would write it: half precision, with provenance. */
void write_model(const TextUNet *m, const char *path);

/* For cmocka_run_group_tests(): test_folder (support_folder.h) with these two, which $GLIDE_WEIGHTS names, and its removal. */
int tiny_weights_setup(void **state);
int tiny_weights_teardown(void **state);

#endif
