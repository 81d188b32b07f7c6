/* What the kernels that gather by code share. */
#ifndef LH_KERNELS_CODES_H
#define LH_KERNELS_CODES_H

#include "kernels/kernel.h"

#include <string.h>

/* How many rows have each code, [batch, heads, codes], in thread 0's scratch memory; NULL if there is none. */
static inline int32_t *lh_code_counts(lh_exec *exec, const lh_code_means_args *args)
{
    int64_t lanes = args->batch * args->heads;
    size_t bytes = (size_t)(lanes * args->codes) * sizeof(int32_t);
    int32_t *counts = lh_scratch(exec, 0, bytes ? bytes : sizeof(int32_t));
    if (!counts) {
        return NULL;
    }
    memset(counts, 0, bytes);
    for (int64_t at = 0; at < lanes * args->length; at++) {
        if (args->code[at] > 0) {
            counts[at / args->length * args->codes + args->code[at] - 1]++;
        }
    }
    return counts;
}

/* max(count + added, 1) */
static inline double lh_code_total(int32_t count, int32_t added)
{
    double total = (double)count + (double)added;
    return total > 1 ? total : 1;
}

#endif
