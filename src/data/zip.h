/* Reading zip archives: files that are stored or deflated, found through the central directory. No encryption, no
 * archives of more than 4 GiB (zip64), no split archives. APPNOTE.TXT 6.3, sections 4.3 and 4.4. */
#ifndef LH_DATA_ZIP_H
#define LH_DATA_ZIP_H

#include "base/file.h"

#include <stdint.h>

typedef struct lh_zip_entry {
    const char *name; /* not NUL-terminated */
    uint32_t name_size;
    uint16_t method; /* 0 stored, 8 deflated */
    uint32_t crc;
    uint64_t packed, bytes;
    uint64_t header; /* where the local header begins */
} lh_zip_entry;

typedef struct lh_zip {
    char *path;
    lh_mapping mapping;
    lh_zip_entry *entries; /* [count] */
    size_t count;
    bool borrowed; /* the bytes are the caller's */
} lh_zip;

/* LH_E_FORMAT for anything that is not a whole zip archive, LH_E_UNSUPPORTED for the kinds above. */
lh_status lh_zip_open(lh_zip *zip, const char *path, lh_error *error);

/* The same for bytes in memory, which must live as long as the zip; `name` stands for the file in messages. */
lh_status lh_zip_read(lh_zip *zip, const void *bytes, size_t size, const char *name, lh_error *error);
void lh_zip_close(lh_zip *zip);

/* The entry with a name, or NULL. */
const lh_zip_entry *lh_zip_find(const lh_zip *zip, const char *name);

/* Unpacks one entry into a file, atomically, and checks its size and CRC-32. */
lh_status lh_zip_extract(const lh_zip *zip, const lh_zip_entry *entry, const char *path, lh_error *error);

/* As above, into a function that is given piece by piece; what it returns other than LH_OK ends the work. */
typedef lh_status (*lh_zip_sink)(void *data, const void *bytes, size_t size, lh_error *error);
lh_status lh_zip_unpack(const lh_zip *zip, const lh_zip_entry *entry, lh_zip_sink sink, void *data,
                        lh_error *error);

#endif
