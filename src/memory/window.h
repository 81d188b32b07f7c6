/* A sliding window over cached keys and values: what Block-Recurrent and Memorizing Transformers have in every
 * layer, and a memory of its own. Unlike Transformer-XL's, the cache holds keys and values as they were computed,
 * not the inputs they came from (Hutchins et al. 2022, section 3.2; Wu et al. 2022, section 3.4). */
#ifndef LH_MEMORY_WINDOW_H
#define LH_MEMORY_WINDOW_H

#include "memory/memory.h"

typedef struct lh_window {
    int64_t length; /* W: a query sees the keys at most this far back */
    bool strict;    /* cache rows before a document's first token are hidden; else they are zeros with a logit */
} lh_window;

/* Entries of a layer: keys and values [batch, W, kv_heads, .] and how many rows are filled, i32 [batch, 1]. */
enum { LH_WINDOW_KEYS, LH_WINDOW_VALUES, LH_WINDOW_SEEN, LH_WINDOW_ENTRIES };

/* Adds this layer's LH_WINDOW_ENTRIES entries; the first of them is number `which` of the layer. */
lh_status lh_window_create(lh_memory *memory, const lh_window *window, int layer, lh_error *error);
/* The cache as a source of keys that all of so many queries see, but for the rows that `strict` hides. */
lh_key_source lh_window_cache(lh_memory *memory, lh_layer_io *io, const lh_window *window, int which,
                              int64_t queries);
/* Restricts source 0 to the window and appends the cache as a source. `which`: number of the layer's first entry.
 */
void lh_window_read(lh_memory *memory, lh_layer_io *io, const lh_window *window, int which);
/* When the segment ends: the last W keys and values of cache and segment are the new cache. */
void lh_window_write(lh_memory *memory, lh_layer_io *io, const lh_window *window, int which);
/* Mean number of keys that a query of the window scores. */
double lh_window_keys_seen(const lh_window *window);

/* Of a preset's section [model]: the base of the Block-Recurrent and Memorizing Transformers without what is
 * special about them. */
#define LH_WINDOW_BLOCK                                                                                           \
    "norm = rms\nnorm_eps = 1e-6\npositions = t5\nt5_scaled = true\nqk_norm = l2\nhead_scale = true\nnull_logit " \
    "= true\n"                                                                                                    \
    "see_self = false\nprojection_bias = false\nhidden_bias = false\noutput_bias = false\nembedding_scaled = "    \
    "false\n"                                                                                                     \
    "init = fan-in\n"

/* In comparisons at equal size the layers are as everyone's but for the attention itself. */
#define LH_WINDOW_ATTENTION                                                                             \
    "positions = t5\nt5_scaled = true\nqk_norm = l2\nhead_scale = true\nnull_logit = true\nsee_self = " \
    "false\n"

#endif
