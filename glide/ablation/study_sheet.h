/* Contact sheets of a study: the pictures of one prompt on the same noise, a row for each mode and variant, its scales from left to
 * right, the controls below. Pictures are the upsampler's where there was one. */
#ifndef GLIDE_STUDY_SHEET_H
#define GLIDE_STUDY_SHEET_H

#include "common/image.h"
#include "glide/ablation/study.h"

/* Of a prompt and a seed. */
Status study_sheet_make(const StudyData *d, int prompt, int seed, Image *out);

/* "sheets/p0007.png" in the folder: the first seed of each prompt. Returns `name`. */
const char *study_sheet_name(int prompt, char *name, size_t size);
/* All of them, with the prompt in full in a text chunk. */
Status study_sheets_write(const StudyData *d, const char *folder);

#endif
