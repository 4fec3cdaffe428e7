/* Guidance where the answers are known exactly: x_0 from a mixture of Gaussians, the condition being other weights of the same
 * components. Guided samples go where theory says. */
#include "guidance/guided_denoiser.h"

#include "tests/support_mixture.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 160, K = MIXTURE_COMPONENTS, ALL = ROWS * MIXTURE_SIZE };

/* What the "models" know. */
typedef struct World {
    Mixture cond, uncond, weaker;
    double gradient_scale;
} World;

static World world_make(void)
{
    World w = {.cond = mixture_make(K, ROWS), .uncond = mixture_make(K, ROWS)};
    for (int k = 0; k < K; k++) {
        w.cond.weights[k] = k == 0 ? 0.5 : 0.25;
        w.uncond.weights[k] = 1.0 / 3;
        w.cond.stds[k] = w.uncond.stds[k] = 0.2;
    }
    w.weaker = w.cond;
    for (int k = 0; k < K; k++) w.weaker.stds[k] = 0.35;
    return w;
}

static void eps_at(const Mixture *m, const float *x_t, const NoiseLevel *level, double *eps)
{
    double x[MIXTURE_SIZE];
    for (int i = 0; i < MIXTURE_SIZE; i++) x[i] = x_t[i];
    mixture_at(m, x, level->alpha, level->sigma, eps);
}

static Status models(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    const World *w = ctx;
    const Mixture *of[] = {&w->cond, &w->uncond, &w->weaker};
    double eps[MIXTURE_SIZE];
    for (int which = 0; which < 3; which++) {
        for (int row = 0; row < ROWS && asks & 1u << which; row++, out += MIXTURE_PIXELS * 6) {
            eps_at(of[which], x_t + row * MIXTURE_SIZE, level, eps);
            for (int i = 0; i < MIXTURE_SIZE; i++) {
                out[i / 3 * 6 + i % 3] = (float)eps[i];
                out[i / 3 * 6 + 3 + i % 3] = 0;
            }
        }
    }
    return STATUS_OK;
}

/* Of log p(c|x_t) = log p(x_t|c) - log p(x_t) + constant. */
static Status gradient(void *ctx, const float *x_t, const NoiseLevel *level, float *grad)
{
    const World *w = ctx;
    double cond[MIXTURE_SIZE], uncond[MIXTURE_SIZE];
    for (int row = 0; row < ROWS; row++) {
        eps_at(&w->cond, x_t + row * MIXTURE_SIZE, level, cond);
        eps_at(&w->uncond, x_t + row * MIXTURE_SIZE, level, uncond);
        for (int i = 0; i < MIXTURE_SIZE; i++)
            grad[row * MIXTURE_SIZE + i] = (float)(-w->gradient_scale * (cond[i] - uncond[i]) / level->sigma);
    }
    return STATUS_OK;
}

static Guidance cfg(double scale)
{
    Guidance g;
    guidance_defaults(&g);
    g.terms[GUIDANCE_CFG].scale = scale;
    return g;
}

static void sample(World *w, const Guidance *g, const char *sampler, bool by_gradient, float *x)
{
    Diffusion d;
    GuidedDenoiser guided;
    SamplerOptions o;
    Sampler s;
    OK(diffusion_init(&d, "squaredcos_cap_v2", 1000, "40"));
    OK(guided_denoiser_init(&guided, g, models, w, ROWS, MIXTURE_H, MIXTURE_W));
    Denoiser denoiser = guided_denoiser(&guided);
    if (by_gradient) {
        denoiser.gradient = gradient;
        denoiser.gradient_ctx = w;
    }
    sampler_options_defaults(&o);
    o.kind = sampler_find(sampler);
    o.clip_denoised = false;
    OK(sampler_init(&s, &o, &d, &denoiser, ROWS, MIXTURE_H, MIXTURE_W));
    sampler_initial_noise(&s, 1, x);
    OK(sampler_run(&s, x));
    sampler_release(&s);
    guided_denoiser_release(&guided);
    diffusion_release(&d);
}

/* Share of the samples that lie nearest to component 0; *spread: their mean distance to the nearest mean, per dimension. */
static double share_of_first(const World *w, const float *x, double *spread)
{
    int count = 0;
    *spread = 0;
    for (int row = 0; row < ROWS; row++) {
        double least = INFINITY;
        int best = 0;
        for (int k = 0; k < K; k++) {
            double sum = 0;
            for (int i = 0; i < MIXTURE_SIZE; i++) sum += pow(x[row * MIXTURE_SIZE + i] - w->cond.means[k][i], 2);
            if (sum < least) best = k;
            least = fmin(least, sum);
        }
        count += best == 0;
        *spread += sqrt(least / MIXTURE_SIZE) / ROWS;
    }
    return (double)count / ROWS;
}

/* With components far apart, guidance multiplies their weights by (cond / uncond)^(scale - 1). */
static double expected_share(const World *w, double scale)
{
    double sum = 0, first = 0;
    for (int k = 0; k < K; k++) {
        double weight = w->cond.weights[k] * pow(w->cond.weights[k] / w->uncond.weights[k], scale - 1);
        sum += weight;
        if (k == 0) first = weight;
    }
    return first / sum;
}

