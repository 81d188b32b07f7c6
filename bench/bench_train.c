/* Training and evaluation speed of a model beside the machine's GEMM peak, measured in the same run.
 *
 *   bench_train [PRESET LANES STEPS [unroll=N] [section.key=value ...]]       default: vanilla-small 8 3
 *
 * unroll: segments of a training step, in one graph through which gradients flow.
 * Each step is timed between two samples of the GEMM rate, so that a machine whose speed changes changes both.
 * Prints one JSON object: medians of tokens per second, model flop rate and its share of the GEMM peak, and the
 * peak of memory. */
#include "base/progress.h"
#include "kernels/table.h"
#include "model/model.h"
#include "support/bench_peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
    int32_t *tokens, *targets;
    double *weights;
    lh_tensor **m, **v;
    int64_t lanes, step, unroll;
} bench;

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "bench_train: %s\n", error->message);
        exit((int)status);
    }
}

static void fill_tokens(bench *b)
{
    int64_t cells = b->lanes * b->model->config.segment;
    for (int64_t i = 0; i < cells; i++) {
        uint32_t word[4];
        lh_philox(3, (uint64_t)b->step, (uint64_t)i, word);
        b->tokens[i] = (int32_t)(word[0] % (uint32_t)b->model->config.vocab);
        b->targets[i] = (int32_t)(word[1] % (uint32_t)b->model->config.vocab);
        b->weights[i] = 1.0 / (double)(cells * b->unroll);
    }
}

static void train_step(bench *b)
{
    lh_context *context = b->context;
    lh_error error = {0};
    lh_tensor *sum = NULL;
    context->recording = context->training = true;
    fill_tokens(b);
    for (int64_t u = 0; u < b->unroll; u++) {
        lh_forward forward;
        lh_scope scope = lh_scope_begin(context);
        lh_model_forward(context, b->model, b->stream, b->tokens, b->model->config.segment, &forward);
        lh_tensor *loss = lh_model_loss(context, b->model, forward.hidden, b->targets, b->weights, NULL);
        loss = forward.auxiliary ? lh_add(context, loss, forward.auxiliary) : loss;
        sum = sum ? lh_add(context, sum, loss) : loss;
        lh_scope_end(context, scope, 1, &sum);
    }
    lh_backward(context, sum, 1.0);
    b->step++;
    if (b->model->memory_kind->learn) {
        b->model->memory_kind->learn(&b->stream->memory, 1, context);
    }
    for (int i = 0; i < b->model->parameters.count; i++) {
        lh_tensor *p = b->model->parameters.items[i].tensor;
        if (!p->grad) {
            continue;
        }
        lh_adamw_args args = {.n = lh_tensor_count(p),
                              .step = b->step,
                              .lr = 1e-4,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .eps = 1e-8,
                              .grad_scale = 1.0,
                              .clear_grad = true,
                              .param = lh_tensor_data(p),
                              .grad = lh_tensor_data(p->grad),
                              .m = lh_tensor_data(b->m[i]),
                              .v = lh_tensor_data(b->v[i])};
        lh_run(context, LH_KERNEL_ADAMW, LH_F32, &args);
    }
    lh_stream_commit(b->stream, context);
    check(lh_context_status(context, &error), &error);
    lh_context_reset(context);
}

static void evaluate_step(bench *b, lh_stream *stream)
{
    lh_forward forward;
    lh_error error = {0};
    b->context->recording = b->context->training = false;
    lh_model_forward(b->context, b->model, stream, b->tokens, b->model->config.segment, &forward);
    (void)lh_model_loss(b->context, b->model, forward.hidden, b->targets, NULL, NULL);
    lh_stream_commit(stream, b->context);
    check(lh_context_status(b->context, &error), &error);
    lh_context_reset(b->context);
}

