/* A backend: where tensors live and what runs on them. Ops call kernels only through lh_backend.run, by kernel id
 * and argument struct (kernels/args.h), so a new device is one new table. */
#ifndef LH_TENSOR_BACKEND_H
#define LH_TENSOR_BACKEND_H

#include "base/error.h"
#include "tensor/tensor.h"

#define LH_MAX_THREADS 256

/* The execution state that a context lends to its kernels: threads and their scratch memory. */
typedef struct lh_exec {
    int threads;
    bool out_of_memory; /* set by lh_scratch when it fails; the context turns it into an error */
    struct {
        void *data;
        size_t bytes;
    } scratch[LH_MAX_THREADS]; /* one per thread */
} lh_exec;

/* At least `bytes` of 64-byte aligned memory private to thread number `thread` (0 .. threads-1), with undefined
 * contents, valid until the next call for that thread. NULL when there is none, after setting out_of_memory: the
 * kernel then returns without a result. Grows only, so a steady loop allocates nothing. */
void *lh_scratch(lh_exec *exec, int thread, size_t bytes);
void lh_exec_free(lh_exec *exec);

struct lh_backend {
    const char *name;
    void *(*allocate)(const lh_backend *backend,
                      size_t bytes); /* zeroed, 64-byte aligned; NULL when there is none */
    void (*release)(const lh_backend *backend, void *data, size_t bytes);
    void (*to_host)(const lh_backend *backend, void *host, const void *device, size_t bytes);
    void (*from_host)(const lh_backend *backend, void *device, const void *host, size_t bytes);
    /* Runs kernel `id` (enum lh_kernel_id) for element type `dtype` (LH_F32 or LH_F64 decide the arithmetic).
     * Returns LH_E_UNSUPPORTED when the backend has no such kernel. */
    lh_status (*run)(const lh_backend *backend, lh_exec *exec, int id, lh_dtype dtype, const void *arguments);
    void *state;
};

/* The CPU, with the fastest kernels this machine has (LH_CPU=ref|avx2|avx512 forces a level). Never NULL. */
const lh_backend *lh_backend_cpu(void);

#endif
