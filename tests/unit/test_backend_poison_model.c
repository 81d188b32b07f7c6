/* Whole trainings and readings of models on a backend whose memory the host cannot touch: the same bits as on the
 * CPU backend, so nothing from memory methods to optimizers follows a data pointer. */
#include "support/training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "poison_backend.h"

/* Some iterations, then all parameters, the optimizer's state and the loss, in a row. */
static unsigned char *trained(const char *const *settings, const lh_backend *backend, size_t *bytes)
{
    tiny t;
    lh_iteration result;
    if (tiny_open_on(&t, settings, LH_F32, backend) != LH_OK) {
        fail_msg("%s", t.error.message);
    }
    double nats = 0;
    for (int i = 0; i < 6; i++) {
        if (lh_training_step(t.training, 0, &result, &t.error) != LH_OK) {
            fail_msg("%s", t.error.message);
        }
        nats += result.sums.nats + result.sums.auxiliary + result.norms.total;
    }
    unsigned char *all = malloc(sizeof nats);
    memcpy(all, &nats, sizeof nats);
    *bytes = sizeof nats;
    char name[LH_OPTIMIZER_NAME_SIZE];
    const lh_parameters *list = &t.training->model->parameters;
    for (int i = 0;; i++) {
        lh_tensor *x = i < list->count ? list->items[i].tensor
                                       : lh_optimizer_state(t.training->optimizer, i - list->count, name);
        if (!x) {
            break;
        }
        size_t more = (size_t)lh_tensor_count(x) * lh_dtype_size(x->dtype);
        all = realloc(all, *bytes + more);
        assert_int_equal(lh_tensor_read(x, all + *bytes, &t.error), LH_OK);
        *bytes += more;
    }
    tiny_close(&t);
    return all;
}

#define POSITIONS(kind) "memory.kind=none", "model.positions=" kind

static void training(void **state)
{
    (void)state;
    static const char *const settings[][16] = {
        {POSITIONS("none"), "train.learning_rate=1e-2", NULL},
        {POSITIONS("rotary"), "model.activation=swiglu", "model.norm=rms", "train.optimizer=sgd",
         "model.kv_heads=1", NULL},
        {POSITIONS("learned"), "model.activation=gelu", "model.norm_layout=both", "train.optimizer=adafactor",
         "train.factor_from=8", NULL},
        {POSITIONS("sinusoidal"), "model.activation=geglu", "model.tied=false", "train.recompute=true", NULL},
        {POSITIONS("t5"), "model.t5_buckets=6", "model.t5_distance=8", "model.activation=relu2",
         "model.attention_bias=true", NULL},
        {POSITIONS("alibi"), "model.cutoffs=4,8", "model.band_divisor=2", "model.embedding_width=16", NULL},
        {TINY_XL, TINY_DROPOUT, "train.recompute=true", NULL},
        {TINY_XL, "model.share_position_biases=true", "model.same_length=true", "model.clamp=6", "train.unroll=2",
         NULL},
        {TINY_MEMORIZING, "memory.store=int8", "memory.fewer=zeros", "train.unroll=2", NULL},
        {TINY_MEMORIZING, "memory.store=f16", "memory.fewer=closed", "memory.strict=true", "train.recompute=true",
         NULL},
        {TINY_COMPRESSIVE, TINY_DROPOUT, NULL},
        {TINY_COMPRESSIVE, "memory.function=conv", "memory.loss=autoencode", NULL},
        {TINY_COMPRESSIVE, "memory.function=dilated", "memory.dilations=1,1", NULL},
        {TINY_COMPRESSIVE, "memory.function=max", "train.accumulate=2", NULL},
        {TINY_COMPRESSIVE, "memory.function=mean", "memory.positions=scaled", NULL},
        {TINY_COMPRESSIVE, "memory.function=most-used", "data.layout=documents", "data.reset_at_document=true",
         NULL},
        {TINY_BLOCKS, "model.attention_input_dropout=0.1", "data.layout=documents", "data.reset_at_document=true",
         NULL},
        {TINY_BLOCKS, "memory.feedback=true", "memory.cell=dual", "memory.gate=lstm", "memory.strict=true", NULL},
        {TINY_VQ, TINY_VQ_DROPOUT, "train.unroll=2", "memory.detach=false", NULL},
        {TINY_VQ, "memory.codebook_init=keys", "memory.restart_below=2", "memory.absolute_positions=true",
         "train.accumulate=2", NULL},
        {TINY_ROUTING, "model.input_projection=linear", "train.accumulate=2", "data.layout=documents",
         "data.reset_at_document=true", NULL},
        {TINY_ROUTING, "memory.routing=full", "memory.strided_heads=1", "train.recompute=true", NULL},
        {TINY_ROUTING, "memory.share_keys=false", "memory.cluster_relative=false", NULL},
    };
    const lh_backend *poisoned = poison_backend();
    assert_non_null(poisoned);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        size_t n = 0, m = 0;
        unsigned char *want = trained(settings[i], lh_backend_cpu(), &n);
        int64_t runs = poison.runs;
        unsigned char *got = trained(settings[i], poisoned, &m);
        assert_true(poison.runs > runs + 100);
        assert_int_equal(n, m);
        if (memcmp(want, got, n) != 0) {
            fail_msg("%s %s: the poisoned backend gives other bits", settings[i][0], settings[i][1]);
        }
        if (poison.foreign || poison.live_blocks) {
            fail_msg(
                "%s %s: %lld host addresses given to kernels (the last to number %d), %d blocks not given back",
                settings[i][0], settings[i][1], (long long)poison.foreign, poison.foreign_kernel,
                poison.live_blocks);
        }
        free(want);
        free(got);
    }
}

