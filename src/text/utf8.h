/* Where UTF-8 is valid and where it is not. */
#ifndef LH_TEXT_UTF8_H
#define LH_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_UTF8_INVALID (-1)
#define LH_UTF8_INCOMPLETE (-2)

/* The bytes of the character at the start of `bytes` (size >= 1) and its code point, or LH_UTF8_INVALID if the
 * first byte starts no valid character, or LH_UTF8_INCOMPLETE if the bytes are the beginning of one. Surrogates,
 * overlong forms and code points above 10FFFF are invalid (Unicode 15.0, table 3-7). */
int lh_utf8_decode(const unsigned char *bytes, size_t size, int32_t *code_point);

/* How many bytes from the start are valid, whole characters. */
size_t lh_utf8_valid_prefix(const unsigned char *bytes, size_t size);

/* Writes a valid code point; returns the number of bytes, 1..4. */
int lh_utf8_encode(int32_t code_point, unsigned char bytes[4]);

/* White space as Python's str.split has it: Unicode's property White_Space and the separators U+001C to U+001F. */
bool lh_is_white_space(int32_t code_point);

#endif
