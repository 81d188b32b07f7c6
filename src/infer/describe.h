/* What a model costs: parameters, state, arithmetic. Nothing is computed with its weights. */
#ifndef LH_INFER_DESCRIBE_H
#define LH_INFER_DESCRIBE_H

#include "model/model.h"

typedef enum lh_parameter_part {
    LH_PART_VOCABULARY,  /* embeddings, output tables, their projections, clusters and biases */
    LH_PART_ATTENTION,   /* query, key, value and output projections */
    LH_PART_POSITIONS,   /* relative projections, position biases, learned positions, T5 tables */
    LH_PART_MLP,         /* hidden layers, and an input projection */
    LH_PART_NORMS,       /* gains and offsets */
    LH_PART_COMPRESSION, /* compression functions, and what trains them */
    LH_PART_MEMORY,      /* what else a method has of its own: names with "memory." */
    LH_PARTS
} lh_parameter_part;
const char *lh_parameter_part_name(lh_parameter_part part);

typedef struct lh_model_description {
    int64_t parameters;      /* all */
    int64_t body;            /* without the vocabulary's tables: what papers usually print */
    int64_t active;          /* what a token is multiplied with (lh_model_active_parameters) */
    int64_t parts[LH_PARTS]; /* sum: parameters */
    int64_t compressed_own;  /* of positions: what compressed slots have for themselves */
    int64_t state_bytes;     /* of one document, carried from segment to segment */
    int64_t running_bytes;   /* of one document, of the running segment, in inference */
    int64_t reach;           /* tokens before a segment that its state can hold something of; layers not counted */
    double flops;            /* of one token's forward pass: 2 active + attention */
    double attention_flops;  /* of them in attention scores and values */
    double training_flops;   /* of one token's training, forward and backward */
    const char *note;        /* what the memory kind wants said beside figures and texts, or NULL; lives for ever */
    int64_t source, encoder_layers; /* tokens of a source, layers that read it; 0: there is no encoder */
} lh_model_description;

/* Describes a model that exists. */
lh_status lh_model_describe(lh_model_description *description, const lh_model *model, lh_error *error);

/* Builds a model from a resolved recipe without touching memory for its weights, so that the largest published ones
 * can be described anywhere. vocab as in lh_model_create. */
lh_status lh_recipe_describe_model(lh_model_description *description, const lh_recipe *recipe, int64_t vocab,
                                   lh_error *error);

/* Tokens before a segment that the model's memory can hold something of: n_m + c n_cm for compressive memories,
 * LH_DISTANCE_ANY if it never forgets entirely. */
int64_t lh_model_reach(const lh_model *model);

/* Tokens that must have been read for the memory to be full: the reach, or what is remembered one by one in a model
 * that never forgets entirely. */
int64_t lh_model_fill(const lh_model *model);

#endif
