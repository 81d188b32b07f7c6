/* The tfds SubwordTextEncoder: its file. Ids: 0 padding, 1..n subwords in the order of the file, then the 256
 * bytes. */
#include "text/subword.h"
#include "base/memory.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

#include <string.h>

#define HEADER "### SubwordTextEncoder"
#define METADATA "### Metadata: "
#define SUBWORD_LIMIT 256 /* bytes */

static lh_status start(lh_tokenizer **tokenizer, lh_error *error)
{
    lh_tokenizer *fresh = lh_tokenizer_new(LH_TOKENIZER_SUBWORDS);
    *tokenizer = fresh;
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a tokenizer");
    }
    LH_TRY(lh_vocab_put(&fresh->vocab, 0, "", 0, false, error));
    LH_TRY(lh_vocab_put(&fresh->forms, 0, "", 0, false, error));
    LH_TRY(lh_tokenizer_mark_added(fresh, 0, true, error));
    fresh->roles[LH_TOKEN_PAD] = 0;
    return lh_tokenizer_add_stage(fresh, LH_STAGE_SPLIT, LH_SUBWORD_PATTERN, "subwords", error);
}

static lh_status add(lh_tokenizer *tokenizer, const char *form, size_t size, const char *name, size_t line,
                     lh_error *error)
{
    if (size > SUBWORD_LIMIT || lh_utf8_valid_prefix((const unsigned char *)form, size) != size) {
        return lh_fail(error, LH_E_FORMAT, "%s: line %zu: a subword is valid UTF-8 of at most %d bytes", name, line,
                       SUBWORD_LIMIT);
    }
    if (lh_vocab_find(&tokenizer->forms, form, size) >= 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: line %zu: the subword \"%.*s\" is there twice", name, line,
                       size < 80 ? (int)size : 80, form);
    }
    int32_t id = ++tokenizer->subword_count;
    LH_TRY(lh_vocab_put(&tokenizer->forms, id, form, size, true, error));
    /* Decoded, the "_" at the end of a subword is a space. */
    char text[SUBWORD_LIMIT];
    memcpy(text, form, size);
    if (text[size - 1] == '_') {
        text[size - 1] = ' ';
    }
    /* Single characters are found as the bytes that follow. */
    bool searchable = size > 1 && lh_vocab_find(&tokenizer->vocab, text, size) < 0;
    return lh_vocab_put(&tokenizer->vocab, id, text, size, searchable, error);
}

static lh_status finish(lh_tokenizer *tokenizer, lh_error *error)
{
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        LH_TRY(lh_vocab_put(&tokenizer->vocab, tokenizer->subword_count + 1 + i, &byte, 1, true, error));
    }
    lh_tokenizer_index_bytes(tokenizer);
    return LH_OK;
}

static lh_status read_lines(lh_tokenizer *tokenizer, const char *text, size_t size, const char *name,
                            lh_error *error)
{
    size_t line = 0;
    for (size_t at = 0; at < size;) {
        const char *from = text + at, *end = memchr(from, '\n', size - at);
        size_t length = end ? (size_t)(end - from) : size - at;
        line++;
        at += length + 1;
        if (line == 1 || (line == 2 && length >= 4 && memcmp(from, "### ", 4) == 0)) {
            continue;
        }
        if (!end || length < 2 || from[0] != '\'' || from[length - 1] != '\'') {
            return lh_fail(error, LH_E_FORMAT, "%s: line %zu is no subword between single quotes", name, line);
        }
        if (length > 2) {
            LH_TRY(add(tokenizer, from + 1, length - 2, name, line, error));
        }
    }
    return LH_OK;
}

static lh_status give(lh_tokenizer **tokenizer, lh_status status)
{
    if (status != LH_OK) {
        lh_tokenizer_free(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

lh_status lh_subword_read(lh_tokenizer **tokenizer, const void *text, size_t size, const char *name,
                          lh_error *error)
{
    lh_status status = start(tokenizer, error);
    status = status == LH_OK ? read_lines(*tokenizer, text, size, name, error) : status;
    status = status == LH_OK ? finish(*tokenizer, error) : status;
    return give(tokenizer, status);
}

lh_status lh_subword_create(lh_tokenizer **tokenizer, const char *const *subwords, lh_error *error)
{
    lh_status status = start(tokenizer, error);
    for (size_t i = 0; status == LH_OK && subwords[i]; i++) {
        status = add(*tokenizer, subwords[i], strlen(subwords[i]), "the list of subwords", i + 1, error);
    }
    status = status == LH_OK ? finish(*tokenizer, error) : status;
    return give(tokenizer, status);
}

lh_status lh_subword_write(const lh_tokenizer *tokenizer, lh_string *text, lh_error *error)
{
    lh_string_print(text, "%s\n%s{}\n", HEADER, METADATA);
    for (int32_t id = 1; id <= tokenizer->subword_count; id++) {
        size_t size;
        const unsigned char *form = lh_vocab_get(&tokenizer->forms, id, &size);
        lh_string_append(text, "'", 1);
        lh_string_append(text, form, size);
        lh_string_append(text, "'\n", 2);
    }
    return text->failed ? lh_fail(error, LH_E_MEMORY, "no memory to write a tokenizer") : LH_OK;
}
