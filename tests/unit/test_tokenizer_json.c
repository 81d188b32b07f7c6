/* tokenizer.json and GPT-2's pair of files: what is read, what is refused and how, damaged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/json_util.h"
#include "text/byte_alphabet.h"
#include "tokenizer_support.h"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"

/* `"a":1,`... for the 256 bytes with id = byte, then `more`. */
static char *byte_vocab(const char *more)
{
    lh_string text = {0};
    lh_string_print(&text, "{");
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        lh_string letter = {0};
        lh_byte_alphabet_write(&letter, &byte, 1);
        lh_json_append_string(&text, letter.data, letter.size);
        lh_string_print(&text, ":%d%s", i, i < 255 ? "," : "");
        lh_string_free(&letter);
    }
    lh_string_print(&text, "%s}", more);
    assert_false(text.failed);
    return text.data;
}

/* A whole file; each part is JSON text. */
static char *bpe_file(const char *top, const char *model, const char *vocab, const char *merges)
{
    char *bytes = byte_vocab(vocab);
    lh_string text = {0};
    lh_string_print(&text, "{%s\"model\":{\"type\":\"BPE\",%s\"vocab\":%s,\"merges\":%s}}", top, model, bytes,
                    merges);
    lh_heap_free(bytes);
    assert_false(text.failed);
    return text.data;
}

