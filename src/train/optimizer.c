#include "train/optimizer.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>

lh_optimizer_options lh_optimizer_defaults(void)
{
    lh_optimizer_options options = {.kind = LH_OPTIMIZER_ADAMW,
                                    .beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .epsilon = 1e-8,
                                    .momentum = 0.9,
                                    .decay_rate = 0.8,
                                    .epsilon1 = 1e-30,
                                    .epsilon2 = 1e-3,
                                    .clip_update = 1.0,
                                    .scale_by_parameter = true,
                                    .factor_from = 128};
    for (int group = 0; group < LH_GROUP_COUNT; group++) {
        options.rate_scale[group] = 1.0;
    }
    return options;
}

/* A parameter as a matrix: its first dimension by all others. Vectors have one row. */
static void matrix_shape(const lh_tensor *tensor, int64_t *rows, int64_t *columns)
{
    int64_t count = lh_tensor_count(tensor);
    *rows = tensor->ndim >= 2 ? tensor->shape[0] : 1;
    *columns = *rows > 0 ? count / *rows : 0;
}

static lh_status create_state(lh_tensor **tensor, const lh_tensor *like, int64_t rows, int64_t columns,
                              lh_error *error)
{
    const lh_backend *backend = like->storage->backend;
    if (rows == 0) {
        return lh_tensor_create(tensor, backend, like->dtype, like->ndim, like->shape, like->name, error);
    }
    int64_t length = rows * columns;
    return lh_tensor_create(tensor, backend, like->dtype, 1, &length, like->name, error);
}

static lh_status create_slot(const lh_optimizer_options *options, lh_optimizer_slot *slot, lh_error *error)
{
    const lh_tensor *tensor = slot->parameter->tensor;
    switch (options->kind) {
    case LH_OPTIMIZER_ADAMW:
        LH_TRY(create_state(&slot->first, tensor, 0, 0, error));
        return create_state(&slot->second, tensor, 0, 0, error);
    case LH_OPTIMIZER_SGD: return options->momentum != 0 ? create_state(&slot->first, tensor, 0, 0, error) : LH_OK;
    case LH_OPTIMIZER_ADAFACTOR: break;
    }
    int64_t rows, columns;
    matrix_shape(tensor, &rows, &columns);
    if (options->beta1 != 0) {
        LH_TRY(create_state(&slot->first, tensor, 0, 0, error));
    }
    if (tensor->ndim >= 2 && rows >= options->factor_from && columns >= options->factor_from) {
        LH_TRY(create_state(&slot->row, tensor, 1, rows, error));
        return create_state(&slot->column, tensor, 1, columns, error);
    }
    return create_state(&slot->second, tensor, 0, 0, error);
}

lh_status lh_optimizer_create(lh_optimizer **optimizer, lh_parameters *parameters,
                              const lh_optimizer_options *options, lh_error *error)
{
    *optimizer = NULL;
    lh_optimizer *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for an optimizer");
    }
    fresh->options = *options;
    fresh->parameters = parameters;
    fresh->slots = lh_heap_alloc(sizeof *fresh->slots * (size_t)parameters->count);
    if (!fresh->slots) {
        lh_heap_free(fresh);
        return lh_fail(error, LH_E_MEMORY, "no memory for an optimizer");
    }
    for (int i = 0; i < parameters->count; i++) {
        fresh->slots[i].parameter = &parameters->items[i];
        if (parameters->items[i].tensor->requires_grad) {
            lh_status status = create_slot(options, &fresh->slots[i], error);
            if (status != LH_OK) {
                lh_optimizer_free(fresh);
                return status;
            }
        }
    }
    *optimizer = fresh;
    return LH_OK;
}

void lh_optimizer_free(lh_optimizer *optimizer)
{
    if (optimizer) {
        for (int i = 0; i < optimizer->parameters->count; i++) {
            lh_optimizer_slot *slot = &optimizer->slots[i];
            lh_tensor_free(slot->first);
            lh_tensor_free(slot->second);
            lh_tensor_free(slot->row);
            lh_tensor_free(slot->column);
        }
        lh_heap_free(optimizer->slots);
        lh_heap_free(optimizer);
    }
}

lh_tensor *lh_optimizer_state(const lh_optimizer *optimizer, int index, char name[LH_OPTIMIZER_NAME_SIZE])
{
    /* Names tell the optimizers' states apart, so that one is never taken for another's. */
    static const char *const kinds[][4] = {[LH_OPTIMIZER_ADAMW] = {"first", "second", "", ""},
                                           [LH_OPTIMIZER_ADAFACTOR] = {"update", "square", "row", "column"},
                                           [LH_OPTIMIZER_SGD] = {"momentum", "", "", ""}};
    for (int i = 0; i < optimizer->parameters->count; i++) {
        const lh_optimizer_slot *slot = &optimizer->slots[i];
        lh_tensor *const tensors[] = {slot->first, slot->second, slot->row, slot->column};
        for (int kind = 0; kind < 4; kind++) {
            if (tensors[kind] && index-- == 0) {
                (void)snprintf(name, LH_OPTIMIZER_NAME_SIZE, "%s.%s", slot->parameter->name,
                               kinds[optimizer->options.kind][kind]);
                return tensors[kind];
            }
        }
    }
    return NULL;
}

static bool trained(const lh_optimizer_slot *slot)
{
    return slot->parameter->tensor->requires_grad && slot->parameter->tensor->grad;
}

/* Norms of all groups. Gradients flow from the output to the input, so of several broken ones the last in the list
 * of parameters is the one nearest to where it broke. */
