/* Unicode normalization form C (Unicode Standard Annex 15) of a stream of bytes. */
#ifndef LH_TEXT_NORMALIZE_H
#define LH_TEXT_NORMALIZE_H

#include "base/error.h"

#include <stddef.h>

typedef lh_status (*lh_text_sink)(void *data, const unsigned char *bytes, size_t size, lh_error *error);

/* Gives the sink the text in form C. Bytes that are no valid UTF-8 pass unchanged. Runs of more than 256 combining
 * marks are normalized in parts (as UAX 15 section 12 does for its own, smaller limit), so that time stays linear.
 */
typedef struct lh_normalizer lh_normalizer;

lh_status lh_normalizer_create(lh_normalizer **normalizer, lh_text_sink sink, void *sink_data, lh_error *error);
lh_status lh_normalizer_feed(lh_normalizer *normalizer, const unsigned char *bytes, size_t size, lh_error *error);
lh_status lh_normalizer_finish(lh_normalizer *normalizer, lh_error *error);
void lh_normalizer_reset(lh_normalizer *normalizer);
void lh_normalizer_free(lh_normalizer *normalizer);

#endif
