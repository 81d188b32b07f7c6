/* The inside of an encoder, for the files of this folder. */
#ifndef LH_TEXT_ENCODER_IMPL_H
#define LH_TEXT_ENCODER_IMPL_H

#include "text/normalize.h"
#include "text/subword.h"
#include "text/tokenizer_impl.h"

/* A word that was cut before, with its ids. One cache line. */
#define LH_CACHED_BYTES 26
#define LH_CACHED_IDS 8
typedef struct lh_cached_word {
    uint32_t hash;
    uint8_t size, count; /* size 0: empty */
    unsigned char bytes[LH_CACHED_BYTES];
    int32_t ids[LH_CACHED_IDS];
} lh_cached_word;

/* Text flows: input -> added tokens are taken out -> prefix space -> normalizer -> splitter -> pieces -> ids. Kinds
 * without a pre-tokenizer leave after the second step. */
struct lh_encoder {
    const lh_tokenizer *tokenizer;
    lh_piece_sink observe; /* training: gets pre-tokens, words, characters or subword tokens instead of their ids */
    void *observe_data;
    lh_matcher matcher; /* added tokens; subwords: reserved strings */
    unsigned char *input;
    size_t input_size, input_capacity;
    bool segment_started; /* text has come since the start or the last added token */
    uint64_t offset;      /* bytes of the document that the text stages have got */
    lh_normalizer *normalizer;
    lh_splitter *splitter;
    lh_ids *out; /* of the call that is running */
    /* bpe, subwords */
    lh_cached_word *cache;
    size_t cache_size; /* a power of two */
    int32_t *symbols;
    size_t symbol_capacity;
    lh_merge_scratch scratch; /* bpe */
    lh_string word;           /* words: the beginning of a word that is not complete; subwords: working memory */
    bool line_started;
    /* subwords */
    lh_matcher subwords;
    lh_subword_tokens *tokens;
};

/* lh_encoder_create for a text of about `size` bytes: a short one gets a small cache. */
lh_status lh_encoder_create_for(lh_encoder **encoder, const lh_tokenizer *tokenizer, unsigned flags, size_t size,
                                lh_error *error);

/* An encoder that makes no ids but shows the observer each pre-token, word, character, or token of the subwords
 * kind (with a byte 0xff at the end if a space belongs to it). An invalid byte of kind characters comes by itself.
 */
lh_status lh_encoder_create_observer(lh_encoder **encoder, const lh_tokenizer *tokenizer, lh_piece_sink observe,
                                     void *observe_data, lh_error *error);

/* closed.c: kinds words and characters. Text comes in whole characters, unless it is invalid. */
lh_status lh_encode_words(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error);
lh_status lh_encode_words_end(lh_encoder *encoder, bool document, lh_error *error);
lh_status lh_encode_characters(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error);

/* subword_encode.c */
lh_status lh_encode_subword_start(lh_encoder *encoder, lh_error *error);
/* A piece of the splitter; the data is the encoder. */
lh_status lh_encode_subword_piece(void *data, const unsigned char *bytes, size_t size, lh_error *error);
/* A reserved string. */
lh_status lh_encode_subword_reserved(lh_encoder *encoder, const unsigned char *bytes, size_t size, lh_error *error);
/* The end of the document. */
lh_status lh_encode_subword_end(lh_encoder *encoder, lh_error *error);
void lh_encode_subword_reset(lh_encoder *encoder);
void lh_encode_subword_free(lh_encoder *encoder);

lh_status lh_encoder_reserve(lh_encoder *encoder, size_t symbols, lh_error *error);

/* The place of a word in the cache; *tag goes with it. The word is there if lh_cached_is. */
lh_cached_word *lh_cache_place(lh_encoder *encoder, const unsigned char *bytes, size_t size, uint32_t *tag);
bool lh_cached_is(const lh_cached_word *word, uint32_t tag, const unsigned char *bytes, size_t size);
void lh_cache_put(lh_cached_word *word, uint32_t tag, const unsigned char *bytes, size_t size, const int32_t *ids,
                  size_t count);

static inline lh_status lh_emit_id(lh_encoder *encoder, int32_t id, lh_error *error)
{
    lh_ids *out = encoder->out;
    if (out->size < out->capacity) {
        out->data[out->size++] = id;
        return LH_OK;
    }
    return lh_ids_append(out, &id, 1, error);
}

#endif
