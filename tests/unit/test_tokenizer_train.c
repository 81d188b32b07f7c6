/* Learning vocabularies: byte pair encoding against the definition, options, determinism. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/train.h"
#include "tokenizer_support.h"

static lh_tokenizer *train(const lh_train_options *options, const char *const *documents)
{
    lh_error error = {0};
    lh_trainer *trainer;
    lh_tokenizer *tokenizer = NULL;
    if (lh_trainer_create(&trainer, options, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    for (; *documents; documents++) {
        if (lh_trainer_feed(trainer, *documents, strlen(*documents), &error) != LH_OK ||
            lh_trainer_finish_document(trainer, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
    }
    if (lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    lh_trainer_free(trainer);
    return tokenizer;
}

/* ---- the definition, with everything counted anew for each merge ---- */

#define WORDS 300
#define MOST_IDS 360
typedef struct naive {
    int symbols[WORDS][32], length[WORDS], count[WORDS], words;
    char token[MOST_IDS][64];
    int ids;
} naive;

static void naive_merge(naive *model, int least)
{
    static int counts[MOST_IDS][MOST_IDS];
    memset(counts, 0, sizeof counts);
    for (int w = 0; w < model->words; w++) {
        for (int i = 0; i + 1 < model->length[w]; i++) {
            counts[model->symbols[w][i]][model->symbols[w][i + 1]] += model->count[w];
        }
    }
    int left = 0, right = 0;
    for (int a = 0; a < model->ids; a++) {
        for (int b = 0; b < model->ids; b++) {
            if (counts[a][b] > counts[left][right]) {
                left = a;
                right = b;
            }
        }
    }
    if (counts[left][right] < least) {
        return;
    }
    char joined[128];
    (void)snprintf(joined, sizeof joined, "%s%s", model->token[left], model->token[right]);
    int id = 0;
    while (id < model->ids && strcmp(model->token[id], joined) != 0) {
        id++;
    }
    if (id == model->ids) {
        (void)snprintf(model->token[model->ids++], sizeof model->token[0], "%.63s", joined);
    }
    for (int w = 0; w < model->words; w++) {
        int out = 0;
        for (int i = 0; i < model->length[w]; i++) {
            bool found =
                i + 1 < model->length[w] && model->symbols[w][i] == left && model->symbols[w][i + 1] == right;
            model->symbols[w][out++] = found ? id : model->symbols[w][i];
            i += found;
        }
        model->length[w] = out;
    }
}

static void test_against_definition(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        lh_random random = lh_random_create(seed, 0);
        static naive model;
        model = (naive){.words = WORDS};
        /* Words over few letters, so that pairs overlap, repeat, and tie. */
        uint64_t letters = 1 + seed % 4;
        char *text = malloc((size_t)WORDS * 32 * 12);
        assert_non_null(text);
        size_t size = 0;
        for (int w = 0; w < WORDS; w++) {
            int length = 2 + (int)lh_random_below(&random, 20);
            char word[32] = " ";
            for (int i = 1; i < length; i++) {
                word[i] = (char)('a' + lh_random_below(&random, letters));
            }
            model.count[w] = 1 + (int)lh_random_below(&random, 10);
            for (int i = 0; i < model.count[w]; i++) {
                memcpy(text + size, word, (size_t)length);
                size += (size_t)length;
            }
            model.length[w] = length;
        }
        text[size] = '\0';
        lh_train_options options = {.kind = LH_TOKENIZER_BPE, .vocab_size = 350, .min_frequency = 3};
        lh_tokenizer *tokenizer = train(&options, (const char *const[]){text, NULL});
        /* The naive model has the same ids for the bytes. */
        for (int id = 0; id < 256; id++) {
            size_t bytes;
            const unsigned char *token = lh_tokenizer_token(tokenizer, id, &bytes);
            assert_int_equal(bytes, 1);
            model.token[id][0] = (char)token[0];
        }
        model.ids = 256;
        const char *at = text;
        for (int w = 0; w < WORDS; w++) {
            for (int i = 0; i < model.length[w]; i++) {
                model.symbols[w][i] = lh_tokenizer_find(tokenizer, at + i, 1);
            }
            at += model.length[w] * model.count[w];
        }
        for (int i = 0; i < 300 && model.ids < 350; i++) {
            naive_merge(&model, 3);
        }
        assert_int_equal(lh_tokenizer_vocab_size(tokenizer), model.ids);
        for (int id = 256; id < model.ids; id++) {
            size_t bytes;
            const unsigned char *token = lh_tokenizer_token(tokenizer, id, &bytes);
            assert_int_equal(bytes, strlen(model.token[id]));
            assert_memory_equal(token, model.token[id], bytes);
        }
        /* Training leaves each word cut as encoding cuts it. */
        at = text;
        for (int w = 0; w < WORDS; w++) {
            size_t length = (at[1] && strchr(at + 1, ' ')) ? (size_t)(strchr(at + 1, ' ') - at) : strlen(at);
            lh_ids ids = encode(tokenizer, at, length, 0);
            assert_int_equal(ids.size, model.length[w]);
            for (int i = 0; i < model.length[w]; i++) {
                assert_int_equal(ids.data[i], model.symbols[w][i]);
            }
            lh_ids_free(&ids);
            at += length * (size_t)model.count[w];
        }
        lh_tokenizer_free(tokenizer);
        free(text);
    }
}

