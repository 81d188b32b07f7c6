/* The tfds SubwordTextEncoder: from text to tokens to ids. */
#include "base/memory.h"
#include "text/encoder_impl.h"
#include "text/subword.h"
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* ---- tokens ---- */

bool lh_subword_usable(const unsigned char *form, size_t size)
{
    const unsigned char *underscore = memchr(form, '_', size);
    bool inside = underscore && (size_t)(underscore - form) + 1 < size;
    return size > 0 && !inside && !memmem(form, size, LH_SUBWORD_ESCAPE, sizeof LH_SUBWORD_ESCAPE - 1);
}

static bool is_word_character(int32_t code_point)
{
    utf8proc_category_t category = utf8proc_category(code_point);
    bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
    bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
    return letter || number || code_point == '_';
}

bool lh_subword_mixed(const unsigned char *form, size_t size)
{
    bool word = false, other = false;
    for (size_t at = 0; at < size;) {
        int32_t code_point = 0;
        int length = lh_utf8_decode(form + at, size - at, &code_point);
        if (length < 0) {
            return false;
        }
        if (is_word_character(code_point)) {
            word = true;
        } else {
            other = true;
        }
        at += (size_t)length;
    }
    return word && other;
}

static lh_status release(lh_subword_tokens *tokens, bool space, lh_error *error)
{
    if (!tokens->has_waiting) {
        return LH_OK;
    }
    tokens->has_waiting = false;
    return tokens->token(tokens->data, (const unsigned char *)tokens->waiting.data, tokens->waiting.size, space,
                         error);
}

static lh_status wait_for_space(lh_subword_tokens *tokens, const void *bytes, size_t size, lh_error *error)
{
    lh_string_clear(&tokens->waiting);
    lh_string_append(&tokens->waiting, bytes, size);
    tokens->has_waiting = true;
    return tokens->waiting.failed ? lh_fail(error, LH_E_MEMORY, "no memory for a token of %zu bytes", size) : LH_OK;
}

lh_status lh_subword_piece(lh_subword_tokens *tokens, const unsigned char *bytes, size_t size, lh_error *error)
{
    if (tokens->has_waiting && size == 1 && bytes[0] == ' ') {
        return release(tokens, true, error);
    }
    LH_TRY(release(tokens, false, error));
    int32_t code_point;
    if (lh_utf8_decode(bytes, size, &code_point) < 0) {
        return tokens->raw(tokens->data, bytes, size, error);
    }
    return wait_for_space(tokens, bytes, size, error);
}

lh_status lh_subword_reserved(lh_subword_tokens *tokens, const unsigned char *bytes, size_t size, lh_error *error)
{
    LH_TRY(release(tokens, false, error));
    size_t escape = sizeof LH_SUBWORD_ESCAPE - 1;
    if (size != escape || memcmp(bytes, LH_SUBWORD_ESCAPE, escape) != 0) {
        return wait_for_space(tokens, bytes, size, error);
    }
    /* Two tokens, so that it cannot be taken for the escape. The original forgets to drop a space after them and
     * does not decode to the same text; here the space belongs to the second as it does to every token. */
    LH_TRY(tokens->token(tokens->data, bytes, 2, false, error));
    return wait_for_space(tokens, bytes + 2, size - 2, error);
}

lh_status lh_subword_end(lh_subword_tokens *tokens, lh_error *error)
{
    return release(tokens, false, error);
}

/* ---- ids ---- */

/* Greedy longest match from the left; `form` has no "_" but the one for a space at its end. Appends to the symbols,
 * of which there is room for one for each byte. */
static void cut_form(lh_encoder *encoder, const unsigned char *form, size_t size, size_t *count)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    for (size_t at = 0; at < size;) {
        bool open;
        lh_match match = lh_matcher_prefix(&encoder->subwords, form + at, size - at, &open);
        if (match.size > 0) {
            encoder->symbols[(*count)++] = match.id;
            at += match.size;
            continue;
        }
        int32_t code_point;
        int length = lh_utf8_decode(form + at, size - at, &code_point);
        for (int i = 0; i < length; i++) {
            unsigned char byte = form[at + (size_t)i];
            encoder->symbols[(*count)++] = tokenizer->byte_ids[byte == '_' ? ' ' : byte];
        }
        at += (size_t)length;
    }
}

static lh_status encode_token(lh_encoder *encoder, const unsigned char *bytes, size_t size, bool space,
                              size_t *count, lh_error *error)
{
    LH_TRY(lh_encoder_reserve(encoder, size + 1, error));
    *count = 0;
    for (size_t at = 0; at <= size;) {
        const unsigned char *underscore = at < size ? memchr(bytes + at, '_', size - at) : NULL;
        size_t end = underscore ? (size_t)(underscore - bytes) : size;
        lh_string_clear(&encoder->word);
        lh_string_append(&encoder->word, bytes + at, end - at);
        lh_string_append(&encoder->word, "_", end == size && space ? 1 : 0);
        if (encoder->word.failed) {
            return lh_fail(error, LH_E_MEMORY, "no memory for a token of %zu bytes", size);
        }
        cut_form(encoder, (const unsigned char *)encoder->word.data, encoder->word.size, count);
        if (underscore) {
            encoder->symbols[(*count)++] = encoder->tokenizer->byte_ids['_'];
        }
        at = end + 1;
    }
    return LH_OK;
}

