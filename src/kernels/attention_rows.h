/* Attention one query at a time, with channels in the lanes: for few queries against many keys (decoding), where it
 * runs at the speed of memory, and for keys that each query picks for itself. A template: include it after
 * attention_forward.h and attention_stored.h.
 *
 * A query keeps a greatest logit, a sum of exponentials and a weighted sum of values, so it can go on where another
 * part of the same softmax ended: a partial result is as good as its out and lse. */
#ifndef LH_KERNELS_ATTENTION_ROWS_H
#define LH_KERNELS_ATTENTION_ROWS_H

#define LIST_KEYS 64  /* keys looked at together at most */
#define FEW_KEYS 1024 /* keys of one task when few queries meet many keys */
#define FEW_QUERIES 8

/* One query and one source. */
typedef struct row_query {
    const lh_attention_args *args;
    const lh_attention_source *source;
    int64_t i;
    float *content, *position; /* [padded(qk_width)]: scale2 * (q + bias), zeros behind */
    const float *k, *v, *rel_k, *rel_v, *distance_bias, *key_bias;
    const char *k_stored, *v_stored; /* instead of k, v: rows of a short type, */
    const float *k_scale, *v_scale;  /* their factors, */
    float *room;                     /* and [LIST_KEYS][padded width] to unpack them in */
    float bias_factor;               /* of distance_bias, in units of log 2 */
    uint32_t row_key, threshold;
    float keep;
} row_query;

/* A softmax in progress. */
typedef struct row_state {
    float greatest, sum; /* log 2 units; sum relative to greatest */
    float *sums;         /* [padded(v_width)] */
} row_state;

/* A list of keys, with room for vectors. */
typedef struct key_list {
    int64_t count;
    int32_t key[LIST_KEYS + LANES];
    float logit[LIST_KEYS + LANES]; /* and, in place, weights */
    int64_t limit;                  /* <= LIST_KEYS */
    int64_t ahead_begin, ahead_end; /* for these entries, ask memory for the key `limit` further on */
} key_list;

static bool lists_short(const lh_attention_source *source)
{
    return source->layout == LH_KEYS_GATHERED && is_short(source->stored);
}

static void row_query_stored(row_query *query, int64_t b, int64_t kv_head)
{
    const lh_attention_source *source = query->source;
    int64_t size = lh_stored_size(source->stored, sizeof(float));
    int64_t lane = (b * query->args->kv_heads + kv_head) * source->k_len;
    query->k_stored = query->v_stored = NULL;
    if (lists_short(source)) {
        query->k = query->v = NULL;
        query->k_stored = lh_stored_row(&source->k, size, b, kv_head, 0);
        query->v_stored = lh_stored_row(&source->v, size, b, kv_head, 0);
        query->k_scale = source->k_scale ? source->k_scale + lane : NULL;
        query->v_scale = source->v_scale ? source->v_scale + lane : NULL;
    }
}

static void row_query_start(row_query *query, const lh_attention_args *args, int s, int64_t b, int64_t h, int64_t i)
{
    const lh_attention_source *source = &args->source[s];
    int64_t kv_head = h / (args->heads / args->kv_heads), width = args->qk_width, full = padded(width);
    double scale = args->scale * (args->head_scale ? (double)((const float *)args->head_scale)[h] : 1);
    const float *content_bias = source->content_bias ? (const float *)source->content_bias + h * width : NULL;
    const float *position_bias = source->position_bias ? (const float *)source->position_bias + h * width : NULL;
    bool tables = source->rel_len > 0;
    query->args = args;
    query->source = source;
    query->i = i;
    query->k = lane_row(&source->k, b, kv_head, 0);
    query->v = lane_row(&source->v, b, kv_head, 0);
    row_query_stored(query, b, kv_head);
    query->rel_k = tables && source->rel_k ? (const float *)source->rel_k + h * source->rel_k_head : NULL;
    query->rel_v = tables && source->rel_v ? (const float *)source->rel_v + h * source->rel_v_head : NULL;
    query->distance_bias =
        tables && source->distance_bias ? (const float *)source->distance_bias + h * source->rel_len : NULL;
    query->key_bias = source->key_bias
                          ? (const float *)source->key_bias + b * source->key_bias_batch + h * source->key_bias_head
                          : NULL;
    query->bias_factor = (float)((source->bias_scaled ? scale : 1) * LOG2_E);
    query->keep = 1;
    if (args->dropout > 0) {
        query->row_key = lh_attention_row_key(args->dropout_seed, args->dropout_offset, b * args->heads + h, i, s);
        query->threshold = lh_dropout_threshold(args->dropout);
        query->keep = (float)lh_attention_keep_scale(args->dropout);
    }
    const float *q = lane_row(&args->q, b, h, i);
    copy_rows(q, 0, 1, width, (float)(scale * LOG2_E), content_bias, query->content, full);
    if (query->rel_k) {
        copy_rows(q, 0, 1, width, (float)(scale * LOG2_E), position_bias, query->position, full);
    }
}

