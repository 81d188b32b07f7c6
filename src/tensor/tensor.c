#include "tensor/tensor.h"

#include "base/memory.h"
#include "tensor/backend.h"

#include <stdio.h>
#include <string.h>

static const struct {
    size_t size;
    const char *name;
} dtype_table[LH_DTYPE_COUNT] = {
    [LH_F32] = {4, "f32"}, [LH_F64] = {8, "f64"}, [LH_F16] = {2, "f16"}, [LH_BF16] = {2, "bf16"},
    [LH_I32] = {4, "i32"}, [LH_I8] = {1, "i8"},   [LH_U8] = {1, "u8"},
};

size_t lh_dtype_size(lh_dtype dtype)
{
    return (unsigned)dtype < LH_DTYPE_COUNT ? dtype_table[dtype].size : 0;
}

const char *lh_dtype_name(lh_dtype dtype)
{
    return (unsigned)dtype < LH_DTYPE_COUNT ? dtype_table[dtype].name : "unknown";
}

char *lh_shape_text(char *buffer, size_t size, int ndim, const int64_t *shape)
{
    size_t used = 0;
    int written = snprintf(buffer, size, "[");
    used += written > 0 ? (size_t)written : 0;
    for (int i = 0; i < ndim && used < size; i++) {
        written = snprintf(buffer + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
        used += written > 0 ? (size_t)written : 0;
    }
    if (used < size) {
        (void)snprintf(buffer + used, size - used, "]");
    }
    return buffer;
}

int64_t lh_tensor_count(const lh_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->ndim; i++) {
        count *= tensor->shape[i];
    }
    return count;
}

bool lh_tensor_contiguous(const lh_tensor *tensor)
{
    int64_t expected = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        if (tensor->shape[i] == 0) {
            return true;
        }
        if (tensor->shape[i] != 1 && tensor->stride[i] != expected) {
            return lh_tensor_count(tensor) == 0;
        }
        expected *= tensor->shape[i];
    }
    return true;
}

bool lh_tensor_same_shape(const lh_tensor *a, const lh_tensor *b)
{
    if (a->ndim != b->ndim) {
        return false;
    }
    for (int i = 0; i < a->ndim; i++) {
        if (a->shape[i] != b->shape[i]) {
            return false;
        }
    }
    return true;
}

void *lh_tensor_data(const lh_tensor *tensor)
{
    /* Address arithmetic on an opaque address: kernels of the backend follow it, nobody else does. */
    return (void *)((uintptr_t)tensor->storage->data + (size_t)tensor->offset * lh_dtype_size(tensor->dtype));
}

lh_status lh_tensor_create(lh_tensor **tensor, const lh_backend *backend, lh_dtype dtype, int ndim,
                           const int64_t *shape, const char *name, lh_error *error)
{
    char text[128];
    *tensor = NULL;
    if (ndim < 0 || ndim > LH_MAX_DIMS) {
        return lh_fail(error, LH_E_SHAPE, "tensor '%s': %d dimensions, at most %d are possible", name ? name : "",
                       ndim, LH_MAX_DIMS);
    }
    size_t bytes = lh_dtype_size(dtype);
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0 || lh_size_multiply(bytes, (size_t)shape[i], &bytes)) {
            return lh_fail(error, LH_E_SHAPE, "tensor '%s': impossible shape %s", name ? name : "",
                           lh_shape_text(text, sizeof text, ndim, shape));
        }
    }
    lh_tensor *fresh = lh_heap_alloc(sizeof *fresh);
    lh_storage *storage = fresh ? lh_storage_create(backend, bytes) : NULL;
    if (!storage) {
        lh_heap_free(fresh);
        return lh_fail(error, LH_E_MEMORY, "no memory for tensor '%s' of shape %s (%zu bytes)", name ? name : "",
                       lh_shape_text(text, sizeof text, ndim, shape), bytes);
    }
    fresh->dtype = dtype;
    fresh->ndim = ndim;
    fresh->storage = storage;
    fresh->name = name;
    int64_t stride = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        fresh->shape[i] = shape[i];
        fresh->stride[i] = stride;
        stride *= shape[i];
    }
    *tensor = fresh;
    return LH_OK;
}

lh_status lh_tensor_create_grad(lh_tensor *tensor, lh_error *error)
{
    tensor->requires_grad = true;
    if (tensor->grad) {
        return LH_OK;
    }
    return lh_tensor_create(&tensor->grad, tensor->storage->backend, tensor->dtype, tensor->ndim, tensor->shape,
                            tensor->name, error);
}

void lh_tensor_free(lh_tensor *tensor)
{
    if (tensor) {
        lh_tensor_free(tensor->grad);
        lh_storage_release(tensor->storage);
        lh_heap_free(tensor);
    }
}

lh_status lh_tensor_read(const lh_tensor *tensor, void *host, lh_error *error)
{
    if (!lh_tensor_contiguous(tensor)) {
        return lh_fail(error, LH_E_SHAPE, "tensor '%s' is not contiguous and cannot be read whole",
                       tensor->name ? tensor->name : "");
    }
    size_t bytes = (size_t)lh_tensor_count(tensor) * lh_dtype_size(tensor->dtype);
    const lh_backend *backend = tensor->storage->backend;
    backend->to_host(backend, host, lh_tensor_data(tensor), bytes);
    return LH_OK;
}

lh_status lh_tensor_write(lh_tensor *tensor, const void *host, lh_error *error)
{
    if (!lh_tensor_contiguous(tensor)) {
        return lh_fail(error, LH_E_SHAPE, "tensor '%s' is not contiguous and cannot be written whole",
                       tensor->name ? tensor->name : "");
    }
    size_t bytes = (size_t)lh_tensor_count(tensor) * lh_dtype_size(tensor->dtype);
    const lh_backend *backend = tensor->storage->backend;
    backend->from_host(backend, lh_tensor_data(tensor), host, bytes);
    return LH_OK;
}
