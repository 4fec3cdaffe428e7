/* What a job is asked to do: read from JSON of the server's own API (the other faces translate into it), checked in full before it
 * is queued, and shown as JSON again. */
#ifndef GLIDE_SERVE_REQUEST_H
#define GLIDE_SERVE_REQUEST_H

#include "common/sampler.h"
#include "glide/glide.h"
#include "glide/serve/serve_json.h"
#include "guidance/classifier.h"
#include "guidance/guidance.h"

enum { JOB_MOST_PROMPT = 4096 };

typedef enum { JOB_SAMPLE, JOB_INPAINT, JOB_UPSAMPLE } JobKind;

typedef struct JobTerm {
    double scale;
    char interval[96], schedule[GUIDANCE_MOST_TEXT]; /* "": everywhere, constant */
} JobTerm;

typedef struct JobRequest {
    JobKind kind;
    char *prompt, *negative_prompt; /* owned, never NULL */
    int n;
    uint64_t seed;
    uint32_t image;
    bool seed_each; /* picture i is the first one of seed + i, as A1111 has it, not the i-th of the seed */
    int label;
    JobTerm terms[GUIDANCE_MODES];
    double rescale;
    char threshold[32];
    bool apg, cfgpp;
    double apg_eta, apg_norm, apg_momentum;
    double upsampler_scale;
    char sampler[32], steps[64], upsampler_sampler[32], upsampler_steps[64];
    bool upsample;
    double upsample_temp, strength;
    int colour_cells, jump, repeats;
    int scale, width, height; /* of a picture to enlarge: 2, 4 or 8 times, or to a size; 0: the upsampler's own square */
    double fidelity, noise_level;
    bool keep; /* in the gallery */
    GlidePicture picture; /* to start from, to paint on, to enlarge; empty: none */
    GlideMask mask;
    /* going on from another job's step */
    uint64_t parent;
    SamplerState resume; /* .x NULL: from noise */
} JobRequest;

/* What the server has, which requests are checked against. */
typedef struct RequestLimits {
    int most_pictures, most_steps, most_side; /* an enlarged picture has most_side^2 pixels at most */
    int side, upsampler_side; /* of the models' pictures; upsampler_side 0: none */
    bool text;
    int classes;
    const char *noise_schedule;
    int diffusion_steps;
    const char *guide_weights, *classifier, *clip; /* "": the default file; NULL: not available */
    const Classifier *class_names;                 /* of the classifier, for classes that are told by name; NULL: none */
} RequestLimits;

void request_defaults(JobRequest *r, JobKind kind);
void request_release(JobRequest *r);
Status request_set_text(char **field, const char *text);

/* Of the server's own API. `json` is an object; fields that are not given have the defaults of the command line. STATUS_BAD_INPUT
 * names the field. *r is filled, or needs no release. */
Status request_from_json(const json_t *json, const RequestLimits *limits, JobRequest *r);
/* The same, without pictures. */
json_t *request_to_json(const JobRequest *r);
/* 24 as well as "logsnr24". */
void request_read_steps(Fields *f, const char *name, char *field, size_t size);
/* {"scale", "interval", "schedule"} over what the term says already. */
Status request_read_term(const json_t *json, const char *where, JobTerm *term);
/* Of a recipe's lines (key and value, both texts) what a request can say. */
json_t *request_from_recipe(const GlideRecipe *recipe);

/* Everything that can be checked before the models run, for requests that were put together by other means, too. */
Status request_check(const JobRequest *r, const RequestLimits *limits);

/* From bytes of a file; sides and memory limited. */
Status request_decode_picture(const RequestLimits *limits, const unsigned char *bytes, size_t size, GlidePicture *out);
/* White, or transparent, is painted; fitted to the picture, which is there already. only_alpha: a file without transparent pixels
 * is no mask, and none is set. */
Status request_decode_mask(const RequestLimits *limits, const unsigned char *bytes, size_t size, bool inverted, bool only_alpha,
                           JobRequest *r);

size_t request_bytes(const JobRequest *r);

/* Borrowed from the request. */
GlideGuidance request_guidance(const JobRequest *r, const RequestLimits *limits);
GlideSampleOptions request_sample_options(const JobRequest *r, const RequestLimits *limits);
/* Of an enlarged picture. STATUS_BAD_INPUT: too large, or too many times as large. */
Status request_result_size(const JobRequest *r, const RequestLimits *limits, int *width, int *height);
GlideUpsampleOptions request_upsample_options(const JobRequest *r);
/* Steps of the base model and of the upsampler, 0 where it takes no part; and how many evaluations of a picture a step costs. */
void request_steps(const JobRequest *r, const RequestLimits *limits, int steps[2], double weight[2]);

#endif
