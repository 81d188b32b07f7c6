#include "formats/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/random.h"
#include "support/test_folder.h"

#define WEIGHTS 700

/* Everything in a checkpoint of these tests is a function of its step, so that a mixture of two is seen. */
static void fill_weights(float *weights, int64_t step)
{
    for (int i = 0; i < WEIGHTS; i++) {
        weights[i] = (float)step + (float)i / 1024.0f;
    }
}

static lh_status write_step(const char *directory, int64_t step, lh_error *error)
{
    float weights[WEIGHTS];
    unsigned char mask[3] = {(unsigned char)step, 1, 0};
    lh_checkpoint_writer *writer = NULL;
    uint64_t random[3] = {9, (uint64_t)step, 1};
    fill_weights(weights, step);
    LH_TRY(lh_checkpoint_writer_create(&writer, error));
    const lh_safetensors_tensor tensors[] = {
        {.name = "mask", .dtype = LH_SAFETENSORS_BOOL, .ndim = 1, .shape = {3}, .data = mask},
        {.name = "model.weight",
         .dtype = LH_SAFETENSORS_F32,
         .ndim = 2,
         .shape = {WEIGHTS / 7, 7},
         .data = weights},
        {.name = "memory.empty", .dtype = LH_SAFETENSORS_F32, .ndim = 2, .shape = {0, 7}},
    };
    lh_status status = LH_OK;
    for (size_t i = 0; i < 3 && status == LH_OK; i++) {
        status = lh_checkpoint_add(writer, &tensors[i], error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_add_integer(writer, "train.tokens", INT64_MAX - step, error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_add_real(writer, "train.loss", 1.0 / (double)(step + 3), error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_add_blob(writer, "train.random", random, sizeof random, error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_add_text(writer, "recipe", "[train]\nlr = \"0.1\"\n", error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_write(writer, directory, step, error);
    }
    lh_checkpoint_writer_free(writer);
    return status;
}

static void must_write(int64_t step)
{
    lh_error error = {0};
    if (write_step(test_folder, step, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
}

static void assert_whole(const lh_checkpoint *checkpoint, int64_t step)
{
    float weights[WEIGHTS], expected[WEIGHTS];
    int64_t tokens = 0;
    double loss = 0;
    uint64_t random[3] = {0}, same[3] = {9, (uint64_t)step, 1};
    fill_weights(expected, step);
    assert_int_equal(lh_checkpoint_step(checkpoint), step);
    const lh_safetensors *file = lh_checkpoint_file(checkpoint);
    assert_int_equal(lh_safetensors_load(file, "model.weight", LH_SAFETENSORS_F32, 2, (int64_t[]){WEIGHTS / 7, 7},
                                         weights, NULL),
                     LH_OK);
    assert_memory_equal(weights, expected, sizeof weights);
    assert_int_equal(lh_checkpoint_integer(checkpoint, "train.tokens", &tokens, NULL), LH_OK);
    assert_true(tokens == INT64_MAX - step);
    assert_int_equal(lh_checkpoint_real(checkpoint, "train.loss", &loss, NULL), LH_OK);
    assert_true(loss == 1.0 / (double)(step + 3));
    assert_int_equal(lh_checkpoint_load_blob(checkpoint, "train.random", random, sizeof random, NULL), LH_OK);
    assert_memory_equal(random, same, sizeof random);
    assert_string_equal(lh_safetensors_metadata(file, "recipe"), "[train]\nlr = \"0.1\"\n");
    assert_int_equal(lh_safetensors_find(file, "memory.empty")->bytes, 0);
}

static void assert_latest(int64_t below, int64_t step)
{
    lh_checkpoint *checkpoint = NULL;
    lh_error error = {0};
    if (lh_checkpoint_open_latest(&checkpoint, test_folder, below, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_whole(checkpoint, step);
    lh_checkpoint_close(checkpoint);
}

static const char *step_path(int64_t step)
{
    char name[64];
    (void)snprintf(name, sizeof name, "checkpoint-%" PRId64 ".safetensors", step);
    return in_folder(name);
}

static void damage(int64_t step, size_t offset)
{
    FILE *file = fopen(step_path(step), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    assert_int_equal(fclose(file), 0);
}

/* ---- content ---- */

static void what_is_written_comes_back(void **state)
{
    (void)state;
    must_write(0);
    must_write(1000);
    assert_latest(INT64_MAX, 1000);
    assert_latest(1000, 0);
    lh_checkpoint *checkpoint = NULL;
    lh_error error = {0};
    assert_int_equal(lh_checkpoint_open(&checkpoint, step_path(1000), NULL), LH_OK);
    int64_t integer = 0;
    double real = 0;
    const void *blob = NULL;
    size_t bytes = 0;
    assert_int_equal(lh_checkpoint_integer(checkpoint, "train.loss", &integer, &error), LH_E_SHAPE);
    assert_says(&error, "tensor 'train.loss' is F64 [], but I64 [] is expected");
    error = (lh_error){0};
    assert_int_equal(lh_checkpoint_real(checkpoint, "train.lost", &real, &error), LH_E_FORMAT);
    assert_says(&error, "did you mean 'train.loss'?");
    assert_int_equal(lh_checkpoint_blob(checkpoint, "train.random", &blob, &bytes, NULL), LH_OK);
    assert_int_equal(bytes, 3 * sizeof(uint64_t));
    assert_int_equal(lh_checkpoint_blob(checkpoint, "mask", &blob, &bytes, NULL), LH_E_SHAPE);
    assert_int_equal(lh_checkpoint_load_blob(checkpoint, "train.random", &integer, 8, NULL), LH_E_SHAPE);
    lh_checkpoint_close(checkpoint);
}

static void a_writer_is_used_again(void **state)
{
    (void)state;
    lh_checkpoint_writer *writer = NULL;
    assert_int_equal(lh_checkpoint_writer_create(&writer, NULL), LH_OK);
    for (int64_t step = 1; step <= 3; step++) {
        lh_checkpoint_writer_clear(writer);
        for (int64_t i = 0; i < 200; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "value %" PRId64, i);
            assert_int_equal(lh_checkpoint_add_integer(writer, name, i * step, NULL), LH_OK);
        }
        assert_int_equal(lh_checkpoint_write_file(writer, in_folder("any.session.safetensors"), step, NULL), LH_OK);
        lh_checkpoint *checkpoint = NULL;
        assert_int_equal(lh_checkpoint_open(&checkpoint, in_folder("any.session.safetensors"), NULL), LH_OK);
        int64_t value = 0;
        assert_int_equal(lh_checkpoint_integer(checkpoint, "value 150", &value, NULL), LH_OK);
        assert_int_equal(value, 150 * step);
        assert_int_equal(lh_checkpoint_step(checkpoint), step);
        lh_checkpoint_close(checkpoint);
    }
    /* No entries at all, */
    lh_checkpoint_writer_clear(writer);
    assert_int_equal(lh_checkpoint_write(writer, test_folder, 7, NULL), LH_OK);
    lh_checkpoint *checkpoint = NULL;
    assert_int_equal(lh_checkpoint_open_latest(&checkpoint, test_folder, INT64_MAX, NULL), LH_OK);
    lh_checkpoint_close(checkpoint);
    /* and what cannot be written. */
    assert_int_equal(lh_checkpoint_write(writer, test_folder, -1, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_checkpoint_add_text(writer, "step", "1", NULL), LH_OK);
    assert_int_equal(lh_checkpoint_write(writer, test_folder, 8, NULL), LH_E_ARGUMENT);
    lh_checkpoint_writer_free(writer);
}

static void other_safetensors_are_no_checkpoints(void **state)
{
    (void)state;
    lh_checkpoint *checkpoint = NULL;
    lh_error error = {0};
    assert_int_equal(lh_safetensors_write(in_folder("m"), NULL, 0, NULL, 0, NULL), LH_OK);
    assert_int_equal(lh_checkpoint_open(&checkpoint, in_folder("m"), &error), LH_E_FORMAT);
    assert_says(&error, "not a checkpoint");
    assert_null(checkpoint);
}

/* ---- damage ---- */

static void every_truncation_is_found(void **state)
{
    (void)state;
    must_write(5);
    char *whole = NULL;
    size_t size = 0;
    assert_int_equal(lh_file_read(step_path(5), 0, &whole, &size, NULL), LH_OK);
    for (size_t cut = 0; cut < size; cut++) {
        char *part = malloc(cut ? cut : 1);
        memcpy(part, whole, cut);
        lh_checkpoint *checkpoint = NULL;
        assert_int_equal(lh_checkpoint_open_memory(&checkpoint, "cut", part, cut, NULL), LH_E_FORMAT);
        assert_null(checkpoint);
        free(part);
    }
    lh_heap_free(whole);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    must_write(5);
    char *whole = NULL;
    size_t size = 0, header = 0;
    assert_int_equal(lh_file_read(step_path(5), 0, &whole, &size, NULL), LH_OK);
    memcpy(&header, whole, 8);
    size_t named = 0;
    for (size_t bit = 0; bit < size * 8; bit++) {
        /* All of the header; of the long runs of data every byte, but one bit of it. */
        if (bit / 8 >= 8 + header && bit % 8 != bit / 8 % 8) {
            continue;
        }
        whole[bit / 8] ^= (char)(1 << bit % 8);
        lh_checkpoint *checkpoint = NULL;
        lh_error error = {0};
        lh_status status = lh_checkpoint_open_memory(&checkpoint, "flip", whole, size, &error);
        if (status != LH_E_FORMAT && status != LH_E_UNSUPPORTED) {
            fail_msg("bit %zu of byte %zu: status %d", bit % 8, bit / 8, (int)status);
        }
        assert_null(checkpoint);
        named += strstr(error.message, "the data of tensor '") != NULL;
        whole[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_int_equal(named, size - 8 - header);
    lh_heap_free(whole);
}

static void a_damaged_newest_is_named_and_can_be_passed_over(void **state)
{
    (void)state;
    lh_checkpoint *checkpoint = NULL;
    lh_error error = {0}, skipped = {0};
    must_write(10);
    must_write(20);
    must_write(30);
    struct stat about;
    assert_int_equal(stat(step_path(30), &about), 0);
    damage(30, (size_t)about.st_size - 600);
    assert_int_equal(lh_checkpoint_open_latest(&checkpoint, test_folder, INT64_MAX, &error), LH_E_FORMAT);
    assert_says(&error, "checkpoint-30.safetensors: the data of tensor 'model.weight' is damaged");
    assert_says(&error, "the checkpoint before it is checkpoint-20.safetensors");
    assert_null(checkpoint);
    assert_latest(30, 20);
    assert_int_equal(lh_checkpoint_open_latest_good(&checkpoint, test_folder, &skipped, NULL), LH_OK);
    assert_whole(checkpoint, 20);
    assert_says(&skipped, "checkpoint-30.safetensors");
    lh_checkpoint_close(checkpoint);
    assert_int_equal(truncate(step_path(20), 1000), 0);
    skipped = (lh_error){0};
    assert_int_equal(lh_checkpoint_open_latest_good(&checkpoint, test_folder, &skipped, NULL), LH_OK);
    assert_whole(checkpoint, 10);
    assert_says(&skipped, "checkpoint-30.safetensors");
    lh_checkpoint_close(checkpoint);
    assert_int_equal(truncate(step_path(10), 0), 0);
    error = skipped = (lh_error){0};
    assert_int_equal(lh_checkpoint_open_latest_good(&checkpoint, test_folder, &skipped, &error), LH_E_FORMAT);
    assert_says(&error, "checkpoint-30.safetensors");
    assert_null(checkpoint);
    must_write(40);
    skipped = (lh_error){0};
    assert_int_equal(lh_checkpoint_open_latest_good(&checkpoint, test_folder, &skipped, NULL), LH_OK);
    assert_int_equal(skipped.status, LH_OK);
    lh_checkpoint_close(checkpoint);
}

static void a_full_disk_leaves_the_old_checkpoint(void **state)
{
    (void)state;
    must_write(1);
    for (rlim_t limit = 0; limit < 2800; limit += 400) {
        lh_error error = {0};
        limit_files(limit);
        lh_status status = write_step(test_folder, 2, &error);
        lh_status again = write_step(test_folder, 1, NULL);
        limit_files(RLIM_INFINITY);
        assert_int_equal(status, LH_E_IO);
        assert_int_equal(again, LH_E_IO);
        assert_says(&error, "checkpoint-2.safetensors");
    }
    assert_latest(INT64_MAX, 1);
    assert_int_equal(files_in_folder(), 1);
}

/* The same on a file system that is really full. */
static void a_full_file_system_leaves_the_old_checkpoint(void **state)
{
    (void)state;
    if (mount("tmpfs", test_folder, "tmpfs", 0, "size=16k") != 0) {
        print_message("skipped: mounting a tmpfs is not permitted here\n");
        skip();
    }
    lh_status status = LH_OK;
    lh_error error = {0};
    int64_t step = 0;
    while (status == LH_OK && step < 100) {
        status = write_step(test_folder, ++step, &error);
    }
    lh_checkpoint *checkpoint = NULL;
    lh_status opened = lh_checkpoint_open_latest(&checkpoint, test_folder, INT64_MAX, NULL);
    int64_t newest = opened == LH_OK ? lh_checkpoint_step(checkpoint) : -1;
    lh_checkpoint_close(checkpoint);
    size_t files = files_in_folder();
    assert_int_equal(umount(test_folder), 0);
    assert_int_equal(status, LH_E_IO);
    assert_says(&error, "No space left on device");
    assert_int_equal(newest, step - 1);
    assert_int_equal(files, step - 1);
}

static void want_of_memory_is_reported(void **state)
{
    (void)state;
    must_write(1);
    uint64_t live = lh_heap_live_bytes();
    lh_status status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_heap_fail_after(after);
        status = write_step(test_folder, 2, NULL);
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        assert_int_equal(lh_heap_live_bytes(), live);
        if (status != LH_OK && !lh_file_exists(step_path(2))) {
            assert_latest(INT64_MAX, 1);
        }
    }
    status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_checkpoint *checkpoint = NULL;
        lh_heap_fail_after(after);
        status = lh_checkpoint_open_latest(&checkpoint, test_folder, INT64_MAX, NULL);
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_checkpoint_close(checkpoint);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
}

/* ---- kill -9 ---- */

/* Writes checkpoint after checkpoint and tells each finished step through the pipe, until it is killed. */
static void write_until_killed(int told, int64_t step)
{
    for (;; step++) {
        if (write_step(test_folder, step, NULL) != LH_OK ||
            write(told, &step, sizeof step) != (ssize_t)sizeof step ||
            lh_checkpoint_retain(test_folder, 2, NULL) != LH_OK) {
            _exit(1);
        }
    }
}

static void killing_the_writer_leaves_whole_checkpoints(void **state)
{
    (void)state;
    lh_random random = lh_random_create((uint64_t)time(NULL), 0);
    int64_t newest = -1;
    for (int round = 0; round < 25; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(ends[0]);
            write_until_killed(ends[1], newest + 1);
        }
        (void)close(ends[1]);
        (void)usleep((useconds_t)lh_random_below(&random, 30000));
        assert_int_equal(kill(child, SIGKILL), 0);
        int how = 0;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how));
        for (int64_t told = 0; read(ends[0], &told, sizeof told) == (ssize_t)sizeof told;) {
            newest = told;
        }
        (void)close(ends[0]);
        if (newest < 0) {
            continue;
        }
        /* The newest is the last one told of, or the next one if the child died between writing and telling. */
        lh_checkpoint *checkpoint = NULL;
        lh_error error = {0};
        if (lh_checkpoint_open_latest(&checkpoint, test_folder, INT64_MAX, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_in_range(lh_checkpoint_step(checkpoint), newest, newest + 1);
        newest = lh_checkpoint_step(checkpoint);
        assert_whole(checkpoint, newest);
        lh_checkpoint_close(checkpoint);
        int64_t *steps = NULL;
        size_t count = 0;
        assert_int_equal(lh_checkpoint_steps(test_folder, &steps, &count, NULL), LH_OK);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(lh_checkpoint_open(&checkpoint, step_path(steps[i]), NULL), LH_OK);
            assert_whole(checkpoint, steps[i]);
            lh_checkpoint_close(checkpoint);
        }
        lh_heap_free(steps);
        /* Retention sweeps up what the killed one left behind. */
        assert_int_equal(lh_checkpoint_retain(test_folder, 2, NULL), LH_OK);
        assert_int_equal(files_in_folder(), count < 2 ? count : 2);
    }
    assert_true(newest > 0);
}

/* ---- the directory ---- */

static void names_tell_steps(void **state)
{
    (void)state;
    assert_int_equal(lh_checkpoint_name_step("checkpoint-0.safetensors"), 0);
    assert_int_equal(lh_checkpoint_name_step("checkpoint-120.safetensors"), 120);
    assert_true(lh_checkpoint_name_step("checkpoint-9223372036854775807.safetensors") == INT64_MAX);
    static const char *const others[] = {"checkpoint-.safetensors",
                                         "checkpoint-01.safetensors",
                                         "checkpoint--1.safetensors",
                                         "checkpoint-1.safetensors.tmp-3-4",
                                         "checkpoint-1",
                                         "checkpoint-+1.safetensors",
                                         "xcheckpoint-1.safetensors",
                                         "checkpoint-9223372036854775808.safetensors",
                                         "checkpoint- 1.safetensors",
                                         ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(lh_checkpoint_name_step(others[i]), -1);
    }
}

static void steps_are_listed_in_order(void **state)
{
    (void)state;
    static const int64_t written[] = {5, 1000, 20, 0, 100};
    for (size_t i = 0; i < 5; i++) {
        must_write(written[i]);
    }
    put_file("checkpoint-7.txt", "");
    put_file("model.safetensors", "");
    int64_t *steps = NULL;
    size_t count = 0;
    assert_int_equal(lh_checkpoint_steps(test_folder, &steps, &count, NULL), LH_OK);
    assert_int_equal(count, 5);
    assert_memory_equal(steps, ((int64_t[]){0, 5, 20, 100, 1000}), sizeof written);
    lh_heap_free(steps);
}

static void the_newest_and_the_best_are_kept(void **state)
{
    (void)state;
    lh_checkpoint_best best = {.step = 20, .value = 1.25, .metric = "validation/\"bpb\""}, read;
    for (int64_t step = 10; step <= 60; step += 10) {
        must_write(step);
    }
    assert_int_equal(lh_checkpoint_best_read(test_folder, &read, NULL), LH_OK);
    assert_int_equal(read.step, -1);
    assert_int_equal(lh_checkpoint_best_write(test_folder, &best, NULL), LH_OK);
    assert_int_equal(lh_checkpoint_best_read(test_folder, &read, NULL), LH_OK);
    assert_int_equal(read.step, 20);
    assert_true(read.value == 1.25);
    assert_string_equal(read.metric, best.metric);
    /* One left by a dead process, one of a living one. */
    char living[80];
    (void)snprintf(living, sizeof living, "checkpoint-70.safetensors.tmp-%ld-000000001", (long)getpid());
    put_file("checkpoint-70.safetensors.tmp-99999999-000000001", "");
    put_file(living, "");
    put_file("notes.tmp-99999999-1", "");
    assert_int_equal(lh_checkpoint_retain(test_folder, 2, NULL), LH_OK);
    int64_t *steps = NULL;
    size_t count = 0;
    assert_int_equal(lh_checkpoint_steps(test_folder, &steps, &count, NULL), LH_OK);
    assert_int_equal(count, 3);
    assert_memory_equal(steps, ((int64_t[]){20, 50, 60}), 3 * sizeof *steps);
    lh_heap_free(steps);
    assert_false(lh_file_exists(in_folder("checkpoint-70.safetensors.tmp-99999999-000000001")));
    assert_true(lh_file_exists(in_folder(living)));
    assert_true(lh_file_exists(in_folder("notes.tmp-99999999-1")));
    assert_int_equal(lh_checkpoint_retain(test_folder, 0, NULL), LH_OK);
    assert_true(lh_file_exists(step_path(60)));
    assert_false(lh_file_exists(step_path(50)));
}

static void a_wrong_note_of_the_best_deletes_nothing(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "{",
                                        "{\"step\": \"x\"}",
                                        "{\"step\": -1, \"value\": 1, \"metric\": \"a\"}",
                                        "{\"step\": 1, \"value\": null, \"metric\": \"a\"}",
                                        "[]"};
    must_write(1);
    must_write(2);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lh_error error = {0};
        put_file("best.json", wrong[i]);
        assert_int_not_equal(lh_checkpoint_retain(test_folder, 1, &error), LH_OK);
        assert_says(&error, "best.json");
        assert_true(lh_file_exists(step_path(1)));
    }
}

static void an_empty_directory_is_named(void **state)
{
    (void)state;
    lh_checkpoint *checkpoint = NULL;
    lh_error error = {0};
    assert_int_equal(lh_checkpoint_open_latest(&checkpoint, test_folder, INT64_MAX, &error), LH_E_IO);
    assert_says(&error, test_folder);
    assert_says(&error, "no checkpoint");
    must_write(5);
    error = (lh_error){0};
    assert_int_equal(lh_checkpoint_open_latest(&checkpoint, test_folder, 5, &error), LH_E_IO);
    assert_says(&error, "before 5");
    error = (lh_error){0};
    assert_int_equal(lh_checkpoint_open_latest_good(&checkpoint, in_folder("none"), NULL, &error), LH_E_IO);
    assert_says(&error, "none");
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_is_written_comes_back),
        IN_FOLDER(a_writer_is_used_again),
        IN_FOLDER(other_safetensors_are_no_checkpoints),
        IN_FOLDER(every_truncation_is_found),
        IN_FOLDER(every_flipped_bit_is_found),
        IN_FOLDER(a_damaged_newest_is_named_and_can_be_passed_over),
        IN_FOLDER(a_full_disk_leaves_the_old_checkpoint),
        IN_FOLDER(a_full_file_system_leaves_the_old_checkpoint),
        IN_FOLDER(want_of_memory_is_reported),
        IN_FOLDER(killing_the_writer_leaves_whole_checkpoints),
        cmocka_unit_test(names_tell_steps),
        IN_FOLDER(steps_are_listed_in_order),
        IN_FOLDER(the_newest_and_the_best_are_kept),
        IN_FOLDER(a_wrong_note_of_the_best_deletes_nothing),
        IN_FOLDER(an_empty_directory_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
