/* glide import FILE.pt... --as KIND -o W.h5 */
#include "glide/cmd_import.h"
#include "glide/cli_commands.h"
#include "glide/cmd_weights.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ATTRIBUTION_MAX = 32 * 1024 };

static const char *const stores[] = {"auto", "f32", "f16", NULL};

static const CliOption options[] = {
    CLI_OUTPUT(ImportCommand, output, 'o', "output", "FILE.h5", NULL, "the weights file to write (needed)"),
    CLI_CHOICE(ImportCommand, as, 0, "as", import_kinds, "auto", "what it should be; auto takes what its names say; diffusion: "
               "guided-diffusion's models, which take no text; clip: two files, the image and the text encoder"),
    CLI_FILE(ImportCommand, vocab, 0, "vocab", "FILE", NULL, "its tokenizer: vocab.bpe, vocab.bpe.gz, or JSON with merges; for "
             "clip bpe_simple_vocab_16e6.txt.gz"),
    CLI_FILE(ImportCommand, bpe, 0, "bpe", "FILE", NULL, "the same as --vocab"),
    CLI_FLAG(ImportCommand, half, 0, "half", "store half precision"),
    CLI_CHOICE(ImportCommand, store, 0, "store", stores, "auto", "precision on disk; auto: each array as in the file"),
    CLI_FILE(ImportCommand, config, 'c', "config", "FILE", NULL, "configuration written beside a state dict by training with "
             "PyTorch (JSON); for clip its config.yaml"),
    CLI_TEXT(ImportCommand, key, 0, "key", "NAME", NULL, "read the dictionary under this name"),
    CLI_INT(ImportCommand, head_channels, 0, "num-head-channels", "N", 0, 16384, "0", "width of an attention head (0: as "
            "published, if it is such a model)"),
    CLI_INT(ImportCommand, heads, 0, "num-heads", "N", 0, 16384, "0", "so many heads everywhere instead; clip: of the image "
            "encoder"),
    CLI_INT(ImportCommand, heads_upsample, 0, "num-heads-upsample", "N", 0, 16384, "0", "other than --num-heads in output "
            "blocks"),
    CLI_INT(ImportCommand, xf_heads, 0, "xf-heads", "N", 0, 16384, "0", "heads of the text transformer (0: as published)"),
    CLI_FLAG(ImportCommand, new_order, 0, "new-attention-order", "guided-diffusion's order of q, k and v"),
    CLI_FLAG(ImportCommand, old_order, 0, "old-attention-order", "the other one, for a model of a published size"),
    CLI_INT(ImportCommand, res_blocks, 0, "num-res-blocks", "N", 0, 16, "0", "residual blocks per level of a classifier (0: as "
            "its shapes tell)"),
    CLI_INT(ImportCommand, image_size, 0, "image-size", "PX", 0, 4096, "0", "size of its pictures (0: as published, else 64, "
            "upsamplers 256)"),
    CLI_TEXT(ImportCommand, schedule, 0, "noise-schedule", "NAME", NULL, "linear or squaredcos_cap_v2 (default: as published, "
             "else linear for upsamplers)"),
    CLI_INT(ImportCommand, diffusion_steps, 0, "diffusion-steps", "N", 2, 65536, "1000", "steps of the process it was trained on"),
    CLI_TEXT(ImportCommand, licence, 0, "licence", "TEXT", NULL, "for the provenance in the file"),
    CLI_TEXT(ImportCommand, trained_with, 0, "trained-with", "TEXT", NULL, "for the provenance in the file"),
    CLI_FILE(ImportCommand, attribution, 0, "attribution", "FILE", NULL, "text that names the sources of the training data"),
    CLI_FLAG(ImportCommand, quiet, 'q', "quiet", "print nothing but errors"),
};

/* --- writing --- */

static H5Kind stored_kind(void *ctx, int index)
{
    const Import *i = ctx;
    if (i->c->half || i->c->store == 2) return H5KIND_F16;
    return i->c->store == 0 && i->sources[index].tensor->dtype == PT_F16 ? H5KIND_F16 : H5KIND_F32;
}

static Status write_attribution(H5File *file, const char *path)
{
    char text[ATTRIBUTION_MAX + 1];
    FILE *f = fopen(path, "rb");
    if (!f) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof text, f);
    int error = ferror(f) ? errno : 0; /* of a folder, say */
    fclose(f);
    if (error) return status_fail(STATUS_IO, "%s: %s", path, strerror(error));
    if (n > ATTRIBUTION_MAX || memchr(text, 0, n))
        return status_fail(STATUS_BAD_INPUT, "%s: expected a text of up to %d bytes", path, ATTRIBUTION_MAX);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) n--;
    text[n] = 0;
    return h5file_set_text(file, "provenance", "attribution", text);
}

