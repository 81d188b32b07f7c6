/* What one iteration does: gradients, accumulation, memories, failures. */
#include "support/training.h"
#include "train/validate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void opened(tiny *t, const char *const *settings, lh_dtype dtype)
{
    if (tiny_open(t, settings, dtype) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
}

static lh_iteration step(tiny *t)
{
    lh_iteration result;
    if (lh_training_step(t->training, 0, &result, &t->error) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
    return result;
}

/* All parameters one after another. */
static double *parameters_of(const tiny *t, int64_t *count)
{
    const lh_parameters *list = &t->training->model->parameters;
    *count = lh_parameters_elements(list);
    double *values = malloc(sizeof *values * (size_t)*count), *at = values;
    for (int i = 0; i < list->count; i++) {
        assert_int_equal(lh_tensor_read(list->items[i].tensor, at, NULL), LH_OK);
        at += lh_tensor_count(list->items[i].tensor);
    }
    return values;
}

static void expect_near(const double *got, const double *wanted, int64_t count, double tolerance)
{
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs(got[i] - wanted[i]));
    }
    if (!(worst <= tolerance)) {
        fail_msg("parameters differ by %.3g", worst);
    }
}

/* Every method learns the text: well below the entropy of its tokens, and the loss that is reported is the mean
 * over the scored tokens. */
static void learns(void **state)
{
    (void)state;
    static const char *const kinds[][12] = {
        {"memory.kind=none", "train.learning_rate=1e-2", NULL},
        {TINY_XL, "train.learning_rate=1e-2", NULL},
        {TINY_COMPRESSIVE, "train.learning_rate=1e-2", NULL},
        {TINY_MEMORIZING, "train.learning_rate=1e-2", NULL},
        {TINY_VQ, "train.learning_rate=1e-2", NULL},
        {TINY_ROUTING, "train.learning_rate=1e-2", NULL},
    };
    for (int kind = 0; kind < 6; kind++) {
        tiny t;
        opened(&t, kinds[kind], LH_F32);
        lh_iteration first = step(&t), last = first;
        assert_true(fabs(first.sums.nats / first.sums.tokens - log(TINY_VOCAB)) < 1.0);
        assert_int_equal(first.sums.tokens, 16);
        double nats = 0, tokens = 0;
        for (int i = 0; i < 300; i++) {
            last = step(&t);
            nats += i >= 250 ? last.sums.nats : 0;
            tokens += i >= 250 ? last.sums.tokens : 0;
        }
        if (!(nats / tokens < 1.1)) {
            fail_msg("kind %d: loss %.3f after 300 steps", kind, nats / tokens);
        }
        assert_int_equal(t.training->iteration, 301);
        assert_int_equal(t.training->tokens, 301 * 16);
        assert_true(kind == 2 || kind >= 4 ? last.sums.auxiliary > 0 : last.sums.auxiliary == 0);
        tiny_close(&t);
    }
}

static void overfits_one_batch(void **state)
{
    (void)state;
    tiny t;
    const char *const settings[] = {"train.learning_rate=1e-2", "data.batch=1", "model.segment=16", NULL};
    opened(&t, settings, LH_F32);
    /* The stream starts anew before every step, so that each sees the same sixteen tokens. */
    lh_iteration result = {0};
    for (int i = 0; i < 150; i++) {
        lh_token_stream_rewind(t.training->tokens_in);
        result = step(&t);
    }
    assert_true(result.sums.nats / result.sums.tokens < 0.1);
    tiny_close(&t);
}

/* Specification of the Compressive Transformer, check 13: after p accumulated segments the parameters are those of
 * one update with the mean gradient, and the state has advanced by p segments. The gradients are computed here,
 * segment by segment, without the trainer. */
