/* The k rows of a ring with the largest inner products, in tiles. A template: include it after attention_stored.h.
 *
 * Queries lie in panels, one in each lane; rows of the ring are read as they are. A block of BLOCK_ROWS rows times
 * a panel is summed in registers and compared with each query's k-th best product so far. Almost always none is
 * greater, so that the products are never written anywhere; the few that are go into the query's list. With few
 * queries, channels are the lanes and the ring is read at the speed of memory.
 *
 * Rows are visited from the oldest on and a product has to be greater to displace another, so equal ones stay in
 * order of age. The sum of a product has one order, whatever the tile, and the best k of all parts are the best k
 * of the whole: results depend on nothing but the arguments. */
#ifndef LH_KERNELS_ATTENTION_NEAREST_H
#define LH_KERNELS_ATTENTION_NEAREST_H

#define NEAREST_QUERIES 256  /* of a unit of work at most */
#define SCREENED_QUERIES 512 /* the same with 8-bit products in front */
#define NEAREST_ROWS 128     /* rows of the ring that all panels of a unit visit before the next ones */
#define NEAREST_FEW 8        /* queries up to which channels are the lanes */
#define NEAREST_AHEAD 2      /* vectors of rows that memory is asked for in advance */
#define NEAREST_PIECE 4096   /* rows that are worth a task of their own */

/* What 8-bit products need (attention_screen.h). */
typedef struct screen {
    int64_t quads;                 /* width / 4, rounded up: four channels make one 32-bit lane */
    uint8_t *queries;              /* [panels][quads][PANEL][4], 128 added */
    float *plain;                  /* [queries][padded(width)]: as they are */
    float *inverse, *norm, *slack; /* [queries]: 1 / factor, |q'|, what |k| is multiplied by in the bound */
    int8_t *codes;                 /* [NEAREST_ROWS][quads][4] */
    float *factor;                 /* [NEAREST_ROWS] */
    int32_t *correction;           /* [NEAREST_ROWS]: -128 times the sum of the codes */
    float *error, *length;         /* [NEAREST_ROWS / SCREEN_BLOCK]: greatest |dk| and |k| of each block */
} screen;

/* One unit of work: queries of one lane and key head against a stretch of rows. */
typedef struct nearest_work {
    const lh_nearest_args *args;
    int64_t b, kv_head, h, first, live; /* of the queries, in the order of nearest_query */
    bool few, screened;
    int64_t oldest, count; /* rows of the lane that are visible */
    float *queries;        /* [panels][width][PANEL], or, for few queries, [queries][padded(width)] */
    float *threshold;      /* [queries]: the k-th best product so far */
    float *best;           /* [queries] lists of the k best (best_size floats each) */
    float *rows;           /* [NEAREST_ROWS][width]: rows of a short type */
    float *products;       /* [BLOCK_ROWS][PANEL] */
    float *bucket_score;   /* [panels][buckets][PANEL] */
    float *bucket_age;     /* the same: the ages' bits */
    screen screen;
} nearest_work;

/* ---- the best so far -------------------------------------------------------------------------------------------
 */

/* A list holds padded(k) products, best first, and behind them their rows' ages: rows since the oldest one
 * searched, -1 for none. What comes behind the k-th is left over. */
static int64_t best_size(const lh_nearest_args *args)
{
    return 2 * padded(args->k);
}

static float age_bits(int32_t age)
{
    float bits;
    __builtin_memcpy(&bits, &age, sizeof bits);
    return bits;
}

static int32_t age_at(const float *ages, int64_t n)
{
    int32_t age;
    __builtin_memcpy(&age, ages + n, sizeof age);
    return age;
}

static void clear_best(float *list, int64_t k)
{
    for (int64_t n = 0; n < padded(k); n++) {
        list[n] = -INFINITY;
        list[padded(k) + n] = age_bits(-1);
    }
}

/* Makes room at `place` of a list of whole vectors and puts a value there. */
static void insert_at(float *x, int64_t size, int64_t place, float value)
{
    int64_t first = place / LANES * LANES;
    for (int64_t at = size - LANES; at > first; at -= LANES) {
        v_store(x + at, v_load(x + at - 1));
    }
    v_store(x + first, v_insert(v_load(x + first), (int)(place - first), value));
}

