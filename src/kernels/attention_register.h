/* The attention kernels of each level. Every level computes all that lh_attention_args can say: a fast one hands
 * what it has no path for to the plain C functions declared here. */
#ifndef LH_KERNELS_ATTENTION_REGISTER_H
#define LH_KERNELS_ATTENTION_REGISTER_H

#include "kernels/table.h"

void lh_register_attention_ref(lh_kernel_table *table);
void lh_register_attention_avx2(lh_kernel_table *table);
void lh_register_attention_avx512(lh_kernel_table *table);

/* The plain C kernels for float; `arguments` as for LH_KERNEL_ATTENTION and its fellows. */
void lh_attention_forward_ref_f32(lh_exec *exec, const void *arguments);
void lh_attention_backward_ref_f32(lh_exec *exec, const void *arguments);
void lh_attention_mass_ref_f32(lh_exec *exec, const void *arguments);

#endif
