#include "autograd/context.h"

#include <string.h>

bool lh_wants_grad(const lh_context *context, int count, lh_tensor *const *inputs)
{
    if (!context->recording) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (inputs[i] && inputs[i]->requires_grad) {
            return true;
        }
    }
    return false;
}

static lh_tensor **copy_list(lh_context *context, int count, lh_tensor *const *list)
{
    lh_tensor **copy = lh_arena_alloc(&context->arena, sizeof *copy * (size_t)(count ? count : 1));
    if (!copy) {
        lh_op_fail(context, LH_E_MEMORY, "tape", "no memory for a tape entry");
    } else if (count) {
        memcpy(copy, list, sizeof *copy * (size_t)count);
    }
    return copy;
}

lh_node *lh_record(lh_context *context, const char *op, void (*backward)(lh_context *, lh_node *), int ins,
                   lh_tensor *const *in, int outs, lh_tensor *const *out, int saves, lh_tensor *const *saved,
                   const void *options, size_t options_size)
{
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_node *node = lh_arena_alloc(&context->arena, sizeof *node);
    if (!node) {
        lh_op_fail(context, LH_E_MEMORY, "tape", "no memory for a tape entry");
        return NULL;
    }
    node->op = op;
    node->backward = backward;
    node->ins = ins;
    node->outs = outs;
    node->saves = saves;
    node->in = copy_list(context, ins, in);
    node->out = copy_list(context, outs, out);
    node->saved = copy_list(context, saves, saved);
    if (lh_op_stopped(context)) {
        return NULL;
    }
    for (int i = 0; i < saves; i++) {
        if (saved[i]) {
            node->saved[i] = lh_alias(context, saved[i]);
            if (!node->saved[i]) {
                return NULL;
            }
            lh_pin(node->saved[i]);
        }
    }
    if (options_size) {
        node->options = lh_arena_alloc(&context->arena, options_size);
        if (!node->options) {
            lh_op_fail(context, LH_E_MEMORY, "tape", "no memory for a tape entry");
            return NULL;
        }
        memcpy(node->options, options, options_size);
    }
    for (int i = 0; i < outs; i++) {
        if (out[i]) {
            out[i]->requires_grad = true;
            out[i]->node = node;
        }
    }
    node->previous = context->tape;
    context->tape = node;
    return node;
}

/* Is the tensor its own storage's elements in some order, without gaps or repeats? Fills in the strides of that
 * order. */
static bool dense_permutation(const lh_tensor *tensor)
{
    int64_t expected = 1;
    bool used[LH_MAX_DIMS] = {false};
    for (int step = 0; step < tensor->ndim; step++) {
        int found = -1;
        for (int i = 0; i < tensor->ndim && found < 0; i++) {
            if (!used[i] && (tensor->shape[i] == 1 || tensor->stride[i] == expected)) {
                found = i;
            }
        }
        if (found < 0) {
            return false;
        }
        used[found] = true;
        expected *= tensor->shape[found];
    }
    return true;
}

/* A gradient of its own (not a window) that lies contiguous. */
static bool plain(const lh_tensor *tensor)
{
    return !(tensor->node && tensor->node->view_source) && lh_tensor_contiguous(tensor);
}

/* A view's gradient is a window into its source's gradient: what flows into the window has already arrived. */
static lh_tensor *grad_window(lh_context *context, lh_tensor *tensor);

static lh_tensor *grad_buffer(lh_context *context, lh_tensor *tensor)
{
    if (lh_op_stopped(context) || !tensor || !tensor->requires_grad) {
        return NULL;
    }
    if (!tensor->grad) {
        if (tensor->node && tensor->node->view_source) {
            tensor->grad = grad_window(context, tensor);
        } else {
            tensor->grad = lh_new_like(context, tensor, true);
            if (tensor->grad && lh_tensor_count(tensor) > 0 && dense_permutation(tensor)) {
                /* Views of this tensor are windows by its strides, so its gradient is laid out like it. */
                memcpy(tensor->grad->stride, tensor->stride, sizeof tensor->stride);
            }
        }
        if (tensor->grad) {
            lh_pin(tensor->grad);
        }
    }
    return tensor->grad;
}

static lh_tensor *grad_window(lh_context *context, lh_tensor *tensor)
{
    lh_tensor *source = tensor->node->view_source;
    lh_tensor *base = grad_buffer(context, source);
    lh_tensor *window = base ? lh_alias(context, base) : NULL;
    if (!window) {
        return NULL;
    }
    /* The source's gradient is laid out like the source, so the view's own strides cut the same window out of it.
     */
    window->ndim = tensor->ndim;
    memcpy(window->shape, tensor->shape, sizeof window->shape);
    memcpy(window->stride, tensor->stride, sizeof window->stride);
    window->offset = base->offset + (tensor->offset - source->offset);
    return window;
}

lh_tensor *lh_out_grad(lh_context *context, lh_node *node, int i)
{
    lh_tensor *out = node->out[i];
    return out && out->grad ? lh_packed(context, out->grad) : NULL;
}

