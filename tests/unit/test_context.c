/* The context and the tape: scopes, memory in the backward pass, no allocation in a steady loop, recomputation,
 * faults, threads, accumulated gradients. */
#include "autograd/context.h"
#include "op_model.h"

static const tiny_sizes small_sizes = {.batch = 2,
                                       .length = 6,
                                       .vocab = 11,
                                       .heads = 2,
                                       .head_width = 4,
                                       .hidden = 10,
                                       .dtype = LH_F64,
                                       .dropout = 0.1};

static lh_tensor *leaf_of(int64_t n, double first, double step)
{
    lh_error error = {0};
    lh_tensor *leaf = NULL;
    double *values = malloc(sizeof *values * (size_t)(n + 1));
    for (int64_t i = 0; i < n; i++) {
        values[i] = first + step * (double)i;
    }
    assert_int_equal(lh_tensor_create(&leaf, lh_backend_cpu(), LH_F64, 1, &n, "leaf", &error), LH_OK);
    assert_int_equal(lh_tensor_create_grad(leaf, &error), LH_OK);
    assert_int_equal(lh_tensor_write(leaf, values, &error), LH_OK);
    free(values);
    return leaf;
}

static void scopes(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    int64_t n = 1000;
    lh_tensor *outer = lh_new(c, LH_F64, 1, &n, true);
    size_t before = lh_pool_in_use(c->pool);
    lh_scope scope = lh_scope_begin(c), inner;
    lh_tensor *a = lh_add(c, outer, outer), *b = lh_add(c, a, a);
    inner = lh_scope_begin(c);
    lh_tensor *d = lh_multiply(c, b, b);
    lh_tensor *view = lh_slice(c, d, 0, 10, 20);
    lh_scope_end(c, inner, 1, &view);
    assert_null(d->storage); /* the handle is gone, the view holds the block */
    assert_true(lh_pool_in_use(c->pool) >= before + 3 * 8000);
    gc_expect(c, view, (double[20]){0}, 20, 0);
    lh_scope_end(c, scope, 1, &b);
    assert_null(a->storage);
    assert_null(view->storage);
    assert_non_null(b->storage);
    size_t after = lh_pool_in_use(c->pool);
    assert_true(after > before && after <= before + 9000);
    /* the tape keeps what a backward pass needs, and no more */
    lh_tensor *leaf = leaf_of(n, 1, 0.5), *kept[1];
    scope = lh_scope_begin(c);
    kept[0] = lh_sum(c, lh_scale(c, lh_multiply(c, leaf, leaf), 2.0));
    lh_scope_end(c, scope, 1, kept);
    assert_true(lh_pool_in_use(c->pool) <= after + 512); /* the product's factors are the leaf itself */
    scope = lh_scope_begin(c);
    kept[0] = lh_sum(c, lh_unary(c, LH_TANH, lh_unary(c, LH_TANH, leaf)));
    lh_scope_end(c, scope, 1, kept);
    assert_true(lh_pool_in_use(c->pool) >= after + 8000);
    assert_true(lh_pool_in_use(c->pool) <= after + 9000 + 512);
    lh_context_reset(c);
    assert_int_equal(lh_pool_in_use(c->pool), 0);
    lh_tensor_free(leaf);
    lh_context_free(c);
}

static size_t seen_in_use;

static void watching_backward(lh_context *c, lh_node *node)
{
    seen_in_use = lh_pool_in_use(c->pool);
    lh_in_grad_give(c, node, 0, lh_alias(c, lh_out_grad(c, node, 0)));
}

/* An op that notes how much memory is in use when its gradient is made. */
static lh_tensor *watch(lh_context *c, lh_tensor *x)
{
    lh_tensor *y = lh_new_like(c, x, false);
    lh_add_scaled_args args = {
        .n = lh_tensor_count(x), .alpha = 1.0, .x = lh_tensor_data(x), .y = lh_tensor_data(y)};
    lh_run(c, LH_KERNEL_ADD_SCALED, x->dtype, &args);
    lh_record(c, "watch", watching_backward, 1, &x, 1, &y, 0, NULL, NULL, 0);
    return y;
}

