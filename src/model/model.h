/* The decoder stack: embeddings, layers of attention and feed-forward, output. One stack for every memory. */
#ifndef LH_MODEL_MODEL_H
#define LH_MODEL_MODEL_H

#include "model/config.h"

typedef struct lh_layer_parameters {
    lh_tensor *norm1_gain, *norm1_bias, *norm2_gain,
        *norm2_bias; /* before attention, before the MLP (input, both) */
    lh_tensor *post1_gain, *post1_bias, *post2_gain, *post2_bias; /* after the residual (output, both) */
    lh_tensor *query, *query_bias;                                /* [heads key_width, width] */
    lh_tensor *key_value, *key_value_bias;                        /* [kv_heads (key_width + value_width), width] */
    lh_tensor *output, *output_bias;                              /* [width, heads value_width] */
    lh_tensor *relative, *content_bias, *position_bias;           /* [heads key_width, width], [heads, key_width] */
    lh_tensor *t5;                                                /* [heads, buckets] */
    lh_tensor *head_scale;                                        /* [heads]; used as its absolute value */
    lh_tensor *up, *up_bias, *down, *down_bias;                   /* [hidden or 2 hidden, width], [width, hidden] */
    /* of a decoder's layer beside an encoder: shapes as of query, key_value and output; its norms */
    lh_tensor *cross_query, *cross_query_bias, *cross_key_value, *cross_key_value_bias, *cross_output,
        *cross_output_bias;
    lh_tensor *norm_cross_gain, *norm_cross_bias, *post_cross_gain, *post_cross_bias;
    lh_memory_parameters memory;
} lh_layer_parameters;

typedef struct lh_model {
    lh_model_config config;
    lh_memory_shape shape;
    const lh_memory_kind *memory_kind;
    void *memory_options; /* what the kind parsed */
    lh_recipe *recipe;    /* owned: the resolved configuration */
    const lh_backend *backend;
    lh_parameters parameters;
    lh_layer_parameters *layers;                    /* [config.layers + shape.encoder_layers] */
    const lh_memory_parameters **memory_parameters; /* of each of them: &layers[i].memory */
    lh_memory_parameters entry_parameters;          /* the method's that belong to no layer */
    lh_tensor *embedding[LH_MAX_BANDS];             /* [ids of the band, width_b] */
    lh_tensor *clusters;                 /* [bands - 1, width_0]: the head softmax's entries for the tails */
    lh_tensor *projection[LH_MAX_BANDS]; /* [width, width_b] or NULL: to the model's width */
    lh_tensor *head_projection;          /* band 0's output projection [width, width_0] or NULL */
    lh_tensor *head_projection_bias;     /* [width_0] or NULL */
    lh_tensor *output[LH_MAX_BANDS];     /* untied output tables, else the embeddings */
    lh_tensor *output_bias[LH_MAX_BANDS];
    lh_tensor *positions;                 /* learned [segment, width] */
    lh_tensor *input_weight, *input_bias; /* the input projection */
    lh_tensor *final_gain, *final_bias;
    lh_tensor *encoder_gain, *encoder_bias; /* the encoder's final norm */
    lh_tensor *sinusoids;                   /* constant [distances, width], for relative and sinusoidal positions */
    lh_tensor *alibi;                       /* constant [heads, distances] */
    lh_tensor *qk_gain;     /* constant [key_width], 1/sqrt(key_width): an RMS norm with it is an L2 norm */
    double *rope_frequency; /* [rotated/2] */
    lh_rope_options rope;
    int64_t distances;      /* rows of the tables: history + segment */
    int64_t unroll;         /* segments of one graph that training streams are made for; 0 counts as 1 */
    bool checkpoint_layers; /* recompute each layer in the backward pass */
    double z_loss;          /* in training: this times log(Z)^2 is added to each token's loss */
} lh_model;

/* Builds a model from a resolved recipe whose model.vocab is known (the model keeps a copy of the configuration).
 * Parameters are uninitialised: call lh_parameters_initialise or load them. */
lh_status lh_model_create(lh_model **model, const lh_recipe *recipe, int64_t vocab, const lh_backend *backend,
                          lh_dtype dtype, lh_error *error);
void lh_model_free(lh_model *model);

