/* Reading Hugging Face tokenizer.json and GPT-2's pair of files. */
#include "base/file.h"
#include "base/memory.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT ((size_t)512 * 1024 * 1024)

static lh_status parse_object(json_t **root, const char *text, size_t size, const char *name, lh_error *error)
{
    LH_TRY(lh_json_parse(text, size, name, root, error));
    if (!json_is_object(*root)) {
        return lh_fail(error, LH_E_FORMAT, "%s: the top level is no JSON object", name);
    }
    return LH_OK;
}

/* ---- vocabulary ---- */

/* Ids far above the number of tokens are damage; a table for them would cost memory for nothing. */
static lh_status check_id(const lh_tokenizer_reader *reader, const char *key, const char *token, json_t *value,
                          size_t tokens, int32_t *id, lh_error *error)
{
    json_int_t number = json_integer_value(value);
    json_int_t limit = (json_int_t)tokens * 4 + 65536;
    limit = limit < LH_VOCAB_LIMIT ? limit : LH_VOCAB_LIMIT;
    if (!json_is_integer(value) || number < 0 || number >= limit) {
        return lh_fail(error, LH_E_FORMAT, "%s: %s: the id of \"%.80s\" is no integer from 0 to %lld", reader->name,
                       key, token, (long long)limit - 1);
    }
    *id = (int32_t)number;
    return LH_OK;
}

static lh_status check_free(const lh_tokenizer_reader *reader, const char *key, const char *token, int32_t id,
                            lh_error *error)
{
    size_t size;
    if (lh_vocab_get(&reader->tokenizer->vocab, id, &size)) {
        return lh_fail(error, LH_E_FORMAT, "%s: %s: \"%.80s\" has id %ld, which another token has already",
                       reader->name, key, token, (long)id);
    }
    return LH_OK;
}

/* A token is written in the byte alphabet, unless it is an added token or has other characters. */
static lh_status put_byte_token(lh_tokenizer_reader *reader, const char *token, int32_t id, lh_string *bytes,
                                lh_error *error)
{
    lh_vocab *vocab = &reader->tokenizer->vocab;
    size_t size = strlen(token);
    bool plain = reader->added && json_object_get(reader->added, token);
    lh_string_clear(bytes);
    bool encoded = !plain && lh_byte_alphabet_read(bytes, token, size);
    if (!encoded) {
        lh_string_append(bytes, token, size);
    }
    if (bytes->failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the vocabulary of %s", reader->name);
    }
    bool searchable = (encoded || plain) && lh_vocab_find(vocab, bytes->data, bytes->size) < 0;
    return lh_vocab_put(vocab, id, bytes->data, bytes->size, searchable, error);
}

lh_status lh_tokenizer_read_byte_vocab(lh_tokenizer_reader *reader, json_t *vocab, const char *key, lh_error *error)
{
    if (!json_is_object(vocab)) {
        return lh_fail(error, LH_E_FORMAT, "%s: %s is missing or no object", reader->name, key);
    }
    const char *token;
    json_t *value;
    lh_string bytes = {0};
    lh_status status = LH_OK;
    json_object_foreach(vocab, token, value)
    {
        int32_t id = LH_NO_TOKEN;
        status = check_id(reader, key, token, value, json_object_size(vocab), &id, error);
        status = status == LH_OK ? check_free(reader, key, token, id, error) : status;
        status = status == LH_OK ? put_byte_token(reader, token, id, &bytes, error) : status;
        if (status != LH_OK) {
            break;
        }
    }
    lh_string_free(&bytes);
    lh_tokenizer_index_bytes(reader->tokenizer);
    return status;
}

/* ---- merges ---- */

static lh_status merge_part(lh_tokenizer_reader *reader, const char *text, size_t size, size_t index,
                            lh_string *bytes, int32_t *id, lh_error *error)
{
    size_t start = bytes->size;
    *id = -1;
    bool spelled = lh_byte_alphabet_read(bytes, text, size);
    if (bytes->failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the merges of %s", reader->name);
    }
    if (spelled) {
        *id = lh_vocab_find(&reader->tokenizer->vocab, bytes->data + start, bytes->size - start);
    }
    if (size == 0 || *id < 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: merge %zu joins \"%.*s\", which is not in the vocabulary",
                       reader->name, index, size < 80 ? (int)size : 80, text);
    }
    return LH_OK;
}

