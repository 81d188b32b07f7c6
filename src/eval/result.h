/* The figures of an evaluation, and how they are printed. Formulas: docs/verbs/eval.md. */
#ifndef LH_EVAL_RESULT_H
#define LH_EVAL_RESULT_H

#include "base/text.h"
#include "eval/evaluate.h"

/* NaN where a figure makes no sense. */
typedef struct lh_eval_figures {
    double nats_per_token, bits_per_token, token_perplexity;
    double bits_per_byte, bits_per_character;
    double word_perplexity; /* exp(L / N_words) */
    bool complete;          /* every token of the corpus was scored exactly once */
    bool official_words;    /* N_words is the benchmark's published count */
    uint64_t words;         /* N_words */
    double warm_bits_per_byte, warm_token_perplexity;
    double accuracy, chance; /* of answers; chance: of a model that remembers nothing, NaN if not known */
    double window_loss, chunk_perplexity; /* overlap: mean of the windows' losses; chunkmean: of the chunks' exp */
} lh_eval_figures;

/* allow_skipped: divides by all words although not every token was scored. */
lh_eval_figures lh_eval_figures_of(const lh_evaluation *evaluation, const lh_eval_corpus *corpus,
                                   const lh_protocol *protocol, bool allow_skipped);

/* What stands above the figures. */
typedef struct lh_eval_heading {
    const char *model;
    int64_t step; /* -1: none */
    const lh_model *description;
    const lh_tokenizer *tokenizer;
    const lh_eval_options *options;
    const lh_eval_corpus *corpus;
    bool warm, by_document, by_position, allow_skipped;
    const char *frequencies; /* of which text, or NULL */
} lh_eval_heading;

void lh_eval_print_text(lh_string *out, const lh_evaluation *evaluation, const lh_eval_heading *heading);
lh_status lh_eval_print_json(lh_string *out, const lh_evaluation *evaluation, const lh_eval_heading *heading,
                             lh_error *error);

#endif
