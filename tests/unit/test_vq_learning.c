/* What Transformer-VQ can learn from far tokens, and what it cannot: which of four marks stood at the beginning of
 * the text, long after it left the window, but not in which order two marks stood there (Lingle 2023;
 * specification, section 10). */
#include "support/tiny_model.h"

#include "train/optimizer.h"

enum { LANES = 24, TOTAL = 64, SEGMENT = 8, NOISE = 4, QUERY = 10, VOCAB = 11 };

typedef struct task {
    lh_model *model;
    lh_context *context;
    lh_stream *stream;
    lh_optimizer *optimizer;
    lh_random random;
    bool order; /* two marks, whose order is asked for; else one of four */
} task;

static task task_create(const char *const *arguments, bool order)
{
    task t = {.order = order, .random = lh_random_create(5, 5)};
    lh_error error = {0};
    lh_recipe *recipe;
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
    for (int i = 0; arguments[i]; i++) {
        tiny_check(lh_recipe_override(recipe, arguments[i], &error), &error);
    }
    tiny_check(lh_recipe_resolve(recipe, &error), &error);
    tiny_check(lh_model_create(&t.model, recipe, VOCAB, lh_backend_cpu(), LH_F32, &error), &error);
    lh_recipe_free(recipe);
    tiny_check(lh_parameters_initialise(&t.model->parameters, 3, &error), &error);
    tiny_check(lh_parameters_want_grads(&t.model->parameters, ~0u, &error), &error);
    lh_optimizer_options o = lh_optimizer_defaults();
    o.clip = 1.0;
    tiny_check(lh_optimizer_create(&t.optimizer, &t.model->parameters, &o, &error), &error);
    tiny_check(lh_context_create(&t.context, lh_backend_cpu(), 1, &error), &error);
    tiny_check(lh_stream_create(&t.stream, t.model, LANES, false, &error), &error);
    t.stream->memory->keep_graph = true;
    return t;
}

static void task_free(task *t)
{
    lh_stream_free(t->stream);
    lh_optimizer_free(t->optimizer);
    lh_context_free(t->context);
    lh_model_free(t->model);
}

/* Marks, noise, and the question at the end; answer[lane]. */
static void draw_text(task *t, int32_t text[LANES][TOTAL], int32_t *answer)
{
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < TOTAL; i++) {
            text[lane][i] = NOISE + (int32_t)lh_random_below(&t->random, QUERY - NOISE);
        }
        text[lane][TOTAL - 1] = QUERY;
        answer[lane] = text[lane][0] = (int32_t)lh_random_below(&t->random, t->order ? 2 : 4);
        if (t->order) {
            text[lane][1] = 1 - text[lane][0];
        }
    }
}

/* One text of every lane; trained on or not. Returns how many answers are right. */
static int read_text(task *t, bool train)
{
    int32_t text[LANES][TOTAL], answer[LANES], tokens[LANES * SEGMENT], targets[LANES * SEGMENT];
    lh_error error = {0};
    lh_tensor *loss = NULL;
    double logits[LANES * SEGMENT * VOCAB];
    int right = 0;
    draw_text(t, text, answer);
    t->context->recording = t->context->training = train;
    tiny_check(lh_stream_reset(t->stream, t->context, -1, &error), &error);
    for (int at = 0; at < TOTAL; at += SEGMENT) {
        lh_forward forward;
        for (int i = 0; i < LANES * SEGMENT; i++) {
            tokens[i] = text[i / SEGMENT][at + i % SEGMENT];
            targets[i] = at + i % SEGMENT == TOTAL - 1 ? answer[i / SEGMENT] : -1;
        }
        lh_model_forward(t->context, t->model, t->stream, tokens, SEGMENT, &forward);
        if (at + SEGMENT == TOTAL) {
            lh_to_host(t->context, lh_model_logits(t->context, t->model, forward.hidden), logits);
            loss = lh_model_loss(t->context, t->model, forward.hidden, targets, NULL, NULL);
        }
    }
    if (train) {
        lh_backward(t->context, loss, 1.0 / LANES);
    }
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
    if (train) {
        t->model->memory_kind->learn(&t->stream->memory, 1, t->context);
        tiny_check(lh_optimizer_step(t->optimizer, t->context, 3e-3, 1.0, NULL, &error), &error);
        lh_context_reset(t->context);
    }
    for (int lane = 0; lane < LANES; lane++) {
        const double *row = logits + (lane * SEGMENT + SEGMENT - 1) * VOCAB;
        int best = 0;
        for (int s = 1; s < VOCAB; s++) {
            best = row[s] > row[best] ? s : best;
        }
        right += best == answer[lane];
    }
    return right;
}

/* Share of right answers to new texts after so many updates. */
static double learned(const char *const *arguments, bool order, int updates)
{
    enum { TESTS = 20 };
    task t = task_create(arguments, order);
    int right = 0;
    for (int i = 0; i < updates; i++) {
        (void)read_text(&t, true);
    }
    for (int i = 0; i < TESTS; i++) {
        right += read_text(&t, false);
    }
    task_free(&t);
    return (double)right / (TESTS * LANES);
}

#define MODEL                                                                                                      \
    "memory.kind=transformer-vq", "model.positions=none", "model.projection_bias=false", "model.norm=rms",         \
        "model.norm_bias=true", "model.norm_eps=1e-6", "model.init=fan-in-normal", "model.embedding_scaled=false", \
        "model.mlp=false", "model.heads=1", "model.width=32", "model.key_width=16", "model.value_width=48",        \
        "model.segment=8", "memory.length=8", "memory.codes=16", "memory.decay=0.9", "model.tied=false"

static void far_marks_are_found(void **state)
{
    (void)state;
    const char *with[] = {MODEL, "model.layers=2", "memory.aggregate=true", NULL};
    const char *without[] = {MODEL, "model.layers=2", "memory.aggregate=false", NULL};
    double found = learned(with, false, 250), guessed = learned(without, false, 120);
    if (!(found > 0.95 && guessed > 0.1 && guessed < 0.4)) {
        fail_msg("right answers with the aggregate %.3f, without it %.3f", found, guessed);
    }
}

static void far_order_is_lost(void **state)
{
    (void)state;
    const char *one[] = {MODEL, "model.layers=1", NULL};
    double guessed = learned(one, true, 250);
    if (!(guessed > 0.4 && guessed < 0.6)) {
        fail_msg("right answers about the order: %.3f", guessed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(far_marks_are_found), cmocka_unit_test(far_order_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
