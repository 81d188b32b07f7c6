/* The tfds SubwordTextEncoder: ids as its own tests give them, and texts that must come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tokenizer_support.h"

static lh_tokenizer *open_list(const char *list)
{
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    if (lh_tokenizer_read(&tokenizer, list, strlen(list), "list.subwords", &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

#define HEADER "### SubwordTextEncoder\n### Metadata: {}\n"
static const char *const list = HEADER "'foo_'\n'bar_'\n'foo'\n'bar'\n'<EOS>'\n";

static void test_published_ids(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = open_list(list);
    assert_int_equal(lh_tokenizer_get_kind(tokenizer), LH_TOKENIZER_SUBWORDS);
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 256 + 1 + 5);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_PAD), 0);
    ASSERT_IDS(tokenizer, "foo bar", 0, 1, 4);
    ASSERT_IDS(tokenizer, "foobar foo bar<EOS>bar", 0, 3, 2, 1, 4, 5, 4);
    ASSERT_IDS(tokenizer, "bar <EOS>bar", 0, 2, 5, 4);
    ASSERT_IDS(tokenizer, "bar <EOS> bar", 0, 2, 5, 38, 4);
    ASSERT_IDS(tokenizer, "bar<EOS> bar", 0, 4, 5, 38, 4);
    ASSERT_IDS(tokenizer, "a_b!", 0, 103, 101, 104, 39);
    ASSERT_IDS(tokenizer, "foo \\bar_!", 0, 3, 38, 98, 4, 101, 39);
    ASSERT_IDS(tokenizer, "foo \\\\bar_!", 0, 3, 38, 98, 98, 4, 101, 39);
    ASSERT_IDS(tokenizer, "\xe4\xbd\xa0", 0, 234, 195, 166);
    lh_tokenizer_free(tokenizer);
}

/* Acceptance check 3 of the benchmark: underscores, the escape, emoji, runs of spaces, line feeds; also what the
 * original cannot: NUL, invalid UTF-8, a space after the escape. */
static void test_texts_come_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "  ",
        "_",
        "__",
        " _",
        "_ ",
        "foo_ bar",
        "foo _ bar",
        "foo _bar",
        "hello_ world",
        "\\&undsc",
        "\\&undsc foo",
        "x\\&undsc_ y",
        "\\&unds c",
        "\\&undsc\\&undsc",
        "a.\n\n  b",
        "\xf0\x9f\xa6\x99 \xf0\x9f\xa6\x99",
        "<EOS>",
        "<EOS> <EOS>",
        "<EOS>  foo",
        "\xff foo",
        "foo \xff",
        "foo\xff_",
        " foo  bar ",
        "\xe4\xbd\xa0_ \xe4\xbd",
        "1_000 000",
        "_foo_ _bar_ ",
        "foo ",
        "foo\n",
    };
    /* With entries that no text can use, too: an underscore inside, the escape. */
    const char *lists[] = {list, HEADER,
                           HEADER "'_'\n'__'\n'a_b'\n'\\&undsc'\n'foo\\&undsc_'\n', '\n' '\n'\\&'\n'un'\n"
                                  "'&undsc'\n'<EOS> '\n'\xe4\xbd\xa0_'\n'foo '\n'e'\n"};
    for (int i = 0; i < 3; i++) {
        lh_tokenizer *tokenizer = open_list(lists[i]);
        assert_true(lh_tokenizer_lossless(tokenizer));
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++) {
            assert_round_trip(tokenizer, texts[j], strlen(texts[j]));
        }
        assert_round_trip(tokenizer, "foo\0 bar\0", 9);
        lh_random random = lh_random_create(31, (uint64_t)i);
        for (int round = 0; round < 200; round++) {
            char *text = random_text(&random, 500, true);
            assert_round_trip(tokenizer, text, 500);
            free(text);
        }
        lh_tokenizer_free(tokenizer);
    }
}

static void test_files(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = open_list(list);
    lh_string text = {0};
    assert_int_equal(lh_tokenizer_write(tokenizer, &text, NULL), LH_OK);
    assert_string_equal(text.data, list);
    lh_string_free(&text);
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "<x>", true, NULL, &error), LH_E_UNSUPPORTED);
    lh_tokenizer_free(tokenizer);
    static const char *const bad[][2] = {
        {HEADER "foo\n", "list.subwords: line 3 is no subword between single quotes"},
        {HEADER "'a'\n'foo", "line 4 is no subword between single quotes"},
        {HEADER "'foo'\n'foo'\n", "line 4: the subword \"foo\" is there twice"},
        {HEADER "'\xff'\n", "line 3: a subword is valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error = (lh_error){0};
        assert_int_equal(lh_tokenizer_read(&tokenizer, bad[i][0], strlen(bad[i][0]), "list.subwords", &error),
                         LH_E_FORMAT);
        assert_non_null(strstr(error.message, bad[i][1]));
        assert_null(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_ids),
        cmocka_unit_test(test_texts_come_back),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests_name("subword tokenizer", tests, NULL, NULL);
}
