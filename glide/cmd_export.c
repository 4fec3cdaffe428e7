/* glide export W.h5 -o FILE.pt */
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/pt_writer.h"
#include "common/weights.h"
#include "glide/cli_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Models below this are written in well under a second. */
#define WORTH_A_BAR 32000000

enum { NAME_ROOM = 512 };

typedef struct ExportCommand {
    const char *output, *prefix;
    bool half, quiet;
} ExportCommand;

static const CliOption options[] = {
    CLI_OUTPUT(ExportCommand, output, 'o', "output", "FILE.pt", NULL, "the state dict to write (needed)"),
    CLI_TEXT(ExportCommand, prefix, 0, "prefix", "TEXT", NULL, "only parameters whose names begin so, without it: image_enc. or "
             "text_enc. for one of CLIP's two files"),
    CLI_FLAG(ExportCommand, half, 0, "half", "write half precision (default: single, whatever the weights file has)"),
    CLI_FLAG(ExportCommand, quiet, 'q', "quiet", "print nothing but errors"),
};

/* The arrays of a weights file of any kind. */
typedef struct Export {
    const ExportCommand *c;
    const char *from;
    H5File *file;
    char **names;
    H5Info *infos;
    NamedShape *shapes;
    int count;
    int64_t total; /* values of all */
    Progress bar;
} Export;

static void dataset_name(const char *name, char out[NAME_ROOM])
{
    snprintf(out, NAME_ROOM, "params/%s", name);
}

static Status read_shapes(Export *e)
{
    char name[NAME_ROOM];
    const char *prefix = e->c->prefix ? e->c->prefix : "";
    TRY(weights_open(e->from, NULL, &e->file));
    TRY(h5file_list(e->file, "params", H5LIST_DATASETS, &e->names, &e->count));
    e->infos = calloc((size_t)e->count + 1, sizeof *e->infos);
    e->shapes = calloc((size_t)e->count + 1, sizeof *e->shapes);
    if (!e->infos || !e->shapes) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", e->from);
    int all = e->count;
    e->count = 0;
    for (int i = 0; i < all; i++) {
        H5Info *info = &e->infos[e->count];
        if (strncmp(e->names[i], prefix, strlen(prefix))) continue;
        e->names[e->count] = e->names[i];
        if (strlen(e->names[i]) > NAME_ROOM - 16)
            return status_fail(STATUS_BAD_INPUT, "%s: name too long: %.60s...", e->from, e->names[i]);
        dataset_name(e->names[i], name);
        TRY(h5file_stat(e->file, name, info));
        if (info->kind != H5KIND_F32 && info->kind != H5KIND_F16)
            return status_fail(STATUS_BAD_INPUT, "%s: %s is not of single or half precision", e->from, name);
        e->shapes[e->count++] = (NamedShape){e->names[i] + strlen(prefix), info->ndim, info->dims};
        e->total += info->size;
    }
    if (e->count > 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: holds no parameters%s%.60s", e->from, *prefix ? " that begin with " : "", prefix);
}

static Status read_values(void *ctx, int index, float *values)
{
    Export *e = ctx;
    char name[NAME_ROOM];
    dataset_name(e->names[index], name);
    return h5file_read(e->file, name, H5KIND_F32, e->infos[index].ndim, e->infos[index].dims, values);
}

static void show_progress(void *ctx, int64_t done)
{
    Export *e = ctx;
    progress_update(&e->bar, done, NULL);
}

static Status export_file(Export *e)
{
    TRY(read_shapes(e));
    ProgressOptions options_ = progress_defaults(stderr);
    options_.label = "export";
    options_.unit = NULL;
    options_.total = e->total;
    if (e->c->quiet || e->total < WORTH_A_BAR) options_.style = PROGRESS_QUIET;
    interrupt_install(NULL);
    progress_start(&e->bar, &options_);
    const PtWriteOptions o = {.dtype = e->c->half ? PT_F16 : PT_F32, .read = read_values, .progress = show_progress,
                              .stop = interrupt_requested, .ctx = e};
    Status s = pt_write(e->c->output, e->shapes, e->count, &o);
    if (s == STATUS_OK) progress_finish(&e->bar);
    else progress_abort(&e->bar);
    if (s != STATUS_INTERRUPTED) interrupt_restore(); /* else main() asks which signal it was */
    if (s == STATUS_OK && !e->c->quiet)
        printf("%s: %d tensors, %lld values, %s precision\n", e->c->output, e->count, (long long)e->total,
               e->c->half ? "half" : "single");
    return s;
}

static Status run(CliArgs *args)
{
    Export e = {.c = args->options, .from = args->operands[0]};
    if (!e.c->output) return cli_usage_fail(args, "--output: expected a file for the state dict, such as -o base.pt");
    Status s = export_file(&e);
    h5file_close(e.file);
    free(e.names);
    free(e.infos);
    free(e.shapes);
    return s;
}

const CliCommand cli_command_export = {
    .name = "export",
    .summary = "turn a weights file into a state dict for PyTorch",
    .operands = "W.h5",
    .min_operands = 1,
    .max_operands = 1,
    .description = "Writes what torch.save(model.state_dict(), FILE) would: names and shapes are those of the published models, so "
                   "that load_state_dict() takes it. \"glide info\" shows the hyper-parameters to make the model with.",
    .examples = "glide export base.h5 -o base.pt\n"
                "glide export upsampler.h5 -o upsampler.pt --half\n"
                "glide export clip.h5 -o clip_image_enc.pt --prefix image_enc.",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(ExportCommand),
    .run = run,
};
