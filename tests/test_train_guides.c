/* Guides and judge in training: they learn a toy data set, go on bit for bit after a stop, and share no picture. */
#include "data/guide_rows.h"
#include "data/subgroups.h"
#include "glide/ablation/judge.h"
#include "glide/guide_measures.h"
#include "glide/guides.h"
#include "glide/trainer.h"
#include "guidance/classifier_file.h"
#include "tests/support_folder.h"
#include "tests/support_shapes.h"
#include "tests/support_status.h"
#include "tests/support_training.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { STEPS = 6 };

static const char subgroups_path[] = "data/subgroups.tsv";

static TrainerOptions tiny_options(TrainTarget target, const char *out)
{
    TrainerOptions o;
    trainer_options_defaults(&o, target);
    o.data = in_test_folder("data.h5");
    o.out = out;
    o.subgroups = subgroups_path;
    o.config = "tiny";
    o.batch = 8;
    o.n_vocab = target == TRAIN_CLIP ? 560 : 300;
    o.progress = PROGRESS_QUIET;
    o.optimizer.total_steps = STEPS;
    o.optimizer.warmup_steps = 2;
    return o;
}

/* Pictures of a half that were trained on. */
static int trained_pictures(const Dataset *d, DatasetHalf half, int *list)
{
    int count = 0;
    for (int i = 0; i < dataset_count(d); i++)
        if (dataset_item(d, i)->split == SPLIT_TRAIN && dataset_half(dataset_item(d, i)) == half) list[count++] = i;
    return count;
}

static Dataset *open_data(void)
{
    Dataset *d;
    OK(dataset_open(in_test_folder("data.h5"), &d));
    OK(dataset_load_small(d));
    return d;
}

/* --- learning --- */

static void test_classifier_learns(void **state)
{
    (void)state;
    TrainerOptions o = tiny_options(TRAIN_CLASSIFIER, in_test_folder("classifier.h5"));
    o.optimizer.total_steps = 120;
    o.optimizer.lr = 3e-3;
    o.batch = 16;
    OK(trainer_run(&o));
    Classifier *m;
    Subgroups *s;
    Kernels *k;
    ClassifierScore score;
    Dataset *d = open_data();
    int pictures[SHAPES_CONCEPTS * SHAPES_STYLES], n = trained_pictures(d, HALF_GUIDES, pictures);
    OK(classifier_load(in_test_folder("classifier.h5"), &m, NULL));
    OK(subgroups_load(subgroups_path, &s));
    OK(kernels_new(KERNELS_BEST, &k));
    OK(measure_classifier(k, m, d, s, pictures, n, 50, &score));
    const int subjects = classifier_classes(&m->config) / m->config.styles;
    assert_true(score.n == n && m->config.styles == SHAPES_STYLES && subjects > 4);
    if (score.top1 < 0.6 || score.style < 0.6 || score.top5 < score.top1)
        fail_msg("subject %g (first 5: %g) of %d, style %g", score.top1, score.top5, subjects, score.style);
    int label;
    assert_true(classifier_label(m, "food-fruit", "twemoji") >= 0 && classifier_label(m, "food-fruit", "oil") < 0);
    OK(classifier_parse_label(m, "food-fruit, twemoji", &label));
    assert_int_equal(label, classifier_label(m, "food-fruit", "twemoji"));
    assert_int_equal(classifier_parse_label(m, "food-fruit", &label), STATUS_BAD_INPUT);
    classifier_free(m);
    kernels_free(k);
    subgroups_free(s);
    dataset_free(d);
}

static void check_retrieval(const float *seen, const float *read, int n, int width)
{
    RetrievalScore score;
    measure_retrieval(seen, read, n, width, n, &score);
    if (score.text_top1 < 0.5 || score.picture_top1 < 0.5)
        fail_msg("of %d, text for picture %g, picture for text %g", n, score.text_top1, score.picture_top1);
    assert_true(score.text_top5 >= score.text_top1 && score.n == n);
}

