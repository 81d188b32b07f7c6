#include "eval/corpus.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/digest.h"

#include <stdio.h>
#include <string.h>

/* Everything that opening needs on the way. */
typedef struct opening {
    lh_eval_corpus *corpus;
    const lh_tokenizer *tokenizer;
    const lh_eval_corpus_options *options;
    lh_decoder *decoder;
    lh_string text; /* decoded, a piece at a time */
    lh_ids ids;     /* all tokens, where they are not in a data set */
    lh_ids answers; /* with a limit, those of a data set that has them */
    uint64_t *lengths;
    size_t capacity;
} opening;

static lh_status fail_memory(const opening *o, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for the documents of %s", o->options->path);
}

static bool watch(const opening *o, const char *phase, uint64_t done, uint64_t total)
{
    return !o->options->watch || o->options->watch(o->options->watch_data, phase, done, total);
}

static lh_status stopped(lh_error *error)
{
    return lh_fail(error, LH_E_INTERRUPTED, "interrupted");
}

static lh_status add_document(opening *o, const char *name, size_t name_size, lh_error *error)
{
    lh_eval_corpus *c = o->corpus;
    if (o->corpus->document_count == o->capacity) {
        size_t capacity = o->capacity ? 2 * o->capacity : 64;
        lh_eval_document *documents = lh_heap_realloc(c->documents, sizeof *documents * capacity);
        if (!documents) {
            return fail_memory(o, error);
        }
        c->documents = documents;
        o->capacity = capacity;
    }
    lh_eval_document *d = &c->documents[o->corpus->document_count];
    memset(d, 0, sizeof *d);
    d->name = lh_heap_alloc(name_size + 1);
    if (!d->name) {
        return fail_memory(o, error);
    }
    memcpy(d->name, name, name_size);
    o->corpus->document_count++;
    return LH_OK;
}

/* How many tokens of a document may stay. */
static uint64_t allowed(const opening *o, uint64_t tokens, uint64_t before)
{
    const lh_eval_corpus_options *options = o->options;
    uint64_t most = options->document_tokens > 0 ? options->document_tokens : UINT64_MAX;
    uint64_t left = options->limit_tokens > 0 ? options->limit_tokens - before : UINT64_MAX;
    most = most < left ? most : left;
    return tokens < most ? tokens : most;
}

/* ---- text ---- */

/* The decoded text of ids, into a counter and a digest (each may be NULL). */
static lh_status decode(opening *o, const int32_t *ids, uint64_t count, bool end, lh_text_counter *counter,
                        lh_digest *digest, lh_error *error)
{
    for (uint64_t i = 0; i < count || end; i++) {
        if (i < count) {
            LH_TRY(lh_decoder_feed(o->decoder, ids[i], &o->text, error));
        } else {
            LH_TRY(lh_decoder_finish(o->decoder, &o->text, error));
        }
        if (o->text.size >= 4096 || i + 1 >= count) {
            if (counter && o->text.size > 0) {
                lh_text_counter_feed(counter, o->text.data, o->text.size);
            }
            if (digest && o->text.size > 0) {
                lh_digest_update(digest, o->text.data, o->text.size);
            }
            lh_string_clear(&o->text);
        }
        if (i >= count) {
            break;
        }
    }
    return LH_OK;
}

#define TEXT_PIECE ((size_t)64 << 10)

