/* A Perceiver AR's training step beside the machine's GEMM peak, measured in the same run.
 *
 *   bench_perceiver [INPUTS LATENTS STEPS [section.key=value ...]]       default: 131072 1024 3
 *
 * One lane whose inputs are all there: INPUTS - LATENTS tokens are taken in, a segment of LATENTS is predicted, and
 * gradients reach every input. The model is small: width 128, 4 heads, 2 layers, unless told otherwise. Prints one
 * JSON object: the median of the steps' seconds; their arithmetic (three times the forward pass); `bound`, the time
 * that arithmetic takes at half the GEMM peak; the step's own memory in all and for each input. */
#include "base/progress.h"
#include "kernels/table.h"
#include "model/model.h"
#include "support/bench_peak.h"

typedef struct bench {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
    int32_t *prefix, *tokens, *targets;
    double *weights;
    int64_t inputs, latents;
} bench;

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "bench_perceiver: %s\n", error->message);
        exit((int)status);
    }
}

static void setup(bench *b, int count, char **arguments)
{
    static const char *const usual[] = {"preset=perceiver-ar-tiny", "model.width=128", "model.heads=4",
                                        "model.layers=2", "model.vocab=259"};
    char sizes[3][64];
    lh_error error = {0};
    lh_recipe *recipe;
    size_t presets;
    const lh_recipe_preset *list = lh_model_presets(&presets);
    (void)snprintf(sizes[0], sizeof sizes[0], "memory.inputs=%lld", (long long)b->inputs);
    (void)snprintf(sizes[1], sizeof sizes[1], "model.segment=%lld", (long long)b->latents);
    (void)snprintf(sizes[2], sizeof sizes[2], "model.rope_base=%lld", (long long)b->inputs);
    check(lh_recipe_create(&recipe, lh_model_recipe_tables(), list, presets, &error), &error);
    for (int i = 0; i < 5; i++) {
        check(lh_recipe_override(recipe, usual[i], &error), &error);
    }
    for (int i = 0; i < 3; i++) {
        check(lh_recipe_override(recipe, sizes[i], &error), &error);
    }
    for (int i = 0; i < count; i++) {
        check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    check(lh_recipe_resolve(recipe, &error), &error);
    check(lh_model_create(&b->model, recipe, lh_recipe_integer(recipe, "model.vocab"), lh_backend_cpu(), LH_F32,
                          &error),
          &error);
    lh_recipe_free(recipe);
    check(lh_parameters_initialise(&b->model->parameters, 1, &error), &error);
    check(lh_parameters_want_grads(&b->model->parameters, ~0u, &error), &error);
    check(lh_context_create(&b->context, lh_backend_cpu(), 0, &error), &error);
    check(lh_stream_create(&b->stream, b->model, 1, false, &error), &error);
    size_t n = (size_t)b->latents, before = (size_t)(b->inputs - b->latents);
    b->prefix = lh_heap_alloc(sizeof *b->prefix * before);
    b->tokens = lh_heap_alloc(sizeof *b->tokens * n);
    b->targets = lh_heap_alloc(sizeof *b->targets * n);
    b->weights = lh_heap_alloc(sizeof *b->weights * n);
    lh_random random = lh_random_create(3, 1);
    for (size_t i = 0; i < before; i++) {
        b->prefix[i] = (int32_t)lh_random_below(&random, 256);
    }
    for (size_t i = 0; i < n; i++) {
        b->tokens[i] = (int32_t)lh_random_below(&random, 256);
        b->targets[i] = (int32_t)lh_random_below(&random, 256);
        b->weights[i] = 1.0 / (double)n;
    }
    b->context->recording = b->context->training = true;
}

static double step(bench *b)
{
    int64_t position = 0;
    lh_error error = {0};
    lh_forward forward;
    double start = lh_now();
    check(lh_stream_reset(b->stream, b->context, -1, &error), &error);
    b->model->memory_kind->prime(b->stream->memory, b->context, b->prefix, b->inputs - b->latents, &position);
    lh_model_forward(b->context, b->model, b->stream, b->tokens, b->latents, &forward);
    lh_backward(b->context, lh_model_loss(b->context, b->model, forward.hidden, b->targets, b->weights, NULL), 1.0);
    lh_stream_commit(b->stream, b->context);
    check(lh_context_status(b->context, &error), &error);
    lh_context_reset(b->context);
    return lh_now() - start;
}

int main(int argc, char **argv)
{
    if (argc > 1 && argc < 4) {
        (void)fprintf(stderr, "usage: bench_perceiver [INPUTS LATENTS STEPS [section.key=value ...]]\n");
        return 2;
    }
    bench b = {.inputs = argc > 1 ? atoll(argv[1]) : 131072, .latents = argc > 1 ? atoll(argv[2]) : 1024};
    int steps = argc > 1 ? atoi(argv[3]) : 3;
    setup(&b, argc > 4 ? argc - 4 : 0, argv + 4);
    (void)step(&b);
    double *seconds = malloc(sizeof *seconds * (size_t)steps), *times = malloc(sizeof *times * (size_t)steps);
    double flop = (double)b.latents * 3.0 *
                  (2.0 * (double)lh_model_active_parameters(b.model) + lh_model_attention_flops(b.model));
    double before = bench_peak(b.context), peak = before;
    b.context->peak_bytes = 0;
    for (int i = 0; i < steps; i++) {
        seconds[i] = step(&b);
        double after = bench_peak(b.context);
        peak = 0.5 * (before + after);
        times[i] = seconds[i] / (flop / (0.5 * peak));
        before = after;
    }
    double middle = bench_median(seconds, steps);
    printf("{\"inputs\": %lld, \"latents\": %lld, \"seconds\": %.4f, \"gflop\": %.2f, \"gflop_per_s\": %.1f, "
           "\"gemm_gflop_per_s\": %.1f, \"times_bound\": %.2f, \"inputs_per_s\": %.0f, \"tokens_per_s\": %.1f, "
           "\"step_mb\": %.1f, \"bytes_per_input\": %.0f, \"resident_mb\": %.0f}\n",
           (long long)b.inputs, (long long)b.latents, middle, flop * 1e-9, flop / middle * 1e-9, peak * 1e-9,
           bench_median(times, steps), (double)b.inputs / middle, (double)b.latents / middle,
           (double)b.context->peak_bytes / 1048576.0, (double)b.context->peak_bytes / (double)b.inputs,
           bench_resident_peak() / 1048576.0);
    return 0;
}