static void test_order_of_documents(void **state)
{
    (void)state;
    lh_random random = lh_random_create(2, 2);
    char *first = random_text(&random, 30000, false), *second = random_text(&random, 30000, false);
    first[30000] = second[30000] = '\0';
    lh_train_options options = {.kind = LH_TOKENIZER_BPE, .vocab_size = 700, .min_frequency = 2};
    lh_tokenizer *one = train(&options, (const char *const[]){first, second, NULL});
    lh_tokenizer *two = train(&options, (const char *const[]){second, first, NULL});
    assert_int_equal(lh_tokenizer_fingerprint(one), lh_tokenizer_fingerprint(two));
    lh_tokenizer *less = train(&options, (const char *const[]){first, NULL});
    assert_int_not_equal(lh_tokenizer_fingerprint(one), lh_tokenizer_fingerprint(less));
    lh_tokenizer_free(one);
    lh_tokenizer_free(two);
    lh_tokenizer_free(less);
    free(first);
    free(second);
}

static void test_options(void **state)
{
    (void)state;
    const char *const special[] = {"<|endoftext|>", "<|pad|>", NULL};
    const char *text[] = {"Hello hello 12345 HELLO's hello", NULL};
    lh_train_options options = {
        .kind = LH_TOKENIZER_BPE, .vocab_size = 300, .min_frequency = 2, .pattern = "llama3", .special = special};
    lh_tokenizer *tokenizer = train(&options, text);
    assert_int_equal(lh_tokenizer_find(tokenizer, "<|endoftext|>", 13), 0);
    assert_int_equal(lh_tokenizer_find(tokenizer, "<|pad|>", 7), 1);
    assert_int_equal(lh_tokenizer_find(tokenizer, "!", 1), 2);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 0);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_PAD), 1);
    /* Pairs that occur once are not joined, so the vocabulary stays small: " hello" is the one word seen twice. */
    assert_true(lh_tokenizer_vocab_size(tokenizer) < 270);
    assert_int_not_equal(lh_tokenizer_find(tokenizer, " hello", 6), LH_NO_TOKEN);
    assert_int_equal(lh_tokenizer_find(tokenizer, "12", 2), LH_NO_TOKEN);
    lh_tokenizer_free(tokenizer);
    options.pattern = "[a-z]+|[^a-z]+";
    options.min_frequency = 1;
    tokenizer = train(&options, text);
    assert_int_not_equal(lh_tokenizer_find(tokenizer, " 12345 HELLO'", 13), LH_NO_TOKEN);
    lh_tokenizer_free(tokenizer);
}

static void refuses(const lh_train_options *options, lh_status status, const char *sentence)
{
    lh_trainer *trainer;
    lh_error error = {0};
    assert_int_equal(lh_trainer_create(&trainer, options, &error), status);
    if (!strstr(error.message, sentence)) {
        fail_msg("\"%s\" does not have \"%s\"", error.message, sentence);
    }
    assert_null(trainer);
}

