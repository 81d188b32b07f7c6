/* Adafactor (Shazeer, Stern 2018) as the published runs of the Memorizing and Block-Recurrent Transformers use it:
 * factored from sides of 128 on, steps relative to a parameter's size, momentum of 0.9. */
#include "base/memory.h"
#include "support/tiny_model.h"

/* One tensor, scalar by scalar. */
typedef struct factor {
    int64_t n;
    double *p, *m, *v, *row, *column;
} factor;

static double rms(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum / (double)n);
}

static void adafactor_by_hand(factor *f, const double *g, int64_t side, double rate, int t)
{
    double beta = 1 - pow(t + 1, -0.8), mean_row = 0, *y = calloc((size_t)f->n, sizeof *y);
    for (int64_t r = 0; f->row && r < side; r++) {
        double row = 0, column = 0;
        for (int64_t c = 0; c < side; c++) {
            row += (g[r * side + c] * g[r * side + c] + 1e-30) / (double)side;
            column += (g[c * side + r] * g[c * side + r] + 1e-30) / (double)side;
        }
        f->row[r] = beta * f->row[r] + (1 - beta) * row;
        f->column[r] = beta * f->column[r] + (1 - beta) * column;
        mean_row += f->row[r] / (double)side;
    }
    for (int64_t i = 0; i < f->n; i++) {
        if (f->row) {
            y[i] = g[i] / sqrt(f->row[i / side] / mean_row) / sqrt(f->column[i % side]);
        } else {
            f->v[i] = beta * f->v[i] + (1 - beta) * (g[i] * g[i] + 1e-30);
            y[i] = g[i] / sqrt(f->v[i]);
        }
    }
    double clip = fmax(1, rms(y, f->n)), size = fmax(rms(f->p, f->n), 1e-3);
    for (int64_t i = 0; i < f->n; i++) {
        f->m[i] = 0.9 * f->m[i] + 0.1 * rate * size * y[i] / clip;
        f->p[i] -= f->m[i];
    }
    free(y);
}

/* Of one step, without its tensors. */
static lh_adafactor_args published(int64_t rows, int64_t columns, int64_t step, double rate)
{
    return (lh_adafactor_args){.rows = rows,
                               .columns = columns,
                               .step = step,
                               .lr = rate,
                               .decay_rate = 0.8,
                               .beta1 = 0.9,
                               .eps1 = 1e-30,
                               .eps2 = 1e-3,
                               .clip_threshold = 1,
                               .grad_scale = 1,
                               .scale_by_parameter = true};
}

static void adafactor(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_context *context;
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 2, &error), &error);
    for (int64_t side = 3; side <= 256; side += 253) {
        int64_t n = side * side;
        bool factored = side >= 128;
        size_t bytes = sizeof(double) * (size_t)n, line = sizeof(double) * (size_t)side;
        double *p = lh_heap_alloc(bytes), *g = lh_heap_alloc(bytes), *m = lh_heap_alloc(bytes);
        double *v = lh_heap_alloc(bytes), *row = lh_heap_alloc(line), *column = lh_heap_alloc(line);
        factor f = {n,
                    lh_heap_alloc(bytes),
                    lh_heap_alloc(bytes),
                    lh_heap_alloc(bytes),
                    factored ? lh_heap_alloc(line) : NULL,
                    factored ? lh_heap_alloc(line) : NULL};
        lh_random random = lh_random_create(3, (uint64_t)side);
        for (int64_t i = 0; i < n; i++) {
            f.p[i] = p[i] = lh_random_normal(&random);
        }
        for (int t = 0; t < 5; t++) {
            for (int64_t i = 0; i < n; i++) {
                g[i] = lh_random_normal(&random) * (1 + t);
            }
            adafactor_by_hand(&f, g, side, 0.03, t);
            lh_adafactor_args args = published(side, side, t + 1, 0.03);
            args.param = p;
            args.grad = g;
            args.row = factored ? row : NULL;
            args.column = factored ? column : NULL;
            args.v = factored ? NULL : v;
            args.m = m;
            lh_run(context, LH_KERNEL_ADAFACTOR, LH_F64, &args);
            tiny_check(lh_context_status(context, &error), &error);
            for (int64_t i = 0; i < n; i++) {
                assert_true(fabs(p[i] - f.p[i]) <= 1e-6 * (1 + fabs(f.p[i])));
            }
        }
        void *all[] = {p, g, m, v, row, column, f.p, f.m, f.v, f.row, f.column};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            lh_heap_free(all[i]);
        }
    }
    /* the first step of a vector: 0.1 rate max(RMS, 1e-3) against the gradient's sign */
    double p[4] = {0.3, -0.2, 0.1, 0.4}, start[4], g[4] = {2, -3, 0.1, -1e-3}, m[4] = {0}, v[4] = {0};
    memcpy(start, p, sizeof p);
    lh_adafactor_args args = published(1, 4, 1, 0.01);
    args.param = p;
    args.grad = g;
    args.v = v;
    args.m = m;
    lh_run(context, LH_KERNEL_ADAFACTOR, LH_F64, &args);
    for (int i = 0; i < 4; i++) {
        double step = 0.1 * 0.01 * rms(start, 4) * (g[i] > 0 ? -1 : 1);
        assert_true(fabs(p[i] - start[i] - step) < 1e-12);
    }
    lh_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adafactor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
