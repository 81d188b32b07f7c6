#include "data/shard.h"

#include "base/memory.h"

#include <assert.h>
#include <lzma.h>
#include <stddef.h>
#include <string.h>

static_assert(sizeof(lh_shard_document) == 64, "the record is a file format");
static_assert(sizeof(lh_shard_header) == 256, "the header is a file format");

static const char shard_magic[8] = "LHSHARD\n";
#define ENDIAN_MARK 0x01020304u
#define ENDIAN_MARK_SWAPPED 0x04030201u

uint32_t lh_shard_width(uint64_t vocab_size)
{
    return vocab_size <= 256 ? 1 : vocab_size <= 65536 ? 2 : 4;
}

static lh_status check_identity(const lh_shard_header *header, const char *path, lh_error *error)
{
    if (memcmp(header->magic, shard_magic, sizeof shard_magic) != 0) {
        return lh_fail(error, LH_E_FORMAT, "%s is not a token shard: its first 8 bytes are not the magic", path);
    }
    if (header->endian_mark == ENDIAN_MARK_SWAPPED) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s was made for machines of the other byte order", path);
    }
    uint64_t checksum = lzma_crc64((const uint8_t *)header, offsetof(lh_shard_header, header_checksum), 0);
    if (checksum != header->header_checksum) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: the checksum of its header does not fit", path);
    }
    bool known = header->version == LH_SHARD_VERSION || header->version == LH_SHARD_VERSION_ANSWERS;
    if (!known || header->endian_mark != ENDIAN_MARK) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s has version %u of the shard format, this program reads versions %u and %u", path,
                       header->version, LH_SHARD_VERSION, LH_SHARD_VERSION_ANSWERS);
    }
    return LH_OK;
}

/* The answers lie behind the names, which end at `end`, and are the last part. */
static bool answers_fit(const lh_shard_header *header, uint64_t end, uint64_t file_bytes)
{
    uint64_t bytes = header->token_count * sizeof(uint32_t); /* the count is below the file's size */
    return file_bytes <= UINT64_MAX / 8 && header->answer_offset == (end + 63) / 64 * 64 &&
           header->answer_offset <= file_bytes && bytes == file_bytes - header->answer_offset &&
           header->answer_count <= header->token_count;
}

/* Every bound follows from the parts lying one after another in the file, without gaps but for the alignment. */
static lh_status check_layout(const lh_shard_header *header, uint64_t file_bytes, const char *path, lh_error *error)
{
    if (header->file_bytes != file_bytes) {
        return lh_fail(error, LH_E_FORMAT, "%s is %s: it has %llu bytes, its header says %llu", path,
                       file_bytes < header->file_bytes ? "truncated" : "damaged", (unsigned long long)file_bytes,
                       (unsigned long long)header->file_bytes);
    }
    uint64_t width = header->token_width;
    bool known = width == lh_shard_width(header->vocab_size) && header->vocab_size > 0 &&
                 header->vocab_size <= (uint64_t)1 << 31;
    if (!known) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: %llu-byte tokens do not fit a vocabulary of %llu", path,
                       (unsigned long long)width, (unsigned long long)header->vocab_size);
    }
    bool fits =
        header->token_offset == sizeof *header && header->token_count <= (file_bytes - sizeof *header) / width;
    if (fits) {
        uint64_t end = header->token_offset + header->token_count * width;
        fits = header->document_offset == (end + 63) / 64 * 64 && header->document_offset <= file_bytes &&
               header->document_count <= (file_bytes - header->document_offset) / sizeof(lh_shard_document);
    }
    if (fits) {
        uint64_t end = header->document_offset + header->document_count * sizeof(lh_shard_document);
        fits = header->name_offset == end && header->name_bytes <= file_bytes - end;
        end += fits ? header->name_bytes : 0;
        fits = fits &&
               (header->version == LH_SHARD_VERSION ? end == file_bytes : answers_fit(header, end, file_bytes));
    }
    if (!fits) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s is damaged: the counts and offsets in its header do not fit its size", path);
    }
    return LH_OK;
}

static lh_status check_documents(const lh_shard *shard, lh_error *error)
{
    const lh_shard_header *header = &shard->header;
    uint64_t checksum =
        lzma_crc64((const uint8_t *)shard->documents, header->document_count * sizeof(lh_shard_document), 0);
    if (checksum != header->document_checksum) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: the checksum of its document table does not fit",
                       shard->path);
    }
    if (lzma_crc64((const uint8_t *)shard->names, header->name_bytes, 0) != header->name_checksum) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: the checksum of its document names does not fit",
                       shard->path);
    }
    uint64_t token = 0, name = 0;
    for (uint64_t i = 0; i < header->document_count; i++) {
        const lh_shard_document *document = &shard->documents[i];
        uint64_t text = (uint64_t)document->name_size + document->label_size;
        if (document->start != token || document->tokens > header->token_count - token ||
            document->name_offset != name || text > header->name_bytes - name) {
            return lh_fail(error, LH_E_FORMAT, "%s is damaged: record %llu of its document table does not fit",
                           shard->path, (unsigned long long)i);
        }
        token += document->tokens;
        name += text;
    }
    if (token != header->token_count || name != header->name_bytes) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: its document table covers %llu of %llu tokens",
                       shard->path, (unsigned long long)token, (unsigned long long)header->token_count);
    }
    return LH_OK;
}

