#include "kernels/kernel.h"

#include <math.h>

#define LH_TEMPLATE "kernels/ref/broadcast.inc"
#include "kernels/ref/both.inc"

void lh_register_broadcast_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, BINARY, binary);
    LH_SET_BOTH(table, REDUCE, reduce);
}
