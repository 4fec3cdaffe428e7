/* glide import FILE.pt -o W.h5 */
#include "glide/cli_commands.h"
#include "text_transformer/bpe_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/text_unet_import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ATTRIBUTION_MAX = 32 * 1024 };

typedef struct ImportCommand {
    const char *output, *config, *bpe, *key, *schedule, *licence, *attribution, *trained_with;
    int as, store;
    int64_t head_channels, heads, heads_upsample, xf_heads, image_size, diffusion_steps;
    bool new_order;
} ImportCommand;

static const char *const stages[] = {"auto", "base", "upsampler", NULL};
static const char *const stores[] = {"auto", "f32", "f16", NULL};

static const CliOption options[] = {
    CLI_FILE(ImportCommand, output, 'o', "output", "FILE.h5", NULL, "the weights file to write (needed)"),
    CLI_CHOICE(ImportCommand, as, 0, "as", stages, "auto", "what it should be; auto takes what its input channels say"),
    CLI_FILE(ImportCommand, bpe, 0, "bpe", "FILE", NULL, "its tokenizer: vocab.bpe, vocab.bpe.gz, or JSON with merges"),
    CLI_FILE(ImportCommand, config, 'c', "config", "FILE.json", NULL, "configuration written beside a state dict by training "
             "with PyTorch"),
    CLI_TEXT(ImportCommand, key, 0, "key", "NAME", NULL, "read the dictionary under this name"),
    CLI_INT(ImportCommand, head_channels, 0, "num-head-channels", "N", 0, 16384, "0", "width of an attention head (0: as "
            "published, if it is such a model)"),
    CLI_INT(ImportCommand, heads, 0, "num-heads", "N", 0, 16384, "0", "so many heads everywhere instead"),
    CLI_INT(ImportCommand, heads_upsample, 0, "num-heads-upsample", "N", 0, 16384, "0", "other than --num-heads in output "
            "blocks"),
    CLI_INT(ImportCommand, xf_heads, 0, "xf-heads", "N", 0, 16384, "0", "heads of the text transformer (0: as published)"),
    CLI_FLAG(ImportCommand, new_order, 0, "new-attention-order", "guided-diffusion's order of q, k and v"),
    CLI_INT(ImportCommand, image_size, 0, "image-size", "PX", 0, 4096, "0", "size of its pictures (0: 64, upsamplers 256)"),
    CLI_TEXT(ImportCommand, schedule, 0, "noise-schedule", "NAME", NULL, "linear or squaredcos_cap_v2 (default: linear for "
             "upsamplers)"),
    CLI_INT(ImportCommand, diffusion_steps, 0, "diffusion-steps", "N", 2, 65536, "1000", "steps of the process it was trained on"),
    CLI_CHOICE(ImportCommand, store, 0, "store", stores, "auto", "precision on disk; auto: half if all of the file is"),
    CLI_TEXT(ImportCommand, licence, 0, "licence", "TEXT", NULL, "for the provenance in the file"),
    CLI_TEXT(ImportCommand, trained_with, 0, "trained-with", "TEXT", NULL, "for the provenance in the file"),
    CLI_FILE(ImportCommand, attribution, 0, "attribution", "FILE", NULL, "text that names the sources of the training data"),
};

/* Everything between reading and writing. */
typedef struct Import {
    const ImportCommand *c;
    const char *from;
    StateDict *dict;
    TextUNet *model;
    int64_t steps, batch; /* of its training; 0: not known */
} Import;

/* --- configuration --- */

/* What no shape tells and the command line gives. */
static Status apply_options(CliArgs *args, TextUNetConfig *c)
{
    const ImportCommand *o = args->options;
    if (o->head_channels > 0 && o->heads > 0)
        return cli_usage_fail(args, "--num-head-channels and --num-heads exclude one another");
    if (o->head_channels > 0) c->unet.head_channels = (int)o->head_channels;
    if (o->heads > 0) {
        c->unet.heads = (int)o->heads;
        c->unet.head_channels = -1;
    }
    if (o->heads_upsample > 0) c->unet.heads_upsample = (int)o->heads_upsample;
    if (o->xf_heads > 0) c->text.heads = (int)o->xf_heads;
    if (o->image_size > 0) c->unet.image_size = (int)o->image_size;
    if (o->new_order) c->unet.split_first = true;
    if (cli_given(args, "diffusion-steps")) c->diffusion_steps = (int)o->diffusion_steps;
    if (!o->schedule) return STATUS_OK;
    if (strcmp(o->schedule, "linear") && strcmp(o->schedule, "squaredcos_cap_v2"))
        return cli_usage_fail(args, "--noise-schedule: expected linear or squaredcos_cap_v2, found \"%.40s\"", o->schedule);
    strcpy(c->noise_schedule, o->schedule);
    return STATUS_OK;
}

static Status check_options(CliArgs *args, const Import *i, const TextUNetConfig *c)
{
    const char *kind = text_unet_kind(c), *wanted = stages[i->c->as];
    if (c->unet.head_channels == 0)
        return cli_usage_fail(args, "--num-head-channels (or --num-heads) is needed: no shape in %s tells the heads", i->from);
    if (c->text.width > 0 && c->text.heads == 0)
        return cli_usage_fail(args, "--xf-heads is needed: no shape in %s tells the text transformer's heads", i->from);
    if (i->c->as != 0 && strcmp(kind, wanted))
        return status_fail(STATUS_BAD_INPUT, "%s: its first layer takes %d channels, which makes it %s, not %s", i->from,
                           c->unet.in_channels, c->low_res ? "an upsampler" : "a base model",
                           c->low_res ? "a base model" : "an upsampler");
    return STATUS_OK;
}