static Status write_provenance(const Import *i, H5File *file)
{
    char names[512] = "";
    for (int f = 0; f < i->file_count; f++) {
        const char *path = i->files[f].path, *slash = strrchr(path, '/');
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%.240s", f ? ", " : "", slash ? slash + 1 : path);
    }
    TRY(h5file_set_text(file, "provenance", "imported_from", names));
    TRY(h5file_set_text(file, "provenance", "trained_with", i->c->trained_with ? i->c->trained_with : "PyTorch"));
    if (i->steps > 0) TRY(h5file_set_i64(file, "provenance", "steps", i->steps));
    if (i->batch > 0) TRY(h5file_set_i64(file, "provenance", "batch", i->batch));
    if (i->c->licence) TRY(h5file_set_text(file, "provenance", "licence", i->c->licence));
    return i->c->attribution ? write_attribution(file, i->c->attribution) : STATUS_OK;
}

static Status write_header(void *ctx, H5File *file)
{
    TRY(import_write_header(ctx, file));
    return write_provenance(ctx, file);
}

static Status fill(void *ctx, Param *param, int index)
{
    const Import *i = ctx;
    return state_dict_read_param(i->sources[index].dict, i->sources[index].tensor, param);
}

static Status write_model(Import *i)
{
    const CliWeights w = {.output = i->c->output, .kind = i->kind, .params = i->params, .header = write_header, .fill = fill,
                          .store = stored_kind, .ctx = i, .label = "import", .quiet = i->c->quiet};
    TRY(cli_weights_write(&w));
    if (i->c->quiet) return STATUS_OK;
    int halves = 0;
    for (int j = 0; j < i->params->count; j++) halves += stored_kind(i, j) == H5KIND_F16;
    printf("%s: %s, %zu parameters, %s precision%s\n", i->c->output, i->kind, i->params->total,
           halves == 0 ? "single" : halves == i->params->count ? "half" : "mixed",
           i->no_tokenizer ? ", no tokenizer: give --vocab to use it with prompts" : "");
    return STATUS_OK;
}

/* --- the command --- */

static Status open_files(Import *i)
{
    const StateDictOptions o = {.key = i->c->key};
    for (int f = 0; f < i->args->operand_count; f++, i->file_count++) {
        i->files[f].path = i->args->operands[f];
        TRY(state_dict_open(i->files[f].path, &o, &i->files[f].dict));
    }
    return STATUS_OK;
}

static Status import_files(Import *i)
{
    ImportAs as;
    TRY(open_files(i));
    TRY(import_detect(i, &as));
    TRY(as == IMPORT_CLASSIFIER ? import_classifier(i) : as == IMPORT_CLIP ? import_clip(i) : import_text_unet(i, as));
    return write_model(i);
}

static Status run(CliArgs *args)
{
    ImportCommand *c = args->options;
    Import i = {.args = args, .c = c};
    if (!c->output) return cli_usage_fail(args, "--output: expected a file for the weights, such as -o base.h5");
    if (c->vocab && c->bpe) return cli_usage_fail(args, "--vocab and --bpe are the same option");
    if (c->half && c->store == 1) return cli_usage_fail(args, "--half and --store f32 exclude one another");
    if (c->bpe) c->vocab = c->bpe;
    Status s = import_files(&i);
    import_release(&i);
    return s;
}

const CliCommand cli_command_import = {
    .name = "import",
    .summary = "turn a PyTorch checkpoint into a weights file",
    .operands = "FILE.pt...",
    .min_operands = 1,
    .max_operands = IMPORT_MOST_FILES,
    .description = "Reads state dicts of GLIDE, guided-diffusion and this project's PyTorch mirror, and CLIP's two encoders; nothing "
                   "in them is executed. Names and shapes give nearly all of the configuration. Counts of attention heads they do "
                   "not give: models of the published sizes get the published ones, others need --num-head-channels and "
                   "--xf-heads, or --config.",
    .examples = "glide import base.pt --vocab vocab.bpe.gz -o base.h5\n"
                "glide import 64x64_diffusion.pt --as diffusion --half -o 64x64_diffusion.h5\n"
                "glide import clip_image_enc.pt clip_text_enc.pt --vocab bpe_simple_vocab_16e6.txt.gz -o clip.h5\n"
                "glide import ema.pt --config config.json --vocab bpe.json -o base.h5",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(ImportCommand),
    .run = run,
};
