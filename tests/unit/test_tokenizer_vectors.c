/* Against ids that other programs computed, and on real books. Needs the data collection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/json_util.h"
#include "text/train.h"
#include "tokenizer_support.h"

static char folder[64];
static bool have_tokenizers;

static const char *at(const char *name)
{
    static char path[4][256];
    static int next;
    next = (next + 1) % 4;
    (void)snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static int prepare(void **state)
{
    (void)state;
    char path[512];
    if (scratch_make(folder) != 0) {
        return -1;
    }
    have_tokenizers = data_file(path, sizeof path, "tokenizers/tokenizers.tar.xz");
    return have_tokenizers ? unpack(path, folder, "") : 0;
}

static int tidy(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static lh_tokenizer *open_or_fail(const char *path)
{
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    if (lh_tokenizer_open(&tokenizer, path, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

static lh_tokenizer *open_gpt2(void)
{
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    if (lh_tokenizer_open_gpt2(&tokenizer, at("tokenizers/gpt2_encoder.json"), at("tokenizers/gpt2_vocab.bpe"),
                               &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

/* llama.cpp's files: texts parted by a line with a mark, and a line of ids for each. Their ids come from the
 * original tokenizers. */
static int compare_vectors(const lh_tokenizer *tokenizer, const char *name)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[128];
    size_t size;
    (void)snprintf(path, sizeof path, "tokenizers/llama-cpp-vocab/ggml-vocab-%s.gguf.inp", name);
    char *texts = scratch_read(at(path), &size);
    (void)snprintf(path, sizeof path, "tokenizers/llama-cpp-vocab/ggml-vocab-%s.gguf.out", name);
    char *ids = scratch_read(at(path), &size);
    assert_non_null(texts);
    assert_non_null(ids);
    int cases = 0;
    char *text = texts, *line = ids;
    for (char *end; (end = strstr(text, mark)) != NULL; text = end + sizeof mark - 1, cases++) {
        lh_ids expected = {0};
        char *stop = line + strcspn(line, "\n");
        for (char *number = line; number < stop;) {
            char *after;
            int32_t id = (int32_t)strtol(number, &after, 10);
            if (after == number || after > stop) {
                break;
            }
            assert_int_equal(lh_ids_append(&expected, &id, 1, NULL), LH_OK);
            number = after;
        }
        lh_ids got = encode(tokenizer, text, (size_t)(end - text), 0);
        assert_same_ids(&got, &expected);
        lh_ids_free(&got);
        lh_ids_free(&expected);
        line = stop + (*stop == '\n');
    }
    free(texts);
    free(ids);
    return cases;
}

static void test_gpt2(void **state)
{
    (void)state;
    if (!have_tokenizers) {
        skip();
    }
    lh_tokenizer *tokenizer = open_gpt2();
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 50257);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 50256);
    assert_true(lh_tokenizer_lossless(tokenizer));
    assert_int_equal(compare_vectors(tokenizer, "gpt-2"), 46);
    ASSERT_IDS(tokenizer, "Hello world<|endoftext|>", LH_ENCODE_SPECIAL, 15496, 995, 50256);
    /* The same tokenizer as one file. */
    lh_error error = {0};
    if (lh_tokenizer_save(tokenizer, at("gpt2.json"), &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    lh_tokenizer *copy = open_or_fail(at("gpt2.json"));
    assert_int_equal(lh_tokenizer_fingerprint(copy), lh_tokenizer_fingerprint(tokenizer));
    assert_int_equal(compare_vectors(copy, "gpt-2"), 46);
    lh_tokenizer_free(copy);
    lh_tokenizer_free(tokenizer);
}

static void test_qwen(void **state)
{
    (void)state;
    if (!have_tokenizers) {
        skip();
    }
    lh_tokenizer *tokenizer = open_or_fail(at("tokenizers/qwen2.5_tokenizer.json"));
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 151665);
    assert_int_equal(compare_vectors(tokenizer, "qwen2"), 46);
    assert_int_equal(compare_vectors(tokenizer, "deepseek-r1-qwen"), 46);
    assert_int_equal(lh_tokenizer_find(tokenizer, "<|im_start|>", 12), 151644);
    lh_error error = {0};
    if (lh_tokenizer_save(tokenizer, at("qwen.json"), &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    lh_tokenizer *copy = open_or_fail(at("qwen.json"));
    assert_int_equal(lh_tokenizer_fingerprint(copy), lh_tokenizer_fingerprint(tokenizer));
    assert_int_equal(compare_vectors(copy, "qwen2"), 46);
    lh_tokenizer_free(copy);
    lh_tokenizer_free(tokenizer);
}

/* A chat model's own tokens for its prompts, special tokens included. */
static void test_minimind(void **state)
{
    (void)state;
    char path[512];
    if (!data_file(path, sizeof path, "lm-minimind2-small/reference_logits.json.xz")) {
        skip();
    }
    assert_int_equal(unpack(path, folder, ""), 0);
    assert_true(data_file(path, sizeof path, "lm-minimind2-small/tokenizer.json.xz"));
    assert_int_equal(unpack(path, folder, ""), 0);
    assert_true(data_file(path, sizeof path, "lm-minimind2-small/tokenizer_config.json"));
    char command[700];
    (void)snprintf(command, sizeof command, "cp '%s' '%s'", path, folder);
    assert_int_equal(system(command), 0);
    lh_tokenizer *tokenizer = open_or_fail(folder);
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 6400);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 2);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_BOS), 1);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_PAD), 0);
    json_t *root;
    lh_error error = {0};
    assert_int_equal(lh_json_read(at("reference_logits.json"), 0, &root, &error), LH_OK);
    json_t *cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 4);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *one = json_array_get(cases, i), *tokens = json_object_get(one, "tokens");
        const char *prompt = json_string_value(json_object_get(one, "user_prompt"));
        const char *raw = json_string_value(json_object_get(one, "raw_text"));
        lh_string text = {0};
        if (raw) {
            lh_string_print(&text, "<|im_start|>%s", raw); /* the token of role BOS, then the text */
        } else {
            lh_string_print(&text,
                            "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n%s"
                            "<|im_end|>\n<|im_start|>assistant\n",
                            prompt);
        }
        lh_ids expected = {0};
        for (size_t j = 0; j < json_array_size(tokens); j++) {
            int32_t id = (int32_t)json_integer_value(json_array_get(tokens, j));
            assert_int_equal(lh_ids_append(&expected, &id, 1, NULL), LH_OK);
        }
        lh_ids got = encode(tokenizer, text.data, text.size, LH_ENCODE_SPECIAL);
        assert_same_ids(&got, &expected);
        lh_ids_free(&got);
        lh_ids_free(&expected);
        lh_string_free(&text);
    }
    json_decref(root);
    lh_tokenizer_free(tokenizer);
}

