#include "common/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- memory: blocks that are freed together --- */

typedef struct Block {
    struct Block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
} Block;

struct Pickle {
    Block *blocks;
    size_t bytes, max_bytes;
    const PickleValue *root;
    PickleValue persistents;
};

static Status out_of_memory(size_t bytes, size_t limit)
{
    if (bytes > limit) {
        status_fail(STATUS_BAD_INPUT, "the pickle would need more than %zu bytes of memory", limit);
        return STATUS_BAD_INPUT;
    }
    status_fail(STATUS_NO_MEMORY, "out of memory for a pickle");
    return STATUS_NO_MEMORY;
}

static Status arena_get(Pickle *pickle, size_t bytes, void *out)
{
    bytes = (bytes + 15) / 16 * 16;
    Block *block = pickle->blocks;
    if (!block || block->size - block->used < bytes) {
        size_t size = bytes > 65536 ? bytes : 65536;
        if (size > pickle->max_bytes - pickle->bytes) return out_of_memory(pickle->bytes + size, pickle->max_bytes);
        block = malloc(sizeof *block + size);
        if (!block) return out_of_memory(0, 0);
        *block = (Block){.next = pickle->blocks, .size = size};
        pickle->blocks = block;
        pickle->bytes += size;
    }
    char *memory = block->bytes + block->used;
    block->used += bytes;
    memset(memory, 0, bytes);
    memcpy(out, &memory, sizeof memory);
    return STATUS_OK;
}

