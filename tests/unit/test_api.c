/* The public interface: models, tokenizers, recipes, structs of other versions, and want of memory. */
#include "support/api.h"

/* ---- models ---- */

static void models(void **state)
{
    (void)state;
    longhand_model_info info = {.size = sizeof info};
    longhand_model *model = open_model(), *other;
    OK(longhand_model_get_info(model, &info, &error));
    assert_string_equal(info.memory, "compressive");
    assert_int_equal(info.vocabulary, VOCAB);
    assert_int_equal(info.layers, 2);
    assert_int_equal(info.width, 16);
    assert_int_equal(info.heads, 2);
    assert_int_equal(info.segment, 8);
    assert_int_equal(info.reach, 8 + 2 * 4);
    assert_true(info.step > 0 && info.step <= 20);
    assert_true(info.body > 0 && info.body < info.parameters);
    assert_true(info.state_bytes > 0 && info.running_bytes > 0 && info.flops > 2.0 * (double)info.body);
    longhand_session *session = session_of(model, 1);
    assert_int_equal(longhand_session_state_bytes(session), info.state_bytes + info.running_bytes);
    longhand_session_free(session);
    longhand_model_free(model);

    const char *overrides[] = {"memory.compressed=16", "model.segment=4"};
    longhand_model_options options = {
        .size = sizeof options, .checkpoint = "latest", .overrides = overrides, .override_count = 2};
    OK(longhand_model_open(&other, in_folder("run"), &options, &error));
    OK(longhand_model_get_info(other, &info, &error));
    assert_int_equal(info.segment, 4);
    assert_int_equal(info.reach, 8 + 2 * 16);
    assert_int_equal(info.step, 20);
    longhand_model_free(other);
}

