/* Runs a whole model for the parity scripts.
 *
 *   driver_model FOLDER LANES [unroll=N] SECTION.KEY=VALUE ...
 *
 * With an encoder FOLDER/sources.i32 holds [steps, lanes, memory.source] ids, -1 in front of shorter sources.
 * FOLDER/tokens.i32 holds [steps, lanes, N segment + 1] ids; a step is N segments in one graph (1 if not given).
 * Writes FOLDER/init.safetensors (the parameters) and FOLDER/result.safetensors: with fixed weights, loss and
 * auxiliary of each of the first 4 steps, hidden states and all gradients of the fourth, and what the memory
 * carries behind it; then, from the start, the losses of an AdamW run over all steps, and what
 * was learned without gradients by its end (final.NAME). */
#include "base/file.h"
#include "formats/safetensors.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXED = 4 };

typedef struct run {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
    int32_t *ids, *tokens, *targets, *sources;
    double *weights;
    int64_t lanes, segment, unroll, steps;
} run;

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "driver_model: %s\n", error->message);
        exit((int)status);
    }
}

/* One segment of a step: its part of the loss. hidden [lanes, unroll * segment, width] or NULL. */
static lh_tensor *one_segment(run *r, int64_t index, int64_t part, lh_forward *forward, float *hidden)
{
    int64_t length = r->unroll * r->segment, cells = r->lanes * length, width = r->model->config.width;
    for (int64_t b = 0; b < r->lanes; b++) {
        for (int64_t i = 0; i < r->segment; i++) {
            const int32_t *row = r->ids + (index * r->lanes + b) * (length + 1) + part * r->segment;
            r->tokens[b * r->segment + i] = row[i];
            r->targets[b * r->segment + i] = row[i + 1];
            r->weights[b * r->segment + i] = 1.0 / (double)cells;
        }
    }
    lh_model_forward(r->context, r->model, r->stream, r->tokens, r->segment, forward);
    if (hidden && forward->hidden) {
        lh_error error = {0};
        float *rows = malloc(sizeof *rows * (size_t)(r->lanes * r->segment * width));
        check(lh_tensor_read(forward->hidden, rows, &error), &error);
        for (int64_t b = 0; b < r->lanes; b++) {
            memcpy(hidden + (b * length + part * r->segment) * width, rows + b * r->segment * width,
                   sizeof *rows * (size_t)(r->segment * width));
        }
        free(rows);
    }
    return lh_model_loss(r->context, r->model, forward->hidden, r->targets, r->weights, NULL);
}

static void step(run *r, int64_t index, double *task, double *auxiliary, float *hidden)
{
    lh_error error = {0};
    lh_tensor *sum = NULL;
    *task = *auxiliary = 0.0;
    if (r->sources) {
        int64_t most = r->model->shape.source;
        check(lh_stream_reset(r->stream, r->context, -1, &error), &error);
        r->model->memory_kind->take_source(r->stream->memory, r->context, r->sources + index * r->lanes * most,
                                           most);
    }
    for (int64_t part = 0; part < r->unroll; part++) {
        lh_forward forward;
        lh_tensor *loss = one_segment(r, index, part, &forward, hidden);
        *task += lh_scalar(r->context, loss);
        *auxiliary += forward.auxiliary ? lh_scalar(r->context, forward.auxiliary) : 0.0;
        if (forward.auxiliary) {
            loss = lh_add(r->context, loss, forward.auxiliary);
        }
        sum = sum ? lh_add(r->context, sum, loss) : loss;
    }
    lh_backward(r->context, sum, 1.0);
    lh_stream_commit(r->stream, r->context);
    check(lh_context_status(r->context, &error), &error);
    lh_context_reset(r->context);
}

static void clear_grads(run *r)
{
    for (int i = 0; i < r->model->parameters.count; i++) {
        lh_tensor *g = r->model->parameters.items[i].tensor->grad; /* none for constants */
        if (g) {
            memset(lh_tensor_data(g), 0, (size_t)lh_tensor_count(g) * sizeof(float));
        }
    }
}

/* What the segments with fixed weights gathered for `learn` is not to be learned from. */
static void clear_statistics(run *r)
{
    lh_memory *memory = r->stream->memory;
    for (int i = 0; i < memory->state_count; i++) {
        lh_tensor *x = memory->state[i].stored;
        if (memory->state[i].class == LH_STATE_STATISTIC) {
            memset(lh_tensor_data(x), 0, (size_t)lh_tensor_count(x) * lh_dtype_size(x->dtype));
        }
    }
}

