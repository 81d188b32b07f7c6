#include "data/prepare.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/prepare_encode.h"
#include "data/prepare_state.h"
#include "text/train.h"

#include <lzma.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_SHARD_BYTES ((uint64_t)1 << 30)
#define DEFAULT_CHECKPOINT_BYTES ((uint64_t)64 << 20)
#define BATCH_BYTES ((size_t)8 << 20)   /* of text that is encoded at a time */
#define LONG_DOCUMENT ((size_t)4 << 20) /* longer ones are encoded in pieces, alone */
#define PIECE ((size_t)256 * 1024)

typedef struct preparation {
    const char *source, *folder;
    const lh_prepare_options *options;
    lh_prepare_report *report;
    lh_input *input;
    uint64_t input_bytes;
    uint64_t identity; /* without times: what dataset.json stores */
    lh_tokenizer *tokenizer;
    char tokenizer_file[32];
    lh_prepare_state state;
    bool found_state;
    lh_cursor *cursor;
    lh_encode_context encode;
    lh_encode_batch batch;
    lh_shard_writer writer;
    bool writing;
    uint64_t since_checkpoint;
} preparation;

static bool watch(const preparation *work, const char *phase, uint64_t done)
{
    const lh_prepare_options *options = work->options;
    return !options->watch || options->watch(options->watch_data, phase, done, work->input_bytes);
}

static bool watch_measure(void *data, uint64_t done, uint64_t total)
{
    const preparation *work = data;
    return !work->options->watch || work->options->watch(work->options->watch_data, "measure", done, total);
}

static lh_status fail_stopped(lh_error *error)
{
    return lh_fail(error, LH_E_INTERRUPTED, "stopped; the same command goes on from here");
}

/* ---- identity ---- */

static const char *tokenizer_choice(const preparation *work)
{
    if (work->options->tokenizer) {
        return work->options->tokenizer;
    }
    return strncmp(work->input->layout, "wikitext", 8) == 0 ? "words" : "bytes";
}

static uint64_t shard_bytes(const preparation *work)
{
    return work->options->shard_bytes ? work->options->shard_bytes : DEFAULT_SHARD_BYTES;
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    return lzma_crc64(bytes, size, hash);
}

/* The options that decide about the bytes of the result. A tokenizer that is still to be trained follows from the
 * input. */
static uint64_t mix_options(const preparation *work, uint64_t hash)
{
    const char *tokenizer = tokenizer_choice(work);
    uint64_t fingerprint = work->tokenizer ? lh_tokenizer_fingerprint(work->tokenizer) : 0;
    uint64_t numbers[] = {LH_SHARD_VERSION, shard_bytes(work), work->options->end_documents, fingerprint};
    hash = mix(hash, numbers, sizeof numbers);
    return work->tokenizer ? hash : mix(hash, tokenizer, strlen(tokenizer));
}

/* ---- tokenizer ---- */

static bool is_trained(const char *choice)
{
    return !lh_file_exists(choice) && !lh_directory_exists(choice) &&
           (strcmp(choice, "words") == 0 || strcmp(choice, "characters") == 0);
}

/* Whether the vocabulary is made of this document: of the training split, or of all if there is none. */
static bool has_training(const lh_input *input)
{
    if (input->rule != LH_SPLIT_BY_LAYOUT) {
        return input->limits[LH_SPLIT_TRAIN] > 0;
    }
    return input->count > 0 && input->items[0].split == LH_SPLIT_TRAIN;
}

static lh_status feed_trainer(preparation *work, lh_trainer *trainer, bool only_training, lh_error *error)
{
    lh_cursor *cursor;
    unsigned char *buffer = lh_heap_alloc(PIECE);
    if (!buffer) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read %s", work->source);
    }
    lh_status status = lh_cursor_open(&cursor, work->input, NULL, error);
    while (status == LH_OK) {
        lh_input_document document;
        bool end;
        status = lh_cursor_next(cursor, &document, &end, error);
        if (status != LH_OK || end || (only_training && document.split != LH_SPLIT_TRAIN)) {
            break;
        }
        size_t got = PIECE;
        while (status == LH_OK && got == PIECE) {
            status = lh_cursor_read(cursor, buffer, PIECE, &got, error);
            if (status == LH_OK) {
                status = lh_trainer_feed(trainer, buffer, got, error);
            }
            if (status == LH_OK && !watch(work, "vocabulary", lh_cursor_consumed(cursor))) {
                status = fail_stopped(error);
            }
        }
        if (status == LH_OK) {
            status = lh_trainer_finish_document(trainer, error);
        }
    }
    lh_cursor_free(cursor);
    lh_heap_free(buffer);
    return status;
}

