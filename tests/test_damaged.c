/* Damaged checkpoints and weights: thousands of mutated and truncated .pt and .h5 files of every kind of model. Each is looked
 * at in a child process of its own, which must neither crash nor hang, nor want much more memory than twice the file's size,
 * nor fail without one line that names the file. */
#include "common/rng.h"
#include "guidance/classifier_file.h"
#include "guidance/classifier_import.h"
#include "guidance/clip_file.h"
#include "guidance/clip_import.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"
#include "text_transformer/bpe_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/text_unet_import.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#define F "tests/fixtures/"

/* Beyond twice the file: HDF5's caches and buffers of a fixed size. */
enum { SLACK = 8 << 20, MOST_BYTES = 4 << 20, MESSAGE_MOST = 2000 };

static char path[128];

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("x"));
    return 0;
}

/* --- damage --- */

typedef struct Dice {
    RngKey key;
    uint32_t thrown;
} Dice;

static uint32_t throw_below(Dice *dice, size_t n)
{
    return rng_below(&dice->key, dice->thrown++, (uint32_t)n);
}

typedef struct Bytes {
    uint8_t *data;
    size_t size;
} Bytes;

static Bytes load(const char *name)
{
    Bytes b;
    b.data = read_bytes(name, &b.size);
    return b;
}

/* Where something lies that is not a plain value: near one of HDF5's signatures, in a zip header, in the file's ends. */
static size_t telling_place(Dice *dice, const Bytes *b)
{
    static const char *const signatures[] = {"OHDR", "OCHK", "TREE", "SNOD", "HEAP", "FRHP", "FHDB", "BTHD", "BTLF", "\x89HDF", "PK\1\2",
                                             "PK\3\4", "PK\5\6"};
    const char *signature = signatures[throw_below(dice, sizeof signatures / sizeof *signatures)];
    size_t from = throw_below(dice, b->size);
    const uint8_t *found = memmem(b->data + from, b->size - from, signature, 4);
    if (!found) found = memmem(b->data, b->size, signature, 4);
    size_t at = found ? (size_t)(found - b->data) : throw_below(dice, 2) ? 0 : b->size - (b->size < 300 ? b->size : 300);
    at += throw_below(dice, 300);
    return at < b->size ? at : b->size - 1;
}

/* A few changed bytes, often to values that mean something; sometimes a piece from elsewhere. */
static void damage(Dice *dice, uint8_t *out, const Bytes *b)
{
    static const uint8_t telling[] = {0, 1, 2, 4, 8, 0x10, 0x7f, 0x80, 0xff, '(', ')', '.', 'R', 'Q', 't', 'u', 'q', 'h', 'J', 'K', 0x85, 0x8a};
    uint32_t changes = 1 + throw_below(dice, 6);
    for (uint32_t i = 0; i < changes; i++) {
        size_t at = throw_below(dice, 4) ? telling_place(dice, b) : throw_below(dice, b->size);
        switch (throw_below(dice, 4)) {
        case 0: out[at] ^= (uint8_t)(1 << throw_below(dice, 8)); break;
        case 1: out[at] = (uint8_t)throw_below(dice, 256); break;
        case 2: out[at] = telling[throw_below(dice, sizeof telling)]; break;
        default: {
            size_t from = telling_place(dice, b), length = throw_below(dice, 16);
            if (from + length < b->size && at + length < b->size) memmove(out + at, out + from, length);
        }
        }
    }
}

/* --- looking at a file, in the child --- */

typedef Status (*Look)(void);

/* All that an import does but for the writing; index and one parameter at a time are all the memory it takes. */
static Status stream(StateDict *dict, ParamSet *params)
{
    int *index = malloc((size_t)(params->count + 1) * sizeof *index);
    Status s = index ? state_dict_match(dict, params, index) : STATUS_NO_MEMORY;
    for (int i = 0; i < params->count && s == STATUS_OK; i++) {
        Param *param = params->items[i];
        param->value = malloc((param->size + 1) * sizeof(float));
        s = param->value ? state_dict_read_param(dict, &dict->items[index[i]], param)
                         : status_fail(STATUS_NO_MEMORY, "%s: no memory for %zu values", path, param->size);
        free(param->value);
        param->value = NULL;
    }
    free(index);
    return s;
}

