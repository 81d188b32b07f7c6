/* The public data sets that can be downloaded: where they are, what they are, and under which licence. */
#ifndef LH_DATA_CATALOG_H
#define LH_DATA_CATALOG_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* A file that is there in the end. */
typedef struct lh_catalog_file {
    const char *source; /* its path below the base address, or inside the archive */
    const char *name;   /* in the folder */
    uint64_t bytes;     /* 0 if not known */
    const char *digest; /* MD5, SHA-1 or SHA-256 in hexadecimal, or NULL */
} lh_catalog_file;

typedef struct lh_catalog_entry {
    const char *name, *title, *licence;
    const char *base_url;    /* with a slash at its end */
    lh_catalog_file archive; /* a zip archive with the files, or no source */
    lh_catalog_file files[4];
    bool books;     /* PG-19: metadata.csv, and the books it lists */
    uint64_t bytes; /* to download, about */
} lh_catalog_entry;

/* All entries; the last one has no name. */
extern const lh_catalog_entry lh_catalog[];

/* The entry with a name; LH_E_ARGUMENT with the nearest name otherwise. */
lh_status lh_catalog_find(const char *name, const lh_catalog_entry **entry, lh_error *error);

typedef struct lh_catalog_options {
    const char *base_url; /* instead of the entry's, or NULL */
    bool keep_archive;
    int split;     /* PG-19: only this split, or -1 */
    int64_t books; /* PG-19: at most so many of each split; 0: all */
    int parallel;  /* transfers at a time; 0: 8 for books, else 1 */
    int retries;   /* see lh_fetch_options */
    double pause;
    bool (*watch)(void *data, size_t files, size_t all_files, uint64_t bytes, uint64_t expected);
    void *watch_data;
} lh_catalog_options;

typedef struct lh_catalog_report {
    size_t files;    /* in the folder now */
    size_t there;    /* of them were there before */
    lh_string notes; /* release with lh_string_free */
} lh_catalog_report;

/* Brings a data set into a folder, which is created. What is there already is not fetched again; an interrupted or
 * killed call is continued by the next. Errors as lh_fetch, and LH_E_FORMAT for a damaged archive. */
lh_status lh_catalog_get(const lh_catalog_entry *entry, const char *folder, const lh_catalog_options *options,
                         lh_catalog_report *report, lh_error *error);

#endif