/* Takes a row into the list: behind those that are better, and behind older ones that are as good. */
static void insert_best(float *list, int64_t k, float score, int32_t age)
{
    int64_t size = padded(k), place = 0;
    float *ages = list + size;
    for (int64_t at = 0; at < size; at += LANES) {
        int64_t better = __builtin_popcount(v_at_least(v_load(list + at), v_set(score)));
        place += better;
        if (better < LANES) {
            break;
        }
    }
    while (place > 0 && list[place - 1] == score && age_at(ages, place - 1) > age) {
        place--; /* only where rows do not come in the order of their age */
    }
    if (place < k) {
        insert_at(list, size, place, score);
        insert_at(ages, size, place, age_bits(age));
    }
}

static void take_candidate(nearest_work *work, int64_t query, float score, int64_t age)
{
    float *list = work->best + query * best_size(work->args);
    insert_best(list, work->args->k, score, (int32_t)age);
    work->threshold[query] = list[work->args->k - 1];
}

#if LANES == 16
#define CAN_SCREEN 1
#include "kernels/attention_screen.h"
#else
#define CAN_SCREEN 0
#endif

/* ---- many queries ----------------------------------------------------------------------------------------------
 */

/* Products of `rows` rows with a panel, taken where one is greater than its query's threshold. */
static __attribute__((noinline)) void take_products(nearest_work *work, int64_t panel, int64_t age, int64_t rows)
{
    float *threshold = work->threshold + panel * PANEL;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t lane = 0; lane < PANEL; lane += LANES) {
            const float *product = work->products + r * PANEL + lane;
            uint32_t hits = v_greater(v_load(product), v_load(threshold + lane));
            for (; hits; hits &= hits - 1) {
                int bit = __builtin_ctz(hits);
                take_candidate(work, panel * PANEL + lane + bit, product[bit], age + r);
            }
        }
    }
}

/* Row r of a block may be the best of its bucket. */
static __attribute__((noinline)) void take_buckets(nearest_work *work, int64_t panel, int64_t age, int64_t slot,
                                                   int64_t rows)
{
    int64_t buckets = work->args->buckets, bucket = slot % buckets;
    for (int64_t r = 0; r < rows; r++) {
        float *score = work->bucket_score + (panel * buckets + bucket) * PANEL;
        float *ages = work->bucket_age + (panel * buckets + bucket) * PANEL;
        vector this_age = v_set(age_bits((int32_t)(age + r)));
        for (int64_t lane = 0; lane < PANEL; lane += LANES) {
            vector product = v_load(work->products + r * PANEL + lane), best = v_load(score + lane);
            v_store(ages + lane, v_where_greater(product, best, this_age, v_load(ages + lane)));
            v_store(score + lane, v_where_greater(product, best, product, best));
        }
        bucket = bucket + 1 == buckets ? 0 : bucket + 1;
    }
}

/* rows <= BLOCK_ROWS is a constant where this is inlined. */
static ALWAYS_INLINE void nearest_block(const int rows, nearest_work *work, int64_t panel, int64_t age,
                                        int64_t slot, const float *restrict k, int64_t ldk)
{
    int64_t width = work->args->width;
    const float *restrict q = work->queries + panel * width * PANEL;
    vector sum[BLOCK_ROWS][2];
    UNROLL_ALL
    for (int r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = v_zero();
    }
    UNROLL_DEPTH
    for (int64_t c = 0; c < width; c++) {
        vector line[2] = {v_load(q + c * PANEL), v_load(q + c * PANEL + LANES)};
        UNROLL_ALL
        for (int r = 0; r < rows; r++) {
            vector element = v_set(k[r * ldk + c]);
            sum[r][0] = v_fma(element, line[0], sum[r][0]);
            sum[r][1] = v_fma(element, line[1], sum[r][1]);
        }
    }
    if (work->args->buckets == 0) {
        vector low = v_load(work->threshold + panel * PANEL),
               high = v_load(work->threshold + panel * PANEL + LANES);
        uint32_t hits = 0;
        UNROLL_ALL
        for (int r = 0; r < rows; r++) {
            hits |= v_greater(sum[r][0], low) | v_greater(sum[r][1], high);
        }
        if (!hits) {
            return;
        }
    }
    UNROLL_ALL
    for (int r = 0; r < rows; r++) {
        v_store(work->products + r * PANEL, sum[r][0]);
        v_store(work->products + r * PANEL + LANES, sum[r][1]);
    }
    if (work->args->buckets == 0) {
        take_products(work, panel, age, rows);
    } else {
        take_buckets(work, panel, age, slot, rows);
    }
}

