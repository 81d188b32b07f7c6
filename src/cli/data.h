/* What the data verbs share. */
#ifndef LH_CLI_DATA_H
#define LH_CLI_DATA_H

#include "base/progress.h"
#include "base/text.h"
#include "data/dataset.h"

/* A progress line for work in phases. */
typedef struct lh_phase_line {
    lh_progress progress;
    char label[32];
    bool drawn;
} lh_phase_line;

/* Shows how far a phase is; a new label ends the line of the phase before. False after SIGINT or SIGTERM. */
bool lh_phase_line_update(lh_phase_line *line, const char *label, const char *unit, uint64_t done, uint64_t total,
                          const char *note);
void lh_phase_line_finish(lh_phase_line *line, const char *note);

/* Writes the lines of `notes` to standard error, each as "longhand: note: ...". */
void lh_print_notes(const lh_string *notes);

/* The totals of a data set as a table, with what is published beside it. */
void lh_describe_dataset(lh_string *out, const lh_dataset *dataset);

#endif
