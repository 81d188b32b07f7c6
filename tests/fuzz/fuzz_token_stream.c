/* Any bytes as the saved position of a stream, with its checksum set right: refused, or the stream goes on without
 * harm. */
#include "data/stream.h"

#include <lzma.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_layout(lh_token_stream_layout layout, bool answers, const uint8_t *data, size_t size)
{
    static const int32_t tokens[40] = {1, 2, 3};
    static const uint32_t some[40] = {0, 1, 0, 2, [20] = LH_ANSWER};
    static const uint64_t lengths[4] = {7, 0, 1, 32};
    lh_split *split;
    lh_token_stream *stream;
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = layout;
    options.lanes = 2;
    options.segment = 8;
    options.epochs = 3;
    if (lh_split_create(&split, tokens, lengths, 4, 10, NULL) != LH_OK ||
        (answers && lh_split_set_answers(split, some, NULL) != LH_OK) ||
        lh_token_stream_create(&stream, split, &options, NULL) != LH_OK) {
        abort();
    }
    size_t needed = lh_token_stream_state_size(stream);
    unsigned char *blob = malloc(needed);
    lh_token_stream_save(stream, blob);
    /* The magic, version and identity are right; what follows is the input's; the checksum lies at byte 72. */
    memcpy(blob + 24, data, size < 48 ? size : 48);
    if (size > 48) {
        size_t rest = size - 48 < needed - 80 ? size - 48 : needed - 80;
        memcpy(blob + 80, data + 48, rest);
    }
    uint64_t checksum = lzma_crc64(blob + 80, needed - 80, lzma_crc64(blob, 72, 0));
    memcpy(blob + 72, &checksum, sizeof checksum);
    lh_error error = {0};
    if (lh_token_stream_restore(stream, blob, needed, &error) == LH_OK) {
        const lh_batch *batch;
        for (int i = 0; i < 30 && lh_token_stream_next(stream, 8, &batch, &error) == LH_OK && batch; i++) {
        }
    } else if (!error.message[0]) {
        abort();
    }
    free(blob);
    lh_token_stream_free(stream);
    lh_split_free(split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int answers = 0; answers < 2; answers++) {
        try_layout(LH_STREAM_LANES, answers, data, size);
        try_layout(LH_STREAM_DOCUMENTS, answers, data, size);
        try_layout(LH_STREAM_CROPS, answers, data, size);
    }
    return 0;
}