/* Logits of a text read in uneven pieces by an inference stream. */
static double *read_in_pieces(const char *const *settings, const lh_backend *backend, int64_t *count)
{
    tiny t;
    if (tiny_open_on(&t, settings, LH_F32, backend) != LH_OK) {
        fail_msg("%s", t.error.message);
    }
    const lh_model *model = t.training->model;
    lh_context *c = t.training->context;
    lh_stream *stream = NULL;
    if (lh_stream_create(&stream, model, 2, true, &t.error) != LH_OK) {
        fail_msg("%s", t.error.message);
    }
    bool recording = c->recording, training_mode = c->training;
    c->recording = c->training = false;
    const int64_t pieces[] = {3, 5, 1, 1, 6, 8, 2};
    double *all = NULL;
    int32_t tokens[16];
    *count = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        lh_context_reset(c);
        for (int64_t k = 0; k < 2 * pieces[i]; k++) {
            tokens[k] = (int32_t)((k * k + (int64_t)i) % TINY_VOCAB);
        }
        lh_forward forward;
        lh_model_forward(c, model, stream, tokens, pieces[i], &forward);
        lh_tensor *rows = lh_reshape(c, forward.hidden, 2, (int64_t[]){2 * pieces[i], 16});
        lh_tensor *logits = lh_model_logits(c, model, rows);
        if (lh_context_status(c, &t.error) != LH_OK) {
            fail_msg("%s", t.error.message);
        }
        int64_t more = lh_tensor_count(logits);
        all = realloc(all, sizeof *all * (size_t)(*count + more));
        lh_to_host(c, logits, all + *count);
        *count += more;
        lh_stream_commit(stream, c);
    }
    assert_int_equal(lh_context_status(c, &t.error), LH_OK);
    lh_context_reset(c);
    c->recording = recording;
    c->training = training_mode;
    lh_stream_free(stream);
    tiny_close(&t);
    return all;
}

static void reading(void **state)
{
    (void)state;
    static const char *const settings[][10] = {
        {POSITIONS("rotary"), NULL},
        {POSITIONS("t5"), NULL},
        {TINY_XL, NULL},
        {TINY_COMPRESSIVE, NULL},
        {TINY_VQ, "memory.absolute_positions=true", NULL},
        {TINY_ROUTING, NULL},
        {TINY_ROUTING, "memory.routing=prefix", NULL},
        {TINY_ROUTING, "memory.share_keys=false", "memory.cluster_relative=false", NULL},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        int64_t n = 0, m = 0;
        double *want = read_in_pieces(settings[i], lh_backend_cpu(), &n);
        double *got = read_in_pieces(settings[i], poison_backend(), &m);
        assert_int_equal(n, m);
        assert_memory_equal(want, got, sizeof *want * (size_t)n);
        assert_int_equal(poison.foreign, 0);
        assert_int_equal(poison.live_blocks, 0);
        free(want);
        free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(training), cmocka_unit_test(reading)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
