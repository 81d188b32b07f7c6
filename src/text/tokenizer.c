#include "base/memory.h"
#include "text/hash.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

#include <string.h>

/* ---- lists of ids ---- */

lh_status lh_ids_append(lh_ids *ids, const int32_t *values, size_t count, lh_error *error)
{
    if (count > ids->capacity - ids->size) {
        if (count > SIZE_MAX / 16 - ids->size) {
            return lh_fail(error, LH_E_MEMORY, "no memory for %zu token ids", count);
        }
        size_t capacity = (ids->size + count) * 2 < 256 ? 256 : (ids->size + count) * 2;
        int32_t *data = lh_heap_realloc(ids->data, capacity * sizeof *data);
        if (!data) {
            return lh_fail(error, LH_E_MEMORY, "no memory for %zu token ids", capacity);
        }
        ids->data = data;
        ids->capacity = capacity;
    }
    if (count > 0) {
        memcpy(ids->data + ids->size, values, count * sizeof *values);
    }
    ids->size += count;
    return LH_OK;
}

void lh_ids_clear(lh_ids *ids)
{
    ids->size = 0;
}

void lh_ids_free(lh_ids *ids)
{
    lh_heap_free(ids->data);
    *ids = (lh_ids){0};
}

/* ---- making ---- */

lh_tokenizer *lh_tokenizer_new(lh_tokenizer_kind kind)
{
    lh_tokenizer *tokenizer = lh_heap_alloc(sizeof *tokenizer);
    if (tokenizer) {
        tokenizer->kind = kind;
        tokenizer->unknown = LH_NO_TOKEN;
        for (int i = 0; i < LH_TOKEN_ROLES; i++) {
            tokenizer->roles[i] = LH_NO_TOKEN;
        }
        for (int i = 0; i < 256; i++) {
            tokenizer->byte_ids[i] = LH_NO_TOKEN;
        }
    }
    return tokenizer;
}

void lh_tokenizer_free(lh_tokenizer *tokenizer)
{
    if (!tokenizer) {
        return;
    }
    lh_vocab_free(&tokenizer->vocab);
    lh_vocab_free(&tokenizer->forms);
    lh_merges_free(&tokenizer->merges);
    for (size_t i = 0; i < tokenizer->stage_count; i++) {
        lh_heap_free(tokenizer->stages[i].source);
        lh_pattern_free(tokenizer->stages[i].pattern);
    }
    lh_heap_free(tokenizer->added);
    lh_heap_free(tokenizer->post_processor);
    lh_heap_free(tokenizer);
}

lh_status lh_tokenizer_create_bytes(lh_tokenizer **tokenizer, lh_error *error)
{
    *tokenizer = NULL;
    lh_tokenizer *fresh = lh_tokenizer_new(LH_TOKENIZER_BYTES);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer");
    }
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        lh_status status = lh_vocab_put(&fresh->vocab, i, &byte, 1, true, error);
        if (status != LH_OK) {
            lh_tokenizer_free(fresh);
            return status;
        }
    }
    lh_tokenizer_index_bytes(fresh);
    *tokenizer = fresh;
    return LH_OK;
}

void lh_tokenizer_index_bytes(lh_tokenizer *tokenizer)
{
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        tokenizer->byte_ids[i] = lh_vocab_find(&tokenizer->vocab, &byte, 1);
    }
}

/* Any text as an expression that matches just it. */
static char *literal_pattern(const char *text)
{
    lh_string pattern = {0};
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        bool plain = byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= 'a' && byte <= 'z') || byte < 0x20;
        lh_string_append(&pattern, "\\", plain ? 0 : 1);
        lh_string_append(&pattern, text, 1);
    }
    if (pattern.failed || !pattern.data) {
        lh_string_free(&pattern);
        return NULL;
    }
    return pattern.data;
}

static const char *stage_pattern(lh_stage_kind kind, const char *source)
{
    switch (kind) {
    case LH_STAGE_GPT2: return LH_GPT2_PATTERN;
    case LH_STAGE_DIGITS: return "\\p{N}";
    case LH_STAGE_DIGIT_RUNS: return "\\p{N}+";
    case LH_STAGE_PUNCTUATION: return "[\\p{P}$+<=>^`|~]";
    case LH_STAGE_PUNCTUATION_RUNS: return "[\\p{P}$+<=>^`|~]+";
    default: return source;
    }
}

