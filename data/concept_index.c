/* The part of dataset.h that draws pictures by concept. */
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of the key's sequence; rng_below(b) and rng_uniform(4 b) both read block b. */
enum { BLOCK_CONCEPT = 0, BLOCK_PICTURE = 1 };

struct ConceptIndex {
    int concepts, pictures;
    int *starts;  /* [concepts + 1]: where a concept's pictures begin in members and ends */
    int *members; /* [pictures] */
    float *ends;  /* [pictures]: cumulative weight within the concept */
};

DatasetFilter dataset_filter_defaults(void)
{
    return (DatasetFilter){.split = SPLIT_TRAIN, .toned_weight = 1};
}

DatasetHalf dataset_half(const DatasetItem *item)
{
    char text[2 * DATASET_MAX_TEXT + 16];
    snprintf(text, sizeof text, "judge:%s:%s", item->root, strncmp(item->style, "fluent ", 7) ? item->style : "fluent");
    return split_hash(text) < 500 ? HALF_JUDGE : HALF_GUIDES;
}

static float weight_of(const DatasetItem *item, const DatasetFilter *filter)
{
    if (item->split != filter->split || item->photo != filter->photos) return 0;
    if (filter->half != HALF_BOTH && filter->half != dataset_half(item)) return 0;
    float weight = filter->style_weights ? filter->style_weights[item->style_id] : 1;
    return *item->tone ? weight * filter->toned_weight : weight;
}

/* Counting sort by concept; concepts without a picture get no place. first[root_count + 1] is zero-filled. */
static void fill_index(ConceptIndex *index, const Dataset *d, const DatasetFilter *filter, int *first)
{
    int count = dataset_count(d), roots = dataset_root_count(d);
    for (int i = 0; i < count; i++) {
        if (weight_of(dataset_item(d, i), filter) > 0) first[dataset_item(d, i)->root_id + 1]++;
    }
    for (int r = 0; r < roots; r++) {
        if (first[r + 1] > 0) index->starts[index->concepts++] = first[r];
        first[r + 1] += first[r];
    }
    index->pictures = first[roots];
    index->starts[index->concepts] = index->pictures;
    for (int i = 0; i < count; i++) {
        if (weight_of(dataset_item(d, i), filter) > 0) index->members[first[dataset_item(d, i)->root_id]++] = i;
    }
    for (int k = 0; k < index->concepts; k++) {
        float sum = 0;
        for (int j = index->starts[k]; j < index->starts[k + 1]; j++)
            index->ends[j] = sum += weight_of(dataset_item(d, index->members[j]), filter);
    }
}

Status concept_index_new(const Dataset *d, const DatasetFilter *filter, ConceptIndex **out)
{
    DatasetFilter defaults = dataset_filter_defaults();
    size_t count = (size_t)dataset_count(d), roots = (size_t)dataset_root_count(d);
    ConceptIndex *index = calloc(1, sizeof *index);
    int *first = calloc(roots + 1, sizeof *first);
    if (index) {
        index->starts = calloc(roots + 1, sizeof *index->starts);
        index->members = calloc(count, sizeof *index->members);
        index->ends = calloc(count, sizeof *index->ends);
    }
    Status status = STATUS_OK;
    if (!index || !first || !index->starts || !index->members || !index->ends)
        status = status_fail(STATUS_NO_MEMORY, "concepts: out of memory");
    else
        fill_index(index, d, filter ? filter : &defaults, first);
    free(first);
    if (!filter) filter = &defaults;
    if (status == STATUS_OK && index->concepts == 0)
        status = status_fail(STATUS_BAD_INPUT, "the data set has no %s %s in the chosen styles", split_name(filter->split),
                             filter->photos ? "photos" : "pictures");
    if (status != STATUS_OK)
        concept_index_free(index);
    else
        *out = index;
    return status;
}

void concept_index_free(ConceptIndex *index)
{
    if (!index) return;
    free(index->starts);
    free(index->members);
    free(index->ends);
    free(index);
}

int concept_index_concepts(const ConceptIndex *index)
{
    return index->concepts;
}

int concept_index_pictures(const ConceptIndex *index)
{
    return index->pictures;
}

const int *concept_index_members(const ConceptIndex *index, int k, int *count)
{
    *count = index->starts[k + 1] - index->starts[k];
    return index->members + index->starts[k];
}

int concept_index_draw_picture(const ConceptIndex *index, const RngKey *key, uint32_t block)
{
    return index->members[rng_below(key, block, (uint32_t)index->pictures)];
}

int concept_index_draw(const ConceptIndex *index, const RngKey *key)
{
    int k = (int)rng_below(key, BLOCK_CONCEPT, (uint32_t)index->concepts);
    int j = index->starts[k], last = index->starts[k + 1] - 1;
    float point = rng_uniform(key, 4 * BLOCK_PICTURE) * index->ends[last];
    while (j < last && point >= index->ends[j]) j++;
    return index->members[j];
}
