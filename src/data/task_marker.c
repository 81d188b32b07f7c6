/* marker: symbols at the beginning, a long stretch of noise, then a mark that asks for them.
 *
 *     s3 s0 s1  n5 n2 n9 ..  ? s3 s0 s1                    the symbols behind the mark are answers
 */
#include "data/task.h"

#include <stdio.h>

enum { MARKERS, SYMBOLS, FILLER, VARY, NOISE }; /* ids: symbols, noise, the mark */

static const lh_task_option options[] = {
    [MARKERS] = {"markers", 1, 1, 1 << 20, "symbols to remember in a row"},
    [SYMBOLS] = {"symbols", 4, 2, 1 << 20, "kinds of symbols"},
    [FILLER] = {"filler", 256, 0, (int64_t)1 << 24, "tokens of noise"},
    [VARY] = {"vary", 0, 0, (int64_t)1 << 24, "each row has up to so many of them less"},
    [NOISE] = {"noise", 16, 1, 1 << 20, "kinds of noise"},
    {0},
};

static lh_status plan(lh_task *task, lh_error *error)
{
    const int64_t *v = task->value;
    if (v[VARY] > v[FILLER]) {
        return lh_fail(error, LH_E_ARGUMENT, "marker: vary=%lld is more than the filler of %lld",
                       (long long)v[VARY], (long long)v[FILLER]);
    }
    task->length = 2 * v[MARKERS] + v[FILLER] + 1;
    task->vocab = v[SYMBOLS] + v[NOISE] + 1;
    task->chance = 1.0 / (double)v[SYMBOLS];
    return LH_OK;
}

static void make(const lh_task *task, lh_random *random, lh_task_row *row)
{
    const int64_t *v = task->value;
    int64_t less = (int64_t)lh_random_below(random, (uint64_t)v[VARY] + 1);
    lh_task_put_noise(row, random, v[MARKERS], 0, v[SYMBOLS]);
    lh_task_put_noise(row, random, v[FILLER] - less, v[SYMBOLS], v[NOISE]);
    lh_task_put(row, v[SYMBOLS] + v[NOISE]);
    for (int64_t i = 0; i < v[MARKERS]; i++) {
        lh_task_repeat(row, i);
    }
}

static void spell(const lh_task *task, int32_t symbol, char word[LH_TASK_WORD])
{
    int64_t symbols = task->value[SYMBOLS], noise = task->value[NOISE];
    if (symbol < symbols) {
        (void)snprintf(word, LH_TASK_WORD, "s%d", symbol);
    } else if (symbol < symbols + noise) {
        (void)snprintf(word, LH_TASK_WORD, "n%lld", (long long)(symbol - symbols));
    } else {
        (void)snprintf(word, LH_TASK_WORD, "?");
    }
}

const lh_task_kind lh_task_marker = {
    .name = "marker",
    .summary = "name the first symbols behind a long stretch of noise",
    .options = options,
    .plan = plan,
    .make = make,
    .spell = spell,
};
