/* Kinds of tokenizers, streaming, special tokens, saving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/byte_alphabet.h"
#include "text/train.h"
#include "tokenizer_support.h"

static lh_tokenizer *train(lh_train_options options, const char *text, size_t size)
{
    lh_error error = {0};
    lh_trainer *trainer;
    lh_tokenizer *tokenizer = NULL;
    options.min_frequency = options.min_frequency ? options.min_frequency : 1;
    if (lh_trainer_create(&trainer, &options, &error) != LH_OK ||
        lh_trainer_feed(trainer, text, size, &error) != LH_OK ||
        lh_trainer_finish_document(trainer, &error) != LH_OK ||
        lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    lh_trainer_free(trainer);
    return tokenizer;
}

static const char *const end_of_text[] = {"<|endoftext|>", NULL};

/* One of each kind, on the same text. */
static lh_tokenizer *make(lh_tokenizer_kind kind)
{
    lh_error error = {0};
    lh_tokenizer *tokenizer = NULL;
    if (kind == LH_TOKENIZER_BYTES) {
        assert_int_equal(lh_tokenizer_create_bytes(&tokenizer, &error), LH_OK);
        return tokenizer;
    }
    lh_random random = lh_random_create(7, kind);
    char *text = random_text(&random, 40000, false);
    lh_train_options options = {.kind = kind, .vocab_size = 600, .unknown = true};
    if (kind == LH_TOKENIZER_BPE) {
        options.special = end_of_text;
    }
    tokenizer = train(options, text, 40000);
    free(text);
    return tokenizer;
}

static void test_byte_alphabet(void **state)
{
    (void)state;
    /* The letters that GPT-2's vocabulary shows for space, line feed, tab, DEL, NBSP, soft hyphen. */
    assert_int_equal(lh_byte_letter(' '), 0x120);
    assert_int_equal(lh_byte_letter('\n'), 0x10a);
    assert_int_equal(lh_byte_letter('\t'), 0x109);
    assert_int_equal(lh_byte_letter(0), 0x100);
    assert_int_equal(lh_byte_letter(0x7f), 0x121);
    assert_int_equal(lh_byte_letter(0xa0), 0x142);
    assert_int_equal(lh_byte_letter(0xad), 0x143);
    assert_int_equal(lh_byte_letter('A'), 'A');
    assert_int_equal(lh_byte_letter(0xff), 0xff);
    bool seen[0x144] = {false};
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        int32_t letter = lh_byte_letter(byte);
        assert_in_range(letter, 0x21, 0x143);
        assert_false(seen[letter]);
        seen[letter] = true;
        lh_string text = {0}, back = {0};
        lh_byte_alphabet_write(&text, &byte, 1);
        assert_true(lh_byte_alphabet_read(&back, text.data, text.size));
        assert_int_equal(back.size, 1);
        assert_int_equal((unsigned char)back.data[0], byte);
        lh_string_free(&text);
        lh_string_free(&back);
    }
    lh_string none = {0};
    assert_false(lh_byte_alphabet_read(&none, "a b", 3));
    assert_false(lh_byte_alphabet_read(&none, "a\xc5\x84", 3));
    assert_false(lh_byte_alphabet_read(&none, "\xff", 1));
    assert_int_equal(none.size, 0);
    lh_string_free(&none);
}

static void test_bytes(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = make(LH_TOKENIZER_BYTES);
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 256);
    assert_true(lh_tokenizer_lossless(tokenizer));
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), LH_NO_TOKEN);
    ASSERT_IDS(tokenizer, "Az\n\xff", 0, 65, 122, 10, 255);
    lh_ids nothing = encode(tokenizer, "", 0, 0);
    assert_int_equal(nothing.size, 0);
    lh_tokenizer_free(tokenizer);
}

