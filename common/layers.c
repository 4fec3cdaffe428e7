#include "common/ops.h"

static Param *matrix(ParamSet *set, float scale, int ndim, const int64_t *dims, const char *name)
{
    Param *weight = params_add(set, scale == 0 ? INIT_ZERO : INIT_FAN_IN, scale, ndim, dims, "%s.weight", name);
    if (weight) weight->matrix = true;
    return weight;
}

Conv2d conv2d_make(ParamSet *set, int64_t cin, int64_t cout, int kernel, int stride, float scale, const char *name)
{
    return (Conv2d){.kernel = kernel,
                    .stride = stride,
                    .weight = matrix(set, scale, 4, (int64_t[]){cout, cin, kernel, kernel}, name),
                    .bias = params_add(set, INIT_ZERO, 0, 1, &cout, "%s.bias", name)};
}

Linear linear_make(ParamSet *set, int64_t in, int64_t out, float scale, const char *name)
{
    return (Linear){.weight = matrix(set, scale, 2, (int64_t[]){out, in}, name),
                    .bias = params_add(set, INIT_ZERO, 0, 1, &out, "%s.bias", name)};
}

Linear linear1d_make(ParamSet *set, int64_t in, int64_t out, float scale, const char *name)
{
    return (Linear){.weight = matrix(set, scale, 3, (int64_t[]){out, in, 1}, name),
                    .bias = params_add(set, INIT_ZERO, 0, 1, &out, "%s.bias", name)};
}

Norm norm_make(ParamSet *set, int64_t channels, const char *name)
{
    return (Norm){.gamma = params_add(set, INIT_ONE, 1, 1, &channels, "%s.weight", name),
                  .beta = params_add(set, INIT_ZERO, 0, 1, &channels, "%s.bias", name)};
}
