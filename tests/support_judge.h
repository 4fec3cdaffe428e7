/* A small judge with random weights, and its file. */
#ifndef GLIDE_TESTS_SUPPORT_JUDGE_H
#define GLIDE_TESTS_SUPPORT_JUDGE_H

#include "glide/ablation/judge_model.h"

enum { SMALL_JUDGE_SIDE = 32 };

/* Three levels of 32, 32 and 64 channels, and a tokenizer of single bytes and a few merges. Any failure fails the test. */
Judge *small_judge(void);
void write_judge(const Judge *j, const char *path);

#endif
