#include "kernels/kernel.h"

#include <math.h>

#define LH_TEMPLATE "kernels/ref/softmax.inc"
#include "kernels/ref/both.inc"

void lh_register_softmax_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, SOFTMAX, softmax);
    LH_SET_BOTH(table, SOFTMAX_BACKWARD, softmax_backward);
    LH_SET_BOTH(table, CROSS_ENTROPY, cross_entropy);
}
