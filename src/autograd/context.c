#include "autograd/context.h"

#include "kernels/table.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct lh_context_tensor {
    lh_tensor tensor; /* first, so that the two pointers are one */
    struct lh_context_tensor *next;
    bool pinned; /* belongs to the tape: scopes pass it by */
} lh_context_tensor;

lh_status lh_context_create(lh_context **context, const lh_backend *backend, int threads, lh_error *error)
{
    lh_context *fresh = lh_heap_alloc(sizeof *fresh);
    *context = NULL;
    if (fresh) {
        fresh->pool = lh_pool_create(backend);
    }
    if (!fresh || !fresh->pool) {
        lh_heap_free(fresh);
        return lh_fail(error, LH_E_MEMORY, "no memory for a context");
    }
    fresh->backend = backend;
    int wanted = threads > 0 ? threads : omp_get_max_threads();
    fresh->exec.threads = wanted > LH_MAX_THREADS ? LH_MAX_THREADS : wanted;
    *context = fresh;
    return LH_OK;
}

static void tensor_let_go(lh_tensor *tensor)
{
    if (tensor->storage) {
        lh_storage_release(tensor->storage);
        tensor->storage = NULL;
    }
}

void lh_context_reset(lh_context *context)
{
    for (lh_context_tensor *entry = context->tensors; entry; entry = entry->next) {
        tensor_let_go(&entry->tensor);
    }
    context->tensors = NULL;
    context->tape = NULL;
    context->error = (lh_error){0};
    context->exec.out_of_memory = false;
    context->recomputing = false;
    lh_arena_reset(&context->arena);
}

void lh_context_free(lh_context *context)
{
    if (context) {
        lh_context_reset(context);
        lh_arena_free(&context->arena);
        lh_pool_free(context->pool);
        lh_exec_free(&context->exec);
        lh_heap_free(context);
    }
}

lh_status lh_context_status(const lh_context *context, lh_error *error)
{
    if (context->error.status != LH_OK && error && error->status == LH_OK) {
        *error = context->error;
    }
    return context->error.status;
}

lh_tensor *lh_op_fail(lh_context *context, lh_status status, const char *op, const char *format, ...)
{
    if (context->error.status == LH_OK) {
        char message[900];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        lh_fail(&context->error, status, "%s: %s", op, message);
    }
    return NULL;
}

bool lh_op_stopped(const lh_context *context)
{
    return context->error.status != LH_OK;
}

static lh_tensor *new_header(lh_context *context)
{
    lh_context_tensor *entry = lh_arena_alloc(&context->arena, sizeof *entry);
    if (!entry) {
        return lh_op_fail(context, LH_E_MEMORY, "tensor", "no memory for a tensor header");
    }
    entry->next = context->tensors;
    context->tensors = entry;
    return &entry->tensor;
}

lh_tensor *lh_new(lh_context *context, lh_dtype dtype, int ndim, const int64_t *shape, bool zero)
{
    char text[128];
    if (lh_op_stopped(context)) {
        return NULL;
    }
    if (ndim < 0 || ndim > LH_MAX_DIMS) {
        return lh_op_fail(context, LH_E_SHAPE, "tensor", "%d dimensions, at most %d are possible", ndim,
                          LH_MAX_DIMS);
    }
    size_t bytes = lh_dtype_size(dtype);
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0 || lh_size_multiply(bytes, (size_t)shape[i], &bytes)) {
            return lh_op_fail(context, LH_E_SHAPE, "tensor", "impossible shape %s",
                              lh_shape_text(text, sizeof text, ndim, shape));
        }
    }
    lh_tensor *tensor = new_header(context);
    if (!tensor) {
        return NULL;
    }
    tensor->storage = lh_pool_take(context->pool, bytes);
    if (!tensor->storage) {
        return lh_op_fail(context, LH_E_MEMORY, "tensor", "no memory for shape %s (%zu bytes)",
                          lh_shape_text(text, sizeof text, ndim, shape), bytes);
    }
    size_t in_use = lh_pool_in_use(context->pool);
    context->peak_bytes = in_use > context->peak_bytes ? in_use : context->peak_bytes;
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    int64_t stride = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        tensor->shape[i] = shape[i];
        tensor->stride[i] = stride;
        stride *= shape[i];
    }
    if (zero && bytes > 0) {
        lh_dtype unit = bytes % 4 == 0 ? LH_F32 : dtype;
        if (unit == LH_F32) {
            lh_fill_args fill = {.n = (int64_t)(bytes / 4), .value = 0.0, .y = lh_tensor_data(tensor)};
            lh_run(context, LH_KERNEL_FILL, LH_F32, &fill);
        } else {
            void *zeros = lh_heap_alloc(bytes);
            if (!zeros) {
                return lh_op_fail(context, LH_E_MEMORY, "tensor", "no memory for %zu bytes", bytes);
            }
            context->backend->from_host(context->backend, lh_tensor_data(tensor), zeros, bytes);
            lh_heap_free(zeros);
        }
    }
    return tensor;
}

lh_tensor *lh_new_like(lh_context *context, const lh_tensor *like, bool zero)
{
    return lh_op_stopped(context) ? NULL : lh_new(context, like->dtype, like->ndim, like->shape, zero);
}

