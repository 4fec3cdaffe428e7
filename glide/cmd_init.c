/* glide init --config NAME -o W.h5 */
#include "glide/cli_commands.h"
#include "glide/cmd_weights.h"
#include "glide/model_names.h"
#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"
#include "text_transformer/bpe_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/tokenizer_file.h"

#include <stdio.h>
#include <string.h>

#define CLASSIFIER_CONFIG "64x64_classifier"
#define CLIP_CONFIG       "clip"

typedef struct InitCommand {
    const char *output, *config, *vocab;
    int64_t seed, n_vocab;
    bool half, quiet;
} InitCommand;

static const CliOption options[] = {
    CLI_OUTPUT(InitCommand, output, 'o', "output", "FILE.h5", NULL, "the weights file to write (needed)"),
    CLI_TEXT(InitCommand, config, 'c', "config", "NAME", NULL, "which model (needed): glide-base (385 M parameters), "
             "glide-upsampler (398 M), small-base, small-upsampler, medium-base, tiny-base, tiny-upsampler; with -inpaint at the end, "
             "one that also sees the known part of a picture; guided-diffusion's 64x64_diffusion (296 M), 128x128_diffusion, "
             "256x256_diffusion, 256x256_diffusion_uncond, 512x512_diffusion, 64_256_upsampler (312 M), 128_512_upsampler, "
             CLASSIFIER_CONFIG " (65 M); " CLIP_CONFIG ": GLIDE's noise-aware encoders of pictures and texts (158 M)"),
    CLI_INT(InitCommand, seed, 's', "seed", "N", 0, INT64_MAX, "0", "of the random numbers"),
    CLI_FILE(InitCommand, vocab, 0, "vocab", "FILE", NULL, "its tokenizer: vocab.bpe, vocab.bpe.gz, or JSON with merges; for clip "
             "bpe_simple_vocab_16e6.txt.gz; without it the model can be trained, exported and timed, but takes no prompts"),
    CLI_INT(InitCommand, n_vocab, 0, "n-vocab", "N", 1, 1 << 24, NULL, "tokens when there is no --vocab (default 50257 for "
            "glide-*, 65536 for clip, else 2048)"),
    CLI_FLAG(InitCommand, half, 0, "half", "store half precision"),
    CLI_FLAG(InitCommand, quiet, 'q', "quiet", "print nothing but errors"),
};

typedef struct Init {
    CliArgs *args;
    const InitCommand *c;
    TextUNet *unet; /* one of these three, with names and shapes alone */
    Classifier *classifier;
    Clip *clip;
    ClipBpe *clip_bpe;
    ParamSet *params; /* of that one */
    const char *kind; /* of the weights file */
} Init;

/* --- which model --- */

static Status unknown_config(CliArgs *args, const char *found)
{
    char names[600], quoted[80];
    return cli_usage_fail(args, "--config: expected one of %s, " CLASSIFIER_CONFIG ", " CLIP_CONFIG "; found %s",
                          model_names(names, sizeof names), cli_quote(found, quoted, sizeof quoted));
}

static Status takes_no_text(const Init *i)
{
    if (!i->c->vocab && i->c->n_vocab == 0) return STATUS_OK;
    return cli_usage_fail(i->args, "--%s: %s takes no text", i->c->vocab ? "vocab" : "n-vocab", i->c->config);
}

static Status make_unet(Init *i)
{
    TextUNetConfig c;
    Bpe *bpe = NULL;
    if (!model_named(i->c->config, &c)) return unknown_config(i->args, i->c->config);
    if (c.text.width == 0) TRY(takes_no_text(i));
    if (i->c->n_vocab > 0) c.text.n_vocab = (int)i->c->n_vocab;
    if (i->c->vocab) {
        TRY(bpe_from_file(i->c->vocab, &bpe));
        c.text.n_vocab = bpe_vocab_size(bpe);
    }
    Status s = text_unet_new_shapes(&c, &i->unet);
    if (s != STATUS_OK) {
        bpe_free(bpe);
        return s;
    }
    i->unet->bpe = bpe;
    i->params = &i->unet->params;
    i->kind = text_unet_kind(&i->unet->config);
    return STATUS_OK;
}

