/* Any bytes as a safetensors file: refused with a message, or every view is readable and the file, written again
 * and read, is the same. */
#include "formats/safetensors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned sum_of(const lh_safetensors_tensor *tensor)
{
    unsigned sum = 0;
    const unsigned char *bytes = tensor->data;
    for (size_t i = 0; i < tensor->bytes; i++) {
        sum = sum * 31 + bytes[i];
    }
    return sum;
}

/* What the writer makes of the tensors must have the reader's approval. */
static void check_header(const lh_safetensors *file)
{
    size_t count = lh_safetensors_count(file), pairs = lh_safetensors_metadata_count(file);
    lh_safetensors_tensor *tensors = calloc(count + 1, sizeof *tensors);
    lh_safetensors_pair *metadata = calloc(pairs + 1, sizeof *metadata);
    size_t *order = calloc(count + 1, sizeof *order);
    lh_string image = {0};
    lh_safetensors *again = NULL;
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *lh_safetensors_at(file, i);
    }
    for (size_t i = 0; i < pairs; i++) {
        metadata[i] = lh_safetensors_metadata_at(file, i);
    }
    if (lh_safetensors_order("fuzz", tensors, count, order, NULL) != LH_OK ||
        lh_safetensors_build_header("fuzz", tensors, count, order, metadata, pairs, &image, NULL) != LH_OK) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        lh_string_append(&image, tensors[order[i]].data, tensors[order[i]].bytes);
    }
    if (lh_safetensors_open_memory(&again, "again", image.data, image.size, NULL) != LH_OK ||
        lh_safetensors_count(again) != count || lh_safetensors_metadata_count(again) != pairs) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        const lh_safetensors_tensor *same = lh_safetensors_find(again, tensors[i].name);
        if (!same || same->bytes != tensors[i].bytes || sum_of(same) != sum_of(&tensors[i])) {
            abort();
        }
    }
    lh_safetensors_close(again);
    lh_string_free(&image);
    free(order);
    free(metadata);
    free(tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lh_safetensors *file = NULL;
    lh_error error = {0};
    if (lh_safetensors_open_memory(&file, "fuzz", data, size, &error) != LH_OK) {
        if (file || !error.message[0]) {
            abort();
        }
        return 0;
    }
    check_header(file);
    lh_safetensors_close(file);
    return 0;
}
