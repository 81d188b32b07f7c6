/* Whole runs: the folder, stops and resumes, evaluation, failures. */
#include "base/file.h"
#include "base/memory.h"
#include "formats/checkpoint.h"
#include "formats/jsonl.h"
#include "support/scratch.h"
#include "train/run.h"
#include "train/units.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[64], text_path[96];

static char *in_folder(const char *name)
{
    static char paths[8][160];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int prepare(void **state)
{
    (void)state;
    (void)setenv("LH_QUIET", "1", 1);
    if (scratch_make(folder) != 0) {
        return -1;
    }
    char text[6000];
    uint32_t noise = 99;
    for (size_t i = 0; i < sizeof text; i++) {
        noise = noise * 1664525u + 1013904223u;
        text[i] = "the quick brown fox jumps over a lazy dog. "[(i + (noise >> 30 == 0)) % 43];
    }
    (void)snprintf(text_path, sizeof text_path, "%s/book.txt", folder);
    return scratch_write(text_path, text, sizeof text);
}

static int clean_up(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char base[] = "[model]\nlayers = 2\nwidth = 16\nheads = 2\nhidden = 32\nsegment = 8\ndropout = 0.1\n"
                           "positions = relative\ninit = sonnet\n[memory]\nkind = compressive\nlength = 8\n"
                           "compressed = 4\nrate = 2\n"
                           "[train]\nsteps = 24\nthreads = 1\nwarmup = 4\nlearning_rate = 1e-2\nlog_every = 5\n"
                           "update_period = 2\nupdate_period_after = 9\ncheckpoint_every = 7\neval_every = 10\n"
                           "eval_tokens = 200\n[data]\nbatch = 2\n";

static lh_recipe *recipe_with(const char *const *settings)
{
    lh_recipe *recipe;
    lh_error error = {0};
    char path[160];
    (void)snprintf(path, sizeof path, "data.path=%s", text_path);
    lh_status status = lh_train_recipe_create(&recipe, &error);
    status = status == LH_OK ? lh_recipe_read_text(recipe, "base", base, strlen(base), &error) : status;
    status = status == LH_OK ? lh_recipe_override(recipe, path, &error) : status;
    for (int i = 0; settings && settings[i] && status == LH_OK; i++) {
        status = lh_recipe_override(recipe, settings[i], &error);
    }
    status = status == LH_OK ? lh_recipe_resolve(recipe, &error) : status;
    if (status != LH_OK) {
        fail_msg("%s", error.message);
    }
    return recipe;
}

/* Stops at the n-th time it is asked. */
static bool count_down(void *user)
{
    int *left = user;
    return --*left <= 0;
}

static lh_status train(const char *name, const char *const *settings, int patience, lh_run_report *report,
                       lh_error *error)
{
    lh_recipe *recipe = recipe_with(settings);
    *error = (lh_error){0};
    lh_run_options options = {.directory = in_folder(name), .stop = count_down, .user = &patience};
    lh_status status = lh_run_train(recipe, &options, report, error);
    lh_recipe_free(recipe);
    return status;
}

static void train_to_the_end(const char *name, const char *const *settings, lh_run_report *report)
{
    lh_error error;
    if (train(name, settings, 1 << 30, report, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_true(report->finished);
}

/* The newest checkpoints hold the same, time apart. */
static void same_checkpoint(const char *a, const char *b)
{
    lh_checkpoint *x, *y;
    lh_error error = {0};
    if (lh_checkpoint_open_latest(&x, in_folder(a), INT64_MAX, &error) != LH_OK ||
        lh_checkpoint_open_latest(&y, in_folder(b), INT64_MAX, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(lh_checkpoint_step(x), lh_checkpoint_step(y));
    const lh_safetensors *first = lh_checkpoint_file(x), *second = lh_checkpoint_file(y);
    assert_int_equal(lh_safetensors_count(first), lh_safetensors_count(second));
    for (size_t i = 0; i < lh_safetensors_count(first); i++) {
        const lh_safetensors_tensor *s = lh_safetensors_at(first, i);
        const lh_safetensors_tensor *t = lh_safetensors_find(second, s->name);
        if (!t || t->bytes != s->bytes ||
            (strcmp(s->name, "train.seconds") != 0 && memcmp(s->data, t->data, s->bytes) != 0)) {
            fail_msg("%s is not the same", s->name);
        }
    }
    lh_checkpoint_close(x);
    lh_checkpoint_close(y);
}

/* The lines of metrics.jsonl without what depends on the clock. */
static lh_status keep_line(void *user, const json_t *object, int64_t line, lh_error *error)
{
    (void)line;
    (void)error;
    json_t *copy = json_copy((json_t *)(uintptr_t)object);
    (void)json_object_del(copy, "train/seconds");
    (void)json_object_del(copy, "train/tokens_per_second");
    (void)json_object_del(copy, "train/gflop_per_second");
    (void)json_array_append_new(user, copy);
    return LH_OK;
}

static json_t *metrics_of(const char *run)
{
    char path[200];
    lh_error error = {0};
    json_t *lines = json_array();
    (void)snprintf(path, sizeof path, "%s/metrics.jsonl", in_folder(run));
    if (lh_jsonl_read(path, keep_line, lines, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return lines;
}

static void same_metrics(const char *a, const char *b)
{
    json_t *x = metrics_of(a), *y = metrics_of(b);
    if (!json_equal(x, y)) {
        fail_msg("metrics differ:\n%s\n%s", json_dumps(x, 0), json_dumps(y, 0));
    }
    json_decref(x);
    json_decref(y);
}

static void a_run_fills_its_folder(void **state)
{
    (void)state;
    lh_run_report report;
    train_to_the_end("plain", NULL, &report);
    static const char *const files[] = {"recipe.ini",
                                        "config.json",
                                        "tokenizer.json",
                                        "metrics.jsonl",
                                        "train.log",
                                        "best.json",
                                        "checkpoint-24.safetensors",
                                        "checkpoint-21.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[200];
        (void)snprintf(path, sizeof path, "%s/%s", in_folder("plain"), files[i]);
        if (!lh_file_exists(path)) {
            fail_msg("%s is missing", files[i]);
        }
    }
    assert_int_equal(report.step, 24);
    assert_int_equal(report.tokens, 24 * 16);
    assert_int_equal(report.unit, LH_UNIT_BITS_PER_BYTE);
    assert_false(report.resumed);
    assert_true(report.loss < 8.5 && report.validation < 8.5 && report.best <= report.validation);
    json_t *lines = metrics_of("plain");
    /* steps 5 10 15 20 24, evaluations at 10 20 24 */
    assert_int_equal(json_array_size(lines), 8);
    json_t *last = json_array_get(lines, 7);
    assert_int_equal(json_integer_value(json_object_get(last, "step")), 24);
    assert_true(json_real_value(json_object_get(last, "validation/bits_per_byte")) == report.validation);
    json_t *first = json_array_get(lines, 0);
    double nats = json_real_value(json_object_get(first, "train/loss"));
    assert_true(fabs(json_real_value(json_object_get(first, "train/bits_per_byte")) - nats / log(2)) < 1e-12);
    json_decref(lines);
    lh_checkpoint_best best;
    assert_int_equal(lh_checkpoint_best_read(in_folder("plain"), &best, NULL), LH_OK);
    assert_int_equal(best.step, report.best_step);
    assert_string_equal(best.metric, "validation/bits_per_byte");

    /* Once more: there is nothing left to do, and nothing changes. */
    lh_run_report again;
    train_to_the_end("plain", NULL, &again);
    assert_true(again.resumed);
    assert_int_equal(again.step, 24);
    assert_true(again.validation == report.validation && again.loss == report.loss);
    lines = metrics_of("plain");
    assert_int_equal(json_array_size(lines), 8);
    json_decref(lines);
}

static void stopped_runs_end_like_others(void **state)
{
    (void)state;
    lh_run_report report;
    lh_error error;
    train_to_the_end("whole", NULL, &report);
    for (int patience = 2; patience < 40; patience += 6) {
        char name[32];
        int sessions = 0;
        (void)snprintf(name, sizeof name, "stopped-%d", patience);
        lh_status status;
        while ((status = train(name, NULL, patience + sessions, &report, &error)) == LH_E_INTERRUPTED) {
            sessions++;
            assert_true(report.interrupted && !report.finished);
            if (sessions > 60) {
                fail_msg("no end after 60 sessions of %d", patience);
            }
        }
        if (status != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_true(sessions > 0);
        same_checkpoint("whole", name);
        same_metrics("whole", name);
    }
}

static void evaluation_changes_nothing(void **state)
{
    (void)state;
    lh_run_report report;
    static const char *const often[] = {"train.eval_every=1", "train.keep=100", NULL};
    static const char *const never[] = {"train.eval_every=0", "eval.split=test", NULL};
    train_to_the_end("often", often, &report);
    train_to_the_end("never", never, &report);
    lh_checkpoint *x, *y;
    assert_int_equal(lh_checkpoint_open_latest(&x, in_folder("often"), INT64_MAX, NULL), LH_OK);
    assert_int_equal(lh_checkpoint_open_latest(&y, in_folder("never"), INT64_MAX, NULL), LH_OK);
    const lh_safetensors_tensor *s = lh_safetensors_find(lh_checkpoint_file(x), "embedding.weight");
    const lh_safetensors_tensor *t = lh_safetensors_find(lh_checkpoint_file(y), "embedding.weight");
    assert_memory_equal(s->data, t->data, s->bytes);
    lh_checkpoint_close(x);
    lh_checkpoint_close(y);
}

static void a_longer_budget_goes_on(void **state)
{
    (void)state;
    lh_run_report report;
    static const char *const fixed[] = {"train.schedule=constant", NULL};
    static const char *const first[] = {"train.schedule=constant", "train.steps=11", NULL};
    static const char *const tokens[] = {"train.schedule=constant", "train.steps=0", "train.tokens=384", NULL};
    train_to_the_end("long", fixed, &report);
    train_to_the_end("short", first, &report);
    assert_int_equal(report.step, 11);
    train_to_the_end("short", tokens, &report);
    assert_int_equal(report.step, 24);
    /* The evaluation at the first end is one more, so only the parameters and the text's place are the same. */
    lh_checkpoint *x, *y;
    assert_int_equal(lh_checkpoint_open_latest(&x, in_folder("long"), INT64_MAX, NULL), LH_OK);
    assert_int_equal(lh_checkpoint_open_latest(&y, in_folder("short"), INT64_MAX, NULL), LH_OK);
    static const char *const names[] = {"embedding.weight", "data.stream", "state.0.layers.1.compressed"};
    for (int i = 0; i < 3; i++) {
        const lh_safetensors_tensor *s = lh_safetensors_find(lh_checkpoint_file(x), names[i]);
        const lh_safetensors_tensor *t = lh_safetensors_find(lh_checkpoint_file(y), names[i]);
        assert_memory_equal(s->data, t->data, s->bytes);
    }
    lh_checkpoint_close(x);
    lh_checkpoint_close(y);
}

static void another_recipe_is_refused(void **state)
{
    (void)state;
    lh_run_report report;
    lh_error error;
    train_to_the_end("own", NULL, &report);
    static const char *const changed[] = {"train.learning_rate=2e-2", NULL};
    assert_int_equal(train("own", changed, 1 << 30, &report, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "train.learning_rate = 0.01, not 0.02"));
    static const char *const moved[] = {"train.steps=30", "data.path=nowhere.txt", NULL};
    assert_int_equal(train("own", moved, 1 << 30, &report, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "nowhere.txt"));
    /* Nor does it help to write it into the run's own recipe: the checkpoint knows better. */
    char path[200];
    size_t size;
    (void)snprintf(path, sizeof path, "%s/recipe.ini", in_folder("own"));
    char *text = scratch_read(path, &size), *at = strstr(text, "learning_rate = 0.01");
    assert_non_null(at);
    at[strlen("learning_rate = 0.01") - 1] = '2';
    assert_int_equal(scratch_write(path, text, size), 0);
    free(text);
    assert_int_equal(train("own", changed, 1 << 30, &report, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "train.learning_rate = 0.01, not 0.02"));
    assert_non_null(strstr(error.message, "checkpoint-24.safetensors"));

    /* Before the first checkpoint there is nothing to spoil: another recipe, and another text, take its place. */
    static const char *const nowhere[] = {"data.path=nowhere.txt", "train.seed=5", NULL};
    assert_int_equal(train("fresh", nowhere, 1 << 30, &report, &error), LH_E_IO);
    assert_int_equal(train("fresh", NULL, 1, &report, &error), LH_E_INTERRUPTED);
    assert_int_equal(report.step, 0);
    text = in_folder("other.txt");
    assert_int_equal(scratch_write(text, base, sizeof base), 0);
    char setting[200];
    (void)snprintf(setting, sizeof setting, "data.path=%s", text);
    train_to_the_end("fresh", (const char *const[]){setting, "train.eval_every=0", NULL}, &report);

    lh_recipe *recipe = recipe_with(NULL);
    lh_run_options options = {.directory = in_folder("not-there"), .must_exist = true};
    error = (lh_error){0};
    assert_int_equal(lh_run_train(recipe, &options, &report, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "is no run"));
    lh_recipe_free(recipe);
}

static void damage_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *file, *message;
        bool truncate;
    } cases[] = {
        {"checkpoint-24.safetensors", "checkpoint-24.safetensors", false},
        {"checkpoint-24.safetensors", "checkpoint-24.safetensors", true},
        {"tokenizer.json", "tokenizer.json", true},
        {"recipe.ini", "was begun with", true},
        {"data/text/train-00000.lhs", "train-00000.lhs", true},
        {"data/text/dataset.json", "dataset.json", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[32], path[200];
        lh_run_report report;
        lh_error error;
        size_t size;
        static const char *const longer[] = {"train.steps=30", NULL};
        (void)snprintf(name, sizeof name, "damaged-%d", (int)i);
        train_to_the_end(name, NULL, &report);
        (void)snprintf(path, sizeof path, "%s/%s", in_folder(name), cases[i].file);
        char *bytes = scratch_read(path, &size);
        assert_true(bytes && size > 2);
        bytes[size / 2] = (char)(bytes[size / 2] ^ 4);
        assert_int_equal(scratch_write(path, bytes, cases[i].truncate ? size / 2 : size), 0);
        free(bytes);
        lh_status status = train(name, longer, 1 << 30, &report, &error);
        /* Half a recipe may end within a line, or lack keys. */
        bool told = strstr(error.message, cases[i].message) || strstr(error.message, cases[i].file);
        if (status == LH_OK || status == LH_E_INTERNAL || !told) {
            fail_msg("%s: status %d, %s", cases[i].file, (int)status, error.message);
        }
    }
}

/* How many heap allocations there had been each time the run asked whether to stop. */
typedef struct allocation_log {
    uint64_t at[64];
    int calls;
} allocation_log;

static bool note_allocations(void *user)
{
    allocation_log *log = user;
    if (log->calls < 64) {
        log->at[log->calls++] = lh_heap_allocations();
    }
    return false;
}

static void steps_and_their_logs_take_no_memory(void **state)
{
    (void)state;
    static const char *const settings[] = {"train.eval_every=0", "train.checkpoint_every=0", "train.log_every=1",
                                           "train.steps=60", NULL};
    allocation_log log = {0};
    lh_recipe *recipe = recipe_with(settings);
    lh_run_options options = {.directory = in_folder("quiet"), .stop = note_allocations, .user = &log};
    lh_run_report report;
    lh_error error = {0};
    if (lh_run_train(recipe, &options, &report, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    lh_recipe_free(recipe);
    assert_int_equal(log.calls, 64);
    assert_int_equal(log.at[55] - log.at[20], 0);
}

static void broken_numbers_stop_the_run(void **state)
{
    (void)state;
    lh_run_report report;
    lh_error error;
    /* Steps this long overflow within a few iterations. */
    static const char *const wild[] = {"train.optimizer=sgd",     "train.clip=0",
                                       "train.learning_rate=1e6", "train.warmup=8",
                                       "train.warmup_from=1e-3",  "train.checkpoint_every=1",
                                       "train.update_period=1",   NULL};
    assert_int_equal(train("wild", wild, 1 << 30, &report, &error), LH_E_NUMERIC);
    assert_non_null(strstr(error.message, "step "));
    assert_false(report.finished);
    int64_t *steps;
    size_t count;
    assert_int_equal(lh_checkpoint_steps(in_folder("wild"), &steps, &count, NULL), LH_OK);
    assert_true(count > 0 && steps[count - 1] >= report.step - 1);
    lh_heap_free(steps);
    lh_checkpoint *checkpoint;
    assert_int_equal(lh_checkpoint_open_latest(&checkpoint, in_folder("wild"), INT64_MAX, NULL), LH_OK);
    lh_checkpoint_close(checkpoint);
}

static void losses_have_units(void **state)
{
    (void)state;
    lh_loss_sums sums = {.nats = 1000 * log(2), .tokens = 300, .bytes = 500};
    lh_text_totals totals = {.bytes = 1000, .characters = 800, .words = 200};
    lh_loss_meter meter = lh_loss_meter_create(LH_UNIT_AUTO, LH_TOKENIZER_BPE, &totals);
    assert_int_equal(meter.unit, LH_UNIT_BITS_PER_BYTE);
    assert_true(fabs(lh_loss_value(&meter, &sums) - 2.0) < 1e-12);
    meter = lh_loss_meter_create(LH_UNIT_AUTO, LH_TOKENIZER_CHARACTERS, &totals);
    assert_true(fabs(lh_loss_value(&meter, &sums) - 2.5) < 1e-12);
    meter = lh_loss_meter_create(LH_UNIT_WORD_PERPLEXITY, LH_TOKENIZER_BPE, &totals);
    assert_true(fabs(lh_loss_value(&meter, &sums) - 1024) < 1e-9); /* 1000 bits over 100 words */
    meter = lh_loss_meter_create(LH_UNIT_AUTO, LH_TOKENIZER_WORDS, &totals);
    assert_true(fabs(lh_loss_value(&meter, &sums) - pow(2, 1000.0 / 300)) < 1e-9);
    meter = lh_loss_meter_create(LH_UNIT_BITS_PER_CHARACTER, LH_TOKENIZER_BPE, &(lh_text_totals){0});
    assert_int_equal(meter.unit, LH_UNIT_NATS);
    assert_true(fabs(lh_loss_value(&meter, &sums) - log(2) * 10 / 3) < 1e-12);
    sums = (lh_loss_sums){0};
    assert_true(isnan(lh_loss_value(&meter, &sums)));
}

/* ---- starting from the weights of another run ---- */

#define NO_MEMORY_KEYS "memory.kind=window", "memory.window=8", "model.positions=t5", "model.qk_norm=l2"

static lh_safetensors *weights_of(const char *run, lh_checkpoint **checkpoint)
{
    lh_error error = {0};
    if (lh_checkpoint_open_latest(checkpoint, in_folder(run), INT64_MAX, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return (lh_safetensors *)(uintptr_t)lh_checkpoint_file(*checkpoint);
}

static void remember_note(void *user, const char *text)
{
    (void)snprintf(user, 1000, "%s", text);
}

static lh_status train_from(const char *name, const char *const *settings, char *note, lh_error *error)
{
    lh_recipe *recipe = recipe_with(settings);
    lh_run_report report;
    lh_run_options options = {.directory = in_folder(name), .note = remember_note, .user = note};
    *error = (lh_error){0};
    lh_status status = lh_run_train(recipe, &options, &report, error);
    lh_recipe_free(recipe);
    return status;
}

static void a_trained_model_gets_a_memory(void **state)
{
    (void)state;
    lh_run_report report;
    lh_error error;
    char from[200], note[1000] = "";
    const char *plain[] = {NO_MEMORY_KEYS, "data.batch=2", NULL};
    train_to_the_end("plain", plain, &report);
    (void)snprintf(from, sizeof from, "train.init_from=%s", in_folder("plain"));
    /* a rate of zero shows what the run began with; the memory layer's gate is new, the wider MLP does not fit */
    const char *with[] = {NO_MEMORY_KEYS,
                          "memory.kind=memorizing",
                          "memory.size=20",
                          "memory.neighbours=3",
                          "memory.gate_start=-4",
                          "train.learning_rate=0",
                          "train.steps=2",
                          "model.hidden=40",
                          from,
                          NULL};
    if (train_from("with", with, note, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_non_null(strstr(note, "starts from "));
    assert_non_null(strstr(note, "so they keep their own start: layers.0.memory.gate\n"));
    assert_non_null(
        strstr(note, "of another shape or type there, so they keep their own start: layers.0.hidden.up"));
    lh_checkpoint *a, *b;
    lh_safetensors *first = weights_of("plain", &a), *second = weights_of("with", &b);
    int same = 0, other = 0;
    for (size_t i = 0; i < lh_safetensors_count(second); i++) {
        const lh_safetensors_tensor *t = lh_safetensors_at(second, i), *s = lh_safetensors_find(first, t->name);
        if (strncmp(t->name, "layers.", 7) != 0 && strncmp(t->name, "embedding.", 10) != 0) {
            continue;
        }
        if (strstr(t->name, "memory.gate")) {
            assert_null(s);
            assert_true(((const float *)t->data)[0] == -4.0f);
        } else if (s && s->bytes == t->bytes) {
            assert_memory_equal(s->data, t->data, s->bytes);
            same++;
        } else {
            other++;
        }
    }
    assert_true(same > 15);
    assert_int_equal(other, 6); /* up, its bias and down of two layers */
    lh_checkpoint_close(a);
    lh_checkpoint_close(b);
    char *log;
    size_t size;
    char path[200];
    (void)snprintf(path, sizeof path, "%s/train.log", in_folder("with"));
    assert_int_equal(lh_file_read(path, 0, &log, &size, &error), LH_OK);
    assert_non_null(strstr(log, "starts from "));
    lh_heap_free(log);
    /* what the new run then learned is not overwritten when it goes on */
    const char *longer[] = {NO_MEMORY_KEYS,
                            "memory.kind=memorizing",
                            "memory.size=20",
                            "memory.neighbours=3",
                            "memory.gate_start=-4",
                            "train.learning_rate=0",
                            "train.steps=4",
                            "model.hidden=40",
                            from,
                            NULL};
    note[0] = '\0';
    assert_int_equal(train_from("with", longer, note, &error), LH_OK);
    assert_int_equal(note[0], '\0');
}

static void nothing_to_start_from(void **state)
{
    (void)state;
    lh_run_report report;
    lh_error error;
    char from[200], note[1000];
    const char *missing[] = {"train.init_from=/nonexistent/run", NULL};
    assert_int_equal(train_from("a", missing, note, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "/nonexistent/run"));
    assert_false(lh_file_exists(in_folder("a"))); /* nothing was begun */
    const char *narrow[] = {"model.width=8", "train.steps=2", NULL};
    train_to_the_end("narrow", narrow, &report);
    (void)snprintf(from, sizeof from, "train.init_from=%s", in_folder("narrow"));
    const char *wide[] = {from, "model.output_bias=false", "model.hidden=40", NULL};
    assert_int_equal(train_from("b", wide, note, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "no tensor has the name and shape"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_fills_its_folder, prepare, clean_up),
        cmocka_unit_test_setup_teardown(stopped_runs_end_like_others, prepare, clean_up),
        cmocka_unit_test_setup_teardown(evaluation_changes_nothing, prepare, clean_up),
        cmocka_unit_test_setup_teardown(a_longer_budget_goes_on, prepare, clean_up),
        cmocka_unit_test_setup_teardown(another_recipe_is_refused, prepare, clean_up),
        cmocka_unit_test_setup_teardown(damage_is_told, prepare, clean_up),
        cmocka_unit_test_setup_teardown(steps_and_their_logs_take_no_memory, prepare, clean_up),
        cmocka_unit_test_setup_teardown(broken_numbers_stop_the_run, prepare, clean_up),
        cmocka_unit_test_setup_teardown(a_trained_model_gets_a_memory, prepare, clean_up),
        cmocka_unit_test_setup_teardown(nothing_to_start_from, prepare, clean_up),
        cmocka_unit_test(losses_have_units),
    };
    return cmocka_run_group_tests_name("train_run", tests, NULL, NULL);
}
