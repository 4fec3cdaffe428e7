/* glide average: means to the bit, what one of two models alone is told, files that do not go together. */
#include "tests/support_cli.h"
#include "tests/support_models.h"
#include "tests/support_status.h"
#include "text_transformer/text_unet_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static TextUNet *load(const char *name)
{
    TextUNet *m;
    OK(text_unet_load(in_test_folder(name), NULL, &m, NULL));
    return m;
}

static const Param *parameter(const TextUNet *m, const char *name)
{
    const Param *p = params_find(&m->params, name);
    assert_non_null(p);
    return p;
}

static void means_are_of_every_value(void **state)
{
    (void)state;
    TextUNet *a = tiny_model(false, 1), *b = tiny_model(false, 2);
    write_model(a, in_test_folder("a.h5"));
    write_model(b, in_test_folder("b.h5"));
    cli_expect("$G average $D/a.h5 $D/b.h5 --share 0.25 -o $D/mean.h5 2>&1", 0, "mean.h5: 0.75 x ");
    text_unet_free(a);
    text_unet_free(b);
    a = load("a.h5");
    b = load("b.h5");
    TextUNet *mean = load("mean.h5");
    for (int i = 0; i < mean->params.count; i++) {
        const float *x = a->params.items[i]->value, *y = b->params.items[i]->value, *z = mean->params.items[i]->value;
        for (size_t j = 0; j < mean->params.items[i]->size; j++) {
            float want = 0.75f * x[j] + 0.25f * y[j], error = z[j] - want; /* written in half precision */
            if (!(error * error <= 1e-6f * want * want + 1e-14f)) fail_msg("%g, expected %g", (double)z[j], (double)want);
        }
    }
    cli_expect("cd $D && $G average a.h5 b.h5 --share 0 -o a0.h5 -q && $G export a0.h5 -q -o x.pt && mv x.pt a0.pt && "
               "$G export a.h5 -q -o x.pt && cmp a0.pt x.pt", 0, "");
    text_unet_free(a);
    text_unet_free(b);
    text_unet_free(mean);
}

/* A model for text alone and one for masks: the mean takes masks, half as heedful of them. */
static void masks_are_half_heeded(void **state)
{
    (void)state;
    static const char first[] = "input_blocks.0.0.weight";
    TextUNet *plain = tiny_model(false, 1), *masked = tiny_model(false, 2);
    OK(text_unet_add_inpaint(&masked));
    const Param *p = parameter(masked, first);
    for (size_t i = 0; i < p->size; i++) p->value[i] = (float)(i % 8 + 1) / 8;
    write_model(plain, in_test_folder("plain.h5"));
    write_model(masked, in_test_folder("masked.h5"));
    cli_expect("cd $D && $G average plain.h5 masked.h5 -o 1.h5 -q && $G average masked.h5 plain.h5 -o 2.h5 -q && $G export 1.h5 -q -o x.pt && "
               "mv x.pt 1.pt && $G export 2.h5 -q -o x.pt && cmp 1.pt x.pt", 0, "");
    TextUNet *mean = load("1.h5");
    assert_true(mean->config.inpaint);
    const Param *q = parameter(mean, first);
    assert_int_equal(7, q->dims[1]);
    for (int64_t i = 0; i < q->dims[0]; i++) /* (Cout,7,3,3): picture, known picture, mask */
        for (int64_t j = 3 * 9; j < 7 * 9; j++) assert_true(q->value[i * 63 + j] == p->value[i * 63 + j] / 2);
    text_unet_free(plain);
    text_unet_free(masked);
    text_unet_free(mean);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G average base.h5 base.h5 -o x.h5 && $G sample apple --weights x.h5 -q -n 1 " QUICK "-o mean.png && rm x.h5");
    cli_refuse("exec $G average base.h5 upsampler.h5 -o x.h5", "upsampler.h5: weights of kind \"upsampler\", expected \"base\"");
    cli_refuse("exec $G average upsampler.h5 base.h5 -o x.h5", "base.h5: weights of kind \"base\", expected \"upsampler\"");
    cli_refuse("exec $G average $R/data/weights/clip.h5 base.h5 -o x.h5", "clip.h5: weights of kind \"clip\", expected \"base\" or \"upsampler\"");
    cli_refuse("exec $G average base.h5 $R/data/weights/base.h5 -o x.h5", "base.h5: expected ");
    cli_refuse("exec $G average base.h5 nothing.h5 -o x.h5", "nothing.h5: ");
    cli_refuse("exec $G average base.h5 base.h5", "--output: expected a file");
    cli_refuse("exec $G average base.h5 base.h5 --share 1.5 -o x.h5", "--share: expected a number from 0 to 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_of_every_value),
        cmocka_unit_test(masks_are_half_heeded),
        cmocka_unit_test(strangers_are_refused),
    };
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
