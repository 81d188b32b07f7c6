/* delayed: in a stream of filler a symbol comes up once in a period, and some time after it a mark that asks for
 * it.
 *
 *     . . . s4 . . . . . . . . ? s4 . . . . . . s9 . .     the symbol behind the mark is an answer
 *
 * A row has several periods and begins anywhere in one, so that nothing can be told from the place in it. */
#include "data/task.h"

#include <stdio.h>

enum { SYMBOLS, PERIOD, DELAY, ROUNDS };
enum { FILLER, FIRST }; /* ids: filler, symbols, the mark */

static const lh_task_option options[] = {
    [SYMBOLS] = {"symbols", 16, 2, 1 << 20, "kinds of symbols"},
    [PERIOD] = {"period", 240, 3, (int64_t)1 << 24, "tokens from one symbol to the next"},
    [DELAY] = {"delay", 150, 1, (int64_t)1 << 24, "tokens from a symbol to its mark"},
    [ROUNDS] = {"rounds", 8, 1, 1 << 20, "symbols in a row"},
    {0},
};

static lh_status plan(lh_task *task, lh_error *error)
{
    const int64_t *v = task->value;
    if (v[DELAY] + 2 > v[PERIOD]) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "delayed: the answer must come before the next symbol, so delay is at most period - 2, not "
                       "%lld with period %lld",
                       (long long)v[DELAY], (long long)v[PERIOD]);
    }
    if (v[ROUNDS] >= ((int64_t)1 << 31) / v[PERIOD]) {
        return lh_fail(error, LH_E_ARGUMENT, "delayed: %lld rounds of %lld tokens are too many for a row",
                       (long long)v[ROUNDS], (long long)v[PERIOD]);
    }
    task->length = (v[ROUNDS] + 1) * v[PERIOD];
    task->vocab = FIRST + v[SYMBOLS] + 1;
    task->chance = 1.0 / (double)v[SYMBOLS];
    return LH_OK;
}

static void make(const lh_task *task, lh_random *random, lh_task_row *row)
{
    const int64_t *v = task->value;
    int64_t before = (int64_t)lh_random_below(random, (uint64_t)v[PERIOD]);
    lh_task_put_noise(row, random, before, FILLER, 1);
    for (int64_t i = 0; i < v[ROUNDS]; i++) {
        int64_t place = row->size;
        lh_task_put_noise(row, random, 1, FIRST, v[SYMBOLS]);
        lh_task_put_noise(row, random, v[DELAY] - 1, FILLER, 1);
        lh_task_put(row, FIRST + v[SYMBOLS]);
        lh_task_repeat(row, place);
        lh_task_put_noise(row, random, v[PERIOD] - v[DELAY] - 2, FILLER, 1);
    }
    lh_task_put_noise(row, random, v[PERIOD] - before, FILLER, 1);
}

static void spell(const lh_task *task, int32_t symbol, char word[LH_TASK_WORD])
{
    if (symbol == FILLER || symbol == FIRST + task->value[SYMBOLS]) {
        (void)snprintf(word, LH_TASK_WORD, "%s", symbol == FILLER ? "." : "?");
    } else {
        (void)snprintf(word, LH_TASK_WORD, "s%d", symbol - FIRST);
    }
}

const lh_task_kind lh_task_delayed = {
    .name = "delayed",
    .summary = "name a symbol some time after it came up",
    .options = options,
    .plan = plan,
    .make = make,
    .spell = spell,
};