/* The conventions of Transformer-XL's word vocabulary. */
static void test_words(void **state)
{
    (void)state;
    const char *text = " = b = \n \n a b <unk> b c \n\na <unk> @-@ last";
    lh_tokenizer *tokenizer = train((lh_train_options){.kind = LH_TOKENIZER_WORDS}, text, strlen(text));
    /* b 3; = 2, a 2, <unk> 2; c 1, @-@ 1, last 1 */
    const char *order[] = {"<eos>", "b", "=", "a", "<unk>", "c", "@-@", "last"};
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 8);
    for (int32_t id = 0; id < 8; id++) {
        assert_int_equal(lh_tokenizer_find(tokenizer, order[id], strlen(order[id])), id);
    }
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 0);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_UNKNOWN), 4);
    assert_false(lh_tokenizer_lossless(tokenizer));
    ASSERT_IDS(tokenizer, text, 0, 2, 1, 2, 0, 0, 3, 1, 4, 1, 5, 0, 0, 3, 4, 6, 7, 0);
    /* Every line ends once, with and without a line feed after the last; Unicode white space parts words. */
    ASSERT_IDS(tokenizer, "a\n", 0, 3, 0);
    ASSERT_IDS(tokenizer, "a", 0, 3, 0);
    ASSERT_IDS(tokenizer, "\n\n", 0, 0, 0);
    ASSERT_IDS(tokenizer,
               "a\xe2\x80\x83"
               "b\xc2\xa0"
               "c\tA\r\n",
               0, 3, 1, 5, 4, 0);
    ASSERT_IDS(tokenizer, "a\xe2\x80", 0, 4, 0);
    lh_ids ids = encode(tokenizer, text, strlen(text), 0);
    lh_string back = {0};
    assert_int_equal(lh_tokenizer_decode(tokenizer, ids.data, ids.size, 0, &back, NULL), LH_OK);
    assert_string_equal(back.data, "= b =\n\na b <unk> b c\n\na <unk> @-@ last\n");
    assert_int_equal(lh_tokenizer_token_length(tokenizer, 0), 1);
    assert_int_equal(lh_tokenizer_token_length(tokenizer, 7), 5);
    lh_ids_free(&ids);
    lh_string_free(&back);
    lh_tokenizer_free(tokenizer);
}

static void test_words_with_limits(void **state)
{
    (void)state;
    const char *text = "c c c b b a\n";
    lh_tokenizer *tokenizer =
        train((lh_train_options){.kind = LH_TOKENIZER_WORDS, .vocab_size = 4}, text, strlen(text));
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 4);
    ASSERT_IDS(tokenizer, "a b c d", 0, 3, 2, 1, 3, 0);
    lh_tokenizer_free(tokenizer);
    tokenizer = train((lh_train_options){.kind = LH_TOKENIZER_WORDS, .min_frequency = 3}, text, strlen(text));
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 3);
    ASSERT_IDS(tokenizer, "a b c", 0, 2, 2, 1, 0);
    lh_tokenizer_free(tokenizer);
    /* A text with its own <unk> keeps it even when it is rare. */
    text = "c c c b b <unk>\n";
    tokenizer = train((lh_train_options){.kind = LH_TOKENIZER_WORDS, .vocab_size = 3}, text, strlen(text));
    ASSERT_IDS(tokenizer, "b c", 0, 2, 1, 0);
    lh_tokenizer_free(tokenizer);
}

static void test_characters(void **state)
{
    (void)state;
    const char *text = " anarchism originated\xc3\xa9";
    lh_tokenizer *tokenizer = train((lh_train_options){.kind = LH_TOKENIZER_CHARACTERS}, text, strlen(text));
    /* i 3, a 3 (first); r 2, n 2; ... */
    assert_int_equal(lh_tokenizer_find(tokenizer, "a", 1), 0);
    assert_int_equal(lh_tokenizer_find(tokenizer, "i", 1), 1);
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 15);
    assert_round_trip(tokenizer, text, strlen(text));
    lh_ids ids = {0};
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_encode(tokenizer, "an\xc3\xa9!", 5, 0, &ids, &error), LH_E_UNSUPPORTED);
    assert_non_null(
        strstr(error.message, "U+0021 at byte 4 of the text is not in the vocabulary of 15 characters"));
    error = (lh_error){0};
    assert_int_equal(lh_tokenizer_encode(tokenizer, "an\xc3", 3, 0, &ids, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "byte 2 of the text, 0xc3, is no valid UTF-8"));
    lh_ids_free(&ids);
    lh_tokenizer_free(tokenizer);
    tokenizer = train((lh_train_options){.kind = LH_TOKENIZER_CHARACTERS, .unknown = true}, text, strlen(text));
    int32_t unknown = lh_tokenizer_role(tokenizer, LH_TOKEN_UNKNOWN);
    assert_int_equal(unknown, 15);
    ASSERT_IDS(tokenizer, "a!\xff", 0, 0, 15, 15);
    lh_tokenizer_free(tokenizer);
}

