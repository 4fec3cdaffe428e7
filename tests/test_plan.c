/* What a call will cost: evaluations as the sampler asks for them, memory that does not fit. */
#include "common/system_memory.h"
#include "glide/plan.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static Glide *open_tiny(void)
{
    static char base[128], upsampler[128];
    Glide *g;
    GlideOptions o = glide_defaults();
    snprintf(base, sizeof base, "%s", in_test_folder("base.h5"));
    snprintf(upsampler, sizeof upsampler, "%s", in_test_folder("upsampler.h5"));
    o.weights = base;
    o.upsampler_weights = upsampler;
    assert_int_equal(glide_open(&o, &g), GLIDE_OK);
    return g;
}

static void test_counts(void **state)
{
    (void)state;
    static const struct {
        const char *sampler, *steps, *interval;
        double scale, answers;
    } cases[] = {{"ddim", "10", NULL, 3, 20}, {"ddim", "10", NULL, 1, 10}, {"ddim", "10", NULL, 0, 10},
                 {"ddim", "10", ":500", 3, 15}, {"dpmpp_2m", "10", NULL, 3, 20}, {"plms", "10", NULL, 3, 22}};
    Glide *g = open_tiny();
    Plan p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        GlideSampleOptions o = glide_sample_defaults();
        o.n = 6;
        o.sampler = cases[i].sampler;
        o.steps = cases[i].steps;
        o.upsampler_steps = "4";
        o.guidance.cfg = (GlideGuidanceTerm){cases[i].scale, cases[i].interval, NULL};
        assert_int_equal(plan_sample(g, &o, &p), STATUS_OK);
        if (p.base.answers != cases[i].answers) fail_msg("case %d: %g evaluations", (int)i, p.base.answers);
        assert_int_equal(p.base.steps, 10);
        assert_int_equal(p.base.rows, 4); /* at once */
        assert_true(p.upsampler.takes_part && p.upsampler.answers == 4 && p.upsampler.width == TINY_UPSAMPLER_SIDE);
        assert_true(p.bytes > p.weight_bytes && p.weight_bytes > 0);
        o.upsample = false;
        assert_int_equal(plan_sample(g, &o, &p), STATUS_OK);
        assert_false(p.upsampler.takes_part);
        o.sampler = "magic";
        assert_int_equal(plan_sample(g, &o, &p), STATUS_BAD_INPUT);
    }
    glide_close(g);
}

static void test_memory(void **state)
{
    (void)state;
    assert_true(memory_free() > 0 && memory_free() <= memory_total());
    assert_true(memory_used() > 1e6 && memory_used() < memory_total());
    assert_int_equal(plan_check_memory(1), STATUS_OK);
    assert_int_equal(plan_check_memory(1e19), STATUS_NO_MEMORY);
    assert_non_null(strstr(status_message(), "needs about 10000000000.00 GB of memory, and "));
}

static void test_measure(void **state)
{
    (void)state;
    Glide *g = open_tiny();
    GlideSampleOptions o = glide_sample_defaults();
    Plan p;
    o.n = 3;
    assert_int_equal(plan_sample(g, &o, &p), STATUS_OK);
    assert_int_equal(plan_measure(g, "cat", &o, &p), STATUS_OK);
    assert_true(p.base.seconds_a_picture > 0 && p.upsampler.seconds_a_picture > 0);
    double sum = 3 * (p.base.seconds_a_picture + p.upsampler.seconds_a_picture);
    assert_true(p.seconds > 0.999 * sum && p.seconds < 1.001 * sum);
    glide_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_memory), cmocka_unit_test(test_measure)};
    return cmocka_run_group_tests(tests, tiny_weights_setup, tiny_weights_teardown);
}
