/* How often each token occurs in a training text: for losses by frequency. */
#ifndef LH_EVAL_FREQUENCY_H
#define LH_EVAL_FREQUENCY_H

#include "text/tokenizer.h"

/* Adds the occurrences of every token to counts[vocab]: of the train split of a prepared data set, or of a text. */
lh_status lh_eval_count_tokens(const char *path, const lh_tokenizer *tokenizer, uint64_t *counts, int64_t vocab,
                               lh_error *error);

#endif
