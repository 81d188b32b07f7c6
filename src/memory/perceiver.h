/* Perceiver AR (Hawthorne et al. 2022), what its files share.
 *
 * M inputs, of which the last N (the segment: "latents") are predicted. One causal cross-attention, whose queries
 * are the segment and whose keys are all inputs, makes the first layer's input; the layers after it are ordinary
 * ones over the segment. So what is remembered between segments is the ids of the M - N tokens before them.
 *
 * Sizes: B lanes, P = M - N, E the embedding's width, d the model's. */
#ifndef LH_MEMORY_PERCEIVER_H
#define LH_MEMORY_PERCEIVER_H

#include "memory/memory.h"

typedef enum lh_perceiver_positions {
    LH_PERCEIVER_NOTHING,
    LH_PERCEIVER_SINUSOIDAL, /* a constant table by place in the document, from 1 */
    LH_PERCEIVER_LEARNED,    /* the same, learned */
    LH_PERCEIVER_IMAGE,      /* three learned tables: column, row, channel */
} lh_perceiver_positions;

/* Which inputs cross-attend dropout may remove in training. A removed input is hidden from all heads and latents.
 */
typedef enum lh_perceiver_dropping {
    LH_PERCEIVER_DROP_ALL,    /* each of the M; a latent that sees no key is left as it was */
    LH_PERCEIVER_DROP_OWN,    /* the same, but each latent sees its own token */
    LH_PERCEIVER_DROP_PREFIX, /* an exact share of those before the segment */
} lh_perceiver_dropping;

/* What queries are made of. */
typedef enum lh_perceiver_queries {
    LH_PERCEIVER_QUERIES_TOKENS,  /* each of its token */
    LH_PERCEIVER_QUERIES_SHARED,  /* a learned vector in place of every token's embedding */
    LH_PERCEIVER_QUERIES_INDEXED, /* one for each place in the segment */
} lh_perceiver_queries;

typedef struct lh_perceiver {
    int64_t inputs, latents, prefix;         /* M, N, P */
    int64_t embedding, width, heads, hidden; /* E, d, heads of the cross-attention, width of its MLP */
    lh_function activation;
    bool gated, rms, norm_affine, norm_bias, attention_bias, output_bias, hidden_bias;
    double norm_eps, attention_dropout, output_dropout, hidden_dropout; /* probabilities; sublayers */
    double drop;                                                        /* of inputs */
    int64_t train_inputs; /* so many inputs of an example are kept in training; 0: all */
    lh_perceiver_queries queries;
    int64_t copies;                   /* latents of a token */
    int64_t offset;                   /* 1: queries stand a place behind their tokens, else 0 */
    bool after[LH_MEMORY_MAX_LAYERS]; /* another cross block behind this layer, with weights of its own */
    int extras;                       /* how many of those there are */
    lh_perceiver_dropping dropping;
    lh_perceiver_positions positions;
    int64_t rows; /* of the position table */
    int64_t image_width, image_height, image_channels;
    bool planar; /* one channel after another instead of one pixel after another */
    bool rotary;
    lh_rope_options rope;
    double frequency[]; /* [rope.rotated / 2] */
} lh_perceiver;

/* Parameters of no layer; a layer with another cross block behind it has those from the queries' norm on to DOWN.
 */
