/* Tasks: every row is read again by the definition and nothing else; the same seed gives the same bytes; what is
 * stopped or fails leaves no data set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/task_make.h"
#include "support/test_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTINGS = 8, ROWS = 200 };

static lh_task task_of(const char *name, const char *const *settings)
{
    lh_task task;
    lh_error error = {0};
    int count = 0;
    while (settings && settings[count]) {
        count++;
    }
    if (lh_task_create(&task, name, settings, count, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return task;
}

static int64_t value_of(const lh_task *task, const char *option)
{
    for (int i = 0; task->kind->options[i].name; i++) {
        if (strcmp(task->kind->options[i].name, option) == 0) {
            return task->value[i];
        }
    }
    fail_msg("no option %s", option);
    return 0;
}

/* A reader of a row that takes one token after another. */
typedef struct reader {
    const lh_task_row *row;
    int64_t at;
} reader;

static int32_t take(reader *r, uint32_t answer)
{
    assert_in_range(r->at, 0, r->row->size - 1);
    assert_int_equal(r->row->answers[r->at], answer);
    return r->row->tokens[r->at++];
}

static int32_t take_from(reader *r, int64_t first, int64_t kinds)
{
    int32_t token = take(r, 0);
    assert_in_range(token, first, first + kinds - 1);
    return token;
}

/* An answer: what stands at `source`. */
static void take_repeat(reader *r, int64_t source)
{
    assert_int_equal(r->row->tokens[r->at], r->row->tokens[source]);
    (void)take(r, (uint32_t)(r->at - source));
}

static void read_copy(const lh_task *task, reader *r)
{
    int64_t length = value_of(task, "length"), filler = value_of(task, "filler"), half = (length - filler) / 2;
    bool plain = value_of(task, "plain");
    assert_int_equal(r->row->size, length);
    assert_int_equal(take(r, 0), 2);
    while (r->at < half) {
        (void)take_from(r, 3, value_of(task, "symbols"));
    }
    for (int64_t i = 0; i < filler; i++) {
        assert_int_equal(take(r, 0), 0);
    }
    for (int64_t k = 1; k < half; k++) {
        take_repeat(r, plain ? k : half - k);
        if (!plain && filler == 0) {
            assert_int_equal(r->row->answers[r->at - 1], 2 * k - 1); /* as the paper counts */
        }
    }
    assert_int_equal(take(r, plain ? 0 : (uint32_t)r->at), 1);
}

static void read_recall(const lh_task *task, reader *r)
{
    int64_t pairs = value_of(task, "pairs"), keys = value_of(task, "keys"), values = value_of(task, "values");
    int64_t queries = value_of(task, "queries") ? value_of(task, "queries") : pairs;
    int64_t *place = calloc((size_t)keys, sizeof *place), filler = r->row->size - 2 * (pairs + queries);
    for (int64_t i = 0; i < pairs; i++) {
        int32_t key = take_from(r, 0, keys);
        assert_int_equal(place[key], 0);
        place[key] = r->at;
        (void)take_from(r, keys, values);
    }
    assert_in_range(filler, value_of(task, "filler") - value_of(task, "vary"), value_of(task, "filler"));
    for (int64_t i = 0; i < filler; i++) {
        (void)take_from(r, keys + values, value_of(task, "noise"));
    }
    for (int64_t i = 0; i < queries; i++) {
        int32_t key = take_from(r, 0, keys);
        assert_true(place[key] > 0); /* it has a value and was not asked for before */
        take_repeat(r, place[key]);
        place[key] = 0;
    }
    free(place);
}

static void read_delayed(const lh_task *task, reader *r)
{
    int64_t period = value_of(task, "period"), delay = value_of(task, "delay"), rounds = value_of(task, "rounds");
    int64_t symbols = value_of(task, "symbols"), start = 0;
    assert_int_equal(r->row->size, (rounds + 1) * period);
    while (r->row->tokens[start] == 0) {
        start++;
    }
    assert_in_range(start, 0, period - 1);
    for (int64_t i = 0; i < r->row->size; i++) {
        int64_t phase = (i - start) % period;
        if (i < start || i >= start + rounds * period || (phase != 0 && phase != delay && phase != delay + 1)) {
            assert_int_equal(take(r, 0), 0);
        } else if (phase == 0) {
            (void)take_from(r, 1, symbols);
        } else if (phase == delay) {
            assert_int_equal(take(r, 0), symbols + 1);
        } else {
            take_repeat(r, i - phase);
        }
    }
}

