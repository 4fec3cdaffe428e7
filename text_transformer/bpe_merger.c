#include "text_transformer/bpe_merger.h"

#include <stdlib.h>

/* --- rules --- */

Status bpe_rules_init(BpeRules *rules, size_t count)
{
    *rules = (BpeRules){.items = calloc(count + 1, sizeof *rules->items), .pairs = calloc(count + 1, sizeof *rules->pairs),
                        .count = count};
    if (rules->items && rules->pairs) return STATUS_OK;
    bpe_rules_release(rules);
    return status_fail(STATUS_NO_MEMORY, "out of memory for a vocabulary of %zu merges", count);
}

void bpe_rules_release(BpeRules *rules)
{
    free(rules->items);
    free(rules->pairs);
    *rules = (BpeRules){0};
}

static int compare_pairs(const void *a, const void *b)
{
    const BpePair *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

Status bpe_rules_sort(BpeRules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        rules->pairs[i] = (BpePair){pair_key(rules->items[i].left, rules->items[i].right), (uint32_t)i};
    qsort(rules->pairs, rules->count, sizeof *rules->pairs, compare_pairs);
    for (size_t i = 1; i < rules->count; i++)
        if (rules->pairs[i].key == rules->pairs[i - 1].key)
            return status_fail(STATUS_BAD_INPUT, "merge %u: expected a new pair, found that of merge %u", rules->pairs[i].rank,
                               rules->pairs[i - 1].rank);
    return STATUS_OK;
}

/* --- merging --- */

void bpe_sink_put(BpeSink *sink, int32_t id)
{
    if (sink->count < sink->capacity) sink->ids[sink->count] = id;
    sink->count++;
}

bool bpe_merger_emit(BpeMerger *merger, const BpeRules *rules, size_t size, BpeSink *sink)
{
    size_t count;
    if (!bpe_merger_run(merger, rules, size, &count)) return false;
    for (size_t i = 0; i < count; i++) bpe_sink_put(sink, merger->ids[i]);
    return true;
}

void bpe_merger_release(BpeMerger *m)
{
    free(m->ids);
    free(m->before);
    free(m->after);
    free(m->changed);
    free(m->heap.items);
    *m = (BpeMerger){0};
}

bool bpe_merger_start(BpeMerger *m, size_t size)
{
    return array_reserve(&m->ids, &m->ids_capacity, size) && array_reserve(&m->before, &m->before_capacity, size) &&
           array_reserve(&m->after, &m->after_capacity, size) && array_reserve(&m->changed, &m->changed_capacity, size);
}

/* Note the pair of the token at `at` and its follower if it can be merged. */
static bool push_pair(BpeMerger *m, const BpeRules *rules, size_t at, size_t size)
{
    size_t next = m->after[at];
    if (next >= size) return true;
    uint64_t key = pair_key(m->ids[at], m->ids[next]);
    size_t low = 0, high = rules->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rules->pairs[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == rules->count || rules->pairs[low].key != key) return true;
    return heap_push(&m->heap, rules->pairs[low].rank, at);
}

/* Merge all occurrences of the pair of lowest rank, left to right. Pairs with the new token are noted only afterwards:
 * with tokens that two merges make, one of them might have a lower rank, and it has to wait. */
static bool merge_round(BpeMerger *m, const BpeRules *rules, size_t size)
{
    uint64_t rank = m->heap.items[0].major;
    const BpeRule *rule = &rules->items[rank];
    size_t n_changed = 0;
    while (m->heap.count && m->heap.items[0].major == rank) {
        size_t at = (size_t)heap_pop(&m->heap).minor;
        if (m->ids[at] != rule->left) continue;
        size_t next = m->after[at];
        if (next >= size || m->ids[next] != rule->right) continue;
        m->ids[at] = rule->made;
        m->ids[next] = -1;
        m->after[at] = m->after[next];
        if (m->after[at] < size) m->before[m->after[at]] = (uint32_t)at;
        m->changed[n_changed++] = (uint32_t)at;
    }
    for (size_t i = 0; i < n_changed; i++) {
        size_t at = m->changed[i];
        if (at && !push_pair(m, rules, m->before[at], size)) return false;
        if (!push_pair(m, rules, at, size)) return false;
    }
    return true;
}

bool bpe_merger_run(BpeMerger *m, const BpeRules *rules, size_t size, size_t *count)
{
    for (size_t i = 0; i < size; i++) {
        m->before[i] = i ? (uint32_t)i - 1 : 0;
        m->after[i] = (uint32_t)i + 1;
    }
    m->heap.count = 0;
    for (size_t i = 0; i + 1 < size; i++)
        if (!push_pair(m, rules, i, size)) return false;
    while (m->heap.count)
        if (!merge_round(m, rules, size)) return false;
    *count = 0;
    for (size_t at = 0; at < size; at = m->after[at]) m->ids[(*count)++] = m->ids[at];
    return true;
}
