/* Transformer-VQ against dense attention of the same layer, and its cost over the length of a text.
 *
 *   bench_vq [-S codes] [-M window and block] [-k key width] [-v value width] [-r repeats] [-t threads] [-d 1: no
 * decoding]
 *
 * Attention of one layer from queries, keys and values to results: quantisation, one softmax over codes, cache and
 * block, and the update of counts and means, block after block; against causal attention over everything, with
 * relative positions everywhere. Dense attention is timed on four blocks of queries that lie evenly in the text,
 * which see as many keys as the mean query of the whole. Forward, and forward with backward; medians of interleaved
 * repeats. With one thread processor time is counted, so that other work on the machine disturbs less.
 *
 * Then a small model reads a long text: time per decoded token, and bytes of state, at growing positions. */
#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "infer/session.h"
#include "ops/ops.h"
#include "support/bench_peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEATS = 32, LENGTHS = 3, SAMPLES = 4 };

static const int64_t lengths[LENGTHS] = {8192, 32768, 131072};

typedef struct layer {
    lh_context *context;
    int64_t codes, window, key, value;
    lh_tensor *q, *k, *v, *book, *relative,
        *weight; /* of one block, leaves with gradients where the layer has them */
} layer;

static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "bench_vq: %s\n", error->message);
        exit((int)status);
    }
}

static lh_tensor *leaf(int ndim, const int64_t *shape, bool gradient)
{
    lh_tensor *x;
    lh_error error = {0};
    check(lh_tensor_create(&x, lh_backend_cpu(), LH_F32, ndim, shape, "leaf", &error), &error);
    float *data = lh_tensor_data(x);
    lh_random random = lh_random_create(7, (uint64_t)lh_tensor_count(x));
    for (int64_t i = 0; i < lh_tensor_count(x); i++) {
        data[i] = (float)(lh_random_uniform(&random) - 0.5);
    }
    if (gradient) {
        check(lh_tensor_create_grad(x, &error), &error);
    }
    return x;
}

static void finish(layer *l, lh_tensor *out, bool backward)
{
    lh_error error = {0};
    if (backward) {
        lh_backward(l->context, lh_sum(l->context, lh_multiply(l->context, out, l->weight)), 1.0);
    }
    check(lh_context_status(l->context, &error), &error);
}

/* The state that goes from block to block. */
typedef struct vq_state {
    lh_tensor *mean, *k, *v, *code, *count;
} vq_state;

static vq_state state_create(const layer *l, bool backward)
{
    vq_state s;
    lh_error error = {0};
    int64_t n = l->window, code[3] = {1, 1, n}, count[3] = {1, 1, l->codes};
    check(lh_tensor_create(&s.code, lh_backend_cpu(), LH_I32, 3, code, "codes", &error), &error);
    check(lh_tensor_create(&s.count, lh_backend_cpu(), LH_I32, 3, count, "counts", &error), &error);
    s.mean = leaf(4, (int64_t[]){1, 1, l->codes, l->value}, backward);
    s.k = leaf(4, (int64_t[]){1, 1, n, l->key}, backward);
    s.v = leaf(4, (int64_t[]){1, 1, n, l->value}, backward);
    check(lh_tensor_write(s.k, lh_tensor_data(l->k), &error), &error);
    check(lh_tensor_write(s.v, lh_tensor_data(l->v), &error), &error);
    return s;
}

static void state_free(vq_state *s)
{
    lh_tensor *all[] = {s->mean, s->k, s->v, s->code, s->count};
    for (int i = 0; i < 5; i++) {
        lh_tensor_free(all[i]);
    }
}

/* Takes the cache into counts and means. Every block has the same keys and values, so the next cache, which a model
 * keeps by reference, has the right ones already, and only its codes have to be written. */
static void move_on(layer *l, vq_state *s, const lh_tensor *codes)
{
    lh_error error = {0};
    lh_strided v = {.data = lh_tensor_data(s->v), .row = l->value};
    lh_code_means_args args = {.batch = 1,
                               .heads = 1,
                               .length = l->window,
                               .codes = l->codes,
                               .width = l->value,
                               .code = lh_tensor_data(s->code),
                               .count = lh_tensor_data(s->count),
                               .new_count = lh_tensor_data(s->count),
                               .v = v,
                               .mean = lh_tensor_data(s->mean),
                               .new_mean = lh_tensor_data(s->mean)};
    lh_run(l->context, LH_KERNEL_CODE_MEANS, LH_F32, &args);
    check(lh_tensor_write(s->code, lh_tensor_data(codes), &error), &error);
}

