/* Weights in the layouts that oneDNN's primitives want: packed once per version of the parameter. See onednn.h. */
#include "common/onednn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void onednn_packed_orphan(Packed *p)
{
    if (!p->memory) return;
    dnnl_memory_destroy(p->memory);
    p->memory = NULL;
    *p->link = p->next;
    if (p->next) p->next->link = p->link;
}

static void packed_destroy(void *data)
{
    Packed *p = data;
    if (!p) return;
    onednn_packed_orphan(p);
    free(p->block);
    free(p);
}

static Status packed_new(Onednn *o, const Layout *l, const Param *w, Packed **out)
{
    size_t bytes = ALIGN64(l->bytes), scales = l->int8 ? ALIGN64((size_t)w->dims[0] * sizeof(float)) : 0;
    Packed *p = calloc(1, sizeof *p);
    if (p) p->block = aligned_alloc(64, bytes + scales);
    if (!p || !p->block || dnnl_memory_create(&p->memory, DESC_REF(l->desc), o->engine, p->block) != dnnl_success) {
        packed_destroy(p);
        return status_fail(STATUS_NO_MEMORY, "out of memory: %zu bytes for packed weights of %s", l->bytes,
                           w->name ? w->name : "a parameter");
    }
    if (l->int8) p->scales = (float *)((char *)p->block + bytes);
    p->next = o->packed;
    p->link = &o->packed;
    if (p->next) p->next->link = &p->next;
    o->packed = p;
    *out = p;
    return STATUS_OK;
}

/* The slot for a layout: its own, else a free one, else one that is stale, else the last. */
static struct ParamPacked *packed_slot(Param *w, const Layout *l)
{
    struct ParamPacked *best = &w->packed[PARAM_MAX_PACKED - 1];
    for (int i = PARAM_MAX_PACKED - 1; i >= 0; i--) {
        struct ParamPacked *slot = &w->packed[i];
        if (slot->key == l) return slot;
        if (!slot->key || (best->key && slot->version != w->version)) best = slot;
    }
    return best;
}

/* Each output channel's weights between -127 and 127. */
static void quantize_weights(const float *values, int64_t channels, int64_t each, int8_t *out, float *scales)
{
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        const float *v = values + c * each;
        float most = 0;
        for (int64_t i = 0; i < each; i++) most = fmaxf(most, fabsf(v[i]));
        scales[c] = most > 0 ? most / 127 : 1;
        for (int64_t i = 0; i < each; i++) out[c * each + i] = (int8_t)lrintf(v[i] / scales[c]);
    }
}

static Status reorder(Onednn *o, const Prim *prim, const Layout *l, void *plain, const Packed *p)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, l->plain}, {DNNL_ARG_TO, p->memory}};
    dnnl_status_t st = dnnl_memory_set_data_handle(l->plain, plain);
    if (st == dnnl_success) st = dnnl_primitive_execute(l->reorder, o->stream, 2, args);
    if (st == dnnl_success) st = dnnl_stream_wait(o->stream);
    return st == dnnl_success ? STATUS_OK : onednn_fail(st, "packing of weights", &prim->key);
}

static Status pack(Kernels *k, const Prim *prim, Param *w, const Packed *p)
{
    size_t small_bytes = prim->layout->int8 ? ALIGN64(w->size) : 0;
    char *scratch = kernels_scratch(k, small_bytes + (w->value ? 64 : w->size * sizeof(float)));
    if (!scratch) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", w->size, w->name);
    float *values = w->value ? w->value : (float *)(scratch + small_bytes);
    if (!w->value) param_read_all(w, values);
    if (!prim->layout->int8) return reorder(k->onednn, prim, prim->layout, values, p);
    int8_t *small = (int8_t *)scratch;
    quantize_weights(values, w->dims[0], (int64_t)w->size / w->dims[0], small, p->scales);
    return reorder(k->onednn, prim, prim->layout, small, p);
}

Status onednn_packed(Kernels *k, const Prim *prim, Param *w, Packed **out)
{
    Onednn *o = k->onednn;
    Layout *l = prim->layout;
    struct ParamPacked *slot = packed_slot(w, l);
    Packed *p = slot->data;
    bool ours = slot->key == l && p->memory; /* an orphan's key may happen to equal a new layout's address */
    if (!ours) {
        if (slot->key) slot->destroy(slot->data);
        memset(slot, 0, sizeof *slot);
        TRY(packed_new(o, l, w, &p));
        *slot = (struct ParamPacked){.key = l, .data = p, .destroy = packed_destroy, .version = w->version - 1};
    }
    if (slot->version != w->version) {
        Status s = pack(k, prim, w, p);
        param_leave(w);
        slot->version = s == STATUS_OK ? w->version : w->version - 1;
        TRY(s);
    }
    *out = p;
    return STATUS_OK;
}
