#include "compare/compare.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "compare/methods.h"
#include "compare/results.h"
#include "compare/stages.h"
#include "compare/state.h"
#include "compare/trial.h"
#include "formats/json_util.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_FILE ".compare.lock"
/* How long to wait for a process that was just killed to be gone, in steps of 50 ms. */
#define LOCK_TRIES 100

typedef struct comparison {
    const lh_compare_options *options;
    lh_compare_settings settings;
    lh_recipe *recipes[LH_COMPARE_MAX_METHODS]; /* of the methods, with the first seed */
    json_t *plan;                               /* what lh_stage_prepare said */
    lh_trial *trials;                           /* see trial_at */
    int trial_count;
    int lock;
    double started, parts; /* lh_now() at the start; seconds of the parts that ran */
    lh_error first_failure;
    int failures;
} comparison;

/* ---- opening ---- */

/* Keeps a second process out. The children hold the lock, too: it is free when all of them are gone. */
static lh_status lock_folder(comparison *c, lh_error *error)
{
    char *path;
    LH_TRY(lh_compare_path(&path, c->options->directory, LOCK_FILE, error));
    c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    lh_status status = c->lock < 0 ? lh_fail_errno(error, "cannot open %s", path) : LH_OK;
    for (int i = 0; status == LH_OK && flock(c->lock, LOCK_EX | LOCK_NB) != 0; i++) {
        struct timespec pause = {.tv_nsec = 50000000};
        if (errno != EWOULDBLOCK) {
            status = lh_fail_errno(error, "cannot lock %s", path);
        } else if (i == LOCK_TRIES) {
            status = lh_fail(error, LH_E_CONFIG, "another process is comparing in %s", c->options->directory);
        } else {
            (void)nanosleep(&pause, NULL);
        }
    }
    lh_heap_free(path);
    return status;
}

/* `tokens`: what LH_BUDGET_FLOPS comes to for each method, or NULL. */
static lh_status make_recipes(comparison *c, const int64_t *tokens, lh_error *error)
{
    for (int i = 0; i < c->settings.method_count; i++) {
        lh_recipe_free(c->recipes[i]);
        LH_TRY(lh_compare_recipe(&c->recipes[i], &c->settings, c->options->sources, c->settings.methods[i],
                                 tokens ? tokens[i] : 1, NULL, error));
    }
    return LH_OK;
}

static const char *name_of(const comparison *c, int method)
{
    return lh_compare_method_name(c->settings.methods[method]);
}

static const json_t *plan_of(const comparison *c, const char *method)
{
    return json_object_get(json_object_get(c->plan, "methods"), method);
}

static lh_status prepare(comparison *c, lh_error *error)
{
    char *cache;
    lh_string answer = {0};
    LH_TRY(lh_compare_path(&cache, c->options->directory, "data", error));
    lh_prepare_stage stage = {.settings = &c->settings,
                              .recipes = c->recipes,
                              .cache = cache,
                              .replace = !lh_compare_begun(c->options->directory)};
    double started = lh_now();
    lh_status status = lh_child_run(lh_stage_prepare, &stage, &answer, NULL, error);
    if (status == LH_OK) {
        status = lh_json_parse(answer.data ? answer.data : "", answer.size, "plan", &c->plan, error);
    }
    c->parts += lh_now() - started;
    lh_string_free(&answer);
    lh_heap_free(cache);
    return status;
}

/* If no model can be built there is nothing to compare. */
static lh_status check_plan(const comparison *c, lh_error *error)
{
    const json_t *fault = NULL;
    for (int i = 0; i < c->settings.method_count; i++) {
        fault = lh_result_at(plan_of(c, name_of(c, i)), "error");
        if (!fault) {
            return LH_OK;
        }
    }
    return lh_fail(error, (lh_status)lh_result_number(fault, "status"), "%s", lh_result_text(fault, "sentence"));
}

static lh_status share_flops(comparison *c, lh_error *error)
{
    int64_t tokens[LH_COMPARE_MAX_METHODS] = {0};
    if (c->settings.budget.kind != LH_BUDGET_FLOPS) {
        return LH_OK;
    }
    for (int i = 0; i < c->settings.method_count; i++) {
        double flops = lh_result_number(plan_of(c, name_of(c, i)), "training_flops");
        double count = flops > 0 ? c->settings.budget.amount / flops : 1;
        tokens[i] = count < 1 ? 1 : count > 1e18 ? (int64_t)1e18 : (int64_t)count;
    }
    return make_recipes(c, tokens, error);
}

