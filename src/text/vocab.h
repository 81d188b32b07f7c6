/* The table of tokens: id -> bytes and bytes -> id. */
#ifndef LH_TEXT_VOCAB_H
#define LH_TEXT_VOCAB_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lh_vocab {
    unsigned char *pool;
    size_t pool_size, pool_capacity;
    uint64_t *offset; /* [capacity] into pool */
    uint32_t *length; /* [capacity] bytes; LH_VOCAB_HOLE: no token has this id */
    int32_t count, capacity;
    int32_t *table; /* open addressing by bytes, -1 empty */
    size_t table_size, table_used;
} lh_vocab;

#define LH_VOCAB_HOLE UINT32_MAX

/* Gives `id` these bytes; ids between the old count and `id` become holes. `searchable` puts it in the bytes -> id
 * table. The caller has checked that the id is a hole and, if searchable, that the bytes are new. */
lh_status lh_vocab_put(lh_vocab *vocab, int32_t id, const void *bytes, size_t size, bool searchable,
                       lh_error *error);

/* The id of these bytes, or -1. */
int32_t lh_vocab_find(const lh_vocab *vocab, const void *bytes, size_t size);

/* The bytes of an id, or NULL for a hole or an id outside the table. */
const unsigned char *lh_vocab_get(const lh_vocab *vocab, int32_t id, size_t *size);

void lh_vocab_free(lh_vocab *vocab);

#endif
