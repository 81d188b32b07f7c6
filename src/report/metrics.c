#include "report/metrics.h"

#include "base/file.h"
#include "base/memory.h"

#include <jansson.h>
#include <string.h>

static lh_status append(lh_curve *curve, int64_t *capacity, double x, double y, lh_error *error)
{
    if (curve->count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 256;
        double *xs = lh_heap_realloc(curve->x, sizeof *xs * (size_t)*capacity);
        curve->x = xs ? xs : curve->x;
        double *ys = lh_heap_realloc(curve->y, sizeof *ys * (size_t)*capacity);
        curve->y = ys ? ys : curve->y;
        if (!xs || !ys) {
            return lh_fail(error, LH_E_MEMORY, "no memory for a curve");
        }
    }
    curve->x[curve->count] = x;
    curve->y[curve->count++] = y;
    return LH_OK;
}

lh_status lh_curve_read(lh_curve *curve, const char *path, const char *key, lh_error *error)
{
    char *text;
    size_t size;
    int64_t capacity = 0;
    *curve = (lh_curve){0};
    LH_TRY(lh_file_read(path, (size_t)1 << 30, &text, &size, error));
    lh_status status = LH_OK;
    for (char *line = text; status == LH_OK && line < text + size;) {
        char *end = memchr(line, '\n', size - (size_t)(line - text));
        size_t length = end ? (size_t)(end - line) : size - (size_t)(line - text);
        json_error_t fault;
        json_t *object = length ? json_loadb(line, length, 0, &fault) : NULL;
        json_t *step = json_object_get(object, "step"), *value = json_object_get(object, key);
        if (json_is_number(step) && json_is_number(value)) {
            status = append(curve, &capacity, json_number_value(step), json_number_value(value), error);
        }
        json_decref(object);
        line += length + 1;
    }
    lh_heap_free(text);
    if (status != LH_OK) {
        lh_curve_free(curve);
    }
    return status;
}

void lh_curve_free(lh_curve *curve)
{
    lh_heap_free(curve->x);
    lh_heap_free(curve->y);
    *curve = (lh_curve){0};
}
