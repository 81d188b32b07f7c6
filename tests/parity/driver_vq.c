/* Trains a Transformer-VQ for tests/parity/parity_vq.py.
 *
 *   driver_vq FOLDER LANES UNROLL SECTION.KEY=VALUE ...
 *
 * FOLDER/tokens.i32 holds [updates, unroll, lanes, segment + 1] ids. An update is `unroll` segments in one graph,
 * the moving averages of the codebooks, and a step of AdamW. Writes FOLDER/init.safetensors (the parameters) and
 * FOLDER/result.safetensors: the losses of all updates, hidden states and gradients of the second one, and in the
 * end parameters and state. */
#include "base/file.h"
#include "formats/safetensors.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OUT = 1024, SHOWN = 1 };

typedef struct run {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
    int32_t *ids;
    int64_t lanes, segment, unroll;
    double *loss, *auxiliary;
    float **m, **v;
    lh_safetensors_tensor out[MAX_OUT];
    size_t out_count;
} run;

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "driver_vq: %s\n", error->message);
        exit((int)status);
    }
}

static void put(run *r, const char *prefix, const char *name, const lh_tensor *tensor)
{
    lh_error error = {0};
    char *full = malloc(160);
    void *copy = calloc((size_t)lh_tensor_count(tensor) + 1, lh_dtype_size(tensor->dtype));
    (void)snprintf(full, 160, "%s.%s", prefix, name);
    check(lh_tensor_read(tensor, copy, &error), &error);
    lh_safetensors_tensor *entry = &r->out[r->out_count++];
    *entry = (lh_safetensors_tensor){
        .name = full, .dtype = lh_safetensors_dtype_of(tensor->dtype), .ndim = tensor->ndim, .data = copy};
    memcpy(entry->shape, tensor->shape, sizeof(int64_t) * (size_t)tensor->ndim);
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
    bool detach = lh_recipe_boolean(recipe, "memory.detach");
    int64_t vocab = lh_recipe_integer(recipe, "model.vocab");
    check(lh_model_create(&r->model, recipe, vocab, lh_backend_cpu(), LH_F32, &error), &error);
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
    r->stream->memory->keep_graph = !detach;
    r->context->recording = r->context->training = true;
    r->segment = r->model->config.segment;
    int n = r->model->parameters.count;
    r->m = calloc((size_t)n, sizeof *r->m);
    r->v = calloc((size_t)n, sizeof *r->v);
    for (int i = 0; i < n; i++) {
        size_t cells = (size_t)lh_tensor_count(r->model->parameters.items[i].tensor) + 1;
        r->m[i] = calloc(cells, sizeof **r->m);
        r->v[i] = calloc(cells, sizeof **r->v);
    }
}

static void adamw(run *r, int64_t step)
{
    for (int i = 0; i < r->model->parameters.count; i++) {
        lh_tensor *p = r->model->parameters.items[i].tensor;
        if (!p->grad) {
            continue;
        }
        lh_adamw_args args = {.n = lh_tensor_count(p),
                              .step = step,
                              .lr = 1e-3,
                              .beta1 = 0.9,
                              .beta2 = 0.98,
                              .eps = 1e-8,
                              .decay = 0.01,
                              .grad_scale = 1.0,
                              .clear_grad = true,
                              .param = lh_tensor_data(p),
                              .grad = lh_tensor_data(p->grad),
                              .m = r->m[i],
                              .v = r->v[i]};
        lh_run(r->context, LH_KERNEL_ADAMW, LH_F32, &args);
    }
}