lh_status lh_tokenizer_add_stage(lh_tokenizer *tokenizer, lh_stage_kind kind, const char *source, const char *name,
                                 lh_error *error)
{
    if (tokenizer->stage_count == LH_SPLITTER_PATTERNS) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s: pre_tokenizer has more than %d steps", name,
                       LH_SPLITTER_PATTERNS);
    }
    bool own = kind == LH_STAGE_SPLIT || kind == LH_STAGE_SPLIT_LITERAL;
    if (own && !*source) {
        return lh_fail(error, LH_E_FORMAT, "%s: pre_tokenizer has a Split with an empty pattern", name);
    }
    lh_stage stage = {.kind = kind, .source = own ? lh_heap_strdup(source) : NULL};
    char *literal = kind == LH_STAGE_SPLIT_LITERAL ? literal_pattern(source) : NULL;
    lh_status status = LH_OK;
    if ((own && !stage.source) || (kind == LH_STAGE_SPLIT_LITERAL && !literal)) {
        status = lh_fail(error, LH_E_MEMORY, "no memory for the pre-tokenizer of %s", name);
    } else {
        status = lh_pattern_compile(&stage.pattern, literal ? literal : stage_pattern(kind, source), name, error);
    }
    lh_heap_free(literal);
    if (status != LH_OK) {
        lh_heap_free(stage.source);
        return status;
    }
    tokenizer->stages[tokenizer->stage_count++] = stage;
    return LH_OK;
}

/* Where in the sorted list of added tokens an id is or would be. */
static size_t added_position(const lh_tokenizer *tokenizer, int32_t id)
{
    size_t low = 0, high = tokenizer->added_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tokenizer->added[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

lh_status lh_tokenizer_mark_added(lh_tokenizer *tokenizer, int32_t id, bool special, lh_error *error)
{
    size_t at = added_position(tokenizer, id);
    if (at < tokenizer->added_count && tokenizer->added[at].id == id) {
        tokenizer->added[at].special = special;
        return LH_OK;
    }
    if (tokenizer->added_count == LH_ADDED_TOKENS) {
        return lh_fail(error, LH_E_UNSUPPORTED, "more than %d added tokens are not possible", LH_ADDED_TOKENS);
    }
    if (tokenizer->added_count == tokenizer->added_capacity) {
        size_t capacity = tokenizer->added_capacity ? tokenizer->added_capacity * 2 : 16;
        lh_added_token *added = lh_heap_realloc(tokenizer->added, capacity * sizeof *added);
        if (!added) {
            return lh_fail(error, LH_E_MEMORY, "no memory for %zu added tokens", capacity);
        }
        tokenizer->added = added;
        tokenizer->added_capacity = capacity;
    }
    memmove(tokenizer->added + at + 1, tokenizer->added + at,
            (tokenizer->added_count++ - at) * sizeof *tokenizer->added);
    tokenizer->added[at] = (lh_added_token){id, special};
    return LH_OK;
}

lh_status lh_tokenizer_add_token(lh_tokenizer *tokenizer, const char *content, bool special, int32_t *id,
                                 lh_error *error)
{
    size_t size = strlen(content);
    if (size == 0 || size > LH_ADDED_TOKEN_LIMIT) {
        return lh_fail(error, LH_E_ARGUMENT, "an added token has 1 to %d bytes, \"%.40s\" has %zu",
                       LH_ADDED_TOKEN_LIMIT, content, size);
    }
    if (lh_utf8_valid_prefix((const unsigned char *)content, size) != size) {
        return lh_fail(error, LH_E_ARGUMENT, "the added token \"%.40s\" is no valid UTF-8", content);
    }
    if (tokenizer->kind == LH_TOKENIZER_SUBWORDS) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "a subwords tokenizer cannot have added tokens, its file has no place for them");
    }
    int32_t found = lh_tokenizer_find(tokenizer, content, size), before = tokenizer->vocab.count;
    if (found == LH_NO_TOKEN) {
        found = tokenizer->vocab.count;
        LH_TRY(lh_vocab_put(&tokenizer->vocab, found, content, size, true, error));
    }
    if (special && found < before && !lh_tokenizer_is_added(tokenizer, found)) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "\"%s\" is an ordinary token of the vocabulary and cannot be a special one", content);
    }
    LH_TRY(lh_tokenizer_mark_added(tokenizer, found, special, error));
    if (id) {
        *id = found;
    }
    return LH_OK;
}

lh_status lh_tokenizer_set_role(lh_tokenizer *tokenizer, lh_token_role role, int32_t id, lh_error *error)
{
    size_t size;
    if ((unsigned)role >= LH_TOKEN_ROLES || (id != LH_NO_TOKEN && !lh_tokenizer_token(tokenizer, id, &size))) {
        return lh_fail(error, LH_E_ARGUMENT, "token %ld cannot have role %d: no token has this id", (long)id,
                       (int)role);
    }
    tokenizer->roles[role] = id;
    return LH_OK;
}

/* ---- questions ---- */

lh_tokenizer_kind lh_tokenizer_get_kind(const lh_tokenizer *tokenizer)
{
    return tokenizer->kind;
}