static Status import_unet(StateDict *dict)
{
    TextUNetConfig c;
    TextUNet *m;
    TRY(text_unet_infer(dict, path, &c));
    if (c.unet.head_channels == 0) c.unet.head_channels = 8;
    if (c.text.heads == 0) c.text.heads = 2;
    TRY(text_unet_new_shapes(&c, &m) == STATUS_OK ? STATUS_OK : status_prefix(STATUS_BAD_INPUT, "%s", path));
    Status s = stream(dict, &m->params);
    text_unet_free(m);
    return s;
}

static Status import_classifier(StateDict *dict)
{
    ClassifierConfig c;
    Classifier *m;
    TRY(classifier_infer(dict, path, 0, &c));
    c.unet.head_channels = 16;
    TRY(classifier_new_shapes(&c, &m) == STATUS_OK ? STATUS_OK : status_prefix(STATUS_BAD_INPUT, "%s", path));
    Status s = stream(dict, &m->params);
    classifier_free(m);
    return s;
}

/* With the image encoder's place taken by itself: what can be told of the text encoder is told by the same functions. */
static Status import_clip(StateDict *dict)
{
    ClipConfig c;
    StateDict *text;
    TRY(state_dict_open(F "clip_text_enc.pt", NULL, &text));
    Status s = clip_infer(dict, path, text, F "clip_text_enc.pt", &c);
    Clip *m = NULL;
    c.image.heads = c.text.heads = 2;
    if (s == STATUS_OK && clip_new_shapes(&c, &m) != STATUS_OK) s = status_prefix(STATUS_BAD_INPUT, "%s", path);
    clip_free(m);
    state_dict_close(text);
    return s;
}

static Status look_at_pt(void)
{
    StateDict *dict;
    TRY(state_dict_open(path, NULL, &dict));
    Status s = state_dict_find(dict, "blocks.input.patch_proj") ? import_clip(dict)
               : state_dict_find(dict, "token_embedding.weight") ? import_unet(dict)
                                                                : import_classifier(dict);
    state_dict_close(dict);
    return s;
}

static Status look_at_h5(void)
{
    H5File *file;
    char kind[WEIGHTS_KIND_MAX] = "";
    TextUNet *unet = NULL;
    Classifier *classifier = NULL;
    Clip *clip = NULL;
    WeightsSummary summary;
    TRY(weights_open(path, NULL, &file));
    Status s = weights_kind(file, kind);
    if (s == STATUS_OK) s = weights_summary(file, &summary);
    h5file_close(file);
    TRY(s);
    s = !strcmp(kind, CLIP_KIND)         ? clip_load(path, &clip, NULL)
        : !strcmp(kind, CLASSIFIER_KIND) ? classifier_load(path, &classifier, NULL)
                                         : text_unet_load(path, NULL, &unet, NULL);
    text_unet_free(unet);
    classifier_free(classifier);
    clip_free(clip);
    return s;
}

/* Nothing may be allocated that the data segment has no room for. */
static void limit_memory(size_t file_size)
{
    long pages = 0, data = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (SANITIZED || !f) return; /* the sanitizer's shadow is larger than any limit */
    if (fscanf(f, "%ld %*d %*d %*d %*d %ld", &pages, &data) != 2) data = 0;
    fclose(f);
    rlim_t bytes = (rlim_t)data * (rlim_t)sysconf(_SC_PAGESIZE) + 2 * file_size + SLACK;
    setrlimit(RLIMIT_DATA, &(struct rlimit){bytes, bytes});
}

enum { LOOKED_OK, LOOKED_REFUSED, LOOKED_BADLY };

