/* Evaluation of tasks: which answers are right, at what cost and at what distance, for every protocol against a
 * session that reads one token after another. */
#include "data/task_make.h"
#include "eval/result.h"
#include "infer/session.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

static char folder[64], rows[96];
static lh_task task;
static lh_model *model;
static lh_tokenizer *tokenizer;
static int32_t *tokens;
static uint32_t *answers;
static const lh_split *whole;
static lh_dataset *dataset;

static const char *const model_settings[] = {"model.layers=2",
                                             "model.width=16",
                                             "model.heads=2",
                                             "model.hidden=24",
                                             "model.tied=false",
                                             "model.segment=8",
                                             "model.positions=relative",
                                             "model.init=sonnet",
                                             "memory.kind=transformer-xl",
                                             "memory.length=8",
                                             NULL};

/* A model whose predictions depend on what it reads and are right now and then. */
static void make_model(void)
{
    lh_error error = {0};
    lh_recipe *recipe;
    tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
    for (int i = 0; model_settings[i]; i++) {
        tiny_check(lh_recipe_override(recipe, model_settings[i], &error), &error);
    }
    tiny_check(lh_recipe_resolve(recipe, &error), &error);
    tiny_check(lh_model_create(&model, recipe, task.vocab, lh_backend_cpu(), LH_F64, &error), &error);
    tiny_check(lh_parameters_initialise(&model->parameters, 3, &error), &error);
    lh_recipe_free(recipe);
    double *table = lh_tensor_data(model->output[0]);
    for (int64_t i = 0; i < lh_tensor_count(model->output[0]); i++) {
        table[i] *= 20;
    }
}

static int set_up(void **state)
{
    (void)state;
    static const char *const settings[] = {"pairs=3", "keys=4", "values=3", "filler=14", "vary=14", "noise=2"};
    lh_error error = {0};
    bool already;
    if (scratch_make(folder) != 0) {
        return -1;
    }
    (void)snprintf(rows, sizeof rows, "%s/rows", folder);
    tiny_check(lh_task_create(&task, "recall", settings, 6, &error), &error);
    lh_task_make_options options = {.seed = 2, .rows = {4, 2, 13}};
    tiny_check(lh_task_make(&task, rows, &options, &already, &error), &error);
    tiny_check(lh_dataset_open(&dataset, rows, &error), &error);
    tiny_check(lh_dataset_tokenizer(dataset, &tokenizer, &error), &error);
    whole = &dataset->splits[LH_SPLIT_TEST];
    tokens = malloc(sizeof *tokens * whole->tokens);
    answers = malloc(sizeof *answers * whole->tokens);
    tiny_check(lh_split_copy(whole, 0, whole->tokens, tokens, &error), &error);
    lh_split_copy_answers(whole, 0, whole->tokens, answers);
    make_model();
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    free(tokens);
    free(answers);
    lh_model_free(model);
    lh_tokenizer_free(tokenizer);
    lh_dataset_free(dataset);
    scratch_remove(folder);
    return 0;
}

static lh_eval_corpus *corpus_of(uint64_t limit, uint64_t length)
{
    lh_error error = {0};
    lh_eval_corpus *corpus = NULL;
    lh_eval_corpus_options options = {.path = rows, .limit_tokens = limit, .document_tokens = length};
    tiny_check(lh_eval_corpus_open(&corpus, tokenizer, &options, &error), &error);
    return corpus;
}

static lh_eval_options options_of(lh_protocol_kind kind, int64_t window, int64_t stride, int64_t lanes)
{
    lh_error error = {0};
    lh_eval_options o = {
        .protocol = {.kind = kind, .window = window, .stride = stride}, .lanes = lanes, .threads = 1};
    tiny_check(lh_protocol_complete(&o.protocol, &error), &error);
    return o;
}

static lh_evaluation evaluate(const lh_eval_corpus *corpus, const lh_eval_options *options)
{
    lh_error error = {0};
    lh_evaluation e;
    tiny_check(lh_evaluate(&e, model, tokenizer, corpus, options, &error), &error);
    assert_int_equal(e.total, corpus->split->tokens);
    assert_int_equal(e.scored + e.skipped, e.total);
    return e;
}

/* ---- the same without evaluation ---- */

typedef struct expectation {
    lh_loss_sum all, distances[LH_DISTANCE_BINS];
    uint8_t *seen; /* [tokens] */
    uint64_t distinct;
} expectation;

static void expect(expectation *x, uint64_t at, double nats, bool right)
{
    int bin = 0;
    while (2u << bin <= answers[at]) {
        bin++;
    }
    lh_loss_sum *sums[] = {&x->all, &x->distances[bin]};
    for (int i = 0; i < 2; i++) {
        sums[i]->nats += nats;
        sums[i]->tokens++;
        sums[i]->right += right;
    }
    x->distinct += !x->seen[at];
    x->seen[at] = 1;
}

