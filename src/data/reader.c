#include "data/reader.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

typedef enum reader_format { FORMAT_PLAIN, FORMAT_GZIP, FORMAT_ZSTD, FORMAT_XZ } reader_format;

#define READER_BUFFER ((size_t)256 * 1024)
#define XZ_MEMORY_LIMIT ((uint64_t)512 << 20)

struct lh_reader {
    char *name; /* as messages show it */
    int fd;
    bool owned; /* fd is ours to close */
    reader_format format;
    unsigned char *input; /* [READER_BUFFER] bytes of the file, input_at..input_size not yet used */
    size_t input_at, input_size;
    uint64_t consumed, produced;
    bool input_ended, ended;
    bool inside_frame; /* gzip, zstd: a member or frame has begun and has not ended */
    z_stream gzip;
    ZSTD_DStream *zstd;
    lzma_stream xz;
};

/* Reads more of the file if all that was read is used. */
static lh_status fill(lh_reader *reader, lh_error *error)
{
    while (!reader->input_ended && reader->input_at == reader->input_size) {
        ssize_t count = read(reader->fd, reader->input, READER_BUFFER);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return lh_fail_errno(error, "cannot read %s at byte %llu", reader->name,
                                 (unsigned long long)reader->consumed);
        }
        reader->input_ended = count == 0;
        reader->input_at = 0;
        reader->input_size = (size_t)count;
        reader->consumed += (uint64_t)count;
    }
    return LH_OK;
}

/* The first bytes, enough to tell the formats apart: a pipe may give them in small pieces. */
static lh_status fill_beginning(lh_reader *reader, lh_error *error)
{
    while (!reader->input_ended && reader->input_size < 6) {
        ssize_t count = read(reader->fd, reader->input + reader->input_size, READER_BUFFER - reader->input_size);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return lh_fail_errno(error, "cannot read %s", reader->name);
        }
        reader->input_size += (size_t)count;
        reader->consumed += (uint64_t)count;
        if (count == 0) {
            break; /* fill will see the end again */
        }
    }
    return LH_OK;
}

static lh_status fail_truncated(const lh_reader *reader, lh_error *error)
{
    return lh_fail(error, LH_E_FORMAT,
                   "%s is truncated: its %s stream ends in the middle, after %llu bytes of text", reader->name,
                   lh_reader_format(reader), (unsigned long long)reader->produced);
}

static lh_status fail_damaged(const lh_reader *reader, const char *why, lh_error *error)
{
    return lh_fail(error, LH_E_FORMAT,
                   "%s is damaged: its %s stream cannot be unpacked after %llu bytes of text (%s)", reader->name,
                   lh_reader_format(reader), (unsigned long long)reader->produced, why);
}

static lh_status read_plain(lh_reader *reader, unsigned char *buffer, size_t capacity, size_t *got, lh_error *error)
{
    LH_TRY(fill(reader, error));
    size_t part = reader->input_size - reader->input_at;
    part = part < capacity ? part : capacity;
    memcpy(buffer, reader->input + reader->input_at, part);
    reader->input_at += part;
    *got = part;
    reader->ended = reader->input_ended;
    return LH_OK;
}

/* Between members of a gzip file: another member, zero bytes that fill a tape block, or the end. */
static lh_status next_gzip_member(lh_reader *reader, lh_error *error)
{
    LH_TRY(fill(reader, error));
    while (!reader->input_ended && reader->input[reader->input_at] == 0) {
        reader->input_at++;
        LH_TRY(fill(reader, error));
    }
    if (reader->input_ended) {
        reader->ended = true;
        return LH_OK;
    }
    if (reader->input[reader->input_at] != 0x1f) {
        return fail_damaged(reader, "something else follows the compressed data", error);
    }
    if (inflateReset(&reader->gzip) != Z_OK) {
        return lh_fail(error, LH_E_INTERNAL, "cannot reset the gzip decoder for %s", reader->name);
    }
    reader->inside_frame = true;
    return LH_OK;
}

static lh_status read_gzip(lh_reader *reader, unsigned char *buffer, size_t capacity, size_t *got, lh_error *error)
{
    if (!reader->inside_frame) {
        LH_TRY(next_gzip_member(reader, error));
        if (reader->ended) {
            return LH_OK;
        }
    }
    LH_TRY(fill(reader, error));
    z_stream *stream = &reader->gzip;
    unsigned limit = capacity < (1u << 30) ? (unsigned)capacity : 1u << 30;
    stream->next_in = reader->input + reader->input_at;
    stream->avail_in = (unsigned)(reader->input_size - reader->input_at);
    stream->next_out = buffer;
    stream->avail_out = limit;
    int code = inflate(stream, Z_NO_FLUSH);
    reader->input_at = reader->input_size - stream->avail_in;
    *got = limit - stream->avail_out;
    if (code == Z_STREAM_END) {
        reader->inside_frame = false;
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return fail_damaged(reader, stream->msg ? stream->msg : "bad data", error);
    } else if (reader->input_ended && *got == 0) {
        return fail_truncated(reader, error);
    }
    return LH_OK;
}

