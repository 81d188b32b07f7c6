#include "text/vocab.h"

#include "base/memory.h"
#include "text/hash.h"

static lh_status vocab_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for the token table");
}

static lh_status vocab_grow_ids(lh_vocab *vocab, int32_t count, lh_error *error)
{
    if (count <= vocab->capacity) {
        return LH_OK;
    }
    int64_t wanted = vocab->capacity ? (int64_t)vocab->capacity * 2 : 512;
    while (wanted < count) {
        wanted *= 2;
    }
    uint64_t *offset = lh_heap_realloc(vocab->offset, (size_t)wanted * sizeof *offset);
    if (!offset) {
        return vocab_memory(error);
    }
    vocab->offset = offset;
    uint32_t *length = lh_heap_realloc(vocab->length, (size_t)wanted * sizeof *length);
    if (!length) {
        return vocab_memory(error);
    }
    vocab->length = length;
    vocab->capacity = (int32_t)wanted;
    return LH_OK;
}

static lh_status vocab_grow_pool(lh_vocab *vocab, size_t size, lh_error *error)
{
    if (size > SIZE_MAX / 4 || vocab->pool_size > SIZE_MAX / 4) {
        return vocab_memory(error);
    }
    /* One byte more, so that a pool of empty tokens is a valid pointer. */
    size_t needed = vocab->pool_size + size + 1;
    if (needed <= vocab->pool_capacity) {
        return LH_OK;
    }
    size_t wanted = needed * 2 < 4096 ? 4096 : needed * 2;
    unsigned char *pool = lh_heap_realloc(vocab->pool, wanted);
    if (!pool) {
        return vocab_memory(error);
    }
    vocab->pool = pool;
    vocab->pool_capacity = wanted;
    return LH_OK;
}

static size_t vocab_slot(const lh_vocab *vocab, const void *bytes, size_t size)
{
    size_t mask = vocab->table_size - 1;
    size_t slot = lh_hash_bytes(bytes, size) & mask;
    while (vocab->table[slot] >= 0) {
        int32_t id = vocab->table[slot];
        if (vocab->length[id] == size && (size == 0 || memcmp(vocab->pool + vocab->offset[id], bytes, size) == 0)) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static lh_status vocab_grow_table(lh_vocab *vocab, lh_error *error)
{
    if (vocab->table && (vocab->table_used + 1) * 2 <= vocab->table_size) {
        return LH_OK;
    }
    size_t old_size = vocab->table_size, new_size = old_size ? old_size * 2 : 1024;
    int32_t *old = vocab->table, *table = lh_heap_alloc(new_size * sizeof *table);
    if (!table) {
        return vocab_memory(error);
    }
    memset(table, 0xff, new_size * sizeof *table);
    vocab->table = table;
    vocab->table_size = new_size;
    for (size_t i = 0; old && i < old_size; i++) {
        if (old[i] >= 0) {
            int32_t id = old[i];
            table[vocab_slot(vocab, vocab->pool + vocab->offset[id], vocab->length[id])] = id;
        }
    }
    lh_heap_free(old);
    return LH_OK;
}

lh_status lh_vocab_put(lh_vocab *vocab, int32_t id, const void *bytes, size_t size, bool searchable,
                       lh_error *error)
{
    if (id < 0 || id >= INT32_MAX / 2 || size >= LH_VOCAB_HOLE) {
        return lh_fail(error, LH_E_ARGUMENT, "token id %ld is outside 0..%ld", (long)id, (long)INT32_MAX / 2 - 1);
    }
    LH_TRY(vocab_grow_ids(vocab, id + 1, error));
    LH_TRY(vocab_grow_pool(vocab, size, error));
    LH_TRY(vocab_grow_table(vocab, error));
    for (; vocab->count <= id; vocab->count++) {
        vocab->offset[vocab->count] = 0;
        vocab->length[vocab->count] = LH_VOCAB_HOLE;
    }
    if (size > 0) {
        memcpy(vocab->pool + vocab->pool_size, bytes, size);
    }
    vocab->offset[id] = vocab->pool_size;
    vocab->length[id] = (uint32_t)size;
    vocab->pool_size += size;
    if (searchable) {
        vocab->table[vocab_slot(vocab, bytes, size)] = id;
        vocab->table_used++;
    }
    return LH_OK;
}

int32_t lh_vocab_find(const lh_vocab *vocab, const void *bytes, size_t size)
{
    return vocab->table ? vocab->table[vocab_slot(vocab, bytes, size)] : -1;
}

const unsigned char *lh_vocab_get(const lh_vocab *vocab, int32_t id, size_t *size)
{
    if (id < 0 || id >= vocab->count || vocab->length[id] == LH_VOCAB_HOLE) {
        *size = 0;
        return NULL;
    }
    *size = vocab->length[id];
    return vocab->pool + vocab->offset[id];
}

void lh_vocab_free(lh_vocab *vocab)
{
    lh_heap_free(vocab->pool);
    lh_heap_free(vocab->offset);
    lh_heap_free(vocab->length);
    lh_heap_free(vocab->table);
    *vocab = (lh_vocab){0};
}
