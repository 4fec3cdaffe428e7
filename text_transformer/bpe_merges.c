#include "text_transformer/bpe_merges.h"

#include "text_transformer/bpe_util.h"
#include "text_transformer/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

#define VERSION_LINE    "#version: 0.2\n"
#define VERSION_START   "#version"
#define PRINTABLE_BYTES 188
#define MAX_FILE_BYTES  ((size_t)1 << 26)

void bpe_merges_init(BpeMerges *merges)
{
    *merges = (BpeMerges){0};
}

void bpe_merges_release(BpeMerges *merges)
{
    for (size_t i = 0; i < merges->count; i++) free(merges->items[i].bytes);
    free(merges->items);
    bpe_merges_init(merges);
}

Status bpe_merges_add(BpeMerges *merges, const void *left, size_t left_size, const void *right, size_t right_size)
{
    if (!left_size || !right_size || left_size > UTF8_MAX_TEXT || right_size > UTF8_MAX_TEXT)
        return status_fail(STATUS_BAD_INPUT,
                           "merge %zu: parts of %zu and %zu bytes, expected at least one byte in each", merges->count,
                           left_size, right_size);
    uint8_t *bytes = malloc(left_size + right_size);
    if (!bytes || !array_reserve(&merges->items, &merges->capacity, merges->count + 1)) {
        free(bytes);
        return status_fail(STATUS_NO_MEMORY, "out of memory for merge %zu", merges->count);
    }
    memcpy(bytes, left, left_size);
    memcpy(bytes + left_size, right, right_size);
    merges->items[merges->count++] = (BpeMerge){bytes, (uint32_t)left_size, (uint32_t)right_size};
    return STATUS_OK;
}

int32_t bpe_byte_id(uint8_t byte)
{
    if (byte <= 32) return PRINTABLE_BYTES + byte;
    if (byte <= 126) return byte - 33;
    if (byte <= 160) return PRINTABLE_BYTES + 33 + byte - 127;
    if (byte <= 172) return 94 + byte - 161;
    if (byte == 173) return 255; /* the soft hyphen is the one invisible character among the rest */
    return 106 + byte - 174;
}

int32_t bpe_byte_symbol(uint8_t byte)
{
    int32_t id = bpe_byte_id(byte);
    return id < PRINTABLE_BYTES ? byte : 256 + id - PRINTABLE_BYTES;
}

/* -1 when it stands for no byte. */
static int32_t symbol_byte(int32_t symbol)
{
    if (symbol < 0 || symbol >= 512 - PRINTABLE_BYTES) return -1;
    if (symbol < 256) return bpe_byte_id((uint8_t)symbol) < PRINTABLE_BYTES ? symbol : -1;
    int32_t place = symbol - 256; /* among the bytes that are not printable, see bpe_byte_id() */
    return place <= 32 ? place : place <= 66 ? 127 + place - 33 : 173;
}

/* --- reading --- */

size_t bpe_symbols_to_bytes(const char *word, size_t size, uint8_t *bytes)
{
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        int32_t byte = symbol_byte(utf8_next(word, size, &at));
        if (byte < 0) return 0;
        bytes[count++] = (uint8_t)byte;
    }
    return count;
}

static Status parse_line(const char *line, size_t size, size_t number, uint8_t *bytes, BpeMerges *out)
{
    const char *space = memchr(line, ' ', size);
    size_t left_length = space ? (size_t)(space - line) : 0;
    size_t left = bpe_symbols_to_bytes(line, left_length, bytes), right = 0;
    if (left) right = bpe_symbols_to_bytes(space + 1, size - left_length - 1, bytes + left);
    if (!right) {
        char quote[48];
        return status_fail(STATUS_BAD_INPUT, "merges, line %zu: expected two words of byte symbols, found \"%s\"",
                           number, utf8_quote(line, size, quote, sizeof quote));
    }
    return bpe_merges_add(out, bytes, left, bytes + left, right);
}

