/* MD5, SHA-1 and SHA-256 of a stream of bytes: the checksums that publishers of data sets print.
 * RFC 1321 and FIPS 180-4. They find damage, not malice: nothing here relies on MD5 or SHA-1 being hard to forge.
 */
#ifndef LH_DATA_DIGEST_H
#define LH_DATA_DIGEST_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum lh_digest_kind { LH_DIGEST_MD5, LH_DIGEST_SHA1, LH_DIGEST_SHA256 } lh_digest_kind;

#define LH_DIGEST_HEX 65 /* room for the longest digest in hexadecimal and a NUL */

/* Plain data: copy it to save it. */
typedef struct lh_digest {
    lh_digest_kind kind;
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64];
} lh_digest;

lh_digest lh_digest_start(lh_digest_kind kind);
void lh_digest_update(lh_digest *digest, const void *bytes, size_t size);

/* The digest in lower-case hexadecimal, NUL-terminated. The state is spent. */
void lh_digest_finish(lh_digest *digest, char hex[LH_DIGEST_HEX]);

/* Which digest a hexadecimal string of this length is (32, 40 or 64 digits); false for any other text. */
bool lh_digest_kind_of(const char *hex, lh_digest_kind *kind);
const char *lh_digest_name(lh_digest_kind kind); /* "MD5", "SHA-1", "SHA-256" */

/* The digest of a file's bytes. */
lh_status lh_digest_file(const char *path, lh_digest_kind kind, char hex[LH_DIGEST_HEX], lh_error *error);

#endif
