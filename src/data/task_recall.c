/* recall: which value went with which key.
 *
 *     k7 v3  k1 v5  ..  filler  k1 v5  k7 v3  ..           the values behind the filler are answers
 *
 * Keys are drawn without repetition, values and filler freely; then the keys, or some of them, are asked for in a
 * new order. */
#include "data/task.h"

#include <stdio.h>

enum { PAIRS, QUERIES, KEYS, VALUES, FILLER, VARY, NOISE };

static const lh_task_option options[] = {
    [PAIRS] = {"pairs", 8, 1, 1 << 20, "keys with a value in a row"},
    [QUERIES] = {"queries", 0, 0, 1 << 20, "how many of them are asked for; 0: all"},
    [KEYS] = {"keys", 64, 1, 1 << 20, "kinds of keys"},
    [VALUES] = {"values", 64, 2, 1 << 20, "kinds of values"},
    [FILLER] = {"filler", 64, 0, (int64_t)1 << 24, "tokens between the pairs and the queries"},
    [VARY] = {"vary", 0, 0, (int64_t)1 << 24, "each row has up to so many of them less"},
    [NOISE] = {"noise", 16, 1, 1 << 20, "kinds of filler"},
    {0},
};

static int64_t queries(const lh_task *task)
{
    return task->value[QUERIES] ? task->value[QUERIES] : task->value[PAIRS];
}

static lh_status plan(lh_task *task, lh_error *error)
{
    const int64_t *v = task->value;
    if (v[PAIRS] > v[KEYS] || queries(task) > v[PAIRS]) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "recall: %lld pairs of %lld keys with %lld queries are not possible: every key stands once, "
                       "and is asked for once",
                       (long long)v[PAIRS], (long long)v[KEYS], (long long)queries(task));
    }
    if (v[VARY] > v[FILLER]) {
        return lh_fail(error, LH_E_ARGUMENT, "recall: vary=%lld is more than the filler of %lld",
                       (long long)v[VARY], (long long)v[FILLER]);
    }
    task->length = 2 * (v[PAIRS] + queries(task)) + v[FILLER];
    task->vocab = v[KEYS] + v[VALUES] + v[NOISE];
    task->scratch = v[KEYS];
    task->chance = 1.0 / (double)v[VALUES];
    return LH_OK;
}

/* Brings `count` different numbers below `all`, in random order, to the front of `list`. */
static void shuffle(lh_random *random, int32_t *list, int64_t count, int64_t all)
{
    for (int64_t i = 0; i < all; i++) {
        list[i] = (int32_t)i;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t j = i + (int64_t)lh_random_below(random, (uint64_t)(all - i));
        int32_t kept = list[i];
        list[i] = list[j];
        list[j] = kept;
    }
}

static void make(const lh_task *task, lh_random *random, lh_task_row *row)
{
    const int64_t *v = task->value;
    shuffle(random, row->scratch, v[PAIRS], v[KEYS]);
    for (int64_t i = 0; i < v[PAIRS]; i++) {
        lh_task_put(row, row->scratch[i]);
        lh_task_put_noise(row, random, 1, v[KEYS], v[VALUES]);
    }
    int64_t less = (int64_t)lh_random_below(random, (uint64_t)v[VARY] + 1);
    lh_task_put_noise(row, random, v[FILLER] - less, v[KEYS] + v[VALUES], v[NOISE]);
    shuffle(random, row->scratch, queries(task), v[PAIRS]);
    for (int64_t i = 0; i < queries(task); i++) {
        int64_t place = 2 * (int64_t)row->scratch[i];
        lh_task_put(row, row->tokens[place]);
        lh_task_repeat(row, place + 1);
    }
}

static void spell(const lh_task *task, int32_t symbol, char word[LH_TASK_WORD])
{
    int64_t keys = task->value[KEYS], values = task->value[VALUES];
    if (symbol < keys) {
        (void)snprintf(word, LH_TASK_WORD, "k%d", symbol);
    } else if (symbol < keys + values) {
        (void)snprintf(word, LH_TASK_WORD, "v%lld", (long long)(symbol - keys));
    } else {
        (void)snprintf(word, LH_TASK_WORD, "n%lld", (long long)(symbol - keys - values));
    }
}

const lh_task_kind lh_task_recall = {
    .name = "recall",
    .summary = "which value went with a key",
    .options = options,
    .plan = plan,
    .make = make,
    .spell = spell,
};
