#include "data/pairs.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data/prepare_state.h"

#include <lzma.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_SHARD_BYTES ((uint64_t)1 << 30)
/* Counts up when the same pairs give other bytes. */
#define PAIRS_VERSION 1u

/* One of the two texts of a line. Each is read by a cursor of its own. */
typedef struct side {
    const char *field;
    lh_input *input;
    lh_cursor *cursor;
    lh_input_document document; /* the current one: its name lives in the cursor */
    lh_input_position behind;   /* the place behind it */
    lh_string text;
    lh_ids ids;
    bool end;
} side;

typedef struct work {
    const char *path, *folder;
    const lh_pairs_options *options;
    lh_pairs_report *report;
    side sides[2]; /* source, target */
    lh_tokenizer *tokenizer;
    lh_encoder *encoder;
    int32_t end_token;
    uint64_t identity;
    lh_shard_writer writer;
    bool writing;
    int split; /* of the open shard */
    uint32_t shards[LH_SPLITS];
    lh_ids zeros, ones; /* answers of sources and targets */
} work;

/* ---- reading ---- */

static bool watch_reading(void *data, uint64_t done, uint64_t total)
{
    const work *w = data;
    return !w->options->watch || w->options->watch(w->options->watch_data, "measure", done, total);
}

static lh_status open_side(work *w, int which, lh_error *error)
{
    side *s = &w->sides[which];
    lh_input_options options = {
        .field = s->field, .split = w->options->split, .by = "documents", .skip_empty = true};
    lh_input *source = w->sides[0].input;
    if (which == 1 && source->rule != LH_SPLIT_BY_LAYOUT) {
        options.split = "train"; /* the source's side decides */
    }
    LH_TRY(lh_input_open(&s->input, w->path, &options, watch_reading, w, error));
    for (size_t i = 0; i < s->input->count; i++) {
        if (!s->input->items[i].json) {
            return lh_fail(error, LH_E_CONFIG, "pairs come as JSON Lines (.jsonl), which %s is not",
                           s->input->items[i].path);
        }
    }
    if (!s->input->restartable) {
        return lh_fail(error, LH_E_CONFIG, "pairs are read twice, which is not possible with %s", w->path);
    }
    return lh_cursor_open(&s->cursor, s->input, NULL, error);
}

/* The side's next text that is not empty. */
static lh_status advance(side *s, lh_error *error)
{
    char buffer[16384];
    size_t got = sizeof buffer;
    lh_string_clear(&s->text);
    LH_TRY(lh_cursor_next(s->cursor, &s->document, &s->end, error));
    while (!s->end && got == sizeof buffer) {
        LH_TRY(lh_cursor_read(s->cursor, buffer, sizeof buffer, &got, error));
        lh_string_append(&s->text, buffer, got);
    }
    s->behind = lh_cursor_position(s->cursor);
    return s->text.failed ? lh_fail(error, LH_E_MEMORY, "no memory for %s", s->document.name) : LH_OK;
}

/* Which side stands at the earlier line: -1 the source's, 1 the target's, 0: they are a pair. */
static int compare(const side *a, const side *b)
{
    if (a->end || b->end) {
        return (int)a->end - (int)b->end;
    }
    const lh_input_position *x = &a->behind, *y = &b->behind;
    return x->item != y->item ? (x->item < y->item ? -1 : 1) : (x->line > y->line) - (x->line < y->line);
}

/* ---- writing ---- */

static lh_status finish_shard(work *w, lh_error *error)
{
    if (!w->writing) {
        return LH_OK;
    }
    w->writing = false;
    LH_TRY(lh_shard_writer_finish(&w->writer, error));
    w->shards[w->split]++;
    return LH_OK;
}

static lh_status begin_pair(work *w, int split, lh_error *error)
{
    uint64_t most = w->options->shard_bytes ? w->options->shard_bytes : DEFAULT_SHARD_BYTES;
    if (w->writing && (w->split != split || w->writer.done.tokens * w->writer.width >= most)) {
        LH_TRY(finish_shard(w, error));
    }
    if (w->writing) {
        return LH_OK;
    }
    char name[LH_SHARD_NAME_SIZE];
    char *path = lh_path_join(w->folder, lh_dataset_shard_name(name, split, w->shards[split]));
    lh_status status = path
                           ? lh_shard_writer_open(&w->writer, path, (uint64_t)lh_tokenizer_vocab_size(w->tokenizer),
                                                  lh_tokenizer_fingerprint(w->tokenizer), NULL, error)
                           : lh_fail(error, LH_E_MEMORY, "no memory to write %s", name);
    lh_heap_free(path);
    w->writing = status == LH_OK;
    w->split = split;
    return status;
}