static lh_status train_tokenizer(preparation *work, const char *choice, lh_error *error)
{
    lh_train_options options = {
        .kind = strcmp(choice, "words") == 0 ? LH_TOKENIZER_WORDS : LH_TOKENIZER_CHARACTERS,
        .min_frequency = 1,
        .unknown = true,
    };
    if (!work->input->restartable) {
        return lh_fail(
            error, LH_E_CONFIG,
            "a vocabulary of %s needs a second reading, which is not possible with %s: give the path of a"
            " tokenizer",
            choice, work->source);
    }
    bool only_training = has_training(work->input);
    if (!only_training) {
        lh_string_print(&work->report->notes, "there is no training split: the vocabulary is of all splits\n");
    }
    lh_trainer *trainer = NULL;
    LH_TRY(lh_trainer_create(&trainer, &options, error));
    lh_status status = feed_trainer(work, trainer, only_training, error);
    if (status == LH_OK) {
        status = lh_trainer_build(trainer, NULL, NULL, &work->tokenizer, error);
    }
    lh_trainer_free(trainer);
    return status;
}

/* The copy in the folder, if an interrupted run left the right one. */
static bool reopen_tokenizer(preparation *work)
{
    char *path = work->found_state ? lh_path_join(work->folder, "tokenizer.json") : NULL;
    if (path && lh_tokenizer_open(&work->tokenizer, path, NULL) == LH_OK &&
        lh_tokenizer_fingerprint(work->tokenizer) != work->state.fingerprint) {
        lh_tokenizer_free(work->tokenizer);
        work->tokenizer = NULL;
    }
    lh_heap_free(path);
    return work->tokenizer != NULL;
}

static lh_status save_tokenizer(preparation *work, lh_error *error)
{
    lh_tokenizer_kind kind = lh_tokenizer_get_kind(work->tokenizer);
    if (kind == LH_TOKENIZER_BYTES) {
        return LH_OK;
    }
    if (kind != LH_TOKENIZER_SUBWORDS) {
        (void)snprintf(work->tokenizer_file, sizeof work->tokenizer_file, "tokenizer.json");
        return lh_tokenizer_save(work->tokenizer, work->folder, error);
    }
    (void)snprintf(work->tokenizer_file, sizeof work->tokenizer_file, "tokenizer.subwords");
    char *path = lh_path_join(work->folder, work->tokenizer_file);
    lh_status status = path ? lh_tokenizer_save(work->tokenizer, path, error)
                            : lh_fail(error, LH_E_MEMORY, "no memory to save the tokenizer");
    lh_heap_free(path);
    return status;
}

static lh_status train_or_reopen(preparation *work, lh_error *error)
{
    const char *choice = tokenizer_choice(work);
    if (work->input->drop_line_feeds && strcmp(choice, "words") == 0) {
        return lh_fail(error, LH_E_CONFIG, "words need the line feeds that are to be dropped");
    }
    return reopen_tokenizer(work) ? LH_OK : train_tokenizer(work, choice, error);
}

/* ---- shards ---- */

static lh_status open_shard(preparation *work, int split, const lh_shard_progress *resume, lh_error *error)
{
    char name[LH_SHARD_NAME_SIZE];
    char *path = lh_path_join(work->folder, lh_dataset_shard_name(name, split, work->state.shards[split]));
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to write %s", name);
    }
    lh_status status = lh_shard_writer_open(&work->writer, path, (uint64_t)lh_tokenizer_vocab_size(work->tokenizer),
                                            lh_tokenizer_fingerprint(work->tokenizer), resume, error);
    lh_heap_free(path);
    work->writing = status == LH_OK;
    work->state.open_split = status == LH_OK ? split : -1;
    return status;
}

/* Completes the open shard; `end` is the place behind its last document. */
static lh_status finish_shard(preparation *work, const lh_input_position *end, lh_error *error)
{
    if (!work->writing) {
        return LH_OK;
    }
    work->writing = false;
    LH_TRY(lh_shard_writer_finish(&work->writer, error));
    work->state.shards[work->state.open_split]++;
    work->state.open_split = -1;
    work->state.position = work->state.shard_start = *end;
    work->state.open = (lh_shard_progress){0};
    return lh_prepare_state_save(work->folder, &work->state, error);
}

static lh_status checkpoint(preparation *work, const lh_input_position *position, lh_error *error)
{
    work->since_checkpoint = 0;
    if (!work->input->restartable) {
        return LH_OK;
    }
    if (work->writing) {
        LH_TRY(lh_shard_writer_sync(&work->writer, &work->state.open, error));
    }
    work->state.position = *position;
    return lh_prepare_state_save(work->folder, &work->state, error);
}