static lh_status check_shard(lh_shard *shard, const char *path, lh_error *error)
{
    if (shard->mapping.size < sizeof shard->header) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s is damaged: it is too short for a token shard, whose header alone has %zu bytes", path,
                       sizeof shard->header);
    }
    memcpy(&shard->header, shard->mapping.data, sizeof shard->header);
    LH_TRY(check_identity(&shard->header, path, error));
    LH_TRY(check_layout(&shard->header, shard->mapping.size, path, error));
    shard->tokens = shard->mapping.data + shard->header.token_offset;
    shard->documents = (const void *)(shard->mapping.data + shard->header.document_offset);
    shard->names = (const char *)shard->mapping.data + shard->header.name_offset;
    if (shard->header.version == LH_SHARD_VERSION_ANSWERS) {
        shard->answers = (const void *)(shard->mapping.data + shard->header.answer_offset);
    }
    return check_documents(shard, error);
}

static lh_status begin(lh_shard *shard, const char *name, lh_error *error)
{
    *shard = (lh_shard){.path = lh_heap_strdup(name)};
    return shard->path ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to open %s", name);
}

lh_status lh_shard_open(lh_shard *shard, const char *path, lh_error *error)
{
    LH_TRY(begin(shard, path, error));
    lh_status status = lh_mapping_open(&shard->mapping, path, error);
    if (status == LH_OK) {
        status = check_shard(shard, path, error);
    }
    if (status != LH_OK) {
        lh_shard_close(shard);
    }
    return status;
}

lh_status lh_shard_read(lh_shard *shard, const void *bytes, size_t size, const char *name, lh_error *error)
{
    LH_TRY(begin(shard, name, error));
    shard->mapping = (lh_mapping){.data = bytes, .size = size};
    shard->borrowed = true;
    lh_status status = check_shard(shard, name, error);
    if (status != LH_OK) {
        lh_shard_close(shard);
    }
    return status;
}

void lh_shard_close(lh_shard *shard)
{
    if (!shard->borrowed) {
        lh_mapping_close(&shard->mapping);
    }
    lh_heap_free(shard->path);
    *shard = (lh_shard){0};
}

static uint32_t greatest_token(const lh_shard *shard)
{
    const uint8_t *narrow = shard->tokens;
    const uint16_t *middle = shard->tokens;
    const uint32_t *wide = shard->tokens;
    uint32_t greatest = 0;
    for (uint64_t i = 0; i < shard->header.token_count; i++) {
        uint32_t token = shard->header.token_width == 1   ? narrow[i]
                         : shard->header.token_width == 2 ? middle[i]
                                                          : wide[i];
        greatest = token > greatest ? token : greatest;
    }
    return greatest;
}

static lh_status verify_answers(const lh_shard *shard, lh_error *error)
{
    const lh_shard_header *header = &shard->header;
    uint64_t bytes = header->token_count * sizeof *shard->answers, answers = 0;
    if (lzma_crc64((const uint8_t *)shard->answers, bytes, 0) != header->answer_checksum) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: the checksum of its answers does not fit", shard->path);
    }
    for (uint64_t i = 0; i < header->document_count; i++) {
        const lh_shard_document *document = &shard->documents[i];
        for (uint64_t place = 0; place < document->tokens; place++) {
            uint32_t answer = shard->answers[document->start + place];
            answers += answer != 0;
            if (answer != LH_ANSWER && answer > place) {
                return lh_fail(error, LH_E_FORMAT,
                               "%s is damaged: token %llu of document %llu repeats what would stand before it",
                               shard->path, (unsigned long long)place, (unsigned long long)i);
            }
        }
    }
    if (answers != header->answer_count) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: it has %llu answers, its header says %llu", shard->path,
                       (unsigned long long)answers, (unsigned long long)header->answer_count);
    }
    return LH_OK;
}

lh_status lh_shard_verify(const lh_shard *shard, lh_error *error)
{
    const lh_shard_header *header = &shard->header;
    if (lzma_crc64(shard->tokens, header->token_count * header->token_width, 0) != header->token_checksum) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: the checksum of its tokens does not fit", shard->path);
    }
    if (header->token_count > 0 && greatest_token(shard) >= header->vocab_size) {
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: it holds the token %u, its vocabulary has %llu",
                       shard->path, greatest_token(shard), (unsigned long long)header->vocab_size);
    }
    return shard->answers ? verify_answers(shard, error) : LH_OK;
}