/* By the time the first op's gradient is made, what the later ones saved is gone. */
static void tape_frees_as_it_goes(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    enum { DEPTH = 60 };
    const size_t block = 8192;
    lh_tensor *leaf = leaf_of(1024, -1, 0.01);
    lh_scope scope = lh_scope_begin(c);
    lh_tensor *y = watch(c, leaf);
    for (int i = 0; i < DEPTH; i++) {
        y = lh_unary(c, LH_TANH, y);
    }
    lh_tensor *loss = lh_sum(c, y);
    lh_scope_end(c, scope, 1, &loss);
    assert_true(lh_pool_in_use(c->pool) >= DEPTH * block);
    size_t forward = lh_pool_in_use(c->pool);
    c->peak_bytes = 0;
    lh_backward(c, loss, 1.0);
    gc_require_ok(c, &(gc_case){.name = "chain"}, "backward");
    assert_true(seen_in_use <= 3 * block);
    assert_true(c->peak_bytes <= forward + 3 * block);
    assert_true(lh_pool_in_use(c->pool) <= block); /* the loss's handle */
    assert_null(c->tape);
    assert_null(loss->grad);
    lh_tensor_free(leaf);
    lh_context_free(c);
}

/* After the first step of a fixed-shape loop nothing is asked of the heap, with and without recomputation. */
static void steady_loops_do_not_allocate(void **state)
{
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        lh_context *c = gc_context(lh_backend_cpu(), 2);
        lh_error error = {0};
        tiny_model model;
        tiny_sizes sizes = small_sizes;
        sizes.recompute = recompute;
        assert_int_equal(tiny_create(&model, &sizes, lh_backend_cpu(), &error), LH_OK);
        c->training = true;
        double first = tiny_step(c, &model, 0, 0.05), last = 0;
        uint64_t allocations = lh_heap_allocations();
        for (int step = 1; step < 30; step++) {
            last = tiny_step(c, &model, 0, 0.05);
        }
        assert_int_equal(lh_heap_allocations(), allocations);
        gc_require_ok(c, &(gc_case){.name = "tiny model"}, "step");
        assert_true(last < 0.8 * first); /* and it learns */
        tiny_free(&model);
        lh_context_free(c);
    }
}

/* Recomputation changes memory and nothing else: same loss and same gradients to the last bit, dropout included. */
static void recomputation(void **state)
{
    (void)state;
    unsigned char *gradients[2];
    size_t bytes = 0, peak[2];
    double loss[2];
    for (int recompute = 0; recompute < 2; recompute++) {
        lh_context *c = gc_context(lh_backend_cpu(), 2);
        lh_error error = {0};
        tiny_model model;
        tiny_sizes sizes = small_sizes;
        sizes.length = 24;
        sizes.hidden = 64;
        sizes.recompute = recompute;
        assert_int_equal(tiny_create(&model, &sizes, lh_backend_cpu(), &error), LH_OK);
        c->training = true;
        (void)tiny_step(c, &model, 0, 0.01); /* so that random offsets have moved on */
        c->peak_bytes = 0;
        loss[recompute] = tiny_step(c, &model, 1, 0.0);
        uint64_t offset = c->random_offset;
        gc_require_ok(c, &(gc_case){.name = "tiny model"}, "step");
        peak[recompute] = c->peak_bytes;
        gradients[recompute] = tiny_bytes(&model, true, &bytes);
        assert_false(c->recomputing);
        assert_true(c->recording);
        assert_true(offset > 0);
        tiny_free(&model);
        lh_context_free(c);
    }
    assert_true(loss[0] == loss[1]);
    assert_memory_equal(gradients[0], gradients[1], bytes);
    assert_true((double)peak[1] < 0.75 * (double)peak[0]);
    free(gradients[0]);
    free(gradients[1]);
}

/* Spans: one inside the other; counting how often, and in which mode, each runs. */
static int span_runs[2], span_recomputed;

static void inner_span(lh_context *c, void *user, lh_tensor *const *in, lh_tensor **out)
{
    (void)user;
    span_runs[1]++;
    out[0] = lh_unary(c, LH_TANH, lh_dropout(c, lh_multiply(c, in[0], in[1]), 0.3, 1));
}

static void outer_span(lh_context *c, void *user, lh_tensor *const *in, lh_tensor **out)
{
    span_runs[0]++;
    span_recomputed += c->recomputing;
    lh_tensor *first = lh_unary(c, LH_SILU, in[0]), *middle = NULL, *pair[2] = {first, user};
    lh_recompute(c, inner_span, NULL, 2, pair, 1, &middle);
    out[0] = lh_multiply(c, middle, first);
    out[1] = in[1];  /* an input, handed through */
    out[2] = out[0]; /* a result, twice */
    out[3] = user;   /* a parameter that is no input */
}

