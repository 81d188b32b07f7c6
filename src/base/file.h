/* Files: whole reads, memory maps, and writes that are complete or not there at all. */
#ifndef LH_BASE_FILE_H
#define LH_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>

/* A read-only mapping of a whole file. An empty file gives size 0 and a valid pointer. */
typedef struct lh_mapping {
    const unsigned char *data;
    size_t size;
} lh_mapping;

lh_status lh_mapping_open(lh_mapping *mapping, const char *path, lh_error *error);
void lh_mapping_close(lh_mapping *mapping);

/* Reads a whole file into fresh memory with a NUL after the last byte (lh_heap_free it). Refuses more than `limit`
 * bytes; limit 0 means no limit. */
lh_status lh_file_read(const char *path, size_t limit, char **text, size_t *size, lh_error *error);

/* An atomic write: bytes go to a temporary file beside `path`; commit flushes, fsyncs, renames and fsyncs the
 * directory. Any failure, a full disk included, leaves the old file as it was. */
typedef struct lh_atomic_file {
    FILE *stream;
    char *path, *temporary;
} lh_atomic_file;

lh_status lh_atomic_open(lh_atomic_file *file, const char *path, lh_error *error);
lh_status lh_atomic_write(lh_atomic_file *file, const void *data, size_t bytes, lh_error *error);
lh_status lh_atomic_commit(lh_atomic_file *file, lh_error *error); /* closes the file in every case */
void lh_atomic_discard(lh_atomic_file *file);                      /* safe after commit and on a zeroed struct */

/* Writes one whole file atomically. */
lh_status lh_file_write(const char *path, const void *data, size_t bytes, lh_error *error);

/* mkdir -p. An existing directory is fine. */
lh_status lh_directory_create(const char *path, lh_error *error);
bool lh_file_exists(const char *path);
bool lh_directory_exists(const char *path);

/* "directory/name" in fresh memory, or NULL. */
char *lh_path_join(const char *directory, const char *name);

/* Names (not paths) of the entries of a directory in byte order, without . and .. ; a NULL-terminated list to be
 * released with lh_name_list_free. */
lh_status lh_directory_list(const char *path, char ***names, size_t *count, lh_error *error);
void lh_name_list_free(char **names);

#endif
