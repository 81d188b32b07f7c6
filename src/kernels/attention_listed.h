/* The backward pass for keys that each query picks for itself (LH_KEYS_GATHERED), one query at a time with channels
 * in the lanes. A template: include it after attention_rows.h.
 *
 * Weights are computed anew from the logits and lse, as in attention_backward.h. When keys or values want
 * gradients, one task takes all queries of a key head, since lists may name the same row; otherwise every query is
 * a task. */
#ifndef LH_KERNELS_ATTENTION_LISTED_H
#define LH_KERNELS_ATTENTION_LISTED_H

typedef struct listed_work {
    row_query query;
    float *d_out, *d_content; /* [padded(v_width)], [padded(qk_width)] */
} listed_work;

static size_t listed_parts(listed_work *work, const lh_attention_args *args, char *memory)
{
    parts p = {.start = memory};
    row_query_parts(&work->query, args, &p);
    work->d_out = take_floats(&p, padded(args->v_width));
    work->d_content = take_floats(&p, padded(args->qk_width));
    return p.used;
}

/* Has the source lists, and nothing but keys and values? */
static bool listed_alone(const lh_attention_source *source)
{
    return source->layout == LH_KEYS_GATHERED && !source->content_bias && !source->position_bias &&
           !source->rel_k && !source->rel_v && !source->distance_bias && !source->key_bias &&
           source->k_len <= INT32_MAX;
}

/* y += alpha x */
static void add_row(float *y, float alpha, const float *x, int64_t width)
{
    vector factor = v_set(alpha);
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) {
        v_store(y + c, v_fma(factor, v_load(x + c), v_load(y + c)));
    }
    if (c < width) {
        v_store_first(y + c, width - c,
                      v_fma(factor, v_load_first(x + c, width - c), v_load_first(y + c, width - c)));
    }
}

/* One list of keys of one query: list->logit becomes d logit, and d_content gathers d logit k. */
static void listed_keys_backward(listed_work *work, key_list *list, int64_t b, int64_t h, float lse2, float shift)
{
    const row_query *query = &work->query;
    const lh_attention_args *args = query->args;
    const lh_attention_source *source = query->source;
    int64_t width = args->qk_width, v_width = args->v_width, count = list->count;
    int64_t kv_head = h / (args->heads / args->kv_heads);
    float d_weight[LIST_KEYS + LANES];
    if (count == 0) {
        return;
    }
    listed v = listed_values(query, list->key, count);
    list_dots(work->d_out, v.rows, v.stride, v_width, v.at, count, d_weight);
    listed k = listed_keys(query, list->key, count);
    list_dots(query->content, k.rows, k.stride, width, k.at, count, list->logit);
    for (int64_t n = 0; n < count; n += LANES) {
        v_store(list->logit + n, v_exp2(v_subtract(v_load(list->logit + n), v_set(lse2))));
    }
    float scale = (float)(args->scale * (args->head_scale ? (double)((const float *)args->head_scale)[h] : 1));
    for (int64_t n = 0; n < count; n++) {
        float weight = list->logit[n], kept = 1;
        if (args->dropout > 0) {
            kept = lh_attention_keep(query->row_key, list->key[n], query->threshold) ? query->keep : 0;
        }
        list->logit[n] = weight * (kept * d_weight[n] - shift);
        if (source->d_v.data) {
            add_row(lane_row(&source->d_v, b, kv_head, list->key[n]), weight * kept, work->d_out, v_width);
        }
        if (source->d_k.data) {
            const float *q = lane_row(&args->q, b, h, query->i);
            add_row(lane_row(&source->d_k, b, kv_head, list->key[n]), scale * list->logit[n], q, width);
        }
    }
    add_weighted(k.rows, k.stride, width, k.at, list->logit, count, work->d_content);
}

