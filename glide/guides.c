#include "glide/guides.h"

#include "glide/cascade.h"
#include "glide/weights_path.h"
#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/tokenizer_file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void guide_file_free(GuideFile *f)
{
    classifier_free(f->classifier);
    clip_free(f->clip);
    clip_bpe_free(f->clip_bpe);
    text_unet_free(f->weaker);
    free(f->path);
    free(f);
}

void guides_free(GuideFile *all)
{
    while (all) {
        GuideFile *next = all->next;
        guide_file_free(all);
        all = next;
    }
}

static Status load_tokenizer(GuideFile *f)
{
    H5File *file;
    WeightsSummary summary;
    TRY(weights_open(f->path, CLIP_KIND, &file));
    Status s = weights_summary(file, &summary);
    if (s == STATUS_OK && !summary.has_merges)
        s = status_fail(STATUS_BAD_INPUT, "%s: holds no tokenizer, so it cannot read prompts", f->path);
    if (s == STATUS_OK) s = tokenizer_read_clip(file, &f->clip_bpe);
    h5file_close(file);
    TRY(s);
    if (clip_bpe_vocab_size(f->clip_bpe) <= f->clip->config.n_vocab) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: the tokenizer has %d tokens, expected at most %d", f->path,
                       clip_bpe_vocab_size(f->clip_bpe), f->clip->config.n_vocab);
}

static Status load(GuideFile *f)
{
    switch (f->kind) {
    case GUIDES_CLASSIFIER: return classifier_load(f->path, &f->classifier, &f->hash);
    case GUIDES_CLIP: TRY(clip_load(f->path, &f->clip, &f->hash)); return load_tokenizer(f);
    default: TRY(text_unet_load(f->path, NULL, &f->weaker, &f->hash)); return cascade_check_model(f->weaker, f->path);
    }
}

Status guides_load(Glide *g, GuidesKind kind, const char *path, const GuideFile **out)
{
    char chosen[PATH_MAX];
    if (!*path && kind == GUIDES_WEAKER) return status_fail(STATUS_BAD_INPUT, "autoguidance: expected the file of a weaker model");
    if (!*path) {
        TRY(weights_path_default(kind == GUIDES_CLASSIFIER ? "classifier.h5" : "clip.h5", chosen, sizeof chosen));
        path = chosen;
    }
    for (*out = g->guides; *out; *out = (*out)->next)
        if ((*out)->kind == kind && !strcmp((*out)->path, path)) return STATUS_OK;
    GuideFile *f = calloc(1, sizeof *f);
    if (f) f->path = strdup(path);
    if (!f || !f->path) {
        free(f);
        return status_fail(STATUS_NO_MEMORY, "out of memory for a path");
    }
    f->kind = kind;
    Status s = load(f);
    if (s != STATUS_OK) {
        guide_file_free(f);
        return s;
    }
    f->next = g->guides;
    *out = g->guides = f;
    return STATUS_OK;
}
