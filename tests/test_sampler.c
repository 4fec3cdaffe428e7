/* Samplers on a model whose eps is known exactly: a Gaussian mixture. Steps are compared with formulas of
 * another form in double precision, whole runs with the distribution that must come out. */
#include "tests/support_mixture.h"
#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { H = MIXTURE_H, W = MIXTURE_W, PIXELS = MIXTURE_PIXELS, SIZE = MIXTURE_SIZE, MAX_ROWS = 512 };

/* The model itself: eps is -sigma times the gradient of log p. */
static void test_mixture(void **state)
{
    (void)state;
    Mixture m = mixture_make(3, 1);
    double x[SIZE], eps[SIZE];
    for (int i = 0; i < SIZE; i++) x[i] = 0.4 * cos(i);
    mixture_at(&m, x, 0.6, 0.8, eps);
    for (int i = 0; i < SIZE; i++) {
        double h = 1e-5, at = x[i];
        x[i] = at + h;
        double up = mixture_at(&m, x, 0.6, 0.8, NULL);
        x[i] = at - h;
        double down = mixture_at(&m, x, 0.6, 0.8, NULL);
        x[i] = at;
        assert_true(fabs(eps[i] + 0.8 * (up - down) / (2 * h)) < 1e-6);
    }
}

/* --- hooks that record and replay --- */

typedef struct Hooks {
    int64_t rows;
    int noise_calls, gradient_calls, denoised_calls, progress_calls, stop_at;
    double last_timestep;
} Hooks;

static float hook_noise(int64_t i, double timestep)
{
    return (float)(1.3 * sin(0.37 * (double)i + timestep));
}

static void draw_noise(void *ctx, const NoiseLevel *level, float *noise)
{
    Hooks *h = ctx;
    h->noise_calls++;
    for (int64_t i = 0; i < h->rows * SIZE; i++) noise[i] = hook_noise(i, level->timestep);
}

static Status gradient(void *ctx, const float *x_t, const NoiseLevel *level, float *grad)
{
    Hooks *h = ctx;
    h->gradient_calls++;
    for (int64_t i = 0; i < h->rows * SIZE; i++) grad[i] = 0.5f * x_t[i] - 0.3f * (float)level->alpha;
    return STATUS_OK;
}

static Status denoised(void *ctx, const NoiseLevel *level, float *x_0)
{
    Hooks *h = ctx;
    (void)level;
    h->denoised_calls++;
    for (int64_t i = 0; i < h->rows * SIZE; i += 4) x_0[i] = 1.5f; /* clamped after it */
    return STATUS_OK;
}

static int progress(void *ctx, const SamplerProgress *p)
{
    Hooks *h = ctx;
    h->progress_calls++;
    assert_int_equal(p->done, h->progress_calls);
    assert_true(p->n == h->rows && p->height == H && p->width == W && p->x && p->x_0);
    h->last_timestep = p->level.timestep;
    return p->done == h->stop_at;
}

/* --- one step against formulas in double --- */

typedef struct StepCase {
    const char *kind;
    bool clip, with_gradient, with_denoised;
    double eta;
} StepCase;

typedef struct Expected {
    double x, x_0;
} Expected;