/* All listed sources of one query. Returns its part of head_scale's gradient, before args->scale. */
static double listed_query(listed_work *work, const lh_attention_args *args, int64_t b, int64_t h, int64_t i)
{
    int64_t width = args->qk_width, v_width = args->v_width, at = (b * args->heads + h) * args->q_len + i;
    float lse = ((const float *)args->lse)[at];
    if (lse == -INFINITY) {
        return 0;
    }
    const float *out = lane_row(&args->out, b, h, i), *q = lane_row(&args->q, b, h, i);
    copy_rows(lane_row(&args->d_out, b, h, i), 0, 1, v_width, 1, NULL, work->d_out, padded(v_width));
    clear(work->d_content, padded(width));
    vector sum = v_zero();
    for (int64_t c = 0; c < v_width; c += LANES) {
        int64_t count = lh_attention_min(LANES, v_width - c);
        sum = v_fma(v_load(work->d_out + c), v_load_first(out + c, count), sum);
    }
    float shift = v_sum(sum) - (args->d_lse ? ((const float *)args->d_lse)[at] : 0);
    for (int s = 0; s < args->source_count; s++) {
        key_list list;
        list.count = 0;
        row_query_start(&work->query, args, s, b, h, i);
        lh_key_walk walk = lh_key_walk_start(args, work->query.source, b, h, i);
        for (int64_t begin, end; args->source[s].k_len > 0 && lh_key_walk_next(&walk, &begin, &end);) {
            list.key[list.count++] = (int32_t)begin;
            if (list.count == LIST_KEYS) {
                listed_keys_backward(work, &list, b, h, (float)((double)lse * LOG2_E), shift);
                list.count = 0;
            }
        }
        listed_keys_backward(work, &list, b, h, (float)((double)lse * LOG2_E), shift);
    }
    double scale = args->scale * (args->head_scale ? (double)((const float *)args->head_scale)[h] : 1), total = 0;
    if (args->d_q.data) {
        add_row(lane_row(&args->d_q, b, h, i), (float)scale, work->d_content, width);
    }
    for (int64_t c = 0; args->d_head_scale && c < width; c++) {
        total += (double)q[c] * (double)work->d_content[c];
    }
    return total;
}

/* d_head_scale[h] from what each query gave, in the order of queries. */
static void add_head_scale(const lh_attention_args *args, const double *given)
{
    float *d_head_scale = args->d_head_scale;
    for (int64_t h = 0; h < args->heads; h++) {
        double sum = 0;
        for (int64_t b = 0; b < args->batch; b++) {
            for (int64_t i = 0; i < args->q_len; i++) {
                sum += given[(b * args->heads + h) * args->q_len + i];
            }
        }
        d_head_scale[h] += (float)(args->scale * sum);
    }
}

static void backward_listed(lh_exec *exec, const lh_attention_args *args)
{
    bool across_batch = false, across_heads = false, shared = args->d_q.data && args->d_q.head == 0;
    lh_attention_args keys = *args;
    keys.d_head_scale = NULL; /* is summed in the end */
    lh_attention_shares(&keys, &across_batch, &across_heads);
    for (int s = 0; s < args->source_count; s++) {
        shared |= args->source[s].d_k.data || args->source[s].d_v.data;
    }
    /* a unit holds all that adds to one place, in one order */
    bool whole = across_batch || across_heads;
    int64_t lanes = args->batch * args->kv_heads, rows = args->batch * args->heads * args->q_len;
    int64_t units = whole ? 1 : shared ? lanes : rows, group = rows / units;
    listed_work sized;
    size_t own = listed_parts(&sized, args, NULL);
    parts p = {0};
    take(&p, (size_t)rows * sizeof(double));
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, own + (thread == 0 ? p.used : 0))) {
            return;
        }
    }
    double *given = exec->scratch[0].data;
#pragma omp parallel num_threads(units > 1 ? exec->threads : 1)
    {
        listed_work work;
        int thread = omp_get_thread_num();
        listed_parts(&work, args, (char *)exec->scratch[thread].data + (thread == 0 ? p.used : 0));
#pragma omp for schedule(dynamic, 1 + (units == rows ? 15 : 0))
        for (int64_t unit = 0; unit < units; unit++) {
            for (int64_t row = unit * group; row < (unit + 1) * group; row++) {
                int64_t i = row % args->q_len, h = row / args->q_len % args->heads;
                given[row] = listed_query(&work, args, row / args->q_len / args->heads, h, i);
            }
        }
    }
    if (args->d_head_scale) {
        add_head_scale(args, given);
    }
}

#endif
