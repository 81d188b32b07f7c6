/* Pairs of a source and its target on their way: from JSON Lines to a data set, through streams, into training and
 * evaluation, and a text that is written beside a source. */
#include "data/dataset.h"
#include "data/pairs.h"
#include "data/stream.h"
#include "eval/evaluate.h"
#include "infer/generate.h"
#include "support/scratch.h"
#include "support/tiny_model.h"
#include "text/train.h"
#include "train/trainer.h"

enum { VOCAB = 24, WORDS = 10, LIST = 3, LONGEST = 20 };
/* Ids: 0 ends a text; 1 .. WORDS are words, WORDS + 1 .. 2 WORDS the same words, marked. */

/* ---- a task: the marked words of the source, in their order ---- */

/* Draws a source of LIST marked words among others, and its target with the end behind it. */
static int draw_pair(lh_random *random, int32_t *source, int32_t *target)
{
    int length = 12 + (int)lh_random_below(random, LONGEST - 12 + 1), left = LIST;
    for (int i = 0; i < length; i++) {
        bool marked = lh_random_below(random, (uint64_t)(length - i)) < (uint64_t)left;
        int32_t word = 1 + (int32_t)lh_random_below(random, WORDS);
        source[i] = marked ? word + WORDS : word;
        if (marked) {
            target[LIST - left--] = word;
        }
    }
    target[LIST] = 0;
    return length;
}

/* `count` pairs as documents with answers. */
static lh_split *make_split(int count, uint64_t seed)
{
    lh_error error = {0};
    lh_split *split;
    size_t most = (size_t)count * (LONGEST + LIST + 2), used = 0;
    int32_t *tokens = calloc(most, sizeof *tokens);
    uint32_t *answers = calloc(most, sizeof *answers);
    uint64_t *lengths = calloc((size_t)count, sizeof *lengths);
    lh_random random = lh_random_create(seed, 4);
    for (int i = 0; i < count; i++) {
        int length = draw_pair(&random, tokens + used, tokens + used + LONGEST + 1);
        memmove(tokens + used + length + 1, tokens + used + LONGEST + 1, sizeof *tokens * (LIST + 1));
        tokens[used + (size_t)length] = 0;
        for (int j = 0; j <= LIST; j++) {
            answers[used + (size_t)(length + 1 + j)] = LH_ANSWER;
        }
        lengths[i] = (uint64_t)(length + 1 + LIST + 1);
        used += lengths[i];
    }
    tiny_check(lh_split_create(&split, tokens, lengths, (uint64_t)count, VOCAB, &error), &error);
    tiny_check(lh_split_set_answers(split, answers, &error), &error);
    free(tokens);
    free(answers);
    free(lengths);
    return split;
}

/* ---- streams ---- */

