/* Byte pair encoding is learned by joining the most frequent pair of neighbours, again and again (Sennrich et al.
 * 2016, algorithm 1). The counts of pairs are kept up to date: a join touches only the words that hold the pair. */
#include "base/memory.h"
#include "text/byte_alphabet.h"
#include "text/hash.h"
#include "text/trainer_impl.h"

#define NO_INDEX UINT32_MAX
#define TELL_EVERY 64 /* merges */

typedef struct lh_pair {
    uint64_t ids; /* left << 32 | right */
    int64_t count;
    uint32_t words; /* first node of the list of words that had it when they were added; NO_INDEX at the end */
    bool changed;   /* is in the list of pairs that the present join made more frequent */
} lh_pair;

typedef struct lh_word_node {
    uint32_t word, next;
} lh_word_node;

/* In the order in which pairs are joined: count down, then ids up. */
typedef struct lh_ranked_pair {
    int64_t count;
    uint64_t ids;
    uint32_t pair;
} lh_ranked_pair;

typedef struct lh_bpe_training {
    lh_trainer *trainer;
    /* words: symbols[start[w] .. start[w] + length[w]) */
    int32_t *symbols;
    size_t *start;
    uint32_t *length;
    lh_pair *pairs;
    uint32_t pair_count, pair_capacity;
    uint32_t *table; /* open addressing by ids */
    size_t table_size;
    lh_word_node *nodes;
    uint32_t node_count, node_capacity, free_node;
    uint32_t *changed;
    uint32_t changed_count, changed_capacity;
    lh_ranked_pair *heap;
    size_t heap_count, heap_capacity;
} lh_bpe_training;

/* Room for one more element; `capacity` elements of `size` bytes are there. */
static lh_status grow(void **array, uint32_t count, uint32_t *capacity, size_t size, lh_error *error)
{
    if (count < *capacity) {
        return LH_OK;
    }
    if (count >= NO_INDEX / 2) {
        return lh_fail(error, LH_E_MEMORY, "the text has too many different words to train on");
    }
    uint32_t wanted = *capacity ? *capacity * 2 : 1024;
    void *grown = lh_heap_realloc(*array, wanted * size);
    if (!grown) {
        return lh_fail(error, LH_E_MEMORY, "no memory to count %lu pairs of tokens", (unsigned long)wanted);
    }
    *array = grown;
    *capacity = wanted;
    return LH_OK;
}

/* ---- pairs ---- */