/* However the text is cut, the ids are the same; an encoder starts afresh after finish. */
static void test_pieces_of_any_size(void **state)
{
    (void)state;
    static const lh_tokenizer_kind kinds[] = {LH_TOKENIZER_BYTES, LH_TOKENIZER_BPE, LH_TOKENIZER_WORDS,
                                              LH_TOKENIZER_CHARACTERS, LH_TOKENIZER_SUBWORDS};
    static const size_t most[] = {1, 3, 17, 1000, 5000, 100000};
    lh_random random = lh_random_create(11, 0);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        lh_tokenizer *tokenizer = make(kinds[kind]);
        lh_encoder *encoder;
        assert_int_equal(lh_encoder_create(&encoder, tokenizer, LH_ENCODE_SPECIAL, NULL), LH_OK);
        for (int i = 0; i < 60; i++) {
            size_t size = (size_t)lh_random_below(&random, i < 40 ? 2000 : 150000);
            char *text = random_text(&random, size, true);
            lh_ids whole = encode(tokenizer, text, size, LH_ENCODE_SPECIAL);
            lh_ids pieces = encode_in_pieces(encoder, text, size, most[i % 6], &random);
            assert_same_ids(&pieces, &whole);
            lh_ids_free(&whole);
            lh_ids_free(&pieces);
            free(text);
        }
        lh_encoder_free(encoder);
        lh_tokenizer_free(tokenizer);
    }
}

static void test_reset(void **state)
{
    (void)state;
    static const lh_tokenizer_kind kinds[] = {LH_TOKENIZER_BPE, LH_TOKENIZER_WORDS, LH_TOKENIZER_SUBWORDS};
    for (size_t kind = 0; kind < 3; kind++) {
        lh_tokenizer *tokenizer = make(kinds[kind]);
        lh_encoder *encoder;
        lh_random random = lh_random_create(3, kind);
        char *text = random_text(&random, 20000, true);
        assert_int_equal(lh_encoder_create(&encoder, tokenizer, 0, NULL), LH_OK);
        lh_ids dropped = {0};
        assert_int_equal(lh_encoder_feed(encoder, "half a wo", 9, &dropped, NULL), LH_OK);
        assert_int_equal(lh_encoder_feed(encoder, text, 7000, &dropped, NULL), LH_OK);
        lh_encoder_reset(encoder);
        lh_ids whole = encode(tokenizer, text, 20000, 0);
        lh_ids again = encode_in_pieces(encoder, text, 20000, 6000, &random);
        assert_same_ids(&again, &whole);
        lh_ids_free(&dropped);
        lh_ids_free(&whole);
        lh_ids_free(&again);
        free(text);
        lh_encoder_free(encoder);
        lh_tokenizer_free(tokenizer);
    }
}

static void test_round_trips(void **state)
{
    (void)state;
    static const lh_tokenizer_kind kinds[] = {LH_TOKENIZER_BYTES, LH_TOKENIZER_BPE, LH_TOKENIZER_SUBWORDS};
    lh_random random = lh_random_create(5, 0);
    for (size_t kind = 0; kind < 3; kind++) {
        lh_tokenizer *tokenizer = make(kinds[kind]);
        assert_true(lh_tokenizer_lossless(tokenizer));
        for (int i = 0; i < 300; i++) {
            size_t size = (size_t)lh_random_below(&random, i % 50 == 0 ? 100000 : 300);
            char *text = random_text(&random, size, true);
            assert_round_trip(tokenizer, text, size);
            for (size_t at = 0; at < size; at++) {
                text[at] = (char)lh_random_below(&random, 256);
            }
            assert_round_trip(tokenizer, text, size);
            free(text);
        }
        lh_tokenizer_free(tokenizer);
    }
}

