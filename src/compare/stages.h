/* The parts of a comparison, each as work for a process of its own (child.h): its answer is JSON. */
#ifndef LH_COMPARE_STAGES_H
#define LH_COMPARE_STAGES_H

#include "compare/settings.h"

#include <jansson.h>

/* Makes the data ready once for all runs and describes every method's model.
 * {"data": {"path", "validation_path", "vocab", "tokenizer", "training_tokens", "identity"},
 *  "methods": {NAME: {"parameters", "body", "active", "forward_flops", "training_flops", "state_bytes", ..}}}; of a
 * method whose model cannot be built, {"error": {"status", "sentence"}}. */
typedef struct lh_prepare_stage {
    const lh_compare_settings *settings;
    lh_recipe *const *recipes; /* of settings->methods */
    const char *cache;         /* folder for text that has to be prepared */
    bool replace;              /* other text in it may go */
} lh_prepare_stage;
lh_status lh_stage_prepare(void *stage, lh_string *answer, lh_error *error);

/* Trains, or goes on with, the run in a folder. {"step", "tokens", "seconds", "tokens_per_second", "unit", "loss",
 * "validation", "best", "best_step", "curve": {"tokens", "seconds", "loss"}, "held_out": the same, ..} */
typedef struct lh_training_stage {
    const lh_recipe *recipe;
    const char *directory, *label;
} lh_training_stage;
lh_status lh_stage_training(void *stage, lh_string *answer, lh_error *error);

/* What the stages that read with a trained model share. */
typedef struct lh_reading_stage {
    const lh_compare_settings *settings;
    const char *directory, *label;
    const char *path; /* text or data set */
    int threads;
} lh_reading_stage;

/* {"tokens", "seconds", "tokens_per_second", "bits_per_byte", "nats_per_token", "word_perplexity", ..,
 *  "state_bytes", "by_position": [{"from", "tokens", "bits_per_byte", "nats_per_token"}, ..]}, and of data with
 * answers "accuracy", "chance", "by_distance": [{"from", "tokens", "accuracy"}, ..] */
lh_status lh_stage_evaluation(void *stage, lh_string *answer, lh_error *error);

/* Reads one document of up to the longest length: what a token costs there. {"reached", "seconds", "points":
 * [{"length", "milliseconds_per_token", "state_bytes"}, ..]} */
lh_status lh_stage_cost(void *stage, lh_string *answer, lh_error *error);

/* A number for JSON: null if it is not finite. */
json_t *lh_json_number(double value);
/* Appends an object as text and releases it. LH_E_MEMORY if it is NULL. */
lh_status lh_stage_answer(json_t *root, lh_string *answer, lh_error *error);

#endif