/* Encodes one document, and decodes it again to see whether its text comes back. */
static lh_status encode_document(opening *o, lh_cursor *cursor, lh_encoder *encoder, char *buffer, lh_error *error)
{
    lh_eval_document *d = &o->corpus->documents[o->corpus->document_count - 1];
    lh_text_counter counter = {0};
    lh_digest before = lh_digest_start(LH_DIGEST_SHA256), after = before;
    size_t got = TEXT_PIECE, first = o->ids.size;
    d->start = first;
    while (got == TEXT_PIECE) {
        size_t seen = o->ids.size;
        LH_TRY(lh_cursor_read(cursor, buffer, TEXT_PIECE, &got, error));
        lh_text_counter_feed(&counter, buffer, got);
        lh_digest_update(&before, buffer, got);
        LH_TRY(lh_encoder_feed(encoder, buffer, got, &o->ids, error));
        if (got < TEXT_PIECE) {
            LH_TRY(lh_encoder_finish(encoder, &o->ids, error));
        }
        LH_TRY(decode(o, o->ids.data + seen, o->ids.size - seen, got < TEXT_PIECE, NULL, &after, error));
        if (allowed(o, o->ids.size - first, first) < o->ids.size - first) {
            break; /* a limit is reached: the rest is not wanted */
        }
    }
    lh_text_counter_finish(&counter);
    d->totals = counter.totals;
    d->tokens = allowed(o, o->ids.size - first, first);
    if (d->tokens < o->ids.size - first) {
        /* Count what is left; whether the text comes back shows in the part that is. */
        lh_text_counter left = {0};
        lh_encoder_reset(encoder);
        o->corpus->cut = true;
        LH_TRY(decode(o, NULL, 0, true, NULL, NULL, error));
        o->ids.size = first + d->tokens;
        LH_TRY(decode(o, o->ids.data + first, d->tokens, true, &left, NULL, error));
        lh_text_counter_finish(&left);
        d->totals = left.totals;
        o->corpus->lossless = o->corpus->lossless && lh_tokenizer_lossless(o->tokenizer);
        return LH_OK;
    }
    char a[LH_DIGEST_HEX], b[LH_DIGEST_HEX];
    lh_digest_finish(&before, a);
    lh_digest_finish(&after, b);
    o->corpus->lossless = o->corpus->lossless && strcmp(a, b) == 0;
    return LH_OK;
}

static bool full(const opening *o)
{
    return o->options->limit_tokens > 0 && o->ids.size >= o->options->limit_tokens;
}

static lh_status encode_all(opening *o, const lh_input *input, int split, lh_error *error)
{
    lh_cursor *cursor = NULL;
    lh_encoder *encoder = NULL;
    char *buffer = lh_heap_alloc(TEXT_PIECE);
    lh_status status = buffer ? lh_cursor_open(&cursor, input, NULL, error) : fail_memory(o, error);
    if (status == LH_OK) {
        status = lh_encoder_create(&encoder, o->tokenizer, 0, error);
    }
    bool end = false;
    while (status == LH_OK && !full(o)) {
        lh_input_document document;
        status = lh_cursor_next(cursor, &document, &end, error);
        if (status != LH_OK || end) {
            break;
        }
        if (split >= 0 && document.split != split) {
            continue;
        }
        status = watch(o, "reading", lh_cursor_consumed(cursor), lh_input_bytes(input)) ? LH_OK : stopped(error);
        if (status == LH_OK) {
            status = add_document(o, document.name, strlen(document.name), error);
        }
        if (status == LH_OK) {
            status = encode_document(o, cursor, encoder, buffer, error);
        }
    }
    if (status == LH_OK && !end) {
        o->corpus->cut = true;
    }
    lh_encoder_free(encoder);
    lh_cursor_free(cursor);
    lh_heap_free(buffer);
    return status;
}

/* Opens text: a source with splits of its own gives the one that is asked for, any other is one split as a whole,
 * or shared out as training shares it. */
static lh_status open_input(lh_input **input, const opening *o, int *split, lh_error *error)
{
    const char *wanted = o->options->split;
    lh_input_options plain = {.split = NULL, .skip_empty = true};
    *split = wanted ? lh_split_by_name(wanted, strlen(wanted)) : LH_SPLIT_TEST;
    if (*split < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "\"%s\" is no split: they are train, validation and test", wanted);
    }
    LH_TRY(lh_input_open(input, o->options->path, &plain, NULL, NULL, error));
    if ((*input)->rule != LH_SPLIT_BY_LAYOUT && !wanted) {
        lh_input_free(*input);
        plain.split = "test";
        *input = NULL;
        LH_TRY(lh_input_open(input, o->options->path, &plain, NULL, NULL, error));
    }
    return LH_OK;
}

