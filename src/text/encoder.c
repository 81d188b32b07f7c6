#include "text/encoder_impl.h"

#include "base/memory.h"
#include "text/hash.h"
#include "text/utf8.h"

#include <string.h>

#define INPUT_CAPACITY ((size_t)64 * 1024)
#define INPUT_MINIMUM \
    ((size_t)4 * 1024) /* small feeds are gathered, so that held text is not looked at too often */
#define CACHE_WORDS ((size_t)1 << 15)

/* ---- byte pair encoding of one pre-token ---- */

lh_status lh_encoder_reserve(lh_encoder *encoder, size_t symbols_needed, lh_error *error)
{
    if (symbols_needed <= encoder->symbol_capacity) {
        return LH_OK;
    }
    size_t capacity = symbols_needed * 2 < 1024 ? 1024 : symbols_needed * 2;
    int32_t *symbols = lh_heap_realloc(encoder->symbols, capacity * sizeof *symbols);
    if (!symbols) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a pre-token of %zu bytes", symbols_needed);
    }
    encoder->symbols = symbols;
    encoder->symbol_capacity = capacity;
    return LH_OK;
}

/* Cuts one pre-token into encoder->symbols. */
static lh_status merge_piece(lh_encoder *encoder, const unsigned char *bytes, size_t size, size_t *count,
                             lh_error *error)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    LH_TRY(lh_encoder_reserve(encoder, size, error));
    int32_t *symbols = encoder->symbols;
    if (tokenizer->whole_words) {
        int32_t id = lh_vocab_find(&tokenizer->vocab, bytes, size);
        if (id >= 0 && !lh_tokenizer_is_special(tokenizer, id)) {
            symbols[0] = id;
            *count = 1;
            return LH_OK;
        }
    }
    for (size_t i = 0; i < size; i++) {
        symbols[i] = tokenizer->byte_ids[bytes[i]];
        if (symbols[i] < 0) {
            symbols[i] = tokenizer->unknown;
        }
        if (symbols[i] < 0) {
            return lh_fail(
                error, LH_E_UNSUPPORTED,
                "the text has a byte 0x%02x, for which the vocabulary has neither a token nor an unknown "
                "token",
                (unsigned)bytes[i]);
        }
    }
    *count = size;
    return lh_merges_apply(&tokenizer->merges, &encoder->scratch, symbols, count, error);
}

lh_cached_word *lh_cache_place(lh_encoder *encoder, const unsigned char *bytes, size_t size, uint32_t *tag)
{
    uint64_t hash = lh_hash_bytes(bytes, size);
    *tag = (uint32_t)(hash >> 32);
    return encoder->cache + (hash & (encoder->cache_size - 1));
}

bool lh_cached_is(const lh_cached_word *word, uint32_t tag, const unsigned char *bytes, size_t size)
{
    return word->hash == tag && word->size == size && memcmp(word->bytes, bytes, size) == 0;
}

void lh_cache_put(lh_cached_word *word, uint32_t tag, const unsigned char *bytes, size_t size, const int32_t *ids,
                  size_t count)
{
    if (size <= LH_CACHED_BYTES && count <= LH_CACHED_IDS) {
        word->hash = tag;
        word->size = (uint8_t)size;
        word->count = (uint8_t)count;
        memcpy(word->bytes, bytes, size);
        memcpy(word->ids, ids, count * sizeof *ids);
    }
}

static lh_status encode_piece(void *data, const unsigned char *bytes, size_t size, lh_error *error)
{
    lh_encoder *encoder = data;
    size_t count;
    if (size > LH_CACHED_BYTES) {
        LH_TRY(merge_piece(encoder, bytes, size, &count, error));
        return lh_ids_append(encoder->out, encoder->symbols, count, error);
    }
    uint32_t tag;
    lh_cached_word *word = lh_cache_place(encoder, bytes, size, &tag);
    if (lh_cached_is(word, tag, bytes, size)) {
        return word->count == 1 ? lh_emit_id(encoder, word->ids[0], error)
                                : lh_ids_append(encoder->out, word->ids, word->count, error);
    }
    LH_TRY(merge_piece(encoder, bytes, size, &count, error));
    lh_cache_put(word, tag, bytes, size, encoder->symbols, count);
    return lh_ids_append(encoder->out, encoder->symbols, count, error);
}

/* ---- bytes ---- */

static lh_status encode_bytes(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    int32_t ids[1024];
    while (size > 0) {
        size_t count = size < 1024 ? size : 1024;
        for (size_t i = 0; i < count; i++) {
            ids[i] = bytes[i];
        }
        LH_TRY(lh_ids_append(encoder->out, ids, count, error));
        bytes += count;
        size -= count;
    }
    return LH_OK;
}

/* ---- text between added tokens ---- */

static lh_status feed_splitter(void *data, const unsigned char *bytes, size_t size, lh_error *error)
{
    return lh_splitter_feed(((lh_encoder *)data)->splitter, bytes, size, error);
}

