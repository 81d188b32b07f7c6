/* The parts of a tokenizer.json, for the files of this folder. */
#ifndef LH_TEXT_TOKENIZER_JSON_H
#define LH_TEXT_TOKENIZER_JSON_H

#include "formats/json_util.h"
#include "text/tokenizer_impl.h"

#include <jansson.h>

/* What is being read. */
typedef struct lh_tokenizer_reader {
    const char *name; /* of the file, for messages */
    lh_tokenizer *tokenizer;
    json_t *root;
    json_t *added; /* object: content of each added token -> its entry in added_tokens; borrowed values */
} lh_tokenizer_reader;

/* tokenizer_read.c */
/* {token: id} of a byte-level BPE model, then its merges; used by the GPT-2 pair of files, too. */
lh_status lh_tokenizer_read_byte_vocab(lh_tokenizer_reader *reader, json_t *vocab, const char *key,
                                       lh_error *error);
lh_status lh_tokenizer_read_merge(lh_tokenizer_reader *reader, const char *left, size_t left_size,
                                  const char *right, size_t right_size, size_t index, lh_error *error);

/* tokenizer_pipeline.c */
/* An object's member if it is a string, or NULL. */
const char *lh_member_text(json_t *object, const char *key);
bool lh_member_true(json_t *object, const char *key);
lh_status lh_tokenizer_read_bpe_pipeline(lh_tokenizer_reader *reader, lh_error *error);
/* Sets the kind, words or characters. */
lh_status lh_tokenizer_read_closed_pipeline(lh_tokenizer_reader *reader, lh_error *error);
lh_status lh_tokenizer_read_post_processor(lh_tokenizer_reader *reader, lh_error *error);
/* normalizer, pre_tokenizer and decoder as members of `root`; false without memory. */
bool lh_tokenizer_write_pipeline(const lh_tokenizer *tokenizer, json_t *root);

/* The pattern of kind characters: any character at all. */
#define LH_ANY_CHARACTER "[\\s\\S]"

#endif