/* Every pair comes once in an epoch: its source beside the segment, its target behind the source's end. */
static void streams_hand_sources_on(void **state)
{
    (void)state;
    enum { PAIRS = 9, SOURCE = 14, SEGMENT = 3, BATCHES = 200 };
    lh_error error = {0};
    lh_split *split = make_split(PAIRS, 5);
    lh_token_stream *stream;
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = LH_STREAM_DOCUMENTS;
    options.boundary = LH_BOUNDARY_PAD;
    options.lanes = 2;
    options.segment = SEGMENT;
    options.epochs = 1;
    options.shuffle = true;
    options.source = SOURCE;
    tiny_check(lh_token_stream_create(&stream, split, &options, &error), &error);
    int begun = 0, cut = 0, long_ones = 0;
    int64_t scored = 0;
    const lh_batch *batch;
    for (;;) {
        tiny_check(lh_token_stream_next(stream, SEGMENT, &batch, &error), &error);
        if (!batch) {
            break;
        }
        cut += (int)batch->sources_cut;
        scored += batch->scored;
        for (int lane = 0; lane < 2; lane++) {
            const int32_t *row = batch->sources + lane * SOURCE;
            if (!(batch->flags[lane * SEGMENT] & LH_INPUT_CHAIN_START)) {
                assert_int_equal(row[SOURCE - 1], -1); /* goes on beside the source it has */
                continue;
            }
            lh_document d = lh_split_document(split, (uint64_t)batch->documents[lane * SEGMENT]);
            int length = (int)lh_split_source(split, (uint64_t)batch->documents[lane * SEGMENT]) - 1;
            int kept = length < SOURCE ? length : SOURCE;
            int32_t text[LONGEST + LIST + 2];
            assert_int_equal(length, (int)d.tokens - LIST - 2);
            tiny_check(lh_split_copy(split, d.start, d.tokens, text, &error), &error);
            assert_memory_equal(row + SOURCE - kept, text, sizeof *text * (size_t)kept); /* its beginning */
            assert_true(kept == SOURCE || row[SOURCE - kept - 1] == -1);
            assert_int_equal(batch->inputs[lane * SEGMENT], 0); /* the source's end */
            assert_memory_equal(batch->targets + lane * SEGMENT, text + length + 1, sizeof *text * SEGMENT);
            begun++;
            long_ones += length > SOURCE;
        }
    }
    lh_token_stream_totals totals = lh_token_stream_count(stream);
    assert_int_equal(begun, PAIRS);
    assert_true(cut == long_ones && cut > 0 && cut < PAIRS);
    assert_int_equal(scored, PAIRS * (LIST + 1));
    assert_int_equal(totals.total, split->tokens);
    lh_token_stream_free(stream);
    options.boundary = LH_BOUNDARY_CONTINUE;
    options.shuffle = false;
    assert_int_equal(lh_token_stream_create(&stream, split, &options, &error), LH_E_CONFIG);
    lh_split_free(split);
}

/* ---- training ---- */

static const char recipe_text[] =
    "[data]\npath = nowhere\nbatch = 16\n"
    "[model]\nlayers = 2\nwidth = 32\nheads = 4\nhidden = 64\nsegment = 4\npositions = none\nnorm_layout = output\n"
    "final_norm = false\ninit = unit-uniform\ntied = false\ninput_projection = linear\nembedding_scaled = false\n"
    "[memory]\nkind = routing-pairs\nencoder_layers = 2\nsource = 20\nclusters = 2\nblock = 8\nlook_back = 8\n"
    "distance = 15\n"
    "[train]\nsteps = 100000\nthreads = 1\nseed = 3\nwarmup = 50\nschedule = constant\nlearning_rate = 4e-3\n";

typedef struct running {
    lh_recipe *recipe;
    lh_training *training;
    uint32_t token_bytes[VOCAB];
} running;

/* Cross attention in clusters alone, and as it is by default. */
static const char *const clusters[] = {"memory.cross_attention=blocks", "memory.cross_routing_heads=4", NULL};
static const char *const dense[] = {NULL};

/* settings: ended by NULL; setting: one more, or NULL */
static void begin_training(running *r, const lh_split *split, const char *const *settings, const char *setting)
{
    lh_error error = {0};
    memset(r, 0, sizeof *r);
    tiny_check(lh_train_recipe_create(&r->recipe, &error), &error);
    tiny_check(lh_recipe_read_text(r->recipe, "pairs", recipe_text, strlen(recipe_text), &error), &error);
    for (int i = 0; settings[i]; i++) {
        tiny_check(lh_recipe_override(r->recipe, settings[i], &error), &error);
    }
    if (setting) {
        tiny_check(lh_recipe_override(r->recipe, setting, &error), &error);
    }
    tiny_check(lh_recipe_resolve(r->recipe, &error), &error);
    lh_train_source source = {.split = split, .token_bytes = r->token_bytes, .vocab = VOCAB};
    tiny_check(lh_training_create(&r->training, r->recipe, &source, lh_backend_cpu(), LH_F32, &error), &error);
}

static void end_training(running *r)
{
    lh_training_free(r->training);
    lh_recipe_free(r->recipe);
}

static void train(running *r, int steps)
{
    lh_error error = {0};
    for (int i = 0; i < steps; i++) {
        lh_iteration result;
        tiny_check(lh_training_step(r->training, 0.0, &result, &error), &error);
    }
}

/* Which sources an evaluation shows. */
typedef enum shown { OWN, NOTHING, ANOTHERS } shown;

