/* Perceiver AR in the trainer: crops become prefix and latents, the published gradient rules, and it learns to
 * copy. */
#include "support/training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#define PERCEIVER                                                                                        \
    "memory.kind=perceiver-ar", "model.tied=false", "model.embedding_scaled=false", "model.init=fan-in", \
        "model.attention_bias=true", "model.activation=relu2"

static void opened(tiny *t, const char *const *settings, lh_dtype dtype)
{
    if (tiny_open(t, settings, dtype) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
}

static lh_iteration step(tiny *t, double progress)
{
    lh_iteration result;
    if (lh_training_step(t->training, progress, &result, &t->error) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
    return result;
}

/* ---- crops ---- */

/* A lane's prefix and segments are one piece of its document, in order, the last of which are segments; every
 * target follows its input. */
static void check_lane(const tiny *t, int64_t lane, int64_t *shortest, int64_t *longest)
{
    const lh_training *training = t->training;
    int64_t n = training->model->config.segment, unroll = training->config.unroll, batch = training->config.batch;
    int32_t row[128], text[128];
    int64_t count = 0, prefix = 0, latents = 0;
    for (int64_t i = 0; i < training->before; i++) {
        int32_t id = training->prefix[lane * training->before + i];
        assert_true(id >= 0 || count == 0); /* -1 in front only */
        if (id >= 0) {
            row[count++] = id;
        }
    }
    prefix = count;
    int32_t last = -1;
    for (int64_t u = 0; u < unroll; u++) {
        for (int64_t i = 0; i < n; i++) {
            int64_t at = (u * batch + lane) * n + i;
            assert_int_equal(training->valid[at], training->targets[at] >= 0);
            if (training->valid[at]) {
                assert_int_equal(count - prefix, latents); /* padding at the end only */
                assert_true(latents == 0 || training->inputs[at] == last);
                row[count++] = training->inputs[at];
                last = training->targets[at];
                latents++;
            }
        }
    }
    assert_true(latents == n * unroll || prefix == 0); /* a short crop is all latents */
    row[count++] = last;
    /* Somewhere in the text it stands like this, prefix_start tokens behind the beginning of a document. */
    bool found = false;
    for (uint64_t d = 0; d < t->split->documents && !found; d++) {
        lh_document document = lh_split_document(t->split, d);
        uint64_t start = (uint64_t)training->prefix_start[lane];
        if (start + (uint64_t)count <= document.tokens) {
            assert_int_equal(lh_split_copy(t->split, document.start + start, (uint64_t)count, text, NULL), LH_OK);
            found = memcmp(text, row, sizeof *row * (size_t)count) == 0;
        }
    }
    assert_true(found);
    *shortest = count - 1 < *shortest ? count - 1 : *shortest;
    *longest = count - 1 > *longest ? count - 1 : *longest;
}

static void crops_become_latents(void **state)
{
    (void)state;
    static const char *const cases[][14] = {
        {PERCEIVER, "model.positions=rotary", "memory.inputs=24", "data.layout=crops", "data.batch=4", NULL},
        {PERCEIVER, "model.positions=none", "memory.position_table=sinusoidal", "memory.position_rows=2000",
         "memory.inputs=20", "data.layout=crops", "data.batch=4", "train.accumulate=2", NULL},
        {PERCEIVER, "model.positions=rotary", "memory.inputs=24", "data.layout=crops", "data.batch=4",
         "train.unroll=2", "data.crop_documents=each-once", NULL},
    };
    static const int64_t most[] = {24, 20,
                                   32}; /* what is seen: M, and one segment more for a second in the graph */
    for (int i = 0; i < 3; i++) {
        tiny t;
        int64_t shortest = 1000, longest = 0;
        opened(&t, cases[i], LH_F32);
        for (int k = 0; k < 200; k++) {
            lh_iteration result = step(&t, 0.0);
            double scored = 0;
            for (int64_t lane = 0; lane < 4; lane++) {
                check_lane(&t, lane, &shortest, &longest);
            }
            for (int64_t j = 0; j < 4 * 8 * t.training->config.unroll; j++) {
                scored += t.training->targets[j] >= 0;
            }
            assert_true(result.sums.tokens == scored);
        }
        assert_int_equal(longest, most[i]);
        assert_int_equal(shortest, 8); /* the shortest crop leaves all latents filled: model.segment */
        tiny_close(&t);
    }
}

/* A text that is read on needs no crops: the memory holds what stood before. The loss falls. */
static void streams_train(void **state)
{
    (void)state;
    static const char *const cases[][14] = {
        {PERCEIVER, "model.positions=rotary", "memory.inputs=24", "train.learning_rate=5e-3", NULL},
        {PERCEIVER, "model.positions=rotary", "memory.inputs=24", "train.learning_rate=5e-3", "train.unroll=3",
         NULL},
        {PERCEIVER, "model.positions=rotary", "memory.inputs=24", "train.learning_rate=5e-3",
         "data.layout=documents", "data.reset_at_document=true", NULL},
    };
    for (int i = 0; i < 3; i++) {
        tiny t;
        double first = 0, last = 0;
        opened(&t, cases[i], LH_F32);
        for (int k = 0; k < 160; k++) {
            lh_iteration result = step(&t, 0.0);
            double loss = result.sums.nats / result.sums.tokens;
            first += k < 10 ? loss / 10.0 : 0.0;
            last += k >= 150 ? loss / 10.0 : 0.0;
        }
        if (!(last < 0.7 * first)) {
            fail_msg("case %d: the loss went from %g to %g", i, first, last);
        }
        tiny_close(&t);
    }
}

/* ---- 13. the gradient's norm ---- */

static void compare_parameters(const tiny *a, const tiny *b, double bound)
{
    for (int i = 0; i < a->training->model->parameters.count; i++) {
        const lh_parameter *p = &a->training->model->parameters.items[i];
        const double *x = lh_tensor_data(p->tensor);
        const double *y = lh_tensor_data(b->training->model->parameters.items[i].tensor);
        for (int64_t j = 0; j < lh_tensor_count(p->tensor); j++) {
            if (!(fabs(x[j] - y[j]) <= bound * (1.0 + fabs(y[j])))) {
                fail_msg("%s[%d]: %.12g and %.12g", p->name, (int)j, x[j], y[j]);
            }
        }
    }
}

/* The sum's gradient clipped at 1 is the mean's gradient brought to norm 1. */
static void sums_and_unit_norms(void **state)
{
    (void)state;
    const char *sum[] = {PERCEIVER,
                         "model.positions=rotary",
                         "memory.inputs=24",
                         "data.layout=crops",
                         "train.optimizer=sgd",
                         "train.loss=sum",
                         "train.clip=1",
                         NULL};
    const char *unit[] = {PERCEIVER,
                          "model.positions=rotary",
                          "memory.inputs=24",
                          "data.layout=crops",
                          "train.optimizer=sgd",
                          "train.clip=1",
                          "train.clip_rule=always",
                          NULL};
    const char *mean[] = {PERCEIVER,
                          "model.positions=rotary",
                          "memory.inputs=24",
                          "data.layout=crops",
                          "train.optimizer=sgd",
                          "train.clip=1",
                          NULL};
    tiny a, b, c;
    opened(&a, sum, LH_F64);
    opened(&b, unit, LH_F64);
    opened(&c, mean, LH_F64);
    for (int k = 0; k < 5; k++) {
        lh_iteration x = step(&a, 0.0), y = step(&b, 0.0);
        assert_true(fabs(x.norms.total - y.norms.total * x.sums.tokens) < 1e-9 * x.norms.total);
        assert_true(x.norms.total > 1.0 && x.sums.nats == y.sums.nats);
    }
    compare_parameters(&a, &b, 1e-12);
    lh_iteration z = step(&c, 0.0);
    assert_true(z.norms.total < 1.0 || fabs(z.norms.total - 1.0) > 1e-3); /* so the rules differ */
    tiny_close(&a);
    tiny_close(&b);
    tiny_close(&c);
}

/* ---- learning ---- */

enum { ROW = 32, HALF = 15, DOCUMENTS = 30000, COPY_VOCAB = 259 };

/* [start, payload, payload backwards, end] */
static void copy_row(lh_random *random, int32_t *row)
{
    row[0] = 1;
    row[ROW - 1] = 2;
    for (int i = 0; i < HALF; i++) {
        row[1 + i] = row[ROW - 2 - i] = 3 + (int32_t)lh_random_below(random, 256);
    }
}

/* The fraction of second-half tokens of fresh rows that the likeliest token hits. */
static double copy_accuracy(lh_training *training, lh_random *random)
{
    enum { LANES = 64 };
    int64_t n = training->model->config.segment, before = training->before;
    int32_t *prefix = malloc(sizeof *prefix * (size_t)(LANES * before)), row[LANES][ROW];
    int32_t *segment = malloc(sizeof *segment * (size_t)(LANES * n));
    double *logits = malloc(sizeof *logits * (size_t)(LANES * n * COPY_VOCAB));
    int64_t position[LANES] = {0}, right = 0, start = ROW - 1 - n;
    lh_error error = {0};
    lh_stream *stream;
    lh_forward forward;
    lh_context *context = training->context;
    for (int lane = 0; lane < LANES; lane++) {
        copy_row(random, row[lane]);
        for (int64_t i = 0; i < before; i++) {
            prefix[lane * before + i] = i < before - start ? -1 : row[lane][i - (before - start)];
        }
        memcpy(segment + lane * n, row[lane] + start, sizeof *segment * (size_t)n);
    }
    context->recording = context->training = false;
    assert_int_equal(lh_stream_create(&stream, training->model, LANES, false, &error), LH_OK);
    training->model->memory_kind->prime(stream->memory, context, prefix, before, position);
    lh_model_forward(context, training->model, stream, segment, n, &forward);
    lh_to_host(context, lh_model_logits(context, training->model, forward.hidden), logits);
    assert_int_equal(lh_context_status(context, &error), LH_OK);
    for (int64_t i = 0; i < LANES * n; i++) {
        const double *scores = logits + i * COPY_VOCAB;
        int best = 0;
        for (int k = 1; k < COPY_VOCAB; k++) {
            best = scores[k] > scores[best] ? k : best;
        }
        right += best == row[i / n][start + i % n + 1];
    }
    lh_stream_commit(stream, context);
    lh_context_reset(context);
    lh_stream_free(stream);
    free(prefix);
    free(segment);
    free(logits);
    return (double)right / (double)(LANES * n);
}

/* copy-32 with one layer of width 128 and 16 latents: more than 99 % of the second half. A model that sees only its
 * latents stays at chance. */
static void copying(void **state)
{
    (void)state;
    static const char *const sizes[] = {"memory.inputs=32", "memory.inputs=16"};
    static int32_t tokens[DOCUMENTS * ROW];
    static uint64_t lengths[DOCUMENTS];
    static uint32_t token_bytes[COPY_VOCAB];
    lh_random random = lh_random_create(5, 1);
    lh_error error = {0};
    lh_split *split;
    for (int d = 0; d < DOCUMENTS; d++) {
        copy_row(&random, tokens + d * ROW);
        lengths[d] = ROW;
    }
    assert_int_equal(lh_split_create(&split, tokens, lengths, DOCUMENTS, COPY_VOCAB, &error), LH_OK);
    for (int i = 0; i < 2; i++) {
        const int steps = i == 0 ? 480 : 200;
        const char *settings[] = {"preset=perceiver-ar-copy-32",
                                  "model.width=128",
                                  "model.heads=4",
                                  "model.dropout=0",
                                  sizes[i],
                                  "memory.position_rows=33",
                                  "data.path=nowhere",
                                  "data.layout=crops",
                                  "data.crop_documents=each-once",
                                  "data.batch=128",
                                  "train.steps=480",
                                  "train.threads=2",
                                  "train.loss=sum",
                                  "train.clip=1",
                                  "train.z_loss=1e-4",
                                  "train.learning_rate=2e-3",
                                  "train.warmup=50",
                                  "train.schedule=linear",
                                  NULL};
        lh_recipe *recipe;
        lh_training *training;
        assert_int_equal(lh_train_recipe_create(&recipe, &error), LH_OK);
        for (int k = 0; settings[k]; k++) {
            assert_int_equal(lh_recipe_override(recipe, settings[k], &error), LH_OK);
        }
        lh_train_source source = {.split = split, .token_bytes = token_bytes, .vocab = COPY_VOCAB};
        if (lh_recipe_resolve(recipe, &error) != LH_OK ||
            lh_training_create(&training, recipe, &source, lh_backend_cpu(), LH_F32, &error) != LH_OK) {
            fail_msg("%s", error.message);
            return;
        }
        for (int k = 0; k < steps; k++) {
            lh_iteration result;
            assert_int_equal(lh_training_step(training, (double)k / steps, &result, &error), LH_OK);
            if (k == 0) { /* ln V and the z-loss */
                assert_true(fabs(result.sums.nats / result.sums.tokens - 5.5568 - 0.00309) < 1e-3);
            }
        }
        double accuracy = copy_accuracy(training, &random);
        if (!(i == 0 ? accuracy > 0.99 : accuracy < 0.2)) {
            fail_msg("%s: %.4f of the second half", sizes[i], accuracy);
        }
        lh_training_free(training);
        lh_recipe_free(recipe);
    }
    lh_split_free(split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_become_latents),
        cmocka_unit_test(streams_train),
        cmocka_unit_test(sums_and_unit_norms),
        cmocka_unit_test(copying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
