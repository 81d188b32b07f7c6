/* TensorBoard event files, written.
 *
 * A file is a sequence of records: length (64 bits), masked CRC-32C of the length, payload, masked CRC-32C of the
 * payload; each payload is a protocol-buffer message Event (TensorFlow's event.proto and summary.proto):
 *   Event:   1 wall_time double, 2 step int64, 3 file_version string, 5 summary message, 7 session_log message
 *   Summary: repeated 1 value message { 1 tag string, 2 simple_value float }
 *   SessionLog: 1 status enum (START = 1) */
#ifndef LH_FORMATS_TFEVENTS_H
#define LH_FORMATS_TFEVENTS_H

#include "base/error.h"

#include <stdint.h>

typedef struct lh_tfevents lh_tfevents;

typedef struct lh_tfevents_scalar {
    const char *tag; /* "train/loss" */
    double value;    /* stored as a 32-bit float */
} lh_tfevents_scalar;

/* Starts a new event file in the directory, named so that viewers read it after those already there. Nothing in
 * older files is touched: a session-start record tells viewers to drop what they hold of steps from `first_step`
 * on, which is how a resumed run replaces the steps that it repeats. */
lh_status lh_tfevents_open(lh_tfevents **events, const char *directory, int64_t first_step, lh_error *error);

/* Appends one event with all the scalars, completely or not at all. */
lh_status lh_tfevents_add(lh_tfevents *events, int64_t step, const lh_tfevents_scalar *scalars, size_t count,
                          lh_error *error);

/* The path of the file in writing. */
const char *lh_tfevents_path(const lh_tfevents *events);
void lh_tfevents_close(lh_tfevents *events); /* NULL is fine */

/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78). */
uint32_t lh_crc32c(const void *data, size_t size);

#endif
