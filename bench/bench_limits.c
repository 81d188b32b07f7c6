/* What should run at the machine's limits, beside those limits as measured in the same run, in turns:
 *
 *   large products through the op layer   beside OpenBLAS and oneDNN called directly at the same shape
 *   loss of a 32,000-word vocabulary      4,096 tokens, width 512, forward and backward, beside the GEMM peak
 *   decoding one stream                   bytes of weights and state touched per second, beside the rate of reading
 *
 *   bench_limits [REPEATS]      default 7. Medians of ratios, each ratio between neighbours in time. */
#include "base/memory.h"
#include "base/progress.h"
#include "infer/session.h"
#include "ops/ops.h"
#include "support/bench_peak.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#if LH_HAVE_DNNL
#include <dnnl.h>
#endif

enum { MAX_REPEATS = 64 };

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "bench_limits: %s\n", error->message);
        exit((int)status);
    }
}

static lh_tensor *noise(int64_t rows, int64_t columns, float scale)
{
    lh_error error = {0};
    lh_tensor *x;
    int64_t shape[2] = {rows, columns};
    check(lh_tensor_create(&x, lh_backend_cpu(), LH_F32, 2, shape, "noise", &error), &error);
    float *data = lh_tensor_data(x);
    for (int64_t i = 0; i < rows * columns; i++) {
        data[i] = scale * (float)((i * 2654435761u >> 8) % 1000) / 1000.0f - 0.5f * scale;
    }
    return x;
}

/* ---- products: y [m, n] = x [m, k] W^T, W [n, k] ---- */

typedef struct product {
    int64_t m, n, k;
} product;

static double time_op(lh_context *context, lh_tensor *x, lh_tensor *w)
{
    lh_error error = {0};
    double start = lh_now();
    (void)lh_linear(context, x, w, NULL);
    double seconds = lh_now() - start;
    check(lh_context_status(context, &error), &error);
    lh_context_reset(context);
    return seconds;
}

static double time_openblas(const product *p, const lh_tensor *x, const lh_tensor *w, float *y)
{
    double start = lh_now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)p->m, (int)p->n, (int)p->k, 1.0f, lh_tensor_data(x),
                (int)p->k, lh_tensor_data(w), (int)p->k, 0.0f, y, (int)p->n);
    return lh_now() - start;
}

static double time_dnnl(const product *p, const lh_tensor *x, const lh_tensor *w, float *y)
{
#if LH_HAVE_DNNL
    double start = lh_now();
    dnnl_sgemm('N', 'T', p->m, p->n, p->k, 1.0f, lh_tensor_data(x), p->k, lh_tensor_data(w), p->k, 0.0f, y, p->n);
    return lh_now() - start;
#else
    (void)p;
    (void)x;
    (void)w;
    (void)y;
    return 1e30;
#endif
}

static void products(lh_context *context, int repeats)
{
    static const product list[] = {{4096, 512, 512}, {4096, 1024, 512},  {4096, 2048, 512}, {4096, 512, 2048},
                                   {512, 2048, 512}, {4096, 4096, 1024}, {4096, 1024, 4096}};
    printf("large products through the op layer (target: 92 %% of the better library)\n");
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const product *p = &list[i];
        lh_tensor *x = noise(p->m, p->k, 1.0f), *w = noise(p->n, p->k, 1.0f);
        float *y = lh_heap_alloc(sizeof *y * (size_t)(p->m * p->n));
        double ratio[MAX_REPEATS] = {0}, rate[MAX_REPEATS] = {0};
        for (int r = -1; r < repeats; r++) { /* the first round warms up */
            double blas = time_openblas(p, x, w, y), ours = time_op(context, x, w), dnnl = time_dnnl(p, x, w, y);
            double again = time_op(context, x, w);
            ours = ours < again ? ours : again;
            double best = blas < dnnl ? blas : dnnl;
            ratio[r < 0 ? 0 : r] = best / ours;
            rate[r < 0 ? 0 : r] = 2e-9 * (double)(p->m * p->n) * (double)p->k / ours;
        }
        printf("  %5lld x %4lld x %4lld  %6.1f GFLOP/s  %4.0f %% of the better library\n", (long long)p->m,
               (long long)p->n, (long long)p->k, bench_median(rate, repeats), 100.0 * bench_median(ratio, repeats));
        lh_heap_free(y);
        lh_tensor_free(x);
        lh_tensor_free(w);
    }
}

/* ---- loss ---- */