static void run_block(layer *l, vq_state *s, bool backward)
{
    lh_context *c = l->context;
    int64_t n = l->window;
    lh_tensor *codes, *more, *k = lh_quantise(c, l->k, l->book, &codes, NULL);
    lh_key_source sources[3] = {
        lh_key_source_causal(k, l->v, n), lh_key_source_all(s->k, s->v),
        lh_key_source_all(lh_reshape(c, l->book, 4, (int64_t[]){1, 1, l->codes, l->key}), s->mean)};
    sources[0].rel_k = sources[1].rel_k = l->relative;
    sources[1].rel_offset = n;
    sources[2].key_bias = lh_unary(c, LH_LOG, lh_cast(c, s->count, LH_F32));
    lh_attention_options options = {.scale = 1.0};
    lh_tensor *out = lh_attention(c, l->q, 3, sources, &options, NULL);
    if (backward) { /* as if a later block looked at the means */
        lh_tensor *mean = lh_code_means(c, s->mean, s->count, s->code, s->v, &more);
        finish(l, lh_add(c, out, lh_slice(c, mean, 2, 0, 1)), backward);
    } else {
        finish(l, out, backward);
        move_on(l, s, codes);
    }
    lh_context_reset(c);
}

/* Reads the longest text block by block; seconds[i] are those of a token of its first lengths[i]. */
static void run_vq(layer *l, double seconds[LENGTHS])
{
    vq_state s = state_create(l, false);
    l->context->recording = false;
    run_block(l, &s, false); /* warm */
    double start = now();
    int64_t at = 0;
    for (int i = 0; i < LENGTHS; i++) {
        for (; at < lengths[i]; at += l->window) {
            run_block(l, &s, false);
        }
        seconds[i] = (now() - start) / (double)at;
    }
    state_free(&s);
}

/* Seconds of a token, forward and backward, where all codes have been seen. */
static double train_vq(layer *l)
{
    vq_state s = state_create(l, true);
    l->context->recording = true;
    for (int64_t i = 0; i < l->codes; i++) {
        ((int32_t *)lh_tensor_data(s.count))[i] = 16;
    }
    run_block(l, &s, true);
    double start = now();
    for (int i = 0; i < SAMPLES; i++) {
        run_block(l, &s, true);
    }
    double seconds = now() - start;
    state_free(&s);
    return seconds / (double)(SAMPLES * l->window);
}

/* Causal attention of some blocks of queries over all keys before them, the block's own included. */
static double run_dense(layer *l, int64_t length, bool backward)
{
    lh_context *c = l->context;
    int64_t n = l->window, blocks = length / n;
    double seconds = 0;
    lh_tensor *k = leaf(4, (int64_t[]){1, 1, length, l->key}, backward);
    lh_tensor *v = leaf(4, (int64_t[]){1, 1, length, l->value}, backward);
    lh_tensor *relative = leaf(3, (int64_t[]){1, length, l->key}, backward);
    c->recording = backward;
    for (int s = 0; s < SAMPLES; s++) {
        int64_t end =
            (2 * s + 1) * blocks / (2 * SAMPLES) * n + n / 2; /* on average half of the text, and half a block */
        double start = now();
        lh_key_source source = lh_key_source_causal(lh_slice(c, k, 2, 0, end), lh_slice(c, v, 2, 0, end), n);
        source.rel_k = lh_slice(c, relative, 1, 0, end);
        source.rel_offset = end - n;
        lh_attention_options options = {.scale = 1.0};
        finish(l, lh_attention(c, l->q, 1, &source, &options, NULL), backward);
        lh_context_reset(c);
        seconds += now() - start;
    }
    lh_tensor_free(k);
    lh_tensor_free(v);
    lh_tensor_free(relative);
    return seconds / (double)(SAMPLES * n);
}

static void compare(layer *l, int repeats)
{
    static double vq[LENGTHS][MAX_REPEATS], dense[2][LENGTHS][MAX_REPEATS], trained[MAX_REPEATS];
    for (int r = 0; r < repeats; r++) {
        double seconds[LENGTHS];
        run_vq(l, seconds);
        trained[r] = train_vq(l);
        for (int i = 0; i < LENGTHS; i++) {
            vq[i][r] = seconds[i];
            for (int backward = 0; backward < 2 && lengths[i] < 100000; backward++) {
                dense[backward][i][r] = run_dense(l, lengths[i], backward);
            }
        }
    }
    double train = bench_median(trained, repeats), first = bench_median(vq[0], repeats);
    (void)printf("%-20s %8s %12s %14s %8s %14s\n", "attention", "tokens", "vq us/token", "dense us/token", "ratio",
                 "vq to the first");
    for (int backward = 0; backward < 2; backward++) {
        for (int i = 0; i < LENGTHS; i++) {
            double a = backward ? train : bench_median(vq[i], repeats),
                   b = bench_median(dense[backward][i], repeats);
            (void)printf("%-20s %8lld %12.2f ", backward ? "forward, backward" : "forward", (long long)lengths[i],
                         1e6 * a);
            if (b > 0) {
                (void)printf("%14.2f %8.2f ", 1e6 * b, b / a);
            } else {
                (void)printf("%14s %8s ", "", "");
            }
            backward ? (void)printf("\n") : (void)printf("%14.3f\n", a / first);
        }
    }
}

