#include "data/captions.h"

#include <assert.h>
#include <string.h>

#define MAX_TAGS 64

/* Blocks of the key's sequence: 0..15 belong to the drawing of pictures. */
enum { BLOCK_LANGUAGE = 16, BLOCK_FORM, BLOCK_TAG_COUNT, BLOCK_TAGS }; /* BLOCK_TAGS + 0 .. 2 */

typedef struct Tag {
    const char *text;
    int length;
} Tag;

/* A string being put together; `length` never reaches `size`. */
typedef struct Text {
    char *out;
    size_t size, length;
} Text;

CaptionOptions caption_options_defaults(void)
{
    return (CaptionOptions){.korean = 0.25f, .shares = {0.6f, 0.2f, 0.1f, 0.1f}};
}

const char *caption_style_korean(const char *style)
{
    static const char *const words[][2] = {
        {"fluent 3d", "플루언트 3D"},     {"fluent flat", "플루언트 플랫"},
        {"fluent mono", "플루언트 흑백"}, {"noto", "노토"},
        {"noto blob", "노토 블롭"},       {"twemoji", "트위모지"},
        {"emojione", "이모지원"},         {"fxemoji", "파이어폭스"},
        {"streamline", "스트림라인"},     {"photo", "사진"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(style, words[i][0]) == 0) return words[i][1];
    }
    return style;
}

static void put(Text *t, const char *text, size_t length)
{
    size_t room = t->size - 1 - t->length;
    if (length > room) {
        length = room;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--; /* not inside a character */
        t->size = t->length + length + 1;                                            /* nothing comes after a cut */
    }
    memcpy(t->out + t->length, text, length);
    t->length += length;
    t->out[t->length] = 0;
}

static void put_text(Text *t, const char *text)
{
    put(t, text, strlen(text));
}

static void put_label(Text *t, const char *label)
{
    for (const char *colon; (colon = strstr(label, ": ")); label = colon + 2) {
        put(t, label, (size_t)(colon - label));
        put_text(t, ", ");
    }
    put_text(t, label);
}

static void put_style(Text *t, const DatasetItem *item, bool korean)
{
    put_text(t, ", ");
    put_text(t, korean ? caption_style_korean(item->style) : item->style);
    if (!item->photo) put_text(t, korean ? " 이모지" : " emoji");
}

static void put_tags(Text *t, const Tag *tags, int count)
{
    for (int i = 0; i < count; i++) {
        if (i) put_text(t, ", ");
        put(t, tags[i].text, (size_t)tags[i].length);
    }
}

/* Does the label say the keyword already? */
static bool label_has(const char *label, const Tag *tag)
{
    char word[128];
    if (tag->length >= (int)sizeof word) return false;
    memcpy(word, tag->text, (size_t)tag->length);
    word[tag->length] = 0;
    return strcasestr(label, word) != NULL;
}

/* Cut "a|b|c" into at most MAX_TAGS keywords, leaving out those in `label` (NULL: none). */
static int list_tags(const char *text, const char *label, Tag tags[MAX_TAGS])
{
    int count = 0;
    while (*text && count < MAX_TAGS) {
        Tag tag = {text, (int)strcspn(text, "|")};
        if (tag.length > 0 && !(label && label_has(label, &tag))) tags[count++] = tag;
        text += tag.length;
        if (*text) text++;
    }
    return count;
}

/* Move `wanted` different keywords to the front, in a random order. */
static void pick_tags(Tag *tags, int count, int wanted, const RngKey *key)
{
    for (int i = 0; i < wanted; i++) {
        int j = i + (int)rng_below(key, BLOCK_TAGS + (uint32_t)i, (uint32_t)(count - i));
        Tag swapped = tags[i];
        tags[i] = tags[j];
        tags[j] = swapped;
    }
}

static float uniform(const RngKey *key, uint32_t block)
{
    return rng_uniform(key, 4 * block);
}

static CaptionForm draw_form(const CaptionOptions *o, const RngKey *key)
{
    float sum = 0;
    for (int f = 0; f < CAPTION_FORMS; f++) sum += o->shares[f];
    float point = uniform(key, BLOCK_FORM) * sum;
    for (int f = 0; f < CAPTION_FORMS; f++) {
        if (point < o->shares[f]) return (CaptionForm)f;
        point -= o->shares[f];
    }
    return CAPTION_LABEL_STYLE;
}

size_t caption_draw(const Dataset *d, int i, const CaptionOptions *options, const RngKey *key, char *out, size_t size)
{
    assert(size > 0);
    CaptionOptions defaults = caption_options_defaults();
    const CaptionOptions *o = options ? options : &defaults;
    const DatasetItem *item = dataset_item(d, i);
    bool korean = *item->label_ko && uniform(key, BLOCK_LANGUAGE) < o->korean;
    const char *label = korean ? item->label_ko : item->label_en;
    CaptionForm form = draw_form(o, key);
    Tag tags[MAX_TAGS];
    int count = 0, picked = 2;
    if (form == CAPTION_LABEL_TAGS_STYLE || form == CAPTION_TAGS_STYLE) {
        bool alone = form == CAPTION_TAGS_STYLE; /* then the label's own words are welcome */
        if (alone) picked += (int)rng_below(key, BLOCK_TAG_COUNT, 2);
        count = list_tags(korean ? item->tags_ko : item->tags_en, alone ? NULL : label, tags);
        if (picked > count) picked = count;
        if (picked < (alone ? 2 : 1))
            form = CAPTION_LABEL_STYLE;
        else
            pick_tags(tags, count, picked, key);
    }
    Text t = {out, size, 0};
    *out = 0;
    if (form != CAPTION_TAGS_STYLE) put_label(&t, label);
    if (form == CAPTION_LABEL_TAGS_STYLE) {
        put_text(&t, " (");
        put_tags(&t, tags, picked);
        put_text(&t, ")");
    } else if (form == CAPTION_TAGS_STYLE) {
        put_tags(&t, tags, picked);
    }
    if (form != CAPTION_LABEL) put_style(&t, item, korean);
    return t.length;
}

size_t caption_plain(const Dataset *d, int i, bool korean, char *out, size_t size)
{
    assert(size > 0);
    const DatasetItem *item = dataset_item(d, i);
    korean = korean && *item->label_ko;
    Text t = {out, size, 0};
    *out = 0;
    put_label(&t, korean ? item->label_ko : item->label_en);
    put_style(&t, item, korean);
    return t.length;
}

size_t caption_sample(const Dataset *d, const ConceptIndex *index, const CaptionOptions *options, uint64_t seed,
                      uint32_t k, char *out, size_t size)
{
    RngKey key = {.seed = seed, .stream = RNG_DATA, .image = k, .step = UINT32_MAX}; /* a step no training reaches */
    return caption_draw(d, concept_index_draw(index, &key), options, &key, out, size);
}
