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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressive_paper), cmocka_unit_test(warm_up_of_every_kind),
        cmocka_unit_test(constant),          cmocka_unit_test(linear),
        cmocka_unit_test(inverse_sqrt),      cmocka_unit_test(decay_to_the_end_of_the_run),
    };
    return cmocka_run_group_tests_name("train_schedule", tests, NULL, NULL);
}