/* Element i of a step: abars and betas only, none of the posterior's tables. */
static Expected expected_step(const StepCase *c, const Diffusion *d, int t, const float *x_in, float eps_in, float v,
                              int64_t i)
{
    double abar = d->alphas_cumprod[t], prev = t ? d->alphas_cumprod[t - 1] : 1, x = x_in[i], eps = eps_in;
    double alpha = sqrt(abar), sigma = sqrt(1 - abar), noise = hook_noise(i, d->timestep_map[t]);
    double grad = c->with_gradient ? (double)(0.5f * x_in[i]) - (double)(0.3f * (float)alpha) : 0;
    double x_0 = (x - sigma * eps) / alpha;
    if (c->with_denoised && i % 4 == 0) x_0 = 1.5;
    if (c->clip) x_0 = fmax(-1, fmin(1, x_0));
    eps = (x - alpha * x_0) / sigma;
    if (!strcmp(c->kind, "ddpm")) {
        double beta = 1 - abar / prev, tilde = (1 - prev) / (1 - abar) * beta;
        double first_tilde =
            (1 - d->alphas_cumprod[0]) / (1 - d->alphas_cumprod[1]) * (1 - d->alphas_cumprod[1] / d->alphas_cumprod[0]);
        double var = exp((v + 1) / 2 * log(beta) + (1 - v) / 2 * log(t ? tilde : first_tilde));
        double mean = (x - beta / sigma * eps) / sqrt(1 - beta) + var * grad; /* DDPM, equation 11 */
        return (Expected){mean + (t ? sqrt(var) * noise : 0), x_0};
    }
    if (c->with_gradient) { /* the score shifts, x_0 follows unclamped */
        eps -= sigma * grad;
        x_0 = (x - sigma * eps) / alpha;
    }
    if (!strcmp(c->kind, "ddim")) {
        double std = c->eta * sqrt((1 - prev) / (1 - abar) * (1 - abar / prev));
        return (Expected){sqrt(prev) * x_0 + sqrt(1 - prev - std * std) * eps + (t ? std * noise : 0), x_0};
    }
    double next = t + 1 < d->num_timesteps ? d->alphas_cumprod[t + 1] : 0;
    return (Expected){sqrt(next) * x_0 + sqrt(1 - next) * eps, x_0};
}

static void check_step(const StepCase *c, const Diffusion *d, int t)
{
    enum { N = 2 };
    Mixture m = mixture_make(3, N);
    Hooks h = {.rows = N};
    Denoiser denoiser = mixture_denoiser(&m);
    denoiser.gradient = c->with_gradient ? gradient : NULL;
    denoiser.denoised = c->with_denoised ? denoised : NULL;
    denoiser.gradient_ctx = denoiser.denoised_ctx = &h;
    SamplerOptions o;
    sampler_options_defaults(&o);
    o.kind = sampler_find(c->kind);
    o.eta = c->eta;
    o.clip_denoised = c->clip;
    o.noise = (SamplerNoise){draw_noise, &h};
    Sampler s;
    OK(sampler_init(&s, &o, d, &denoiser, N, H, W));
    float x[N * SIZE], before[N * SIZE];
    RngKey key = {5, RNG_TEST, (uint32_t)t, 0};
    rng_normal(&key, x, N * SIZE);
    for (int i = 0; i < N * SIZE; i++) x[i] = before[i] = x[i] * (float)fmax(d->sqrt_one_minus_alphas_cumprod[t], 0.4);
    OK(sampler_step(&s, x, t));
    double tolerance =
        3e-6 + 4e-7 / d->sqrt_alphas_cumprod[t]; /* x_0 = (x - sigma eps) / alpha cancels at high noise */
    for (int i = 0; i < N * SIZE; i++) {
        int64_t pixel = i / 3;
        Expected e =
            expected_step(c, d, t, before, s.prediction[pixel * 6 + i % 3], s.prediction[pixel * 6 + 3 + i % 3], i);
        if (!(fabs(x[i] - e.x) <= tolerance * (1 + fabs(e.x)) &&
              fabs(s.x_0[i] - e.x_0) <= tolerance * (1 + fabs(e.x_0))))
            fail_msg("%s eta %g clip %d gradient %d denoised %d step %d element %d: x %.8g, expected %.8g; x_0 %.8g, "
                     "expected %.8g",
                     c->kind, c->eta, c->clip, c->with_gradient, c->with_denoised, t, i, x[i], e.x, s.x_0[i], e.x_0);
    }
    assert_int_equal(m.calls, 1);
    assert_int_equal(h.noise_calls, o.kind->noisy ? 1 : 0); /* also at step 0 and with eta 0 */
    assert_int_equal(h.gradient_calls, c->with_gradient);
    assert_int_equal(h.denoised_calls, c->with_denoised);
    sampler_release(&s);
}

