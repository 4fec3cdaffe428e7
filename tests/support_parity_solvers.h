/* Parity of solvers: DPM-Solver++ and k-diffusion's samplers on a mixture of Gaussians (solvers.h5), and DPM-Solver's process
 * for the runs of samplers.h5 that take it. */
#ifndef GLIDE_TESTS_SUPPORT_PARITY_SOLVERS_H
#define GLIDE_TESTS_SUPPORT_PARITY_SOLVERS_H

#include "common/sampler.h"
#include "tests/support_parity.h"

Status parity_solvers(Parity *p, const char *name);

typedef struct ParityDpm {
    const SamplerKind *kind;
    int order, steps;
    double *times;        /* (steps + 1) of the solver, falling */
    int *ends, ends_count; /* after how many steps x is one of the solver's own */
    Diffusion d;          /* the levels it visits, down to that of the last time */
} ParityDpm;

/* A run's process, from its attributes (method, order, steps, skip_type); diffusion_release(&dpm->d). !*known: one of a kind
 * that the engine has not. */
Status parity_dpm_load(Parity *p, const H5File *file, const char *run, const Diffusion *whole, ParityDpm *dpm, bool *known);

#endif
