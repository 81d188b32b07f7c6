#include "kernels/kernel.h"

#include <math.h>

#define LH_TEMPLATE "kernels/ref/rope.inc"
#include "kernels/ref/both.inc"

void lh_register_rope_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, ROPE, rope);
}