static void test_steps(void **state)
{
    (void)state;
    static const char *const processes[][2] = {{"linear", ""}, {"linear", "fast27"}, {"squaredcos_cap_v2", "8"}};
    for (size_t p = 0; p < 3; p++) {
        Diffusion d;
        OK(diffusion_init(&d, processes[p][0], 1000, processes[p][1]));
        int last = d.num_timesteps - 1;
        const int steps[] = {0, 1, last / 2, last - 1, last};
        for (int flags = 0; flags < 8; flags++)
            for (int i = 0; i < 5; i++) {
                StepCase c = {"ddpm", flags & 1, flags & 2, flags & 4, 0};
                check_step(&c, &d, steps[i]);
                c.kind = "ddim_reverse";
                check_step(&c, &d, steps[i]);
                c.kind = "ddim";
                for (c.eta = 0; c.eta <= 1; c.eta += 0.5) check_step(&c, &d, steps[i]);
            }
        diffusion_release(&d);
    }
}

/* --- whole runs --- */

/* From each row's own noise, or from x as it is given. */
static void run_from(Mixture *m, const char *kind, const Diffusion *d, const SamplerRow *rows, double eta, bool fresh,
                     float *x)
{
    Denoiser denoiser = mixture_denoiser(m);
    SamplerOptions o;
    sampler_options_defaults(&o);
    o.kind = sampler_find(kind);
    o.eta = eta;
    o.clip_denoised = false;
    o.rows = rows;
    Sampler s;
    OK(sampler_init(&s, &o, d, &denoiser, m->rows, H, W));
    if (fresh) sampler_initial_noise(&s, 1, x);
    OK(sampler_run(&s, x));
    assert_int_equal(m->calls, sampler_evaluations(o.kind, d->num_timesteps));
    sampler_release(&s);
}

static void run(Mixture *m, const char *kind, const char *respacing, const SamplerRow *rows, double eta, float *x)
{
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, respacing));
    run_from(m, kind, &d, rows, eta, true, x);
    diffusion_release(&d);
}

/* For one Gaussian the probability flow keeps (x - alpha mean) / std(x_t); DDIM follows it with an error of first
 * order. */
static void test_ddim_converges(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, ""));
    double alpha = d.sqrt_alphas_cumprod[999], worst[3];
    const char *respacings[] = {"20", "100", "500"};
    for (int r = 0; r < 3; r++) {
        Mixture m = mixture_make(1, 1);
        float start[SIZE], x[SIZE];
        RngKey key = {9, RNG_INIT_NOISE, 4, 0};
        rng_normal(&key, start, SIZE);
        SamplerRow row = {9, 4};
        run(&m, "ddim", respacings[r], &row, 0, x);
        worst[r] = 0;
        double std = m.stds[0], std_t = sqrt(alpha * alpha * std * std + 1 - alpha * alpha);
        for (int i = 0; i < SIZE; i++) {
            double exact = m.means[0][i] + std * (start[i] - alpha * m.means[0][i]) / std_t;
            worst[r] = fmax(worst[r], fabs(x[i] - exact));
        }
    }
    assert_true(worst[0] < 0.25 && worst[1] < worst[0] / 3 && worst[2] < worst[1] / 3);
    diffusion_release(&d);
}

/* Moments of many samples against the mixture's, in 4.5 standard deviations of each statistic and a little for the
 * steps. */
static void check_distribution(const char *kind, const char *respacing, double eta, float v)
{
    double count[MIXTURE_COMPONENTS] = {0}, sum2[MIXTURE_COMPONENTS] = {0}, offset[MIXTURE_COMPONENTS] = {0};
    Mixture m = mixture_make(3, MAX_ROWS);
    m.v = v;
    static float x[MAX_ROWS * SIZE];
    SamplerRow rows[MAX_ROWS];
    for (int i = 0; i < MAX_ROWS; i++) rows[i] = (SamplerRow){77, (uint32_t)i};
    run(&m, kind, respacing, rows, eta, x);
    for (int i = 0; i < MAX_ROWS; i++) {
        int nearest = 0;
        double best = INFINITY, along = 0;
        for (int k = 0; k < MIXTURE_COMPONENTS; k++) {
            double distance = 0;
            for (int j = 0; j < SIZE; j++) distance += pow(x[i * SIZE + j] - m.means[k][j], 2);
            if (distance < best) best = distance, nearest = k;
        }
        for (int j = 0; j < SIZE; j++) along += (x[i * SIZE + j] - m.means[nearest][j]) / sqrt(SIZE);
        count[nearest]++;
        sum2[nearest] += best / SIZE;
        offset[nearest] += along;
    }
    for (int k = 0; k < MIXTURE_COMPONENTS; k++) {
        double share = m.weights[k], var = m.stds[k] * m.stds[k];
        double share_std = sqrt(share * (1 - share) / MAX_ROWS), var_std = var * sqrt(2.0 / SIZE / count[k]);
        if (!(fabs(count[k] / MAX_ROWS - share) < 4.5 * share_std &&
              fabs(sum2[k] / count[k] - var) < 4.5 * var_std + 0.04 * var &&
              fabs(offset[k] / count[k]) < 4.5 * m.stds[k] / sqrt(count[k])))
            fail_msg("%s %s: component %d has share %g of %g, variance %g of %g, mean off by %g", kind, respacing, k,
                     count[k] / MAX_ROWS, share, sum2[k] / count[k], var, offset[k] / count[k]);
    }
}