static lh_status add_merge(lh_tokenizer_reader *reader, const char *left, size_t left_size, const char *right,
                           size_t right_size, size_t index, lh_string *bytes, lh_error *error)
{
    int32_t left_id, right_id;
    LH_TRY(merge_part(reader, left, left_size, index, bytes, &left_id, error));
    LH_TRY(merge_part(reader, right, right_size, index, bytes, &right_id, error));
    int32_t result = lh_vocab_find(&reader->tokenizer->vocab, bytes->data, bytes->size);
    if (result < 0) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: merge %zu of \"%.*s\" and \"%.*s\" makes a token that is not in the vocabulary",
                       reader->name, index, left_size < 80 ? (int)left_size : 80, left,
                       right_size < 80 ? (int)right_size : 80, right);
    }
    bool added;
    LH_TRY(lh_merges_put(&reader->tokenizer->merges, left_id, right_id, result, &added, error));
    if (!added) {
        return lh_fail(error, LH_E_FORMAT, "%s: merge %zu of \"%.*s\" and \"%.*s\" is there twice", reader->name,
                       index, left_size < 80 ? (int)left_size : 80, left, right_size < 80 ? (int)right_size : 80,
                       right);
    }
    return LH_OK;
}

lh_status lh_tokenizer_read_merge(lh_tokenizer_reader *reader, const char *left, size_t left_size,
                                  const char *right, size_t right_size, size_t index, lh_error *error)
{
    lh_string bytes = {0};
    lh_status status = add_merge(reader, left, left_size, right, right_size, index, &bytes, error);
    lh_string_free(&bytes);
    return status;
}

/* Both forms: "a b" and ["a", "b"]. */
static lh_status read_merges(lh_tokenizer_reader *reader, json_t *merges, lh_error *error)
{
    if (!json_is_array(merges)) {
        return lh_fail(error, LH_E_FORMAT, "%s: model.merges is missing or no array", reader->name);
    }
    for (size_t i = 0; i < json_array_size(merges); i++) {
        json_t *merge = json_array_get(merges, i), *first = json_array_get(merge, 0),
               *second = json_array_get(merge, 1);
        const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
        lh_status status;
        if (space) {
            status = lh_tokenizer_read_merge(reader, text, (size_t)(space - text), space + 1, strlen(space + 1), i,
                                             error);
        } else if (json_is_string(first) && json_is_string(second) && json_array_size(merge) == 2) {
            status = lh_tokenizer_read_merge(reader, json_string_value(first), json_string_length(first),
                                             json_string_value(second), json_string_length(second), i, error);
        } else {
            status = lh_fail(error, LH_E_FORMAT, "%s: model.merges[%zu] is neither \"a b\" nor [\"a\", \"b\"]",
                             reader->name, i);
        }
        LH_TRY(status);
    }
    return LH_OK;
}

/* ---- added tokens ---- */

/* Collects contents, so that the vocabulary can tell added tokens from byte-level ones. */
static lh_status collect_added(lh_tokenizer_reader *reader, lh_error *error)
{
    json_t *list = json_object_get(reader->root, "added_tokens");
    if (list && !json_is_null(list) && !json_is_array(list)) {
        return lh_fail(error, LH_E_FORMAT, "%s: added_tokens is no array", reader->name);
    }
    reader->added = json_object();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *entry = json_array_get(list, i);
        const char *content = lh_member_text(entry, "content");
        if (!content || !*content || strlen(content) > LH_ADDED_TOKEN_LIMIT) {
            return lh_fail(error, LH_E_FORMAT, "%s: added_tokens[%zu].content is no string of 1 to %d bytes",
                           reader->name, i, LH_ADDED_TOKEN_LIMIT);
        }
        static const char *const options[] = {"lstrip", "rstrip", "single_word"};
        for (int j = 0; j < 3; j++) {
            if (lh_member_true(entry, options[j])) {
                return lh_fail(error, LH_E_UNSUPPORTED,
                               "%s: added_tokens[%zu] \"%.80s\" has %s, which is not supported", reader->name, i,
                               content, options[j]);
            }
        }
        if (json_object_get(reader->added, content)) {
            return lh_fail(error, LH_E_FORMAT, "%s: added_tokens has \"%.80s\" twice", reader->name, content);
        }
        if (json_object_set(reader->added, content, entry) != 0) {
            return lh_fail(error, LH_E_MEMORY, "no memory for the added tokens of %s", reader->name);
        }
    }
    return LH_OK;
}

static lh_status put_added(lh_tokenizer_reader *reader, lh_error *error)
{
    lh_tokenizer *tokenizer = reader->tokenizer;
    size_t tokens = (size_t)tokenizer->vocab.count + json_object_size(reader->added);
    const char *content;
    json_t *entry;
    json_object_foreach(reader->added, content, entry)
    {
        int32_t id = LH_NO_TOKEN;
        LH_TRY(check_id(reader, "added_tokens", content, json_object_get(entry, "id"), tokens, &id, error));
        size_t size, length = strlen(content);
        const unsigned char *bytes = lh_vocab_get(&tokenizer->vocab, id, &size);
        if (bytes && (size != length || memcmp(bytes, content, size) != 0)) {
            return check_free(reader, "added_tokens", content, id, error);
        }
        if (!bytes) {
            bool fresh = lh_vocab_find(&tokenizer->vocab, content, length) < 0;
            LH_TRY(lh_vocab_put(&tokenizer->vocab, id, content, length, fresh, error));
        }
        LH_TRY(lh_tokenizer_mark_added(tokenizer, id, lh_member_true(entry, "special"), error));
    }
    return LH_OK;
}