lh_tensor *lh_in_grad(lh_context *context, lh_node *node, int i)
{
    return grad_buffer(context, node->in[i]);
}

lh_tensor *lh_in_grad_packed(lh_context *context, lh_node *node, int i, double *beta)
{
    lh_tensor *in = node->in[i];
    *beta = 1.0;
    if (lh_op_stopped(context) || !in || !in->requires_grad) {
        return NULL;
    }
    if (!in->grad && plain(in)) {
        *beta = 0.0;
        in->grad = lh_new_like(context, in, false);
        if (in->grad) {
            lh_pin(in->grad);
        }
        return in->grad;
    }
    lh_tensor *buffer = grad_buffer(context, in);
    if (!buffer || lh_tensor_contiguous(buffer)) {
        return buffer;
    }
    *beta = 0.0;
    return lh_new_like(context, in, false);
}

static void add_into(lh_context *context, lh_tensor *into, lh_tensor *addend)
{
    if (lh_op_stopped(context)) {
        return;
    }
    if (lh_tensor_contiguous(into)) {
        lh_add_scaled_args add = {.n = lh_tensor_count(into),
                                  .alpha = 1.0,
                                  .beta = 1.0,
                                  .x = lh_tensor_data(addend),
                                  .y = lh_tensor_data(into)};
        lh_run(context, LH_KERNEL_ADD_SCALED, into->dtype, &add);
        return;
    }
    /* A strided window: gather it, add, put it back. */
    lh_tensor *sum = lh_packed(context, into);
    if (!sum) {
        return;
    }
    add_into(context, sum, addend);
    lh_copy_args copy = {
        .element_bytes = (int)lh_dtype_size(into->dtype), .x = lh_tensor_data(sum), .y = lh_tensor_data(into)};
    int lead = LH_MAX_DIMS - into->ndim;
    for (int d = 0; d < LH_MAX_DIMS; d++) {
        copy.shape[d] = d < lead ? 1 : into->shape[d - lead];
        copy.x_stride[d] = d < lead ? 0 : sum->stride[d - lead];
        copy.y_stride[d] = d < lead ? 0 : into->stride[d - lead];
    }
    lh_run(context, LH_KERNEL_COPY, into->dtype, &copy);
    lh_drop(context, sum);
}

void lh_in_grad_commit(lh_context *context, lh_node *node, int i, lh_tensor *packed)
{
    lh_tensor *in = node->in[i];
    if (lh_op_stopped(context) || !packed || in->grad == packed) {
        return;
    }
    add_into(context, in->grad, packed);
    lh_drop(context, packed);
}

void lh_in_grad_give(lh_context *context, lh_node *node, int i, lh_tensor *gradient)
{
    lh_tensor *in = node->in[i];
    if (lh_op_stopped(context) || !gradient || !in || !in->requires_grad) {
        return;
    }
    if (!in->grad && plain(in) && gradient->storage->references == 1 && lh_tensor_contiguous(gradient)) {
        lh_tensor *taken = lh_alias(context, gradient);
        if (taken) {
            memcpy(taken->shape, in->shape, sizeof taken->shape);
            memcpy(taken->stride, in->stride, sizeof taken->stride);
            taken->ndim = in->ndim;
            int64_t stride = 1;
            for (int d = in->ndim - 1; d >= 0; d--) {
                taken->stride[d] = stride;
                stride *= in->shape[d];
            }
            lh_pin(taken);
            in->grad = taken;
            lh_drop(context, gradient);
        }
        return;
    }
    if (!in->grad && plain(in) && lh_tensor_contiguous(gradient)) {
        lh_tensor *copy =
            lh_new_like(context, in, false); /* shared with someone: one pass instead of zero and add */
        if (copy) {
            lh_add_scaled_args args = {
                .n = lh_tensor_count(copy), .alpha = 1.0, .x = lh_tensor_data(gradient), .y = lh_tensor_data(copy)};
            lh_run(context, LH_KERNEL_ADD_SCALED, in->dtype, &args);
            lh_pin(copy);
            in->grad = copy;
            lh_drop(context, gradient);
        }
        return;
    }
    lh_tensor *buffer = grad_buffer(context, in);
    if (buffer) {
        add_into(context, buffer, gradient);
        lh_drop(context, gradient);
    }
}

static void node_release(lh_context *context, lh_node *node)
{
    for (int i = 0; i < node->saves; i++) {
        lh_drop(context, node->saved[i]);
    }
    for (int i = 0; i < node->outs; i++) {
        if (node->out[i] && node->out[i]->grad) {
            lh_drop(context, node->out[i]->grad);
            node->out[i]->grad = NULL;
        }
    }
}

static void tape_run(lh_context *context, lh_node *stop)
{
    bool was_recording = context->recording;
    context->recording = false;
    while (context->tape && context->tape != stop) {
        lh_node *node = context->tape;
        context->tape = node->previous;
        bool reached = false;
        for (int i = 0; i < node->outs; i++) {
            reached |= node->out[i] && node->out[i]->grad;
        }
        if (reached && !node->view_source && !lh_op_stopped(context)) {
            lh_scope scope = lh_scope_begin(context);
            node->backward(context, node);
            lh_scope_end(context, scope, 0, NULL);
        }
        node_release(context, node);
    }
    context->recording = was_recording;
}