static lh_status read_zstd(lh_reader *reader, unsigned char *buffer, size_t capacity, size_t *got, lh_error *error)
{
    LH_TRY(fill(reader, error));
    if (reader->input_ended && !reader->inside_frame) {
        reader->ended = true;
        return LH_OK;
    }
    ZSTD_inBuffer in = {.src = reader->input, .size = reader->input_size, .pos = reader->input_at};
    ZSTD_outBuffer out = {.dst = buffer, .size = capacity};
    size_t code = ZSTD_decompressStream(reader->zstd, &out, &in);
    reader->input_at = in.pos;
    *got = out.pos;
    if (ZSTD_isError(code)) {
        return fail_damaged(reader, ZSTD_getErrorName(code), error);
    }
    reader->inside_frame = code != 0;
    /* Without input the decoder may still hold text that did not fit into the last buffer; nothing means cut off.
     */
    return reader->input_ended && code != 0 && out.pos == 0 ? fail_truncated(reader, error) : LH_OK;
}

static lh_status read_xz(lh_reader *reader, unsigned char *buffer, size_t capacity, size_t *got, lh_error *error)
{
    LH_TRY(fill(reader, error));
    lzma_stream *stream = &reader->xz;
    stream->next_in = reader->input + reader->input_at;
    stream->avail_in = reader->input_size - reader->input_at;
    stream->next_out = buffer;
    stream->avail_out = capacity;
    lzma_ret code = lzma_code(stream, reader->input_ended ? LZMA_FINISH : LZMA_RUN);
    reader->input_at = reader->input_size - stream->avail_in;
    *got = capacity - stream->avail_out;
    switch (code) {
    case LZMA_OK: return LH_OK;
    case LZMA_STREAM_END: reader->ended = true; return LH_OK;
    case LZMA_BUF_ERROR: return reader->input_ended ? fail_truncated(reader, error) : LH_OK;
    case LZMA_MEM_ERROR: return lh_fail(error, LH_E_MEMORY, "no memory to unpack %s", reader->name);
    case LZMA_MEMLIMIT_ERROR: return fail_damaged(reader, "its dictionary is larger than 512 MiB", error);
    case LZMA_FORMAT_ERROR: return fail_damaged(reader, "something else follows the compressed data", error);
    default: return fail_damaged(reader, "bad data or a checksum that does not fit", error);
    }
}

lh_status lh_reader_read(lh_reader *reader, void *buffer, size_t capacity, size_t *got, lh_error *error)
{
    unsigned char *at = buffer;
    *got = 0;
    while (!reader->ended && *got < capacity) {
        size_t part = 0;
        lh_status status = LH_OK;
        switch (reader->format) {
        case FORMAT_PLAIN: status = read_plain(reader, at + *got, capacity - *got, &part, error); break;
        case FORMAT_GZIP: status = read_gzip(reader, at + *got, capacity - *got, &part, error); break;
        case FORMAT_ZSTD: status = read_zstd(reader, at + *got, capacity - *got, &part, error); break;
        case FORMAT_XZ: status = read_xz(reader, at + *got, capacity - *got, &part, error); break;
        }
        *got += part;
        reader->produced += part;
        LH_TRY(status);
    }
    return LH_OK;
}

static lh_status fail_short(const lh_reader *reader, uint64_t left, lh_error *error)
{
    return lh_fail(error, LH_E_FORMAT, "%s ends %llu bytes of text too early: it has changed", reader->name,
                   (unsigned long long)left);
}

lh_status lh_reader_skip(lh_reader *reader, uint64_t bytes, lh_error *error)
{
    unsigned char scratch[16384];
    if (reader->format == FORMAT_PLAIN && bytes > READER_BUFFER) {
        /* Regular files are long: move the file's position, beyond what is buffered. */
        size_t buffered = reader->input_size - reader->input_at;
        struct stat about;
        off_t here = lseek(reader->fd, 0, SEEK_CUR);
        if (here >= 0 && fstat(reader->fd, &about) == 0 && S_ISREG(about.st_mode)) {
            uint64_t beyond = bytes - buffered;
            if (beyond > (uint64_t)(about.st_size - here)) {
                return fail_short(reader, beyond - (uint64_t)(about.st_size - here), error);
            }
            if (lseek(reader->fd, (off_t)beyond, SEEK_CUR) < 0) {
                return lh_fail_errno(error, "cannot move in %s", reader->name);
            }
            reader->input_at = reader->input_size;
            reader->consumed += beyond;
            reader->produced += bytes;
            return LH_OK;
        }
    }
    while (bytes > 0) {
        size_t got, part = bytes < sizeof scratch ? (size_t)bytes : sizeof scratch;
        LH_TRY(lh_reader_read(reader, scratch, part, &got, error));
        if (got == 0) {
            return fail_short(reader, bytes, error);
        }
        bytes -= got;
    }
    return LH_OK;
}

uint64_t lh_reader_consumed(const lh_reader *reader)
{
    return reader->consumed - (reader->input_size - reader->input_at);
}

const char *lh_reader_format(const lh_reader *reader)
{
    static const char *const names[] = {"plain", "gzip", "zstd", "xz"};
    return names[reader->format];
}