/* ---- models ---- */

static bool is_set(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    bool empty = !value || json_is_null(value) || json_is_false(value) ||
                 (json_is_string(value) && json_string_length(value) == 0) ||
                 (json_is_number(value) && json_number_value(value) == 0);
    return !empty;
}

static void read_unknown(lh_tokenizer_reader *reader, json_t *model)
{
    const char *name = lh_member_text(model, "unk_token");
    if (name && *name) {
        reader->tokenizer->unknown = lh_tokenizer_find(reader->tokenizer, name, strlen(name));
    }
}

static bool is_raw_bytes(const lh_tokenizer *tokenizer)
{
    bool same = tokenizer->merges.count == 0 && !tokenizer->compose && !tokenizer->prefix_space;
    for (int i = 0; same && i < 256; i++) {
        same = tokenizer->byte_ids[i] == i;
    }
    return same;
}

static lh_status read_bpe(lh_tokenizer_reader *reader, json_t *model, lh_error *error)
{
    static const char *const absent[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                         "byte_fallback"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        if (is_set(model, absent[i])) {
            return lh_fail(error, LH_E_UNSUPPORTED, "%s: model.%s is set, which is not supported", reader->name,
                           absent[i]);
        }
    }
    lh_tokenizer *tokenizer = reader->tokenizer;
    tokenizer->kind = LH_TOKENIZER_BPE;
    tokenizer->whole_words = lh_member_true(model, "ignore_merges");
    LH_TRY(lh_tokenizer_read_byte_vocab(reader, json_object_get(model, "vocab"), "model.vocab", error));
    LH_TRY(read_merges(reader, json_object_get(model, "merges"), error));
    LH_TRY(put_added(reader, error));
    read_unknown(reader, model);
    LH_TRY(lh_tokenizer_read_bpe_pipeline(reader, error));
    if (is_raw_bytes(tokenizer)) {
        tokenizer->kind = LH_TOKENIZER_BYTES;
    }
    return LH_OK;
}

static lh_status read_word_vocab(lh_tokenizer_reader *reader, json_t *vocab, lh_error *error)
{
    if (!json_is_object(vocab)) {
        return lh_fail(error, LH_E_FORMAT, "%s: model.vocab is missing or no object", reader->name);
    }
    const char *token;
    json_t *value;
    json_object_foreach(vocab, token, value)
    {
        int32_t id = LH_NO_TOKEN;
        LH_TRY(check_id(reader, "model.vocab", token, value, json_object_size(vocab), &id, error));
        LH_TRY(check_free(reader, "model.vocab", token, id, error));
        LH_TRY(lh_vocab_put(&reader->tokenizer->vocab, id, token, strlen(token), true, error));
    }
    lh_tokenizer_index_bytes(reader->tokenizer);
    return LH_OK;
}

static lh_status check_characters(const lh_tokenizer_reader *reader, lh_error *error)
{
    const lh_tokenizer *tokenizer = reader->tokenizer;
    for (int32_t id = 0; id < tokenizer->vocab.count; id++) {
        size_t size;
        int32_t code_point;
        const unsigned char *bytes = lh_vocab_get(&tokenizer->vocab, id, &size);
        bool known = !bytes || id == tokenizer->unknown || lh_tokenizer_is_special(tokenizer, id);
        if (!known && (size == 0 || lh_utf8_decode(bytes, size, &code_point) != (int)size)) {
            return lh_fail(error, LH_E_FORMAT, "%s: model.vocab: token %ld, \"%.*s\", is not one character",
                           reader->name, (long)id, size < 80 ? (int)size : 80, (const char *)bytes);
        }
    }
    return LH_OK;
}

static lh_status read_word_level(lh_tokenizer_reader *reader, json_t *model, lh_error *error)
{
    lh_tokenizer *tokenizer = reader->tokenizer;
    LH_TRY(read_word_vocab(reader, json_object_get(model, "vocab"), error));
    LH_TRY(put_added(reader, error));
    read_unknown(reader, model);
    LH_TRY(lh_tokenizer_read_closed_pipeline(reader, error));
    return tokenizer->kind == LH_TOKENIZER_CHARACTERS ? check_characters(reader, error) : LH_OK;
}

