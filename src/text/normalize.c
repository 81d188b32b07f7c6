#include "text/normalize.h"

#include "base/memory.h"
#include "text/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Characters below U+0300 neither compose with what is before them nor change by themselves, so text may be cut
 * before each of them. A group is such a character and the others that follow it. In UTF-8 the others start with
 * this byte or a greater one. */
#define FIRST_OTHER 0xcc
#define GROUP_LIMIT ((size_t)64 * 1024)
#define MARK_LIMIT 256
#define SLICE ((size_t)64 * 1024)

struct lh_normalizer {
    lh_text_sink sink;
    void *sink_data;
    unsigned char *buffer;
    size_t size, capacity;
};

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

static lh_status pass(lh_normalizer *normalizer, const unsigned char *bytes, size_t size, lh_error *error)
{
    return size ? normalizer->sink(normalizer->sink_data, bytes, size, error) : LH_OK;
}

static lh_status compose(lh_normalizer *normalizer, const unsigned char *bytes, size_t size, lh_error *error)
{
    utf8proc_uint8_t *text = NULL;
    utf8proc_ssize_t length =
        utf8proc_map(bytes, (utf8proc_ssize_t)size, &text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    lh_status status;
    if (length == UTF8PROC_ERROR_NOMEM) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to normalize text");
    } else if (length < 0) {
        status = pass(normalizer, bytes, size, error);
    } else {
        status = pass(normalizer, text, (size_t)length, error);
    }
    free(text);
    return status;
}

/* The size of the part of valid text before its (MARK_LIMIT + 1)-th combining mark in a row. Ordering marks takes
 * quadratic time. */
static size_t limited_marks(const unsigned char *bytes, size_t size)
{
    int marks = 0;
    size_t at = 0;
    while (at < size) {
        int32_t code_point;
        int length = lh_utf8_decode(bytes + at, size - at, &code_point);
        marks = utf8proc_get_property(code_point)->combining_class ? marks + 1 : 0;
        if (marks > MARK_LIMIT) {
            break;
        }
        at += (size_t)length;
    }
    return at;
}

static lh_status normalize_group(lh_normalizer *normalizer, const unsigned char *bytes, size_t size,
                                 lh_error *error)
{
    while (size > 0) {
        size_t valid = lh_utf8_valid_prefix(bytes, size);
        if (valid > 0) {
            valid = limited_marks(bytes, valid);
            LH_TRY(compose(normalizer, bytes, valid, error));
        } else {
            valid = 1;
            LH_TRY(pass(normalizer, bytes, 1, error));
        }
        bytes += valid;
        size -= valid;
    }
    return LH_OK;
}

/* Where the character before `at` starts, not before `from`. */
static size_t step_back(const unsigned char *bytes, size_t from, size_t at)
{
    size_t start = at;
    while (start > from) {
        start--;
        if (!is_continuation(bytes[start]) || at - start == 4) {
            break;
        }
    }
    return start;
}

/* Hands over all complete groups; *done is where the held rest starts. */
static lh_status normalize_available(lh_normalizer *normalizer, bool final, size_t *done, lh_error *error)
{
    const unsigned char *bytes = normalizer->buffer;
    size_t size = normalizer->size, at = 0;
    while (at < size) {
        size_t other = at;
        while (other < size && bytes[other] < FIRST_OTHER) {
            other++;
        }
        size_t group = other == size && final ? size : step_back(bytes, at, other);
        LH_TRY(pass(normalizer, bytes + at, group - at, error));
        at = group;
        if (other == size) {
            break;
        }
        size_t end = other;
        while (end < size && (bytes[end] >= FIRST_OTHER || is_continuation(bytes[end]))) {
            end++;
        }
        bool closed = end < size || final;
        if (end - group > GROUP_LIMIT) {
            end = step_back(bytes, group + 1, group + GROUP_LIMIT);
            closed = true;
        }
        if (!closed) {
            break;
        }
        LH_TRY(normalize_group(normalizer, bytes + group, end - group, error));
        at = end;
    }
    *done = at;
    return LH_OK;
}

lh_status lh_normalizer_feed(lh_normalizer *normalizer, const unsigned char *bytes, size_t size, lh_error *error)
{
    while (size > 0) {
        size_t room = normalizer->capacity - normalizer->size;
        size_t slice = size < room ? size : room, done;
        memcpy(normalizer->buffer + normalizer->size, bytes, slice);
        normalizer->size += slice;
        bytes += slice;
        size -= slice;
        LH_TRY(normalize_available(normalizer, false, &done, error));
        normalizer->size -= done;
        memmove(normalizer->buffer, normalizer->buffer + done, normalizer->size);
    }
    return LH_OK;
}

lh_status lh_normalizer_finish(lh_normalizer *normalizer, lh_error *error)
{
    size_t done;
    lh_status status = normalize_available(normalizer, true, &done, error);
    normalizer->size = 0;
    return status;
}

void lh_normalizer_reset(lh_normalizer *normalizer)
{
    normalizer->size = 0;
}

lh_status lh_normalizer_create(lh_normalizer **normalizer, lh_text_sink sink, void *sink_data, lh_error *error)
{
    *normalizer = NULL;
    lh_normalizer *fresh = lh_heap_alloc(sizeof *fresh);
    /* A held group has at most GROUP_LIMIT bytes, so a slice always fits behind it. */
    size_t capacity = GROUP_LIMIT + SLICE;
    unsigned char *buffer = lh_heap_alloc(capacity);
    if (!fresh || !buffer) {
        lh_heap_free(fresh);
        lh_heap_free(buffer);
        return lh_fail(error, LH_E_MEMORY, "no memory for a text normalizer");
    }
    fresh->sink = sink;
    fresh->sink_data = sink_data;
    fresh->buffer = buffer;
    fresh->capacity = capacity;
    *normalizer = fresh;
    return LH_OK;
}

void lh_normalizer_free(lh_normalizer *normalizer)
{
    if (normalizer) {
        lh_heap_free(normalizer->buffer);
        lh_heap_free(normalizer);
    }
}