static void test_distributions(void **state)
{
    (void)state;
    check_distribution("ddpm", "", 0, 1);
    check_distribution("ddpm", "500", 0, -1);
    check_distribution("ddim", "500", 0, 0);
    check_distribution("ddim", "500", 1, 0);
    check_distribution("euler_ancestral", "500", 1, 0);
    check_distribution("heun", "karras40", 0, 0);
    check_distribution("dpmpp_2m", "logsnr60", 0, 0);
    check_distribution("plms", "100", 0, 0);
}

/* Towards noise, where one Gaussian's picture becomes its own standardised values, and back again. */
static void test_ddim_reverse_run(void **state)
{
    (void)state;
    Mixture m = mixture_make(1, 2);
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, "500"));
    float x[2 * SIZE], start[2 * SIZE];
    RngKey key = {5, RNG_TEST, 0, 0};
    rng_normal(&key, x, 2 * SIZE);
    for (int i = 0; i < 2 * SIZE; i++) start[i] = x[i] = (float)(m.means[0][i % SIZE] + m.stds[0] * x[i]);
    run_from(&m, "ddim_reverse", &d, NULL, 0, false, x);
    double worst = 0;
    for (int i = 0; i < 2 * SIZE; i++) worst = fmax(worst, fabs(x[i] - (start[i] - m.means[0][i % SIZE]) / m.stds[0]));
    assert_true(worst < 0.05);
    m.calls = 0;
    run_from(&m, "ddim", &d, NULL, 0, false, x);
    for (int i = 0; i < 2 * SIZE; i++) worst = fmax(worst, fabs(x[i] - start[i]));
    assert_true(worst < 0.05);
    diffusion_release(&d);
}

/* A row has the same bits alone and in a batch, at any place in it, on any number of threads. */
static void test_rows_alone(void **state)
{
    (void)state;
    const SamplerRow rows[3] = {{1, 0}, {1, 5}, {2, 0}};
    const char *const kinds[] = {"ddpm", "ddim"};
    int threads = omp_get_max_threads();
    for (int k = 0; k < 2; k++) {
        float all[3 * SIZE], one[SIZE];
        Mixture batch = mixture_make(3, 3);
        omp_set_num_threads(3);
        run(&batch, kinds[k], "12", rows, 0.5, all);
        omp_set_num_threads(1);
        for (int r = 0; r < 3; r++) {
            Mixture alone = mixture_make(3, 1);
            run(&alone, kinds[k], "12", &rows[r], 0.5, one);
            assert_memory_equal(one, all + r * SIZE, sizeof one);
            assert_memory_not_equal(one, all + (r + 1) % 3 * SIZE, sizeof one);
        }
    }
    omp_set_num_threads(threads);
}

