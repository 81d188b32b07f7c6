/* Tokenizers in files and directories. */
#include "base/file.h"
#include "base/memory.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT ((size_t)512 * 1024 * 1024)
#define CONFIG_LIMIT ((size_t)16 * 1024 * 1024)

static const char *const role_keys[LH_TOKEN_ROLES] = {
    [LH_TOKEN_EOS] = "eos_token",
    [LH_TOKEN_BOS] = "bos_token",
    [LH_TOKEN_PAD] = "pad_token",
    [LH_TOKEN_UNKNOWN] = "unk_token",
};

/* ---- roles in tokenizer_config.json ---- */

static lh_status read_roles(lh_tokenizer *tokenizer, const char *path, lh_error *error)
{
    json_t *root;
    LH_TRY(lh_json_read(path, CONFIG_LIMIT, &root, error));
    for (int role = 0; role < LH_TOKEN_ROLES; role++) {
        /* A name, or an object of the kind that added_tokens has. */
        json_t *value = json_object_get(root, role_keys[role]);
        const char *name =
            json_is_object(value) ? lh_member_text(value, "content") : lh_member_text(root, role_keys[role]);
        int32_t id = name ? lh_tokenizer_find(tokenizer, name, strlen(name)) : LH_NO_TOKEN;
        /* The end of a line of a word tokenizer is part of how it reads text, and not a matter of roles. */
        if (id != LH_NO_TOKEN && !(role == LH_TOKEN_EOS && tokenizer->line_ends)) {
            tokenizer->roles[role] = id;
        }
    }
    json_decref(root);
    return LH_OK;
}

static lh_status write_roles(const lh_tokenizer *tokenizer, const char *path, lh_error *error)
{
    json_t *root =
        json_pack("{s:s,s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    for (int role = 0; role < LH_TOKEN_ROLES; role++) {
        size_t size;
        const unsigned char *name = lh_tokenizer_token(tokenizer, tokenizer->roles[role], &size);
        if (name) {
            json_object_set_new(root, role_keys[role], json_stringn((const char *)name, size));
        }
    }
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (!text) {
        return lh_fail(error, LH_E_MEMORY, "no memory to write %s", path);
    }
    lh_status status = lh_file_write(path, text, strlen(text), error);
    free(text);
    return status;
}

/* ---- opening ---- */

/* "directory/name" if that is a file, else NULL. */
static char *file_in(const char *directory, const char *name)
{
    char *path = lh_path_join(directory, name);
    if (path && !lh_file_exists(path)) {
        lh_heap_free(path);
        return NULL;
    }
    return path;
}

static lh_status open_file(lh_tokenizer **tokenizer, const char *path, lh_error *error)
{
    char *text;
    size_t size;
    LH_TRY(lh_file_read(path, FILE_LIMIT, &text, &size, error));
    lh_status status = lh_tokenizer_read(tokenizer, text, size, path, error);
    lh_heap_free(text);
    return status;
}

static lh_status open_directory(lh_tokenizer **tokenizer, const char *directory, lh_error *error)
{
    static const char *const pairs[2][2] = {{"encoder.json", "vocab.bpe"}, {"vocab.json", "merges.txt"}};
    char *path = file_in(directory, "tokenizer.json");
    if (path) {
        lh_status status = open_file(tokenizer, path, error);
        lh_heap_free(path);
        return status;
    }
    for (int i = 0; i < 2; i++) {
        char *vocabulary = file_in(directory, pairs[i][0]), *merges = file_in(directory, pairs[i][1]);
        bool both = vocabulary && merges;
        lh_status status = both ? lh_tokenizer_open_gpt2(tokenizer, vocabulary, merges, error) : LH_OK;
        lh_heap_free(vocabulary);
        lh_heap_free(merges);
        if (both) {
            return status;
        }
    }
    return lh_fail(error, LH_E_IO,
                   "the directory %s holds no tokenizer: no tokenizer.json, no encoder.json and vocab.bpe, no "
                   "vocab.json and merges.txt",
                   directory);
}

/* The directory whose tokenizer_config.json belongs to the tokenizer, in fresh memory, or NULL. */
static char *config_of(const char *path, bool directory)
{
    if (directory) {
        return file_in(path, "tokenizer_config.json");
    }
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (strcmp(name, "tokenizer.json") != 0) {
        return NULL;
    }
    char *parent = lh_heap_strdup(slash ? path : ".");
    if (parent && slash) {
        parent[slash == path ? 1 : slash - path] = '\0';
    }
    char *config = parent ? file_in(parent, "tokenizer_config.json") : NULL;
    lh_heap_free(parent);
    return config;
}

