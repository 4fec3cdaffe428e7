/* Unicode's subgroups of concepts ("food-fruit", "animal-bird"), which are finer than the data set's nine groups: a text file with
 * one concept a line, "ROOT<tab>SUBGROUP", lines with '#' in front apart (data/subgroups.tsv). Data sets do not hold them, so that one
 * made before needs no rebuilding.
 *
 *     Subgroups *s;
 *     TRY(subgroups_load("data/subgroups.tsv", &s));
 *     const char *name = subgroups_of(s, dataset_item(d, i));
 *     subgroups_free(s); */
#ifndef GLIDE_DATA_SUBGROUPS_H
#define GLIDE_DATA_SUBGROUPS_H

#include "data/dataset.h"

typedef struct Subgroups Subgroups;

Status subgroups_load(const char *path, Subgroups **out); /* STATUS_BAD_INPUT names the file and the line; STATUS_IO */
void subgroups_free(Subgroups *s);                        /* NULL is fine */

const char *subgroups_find(const Subgroups *s, const char *root); /* NULL when the concept is not listed */
/* Of a picture's concept; of one that is not listed, its group. */
const char *subgroups_of(const Subgroups *s, const DatasetItem *item);

#endif
