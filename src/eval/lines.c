/* The corpus of the protocol line: lines without the white space around them, packed whole into rows. */
#include "base/memory.h"
#include "eval/corpus.h"

#include <string.h>

typedef struct packing {
    const lh_tokenizer *tokenizer;
    lh_encoder *encoder;
    size_t window;
    int32_t end; /* follows every row, or LH_NO_TOKEN */
    lh_ids all, line;
    lh_eval_document *rows;
    size_t count, capacity;
    uint64_t *lengths;
} packing;

static lh_status no_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory to pack lines");
}

static lh_status begin_row(packing *p, const char *name, lh_error *error)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        lh_eval_document *rows = lh_heap_realloc(p->rows, sizeof *rows * capacity);
        if (!rows) {
            return no_memory(error);
        }
        p->rows = rows;
        p->capacity = capacity;
    }
    char *copy = lh_heap_strdup(name);
    if (!copy) {
        return no_memory(error);
    }
    p->rows[p->count++] = (lh_eval_document){.name = copy, .start = p->all.size};
    return LH_OK;
}

static lh_status end_row(packing *p, lh_error *error)
{
    lh_eval_document *row = &p->rows[p->count - 1];
    if (p->end != LH_NO_TOKEN) {
        LH_TRY(lh_ids_append(&p->all, &p->end, 1, error));
    }
    row->tokens = p->all.size - row->start;
    return LH_OK;
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Adds one line's tokens; a line that is longer than a row is cut. */
static lh_status add_line(packing *p, const char *text, size_t size, const char *name, lh_error *error)
{
    size_t room = p->window - (p->end != LH_NO_TOKEN ? 1 : 0);
    while (size > 0 && blank(text[0])) {
        text++;
        size--;
    }
    while (size > 0 && blank(text[size - 1])) {
        size--;
    }
    if (size == 0) {
        return LH_OK;
    }
    lh_ids_clear(&p->line);
    LH_TRY(lh_encoder_feed(p->encoder, text, size, &p->line, error));
    LH_TRY(lh_encoder_finish(p->encoder, &p->line, error));
    if (p->count > 0 && p->all.size - p->rows[p->count - 1].start + p->line.size > room) {
        LH_TRY(end_row(p, error));
        LH_TRY(begin_row(p, name, error));
    } else if (p->count == 0) {
        LH_TRY(begin_row(p, name, error));
    }
    for (size_t at = 0; at < p->line.size;) {
        size_t free_places = room - (p->all.size - p->rows[p->count - 1].start);
        size_t part = p->line.size - at < free_places ? p->line.size - at : free_places;
        LH_TRY(lh_ids_append(&p->all, p->line.data + at, part, error));
        at += part;
        if (at < p->line.size) {
            LH_TRY(end_row(p, error));
            LH_TRY(begin_row(p, name, error));
        }
    }
    return LH_OK;
}

/* All lines of one document. */
static lh_status add_document(packing *p, const lh_eval_corpus *corpus, const lh_eval_document *d, lh_error *error)
{
    lh_string text = {0};
    size_t count = (size_t)(d->tokens ? d->tokens : 1);
    int32_t *ids = lh_heap_alloc(sizeof *ids * count);
    lh_status status = ids ? lh_split_copy(corpus->split, d->start, d->tokens, ids, error) : no_memory(error);
    if (status == LH_OK) {
        status = lh_tokenizer_decode(p->tokenizer, ids, (size_t)d->tokens, LH_DECODE_SKIP_SPECIAL, &text, error);
    }
    for (size_t at = 0; status == LH_OK && at < text.size;) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - (text.data + at)) : text.size - at;
        status = add_line(p, text.data + at, size, d->name, error);
        at += size + 1;
    }
    lh_heap_free(ids);
    lh_string_free(&text);
    return status;
}

static lh_status replace(packing *p, lh_eval_corpus *corpus, lh_error *error)
{
    lh_split *split;
    if (p->count == 0) {
        return lh_fail(error, LH_E_CONFIG, "%s has no line with anything in it", corpus->name);
    }
    LH_TRY(end_row(p, error));
    p->lengths = lh_heap_alloc(sizeof *p->lengths * p->count);
    if (!p->lengths) {
        return no_memory(error);
    }
    for (size_t i = 0; i < p->count; i++) {
        p->lengths[i] = p->rows[i].tokens;
    }
    uint64_t vocab = (uint64_t)lh_tokenizer_vocab_size(p->tokenizer);
    LH_TRY(lh_split_create(&split, p->all.data, p->lengths, p->count, vocab, error));
    for (size_t i = 0; i < corpus->document_count; i++) {
        lh_heap_free(corpus->documents[i].name);
    }
    lh_heap_free(corpus->documents);
    corpus->documents = p->rows;
    corpus->document_count = p->count;
    p->rows = NULL;
    p->count = 0;
    lh_split_free(corpus->owned);
    corpus->owned = split;
    corpus->split = split;
    corpus->lossless = false;
    return LH_OK;
}

lh_status lh_eval_corpus_pack_lines(lh_eval_corpus *corpus, const lh_tokenizer *tokenizer, int64_t window,
                                    int32_t end_token, lh_error *error)
{
    if (corpus->split->answered) {
        return lh_fail(error, LH_E_CONFIG, "%s is no text with lines: its tokens are answers or not", corpus->name);
    }
    packing p = {.tokenizer = tokenizer, .window = (size_t)window, .end = end_token};
    lh_status status = lh_encoder_create(&p.encoder, tokenizer, 0, error);
    for (size_t i = 0; i < corpus->document_count && status == LH_OK; i++) {
        status = add_document(&p, corpus, &corpus->documents[i], error);
    }
    if (status == LH_OK) {
        status = replace(&p, corpus, error);
    }
    for (size_t i = 0; i < p.count; i++) {
        lh_heap_free(p.rows[i].name);
    }
    lh_heap_free(p.rows);
    lh_heap_free(p.lengths);
    lh_ids_free(&p.all);
    lh_ids_free(&p.line);
    lh_encoder_free(p.encoder);
    return status;
}
