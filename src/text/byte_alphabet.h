/* GPT-2's printable alphabet for bytes, the form in which byte-level tokens are written in files. */
#ifndef LH_TEXT_BYTE_ALPHABET_H
#define LH_TEXT_BYTE_ALPHABET_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The letter (code point, at most U+0143) for a byte: printable Latin-1 characters stand for themselves, the 68
 * other bytes for U+0100, U+0101, ... in order. */
int32_t lh_byte_letter(unsigned char byte);

/* Appends a byte string written in the alphabet. */
void lh_byte_alphabet_write(lh_string *text, const unsigned char *bytes, size_t size);

/* Appends the bytes that a UTF-8 text in the alphabet stands for; false, and nothing is appended, if a character is
 * none of its letters. */
bool lh_byte_alphabet_read(lh_string *bytes, const char *text, size_t size);

#endif
