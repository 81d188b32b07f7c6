/* normalizer, pre_tokenizer, decoder and post_processor of a tokenizer.json. */
#include "base/memory.h"
#include "text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

const char *lh_member_text(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool lh_member_true(json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static const char *type_of(json_t *part)
{
    const char *type = lh_member_text(part, "type");
    return type ? type : "(without a type)";
}

static lh_status unsupported(const lh_tokenizer_reader *reader, const char *key, json_t *part, lh_error *error)
{
    return lh_fail(error, LH_E_UNSUPPORTED, "%s: %s \"%.80s\" is not supported", reader->name, key, type_of(part));
}

/* ---- byte-level BPE ---- */

static lh_status read_normalizer(lh_tokenizer_reader *reader, json_t *part, int depth, lh_error *error)
{
    if (!part || json_is_null(part)) {
        return LH_OK;
    }
    const char *type = type_of(part);
    if (strcmp(type, "NFC") == 0) {
        reader->tokenizer->compose = true;
        return LH_OK;
    }
    json_t *steps = json_object_get(part, "normalizers");
    if (strcmp(type, "Sequence") != 0 || !json_is_array(steps) || depth > 4) {
        return unsupported(reader, "normalizer", part, error);
    }
    for (size_t i = 0; i < json_array_size(steps); i++) {
        LH_TRY(read_normalizer(reader, json_array_get(steps, i), depth + 1, error));
    }
    return LH_OK;
}

static lh_status read_split(lh_tokenizer_reader *reader, json_t *part, lh_error *error)
{
    json_t *pattern = json_object_get(part, "pattern");
    const char *expression = lh_member_text(pattern, "Regex"), *literal = lh_member_text(pattern, "String");
    const char *behavior = lh_member_text(part, "behavior");
    if (!expression && !literal) {
        return lh_fail(error, LH_E_FORMAT, "%s: pre_tokenizer Split has no pattern (Regex or String)",
                       reader->name);
    }
    /* Inverted and Removed drops what does not match. Here it is kept: the expressions in use match everything. */
    bool inverted = lh_member_true(part, "invert");
    bool known = behavior && ((strcmp(behavior, "Isolated") == 0 && !inverted) ||
                              (strcmp(behavior, "Removed") == 0 && inverted));
    if (!known) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s: pre_tokenizer Split with behavior \"%.40s\" and invert %s is not supported",
                       reader->name, behavior ? behavior : "", inverted ? "true" : "false");
    }
    return lh_tokenizer_add_stage(reader->tokenizer, expression ? LH_STAGE_SPLIT : LH_STAGE_SPLIT_LITERAL,
                                  expression ? expression : literal, reader->name, error);
}

static lh_status read_punctuation(lh_tokenizer_reader *reader, json_t *part, lh_error *error)
{
    const char *behavior = lh_member_text(part, "behavior");
    bool runs = behavior && strcmp(behavior, "Contiguous") == 0;
    if (behavior && !runs && strcmp(behavior, "Isolated") != 0) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s: pre_tokenizer Punctuation with behavior \"%.40s\" is not supported", reader->name,
                       behavior);
    }
    return lh_tokenizer_add_stage(reader->tokenizer, runs ? LH_STAGE_PUNCTUATION_RUNS : LH_STAGE_PUNCTUATION, NULL,
                                  reader->name, error);
}

/* *bytes: the ByteLevel step has come, after which text is no text any more. */
static lh_status read_pre_tokenizer(lh_tokenizer_reader *reader, json_t *part, int depth, bool *bytes,
                                    lh_error *error)
{
    lh_tokenizer *tokenizer = reader->tokenizer;
    const char *type = type_of(part);
    if (*bytes) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s: pre_tokenizer \"%.80s\" after ByteLevel is not supported",
                       reader->name, type);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        *bytes = true;
        tokenizer->prefix_space = lh_member_true(part, "add_prefix_space");
        if (tokenizer->prefix_space && tokenizer->stage_count > 0) {
            return lh_fail(error, LH_E_UNSUPPORTED,
                           "%s: pre_tokenizer ByteLevel with add_prefix_space after another step is not supported",
                           reader->name);
        }
        json_t *use = json_object_get(part, "use_regex");
        return json_is_false(use) ? LH_OK
                                  : lh_tokenizer_add_stage(tokenizer, LH_STAGE_GPT2, NULL, reader->name, error);
    }
    if (strcmp(type, "Split") == 0) {
        return read_split(reader, part, error);
    }
    if (strcmp(type, "Digits") == 0) {
        return lh_tokenizer_add_stage(
            tokenizer, lh_member_true(part, "individual_digits") ? LH_STAGE_DIGITS : LH_STAGE_DIGIT_RUNS, NULL,
            reader->name, error);
    }
    if (strcmp(type, "Punctuation") == 0) {
        return read_punctuation(reader, part, error);
    }
    json_t *steps = json_object_get(part, "pretokenizers");
    if (strcmp(type, "Sequence") != 0 || !json_is_array(steps) || depth > 4) {
        return unsupported(reader, "pre_tokenizer", part, error);
    }
    for (size_t i = 0; i < json_array_size(steps); i++) {
        LH_TRY(read_pre_tokenizer(reader, json_array_get(steps, i), depth + 1, bytes, error));
    }
    return LH_OK;
}