/* The run of a method with the seed that is `index` after the first one: all methods with one seed come before the
 * next, so that an unfinished comparison compares something. */
static lh_trial *trial_at(const comparison *c, int64_t index, int method)
{
    return &c->trials[index * c->settings.method_count + method];
}

static lh_status open_trials(comparison *c, lh_error *error)
{
    c->trials = lh_heap_alloc(sizeof *c->trials * (size_t)(c->settings.seeds * c->settings.method_count));
    if (!c->trials) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the runs of a comparison");
    }
    for (int64_t index = 0; index < c->settings.seeds; index++) {
        for (int i = 0; i < c->settings.method_count; i++) {
            int64_t seed = lh_recipe_integer(c->recipes[i], "train.seed") + index;
            c->trial_count++;
            LH_TRY(lh_trial_open(trial_at(c, index, i), c->options->directory, name_of(c, i), seed, error));
        }
    }
    return LH_OK;
}

static lh_status open_all(comparison *c, lh_error *error)
{
    LH_TRY(lh_compare_settings_read(&c->settings, c->options->sources, error));
    LH_TRY(make_recipes(c, NULL, error));
    LH_TRY(lh_compare_check_used(c->options->sources, c->recipes, c->settings.method_count, error));
    LH_TRY(lh_directory_create(c->options->directory, error));
    LH_TRY(lock_folder(c, error));
    LH_TRY(prepare(c, error));
    LH_TRY(check_plan(c, error));
    LH_TRY(share_flops(c, error));
    LH_TRY(lh_compare_state_update(c->options->directory, c->options->sources, &c->settings, c->recipes,
                                   lh_result_text(c->plan, "data.identity"), error));
    return open_trials(c, error);
}

/* ---- running ---- */

/* The recipe of one run: with its seed, and with the data where it lies prepared. */
static lh_status recipe_of(lh_recipe **recipe, const comparison *c, int method, const lh_trial *trial,
                           lh_error *error)
{
    lh_string path = {0}, validation = {0};
    char seed[48];
    lh_string_print(&path, "data.path=%s", lh_result_text(c->plan, "data.path"));
    lh_string_print(&validation, "data.validation_path=%s", lh_result_text(c->plan, "data.validation_path"));
    (void)snprintf(seed, sizeof seed, "train.seed=%lld", (long long)trial->seed);
    const char *overrides[] = {seed, path.data, validation.data, NULL};
    *recipe = NULL;
    lh_status status =
        path.failed || validation.failed
            ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a run")
            : lh_compare_recipe(recipe, &c->settings, c->options->sources, c->settings.methods[method],
                                lh_recipe_integer(c->recipes[method], "train.tokens"), overrides, error);
    lh_string_free(&path);
    lh_string_free(&validation);
    return status;
}

/* What is evaluated on: the comparison's own text, or the data that is trained on. */
static const char *held_out_path(const comparison *c)
{
    return c->settings.path[0] ? c->settings.path : lh_result_text(c->plan, "data.path");
}

/* Runs a part unless it is there. `stage` names it for people. */
static lh_status part(comparison *c, lh_trial *trial, const char *name, lh_child_work work, void *stage,
                      lh_error *error)
{
    if (lh_trial_has(trial, name)) {
        return LH_OK;
    }
    if (lh_signals_pending()) {
        return lh_fail(error, LH_E_INTERRUPTED, "interrupted");
    }
    double started = lh_now();
    lh_status status = lh_trial_measure(trial, name, work, stage, error);
    /* What the part itself says it took; a part that failed is not asked. */
    const json_t *answer = json_object_get(trial->result, name);
    c->parts += answer ? lh_result_number(answer, "wall_seconds") : lh_now() - started;
    return status;
}

static lh_status run_parts(comparison *c, lh_trial *trial, int method, bool first_seed, const char **doing,
                           lh_error *error)
{
    lh_recipe *recipe;
    char label[128];
    *doing = "model";
    LH_TRY(recipe_of(&recipe, c, method, trial, error));
    int place = (int)(trial - c->trials) + 1;
    (void)snprintf(label, sizeof label, "%d/%d %s", place, c->trial_count, trial->label);
    lh_training_stage training = {.recipe = recipe, .directory = trial->directory, .label = label};
    lh_reading_stage reading = {.settings = &c->settings,
                                .directory = trial->directory,
                                .label = label,
                                .path = held_out_path(c),
                                .threads = (int)lh_recipe_integer(recipe, "train.threads")};
    *doing = "training";
    lh_status status = part(c, trial, "training", lh_stage_training, &training, error);
    if (status == LH_OK) {
        *doing = "evaluation";
        status = part(c, trial, "evaluation", lh_stage_evaluation, &reading, error);
    }
    /* What a token costs does not depend on the seed. */
    if (status == LH_OK && first_seed && c->settings.length_count > 0) {
        *doing = "cost";
        status = part(c, trial, "cost", lh_stage_cost, &reading, error);
    }
    lh_recipe_free(recipe);
    return status == LH_OK ? lh_trial_finish(trial, error) : status;
}

