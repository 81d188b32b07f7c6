#include "formats/json_util.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "support/test_folder.h"

static json_t *parse(const char *text)
{
    json_t *root = NULL;
    lh_error error = {0};
    if (lh_json_parse(text, strlen(text), "config.json", &root, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return root;
}

static void broken_text_is_placed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } wrong[] = {{"{\n \"a\": }", "config.json:2:7: not valid JSON"},
                 {"{\"a\": 1, \"a\": 2}", "duplicate object key"},
                 {"{} x", "not valid JSON"},
                 {"", "not valid JSON"},
                 {"\"\xC3\"", "not valid JSON"},
                 {"1e999", "not valid JSON"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        json_t *root = NULL;
        lh_error error = {0};
        assert_int_equal(lh_json_parse(wrong[i].text, strlen(wrong[i].text), "config.json", &root, &error),
                         LH_E_FORMAT);
        assert_null(root);
        assert_says(&error, wrong[i].words);
    }
}

static void members_are_checked(void **state)
{
    (void)state;
    json_t *value =
        parse("{\"n_layer\": \"x\", \"heads\": 8, \"whole\": 4.0, \"half\": 0.5, \"none\": null, \"t\": true,"
              "\"rope\": {\"factor\": -2, \"list\": [{\"kind\": 3}]},"
              "\"long\": \"0123456789012345678901234567890123456789012345678901234567890123456789\"}");
    lh_json root = lh_json_root(value, "config.json"), rope, list, item;
    int64_t integer = -7;
    double real = -7;
    bool boolean = false;
    const char *string = NULL;
    assert_int_equal(lh_json_integer(&root, "heads", 1, 8, &integer, NULL), LH_OK);
    assert_int_equal(integer, 8);
    assert_int_equal(lh_json_integer(&root, "whole", 1, 8, &integer, NULL), LH_OK);
    assert_int_equal(integer, 4);
    assert_int_equal(lh_json_real(&root, "heads", 0, 8, &real, NULL), LH_OK);
    assert_true(real == 8.0);
    assert_int_equal(lh_json_boolean(&root, "t", &boolean, NULL), LH_OK);
    assert_true(boolean);
    assert_int_equal(lh_json_string(&root, "n_layer", &string, NULL), LH_OK);
    assert_string_equal(string, "x");
    assert_true(lh_json_has(&root, "t"));
    assert_false(lh_json_has(&root, "none"));
    assert_false(lh_json_has(&root, "absent"));
    assert_int_equal(lh_json_optional_integer(&root, "none", 1, 8, &integer, NULL), LH_OK);
    assert_int_equal(lh_json_optional_real(&root, "absent", 1, 8, &real, NULL), LH_OK);
    assert_int_equal(integer, 4);
    assert_true(real == 8.0);
#define REJECTED(call, text)                      \
    do {                                          \
        lh_error error = {0};                     \
        assert_int_equal(call, LH_E_CONFIG);      \
        assert_string_equal(error.message, text); \
    } while (0)
    REJECTED(lh_json_integer(&root, "n_layer", 1, INT64_MAX, &integer, &error),
             "config.json: key 'n_layer' must be a positive integer, got \"x\"");
    REJECTED(lh_json_integer(&root, "heads", 9, 10, &integer, &error),
             "config.json: key 'heads' must be an integer from 9 to 10, got 8");
    REJECTED(lh_json_integer(&root, "half", 0, INT64_MAX, &integer, &error),
             "config.json: key 'half' must be an integer of at least 0, got 0.5");
    REJECTED(lh_json_integer(&root, "absent", INT64_MIN, INT64_MAX, &integer, &error),
             "config.json: key 'absent' must be an integer, but it is missing");
    REJECTED(lh_json_integer(&root, "none", INT64_MIN, 5, &integer, &error),
             "config.json: key 'none' must be an integer of at most 5, got null");
    REJECTED(lh_json_real(&root, "t", 0, 1, &real, &error),
             "config.json: key 't' must be a number from 0 to 1, got true");
    REJECTED(lh_json_real(&root, "half", 1, INFINITY, &real, &error),
             "config.json: key 'half' must be a number of at least 1, got 0.5");
    REJECTED(lh_json_boolean(&root, "heads", &boolean, &error),
             "config.json: key 'heads' must be true or false, got 8");
    REJECTED(lh_json_string(&root, "rope", &string, &error),
             "config.json: key 'rope' must be a string, got {\"factor\":-2,\"list\":[{\"kind\":3}]}");
    REJECTED(lh_json_array(&root, "rope", &rope, &error),
             "config.json: key 'rope' must be an array, got {\"factor\":-2,\"list\":[{\"kind\":3}]}");
    REJECTED(lh_json_boolean(&root, "long", &boolean, &error),
             "config.json: key 'long' must be true or false, got "
             "\"01234567890123456789012345678901234567890123456789012345...\"");
    assert_int_equal(lh_json_object(&root, "rope", &rope, NULL), LH_OK);
    REJECTED(lh_json_real(&rope, "factor", 1, 1000, &real, &error),
             "config.json: key 'rope.factor' must be a number from 1 to 1000, got -2");
    assert_int_equal(lh_json_array(&rope, "list", &list, NULL), LH_OK);
    assert_int_equal(lh_json_length(&list), 1);
    item = lh_json_element(&list, 0);
    REJECTED(lh_json_string(&item, "kind", &string, &error),
             "config.json: key 'rope.list[0].kind' must be a string, got 3");
    static const char *const names[] = {"factor", "lists"};
    REJECTED(lh_json_expect_keys(&rope, names, 2, &error),
             "config.json: unknown key 'rope.list'; did you mean 'lists'?");
    assert_int_equal(lh_json_expect_keys(&item, (const char *const[]){"kind"}, 1, NULL), LH_OK);
    json_decref(value);
    value = parse("[1]");
    root = lh_json_root(value, "config.json");
    REJECTED(lh_json_reject(&root, NULL, &error, "must be an object"),
             "config.json: the file must be an object, got [1]");
    REJECTED(lh_json_string(&root, "a", &string, &error),
             "config.json: key 'a' must be a string, but it is missing");
    json_decref(value);
#undef REJECTED
}

/* A number that some published tokenizer settings hold, past any integer type. */
static void huge_integers_become_reals(void **state)
{
    (void)state;
    json_t *value = parse("{\"model_max_length\": 1000000000000000019884624838656, \"n\": 12}");
    lh_json root = lh_json_root(value, "x");
    int64_t n = 0;
    double length = 0;
    assert_int_equal(lh_json_integer(&root, "n", 1, 100, &n, NULL), LH_OK);
    assert_int_equal(n, 12);
    assert_int_equal(lh_json_real(&root, "model_max_length", 0, INFINITY, &length, NULL), LH_OK);
    assert_true(length == 1e30);
    assert_int_equal(lh_json_integer(&root, "model_max_length", 0, INT64_MAX, &n, NULL), LH_E_CONFIG);
    json_decref(value);
}

static void dumps_are_canonical(void **state)
{
    (void)state;
    json_t *value =
        parse("{\"b\": [1, 2.5, \"x\"], \"a\": {}, \"d\": [[1], {\"z\": null, \"y\": [true, false]}], \"c\": "
              "\"\\u0001\\\"\\\\\\n\xC3\xA4\", \"e\": [], \"f\": 0.1, \"g\": 1e20, \"h\": 3.0}");
    lh_string text = {0}, again = {0};
    lh_json_dump(value, &text);
    assert_string_equal(text.data, "{\n"
                                   "  \"a\": {},\n"
                                   "  \"b\": [1, 2.5, \"x\"],\n"
                                   "  \"c\": \"\\u0001\\\"\\\\\\n\xC3\xA4\",\n"
                                   "  \"d\": [\n"
                                   "    [1],\n"
                                   "    {\n"
                                   "      \"y\": [true, false],\n"
                                   "      \"z\": null\n"
                                   "    }\n"
                                   "  ],\n"
                                   "  \"e\": [],\n"
                                   "  \"f\": 0.1,\n"
                                   "  \"g\": 1e+20,\n"
                                   "  \"h\": 3.0\n"
                                   "}\n");
    json_t *back = parse(text.data);
    assert_true(json_equal(value, back));
    lh_json_dump(back, &again);
    assert_string_equal(text.data, again.data);
    lh_string_free(&text);
    lh_string_free(&again);
    json_decref(value);
    json_decref(back);
}

static void reals_read_back_exactly(void **state)
{
    (void)state;
    lh_random random = lh_random_create(5, 6);
    char text[LH_JSON_REAL_SIZE];
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = lh_random_u64(&random);
        double value;
        memcpy(&value, &bits, sizeof value);
        (void)lh_json_format_real(text, value);
        if (!isfinite(value)) {
            assert_string_equal(text, "null");
        } else {
            assert_true(strtod(text, NULL) == value);
            assert_non_null(strpbrk(text, ".e"));
        }
    }
    static const struct {
        double value;
        const char *text;
    } known[] = {{0.1, "0.1"},
                 {1, "1.0"},
                 {-0.0, "-0.0"},
                 {1e21, "1e+21"},
                 {3e-4, "0.0003"},
                 {NAN, "null"},
                 {5e-324, "4.94065645841247e-324"},
                 {INFINITY, "null"},
                 {1.0 / 3, "0.3333333333333333"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_string_equal(lh_json_format_real(text, known[i].value), known[i].text);
    }
}

static void strings_become_valid_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } known[] = {{"a\xFF", "\"a\xEF\xBF\xBD\""},
                 {"\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
                 {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
                 {"\xE2\x82", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
                 {"\xF0\x9F\x98\x80\xE2\x82\xAC", "\"\xF0\x9F\x98\x80\xE2\x82\xAC\""},
                 {"\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        lh_string text = {0};
        lh_json_append_string(&text, known[i].bytes, strlen(known[i].bytes));
        assert_string_equal(text.data, known[i].text);
        lh_string_free(&text);
    }
    lh_random random = lh_random_create(7, 8);
    for (int round = 0; round < 3000; round++) {
        char bytes[16];
        size_t size = lh_random_below(&random, sizeof bytes);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (char)(lh_random_below(&random, 2) ? 0x80 + lh_random_below(&random, 128)
                                                          : 1 + lh_random_below(&random, 127));
        }
        lh_string text = {0};
        lh_json_append_string(&text, bytes, size);
        json_t *value = NULL;
        assert_int_equal(lh_json_parse(text.data, text.size, "x", &value, NULL), LH_OK);
        json_decref(value);
        lh_string_free(&text);
    }
}

static void files_are_read(void **state)
{
    (void)state;
    json_t *value = NULL;
    lh_error error = {0};
    put_file("a.json", "{\"a\": 1}");
    assert_int_equal(lh_json_read(in_folder("a.json"), 0, &value, &error), LH_OK);
    assert_int_equal(json_integer_value(json_object_get(value, "a")), 1);
    json_decref(value);
    assert_int_equal(lh_json_read(in_folder("a.json"), 5, &value, &error), LH_E_FORMAT);
    assert_null(value);
    error = (lh_error){0};
    assert_int_equal(lh_json_read(in_folder("b.json"), 0, &value, &error), LH_E_IO);
    assert_says(&error, "b.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_text_is_placed),
        cmocka_unit_test(members_are_checked),
        cmocka_unit_test(huge_integers_become_reals),
        cmocka_unit_test(dumps_are_canonical),
        cmocka_unit_test(reals_read_back_exactly),
        cmocka_unit_test(strings_become_valid_utf8),
        cmocka_unit_test_setup_teardown(files_are_read, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