static void test_clip_learns(void **state)
{
    (void)state;
    TrainerOptions o = tiny_options(TRAIN_CLIP, in_test_folder("clip.h5"));
    o.optimizer.total_steps = 150;
    o.optimizer.lr = 3e-3;
    o.batch = 16;
    OK(trainer_run(&o));
    Glide none = {0};
    const GuideFile *f;
    Kernels *k;
    Dataset *d = open_data();
    int pictures[SHAPES_CONCEPTS * SHAPES_STYLES], n = trained_pictures(d, HALF_GUIDES, pictures);
    OK(guides_load(&none, GUIDES_CLIP, in_test_folder("clip.h5"), &f)); /* as glide sample --clip does */
    OK(kernels_new(KERNELS_BEST, &k));
    const int width = f->clip->config.n_embd;
    float *z = malloc(2 * (size_t)(n * width) * sizeof *z);
    OK(embed_with_clip(k, f->clip, f->clip_bpe, d, pictures, n, 20, z, z + n * width));
    check_retrieval(z, z + n * width, n, width);
    free(z);
    guides_free(none.guides);
    kernels_free(k);
    dataset_free(d);
}

static void test_judge_learns(void **state)
{
    (void)state;
    TrainerOptions o = tiny_options(TRAIN_JUDGE, in_test_folder("judge.h5"));
    o.optimizer.total_steps = 80;
    o.optimizer.lr = 3e-3;
    o.batch = 16;
    OK(trainer_run(&o));
    Judge *j;
    Kernels *k;
    Dataset *d = open_data();
    int pictures[SHAPES_CONCEPTS * SHAPES_STYLES], n = trained_pictures(d, HALF_JUDGE, pictures);
    OK(judge_load(in_test_folder("judge.h5"), &j));
    OK(kernels_new(KERNELS_BEST, &k));
    const int width = judge_embedding(j);
    float *z = malloc(2 * (size_t)(n * width) * sizeof *z);
    OK(embed_with_judge(k, j, d, pictures, n, z, z + n * width));
    check_retrieval(z, z + n * width, n, width);
    free(z);
    judge_free(j);
    kernels_free(k);
    dataset_free(d);
}

/* --- stopping and dividing --- */

static int steps_left;

static bool stop_soon(void)
{
    return --steps_left <= 0;
}

static void test_resume_continues_bit_for_bit(void **state)
{
    (void)state;
    for (TrainTarget target = TRAIN_CLASSIFIER; target <= TRAIN_JUDGE; target++) {
        TrainerOptions o = tiny_options(target, in_test_folder("whole.h5"));
        o.workers = 2;
        o.bf16 = true;
        OK(trainer_run(&o));
        o.out = in_test_folder("parts.h5");
        o.stop = stop_soon;
        steps_left = 3;
        assert_int_equal(trainer_run(&o), STATUS_INTERRUPTED);
        o.stop = NULL;
        o.resume = true;
        OK(trainer_run(&o));
        assert_same_checkpoint(in_test_folder("whole.resume.h5"), in_test_folder("parts.resume.h5"));
    }
}

/* Weights are a start, with the names and tokenizers of their file: a step that changes nothing leaves them as they are. */
static void test_init_starts_from_weights(void **state)
{
    (void)state;
    for (TrainTarget target = TRAIN_CLASSIFIER; target <= TRAIN_JUDGE; target++) {
        TrainerOptions o = tiny_options(target, in_test_folder("first.h5"));
        OK(trainer_run(&o));
        o.init = in_test_folder("first.h5");
        o.out = in_test_folder("second.h5");
        o.n_vocab = 258; /* the file's tokenizer counts */
        o.optimizer.total_steps = 1;
        o.optimizer.lr = 0;
        OK(trainer_run(&o));
        assert_same_weights(in_test_folder("first.h5"), in_test_folder("second.h5"));
        assert_true(history_at(in_test_folder("second.loss.csv"), 1, 1) < history_at(in_test_folder("first.loss.csv"), 1, 1));
        o.target = target == TRAIN_JUDGE ? TRAIN_CLASSIFIER : target + 1;
        assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), "first.h5"));
    }
}

