/* The longest of many strings at a place in a text, and the first place where there is one. */
#ifndef LH_TEXT_MATCHER_H
#define LH_TEXT_MATCHER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lh_match_entry {
    const unsigned char *bytes; /* borrowed; must stay where they are */
    size_t size;                /* at least 1 */
    int32_t id;
} lh_match_entry;

/* A dictionary of strings, sorted. Zero-initialise, add, then sort once before the first search. */
typedef struct lh_matcher {
    lh_match_entry *entries;
    size_t count, capacity;
    size_t first[257]; /* entries that start with byte b: [first[b], first[b + 1]) */
} lh_matcher;

typedef struct lh_match {
    size_t start, size; /* size 0: none; everything before `start` is sure to hold none */
    int32_t id;
} lh_match;

lh_status lh_matcher_add(lh_matcher *matcher, const unsigned char *bytes, size_t size, int32_t id, lh_error *error);
void lh_matcher_sort(lh_matcher *matcher);

/* The longest entry at the start of the text. *open: a longer one would be possible with more text. */
lh_match lh_matcher_prefix(const lh_matcher *matcher, const unsigned char *text, size_t size, bool *open);

/* The leftmost entry in the text, of those that start there the longest. Without `final`, more text may follow, and
 * only what it cannot change is a match. */
lh_match lh_matcher_find(const lh_matcher *matcher, const unsigned char *text, size_t size, bool final);

void lh_matcher_free(lh_matcher *matcher);

#endif
