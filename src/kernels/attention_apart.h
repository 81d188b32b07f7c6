/* Gradients that batch entries share in the backward pass: relative tables, biases, the scale of heads. Were all
 * entries to add to one place, their tasks would form one chain and take turns; with few heads most threads would
 * wait. So the batch is cut into ranges, as many as the shape says (never the number of threads), which add to
 * copies of their own; the copies are added up in the order of ranges.
 *
 * What is clamped to the ends of a relative table is gathered beside it in any case: a task adds it when it ends,
 * while tasks that follow it in the wave are still adding to rows of the table. */
#ifndef LH_KERNELS_ATTENTION_APART_H
#define LH_KERNELS_ATTENTION_APART_H

#include "kernels/attention_order.h"

#include <stddef.h>
#include <string.h>

#define CHAINS_ENOUGH 8
#define COPIES_MOST (INT64_C(4) << 20) /* floats in all copies */
#define MAX_SHARED (1 + 5 * LH_ATTENTION_MAX_SOURCES)

typedef struct backward_range {
    lh_attention_args args; /* the caller's, with gradients of its own if there are several ranges */
    backward_order order;
} backward_range;

/* A gradient that batch entries share: where lh_attention_args has the pointer, and how many floats it points to.
 */
typedef struct shared_gradient {
    size_t place;
    int64_t count;
} shared_gradient;

static int64_t table_extent(const lh_attention_args *args, const lh_attention_source *source, int64_t head,
                            int64_t row, int64_t width)
{
    return (args->heads - 1) * head + (source->rel_len - 1) * row + width;
}

static int shared_gradients(const lh_attention_args *args, shared_gradient *list)
{
    int count = 0;
    if (args->d_head_scale) {
        list[count++] = (shared_gradient){offsetof(lh_attention_args, d_head_scale), args->heads};
    }
    for (int s = 0; s < args->source_count; s++) {
        const lh_attention_source *source = &args->source[s];
        size_t at = offsetof(lh_attention_args, source) + (size_t)s * sizeof *source;
        const struct {
            void *data;
            shared_gradient gradient;
        } all[] = {
            {source->d_content_bias, {offsetof(lh_attention_source, d_content_bias), args->heads * args->qk_width}},
            {source->d_position_bias,
             {offsetof(lh_attention_source, d_position_bias), args->heads * args->qk_width}},
            {source->d_distance_bias,
             {offsetof(lh_attention_source, d_distance_bias), args->heads * source->rel_len}},
            {source->d_rel_k,
             {offsetof(lh_attention_source, d_rel_k),
              table_extent(args, source, source->rel_k_head, source->rel_k_row, args->qk_width)}},
            {source->d_rel_v,
             {offsetof(lh_attention_source, d_rel_v),
              table_extent(args, source, source->rel_v_head, source->rel_v_row, args->v_width)}},
        };
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            if (all[i].data) {
                list[count++] = (shared_gradient){at + all[i].gradient.place, all[i].gradient.count};
            }
        }
    }
    return count;
}

static float **gradient_pointer(lh_attention_args *args, const shared_gradient *gradient)
{
    return (float **)(void *)((char *)args + gradient->place);
}

static int64_t count_ranges(const lh_attention_args *args, const shared_gradient *list, int shared)
{
    bool across_batch, across_heads;
    lh_attention_shares(args, &across_batch, &across_heads);
    bool others = args->d_q.data && args->d_q.batch == 0; /* shared by entries, and not copied here */
    for (int s = 0; s < args->source_count; s++) {
        const lh_attention_source *source = &args->source[s];
        others |= source->d_k.data && source->d_k.batch == 0;
        others |= source->d_v.data && source->d_v.batch == 0;
        others |= source->d_key_bias && source->key_bias_batch == 0;
    }
    if (!across_batch || others) {
        return 1;
    }
    int64_t chains = across_heads ? 1 : args->kv_heads, copied = 1;
    for (int i = 0; i < shared; i++) {
        copied += list[i].count;
    }
    int64_t ranges = lh_attention_min(args->batch, (CHAINS_ENOUGH + chains - 1) / chains);
    return lh_attention_max(1, lh_attention_min(ranges, COPIES_MOST / copied));
}

