/* A reader of Python pickles that can run nothing: it knows the opcodes that torch.save writes and turns them into plain
 * values. A call of a global name stays a value ("call of NAME with these arguments") for the reader's owner to interpret,
 * and names that the owner did not allow are refused, by name, before anything comes of them.
 *
 * Memory is bounded by the options, time by the pickle's size. Values may be shared and may even contain themselves: who
 * walks them must bound depth and visits. Format: CPython's Lib/pickletools.py, protocols 2 to 4.
 * Errors: STATUS_BAD_INPUT with the opcode or name and its place; the caller puts the file's name in front. */
#ifndef GLIDE_COMMON_PICKLE_H
#define GLIDE_COMMON_PICKLE_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    PICKLE_NONE,
    PICKLE_BOOL,       /* whole */
    PICKLE_INT,        /* whole */
    PICKLE_FLOAT,      /* real */
    PICKLE_TEXT,       /* text, count bytes; texts and bytes alike */
    PICKLE_GLOBAL,     /* text, count bytes: "module.name" */
    PICKLE_TUPLE,      /* items[count] */
    PICKLE_LIST,       /* items[count] */
    PICKLE_DICT,       /* items[count]: key, value, key, value, ... in order; also OrderedDict */
    PICKLE_PERSISTENT, /* items[1]: the persistent id */
    PICKLE_CALL        /* items[2]: the global, the tuple of arguments */
} PickleType;

typedef struct PickleValue {
    PickleType type;
    uint32_t count, capacity;
    union {
        int64_t whole;
        double real;
        const char *text; /* not NUL-terminated */
        struct PickleValue **items;
    };
} PickleValue;

typedef struct PickleOptions {
    const char *const *allowed; /* names as "module.name", NULL at the end; collections.OrderedDict always is */
    size_t max_bytes;           /* of memory for values */
} PickleOptions;

typedef struct Pickle Pickle;

/* Read the pickle at the start of `bytes`. *used (may be NULL): how long it was. Texts point into `bytes`, which must stay
 * as long as the values. */
Status pickle_read(const uint8_t *bytes, size_t size, const PickleOptions *options, Pickle **out, size_t *used);
void pickle_free(Pickle *pickle); /* NULL is fine */
const PickleValue *pickle_root(const Pickle *pickle);
const PickleValue *pickle_persistents(const Pickle *pickle); /* a PICKLE_LIST of every PICKLE_PERSISTENT, in order */

bool pickle_text_is(const PickleValue *value, const char *text);   /* a PICKLE_TEXT that equals `text` */
bool pickle_global_is(const PickleValue *value, const char *name); /* a PICKLE_GLOBAL that is "module.name" */
/* The value under a text key of a PICKLE_DICT (the last one, as in Python), or NULL. */
const PickleValue *pickle_get(const PickleValue *dict, const char *key);
/* Text of a value for messages: at most 60 characters, nothing but printable ASCII. Returns `quote`. */
const char *pickle_quote(const char *text, size_t length, char quote[64]);

#endif
