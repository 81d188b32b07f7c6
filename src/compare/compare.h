/* Comparisons: every method is trained on the same data under the same budget and measured in the same ways, and
 * one report is written.
 *
 * The folder of a comparison:
 *   compare.json                 what was asked for
 *   data/                        text that was prepared for it, once for all methods
 *   runs/METHOD-SEED/            ordinary run folders, with result.json: what was measured of the run so far
 *   report.json, report.csv, report.html
 *
 * Each part of each run is a process of its own, whose result is written when it is complete: a comparison that was
 * stopped or killed goes on where it was, and a method that fails does not keep the others from going on. */
#ifndef LH_COMPARE_COMPARE_H
#define LH_COMPARE_COMPARE_H

#include "compare/sources.h"

#include <jansson.h>

typedef struct lh_compare_options {
    const lh_compare_sources *sources;
    const char *directory;
    const char *title;   /* of the report */
    const char *command; /* the command line, for the report */
} lh_compare_options;

/* Begins a comparison or goes on with the one in the folder. *results (results.h; release with json_decref) is
 * there whenever a report was written, after a failure of runs and an interruption, too; else NULL.
 * LH_E_INTERRUPTED: everything is saved. If runs failed: the first one's status, with how many. LH_E_CONFIG: the
 * recipe cannot be, or the folder holds another comparison. */
lh_status lh_compare(const lh_compare_options *options, json_t **results, lh_error *error);

#endif
