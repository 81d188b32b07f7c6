/* The public interface: evaluation and training, watched and stopped. */
#include "support/api.h"

/* ---- evaluation ---- */

typedef struct spectator {
    int calls, patience; /* patience: stops at this call; 0: never */
    longhand_progress last;
    char phases[200]; /* each once */
    double losses;
    int64_t steps;
} spectator;

static void look(void *user, const longhand_progress *now)
{
    spectator *s = user;
    assert_int_equal(now->size, sizeof *now);
    assert_true(now->total == 0 || now->done <= now->total);
    s->calls++;
    s->last = *now;
    if (!strstr(s->phases, now->phase)) {
        (void)snprintf(s->phases + strlen(s->phases), sizeof s->phases - strlen(s->phases), "%s ", now->phase);
    }
}

static bool had_enough(void *user)
{
    const spectator *s = user;
    return s->patience > 0 && s->calls >= s->patience;
}

static void evaluations(void **state)
{
    (void)state;
    spectator s = {0};
    longhand_model *model = open_model();
    longhand_evaluation e = {.size = sizeof e}, again = {.size = sizeof again};
    char path[160];
    (void)snprintf(path, sizeof path, "%s", in_folder("book.txt"));
    longhand_evaluation_options o = {
        .size = sizeof o, .data = path, .threads = 1, .watch = look, .stop = had_enough, .user = &s};
    OK(longhand_evaluate(model, &o, &e, &error));
    assert_int_equal(e.tokens, TEXT);
    assert_int_equal(e.scored, TEXT);
    assert_int_equal(e.skipped, 0);
    assert_int_equal(e.bytes, TEXT);
    assert_int_equal(e.characters, TEXT);
    assert_int_equal(e.documents, 1);
    assert_true(e.complete && e.lossless && isnan(e.accuracy));
    assert_true(fabs(e.bits_per_byte - e.nats / log(2.0) / TEXT) < 1e-9);
    assert_true(fabs(e.token_perplexity - exp(e.nats_per_token)) < 1e-9 * e.token_perplexity);
    assert_true(fabs(e.word_perplexity - exp(e.nats / (double)e.words)) < 1e-9 * e.word_perplexity);
    assert_string_equal(s.phases, "reading evaluate ");
    assert_int_equal(s.last.done, TEXT);
    assert_string_equal(s.last.unit, "bits_per_byte");
    assert_true(fabs(s.last.loss - e.bits_per_byte) < 0.1);

    /* It is what a session scores, with the first token charged as one of 256. */
    int32_t ids[TEXT];
    double *nats = calloc(TEXT, sizeof *nats), sum = log(VOCAB);
    longhand_session *session = session_of(model, 1);
    ids_of_book(ids, 0, TEXT);
    OK(longhand_session_score(session, ids, ids + 1, TEXT - 1, nats, &error));
    for (int i = 0; i < TEXT - 1; i++) {
        sum += nats[i];
    }
    assert_true(fabs(sum - e.nats) < 1e-3);
    free(nats);
    longhand_session_free(session);

    o.first = "skip";
    o.limit_tokens = 1000;
    OK(longhand_evaluate(model, &o, &again, &error));
    assert_int_equal(again.tokens, 1000);
    assert_int_equal(again.skipped, 1);
    assert_true(isnan(again.word_perplexity));
    o.allow_skipped = true;
    OK(longhand_evaluate(model, &o, &again, &error));
    assert_false(isnan(again.word_perplexity));

    /* Interrupted and resumed. */
    o = (longhand_evaluation_options){
        .size = sizeof o, .data = path, .protocol = "slide", .window = 32, .stride = 16, .lanes = 4, .threads = 1};
    OK(longhand_evaluate(model, &o, &e, &error));
    s = (spectator){.patience = 20};
    char kept[160];
    (void)snprintf(kept, sizeof kept, "%s", in_folder("evaluation"));
    o.resume_path = kept;
    o.watch = look;
    o.stop = had_enough;
    o.user = &s;
    REFUSED(LH_E_INTERRUPTED, "interrupted", longhand_evaluate(model, &o, &again, &error));
    s.patience = 0;
    OK(longhand_evaluate(model, &o, &again, &error));
    assert_true(again.nats == e.nats && again.scored == e.scored);
    longhand_model_free(model);
}

