#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* How many bytes a character needs that starts with this byte and has this second byte (-1: not known yet); 0 if no
 * character does. */
static int utf8_length(unsigned first, int second)
{
    int length, low = 0x80, high = 0xbf;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        low = first == 0xe0 ? 0xa0 : 0x80;
        high = first == 0xed ? 0x9f : 0xbf;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    return second < 0 || (second >= low && second <= high) ? length : 0;
}

static bool is_incomplete(const unsigned char *bytes, size_t size)
{
    int length = utf8_length(bytes[0], size > 1 ? bytes[1] : -1);
    if ((size_t)length <= size) {
        return false;
    }
    return size < 3 || (bytes[2] & 0xc0) == 0x80;
}

int lh_utf8_decode(const unsigned char *bytes, size_t size, int32_t *code_point)
{
    if (bytes[0] < 0x80) {
        *code_point = bytes[0];
        return 1;
    }
    utf8proc_int32_t value = -1;
    utf8proc_ssize_t length = utf8proc_iterate(bytes, size < 4 ? (utf8proc_ssize_t)size : 4, &value);
    if (length > 0) {
        *code_point = value;
        return (int)length;
    }
    return is_incomplete(bytes, size) ? LH_UTF8_INCOMPLETE : LH_UTF8_INVALID;
}

size_t lh_utf8_valid_prefix(const unsigned char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        uint64_t eight;
        if (size - at >= 8) {
            memcpy(&eight, bytes + at, 8);
            if (!(eight & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        int32_t code_point;
        int length = lh_utf8_decode(bytes + at, size - at, &code_point);
        if (length < 0) {
            break;
        }
        at += (size_t)length;
    }
    return at;
}

int lh_utf8_encode(int32_t code_point, unsigned char bytes[4])
{
    return (int)utf8proc_encode_char(code_point, bytes);
}

bool lh_is_white_space(int32_t code_point)
{
    if (code_point < 0x80) {
        return code_point == ' ' || (code_point >= 9 && code_point <= 13) ||
               (code_point >= 0x1c && code_point <= 0x1f);
    }
    if (code_point == 0x85) {
        return true;
    }
    utf8proc_category_t category = utf8proc_category(code_point);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}
