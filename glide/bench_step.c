/* Steps of sampling as they follow one another. */
#include "glide/bench.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>

enum { FEWEST_STEPS = 5, MOST_STEPS = 40, WARM_STEPS = 2 };
static const double STEPS_SECONDS = 2;

/* Ends of steps on the clock. */
typedef struct Watch {
    BenchProfile *profile; /* with one part, or NULL */
    double ends[1 + 1000];
    int count;
    int last; /* the profile stops at so many */
} Watch;

static int on_step(void *ctx, const SamplerProgress *progress)
{
    Watch *w = ctx;
    (void)progress;
    w->ends[w->count++] = bench_now();
    if (w->count == 1) bench_profile_start(w->profile);
    if (w->count == w->last) bench_profile_stop(w->profile);
    return 0;
}

typedef struct Job {
    Kernels *kernels;
    const TextUNet *model;
    StageOptions options;
    StageInput in;
    float *x, *low;
    SamplerRow *rows;
    const char **prompts;
    int32_t *labels;
} Job;

static void job_release(Job *j)
{
    free(j->x);
    free(j->low);
    free(j->rows);
    free(j->prompts);
    free(j->labels);
}

static Status job_init(Job *j, Kernels *k, const TextUNet *m, const BenchStep *o)
{
    int64_t side = o->side > 0 ? o->side : m->config.unet.image_size, n = o->batch > 0 ? o->batch : 1;
    size_t pixels = (size_t)(n * side * side * IMAGE_CHANNELS);
    *j = (Job){.kernels = k, .model = m};
    j->rows = calloc((size_t)n, sizeof *j->rows);
    j->prompts = calloc((size_t)n, sizeof *j->prompts);
    j->labels = calloc((size_t)n, sizeof *j->labels);
    if (!j->rows || !j->prompts || !j->labels) return status_fail(STATUS_NO_MEMORY, "out of memory for a measurement");
    for (int64_t i = 0; i < n; i++) {
        j->rows[i].seed = (uint64_t)i + 1;
        j->prompts[i] = "red apple, fluent 3d emoji";
    }
    TRY(bench_random(pixels, 7, &j->x));
    if (m->config.low_res) TRY(bench_random(pixels / (UPSAMPLER_FACTOR * UPSAMPLER_FACTOR), 8, &j->low));
    j->in = (StageInput){.n = n, .side = side, .rows = j->rows, .low_res = j->low, .low_side = side / UPSAMPLER_FACTOR};
    if (m->text) j->in.prompts = j->prompts;
    if (m->config.unet.num_classes > 0) j->in.labels = j->labels;
    stage_options_defaults(&j->options);
    j->options.guidance.terms[GUIDANCE_CFG].scale = m->text ? o->guidance_scale : 1;
    j->options.precision = o->type;
    return STATUS_OK;
}

/* A run of so many steps. */
static Status run(Job *j, int steps, Watch *watch, StageStats *stats)
{
    char text[16];
    snprintf(text, sizeof text, "%d", steps);
    watch->last = steps;
    j->options.steps = text;
    j->options.progress = on_step;
    j->options.progress_ctx = watch;
    j->options.stats = stats;
    j->options.profile = bench_profile_add(watch->profile);
    return stage_sample(j->kernels, j->model, &j->options, &j->in, j->x);
}

static int steps_to_time(const BenchStep *o, double seconds)
{
    if (o->runs > 0) return o->runs;
    double fit = STEPS_SECONDS / seconds;
    return fit < FEWEST_STEPS ? FEWEST_STEPS : fit > MOST_STEPS ? MOST_STEPS : (int)fit;
}

static Status measure(Job *j, const BenchStep *o, BenchRun *out, BenchProfile *profile)
{
    StageStats first = {0}, stats = {0};
    Watch warm = {0}, watch = {.profile = profile};
    TRY(run(j, WARM_STEPS, &warm, &first));
    out->runs = steps_to_time(o, warm.ends[WARM_STEPS - 1] - warm.ends[WARM_STEPS - 2]);
    TRY(run(j, 1 + out->runs, &watch, &stats));
    out->gflop = (stats.flops - first.flops) / (1 + out->runs - WARM_STEPS) * 1e-9;
    out->peak_bytes = stats.peak_bytes;
    if (profile) profile->steps = out->runs, profile->seconds = watch.ends[out->runs] - watch.ends[0];
    for (int i = 0; i < out->runs; i++) watch.ends[i] = watch.ends[i + 1] - watch.ends[i];
    out->seconds = bench_median(watch.ends, out->runs);
    return STATUS_OK;
}

Status bench_step(Kernels *k, const TextUNet *m, const BenchStep *o, BenchRun *out, BenchProfile *profile)
{
    Job j;
    *out = (BenchRun){0};
    Status s = job_init(&j, k, m, o);
    if (s == STATUS_OK) s = measure(&j, o, out, profile);
    job_release(&j);
    return s;
}
