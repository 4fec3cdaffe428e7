/* A writer of Python pickles, protocol 2, with the opcodes that torch.save writes and nothing else.
 *
 *     PickleWriter w = {0};
 *     pickle_put(&w, "\x80\x02");            opcodes as they stand
 *     pickle_put_text(&w, "storage");
 *     pickle_put_global(&w, "torch", "FloatStorage");
 *     pickle_put_int(&w, 30);
 *     pickle_put(&w, ".");
 *     if (w.failed) ...                      out of memory at some point: one check at the end
 *     pickle_writer_release(&w);
 */
#ifndef GLIDE_COMMON_PICKLE_WRITE_H
#define GLIDE_COMMON_PICKLE_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PICKLE_MAX_GLOBALS = 16 };

typedef struct PickleWriter {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed;
    const char *globals[PICKLE_MAX_GLOBALS]; /* names written so far, borrowed: a name is its place in the memo */
    int global_count;
} PickleWriter;

void pickle_writer_release(PickleWriter *w);

void pickle_put(PickleWriter *w, const char *opcodes); /* none of them a NUL */
void pickle_put_text(PickleWriter *w, const char *text);
void pickle_put_int(PickleWriter *w, int64_t value);
/* A class or function; `name`, a literal, is remembered by its address and later ones are short. */
void pickle_put_global(PickleWriter *w, const char *module, const char *name);

#endif
