#include "formats/jsonl.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "support/test_folder.h"

static lh_jsonl *open_log(const char *name, int64_t last_step)
{
    lh_jsonl *log = NULL;
    lh_error error = {0};
    if (lh_jsonl_open(&log, in_folder(name), last_step, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return log;
}

static void add_step(lh_jsonl *log, int64_t step)
{
    lh_jsonl_integer(log, "step", step);
    lh_jsonl_real(log, "loss", 1.0 / (double)(step + 1));
    assert_int_equal(lh_jsonl_end(log, NULL), LH_OK);
}

static void assert_text(const char *name, const char *expected)
{
    char *text = NULL;
    assert_int_equal(lh_file_read(in_folder(name), 0, &text, NULL, NULL), LH_OK);
    assert_string_equal(text, expected);
    lh_heap_free(text);
}

static void lines_are_json(void **state)
{
    (void)state;
    lh_jsonl *log = open_log("m", 0);
    lh_jsonl_integer(log, "step", INT64_MIN);
    lh_jsonl_real(log, "loss", 0.1);
    lh_jsonl_real(log, "bad", NAN);
    lh_jsonl_real(log, "worse", -INFINITY);
    lh_jsonl_boolean(log, "yes", true);
    lh_jsonl_boolean(log, "no", false);
    lh_jsonl_string(log, "a \"b\"\n", "c\\\xFF");
    assert_int_equal(lh_jsonl_end(log, NULL), LH_OK);
    assert_int_equal(lh_jsonl_end(log, NULL), LH_OK);
    /* Nothing waits in a buffer. */
    assert_text("m",
                "{\"step\": -9223372036854775808, \"loss\": 0.1, \"bad\": null, \"worse\": null, \"yes\": true, "
                "\"no\": false, \"a \\\"b\\\"\\n\": \"c\\\\\xEF\xBF\xBD\"}\n{}\n");
    lh_jsonl_close(log);
}

typedef struct tally {
    int64_t lines, last_line, step_sum;
    double loss;
} tally;

static lh_status count_line(void *user, const json_t *object, int64_t line, lh_error *error)
{
    tally *seen = user;
    seen->lines++;
    seen->last_line = line;
    seen->step_sum += json_integer_value(json_object_get(object, "step"));
    seen->loss = json_real_value(json_object_get(object, "loss"));
    return seen->step_sum < 0 ? lh_fail(error, LH_E_NUMERIC, "negative") : LH_OK;
}

static void reals_come_back_exactly(void **state)
{
    (void)state;
    lh_random random = lh_random_create(1, 1);
    for (int i = 0; i < 200; i++) {
        uint64_t bits = lh_random_u64(&random);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) {
            continue;
        }
        lh_jsonl *log = open_log("r", -1);
        lh_jsonl_integer(log, "step", 0);
        lh_jsonl_real(log, "loss", value);
        assert_int_equal(lh_jsonl_end(log, NULL), LH_OK);
        lh_jsonl_close(log);
        tally seen = {0};
        assert_int_equal(lh_jsonl_read(in_folder("r"), count_line, &seen, NULL), LH_OK);
        assert_int_equal(seen.lines, 1);
        assert_memory_equal(&seen.loss, &value, sizeof value);
    }
}

static void resuming_cuts_back(void **state)
{
    (void)state;
    lh_jsonl *log = open_log("m", 0);
    for (int64_t step = 0; step <= 50; step += 10) {
        add_step(log, step);
    }
    lh_jsonl_close(log);
    tally seen = {0};
    log = open_log("m", 30);
    lh_jsonl_close(log);
    assert_int_equal(lh_jsonl_read(in_folder("m"), count_line, &seen, NULL), LH_OK);
    assert_int_equal(seen.lines, 4);
    assert_int_equal(seen.step_sum, 60);
    log = open_log("m", 25);
    add_step(log, 30);
    lh_jsonl_close(log);
    seen = (tally){0};
    assert_int_equal(lh_jsonl_read(in_folder("m"), count_line, &seen, NULL), LH_OK);
    assert_int_equal(seen.lines, 4);
    assert_int_equal(seen.step_sum, 60);
    log = open_log("m", LH_JSONL_KEEP_ALL);
    add_step(log, 7);
    lh_jsonl_close(log);
    seen = (tally){0};
    assert_int_equal(lh_jsonl_read(in_folder("m"), count_line, &seen, NULL), LH_OK);
    assert_int_equal(seen.lines, 5);
    lh_jsonl_close(open_log("m", -1));
    assert_text("m", "");
}

/* A process killed in the middle of a line: whatever is left of the last line, resuming keeps exactly the whole
 * ones. */
static void torn_lines_go(void **state)
{
    (void)state;
    static const char whole[] = "{\"step\": 1}\n{\"step\": 2}\n{\"step\": 3}\n";
    for (size_t cut = 0; cut < sizeof whole; cut++) {
        assert_int_equal(lh_file_write(in_folder("t"), whole, cut, NULL), LH_OK);
        tally seen = {0};
        assert_int_equal(lh_jsonl_read(in_folder("t"), count_line, &seen, NULL), LH_OK);
        /* A line that lacks only its feed is read, yet cut off before more is appended. */
        assert_int_equal(seen.lines, (cut + 1) / 12);
        lh_jsonl *log = open_log("t", 9);
        add_step(log, 9);
        lh_jsonl_close(log);
        seen = (tally){0};
        assert_int_equal(lh_jsonl_read(in_folder("t"), count_line, &seen, NULL), LH_OK);
        assert_int_equal(seen.lines, cut / 12 + 1);
    }
}

static void damage_is_named(void **state)
{
    (void)state;
    tally seen = {0};
    lh_error error = {0};
    put_file("d", "{\"step\": 1}\n\n \r\n[2]\n{\"step\": 3}\n");
    assert_int_equal(lh_jsonl_read(in_folder("d"), count_line, &seen, &error), LH_E_FORMAT);
    assert_says(&error, "d:4: the line is not a JSON object");
    assert_int_equal(seen.lines, 1);
    put_file("d", "{\"step\": 1\n{\"step\": 3}\n");
    error = (lh_error){0};
    assert_int_equal(lh_jsonl_read(in_folder("d"), count_line, &seen, &error), LH_E_FORMAT);
    assert_says(&error, "d:1:");
    put_file("d", "\n\n{\"step\": -1}\n");
    error = (lh_error){0};
    seen = (tally){0};
    assert_int_equal(lh_jsonl_read(in_folder("d"), count_line, &seen, &error), LH_E_NUMERIC);
    assert_int_equal(seen.last_line, 3);
    assert_string_equal(error.message, "negative");
    error = (lh_error){0};
    assert_int_equal(lh_jsonl_read(in_folder("none"), count_line, &seen, &error), LH_E_IO);
    lh_jsonl *log = NULL;
    assert_int_equal(lh_jsonl_open(&log, test_folder, 0, &error), LH_E_IO);
    assert_null(log);
}

static void flipped_bits_never_crash(void **state)
{
    (void)state;
    static const char whole[] = "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": 0.25}\n";
    for (size_t bit = 0; bit < 8 * (sizeof whole - 1); bit++) {
        char *text = malloc(sizeof whole - 1);
        memcpy(text, whole, sizeof whole - 1);
        text[bit / 8] ^= (char)(1 << bit % 8);
        tally seen = {0};
        lh_status status = lh_jsonl_read_memory("x", text, sizeof whole - 1, count_line, &seen, NULL);
        assert_true(status == LH_OK || status == LH_E_FORMAT || status == LH_E_NUMERIC);
        free(text);
    }
}

