#include "text/merges.h"

#include "base/memory.h"
#include "text/hash.h"

#define EMPTY UINT64_MAX
#define NO_RANK UINT32_MAX
#define SHORT_LIMIT 48 /* symbols; up to here a scan of all pairs beats the heap */

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static lh_merge *merge_slot(const lh_merges *merges, uint64_t pair)
{
    size_t mask = merges->table_size - 1, slot = lh_hash_word(pair) & mask;
    while (merges->table[slot].pair != EMPTY && merges->table[slot].pair != pair) {
        slot = (slot + 1) & mask;
    }
    return merges->table + slot;
}

static lh_status grow_table(lh_merges *merges, lh_error *error)
{
    if (merges->table && ((size_t)merges->count + 1) * 2 <= merges->table_size) {
        return LH_OK;
    }
    size_t old_size = merges->table_size, new_size = old_size ? old_size * 2 : 1024;
    lh_merge *old = merges->table, *table = lh_heap_alloc(new_size * sizeof *table);
    if (!table) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu merges", new_size / 2);
    }
    memset(table, 0xff, new_size * sizeof *table);
    merges->table = table;
    merges->table_size = new_size;
    for (size_t i = 0; old && i < old_size; i++) {
        if (old[i].pair != EMPTY) {
            *merge_slot(merges, old[i].pair) = old[i];
        }
    }
    lh_heap_free(old);
    return LH_OK;
}

lh_status lh_merges_put(lh_merges *merges, int32_t left, int32_t right, int32_t result, bool *added,
                        lh_error *error)
{
    *added = false;
    if (left < 0 || right < 0 || result < 0 || merges->count >= LH_MERGE_LIMIT) {
        return lh_fail(error, LH_E_ARGUMENT, "merge %lu of tokens %ld and %ld is not possible",
                       (unsigned long)merges->count, (long)left, (long)right);
    }
    LH_TRY(grow_table(merges, error));
    if (merges->count == merges->capacity) {
        uint32_t capacity = merges->capacity ? merges->capacity * 2 : 512;
        uint64_t *pairs = lh_heap_realloc(merges->pairs, (size_t)capacity * sizeof *pairs);
        if (!pairs) {
            return lh_fail(error, LH_E_MEMORY, "no memory for %lu merges", (unsigned long)capacity);
        }
        merges->pairs = pairs;
        merges->capacity = capacity;
    }
    uint64_t pair = pair_of(left, right);
    lh_merge *slot = merge_slot(merges, pair);
    if (slot->pair == EMPTY) {
        merges->pairs[merges->count] = pair;
        *slot = (lh_merge){pair, merges->count++, result};
        *added = true;
    }
    return LH_OK;
}

const lh_merge *lh_merges_find(const lh_merges *merges, int32_t left, int32_t right)
{
    if (left < 0 || right < 0 || !merges->table) {
        return NULL;
    }
    const lh_merge *slot = merge_slot(merges, pair_of(left, right));
    return slot->pair == EMPTY ? NULL : slot;
}

void lh_merges_free(lh_merges *merges)
{
    lh_heap_free(merges->table);
    lh_heap_free(merges->pairs);
    *merges = (lh_merges){0};
}

/* What becomes of a pair: rank NO_RANK if nothing. */
typedef struct lh_candidate {
    uint32_t rank;
    int32_t result;
} lh_candidate;

static lh_candidate candidate(const lh_merges *merges, int32_t left, int32_t right)
{
    const lh_merge *merge = lh_merges_find(merges, left, right);
    return merge ? (lh_candidate){merge->rank, merge->result} : (lh_candidate){NO_RANK, -1};
}

static void apply_short(const lh_merges *merges, int32_t *symbols, size_t *count)
{
    lh_candidate pairs[SHORT_LIMIT];
    size_t n = *count;
    for (size_t i = 0; i + 1 < n; i++) {
        pairs[i] = candidate(merges, symbols[i], symbols[i + 1]);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (pairs[i].rank < pairs[best].rank) {
                best = i;
            }
        }
        if (pairs[best].rank == NO_RANK) {
            break;
        }
        symbols[best] = pairs[best].result;
        n--;
        memmove(symbols + best + 1, symbols + best + 2, (n - best - 1) * sizeof *symbols);
        memmove(pairs + best, pairs + best + 1, (n - best - 1) * sizeof *pairs);
        if (best > 0) {
            pairs[best - 1] = candidate(merges, symbols[best - 1], symbols[best]);
        }
        if (best + 1 < n) {
            pairs[best] = candidate(merges, symbols[best], symbols[best + 1]);
        }
    }
    *count = n;
}

