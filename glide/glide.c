#include "glide/glide.h"

#include "glide/cascade.h"
#include "glide/context.h"
#include "glide/guides.h"
#include "glide/version.h"
#include "glide/weights_path.h"
#include "text_transformer/text_unet_file.h"

#include <limits.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)GLIDE_OK == STATUS_OK && (int)GLIDE_BAD_INPUT == STATUS_BAD_INPUT && (int)GLIDE_IO == STATUS_IO &&
                   (int)GLIDE_NO_MEMORY == STATUS_NO_MEMORY && (int)GLIDE_CANCELLED == STATUS_INTERRUPTED &&
                   (int)GLIDE_INTERNAL == STATUS_INTERNAL,
               "the public codes are the internal ones");

const char *glide_message(void)
{
    return status_message();
}

const char *glide_details(void)
{
    return status_details();
}

const char *glide_version(void)
{
    return GLIDE_VERSION;
}

/* --- contexts --------------------------------------------------------------------------------------- */

GlideOptions glide_defaults(void)
{
    return (GlideOptions){.precision = GLIDE_PRECISION_AUTO};
}

static Status copy_path(const char *path, char **out)
{
    *out = path ? strdup(path) : NULL;
    return path && !*out ? status_fail(STATUS_NO_MEMORY, "out of memory for a path") : STATUS_OK;
}

static Status open_context(const GlideOptions *o, Glide *g)
{
    if (o->threads < 0) return status_fail(STATUS_BAD_INPUT, "threads: expected 0 or more, found %d", o->threads);
    g->threads = o->threads;
    TRY(copy_path(o->weights, &g->base.path));
    TRY(copy_path(o->upsampler_weights, &g->upsampler.path));
    TRY(kernels_new(KERNELS_BEST, &g->kernels));
    bool bf16 = o->precision == GLIDE_PRECISION_BF16 || (o->precision == GLIDE_PRECISION_AUTO && g->kernels->native_bf16);
    g->int8 = o->precision == GLIDE_PRECISION_INT8;
    g->precision = bf16 || g->int8 ? DTYPE_BF16 : DTYPE_F32;
    if (g->int8 && !g->kernels->native_int8)
        return status_fail(STATUS_BAD_INPUT, "precision: int8 asks for a processor with AVX512-VNNI and a build with oneDNN, expected "
                                             "f32 or bf16");
    return STATUS_OK;
}

GlideStatus glide_open(const GlideOptions *options, Glide **out)
{
    GlideOptions defaults = glide_defaults();
    *out = NULL;
    Glide *g = calloc(1, sizeof *g);
    if (!g) return (GlideStatus)status_fail(STATUS_NO_MEMORY, "out of memory for a context");
    Status s = open_context(options ? options : &defaults, g);
    if (s == STATUS_OK) *out = g;
    else glide_close(g);
    return (GlideStatus)s;
}

void glide_close(Glide *g)
{
    if (!g) return;
    guides_free(g->guides);
    text_unet_free(g->base.net); /* their packed parameters before the kernels that packed them */
    text_unet_free(g->upsampler.net);
    kernels_free(g->kernels);
    free(g->base.path);
    free(g->upsampler.path);
    free(g);
}

Status context_load(Glide *g, bool upsampler)
{
    Model *m = upsampler ? &g->upsampler : &g->base;
    char path[PATH_MAX];
    TextUNet *net;
    if (m->net) return STATUS_OK;
    if (!m->path) TRY(weights_path_default(upsampler ? "upsampler.h5" : "base.h5", path, sizeof path));
    const char *name = m->path ? m->path : path;
    TRY(text_unet_map(name, upsampler ? "upsampler" : "base", &net, &m->hash));
    Status s = cascade_check_model(net, name);
    if (g->int8) text_unet_set_int8(net);
    if (s == STATUS_OK) m->net = net;
    else text_unet_free(net);
    return s;
}

int context_enter(const Glide *g)
{
    int before = omp_get_max_threads();
    if (g->threads > 0) omp_set_num_threads(g->threads);
    return before;
}

Status context_load_both(Glide *g, bool *upsampler)
{
    TRY(context_load(g, false));
    if (!g->base.net->text && !g->upsampler.path) *upsampler = false;
    return *upsampler ? context_load(g, true) : STATUS_OK;
}

int context_side(const Model *m)
{
    return m->net->config.unet.image_size;
}