/* A line that does not fit is not there at all, and the log goes on when there is room again. */
static void a_full_disk_loses_only_its_line(void **state)
{
    (void)state;
    lh_jsonl *log = open_log("f", 0);
    add_step(log, 1);
    for (rlim_t limit = 28; limit < 50; limit++) {
        lh_error error = {0};
        limit_files(limit);
        lh_jsonl_string(log, "text", "something longer than the room that is left");
        lh_status status = lh_jsonl_end(log, &error);
        limit_files(RLIM_INFINITY);
        assert_int_equal(status, LH_E_IO);
        assert_says(&error, in_folder("f"));
    }
    add_step(log, 3);
    lh_jsonl_close(log);
    assert_text("f", "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 3, \"loss\": 0.25}\n");
}

static void a_steady_log_asks_for_no_memory(void **state)
{
    (void)state;
    lh_jsonl *log = open_log("s", 0);
    for (int64_t step = 0; step < 10; step++) {
        add_step(log, INT64_MAX / 2 + step);
    }
    uint64_t before = lh_heap_allocations();
    for (int64_t step = 0; step < 100; step++) {
        add_step(log, step);
    }
    assert_int_equal(lh_heap_allocations(), before);
    lh_jsonl_close(log);
}

static void want_of_memory_is_reported(void **state)
{
    (void)state;
    uint64_t live = lh_heap_live_bytes();
    lh_status status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_jsonl *log = NULL;
        lh_heap_fail_after(after);
        status = lh_jsonl_open(&log, in_folder("w"), 0, NULL);
        if (status == LH_OK) {
            lh_jsonl_string(log, "long", "0123456789012345678901234567890123456789012345678901234567890123456789");
            status = lh_jsonl_end(log, NULL);
        }
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_jsonl_close(log);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
    tally seen = {0};
    assert_int_equal(lh_jsonl_read(in_folder("w"), count_line, &seen, NULL), LH_OK);
    assert_int_equal(seen.lines, 1);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(lines_are_json),
        IN_FOLDER(reals_come_back_exactly),
        IN_FOLDER(resuming_cuts_back),
        IN_FOLDER(torn_lines_go),
        IN_FOLDER(damage_is_named),
        cmocka_unit_test(flipped_bits_never_crash),
        IN_FOLDER(a_full_disk_loses_only_its_line),
        IN_FOLDER(a_steady_log_asks_for_no_memory),
        IN_FOLDER(want_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
