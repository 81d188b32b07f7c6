/* The memory kinds there are, each defined in the file of its name. */
#ifndef LH_MEMORY_KINDS_H
#define LH_MEMORY_KINDS_H

#include "memory/memory.h"

extern const lh_memory_kind lh_memory_none;
extern const lh_memory_kind lh_memory_transformer_xl;
extern const lh_memory_kind lh_memory_compressive;
extern const lh_memory_kind lh_memory_window;
extern const lh_memory_kind lh_memory_perceiver_ar;
extern const lh_memory_kind lh_memory_block_recurrent;
extern const lh_memory_kind lh_memory_memorizing;
extern const lh_memory_kind lh_memory_transformer_vq;
extern const lh_memory_kind lh_memory_routing;
extern const lh_memory_kind lh_memory_routing_image;
extern const lh_memory_kind lh_memory_routing_pairs;

#endif
