/* Data set files, drawing by concept, and the committed manifest against the rules that made it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/dataset.h"
#include "data/manifest.h"
#include "tests/support_dataset.h"
#include "tests/support_folder.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[128];

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != STATUS_OK) fail_msg("%s: %s", #expr, status_message());                                          \
    } while (0)

static void fails(Status status, const char *part)
{
    assert_int_equal(status, STATUS_BAD_INPUT);
    if (!strstr(status_message(), part)) fail_msg("message '%s' lacks '%s'", status_message(), part);
    assert_null(strchr(status_message(), '\n'));
}

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("a.h5"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return test_folder_remove_with(path);
}

static Dataset *open_tiny(void)
{
    Dataset *d = NULL;
    OK(tiny_dataset_write(path, NULL));
    OK(dataset_open(path, &d));
    return d;
}

/* --- manifest --- */

static void test_hash_known_values(void **state)
{
    (void)state;
    assert_int_equal(split_hash("pair:1F3BA:fluent"), 22);
    assert_int_equal(split_hash("concept:1F4BB"), 0);
    assert_int_equal(split_hash("tone:1F3CA:4"), 53);
}

static void test_code_root(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"1F34E", "1F34E"},
                                           {"00A9", "A9"},
                                           {"2764-FE0F-200D-1F525", "2764-200D-1F525"},
                                           {"1F468-200D-1F692", "1F9D1-200D-1F692"},
                                           {"1F469", "1F9D1"},
                                           {"1F471-200D-2640-FE0F", "1F471"},
                                           {"1F468-200D-1F469-200D-1F467", "1F9D1-200D-1F469-200D-1F467"},
                                           {"1F9D4-200D-2642", "1F9D4"}};
    char root[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(code_root(cases[i][0], root, sizeof root));
        assert_string_equal(root, cases[i][1]);
    }
    assert_false(code_root("1F34E", root, 5));
    assert_true(code_root("1F34E", root, 6));
}

static void test_manifest_splits_follow_rules(void **state)
{
    (void)state;
    Manifest m;
    OK(manifest_load("data/manifest.tsv.gz", &m));
    assert_int_equal(m.count, 19527);
    Split *splits = malloc((size_t)m.count * sizeof *splits);
    assert_non_null(splits);
    OK(manifest_derive_splits(&m, splits));
    int counts[SPLIT_COUNT] = {0}, untoned[SPLIT_COUNT] = {0};
    for (int i = 0; i < m.count; i++) {
        const ManifestRow *r = &m.rows[i];
        char root[128];
        if (splits[i] != r->split) fail_msg("%s %s: split %s by the rules", r->id, r->icon, split_name(splits[i]));
        assert_true(*r->tone || (code_root(r->code, root, sizeof root) && strcmp(root, r->root) == 0));
        counts[r->split]++;
        untoned[r->split] += !*r->tone;
    }
    assert_int_equal(counts[SPLIT_TRAIN], 17943);
    assert_int_equal(counts[SPLIT_TEST_PAIR], 844);
    assert_int_equal(counts[SPLIT_TEST_TONE], 458);
    assert_int_equal(counts[SPLIT_TEST_CONCEPT], 282);
    assert_int_equal(untoned[SPLIT_TEST_PAIR], 464);
    assert_int_equal(untoned[SPLIT_TEST_CONCEPT], 177);
    free(splits);
    manifest_release(&m);
}

