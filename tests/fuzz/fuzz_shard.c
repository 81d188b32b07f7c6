/* Any bytes as a token shard: refused with a message, or every document and token can be read. The checksums are
 * set right first, unless the input is odd in length, so that the checks behind them are reached. */
#include "data/shard.h"

#include <lzma.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_checksums(unsigned char *bytes, size_t size)
{
    lh_shard_header *header = (lh_shard_header *)(void *)bytes;
    uint64_t documents = header->document_count, at = header->document_offset;
    if (at <= size && documents <= (size - at) / sizeof(lh_shard_document)) {
        header->document_checksum = lzma_crc64(bytes + at, documents * sizeof(lh_shard_document), 0);
    }
    if (header->name_offset <= size && header->name_bytes <= size - header->name_offset) {
        header->name_checksum = lzma_crc64(bytes + header->name_offset, header->name_bytes, 0);
    }
    uint64_t answers = header->answer_offset;
    if (answers <= size && header->token_count <= (size - answers) / sizeof(uint32_t)) {
        header->answer_checksum = lzma_crc64(bytes + answers, header->token_count * sizeof(uint32_t), 0);
    }
    header->header_checksum = lzma_crc64(bytes, offsetof(lh_shard_header, header_checksum), 0);
}

static unsigned read_all(const lh_shard *shard)
{
    unsigned sum = 0;
    const unsigned char *tokens = shard->tokens;
    for (uint64_t i = 0; i < shard->header.document_count; i++) {
        const lh_shard_document *document = &shard->documents[i];
        for (uint64_t j = 0; j < document->tokens * shard->header.token_width; j++) {
            sum += tokens[document->start * shard->header.token_width + j];
        }
        for (uint64_t j = 0; shard->answers && j < document->tokens; j++) {
            sum += shard->answers[document->start + j];
        }
        for (uint64_t j = 0; j < (uint64_t)document->name_size + document->label_size; j++) {
            sum += (unsigned char)shard->names[document->name_offset + j];
        }
    }
    return lh_shard_verify(shard, NULL) == LH_OK ? sum : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *bytes = aligned_alloc(64, (size + 64) / 64 * 64);
    memcpy(bytes, data, size);
    if (size >= sizeof(lh_shard_header) && size % 2 == 0) {
        set_checksums(bytes, size);
    }
    lh_shard shard;
    lh_error error = {0};
    if (lh_shard_read(&shard, bytes, size, "fuzz", &error) == LH_OK) {
        (void)read_all(&shard);
        lh_shard_close(&shard);
    } else if (!error.message[0]) {
        abort();
    }
    free(bytes);
    return 0;
}
