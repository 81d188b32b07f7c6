/* Sampling against distributions made by hand. */
#include "infer/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 6, DRAWS = 20000 };

/* Probabilities .4 .25 .15 .1 .07 .03 in another order. */
static const double probability[VOCAB] = {0.1, 0.4, 0.03, 0.25, 0.07, 0.15};

static void logits_of(float *logits)
{
    for (int i = 0; i < VOCAB; i++) {
        logits[i] = (float)(log(probability[i]) + 3.0); /* a constant changes nothing */
    }
}

static lh_sampler *sampler_of(const lh_sampler_options *options)
{
    lh_error error = {0};
    lh_sampler *sampler = NULL;
    if (lh_sampler_create(&sampler, options, VOCAB, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return sampler;
}

static int32_t pick(lh_sampler *s, const float *logits)
{
    lh_error error = {0};
    int32_t token = -1;
    if (lh_sampler_pick(s, logits, &token, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return token;
}

/* Draws many and compares with weights (not normalised; 0: must never come). */
static void expect_distribution(const lh_sampler_options *options, const double *weights, const char *what)
{
    float logits[VOCAB];
    int counts[VOCAB] = {0};
    double total = 0.0;
    lh_sampler *s = sampler_of(options);
    logits_of(logits);
    for (int i = 0; i < DRAWS; i++) {
        counts[pick(s, logits)]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        total += weights[i];
    }
    for (int i = 0; i < VOCAB; i++) {
        double expected = weights[i] / total, seen = (double)counts[i] / DRAWS;
        double deviation = sqrt(expected * (1.0 - expected) / DRAWS);
        if (weights[i] == 0.0 ? counts[i] != 0 : fabs(seen - expected) > 5.0 * deviation) {
            fail_msg("%s: token %d came %.4f of the time, not %.4f", what, i, seen, expected);
        }
    }
    lh_sampler_free(s);
}

static void filters(void **state)
{
    (void)state;
    lh_sampler_options o = lh_sampler_defaults();
    o.seed = 4;
    expect_distribution(&o, probability, "plain");
    o.top_k = 2;
    expect_distribution(&o, (double[VOCAB]){0, 0.4, 0, 0.25, 0, 0}, "top-k 2");
    o.top_k = 100;
    expect_distribution(&o, probability, "top-k of more than there are");
    o.top_k = 0;
    o.top_p = 0.64; /* .4 + .25 is the smallest set with that mass */
    expect_distribution(&o, (double[VOCAB]){0, 0.4, 0, 0.25, 0, 0}, "top-p .64");
    o.top_p = 0.66;
    expect_distribution(&o, (double[VOCAB]){0, 0.4, 0, 0.25, 0, 0.15}, "top-p .66");
    o.top_p = 0.01; /* the best always stays */
    expect_distribution(&o, (double[VOCAB]){0, 1, 0, 0, 0, 0}, "top-p .01");
    o.top_p = 1.0;
    o.min_p = 0.3; /* of .4: at least .12 */
    expect_distribution(&o, (double[VOCAB]){0, 0.4, 0, 0.25, 0, 0.15}, "min-p .3");
    o.min_p = 0.0;
    o.top_k = 3; /* top-p is of what top-k left: .4 / .8 = .5 */
    o.top_p = 0.49;
    expect_distribution(&o, (double[VOCAB]){0, 1, 0, 0, 0, 0}, "top-k 3, then top-p .49");
}

static void temperature(void **state)
{
    (void)state;
    double squared[VOCAB], rooted[VOCAB];
    lh_sampler_options o = lh_sampler_defaults();
    for (int i = 0; i < VOCAB; i++) {
        squared[i] = probability[i] * probability[i];
        rooted[i] = sqrt(probability[i]);
    }
    o.temperature = 0.5;
    expect_distribution(&o, squared, "temperature .5");
    o.temperature = 2.0;
    expect_distribution(&o, rooted, "temperature 2");
    o.temperature = 0.0;
    expect_distribution(&o, (double[VOCAB]){0, 1, 0, 0, 0, 0}, "temperature 0");
    o.temperature = 1e-12; /* must not overflow */
    expect_distribution(&o, (double[VOCAB]){0, 1, 0, 0, 0, 0}, "temperature near 0");
}

static void repetition(void **state)
{
    (void)state;
    lh_sampler_options o = {.temperature = 0.0, .top_p = 1.0, .repetition_penalty = 2.0, .repetition_window = 2};
    const float logits[VOCAB] = {1.0f, 5.0f, -1.0f, 4.0f, 3.0f, -2.0f};
    const float negative[VOCAB] = {-3.0f, -2.0f, -9.0f, -9.0f, -9.0f, -9.0f};
    lh_sampler *s = sampler_of(&o);
    assert_int_equal(pick(s, logits), 1);
    lh_sampler_note(s, 1); /* 5 / 2 is less than 4 and than 3 */
    assert_int_equal(pick(s, logits), 3);
    lh_sampler_note(s, 3);
    assert_int_equal(pick(s, logits), 4);
    lh_sampler_note(s, 0); /* the window of two has forgotten the 1 */
    assert_int_equal(pick(s, logits), 1);
    lh_sampler_note(s, 1);
    lh_sampler_note(s, 1);
    assert_int_equal(pick(s, negative), 0); /* -2 * 2 is less than -3: negative logits are multiplied */
    lh_sampler_note(s, 5);
    lh_sampler_note(s, -1); /* no token of this vocabulary: not noted */
    lh_sampler_note(s, VOCAB);
    assert_int_equal(pick(s, negative), 0);
    lh_sampler_note(s, 5);
    assert_int_equal(pick(s, negative), 1);
    lh_sampler_free(s);
}

/* The nucleus as Transformer-VQ's released code forms it: probabilities in rising order are summed up, and those
 * whose sum exceeds 1 - (p - 1e-4) stay, the largest always. Which tokens come at all must be those, also where
 * sums of the kept are p itself. */
static void nucleus_by_rising_sums(void **state)
{
    (void)state;
    enum { TOKENS = 8 };
    static const double share[TOKENS] = {.05, .05, .05, .09, .11, .15, .30, .20};
    static const struct {
        double p;
        int kept;
    } vectors[] = {{.25, 1}, {.31, 2}, {.65, 3}, {.75, 4}, {.85, 5}, {.90, 6}, {.95, 7}, {.99, 8}, {.00005, 1}};
    float logits[TOKENS];
    static const double offsets[] = {0, 2, 3, 0.37, -4}; /* a constant changes nothing but roundings */
    size_t count_vectors = sizeof vectors / sizeof *vectors;
    for (size_t v = 0; v < 5 * count_vectors; v++) {
        for (int i = 0; i < TOKENS; i++) {
            logits[i] = (float)(log(share[i]) + offsets[v / count_vectors]);
        }
        lh_error error = {0};
        lh_sampler *s;
        lh_sampler_options o = lh_sampler_defaults();
        bool came[TOKENS] = {false};
        int count = 0;
        double least = 1, most_left_out = 0;
        o.top_p = vectors[v % count_vectors].p;
        o.seed = 9;
        assert_int_equal(lh_sampler_create(&s, &o, TOKENS, &error), LH_OK);
        for (int i = 0; i < 2000; i++) {
            came[pick(s, logits)] = true;
        }
        for (int i = 0; i < TOKENS; i++) {
            count += came[i];
            least = came[i] && share[i] < least ? share[i] : least;
            most_left_out = !came[i] && share[i] > most_left_out ? share[i] : most_left_out;
        }
        if (count != vectors[v % count_vectors].kept || most_left_out > least) {
            fail_msg("top-p %g keeps %d tokens, not %d", o.top_p, count, vectors[v % count_vectors].kept);
        }
        lh_sampler_free(s);
    }
}

static void seeds_and_state(void **state)
{
    (void)state;
    float logits[VOCAB];
    int same = 0;
    logits_of(logits);
    lh_sampler_options o = lh_sampler_defaults();
    o.repetition_penalty = 1.5;
    o.repetition_window = 5;
    o.seed = 1;
    lh_sampler *a = sampler_of(&o), *b = sampler_of(&o), *d = sampler_of(&o);
    o.seed = 2;
    lh_sampler *c = sampler_of(&o);
    for (int i = 0; i < 103; i++) {
        int32_t x = pick(a, logits);
        assert_int_equal(pick(b, logits), x);
        same += pick(c, logits) == x;
        lh_sampler_note(a, x);
        lh_sampler_note(b, x);
    }
    assert_true(same < 80);
    int64_t *numbers = calloc(lh_sampler_state_size(a), sizeof *numbers);
    size_t count = lh_sampler_state(a, numbers);
    assert_true(count <= lh_sampler_state_size(a));
    assert_true(lh_sampler_restore(d, numbers, count, true));
    for (int i = 0; i < 50; i++) {
        int32_t x = pick(a, logits);
        assert_int_equal(pick(d, logits), x);
        lh_sampler_note(a, x);
        lh_sampler_note(d, x);
    }
    /* Nonsense is refused and changes nothing. */
    assert_false(lh_sampler_restore(d, numbers, 3, true));
    numbers[count - 1] = VOCAB;
    assert_false(lh_sampler_restore(d, numbers, count, true));
    numbers[7] = 5;
    assert_false(lh_sampler_restore(d, numbers, 8, true));
    assert_int_equal(pick(d, logits), pick(a, logits));
    free(numbers);
    lh_sampler_free(a);
    lh_sampler_free(b);
    lh_sampler_free(c);
    lh_sampler_free(d);
}

static void refusals(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_sampler *s = NULL;
    lh_sampler_options good = lh_sampler_defaults();
    for (int i = 0; i < 9; i++) {
        lh_sampler_options o = good;
        switch (i) {
        case 0: o.temperature = -1.0; break;
        case 1: o.temperature = NAN; break;
        case 2: o.top_p = 0.0; break;
        case 3: o.top_p = 1.1; break;
        case 4: o.min_p = -0.1; break;
        case 5: o.min_p = 2.0; break;
        case 6: o.repetition_penalty = 0.0; break;
        case 7: o.top_k = -1; break;
        default: o.repetition_window = -1; break;
        }
        error = (lh_error){0};
        assert_int_equal(lh_sampler_create(&s, &o, VOCAB, &error), LH_E_ARGUMENT);
        assert_null(s);
        assert_true(error.message[0] != '\0');
    }
    float logits[VOCAB] = {0};
    int32_t token;
    s = sampler_of(&good);
    logits[3] = NAN;
    error = (lh_error){0};
    assert_int_equal(lh_sampler_pick(s, logits, &token, &error), LH_E_NUMERIC);
    assert_non_null(strstr(error.message, "token 3"));
    lh_sampler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters),         cmocka_unit_test(temperature), cmocka_unit_test(repetition),
        cmocka_unit_test(seeds_and_state), cmocka_unit_test(refusals),    cmocka_unit_test(nucleus_by_rising_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
