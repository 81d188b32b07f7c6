/* A first-in first-out memory of layer inputs, as Transformer-XL has it: shared by the kinds that build on it. */
#ifndef LH_MEMORY_FIFO_H
#define LH_MEMORY_FIFO_H

#include "memory/memory.h"

/* Which layers have the long memory: has_long[layer] for those that memory.layers lists, or for all if it lists
 * none. LH_E_CONFIG for layers that are not there, or a memory.short_length that is not the shorter one. */
lh_status lh_fifo_long_layers(const lh_memory_shape *shape, bool *has_long, lh_error *error);

/* The last `length` positions of older [batch, a, width] followed by newer [batch, b, width]. `older` may be longer
 * or shorter than needed; the result has min(length, a + b) positions. */
lh_tensor *lh_fifo_push(lh_context *context, lh_tensor *older, lh_tensor *newer, int64_t length);

/* Keys and values of a memory, kept in the derived entries `key_entry` and key_entry+1 of this layer while the
 * memory and the weights stand still. */
void lh_fifo_keys(lh_memory *memory, lh_layer_io *io, lh_tensor *hidden, int64_t distance, int key_entry,
                  lh_tensor **k, lh_tensor **v);
/* Adds the two derived entries for `length` remembered positions. */
lh_status lh_fifo_add_derived(lh_memory *memory, int64_t length, int layer, const char *what, lh_error *error);

/* Places a source that begins at position `first` of all the keys that a query has (memories, then the segment),
 * hiding what same_length hides. */
void lh_fifo_same_length(const lh_memory *memory, const lh_layer_io *io, lh_key_source *source, int64_t first);

#endif