/* Encodes a side's text, cut to `most` tokens (0: all), with the end-of-text token behind it. */
static lh_status encode(work *w, side *s, int64_t most, lh_text_counter *counter, lh_error *error)
{
    lh_ids_clear(&s->ids);
    lh_encoder_reset(w->encoder);
    LH_TRY(lh_encoder_feed(w->encoder, s->text.data, s->text.size, &s->ids, error));
    LH_TRY(lh_encoder_finish(w->encoder, &s->ids, error));
    if (most > 0 && s->ids.size > (size_t)most) {
        s->ids.size = (size_t)most;
        w->report->cut++;
    }
    lh_text_counter_feed(counter, s->text.data, s->text.size);
    return lh_ids_append(&s->ids, &w->end_token, 1, error);
}

/* `answers` of at least `count` numbers `value`. */
static lh_status fill(lh_ids *answers, size_t count, int32_t value, lh_error *error)
{
    while (answers->size < count) {
        LH_TRY(lh_ids_append(answers, &value, 1, error));
    }
    return LH_OK;
}

static lh_status write_pair(work *w, lh_error *error)
{
    side *source = &w->sides[0], *target = &w->sides[1];
    lh_text_counter counter = {0};
    LH_TRY(encode(w, source, w->options->source_tokens, &counter, error));
    LH_TRY(encode(w, target, 0, &counter, error));
    lh_text_counter_finish(&counter);
    LH_TRY(begin_pair(w, source->document.split, error));
    LH_TRY(fill(&w->zeros, source->ids.size, 0, error));
    LH_TRY(fill(&w->ones, target->ids.size, (int32_t)LH_ANSWER, error));
    LH_TRY(lh_shard_writer_answers(&w->writer, source->ids.data, (const uint32_t *)w->zeros.data, source->ids.size,
                                   error));
    LH_TRY(lh_shard_writer_answers(&w->writer, target->ids.data, (const uint32_t *)w->ones.data, target->ids.size,
                                   error));
    LH_TRY(lh_shard_writer_end_document(&w->writer, source->document.name, source->document.label, &counter.totals,
                                        error));
    lh_pairs_report *r = w->report;
    r->pairs++;
    r->longest_source = source->ids.size - 1 > r->longest_source ? source->ids.size - 1 : r->longest_source;
    r->longest_target = target->ids.size > r->longest_target ? target->ids.size : r->longest_target;
    return LH_OK;
}

static lh_status write_pairs(work *w, lh_error *error)
{
    side *source = &w->sides[0], *target = &w->sides[1];
    uint64_t total = lh_input_bytes(source->input);
    LH_TRY(advance(source, error));
    LH_TRY(advance(target, error));
    while (!source->end || !target->end) {
        int order = compare(source, target);
        if (order == 0) {
            LH_TRY(write_pair(w, error));
        } else {
            w->report->alone++; /* the other text of this line is empty */
        }
        if (order <= 0) {
            LH_TRY(advance(source, error));
        }
        if (order >= 0) {
            LH_TRY(advance(target, error));
        }
        if (w->options->watch &&
            !w->options->watch(w->options->watch_data, "prepare", lh_cursor_consumed(source->cursor), total)) {
            return lh_fail(error, LH_E_INTERRUPTED, "stopped; %s is no data set yet", w->folder);
        }
    }
    return finish_shard(w, error);
}

/* ---- the whole ---- */

static lh_status open_tokenizer(work *w, lh_error *error)
{
    if (!w->options->tokenizer) {
        return lh_fail(error, LH_E_CONFIG,
                       "pairs need a tokenizer with an end-of-text token: make one with longhand tokenizer train, "
                       "and give its path with --tokenizer");
    }
    LH_TRY(lh_tokenizer_open(&w->tokenizer, w->options->tokenizer, error));
    w->end_token = lh_tokenizer_role(w->tokenizer, LH_TOKEN_EOS);
    if (w->end_token == LH_NO_TOKEN || lh_tokenizer_get_kind(w->tokenizer) == LH_TOKENIZER_WORDS) {
        return lh_fail(error, LH_E_CONFIG,
                       "the tokenizer %s has no end-of-text token, which separates a source from its target",
                       w->options->tokenizer);
    }
    return lh_encoder_create(&w->encoder, w->tokenizer, 0, error);
}