/* Asks memory for what is wanted ahead of entry n and a part of the list behind it; returns the size of that part.
 * Much is asked for little by little, so that computing and waiting overlap. */
static int64_t ask_ahead(const key_list *list, int64_t n, const float *rows, int64_t stride, int64_t width)
{
    bool much = list->ahead_end - list->ahead_begin > LANES;
    int64_t part = much ? lh_attention_min(LANES, list->count - n) : list->count - n;
    int64_t last = lh_attention_min(n + part, list->ahead_end);
    for (int64_t at = lh_attention_max(n, list->ahead_begin); at < last; at++) {
        for (int64_t c = 0; c < width; c += 16) {
            __builtin_prefetch(rows + (list->key[at] + list->limit) * stride + c, 0, 2);
        }
    }
    return part;
}

/* dot[u] = x . row[u] for LANES rows; x has zeros behind `width`. */
static ALWAYS_INLINE vector lane_dots(const float *x, const float *const row[LANES], int64_t width)
{
    vector sum[LANES];
    UNROLL_ALL
    for (int u = 0; u < LANES; u++) {
        sum[u] = v_zero();
    }
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) {
        vector part = v_load(x + c);
        UNROLL_ALL
        for (int u = 0; u < LANES; u++) {
            sum[u] = v_fma(part, v_load(row[u] + c), sum[u]);
        }
    }
    if (c < width) {
        vector part = v_load(x + c);
        UNROLL_ALL
        for (int u = 0; u < LANES; u++) {
            sum[u] = v_fma(part, v_load_first(row[u] + c, width - c), sum[u]);
        }
    }
    return v_sums(sum);
}

/* to[n] = x . (rows + key[n] * stride); room behind the last is overwritten. */
static void list_dots(const float *x, const float *rows, int64_t stride, int64_t width, const int32_t *key,
                      int64_t count, float *to)
{
    for (int64_t n = 0; n < count; n += LANES) {
        const float *row[LANES] = {NULL};
        UNROLL_ALL
        for (int u = 0; u < LANES; u++) {
            row[u] = rows + key[n + u < count ? n + u : n] * stride;
        }
        v_store(to + n, lane_dots(x, row, width));
    }
}

/* Entry n of a list has its row at rows + at[n] * stride. */
typedef struct listed {
    const float *rows;
    int64_t stride;
    const int32_t *at;
} listed;

/* The rows of a short type that entries n .. n + count - 1 name, unpacked. */
static listed unpack_listed(const row_query *query, bool values, const int32_t *key, int64_t count)
{
    static const int32_t counting[LIST_KEYS] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                                32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                                48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const lh_attention_source *source = query->source;
    int64_t width = values ? query->args->v_width : query->args->qk_width, stride = padded(width);
    int64_t step = (values ? source->v.row : source->k.row) * lh_stored_size(source->stored, sizeof(float));
    const char *stored = values ? query->v_stored : query->k_stored;
    const float *scale = values ? query->v_scale : query->k_scale;
    for (int64_t n = 0; n < count; n++) {
        row_to_floats(source->stored, stored + key[n] * step, width, source->stored == LH_I8 ? scale[key[n]] : 1,
                      query->room + n * stride);
    }
    return (listed){query->room, stride, counting};
}

static listed listed_keys(const row_query *query, const int32_t *key, int64_t count)
{
    return query->k ? (listed){query->k, query->source->k.row, key} : unpack_listed(query, false, key, count);
}

