/* A run that was saved and taken up again in another process is the run that never stopped, bit for bit. */
#include "support/scratch.h"
#include "support/training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    return scratch_make(folder);
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void opened(tiny *t, const char *const *settings, lh_dtype dtype)
{
    if (tiny_open(t, settings, dtype) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
}

static lh_iteration step(tiny *t)
{
    lh_iteration result;
    if (lh_training_step(t->training, 0.25, &result, &t->error) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
    return result;
}

static void same_tensor(const char *what, const lh_tensor *a, const lh_tensor *b)
{
    size_t bytes = (size_t)lh_tensor_count(a) * lh_dtype_size(a->dtype);
    void *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    assert_int_equal(lh_tensor_read(a, x, NULL), LH_OK);
    assert_int_equal(lh_tensor_read(b, y, NULL), LH_OK);
    if (memcmp(x, y, bytes) != 0) {
        fail_msg("%s is not the same", what);
    }
    free(x);
    free(y);
}

static void same_training(const lh_training *a, const lh_training *b)
{
    char name[LH_OPTIMIZER_NAME_SIZE];
    for (int i = 0; i < a->model->parameters.count; i++) {
        lh_tensor *x = a->model->parameters.items[i].tensor, *y = b->model->parameters.items[i].tensor;
        same_tensor(a->model->parameters.items[i].name, x, y);
        if (x->grad) {
            same_tensor("a gradient", x->grad, y->grad);
        }
        assert_int_equal(a->optimizer->slots[i].awake, b->optimizer->slots[i].awake);
    }
    for (int i = 0; lh_optimizer_state(a->optimizer, i, name); i++) {
        same_tensor(name, lh_optimizer_state(a->optimizer, i, name), lh_optimizer_state(b->optimizer, i, name));
    }
    for (int64_t part = 0; part < a->config.accumulate; part++) {
        const lh_memory *x = a->parts[part]->memory, *y = b->parts[part]->memory;
        assert_int_equal(x->segments, y->segments);
        assert_int_equal(a->parts[part]->position, b->parts[part]->position);
        for (int i = 0; i < x->state_count; i++) {
            same_tensor(x->state[i].name, x->state[i].stored, y->state[i].stored);
        }
    }
    assert_int_equal(a->iteration, b->iteration);
    assert_int_equal(a->pending, b->pending);
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->optimizer->updates, b->optimizer->updates);
    assert_int_equal(a->context->random_offset, b->context->random_offset);
    assert_memory_equal(&a->interval, &b->interval, sizeof a->interval);
}

static void save(tiny *t)
{
    if (lh_training_save(t->training, folder, "[train]\n", &t->error) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
}

static lh_status restore(tiny *t)
{
    lh_checkpoint *checkpoint;
    if (lh_checkpoint_open_latest(&checkpoint, folder, INT64_MAX, &t->error) != LH_OK) {
        fail_msg("%s", t->error.message);
    }
    lh_status status = lh_training_restore(t->training, checkpoint, &t->error);
    lh_checkpoint_close(checkpoint);
    return status;
}

static void resume_is_exact(void **state)
{
    (void)state;
    static const char *const cases[][24] = {
        {"memory.kind=none", "train.optimizer=sgd", NULL},
        {TINY_XL, TINY_DROPOUT, "train.optimizer=adafactor", "train.factor_from=4", NULL},
        {TINY_COMPRESSIVE, TINY_DROPOUT, "train.update_period=3", "train.update_period_after=2", NULL},
        {TINY_COMPRESSIVE, "memory.function=most-used", "train.accumulate=2", "data.layout=documents", NULL},
        {TINY_XL, "data.layout=documents", "data.reset_at_document=true", "train.accumulate=2", NULL},
        {TINY_COMPRESSIVE, "train.unroll=2", "memory.detach=false", "memory.loss=none", NULL},
        {TINY_MEMORIZING, "train.unroll=2", "memory.store=int8", "data.layout=documents",
         "data.reset_at_document=true", NULL},
        {TINY_MEMORIZING, "train.recompute=true", "train.accumulate=2", "memory.store=f16", NULL},
        {TINY_VQ, TINY_VQ_DROPOUT, "train.unroll=2", "memory.detach=false", "train.forget_every=64", NULL},
        {TINY_VQ, "memory.codebook_init=keys", "memory.restart_below=0.5", "train.accumulate=2",
         "data.layout=documents", "data.reset_at_document=true", "memory.absolute_positions=true", NULL},
        {TINY_ROUTING, "train.accumulate=2", "model.dropout=0.2", "model.attention_dropout=0.1",
         "model.token_dropout=0.1", NULL},
        {TINY_ROUTING, "train.recompute=true", "memory.routing=full", "train.optimizer=adafactor", NULL},
        {TINY_ROUTING, "train.recompute=true", "memory.share_keys=false", "memory.cluster_relative=false", NULL},
        {TINY_BLOCKS, "model.dropout=0.2", "model.attention_dropout=0.1", "data.layout=documents",
         "data.reset_at_document=true", "memory.gate=lstm", NULL},
        {TINY_BLOCKS, "memory.feedback=true", "memory.cell=dual", "memory.clear_every=3", "train.accumulate=2",
         "train.optimizer=adafactor", "train.factor_from=4", "train.schedule=meliad-cosine", "train.warmup=3",
         NULL},
        {TINY_COMPRESSIVE, "train.recompute=true", "train.schedule=cosine", "train.warmup=9", "data.layout=crops",
         NULL},
        {"memory.kind=perceiver-ar", "memory.inputs=24", "memory.cross_dropout=0.5", "model.positions=rotary",
         "data.layout=crops", "train.accumulate=2", "model.dropout=0.2", NULL},
        {"memory.kind=perceiver-ar", "memory.inputs=20", "memory.position_table=learned",
         "memory.position_rows=2000", "model.positions=none", "train.unroll=2", "data.layout=documents", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny whole, first, second;
        opened(&whole, cases[i], LH_F32);
        opened(&first, cases[i], LH_F32);
        opened(&second, cases[i], LH_F32);
        for (int j = 0; j < 7; j++) {
            (void)step(&whole);
            (void)step(&first);
        }
        first.training->seconds = 12.5;
        save(&first);
        tiny_close(&first);
        (void)step(&second); /* whatever was there before is overwritten */
        if (restore(&second) != LH_OK) {
            fail_msg("%s", second.error.message);
        }
        assert_true(second.training->seconds == 12.5);
        same_training(whole.training, second.training);
        if (i == 2) {
            assert_int_equal(second.training->pending, 2); /* in the middle of an update period */
        }
        for (int j = 0; j < 7; j++) {
            lh_iteration a = step(&whole), b = step(&second);
            assert_memory_equal(&a.sums, &b.sums, sizeof a.sums);
            assert_true(a.rate == b.rate && a.norms.total == b.norms.total);
        }
        same_training(whole.training, second.training);
        tiny_close(&whole);
        tiny_close(&second);
        scratch_remove(folder);
        (void)scratch_make(folder);
    }
}

static void misfits_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *message;
    } cases[] = {
        {"model.width=32", "embedding.weight"},
        {"model.layers=3", "layers.2."},
        {"train.optimizer=adafactor", "optimizer.embedding.weight"},
        {"data.batch=4", "state.0."},
        {"data.layout=documents", "stream"},
        {"memory.length=4", "state.0.layers.0.memory"},
    };
    tiny whole;
    const char *const settings[] = {TINY_XL, "train.beta1=0.8", NULL};
    opened(&whole, settings, LH_F32);
    (void)step(&whole);
    save(&whole);
    tiny_close(&whole);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny other;
        const char *const changed[] = {TINY_XL, "train.beta1=0", cases[i].setting, NULL};
        opened(&other, changed, LH_F32);
        lh_status status = restore(&other);
        if ((status != LH_E_FORMAT && status != LH_E_SHAPE) || !strstr(other.error.message, cases[i].message)) {
            fail_msg("case %d: status %d, %s", (int)i, (int)status, other.error.message);
        }
        tiny_close(&other);
    }
}

