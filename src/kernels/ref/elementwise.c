#include "kernels/kernel.h"
#include "kernels/ref/function.h"

#define LH_TEMPLATE "kernels/ref/elementwise.inc"
#include "kernels/ref/both.inc"

void lh_register_elementwise_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, ADD_SCALED, add_scaled);
    LH_SET_BOTH(table, UNARY, unary);
    LH_SET_BOTH(table, UNARY_BACKWARD, unary_backward);
    LH_SET_BOTH(table, BIAS_ACTIVATION, bias_activation);
    LH_SET_BOTH(table, BIAS_ACTIVATION_BACKWARD, bias_activation_backward);
    LH_SET_BOTH(table, GATED, gated);
    LH_SET_BOTH(table, GATED_BACKWARD, gated_backward);
    LH_SET_BOTH(table, DROPOUT, dropout);
}
