/* What a model is: the [model] section of a recipe, checked and parsed. */
#ifndef LH_MODEL_CONFIG_H
#define LH_MODEL_CONFIG_H

#include "formats/recipe.h"
#include "kernels/args.h"
#include "memory/memory.h"

/* The schema of [model] and of [memory] (every kind's keys), NULL-terminated: to be merged with the trainer's. */
const lh_recipe_key *const *lh_model_recipe_tables(void);
/* The presets: every published configuration of the methods here, and small ones for a first try. */
const lh_recipe_preset *lh_model_presets(size_t *count);

typedef enum lh_position_kind {
    LH_POSITIONS_NONE,
    LH_POSITIONS_LEARNED,
    LH_POSITIONS_SINUSOIDAL,
    LH_POSITIONS_ROTARY,
    LH_POSITIONS_RELATIVE, /* Transformer-XL */
    LH_POSITIONS_T5,
    LH_POSITIONS_ALIBI,
} lh_position_kind;

typedef enum lh_norm_layout { LH_NORM_INPUT, LH_NORM_OUTPUT, LH_NORM_BOTH } lh_norm_layout;
typedef enum lh_init_scheme {
    LH_SCHEME_SONNET,
    LH_SCHEME_XL,
    LH_SCHEME_GPT2,
    LH_SCHEME_FAN_IN,        /* truncated normal of variance 1/fan-in; embeddings of variance 1 */
    LH_SCHEME_FAN_IN_NORMAL, /* the same, not truncated */
    LH_SCHEME_UNIT_UNIFORM,  /* uniform, variance 0.2 / mean of fan-in and fan-out; embeddings, too */
} lh_init_scheme;
typedef enum lh_qk_norm { LH_QK_NONE, LH_QK_L2, LH_QK_RMS } lh_qk_norm;

#define LH_MAX_BANDS 8

typedef struct lh_model_config {
    int64_t vocab, layers, width, heads, kv_heads, key_width, value_width, hidden, segment;
    lh_function activation;
    bool gated; /* SwiGLU or GEGLU */
    bool rms;
    lh_norm_layout layout;
    double norm_eps;
    bool final_norm, norm_affine, norm_bias, mlp, share_attention;
    lh_qk_norm qk_norm;
    bool head_scale, null_logit, see_self, t5_scaled, zero_output, truncated_embedding;
    bool attention_bias, output_projection_bias, hidden_bias; /* q,k,v biases; Wo's; the MLP's */
    lh_position_kind positions;
    bool share_position_biases, scale_logits; /* scale_logits: on (q+u)k, not on q alone */
    bool same_length;
    int64_t clamp;
    double rope_base, rope_fraction, rope_factor;
    bool rope_interleaved, rope_closed;
    int64_t t5_buckets, t5_distance;
    bool tied, embedding_scaled, output_bias, scale_output_bias, input_relu, input_linear;
    double logit_scale;
    double dropout, attention_dropout, hidden_dropout, embedding_dropout, position_dropout;
    double attention_input_dropout, attention_output_dropout, hidden_output_dropout, final_dropout, token_dropout;
    int bands;                        /* adaptive input and softmax; 1: plain */
    int64_t cutoff[LH_MAX_BANDS + 1]; /* 0, cutoffs.., vocab */
    int64_t embedding_width, band_divisor;
    lh_init_scheme init;
} lh_model_config;

/* Reads a resolved recipe. model.vocab must have been set (by the caller from the tokenizer, or by the recipe). */
lh_status lh_model_config_read(lh_model_config *config, const lh_recipe *recipe, lh_error *error);

/* Width of band b's embeddings: embedding_width / divisor^b. */
int64_t lh_model_band_width(const lh_model_config *config, int band);

#endif