/* One run to its end. A failure of the method is noted and is no failure of the comparison yet. */
static lh_status run_one(comparison *c, int64_t index, int method, lh_error *error)
{
    lh_trial *trial = trial_at(c, index, method);
    const json_t *fault = lh_result_at(plan_of(c, trial->method), "error");
    const char *doing = "model";
    lh_error own = {0};
    lh_status status = LH_OK;
    if (lh_trial_has(trial, "finished")) {
        return LH_OK;
    }
    if (fault) {
        status =
            lh_fail(&own, (lh_status)lh_result_number(fault, "status"), "%s", lh_result_text(fault, "sentence"));
    } else {
        status = run_parts(c, trial, method, index == 0, &doing, &own);
    }
    if (status == LH_OK) {
        return LH_OK;
    }
    if (status == LH_E_INTERRUPTED) {
        return lh_fail(error, status,
                       "stopped in %s; everything is saved, and longhand compare %s --resume goes on", trial->label,
                       c->options->directory);
    }
    c->failures++;
    if (c->failures == 1) {
        (void)lh_fail(&c->first_failure, status, "%s: %s", trial->label, own.message);
    }
    return lh_trial_fail(trial, doing, status, own.message, error);
}

static lh_status run_all(comparison *c, lh_error *error)
{
    for (int64_t index = 0; index < c->settings.seeds; index++) {
        for (int i = 0; i < c->settings.method_count; i++) {
            LH_TRY(run_one(c, index, i, error));
        }
    }
    return LH_OK;
}

/* ---- the report ---- */

static json_t *budget_json(const lh_budget *budget)
{
    static const char *const kinds[] = {"seconds", "tokens", "flops"};
    char text[160];
    lh_budget_describe(budget, text, sizeof text);
    return json_pack("{s:s, s:f, s:s}", "kind", kinds[budget->kind], "amount", budget->amount, "text", text);
}

static json_t *settings_json(const comparison *c)
{
    const lh_compare_settings *s = &c->settings;
    json_t *lengths = json_array();
    for (size_t i = 0; i < s->length_count; i++) {
        json_array_append_new(lengths, json_integer((json_int_t)s->lengths[i]));
    }
    return json_pack("{s:I, s:I, s:s, s:s, s:I, s:o, s:f}", "seeds", (json_int_t)s->seeds, "memory",
                     (json_int_t)s->memory, "protocol", s->protocol, "split", s->split ? s->split : "auto",
                     "eval_tokens", (json_int_t)s->eval_tokens, "lengths", lengths, "length_seconds",
                     s->length_seconds);
}

static json_t *methods_json(const comparison *c)
{
    json_t *list = json_array();
    for (int i = 0; i < c->settings.method_count; i++) {
        lh_string text = {0};
        json_t *method = json_deep_copy(plan_of(c, name_of(c, i)));
        lh_recipe_write(c->recipes[i], false, &text);
        json_object_set_new(method, "name", json_string(name_of(c, i)));
        json_object_set_new(method, "summary", json_string(c->settings.methods[i]->summary));
        json_object_set_new(method, "recipe", json_string(text.data && !text.failed ? text.data : ""));
        json_array_append_new(list, method);
        lh_string_free(&text);
    }
    return list;
}

/* What runs are compared by, from the first run that tells: all train on the same data. */
typedef struct measure {
    const char *unit, *unit_short;                   /* of the value: accuracy, if the text has answers */
    const char *training_unit, *training_unit_short; /* of the curves */
} measure;

static measure measure_of(const comparison *c)
{
    measure m = {"held_out_loss", "held out", "loss", "loss"};
    for (int i = c->trial_count - 1; i >= 0; i--) {
        const json_t *result = c->trials[i].result;
        if (lh_result_at(result, "training")) {
            m.training_unit = m.unit = lh_result_text(result, "training.unit");
            m.training_unit_short = m.unit_short = lh_result_text(result, "training.unit_short");
        }
    }
    for (int i = 0; i < c->trial_count; i++) {
        if (isfinite(lh_result_number(c->trials[i].result, "evaluation.accuracy"))) {
            m.unit = m.unit_short = "accuracy";
        }
    }
    return m;
}

