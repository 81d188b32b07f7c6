#include "base/progress.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "train/display.h"
#include "train/request.h"
#include "train/run.h"
#include "train/units.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lh_status add_overrides(lh_recipe *recipe, const lh_command *command, lh_error *error)
{
    for (int i = 1; i < lh_command_operand_count(command); i++) {
        LH_TRY(lh_recipe_override(recipe, lh_command_operand(command, i), error));
    }
    return lh_train_request_settle(recipe, error);
}

/* ---- while it goes ---- */

static void note(void *user, const char *text)
{
    (void)user;
    (void)fprintf(stderr, "%s\n", text);
}

static bool interrupted(void *user)
{
    (void)user;
    return lh_signals_pending() != 0;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static lh_status print_json(const lh_run_report *r, const char *directory, lh_error *error)
{
    json_t *root =
        json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "run", directory,
                  "finished", r->finished, "resumed", r->resumed, "step", (json_int_t)r->step, "tokens",
                  (json_int_t)r->tokens, "parameters", (json_int_t)r->parameters, "seconds", number(r->seconds),
                  "tokens_per_second", number(r->tokens_per_second), "unit", lh_loss_unit_name(r->unit), "loss",
                  number(r->loss), "validation", number(r->validation), "accuracy", number(r->accuracy), "best",
                  number(r->best), "best_step", r->best_step >= 0 ? json_integer(r->best_step) : json_null());
    if (root && r->note) {
        json_object_set_new(root, "note", json_string(r->note));
    }
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    lh_status status = text ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for the summary");
    if (text) {
        (void)puts(text);
    }
    free(text);
    json_decref(root);
    return status;
}

static void print_summary(const lh_run_report *r, const char *directory)
{
    char tokens[40], speed[40], duration[40];
    const char *unit = lh_loss_unit_short(r->unit);
    (void)printf("%s: step %lld, %s tokens, %s", directory, (long long)r->step,
                 lh_format_count(tokens, sizeof tokens, (double)r->tokens),
                 lh_format_duration(duration, sizeof duration, r->seconds));
    if (r->tokens_per_second > 0) {
        (void)printf(" (%s tokens/s)", lh_format_count(speed, sizeof speed, r->tokens_per_second));
    }
    (void)printf("\n  train %.4g %s", r->loss, unit);
    if (isfinite(r->validation)) {
        (void)printf(", validation %.4g %s", r->validation, unit);
    }
    if (isfinite(r->accuracy)) {
        (void)printf(", accuracy %.4g", r->accuracy);
    }
    if (r->best_step >= 0) {
        (void)printf(", best %.4g %s at step %lld", r->best, unit, (long long)r->best_step);
    }
    (void)printf("%s%s%s\n", r->note ? " (" : "", r->note ? r->note : "", r->note ? ")" : "");
}

static lh_status run_recipe(const lh_recipe *recipe, const lh_command *command, const char *directory,
                            lh_error *error)
{
    lh_run_display screen = {0};
    lh_run_options options = {.directory = directory,
                              .must_exist = lh_command_flag(command, "resume"),
                              .stop = interrupted,
                              .watch = lh_run_display_show,
                              .note = note,
                              .user = &screen};
    lh_run_report report;
    lh_signals_install();
    lh_status status = lh_run_train(recipe, &options, &report, error);
    lh_run_display_finish(&screen);
    if (status == LH_OK || status == LH_E_INTERRUPTED) {
        if (lh_command_flag(command, "json")) {
            lh_status printed = print_json(&report, directory, error);
            status = status == LH_OK ? printed : status;
        } else if (report.step > 0) {
            print_summary(&report, directory);
        }
    }
    return status;
}

static lh_status list(const lh_command *command, lh_error *error)
{
    lh_recipe *recipe;
    lh_string text = {0};
    LH_TRY(lh_train_recipe_create(&recipe, error));
    if (lh_command_flag(command, "list-keys")) {
        lh_recipe_describe(recipe, LH_RECIPE_TEXT, &text);
    } else {
        lh_recipe_describe_presets(recipe, LH_RECIPE_TEXT, &text);
    }
    lh_recipe_free(recipe);
    return lh_print_text(&text, error);
}

static lh_status run_train(const lh_command *command, lh_error *error)
{
    if (lh_command_flag(command, "list-keys") || lh_command_flag(command, "list-presets")) {
        return list(command, error);
    }
    bool resume = lh_command_flag(command, "resume");
    const char *base = lh_command_operand_count(command) > 0 ? lh_command_operand(command, 0) : NULL;
    const char *out = lh_command_string(command, "out");
    if (!base) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "train needs a recipe: a file, or one of longhand train --list-presets");
    }
    if (resume && out) {
        return lh_fail(error, LH_E_ARGUMENT, "--resume goes on in the run's own folder: longhand train %s --resume",
                       out);
    }
    if (!resume && !out) {
        return lh_fail(error, LH_E_ARGUMENT, "train needs --out: the folder of the run");
    }
    lh_recipe *recipe = NULL;
    lh_status status;
    if (resume) {
        status = lh_run_recipe(&recipe, base, error);
    } else {
        status = lh_train_request_open(&recipe, base, error);
    }
    if (status == LH_OK) {
        status = add_overrides(recipe, command, error);
    }
    if (status == LH_OK) {
        status = run_recipe(recipe, command, resume ? base : out, error);
    }
    lh_recipe_free(recipe);
    return status;
}

static const lh_option options[] = {
    {"out", 'o', LH_OPTION_STRING, "RUN", NULL, "Folder of the run; if it holds this very run, training goes on",
     NULL},
    {"resume", 0, LH_OPTION_FLAG, NULL, NULL, "The operand is a run: go on with it by its own recipe", NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print the summary as JSON", NULL},
    {"list-keys", 0, LH_OPTION_FLAG, NULL, NULL, "Print every recipe key with its meaning, range and default",
     NULL},
    {"list-presets", 0, LH_OPTION_FLAG, NULL, NULL, "Print the presets", NULL},
    {0},
};

const lh_verb lh_verb_train = {
    .name = "train",
    .summary = "Train a model on text",
    .operands = "RECIPE|RUN [section.key=value...]",
    .description =
        "Trains what a recipe describes: an INI file with the sections [data], [model], [memory], [train] and "
        "[eval], or "
        "the name of a preset. Keys given as section.key=value win over the recipe.\n\n"
        "The folder of the run receives the resolved recipe, checkpoints, metrics.jsonl, TensorBoard events and a "
        "log. "
        "Ctrl-C and SIGTERM save and end the run with exit code 9; a second signal ends it at once. A run that was "
        "stopped or killed goes on with --resume exactly as if nothing had happened. Its recipe cannot change, but "
        "for "
        "budgets (train.steps, train.tokens, train.minutes), logging, evaluation and threads.\n\n"
        "A NaN or infinity stops the run with exit code 8 and names the step and the tensor; the last checkpoint "
        "stands.",
    .examples = "longhand train compressive-tiny data.path=book.txt train.minutes=2 --out runs/book\n"
                "    trains a small Compressive Transformer on a book for two minutes\n"
                "longhand train runs/book --resume train.minutes=10\n"
                "    goes on until ten minutes are over\n"
                "longhand train --list-keys\n"
                "    prints what a recipe can say",
    .min_operands = 0,
    .max_operands = -1,
    .options = options,
    .run = run_train,
};
