/* Heap memory with counted allocations, and a bump arena.
 *
 * Library code allocates through these so that a test can count heap allocations in a steady loop
 * (lh_heap_allocations) and can make the n-th one fail (lh_heap_fail_after). */
#ifndef LH_BASE_MEMORY_H
#define LH_BASE_MEMORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 64-byte aligned, zeroed memory, or NULL. A size of 0 gives a valid pointer. Release with lh_heap_free. */
void *lh_heap_alloc(size_t bytes);

/* As realloc: grows or shrinks a block of lh_heap_alloc; new bytes are not zeroed. NULL leaves the old block. */
void *lh_heap_realloc(void *pointer, size_t bytes);

void lh_heap_free(void *pointer);

/* A copy of a string, to be released with lh_heap_free, or NULL. */
char *lh_heap_strdup(const char *text);

/* How many blocks this process has asked the heap for, and how many bytes are live now. */
uint64_t lh_heap_allocations(void);
uint64_t lh_heap_live_bytes(void);
uint64_t lh_heap_peak_bytes(void);
void lh_heap_reset_peak(void);

/* Testing: the allocation after `count` more ones fails once. A negative count switches the fault off. */
void lh_heap_fail_after(int64_t count);

/* True if a*b overflows size_t; otherwise stores the product. */
bool lh_size_multiply(size_t a, size_t b, size_t *product);

/* A bump arena for small objects with one common life. Reset keeps the memory, so that a steady loop asks the heap
 * for nothing. */
typedef struct lh_arena_chunk lh_arena_chunk;
typedef struct lh_arena {
    lh_arena_chunk *first, *current;
    size_t used; /* bytes used in the current chunk */
} lh_arena;

/* 64-byte aligned, zeroed memory that lives until lh_arena_reset or lh_arena_free, or NULL. */
void *lh_arena_alloc(lh_arena *arena, size_t bytes);
void lh_arena_reset(lh_arena *arena);
void lh_arena_free(lh_arena *arena);

#endif