static json_t *runs_json(const comparison *c)
{
    json_t *list = json_array();
    measure m = measure_of(c);
    for (int i = 0; i < c->trial_count; i++) {
        const lh_trial *trial = &c->trials[i];
        json_t *run = json_deep_copy(trial->result);
        const char *status = lh_trial_has(trial, "error")      ? "failed"
                             : lh_trial_has(trial, "finished") ? "finished"
                                                               : "unfinished";
        json_object_set_new(run, "status", json_string(status));
        json_object_set_new(run, "directory", json_string(trial->directory));
        json_object_set_new(run, "value",
                            lh_json_number(lh_result_number(json_object_get(run, "evaluation"), m.unit)));
        json_array_append_new(list, run);
    }
    return list;
}

static json_t *assemble(const comparison *c)
{
    json_t *data = json_deep_copy(json_object_get(c->plan, "data"));
    double wall = lh_now() - c->started;
    measure m = measure_of(c);
    json_object_set_new(data, "source", json_string(lh_recipe_string(c->recipes[0], "data.path")));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:o, s:{s:f, s:f, s:o}}", "longhand",
                     lh_version(), "command", c->options->command, "title", c->options->title, "machine",
                     lh_machine_describe((int)lh_recipe_integer(c->recipes[0], "train.threads")), "budget",
                     budget_json(&c->settings.budget), "settings", settings_json(c), "data", data, "unit", m.unit,
                     "unit_short", m.unit_short, "training_unit", m.training_unit, "methods", methods_json(c),
                     "runs", runs_json(c), "seconds", "wall", wall, "parts", c->parts, "overhead",
                     lh_json_number(c->parts > 0 ? wall / c->parts - 1 : NAN));
}

static lh_status write_file(const comparison *c, const char *name, lh_string *text, lh_error *error)
{
    char *path = NULL;
    lh_status status = text->failed ? lh_fail(error, LH_E_MEMORY, "no memory for %s", name)
                                    : lh_compare_path(&path, c->options->directory, name, error);
    if (status == LH_OK) {
        status = lh_file_write(path, text->data, text->size, error);
    }
    lh_heap_free(path);
    lh_string_clear(text);
    return status;
}

static lh_status write_reports(const comparison *c, json_t **results, lh_error *error)
{
    lh_string text = {0};
    *results = assemble(c);
    lh_status status = *results ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for the report");
    if (status == LH_OK) {
        lh_json_dump(*results, &text);
        status = write_file(c, "report.json", &text, error);
    }
    if (status == LH_OK) {
        lh_compare_csv(*results, &text);
        status = write_file(c, "report.csv", &text, error);
    }
    if (status == LH_OK) {
        status = lh_compare_page(*results, &text, error);
    }
    if (status == LH_OK) {
        status = write_file(c, "report.html", &text, error);
    }
    lh_string_free(&text);
    return status;
}

/* ---- the whole ---- */

static void close_all(comparison *c)
{
    for (int i = 0; i < c->trial_count; i++) {
        lh_trial_close(&c->trials[i]);
    }
    lh_heap_free(c->trials);
    for (int i = 0; i < LH_COMPARE_MAX_METHODS; i++) {
        lh_recipe_free(c->recipes[i]);
    }
    json_decref(c->plan);
    lh_compare_settings_free(&c->settings);
    if (c->lock >= 0) {
        (void)close(c->lock);
    }
}

static lh_status run_and_report(comparison *c, json_t **results, lh_error *error)
{
    lh_error own = {0};
    lh_status status = run_all(c, &own);
    /* What there is so far is reported in every case. */
    lh_status written = write_reports(c, results, error);
    LH_TRY(written);
    if (status != LH_OK) {
        return lh_fail(error, status, "%s", own.message);
    }
    if (c->failures > 0) {
        return lh_fail(error, c->first_failure.status, "%d of %d runs failed; the first is %s", c->failures,
                       c->trial_count, c->first_failure.message);
    }
    return LH_OK;
}

lh_status lh_compare(const lh_compare_options *options, json_t **results, lh_error *error)
{
    comparison *c = lh_heap_alloc(sizeof *c);
    *results = NULL;
    if (!c) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a comparison");
    }
    c->options = options;
    c->lock = -1;
    c->started = lh_now();
    lh_status status = open_all(c, error);
    if (status == LH_OK) {
        status = run_and_report(c, results, error);
    }
    close_all(c);
    lh_heap_free(c);
    return status;
}
