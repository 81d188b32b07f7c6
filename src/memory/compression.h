/* Compression functions f_c of the Compressive Transformer (Rae et al. 2020, section 3.2): a block of old memories
 * [batch, n, width] -> [batch, slots, width]. */
#ifndef LH_MEMORY_COMPRESSION_H
#define LH_MEMORY_COMPRESSION_H

#include "memory/memory.h"

typedef enum lh_compression_function {
    LH_COMPRESS_CONV,      /* convolution, kernel c (+ extra), stride c, no bias */
    LH_COMPRESS_DILATED,   /* dilated kernel-2 convolutions with ReLU, then the convolution */
    LH_COMPRESS_MAX,       /* max pooling */
    LH_COMPRESS_MEAN,      /* mean pooling */
    LH_COMPRESS_MOST_USED, /* the old memories that were attended most, in time order */
} lh_compression_function;

#define LH_COMPRESS_MAX_DILATIONS 8

typedef struct lh_compression {
    lh_compression_function function;
    int64_t rate, extra; /* c, and what the kernel is longer than c */
    int64_t dilations[LH_COMPRESS_MAX_DILATIONS];
    int dilation_count;
} lh_compression;

/* Slots that a block of n positions becomes; 0 if it is too short. */
int64_t lh_compression_slots(const lh_compression *compression, int64_t n);

/* weight: [width, c + extra, width] for the convolutions (NULL else); dilated: [width, 2, width] for each rate.
 * `usage` [batch, n] only for most-used. */
lh_tensor *lh_compress(lh_context *context, const lh_compression *compression, lh_tensor *block, lh_tensor *weight,
                       lh_tensor *const *dilated, lh_tensor *usage);

#endif
