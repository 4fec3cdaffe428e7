/* The cascade: each picture depends on its own prompt and row only, whatever it is made with. */
#include "base_model/base_model.h"
#include "glide/cascade.h"
#include "tests/support_models.h"
#include "upsampler/upsampler.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MOST = 6 };

typedef struct Fixture {
    Kernels *kernels;
    TextUNet *base, *upsampler;
    Cascade cascade;
    CascadeOptions options; /* few steps */
} Fixture;

static void check(Status s)
{
    if (s != STATUS_OK) fail_msg("%s", status_message());
}

static void fixture_with(Fixture *f, TextUNet *base, TextUNet *upsampler)
{
    *f = (Fixture){.base = base, .upsampler = upsampler};
    check(kernels_new(KERNELS_BEST, &f->kernels));
    f->cascade = (Cascade){f->kernels, base, upsampler};
    cascade_options_defaults(&f->options);
    f->options.base.steps = "4";
    f->options.upsampler.steps = "3";
}

static int setup(void **state)
{
    Fixture *f = malloc(sizeof *f);
    fixture_with(f, tiny_model(false, 1), tiny_model(true, 2));
    *state = f;
    return 0;
}

static void fixture_release(Fixture *f)
{
    text_unet_free(f->base);
    text_unet_free(f->upsampler);
    kernels_free(f->kernels);
}

static int teardown(void **state)
{
    fixture_release(*state);
    free(*state);
    return 0;
}

/* --- collecting pictures and progress --- */
typedef struct Result {
    Image pictures[MOST];
    int finished;
    double fraction;
    int calls;
    int stop_at; /* progress call that says stop; 0: never */
    int fail_at; /* picture that cannot be taken; -1: none */
} Result;

static int on_progress(void *ctx, const CascadeProgress *p)
{
    Result *r = ctx;
    assert_non_null(p->x_0);
    assert_true(p->step >= 1 && p->step <= p->steps);
    assert_true(p->fraction > r->fraction && p->fraction < 1 + 1e-9);
    assert_int_equal(p->side, p->upsampling ? TINY_UPSAMPLER_SIDE : TINY_BASE_SIDE);
    r->fraction = p->fraction;
    return ++r->calls == r->stop_at;
}

static Status on_finished(void *ctx, int64_t index, Image *picture)
{
    Result *r = ctx;
    assert_int_equal(index, r->finished);
    if (index == r->fail_at) return status_fail(STATUS_IO, "the disk is full");
    r->pictures[r->finished++] = *picture;
    *picture = (Image){0};
    return STATUS_OK;
}

static void result_release(Result *r)
{
    for (int i = 0; i < MOST; i++) image_release(&r->pictures[i]);
}

static Status run(const Fixture *f, const char *const *prompts, const SamplerRow *rows, int n, Result *r)
{
    CascadeHooks hooks = {.progress = on_progress, .finished = on_finished, .ctx = r};
    if (f->cascade.base && f->cascade.base->config.unet.image_size != TINY_BASE_SIDE) hooks.progress = NULL;
    return cascade_sample(&f->cascade, &f->options, &(CascadeInput){.n = n, .prompts = prompts, .rows = rows}, &hooks);
}

static void assert_same(const Image *a, const Image *b)
{
    assert_int_equal(a->w, b->w);
    assert_int_equal(a->h, b->h);
    assert_memory_equal(a->pixels, b->pixels, image_bytes(a));
}

static bool same(const Image *a, const Image *b)
{
    return a->w == b->w && a->h == b->h && !memcmp(a->pixels, b->pixels, image_bytes(a));
}

/* --- tests --- */
static const char *const prompts[MOST] = {"red apple", "a cat", "red apple", "a dog, twemoji emoji", "", "빨간 사과"};
static const SamplerRow rows[MOST] = {{1, 0}, {1, 1}, {1, 2}, {7, 0}, {7, 1}, {1, 0}};

