/* The kinds of models that `glide import` knows. */
#include "base_model/base_model.h"
#include "glide/cmd_import.h"
#include "guidance/classifier_file.h"
#include "guidance/classifier_import.h"
#include "guidance/clip_file.h"
#include "guidance/clip_import.h"
#include "text_transformer/bpe_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/text_unet_import.h"
#include "text_transformer/tokenizer_file.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const import_kinds[] = {"auto", "base", "upsampler", "base-inpaint", "upsampler-inpaint", "diffusion",
                                    "classifier", "clip", NULL};

void import_release(Import *i)
{
    text_unet_free(i->unet);
    classifier_free(i->classifier);
    clip_free(i->clip);
    clip_bpe_free(i->clip_bpe);
    free(i->sources);
    for (int f = 0; f < i->file_count; f++) state_dict_close(i->files[f].dict);
}

/* --- what it is --- */

static bool has(const ImportFile *f, const char *name)
{
    return state_dict_find(f->dict, name) != NULL;
}

/* What one file's names say; IMPORT_AUTO: nothing. U-Nets with text are told apart by the channels of their first layer. */
static ImportAs kind_of(const ImportFile *f)
{
    const StateTensor *first = state_dict_find(f->dict, "input_blocks.0.0.weight");
    int64_t in = first && first->ndim == 4 ? first->dims[1] : 0;
    if (has(f, "blocks.input.w_voc") || has(f, "blocks.input.patch_proj") || has(f, "blocks.input.w_t")) return IMPORT_CLIP;
    if (!first) return IMPORT_AUTO;
    if (!has(f, "output_blocks.0.0.in_layers.0.weight") && !has(f, "output_blocks.0.0.in_layers.2.weight"))
        return IMPORT_CLASSIFIER;
    if (!has(f, "token_embedding.weight") && !has(f, "positional_embedding")) return IMPORT_DIFFUSION;
    return in == 6 ? IMPORT_UPSAMPLER : in == 7 ? IMPORT_BASE_INPAINT : in == 10 ? IMPORT_UPSAMPLER_INPAINT : IMPORT_BASE;
}

static const char *describe(ImportAs as)
{
    static const char *const texts[] = {"unknown", "a base model", "an upsampler", "an inpainting base model",
                                        "an inpainting upsampler", "a diffusion model without text", "a classifier",
                                        "an encoder of CLIP"};
    return texts[as];
}

