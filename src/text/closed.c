/* Closed vocabularies: words (WikiText) and characters (text8). */
#include "text/encoder_impl.h"
#include "text/utf8.h"

#include <string.h>

static lh_status emit_word(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    if (encoder->word.size > 0) {
        lh_string_append(&encoder->word, bytes, size);
        if (encoder->word.failed) {
            return lh_fail(error, LH_E_MEMORY, "no memory for a word of %zu bytes", encoder->word.size + size);
        }
        bytes = (const unsigned char *)encoder->word.data;
        size = encoder->word.size;
    }
    if (size == 0) {
        return LH_OK;
    }
    if (encoder->observe) {
        lh_status status = encoder->observe(encoder->observe_data, bytes, size, error);
        lh_string_clear(&encoder->word);
        return status;
    }
    int32_t id = lh_vocab_find(&encoder->tokenizer->vocab, bytes, size);
    if (id == LH_NO_TOKEN) {
        id = encoder->tokenizer->unknown;
    }
    if (id == LH_NO_TOKEN) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "the word \"%.*s\" is not in the vocabulary, which has no token for unknown words",
                       size < 60 ? (int)size : 60, (const char *)bytes);
    }
    lh_string_clear(&encoder->word);
    return lh_emit_id(encoder, id, error);
}

/* The bytes of the character at the start; 1 for an invalid byte, which is never white space. */
static size_t next_character(const unsigned char *bytes, size_t size, bool *space)
{
    if (bytes[0] < 0x80) {
        *space = lh_is_white_space(bytes[0]);
        return 1;
    }
    int32_t code_point;
    int length = lh_utf8_decode(bytes, size, &code_point);
    *space = length > 0 && lh_is_white_space(code_point);
    return length > 0 ? (size_t)length : 1;
}

lh_status lh_encode_words(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    size_t start = 0;
    for (size_t at = 0; at < size;) {
        bool space;
        size_t length = next_character(bytes + at, size - at, &space);
        /* A longer word is no word: cut it, so that memory stays bounded. */
        bool full = encoder->word.size + (at - start) >= LH_PRETOKEN_LIMIT;
        if (space || full) {
            LH_TRY(emit_word(encoder, bytes + start, at - start, error));
            start = space ? at + length : at;
        }
        encoder->line_started = true;
        if (bytes[at] == '\n') {
            encoder->line_started = false;
            if (tokenizer->line_ends) {
                LH_TRY(lh_emit_id(encoder, tokenizer->roles[LH_TOKEN_EOS], error));
            }
        }
        at += length;
    }
    lh_string_append(&encoder->word, bytes + start, size - start);
    return encoder->word.failed ? lh_fail(error, LH_E_MEMORY, "no memory for a long word") : LH_OK;
}

lh_status lh_encode_words_end(lh_encoder *encoder, bool document, lh_error *error)
{
    LH_TRY(emit_word(encoder, NULL, 0, error));
    if (!document) {
        return LH_OK;
    }
    bool open = encoder->line_started && encoder->tokenizer->line_ends;
    encoder->line_started = false;
    return open ? lh_emit_id(encoder, encoder->tokenizer->roles[LH_TOKEN_EOS], error) : LH_OK;
}

static lh_status unknown_character(const lh_encoder *encoder, const unsigned char *bytes, int length, int32_t value,
                                   size_t at, lh_error *error)
{
    unsigned long long offset = encoder->offset + at;
    if (length < 0) {
        return lh_fail(error, LH_E_UNSUPPORTED, "byte %llu of the text, 0x%02x, is no valid UTF-8", offset,
                       (unsigned)bytes[0]);
    }
    return lh_fail(error, LH_E_UNSUPPORTED,
                   "the character U+%04lX at byte %llu of the text is not in the vocabulary of %ld characters",
                   (unsigned long)value, offset, (long)encoder->tokenizer->vocab.count);
}

lh_status lh_encode_characters(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error)
{
    const lh_tokenizer *tokenizer = encoder->tokenizer;
    for (size_t at = 0; at < size;) {
        int32_t code_point = 0, id = LH_NO_TOKEN;
        int length = lh_utf8_decode(bytes + at, size - at, &code_point);
        if (encoder->observe) {
            size_t step = length > 0 ? (size_t)length : 1;
            LH_TRY(encoder->observe(encoder->observe_data, bytes + at, step, error));
            at += step;
            continue;
        }
        if (length == 1) {
            id = tokenizer->byte_ids[bytes[at]];
        } else if (length > 1) {
            id = lh_vocab_find(&tokenizer->vocab, bytes + at, (size_t)length);
        }
        if (id == LH_NO_TOKEN) {
            id = tokenizer->unknown;
        }
        if (id == LH_NO_TOKEN) {
            return unknown_character(encoder, bytes + at, length, code_point, at, error);
        }
        LH_TRY(lh_emit_id(encoder, id, error));
        at += length > 0 ? (size_t)length : 1;
    }
    return LH_OK;
}

/* ---- given words ---- */

static bool is_one_word(const char *word)
{
    const unsigned char *bytes = (const unsigned char *)word;
    size_t size = strlen(word);
    bool space = size == 0 || lh_utf8_valid_prefix(bytes, size) != size;
    for (size_t at = 0; at < size && !space;) {
        at += next_character(bytes + at, size - at, &space);
    }
    return !space;
}

static lh_status put_words(lh_tokenizer *tokenizer, const char *const *words, int32_t count, lh_error *error)
{
    for (int32_t id = 0; id < count; id++) {
        size_t size = strlen(words[id]);
        if (!is_one_word(words[id]) || lh_vocab_find(&tokenizer->vocab, words[id], size) != LH_NO_TOKEN) {
            return lh_fail(error, LH_E_ARGUMENT, "\"%.60s\" is no word, or there twice", words[id]);
        }
        LH_TRY(lh_vocab_put(&tokenizer->vocab, id, words[id], size, true, error));
    }
    return count > 0 ? LH_OK : lh_fail(error, LH_E_ARGUMENT, "a vocabulary needs at least one word");
}

lh_status lh_tokenizer_create_words(lh_tokenizer **tokenizer, const char *const *words, int32_t count,
                                    lh_error *error)
{
    *tokenizer = NULL;
    lh_tokenizer *fresh = lh_tokenizer_new(LH_TOKENIZER_WORDS);
    lh_status status =
        fresh ? put_words(fresh, words, count, error) : lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer");
    if (status != LH_OK) {
        lh_tokenizer_free(fresh);
        return status;
    }
    lh_tokenizer_index_bytes(fresh);
    *tokenizer = fresh;
    return LH_OK;
}
