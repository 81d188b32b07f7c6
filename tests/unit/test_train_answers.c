/* Training on text that says which tokens are answers: their loss alone, whatever the layout, and how many are
 * right. */
#include "support/training.h"
#include "train/validate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t some[TINY_TOKENS], all[TINY_TOKENS];

/* Answers come in groups: most segments of 8 tokens have none. */
static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < TINY_TOKENS; i++) {
        some[i] = i % 40 < 5 ? LH_ANSWER : 0;
        all[i] = LH_ANSWER;
    }
    return 0;
}

static void opened(tiny *t, const uint32_t *answers, const char *const *settings)
{
    tiny_answers = answers;
    if (tiny_open(t, settings, LH_F64) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
    tiny_answers = NULL;
}

static lh_iteration step(tiny *t)
{
    lh_iteration result;
    if (lh_training_step(t->training, 0, &result, &t->error) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
    return result;
}

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

static void assert_same_parameters(const tiny *a, const tiny *b, double tolerance)
{
    int64_t count, other;
    double *x = parameters_of(a, &count), *y = parameters_of(b, &other), worst = 0;
    assert_int_equal(count, other);
    for (int64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs(x[i] - y[i]));
    }
    if (worst > tolerance) {
        fail_msg("parameters differ by %.3g", worst);
    }
    free(x);
    free(y);
}

#define LAYOUTS 3
static const char *const layouts[LAYOUTS][2] = {{"data.layout=lanes", NULL},
                                                {"data.layout=documents", "data.reset_at_document=true"},
                                                {"data.layout=crops", NULL}};

/* Where every token is an answer, or all are wanted, everything is as if nothing was known about answers. */
static void all_tokens_are_an_ordinary_text(void **state)
{
    (void)state;
    for (int layout = 0; layout < LAYOUTS; layout++) {
        const char *settings[8] = {TINY_COMPRESSIVE, layouts[layout][0], layouts[layout][1]};
        tiny plain, every, wanted;
        opened(&plain, NULL, settings);
        opened(&every, all, settings);
        settings[layouts[layout][1] ? 6 : 5] = "data.scored=all";
        opened(&wanted, some, settings);
        for (int i = 0; i < 6; i++) {
            lh_iteration a = step(&plain), b = step(&every), c = step(&wanted);
            assert_true(a.sums.nats == b.sums.nats && a.sums.nats == c.sums.nats);
            assert_true(a.sums.tokens == b.sums.tokens && a.sums.tokens == c.sums.tokens);
            assert_int_equal(a.read, b.read);
        }
        assert_same_parameters(&plain, &every, 0);
        assert_same_parameters(&plain, &wanted, 0);
        tiny_close(&plain);
        tiny_close(&every);
        tiny_close(&wanted);
    }
}

/* One step is one step along the gradient of the answers' mean loss, which is made here without the trainer. The
 * model reads everything, and what has no answer moves nothing. */
static void answers_alone_are_learned(void **state)
{
    (void)state;
    for (int layout = 0; layout < LAYOUTS; layout++) {
        const char *const settings[] = {TINY_XL,
                                        "train.optimizer=sgd",
                                        "train.momentum=0",
                                        "train.clip=0",
                                        "train.learning_rate=0.1",
                                        layouts[layout][0],
                                        layouts[layout][1],
                                        NULL};
        int idle = 0, learned = 0;
        tiny t, u;
        opened(&t, some, settings);
        opened(&u, some, settings);
        lh_training *r = u.training;
        r->context->recording = r->context->training = true;
        for (int i = 0; i < 25; i++) {
            const lh_batch *batch;
            lh_forward forward;
            int32_t targets[16];
            double answers = 0, nats = 0;
            assert_int_equal(lh_token_stream_next(r->tokens_in, 8, &batch, NULL), LH_OK);
            for (int lane = 0; lane < 2; lane++) {
                bool chain = batch->flags[lane * 8] & LH_INPUT_CHAIN_START;
                if (chain && layout > 0) {
                    assert_int_equal(lh_stream_reset(r->parts[0], r->context, lane, NULL), LH_OK);
                }
            }
            for (int c = 0; c < 16; c++) {
                uint32_t answer = 0;
                if (batch->documents[c] >= 0) {
                    lh_document document = lh_split_document(u.split, (uint64_t)batch->documents[c]);
                    answer = some[document.start + (uint64_t)batch->positions[c]];
                }
                targets[c] = answer ? batch->targets[c] : -1;
                answers += answer != 0;
            }
            lh_model_forward(r->context, r->model, r->parts[0], batch->inputs, 8, &forward);
            lh_tensor *loss = lh_model_loss(r->context, r->model, forward.hidden, targets, NULL, NULL);
            nats = lh_scalar(r->context, loss);
            lh_backward(r->context, loss, answers > 0 ? 1.0 / answers : 0.0);
            lh_stream_commit(r->parts[0], r->context);
            for (int p = 0; p < r->model->parameters.count; p++) {
                lh_tensor *tensor = r->model->parameters.items[p].tensor;
                lh_sgd_args args = {.n = lh_tensor_count(tensor),
                                    .lr = 0.1,
                                    .grad_scale = 1,
                                    .clear_grad = true,
                                    .param = lh_tensor_data(tensor),
                                    .grad = lh_tensor_data(tensor->grad)};
                lh_run(r->context, LH_KERNEL_SGD, LH_F64, &args);
            }
            assert_int_equal(lh_context_status(r->context, &u.error), LH_OK);
            lh_context_reset(r->context);
            lh_iteration result = step(&t);
            assert_true(result.sums.tokens == answers);
            assert_true(fabs(result.sums.nats - nats) < 1e-10);
            assert_int_equal(result.updated, answers > 0);
            assert_int_equal(t.training->pending, 0);
            assert_in_range(result.read, 1, 16);
            assert_same_parameters(&t, &u, 1e-12);
            idle += answers == 0;
            learned += answers > 0;
        }
        assert_true(idle > 2 && learned > 2);
        tiny_close(&t);
        tiny_close(&u);
    }
}

/* Segments without an answer do not count towards an update. */
static void periods_count_answers(void **state)
{
    (void)state;
    const char *const settings[] = {TINY_XL, "train.update_period=3", NULL};
    tiny t;
    int since = 0, updates = 0;
    opened(&t, some, settings);
    for (int i = 0; i < 60; i++) {
        lh_iteration result = step(&t);
        since += result.sums.tokens > 0;
        assert_int_equal(result.updated, result.sums.tokens > 0 && since == 3);
        since = result.updated ? 0 : since;
        updates += result.updated;
        assert_int_equal(t.training->pending, since);
    }
    assert_true(updates > 2);
    tiny_close(&t);
}

/* The accuracy of a validation against a loop over all logits; and a validation of the split's beginning only. */
static void validation_counts_what_is_right(void **state)
{
    (void)state;
    const char *const settings[] = {TINY_XL, "train.learning_rate=1e-2", "data.scored=all", NULL};
    static const int64_t limits[] = {0, 333};
    tiny t;
    opened(&t, some, settings);
    for (int i = 0; i < 200; i++) {
        (void)step(&t);
    }
    for (int limit = 0; limit < 2; limit++) {
        lh_training *r = t.training;
        lh_validation got;
        int64_t count = limits[limit] ? limits[limit] : TINY_TOKENS, cells = (count - 1) / 8;
        double right = 0, nats = 0, answers = 0;
        int32_t *tokens = malloc(sizeof *tokens * (size_t)(count + 8));
        assert_int_equal(lh_validate(r, t.split, limits[limit], 1, NULL, NULL, &got, &t.error), LH_OK);
        assert_true(got.answered);
        assert_int_equal(lh_split_copy(t.split, 0, (uint64_t)count, tokens, NULL), LH_OK);
        lh_stream *fresh;
        assert_int_equal(lh_stream_create(&fresh, r->model, 1, false, NULL), LH_OK);
        r->context->recording = r->context->training = false;
        for (int64_t s = 0; s <= cells; s++) {
            lh_forward forward;
            double logits[8 * TINY_VOCAB];
            int32_t inputs[8] = {0};
            for (int64_t i = 0; i < 8 && s * 8 + i + 1 < count; i++) {
                inputs[i] = tokens[s * 8 + i];
            }
            lh_model_forward(r->context, r->model, fresh, inputs, 8, &forward);
            lh_to_host(r->context,
                       lh_log_softmax(r->context, lh_model_logits(r->context, r->model, forward.hidden)), logits);
            for (int64_t i = 0; i < 8 && s * 8 + i + 1 < count; i++) {
                int64_t at = s * 8 + i + 1;
                const double *row = logits + i * TINY_VOCAB;
                int best = 0;
                for (int v = 1; v < TINY_VOCAB; v++) {
                    best = row[v] > row[best] ? v : best;
                }
                answers += some[at] != 0;
                right += some[at] && best == tokens[at];
                nats -= some[at] ? row[tokens[at]] : 0;
            }
            lh_stream_commit(fresh, r->context);
            lh_context_reset(r->context);
        }
        lh_stream_free(fresh);
        assert_true(got.sums.tokens == answers && got.right == right);
        assert_true(fabs(got.sums.nats - nats) < 1e-9 * nats);
        assert_true(right > answers / 2 && right < answers);
        assert_true(lh_validation_accuracy(&got) == right / answers);
        free(tokens);
    }
    assert_true(isnan(lh_validation_accuracy(&(lh_validation){.answered = true})));
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_tokens_are_an_ordinary_text),
        cmocka_unit_test(answers_alone_are_learned),
        cmocka_unit_test(periods_count_answers),
        cmocka_unit_test(validation_counts_what_is_right),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
