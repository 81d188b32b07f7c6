/* JSON Lines: one JSON object a line, the text of a document under one of its keys. */
#ifndef LH_DATA_JSONL_H
#define LH_DATA_JSONL_H

#include "base/error.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

/* Replaces *text by the string under `field`, or the strings of a list there, a line each, and *title by the one
 * under "title", empty if there is none. A line that is no JSON object, or has no string there, is LH_E_FORMAT with
 * `path` and `number`. */
lh_status lh_json_line_parse(const char *line, size_t size, const char *field, const char *path, uint64_t number,
                             lh_string *text, lh_string *title, lh_error *error);

#endif