static Status unknown_kind(const ImportFile *f)
{
    char names[200] = "";
    size_t used = 0;
    for (int i = 0; i < f->dict->count && i < 3; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%.60s", i ? ", " : "", f->dict->items[i].name);
    for (char *c = names; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    return status_fail(STATUS_BAD_INPUT, "%s: neither a U-Net of GLIDE or guided-diffusion, nor a classifier, nor CLIP: its %d "
                       "tensors are called %s%s", f->path, f->dict->count, names, f->dict->count > 3 ? ", ..." : "");
}

Status import_detect(const Import *i, ImportAs *out)
{
    ImportAs wanted = (ImportAs)i->c->as;
    for (int f = 0; f < i->file_count; f++) {
        const ImportFile *file = &i->files[f];
        *out = kind_of(file);
        if (*out == IMPORT_AUTO && wanted == IMPORT_AUTO) return unknown_kind(file);
        if (*out == IMPORT_AUTO) *out = wanted; /* what is missing shows when its configuration is read */
        if (wanted != IMPORT_AUTO && wanted != *out)
            return status_fail(STATUS_BAD_INPUT, "%s: its %s it %s, not %s", file->path,
                               wanted < IMPORT_DIFFUSION && *out < IMPORT_DIFFUSION ? "number of input channels makes" : "names make",
                               describe(*out), describe(wanted));
    }
    int expected = *out == IMPORT_CLIP ? 2 : 1;
    if (i->file_count == expected) return STATUS_OK;
    return cli_usage_fail(i->args, "%s is %s: expected %d file%s, found %d", i->files[0].path, describe(*out), expected,
                          expected > 1 ? "s (image and text)" : "", i->file_count);
}

/* --- what all kinds do --- */

/* Counts of heads, which no shape tells; -1: as many heads everywhere. */
static Status apply_heads(const Import *i, UNetConfig *u)
{
    const ImportCommand *o = i->c;
    if (o->head_channels > 0 && o->heads > 0)
        return cli_usage_fail(i->args, "--num-head-channels and --num-heads exclude one another");
    if (o->new_order && o->old_order)
        return cli_usage_fail(i->args, "--new-attention-order and --old-attention-order exclude one another");
    if (o->head_channels > 0) u->head_channels = (int)o->head_channels;
    if (o->heads > 0) {
        u->heads = (int)o->heads;
        u->head_channels = -1;
    }
    if (o->heads_upsample > 0) u->heads_upsample = (int)o->heads_upsample;
    if (o->image_size > 0) u->image_size = (int)o->image_size;
    if (o->new_order || o->old_order) u->split_first = o->new_order;
    if (u->head_channels != 0) return STATUS_OK;
    return cli_usage_fail(i->args, "--num-head-channels (or --num-heads) is needed: no shape in %s tells the heads",
                          i->files[0].path);
}

static Status apply_process(const Import *i, char schedule[32], int *steps)
{
    const ImportCommand *o = i->c;
    if (cli_given(i->args, "diffusion-steps")) *steps = (int)o->diffusion_steps;
    if (!o->schedule) return STATUS_OK;
    if (strcmp(o->schedule, "linear") && strcmp(o->schedule, "squaredcos_cap_v2"))
        return cli_usage_fail(i->args, "--noise-schedule: expected linear or squaredcos_cap_v2, found \"%.40s\"", o->schedule);
    strcpy(schedule, o->schedule);
    return STATUS_OK;
}

/* "PATH: what is wrong", unless the message names the file already. */
static Status about_file(Status s, const char *path)
{
    return s == STATUS_OK || strstr(status_message(), path) ? s : status_prefix(s, "%s", path);
}

/* A value takes at least two bytes of a checkpoint, unless tensors share storages; many that do would make a small file a
 * large model. */
static Status check_size(const ImportFile *f, const ParamSet *params)
{
    if (params->total <= (size_t)state_dict_bytes(f->dict)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: its tensors share storages, %zu values in a file of %lld bytes: not a checkpoint",
                       f->path, params->total, (long long)state_dict_bytes(f->dict));
}

/* sources[] of the parameters; `part` may be a selection of i->params: places[j] is where its parameter j is there. */
static Status find_sources(Import *i, const ImportFile *f, const ParamSet *part, const int *places)
{
    int *index = malloc((size_t)(part->count + 1) * sizeof *index);
    if (!index) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", f->path);
    if (!i->sources) i->sources = calloc((size_t)i->params->count + 1, sizeof *i->sources);
    Status s = i->sources ? state_dict_match(f->dict, part, index) : status_fail(STATUS_NO_MEMORY, "%s: out of memory", f->path);
    if (s == STATUS_OK) s = check_size(f, part);
    for (int j = 0; j < part->count && s == STATUS_OK; j++)
        i->sources[places ? places[j] : j] = (struct ImportSource){f->dict, &f->dict->items[index[j]]};
    free(index);
    return s;
}

/* --- U-Nets --- */

static bool is_upsampler(ImportAs as)
{
    return as == IMPORT_UPSAMPLER || as == IMPORT_UPSAMPLER_INPAINT;
}

/* The configuration cannot be read off the names. If the file is one of GLIDE's but for a few of them, say which, rather than
 * which was looked for first. `s` and the message are what was found so far. */
static Status compare_with_published(const ImportFile *f, ImportAs as, Status s)
{
    char *message = strdup(status_message());
    TextUNetConfig c;
    TextUNet *m = NULL;
    int *index = NULL, matched = 0;
    Status found = is_upsampler(as) ? upsampler_config("glide", &c) : base_model_config("glide", &c);
    c.inpaint = as == IMPORT_BASE_INPAINT || as == IMPORT_UPSAMPLER_INPAINT;
    if (found == STATUS_OK) found = text_unet_new_shapes(&c, &m);
    if (found == STATUS_OK) index = calloc((size_t)m->params.count + 1, sizeof *index);
    if (index) found = state_dict_match(f->dict, &m->params, index);
    for (int j = 0; index && j < m->params.count; j++) matched += index[j] >= 0;
    if (message && !(found == STATUS_BAD_INPUT && index && 2 * matched > m->params.count)) status_fail(s, "%s", message);
    text_unet_free(m);
    free(index);
    free(message);
    return s;
}

static Status unet_config(Import *i, ImportAs as, TextUNetConfig *c)
{
    const ImportFile *f = &i->files[0];
    Status s = i->c->config ? text_unet_config_from_json(i->c->config, c, &i->steps, &i->batch)
                            : text_unet_infer(f->dict, f->path, c);
    if (s == STATUS_BAD_INPUT && !i->c->config && as < IMPORT_DIFFUSION) s = compare_with_published(f, as, s);
    TRY(s);
    TRY(apply_heads(i, &c->unet));
    if (c->text.width > 0 && i->c->xf_heads > 0) c->text.heads = (int)i->c->xf_heads;
    if (c->text.width > 0 && c->text.heads == 0)
        return cli_usage_fail(i->args, "--xf-heads is needed: no shape in %s tells the text transformer's heads",
                              i->files[0].path);
    return apply_process(i, c->noise_schedule, &c->diffusion_steps);
}

static Status unet_tokenizer(Import *i)
{
    TextUNet *m = i->unet;
    i->no_tokenizer = m->text && !i->c->vocab;
    if (!i->c->vocab) return STATUS_OK;
    if (!m->text) return status_fail(STATUS_BAD_INPUT, "--vocab: %s takes no text", i->files[0].path);
    TRY(bpe_from_file(i->c->vocab, &m->bpe));
    if (bpe_vocab_size(m->bpe) == m->config.text.n_vocab) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: makes %d tokens, but %s was trained with %d", i->c->vocab, bpe_vocab_size(m->bpe),
                       i->files[0].path, m->config.text.n_vocab);
}

Status import_text_unet(Import *i, ImportAs as)
{
    TextUNetConfig c;
    TRY(unet_config(i, as, &c));
    TRY(about_file(text_unet_new_shapes(&c, &i->unet), i->files[0].path));
    i->params = &i->unet->params;
    i->kind = text_unet_kind(&c);
    TRY(find_sources(i, &i->files[0], i->params, NULL));
    return unet_tokenizer(i);
}

/* --- classifiers --- */

Status import_classifier(Import *i)
{
    ClassifierConfig c;
    const ImportFile *f = &i->files[0];
    if (i->c->vocab || i->c->config) return cli_usage_fail(i->args, "--%s: not for a classifier", i->c->vocab ? "vocab" : "config");
    TRY(classifier_infer(f->dict, f->path, (int)i->c->res_blocks, &c));
    if (c.unet.channels == 128 && c.unet.image_size == 64) strcpy(c.noise_schedule, "squaredcos_cap_v2"); /* the released one */
    TRY(apply_heads(i, &c.unet));
    TRY(apply_process(i, c.noise_schedule, &c.diffusion_steps));
    TRY(about_file(classifier_new_shapes(&c, &i->classifier), f->path));
    i->params = &i->classifier->params;
    i->kind = CLASSIFIER_KIND;
    return find_sources(i, f, i->params, NULL);
}

/* --- CLIP --- */

/* Its parameters of one encoder, under the names they have in that encoder's file. */
static Status find_encoder(Import *i, const ImportFile *f, bool text)
{
    const ParamSet *all = i->params;
    ParamSet part = {0};
    Param *copies = calloc((size_t)all->count + 1, sizeof *copies);
    int *places = calloc((size_t)all->count + 1, sizeof *places);
    part.items = calloc((size_t)all->count + 1, sizeof *part.items);
    Status s = copies && places && part.items ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", f->path);
    for (int j = 0; j < all->count && s == STATUS_OK; j++) {
        bool is_text;
        const char *name = clip_param_name(all->items[j], &is_text);
        if (is_text != text) continue;
        Param *copy = part.items[part.count] = &copies[part.count];
        places[part.count++] = j;
        *copy = *all->items[j];
        copy->name += name - copy->name;
        part.total += copy->size;
    }
    if (s == STATUS_OK) s = find_sources(i, f, &part, places);
    free(copies);
    free(places);
    free(part.items);
    return s;
}

static Status clip_config(const Import *i, const ImportFile *image, const ImportFile *text, ClipConfig *c)
{
    TRY(clip_infer(image->dict, image->path, text->dict, text->path, c));
    if (i->c->config) TRY(clip_config_from_yaml(i->c->config, c));
    if (i->c->heads > 0) c->image.heads = (int)i->c->heads;
    if (i->c->xf_heads > 0) c->text.heads = (int)i->c->xf_heads;
    if (c->image.heads == 0 || c->text.heads == 0)
        return cli_usage_fail(i->args, "--%s is needed (or --config): no shape in %s tells its heads",
                              c->image.heads == 0 ? "num-heads" : "xf-heads", c->image.heads == 0 ? image->path : text->path);
    return apply_process(i, c->beta_schedule, &c->n_timesteps);
}

static Status clip_tokenizer(Import *i)
{
    i->no_tokenizer = !i->c->vocab;
    if (!i->c->vocab) return STATUS_OK;
    TRY(clip_bpe_from_file(i->c->vocab, &i->clip_bpe));
    if (clip_bpe_vocab_size(i->clip_bpe) <= i->clip->config.n_vocab) return STATUS_OK; /* the released one: 49408 of 65536 */
    return status_fail(STATUS_BAD_INPUT, "%s: makes %d tokens, but CLIP has only %d", i->c->vocab,
                       clip_bpe_vocab_size(i->clip_bpe), i->clip->config.n_vocab);
}

Status import_clip(Import *i)
{
    ClipConfig c;
    bool swapped = has(&i->files[0], "blocks.input.w_voc");
    const ImportFile *image = &i->files[swapped], *text = &i->files[!swapped];
    TRY(clip_config(i, image, text, &c));
    TRY(about_file(clip_new_shapes(&c, &i->clip), image->path));
    i->params = &i->clip->params;
    i->kind = CLIP_KIND;
    TRY(find_encoder(i, image, false));
    TRY(find_encoder(i, text, true));
    return clip_tokenizer(i);
}

/* --- the new file --- */

Status import_write_header(const Import *i, H5File *file)
{
    if (i->unet) return text_unet_write_header(file, i->unet);
    if (i->classifier) return classifier_write_header(file, i->classifier);
    TRY(clip_write_header(file, i->clip));
    return tokenizer_write_clip(file, i->clip_bpe);
}
