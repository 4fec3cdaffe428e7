#include "tests/support_guide_models.h"

#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"
#include "tests/support_guides.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <stdio.h>

Classifier *small_classifier(uint64_t seed)
{
    ClassifierConfig c;
    Classifier *m;
    classifier_config_defaults(&c);
    strcpy(c.pool, "attention");
    c.unet = (UNetConfig){.image_size = TINY_BASE_SIDE, .in_channels = 3, .out_channels = SMALL_CLASSES, .channels = 32,
                          .levels = 2, .mult = {1, 2}, .res_blocks = 1, .attention_count = 1, .attention_ds = {2},
                          .head_channels = 16, .heads = 1, .heads_upsample = -1, .scale_shift_norm = true,
                          .resblock_updown = true};
    OK(classifier_new(&c, &m));
    fill_params(&m->params, seed);
    return m;
}

ClipBpe *small_clip_bpe(void)
{
    static const char text[] = "#version: small\na p\nap p\nr e\n";
    ClipBpe *bpe;
    OK(clip_bpe_from_text(text, sizeof text - 1, &bpe));
    return bpe;
}

Clip *small_clip(uint64_t seed)
{
    ClipConfig c = {.n_embd = 24, .image_size = TINY_BASE_SIDE, .patch_size = 4, .image = {32, 2, 2}, .text = {16, 2, 2},
                    .max_text_len = 10, .n_timesteps = 1000, .beta_schedule = "squaredcos_cap_v2", .logit_scale = 20};
    ClipBpe *bpe = small_clip_bpe();
    Clip *m;
    c.n_vocab = clip_bpe_vocab_size(bpe);
    clip_bpe_free(bpe);
    OK(clip_new(&c, &m));
    fill_params(&m->params, seed);
    return m;
}

static void write_clip(const char *path)
{
    Clip *m = small_clip(62);
    ClipBpe *bpe = small_clip_bpe();
    H5File *file;
    OK(weights_create(path, CLIP_KIND, &file));
    OK(clip_write_header(file, m));
    OK(weights_write_merges(file, clip_bpe_text(bpe)));
    OK(weights_write_params(file, &m->params, H5KIND_F32));
    OK(h5file_commit(file));
    clip_bpe_free(bpe);
    clip_free(m);
}

void write_small_guides(const char *folder)
{
    char path[256];
    Classifier *classifier = small_classifier(61);
    TextUNet *weaker = tiny_model(false, 63);
    snprintf(path, sizeof path, "%s/classifier.h5", folder);
    OK(classifier_save(path, classifier, H5KIND_F32));
    snprintf(path, sizeof path, "%s/clip.h5", folder);
    write_clip(path);
    snprintf(path, sizeof path, "%s/weaker.h5", folder);
    write_model(weaker, path);
    text_unet_free(weaker);
    classifier_free(classifier);
}