const char *lh_tokenizer_kind_name(lh_tokenizer_kind kind)
{
    switch (kind) {
    case LH_TOKENIZER_BYTES: return "bytes";
    case LH_TOKENIZER_BPE: return "bpe";
    case LH_TOKENIZER_WORDS: return "words";
    case LH_TOKENIZER_CHARACTERS: return "characters";
    case LH_TOKENIZER_SUBWORDS: return "subwords";
    }
    return "unknown";
}

int32_t lh_tokenizer_vocab_size(const lh_tokenizer *tokenizer)
{
    return tokenizer->vocab.count;
}

bool lh_tokenizer_lossless(const lh_tokenizer *tokenizer)
{
    bool by_bytes = tokenizer->kind != LH_TOKENIZER_WORDS && tokenizer->kind != LH_TOKENIZER_CHARACTERS;
    for (int i = 0; by_bytes && i < 256; i++) {
        by_bytes = tokenizer->byte_ids[i] != LH_NO_TOKEN;
    }
    return by_bytes && !tokenizer->compose && !tokenizer->prefix_space;
}

int32_t lh_tokenizer_role(const lh_tokenizer *tokenizer, lh_token_role role)
{
    return (unsigned)role < LH_TOKEN_ROLES ? tokenizer->roles[role] : LH_NO_TOKEN;
}

const unsigned char *lh_tokenizer_token(const lh_tokenizer *tokenizer, int32_t id, size_t *size)
{
    return lh_vocab_get(&tokenizer->vocab, id, size);
}

int32_t lh_tokenizer_find(const lh_tokenizer *tokenizer, const void *bytes, size_t size)
{
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        size_t length;
        const unsigned char *text = lh_vocab_get(&tokenizer->vocab, tokenizer->added[i].id, &length);
        if (text && length == size && memcmp(text, bytes, size) == 0) {
            return tokenizer->added[i].id;
        }
    }
    return lh_vocab_find(&tokenizer->vocab, bytes, size);
}

bool lh_tokenizer_is_added(const lh_tokenizer *tokenizer, int32_t id)
{
    size_t at = added_position(tokenizer, id);
    return at < tokenizer->added_count && tokenizer->added[at].id == id;
}

bool lh_tokenizer_is_special(const lh_tokenizer *tokenizer, int32_t id)
{
    size_t at = added_position(tokenizer, id);
    return lh_tokenizer_is_added(tokenizer, id) && tokenizer->added[at].special;
}

uint32_t lh_tokenizer_token_length(const lh_tokenizer *tokenizer, int32_t id)
{
    size_t size;
    if (!lh_vocab_get(&tokenizer->vocab, id, &size) || lh_tokenizer_is_special(tokenizer, id)) {
        return 0;
    }
    if (tokenizer->kind != LH_TOKENIZER_WORDS) {
        return (uint32_t)size;
    }
    return tokenizer->line_ends && id == tokenizer->roles[LH_TOKEN_EOS] ? 1 : (uint32_t)size + 1;
}

uint64_t lh_tokenizer_fingerprint(const lh_tokenizer *tokenizer)
{
    uint64_t hash = lh_fnv_u64(LH_FNV_START, tokenizer->kind);
    hash = lh_fnv_u64(hash, (uint64_t)tokenizer->vocab.count);
    for (int32_t id = 0; id < tokenizer->vocab.count; id++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&tokenizer->vocab, id, &size);
        hash = lh_fnv_u64(hash, bytes ? size : UINT64_MAX);
        hash = bytes ? lh_fnv(hash, bytes, size) : hash;
    }
    hash = lh_fnv_u64(hash, tokenizer->merges.count);
    for (uint32_t i = 0; i < tokenizer->merges.count; i++) {
        hash = lh_fnv_u64(hash, tokenizer->merges.pairs[i]);
    }
    for (int32_t id = 1; id <= tokenizer->subword_count; id++) {
        size_t size;
        const unsigned char *form = lh_vocab_get(&tokenizer->forms, id, &size);
        hash = lh_fnv(hash, form, size);
    }
    for (size_t i = 0; i < tokenizer->stage_count; i++) {
        const char *source = tokenizer->stages[i].source ? tokenizer->stages[i].source : "";
        hash = lh_fnv_u64(hash, tokenizer->stages[i].kind);
        hash = lh_fnv(hash, source, strlen(source) + 1);
    }
    hash = lh_fnv_u64(hash, (uint64_t)tokenizer->compose | (uint64_t)tokenizer->prefix_space << 1 |
                                (uint64_t)tokenizer->whole_words << 2 | (uint64_t)tokenizer->line_ends << 3);
    hash = lh_fnv_u64(hash, (uint64_t)(int64_t)tokenizer->unknown);
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        hash = lh_fnv_u64(hash, (uint64_t)tokenizer->added[i].id << 1 | tokenizer->added[i].special);
    }
    return hash;
}
