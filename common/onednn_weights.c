/* Weights in the layouts that oneDNN's primitives want: packed once per version of the parameter. See onednn.h. */
#include "common/onednn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char packed_key; /* its address says whose copy it is */

static void packed_destroy(void *data)
{
    Packed *p = data;
    if (!p) return;
    desc_release(p->desc);
    free(p->block);
    free(p);
}

/* Parts of the input channels by their number: the weights of patches are a layer's rows. */
static Status packed_new(const Prim *prim, const Param *w, Packed **out)
{
    const Key *key = &prim->key;
    const Layout *l = prim->layout;
    int64_t values = key->Cout * key->Cin * key->kernel * key->kernel;
    int64_t parts = l->doubling ? 1 : (int64_t)w->size / values;
    size_t each = ALIGN64(l->bytes), bytes = each * (size_t)parts;
    size_t scales = l->int8 ? ALIGN64((size_t)w->dims[0] * sizeof(float)) : 0;
    Packed *p = calloc(1, sizeof *p);
    if (p) p->block = aligned_alloc(64, bytes + scales);
    if (!p || !p->block || desc_copy(&p->desc, DESC_REF(l->desc)) != dnnl_success) {
        if (p) free(p->block);
        free(p);
        return status_fail(STATUS_NO_MEMORY, "out of memory: %zu bytes for packed weights of %s", bytes,
                           w->name ? w->name : "a parameter");
    }
    p->bytes = each;
    p->parts = parts;
    p->values = values;
    if (l->int8) p->scales = (float *)((char *)p->block + bytes);
    *out = p;
    return STATUS_OK;
}

static bool holds(const struct ParamPacked *slot, const Layout *l)
{
    return slot->key == &packed_key && dnnl_memory_desc_equal(DESC_REF(((const Packed *)slot->data)->desc), DESC_REF(l->desc));
}

/* The slot for a layout: its own, else a free one, else one that is stale, else NULL. */
static struct ParamPacked *slot_for(struct ParamPacked slots[PARAM_MAX_PACKED], uint64_t version, const Layout *l)
{
    struct ParamPacked *best = NULL;
    for (int i = PARAM_MAX_PACKED - 1; i >= 0; i--) {
        struct ParamPacked *slot = &slots[i];
        if (holds(slot, l)) return slot;
        if (!slot->key || ((!best || best->key) && slot->version != version)) best = slot;
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

static Status reorder(Onednn *o, const Layout *l, void *plain, const Packed *p, int64_t part, const Param *w)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, l->plain}, {DNNL_ARG_TO, l->blocked}};
    dnnl_status_t st = dnnl_memory_set_data_handle(l->plain, plain);
    if (st == dnnl_success) st = dnnl_memory_set_data_handle(l->blocked, (char *)p->block + (size_t)part * p->bytes);
    if (st == dnnl_success) st = dnnl_primitive_execute(l->reorder, o->stream, 2, args);
    if (st == dnnl_success) st = dnnl_stream_wait(o->stream);
    if (st == dnnl_success) return STATUS_OK;
    return status_fail(st == dnnl_out_of_memory ? STATUS_NO_MEMORY : STATUS_INTERNAL,
                       "oneDNN: packing of %s failed with status %d", w->name ? w->name : "a parameter", (int)st);
}

/* The weights of one part after another, through `one`. */
static Status reorder_parts(Onednn *o, const Layout *l, const float *values, float *one, const Packed *p, const Param *w)
{
    int64_t each = p->values / w->dims[0]; /* of an output channel */
    for (int64_t part = 0; part < p->parts; part++) {
        for (int64_t c = 0; c < w->dims[0]; c++)
            memcpy(one + c * each, values + (c * p->parts + part) * each, (size_t)each * sizeof(float));
        TRY(reorder(o, l, one, p, part, w));
    }
    return STATUS_OK;
}

static Status pack_doubling(Kernels *k, const Layout *l, Param *w, const Packed *p)
{
    char *sums = kernels_scratch(k, (size_t)p->values * dtype_size(l->dtype) + 64);
    if (!sums) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", w->size, w->name);
    onednn_doubling_weights(w, l->dtype, sums);
    return reorder(k->onednn, l, sums, p, 0, w);
}