lh_status lh_tokenizer_open(lh_tokenizer **tokenizer, const char *path, lh_error *error)
{
    *tokenizer = NULL;
    bool directory = lh_directory_exists(path);
    if (!directory && strcmp(path, "bytes") == 0 && !lh_file_exists(path)) {
        return lh_tokenizer_create_bytes(tokenizer, error);
    }
    LH_TRY(directory ? open_directory(tokenizer, path, error) : open_file(tokenizer, path, error));
    char *config = config_of(path, directory);
    lh_status status = config ? read_roles(*tokenizer, config, error) : LH_OK;
    lh_heap_free(config);
    if (status != LH_OK) {
        lh_tokenizer_free(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

/* ---- writing ---- */

/* A token as tokenizer.json writes it: byte-level tokens in the byte alphabet, others as they are. */
static bool token_text(const lh_tokenizer *tokenizer, int32_t id, lh_string *text)
{
    size_t size;
    const unsigned char *bytes = lh_tokenizer_token(tokenizer, id, &size);
    bool by_bytes = tokenizer->kind == LH_TOKENIZER_BPE || tokenizer->kind == LH_TOKENIZER_BYTES;
    lh_string_clear(text);
    if (!bytes) {
        return false;
    }
    /* A token that is not in the search table was not written in the alphabet when it was read. */
    if (by_bytes && !lh_tokenizer_is_added(tokenizer, id) && lh_vocab_find(&tokenizer->vocab, bytes, size) == id) {
        lh_byte_alphabet_write(text, bytes, size);
    } else {
        lh_string_append(text, bytes, size);
    }
    return !text->failed;
}

/* All tokens, the added ones too: readers give those another id if the model does not have them. */
static json_t *write_vocab(const lh_tokenizer *tokenizer)
{
    json_t *vocab = json_object();
    lh_string text = {0};
    for (int32_t id = 0; vocab && id < tokenizer->vocab.count; id++) {
        bool known = token_text(tokenizer, id, &text);
        if (text.failed || (known && !json_object_get(vocab, text.data) &&
                            json_object_set_new(vocab, text.data, json_integer(id)) != 0)) {
            json_decref(vocab);
            vocab = NULL;
        }
    }
    lh_string_free(&text);
    return vocab;
}

static json_t *write_merges(const lh_tokenizer *tokenizer)
{
    json_t *merges = json_array();
    lh_string text = {0};
    for (uint32_t i = 0; merges && i < tokenizer->merges.count; i++) {
        size_t left_size, right_size;
        uint64_t pair = tokenizer->merges.pairs[i];
        const unsigned char *left = lh_tokenizer_token(tokenizer, (int32_t)(pair >> 32), &left_size);
        const unsigned char *right = lh_tokenizer_token(tokenizer, (int32_t)(uint32_t)pair, &right_size);
        lh_string_clear(&text);
        lh_byte_alphabet_write(&text, left, left_size);
        lh_string_append(&text, " ", 1);
        lh_byte_alphabet_write(&text, right, right_size);
        if (text.failed || json_array_append_new(merges, json_stringn(text.data, text.size)) != 0) {
            json_decref(merges);
            merges = NULL;
        }
    }
    lh_string_free(&text);
    return merges;
}

static json_t *token_name(const lh_tokenizer *tokenizer, int32_t id)
{
    size_t size;
    const unsigned char *bytes = lh_tokenizer_token(tokenizer, id, &size);
    return bytes ? json_stringn((const char *)bytes, size) : json_null();
}

static json_t *write_model(const lh_tokenizer *tokenizer)
{
    if (tokenizer->kind == LH_TOKENIZER_WORDS || tokenizer->kind == LH_TOKENIZER_CHARACTERS) {
        /* The format demands a name here even if there is no such token. */
        json_t *unknown =
            tokenizer->unknown == LH_NO_TOKEN ? json_string("") : token_name(tokenizer, tokenizer->unknown);
        return json_pack("{s:s,s:o,s:o}", "type", "WordLevel", "vocab", write_vocab(tokenizer), "unk_token",
                         unknown);
    }
    return json_pack("{s:s,s:n,s:o,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout", "unk_token",
                     token_name(tokenizer, tokenizer->unknown), "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", tokenizer->whole_words, "vocab",
                     write_vocab(tokenizer), "merges", write_merges(tokenizer));
}

static json_t *write_added(const lh_tokenizer *tokenizer)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        int32_t id = tokenizer->added[i].id;
        json_t *entry = json_pack("{s:i,s:o,s:b,s:b,s:b,s:b,s:b}", "id", (int)id, "content",
                                  token_name(tokenizer, id), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                  "normalized", 0, "special", tokenizer->added[i].special);
        json_array_append_new(list, entry);
    }
    return list;
}

lh_status lh_tokenizer_write(const lh_tokenizer *tokenizer, lh_string *text, lh_error *error)
{
    if (tokenizer->kind == LH_TOKENIZER_SUBWORDS) {
        return lh_subword_write(tokenizer, text, error);
    }
    json_t *root = json_pack("{s:s,s:n,s:n,s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                             write_added(tokenizer));
    bool failed = !root || !lh_tokenizer_write_pipeline(tokenizer, root) ||
                  json_object_set_new(root, "model", write_model(tokenizer)) != 0;
    char *dump = failed ? NULL : json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    if (!dump) {
        return lh_fail(error, LH_E_MEMORY, "no memory to write a tokenizer of %ld tokens",
                       (long)tokenizer->vocab.count);
    }
    lh_string_append(text, dump, strlen(dump));
    lh_string_append(text, "\n", 1);
    free(dump);
    return text->failed ? lh_fail(error, LH_E_MEMORY, "no memory to write a tokenizer") : LH_OK;
}

static lh_status save_file(const lh_tokenizer *tokenizer, const char *path, lh_error *error)
{
    lh_string text = {0};
    lh_status status = lh_tokenizer_write(tokenizer, &text, error);
    if (status == LH_OK) {
        status = lh_file_write(path, text.data, text.size, error);
    }
    lh_string_free(&text);
    return status;
}

lh_status lh_tokenizer_save(const lh_tokenizer *tokenizer, const char *path, lh_error *error)
{
    if (!lh_directory_exists(path)) {
        return save_file(tokenizer, path, error);
    }
    char *file = lh_path_join(path, "tokenizer.json"), *config = lh_path_join(path, "tokenizer_config.json");
    lh_status status = LH_E_MEMORY;
    if (!file || !config) {
        lh_fail(error, LH_E_MEMORY, "no memory to save a tokenizer in %s", path);
    } else {
        status = save_file(tokenizer, file, error);
    }
    if (status == LH_OK) {
        status = write_roles(tokenizer, config, error);
    }
    lh_heap_free(file);
    lh_heap_free(config);
    return status;
}