static lh_tokenizer *read_text(const char *text)
{
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    if (lh_tokenizer_read(&tokenizer, text, strlen(text), "test.json", &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

static void refuse_text(const char *text, lh_status status, const char *sentence)
{
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    uint64_t before = lh_heap_live_bytes();
    assert_int_equal(lh_tokenizer_read(&tokenizer, text, strlen(text), "test.json", &error), status);
    assert_null(tokenizer);
    if (!strstr(error.message, sentence)) {
        fail_msg("\"%s\" does not have \"%s\"", error.message, sentence);
    }
    assert_memory_equal(error.message, "test.json", 9);
    assert_int_equal(lh_heap_live_bytes(), before);
}

static void refuse_bpe(const char *top, const char *model, const char *vocab, const char *merges, lh_status status,
                       const char *sentence)
{
    char *text = bpe_file(top, model, vocab, merges);
    refuse_text(text, status, sentence);
    lh_heap_free(text);
}

#define TOP "\"pre_tokenizer\":" BYTE_LEVEL ",\"decoder\":" BYTE_LEVEL ","

/* Both ways of writing merges, the order of which decides. */
static void test_merges(void **state)
{
    (void)state;
    const char *vocab = ",\"ab\":256,\"bc\":257,\"abc\":258,\"\xc4\xa0"
                        "a\":300";
    char *first = bpe_file(TOP, "", vocab, "[\"a b\",\"b c\",\"ab c\",\"\xc4\xa0 a\"]");
    char *second = bpe_file(TOP, "", vocab, "[[\"b\",\"c\"],[\"a\",\"b\"],[\"a\",\"bc\"],[\"\xc4\xa0\",\"a\"]]");
    lh_tokenizer *one = read_text(first), *two = read_text(second);
    ASSERT_IDS(one, "abc bc ab", 0, 258, ' ', 257, ' ', 256);
    ASSERT_IDS(one, " a ac", 0, 300, 300, 'c');
    ASSERT_IDS(two, "abc abcc", 0, 258, 32, 258, 99);
    assert_int_equal(lh_tokenizer_vocab_size(one), 301);
    assert_int_not_equal(lh_tokenizer_fingerprint(one), lh_tokenizer_fingerprint(two));
    size_t size;
    assert_null(lh_tokenizer_token(one, 299, &size));
    assert_int_equal(lh_tokenizer_token_length(one, 299), 0);
    lh_string back = {0};
    assert_int_equal(lh_tokenizer_decode(one, (int32_t[]){299}, 1, 0, &back, NULL), LH_E_ARGUMENT);
    lh_string_free(&back);
    lh_tokenizer_free(one);
    lh_tokenizer_free(two);
    lh_heap_free(first);
    lh_heap_free(second);
}

/* Always the pair of lowest rank, of those the leftmost; for short words and long. */
static void test_order_of_joins(void **state)
{
    (void)state;
    lh_random random = lh_random_create(21, 0);
    for (int round = 0; round < 20; round++) {
        char token[40][256] = {"a", "b"};
        int merge[40][2], tokens = 2;
        lh_string vocab = {0}, merges = {0};
        while (tokens < 40) {
            int left = (int)lh_random_below(&random, (uint64_t)tokens);
            int right = (int)lh_random_below(&random, (uint64_t)tokens);
            char joined[512];
            (void)snprintf(joined, sizeof joined, "%s%s", token[left], token[right]);
            bool fresh = strlen(joined) < 60;
            for (int i = 0; i < tokens; i++) {
                fresh = fresh && strcmp(token[i], joined) != 0;
            }
            if (!fresh) {
                continue;
            }
            lh_string_print(&merges, "%s[\"%s\",\"%s\"]", tokens > 2 ? "," : "[", token[left], token[right]);
            lh_string_print(&vocab, ",\"%s\":%d", joined, 254 + tokens);
            merge[tokens][0] = left;
            merge[tokens][1] = right;
            (void)snprintf(token[tokens++], 256, "%.255s", joined);
        }
        lh_string_print(&merges, "]");
        char *text = bpe_file(TOP, "", vocab.data, merges.data);
        lh_tokenizer *tokenizer = read_text(text);
        for (int test = 0; test < 60; test++) {
            char word[600];
            int symbols[600];
            size_t size = 1 + (size_t)lh_random_below(&random, test < 30 ? 49 : 600), count = size;
            for (size_t i = 0; i < size; i++) {
                symbols[i] = (int)lh_random_below(&random, 2);
                word[i] = (char)('a' + symbols[i]);
            }
            for (int rank = 2; rank < 40;) {
                size_t at = 0;
                while (at + 1 < count && (symbols[at] != merge[rank][0] || symbols[at + 1] != merge[rank][1])) {
                    at++;
                }
                if (at + 1 >= count) {
                    rank++;
                    continue;
                }
                symbols[at] = rank;
                count--;
                memmove(symbols + at + 1, symbols + at + 2, (count - at - 1) * sizeof *symbols);
                rank = 2;
            }
            lh_ids got = encode(tokenizer, word, size, 0);
            assert_int_equal(got.size, count);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(got.data[i], symbols[i] < 2 ? 'a' + symbols[i] : 254 + symbols[i]);
            }
            lh_ids_free(&got);
        }
        lh_tokenizer_free(tokenizer);
        lh_heap_free(text);
        lh_string_free(&vocab);
        lh_string_free(&merges);
    }
}

static void test_added_tokens(void **state)
{
    (void)state;
    char *text = bpe_file(TOP "\"added_tokens\":[{\"id\":256,\"content\":\"<s>\",\"special\":true},{\"id\":258,"
                              "\"content\":\"\xc3\xa9\xe4\xbd\xa0\",\"special\":false,\"normalized\":false}],"
                              "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
                              "\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]},",
                          "", ",\"<s>\":256,\"ab\":257", "[\"a b\"]");
    lh_tokenizer *tokenizer = read_text(text), *copy;
    ASSERT_IDS(tokenizer, "<s>ab\xc3\xa9\xe4\xbd\xa0", LH_ENCODE_SPECIAL, 256, 257, 258);
    ASSERT_IDS(tokenizer, "<s>", 0, '<', 's', '>');
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_BOS), 256);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), LH_NO_TOKEN);
    lh_string written = {0};
    assert_int_equal(lh_tokenizer_write(tokenizer, &written, NULL), LH_OK);
    copy = read_text(written.data);
    assert_int_equal(lh_tokenizer_fingerprint(copy), lh_tokenizer_fingerprint(tokenizer));
    assert_int_equal(lh_tokenizer_role(copy, LH_TOKEN_BOS), 256);
    lh_string again = {0};
    assert_int_equal(lh_tokenizer_write(copy, &again, NULL), LH_OK);
    assert_string_equal(again.data, written.data);
    lh_string_free(&written);
    lh_string_free(&again);
    lh_tokenizer_free(copy);
    lh_tokenizer_free(tokenizer);
    lh_heap_free(text);
}

