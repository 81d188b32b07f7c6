#include "train/run.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "formats/model_dir.h"
#include "train/corpus.h"
#include "train/folder.h"
#include "train/initial.h"
#include "train/journal.h"
#include "train/units.h"
#include "train/validate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct run {
    const lh_recipe *recipe;
    const lh_run_options *options;
    lh_run_report *report;
    lh_run_folder folder;
    lh_corpus *corpus;
    lh_training *training;
    lh_journal journal;
    lh_loss_meter meter;
    int64_t last_iteration;  /* the budget in iterations; INT64_MAX: none but time */
    double base_seconds;     /* of earlier sessions */
    double started;          /* lh_now() when this session began */
    double step_seconds;     /* of this session's steps */
    double interval_seconds; /* of the steps since the last line of metrics */
    int64_t session_tokens, interval_tokens;
    double accuracy; /* at the last evaluation of this session; NaN: none */
    int64_t saved;   /* iteration of the last checkpoint; -1: none */
} run;

static bool stopped(const run *r)
{
    return r->options->stop && r->options->stop(r->options->user);
}

static bool watch_preparation(void *data, const char *phase, uint64_t done, uint64_t total)
{
    const run *r = data;
    if (r->options->watch) {
        lh_run_progress now = {.phase = phase, .done = done, .total = total, .accuracy = NAN, .unit = LH_UNIT_NATS};
        now.seconds_left = now.loss = now.validation = NAN;
        r->options->watch(r->options->user, &now);
    }
    return !stopped(r);
}

/* ---- opening ---- */

static lh_status open_corpus(run *r, const lh_train_config *config, lh_error *error)
{
    char *cache = lh_path_join(r->options->directory, "data");
    if (!cache) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", config->path);
    }
    lh_status status = lh_corpus_open(&r->corpus, config, cache, !r->folder.begun, watch_preparation, r, error);
    lh_heap_free(cache);
    return status;
}

/* The recipe in the folder may have been edited or cut short: what counts is the one that the checkpoint was made
 * by. */
static lh_status check_recipe(const run *r, const lh_checkpoint *checkpoint, lh_error *error)
{
    const char *text = lh_safetensors_metadata(lh_checkpoint_file(checkpoint), "recipe");
    char name[600];
    lh_recipe *recipe;
    (void)snprintf(name, sizeof name, "%.500s/checkpoint-%lld.safetensors", r->options->directory,
                   (long long)lh_checkpoint_step(checkpoint));
    if (!text) {
        return lh_fail(error, LH_E_FORMAT, "%s holds no recipe", name);
    }
    LH_TRY(lh_train_recipe_create(&recipe, error));
    lh_status status = lh_recipe_read_text(recipe, name, text, strlen(text), error);
    if (status == LH_OK) {
        status = lh_recipe_resolve(recipe, error);
    }
    if (status == LH_OK) {
        status = lh_train_recipe_same(recipe, r->recipe, name, error);
    }
    lh_recipe_free(recipe);
    return status;
}

static lh_status restore(run *r, lh_error *error)
{
    lh_training *t = r->training;
    lh_checkpoint *checkpoint;
    int64_t *steps;
    size_t count;
    LH_TRY(lh_checkpoint_steps(r->options->directory, &steps, &count, error));
    lh_heap_free(steps);
    if (count == 0) {
        return LH_OK; /* stopped before its first checkpoint: it begins again */
    }
    LH_TRY(lh_checkpoint_open_latest(&checkpoint, r->options->directory, INT64_MAX, error));
    lh_status status = check_recipe(r, checkpoint, error);
    if (status == LH_OK) {
        status = lh_training_restore(t, checkpoint, error);
    }
    r->saved = lh_checkpoint_step(checkpoint);
    lh_checkpoint_close(checkpoint);
    LH_TRY(status);
    if (t->iteration != r->saved) {
        return lh_fail(error, LH_E_FORMAT, "%s: checkpoint-%lld.safetensors says it is of step %lld",
                       r->options->directory, (long long)r->saved, (long long)t->iteration);
    }
    /* Killed between a checkpoint and its label, a run would forget which was the best. */
    lh_checkpoint_best best = {.step = t->marks.best_step, .value = t->marks.best};
    (void)snprintf(best.metric, sizeof best.metric, "validation/%s", lh_loss_unit_name(r->meter.unit));
    return best.step >= 0 ? lh_checkpoint_best_write(r->options->directory, &best, error) : LH_OK;
}

