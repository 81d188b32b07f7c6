/* Downloads over HTTP: several at a time, resumed where they stopped, checked, and complete or not there at all. */
#ifndef LH_DATA_FETCH_H
#define LH_DATA_FETCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One file to get. It grows as PATH.part and is renamed when it is complete and checked. */
typedef struct lh_fetch_item {
    const char *url, *path;
    uint64_t bytes;     /* expected size, or 0 */
    const char *digest; /* expected MD5, SHA-1 or SHA-256 in hexadecimal, or NULL */
} lh_fetch_item;

typedef struct lh_fetch_options {
    int parallel; /* transfers at a time; 0: 1 */
    int retries;  /* attempts after the first that brought nothing new; 0: 5, negative: none */
    double pause; /* seconds before the first retry, doubled for each further one; 0: 0.5 */
    /* Called several times a second: files complete, bytes received in this call, bytes still known to come (0 if
     * unknown). False stops with LH_E_INTERRUPTED; partial files stay for the next call. May be NULL. */
    bool (*watch)(void *data, size_t files, uint64_t bytes, uint64_t expected);
    void *watch_data;
} lh_fetch_options;

/* Gets all files that are not there yet. A file that exists under its final name is taken as complete. A server
 * that sends an MD5 in an x-goog-hash header is held to it. Errors: LH_E_NETWORK with the address (no answer,
 * refused, still failing after all retries), LH_E_FORMAT (another size or checksum than expected), LH_E_IO. The
 * files that were complete before the failure stay. */
lh_status lh_fetch(const lh_fetch_item *items, size_t count, const lh_fetch_options *options, lh_error *error);

#endif
