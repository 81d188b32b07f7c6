/* Attention: gradients, values against a dense formula, merging. */
#include "cases_attention.h"

static void gradients(void **state)
{
    (void)state;
    gc_check_all(attention_cases, sizeof attention_cases / sizeof *attention_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
