#include "glide/train_report.h"

#include "common/file_write.h"
#include "common/plot.h"
#include "common/png_write.h"
#include "glide/stage.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 1024, GRID = 16, HELD_OUT = 64, LINE_BYTES = 160, SMOOTH = 100 };

/* --- held-out loss ------------------------------------------------------------------------------- */

/* The mean over the first HELD_OUT pictures of `source`, weighted as `loss` says; noise and steps are always the same. */
static Status held_out_mean(Trainer *tr, Batches *source, TrainRows *rows, const DiffusionLoss *loss, double *out)
{
    int part = tr->options->upsampler ? 4 : 16;
    *out = 0;
    for (int first = 0; first < HELD_OUT; first += part) {
        TrainBatch b;
        TrainLoss mean = {0};
        TRY(train_rows_load(tr, source, rows, 0, (uint32_t)first, part, HELD_OUT, &b));
        TRY(text_unet_loss(tr->tape, tr->model, &tr->diffusion, loss, &b, tr->workspace, &mean));
        *out += mean.mean_mse * part / HELD_OUT;
    }
    tape_reset(tr->tape);
    return STATUS_OK;
}

static Status held_out_losses(Trainer *tr, TrainRows *rows, TrainRecord *record)
{
    DiffusionLoss of_eps = {.vb_weight = 0}, of_x_0 = {.min_snr_gamma = 1, .snr_floor = 1}; /* 1/SNR, between 0 and 20 */
    TRY(held_out_mean(tr, tr->held_out, rows, &of_eps, &record->held_out));
    TRY(held_out_mean(tr, tr->held_out, rows, &of_x_0, &record->held_out_x_0));
    return held_out_mean(tr, tr->held_out_silent, rows, &of_x_0, &record->held_out_silent);
}

Status train_report_held_out(Trainer *tr)
{
    if (!tr->held_out || tr->records.count == 0) return STATUS_OK;
    TrainRows rows;
    TRY(train_rows_init(&rows, 16, tr->options->side, tr->model->config.text.ctx));
    optimizer_swap_ema(&tr->optimizer);
    Status s = held_out_losses(tr, &rows, &tr->records.items[tr->records.count - 1]);
    optimizer_swap_ema(&tr->optimizer);
    train_rows_release(&rows);
    return s;
}

/* --- curve ---------------------------------------------------------------------------------------- */

static Status write_csv(Trainer *tr)
{
    const TrainRecords *r = &tr->records;
    char path[PATH_SIZE], *text = malloc((size_t)(r->count + 1) * LINE_BYTES);
    if (!text) return status_fail(STATUS_NO_MEMORY, "out of memory for the loss curve");
    size_t used = (size_t)sprintf(text, "step,mse,vb,lr,grad_norm,seconds,held_out,held_out_x_0,held_out_silent\n");
    for (int64_t i = 0; i < r->count; i++) {
        const TrainRecord *x = &r->items[i];
        used += (size_t)snprintf(text + used, LINE_BYTES, "%.0f,%.6g,%.6g,%.4g,%.4g,%.3f,%.6g,%.6g,%.6g\n", x->step, x->mse,
                                 x->vb, x->lr, x->grad_norm, x->seconds, x->held_out, x->held_out_x_0, x->held_out_silent);
    }
    Status s = file_write(trainer_path(tr, ".loss.csv", path, sizeof path), text, used);
    free(text);
    return s;
}

/* Running means over SMOOTH steps, and the held-out loss where it was measured. */
static Status write_svg(Trainer *tr)
{
    const TrainRecords *r = &tr->records;
    size_t n = (size_t)r->count, points = 0, measured = 0;
    char path[PATH_SIZE];
    double *x = malloc(5 * n * sizeof *x), *mse = x + n, *vb = x + 2 * n, *held_x = x + 3 * n, *held = x + 4 * n;
    if (!x) return status_fail(STATUS_NO_MEMORY, "out of memory for the loss curve");
    double sum_mse = 0, sum_vb = 0;
    for (size_t i = 0; i < n; i++) {
        const TrainRecord *record = &r->items[i];
        sum_mse += record->mse;
        sum_vb += record->vb;
        if (record->held_out > 0) {
            held_x[measured] = record->step;
            held[measured++] = record->held_out;
        }
        if ((i + 1) % SMOOTH && i + 1 < n) continue;
        double count = (double)(i % SMOOTH + 1);
        x[points] = record->step;
        mse[points] = sum_mse / count;
        vb[points++] = sum_vb / count;
        sum_mse = sum_vb = 0;
    }
    PlotSeries series[] = {{"mse, weighted", x, mse, points}, {"vb (bits)", x, vb, points},
                           {"mse, held out", held_x, held, measured}};
    PlotOptions o = plot_defaults();
    o.title = tr->options->upsampler ? "upsampler" : "base model";
    o.x_label = "step";
    o.y_label = "loss";
    o.log_y = true;
    Status s = plot_write(trainer_path(tr, ".loss.svg", path, sizeof path), &o, series, measured ? 3 : 2);
    free(x);
    return s;
}

Status train_report_curve(Trainer *tr)
{
    TRY(write_csv(tr));
    return write_svg(tr);
}

/* --- samples -------------------------------------------------------------------------------------- */

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
    char path[PATH_SIZE];
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
    SamplerRow rows[GRID];
    const char *texts[GRID];
    StageOptions so;
    stage_options_defaults(&so);
    so.precision = o->bf16 ? DTYPE_BF16 : DTYPE_F32;
    StageInput in = {.n = o->upsampler ? 4 : GRID, .side = o->upsampler ? UPSAMPLER_SIDE : o->side, .rows = rows, .prompts = texts};
    for (int i = 0; i < GRID; i++) {
        rows[i] = (SamplerRow){.seed = 1, .image = (uint32_t)i};
        texts[i] = o->upsampler ? captions[i] : prompts[i];
    }
    so.sampler = o->upsampler ? "ddim" : "ddpm"; /* its fresh noise forgives the errors of a young model's first steps */
    so.steps = o->upsampler ? "20" : "50";
    if (o->upsampler) {
        TRY(low_res_of_held_out(tr, low, captions));
        in.low_res = low;
        in.low_side = DATASET_SMALL_SIDE;
        so.max_rows = 1;
        so.stage = 1;
    } else {
        so.guidance.terms[GUIDANCE_CFG].scale = 3;
    }
    TRY(stage_sample(tr->kernels, tr->model, &so, &in, x));
    return write_grid(tr, x, (int)in.side, (int)in.n);
}

Status train_report_samples(Trainer *tr)
{
    size_t side = tr->options->upsampler ? UPSAMPLER_SIDE : (size_t)tr->options->side;
    float *x = malloc(GRID * side * side * 3 * sizeof *x), *low = malloc(GRID * DATASET_SMALL_BYTES * sizeof *low);
    char(*captions)[CAPTION_SIZE] = calloc(GRID, CAPTION_SIZE);
    Status s = x && low && captions ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for samples");
    optimizer_swap_ema(&tr->optimizer);
    if (s == STATUS_OK) s = sample_grid(tr, x, low, captions);
    optimizer_swap_ema(&tr->optimizer);
    free(x);
    free(low);
    free(captions);
    return s;
}
