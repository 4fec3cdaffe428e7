/* The prompts of a study: captions of held-out pictures, or the lines of a file.
 *
 * "64" takes captions ("{label}, {style} emoji") of pictures of the split test_pair, whose concepts training saw in other
 * styles only: styles as evenly as they come, then concepts, then groups; which ones depends on the seed alone. A file has a
 * prompt a line; what follows a TAB is the class that a classifier guides towards, a number or a name; lines that begin with
 * '#' are comments. */
#ifndef GLIDE_STUDY_PROMPTS_H
#define GLIDE_STUDY_PROMPTS_H

#include "common/status.h"
#include "data/dataset.h"

enum { STUDY_PROMPTS_MOST = 100000 };

typedef struct StudyPrompts {
    int count;
    char **text;    /* UTF-8 */
    char **of_class; /* as the file has it; NULL: none */
    int *picture;   /* of the data set; -1: from a file */
    int *other;     /* the prompt that the shuffled control draws in its place; NULL: all prompts are alike */
} StudyPrompts;

/* Whether `asked` is a number of captions rather than a file. */
bool study_prompts_counted(const char *asked, int *count);

/* STATUS_BAD_INPUT names the option or the file and the line. */
Status study_prompts_pick(StudyPrompts *p, const Dataset *d, int count, uint64_t seed);
Status study_prompts_read(StudyPrompts *p, const char *path);
void study_prompts_release(StudyPrompts *p);

#endif
