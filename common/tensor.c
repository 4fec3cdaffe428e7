#include "common/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct Buffer {
    void *data;
    size_t bytes;
    int references;
    Pool *pool;
};

struct Pool {
    Buffer **idle;
    int idle_count, idle_capacity;
    size_t in_use, peak;
};

enum { HUGE_PAGE = 2 << 20, PAGE = 4096 };

const char *tensor_describe(const Tensor *x, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < x->ndim && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? "," : "", (long long)x->dims[i]);
    if (used < size) snprintf(text + used, size - used, ") %s", x->dtype == DTYPE_F32 ? "f32" : "bf16");
    return text;
}

Pool *pool_new(void)
{
    return calloc(1, sizeof(Pool));
}

static void buffer_destroy(Buffer *b)
{
    free(b->data);
    free(b);
}

void pool_trim(Pool *pool)
{
    for (int i = 0; i < pool->idle_count; i++) buffer_destroy(pool->idle[i]);
    pool->idle_count = 0;
}

void pool_free(Pool *pool)
{
    if (!pool) return;
    pool_trim(pool);
    free(pool->idle);
    free(pool);
}

/* The smallest idle block that fits without wasting more than a quarter of itself (small blocks may waste more). */
static int best_idle(const Pool *pool, size_t bytes)
{
    int best = -1;
    for (int i = 0; i < pool->idle_count; i++) {
        size_t size = pool->idle[i]->bytes;
        if (size < bytes || (size > 64 * 1024 && size - bytes > size / 4)) continue;
        if (best < 0 || size < pool->idle[best]->bytes) best = i;
    }
    return best;
}

static Buffer *buffer_create(Pool *pool, size_t bytes)
{
    Buffer *b = malloc(sizeof *b);
    if (!b) return NULL;
    bool huge = bytes >= HUGE_PAGE;
    *b = (Buffer){.bytes = bytes, .pool = pool};
    if (posix_memalign(&b->data, huge ? HUGE_PAGE : 64, bytes) != 0) { /* unlike aligned_alloc, of any size */
        free(b);
        return NULL;
    }
    if (huge) madvise(b->data, bytes, MADV_HUGEPAGE); /* only a hint: fewer page faults */
    return b;
}

Buffer *pool_get(Pool *pool, size_t bytes)
{
    size_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE / 4 : bytes >= PAGE ? PAGE : 64;
    bytes = bytes ? (bytes + unit - 1) / unit * unit : unit;
    int i = best_idle(pool, bytes);
    Buffer *b;
    if (i >= 0) {
        b = pool->idle[i];
        pool->idle[i] = pool->idle[--pool->idle_count];
    } else {
        b = buffer_create(pool, bytes);
        if (!b && pool->idle_count) { /* what lies idle may be all that is missing */
            pool_trim(pool);
            b = buffer_create(pool, bytes);
        }
        if (!b) return NULL;
    }
    b->references = 1;
    pool->in_use += b->bytes;
    if (pool->in_use > pool->peak) pool->peak = pool->in_use;
    return b;
}

void *buffer_data(Buffer *buffer)
{
    return buffer->data;
}

Buffer *buffer_retain(Buffer *buffer)
{
    buffer->references++;
    return buffer;
}

void buffer_release(Buffer *buffer)
{
    if (!buffer || --buffer->references > 0) return;
    Pool *pool = buffer->pool;
    pool->in_use -= buffer->bytes;
    if (pool->idle_count == pool->idle_capacity) {
        int capacity = pool->idle_capacity ? 2 * pool->idle_capacity : 64;
        Buffer **idle = realloc(pool->idle, (size_t)capacity * sizeof *idle);
        if (!idle) {
            buffer_destroy(buffer);
            return;
        }
        pool->idle = idle;
        pool->idle_capacity = capacity;
    }
    pool->idle[pool->idle_count++] = buffer;
}

bool buffer_shared(const Buffer *buffer)
{
    return buffer->references > 1;
}

size_t pool_peak_bytes(const Pool *pool)
{
    return pool->peak;
}