/* ---- what is clamped to the ends of tables: for each head 2 rows of rel_k, 2 of rel_v, 2 biases -----------------
 */

static int64_t edge_floats(const lh_attention_args *args)
{
    return 2 * padded(args->qk_width) + 2 * padded(args->v_width) + 2;
}

static bool has_edges(const lh_attention_source *source)
{
    return source->rel_clamp && source->rel_len > 0 && lh_attention_table_gradients(source);
}

/* y[i] += factor * x[i] */
static void add_to(float *y, const float *x, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] += factor * x[i];
    }
}

static void add_edges(const lh_attention_args *args, const lh_attention_source *source, const float *edges)
{
    int64_t ldq = padded(args->qk_width), ldv = padded(args->v_width);
    for (int64_t h = 0; h < args->heads; h++, edges += edge_floats(args)) {
        for (int end = 0; end < 2; end++) {
            int64_t t = end ? source->rel_len - 1 : 0;
            if (source->d_rel_k) {
                add_to((float *)source->d_rel_k + h * source->rel_k_head + t * source->rel_k_row, edges + end * ldq,
                       args->qk_width, 1);
            }
            if (source->d_rel_v) {
                add_to((float *)source->d_rel_v + h * source->rel_v_head + t * source->rel_v_row,
                       edges + 2 * ldq + end * ldv, args->v_width, 1);
            }
            if (source->d_distance_bias) {
                ((float *)source->d_distance_bias)[h * source->rel_len + t] += edges[2 * (ldq + ldv) + end];
            }
        }
    }
}

/* ---- ranges
 * ------------------------------------------------------------------------------------------------------ */

/* Lays out what the ranges need, or only counts it if p has no memory. Returns the ranges, NULL if counting. */
static backward_range *ranges_lay(const lh_attention_args *args, const shared_gradient *list, int shared,
                                  int64_t ranges, parts *p)
{
    backward_range *all = take(p, (size_t)ranges * sizeof *all);
    for (int64_t r = 0; r < ranges; r++) {
        backward_range counted = {0}, *range = all ? &all[r] : &counted;
        range->args = *args;
        order_start(&range->order, &range->args, args->batch * r / ranges, args->batch * (r + 1) / ranges);
        range->order.progress =
            take(p, (size_t)range->order.chains * (size_t)range->order.tasks * sizeof *range->order.progress);
        for (int64_t i = 0; all && i < range->order.chains * range->order.tasks; i++) {
            atomic_init(range->order.progress + i, 0);
        }
        size_t from = p->used;
        for (int s = 0; s < args->source_count; s++) {
            range->order.edges[s] =
                has_edges(&args->source[s]) ? take_floats(p, args->heads * edge_floats(args)) : NULL;
        }
        for (int i = 0; i < shared && ranges > 1; i++) {
            *gradient_pointer(&range->args, &list[i]) = take_floats(p, list[i].count);
        }
        if (all) {
            memset(p->start + from, 0, p->used - from);
        }
    }
    return all;
}

static void ranges_add(const lh_attention_args *args, const shared_gradient *list, int shared, backward_range *all,
                       int64_t ranges)
{
    lh_attention_args to = *args;
    for (int64_t r = 0; r < ranges; r++) {
        for (int s = 0; s < args->source_count; s++) {
            if (all[r].order.edges[s]) {
                add_edges(&all[r].args, &all[r].args.source[s], all[r].order.edges[s]);
            }
        }
        for (int i = 0; i < shared && ranges > 1; i++) {
            add_to(*gradient_pointer(&to, &list[i]), *gradient_pointer(&all[r].args, &list[i]), list[i].count, 1);
        }
    }
}

#endif
