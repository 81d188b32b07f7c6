#include "compare/child.h"
#include "compare/stages.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "formats/model_dir.h"
#include "report/metrics.h"
#include "train/display.h"
#include "train/run.h"
#include "train/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Points of a curve in the results: more than a page can show say nothing. */
#define CURVE_POINTS 120

/* The curves of metrics.jsonl that belong together: the same steps. */
typedef struct curves {
    lh_curve tokens, seconds, loss, held_out, speed;
} curves;

static lh_status read_curves(curves *c, const char *directory, lh_loss_unit unit, lh_error *error)
{
    char train[64], held_out[64];
    char *path = lh_path_join(directory, LH_FILE_METRICS);
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the curves of %s", directory);
    }
    (void)snprintf(train, sizeof train, "train/%s", lh_loss_unit_name(unit));
    (void)snprintf(held_out, sizeof held_out, "validation/%s", lh_loss_unit_name(unit));
    lh_status status = lh_file_exists(path) ? lh_curve_read(&c->tokens, path, "train/tokens", error) : LH_OK;
    if (status == LH_OK && c->tokens.count > 0) {
        status = lh_curve_read(&c->seconds, path, "train/seconds", error);
        status = status == LH_OK ? lh_curve_read(&c->loss, path, train, error) : status;
        status = status == LH_OK ? lh_curve_read(&c->held_out, path, held_out, error) : status;
        status = status == LH_OK ? lh_curve_read(&c->speed, path, "train/tokens_per_second", error) : status;
    }
    lh_heap_free(path);
    return status;
}

static void free_curves(curves *c)
{
    lh_curve_free(&c->tokens);
    lh_curve_free(&c->seconds);
    lh_curve_free(&c->loss);
    lh_curve_free(&c->held_out);
    lh_curve_free(&c->speed);
}

/* The value of a curve at a step, between its points along a straight line that begins in the origin. */
static double at_step(const lh_curve *curve, double step)
{
    double x0 = 0, y0 = 0;
    for (int64_t i = 0; i < curve->count; i++) {
        if (step <= curve->x[i]) {
            double width = curve->x[i] - x0;
            return width > 0 ? y0 + (step - x0) / width * (curve->y[i] - y0) : curve->y[i];
        }
        x0 = curve->x[i];
        y0 = curve->y[i];
    }
    return x0 > 0 ? y0 * step / x0 : 0;
}

/* A curve over tokens and seconds, each point the mean of as many as it takes to have at most CURVE_POINTS. */
static json_t *curve_json(const curves *c, const lh_curve *loss)
{
    json_t *tokens = json_array(), *seconds = json_array(), *values = json_array();
    int64_t group = (loss->count + CURVE_POINTS - 1) / CURVE_POINTS;
    for (int64_t first = 0; first < loss->count; first += group) {
        double sums[3] = {0, 0, 0}, count = 0;
        for (int64_t i = first; i < first + group && i < loss->count; i++) {
            sums[0] += at_step(&c->tokens, loss->x[i]);
            sums[1] += at_step(&c->seconds, loss->x[i]);
            sums[2] += loss->y[i];
            count++;
        }
        json_array_append_new(tokens, lh_json_number(sums[0] / count));
        json_array_append_new(seconds, lh_json_number(sums[1] / count));
        json_array_append_new(values, lh_json_number(sums[2] / count));
    }
    return json_pack("{s:o, s:o, s:o}", "tokens", tokens, "seconds", seconds, "loss", values);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median speed between two lines of metrics: evaluation, saving and stops are not in it. */
static double usual_speed(curves *c, const lh_run_report *report)
{
    if (c->speed.count == 0) {
        return report->seconds > 0 ? (double)report->tokens / report->seconds : NAN;
    }
    qsort(c->speed.y, (size_t)c->speed.count, sizeof *c->speed.y, ascending);
    return c->speed.y[c->speed.count / 2];
}

static lh_status tell(const lh_run_report *r, const char *directory, double wall, lh_string *answer,
                      lh_error *error)
{
    curves c = {0};
    lh_status status = read_curves(&c, directory, r->unit, error);
    if (status == LH_OK) {
        json_t *root =
            json_pack("{s:I, s:I, s:f, s:o, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:f}", "step",
                      (json_int_t)r->step, "tokens", (json_int_t)r->tokens, "seconds", r->seconds,
                      "tokens_per_second", lh_json_number(usual_speed(&c, r)), "unit", lh_loss_unit_name(r->unit),
                      "unit_short", lh_loss_unit_short(r->unit), "loss", lh_json_number(r->loss), "validation",
                      lh_json_number(r->validation), "best", lh_json_number(r->best), "best_step",
                      (json_int_t)r->best_step, "heap_peak_bytes", (json_int_t)lh_heap_peak_bytes(), "curve",
                      curve_json(&c, &c.loss), "held_out", curve_json(&c, &c.held_out), "wall_seconds", wall);
        status = lh_stage_answer(root, answer, error);
    }
    free_curves(&c);
    return status;
}

lh_status lh_stage_training(void *user, lh_string *answer, lh_error *error)
{
    const lh_training_stage *stage = user;
    lh_run_display screen = {.label = stage->label};
    lh_run_options options = {
        .directory = stage->directory, .stop = lh_child_stopped, .watch = lh_run_display_show, .user = &screen};
    lh_run_report report;
    double started = lh_now();
    lh_status status = lh_run_train(stage->recipe, &options, &report, error);
    lh_run_display_finish(&screen);
    LH_TRY(status);
    return tell(&report, stage->directory, lh_now() - started, answer, error);
}