/* A run that begins takes the weights of another, if it is told to. */
static lh_status take_initial(run *r, lh_error *error)
{
    const lh_train_config *c = &r->training->config;
    lh_string report = {0};
    if (!c->init_from[0] || r->training->iteration > 0) {
        return LH_OK;
    }
    lh_status status = lh_initial_take(r->training->model, c->init_from, &report, error);
    if (status == LH_OK && r->options->note) {
        r->options->note(r->options->user, report.data);
    }
    char *rest = NULL;
    for (char *line = report.data ? strtok_r(report.data, "\n", &rest) : NULL; line && status == LH_OK;
         line = strtok_r(NULL, "\n", &rest)) {
        status = lh_journal_note(&r->journal, error, "%s", line);
    }
    lh_string_free(&report);
    return status;
}

static int64_t budget(const lh_train_config *c, int64_t step_tokens)
{
    int64_t limit = INT64_MAX;
    if (c->steps > 0) {
        limit = c->steps;
    }
    if (c->tokens > 0) {
        int64_t steps = c->tokens / step_tokens + (c->tokens % step_tokens != 0);
        limit = steps < limit ? steps : limit;
    }
    return limit;
}

static const char *note_of(const lh_model *model)
{
    return model->memory_kind->note ? model->memory_kind->note(&model->shape) : NULL;
}

static void describe(run *r, lh_error *error)
{
    const lh_model *model = r->training->model;
    const char *note = note_of(model);
    (void)lh_journal_note(
        &r->journal, error, "%s: %lld parameters, memory %s%s%s, %lld tokens of text, %lld per step, %d threads",
        r->training->iteration > 0 ? "goes on" : "begins", (long long)lh_parameters_elements(&model->parameters),
        model->memory_kind->name, note ? ", " : "", note ? note : "", (long long)r->corpus->train->tokens,
        (long long)lh_training_step_tokens(r->training), r->training->context->exec.threads);
    if (!r->corpus->validation) {
        (void)lh_journal_note(&r->journal, error, "the data set has no split '%s': nothing is evaluated",
                              r->training->config.eval_split);
    }
}

static lh_status open_run(run *r, lh_error *error)
{
    lh_train_config config;
    r->saved = -1;
    LH_TRY(lh_train_config_read(&config, r->recipe, error));
    if (config.init_from[0] && !r->options->must_exist) { /* before there is a folder */
        LH_TRY(lh_initial_exists(config.init_from, error));
    }
    LH_TRY(lh_run_folder_open(&r->folder, r->options->directory, r->recipe, r->options->must_exist, error));
    LH_TRY(open_corpus(r, &config, error));
    lh_train_source source = {
        .split = r->corpus->train, .token_bytes = r->corpus->token_bytes, .vocab = r->corpus->vocab};
    LH_TRY(lh_training_create(&r->training, r->recipe, &source, lh_backend_cpu(), LH_F32, error));
    /* The answers of a task are no text. */
    bool plain = config.unit == LH_UNIT_AUTO && r->corpus->train->answered;
    r->meter = lh_loss_meter_create(plain ? LH_UNIT_NATS : config.unit, lh_tokenizer_get_kind(r->corpus->tokenizer),
                                    &r->corpus->train->totals);
    r->last_iteration = budget(&config, lh_training_step_tokens(r->training));
    LH_TRY(lh_run_folder_describe(&r->folder, r->training->model, r->corpus->tokenizer, error));
    LH_TRY(restore(r, error));
    r->report->resumed = r->training->iteration > 0;
    r->base_seconds = r->training->seconds;
    LH_TRY(lh_journal_open(&r->journal, r->options->directory, r->training->iteration, error));
    describe(r, error);
    return take_initial(r, error);
}