static int look_in_child(Look look, size_t size)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL); /* not cmocka's */
    alarm(20);
    limit_memory(size);
    Status s = look();
    const char *message = status_message();
    if (s == STATUS_OK) return LOOKED_OK;
    bool good = (s == STATUS_BAD_INPUT || s == STATUS_IO) && strstr(message, path) && strlen(message) < MESSAGE_MOST;
    for (const char *c = message; *c; c++) good = good && ((unsigned char)*c >= 32 && *c != 127);
    if (good) return LOOKED_REFUSED;
    fprintf(stderr, "status %d: %s\n", (int)s, message);
    return LOOKED_BADLY;
}

/* How often the saved file was still good: 0 or 1. */
static int look_at(Look look, size_t size, const char *what, uint32_t round)
{
    int how;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(look_in_child(look, size));
    assert_int_equal(waitpid(child, &how, 0), child);
    if (how != 0 && !(WIFEXITED(how) && WEXITSTATUS(how) == LOOKED_REFUSED))
        fail_msg("%s, round %u: wait status %x; the file is %s", what, round, (unsigned)how, path);
    return how == 0;
}

/* --- the files --- */

/* `rounds` mutations of a file, and a fifth as many truncations. */
static void torment(const char *name, Look look, uint32_t rounds, int *good)
{
    Dice dice = {.key = {.seed = 7, .stream = RNG_TEST}};
    Bytes b = load(name);
    uint8_t *copy = malloc(b.size);
    write_bytes(path, b.data, b.size);
    assert_int_equal(look_at(look, b.size, name, UINT32_MAX), 1); /* whole, it is good */
    for (uint32_t round = 0; round < rounds + rounds / 5; round++) {
        memcpy(copy, b.data, b.size);
        size_t size = round < rounds ? b.size : 1 + throw_below(&dice, b.size - 1);
        if (round < rounds) damage(&dice, copy, &b);
        write_bytes(path, copy, size);
        *good += look_at(look, size, name, round);
    }
    free(copy);
    free(b.data);
}

static uint32_t rounds_of(uint32_t rounds)
{
    return getenv("GLIDE_TEST_LONG") ? 10 * rounds : rounds;
}

static void test_archives(void **state)
{
    (void)state;
    int good = 0;
    torment(F "unet_inpaint.pt", look_at_pt, rounds_of(60), &good);
    torment(F "training.pt", look_at_pt, rounds_of(40), &good);
    torment(F "classifier_attention.pt", look_at_pt, rounds_of(40), &good);
    torment(F "clip_image_enc.pt", look_at_pt, rounds_of(40), &good);
    print_message("%d damaged archives could still be read\n", good);
}

/* The same with another pickle inside, and a checksum that fits: what a file could say if it wanted to. */
static void write_with_pickle(const char *original, const uint8_t *pickle, size_t size)
{
    zip_stat_t st;
    zip_t *from = zip_open(original, ZIP_RDONLY, NULL), *to;
    unlink(path);
    to = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_true(from && to);
    for (zip_int64_t i = 0; i < zip_get_num_entries(from, 0); i++) {
        const char *name = zip_get_name(from, (zip_uint64_t)i, 0);
        bool is_pickle = strlen(name) > 8 && !strcmp(name + strlen(name) - 8, "data.pkl");
        assert_int_equal(zip_stat_index(from, (zip_uint64_t)i, 0, &st), 0);
        zip_source_t *source = is_pickle ? zip_source_buffer(to, pickle, size, 0) : zip_source_zip(to, from, (zip_uint64_t)i, 0, 0, -1);
        zip_int64_t at = zip_file_add(to, name, source, 0);
        assert_true(at >= 0);
        zip_set_file_compression(to, (zip_uint64_t)at, ZIP_CM_STORE, 0);
    }
    assert_int_equal(zip_close(to), 0);
    zip_discard(from);
}