static listed listed_values(const row_query *query, const int32_t *key, int64_t count)
{
    return query->v ? (listed){query->v, query->source->v.row, key} : unpack_listed(query, true, key, count);
}

/* The logits of a list of keys. */
static void list_logits(const row_query *query, key_list *list)
{
    const lh_attention_source *source = query->source;
    int64_t width = query->args->qk_width;
    for (int64_t n = 0, part; n < list->count; n += part) {
        part = ask_ahead(list, n, query->k, source->k.row, width);
        listed k = listed_keys(query, list->key + n, part);
        list_dots(query->content, k.rows, k.stride, width, k.at, part, list->logit + n);
    }
    if (query->rel_k || query->distance_bias) {
        int32_t row[LIST_KEYS + LANES] = {0};
        float dot[LIST_KEYS + LANES];
        for (int64_t n = 0; n < list->count; n++) {
            int64_t t = lh_attention_rel(source, query->i, list->key[n]);
            row[n] = (int32_t)(t < 0 ? 0 : t);
            list->logit[n] += t >= 0 && query->distance_bias ? query->bias_factor * query->distance_bias[t] : 0;
        }
        if (query->rel_k) {
            list_dots(query->position, query->rel_k, source->rel_k_row, width, row, list->count, dot);
            for (int64_t n = 0; n < list->count; n++) {
                bool has_rel = lh_attention_rel(source, query->i, list->key[n]) >= 0;
                list->logit[n] += has_rel ? dot[n] : 0;
            }
        }
    }
    for (int64_t n = 0; query->key_bias && n < list->count; n++) {
        list->logit[n] += query->key_bias[list->key[n]] * (float)LOG2_E;
    }
}

/* sums += weight[n] * (rows + key[n] * stride), over `vectors` <= 4 vectors of channels of which the last may be
 * part. */
static ALWAYS_INLINE void add_weighted_channels(const int vectors, const float *rows, int64_t stride, int64_t width,
                                                const int32_t *key, const float *weight, int64_t count, float *sums)
{
    vector sum[2][4];
    UNROLL_ALL
    for (int x = 0; x < vectors; x++) {
        sum[0][x] = sum[1][x] = v_zero();
    }
    int64_t n = 0, last = width - (vectors - 1) * LANES;
    if (last >= LANES) {
        for (; n + 2 <= count; n += 2) {
            UNROLL_ALL
            for (int u = 0; u < 2; u++) {
                const float *row = rows + key[n + u] * stride;
                vector w = v_set(weight[n + u]);
                UNROLL_ALL
                for (int x = 0; x < vectors; x++) {
                    sum[u][x] = v_fma(w, v_load(row + x * LANES), sum[u][x]);
                }
            }
        }
    }
    for (; n < count; n++) {
        const float *row = rows + key[n] * stride;
        vector w = v_set(weight[n]);
        UNROLL_ALL
        for (int x = 0; x < vectors - 1; x++) {
            sum[0][x] = v_fma(w, v_load(row + x * LANES), sum[0][x]);
        }
        vector part = v_load_first(row + (vectors - 1) * LANES, last < LANES ? last : LANES);
        sum[0][vectors - 1] = v_fma(w, part, sum[0][vectors - 1]);
    }
    UNROLL_ALL
    for (int x = 0; x < vectors; x++) {
        v_store(sums + x * LANES, v_add(v_load(sums + x * LANES), v_add(sum[0][x], sum[1][x])));
    }
}

static void add_weighted(const float *rows, int64_t stride, int64_t width, const int32_t *key, const float *weight,
                         int64_t count, float *sums)
{
    int64_t c = 0;
    for (; c + 3 * LANES < width; c += 4 * LANES) {
        add_weighted_channels(4, rows + c, stride, width - c, key, weight, count, sums + c);
    }
    switch ((width - c + LANES - 1) / LANES) {
    case 3: add_weighted_channels(3, rows + c, stride, width - c, key, weight, count, sums + c); break;
    case 2: add_weighted_channels(2, rows + c, stride, width - c, key, weight, count, sums + c); break;
    case 1: add_weighted_channels(1, rows + c, stride, width - c, key, weight, count, sums + c); break;
    default: break;
    }
}

