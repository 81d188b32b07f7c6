/* The optimizers against literal scalar versions of their papers' formulas, in double precision. */
#include "base/memory.h"
#include "train/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 6, COLUMNS = 9, MATRIX = ROWS * COLUMNS, VECTOR = 7, STEPS = 5 };

typedef struct bench {
    lh_parameters list;
    lh_context *context;
    lh_tensor *matrix, *vector, *squeeze;
    lh_error error;
} bench;

static void pattern(double *values, int count, int seed, double size)
{
    for (int i = 0; i < count; i++) {
        values[i] = size * sin(1.7 * i + 0.9 * seed + 0.3);
    }
}

static void open_bench(bench *b)
{
    memset(b, 0, sizeof *b);
    b->list = (lh_parameters){.backend = lh_backend_cpu(), .dtype = LH_F64};
    int64_t matrix[] = {ROWS, COLUMNS}, vector[] = {VECTOR};
    assert_int_equal(lh_parameters_add(&b->list, &b->matrix, "matrix", 2, matrix, LH_INIT_CONSTANT, 0, true,
                                       LH_GROUP_MAIN, &b->error),
                     LH_OK);
    assert_int_equal(lh_parameters_add(&b->list, &b->vector, "vector", 1, vector, LH_INIT_CONSTANT, 0, false,
                                       LH_GROUP_MAIN, &b->error),
                     LH_OK);
    assert_int_equal(lh_parameters_add(&b->list, &b->squeeze, "squeeze", 1, vector, LH_INIT_CONSTANT, 0, true,
                                       LH_GROUP_COMPRESSOR, &b->error),
                     LH_OK);
    assert_int_equal(lh_parameters_want_grads(&b->list, ~0u, &b->error), LH_OK);
    assert_int_equal(lh_context_create(&b->context, b->list.backend, 1, &b->error), LH_OK);
    double start[MATRIX];
    pattern(start, MATRIX, 100, 0.5);
    assert_int_equal(lh_tensor_write(b->matrix, start, NULL), LH_OK);
    assert_int_equal(lh_tensor_write(b->vector, start, NULL), LH_OK);
    assert_int_equal(lh_tensor_write(b->squeeze, start, NULL), LH_OK);
}

static void close_bench(bench *b)
{
    lh_context_free(b->context);
    lh_parameters_free(&b->list);
}

static void set_grads(bench *b, int step, double size)
{
    double g[MATRIX];
    pattern(g, MATRIX, step, size);
    assert_int_equal(lh_tensor_write(b->matrix->grad, g, NULL), LH_OK);
    assert_int_equal(lh_tensor_write(b->vector->grad, g, NULL), LH_OK);
    assert_int_equal(lh_tensor_write(b->squeeze->grad, g, NULL), LH_OK);
}

static void same(const lh_tensor *tensor, const double *wanted, double tolerance)
{
    double got[MATRIX];
    assert_int_equal(lh_tensor_read(tensor, got, NULL), LH_OK);
    for (int64_t i = 0; i < lh_tensor_count(tensor); i++) {
        if (!(fabs(got[i] - wanted[i]) <= tolerance * (1 + fabs(wanted[i])))) {
            fail_msg("%s[%d] is %.17g instead of %.17g", tensor->name, (int)i, got[i], wanted[i]);
        }
    }
}

static void adamw_literal(double *p, const double *g, double *m, double *v, int n, int t, double rate, double decay)
{
    for (int i = 0; i < n; i++) {
        m[i] = 0.9 * m[i] + 0.1 * g[i];
        v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
        double mhat = m[i] / (1 - pow(0.9, t)), vhat = v[i] / (1 - pow(0.95, t));
        p[i] = p[i] - rate * (mhat / (sqrt(vhat) + 1e-7) + decay * p[i]);
    }
}

