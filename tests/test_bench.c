/* Measured training steps: the workers' operations add up, and running blocks again saves memory. */
#include "base_model/base_model.h"
#include "glide/bench.h"
#include "tests/support_kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static BenchRun measure(Kernels *k, TextUNet *m, int workers, bool checkpoint_blocks)
{
    BenchRun run;
    BenchTraining t = {.type = DTYPE_F32, .side = 32, .batch = 6, .workers = workers, .checkpoint_blocks = checkpoint_blocks};
    assert_int_equal(STATUS_OK, bench_train(k, m, &t, &run));
    assert_true(run.seconds > 0 && run.seconds < 1000);
    return run;
}

static void test_training(void **state)
{
    (void)state;
    TextUNetConfig config;
    TextUNet *m;
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
    use_threads(2);
    assert_int_equal(STATUS_OK, base_model_config("tiny", &config));
    assert_int_equal(STATUS_OK, bench_random_model(&config, &m));
    float before = m->params.items[0]->value[0];
    BenchRun one = measure(k, m, 1, false), two = measure(k, m, 2, false), again = measure(k, m, 2, true);
    assert_true(m->params.items[0]->value[0] != before);
    assert_int_equal(one.workers, 1);
    assert_int_equal(two.workers, 2);
    assert_true(one.gflop > 0 && two.gflop / one.gflop > 0.999 && two.gflop / one.gflop < 1.001);
    assert_true(again.gflop > 1.1 * two.gflop);
    assert_true(again.peak_bytes < two.peak_bytes);
    text_unet_free(m);
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_training)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
