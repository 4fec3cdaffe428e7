/* Noise levels between timesteps and their spacings; processes made of them. What the authors' code gives is compared with in
 * test_parity.c (solvers.h5). */
#include "common/diffusion.h"
#include "common/noise_levels.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const schedules[] = {"linear", "squaredcos_cap_v2"};

/* There and back, at whole timesteps and between them. */
static void test_inverses(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        Diffusion d;
        OK(diffusion_init(&d, schedules[i], 1000, ""));
        const double *abar = d.alphas_cumprod;
        int kept = noise_levels_kept(abar, 1000);
        assert_int_equal(kept, i ? 996 : 1000);
        for (double t = 0; t < 999; t += 12.5) {
            double sigma = noise_levels_sigma(abar, 1000, t);
            assert_true(fabs(noise_levels_timestep(abar, 1000, sigma) - t) < 1e-8);
            if (t == (int)t) assert_true(fabs(noise_levels_abar_of(sigma) / abar[(int)t] - 1) < 1e-12);
            double time = (t + 1) / kept, at = noise_levels_abar_at(abar, kept, time);
            if (t <= kept - 1) assert_true(fabs(noise_levels_time_of(abar, kept, 0.5 * log(at / (1 - at))) - time) < 1e-9);
            if (t == (int)t) assert_true(fabs(at / abar[(int)t] - 1) < 1e-12);
        }
        assert_true(noise_levels_timestep(abar, 1000, 1e-9) == 0 && noise_levels_timestep(abar, 1000, 1e9) == 999);
        diffusion_release(&d);
    }
}

/* The levels of a process rise from timestep 0 to the last that says something, evenly in what their name says. */
static void test_processes(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        Diffusion whole, d;
        bool karras = i & 1;
        OK(diffusion_init(&whole, schedules[i / 2], 1000, ""));
        OK(diffusion_init(&d, schedules[i / 2], 1000, karras ? "karras20" : "logsnr20"));
        int last = noise_levels_kept(whole.alphas_cumprod, 1000) - 1;
        assert_true(d.num_timesteps == 20 && d.original_timesteps == 1000);
        assert_memory_equal(d.original_alphas_cumprod, whole.alphas_cumprod, 1000 * sizeof *whole.alphas_cumprod);
        assert_true(fabs(d.timesteps[0]) < 1e-9 && fabs(d.timesteps[19] - last) < 1e-6);
        assert_true(fabs(d.alphas_cumprod[0] - whole.alphas_cumprod[0]) < 1e-12);
        assert_true(fabs(d.alphas_cumprod[19] / whole.alphas_cumprod[last] - 1) < 1e-9);
        double stride[19];
        for (int s = 0; s < 20; s++) {
            double abar = d.alphas_cumprod[s], ratio = (1 - abar) / abar, at = karras ? pow(ratio, 0.5 / 7) : -0.5 * log(ratio);
            NoiseLevel level = diffusion_level(&d, s);
            assert_true(level.timestep == d.timesteps[s] && d.timestep_map[s] == s);
            assert_true(fabs(level.alpha * level.alpha - abar) < 1e-12);
            if (s) assert_true(abar < d.alphas_cumprod[s - 1] && d.timesteps[s] > d.timesteps[s - 1]);
            if (s < 19) stride[s] = -at;
            if (s) stride[s - 1] += at;
            if (s > 1) assert_true(fabs(stride[s - 1] / stride[0] - 1) < 1e-6);
        }
        diffusion_release(&whole);
        diffusion_release(&d);
    }
}

/* A process of whole timesteps given as levels is the respaced one; it may end before the picture. */
static void test_given_levels(void **state)
{
    Diffusion whole, respaced, d;
    double abar[10], timesteps[10];
    (void)state;
    OK(diffusion_init(&whole, "linear", 1000, ""));
    OK(diffusion_init(&respaced, "linear", 1000, "10"));
    for (int i = 0; i < 10; i++) {
        timesteps[i] = respaced.timestep_map[i];
        abar[i] = whole.alphas_cumprod[respaced.timestep_map[i]];
    }
    OK(diffusion_init_levels(&d, &whole, timesteps, abar, 10, 1));
    for (int i = 0; i < 10; i++) {
        assert_true(fabs(d.betas[i] - respaced.betas[i]) < 1e-12);
        assert_true(d.timesteps[i] == respaced.timesteps[i]);
    }
    diffusion_release(&d);
    OK(diffusion_init_levels(&d, &whole, timesteps + 1, abar + 1, 9, abar[0]));
    assert_true(d.alphas_cumprod_prev[0] == abar[0] && fabs(d.alphas_cumprod[8] / abar[9] - 1) < 1e-12);
    diffusion_release(&d);
    FAILS(diffusion_init_levels(&d, &whole, timesteps, abar, 10, abar[0]), STATUS_BAD_INPUT, "noise level 0");
    FAILS(diffusion_init_levels(&d, &whole, timesteps, abar, 10, 1.5), STATUS_BAD_INPUT, "noise level 0");
    FAILS(diffusion_init_levels(&d, &whole, timesteps, abar, 1, 1), STATUS_BAD_INPUT, "2");
    abar[4] = abar[3];
    FAILS(diffusion_init_levels(&d, &whole, timesteps, abar, 10, 1), STATUS_BAD_INPUT, "noise level 4");
    abar[4] = NAN;
    FAILS(diffusion_init_levels(&d, &whole, timesteps, abar, 10, 1), STATUS_BAD_INPUT, "noise level 4");
    diffusion_release(&d);
    diffusion_release(&respaced);
    diffusion_release(&whole);
}

static void test_texts(void **state)
{
    static const char *const bad[] = {"karras", "karras1", "karras1001", "karras-3", "karras20x", "logsnr", "logsnr5,5",
                                      "logsnr 2 3"};
    RespacingKind kind;
    int count;
    Diffusion d;
    (void)state;
    OK(respacing_count(1000, "karras20", &kind, &count));
    assert_true(kind == RESPACING_KARRAS && count == 20);
    OK(respacing_count(1000, "logsnr1000", &kind, &count));
    assert_true(kind == RESPACING_LOGSNR && count == 1000);
    OK(respacing_count(1000, "fast27", &kind, &count));
    assert_true(kind == RESPACING_WHOLE && count == 27);
    OK(respacing_count(1000, "", NULL, &count));
    assert_int_equal(count, 1000);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(respacing_count(1000, bad[i], &kind, &count), STATUS_BAD_INPUT, "timestep respacing");
        FAILS(diffusion_init(&d, "linear", 1000, bad[i]), STATUS_BAD_INPUT, "timestep respacing");
    }
    OK(diffusion_init(&d, "squaredcos_cap_v2", 2, "karras2")); /* the smallest process */
    diffusion_release(&d);
    OK(diffusion_init(&d, "linear", 1000, "logsnr1000"));
    for (int i = 0; i < 1000; i++) assert_true(isfinite(d.posterior_mean_coef1[i]) && d.betas[i] > 0);
    diffusion_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inverses),
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_given_levels),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