/* How many of the words of unseen pairs are the likeliest ones. */
static double accuracy(const lh_model *model, shown which)
{
    enum { LANES = 200 };
    lh_error error = {0};
    lh_session *session;
    lh_random random = lh_random_create(99, 4);
    static int32_t sources[LANES * LONGEST], tokens[LANES * LIST], targets[LANES * LIST], best[LANES * LIST];
    static double nll[LANES * LIST];
    int right = 0;
    memset(sources, 0xff, sizeof sources);
    for (int lane = 0; lane < LANES; lane++) {
        int32_t source[LONGEST], target[LIST + 1];
        int length = draw_pair(&random, source, target), row = which == ANOTHERS ? (lane + 1) % LANES : lane;
        memcpy(sources + (row + 1) * LONGEST - length, source, sizeof *source * (size_t)length);
        for (int i = 0; i < LIST; i++) {
            tokens[lane * LIST + i] = i == 0 ? 0 : target[i - 1];
            targets[lane * LIST + i] = target[i];
        }
    }
    tiny_check(lh_session_create(&session, model, LANES, 1, &error), &error);
    if (which != NOTHING) {
        tiny_check(lh_session_source(session, sources, LONGEST, &error), &error);
    }
    tiny_check(lh_session_score_best(session, tokens, targets, LIST, nll, best, &error), &error);
    for (int i = 0; i < LANES * LIST; i++) {
        right += best[i] == targets[i];
    }
    lh_session_free(session);
    return (double)right / (LANES * LIST);
}

static void learn_list(const char *const *settings)
{
    running r;
    lh_split *split = make_split(4000, 1);
    begin_training(&r, split, settings, NULL);
    double own = 0;
    for (int round = 0; round < 12 && own <= 0.97; round++) {
        train(&r, 150);
        own = accuracy(r.training->model, OWN);
        print_message("%lld steps: %.3f\n", (long long)r.training->iteration, own);
    }
    double nothing = accuracy(r.training->model, NOTHING), anothers = accuracy(r.training->model, ANOTHERS);
    print_message("own source %.3f, none %.3f, another's %.3f, guessing 0.1\n", own, nothing, anothers);
    assert_true(own > 0.95);
    assert_true(nothing < 0.2 && anothers < 0.2);
    end_training(&r);
    lh_split_free(split);
}

/* The words of a list can be had from the source and from nowhere else: from all of it, and from clusters of half
 * of it. LH_SKIP_TRENDS=1 leaves it out. */
static void a_list_is_learned_from_its_source(void **state)
{
    (void)state;
    if (getenv("LH_SKIP_TRENDS")) {
        skip();
    }
    learn_list(dense);
    learn_list(clusters);
}

/* A run that was saved goes on as the run that never stopped, bit for bit, in the middle of targets. */
static void resume_with(const char *const *settings)
{
    lh_error error = {0};
    char folder[64];
    lh_split *split = make_split(60, 1);
    running a, b;
    assert_int_equal(scratch_make(folder), 0);
    begin_training(&a, split, settings, "model.segment=3"); /* a target is two segments */
    begin_training(&b, split, settings, "model.segment=3");
    train(&a, 7);
    tiny_check(lh_training_save(a.training, folder, "", &error), &error);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/checkpoint-7.safetensors", folder);
    lh_checkpoint *file;
    tiny_check(lh_checkpoint_open(&file, path, &error), &error);
    tiny_check(lh_training_restore(b.training, file, &error), &error);
    lh_checkpoint_close(file);
    assert_int_equal(b.training->pairs[0], a.training->pairs[0]);
    assert_int_equal(a.training->pairs[0], 4 * 16);
    train(&a, 6);
    train(&b, 6);
    for (int i = 0; i < a.training->model->parameters.count; i++) {
        const lh_tensor *x = a.training->model->parameters.items[i].tensor;
        const lh_tensor *y = b.training->model->parameters.items[i].tensor;
        assert_memory_equal(lh_tensor_data(x), lh_tensor_data(y),
                            (size_t)lh_tensor_count(x) * lh_dtype_size(x->dtype));
    }
    end_training(&a);
    end_training(&b);
    lh_split_free(split);
    scratch_remove(folder);
}

static void training_resumes(void **state)
{
    (void)state;
    resume_with(dense);
    resume_with(clusters);
}

