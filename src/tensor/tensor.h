/* Tensors: a typed, strided view into reference-counted storage that belongs to one backend.
 *
 * Row-major, last dimension fastest, at most LH_MAX_DIMS dimensions; strides count elements. Only kernels touch the
 * data: model code passes tensors to ops, so that the same model runs on every backend. */
#ifndef LH_TENSOR_TENSOR_H
#define LH_TENSOR_TENSOR_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_MAX_DIMS 5

typedef enum lh_dtype { LH_F32, LH_F64, LH_F16, LH_BF16, LH_I32, LH_I8, LH_U8, LH_DTYPE_COUNT } lh_dtype;

size_t lh_dtype_size(lh_dtype dtype); /* bytes of one element */
const char *lh_dtype_name(lh_dtype dtype);

typedef struct lh_backend lh_backend;
typedef struct lh_pool lh_pool;

/* A block of backend memory. `data` is an address that only kernels of that backend may follow. */
typedef struct lh_storage {
    const lh_backend *backend;
    void *data;
    size_t bytes;
    int references;
    lh_pool *pool; /* where the block goes when the last reference is dropped; NULL: freed */
    struct lh_storage *next_free;
} lh_storage;

struct lh_node;

typedef struct lh_tensor {
    lh_dtype dtype;
    int ndim;
    int64_t shape[LH_MAX_DIMS];
    int64_t stride[LH_MAX_DIMS]; /* in elements; 0 repeats */
    int64_t offset;              /* in elements, from the start of storage */
    lh_storage *storage;
    bool requires_grad;     /* set on parameters by their owner, on results by the op that made them */
    struct lh_tensor *grad; /* same shape, contiguous; NULL until something flowed in */
    struct lh_node *node;   /* the tape entry that made this tensor, or NULL for a leaf */
    const char *name;       /* for messages; may be NULL */
} lh_tensor;

/* A tensor that lives until lh_tensor_free: parameters, optimizer moments, memories. Zero-filled, contiguous.
 * `name` is not copied. */
lh_status lh_tensor_create(lh_tensor **tensor, const lh_backend *backend, lh_dtype dtype, int ndim,
                           const int64_t *shape, const char *name, lh_error *error);
void lh_tensor_free(lh_tensor *tensor); /* also frees a gradient made by lh_tensor_create_grad; NULL is fine */

/* Gives a persistent tensor a persistent, zeroed gradient and marks it as wanting one. */
lh_status lh_tensor_create_grad(lh_tensor *tensor, lh_error *error);

int64_t lh_tensor_count(const lh_tensor *tensor);   /* number of elements */
bool lh_tensor_contiguous(const lh_tensor *tensor); /* rows laid out without gaps; empty tensors are */
bool lh_tensor_same_shape(const lh_tensor *a, const lh_tensor *b);
void *lh_tensor_data(const lh_tensor *tensor); /* address of the first element, in the backend's address space */

/* Moves whole tensors between the host and the backend. `host` holds count elements of the tensor's dtype,
 * row-major; the tensor must be contiguous. */
lh_status lh_tensor_read(const lh_tensor *tensor, void *host, lh_error *error);
lh_status lh_tensor_write(lh_tensor *tensor, const void *host, lh_error *error);

/* "[2, 3, 64]" in `buffer`; returns buffer. For messages. */
char *lh_shape_text(char *buffer, size_t size, int ndim, const int64_t *shape);

/* Storage with one reference, and reference counting. NULL when there is no memory. */
lh_storage *lh_storage_create(const lh_backend *backend, size_t bytes);
void lh_storage_retain(lh_storage *storage);
void lh_storage_release(lh_storage *storage);

/* A cache of released blocks by size, so that a loop of fixed shapes asks the backend for nothing after its first
 * step. Blocks of a pool are NOT zeroed. */
lh_pool *lh_pool_create(const lh_backend *backend);
void lh_pool_free(lh_pool *pool); /* every block must have been released */
lh_storage *lh_pool_take(lh_pool *pool, size_t bytes);
void lh_pool_trim(lh_pool *pool);           /* gives the unused blocks back to the backend */
size_t lh_pool_bytes(const lh_pool *pool);  /* held, used or not */
size_t lh_pool_in_use(const lh_pool *pool); /* bytes of blocks that someone refers to */

#endif
