/* The models that guide a study: read, checked, and what classes its prompts are of. */
#ifndef GLIDE_STUDY_GUIDES_H
#define GLIDE_STUDY_GUIDES_H

#include "data/dataset.h"
#include "glide/ablation/study.h"
#include "glide/ablation/study_prompts.h"

/* s->options.base.guides for the grid's modes, s->untrained where a control wants it, costs, and their hashes among the
 * settings. */
Status study_guides_load(Study *s, const StudyAsk *ask);

/* s->spec.label of every prompt; d may be NULL. Without a classifier they are prompt numbers modulo the untrained one's classes.
 * STATUS_BAD_INPUT: a class that the classifier does not know. */
Status study_guides_label(Study *s, const StudyPrompts *prompts, const Dataset *d, const char *source);

#endif
