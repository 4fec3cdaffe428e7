/* A grid of samples of a U-Net in training. */
#include "common/png_write.h"
#include "glide/stage.h"
#include "glide/train_unet.h"
#include "upsampler/upsampler.h"

#include <stdlib.h>

enum { GRID = 16 };

static bool is_upsampler(const Trainer *tr)
{
    return tr->options->target == TRAIN_UPSAMPLER;
}

/* The prompts show what the data set has many of; pictures of the upsampler's grid are the first of the held-out pairs. */
static const char *const prompts[GRID] = {
    "red apple, fluent 3d emoji", "red apple, noto emoji", "rocket, twemoji emoji", "cat face, fluent 3d emoji",
    "snowman, noto emoji", "red heart, twemoji emoji", "sunflower, fluent 3d emoji", "pizza, noto emoji",
    "smiling face with heart-eyes, fluent 3d emoji", "dog, fluent flat emoji", "automobile, twemoji emoji",
    "woman scientist, medium skin tone, fluent 3d emoji", "fish, noto emoji", "hamburger, twemoji emoji",
    "turtle, fluent flat emoji", "빨간 사과, 노토 이모지"};

static Status low_res_of_held_out(Trainer *tr, float *low, char captions[][CAPTION_SIZE])
{
    int found = 0;
    Status s = dataset_load_small(tr->dataset);
    int count = dataset_count(tr->dataset);
    for (int i = 0; i < count && found < GRID && s == STATUS_OK; i += 37) {
        if (dataset_item(tr->dataset, i)->split == SPLIT_TRAIN) continue;
        const uint8_t *small = dataset_small(tr->dataset, i);
        for (size_t j = 0; j < DATASET_SMALL_BYTES; j++)
            low[(size_t)found * DATASET_SMALL_BYTES + j] = (float)small[j] / 127.5f - 1;
        caption_plain(tr->dataset, i, false, captions[found++], CAPTION_SIZE);
    }
    return s;
}

static Status write_grid(Trainer *tr, const float *x, int side, int count)
{
    Image pictures[GRID] = {0}, sheet = {0};
    char path[TRAIN_PATH];
    Status s = STATUS_OK;
    for (int i = 0; i < count && s == STATUS_OK; i++) s = image_from_f32(x + (int64_t)i * side * side * 3, side, side, &pictures[i]);
    ContactSheet layout = contact_sheet_defaults();
    if (s == STATUS_OK) s = image_contact_sheet(pictures, count, &layout, &sheet);
    if (s == STATUS_OK) s = png_write(trainer_path(tr, ".samples.png", path, sizeof path), &sheet, NULL, 0);
    for (int i = 0; i < count; i++) image_release(&pictures[i]);
    image_release(&sheet);
    return s;
}

static Status sample_grid(Trainer *tr, float *x, float *low, char captions[][CAPTION_SIZE])
{
    const TrainerOptions *o = tr->options;
    const UNetTraining *u = tr->state;
    const bool upsampler = is_upsampler(tr);
    SamplerRow rows[GRID];
    const char *texts[GRID];
    StageOptions so;
    stage_options_defaults(&so);
    so.precision = o->bf16 ? DTYPE_BF16 : DTYPE_F32;
    StageInput in = {.n = upsampler ? 4 : GRID, .side = upsampler ? UPSAMPLER_SIDE : o->side, .rows = rows, .prompts = texts};
    for (int i = 0; i < GRID; i++) {
        rows[i] = (SamplerRow){.seed = 1, .image = (uint32_t)i};
        texts[i] = upsampler ? captions[i] : prompts[i];
    }
    so.sampler = upsampler ? "ddim" : "ddpm"; /* its fresh noise forgives the errors of a young model's first steps */
    so.steps = upsampler ? "20" : "50";
    if (upsampler) {
        TRY(low_res_of_held_out(tr, low, captions));
        in.low_res = low;
        in.low_side = DATASET_SMALL_SIDE;
        so.max_rows = 1;
        so.stage = 1;
    } else {
        so.guidance.terms[GUIDANCE_CFG].scale = 3;
    }
    TRY(stage_sample(tr->kernels, u->model, &so, &in, x));
    return write_grid(tr, x, (int)in.side, (int)in.n);
}

Status train_unet_samples(Trainer *tr)
{
    size_t side = is_upsampler(tr) ? UPSAMPLER_SIDE : (size_t)tr->options->side;
    float *x = malloc(GRID * side * side * 3 * sizeof *x), *low = malloc(GRID * DATASET_SMALL_BYTES * sizeof *low);
    char(*captions)[CAPTION_SIZE] = calloc(GRID, CAPTION_SIZE);
    Status s = x && low && captions ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for samples");
    if (s == STATUS_OK) s = sample_grid(tr, x, low, captions);
    free(x);
    free(low);
    free(captions);
    return s;
}
