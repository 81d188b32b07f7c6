#include "api/handles.h"

#include "base/memory.h"

lh_status longhand_tokenizer_open(longhand_tokenizer **tokenizer, const char *path, lh_error *error)
{
    LH_API_NEED(error, tokenizer);
    *tokenizer = NULL;
    LH_API_NEED(error, path);
    longhand_tokenizer *t = lh_heap_alloc(sizeof *t);
    if (!t) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory for a tokenizer", path);
    }
    atomic_init(&t->references, 1);
    lh_status status = lh_tokenizer_open(&t->tokenizer, path, error);
    if (status != LH_OK) {
        lh_heap_free(t);
        return status;
    }
    *tokenizer = t;
    return LH_OK;
}

void longhand_tokenizer_free(longhand_tokenizer *tokenizer)
{
    if (tokenizer && atomic_fetch_sub(&tokenizer->references, 1) == 1) {
        lh_tokenizer_free(tokenizer->tokenizer);
        lh_heap_free(tokenizer);
    }
}

const char *longhand_tokenizer_kind(const longhand_tokenizer *tokenizer)
{
    return tokenizer ? lh_tokenizer_kind_name(lh_tokenizer_get_kind(tokenizer->tokenizer)) : NULL;
}

int32_t longhand_tokenizer_size(const longhand_tokenizer *tokenizer)
{
    return tokenizer ? lh_tokenizer_vocab_size(tokenizer->tokenizer) : -1;
}

int32_t longhand_tokenizer_end(const longhand_tokenizer *tokenizer)
{
    return tokenizer ? lh_tokenizer_role(tokenizer->tokenizer, LH_TOKEN_EOS) : LH_NO_TOKEN;
}

const char *longhand_tokenizer_token(const longhand_tokenizer *tokenizer, int32_t id, size_t *size)
{
    size_t ignored = 0;
    size = size ? size : &ignored;
    *size = 0;
    return tokenizer ? (const char *)lh_tokenizer_token(tokenizer->tokenizer, id, size) : NULL;
}

lh_status longhand_tokenizer_encode(const longhand_tokenizer *tokenizer, const char *text, size_t size,
                                    bool special, int32_t **ids, size_t *count, lh_error *error)
{
    lh_ids found = {0};
    LH_API_NEED(error, ids);
    LH_API_NEED(error, count);
    *ids = NULL;
    *count = 0;
    LH_API_NEED(error, tokenizer);
    LH_API_NEED(error, text || size == 0);
    lh_status status = lh_tokenizer_encode(tokenizer->tokenizer, text ? text : "", size,
                                           special ? LH_ENCODE_SPECIAL : 0, &found, error);
    if (status != LH_OK) {
        lh_ids_free(&found);
        return status;
    }
    *ids = found.data;
    *count = found.size;
    return LH_OK;
}

lh_status longhand_tokenizer_decode(const longhand_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                    bool special, char **text, size_t *size, lh_error *error)
{
    lh_string found = {0};
    LH_API_NEED(error, text);
    *text = NULL;
    LH_API_NEED(error, tokenizer);
    LH_API_NEED(error, ids || count == 0);
    lh_status status =
        lh_tokenizer_decode(tokenizer->tokenizer, ids, count, special ? 0 : LH_DECODE_SKIP_SPECIAL, &found, error);
    if (status != LH_OK) {
        lh_string_free(&found);
        return status;
    }
    return lh_api_text(&found, text, size, error);
}