static void nested_recomputation(void **state)
{
    (void)state;
    lh_tensor *x = leaf_of(40, -1, 0.05), *captured = leaf_of(40, 2, -0.1), *other = leaf_of(40, 0, 0.2);
    double *gradient[2][3];
    for (int plain = 0; plain < 2; plain++) {
        lh_context *c = gc_context(lh_backend_cpu(), 1);
        c->training = true;
        lh_tensor *in[2] = {x, other}, *out[4] = {NULL}, *total = NULL;
        double zeros[40] = {0};
        lh_error error = {0};
        lh_tensor *leaves[3] = {x, captured, other};
        span_runs[0] = span_runs[1] = span_recomputed = 0;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(lh_tensor_write(leaves[i]->grad, zeros, &error), LH_OK);
        }
        if (plain) {
            lh_tensor *first = lh_unary(c, LH_SILU, x);
            lh_tensor *middle = lh_unary(c, LH_TANH, lh_dropout(c, lh_multiply(c, first, captured), 0.3, 1));
            out[0] = out[2] = lh_multiply(c, middle, first);
            out[1] = other;
            out[3] = captured;
        } else {
            lh_recompute(c, outer_span, captured, 2, in, 4, out);
        }
        for (int i = 0; i < 4; i++) {
            lh_tensor *part = lh_sum(c, lh_scale(c, lh_unary(c, LH_SQUARE, out[i]), i + 1.0));
            total = total ? lh_add(c, total, part) : part;
        }
        lh_backward(c, total, 1.0);
        gc_require_ok(c, &(gc_case){.name = "nested"}, "backward");
        for (int i = 0; i < 3; i++) {
            gradient[plain][i] = gc_read(c, leaves[i]->grad);
        }
        if (!plain) {
            assert_int_equal(span_runs[0], 2);
            assert_int_equal(span_runs[1], 3); /* forward, in the outer span's second run, and its own */
            assert_int_equal(span_recomputed, 1);
        }
        lh_context_free(c);
    }
    for (int i = 0; i < 3; i++) {
        double size = 0;
        for (int e = 0; e < 40; e++) {
            size += fabs(gradient[1][i][e]);
            assert_true(fabs(gradient[0][i][e] - gradient[1][i][e]) <= 1e-14 * (1 + fabs(gradient[1][i][e])));
        }
        assert_true(size > 1);
        free(gradient[0][i]);
        free(gradient[1][i]);
    }
    lh_tensor_free(x);
    lh_tensor_free(captured);
    lh_tensor_free(other);
}

/* Two thirds of parallel work cut differently must not change a bit. */
static void thread_counts(void **state)
{
    (void)state;
    const int threads[] = {1, 2, 3, 5};
    unsigned char *gradients[4];
    size_t bytes = 0;
    double loss[4];
    for (int i = 0; i < 4; i++) {
        lh_context *c = gc_context(lh_backend_cpu(), threads[i]);
        lh_error error = {0};
        tiny_model model;
        tiny_sizes sizes = {.batch = 3,
                            .length = 70,
                            .vocab = 500,
                            .heads = 4,
                            .head_width = 24,
                            .hidden = 200,
                            .dtype = LH_F32,
                            .dropout = 0.1};
        assert_int_equal(tiny_create(&model, &sizes, lh_backend_cpu(), &error), LH_OK);
        c->training = true;
        loss[i] = tiny_step(c, &model, 0, 0.0);
        gc_require_ok(c, &(gc_case){.name = "tiny model"}, "step");
        gradients[i] = tiny_bytes(&model, true, &bytes);
        tiny_free(&model);
        lh_context_free(c);
    }
    for (int i = 1; i < 4; i++) {
        assert_true(loss[i] == loss[0]);
        assert_memory_equal(gradients[i], gradients[0], bytes);
    }
    for (int i = 0; i < 4; i++) {
        free(gradients[i]);
    }
}

/* One whole life: context, parameters, two steps. The first failing allocation makes the status. */
static lh_status life(const tiny_sizes *sizes)
{
    lh_context *c = NULL;
    lh_error error = {0};
    tiny_model model = {.sizes = *sizes};
    lh_status status = lh_context_create(&c, lh_backend_cpu(), 1, &error);
    if (status == LH_OK) {
        c->recording = true;
        c->training = true;
        status = tiny_create(&model, sizes, lh_backend_cpu(), &error);
    }
    for (int step = 0; step < 2 && status == LH_OK; step++) {
        (void)tiny_step(c, &model, step, 0.01);
        status = lh_context_status(c, &error);
    }
    if (status != LH_OK) {
        assert_int_equal(status, error.status);
        assert_true(error.message[0] != '\0');
    }
    tiny_free(&model);
    lh_context_free(c);
    return status;
}