static lh_tokenizer *with_pre_tokenizer(const char *pre_tokenizer, const char *rest)
{
    lh_string top = {0};
    lh_string_print(&top, "\"pre_tokenizer\":%s,%s", pre_tokenizer, rest);
    char *text = bpe_file(top.data, "",
                          ",\"12\":256,\"ab\":257,\"..\":258,\"\xc4\xa0"
                          "a\":259,\"1ab\":260",
                          "[\"1 2\",\"a b\",\". .\",\"\xc4\xa0 a\",\"1 ab\"]");
    lh_tokenizer *tokenizer = read_text(text);
    lh_heap_free(text);
    lh_string_free(&top);
    /* Whatever it is, it is the same after a trip through a file. */
    lh_string written = {0};
    assert_int_equal(lh_tokenizer_write(tokenizer, &written, NULL), LH_OK);
    lh_tokenizer *copy = read_text(written.data);
    assert_int_equal(lh_tokenizer_fingerprint(copy), lh_tokenizer_fingerprint(tokenizer));
    lh_string_free(&written);
    lh_tokenizer_free(tokenizer);
    return copy;
}

#define BYTES_LAST "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"pretokenizers\":[" steps "," BYTES_LAST "]}"

static void test_pre_tokenizers(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = with_pre_tokenizer(BYTES_LAST, "");
    ASSERT_IDS(tokenizer, "1ab12", 0, 260, 256);
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer(SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}"), "");
    ASSERT_IDS(tokenizer, "1ab12", 0, '1', 257, '1', '2');
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer(SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":false}"), "");
    ASSERT_IDS(tokenizer, "1ab12", 0, '1', 257, 256);
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer(SEQUENCE("{\"type\":\"Punctuation\",\"behavior\":\"Isolated\"}"), "");
    ASSERT_IDS(tokenizer, "..$..", 0, '.', '.', '$', '.', '.');
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer(SEQUENCE("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}"), "");
    ASSERT_IDS(tokenizer, "..a", 0, 258, 'a');
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer(
        SEQUENCE(
            "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]\"},\"behavior\":\"Isolated\",\"invert\":false},"
            "{\"type\":\"Split\",\"pattern\":{\"String\":\".\"},\"behavior\":\"Isolated\"}"),
        "");
    ASSERT_IDS(tokenizer, "12ab..", 0, 256, 'a', 'b', '.', '.');
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer(
        SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\S+|\\\\s+\"},\"behavior\":\"Removed\","
                 "\"invert\":true}"),
        "");
    ASSERT_IDS(tokenizer, "12ab a", 0, 256, 257, ' ', 'a');
    lh_tokenizer_free(tokenizer);
    tokenizer = with_pre_tokenizer("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "");
    assert_false(lh_tokenizer_lossless(tokenizer));
    ASSERT_IDS(tokenizer, "ab", 0, 32, 257);
    ASSERT_IDS(tokenizer, " ab", 0, 32, 257);
    lh_tokenizer_free(tokenizer);
}

