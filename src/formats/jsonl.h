/* metrics.jsonl: one JSON object a line, appended while a run goes on, cut back when it resumes. */
#ifndef LH_FORMATS_JSONL_H
#define LH_FORMATS_JSONL_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct lh_jsonl lh_jsonl;

#define LH_JSONL_KEEP_ALL INT64_MAX

/* Opens for appending. In a file that is there already, a torn last line is cut off, and so is everything from the
 * first line whose "step" is past `last_step`: what a run wrote after the checkpoint that it now resumes from. */
lh_status lh_jsonl_open(lh_jsonl **log, const char *path, int64_t last_step, lh_error *error);
void lh_jsonl_close(lh_jsonl *log); /* NULL is fine */

/* Members of the line in the making, in the order of the calls. Reals are written with as many digits as reading
 * back the same double takes; NaN and the infinities as null. Bytes of a string that are no UTF-8 become U+FFFD. */
void lh_jsonl_integer(lh_jsonl *log, const char *key, int64_t value);
void lh_jsonl_real(lh_jsonl *log, const char *key, double value);
void lh_jsonl_boolean(lh_jsonl *log, const char *key, bool value);
void lh_jsonl_string(lh_jsonl *log, const char *key, const char *value);

/* Appends the line to the file, completely or not at all, and starts the next. After the first lines of a run no
 * memory is asked for. */
lh_status lh_jsonl_end(lh_jsonl *log, lh_error *error);

/* Calls `visit` for each line's object, lines counted from 1; blank lines are passed over, and so is a last line
 * that is torn, as in a file that is being written. Any other line that is no JSON object is LH_E_FORMAT with its
 * number. A status other than LH_OK of `visit` ends the reading and is returned. */
typedef lh_status (*lh_jsonl_visit)(void *user, const json_t *object, int64_t line, lh_error *error);
lh_status lh_jsonl_read(const char *path, lh_jsonl_visit visit, void *user, lh_error *error);
/* As above on text in memory; `name` stands for the file in messages. */
lh_status lh_jsonl_read_memory(const char *name, const char *text, size_t size, lh_jsonl_visit visit, void *user,
                               lh_error *error);

#endif