static void adamw(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    lh_optimizer_options o = lh_optimizer_defaults();
    o.beta2 = 0.95;
    o.epsilon = 1e-7;
    o.weight_decay[LH_GROUP_MAIN] = 0.1;
    o.weight_decay[LH_GROUP_COMPRESSOR] = 0.3;
    o.rate_scale[LH_GROUP_COMPRESSOR] = 2;
    lh_optimizer *optimizer;
    assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
    double p[3][MATRIX], m[3][MATRIX] = {{0}}, v[3][MATRIX] = {{0}}, g[MATRIX];
    for (int i = 0; i < 3; i++) {
        pattern(p[i], MATRIX, 100, 0.5);
    }
    for (int t = 1; t <= STEPS; t++) {
        double rate = 0.01 * t;
        set_grads(&b, t, 3.0);
        /* Half the gradient counts: the mean over two accumulated segments. */
        lh_gradient_norms norms;
        assert_int_equal(lh_optimizer_step(optimizer, b.context, rate, 0.5, &norms, &b.error), LH_OK);
        pattern(g, MATRIX, t, 1.5);
        double square = 0;
        for (int i = 0; i < VECTOR; i++) {
            square += g[i] * g[i];
        }
        assert_true(fabs(norms.group[LH_GROUP_COMPRESSOR] - sqrt(square)) < 1e-12);
        assert_true(norms.total > norms.group[LH_GROUP_MAIN]);
        adamw_literal(p[0], g, m[0], v[0], MATRIX, t, rate, 0.1);
        adamw_literal(p[1], g, m[1], v[1], VECTOR, t, rate, 0);
        adamw_literal(p[2], g, m[2], v[2], VECTOR, t, 2 * rate, 0.3);
        same(b.matrix, p[0], 1e-13);
        same(b.vector, p[1], 1e-13);
        same(b.squeeze, p[2], 1e-13);
        memset(g, 0, sizeof g);
        same(b.matrix->grad, g, 0); /* gone for the next segment */
    }
    lh_optimizer_free(optimizer);
    close_bench(&b);
}

static void sgd_literal(double *p, const double *g, double *buffer, int n, double rate, bool nesterov)
{
    for (int i = 0; i < n; i++) {
        buffer[i] = 0.8 * buffer[i] + g[i];
        p[i] -= rate * (nesterov ? g[i] + 0.8 * buffer[i] : buffer[i]);
    }
}

static void sgd_with_momentum(void **state)
{
    (void)state;
    for (int nesterov = 0; nesterov < 2; nesterov++) {
        bench b;
        open_bench(&b);
        lh_optimizer_options o = lh_optimizer_defaults();
        o.kind = LH_OPTIMIZER_SGD;
        o.momentum = 0.8;
        o.nesterov = nesterov;
        lh_optimizer *optimizer;
        assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
        double p[MATRIX], buffer[MATRIX] = {0}, g[MATRIX];
        pattern(p, MATRIX, 100, 0.5);
        for (int t = 1; t <= STEPS; t++) {
            set_grads(&b, t, 1.0);
            pattern(g, MATRIX, t, 1.0);
            assert_int_equal(lh_optimizer_step(optimizer, b.context, 0.05, 1, NULL, &b.error), LH_OK);
            sgd_literal(p, g, buffer, MATRIX, 0.05, nesterov);
            same(b.matrix, p, 1e-13);
        }
        lh_optimizer_free(optimizer);
        close_bench(&b);
    }
}

static double root_mean_square(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum / n);
}

/* Shazeer & Stern 2018, algorithms 4 and 5, with the first moment of the released code. */
static void adafactor_literal(double *p, const double *g, double *row, double *column, double *v, double *m,
                              int rows, int columns, int t, double rate)
{
    double beta = 1 - pow(t, -0.8), u[MATRIX], mean = 0;
    int n = rows * columns;
    for (int r = 0; row && r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < columns; c++) {
            sum += g[r * columns + c] * g[r * columns + c] + 1e-30;
        }
        row[r] = beta * row[r] + (1 - beta) * sum / columns;
        mean += row[r] / rows;
    }
    for (int c = 0; row && c < columns; c++) {
        double sum = 0;
        for (int r = 0; r < rows; r++) {
            sum += g[r * columns + c] * g[r * columns + c] + 1e-30;
        }
        column[c] = beta * column[c] + (1 - beta) * sum / rows;
    }
    for (int i = 0; i < n; i++) {
        if (row) {
            u[i] = g[i] / sqrt(row[i / columns] / mean) / sqrt(column[i % columns]);
        } else {
            v[i] = beta * v[i] + (1 - beta) * (g[i] * g[i] + 1e-30);
            u[i] = g[i] / sqrt(v[i]);
        }
    }
    double clip = fmax(1, root_mean_square(u, n)), size = fmax(1e-3, root_mean_square(p, n));
    for (int i = 0; i < n; i++) {
        m[i] = 0.9 * m[i] + 0.1 * rate * size * u[i] / clip;
        p[i] -= m[i];
    }
}