static lh_status read_root(lh_tokenizer_reader *reader, lh_error *error)
{
    json_t *model = json_object_get(reader->root, "model");
    if (!json_is_object(model)) {
        return lh_fail(error, LH_E_FORMAT, "%s: model is missing or no object", reader->name);
    }
    LH_TRY(collect_added(reader, error));
    const char *type = lh_member_text(model, "type");
    /* Files of the first versions of the format have no type. */
    bool bpe = type ? strcmp(type, "BPE") == 0 : json_object_get(model, "merges") != NULL;
    bool words = type && strcmp(type, "WordLevel") == 0;
    if (!bpe && !words) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s: model.type \"%.80s\" is not supported, only BPE and WordLevel are", reader->name,
                       type ? type : "");
    }
    LH_TRY(bpe ? read_bpe(reader, model, error) : read_word_level(reader, model, error));
    if (reader->tokenizer->vocab.count == 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: model.vocab is empty", reader->name);
    }
    return lh_tokenizer_read_post_processor(reader, error);
}

lh_status lh_tokenizer_read(lh_tokenizer **tokenizer, const void *text, size_t size, const char *name,
                            lh_error *error)
{
    *tokenizer = NULL;
    static const char list_start[] = "### SubwordTextEncoder";
    if (size >= sizeof list_start - 1 && memcmp(text, list_start, sizeof list_start - 1) == 0) {
        return lh_subword_read(tokenizer, text, size, name, error);
    }
    lh_tokenizer_reader reader = {.name = name};
    lh_status status = parse_object(&reader.root, text, size, name, error);
    if (status == LH_OK) {
        reader.tokenizer = lh_tokenizer_new(LH_TOKENIZER_BPE);
        status = reader.tokenizer ? read_root(&reader, error)
                                  : lh_fail(error, LH_E_MEMORY, "no memory for the tokenizer %s", name);
    }
    json_decref(reader.added);
    json_decref(reader.root);
    if (status != LH_OK) {
        lh_tokenizer_free(reader.tokenizer);
        return status;
    }
    lh_tokenizer_guess_roles(reader.tokenizer);
    *tokenizer = reader.tokenizer;
    return LH_OK;
}

/* ---- GPT-2's pair ---- */

static lh_status read_merge_lines(lh_tokenizer_reader *reader, const char *text, lh_error *error)
{
    size_t index = 0;
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n"), used = size > 0 && line[size - 1] == '\r' ? size - 1 : size;
        const char *space = memchr(line, ' ', used);
        bool comment = line == text && strncmp(line, "#version", 8) == 0;
        if (used > 0 && !comment) {
            if (!space) {
                return lh_fail(error, LH_E_FORMAT, "%s: merge %zu, \"%.*s\", is not of the form \"a b\"",
                               reader->name, index, used < 80 ? (int)used : 80, line);
            }
            size_t left = (size_t)(space - line);
            LH_TRY(lh_tokenizer_read_merge(reader, line, left, space + 1, used - left - 1, index, error));
            index++;
        }
        line += size + (line[size] == '\n');
    }
    return LH_OK;
}

static lh_status read_pair(lh_tokenizer_reader *reader, const char *vocabulary_path, const char *merges_path,
                           lh_error *error)
{
    char *text;
    size_t size;
    reader->name = vocabulary_path;
    LH_TRY(lh_file_read(vocabulary_path, FILE_LIMIT, &text, &size, error));
    lh_status status = parse_object(&reader->root, text, size, vocabulary_path, error);
    lh_heap_free(text);
    LH_TRY(status);
    LH_TRY(lh_tokenizer_read_byte_vocab(reader, reader->root, "the vocabulary", error));
    reader->name = merges_path;
    LH_TRY(lh_file_read(merges_path, FILE_LIMIT, &text, &size, error));
    status = strlen(text) == size
                 ? read_merge_lines(reader, text, error)
                 : lh_fail(error, LH_E_FORMAT, "%s: a NUL byte at offset %zu", merges_path, strlen(text));
    lh_heap_free(text);
    LH_TRY(status);
    LH_TRY(lh_tokenizer_mark_known(reader->tokenizer, error));
    return lh_tokenizer_add_stage(reader->tokenizer, LH_STAGE_GPT2, NULL, merges_path, error);
}

lh_status lh_tokenizer_open_gpt2(lh_tokenizer **tokenizer, const char *vocabulary_path, const char *merges_path,
                                 lh_error *error)
{
    *tokenizer = NULL;
    lh_tokenizer_reader reader = {.tokenizer = lh_tokenizer_new(LH_TOKENIZER_BPE)};
    lh_status status = reader.tokenizer ? read_pair(&reader, vocabulary_path, merges_path, error)
                                        : lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer");
    json_decref(reader.root);
    if (status != LH_OK) {
        lh_tokenizer_free(reader.tokenizer);
        return status;
    }
    lh_tokenizer_guess_roles(reader.tokenizer);
    *tokenizer = reader.tokenizer;
    return LH_OK;
}
