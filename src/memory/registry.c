/* The one list of memory kinds: a new method adds its line here. */
#include "memory/kinds.h"

/* clang-format off */
const lh_memory_kind *const lh_memory_kinds[] = {
    &lh_memory_none,
    &lh_memory_transformer_xl,
    &lh_memory_compressive,
    &lh_memory_window,
    &lh_memory_block_recurrent,
    &lh_memory_memorizing,
    &lh_memory_perceiver_ar,
    &lh_memory_transformer_vq,
    &lh_memory_routing,
    &lh_memory_routing_image,
    &lh_memory_routing_pairs,
    NULL,
};
/* clang-format on */