static Status parse_lines(const char *text, size_t size, uint8_t *bytes, BpeMerges *out)
{
    size_t number = 1;
    for (size_t at = 0; at < size; number++) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        if (!end)
            return status_fail(STATUS_BAD_INPUT,
                               "merges, line %zu: expected a line feed at the end of the text: cut short?", number);
        size_t length = (size_t)(end - line);
        at += length + 1;
        if (number == 1) continue;
        if (length && line[length - 1] == '\r') length--;
        TRY(parse_line(line, length, number, bytes, out));
    }
    return STATUS_OK;
}

Status bpe_merges_parse(const char *text, size_t size, BpeMerges *out)
{
    bpe_merges_init(out);
    if (size < strlen(VERSION_START) || memcmp(text, VERSION_START, strlen(VERSION_START)) != 0) {
        char quote[24];
        return status_fail(STATUS_BAD_INPUT, "merges, line 1: expected \"" VERSION_START "\", found \"%s\"",
                           utf8_quote(text, size, quote, sizeof quote));
    }
    uint8_t *bytes = malloc(size);
    if (!bytes) return status_fail(STATUS_NO_MEMORY, "out of memory for merges of %zu bytes", size);
    Status status = parse_lines(text, size, bytes, out);
    free(bytes);
    if (status != STATUS_OK) bpe_merges_release(out);
    return status;
}

static Status read_all(gzFile file, const char *path, char **text, size_t *size)
{
    size_t capacity = 0;
    for (;;) {
        if (*size > MAX_FILE_BYTES)
            return status_fail(STATUS_BAD_INPUT, "%s: expected merges of at most %zu bytes, found more", path,
                               MAX_FILE_BYTES);
        if (!array_reserve(text, &capacity, *size + 65537))
            return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
        int got = gzread(file, *text + *size, 65536), code = Z_OK;
        const char *message = gzerror(file, &code); /* a cut file gives its bytes and an error; names the path */
        if (code == Z_ERRNO) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
        if (got < 0 || code != Z_OK) return status_fail(STATUS_BAD_INPUT, "%s (damaged gzip data)", message);
        if (got == 0) break;
        *size += (size_t)got;
    }
    (*text)[*size] = '\0';
    return STATUS_OK;
}

Status bpe_read_text(const char *path, char **text, size_t *size)
{
    *text = NULL;
    *size = 0;
    gzFile file = gzopen(path, "rb"); /* reads plain files as well */
    if (!file) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    Status status = read_all(file, path, text, size);
    gzclose(file);
    if (status == STATUS_OK) return STATUS_OK;
    free(*text);
    *text = NULL;
    return status;
}

Status bpe_merges_load(const char *path, BpeMerges *out)
{
    bpe_merges_init(out);
    char *text;
    size_t size;
    TRY(bpe_read_text(path, &text, &size));
    Status status = bpe_merges_parse(text, size, out);
    free(text);
    return status == STATUS_OK ? STATUS_OK : status_prefix(status, "%s", path);
}

/* --- writing --- */

static char *put_symbols(char *to, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) to += utf8proc_encode_char(bpe_byte_symbol(bytes[i]), (utf8proc_uint8_t *)to);
    return to;
}

Status bpe_merges_text(const BpeMerges *merges, char **text, size_t *size)
{
    size_t most = sizeof VERSION_LINE;         /* with its NUL */
    for (size_t i = 0; i < merges->count; i++) /* a symbol takes 2 bytes at most; a space and a line feed */
        most += 2 * ((size_t)merges->items[i].left_size + merges->items[i].right_size) + 2;
    *text = malloc(most);
    if (!*text) return status_fail(STATUS_NO_MEMORY, "out of memory for the text of %zu merges", merges->count);
    char *to = stpcpy(*text, VERSION_LINE);
    for (size_t i = 0; i < merges->count; i++) {
        const BpeMerge *merge = &merges->items[i];
        to = put_symbols(to, merge->bytes, merge->left_size);
        *to++ = ' ';
        to = put_symbols(to, merge->bytes + merge->left_size, merge->right_size);
        *to++ = '\n';
    }
    *to = '\0';
    if (size) *size = (size_t)(to - *text);
    return STATUS_OK;
}
