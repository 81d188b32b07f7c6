/* What a run writes down while it goes: metrics.jsonl, TensorBoard events, train.log. */
#ifndef LH_TRAIN_JOURNAL_H
#define LH_TRAIN_JOURNAL_H

#include "base/error.h"
#include "formats/append_file.h"
#include "formats/jsonl.h"
#include "formats/tfevents.h"

typedef struct lh_journal {
    lh_jsonl *metrics;
    lh_tfevents *events;
    lh_append_file log;
} lh_journal;

/* Opens the three in a run directory. Metrics of steps after `last_step`, which the run will repeat, are cut off.
 */
lh_status lh_journal_open(lh_journal *journal, const char *directory, int64_t last_step, lh_error *error);
void lh_journal_close(lh_journal *journal); /* safe on a zeroed struct */

/* One line of metrics and one event. Values that are not finite are written as null, and not into the event. */
#define LH_JOURNAL_MAX_SCALARS 32
lh_status lh_journal_scalars(lh_journal *journal, int64_t step, const lh_tfevents_scalar *scalars, size_t count,
                             lh_error *error);

/* A line with the time in train.log. */
lh_status lh_journal_note(lh_journal *journal, lh_error *error, const char *format, ...) LH_PRINTF(3, 4);

#endif
