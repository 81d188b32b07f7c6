/* Everything runs on a backend whose memory the host cannot touch, with the same bits as on the CPU backend: no op
 * and no model code follows a data pointer. */
#include "cases_attention.h"
#include "cases_basic.h"
#include "cases_layers.h"
#include "op_model.h"
#include "poison_backend.h"

#include <setjmp.h>
#include <signal.h>

static sigjmp_buf after_fault;

static void on_fault(int signal_number)
{
    (void)signal_number;
    siglongjmp(after_fault, 1);
}

/* The trap works: touching a tensor's memory on the host faults; a host address in a kernel's arguments is seen. */
static void the_trap_works(void **state)
{
    (void)state;
    lh_context *c = gc_context(poison_backend(), 1);
    int64_t n = 4;
    const double values[4] = {1, 2, 3, 4};
    lh_tensor *x = gc_tensor(c, 1, &n, values);
    struct sigaction trap = {.sa_handler = on_fault}, before;
    volatile bool faulted = false;
    assert_int_equal(sigaction(SIGSEGV, &trap, &before), 0);
    if (sigsetjmp(after_fault, 1) == 0) {
        volatile const double *data = lh_tensor_data(x);
        assert_true(data[0] != 77);
    } else {
        faulted = true;
    }
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
    assert_true(faulted);
    gc_expect(c, x, values, 4, 0);
    double on_host[4] = {0};
    lh_add_scaled_args args = {.n = 4, .alpha = 1.0, .x = lh_tensor_data(x), .y = on_host};
    int64_t foreign = poison.foreign;
    lh_run(c, LH_KERNEL_ADD_SCALED, LH_F64, &args);
    assert_int_equal(poison.foreign, foreign + 1);
    poison.foreign = 0;
    lh_context_free(c);
}

/* Outputs and gradients of one case on one backend, in a row. */
static double *outcome(const gc_case *gc, gc_layout layout, lh_dtype dtype, const lh_backend *backend,
                       int64_t *count)
{
    lh_context *c = gc_context(backend, 1);
    gc_leaves leaves;
    gc_leaves_create(&leaves, gc, layout, dtype, backend);
    lh_tensor *out[GC_OUTPUTS];
    double *gradient[GC_INPUTS] = {NULL}, *all = NULL;
    int64_t n = 0;
    for (int i = 0; i < leaves.count; i++) {
        gc_upload(&leaves, i);
    }
    gc_forward(c, &leaves, false, out);
    gc_require_ok(c, gc, "forward");
    for (int o = 0; o < GC_OUTPUTS; o++) {
        int64_t more = out[o] ? lh_tensor_count(out[o]) : 0;
        all = realloc(all, sizeof *all * (size_t)(n + more + 1));
        if (out[o]) {
            lh_to_host(c, out[o], &all[n]);
        }
        n += more;
    }
    for (int i = 0; i < leaves.count; i++) {
        gradient[i] = calloc((size_t)leaves.n[i] + 1, sizeof(double));
    }
    gc_backward(c, &leaves, 2, layout == GC_SLICED_TRANSPOSED, gradient);
    for (int i = 0; i < leaves.count; i++) {
        all = realloc(all, sizeof *all * (size_t)(n + leaves.n[i] + 1));
        memcpy(&all[n], gradient[i], sizeof *all * (size_t)leaves.n[i]);
        n += leaves.n[i];
        free(gradient[i]);
    }
    gc_leaves_free(&leaves);
    lh_context_free(c);
    *count = n;
    return all;
}

static void same_on_both(const gc_case *cases, size_t count)
{
    const gc_layout layouts[] = {GC_PLAIN, GC_SLICED_TRANSPOSED};
    const lh_dtype dtypes[] = {LH_F32, LH_F64};
    for (size_t i = 0; i < count; i++) {
        for (int k = 0; k < 4; k++) {
            int64_t n = 0, m = 0;
            double *want = outcome(&cases[i], layouts[k / 2], dtypes[k % 2], lh_backend_cpu(), &n);
            double *got = outcome(&cases[i], layouts[k / 2], dtypes[k % 2], poison_backend(), &m);
            assert_int_equal(n, m);
            if (memcmp(want, got, sizeof *want * (size_t)n) != 0) {
                fail_msg("%s, %s inputs: the poisoned backend gives other bits", cases[i].name,
                         gc_layout_names[layouts[k / 2]]);
            }
            free(want);
            free(got);
            if (poison.foreign) {
                fail_msg("%s: kernel %d was given a host address", cases[i].name, poison.foreign_kernel);
            }
            if (poison.live_blocks) {
                fail_msg("%s: %d blocks were not given back", cases[i].name, poison.live_blocks);
            }
        }
    }
}

