/* Lists of notes in JSON. */
#include "formats/json_util.h"
#include "text/performance.h"

#include <math.h>

/* The i-th number of a row; false if it is none or not within the bounds. */
static bool number(const json_t *row, size_t i, double low, double high, double *value)
{
    const json_t *item = json_array_get(row, i);
    *value = json_is_number(item) ? json_number_value(item) : NAN;
    return *value >= low && *value <= high;
}

static lh_status read_notes(lh_performance *p, const json_t *list, const char *name, lh_error *error)
{
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row)
    {
        double start, end, pitch, velocity;
        bool good = json_array_size(row) == 4 && number(row, 0, 0, 1e9, &start) && number(row, 1, 0, 1e9, &end) &&
                    number(row, 2, 0, 127, &pitch) && number(row, 3, 1, 127, &velocity) && end >= start;
        if (!good) {
            return lh_fail(
                error, LH_E_FORMAT,
                "%s: note %zu is no [start, end, pitch, velocity] with 0 <= start <= end in seconds, pitch "
                "0..127 and velocity 1..127",
                name, i);
        }
        lh_note note = {.start = start, .end = end, .pitch = (int)pitch, .velocity = (int)velocity};
        LH_TRY(lh_performance_add_note(p, note, error));
    }
    return LH_OK;
}

static lh_status read_pedals(lh_performance *p, const json_t *list, const char *name, lh_error *error)
{
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row)
    {
        double time, value;
        if (json_array_size(row) != 2 || !number(row, 0, 0, 1e9, &time) || !number(row, 1, 0, 127, &value)) {
            return lh_fail(error, LH_E_FORMAT, "%s: pedal %zu is no [time, value] with value 0..127", name, i);
        }
        LH_TRY(lh_performance_add_pedal(p, (lh_pedal){.time = time, .down = value >= 64}, error));
    }
    return LH_OK;
}

lh_status lh_performance_read_json(lh_performance *performance, const char *text, size_t size, const char *name,
                                   lh_error *error)
{
    json_t *root;
    LH_TRY(lh_json_parse(text, size, name, &root, error));
    const json_t *notes = json_is_array(root) ? root : json_object_get(root, "notes");
    lh_status status = json_is_array(notes)
                           ? read_notes(performance, notes, name, error)
                           : lh_fail(error, LH_E_FORMAT, "%s: there is no list of notes in it", name);
    if (status == LH_OK && json_is_object(root)) {
        status = read_pedals(performance, json_object_get(root, "pedal"), name, error);
    }
    json_decref(root);
    return status;
}
