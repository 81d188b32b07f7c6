/* The rules of the tfds SubwordTextEncoder that encoding and training share. */
#ifndef LH_TEXT_SUBWORD_H
#define LH_TEXT_SUBWORD_H

#include "text/matcher.h"
#include "text/tokenizer_impl.h"

/* The encoder's own way to write "_". Text that holds it is cut there. */
#define LH_SUBWORD_ESCAPE "\\&undsc"

/* Forms that can occur in a token: no "_" but the one at the end that stands for a space. */
bool lh_subword_usable(const unsigned char *form, size_t size);

/* Does it mix word characters with others? Such a subword is cut out of text before all else. */
bool lh_subword_mixed(const unsigned char *form, size_t size);

/* Receives the tokens of a text in order. `space`: one space follows the token and belongs to it. Invalid UTF-8
 * comes as `raw`. */
typedef struct lh_subword_tokens {
    lh_string waiting; /* a token that waits to see whether a single space follows */
    bool has_waiting;
    lh_status (*token)(void *data, const unsigned char *bytes, size_t size, bool space, lh_error *error);
    lh_status (*raw)(void *data, const unsigned char *bytes, size_t size, lh_error *error);
    void *data;
} lh_subword_tokens;

/* A piece of LH_SUBWORD_PATTERN. */
lh_status lh_subword_piece(lh_subword_tokens *tokens, const unsigned char *bytes, size_t size, lh_error *error);
lh_status lh_subword_reserved(lh_subword_tokens *tokens, const unsigned char *bytes, size_t size, lh_error *error);
lh_status lh_subword_end(lh_subword_tokens *tokens, lh_error *error);

#endif
