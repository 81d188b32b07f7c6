/* Making vocabularies from text. */
#ifndef LH_TEXT_TRAIN_H
#define LH_TEXT_TRAIN_H

#include "text/tokenizer.h"

/* Collects what a vocabulary is made of while text flows through it, document by document. */
typedef struct lh_trainer lh_trainer;

typedef struct lh_train_options {
    lh_tokenizer_kind kind;     /* not bytes */
    int32_t vocab_size;         /* special tokens included; for words and characters 0 means all observed */
    int64_t min_frequency;      /* a merge, word or character seen less often is left out; at least 1 */
    const char *pattern;        /* bpe: "gpt2", "qwen2", "llama3" or a regular expression; NULL is gpt2 */
    const char *const *special; /* special tokens, in order of their ids, NULL-terminated; or NULL */
    bool unknown;               /* characters: add `<unk>`, so that unobserved characters are no error */
} lh_train_options;

/* Called from time to time with the number of merges (or other items) made so far; false stops the training with
 * LH_E_INTERRUPTED. */
typedef bool (*lh_train_watch)(void *data, uint64_t done, uint64_t total);

/* The options are copied. Fails with LH_E_ARGUMENT on options that make no sense. */
lh_status lh_trainer_create(lh_trainer **trainer, const lh_train_options *options, lh_error *error);
lh_status lh_trainer_feed(lh_trainer *trainer, const void *bytes, size_t size, lh_error *error);
lh_status lh_trainer_finish_document(lh_trainer *trainer, lh_error *error);

/* Distinct words (or characters) so far. */
uint64_t lh_trainer_distinct(const lh_trainer *trainer);

/* Builds the tokenizer. Deterministic: a function of the text and the options only. Call once. Kind bpe: repeatedly
 * joins the most frequent adjacent pair (Sennrich et al. 2016, algorithm 1), ties to the pair with the smaller ids;
 * stops early when no pair reaches min_frequency. */
lh_status lh_trainer_build(lh_trainer *trainer, lh_train_watch watch, void *watch_data, lh_tokenizer **tokenizer,
                           lh_error *error);
void lh_trainer_free(lh_trainer *trainer);

#endif
