/* What the encoder and the trainer share: keys of pairs, growing arrays and a heap. */
#ifndef GLIDE_TEXT_TRANSFORMER_BPE_UTIL_H
#define GLIDE_TEXT_TRANSFORMER_BPE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two token ids as one number that sorts by left, then right. */
static inline uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* array_reserve(&items, &capacity, needed): make room for `needed` items in all; false when out of memory (the array
 * stays as it was). Contents are kept, free() gives it back. */
#define array_reserve(items, capacity, needed) array_reserve_bytes(items, capacity, needed, sizeof **(items))
bool array_reserve_bytes(void *items, size_t *capacity, size_t needed, size_t item_size);

/* Smallest (major, minor) first. Zero-initialise; free(heap.items) ends it. */
typedef struct HeapItem {
    uint64_t major, minor;
} HeapItem;

typedef struct Heap {
    HeapItem *items;
    size_t count, capacity;
} Heap;

bool heap_push(Heap *heap, uint64_t major, uint64_t minor); /* false when out of memory */
HeapItem heap_pop(Heap *heap);                              /* count > 0; items[0] is what comes next */

#endif