static void setup(run *r, int count, char **arguments)
{
    lh_error error = {0};
    lh_recipe *recipe;
    check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
    for (int i = 0; i < count; i++) {
        check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    check(lh_recipe_resolve(recipe, &error), &error);
    check(lh_model_create(&r->model, recipe, lh_recipe_integer(recipe, "model.vocab"), lh_backend_cpu(), LH_F32,
                          &error),
          &error);
    lh_recipe_free(recipe);
    check(lh_parameters_initialise(&r->model->parameters, 3, &error), &error);
    for (int i = 0; i < r->model->parameters.count; i++) { /* nothing trivially zero or one */
        lh_tensor *p = r->model->parameters.items[i].tensor;
        float *x = lh_tensor_data(p);
        lh_random random = lh_random_create(17, (uint64_t)i);
        for (int64_t j = 0; j < lh_tensor_count(p); j++) {
            x[j] += (float)(0.05 * lh_random_normal(&random));
        }
    }
    check(lh_parameters_want_grads(&r->model->parameters, ~0u, &error), &error);
    check(lh_context_create(&r->context, lh_backend_cpu(), 2, &error), &error);
    check(lh_stream_create(&r->stream, r->model, r->lanes, false, &error), &error);
    r->context->recording = r->context->training = true;
    r->stream->memory->keep_graph = r->unroll > 1;
    r->segment = r->model->config.segment;
}

/* Copies of what the memory carries and stores, named "state.NAME"; returns how many. */
static size_t copy_state(const run *r, lh_safetensors_tensor *out)
{
    const lh_memory *memory = r->stream->memory;
    size_t count = 0;
    lh_error error = {0};
    for (int i = 0; i < memory->state_count; i++) {
        const lh_state_tensor *state = &memory->state[i];
        const lh_tensor *t = state->stored;
        if (!lh_state_saved(state->class, false)) {
            continue;
        }
        char *name = malloc(128);
        void *copy = malloc((size_t)lh_tensor_count(t) * lh_dtype_size(t->dtype) + 1);
        (void)snprintf(name, 128, "state.%s", state->name);
        check(lh_tensor_read(t, copy, &error), &error);
        out[count] = (lh_safetensors_tensor){
            .name = name, .dtype = lh_safetensors_dtype_of(t->dtype), .ndim = t->ndim, .data = copy};
        memcpy(out[count++].shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
    }
    return count;
}

int main(int argc, char **argv)
{
    char path[1024];
    lh_error error = {0};
    if (argc < 3) {
        (void)fprintf(stderr, "usage: driver_model FOLDER LANES [unroll=N] [section.key=value ...]\n");
        return 2;
    }
    run r = {.lanes = atoll(argv[2]), .unroll = 1};
    int first = 3;
    if (argc > 3 && strncmp(argv[3], "unroll=", 7) == 0) {
        r.unroll = atoll(argv[first++] + 7);
    }
    setup(&r, argc - first, argv + first);
    (void)snprintf(path, sizeof path, "%s/init.safetensors", argv[1]);
    check(lh_model_save(r.model, path, NULL, &error), &error);
    char *text;
    size_t size;
    (void)snprintf(path, sizeof path, "%s/tokens.i32", argv[1]);
    check(lh_file_read(path, 0, &text, &size, &error), &error);
    r.ids = (int32_t *)(void *)text;
    r.steps = (int64_t)(size / sizeof(int32_t)) / (r.lanes * (r.unroll * r.segment + 1));
    if (r.model->shape.source > 0) {
        (void)snprintf(path, sizeof path, "%s/sources.i32", argv[1]);
        check(lh_file_read(path, 0, &text, &size, &error), &error);
        r.sources = (int32_t *)(void *)text;
    }
    size_t cells = (size_t)(r.lanes * r.segment);
    r.tokens = calloc(cells, sizeof *r.tokens);
    r.targets = calloc(cells, sizeof *r.targets);
    r.weights = calloc(cells, sizeof *r.weights);
    double *losses = calloc((size_t)r.steps, sizeof *losses), *auxiliary = calloc((size_t)r.steps, sizeof(double));
    double fixed[FIXED], fixed_auxiliary[FIXED];
    float *hidden = calloc(cells * (size_t)(r.unroll * r.model->config.width), sizeof *hidden);
    for (int s = 0; s < FIXED; s++) {
        clear_grads(&r);
        step(&r, s, &fixed[s], &fixed_auxiliary[s], hidden);
    }
    int n = r.model->parameters.count;
    size_t count = (size_t)n + 5;
    lh_safetensors_tensor *out = calloc(count + (size_t)r.stream->memory->state_count, sizeof *out);
    count += copy_state(&r, out + count);
    float **m = calloc((size_t)n, sizeof *m), **v = calloc((size_t)n, sizeof *v);
    for (int i = 0; i < n; i++) {
        lh_tensor *p = r.model->parameters.items[i].tensor;
        size_t bytes = (size_t)lh_tensor_count(p) * sizeof(float);
        char *name = malloc(128);
        void *copy = calloc(1, bytes);
        bool learned = r.model->parameters.items[i].group == LH_GROUP_STATISTICS;
        (void)snprintf(name, 128, "%s.%s", learned ? "final" : "grad", r.model->parameters.items[i].name);
        if (learned) { /* its last value */
            free(copy);
            copy = lh_tensor_data(p);
        } else if (p->grad) {
            memcpy(copy, lh_tensor_data(p->grad), bytes);
        }
        out[i] = (lh_safetensors_tensor){.name = name, .dtype = LH_SAFETENSORS_F32, .ndim = p->ndim, .data = copy};
        memcpy(out[i].shape, p->shape, sizeof(int64_t) * (size_t)p->ndim);
        m[i] = calloc(1, bytes);
        v[i] = calloc(1, bytes);
    }
    clear_grads(&r);
    clear_statistics(&r);
    check(lh_stream_reset(r.stream, r.context, -1, &error), &error);
    for (int64_t s = 0; s < r.steps; s++) {
        step(&r, s, &losses[s], &auxiliary[s], NULL);
        if (r.model->memory_kind->learn) {
            r.model->memory_kind->learn(&r.stream->memory, 1, r.context);
            check(lh_context_status(r.context, &error), &error);
        }
        for (int i = 0; i < n; i++) {
            lh_tensor *p = r.model->parameters.items[i].tensor;
            if (!p->grad) {
                continue;
            }
            lh_adamw_args args = {.n = lh_tensor_count(p),
                                  .step = s + 1,
                                  .lr = 1e-3,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8,
                                  .decay = 0.01,
                                  .grad_scale = 1.0,
                                  .clear_grad = true,
                                  .param = lh_tensor_data(p),
                                  .grad = p->grad ? lh_tensor_data(p->grad) : NULL,
                                  .m = m[i],
                                  .v = v[i]};
            if (p->grad) {
                lh_run(r.context, LH_KERNEL_ADAMW, LH_F32, &args);
            }
        }
    }
    out[n] = (lh_safetensors_tensor){
        .name = "fixed", .dtype = LH_SAFETENSORS_F64, .ndim = 1, .shape = {FIXED}, .data = fixed};
    out[n + 1] = (lh_safetensors_tensor){.name = "fixed_auxiliary",
                                         .dtype = LH_SAFETENSORS_F64,
                                         .ndim = 1,
                                         .shape = {FIXED},
                                         .data = fixed_auxiliary};
    out[n + 2] = (lh_safetensors_tensor){
        .name = "losses", .dtype = LH_SAFETENSORS_F64, .ndim = 1, .shape = {r.steps}, .data = losses};
    out[n + 3] = (lh_safetensors_tensor){
        .name = "auxiliary", .dtype = LH_SAFETENSORS_F64, .ndim = 1, .shape = {r.steps}, .data = auxiliary};
    out[n + 4] = (lh_safetensors_tensor){.name = "hidden",
                                         .dtype = LH_SAFETENSORS_F32,
                                         .ndim = 3,
                                         .shape = {r.lanes, r.unroll * r.segment, r.model->config.width},
                                         .data = hidden};
    (void)snprintf(path, sizeof path, "%s/result.safetensors", argv[1]);
    check(lh_safetensors_write(path, out, count, NULL, 0, &error), &error);
    return 0;
}
