/* Comparisons: what the recipe of each method comes to, work in processes of its own, going on, failures, reports.
 */
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "compare/child.h"
#include "compare/compare.h"
#include "compare/methods.h"
#include "compare/results.h"
#include "compare/trial.h"
#include "infer/describe.h"
#include "support/scratch.h"

#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static char folder[64];

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        fail_msg("%s: %s", lh_status_name(status), error->message);
    }
}

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
    static char text[20000];
    uint32_t noise = 99;
    for (size_t i = 0; i < sizeof text; i++) {
        noise = noise * 1664525u + 1013904223u;
        text[i] = "the quick brown fox jumps over a lazy dog. "[(i + (noise >> 30 == 0)) % 43];
    }
    return scratch_write(in_folder("book.txt"), text, sizeof text);
}

static int clean_up(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char shared[] = "[model]\nlayers = 1\nwidth = 16\nheads = 2\nhidden = 32\nsegment = 16\n"
                             "[train]\nthreads = 1\nwarmup = 4\nlearning_rate = 1e-2\nlog_every = 4\n"
                             "eval_tokens = 400\n[data]\nbatch = 2\n"
                             "[compare]\nbudget = tokens=1500\neval_tokens = 600\nlengths = 20,64,128\n";

/* The shared recipe, the text of the scratch folder, and more arguments. */
static lh_compare_sources sources_with(const char *const *arguments)
{
    lh_compare_sources sources = {0};
    lh_error error = {0};
    char path[200];
    (void)snprintf(path, sizeof path, "data.path=%s", in_folder("book.txt"));
    check(lh_compare_sources_add(&sources, "shared.ini", shared, &error), &error);
    check(lh_compare_sources_argument(&sources, path, &error), &error);
    for (int i = 0; arguments && arguments[i]; i++) {
        check(lh_compare_sources_argument(&sources, arguments[i], &error), &error);
    }
    return sources;
}

/* ---- sources ---- */

static void lines_go_to_whom_they_are_for(void **state)
{
    (void)state;
    static const char text[] =
        "preset = x\n[model]\nwidth = 8\n[compare]\nseeds = 2\n  [ vq:memory ]  # note\ncodes = 4\n"
        "[memory]\nlength = 1\n[xl:train]\nclip = 1";
    static const struct {
        const char *reader, *expected;
    } cases[] = {
        {LH_READER_SHARED, "preset = x\n[model]\nwidth = 8\n\n\n\n\n[memory]\nlength = 1\n\n\n"},
        {LH_READER_COMPARE, "\n\n\n[compare]\nseeds = 2\n\n\n\n\n\n\n"},
        {"vq", "\n\n\n\n\n[memory ]  # note\ncodes = 4\n\n\n\n\n"},
        {"xl", "\n\n\n\n\n\n\n\n\n[train]\nclip = 1\n"},
        {"v", "\n\n\n\n\n\n\n\n\n\n\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lh_string out = {0};
        lh_compare_pick(text, cases[i].reader, &out);
        assert_string_equal(out.data, cases[i].expected);
        lh_string_free(&out);
    }
}

static void arguments_become_recipe_text(void **state)
{
    (void)state;
    lh_compare_sources sources = {0};
    lh_error error = {0};
    check(lh_compare_sources_argument(&sources, "data.path=a b # c", &error), &error);
    check(lh_compare_sources_argument(&sources, "vq:memory.codes=4", &error), &error);
    check(lh_compare_sources_argument(&sources, "preset=compressive-tiny", &error), &error);
    assert_string_equal(sources.items[0].text, "[data]\npath = \"a b # c\"\n");
    assert_string_equal(sources.items[1].text, "[vq:memory]\ncodes = 4\n");
    assert_string_equal(sources.items[2].text, "preset = compressive-tiny\n");
    assert_int_equal(lh_compare_sources_argument(&sources, "nonsense", &error), LH_E_CONFIG);
    error = (lh_error){0};
    assert_int_equal(lh_compare_sources_argument(&sources, "a=b", &error), LH_E_CONFIG);
    lh_compare_sources_free(&sources);
}

static void budgets_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        lh_budget_kind kind;
        double amount;
    } good[] = {{"time=2m", LH_BUDGET_SECONDS, 120},    {"time=1.5h", LH_BUDGET_SECONDS, 5400},
                {"time=30s", LH_BUDGET_SECONDS, 30},    {"tokens=10M", LH_BUDGET_TOKENS, 1e7},
                {"tokens=4Ki", LH_BUDGET_TOKENS, 4096}, {"flops=1e15", LH_BUDGET_FLOPS, 1e15}};
    static const char *const bad[] = {"time=2",  "time=0s", "time=-1m", "time=m",     "tokens=",   "tokens=0.5",
                                      "flops=x", "2m",      "",         "flops=1e40", "time=nans", "tokens=1e19"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        lh_budget budget;
        lh_error error = {0};
        check(lh_budget_parse(&budget, good[i].text, &error), &error);
        assert_int_equal(budget.kind, good[i].kind);
        assert_true(budget.amount == good[i].amount);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lh_budget budget;
        lh_error error = {0};
        if (lh_budget_parse(&budget, bad[i], &error) != LH_E_CONFIG) {
            fail_msg("'%s' was taken for a budget", bad[i]);
        }
    }
}

