/* The lists that the training data set is made from: sources.tsv (pinned packages), manifest.tsv.gz (which picture of which
 * package shows what, in which split) and photos.tsv (the same of photos).
 *
 * Also the rules behind the manifest's columns `root` and `split`, so that both can be checked independently:
 *   code   code points in upper-case hex, joined with '-'
 *   root   the concept: the untoned code without leading zeros, variation selectors (FE0F) and gender signs (200D-2640,
 *          200D-2642), man and woman (1F468, 1F469) at the front replaced by person (1F9D1)
 *   u(s)   32-bit FNV-1a of the text s, modulo 1000
 *   split  the first rule that fires:
 *          test_concept  u("concept:" root) < 20
 *          test_pair     the root occurs in 3 or more families and u("pair:" root ":" family) < 40
 *          test_tone     toned, the root has 5 or more different tones and u("tone:" root ":" tone) < 60
 *          train         else
 * where the family is "fluent" for the three Fluent sets, which share drawings, else the set. */
#ifndef GLIDE_DATA_MANIFEST_H
#define GLIDE_DATA_MANIFEST_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef enum { SPLIT_TRAIN, SPLIT_TEST_PAIR, SPLIT_TEST_TONE, SPLIT_TEST_CONCEPT, SPLIT_TEST_PHOTO, SPLIT_COUNT } Split;

const char *split_name(Split split);   /* "train", "test_pair", "test_tone", "test_concept", "test_photo" */
int split_from_name(const char *name); /* a Split, or -1 */

/* A line of manifest.tsv.gz. All texts are UTF-8 and belong to the Manifest. */
typedef struct ManifestRow {
    const char *id;                 /* of the source: "fluent-3d" */
    const char *icon;               /* its name inside the source */
    const char *code, *root, *tone; /* tone: "", "1" .. "5", or two joined by '-' */
    const char *group;              /* "food-drink" */
    Split split;
    const char *label_en, *label_ko;
    const char *tags_en, *tags_ko; /* keywords, '|' between */
    const char *licence;           /* of this picture; NULL: its source's */
} ManifestRow;

typedef struct Manifest {
    ManifestRow *rows;
    int count;
    char *text; /* what the rows point into */
} Manifest;

/* Read manifest.tsv.gz (or the same uncompressed). Errors name the file and the line. */
Status manifest_load(const char *path, Manifest *out);
void manifest_release(Manifest *m); /* an all-zero Manifest is fine */

/* A line of photos.tsv. */
typedef struct PhotoRow {
    const char *id;                  /* of the source: "skimage" */
    const char *name;                /* "coffee" */
    const char *file;                /* inside the unpacked package */
    Split split;                     /* SPLIT_TRAIN or SPLIT_TEST_PHOTO */
    int halve;                       /* soft: reduced to half, but not below 256, before anything else */
    const char *licence;             /* with the author */
    const char *label_en, *label_ko; /* "cup of coffee on a red saucer" */
} PhotoRow;

typedef struct PhotoList {
    PhotoRow *rows;
    int count;
    char *text;
} PhotoList;

Status photos_load(const char *path, PhotoList *out);
void photos_release(PhotoList *list); /* all-zero is fine */

/* The photo kinds are Debian and npm packages of which photos.tsv names files; the others are npm packages. */
typedef enum { SOURCE_ICONIFY, SOURCE_WEBP, SOURCE_PHOTO_DEB, SOURCE_PHOTO_NPM, SOURCE_KINDS } SourceKind;

/* A line of sources.tsv. */
typedef struct Source {
    const char *id;    /* "fluent-emoji-flat", as in the manifest */
    const char *style; /* "fluent flat", as in captions */
    const char *package, *version, *sha256;
    SourceKind kind;
    int margin;          /* pixels left white on each side of 256 */
    const char *licence; /* of the art */
} Source;

typedef struct SourceList {
    Source *items;
    int count;
    char *text;
} SourceList;

Status sources_load(const char *path, SourceList *out);
void sources_release(SourceList *list);
const Source *sources_find(const SourceList *list, const char *id); /* NULL when there is none */

/* FNV-1a, 32 bit, modulo 1000. */
uint32_t split_hash(const char *text);
/* The root of an untoned code. False when it does not fit into `size` bytes. */
int code_root(const char *code, char *out, size_t size);
/* Redo the splits of all rows by the rules above. out[m->count]. */
Status manifest_derive_splits(const Manifest *m, Split *out);

#endif
