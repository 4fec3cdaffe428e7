/* Samplers: from noise to pictures, one "predict at this noise level" at a time.
 *
 *     SamplerOptions o;
 *     sampler_options_defaults(&o);
 *     o.kind = sampler_find("ddim");
 *     o.rows = rows;                              seed and image number of each row
 *     Sampler s;
 *     TRY(sampler_init(&s, &o, &diffusion, &denoiser, N, H, W));
 *     sampler_initial_noise(&s, 1.0f, x);         x_T, (N,H,W,3)
 *     Status status = sampler_run(&s, x);         x is the sample now
 *     sampler_release(&s);
 *
 * x and x_0 are (N,H,W,3) f32, predictions (N,H,W,6): eps with guidance already inside, then the variance value v. Rows
 * never mix and noise is keyed by row, so a row comes out with the same bits alone, in any batch, on any number of
 * threads (as far as the model's prediction does).
 *
 * A step is one level of the process further; what it costs and how the error falls with the number of steps n:
 *
 *     ddpm            noise          n evaluations
 *     ddim            order 1        n
 *     euler           order 1        n       the same as ddim without noise, unless it churns
 *     euler_ancestral noise          n       another (eta 1) than ddpm's: no learned variance
 *     heun            order 2        2n - 1  the last step is one of euler's
 *     dpmpp_2m        order 2        n
 *     dpmpp_3m        order 2        n       as published: half of the second difference that order 3 takes
 *     dpmpp_3m_full   order 3        n       with all of it; for many or evenly spaced steps, else it overshoots
 *     dpmpp_2s, _3s   order 2, 3     n       groups of 2 or 3 levels; x is one of order 1 or 2 in between
 *     plms            order 2        n + 1   the first step takes two; expects evenly spaced timesteps
 *
 * The multistep ones (plms, dpmpp) remember the steps before; when a step does not follow the last one (RePaint's jumps),
 * they forget and begin with order 1 again. All of them but plms end in the picture with a step of order 1. heun and plms,
 * which take means of eps, go with order 1 from levels so noisy that eps is all there is (the cosine schedule's last steps).
 *
 * Sources: DDPM arXiv 2006.11239; learned variance 2102.09672; DDIM 2010.02502; guidance by gradients 2105.05233; starting
 * from a picture (SDEdit) 2108.01073; painting on one (RePaint) 2201.09865; euler, heun and churn 2206.00364, with ancestral
 * steps as in k-diffusion; DPM-Solver++ 2211.01095; PLMS 2202.09778. */
#ifndef GLIDE_COMMON_SAMPLER_H
#define GLIDE_COMMON_SAMPLER_H

#include "common/diffusion.h"
#include "common/rng.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- what a sampler asks of its surroundings --- */

/* The model. Only predict is required; a failure ends the run and is forwarded. */
typedef struct Denoiser {
    /* out (N,H,W,6) at x_t (N,H,W,3) */
    Status (*predict)(void *ctx, const float *x_t, const NoiseLevel *level, float *out);
    /* the same without the variance values, eps (N,H,W,3), for large pictures: takes the place of predict() with kinds that have
     * no use for them; or NULL */
    Status (*predict_eps)(void *ctx, const float *x_t, const NoiseLevel *level, float *eps);
    /* grad (N,H,W,3): gradient of a log probability with respect to x_t, scale included (cond_fn); NULL: no such
     * guidance */
    Status (*gradient)(void *ctx, const float *x_t, const NoiseLevel *level, float *grad);
    /* whether there is a gradient at this level: where not, a step is the unguided one to the bit; NULL: everywhere */
    bool (*has_gradient)(void *ctx, const NoiseLevel *level);
    /* changes the predicted x_0 (N,H,W,3) before it is clamped (denoised_fn: inpainting puts known pixels back); or
     * NULL */
    Status (*denoised)(void *ctx, const NoiseLevel *level, float *x_0);
    /* changes x (N,H,W,3) once x_0 and the gradient are known: to alpha x_0 + sigma eps of another eps than the predicted
     * one, with which every step function then goes on (CFG++, arXiv 2406.08070); or NULL */
    Status (*renoise)(void *ctx, const NoiseLevel *level, float *x);
    void *predict_ctx, *gradient_ctx, *denoised_ctx, *renoise_ctx; /* has_gradient() gets gradient_ctx */
} Denoiser;

