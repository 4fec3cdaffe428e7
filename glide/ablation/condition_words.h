/* What --modes, --scales and --variants of an ablation say, word by word; condition_grid.h makes conditions of it. */
#ifndef GLIDE_CONDITION_WORDS_H
#define GLIDE_CONDITION_WORDS_H

#include "guidance/guidance.h"

enum { CONDITION_MODES_MOST = 16, CONDITION_SCALES_MOST = 64, CONDITION_VARIANTS_MOST = 64, CONDITION_NAME = 64 };

/* "cfg", "cfg+clip" */
typedef struct ConditionMode {
    char name[CONDITION_NAME];
    GuidanceModeId of[GUIDANCE_MODES];
    int count;
} ConditionMode;

typedef struct ConditionVariant {
    char text[CONDITION_NAME]; /* as it is shown: "rescale 0.7", "" for plain */
    Guidance guidance;         /* its modifiers; no terms */
    GuidanceTerm term;         /* interval and schedule of every mode */
} ConditionVariant;

typedef struct ConditionScale {
    double of[GUIDANCE_MODES]; /* of the mode's parts */
    bool same;                 /* one number was given for all of them */
} ConditionScale;

typedef struct ConditionScales {
    ConditionScale items[CONDITION_SCALES_MOST];
    int count;
} ConditionScales;

typedef struct ConditionWords {
    bool none;
    ConditionMode modes[CONDITION_MODES_MOST]; /* without "none" */
    int mode_count;
    ConditionVariant *variants;
    int variant_count;
    char *scales; /* the text, checked */
} ConditionWords;

/* STATUS_BAD_INPUT begins with the option's name; *w is then released already. */
Status condition_words_init(ConditionWords *w, const char *modes, const char *scales, const char *variants);
void condition_words_release(ConditionWords *w);

/* Those of cfgpp for its variants, else those of the mode, else those of all. */
Status condition_scales_for(const ConditionWords *w, const ConditionMode *mode, const ConditionVariant *v, ConditionScales *out);

#endif