/* Four whole books, there and back; and by pieces. */
static void test_books(void **state)
{
    (void)state;
    char path[512];
    if (!have_tokenizers || !data_file(path, sizeof path, "pg19/pg19-test-part.tar.xz")) {
        skip();
    }
    assert_int_equal(unpack(path, folder, ""), 0);
    lh_tokenizer *tokenizer = open_gpt2();
    lh_encoder *encoder;
    lh_random random = lh_random_create(17, 0);
    assert_int_equal(lh_encoder_create(&encoder, tokenizer, 0, NULL), LH_OK);
    static const char *const books[] = {"10321", "2544", "41603", "8197"};
    int found = 0;
    for (int i = 0; i < 4; i++) {
        char name[64];
        size_t size;
        (void)snprintf(name, sizeof name, "pg19-test-part/%s.txt", books[i]);
        char *text = scratch_read(at(name), &size);
        if (!text) {
            continue;
        }
        found++;
        assert_round_trip(tokenizer, text, size);
        lh_ids whole = encode(tokenizer, text, size, 0);
        lh_ids pieces = encode_in_pieces(encoder, text, size, 9000, &random);
        assert_same_ids(&pieces, &whole);
        lh_ids_free(&whole);
        lh_ids_free(&pieces);
        free(text);
    }
    assert_true(found > 0);
    lh_encoder_free(encoder);
    lh_tokenizer_free(tokenizer);
}

/* WikiText's own counts: words and one end of line for each line, blank ones too. The last token of a line is
 * never lost, `<unk>` is a word of the text. */
static void test_wikitext(void **state)
{
    (void)state;
    static const char *const names[] = {"wikitext-2.valid.txt", "wikitext-2.test.txt"};
    static const size_t lines[] = {3760, 4358}, words[] = {213886, 241211};
    for (int i = 0; i < 2; i++) {
        char path[512], archive[64];
        (void)snprintf(archive, sizeof archive, "wiki/%s.xz", names[i]);
        if (!data_file(path, sizeof path, archive)) {
            skip();
        }
        assert_int_equal(unpack(path, folder, ""), 0);
        size_t size;
        char *text = scratch_read(at(names[i]), &size);
        assert_non_null(text);
        lh_train_options options = {.kind = LH_TOKENIZER_WORDS, .min_frequency = 1};
        lh_trainer *trainer;
        lh_tokenizer *tokenizer;
        lh_error error = {0};
        assert_int_equal(lh_trainer_create(&trainer, &options, &error), LH_OK);
        assert_int_equal(lh_trainer_feed(trainer, text, size, &error), LH_OK);
        assert_int_equal(lh_trainer_finish_document(trainer, &error), LH_OK);
        assert_int_equal(lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error), LH_OK);
        lh_trainer_free(trainer);
        lh_ids ids = encode(tokenizer, text, size, 0);
        size_t ends = 0;
        for (size_t j = 0; j < ids.size; j++) {
            ends += ids.data[j] == 0;
        }
        assert_int_equal(ends, lines[i]);
        assert_int_equal(ids.size - ends, words[i]);
        assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_UNKNOWN), lh_tokenizer_find(tokenizer, "<unk>", 5));
        assert_true(lh_tokenizer_role(tokenizer, LH_TOKEN_UNKNOWN) < 10);
        lh_ids_free(&ids);
        lh_tokenizer_free(tokenizer);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),  cmocka_unit_test(test_qwen),     cmocka_unit_test(test_minimind),
        cmocka_unit_test(test_books), cmocka_unit_test(test_wikitext),
    };
    return cmocka_run_group_tests_name("tokenizer vectors", tests, prepare, tidy);
}