static lh_status token_to_ids(void *data, const unsigned char *bytes, size_t size, bool space, lh_error *error)
{
    lh_encoder *encoder = data;
    size_t count;
    if (size >= LH_CACHED_BYTES) {
        LH_TRY(encode_token(encoder, bytes, size, space, &count, error));
        return lh_ids_append(encoder->out, encoder->symbols, count, error);
    }
    /* The space is part of the key, as a byte that no UTF-8 has. */
    unsigned char key[LH_CACHED_BYTES];
    memcpy(key, bytes, size);
    key[size] = 0xff;
    size_t key_size = size + space;
    uint32_t tag;
    lh_cached_word *word = lh_cache_place(encoder, key, key_size, &tag);
    if (lh_cached_is(word, tag, key, key_size)) {
        return lh_ids_append(encoder->out, word->ids, word->count, error);
    }
    LH_TRY(encode_token(encoder, bytes, size, space, &count, error));
    lh_cache_put(word, tag, key, key_size, encoder->symbols, count);
    return lh_ids_append(encoder->out, encoder->symbols, count, error);
}

static lh_status token_to_observer(void *data, const unsigned char *bytes, size_t size, bool space, lh_error *error)
{
    lh_encoder *encoder = data;
    lh_string_clear(&encoder->word);
    lh_string_append(&encoder->word, bytes, size);
    lh_string_append(&encoder->word, "\xff", space ? 1 : 0);
    if (encoder->word.failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a token of %zu bytes", size);
    }
    return encoder->observe(encoder->observe_data, (const unsigned char *)encoder->word.data, encoder->word.size,
                            error);
}

static lh_status raw_to_ids(void *data, const unsigned char *bytes, size_t size, lh_error *error)
{
    lh_encoder *encoder = data;
    for (size_t i = 0; i < size && !encoder->observe; i++) {
        LH_TRY(lh_emit_id(encoder, encoder->tokenizer->byte_ids[bytes[i]], error));
    }
    return LH_OK;
}

lh_status lh_encode_subword_piece(void *data, const unsigned char *bytes, size_t size, lh_error *error)
{
    return lh_subword_piece(((lh_encoder *)data)->tokens, bytes, size, error);
}

lh_status lh_encode_subword_reserved(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    return lh_subword_reserved(encoder->tokens, bytes, size, error);
}

lh_status lh_encode_subword_end(lh_encoder *encoder, lh_error *error)
{
    return lh_subword_end(encoder->tokens, error);
}

lh_status lh_encode_subword_start(lh_encoder *encoder, lh_error *error)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    encoder->tokens = lh_heap_alloc(sizeof *encoder->tokens);
    if (!encoder->tokens) {
        return lh_fail(error, LH_E_MEMORY, "no memory for an encoder");
    }
    *encoder->tokens = (lh_subword_tokens){
        .token = encoder->observe ? token_to_observer : token_to_ids, .raw = raw_to_ids, .data = encoder};
    LH_TRY(lh_matcher_add(&encoder->matcher, (const unsigned char *)LH_SUBWORD_ESCAPE, sizeof LH_SUBWORD_ESCAPE - 1,
                          LH_NO_TOKEN, error));
    for (int32_t id = 1; id <= tokenizer->subword_count; id++) {
        size_t size;
        const unsigned char *form = lh_vocab_get(&tokenizer->forms, id, &size);
        if (!lh_subword_usable(form, size)) {
            continue;
        }
        LH_TRY(lh_matcher_add(&encoder->subwords, form, size, id, error));
        if (size <= LH_ADDED_TOKEN_LIMIT && !memchr(form, '_', size) && lh_subword_mixed(form, size)) {
            LH_TRY(lh_matcher_add(&encoder->matcher, form, size, id, error));
        }
    }
    lh_matcher_sort(&encoder->matcher);
    lh_matcher_sort(&encoder->subwords);
    return LH_OK;
}

void lh_encode_subword_reset(lh_encoder *encoder)
{
    if (encoder->tokens) {
        encoder->tokens->has_waiting = false;
    }
}

void lh_encode_subword_free(lh_encoder *encoder)
{
    lh_matcher_free(&encoder->subwords);
    if (encoder->tokens) {
        lh_string_free(&encoder->tokens->waiting);
        lh_heap_free(encoder->tokens);
    }
}