/* ---- the parts of the loop ---- */

/* How much of the run behind the warm-up is over, for schedules that end with it. */
static double run_progress(const run *r)
{
    const lh_train_config *c = &r->training->config;
    double part = 0;
    if (r->last_iteration < INT64_MAX) {
        double length = (double)(r->last_iteration - c->schedule.warmup);
        part = length > 0 ? (double)(r->training->iteration - c->schedule.warmup) / length : 1;
    }
    if (c->minutes > 0) {
        part = fmax(part, r->training->seconds / (60 * c->minutes));
    }
    return part;
}

static bool budget_spent(const run *r)
{
    double minutes = r->training->config.minutes;
    return r->training->iteration >= r->last_iteration || (minutes > 0 && r->training->seconds >= 60 * minutes);
}

/* Tells the watcher where the run stands. */
static void show(const run *r)
{
    const lh_training *t = r->training;
    const lh_train_config *c = &t->config;
    int64_t step_tokens = lh_training_step_tokens(t);
    bool timed = c->minutes > 0 || r->last_iteration == INT64_MAX;
    if (!r->options->watch) {
        return;
    }
    lh_run_progress now = {.phase = "train",
                           .done = (uint64_t)(t->iteration * step_tokens),
                           .total = timed ? 0 : (uint64_t)(r->last_iteration * step_tokens),
                           .step = t->iteration,
                           .tokens = t->tokens,
                           .seconds = t->seconds,
                           .seconds_left = c->minutes > 0 ? fmax(60 * c->minutes - t->seconds, 0) : NAN,
                           .loss = t->marks.loss,
                           .validation = t->marks.validation,
                           .accuracy = r->accuracy,
                           .rate = t->marks.rate,
                           .unit = r->meter.unit};
    if (isnan(now.loss) && t->interval.tokens > 0) {
        now.loss = lh_loss_value(&r->meter, &t->interval);
    }
    r->options->watch(r->options->user, &now);
}

/* A line of metrics; the names of the method's own figures are kept here. */
typedef struct metrics_line {
    lh_tfevents_scalar scalars[LH_JOURNAL_MAX_SCALARS];
    char names[LH_JOURNAL_MAX_SCALARS][64];
    size_t count;
} metrics_line;

static void take_figure(void *user, const char *name, double value)
{
    metrics_line *line = user;
    if (line->count < LH_JOURNAL_MAX_SCALARS) {
        char *own = line->names[line->count];
        (void)snprintf(own, sizeof line->names[0], "memory/%s", name);
        line->scalars[line->count++] = (lh_tfevents_scalar){own, value};
    }
}

/* What the method has to show, of the first part of the lanes. */
static void add_figures(const lh_training *t, metrics_line *line)
{
    const lh_memory *memory = t->parts[0]->memory;
    if (memory->kind->figures) {
        memory->kind->figures(memory, t->context, take_figure, line);
        lh_context_reset(t->context);
    }
}

static lh_status log_training(run *r, lh_error *error)
{
    lh_training *t = r->training;
    metrics_line line = {.count = 0};
    char unit[64];
    double loss = lh_loss_value(&r->meter, &t->interval);
    t->marks.loss = isnan(loss) ? t->marks.loss : loss; /* NaN: no answer came up */
    (void)snprintf(unit, sizeof unit, "train/%s", lh_loss_unit_name(r->meter.unit));
    double speed = r->interval_seconds > 0 ? (double)r->interval_tokens / r->interval_seconds : 0;
    const lh_tfevents_scalar scalars[] = {
        {"train/loss", t->interval.tokens > 0 ? t->interval.nats / t->interval.tokens : NAN},
        {unit, loss},
        {"train/auxiliary_loss", t->interval.auxiliary / t->interval.iterations},
        {"train/learning_rate", t->marks.rate},
        {"train/gradient_norm", t->marks.norms.group[LH_GROUP_MAIN]},
        {"train/gradient_norm_compressor", t->marks.norms.group[LH_GROUP_COMPRESSOR]},
        {"train/tokens", (double)t->tokens},
        {"train/seconds", t->seconds},
        {"train/tokens_per_second", speed},
        {"train/gflop_per_second", speed * lh_training_token_flops(t) * 1e-9},
    };
    t->interval = (lh_loss_sums){0};
    r->interval_seconds = 0;
    r->interval_tokens = 0;
    memcpy(line.scalars, scalars, sizeof scalars);
    line.count = sizeof scalars / sizeof scalars[0];
    if (t->source_tokens > 0) {
        line.scalars[line.count++] = (lh_tfevents_scalar){"train/pairs", (double)t->pairs[0]};
        line.scalars[line.count++] = (lh_tfevents_scalar){"train/sources_cut", (double)t->pairs[1]};
    }
    add_figures(t, &line);
    return lh_journal_scalars(&r->journal, t->iteration, line.scalars, line.count, error);
}

