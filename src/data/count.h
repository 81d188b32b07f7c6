/* How much text: bytes, words, Unicode characters, and bytes that are not UTF-8.
 *
 * A word is a maximal run of characters that are not white space (Unicode White_Space and the separators U+001C to
 * U+001F), the count that the word totals of the public book lists follow. A byte that is part of no valid UTF-8
 * character counts as one character of its own, is no white space, and is counted in `invalid`. */
#ifndef LH_DATA_COUNT_H
#define LH_DATA_COUNT_H

#include <stddef.h>
#include <stdint.h>

typedef struct lh_text_totals {
    uint64_t bytes, words, characters, invalid;
} lh_text_totals;

/* Counts a text that arrives in pieces. Zero-initialise; plain data. */
typedef struct lh_text_counter {
    lh_text_totals totals;    /* complete after lh_text_counter_finish */
    uint64_t first_invalid;   /* offset of the first byte that is not UTF-8; meaningful if totals.invalid > 0 */
    unsigned char pending[4]; /* the beginning of a character that the last piece cut */
    unsigned char pending_size, in_word;
} lh_text_counter;

void lh_text_counter_feed(lh_text_counter *counter, const void *bytes, size_t size);

/* Ends the text: a character that is cut off here is invalid. */
void lh_text_counter_finish(lh_text_counter *counter);

/* Adds `more` to `totals`. */
static inline void lh_text_totals_add(lh_text_totals *totals, const lh_text_totals *more)
{
    totals->bytes += more->bytes;
    totals->words += more->words;
    totals->characters += more->characters;
    totals->invalid += more->invalid;
}

#endif