static void nearest_panel(nearest_work *work, int64_t panel, int64_t age, int64_t slot, const float *k, int64_t ldk,
                          int64_t count)
{
    int64_t r = 0;
    for (; r + BLOCK_ROWS <= count; r += BLOCK_ROWS) {
        nearest_block(BLOCK_ROWS, work, panel, age + r, slot + r, k + r * ldk, ldk);
    }
    for (; r < count; r++) {
        nearest_block(1, work, panel, age + r, slot + r, k + r * ldk, ldk);
    }
}

/* The stretch of rows that begins with `age` and lies in one piece of the ring. */
static int64_t stretch(const nearest_work *work, int64_t age, int64_t end, int64_t most, int64_t *slot)
{
    int64_t capacity = work->args->keys.capacity;
    *slot = (work->oldest + age) % capacity;
    return lh_attention_min(most, lh_attention_min(end - age, capacity - *slot));
}

static const char *ring_row(const nearest_work *work, int64_t slot)
{
    const lh_ring *ring = &work->args->keys;
    return lh_stored_row(&ring->rows, lh_stored_size(ring->stored, sizeof(float)), work->b, work->kv_head, slot);
}

static const float *ring_scale(const nearest_work *work, int64_t slot)
{
    const lh_ring *ring = &work->args->keys;
    return ring->scale + (work->b * work->args->kv_heads + work->kv_head) * ring->slots + slot;
}

/* Rows begin .. end - 1, counted by age, for all panels. */
static void nearest_scan_panels(nearest_work *work, int64_t begin, int64_t end)
{
    const lh_nearest_args *args = work->args;
    const lh_ring *ring = &args->keys;
    int64_t panels = (work->live + PANEL - 1) / PANEL, width = args->width;
    for (int64_t age = begin, slot, count; age < end; age += count) {
        count = stretch(work, age, end, NEAREST_ROWS, &slot);
        const float *rows = (const float *)(const void *)ring_row(work, slot);
        int64_t stride = ring->rows.row;
        if (is_short(ring->stored)) {
            for (int64_t r = 0; r < count; r++) {
                row_to_floats(ring->stored, ring_row(work, slot + r), width,
                              ring->stored == LH_I8 ? *ring_scale(work, slot + r) : 1, work->rows + r * width);
            }
            rows = work->rows;
            stride = width;
        }
#if CAN_SCREEN
        if (work->screened) {
            screen_rows(&work->screen, rows, stride, width, count);
            for (int64_t panel = 0; panel < panels; panel++) {
                screen_panel(work, panel, age, rows, stride, count);
            }
            continue;
        }
#endif
        for (int64_t panel = 0; panel < panels; panel++) {
            nearest_panel(work, panel, age, slot, rows, stride, count);
        }
    }
}

/* The winners of all buckets. */
static void take_winners(nearest_work *work, int64_t query)
{
    int64_t buckets = work->args->buckets, panel = query / PANEL, lane = query % PANEL;
    float *list = work->best + query * best_size(work->args);
    for (int64_t bucket = 0; bucket < buckets; bucket++) {
        int64_t at = (panel * buckets + bucket) * PANEL + lane;
        if (work->bucket_score[at] > -INFINITY) {
            insert_best(list, work->args->k, work->bucket_score[at], age_at(work->bucket_age, at));
        }
    }
}

/* ---- few queries -----------------------------------------------------------------------------------------------
 */

/* x . row for LANES rows that follow each other; x has zeros behind `width`. `stored` is a constant. */
static ALWAYS_INLINE vector stored_dots(const lh_dtype stored, const float *x, const char *rows, int64_t stride,
                                        int64_t width)
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
            sum[u] = v_fma(part, stored_load(stored, rows + u * stride, c), sum[u]);
        }
    }
    if (c < width) {
        vector part = v_load(x + c);
        UNROLL_ALL
        for (int u = 0; u < LANES; u++) {
            sum[u] = v_fma(part, stored_load_first(stored, rows + u * stride, c, width - c), sum[u]);
        }
    }
    return v_sums(sum);
}