static Status read_config(CliArgs *args, Import *i, TextUNetConfig *c)
{
    TRY(i->c->config ? text_unet_config_from_json(i->c->config, c, &i->steps, &i->batch)
                     : text_unet_infer(i->dict, i->from, c));
    TRY(apply_options(args, c));
    return check_options(args, i, c);
}

static Status read_tokenizer(Import *i)
{
    TextUNet *m = i->model;
    if (!i->c->bpe) return STATUS_OK;
    if (!m->text) return status_fail(STATUS_BAD_INPUT, "--bpe: %s takes no text", i->from);
    TRY(bpe_from_file(i->c->bpe, &m->bpe));
    if (bpe_vocab_size(m->bpe) == m->config.text.n_vocab) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: makes %d tokens, but %s was trained with %d", i->c->bpe, bpe_vocab_size(m->bpe),
                       i->from, m->config.text.n_vocab);
}

/* --- writing --- */

static H5Kind stored_kind(const Import *i)
{
    int halves = 0;
    for (int j = 0; j < i->dict->count; j++) halves += i->dict->items[j].dtype == PT_F16;
    return i->c->store == 2 || (i->c->store == 0 && halves == i->dict->count) ? H5KIND_F16 : H5KIND_F32;
}

static Status write_attribution(H5File *file, const char *path)
{
    char text[ATTRIBUTION_MAX + 1];
    FILE *f = fopen(path, "rb");
    if (!f) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    if (n > ATTRIBUTION_MAX || memchr(text, 0, n))
        return status_fail(STATUS_BAD_INPUT, "%s: expected a text of up to %d bytes", path, ATTRIBUTION_MAX);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) n--;
    text[n] = 0;
    return h5file_set_text(file, "provenance", "attribution", text);
}

static Status write_provenance(const Import *i, H5File *file)
{
    const char *name = strrchr(i->from, '/');
    TRY(h5file_set_text(file, "provenance", "imported_from", name ? name + 1 : i->from));
    TRY(h5file_set_text(file, "provenance", "trained_with", i->c->trained_with ? i->c->trained_with : "PyTorch"));
    if (i->steps > 0) TRY(h5file_set_i64(file, "provenance", "steps", i->steps));
    if (i->batch > 0) TRY(h5file_set_i64(file, "provenance", "batch", i->batch));
    if (i->c->licence) TRY(h5file_set_text(file, "provenance", "licence", i->c->licence));
    return i->c->attribution ? write_attribution(file, i->c->attribution) : STATUS_OK;
}

static Status write_weights(const Import *i, H5Kind kind)
{
    H5File *file;
    TRY(weights_create(i->c->output, text_unet_kind(&i->model->config), &file));
    Status s = text_unet_write_header(file, i->model);
    if (s == STATUS_OK) s = write_provenance(i, file);
    if (s == STATUS_OK) s = weights_write_params(file, &i->model->params, kind);
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}

/* --- the command --- */

static Status import_file(CliArgs *args, Import *i)
{
    TextUNetConfig config;
    StateDictOptions o = {.key = i->c->key};
    TRY(state_dict_open(i->from, &o, &i->dict));
    TRY(read_config(args, i, &config));
    Status s = text_unet_import(i->dict, &config, &i->model);
    if (s != STATUS_OK) return strstr(status_message(), i->from) ? s : status_prefix(s, "%s", i->from);
    TRY(read_tokenizer(i));
    H5Kind kind = stored_kind(i);
    TRY(write_weights(i, kind));
    printf("%s: %s, %zu parameters, %s precision%s\n", i->c->output, text_unet_kind(&config), i->model->params.total,
           kind == H5KIND_F16 ? "half" : "single",
           i->model->text && !i->model->bpe ? ", no tokenizer: give --bpe to use it with prompts" : "");
    return STATUS_OK;
}

static Status run(CliArgs *args)
{
    Import i = {.c = args->options, .from = args->operands[0]};
    if (!i.c->output) return cli_usage_fail(args, "--output: expected a file for the weights, such as -o base.h5");
    Status s = import_file(args, &i);
    text_unet_free(i.model);
    state_dict_close(i.dict);
    return s;
}

const CliCommand cli_command_import = {
    .name = "import",
    .summary = "turn a PyTorch checkpoint into a weights file",
    .operands = "FILE.pt",
    .min_operands = 1,
    .max_operands = 1,
    .description = "Reads state dicts of GLIDE, guided-diffusion and this project's PyTorch mirror; nothing in them is executed. "
                   "Names and shapes give nearly all of the configuration. Counts of attention heads they do not give: models of "
                   "the published sizes get the published ones, others need --num-head-channels and --xf-heads, or --config.",
    .examples = "glide import base.pt --bpe vocab.bpe.gz -o base.h5\n"
                "glide import ema.pt --config config.json --bpe bpe.json -o base.h5",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(ImportCommand),
    .run = run,
};
