/* glide average A.h5 B.h5 -o OUT.h5 */
#include "glide/cli_commands.h"
#include "text_transformer/bpe_merges.h"
#include "text_transformer/text_unet_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct AverageCommand {
    const char *output;
    double share;
    bool quiet;
} AverageCommand;

static const CliOption options[] = {
    CLI_OUTPUT(AverageCommand, output, 'o', "output", "FILE", NULL, "the weights to write (needed)"),
    CLI_DOUBLE(AverageCommand, share, 0, "share", "X", 0, 1, "0.5", "of B.h5 in the mean"),
    CLI_FLAG(AverageCommand, quiet, 'q', "quiet", "print nothing but errors"),
};

typedef struct Average {
    const AverageCommand *c;
    const char *const *paths;
    TextUNet *models[2];
    uint64_t hashes[2];
} Average;

/* --- what can be averaged --- */

/* What only one of the two is told becomes an input of the other as well, which does not heed it. */
static Status widen(TextUNet **m, const TextUNetConfig *other)
{
    if (other->inpaint && !(*m)->config.inpaint) TRY(text_unet_add_inpaint(m));
    if (other->low_res_level && !(*m)->config.low_res_level) TRY(text_unet_add_level(m));
    return STATUS_OK;
}

static Status check_parameters(const Average *a)
{
    const ParamSet *p = &a->models[0]->params, *q = &a->models[1]->params;
    if (p->count != q->count)
        return status_fail(STATUS_BAD_INPUT, "%s: expected the %d parameters of %s, found %d", a->paths[1], p->count, a->paths[0],
                           q->count);
    for (int i = 0; i < p->count; i++) {
        const Param *x = p->items[i], *y = q->items[i];
        if (strcmp(x->name, y->name) == 0 && x->ndim == y->ndim && memcmp(x->dims, y->dims, sizeof x->dims[0] * (size_t)x->ndim) == 0)
            continue;
        return status_fail(STATUS_BAD_INPUT, "%s: expected parameters shaped as those of %s, found another %s with %zu values",
                           a->paths[1], a->paths[0], y->name, y->size);
    }
    return STATUS_OK;
}

/* The same numbers must stand for the same tokens. */
static Status check_tokenizers(const Average *a)
{
    char *text[2] = {NULL, NULL};
    Status s = STATUS_OK;
    for (int i = 0; i < 2 && s == STATUS_OK; i++)
        if (a->models[i]->bpe) s = bpe_merges_text(bpe_merges(a->models[i]->bpe), &text[i], NULL);
    if (s == STATUS_OK && (!text[0] != !text[1] || (text[0] && strcmp(text[0], text[1]))))
        s = status_fail(STATUS_BAD_INPUT, "%s: expected the tokenizer of %s, found another", a->paths[1], a->paths[0]);
    free(text[0]);
    free(text[1]);
    return s;
}

/* --- the mean --- */

static void mix(ParamSet *to, const ParamSet *from, float share)
{
    for (int i = 0; i < to->count; i++) {
        float *x = to->items[i]->value;
        const float *y = from->items[i]->value;
#pragma omp parallel for schedule(static)
        for (size_t j = 0; j < to->items[i]->size; j++) x[j] = (1 - share) * x[j] + share * y[j];
    }
    params_touch(to);
}

/* Of both files, where they tell: whose pictures the weights have seen. */
static Status write_attribution(const Average *a, H5File *out)
{
    for (int i = 0; i < 2; i++) {
        H5File *file;
        char *text, name[32];
        TRY(weights_open(a->paths[i], NULL, &file));
        Status s = h5file_attr_text_or(file, "provenance", "attribution", "", &text);
        h5file_close(file);
        TRY(s);
        snprintf(name, sizeof name, i ? "attribution_%d" : "attribution", i + 1);
        if (*text) s = h5file_set_text(out, "provenance", name, text);
        free(text);
        TRY(s);
    }
    return STATUS_OK;
}

static Status write_file(const Average *a, H5File *file)
{
    char text[200];
    const TextUNet *m = a->models[0];
    snprintf(text, sizeof text, "glide average: %g of hash %016" PRIx64 ", %g of hash %016" PRIx64, 1 - a->c->share, a->hashes[0],
             a->c->share, a->hashes[1]);
    TRY(text_unet_write_header(file, m));
    TRY(h5file_make_group(file, "provenance"));
    TRY(h5file_set_text(file, "provenance", "trained_with", text));
    TRY(write_attribution(a, file));
    return weights_write_params(file, &m->params, H5KIND_F16);
}

static Status average(Average *a)
{
    H5File *file;
    TRY(text_unet_load(a->paths[0], NULL, &a->models[0], &a->hashes[0]));
    TRY(text_unet_load(a->paths[1], text_unet_kind(&a->models[0]->config), &a->models[1], &a->hashes[1]));
    for (int i = 0; i < 2; i++) TRY(widen(&a->models[i], &a->models[1 - i]->config));
    TRY(check_parameters(a));
    TRY(check_tokenizers(a));
    mix(&a->models[0]->params, &a->models[1]->params, (float)a->c->share);
    TRY(weights_create(a->c->output, text_unet_kind(&a->models[0]->config), &file));
    Status s = write_file(a, file);
    if (s == STATUS_OK) s = h5file_commit(file);
    else h5file_close(file);
    return s;
}

static Status run(CliArgs *args)
{
    Average a = {.c = args->options, .paths = args->operands};
    if (!a.c->output) return cli_usage_fail(args, "--output: expected a file for the weights, such as -o mean.h5");
    Status s = average(&a);
    if (s == STATUS_OK && !a.c->quiet)
        printf("%s: %g x %s + %g x %s, half precision\n", a.c->output, 1 - a.c->share, a.paths[0], a.c->share, a.paths[1]);
    for (int i = 0; i < 2; i++) text_unet_free(a.models[i]);
    return s;
}

const CliCommand cli_command_average = {
    .name = "average",
    .summary = "mix the weights of two models that began as one",
    .operands = "A.h5 B.h5",
    .min_operands = 2,
    .max_operands = 2,
    .description = "Writes the mean of two base models or two upsamplers, parameter by parameter. Where one was trained on from "
                   "the other, or both from a third, the mean often does what either has learnt (arXiv 2203.05482); of strangers it "
                   "is noise. Where only one takes masks, or is told how noisy its input is, the mean does, too.",
    .examples = "glide average base.h5 base-inpaint.h5 -o both.h5\n"
                "glide average base.h5 finetuned.h5 --share 0.3 -o mild.h5",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(AverageCommand),
    .run = run,
};
