/* Counts of parameters against published ones, and of state against the memories' shapes. */
#include "infer/describe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

static lh_model_description describe(const char *preset, int64_t vocab, const char *override)
{
    lh_error error = {0};
    lh_recipe *recipe;
    lh_model_description d = {0};
    char text[128];
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    assert_int_equal(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), LH_OK);
    int size = snprintf(text, sizeof text, "preset = %s\n", preset);
    assert_int_equal(lh_recipe_read_text(recipe, "test", text, (size_t)size, &error), LH_OK);
    if (override) {
        assert_int_equal(lh_recipe_override(recipe, override, &error), LH_OK);
    }
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_OK);
    if (lh_recipe_describe_model(&d, recipe, vocab, &error) != LH_OK) {
        fail_msg("%s: %s", preset, error.message);
    }
    lh_recipe_free(recipe);
    return d;
}

static double millions(int64_t count)
{
    return (double)((count + 50000) / 100000) / 10.0;
}

/* Dai et al. 2019, table 2: 277 M and 41 M; table 1: 151 M. */
static void transformer_xl(void **state)
{
    (void)state;
    assert_true(fabs(millions(describe("transformer-xl-enwik8-24", 204, NULL).body) - 277.0) < 1e-9);
    assert_true(fabs(millions(describe("transformer-xl-enwik8-12", 204, NULL).body) - 41.0) < 1e-9);
    assert_true(fabs(millions(describe("transformer-xl-wt103-base", 267735, NULL).parameters) - 151.1) < 1e-9);
}

/* The compressive model is that body, a convolution of 3 d² and a second position projection of d² per layer. */
static void compressive(void **state)
{
    (void)state;
    lh_model_description d = describe("compressive-enwik8", 256, NULL);
    assert_int_equal(d.parts[LH_PART_COMPRESSION], 24LL * 3 * 1024 * 1024);
    assert_true(fabs(millions(d.parts[LH_PART_COMPRESSION]) - 75.5) < 1e-9);
    assert_true(fabs(millions(d.compressed_own) - 25.2) < 1e-9);
    assert_true(fabs(millions(d.body - d.compressed_own - d.parts[LH_PART_COMPRESSION]) - 277.1) < 1e-9);
    int64_t sum = 0;
    for (int i = 0; i < LH_PARTS; i++) {
        sum += d.parts[i];
    }
    assert_int_equal(sum, d.parameters);
}

/* l (n_m + n_cm) d floats of state per document; the memory's size changes no parameter. */
static void state_bytes(void **state)
{
    (void)state;
    lh_model_description trained = describe("compressive-enwik8", 256, NULL);
    lh_model_description longer = describe("compressive-enwik8", 256, "memory.compressed=3072");
    assert_int_equal(trained.state_bytes, 4LL * 24 * (768 + 1152) * 1024);
    assert_int_equal(longer.state_bytes, 4LL * 24 * (768 + 3072) * 1024);
    assert_int_equal(trained.parameters, longer.parameters);
    assert_int_equal(trained.reach, 768 + 3 * 1152);
    assert_int_equal(describe("vanilla-small", 256, NULL).state_bytes, 0);
    assert_int_equal(describe("vanilla-small", 256, NULL).reach, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transformer_xl),
        cmocka_unit_test(compressive),
        cmocka_unit_test(state_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
