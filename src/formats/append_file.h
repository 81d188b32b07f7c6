/* A log file that grows by whole records: a record is in the file completely or, if the disk is full, not at all.
 */
#ifndef LH_FORMATS_APPEND_FILE_H
#define LH_FORMATS_APPEND_FILE_H

#include "base/error.h"

#include <stdbool.h>

typedef struct lh_append_file {
    int descriptor; /* -1: closed */
    char *path;
    int64_t size; /* bytes up to the end of the last whole record */
    bool torn;    /* part of a failed record may lie behind them */
} lh_append_file;

/* Opens for appending, creating the file if it is not there; with `must_be_new` an existing file is an error. */
lh_status lh_append_open(lh_append_file *file, const char *path, bool must_be_new, lh_error *error);

/* Cuts the file to `size` bytes. */
lh_status lh_append_truncate(lh_append_file *file, int64_t size, lh_error *error);

/* Hands one record to the operating system, so that it survives the end of this process. On failure what was
 * written of it is cut off again, now or before the next record. */
lh_status lh_append_write(lh_append_file *file, const void *data, size_t bytes, lh_error *error);

void lh_append_close(lh_append_file *file); /* safe on a file whose opening failed */

#endif
