/* DPM-Solver++ (arXiv 2211.01095): with lambda = log(alpha/sigma), and x_0 as a function of it,
 *     x(t) = sigma_t/sigma_s x(s) + sigma_t times the integral of e^lambda x_0(lambda) from lambda_s to lambda_t.
 * x_0 is a polynomial in lambda - lambda_s, in units of the step h: D0 + D1 u + D2 u^2, whose terms' integrals, divided by
 * alpha_t, are -phi_1, phi_2 and -2 phi_3. */
#include "common/sampler.h"

#include <math.h>

typedef struct Integrals {
    double of_x, h, of_d0, of_d1, of_d2; /* of_d1, of_d2: for finite h */
} Integrals;

static Integrals integrals(double lambda, double sigma, const NoiseLevel *to)
{
    Integrals i = {.of_x = to->sigma / sigma, .h = sampler_lambda(to) - lambda};
    double phi_1 = expm1(-i.h), phi_2 = phi_1 / i.h + 1, phi_3 = phi_2 / i.h - 0.5;
    i.of_d0 = -to->alpha * phi_1;
    i.of_d1 = to->alpha * phi_2;
    i.of_d2 = -2 * to->alpha * phi_3;
    return i;
}

/* --- multistep (algorithm 2, and its extension by a third level) ------------------------------------- */

/* The last steps are the longest in lambda, where what is remembered says little: short runs end with low orders (the authors'
 * lower_order_final), and runs to the picture do, whose last step, with lambda infinite, is of order 1: x_0. */
static int order_of_step(const Sampler *s, int order)
{
    const int short_run = 10;
    int left = s->level.step + 1, known = s->taken + 1;
    bool to_picture = s->diffusion->alphas_cumprod_prev[0] == 1;
    if ((to_picture || s->diffusion->num_timesteps < short_run) && order > left) order = left;
    return order < known ? order : known;
}

/* `second`: share of D2 that is used. */
static Status multistep(Sampler *s, int order, double second, float *x)
{
    NoiseLevel next = sampler_next(s);
    TRY(sampler_denoise(s, x));
    const float *const pictures[] = {s->x_0, s->memory[0], s->memory[1]};
    order = order_of_step(s, order);
    const double lambda[] = {sampler_lambda(&s->level), s->remembered[0], s->remembered[1]};
    Integrals i = integrals(lambda[0], s->level.sigma, &next);
    double factors[3] = {i.of_d0};
    if (order == 2) { /* D1 = (x_0 - x_0') / r, whose integral is taken to be half of D0's */
        double to_d1 = 0.5 * i.of_d0 * i.h / (lambda[0] - lambda[1]);
        factors[0] += to_d1;
        factors[1] = -to_d1;
    }
    if (order == 3) { /* a, b: slopes of the last two stretches; D2 = (a - b) / (r_0 + r_1), D1 = a + r_0 D2 */
        double r_0 = (lambda[0] - lambda[1]) / i.h, r_1 = (lambda[1] - lambda[2]) / i.h;
        double to_d2 = (i.of_d1 * r_0 + second * i.of_d2) / (r_0 + r_1), to_a = (i.of_d1 + to_d2) / r_0, to_b = -to_d2 / r_1;
        factors[0] += to_a;
        factors[1] = to_b - to_a;
        factors[2] = -to_b;
    }
    sampler_mix(s, x, i.of_x, order, pictures, factors);
    sampler_mix(s, sampler_remember(s), 0, 1, pictures, (const double[]){1});
    return STATUS_OK;
}

Status sampler_step_dpmpp_2m(Sampler *s, float *x)
{
    return multistep(s, 2, 0, x);
}

/* The authors' code has phi_3 D2 where the integral is 2 phi_3 D2, and is what people know by this name. */
Status sampler_step_dpmpp_3m(Sampler *s, float *x)
{
    return multistep(s, 3, 0.5, x);
}

Status sampler_step_dpmpp_3m_full(Sampler *s, float *x)
{
    return multistep(s, 3, 1, x);
}

/* --- singlestep (algorithm 1, and DPM-Solver-3 likewise) --------------------------------------------- */

/* The levels left are shared out from the first step on: groups of `order`, then what is left over (the authors' way), of
 * which the step to the picture is one alone. Returns the group's size; *place is the step's in it. */
static int group_of_step(int steps, int taken, int order, bool to_picture, int *place)
{
    int whole = steps / order * order, rest = steps % order;
    if (order == 3 && rest == 0) whole -= 3, rest = 3; /* as 2 and 1 */
    if (order == 2 && rest == 0 && to_picture) whole -= 2, rest = 2; /* as 1 and 1 */
    *place = taken % order;
    if (taken < whole) return order;
    *place = taken - whole;
    int first = rest == 3 ? 2 : rest == 2 && to_picture ? 1 : rest;
    if (*place < first) return first;
    *place -= first;
    return rest - first;
}

/* memory[0]: x at the group's first level, [1]: x_0 there, each with its lambda; what is between them is not kept. */
static Status singlestep(Sampler *s, int order, float *x)
{
    NoiseLevel next = sampler_next(s);
    int place, taken = s->taken;
    int size = group_of_step(s->level.step + 1 + taken, taken, order, s->diffusion->alphas_cumprod_prev[0] == 1, &place);
    TRY(sampler_denoise(s, x));
    const float *const here[] = {x, s->x_0};
    if (place == 0) {
        sampler_mix(s, sampler_remember(s), 0, 1, here + 1, (const double[]){1});
        sampler_mix(s, sampler_remember(s), 0, 1, here, (const double[]){1});
        sampler_move(s, &next, x);
        return STATUS_OK;
    }
    NoiseLevel first = diffusion_level(s->diffusion, s->level.step + place);
    double lambda = s->remembered[0];
    Integrals i = integrals(lambda, first.sigma, &next);
    double r = (sampler_lambda(&s->level) - lambda) / i.h; /* of the step to `next` */
    double to_d1 = place + 1 == size && size == 2 ? 0.5 * i.of_d0 / r : i.of_d1 / r;
    const float *const pictures[] = {s->memory[0], s->memory[1], s->x_0};
    sampler_mix(s, x, 0, 3, pictures, (const double[]){i.of_x, i.of_d0 - to_d1, to_d1});
    return STATUS_OK;
}

Status sampler_step_dpmpp_2s(Sampler *s, float *x)
{
    return singlestep(s, 2, x);
}

Status sampler_step_dpmpp_3s(Sampler *s, float *x)
{
    return singlestep(s, 3, x);
}
