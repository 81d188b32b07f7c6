/* Any bytes as a text: lossless tokenizers give it back, and pieces of any size give the same ids. The first byte
 * says how the text is cut into pieces. */
#include "text/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int fact, const char *what)
{
    if (!fact) {
        (void)fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static lh_tokenizer *make(lh_tokenizer_kind kind, const char *pattern)
{
    static const char text[] =
        "the a an it's we'll of of the the and  and\n\nthe \\&undsc a_b __ 1999 12 12 the. \"the\""
        " \xc3\xa9\xc3\xa9 \xd0\xb6\xd1\x83\xd0\xba \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\xa6\x99 ... ";
    lh_train_options options = {
        .kind = kind, .vocab_size = 330, .min_frequency = 1, .pattern = pattern, .unknown = true};
    lh_trainer *trainer = NULL;
    lh_tokenizer *tokenizer = NULL;
    demand(lh_trainer_create(&trainer, &options, NULL) == LH_OK, "trainer");
    demand(lh_trainer_feed(trainer, text, sizeof text - 1, NULL) == LH_OK, "text for the trainer");
    demand(lh_trainer_finish_document(trainer, NULL) == LH_OK, "end of the text for the trainer");
    demand(lh_trainer_build(trainer, NULL, NULL, &tokenizer, NULL) == LH_OK, "training");
    lh_trainer_free(trainer);
    return tokenizer;
}

static void feed_in_pieces(lh_encoder *encoder, const uint8_t *data, size_t size, unsigned cut, lh_ids *ids)
{
    for (size_t at = 0; at < size;) {
        size_t piece = 1 + (cut + at * 7) % (1 + cut * 16);
        piece = piece < size - at ? piece : size - at;
        demand(lh_encoder_feed(encoder, data + at, piece, ids, NULL) == LH_OK, "a piece is encoded");
        at += piece;
    }
    demand(lh_encoder_finish(encoder, ids, NULL) == LH_OK, "the end is encoded");
}

static void check(const lh_tokenizer *tokenizer, lh_encoder *encoder, const uint8_t *data, size_t size,
                  unsigned cut)
{
    lh_ids whole = {0}, pieces = {0};
    lh_string back = {0};
    demand(lh_tokenizer_encode(tokenizer, data, size, LH_ENCODE_SPECIAL, &whole, NULL) == LH_OK, "text is encoded");
    feed_in_pieces(encoder, data, size, cut, &pieces);
    demand(whole.size == pieces.size, "pieces give as many ids");
    demand(whole.size == 0 || memcmp(whole.data, pieces.data, whole.size * sizeof *whole.data) == 0,
           "pieces give the same ids");
    demand(lh_tokenizer_decode(tokenizer, whole.data, whole.size, 0, &back, NULL) == LH_OK, "ids are decoded");
    if (lh_tokenizer_lossless(tokenizer)) {
        demand(back.size == size && (size == 0 || memcmp(back.data, data, size) == 0), "the text comes back");
    }
    lh_ids_free(&whole);
    lh_ids_free(&pieces);
    lh_string_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lh_tokenizer *tokenizers[6];
    static lh_encoder *encoders[6];
    if (!tokenizers[0]) {
        demand(lh_tokenizer_create_bytes(&tokenizers[0], NULL) == LH_OK, "bytes");
        tokenizers[1] = make(LH_TOKENIZER_BPE, "gpt2");
        tokenizers[2] = make(LH_TOKENIZER_BPE, "llama3");
        tokenizers[3] = make(LH_TOKENIZER_WORDS, NULL);
        tokenizers[4] = make(LH_TOKENIZER_CHARACTERS, NULL);
        tokenizers[5] = make(LH_TOKENIZER_SUBWORDS, NULL);
        demand(lh_tokenizer_add_token(tokenizers[1], "<|endoftext|>", true, NULL, NULL) == LH_OK, "special token");
        demand(lh_tokenizer_add_token(tokenizers[2], "<|", false, NULL, NULL) == LH_OK, "added token");
        for (int i = 0; i < 6; i++) {
            demand(lh_encoder_create(&encoders[i], tokenizers[i], LH_ENCODE_SPECIAL, NULL) == LH_OK, "encoder");
        }
    }
    if (size > 0) {
        for (int i = 0; i < 6; i++) {
            check(tokenizers[i], encoders[i], data + 1, size - 1, data[0]);
        }
    }
    return 0;
}
