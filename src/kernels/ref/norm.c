#include "kernels/kernel.h"

#include <math.h>

#define LH_TEMPLATE "kernels/ref/norm.inc"
#include "kernels/ref/both.inc"

void lh_register_norm_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, NORM, norm);
    LH_SET_BOTH(table, NORM_BACKWARD, norm_backward);
}
