#include "base/memory.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_internal.h"

#include <inttypes.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lh_checkpoint {
    lh_safetensors *file;
    int64_t step;
};

char *checkpoint_find_seal(char *header, size_t size)
{
    static const char key[] = "\"header_checksum\":\"";
    size_t length = sizeof key - 1;
    for (size_t i = 0; i + length + CHECKPOINT_DIGITS < size; i++) {
        if (header[i] == '"' && memcmp(header + i, key, length) == 0) {
            return header + i + length;
        }
    }
    return NULL;
}

/* The checksum of the first `size` bytes of the file with zeros in place of the seal. */
static lh_status check_seal(const lh_safetensors *file, const char *name, lh_error *error)
{
    size_t size = 0;
    const char *header = lh_safetensors_header(file, &size);
    uint64_t length = size;
    char *copy = lh_heap_alloc(size + sizeof length);
    if (!copy) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to check its header", name);
    }
    memcpy(copy, &length, sizeof length);
    memcpy(copy + sizeof length, header, size);
    size += sizeof length;
    char *place = checkpoint_find_seal(copy, size);
    char found[CHECKPOINT_DIGITS + 1] = "", expected[CHECKPOINT_DIGITS + 1] = "";
    if (place) {
        memcpy(found, place, CHECKPOINT_DIGITS);
        memcpy(place, CHECKPOINT_UNSEALED, CHECKPOINT_DIGITS);
    }
    (void)snprintf(expected, sizeof expected, "%016" PRIx64, lzma_crc64((const uint8_t *)copy, size, 0));
    lh_heap_free(copy);
    if (memcmp(found, expected, CHECKPOINT_DIGITS) != 0) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: the header of this checkpoint is damaged (its checksum is %s, not %s)", name, expected,
                       found);
    }
    return LH_OK;
}

static lh_status check_tensors(const lh_safetensors *file, const char *name, lh_error *error)
{
    const char *digits = lh_safetensors_metadata(file, "tensor_checksums");
    size_t count = lh_safetensors_count(file);
    if (!digits || strlen(digits) != count * CHECKPOINT_DIGITS) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: this checkpoint does not have one checksum for each of its %zu tensors", name, count);
    }
    for (size_t i = 0; i < count; i++) {
        const lh_safetensors_tensor *tensor = lh_safetensors_at(file, i);
        char expected[CHECKPOINT_DIGITS + 1];
        (void)snprintf(expected, sizeof expected, "%016" PRIx64, lzma_crc64(tensor->data, tensor->bytes, 0));
        if (memcmp(expected, digits + i * CHECKPOINT_DIGITS, CHECKPOINT_DIGITS) != 0) {
            return lh_fail(error, LH_E_FORMAT,
                           "%s: the data of tensor '%s' is damaged (its checksum is %s, not %.16s)", name,
                           tensor->name, expected, digits + i * CHECKPOINT_DIGITS);
        }
    }
    return LH_OK;
}

static lh_status check(lh_checkpoint *checkpoint, const char *name, lh_error *error)
{
    const char *format = lh_safetensors_metadata(checkpoint->file, "format");
    if (!format || strncmp(format, "longhand-checkpoint", strlen("longhand-checkpoint")) != 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: a safetensors file, but not a checkpoint of longhand", name);
    }
    LH_TRY(check_seal(checkpoint->file, name, error));
    if (strcmp(format, CHECKPOINT_FORMAT) != 0) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s: a checkpoint of kind '%s'; this version reads '%s'", name,
                       format, CHECKPOINT_FORMAT);
    }
    LH_TRY(check_tensors(checkpoint->file, name, error));
    const char *step = lh_safetensors_metadata(checkpoint->file, "step");
    char *end = NULL;
    checkpoint->step = step ? strtoll(step, &end, 10) : -1;
    if (!step || end == step || *end != '\0' || checkpoint->step < 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: this checkpoint does not say its step", name);
    }
    return LH_OK;
}

static lh_status adopt(lh_checkpoint **checkpoint, lh_safetensors *file, const char *name, lh_error *error)
{
    *checkpoint = NULL;
    lh_checkpoint *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        lh_safetensors_close(file);
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to open it", name);
    }
    fresh->file = file;
    lh_status status = check(fresh, name, error);
    if (status != LH_OK) {
        lh_checkpoint_close(fresh);
        return status;
    }
    *checkpoint = fresh;
    return LH_OK;
}

lh_status lh_checkpoint_open(lh_checkpoint **checkpoint, const char *path, lh_error *error)
{
    lh_safetensors *file = NULL;
    *checkpoint = NULL;
    LH_TRY(lh_safetensors_open(&file, path, error));
    return adopt(checkpoint, file, path, error);
}

lh_status lh_checkpoint_open_memory(lh_checkpoint **checkpoint, const char *name, const void *data, size_t size,
                                    lh_error *error)
{
    lh_safetensors *file = NULL;
    *checkpoint = NULL;
    LH_TRY(lh_safetensors_open_memory(&file, name, data, size, error));
    return adopt(checkpoint, file, name, error);
}

void lh_checkpoint_close(lh_checkpoint *checkpoint)
{
    if (checkpoint) {
        lh_safetensors_close(checkpoint->file);
        lh_heap_free(checkpoint);
    }
}

int64_t lh_checkpoint_step(const lh_checkpoint *checkpoint)
{
    return checkpoint->step;
}

const lh_safetensors *lh_checkpoint_file(const lh_checkpoint *checkpoint)
{
    return checkpoint->file;
}

lh_status lh_checkpoint_integer(const lh_checkpoint *checkpoint, const char *name, int64_t *value, lh_error *error)
{
    return lh_safetensors_load(checkpoint->file, name, LH_SAFETENSORS_I64, 0, NULL, value, error);
}

lh_status lh_checkpoint_real(const lh_checkpoint *checkpoint, const char *name, double *value, lh_error *error)
{
    return lh_safetensors_load(checkpoint->file, name, LH_SAFETENSORS_F64, 0, NULL, value, error);
}

lh_status lh_checkpoint_blob(const lh_checkpoint *checkpoint, const char *name, const void **data, size_t *bytes,
                             lh_error *error)
{
    const lh_safetensors_tensor *tensor = NULL;
    LH_TRY(lh_safetensors_need(checkpoint->file, name, &tensor, error));
    if (tensor->dtype != LH_SAFETENSORS_U8 || tensor->ndim != 1) {
        char found[256];
        return lh_fail(error, LH_E_SHAPE, "checkpoint of step %" PRId64 ": '%s' is %s, but a U8 vector is expected",
                       checkpoint->step, name,
                       lh_safetensors_describe(tensor->dtype, tensor->ndim, tensor->shape, found, sizeof found));
    }
    *data = tensor->data;
    *bytes = tensor->bytes;
    return LH_OK;
}

lh_status lh_checkpoint_load_blob(const lh_checkpoint *checkpoint, const char *name, void *buffer, size_t bytes,
                                  lh_error *error)
{
    int64_t shape = (int64_t)bytes;
    return lh_safetensors_load(checkpoint->file, name, LH_SAFETENSORS_U8, 1, &shape, buffer, error);
}
