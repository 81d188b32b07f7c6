/* The text that a model is evaluated on: a split of a prepared data set, or text files that are encoded here, with
 * the totals that losses are divided by. */
#ifndef LH_EVAL_CORPUS_H
#define LH_EVAL_CORPUS_H

#include "data/dataset.h"
#include "data/split.h"
#include "text/tokenizer.h"

/* Called with what is being done and how far; false stops with LH_E_INTERRUPTED. */
typedef bool (*lh_eval_watch)(void *user, const char *phase, uint64_t done, uint64_t total);

typedef struct lh_eval_corpus_options {
    const char *path; /* a prepared data set, or text in any layout that lh_input_open knows; "-": standard input */
    const char *split;        /* NULL: "test" of what has splits (else "validation"), all of anything else */
    uint64_t limit_tokens;    /* only the first so many tokens; 0: all */
    uint64_t document_tokens; /* only the first so many of each document; 0: all */
    lh_eval_watch watch;      /* may be NULL */
    void *watch_data;
} lh_eval_corpus_options;

typedef struct lh_eval_document {
    char *name;
    uint64_t start, tokens; /* its place in the split */
    lh_text_totals totals;  /* of its text; of a document that was cut, of the part that is left */
} lh_eval_document;

typedef struct lh_eval_corpus {
    char *name; /* "books/test.lhd (test)" */
    const lh_split *split;
    lh_eval_document *documents; /* [document_count], those of the split */
    size_t document_count;
    lh_text_totals totals;
    bool lossless;                 /* every document's text comes back from its tokens */
    bool lossless_text;            /* found by comparing the text itself; false: by comparing its recorded totals */
    bool cut;                      /* by a limit: not the whole split */
    const lh_published *published; /* totals of the benchmark that this is the whole of, or NULL */
    lh_dataset *dataset;           /* or NULL */
    lh_split *owned;               /* or NULL */
} lh_eval_corpus;

/* The tokenizer must be the model's; a data set that was prepared with another is LH_E_CONFIG. */
lh_status lh_eval_corpus_open(lh_eval_corpus **corpus, const lh_tokenizer *tokenizer,
                              const lh_eval_corpus_options *options, lh_error *error);
/* For the protocol line: the corpus becomes rows of at most `window` tokens, each a document of its own with the
 * name of the one that it begins in. White space around lines and blank lines are gone, so it is not lossless; the
 * totals stay those of the text. `end_token` follows every row, or LH_NO_TOKEN. */
lh_status lh_eval_corpus_pack_lines(lh_eval_corpus *corpus, const lh_tokenizer *tokenizer, int64_t window,
                                    int32_t end_token, lh_error *error);

void lh_eval_corpus_free(lh_eval_corpus *corpus); /* NULL is fine */

#endif
