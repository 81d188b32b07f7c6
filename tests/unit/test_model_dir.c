#include "formats/checkpoint.h"
#include "formats/model_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/test_folder.h"

static lh_model_dir must_open(const char *path, const char *which)
{
    lh_model_dir files;
    lh_error error = {0};
    if (lh_model_dir_open(&files, path, which, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return files;
}

static void assert_refused(const char *path, const char *which, lh_status status, const char *words)
{
    lh_model_dir files;
    lh_error error = {0};
    assert_int_equal(lh_model_dir_open(&files, path, which, &error), status);
    assert_says(&error, words);
    assert_null(files.directory);
    assert_null(files.weights);
}

static void a_model_directory_is_found(void **state)
{
    (void)state;
    put_file("config.json", "{}");
    put_file("model.safetensors", "");
    lh_model_dir files = must_open(test_folder, NULL);
    const char *tokenizer = NULL;
    lh_error error = {0};
    assert_string_equal(files.directory, test_folder);
    assert_string_equal(files.config, in_folder("config.json"));
    assert_int_equal(files.weight_count, 1);
    assert_string_equal(files.weights[0], in_folder("model.safetensors"));
    assert_null(files.weights[1]);
    assert_int_equal(files.step, -1);
    assert_null(files.recipe);
    assert_int_equal(lh_model_dir_tokenizer(&files, &tokenizer, &error), LH_E_IO);
    assert_says(&error, "has no tokenizer.json");
    lh_model_dir_close(&files);
    lh_model_dir_close(&files);
    put_file("tokenizer.json", "{}");
    files = must_open(in_folder("model.safetensors"), NULL);
    assert_int_equal(lh_model_dir_tokenizer(&files, &tokenizer, NULL), LH_OK);
    assert_string_equal(tokenizer, in_folder("tokenizer.json"));
    assert_string_equal(files.directory, test_folder);
    lh_model_dir_close(&files);
    assert_refused(test_folder, "latest", LH_E_IO, "has no checkpoint-<step>.safetensors");
    assert_refused(test_folder, "best", LH_E_IO, "has no best.json");
    assert_refused(test_folder, "7", LH_E_IO, "checkpoint-7.safetensors is missing");
    assert_refused(test_folder, "newest", LH_E_ARGUMENT, "'newest' is not a choice of weights");
    assert_refused(in_folder("config.json"), NULL, LH_E_ARGUMENT, "neither a directory nor a checkpoint");
    assert_refused(in_folder("model.safetensors"), "best", LH_E_ARGUMENT, "'best' chooses within a directory");
}

static void a_run_directory_offers_its_checkpoints(void **state)
{
    (void)state;
    put_file("config.json", "{}");
    put_file("recipe.ini", "");
    put_file("checkpoint-5.safetensors", "");
    put_file("checkpoint-40.safetensors", "");
    lh_model_dir files = must_open(test_folder, NULL);
    assert_string_equal(files.recipe, in_folder("recipe.ini"));
    assert_int_equal(files.step, 40);
    assert_string_equal(files.weights[0], in_folder("checkpoint-40.safetensors"));
    lh_model_dir_close(&files);
    files = must_open(test_folder, "5");
    assert_int_equal(files.step, 5);
    lh_model_dir_close(&files);
    assert_int_equal(lh_checkpoint_best_write(test_folder, &(lh_checkpoint_best){.step = 5, .metric = "m"}, NULL),
                     LH_OK);
    files = must_open(test_folder, NULL);
    assert_int_equal(files.step, 5);
    lh_model_dir_close(&files);
    files = must_open(test_folder, "latest");
    assert_int_equal(files.step, 40);
    lh_model_dir_close(&files);
    files = must_open(in_folder("checkpoint-40.safetensors"), NULL);
    assert_int_equal(files.step, 40);
    lh_model_dir_close(&files);
    assert_refused(test_folder, "model", LH_E_IO, "has no model.safetensors");
    put_file("model.safetensors", "");
    files = must_open(test_folder, NULL);
    assert_int_equal(files.step, -1);
    lh_model_dir_close(&files);
    assert_int_equal(unlink(in_folder("model.safetensors")), 0);
    assert_int_equal(unlink(in_folder("checkpoint-5.safetensors")), 0);
    assert_refused(test_folder, NULL, LH_E_IO, "checkpoint-5.safetensors is missing");
}

static void missing_files_are_named(void **state)
{
    (void)state;
    assert_refused(in_folder("none"), NULL, LH_E_IO, "there is no such model or run directory");
    assert_refused(test_folder, NULL, LH_E_IO, "it has no config.json");
    put_file("config.json", "{}");
    assert_refused(test_folder, NULL, LH_E_IO, "has no weights: neither model.safetensors nor");
}

static void sharded_weights_are_listed(void **state)
{
    (void)state;
    put_file("config.json", "{}");
    put_file("model.safetensors.index.json",
             "{\"metadata\": {\"total_size\": 3}, \"weight_map\": {\"a\": \"model-2.safetensors\", \"b\": "
             "\"model-1.safetensors\", \"c\": \"model-2.safetensors\"}}");
    put_file("model-1.safetensors", "");
    assert_refused(test_folder, NULL, LH_E_IO,
                   "model-2.safetensors is missing, though model.safetensors.index.json names it");
    put_file("model-2.safetensors", "");
    lh_model_dir files = must_open(test_folder, NULL);
    assert_int_equal(files.weight_count, 2);
    assert_string_equal(files.weights[0], in_folder("model-1.safetensors"));
    assert_string_equal(files.weights[1], in_folder("model-2.safetensors"));
    lh_model_dir_close(&files);
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"{\"weight_map\": {\"a\": \"../x\"}}", "key 'weight_map.a' must be the name of a file in the same"},
        {"{\"weight_map\": {\"b\": \"x\", \"a\": \"/etc/x\"}}", "key 'weight_map.a' must be"},
        {"{\"weight_map\": {\"a\": \"..\"}}", "key 'weight_map.a' must be"},
        {"{\"weight_map\": {\"a\": 3}}", "key 'weight_map.a' must be"},
        {"{\"weight_map\": {}}", "key 'weight_map' must name at least one tensor"},
        {"{}", "key 'weight_map' must be an object, but it is missing"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_file("model.safetensors.index.json", wrong[i].text);
        assert_refused(test_folder, NULL, LH_E_CONFIG, wrong[i].words);
    }
    put_file("model.safetensors.index.json", "{");
    assert_refused(test_folder, NULL, LH_E_FORMAT, "model.safetensors.index.json:1");
}

static void want_of_memory_is_reported(void **state)
{
    (void)state;
    put_file("config.json", "{}");
    put_file("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"m1\", \"b\": \"m2\"}}");
    put_file("m1", "");
    put_file("m2", "");
    uint64_t live = lh_heap_live_bytes();
    lh_status status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_model_dir files;
        lh_heap_fail_after(after);
        status = lh_model_dir_open(&files, test_folder, NULL, NULL);
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_model_dir_close(&files);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_model_directory_is_found), IN_FOLDER(a_run_directory_offers_its_checkpoints),
        IN_FOLDER(missing_files_are_named),    IN_FOLDER(sharded_weights_are_listed),
        IN_FOLDER(want_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
