/* Learning, not arithmetic: delayed recall. In a stream of filler one of 16 symbols comes up every 240 tokens, and
 * 150 tokens after it a mark whose target is that symbol. A one-layer Transformer-XL with 80 remembered positions
 * reaches 80 + 31 tokens back and can only guess (ln 16 = 2.77 nats); a Compressive Transformer with as many slots,
 * 32 + 48 of rate 4, reaches 224 and learns it. (Setting: the trend T1 of the method's acceptance checks.)
 * LH_SKIP_TRENDS=1 leaves it out. */
#include "support/learner.h"

enum { LANES = 16, SEGMENT = 32, PERIOD = 240, DELAY = 150, SYMBOLS = 16, VOCAB = 18, STEPS = 1000 };

/* The token at position t of a lane, and its target (-1: not scored). */
static int32_t token_at(int64_t lane, int64_t t, int32_t *target)
{
    int64_t phase = (t + lane * 37) % PERIOD, round = (t + lane * 37) / PERIOD;
    uint32_t words[4];
    lh_philox(41, (uint64_t)lane, (uint64_t)round, words);
    int32_t symbol = 1 + (int32_t)(words[0] % SYMBOLS);
    *target = phase == DELAY ? symbol : -1;
    return phase == 0 ? symbol : phase == DELAY ? VOCAB - 1 : 0;
}

/* Mean loss at the marks over the last fifth of training: every mark is new, so it is held out by nature. */
static double train(const char *const *arguments)
{
    static int32_t tokens[LANES * SEGMENT], targets[LANES * SEGMENT];
    static double weights[LANES * SEGMENT], nll[LANES * SEGMENT];
    lh_optimizer_options options = lh_optimizer_defaults();
    options.beta2 = 0.99;
    learner l = learner_open(arguments, VOCAB, LANES, 1, &options);
    l.context->recording = l.context->training = true;
    double sum = 0.0, scored = 0.0;
    for (int64_t s = 0; s < STEPS; s++) {
        double marks = 0.0;
        for (int64_t i = 0; i < LANES * SEGMENT; i++) {
            tokens[i] = token_at(i / SEGMENT, s * SEGMENT + i % SEGMENT, &targets[i]);
            marks += targets[i] >= 0;
        }
        for (int64_t i = 0; i < LANES * SEGMENT; i++) {
            weights[i] = marks > 0.0 ? 1.0 / marks : 0.0;
        }
        lh_forward forward;
        lh_model_forward(l.context, l.model, l.stream, tokens, SEGMENT, &forward);
        lh_tensor *loss = lh_model_loss(l.context, l.model, forward.hidden, targets, weights, nll);
        learner_update(&l, loss, forward.auxiliary, 3e-3);
        for (int64_t i = 0; i < LANES * SEGMENT && s >= STEPS * 4 / 5; i++) {
            sum += targets[i] >= 0 ? nll[i] : 0.0;
            scored += targets[i] >= 0;
        }
    }
    learner_close(&l);
    return sum / scored;
}

#define RECALL                                                                                   \
    "model.layers=1", "model.width=64", "model.heads=4", "model.hidden=128", "model.segment=32", \
        "model.positions=relative", "model.init=sonnet"

static void only_the_compressed_memory_reaches(void **state)
{
    (void)state;
    if (getenv("LH_SKIP_TRENDS")) {
        print_message("left out by LH_SKIP_TRENDS\n");
        skip();
    }
    const char *xl[] = {RECALL, "memory.kind=transformer-xl", "memory.length=80", NULL};
    const char *conv[] = {
        RECALL, "memory.kind=compressive", "memory.length=32", "memory.compressed=48", "memory.rate=4", NULL};
    const char *mean[] = {RECALL,
                          "memory.kind=compressive",
                          "memory.length=32",
                          "memory.compressed=48",
                          "memory.rate=4",
                          "memory.function=mean",
                          NULL};
    double without = train(xl), with_conv = train(conv), with_mean = train(mean);
    print_message("loss at the marks: Transformer-XL %.3f, conv %.3f, mean %.3f (guessing: %.3f)\n", without,
                  with_conv, with_mean, log(16.0));
    assert_true(without > 2.6);
    assert_true(with_conv < 1.0);
    assert_true(with_mean < 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_the_compressed_memory_reaches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