static Status pack(Kernels *k, const Layout *l, Param *w, const Packed *p)
{
    if (l->doubling) return pack_doubling(k, l, w, p);
    size_t small_bytes = l->int8 ? ALIGN64(w->size) : 0, read_bytes = w->value ? 0 : ALIGN64(w->size * sizeof(float));
    size_t part_bytes = p->parts > 1 ? (size_t)p->values * sizeof(float) : 0;
    char *scratch = kernels_scratch(k, small_bytes + read_bytes + part_bytes + 64);
    if (!scratch) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", w->size, w->name);
    float *values = w->value ? w->value : (float *)(scratch + small_bytes);
    if (!w->value) param_read_all(w, values);
    if (p->parts > 1) return reorder_parts(k->onednn, l, values, (float *)(scratch + small_bytes + read_bytes), p, w);
    if (!l->int8) return reorder(k->onednn, l, values, p, 0, w);
    int8_t *small = (int8_t *)scratch;
    quantize_weights(values, w->dims[0], (int64_t)w->size / w->dims[0], small, p->scales);
    return reorder(k->onednn, l, small, p, 0, w);
}

static Status pack_again(Kernels *k, const Layout *l, Param *w, struct ParamPacked *slot, uint64_t version)
{
    Status s = pack(k, l, w, slot->data);
    param_leave(w);
    slot->version = s == STATUS_OK ? version : version - 1;
    ((Packed *)slot->data)->used = false;
    return s;
}

/* The copy in a slot that is right, or is made so. */
static Status copy_in(Kernels *k, const Prim *prim, Param *w, struct ParamPacked *slot, uint64_t version, const Packed **out)
{
    const Layout *l = prim->layout;
    if (!holds(slot, l)) {
        Packed *p = NULL;
        if (slot->key) slot->destroy(slot->data);
        memset(slot, 0, sizeof *slot);
        TRY(packed_new(prim, w, &p));
        *slot = (struct ParamPacked){.key = &packed_key, .data = p, .destroy = packed_destroy, .version = version - 1};
    }
    if (slot->version != version) TRY(pack_again(k, l, w, slot, version));
    ((Packed *)slot->data)->used = true;
    *out = slot->data;
    return STATUS_OK;
}

/* Other threads may be multiplying by any copy on the shelf that is not stale: it stays, and *out is NULL where there is no room. */
static Status shelf_copy(Kernels *k, const Prim *prim, Param *w, const Packed **out)
{
    Param *owner = w->owner;
    Status s = STATUS_OK;
    pthread_mutex_lock(&owner->shelf.lock);
    struct ParamPacked *slot = slot_for(owner->shelf.packed, owner->version, prim->layout);
    if (slot) s = copy_in(k, prim, w, slot, owner->version, out);
    pthread_mutex_unlock(&owner->shelf.lock);
    return s;
}

Status onednn_packed(Kernels *k, const Prim *prim, Param *w, const Packed **out)
{
    *out = NULL;
    /* oneDNN clears a layout's padding whenever it is given the memory: such copies (they are small) are each thread's own. */
    if (w->owner && !prim->layout->padded) TRY(shelf_copy(k, prim, w, out));
    if (*out) return STATUS_OK;
    struct ParamPacked *slot = slot_for(w->packed, w->version, prim->layout);
    return copy_in(k, prim, w, slot ? slot : &w->packed[PARAM_MAX_PACKED - 1], w->version, out);
}

static const Layout *layout_find(const Onednn *o, DescRef desc)
{
    for (const Layout *l = o->layouts; l; l = l->next)
        if (dnnl_memory_desc_equal(DESC_REF(l->desc), desc)) return l;
    return NULL;
}

Status onednn_pack_shared(Kernels *k, Param *w)
{
    Param *owner = w->owner;
    Status s = STATUS_OK;
    if (!owner) return STATUS_OK;
    pthread_mutex_lock(&owner->shelf.lock);
    for (int i = 0; i < PARAM_MAX_PACKED && s == STATUS_OK; i++) {
        struct ParamPacked *slot = &owner->shelf.packed[i];
        const Packed *p = slot->data;
        if (slot->key != &packed_key || slot->version == owner->version || !p->used) continue;
        const Layout *l = layout_find(k->onednn, DESC_REF(p->desc));
        if (l) s = pack_again(k, l, w, slot, owner->version); /* else whoever uses it next will */
    }
    pthread_mutex_unlock(&owner->shelf.lock);
    return s;
}
