#include "base/memory.h"
#include "formats/json_util.h"
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

lh_safetensors_dtype lh_safetensors_dtype_of(lh_dtype dtype)
{
    static const lh_safetensors_dtype on_disk[LH_DTYPE_COUNT] = {
        [LH_F32] = LH_SAFETENSORS_F32,   [LH_F64] = LH_SAFETENSORS_F64, [LH_F16] = LH_SAFETENSORS_F16,
        [LH_BF16] = LH_SAFETENSORS_BF16, [LH_I32] = LH_SAFETENSORS_I32, [LH_I8] = LH_SAFETENSORS_I8,
        [LH_U8] = LH_SAFETENSORS_U8};
    return on_disk[dtype];
}

#define LENGTH_BYTES 8
#define DATA_ALIGNMENT 8

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);
    json_decref(string);
    return string != NULL;
}

/* `names` is sorted here. */
static lh_status check_names(const char *path, const char *what, const char **names, size_t count, lh_error *error)
{
    qsort(names, count, sizeof *names, by_bytes);
    for (size_t i = 0; i < count; i++) {
        if (!is_utf8(names[i])) {
            return lh_fail(error, LH_E_ARGUMENT, "%s: a %s name is not valid UTF-8", path, what);
        }
        if (i && strcmp(names[i - 1], names[i]) == 0) {
            return lh_fail(error, LH_E_ARGUMENT, "%s: two %ss are named '%s'", path, what, names[i]);
        }
    }
    return LH_OK;
}

static lh_status check_tensors(const char *path, const lh_safetensors_tensor *tensors, size_t count,
                               lh_error *error)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;
        if (strcmp(tensors[i].name, "__metadata__") == 0) {
            return lh_fail(error, LH_E_ARGUMENT, "%s: a tensor cannot be named __metadata__", path);
        }
        if (!lh_safetensors_size(tensors[i].dtype, tensors[i].ndim, tensors[i].shape, &bytes) ||
            bytes > INT64_MAX - total) {
            return lh_fail(error, LH_E_ARGUMENT, "%s: tensor '%s' has no valid dtype and shape", path,
                           tensors[i].name);
        }
        if (bytes && !tensors[i].data) {
            return lh_fail(error, LH_E_ARGUMENT, "%s: tensor '%s' has no data", path, tensors[i].name);
        }
        total += bytes;
    }
    return LH_OK;
}

lh_status lh_safetensors_order(const char *path, const lh_safetensors_tensor *tensors, size_t count, size_t *order,
                               lh_error *error)
{
    LH_TRY(check_tensors(path, tensors, count, error));
    const char **names = lh_heap_alloc(count * sizeof *names);
    if (!names) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to write %zu tensors", path, count);
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = tensors[i].name;
    }
    lh_status status = check_names(path, "tensor", names, count, error);
    lh_heap_free(names);
    LH_TRY(status);
    size_t placed = 0;
    for (size_t size = 8; size > 0; size /= 2) {
        for (size_t i = 0; i < count; i++) {
            if (lh_safetensors_dtype_size(tensors[i].dtype) == size) {
                order[placed++] = i;
            }
        }
    }
    return LH_OK;
}

static lh_status append_metadata(const char *path, const lh_safetensors_pair *metadata, size_t count,
                                 lh_string *header, lh_error *error)
{
    const char **keys = lh_heap_alloc(count * sizeof *keys);
    if (!keys) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to write its metadata", path);
    }
    for (size_t i = 0; i < count; i++) {
        keys[i] = metadata[i].key;
    }
    lh_status status = check_names(path, "metadata key", keys, count, error);
    lh_heap_free(keys);
    LH_TRY(status);
    lh_string_append(header, "\"__metadata__\":{", 16);
    for (size_t i = 0; i < count; i++) {
        if (!is_utf8(metadata[i].value)) {
            return lh_fail(error, LH_E_ARGUMENT, "%s: the value of metadata key '%s' is not valid UTF-8", path,
                           metadata[i].key);
        }
        lh_string_append(header, ",", i ? 1 : 0);
        lh_json_append_string(header, metadata[i].key, strlen(metadata[i].key));
        lh_string_append(header, ":", 1);
        lh_json_append_string(header, metadata[i].value, strlen(metadata[i].value));
    }
    lh_string_append(header, "}", 1);
    return LH_OK;
}