/* Streams: the state of `batch` documents being read at once. */
typedef struct lh_stream {
    const lh_model *model;
    lh_memory *memory;
    int64_t batch;
    int64_t fill;     /* tokens of the current segment that have been read */
    int64_t position; /* tokens since the start (of stream 0; all streams advance together) */
    bool inference;
    /* inference only: the current segment so far, per layer: keys, values [batch, segment, kv_heads, .] and inputs
     */
    lh_tensor **keys, **values, **inputs, **relative;
    bool *relative_valid;
    /* inference beside an encoder, per layer: keys and values of the source [batch, source, kv_heads (key_width +
     * value_width)], up to date if memory->derived_valid of the encoder's first layer */
    lh_tensor **cross;
} lh_stream;

/* Rows that each token has in the layers: 1, or as many as the method says. */
int64_t lh_model_copies(const lh_model *model);
/* What the memory of a stream is made with. */
lh_memory_options lh_model_memory_options(const lh_model *model, int64_t batch, bool inference);
/* inference: the model's weights do not change while the stream lives, segments may be fed in pieces, and nothing
 * is recorded. Otherwise every call feeds a whole segment. */
lh_status lh_stream_create(lh_stream **stream, const lh_model *model, int64_t batch, bool inference,
                           lh_error *error);
void lh_stream_free(lh_stream *stream);
/* Forgets one stream's past, or everything for -1. One of several streams can be reset only at a segment's start.
 */
lh_status lh_stream_reset(lh_stream *stream, lh_context *context, int64_t lane, lh_error *error);
lh_status lh_stream_copy(lh_stream *to, const lh_stream *from, lh_error *error);
int64_t lh_stream_bytes(const lh_stream *stream); /* bytes of state of one document */

typedef struct lh_forward {
    lh_tensor *hidden;    /* [batch, tokens, width], after the final norm */
    lh_tensor *auxiliary; /* [1], mean over layers, or NULL */
} lh_forward;

/* Reads the next `tokens` (host, [batch, count], count <= segment - fill; count == segment when training). The
 * stream's new state is live in the context until lh_stream_commit. */
void lh_model_forward(lh_context *context, const lh_model *model, lh_stream *stream, const int32_t *tokens,
                      int64_t count, lh_forward *result);
/* Call after each forward (inference) or after the optimizer's step (training), before lh_context_reset. */
void lh_stream_commit(lh_stream *stream, lh_context *context);
void lh_stream_rollback(lh_stream *stream);

/* Loss of the output layer: sum over tokens of weights[t] nll[t] as [1]; in training nll holds the model's z_loss.
 * hidden [.., width] flattened to [count, width]; targets (host, negative: not scored), weights (host f64, NULL: 1
 * each). nll (host, count doubles) may be NULL. */
lh_tensor *lh_model_loss(lh_context *context, const lh_model *model, lh_tensor *hidden, const int32_t *targets,
                         const double *weights, double *nll);
/* The same, and best[count] (host, may be NULL) receives the likeliest token where there is a target, else -1. */
lh_tensor *lh_model_loss_best(lh_context *context, const lh_model *model, lh_tensor *hidden, const int32_t *targets,
                              const double *weights, double *nll, int32_t *best);
/* Logits (log-probabilities, with an adaptive softmax) of rows of hidden states: [rows, width] -> [rows, vocab]. */
lh_tensor *lh_model_logits(lh_context *context, const lh_model *model, lh_tensor *hidden);

/* Matrix parameters that a token's forward pass multiplies with (embedding look-ups not counted): the N of 6 N
 * flop. */
int64_t lh_model_active_parameters(const lh_model *model);
/* Floating-point operations of one token's forward pass in attention scores and values, averaged over a segment. */
double lh_model_attention_flops(const lh_model *model);
/* Floating-point operations of one token's training, forward and backward: 6 N and three times the attention. */
double lh_model_training_flops(const lh_model *model);

/* Weights to and from safetensors, by parameter name. Loading demands the very set of names and shapes. */
lh_status lh_model_save(const lh_model *model, const char *path, const char *tokenizer_fingerprint,
                        lh_error *error);
lh_status lh_model_load(lh_model *model, const char *path, lh_error *error);
/* config.json of a model: its sections [model] and [memory]. */
lh_status lh_model_save_config(const lh_model *model, const char *path, lh_error *error);
/* Reads config.json into a fresh resolved recipe over the model's schema. */
lh_status lh_model_load_config(lh_recipe **recipe, const char *path, lh_error *error);

#endif
