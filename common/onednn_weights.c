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

/* Into how many parts the primitive wants the weights: its four phases, or parts of the input channels. These by their number: the
 * weights of patches are a layer's rows. */
static int64_t parts_of(const Prim *prim, const Param *w)
{
    const Key *key = &prim->key;
    if (key->kernel == 2) return 4;
    return (int64_t)w->size / (key->Cout * key->Cin * key->kernel * key->kernel);
}

static Status packed_new(Onednn *o, const Layout *l, int64_t parts, const Param *w, Packed **out)
{
    size_t each = ALIGN64(l->bytes), bytes = each * (size_t)parts;
    size_t scales = l->int8 ? ALIGN64((size_t)w->dims[0] * sizeof(float)) : 0;
    Packed *p = calloc(1, sizeof *p);
    if (p) p->block = aligned_alloc(64, bytes + scales);
    if (!p || !p->block || dnnl_memory_create(&p->memory, DESC_REF(l->desc), o->engine, p->block) != dnnl_success) {
        packed_destroy(p);
        return status_fail(STATUS_NO_MEMORY, "out of memory: %zu bytes for packed weights of %s", bytes,
                           w->name ? w->name : "a parameter");
    }
    p->bytes = each;
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

static Status reorder(Onednn *o, const Prim *prim, void *plain, const Packed *p, int64_t part)
{
    const Layout *l = prim->layout;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, l->plain}, {DNNL_ARG_TO, p->memory}};
    dnnl_status_t st = dnnl_memory_set_data_handle(l->plain, plain);
    if (st == dnnl_success) st = dnnl_memory_set_data_handle(p->memory, (char *)p->block + (size_t)part * p->bytes);
    if (st == dnnl_success) st = dnnl_primitive_execute(l->reorder, o->stream, 2, args);
    if (st == dnnl_success) st = dnnl_stream_wait(o->stream);
    return st == dnnl_success ? STATUS_OK : onednn_fail(st, "packing of weights", &prim->key);
}

/* The weights of one part after another, through `one`. */
static Status reorder_parts(Onednn *o, const Prim *prim, const float *values, float *one, int64_t parts, const Packed *p)
{
    const Key *key = &prim->key;
    int64_t each = key->Cin * key->kernel * key->kernel; /* of an output channel */
    for (int64_t part = 0; part < parts; part++) {
        if (key->kernel == 2) onednn_phase_weights(values, key->Cout * key->Cin, (int)part, one);
        for (int64_t c = 0; c < key->Cout && key->kernel != 2; c++)
            memcpy(one + c * each, values + (c * parts + part) * each, (size_t)each * sizeof(float));
        TRY(reorder(o, prim, one, p, part));
    }
    return STATUS_OK;
}

static Status pack(Kernels *k, const Prim *prim, Param *w, const Packed *p)
{
    const Key *key = &prim->key;
    int64_t channels = w->dims[0], parts = parts_of(prim, w);
    size_t small_bytes = prim->layout->int8 ? ALIGN64(w->size) : 0, read_bytes = w->value ? 0 : ALIGN64(w->size * sizeof(float));
    size_t part_bytes = parts > 1 ? (size_t)(key->Cout * key->Cin * key->kernel * key->kernel) * sizeof(float) : 0;
    char *scratch = kernels_scratch(k, small_bytes + read_bytes + part_bytes + 64);
    if (!scratch) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", w->size, w->name);
    float *values = w->value ? w->value : (float *)(scratch + small_bytes);
    if (!w->value) param_read_all(w, values);
    if (parts > 1) return reorder_parts(k->onednn, prim, values, (float *)(scratch + small_bytes + read_bytes), parts, p);
    if (!prim->layout->int8) return reorder(k->onednn, prim, values, p, 0);
    int8_t *small = (int8_t *)scratch;
    quantize_weights(values, channels, (int64_t)w->size / channels, small, p->scales);
    return reorder(k->onednn, prim, small, p, 0);
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
        TRY(packed_new(o, l, parts_of(prim, w), w, &p));
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
