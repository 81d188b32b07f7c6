/* copy: a payload, and the payload again, mirrored (Hawthorne et al. 2022) or plain:
 *
 *     <sos> payload [filler] payload backwards <eos>       every token of the second half is an answer, <eos> too
 *     <sos> payload [filler] payload <eos>                 the second payload is
 *
 * Mirrored and without filler the k-th answer repeats what stands 2k - 1 before it; plain, everything stands
 * equally far back. */
#include "data/task.h"

#include <stdio.h>

enum { LENGTH, PLAIN, FILLER, SYMBOLS };
enum { PAD, EOS, SOS, RESERVED }; /* ids of the original */

static const lh_task_option options[] = {
    [LENGTH] = {"length", 64, 4, (int64_t)1 << 24, "tokens of a row; the original goes from 32 to 131072"},
    [PLAIN] = {"plain", 0, 0, 1, "1: the second payload runs forward"},
    [FILLER] = {"filler", 0, 0, (int64_t)1 << 24, "tokens between the payloads"},
    [SYMBOLS] = {"symbols", 256, 2, 1 << 20, "kinds of symbols in the payload"},
    {0},
};

static int64_t payload(const lh_task *task)
{
    return (task->value[LENGTH] - task->value[FILLER] - 2) / 2;
}

static lh_status plan(lh_task *task, lh_error *error)
{
    int64_t rest = task->value[LENGTH] - task->value[FILLER] - 2;
    if (rest < 2 || rest % 2 != 0) {
        return lh_fail(
            error, LH_E_ARGUMENT,
            "copy: length - filler - 2 is %lld: it is shared by two payloads and must be even, at least 2",
            (long long)rest);
    }
    task->length = task->value[LENGTH];
    task->vocab = RESERVED + task->value[SYMBOLS];
    task->chance = 1.0 / (double)task->value[SYMBOLS];
    return LH_OK;
}

static void make(const lh_task *task, lh_random *random, lh_task_row *row)
{
    int64_t count = payload(task);
    lh_task_put(row, SOS);
    lh_task_put_noise(row, random, count, RESERVED, task->value[SYMBOLS]);
    lh_task_put_noise(row, random, task->value[FILLER], PAD, 1);
    for (int64_t i = 1; i <= count; i++) {
        lh_task_repeat(row, task->value[PLAIN] ? i : count + 1 - i);
    }
    lh_task_put(row, EOS);
    if (!task->value[PLAIN]) {
        row->answers[row->size - 1] = (uint32_t)(row->size - 1); /* mirrors <sos> */
    }
}

static void spell(const lh_task *task, int32_t symbol, char word[LH_TASK_WORD])
{
    static const char *const reserved[RESERVED] = {"<pad>", "<eos>", "<sos>"};
    (void)task;
    if (symbol < RESERVED) {
        (void)snprintf(word, LH_TASK_WORD, "%s", reserved[symbol]);
    } else {
        (void)snprintf(word, LH_TASK_WORD, "<%d>", symbol);
    }
}

const lh_task_kind lh_task_copy = {
    .name = "copy",
    .summary = "repeat a payload, mirrored or plain",
    .options = options,
    .plan = plan,
    .make = make,
    .spell = spell,
};
