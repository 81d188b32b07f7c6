/* What the tests of the public interface stand on: a run that was trained through it, and checks of calls. Include
 * first: it has what cmocka needs. Everything goes through longhand.h, but for counting memory. */
#ifndef LH_TESTS_API_H
#define LH_TESTS_API_H

#include "longhand.h"

#include "base/memory.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 256, TEXT = 6000 };

static char folder[64], book[TEXT + 1];

static inline const char *in_folder(const char *name)
{
    static char paths[8][160];
    static int turn;
    char *path = paths[turn++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void ok_at(lh_status status, const lh_error *error, int line)
{
    if (status != LH_OK) {
        fail_msg("line %d: status %d: %s", line, (int)status, error->message);
    }
}

/* The call, which takes &error, must succeed. */
#define OK(call)                           \
    do {                                   \
        lh_error error = {LH_OK, ""};      \
        ok_at((call), &error, __LINE__);   \
        assert_int_equal(error.status, 0); \
    } while (0)

/* The call, which takes &error, must fail with this status and a sentence that has these words. */
#define REFUSED(expected, words, call)                                                       \
    do {                                                                                     \
        lh_error error = {LH_OK, ""};                                                        \
        assert_int_equal((call), (expected));                                                \
        assert_int_equal(error.status, (expected));                                          \
        if (!strstr(error.message, (words))) {                                               \
            fail_msg("line %d: \"%s\" does not say \"%s\"", __LINE__, error.message, words); \
        }                                                                                    \
    } while (0)

static const char recipe_text[] =
    "[model]\nlayers = 2\nwidth = 16\nheads = 2\nhidden = 32\nsegment = 8\ndropout = 0.1\npositions = relative\n"
    "init = sonnet\n[memory]\nkind = compressive\nlength = 8\ncompressed = 4\nrate = 2\n"
    "[train]\nsteps = 20\nthreads = 1\nwarmup = 4\nlearning_rate = 1e-2\nlog_every = 5\ncheckpoint_every = 7\n"
    "eval_every = 10\neval_tokens = 200\n[data]\nbatch = 2\n";

static inline longhand_recipe *recipe_of_run(void)
{
    longhand_recipe *recipe;
    char path[200];
    (void)snprintf(path, sizeof path, "data.path=%s", in_folder("book.txt"));
    OK(longhand_recipe_create(&recipe, NULL, &error));
    OK(longhand_recipe_add(recipe, recipe_text, sizeof recipe_text - 1, &error));
    OK(longhand_recipe_set(recipe, path, &error));
    return recipe;
}

static inline int prepare(void **state)
{
    (void)state;
    uint32_t noise = 99;
    lh_error error = {LH_OK, ""};
    longhand_recipe *recipe;
    if (scratch_make(folder) != 0) {
        return -1;
    }
    for (size_t i = 0; i < TEXT; i++) {
        noise = noise * 1664525u + 1013904223u;
        book[i] = "the quick brown fox jumps over a lazy dog. "[(i + (noise >> 30 == 0)) % 43];
    }
    if (scratch_write(in_folder("book.txt"), book, TEXT) != 0) {
        return -1;
    }
    recipe = recipe_of_run();
    lh_status status = longhand_train(recipe, in_folder("run"), NULL, NULL, &error);
    longhand_recipe_free(recipe);
    if (status != LH_OK) {
        print_error("%s\n", error.message);
    }
    return status == LH_OK ? 0 : -1;
}

static inline int clean_up(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Every test must give back all the memory that it took. */
static uint64_t live;

static inline int count_memory(void **state)
{
    (void)state;
    live = lh_heap_live_bytes();
    return 0;
}

static inline int compare_memory(void **state)
{
    (void)state;
    if (lh_heap_live_bytes() != live) {
        print_error("%lld bytes were not given back\n", (long long)(lh_heap_live_bytes() - live));
        return -1;
    }
    return 0;
}

static inline longhand_model *open_model(void)
{
    longhand_model *model;
    OK(longhand_model_open(&model, in_folder("run"), NULL, &error));
    return model;
}

static inline longhand_session *session_of(longhand_model *model, int64_t lanes)
{
    longhand_session *session;
    OK(longhand_session_create(&session, model, lanes, 1, &error));
    return session;
}

/* A model may go before its sessions. */
static inline longhand_session *lone_session(int64_t lanes)
{
    longhand_model *model = open_model();
    longhand_session *session = session_of(model, lanes);
    longhand_model_free(model);
    return session;
}

static inline void ids_of_book(int32_t *ids, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ids[i] = (unsigned char)book[first + i];
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, count_memory, compare_memory)

#endif
