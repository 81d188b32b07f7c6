/* Any bytes as a tokenizer file: it is refused with a sentence, or what it makes can be used, written and read
 * again. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int fact, const char *what)
{
    if (!fact) {
        (void)fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void use(const lh_tokenizer *tokenizer)
{
    static const char text[] = "It's a b ab  <s>\n\n12 \xc3\xa9\xcc\x81 \xff\xfe_ \\&undsc foo bar";
    lh_ids ids = {0};
    lh_string back = {0};
    lh_error error = {0};
    lh_status status = lh_tokenizer_encode(tokenizer, text, sizeof text - 1, LH_ENCODE_SPECIAL, &ids, &error);
    demand(status == LH_OK || error.message[0], "a failure says why");
    if (status == LH_OK) {
        demand(lh_tokenizer_decode(tokenizer, ids.data, ids.size, 0, &back, &error) == LH_OK, "ids can be decoded");
        bool same = back.size == sizeof text - 1 && memcmp(back.data, text, back.size) == 0;
        demand(same || !lh_tokenizer_lossless(tokenizer), "a lossless tokenizer gives the text back");
    }
    lh_ids_free(&ids);
    lh_string_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lh_tokenizer *tokenizer, *copy;
    lh_error error = {0};
    lh_string written = {0};
    if (lh_tokenizer_read(&tokenizer, data, size, "input", &error) != LH_OK) {
        demand(strstr(error.message, "input") != NULL, "a refusal names the file");
        return 0;
    }
    use(tokenizer);
    demand(lh_tokenizer_write(tokenizer, &written, &error) == LH_OK, "what was read can be written");
    demand(lh_tokenizer_read(&copy, written.data, written.size, "copy", &error) == LH_OK, "and read again");
    demand(lh_tokenizer_fingerprint(copy) == lh_tokenizer_fingerprint(tokenizer), "and is the same");
    lh_tokenizer_free(copy);
    lh_tokenizer_free(tokenizer);
    lh_string_free(&written);
    return 0;
}
