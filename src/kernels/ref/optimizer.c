#include "kernels/kernel.h"

#include <math.h>

#define LH_TEMPLATE "kernels/ref/optimizer.inc"
#include "kernels/ref/both.inc"

void lh_register_optimizer_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, SUM_SQUARES, sum_squares);
    LH_SET_BOTH(table, ADAMW, adamw);
    LH_SET_BOTH(table, SGD, sgd);
    LH_SET_BOTH(table, ADAFACTOR, adafactor);
}
