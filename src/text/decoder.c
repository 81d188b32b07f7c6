#include "base/memory.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

#include <string.h>

struct lh_decoder {
    const lh_tokenizer *tokenizer;
    unsigned flags;
    bool line_started;     /* words: a word of this line has been written */
    unsigned char held[4]; /* the beginning of a character */
    size_t held_size;
};

static lh_status no_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for decoded text");
}

static void decode_word(lh_decoder *decoder, int32_t id, const unsigned char *bytes, size_t size, lh_string *text)
{
    if (decoder->tokenizer->line_ends && id == decoder->tokenizer->roles[LH_TOKEN_EOS]) {
        lh_string_append(text, "\n", 1);
        decoder->line_started = false;
        return;
    }
    lh_string_append(text, " ", decoder->line_started ? 1 : 0);
    lh_string_append(text, bytes, size);
    decoder->line_started = true;
}

static lh_status decode_id(lh_decoder *decoder, int32_t id, lh_string *text, lh_error *error)
{
    size_t size;
    const unsigned char *bytes = lh_tokenizer_token(decoder->tokenizer, id, &size);
    if (!bytes) {
        return lh_fail(error, LH_E_ARGUMENT, "no token has id %ld: the vocabulary has ids 0 to %ld", (long)id,
                       (long)decoder->tokenizer->vocab.count - 1);
    }
    if ((decoder->flags & LH_DECODE_SKIP_SPECIAL) && lh_tokenizer_is_special(decoder->tokenizer, id)) {
        return LH_OK;
    }
    if (decoder->tokenizer->kind == LH_TOKENIZER_WORDS) {
        decode_word(decoder, id, bytes, size, text);
    } else {
        lh_string_append(text, bytes, size);
    }
    return text->failed ? no_memory(error) : LH_OK;
}

/* Takes a character that is not complete off the end of what was appended after `start`. */
static void hold_back(lh_decoder *decoder, lh_string *text, size_t start)
{
    size_t size = text->size - start;
    const unsigned char *bytes = (const unsigned char *)text->data + start;
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        int32_t code_point;
        if ((bytes[size - back] & 0xc0) == 0x80) {
            continue;
        }
        if (lh_utf8_decode(bytes + size - back, back, &code_point) == LH_UTF8_INCOMPLETE) {
            memcpy(decoder->held, bytes + size - back, back);
            decoder->held_size = back;
            text->size -= back;
            text->data[text->size] = '\0';
        }
        return;
    }
}

lh_status lh_decoder_feed(lh_decoder *decoder, int32_t id, lh_string *text, lh_error *error)
{
    if (!(decoder->flags & LH_DECODE_WHOLE_CHARACTERS)) {
        return decode_id(decoder, id, text, error);
    }
    size_t start = text->size;
    lh_string_append(text, decoder->held, decoder->held_size);
    decoder->held_size = 0;
    LH_TRY(decode_id(decoder, id, text, error));
    if (text->size > start) {
        hold_back(decoder, text, start);
    }
    return LH_OK;
}

lh_status lh_decoder_finish(lh_decoder *decoder, lh_string *text, lh_error *error)
{
    lh_string_append(text, decoder->held, decoder->held_size);
    decoder->held_size = 0;
    decoder->line_started = false;
    return text->failed ? no_memory(error) : LH_OK;
}

lh_status lh_decoder_create(lh_decoder **decoder, const lh_tokenizer *tokenizer, unsigned flags, lh_error *error)
{
    *decoder = lh_heap_alloc(sizeof **decoder);
    if (!*decoder) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a decoder");
    }
    **decoder = (lh_decoder){.tokenizer = tokenizer, .flags = flags};
    return LH_OK;
}

void lh_decoder_free(lh_decoder *decoder)
{
    lh_heap_free(decoder);
}

lh_status lh_tokenizer_decode(const lh_tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                              lh_string *text, lh_error *error)
{
    lh_decoder decoder = {.tokenizer = tokenizer, .flags = flags & LH_DECODE_SKIP_SPECIAL};
    for (size_t i = 0; i < count; i++) {
        LH_TRY(decode_id(&decoder, ids[i], text, error));
    }
    return LH_OK;
}