static Status make_classifier(Init *i)
{
    ClassifierConfig c;
    TRY(takes_no_text(i));
    classifier_config_defaults(&c);
    strcpy(c.noise_schedule, "squaredcos_cap_v2"); /* as the diffusion model that it steers */
    TRY(classifier_new_shapes(&c, &i->classifier));
    i->params = &i->classifier->params;
    i->kind = CLASSIFIER_KIND;
    return STATUS_OK;
}

static Status make_clip(Init *i)
{
    ClipConfig c;
    clip_config_defaults(&c);
    if (i->c->n_vocab > 0) c.n_vocab = (int)i->c->n_vocab;
    if (i->c->vocab) TRY(clip_bpe_from_file(i->c->vocab, &i->clip_bpe)); /* at most 49408 tokens: the released one has room */
    TRY(clip_new_shapes(&c, &i->clip));
    i->params = &i->clip->params;
    i->kind = CLIP_KIND;
    return STATUS_OK;
}

/* --- the file --- */

static Status write_model_header(const Init *i, H5File *file)
{
    if (i->unet) return text_unet_write_header(file, i->unet);
    if (i->classifier) return classifier_write_header(file, i->classifier);
    TRY(clip_write_header(file, i->clip));
    return tokenizer_write_clip(file, i->clip_bpe);
}

static Status write_header(void *ctx, H5File *file)
{
    const Init *i = ctx;
    TRY(write_model_header(i, file));
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

static bool lacks_tokenizer(const Init *i)
{
    return i->clip ? !i->clip_bpe : i->unet && i->unet->text && !i->unet->bpe;
}

static Status write_model(Init *i)
{
    const CliWeights w = {.output = i->c->output, .kind = i->kind, .params = i->params, .header = write_header, .fill = fill,
                          .store = store, .ctx = i, .label = "init", .quiet = i->c->quiet};
    TRY(cli_weights_write(&w));
    if (i->c->quiet) return STATUS_OK;
    printf("%s: %s, %zu random parameters, %s precision%s\n", i->c->output, w.kind, i->params->total,
           i->c->half ? "half" : "single", lacks_tokenizer(i) ? ", no tokenizer: prompts need --vocab" : "");
    return STATUS_OK;
}

/* --- the command --- */

static Status run(CliArgs *args)
{
    Init i = {.args = args, .c = args->options};
    const char *config = i.c->config;
    if (!config) return cli_usage_fail(args, "--config: expected a name, such as glide-base; see \"glide help init\"");
    if (!i.c->output) return cli_usage_fail(args, "--output: expected a file for the weights, such as -o base.h5");
    if (i.c->vocab && i.c->n_vocab > 0) return cli_usage_fail(args, "--vocab and --n-vocab exclude one another");
    Status s = !strcmp(config, CLIP_CONFIG) ? make_clip(&i)
             : !strcmp(config, CLASSIFIER_CONFIG) ? make_classifier(&i) : make_unet(&i);
    if (s == STATUS_OK) s = write_model(&i);
    text_unet_free(i.unet);
    classifier_free(i.classifier);
    clip_free(i.clip);
    clip_bpe_free(i.clip_bpe);
    return s;
}

const CliCommand cli_command_init = {
    .name = "init",
    .summary = "make a weights file of random numbers, to train, test or time",
    .description = "The random numbers are those that training starts from: pictures are noise until the model is trained "
                   "(glide train --init). The same seed gives the same file.",
    .examples = "glide init --config glide-base -o base.h5\n"
                "glide init --config glide-upsampler-inpaint --vocab vocab.bpe -o upsampler.h5 --half\n"
                "glide init --config 64x64_classifier -o classifier.h5 --half",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(InitCommand),
    .run = run,
};