/* Before a document that begins at `start`: the right shard is open. */
static lh_status begin_document(preparation *work, int split, const lh_input_position *start, lh_error *error)
{
    if (work->writing && work->state.open_split != split) {
        LH_TRY(finish_shard(work, start, error));
    }
    if (!work->writing) {
        work->state.shard_start = *start;
        LH_TRY(open_shard(work, split, NULL, error));
    }
    return LH_OK;
}

static lh_status end_document(preparation *work, const lh_batch_document *document, lh_error *error)
{
    const lh_text_totals *totals = &document->counter.totals;
    LH_TRY(lh_shard_writer_end_document(&work->writer, document->name, document->label, totals, error));
    work->state.invalid_documents += totals->invalid > 0;
    work->since_checkpoint += totals->bytes;
    work->report->text_bytes += totals->bytes;
    if (work->writer.done.tokens * work->writer.width >= shard_bytes(work)) {
        return finish_shard(work, &document->end, error);
    }
    return LH_OK;
}

/* ---- documents ---- */

/* Encodes and writes what has gathered; `start` is the place before the first document of the batch. */
static lh_status flush_batch(preparation *work, lh_input_position *start, lh_error *error)
{
    LH_TRY(lh_encode_run(&work->encode, &work->batch, error));
    for (size_t i = 0; i < work->batch.count; i++) {
        const lh_batch_document *document = &work->batch.documents[i];
        LH_TRY(begin_document(work, document->split, start, error));
        if (work->encode.encoders) {
            LH_TRY(lh_shard_writer_ids(&work->writer, document->ids.data, document->ids.size, error));
        } else {
            const char *text = work->batch.text.data ? work->batch.text.data + document->text_at : "";
            LH_TRY(lh_shard_writer_bytes(&work->writer, text, document->text_size, error));
        }
        LH_TRY(end_document(work, document, error));
        *start = document->end;
    }
    lh_encode_clear(&work->batch);
    return LH_OK;
}

/* A document that is too long to be held: `document` is its place in an otherwise empty batch, whose text is its
 * beginning. */
static lh_status stream_document(preparation *work, lh_batch_document *document, lh_input_position *start,
                                 lh_error *error)
{
    LH_TRY(begin_document(work, document->split, start, error));
    const char *text = work->batch.text.data;
    size_t size = document->text_size;
    lh_status status = LH_OK;
    bool last = false;
    char *buffer = lh_heap_alloc(PIECE);
    if (!buffer) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to read %s", document->name);
    }
    while (status == LH_OK) {
        status = lh_encode_piece(&work->encode, document, text, size, last, error);
        if (status == LH_OK && work->encode.encoders) {
            status = lh_shard_writer_ids(&work->writer, document->ids.data, document->ids.size, error);
        } else if (status == LH_OK) {
            status = lh_shard_writer_bytes(&work->writer, text, size, error);
        }
        if (status != LH_OK || last) {
            break;
        }
        status = lh_cursor_read(work->cursor, buffer, PIECE, &size, error);
        text = buffer;
        last = size < PIECE;
        if (status == LH_OK && !watch(work, "prepare", lh_cursor_consumed(work->cursor))) {
            status = fail_stopped(error);
        }
    }
    lh_heap_free(buffer);
    LH_TRY(status);
    document->end = lh_cursor_position(work->cursor);
    LH_TRY(end_document(work, document, error));
    *start = document->end;
    lh_encode_clear(&work->batch);
    return LH_OK;
}

/* Reads a document's text into the batch, at most LONG_DOCUMENT of it; *whole tells whether that was all. */
static lh_status gather(preparation *work, lh_batch_document *document, bool *whole, lh_error *error)
{
    lh_string *text = &work->batch.text;
    *whole = false;
    while (!*whole && document->text_size < LONG_DOCUMENT) {
        char buffer[16384];
        size_t got;
        LH_TRY(lh_cursor_read(work->cursor, buffer, sizeof buffer, &got, error));
        lh_string_append(text, buffer, got);
        if (text->failed) {
            return lh_fail(error, LH_E_MEMORY, "no memory to read %s", document->name);
        }
        document->text_size += got;
        *whole = got < sizeof buffer;
    }
    document->end = lh_cursor_position(work->cursor);
    return LH_OK;
}