/* Noise of one step, (N,H,W,3). Samplers that can use noise ask draw() for it in every step, even where they add none; without
 * draw(), which may count its calls, only those whose steps add some have any. */
typedef struct SamplerNoise {
    void (*draw)(void *ctx, const NoiseLevel *level, float *noise); /* NULL: rng_normal keyed by SamplerOptions.rows */
    void *ctx;
} SamplerNoise;

/* After each step. Pictures are borrowed for the time of the call. Nonzero stops the run with STATUS_INTERRUPTED. */
typedef struct SamplerProgress {
    int done, total;  /* steps */
    NoiseLevel level; /* the step just taken started here */
    const float *x;   /* (N,H,W,3) after the step */
    const float *x_0; /* (N,H,W,3) the prediction that the step used: the preview */
    int64_t n, height, width;
} SamplerProgress;
typedef int (*SamplerProgressFn)(void *ctx, const SamplerProgress *progress);

/* Which picture a row is; its noise depends on nothing else. */
typedef struct SamplerRow {
    uint64_t seed;
    uint32_t image; /* -n 8 --seed 1: images 0..7 of seed 1 */
} SamplerRow;

/* --- kinds of samplers --- */

typedef struct Sampler Sampler;

/* A new sampler is one step function and one entry of the table in sampler.c. */
typedef struct SamplerKind {
    const char *name;  /* for --sampler */
    const char *alias; /* another name; NULL: none */
    const char *about; /* one line for help */
    bool ascending;    /* runs from the picture towards noise */
    bool noisy;        /* draws noise, unless it is told to be deterministic */
    bool variance;     /* uses the learned variance */
    int evaluations;   /* of the model in a step */
    int extra;         /* more of them (or fewer) in a run */
    int memory;        /* pictures that it remembers, up to SAMPLER_MEMORY */
    double eta;        /* when none is asked for */
    /* x at s->level becomes x one step on; asks sampler_predict() as often as it needs */
    Status (*step)(Sampler *s, float *x);
} SamplerKind;

const SamplerKind *sampler_find(const char *name); /* NULL: no such sampler */
const SamplerKind *sampler_kind(int index);        /* to list them; NULL behind the last */
/* Whether its steps add noise with this eta (NAN: its own) and no churn. */
bool sampler_adds_noise(const SamplerKind *kind, double eta);
/* How often a run of `steps` steps asks the model; heun once less for each step from below NOISE_LEVELS_LEAST. */
int sampler_evaluations(const SamplerKind *kind, int steps);

/* --- running --- */

typedef struct SamplerOptions {
    const SamplerKind *kind; /* default: ddpm */
    double eta;              /* ddim, euler_ancestral: 0 deterministic, 1 as noisy as the process. Default NAN: the kind's, ddim 0,
                                euler_ancestral 1 */
    double s_churn;          /* euler, heun: noise added before the steps at s_tmin <= sigma/alpha <= s_tmax (arXiv 2206.00364,
                                algorithm 2). Default 0: none */
    double s_tmin, s_tmax;   /* defaults 0, infinity */
    double s_noise;          /* euler, heun, euler_ancestral: added noise times this. Default 1 */
    bool clip_denoised;      /* clamp the predicted x_0 to [-1,1]. Default true */
    const SamplerRow *rows;  /* (N), copied; NULL: images 0..N-1 of seed 0 */
    uint32_t stage;          /* 0 base, 1 upsampler, ...: noise of stages is independent; below 4096 */
    int skip;                /* so many of the first steps are not taken: sampler_start_from(). Default 0 */
    SamplerNoise noise;      /* default: rng_normal */
    SamplerProgressFn progress;
    void *progress_ctx;
} SamplerOptions;