static void read_marker(const lh_task *task, reader *r)
{
    int64_t markers = value_of(task, "markers"), symbols = value_of(task, "symbols");
    int64_t noise = value_of(task, "noise"), filler = r->row->size - 2 * markers - 1;
    for (int64_t i = 0; i < markers; i++) {
        (void)take_from(r, 0, symbols);
    }
    assert_in_range(filler, value_of(task, "filler") - value_of(task, "vary"), value_of(task, "filler"));
    for (int64_t i = 0; i < filler; i++) {
        (void)take_from(r, symbols, noise);
    }
    assert_int_equal(take(r, 0), symbols + noise);
    for (int64_t i = 0; i < markers; i++) {
        take_repeat(r, i);
    }
}

static const struct {
    const char *name, *settings[SETTINGS];
    double chance;
    void (*read)(const lh_task *task, reader *r);
} cases[] = {
    {"copy", {"length=32"}, 1.0 / 256, read_copy},
    {"copy", {NULL}, 1.0 / 256, read_copy},
    {"copy", {"length=4"}, 1.0 / 256, read_copy},
    {"copy", {"length=131072"}, 1.0 / 256, read_copy},
    {"copy", {"length=50", "plain=1", "filler=16", "symbols=2"}, 0.5, read_copy},
    {"copy", {"length=51", "filler=9", "symbols=5"}, 0.2, read_copy},
    {"recall", {NULL}, 1.0 / 64, read_recall},
    {"recall", {"pairs=32", "filler=1024", "noise=1"}, 1.0 / 64, read_recall},
    {"recall", {"pairs=5", "keys=5", "values=3", "queries=2", "filler=20", "vary=20"}, 1.0 / 3, read_recall},
    {"recall", {"pairs=1", "keys=1", "filler=0"}, 1.0 / 64, read_recall},
    {"delayed", {NULL}, 1.0 / 16, read_delayed},
    {"delayed", {"period=3", "delay=1", "rounds=1", "symbols=2"}, 0.5, read_delayed},
    {"delayed", {"period=50", "delay=48", "rounds=20"}, 1.0 / 16, read_delayed},
    {"marker", {NULL}, 0.25, read_marker},
    {"marker", {"markers=8", "symbols=16", "filler=512", "vary=384"}, 1.0 / 16, read_marker},
    {"marker", {"filler=0", "noise=1"}, 0.25, read_marker},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static void rows_are_what_they_say(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        lh_task task = task_of(cases[c].name, cases[c].settings);
        lh_task_row row;
        int64_t longest = 0;
        assert_int_equal(lh_task_row_create(&row, &task, NULL), LH_OK);
        assert_true(fabs(task.chance - cases[c].chance) < 1e-12);
        for (uint64_t i = 0; i < (task.length > 10000 ? 3 : ROWS); i++) {
            lh_task_make_row(&task, 11, (int)(i % 3), i, &row);
            reader r = {.row = &row};
            cases[c].read(&task, &r);
            assert_int_equal(r.at, row.size);
            longest = row.size > longest ? row.size : longest;
            for (int64_t t = 0; t < row.size; t++) {
                assert_in_range(row.tokens[t], 0, task.vocab - 1);
            }
        }
        assert_in_range(longest, task.length / 2, task.length);
        lh_task_row_free(&row);
    }
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Counts that should be equal on average: none further from that than chance allows (5 standard deviations). */
static void assert_even(const int *counts, int64_t kinds, double total)
{
    double mean = total / (double)kinds;
    for (int64_t i = 0; i < kinds; i++) {
        if (fabs(counts[i] - mean) > 5 * sqrt(mean)) {
            fail_msg("kind %lld came up %d times, on average it is %.1f", (long long)i, counts[i], mean);
        }
    }
}

static void chance_is_fair(void **state)
{
    (void)state;
    enum { N = 3000 };
    const char *recall[] = {"pairs=3", "keys=8", "values=4", "filler=9", "vary=9", "noise=2", NULL};
    const char *delayed[] = {"period=12", "delay=5", "rounds=2", "symbols=4", NULL};
    lh_task task = task_of("recall", recall);
    lh_task_row row;
    int keys[8] = {0}, values[4] = {0}, fillers[10] = {0}, first_query[3] = {0}, starts[12] = {0};
    assert_int_equal(lh_task_row_create(&row, &task, NULL), LH_OK);
    for (uint64_t i = 0; i < N; i++) {
        lh_task_make_row(&task, 5, 0, i, &row);
        for (int pair = 0; pair < 3; pair++) {
            keys[row.tokens[2 * pair]]++;
            values[row.tokens[2 * pair + 1] - 8]++;
        }
        fillers[row.size - 12]++;
        int64_t first = row.size - 6;
        first_query[(first + 1 - row.answers[first + 1]) / 2]++;
    }
    assert_even(keys, 8, 3.0 * N);
    assert_even(values, 4, 3.0 * N);
    assert_even(fillers, 10, N);
    assert_even(first_query, 3, N);
    lh_task_row_free(&row);
    task = task_of("delayed", delayed);
    assert_int_equal(lh_task_row_create(&row, &task, NULL), LH_OK);
    for (uint64_t i = 0; i < N; i++) {
        int start = 0;
        lh_task_make_row(&task, 5, 0, i, &row);
        while (row.tokens[start] == 0) {
            start++;
        }
        starts[start]++;
    }
    assert_even(starts, 12, N);
    lh_task_row_free(&row);
}

/* A row depends on seed, split and its number, and on nothing else; these rows stay what they are. */
static void rows_follow_from_the_seed(void **state)
{
    (void)state;
    const char *small[] = {"pairs=2", "keys=4", "values=4", "filler=3", "noise=2", NULL};
    static const int32_t golden[] = {2, 4, 3, 6, 8, 8, 8, 3, 6, 2, 4};
    lh_task task = task_of("recall", small);
    lh_task_row a, b;
    assert_int_equal(lh_task_row_create(&a, &task, NULL), LH_OK);
    assert_int_equal(lh_task_row_create(&b, &task, NULL), LH_OK);
    lh_task_make_row(&task, 1, 0, 0, &a);
    assert_int_equal(a.size, sizeof golden / sizeof golden[0]);
    assert_memory_equal(a.tokens, golden, sizeof golden);
    lh_task_row_free(&a);
    lh_task_row_free(&b);
    task = task_of("copy", NULL);
    assert_int_equal(lh_task_row_create(&a, &task, NULL), LH_OK);
    assert_int_equal(lh_task_row_create(&b, &task, NULL), LH_OK);
    size_t bytes = sizeof *a.tokens * 64;
    lh_task_make_row(&task, 7, 1, 100, &a);
    lh_task_make_row(&task, 7, 1, 99, &b);
    assert_memory_not_equal(a.tokens, b.tokens, bytes);
    lh_task_make_row(&task, 7, 1, 100, &b);
    assert_memory_equal(a.tokens, b.tokens, bytes);
    lh_task_make_row(&task, 7, 2, 100, &b);
    assert_memory_not_equal(a.tokens, b.tokens, bytes);
    lh_task_make_row(&task, 8, 1, 100, &b);
    assert_memory_not_equal(a.tokens, b.tokens, bytes);
    lh_task_row_free(&a);
    lh_task_row_free(&b);
}

static void refuse(const char *name, const char *const *settings, const char *words)
{
    lh_task task;
    lh_error error = {0};
    int count = 0;
    while (settings[count]) {
        count++;
    }
    assert_int_equal(lh_task_create(&task, name, settings, count, &error), LH_E_ARGUMENT);
    assert_says(&error, words);
}

#define WITH(...) ((const char *const[]){__VA_ARGS__, NULL})

static void options_are_checked(void **state)
{
    (void)state;
    refuse("recal", WITH("pairs=1"), "did you mean recall?");
    refuse("nonsense", WITH("pairs=1"), "--list");
    refuse("recall", WITH("pair=1"), "did you mean pairs?");
    refuse("recall", WITH("pairs"), "is no setting");
    refuse("recall", WITH("pairs=x"), "from 1 to");
    refuse("recall", WITH("pairs=0"), "from 1 to");
    refuse("recall", WITH("pairs=65"), "every key stands once");
    refuse("recall", WITH("queries=9"), "asked for once");
    refuse("recall", WITH("vary=65"), "more than the filler");
    refuse("copy", WITH("length=33"), "must be even");
    refuse("copy", WITH("length=32", "filler=30"), "at least 2");
    refuse("delayed", WITH("delay=239"), "period - 2");
    refuse("delayed", WITH("rounds=1000000", "period=100000"), "too many");
    refuse("marker", WITH("filler=4", "vary=5"), "more than the filler");
    lh_task task = task_of("recall", WITH("pairs=4", "filler=1k", "pairs=5"));
    lh_string text = {0};
    lh_task_describe(&task, &text);
    assert_string_equal(text.data, "pairs=5 queries=0 keys=64 values=64 filler=1000 vary=0 noise=16");
    lh_string_free(&text);
}

/* ---- data sets ---- */

static lh_status make(const lh_task *task, const char *name, lh_task_make_options options, bool *already,
                      lh_error *error)
{
    *error = (lh_error){0};
    return lh_task_make(task, in_folder(name), &options, already, error);
}

static void assert_made(const lh_task *task, const char *name, lh_task_make_options options, bool already)
{
    lh_error error;
    bool found;
    if (make(task, name, options, &found, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(found, already);
}

static const lh_task_make_options few = {.seed = 3, .rows = {5, 2, 1}};

static void check_split(const lh_task *task, const lh_split *split, int number, const lh_tokenizer *tokenizer)
{
    lh_task_row row;
    lh_ids ids = {0};
    int32_t *tokens = malloc(sizeof *tokens * split->tokens);
    uint32_t *answers = malloc(sizeof *answers * split->tokens);
    lh_string text = {0};
    assert_int_equal(lh_task_row_create(&row, task, NULL), LH_OK);
    assert_int_equal(lh_split_copy(split, 0, split->tokens, tokens, NULL), LH_OK);
    lh_split_copy_answers(split, 0, split->tokens, answers);
    for (uint64_t i = 0; i < split->documents; i++) {
        lh_document document = lh_split_document(split, i);
        lh_task_make_row(task, 3, number, i, &row);
        assert_int_equal(document.tokens, row.size);
        assert_memory_equal(tokens + document.start, row.tokens, sizeof *tokens * (size_t)row.size);
        assert_memory_equal(answers + document.start, row.answers, sizeof *answers * (size_t)row.size);
        /* A row can be read, and what is read is the row. */
        lh_string_clear(&text);
        lh_ids_clear(&ids);
        assert_int_equal(lh_tokenizer_decode(tokenizer, row.tokens, (size_t)row.size, 0, &text, NULL), LH_OK);
        assert_int_equal(lh_tokenizer_encode(tokenizer, text.data, text.size, 0, &ids, NULL), LH_OK);
        assert_int_equal(ids.size, row.size);
        assert_memory_equal(ids.data, row.tokens, sizeof *ids.data * ids.size);
        assert_int_equal(document.totals.bytes, text.size);
        assert_int_equal(document.totals.words, row.size);
    }
    lh_string_free(&text);
    lh_ids_free(&ids);
    free(tokens);
    free(answers);
    lh_task_row_free(&row);
}

static void data_sets_hold_the_rows(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        char name[24];
        lh_dataset *dataset;
        lh_tokenizer *tokenizer;
        lh_error error = {0};
        lh_task task = task_of(cases[c].name, cases[c].settings);
        if (task.length > 10000) {
            continue;
        }
        (void)snprintf(name, sizeof name, "set-%d", c);
        assert_made(&task, name, few, false);
        if (lh_dataset_open(&dataset, in_folder(name), &error) != LH_OK ||
            lh_dataset_verify(dataset, NULL, NULL, &error) != LH_OK ||
            lh_dataset_tokenizer(dataset, &tokenizer, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_string_equal(dataset->facts.task, cases[c].name);
        assert_true(dataset->facts.chance == task.chance);
        assert_int_equal(dataset->facts.task_seed, 3);
        assert_int_equal(dataset->facts.vocab_size, task.vocab);
        for (int i = 0; i < LH_SPLITS; i++) {
            assert_int_equal(dataset->splits[i].documents, few.rows[i]);
            assert_true(dataset->splits[i].answered);
            check_split(&task, &dataset->splits[i], i, tokenizer);
        }
        lh_tokenizer_free(tokenizer);
        lh_dataset_free(dataset);
    }
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t sizes[2];
    char *bytes[2] = {scratch_read(in_folder(a), &sizes[0]), scratch_read(in_folder(b), &sizes[1])};
    assert_non_null(bytes[0]);
    assert_non_null(bytes[1]);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0], bytes[1], sizes[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void folders_are_safe(void **state)
{
    (void)state;
    lh_error error;
    bool already;
    lh_task task = task_of("recall", NULL), other = task_of("recall", WITH("filler=65"));
    assert_made(&task, "one", few, false);
    assert_made(&task, "one", few, true);
    assert_made(&task, "two", few, false);
    assert_same_file("one/train-00000.lhs", "two/train-00000.lhs");
    assert_same_file("one/test-00000.lhs", "two/test-00000.lhs");
    assert_same_file("one/dataset.json", "two/dataset.json");
    assert_int_equal(make(&other, "one", few, &already, &error), LH_E_CONFIG);
    assert_says(&error, "--force");
    lh_task_make_options changed = few;
    changed.seed = 4;
    assert_int_equal(make(&task, "one", changed, &already, &error), LH_E_CONFIG);
    changed = few;
    changed.rows[2]++;
    assert_int_equal(make(&task, "one", changed, &already, &error), LH_E_CONFIG);
    assert_same_file("one/train-00000.lhs", "two/train-00000.lhs");
    changed.force = true;
    changed.rows[1] = 0;
    assert_made(&task, "one", changed, false);
    assert_same_file("one/train-00000.lhs", "two/train-00000.lhs");
    assert_false(lh_file_exists(in_folder("one/validation-00000.lhs")));
    /* Nothing at all, or far too much. */
    assert_int_equal(make(&task, "x", (lh_task_make_options){0}, &already, &error), LH_E_ARGUMENT);
    changed.rows[0] = (uint64_t)1 << 60;
    assert_int_equal(make(&task, "x", changed, &already, &error), LH_E_ARGUMENT);
    assert_says(&error, "too many");
}

static bool stop_later(void *data, uint64_t done, uint64_t total)
{
    assert_in_range(done, 1, total);
    return --*(int *)data > 0;
}

static void what_is_stopped_is_no_data_set(void **state)
{
    (void)state;
    lh_error error;
    bool already;
    lh_task task = task_of("marker", NULL);
    lh_task_make_options options = few;
    assert_made(&task, "whole", few, false);
    size_t files = 0, expected;
    char **names;
    assert_int_equal(lh_directory_list(in_folder("whole"), &names, &expected, NULL), LH_OK);
    lh_name_list_free(names);
    for (int steps = 1; steps < 8; steps++) {
        int left = steps;
        options.watch = stop_later;
        options.watch_data = &left;
        assert_int_equal(make(&task, "stopped", options, &already, &error), LH_E_INTERRUPTED);
        assert_false(lh_file_exists(in_folder("stopped/dataset.json")));
        assert_made(&task, "stopped", few, false);
        assert_same_file("stopped/train-00000.lhs", "whole/train-00000.lhs");
        assert_int_equal(lh_directory_list(in_folder("stopped"), &names, &files, NULL), LH_OK);
        lh_name_list_free(names);
        assert_int_equal(files, expected); /* no parts are left */
        options.force = true;
    }
    /* A disk that is full at any point. */
    for (rlim_t limit = 64; limit < 6000; limit += 700) {
        lh_task_make_options forced = few;
        forced.force = true;
        limit_files(limit);
        lh_status status = make(&task, "full", forced, &already, &error);
        limit_files(RLIM_INFINITY);
        assert_int_equal(status, LH_E_IO);
        assert_false(lh_file_exists(in_folder("full/dataset.json")));
    }
    assert_made(&task, "full", few, false);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Every allocation that fails is told, and nothing leaks. */
static void memory_may_run_out(void **state)
{
    (void)state;
    lh_task task = task_of("delayed", WITH("period=8", "delay=3", "rounds=2", "symbols=2"));
    lh_task_make_options options = few;
    lh_error error;
    bool already;
    options.force = true;
    for (int64_t n = 0;; n++) {
        lh_heap_fail_after(n);
        lh_status status = make(&task, "memory", options, &already, &error);
        lh_heap_fail_after(-1);
        assert_int_equal(lh_heap_live_bytes(), 0);
        if (status == LH_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, LH_E_MEMORY);
        assert_true(error.message[0]);
        assert_true(n < 3000);
    }
}

static void words_are_checked(void **state)
{
    (void)state;
    lh_tokenizer *tokenizer;
    static const char *const bad[][2] = {{"a", "a"}, {"a", "b c"}, {"", "a"}, {"a", "\xc2\xa0"}, {"a", "\xff"}};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lh_tokenizer_create_words(&tokenizer, bad[i], 2, NULL), LH_E_ARGUMENT);
        assert_null(tokenizer);
    }
    assert_int_equal(lh_tokenizer_create_words(&tokenizer, bad[0], 0, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_tokenizer_create_words(&tokenizer, bad[0], 1, NULL), LH_OK);
    lh_ids ids = {0};
    lh_error error = {0};
    assert_int_equal(lh_tokenizer_encode(tokenizer, "a  b", 4, 0, &ids, &error), LH_E_UNSUPPORTED);
    assert_says(&error, "\"b\"");
    lh_ids_free(&ids);
    lh_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_what_they_say),
        cmocka_unit_test(chance_is_fair),
        cmocka_unit_test(rows_follow_from_the_seed),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(data_sets_hold_the_rows),
        cmocka_unit_test(folders_are_safe),
        cmocka_unit_test(what_is_stopped_is_no_data_set),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(words_are_checked),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
