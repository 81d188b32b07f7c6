#include "text/trainer_impl.h"

#include "base/memory.h"
#include "text/utf8.h"

#include <string.h>

/* A longer pre-token is counted in parts, so that a text without spaces does not make words of a million symbols.
 */
#define WORD_LIMIT 128

/* ---- counts ---- */

lh_status lh_counts_add(lh_counts *counts, const unsigned char *bytes, size_t size, uint64_t times, lh_error *error)
{
    int32_t id = lh_vocab_find(&counts->strings, bytes, size);
    if (id < 0) {
        id = counts->strings.count;
        LH_TRY(lh_vocab_put(&counts->strings, id, bytes, size, true, error));
        if (counts->strings.capacity > counts->capacity) {
            uint64_t *count = lh_heap_realloc(counts->count, (size_t)counts->strings.capacity * sizeof *count);
            if (!count) {
                return lh_fail(error, LH_E_MEMORY, "no memory to count %ld words", (long)counts->strings.capacity);
            }
            counts->count = count;
            counts->capacity = counts->strings.capacity;
        }
        counts->count[id] = 0;
    }
    counts->count[id] += times;
    return LH_OK;
}

void lh_counts_free(lh_counts *counts)
{
    lh_vocab_free(&counts->strings);
    lh_heap_free(counts->count);
    *counts = (lh_counts){0};
}

/* ---- what is counted ---- */

static lh_status count_parts(lh_trainer *trainer, const unsigned char *bytes, size_t size, lh_error *error)
{
    while (size > WORD_LIMIT) {
        size_t part = WORD_LIMIT;
        while (part > WORD_LIMIT - 4 && (bytes[part] & 0xc0) == 0x80) {
            part--;
        }
        LH_TRY(lh_counts_add(&trainer->counts, bytes, part, 1, error));
        bytes += part;
        size -= part;
    }
    return lh_counts_add(&trainer->counts, bytes, size, 1, error);
}

static lh_status count_character(lh_trainer *trainer, const unsigned char *bytes, size_t size, lh_error *error)
{
    int32_t code_point;
    bool valid = lh_utf8_decode(bytes, size, &code_point) > 0 && code_point != 0;
    trainer->offset += size;
    if (valid) {
        return lh_counts_add(&trainer->counts, bytes, size, 1, error);
    }
    if (trainer->options.unknown) {
        return LH_OK;
    }
    return lh_fail(error, LH_E_UNSUPPORTED,
                   "byte %llu of the text, 0x%02x, is no character that a vocabulary can hold (ask for an unknown "
                   "token to train on it nevertheless)",
                   (unsigned long long)trainer->offset - size, (unsigned)bytes[0]);
}

static lh_status observe(void *data, const unsigned char *bytes, size_t size, lh_error *error)
{
    lh_trainer *trainer = data;
    switch (trainer->options.kind) {
    case LH_TOKENIZER_CHARACTERS: return count_character(trainer, bytes, size, error);
    case LH_TOKENIZER_WORDS:
        /* What JSON cannot hold stays unknown. */
        if (size > 1024 || memchr(bytes, 0, size) || lh_utf8_valid_prefix(bytes, size) != size) {
            return LH_OK;
        }
        return lh_counts_add(&trainer->counts, bytes, size, 1, error);
    default: return count_parts(trainer, bytes, size, error);
    }
}

/* ---- the trainer ---- */

static lh_status check_options(const lh_train_options *options, lh_error *error)
{
    if (options->kind == LH_TOKENIZER_BYTES) {
        return lh_fail(error, LH_E_ARGUMENT, "a bytes tokenizer needs no training");
    }
    int32_t special = 0;
    while (options->special && options->special[special]) {
        special++;
    }
    int32_t least = 0;
    if (options->kind == LH_TOKENIZER_BPE) {
        least = 256 + special;
    } else if (options->kind == LH_TOKENIZER_SUBWORDS) {
        least = 258;
    } else if (options->vocab_size != 0) {
        least = 3 + special;
    }
    if (options->vocab_size < least || options->vocab_size > LH_VOCAB_LIMIT) {
        return lh_fail(error, LH_E_ARGUMENT, "a vocabulary of kind %s has %ld to %ld tokens, %ld were asked for",
                       lh_tokenizer_kind_name(options->kind), (long)least, (long)LH_VOCAB_LIMIT,
                       (long)options->vocab_size);
    }
    if (options->min_frequency < 1) {
        return lh_fail(error, LH_E_ARGUMENT, "the least frequency is at least 1, %lld was asked for",
                       (long long)options->min_frequency);
    }
    if (special > 0 && options->kind == LH_TOKENIZER_SUBWORDS) {
        return lh_fail(error, LH_E_UNSUPPORTED, "a subwords tokenizer cannot have special tokens");
    }
    return LH_OK;
}

static lh_status add_pattern(lh_tokenizer *tokenizer, const char *pattern, lh_error *error)
{
    if (tokenizer->kind == LH_TOKENIZER_SUBWORDS) {
        return lh_tokenizer_add_stage(tokenizer, LH_STAGE_SPLIT, LH_SUBWORD_PATTERN, "subwords", error);
    }
    if (tokenizer->kind != LH_TOKENIZER_BPE) {
        return LH_OK;
    }
    if (!pattern || strcmp(pattern, "gpt2") == 0) {
        return lh_tokenizer_add_stage(tokenizer, LH_STAGE_GPT2, NULL, "the new tokenizer", error);
    }
    const char *expression = pattern;
    if (strcmp(pattern, "qwen2") == 0) {
        expression = LH_QWEN2_PATTERN;
    } else if (strcmp(pattern, "llama3") == 0) {
        expression = LH_LLAMA3_PATTERN;
    }
    return lh_tokenizer_add_stage(tokenizer, LH_STAGE_SPLIT, expression, "the new tokenizer", error);
}

