/* The report as text: a table for the terminal, and CSV. */
#include "base/progress.h"
#include "compare/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the terminal ---- */

static const char *count_text(char *text, size_t size, double value)
{
    return isfinite(value) ? lh_format_count(text, size, value) : "-";
}

static const char *bytes_text(char *text, size_t size, double value)
{
    return isfinite(value) ? lh_format_bytes(text, size, value) : "-";
}

static void value_text(char *text, size_t size, const lh_result_spread *s)
{
    if (s->runs == 0) {
        (void)snprintf(text, size, "-");
    } else if (s->mean >= 1e4) {
        (void)snprintf(text, size, "%.4g", s->mean);
    } else if (s->runs == 1) {
        (void)snprintf(text, size, "%.4f", s->mean);
    } else {
        (void)snprintf(text, size, "%.4f +-%.4f", s->mean, s->deviation);
    }
}

/* "1.24 at 1.0 M": at the longest length that was reached. */
static void cost_text(char *text, size_t size, const json_t *run)
{
    const json_t *points = lh_result_at(run, "cost.points");
    const json_t *last = json_array_get(points, json_array_size(points) ? json_array_size(points) - 1 : 0);
    char length[40];
    if (!last) {
        (void)snprintf(text, size, "-");
        return;
    }
    (void)snprintf(text, size, "%.3g at %s", lh_result_number(last, "milliseconds_per_token"),
                   lh_format_count(length, sizeof length, lh_result_number(last, "length")));
}

static void table_row(const json_t *results, const json_t *method, lh_string *out)
{
    const char *name = lh_result_text(method, "name");
    char value[48], a[40], b[40], c[40], d[40], e[40], f[40], cost[64];
    lh_result_spread held_out = lh_result_spread_of(results, name, "value");
    value_text(value, sizeof value, &held_out);
    cost_text(cost, sizeof cost, lh_result_run(results, name, "cost"));
    lh_string_print(
        out, "%-18.18s %18s %8s %10s %9s %9s %9s %9s  %s\n", name, value,
        count_text(a, sizeof a, lh_result_number(method, "parameters")),
        count_text(b, sizeof b, lh_result_number(method, "training_flops")),
        count_text(c, sizeof c, lh_result_spread_of(results, name, "training.tokens_per_second").mean),
        count_text(d, sizeof d, lh_result_spread_of(results, name, "evaluation.tokens_per_second").mean),
        bytes_text(e, sizeof e, lh_result_number(method, "state_bytes")),
        bytes_text(f, sizeof f, lh_result_spread_of(results, name, "training.peak_bytes").mean), cost);
}

void lh_compare_table(const json_t *results, lh_string *out)
{
    size_t i;
    json_t *item;
    const char *unit = lh_result_text(results, "unit_short");
    lh_string_print(out, "%-18s %18s %8s %10s %9s %9s %9s %9s  %s\n", "method", unit[0] ? unit : "held out",
                    "params", "flop/tok", "train t/s", "eval t/s", "state", "peak", "ms/token");
    json_array_foreach(json_object_get(results, "methods"), i, item)
    {
        table_row(results, item, out);
    }
    json_array_foreach(json_object_get(results, "runs"), i, item)
    {
        const json_t *error = json_object_get(item, "error");
        if (error) {
            lh_string_print(out, "failed: %s-%.0f (%s): %s\n", lh_result_text(item, "method"),
                            lh_result_number(item, "seed"), lh_result_text(error, "stage"),
                            lh_result_text(error, "sentence"));
        }
    }
}

/* ---- CSV ---- */

typedef struct column {
    const char *name, *path;
    bool of_method; /* the path starts at the method, not at the run */
} column;

static const column columns[] = {
    {"value", "value", false},
    {"bits_per_byte", "evaluation.bits_per_byte", false},
    {"nats_per_token", "evaluation.nats_per_token", false},
    {"word_perplexity", "evaluation.word_perplexity", false},
    {"accuracy", "evaluation.accuracy", false},
    {"evaluated_tokens", "evaluation.scored", false},
    {"evaluation_tokens_per_second", "evaluation.tokens_per_second", false},
    {"state_bytes", "state_bytes", true},
    {"state_and_running_segment_bytes", "evaluation.state_bytes", false},
    {"evaluation_peak_bytes", "evaluation.peak_bytes", false},
    {"training_steps", "training.step", false},
    {"training_tokens", "training.tokens", false},
    {"training_seconds", "training.seconds", false},
    {"training_tokens_per_second", "training.tokens_per_second", false},
    {"training_loss", "training.loss", false},
    {"validation", "training.validation", false},
    {"training_peak_bytes", "training.peak_bytes", false},
    {"parameters", "parameters", true},
    {"parameters_without_vocabulary", "body", true},
    {"forward_flops_per_token", "forward_flops", true},
    {"training_flops_per_token", "training_flops", true},
};

#define COLUMN_COUNT (sizeof columns / sizeof columns[0])

static void quoted(lh_string *out, const char *text)
{
    lh_string_append(out, "\"", 1);
    for (; *text; text++) {
        lh_string_append(out, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    }
    lh_string_append(out, "\"", 1);
}

static void number(lh_string *out, double value)
{
    if (!isfinite(value)) {
        lh_string_append(out, ",", 1);
    } else if (value == floor(value) && fabs(value) < 1e15) {
        lh_string_print(out, ",%.0f", value);
    } else {
        lh_string_print(out, ",%.9g", value);
    }
}

static const json_t *method_named(const json_t *results, const char *name)
{
    size_t i;
    json_t *method;
    json_array_foreach(json_object_get(results, "methods"), i, method)
    {
        if (strcmp(lh_result_text(method, "name"), name) == 0) {
            return method;
        }
    }
    return NULL;
}

static void csv_row(const json_t *results, const json_t *run, lh_string *out)
{
    const json_t *lengths = lh_result_at(results, "settings.lengths"), *length;
    const json_t *method = method_named(results, lh_result_text(run, "method"));
    size_t i;
    lh_string_print(out, "%s,%.0f,%s,%s", lh_result_text(run, "method"), lh_result_number(run, "seed"),
                    lh_result_text(run, "status"), lh_result_text(results, "unit"));
    for (i = 0; i < COLUMN_COUNT; i++) {
        number(out, lh_result_number(columns[i].of_method ? method : run, columns[i].path));
    }
    json_array_foreach(lengths, i, length)
    {
        number(out, lh_result_number(lh_result_point(run, json_integer_value(length)), "milliseconds_per_token"));
    }
    lh_string_append(out, ",", 1);
    quoted(out, lh_result_text(run, "error.sentence"));
    lh_string_append(out, "\n", 1);
}

void lh_compare_csv(const json_t *results, lh_string *out)
{
    size_t i;
    json_t *item;
    lh_string_print(out, "method,seed,status,unit");
    for (i = 0; i < COLUMN_COUNT; i++) {
        lh_string_print(out, ",%s", columns[i].name);
    }
    json_array_foreach(lh_result_at(results, "settings.lengths"), i, item)
    {
        lh_string_print(out, ",ms_per_token_at_%lld", (long long)json_integer_value(item));
    }
    lh_string_print(out, ",error\n");
    json_array_foreach(json_object_get(results, "runs"), i, item)
    {
        csv_row(results, item, out);
    }
}
