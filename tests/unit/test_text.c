#include "base/memory.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void string_grows(void **state)
{
    (void)state;
    lh_string string = {0};
    lh_string_append(&string, "", 0);
    assert_string_equal(string.data, "");
    for (int i = 0; i < 1000; i++) {
        lh_string_print(&string, "%d,", i);
    }
    assert_int_equal(string.size, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(string.data), string.size);
    assert_string_equal(string.data + string.size - 8, "998,999,");
    lh_string_clear(&string);
    lh_string_append(&string, "a\0b", 3);
    assert_memory_equal(string.data, "a\0b", 4);
    assert_false(string.failed);
    lh_string_free(&string);
    assert_null(string.data);
}

static void string_failure_is_sticky(void **state)
{
    (void)state;
    uint64_t live = lh_heap_live_bytes();
    lh_string string = {0};
    lh_string_print(&string, "kept");
    lh_heap_fail_after(0);
    lh_string_print(&string, "%200s", "lost");
    lh_heap_fail_after(-1);
    assert_true(string.failed);
    lh_string_print(&string, "ignored");
    assert_string_equal(string.data, "kept");
    lh_string_free(&string);
    assert_int_equal(lh_heap_live_bytes(), live);
}

static void nearest_name(void **state)
{
    (void)state;
    static const char *const names[] = {"train", "eval", "generate", "data prepare", "info", "tokenizer train"};
    size_t count = sizeof names / sizeof names[0];
    assert_string_equal(lh_nearest_name("trian", names, count), "train");
    assert_string_equal(lh_nearest_name("evla", names, count), "eval");
    assert_string_equal(lh_nearest_name("gen", names, count), "generate");
    assert_string_equal(lh_nearest_name("data prepair", names, count), "data prepare");
    assert_string_equal(lh_nearest_name("info", names, count), "info");
    assert_null(lh_nearest_name("zzzzzz", names, count));
    assert_null(lh_nearest_name("x", names, count));
    assert_null(lh_nearest_name("", names, count));
    assert_null(lh_nearest_name("train", names, 0));
    char longest[300];
    memset(longest, 'q', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(lh_nearest_name(longest, names, count));
}

static void integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"-17", -17},
        {"+3", 3},
        {"10k", 10000},
        {"10K", 10000},
        {"2M", 2000000},
        {"1G", 1000000000},
        {"4Ki", 4096},
        {"3Mi", 3 * 1048576},
        {"1Gi", 1073741824},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"007", 7},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t value = -1;
        assert_true(lh_parse_integer(good[i].text, &value));
        assert_int_equal(value, good[i].value);
    }
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "k",
                                      "-",
                                      "1.5",
                                      "0x10",
                                      "1e3",
                                      "10kk",
                                      "10ki",
                                      "9223372036854775808",
                                      "9223372036854775807k",
                                      "--1",
                                      "1T"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t value = 42;
        assert_false(lh_parse_integer(bad[i], &value));
        assert_int_equal(value, 42);
    }
}

static void reals(void **state)
{
    (void)state;
    double value = 0;
    assert_true(lh_parse_real("0.25", &value) && value == 0.25);
    assert_true(lh_parse_real("-3e2", &value) && value == -300);
    assert_true(lh_parse_real(".5", &value) && value == 0.5);
    static const char *const bad[] = {"", " 1", "1 ", "nan", "inf", "1e999", "0x1p3", "1,5", "e", "-", "1.2.3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        value = 42;
        assert_false(lh_parse_real(bad[i], &value));
        assert_true(value == 42);
    }
}

static void booleans(void **state)
{
    (void)state;
    bool value = false;
    assert_true(lh_parse_boolean("yes", &value) && value);
    assert_true(lh_parse_boolean("Off", &value) && !value);
    assert_true(lh_parse_boolean("1", &value) && value);
    assert_true(lh_parse_boolean("FALSE", &value) && !value);
    assert_false(lh_parse_boolean("", &value));
    assert_false(lh_parse_boolean("yess", &value));
    assert_false(lh_parse_boolean("2", &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(string_grows), cmocka_unit_test(string_failure_is_sticky),
        cmocka_unit_test(nearest_name), cmocka_unit_test(integers),
        cmocka_unit_test(reals),        cmocka_unit_test(booleans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
