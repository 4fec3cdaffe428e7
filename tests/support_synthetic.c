#include "tests/support_synthetic.h"

#include "common/rng.h"
#include "guidance/telemetry.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 48, EMBEDDING = 32, MOST_CONDITIONS = 80, NAME_SIZE = 32 };

static void *take(Synthetic *s, size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    assert(memory && s->memory_count < 24);
    return s->memory[s->memory_count++] = memory;
}

void synthetic_release(Synthetic *s)
{
    for (int i = 0; i < s->memory_count; i++) free(s->memory[i]);
    *s = (Synthetic){0};
}

SyntheticOptions synthetic_defaults(void)
{
    return (SyntheticOptions){32, 4, 20, 16, 300, true, true, 1, 1};
}

/* --- conditions --------------------------------------------------------------------------------------- */

static AblationCondition *add(AblationCondition *all, int *count, const char *mode, const char *variant, double scale)
{
    assert(*count < MOST_CONDITIONS);
    AblationCondition *c = &all[(*count)++];
    *c = (AblationCondition){.scale = scale, .low = 0, .high = 999, .equals = -1, .must_equal = -1};
    snprintf(c->mode, sizeof c->mode, "%s", mode);
    snprintf(c->variant, sizeof c->variant, "%s", variant);
    if (strcmp(mode, "none") == 0) snprintf(c->label, sizeof c->label, "none");
    else snprintf(c->label, sizeof c->label, "%s %g%s%s", mode, scale, *variant ? " " : "", variant);
    return c;
}

static int make_conditions(AblationCondition *all, const SyntheticOptions *o)
{
    static const double scales[4][6] = {
        {1, 1.5, 2, 3, 5, 8}, {0.5, 1, 2, 4, 8, 16}, {10, 20, 50, 100, 200, 400}, {1.2, 1.5, 2, 2.5, 3, 4}};
    static const char *const modes[] = {"cfg", "classifier", "clip", "autoguidance"};
    int count = 0;
    add(all, &count, "none", "", 0);
    for (int m = 0; m < 4; m++)
        for (int k = 0; k < 6; k++) {
            AblationCondition *c = add(all, &count, modes[m], "", scales[m][k]);
            if (m == 0 && k == 0) c->equals = 0;
        }
    for (int k = 1; k < 6 && o->variants; k++) add(all, &count, "cfg", "rescale 0.7", scales[0][k]);
    for (int k = 1; k < 6 && o->variants; k++) add(all, &count, "cfg", "apg", scales[0][k]);
    for (int low = 0; low < 600 && o->variants; low += 200)
        for (int high = 600; high <= 1000; high += 200) {
            char variant[64];
            int end = high > 999 ? 999 : high;
            if (low == 0 && end == 999) continue; /* the plain one */
            snprintf(variant, sizeof variant, "interval %d:%d", low, end);
            AblationCondition *c = add(all, &count, "cfg", variant, 3);
            c->low = low;
            c->high = end;
        }
    if (!o->controls) return count;
    AblationCondition *c = add(all, &count, "classifier", "", 0);
    c->control = ABLATION_SCALE_0;
    c->must_equal = 0;
    snprintf(c->label, sizeof c->label, "control: classifier 0");
    c = add(all, &count, "cfg", "", 3);
    c->control = ABLATION_SHUFFLED_PROMPTS;
    snprintf(c->label, sizeof c->label, "control: shuffled cfg 3");
    c = add(all, &count, "classifier", "", 4);
    c->control = ABLATION_UNTRAINED;
    snprintf(c->label, sizeof c->label, "control: untrained classifier 4");
    return count;
}

/* How strongly a condition guides, from 0 to about 2, and what a unit of it is good for. */
typedef struct Character {
    double strength, agreement, saturation;
} Character;

