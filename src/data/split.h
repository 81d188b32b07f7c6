/* A split of a data set: documents of tokens, one after another, in mapped shards or in memory.
 *
 * Tokens and documents are numbered through the whole split, whatever file they are in. */
#ifndef LH_DATA_SPLIT_H
#define LH_DATA_SPLIT_H

#include "data/shard.h"

#include <stdbool.h>
#include <stdint.h>

/* One contiguous piece: a shard, or an array in memory. */
typedef struct lh_split_part {
    uint64_t first_token, token_count;
    uint64_t first_document, document_count;
    const void *tokens;                 /* [token_count], `width` bytes each */
    uint32_t width;                     /* 1, 2 or 4 */
    const lh_shard_document *documents; /* [document_count] */
    const uint32_t *answers;            /* [token_count], see shard.h, or NULL */
    const char *names; /* of the documents, see lh_shard_document; may be NULL if all sizes are 0 */
    const char *path;  /* for messages */
} lh_split_part;

typedef struct lh_split {
    char name[16]; /* "train", "validation", "test" */
    lh_split_part *parts;
    size_t part_count;
    uint64_t tokens, documents;
    bool answered;    /* which tokens are answers is known: in every part */
    uint64_t answers; /* how many are */
    lh_text_totals totals;
    uint64_t vocab_size, fingerprint; /* of the tokenizer */
    lh_shard *shards;                 /* [part_count], or NULL for a split in memory */
    void *memory, *answer_memory;     /* what a split in memory owns */
} lh_split;

/* What is known about one document. Strings are not NUL-terminated. */
typedef struct lh_document {
    uint64_t start, tokens; /* place in the split */
    lh_text_totals totals;
    const char *name, *label; /* "10146"; "The Lady of the Lake by Walter Scott" */
    uint32_t name_size, label_size;
} lh_document;

/* A split of `documents` documents in memory with lengths[i] tokens each; the tokens are copied. Totals of the text
 * are zero. For tests and for texts that are never written. Release with lh_split_free. */
lh_status lh_split_create(lh_split **split, const int32_t *tokens, const uint64_t *lengths, uint64_t documents,
                          uint64_t vocab_size, lh_error *error);
void lh_split_free(lh_split *split);

/* Says which tokens of a split in memory are answers: answers[tokens] as in shard.h, copied. */
lh_status lh_split_set_answers(lh_split *split, const uint32_t *answers, lh_error *error);

/* Opens the shards paths[0..count) as one split. They must agree in tokenizer, token width and whether they have
 * answers. A split is at most 2^31 - 1 documents. Release the struct's contents with lh_split_close. */
lh_status lh_split_open(lh_split *split, const char *name, const char *const *paths, size_t count, lh_error *error);
void lh_split_close(lh_split *split);

/* The document with this number; index < split->documents. */
lh_document lh_split_document(const lh_split *split, uint64_t index);

/* The number of the document that holds a token; token < split->tokens. */
uint64_t lh_split_find(const lh_split *split, uint64_t token);

/* Widens tokens start .. start+count-1 into out[0..count). An id outside the vocabulary (a damaged shard) is
 * LH_E_FORMAT with the file and the place; a range outside the split is LH_E_ARGUMENT. */
lh_status lh_split_copy(const lh_split *split, uint64_t start, uint64_t count, int32_t *out, lh_error *error);

/* Of a document that is a source and its target: how many tokens stand before the first answer, which are the
 * source and the token that the target begins behind; 0 if it has no answer. */
uint64_t lh_split_source(const lh_split *split, uint64_t document);

/* Which of the tokens start .. start+count-1 are answers, and to what, as in shard.h: all 0 in a split without. The
 * range must lie in the split. */
void lh_split_copy_answers(const lh_split *split, uint64_t start, uint64_t count, uint32_t *out);

#endif