static lh_status read_settings(const char *const *arguments, lh_compare_settings *settings, lh_error *error)
{
    lh_compare_sources sources = sources_with(arguments);
    *error = (lh_error){0};
    lh_status status = lh_compare_settings_read(settings, &sources, error);
    lh_compare_sources_free(&sources);
    return status;
}

static void settings_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *argument, *sentence;
    } bad[] = {
        {"compare.methods=vanila", "did you mean 'vanilla'"},
        {"compare.methods=vanilla,none", "names vanilla twice"},
        {"compare.methods=,", "names no method"},
        {"compare.lengths=4,4", "must ascend"},
        {"compare.budget=", "needs a budget"},
        {"compare.budget=time", "must read time=2m"},
        {"compare.seed=3", "did you mean 'seeds'"},
        {"compresive:memory.rate=2", "did you mean 'compressive'"},
        {"none:memory.rate=2", "there is no method 'none'"},
        {"compare.split=half", "must be one of"},
    };
    lh_compare_settings s;
    lh_error error;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *arguments[] = {bad[i].argument, NULL};
        assert_int_equal(read_settings(arguments, &s, &error), LH_E_CONFIG);
        if (!strstr(error.message, bad[i].sentence)) {
            fail_msg("%s gave: %s", bad[i].argument, error.message);
        }
        lh_compare_settings_free(&s);
    }
    static const char *const good[] = {"compare.methods=compressive vanilla", "compare.seeds=3", NULL};
    check(read_settings(good, &s, &error), &error);
    assert_int_equal(s.method_count, 2);
    assert_string_equal(lh_compare_method_name(s.methods[0]), "compressive");
    assert_string_equal(lh_compare_method_name(s.methods[1]), "vanilla");
    assert_int_equal(s.seeds, 3);
    assert_int_equal(s.length_count, 3);
    lh_compare_settings_free(&s);
}

/* ---- recipes of methods ---- */

static lh_recipe *recipe_of(const char *method, const char *const *arguments)
{
    lh_compare_sources sources = sources_with(arguments);
    lh_compare_settings settings;
    lh_recipe *recipe;
    lh_error error = {0};
    check(lh_compare_settings_read(&settings, &sources, &error), &error);
    check(lh_compare_recipe(&recipe, &settings, &sources, lh_compare_method_find(method), 77, NULL, &error),
          &error);
    lh_compare_settings_free(&settings);
    lh_compare_sources_free(&sources);
    return recipe;
}

static void sizes_are_put_in(void **state)
{
    (void)state;
    lh_recipe *sizes = recipe_of("vanilla", NULL);
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"a = {segment}\nb = {memory}", "a = 16\nb = 12"},
        {"{memory/2} {2*segment} {width} {heads} {layers} {hidden}", "6 32 16 2 1 32"},
        {"{memory/5} {memory/100} {3*memory/2}", "2 1 18"},
        {"{segment+memory} {segment+2*memory+3} {batch} {batch/4}", "28 43 2 1"},
        {"{layers-1} {memory-100} {segment-memory/2}", "1 1 10"},
        {"nothing", "nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lh_string out = {0};
        lh_error error = {0};
        check(lh_compare_expand(cases[i].text, sizes, 12, &out, &error), &error);
        assert_string_equal(out.data, cases[i].expected);
        lh_string_free(&out);
    }
    static const char *const bad[] = {"{size}",      "{segment",    "{}",         "{segment*}",
                                      "{0*segment}", "{segment/0}", "{segment+}", "{+segment}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lh_string out = {0};
        lh_error error = {0};
        if (lh_compare_expand(bad[i], sizes, 12, &out, &error) != LH_E_INTERNAL) {
            fail_msg("%s was taken for a size", bad[i]);
        }
        lh_string_free(&out);
    }
    lh_recipe_free(sizes);
}