/* The folder's copy: its name in facts. */
static lh_status save_tokenizer(work *w, lh_dataset_facts *facts, lh_error *error)
{
    bool subwords = lh_tokenizer_get_kind(w->tokenizer) == LH_TOKENIZER_SUBWORDS;
    (void)snprintf(facts->tokenizer_file, sizeof facts->tokenizer_file, "%s",
                   subwords ? "tokenizer.subwords" : "tokenizer.json");
    if (!subwords) {
        return lh_tokenizer_save(w->tokenizer, w->folder, error);
    }
    char *path = lh_path_join(w->folder, facts->tokenizer_file);
    lh_status status = path ? lh_tokenizer_save(w->tokenizer, path, error)
                            : lh_fail(error, LH_E_MEMORY, "no memory to save the tokenizer");
    lh_heap_free(path);
    return status;
}

/* Is the folder free? Or does the same data set lie in it? */
static lh_status look(work *w, lh_error *error)
{
    uint64_t old = 0, numbers[] = {PAIRS_VERSION,
                                   lh_input_identity(w->sides[0].input, false),
                                   lh_input_identity(w->sides[1].input, false),
                                   lh_tokenizer_fingerprint(w->tokenizer),
                                   (uint64_t)w->options->source_tokens,
                                   w->options->shard_bytes};
    w->identity = lzma_crc64((const uint8_t *)numbers, sizeof numbers, 0);
    char *file = lh_path_join(w->folder, LH_DATASET_FILE);
    if (!file) {
        return lh_fail(error, LH_E_MEMORY, "no memory to make %s", w->folder);
    }
    bool there = lh_file_exists(file) && !w->options->force;
    lh_heap_free(file);
    w->report->already = there && lh_dataset_identity(w->folder, &old, NULL) == LH_OK && old == w->identity;
    if (there && !w->report->already) {
        return lh_fail(error, LH_E_CONFIG,
                       "%s holds another data set: name another folder, or replace it with --force", w->folder);
    }
    return LH_OK;
}

static lh_status write_dataset(work *w, lh_error *error)
{
    lh_dataset_facts facts = {
        .layout = LH_PAIRS_LAYOUT,
        .vocab_size = (uint64_t)lh_tokenizer_vocab_size(w->tokenizer),
        .fingerprint = lh_tokenizer_fingerprint(w->tokenizer),
        .documents_ended = true,
        .empty_documents = w->report->alone,
        .identity = w->identity,
    };
    if (w->report->pairs == 0) {
        return lh_fail(error, LH_E_FORMAT, "%s holds no pair of \"%s\" and \"%s\"", w->path, w->sides[0].field,
                       w->sides[1].field);
    }
    LH_TRY(save_tokenizer(w, &facts, error));
    (void)snprintf(facts.tokenizer_kind, sizeof facts.tokenizer_kind, "%s",
                   lh_tokenizer_kind_name(lh_tokenizer_get_kind(w->tokenizer)));
    bool own = w->sides[0].input->rule == LH_SPLIT_BY_LAYOUT;
    (void)snprintf(facts.rule, sizeof facts.rule, "%.40s%s",
                   !own                ? (w->options->split ? w->options->split : "90/5/5")
                   : w->options->split ? "one"
                                       : "as in the source",
                   own ? "" : " by documents");
    LH_TRY(lh_dataset_write(w->folder, w->path, &facts, w->shards, error));
    return lh_prepare_clean(w->folder, false, error);
}

static lh_status run(work *w, lh_error *error)
{
    LH_TRY(open_tokenizer(w, error));
    LH_TRY(open_side(w, 0, error));
    LH_TRY(open_side(w, 1, error));
    LH_TRY(look(w, error));
    if (w->report->already) {
        return LH_OK;
    }
    LH_TRY(lh_prepare_clean(w->folder, true, error));
    LH_TRY(write_pairs(w, error));
    return write_dataset(w, error);
}

lh_status lh_prepare_pairs(const char *source, const char *folder, const lh_pairs_options *options,
                           lh_pairs_report *report, lh_error *error)
{
    *report = (lh_pairs_report){0};
    work w = {.path = source, .folder = folder, .options = options, .report = report};
    w.sides[0].field = options->source_field ? options->source_field : "article";
    w.sides[1].field = options->target_field ? options->target_field : "abstract";
    int lock = -1;
    LH_TRY(lh_prepare_lock(folder, &lock, error));
    lh_status status = run(&w, error);
    lh_shard_writer_close(&w.writer);
    for (int i = 0; i < 2; i++) {
        lh_cursor_free(w.sides[i].cursor);
        lh_input_free(w.sides[i].input);
        lh_string_free(&w.sides[i].text);
        lh_ids_free(&w.sides[i].ids);
    }
    lh_ids_free(&w.zeros);
    lh_ids_free(&w.ones);
    lh_encoder_free(w.encoder);
    lh_tokenizer_free(w.tokenizer);
    (void)close(lock);
    return status;
}
