/* Tokenizers: from bytes to token ids and back.
 *
 * One opaque type covers every kind:
 *   bytes        256 ids, id = byte value.
 *   bpe          byte-level byte pair encoding (Radford et al. 2019, section 2.2): a regular expression cuts the
 * text into pre-tokens, ranked merges join the bytes of each. words        WikiText style: words between white
 * space, `<eos>` at the end of every line, `<unk>` for the rest. characters   one id per observed Unicode
 * character, as for text8. subwords     the tfds SubwordTextEncoder: greedy longest match, with a fallback to
 * single bytes. All files are Hugging Face tokenizer.json files, GPT-2's encoder.json + vocab.bpe pair, or tfds
 * .subwords lists.
 *
 * A tokenizer is constant after it is made: any number of encoders and decoders, each used by one thread at a time,
 * may share it. It must outlive them. */
#ifndef LH_TEXT_TOKENIZER_H
#define LH_TEXT_TOKENIZER_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum lh_tokenizer_kind {
    LH_TOKENIZER_BYTES,
    LH_TOKENIZER_BPE,
    LH_TOKENIZER_WORDS,
    LH_TOKENIZER_CHARACTERS,
    LH_TOKENIZER_SUBWORDS,
} lh_tokenizer_kind;

typedef struct lh_tokenizer lh_tokenizer;
typedef struct lh_encoder lh_encoder;
typedef struct lh_decoder lh_decoder;

/* A growing list of token ids. Zero-initialise; release with lh_ids_free. */
typedef struct lh_ids {
    int32_t *data;
    size_t size, capacity;
} lh_ids;

lh_status lh_ids_append(lh_ids *ids, const int32_t *values, size_t count, lh_error *error);
void lh_ids_clear(lh_ids *ids); /* keeps the memory */
void lh_ids_free(lh_ids *ids);

#define LH_NO_TOKEN ((int32_t)-1)

/* Tokens with a task. A tokenizer need not have any of them. */
typedef enum lh_token_role {
    LH_TOKEN_EOS, /* end of a document; for kind `words`, the end of a line */
    LH_TOKEN_BOS,
    LH_TOKEN_PAD,
    LH_TOKEN_UNKNOWN,
    LH_TOKEN_ROLES
} lh_token_role;

/* ---- making, reading, writing ---- */

/* The 256 byte values, in order, and no special token. */
lh_status lh_tokenizer_create_bytes(lh_tokenizer **tokenizer, lh_error *error);

/* A closed vocabulary of words between white space: words[count] get the ids 0 .. count-1 in order. They must be
 * different, UTF-8, and hold no white space (LH_E_ARGUMENT). No line ends, no token for unknown words. */
lh_status lh_tokenizer_create_words(lh_tokenizer **tokenizer, const char *const *words, int32_t count,
                                    lh_error *error);

/* Reads a tokenizer. `path` is a tokenizer.json, a tfds .subwords file, or a directory that holds tokenizer.json,
 * encoder.json + vocab.bpe, or vocab.json + merges.txt. If there is no file of that name, "bytes" means
 * lh_tokenizer_create_bytes. A tokenizer_config.json beside the file gives the tokens their roles; without it they
 * come from the post-processor's template, else from well-known names such as "<|endoftext|>".
 * Fails with LH_E_FORMAT (damaged; names file and key) or LH_E_UNSUPPORTED (legal, but a part is not known here).
 */
lh_status lh_tokenizer_open(lh_tokenizer **tokenizer, const char *path, lh_error *error);

/* GPT-2's pair of files: a JSON object {token: id} and a text file with one merge "a b" per line. */
lh_status lh_tokenizer_open_gpt2(lh_tokenizer **tokenizer, const char *vocabulary_path, const char *merges_path,
                                 lh_error *error);

/* As lh_tokenizer_open for the text of a tokenizer.json in memory; `name` stands for the file in messages. */
lh_status lh_tokenizer_read(lh_tokenizer **tokenizer, const void *text, size_t size, const char *name,
                            lh_error *error);

/* Writes a tokenizer.json (kind `subwords`: a .subwords file) atomically. If `path` is a directory, writes
 * tokenizer.json and tokenizer_config.json (the roles) in it. */
lh_status lh_tokenizer_save(const lh_tokenizer *tokenizer, const char *path, lh_error *error);

/* The text that lh_tokenizer_save would write, appended to `text`. lh_tokenizer_read takes it back. */
lh_status lh_tokenizer_write(const lh_tokenizer *tokenizer, lh_string *text, lh_error *error);

void lh_tokenizer_free(lh_tokenizer *tokenizer);

/* Adds a token that stands for itself, such as "<|endoftext|>", at id vocab_size; returns its id in *id (may be
 * NULL). A special token is only matched in text when LH_ENCODE_SPECIAL is given, and stands for 0 bytes of input.
 * If an added token has this text already, its id is returned; an ordinary token of this text can become an added
 * one, but not a special one. Not while an encoder or decoder exists. */