static Character character_of(const AblationCondition *c)
{
    Character x = {0, 1, 1};
    if (strcmp(c->mode, "cfg") == 0) x = (Character){log2(c->scale) / 2, 1, 1};
    if (strcmp(c->mode, "classifier") == 0) x = (Character){log2(1 + c->scale) / 3, 0.7, 0.6};
    if (strcmp(c->mode, "clip") == 0) x = (Character){log10(1 + c->scale / 10) * 0.8, 0.55, 0.9};
    if (strcmp(c->mode, "autoguidance") == 0) x = (Character){log2(c->scale) / 2, 0.35, 0.2};
    if (strcmp(c->variant, "rescale 0.7") == 0) x.saturation = 0.25;
    if (strcmp(c->variant, "apg") == 0) x.saturation = 0.1;
    x.strength *= (c->high - c->low) / 999;
    if (c->control == ABLATION_UNTRAINED) x.agreement = 0;
    return x;
}

/* --- what is seen ------------------------------------------------------------------------------------- */

static void normals(const SyntheticOptions *o, uint32_t what, uint32_t number, float *out, int n)
{
    rng_normal(&(RngKey){.seed = o->seed, .stream = RNG_TEST, .image = number, .step = what}, out, n);
}

static void unit(float *v, int n)
{
    double square = 0;
    for (int i = 0; i < n; i++) square += (double)v[i] * v[i];
    for (int i = 0; i < n; i++) v[i] = (float)(v[i] / sqrt(square));
}

static void see_cell(Synthetic *s, const SyntheticOptions *o, int c, int p, int seed, float *features, float *embedding)
{
    const AblationCondition *condition = &s->results.condition[c];
    Character x = character_of(condition);
    float own[FEATURES], cell[FEATURES], prompt[FEATURES], direction[EMBEDDING];
    uint32_t noise = (uint32_t)(p * o->seeds + seed);
    double g = x.strength * o->effect, agreement = 0.15 + g * x.agreement / (0.6 + g), off = g > 1 ? g - 1 : 0;
    int drawn = condition->control == ABLATION_SHUFFLED_PROMPTS ? (p + 1 + o->prompts / 2) % o->prompts : p;
    normals(o, 1, noise, cell, FEATURES);                                              /* shared by all conditions */
    normals(o, 2, (uint32_t)(c * s->results.prompts * o->seeds) + noise, own, FEATURES); /* its own */
    normals(o, 3, (uint32_t)drawn, prompt, FEATURES);
    for (int i = 0; i < FEATURES; i++) /* sharper pictures come nearer to real ones, too strong ones leave them */
        features[i] = (float)(0.6 * prompt[i] + (0.8 - 0.25 * fmin(g, 1.5)) * cell[i] + 0.2 * own[i] + (i < 6) * 0.9 * off +
                              (i < 10) * 0.8 * (1 - fmin(g, 1) * x.agreement) * o->effect);
    memcpy(direction, s->sight.prompt_embedding + (size_t)drawn * EMBEDDING, sizeof direction);
    for (int i = 0; i < EMBEDDING; i++) embedding[i] = (float)(agreement * direction[i] + 0.16 * cell[i] + 0.06 * own[i]);
    unit(embedding, EMBEDDING);
}

static void draw_cell(const SyntheticOptions *o, const AblationCondition *c, int p, int seed, uint8_t *pixels)
{
    Character x = character_of(c);
    float n[8];
    normals(o, 4, (uint32_t)(p * o->seeds + seed), n, 8);
    double g = x.strength * x.saturation * o->effect, strong = 0.3 + 0.35 * fmin(g, 2), radius = 0.3 + 0.03 * n[3];
    for (int i = 0; i < o->side * o->side; i++) {
        double dx = (i % o->side + 0.5) / o->side - 0.5 - 0.04 * n[4], dy = (i / o->side + 0.5) / o->side - 0.5 - 0.04 * n[5];
        bool inside = dx * dx + dy * dy < radius * radius;
        for (int k = 0; k < 3; k++) {
            double hue = 0.5 + 0.5 * sin(2.1 * k + p),
                   v = inside ? 0.5 + strong * (hue - 0.35) + 0.08 * n[6] * dx : 0.97 - 0.03 * g;
            pixels[i * 3 + k] = (uint8_t)(255 * fmin(fmax(v, 0), 1));
        }
    }
}

/* --- telemetry ---------------------------------------------------------------------------------------- */