static size_t pair_slot(const lh_bpe_training *training, uint64_t ids)
{
    size_t mask = training->table_size - 1, slot = lh_hash_word(ids) & mask;
    while (training->table[slot] != NO_INDEX && training->pairs[training->table[slot]].ids != ids) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static lh_status grow_table(lh_bpe_training *training, lh_error *error)
{
    if (training->table && ((size_t)training->pair_count + 1) * 2 <= training->table_size) {
        return LH_OK;
    }
    size_t size = training->table_size ? training->table_size * 2 : 4096;
    uint32_t *table = lh_heap_alloc(size * sizeof *table);
    if (!table) {
        return lh_fail(error, LH_E_MEMORY, "no memory to count %zu pairs of tokens", size / 2);
    }
    memset(table, 0xff, size * sizeof *table);
    lh_heap_free(training->table);
    training->table = table;
    training->table_size = size;
    for (uint32_t i = 0; i < training->pair_count; i++) {
        table[pair_slot(training, training->pairs[i].ids)] = i;
    }
    return LH_OK;
}

static uint64_t ids_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static lh_status find_pair(lh_bpe_training *training, uint64_t ids, uint32_t *index, lh_error *error)
{
    LH_TRY(grow_table(training, error));
    size_t slot = pair_slot(training, ids);
    if (training->table[slot] == NO_INDEX) {
        LH_TRY(grow((void **)&training->pairs, training->pair_count, &training->pair_capacity,
                    sizeof *training->pairs, error));
        training->pairs[training->pair_count] = (lh_pair){ids, 0, NO_INDEX, false};
        training->table[slot] = training->pair_count++;
    }
    *index = training->table[slot];
    return LH_OK;
}

static lh_status note_word(lh_bpe_training *training, lh_pair *pair, uint32_t word, lh_error *error)
{
    if (pair->words != NO_INDEX && training->nodes[pair->words].word == word) {
        return LH_OK;
    }
    uint32_t node = training->free_node;
    if (node != NO_INDEX) {
        training->free_node = training->nodes[node].next;
    } else {
        LH_TRY(grow((void **)&training->nodes, training->node_count, &training->node_capacity,
                    sizeof *training->nodes, error));
        node = training->node_count++;
    }
    training->nodes[node] = (lh_word_node){word, pair->words};
    pair->words = node;
    return LH_OK;
}

static lh_status increase(lh_bpe_training *training, int32_t left, int32_t right, uint32_t word, lh_error *error)
{
    uint32_t index = 0;
    LH_TRY(find_pair(training, ids_of(left, right), &index, error));
    lh_pair *pair = training->pairs + index;
    /* A filled slot of the table means that pairs has been allocated.
     * NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    pair->count += (int64_t)training->trainer->counts.count[word];
    if (!pair->changed) {
        LH_TRY(grow((void **)&training->changed, training->changed_count, &training->changed_capacity,
                    sizeof *training->changed, error));
        training->changed[training->changed_count++] = index;
        pair->changed = true;
    }
    return note_word(training, pair, word, error);
}

static lh_status decrease(lh_bpe_training *training, int32_t left, int32_t right, uint32_t word, lh_error *error)
{
    uint32_t index = 0;
    LH_TRY(find_pair(training, ids_of(left, right), &index, error));
    training->pairs[index].count -= (int64_t)training->trainer->counts.count[word];
    return LH_OK;
}

/* ---- the heap ---- */

static bool before(const lh_ranked_pair *a, const lh_ranked_pair *b)
{
    return a->count != b->count ? a->count > b->count : a->ids < b->ids;
}

static lh_status push(lh_bpe_training *training, uint32_t pair, lh_error *error)
{
    if (training->heap_count == training->heap_capacity) {
        size_t capacity = training->heap_capacity ? training->heap_capacity * 2 : 4096;
        lh_ranked_pair *heap = lh_heap_realloc(training->heap, capacity * sizeof *heap);
        if (!heap) {
            return lh_fail(error, LH_E_MEMORY, "no memory to sort %zu pairs of tokens", capacity);
        }
        training->heap = heap;
        training->heap_capacity = capacity;
    }
    lh_ranked_pair entry = {training->pairs[pair].count, training->pairs[pair].ids, pair};
    size_t at = training->heap_count++;
    while (at > 0 && before(&entry, &training->heap[(at - 1) / 2])) {
        training->heap[at] = training->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    training->heap[at] = entry;
    return LH_OK;
}

static lh_ranked_pair pop(lh_bpe_training *training)
{
    lh_ranked_pair *heap = training->heap, top = heap[0], last = heap[--training->heap_count];
    size_t at = 0;
    for (size_t child = 1; child < training->heap_count; child = 2 * at + 1) {
        if (child + 1 < training->heap_count && before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!before(&heap[child], &last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

/* Pairs that became more frequent are pushed with their new count. Those that became rarer are put right when they
 * come to the top. */
static lh_status push_changed(lh_bpe_training *training, lh_error *error)
{
    for (uint32_t i = 0; i < training->changed_count; i++) {
        training->pairs[training->changed[i]].changed = false;
        LH_TRY(push(training, training->changed[i], error));
    }
    training->changed_count = 0;
    return LH_OK;
}

/* The most frequent pair, or NO_INDEX if none is frequent enough. */
static lh_status best_pair(lh_bpe_training *training, uint32_t *best, lh_error *error)
{
    *best = NO_INDEX;
    while (training->heap_count > 0 && *best == NO_INDEX) {
        lh_ranked_pair top = pop(training);
        int64_t count = training->pairs[top.pair].count;
        if (count < training->trainer->options.min_frequency) {
            continue;
        }
        if (count == top.count) {
            *best = top.pair;
        } else {
            LH_TRY(push(training, top.pair, error));
        }
    }
    return LH_OK;
}

/* ---- words ---- */

static lh_status load_words(lh_bpe_training *training, lh_error *error)
{
    const lh_vocab *words = &training->trainer->counts.strings;
    size_t count = (size_t)words->count;
    training->symbols = lh_heap_alloc(words->pool_size * sizeof *training->symbols);
    training->start = lh_heap_alloc(count * sizeof *training->start);
    training->length = lh_heap_alloc(count * sizeof *training->length);
    if (!training->symbols || !training->start || !training->length) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu words", count);
    }
    size_t at = 0;
    for (uint32_t word = 0; word < count; word++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(words, (int32_t)word, &size);
        int32_t *symbols = training->symbols + at;
        training->start[word] = at;
        training->length[word] = (uint32_t)size;
        for (size_t i = 0; i < size; i++) {
            symbols[i] = training->trainer->tokenizer->byte_ids[bytes[i]];
        }
        for (size_t i = 0; i + 1 < size; i++) {
            LH_TRY(increase(training, symbols[i], symbols[i + 1], word, error));
        }
        at += size;
    }
    return push_changed(training, error);
}

/* Joins the pair wherever it is in the word, from the left. */
static lh_status join_in_word(lh_bpe_training *training, uint32_t word, int32_t left, int32_t right, int32_t joined,
                              lh_error *error)
{
    int32_t *symbols = training->symbols + training->start[word];
    uint32_t length = training->length[word], out = 0;
    for (uint32_t i = 0; i < length; i++) {
        bool found = symbols[i] == left && i + 1 < length && symbols[i + 1] == right;
        if (!found) {
            symbols[out++] = symbols[i];
            continue;
        }
        if (out > 0) {
            LH_TRY(decrease(training, symbols[out - 1], left, word, error));
            LH_TRY(increase(training, symbols[out - 1], joined, word, error));
        }
        if (i + 2 < length) {
            LH_TRY(decrease(training, right, symbols[i + 2], word, error));
            LH_TRY(increase(training, joined, symbols[i + 2], word, error));
        }
        symbols[out++] = joined;
        i++;
    }
    training->length[word] = out;
    return LH_OK;
}

static lh_status join_everywhere(lh_bpe_training *training, uint32_t index, int32_t joined, lh_error *error)
{
    uint64_t ids = training->pairs[index].ids;
    uint32_t node = training->pairs[index].words;
    training->pairs[index].words = NO_INDEX;
    while (node != NO_INDEX) {
        lh_word_node here = training->nodes[node];
        LH_TRY(join_in_word(training, here.word, (int32_t)(ids >> 32), (int32_t)(uint32_t)ids, joined, error));
        training->nodes[node].next = training->free_node;
        training->free_node = node;
        node = here.next;
    }
    training->pairs[index].count = 0;
    return push_changed(training, error);
}

/* ---- tokens ---- */

/* The 256 bytes in the order of their letters, as other trainers number them. */
static lh_status add_bytes(lh_tokenizer *tokenizer, lh_error *error)
{
    for (int32_t letter = 0; letter < 0x200; letter++) {
        for (int i = 0; i < 256; i++) {
            unsigned char byte = (unsigned char)i;
            if (lh_byte_letter(byte) == letter) {
                LH_TRY(lh_vocab_put(&tokenizer->vocab, tokenizer->vocab.count, &byte, 1, true, error));
            }
        }
    }
    lh_tokenizer_index_bytes(tokenizer);
    return LH_OK;
}

/* The token of a joined pair, and the merge. Two pairs may make the same bytes. A pair that would spell out a
 * special token is not joined: LH_NO_TOKEN. */
static lh_status add_joined(lh_tokenizer *tokenizer, uint64_t ids, int32_t *joined, lh_error *error)
{
    lh_string bytes = {0};
    int32_t parts[2] = {(int32_t)(ids >> 32), (int32_t)(uint32_t)ids};
    for (int i = 0; i < 2; i++) {
        size_t size;
        const unsigned char *part = lh_vocab_get(&tokenizer->vocab, parts[i], &size);
        lh_string_append(&bytes, part, size);
    }
    lh_status status = LH_OK;
    if (bytes.failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory for a token");
    } else {
        *joined = lh_vocab_find(&tokenizer->vocab, bytes.data, bytes.size);
        if (*joined < 0) {
            *joined = tokenizer->vocab.count;
            status = lh_vocab_put(&tokenizer->vocab, *joined, bytes.data, bytes.size, true, error);
        }
    }
    lh_string_free(&bytes);
    LH_TRY(status);
    if (lh_tokenizer_is_added(tokenizer, *joined)) {
        *joined = LH_NO_TOKEN;
        return LH_OK;
    }
    bool added;
    return lh_merges_put(&tokenizer->merges, parts[0], parts[1], *joined, &added, error);
}

static lh_status train(lh_bpe_training *training, const lh_train_progress *progress, lh_error *error)
{
    lh_tokenizer *tokenizer = training->trainer->tokenizer;
    int32_t wanted = training->trainer->options.vocab_size;
    LH_TRY(add_bytes(tokenizer, error));
    LH_TRY(load_words(training, error));
    while (tokenizer->vocab.count < wanted) {
        uint32_t best = NO_INDEX;
        int32_t joined = LH_NO_TOKEN;
        LH_TRY(best_pair(training, &best, error));
        if (best == NO_INDEX) {
            break;
        }
        LH_TRY(add_joined(tokenizer, training->pairs[best].ids, &joined, error));
        if (joined == LH_NO_TOKEN) {
            training->pairs[best].count = INT64_MIN / 2; /* it will never be frequent enough */
            continue;
        }
        LH_TRY(join_everywhere(training, best, joined, error));
        if (tokenizer->merges.count % TELL_EVERY == 0) {
            LH_TRY(lh_train_tell(progress, (uint64_t)tokenizer->vocab.count, (uint64_t)wanted, error));
        }
    }
    return lh_train_tell(progress, (uint64_t)tokenizer->vocab.count, (uint64_t)wanted, error);
}

lh_status lh_train_bpe(lh_trainer *trainer, const lh_train_progress *progress, lh_error *error)
{
    lh_bpe_training training = {.trainer = trainer, .free_node = NO_INDEX};
    lh_status status = train(&training, progress, error);
    lh_heap_free(training.symbols);
    lh_heap_free(training.start);
    lh_heap_free(training.length);
    lh_heap_free(training.pairs);
    lh_heap_free(training.table);
    lh_heap_free(training.nodes);
    lh_heap_free(training.changed);
    lh_heap_free(training.heap);
    return status;
}
