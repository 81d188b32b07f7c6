/* Writing on: prompts in any pieces, stop texts, files, and the same text whatever the way. */
#include "infer/generate.h"
#include "infer/load.h"
#include "support/byte_model.h"

static const char *const small[] = {"model.layers=2",      "model.width=16",          "model.heads=2",
                                    "model.hidden=24",     "model.segment=16",        "model.positions=relative",
                                    "model.init=sonnet",   "memory.kind=compressive", "memory.length=16",
                                    "memory.compressed=8", "memory.rate=2",           NULL};

static lh_generator_options plain(void)
{
    return (lh_generator_options){
        .sampling = {
            .temperature = 1.0, .top_p = 0.95, .repetition_penalty = 1.1, .repetition_window = 20, .seed = 6}};
}

typedef struct writer {
    lh_session *session;
    lh_generator *generator;
} writer;

static writer writer_of(const byte_model *m, const lh_generator_options *options)
{
    lh_error error = {0};
    writer w = {0};
    tiny_check(lh_session_create(&w.session, m->model, 1, 1, &error), &error);
    tiny_check(lh_generator_create(&w.generator, w.session, m->tokenizer, options, &error), &error);
    return w;
}

static void writer_free(writer *w)
{
    lh_generator_free(w->generator);
    lh_session_free(w->session);
}

/* Writes up to `tokens` and appends their text; returns whether it ended before. */
static bool write_on(writer *w, int tokens, lh_string *text)
{
    lh_error error = {0};
    bool ended = false;
    for (int i = 0; i < tokens && !ended; i++) {
        tiny_check(lh_generator_next(w->generator, text, &ended, &error), &error);
    }
    return ended;
}

static void read_text(writer *w, const char *text, size_t size)
{
    lh_error error = {0};
    tiny_check(lh_generator_read(w->generator, text, size, &error), &error);
}

/* How the prompt is cut changes neither what follows nor what is counted. */
static void prompts_in_pieces(void **state)
{
    (void)state;
    char prompt[1000];
    lh_string first = {0};
    byte_model m = byte_model_create(small, LH_F32);
    lh_generator_options o = plain();
    byte_text(prompt, sizeof prompt, 3);
    static const size_t pieces[] = {1000, 1, 7, 16, 333};
    for (size_t p = 0; p < 5; p++) {
        lh_string text = {0};
        writer w = writer_of(&m, &o);
        for (size_t at = 0; at < sizeof prompt; at += pieces[p]) {
            read_text(&w, prompt + at, sizeof prompt - at < pieces[p] ? sizeof prompt - at : pieces[p]);
        }
        assert_false(write_on(&w, 60, &text));
        lh_error error = {0};
        tiny_check(lh_generator_finish(w.generator, &text, &error), &error);
        assert_int_equal(lh_generator_tokens_read(w.generator), sizeof prompt);
        assert_int_equal(lh_generator_tokens_written(w.generator), 60);
        assert_int_equal(lh_session_position(w.session), sizeof prompt + 59); /* the last one is not read yet */
        assert_int_equal(text.size, 60);
        if (p == 0) {
            first = text;
        } else {
            assert_memory_equal(text.data, first.data, 60);
            lh_string_free(&text);
        }
        writer_free(&w);
    }
    lh_string_free(&first);
    byte_model_free(&m);
}

/* Writing, saving, restoring and writing on is writing. */
static void saved_and_restored(void **state)
{
    (void)state;
    char folder[64], path[96], prompt[333];
    lh_error error = {0};
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof path, "%s/s", folder);
    byte_model m = byte_model_create(small, LH_F32);
    lh_generator_options o = plain();
    byte_text(prompt, sizeof prompt, 4);
    lh_string whole = {0}, parts = {0}, other = {0}, empty = {0};
    writer w = writer_of(&m, &o);
    read_text(&w, prompt, sizeof prompt);
    write_on(&w, 90, &whole);
    tiny_check(lh_generator_finish(w.generator, &whole, &error), &error);
    writer_free(&w);
    for (int cut = 0; cut <= 45; cut += 15) {
        lh_string_clear(&parts);
        w = writer_of(&m, &o);
        read_text(&w, prompt, sizeof prompt);
        write_on(&w, cut, &parts);
        tiny_check(lh_generator_finish(w.generator, &parts, &error), &error);
        tiny_check(lh_generator_save(w.generator, path, &error), &error);
        writer_free(&w);
        w = writer_of(&m, &o);
        write_on(&w, 3, &other); /* whatever it did before is forgotten */
        tiny_check(lh_generator_restore(w.generator, path, false, &error), &error);
        write_on(&w, 90 - cut, &parts);
        tiny_check(lh_generator_finish(w.generator, &parts, &error), &error);
        assert_int_equal(parts.size, whole.size);
        assert_memory_equal(parts.data, whole.data, whole.size);
        writer_free(&w);
    }
    /* With its own seed it writes something else. */
    o.sampling.seed = 99;
    w = writer_of(&m, &o);
    tiny_check(lh_generator_restore(w.generator, path, true, &error), &error);
    write_on(&w, 45, &empty);
    assert_memory_not_equal(empty.data, whole.data + 45, 40);
    writer_free(&w);
    /* A session's file is none of a generator's. */
    w = writer_of(&m, &o);
    tiny_check(lh_session_save(w.session, path, &error), &error);
    assert_int_equal(lh_generator_restore(w.generator, path, false, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "generator."));
    writer_free(&w);
    lh_string_free(&whole);
    lh_string_free(&parts);
    lh_string_free(&other);
    lh_string_free(&empty);
    byte_model_free(&m);
    scratch_remove(folder);
}

