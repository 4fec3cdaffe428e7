/* Masks for training inpainting models. */
#include "data/masks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SIDE = 64, ROWS = 600 };

/* Zeros and ones; some masks show nothing, none shows all; the rest erase between a little and most of the picture. */
static void test_shares(void **state)
{
    (void)state;
    float *masks = malloc(sizeof(float) * ROWS * SIDE * SIDE);
    int nothing = 0, little = 0, half = 0, covered[SIDE * SIDE] = {0};
    masks_draw(1, 2, 0, 0.1, ROWS, SIDE, masks);
    for (int row = 0; row < ROWS; row++) {
        int erased = 0;
        for (int i = 0; i < SIDE * SIDE; i++) {
            float m = masks[row * SIDE * SIDE + i];
            assert_true(m == 0 || m == 1);
            erased += m == 0;
            covered[i] += m == 0;
        }
        assert_true(erased > 0);
        nothing += erased == SIDE * SIDE;
        little += erased < SIDE * SIDE / 4;
        half += erased > SIDE * SIDE / 2;
    }
    assert_in_range(nothing, ROWS / 20, ROWS / 6);
    assert_true(little > ROWS / 5 && half > ROWS / 4);
    for (int i = 0; i < SIDE * SIDE; i++) assert_in_range(covered[i], ROWS / 8, ROWS * 7 / 8); /* no pixel is always known */
    masks_draw(1, 2, 0, 1, ROWS, SIDE, masks);
    for (int i = 0; i < ROWS * SIDE * SIDE; i++) assert_true(masks[i] == 0);
    masks_draw(1, 2, 0, 0, ROWS, SIDE, masks);
    for (int row = 0; row < ROWS; row++) {
        int known = 0;
        for (int i = 0; i < SIDE * SIDE; i++) known += masks[row * SIDE * SIDE + i] == 1;
        assert_true(known > 0);
    }
    free(masks);
}

/* A row's mask depends on seed, step and row, not on the batch; it looks alike at another size. */
static void test_rows(void **state)
{
    (void)state;
    static float three[3 * SIDE * SIDE], one[SIDE * SIDE], large[4 * SIDE * SIDE];
    int differ = 0;
    masks_draw(7, 5, 10, 0.1, 3, SIDE, three);
    masks_draw(7, 5, 12, 0.1, 1, SIDE, one);
    assert_memory_equal(one, three + 2 * SIDE * SIDE, sizeof one);
    masks_draw(7, 6, 12, 0.1, 1, SIDE, one);
    assert_memory_not_equal(one, three + 2 * SIDE * SIDE, sizeof one);
    masks_draw(7, 6, 12, 0.1, 1, 2 * SIDE, large);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) differ += one[y * SIDE + x] != large[4 * y * SIDE + 2 * x];
    assert_true(differ < SIDE * SIDE / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