static lh_status split_of_ids(opening *o, lh_error *error)
{
    lh_eval_corpus *c = o->corpus;
    o->lengths = lh_heap_alloc(sizeof *o->lengths * (o->corpus->document_count + 1));
    if (!o->lengths) {
        return fail_memory(o, error);
    }
    for (size_t i = 0; i < o->corpus->document_count; i++) {
        o->lengths[i] = c->documents[i].tokens;
    }
    uint64_t vocab = (uint64_t)lh_tokenizer_vocab_size(o->tokenizer);
    LH_TRY(lh_split_create(&c->owned, o->ids.data, o->lengths, o->corpus->document_count, vocab, error));
    if (c->dataset && o->answers.size > 0) {
        LH_TRY(lh_split_set_answers(c->owned, (const uint32_t *)o->answers.data, error));
    }
    c->split = c->owned;
    return LH_OK;
}

static lh_status open_text(opening *o, lh_error *error)
{
    int split;
    lh_input *input = NULL;
    lh_status status = open_input(&input, o, &split, error);
    if (status == LH_OK) {
        o->corpus->lossless = o->corpus->lossless_text = true;
        status = encode_all(o, input, split, error);
    }
    if (status == LH_OK && o->corpus->document_count == 0) {
        status = lh_fail(error, LH_E_CONFIG, "%s has no text%s%s", o->options->path, " in the split ",
                         lh_split_name(split));
    }
    if (status == LH_OK) {
        status = split_of_ids(o, error);
    }
    if (status == LH_OK) {
        for (size_t i = 0; i < o->corpus->document_count; i++) {
            lh_text_totals_add(&o->corpus->totals, &o->corpus->documents[i].totals);
        }
        const lh_published *published = lh_published_find(input->layout, lh_split_name(split));
        if (published && lh_published_is_full(published, o->corpus->document_count, &o->corpus->totals,
                                              lh_tokenizer_get_kind(o->tokenizer) == LH_TOKENIZER_WORDS
                                                  ? o->corpus->split->tokens
                                                  : 0)) {
            o->corpus->published = published;
        }
    }
    lh_input_free(input);
    return status;
}

/* ---- data sets ---- */

static bool same_totals(const lh_text_totals *a, const lh_text_totals *b)
{
    return a->bytes == b->bytes && a->words == b->words && a->characters == b->characters &&
           a->invalid == b->invalid;
}

#define TOKEN_PIECE ((uint64_t)64 << 10)

/* Decodes a document of the split and compares what its text amounts to with what is recorded of the original. */
static lh_status check_document(opening *o, const lh_split *split, const lh_document *source, uint64_t keep,
                                int32_t *buffer, lh_text_totals *totals, lh_error *error)
{
    lh_text_counter counter = {0};
    for (uint64_t at = 0; at < keep || at == 0; at += TOKEN_PIECE) {
        uint64_t part = keep - at < TOKEN_PIECE ? keep - at : TOKEN_PIECE;
        LH_TRY(lh_split_copy(split, source->start + at, part, buffer, error));
        LH_TRY(decode(o, buffer, part, at + part == keep, &counter, NULL, error));
        if (o->options->limit_tokens > 0 || o->options->document_tokens > 0) {
            LH_TRY(lh_ids_append(&o->ids, buffer, (size_t)part, error));
            if (split->answered) {
                lh_split_copy_answers(split, source->start + at, part, (uint32_t *)buffer);
                LH_TRY(lh_ids_append(&o->answers, buffer, (size_t)part, error));
            }
        }
    }
    lh_text_counter_finish(&counter);
    *totals = counter.totals;
    return LH_OK;
}

static lh_status check_documents(opening *o, const lh_split *split, int32_t *buffer, lh_error *error)
{
    lh_eval_corpus *c = o->corpus;
    uint64_t kept = 0;
    c->lossless = true;
    for (uint64_t i = 0; i < split->documents; i++) {
        lh_document source = lh_split_document(split, i);
        uint64_t keep = allowed(o, source.tokens, kept);
        if (o->options->limit_tokens > 0 && kept >= o->options->limit_tokens) {
            c->cut = true;
            break;
        }
        if (!watch(o, "checking", source.start, split->tokens)) {
            return stopped(error);
        }
        LH_TRY(add_document(o, source.name, source.name_size, error));
        lh_eval_document *d = &c->documents[o->corpus->document_count - 1];
        d->start = kept;
        d->tokens = keep;
        lh_text_totals decoded;
        LH_TRY(check_document(o, split, &source, keep, buffer, &decoded, error));
        if (keep < source.tokens) {
            c->cut = true;
            d->totals = decoded;
            c->lossless = c->lossless && lh_tokenizer_lossless(o->tokenizer);
        } else {
            d->totals = source.totals;
            c->lossless = c->lossless && same_totals(&decoded, &source.totals);
        }
        lh_text_totals_add(&c->totals, &d->totals);
        kept += keep;
    }
    return LH_OK;
}

