/* Published totals of the splits of public data sets, to be printed beside what was counted and to divide by. */
#ifndef LH_DATA_PUBLISHED_H
#define LH_DATA_PUBLISHED_H

#include "data/count.h"

#include <stdbool.h>
#include <stdint.h>

/* A total of 0 is not published. */
typedef struct lh_published {
    const char *benchmark; /* "pg19" */
    const char *split;     /* "train", "validation", "test" */
    uint64_t documents;
    uint64_t words;     /* PG-19: the official count that word-level perplexity divides by */
    uint64_t tokens;    /* word-level tokens, with one per line end */
    uint64_t bytes;     /* exact for enwik8 and text8; for PG-19 of a copy with about 100 bytes more per book */
    const char *source; /* where the figures are from */
} lh_published;

/* The totals of a split, or NULL. The layouts wikitext-2 and wikitext-103 share validation and test. */
const lh_published *lh_published_find(const char *benchmark, const char *split);

/* Whether counted totals are those of the full split: PG-19 by the number of books and bytes within 0.1 %, the
 * others by exact equality of what is published. `word_tokens` is 0 if the split was not cut into words. */
bool lh_published_is_full(const lh_published *published, uint64_t documents, const lh_text_totals *totals,
                          uint64_t word_tokens);

#endif
