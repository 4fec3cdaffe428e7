"""Fixture of the solvers (solvers.h5), in double precision on a mixture of Gaussians; part of make_fixtures.py.

  python3 tests/reference/make_solvers.py DIR [--seed N]

Written from the papers: DPM-Solver++ arXiv 2211.01095 (times and the interpolated schedule: DPM-Solver 2206.00927), the samplers of
2206.00364 with ancestral steps, dynamic thresholding 2205.11487.
"""
import os
import h5py, numpy as np
from fixture_files import arguments, save


# --- DPM-Solver++ ------------------------------------------------------------------------------------------------

class Clock:
    """Times in (0, 1] over the steps of a schedule whose half log SNR is -5.1 or more; log alpha is linear between steps."""
    def __init__(self, abar):
        self.all, half_log_snr = len(abar), 0.5 * np.log(abar / (1 - abar))
        self.log_alpha = 0.5 * np.log(abar[half_log_snr >= -5.1])
        self.n = len(self.log_alpha)
        self.at = np.arange(1, self.n + 1) / self.n

    def interpolate(self, x, xs, ys):
        i = np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2)
        return ys[i] + (ys[i + 1] - ys[i]) * (x - xs[i]) / (xs[i + 1] - xs[i])

    def alpha(self, t): return np.exp(self.interpolate(t, self.at, self.log_alpha))
    def sigma(self, t): return np.sqrt(1 - self.alpha(t) ** 2)
    def half_log_snr(self, t): return np.log(self.alpha(t) / self.sigma(t))
    def told(self, t): return (t - 1 / self.n) * self.all

    def inverse(self, lam):
        return self.interpolate(-0.5 * np.log1p(np.exp(-2 * lam)), self.log_alpha[::-1], self.at[::-1])

    def times(self, skip, first, last, n):
        if skip == "logSNR": return self.inverse(np.linspace(self.half_log_snr(first), self.half_log_snr(last), n + 1))
        return np.linspace(first, last, n + 1) if skip == "time_uniform" else np.linspace(first ** 0.5, last ** 0.5, n + 1) ** 2


def multistep(clock, times, order, x, predict):
    """predict(x, t) -> x_0; x after each step. The third-order term is half of what the integral is, as published."""
    n, known, xs = len(times) - 1, [], []
    for i, (s, t) in enumerate(zip(times, times[1:])):
        known = [(predict(x, s), clock.half_log_snr(s))] + known[:2]
        k = min(order, i + 1, n - i if n < 10 else order)
        h, a = clock.half_log_snr(t) - clock.half_log_snr(s), clock.alpha(t)
        slope = [(known[j][0] - known[j + 1][0]) / ((known[j][1] - known[j + 1][1]) / h) for j in range(k - 1)]
        i_0 = -np.expm1(-h); i_1 = 1 - i_0 / h; i_2 = 1 - 2 * i_1 / h
        x = clock.sigma(t) / clock.sigma(s) * x + a * i_0 * known[0][0]
        if k == 2: x = x + 0.5 * a * i_0 * slope[0]
        if k == 3:
            r_0, r_1 = ((known[j][1] - known[j + 1][1]) / h for j in (0, 1))
            second = (slope[0] - slope[1]) / (r_0 + r_1)
            x = x + a * i_1 * (slope[0] + r_0 * second) + 0.5 * a * i_2 * second
        xs.append(x)
    return xs


