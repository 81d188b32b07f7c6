/* Toy tasks with known answers: rows of symbols in which some tokens can be told from what stood far before them,
 * and by nothing else. Who remembers, answers; who does not, is left with guessing. docs/tasks.md has each task's
 * definition.
 *
 * A row is a document. What it repeats and how far back that stands is written down with every answer (shard.h). */
#ifndef LH_DATA_TASK_H
#define LH_DATA_TASK_H

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

#define LH_TASK_OPTIONS 8
#define LH_TASK_WORD 24 /* room for a symbol's text */

typedef struct lh_task_option {
    const char *name; /* the last row has none */
    int64_t standard, low, high;
    const char *help;
} lh_task_option;

typedef struct lh_task_kind lh_task_kind;

/* A task with its options. Plain data. */
typedef struct lh_task {
    const lh_task_kind *kind;
    int64_t value[LH_TASK_OPTIONS]; /* of the kind's options, in their order */
    /* what follows from them */
    int64_t length;  /* tokens of the longest row */
    int64_t vocab;   /* symbols */
    int64_t scratch; /* numbers that making a row needs room for */
    double chance;   /* accuracy of a model that knows the task and remembers nothing */
} lh_task;

/* A row that is being made. */
typedef struct lh_task_row {
    int32_t *tokens;   /* [task.length] */
    uint32_t *answers; /* [task.length] as in shard.h */
    int32_t *scratch;  /* [task.scratch] */
    int64_t size;      /* tokens so far */
} lh_task_row;

struct lh_task_kind {
    const char *name, *summary;
    const lh_task_option *options;
    /* Fills in what follows from the options; LH_E_ARGUMENT if they do not go together. */
    lh_status (*plan)(lh_task *task, lh_error *error);
    void (*make)(const lh_task *task, lh_random *random, lh_task_row *row);
    void (*spell)(const lh_task *task, int32_t symbol, char word[LH_TASK_WORD]);
};

/* All of them; the last entry is NULL. */
extern const lh_task_kind *const lh_tasks[];

/* A task by name with settings "option=value" (count of them). LH_E_ARGUMENT with the nearest name for what is
 * unknown, and with the range for what is out of it. */
lh_status lh_task_create(lh_task *task, const char *name, const char *const *settings, int count, lh_error *error);

/* "pairs=8 queries=0 ...": all options, to be read by people and to tell tasks apart. */
void lh_task_describe(const lh_task *task, lh_string *out);

/* Row `index` of a split, the same for the same seed and task whatever else is made. */
void lh_task_make_row(const lh_task *task, uint64_t seed, int split, uint64_t index, lh_task_row *row);

/* Room for a row; release with lh_task_row_free, which is safe on a zeroed struct. */
lh_status lh_task_row_create(lh_task_row *row, const lh_task *task, lh_error *error);
void lh_task_row_free(lh_task_row *row);

/* ---- for kinds ---- */

static inline void lh_task_put(lh_task_row *row, int64_t token)
{
    row->answers[row->size] = 0;
    row->tokens[row->size++] = (int32_t)token;
}

/* Puts what stands at place `source` of the row once more, as an answer. */
static inline void lh_task_repeat(lh_task_row *row, int64_t source)
{
    row->answers[row->size] = (uint32_t)(row->size - source);
    row->tokens[row->size] = row->tokens[source];
    row->size++;
}

/* `count` symbols drawn from first .. first+kinds-1. */
void lh_task_put_noise(lh_task_row *row, lh_random *random, int64_t count, int64_t first, int64_t kinds);

extern const lh_task_kind lh_task_copy;
extern const lh_task_kind lh_task_recall;
extern const lh_task_kind lh_task_delayed;
extern const lh_task_kind lh_task_marker;

#endif