/* Rows begin .. end - 1, counted by age, for a handful of queries. */
static ALWAYS_INLINE void nearest_scan_rows(const lh_dtype stored, nearest_work *work, int64_t begin, int64_t end)
{
    const lh_nearest_args *args = work->args;
    int64_t width = args->width, full = padded(width);
    int64_t stride = args->keys.rows.row * lh_stored_size(stored, sizeof(float));
    for (int64_t age = begin, slot, count; age < end; age += count) {
        count = stretch(work, age, end, LANES, &slot);
        const char *rows = ring_row(work, slot), *ahead = rows + NEAREST_AHEAD * LANES * stride;
        if (slot + (NEAREST_AHEAD + 1) * LANES <= args->keys.capacity) {
            for (int64_t at = 0; at < LANES * stride; at += 64) {
                __builtin_prefetch(ahead + at, 0, 2);
            }
        }
        for (int64_t query = 0; query < work->live; query++) {
            float product[LANES];
            const float *x = work->queries + query * full;
            if (count == LANES) {
                vector dots = stored_dots(stored, x, rows, stride, width);
                if (stored == LH_I8) {
                    dots = v_multiply(dots, v_load(ring_scale(work, slot)));
                }
                v_store(product, dots);
            } else {
                for (int64_t u = 0; u < count; u++) { /* the same sums for one row at a time */
                    float dot[LANES];
                    v_store(dot, stored_dots(stored, x, rows + u * stride, 0, width));
                    product[u] = dot[0] * (stored == LH_I8 ? *ring_scale(work, slot + u) : 1);
                }
                for (int64_t u = count; u < LANES; u++) {
                    product[u] = -INFINITY;
                }
            }
            uint32_t hits = v_greater(v_load(product), v_set(work->threshold[query]));
            for (; hits; hits &= hits - 1) {
                int u = __builtin_ctz(hits);
                if (product[u] > work->threshold[query]) {
                    take_candidate(work, query, product[u], age + u);
                }
            }
        }
    }
}

/* ---- the whole -------------------------------------------------------------------------------------------------
 */

/* How the call is cut. */
typedef struct nearest_plan {
    const lh_nearest_args *args;
    bool few, screened;
    int64_t most;                   /* queries of a unit, where there are as many */
    int64_t group, blocks;          /* query heads in a unit; blocks of queries of a head */
    int64_t units, pieces, queries; /* queries of a unit at most */
    float *partial;                 /* lists of [units][pieces][queries], if pieces > 1 */
} nearest_plan;

static nearest_plan plan_nearest(const lh_exec *exec, const lh_nearest_args *args)
{
    nearest_plan plan = {.args = args, .group = args->heads / args->kv_heads, .pieces = 1};
    int64_t most = 0;
    for (int64_t b = 0; b < args->batch; b++) {
        int64_t oldest, count;
        lh_nearest_range(args, b, &oldest, &count);
        most = lh_attention_max(most, count);
    }
    plan.few = plan.group * args->q_len <= NEAREST_FEW && args->buckets == 0;
#if CAN_SCREEN
    plan.screened = can_screen() && !plan.few && args->buckets == 0 && most >= SCREEN_LEAST_ROWS &&
                    args->width >= SCREEN_LEAST_WIDTH;
#endif
    plan.most = plan.screened ? SCREENED_QUERIES : NEAREST_QUERIES;
    plan.queries = plan.few ? plan.group * args->q_len : lh_attention_min(args->q_len, plan.most);
    plan.blocks = plan.few ? 1 : (args->q_len + plan.most - 1) / plan.most;
    plan.group = plan.few ? plan.group : 1;
    plan.units = args->batch * (args->heads / plan.group) * plan.blocks;
    if (exec->threads > 1 && args->buckets == 0 && plan.units < 4 * exec->threads) {
        plan.pieces = (4 * exec->threads + plan.units - 1) / plan.units;
        plan.pieces = lh_attention_max(1, lh_attention_min(plan.pieces, most / NEAREST_PIECE));
    }
    return plan;
}

static size_t nearest_parts(nearest_work *work, const nearest_plan *plan, char *memory)
{
    const lh_nearest_args *args = plan->args;
    parts p = {.start = memory};
    int64_t lanes = (plan->queries + PANEL - 1) / PANEL * PANEL, cells = args->buckets * lanes;
    *work = (nearest_work){.args = args, .few = plan->few};
    work->queries = take_floats(&p, plan->few ? NEAREST_FEW * padded(args->width) : lanes * args->width);
    work->threshold = take_floats(&p, lanes);
    work->best = take_floats(&p, plan->queries * best_size(args));
    work->rows = is_short(args->keys.stored) && !plan->few ? take_floats(&p, NEAREST_ROWS * args->width) : NULL;
    work->products = take_floats(&p, BLOCK_ROWS * PANEL);
    work->bucket_score = cells ? take_floats(&p, cells) : NULL;
    work->bucket_age = cells ? take_floats(&p, cells) : NULL;
#if CAN_SCREEN
    if (plan->screened) {
        screen_parts(&work->screen, args->width, lanes, &p);
    }
#endif
    return p.used;
}

