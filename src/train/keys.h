/* The recipe keys of training: [data], [train] and [eval], and what they mean together. */
#ifndef LH_TRAIN_KEYS_H
#define LH_TRAIN_KEYS_H

#include "data/stream.h"
#include "formats/recipe.h"
#include "train/optimizer.h"
#include "train/schedule.h"

/* The unit in which people compare losses. */
typedef enum lh_loss_unit {
    LH_UNIT_AUTO,               /* from the tokenizer */
    LH_UNIT_BITS_PER_BYTE,      /* nats / bytes / ln 2 */
    LH_UNIT_BITS_PER_CHARACTER, /* nats / characters / ln 2 */
    LH_UNIT_WORD_PERPLEXITY,    /* exp(nats / words) */
    LH_UNIT_NATS,               /* nats / tokens */
} lh_loss_unit;

/* Everything but [model] and [memory], parsed. Strings belong to the recipe. */
typedef struct lh_train_config {
    const char *path, *split, *tokenizer, *validation_path;
    lh_token_stream_layout layout;
    bool reset_at_document, shuffle;
    bool every_target; /* of a text with answers: not only those */
    int64_t batch;
    int64_t minimum_crop; /* crops layout; 0: as the memory wants it */
    bool crop_each_document;

    int64_t steps, tokens; /* budgets; 0: none */
    double minutes;
    lh_optimizer_options optimizer;
    lh_schedule schedule;
    bool loss_sum; /* the gradient is of the sum over tokens, else of their mean */
    double z_loss;
    int64_t accumulate;           /* parts that the lanes of a step are computed in, one after another */
    int64_t period, period_after; /* from iteration period_after on, one update for `period` segments */
    int64_t unroll;               /* segments of one graph */
    int64_t forget_every;         /* tokens of a lane after which all memories are cleared; 0: never */
    bool decay_embeddings;        /* weight decay on embedding tables, too */
    bool keep_graph;              /* gradients flow between them */
    bool recompute;
    uint64_t seed;
    const char *init_from; /* a run or model, or empty */
    int threads;
    int64_t log_every, checkpoint_every, keep, eval_every, eval_tokens, eval_batch;
    const char *eval_split;
    lh_loss_unit unit;
} lh_train_config;

/* A recipe over the whole schema, the models' and the memories' included, with all presets: to be read into. */
lh_status lh_train_recipe_create(lh_recipe **recipe, lh_error *error);

/* Reads and checks a resolved recipe. */
lh_status lh_train_config_read(lh_train_config *config, const lh_recipe *recipe, lh_error *error);

/* May this key change when a run goes on? Budgets, logging, evaluation and threads may: what was computed before
 * stays what it was. data.path may, so that data can move; that it is the same data is checked in another way. */
bool lh_train_key_free(const char *section, const char *key);

/* Compares two resolved recipes of one schema. LH_E_CONFIG names the first key that is not free and differs, with
 * both values. */
lh_status lh_train_recipe_same(const lh_recipe *run, const lh_recipe *wanted, const char *run_name,
                               lh_error *error);

#endif
