#include "compare/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

json_t *lh_result_at(const json_t *object, const char *path)
{
    const json_t *at = object;
    while (at && *path) {
        char key[64];
        size_t length = strcspn(path, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)(length < sizeof key ? length : sizeof key - 1), path);
        at = json_object_get(at, key);
        path += length + (path[length] == '.');
    }
    return (json_t *)(uintptr_t)at;
}

double lh_result_number(const json_t *object, const char *path)
{
    const json_t *value = lh_result_at(object, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *lh_result_text(const json_t *object, const char *path)
{
    const char *text = json_string_value(lh_result_at(object, path));
    return text ? text : "";
}

static bool is_of(const json_t *run, const char *method)
{
    return strcmp(lh_result_text(run, "method"), method) == 0;
}

lh_result_spread lh_result_spread_of(const json_t *results, const char *method, const char *path)
{
    lh_result_spread s = {.mean = NAN, .deviation = NAN};
    double sum = 0, squares = 0;
    size_t i;
    json_t *run;
    json_array_foreach(json_object_get(results, "runs"), i, run)
    {
        double value = is_of(run, method) ? lh_result_number(run, path) : NAN;
        if (isfinite(value)) {
            sum += value;
            s.runs++;
        }
    }
    if (s.runs == 0) {
        return s;
    }
    s.mean = sum / s.runs;
    json_array_foreach(json_object_get(results, "runs"), i, run)
    {
        double value = is_of(run, method) ? lh_result_number(run, path) : NAN;
        if (isfinite(value)) {
            squares += (value - s.mean) * (value - s.mean);
        }
    }
    s.deviation = s.runs > 1 ? sqrt(squares / (s.runs - 1)) : 0;
    return s;
}

bool lh_result_higher_is_better(const json_t *results)
{
    return strcmp(lh_result_text(results, "unit"), "accuracy") == 0;
}

const json_t *lh_result_run(const json_t *results, const char *method, const char *path)
{
    size_t i;
    json_t *run;
    json_array_foreach(json_object_get(results, "runs"), i, run)
    {
        if (is_of(run, method) && lh_result_at(run, path)) {
            return run;
        }
    }
    return NULL;
}

int lh_result_count(const json_t *results, const char *status)
{
    int count = 0;
    size_t i;
    json_t *run;
    json_array_foreach(json_object_get(results, "runs"), i, run)
    {
        count += strcmp(lh_result_text(run, "status"), status) == 0;
    }
    return count;
}

const json_t *lh_result_point(const json_t *run, int64_t length)
{
    size_t i;
    json_t *point;
    double segment = lh_result_number(run, "cost.segment");
    /* A length that is no whole number of segments is measured at the next one that is. */
    double wanted = segment > 0 ? ceil((double)length / segment) * segment : (double)length;
    json_array_foreach(lh_result_at(run, "cost.points"), i, point)
    {
        if (lh_result_number(point, "length") == wanted) {
            return point;
        }
    }
    return NULL;
}
