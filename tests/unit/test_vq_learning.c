/* What Transformer-VQ can learn from far tokens, and what it cannot: which of four marks stood at the beginning of
 * the text, long after it left the window, but not in which order two marks stood there (Lingle 2023;
 * specification, section 10). */
#include "support/learner.h"

enum { LANES = 24, TOTAL = 64, SEGMENT = 8, NOISE = 4, QUERY = 10, VOCAB = 11 };

typedef struct task {
    learner l;
    lh_random random;
    bool order; /* two marks, whose order is asked for; else one of four */
} task;

static task task_create(const char *const *arguments, bool order)
{
    lh_optimizer_options options = lh_optimizer_defaults();
    options.clip = 1.0;
    task t = {
        .l = learner_open(arguments, VOCAB, LANES, 3, &options), .order = order, .random = lh_random_create(5, 5)};
    t.l.stream->memory->keep_graph = true;
    return t;
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
    learner *l = &t->l;
    draw_text(t, text, answer);
    l->context->recording = l->context->training = train;
    tiny_check(lh_stream_reset(l->stream, l->context, -1, &error), &error);
    for (int at = 0; at < TOTAL; at += SEGMENT) {
        lh_forward forward;
        for (int i = 0; i < LANES * SEGMENT; i++) {
            tokens[i] = text[i / SEGMENT][at + i % SEGMENT];
            targets[i] = at + i % SEGMENT == TOTAL - 1 ? answer[i / SEGMENT] : -1;
        }
        lh_model_forward(l->context, l->model, l->stream, tokens, SEGMENT, &forward);
        if (at + SEGMENT == TOTAL) {
            lh_to_host(l->context, lh_model_logits(l->context, l->model, forward.hidden), logits);
            loss = lh_model_loss(l->context, l->model, forward.hidden, targets, NULL, NULL);
        }
    }
    if (train) {
        learner_update(l, lh_scale(l->context, loss, 1.0 / LANES), NULL, 3e-3);
    } else {
        learner_commit(l);
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
    learner_close(&t.l);
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