static lh_status encode_split(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    if (encoder->tokenizer->prefix_space && !encoder->segment_started && bytes[0] != ' ') {
        LH_TRY(lh_splitter_feed(encoder->splitter, (const unsigned char *)" ", 1, error));
    }
    if (encoder->normalizer) {
        return lh_normalizer_feed(encoder->normalizer, bytes, size, error);
    }
    return lh_splitter_feed(encoder->splitter, bytes, size, error);
}

static lh_status encode_text(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    lh_status status = LH_E_INTERNAL;
    if (size == 0) {
        return LH_OK;
    }
    switch (encoder->tokenizer->kind) {
    case LH_TOKENIZER_BYTES: status = encode_bytes(encoder, bytes, size, error); break;
    case LH_TOKENIZER_BPE:
    case LH_TOKENIZER_SUBWORDS: status = encode_split(encoder, bytes, size, error); break;
    case LH_TOKENIZER_WORDS: status = lh_encode_words(encoder, bytes, size, error); break;
    case LH_TOKENIZER_CHARACTERS: status = lh_encode_characters(encoder, bytes, size, error); break;
    }
    encoder->segment_started = true;
    encoder->offset += size;
    return status;
}

static lh_status end_text(lh_encoder *encoder, bool document, lh_error *error)
{
    if (encoder->normalizer) {
        LH_TRY(lh_normalizer_finish(encoder->normalizer, error));
    }
    if (encoder->splitter) {
        LH_TRY(lh_splitter_finish(encoder->splitter, error));
    }
    if (encoder->tokenizer->kind == LH_TOKENIZER_WORDS) {
        LH_TRY(lh_encode_words_end(encoder, document, error));
    }
    if (encoder->tokenizer->kind == LH_TOKENIZER_SUBWORDS && document) {
        LH_TRY(lh_encode_subword_end(encoder, error));
    }
    encoder->segment_started = false;
    return LH_OK;
}

/* ---- the stream ---- */

/* The size without a character at the end that is not complete. */
static size_t whole_characters(const unsigned char *bytes, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        if ((bytes[size - back] & 0xc0) != 0x80) {
            int32_t code_point;
            bool cut = lh_utf8_decode(bytes + size - back, back, &code_point) == LH_UTF8_INCOMPLETE;
            return cut ? size - back : size;
        }
    }
    return size;
}

static lh_status process_input(lh_encoder *encoder, bool final, lh_error *error)
{
    size_t at = 0;
    for (;;) {
        const unsigned char *text = encoder->input + at;
        size_t size = encoder->input_size - at;
        lh_match match = {size, 0, LH_NO_TOKEN};
        if (encoder->matcher.count > 0) {
            match = lh_matcher_find(&encoder->matcher, text, size, final);
        }
        size_t plain = match.size == 0 && !final ? whole_characters(text, match.start) : match.start;
        LH_TRY(encode_text(encoder, text, plain, error));
        at += plain;
        if (match.size == 0) {
            break;
        }
        LH_TRY(end_text(encoder, false, error));
        if (encoder->tokenizer->kind == LH_TOKENIZER_SUBWORDS) {
            LH_TRY(lh_encode_subword_reserved(encoder, encoder->input + at, match.size, error));
        } else {
            LH_TRY(lh_emit_id(encoder, match.id, error));
        }
        at += match.size;
        encoder->offset += match.size;
    }
    encoder->input_size -= at;
    memmove(encoder->input, encoder->input + at, encoder->input_size);
    return LH_OK;
}

lh_status lh_encoder_feed(lh_encoder *encoder, const void *bytes, size_t size, lh_ids *ids, lh_error *error)
{
    const unsigned char *from = bytes;
    encoder->out = ids;
    while (size > 0) {
        size_t room = encoder->input_capacity - encoder->input_size, slice = size < room ? size : room;
        memcpy(encoder->input + encoder->input_size, from, slice);
        encoder->input_size += slice;
        from += slice;
        size -= slice;
        if (encoder->input_size >= INPUT_MINIMUM || encoder->input_size == encoder->input_capacity) {
            LH_TRY(process_input(encoder, false, error));
        }
    }
    return LH_OK;
}

lh_status lh_encoder_finish(lh_encoder *encoder, lh_ids *ids, lh_error *error)
{
    encoder->out = ids;
    LH_TRY(process_input(encoder, true, error));
    LH_TRY(end_text(encoder, true, error));
    encoder->offset = 0;
    return LH_OK;
}

void lh_encoder_reset(lh_encoder *encoder)
{
    encoder->input_size = 0;
    encoder->segment_started = false;
    encoder->line_started = false;
    encoder->offset = 0;
    lh_string_clear(&encoder->word);
    lh_encode_subword_reset(encoder);
    if (encoder->normalizer) {
        lh_normalizer_reset(encoder->normalizer);
    }
    if (encoder->splitter) {
        lh_splitter_reset(encoder->splitter);
    }
}