/* ---- long pre-tokens: a linked list of symbols and a heap of pairs ---- */

typedef struct lh_node {
    int32_t symbol; /* unused in a node that was joined to its left neighbour */
    uint32_t previous, next;
    lh_candidate pair; /* with the next node */
} lh_node;

#define NO_NODE UINT32_MAX

typedef struct lh_merge_heap {
    uint64_t *keys; /* rank << 32 | position: the order in which pairs are joined */
    size_t count;
} lh_merge_heap;

static void heap_push(lh_merge_heap *heap, uint64_t key)
{
    size_t at = heap->count++;
    while (at > 0 && heap->keys[(at - 1) / 2] > key) {
        heap->keys[at] = heap->keys[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->keys[at] = key;
}

static uint64_t heap_pop(lh_merge_heap *heap)
{
    uint64_t top = heap->keys[0], last = heap->keys[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && heap->keys[child + 1] < heap->keys[child]) {
            child++;
        }
        if (heap->keys[child] >= last) {
            break;
        }
        heap->keys[at] = heap->keys[child];
        at = child;
    }
    heap->keys[at] = last;
    return top;
}

static void consider(const lh_merges *merges, lh_node *nodes, uint32_t at, lh_merge_heap *heap)
{
    uint32_t next = nodes[at].next;
    nodes[at].pair =
        next == NO_NODE ? (lh_candidate){NO_RANK, -1} : candidate(merges, nodes[at].symbol, nodes[next].symbol);
    if (nodes[at].pair.rank != NO_RANK) {
        heap_push(heap, (uint64_t)nodes[at].pair.rank << 32 | at);
    }
}

static void apply_long(const lh_merges *merges, lh_node *nodes, lh_merge_heap *heap, int32_t *symbols,
                       size_t *count)
{
    size_t n = *count;
    for (size_t i = 0; i < n; i++) {
        nodes[i] = (lh_node){
            symbols[i], i ? (uint32_t)(i - 1) : NO_NODE, i + 1 < n ? (uint32_t)(i + 1) : NO_NODE, {NO_RANK, -1}};
    }
    for (size_t i = 0; i + 1 < n; i++) {
        consider(merges, nodes, (uint32_t)i, heap);
    }
    while (heap->count > 0) {
        uint64_t key = heap_pop(heap);
        uint32_t at = (uint32_t)key;
        if (nodes[at].pair.rank != (uint32_t)(key >> 32)) {
            continue; /* the pair has changed since it was pushed */
        }
        uint32_t gone = nodes[at].next, next = nodes[gone].next;
        nodes[at].symbol = nodes[at].pair.result;
        nodes[at].next = next;
        nodes[gone].pair.rank = NO_RANK;
        if (next != NO_NODE) {
            nodes[next].previous = at;
        }
        consider(merges, nodes, at, heap);
        if (nodes[at].previous != NO_NODE) {
            consider(merges, nodes, nodes[at].previous, heap);
        }
    }
    size_t left = 0;
    for (uint32_t at = 0; at != NO_NODE; at = nodes[at].next) {
        symbols[left++] = nodes[at].symbol;
    }
    *count = left;
}

lh_status lh_merges_apply(const lh_merges *merges, lh_merge_scratch *scratch, int32_t *symbols, size_t *count,
                          lh_error *error)
{
    size_t n = *count;
    if (n <= SHORT_LIMIT) {
        apply_short(merges, symbols, count);
        return LH_OK;
    }
    if (n >= NO_NODE) {
        return lh_fail(error, LH_E_ARGUMENT, "a pre-token of %zu bytes is too long", n);
    }
    /* Each pair of the start is pushed once, each join pops one key and pushes at most two. */
    size_t bytes = n * sizeof(lh_node) + 2 * n * sizeof(uint64_t);
    if (bytes > scratch->bytes) {
        lh_heap_free(scratch->memory);
        scratch->memory = lh_heap_alloc(bytes + bytes / 2);
        scratch->bytes = scratch->memory ? bytes + bytes / 2 : 0;
        if (!scratch->memory) {
            return lh_fail(error, LH_E_MEMORY, "no memory for a pre-token of %zu bytes", n);
        }
    }
    lh_merge_heap heap = {scratch->memory, 0};
    apply_long(merges, (lh_node *)(void *)((unsigned char *)scratch->memory + 2 * n * sizeof(uint64_t)), &heap,
               symbols, count);
    return LH_OK;
}

void lh_merge_scratch_free(lh_merge_scratch *scratch)
{
    lh_heap_free(scratch->memory);
    *scratch = (lh_merge_scratch){0};
}
