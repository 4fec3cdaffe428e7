#include "common/pickle_write.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void pickle_writer_release(PickleWriter *w)
{
    free(w->bytes);
    *w = (PickleWriter){0};
}

static void put_bytes(PickleWriter *w, const void *bytes, size_t size)
{
    if (w->failed) return;
    if (size > w->capacity - w->size) {
        size_t capacity = 2 * (w->size + size) + 1024;
        uint8_t *grown = realloc(w->bytes, capacity);
        w->failed = !grown;
        if (!grown) return;
        w->bytes = grown;
        w->capacity = capacity;
    }
    memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

/* An opcode and a little-endian number of `size` bytes. */
static void put_number(PickleWriter *w, char opcode, uint64_t number, size_t size)
{
    uint8_t bytes[9] = {(uint8_t)opcode};
    for (size_t i = 0; i < size; i++) bytes[1 + i] = (uint8_t)(number >> 8 * i);
    put_bytes(w, bytes, 1 + size);
}

void pickle_put(PickleWriter *w, const char *opcodes)
{
    put_bytes(w, opcodes, strlen(opcodes));
}

void pickle_put_text(PickleWriter *w, const char *text)
{
    put_number(w, 'X', strlen(text), 4);
    put_bytes(w, text, strlen(text));
}

void pickle_put_int(PickleWriter *w, int64_t value)
{
    if (value >= 0 && value < 256) {
        put_number(w, 'K', (uint64_t)value, 1);
    } else if (value >= 0 && value < 65536) {
        put_number(w, 'M', (uint64_t)value, 2);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
        put_number(w, 'J', (uint64_t)value, 4);
    } else {
        put_number(w, '\x8a', 8, 1);
        for (int i = 0; i < 8; i++) put_bytes(w, &(uint8_t){(uint8_t)((uint64_t)value >> 8 * i)}, 1);
    }
}

void pickle_put_global(PickleWriter *w, const char *module, const char *name)
{
    for (int i = 0; i < w->global_count; i++) {
        if (w->globals[i] != name) continue;
        put_number(w, 'h', (uint64_t)i, 1);
        return;
    }
    assert(w->global_count < PICKLE_MAX_GLOBALS);
    pickle_put(w, "c");
    pickle_put(w, module);
    pickle_put(w, "\n");
    pickle_put(w, name);
    pickle_put(w, "\n");
    put_number(w, 'q', (uint64_t)w->global_count, 1);
    w->globals[w->global_count++] = name;
}