void pickle_free(Pickle *pickle)
{
    if (!pickle) return;
    for (Block *block = pickle->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(pickle);
}

const PickleValue *pickle_root(const Pickle *pickle)
{
    return pickle->root;
}

const PickleValue *pickle_persistents(const Pickle *pickle)
{
    return &pickle->persistents;
}

/* --- the machine --- */

typedef struct Machine {
    const uint8_t *bytes;
    size_t size, at, opcode_at;
    const PickleOptions *options;
    Pickle *pickle;
    PickleValue **stack, **memo;
    size_t depth, stack_room, memo_count, memo_room;
    size_t *marks, mark_count, mark_room;
    bool stopped;
} Machine;

static Status damaged(const Machine *m, const char *what)
{
    status_fail(STATUS_BAD_INPUT, "damaged pickle: %s (opcode 0x%02x at byte %zu)", what,
                m->opcode_at < m->size ? m->bytes[m->opcode_at] : 0, m->opcode_at);
    return STATUS_BAD_INPUT; /* a constant, so that the compiler sees that outputs are set on success */
}

/* Room for `needed` items of an array that lives in the arena; older copies stay there until the end, which at most doubles
 * what is counted. */
static Status make_room(Machine *m, void *items, size_t *room, size_t needed, size_t item_size)
{
    if (needed <= *room) return STATUS_OK;
    size_t new_room = *room ? 2 * needed : needed; /* tuples are filled once and never grow */
    void *old, *fresh;
    memcpy(&old, items, sizeof old);
    TRY(arena_get(m->pickle, new_room * item_size, &fresh));
    if (old) memcpy(fresh, old, *room * item_size);
    memcpy(items, &fresh, sizeof fresh);
    *room = new_room;
    return STATUS_OK;
}

static Status push(Machine *m, PickleValue *value)
{
    TRY(make_room(m, &m->stack, &m->stack_room, m->depth + 1, sizeof *m->stack));
    m->stack[m->depth++] = value;
    return STATUS_OK;
}

static Status push_new(Machine *m, PickleType type, PickleValue **out)
{
    TRY(arena_get(m->pickle, sizeof **out, out));
    (*out)->type = type;
    return push(m, *out);
}

/* Values below the last mark cannot be popped without popping the mark. */
static size_t floor_of(const Machine *m)
{
    return m->mark_count ? m->marks[m->mark_count - 1] : 0;
}

static Status pop(Machine *m, PickleValue **out)
{
    if (m->depth <= floor_of(m)) return damaged(m, "nothing left on the stack");
    *out = m->stack[--m->depth];
    return STATUS_OK;
}

static Status top(Machine *m, PickleValue **out)
{
    if (m->depth <= floor_of(m)) return damaged(m, "nothing left on the stack");
    *out = m->stack[m->depth - 1];
    return STATUS_OK;
}

/* The values above the last mark, which is removed; they stay in place until the next push. */
static Status pop_mark(Machine *m, PickleValue ***items, size_t *count)
{
    if (!m->mark_count) return damaged(m, "no mark");
    size_t from = m->marks[--m->mark_count];
    *items = m->stack + from;
    *count = m->depth - from;
    m->depth = from;
    return STATUS_OK;
}

static Status take(Machine *m, size_t count, const uint8_t **out)
{
    if (count > m->size - m->at) return damaged(m, "it ends in the middle");
    *out = m->bytes + m->at;
    m->at += count;
    return STATUS_OK;
}

/* A little-endian number of 1..8 bytes. */
static Status take_number(Machine *m, size_t count, uint64_t *out)
{
    const uint8_t *bytes;
    TRY(take(m, count, &bytes));
    *out = 0;
    for (size_t i = 0; i < count; i++) *out |= (uint64_t)bytes[i] << 8 * i;
    return STATUS_OK;
}

static Status append_items(Machine *m, PickleValue *list, PickleValue **items, size_t count)
{
    size_t room = list->capacity;
    if (count > UINT32_MAX / 4 - list->count) return damaged(m, "too many items");
    TRY(make_room(m, &list->items, &room, list->count + count, sizeof *items));
    list->capacity = (uint32_t)room;
    if (count) memcpy(list->items + list->count, items, count * sizeof *items);
    list->count += (uint32_t)count;
    return STATUS_OK;
}

/* --- opcodes: plain values --- */

static Status push_int(Machine *m, PickleType type, int64_t whole)
{
    PickleValue *value;
    TRY(push_new(m, type, &value));
    value->whole = whole;
    return STATUS_OK;
}

/* Two's complement of any length; beyond 64 bits nothing in a checkpoint is meant. */
static Status push_long(Machine *m, size_t length_bytes)
{
    uint64_t length, bits = 0;
    TRY(take_number(m, length_bytes, &length));
    if (length > 8) return damaged(m, "an integer of more than 64 bits");
    if (length) TRY(take_number(m, (size_t)length, &bits));
    if (length && length < 8 && bits >> (8 * length - 1)) bits |= ~UINT64_C(0) << 8 * length;
    return push_int(m, PICKLE_INT, (int64_t)bits);
}

static Status push_float(Machine *m)
{
    const uint8_t *bytes;
    uint64_t bits = 0;
    PickleValue *value;
    TRY(take(m, 8, &bytes));
    for (int i = 0; i < 8; i++) bits = bits << 8 | bytes[i]; /* the one big-endian number */
    TRY(push_new(m, PICKLE_FLOAT, &value));
    memcpy(&value->real, &bits, sizeof bits);
    return STATUS_OK;
}

static Status push_text(Machine *m, size_t length_bytes)
{
    uint64_t length;
    const uint8_t *bytes;
    PickleValue *value;
    TRY(take_number(m, length_bytes, &length));
    if (length > UINT32_MAX) return damaged(m, "a text of more than 4 GiB");
    TRY(take(m, (size_t)length, &bytes));
    TRY(push_new(m, PICKLE_TEXT, &value));
    value->text = (const char *)bytes;
    value->count = (uint32_t)length;
    return STATUS_OK;
}

/* --- opcodes: containers --- */

static Status push_tuple(Machine *m, PickleType type, size_t count)
{
    PickleValue *tuple;
    if (m->depth < count + floor_of(m)) return damaged(m, "nothing left on the stack");
    TRY(arena_get(m->pickle, sizeof *tuple, &tuple));
    tuple->type = type;
    m->depth -= count;
    TRY(append_items(m, tuple, m->stack + m->depth, count));
    return push(m, tuple);
}

static Status push_marked(Machine *m, PickleType type)
{
    PickleValue *value, **items;
    size_t count;
    TRY(pop_mark(m, &items, &count));
    if (type == PICKLE_DICT && count % 2) return damaged(m, "a key without a value");
    TRY(arena_get(m->pickle, sizeof *value, &value));
    value->type = type;
    TRY(append_items(m, value, items, count));
    return push(m, value);
}

/* APPEND, APPENDS, SETITEM, SETITEMS: the items go into the container below them. */
static Status fill_container(Machine *m, PickleType type, bool marked)
{
    PickleValue *container, **items;
    size_t count = type == PICKLE_DICT ? 2 : 1;
    if (marked) {
        TRY(pop_mark(m, &items, &count));
        if (type == PICKLE_DICT && count % 2) return damaged(m, "a key without a value");
    } else {
        if (m->depth < count + floor_of(m)) return damaged(m, "nothing left on the stack");
        m->depth -= count;
        items = m->stack + m->depth;
    }
    TRY(top(m, &container));
    if (container->type != type) return damaged(m, "items for a value that is not a container of this kind");
    return append_items(m, container, items, count);
}

static Status push_mark(Machine *m)
{
    TRY(make_room(m, &m->marks, &m->mark_room, m->mark_count + 1, sizeof *m->marks));
    m->marks[m->mark_count++] = m->depth;
    return STATUS_OK;
}

static Status push_persistent(Machine *m)
{
    TRY(push_tuple(m, PICKLE_PERSISTENT, 1));
    return append_items(m, &m->pickle->persistents, m->stack + m->depth - 1, 1);
}

/* --- opcodes: memo --- */

/* Python numbers what it remembers one after the other, so an index is never larger than the pickle is long. */
static Status memo_put(Machine *m, uint64_t index)
{
    PickleValue *value;
    TRY(top(m, &value));
    if (index >= m->size) return damaged(m, "an impossible memo index");
    TRY(make_room(m, &m->memo, &m->memo_room, (size_t)index + 1, sizeof *m->memo));
    m->memo[index] = value;
    if (index >= m->memo_count) m->memo_count = (size_t)index + 1;
    return STATUS_OK;
}

static Status memo_get(Machine *m, uint64_t index)
{
    if (index >= m->memo_count || !m->memo[index]) return damaged(m, "a memo index that was never set");
    return push(m, m->memo[index]);
}

/* --- opcodes: names and calls --- */

static const char ordered_dict[] = "collections.OrderedDict";

static Status push_global(Machine *m, const char *module, size_t module_length, const char *name, size_t name_length)
{
    char *text, quote[64];
    size_t length = module_length + 1 + name_length;
    PickleValue *value;
    TRY(arena_get(m->pickle, length + 1, &text));
    memcpy(text, module, module_length);
    text[module_length] = '.';
    memcpy(text + module_length + 1, name, name_length);
    bool allowed = !strcmp(text, ordered_dict);
    for (const char *const *known = m->options->allowed; known && *known && !allowed; known++)
        allowed = strlen(text) == length && !strcmp(text, *known);
    if (!allowed)
        return status_fail(STATUS_BAD_INPUT, "it contains %s, which is not loaded: only tensors, dictionaries and plain "
                           "values are", pickle_quote(text, length, quote));
    TRY(push_new(m, PICKLE_GLOBAL, &value));
    value->text = text;
    value->count = (uint32_t)length;
    return STATUS_OK;
}

static Status take_line(Machine *m, const char **line, size_t *length)
{
    const uint8_t *end = memchr(m->bytes + m->at, '\n', m->size - m->at);
    if (!end) return damaged(m, "it ends in the middle");
    *line = (const char *)m->bytes + m->at;
    *length = (size_t)(end - (m->bytes + m->at));
    m->at += *length + 1;
    return STATUS_OK;
}

static Status read_global(Machine *m)
{
    const char *module, *name;
    size_t module_length, name_length;
    TRY(take_line(m, &module, &module_length));
    TRY(take_line(m, &name, &name_length));
    return push_global(m, module, module_length, name, name_length);
}

static Status stack_global(Machine *m)
{
    PickleValue *module, *name;
    TRY(pop(m, &name));
    TRY(pop(m, &module));
    if (name->type != PICKLE_TEXT || module->type != PICKLE_TEXT) return damaged(m, "a name that is not a text");
    return push_global(m, module->text, module->count, name->text, name->count);
}

/* OrderedDict() or OrderedDict([(key, value), ...]) becomes a dictionary at once, for items may follow. */
static Status call_ordered_dict(Machine *m, const PickleValue *arguments)
{
    PickleValue *dict;
    TRY(push_new(m, PICKLE_DICT, &dict));
    if (arguments->count == 0) return STATUS_OK;
    const PickleValue *pairs = arguments->items[0];
    if (arguments->count > 1 || pairs->type != PICKLE_LIST) return damaged(m, "an OrderedDict made in an unknown way");
    for (uint32_t i = 0; i < pairs->count; i++) {
        const PickleValue *pair = pairs->items[i];
        if ((pair->type != PICKLE_LIST && pair->type != PICKLE_TUPLE) || pair->count != 2)
            return damaged(m, "an OrderedDict made in an unknown way");
        TRY(append_items(m, dict, pair->items, 2));
    }
    return STATUS_OK;
}

static Status reduce(Machine *m)
{
    PickleValue *callable, *arguments;
    TRY(pop(m, &arguments));
    TRY(top(m, &callable));
    if (callable->type != PICKLE_GLOBAL || arguments->type != PICKLE_TUPLE) return damaged(m, "a call of what is not a name");
    if (pickle_global_is(callable, ordered_dict)) {
        m->depth--;
        return call_ordered_dict(m, arguments);
    }
    TRY(push(m, arguments));
    return push_tuple(m, PICKLE_CALL, 2);
}

/* State for an object: only OrderedDict has any that may be ignored (PyTorch's _metadata). */
static Status build(Machine *m)
{
    PickleValue *state, *object;
    TRY(pop(m, &state));
    TRY(top(m, &object));
    return object->type == PICKLE_DICT ? STATUS_OK : damaged(m, "state for a value that has none");
}

/* --- the loop --- */

static Status run_plain(Machine *m, uint8_t opcode, bool *known)
{
    uint64_t number = 0;
    switch (opcode) {
    case 'N': return push_int(m, PICKLE_NONE, 0);
    case 0x88: return push_int(m, PICKLE_BOOL, 1);
    case 0x89: return push_int(m, PICKLE_BOOL, 0);
    case 'K': TRY(take_number(m, 1, &number)); return push_int(m, PICKLE_INT, (int64_t)number);
    case 'M': TRY(take_number(m, 2, &number)); return push_int(m, PICKLE_INT, (int64_t)number);
    case 'J': TRY(take_number(m, 4, &number)); return push_int(m, PICKLE_INT, (int32_t)(uint32_t)number);
    case 0x8a: return push_long(m, 1);
    case 0x8b: return push_long(m, 4);
    case 'G': return push_float(m);
    case 0x8c: case 'U': case 'C': return push_text(m, 1);
    case 'X': case 'T': case 'B': return push_text(m, 4);
    case 0x8d: case 0x8e: return push_text(m, 8);
    default: *known = false; return STATUS_OK;
    }
}

static Status run_container(Machine *m, uint8_t opcode, bool *known)
{
    PickleValue *value, **items;
    size_t count;
    switch (opcode) {
    case '(': return push_mark(m);
    case ')': return push_tuple(m, PICKLE_TUPLE, 0);
    case ']': return push_tuple(m, PICKLE_LIST, 0);
    case '}': return push_tuple(m, PICKLE_DICT, 0);
    case 0x85: return push_tuple(m, PICKLE_TUPLE, 1);
    case 0x86: return push_tuple(m, PICKLE_TUPLE, 2);
    case 0x87: return push_tuple(m, PICKLE_TUPLE, 3);
    case 't': return push_marked(m, PICKLE_TUPLE);
    case 'l': return push_marked(m, PICKLE_LIST);
    case 'd': return push_marked(m, PICKLE_DICT);
    case 'a': return fill_container(m, PICKLE_LIST, false);
    case 'e': return fill_container(m, PICKLE_LIST, true);
    case 's': return fill_container(m, PICKLE_DICT, false);
    case 'u': return fill_container(m, PICKLE_DICT, true);
    case '0': return pop(m, &value);
    case '1': return pop_mark(m, &items, &count);
    case '2': TRY(top(m, &value)); return push(m, value);
    default: *known = false; return STATUS_OK;
    }
}

static Status run_object(Machine *m, uint8_t opcode)
{
    uint64_t number = 0;
    switch (opcode) {
    case 0x80:
        TRY(take_number(m, 1, &number));
        return number <= 4 ? STATUS_OK : damaged(m, "a protocol newer than 4");
    case 0x95: return take_number(m, 8, &number); /* frame: only says how long the next part is */
    case 'q': TRY(take_number(m, 1, &number)); return memo_put(m, number);
    case 'r': TRY(take_number(m, 4, &number)); return memo_put(m, number);
    case 0x94: return memo_put(m, m->memo_count);
    case 'h': TRY(take_number(m, 1, &number)); return memo_get(m, number);
    case 'j': TRY(take_number(m, 4, &number)); return memo_get(m, number);
    case 'c': return read_global(m);
    case 0x93: return stack_global(m);
    case 'Q': return push_persistent(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    case '.': m->stopped = true; return STATUS_OK;
    default:
        return status_fail(STATUS_BAD_INPUT, "pickle opcode 0x%02x at byte %zu is not one that torch.save writes", opcode,
                           m->opcode_at);
    }
}

static Status run(Machine *m)
{
    const uint8_t *opcode;
    while (!m->stopped) {
        bool known = true;
        m->opcode_at = m->at;
        TRY(take(m, 1, &opcode));
        TRY(run_plain(m, *opcode, &known));
        if (known) continue;
        known = true;
        TRY(run_container(m, *opcode, &known));
        if (!known) TRY(run_object(m, *opcode));
    }
    if (m->depth != 1 || m->mark_count) return damaged(m, "it does not end with one value");
    m->pickle->root = m->stack[0];
    return STATUS_OK;
}

Status pickle_read(const uint8_t *bytes, size_t size, const PickleOptions *options, Pickle **out, size_t *used)
{
    *out = NULL;
    Machine m = {.bytes = bytes, .size = size, .options = options, .pickle = calloc(1, sizeof(Pickle))};
    if (!m.pickle) return out_of_memory(0, 0);
    m.pickle->max_bytes = options->max_bytes;
    m.pickle->persistents.type = PICKLE_LIST;
    Status status = run(&m);
    if (status != STATUS_OK) {
        pickle_free(m.pickle);
        return status;
    }
    *out = m.pickle;
    if (used) *used = m.at;
    return STATUS_OK;
}

/* --- looking at values --- */

bool pickle_text_is(const PickleValue *value, const char *text)
{
    return value->type == PICKLE_TEXT && value->count == strlen(text) && !memcmp(value->text, text, value->count);
}

bool pickle_global_is(const PickleValue *value, const char *name)
{
    return value->type == PICKLE_GLOBAL && value->count == strlen(name) && !memcmp(value->text, name, value->count);
}

const PickleValue *pickle_get(const PickleValue *dict, const char *key)
{
    const PickleValue *found = NULL;
    for (uint32_t i = 0; dict->type == PICKLE_DICT && i + 1 < dict->count; i += 2)
        if (pickle_text_is(dict->items[i], key)) found = dict->items[i + 1];
    return found;
}

const char *pickle_quote(const char *text, size_t length, char quote[64])
{
    size_t n = length < 60 ? length : 60;
    for (size_t i = 0; i < n; i++) quote[i] = (char)(text[i] >= 32 && text[i] < 127 ? text[i] : '?');
    strcpy(quote + n, length > n ? "..." : "");
    return quote;
}