/* A generator goes on from what its session has read, and leaves it where it can go on by itself. */
static void settled(void **state)
{
    (void)state;
    enum { PROMPT = 100, TOKENS = 30 };
    char prompt[PROMPT];
    int32_t ids[PROMPT];
    float logits[256];
    double nll;
    lh_error error = {0};
    bool ended;
    lh_string a = {0}, b = {0};
    byte_model m = byte_model_create(small, LH_F32);
    lh_generator_options o = plain();
    o.sampling.repetition_penalty = 1.0; /* the second generator does not know what was read before */
    byte_text(prompt, sizeof prompt, 5);
    for (int i = 0; i < PROMPT; i++) {
        ids[i] = (unsigned char)prompt[i];
    }
    writer w = writer_of(&m, &o), v = writer_of(&m, &o);
    read_text(&w, prompt, sizeof prompt);
    tiny_check(lh_session_read(v.session, ids, PROMPT, &error), &error);
    assert_false(write_on(&w, TOKENS, &a));
    for (int i = 0; i < TOKENS; i++) {
        tiny_check(lh_generator_next(v.generator, &b, &ended, &error), &error);
        tiny_check(lh_generator_settle(v.generator, &error), &error); /* as often as wanted */
        assert_int_equal(lh_session_position(v.session), PROMPT + i + 1);
    }
    tiny_check(lh_generator_settle(w.generator, &error), &error);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    assert_int_equal(lh_session_position(w.session), PROMPT + TOKENS);
    assert_memory_equal(lh_session_logits(w.session), lh_session_logits(v.session), sizeof logits);
    /* After a score nothing is known of what comes next, until something is read. */
    tiny_check(lh_session_score(w.session, ids, ids, 1, &nll, &error), &error);
    assert_int_equal(lh_generator_next(w.generator, &a, &ended, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "what comes next"));
    read_text(&w, "x", 1);
    error = (lh_error){0};
    tiny_check(lh_generator_next(w.generator, &a, &ended, &error), &error);
    writer_free(&w);
    writer_free(&v);
    lh_string_free(&a);
    lh_string_free(&b);
    byte_model_free(&m);
}

/* A model that writes "abcdefgh..." for ever: the next byte is the next letter. */
static byte_model alphabet_model(void)
{
    static const char *const arguments[] = {"model.layers=0",
                                            "model.width=256",
                                            "model.heads=2",
                                            "model.tied=false",
                                            "model.final_norm=false",
                                            "model.segment=8",
                                            "model.embedding_scaled=false",
                                            NULL};
    byte_model m = byte_model_create(arguments, LH_F64);
    double *in = lh_tensor_data(m.model->embedding[0]), *out = lh_tensor_data(m.model->output[0]);
    memset(in, 0, sizeof *in * 256 * 256);
    memset(out, 0, sizeof *out * 256 * 256);
    for (int i = 0; i < 256; i++) {
        int next = i >= 'a' && i < 'z'     ? i + 1
                   : i == 'z' || i == '\n' ? 'a'
                   : i == 0xc3             ? 0xa9
                   : i == 0xa9             ? 0xc3
                                           : 'a';
        in[i * 256 + i] = 1.0;
        out[next * 256 + i] = 50.0;
    }
    return m;
}

