#include "data/zip.h"

#include "base/memory.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

#define END_SIZE 22u       /* end of central directory record */
#define DIRECTORY_SIZE 46u /* file header in the central directory, without its names */
#define LOCAL_SIZE 30u     /* local file header, without its names */

static uint32_t load16(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t load32(const unsigned char *at)
{
    return load16(at) | load16(at + 2) << 16;
}

static lh_status fail_damaged(const lh_zip *zip, const char *what, lh_error *error)
{
    return lh_fail(error, LH_E_FORMAT, "%s is no whole zip archive: %s", zip->path, what);
}

/* The record lies at the end, before a comment of at most 65,535 bytes. */
static const unsigned char *find_end(const lh_zip *zip)
{
    const unsigned char *data = zip->mapping.data;
    size_t size = zip->mapping.size;
    for (size_t back = END_SIZE; back <= size && back <= END_SIZE + 65535u; back++) {
        const unsigned char *at = data + size - back;
        if (load32(at) == 0x06054b50u && load16(at + 20) == back - END_SIZE) {
            return at;
        }
    }
    return NULL;
}

static lh_status read_entry(const lh_zip *zip, const unsigned char *at, size_t left, lh_zip_entry *entry,
                            size_t *length, lh_error *error)
{
    if (left < DIRECTORY_SIZE || load32(at) != 0x02014b50u) {
        return fail_damaged(zip, "its list of files is damaged", error);
    }
    *length = (size_t)DIRECTORY_SIZE + load16(at + 28) + load16(at + 30) + load16(at + 32);
    if (*length > left) {
        return fail_damaged(zip, "its list of files is damaged", error);
    }
    *entry = (lh_zip_entry){
        .name = (const char *)at + DIRECTORY_SIZE,
        .name_size = load16(at + 28),
        .method = (uint16_t)load16(at + 10),
        .crc = load32(at + 16),
        .packed = load32(at + 20),
        .bytes = load32(at + 24),
        .header = load32(at + 42),
    };
    if (entry->packed == UINT32_MAX || entry->bytes == UINT32_MAX || entry->header == UINT32_MAX) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s is a zip64 archive, which is not supported", zip->path);
    }
    if (load16(at + 8) & 1u) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s is encrypted, which is not supported", zip->path);
    }
    return LH_OK;
}

static lh_status read_directory(lh_zip *zip, lh_error *error)
{
    const unsigned char *end = find_end(zip);
    if (!end) {
        return fail_damaged(zip, "it has no end record", error);
    }
    size_t count = load16(end + 10), bytes = load32(end + 12), offset = load32(end + 16);
    size_t limit = (size_t)(end - zip->mapping.data);
    if (load16(end + 4) != 0 || load16(end + 8) != count) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s is one of several parts of a zip archive", zip->path);
    }
    if (offset > limit || bytes > limit - offset) {
        return fail_damaged(zip, "its list of files lies outside", error);
    }
    zip->entries = lh_heap_alloc((count + 1) * sizeof *zip->entries);
    if (!zip->entries) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the %zu files of %s", count, zip->path);
    }
    const unsigned char *at = zip->mapping.data + offset;
    for (size_t i = 0; i < count; i++) {
        size_t length = 0;
        LH_TRY(read_entry(zip, at, bytes, &zip->entries[i], &length, error));
        at += length;
        bytes -= length;
        zip->count = i + 1;
    }
    return LH_OK;
}

static lh_status begin(lh_zip *zip, const char *name, lh_error *error)
{
    *zip = (lh_zip){.path = lh_heap_strdup(name)};
    return zip->path ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to open %s", name);
}

lh_status lh_zip_open(lh_zip *zip, const char *path, lh_error *error)
{
    LH_TRY(begin(zip, path, error));
    lh_status status = lh_mapping_open(&zip->mapping, path, error);
    if (status == LH_OK) {
        status = read_directory(zip, error);
    }
    if (status != LH_OK) {
        lh_zip_close(zip);
    }
    return status;
}

lh_status lh_zip_read(lh_zip *zip, const void *bytes, size_t size, const char *name, lh_error *error)
{
    LH_TRY(begin(zip, name, error));
    zip->mapping = (lh_mapping){.data = bytes, .size = size};
    zip->borrowed = true;
    lh_status status = read_directory(zip, error);
    if (status != LH_OK) {
        lh_zip_close(zip);
    }
    return status;
}

void lh_zip_close(lh_zip *zip)
{
    if (!zip->borrowed) {
        lh_mapping_close(&zip->mapping);
    }
    lh_heap_free(zip->entries);
    lh_heap_free(zip->path);
    *zip = (lh_zip){0};
}