void sampler_options_defaults(SamplerOptions *o);

enum { SAMPLER_MEMORY = 4 };

/* Fields are for step functions and tests; callers use the functions below. */
struct Sampler {
    SamplerOptions options;
    const Diffusion *diffusion; /* borrowed */
    Denoiser denoiser;
    int64_t n, height, width;
    NoiseLevel level;  /* of the step being taken: where x is, between the process's levels perhaps */
    int visit;         /* how often that step was taken before */
    float *prediction; /* (N,H,W,6); NULL with predict_eps(), whose eps is where x_0 will be */
    float *x_0;        /* (N,H,W,3) predicted, through denoised() and the clamp, as the last step used it */
    bool draws;        /* noise at every step */
    float *noise;      /* (N,H,W,3); NULL when nothing is drawn */
    float *grad;       /* (N,H,W,3) of this prediction; NULL where there is none */
    float *grad_memory;
    SamplerRow *rows;  /* (N) */
    float *memory[SAMPLER_MEMORY];     /* (N,H,W,3) each, newest first; NULL beyond kind->memory */
    double remembered[SAMPLER_MEMORY]; /* half the log SNR of each */
    int kept;          /* pictures in memory: the others were never written */
    int taken;         /* steps since the memory was dropped */
    int expected;      /* the step that follows the last one */
};

/* Allocates all memory of the run. `d` and what the denoiser points to must outlive the sampler.
 * STATUS_BAD_INPUT: eta outside [0,1], or eta with ddim_reverse, or churn that is not finite; STATUS_NO_MEMORY. *s is then
 * released already. */
Status sampler_init(Sampler *s, const SamplerOptions *o, const Diffusion *d, const Denoiser *denoiser, int64_t n,
                    int64_t height, int64_t width);
void sampler_release(Sampler *s);

/* x = temperature * standard normal noise of each row (upsampling starts from 0.997 times it). */
void sampler_initial_noise(const Sampler *s, float temperature, float *x);

/* x = the picture x_start (H,W,3), the same for all rows, with the noise that is left after options.skip steps; x_start
 * itself when all are skipped. */
void sampler_start_from(const Sampler *s, const float *x_start, float *x);

/* One step from x at `step` (index in the process) to its neighbour. Any order; run() is this in a loop. */
Status sampler_step(Sampler *s, float *x, int step);
/* All steps but the skipped ones, from num_timesteps-1 down to 0 (ascending kinds: up). STATUS_INTERRUPTED: x is as the
 * last step left it. */
Status sampler_run(Sampler *s, float *x);

/* Where a run stands between two steps: all that its later steps depend on. Another run of the same kind, process and rows, with
 * options.skip = done, goes on from it as if it had taken the steps so far itself. */
typedef struct SamplerState {
    int done;     /* steps, from the process's first one */
    int64_t size; /* elements of x */
    float *x;     /* (N,H,W,3) */
    float *memory[SAMPLER_MEMORY]; /* as in Sampler */
    double remembered[SAMPLER_MEMORY];
    int taken, expected;
} SamplerState;

/* Copies of x and what the sampler remembers; sampler_state_release() them. STATUS_NO_MEMORY: *out is empty. */
Status sampler_save(const Sampler *s, const float *x, int done, SamplerState *out);
/* Before sampler_run(), in the place of sampler_initial_noise(). */
void sampler_restore(Sampler *s, const SamplerState *state, float *x);
void sampler_state_release(SamplerState *state); /* a zeroed one is fine */

/* What is known of the pictures, the same for all rows. */
typedef struct SamplerKnown {
    const float *x_0;  /* (H,W,3) */
    const float *mask; /* (H,W), 1 known, 0 to be painted */
    int jump, repeats; /* RePaint: each stretch of `jump` >= 1 steps is taken 1 to 16 times, so that what is painted comes
                          to fit what is known */
} SamplerKnown;