static void methods_get_what_is_meant_for_them(void **state)
{
    (void)state;
    static const char *const arguments[] = {"compare.memory=24",
                                            "memory.rate=3",
                                            "transformer-xl:memory.length=5",
                                            "transformer-xl:model.segment=8",
                                            "train.clip=0.5",
                                            "compressive:train.clip=0.75",
                                            NULL};
    lh_recipe *vanilla = recipe_of("vanilla", arguments), *xl = recipe_of("transformer-xl", arguments);
    lh_recipe *compressive = recipe_of("compressive", arguments);
    assert_string_equal(lh_recipe_string(vanilla, "memory.kind"), "none");
    assert_string_equal(lh_recipe_string(xl, "memory.kind"), "transformer-xl");
    assert_string_equal(lh_recipe_string(vanilla, "model.positions"), "rotary");
    assert_string_equal(lh_recipe_string(xl, "model.positions"), "relative");
    assert_int_equal(lh_recipe_integer(xl, "memory.length"), 5);
    assert_int_equal(lh_recipe_integer(xl, "model.segment"), 8);
    assert_int_equal(lh_recipe_integer(vanilla, "model.segment"), 16);
    assert_int_equal(lh_recipe_integer(compressive, "memory.length"), 12);
    assert_int_equal(lh_recipe_integer(compressive, "memory.compressed"), 12);
    assert_int_equal(lh_recipe_integer(compressive, "memory.rate"), 3);
    assert_true(lh_recipe_real(compressive, "train.clip") == 0.75 && lh_recipe_real(xl, "train.clip") == 0.5);
    assert_int_equal(lh_recipe_integer(xl, "train.tokens"), 1500);
    lh_recipe_free(vanilla);
    lh_recipe_free(xl);
    lh_recipe_free(compressive);
    /* Without compare.memory a method's own segment is the measure; a budget replaces the recipe's end. */
    static const char *const timed[] = {"transformer-xl:model.segment=8", "train.steps=9", "compare.budget=time=3m",
                                        NULL};
    xl = recipe_of("transformer-xl", timed);
    assert_int_equal(lh_recipe_integer(xl, "memory.length"), 8);
    assert_int_equal(lh_recipe_integer(xl, "train.steps"), 0);
    assert_int_equal(lh_recipe_integer(xl, "train.tokens"), 0);
    assert_true(lh_recipe_real(xl, "train.minutes") == 3.0);
    lh_recipe_free(xl);
    static const char *const flops[] = {"compare.budget=flops=1e9", NULL};
    xl = recipe_of("transformer-xl", flops);
    assert_int_equal(lh_recipe_integer(xl, "train.tokens"), 77);
    lh_recipe_free(xl);
}

static void keys_without_use_are_refused(void **state)
{
    (void)state;
    static const char *const arguments[] = {"compare.methods=vanilla,transformer-xl", "memory.length=4",
                                            "memory.rate=3", NULL};
    lh_compare_sources sources = sources_with(arguments);
    lh_recipe *recipes[] = {recipe_of("vanilla", arguments), recipe_of("transformer-xl", arguments),
                            recipe_of("compressive", arguments)};
    lh_error error = {0};
    check(lh_compare_check_used(&sources, recipes, 3, &error), &error);
    assert_int_equal(lh_compare_check_used(&sources, recipes, 2, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "[memory] rate = 3 is of no use"));
    for (int i = 0; i < 3; i++) {
        lh_recipe_free(recipes[i]);
    }
    lh_compare_sources_free(&sources);
    /* Both set their positions themselves, whatever the others say; but one method can be told. */
    static const char *const positions[] = {"model.positions=alibi", "vanilla:model.positions=t5", NULL};
    sources = sources_with(positions);
    recipes[0] = recipe_of("vanilla", positions);
    recipes[1] = recipe_of("transformer-xl", positions);
    assert_string_equal(lh_recipe_string(recipes[0], "model.positions"), "t5");
    assert_string_equal(lh_recipe_string(recipes[1], "model.positions"), "relative");
    error = (lh_error){0};
    check(lh_compare_check_used(&sources, recipes, 2, &error), &error);
    assert_int_equal(lh_compare_check_used(&sources, recipes + 1, 1, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "each sets it itself"));
    lh_recipe_free(recipes[0]);
    lh_recipe_free(recipes[1]);
    lh_compare_sources_free(&sources);
}

/* In a process of its own: models use parallel regions, which the processes of later tests must not have seen. */
static lh_status describe_all(void *user, lh_string *answer, lh_error *error)
{
    (void)user;
    for (int i = 0; lh_memory_kinds[i]; i++) {
        if (lh_memory_kinds[i]->compare) {
            const char *name = lh_compare_method_name(lh_memory_kinds[i]);
            lh_recipe *recipe = recipe_of(name, NULL);
            lh_model_description d;
            lh_status status = lh_recipe_describe_model(&d, recipe, 256, error);
            lh_recipe_free(recipe);
            LH_TRY(status);
            lh_string_print(answer, "%s=%lld/%lld ", name, (long long)d.parameters, (long long)d.reach);
        }
    }
    return LH_OK;
}