enum {
    LH_PERCEIVER_LATENT, /* Wz [d, E], E -> d */
    LH_PERCEIVER_LATENT_BIAS,
    LH_PERCEIVER_QUERY_GAIN, /* norm of the queries' side [d] */
    LH_PERCEIVER_QUERY_NORM_BIAS,
    LH_PERCEIVER_INPUT_GAIN, /* norm of the inputs [E] */
    LH_PERCEIVER_INPUT_NORM_BIAS,
    LH_PERCEIVER_QUERY, /* [E, d] */
    LH_PERCEIVER_QUERY_BIAS,
    LH_PERCEIVER_KEY, /* [E, E] */
    LH_PERCEIVER_KEY_BIAS,
    LH_PERCEIVER_VALUE, /* [E, E] */
    LH_PERCEIVER_VALUE_BIAS,
    LH_PERCEIVER_OUTPUT, /* [d, E] */
    LH_PERCEIVER_OUTPUT_BIAS,
    LH_PERCEIVER_HIDDEN_GAIN, /* norm before the MLP [d] */
    LH_PERCEIVER_HIDDEN_NORM_BIAS,
    LH_PERCEIVER_UP, /* [hidden or 2 hidden, d] */
    LH_PERCEIVER_UP_BIAS,
    LH_PERCEIVER_DOWN, /* [d, hidden] */
    LH_PERCEIVER_DOWN_BIAS,
    LH_PERCEIVER_TABLE,                                /* position tables: up to three */
    LH_PERCEIVER_QUERY_TABLE = LH_PERCEIVER_TABLE + 3, /* learned queries [1 or N, E] */
    LH_PERCEIVER_COPY_TABLE,                           /* [copies, d]: what tells latents of a token apart */
    LH_PERCEIVER_PARAMETERS
};

/* State. The first two in training, too. */
enum {
    LH_PERCEIVER_TOKENS, /* carried i32 [B, P], in inference [B, M]: the last ids before the segment, newest last */
    LH_PERCEIVER_PLACE,  /* carried i32 [B, 2]: how many there are, and the segment's place in its document */
    LH_PERCEIVER_SEGMENT, /* running i32 [B, N]: ids of the segment so far */
    LH_PERCEIVER_KEYS,    /* running [B, P + N, heads, E / heads]: prefix and segment, turned by their places */
    LH_PERCEIVER_VALUES,
    LH_PERCEIVER_ARRANGED, /* running i32 [B, 1]: the place of the token behind row P - 1 of the keys; -1: unknown
                            */
    LH_PERCEIVER_EXTRA,    /* keys and values of the other cross blocks, two entries each */
};

lh_status lh_perceiver_create(lh_memory *memory, lh_error *error);
/* What the memory holds as the segment found it, on the host in the context's arena. False after an error. */
typedef struct lh_perceiver_inputs {
    int64_t capacity;
    int32_t *tokens;           /* [B, capacity] */
    int32_t *count, *position; /* [B] */
} lh_perceiver_inputs;
bool lh_perceiver_look(const lh_memory *memory, lh_context *context, lh_perceiver_inputs *inputs);
/* Appends tokens [B, count] (negative ones in front are none) and sets the carried state. */
void lh_perceiver_push(lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs,
                       const int32_t *tokens, int64_t count);
/* Hooks. */
void lh_perceiver_prime(lh_memory *memory, lh_context *context, const int32_t *tokens, int64_t count,
                        const int64_t *position);
void lh_perceiver_unread(lh_memory *memory, lh_context *context, int64_t count);

/* Which inputs are keys, in training: columns of ids, and which of them each latent sees. In the arena. */
typedef struct lh_perceiver_plan {
    int64_t keys;                /* columns that all latents share */
    int64_t own;                 /* columns behind them that only the latent of the same token sees */
    int64_t segment;             /* the segment's first column if all of it is there in order, else -1 */
    int32_t *ids;                /* [B, keys + own]; negative: none */
    int32_t *place;              /* [B, keys + own], counted from the segment's first token */
    bool same_places;            /* of all lanes */
    int32_t *low, *high;         /* [B, N]: which columns each latent sees, or NULL: all up to its own token */
    int32_t *own_low, *own_high; /* [B, N]: which of the `own` columns */
    double *sees;                /* [B, N]: 0 for a latent that sees no key, else 1; NULL if all see some */
} lh_perceiver_plan;
bool lh_perceiver_make_plan(const lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs,
                            const int32_t *segment, lh_perceiver_plan *plan);

lh_tensor *lh_perceiver_enter(lh_memory *memory, lh_entry_io *io);
lh_tensor *lh_perceiver_between(lh_memory *memory, lh_context *context, int layer, lh_tensor *x);
/* Several latents of a token see each other in the layers. */
void lh_perceiver_read(lh_memory *memory, lh_layer_io *io);

#endif
