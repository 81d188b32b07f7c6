#include "base/memory.h"
#include "kernels/table.h"

#include <string.h>

void *lh_scratch(lh_exec *exec, int thread, size_t bytes)
{
    if (exec->scratch[thread].bytes < bytes || !exec->scratch[thread].data) {
        size_t grown = bytes + bytes / 2 + 4096;
        lh_heap_free(exec->scratch[thread].data);
        exec->scratch[thread].data = lh_heap_alloc(grown);
        exec->scratch[thread].bytes = exec->scratch[thread].data ? grown : 0;
        if (!exec->scratch[thread].data) {
            exec->out_of_memory = true;
        }
    }
    return exec->scratch[thread].data;
}

void lh_exec_free(lh_exec *exec)
{
    for (int thread = 0; thread < LH_MAX_THREADS; thread++) {
        lh_heap_free(exec->scratch[thread].data);
        exec->scratch[thread].data = NULL;
        exec->scratch[thread].bytes = 0;
    }
}

static void *cpu_allocate(const lh_backend *backend, size_t bytes)
{
    (void)backend;
    return lh_heap_alloc(bytes);
}

static void cpu_release(const lh_backend *backend, void *data, size_t bytes)
{
    (void)backend;
    (void)bytes;
    lh_heap_free(data);
}

static void cpu_to_host(const lh_backend *backend, void *host, const void *device, size_t bytes)
{
    (void)backend;
    if (bytes > 0) {
        memcpy(host, device, bytes);
    }
}

static void cpu_from_host(const lh_backend *backend, void *device, const void *host, size_t bytes)
{
    (void)backend;
    if (bytes > 0) {
        memcpy(device, host, bytes);
    }
}

/* Kernels that look at the element type in their arguments and not at that of the call. */
static bool any_dtype(int id)
{
    return id == LH_KERNEL_COPY || id == LH_KERNEL_CAST;
}

static lh_status cpu_run(const lh_backend *backend, lh_exec *exec, int id, lh_dtype dtype, const void *arguments)
{
    (void)backend;
    if (id < 0 || id >= LH_KERNEL_COUNT || (dtype != LH_F32 && dtype != LH_F64 && !any_dtype(id))) {
        return LH_E_UNSUPPORTED;
    }
    const lh_kernel_table *table = lh_kernel_table_get(lh_cpu_best_level());
    lh_kernel kernel = dtype == LH_F64 ? table->f64[id] : table->f32[id];
    if (!kernel) {
        return LH_E_UNSUPPORTED;
    }
    kernel(exec, arguments);
    return exec->out_of_memory ? LH_E_MEMORY : LH_OK;
}

const lh_backend *lh_backend_cpu(void)
{
    static const lh_backend cpu = {
        .name = "cpu",
        .allocate = cpu_allocate,
        .release = cpu_release,
        .to_host = cpu_to_host,
        .from_host = cpu_from_host,
        .run = cpu_run,
    };
    return &cpu;
}