/* Every allocation of a step fails once: a clean error (or a second try that works), no leak, no crash. */
static void failing_allocations(void **state)
{
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        tiny_sizes sizes = small_sizes;
        sizes.recompute = recompute;
        assert_int_equal(life(&sizes), LH_OK);
        uint64_t live = lh_heap_live_bytes(), before = lh_heap_allocations();
        assert_int_equal(life(&sizes), LH_OK);
        int64_t allocations = (int64_t)(lh_heap_allocations() - before), failed = 0;
        assert_true(allocations > 50);
        for (int64_t at = 0; at < allocations; at++) {
            lh_heap_fail_after(at);
            lh_status status = life(&sizes);
            lh_heap_fail_after(-1);
            assert_true(status == LH_OK || status == LH_E_MEMORY);
            failed += status == LH_E_MEMORY;
            assert_int_equal(lh_heap_live_bytes(), live);
        }
        assert_true(failed > allocations / 4);
        assert_int_equal(life(&sizes), LH_OK);
    }
}

/* A context that failed works again after a reset, with the same result. */
static void life_after_failure(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 2);
    lh_error error = {0};
    tiny_model model;
    assert_int_equal(tiny_create(&model, &small_sizes, lh_backend_cpu(), &error), LH_OK);
    double want = tiny_step(c, &model, 0, 0.0);
    lh_pool_trim(c->pool);
    for (int64_t at = 0; at < 12; at++) {
        lh_context_reset(c);
        lh_pool_trim(c->pool);
        lh_heap_fail_after(at);
        (void)tiny_step(c, &model, 0, 0.0);
        lh_heap_fail_after(-1);
        double got = tiny_step(c, &model, 0, 0.0);
        assert_int_equal(lh_context_status(c, NULL), LH_OK);
        assert_true(got == want);
        assert_true(c->recording);
    }
    tiny_free(&model);
    lh_context_free(c);
}

/* Gradients of parameters add up over backward passes; a seed scales; a loss may be a view; a constant has none. */
static void backward_passes(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    lh_tensor *leaf = leaf_of(3, 1, 1);
    lh_backward(c, lh_sum(c, lh_unary(c, LH_SQUARE, leaf)), 1.0);
    gc_expect(c, leaf->grad, (double[]){2, 4, 6}, 3, 0);
    lh_context_reset(c);
    lh_backward(c, lh_reshape(c, lh_sum(c, lh_unary(c, LH_SQUARE, leaf)), 2, (int64_t[]){1, 1}), 0.5);
    gc_expect(c, leaf->grad, (double[]){3, 6, 9}, 3, 0);
    lh_backward(c, lh_slice(c, lh_unary(c, LH_SQUARE, leaf), 0, 1, 1), 1.0);
    gc_expect(c, leaf->grad, (double[]){3, 10, 9}, 3, 0);
    lh_backward(c, lh_sum(c, lh_detach(c, leaf)), 1.0);
    c->recording = false;
    lh_tensor *silent = lh_sum(c, leaf);
    assert_false(silent->requires_grad);
    assert_null(c->tape);
    lh_backward(c, silent, 1.0);
    c->recording = true;
    /* what does not reach the loss costs nothing and gets nothing */
    lh_tensor *aside = lh_unary(c, LH_EXP, leaf);
    lh_backward(c, lh_slice(c, leaf, 0, 0, 1), 1.0);
    assert_null(aside->grad);
    gc_expect(c, leaf->grad, (double[]){4, 10, 9}, 3, 0);
    gc_require_ok(c, &(gc_case){.name = "backward passes"}, "end");
    lh_tensor_free(leaf);
    lh_context_free(c);
}

/* A tensor of the step, used many times and in several dtypes on the way out. */
static void reading(void **state)
{
    (void)state;
    lh_context *c = gc_context(lh_backend_cpu(), 1);
    const int32_t ids[6] = {1, -2, 3, 2000000000, -2000000000, 0};
    lh_tensor *whole = gc_ids(c, 2, (int64_t[]){2, 3}, ids);
    gc_expect(c, whole, (double[]){1, -2, 3, 2e9, -2e9, 0}, 6, 0);
    gc_expect(c, lh_transpose(c, whole, 0, 1), (double[]){1, 2e9, -2, -2e9, 3, 0}, 6, 0);
    const float values[2] = {0.1f, -7};
    int64_t n = 2, one = 1;
    lh_tensor *narrow = lh_from_host(c, LH_F32, 1, &n, values);
    gc_expect(c, narrow, (double[]){(double)0.1f, -7}, 2, 0);
    assert_true(lh_scalar(c, lh_slice(c, narrow, 0, 1, 1)) == -7);
    assert_true(lh_scalar(c, lh_cast(c, lh_from_host(c, LH_F32, 1, &one, values), LH_F16)) == 0.0999755859375);
    lh_context_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes),
        cmocka_unit_test(tape_frees_as_it_goes),
        cmocka_unit_test(steady_loops_do_not_allocate),
        cmocka_unit_test(recomputation),
        cmocka_unit_test(nested_recomputation),
        cmocka_unit_test(thread_counts),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(life_after_failure),
        cmocka_unit_test(backward_passes),
        cmocka_unit_test(reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