static double telemetry_at(const char *name, const AblationCondition *c, double t, double wobble)
{
    Character x = character_of(c);
    bool cfg = strcmp(c->mode, "cfg") == 0, gradient = strcmp(c->mode, "classifier") == 0 || strcmp(c->mode, "clip") == 0;
    double g = x.strength;
    if (strcmp(name, "clipped") == 0) return (0.02 + 0.1 * fmin(g, 2) * x.saturation * t) * (1 + 0.1 * wobble);
    if (strcmp(name, "cond_norm") == 0) return 0.85 + 0.15 * t + 0.01 * wobble;
    if (strcmp(name, "guided_norm") == 0) return 0.85 + 0.15 * t + 0.2 * g * t * (1 - t) * 4 + 0.01 * wobble;
    if (cfg && strcmp(name, "uncond_norm") == 0) return 0.84 + 0.16 * t + 0.01 * wobble;
    if (cfg && strcmp(name, "cosine") == 0) return 0.9 + 0.099 * t;
    if (cfg && strcmp(name, "difference_norm") == 0) return 0.4 * exp(-3 * t) + 0.01;
    if (g > 0 && strcmp(name, "parallel_norm") == 0) return 0.2 * g * t;
    if (g > 0 && strcmp(name, "orthogonal_norm") == 0) return 0.3 * g * t * (1.2 - t);
    if (gradient && strncmp(name, c->mode, strlen(c->mode)) == 0 && strstr(name, "gradient_norm"))
        return 1e-3 * exp(5 * (1 - t)) * (1 + 0.1 * wobble);
    return NAN;
}

static void make_telemetry(Synthetic *s, const SyntheticOptions *o)
{
    AblationResults *r = &s->results;
    char *names = take(s, 64 * NAME_SIZE), text[64];
    const char **list = take(s, 64 * sizeof *list);
    for (int i = 0; telemetry_name(i, text, sizeof text); i++) {
        if (!*text) continue;
        snprintf(names + r->telemetry_count * NAME_SIZE, NAME_SIZE, "%.31s", text);
        list[r->telemetry_count] = names + r->telemetry_count * NAME_SIZE;
        r->telemetry_count++;
    }
    int64_t cells = ablation_cells(r);
    float *timestep = take(s, (size_t)o->steps * sizeof *timestep);
    float *telemetry = take(s, (size_t)(cells * o->steps * r->telemetry_count) * sizeof *telemetry);
    for (int step = 0; step < o->steps; step++) timestep[step] = 999.0f * (1 - (float)step / (float)o->steps);
    for (int64_t cell = 0; cell < cells; cell++)
        for (int step = 0; step < o->steps; step++) {
            float n[1];
            const AblationCondition *c = &r->condition[cell / (r->prompts * r->seeds)];
            normals(o, 5, (uint32_t)(cell * o->steps + step), n, 1);
            for (int i = 0; i < r->telemetry_count; i++)
                telemetry[(cell * o->steps + step) * r->telemetry_count + i] =
                    (float)telemetry_at(list[i], c, timestep[step] / 999.0, (double)n[0]);
        }
    r->telemetry_name = list;
    r->timestep = timestep;
    r->telemetry = telemetry;
}

/* --- together ----------------------------------------------------------------------------------------- */