/* Stages draw independent noise; temperature scales it. */
static void test_initial_noise(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, "10"));
    Mixture m = mixture_make(1, 1);
    Denoiser denoiser = mixture_denoiser(&m);
    float x[3][SIZE];
    for (int i = 0; i < 3; i++) {
        SamplerOptions o;
        Sampler s;
        sampler_options_defaults(&o);
        o.stage = i == 1;
        OK(sampler_init(&s, &o, &d, &denoiser, 1, H, W));
        sampler_initial_noise(&s, i == 2 ? 0.5f : 1, x[i]);
        sampler_release(&s);
    }
    for (int i = 0; i < SIZE; i++) assert_true(x[0][i] != x[1][i] && x[2][i] == 0.5f * x[0][i]);
    diffusion_release(&d);
}

static Status failing_predict(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    (void)ctx, (void)x_t, (void)level, (void)out;
    return status_fail(STATUS_IO, "the model is gone");
}

static void test_progress_and_errors(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, "10"));
    Mixture m = mixture_make(2, 1);
    Hooks h = {.rows = 1};
    Denoiser denoiser = mixture_denoiser(&m), broken = {.predict = failing_predict};
    SamplerOptions o;
    Sampler s;
    float x[SIZE];
    sampler_options_defaults(&o);
    o.progress = progress;
    o.progress_ctx = &h;
    OK(sampler_init(&s, &o, &d, &denoiser, 1, H, W));
    sampler_initial_noise(&s, 1, x);
    OK(sampler_run(&s, x));
    assert_true(h.progress_calls == 10 && h.last_timestep == 0);
    h = (Hooks){.rows = 1, .stop_at = 3};
    assert_int_equal(sampler_run(&s, x), STATUS_INTERRUPTED);
    assert_true(h.progress_calls == 3 && h.last_timestep == d.timestep_map[7]);
    sampler_release(&s);

    OK(sampler_init(&s, &o, &d, &broken, 1, H, W));
    assert_int_equal(sampler_run(&s, x), STATUS_IO);
    assert_string_equal(status_message(), "the model is gone");
    sampler_release(&s);

    o.eta = 1.5;
    assert_int_equal(sampler_init(&s, &o, &d, &denoiser, 1, H, W), STATUS_BAD_INPUT);
    o.eta = 0.5;
    o.kind = sampler_find("ddim_reverse");
    assert_int_equal(sampler_init(&s, &o, &d, &denoiser, 1, H, W), STATUS_BAD_INPUT);
    o.eta = 0;
    assert_int_equal(sampler_init(&s, &o, &d, &denoiser, 0, H, W), STATUS_BAD_INPUT);
    assert_int_equal(sampler_init(&s, &o, &d, &denoiser, INT64_MAX / 8, 1 << 20, 1 << 20), STATUS_BAD_INPUT);
    sampler_release(&s);

    assert_null(sampler_find("plms3"));
    int count = 0;
    for (; sampler_kind(count); count++) assert_ptr_equal(sampler_find(sampler_kind(count)->name), sampler_kind(count));
    assert_true(count >= 3 && !sampler_kind(-1));
    diffusion_release(&d);
}

/* Noise that no step adds takes no memory. */
static void test_unused_noise(void **state)
{
    (void)state;
    Diffusion d;
    Mixture m = {0};
    Denoiser denoiser = mixture_denoiser(&m);
    OK(diffusion_init(&d, "linear", 1000, "10"));
    for (int i = 0; sampler_kind(i); i++) {
        const SamplerKind *kind = sampler_kind(i);
        for (int noisy = 0; noisy < 2; noisy++) {
            SamplerOptions o;
            Sampler s;
            sampler_options_defaults(&o);
            o.kind = kind;
            o.eta = noisy && !kind->ascending ? 0.5 : 0;
            OK(sampler_init(&s, &o, &d, &denoiser, 1, H, W));
            assert_int_equal(s.noise != NULL, kind->variance || (kind->noisy && o.eta > 0));
            assert_int_equal(s.noise != NULL, sampler_adds_noise(kind, o.eta));
            sampler_release(&s);
        }
    }
    assert_true(sampler_adds_noise(sampler_find("euler_a"), NAN) && !sampler_adds_noise(sampler_find("ddim"), NAN));
    diffusion_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixture),          cmocka_unit_test(test_steps),
        cmocka_unit_test(test_ddim_converges),   cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_ddim_reverse_run), cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_initial_noise),    cmocka_unit_test(test_progress_and_errors),
        cmocka_unit_test(test_unused_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
