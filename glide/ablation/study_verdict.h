/* What a finished study is worth: contact sheets, what the judge sees, metrics.csv and report.html, all into its folder. */
#ifndef GLIDE_STUDY_VERDICT_H
#define GLIDE_STUDY_VERDICT_H

#include "common/kernels.h"
#include "common/status.h"

#include <stdbool.h>

typedef struct StudyVerdict {
    const char *judge; /* its weights; NULL: measured is only what needs none */
    const char *data;  /* held-out pictures; NULL: the data set that the study names, if it does and the file is there */
    const char *json;  /* the table goes there, too; "-": standard output; NULL: nowhere */
    int (*progress)(void *ctx, double share); /* of judging; nonzero stops with STATUS_INTERRUPTED; may be NULL */
    void *ctx;
    bool judged; /* result */
} StudyVerdict;

/* Whether judge and data set can be read: to be asked before the pictures are made. */
Status study_verdict_check(const StudyVerdict *v);
/* Can be called again at any time: makes the same of the same pictures. */
Status study_verdict(const char *folder, Kernels *kernels, StudyVerdict *v);

#endif