static void loss(lh_context *context, int repeats)
{
    enum { TOKENS = 4096, WIDTH = 512, VOCAB = 32000 };
    lh_error error = {0};
    lh_tensor *h = noise(TOKENS, WIDTH, 1.0f), *w = noise(VOCAB, WIDTH, 0.1f);
    check(lh_tensor_create_grad(h, &error), &error);
    check(lh_tensor_create_grad(w, &error), &error);
    int32_t *targets = lh_heap_alloc(sizeof *targets * TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        targets[i] = (int32_t)((int64_t)i * 7919 % VOCAB);
    }
    double share[MAX_REPEATS] = {0};
    int64_t count = TOKENS;
    context->peak_bytes = 0;
    for (int r = -1; r < repeats; r++) {
        double before = bench_peak(context), start = lh_now();
        context->recording = true;
        lh_tensor *ids = lh_from_host(context, LH_I32, 1, &count, targets);
        lh_backward(context, lh_linear_cross_entropy(context, h, w, NULL, ids, NULL, 1.0, 0.0, NULL), 1.0);
        double seconds = lh_now() - start;
        check(lh_context_status(context, &error), &error);
        context->recording = false;
        lh_context_reset(context);
        double after = bench_peak(context), flops = 6.0 * TOKENS * WIDTH * (double)VOCAB;
        share[r < 0 ? 0 : r] = flops / seconds / (0.5 * (before + after));
    }
    printf(
        "loss, 32,000 words, 4,096 tokens, width 512, forward and backward: %.0f %% of the GEMM peak (target 75), "
        "%.0f MB of buffers (all logits would be %.0f)\n",
        100.0 * bench_median(share, repeats), 1e-6 * (double)context->peak_bytes, 4e-6 * TOKENS * (double)VOCAB);
    lh_heap_free(targets);
    lh_tensor_free(h);
    lh_tensor_free(w);
}

/* ---- decoding ---- */

static double read_rate(const float *data, int64_t count)
{
    double sum = 0, start = lh_now();
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        sum += data[i];
    }
    double seconds = lh_now() - start;
    if (sum == 1.5) {
        printf(" ");
    }
    return 4.0 * (double)count / seconds;
}

static void decoding(const char *preset, int repeats)
{
    lh_error error = {0};
    lh_recipe *recipe;
    size_t presets;
    const lh_recipe_preset *list = lh_model_presets(&presets);
    char argument[128];
    (void)snprintf(argument, sizeof argument, "preset=%s", preset);
    check(lh_recipe_create(&recipe, lh_model_recipe_tables(), list, presets, &error), &error);
    check(lh_recipe_override(recipe, argument, &error), &error);
    check(lh_recipe_resolve(recipe, &error), &error);
    lh_model *model;
    lh_session *session;
    check(lh_model_create(&model, recipe, 256, lh_backend_cpu(), LH_F32, &error), &error);
    check(lh_parameters_initialise(&model->parameters, 1, &error), &error);
    check(lh_session_create(&session, model, 1, 0, &error), &error);
    int64_t segment = model->config.segment, count = INT64_C(1) << 26;
    float *logits = lh_heap_alloc(sizeof *logits * 256), *data = lh_heap_alloc(sizeof *data * (size_t)count);
    int32_t *tokens = lh_heap_alloc(sizeof *tokens * (size_t)segment);
    for (int64_t i = 0; i < count; i++) {
        data[i] = 1.0f;
    }
    check(lh_session_feed(session, tokens, segment, NULL, &error), &error);
    check(lh_session_feed(session, tokens, segment / 4, NULL, &error), &error);
    double share[MAX_REPEATS] = {0}, rate[MAX_REPEATS] = {0};
    /* Weights once per token, the projected memory of every layer, and on the average half a segment of keys. */
    const lh_model_config *c = &model->config;
    double row = 4.0 * (double)(c->kv_heads * (c->key_width + c->value_width));
    double keys = (double)model->memory_kind->history(&model->shape) + (double)segment / 4.0;
    double bytes = 4.0 * (double)lh_model_active_parameters(model) + (double)c->layers * keys * row;
    enum { PART = 16 };
    for (int r = -1; r < repeats; r++) {
        double before = read_rate(data, count), start = lh_now();
        for (int i = 0; i < PART; i++) {
            check(lh_session_feed(session, tokens, 1, logits, &error), &error);
        }
        double seconds = (lh_now() - start) / PART, after = read_rate(data, count);
        share[r < 0 ? 0 : r] = bytes / seconds / (0.5 * (before + after));
        rate[r < 0 ? 0 : r] = 1.0 / seconds;
    }
    printf("decoding, %s: %.0f tokens/s, %.0f MB a token, %.0f %% of the rate of reading (target 60)\n", preset,
           bench_median(rate, repeats), 1e-6 * bytes, 100.0 * bench_median(share, repeats));
    lh_heap_free(tokens);
    lh_heap_free(data);
    lh_heap_free(logits);
    lh_session_free(session);
    lh_model_free(model);
    lh_recipe_free(recipe);
}

int main(int argc, char **argv)
{
    lh_error error = {0};
    lh_context *context;
    int repeats = argc > 1 ? atoi(argv[1]) : 7;
    repeats = repeats < 1 ? 1 : repeats > MAX_REPEATS ? MAX_REPEATS : repeats;
    check(lh_context_create(&context, lh_backend_cpu(), 0, &error), &error);
    products(context, repeats);
    loss(context, repeats);
    lh_context_free(context);
    decoding("vanilla-small", repeats);
    decoding("compressive-small", repeats);
    return 0;
}