lh_status lh_tokenizer_add_token(lh_tokenizer *tokenizer, const char *content, bool special, int32_t *id,
                                 lh_error *error);

/* Gives a token a role, or takes the role from all with LH_NO_TOKEN. */
lh_status lh_tokenizer_set_role(lh_tokenizer *tokenizer, lh_token_role role, int32_t id, lh_error *error);

/* ---- questions ---- */

lh_tokenizer_kind lh_tokenizer_get_kind(const lh_tokenizer *tokenizer);
const char *lh_tokenizer_kind_name(lh_tokenizer_kind kind); /* "bytes", "bpe", ... */

/* One more than the greatest id. */
int32_t lh_tokenizer_vocab_size(const lh_tokenizer *tokenizer);

/* True if decode(encode(x)) = x for every byte string x, valid UTF-8 or not, by construction. A tokenizer for which
 * this is false may still give back a given text; only a round trip of that text can tell. */
bool lh_tokenizer_lossless(const lh_tokenizer *tokenizer);

/* A 64-bit hash of everything that decides which ids a text gets (not of the roles): equal for a tokenizer and its
 * saved copy, different with overwhelming probability otherwise. Shards and models store it. The same on every
 * machine. */
uint64_t lh_tokenizer_fingerprint(const lh_tokenizer *tokenizer);

/* The id with a role, or LH_NO_TOKEN. */
int32_t lh_tokenizer_role(const lh_tokenizer *tokenizer, lh_token_role role);

/* The bytes that an id decodes to (not NUL-terminated; owned by the tokenizer), or NULL if no token has this id. */
const unsigned char *lh_tokenizer_token(const lh_tokenizer *tokenizer, int32_t id, size_t *size);

/* The id of a token with exactly these bytes, added tokens included, or LH_NO_TOKEN. */
int32_t lh_tokenizer_find(const lh_tokenizer *tokenizer, const void *bytes, size_t size);

bool lh_tokenizer_is_special(const lh_tokenizer *tokenizer, int32_t id);

/* How many bytes of input an id stands for: 0 for special tokens and unused ids; for a word its own bytes and one
 * separator; for a line's `<eos>` 1. Over a whole text without special tokens the sum is the text's size exactly if
 * the tokenizer is lossless. */
uint32_t lh_tokenizer_token_length(const lh_tokenizer *tokenizer, int32_t id);

/* ---- encoding ---- */

/* Flags of encoders. */
#define LH_ENCODE_SPECIAL \
    1u /* special tokens written in the text become their ids; without it they are plain text */

/* Appends the ids of a whole text. Never adds special tokens on its own. */
lh_status lh_tokenizer_encode(const lh_tokenizer *tokenizer, const void *bytes, size_t size, unsigned flags,
                              lh_ids *ids, lh_error *error);

/* Streaming: any way of cutting a text into feeds gives the ids of the whole text. Holds at most 1 MiB of text
 * back, whatever the text: a pre-token longer than LH_PRETOKEN_LIMIT bytes is cut there, also in
 * lh_tokenizer_encode. After lh_encoder_finish the encoder is ready for the next document. After a failure, or to
 * leave a document in the middle, call lh_encoder_reset. An encoder remembers words that it has seen: keep one for
 * many texts. */
#define LH_PRETOKEN_LIMIT ((size_t)64 * 1024)
lh_status lh_encoder_create(lh_encoder **encoder, const lh_tokenizer *tokenizer, unsigned flags, lh_error *error);
lh_status lh_encoder_feed(lh_encoder *encoder, const void *bytes, size_t size, lh_ids *ids, lh_error *error);
lh_status lh_encoder_finish(lh_encoder *encoder, lh_ids *ids, lh_error *error);
void lh_encoder_reset(lh_encoder *encoder);
void lh_encoder_free(lh_encoder *encoder);

/* ---- decoding ---- */

/* Flags of decoders. */
#define LH_DECODE_SKIP_SPECIAL 1u     /* special tokens give no text */
#define LH_DECODE_WHOLE_CHARACTERS 2u /* a feed never ends inside a UTF-8 character: for a terminal */

/* Appends the text of ids. An id that no token has is LH_E_ARGUMENT. */
lh_status lh_tokenizer_decode(const lh_tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                              lh_string *text, lh_error *error);

/* One id after another; finish gives what was held back. */
lh_status lh_decoder_create(lh_decoder **decoder, const lh_tokenizer *tokenizer, unsigned flags, lh_error *error);
lh_status lh_decoder_feed(lh_decoder *decoder, int32_t id, lh_string *text, lh_error *error);
lh_status lh_decoder_finish(lh_decoder *decoder, lh_string *text, lh_error *error);
void lh_decoder_free(lh_decoder *decoder);

#endif
