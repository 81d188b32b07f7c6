/* Learning, not arithmetic: who remembers what. The same task is solved by a model whose memory reaches as far back
 * as the answers stand, and is not by one whose memory ends before, however long it trains.
 *
 *   copy     every answer repeats what stands 64 tokens before it. Transformer-XL with 64 remembered positions sees
 *            that from everywhere; with 16 it sees at most 47 tokens back, and without memory 31
 *   marker   151 tokens back. Transformer-XL with 80 positions reaches 111; the Compressive Transformer with as
 * many slots, 32 + 48 of rate 4, 224
 *
 * All have one layer: with more, each layer reaches as far again through the one below. LH_SKIP_TRENDS=1 leaves it
 * out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/task_make.h"
#include "support/test_folder.h"
#include "train/run.h"

#include <math.h>
#include <stdlib.h>

#define TASK(...) ((const char *const[]){__VA_ARGS__, NULL})

static void make(const char *name, const char *folder, const char *const *settings)
{
    lh_task task;
    lh_error error = {0};
    int count = 0;
    bool already;
    while (settings[count]) {
        count++;
    }
    lh_task_make_options options = {.seed = 1, .rows = {6000, 300, 0}};
    if (lh_task_create(&task, name, settings, count, &error) != LH_OK ||
        lh_task_make(&task, in_folder(folder), &options, &already, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
}

static const char recipe_text[] = "[data]\nlayout = documents\nreset_at_document = true\nbatch = 16\n"
                                  "[model]\nlayers = 1\nwidth = 64\nheads = 4\nhidden = 128\nsegment = 32\n"
                                  "positions = relative\ninit = sonnet\n"
                                  "[train]\nlearning_rate = 3e-3\nwarmup = 50\nclip = 1\nschedule = constant\n"
                                  "threads = 1\neval_every = 0\neval_tokens = 0\ncheckpoint_every = 0\n";

/* Trains on the data in `folder` and returns the accuracy on held-out rows. */
static double train(const char *folder, const char *const *settings)
{
    static int runs;
    char name[24], path[300];
    lh_recipe *recipe;
    lh_run_report report;
    lh_error error = {0};
    (void)snprintf(path, sizeof path, "data.path=%s", in_folder(folder));
    (void)snprintf(name, sizeof name, "run-%d", runs++);
    lh_run_options options = {.directory = in_folder(name)};
    lh_status status = lh_train_recipe_create(&recipe, &error);
    if (status == LH_OK) {
        status = lh_recipe_read_text(recipe, "recipe", recipe_text, strlen(recipe_text), &error);
    }
    if (status == LH_OK) {
        status = lh_recipe_override(recipe, path, &error);
    }
    for (int i = 0; settings[i] && status == LH_OK; i++) {
        status = lh_recipe_override(recipe, settings[i], &error);
    }
    if (status == LH_OK) {
        status = lh_recipe_resolve(recipe, &error);
    }
    if (status == LH_OK) {
        status = lh_run_train(recipe, &options, &report, &error);
    }
    lh_recipe_free(recipe);
    if (status != LH_OK) {
        fail_msg("%s", error.message);
    }
    return report.accuracy;
}

static bool left_out(void)
{
    (void)setenv("LH_QUIET", "1", 1);
    if (getenv("LH_SKIP_TRENDS")) {
        print_message("left out by LH_SKIP_TRENDS\n");
        return true;
    }
    return false;
}

static void copies_within_reach(void **state)
{
    (void)state;
    if (left_out()) {
        skip();
    }
    make("copy", "copy", TASK("plain=1", "length=98", "filler=32", "symbols=16"));
#define COPY "train.steps=400"
    double reaches = train("copy", TASK(COPY, "memory.kind=transformer-xl", "memory.length=64"));
    double ends_before = train("copy", TASK(COPY, "memory.kind=transformer-xl", "memory.length=16"));
    double without = train("copy", TASK(COPY, "memory.kind=none"));
    print_message("accuracy of copies: 64 positions %.3f, 16 positions %.3f, none %.3f (guessing: %.3f)\n", reaches,
                  ends_before, without, 1.0 / 16);
    /* 9600 answers: five standard deviations of guessing are 0.012. */
    assert_true(reaches > 0.95);
    assert_true(ends_before < 1.0 / 16 + 0.02);
    assert_true(without < 1.0 / 16 + 0.02);
}

static void compressed_memory_reaches_further(void **state)
{
    (void)state;
    if (left_out()) {
        skip();
    }
    make("marker", "marker", TASK("symbols=8", "filler=150", "noise=8"));
#define MARKER "train.steps=800"
    double compressive = train("marker", TASK(MARKER, "memory.kind=compressive", "memory.length=32",
                                              "memory.compressed=48", "memory.rate=4"));
    double xl = train("marker", TASK(MARKER, "memory.kind=transformer-xl", "memory.length=80"));
    print_message("accuracy of markers: compressive %.3f, Transformer-XL %.3f (guessing: %.3f)\n", compressive, xl,
                  1.0 / 8);
    /* 300 answers: five standard deviations of guessing are 0.1. */
    assert_true(compressive > 0.9);
    assert_true(xl < 1.0 / 8 + 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_within_reach),
        cmocka_unit_test(compressed_memory_reaches_further),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
