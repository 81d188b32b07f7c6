/* The source of an encoder-decoder model as state, for kinds with an encoder: the hooks take_source and source, and
 * what they keep. Two carried entries, which stand before all others of the kind:
 *   ids    i32 [batch, source]: the tokens from column 0 on
 *   count  i32 [batch, 1] */
#ifndef LH_MEMORY_SOURCE_H
#define LH_MEMORY_SOURCE_H

#include "memory/memory.h"

/* Adds the entries: the first thing that a kind's create does. */
lh_status lh_source_create(lh_memory *memory, int64_t source, lh_error *error);
/* Hooks. */
void lh_source_take(lh_memory *memory, lh_context *context, const int32_t *tokens, int64_t count);
bool lh_source_look(lh_memory *memory, lh_context *context, lh_source *source);

#endif