static void test_refusals(void **state)
{
    (void)state;
    refuses(&(lh_train_options){.kind = LH_TOKENIZER_BYTES, .min_frequency = 1}, LH_E_ARGUMENT,
            "needs no training");
    refuses(&(lh_train_options){.kind = LH_TOKENIZER_BPE, .vocab_size = 255, .min_frequency = 1}, LH_E_ARGUMENT,
            "256 to 16777216 tokens, 255 were asked for");
    refuses(&(lh_train_options){.kind = LH_TOKENIZER_BPE, .vocab_size = 999, .min_frequency = 0}, LH_E_ARGUMENT,
            "at least 1, 0 was asked for");
    refuses(&(lh_train_options){.kind = LH_TOKENIZER_BPE, .vocab_size = 999, .min_frequency = 1, .pattern = "(a"},
            LH_E_FORMAT, "\"(a\" is no regular expression");
    lh_train_options options = {.kind = LH_TOKENIZER_BPE, .vocab_size = 999, .min_frequency = 1};
    lh_trainer *trainer;
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    assert_int_equal(lh_trainer_create(&trainer, &options, NULL), LH_OK);
    assert_int_equal(lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error), LH_E_ARGUMENT);
    assert_string_equal(error.message, "there is no text to train a tokenizer on");
    lh_trainer_free(trainer);
    options = (lh_train_options){.kind = LH_TOKENIZER_CHARACTERS, .min_frequency = 1};
    assert_int_equal(lh_trainer_create(&trainer, &options, NULL), LH_OK);
    error = (lh_error){0};
    assert_int_equal(lh_trainer_feed(trainer, "ab\xff", 3, &error), LH_OK);
    assert_int_equal(lh_trainer_finish_document(trainer, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "byte 2 of the text, 0xff"));
    lh_trainer_free(trainer);
}

static bool stop_at_once(void *data, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    (*(int *)data)++;
    return false;
}

static void test_interruption(void **state)
{
    (void)state;
    static const lh_tokenizer_kind kinds[] = {LH_TOKENIZER_BPE, LH_TOKENIZER_SUBWORDS};
    for (int kind = 0; kind < 2; kind++) {
        lh_train_options options = {.kind = kinds[kind], .vocab_size = 999, .min_frequency = 1};
        lh_random random = lh_random_create(4, 4);
        char *text = random_text(&random, 30000, true);
        lh_trainer *trainer;
        lh_tokenizer *tokenizer;
        lh_error error = {0};
        int calls = 0;
        assert_int_equal(lh_trainer_create(&trainer, &options, NULL), LH_OK);
        assert_int_equal(lh_trainer_feed(trainer, text, 30000, NULL), LH_OK);
        assert_int_equal(lh_trainer_finish_document(trainer, NULL), LH_OK);
        assert_int_equal(lh_trainer_build(trainer, stop_at_once, &calls, &tokenizer, &error), LH_E_INTERRUPTED);
        assert_int_equal(calls, 1);
        assert_null(tokenizer);
        lh_trainer_free(trainer);
        free(text);
    }
}

/* Subwords come out about as many as were asked for, and give shorter texts than bytes. */
static void test_subwords(void **state)
{
    (void)state;
    lh_random random = lh_random_create(6, 6);
    char *text = random_text(&random, 60000, false);
    text[60000] = '\0';
    lh_train_options options = {.kind = LH_TOKENIZER_SUBWORDS, .vocab_size = 300, .min_frequency = 1};
    lh_tokenizer *tokenizer = train(&options, (const char *const[]){text, NULL});
    assert_in_range(lh_tokenizer_vocab_size(tokenizer), 290, 310);
    assert_round_trip(tokenizer, text, 60000);
    lh_ids ids = encode(tokenizer, text, 60000, 0);
    assert_true(ids.size < 40000);
    lh_ids_free(&ids);
    lh_tokenizer_free(tokenizer);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_order_of_documents),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_interruption),
        cmocka_unit_test(test_subwords),
    };
    return cmocka_run_group_tests_name("tokenizer training", tests, NULL, NULL);
}