static Image only(const Fixture *f, const char *prompt, SamplerRow row)
{
    Result r = {.fail_at = -1};
    check(run(f, &prompt, &row, 1, &r));
    assert_int_equal(r.finished, 1);
    return r.pictures[0];
}

/* All together on two threads, one by one on one to `most_threads`: the same bits. */
static void check_independence(Fixture *f, int n, int most_threads)
{
    Result together = {.fail_at = -1};
    omp_set_num_threads(2);
    check(run(f, prompts, rows, n, &together));
    assert_int_equal(together.finished, n);
    for (int threads = 1; threads <= most_threads; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < n; i++) {
            Image alone = only(f, prompts[i], rows[i]);
            assert_same(&alone, &together.pictures[i]);
            image_release(&alone);
        }
    }
    result_release(&together);
}

static void test_independence(void **state)
{
    Fixture *f = *state;
    static const char *const samplers[] = {"ddim", "ddpm"};
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++)
        for (int i = 0; i < 2; i++) {
            f->options.base.precision = f->options.upsampler.precision = (DType)type;
            f->options.base.sampler = samplers[i];
            check_independence(f, MOST, 2);
        }
    f->options.base.sampler = "ddim";
    f->options.base.precision = f->options.upsampler.precision = DTYPE_F32;
}

/* The shapes that the default weights have, where other kernels may be at work. */
static void test_independence_of_real_shapes(void **state)
{
    (void)state;
    Fixture f;
    TextUNetConfig base, upsampler;
    check(base_model_config("small", &base));
    check(upsampler_config("small", &upsampler));
    fixture_with(&f, random_model(&base, 3), random_model(&upsampler, 4));
    f.options.base.steps = f.options.upsampler.steps = "2";
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        f.options.base.precision = f.options.upsampler.precision = (DType)type;
        check_independence(&f, 2, 1);
    }
    fixture_release(&f);
}

static void test_what_pictures_depend_on(void **state)
{
    Fixture *f = *state;
    Image first = only(f, "red apple", rows[0]);
    assert_int_equal(first.w, TINY_UPSAMPLER_SIDE);
    Image others[6];
    others[0] = only(f, "a cat", rows[0]);
    others[1] = only(f, "red apple", (SamplerRow){2, 0});
    others[2] = only(f, "red apple", (SamplerRow){1, 1});
    f->options.base.guidance.terms[GUIDANCE_CFG].scale = 1;
    others[3] = only(f, "red apple", rows[0]);
    f->options.base.guidance.terms[GUIDANCE_CFG].scale = 3;
    f->options.upsampler.temperature = 0.5f;
    others[4] = only(f, "red apple", rows[0]);
    f->options.upsampler.temperature = 0.997f;
    f->options.base.steps = "5";
    others[5] = only(f, "red apple", rows[0]);
    f->options.base.steps = "4";
    for (int i = 0; i < 6; i++) {
        if (same(&first, &others[i])) fail_msg("change %d changed nothing", i);
        image_release(&others[i]);
    }
    Image again = only(f, "red apple", rows[0]);
    assert_same(&first, &again);
    image_release(&again);
    image_release(&first);
}

/* The upsampler sees exactly the 8-bit picture that the base model's result is shown as. */
static void test_two_halves(void **state)
{
    Fixture *f = *state;
    Image whole = only(f, "red apple", rows[1]);
    f->cascade.upsampler = NULL;
    Image small = only(f, "red apple", rows[1]);
    f->cascade.upsampler = f->upsampler;
    assert_int_equal(small.w, TINY_BASE_SIDE);
    Result r = {.fail_at = -1};
    CascadeHooks hooks = {.finished = on_finished, .ctx = &r};
    check(cascade_upsample(&f->cascade, &f->options, &small, "red apple", NULL, &rows[1], &hooks));
    assert_same(&whole, &r.pictures[0]);
    result_release(&r);

    Image twice = {0}, other = {0}; /* any size is resized first */
    r = (Result){.fail_at = -1};
    check(image_resize(&small, 3 * small.w, 2 * small.h, &twice));
    check(cascade_upsample(&f->cascade, &f->options, &twice, "red apple", NULL, &rows[1], &hooks));
    check(image_resize(&twice, small.w, small.h, &other));
    Image expected = r.pictures[0];
    r = (Result){.fail_at = -1};
    check(cascade_upsample(&f->cascade, &f->options, &other, "red apple", NULL, &rows[1], &hooks));
    assert_same(&expected, &r.pictures[0]);
    result_release(&r);
    image_release(&expected);
    image_release(&twice);
    image_release(&other);
    image_release(&small);
    image_release(&whole);
}

