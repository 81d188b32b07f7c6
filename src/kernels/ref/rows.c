#include "kernels/kernel.h"

#define LH_TEMPLATE "kernels/ref/rows.inc"
#include "kernels/ref/both.inc"

void lh_register_rows_ref(lh_kernel_table *table)
{
    LH_SET_BOTH(table, GATHER_ROWS, gather_rows);
    LH_SET_BOTH(table, SCATTER_ADD_ROWS, scatter_add_rows);
}
