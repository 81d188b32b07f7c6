/* A text as a stream of bytes: from a file or standard input, plain or compressed. */
#ifndef LH_DATA_READER_H
#define LH_DATA_READER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lh_reader lh_reader;

/* Opens `path`; "-" is standard input. The first bytes decide whether it is gzip, zstd, xz or plain. A name that
 * ends in .gz, .zst or .xz must hold what it says, so that a damaged file is not taken for text. Memory is bounded
 * by the window that the compressed stream asks for (zstd up to 128 MiB, xz up to 512 MiB). */
lh_status lh_reader_open(lh_reader **reader, const char *path, lh_error *error);

/* Fills as much of `buffer` as there is text left; *got < capacity only at the end. Truncated and damaged streams
 * are LH_E_FORMAT with the path. */
lh_status lh_reader_read(lh_reader *reader, void *buffer, size_t capacity, size_t *got, lh_error *error);

/* Moves forward by `bytes` of text. LH_E_FORMAT if the text ends before. */
lh_status lh_reader_skip(lh_reader *reader, uint64_t bytes, lh_error *error);

/* Bytes of the file itself taken so far: for progress. */
uint64_t lh_reader_consumed(const lh_reader *reader);

const char *lh_reader_format(const lh_reader *reader); /* "plain", "gzip", "zstd" or "xz" */

void lh_reader_free(lh_reader *reader);

#endif