static void every_method_can_be_built(void **state)
{
    (void)state;
    lh_string answer = {0};
    lh_error error = {0};
    check(lh_child_run(describe_all, NULL, &answer, NULL, &error), &error);
    assert_non_null(strstr(answer.data, "vanilla="));
    assert_non_null(strstr(answer.data, "/16 ")); /* Transformer-XL: one segment */
    assert_non_null(strstr(answer.data, "/40 ")); /* compressive: 8 + 4 * 8 */
    lh_string_free(&answer);
}

/* ---- processes ---- */

static lh_status say(void *user, lh_string *answer, lh_error *error)
{
    (void)error;
    for (int i = 0; i < 100000; i++) {
        lh_string_append(answer, user, 1);
    }
    return LH_OK;
}

static lh_status use_memory(void *user, lh_string *answer, lh_error *error)
{
    size_t size = *(const size_t *)user;
    volatile char *block = malloc(size);
    (void)answer;
    if (!block) {
        return lh_fail(error, LH_E_MEMORY, "no memory");
    }
    for (size_t i = 0; i < size; i += 512) {
        block[i] = 1;
    }
    free((void *)(uintptr_t)block);
    return LH_OK;
}

static lh_status complain(void *user, lh_string *answer, lh_error *error)
{
    (void)answer;
    return lh_fail(error, LH_E_NUMERIC, "step %d: the loss is NaN", *(const int *)user);
}

static lh_status die(void *user, lh_string *answer, lh_error *error)
{
    (void)answer;
    (void)error;
    (void)raise(*(const int *)user);
    return LH_OK;
}

static lh_status leave(void *user, lh_string *answer, lh_error *error)
{
    (void)answer;
    (void)error;
    _exit(*(const int *)user);
}

static void children_answer(void **state)
{
    (void)state;
    lh_string answer = {0};
    lh_error error = {0};
    int64_t small = 0, large = 0;
    size_t sizes[] = {1 << 20, 1 << 26};
    check(lh_child_run(say, "x", &answer, NULL, &error), &error);
    assert_int_equal(answer.size, 100000);
    assert_true(answer.data[99999] == 'x');
    lh_string_free(&answer);
    check(lh_child_run(use_memory, &sizes[0], &answer, &small, &error), &error);
    check(lh_child_run(use_memory, &sizes[1], &answer, &large, &error), &error);
    assert_true(large - small > 48 << 20 && large - small < 80 << 20);
    lh_string_free(&answer);
}