static lh_status choose_split(const opening *o, const lh_dataset *dataset, const lh_split **split, lh_error *error)
{
    const char *wanted = o->options->split;
    if (!wanted) {
        wanted = dataset->splits[LH_SPLIT_TEST].part_count > 0 ? "test" : "validation";
    }
    return lh_dataset_split(dataset, wanted, split, error);
}

static lh_status open_dataset(opening *o, lh_error *error)
{
    lh_eval_corpus *c = o->corpus;
    const lh_split *split;
    LH_TRY(lh_dataset_open(&c->dataset, o->options->path, error));
    if (c->dataset->facts.fingerprint != lh_tokenizer_fingerprint(o->tokenizer)) {
        return lh_fail(error, LH_E_CONFIG,
                       "%s was prepared with another tokenizer (%s, %llu tokens) than the model's; evaluate on the "
                       "text itself, or prepare it with the model's tokenizer",
                       o->options->path, c->dataset->facts.tokenizer_kind,
                       (unsigned long long)c->dataset->facts.vocab_size);
    }
    LH_TRY(choose_split(o, c->dataset, &split, error));
    int32_t *buffer = lh_heap_alloc(sizeof *buffer * TOKEN_PIECE);
    if (!buffer) {
        return fail_memory(o, error);
    }
    lh_status status = check_documents(o, split, buffer, error);
    lh_heap_free(buffer);
    LH_TRY(status);
    if (c->cut) {
        return split_of_ids(o, error);
    }
    bool whole;
    c->split = split;
    const lh_published *published = lh_dataset_published(c->dataset, split, &whole);
    c->published = published && whole ? published : NULL;
    return LH_OK;
}

static lh_status open_either(opening *o, lh_error *error)
{
    char *file = lh_path_join(o->options->path, LH_DATASET_FILE);
    if (!file) {
        return fail_memory(o, error);
    }
    bool dataset = lh_file_exists(file);
    lh_heap_free(file);
    LH_TRY(lh_decoder_create(&o->decoder, o->tokenizer, LH_DECODE_SKIP_SPECIAL, error));
    return dataset ? open_dataset(o, error) : open_text(o, error);
}

lh_status lh_eval_corpus_open(lh_eval_corpus **corpus, const lh_tokenizer *tokenizer,
                              const lh_eval_corpus_options *options, lh_error *error)
{
    lh_string name = {0};
    *corpus = NULL;
    lh_eval_corpus *fresh = lh_heap_alloc(sizeof *fresh);
    opening o = {.corpus = fresh, .tokenizer = tokenizer, .options = options};
    lh_status status = fresh ? open_either(&o, error) : fail_memory(&o, error);
    lh_decoder_free(o.decoder);
    lh_string_free(&o.text);
    lh_ids_free(&o.ids);
    lh_ids_free(&o.answers);
    lh_heap_free(o.lengths);
    if (status == LH_OK) {
        lh_string_print(&name, "%s%s%s%s", options->path, options->split ? " (" : "",
                        options->split ? options->split : "", options->split ? ")" : "");
        fresh->name = name.failed ? NULL : lh_heap_strdup(name.data);
        status = fresh->name ? LH_OK : fail_memory(&o, error);
        lh_string_free(&name);
    }
    if (status != LH_OK) {
        lh_eval_corpus_free(fresh);
        return status;
    }
    *corpus = fresh;
    return LH_OK;
}

void lh_eval_corpus_free(lh_eval_corpus *corpus)
{
    if (corpus) {
        for (size_t i = 0; i < corpus->document_count; i++) {
            lh_heap_free(corpus->documents[i].name);
        }
        lh_heap_free(corpus->documents);
        lh_heap_free(corpus->name);
        lh_split_free(corpus->owned);
        lh_dataset_free(corpus->dataset);
        lh_heap_free(corpus);
    }
}