/* The beginning of a long document, moved to the front of the emptied batch. */
static lh_status isolate(preparation *work, lh_input_position *start, lh_batch_document **document, lh_error *error)
{
    lh_encode_batch *batch = &work->batch;
    lh_batch_document lone = batch->documents[batch->count - 1];
    batch->documents[batch->count - 1].name = batch->documents[batch->count - 1].label = NULL;
    batch->count--;
    lh_string beginning = {0};
    lh_string_append(&beginning, batch->text.data + lone.text_at, lone.text_size);
    lh_status status = beginning.failed ? lh_fail(error, LH_E_MEMORY, "no memory to read %s", lone.name)
                                        : flush_batch(work, start, error);
    if (status == LH_OK && work->since_checkpoint > 0) {
        status = checkpoint(work, start, error); /* a long document may take long */
    }
    if (status == LH_OK) {
        lh_input_document again = {.name = lone.name, .label = lone.label, .split = lone.split};
        lh_string_append(&batch->text, beginning.data, beginning.size);
        status = lh_encode_add(batch, &again, document, error);
    }
    if (status == LH_OK) {
        (*document)->text_at = 0;
        (*document)->text_size = lone.text_size;
    }
    lh_string_free(&beginning);
    lh_heap_free(lone.name);
    lh_heap_free(lone.label);
    return status;
}

static uint64_t checkpoint_bytes(const preparation *work)
{
    return work->options->checkpoint_bytes ? work->options->checkpoint_bytes : DEFAULT_CHECKPOINT_BYTES;
}

/* After a batch: report, and leave a checkpoint from time to time, or because the caller wants to stop. */
static lh_status settle(preparation *work, const lh_input_position *position, lh_error *error)
{
    bool go_on = watch(work, "prepare", lh_cursor_consumed(work->cursor));
    if (!go_on || work->since_checkpoint >= checkpoint_bytes(work)) {
        LH_TRY(checkpoint(work, position, error));
    }
    return go_on ? LH_OK : fail_stopped(error);
}

static lh_status write_documents(preparation *work, lh_error *error)
{
    lh_input_position start = work->state.position;
    /* Small steps between checkpoints mean small batches: nothing is written behind a checkpoint's back. */
    size_t limit = checkpoint_bytes(work) < BATCH_BYTES ? (size_t)checkpoint_bytes(work) : BATCH_BYTES;
    for (;;) {
        lh_input_document next;
        lh_batch_document *document;
        bool end, whole;
        LH_TRY(lh_cursor_next(work->cursor, &next, &end, error));
        if (end) {
            break;
        }
        LH_TRY(lh_encode_add(&work->batch, &next, &document, error));
        LH_TRY(gather(work, document, &whole, error));
        if (!whole) {
            LH_TRY(isolate(work, &start, &document, error));
            LH_TRY(stream_document(work, document, &start, error));
        } else if (work->batch.text.size >= limit) {
            LH_TRY(flush_batch(work, &start, error));
        } else {
            continue;
        }
        LH_TRY(settle(work, &start, error));
    }
    LH_TRY(flush_batch(work, &start, error));
    lh_input_position end_position = lh_cursor_position(work->cursor);
    return finish_shard(work, &end_position, error);
}

/* ---- the whole ---- */

/* Takes up an interrupted run. If its open shard is gone or short, that shard is begun again. */
static lh_status resume(preparation *work, lh_error *error)
{
    lh_prepare_state *state = &work->state;
    work->report->resumed = work->found_state;
    if (state->open_split >= 0 && open_shard(work, state->open_split, &state->open, NULL) != LH_OK) {
        state->open_split = -1;
        state->open = (lh_shard_progress){0};
        state->position = state->shard_start;
    }
    return lh_cursor_open(&work->cursor, work->input, &state->position, error);
}

