#include "formats/tfevents.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/append_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FILE_PREFIX "events.out.tfevents."

/* Wire types of protocol buffers. */
enum {
    WIRE_VARINT = 0,
    WIRE_64_BITS = 1,
    WIRE_BYTES = 2,
    WIRE_32_BITS = 5,
};

struct lh_tfevents {
    lh_append_file file;
    lh_string value, summary, event, record; /* messages in the making, kept for their memory */
};

/* One bit at a time: a record has some hundred bytes. */
uint32_t lh_crc32c(const void *data, size_t size)
{
    const unsigned char *at = data;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
        }
    }
    return ~crc;
}

/* Record files store checksums rotated and offset, so that a checksum over checksums stays meaningful. */
static uint32_t masked_crc(const void *data, size_t size)
{
    uint32_t crc = lh_crc32c(data, size);
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

static void put_varint(lh_string *out, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        lh_string_append(out, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_tag(lh_string *out, int field, int wire)
{
    put_varint(out, (uint64_t)field << 3 | (uint64_t)wire);
}

static void put_bytes(lh_string *out, int field, const void *bytes, size_t size)
{
    put_tag(out, field, WIRE_BYTES);
    put_varint(out, size);
    lh_string_append(out, bytes, size);
}

static void start_event(lh_tfevents *events, int64_t step)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    double wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    lh_string_clear(&events->event);
    put_tag(&events->event, 1, WIRE_64_BITS);
    lh_string_append(&events->event, &wall_time, sizeof wall_time);
    put_tag(&events->event, 2, WIRE_VARINT);
    put_varint(&events->event, (uint64_t)step);
}

static lh_status write_event(lh_tfevents *events, lh_error *error)
{
    uint64_t length = events->event.size;
    uint32_t length_crc = masked_crc(&length, sizeof length);
    uint32_t event_crc = masked_crc(events->event.data, events->event.size);
    lh_string *record = &events->record;
    lh_string_clear(record);
    lh_string_append(record, &length, sizeof length);
    lh_string_append(record, &length_crc, sizeof length_crc);
    lh_string_append(record, events->event.data, events->event.size);
    lh_string_append(record, &event_crc, sizeof event_crc);
    if (events->summary.failed || events->event.failed || record->failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory for an event of %s", events->file.path);
    }
    return lh_append_write(&events->file, record->data, record->size, error);
}

static lh_status write_start(lh_tfevents *events, int64_t first_step, lh_error *error)
{
    static const char version[] = "brain.Event:2";
    static const unsigned char session_start[] = {1 << 3 | WIRE_VARINT, 1};
    start_event(events, 0);
    put_bytes(&events->event, 3, version, sizeof version - 1);
    LH_TRY(write_event(events, error));
    start_event(events, first_step);
    put_bytes(&events->event, 7, session_start, sizeof session_start);
    return write_event(events, error);
}

/* Viewers read event files in the order of their names, so the new name must come last even if the clock was set
 * back. */
static lh_status newest_stamp(const char *directory, int64_t *stamp, lh_error *error)
{
    char **names = NULL;
    size_t count = 0;
    LH_TRY(lh_directory_list(directory, &names, &count, error));
    *stamp = (int64_t)time(NULL);
    for (size_t i = 0; i < count; i++) {
        int64_t found = 0;
        if (strncmp(names[i], FILE_PREFIX, strlen(FILE_PREFIX)) == 0 &&
            sscanf(names[i] + strlen(FILE_PREFIX), "%10" SCNd64, &found) == 1 && found > *stamp) {
            *stamp = found;
        }
    }
    lh_name_list_free(names);
    return LH_OK;
}

static lh_status create_file(lh_tfevents *events, const char *directory, lh_error *error)
{
    int64_t stamp = 0;
    LH_TRY(newest_stamp(directory, &stamp, error));
    for (int number = 0;; number++) {
        char name[96];
        (void)snprintf(name, sizeof name, FILE_PREFIX "%010" PRId64 ".longhand.%03d", stamp, number);
        char *path = lh_path_join(directory, name);
        if (!path) {
            return lh_fail(error, LH_E_MEMORY, "no memory to open an event file in %s", directory);
        }
        lh_error attempt = {0};
        lh_status status = lh_append_open(&events->file, path, true, &attempt);
        bool taken = status == LH_E_IO && number < 999 && lh_file_exists(path);
        lh_heap_free(path);
        if (!taken) {
            return status == LH_OK ? LH_OK : lh_fail(error, status, "%s", attempt.message);
        }
    }
}

lh_status lh_tfevents_open(lh_tfevents **events, const char *directory, int64_t first_step, lh_error *error)
{
    *events = NULL;
    lh_tfevents *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open an event file in %s", directory);
    }
    fresh->file.descriptor = -1;
    lh_status status = create_file(fresh, directory, error);
    if (status == LH_OK) {
        status = write_start(fresh, first_step, error);
    }
    if (status != LH_OK) {
        lh_tfevents_close(fresh);
        return status;
    }
    *events = fresh;
    return LH_OK;
}

lh_status lh_tfevents_add(lh_tfevents *events, int64_t step, const lh_tfevents_scalar *scalars, size_t count,
                          lh_error *error)
{
    lh_string_clear(&events->summary);
    for (size_t i = 0; i < count; i++) {
        float value = (float)scalars[i].value;
        lh_string_clear(&events->value);
        put_bytes(&events->value, 1, scalars[i].tag, strlen(scalars[i].tag));
        put_tag(&events->value, 2, WIRE_32_BITS);
        lh_string_append(&events->value, &value, sizeof value);
        events->summary.failed |= events->value.failed;
        put_bytes(&events->summary, 1, events->value.data, events->value.size);
    }
    start_event(events, step);
    put_bytes(&events->event, 5, events->summary.data, events->summary.size);
    return write_event(events, error);
}

const char *lh_tfevents_path(const lh_tfevents *events)
{
    return events->file.path;
}

void lh_tfevents_close(lh_tfevents *events)
{
    if (events) {
        lh_append_close(&events->file);
        lh_string_free(&events->value);
        lh_string_free(&events->summary);
        lh_string_free(&events->event);
        lh_string_free(&events->record);
        lh_heap_free(events);
    }
}
