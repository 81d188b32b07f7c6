/* data make: toy tasks with known answers. */
#include "cli/data.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "data/task_make.h"

#include <stdio.h>

static const lh_option options[] = {
    {"out", 'o', LH_OPTION_STRING, "DIR", NULL, "Folder of the data set", NULL},
    {"rows", 'n', LH_OPTION_INTEGER, "N", NULL, "Rows of the training split (default: about 4M tokens)", NULL},
    {"validation", 0, LH_OPTION_INTEGER, "N", NULL, "Rows of the validation split (default: about 256k tokens)",
     NULL},
    {"test", 0, LH_OPTION_INTEGER, "N", NULL, "Rows of the test split (default: as many)", NULL},
    {"seed", 's', LH_OPTION_INTEGER, "N", "1", "Another seed gives other rows; the same seed the same ones", NULL},
    {"list", 0, LH_OPTION_FLAG, NULL, NULL, "List the tasks and their options instead", NULL},
    {"show", 0, LH_OPTION_INTEGER, "N", "0", "Print N rows of training instead, answers in brackets", NULL},
    {"force", 'f', LH_OPTION_FLAG, NULL, NULL, "Replace another data set in the folder", NULL},
    {0},
};

static bool watch(void *data, uint64_t done, uint64_t total)
{
    return lh_phase_line_update(data, "make", "tokens", done, total, NULL);
}

static lh_status list(lh_error *error)
{
    lh_string out = {0};
    for (int i = 0; lh_tasks[i]; i++) {
        lh_string_print(&out, "%s%s  %s\n", i ? "\n" : "", lh_tasks[i]->name, lh_tasks[i]->summary);
        for (const lh_task_option *o = lh_tasks[i]->options; o->name; o++) {
            lh_string_print(&out, "    %-9s %4lld  %s\n", o->name, (long long)o->standard, o->help);
        }
    }
    return lh_print_text(&out, error);
}

/* Rows as text, for people. */
static lh_status show_rows(const lh_task *task, uint64_t seed, int64_t count, lh_error *error)
{
    lh_task_row row;
    lh_string out = {0};
    LH_TRY(lh_task_row_create(&row, task, error));
    for (int64_t i = 0; i < count && !out.failed; i++) {
        lh_task_make_row(task, seed, LH_SPLIT_TRAIN, (uint64_t)i, &row);
        for (int64_t t = 0; t < row.size; t++) {
            char word[LH_TASK_WORD];
            task->kind->spell(task, row.tokens[t], word);
            lh_string_print(&out, row.answers[t] ? "%s[%s]" : "%s%s", t ? " " : "", word);
        }
        lh_string_print(&out, "\n");
    }
    lh_task_row_free(&row);
    return lh_print_text(&out, error);
}

static lh_status read_options(const lh_command *command, const lh_task *task, lh_task_make_options *chosen,
                              lh_error *error)
{
    static const char *const names[LH_SPLITS] = {"rows", "validation", "test"};
    int64_t seed = lh_command_integer(command, "seed");
    chosen->force = lh_command_flag(command, "force");
    chosen->seed = (uint64_t)seed;
    bool fits = seed >= 0;
    for (int i = 0; i < LH_SPLITS; i++) {
        int64_t rows = lh_command_given(command, names[i]) ? lh_command_integer(command, names[i]) : -1;
        fits = fits && (rows >= 0 || !lh_command_given(command, names[i]));
        chosen->rows[i] = rows >= 0 ? (uint64_t)rows : lh_task_usual_rows(task, i);
    }
    fits = fits && lh_command_integer(command, "show") >= 0;
    return fits ? LH_OK
                : lh_fail(error, LH_E_ARGUMENT, "--rows, --validation, --test, --seed and --show are 0 or more");
}

static lh_status show(const char *folder, lh_error *error)
{
    lh_dataset *dataset;
    lh_string text = {0};
    LH_TRY(lh_dataset_open(&dataset, folder, error));
    lh_describe_dataset(&text, dataset);
    lh_dataset_free(dataset);
    return lh_print_text(&text, error);
}

static lh_status run_make(const lh_command *command, lh_error *error)
{
    lh_task task;
    lh_phase_line line = {0};
    lh_task_make_options chosen = {.watch = watch, .watch_data = &line};
    const char *folder = lh_command_string(command, "out"), *settings[2 * LH_TASK_OPTIONS];
    int count = lh_command_operand_count(command) - 1;
    if (lh_command_flag(command, "list")) {
        return list(error);
    }
    bool only_show = lh_command_given(command, "show");
    if (count < 0 || (!folder && !only_show)) {
        return lh_fail(error, LH_E_ARGUMENT, "%s is needed; longhand data make --list lists the tasks",
                       count < 0 ? "the name of a task" : "--out DIR");
    }
    if (count > 2 * LH_TASK_OPTIONS) {
        return lh_fail(error, LH_E_ARGUMENT, "%d settings are too many", count);
    }
    for (int i = 0; i < count; i++) {
        settings[i] = lh_command_operand(command, i + 1);
    }
    LH_TRY(lh_task_create(&task, lh_command_operand(command, 0), settings, count, error));
    LH_TRY(read_options(command, &task, &chosen, error));
    if (only_show) {
        return show_rows(&task, chosen.seed, lh_command_integer(command, "show"), error);
    }
    lh_signals_install();
    bool already;
    lh_status status = lh_task_make(&task, folder, &chosen, &already, error);
    lh_phase_line_finish(&line, NULL);
    if (status == LH_OK && already) {
        (void)fprintf(stderr, "longhand: note: %s is complete already\n", folder);
    }
    return status == LH_OK ? show(folder, error) : status;
}

const lh_verb lh_verb_data_make = {
    .name = "data make",
    .summary = "Make a toy task with known answers",
    .operands = "TASK [option=value ...]",
    .description =
        "Writes rows of symbols in which some tokens follow from what stood far before them and from nothing else, "
        "as a data set that training and evaluation take like any other. Only the answers are scored; evaluation "
        "gives their accuracy, and by distance.\n\n"
        "Tasks:\n\n"
        "  copy      a payload, and the payload again, mirrored or plain\n"
        "  recall    pairs of keys and values, filler, then the keys again\n"
        "  delayed   a symbol in a stream of filler, asked for some time later\n"
        "  marker    symbols, a long stretch of noise, then the symbols are asked for\n\n"
        "--list shows the options of each one. The rows follow from the seed alone.",
    .examples =
        "longhand data make --list\n    the tasks and their options\n"
        "longhand data make recall pairs=3 filler=5 --show 2\n    two rows, to look at\n"
        "longhand data make copy length=1024 --out data/copy-1k\n    a mirrored copy over up to 1023 tokens\n"
        "longhand data make recall pairs=4 filler=200 --out data/recall\n    keys asked for 200 tokens later",
    .min_operands = 0,
    .max_operands = -1,
    .options = options,
    .run = run_make,
};