static lh_status write_dataset(preparation *work, lh_error *error)
{
    const lh_input *input = work->input;
    lh_prepare_state *state = &work->state;
    lh_input_position position = lh_cursor_position(work->cursor);
    if (state->shards[0] + state->shards[1] + state->shards[2] == 0) {
        return lh_fail(error, LH_E_FORMAT, "%s holds no text", work->source);
    }
    lh_dataset_facts facts = {
        .vocab_size = (uint64_t)lh_tokenizer_vocab_size(work->tokenizer),
        .fingerprint = lh_tokenizer_fingerprint(work->tokenizer),
        .line_feeds_dropped = input->drop_line_feeds,
        .documents_ended = work->options->end_documents,
        .empty_documents = position.empty,
        .identity = work->identity,
    };
    (void)snprintf(facts.layout, sizeof facts.layout, "%s", input->layout);
    (void)snprintf(facts.tokenizer_kind, sizeof facts.tokenizer_kind, "%s",
                   lh_tokenizer_kind_name(lh_tokenizer_get_kind(work->tokenizer)));
    (void)snprintf(facts.tokenizer_file, sizeof facts.tokenizer_file, "%s", work->tokenizer_file);
    const char *shares = work->options->input.split ? work->options->input.split : "90/5/5";
    if (input->rule == LH_SPLIT_BY_LAYOUT) {
        (void)snprintf(facts.rule, sizeof facts.rule, "%s",
                       work->options->input.split ? "one" : "as in the source");
    } else {
        (void)snprintf(facts.rule, sizeof facts.rule, "%.40s by %s", shares,
                       input->rule == LH_SPLIT_BY_BYTES ? "bytes" : "documents");
    }
    if (position.empty > 0) {
        lh_string_print(&work->report->notes, "%llu empty documents were left out\n",
                        (unsigned long long)position.empty);
    }
    if (state->invalid_documents > 0) {
        lh_string_print(&work->report->notes, "%llu documents hold bytes that are not UTF-8\n",
                        (unsigned long long)state->invalid_documents);
    }
    LH_TRY(lh_dataset_write(work->folder, work->source, &facts, state->shards, error));
    return lh_prepare_clean(work->folder, false, error);
}

/* What lies in the folder already: the same data set, another one, or a beginning. */
static lh_status look_at_folder(preparation *work, lh_error *error)
{
    uint64_t old = 0;
    char *file = lh_path_join(work->folder, LH_DATASET_FILE);
    bool there = file && lh_file_exists(file);
    lh_heap_free(file);
    if (there) {
        bool same = lh_dataset_identity(work->folder, &old, NULL) == LH_OK && old == work->identity;
        if (same && work->input->restartable && !work->options->force) {
            work->report->already = true;
            return lh_prepare_clean(work->folder, false, error);
        }
        if (!work->options->force) {
            return lh_fail(error, LH_E_CONFIG,
                           "%s holds a data set of other input or options: name another folder, or replace it with"
                           " --force",
                           work->folder);
        }
    }
    uint64_t identity = mix_options(work, lh_input_identity(work->input, true));
    LH_TRY(lh_prepare_state_load(work->folder, identity, &work->state, &work->found_state, error));
    work->found_state = work->found_state && work->input->restartable && !there;
    if (!work->found_state) {
        LH_TRY(lh_prepare_clean(work->folder, true, error));
        memset(&work->state, 0, sizeof work->state);
        work->state.identity = identity;
        work->state.open_split = -1;
    }
    return LH_OK;
}

static lh_status run(preparation *work, lh_error *error)
{
    LH_TRY(lh_input_open(&work->input, work->source, &work->options->input, watch_measure, work, error));
    lh_string_append(&work->report->notes, work->input->notes.data ? work->input->notes.data : "",
                     work->input->notes.size);
    work->input_bytes = lh_input_bytes(work->input);
    if (!is_trained(tokenizer_choice(work))) {
        LH_TRY(lh_tokenizer_open(&work->tokenizer, tokenizer_choice(work), error));
    }
    work->identity = mix_options(work, lh_input_identity(work->input, false));
    LH_TRY(look_at_folder(work, error));
    if (work->report->already) {
        return LH_OK;
    }
    if (!work->tokenizer) {
        LH_TRY(train_or_reopen(work, error));
    }
    LH_TRY(save_tokenizer(work, error));
    work->state.fingerprint = lh_tokenizer_fingerprint(work->tokenizer);
    LH_TRY(lh_encode_open(&work->encode, work->tokenizer, work->options->end_documents, work->options->threads,
                          error));
    LH_TRY(resume(work, error));
    LH_TRY(write_documents(work, error));
    return write_dataset(work, error);
}

lh_status lh_prepare(const char *source, const char *folder, const lh_prepare_options *options,
                     lh_prepare_report *report, lh_error *error)
{
    *report = (lh_prepare_report){0};
    int lock = -1;
    LH_TRY(lh_prepare_lock(folder, &lock, error));
    preparation work = {.source = source, .folder = folder, .options = options, .report = report};
    lh_status status = run(&work, error);
    if (status == LH_OK && report->notes.failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory for the notes on %s", source);
    }
    lh_shard_writer_close(&work.writer);
    lh_encode_close(&work.encode);
    lh_encode_free(&work.batch);
    lh_cursor_free(work.cursor);
    lh_tokenizer_free(work.tokenizer);
    lh_input_free(work.input);
    (void)close(lock);
    return status;
}
