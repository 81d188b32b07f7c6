/* A training run: a folder that holds everything about it, and the loop that fills it.
 *
 *   recipe.ini     what the run is, resolved, with the origin of every value
 *   config.json, tokenizer.json   the model, as model directories have it
 *   checkpoint-<step>.safetensors, best.json
 *   metrics.jsonl, events.out.tfevents.*, train.log
 *   data/          text that was prepared for this run
 *
 * A run that stopped for any reason goes on from its newest checkpoint, and what it then does is what it would have
 * done without the stop. */
#ifndef LH_TRAIN_RUN_H
#define LH_TRAIN_RUN_H

#include "train/keys.h"

/* What a run is doing. Losses are in `unit`, NaN if there is none yet. */
typedef struct lh_run_progress {
    const char *phase;    /* "train", or what is being done to the text before: "prepare" and the like */
    uint64_t done, total; /* tokens of training, or bytes of text; total 0: unknown */
    int64_t step, tokens; /* iterations, and targets scored in them */
    double seconds;       /* training time of all sessions */
    double seconds_left;  /* of train.minutes; NaN: there is no such limit */
    double loss;          /* of the last line of metrics, before the first one of what there is */
    double validation;    /* at the last evaluation */
    double accuracy;      /* at the last evaluation of this session, of data with answers; NaN: none */
    double rate;          /* learning rate of the last update */
    lh_loss_unit unit;
} lh_run_progress;

typedef struct lh_run_options {
    const char *directory;
    bool must_exist;          /* go on with a run; never begin one */
    bool (*stop)(void *user); /* asked between steps: true saves and ends the run. May be NULL */
    void (*watch)(void *user, const lh_run_progress *now); /* told at the start and after steps. May be NULL */
    void (*note)(void *user, const char *text); /* told what weights the run starts from, if from others'. May be
                                                   NULL */
    void *user;
} lh_run_options;

/* Where the run stands when lh_run_train returns, with any status. Losses are in `unit`, NaN if there is none. */
typedef struct lh_run_report {
    int64_t step, tokens, parameters;
    double seconds;           /* training time of all sessions */
    double tokens_per_second; /* of this session's steps, evaluation and saving not counted; 0 if it made none */
    lh_loss_unit unit;
    double loss;       /* of the last steps */
    double validation; /* at the last evaluation */
    double accuracy;   /* of answers, at the last evaluation of this session; NaN: the text has none */
    double best;       /* lowest validation value, and the step of its checkpoint; -1: none */
    int64_t best_step;
    bool resumed, finished, interrupted;
    const char *note; /* what the memory kind wants said beside figures, or NULL; lives for ever */
} lh_run_report;

/* Begins the run of a resolved recipe, or goes on with the one in the folder, whose recipe must then be the same
 * (lh_train_recipe_same). LH_E_INTERRUPTED after a stop: everything is saved. LH_E_NUMERIC: a NaN or infinity; the
 * last checkpoint stands. */
lh_status lh_run_train(const lh_recipe *recipe, const lh_run_options *options, lh_run_report *report,
                       lh_error *error);

/* Reads the recipe of a run into a fresh, unresolved recipe, so that more can be set on top of it. */
lh_status lh_run_recipe(lh_recipe **recipe, const char *directory, lh_error *error);

#endif