/* Expressions that look around them, in pieces of any size. */
static void test_assertions_in_pieces(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer =
        with_pre_tokenizer(SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                                    "\"(?<=ab)1+|\\\\b2|^ab|(?<=^a)\\\\.|\\\\.\\\\.$|\\\\A12|a(?=b1)\"},"
                                    "\"behavior\":\"Isolated\"}"),
                           "");
    /* `(?<=^a)` holds at the second place of a line only, `\\A` at the start of the text only. */
    ASSERT_IDS(tokenizer, "a..\na1ab12ab", 0, 'a', '.', '.', '\n', 'a', '1', 'a', 'b', '1', '2', 257);
    ASSERT_IDS(tokenizer, "ba..", 0, 'b', 'a', 258);
    ASSERT_IDS(tokenizer, "1...\nb", 0, '1', '.', 258, '\n', 'b');
    lh_random random = lh_random_create(41, 0);
    lh_encoder *encoder;
    assert_int_equal(lh_encoder_create(&encoder, tokenizer, 0, NULL), LH_OK);
    for (int round = 0; round < 60; round++) {
        static char text[120000];
        size_t size = round < 50 ? 20000 : sizeof text;
        for (size_t i = 0; i < size; i++) {
            text[i] = "ab12. \n\xff"[lh_random_below(&random, round % 2 ? 8 : 6)];
        }
        lh_ids whole = encode(tokenizer, text, size, 0);
        lh_ids pieces = encode_in_pieces(encoder, text, size, round % 3 ? 9000 : 4100, &random);
        assert_same_ids(&pieces, &whole);
        lh_ids_free(&whole);
        lh_ids_free(&pieces);
    }
    lh_encoder_free(encoder);
    lh_tokenizer_free(tokenizer);
}

static void test_normal_form(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = with_pre_tokenizer(BYTE_LEVEL, "\"normalizer\":{\"type\":\"NFC\"},");
    assert_false(lh_tokenizer_lossless(tokenizer));
    ASSERT_IDS(tokenizer, "e\xcc\x81\xff", 0, 0xc3, 0xa9, 0xff);
    /* Marks in the wrong order, Hangul from its parts, a character that has no composed form, and one that is
     * always taken apart. */
    ASSERT_IDS(tokenizer, "q\xcc\x87\xcc\xa3", 0, 'q', 0xcc, 0xa3, 0xcc, 0x87);
    ASSERT_IDS(tokenizer, "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", 0, 0xed, 0x95, 0x9c);
    ASSERT_IDS(tokenizer, "\xe2\x84\xab", 0, 0xc3, 0x85);
    ASSERT_IDS(tokenizer, "a\xcc\x81\xcc\x81\xcc\x81\xcc\xa3", 0, 0xe1, 0xba, 0xa1, 0xcc, 0x81, 0xcc, 0x81, 0xcc,
               0x81);
    ASSERT_IDS(tokenizer, "\xe0\xa5\x98", 0, 0xe0, 0xa4, 0x95, 0xe0, 0xa4, 0xbc);
    /* In any pieces, with long runs of marks. */
    lh_random random = lh_random_create(8, 8);
    lh_encoder *encoder;
    assert_int_equal(lh_encoder_create(&encoder, tokenizer, 0, NULL), LH_OK);
    static const char *const parts[] = {"e", "\xcc\x81", "\xcc\xa3",     "\xe1\x84\x92", "\xe1\x85\xa1",
                                        " ", "\xff",     "\xe4\xbd\xa0", "\xc3",         "\xd0\xb6"};
    for (int round = 0; round < 40; round++) {
        static char text[300000];
        size_t size = 0, limit = round < 30 ? 4000 : 290000;
        while (size < limit) {
            const char *part = parts[lh_random_below(&random, 10)];
            for (uint64_t times = lh_random_below(&random, 50) == 0 ? lh_random_below(&random, limit / 3) : 1;
                 times > 0 && size < limit; times--) {
                memcpy(text + size, part, strlen(part));
                size += strlen(part);
            }
        }
        lh_ids whole = encode(tokenizer, text, size, 0);
        lh_ids pieces = encode_in_pieces(encoder, text, size, round % 3 ? 5000 : 50, &random);
        assert_same_ids(&pieces, &whole);
        lh_ids_free(&whole);
        lh_ids_free(&pieces);
    }
    lh_encoder_free(encoder);
    lh_tokenizer_free(tokenizer);
}

static void test_whole_words(void **state)
{
    (void)state;
    char *text = bpe_file(TOP, "\"ignore_merges\":true,", ",\"abc\":256,\"ab\":257", "[\"a b\"]");
    lh_tokenizer *tokenizer = read_text(text);
    ASSERT_IDS(tokenizer, "abc", 0, 256);
    ASSERT_IDS(tokenizer, "abcd", 0, 257, 'c', 'd');
    lh_tokenizer_free(tokenizer);
    lh_heap_free(text);
}

