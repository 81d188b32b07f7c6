/* Inside Transformer-VQ: its configuration, and what its files share. */
#ifndef LH_MEMORY_VQ_H
#define LH_MEMORY_VQ_H

#include "memory/memory.h"

typedef enum lh_vq_book {
    LH_VQ_BOOK_EMA,      /* moving averages of keys */
    LH_VQ_BOOK_GRADIENT, /* parameters, trained by the mean squared distance of keys that do not move */
    LH_VQ_BOOK_FIXED,    /* normed sinusoids */
} lh_vq_book;

typedef struct lh_vq_options {
    int64_t codes, length; /* S, and M: tokens that are kept one by one */
    bool aggregate;        /* older tokens live on under their codes; else they are forgotten */
    bool gated;            /* SiLU on values, and a SiLU gate on what attention gives */
    bool absolute;         /* positions are added to the embeddings, too */
    bool embedding_bias;   /* the released code's unused vector */
    bool feed_forward;     /* layers have an MLP, which layer dropout may leave out, too */
    lh_vq_book book;       /* where codes come from */
    bool first_keys;       /* the codebook starts with keys of the first iteration (k-means++) */
    double commitment, decay, position_base, sinusoid_dropout, layer_dropout, restart_below;
} lh_vq_options;

/* A layer's parameters, and those of no layer. */
enum {
    LH_VQ_QUERY,        /* [heads key_width, width] */
    LH_VQ_KEY,          /* [kv_heads key_width, width] */
    LH_VQ_VALUE,        /* [kv_heads value_width, width] */
    LH_VQ_GATE,         /* [heads value_width, width] or NULL */
    LH_VQ_OUTPUT,       /* [width, heads value_width] */
    LH_VQ_RELATIVE,     /* [kv_heads key_width, width] */
    LH_VQ_CONTENT_BIAS, /* [heads, key_width] */
    LH_VQ_POSITION_BIAS,
    LH_VQ_SUM,  /* [kv_heads, codes, key_width]: moving sums of keys, LH_GROUP_STATISTICS; with gradients the codes
                   themselves, LH_GROUP_COMPRESSOR; NULL if the codebook is fixed */
    LH_VQ_COUNT /* [kv_heads, codes]: moving counts, LH_GROUP_STATISTICS */
};
enum { LH_VQ_POSITION_SCALE, LH_VQ_EMBEDDING_BIAS };

extern const lh_recipe_preset lh_vq_presets[]; /* memory/vq_presets.c; ends with a NULL name */

/* ---- the codebook (memory/vq_codebook.c) ---- */

/* The codes [kv_heads, codes, key_width] of a layer, for attention: a constant. Moving averages are
 * sum / max(count, 0.01). */
lh_tensor *lh_vq_codebook(lh_context *context, const lh_memory_shape *shape,
                          const lh_memory_parameters *parameters);
/* The loss that trains a codebook by gradients: over tokens that are no padding the mean, over key heads the sum,
 * of |k - C_z|^2 with constant k, as [1]. k and codes as for lh_vq_gather, tokens: how many count. */
lh_tensor *lh_vq_codebook_loss(lh_context *context, const lh_memory_parameters *parameters, lh_tensor *k,
                               lh_tensor *codes, lh_tensor *weight, double tokens);

/* Statistics that a layer gathers while it trains, in this order. */
enum { LH_VQ_GATHERED_SUM, LH_VQ_GATHERED_COUNT, LH_VQ_GATHERED_KEYS, LH_VQ_GATHERED };
lh_status lh_vq_gather_create(lh_memory *memory, int layer, lh_error *error);
/* Takes in the keys k [batch, kv_heads, tokens, key_width] of a segment; `first` is the entry of the first of the
 * statistics. weight [batch, tokens]: 0 for padding; or NULL. */
void lh_vq_gather(lh_memory *memory, lh_context *context, int first, lh_tensor *k, lh_tensor *codes,
                  lh_tensor *weight);
/* Moves the codebook of a layer towards what all memories gathered, and clears that. first: as above. */
void lh_vq_learn(lh_memory *const *memories, int count, lh_context *context, int layer, int first);

/* How the codebooks of all layers are used: entropies of the moving counts as a part of ln S (mean, and of the
 * layer where it is least), the part of codes that hardly any key has, and the length of codes beside that of keys.
 */
void lh_vq_figures(const lh_memory *memory, lh_context *context,
                   void (*tell)(void *user, const char *name, double value), void *user);

/* ---- draws that hold for a whole sequence (memory/vq_held.c) ---- */

/* What is drawn where a sequence begins and kept until it ends. */
typedef struct lh_vq_held {
    lh_tensor
        *layer_scale; /* [batch, 1, 1]: 0 for sequences that drop the sublayer, else 1 / (1 - rate); or NULL */
    lh_tensor *hidden_scale;  /* the same for the layer's MLP; or NULL */
    uint64_t sinusoid_offset; /* where the mask of the sinusoids begins in the stream of random numbers */
} lh_vq_held;
lh_status lh_vq_held_create(lh_memory *memory, int layer, lh_error *error);
/* False after an error. Without dropout nothing is drawn. */
bool lh_vq_held_get(lh_memory *memory, lh_context *context, int index, lh_vq_held *held);
/* The table [distances, width] with its mask of dropout. */
lh_tensor *lh_vq_drop_sinusoids(const lh_memory *memory, lh_context *context, const lh_vq_held *held,
                                lh_tensor *table);

#endif