static void children_fail_alone(void **state)
{
    (void)state;
    static const struct {
        lh_child_work work;
        int with;
        lh_status status;
        const char *sentence;
    } cases[] = {
        {complain, 7, LH_E_NUMERIC, "step 7: the loss is NaN"},
        {die, SIGKILL, LH_E_MEMORY, "killed"},
        {die, SIGTERM, LH_E_INTERNAL, "signal 15"},
        {leave, 3, LH_E_INTERNAL, "code 3"},
        {leave, 0, LH_E_INTERNAL, "without a word"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lh_string answer = {0};
        lh_error error = {0};
        int with = cases[i].with;
        assert_int_equal(lh_child_run(cases[i].work, &with, &answer, NULL, &error), cases[i].status);
        if (!strstr(error.message, cases[i].sentence)) {
            fail_msg("expected %s, got: %s", cases[i].sentence, error.message);
        }
        assert_int_equal(answer.size, 0);
    }
}

static lh_status wait_for_stop(void *user, lh_string *answer, lh_error *error)
{
    char here = '!';
    (void)answer;
    (void)!write(*(const int *)user, &here, 1);
    for (int i = 0; i < 1000 && !lh_child_stopped(NULL); i++) {
        (void)usleep(10000);
    }
    return lh_child_stopped(NULL) ? lh_fail(error, LH_E_INTERRUPTED, "told to stop") : LH_OK;
}

/* A signal to the caller alone reaches the child's ear. */
static void signals_are_handed_on(void **state)
{
    (void)state;
    int ends[2], code;
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t caller = fork();
    assert_true(caller >= 0); /* else the signals below would go to everyone */
    if (caller == 0) {
        lh_string answer = {0};
        lh_error error = {0};
        lh_signals_install();
        _exit(lh_child_run(wait_for_stop, &ends[1], &answer, NULL, &error) == LH_E_INTERRUPTED &&
                      strcmp(error.message, "told to stop") == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(kill(caller, SIGTERM), 0);
    assert_true(waitpid(caller, &code, 0) == caller);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static lh_status linger(void *user, lh_string *answer, lh_error *error)
{
    (void)answer;
    (void)error;
    char here = '!';
    (void)!write(*(const int *)user, &here, 1);
    (void)sleep(60);
    return LH_OK;
}

/* Only the child holds the pipe's end: it closes when the child is gone. */
static void children_die_with_their_caller(void **state)
{
    (void)state;
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t caller = fork();
    assert_true(caller >= 0); /* else the signals below would go to everyone */
    if (caller == 0) {
        lh_string answer = {0};
        lh_error error = {0};
        (void)close(ends[0]);
        _exit(lh_child_run(linger, &ends[1], &answer, NULL, &error) == LH_OK);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(kill(caller, SIGKILL), 0);
    struct pollfd wait = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    assert_true(waitpid(caller, NULL, 0) == caller);
    (void)close(ends[0]);
}

/* ---- trials ---- */

static void trials_are_kept(void **state)
{
    (void)state;
    lh_trial trial;
    lh_error error = {0};
    int step = 3;
    check(lh_trial_open(&trial, in_folder("kept"), "vq", 4, &error), &error);
    assert_false(lh_trial_has(&trial, "training"));
    assert_int_equal(lh_trial_measure(&trial, "training", complain, &step, &error), LH_E_NUMERIC);
    error = (lh_error){0};
    check(lh_trial_fail(&trial, "training", LH_E_NUMERIC, "a \"sentence\"", &error), &error);
    assert_int_equal(lh_trial_measure(&trial, "training", say, "x", &error), LH_E_FORMAT); /* no JSON */
    lh_trial_close(&trial);
    char *path = in_folder("kept/runs/vq-4/result.json"), *text;
    size_t size;
    text = scratch_read(path, &size);
    assert_non_null(strstr(text, "a \\\"sentence\\\""));
    free(text);
    error = (lh_error){0};
    check(lh_trial_open(&trial, in_folder("kept"), "vq", 4, &error), &error);
    assert_false(lh_trial_has(&trial, "error")); /* to be tried again */
    check(lh_trial_finish(&trial, &error), &error);
    lh_trial_close(&trial);
    check(lh_trial_open(&trial, in_folder("kept"), "vq", 4, &error), &error);
    assert_true(lh_trial_has(&trial, "finished"));
    lh_trial_close(&trial);
    assert_int_equal(scratch_write(path, "{\"method\": ", 11), 0);
    assert_int_equal(lh_trial_open(&trial, in_folder("kept"), "vq", 4, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "result.json"));
    lh_trial_close(&trial);
}

/* ---- whole comparisons ---- */

static lh_status compare(const char *name, const char *const *arguments, json_t **results, lh_error *error)
{
    lh_compare_sources sources = sources_with(arguments);
    lh_compare_options options = {
        .sources = &sources, .directory = in_folder(name), .title = "a <test>", .command = "longhand compare"};
    *error = (lh_error){0};
    lh_status status = lh_compare(&options, results, error);
    lh_compare_sources_free(&sources);
    return status;
}

static const json_t *run_of(const json_t *results, const char *method, int64_t seed)
{
    size_t i;
    json_t *run;
    json_array_foreach(json_object_get(results, "runs"), i, run)
    {
        if (strcmp(lh_result_text(run, "method"), method) == 0 && (int64_t)lh_result_number(run, "seed") == seed) {
            return run;
        }
    }
    fail_msg("there is no run %s-%lld", method, (long long)seed);
    return NULL;
}

/* When a file was written, and its bytes added up. */
typedef struct print {
    struct timespec time;
    uint64_t sum;
} print;

static print print_of(const char *path)
{
    struct stat about;
    print p = {0};
    size_t size;
    char *text = scratch_read(path, &size);
    assert_non_null(text);
    assert_int_equal(stat(path, &about), 0);
    for (size_t i = 0; i < size; i++) {
        p.sum = p.sum * 31 + (unsigned char)text[i];
    }
    p.time = about.st_mtim;
    free(text);
    return p;
}

static void assert_untouched(const print *before, const char *path)
{
    print after = print_of(path);
    assert_true(before->sum == after.sum && before->time.tv_sec == after.time.tv_sec &&
                before->time.tv_nsec == after.time.tv_nsec);
}

static void check_run(const json_t *run)
{
    assert_string_equal(lh_result_text(run, "status"), "finished");
    double value = lh_result_number(run, "value");
    assert_true(value > 0.5 && value < 8.0);
    assert_true(value == lh_result_number(run, "evaluation.bits_per_byte"));
    assert_true(lh_result_number(run, "evaluation.scored") == 600);
    /* 1500 tokens in steps of 2 * 16 */
    assert_true(lh_result_number(run, "training.tokens") == 1504);
    assert_true(lh_result_number(run, "training.tokens_per_second") > 0);
    assert_true(lh_result_number(run, "training.peak_bytes") > 1e6);
    assert_true(json_array_size(lh_result_at(run, "training.curve.loss")) == 12);
    double tokens = json_number_value(json_array_get(lh_result_at(run, "training.curve.tokens"), 11));
    assert_true(tokens == 1504);
}

static void methods_are_compared(void **state)
{
    (void)state;
    static const char *const arguments[] = {"compare.methods=vanilla,compressive", NULL};
    static const char *const more[] = {"compare.methods=vanilla,transformer-xl,compressive", "compare.seeds=2",
                                       NULL};
    json_t *results;
    lh_error error;
    check(compare("whole", arguments, &results, &error), &error);
    assert_int_equal(lh_result_count(results, "finished"), 2);
    check_run(run_of(results, "vanilla", 1));
    check_run(run_of(results, "compressive", 1));
    /* Lengths of 20, 64 and 128 tokens in segments of 16. */
    const json_t *run = run_of(results, "vanilla", 1);
    assert_int_equal(json_array_size(lh_result_at(run, "cost.points")), 3);
    assert_true(lh_result_number(lh_result_point(run, 20), "length") == 32);
    assert_true(lh_result_number(lh_result_point(run, 128), "milliseconds_per_token") > 0);
    assert_null(lh_result_point(run, 256));
    assert_true(lh_result_number(run, "cost.reached") == 128);
    json_decref(results);

    /* Again: nothing is done twice. Then with more methods and seeds: what is there stays. */
    print before = print_of(in_folder("whole/runs/vanilla-1/result.json"));
    print weights = print_of(in_folder("whole/runs/vanilla-1/checkpoint-47.safetensors"));
    check(compare("whole", arguments, &results, &error), &error);
    json_decref(results);
    assert_untouched(&before, in_folder("whole/runs/vanilla-1/result.json"));
    check(compare("whole", more, &results, &error), &error);
    assert_untouched(&before, in_folder("whole/runs/vanilla-1/result.json"));
    assert_untouched(&weights, in_folder("whole/runs/vanilla-1/checkpoint-47.safetensors"));
    assert_int_equal(lh_result_count(results, "finished"), 6);
    check_run(run_of(results, "transformer-xl", 2));
    assert_null(lh_result_at(run_of(results, "vanilla", 2), "cost"));
    assert_true(lh_result_number(run_of(results, "vanilla", 2), "value") !=
                lh_result_number(run_of(results, "vanilla", 1), "value"));
    json_decref(results);
}

static void other_comparisons_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *argument, *sentence;
    } cases[] = {
        {"compare.budget=tokens=1600", "compare.budget = tokens=1500, not tokens=1600"},
        {"train.clip=0.5", "vanilla of"},
        {"vanilla:train.warmup=5", "train.warmup = 4, not 5"},
        {"compare.lengths=20,64", "compare.lengths"},
        {"memory.length=3", "memory.length = 8, not 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *arguments[] = {"compare.methods=vanilla,compressive", cases[i].argument, NULL};
        json_t *results;
        lh_error error;
        assert_int_equal(compare("whole", arguments, &results, &error), LH_E_CONFIG);
        assert_null(results);
        if (!strstr(error.message, cases[i].sentence)) {
            fail_msg("%s gave: %s", cases[i].argument, error.message);
        }
    }
}

/* A part that is missing is made again, and only that. */
static void parts_are_taken_up(void **state)
{
    (void)state;
    static const char *const arguments[] = {"compare.methods=vanilla,compressive", NULL};
    json_t *results, *kept;
    lh_error error;
    char *path = in_folder("whole/runs/compressive-1/result.json");
    kept = json_load_file(path, 0, NULL);
    assert_non_null(kept);
    double value = lh_result_number(kept, "evaluation.bits_per_byte");
    double seconds = lh_result_number(kept, "training.wall_seconds");
    (void)json_object_del(kept, "evaluation");
    (void)json_object_del(kept, "finished");
    assert_int_equal(json_dump_file(kept, path, 0), 0);
    json_decref(kept);
    check(compare("whole", arguments, &results, &error), &error);
    const json_t *run = run_of(results, "compressive", 1);
    check_run(run);
    assert_true(lh_result_number(run, "evaluation.bits_per_byte") == value);
    assert_true(lh_result_number(run, "training.wall_seconds") == seconds);
    json_decref(results);
}

static void failing_methods_do_not_stop_the_others(void **state)
{
    (void)state;
    static const char *const arguments[] = {"transformer-xl:train.optimizer=sgd",
                                            "transformer-xl:train.clip=0",
                                            "transformer-xl:train.learning_rate=1e6",
                                            "compressive:model.heads=3",
                                            "compare.methods=transformer-xl,compressive,vanilla",
                                            NULL};
    json_t *results;
    lh_error error;
    assert_int_equal(compare("failing", arguments, &results, &error), LH_E_NUMERIC);
    assert_non_null(strstr(error.message, "2 of 3 runs failed; the first is transformer-xl-1: step "));
    assert_int_equal(lh_result_count(results, "failed"), 2);
    assert_string_equal(lh_result_text(run_of(results, "transformer-xl", 1), "error.stage"), "training");
    assert_string_equal(lh_result_text(run_of(results, "compressive", 1), "error.stage"), "model");
    assert_non_null(strstr(lh_result_text(run_of(results, "compressive", 1), "error.sentence"), "does not divide"));
    check_run(run_of(results, "vanilla", 1));
    lh_string table = {0};
    lh_compare_table(results, &table);
    assert_non_null(strstr(table.data, "failed: transformer-xl-1 (training): step "));
    lh_string_free(&table);
    json_decref(results);
    /* It is tried again, and the one that is finished is not. */
    print before = print_of(in_folder("failing/runs/vanilla-1/result.json"));
    assert_int_equal(compare("failing", arguments, &results, &error), LH_E_NUMERIC);
    assert_untouched(&before, in_folder("failing/runs/vanilla-1/result.json"));
    json_decref(results);
}

static void equal_arithmetic_is_shared_out(void **state)
{
    (void)state;
    static const char *const arguments[] = {"compare.budget=flops=2e7", "compare.methods=vanilla,compressive",
                                            "compare.lengths=", NULL};
    json_t *results;
    lh_error error;
    check(compare("flops", arguments, &results, &error), &error);
    double tokens[2];
    for (size_t i = 0; i < 2; i++) {
        const json_t *method = json_array_get(json_object_get(results, "methods"), i);
        const json_t *run = run_of(results, lh_result_text(method, "name"), 1);
        double flops = lh_result_number(method, "training_flops");
        tokens[i] = lh_result_number(run, "training.tokens");
        assert_true(flops > 6 * 16 * 32 && fabs(tokens[i] * flops - 2e7) <= 32 * flops);
        assert_null(lh_result_at(run, "cost"));
    }
    assert_true(tokens[0] > tokens[1]); /* a plain decoder's tokens are cheaper */
    json_decref(results);
}

static void impossible_comparisons_begin_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *argument, *sentence;
        lh_status status;
    } cases[] = {
        {"model.heads=3", "does not divide", LH_E_CONFIG},
        {"data.path=nothing-there", "nothing-there", LH_E_IO},
        {"memory.stepping=official", "needs model.segment = 1", LH_E_CONFIG},
        {"compare.methods=vanilla", NULL, LH_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *arguments[] = {"compare.methods=compressive", cases[i].argument, "compare.lengths=", NULL};
        json_t *results;
        lh_error error;
        assert_int_equal(compare("impossible", arguments, &results, &error), cases[i].status);
        assert_true((results != NULL) == (cases[i].status == LH_OK));
        assert_true(!cases[i].sentence || strstr(error.message, cases[i].sentence));
        json_decref(results);
    }
}

/* ---- reports ---- */

static json_t *made_up(void)
{
    json_t *results = json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:[i,i], s:i, s:s, s:f}, s:{s:s}, s:[{s:s, s:s, s:i, "
                                "s:f, s:i}, {s:s}], s:[]}",
                                "title", "a <title>", "unit", "bits_per_byte", "unit_short", "bpb", "command",
                                "longhand compare 'x & y'", "longhand", "0", "settings", "lengths", 100, 1000,
                                "seeds", 2, "protocol", "book", "length_seconds", 5.0, "budget", "text", "a minute",
                                "methods", "name", "one", "summary", "the first", "parameters", 1234,
                                "training_flops", 5e6, "state_bytes", 77, "name", "two", "runs");
    json_t *runs = json_object_get(results, "runs");
    json_object_set_new(results, "machine", lh_machine_describe(1));
    json_object_set_new(results, "data",
                        json_pack("{s:s, s:i, s:s}", "source", "text", "training_tokens", 5, "tokenizer", "bytes"));
    for (int i = 0; i < 2; i++) {
        json_array_append_new(
            runs,
            json_pack("{s:s, s:i, s:s, s:f, s:{s:f, s:{s:[f,f], s:[f,f], s:[f,f]}}, s:{s:f, s:[{s:i, s:i, s:f}]}}",
                      "method", "one", "seed", i + 1, "status", "finished", "value", 2.0 + i, "training",
                      "tokens_per_second", 100.0, "curve", "tokens", 10.0, 20.0, "seconds", 1.0, 2.0, "loss", 3.0,
                      2.0, "evaluation", "bits_per_byte", 2.0 + i, "by_position", "from", 0, "tokens", 5,
                      "bits_per_byte", 2.5));
    }
    json_object_set_new(json_array_get(runs, 0), "cost",
                        json_pack("{s:i, s:i, s:[{s:i, s:f, s:i}]}", "segment", 64, "reached", 128, "points",
                                  "length", 128, "milliseconds_per_token", 0.5, "state_bytes", 99));
    json_array_append_new(runs, json_pack("{s:s, s:i, s:s, s:n, s:{s:s, s:s}}", "method", "two", "seed", 1,
                                          "status", "failed", "value", "error", "stage", "training", "sentence",
                                          "no \"memory\", none & <nothing>"));
    return results;
}

static void spreads_are_means_over_seeds(void **state)
{
    (void)state;
    json_t *results = made_up();
    assert_non_null(results);
    lh_result_spread s = lh_result_spread_of(results, "one", "value");
    assert_int_equal(s.runs, 2);
    assert_true(s.mean == 2.5 && fabs(s.deviation - sqrt(0.5)) < 1e-12);
    s = lh_result_spread_of(results, "two", "value");
    assert_true(s.runs == 0 && isnan(s.mean));
    assert_true(lh_result_number(lh_result_point(lh_result_run(results, "one", "cost"), 100), "length") == 128);
    json_decref(results);
}

static int count(const char *text, const char *what)
{
    int found = 0;
    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

static void reports_say_it_all(void **state)
{
    (void)state;
    json_t *results = made_up();
    lh_string table = {0}, csv = {0}, page = {0};
    lh_error error = {0};
    lh_compare_table(results, &table);
    assert_non_null(strstr(table.data, "2.5000 +-0.7071"));
    assert_non_null(strstr(table.data, "0.5 at 128"));
    assert_non_null(strstr(table.data, "failed: two-1 (training): no \"memory\""));

    lh_compare_csv(results, &csv);
    assert_int_equal(count(csv.data, "\n"), 4);
    assert_non_null(strstr(csv.data, ",ms_per_token_at_100,ms_per_token_at_1000,error\n"));
    assert_non_null(strstr(csv.data, "\"no \"\"memory\"\", none & <nothing>\"\n"));
    char *end = strchr(csv.data, '\n');
    *end = '\0';
    int columns = count(csv.data, ",");
    char *row = end + 1;
    *strchr(row, '\n') = '\0';
    assert_int_equal(count(row, ","), columns);
    assert_non_null(strstr(row, ",0.5,,\"\""));

    check(lh_compare_page(results, &page, &error), &error);
    assert_null(strstr(page.data, "a <title>"));
    assert_non_null(strstr(page.data, "<h1>a &lt;title&gt;"));
    assert_non_null(strstr(page.data, "none &amp; &lt;nothing&gt;"));
    assert_non_null(strstr(page.data, "'x &amp; y'"));
    assert_non_null(strstr(page.data, "one is best"));
    assert_non_null(strstr(page.data, "</html>"));
    assert_null(strstr(page.data, "nan"));
    assert_null(strstr(page.data, "inf"));
    lh_string_free(&table);
    lh_string_free(&csv);
    lh_string_free(&page);
    json_decref(results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_go_to_whom_they_are_for),
        cmocka_unit_test(arguments_become_recipe_text),
        cmocka_unit_test(budgets_are_read),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(sizes_are_put_in),
        cmocka_unit_test(methods_get_what_is_meant_for_them),
        cmocka_unit_test(keys_without_use_are_refused),
        cmocka_unit_test(every_method_can_be_built),
        cmocka_unit_test(children_answer),
        cmocka_unit_test(children_fail_alone),
        cmocka_unit_test(signals_are_handed_on),
        cmocka_unit_test(children_die_with_their_caller),
        cmocka_unit_test(trials_are_kept),
        cmocka_unit_test(methods_are_compared),
        cmocka_unit_test(other_comparisons_are_refused),
        cmocka_unit_test(parts_are_taken_up),
        cmocka_unit_test(failing_methods_do_not_stop_the_others),
        cmocka_unit_test(equal_arithmetic_is_shared_out),
        cmocka_unit_test(impossible_comparisons_begin_nothing),
        cmocka_unit_test(spreads_are_means_over_seeds),
        cmocka_unit_test(reports_say_it_all),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
