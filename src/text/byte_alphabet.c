#include "text/byte_alphabet.h"

#include "text/utf8.h"

static bool is_printable(int byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

/* How many bytes below this one are not printable. */
static int hidden_before(int byte)
{
    if (byte <= 0x20) {
        return byte;
    }
    return byte <= 0xa0 ? byte - 0x7f + 0x21 : 0x21 + 0x22;
}

int32_t lh_byte_letter(unsigned char byte)
{
    return is_printable(byte) ? byte : 0x100 + hidden_before(byte);
}

/* The inverse, or -1. */
static int letter_byte(int32_t letter)
{
    if (letter < 0x100) {
        return is_printable((int)letter) ? (int)letter : -1;
    }
    int hidden = (int)letter - 0x100;
    if (hidden <= 0x20) {
        return hidden;
    }
    if (hidden < 0x21 + 0x22) {
        return hidden - 0x21 + 0x7f;
    }
    return hidden == 0x21 + 0x22 ? 0xad : -1;
}

void lh_byte_alphabet_write(lh_string *text, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char letter[4];
        int length = lh_utf8_encode(lh_byte_letter(bytes[i]), letter);
        lh_string_append(text, letter, (size_t)length);
    }
}

bool lh_byte_alphabet_read(lh_string *bytes, const char *text, size_t size)
{
    size_t start = bytes->size;
    for (size_t at = 0; at < size;) {
        int32_t letter = -1;
        int length = lh_utf8_decode((const unsigned char *)text + at, size - at, &letter);
        int value = length > 0 ? letter_byte(letter) : -1;
        if (value < 0) {
            bytes->size = start;
            return false;
        }
        unsigned char byte = (unsigned char)value;
        lh_string_append(bytes, &byte, 1);
        at += (size_t)length;
    }
    return true;
}