def groups(n, order):
    if order == 3: return [3] * (n // 3 - 1) + [2, 1] if n % 3 == 0 else [3] * (n // 3) + [n % 3]
    return [order] * (n // order) + [n % order] * (n % order > 0)


def singlestep(clock, skip, n, order, x, predict):
    sizes, xs = groups(n, order), []
    if skip == "logSNR": outer = clock.times(skip, 1, 1 / clock.n, len(sizes))
    else: outer = clock.times(skip, 1, 1 / clock.n, n)[np.cumsum([0] + sizes)]
    for s, end, k in zip(outer, outer[1:], sizes):
        inner, lam, start, known = clock.times(skip, s, end, k), clock.half_log_snr, x, []
        for j in range(k):
            known.append(predict(x, inner[j]))
            t = inner[j + 1]; h = lam(t) - lam(s); i_0 = -np.expm1(-h)
            weight = 0.5 * i_0 if k == 2 else 1 - i_0 / h
            x = clock.sigma(t) / clock.sigma(s) * start + clock.alpha(t) * i_0 * known[0]
            if j: x = x + clock.alpha(t) * weight * (known[j] - known[0]) * h / (lam(inner[j]) - lam(s))
        xs.append(x)
    return xs


def corrected(x_0, how, ratio, most):
    if how == "clamp": return np.clip(x_0, -1, 1)
    if how != "dynamic_thresholding": return x_0
    limit = np.maximum(np.quantile(np.abs(x_0), ratio, axis=1, keepdims=True), most)
    return np.clip(x_0, -limit, limit) / limit


def dpm_run(g, clock, eps, x_T, order, steps, skip, correct="none", method="multistep"):
    told, attrs = [], dict(algorithm="dpmsolver++", order=order, steps=steps, skip_type=skip, correct_x0=correct)
    if method != "multistep": attrs["method"] = method
    if correct == "dynamic_thresholding": attrs.update(ratio=0.8, max_val=0.4)
    for key, value in attrs.items(): g.attrs[key] = np.bytes_(value) if isinstance(value, str) else value

    def predict(x, t):
        told.append(clock.told(t))
        return corrected((x - clock.sigma(t) * eps(x, told[-1])) / clock.alpha(t), correct, 0.8, 0.4)

    times = clock.times(skip, 1, 1 / clock.n, steps)
    if method == "multistep": xs = [x_T] + multistep(clock, times, order, x_T, predict)
    else: xs = singlestep(clock, skip, steps, order, x_T, predict)
    save(g, "x", np.stack(xs)); save(g, "x_f64", xs[-1], "f64"); save(g, "t_input", told)
    if method == "multistep": save(g, "times", times)


# --- k-diffusion -------------------------------------------------------------------------------------------------

def k_run(g, sigma_to_t, eps, x, sigmas, sigmas_name, noise, sampler, s_churn=0.0, s_tmin=0.0, s_tmax=np.inf, s_noise=1.0, eta=1.0):
    told, xs, n, old, used = [], [], len(sigmas) - 1, None, 0
    g.attrs["sampler"], g.attrs["sigmas"] = np.bytes_(sampler), np.bytes_(sigmas_name)
    if s_churn: g.attrs["s_churn"], g.attrs["s_tmin"], g.attrs["s_tmax"], g.attrs["s_noise"] = s_churn, s_tmin, s_tmax, s_noise
    if sampler == "euler_ancestral": g.attrs["eta"], g.attrs["s_noise"] = eta, s_noise

    def slope(x, sigma):
        told.append(sigma_to_t(sigma))
        return eps(x / np.sqrt(1 + sigma ** 2), told[-1])

    x = x * sigmas[0]
    for i, (sigma, to) in enumerate(zip(sigmas, sigmas[1:])):
        if s_churn and s_tmin <= sigma <= s_tmax:
            more = sigma * (1 + min(s_churn / n, 2 ** 0.5 - 1))
            x, sigma = x + noise[i] * s_noise * np.sqrt(more ** 2 - sigma ** 2), more
        xs.append(x)
        d = slope(x, sigma)
        if sampler == "dpmpp_2m":
            x_0, ratio = x - sigma * d, to / sigma
            target = x_0
            if old is not None and to > 0:
                r = np.log(sigmas[i - 1] / sigma) / np.log(sigma / to)
                target = (1 + 0.5 / r) * x_0 - 0.5 / r * old
            x, old = ratio * x + (1 - ratio) * target, x_0
            continue
        up = min(to, eta * to / sigma * np.sqrt(sigma ** 2 - to ** 2)) if sampler == "euler_ancestral" else 0
        there = x + d * (np.sqrt(to ** 2 - up ** 2) - sigma)
        if sampler == "heun" and to > 0: there = x + 0.5 * (d + slope(there, to)) * (to - sigma)
        x = there + noise[i] * s_noise * up
    used = n if s_churn or sampler in ("euler", "heun") else n - 1 if sampler == "euler_ancestral" else 0
    save(g, "x", np.stack(xs + [x])); save(g, "x_f64", x, "f64"); save(g, "t_input", told); save(g, "noise_used", np.array([used]))


def k_runs(g, abar, eps, x_T, rng, n=13, least=0.05, most=60.0, rho=5.0):
    log_sigma = 0.5 * np.log((1 - abar) / abar)
    sigma_to_t = lambda sigma: np.interp(np.log(sigma), log_sigma, np.arange(len(abar)))
    karras = np.append(np.linspace(most ** (1 / rho), least ** (1 / rho), n) ** rho, 0).astype(np.float32)
    even = np.append(np.exp(np.interp(np.linspace(len(abar) - 1, 0, n), np.arange(len(abar)), log_sigma)), 0)
    noise = rng.standard_normal((n, *x_T.shape)).astype(np.float32)
    for key, value in dict(n=n, sigma_min=least, sigma_max=most, rho=rho).items(): g.attrs[key] = value
    save(g, "sigmas_karras", karras, "input"); save(g, "sigmas_discrete", even); save(g, "noise", noise, "input")
    save(g, "sigma_to_t", sigma_to_t(karras[:-1].astype(np.float64)))
    wide = karras.astype(np.float64)
    run = lambda name, *a, **k: k_run(g.create_group(name), sigma_to_t, eps, x_T, wide, "sigmas_karras", noise, *a, **k)
    for sampler in ("euler", "heun", "dpmpp_2m", "euler_ancestral"): run(sampler, sampler)
    run("ancestral_half", "euler_ancestral", eta=0.5, s_noise=0.9)
    run("euler_churn", "euler", s_churn=6.0, s_tmin=0.2, s_tmax=20.0, s_noise=1.01)
    run("heun_churn", "heun", s_churn=2.0)
    if even[0] < 500: k_run(g.create_group("heun_even"), sigma_to_t, eps, x_T, even, "sigmas_discrete", noise, "heun")


# --- the file ----------------------------------------------------------------------------------------------------

def mixture_eps(abar, weights, means, stds):
    log_alpha = 0.5 * np.log(abar)
    def eps(x, t):
        i = int(np.clip(np.floor(t), 0, len(abar) - 2))
        alpha = np.exp(log_alpha[i] + (log_alpha[i + 1] - log_alpha[i]) * (t - i)); sigma = np.sqrt(1 - alpha ** 2)
        var, off = (alpha * stds) ** 2 + sigma ** 2, x[:, None] - alpha * means
        log_p = np.log(weights) - 0.5 * x.shape[1] * np.log(var) - 0.5 * (off ** 2).sum(-1) / var
        share = np.exp(log_p - log_p.max(1, keepdims=True)); share /= share.sum(1, keepdims=True)
        return sigma * (share[..., None] * off / var[:, None]).sum(1)
    return eps


def make_solvers(folder, betas_of, seed):
    rng = np.random.default_rng(seed)
    single = lambda x: np.asarray(x, np.float32).astype(np.float64)
    means, stds, x_T = single(0.6 * rng.standard_normal((2, 5))), single([0.25, 0.15]), single(rng.standard_normal((4, 5)))
    weights = single([0.35, 0.65])
    with h5py.File(os.path.join(folder, "solvers.h5"), "w") as f:
        for key, value in dict(means=means, stds=stds, weights=weights).items(): save(f, "mixture/" + key, value, "input")
        save(f, "x_T", x_T, "input")
        for schedule, steps in (("linear", 1000), ("squaredcos_cap_v2", 400)):
            g, abar = f.create_group(schedule), np.cumprod(1 - betas_of(schedule, steps))
            g.create_dataset("alphas_cumprod", data=abar)
            eps, clock = mixture_eps(abar, weights, means, stds), Clock(abar)
            t = single(rng.uniform(0, steps - 1, 6)); x = single(rng.standard_normal((6, 5)))
            for key, value in (("t", t), ("x", x)): save(g, "probe/" + key, value, "input")
            save(g, "probe/eps", np.concatenate([eps(x[i:i + 1], t[i]) for i in range(6)]))
            d = g.create_group("dpmsolver++"); save(d, "total_N", np.array([clock.n]))
            for order, n, skip in ((1, 6, "logSNR"), (2, 7, "time_uniform"), (2, 14, "time_quadratic"), (3, 9, "logSNR"),
                                   (3, 17, "logSNR"), (3, 12, "time_uniform")):
                dpm_run(d.create_group(f"run_{order}_{n}_{skip}"), clock, eps, x_T, order, n, skip)
            for order, n, skip in ((1, 4, "time_uniform"), (2, 8, "logSNR"), (2, 9, "time_uniform"), (3, 9, "logSNR"),
                                   (3, 11, "logSNR"), (3, 10, "time_quadratic")):
                dpm_run(d.create_group(f"single_{order}_{n}_{skip}"), clock, eps, x_T, order, n, skip, method="singlestep")
            for how in ("clamp", "dynamic_thresholding"):
                dpm_run(d.create_group(how), clock, eps, x_T, 2, 12, "time_uniform", how)
            d.create_group("later").attrs.update(algorithm=np.bytes_("unheard of"), order=1, steps=5)
            k_runs(g.create_group("k_diffusion"), abar, eps, x_T, rng)


if __name__ == "__main__":
    from make_fixtures import betas_of
    o = arguments()
    make_solvers(o.folder, betas_of, o.seed)
