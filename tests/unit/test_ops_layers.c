/* Products, norms, activations, embeddings, positions, convolutions, pooling, losses: gradients and values. */
#include "cases_layers.h"

static void gradients(void **state)
{
    (void)state;
    gc_check_all(layer_cases, sizeof layer_cases / sizeof *layer_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
