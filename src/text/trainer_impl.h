/* The inside of a trainer, for the files of this folder. */
#ifndef LH_TEXT_TRAINER_IMPL_H
#define LH_TEXT_TRAINER_IMPL_H

#include "text/encoder_impl.h"
#include "text/train.h"

/* Distinct byte strings, in the order in which they were first seen, and how often each was seen. */
typedef struct lh_counts {
    lh_vocab strings;
    uint64_t *count;
    int32_t capacity;
} lh_counts;

lh_status lh_counts_add(lh_counts *counts, const unsigned char *bytes, size_t size, uint64_t times,
                        lh_error *error);
void lh_counts_free(lh_counts *counts);

struct lh_trainer {
    lh_train_options options; /* pattern and special point to own copies */
    lh_tokenizer *tokenizer;  /* what is built; until then it has just the pre-tokenizer */
    lh_encoder *encoder;
    lh_ids no_ids;
    lh_counts counts;
    uint64_t offset; /* kind characters: bytes of the document so far */
};

typedef struct lh_train_progress {
    lh_train_watch watch;
    void *data;
} lh_train_progress;

/* Tells the watcher; LH_E_INTERRUPTED if it says stop. */
lh_status lh_train_tell(const lh_train_progress *progress, uint64_t done, uint64_t total, lh_error *error);

/* Fill trainer->tokenizer. */
lh_status lh_train_bpe(lh_trainer *trainer, const lh_train_progress *progress, lh_error *error);
lh_status lh_train_closed(lh_trainer *trainer, lh_error *error);
lh_status lh_train_subwords(lh_trainer *trainer, const lh_train_progress *progress, lh_error *error);

#endif
