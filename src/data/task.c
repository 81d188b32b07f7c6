#include "data/task.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define TASK_DOMAIN 0x5441534bu /* so that rows meet no other random numbers of the same seed */

const lh_task_kind *const lh_tasks[] = {&lh_task_copy, &lh_task_recall, &lh_task_delayed, &lh_task_marker, NULL};

static lh_status find_kind(const char *name, const lh_task_kind **kind, lh_error *error)
{
    const char *names[16];
    size_t count = 0;
    for (; count < 16 && lh_tasks[count]; count++) {
        names[count] = lh_tasks[count]->name;
        if (strcmp(name, names[count]) == 0) {
            *kind = lh_tasks[count];
            return LH_OK;
        }
    }
    const char *nearest = lh_nearest_name(name, names, count);
    return lh_fail(error, LH_E_ARGUMENT, "there is no task \"%.60s\"%s%s%s", name, nearest ? "; did you mean " : "",
                   nearest ? nearest : "", nearest ? "?" : " (longhand data make --list lists them)");
}

static lh_status set_option(lh_task *task, const char *setting, lh_error *error)
{
    const lh_task_option *options = task->kind->options;
    const char *names[LH_TASK_OPTIONS], *equals = strchr(setting, '=');
    size_t size = equals ? (size_t)(equals - setting) : 0, count = 0;
    char word[64];
    if (!equals) {
        return lh_fail(error, LH_E_ARGUMENT, "\"%.60s\" is no setting: option=value is one", setting);
    }
    for (; options[count].name; count++) {
        names[count] = options[count].name;
        if (strlen(names[count]) != size || memcmp(names[count], setting, size) != 0) {
            continue;
        }
        int64_t value;
        if (!lh_parse_integer(equals + 1, &value) || value < options[count].low || value > options[count].high) {
            return lh_fail(error, LH_E_ARGUMENT, "%.80s: it must be a number from %lld to %lld", setting,
                           (long long)options[count].low, (long long)options[count].high);
        }
        task->value[count] = value;
        return LH_OK;
    }
    (void)snprintf(word, sizeof word, "%.*s", size < sizeof word ? (int)size : (int)sizeof word - 1, setting);
    const char *nearest = lh_nearest_name(word, names, count);
    return lh_fail(error, LH_E_ARGUMENT, "the task %s has no option \"%s\"%s%s%s", task->kind->name, word,
                   nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

lh_status lh_task_create(lh_task *task, const char *name, const char *const *settings, int count, lh_error *error)
{
    *task = (lh_task){0};
    LH_TRY(find_kind(name, &task->kind, error));
    for (int i = 0; task->kind->options[i].name; i++) {
        task->value[i] = task->kind->options[i].standard;
    }
    for (int i = 0; i < count; i++) {
        LH_TRY(set_option(task, settings[i], error));
    }
    return task->kind->plan(task, error);
}

void lh_task_describe(const lh_task *task, lh_string *out)
{
    for (int i = 0; task->kind->options[i].name; i++) {
        lh_string_print(out, "%s%s=%lld", i ? " " : "", task->kind->options[i].name, (long long)task->value[i]);
    }
}

void lh_task_make_row(const lh_task *task, uint64_t seed, int split, uint64_t index, lh_task_row *row)
{
    lh_random random = lh_random_create(seed, (uint64_t)TASK_DOMAIN << 32 | (uint64_t)split);
    random.counter = index << 32;
    row->size = 0;
    task->kind->make(task, &random, row);
}

lh_status lh_task_row_create(lh_task_row *row, const lh_task *task, lh_error *error)
{
    *row = (lh_task_row){
        .tokens = lh_heap_alloc((size_t)task->length * sizeof *row->tokens),
        .answers = lh_heap_alloc((size_t)task->length * sizeof *row->answers),
        .scratch = lh_heap_alloc((size_t)task->scratch * sizeof *row->scratch),
    };
    if (!row->tokens || !row->answers || !row->scratch) {
        lh_task_row_free(row);
        return lh_fail(error, LH_E_MEMORY, "no memory for a row of %lld symbols", (long long)task->length);
    }
    return LH_OK;
}

void lh_task_row_free(lh_task_row *row)
{
    lh_heap_free(row->tokens);
    lh_heap_free(row->answers);
    lh_heap_free(row->scratch);
    *row = (lh_task_row){0};
}

void lh_task_put_noise(lh_task_row *row, lh_random *random, int64_t count, int64_t first, int64_t kinds)
{
    for (int64_t i = 0; i < count; i++) {
        lh_task_put(row, first + (int64_t)lh_random_below(random, (uint64_t)kinds));
    }
}
