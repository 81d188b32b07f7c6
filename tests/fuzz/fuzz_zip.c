/* Any bytes as a zip archive: refused, or every entry can be unpacked or says why not. */
#include "data/zip.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lh_status count_bytes(void *data, const void *bytes, size_t size, lh_error *error)
{
    const unsigned char *at = bytes;
    uint64_t *total = data;
    *total += size + (size > 0 ? at[0] + at[size - 1] : 0u);
    /* A small archive can hold gigabytes; some are enough here. */
    return *total < (1u << 22) ? LH_OK : lh_fail(error, LH_E_INTERRUPTED, "enough");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lh_zip zip;
    lh_error error = {0};
    if (lh_zip_read(&zip, data, size, "fuzz", &error) != LH_OK) {
        if (!error.message[0]) {
            abort();
        }
        return 0;
    }
    for (size_t i = 0; i < zip.count; i++) {
        uint64_t total = 0;
        lh_error inner = {0};
        if (lh_zip_unpack(&zip, &zip.entries[i], count_bytes, &total, &inner) != LH_OK && !inner.message[0]) {
            abort();
        }
    }
    lh_zip_close(&zip);
    return 0;
}