/* The loss and its gradient are those of the whole batch, however many workers share it. */
static void test_workers(void **state)
{
    (void)state;
    for (TrainTarget target = TRAIN_CLASSIFIER; target <= TRAIN_JUDGE; target++) {
        double loss = 0, norm = 0;
        for (int workers = 1; workers <= 3; workers++) {
            TrainerOptions o = tiny_options(target, in_test_folder("divided.h5"));
            o.optimizer.total_steps = 1;
            o.workers = workers;
            OK(trainer_run(&o));
            double l = history_at(in_test_folder("divided.loss.csv"), 1, 1),
                   n = history_at(in_test_folder("divided.loss.csv"), 1, 4);
            if (workers == 1) loss = l, norm = n;
            if (fabs(l - loss) > 1e-4 * loss || fabs(n - norm) > 2e-3 * norm)
                fail_msg("target %d, %d workers: loss %g, gradient %g; one: %g, %g", target, workers, l, n, loss, norm);
        }
    }
}

/* --- what they are trained on --- */

static void test_halves_share_nothing(void **state)
{
    (void)state;
    Dataset *d = open_data();
    int seen[2][SHAPES_CONCEPTS * SHAPES_STYLES] = {{0}}, counts[2] = {0};
    float *x = malloc(DATASET_SMALL_BYTES * sizeof *x);
    char caption[CAPTION_SIZE];
    for (int half = 0; half < 2; half++) {
        GuideRows *rows;
        GuideRowOptions o = {
            .seed = 5, .pairs = true, .move = true, .captions = caption_options_defaults(), .filter = dataset_filter_defaults()};
        o.filter.half = half ? HALF_JUDGE : HALF_GUIDES;
        OK(guide_rows_new(d, &o, &rows));
        for (uint32_t row = 0; row < 600; row++) {
            int i = guide_rows_draw(rows, 1, row, x, caption);
            seen[half][i]++;
            assert_int_equal(i, guide_rows_draw(rows, 1, row, x, NULL));
            assert_true(dataset_item(d, i)->split == SPLIT_TRAIN && dataset_half(dataset_item(d, i)) == o.filter.half);
        }
        guide_rows_free(rows);
    }
    for (int i = 0; i < dataset_count(d); i++) {
        assert_false(seen[0][i] && seen[1][i]);
        for (int half = 0; half < 2; half++) counts[half] += seen[half][i] > 0;
    }
    assert_true(counts[0] >= 8 && counts[1] >= 8 && counts[0] + counts[1] >= 30);
    /* one concept in the three Fluent styles, which share drawings, is in one half */
    DatasetItem a = *dataset_item(d, 0), b = a;
    a.style = "fluent 3d";
    b.style = "fluent mono";
    for (int i = 0; i < dataset_count(d); i++) {
        a.root = b.root = dataset_item(d, i)->root;
        assert_true(dataset_half(&a) == dataset_half(&b));
    }
    free(x);
    dataset_free(d);
}

static void test_moved_pictures(void **state)
{
    (void)state;
    Dataset *d = open_data();
    GuideRows *rows;
    GuideRowOptions o = {.seed = 5, .filter = dataset_filter_defaults()};
    float *x = malloc(2 * DATASET_SMALL_BYTES * sizeof *x), *whole = x + DATASET_SMALL_BYTES;
    OK(guide_rows_new(d, &o, &rows));
    int i = guide_rows_draw(rows, 0, 0, x, NULL);
    guide_rows_picture(d, i, whole);
    for (size_t j = 0; j < DATASET_SMALL_BYTES; j++) assert_true(fabsf(x[j] - whole[j]) < 1e-6f);
    guide_rows_free(rows);
    o.move = o.flip = true;
    OK(guide_rows_new(d, &o, &rows));
    assert_int_equal(guide_rows_draw(rows, 0, 0, x, NULL), i);
    assert_true(memcmp(x, whole, DATASET_SMALL_BYTES * sizeof *x) != 0);
    for (size_t j = 0; j < DATASET_SMALL_BYTES; j++) assert_true(x[j] >= -1 && x[j] <= 1);
    guide_rows_free(rows);
    free(x);
    dataset_free(d);
}

