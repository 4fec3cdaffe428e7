#include "glide/guide_measures.h"

#include "data/captions.h"
#include "data/guide_rows.h"
#include "glide/guide_noise.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, SIDE = DATASET_SMALL_SIDE, SIZE = SIDE * SIDE * 3 };

static Status no_memory(void)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for measuring");
}

/* --- classifiers ---------------------------------------------------------------------------------- */

/* How many of the n numbers are greater than number `own`. */
static int rank_of(const double *x, int n, int own)
{
    int rank = 0;
    for (int i = 0; i < n; i++) rank += x[i] > x[own];
    return rank;
}

/* logits (subjects * styles), whose differences along a style or a subject are those of the subjects or styles. */
static void count_row(const Classifier *m, const float *logits, int label, ClassifierScore *out)
{
    enum { MOST = 1 << 14 };
    double x[MOST];
    const int styles = m->config.styles, subjects = classifier_classes(&m->config) / styles;
    for (int i = 0; i < subjects; i++) x[i] = (double)logits[i * styles];
    int rank = rank_of(x, subjects, label / styles);
    for (int i = 0; i < styles; i++) x[i] = (double)logits[i];
    out->n++;
    out->top1 += rank < 1;
    out->top5 += rank < 5;
    out->style += rank_of(x, styles, label % styles) < 1;
}

/* Pictures (n,SIDE,SIDE,3) in `x` with the noise of a timestep, picture i that of number first + i, and the timestep of each. */
static Tensor *noised_rows(Tape *t, const Diffusion *noise, const Dataset *d, const int *pictures, int n, uint32_t first,
                           int timestep, float *x, float timesteps[ROWS])
{
    for (int i = 0; i < n; i++) {
        guide_rows_picture(d, pictures[i], x + i * SIZE);
        guide_noise_at(noise, timestep, first + (uint32_t)i, SIZE, x + i * SIZE);
        timesteps[i] = (float)timestep;
    }
    tape_reset(t);
    return tape_input(t, DTYPE_F32, 4, (int64_t[]){n, SIDE, SIDE, 3}, x);
}

static Status classify(Tape *t, const Classifier *m, const Diffusion *noise, const Dataset *d, const Subgroups *s,
                       const int *pictures, int n, uint32_t first, int timestep, float *x, ClassifierScore *out)
{
    float timesteps[ROWS];
    Tensor *rows = noised_rows(t, noise, d, pictures, n, first, timestep, x, timesteps);
    Tensor *logits = classifier_forward(t, m, rows, timesteps, NULL);
    TRY(tape_status(t));
    for (int i = 0; i < n; i++) {
        const DatasetItem *item = dataset_item(d, pictures[i]);
        int label = classifier_label(m, subgroups_of(s, item), item->style);
        if (label >= 0) count_row(m, (const float *)logits->data + (int64_t)i * logits->dims[1], label, out);
    }
    return STATUS_OK;
}

Status measure_classifier(Kernels *k, const Classifier *m, const Dataset *d, const Subgroups *s, const int *pictures, int n,
                          int timestep, ClassifierScore *out)
{
    Tape *t = NULL;
    Diffusion noise;
    *out = (ClassifierScore){.timestep = timestep};
    if (!m->subject_names || m->config.unet.image_size != SIDE)
        return status_fail(STATUS_BAD_INPUT, "expected a classifier of %d pixels with names of subjects and styles", SIDE);
    TRY(diffusion_init(&noise, m->config.noise_schedule, m->config.diffusion_steps, ""));
    float *x = malloc(ROWS * SIZE * sizeof *x);
    Status status = x ? tape_new(k, &t) : no_memory();
    for (int first = 0; first < n && status == STATUS_OK; first += ROWS)
        status =
            classify(t, m, &noise, d, s, pictures + first, n - first < ROWS ? n - first : ROWS, (uint32_t)first, timestep, x, out);
    for (double *share = &out->top1; share <= &out->style; share++) *share /= out->n > 0 ? out->n : 1;
    free(x);
    tape_free(t);
    diffusion_release(&noise);
    return status;
}

/* --- pictures and texts --------------------------------------------------------------------------- */

static Status clip_see_rows(Tape *t, const Clip *m, const Diffusion *noise, const Dataset *d, const int *pictures, int n,
                            uint32_t first, int timestep, float *x, float *seen)
{
    float timesteps[ROWS];
    Tensor *rows = noised_rows(t, noise, d, pictures, n, first, timestep, x, timesteps);
    Tensor *z = clip_image_encode(t, m, rows, timesteps, NULL);
    z = op_unit_length(t, z);
    TRY(tape_status(t));
    memcpy(seen, z->data, tensor_bytes(z));
    return STATUS_OK;
}

