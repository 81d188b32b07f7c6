#include "data/shard.h"

#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static lh_status fail_write(const lh_shard_writer *writer, const char *suffix, lh_error *error)
{
    return lh_fail_errno(error, "cannot write %s%s", writer->path, suffix);
}

/* Opens PATH+suffix with exactly `size` bytes of what is there, for appending. */
static lh_status open_part(FILE **stream, const char *path, const char *suffix, uint64_t size, lh_error *error)
{
    lh_string name = {0};
    lh_string_print(&name, "%s%s", path, suffix);
    if (name.failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory to write %s", path);
    }
    lh_status status = LH_OK;
    int fd = open(name.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct stat about;
    if (fd < 0) {
        status = lh_fail_errno(error, "cannot create %s", name.data);
    } else if (fstat(fd, &about) != 0) {
        status = lh_fail_errno(error, "cannot examine %s", name.data);
    } else if ((uint64_t)about.st_size < size) {
        status = lh_fail(error, LH_E_IO, "cannot go on with %s: it has %llu bytes, %llu were written before",
                         name.data, (unsigned long long)about.st_size, (unsigned long long)size);
    } else if (ftruncate(fd, (off_t)size) != 0 || lseek(fd, (off_t)size, SEEK_SET) < 0) {
        status = lh_fail_errno(error, "cannot write %s", name.data);
    } else {
        *stream = fdopen(fd, "r+b");
        if (!*stream) {
            status = lh_fail_errno(error, "cannot write %s", name.data);
        }
    }
    if (fd >= 0 && !*stream) {
        (void)close(fd);
    }
    lh_string_free(&name);
    return status;
}

static lh_status open_parts(lh_shard_writer *writer, const lh_shard_progress *resume, lh_error *error)
{
    static const unsigned char zeros[sizeof(lh_shard_header)];
    uint64_t tokens = resume ? sizeof(lh_shard_header) + resume->tokens * writer->width : 0;
    LH_TRY(open_part(&writer->part, writer->path, ".part", tokens, error));
    LH_TRY(open_part(&writer->docs, writer->path, ".docs",
                     resume ? resume->documents * sizeof(lh_shard_document) : 0, error));
    LH_TRY(open_part(&writer->names, writer->path, ".names", resume ? resume->name_bytes : 0, error));
    if (resume) {
        writer->done = *resume;
        writer->document_start = resume->tokens;
    } else if (fwrite(zeros, 1, sizeof zeros, writer->part) != sizeof zeros) {
        return fail_write(writer, ".part", error);
    }
    return LH_OK;
}

lh_status lh_shard_writer_open(lh_shard_writer *writer, const char *path, uint64_t vocab_size, uint64_t fingerprint,
                               const lh_shard_progress *resume, lh_error *error)
{
    *writer = (lh_shard_writer){
        .width = lh_shard_width(vocab_size), .vocab_size = vocab_size, .fingerprint = fingerprint};
    writer->path = lh_heap_strdup(path);
    lh_status status = writer->path ? open_parts(writer, resume, error)
                                    : lh_fail(error, LH_E_MEMORY, "no memory to write %s", path);
    if (status != LH_OK) {
        lh_shard_writer_close(writer);
    }
    return status;
}

lh_status lh_shard_writer_bytes(lh_shard_writer *writer, const void *tokens, size_t count, lh_error *error)
{
    size_t bytes;
    if (lh_size_multiply(count, writer->width, &bytes)) {
        return lh_fail(error, LH_E_INTERNAL, "%zu tokens of %u bytes are too many at once", count, writer->width);
    }
    if (bytes > 0 && fwrite(tokens, 1, bytes, writer->part) != bytes) {
        return fail_write(writer, ".part", error);
    }
    writer->done.token_checksum = lzma_crc64(tokens, bytes, writer->done.token_checksum);
    writer->done.tokens += count;
    return LH_OK;
}

lh_status lh_shard_writer_ids(lh_shard_writer *writer, const int32_t *ids, size_t count, lh_error *error)
{
    union {
        uint8_t narrow[2048];
        uint16_t middle[2048];
    } buffer;
    while (count > 0) {
        size_t part = count < 2048 ? count : 2048;
        for (size_t i = 0; i < part; i++) {
            if (ids[i] < 0 || (uint64_t)ids[i] >= writer->vocab_size) {
                return lh_fail(error, LH_E_INTERNAL, "the tokenizer gave the id %d, its vocabulary has %llu",
                               ids[i], (unsigned long long)writer->vocab_size);
            }
        }
        for (size_t i = 0; i < part && writer->width == 1; i++) {
            buffer.narrow[i] = (uint8_t)ids[i];
        }
        for (size_t i = 0; i < part && writer->width == 2; i++) {
            buffer.middle[i] = (uint16_t)ids[i];
        }
        LH_TRY(lh_shard_writer_bytes(writer, writer->width == 4 ? (const void *)ids : &buffer, part, error));
        ids += part;
        count -= part;
    }
    return LH_OK;
}

lh_status lh_shard_writer_answers(lh_shard_writer *writer, const int32_t *ids, const uint32_t *answers,
                                  size_t count, lh_error *error)
{
    size_t bytes;
    if (!writer->answers) {
        LH_TRY(open_part(&writer->answers, writer->path, ".answers", 0, error));
    }
    if (lh_size_multiply(count, sizeof *answers, &bytes)) {
        return lh_fail(error, LH_E_INTERNAL, "%zu answers are too many at once", count);
    }
    LH_TRY(lh_shard_writer_ids(writer, ids, count, error));
    if (bytes > 0 && fwrite(answers, 1, bytes, writer->answers) != bytes) {
        return fail_write(writer, ".answers", error);
    }
    writer->answer_checksum = lzma_crc64((const uint8_t *)answers, bytes, writer->answer_checksum);
    writer->answered += count;
    for (size_t i = 0; i < count; i++) {
        writer->answer_count += answers[i] != 0;
    }
    return LH_OK;
}

lh_status lh_shard_writer_end_document(lh_shard_writer *writer, const char *name, const char *label,
                                       const lh_text_totals *totals, lh_error *error)
{
    size_t name_size = strlen(name), label_size = strlen(label);
    if (name_size > UINT32_MAX || label_size > UINT32_MAX) {
        return lh_fail(error, LH_E_ARGUMENT, "the name of a document has %zu bytes: too many", name_size);
    }
    lh_shard_document record = {
        .start = writer->document_start,
        .tokens = writer->done.tokens - writer->document_start,
        .totals = *totals,
        .name_offset = writer->done.name_bytes,
        .name_size = (uint32_t)name_size,
        .label_size = (uint32_t)label_size,
    };
    if (fwrite(&record, sizeof record, 1, writer->docs) != 1) {
        return fail_write(writer, ".docs", error);
    }
    if (fwrite(name, 1, name_size, writer->names) != name_size ||
        fwrite(label, 1, label_size, writer->names) != label_size) {
        return fail_write(writer, ".names", error);
    }
    lh_shard_progress *done = &writer->done;
    done->document_checksum = lzma_crc64((const uint8_t *)&record, sizeof record, done->document_checksum);
    done->name_checksum = lzma_crc64((const uint8_t *)name, name_size, done->name_checksum);
    done->name_checksum = lzma_crc64((const uint8_t *)label, label_size, done->name_checksum);
    done->documents++;
    done->name_bytes += name_size + label_size;
    lh_text_totals_add(&done->totals, totals);
    writer->document_start = done->tokens;
    return LH_OK;
}

static lh_status sync_part(const lh_shard_writer *writer, FILE *stream, const char *suffix, lh_error *error)
{
    if (fflush(stream) != 0 || (fdatasync(fileno(stream)) != 0 && errno != EINVAL)) {
        return fail_write(writer, suffix, error);
    }
    return LH_OK;
}

lh_status lh_shard_writer_sync(lh_shard_writer *writer, lh_shard_progress *progress, lh_error *error)
{
    if (writer->document_start != writer->done.tokens || writer->answers) {
        return lh_fail(error, LH_E_INTERNAL, "%s was to be synced in the middle of a document, or with answers",
                       writer->path);
    }
    LH_TRY(sync_part(writer, writer->part, ".part", error));
    LH_TRY(sync_part(writer, writer->docs, ".docs", error));
    LH_TRY(sync_part(writer, writer->names, ".names", error));
    *progress = writer->done;
    return LH_OK;
}

/* Appends a whole side file to the shard. */
static lh_status append_side(lh_shard_writer *writer, FILE *side, const char *suffix, lh_error *error)
{
    unsigned char buffer[16384];
    size_t size;
    if (fflush(side) != 0 || fseeko(side, 0, SEEK_SET) != 0) {
        return fail_write(writer, suffix, error);
    }
    while ((size = fread(buffer, 1, sizeof buffer, side)) > 0) {
        if (fwrite(buffer, 1, size, writer->part) != size) {
            return fail_write(writer, ".part", error);
        }
    }
    return ferror(side) ? lh_fail_errno(error, "cannot read %s%s", writer->path, suffix) : LH_OK;
}

static lh_shard_header make_header(const lh_shard_writer *writer)
{
    const lh_shard_progress *done = &writer->done;
    lh_shard_header header = {
        .magic = "LHSHARD",
        .version = LH_SHARD_VERSION,
        .endian_mark = 0x01020304u,
        .token_width = writer->width,
        .token_count = done->tokens,
        .document_count = done->documents,
        .token_offset = sizeof header,
        .name_bytes = done->name_bytes,
        .totals = done->totals,
        .vocab_size = writer->vocab_size,
        .fingerprint = writer->fingerprint,
        .token_checksum = done->token_checksum,
        .document_checksum = done->document_checksum,
        .name_checksum = done->name_checksum,
    };
    header.magic[7] = '\n';
    header.document_offset = (header.token_offset + done->tokens * writer->width + 63) / 64 * 64;
    header.name_offset = header.document_offset + done->documents * sizeof(lh_shard_document);
    header.file_bytes = header.name_offset + header.name_bytes;
    if (writer->answers) {
        header.version = LH_SHARD_VERSION_ANSWERS;
        header.answer_offset = (header.file_bytes + 63) / 64 * 64;
        header.answer_count = writer->answer_count;
        header.answer_checksum = writer->answer_checksum;
        header.file_bytes = header.answer_offset + done->tokens * sizeof(uint32_t);
    }
    header.header_checksum = lzma_crc64((const uint8_t *)&header, offsetof(lh_shard_header, header_checksum), 0);
    return header;
}

/* Zeros up to the next part of the file. */
static lh_status fill_gap(lh_shard_writer *writer, uint64_t end, uint64_t next, lh_error *error)
{
    static const unsigned char zeros[64];
    size_t gap = (size_t)(next - end);
    return fwrite(zeros, 1, gap, writer->part) == gap ? LH_OK : fail_write(writer, ".part", error);
}

static lh_status complete_part(lh_shard_writer *writer, lh_error *error)
{
    lh_shard_header header = make_header(writer);
    uint64_t end = header.token_offset + header.token_count * header.token_width;
    if (writer->answers && writer->answered != writer->done.tokens) {
        return lh_fail(error, LH_E_INTERNAL, "%s has answers for %llu of %llu tokens", writer->path,
                       (unsigned long long)writer->answered, (unsigned long long)writer->done.tokens);
    }
    LH_TRY(fill_gap(writer, end, header.document_offset, error));
    LH_TRY(append_side(writer, writer->docs, ".docs", error));
    LH_TRY(append_side(writer, writer->names, ".names", error));
    if (writer->answers) {
        LH_TRY(fill_gap(writer, header.name_offset + header.name_bytes, header.answer_offset, error));
        LH_TRY(append_side(writer, writer->answers, ".answers", error));
    }
    if (fseeko(writer->part, 0, SEEK_SET) != 0 || fwrite(&header, sizeof header, 1, writer->part) != 1) {
        return fail_write(writer, ".part", error);
    }
    return sync_part(writer, writer->part, ".part", error);
}

static lh_status rename_part(const lh_shard_writer *writer, lh_error *error)
{
    static const char *const side[] = {".docs", ".names", ".answers"};
    lh_string name = {0};
    lh_string_print(&name, "%s.part", writer->path);
    lh_status status = LH_OK;
    if (name.failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to write %s", writer->path);
    } else if (rename(name.data, writer->path) != 0) {
        status = lh_fail_errno(error, "cannot rename %s", name.data);
    }
    for (int i = 0; status == LH_OK && i < (writer->answers ? 3 : 2); i++) {
        lh_string_clear(&name);
        lh_string_print(&name, "%s%s", writer->path, side[i]);
        if (!name.failed) {
            (void)unlink(name.data);
        }
    }
    lh_string_free(&name);
    return status;
}

lh_status lh_shard_writer_finish(lh_shard_writer *writer, lh_error *error)
{
    lh_status status = complete_part(writer, error);
    if (status == LH_OK) {
        status = rename_part(writer, error);
    }
    lh_shard_writer_close(writer);
    return status;
}

void lh_shard_writer_close(lh_shard_writer *writer)
{
    FILE *streams[] = {writer->part, writer->docs, writer->names, writer->answers};
    for (int i = 0; i < 4; i++) {
        if (streams[i]) {
            (void)fclose(streams[i]);
        }
    }
    lh_heap_free(writer->path);
    *writer = (lh_shard_writer){0};
}