static void adafactor(void **state)
{
    (void)state;
    for (int factored = 0; factored < 2; factored++) {
        bench b;
        open_bench(&b);
        lh_optimizer_options o = lh_optimizer_defaults();
        o.kind = LH_OPTIMIZER_ADAFACTOR;
        o.factor_from = factored ? 6 : 7; /* the shorter side has 6 */
        lh_optimizer *optimizer;
        assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
        assert_true((optimizer->slots[0].row != NULL) == (factored != 0));
        double p[2][MATRIX], m[2][MATRIX] = {{0}}, v[2][MATRIX] = {{0}}, row[ROWS] = {0}, column[COLUMNS] = {0};
        double g[MATRIX];
        pattern(p[0], MATRIX, 100, 0.5);
        pattern(p[1], MATRIX, 100, 0.5);
        for (int t = 1; t <= STEPS; t++) {
            set_grads(&b, t, 1.0);
            pattern(g, MATRIX, t, 1.0);
            assert_int_equal(lh_optimizer_step(optimizer, b.context, 0.02, 1, NULL, &b.error), LH_OK);
            adafactor_literal(p[0], g, factored ? row : NULL, column, v[0], m[0], ROWS, COLUMNS, t, 0.02);
            adafactor_literal(p[1], g, NULL, NULL, v[1], m[1], 1, VECTOR, t, 0.02);
            same(b.matrix, p[0], 1e-12);
            same(b.vector, p[1], 1e-12);
        }
        lh_optimizer_free(optimizer);
        close_bench(&b);
    }
}

/* The steps that plain SGD takes show the factor that clipping put on the gradient. */
static void clipping(void **state)
{
    (void)state;
    double g[MATRIX], main_square = 0, squeeze_square = 0;
    pattern(g, MATRIX, 1, 1.0);
    for (int i = 0; i < MATRIX; i++) {
        main_square += g[i] * g[i] * (i < VECTOR ? 2 : 1);
        squeeze_square += i < VECTOR ? g[i] * g[i] : 0;
    }
    for (int joint = 0; joint < 2; joint++) {
        for (int big = 0; big < 2; big++) {
            bench b;
            open_bench(&b);
            lh_optimizer_options o = lh_optimizer_defaults();
            o.kind = LH_OPTIMIZER_SGD;
            o.momentum = 0;
            o.clip = big ? 1000 : 3;
            o.clip_joint = joint;
            lh_optimizer *optimizer;
            assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
            set_grads(&b, 1, 1.0);
            assert_int_equal(lh_optimizer_step(optimizer, b.context, 0.1, 1, NULL, &b.error), LH_OK);
            double norm_main = sqrt(main_square + (joint ? squeeze_square : 0));
            double norm_squeeze = sqrt(squeeze_square + (joint ? main_square : 0));
            assert_true(norm_main > 3 && (joint || norm_squeeze < 3)); /* so that the two ways differ */
            double factor_main = fmin(1, o.clip / norm_main), factor_squeeze = fmin(1, o.clip / norm_squeeze);
            double p[MATRIX], q[MATRIX];
            pattern(p, MATRIX, 100, 0.5);
            memcpy(q, p, sizeof q);
            for (int i = 0; i < MATRIX; i++) {
                p[i] -= 0.1 * factor_main * g[i];
                q[i] -= 0.1 * factor_squeeze * g[i];
            }
            same(b.matrix, p, 1e-13);
            same(b.squeeze, q, 1e-13);
            lh_optimizer_free(optimizer);
            close_bench(&b);
        }
    }
}

/* A compression network gets no gradient before something was evicted; weight decay must not eat it until then. */
static void sleeping_parameters_stay(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    lh_optimizer_options o = lh_optimizer_defaults();
    o.weight_decay[LH_GROUP_MAIN] = o.weight_decay[LH_GROUP_COMPRESSOR] = 0.5;
    lh_optimizer *optimizer;
    assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
    double zeros[MATRIX] = {0}, start[MATRIX], got[VECTOR];
    pattern(start, MATRIX, 100, 0.5);
    for (int t = 1; t <= 4; t++) {
        set_grads(&b, t, 1.0);
        if (t != 3) {
            assert_int_equal(lh_tensor_write(b.squeeze->grad, zeros, NULL), LH_OK);
        }
        assert_int_equal(lh_optimizer_step(optimizer, b.context, 0.1, 1, NULL, &b.error), LH_OK);
        if (t < 3) {
            same(b.squeeze, start, 0);
        }
        assert_int_equal(optimizer->slots[2].awake, t >= 3);
    }
    /* Awake, it decays and moves on its momentum also in steps without a gradient. */
    assert_int_equal(lh_tensor_read(b.squeeze, got, NULL), LH_OK);
    assert_true(fabs(got[0] - start[0]) > 1e-3);
    lh_optimizer_free(optimizer);
    close_bench(&b);
}

