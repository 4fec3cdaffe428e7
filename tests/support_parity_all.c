/* The list of files and which check goes with each. */
#include "tests/support_parity.h"
#include "tests/support_parity_solvers.h"

#include <fnmatch.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef Status (*ParityCheck)(Parity *p, const char *name);

static Status check_merges(Parity *p, const char *name)
{
    return parity_merges(p, name, "tokenizer.json");
}

static Status check_model(Parity *p, const char *name)
{
    TRY(parity_checkpoint(p, name));
    return parity_unet(p, name);
}

static Status check_training(Parity *p, const char *name)
{
    TRY(parity_checkpoint(p, name));
    return parity_training(p, name);
}

static Status check_classifier(Parity *p, const char *name)
{
    TRY(parity_checkpoint(p, name));
    return parity_classifier(p, name);
}

static Status check_clip(Parity *p, const char *name)
{
    TRY(parity_checkpoint(p, name));
    return parity_clip(p, name);
}

static const struct ParityFile {
    const char *pattern;
    bool required;
    ParityCheck check;
} files[] = {
    {"tokenizer.json", true, parity_tokenizer},
    {"tokenizer_vocab.bpe.gz", false, check_merges},
    {"unicode_tables.json", false, parity_unicode},
    {"schedules.h5", true, parity_schedules},
    {"layers.h5", false, parity_layers},
    {"pt_formats.h5", false, parity_pt_formats},
    {"text_transformer.h5", true, parity_text_transformer},
    {"unet_base.h5", true, check_model},
    {"unet_upsampler.h5", true, check_model},
    {"unet_inpaint.h5", true, check_model},
    {"unet_upsampler_inpaint.h5", true, check_model},
    {"unet_*.h5", false, check_model},
    {"gd_*.h5", false, check_model},
    {"samplers.h5", true, parity_samplers},
    {"training.h5", true, check_training},
    {"classifier_*.h5", false, check_classifier},
    {"clip.h5", false, check_clip},
    {"clip_tokenizer.json", false, parity_clip_tokenizer},
    {"solvers.h5", false, parity_solvers},
};

enum { FILES = sizeof files / sizeof *files };

/* A name belongs to the first pattern it matches. */
static int entry_of(const char *name)
{
    for (int i = 0; i < FILES; i++)
        if (fnmatch(files[i].pattern, name, 0) == 0) return i;
    return -1;
}

static Status run_entry(Parity *p, int entry, struct dirent **names, int count)
{
    int found = 0;
    Status s = STATUS_OK;
    for (int i = 0; i < count && s == STATUS_OK; i++) {
        if (entry_of(names[i]->d_name) != entry) continue;
        found++;
        s = files[entry].check(p, names[i]->d_name);
        parity_forget(p);
    }
    if (s == STATUS_OK && !found && !strchr(files[entry].pattern, '*')) parity_skip(p, files[entry].pattern, "no such file");
    return s;
}

static Status check_required(Parity *p)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].required && !parity_has(p, files[i].pattern))
            return status_fail(STATUS_BAD_INPUT, "%s/%s: no such file", p->dir, files[i].pattern);
    return STATUS_OK;
}

Status parity_all(Parity *p)
{
    struct dirent **names;
    Status s = check_required(p);
    parity_forget(p);
    TRY(s);
    int count = scandir(p->dir, &names, NULL, alphasort);
    if (count < 0) return status_fail(STATUS_IO, "%s: %s", p->dir, strerror(errno));
    for (int i = 0; i < FILES && s == STATUS_OK; i++) s = run_entry(p, i, names, count);
    for (int i = 0; i < count; i++) free(names[i]);
    free(names);
    parity_forget(p);
    return s;
}
