/* Who may add to a gradient, and when: the order of the backward tasks, which is the same for any number of
 * threads.
 *
 * A task is a chunk of keys of one source for one batch entry and key/value head. It walks over the query tiles of
 * the heads that share these keys and adds, tile by tile, to d_q and to the relative tables, so tasks over the same
 * queries have to take turns. All tasks that add to a common place form a chain; those of one batch entry, head and
 * source a stage of it. Task n of a stage may work on a tile once all earlier ones have left that tile: they follow
 * each other like a wave, each on a tile of its own, and so does a stage that is `loose` behind the one before.
 * Between other stages, and within `serial` ones, a task waits until all earlier ones have ended. Tasks are taken
 * in order, so whoever is waited for is at work or done, and nobody waits for ever.
 *
 * In a wave two tasks add to the same relative table: the one ahead has earlier keys and later queries, so their
 * distances, which are rows of the table, do not meet. */
#ifndef LH_KERNELS_ATTENTION_ORDER_H
#define LH_KERNELS_ATTENTION_ORDER_H

#include <sched.h>
#include <stdatomic.h>

typedef struct backward_order {
    const lh_attention_args *args;
    int64_t first_batch;                      /* of the range of batch entries that this is about */
    int64_t chains, tasks;                    /* tasks of one chain */
    int64_t batch_in_chain, heads_in_chain;   /* how much of batch and kv_heads a chain spans */
    int64_t cycle;                            /* tasks for one batch entry and head: all sources */
    int64_t chunks[LH_ATTENTION_MAX_SOURCES]; /* tasks of each source */
    int64_t chunk_keys[LH_ATTENTION_MAX_SOURCES];
    bool serial[LH_ATTENTION_MAX_SOURCES];
    bool loose[LH_ATTENTION_MAX_SOURCES];   /* follows the source before in the same wave */
    float *edges[LH_ATTENTION_MAX_SOURCES]; /* see attention_apart.h; NULL if nothing is clamped */
    atomic_llong *progress;                 /* [chains][tasks]: the step a task works on; all before are done */
} backward_order;

typedef struct backward_task {
    int64_t chain, position, b, kv_head, chunk;
    int s;
    int64_t ended; /* tasks of the chain before this position are known to have ended */
} backward_task;

#define TASK_ENDED INT64_MAX

/* Whether the gradient of the queries is also that of the keys or values of a source. */
static bool gradient_of_queries(const lh_attention_args *args, const lh_attention_source *source)
{
    return args->d_q.data && (args->d_q.data == source->d_k.data || args->d_q.data == source->d_v.data);
}

/* For the batch entries first .. end - 1. */
static void order_start(backward_order *order, const lh_attention_args *args, int64_t first, int64_t end)
{
    bool across_batch, across_heads, aliased = false;
    lh_attention_shares(args, &across_batch, &across_heads);
    order->args = args;
    order->first_batch = first;
    order->batch_in_chain = across_batch ? end - first : 1;
    order->heads_in_chain = across_heads ? args->kv_heads : 1;
    order->chains = (end - first) / order->batch_in_chain * (args->kv_heads / order->heads_in_chain);
    order->cycle = 0;
    for (int s = 0; s < args->source_count; s++) {
        aliased |= gradient_of_queries(args, &args->source[s]);
    }
    for (int s = 0; s < args->source_count; s++) {
        const lh_attention_source *source = &args->source[s];
        bool tables = lh_attention_table_gradients(source);
        bool same_rel =
            (source->d_rel_k && source->rel_k_head == 0) || (source->d_rel_v && source->rel_v_head == 0);
        bool same_q = args->d_q.data && args->d_q.head == 0;
        order->chunk_keys[s] = backward_run_keys(source) * CHUNK_RUNS;
        /* a task adds to its keys while those behind it are at later queries, so in a wave causal keys may be the
         * queries */
        bool causal = source->min_distance >= 0 && source->offset <= 0 && order->chunk_keys[s] % TILE_QUERIES == 0;
        order->serial[s] = (tables && source->rel_step < 0) ||
                           ((same_rel || same_q) && args->heads > args->kv_heads) ||
                           (aliased && (args->source_count > 1 || !causal || args->heads > args->kv_heads));
        order->loose[s] = s > 0 && !order->serial[s] && !order->serial[s - 1];
        for (int before = s - 1; before >= 0 && order->loose[s]; before--) {
            order->loose[s] = lh_attention_may_follow(&args->source[before], source);
            if (!order->loose[before]) {
                break;
            }
        }
        order->chunks[s] = (source->k_len + order->chunk_keys[s] - 1) / order->chunk_keys[s];
        order->cycle += order->chunks[s];
    }
    order->tasks = order->cycle * order->batch_in_chain * order->heads_in_chain;
}

/* Task number n; false when there are fewer. */
static bool order_take(const backward_order *order, int64_t n, backward_task *task)
{
    if (n >= order->chains * order->tasks) {
        return false;
    }
    *task = (backward_task){.chain = n % order->chains, .position = n / order->chains};
    int64_t place = task->position / order->cycle, head_chains = order->args->kv_heads / order->heads_in_chain;
    task->b =
        order->first_batch + task->chain / head_chains * order->batch_in_chain + place / order->heads_in_chain;
    task->kv_head = task->chain % head_chains * order->heads_in_chain + place % order->heads_in_chain;
    task->chunk = task->position % order->cycle;
    while (task->chunk >= order->chunks[task->s]) {
        task->chunk -= order->chunks[task->s++];
    }
    return true;
}

static void wait_past(atomic_llong *progress, int64_t step)
{
    for (int spins = 0; atomic_load_explicit(progress, memory_order_acquire) <= step; spins++) {
        if (spins > 100) {
            sched_yield();
        } else {
            _mm_pause();
        }
    }
}

/* Waits until all earlier tasks of the chain have ended. */
static void order_wait_all(const backward_order *order, backward_task *task)
{
    atomic_llong *progress = order->progress + task->chain * order->tasks;
    for (; task->ended < task->position; task->ended++) {
        wait_past(progress + task->ended, TASK_ENDED - 1);
    }
}

/* Says that the task is done with all steps before this one, and waits until it may do this one. */
static void order_enter(const backward_order *order, backward_task *task, int64_t step)
{
    atomic_llong *progress = order->progress + task->chain * order->tasks;
    atomic_store_explicit(progress + task->position, step, memory_order_release);
    if (order->serial[task->s]) {
        order_wait_all(order, task);
        return;
    }
    int64_t first = task->position - task->chunk; /* of the wave */
    for (int s = task->s; order->loose[s]; s--) {
        first -= order->chunks[s - 1];
    }
    for (; task->ended < first; task->ended++) {
        wait_past(progress + task->ended, TASK_ENDED - 1);
    }
    for (int64_t other = task->ended; other < task->position; other++) {
        wait_past(progress + other, step);
    }
    while (task->ended < task->position &&
           atomic_load_explicit(progress + task->ended, memory_order_acquire) == TASK_ENDED) {
        task->ended++;
    }
}

static void order_end(const backward_order *order, const backward_task *task)
{
    atomic_store_explicit(order->progress + task->chain * order->tasks + task->position, TASK_ENDED,
                          memory_order_release);
}

#endif