lh_status lh_tokenizer_read_bpe_pipeline(lh_tokenizer_reader *reader, lh_error *error)
{
    LH_TRY(read_normalizer(reader, json_object_get(reader->root, "normalizer"), 0, error));
    json_t *part = json_object_get(reader->root, "pre_tokenizer");
    bool bytes = false;
    if (part && !json_is_null(part)) {
        LH_TRY(read_pre_tokenizer(reader, part, 0, &bytes, error));
    }
    json_t *decoder = json_object_get(reader->root, "decoder");
    if (decoder && !json_is_null(decoder) && strcmp(type_of(decoder), "ByteLevel") != 0) {
        return unsupported(reader, "decoder", decoder, error);
    }
    if (!bytes) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s: pre_tokenizer has no ByteLevel step; of the BPE models only byte-level ones are "
                       "supported",
                       reader->name);
    }
    return LH_OK;
}

/* ---- words and characters ---- */

/* Words with line ends are written as: replace each line feed by " <eos> ", then split at white space. */
static lh_status read_line_ends(lh_tokenizer_reader *reader, json_t *part, lh_error *error)
{
    const char *from = lh_member_text(json_object_get(part, "pattern"), "String");
    const char *to = lh_member_text(part, "content");
    size_t size = to ? strlen(to) : 0;
    if (strcmp(type_of(part), "Replace") != 0 || !from || strcmp(from, "\n") != 0 || size < 3 || to[0] != ' ' ||
        to[size - 1] != ' ') {
        return unsupported(reader, "normalizer", part, error);
    }
    int32_t id = lh_vocab_find(&reader->tokenizer->vocab, to + 1, size - 2);
    if (id == LH_NO_TOKEN) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: normalizer: the end of a line is \"%.80s\", which model.vocab lacks", reader->name, to);
    }
    reader->tokenizer->line_ends = true;
    reader->tokenizer->roles[LH_TOKEN_EOS] = id;
    return LH_OK;
}

lh_status lh_tokenizer_read_closed_pipeline(lh_tokenizer_reader *reader, lh_error *error)
{
    json_t *part = json_object_get(reader->root, "pre_tokenizer");
    json_t *normalizer = json_object_get(reader->root, "normalizer");
    bool normalizes = normalizer && !json_is_null(normalizer);
    if (part && strcmp(type_of(part), "WhitespaceSplit") == 0) {
        reader->tokenizer->kind = LH_TOKENIZER_WORDS;
        return normalizes ? read_line_ends(reader, normalizer, error) : LH_OK;
    }
    const char *pattern = lh_member_text(json_object_get(part, "pattern"), "Regex");
    const char *behavior = lh_member_text(part, "behavior");
    if (!part || strcmp(type_of(part), "Split") != 0 || !pattern || strcmp(pattern, LH_ANY_CHARACTER) != 0 ||
        !behavior || strcmp(behavior, "Isolated") != 0) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s: pre_tokenizer \"%.80s\" is not supported with a WordLevel model: words need "
                       "WhitespaceSplit, characters a Split at %s",
                       reader->name, type_of(part), LH_ANY_CHARACTER);
    }
    reader->tokenizer->kind = LH_TOKENIZER_CHARACTERS;
    return normalizes ? unsupported(reader, "normalizer", normalizer, error) : LH_OK;
}

/* ---- post_processor ---- */

/* A template like [bos, text, eos] names the tokens of two roles. */
static void read_template(lh_tokenizer *tokenizer, json_t *part, int depth)
{
    json_t *parts = json_object_get(part, "processors");
    for (size_t i = 0; depth < 4 && i < json_array_size(parts); i++) {
        read_template(tokenizer, json_array_get(parts, i), depth + 1);
    }
    json_t *items = json_object_get(part, "single");
    bool after = false;
    for (size_t i = 0; i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i);
        const char *content = lh_member_text(json_object_get(item, "SpecialToken"), "id");
        after = after || json_object_get(item, "Sequence");
        int32_t id = content ? lh_tokenizer_find(tokenizer, content, strlen(content)) : LH_NO_TOKEN;
        lh_token_role role = after ? LH_TOKEN_EOS : LH_TOKEN_BOS;
        if (id != LH_NO_TOKEN && tokenizer->roles[role] == LH_NO_TOKEN) {
            tokenizer->roles[role] = id;
        }
    }
}

