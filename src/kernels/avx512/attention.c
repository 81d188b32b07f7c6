/* Attention with AVX-512: the templates of kernels/attention_*.h for sixteen lanes. */
#include "kernels/attention_common.h"
#include "kernels/attention_register.h"

#include <float.h>
#include <omp.h>

#include "kernels/avx512/attention_vector.h"

#include "kernels/attention_product.h"

#include "kernels/attention_turn.h"

#include "kernels/attention_tile.h"

#include "kernels/attention_relative.h"

#include "kernels/attention_stored.h"

#include "kernels/attention_forward.h"

#include "kernels/attention_rows.h"

#include "kernels/attention_listed.h"

#include "kernels/attention_backward.h"

#include "kernels/attention_nearest.h"

#include "kernels/attention_dispatch.h"

void lh_register_attention_avx512(lh_kernel_table *table)
{
    register_attention(table, LH_CPU_AVX512);
    register_nearest(table, LH_CPU_AVX512);
}
