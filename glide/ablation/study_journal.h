/* The journal of a study: which shards are finished, in a text that is only ever appended to, and beside it what they took.
 *
 *     glide-ablation-journal 1
 *     cells/c003-b0012.h5 8c736521f1e0a59b
 *     ...
 *
 * A line is written, and on the disk, after its shard is. Its number is a hash of the shard's values. A kill may leave half a
 * line at the end, or a power cut worse: reading stops at the first line that is not whole, and what follows is cut off. The
 * journal is locked as long as it is open, so that no two programs work on one study. timings.csv has a line for each shard:
 * condition,block,pictures,seconds. */
#ifndef GLIDE_STUDY_JOURNAL_H
#define GLIDE_STUDY_JOURNAL_H

#include "glide/ablation/study_spec.h"

#include <stdbool.h>

typedef struct StudyJournal {
    int fd; /* -1: read only */
    char *path, *timings;
    int conditions, blocks;
    bool *done;        /* (conditions,blocks) */
    uint64_t *hash;    /* (conditions,blocks) of what is done */
    double *seconds;   /* (conditions,blocks) for the whole shard as if made alone; NAN: not known */
} StudyJournal;

/* "cells/c003-b0012.h5". Returns `name`. */
const char *study_shard_name(int condition, int block, char *name, size_t size);

/* Makes it if it is missing, locks it, reads it, cuts off what is broken. STATUS_IO: cannot be written, or in use. */
Status study_journal_open(const char *folder, const StudySpec *s, StudyJournal *j);
/* Without changing anything. A missing one is empty. */
Status study_journal_read(const char *folder, const StudySpec *s, StudyJournal *j);
void study_journal_close(StudyJournal *j);

/* A shard is finished. One that the journal had before (it was damaged since) gets no second line. */
Status study_journal_add(StudyJournal *j, int condition, int block, int pictures, uint64_t hash, double seconds);

#endif