lh_status lh_tokenizer_read_post_processor(lh_tokenizer_reader *reader, lh_error *error)
{
    json_t *part = json_object_get(reader->root, "post_processor");
    if (!part || json_is_null(part)) {
        return LH_OK;
    }
    read_template(reader->tokenizer, part, 0);
    char *text = json_dumps(part, JSON_COMPACT);
    reader->tokenizer->post_processor = text ? lh_heap_strdup(text) : NULL;
    free(text);
    if (!reader->tokenizer->post_processor) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the post_processor of %s", reader->name);
    }
    return LH_OK;
}

/* ---- writing ---- */

static json_t *byte_level(bool prefix_space, bool use_regex)
{
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", prefix_space, "trim_offsets", 1,
                     "use_regex", use_regex);
}

static json_t *split(const char *kind, const char *pattern)
{
    return json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", kind, pattern, "behavior", "Isolated",
                     "invert", 0);
}

static json_t *write_stage(const lh_stage *stage)
{
    switch (stage->kind) {
    case LH_STAGE_SPLIT: return split("Regex", stage->source);
    case LH_STAGE_SPLIT_LITERAL: return split("String", stage->source);
    case LH_STAGE_DIGITS:
    case LH_STAGE_DIGIT_RUNS:
        return json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", stage->kind == LH_STAGE_DIGITS);
    case LH_STAGE_PUNCTUATION:
    case LH_STAGE_PUNCTUATION_RUNS:
        return json_pack("{s:s,s:s}", "type", "Punctuation", "behavior",
                         stage->kind == LH_STAGE_PUNCTUATION ? "Isolated" : "Contiguous");
    case LH_STAGE_GPT2: break;
    }
    return NULL;
}

static json_t *write_pre_tokenizer(const lh_tokenizer *tokenizer)
{
    if (tokenizer->kind == LH_TOKENIZER_WORDS) {
        return json_pack("{s:s}", "type", "WhitespaceSplit");
    }
    if (tokenizer->kind == LH_TOKENIZER_CHARACTERS) {
        return split("Regex", LH_ANY_CHARACTER);
    }
    size_t count = tokenizer->stage_count;
    bool use_regex = count > 0 && tokenizer->stages[count - 1].kind == LH_STAGE_GPT2;
    json_t *last = byte_level(tokenizer->prefix_space, use_regex);
    if (count == (use_regex ? 1u : 0u)) {
        return last;
    }
    json_t *steps = json_array();
    for (size_t i = 0; i < count - use_regex; i++) {
        json_array_append_new(steps, write_stage(&tokenizer->stages[i]));
    }
    json_array_append_new(steps, last);
    return json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", steps);
}

static json_t *write_normalizer(const lh_tokenizer *tokenizer)
{
    if (tokenizer->compose) {
        return json_pack("{s:s}", "type", "NFC");
    }
    if (tokenizer->kind != LH_TOKENIZER_WORDS || !tokenizer->line_ends) {
        return json_null();
    }
    size_t size;
    const unsigned char *end = lh_tokenizer_token(tokenizer, tokenizer->roles[LH_TOKEN_EOS], &size);
    lh_string content = {0};
    lh_string_append(&content, " ", 1);
    lh_string_append(&content, end, size);
    lh_string_append(&content, " ", 1);
    json_t *result = content.failed ? NULL
                                    : json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", "\n",
                                                "content", content.data);
    lh_string_free(&content);
    return result;
}

bool lh_tokenizer_write_pipeline(const lh_tokenizer *tokenizer, json_t *root)
{
    json_t *decoder = json_null();
    if (tokenizer->kind == LH_TOKENIZER_BPE || tokenizer->kind == LH_TOKENIZER_BYTES) {
        decoder = byte_level(true, true);
    } else if (tokenizer->kind == LH_TOKENIZER_CHARACTERS) {
        decoder = json_pack("{s:s}", "type", "Fuse");
    }
    json_t *post =
        tokenizer->post_processor ? json_loads(tokenizer->post_processor, JSON_DECODE_ANY, NULL) : json_null();
    /* One after the other in the order of the format; a NULL value makes the call fail. */
    bool failed = json_object_set_new(root, "normalizer", write_normalizer(tokenizer)) != 0;
    failed = json_object_set_new(root, "pre_tokenizer", write_pre_tokenizer(tokenizer)) != 0 || failed;
    failed = json_object_set_new(root, "post_processor", post) != 0 || failed;
    failed = json_object_set_new(root, "decoder", decoder) != 0 || failed;
    return !failed;
}
