/* What op files share. Not for callers of ops. */
#ifndef LH_OPS_INTERNAL_H
#define LH_OPS_INTERNAL_H

#include "ops/ops.h"

/* A contiguous gradient for in[i] that a kernel may add to: holds what has flowed in so far, or zeros. Commit it.
 * NULL if that input wants none. */
lh_tensor *lh_in_grad_addable(lh_context *context, lh_node *node, int i);

/* The gradient of out[i] as a contiguous tensor that the caller may overwrite and give away: the gradient itself if
 * nobody else refers to it, else a copy. NULL if nothing flowed in. */
lh_tensor *lh_out_grad_taken(lh_context *context, lh_node *node, int i);

/* x's leading dimensions flattened: how many rows of shape[ndim-1] elements. */
int64_t lh_rows_of(const lh_tensor *x);

/* Is `vector` NULL or a [width] tensor of x's dtype? */
bool lh_fits_width(const lh_tensor *vector, const lh_tensor *x, int64_t width);

/* Does every index (i32, contiguous) lie below `bound`? Otherwise fails as `op`, naming the entry. */
bool lh_indices_below(lh_context *context, const char *op, const lh_tensor *index, int64_t bound);

#endif