/* What parts of the lanes learn together is what all of them learn at once. */
static void parts_with(const char *const *settings)
{
    lh_split *split = make_split(60, 1);
    running a, b;
    begin_training(&a, split, settings, NULL);
    begin_training(&b, split, settings, "train.accumulate=4");
    for (int i = 0; i < 3; i++) {
        lh_error error = {0};
        lh_iteration x, y;
        tiny_check(lh_training_step(a.training, 0.0, &x, &error), &error);
        tiny_check(lh_training_step(b.training, 0.0, &y, &error), &error);
        assert_true(fabs(x.sums.nats - y.sums.nats) < 1e-3 * x.sums.nats);
    }
    for (int i = 0; i < a.training->model->parameters.count; i++) {
        const lh_parameter *x = &a.training->model->parameters.items[i],
                           *y = &b.training->model->parameters.items[i];
        const float *p = lh_tensor_data(x->tensor), *q = lh_tensor_data(y->tensor);
        for (int64_t j = 0; x->group == LH_GROUP_STATISTICS && j < lh_tensor_count(x->tensor); j++) {
            if (!(fabsf(p[j] - q[j]) < 5e-3F)) { /* of some thousand tokens a few may fall to another cluster */
                fail_msg("%s [%lld]: %g and %g", x->name, (long long)j, (double)p[j], (double)q[j]);
            }
        }
    }
    end_training(&a);
    end_training(&b);
    lh_split_free(split);
}

static void parts_of_lanes_learn_the_same(void **state)
{
    (void)state;
    parts_with(dense);
    parts_with(clusters);
}

/* ---- preparing ---- */

static char folder[64], input[96], output[96], tokenizer_path[96];

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A tokenizer of characters of a few letters with an end-of-text token. */
static void make_tokenizer(void)
{
    write_file(
        tokenizer_path,
        "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 5, \"content\": \"<|endoftext|>\", \"special\": true,"
        " \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false}],"
        " \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false,"
        " \"use_regex\": true}, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\","
        " \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"d\": 3, \"\\u0120\": 4, \"\\u010a\": 6}, \"merges\": []}}");
}

static int make_folder(void **state)
{
    (void)state;
    int failed = scratch_make(folder);
    (void)snprintf(input, sizeof input, "%s/pairs.jsonl", folder);
    (void)snprintf(output, sizeof output, "%s/data", folder);
    (void)snprintf(tokenizer_path, sizeof tokenizer_path, "%s/tokenizer.json", folder);
    make_tokenizer();
    return failed;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static lh_status prepare(const lh_pairs_options *options, lh_pairs_report *report, lh_error *error)
{
    lh_pairs_options all = *options;
    all.tokenizer = all.tokenizer ? all.tokenizer : tokenizer_path;
    all.split = "train";
    all.force = true;
    return lh_prepare_pairs(input, output, &all, report, error);
}

static void lines_become_pairs(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_pairs_report report;
    lh_dataset *dataset;
    write_file(input, "{\"article\": \"abcd\", \"abstract\": \"ba\"}\n"
                      "{\"article\": \"\", \"abstract\": \"d\"}\n\n"
                      "{\"article\": [\"a\", \"b\"], \"abstract\": \"\"}\n"
                      "{\"title\": \"third\", \"article\": [\"aa\", \"aa\"], \"abstract\": [\"c\"]}\n");
    tiny_check(prepare(&(lh_pairs_options){.source_tokens = 3}, &report, &error), &error);
    assert_int_equal(report.pairs, 2);
    assert_int_equal(report.alone, 2);
    assert_int_equal(report.cut, 2);
    tiny_check(lh_dataset_open(&dataset, output, &error), &error);
    tiny_check(lh_dataset_verify(dataset, NULL, NULL, &error), &error);
    const lh_split *split = &dataset->splits[LH_SPLIT_TRAIN];
    static const int32_t expected[] = {0, 1, 2, 5, 1, 0, 5};
    int32_t tokens[7];
    uint32_t answers[7];
    tiny_check(lh_split_copy(split, 0, 7, tokens, &error), &error);
    lh_split_copy_answers(split, 0, 7, answers);
    assert_memory_equal(tokens, expected, sizeof tokens);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(answers[i], i < 4 ? 0 : LH_ANSWER);
    }
    assert_int_equal(split->documents, 2);
    assert_int_equal(lh_split_source(split, 0), 4);
    lh_document last = lh_split_document(split, 1);
    tiny_check(lh_split_copy(split, last.start, 3, tokens, &error), &error);
    assert_int_equal(tokens[2], 6); /* sentences of a list are lines */
    assert_memory_equal(last.label, "third", 5);
    lh_dataset_free(dataset);
}