static void make_cells(Synthetic *s, const SyntheticOptions *o)
{
    AblationResults *r = &s->results;
    int64_t cells = ablation_cells(r), pixels = (int64_t)o->side * o->side * 3, each = (int64_t)r->prompts * r->seeds;
    uint8_t *pictures = take(s, (size_t)(cells * pixels));
    float *seconds = take(s, (size_t)cells * sizeof(float)), *evaluations = take(s, (size_t)cells * sizeof(float));
    float *gradients = take(s, (size_t)cells * sizeof(float)), *features = take(s, (size_t)cells * FEATURES * sizeof(float));
    float *embeddings = take(s, (size_t)cells * EMBEDDING * sizeof(float));
    for (int64_t i = 0; i < cells; i++) {
        int c = (int)(i / each), p = (int)(i / r->seeds % r->prompts), seed = (int)(i % r->seeds);
        const AblationCondition *a = &r->condition[c];
        draw_cell(o, a, p, seed, pictures + i * pixels);
        see_cell(s, o, a->equals >= 0 ? a->equals : c, p, seed, features + i * FEATURES, embeddings + i * EMBEDDING);
        bool two = strcmp(a->mode, "cfg") == 0 && a->scale != 1, weaker = strcmp(a->mode, "autoguidance") == 0;
        gradients[i] = strcmp(a->mode, "classifier") == 0 || strcmp(a->mode, "clip") == 0 ? (float)o->steps : 0;
        evaluations[i] = (float)(o->steps * (1 + (two ? (a->high - a->low) / 999 : 0) + weaker));
        seconds[i] =
            0.02f * evaluations[i] + (strcmp(a->mode, "clip") == 0 ? 0.06f : 0.03f) * gradients[i] + 0.001f * (float)(i % 7);
    }
    r->pictures = pictures;
    r->seconds = seconds;
    r->evaluations = evaluations;
    r->gradients = gradients;
    s->sight.picture = features;
    s->sight.picture_embedding = embeddings;
}

static void make_prompts(Synthetic *s, const SyntheticOptions *o)
{
    static const char *const things[] = {"red apple", "rocket",        "cat face",  "snowman",
                                         "sunflower", "pizza <slice>", "dog & cat", "turtle"};
    static const char *const styles[] = {"fluent 3d emoji", "noto emoji", "twemoji emoji", "\xec\x9d\xb4\xeb\xaa\xa8\xec\xa7\x80"};
    char *texts = take(s, (size_t)o->prompts * 64);
    const char **list = take(s, (size_t)o->prompts * sizeof *list);
    float *embedding = take(s, (size_t)o->prompts * EMBEDDING * sizeof *embedding);
    for (int p = 0; p < o->prompts; p++) {
        list[p] = texts + p * 64;
        snprintf(texts + p * 64, 64, "%s, %s", things[p % 8], styles[p / 8 % 4]);
        normals(o, 6, (uint32_t)p, embedding + p * EMBEDDING, EMBEDDING);
        unit(embedding + p * EMBEDDING, EMBEDDING);
    }
    s->results.prompt = list;
    s->sight.prompt_embedding = embedding;
}

static void make_real(Synthetic *s, const SyntheticOptions *o)
{
    float *real = take(s, (size_t)o->real_count * FEATURES * sizeof *real);
    for (int i = 0; i < o->real_count; i++) {
        float picture[FEATURES];
        normals(o, 7, (uint32_t)i, picture, FEATURES);
        for (int k = 0; k < FEATURES; k++) real[i * FEATURES + k] = picture[k] * 0.9f;
    }
    s->sight.real = real;
    s->sight.real_count = o->real_count;
}

void synthetic_init(Synthetic *s, const SyntheticOptions *o)
{
    static const char *const facts[][2] = {
        {"command",
         "glide ablate --modes none,cfg,classifier,clip,autoguidance --scales \"1,1.5,2,3,5,8;clip=10,...\" --prompts 32 -o run"},
        {"version", "synthetic"},
        {"CPU", "none: numbers are made up"},
        {"threads", "2"},
        {"sampler", "dpmpp2m, 20 steps"},
        {"base model", "base.h5, sha256 0000000000000000000000000000000000000000000000000000000000000000"},
        {"held-out pictures", "made up"}};
    *s = (Synthetic){0};
    AblationCondition *conditions = take(s, MOST_CONDITIONS * sizeof *conditions);
    s->results = (AblationResults){.prompts = o->prompts,
                                   .seeds = o->seeds,
                                   .steps = o->steps,
                                   .side = o->side,
                                   .condition = conditions,
                                   .facts = facts,
                                   .fact_count = sizeof facts / sizeof *facts};
    s->results.conditions = make_conditions(conditions, o);
    s->sight.features = FEATURES;
    s->sight.embedding = EMBEDDING;
    make_prompts(s, o);
    make_real(s, o);
    make_cells(s, o);
    make_telemetry(s, o);
}
