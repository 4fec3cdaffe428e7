#include "text_transformer/bpe_util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool array_reserve_bytes(void *items, size_t *capacity, size_t needed, size_t item_size)
{
    if (needed <= *capacity) return true;
    size_t wanted = needed > *capacity + *capacity / 2 ? needed : *capacity + *capacity / 2;
    if (wanted < 8) wanted = 8;
    void *old;
    memcpy(&old, items, sizeof old); /* `items` points to a pointer of any type */
    void *grown = reallocarray(old, wanted, item_size);
    if (!grown) return false;
    memcpy(items, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

static bool heap_less(HeapItem a, HeapItem b)
{
    return a.major != b.major ? a.major < b.major : a.minor < b.minor;
}

bool heap_push(Heap *heap, uint64_t major, uint64_t minor)
{
    if (!array_reserve(&heap->items, &heap->capacity, heap->count + 1)) return false;
    HeapItem item = {major, minor};
    size_t at = heap->count++;
    for (; at > 0 && heap_less(item, heap->items[(at - 1) / 2]); at = (at - 1) / 2)
        heap->items[at] = heap->items[(at - 1) / 2];
    heap->items[at] = item;
    return true;
}

HeapItem heap_pop(Heap *heap)
{
    assert(heap->count > 0);
    HeapItem top = heap->items[0], last = heap->items[--heap->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap_less(heap->items[child + 1], heap->items[child])) child++;
        if (!heap_less(heap->items[child], last)) break;
        heap->items[at] = heap->items[child];
    }
    heap->items[at] = last; /* an emptied heap keeps its storage, so items[0] may be written */
    return top;
}