static void test_manifest_counts_per_source(void **state)
{
    (void)state;
    static const struct {
        const char *id, *style;
        int counts[SPLIT_COUNT]; /* train, pair, tone, concept */
    } expected[] = {
        {"fluent-3d", "fluent 3d", {2733, 116, 80, 43}},
        {"fluent-emoji-flat", "fluent flat", {2846, 116, 80, 43}},
        {"fluent-emoji-high-contrast", "fluent mono", {1440, 64, 0, 23}},
        {"noto", "noto", {3233, 219, 113, 43}},
        {"noto-v1", "noto blob", {1701, 84, 46, 34}},
        {"twemoji", "twemoji", {3309, 138, 113, 43}},
        {"emojione", "emojione", {1368, 58, 26, 28}},
        {"fxemoji", "fxemoji", {598, 26, 0, 14}},
        {"streamline-emojis", "streamline", {715, 23, 0, 11}},
    };
    Manifest m;
    SourceList sources;
    OK(manifest_load("data/manifest.tsv.gz", &m));
    OK(sources_load("data/sources.tsv", &sources));
    assert_int_equal(sources.count, 17);
    for (size_t s = 0; s < 9; s++) {
        int counts[SPLIT_COUNT] = {0};
        const Source *source = sources_find(&sources, expected[s].id);
        assert_non_null(source);
        assert_string_equal(source->style, expected[s].style);
        assert_int_equal(strlen(source->sha256), 64);
        for (int i = 0; i < m.count; i++) counts[m.rows[i].split] += strcmp(m.rows[i].id, source->id) == 0;
        assert_memory_equal(counts, expected[s].counts, sizeof counts);
    }
    sources_release(&sources);
    manifest_release(&m);
}

