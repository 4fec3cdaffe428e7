#include "glide/ablation/study.h"

#include "glide/ablation/study_guides.h"
#include "glide/ablation/study_prompts.h"
#include "glide/version.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

StudyAsk study_ask_defaults(void)
{
    return (StudyAsk){.conditions = {.modes = "none,cfg", .scales = "0,1,2,4", .variants = "plain", .controls = true},
                      .prompts = "16",
                      .seeds = 2, .upsampler_sampler = CASCADE_UPSAMPLER, .upsampler_steps = CASCADE_UPSAMPLER_STEPS};
}

/* --- models and samplers ------------------------------------------------------------------------------------ */

static Status load_models(Study *s, const StudyAsk *ask)
{
    Glide *g = s->glide;
    TRY(context_load(g, false));
    if (!g->base.net->text)
        return status_fail(STATUS_BAD_INPUT, "--weights: the base model takes no prompts, expected one that does");
    if (ask->upsample) TRY(context_load(g, true));
    cascade_options_defaults(&s->options);
    if (ask->sampler) s->options.base.sampler = ask->sampler;
    s->options.base.steps = ask->steps ? ask->steps : cascade_default_steps(s->options.base.sampler);
    s->options.upsampler.sampler = ask->upsampler_sampler;
    s->options.upsampler.steps = ask->upsampler_steps;
    s->options.base.precision = s->options.upsampler.precision = g->precision;
    guidance_defaults(&s->options.base.guidance);
    guidance_defaults(&s->options.upsampler.guidance);
    return STATUS_OK;
}

static Status walk(const TextUNet *m, const StageOptions *o, const char *option, ConditionWalk *out)
{
    Diffusion d;
    const SamplerKind *kind = sampler_find(o->sampler);
    if (!kind || kind->ascending) return status_fail(STATUS_BAD_INPUT, "--%ssampler: no sampler is called %s", option, o->sampler);
    Status status = diffusion_init(&d, m->config.noise_schedule, m->config.diffusion_steps, o->steps);
    if (status != STATUS_OK) return status_prefix(status, "--%ssteps", option);
    status = condition_walk_init(out, &d, kind);
    diffusion_release(&d);
    return status;
}

/* The upsampler's steps are only checked, and counted for the cost. */
static Status make_walks(Study *s, bool upsample)
{
    ConditionWalk of_upsampler;
    TRY(walk(s->glide->base.net, &s->options.base, "", &s->walk));
    if (!upsample) return STATUS_OK;
    TRY(walk(s->glide->upsampler.net, &s->options.upsampler, "upsampler-", &of_upsampler));
    s->upsampler_steps = of_upsampler.count;
    condition_walk_release(&of_upsampler);
    return STATUS_OK;
}

/* --- the spec ------------------------------------------------------------------------------------------------ */

static const char *precision_name(const Glide *g)
{
    return g->int8 ? "int8" : g->precision == DTYPE_BF16 ? "bf16" : "f32";
}

static Status note_settings(Study *s, const StudyAsk *ask)
{
    StudyFacts *f = &s->spec.settings;
    const Glide *g = s->glide;
    const StageOptions *up = &s->options.upsampler;
    TRY(study_facts_add(f, "weights", "%016llx", (unsigned long long)g->base.hash));
    TRY(study_facts_add(f, "sampler", "%s", sampler_find(s->options.base.sampler)->name));
    TRY(study_facts_add(f, "steps", "%s", s->options.base.steps));
    TRY(study_facts_add(f, "precision", "%s", precision_name(g)));
    if (!ask->upsample) return STATUS_OK;
    TRY(study_facts_add(f, "upsampler_weights", "%016llx", (unsigned long long)g->upsampler.hash));
    TRY(study_facts_add(f, "upsampler_sampler", "%s", sampler_find(up->sampler)->name));
    TRY(study_facts_add(f, "upsampler_steps", "%s", up->steps));
    TRY(study_facts_add(f, "upsample_temp", "%g", (double)up->temperature));
    return study_facts_add(f, "colour_cells", "%d", up->colour_cells);
}

