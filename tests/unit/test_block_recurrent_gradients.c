/* Gradients of the Block-Recurrent Transformer: every parameter of every variant against differences, how far they
 * reach, and where they end. */
#include "support/block_recurrent.h"

/* ---- 8. Gradients through the state, and where they end ---- */

static void gradients_flow_between_blocks(void **state)
{
    (void)state;
    enum { BLOCKS = 8, TOTAL = 2 * BLOCKS * W };
    int32_t tokens[LANES * TOTAL];
    text(tokens, LANES * TOTAL);
    const char *arguments[] = {RECURRENT, NULL};
    tiny t = create(arguments, LANES);
    const char *start = "layers.1.memory.state.start.table";
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, BLOCKS - 1, NULL); /* the last block's loss alone */
    double gradient[S * D];
    memcpy(gradient, tiny_grad(&t, start), sizeof gradient);
    assert_true(largest(gradient, S * D) > 1e-9);
    assert_true(largest(tiny_grad(&t, "layers.1.memory.state.identity.table"), S * D) > 1e-9);
    t.context->recording = false;
    for (int i = 0; i < S * D; i += 7) {
        double *x = tiny_values(&t, start) + i, kept = *x, loss[2];
        for (int side = 0; side < 2; side++) {
            *x = kept + (side ? -1e-4 : 1e-4);
            start_again(&t);
            loss[side] = read_blocks(&t, tokens, TOTAL, 0, BLOCKS, BLOCKS - 1, NULL);
        }
        *x = kept;
        double difference = (loss[0] - loss[1]) / 2e-4;
        assert_true(fabs(difference - gradient[i]) < 1e-3 * fabs(gradient[i]) + 1e-9);
    }
    /* The next step of training finds constants: neither the start nor a weight used before it hears of its loss.
     */
    t.context->recording = true;
    start_again(&t);
    (void)read_blocks(&t, tokens, TOTAL, 0, BLOCKS, BLOCKS, NULL); /* nothing scored */
    tiny_zero_grads(&t);
    (void)read_blocks(&t, tokens, TOTAL, BLOCKS, 1, 0, NULL);
    assert_true(largest(tiny_grad(&t, start), S * D) == 0.0);
    assert_true(largest(tiny_grad(&t, "layers.1.memory.state.output.weight"), D * 2 * D) == 0.0);
    assert_true(largest(tiny_grad(&t, "layers.1.memory.state.key_value.weight"), 2 * D * D) > 0.0);
    tiny_zero_grads(&t);
    (void)read_blocks(&t, tokens, TOTAL, BLOCKS + 1, 2, 0, NULL);
    assert_true(largest(tiny_grad(&t, start), S * D) == 0.0);
    assert_true(largest(tiny_grad(&t, "layers.1.memory.state.output.weight"), D * 2 * D) > 0.0);
    tiny_free(&t);
}

/* ---- 9. Every gradient of every variant ---- */

/* A ReLU in the stack would bend the loss between the points of a difference; the cell has its own. */
#define SMOOTH "model.activation=gelu"

/* Along a random direction in each tensor of parameters, over two lanes of which one begins a document. */
static void check_differences(const char *const *arguments, const char *what)
{
    enum { BLOCKS = 3, BEFORE = 1, TOTAL = (BLOCKS + BEFORE) * W };
    lh_error error = {0};
    int32_t tokens[LANES * TOTAL];
    text(tokens, LANES * TOTAL);
    tiny t = create(arguments, LANES);
    t.context->recording = false;
    (void)read_blocks(&t, tokens, TOTAL, 0, BEFORE, 0, NULL);
    tiny_check(lh_stream_reset(t.stream, t.context, 1, &error), &error);
    lh_stream *found = t.stream, *work;
    tiny_check(lh_stream_create(&work, t.model, LANES, false, &error), &error);
    work->memory->keep_graph = true;
    t.stream = work;
    tiny_check(lh_stream_copy(work, found, &error), &error);
    t.context->recording = true;
    (void)read_blocks(&t, tokens, TOTAL, BEFORE, BLOCKS, 0, NULL);
    t.context->recording = false;
    for (int i = 0; i < t.model->parameters.count; i++) {
        lh_parameter *p = &t.model->parameters.items[i];
        int64_t count = lh_tensor_count(p->tensor);
        double *x = lh_tensor_data(p->tensor), *g = lh_tensor_data(p->tensor->grad), slope = 0.0, size = 0.0;
        double *direction = malloc(sizeof *direction * (size_t)count), *kept = malloc(sizeof *kept * (size_t)count);
        lh_random random = lh_random_create(5, (uint64_t)i);
        memcpy(kept, x, sizeof *kept * (size_t)count);
        for (int64_t j = 0; j < count; j++) {
            direction[j] = lh_random_normal(&random) / sqrt((double)count);
            slope += direction[j] * g[j];
            size += g[j] * g[j];
        }
        double loss[4];
        static const double steps[] = {1e-5, -1e-5, 2e-5, -2e-5};
        for (int side = 0; side < 4; side++) {
            for (int64_t j = 0; j < count; j++) {
                x[j] = kept[j] + steps[side] * direction[j];
            }
            tiny_check(lh_stream_copy(work, found, &error), &error);
            loss[side] = read_blocks(&t, tokens, TOTAL, BEFORE, BLOCKS, 0, NULL);
        }
        memcpy(x, kept, sizeof *kept * (size_t)count);
        /* fourth order: the error is that of rounding */
        double difference = (8.0 * (loss[0] - loss[1]) - (loss[2] - loss[3])) / 12e-5;
        double bound = 1e-6 * sqrt(size / (double)count) + 1e-8;
        if (!(fabs(difference - slope) <= bound)) {
            fail_msg("%s, %s: slope %.12g, difference %.12g", what, p->name, slope, difference);
        }
        free(direction);
        free(kept);
    }
    lh_stream_free(found);
    tiny_free(&t);
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    static const char *const cells[] = {"memory.cell=skip", "memory.cell=single", "memory.cell=dual"};
    static const char *const gates[] = {"memory.gate=fixed", "memory.gate=lstm", "memory.gate=full"};
    static const char *const others[] = {
        "memory.feedback=true", "memory.read_layers=0",   "memory.z_tanh=true", "memory.strict=true",
        "model.kv_heads=1",     "model.positions=rotary", "model.qk_norm=none", "memory.recurrent_layers=0,2"};
    for (int i = 0; i < 9; i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "%s %s", cells[i % 3], gates[i / 3]);
        const char *arguments[] = {RECURRENT, SMOOTH, cells[i % 3], gates[i / 3], "memory.z_bias=true", NULL};
        check_differences(arguments, what);
    }
    for (int i = 0; i < 8; i++) {
        const char *arguments[] = {
            SIZES,     STYLE, "memory.kind=block-recurrent", "memory.states=4", "memory.recurrent_layers=1",
            others[i], NULL};
        const char *turned[] = {SIZES,
                                SMOOTH,
                                "model.positions=rotary",
                                "model.init=fan-in",
                                "memory.kind=block-recurrent",
                                "memory.states=4",
                                "memory.recurrent_layers=1",
                                NULL};
        check_differences(i == 5 ? turned : arguments, others[i]);
    }
    const char *both[] = {SIZES,
                          STYLE,
                          SMOOTH,
                          "memory.kind=block-recurrent",
                          "memory.states=4",
                          "memory.recurrent_layers=0,1",
                          "memory.feedback=true",
                          "memory.cell=dual",
                          "memory.gate=lstm",
                          NULL};
    check_differences(both, "two states and feedback");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_flow_between_blocks),
        cmocka_unit_test(gradients_equal_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
