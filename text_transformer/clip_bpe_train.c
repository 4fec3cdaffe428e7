#include "text_transformer/clip_bpe_train.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BYTES = 512 /* 256, and 256 at the end of a piece */,
    MOST_MERGES = 8192,
    MOST_IDS = 1024 /* of a piece; longer ones are cut */
};

/* A vocabulary without merges that any text needs (0xFF is no byte of UTF-8): its ids are bytes, and what ends a piece is 256 or
 * more. */
static const char no_merges[] = "#version: 0.2\n\xc3\xbf \xc3\xbf\n";

typedef struct Piece {
    int32_t *ids;
    int length;
    int64_t count; /* how often it occurs */
} Piece;

typedef struct Training {
    ClipBpe *bytes;
    int32_t *ids;  /* of all pieces */
    size_t used, ids_capacity;
    Piece *pieces;
    size_t count, capacity;
    int size;         /* ids there are: rows of `pairs` */
    int64_t *pairs;   /* (size,size): how often left and right meet; zero between rounds */
    char **texts;     /* of each id, in the file's notation */
} Training;

static Status no_memory(void)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for a vocabulary");
}

/* --- pieces -------------------------------------------------------------------------------------- */

static Status add_pieces(Training *t, const char *text)
{
    size_t count, room = 4 * strlen(text) + 8; /* lower case may be longer */
    if (t->used + room > t->ids_capacity) {
        size_t capacity = 2 * (t->ids_capacity + room);
        int32_t *grown = realloc(t->ids, capacity * sizeof *grown);
        if (!grown) return no_memory();
        t->ids = grown;
        t->ids_capacity = capacity;
    }
    TRY(clip_bpe_encode(t->bytes, text, strlen(text), t->ids + t->used, room, &count));
    t->used += count < room ? count : room;
    return STATUS_OK;
}

static int compare_pieces(const void *a, const void *b)
{
    const Piece *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return memcmp(x->ids, y->ids, (size_t)x->length * sizeof *x->ids);
}

/* Cut the ids where pieces end; equal pieces become one. */
static Status cut_pieces(Training *t)
{
    for (size_t i = 0; i < t->used; i++) t->capacity += t->ids[i] >= BYTES / 2;
    t->pieces = calloc(t->capacity + 1, sizeof *t->pieces);
    if (!t->pieces) return no_memory();
    for (size_t i = 0, begin = 0; i < t->used; i++) {
        if (t->ids[i] < BYTES / 2) continue;
        if (t->ids[i] < BYTES && i + 1 - begin <= MOST_IDS)
            t->pieces[t->count++] = (Piece){t->ids + begin, (int)(i + 1 - begin), 1};
        begin = i + 1;
    }
    qsort(t->pieces, t->count, sizeof *t->pieces, compare_pieces);
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (kept > 0 && compare_pieces(&t->pieces[kept - 1], &t->pieces[i]) == 0) t->pieces[kept - 1].count++;
        else t->pieces[kept++] = t->pieces[i];
    }
    t->count = kept;
    return STATUS_OK;
}

/* --- merges -------------------------------------------------------------------------------------- */

static void add_pairs(Training *t, int sign)
{
    for (size_t i = 0; i < t->count; i++)
        for (int j = 0; j + 1 < t->pieces[i].length; j++) {
            int64_t *pair = &t->pairs[(size_t)t->pieces[i].ids[j] * (size_t)t->size + (size_t)t->pieces[i].ids[j + 1]];
            *pair = sign ? *pair + t->pieces[i].count : 0;
        }
}

/* The most frequent pair; false when none occurs twice. */
static bool find_best(Training *t, int32_t *left, int32_t *right)
{
    int64_t best = 1;
    add_pairs(t, 1);
    for (size_t i = 0; i < t->count; i++)
        for (int j = 0; j + 1 < t->pieces[i].length; j++) {
            int32_t l = t->pieces[i].ids[j], r = t->pieces[i].ids[j + 1];
            int64_t n = t->pairs[(size_t)l * (size_t)t->size + (size_t)r];
            if (n < best || n < 2 || (n == best && (l > *left || (l == *left && r >= *right)))) continue;
            best = n;
            *left = l;
            *right = r;
        }
    add_pairs(t, 0);
    return best > 1;
}

static void merge(Training *t, int32_t left, int32_t right, int32_t made)
{
    for (size_t i = 0; i < t->count; i++) {
        Piece *p = &t->pieces[i];
        int length = 0;
        for (int j = 0; j < p->length; j++) {
            bool meets = j + 1 < p->length && p->ids[j] == left && p->ids[j + 1] == right;
            p->ids[length++] = meets ? made : p->ids[j];
            j += meets;
        }
        p->length = length;
    }
}

static Status run(Training *t, int n_merges, FILE *out)
{
    char name[32];
    t->size = BYTES + n_merges;
    t->pairs = calloc((size_t)t->size * (size_t)t->size, sizeof *t->pairs);
    t->texts = calloc((size_t)t->size, sizeof *t->texts);
    if (!t->pairs || !t->texts) return no_memory();
    for (int32_t i = 0; i < BYTES; i++)
        if (!(t->texts[i] = strdup(clip_bpe_token_text(t->bytes, i, name, sizeof name)))) return no_memory();
    int32_t left = 0, right = 0, made = BYTES;
    for (; made < t->size && find_best(t, &left, &right); made++) {
        if (asprintf(&t->texts[made], "%s%s", t->texts[left], t->texts[right]) < 0) {
            t->texts[made] = NULL;
            return no_memory();
        }
        fprintf(out, "%s %s\n", t->texts[left], t->texts[right]);
        merge(t, left, right, made);
    }
    return made > BYTES
               ? STATUS_OK
               : status_fail(STATUS_BAD_INPUT, "expected texts to make a vocabulary of, found none with a pair of letters twice");
}

static void release(Training *t)
{
    for (int i = 0; t->texts && i < t->size; i++) free(t->texts[i]);
    free(t->texts);
    free(t->pairs);
    free(t->pieces);
    free(t->ids);
    clip_bpe_free(t->bytes);
}

static Status train(Training *t, const char *const *texts, size_t n_texts, int n_merges, FILE *out)
{
    TRY(clip_bpe_from_text(no_merges, sizeof no_merges - 1, &t->bytes));
    for (size_t i = 0; i < n_texts; i++) TRY(add_pieces(t, texts[i]));
    TRY(cut_pieces(t));
    fputs("#version: 0.2\n", out);
    return run(t, n_merges, out);
}

Status clip_bpe_train(const char *const *texts, size_t n_texts, int n_merges, ClipBpe **out)
{
    Training t = {0};
    char *text = NULL;
    size_t size = 0;
    *out = NULL;
    if (n_merges < 1 || n_merges > MOST_MERGES)
        return status_fail(STATUS_BAD_INPUT, "merges: expected 1 to %d, found %d", MOST_MERGES, n_merges);
    FILE *f = open_memstream(&text, &size);
    if (!f) return no_memory();
    Status s = train(&t, texts, n_texts, n_merges, f);
    if (fclose(f) != 0 && s == STATUS_OK) s = no_memory();
    if (s == STATUS_OK) s = clip_bpe_from_text(text, size, out);
    free(text);
    release(&t);
    return s;
}