static void broken_states_are_not_saved(void **state)
{
    (void)state;
    tiny t;
    opened(&t, NULL, LH_F32);
    (void)step(&t);
    save(&t);
    (void)step(&t);
    lh_tensor *bias = lh_parameters_find(&t.training->model->parameters, "output.bias")->tensor;
    float values[TINY_VOCAB];
    assert_int_equal(lh_tensor_read(bias, values, NULL), LH_OK);
    values[3] /= 0.0f;
    assert_int_equal(lh_tensor_write(bias, values, NULL), LH_OK);
    assert_int_equal(lh_training_save(t.training, folder, "", &t.error), LH_E_NUMERIC);
    assert_non_null(strstr(t.error.message, "'output.bias' has 1 of 11"));
    int64_t *steps;
    size_t count;
    assert_int_equal(lh_checkpoint_steps(folder, &steps, &count, NULL), LH_OK);
    assert_int_equal(count, 1);
    assert_int_equal(steps[0], 1);
    lh_heap_free(steps);
    tiny_close(&t);
}

/* A second training of the same recipe is the same: nothing depends on what the process did before. */
static void runs_repeat(void **state)
{
    (void)state;
    tiny a, b;
    const char *const settings[] = {TINY_COMPRESSIVE, TINY_DROPOUT, NULL};
    const char *const threads[] = {TINY_COMPRESSIVE, TINY_DROPOUT, "train.threads=3", NULL};
    opened(&a, settings, LH_F32);
    for (int i = 0; i < 5; i++) {
        (void)step(&a);
    }
    opened(&b, threads, LH_F32);
    for (int i = 0; i < 5; i++) {
        (void)step(&b);
    }
    same_training(a.training, b.training);
    tiny_close(&a);
    tiny_close(&b);
}

