/* What an ablation has computed, in memory: the bridge between the run (study.h), which makes or reads it, and everything that
 * judges it (score.h, report.h).
 *
 * A cell is one picture: condition c, prompt p, seed s. Its number is (c * prompts + p) * seeds + s in every array below. Cells of
 * the same p and s started from the same noise and met the same noise at every step, so conditions are compared in pairs. */
#ifndef GLIDE_ABLATION_RESULTS_H
#define GLIDE_ABLATION_RESULTS_H

#include <stdint.h>

typedef enum {
    ABLATION_PLAIN,            /* a condition that was asked for */
    ABLATION_SCALE_0,          /* control: a mode at scale 0, which must equal no guidance */
    ABLATION_SHUFFLED_PROMPTS, /* control: pictures made for other prompts than the ones they are judged by */
    ABLATION_UNTRAINED         /* control: a guide with random weights */
} AblationControl;

typedef struct AblationCondition {
    char label[96];    /* unique in the study and fit for file names of a sheet: "cfg 3", "cfg 3 rescale 0.7", "none" */
    char mode[64];     /* "none", "cfg", "classifier", "clip", "autoguidance"; several joined by "+" */
    char variant[64];  /* what else differs from the study's plain settings: "rescale 0.7", "apg", "interval 200:800"; or "" */
    double scale;      /* of the mode; of "none" it is 0 */
    double low, high;  /* interval in timesteps in which the mode acts */
    AblationControl control;
    int must_equal;    /* of ABLATION_SCALE_0: the condition that it was computed apart from and must match bit for bit; else -1 */
    int equals;        /* an earlier condition whose pictures these are by definition (cfg at 1 of "none"), or -1 */
} AblationCondition;

typedef struct AblationResults {
    int conditions, prompts, seeds, steps, side;
    const AblationCondition *condition; /* (conditions) */
    const char *const *prompt;          /* (prompts) UTF-8 */
    const uint8_t *pictures;            /* (cells,side,side,3) */
    const float *seconds;               /* (cells) wall time as if it were made alone: steps that conditions share count for each of
                                           them, those of a batch are divided among its pictures; NaN where it is not known */
    const float *evaluations;           /* (cells) of the diffusion model: one for each answer asked of it */
    const float *gradients;             /* (cells) evaluations of a guide with its gradient */
    int telemetry_count;
    const char *const *telemetry_name;  /* (telemetry_count) those of guidance/telemetry.h */
    const float *timestep;              /* (steps) where each step began */
    const float *telemetry;             /* (cells,steps,telemetry_count), NaN where nothing was measured */
    /* Provenance: lines "name", "value" (command, version, CPU, threads, hashes of weights, sampler, steps, data set ...) */
    int fact_count;
    const char *const (*facts)[2];
} AblationResults;

static inline int64_t ablation_cells(const AblationResults *r)
{
    return (int64_t)r->conditions * r->prompts * r->seeds;
}

/* What a judge, which never guided, sees. All embeddings have unit length; similarity is their dot product. */
typedef struct AblationSight {
    int features, embedding;   /* lengths */
    const float *picture;      /* (cells,features) for distances between sets */
    const float *picture_embedding; /* (cells,embedding) */
    const float *prompt_embedding;  /* (prompts,embedding) */
    int real_count;
    const float *real;         /* (real_count,features) held-out pictures */
    const char *related;       /* why the judge is not independent of a guide in this study (same file, same training split); NULL: it is */
} AblationSight;

#endif