/* A text without any border, longer than the limit of a pre-token: linear time and the same text back. */
static void test_text_without_borders(void **state)
{
    (void)state;
    static const lh_tokenizer_kind kinds[] = {LH_TOKENIZER_BPE, LH_TOKENIZER_WORDS, LH_TOKENIZER_SUBWORDS};
    size_t size = 2 * LH_PRETOKEN_LIMIT + 12345;
    char *text = malloc(size);
    assert_non_null(text);
    lh_random random = lh_random_create(9, 0);
    for (size_t kind = 0; kind < 3; kind++) {
        lh_tokenizer *tokenizer = make(kinds[kind]);
        lh_encoder *encoder;
        assert_int_equal(lh_encoder_create(&encoder, tokenizer, 0, NULL), LH_OK);
        for (int filling = 0; filling < 5; filling++) {
            for (size_t i = 0; i < size; i++) {
                static const char letters[] = "a\x80 \xcc\xa3";
                text[i] = filling < 3   ? letters[filling]
                          : filling < 4 ? letters[3 + (i & 1)]
                                        : (char)('a' + lh_random_below(&random, 26));
            }
            lh_ids whole = encode(tokenizer, text, size, 0);
            lh_ids pieces = encode_in_pieces(encoder, text, size, 70000, &random);
            assert_same_ids(&pieces, &whole);
            if (lh_tokenizer_lossless(tokenizer)) {
                assert_round_trip(tokenizer, text, size);
            }
            lh_ids_free(&whole);
            lh_ids_free(&pieces);
        }
        lh_encoder_free(encoder);
        lh_tokenizer_free(tokenizer);
    }
    free(text);
}

static void test_bounded_memory(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = make(LH_TOKENIZER_BPE);
    lh_encoder *encoder;
    static char block[65536];
    memset(block, 'a', sizeof block);
    assert_int_equal(lh_encoder_create(&encoder, tokenizer, 0, NULL), LH_OK);
    lh_ids ids = {0};
    uint64_t ids_bytes = 0, most = 0;
    for (int i = 0; i < 64; i++) {
        assert_int_equal(lh_encoder_feed(encoder, block, sizeof block, &ids, NULL), LH_OK);
        ids_bytes = ids.capacity * sizeof *ids.data;
        uint64_t used = lh_heap_live_bytes() - ids_bytes;
        most = used > most ? used : most;
        lh_ids_clear(&ids);
    }
    /* 4 MiB of one word: what is held does not grow with it. */
    assert_in_range(most, 1, (uint64_t)24 << 20);
    lh_ids_free(&ids);
    lh_encoder_free(encoder);
    lh_tokenizer_free(tokenizer);
}

