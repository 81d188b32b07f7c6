/* The middle of preparing: texts of many documents become tokens, several at a time. */
#ifndef LH_DATA_PREPARE_ENCODE_H
#define LH_DATA_PREPARE_ENCODE_H

#include "data/count.h"
#include "data/input.h"
#include "text/tokenizer.h"

/* One document of a batch. */
typedef struct lh_batch_document {
    char *name, *label;
    int split;
    size_t text_at, text_size; /* in the batch's text */
    lh_text_counter counter;
    lh_ids ids;            /* empty for the bytes tokenizer, whose tokens are the text */
    lh_input_position end; /* the place behind the document */
} lh_batch_document;

typedef struct lh_encode_batch {
    lh_batch_document *documents; /* [capacity], `count` in use; the memory of the others is kept */
    size_t count, capacity;
    lh_string text;
} lh_encode_batch;

/* Encoders for the threads, and how to use them. */
typedef struct lh_encode_context {
    const lh_tokenizer *tokenizer;
    lh_encoder **encoders; /* [threads]; NULL for the bytes tokenizer */
    int threads;
    int32_t end_token; /* behind every document, or LH_NO_TOKEN */
    bool utf8_only;    /* the tokenizer cannot take other bytes */
} lh_encode_context;

lh_status lh_encode_open(lh_encode_context *context, const lh_tokenizer *tokenizer, bool end_documents, int threads,
                         lh_error *error);
void lh_encode_close(lh_encode_context *context);

/* Adds an empty document at the end of the batch. */
lh_status lh_encode_add(lh_encode_batch *batch, const lh_input_document *document, lh_batch_document **added,
                        lh_error *error);
void lh_encode_clear(lh_encode_batch *batch); /* keeps the memory */
void lh_encode_free(lh_encode_batch *batch);

/* Counts and encodes all documents of a batch. Failures name the document. */
lh_status lh_encode_run(lh_encode_context *context, lh_encode_batch *batch, lh_error *error);

/* The same for one long document in pieces, with the first encoder: `document` has the counter and the ids of this
 * piece. */
lh_status lh_encode_piece(lh_encode_context *context, lh_batch_document *document, const void *text, size_t size,
                          bool last, lh_error *error);

#endif