static Status clip_read_rows(Tape *t, const Clip *m, const ClipBpe *bpe, const Dataset *d, const int *pictures, int n,
                             int32_t *tokens, float *read)
{
    int32_t lengths[ROWS];
    const int T = m->config.max_text_len;
    for (int i = 0; i < n; i++) {
        char caption[CAPTION_SIZE];
        caption_plain(d, pictures[i], false, caption, sizeof caption);
        TRY(clip_bpe_encode_padded(bpe, caption, strlen(caption), T, tokens + i * T, &lengths[i]));
    }
    tape_reset(t);
    Tensor *z = op_unit_length(t, clip_text_encode(t, m, tokens, lengths, n, NULL));
    TRY(tape_status(t));
    memcpy(read, z->data, tensor_bytes(z));
    return STATUS_OK;
}

Status embed_with_clip(Kernels *k, const Clip *m, const ClipBpe *bpe, const Dataset *d, const int *pictures, int n, int timestep,
                       float *seen, float *read)
{
    Tape *t = NULL;
    Diffusion noise;
    const int width = m->config.n_embd;
    TRY(diffusion_init(&noise, m->config.beta_schedule, m->config.n_timesteps, ""));
    float *x = malloc(ROWS * SIZE * sizeof *x);
    int32_t *tokens = malloc(ROWS * (size_t)m->config.max_text_len * sizeof *tokens);
    Status s = x && tokens ? tape_new(k, &t) : no_memory();
    for (int first = 0; first < n && s == STATUS_OK; first += ROWS) {
        int rows = n - first < ROWS ? n - first : ROWS;
        s = clip_see_rows(t, m, &noise, d, pictures + first, rows, (uint32_t)first, timestep, x, seen + (int64_t)first * width);
        if (s == STATUS_OK) s = clip_read_rows(t, m, bpe, d, pictures + first, rows, tokens, read + (int64_t)first * width);
    }
    free(x);
    free(tokens);
    tape_free(t);
    diffusion_release(&noise);
    return s;
}

Status embed_with_judge(Kernels *k, Judge *j, const Dataset *d, const int *pictures, int n, float *seen, float *read)
{
    const int width = judge_embedding(j);
    float *x = malloc(ROWS * SIZE * sizeof *x);
    Status s = x ? STATUS_OK : no_memory();
    for (int first = 0; first < n && s == STATUS_OK; first += ROWS) {
        char captions[ROWS][CAPTION_SIZE];
        const char *texts[ROWS];
        int rows = n - first < ROWS ? n - first : ROWS;
        for (int i = 0; i < rows; i++) {
            guide_rows_picture(d, pictures[first + i], x + i * SIZE);
            caption_plain(d, pictures[first + i], false, captions[i], CAPTION_SIZE);
            texts[i] = captions[i];
        }
        s = judge_see(j, k, x, rows, NULL, seen + (int64_t)first * width);
        if (s == STATUS_OK) s = judge_read(j, k, texts, rows, read + (int64_t)first * width);
    }
    free(x);
    return s;
}

/* --- retrieval ------------------------------------------------------------------------------------ */

static double product(const float *a, const float *b, int width)
{
    double sum = 0;
    for (int i = 0; i < width; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Place of the own one, row i, among the rows of `others`: 0 is first. */
static int place_of(const float *from, const float *others, int i, int group, int width)
{
    double own = product(from + i * width, others + i * width, width);
    int place = 0;
    for (int j = 0; j < group; j++) place += j != i && product(from + i * width, others + j * width, width) >= own;
    return place;
}

void measure_retrieval(const float *seen, const float *read, int n, int width, int group, RetrievalScore *out)
{
    *out = (RetrievalScore){.n = n / group * group, .group = group};
    for (int first = 0; first < out->n; first += group)
        for (int i = 0; i < group; i++) {
            const float *a = seen + (int64_t)first * width, *b = read + (int64_t)first * width;
            int text = place_of(a, b, i, group, width), picture = place_of(b, a, i, group, width);
            out->text_top1 += (text < 1) / (double)out->n;
            out->text_top5 += (text < 5) / (double)out->n;
            out->picture_top1 += (picture < 1) / (double)out->n;
            out->picture_top5 += (picture < 5) / (double)out->n;
        }
}
