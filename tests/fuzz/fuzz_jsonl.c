/* Any text as metrics.jsonl. */
#include "formats/jsonl.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lh_status visit(void *user, const json_t *object, int64_t line, lh_error *error)
{
    (void)error;
    int64_t *last = user;
    if (!json_is_object(object) || line <= *last) {
        abort();
    }
    *last = line;
    return LH_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t last = 0;
    lh_error error = {0};
    lh_status status = lh_jsonl_read_memory("fuzz", (const char *)data, size, visit, &last, &error);
    if (status != LH_OK && (status != LH_E_FORMAT || !error.message[0])) {
        abort();
    }
    return 0;
}
