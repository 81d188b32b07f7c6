/* One live line on standard error for long work: how far, how fast, when done. Falls back to an occasional plain
 * line when standard error is no terminal; silent with LH_QUIET=1. */
#ifndef LH_BASE_PROGRESS_H
#define LH_BASE_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

typedef struct lh_progress {
    const char *label, *unit; /* "prepare", "B" */
    uint64_t total, done;     /* total 0: unknown */
    double started, last_drawn;
    int terminal, drawn_width;
} lh_progress;

void lh_progress_start(lh_progress *progress, const char *label, const char *unit, uint64_t total);
/* `note` (may be NULL) is free text after the rate, such as "loss 2.31 bpb". Cheap: draws at most 10 times a
 * second. */
void lh_progress_update(lh_progress *progress, uint64_t done, const char *note);
/* Draws the last state and ends the line. */
void lh_progress_finish(lh_progress *progress, const char *note);

/* Monotonic seconds. */
double lh_now(void);

/* Writes a byte count / a duration / a rate for people: "12.3 MB", "1h02m", "4.5 k/s". Returns buffer. */
char *lh_format_bytes(char *buffer, size_t size, double bytes);
char *lh_format_duration(char *buffer, size_t size, double seconds);
char *lh_format_count(char *buffer, size_t size, double count);

/* SIGINT and SIGTERM set a flag that long loops poll; a second signal ends the process at once. */
void lh_signals_install(void);
int lh_signals_pending(void); /* the signal's number, or 0 */

#endif