static void evaluations_that_are_none(void **state)
{
    (void)state;
    longhand_model *model = open_model();
    longhand_evaluation e = {.size = sizeof e};
    longhand_evaluation_options o = {.size = sizeof o};
    REFUSED(LH_E_ARGUMENT, "options->data", longhand_evaluate(model, &o, &e, &error));
    o.data = folder;
    o.protocol = "guess";
    REFUSED(LH_E_ARGUMENT, "guess", longhand_evaluate(model, &o, &e, &error));
    o.protocol = NULL;
    o.lanes = -1;
    REFUSED(LH_E_ARGUMENT, "-1 lanes", longhand_evaluate(model, &o, &e, &error));
    o.lanes = 0;
    o.data = in_folder("book.txt");
    o.first = "guess";
    REFUSED(LH_E_ARGUMENT, "'guess'", longhand_evaluate(model, &o, &e, &error));
    o.first = "start"; /* bytes have no end-of-text token */
    REFUSED(LH_E_ARGUMENT, "end-of-text", longhand_evaluate(model, &o, &e, &error));
    o.data = in_folder("nowhere");
    REFUSED(LH_E_IO, "nowhere", longhand_evaluate(model, &o, &e, &error));
    REFUSED(LH_E_ARGUMENT, "without options", longhand_evaluate(model, NULL, &e, &error));
    REFUSED(LH_E_ARGUMENT, "without evaluation", longhand_evaluate(model, &o, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without model", longhand_evaluate(NULL, &o, &e, &error));
    e.size = 0;
    REFUSED(LH_E_ARGUMENT, "longhand_evaluation", longhand_evaluate(model, &o, &e, &error));
    longhand_model_free(model);
}

/* ---- training ---- */

/* Do two runs hold the same weights? They do if their models say the same. */
static void same_model(const char *a, const char *b)
{
    float logits[2][VOCAB];
    const char *runs[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        longhand_model *model;
        int32_t ids[40];
        longhand_model_options latest = {.size = sizeof latest, .checkpoint = "latest"};
        OK(longhand_model_open(&model, in_folder(runs[i]), &latest, &error));
        longhand_session *s = session_of(model, 1);
        ids_of_book(ids, 0, 40);
        OK(longhand_session_feed(s, ids, 40, logits[i], &error));
        longhand_session_free(s);
        longhand_model_free(model);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
}

/* Stopped and gone on with, a run is the run without a stop. */
static void training(void **state)
{
    (void)state;
    spectator s = {.patience = 12};
    longhand_recipe *recipe = recipe_of_run();
    longhand_training_options o = {.size = sizeof o, .watch = look, .stop = had_enough, .user = &s};
    longhand_training_report r = {.size = sizeof r};
    REFUSED(LH_E_INTERRUPTED, "saved", longhand_train(recipe, in_folder("stopped"), &o, &r, &error));
    assert_false(r.finished);
    assert_true(r.step > 2 && r.step < 20);
    assert_int_equal(s.last.step, r.step);
    assert_int_equal(s.last.tokens, r.tokens);
    assert_non_null(strstr(s.phases, "train "));
    int64_t stopped_at = r.step;

    s = (spectator){0};
    OK(longhand_train(NULL, in_folder("stopped"), &o, &r, &error));
    assert_true(r.finished && r.resumed);
    assert_int_equal(r.step, 20);
    assert_int_equal(r.tokens, 20 * 2 * 8);
    assert_true(s.calls >= 20 - stopped_at);
    assert_int_equal(s.last.step, 20);
    assert_int_equal(s.last.done, s.last.total);
    assert_true(s.last.rate > 0.0 && s.last.rate <= 1e-2);
    assert_true(isfinite(s.last.loss) && isfinite(s.last.validation) && isnan(s.last.seconds_left));
    assert_string_equal(s.last.unit, "bits_per_byte");
    assert_string_equal(r.unit, "bits_per_byte");
    assert_true(r.loss > 0.0 && r.loss < 9.0 && r.validation < 9.0 && r.best <= r.validation && r.best_step > 0);
    assert_true(r.parameters > 0 && r.seconds > 0.0 && r.tokens_per_second > 0.0);
    same_model("run", "stopped");

    /* Once more there is nothing to do; more steps are allowed, another model is not. */
    OK(longhand_train(recipe, in_folder("stopped"), NULL, &r, &error));
    assert_true(r.finished && r.resumed && r.step == 20);
    OK(longhand_recipe_set(recipe, "train.steps=22", &error));
    OK(longhand_train(recipe, in_folder("stopped"), NULL, &r, &error));
    assert_int_equal(r.step, 22);
    OK(longhand_recipe_set(recipe, "model.width=32", &error));
    REFUSED(LH_E_CONFIG, "model.width", longhand_train(recipe, in_folder("stopped"), NULL, &r, &error));
    longhand_recipe_free(recipe);
}

static void trainings_that_are_none(void **state)
{
    (void)state;
    longhand_recipe *recipe = recipe_of_run();
    longhand_training_report r = {.size = sizeof r};
    longhand_training_options o = {.size = sizeof o, .must_exist = true};
    REFUSED(LH_E_IO, "no run", longhand_train(NULL, in_folder("nowhere"), NULL, &r, &error));
    assert_true(r.step == 0 && isnan(r.loss) && r.best_step == -1 && r.unit != NULL && !r.finished);
    REFUSED(LH_E_IO, "no run", longhand_train(recipe, in_folder("nowhere"), &o, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without directory", longhand_train(recipe, NULL, NULL, &r, &error));
    r.size = 0;
    REFUSED(LH_E_ARGUMENT, "longhand_training_report", longhand_train(recipe, folder, NULL, &r, &error));
    OK(longhand_recipe_set(recipe, "data.path=-", &error));
    REFUSED(LH_E_CONFIG, "read again", longhand_train(recipe, in_folder("nowhere"), NULL, NULL, &error));
    longhand_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(evaluations),
        TEST(evaluations_that_are_none),
        TEST(training),
        TEST(trainings_that_are_none),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
