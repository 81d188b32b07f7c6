/* Ranked merges of byte pair encoding, and their application to one pre-token. */
#ifndef LH_TEXT_MERGES_H
#define LH_TEXT_MERGES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lh_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX in an empty slot of the table */
    uint32_t rank;
    int32_t result;
} lh_merge;

#define LH_MERGE_LIMIT ((uint32_t)1 << 24)

typedef struct lh_merges {
    lh_merge *table; /* open addressing by pair */
    size_t table_size;
    uint64_t *pairs; /* [count] by rank */
    uint32_t count, capacity;
} lh_merges;

/* Adds the merge of the next rank. *added is false, and nothing changes, if the pair has a merge already. */
lh_status lh_merges_put(lh_merges *merges, int32_t left, int32_t right, int32_t result, bool *added,
                        lh_error *error);

/* The merge of a pair of ids, or NULL. Negative ids have none. */
const lh_merge *lh_merges_find(const lh_merges *merges, int32_t left, int32_t right);

void lh_merges_free(lh_merges *merges);

/* Working memory of lh_merges_apply. Zero-initialise. */
typedef struct lh_merge_scratch {
    void *memory;
    size_t bytes;
} lh_merge_scratch;

/* Joins symbols until no merge applies: always the pair of lowest rank, of those the leftmost. In place; *count
 * becomes the number of symbols left. O(n log n) for n symbols. */
lh_status lh_merges_apply(const lh_merges *merges, lh_merge_scratch *scratch, int32_t *symbols, size_t *count,
                          lh_error *error);
void lh_merge_scratch_free(lh_merge_scratch *scratch);

#endif
