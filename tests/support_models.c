#include "tests/support_folder.h"
#include "tests/support_models.h"

#include "common/rng.h"
#include "text_transformer/text_unet_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void check(Status s)
{
    if (s != STATUS_OK) fail_msg("%s", status_message());
}

static Bpe *small_bpe(void)
{
    static const char *const pairs[][2] = {{"a", "p"}, {"ap", "p"}, {"l", "e"}, {"app", "le"}, {" ", "r"}, {"e", "d"}};
    BpeMerges merges;
    Bpe *bpe;
    bpe_merges_init(&merges);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        check(bpe_merges_add(&merges, pairs[i][0], strlen(pairs[i][0]), pairs[i][1], strlen(pairs[i][1])));
    check(bpe_new(&merges, &bpe));
    bpe_merges_release(&merges);
    return bpe;
}

/* Layers that training starts at zero would hide prompts and blocks from a test. */
static void fill_zeros(ParamSet *params, uint64_t seed)
{
    for (int i = 0; i < params->count; i++) {
        Param *p = params->items[i];
        if (p->init != INIT_ZERO) continue;
        rng_normal(&(RngKey){.seed = seed, .stream = RNG_TEST, .image = (uint32_t)i}, p->value, (int64_t)p->size);
        for (size_t j = 0; j < p->size; j++) p->value[j] *= 0.05f;
    }
    params_touch(params);
}

TextUNet *random_model(const TextUNetConfig *config, uint64_t seed)
{
    TextUNetConfig c = *config;
    Bpe *bpe = small_bpe();
    TextUNet *m;
    c.text.n_vocab = bpe_vocab_size(bpe);
    check(text_unet_new(&c, &m));
    m->bpe = bpe;
    params_randomize(&m->params, seed);
    fill_zeros(&m->params, seed);
    return m;
}

TextUNet *tiny_model(bool upsampler, uint64_t seed)
{
    TextUNetConfig c;
    text_unet_config_defaults(&c);
    c.low_res = upsampler;
    if (upsampler) strcpy(c.noise_schedule, "linear");
    c.unet.image_size = upsampler ? TINY_UPSAMPLER_SIDE : TINY_BASE_SIDE;
    c.unet.channels = 32;
    c.unet.levels = 2;
    c.unet.mult[0] = 1;
    c.unet.mult[1] = 2;
    c.unet.res_blocks = 1;
    c.unet.attention_count = upsampler ? 0 : 1;
    c.unet.attention_ds[0] = 2;
    c.unet.head_channels = 32;
    c.text.ctx = 12;
    c.text.width = 32;
    c.text.layers = 1;
    c.text.heads = 2;
    text_unet_config_complete(&c);
    return random_model(&c, seed);
}

void write_model(const TextUNet *m, const char *path)
{
    H5File *file;
    check(weights_create(path, text_unet_kind(&m->config), &file));
    check(text_unet_write_header(file, m));
    check(h5file_set_text(file, "provenance", "trained_with", "nothing: random numbers of a test"));
    check(weights_write_params(file, &m->params, H5KIND_F16));
    check(h5file_commit(file));
}

/* base.h5 and upsampler.h5 in a folder. */
static void write_tiny_models(const char *folder)
{
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        char path[256];
        TextUNet *m = tiny_model(upsampler, 1);
        snprintf(path, sizeof path, "%s/%s", folder, upsampler ? "upsampler.h5" : "base.h5");
        write_model(m, path);
        text_unet_free(m);
    }
}

int tiny_weights_setup(void **state)
{
    test_folder_setup(state);
    write_tiny_models(test_folder);
    return setenv("GLIDE_WEIGHTS", test_folder, 1);
}

int tiny_weights_teardown(void **state)
{
    unsetenv("GLIDE_WEIGHTS");
    return test_folder_teardown(state);
}
