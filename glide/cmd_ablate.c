/* glide ablate -o DIR */
#include "common/interrupt.h"
#include "common/progress.h"
#include "glide/ablation/study.h"
#include "glide/ablation/study_plan.h"
#include "glide/ablation/study_verdict.h"
#include "glide/cli_commands.h"
#include "glide/cmd_plan_lines.h"
#include "glide/cmd_sampling.h"
#include "glide/weights_path.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct AblateCommand {
    const char *modes, *scales, *variants, *prompts, *steps, *upsampler_steps, *data, *weights, *upsampler_weights;
    const char *classifier, *clip, *guide_weights, *judge, *out;
    int64_t seeds, seed, batch, threads;
    int sampler, upsampler_sampler, precision;
    bool no_controls, upsample, no_upsample, plan, json, report_only, quiet;
} AblateCommand;

static const CliOption options[] = {
    CLI_OUTPUT(AblateCommand, out, 'o', "output", "DIR", NULL, "folder of the study; one that was stopped is gone on with"),
    CLI_TEXT(AblateCommand, modes, 0, "modes", "LIST", "none,cfg", "none, cfg, classifier, clip, autoguidance; cfg+clip is both at "
             "once"),
    CLI_TEXT(AblateCommand, scales, 0, "scales", "LIST", "0,1,2,4", "of every mode; those of one are said behind a semicolon: "
             "\"0,1,2,4;clip=0.5,2;cfg+clip=2+50,4+100\""),
    CLI_TEXT(AblateCommand, variants, 0, "variants", "LIST", "plain", "changes that every mode is tried with, semicolons between: "
             "plain, rescale=PHI, interval=LO:HI, schedule=WORD, apg=ETA:NORM:MOM, threshold=WORD, cfgpp, or several joined by +"),
    CLI_TEXT(AblateCommand, prompts, 'p', "prompts", "N|FILE", "16", "captions of so many held-out pictures of --data, or a file "
             "with a prompt a line (and a TAB and a class for the classifier)"),
    CLI_INT(AblateCommand, seeds, 0, "seeds", "N", 1, 100000, "2", "pictures of each prompt in each condition"),
    CLI_INT(AblateCommand, seed, 's', "seed", "S", 0, INT64_MAX, "0", "of the noise and of which prompts are taken"),
    CLI_FILE(AblateCommand, data, 'd', "data", "FILE", NULL, "data set made by glide dataset: prompts, and the held-out pictures "
             "that a judge compares with"),
    CLI_CHOICE(AblateCommand, sampler, 0, "sampler", cli_samplers, CASCADE_SAMPLER, "of the base model"),
    CLI_TEXT(AblateCommand, steps, 0, "steps", "N", NULL, "steps of the base model, or a respacing, as in glide sample"),
    CLI_FLAG(AblateCommand, upsample, 0, "upsample", "enlarge every picture, too; judged are the small ones all the same"),
    CLI_FLAG(AblateCommand, no_upsample, 0, "no-upsample", "stop at the base model's size (so it is without --upsample)"),
    CLI_CHOICE(AblateCommand, upsampler_sampler, 0, "upsampler-sampler", cli_samplers, CASCADE_UPSAMPLER, "of the upsampler"),
    CLI_TEXT(AblateCommand, upsampler_steps, 0, "upsampler-steps", "N", CASCADE_UPSAMPLER_STEPS, "steps of the upsampler"),
    CLI_FLAG(AblateCommand, no_controls, 0, "no-controls", "leave out what is added as a check: each mode at the scale that does "
             "nothing, shuffled prompts, an untrained classifier"),
    CLI_FILE(AblateCommand, weights, 'w', "weights", "FILE", NULL, "of the base model (default base.h5)"),
    CLI_FILE(AblateCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "of the upsampler (default upsampler.h5)"),
    CLI_FILE(AblateCommand, classifier, 0, "classifier", "FILE", NULL, "that guides (default classifier.h5)"),
    CLI_FILE(AblateCommand, clip, 0, "clip", "FILE", NULL, "that guides (default clip.h5)"),
    CLI_FILE(AblateCommand, guide_weights, 0, "guide-weights", "FILE", NULL, "the weaker model of autoguidance"),
    CLI_FILE(AblateCommand, judge, 0, "judge", "FILE", NULL, "that measures agreement and distances (default judge.h5; without one "
             "only what needs none is measured)"),
    CLI_FLAG(AblateCommand, plan, 0, "plan", "say what the study would compute and how long it would take, then stop: glide plan "
            "ablate"),
    CLI_FLAG(AblateCommand, report_only, 0, "report-only", "measure the pictures of a finished study anew and write its report"),
    CLI_FLAG(AblateCommand, json, 0, "json", "print the final table as JSON"),
    CLI_CHOICE(AblateCommand, precision, 0, "precision", cli_precisions, NULL, "of the computation; bf16 is the default where the "
               "processor has it"),
    CLI_INT(AblateCommand, batch, 'b', "batch", "N", 0, 4096, "0", "pictures that are made at once, and lost by a kill; 0: as "
            "suits the models"),
    CLI_INT(AblateCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_FLAG(AblateCommand, quiet, 'q', "quiet", "print nothing but warnings and errors"),
};

/* --- what is asked -------------------------------------------------------------------------------------------- */

static Status check_usage(CliArgs *args, const AblateCommand *c)
{
    if (!c->out && !c->plan) return cli_usage_fail(args, "expected --output DIR, where the study goes");
    if (c->upsample && c->no_upsample) return cli_usage_fail(args, "--upsample: expected no --no-upsample beside it");
    if (c->plan && c->report_only) return cli_usage_fail(args, "--plan: expected no --report-only beside it");
    if (c->steps) TRY(cli_check_steps(args, "steps", c->steps));
    if (c->upsample) return cli_check_steps(args, "upsampler-steps", c->upsampler_steps);
    static const char *const of_upsampler[] = {"upsampler-sampler", "upsampler-steps", "upsampler-weights"};
    for (int i = 0; i < CLI_COUNT(of_upsampler); i++)
        if (cli_given(args, of_upsampler[i])) return cli_usage_fail(args, "--%s: expected --upsample beside it", of_upsampler[i]);
    return STATUS_OK;
}

static StudyAsk make_ask(const AblateCommand *c, const char *command)
{
    StudyAsk ask = study_ask_defaults();
    ask.conditions = (ConditionTexts){c->modes, c->scales, c->variants, !c->no_controls};
    ask.prompts = c->prompts;
    ask.seeds = (int)c->seeds;
    ask.seed = (uint64_t)c->seed;
    ask.sampler = cli_samplers[c->sampler];
    ask.steps = c->steps;
    ask.upsample = c->upsample;
    ask.upsampler_sampler = cli_samplers[c->upsampler_sampler];
    ask.upsampler_steps = c->upsampler_steps;
    ask.data = c->data;
    ask.classifier = c->classifier;
    ask.clip = c->clip;
    ask.guide_weights = c->guide_weights;
    ask.command = command;
    ask.rows = (int)c->batch;
    return ask;
}

/* The command line as it was typed, nearly. */
static void read_command(char *text, size_t size)
{
    FILE *f = fopen("/proc/self/cmdline", "rb");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    if (f) fclose(f);
    while (n > 0 && !text[n - 1]) n--;
    for (size_t i = 0; i < n; i++)
        if (!text[i]) text[i] = ' ';
    text[n] = 0;
}

/* --- showing how it goes ------------------------------------------------------------------------------------ */

enum { BAR_TOTAL = 1000000 };

typedef struct Show {
    Progress bar;
    bool quiet, shown;
} Show;

static void start_bar(Show *show, const char *label, double done)
{
    ProgressOptions o = progress_defaults(stderr);
    o.style = show->quiet ? PROGRESS_QUIET : PROGRESS_AUTO;
    o.label = label;
    o.unit = NULL;
    o.total = BAR_TOTAL;
    o.done = (int64_t)(done * BAR_TOTAL);
    progress_start(&show->bar, &o);
    show->shown = true;
}

static void end_bar(Show *show, Status s)
{
    if (!show->shown) return;
    if (s == STATUS_OK) progress_finish(&show->bar);
    else progress_abort(&show->bar);
    show->shown = false;
}

static int show_study(void *ctx, const StudyProgress *p)
{
    Show *show = ctx;
    char note[128];
    if (!show->shown) start_bar(show, "sampling", p->resumed / p->total);
    snprintf(note, sizeof note, "%lld of %lld pictures, %.60s", (long long)p->cells_done, (long long)p->cells, p->label);
    progress_update(&show->bar, (int64_t)(p->done / p->total * BAR_TOTAL), note);
    return interrupt_requested();
}

static int show_judging(void *ctx, double share)
{
    Show *show = ctx;
    if (!show->shown) start_bar(show, "judging", 0);
    progress_update(&show->bar, (int64_t)(share * BAR_TOTAL), NULL);
    return interrupt_requested();
}

/* --- the command ---------------------------------------------------------------------------------------------- */

/* `path` (PATH_MAX) has room for the default judge's. */
static StudyVerdict make_verdict(const AblateCommand *c, char *path)
{
    StudyVerdict v = {.judge = c->judge, .data = c->data};
    if (!c->judge && weights_path_default("judge.h5", path, PATH_MAX) == STATUS_OK) v.judge = path;
    return v;
}

static Status judge_folder(const AblateCommand *c, Glide *g)
{
    char path[PATH_MAX];
    Show show = {.quiet = c->quiet};
    StudyVerdict v = make_verdict(c, path);
    v.progress = show_judging;
    v.ctx = &show;
    v.json = c->json ? "-" : NULL;
    int before = context_enter(g);
    Status s = study_verdict(c->out, g->kernels, &v);
    omp_set_num_threads(before);
    end_bar(&show, s);
    if (s != STATUS_OK) return s;
    if (!v.judged && !c->quiet) fprintf(stderr, "glide ablate: not judged: there is no judge.h5; name one with --judge\n");
    if (!c->json && !c->quiet) printf("%s/metrics.csv\n%s/report.html\n", c->out, c->out);
    return STATUS_OK;
}

static Status run_study(const AblateCommand *c, Glide *g, Study *study)
{
    Show show = {.quiet = c->quiet};
    StudyHooks hooks = {show_study, &show};
    Status s = study_run(study, c->out, &hooks);
    end_bar(&show, s);
    return s == STATUS_OK ? judge_folder(c, g) : s;
}

static Status plan_of(Study *study)
{
    StudyPlan plan;
    TRY(study_plan(study, &plan));
    study_plan_print(study, &plan, stdout);
    return STATUS_OK;
}

static Status run_with(CliArgs *args, Glide *g)
{
    const AblateCommand *c = args->options;
    char command[4096], path[PATH_MAX];
    Study *study;
    if (c->report_only) return judge_folder(c, g);
    StudyVerdict v = make_verdict(c, path);
    TRY(study_verdict_check(&v));
    read_command(command, sizeof command);
    StudyAsk ask = make_ask(c, command);
    TRY(study_new(g, &ask, &study));
    Status s = cli_check_memory(args, study_bytes(study));
    if (s == STATUS_OK) s = c->plan ? plan_of(study) : run_study(c, g, study);
    study_free(study);
    return s;
}

static Status run(CliArgs *args)
{
    const AblateCommand *c = args->options;
    Glide *g = NULL;
    TRY(check_usage(args, c));
    GlideOptions o = {.weights = c->weights, .upsampler_weights = c->upsampler_weights, .threads = (int)c->threads,
                      .precision = cli_precision(args, c->precision)};
    interrupt_install("\nstopping after this step; Ctrl-C again stops at once\n");
    Status s = (Status)glide_open(&o, &g);
    if (s == STATUS_OK) s = run_with(args, g);
    glide_close(g);
    return s;
}

/* glide plan ablate is glide ablate --plan. */
static Status plan_run(CliArgs *args)
{
    AblateCommand *c = args->options;
    c->plan = true;
    return run(args);
}

const CliCommand cli_command_ablate = {
    .name = "ablate",
    .summary = "compare ways of guidance on the same noise",
    .description =
        "Draws the same prompts from the same noise under every condition, modes x scales x variants, and writes a folder: "
        "pictures and telemetry in HDF5, contact sheets, metrics.csv, and report.html, one page with plots. Pictures are judged by "
        "a network that never guides.\n"
        "\n"
        "Kill it at any time and give the same command again: only what is missing is computed, and the folder ends up the same "
        "byte for byte but for timings. Threads may change meanwhile; whatever else the pictures depend on may not.\n"
        "\n"
        "\"None\" is the model's answer to the prompt, without guidance. Classifier, CLIP and autoguidance add to it, so at scale "
        "0 they are none; classifier-free guidance is none at scale 1, and at scale 0 the model without the prompt. What equals "
        "another condition by definition is not computed again. Controls are added: every mode at the scale that does nothing, "
        "which must give none's bits; pictures of other prompts than they are judged by; a classifier with random weights.\n"
        "\n"
        "Ctrl-C stops after the step in work; finished parts stay, and the exit status is 130.",
    .examples = "glide ablate --modes none,cfg --scales 0,1,2,4 --prompts 16 --seeds 2 --data emoji.h5 -o study\n"
                "glide ablate --modes none,cfg,clip --scales \"1,2,4;clip=0.5,2\" --prompts prompts.txt --plan\n"
                "glide ablate --modes cfg --scales \"2,4;cfgpp=0.4,0.8\" --variants \"plain;rescale=0.7;interval=200:800;cfgpp\" "
                "-d emoji.h5 -o variants\n"
                "glide ablate -o study --report-only",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(AblateCommand),
    .plan = plan_run,
    .run = run,
};
