/* Any bytes as a checkpoint. The checksums keep a fuzzer out, so the input is also sealed: its header's checksum is
 * set right before the second try. */
#include "formats/checkpoint.h"
#include "formats/checkpoint_internal.h"

#include <inttypes.h>
#include <lzma.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_to_open(const void *data, size_t size)
{
    lh_checkpoint *checkpoint = NULL;
    lh_error error = {0};
    if (lh_checkpoint_open_memory(&checkpoint, "fuzz", data, size, &error) != LH_OK) {
        if (checkpoint || !error.message[0]) {
            abort();
        }
        return;
    }
    int64_t integer = 0;
    double real = 0;
    char buffer[24];
    (void)lh_checkpoint_integer(checkpoint, "train.tokens", &integer, NULL);
    (void)lh_checkpoint_real(checkpoint, "train.loss", &real, NULL);
    (void)lh_checkpoint_load_blob(checkpoint, "train.random", buffer, sizeof buffer, NULL);
    if (lh_checkpoint_step(checkpoint) < 0) {
        abort();
    }
    lh_checkpoint_close(checkpoint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t length = 0;
    try_to_open(data, size);
    if (size > 8) {
        memcpy(&length, data, 8);
    }
    if (length == 0 || length > size - 8) {
        return 0;
    }
    char *copy = malloc(size);
    memcpy(copy, data, size);
    char *seal = checkpoint_find_seal(copy, (size_t)length + 8);
    if (seal) {
        char digits[CHECKPOINT_DIGITS + 1];
        memcpy(seal, CHECKPOINT_UNSEALED, CHECKPOINT_DIGITS);
        (void)snprintf(digits, sizeof digits, "%016" PRIx64,
                       lzma_crc64((const uint8_t *)copy, (size_t)length + 8, 0));
        memcpy(seal, digits, CHECKPOINT_DIGITS);
        try_to_open(copy, size);
    }
    free(copy);
    return 0;
}
