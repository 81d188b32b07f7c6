/* Chooses between the tiles, the path for few queries and plain C. A template: include it last. */
#ifndef LH_KERNELS_ATTENTION_DISPATCH_H
#define LH_KERNELS_ATTENTION_DISPATCH_H

/* Whether the tiles can do this call at all. */
static bool tiles_can(const lh_attention_args *args)
{
    for (int s = 0; s < args->source_count; s++) {
        const lh_attention_source *source = &args->source[s];
        if (source->layout != LH_KEYS_DENSE || source->k_len > INT32_MAX - RUN_KEYS) {
            return false;
        }
    }
    return true;
}

static bool nothing_asked(const lh_attention_args *args)
{
    return args->batch <= 0 || args->heads <= 0 || args->q_len <= 0;
}

static void attention(lh_exec *exec, const void *arguments)
{
    const lh_attention_args *args = arguments;
    if (nothing_asked(args)) {
        return;
    }
    if (tiles_can(args)) {
        forward_tiles(exec, args);
    } else {
        lh_attention_forward_ref_f32(exec, args);
    }
}

static void attention_backward(lh_exec *exec, const void *arguments)
{
    const lh_attention_args *args = arguments;
    if (nothing_asked(args)) {
        return;
    }
    if (tiles_can(args)) {
        backward_tiles(exec, args);
    } else {
        lh_attention_backward_ref_f32(exec, args);
    }
}

static void register_attention(lh_kernel_table *table, lh_cpu_level level)
{
    table->f32[LH_KERNEL_ATTENTION] = attention;
    table->f32[LH_KERNEL_ATTENTION_BACKWARD] = attention_backward;
    table->origin[LH_KERNEL_ATTENTION] = table->origin[LH_KERNEL_ATTENTION_BACKWARD] = level;
}

#endif