static lh_status create_splitter(lh_encoder *encoder, lh_error *error)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    const lh_pattern *patterns[LH_SPLITTER_PATTERNS];
    for (size_t i = 0; i < tokenizer->stage_count; i++) {
        patterns[i] = tokenizer->stages[i].pattern;
    }
    lh_piece_sink sink = tokenizer->kind == LH_TOKENIZER_BPE ? encode_piece : lh_encode_subword_piece;
    bool observed = encoder->observe && tokenizer->kind == LH_TOKENIZER_BPE;
    LH_TRY(lh_splitter_create(&encoder->splitter, patterns, tokenizer->stage_count,
                              observed ? encoder->observe : sink, observed ? encoder->observe_data : encoder,
                              error));
    return tokenizer->compose ? lh_normalizer_create(&encoder->normalizer, feed_splitter, encoder, error) : LH_OK;
}

static lh_status create_matcher(lh_encoder *encoder, bool special, lh_error *error)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        size_t size;
        const unsigned char *bytes = lh_tokenizer_token(tokenizer, tokenizer->added[i].id, &size);
        if (size > 0 && (special || !tokenizer->added[i].special)) {
            LH_TRY(lh_matcher_add(&encoder->matcher, bytes, size, tokenizer->added[i].id, error));
        }
    }
    lh_matcher_sort(&encoder->matcher);
    return LH_OK;
}

static lh_status create_parts(lh_encoder *encoder, bool special, size_t size, lh_error *error)
{
    lh_tokenizer_kind kind = encoder->tokenizer->kind;
    bool splits = kind == LH_TOKENIZER_BPE || kind == LH_TOKENIZER_SUBWORDS;
    encoder->input_capacity = size < INPUT_CAPACITY ? size + LH_ADDED_TOKEN_LIMIT : INPUT_CAPACITY;
    encoder->input = lh_heap_alloc(encoder->input_capacity);
    encoder->cache_size = 64;
    while (encoder->cache_size < CACHE_WORDS && encoder->cache_size < size / 16) {
        encoder->cache_size *= 2;
    }
    if (splits && !encoder->observe) {
        encoder->cache = lh_heap_alloc(encoder->cache_size * sizeof *encoder->cache);
    }
    if (!encoder->input || (splits && !encoder->observe && !encoder->cache)) {
        return lh_fail(error, LH_E_MEMORY, "no memory for an encoder");
    }
    LH_TRY(splits ? create_splitter(encoder, error) : LH_OK);
    return kind == LH_TOKENIZER_SUBWORDS ? lh_encode_subword_start(encoder, error)
                                         : create_matcher(encoder, special, error);
}

static lh_status create(lh_encoder **encoder, const lh_encoder *start, bool special, size_t size, lh_error *error)
{
    *encoder = NULL;
    lh_encoder *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for an encoder");
    }
    *fresh = *start;
    lh_status status = create_parts(fresh, special, size, error);
    if (status != LH_OK) {
        lh_encoder_free(fresh);
        return status;
    }
    *encoder = fresh;
    return LH_OK;
}

lh_status lh_encoder_create_for(lh_encoder **encoder, const lh_tokenizer *tokenizer, unsigned flags, size_t size,
                                lh_error *error)
{
    lh_encoder start = {.tokenizer = tokenizer};
    return create(encoder, &start, (flags & LH_ENCODE_SPECIAL) != 0, size, error);
}

lh_status lh_encoder_create_observer(lh_encoder **encoder, const lh_tokenizer *tokenizer, lh_piece_sink observe,
                                     void *observe_data, lh_error *error)
{
    lh_encoder start = {.tokenizer = tokenizer, .observe = observe, .observe_data = observe_data};
    return create(encoder, &start, false, SIZE_MAX, error);
}

lh_status lh_encoder_create(lh_encoder **encoder, const lh_tokenizer *tokenizer, unsigned flags, lh_error *error)
{
    return lh_encoder_create_for(encoder, tokenizer, flags, SIZE_MAX, error);
}

void lh_encoder_free(lh_encoder *encoder)
{
    if (encoder) {
        lh_matcher_free(&encoder->matcher);
        lh_encode_subword_free(encoder);
        lh_normalizer_free(encoder->normalizer);
        lh_splitter_free(encoder->splitter);
        lh_merge_scratch_free(&encoder->scratch);
        lh_string_free(&encoder->word);
        lh_heap_free(encoder->input);
        lh_heap_free(encoder->cache);
        lh_heap_free(encoder->symbols);
        lh_heap_free(encoder);
    }
}

lh_status lh_tokenizer_encode(const lh_tokenizer *tokenizer, const void *bytes, size_t size, unsigned flags,
                              lh_ids *ids, lh_error *error)
{
    lh_encoder *encoder;
    LH_TRY(lh_encoder_create_for(&encoder, tokenizer, flags, size, error));
    lh_status status = lh_encoder_feed(encoder, bytes, size, ids, error);
    if (status == LH_OK) {
        status = lh_encoder_finish(encoder, ids, error);
    }
    lh_encoder_free(encoder);
    return status;
}
