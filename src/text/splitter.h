/* Cutting text into pre-tokens with regular expressions, on any byte string and however the text arrives. */
#ifndef LH_TEXT_SPLITTER_H
#define LH_TEXT_SPLITTER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* A compiled expression. Constant: any number of splitters on any number of threads may use it. */
typedef struct lh_pattern lh_pattern;

/* Compiles with Unicode properties; \s means the property White_Space. `name` stands for the file in messages. An
 * expression that is no expression is LH_E_FORMAT. */
lh_status lh_pattern_compile(lh_pattern **pattern, const char *source, const char *name, lh_error *error);
void lh_pattern_free(lh_pattern *pattern);

typedef lh_status (*lh_piece_sink)(void *data, const unsigned char *bytes, size_t size, lh_error *error);

/* Cuts text at the matches of the first pattern: each match is a piece, and what lies between two matches is one
 * too; each piece is cut again by the next pattern, and so on; the last pieces go to the sink, in order. No pattern
 * matches across bytes that are no valid UTF-8: a run of such bytes is a piece by itself. A piece of the first
 * pattern never has more than LH_PRETOKEN_LIMIT bytes. The pieces of a text joined are always the text. */
typedef struct lh_splitter lh_splitter;

#define LH_SPLITTER_PATTERNS 8
lh_status lh_splitter_create(lh_splitter **splitter, const lh_pattern *const *patterns, size_t count,
                             lh_piece_sink sink, void *sink_data, lh_error *error);
lh_status lh_splitter_feed(lh_splitter *splitter, const unsigned char *bytes, size_t size, lh_error *error);
lh_status lh_splitter_finish(lh_splitter *splitter, lh_error *error); /* end of text; ready for the next one */
void lh_splitter_reset(lh_splitter *splitter);
void lh_splitter_free(lh_splitter *splitter);

#endif
