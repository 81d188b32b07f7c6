/* The text that a run trains on: a prepared data set, or raw text that is prepared into the run's own folder. */
#ifndef LH_TRAIN_CORPUS_H
#define LH_TRAIN_CORPUS_H

#include "data/dataset.h"
#include "train/keys.h"

/* Called while text is being prepared, as lh_prepare_options.watch. */
typedef bool (*lh_corpus_watch)(void *data, const char *phase, uint64_t done, uint64_t total);

typedef struct lh_corpus {
    lh_dataset *dataset, *other; /* other: of data.validation_path */
    lh_tokenizer *tokenizer;
    const lh_split *train, *validation; /* validation is NULL if there is none */
    uint32_t *token_bytes;              /* [vocab] */
    int64_t vocab;
} lh_corpus;

/* `cache`: a folder for prepared text; a second call with the same text takes what the first one left there. Other
 * text in it is replaced if `replace`, else LH_E_CONFIG. */
lh_status lh_corpus_open(lh_corpus **corpus, const lh_train_config *config, const char *cache, bool replace,
                         lh_corpus_watch watch, void *watch_data, lh_error *error);
void lh_corpus_free(lh_corpus *corpus); /* NULL is fine */

#endif