static void append_tensor(const lh_safetensors_tensor *tensor, size_t *offset, lh_string *header)
{
    size_t bytes = 0;
    (void)lh_safetensors_size(tensor->dtype, tensor->ndim, tensor->shape, &bytes);
    lh_json_append_string(header, tensor->name, strlen(tensor->name));
    lh_string_print(header, ":{\"dtype\":\"%s\",\"shape\":[", lh_safetensors_dtype_name(tensor->dtype));
    for (int i = 0; i < tensor->ndim; i++) {
        lh_string_print(header, "%s%" PRId64, i ? "," : "", tensor->shape[i]);
    }
    lh_string_print(header, "],\"data_offsets\":[%zu,%zu]}", *offset, *offset + bytes);
    *offset += bytes;
}

lh_status lh_safetensors_build_header(const char *path, const lh_safetensors_tensor *tensors, size_t count,
                                      const size_t *order, const lh_safetensors_pair *metadata,
                                      size_t metadata_count, lh_string *header, lh_error *error)
{
    static const char zeros[LENGTH_BYTES];
    lh_string_clear(header);
    lh_string_append(header, zeros, LENGTH_BYTES);
    lh_string_append(header, "{", 1);
    if (metadata_count) {
        LH_TRY(append_metadata(path, metadata, metadata_count, header, error));
    }
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        lh_string_append(header, ",", i || metadata_count ? 1 : 0);
        append_tensor(&tensors[order[i]], &offset, header);
    }
    lh_string_append(header, "}", 1);
    while (!header->failed && header->size % DATA_ALIGNMENT) {
        lh_string_append(header, " ", 1);
    }
    if (header->failed) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory for its header", path);
    }
    uint64_t length = header->size - LENGTH_BYTES;
    if (length > LH_SAFETENSORS_MAX_HEADER) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "%s: its header would have %" PRIu64 " bytes, past the format's limit of %u", path, length,
                       LH_SAFETENSORS_MAX_HEADER);
    }
    memcpy(header->data, &length, LENGTH_BYTES);
    return LH_OK;
}

static lh_status write_all(lh_atomic_file *file, const lh_string *header, const lh_safetensors_tensor *tensors,
                           size_t count, const size_t *order, lh_error *error)
{
    LH_TRY(lh_atomic_write(file, header->data, header->size, error));
    for (size_t i = 0; i < count; i++) {
        const lh_safetensors_tensor *tensor = &tensors[order[i]];
        size_t bytes = 0;
        (void)lh_safetensors_size(tensor->dtype, tensor->ndim, tensor->shape, &bytes);
        if (bytes) {
            LH_TRY(lh_atomic_write(file, tensor->data, bytes, error));
        }
    }
    return lh_atomic_commit(file, error);
}

lh_status lh_safetensors_write_parts(const char *path, const lh_string *header,
                                     const lh_safetensors_tensor *tensors, size_t count, const size_t *order,
                                     lh_error *error)
{
    lh_atomic_file file = {0};
    LH_TRY(lh_atomic_open(&file, path, error));
    lh_status status = write_all(&file, header, tensors, count, order, error);
    lh_atomic_discard(&file);
    return status;
}

lh_status lh_safetensors_write(const char *path, const lh_safetensors_tensor *tensors, size_t count,
                               const lh_safetensors_pair *metadata, size_t metadata_count, lh_error *error)
{
    lh_string header = {0};
    size_t *order = lh_heap_alloc(count * sizeof *order);
    lh_status status = order ? lh_safetensors_order(path, tensors, count, order, error)
                             : lh_fail(error, LH_E_MEMORY, "%s: no memory to write %zu tensors", path, count);
    if (status == LH_OK) {
        status = lh_safetensors_build_header(path, tensors, count, order, metadata, metadata_count, &header, error);
    }
    if (status == LH_OK) {
        status = lh_safetensors_write_parts(path, &header, tensors, count, order, error);
    }
    lh_string_free(&header);
    lh_heap_free(order);
    return status;
}