/* The special tokens come first, as other trainers do it. */
static lh_status add_special(lh_trainer *trainer, lh_error *error)
{
    for (size_t i = 0; trainer->options.special && trainer->options.special[i]; i++) {
        int32_t before = trainer->tokenizer->vocab.count;
        LH_TRY(lh_tokenizer_add_token(trainer->tokenizer, trainer->options.special[i], true, NULL, error));
        if (trainer->tokenizer->vocab.count == before) {
            return lh_fail(error, LH_E_ARGUMENT, "the special token \"%s\" is given twice or is a single byte",
                           trainer->options.special[i]);
        }
    }
    return LH_OK;
}

static lh_status start(lh_trainer *trainer, lh_error *error)
{
    trainer->tokenizer = lh_tokenizer_new(trainer->options.kind);
    if (!trainer->tokenizer) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer");
    }
    LH_TRY(add_pattern(trainer->tokenizer, trainer->options.pattern, error));
    trainer->options.pattern = NULL; /* the stage has a copy */
    return lh_encoder_create_observer(&trainer->encoder, trainer->tokenizer, observe, trainer, error);
}

static lh_status copy_special(lh_trainer *trainer, const char *const *special, lh_error *error)
{
    size_t count = 0;
    while (special && special[count]) {
        count++;
    }
    char **copy = lh_heap_alloc((count + 1) * sizeof *copy);
    trainer->options.special = (const char *const *)copy;
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = lh_heap_strdup(special[i]);
        if (!copy[i]) {
            copy = NULL;
        }
    }
    return copy ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer trainer");
}

lh_status lh_trainer_create(lh_trainer **trainer, const lh_train_options *options, lh_error *error)
{
    *trainer = NULL;
    LH_TRY(check_options(options, error));
    lh_trainer *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer trainer");
    }
    fresh->options = *options;
    lh_status status = copy_special(fresh, options->special, error);
    status = status == LH_OK ? start(fresh, error) : status;
    if (status != LH_OK) {
        lh_trainer_free(fresh);
        return status;
    }
    *trainer = fresh;
    return LH_OK;
}

lh_status lh_trainer_feed(lh_trainer *trainer, const void *bytes, size_t size, lh_error *error)
{
    return lh_encoder_feed(trainer->encoder, bytes, size, &trainer->no_ids, error);
}

lh_status lh_trainer_finish_document(lh_trainer *trainer, lh_error *error)
{
    trainer->offset = 0;
    return lh_encoder_finish(trainer->encoder, &trainer->no_ids, error);
}

uint64_t lh_trainer_distinct(const lh_trainer *trainer)
{
    return (uint64_t)trainer->counts.strings.count;
}

lh_status lh_train_tell(const lh_train_progress *progress, uint64_t done, uint64_t total, lh_error *error)
{
    if (progress->watch && !progress->watch(progress->data, done, total)) {
        return lh_fail(error, LH_E_INTERRUPTED, "stopped after %llu of %llu tokens", (unsigned long long)done,
                       (unsigned long long)total);
    }
    return LH_OK;
}

lh_status lh_trainer_build(lh_trainer *trainer, lh_train_watch watch, void *watch_data, lh_tokenizer **tokenizer,
                           lh_error *error)
{
    *tokenizer = NULL;
    if (!trainer->tokenizer) {
        return lh_fail(error, LH_E_ARGUMENT, "this trainer has built its tokenizer already");
    }
    if (trainer->counts.strings.count == 0) {
        return lh_fail(error, LH_E_ARGUMENT, "there is no text to train a tokenizer on");
    }
    lh_train_progress progress = {watch, watch_data};
    lh_status status;
    if (trainer->options.kind == LH_TOKENIZER_BPE) {
        status = add_special(trainer, error);
        status = status == LH_OK ? lh_train_bpe(trainer, &progress, error) : status;
    } else if (trainer->options.kind == LH_TOKENIZER_SUBWORDS) {
        status = lh_train_subwords(trainer, &progress, error);
    } else {
        status = lh_train_closed(trainer, error);
        status = status == LH_OK ? add_special(trainer, error) : status;
    }
    if (status == LH_OK) {
        lh_tokenizer_guess_roles(trainer->tokenizer);
        *tokenizer = trainer->tokenizer;
        trainer->tokenizer = NULL;
        lh_encoder_free(trainer->encoder);
        trainer->encoder = NULL;
    }
    return status;
}

void lh_trainer_free(lh_trainer *trainer)
{
    if (!trainer) {
        return;
    }
    for (size_t i = 0; trainer->options.special && trainer->options.special[i]; i++) {
        lh_heap_free((void *)(uintptr_t)trainer->options.special[i]);
    }
    lh_heap_free((void *)(uintptr_t)trainer->options.special);
    lh_encoder_free(trainer->encoder);
    lh_tokenizer_free(trainer->tokenizer);
    lh_counts_free(&trainer->counts);
    lh_ids_free(&trainer->no_ids);
    lh_heap_free(trainer);
}