/* Reads tokens from .. end-1 from nothing and counts the answers from `first` on. */
static void expect_range(expectation *x, uint64_t from, uint64_t first, uint64_t end)
{
    lh_error error = {0};
    lh_session *s;
    static float logits[64];
    tiny_check(lh_session_create(&s, model, 1, 1, &error), &error);
    for (uint64_t at = from; at < end; at++) {
        if (at >= first && answers[at] && at == from) {
            expect(x, at, log((double)task.vocab), false); /* nothing precedes it: charged */
        } else if (at >= first && answers[at]) {
            int best = 0;
            double sum = 0.0;
            for (int v = 0; v < task.vocab; v++) {
                best = logits[v] > logits[best] ? v : best;
                sum += exp((double)logits[v]);
            }
            expect(x, at, log(sum) - (double)logits[tokens[at]], best == tokens[at]);
        }
        tiny_check(lh_session_feed(s, tokens + at, 1, logits, &error), &error);
    }
    lh_session_free(s);
}

static void expect_windows(expectation *x, const lh_protocol *p, uint64_t start, uint64_t count)
{
    lh_window w;
    for (uint64_t i = 0; lh_protocol_window(p, count, i, &w); i++) {
        uint64_t from = start + w.start, end = from + w.count;
        expect_range(x, from, end - w.scored, end);
    }
}

static expectation expectation_of(const lh_protocol *p)
{
    expectation x = {.seen = calloc(whole->tokens, 1)};
    if (p->kind == LH_PROTOCOL_PACK || p->kind == LH_PROTOCOL_OVERLAP) {
        expect_windows(&x, p, 0, whole->tokens);
    } else if (p->kind == LH_PROTOCOL_STREAM) {
        expect_range(&x, 0, 0, whole->tokens);
    } else {
        for (uint64_t i = 0; i < whole->documents; i++) {
            lh_document d = lh_split_document(whole, i);
            if (p->kind == LH_PROTOCOL_BOOK) {
                expect_range(&x, d.start, d.start, d.start + d.tokens);
            } else {
                expect_windows(&x, p, d.start, d.tokens);
            }
        }
    }
    return x;
}

static void assert_sum(const lh_loss_sum *got, const lh_loss_sum *wanted)
{
    assert_int_equal(got->tokens, wanted->tokens);
    assert_int_equal(got->right, wanted->right);
    assert_true(fabs(got->nats - wanted->nats) <= 1e-5 * (1 + wanted->nats)); /* session's logits are floats */
}

static void protocols_against_brute_force(void **state)
{
    (void)state;
    const lh_eval_options runs[] = {
        options_of(LH_PROTOCOL_BOOK, 0, 0, 1),       options_of(LH_PROTOCOL_BOOK, 0, 0, 4),
        options_of(LH_PROTOCOL_STREAM, 0, 0, 1),     options_of(LH_PROTOCOL_PACK, 21, 0, 3),
        options_of(LH_PROTOCOL_SLIDE, 20, 6, 2),     options_of(LH_PROTOCOL_SLIDE, 40, 40, 5),
        options_of(LH_PROTOCOL_OVERLAP, 24, 10, 3),  options_of(LH_PROTOCOL_OVERLAP, 16, 16, 2),
        options_of(LH_PROTOCOL_CHUNKMEAN, 24, 8, 3), options_of(LH_PROTOCOL_SLIDE, 20, 6, 1),
        options_of(LH_PROTOCOL_CHUNKMEAN, 24, 8, 1),
    };
    lh_eval_corpus *corpus = corpus_of(0, 0);
    for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
        const lh_protocol *p = &runs[r].protocol;
        expectation x = expectation_of(p);
        lh_evaluation e = evaluate(corpus, &runs[r]);
        lh_eval_figures f = lh_eval_figures_of(&e, corpus, p, false);
        assert_true(x.all.tokens > 20 && x.all.right > 2 && x.all.right < x.all.tokens);
        assert_sum(&e.tally->all, &x.all);
        for (int i = 0; i < LH_DISTANCE_BINS; i++) {
            assert_sum(&e.tally->distances[i], &x.distances[i]);
        }
        assert_true(e.tally->distances[2].tokens > 0 && e.tally->distances[4].tokens > 0);
        assert_int_equal(e.scored, x.distinct);
        assert_true(f.accuracy == (double)x.all.right / (double)x.all.tokens);
        assert_true(f.chance == 1.0 / 3);
        free(x.seen);
        lh_evaluation_free(&e);
    }
    lh_eval_corpus_free(corpus);
}

