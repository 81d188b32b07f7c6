/* The results of a comparison as one JSON object, which all forms of the report are made of.
 *
 *   {"longhand", "command", "title", "machine": {..}, "budget": {"kind", "amount", "text"}, "settings": {..},
 *    "data": {..}, "unit", "unit_short", "training_unit", "methods": [{"name", "summary", "recipe", "parameters",
 * ..}, ..], "runs": [{"method", "seed", "status": "finished|failed|unfinished", "value", "training": {..},
 *              "evaluation": {..}, "cost": {..}, "error": {"status", "stage", "sentence"}}, ..],
 *    "seconds": {"wall", "parts", "overhead"}} */
#ifndef LH_COMPARE_RESULTS_H
#define LH_COMPARE_RESULTS_H

#include "base/text.h"

#include <jansson.h>

/* Values at a path such as "training.tokens_per_second": NaN, "" or NULL if there is none. */
double lh_result_number(const json_t *object, const char *path);
const char *lh_result_text(const json_t *object, const char *path);
json_t *lh_result_at(const json_t *object, const char *path);

/* Over the finished runs of a method. */
typedef struct lh_result_spread {
    double mean, deviation; /* NaN without a run; the deviation is the sample's, 0 for one run */
    int runs;
} lh_result_spread;
lh_result_spread lh_result_spread_of(const json_t *results, const char *method, const char *path);

/* Is more of the value better? True for accuracy, false for losses. */
bool lh_result_higher_is_better(const json_t *results);

/* The first run of a method with a value at the path, or NULL. */
const json_t *lh_result_run(const json_t *results, const char *method, const char *path);
/* How many runs have this status. */
int lh_result_count(const json_t *results, const char *status);

/* The cost of a token at a length in a run with points: the point of that length, or NULL if it was not reached. */
const json_t *lh_result_point(const json_t *run, int64_t length);

/* What the machine is: CPU, cores, memory, system, versions. */
json_t *lh_machine_describe(int threads);

/* The three forms. */
void lh_compare_table(const json_t *results, lh_string *out);
void lh_compare_csv(const json_t *results, lh_string *out);
/* Self-contained; charts need gnuplot, without which it keeps its tables. */
lh_status lh_compare_page(const json_t *results, lh_string *out, lh_error *error);

#endif