/* Where query number `query` of the unit stands. */
static void nearest_query(const nearest_work *work, int64_t query, int64_t *h, int64_t *i)
{
    int64_t q_len = work->args->q_len;
    *h = work->few ? work->h + query / q_len : work->h;
    *i = work->few ? query % q_len : work->first + query;
}

static void nearest_start(nearest_work *work, const nearest_plan *plan, int64_t unit)
{
    const lh_nearest_args *args = work->args;
    int64_t heads = args->heads / plan->group, width = args->width, k = args->k;
    work->b = unit / plan->blocks / heads;
    work->h = unit / plan->blocks % heads * plan->group;
    work->kv_head = work->h / (args->heads / args->kv_heads);
    work->first = unit % plan->blocks * plan->most;
    work->live = plan->few ? plan->queries : lh_attention_min(plan->most, args->q_len - work->first);
    work->screened = plan->screened;
    lh_nearest_range(args, work->b, &work->oldest, &work->count);
    for (int64_t query = 0; query < work->live; query++) {
        clear_best(work->best + query * best_size(args), k);
        work->threshold[query] = -INFINITY;
    }
    if (work->few) {
        for (int64_t query = 0, h, i; query < work->live; query++) {
            nearest_query(work, query, &h, &i);
            copy_rows(lane_row(&args->q, work->b, h, i), 0, 1, width, 1, NULL,
                      work->queries + query * padded(width), padded(width));
        }
        return;
    }
    int64_t panels = (work->live + PANEL - 1) / PANEL;
    for (int64_t query = work->live; query < panels * PANEL; query++) {
        work->threshold[query] = INFINITY; /* nothing is greater */
    }
#if CAN_SCREEN
    for (int64_t query = 0; query < work->live && work->screened; query++) {
        const float *q = lane_row(&args->q, work->b, work->h, work->first + query);
        work->screened = screen_query(&work->screen, q, width, query);
    }
    for (int64_t query = work->live; query < panels * PANEL && work->screened; query++) {
        screen_no_query(&work->screen, query);
    }
    if (work->screened) {
        return;
    }
#endif
    for (int64_t panel = 0; panel < panels; panel++) {
        turn_in(lane_row(&args->q, work->b, work->h, work->first + panel * PANEL), args->q.row,
                work->live - panel * PANEL, width, 1, NULL, work->queries + panel * width * PANEL);
    }
    for (int64_t cell = 0; cell < panels * args->buckets * PANEL; cell++) {
        work->bucket_score[cell] = -INFINITY;
    }
}

static void nearest_scan(nearest_work *work, int64_t begin, int64_t end)
{
    if (!work->few) {
        nearest_scan_panels(work, begin, end);
        return;
    }
    switch (work->args->keys.stored) {
    case LH_F16: nearest_scan_rows(LH_F16, work, begin, end); break;
    case LH_I8: nearest_scan_rows(LH_I8, work, begin, end); break;
    default: nearest_scan_rows(LH_F32, work, begin, end); break;
    }
}

/* Stores a query's list. */
static void nearest_store(const nearest_work *work, int64_t query, const float *list)
{
    const lh_nearest_args *args = work->args;
    const float *ages = list + padded(args->k);
    int64_t h, i;
    nearest_query(work, query, &h, &i);
    int64_t to = ((work->b * args->heads + h) * args->q_len + i) * args->k;
    for (int64_t n = 0; n < args->k; n++) {
        int32_t age = age_at(ages, n);
        args->index[to + n] = age >= 0 ? (int32_t)((work->oldest + age) % args->keys.capacity) : args->missing;
        if (args->score) {
            ((float *)args->score)[to + n] = list[n];
        }
    }
}

static void nearest_task(nearest_work *work, const nearest_plan *plan, int64_t unit, int64_t piece)
{
    int64_t size = best_size(work->args);
    nearest_start(work, plan, unit);
    nearest_scan(work, work->count * piece / plan->pieces, work->count * (piece + 1) / plan->pieces);
    for (int64_t query = 0; query < work->live; query++) {
        if (work->args->buckets > 0) {
            take_winners(work, query);
        }
        if (plan->pieces == 1) {
            nearest_store(work, query, work->best + query * size);
        } else {
            int64_t to = ((unit * plan->pieces + piece) * plan->queries + query) * size;
            __builtin_memcpy(plan->partial + to, work->best + query * size, (size_t)size * sizeof *work->best);
        }
    }
}