static void test_special_tokens(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = make(LH_TOKENIZER_BPE);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), 0);
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 600);
    assert_true(lh_tokenizer_is_special(tokenizer, 0));
    assert_int_equal(lh_tokenizer_token_length(tokenizer, 0), 0);
    const char *text = "a<|endoftext|>";
    int32_t a = lh_tokenizer_find(tokenizer, "a", 1);
    ASSERT_IDS(tokenizer, text, LH_ENCODE_SPECIAL, a, 0);
    /* As plain text it is spelled out, though the training text was full of it. */
    lh_ids ids = encode(tokenizer, text, strlen(text), 0);
    for (size_t i = 0; i < ids.size; i++) {
        assert_int_not_equal(ids.data[i], 0);
    }
    assert_round_trip(tokenizer, text, strlen(text));
    lh_ids_free(&ids);
    int32_t id, same;
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "\xe2\x9c\x82-", true, &id, NULL), LH_OK);
    assert_int_equal(id, 600);
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "\xe2\x9c\x82", false, &same, NULL), LH_OK);
    assert_int_equal(same, 601);
    /* The longest of those that start first; a token that is not special is always seen. */
    ASSERT_IDS(tokenizer, "<|endoftext|>\xe2\x9c\x82-\xe2\x9c\x82", LH_ENCODE_SPECIAL, 0, 600, 601);
    ASSERT_IDS(tokenizer, "a\xe2\x9c\x82", 0, a, 601);
    lh_string back = {0};
    assert_int_equal(lh_tokenizer_decode(tokenizer, (int32_t[]){a, 0, 601}, 3, LH_DECODE_SKIP_SPECIAL, &back, NULL),
                     LH_OK);
    assert_string_equal(back.data, "a\xe2\x9c\x82");
    lh_string_clear(&back);
    assert_int_equal(lh_tokenizer_decode(tokenizer, (int32_t[]){a, 0}, 2, 0, &back, NULL), LH_OK);
    assert_string_equal(back.data, text);
    lh_string_free(&back);
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "a", true, NULL, &error), LH_E_ARGUMENT);
    assert_string_equal(error.message, "\"a\" is an ordinary token of the vocabulary and cannot be a special one");
    error = (lh_error){0};
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "", true, NULL, &error), LH_E_ARGUMENT);
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "\xff", true, NULL, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_tokenizer_set_role(tokenizer, LH_TOKEN_BOS, 602, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_tokenizer_set_role(tokenizer, LH_TOKEN_BOS, 600, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_role(tokenizer, LH_TOKEN_BOS), 600);
    lh_tokenizer_free(tokenizer);
}

static void test_decoder_stream(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = make(LH_TOKENIZER_BYTES);
    lh_decoder *decoder;
    assert_int_equal(lh_decoder_create(&decoder, tokenizer, LH_DECODE_WHOLE_CHARACTERS, NULL), LH_OK);
    const unsigned char text[] = "a\xf0\x9f\xa6\x99\xe2\x82z\xff\xc3";
    const size_t sizes[] = {1, 1, 1, 1, 5, 5, 5, 8, 9, 9};
    lh_string back = {0};
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_int_equal(lh_decoder_feed(decoder, text[i], &back, NULL), LH_OK);
        assert_int_equal(back.size, sizes[i]);
    }
    assert_int_equal(lh_decoder_finish(decoder, &back, NULL), LH_OK);
    assert_int_equal(back.size, sizeof text - 1);
    assert_memory_equal(back.data, text, sizeof text - 1);
    lh_error error = {0};
    assert_int_equal(lh_decoder_feed(decoder, 256, &back, &error), LH_E_ARGUMENT);
    assert_string_equal(error.message, "no token has id 256: the vocabulary has ids 0 to 255");
    assert_int_equal(lh_decoder_feed(decoder, -1, &back, NULL), LH_E_ARGUMENT);
    lh_decoder_free(decoder);
    lh_string_free(&back);
    lh_tokenizer_free(tokenizer);
}

