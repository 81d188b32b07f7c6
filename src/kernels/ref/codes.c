#include "kernels/codes.h"

#include <math.h>

#define LH_TEMPLATE "kernels/ref/codes.inc"
#include "kernels/ref/both.inc"

void lh_register_codes_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, NEAREST_CODE, nearest_code);
    LH_SET_BOTH(table, CODE_MEANS, code_means);
    LH_SET_BOTH(table, CODE_MEANS_BACKWARD, code_means_backward);
    LH_SET_BOTH(table, CODE_SUMS, code_sums);
}
