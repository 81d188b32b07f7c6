/* Any bytes as the dataset.json of a folder with three real shards, one of them with answers: refused with a
 * message, or all splits can be read. */
#include "data/dataset.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void remove_folder(void)
{
    static const char *const names[] = {"train-00000.lhs", "test-00000.lhs", "validation-00000.lhs",
                                        LH_DATASET_FILE};
    for (int i = 0; i < 4; i++) {
        char path[160];
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static void make_shard(const char *name, bool with_answers)
{
    static const int32_t ids[5] = {3, 1, 3, 7, 1};
    static const uint32_t answers[5] = {0, 0, 2, LH_ANSWER, 3};
    char path[160];
    lh_shard_writer writer;
    lh_text_totals totals = {.bytes = 5, .words = 1, .characters = 5};
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (lh_shard_writer_open(&writer, path, 256, 0, NULL, NULL) != LH_OK ||
        (with_answers ? lh_shard_writer_answers(&writer, ids, answers, 5, NULL)
                      : lh_shard_writer_bytes(&writer, "hello", 5, NULL)) != LH_OK ||
        lh_shard_writer_end_document(&writer, "d", "", &totals, NULL) != LH_OK ||
        lh_shard_writer_finish(&writer, NULL) != LH_OK) {
        abort();
    }
}

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "%s/longhand-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder)) {
        abort();
    }
    (void)atexit(remove_folder);
    make_shard("train-00000.lhs", false);
    make_shard("test-00000.lhs", false);
    make_shard("validation-00000.lhs", true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder[0]) {
        make_folder();
    }
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", folder, LH_DATASET_FILE);
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(data, 1, size, stream) != size || fclose(stream) != 0) {
        abort();
    }
    lh_dataset *dataset;
    lh_error error = {0};
    if (lh_dataset_open(&dataset, folder, &error) != LH_OK) {
        if (dataset || !error.message[0]) {
            abort();
        }
        return 0;
    }
    for (int i = 0; i < LH_SPLITS; i++) {
        int32_t ids[16];
        uint32_t answers[16];
        const lh_split *split = &dataset->splits[i];
        if (split->tokens > 10 || lh_split_copy(split, 0, split->tokens, ids, NULL) != LH_OK) {
            abort();
        }
        lh_split_copy_answers(split, 0, split->tokens, answers);
        if (split->answered != (split->answers > 0) || (split->answered && answers[3] != LH_ANSWER)) {
            abort();
        }
    }
    lh_dataset_free(dataset);
    return 0;
}
