/* Shape, elementwise and reduction ops: gradients, values, errors. */
#include "cases_basic.h"

static void gradients(void **state)
{
    (void)state;
    gc_check_all(basic_cases, sizeof basic_cases / sizeof *basic_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
