/* Training: one iteration after another of data -> model -> loss -> gradient -> update, and everything that a
 * checkpoint must hold so that the next iteration is the same, bit for bit, in another process. */
#ifndef LH_TRAIN_TRAINER_H
#define LH_TRAIN_TRAINER_H

#include "formats/checkpoint.h"
#include "model/model.h"
#include "train/keys.h"

/* What the loss is counted in. Sums over the targets that were scored. */
typedef struct lh_loss_sums {
    double nats, tokens, bytes;
    double auxiliary, iterations; /* sum over iterations, and how many */
} lh_loss_sums;

/* The text that is trained on. */
typedef struct lh_train_source {
    const lh_split *split;
    const uint32_t *token_bytes; /* [vocab]: bytes of text that each token stands for */
    int64_t vocab;
} lh_train_source;

/* What the caller notes about the run, so that a checkpoint carries it: all in the caller's unit. */
typedef struct lh_train_marks {
    int64_t best_step, evaluated; /* iterations; -1: none */
    double best, validation, loss;
    double rate; /* of the last update */
    lh_gradient_norms norms;
} lh_train_marks;

typedef struct lh_training {
    lh_train_config config;
    lh_train_source source;
    lh_model *model;
    lh_context *context;
    lh_optimizer *optimizer;
    lh_token_stream *tokens_in;
    lh_stream **parts; /* config.accumulate of them, each with part_lanes lanes */
    int64_t part_lanes;
    int32_t *inputs, *targets; /* [unroll][batch][segment] */
    double *weights;           /* [part_lanes * segment]: 1 / tokens scored in the iteration */
    uint8_t *valid;            /* as inputs: 0 for padding */
    bool *reset;               /* [batch]: a document begins */
    int64_t before;            /* crops: tokens that a memory may take in before the segments (prime); else 0 */
    int32_t *prefix;           /* [batch][before]: those tokens, -1 in front */
    int64_t *prefix_start;     /* [batch]: where the first of them stands in its document */
    int64_t source_tokens;     /* tokens of a pair's source that an encoder reads at most; 0: there is none */
    int32_t *sources;          /* [batch][source_tokens]: of lanes that begin a pair, -1 in front; else -1s */
    lh_memory **memories;      /* of the parts, as learn wants them */

    /* the place in the run */
    int64_t iteration;     /* iterations done */
    int64_t pending;       /* segments whose gradients wait for the next update */
    int64_t tokens;        /* targets read */
    int64_t pairs[2];      /* begun, and of them those whose source is longer than the encoder reads */
    double seconds;        /* spent training, by the caller's clock */
    lh_loss_sums interval; /* since the caller last cleared it: what a line of metrics is made of */
    lh_train_marks marks;
} lh_training;

/* One iteration: a segment of every lane (or `unroll` of them). */
typedef struct lh_iteration {
    lh_loss_sums sums;
    int64_t read; /* targets, scored or not */
    double rate;  /* learning rate; 0 if there was no update */
    bool updated; /* parameters changed */
    lh_gradient_norms norms;
} lh_iteration;

/* Builds the model and draws its parameters. The recipe is resolved; source and recipe must outlive the training.
 */
lh_status lh_training_create(lh_training **training, const lh_recipe *recipe, const lh_train_source *source,
                             const lh_backend *backend, lh_dtype dtype, lh_error *error);
void lh_training_free(lh_training *training); /* NULL is fine */

/* Loss: mean over the iteration's scored tokens, plus the auxiliary loss. An iteration that has neither, between
 * the answers of a task, changes no parameter and does not count towards an update. `progress` (0 .. 1) is the part
 * of the run that is over, for schedules that decay until its end. LH_E_NUMERIC names iteration and tensor;
 * parameters and optimizer are then as they were before. After the first iterations there are no heap allocations.
 */
lh_status lh_training_step(lh_training *training, double progress, lh_iteration *result, lh_error *error);

/* Segments per update in this iteration. */
int64_t lh_training_period(const lh_train_config *config, int64_t iteration);

/* Tokens that an iteration reads: batch * segment * unroll. */
int64_t lh_training_step_tokens(const lh_training *training);

/* Floating-point operations of one token's training, forward and backward. */
double lh_training_token_flops(const lh_training *training);

/* Writes everything to <directory>/checkpoint-<iteration>.safetensors. LH_E_NUMERIC if a parameter or an
 * optimizer's state is not finite: such a state is never saved. */
lh_status lh_training_save(lh_training *training, const char *directory, const char *recipe_text, lh_error *error);
/* LH_E_FORMAT or LH_E_SHAPE name what is missing or does not fit; the training is then good for nothing. */
lh_status lh_training_restore(lh_training *training, const lh_checkpoint *checkpoint, lh_error *error);

/* Says in `text` which tensor broke first: a parameter, a memory, or the result of an op on the tape. False if none
 * of them is broken. */
bool lh_training_diagnose(lh_training *training, char *text, size_t size);

#endif