static bool begins_with(const lh_reader *reader, const char *magic, size_t size)
{
    return reader->input_size >= size && memcmp(reader->input, magic, size) == 0;
}

static reader_format detect(const lh_reader *reader)
{
    if (begins_with(reader, "\x1f\x8b", 2)) {
        return FORMAT_GZIP;
    }
    if (begins_with(reader, "\x28\xb5\x2f\xfd", 4)) {
        return FORMAT_ZSTD;
    }
    /* A zstd file may begin with a frame that is skipped: 50..5f 2a 4d 18 (RFC 8878, 3.1.2). */
    if (reader->input_size >= 4 && (reader->input[0] & 0xf0) == 0x50 &&
        memcmp(reader->input + 1, "\x2a\x4d\x18", 3) == 0) {
        return FORMAT_ZSTD;
    }
    if (begins_with(reader,
                    "\xfd"
                    "7zXZ\0",
                    6)) {
        return FORMAT_XZ;
    }
    return FORMAT_PLAIN;
}

/* What a name promises, FORMAT_PLAIN for no promise. */
static reader_format promised(const char *path)
{
    static const struct {
        const char *suffix;
        reader_format format;
    } suffixes[] = {{".gz", FORMAT_GZIP}, {".zst", FORMAT_ZSTD}, {".xz", FORMAT_XZ}};
    size_t size = strlen(path);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t suffix = strlen(suffixes[i].suffix);
        if (size > suffix && strcmp(path + size - suffix, suffixes[i].suffix) == 0) {
            return suffixes[i].format;
        }
    }
    return FORMAT_PLAIN;
}

static lh_status start_decoder(lh_reader *reader, lh_error *error)
{
    bool made = true;
    switch (reader->format) {
    case FORMAT_PLAIN: break;
    case FORMAT_GZIP: made = inflateInit2(&reader->gzip, 15 + 16) == Z_OK; break;
    case FORMAT_ZSTD:
        reader->zstd = ZSTD_createDStream();
        made = reader->zstd != NULL;
        break;
    case FORMAT_XZ: made = lzma_stream_decoder(&reader->xz, XZ_MEMORY_LIMIT, LZMA_CONCATENATED) == LZMA_OK; break;
    }
    if (!made) {
        reader->format = FORMAT_PLAIN; /* there is no decoder to release */
        return lh_fail(error, LH_E_MEMORY, "no memory to unpack %s", reader->name);
    }
    return LH_OK;
}

static lh_status open_descriptor(lh_reader *reader, const char *path, lh_error *error)
{
    if (strcmp(path, "-") == 0) {
        reader->fd = STDIN_FILENO;
        return LH_OK;
    }
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0) {
        return lh_fail_errno(error, "cannot open %s", path);
    }
    reader->owned = true;
    struct stat about;
    if (fstat(reader->fd, &about) != 0) {
        return lh_fail_errno(error, "cannot examine %s", path);
    }
    if (S_ISDIR(about.st_mode)) {
        return lh_fail(error, LH_E_IO, "cannot read %s: it is a directory, a file was expected", path);
    }
    return LH_OK;
}

static lh_status open_reader(lh_reader *reader, const char *path, lh_error *error)
{
    reader->input = lh_heap_alloc(READER_BUFFER);
    reader->name = lh_heap_strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    if (!reader->input || !reader->name) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read %s", path);
    }
    LH_TRY(open_descriptor(reader, path, error));
    LH_TRY(fill_beginning(reader, error));
    reader_format promise = promised(path), found = detect(reader);
    if (promise != FORMAT_PLAIN && found != promise && reader->input_size > 0) {
        reader->format = promise;
        return lh_fail(error, LH_E_FORMAT, "%s is damaged: it does not begin like a %s file", path,
                       lh_reader_format(reader));
    }
    reader->format = found;
    reader->inside_frame = found == FORMAT_GZIP;
    return start_decoder(reader, error);
}

lh_status lh_reader_open(lh_reader **reader, const char *path, lh_error *error)
{
    *reader = NULL;
    lh_reader *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read %s", path);
    }
    fresh->fd = -1;
    fresh->xz = (lzma_stream)LZMA_STREAM_INIT;
    lh_status status = open_reader(fresh, path, error);
    if (status != LH_OK) {
        fresh->format = fresh->zstd ? FORMAT_ZSTD : FORMAT_PLAIN;
        lh_reader_free(fresh);
        return status;
    }
    *reader = fresh;
    return LH_OK;
}

void lh_reader_free(lh_reader *reader)
{
    if (!reader) {
        return;
    }
    switch (reader->format) {
    case FORMAT_PLAIN: break;
    case FORMAT_GZIP: (void)inflateEnd(&reader->gzip); break;
    case FORMAT_ZSTD: (void)ZSTD_freeDStream(reader->zstd); break;
    case FORMAT_XZ: lzma_end(&reader->xz); break;
    }
    if (reader->owned) {
        (void)close(reader->fd);
    }
    lh_heap_free(reader->input);
    lh_heap_free(reader->name);
    lh_heap_free(reader);
}