static void test_progress(void **state)
{
    Fixture *f = *state;
    Result r = {.fail_at = -1};
    check(run(f, prompts, rows, MOST, &r));
    assert_float_equal(r.fraction, 1, 1e-9);
    assert_int_equal(r.calls, 2 * 4 + MOST * 3); /* the base model makes four at once, then two */
    result_release(&r);
}

static void test_stopping(void **state)
{
    Fixture *f = *state;
    Result r = {.fail_at = -1, .stop_at = 2};
    assert_int_equal(run(f, prompts, rows, MOST, &r), STATUS_INTERRUPTED);
    assert_int_equal(r.finished, 0);
    result_release(&r);
    r = (Result){.fail_at = -1, .stop_at = 4 + 3 + 1}; /* in the second picture's upsampling: the first is done */
    assert_int_equal(run(f, prompts, rows, MOST, &r), STATUS_INTERRUPTED);
    assert_int_equal(r.finished, 1);
    Image first = only(f, prompts[0], rows[0]);
    assert_same(&first, &r.pictures[0]);
    image_release(&first);
    result_release(&r);
    r = (Result){.fail_at = 1};
    assert_int_equal(run(f, prompts, rows, MOST, &r), STATUS_IO);
    assert_string_equal(status_message(), "the disk is full");
    assert_int_equal(r.finished, 1);
    result_release(&r);
}

static void test_bad_options(void **state)
{
    Fixture *f = *state;
    static const char *const steps[] = {"0", "1", "1001", "abc", "ddim999", "-3"};
    Result r = {.fail_at = -1};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        f->options.base.steps = steps[i];
        assert_int_equal(run(f, prompts, rows, 1, &r), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), "base model: "));
        f->options.base.steps = "4";
        f->options.upsampler.steps = steps[i];
        assert_int_equal(run(f, prompts, rows, 1, &r), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), "upsampler: "));
        f->options.upsampler.steps = "3";
    }
    f->options.base.sampler = "magic";
    assert_int_equal(run(f, prompts, rows, 1, &r), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "magic"));
    f->options.base.sampler = "ddim";
    assert_int_equal(r.finished + r.calls, 0);
}

static void test_unfit_models(void **state)
{
    (void)state;
    TextUNet *m = tiny_model(false, 1);
    check(cascade_check_model(m, "m.h5"));
    m->config.unet.num_classes = 10;
    assert_int_equal(cascade_check_model(m, "m.h5"), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "m.h5: takes text and classes"));
    m->config.unet.num_classes = 0;
    m->config.unet.out_channels = 3;
    assert_int_equal(cascade_check_model(m, "m.h5"), STATUS_BAD_INPUT);
    m->config.unet.out_channels = 6;
    m->config.unet.image_size = 17;
    assert_int_equal(cascade_check_model(m, "m.h5"), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "image_size is 17"));
    m->config.unet.image_size = 16;
    Bpe *bpe = m->bpe;
    m->bpe = NULL;
    assert_int_equal(cascade_check_model(m, "m.h5"), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "no tokenizer"));
    m->bpe = bpe;
    text_unet_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_independence, setup, teardown),
        cmocka_unit_test(test_independence_of_real_shapes),
        cmocka_unit_test_setup_teardown(test_what_pictures_depend_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_halves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_progress, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_options, setup, teardown),
        cmocka_unit_test(test_unfit_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