static void models_that_are_none(void **state)
{
    (void)state;
    longhand_model *model = (longhand_model *)folder;
    longhand_model_info info = {.size = sizeof info};
    const char *wrong = "model.heads=4", *nothing = NULL;
    longhand_model_options options = {.size = sizeof options, .overrides = &wrong, .override_count = 1};
    REFUSED(LH_E_IO, "nowhere", longhand_model_open(&model, in_folder("nowhere"), NULL, &error));
    assert_null(model);
    REFUSED(LH_E_CONFIG, "model.heads=4", longhand_model_open(&model, in_folder("run"), &options, &error));
    options.overrides = NULL;
    REFUSED(LH_E_ARGUMENT, "override 0 of 1", longhand_model_open(&model, in_folder("run"), &options, &error));
    options.overrides = &nothing;
    REFUSED(LH_E_ARGUMENT, "override 0 of 1 is NULL",
            longhand_model_open(&model, in_folder("run"), &options, &error));
    options = (longhand_model_options){.size = sizeof options, .checkpoint = "12345"};
    REFUSED(LH_E_IO, "12345", longhand_model_open(&model, in_folder("run"), &options, &error));
    REFUSED(LH_E_ARGUMENT, "without path", longhand_model_open(&model, NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without model", longhand_model_open(NULL, folder, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without model", longhand_model_get_info(NULL, &info, &error));
    model = open_model();
    REFUSED(LH_E_ARGUMENT, "without info", longhand_model_get_info(model, NULL, &error));
    longhand_model_free(model);
    longhand_model_free(NULL);
    assert_int_equal(longhand_model_open(&model, NULL, NULL, NULL), LH_E_ARGUMENT); /* nobody wants the sentence */
}

/* Structs of older and newer programs, and of careless ones. */
static void sizes_of_structs(void **state)
{
    (void)state;
    longhand_model *model = open_model();
    struct {
        longhand_model_info info;
        unsigned char behind[32];
    } larger;
    memset(&larger, 0xee, sizeof larger);
    larger.info.size = sizeof larger;
    OK(longhand_model_get_info(model, &larger.info, &error));
    assert_int_equal(larger.info.size, sizeof larger);
    assert_int_equal(larger.info.layers, 2);
    assert_int_equal(larger.behind[0], 0xee);
    longhand_model_info info;
    memset(&info, 0xee, sizeof info);
    info.size = offsetof(longhand_model_info, layers); /* before layers came in */
    OK(longhand_model_get_info(model, &info, &error));
    assert_int_equal(info.vocabulary, VOCAB);
    assert_int_equal(info.layers, (int64_t)0xeeeeeeeeeeeeeeee);
    info.size = 0;
    REFUSED(LH_E_ARGUMENT, "sizeof(longhand_model_info)", longhand_model_get_info(model, &info, &error));
    info.size = 1 << 30;
    REFUSED(LH_E_ARGUMENT, "longhand_model_info.size is", longhand_model_get_info(model, &info, &error));

    struct {
        longhand_model_options options;
        uint64_t news;
    } newer = {.options = {.size = sizeof newer}};
    longhand_model *other;
    OK(longhand_model_open(&other, in_folder("run"), &newer.options, &error));
    longhand_model_free(other);
    newer.news = 1;
    REFUSED(LH_E_UNSUPPORTED, "newer", longhand_model_open(&other, in_folder("run"), &newer.options, &error));
    assert_null(other);
    newer.options.size = offsetof(longhand_model_options, overrides);
    newer.options.override_count = 7; /* an older library's program has no such field */
    OK(longhand_model_open(&other, in_folder("run"), &newer.options, &error));
    longhand_model_free(other);

    longhand_generator_options usual;
    memset(&usual, 0xee, sizeof usual);
    longhand_generator_defaults(&usual, offsetof(longhand_generator_options, top_p));
    assert_int_equal(usual.size, offsetof(longhand_generator_options, top_p));
    assert_true(usual.temperature == 1.0 && usual.top_k == 0);
    assert_int_equal(((unsigned char *)&usual.top_p)[0], 0xee);
    longhand_generator_defaults(&usual, sizeof usual);
    assert_true(usual.top_p == 1.0 && usual.repetition_penalty == 1.0 && usual.stop_count == 0);
    longhand_generator_defaults(NULL, sizeof usual);
    longhand_model_free(model);
}

/* ---- tokenizers ---- */

static void tokenizers(void **state)
{
    (void)state;
    longhand_tokenizer *tokenizer, *other;
    longhand_model *model = open_model();
    int32_t *ids;
    size_t count, size;
    char *text;
    OK(longhand_model_tokenizer(&tokenizer, model, &error));
    longhand_model_free(model); /* the tokenizer stays */
    assert_string_equal(longhand_tokenizer_kind(tokenizer), "bytes");
    assert_int_equal(longhand_tokenizer_size(tokenizer), VOCAB);
    assert_int_equal(longhand_tokenizer_end(tokenizer), -1);
    assert_memory_equal(longhand_tokenizer_token(tokenizer, 'x', &size), "x", 1);
    assert_int_equal(size, 1);
    assert_non_null(longhand_tokenizer_token(tokenizer, 'x', NULL));
    assert_null(longhand_tokenizer_token(tokenizer, VOCAB, &size));
    assert_null(longhand_tokenizer_token(tokenizer, -1, &size));
    OK(longhand_tokenizer_encode(tokenizer, "a\0\xff", 3, false, &ids, &count, &error));
    assert_int_equal(count, 3);
    assert_true(ids[0] == 'a' && ids[1] == 0 && ids[2] == 0xff);
    OK(longhand_tokenizer_decode(tokenizer, ids, count, true, &text, &size, &error));
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0\xff", 4); /* with a NUL behind it */
    longhand_free(text);
    longhand_free(ids);
    OK(longhand_tokenizer_encode(tokenizer, NULL, 0, false, &ids, &count, &error));
    assert_int_equal(count, 0);
    OK(longhand_tokenizer_decode(tokenizer, ids, 0, false, &text, NULL, &error));
    assert_string_equal(text, "");
    longhand_free(text);
    longhand_free(ids);
    OK(longhand_tokenizer_open(&other, "bytes", &error));
    assert_int_equal(longhand_tokenizer_size(other), VOCAB);
    longhand_tokenizer_free(other);
    OK(longhand_tokenizer_open(&other, in_folder("run"), &error));
    longhand_tokenizer_free(other);

    const int32_t unknown[] = {3, VOCAB};
    REFUSED(LH_E_ARGUMENT, "256", longhand_tokenizer_decode(tokenizer, unknown, 2, true, &text, &size, &error));
    assert_null(text);
    REFUSED(LH_E_ARGUMENT, "without ids",
            longhand_tokenizer_decode(tokenizer, NULL, 2, true, &text, &size, &error));
    REFUSED(LH_E_ARGUMENT, "without tokenizer",
            longhand_tokenizer_encode(NULL, "a", 1, true, &ids, &count, &error));
    REFUSED(LH_E_ARGUMENT, "without text",
            longhand_tokenizer_encode(tokenizer, NULL, 1, true, &ids, &count, &error));
    REFUSED(LH_E_ARGUMENT, "without count", longhand_tokenizer_encode(tokenizer, "", 0, true, &ids, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without model", longhand_model_tokenizer(&other, NULL, &error));
    REFUSED(LH_E_IO, "nowhere", longhand_tokenizer_open(&other, in_folder("nowhere"), &error));
    REFUSED(LH_E_ARGUMENT, "without path", longhand_tokenizer_open(&other, NULL, &error));
    assert_null(other);
    assert_null(longhand_tokenizer_kind(NULL));
    assert_int_equal(longhand_tokenizer_size(NULL), -1);
    assert_int_equal(longhand_tokenizer_end(NULL), -1);
    assert_null(longhand_tokenizer_token(NULL, 0, &size));
    longhand_tokenizer_free(tokenizer);
    longhand_tokenizer_free(NULL);
}

/* ---- recipes ---- */

static void recipes(void **state)
{
    (void)state;
    longhand_recipe *recipe, *copy;
    const char *value;
    char *text, *again;
    OK(longhand_recipe_create(&recipe, "compressive-tiny", &error));
    OK(longhand_recipe_get(recipe, "memory.kind", &value, &error));
    assert_string_equal(value, "compressive");
    OK(longhand_recipe_set(recipe, "memory.kind=none", &error));
    OK(longhand_recipe_get(recipe, "memory.rate", &value, &error));
    assert_null(value); /* a memory that is none has no rate */
    OK(longhand_recipe_set(recipe, "memory.kind=transformer-xl", &error));
    OK(longhand_recipe_add(recipe, "[train]\nsteps = 2k\n", 19, &error));
    OK(longhand_recipe_get(recipe, "train.steps", &value, &error));
    assert_string_equal(value, "2000");
    OK(longhand_recipe_text(recipe, false, &text, &error));
    OK(longhand_recipe_create(&copy, NULL, &error));
    OK(longhand_recipe_add(copy, text, strlen(text), &error));
    OK(longhand_recipe_text(copy, false, &again, &error));
    assert_string_equal(text, again);
    longhand_free(text);
    longhand_free(again);
    OK(longhand_recipe_text(copy, true, &text, &error));
    assert_non_null(strstr(text, "# recipe text:"));
    longhand_free(text);

    longhand_model_info info = {.size = sizeof info};
    OK(longhand_recipe_model_info(recipe, 256, &info, &error));
    assert_string_equal(info.memory, "transformer-xl");
    assert_int_equal(info.vocabulary, 256);
    assert_int_equal(info.step, -1);
    assert_true(info.parameters > info.body && info.body > 0);
    REFUSED(LH_E_ARGUMENT, "vocabulary", longhand_recipe_model_info(recipe, 0, &info, &error));
    longhand_recipe_free(recipe);
    longhand_recipe_free(copy);

    /* What a model from a recipe turns out to be is what was said of it. */
    longhand_model *model = open_model();
    longhand_model_info real = {.size = sizeof real};
    OK(longhand_recipe_open_run(&recipe, in_folder("run"), &error));
    OK(longhand_recipe_model_info(recipe, VOCAB, &info, &error));
    OK(longhand_model_get_info(model, &real, &error));
    real.step = -1;
    assert_memory_equal(&info, &real, sizeof info);
    longhand_recipe_free(recipe);
    longhand_model_free(model);
}

static void presets_and_keys(void **state)
{
    (void)state;
    size_t presets = 0, keys = 0;
    bool tiny = false, rate = false;
    longhand_preset preset = {.size = sizeof preset};
    longhand_key key = {.size = sizeof key};
    longhand_recipe *recipe;
    while (longhand_preset_get(presets, &preset, NULL) == LH_OK) {
        tiny = tiny || strcmp(preset.name, "compressive-tiny") == 0;
        assert_true(preset.help[0]);
        OK(longhand_recipe_create(&recipe, preset.name, &error));
        longhand_recipe_free(recipe);
        presets++;
    }
    assert_true(tiny);
    REFUSED(LH_E_ARGUMENT, "presets", longhand_preset_get(presets, &preset, &error));
    REFUSED(LH_E_ARGUMENT, "without preset", longhand_preset_get(0, NULL, &error));
    OK(longhand_recipe_create(&recipe, NULL, &error));
    for (; longhand_recipe_key(recipe, keys, &key, NULL) == LH_OK; keys++) {
        char name[128];
        const char *value;
        (void)snprintf(name, sizeof name, "%s.%s", key.section, key.key);
        OK(longhand_recipe_get(recipe, name, &value, &error));
        assert_true(key.help[0] && key.kind[0]);
        assert_true((strcmp(key.kind, "choice") == 0) == (key.choices != NULL));
        if (strcmp(name, "train.learning_rate") == 0) {
            rate = true;
            assert_string_equal(key.kind, "real");
            assert_true(key.minimum >= 0.0);
        }
        if (strcmp(name, "data.path") == 0) {
            assert_string_equal(key.kind, "string");
            assert_string_equal(key.usual, "");
            assert_true(isinf(key.minimum) && isinf(key.maximum));
            assert_null(key.condition);
        }
    }
    assert_true(rate && keys > 50);
    REFUSED(LH_E_ARGUMENT, "index", longhand_recipe_key(recipe, keys, &key, &error));
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_key(NULL, 0, &key, &error));
    REFUSED(LH_E_ARGUMENT, "without key", longhand_recipe_key(recipe, 0, NULL, &error));
    longhand_recipe_free(recipe);
}

static void recipes_that_are_none(void **state)
{
    (void)state;
    longhand_recipe *recipe, *none;
    longhand_model_info info = {.size = sizeof info};
    const char *value;
    char *text;
    OK(longhand_recipe_create(&recipe, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "compressive-tiny", longhand_recipe_create(&none, "compressive-tine", &error));
    assert_null(none);
    REFUSED(LH_E_CONFIG, "colour", longhand_recipe_set(recipe, "model.colour=red", &error));
    REFUSED(LH_E_CONFIG, "recipe text:2", longhand_recipe_add(recipe, "[model]\nno equals\n", 18, &error));
    REFUSED(LH_E_ARGUMENT, "model.colour", longhand_recipe_get(recipe, "model.colour", &value, &error));
    REFUSED(LH_E_ARGUMENT, "nonsense", longhand_recipe_get(recipe, "nonsense", &value, &error));
    REFUSED(LH_E_IO, "no run", longhand_recipe_open_run(&none, folder, &error));
    OK(longhand_recipe_set(recipe, "model.layers=many", &error));
    REFUSED(LH_E_CONFIG, "many", longhand_recipe_text(recipe, false, &text, &error));
    assert_null(text);
    REFUSED(LH_E_CONFIG, "many", longhand_recipe_model_info(recipe, 1, &info, &error));
    OK(longhand_recipe_set(recipe, "model.layers=1", &error)); /* good for use again */
    OK(longhand_recipe_get(recipe, "model.layers", &value, &error));
    assert_string_equal(value, "1");
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_create(NULL, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_add(NULL, "", 0, &error));
    REFUSED(LH_E_ARGUMENT, "without text", longhand_recipe_add(recipe, NULL, 1, &error));
    OK(longhand_recipe_add(recipe, NULL, 0, &error));
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_set(NULL, "", &error));
    REFUSED(LH_E_ARGUMENT, "without assignment", longhand_recipe_set(recipe, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_get(NULL, "model.layers", &value, &error));
    REFUSED(LH_E_ARGUMENT, "without key", longhand_recipe_get(recipe, NULL, &value, &error));
    REFUSED(LH_E_ARGUMENT, "without value", longhand_recipe_get(recipe, "model.layers", NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_text(NULL, true, &text, &error));
    REFUSED(LH_E_ARGUMENT, "without directory", longhand_recipe_open_run(&none, NULL, &error));
    REFUSED(LH_E_ARGUMENT, "without recipe", longhand_recipe_model_info(NULL, 1, &info, &error));
    longhand_recipe_free(recipe);
    longhand_recipe_free(NULL);
}

/* ---- want of memory ---- */

static lh_status everything(lh_error *error)
{
    longhand_model *model = NULL;
    longhand_tokenizer *tokenizer = NULL;
    longhand_session *session = NULL, *copy = NULL;
    longhand_generator *generator = NULL;
    longhand_recipe *recipe = NULL;
    int32_t *ids = NULL;
    size_t count;
    char *text = NULL;
    lh_status status = longhand_model_open(&model, in_folder("run"), NULL, error);
    status = status == LH_OK ? longhand_model_tokenizer(&tokenizer, model, error) : status;
    status = status == LH_OK ? longhand_tokenizer_encode(tokenizer, "abc", 3, false, &ids, &count, error) : status;
    status = status == LH_OK ? longhand_tokenizer_decode(tokenizer, ids, count, false, &text, NULL, error) : status;
    status = status == LH_OK ? longhand_session_create(&session, model, 1, 1, error) : status;
    status = status == LH_OK ? longhand_session_feed(session, ids, 3, NULL, error) : status;
    status = status == LH_OK ? longhand_session_mark(session, error) : status;
    status = status == LH_OK ? longhand_session_fork(&copy, session, error) : status;
    status = status == LH_OK ? longhand_generator_create(&generator, copy, NULL, error) : status;
    status = status == LH_OK ? longhand_generator_write(generator, 2, NULL, NULL, NULL, error) : status;
    status = status == LH_OK ? longhand_generator_save(generator, in_folder("m"), error) : status;
    status = status == LH_OK ? longhand_session_restore(session, in_folder("m"), error) : status;
    status = status == LH_OK ? longhand_recipe_create(&recipe, "compressive-tiny", error) : status;
    longhand_recipe_free(recipe);
    longhand_generator_free(generator);
    longhand_session_free(copy);
    longhand_session_free(session);
    longhand_tokenizer_free(tokenizer);
    longhand_model_free(model);
    longhand_free(ids);
    longhand_free(text);
    return status;
}

/* Whichever allocation fails, the call says so, and nothing is lost. */
static void want_of_memory(void **state)
{
    (void)state;
    uint64_t before = lh_heap_live_bytes(), start = lh_heap_allocations();
    OK(everything(&error));
    int64_t needed = (int64_t)(lh_heap_allocations() - start);
    int failures = 0;
    for (int64_t i = 0; i < needed; i += 1 + needed / 400) {
        lh_error error = {LH_OK, ""};
        lh_heap_fail_after(i);
        lh_status status = everything(&error);
        lh_heap_fail_after(-1);
        if (status != LH_OK) {
            if (status != LH_E_MEMORY) {
                fail_msg("allocation %lld: %s", (long long)i, error.message);
            }
            assert_non_null(strstr(error.message, "memory"));
            failures++;
        }
        assert_int_equal(lh_heap_live_bytes(), before);
    }
    assert_true(failures > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(models),  TEST(models_that_are_none), TEST(sizes_of_structs),      TEST(tokenizers),
        TEST(recipes), TEST(presets_and_keys),     TEST(recipes_that_are_none), TEST(want_of_memory),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