static void test_unknown_bytes(void **state)
{
    (void)state;
    const char *format =
        "{" TOP "\"model\":{\"type\":\"BPE\",%s\"vocab\":{\"a\":0,\"b\":1,\"?\":2},\"merges\":[]}}";
    char text[1024];
    (void)snprintf(text, sizeof text, format, "\"unk_token\":\"?\",");
    lh_tokenizer *tokenizer = read_text(text);
    assert_false(lh_tokenizer_lossless(tokenizer));
    ASSERT_IDS(tokenizer, "abc", 0, 0, 1, 2);
    lh_tokenizer_free(tokenizer);
    (void)snprintf(text, sizeof text, format, "");
    tokenizer = read_text(text);
    lh_ids ids = {0};
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_encode(tokenizer, "abc", 3, 0, &ids, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "a byte 0x63"));
    lh_ids_free(&ids);
    lh_tokenizer_free(tokenizer);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse_text("", LH_E_FORMAT, "JSON");
    refuse_text("[1]", LH_E_FORMAT, "the top level is no JSON object");
    refuse_text("{\"model\":1}", LH_E_FORMAT, "model is missing or no object");
    refuse_text("{\"model\":{\"type\":\"Unigram\"}}", LH_E_UNSUPPORTED, "model.type \"Unigram\" is not supported");
    refuse_text("{\"model\":{\"type\":\"BPE\"}}", LH_E_FORMAT, "model.vocab is missing or no object");
    refuse_text("{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", LH_E_FORMAT, "model.merges is missing or no array");
    refuse_text("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1}}}", LH_E_FORMAT, "duplicate");
    refuse_text("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{},\"unk_token\":\"\"},\"pre_tokenizer\":{\"type\":"
                "\"WhitespaceSplit\"}}",
                LH_E_FORMAT, "model.vocab is empty");
    refuse_text(
        "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}},\"pre_tokenizer\":{\"type\":\"Whitespace\"}}",
        LH_E_UNSUPPORTED, "pre_tokenizer \"Whitespace\" is not supported with a WordLevel model");
    const char *ids[] = {"-1", "1.5", "\"7\"", "null", "99999999999", "70000"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char vocab[64];
        (void)snprintf(vocab, sizeof vocab, ",\"zz\":%s", ids[i]);
        refuse_bpe(TOP, "", vocab, "[]", LH_E_FORMAT,
                   "model.vocab: the id of \"zz\" is no integer from 0 to 66563");
    }
    refuse_bpe(TOP, "", ",\"ab\":97", "[]", LH_E_FORMAT, "\"ab\" has id 97, which another token has already");
    refuse_bpe(TOP, "", ",\"ab\":256", "[\"a b\",\"a b\"]", LH_E_FORMAT,
               "merge 1 of \"a\" and \"b\" is there twice");
    refuse_bpe(TOP, "", "", "[\"a b\"]", LH_E_FORMAT, "merge 0 of \"a\" and \"b\" makes a token that is not in");
    refuse_bpe(TOP, "", "", "[\"a zz\"]", LH_E_FORMAT, "merge 0 joins \"zz\", which is not in the vocabulary");
    refuse_bpe(TOP, "", "", "[\"ab\"]", LH_E_FORMAT, "model.merges[0] is neither");
    refuse_bpe(TOP, "", "", "[[\"a\",\"b\",\"c\"]]", LH_E_FORMAT, "model.merges[0] is neither");
    refuse_bpe(TOP, "", "", "[7]", LH_E_FORMAT, "model.merges[0] is neither");
    refuse_bpe(TOP, "\"dropout\":0.1,", "", "[]", LH_E_UNSUPPORTED, "model.dropout is set");
    refuse_bpe(TOP, "\"byte_fallback\":true,", "", "[]", LH_E_UNSUPPORTED, "model.byte_fallback is set");
    refuse_bpe(TOP, "\"end_of_word_suffix\":\"</w>\",", "", "[]", LH_E_UNSUPPORTED,
               "model.end_of_word_suffix is set");
    refuse_bpe("", "", "", "[]", LH_E_UNSUPPORTED, "pre_tokenizer has no ByteLevel step");
    refuse_bpe("\"pre_tokenizer\":{\"type\":\"Metaspace\"},", "", "", "[]", LH_E_UNSUPPORTED,
               "pre_tokenizer \"Metaspace\" is not supported");
    refuse_bpe(TOP
               "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"}"
               "]},",
               "", "", "[]", LH_E_UNSUPPORTED, "normalizer \"Lowercase\" is not supported");
    refuse_bpe("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
               ",{\"type\":\"Digits\"}]},",
               "", "", "[]", LH_E_UNSUPPORTED, "pre_tokenizer \"Digits\" after ByteLevel");
    refuse_bpe("\"pre_tokenizer\":" SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":"
                                             "\"Isolated\"}") ",",
               "", "", "[]", LH_E_FORMAT, "\"(\" is no regular expression");
    refuse_bpe("\"pre_tokenizer\":" SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
                                             "\"MergedWithNext\"}") ",",
               "", "", "[]", LH_E_UNSUPPORTED, "Split with behavior \"MergedWithNext\"");
    refuse_bpe(TOP "\"decoder\":7,", "", "", "[]", LH_E_FORMAT, "duplicate");
    refuse_bpe("\"pre_tokenizer\":" BYTE_LEVEL ",\"decoder\":{\"type\":\"WordPiece\"},", "", "", "[]",
               LH_E_UNSUPPORTED, "decoder \"WordPiece\" is not supported");
    refuse_bpe(TOP "\"added_tokens\":7,", "", "", "[]", LH_E_FORMAT, "added_tokens is no array");
    refuse_bpe(TOP "\"added_tokens\":[{\"id\":256}],", "", "", "[]", LH_E_FORMAT, "added_tokens[0].content");
    refuse_bpe(TOP "\"added_tokens\":[{\"content\":\"x!\"}],", "", "", "[]", LH_E_FORMAT,
               "added_tokens: the id of \"x!\" is no integer");
    refuse_bpe(TOP "\"added_tokens\":[{\"id\":97,\"content\":\"x!\"}],", "", "", "[]", LH_E_FORMAT,
               "added_tokens: \"x!\" has id 97, which another token has already");
    refuse_bpe(TOP "\"added_tokens\":[{\"id\":256,\"content\":\"x!\",\"lstrip\":true}],", "", "", "[]",
               LH_E_UNSUPPORTED, "added_tokens[0] \"x!\" has lstrip");
    refuse_bpe(TOP "\"added_tokens\":[{\"id\":256,\"content\":\"x!\"},{\"id\":257,\"content\":\"x!\"}],", "", "",
               "[]", LH_E_FORMAT, "added_tokens has \"x!\" twice");
}