static void setup(bench *b, int count, char **arguments)
{
    lh_error error = {0};
    lh_recipe *recipe;
    size_t presets;
    const lh_recipe_preset *list = lh_model_presets(&presets);
    char preset[128];
    check(lh_recipe_create(&recipe, lh_model_recipe_tables(), list, presets, &error), &error);
    (void)snprintf(preset, sizeof preset, "preset=%s", arguments[0]);
    check(lh_recipe_override(recipe, preset, &error), &error);
    int first = count > 3 && strncmp(arguments[3], "unroll=", 7) == 0 ? 4 : 3;
    b->unroll = first == 4 ? atoll(arguments[3] + 7) : 1;
    for (int i = first; i < count; i++) {
        check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    check(lh_recipe_resolve(recipe, &error), &error);
    int64_t vocab = lh_recipe_integer(recipe, "model.vocab");
    check(lh_model_create(&b->model, recipe, vocab ? vocab : 256, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    check(lh_parameters_initialise(&b->model->parameters, 1, &error), &error);
    check(lh_parameters_want_grads(&b->model->parameters, ~0u, &error), &error);
    check(lh_context_create(&b->context, lh_backend_cpu(), 0, &error), &error);
    check(lh_stream_create(&b->stream, b->model, b->lanes, false, &error), &error);
    b->stream->memory->keep_graph = b->unroll > 1;
    int n = b->model->parameters.count;
    size_t cells = (size_t)(b->lanes * b->model->config.segment);
    b->m = lh_heap_alloc(sizeof *b->m * (size_t)n);
    b->v = lh_heap_alloc(sizeof *b->v * (size_t)n);
    b->tokens = lh_heap_alloc(sizeof *b->tokens * cells);
    b->targets = lh_heap_alloc(sizeof *b->targets * cells);
    b->weights = lh_heap_alloc(sizeof *b->weights * cells);
    for (int i = 0; i < n; i++) {
        lh_tensor *p = b->model->parameters.items[i].tensor;
        check(lh_tensor_create(&b->m[i], p->storage->backend, LH_F32, p->ndim, p->shape, "m", &error), &error);
        check(lh_tensor_create(&b->v[i], p->storage->backend, LH_F32, p->ndim, p->shape, "v", &error), &error);
    }
}

/* Stores that fill over a document count as full: of noise, so that a search has something to find. */
static void fill_stores(lh_memory *memory)
{
    lh_error error = {0};
    for (int i = 0; i < memory->state_count; i++) {
        const lh_state_tensor *state = &memory->state[i];
        int64_t n = lh_tensor_count(state->stored);
        bool counter = state->class == LH_STATE_CARRIED && strstr(state->name, "store.count");
        if (counter || (state->class == LH_STATE_STORE && state->stored->dtype == LH_F32)) {
            lh_random random = lh_random_create(9, (uint64_t)i);
            float *noise = lh_heap_alloc(sizeof *noise * (size_t)n);
            int32_t *count = (int32_t *)(void *)noise;
            for (int64_t j = 0; j < n; j++) {
                if (counter) {
                    count[j] = (int32_t)1 << 24;
                } else {
                    noise[j] = (float)(0.2 * (lh_random_uniform(&random) - 0.5));
                }
            }
            check(lh_tensor_write(state->stored, noise, &error), &error);
            lh_heap_free(noise);
        }
    }
}

int main(int argc, char **argv)
{
    char *usual[] = {argv[0], "vanilla-small", "8", "3"};
    if (argc == 1) {
        argc = 4;
        argv = usual;
    }
    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench_train [PRESET LANES STEPS [section.key=value ...]]\n");
        return 2;
    }
    bench b = {.lanes = atoll(argv[2])};
    int steps = atoi(argv[3]);
    setup(&b, argc - 1, argv + 1);
    fill_stores(b.stream->memory);
    train_step(&b);
    train_step(&b); /* memories and the pool are warm */
    double *train = malloc(sizeof *train * (size_t)steps), *share = malloc(sizeof *share * (size_t)steps);
    double *evaluation = malloc(sizeof *evaluation * (size_t)steps), *peaks = malloc(sizeof *peaks * (size_t)steps);
    double tokens = (double)(b.lanes * b.model->config.segment), train_tokens = tokens * (double)b.unroll;
    double flop = train_tokens * 3.0 *
                  (2.0 * (double)lh_model_active_parameters(b.model) + lh_model_attention_flops(b.model));
    uint64_t allocations = 0;
    double before = bench_peak(b.context);
    for (int i = 0; i < steps; i++) {
        uint64_t a = lh_heap_allocations();
        double start = lh_now();
        train_step(&b);
        train[i] = lh_now() - start;
        allocations += lh_heap_allocations() - a;
        double after = bench_peak(b.context);
        peaks[i] = 0.5 * (before + after);
        share[i] = flop / train[i] / peaks[i];
        before = after;
    }
    size_t train_peak = lh_heap_peak_bytes();
    double resident = bench_resident_peak(); /* evaluation has streams of its own */
    lh_stream *stream;
    lh_error error = {0};
    check(lh_stream_create(&stream, b.model, b.lanes, false, &error), &error);
    fill_stores(stream->memory);
    for (int i = 0; i < steps; i++) {
        double start = lh_now();
        evaluate_step(&b, stream);
        evaluation[i] = lh_now() - start;
    }
    double t = bench_median(train, steps), e = bench_median(evaluation, steps);
    (void)printf(
        "{\"preset\": \"%s\", \"lanes\": %lld, \"segment\": %lld, \"unroll\": %lld, \"train_tokens_per_s\": %.1f, "
        "\"eval_tokens_per_s\": %.1f, \"eval_over_train\": %.3f, \"train_gflops\": %.1f, \"gemm_gflops\": %.1f, "
        "\"share_of_gemm\": %.3f, \"heap_peak_mb\": %.1f, \"resident_peak_mb\": %.1f, "
        "\"heap_allocations_per_step\": %.2f}\n",
        argv[1], (long long)b.lanes, (long long)b.model->config.segment, (long long)b.unroll, train_tokens / t,
        tokens / e, t / e / (double)b.unroll, flop / t / 1e9, bench_median(peaks, steps) / 1e9,
        bench_median(share, steps), (double)train_peak / 1e6, resident / 1e6, (double)allocations / steps);
    return 0;
}