/* sums += each key's weight times its row of rel_v */
static void add_relative_rows(const row_query *query, const key_list *list, row_state *state)
{
    int32_t row[LIST_KEYS];
    float weight[LIST_KEYS];
    int64_t count = 0;
    for (int64_t n = 0; n < list->count; n++) {
        int64_t t = lh_attention_rel(query->source, query->i, list->key[n]);
        if (t >= 0) {
            row[count] = (int32_t)t;
            weight[count++] = list->logit[n];
        }
    }
    add_weighted(query->rel_v, query->source->rel_v_row, query->args->v_width, row, weight, count, state->sums);
}

/* Takes the list's keys into the softmax. */
static void absorb_list(const row_query *query, key_list *list, row_state *state)
{
    int64_t v_width = query->args->v_width, count = list->count;
    if (count == 0) {
        return;
    }
    list_logits(query, list);
    for (int64_t n = count; n < (count + LANES - 1) / LANES * LANES; n++) {
        list->logit[n] = -INFINITY;
    }
    vector most = v_set(state->greatest), total = v_zero();
    for (int64_t n = 0; n < count; n += LANES) {
        most = v_max(most, v_load(list->logit + n));
    }
    float greatest = v_largest(most);
    if (greatest != state->greatest) {
        float shrink = exp2f(state->greatest - greatest);
        for (int64_t c = 0; c < v_width; c++) {
            state->sums[c] *= shrink;
        }
        state->sum *= shrink;
        state->greatest = greatest;
    }
    for (int64_t n = 0; n < count; n += LANES) {
        vector weight = v_exp2(v_subtract(v_load(list->logit + n), v_set(greatest)));
        total = v_add(total, weight);
        v_store(list->logit + n, weight);
    }
    state->sum += v_sum(total);
    for (int64_t n = 0; query->args->dropout > 0 && n < count; n++) {
        bool kept = lh_attention_keep(query->row_key, list->key[n], query->threshold);
        list->logit[n] = kept ? list->logit[n] * query->keep : 0;
    }
    for (int64_t n = 0, part; n < count; n += part) {
        part = ask_ahead(list, n, query->v, query->source->v.row, v_width);
        listed v = listed_values(query, list->key + n, part);
        add_weighted(v.rows, v.stride, v_width, v.at, list->logit + n, part, state->sums);
    }
    if (query->rel_v) {
        add_relative_rows(query, list, state);
    }
}

static void list_push(key_list *list, const row_query *query, row_state *state, int64_t begin, int64_t end)
{
    for (int64_t j = begin; j < end; j++) {
        list->key[list->count++] = (int32_t)j;
        if (list->count == list->limit) {
            absorb_list(query, list, state);
            list->count = 0;
        }
    }
}

static void row_state_start(row_state *state, const lh_attention_args *args)
{
    state->greatest = args->has_null ? (float)(args->null_logit * LOG2_E) : -FLT_MAX;
    state->sum = args->has_null ? 1 : 0;
    clear(state->sums, padded(args->v_width));
}

static void row_state_store(const row_state *state, const lh_attention_args *args, int64_t b, int64_t h, int64_t i)
{
    float *out = lane_row(&args->out, b, h, i), *lse = (float *)args->lse + (b * args->heads + h) * args->q_len + i;
    float factor = state->sum == 0 ? 0 : 1 / state->sum;
    for (int64_t c = 0; c < args->v_width; c++) {
        out[c] = state->sums[c] * factor;
    }
    *lse = state->sum == 0 ? -INFINITY : (float)((double)state->greatest * LN_2 + log((double)state->sum));
}

/* other is another part of the same softmax: takes it into state. */
static void row_state_merge(row_state *state, const row_state *other, int64_t v_width)
{
    float greatest = state->greatest > other->greatest ? state->greatest : other->greatest;
    float mine = exp2f(state->greatest - greatest), its = exp2f(other->greatest - greatest);
    for (int64_t c = 0; c < v_width; c++) {
        state->sums[c] = state->sums[c] * mine + other->sums[c] * its;
    }
    state->sum = state->sum * mine + other->sum * its;
    state->greatest = greatest;
}

/* ---- queries with keys of their own ----------------------------------------------------------------------------
 */

