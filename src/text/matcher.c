#include "text/matcher.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

lh_status lh_matcher_add(lh_matcher *matcher, const unsigned char *bytes, size_t size, int32_t id, lh_error *error)
{
    if (matcher->count == matcher->capacity) {
        size_t capacity = matcher->capacity ? matcher->capacity * 2 : 32;
        lh_match_entry *entries = lh_heap_realloc(matcher->entries, capacity * sizeof *entries);
        if (!entries) {
            return lh_fail(error, LH_E_MEMORY, "no memory to look for %zu tokens", capacity);
        }
        matcher->entries = entries;
        matcher->capacity = capacity;
    }
    matcher->entries[matcher->count++] = (lh_match_entry){bytes, size, id};
    return LH_OK;
}

static int compare(const void *left, const void *right)
{
    const lh_match_entry *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

void lh_matcher_sort(lh_matcher *matcher)
{
    if (matcher->count > 0) {
        qsort(matcher->entries, matcher->count, sizeof *matcher->entries, compare);
    }
    size_t at = 0;
    for (size_t byte = 0; byte < 257; byte++) {
        while (at < matcher->count && matcher->entries[at].bytes[0] < byte) {
            at++;
        }
        matcher->first[byte] = at;
    }
}

/* The first index in [low, high) whose byte at `depth` is at least `byte`; entries that end there come first. */
static size_t lower_bound(const lh_matcher *matcher, size_t low, size_t high, size_t depth, int byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const lh_match_entry *entry = matcher->entries + middle;
        if (entry->size <= depth || entry->bytes[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

lh_match lh_matcher_prefix(const lh_matcher *matcher, const unsigned char *text, size_t size, bool *open)
{
    lh_match match = {0, 0, -1};
    size_t low = matcher->first[text[0]], high = matcher->first[text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (matcher->entries[low].size == depth) {
            match = (lh_match){0, depth, matcher->entries[low].id};
            low++;
        }
        if (depth == size) {
            *open = low < high;
            return match;
        }
        low = lower_bound(matcher, low, high, depth, text[depth]);
        high = lower_bound(matcher, low, high, depth, text[depth] + 1);
    }
    *open = false;
    return match;
}

lh_match lh_matcher_find(const lh_matcher *matcher, const unsigned char *text, size_t size, bool final)
{
    for (size_t at = 0; at < size; at++) {
        if (matcher->first[text[at]] == matcher->first[text[at] + 1]) {
            continue;
        }
        bool open;
        lh_match match = lh_matcher_prefix(matcher, text + at, size - at, &open);
        if (open && !final) {
            return (lh_match){at, 0, -1};
        }
        if (match.size > 0) {
            match.start = at;
            return match;
        }
    }
    return (lh_match){size, 0, -1};
}

void lh_matcher_free(lh_matcher *matcher)
{
    lh_heap_free(matcher->entries);
    *matcher = (lh_matcher){0};
}