static void test_cfg_tilts_weights(void **state)
{
    (void)state;
    static const char *const samplers[] = {"ddim", "heun", "dpmpp_2m"};
    static const double scales[] = {0, 1, 3, 6};
    World w = world_make();
    float *x = malloc(ALL * sizeof *x);
    for (int k = 0; k < 3; k++) {
        double last = 0, spread;
        for (int i = 0; i < 4; i++) {
            Guidance g = cfg(scales[i]);
            sample(&w, &g, samplers[k], false, x);
            double share = share_of_first(&w, x, &spread), expected = expected_share(&w, scales[i]);
            print_message("%s scale %g: component 0 has %.3f of the samples, theory %.3f; spread %.3f\n", samplers[k], scales[i],
                          share, expected, spread);
            assert_true(fabs(share - expected) < 0.12); /* three standard deviations of 160 draws */
            assert_true(share >= last);
            assert_true(fabs(spread - 0.2) < 0.03); /* within a component the condition says nothing */
            last = share;
        }
    }
    free(x);
}

/* The unconditional model with a classifier's gradient is classifier-free guidance: eps - sigma * scale * grad. */
static void test_score_shift_is_cfg(void **state)
{
    (void)state;
    static const char *const samplers[] = {"ddim", "euler", "heun", "dpmpp_2m", "plms"};
    World w = world_make();
    float *x = malloc(ALL * sizeof *x), *y = malloc(ALL * sizeof *y);
    w.gradient_scale = 3;
    for (int k = 0; k < 5; k++) {
        Guidance unconditional = cfg(0), guided = cfg(3);
        sample(&w, &unconditional, samplers[k], true, x);
        sample(&w, &guided, samplers[k], false, y);
        double most = 0;
        for (int i = 0; i < ALL; i++) most = fmax(most, fabs(x[i] - y[i]));
        print_message("%s: largest difference %.2g\n", samplers[k], most);
        assert_true(most < 2e-3);
    }
    free(x);
    free(y);
}

/* DDPM's mean shift moves samples as far as the score shift does. */
static void test_mean_shift(void **state)
{
    (void)state;
    World w = world_make();
    float *x = malloc(ALL * sizeof *x);
    double spread;
    w.gradient_scale = 3;
    Guidance unconditional = cfg(0);
    sample(&w, &unconditional, "ddpm", true, x);
    double share = share_of_first(&w, x, &spread), expected = expected_share(&w, 3);
    print_message("ddpm with gradient: component 0 has %.3f, theory %.3f; spread %.3f\n", share, expected, spread);
    assert_true(fabs(share - expected) < 0.12);
    free(x);
}

/* A weaker model that smears the components: guided away from it, samples lie nearer to the means. */
static void test_autoguidance_sharpens(void **state)
{
    (void)state;
    World w = world_make();
    float *x = malloc(ALL * sizeof *x);
    double last = INFINITY;
    for (int i = 0; i < 3; i++) {
        Guidance g = cfg(1);
        double spread;
        g.terms[GUIDANCE_AUTOGUIDANCE].scale = i;
        sample(&w, &g, "ddim", false, x);
        share_of_first(&w, x, &spread);
        print_message("autoguidance scale %d: spread %.3f\n", i, spread);
        if (i == 0) assert_true(fabs(spread - 0.2) < 0.02);
        assert_true(spread < 0.9 * last);
        last = spread;
    }
    free(x);
}

/* Algorithm 2 of CFG++ as it is written, in double. */
static void cfgpp_by_hand(const World *w, const Diffusion *d, double lambda, double *x)
{
    for (int step = d->num_timesteps - 1; step >= 0; step--) {
        NoiseLevel level = diffusion_level(d, step);
        double to = d->alphas_cumprod_prev[step];
        for (int row = 0; row < ROWS; row++) {
            double cond[MIXTURE_SIZE], uncond[MIXTURE_SIZE], *at = x + row * MIXTURE_SIZE;
            mixture_at(&w->cond, at, level.alpha, level.sigma, cond);
            mixture_at(&w->uncond, at, level.alpha, level.sigma, uncond);
            for (int i = 0; i < MIXTURE_SIZE; i++) {
                double eps = uncond[i] + lambda * (cond[i] - uncond[i]), x_0 = (at[i] - level.sigma * eps) / level.alpha;
                at[i] = sqrt(to) * x_0 + sqrt(1 - to) * uncond[i];
            }
        }
    }
}

static void test_cfgpp(void **state)
{
    (void)state;
    World w = world_make();
    float *x = malloc(ALL * sizeof *x);
    double *expected = malloc(ALL * sizeof *expected), most = 0;
    Diffusion d;
    Sampler s;
    SamplerOptions o;
    Guidance g = cfg(0.6);
    Denoiser none = mixture_denoiser(&w.cond);
    g.cfgpp = true;
    OK(diffusion_init(&d, "squaredcos_cap_v2", 1000, "40"));
    sampler_options_defaults(&o);
    OK(sampler_init(&s, &o, &d, &none, ROWS, MIXTURE_H, MIXTURE_W));
    sampler_initial_noise(&s, 1, x);
    sampler_release(&s);
    for (int i = 0; i < ALL; i++) expected[i] = x[i];
    cfgpp_by_hand(&w, &d, 0.6, expected);
    diffusion_release(&d);
    sample(&w, &g, "ddim", false, x);
    for (int i = 0; i < ALL; i++) most = fmax(most, fabs(x[i] - expected[i]));
    print_message("cfg++ against algorithm 2: largest difference %.2g\n", most);
    assert_true(most < 2e-3);
    free(x);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cfg_tilts_weights), cmocka_unit_test(test_score_shift_is_cfg), cmocka_unit_test(test_mean_shift),
        cmocka_unit_test(test_autoguidance_sharpens), cmocka_unit_test(test_cfgpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
