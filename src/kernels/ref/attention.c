/* Attention in plain C: the meaning of lh_attention_args, one query and one key at a time. Extra memory is a few
 * rows per thread. */
#include "kernels/attention_common.h"
#include "kernels/attention_register.h"
#include "kernels/ring.h"

#include <math.h>
#include <omp.h>

static bool scratch_for_all(lh_exec *exec, size_t bytes)
{
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, bytes)) {
            return false;
        }
    }
    return true;
}

/* Are keys and values lists of rows in a 16-bit or 8-bit type? */
static bool stored_short(const lh_attention_source *source)
{
    return source->layout == LH_KEYS_GATHERED && (source->stored == LH_F16 || source->stored == LH_I8);
}

#define REAL float
#define NAME(name) name##_f32
#include "kernels/ref/attention.inc"
#undef REAL
#undef NAME
#define REAL double
#define NAME(name) name##_f64
#include "kernels/ref/attention.inc"
#undef REAL
#undef NAME

void lh_attention_forward_ref_f32(lh_exec *exec, const void *arguments)
{
    attention_f32(exec, arguments);
}

void lh_attention_backward_ref_f32(lh_exec *exec, const void *arguments)
{
    attention_backward_f32(exec, arguments);
}

void lh_attention_mass_ref_f32(lh_exec *exec, const void *arguments)
{
    attention_mass_f32(exec, arguments);
}

void lh_register_attention_ref(lh_kernel_table *table)
{
    table->f32[LH_KERNEL_ATTENTION] = attention_f32;
    table->f64[LH_KERNEL_ATTENTION] = attention_f64;
    table->f32[LH_KERNEL_ATTENTION_BACKWARD] = attention_backward_f32;
    table->f64[LH_KERNEL_ATTENTION_BACKWARD] = attention_backward_f64;
    table->f32[LH_KERNEL_ATTENTION_MASS] = attention_mass_f32;
    table->f64[LH_KERNEL_ATTENTION_MASS] = attention_mass_f64;
    table->origin[LH_KERNEL_ATTENTION] = LH_CPU_REF;
    table->origin[LH_KERNEL_ATTENTION_BACKWARD] = LH_CPU_REF;
    table->origin[LH_KERNEL_ATTENTION_MASS] = LH_CPU_REF;
}