void lh_backward(lh_context *context, lh_tensor *loss, double seed_gradient)
{
    if (lh_op_stopped(context) || !loss) {
        return;
    }
    if (lh_tensor_count(loss) != 1) {
        lh_op_fail(context, LH_E_SHAPE, "backward", "the loss has %lld elements, not one",
                   (long long)lh_tensor_count(loss));
        return;
    }
    /* The loss may be a view, even of a parameter: then its gradient is a window that may hold something. */
    lh_tensor *buffer = loss->node ? grad_buffer(context, loss) : NULL;
    lh_tensor *seed = buffer ? lh_new_like(context, loss, false) : NULL;
    if (seed) {
        lh_fill_args fill = {.n = 1, .value = seed_gradient, .y = lh_tensor_data(seed)};
        lh_run(context, LH_KERNEL_FILL, loss->dtype, &fill);
        add_into(context, buffer, seed);
        lh_drop(context, seed);
    }
    tape_run(context, NULL);
    context->tape = NULL;
}

typedef struct recompute_options {
    lh_span function;
    void *user;
    uint64_t random_offset;
} recompute_options;

#define LH_RECOMPUTE_MAX 16

static void recompute_backward(lh_context *context, lh_node *node)
{
    const recompute_options *options = node->options;
    lh_tensor *inputs[LH_RECOMPUTE_MAX] = {NULL}, *outputs[LH_RECOMPUTE_MAX] = {NULL};
    for (int i = 0; i < node->ins; i++) {
        if (!node->in[i]) {
            continue;
        }
        lh_tensor *alias = lh_alias(context, node->saved[i]);
        inputs[i] = alias ? lh_packed(context, alias) : NULL; /* so that its gradient is laid out like it */
        if (!inputs[i]) {
            return;
        }
        if (inputs[i] != alias) {
            lh_drop(context, alias);
        }
        inputs[i]->requires_grad = node->in[i]->requires_grad;
        lh_pin(inputs[i]);
    }
    uint64_t random_offset = context->random_offset;
    bool was_recomputing = context->recomputing;
    context->random_offset = options->random_offset;
    context->recording = true;
    context->recomputing = true;
    lh_node *stop = context->tape;
    lh_scope scope = lh_scope_begin(context);
    options->function(context, options->user, inputs, outputs);
    lh_scope_end(context, scope, node->outs, outputs);
    context->recomputing = was_recomputing;
    context->random_offset = random_offset;
    for (int i = 0; i < node->outs && !lh_op_stopped(context); i++) {
        lh_tensor *gradient = node->out[i] ? node->out[i]->grad : NULL;
        if (gradient && outputs[i] && outputs[i]->requires_grad) {
            lh_tensor *buffer = grad_buffer(context, outputs[i]);
            lh_tensor *packed = lh_packed(context, gradient);
            if (buffer && packed) {
                add_into(context, buffer, packed);
            }
        }
    }
    tape_run(context, stop);
    context->recording = false;
    for (int i = 0; i < node->ins; i++) {
        if (inputs[i] && inputs[i]->grad) {
            lh_tensor *buffer = grad_buffer(context, node->in[i]);
            if (buffer) {
                add_into(context, buffer, inputs[i]->grad);
            }
            lh_drop(context, inputs[i]->grad);
        }
        lh_drop(context, inputs[i]);
    }
}

void lh_recompute(lh_context *context, lh_span function, void *user, int input_count, lh_tensor *const *inputs,
                  int output_count, lh_tensor **outputs)
{
    if (lh_op_stopped(context)) {
        return;
    }
    if (input_count > LH_RECOMPUTE_MAX || output_count > LH_RECOMPUTE_MAX) {
        lh_op_fail(context, LH_E_ARGUMENT, "recompute", "%d inputs and %d outputs, at most %d are possible",
                   input_count, output_count, LH_RECOMPUTE_MAX);
        return;
    }
    recompute_options options = {.function = function, .user = user, .random_offset = context->random_offset};
    bool was_recording = context->recording;
    context->recording = false;
    lh_scope scope = lh_scope_begin(context);
    function(context, user, inputs, outputs);
    lh_scope_end(context, scope, output_count, outputs);
    context->recording = was_recording;
    if (!was_recording || lh_op_stopped(context)) {
        return;
    }
    /* The span's results are nodes of their own here, also where it hands an input, a parameter or one result twice
     * straight through. */
    for (int i = 0; i < output_count; i++) {
        bool known = outputs[i] && outputs[i]->requires_grad;
        for (int j = 0; j < input_count + i && !known; j++) {
            known = outputs[i] && outputs[i] == (j < input_count ? inputs[j] : outputs[j - input_count]);
        }
        outputs[i] = known ? lh_alias(context, outputs[i]) : outputs[i];
    }
    if (!lh_op_stopped(context)) {
        lh_record(context, "recompute", recompute_backward, input_count, inputs, output_count, outputs, input_count,
                  inputs, &options, sizeof options);
    }
}
