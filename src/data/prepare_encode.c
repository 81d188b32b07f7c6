#include "data/prepare_encode.h"

#include "base/memory.h"

#include <omp.h>

lh_status lh_encode_open(lh_encode_context *context, const lh_tokenizer *tokenizer, bool end_documents, int threads,
                         lh_error *error)
{
    bool bytes = lh_tokenizer_get_kind(tokenizer) == LH_TOKENIZER_BYTES;
    *context = (lh_encode_context){
        .tokenizer = tokenizer,
        .threads = threads > 0 ? threads : omp_get_max_threads(),
        .end_token = LH_NO_TOKEN,
        .utf8_only = !lh_tokenizer_lossless(tokenizer),
    };
    if (end_documents) {
        context->end_token = lh_tokenizer_role(tokenizer, LH_TOKEN_EOS);
        /* The word tokenizer's <eos> ends lines. */
        if (context->end_token == LH_NO_TOKEN || lh_tokenizer_get_kind(tokenizer) == LH_TOKENIZER_WORDS) {
            return lh_fail(error, LH_E_CONFIG,
                           "documents cannot be ended: the tokenizer (%s) has no end-of-text token",
                           lh_tokenizer_kind_name(lh_tokenizer_get_kind(tokenizer)));
        }
    }
    if (bytes && context->end_token == LH_NO_TOKEN) {
        return LH_OK;
    }
    context->encoders = lh_heap_alloc((size_t)context->threads * sizeof(lh_encoder *));
    if (!context->encoders) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %d encoders", context->threads);
    }
    for (int i = 0; i < context->threads; i++) {
        LH_TRY(lh_encoder_create(&context->encoders[i], tokenizer, 0, error));
    }
    return LH_OK;
}

void lh_encode_close(lh_encode_context *context)
{
    for (int i = 0; context->encoders && i < context->threads; i++) {
        lh_encoder_free(context->encoders[i]);
    }
    lh_heap_free(context->encoders);
    *context = (lh_encode_context){0};
}

static lh_status grow(lh_encode_batch *batch, lh_error *error)
{
    if (batch->count < batch->capacity) {
        return LH_OK;
    }
    size_t capacity = batch->capacity ? 2 * batch->capacity : 32;
    lh_batch_document *documents = lh_heap_realloc(batch->documents, capacity * sizeof *documents);
    if (!documents) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu documents", capacity);
    }
    for (size_t i = batch->capacity; i < capacity; i++) {
        documents[i] = (lh_batch_document){0};
    }
    batch->documents = documents;
    batch->capacity = capacity;
    return LH_OK;
}

lh_status lh_encode_add(lh_encode_batch *batch, const lh_input_document *document, lh_batch_document **added,
                        lh_error *error)
{
    LH_TRY(grow(batch, error));
    lh_batch_document *fresh = &batch->documents[batch->count];
    lh_ids ids = fresh->ids;
    lh_ids_clear(&ids);
    *fresh = (lh_batch_document){
        .name = lh_heap_strdup(document->name),
        .label = lh_heap_strdup(document->label),
        .split = document->split,
        .text_at = batch->text.size,
        .ids = ids,
    };
    batch->count++;
    *added = fresh;
    return fresh->name && fresh->label ? LH_OK
                                       : lh_fail(error, LH_E_MEMORY, "no memory for the name of a document");
}

void lh_encode_clear(lh_encode_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        lh_heap_free(batch->documents[i].name);
        lh_heap_free(batch->documents[i].label);
        batch->documents[i].name = batch->documents[i].label = NULL;
    }
    batch->count = 0;
    lh_string_clear(&batch->text);
}

void lh_encode_free(lh_encode_batch *batch)
{
    lh_encode_clear(batch);
    for (size_t i = 0; i < batch->capacity; i++) {
        lh_ids_free(&batch->documents[i].ids);
    }
    lh_heap_free(batch->documents);
    lh_string_free(&batch->text);
    *batch = (lh_encode_batch){0};
}

static lh_status feed(const lh_encode_context *context, lh_encoder *encoder, lh_batch_document *document,
                      const void *text, size_t size, bool last, lh_error *error)
{
    lh_text_counter_feed(&document->counter, text, size);
    if (last) {
        lh_text_counter_finish(&document->counter);
    }
    if (context->utf8_only && document->counter.totals.invalid > 0) {
        return lh_fail(error, LH_E_FORMAT,
                       "it is not UTF-8 at byte %llu, and only bytes and bpe tokenizers take that",
                       (unsigned long long)document->counter.first_invalid);
    }
    if (!encoder) {
        return LH_OK;
    }
    LH_TRY(lh_encoder_feed(encoder, text, size, &document->ids, error));
    if (last) {
        LH_TRY(lh_encoder_finish(encoder, &document->ids, error));
        if (context->end_token != LH_NO_TOKEN) {
            LH_TRY(lh_ids_append(&document->ids, &context->end_token, 1, error));
        }
    }
    return LH_OK;
}

static lh_status feed_named(const lh_encode_context *context, lh_encoder *encoder, lh_batch_document *document,
                            const void *text, size_t size, bool last, lh_error *error)
{
    lh_error inner = {0};
    lh_status status = feed(context, encoder, document, text, size, last, &inner);
    return status == LH_OK ? LH_OK : lh_fail(error, status, "cannot encode %s: %s", document->name, inner.message);
}

lh_status lh_encode_run(lh_encode_context *context, lh_encode_batch *batch, lh_error *error)
{
    lh_status failed = LH_OK;
    /* Which of several failures is reported depends on the threads, the tokens never do. */
#pragma omp parallel for schedule(dynamic, 1) num_threads(context->threads) if (batch->count > 1)
    for (size_t i = 0; i < batch->count; i++) {
        lh_batch_document *document = &batch->documents[i];
        lh_encoder *encoder = context->encoders ? context->encoders[omp_get_thread_num()] : NULL;
        const char *text = batch->text.data ? batch->text.data + document->text_at : "";
        lh_error inner = {0};
        lh_status status = feed_named(context, encoder, document, text, document->text_size, true, &inner);
        if (status != LH_OK) {
#pragma omp critical
            if (failed == LH_OK) {
                failed = lh_fail(error, status, "%s", inner.message);
            }
        }
    }
    return failed;
}

lh_status lh_encode_piece(lh_encode_context *context, lh_batch_document *document, const void *text, size_t size,
                          bool last, lh_error *error)
{
    lh_ids_clear(&document->ids);
    return feed_named(context, context->encoders ? context->encoders[0] : NULL, document, text, size, last, error);
}