static void row_query_parts(row_query *query, const lh_attention_args *args, parts *p)
{
    bool unpacks = false;
    for (int s = 0; s < args->source_count; s++) {
        unpacks |= lists_short(&args->source[s]);
    }
    query->content = take_floats(p, padded(args->qk_width));
    query->position = take_floats(p, padded(args->qk_width));
    int64_t widest = padded(lh_attention_max(args->qk_width, args->v_width));
    query->room = unpacks ? take_floats(p, LIST_KEYS * widest) : NULL;
}

static size_t rows_parts(row_query *query, row_state *state, const lh_attention_args *args, char *memory)
{
    parts p = {.start = memory};
    row_query_parts(query, args, &p);
    state->sums = take_floats(&p, padded(args->v_width));
    return p.used;
}

/* Goes on from out and lse with all sources of `args`, whatever their layout. */
static void forward_rows(lh_exec *exec, const lh_attention_args *args)
{
    row_query sized_query;
    row_state sized_state;
    size_t bytes = rows_parts(&sized_query, &sized_state, args, NULL);
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, bytes)) {
            return;
        }
    }
    int64_t rows = args->batch * args->heads * args->q_len;
#pragma omp parallel for schedule(dynamic, 8) num_threads(rows > 1 ? exec->threads : 1)
    for (int64_t row = 0; row < rows; row++) {
        row_query query;
        row_state state;
        key_list list;
        list.limit = LIST_KEYS;
        list.ahead_begin = list.ahead_end = 0;
        rows_parts(&query, &state, args, exec->scratch[omp_get_thread_num()].data);
        int64_t i = row % args->q_len, h = row / args->q_len % args->heads, b = row / args->q_len / args->heads;
        const float *out = lane_row(&args->out, b, h, i);
        float lse = ((const float *)args->lse)[row];
        state.greatest = lse == -INFINITY ? -FLT_MAX : (float)((double)lse * LOG2_E);
        state.sum = lse == -INFINITY ? 0 : 1;
        clear(state.sums, padded(args->v_width));
        for (int64_t c = 0; c < args->v_width; c++) {
            state.sums[c] = out[c];
        }
        for (int s = 0; s < args->source_count; s++) {
            row_query_start(&query, args, s, b, h, i);
            list.count = 0;
            lh_key_walk walk = lh_key_walk_start(args, query.source, b, h, i);
            for (int64_t begin, end; lh_key_walk_next(&walk, &begin, &end);) {
                list_push(&list, &query, &state, begin, end);
            }
            absorb_list(&query, &list, &state);
        }
        row_state_store(&state, args, b, h, i);
    }
}

/* ---- few queries, many keys -------------------------------------------------------------------------------------
 */

typedef struct few_work {
    const lh_attention_args *args;
    int64_t rows;   /* queries that share a key head: (heads / kv_heads) * q_len */
    int64_t chunks; /* of all sources */
    int64_t source_chunks[LH_ATTENTION_MAX_SOURCES];
    int64_t partial_size; /* floats of one partial result: greatest, sum, pad, sums */
    float *partials;      /* [batch * kv_heads][chunks][rows][partial_size] */
    size_t query_bytes;   /* of one prepared query of a thread */
} few_work;

static row_state partial_state(const few_work *work, int64_t lane, int64_t chunk, int64_t row)
{
    float *at = work->partials + ((lane * work->chunks + chunk) * work->rows + row) * work->partial_size;
    return (row_state){.greatest = at[0], .sum = at[1], .sums = at + LANES};
}

typedef struct few_query {
    row_query row;
    int64_t begin, end; /* the keys it sees */
} few_query;

static size_t few_query_parts(few_query *query, const lh_attention_args *args, parts *p)
{
    take(p, sizeof *query);
    query->row.content = take_floats(p, padded(args->qk_width));
    query->row.position = take_floats(p, padded(args->qk_width));
    return p->used;
}

static void few_query_start(const few_work *work, int s, int64_t b, int64_t h, int64_t i, char *memory)
{
    few_query *query = (few_query *)memory;
    parts p = {.start = memory};
    few_query_parts(query, work->args, &p);
    row_query_start(&query->row, work->args, s, b, h, i);
    lh_attention_interval(query->row.source, b, h, i, &query->begin, &query->end);
}