static void write_file(const char *text, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

#define HEADER "style\tname\tcode\troot\ttone\tgroup\tsplit\ten\tko\ttags_en\ttags_ko\n"

static void test_bad_lists(void **state)
{
    (void)state;
    static const char *const manifests[][2] = {
        {"", "line 1"},
        {"a\tb\n", "line 1"},
        {HEADER, "no pictures"},
        {HEADER "noto\ta\t1\t1\t\tx\ttrain\ta\ta\t\t\nnoto\ta\t1\n", "line 3: 3 columns, expected 11"},
        {HEADER "noto\ta\t1\t1\t\tx\tTrain\ta\ta\t\t\n", "line 2: unknown split 'Train'"}};
    static const char *const lists[][2] = {{"# nothing\n", "no packages"},
                                           {"noto\tnoto\n", "line 1: 2 columns, expected 8"},
                                           {"a\ta\ta\t1\tx\tsvg\t0\tMIT\n", "kind 'svg'"},
                                           {"a\ta\ta\t1\tx\twebp\t-1\tMIT\n", "margin '-1'"}};
    Manifest m;
    SourceList s;
    for (size_t i = 0; i < sizeof manifests / sizeof *manifests; i++) {
        write_file(manifests[i][0], strlen(manifests[i][0]));
        fails(manifest_load(path, &m), manifests[i][1]);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        write_file(lists[i][0], strlen(lists[i][0]));
        fails(sources_load(path, &s), lists[i][1]);
    }
    static char part[300000];
    FILE *file = fopen("data/manifest.tsv.gz", "rb");
    assert_non_null(file);
    assert_int_equal(fread(part, 1, sizeof part, file), sizeof part);
    fclose(file);
    write_file(part, sizeof part);
    fails(manifest_load(path, &m), "truncated");
    unlink(path);
    assert_int_equal(manifest_load(path, &m), STATUS_IO);
}

/* --- data set file --- */

static void test_reads_what_was_written(void **state)
{
    (void)state;
    Dataset *d = open_tiny();
    assert_int_equal(dataset_count(d), TINY_COUNT);
    assert_int_equal(dataset_style_count(d), 3);
    assert_string_equal(dataset_style(d, 1), "twemoji");
    assert_int_equal(dataset_style_id(d, "fluent 3d"), 2);
    assert_int_equal(dataset_style_id(d, "fluent"), -1);
    assert_int_equal(dataset_root_count(d), 5);
    assert_int_equal(dataset_split_count(d, SPLIT_TRAIN), 8);
    assert_int_equal(dataset_split_count(d, SPLIT_TEST_CONCEPT), 2);
    assert_string_equal(dataset_attribution(d), "made for a test");
    const DatasetItem *item = dataset_item(d, 5);
    assert_string_equal(item->label_en, "firefighter: dark skin tone");
    assert_string_equal(item->label_ko, "소방관: 검은색 피부");
    assert_string_equal(item->tone, "5");
    assert_string_equal(dataset_root(d, item->root_id), "1F9D1-200D-1F692");
    assert_int_equal(item->root_id, dataset_item(d, 8)->root_id);
    assert_int_equal(dataset_item(d, 8)->split, SPLIT_TEST_TONE);
    OK(dataset_load_small(d));
    static uint8_t rgb[DATASET_BYTES];
    for (int i = TINY_COUNT - 1; i >= 0; i--) {
        OK(dataset_read(d, i, rgb));
        for (int y = 0; y < DATASET_SIDE; y++)
            for (int x = 0; x < DATASET_SIDE; x++)
                for (int c = 0; c < 3; c++) {
                    assert_int_equal(rgb[(y * DATASET_SIDE + x) * 3 + c], tiny_pixel(i, y, x, c));
                    assert_int_equal(dataset_small(d, i)[(y / 4 * DATASET_SMALL_SIDE + x / 4) * 3 + c],
                                     tiny_pixel(i, y, x, c));
                }
    }
    fails(dataset_read(d, TINY_COUNT, rgb), "picture 12");
    fails(dataset_read(d, -1, rgb), "picture -1");
    dataset_free(d);
}

static void test_bad_files(void **state)
{
    (void)state;
    static char long_text[DATASET_MAX_TEXT + 2];
    memset(long_text, 'a', sizeof long_text - 1);
    const struct {
        TinyFaults faults;
        const char *part;
    } cases[] = {
        {{.omit = "format"}, "not a data set"},
        {{.version = 2}, "format version 2, expected 1"},
        {{.omit = "images"}, "images"},
        {{.small_side = 32}, "images64 is (12,32,32,3) u8, expected (N,64,64,3) u8"},
        {{.omit = "label_ko"}, "label_ko"},
        {{.omit = "licence"}, "licence"},
        {{.one_less = "tags_en"}, "tags_en is (11) text, expected (12) strings"},
        {{.column = "split", .text = "validation"}, "split[3] is 'validation'"},
        {{.column = "label_en", .text = ""}, "label_en[3] is empty"},
        {{.column = "style", .text = ""}, "style[3] is empty"},
        {{.column = "label_ko", .text = "\xea\xb3"}, "label_ko[3] is not UTF-8"},
        {{.column = "tags_ko", .text = long_text}, "tags_ko[3] is too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Dataset *d = NULL;
        OK(tiny_dataset_write(path, &cases[i].faults));
        fails(dataset_open(path, &d), cases[i].part);
        assert_non_null(strstr(status_message(), path));
        assert_null(d);
    }
}

static void test_damaged_files(void **state)
{
    (void)state;
    dataset_free(open_tiny());
    FILE *file = fopen(path, "rb");
    static char bytes[1 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_true(size > 1000 && size < sizeof bytes);
    static uint8_t rgb[DATASET_BYTES];
    for (int part = 0; part < 40; part++) { /* truncated: refused; spoilt inside: an error or wrong pixels, no crash */
        Dataset *d = NULL;
        write_file(bytes, size * (size_t)part / 40);
        assert_int_not_equal(dataset_open(path, &d), STATUS_OK);
        char *spoilt = malloc(size);
        memcpy(spoilt, bytes, size);
        memset(spoilt + size * (size_t)part / 40, 0xa5, 300);
        write_file(spoilt, size);
        free(spoilt);
        if (dataset_open(path, &d) == STATUS_OK) {
            for (int i = 0; i < TINY_COUNT; i++) (void)dataset_read(d, i, rgb);
            dataset_free(d);
        }
    }
}

typedef struct ReadJob {
    Dataset *d;
    int first, wrong;
} ReadJob;

static void *read_pictures(void *argument)
{
    ReadJob *job = argument;
    uint8_t *rgb = malloc(DATASET_BYTES);
    for (int k = 0; rgb && k < 50; k++) {
        int i = (job->first + 5 * k) % TINY_COUNT;
        job->wrong += dataset_read(job->d, i, rgb) != STATUS_OK || rgb[0] != tiny_pixel(i, 0, 0, 0) ||
                      rgb[DATASET_BYTES - 1] != tiny_pixel(i, 255, 255, 2);
    }
    job->wrong += !rgb;
    free(rgb);
    return NULL;
}

static void test_threads_read_at_once(void **state)
{
    (void)state;
    Dataset *d = open_tiny();
    ReadJob jobs[4];
    pthread_t threads[4];
    for (int t = 0; t < 4; t++) {
        jobs[t] = (ReadJob){d, t, 0};
        assert_int_equal(pthread_create(&threads[t], NULL, read_pictures, &jobs[t]), 0);
    }
    for (int t = 0; t < 4; t++) {
        pthread_join(threads[t], NULL);
        assert_int_equal(jobs[t].wrong, 0);
    }
    dataset_free(d);
}

/* --- drawing --- */

/* counts[i]: how often picture i was drawn. */
static void draw_many(const ConceptIndex *index, int n, int counts[TINY_COUNT])
{
    memset(counts, 0, TINY_COUNT * sizeof *counts);
    for (int k = 0; k < n; k++) {
        RngKey key = {.seed = 5, .stream = RNG_DATA, .image = (uint32_t)k % 7, .step = (uint32_t)k / 7};
        counts[concept_index_draw(index, &key)]++;
    }
}

/* Within 5 standard deviations of n p. */
static void about(int count, int n, double p)
{
    double spread = 5 * sqrt(n * p * (1 - p));
    if (fabs(count - n * p) > spread) fail_msg("drawn %d times of %d, expected %.0f +- %.0f", count, n, n * p, spread);
}

static void test_concepts_are_drawn_evenly(void **state)
{
    (void)state;
    enum { N = 20000 };
    Dataset *d = open_tiny();
    ConceptIndex *index;
    OK(concept_index_new(d, NULL, &index));
    assert_int_equal(concept_index_concepts(index), 4); /* all but the laptop */
    assert_int_equal(concept_index_pictures(index), 8);
    int counts[TINY_COUNT], members = 0;
    draw_many(index, N, counts);
    static const double shares[TINY_COUNT] = {1 / 8.,  1 / 8.,  0, 1 / 8., 1 / 8., 1 / 12.,
                                              1 / 12., 1 / 12., 0, 0,      0,      1 / 4.};
    for (int i = 0; i < TINY_COUNT; i++) about(counts[i], N, shares[i]);
    assert_int_equal(counts[2] + counts[8] + counts[9] + counts[10], 0); /* held out */
    for (int k = 0; k < 4; k++) {
        int count;
        const int *member = concept_index_members(index, k, &count);
        for (int j = 1; j < count; j++)
            assert_int_equal(dataset_item(d, member[j])->root_id, dataset_item(d, member[0])->root_id);
        members += count;
    }
    assert_int_equal(members, 8);
    RngKey key = {.seed = 1, .stream = RNG_DATA, .image = 2, .step = 3};
    assert_int_equal(concept_index_draw(index, &key), concept_index_draw(index, &key));
    concept_index_free(index);
    dataset_free(d);
}

static void test_filters(void **state)
{
    (void)state;
    enum { N = 20000 };
    Dataset *d = open_tiny();
    ConceptIndex *index = NULL;
    DatasetFilter filter = dataset_filter_defaults();
    int counts[TINY_COUNT];
    filter.style_weights = (float[]){3, 1, 0}; /* noto, twemoji, fluent 3d */
    filter.toned_weight = 0.5f;
    OK(concept_index_new(d, &filter, &index));
    assert_int_equal(concept_index_concepts(index), 3);
    draw_many(index, N, counts);
    static const double shares[TINY_COUNT] = {1 / 4.,  1 / 12., 0, 1 / 4., 1 / 12., 1 / 12.,
                                              1 / 12., 1 / 6.,  0, 0,      0,       0};
    for (int i = 0; i < TINY_COUNT; i++) about(counts[i], N, shares[i]);
    concept_index_free(index);
    filter = dataset_filter_defaults();
    filter.split = SPLIT_TEST_TONE;
    filter.toned_weight = 0;
    index = NULL;
    fails(concept_index_new(d, &filter, &index), "no test_tone pictures");
    assert_null(index);
    filter.toned_weight = 1;
    OK(concept_index_new(d, &filter, &index));
    draw_many(index, 10, counts);
    assert_int_equal(counts[8], 10);
    concept_index_free(index);
    dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_known_values),
        cmocka_unit_test(test_code_root),
        cmocka_unit_test(test_manifest_splits_follow_rules),
        cmocka_unit_test(test_manifest_counts_per_source),
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_reads_what_was_written),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_threads_read_at_once),
        cmocka_unit_test(test_concepts_are_drawn_evenly),
        cmocka_unit_test(test_filters),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
