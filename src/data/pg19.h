/* PG-19: what is known about its books. Rae et al. 2019, "Compressive Transformers for Long-Range Sequence
 * Modelling", section 4 and table 2; the public metadata.csv. */
#ifndef LH_DATA_PG19_H
#define LH_DATA_PG19_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { LH_PG19_BOOKS = 28752, LH_PG19_VALIDATION = 50, LH_PG19_TEST = 100 };

typedef enum lh_pg19_split {
    LH_PG19_SPLIT_TRAIN,
    LH_PG19_SPLIT_VALIDATION,
    LH_PG19_SPLIT_TEST,
} lh_pg19_split;

/* The split a book belongs to: the 50 validation and 100 test ids are known, every other id counts as training. */
lh_pg19_split lh_pg19_split_of(uint32_t id);

/* One row of metadata.csv. Titles usually end in " by Author". */
typedef struct lh_pg19_book {
    uint32_t id, year;
    char *title, *address;
} lh_pg19_book;

typedef struct lh_pg19_metadata {
    lh_pg19_book *books; /* [count], ascending ids */
    size_t count;
    char *text; /* what the strings lie in */
} lh_pg19_metadata;

/* Reads metadata.csv, which may be compressed: no header line, four fields id,title,year,address, no quotes. A row
 * with other fields, an id twice, or a year that is no number is LH_E_FORMAT with the line. */
lh_status lh_pg19_metadata_read(lh_pg19_metadata *metadata, const char *path, lh_error *error);
void lh_pg19_metadata_free(lh_pg19_metadata *metadata);

/* The book with an id, or NULL. */
const lh_pg19_book *lh_pg19_find(const lh_pg19_metadata *metadata, uint32_t id);

#endif
