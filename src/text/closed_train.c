/* Vocabularies of words and of characters: by descending count, ties by first appearance (Transformer-XL's rule).
 */
#include "base/memory.h"
#include "text/trainer_impl.h"

#include <stdlib.h>

typedef struct lh_ranked {
    uint64_t count;
    int32_t id; /* in the order of first appearance */
} lh_ranked;

static int by_count(const void *left, const void *right)
{
    const lh_ranked *a = left, *b = right;
    if (a->count != b->count) {
        return a->count < b->count ? 1 : -1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

static lh_status put_next(lh_tokenizer *tokenizer, const void *bytes, size_t size, lh_error *error)
{
    return lh_vocab_put(&tokenizer->vocab, tokenizer->vocab.count, bytes, size, true, error);
}

/* Adds the most frequent strings until the table has `limit` tokens. */
static lh_status put_ranked(lh_trainer *trainer, const lh_ranked *ranked, int32_t limit, lh_error *error)
{
    lh_tokenizer *tokenizer = trainer->tokenizer;
    for (int32_t i = 0; i < trainer->counts.strings.count && tokenizer->vocab.count < limit; i++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&trainer->counts.strings, ranked[i].id, &size);
        if (ranked[i].count >= (uint64_t)trainer->options.min_frequency &&
            lh_vocab_find(&tokenizer->vocab, bytes, size) < 0) {
            LH_TRY(put_next(tokenizer, bytes, size, error));
        }
    }
    return LH_OK;
}

static lh_status put_all(lh_trainer *trainer, const lh_ranked *ranked, lh_error *error)
{
    static const char eos[] = "<eos>", unknown[] = "<unk>";
    lh_tokenizer *tokenizer = trainer->tokenizer;
    bool words = tokenizer->kind == LH_TOKENIZER_WORDS;
    int32_t limit = trainer->options.vocab_size ? trainer->options.vocab_size : LH_VOCAB_LIMIT;
    for (size_t i = 0; trainer->options.special && trainer->options.special[i]; i++) {
        limit--;
    }
    if (words) {
        LH_TRY(put_next(tokenizer, eos, sizeof eos - 1, error));
        tokenizer->line_ends = true;
        tokenizer->roles[LH_TOKEN_EOS] = 0;
    }
    bool has_unknown = words || trainer->options.unknown;
    /* A text with its own "<unk>" gives it the place of its count; else it is the last. */
    int32_t before = tokenizer->vocab.count;
    LH_TRY(put_ranked(trainer, ranked, limit - has_unknown, error));
    if (has_unknown && lh_vocab_find(&tokenizer->vocab, unknown, sizeof unknown - 1) < 0) {
        LH_TRY(put_next(tokenizer, unknown, sizeof unknown - 1, error));
    } else {
        LH_TRY(put_ranked(trainer, ranked, limit, error));
    }
    if (tokenizer->vocab.count == before) {
        return lh_fail(error, LH_E_ARGUMENT, "nothing in the text occurs %lld times",
                       (long long)trainer->options.min_frequency);
    }
    if (has_unknown) {
        tokenizer->unknown = lh_vocab_find(&tokenizer->vocab, unknown, sizeof unknown - 1);
    }
    lh_tokenizer_index_bytes(tokenizer);
    return LH_OK;
}

lh_status lh_train_closed(lh_trainer *trainer, lh_error *error)
{
    size_t count = (size_t)trainer->counts.strings.count;
    lh_ranked *ranked = lh_heap_alloc(count * sizeof *ranked);
    if (!ranked) {
        return lh_fail(error, LH_E_MEMORY, "no memory to sort %zu words", count);
    }
    for (size_t i = 0; i < count; i++) {
        ranked[i] = (lh_ranked){trainer->counts.count[i], (int32_t)i};
    }
    qsort(ranked, count, sizeof *ranked, by_count);
    lh_status status = put_all(trainer, ranked, error);
    lh_heap_free(ranked);
    return status;
}
