#include "base/memory.h"
#include "tensor/backend.h"
#include "tensor/tensor.h"

/* Free blocks are kept in lists by size class: eight classes to each power of two, so at most an eighth is wasted.
 */
#define LH_POOL_CLASSES 512

struct lh_pool {
    const lh_backend *backend;
    lh_storage *free_blocks[LH_POOL_CLASSES];
    size_t bytes, in_use;
};

static int pool_class(size_t bytes, size_t *rounded)
{
    size_t units = (bytes + 255) / 256; /* blocks are multiples of 256 bytes */
    if (units < 8) {
        *rounded = (units ? units : 1) * 256;
        return (int)(units ? units : 1);
    }
    int power = 63 - __builtin_clzll((unsigned long long)units);
    size_t step = (size_t)1 << (power - 3);
    size_t eighths = (units + step - 1) / step; /* 8 .. 16 */
    *rounded = eighths * step * 256;
    return power * 8 + (int)eighths;
}

lh_storage *lh_storage_create(const lh_backend *backend, size_t bytes)
{
    lh_storage *storage = lh_heap_alloc(sizeof *storage);
    if (!storage) {
        return NULL;
    }
    storage->data = backend->allocate(backend, bytes);
    if (!storage->data) {
        lh_heap_free(storage);
        return NULL;
    }
    storage->backend = backend;
    storage->bytes = bytes;
    storage->references = 1;
    return storage;
}

static void storage_destroy(lh_storage *storage)
{
    storage->backend->release(storage->backend, storage->data, storage->bytes);
    lh_heap_free(storage);
}

void lh_storage_retain(lh_storage *storage)
{
    storage->references++;
}

void lh_storage_release(lh_storage *storage)
{
    if (!storage || --storage->references > 0) {
        return;
    }
    lh_pool *pool = storage->pool;
    if (!pool) {
        storage_destroy(storage);
        return;
    }
    size_t rounded;
    int class_index = pool_class(storage->bytes, &rounded);
    storage->next_free = pool->free_blocks[class_index];
    pool->free_blocks[class_index] = storage;
    pool->in_use -= storage->bytes;
}

lh_pool *lh_pool_create(const lh_backend *backend)
{
    lh_pool *pool = lh_heap_alloc(sizeof *pool);
    if (pool) {
        pool->backend = backend;
    }
    return pool;
}

lh_storage *lh_pool_take(lh_pool *pool, size_t bytes)
{
    size_t rounded;
    if (bytes > SIZE_MAX / 4) {
        return NULL;
    }
    int class_index = pool_class(bytes, &rounded);
    lh_storage *storage = pool->free_blocks[class_index];
    if (storage) {
        pool->free_blocks[class_index] = storage->next_free;
        storage->next_free = NULL;
        storage->references = 1;
    } else {
        storage = lh_storage_create(pool->backend, rounded);
        if (!storage) {
            lh_pool_trim(pool); /* blocks of other sizes may make room */
            storage = lh_storage_create(pool->backend, rounded);
        }
        if (!storage) {
            return NULL;
        }
        storage->pool = pool;
        pool->bytes += rounded;
    }
    pool->in_use += storage->bytes;
    return storage;
}

void lh_pool_trim(lh_pool *pool)
{
    for (int i = 0; i < LH_POOL_CLASSES; i++) {
        for (lh_storage *block = pool->free_blocks[i], *next; block; block = next) {
            next = block->next_free;
            pool->bytes -= block->bytes;
            storage_destroy(block);
        }
        pool->free_blocks[i] = NULL;
    }
}

void lh_pool_free(lh_pool *pool)
{
    if (pool) {
        lh_pool_trim(pool);
        lh_heap_free(pool);
    }
}

size_t lh_pool_bytes(const lh_pool *pool)
{
    return pool->bytes;
}

size_t lh_pool_in_use(const lh_pool *pool)
{
    return pool->in_use;
}
