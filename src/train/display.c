#include "train/display.h"

#include "train/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void start_line(lh_run_display *d, const lh_run_progress *now, bool training)
{
    if (d->phase) {
        lh_progress_finish(&d->progress, NULL);
    }
    lh_progress_start(&d->progress, training && d->label ? d->label : now->phase, training ? "tokens" : "B",
                      now->total);
    d->progress.started -= now->seconds; /* so that the rate is that of all sessions */
    d->phase = now->phase;
}

void lh_run_display_show(void *display, const lh_run_progress *now)
{
    lh_run_display *d = display;
    bool training = strcmp(now->phase, "train") == 0;
    char left[48] = "", duration[40], accuracy[40] = "";
    if (!d->phase || strcmp(d->phase, now->phase) != 0) {
        start_line(d, now, training);
    }
    if (isfinite(now->seconds_left)) {
        (void)snprintf(left, sizeof left, "  %s left",
                       lh_format_duration(duration, sizeof duration, now->seconds_left));
    }
    if (training && isfinite(now->accuracy)) {
        (void)snprintf(accuracy, sizeof accuracy, "  accuracy %.4g", now->accuracy);
    }
    if (isfinite(now->loss)) {
        (void)snprintf(d->note, sizeof d->note, "step %lld  %.4g %s%s%s", (long long)now->step, now->loss,
                       lh_loss_unit_short(now->unit), accuracy, left);
    }
    lh_progress_update(&d->progress, now->done, d->note[0] ? d->note : NULL);
}

void lh_run_display_finish(lh_run_display *display)
{
    if (display->phase) {
        lh_progress_finish(&display->progress, display->note[0] ? display->note : NULL);
        display->phase = NULL;
    }
}
