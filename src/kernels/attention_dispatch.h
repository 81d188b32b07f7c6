/* Which sources go through the tiles, which query by query, which to plain C. A template: include it last. */
#ifndef LH_KERNELS_ATTENTION_DISPATCH_H
#define LH_KERNELS_ATTENTION_DISPATCH_H

typedef bool source_test(const lh_attention_args *args, int s);

/* A copy of the call with only those sources that have keys and pass (or do not pass) the test; the others keep
 * their places, since dropout counts sources. Returns how many are left. */
static int keep_sources(lh_attention_args *kept, const lh_attention_args *args, source_test *test, bool pass)
{
    int count = 0;
    *kept = *args;
    for (int s = 0; s < args->source_count; s++) {
        lh_attention_source *source = &kept->source[s];
        if (source->k_len > 0 && test(args, s) == pass) {
            count++;
        } else {
            lh_attention_source empty = {.layout = LH_KEYS_DENSE, .k = source->k, .v = source->v};
            *source = empty;
        }
    }
    return count;
}

static bool in_tiles(const lh_attention_args *args, int s)
{
    return args->source[s].layout == LH_KEYS_DENSE && args->source[s].k_len <= INT32_MAX - RUN_KEYS;
}

static bool in_lists(const lh_attention_args *args, int s)
{
    return listed_alone(&args->source[s]);
}

static bool in_neither(const lh_attention_args *args, int s)
{
    return !in_tiles(args, s) && !in_lists(args, s);
}

static bool nothing_asked(const lh_attention_args *args)
{
    return args->batch <= 0 || args->heads <= 0 || args->q_len <= 0;
}

static void attention(lh_exec *exec, const void *arguments)
{
    const lh_attention_args *args = arguments;
    lh_attention_args tiled, rest;
    if (nothing_asked(args)) {
        return;
    }
    int tiled_count = keep_sources(&tiled, args, in_tiles, true);
    int rest_count = keep_sources(&rest, args, in_tiles, false);
    if (args->q_len <= FEW_QUERIES || tiled_count == 0) {
        forward_few(exec, &tiled);
    } else {
        forward_tiles(exec, &tiled);
    }
    if (rest_count > 0 && !exec->out_of_memory) {
        forward_rows(exec, &rest);
    }
}

static void attention_backward(lh_exec *exec, const void *arguments)
{
    const lh_attention_args *args = arguments;
    lh_attention_args tiled, rest;
    if (nothing_asked(args)) {
        return;
    }
    if (keep_sources(&tiled, args, in_tiles, true) > 0) {
        backward_tiles(exec, &tiled);
    }
    if (keep_sources(&rest, args, in_lists, true) > 0 && !exec->out_of_memory) {
        backward_listed(exec, &rest);
    }
    if (keep_sources(&rest, args, in_neither, true) > 0 && !exec->out_of_memory) {
        lh_attention_backward_ref_f32(exec, &rest);
    }
}

static void register_attention(lh_kernel_table *table, lh_cpu_level level)
{
    table->f32[LH_KERNEL_ATTENTION] = attention;
    table->f32[LH_KERNEL_ATTENTION_BACKWARD] = attention_backward;
    table->origin[LH_KERNEL_ATTENTION] = table->origin[LH_KERNEL_ATTENTION_BACKWARD] = level;
}

#endif
