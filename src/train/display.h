/* A run as one live line: step, speed, loss in the task's unit, time left. A watcher for lh_run_options. */
#ifndef LH_TRAIN_DISPLAY_H
#define LH_TRAIN_DISPLAY_H

#include "base/progress.h"
#include "train/run.h"

typedef struct lh_run_display {
    const char *label; /* what the line calls the training; NULL: "train" */
    lh_progress progress;
    const char *phase;
    char note[160];
} lh_run_display;

/* lh_run_options.watch with a display as its user. */
void lh_run_display_show(void *display, const lh_run_progress *now);
/* Ends the line, if there is one. */
void lh_run_display_finish(lh_run_display *display);

#endif