static void test_subgroups(void **state)
{
    (void)state;
    Subgroups *s;
    static const struct {
        const char *text, *part;
    } wrong[] = {{"1F34E food-fruit\n", "line 1"},
                 {"", "expected lines of a root, a tab and a subgroup, found none"},
                 {"# a comment\r\n\r\n", "found none"},
                 {"# a\n1F34E\ta\n1F34E\tb\n", "1F34E is listed twice"},
                 {"1F34E\ta\tb\n", "line 1"},
                 {"\ta\n", "line 1"}};
    OK(subgroups_load(subgroups_path, &s));
    assert_string_equal(subgroups_find(s, "1F34E"), "food-fruit");
    assert_string_equal(subgroups_find(s, "1F9D1-200D-1F692"), "person-role");
    assert_null(subgroups_find(s, "1F34"));
    Subgroups *crlf;
    write_bytes(in_test_folder("crlf.tsv"), "1F34E\tfood-fruit\r\n", 18);
    OK(subgroups_load(in_test_folder("crlf.tsv"), &crlf));
    assert_string_equal(subgroups_find(crlf, "1F34E"), "food-fruit");
    subgroups_free(crlf);
    DatasetItem unknown = {.root = "photo:lake", .group = "photo"};
    assert_string_equal(subgroups_of(s, &unknown), "photo");
    subgroups_free(s);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_bytes(in_test_folder("wrong.tsv"), wrong[i].text, strlen(wrong[i].text));
        assert_int_equal(subgroups_load(in_test_folder("wrong.tsv"), &s), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), wrong[i].part));
        assert_null(s);
    }
    write_bytes(in_test_folder("wrong.tsv"), "1F34E\tfood\0\n", 12);
    assert_int_equal(subgroups_load(in_test_folder("wrong.tsv"), &s), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "found a NUL byte at 10"));
    assert_int_not_equal(subgroups_load(in_test_folder("absent.tsv"), &s), STATUS_OK);
}

static void test_wrong_input(void **state)
{
    (void)state;
    TrainerOptions o = tiny_options(TRAIN_CLIP, in_test_folder("x.h5"));
    o.n_vocab = 400;
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "--vocab"));
    o = tiny_options(TRAIN_JUDGE, in_test_folder("x.h5"));
    o.config = "medium";
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "small or tiny"));
    o.config = "tiny";
    o.batch = 1;
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    o.batch = 4;
    o.resume = true;
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    o = tiny_options(TRAIN_CLASSIFIER, in_test_folder("x.h5"));
    o.subgroups = in_test_folder("data.h5");
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
}

static void test_retrieval_by_hand(void **state)
{
    (void)state;
    /* pictures 0 and 1 find their texts, 2 finds text 0; texts 0 and 1 theirs, text 2 picture 1 */
    static const float seen[4][2] = {{1, 0}, {0, 1}, {0.8f, 0.6f}, {0, 0}}, read[4][2] = {{1, 0}, {-0.1f, 1}, {0, 0.9f}, {0, 0}};
    RetrievalScore s;
    measure_retrieval(seen[0], read[0], 4, 2, 3, &s);
    assert_true(s.n == 3 && s.group == 3);
    assert_true(fabs(s.text_top1 - 2.0 / 3) < 1e-12 && s.text_top5 == 1 && fabs(s.picture_top1 - 2.0 / 3) < 1e-12);
    float same[6] = {1, 0, 1, 0, 1, 0}; /* ties are lost */
    measure_retrieval(same, same, 3, 2, 3, &s);
    assert_true(s.text_top1 == 0);
}

static int make_folder(void **state)
{
    test_folder_setup(state);
    return shapes_dataset_write(in_test_folder("data.h5")) == STATUS_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves_share_nothing),
        cmocka_unit_test(test_moved_pictures),
        cmocka_unit_test(test_subgroups),
        cmocka_unit_test(test_retrieval_by_hand),
        cmocka_unit_test(test_wrong_input),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_resume_continues_bit_for_bit),
        cmocka_unit_test(test_init_starts_from_weights),
        cmocka_unit_test(test_classifier_learns),
        cmocka_unit_test(test_judge_learns),
        cmocka_unit_test(test_clip_learns),
    };
    return cmocka_run_group_tests(tests, make_folder, test_folder_teardown);
}