static lh_status save(run *r, lh_error *error)
{
    lh_training *t = r->training;
    if (r->saved == t->iteration || t->iteration == 0) {
        return LH_OK;
    }
    LH_TRY(lh_training_save(t, r->options->directory, r->folder.recipe_text.data, error));
    r->saved = t->iteration;
    return lh_checkpoint_retain(r->options->directory, (size_t)t->config.keep, error);
}

/* Labels the checkpoint of this step as the best so far. */
static lh_status save_best(run *r, lh_error *error)
{
    lh_training *t = r->training;
    t->marks.best = t->marks.validation;
    t->marks.best_step = t->iteration;
    lh_checkpoint_best best = {.step = t->iteration, .value = t->marks.best};
    (void)snprintf(best.metric, sizeof best.metric, "validation/%s", lh_loss_unit_name(r->meter.unit));
    r->saved = -1; /* what is there of this step does not know yet that it is the best */
    LH_TRY(lh_training_save(t, r->options->directory, r->folder.recipe_text.data, error));
    r->saved = t->iteration;
    LH_TRY(lh_checkpoint_best_write(r->options->directory, &best, error));
    return lh_checkpoint_retain(r->options->directory, (size_t)t->config.keep, error);
}

static lh_status evaluate(run *r, lh_error *error)
{
    lh_training *t = r->training;
    const lh_train_config *c = &t->config;
    lh_validation result;
    char unit[64], accuracy[48] = "";
    if (!r->corpus->validation || t->marks.evaluated == t->iteration) {
        return LH_OK;
    }
    lh_status status = lh_validate(t, r->corpus->validation, c->eval_tokens, c->eval_batch, r->options->stop,
                                   r->options->user, &result, error);
    LH_TRY(status);
    t->marks.evaluated = t->iteration;
    const lh_loss_sums *sums = &result.sums;
    t->marks.validation = lh_loss_value(&r->meter, sums);
    r->accuracy = result.answered ? lh_validation_accuracy(&result) : NAN;
    (void)snprintf(unit, sizeof unit, "validation/%s", lh_loss_unit_name(r->meter.unit));
    const lh_tfevents_scalar scalars[] = {{"validation/loss", sums->tokens > 0 ? sums->nats / sums->tokens : NAN},
                                          {unit, t->marks.validation},
                                          {"validation/tokens", sums->tokens},
                                          {"validation/accuracy", r->accuracy}};
    if (result.answered) {
        (void)snprintf(accuracy, sizeof accuracy, ", accuracy %.6g", r->accuracy);
    }
    LH_TRY(lh_journal_scalars(&r->journal, t->iteration, scalars, result.answered ? 4 : 3, error));
    LH_TRY(lh_journal_note(&r->journal, error, "step %lld: validation %.6g %s%s", (long long)t->iteration,
                           t->marks.validation, lh_loss_unit_short(r->meter.unit), accuracy));
    if (isfinite(t->marks.validation) && !(t->marks.validation >= t->marks.best)) {
        return save_best(r, error);
    }
    return LH_OK;
}

static bool due(int64_t iteration, int64_t every)
{
    return every > 0 && iteration > 0 && iteration % every == 0;
}