static void stop_texts(void **state)
{
    (void)state;
    static const struct {
        const char *stops[3];
        const char *prompt, *expected;
        int tokens;
        bool ended;
    } cases[] = {
        {{"hij"}, "a", "bcdefg", 40, true},
        {{"hix", "k"}, "a", "bcdefghij", 40, true}, /* the beginning of the first proves to be no stop */
        {{"mnop", "op"}, "k", "l", 40, true},       /* of two that come up the one that begins first */
        {{"defgz", "fg"}, "a", "bcde", 40, true},
        {{"yzab"}, "a", "bcdefghijklmnopqrstuvwx", 40, true},
        {{"hij"}, "a", "bcdefgh", 7, false}, /* what was held back comes at the end */
        {{NULL}, "", "abc", 3, false},       /* nothing was read: a line begins */
    };
    byte_model m = alphabet_model();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lh_error error = {0};
        lh_string text = {0};
        lh_generator_options o = plain();
        o.sampling.temperature = 0.0;
        o.sampling.repetition_penalty = 1.0;
        o.stops = cases[i].stops;
        while (o.stop_count < 3 && cases[i].stops[o.stop_count]) {
            o.stop_count++;
        }
        writer w = writer_of(&m, &o);
        read_text(&w, cases[i].prompt, strlen(cases[i].prompt));
        bool ended = write_on(&w, cases[i].tokens, &text);
        tiny_check(lh_generator_finish(w.generator, &text, &error), &error);
        assert_int_equal(ended, cases[i].ended);
        assert_string_equal(text.data, cases[i].expected);
        writer_free(&w);
        lh_string_free(&text);
    }
    byte_model_free(&m);
}