static const char *const pair_vocab = "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}";

static void refuse_pair(const char *folder, const char *vocab, const char *merges, const char *sentence)
{
    char first[128], second[128];
    (void)snprintf(first, sizeof first, "%s/encoder.json", folder);
    (void)snprintf(second, sizeof second, "%s/vocab.bpe", folder);
    assert_int_equal(scratch_write(first, vocab, strlen(vocab)), 0);
    assert_int_equal(scratch_write(second, merges, strlen(merges)), 0);
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_open(&tokenizer, folder, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, folder));
    if (!strstr(error.message, sentence)) {
        fail_msg("\"%s\" does not have \"%s\"", error.message, sentence);
    }
}

static void test_pair_of_files(void **state)
{
    (void)state;
    char folder[64], first[128], second[128];
    assert_int_equal(scratch_make(folder), 0);
    refuse_pair(folder, "{\"a\":0", "", "encoder.json");
    refuse_pair(folder, pair_vocab, "#version: 0.2\na b\nab\n", "vocab.bpe: merge 1, \"ab\", is not of the form");
    refuse_pair(folder, pair_vocab, "a c\n", "vocab.bpe: merge 0 joins \"c\"");
    refuse_pair(folder, pair_vocab, "a b\na b\n", "merge 1 of \"a\" and \"b\" is there twice");
    (void)snprintf(first, sizeof first, "%s/encoder.json", folder);
    (void)snprintf(second, sizeof second, "%s/vocab.bpe", folder);
    static const char merges[] = "#version: 0.2\r\na b\r\n\n";
    assert_int_equal(scratch_write(second, merges, sizeof merges - 1), 0);
    lh_tokenizer *tokenizer;
    assert_int_equal(lh_tokenizer_open(&tokenizer, folder, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 3);
    ASSERT_IDS(tokenizer, "aab<|endoftext|>", LH_ENCODE_SPECIAL, 0, 2, 3);
    lh_tokenizer_free(tokenizer);
    scratch_remove(folder);
}

static void test_roles_file(void **state)
{
    (void)state;
    char folder[64], path[128];
    assert_int_equal(scratch_make(folder), 0);
    char *text = bpe_file(TOP "\"added_tokens\":[{\"id\":256,\"content\":\"[A]\",\"special\":true},{\"id\":257,"
                              "\"content\":\"[B]\",\"special\":true}],",
                          "", "", "[]");
    (void)snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    /* As published files have it: a number that no 64-bit integer holds. */
    static const char config[] = "{\"eos_token\":{\"content\":\"[A]\"},\"bos_token\":\"[B]\",\"pad_token\":null,"
                                 "\"model_max_length\":1000000000000000019884624838656}";
    assert_int_equal(scratch_write(path, config, sizeof config - 1), 0);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(scratch_write(path, text, strlen(text)), 0);
    for (int i = 0; i < 2; i++) {
        lh_tokenizer *tokenizer;
        lh_error error = {0};
        if (lh_tokenizer_open(&tokenizer, i ? folder : path, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 256);
        assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_BOS), 257);
        assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_PAD), LH_NO_TOKEN);
        lh_tokenizer_free(tokenizer);
    }
    lh_heap_free(text);
    scratch_remove(folder);
}