static void recipes_are_compared(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *message;
    } cases[] = {
        {"train.steps=20", NULL},
        {"train.log_every=3", NULL},
        {"data.path=elsewhere", NULL},
        {"eval.batch=3", NULL},
        {"train.seed=8", "train.seed = 7, not 8"},
        {"memory.length=16", "memory.length = 8, not 16"},
        {"model.dropout=0.5", "model.dropout = 0.0, not 0.5"},
        {"train.optimizer=sgd", "train.optimizer = adamw, not sgd"},
        {"memory.kind=none", "memory.kind = transformer-xl, not none"},
    };
    tiny run;
    const char *const settings[] = {TINY_XL, NULL};
    opened(&run, settings, LH_F32);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny wanted;
        const char *const changed[] = {"memory.kind=transformer-xl", i == 8 ? cases[i].setting : "memory.length=8",
                                       cases[i].setting, NULL};
        opened(&wanted, changed, LH_F32);
        lh_error error = {0};
        lh_status status = lh_train_recipe_same(run.recipe, wanted.recipe, "runs/first", &error);
        if (status != (cases[i].message ? LH_E_CONFIG : LH_OK)) {
            fail_msg("case %d: status %d %s", (int)i, (int)status, error.message);
        }
        if (cases[i].message &&
            (!strstr(error.message, cases[i].message) || !strstr(error.message, "runs/first"))) {
            fail_msg("case %d: %s", (int)i, error.message);
        }
        tiny_close(&wanted);
    }
    tiny_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resume_is_exact, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(misfits_are_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(broken_states_are_not_saved, make_folder, remove_folder),
        cmocka_unit_test(runs_repeat),
        cmocka_unit_test(recipes_are_compared),
    };
    return cmocka_run_group_tests_name("train_resume", tests, NULL, NULL);
}