static void bad_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"article\": \"a\", \"abstract\": \"b\"}\n{\"article\": \"a\"}\n",
         "no string under the key \"abstract\""},
        {"{\"article\": \"a\", \"abstract\": \"b\"}\n{\"abstract\": \"a\"}\n",
         "no string under the key \"article\""},
        {"{\"article\": \"a\", \"abstract\": \"b\"}\n{\"article\": \n", "is not valid JSON"},
        {"{\"article\": \"a\", \"abstract\": \"b\"}\n[1]\n", "is no JSON object"},
        {"{\"article\": \"a\", \"abstract\": \"b\"}\n{\"article\": [1], \"abstract\": \"b\"}\n", "no string"},
    };
    lh_pairs_report report;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lh_error error = {0};
        write_file(input, cases[i].text);
        assert_int_equal(prepare(&(lh_pairs_options){0}, &report, &error), LH_E_FORMAT);
        assert_non_null(strstr(error.message, cases[i].message));
        assert_non_null(strstr(error.message, "line 2 of "));
        assert_non_null(strstr(error.message, "pairs.jsonl"));
    }
    lh_error error = {0};
    write_file(input, "{\"article\": \"a\", \"abstract\": \"\"}\n");
    assert_int_equal(prepare(&(lh_pairs_options){0}, &report, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "no pair"));
    error = (lh_error){0};
    assert_int_equal(prepare(&(lh_pairs_options){.tokenizer = "bytes"}, &report, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "no end-of-text token"));
}

/* ---- evaluation ---- */

static const char *const small[] = {"model.layers=1",
                                    "model.width=8",
                                    "model.heads=2",
                                    "model.segment=6",
                                    "model.positions=none",
                                    "memory.kind=routing-pairs",
                                    "memory.encoder_layers=1",
                                    "memory.source=5",
                                    "memory.clusters=2",
                                    "memory.block=4",
                                    "memory.look_back=4",
                                    "memory.distance=3",
                                    NULL};

/* An evaluation scores the targets alone, beside their own sources, whatever is read side by side; the sum is what
 * sessions give. */
static void evaluations_score_targets(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_pairs_report report;
    lh_model *model;
    lh_tokenizer *tokenizer;
    lh_eval_corpus *corpus;
    lh_session *session;
    double expected = 0;
    write_file(input, "{\"article\": \"abcd\", \"abstract\": \"ba\"}\n"
                      "{\"article\": \"dcbadcba\", \"abstract\": \"abcdabcdab\"}\n"
                      "{\"article\": \"c\", \"abstract\": \"dd\"}\n");
    tiny_check(prepare(&(lh_pairs_options){0}, &report, &error), &error);
    tiny_check(tiny_model(&model, small, 3, &error), &error);
    tiny_check(lh_tokenizer_open(&tokenizer, tokenizer_path, &error), &error);
    lh_eval_corpus_options where = {.path = output, .split = "train"};
    tiny_check(lh_eval_corpus_open(&corpus, tokenizer, &where, &error), &error);
    assert_int_equal(lh_eval_usual_protocol(corpus), LH_PROTOCOL_BOOK);
    tiny_check(lh_session_create(&session, model, 1, 1, &error), &error);
    for (uint64_t i = 0; i < corpus->split->documents; i++) {
        int32_t text[32];
        double nll[32];
        lh_document d = lh_split_document(corpus->split, i);
        int64_t source = (int64_t)lh_split_source(corpus->split, i) - 1, count = (int64_t)d.tokens - source - 1;
        tiny_check(lh_split_copy(corpus->split, d.start, d.tokens, text, &error), &error);
        tiny_check(lh_session_reset(session, -1, &error), &error);
        tiny_check(lh_session_source(session, text, source, &error), &error);
        tiny_check(lh_session_score(session, text + source, text + source + 1, count, nll, &error), &error);
        for (int64_t j = 0; j < count; j++) {
            expected += nll[j];
        }
    }
    for (int64_t lanes = 1; lanes <= 2; lanes++) {
        lh_evaluation evaluation;
        lh_eval_options options = {.protocol = {.kind = LH_PROTOCOL_BOOK}, .lanes = lanes, .threads = 1};
        tiny_check(lh_protocol_complete(&options.protocol, &error), &error);
        tiny_check(lh_eval_options_complete(&options, NULL, model, tokenizer, corpus, &error), &error);
        tiny_check(lh_evaluate(&evaluation, model, tokenizer, corpus, &options, &error), &error);
        assert_true(fabs(evaluation.tally->all.nats - expected) < 1e-6 * expected);
        assert_int_equal(evaluation.scored, 3 + 11 + 3);
        assert_int_equal(evaluation.total, evaluation.scored + evaluation.skipped);
        assert_int_equal(evaluation.sources_cut, 1);
        lh_evaluation_free(&evaluation);
        options.protocol.kind = LH_PROTOCOL_STREAM;
        assert_int_equal(lh_evaluate(&evaluation, model, tokenizer, corpus, &options, &error), LH_E_CONFIG);
        assert_non_null(strstr(error.message, "evaluated on pairs"));
        error = (lh_error){0};
    }
    lh_session_free(session);
    lh_eval_corpus_free(corpus);
    lh_tokenizer_free(tokenizer);
    lh_model_free(model);
}