static lh_status measure(lh_optimizer *optimizer, lh_context *context, double scale, lh_gradient_norms *norms,
                         lh_error *error)
{
    double squares[LH_GROUP_COUNT] = {0}, total = 0;
    const lh_parameter *broken = NULL;
    int64_t broken_values = 0, broken_tensors = 0;
    for (int i = 0; i < optimizer->parameters->count; i++) {
        lh_optimizer_slot *slot = &optimizer->slots[i];
        if (!trained(slot)) {
            continue;
        }
        const lh_tensor *grad = slot->parameter->tensor->grad;
        double sum = 0;
        int64_t bad = 0;
        lh_sum_squares_args args = {
            .n = lh_tensor_count(grad), .x = lh_tensor_data(grad), .sum = &sum, .nonfinite = &bad};
        lh_run(context, LH_KERNEL_SUM_SQUARES, grad->dtype, &args);
        if (bad > 0) {
            broken = slot->parameter;
            broken_values = bad;
            broken_tensors++;
        } else if (sum > 0) {
            slot->awake = true;
        }
        squares[slot->parameter->group] += sum;
    }
    LH_TRY(lh_context_status(context, error));
    if (broken) {
        return lh_fail(error, LH_E_NUMERIC,
                       "the gradient of '%s' has %lld of %lld values that are NaN or infinite%s", broken->name,
                       (long long)broken_values, (long long)lh_tensor_count(broken->tensor),
                       broken_tensors > 1 ? " (and so have those of parameters before it)" : "");
    }
    for (int group = 0; group < LH_GROUP_COUNT; group++) {
        norms->group[group] = scale * sqrt(squares[group]);
        total += squares[group];
    }
    norms->total = scale * sqrt(total);
    return LH_OK;
}

static void update(lh_optimizer *optimizer, lh_context *context, lh_optimizer_slot *slot, double rate, double scale)
{
    const lh_optimizer_options *o = &optimizer->options;
    const lh_parameter *parameter = slot->parameter;
    lh_tensor *tensor = parameter->tensor;
    void *param = lh_tensor_data(tensor), *grad = lh_tensor_data(tensor->grad);
    void *first = slot->first ? lh_tensor_data(slot->first) : NULL;
    void *second = slot->second ? lh_tensor_data(slot->second) : NULL;
    double decay = parameter->decay ? o->weight_decay[parameter->group] : 0.0;
    int64_t rows, columns, count = lh_tensor_count(tensor);
    rate *= o->rate_scale[parameter->group];
    if (o->decay_apart && decay != 0.0) {
        lh_add_scaled_args shrink = {.n = count, .beta = 1.0 - decay, .x = param, .y = param};
        lh_run(context, LH_KERNEL_ADD_SCALED, tensor->dtype, &shrink);
        decay = 0.0;
    }
    switch (o->kind) {
    case LH_OPTIMIZER_ADAMW: {
        lh_adamw_args args = {.n = count,
                              .step = optimizer->updates,
                              .lr = rate,
                              .beta1 = o->beta1,
                              .beta2 = o->beta2,
                              .eps = o->epsilon,
                              .decay = decay,
                              .grad_scale = scale,
                              .clear_grad = true,
                              .param = param,
                              .grad = grad,
                              .m = first,
                              .v = second};
        lh_run(context, LH_KERNEL_ADAMW, tensor->dtype, &args);
        break;
    }
    case LH_OPTIMIZER_SGD: {
        lh_sgd_args args = {.n = count,
                            .lr = rate,
                            .momentum = o->momentum,
                            .decay = decay,
                            .grad_scale = scale,
                            .nesterov = o->nesterov,
                            .clear_grad = true,
                            .param = param,
                            .grad = grad,
                            .buffer = first};
        lh_run(context, LH_KERNEL_SGD, tensor->dtype, &args);
        break;
    }
    case LH_OPTIMIZER_ADAFACTOR: {
        matrix_shape(tensor, &rows, &columns);
        lh_adafactor_args args = {.rows = rows,
                                  .columns = columns,
                                  .step = optimizer->updates,
                                  .lr = rate,
                                  .decay_rate = o->decay_rate,
                                  .beta1 = o->beta1,
                                  .eps1 = o->epsilon1,
                                  .eps2 = o->epsilon2,
                                  .clip_threshold = o->clip_update,
                                  .decay = decay,
                                  .grad_scale = scale,
                                  .scale_by_parameter = o->scale_by_parameter,
                                  .clear_grad = true,
                                  .param = param,
                                  .grad = grad,
                                  .row = slot->row ? lh_tensor_data(slot->row) : NULL,
                                  .column = slot->column ? lh_tensor_data(slot->column) : NULL,
                                  .v = second,
                                  .m = first};
        lh_run(context, LH_KERNEL_ADAFACTOR, tensor->dtype, &args);
        break;
    }
    }
}

lh_status lh_optimizer_step(lh_optimizer *optimizer, lh_context *context, double rate, double scale,
                            lh_gradient_norms *norms, lh_error *error)
{
    const lh_optimizer_options *o = &optimizer->options;
    lh_gradient_norms seen = {0};
    LH_TRY(measure(optimizer, context, scale, &seen, error));
    if (norms) {
        *norms = seen;
    }
    optimizer->updates++;
    for (int i = 0; i < optimizer->parameters->count; i++) {
        lh_optimizer_slot *slot = &optimizer->slots[i];
        if (trained(slot) && slot->awake) {
            double norm = o->clip_joint ? seen.total : seen.group[slot->parameter->group];
            bool clipped = o->clip > 0 && norm > (o->clip_always ? 0.0 : o->clip);
            double shrink = clipped ? o->clip / norm : 1.0;
            update(optimizer, context, slot, rate, scale * shrink);
        }
    }
    return lh_context_status(context, error);
}
