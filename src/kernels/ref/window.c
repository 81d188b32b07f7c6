#include "kernels/kernel.h"

#include <string.h>

#define LH_TEMPLATE "kernels/ref/window.inc"
#include "kernels/ref/both.inc"

void lh_register_window_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, UNFOLD, unfold);
    LH_SET_BOTH(table, FOLD, fold);
    LH_SET_BOTH(table, POOL, pool);
    LH_SET_BOTH(table, POOL_BACKWARD, pool_backward);
}
