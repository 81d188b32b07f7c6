#include "data/count.h"

#include "text/utf8.h"

#include <stdbool.h>
#include <string.h>

static bool separates_words(int32_t code_point)
{
    return (code_point >= 0x1c && code_point <= 0x1f) || lh_is_white_space(code_point);
}

/* White space below 128: tab, line feed, VT, FF, CR, the four separators and space. Written so that a compiler
 * makes vector code of a loop over it. */
static inline unsigned char ascii_space(unsigned char byte)
{
    return (unsigned char)((unsigned char)(byte - 9) < 5) | (unsigned char)((unsigned char)(byte - 28) < 5);
}

static void count_character(lh_text_counter *counter, bool space)
{
    counter->totals.characters++;
    counter->totals.words += !space && !counter->in_word;
    counter->in_word = !space;
}

static void count_invalid(lh_text_counter *counter, uint64_t offset)
{
    if (counter->totals.invalid++ == 0) {
        counter->first_invalid = offset;
    }
    count_character(counter, false);
}

/* A stretch without a byte above 127: one character a byte, a word at each step from space to non-space. */
static void count_ascii(lh_text_counter *counter, const unsigned char *at, size_t size)
{
    unsigned words = !ascii_space(at[0]) && !counter->in_word;
    for (size_t i = 1; i < size; i++) {
        words += (unsigned)(ascii_space(at[i - 1]) & (ascii_space(at[i]) ^ 1));
    }
    counter->totals.words += words;
    counter->totals.characters += size;
    counter->in_word = !ascii_space(at[size - 1]);
}

static bool all_ascii(const unsigned char *at, size_t size)
{
    unsigned char any = 0;
    for (size_t i = 0; i < size; i++) {
        any |= at[i];
    }
    return any < 128;
}

/* Counts whole characters; returns how many bytes of a cut character are left at the end. `offset` is the place of
 * bytes[0] in the text. */
static size_t count_mixed(lh_text_counter *counter, const unsigned char *bytes, size_t size, uint64_t offset)
{
    size_t i = 0;
    while (i < size) {
        int32_t code_point = bytes[i];
        int length = code_point < 128 ? 1 : lh_utf8_decode(bytes + i, size - i, &code_point);
        if (length == LH_UTF8_INCOMPLETE) {
            break;
        }
        if (length == LH_UTF8_INVALID) {
            count_invalid(counter, offset + i);
            i++;
            continue;
        }
        count_character(counter,
                        code_point < 128 ? ascii_space((unsigned char)code_point) : separates_words(code_point));
        i += (size_t)length;
    }
    return size - i;
}

/* Completes the character that the last piece cut, byte by byte; returns how many bytes of the new piece that took.
 */
static size_t complete_pending(lh_text_counter *counter, const unsigned char *bytes, size_t size)
{
    size_t used = 0;
    while (counter->pending_size > 0 && used < size) {
        uint64_t offset = counter->totals.bytes + used - counter->pending_size;
        counter->pending[counter->pending_size++] = bytes[used++];
        size_t whole = counter->pending_size;
        size_t left = count_mixed(counter, counter->pending, whole, offset);
        memmove(counter->pending, counter->pending + (whole - left), left);
        counter->pending_size = (unsigned char)left;
    }
    return used;
}

void lh_text_counter_feed(lh_text_counter *counter, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    size_t i = complete_pending(counter, at, size);
    uint64_t base = counter->totals.bytes;
    counter->totals.bytes += size;
    while (i < size) {
        size_t block = size - i < 1024 ? size - i : 1024;
        if (all_ascii(at + i, block)) {
            count_ascii(counter, at + i, block);
            i += block;
            continue;
        }
        bool last = i + block == size;
        size_t left = count_mixed(counter, at + i, block, base + i);
        i += block - left;
        if (last && left > 0) {
            memcpy(counter->pending, at + i, left); /* at most three bytes */
            counter->pending_size = (unsigned char)left;
            break;
        }
    }
}

void lh_text_counter_finish(lh_text_counter *counter)
{
    for (unsigned i = 0; i < counter->pending_size; i++) {
        count_invalid(counter, counter->totals.bytes - counter->pending_size + i);
    }
    counter->pending_size = 0;
    counter->in_word = false;
}