static void update_period_is_the_mean_gradient(void **state)
{
    (void)state;
    enum { P = 3 };
    tiny t, u;
    const char *const settings[] = {TINY_COMPRESSIVE,
                                    "train.optimizer=sgd",
                                    "train.momentum=0",
                                    "train.clip=0",
                                    "train.learning_rate=0.1",
                                    "train.update_period=3",
                                    NULL};
    opened(&t, settings, LH_F64);
    opened(&u, settings, LH_F64);
    int64_t count;
    double *mean = calloc((size_t)lh_parameters_elements(&u.training->model->parameters), sizeof *mean);
    double *start = parameters_of(&u, &count);
    lh_training *r = u.training;
    r->context->recording = r->context->training = true;
    for (int segment = 0; segment < P; segment++) {
        const lh_batch *batch;
        lh_forward forward;
        assert_int_equal(lh_token_stream_next(r->tokens_in, 8, &batch, NULL), LH_OK);
        lh_model_forward(r->context, r->model, r->parts[0], batch->inputs, 8, &forward);
        lh_tensor *loss = lh_model_loss(r->context, r->model, forward.hidden, batch->targets, NULL, NULL);
        loss = lh_add(r->context, lh_scale(r->context, loss, 1.0 / 16), forward.auxiliary);
        lh_backward(r->context, loss, 1.0);
        assert_int_equal(lh_context_status(r->context, &u.error), LH_OK);
        lh_stream_commit(r->parts[0], r->context);
        lh_context_reset(r->context);
        double *at = mean, *gradient = malloc(sizeof *gradient * (size_t)count);
        for (int i = 0; i < r->model->parameters.count; i++) {
            lh_tensor *grad = r->model->parameters.items[i].tensor->grad;
            int64_t n = lh_tensor_count(grad);
            assert_int_equal(lh_tensor_read(grad, gradient, NULL), LH_OK);
            for (int64_t j = 0; j < n; j++) {
                *at++ += gradient[j] / P;
            }
            memset(gradient, 0, sizeof *gradient * (size_t)n);
            assert_int_equal(lh_tensor_write(grad, gradient, NULL), LH_OK);
        }
        free(gradient);
    }
    for (int i = 0; i < P; i++) {
        lh_iteration result = step(&t);
        assert_int_equal(result.updated, i == P - 1);
        double *now = parameters_of(&t, &count);
        if (i < P - 1) {
            expect_near(now, start, count, 0);
        } else {
            for (int64_t j = 0; j < count; j++) {
                start[j] -= 0.1 * mean[j];
            }
            expect_near(now, start, count, 1e-13);
        }
        free(now);
    }
    assert_int_equal(t.training->parts[0]->memory->segments, P);
    free(mean);
    free(start);
    tiny_close(&t);
    tiny_close(&u);
}

static void update_period_begins_where_it_should(void **state)
{
    (void)state;
    tiny t;
    const char *const settings[] = {"train.update_period=4", "train.update_period_after=3", NULL};
    opened(&t, settings, LH_F32);
    static const bool updates[] = {true, true, true, false, false, false, true, false, false, false, true};
    for (size_t i = 0; i < sizeof updates; i++) {
        assert_int_equal(step(&t).updated, updates[i]);
    }
    assert_int_equal(t.training->optimizer->updates, 5);
    tiny_close(&t);
}

/* The lanes of a step in one part, in two, and in four, give the same parameters. Lanes of different lengths
 * (padding behind documents) weigh by their tokens. */
static void parts_of_a_step_add_up(void **state)
{
    (void)state;
    double *wanted = NULL;
    int64_t count;
    static const char *const parts[] = {"train.accumulate=1", "train.accumulate=2", "train.accumulate=4"};
    for (int i = 0; i < 3; i++) {
        tiny t;
        const char *const settings[] = {TINY_COMPRESSIVE,
                                        parts[i],
                                        "data.batch=4",
                                        "data.layout=documents",
                                        "data.reset_at_document=true",
                                        "train.learning_rate=1e-2",
                                        NULL};
        opened(&t, settings, LH_F64);
        double padded = 0;
        for (int j = 0; j < 12; j++) {
            padded += step(&t).sums.tokens < 32;
        }
        assert_true(padded > 0);
        double *got = parameters_of(&t, &count);
        if (wanted) {
            expect_near(got, wanted, count, 1e-10);
            free(got);
        } else {
            wanted = got;
        }
        tiny_close(&t);
    }
    free(wanted);
}

static void recomputing_changes_nothing(const char *const *method)
{
    double *wanted = NULL;
    int64_t count;
    static const char *const recompute[] = {"train.recompute=false", "train.recompute=true"};
    for (int i = 0; i < 2; i++) {
        tiny t;
        const char *settings[32] = {recompute[i]};
        for (int j = 0; method[j]; j++) {
            settings[j + 1] = method[j];
        }
        opened(&t, settings, LH_F64);
        for (int j = 0; j < 8; j++) {
            (void)step(&t);
        }
        double *got = parameters_of(&t, &count);
        if (i % 2 == 1) {
            expect_near(got, wanted, count, 0);
            free(wanted);
            free(got);
        } else {
            wanted = got;
        }
        tiny_close(&t);
    }
}

