/* A toy data set that guides and judges can learn in seconds: SHAPES_CONCEPTS concepts, each a colour, in SHAPES_STYLES styles, each a
 * shape, on white; one picture of each, every seventh in the split test_pair. */
#ifndef GLIDE_TESTS_SUPPORT_SHAPES_H
#define GLIDE_TESTS_SUPPORT_SHAPES_H

#include "common/status.h"

enum { SHAPES_CONCEPTS = 8, SHAPES_STYLES = 5 };

Status shapes_dataset_write(const char *path);

#endif