/* Cut anywhere or with any bit turned over, a file is read or refused with one sentence. */
static void test_damage(void **state)
{
    (void)state;
    char *text = bpe_file(TOP "\"added_tokens\":[{\"id\":256,\"content\":\"<s>\",\"special\":true}],", "",
                          ",\"ab\":257", "[\"a b\"]");
    size_t size = strlen(text);
    lh_random random = lh_random_create(99, 0);
    for (int round = 0; round < 4000; round++) {
        char *damaged = malloc(size);
        assert_non_null(damaged);
        memcpy(damaged, text, size);
        size_t length = round % 2 ? size : (size_t)lh_random_below(&random, size);
        if (round % 2) {
            damaged[lh_random_below(&random, size)] ^= (char)(1 << lh_random_below(&random, 8));
        }
        lh_tokenizer *tokenizer;
        lh_error error = {0};
        uint64_t before = lh_heap_live_bytes();
        lh_status status = lh_tokenizer_read(&tokenizer, damaged, length, "test.json", &error);
        if (status == LH_OK) {
            lh_ids ids = {0};
            (void)lh_tokenizer_encode(tokenizer, "abc<s>\n \xff", 9, LH_ENCODE_SPECIAL, &ids, NULL);
            lh_ids_free(&ids);
            lh_tokenizer_free(tokenizer);
        } else {
            assert_true(status == LH_E_FORMAT || status == LH_E_UNSUPPORTED);
            assert_memory_equal(error.message, "test.json", 9);
            assert_true(round % 2 || status == LH_E_FORMAT);
        }
        assert_int_equal(lh_heap_live_bytes(), before);
        free(damaged);
    }
    lh_heap_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_order_of_joins),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_pre_tokenizers),
        cmocka_unit_test(test_assertions_in_pieces),
        cmocka_unit_test(test_normal_form),
        cmocka_unit_test(test_whole_words),
        cmocka_unit_test(test_unknown_bytes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_pair_of_files),
        cmocka_unit_test(test_roles_file),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests_name("tokenizer.json", tests, NULL, NULL);
}
