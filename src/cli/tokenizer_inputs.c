/* The text files that a verb about tokenizers is given. */
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/tokenizer.h"
#include "data/input.h"
#include "data/reader.h"

#include <string.h>
#include <sys/stat.h>

#define BLOCK ((size_t)256 * 1024)

const char *const lh_role_names[LH_TOKEN_ROLES] = {"eos", "bos", "pad", "unknown"};

/* Takes the path over, also when it fails. */
static lh_status add_path(lh_inputs *inputs, char *path, lh_error *error)
{
    char **paths = path ? lh_heap_realloc(inputs->paths, (inputs->count + 1) * sizeof *paths) : NULL;
    if (!paths) {
        lh_heap_free(path);
        return lh_fail(error, LH_E_MEMORY, "no memory for the list of files");
    }
    struct stat about;
    if (stat(path, &about) == 0 && S_ISREG(about.st_mode)) {
        inputs->bytes += (uint64_t)about.st_size;
    }
    inputs->paths = paths;
    inputs->paths[inputs->count++] = path;
    return LH_OK;
}

static lh_status add_directory(lh_inputs *inputs, const char *directory, lh_error *error)
{
    char **names;
    size_t count, before = inputs->count;
    LH_TRY(lh_directory_list(directory, &names, &count, error));
    lh_status status = LH_OK;
    for (size_t i = 0; i < count && status == LH_OK; i++) {
        char *path = lh_path_join(directory, names[i]);
        if (names[i][0] == '.' || (path && lh_directory_exists(path))) {
            lh_heap_free(path);
        } else {
            status = add_path(inputs, path, error);
        }
    }
    lh_name_list_free(names);
    LH_TRY(status);
    return inputs->count > before ? LH_OK : lh_fail(error, LH_E_IO, "the directory %s holds no files", directory);
}

lh_status lh_inputs_open(lh_inputs *inputs, const lh_command *command, int first, lh_error *error)
{
    *inputs = (lh_inputs){0};
    lh_status status = LH_OK;
    if (lh_command_operand_count(command) <= first) {
        status = add_path(inputs, lh_heap_strdup("-"), error);
    }
    for (int i = first; i < lh_command_operand_count(command) && status == LH_OK; i++) {
        const char *path = lh_command_operand(command, i);
        status = lh_directory_exists(path) ? add_directory(inputs, path, error)
                                           : add_path(inputs, lh_heap_strdup(path), error);
    }
    if (status != LH_OK) {
        lh_inputs_free(inputs);
    }
    return status;
}

void lh_inputs_free(lh_inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++) {
        lh_heap_free(inputs->paths[i]);
    }
    lh_heap_free(inputs->paths);
    *inputs = (lh_inputs){0};
}

/* A progress line that short work does without. */
typedef struct lh_late_progress {
    lh_progress line;
    const char *label;
    uint64_t total;
    double started;
    bool shown;
} lh_late_progress;

static void update(lh_late_progress *progress, uint64_t done)
{
    if (!progress->shown && lh_now() > progress->started + 0.5) {
        lh_progress_start(&progress->line, progress->label, "B", progress->total);
        progress->line.started = progress->started;
        progress->shown = true;
    }
    if (progress->shown) {
        lh_progress_update(&progress->line, done, NULL);
    }
}

static lh_status read_file(lh_reader *reader, unsigned char *block, uint64_t before, lh_late_progress *progress,
                           const lh_input_sink *sink, lh_error *error)
{
    for (;;) {
        size_t got;
        LH_TRY(lh_reader_read(reader, block, BLOCK, &got, error));
        if (sink->piece && got > 0) {
            LH_TRY(sink->piece(sink->data, block, got, error));
        }
        update(progress, before + lh_reader_consumed(reader));
        if (lh_signals_pending()) {
            return lh_fail(error, LH_E_INTERRUPTED, "interrupted");
        }
        if (got < BLOCK) {
            return sink->end ? sink->end(sink->data, error) : LH_OK;
        }
    }
}