/* sampler_run() with a model that was not trained for masks: after each step the known part becomes what the process makes
 * of it at that noise level. Not for ascending kinds. In the end x is x_0 where the mask is 1. */
Status sampler_run_known(Sampler *s, const SamplerKnown *known, float *x);

/* --- for step functions --- */
enum { SAMPLER_PARALLEL_FROM = 1 << 14 }; /* elements; for fewer a team of threads costs more than it saves */
int64_t sampler_size(const Sampler *s);   /* elements of x */
/* Fills prediction, x_0 (through denoised() and the clamp), noise (where the steps add some) and grad for x at s->level; renoise() may change x, from
 * which the step goes on. */
Status sampler_predict(Sampler *s, float *x);
/* The same without noise, and where there is a gradient it has moved x_0 already, eps -= sigma grad (arXiv 2105.05233,
 * algorithm 2): all that a solver of the probability flow needs. */
Status sampler_denoise(Sampler *s, float *x);
/* s->noise for the step. */
void sampler_draw_step(Sampler *s);
/* Where the step leads: the process's next level, or its end with step -1. */
NoiseLevel sampler_next(const Sampler *s);
/* x goes to another level while x_0 (or, what is the same, eps) stays: order 1. */
void sampler_move(const Sampler *s, const NoiseLevel *to, float *x);
/* eps (N,H,W,3) of x and x_0; may be x. */
void sampler_eps(const Sampler *s, const float *x, float *eps);
/* Whether the level says so little about x_0 that steps from it had better be of order 1: where sigma/alpha falls from thousands
 * to a few in one step, a mean of eps is no guide to where the step leads. */
bool sampler_mostly_noise(const Sampler *s);
/* Half the log SNR, lambda of DPM-Solver; infinite at the picture. */
double sampler_lambda(const NoiseLevel *level);
/* Makes room for a picture at the front of s->memory and notes the current level with it; the oldest is given up. */
float *sampler_remember(Sampler *s);
/* x = of_x * x + sum of factors[i] * pictures[i] */
void sampler_mix(const Sampler *s, float *x, double of_x, int count, const float *const *pictures, const double *factors);

/* What noise of the step is keyed by: its timestep, or the step in a process of levels between timesteps. */
uint32_t sampler_noise_key(const Sampler *s);
/* Standard normal noise (N,H,W,3), keyed by row, stage, `timestep` and s->visit. */
void sampler_draw(const Sampler *s, RngStream stream, uint32_t timestep, float *out);
/* Tells options.progress that `done` of `total` steps are taken. */
Status sampler_report(const Sampler *s, int done, int total, const float *x);

/* The step functions of the table. */
Status sampler_step_ddpm(Sampler *s, float *x);         /* sampler_ddpm.c */
Status sampler_step_ddim(Sampler *s, float *x);         /* sampler_ddim.c */
Status sampler_step_ddim_reverse(Sampler *s, float *x); /* sampler_ddim.c */
Status sampler_step_euler(Sampler *s, float *x);           /* sampler_k.c */
Status sampler_step_euler_ancestral(Sampler *s, float *x); /* sampler_k.c */
Status sampler_step_heun(Sampler *s, float *x);            /* sampler_k.c */
Status sampler_step_dpmpp_2m(Sampler *s, float *x);        /* sampler_dpmpp.c */
Status sampler_step_dpmpp_3m(Sampler *s, float *x);        /* sampler_dpmpp.c */
Status sampler_step_dpmpp_3m_full(Sampler *s, float *x);   /* sampler_dpmpp.c */
Status sampler_step_dpmpp_2s(Sampler *s, float *x);        /* sampler_dpmpp.c */
Status sampler_step_dpmpp_3s(Sampler *s, float *x);        /* sampler_dpmpp.c */
Status sampler_step_plms(Sampler *s, float *x);            /* sampler_plms.c */

#endif
