/* Writing a task's rows as a data set. */
#ifndef LH_DATA_TASK_MAKE_H
#define LH_DATA_TASK_MAKE_H

#include "data/dataset.h"
#include "data/task.h"

typedef struct lh_task_make_options {
    uint64_t seed;
    uint64_t rows[LH_SPLITS]; /* of train, validation, test; a split without rows is left out */
    bool force;               /* replace another data set that is in the folder */
    /* Called now and then with tokens done and in all; false stops with LH_E_INTERRUPTED. May be NULL. */
    bool (*watch)(void *data, uint64_t done, uint64_t total);
    void *watch_data;
} lh_task_make_options;

/* How many rows a split gets that nobody asked for: about four million tokens of training and a sixteenth of that
 * for each of the others. */
uint64_t lh_task_usual_rows(const lh_task *task, int split);

/* The tokenizer of a task's symbols: words between blanks. */
lh_status lh_task_tokenizer(const lh_task *task, lh_tokenizer **tokenizer, lh_error *error);

/* Writes the folder; the same call gives the same bytes. *already: they were there. LH_E_CONFIG if the folder holds
 * another data set. What a stopped call leaves is no data set, and the next one begins anew. */
lh_status lh_task_make(const lh_task *task, const char *folder, const lh_task_make_options *options, bool *already,
                       lh_error *error);

#endif
