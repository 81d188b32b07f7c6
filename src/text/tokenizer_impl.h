/* The inside of a tokenizer, for the files of this folder. */
#ifndef LH_TEXT_TOKENIZER_IMPL_H
#define LH_TEXT_TOKENIZER_IMPL_H

#include "text/matcher.h"
#include "text/merges.h"
#include "text/splitter.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

/* One step of the pre-tokenizer. */
typedef enum lh_stage_kind {
    LH_STAGE_GPT2,          /* the expression of the ByteLevel pre-tokenizer */
    LH_STAGE_SPLIT,         /* Split, Regex */
    LH_STAGE_SPLIT_LITERAL, /* Split, String */
    LH_STAGE_DIGITS,        /* each digit by itself */
    LH_STAGE_DIGIT_RUNS,
    LH_STAGE_PUNCTUATION, /* each punctuation mark by itself */
    LH_STAGE_PUNCTUATION_RUNS,
} lh_stage_kind;

typedef struct lh_stage {
    lh_stage_kind kind;
    char *source; /* what the user or the file wrote, for the two Split kinds; else NULL */
    lh_pattern *pattern;
} lh_stage;

typedef struct lh_added_token {
    int32_t id;
    bool special;
} lh_added_token;

/* Ids from here on are refused: no vocabulary in use has more than about a million. */
#define LH_VOCAB_LIMIT ((int32_t)1 << 24)

/* Longer ones are refused: an encoder holds this much text back. */
#define LH_ADDED_TOKEN_LIMIT 256
#define LH_ADDED_TOKENS 16384

struct lh_tokenizer {
    lh_tokenizer_kind kind;
    lh_vocab vocab;
    lh_stage stages[LH_SPLITTER_PATTERNS];
    size_t stage_count;
    bool compose;          /* Unicode normalization form C before anything else */
    bool prefix_space;     /* a space before text that does not start with one */
    lh_added_token *added; /* [added_count] by id */
    size_t added_count, added_capacity;
    int32_t roles[LH_TOKEN_ROLES];
    int32_t unknown;       /* the model's token for what has none, or LH_NO_TOKEN */
    char *post_processor;  /* JSON text kept for the copy that is saved, or NULL */
    int32_t byte_ids[256]; /* bpe, bytes: token of a single byte, or LH_NO_TOKEN */
    /* bpe */
    lh_merges merges;
    bool whole_words; /* a pre-token that is a token is never cut (ignore_merges) */
    /* words */
    bool line_ends; /* `<eos>` at the end of every line */
    /* subwords */
    lh_vocab forms;        /* ids 1 .. subword_count as the file has them: a space at the end is "_" */
    int32_t subword_count; /* the 256 bytes follow */
};

#define LH_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LH_QWEN2_PATTERN                                                  \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"                        \
    "\\s+(?!\\S)|\\s+"
/* Word characters by Python's rule, and all others. */
#define LH_SUBWORD_PATTERN "[\\p{L}\\p{N}_]+|[^\\p{L}\\p{N}_]+"
#define LH_LLAMA3_PATTERN                                                                                    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* tokenizer.c */
lh_tokenizer *lh_tokenizer_new(lh_tokenizer_kind kind);
lh_status lh_tokenizer_add_stage(lh_tokenizer *tokenizer, lh_stage_kind kind, const char *source, const char *name,
                                 lh_error *error);
/* Notes that a token of the table is an added one. */
lh_status lh_tokenizer_mark_added(lh_tokenizer *tokenizer, int32_t id, bool special, lh_error *error);
bool lh_tokenizer_is_added(const lh_tokenizer *tokenizer, int32_t id);
/* Fills byte_ids from the table. */
void lh_tokenizer_index_bytes(lh_tokenizer *tokenizer);

/* roles.c: roles by well-known names, where none is set. */
void lh_tokenizer_guess_roles(lh_tokenizer *tokenizer);
/* Makes tokens with such names special, for files that have no list of added tokens. */
lh_status lh_tokenizer_mark_known(lh_tokenizer *tokenizer, lh_error *error);

/* subword.c */
lh_status lh_subword_read(lh_tokenizer **tokenizer, const void *text, size_t size, const char *name,
                          lh_error *error);
/* A tokenizer of these subwords, in order; the list's last entry is NULL. */
lh_status lh_subword_create(lh_tokenizer **tokenizer, const char *const *subwords, lh_error *error);
lh_status lh_subword_write(const lh_tokenizer *tokenizer, lh_string *text, lh_error *error);

#endif
