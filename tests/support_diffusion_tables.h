/* The tables of a Diffusion that the reference implementation has, under its names. */
#ifndef GLIDE_TESTS_SUPPORT_DIFFUSION_TABLES_H
#define GLIDE_TESTS_SUPPORT_DIFFUSION_TABLES_H

#include "common/diffusion.h"

#include <stddef.h>

enum { DIFFUSION_TABLES = 13 };

extern const struct DiffusionTable {
    const char *name;
    size_t offset; /* in a Diffusion, of a double * to (num_timesteps) values */
} diffusion_tables[DIFFUSION_TABLES];

#endif