/* The best of all pieces, for one query. */
static void nearest_join(nearest_work *work, const nearest_plan *plan, int64_t unit, int64_t query)
{
    int64_t k = work->args->k, size = best_size(work->args), step = plan->queries * size;
    float *list = plan->partial + unit * plan->pieces * step + query * size;
    for (int64_t piece = 1; piece < plan->pieces; piece++) {
        const float *other = list + piece * step;
        for (int64_t n = 0; n < k && other[n] > list[k - 1]; n++) {
            insert_best(list, k, other[n], age_at(other + padded(k), n));
        }
    }
    nearest_store(work, query, list);
}

static void nearest(lh_exec *exec, const void *arguments)
{
    const lh_nearest_args *args = arguments;
    if (args->batch <= 0 || args->heads <= 0 || args->q_len <= 0 || args->k <= 0) {
        return;
    }
    nearest_work sized;
    nearest_plan plan = plan_nearest(exec, args);
    size_t own = nearest_parts(&sized, &plan, NULL);
    parts p = {0};
    take_floats(&p, plan.pieces > 1 ? plan.units * plan.pieces * plan.queries * best_size(args) : 0);
    for (int thread = 0; thread < exec->threads; thread++) {
        if (!lh_scratch(exec, thread, own + (thread == 0 ? p.used : 0))) {
            return;
        }
    }
    plan.partial = exec->scratch[0].data;
    int64_t tasks = plan.units * plan.pieces;
#pragma omp parallel num_threads(tasks > 1 ? exec->threads : 1)
    {
        nearest_work work;
        int thread = omp_get_thread_num();
        nearest_parts(&work, &plan, (char *)exec->scratch[thread].data + (thread == 0 ? p.used : 0));
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks; task++) {
            nearest_task(&work, &plan, task / plan.pieces, task % plan.pieces);
        }
        if (plan.pieces > 1) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t unit = 0; unit < plan.units; unit++) {
                nearest_start(&work, &plan, unit);
                for (int64_t query = 0; query < work.live; query++) {
                    nearest_join(&work, &plan, unit, query);
                }
            }
        }
    }
}

/* ---- appending -------------------------------------------------------------------------------------------------
 */

static void append_row(const float *x, int64_t width, lh_dtype stored, char *y, float *scale)
{
    if (stored == LH_I8) {
        lh_store_i8(x, width, (int8_t *)y, scale);
        return;
    }
    if (stored != LH_F16) {
        __builtin_memcpy(y, x, (size_t)width * sizeof *x);
        return;
    }
    uint16_t *to = (uint16_t *)(void *)y;
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) {
        v_store_f16(to + c, v_load(x + c));
    }
    uint16_t rest[LANES];
    v_store_f16(rest, v_load_first(x + c, width - c));
    __builtin_memcpy(to + c, rest, (size_t)(width - c) * sizeof *to);
}

static void ring_append(lh_exec *exec, const void *arguments)
{
    const lh_ring_append_args *args = arguments;
    const lh_ring *ring = &args->ring;
    int64_t rows = args->batch * args->heads * args->count;
#pragma omp parallel for schedule(static) num_threads(lh_kernel_threads(exec, rows * args->width))
    for (int64_t row = 0; row < rows; row++) {
        int64_t n = row % args->count, h = row / args->count % args->heads, b = row / args->count / args->heads;
        int64_t slot = (args->written[b] + n) % ring->capacity;
        append_row(lane_row(&args->x, b, h, n), args->width, ring->stored,
                   lh_stored_row(&ring->rows, lh_stored_size(ring->stored, sizeof(float)), b, h, slot),
                   ring->stored == LH_I8 ? ring->scale + (b * args->heads + h) * ring->slots + slot : NULL);
    }
    for (int64_t b = 0; args->written_after && b < args->batch; b++) {
        args->written_after[b] = args->written[b] + (int32_t)args->count;
    }
}

static void register_nearest(lh_kernel_table *table, lh_cpu_level level)
{
    LH_SET_F32(table, NEAREST, nearest, level);
    LH_SET_F32(table, RING_APPEND, ring_append, level);
}

#endif
