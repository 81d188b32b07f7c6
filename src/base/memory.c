#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Each block is preceded by one aligned header that holds its size, so that live bytes can be counted. */
#define LH_ALIGN 64
typedef struct lh_heap_header {
    size_t bytes;
} lh_heap_header;

static _Atomic uint64_t heap_allocations, heap_live, heap_peak;
static _Atomic int64_t heap_fail_countdown = -1;

static bool heap_must_fail(void)
{
    int64_t left = atomic_load_explicit(&heap_fail_countdown, memory_order_relaxed);
    if (left < 0) {
        return false;
    }
    return atomic_fetch_sub(&heap_fail_countdown, 1) == 0;
}

static void heap_count_live(size_t bytes)
{
    uint64_t live = atomic_fetch_add(&heap_live, bytes) + bytes;
    uint64_t peak = atomic_load(&heap_peak);
    while (live > peak && !atomic_compare_exchange_weak(&heap_peak, &peak, live)) {
    }
}

/* Products read their operands a page or two a row, so with small pages they wait for address translation: large
 * blocks begin where a huge page does, and the kernel is asked for such pages. It may well refuse. The last bytes
 * of a block stay on small pages, so that no block holds more memory than it asked for. */
#define HUGE_PAGE ((size_t)2 * 1024 * 1024)

static void *heap_large(size_t total)
{
    void *base = NULL;
    if (posix_memalign(&base, HUGE_PAGE, total) != 0) { /* aligned_alloc takes multiples of the alignment only */
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    (void)madvise(base, total / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return base;
}

static void *heap_raw(size_t bytes)
{
    if (heap_must_fail() || bytes > SIZE_MAX - 2 * LH_ALIGN) {
        return NULL;
    }
    size_t total = (bytes + 2 * LH_ALIGN - 1) / LH_ALIGN * LH_ALIGN;
    unsigned char *base = total >= HUGE_PAGE ? heap_large(total) : aligned_alloc(LH_ALIGN, total);
    if (!base) {
        return NULL;
    }
    ((lh_heap_header *)(void *)base)->bytes = bytes;
    atomic_fetch_add(&heap_allocations, 1);
    heap_count_live(bytes);
    return base + LH_ALIGN;
}

void *lh_heap_alloc(size_t bytes)
{
    void *block = heap_raw(bytes);
    if (block) {
        memset(block, 0, bytes);
    }
    return block;
}

static lh_heap_header *heap_header(void *pointer)
{
    return (lh_heap_header *)(void *)((unsigned char *)pointer - LH_ALIGN);
}

void *lh_heap_realloc(void *pointer, size_t bytes)
{
    void *fresh = heap_raw(bytes);
    if (fresh && pointer) {
        size_t old = heap_header(pointer)->bytes;
        memcpy(fresh, pointer, old < bytes ? old : bytes);
        lh_heap_free(pointer);
    }
    return fresh;
}

void lh_heap_free(void *pointer)
{
    if (pointer) {
        lh_heap_header *header = heap_header(pointer);
        atomic_fetch_sub(&heap_live, header->bytes);
        free(header);
    }
}

char *lh_heap_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = lh_heap_alloc(bytes);
    if (copy) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

uint64_t lh_heap_allocations(void)
{
    return atomic_load(&heap_allocations);
}

uint64_t lh_heap_live_bytes(void)
{
    return atomic_load(&heap_live);
}

uint64_t lh_heap_peak_bytes(void)
{
    return atomic_load(&heap_peak);
}

void lh_heap_reset_peak(void)
{
    atomic_store(&heap_peak, atomic_load(&heap_live));
}

void lh_heap_fail_after(int64_t count)
{
    atomic_store(&heap_fail_countdown, count);
}

bool lh_size_multiply(size_t a, size_t b, size_t *product)
{
    if (b != 0 && a > SIZE_MAX / b) {
        return true;
    }
    *product = a * b;
    return false;
}

#define LH_ARENA_CHUNK ((size_t)256 * 1024)
struct lh_arena_chunk {
    lh_arena_chunk *next;
    size_t capacity;
    unsigned char *bytes;
};

static lh_arena_chunk *arena_chunk_create(size_t capacity)
{
    lh_arena_chunk *chunk = lh_heap_alloc(sizeof *chunk);
    if (!chunk) {
        return NULL;
    }
    chunk->bytes = lh_heap_alloc(capacity);
    if (!chunk->bytes) {
        lh_heap_free(chunk);
        return NULL;
    }
    chunk->capacity = capacity;
    return chunk;
}

void *lh_arena_alloc(lh_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - LH_ALIGN) {
        return NULL;
    }
    size_t rounded = (bytes + LH_ALIGN - 1) / LH_ALIGN * LH_ALIGN;
    while (!arena->current || arena->used + rounded > arena->current->capacity) {
        lh_arena_chunk *next = arena->current ? arena->current->next : arena->first;
        if (!next || next->capacity < rounded) {
            lh_arena_chunk *chunk = arena_chunk_create(rounded > LH_ARENA_CHUNK ? rounded : LH_ARENA_CHUNK);
            if (!chunk) {
                return NULL;
            }
            chunk->next = next;
            if (arena->current) {
                arena->current->next = chunk;
            } else {
                arena->first = chunk;
            }
            next = chunk;
        }
        arena->current = next;
        arena->used = 0;
    }
    void *block = arena->current->bytes + arena->used;
    arena->used += rounded;
    memset(block, 0, bytes);
    return block;
}

void lh_arena_reset(lh_arena *arena)
{
    arena->current = arena->first;
    arena->used = 0;
}

void lh_arena_free(lh_arena *arena)
{
    for (lh_arena_chunk *chunk = arena->first, *next; chunk; chunk = next) {
        next = chunk->next;
        lh_heap_free(chunk->bytes);
        lh_heap_free(chunk);
    }
    *arena = (lh_arena){0};
}