static void basic_ops(void **state)
{
    (void)state;
    same_on_both(basic_cases, sizeof basic_cases / sizeof *basic_cases);
}

static void layers(void **state)
{
    (void)state;
    same_on_both(layer_cases, sizeof layer_cases / sizeof *layer_cases);
}

static void attention(void **state)
{
    (void)state;
    same_on_both(attention_cases, sizeof attention_cases / sizeof *attention_cases);
}

/* Tables and picks that are no cases of their own: position tables, top-k, attention's mass. */
static void other_ops(void **state)
{
    (void)state;
    double *result[2];
    int64_t n = 0;
    for (int side = 0; side < 2; side++) {
        lh_context *c = gc_context(side ? poison_backend() : lh_backend_cpu(), 2);
        lh_tensor *q = gc_random_tensor(c, LH_F32, 4, (int64_t[]){1, 2, 6, 4}, 1);
        lh_tensor *k = gc_random_tensor(c, LH_F32, 4, (int64_t[]){1, 2, 9, 4}, 2), *lse = NULL, *mass = NULL;
        lh_key_source source = lh_key_source_causal(k, k, 6);
        lh_attention_options options = {0};
        (void)lh_attention(c, q, 1, &source, &options, &lse);
        lh_attention_mass(c, q, 1, &source, &options, lse, 0.5, &mass);
        lh_tensor *list[4] = {
            lh_reshape(c, mass, 1, (int64_t[]){-1}),
            lh_reshape(c, lh_sinusoids(c, LH_F32, -3, 9, 4, 100, 4), 1, (int64_t[]){-1}),
            lh_reshape(c, lh_alibi(c, LH_F32, 4, 0, 5), 1, (int64_t[]){-1}),
            lh_reshape(c, lh_cast(c, lh_top_k(c, lh_reshape(c, k, 2, (int64_t[]){9, 8}), 3, true), LH_F32), 1,
                       (int64_t[]){-1})};
        lh_tensor *all = lh_concat(c, 4, list, 0);
        result[side] = gc_read(c, all);
        n = lh_tensor_count(all);
        lh_context_free(c);
    }
    assert_memory_equal(result[0], result[1], sizeof(double) * (size_t)n);
    assert_int_equal(poison.foreign, 0);
    free(result[0]);
    free(result[1]);
}

/* Some steps of training, dropout and recomputation on: the same parameters to the last bit. */
static void training(void **state)
{
    (void)state;
    unsigned char *result[2];
    size_t bytes = 0;
    for (int side = 0; side < 2; side++) {
        const lh_backend *backend = side ? poison_backend() : lh_backend_cpu();
        lh_context *c = gc_context(backend, 2);
        lh_error error = {0};
        tiny_model model;
        tiny_sizes sizes = {.batch = 2,
                            .length = 20,
                            .vocab = 50,
                            .heads = 2,
                            .head_width = 8,
                            .hidden = 30,
                            .dtype = LH_F32,
                            .dropout = 0.1,
                            .recompute = true};
        assert_int_equal(tiny_create(&model, &sizes, backend, &error), LH_OK);
        c->training = true;
        for (int step = 0; step < 4; step++) {
            (void)tiny_step(c, &model, step, 0.05);
        }
        gc_require_ok(c, &(gc_case){.name = "tiny model"}, "training");
        result[side] = tiny_bytes(&model, false, &bytes);
        tiny_free(&model);
        lh_context_free(c);
    }
    assert_memory_equal(result[0], result[1], bytes);
    assert_int_equal(poison.foreign, 0);
    assert_int_equal(poison.live_blocks, 0);
    free(result[0]);
    free(result[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trap_works), cmocka_unit_test(basic_ops), cmocka_unit_test(layers),
        cmocka_unit_test(attention),      cmocka_unit_test(other_ops), cmocka_unit_test(training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
