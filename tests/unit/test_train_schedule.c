#include "train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-12 * fabs(wanted) + 1e-18)) {
        fail_msg("rate %.17g instead of %.17g", got, wanted);
    }
}

/* Rae et al. 2020, section 5: 1e-6 to 3e-4 over the warm-up, and back along a cosine over the decay steps. */
static void compressive_paper(void **state)
{
    (void)state;
    lh_schedule s = {
        .kind = LH_SCHEDULE_COSINE, .start = 1e-6, .peak = 3e-4, .final = 1e-6, .warmup = 4000, .decay = 100000};
    expect(lh_schedule_rate(&s, 0, 0), 1e-6);
    expect(lh_schedule_rate(&s, 1000, 0), 1e-6 + (3e-4 - 1e-6) / 4);
    expect(lh_schedule_rate(&s, 4000, 0), 3e-4);
    expect(lh_schedule_rate(&s, 4000 + 25000, 0), 1e-6 + (3e-4 - 1e-6) * (0.5 + sqrt(0.5) / 2));
    expect(lh_schedule_rate(&s, 54000, 0), 1e-6 + (3e-4 - 1e-6) / 2);
    expect(lh_schedule_rate(&s, 104000, 0), 1e-6);
    expect(lh_schedule_rate(&s, 500000, 0), 1e-6);
}

static void warm_up_of_every_kind(void **state)
{
    (void)state;
    for (int kind = LH_SCHEDULE_CONSTANT; kind <= LH_SCHEDULE_INVERSE_SQRT; kind++) {
        lh_schedule s = {.kind = (lh_schedule_kind)kind, .start = 1e-3, .peak = 1e-2, .warmup = 10, .decay = 100};
        expect(lh_schedule_rate(&s, 0, 0), 1e-3);
        expect(lh_schedule_rate(&s, 5, 0), 5.5e-3);
        expect(lh_schedule_rate(&s, 10, 0), 1e-2);
        s.warmup = 0;
        expect(lh_schedule_rate(&s, 0, 0), 1e-2);
    }
}

static void constant(void **state)
{
    (void)state;
    lh_schedule s = {.kind = LH_SCHEDULE_CONSTANT, .peak = 0.5, .final = 0.1, .decay = 10};
    expect(lh_schedule_rate(&s, 1, 0.9), 0.5);
    expect(lh_schedule_rate(&s, 1000, 1), 0.5);
}

static void linear(void **state)
{
    (void)state;
    lh_schedule s = {.kind = LH_SCHEDULE_LINEAR, .peak = 1, .final = 0.2, .warmup = 10, .decay = 40};
    expect(lh_schedule_rate(&s, 20, 0), 0.8);
    expect(lh_schedule_rate(&s, 50, 0), 0.2);
    expect(lh_schedule_rate(&s, 51, 0), 0.2);
}

static void inverse_sqrt(void **state)
{
    (void)state;
    lh_schedule s = {.kind = LH_SCHEDULE_INVERSE_SQRT, .peak = 1e-2, .final = 1e-4, .warmup = 10000};
    expect(lh_schedule_rate(&s, 40000, 0), 5e-3);
    expect(lh_schedule_rate(&s, 1000000, 0), 1e-3);
    expect(lh_schedule_rate(&s, INT64_C(1000000000000), 0), 1e-4);
    s.warmup = 0;
    expect(lh_schedule_rate(&s, 0, 0), 1e-2);
    expect(lh_schedule_rate(&s, 4, 0), 5e-3);
}

/* Without a number of decay steps the end of the run is the end of the decay. */
static void decay_to_the_end_of_the_run(void **state)
{
    (void)state;
    lh_schedule s = {.kind = LH_SCHEDULE_COSINE, .peak = 1, .final = 0, .warmup = 10};
    expect(lh_schedule_rate(&s, 10, 0), 1);
    expect(lh_schedule_rate(&s, 11, 0.5), 0.5);
    expect(lh_schedule_rate(&s, 12, 1), 0);
    expect(lh_schedule_rate(&s, 13, 7), 0);
    expect(lh_schedule_rate(&s, 5, 0.7), 0.5);
}

/* The released schedules at the steps that their values are known of, to the digits given. */
static void released(void **state)
{
    (void)state;
    lh_schedule s = {.kind = LH_SCHEDULE_MELIAD_RSQRT_STD, .peak = 1, .warmup = 1000, .decay = 500000};
    lh_schedule usual = {.kind = LH_SCHEDULE_INVERSE_SQRT, .peak = 1 / sqrt(1000), .warmup = 1000};
    expect(lh_schedule_rate(&s, 0, 0), 0);
    expect(lh_schedule_rate(&s, 500, 0), 0.5 / sqrt(1000));
    expect(lh_schedule_rate(&s, 10000, 0), 0.01);
    assert_true(fabs(lh_schedule_rate(&s, 100000, 0) - 0.00316) < 5e-6);
    assert_true(fabs(lh_schedule_rate(&s, 500000, 0) - 0.00141) < 5e-6);
    for (int64_t t = 0; t < 20000; t += 371) { /* another name for the same */
        expect(lh_schedule_rate(&s, t, 0), lh_schedule_rate(&usual, t, 0));
    }
    s.kind = LH_SCHEDULE_MELIAD_COSINE;
    assert_true(fabs(lh_schedule_rate(&s, 10000, 0) - 0.00999) < 5e-6);
    assert_true(fabs(lh_schedule_rate(&s, 100000, 0) - 0.00914) < 5e-6);
    expect(lh_schedule_rate(&s, 250000, 0), 0.0055);
    expect(lh_schedule_rate(&s, 500000, 0), 0.001);
    expect(lh_schedule_rate(&s, 1000000, 0), 0.0005);
    expect(lh_schedule_rate(&s, 250, 0), 0.25 * (0.001 + 0.0045 * (1 + cos(3.14159265358979323846 / 500))));
    s.spike = true;
    expect(lh_schedule_rate(&s, 5000, 0), 0.02);
    expect(lh_schedule_rate(&s, 500, 0), 0.5 * 0.036);
    expect(lh_schedule_rate(&s, 250000, 0), 0.0055);
    s.spike = false;
    s.kind = LH_SCHEDULE_MELIAD_LINEAR;
    expect(lh_schedule_rate(&s, 250000, 0), 0.0055);
    expect(lh_schedule_rate(&s, 750000, 0), 0.002 * pow(2, -1.5));
    s.kind = LH_SCHEDULE_MELIAD_RSQRT;
    expect(lh_schedule_rate(&s, 500000, 0), 0.001);
    expect(lh_schedule_rate(&s, 125000, 0), 0.002);
    s.warmup = 1;
    expect(lh_schedule_rate(&s, 150, 0), 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressive_paper), cmocka_unit_test(warm_up_of_every_kind),
        cmocka_unit_test(constant),          cmocka_unit_test(linear),
        cmocka_unit_test(inverse_sqrt),      cmocka_unit_test(decay_to_the_end_of_the_run),
        cmocka_unit_test(released),
    };
    return cmocka_run_group_tests_name("train_schedule", tests, NULL, NULL);
}