/* Asked for all tokens, a task is a text like any other. */
static void all_tokens_on_request(void **state)
{
    (void)state;
    lh_eval_corpus *corpus = corpus_of(0, 0);
    lh_split plain = *whole;
    plain.answered = false;
    for (int kind = LH_PROTOCOL_STREAM; kind <= LH_PROTOCOL_CHUNKMEAN; kind++) {
        if (kind == LH_PROTOCOL_TRUNC) {
            continue;
        }
        lh_eval_options o = options_of((lh_protocol_kind)kind, kind >= LH_PROTOCOL_PACK ? 20 : 0,
                                       kind >= LH_PROTOCOL_SLIDE ? 10 : 0, 2);
        o.every_target = true;
        lh_evaluation e = evaluate(corpus, &o);
        corpus->split = &plain;
        lh_evaluation other = evaluate(corpus, &o);
        corpus->split = whole;
        assert_memory_equal(&e.tally->all, &other.tally->all, sizeof e.tally->all);
        assert_int_equal(e.scored, other.scored);
        assert_int_equal(e.tally->all.right, 0);
        assert_true(isnan(lh_eval_figures_of(&e, corpus, &o.protocol, false).accuracy));
        lh_evaluation_free(&e);
        lh_evaluation_free(&other);
    }
    lh_eval_corpus_free(corpus);
}

/* Limits cut the answers with the tokens. */
static void limits_keep_answers(void **state)
{
    (void)state;
    lh_eval_corpus *corpus = corpus_of(100, 0);
    assert_true(corpus->split->answered && corpus->split != whole);
    assert_int_equal(corpus->split->tokens, 100);
    uint32_t copy[100];
    lh_split_copy_answers(corpus->split, 0, 100, copy);
    assert_memory_equal(copy, answers, sizeof copy);
    lh_eval_corpus_free(corpus);
    corpus = corpus_of(0, 13);
    for (uint64_t i = 0; i < whole->documents; i++) {
        lh_document a = lh_split_document(whole, i), b = lh_split_document(corpus->split, i);
        assert_int_equal(b.tokens, a.tokens < 13 ? a.tokens : 13);
        lh_split_copy_answers(corpus->split, b.start, b.tokens, copy);
        assert_memory_equal(copy, answers + a.start, sizeof *copy * b.tokens);
    }
    lh_error error = {0};
    assert_int_equal(lh_eval_corpus_pack_lines(corpus, tokenizer, 64, LH_NO_TOKEN, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "no text"));
    lh_eval_corpus_free(corpus);
}

static bool stop_after(void *user, const lh_tally *tally, uint64_t done, uint64_t total)
{
    (void)tally;
    assert_true(done <= total);
    return --*(int *)user > 0;
}

static void interrupted_and_resumed(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/eval.part", folder);
    lh_eval_corpus *corpus = corpus_of(0, 0);
    const lh_eval_options runs[] = {options_of(LH_PROTOCOL_BOOK, 0, 0, 2), options_of(LH_PROTOCOL_SLIDE, 20, 6, 2)};
    for (int r = 0; r < 2; r++) {
        lh_evaluation at_once = evaluate(corpus, &runs[r]), e = {0};
        lh_eval_options o = runs[r];
        int left, stops = 0;
        lh_status status;
        o.resume_path = path;
        o.watch = stop_after;
        o.watch_data = &left;
        do {
            lh_error error = {0};
            left = 2;
            status = lh_evaluate(&e, model, tokenizer, corpus, &o, &error);
            assert_true(status == LH_OK || status == LH_E_INTERRUPTED);
            stops += status != LH_OK;
            if (stops == 1) { /* with all tokens it would be another evaluation */
                lh_evaluation other;
                lh_eval_options every = o;
                every.every_target = true;
                error = (lh_error){0};
                assert_int_equal(lh_evaluate(&other, model, tokenizer, corpus, &every, &error), LH_E_CONFIG);
            }
        } while (status != LH_OK && stops < 100);
        assert_true(stops > 1 && e.resumed);
        assert_memory_equal(&e.tally->all, &at_once.tally->all, sizeof e.tally->all);
        assert_memory_equal(e.tally->distances, at_once.tally->distances, sizeof e.tally->distances);
        lh_evaluation_free(&e);
        lh_evaluation_free(&at_once);
    }
    lh_eval_corpus_free(corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protocols_against_brute_force),
        cmocka_unit_test(all_tokens_on_request),
        cmocka_unit_test(limits_keep_answers),
        cmocka_unit_test(interrupted_and_resumed),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