static void processor_name(char *name, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

static Status note_facts(Study *s, const StudyAsk *ask)
{
    char processor[128];
    StudyFacts *f = &s->spec.facts;
    processor_name(processor, sizeof processor);
    if (ask->command) TRY(study_facts_add(f, "command", "%s", ask->command));
    TRY(study_facts_add(f, "version", "glide %s", GLIDE_VERSION));
    TRY(study_facts_add(f, "processor", "%s", processor));
    TRY(study_facts_add(f, "threads", "%d", s->glide->threads > 0 ? s->glide->threads : omp_get_max_threads()));
    TRY(study_facts_add(f, "prompts", "%s%s", ask->prompts, s->spec.picture[0] < 0 ? "" : " captions of held-out pictures "
                        "(test_pair)"));
    if (ask->data) TRY(study_facts_add(f, "data", "%s", ask->data));
    TRY(study_facts_add(f, "noise", "row r = prompt * seeds + seed starts from the noise of image r of seed %llu in every "
                        "condition",
                        (unsigned long long)s->spec.seed));
    TRY(study_facts_add(f, "none", "the model's answer to the prompt, without guidance. Classifier, CLIP and autoguidance add to "
                        "it, so at scale 0 they are none; classifier-free guidance is none at scale 1 and the model without the "
                        "prompt at scale 0"));
    return study_facts_add(f, "evaluations", "answers of the base model (and of the weaker one) that a picture needs by itself, "
                           "those that conditions share included; seconds likewise");
}

static Status fill_prompts(Study *s, StudyPrompts *p)
{
    for (int i = 0; i < p->count; i++) {
        s->spec.prompt[i] = p->text[i];
        p->text[i] = NULL;
        s->spec.picture[i] = p->picture[i];
        s->spec.other[i] = p->other ? p->other[i] : -1;
    }
    return STATUS_OK;
}

static int rows_of_block(const Study *s, const StudyAsk *ask)
{
    enum { LARGE_MODEL = 60000000 };
    if (ask->rows > 0) return ask->rows;
    if (s->glide->base.net->params.total > LARGE_MODEL) return 4;
    return ask->upsample ? 8 : 16;
}

static Status fill_spec(Study *s, const StudyAsk *ask, StudyPrompts *p, const Dataset *d)
{
    StudySpec *spec = &s->spec;
    *spec = (StudySpec){.conditions = s->grid.count, .prompts = p->count, .seeds = ask->seeds, .steps = s->walk.steps,
                        .side = context_side(&s->glide->base), .seed = ask->seed, .rows = rows_of_block(s, ask)};
    if (ask->upsample) spec->large_side = context_side(&s->glide->upsampler);
    if ((int64_t)p->count * ask->seeds > STUDY_CELLS_MOST)
        return status_fail(STATUS_BAD_INPUT, "--seeds: too many pictures, %d prompts times %d", p->count, ask->seeds);
    TRY(study_spec_alloc(spec));
    memcpy(spec->timestep, s->walk.timestep, (size_t)spec->steps * sizeof *spec->timestep);
    for (int i = 0; i < spec->conditions; i++) spec->condition[i] = s->grid.items[i].shown;
    TRY(note_settings(s, ask));
    TRY(study_guides_load(s, ask));
    TRY(study_guides_label(s, p, d, ask->prompts));
    TRY(fill_prompts(s, p));
    return note_facts(s, ask);
}

static Status choose_prompts(const StudyAsk *ask, Dataset **d, StudyPrompts *p)
{
    int count;
    if (!study_prompts_counted(ask->prompts, &count)) return study_prompts_read(p, ask->prompts);
    if (count < 1) return status_fail(STATUS_BAD_INPUT, "--prompts: expected 1 to %d, or a file, found %.40s",
                                      STUDY_PROMPTS_MOST, ask->prompts);
    if (!ask->data) return status_fail(STATUS_BAD_INPUT, "--prompts: expected --data beside a number, or a file with a prompt a "
                                       "line");
    TRY(dataset_open(ask->data, d));
    return study_prompts_pick(p, *d, count, ask->seed);
}

static Status setup(Study *s, const StudyAsk *ask, StudyPrompts *p, Dataset **d)
{
    TRY(load_models(s, ask));
    TRY(make_walks(s, ask->upsample));
    TRY(condition_grid_init(&s->grid, &ask->conditions, s->glide->base.net->config.diffusion_steps - 1));
    TRY(choose_prompts(ask, d, p));
    if (!p->other) condition_grid_drop_shuffled(&s->grid);
    condition_grid_equate(&s->grid, &s->walk);
    return fill_spec(s, ask, p, *d);
}

Status study_new(Glide *g, const StudyAsk *ask, Study **out)
{
    Dataset *d = NULL;
    StudyPrompts p = {0};
    Study *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return status_fail(STATUS_NO_MEMORY, "out of memory for a study");
    s->glide = g;
    Status status = setup(s, ask, &p, &d);
    study_prompts_release(&p);
    dataset_free(d);
    if (status == STATUS_OK) *out = s;
    else study_free(s);
    return status;
}

void study_free(Study *s)
{
    if (!s) return;
    classifier_free(s->untrained);
    condition_grid_release(&s->grid);
    condition_walk_release(&s->walk);
    study_spec_release(&s->spec);
    free(s);
}
