#include "tests/support_diffusion_tables.h"

const struct DiffusionTable diffusion_tables[DIFFUSION_TABLES] = {
    {"betas", offsetof(Diffusion, betas)},
    {"alphas_cumprod", offsetof(Diffusion, alphas_cumprod)},
    {"alphas_cumprod_prev", offsetof(Diffusion, alphas_cumprod_prev)},
    {"alphas_cumprod_next", offsetof(Diffusion, alphas_cumprod_next)},
    {"sqrt_alphas_cumprod", offsetof(Diffusion, sqrt_alphas_cumprod)},
    {"sqrt_one_minus_alphas_cumprod", offsetof(Diffusion, sqrt_one_minus_alphas_cumprod)},
    {"log_one_minus_alphas_cumprod", offsetof(Diffusion, log_one_minus_alphas_cumprod)},
    {"sqrt_recip_alphas_cumprod", offsetof(Diffusion, sqrt_recip_alphas_cumprod)},
    {"sqrt_recipm1_alphas_cumprod", offsetof(Diffusion, sqrt_recipm1_alphas_cumprod)},
    {"posterior_variance", offsetof(Diffusion, posterior_variance)},
    {"posterior_log_variance_clipped", offsetof(Diffusion, posterior_log_variance_clipped)},
    {"posterior_mean_coef1", offsetof(Diffusion, posterior_mean_coef1)},
    {"posterior_mean_coef2", offsetof(Diffusion, posterior_mean_coef2)},
};
