/* Any text as JSON: what parses is dumped, and the dump is a fixed point. */
#include "formats/json_util.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const json_t *value)
{
    lh_json root = lh_json_root(value, "fuzz"), child, item;
    int64_t integer = 0;
    double real = 0;
    bool boolean = false;
    const char *string = NULL;
    lh_error error = {0};
    (void)lh_json_integer(&root, "a", -5, 1000, &integer, &error);
    (void)lh_json_optional_real(&root, "b", -1, 1, &real, NULL);
    (void)lh_json_boolean(&root, "c", &boolean, NULL);
    (void)lh_json_string(&root, "d", &string, NULL);
    (void)lh_json_expect_keys(&root, (const char *const[]){"a", "b", "c", "d", "e"}, 5, NULL);
    if (lh_json_array(&root, "e", &child, NULL) == LH_OK && lh_json_length(&child) > 0) {
        item = lh_json_element(&child, 0);
        error = (lh_error){0};
        (void)lh_json_string(&item, "f", &string, &error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *value = NULL, *again = NULL;
    lh_error error = {0};
    if (lh_json_parse((const char *)data, size, "fuzz", &value, &error) != LH_OK) {
        if (!error.message[0]) {
            abort();
        }
        return 0;
    }
    lh_string one = {0}, two = {0};
    ask(value);
    lh_json_dump(value, &one);
    if (lh_json_parse(one.data, one.size, "again", &again, NULL) != LH_OK) {
        abort();
    }
    lh_json_dump(again, &two);
    if (one.size != two.size || memcmp(one.data, two.data, one.size) != 0) {
        abort();
    }
    lh_string_free(&one);
    lh_string_free(&two);
    json_decref(value);
    json_decref(again);
    return 0;
}