static void recomputing_layers_changes_nothing(void **state)
{
    (void)state;
    static const char *const methods[][24] = {
        {TINY_COMPRESSIVE, TINY_DROPOUT, NULL},
        {TINY_XL, "train.unroll=3", NULL},
        {TINY_MEMORIZING, "train.unroll=2", NULL},
        {TINY_VQ, TINY_VQ_DROPOUT, "train.unroll=3", NULL},
        {TINY_VQ, "model.mlp=false", "data.layout=documents", "data.reset_at_document=true", NULL},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        recomputing_changes_nothing(methods[i]);
    }
}

/* A lane whose document begins has forgotten the one before: with a rate of 0 its loss is that of a fresh memory.
 */
static void documents_reset_their_lane(void **state)
{
    (void)state;
    double losses[2][40];
    for (int reset = 0; reset < 2; reset++) {
        tiny t;
        const char *const settings[] = {TINY_XL,
                                        "data.layout=documents",
                                        "data.batch=1",
                                        reset ? "data.reset_at_document=true" : "data.reset_at_document=false",
                                        "train.learning_rate=0",
                                        "data.shuffle=false",
                                        NULL};
        opened(&t, settings, LH_F64);
        int starts = 0;
        for (int i = 0; i < 40; i++) {
            losses[reset][i] = step(&t).sums.nats;
            starts += t.training->reset[0];
            if (t.training->reset[0] && i > 0) {
                /* Segments of this document in a stream of its own. */
                lh_training *r = t.training;
                lh_stream *fresh;
                lh_forward forward;
                assert_int_equal(lh_stream_create(&fresh, r->model, 1, false, NULL), LH_OK);
                r->context->recording = false;
                lh_model_forward(r->context, r->model, fresh, r->inputs, 8, &forward);
                lh_tensor *loss = lh_model_loss(r->context, r->model, forward.hidden, r->targets, NULL, NULL);
                assert_true(fabs(lh_scalar(r->context, loss) - losses[reset][i]) < 1e-9);
                lh_stream_rollback(fresh);
                lh_context_reset(r->context);
                lh_stream_free(fresh);
            }
        }
        assert_true(reset ? starts > 3 : starts == 0);
        tiny_close(&t);
    }
    assert_true(fabs(losses[0][39] - losses[1][39]) > 1e-6);
}

/* Two segments in one graph: the compression networks learn from the task when the gradient may flow between them.
 */
static void unrolled_segments_reach_the_compression(void **state)
{
    (void)state;
    static const char *const detach[] = {"memory.detach=true", "memory.detach=false"};
    for (int flow = 0; flow < 2; flow++) {
        tiny t;
        const char *const settings[] = {TINY_COMPRESSIVE, "memory.loss=none", "train.unroll=2", detach[flow], NULL};
        opened(&t, settings, LH_F64);
        double norm = 0;
        for (int i = 0; i < 4; i++) {
            lh_iteration result = step(&t);
            assert_int_equal(result.sums.tokens, 32);
            norm = result.norms.group[LH_GROUP_COMPRESSOR];
        }
        assert_true(flow ? norm > 1e-6 : norm == 0);
        assert_int_equal(t.training->parts[0]->memory->segments, 8);
        tiny_close(&t);
    }
}

