/* Small Block-Recurrent Transformers in double precision, and reading texts with them block by block. */
#ifndef LH_TESTS_BLOCK_RECURRENT_H
#define LH_TESTS_BLOCK_RECURRENT_H

#include "support/tiny_model.h"

#define STYLE                                                                                                      \
    "model.norm=rms", "model.norm_eps=1e-6", "model.qk_norm=l2", "model.head_scale=true", "model.null_logit=true", \
        "model.see_self=false", "model.t5_scaled=true", "model.positions=t5", "model.t5_buckets=8",                \
        "model.t5_distance=12", "model.init=fan-in", "model.projection_bias=false", "model.hidden_bias=false",     \
        "model.output_bias=false", "model.embedding_scaled=false"
#define SIZES \
    "model.layers=3", "model.width=16", "model.heads=2", "model.hidden=24", "model.segment=4", "memory.window=4"
#define PLAIN SIZES, STYLE, "memory.kind=window"
#define RECURRENT SIZES, STYLE, "memory.kind=block-recurrent", "memory.states=5", "memory.recurrent_layers=-2"

enum { VOCAB = 11, W = 4, D = 16, S = 5, LANES = 2 };

/* Blocks first .. first+blocks-1 of `tokens` [lanes, total] in one graph; the losses of blocks from `scored` on are
 * added up. Logits [blocks][lanes * W][VOCAB] unless NULL. With a recording context gradients are added. */
static inline double read_blocks(tiny *t, const int32_t *tokens, int64_t total, int64_t first, int64_t blocks,
                                 int64_t scored, double *logits)
{
    lh_error error = {0};
    int64_t lanes = t->stream->batch;
    int32_t piece[8 * W], targets[8 * W];
    lh_tensor *sum = NULL;
    for (int64_t b = 0; b < blocks; b++) {
        for (int64_t i = 0; i < lanes * W; i++) {
            int64_t at = i / W * total + (first + b) * W + i % W;
            piece[i] = tokens[at];
            targets[i] = (first + b) * W + i % W + 1 < total ? tokens[at + 1] : -1;
        }
        lh_forward forward;
        lh_model_forward(t->context, t->model, t->stream, piece, W, &forward);
        if (logits) {
            lh_to_host(t->context, lh_model_logits(t->context, t->model, forward.hidden),
                       logits + b * lanes * W * VOCAB);
        }
        lh_tensor *loss = lh_model_loss(t->context, t->model, forward.hidden, targets, NULL, NULL);
        if (b >= scored) {
            sum = sum ? lh_add(t->context, sum, loss) : loss;
        }
    }
    double value = sum ? lh_scalar(t->context, sum) : 0.0;
    if (t->context->recording && sum) {
        lh_backward(t->context, sum, 1.0);
    }
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
    return value;
}

static inline tiny create(const char *const *arguments, int64_t lanes)
{
    tiny t = tiny_create(arguments, lanes, 3);
    t.stream->memory->keep_graph = true;
    t.context->exec.threads = 1; /* so little work is slower on two */
    return t;
}

static inline void start_again(tiny *t)
{
    lh_error error = {0};
    tiny_check(lh_stream_reset(t->stream, t->context, -1, &error), &error);
}

static inline void text(int32_t *tokens, int64_t count)
{
    lh_random random = lh_random_create(17, 3);
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, VOCAB);
    }
}

static inline void expect_near(const double *a, const double *b, int64_t count, double tolerance, const char *what)
{
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= tolerance * (1.0 + fabs(b[i])))) {
            fail_msg("%s, element %lld: %.17g instead of %.17g", what, (long long)i, a[i], b[i]);
        }
    }
}

static inline bool differs(const double *a, const double *b, int64_t count, double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        if (fabs(a[i] - b[i]) > tolerance) {
            return true;
        }
    }
    return false;
}

static inline void copy_parameters(tiny *to, const tiny *from)
{
    for (int i = 0; i < to->model->parameters.count; i++) {
        lh_parameter *p = &to->model->parameters.items[i];
        memcpy(lh_tensor_data(p->tensor), tiny_values(from, p->name),
               sizeof(double) * (size_t)lh_tensor_count(p->tensor));
    }
}

static inline void fill(const tiny *t, const char *name, double value)
{
    double *x = tiny_values(t, name);
    int64_t count = lh_tensor_count(lh_parameters_find(&t->model->parameters, name)->tensor);
    for (int64_t i = 0; i < count; i++) {
        x[i] = value;
    }
}

static inline const double *state_of(const tiny *t)
{
    return lh_tensor_data(tiny_state(t, "layers.1.state"));
}

#endif