const lh_zip_entry *lh_zip_find(const lh_zip *zip, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < zip->count; i++) {
        if (zip->entries[i].name_size == size && memcmp(zip->entries[i].name, name, size) == 0) {
            return &zip->entries[i];
        }
    }
    return NULL;
}

static lh_status fail_entry(const lh_zip *zip, const lh_zip_entry *entry, const char *what, lh_error *error)
{
    int size = entry->name_size < 200 ? (int)entry->name_size : 200;
    return lh_fail(error, LH_E_FORMAT, "%.*s in %s is damaged: %s", size, entry->name, zip->path, what);
}

/* Where the packed bytes begin, by the local header. */
static lh_status find_data(const lh_zip *zip, const lh_zip_entry *entry, const unsigned char **data,
                           lh_error *error)
{
    size_t size = zip->mapping.size;
    if (entry->header > size || size - entry->header < LOCAL_SIZE) {
        return fail_entry(zip, entry, "it lies outside the archive", error);
    }
    const unsigned char *at = zip->mapping.data + entry->header;
    size_t names = (size_t)load16(at + 26) + load16(at + 28), left = size - (size_t)entry->header - LOCAL_SIZE;
    if (load32(at) != 0x04034b50u || names > left || entry->packed > left - names) {
        return fail_entry(zip, entry, "its header does not fit", error);
    }
    *data = at + LOCAL_SIZE + names;
    return LH_OK;
}

static lh_status inflate_all(const lh_zip *zip, const lh_zip_entry *entry, const unsigned char *data,
                             lh_zip_sink sink, void *sink_data, uint32_t *crc, uint64_t *bytes, lh_error *error)
{
    unsigned char buffer[16384];
    z_stream stream = {0};
    if (inflateInit2(&stream, -15) != Z_OK) {
        return lh_fail(error, LH_E_MEMORY, "no memory to unpack %s", zip->path);
    }
    lh_status status = LH_OK;
    uint64_t left = entry->packed;
    int code = Z_OK;
    while (status == LH_OK && code != Z_STREAM_END) {
        if (stream.avail_in == 0) {
            uInt part = left < UINT_MAX ? (uInt)left : UINT_MAX;
            stream.next_in = (unsigned char *)(uintptr_t)data;
            stream.avail_in = part;
            data += part;
            left -= part;
        }
        stream.next_out = buffer;
        stream.avail_out = sizeof buffer;
        code = inflate(&stream, Z_NO_FLUSH);
        size_t made = sizeof buffer - stream.avail_out;
        *crc = (uint32_t)crc32(*crc, buffer, (uInt)made);
        *bytes += made;
        if ((code != Z_OK && code != Z_STREAM_END) || *bytes > entry->bytes) {
            status = fail_entry(zip, entry, "it cannot be unpacked", error);
        } else if (made > 0) {
            status = sink(sink_data, buffer, made, error);
        }
    }
    (void)inflateEnd(&stream);
    return status;
}

lh_status lh_zip_unpack(const lh_zip *zip, const lh_zip_entry *entry, lh_zip_sink sink, void *data, lh_error *error)
{
    const unsigned char *packed = NULL;
    uint32_t crc = (uint32_t)crc32(0, NULL, 0);
    uint64_t bytes = 0;
    LH_TRY(find_data(zip, entry, &packed, error));
    if (entry->method == 0) {
        for (uint64_t at = 0; at < entry->packed; at += 65536) {
            size_t part = entry->packed - at < 65536 ? (size_t)(entry->packed - at) : 65536;
            crc = (uint32_t)crc32(crc, packed + at, (uInt)part);
            LH_TRY(sink(data, packed + at, part, error));
        }
        bytes = entry->packed;
    } else if (entry->method == 8) {
        LH_TRY(inflate_all(zip, entry, packed, sink, data, &crc, &bytes, error));
    } else {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s is packed by method %u, only stored and deflated are supported",
                       zip->path, entry->method);
    }
    if (bytes != entry->bytes || crc != entry->crc) {
        return fail_entry(zip, entry, "its size or checksum does not fit", error);
    }
    return LH_OK;
}

static lh_status write_piece(void *data, const void *bytes, size_t size, lh_error *error)
{
    return lh_atomic_write(data, bytes, size, error);
}

lh_status lh_zip_extract(const lh_zip *zip, const lh_zip_entry *entry, const char *path, lh_error *error)
{
    lh_atomic_file file;
    LH_TRY(lh_atomic_open(&file, path, error));
    lh_status status = lh_zip_unpack(zip, entry, write_piece, &file, error);
    if (status != LH_OK) {
        lh_atomic_discard(&file);
        return status;
    }
    return lh_atomic_commit(&file, error);
}
