/* glide init --config NAME -o W.h5 */
#include "base_model/base_model.h"
#include "glide/cli_commands.h"
#include "glide/cmd_weights.h"
#include "text_transformer/bpe_file.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <string.h>

typedef struct InitCommand {
    const char *output, *config, *vocab;
    int64_t seed, n_vocab;
    bool half, quiet;
} InitCommand;

static const CliOption options[] = {
    CLI_FILE(InitCommand, output, 'o', "output", "FILE.h5", NULL, "the weights file to write (needed)"),
    CLI_TEXT(InitCommand, config, 'c', "config", "NAME", NULL, "which model (needed): glide-base (385 M parameters), glide-upsampler "
             "(398 M), small-base, small-upsampler, medium-base, tiny-base, tiny-upsampler; with -inpaint at the end, one that "
             "also sees the known part of a picture"),
    CLI_INT(InitCommand, seed, 's', "seed", "N", 0, INT64_MAX, "0", "of the random numbers"),
    CLI_FILE(InitCommand, vocab, 0, "vocab", "FILE", NULL, "its tokenizer: vocab.bpe, vocab.bpe.gz, or JSON with merges; without "
             "it the model can be trained, exported and timed, but takes no prompts"),
    CLI_INT(InitCommand, n_vocab, 0, "n-vocab", "N", 1, 1 << 24, NULL, "tokens when there is no --vocab (default 50257 for glide-*, "
            "else 2048)"),
    CLI_FLAG(InitCommand, half, 0, "half", "store half precision"),
    CLI_FLAG(InitCommand, quiet, 'q', "quiet", "print nothing but errors"),
};

static const struct Stage {
    const char *suffix;
    const TextUNetPreset *presets;
    Status (*config)(const char *name, TextUNetConfig *c);
} stages[] = {
    {"-base", base_model_presets, base_model_config},
    {"-upsampler", upsampler_presets, upsampler_config},
};

typedef struct Init {
    const InitCommand *c;
    TextUNet *model;
} Init;

/* --- which model --- */

static Status unknown_config(CliArgs *args, const char *found)
{
    char names[400] = "", quoted[80];
    for (int s = 0; s < CLI_COUNT(stages); s++)
        for (const TextUNetPreset *p = stages[s].presets; p->name; p++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s%s", used ? ", " : "", p->name, stages[s].suffix);
        }
    return cli_usage_fail(args, "--config: expected one of %s (or NAME-inpaint), found %s", names,
                          cli_quote(found, quoted, sizeof quoted));
}

static bool cut_suffix(char *name, const char *suffix)
{
    size_t length = strlen(name), n = strlen(suffix);
    if (length <= n || strcmp(name + length - n, suffix)) return false;
    name[length - n] = 0;
    return true;
}

/* "PRESET-STAGE" or "PRESET-STAGE-inpaint" */
static Status read_config(CliArgs *args, const char *wanted, TextUNetConfig *c)
{
    char name[64];
    if ((size_t)snprintf(name, sizeof name, "%s", wanted) >= sizeof name) return unknown_config(args, wanted);
    bool inpaint = cut_suffix(name, "-inpaint");
    int stage = 0;
    while (stage < CLI_COUNT(stages) && !cut_suffix(name, stages[stage].suffix)) stage++;
    if (stage == CLI_COUNT(stages) || stages[stage].config(name, c) != STATUS_OK) return unknown_config(args, wanted);
    if (strcmp(name, "glide")) c->text.n_vocab = 2048; /* as the trainer makes them */
    c->inpaint = inpaint;
    text_unet_config_complete(c);
    return STATUS_OK;
}

/* --- the file --- */

static Status write_header(void *ctx, H5File *file)
{
    const Init *i = ctx;
    TRY(text_unet_write_header(file, i->model));
    TRY(h5file_set_text(file, "provenance", "trained_with", "nothing: random numbers of glide init"));
    TRY(h5file_set_text(file, "provenance", "config", i->c->config));
    return h5file_set_i64(file, "provenance", "seed", i->c->seed);
}

static Status fill(void *ctx, Param *param, int index)
{
    const Init *i = ctx;
    param_randomize(param, (uint64_t)i->c->seed, index);
    return STATUS_OK;
}

static H5Kind store(void *ctx, int index)
{
    (void)index;
    return ((const Init *)ctx)->c->half ? H5KIND_F16 : H5KIND_F32;
}

static Status write_model(const Init *i)
{
    const CliWeights w = {.output = i->c->output, .kind = text_unet_kind(&i->model->config), .params = &i->model->params,
                          .header = write_header, .fill = fill, .store = store, .ctx = (void *)i, .label = "init",
                          .quiet = i->c->quiet};
    TRY(cli_weights_write(&w));
    if (i->c->quiet) return STATUS_OK;
    printf("%s: %s, %zu random parameters, %s precision%s\n", i->c->output, w.kind, i->model->params.total,
           i->c->half ? "half" : "single", i->model->bpe ? "" : ", no tokenizer: prompts need --vocab");
    return STATUS_OK;
}

/* --- the command --- */

static Status run(CliArgs *args)
{
    Init i = {.c = args->options};
    TextUNetConfig config;
    Bpe *bpe = NULL;
    if (!i.c->config) return cli_usage_fail(args, "--config: expected a name, such as glide-base; see \"glide help init\"");
    if (!i.c->output) return cli_usage_fail(args, "--output: expected a file for the weights, such as -o base.h5");
    if (i.c->vocab && i.c->n_vocab > 0) return cli_usage_fail(args, "--vocab and --n-vocab exclude one another");
    TRY(read_config(args, i.c->config, &config));
    if (i.c->n_vocab > 0) config.text.n_vocab = (int)i.c->n_vocab;
    if (i.c->vocab) {
        TRY(bpe_from_file(i.c->vocab, &bpe));
        config.text.n_vocab = bpe_vocab_size(bpe);
    }
    Status s = text_unet_new_shapes(&config, &i.model);
    if (s == STATUS_OK) i.model->bpe = bpe;
    else bpe_free(bpe);
    if (s == STATUS_OK) s = write_model(&i);
    text_unet_free(i.model);
    return s;
}

const CliCommand cli_command_init = {
    .name = "init",
    .summary = "make a weights file of random numbers, to train, test or time",
    .description = "The random numbers are those that training starts from: pictures are noise until the model is trained "
                   "(glide train --init). The same seed gives the same file.",
    .examples = "glide init --config glide-base -o base.h5\n"
                "glide init --config glide-upsampler-inpaint --vocab vocab.bpe -o upsampler.h5 --half",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(InitCommand),
    .run = run,
};