static void update(run *r, int64_t index)
{
    int64_t cells = r->lanes * r->segment, n = r->segment;
    int32_t *tokens = malloc(sizeof *tokens * (size_t)cells), *targets = malloc(sizeof *targets * (size_t)cells);
    double *weights = malloc(sizeof *weights * (size_t)cells);
    lh_error error = {0};
    lh_tensor *total = NULL, *auxiliary = NULL;
    for (int64_t u = 0; u < r->unroll; u++) {
        const int32_t *ids = r->ids + (index * r->unroll + u) * r->lanes * (n + 1);
        for (int64_t i = 0; i < cells; i++) {
            tokens[i] = ids[i / n * (n + 1) + i % n];
            targets[i] = ids[i / n * (n + 1) + i % n + 1];
            weights[i] = 1.0 / (double)(cells * r->unroll);
        }
        lh_forward forward;
        lh_model_forward(r->context, r->model, r->stream, tokens, n, &forward);
        lh_tensor *loss = lh_model_loss(r->context, r->model, forward.hidden, targets, weights, NULL);
        lh_tensor *share = lh_scale(r->context, forward.auxiliary, 1.0 / (double)r->unroll);
        total = total ? lh_add(r->context, total, loss) : loss;
        auxiliary = auxiliary ? lh_add(r->context, auxiliary, share) : share;
        if (index == SHOWN && u == r->unroll - 1) {
            check(lh_context_status(r->context, &error), &error);
            put(r, "hidden", "last", forward.hidden);
        }
    }
    r->loss[index] = lh_scalar(r->context, total);
    r->auxiliary[index] = lh_scalar(r->context, auxiliary);
    lh_backward(r->context, lh_add(r->context, total, auxiliary), 1.0);
    lh_stream_commit(r->stream, r->context);
    check(lh_context_status(r->context, &error), &error);
    lh_context_reset(r->context);
    for (int i = 0; i < r->model->parameters.count && index == SHOWN; i++) {
        const lh_parameter *p = &r->model->parameters.items[i];
        if (p->tensor->grad) {
            put(r, "grad", p->name, p->tensor->grad);
        }
    }
    r->model->memory_kind->learn(&r->stream->memory, 1, r->context);
    adamw(r, index + 1);
    check(lh_context_status(r->context, &error), &error);
    lh_context_reset(r->context);
    free(tokens);
    free(targets);
    free(weights);
}

int main(int argc, char **argv)
{
    char path[1024], *text;
    size_t size;
    lh_error error = {0};
    if (argc < 4) {
        (void)fprintf(stderr, "usage: driver_vq FOLDER LANES UNROLL [section.key=value ...]\n");
        return 2;
    }
    static run r;
    r.lanes = atoll(argv[2]);
    r.unroll = atoll(argv[3]);
    setup(&r, argc - 4, argv + 4);
    (void)snprintf(path, sizeof path, "%s/init.safetensors", argv[1]);
    check(lh_model_save(r.model, path, NULL, &error), &error);
    (void)snprintf(path, sizeof path, "%s/tokens.i32", argv[1]);
    check(lh_file_read(path, 0, &text, &size, &error), &error);
    r.ids = (int32_t *)(void *)text;
    int64_t updates = (int64_t)(size / sizeof(int32_t)) / (r.lanes * r.unroll * (r.segment + 1));
    r.loss = calloc((size_t)updates, sizeof *r.loss);
    r.auxiliary = calloc((size_t)updates, sizeof *r.auxiliary);
    for (int64_t i = 0; i < updates; i++) {
        update(&r, i);
    }
    for (int i = 0; i < r.model->parameters.count; i++) {
        put(&r, "parameter", r.model->parameters.items[i].name, r.model->parameters.items[i].tensor);
    }
    for (int i = 0; i < r.stream->memory->state_count; i++) {
        const lh_state_tensor *state = &r.stream->memory->state[i];
        if (state->class == LH_STATE_CARRIED) {
            put(&r, "state", state->name, state->stored);
        }
    }
    r.out[r.out_count++] = (lh_safetensors_tensor){
        .name = "loss", .dtype = LH_SAFETENSORS_F64, .ndim = 1, .shape = {updates}, .data = r.loss};
    r.out[r.out_count++] = (lh_safetensors_tensor){
        .name = "auxiliary", .dtype = LH_SAFETENSORS_F64, .ndim = 1, .shape = {updates}, .data = r.auxiliary};
    (void)snprintf(path, sizeof path, "%s/result.safetensors", argv[1]);
    check(lh_safetensors_write(path, r.out, r.out_count, NULL, 0, &error), &error);
    return 0;
}
