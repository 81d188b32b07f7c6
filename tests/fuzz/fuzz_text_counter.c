/* Any bytes counted whole, in pieces of the size in the first byte, and character by character: always the same. */
#include "data/count.h"
#include "text/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lh_text_totals count_simply(const uint8_t *data, size_t size)
{
    lh_text_totals totals = {.bytes = size};
    int inside = 0;
    for (size_t i = 0; i < size;) {
        int32_t code_point;
        int length = lh_utf8_decode(data + i, size - i, &code_point), space = 0;
        if (length < 0) {
            totals.invalid++;
            length = 1;
        } else {
            space = lh_is_white_space(code_point) || (code_point >= 0x1c && code_point <= 0x1f);
        }
        totals.characters++;
        totals.words += !space && !inside;
        inside = !space;
        i += (size_t)length;
    }
    return totals;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t step = (size_t)data[0] + 1;
    lh_text_counter whole = {0}, pieces = {0};
    lh_text_counter_feed(&whole, data, size);
    lh_text_counter_finish(&whole);
    for (size_t i = 0; i < size; i += step) {
        lh_text_counter_feed(&pieces, data + i, size - i < step ? size - i : step);
    }
    lh_text_counter_finish(&pieces);
    lh_text_totals simple = count_simply(data, size);
    if (memcmp(&whole.totals, &pieces.totals, sizeof simple) != 0 ||
        memcmp(&whole.totals, &simple, sizeof simple) != 0 ||
        (simple.invalid > 0 && whole.first_invalid != pieces.first_invalid)) {
        abort();
    }
    return 0;
}
