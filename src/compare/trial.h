/* One run of a comparison: a method with a seed. What is known of it lies in result.json of the run's folder and
 * grows part by part; every version is written whole or not at all. */
#ifndef LH_COMPARE_TRIAL_H
#define LH_COMPARE_TRIAL_H

#include "compare/child.h"

#include <jansson.h>

typedef struct lh_trial {
    const char *method; /* its name; static */
    int64_t seed;
    char *directory; /* of the run */
    char label[96];  /* of progress lines */
    json_t *result;  /* {"method", "seed", parts.., "error"} */
} lh_trial;

/* Reads what is there of the run in <directory>/runs/METHOD-SEED. The error of an earlier call is forgotten: it is
 * tried again. */
lh_status lh_trial_open(lh_trial *trial, const char *directory, const char *method, int64_t seed, lh_error *error);
void lh_trial_close(lh_trial *trial);

bool lh_trial_has(const lh_trial *trial, const char *part);
/* Runs the work in a process of its own and saves its answer as a part of the result, with "peak_bytes". */
lh_status lh_trial_measure(lh_trial *trial, const char *part, lh_child_work work, void *stage, lh_error *error);
/* Notes that the run failed. Saved, so that it can be read there. */
lh_status lh_trial_fail(lh_trial *trial, const char *stage, lh_status status, const char *sentence,
                        lh_error *error);
/* Marks the run as finished. */
lh_status lh_trial_finish(lh_trial *trial, lh_error *error);

#endif