/* The loss of held-out text, computed here segment by segment; and the training goes on as if nobody had looked. */
static void validation_is_the_plain_loss(void **state)
{
    (void)state;
    enum { LANES = 2, SEGMENTS = 10, LANE = 8 * SEGMENTS + 1 };
    tiny t, u;
    const char *const settings[] = {TINY_COMPRESSIVE, TINY_DROPOUT, "train.update_period=2", NULL};
    opened(&t, settings, LH_F64);
    opened(&u, settings, LH_F64);
    for (int i = 0; i < 5; i++) {
        (void)step(&t);
        (void)step(&u);
    }
    lh_training *r = u.training;
    lh_validation validation;
    assert_int_equal(lh_validate(t.training, t.split, LANES * LANE, LANES, NULL, NULL, &validation, &t.error),
                     LH_OK);
    lh_loss_sums sums = validation.sums;
    assert_false(validation.answered);
    int32_t tokens[LANES * LANE];
    assert_int_equal(lh_split_copy(u.split, 0, LANES * LANE, tokens, NULL), LH_OK);
    lh_stream *fresh;
    assert_int_equal(lh_stream_create(&fresh, r->model, LANES, false, NULL), LH_OK);
    r->context->recording = r->context->training = false;
    double nats = 0, bytes = 0;
    for (int segment = 0; segment < SEGMENTS; segment++) {
        int32_t inputs[LANES * 8], targets[LANES * 8];
        lh_forward forward;
        for (int i = 0; i < LANES * 8; i++) {
            int at = i / 8 * LANE + segment * 8 + i % 8;
            inputs[i] = tokens[at];
            targets[i] = tokens[at + 1];
            bytes += t.token_bytes[targets[i]];
        }
        lh_model_forward(r->context, r->model, fresh, inputs, 8, &forward);
        nats += lh_scalar(r->context, lh_model_loss(r->context, r->model, forward.hidden, targets, NULL, NULL));
        lh_stream_commit(fresh, r->context);
        lh_context_reset(r->context);
    }
    lh_stream_free(fresh);
    assert_int_equal(sums.tokens, LANES * 8 * SEGMENTS);
    assert_true(sums.bytes == bytes);
    assert_true(fabs(sums.nats - nats) < 1e-9 * nats);
    for (int i = 0; i < 5; i++) {
        assert_true(step(&t).sums.nats == step(&u).sums.nats);
    }
    tiny_close(&t);
    tiny_close(&u);
}

/* What is learned without gradients is no optimizer's: learning rate, clipping and weight decay do not touch it,
 * and it counts in no norm. */
static void codebooks_are_no_optimizers(void **state)
{
    (void)state;
    static const char *const settings[][3] = {
        {"train.learning_rate=1e-3", "train.clip=0", "train.weight_decay=0"},
        {"train.learning_rate=0.5", "train.clip=1e-3", "train.weight_decay=0.5"},
        {"train.learning_rate=0.1", "train.optimizer=sgd", "train.weight_decay=0.1"},
    };
    float *first = NULL;
    for (int i = 0; i < 3; i++) {
        const char *const all[] = {TINY_VQ,        "memory.commitment=0", settings[i][0],
                                   settings[i][1], settings[i][2],        NULL};
        tiny t;
        opened(&t, all, LH_F32);
        lh_tensor *sum = lh_parameters_find(&t.training->model->parameters, "layers.1.memory.codebook.sum")->tensor;
        size_t bytes = (size_t)lh_tensor_count(sum) * sizeof(float);
        float *before = malloc(bytes), *after = malloc(bytes);
        assert_int_equal(lh_tensor_read(sum, before, NULL), LH_OK);
        lh_iteration result = step(&t);
        assert_int_equal(lh_tensor_read(sum, after, NULL), LH_OK);
        assert_null(sum->grad);
        assert_true(result.norms.group[LH_GROUP_MAIN] > 0 && result.norms.group[LH_GROUP_STATISTICS] == 0);
        assert_memory_not_equal(before, after, bytes);
        if (first) {
            assert_memory_equal(first, after, bytes);
            free(after);
        } else {
            first = after;
        }
        free(before);
        tiny_close(&t);
    }
    free(first);
}

static void no_allocation_per_step(void **state)
{
    (void)state;
    static const char *const kinds[][16] = {
        {TINY_XL, TINY_DROPOUT, NULL},
        {TINY_COMPRESSIVE, "train.update_period=3", NULL},
        {TINY_COMPRESSIVE, "train.accumulate=2", "train.recompute=true", NULL},
        {TINY_COMPRESSIVE, "train.unroll=2", "memory.detach=false", NULL},
        {"memory.kind=none", "train.optimizer=adafactor", "train.factor_from=2", NULL},
        {TINY_VQ, TINY_VQ_DROPOUT, "train.unroll=2", "memory.detach=false", NULL},
        {TINY_VQ, "memory.restart_below=0.5", "memory.absolute_positions=true", "train.accumulate=2", NULL},
        {"memory.kind=perceiver-ar", "memory.inputs=12", "model.positions=rotary", "data.layout=crops",
         "data.minimum_crop=12", "train.z_loss=1e-4", "train.loss=sum", NULL},
        {TINY_ROUTING, NULL},
        {TINY_ROUTING, "memory.routing=full", "train.accumulate=2", NULL},
        {TINY_BLOCKS, "memory.gate=lstm", "memory.feedback=true", "data.layout=documents",
         "data.reset_at_document=true", NULL},
    };
    for (int kind = 0; kind < 11; kind++) {
        tiny t;
        opened(&t, kinds[kind], LH_F32);
        int settled = kind == 1 ? 3 : 1; /* the first update is part of the first round */
        for (int i = 0; i < settled; i++) {
            (void)step(&t);
        }
        uint64_t before = lh_heap_allocations();
        for (int i = 0; i < 8; i++) {
            (void)step(&t);
        }
        if (lh_heap_allocations() != before) {
            fail_msg("kind %d: %d heap allocations in 8 steps", kind, (int)(lh_heap_allocations() - before));
        }
        tiny_close(&t);
    }
}

