/* The text files that a verb about tokenizers is given. */
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/tokenizer.h"
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

static lh_status read_file(lh_reader *reader, unsigned char *block, uint64_t before, lh_progress *progress,
                           const lh_input_sink *sink, lh_error *error)
{
    for (;;) {
        size_t got;
        LH_TRY(lh_reader_read(reader, block, BLOCK, &got, error));
        if (sink->piece && got > 0) {
            LH_TRY(sink->piece(sink->data, block, got, error));
        }
        lh_progress_update(progress, before + lh_reader_consumed(reader), NULL);
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
    lh_progress progress;
    lh_progress_start(&progress, label, "B", inputs->bytes);
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
    lh_progress_finish(&progress, NULL);
    lh_heap_free(block);
    return status;
}