/* Written and read again, every kind is the same: fingerprint, ids, roles. */
static void test_saved_copy(void **state)
{
    (void)state;
    char folder[64], path[128];
    assert_int_equal(scratch_make(folder), 0);
    lh_random random = lh_random_create(13, 0);
    uint64_t seen[5];
    for (int kind = 0; kind < 5; kind++) {
        lh_tokenizer *tokenizer = make((lh_tokenizer_kind)kind), *copy;
        if (kind == LH_TOKENIZER_BYTES) {
            assert_int_equal(lh_tokenizer_add_token(tokenizer, "<eos>", true, NULL, NULL), LH_OK);
            assert_int_equal(lh_tokenizer_set_role(tokenizer, LH_TOKEN_EOS, 256, NULL), LH_OK);
        }
        (void)snprintf(path, sizeof path, "%s/%d", folder, kind);
        lh_error error = {0};
        if (lh_tokenizer_save(tokenizer, path, &error) != LH_OK ||
            lh_tokenizer_open(&copy, path, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_int_equal(lh_tokenizer_get_kind(copy), kind);
        assert_int_equal(lh_tokenizer_fingerprint(copy), lh_tokenizer_fingerprint(tokenizer));
        assert_int_equal(lh_tokenizer_vocab_size(copy), lh_tokenizer_vocab_size(tokenizer));
        assert_int_equal(lh_tokenizer_lossless(copy), lh_tokenizer_lossless(tokenizer));
        for (int role = 0; role < LH_TOKEN_ROLES; role++) {
            assert_int_equal(lh_tokenizer_role(copy, (lh_token_role)role),
                             lh_tokenizer_role(tokenizer, (lh_token_role)role));
        }
        char *text = random_text(&random, 30000, true);
        lh_ids ids = encode(tokenizer, text, 30000, 0), again = encode(copy, text, 30000, 0);
        assert_same_ids(&again, &ids);
        seen[kind] = lh_tokenizer_fingerprint(tokenizer);
        for (int other = 0; other < kind; other++) {
            assert_int_not_equal(seen[other], seen[kind]);
        }
        lh_ids_free(&ids);
        lh_ids_free(&again);
        free(text);
        lh_tokenizer_free(tokenizer);
        lh_tokenizer_free(copy);
    }
    scratch_remove(folder);
}

/* In a directory the roles are kept even under names that nobody could guess. */
static void test_saved_directory(void **state)
{
    (void)state;
    char folder[64];
    assert_int_equal(scratch_make(folder), 0);
    lh_tokenizer *tokenizer = make(LH_TOKENIZER_BPE), *copy;
    int32_t id;
    assert_int_equal(lh_tokenizer_add_token(tokenizer, "[the end]", true, &id, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_set_role(tokenizer, LH_TOKEN_EOS, id, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_save(tokenizer, folder, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_open(&copy, folder, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_role(copy, LH_TOKEN_EOS), id);
    assert_int_equal(lh_tokenizer_fingerprint(copy), lh_tokenizer_fingerprint(tokenizer));
    lh_tokenizer_free(tokenizer);
    lh_tokenizer_free(copy);
    scratch_remove(folder);
}

static void test_open_by_name(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_open(&tokenizer, "bytes", &error), LH_OK);
    assert_int_equal(lh_tokenizer_get_kind(tokenizer), LH_TOKENIZER_BYTES);
    lh_tokenizer_free(tokenizer);
    assert_int_equal(lh_tokenizer_open(&tokenizer, "no/such/file.json", &error), LH_E_IO);
    assert_null(tokenizer);
    assert_non_null(strstr(error.message, "no/such/file.json"));
    error = (lh_error){0};
    assert_int_equal(lh_tokenizer_open(&tokenizer, "tests", &error), LH_E_IO);
    assert_non_null(strstr(error.message, "the directory tests holds no tokenizer"));
}

/* Without memory every call fails and leaves nothing behind. */
static void test_no_memory(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer = make(LH_TOKENIZER_BPE);
    lh_string text = {0};
    assert_int_equal(lh_tokenizer_write(tokenizer, &text, NULL), LH_OK);
    lh_tokenizer_free(tokenizer);
    uint64_t before = lh_heap_live_bytes();
    bool done = false;
    for (int64_t count = 0; !done; count++) {
        lh_error error = {0};
        lh_ids ids = {0};
        lh_heap_fail_after(count);
        lh_status status = lh_tokenizer_read(&tokenizer, text.data, text.size, "copy", &error);
        if (status == LH_OK) {
            status =
                lh_tokenizer_encode(tokenizer, "no memory for a longer text than this is", 40, 0, &ids, &error);
            lh_tokenizer_free(tokenizer);
        }
        lh_heap_fail_after(-1);
        lh_ids_free(&ids);
        assert_int_equal(lh_heap_live_bytes(), before);
        done = status == LH_OK;
        if (!done && status != LH_E_MEMORY) {
            fail_msg("%s", error.message);
        }
    }
    lh_string_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_alphabet),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_words_with_limits),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_pieces_of_any_size),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_text_without_borders),
        cmocka_unit_test(test_bounded_memory),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_decoder_stream),
        cmocka_unit_test(test_saved_copy),
        cmocka_unit_test(test_saved_directory),
        cmocka_unit_test(test_open_by_name),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