static void broken_gradients_are_named(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    lh_optimizer_options o = lh_optimizer_defaults();
    lh_optimizer *optimizer;
    assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
    double bad[VECTOR] = {0, 1, INFINITY, 3, NAN, 5, 6}, start[MATRIX];
    set_grads(&b, 1, 1.0);
    assert_int_equal(lh_tensor_write(b.vector->grad, bad, NULL), LH_OK);
    assert_int_equal(lh_optimizer_step(optimizer, b.context, 0.1, 1, NULL, &b.error), LH_E_NUMERIC);
    assert_non_null(strstr(b.error.message, "'vector' has 2 of 7"));
    pattern(start, MATRIX, 100, 0.5);
    same(b.matrix, start, 0);
    assert_int_equal(optimizer->updates, 0);
    lh_optimizer_free(optimizer);
    close_bench(&b);
}

static void state_has_names(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    lh_optimizer_options o = lh_optimizer_defaults();
    o.kind = LH_OPTIMIZER_ADAFACTOR;
    o.factor_from = 2;
    o.beta1 = 0;
    lh_optimizer *optimizer;
    assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
    static const char *const names[] = {"matrix.row", "matrix.column", "vector.square", "squeeze.square"};
    static const int64_t counts[] = {ROWS, COLUMNS, VECTOR, VECTOR};
    char name[LH_OPTIMIZER_NAME_SIZE];
    for (int i = 0; i < 4; i++) {
        lh_tensor *tensor = lh_optimizer_state(optimizer, i, name);
        assert_non_null(tensor);
        assert_string_equal(name, names[i]);
        assert_int_equal(lh_tensor_count(tensor), counts[i]);
    }
    assert_null(lh_optimizer_state(optimizer, 4, name));
    lh_optimizer_free(optimizer);
    close_bench(&b);
}

static void no_allocation_per_step(void **state)
{
    (void)state;
    for (int kind = 0; kind <= LH_OPTIMIZER_SGD; kind++) {
        bench b;
        open_bench(&b);
        lh_optimizer_options o = lh_optimizer_defaults();
        o.kind = (lh_optimizer_kind)kind;
        o.factor_from = 2;
        lh_optimizer *optimizer;
        assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
        uint64_t before = 0;
        for (int t = 1; t <= 4; t++) {
            set_grads(&b, t, 1.0);
            assert_int_equal(lh_optimizer_step(optimizer, b.context, 0.1, 1, NULL, &b.error), LH_OK);
            lh_context_reset(b.context);
            before = t == 1 ? lh_heap_allocations() : before;
        }
        assert_int_equal(lh_heap_allocations() - before, 0);
        lh_optimizer_free(optimizer);
        close_bench(&b);
    }
}

/* Weight decay that the learning rate does not scale: Transformer-VQ's. Also where the rate is 0. */
static void decay_apart(void **state)
{
    (void)state;
    bench b;
    open_bench(&b);
    lh_optimizer_options o = lh_optimizer_defaults();
    o.beta2 = 0.95;
    o.epsilon = 1e-7;
    o.decay_apart = true;
    o.weight_decay[LH_GROUP_MAIN] = 0.02;
    lh_optimizer *optimizer;
    assert_int_equal(lh_optimizer_create(&optimizer, &b.list, &o, &b.error), LH_OK);
    double p[2][MATRIX], m[2][MATRIX] = {{0}}, v[2][MATRIX] = {{0}}, g[MATRIX];
    pattern(p[0], MATRIX, 100, 0.5);
    pattern(p[1], MATRIX, 100, 0.5);
    for (int t = 1; t <= STEPS; t++) {
        double rate = t == 1 ? 0.0 : 0.01;
        set_grads(&b, t, 3.0);
        assert_int_equal(lh_optimizer_step(optimizer, b.context, rate, 1.0, NULL, &b.error), LH_OK);
        pattern(g, MATRIX, t, 3.0);
        for (int i = 0; i < MATRIX; i++) {
            p[0][i] *= 1 - 0.02;
        }
        adamw_literal(p[0], g, m[0], v[0], MATRIX, t, rate, 0);
        adamw_literal(p[1], g, m[1], v[1], VECTOR, t, rate, 0);
        same(b.matrix, p[0], 1e-13);
        same(b.vector, p[1], 1e-13); /* never decays */
    }
    lh_optimizer_free(optimizer);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw),
        cmocka_unit_test(decay_apart),
        cmocka_unit_test(sgd_with_momentum),
        cmocka_unit_test(adafactor),
        cmocka_unit_test(clipping),
        cmocka_unit_test(sleeping_parameters_stay),
        cmocka_unit_test(broken_gradients_are_named),
        cmocka_unit_test(state_has_names),
        cmocka_unit_test(no_allocation_per_step),
    };
    return cmocka_run_group_tests_name("train_optimizer", tests, NULL, NULL);
}