/* Time of a decoded token and bytes of state at growing positions. */
static void decode(int threads)
{
    enum { DECODED = 48, POSITIONS = 3 };
    static const int64_t positions[POSITIONS] = {1024, 10240, 102400};
    lh_error error = {0};
    lh_recipe *recipe;
    lh_model *model;
    lh_session *session;
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
    check(lh_recipe_override(recipe, "preset=transformer-vq-tiny", &error), &error);
    check(lh_recipe_resolve(recipe, &error), &error);
    check(lh_model_create(&model, recipe, 256, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    check(lh_parameters_initialise(&model->parameters, 1, &error), &error);
    check(lh_session_create(&session, model, 1, threads, &error), &error);
    static int32_t tokens[1024];
    (void)printf("\n%-20s %12s %14s\n", "position", "us/token", "bytes of state");
    for (int p = 0; p < POSITIONS; p++) {
        double times[DECODED];
        while (lh_session_position(session) < positions[p]) {
            for (int i = 0; i < 1024; i++) {
                uint32_t word[4];
                lh_philox(3, (uint64_t)lh_session_position(session), (uint64_t)i, word);
                tokens[i] = (int32_t)(word[0] % 256);
            }
            int64_t left = positions[p] - lh_session_position(session);
            check(lh_session_feed(session, tokens, left < 1024 ? left : 1024, NULL, &error), &error);
        }
        for (int i = 0; i < DECODED; i++) {
            float logits[256];
            double start = now();
            check(lh_session_feed(session, tokens + i, 1, logits, &error), &error);
            times[i] = now() - start;
        }
        (void)printf("%-20lld %12.1f %14lld\n", (long long)positions[p], 1e6 * bench_median(times, DECODED),
                     (long long)lh_session_state_bytes(session));
    }
    lh_session_free(session);
    lh_model_free(model);
}

int main(int argc, char **argv)
{
    layer l = {.codes = 512, .window = 512, .key = 128, .value = 1536};
    int repeats = 3, threads = 0;
    bool decodes = true;
    for (int i = 1; i + 1 < argc; i += 2) {
        long value = atol(argv[i + 1]);
        switch (argv[i][1]) {
        case 'S': l.codes = value; break;
        case 'M': l.window = value; break;
        case 'k': l.key = value; break;
        case 'v': l.value = value; break;
        case 'r': repeats = value < MAX_REPEATS ? (int)value : MAX_REPEATS; break;
        case 't': threads = (int)value; break;
        case 'd': decodes = value == 0; break;
        default: (void)fprintf(stderr, "unknown option %s\n", argv[i]); return 2;
        }
    }
    clock_used = threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    lh_error error = {0};
    check(lh_context_create(&l.context, lh_backend_cpu(), threads, &error), &error);
    int64_t n = l.window;
    l.q = leaf(4, (int64_t[]){1, 1, n, l.key}, true);
    l.k = leaf(4, (int64_t[]){1, 1, n, l.key}, true);
    l.v = leaf(4, (int64_t[]){1, 1, n, l.value}, true);
    l.book = leaf(3, (int64_t[]){1, l.codes, l.key}, false);
    l.relative = leaf(3, (int64_t[]){1, n + 1, l.key}, true);
    l.weight = leaf(4, (int64_t[]){1, 1, n, l.value}, false);
    (void)printf("%lld codes, window and blocks of %lld, keys %lld, values %lld; %.0f Gflop/s of a large product\n",
                 (long long)l.codes, (long long)n, (long long)l.key, (long long)l.value,
                 bench_peak(l.context) / 1e9);
    compare(&l, repeats);
    if (decodes) {
        decode(threads);
    }
    lh_tensor *all[] = {l.q, l.k, l.v, l.book, l.relative, l.weight};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        lh_tensor_free(all[i]);
    }
    lh_context_free(l.context);
    return 0;
}