/* Sets the middle element, or all. */
static void plant(lh_tensor *tensor, double value, bool all)
{
    int64_t count = lh_tensor_count(tensor);
    float *host = calloc((size_t)count, sizeof *host);
    assert_int_equal(lh_tensor_read(tensor, host, NULL), LH_OK);
    for (int64_t i = 0; i < count; i++) {
        host[i] = all || i == count / 2 ? (float)value : host[i];
    }
    assert_int_equal(lh_tensor_write(tensor, host, NULL), LH_OK);
    free(host);
}

static void expect_stop(tiny *t, const char *what)
{
    lh_iteration result;
    if (lh_training_step(t->training, 0, &result, &t->error) != LH_E_NUMERIC) {
        fail_msg("nothing stopped the training although %s is broken: loss %g", what, result.sums.nats);
    }
    if (!strstr(t->error.message, "step 4") || !strstr(t->error.message, what)) {
        fail_msg("the message does not name the step and '%s': %s", what, t->error.message);
    }
}

static void broken_tensors_are_named(void **state)
{
    (void)state;
    const char *const settings[] = {TINY_XL, NULL};
    for (int kind = 0; kind < 4; kind++) {
        tiny t;
        opened(&t, settings, LH_F32);
        for (int i = 0; i < 3; i++) {
            (void)step(&t);
        }
        lh_training *r = t.training;
        switch (kind) {
        case 0:
            plant(r->model->layers[1].up, NAN, false);
            expect_stop(&t, r->model->layers[1].up->name);
            break;
        case 1: /* what is remembered */
            plant(r->parts[0]->memory->state[0].stored, INFINITY, false);
            expect_stop(&t, r->parts[0]->memory->state[0].name);
            break;
        case 2: /* finite, but its product is not */
            plant(r->model->layers[0].down, 3e38, true);
            expect_stop(&t, "a result of");
            break;
        default: { /* a gradient that overflows while the loss does not */
            plant(r->model->layers[0].query->grad, NAN, false);
            expect_stop(&t, r->model->layers[0].query->name);
            break;
        }
        }
        assert_int_equal(r->iteration, 3);
        assert_int_equal(r->optimizer->updates, 3);
        tiny_close(&t);
    }
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *settings[16], *message;
    } cases[] = {
        {{"train.steps=0"}, "train.steps, train.tokens or train.minutes"},
        {{"train.accumulate=3"}, "does not divide data.batch = 2"},
        {{"train.unroll=2", "train.forget_every=5"}, "forget_every"},
        {{"train.unroll=2", "memory.detach=false", "train.recompute=true"}, "recompute"},
        {{TINY_BLOCKS, "memory.detach=true"}, "parts of it would never learn"},
        {{TINY_BLOCKS, "train.unroll=1"}, "parts of it would never learn"},
        {{TINY_BLOCKS, "train.recompute=true"}, "recompute"},
        {{"model.vocab=5"}, "smaller than the tokenizer's 11"},
        {{"data.batch=4000"}, "4000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny t;
        lh_status status = tiny_open(&t, cases[i].settings, LH_F32);
        if (status != LH_E_CONFIG || !strstr(t.error.message, cases[i].message)) {
            fail_msg("case %d: %s", (int)i, t.error.message);
        }
        tiny_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns),
        cmocka_unit_test(overfits_one_batch),
        cmocka_unit_test(update_period_is_the_mean_gradient),
        cmocka_unit_test(update_period_begins_where_it_should),
        cmocka_unit_test(parts_of_a_step_add_up),
        cmocka_unit_test(recomputing_layers_changes_nothing),
        cmocka_unit_test(documents_reset_their_lane),
        cmocka_unit_test(unrolled_segments_reach_the_compression),
        cmocka_unit_test(validation_is_the_plain_loss),
        cmocka_unit_test(codebooks_are_no_optimizers),
        cmocka_unit_test(no_allocation_per_step),
        cmocka_unit_test(broken_tensors_are_named),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests_name("train_step", tests, NULL, NULL);
}