lh_status lh_inputs_read(const lh_inputs *inputs, const char *label, const lh_input_sink *sink, lh_error *error)
{
    unsigned char *block = lh_heap_alloc(BLOCK);
    if (!block) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read text");
    }
    lh_signals_install();
    lh_late_progress progress = {.label = label, .total = inputs->bytes, .started = lh_now()};
    uint64_t before = 0;
    lh_status status = LH_OK;
    for (size_t i = 0; i < inputs->count && status == LH_OK; i++) {
        lh_reader *reader;
        status = lh_reader_open(&reader, inputs->paths[i], error);
        if (status == LH_OK) {
            status = read_file(reader, block, before, &progress, sink, error);
            before += lh_reader_consumed(reader);
            lh_reader_free(reader);
        }
    }
    if (progress.shown) {
        lh_progress_finish(&progress.line, NULL);
    }
    lh_heap_free(block);
    return status;
}

/* ---- training text ---- */

static lh_status open_corpus(lh_input **input, const char *path, const char *field, lh_error *error)
{
    lh_input_options options = {.layout = "auto", .field = field, .split = "train", .skip_empty = true};
    lh_error first = {0};
    lh_status status = lh_input_open(input, path, &options, NULL, NULL, &first);
    if (status == LH_E_CONFIG) {
        /* A data set with splits of its own refuses another. */
        options.split = NULL;
        return lh_input_open(input, path, &options, NULL, NULL, error);
    }
    return status == LH_OK ? LH_OK : lh_fail(error, status, "%s", first.message);
}

typedef struct lh_corpus_reading {
    unsigned char *block;
    lh_progress progress;
    uint64_t before; /* bytes of the operands that are done */
    const lh_input_sink *sink;
} lh_corpus_reading;

static lh_status read_document(lh_corpus_reading *reading, lh_cursor *cursor, lh_error *error)
{
    size_t got;
    do {
        LH_TRY(lh_cursor_read(cursor, reading->block, BLOCK, &got, error));
        LH_TRY(reading->sink->piece(reading->sink->data, reading->block, got, error));
        lh_progress_update(&reading->progress, reading->before + lh_cursor_consumed(cursor), NULL);
        if (lh_signals_pending()) {
            return lh_fail(error, LH_E_INTERRUPTED, "interrupted");
        }
    } while (got == BLOCK);
    return reading->sink->end(reading->sink->data, error);
}

static lh_status read_corpus(lh_corpus_reading *reading, const lh_input *input, lh_error *error)
{
    lh_cursor *cursor;
    LH_TRY(lh_cursor_open(&cursor, input, NULL, error));
    lh_status status;
    for (;;) {
        lh_input_document document;
        bool end = false;
        status = lh_cursor_next(cursor, &document, &end, error);
        if (status != LH_OK || end || document.split != LH_SPLIT_TRAIN) {
            break; /* the training split comes first */
        }
        status = read_document(reading, cursor, error);
        if (status != LH_OK) {
            break;
        }
    }
    reading->before += lh_cursor_consumed(cursor);
    lh_cursor_free(cursor);
    return status;
}

lh_status lh_corpora_read(const lh_command *command, const char *field, const lh_input_sink *sink, lh_error *error)
{
    lh_corpus_reading reading = {.block = lh_heap_alloc(BLOCK), .sink = sink};
    if (!reading.block) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read text");
    }
    lh_signals_install();
    lh_progress_start(&reading.progress, "read", "B", 0);
    lh_status status = LH_OK;
    for (int i = 0; i < lh_command_operand_count(command) && status == LH_OK; i++) {
        lh_input *input;
        status = open_corpus(&input, lh_command_operand(command, i), field, error);
        if (status == LH_OK) {
            reading.progress.total = reading.before + lh_input_bytes(input);
            status = read_corpus(&reading, input, error);
            lh_input_free(input);
        }
    }
    lh_progress_finish(&reading.progress, NULL);
    lh_heap_free(reading.block);
    return status;
}
