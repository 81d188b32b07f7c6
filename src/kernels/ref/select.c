/* ARGMAX, TOP_K, TOP_SO_FAR and its lists. */
#include "kernels/kernel.h"

#include <omp.h>
#include <stdlib.h>

#define ARGMAX_STRIP 64 /* columns whose best lie on the stack */

#define LH_TEMPLATE "kernels/ref/select.inc"
#include "kernels/ref/both.inc"

void lh_register_select_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, ARGMAX, argmax);
    LH_SET_BOTH(table, TOP_K, top_k);
    LH_SET_BOTH(table, TOP_SO_FAR, top_so_far);
    LH_SET_BOTH(table, TOP_SO_FAR_LISTS, top_so_far_lists);
}