static Bytes load_pickle(const char *name)
{
    zip_t *zip = zip_open(name, ZIP_RDONLY, NULL);
    assert_non_null(zip);
    zip_int64_t at = 0;
    while (!strstr(zip_get_name(zip, (zip_uint64_t)at, 0), "data.pkl")) at++;
    zip_file_t *entry = zip_fopen_index(zip, (zip_uint64_t)at, 0);
    Bytes b = {.data = malloc(MOST_BYTES)};
    zip_int64_t n = zip_fread(entry, b.data, MOST_BYTES);
    assert_true(n > 0 && n < MOST_BYTES);
    b.size = (size_t)n;
    zip_fclose(entry);
    zip_discard(zip);
    return b;
}

static void torment_pickle(const char *name, uint32_t rounds, int *good)
{
    Dice dice = {.key = {.seed = 8, .stream = RNG_TEST}};
    Bytes b = load_pickle(name), whole = load(name);
    uint8_t *copy = malloc(b.size);
    for (uint32_t round = 0; round < rounds; round++) {
        memcpy(copy, b.data, b.size);
        uint32_t changes = 1 + throw_below(&dice, 3);
        for (uint32_t i = 0; i < changes; i++) { /* mostly numbers, by one bit or digit: more of it would be refused at once */
            size_t at = throw_below(&dice, b.size);
            copy[at] = throw_below(&dice, 2) ? copy[at] ^ (uint8_t)(1 << throw_below(&dice, 8)) : (uint8_t)throw_below(&dice, 256);
        }
        write_with_pickle(name, copy, b.size);
        *good += look_at(look_at_pt, whole.size, name, round);
    }
    free(copy);
    free(b.data);
    free(whole.data);
}

static void test_pickles(void **state)
{
    (void)state;
    int good = 0;
    torment_pickle(F "unet_inpaint.pt", rounds_of(60), &good);
    torment_pickle(F "classifier_attention.pt", rounds_of(40), &good);
    torment_pickle(F "clip_image_enc.pt", rounds_of(40), &good);
    print_message("%d archives with damaged pickles could still be read\n", good);
    assert_true(good > 0);
}

static void test_weights(void **state)
{
    (void)state;
    char name[128];
    int good = 0;
    TextUNet *m = tiny_model(false, 1);
    snprintf(name, sizeof name, "%s/base.h5", test_folder);
    write_model(m, name);
    text_unet_free(m);
    torment(name, look_at_h5, rounds_of(60), &good);

    StateDict *dict, *text;
    ClassifierConfig c;
    Classifier *classifier;
    OK(state_dict_open(F "classifier_attention.pt", NULL, &dict));
    OK(classifier_infer(dict, "c", 0, &c));
    c.unet.head_channels = 16;
    OK(classifier_import(dict, &c, &classifier));
    snprintf(name, sizeof name, "%s/classifier.h5", test_folder);
    OK(classifier_save(name, classifier, H5KIND_F32));
    classifier_free(classifier);
    state_dict_close(dict);
    torment(name, look_at_h5, rounds_of(40), &good);

    ClipConfig clip_config;
    Clip *clip;
    OK(state_dict_open(F "clip_image_enc.pt", NULL, &dict));
    OK(state_dict_open(F "clip_text_enc.pt", NULL, &text));
    OK(clip_infer(dict, "i", text, "t", &clip_config));
    clip_config.image.heads = clip_config.text.heads = 2;
    OK(clip_import(dict, text, &clip_config, &clip));
    snprintf(name, sizeof name, "%s/clip.h5", test_folder);
    OK(clip_save(name, clip, H5KIND_F16));
    clip_free(clip);
    state_dict_close(text);
    state_dict_close(dict);
    torment(name, look_at_h5, rounds_of(40), &good);
    print_message("%d damaged weights files could still be read\n", good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_archives),
        cmocka_unit_test(test_pickles),
        cmocka_unit_test(test_weights),
    };
    return cmocka_run_group_tests(tests, setup, test_folder_teardown);
}