/* One chunk of keys for all queries of a key head. Keys are read from memory once, by the first query of each list.
 */
static void few_task(const few_work *work, int64_t lane, int64_t chunk, char *memory)
{
    const lh_attention_args *args = work->args;
    int64_t b = lane / args->kv_heads, group = args->heads / args->kv_heads, h0 = lane % args->kv_heads * group;
    int64_t at = chunk;
    int s = 0;
    while (at >= work->source_chunks[s]) {
        at -= work->source_chunks[s++];
    }
    const lh_attention_source *source = &args->source[s];
    int64_t first = at * FEW_KEYS, last = lh_attention_min(source->k_len, first + FEW_KEYS);
    for (int64_t row = 0; row < work->rows; row++) {
        row_state state = partial_state(work, lane, chunk, row);
        clear(state.sums - LANES, work->partial_size);
        state.sums[-LANES] = -FLT_MAX;
        few_query_start(work, s, b, h0 + row / args->q_len, row % args->q_len,
                        memory + row * (int64_t)work->query_bytes);
    }
    /* one or two queries take what memory delivers; more of them go on with what is near */
    int64_t limit = work->rows <= 2 ? 16 : LIST_KEYS;
    for (int64_t from = first; from < last; from += limit) {
        for (int64_t row = 0; row < work->rows; row++) {
            const few_query *query = (const few_query *)(memory + row * (int64_t)work->query_bytes);
            int64_t begin = lh_attention_max(query->begin, from);
            int64_t end = lh_attention_min(query->end, lh_attention_min(last, from + limit));
            row_state state = partial_state(work, lane, chunk, row);
            /* the queries share the asking for the next keys: memory works while they compute */
            int64_t next = lh_attention_min(lh_attention_max(last - from - limit, 0), limit);
            key_list list;
            list.count = 0;
            list.limit = limit;
            list.ahead_begin = next * row / work->rows;
            list.ahead_end = next * (row + 1) / work->rows;
            list_push(&list, &query->row, &state, begin, end);
            absorb_list(&query->row, &list, &state);
            state.sums[-LANES] = state.greatest;
            state.sums[1 - LANES] = state.sum;
        }
    }
}

static void forward_few(lh_exec *exec, const lh_attention_args *args)
{
    few_work work = {.args = args, .partial_size = LANES + padded(args->v_width)};
    work.rows = args->heads / args->kv_heads * args->q_len;
    for (int s = 0; s < args->source_count; s++) {
        work.source_chunks[s] = (args->source[s].k_len + FEW_KEYS - 1) / FEW_KEYS;
        work.chunks += work.source_chunks[s];
    }
    int64_t lanes = args->batch * args->kv_heads, tasks = lanes * work.chunks;
    parts p = {0};
    take_floats(&p, tasks * work.rows * work.partial_size);
    few_query sized;
    parts query_parts = {0};
    work.query_bytes = few_query_parts(&sized, args, &query_parts);
    size_t own = (size_t)work.rows * work.query_bytes + (size_t)padded(args->v_width) * sizeof(float);
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, own + (thread == 0 ? p.used : 0))) {
            return;
        }
    }
    work.partials = exec->scratch[0].data;
#pragma omp parallel num_threads(lanes *work.chunks > 1 ? exec->threads : 1)
    {
        int thread = omp_get_thread_num();
        char *memory = (char *)exec->scratch[thread].data + (thread == 0 ? p.used : 0);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks; task++) {
            few_task(&work, task / work.chunks, task % work.chunks, memory);
        }
#pragma omp for schedule(static)
        for (int64_t at = 0; at < lanes * work.rows; at++) {
            int64_t lane = at / work.rows, row = at % work.rows, group = args->heads / args->kv_heads;
            row_state state = {.sums = (float *)(void *)memory};
            row_state_start(&state, args);
            for (int64_t chunk = 0; chunk < work.chunks; chunk++) {
                row_state part = partial_state(&work, lane, chunk, row);
                row_state_merge(&state, &part, args->v_width);
            }
            row_state_store(&state, args, lane / args->kv_heads, lane % args->kv_heads * group + row / args->q_len,
                            row % args->q_len);
        }
    }
}

#endif