lh_tensor *lh_alias(lh_context *context, const lh_tensor *tensor)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *alias = new_header(context);
    if (!alias) {
        return NULL;
    }
    *alias = *tensor;
    alias->grad = NULL;
    alias->node = NULL;
    alias->requires_grad = false;
    lh_storage_retain(alias->storage);
    return alias;
}

void lh_pin(lh_tensor *tensor)
{
    ((lh_context_tensor *)(void *)tensor)->pinned = true;
}

void lh_drop(lh_context *context, lh_tensor *tensor)
{
    (void)context;
    if (tensor) {
        tensor_let_go(tensor);
    }
}

lh_tensor *lh_packed(lh_context *context, lh_tensor *tensor)
{
    if (lh_op_stopped(context) || lh_tensor_contiguous(tensor)) {
        return lh_op_stopped(context) ? NULL : tensor;
    }
    lh_tensor *packed = lh_new_like(context, tensor, false);
    if (!packed) {
        return NULL;
    }
    lh_copy_args copy = {.element_bytes = (int)lh_dtype_size(tensor->dtype),
                         .x = lh_tensor_data(tensor),
                         .y = lh_tensor_data(packed)};
    int lead = LH_MAX_DIMS - tensor->ndim;
    for (int i = 0; i < LH_MAX_DIMS; i++) {
        copy.shape[i] = i < lead ? 1 : tensor->shape[i - lead];
        copy.x_stride[i] = i < lead ? 0 : tensor->stride[i - lead];
        copy.y_stride[i] = i < lead ? 0 : packed->stride[i - lead];
    }
    lh_run(context, LH_KERNEL_COPY, tensor->dtype, &copy);
    return packed;
}

void lh_run(lh_context *context, lh_kernel_id kernel, lh_dtype dtype, const void *arguments)
{
    if (lh_op_stopped(context)) {
        return;
    }
    lh_status status = context->backend->run(context->backend, &context->exec, (int)kernel, dtype, arguments);
    if (context->exec.out_of_memory) {
        lh_op_fail(context, LH_E_MEMORY, lh_kernel_name(kernel), "no memory for the kernel's scratch space");
    } else if (status != LH_OK) {
        lh_op_fail(context, status, lh_kernel_name(kernel), "backend '%s' has no such kernel for %s",
                   context->backend->name, lh_dtype_name(dtype));
    }
}

lh_tensor *lh_result(const lh_context *context, lh_tensor *tensor)
{
    return lh_op_stopped(context) ? NULL : tensor;
}

lh_tensor *lh_from_host(lh_context *context, lh_dtype dtype, int ndim, const int64_t *shape, const void *host)
{
    lh_tensor *tensor = lh_new(context, dtype, ndim, shape, false);
    if (tensor) {
        size_t bytes = (size_t)lh_tensor_count(tensor) * lh_dtype_size(dtype);
        context->backend->from_host(context->backend, lh_tensor_data(tensor), host, bytes);
    }
    return tensor;
}

void lh_to_host(lh_context *context, const lh_tensor *tensor, double *host)
{
    if (lh_op_stopped(context)) {
        return;
    }
    lh_tensor *alias = lh_alias(context, tensor);
    lh_tensor *packed = alias ? lh_packed(context, alias) : NULL;
    if (!packed) {
        return;
    }
    int64_t count = lh_tensor_count(packed);
    lh_tensor *wide = packed;
    if (packed->dtype != LH_F64) {
        wide = lh_new(context, LH_F64, packed->ndim, packed->shape, false);
        if (!wide) {
            return;
        }
        lh_cast_args cast = {.n = count,
                             .from = packed->dtype,
                             .to = LH_F64,
                             .x = lh_tensor_data(packed),
                             .y = lh_tensor_data(wide)};
        lh_run(context, LH_KERNEL_CAST, LH_F64, &cast);
    }
    context->backend->to_host(context->backend, host, lh_tensor_data(wide), (size_t)count * sizeof(double));
    if (wide != packed) {
        lh_drop(context, wide);
    }
    if (packed != alias) {
        lh_drop(context, packed);
    }
    lh_drop(context, alias);
}

double lh_scalar(lh_context *context, const lh_tensor *tensor)
{
    double value = 0.0;
    if (lh_op_stopped(context)) {
        return 0.0;
    }
    if (lh_tensor_count(tensor) != 1) {
        lh_op_fail(context, LH_E_SHAPE, "scalar", "a tensor of %lld elements has no one value",
                   (long long)lh_tensor_count(tensor));
        return 0.0;
    }
    lh_to_host(context, tensor, &value);
    return value;
}

lh_scope lh_scope_begin(lh_context *context)
{
    return (lh_scope){.mark = context->tensors};
}

void lh_scope_end(lh_context *context, lh_scope scope, int keep_count, lh_tensor *const *keep)
{
    for (lh_context_tensor *entry = context->tensors; entry && entry != scope.mark; entry = entry->next) {
        lh_tensor *tensor = &entry->tensor;
        bool kept = false;
        for (int i = 0; i < keep_count && !kept; i++) {
            kept = keep[i] == tensor;
        }
        if (!kept && !entry->pinned) {
            tensor_let_go(tensor);
        }
    }
}
