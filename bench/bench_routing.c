/* How the cost of the Routing Transformer grows with the window: a model with K = w = sqrt(n) clusters beside the
 * same model with dense attention, forward and backward, in processor time of one thread, so that other work
 * disturbs less.
 *
 *   bench_routing [-n longest] [-d longest dense] [-r repeats] [section.key=value ...]
 *
 * Prints microseconds per token, and the exponent of their growth from each length to the next. Dense attention is
 * the model's local attention with a block of n. */
#include "base/memory.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_REPEATS 32
#define MAX_SETTINGS 64

static const char *const base[] = {"preset=routing-tiny", "model.layers=2", "memory.skip_first=1",
                                   "memory.distance=127"};

typedef struct measured {
    double seconds;
    size_t bytes;
} measured;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "bench_routing: %s\n", error->message);
        exit((int)status);
    }
}

static lh_model *model_of(int count, const char *const *settings)
{
    lh_error error = {0};
    lh_recipe *recipe;
    lh_model *model;
    size_t presets;
    const lh_recipe_preset *list = lh_model_presets(&presets);
    check(lh_recipe_create(&recipe, lh_model_recipe_tables(), list, presets, &error), &error);
    for (int i = 0; i < count; i++) {
        check(lh_recipe_override(recipe, settings[i], &error), &error);
    }
    check(lh_recipe_resolve(recipe, &error), &error);
    check(lh_model_create(&model, recipe, 256, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    check(lh_parameters_initialise(&model->parameters, 1, &error), &error);
    check(lh_parameters_want_grads(&model->parameters, ~0u, &error), &error);
    return model;
}

/* One window forward and backward; the shortest of `repeats` after one of warm-up. */
static measured train(const lh_model *model, int repeats)
{
    lh_error error = {0};
    lh_context *context;
    lh_stream *stream;
    int64_t n = model->config.segment;
    int32_t *tokens = lh_heap_alloc(sizeof *tokens * (size_t)n);
    check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    check(lh_stream_create(&stream, model, 1, false, &error), &error);
    context->recording = context->training = true;
    lh_random random = lh_random_create(3, 1);
    measured best = {.seconds = INFINITY};
    for (int i = 0; i <= repeats; i++) {
        for (int64_t t = 0; t < n; t++) {
            tokens[t] = (int32_t)lh_random_below(&random, 256);
        }
        double start = now();
        lh_forward forward;
        lh_model_forward(context, model, stream, tokens, n, &forward);
        lh_tensor *loss = lh_model_loss(context, model, forward.hidden, tokens, NULL, NULL);
        if (forward.auxiliary) {
            loss = lh_add(context, loss, forward.auxiliary);
        }
        lh_backward(context, loss, 1.0);
        lh_stream_commit(stream, context);
        check(lh_context_status(context, &error), &error);
        best.bytes = context->peak_bytes;
        lh_context_reset(context);
        double seconds = now() - start;
        best.seconds = i > 0 && seconds < best.seconds ? seconds : best.seconds;
    }
    lh_heap_free(tokens);
    lh_stream_free(stream);
    lh_context_free(context);
    return best;
}

static measured measure(int64_t n, const char *kind, int repeats, int extra_count, char **extra)
{
    char text[4][64];
    const char *settings[MAX_SETTINGS];
    int count = 0;
    int64_t root = (int64_t)sqrt((double)n);
    for (size_t i = 0; i < sizeof base / sizeof *base; i++) {
        settings[count++] = base[i];
    }
    (void)snprintf(text[0], sizeof text[0], "model.segment=%lld", (long long)n);
    settings[count++] = text[0];
    if (strcmp(kind, "dense") == 0) {
        (void)snprintf(text[1], sizeof text[1], "memory.block=%lld", (long long)n);
        settings[count++] = text[1];
        settings[count++] = "memory.look_back=0";
        settings[count++] = "memory.routing_heads=0";
    } else {
        (void)snprintf(text[1], sizeof text[1], "memory.routing=%s", kind);
        (void)snprintf(text[2], sizeof text[2], "memory.clusters=%lld", (long long)root);
        (void)snprintf(text[3], sizeof text[3], "memory.cluster_size=%lld", (long long)root);
        for (int i = 1; i < 4; i++) {
            settings[count++] = text[i];
        }
    }
    for (int i = 0; i < extra_count && count < MAX_SETTINGS; i++) {
        settings[count++] = extra[i];
    }
    lh_model *model = model_of(count, settings);
    measured result = train(model, repeats);
    lh_model_free(model);
    return result;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"causal", "full", "dense"};
    int64_t longest = 65536, longest_dense = 32768;
    int repeats = 1, option;
    while ((option = getopt(argc, argv, "n:d:r:")) != -1) {
        switch (option) {
        case 'n': longest = atoll(optarg); break;
        case 'd': longest_dense = atoll(optarg); break;
        case 'r': repeats = atoi(optarg); break;
        default: return 2;
        }
    }
    double before[3] = {NAN, NAN, NAN};
    (void)printf("%8s %6s %22s %22s %22s %8s\n", "n", "K = w", "causal us/token MB", "full us/token MB",
                 "dense us/token MB", "dense/c");
    for (int64_t n = 4096; n <= longest; n *= 2) {
        double times[3];
        (void)printf("%8lld %6lld", (long long)n, (long long)sqrt((double)n));
        for (int k = 0; k < 3; k++) {
            if (k == 2 && n > longest_dense) {
                (void)printf(" %22s", "-");
                times[k] = NAN;
                continue;
            }
            measured m = measure(n, kinds[k], repeats, argc - optind, argv + optind);
            times[k] = m.seconds / (double)n * 1e6;
            (void)printf(" %7.1f (n^%5.2f) %6.0f", times[k], log2(times[k] / before[k]), (double)m.bytes / 1e6);
            (void)fflush(stdout);
            before[k] = times[k];
        }
        (void)printf(" %7.1fx\n", times[2] / times[0]);
    }
    return 0;
}