/* A character's bytes come together, and what never becomes one comes at the end. */
static void whole_characters(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_string text = {0};
    bool ended;
    byte_model m = alphabet_model();
    lh_generator_options o = plain();
    o.sampling.temperature = 0.0;
    o.sampling.repetition_penalty = 1.0;
    writer w = writer_of(&m, &o);
    read_text(&w, "\xc3\xa9", 2); /* the model goes on with the same two bytes for ever */
    for (int i = 0; i < 6; i++) {
        tiny_check(lh_generator_next(w.generator, &text, &ended, &error), &error);
        assert_int_equal(text.size, (i + 1) / 2 * 2);
    }
    tiny_check(lh_generator_next(w.generator, &text, &ended, &error), &error);
    assert_int_equal(text.size, 6);
    tiny_check(lh_generator_finish(w.generator, &text, &error), &error);
    assert_string_equal(text.data, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3");
    writer_free(&w);
    lh_string_free(&text);
    byte_model_free(&m);
}

/* The end-of-text token ends the writing, unless it is to be ignored; its text does not show. */
static void end_of_text(void **state)
{
    (void)state;
    byte_model m = alphabet_model();
    lh_error error = {0};
    tiny_check(lh_tokenizer_set_role(m.tokenizer, LH_TOKEN_EOS, 'e', &error), &error);
    for (int ignore = 0; ignore < 2; ignore++) {
        lh_string text = {0};
        lh_generator_options o = plain();
        o.sampling.temperature = 0.0;
        o.sampling.repetition_penalty = 1.0;
        o.ignore_end = ignore;
        writer w = writer_of(&m, &o);
        read_text(&w, "a", 1);
        assert_int_equal(write_on(&w, 5, &text), !ignore);
        assert_int_equal(strncmp(text.data, "bcd", 3), 0);
        assert_int_equal(lh_generator_last_token(w.generator), ignore ? 'f' : 'e');
        writer_free(&w);
        lh_string_free(&text);
    }
    byte_model_free(&m);
}

static void refusals(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_session *two;
    lh_generator *g = NULL;
    byte_model m = byte_model_create(small, LH_F32);
    lh_generator_options o = plain();
    tiny_check(lh_session_create(&two, m.model, 2, 1, &error), &error);
    assert_int_equal(lh_generator_create(&g, two, m.tokenizer, &o, &error), LH_E_ARGUMENT);
    lh_session_free(two);
    tiny_check(lh_session_create(&two, m.model, 1, 1, &error), &error);
    const char *nothing = "";
    o.stops = &nothing;
    o.stop_count = 1;
    error = (lh_error){0};
    assert_int_equal(lh_generator_create(&g, two, m.tokenizer, &o, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "stop text"));
    assert_null(g);
    lh_session_free(two);
    byte_model_free(&m);
}

/* From a directory, with other sizes of memory; what changes parameters, and what is damaged, is refused. */
/* A model whose clusters are chosen with later tokens cannot write, and says what to do; in the other modes it can.
 */
static void full_routing_does_not_write(void **state)
{
    (void)state;
    static const char *const modes[] = {"memory.routing=full", "memory.routing=prefix", "memory.routing=causal"};
    static const char *const notes[] = {"routing full", "routing prefix", "routing causal"};
    for (int mode = 0; mode < 3; mode++) {
        const char *arguments[] = {"model.layers=1",
                                   "model.width=8",
                                   "model.heads=2",
                                   "model.segment=16",
                                   "model.hidden=8",
                                   "model.positions=none",
                                   "memory.kind=routing",
                                   "memory.clusters=2",
                                   "memory.block=4",
                                   "memory.look_back=4",
                                   "memory.distance=3",
                                   modes[mode],
                                   NULL};
        lh_error error = {0};
        byte_model m = byte_model_create(arguments, LH_F32);
        lh_generator_options o = plain();
        writer w = {0};
        lh_string text = {0};
        assert_non_null(strstr(m.model->memory_kind->note(&m.model->shape), notes[mode]));
        tiny_check(lh_session_create(&w.session, m.model, 1, 1, &error), &error);
        lh_status status = lh_generator_create(&w.generator, w.session, m.tokenizer, &o, &error);
        assert_int_equal(status, mode == 0 ? LH_E_UNSUPPORTED : LH_OK);
        if (mode == 0) {
            assert_non_null(strstr(error.message, "set memory.routing to prefix"));
        } else {
            read_text(&w, "some text to begin with", 23);
            assert_false(write_on(&w, 20, &text));
        }
        lh_string_free(&text);
        writer_free(&w);
        byte_model_free(&m);
    }
}

static void models_from_disk(void **state)
{
    (void)state;
    char folder[64], path[160];
    lh_error error = {0};
    lh_model *model = NULL;
    lh_tokenizer *tokenizer = NULL;
    int64_t step;
    size_t size;
    assert_int_equal(scratch_make(folder), 0);
    byte_model m = byte_model_create(small, LH_F32);
    byte_model_save(&m, folder);
    const char *overrides[] = {"memory.compressed=20", "model.segment=4"};
    lh_load_options o = {.overrides = overrides, .override_count = 2};
    tiny_check(lh_load_model(&model, &tokenizer, &step, folder, &o, &error), &error);
    assert_int_equal(step, -1);
    assert_int_equal(model->config.segment, 4);
    assert_int_equal(lh_tokenizer_get_kind(tokenizer), LH_TOKENIZER_BYTES);
    for (int i = 0; i < m.model->parameters.count; i++) {
        const lh_tensor *a = m.model->parameters.items[i].tensor, *b = model->parameters.items[i].tensor;
        assert_memory_equal(lh_tensor_data(a), lh_tensor_data(b), (size_t)lh_tensor_count(a) * sizeof(float));
    }
    lh_model_free(model);
    lh_tokenizer_free(tokenizer);
    static const char *const wrong[] = {"model.heads=4", "memory.rate=4", "memory.kind=none", "nonsense",
                                        "model.segment"};
    for (int i = 0; i < 5; i++) {
        lh_load_options bad = {.overrides = &wrong[i], .override_count = 1};
        error = (lh_error){0};
        assert_int_equal(lh_load_model(&model, &tokenizer, NULL, folder, &bad, &error), LH_E_CONFIG);
        assert_non_null(strstr(error.message, "cannot be changed"));
        assert_null(model);
        assert_null(tokenizer);
    }
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    char *bytes = scratch_read(path, &size);
    assert_int_equal(scratch_write(path, bytes, size - 5), 0);
    lh_load_options none = {0};
    error = (lh_error){0};
    assert_int_equal(lh_load_model(&model, &tokenizer, NULL, folder, &none, &error), LH_E_FORMAT);
    assert_int_equal(scratch_write(path, bytes, size), 0);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(remove(path), 0);
    error = (lh_error){0};
    assert_int_equal(lh_load_model(&model, &tokenizer, NULL, folder, &none, &error), LH_E_IO);
    error = (lh_error){0};
    tiny_check(lh_load_model(&model, NULL, NULL, folder, &none, &error), &error);
    lh_model_free(model);
    free(bytes);
    byte_model_free(&m);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_in_pieces), cmocka_unit_test(saved_and_restored),
        cmocka_unit_test(settled),           cmocka_unit_test(stop_texts),
        cmocka_unit_test(whole_characters),  cmocka_unit_test(end_of_text),
        cmocka_unit_test(refusals),          cmocka_unit_test(full_routing_does_not_write),
        cmocka_unit_test(models_from_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
