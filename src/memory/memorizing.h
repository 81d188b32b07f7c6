/* The Memorizing Transformer (Wu et al. 2022), for those who want to see what it found. */
#ifndef LH_MEMORY_MEMORIZING_H
#define LH_MEMORY_MEMORIZING_H

#include "memory/memory.h"

/* What the queries of one memory layer retrieved in one call; in the context's arena. */
struct lh_retrieved {
    int64_t batch, heads, tokens, k;
    int64_t *position; /* [batch, heads, tokens, k]: tokens from the document's start, best first; -1: none */
    double *weight;    /* the same: part of the retrieved attention, 1 in all (0 where there is none) */
    double *gate;      /* [heads]: part of the output that retrieved attention gets; NULL where there is no gate */
};

extern const lh_recipe_preset lh_memorizing_presets[];

#endif
