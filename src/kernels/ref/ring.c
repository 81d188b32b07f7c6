/* Search in rings of rows, and appending to them, in plain C. */
#include "kernels/ring.h"

#include <math.h>
#include <omp.h>

#define LH_TEMPLATE "kernels/ref/ring.inc"
#include "kernels/ref/both.inc"

void lh_register_ring_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, NEAREST, nearest);
    LH_SET_BOTH(table, RING_APPEND, ring_append);
}