static lh_status one_step(run *r, lh_error *error)
{
    lh_training *t = r->training;
    lh_iteration result;
    double before = lh_now();
    LH_TRY(lh_training_step(t, run_progress(r), &result, error));
    double after = lh_now();
    r->step_seconds += after - before;
    r->interval_seconds += after - before;
    r->interval_tokens += result.read;
    r->session_tokens += result.read;
    t->seconds = r->base_seconds + (after - r->started);
    if (result.updated) {
        t->marks.rate = result.rate;
        t->marks.norms = result.norms;
    }
    if (due(t->iteration, t->config.log_every)) {
        LH_TRY(log_training(r, error));
    }
    show(r);
    if (due(t->iteration, t->config.eval_every)) {
        LH_TRY(evaluate(r, error));
    }
    return due(t->iteration, t->config.checkpoint_every) ? save(r, error) : LH_OK;
}

static lh_status finish(run *r, lh_error *error)
{
    if (r->training->interval.iterations > 0) {
        LH_TRY(log_training(r, error));
    }
    LH_TRY(evaluate(r, error));
    LH_TRY(save(r, error));
    r->report->finished = true;
    return LH_OK;
}

static lh_status loop(run *r, lh_error *error)
{
    lh_training *t = r->training;
    r->started = lh_now();
    show(r);
    /* A stop in the middle of an evaluation leaves it to be done now. */
    lh_status status = due(t->iteration, t->config.eval_every) ? evaluate(r, error) : LH_OK;
    while (status == LH_OK && !budget_spent(r) && !stopped(r)) {
        status = one_step(r, error);
    }
    if (status == LH_OK && budget_spent(r)) {
        status = finish(r, error);
    }
    if (status != LH_OK && status != LH_E_INTERRUPTED) {
        return status;
    }
    if (!r->report->finished) {
        r->report->interrupted = true;
        *error = (lh_error){0};
        LH_TRY(save(r, error));
        return lh_fail(error, LH_E_INTERRUPTED,
                       "stopped after step %lld; everything is saved, and longhand train %s --resume goes on",
                       (long long)t->iteration, r->options->directory);
    }
    return LH_OK;
}

static void fill_report(run *r)
{
    lh_run_report *report = r->report;
    report->unit = r->meter.unit;
    report->loss = report->validation = report->best = NAN;
    report->accuracy = r->accuracy;
    report->best_step = -1;
    if (r->training) {
        const lh_training *t = r->training;
        report->step = t->iteration;
        report->tokens = t->tokens;
        report->seconds = t->seconds;
        report->parameters = lh_parameters_elements(&t->model->parameters);
        report->note = note_of(t->model);
        report->loss = t->marks.loss;
        report->validation = t->marks.validation;
        report->best = t->marks.best;
        report->best_step = t->marks.best_step;
        report->tokens_per_second = r->step_seconds > 0 ? (double)r->session_tokens / r->step_seconds : 0;
    }
}

lh_status lh_run_train(const lh_recipe *recipe, const lh_run_options *options, lh_run_report *report,
                       lh_error *error)
{
    run *r = lh_heap_alloc(sizeof *r);
    *report = (lh_run_report){0};
    if (!r) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a run");
    }
    lh_error own = {0};
    r->recipe = recipe;
    r->options = options;
    r->report = report;
    r->accuracy = NAN;
    lh_status status = open_run(r, &own);
    if (status == LH_OK) {
        status = loop(r, &own);
        /* The log tells how it ended; where it cannot, the message still reaches the caller. */
        (void)lh_journal_note(&r->journal, NULL, "step %lld: %s", (long long)r->training->iteration,
                              status == LH_OK ? "the run is complete" : own.message);
    }
    fill_report(r);
    lh_journal_close(&r->journal);
    lh_training_free(r->training);
    lh_corpus_free(r->corpus);
    lh_run_folder_close(&r->folder);
    lh_heap_free(r);
    return status == LH_OK ? LH_OK : lh_fail(error, status, "%s", own.message);
}