/* ---- writing ---- */

/* What is written beside a source is what the session gives behind the end-of-text token; another source begins
 * anew. */
static void texts_are_written_beside_sources(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_model *model;
    lh_tokenizer *tokenizer;
    lh_session *session, *plain;
    lh_generator *generator;
    int64_t cut = -1;
    bool ended;
    tiny_check(tiny_model(&model, small, 3, &error), &error);
    tiny_check(lh_tokenizer_open(&tokenizer, tokenizer_path, &error), &error);
    tiny_check(lh_session_create(&session, model, 1, 1, &error), &error);
    tiny_check(lh_session_create(&plain, model, 1, 1, &error), &error);
    lh_generator_options options = {.sampling = lh_sampler_defaults(), .ignore_end = true};
    options.sampling.temperature = 0;
    tiny_check(lh_generator_create(&generator, session, tokenizer, &options, &error), &error);
    lh_string text = {0};
    assert_int_equal(lh_generator_next(generator, &text, &ended, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "beside a source"));
    error = (lh_error){0};
    for (int round = 0; round < 2; round++) {
        static const int32_t ids[2][5] = {{0, 1, 2, 3, 0}, {-1, -1, 3, 3, 1}};
        const char *source = round ? "ddb" : "abcdabc";
        float logits[11];
        int32_t token = 5;
        tiny_check(lh_generator_source(generator, source, strlen(source), &cut, &error), &error);
        assert_int_equal(cut, round ? 0 : 2);
        tiny_check(lh_session_reset(plain, -1, &error), &error);
        tiny_check(lh_session_source(plain, ids[round], 5, &error), &error);
        for (int i = 0; i < 9; i++) { /* beyond a segment: its end is read again */
            tiny_check(lh_session_feed(plain, &token, 1, logits, &error), &error);
            tiny_check(lh_generator_next(generator, &text, &ended, &error), &error);
            token = 0;
            for (int32_t j = 1; j < 7; j++) { /* the tokenizer has no others */
                token = logits[j] > logits[token] ? j : token;
            }
            assert_int_equal(lh_generator_last_token(generator), token);
        }
    }
    lh_string_free(&text);
    lh_generator_free(generator);
    lh_session_free(session);
    lh_session_free(plain);
    lh_tokenizer_free(tokenizer);
    lh_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_hand_sources_on),
        cmocka_unit_test(training_resumes),
        cmocka_unit_test(parts_of_lanes_learn_the_same),
        cmocka_unit_test(lines_become_pairs),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(evaluations_score_targets),
        cmocka_unit_test(texts_are_written_beside_sources),
        cmocka_unit_test(a_list_is_learned_from_its_source),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
