/* Preparing: the tokens are those of the text, and the folder's bytes do not depend on threads, pieces,
 * interruptions or kills. */
#include "base/file.h"
#include "base/memory.h"
#include "data/prepare.h"
#include "support/scratch.h"
#include "text/train.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

static char folder[64];
static char path[160];

static const char *at(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    return scratch_make(folder);
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static uint64_t noise(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Words, line ends, accents and, if asked for, bytes that are no UTF-8. */
static char *make_text(uint64_t seed, size_t size, bool broken)
{
    static const char *const words[] = {"the",  "whale",        "sea", "caf\xc3\xa9", "of", "and",
                                        "ship", "\xe2\x80\x94", "a"};
    char *text = malloc(size + 16);
    size_t used = 0;
    while (used < size) {
        const char *word = words[noise(&seed) % 9];
        used += (size_t)sprintf(text + used, "%s%c", word, noise(&seed) % 9 ? ' ' : '\n');
        if (broken && noise(&seed) % 500 == 0) {
            text[used++] = (char)0xff;
        }
    }
    text[size] = '\0';
    for (size_t i = size; i > 0 && (unsigned char)text[i - 1] > 127; i--) {
        text[i - 1] = '.'; /* not to end inside a character */
    }
    return text;
}

static void put_text(const char *name, uint64_t seed, size_t size, bool broken)
{
    char *text = make_text(seed, size, broken);
    assert_int_equal(scratch_write(at(name), text, size), 0);
    free(text);
}

/* A small library: twelve books of 1 to 60 kB; one of them has bytes that are no UTF-8, unless it is clean. */
static const char *make_books(const char *place, bool clean)
{
    static char library[128];
    (void)snprintf(library, sizeof library, "%s/%s", folder, place);
    if (mkdir(library, 0777) != 0) {
        return library;
    }
    for (int i = 0; i < 12; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s/book%02d.txt", place, i);
        put_text(name, (uint64_t)i + 1, 1000 + (size_t)(i * i * 487) % 60000, i == 5 && !clean);
    }
    return library;
}

static const char *make_library(void)
{
    return make_books("library", false);
}

static void prepare_ok(const char *source, const char *out, const lh_prepare_options *options,
                       lh_prepare_report *report)
{
    lh_prepare_report unused;
    lh_error error = {0};
    char copy[160];
    (void)snprintf(copy, sizeof copy, "%s", out);
    lh_prepare_report *filled = report ? report : &unused;
    if (lh_prepare(source, copy, options, filled, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    if (!report) {
        lh_string_free(&unused.notes);
    }
}

static lh_dataset *open_dataset(const char *out)
{
    lh_dataset *dataset;
    lh_error error = {0};
    if (lh_dataset_open(&dataset, out, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return dataset;
}

/* Names and bytes of all files of two folders are the same. */
static void assert_same_folders(const char *a, const char *b)
{
    char **names_a, **names_b;
    size_t count_a, count_b;
    assert_int_equal(lh_directory_list(a, &names_a, &count_a, NULL), LH_OK);
    assert_int_equal(lh_directory_list(b, &names_b, &count_b, NULL), LH_OK);
    for (size_t i = 0; i < count_a && i < count_b; i++) {
        assert_string_equal(names_a[i], names_b[i]);
        char *path_a = lh_path_join(a, names_a[i]), *path_b = lh_path_join(b, names_b[i]);
        size_t size_a, size_b;
        char *bytes_a = scratch_read(path_a, &size_a), *bytes_b = scratch_read(path_b, &size_b);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(bytes_a, bytes_b, size_a);
        free(bytes_a);
        free(bytes_b);
        lh_heap_free(path_a);
        lh_heap_free(path_b);
    }
    assert_int_equal(count_a, count_b);
    lh_name_list_free(names_a);
    lh_name_list_free(names_b);
}

static char *sibling(char *out, const char *name)
{
    (void)snprintf(out, 160, "%s/%s", folder, name);
    return out;
}

static void test_bytes(void **state)
{
    (void)state;
    const char *library = make_library();
    char out[160];
    lh_prepare_options options = {.input = {.split = "8/2/2", .by = "documents"}};
    lh_prepare_report report;
    prepare_ok(library, sibling(out, "bytes"), &options, &report);
    assert_false(report.resumed);
    if (!strstr(report.notes.data, "1 documents hold bytes that are not UTF-8")) {
        fail_msg("\"%s\"", report.notes.data);
    }
    lh_string_free(&report.notes);
    lh_dataset *dataset = open_dataset(out);
    assert_string_equal(dataset->facts.layout, "tree");
    assert_string_equal(dataset->facts.rule, "8/2/2 by documents");
    assert_string_equal(dataset->facts.tokenizer_kind, "bytes");
    static const uint64_t counts[] = {8, 2, 2};
    int book = 0;
    for (int s = 0; s < LH_SPLITS; s++) {
        const lh_split *split;
        assert_int_equal(lh_dataset_split(dataset, lh_split_name(s), &split, NULL), LH_OK);
        assert_int_equal(split->documents, counts[s]);
        assert_int_equal(split->parts[0].width, 1);
        lh_text_totals sum = {0};
        for (uint64_t i = 0; i < split->documents; i++, book++) {
            char name[64];
            size_t size;
            (void)snprintf(name, sizeof name, "library/book%02d.txt", book);
            char *text = scratch_read(at(name), &size);
            lh_document document = lh_split_document(split, i);
            assert_int_equal(document.tokens, size);
            assert_memory_equal((const char *)split->parts[0].tokens + document.start, text, size);
            assert_memory_equal(document.name, name + 8, document.name_size);
            lh_text_counter counter = {0};
            lh_text_counter_feed(&counter, text, size);
            lh_text_counter_finish(&counter);
            assert_memory_equal(&document.totals, &counter.totals, sizeof counter.totals);
            lh_text_totals_add(&sum, &counter.totals);
            free(text);
        }
        assert_memory_equal(&split->totals, &sum, sizeof sum);
    }
    assert_int_equal(lh_dataset_verify(dataset, NULL, NULL, NULL), LH_OK);
    lh_tokenizer *tokenizer;
    assert_int_equal(lh_dataset_tokenizer(dataset, &tokenizer, NULL), LH_OK);
    assert_int_equal(lh_tokenizer_vocab_size(tokenizer), 256);
    lh_tokenizer_free(tokenizer);
    const lh_split *none;
    lh_error error = {0};
    assert_int_equal(lh_dataset_split(dataset, "other", &none, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "train, validation, test"));
    lh_dataset_free(dataset);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* A byte-level BPE tokenizer of the library. */
static const char *make_bpe(void)
{
    static char file[128];
    (void)snprintf(file, sizeof file, "%s/bpe.json", folder);
    if (access(file, R_OK) == 0) {
        return file;
    }
    static const char *const special[] = {"<|endoftext|>", NULL};
    lh_train_options options = {
        .kind = LH_TOKENIZER_BPE, .vocab_size = 320, .min_frequency = 1, .special = special};
    lh_trainer *trainer;
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    char *text = make_text(77, 20000, false);
    assert_int_equal(lh_trainer_create(&trainer, &options, &error), LH_OK);
    assert_int_equal(lh_trainer_feed(trainer, text, 20000, &error), LH_OK);
    assert_int_equal(lh_trainer_finish_document(trainer, &error), LH_OK);
    if (lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error) != LH_OK ||
        lh_tokenizer_save(tokenizer, file, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    lh_tokenizer_free(tokenizer);
    lh_trainer_free(trainer);
    free(text);
    return file;
}

static void assert_tokens(const lh_dataset *dataset, const lh_tokenizer *tokenizer, const lh_split *split,
                          uint64_t index, const char *file, bool ended)
{
    size_t size;
    char *text = scratch_read(file, &size);
    lh_ids ids = {0};
    assert_int_equal(lh_tokenizer_encode(tokenizer, text, size, 0, &ids, NULL), LH_OK);
    if (ended) {
        int32_t end = lh_tokenizer_role(tokenizer, LH_TOKEN_EOS);
        assert_int_not_equal(end, LH_NO_TOKEN);
        assert_int_equal(lh_ids_append(&ids, &end, 1, NULL), LH_OK);
    }
    lh_document document = lh_split_document(split, index);
    assert_int_equal(document.tokens, ids.size);
    int32_t *found = malloc(ids.size * sizeof *found);
    assert_int_equal(lh_split_copy(split, document.start, document.tokens, found, NULL), LH_OK);
    assert_memory_equal(found, ids.data, ids.size * sizeof *found);
    assert_int_equal(document.totals.bytes, size);
    assert_int_equal(dataset->facts.fingerprint, lh_tokenizer_fingerprint(tokenizer));
    free(found);
    lh_ids_free(&ids);
    free(text);
}

static void test_bpe(void **state)
{
    (void)state;
    const char *library = make_library();
    char out[160], other[160];
    for (int ended = 0; ended < 2; ended++) {
        lh_prepare_options options = {.input = {.split = "train"}, .tokenizer = make_bpe(), .end_documents = ended};
        prepare_ok(library, sibling(out, ended ? "bpe-ended" : "bpe"), &options, NULL);
        lh_dataset *dataset = open_dataset(out);
        lh_tokenizer *tokenizer;
        const lh_split *split;
        assert_int_equal(lh_dataset_tokenizer(dataset, &tokenizer, NULL), LH_OK);
        assert_int_equal(lh_dataset_split(dataset, "train", &split, NULL), LH_OK);
        assert_int_equal(split->documents, 12);
        assert_int_equal(split->parts[0].width, 2);
        for (uint64_t i = 0; i < 12; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "library/book%02d.txt", (int)i);
            assert_tokens(dataset, tokenizer, split, i, at(name), ended);
        }
        lh_tokenizer_free(tokenizer);
        lh_dataset_free(dataset);
        options.threads = 3;
        options.checkpoint_bytes = 5000;
        prepare_ok(library, sibling(other, ended ? "bpe-ended-3" : "bpe-3"), &options, NULL);
        assert_same_folders(out, other);
    }
    lh_prepare_options options = {.input = {.split = "train"}, .end_documents = true};
    lh_prepare_report report;
    lh_error error = {0};
    assert_int_equal(lh_prepare(library, sibling(out, "no-end"), &options, &report, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "end-of-text"));
    lh_string_free(&report.notes);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Longer than what is held at once: encoded in pieces, between short ones, with the same tokens. */
static void test_long_document(void **state)
{
    (void)state;
    char source[160], out[160];
    assert_int_equal(mkdir(sibling(source, "long"), 0777), 0);
    put_text("long/1.txt", 1, 5000, false);
    put_text("long/2.txt", 2, ((size_t)4 << 20) + 70000, false);
    put_text("long/3.txt", 3, (size_t)4 << 20, false);
    put_text("long/4.txt", 4, 100, false);
    lh_prepare_options options = {.input = {.split = "train"}, .tokenizer = make_bpe()};
    prepare_ok(source, sibling(out, "long-out"), &options, NULL);
    lh_dataset *dataset = open_dataset(out);
    lh_tokenizer *tokenizer;
    const lh_split *split;
    assert_int_equal(lh_dataset_tokenizer(dataset, &tokenizer, NULL), LH_OK);
    assert_int_equal(lh_dataset_split(dataset, "train", &split, NULL), LH_OK);
    assert_int_equal(split->documents, 4);
    for (uint64_t i = 0; i < 4; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "long/%d.txt", (int)i + 1);
        assert_tokens(dataset, tokenizer, split, i, at(name), false);
    }
    lh_tokenizer_free(tokenizer);
    lh_dataset_free(dataset);
}

static void test_words(void **state)
{
    (void)state;
    char source[160], out[160];
    assert_int_equal(mkdir(sibling(source, "wt"), 0777), 0);
    const char *train = " \n = Title = \n \n a b b c <unk> c c \n", *valid = " \n a d c \n";
    assert_int_equal(scratch_write(at("wt/wiki.train.tokens"), train, strlen(train)), 0);
    assert_int_equal(scratch_write(at("wt/wiki.valid.tokens"), valid, strlen(valid)), 0);
    lh_prepare_options options = {0};
    prepare_ok(source, sibling(out, "wt-out"), &options, NULL);
    lh_dataset *dataset = open_dataset(out);
    assert_string_equal(dataset->facts.tokenizer_kind, "words");
    assert_string_equal(dataset->facts.layout, "wikitext-2");
    assert_int_equal(dataset->facts.vocab_size, 7); /* <eos> c = b Title a <unk> */
    int32_t ids[16];
    assert_int_equal(dataset->splits[LH_SPLIT_TRAIN].tokens, 14);
    assert_int_equal(lh_split_copy(&dataset->splits[LH_SPLIT_TRAIN], 0, 14, ids, NULL), LH_OK);
    static const int32_t expected[] = {0, 2, 4, 2, 0, 0, 5, 3, 3, 1, 6, 1, 1, 0};
    assert_memory_equal(ids, expected, sizeof expected);
    assert_int_equal(dataset->splits[LH_SPLIT_VALIDATION].tokens, 5);
    assert_int_equal(lh_split_copy(&dataset->splits[LH_SPLIT_VALIDATION], 0, 5, ids, NULL), LH_OK);
    static const int32_t expected_valid[] = {0, 5, 6, 1, 0};
    assert_memory_equal(ids, expected_valid, sizeof expected_valid);
    bool full;
    assert_non_null(lh_dataset_published(dataset, &dataset->splits[LH_SPLIT_TRAIN], &full));
    assert_false(full);
    lh_dataset_free(dataset);
    assert_int_equal(scratch_write(at("wt/wiki.valid.tokens"), "a \xff b\n", 6), 0);
    lh_prepare_report report;
    lh_error error = {0};
    assert_int_equal(lh_prepare(source, sibling(out, "wt-bad"), &options, &report, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "wiki.valid.tokens"));
    assert_non_null(strstr(error.message, "not UTF-8 at byte 2"));
    lh_string_free(&report.notes);
}

/* The same bytes for any number of threads, any checkpoint and, up to how the shards are cut, any shard size. */
static void test_cutting_does_not_matter(void **state)
{
    (void)state;
    const char *library = make_library();
    char first[160], out[160];
    lh_prepare_options options = {.input = {.split = "8/2/2"}};
    prepare_ok(library, sibling(first, "cut-0"), &options, NULL);
    static const uint64_t checkpoints[] = {1, 3000, 40000};
    for (int i = 0; i < 3; i++) {
        options.checkpoint_bytes = checkpoints[i];
        options.threads = 1 + i;
        char name[16];
        (void)snprintf(name, sizeof name, "cut-%d", i + 1);
        prepare_ok(library, sibling(out, name), &options, NULL);
        assert_same_folders(first, out);
    }
    options.shard_bytes = 10000;
    prepare_ok(library, sibling(out, "cut-shards"), &options, NULL);
    lh_dataset *one = open_dataset(first), *many = open_dataset(out);
    assert_true(many->splits[0].part_count > 3);
    for (int s = 0; s < LH_SPLITS; s++) {
        uint64_t count = one->splits[s].tokens;
        assert_int_equal(many->splits[s].tokens, count);
        int32_t *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b);
        assert_int_equal(lh_split_copy(&one->splits[s], 0, count, a, NULL), LH_OK);
        assert_int_equal(lh_split_copy(&many->splits[s], 0, count, b, NULL), LH_OK);
        assert_memory_equal(a, b, count * sizeof *a);
        free(a);
        free(b);
    }
    lh_dataset_free(one);
    lh_dataset_free(many);
}

/* ---- interruptions ---- */

typedef struct stopper {
    long calls, stop_at;
    bool kill;
} stopper;

static bool stop_at_call(void *data, const char *phase, uint64_t done, uint64_t total)
{
    stopper *s = data;
    (void)phase;
    assert_true(done <= total);
    if (++s->calls == s->stop_at) {
        if (s->kill) {
            (void)raise(SIGKILL);
        }
        return false;
    }
    return true;
}

static void test_stopping(void **state)
{
    (void)state;
    const char *library = make_books("clean", true);
    char first[160], out[160];
    lh_prepare_options options = {.input = {.split = "8/2/2"}, .tokenizer = "characters", .checkpoint_bytes = 1};
    prepare_ok(library, sibling(first, "stop-never"), &options, NULL);
    sibling(out, "stop-often");
    stopper stop = {.stop_at = 2};
    options.watch = stop_at_call;
    options.watch_data = &stop;
    /* Each run makes one step more than the last could. */
    int runs = 0, resumed = 0;
    for (;; runs++) {
        lh_prepare_report report;
        lh_error error = {0};
        stop.calls = 0;
        stop.stop_at = 14 + runs % 2;
        lh_status status = lh_prepare(library, out, &options, &report, &error);
        resumed += report.resumed;
        lh_string_free(&report.notes);
        if (status == LH_OK) {
            break;
        }
        assert_int_equal(status, LH_E_INTERRUPTED);
        assert_true(runs < 100);
    }
    assert_true(resumed >= 1);
    assert_same_folders(first, out);
    lh_prepare_report report;
    prepare_ok(library, out, &options, &report);
    assert_true(report.already);
    lh_string_free(&report.notes);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static int run_child(const char *source, const char *out, const lh_prepare_options *options, long microseconds)
{
    pid_t child = fork();
    if (child == 0) {
        lh_prepare_report report;
        lh_error error = {0};
        _exit(lh_prepare(source, out, options, &report, &error));
    }
    if (microseconds >= 0) {
        usleep((useconds_t)microseconds);
        (void)kill(child, SIGKILL);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFSIGNALED(result) ? -WTERMSIG(result) : WEXITSTATUS(result);
}

/* Killed at every call back in turn, and at random instants, again and again until it gets through. */
static void test_kills(void **state)
{
    (void)state;
    const char *library = make_library(), *bpe = make_bpe();
    char first[160], out[160];
    lh_prepare_options options = {.input = {.split = "8/2/2", .by = "bytes"},
                                  .tokenizer = bpe,
                                  .checkpoint_bytes = 1,
                                  .shard_bytes = 20000,
                                  .threads = 1};
    prepare_ok(library, sibling(first, "kill-never"), &options, NULL);
    sibling(out, "kill-calls");
    stopper stop = {.kill = true};
    options.watch = stop_at_call;
    options.watch_data = &stop;
    for (stop.stop_at = 1; stop.stop_at < 50; stop.stop_at++) {
        if (stop.stop_at % 6 == 0) {
            scratch_remove(out); /* otherwise the kills add up in one folder */
        }
        if (run_child(library, out, &options, -1) == 0) {
            assert_same_folders(first, out);
            scratch_remove(out);
        }
    }
    stop.stop_at = 0;
    uint64_t seed = (uint64_t)getpid();
    for (int trial = 0; trial < 4; trial++) {
        scratch_remove(out);
        int runs = 0;
        while (run_child(library, out, &options, (long)(noise(&seed) % (3000u + 2000u * (unsigned)runs))) != 0) {
            assert_true(++runs < 1000);
        }
        assert_same_folders(first, out);
    }
}

/* No more room: one sentence, and the work goes on where it stopped once there is room. */
static void test_full_disk(void **state)
{
    (void)state;
    const char *library = make_library();
    char first[160], out[160];
    lh_prepare_options options = {.input = {.split = "train"}, .checkpoint_bytes = 1};
    prepare_ok(library, sibling(first, "disk-free"), &options, NULL);
    sibling(out, "disk-full");
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    lh_prepare_report report;
    lh_error error = {0};
    lh_status status = lh_prepare(library, out, &options, &report, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, LH_E_IO);
    assert_non_null(strstr(error.message, "disk-full"));
    lh_string_free(&report.notes);
    prepare_ok(library, out, &options, &report);
    assert_true(report.resumed);
    lh_string_free(&report.notes);
    assert_same_folders(first, out);
}

/* Parts that vanished or shrank between two runs are written again. */
static void test_lost_parts(void **state)
{
    (void)state;
    const char *library = make_library();
    char first[160], out[160];
    lh_prepare_options options = {.input = {.split = "train"}, .checkpoint_bytes = 1};
    prepare_ok(library, sibling(first, "parts-kept"), &options, NULL);
    sibling(out, "parts-lost");
    for (int loss = 0; loss < 4; loss++) {
        scratch_remove(out);
        stopper stop = {.stop_at = 8};
        options.watch = stop_at_call;
        options.watch_data = &stop;
        lh_prepare_report report;
        assert_int_equal(lh_prepare(library, out, &options, &report, NULL), LH_E_INTERRUPTED);
        lh_string_free(&report.notes);
        options.watch = NULL;
        switch (loss) {
        case 0: assert_int_equal(unlink(at("parts-lost/train-00000.lhs.part")), 0); break;
        case 1: assert_int_equal(truncate(at("parts-lost/train-00000.lhs.docs"), 64), 0); break;
        case 2: assert_int_equal(unlink(at("parts-lost/train-00000.lhs.names")), 0); break;
        default: assert_int_equal(truncate(at("parts-lost/prepare.state"), 100), 0); break;
        }
        prepare_ok(library, out, &options, NULL);
        assert_same_folders(first, out);
    }
}

static void test_other_inputs_and_options(void **state)
{
    (void)state;
    char source[160], out[160];
    put_text("other.txt", 5, 3000, false);
    sibling(source, "other.txt");
    sibling(out, "other-out");
    lh_prepare_options options = {0};
    lh_prepare_report report;
    prepare_ok(source, out, &options, NULL);
    prepare_ok(source, out, &options, &report);
    assert_true(report.already);
    lh_string_free(&report.notes);
    options.input.split = "50/50";
    lh_error error = {0};
    assert_int_equal(lh_prepare(source, out, &options, &report, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "--force"));
    lh_string_free(&report.notes);
    assert_int_equal(scratch_write(at("other-out/notes.md"), "mine", 4), 0);
    options.force = true;
    prepare_ok(source, out, &options, NULL);
    lh_dataset *dataset = open_dataset(out);
    assert_in_range(dataset->splits[LH_SPLIT_TRAIN].tokens, 1500, 1503);
    assert_int_equal(dataset->splits[LH_SPLIT_TEST].part_count, 0);
    lh_dataset_free(dataset);
    assert_int_equal(access(at("other-out/notes.md"), F_OK), 0); /* what is not ours stays */
    /* The input has grown while the work was interrupted: begun again. */
    options = (lh_prepare_options){.checkpoint_bytes = 1};
    sibling(out, "other-grown");
    stopper stop = {.stop_at = 1};
    options.watch = stop_at_call;
    options.watch_data = &stop;
    (void)lh_prepare(source, out, &options, &report, NULL);
    lh_string_free(&report.notes);
    put_text("other.txt", 6, 4000, false);
    stop.stop_at = -1;
    prepare_ok(source, out, &options, &report);
    assert_false(report.resumed);
    lh_string_free(&report.notes);
    dataset = open_dataset(out);
    assert_int_equal(dataset->splits[0].tokens + dataset->splits[1].tokens + dataset->splits[2].tokens, 4000);
    lh_dataset_free(dataset);
}

static void test_tiny_inputs(void **state)
{
    (void)state;
    char source[160], out[160];
    lh_prepare_options options = {0};
    assert_int_equal(scratch_write(at("one.txt"), "x", 1), 0);
    prepare_ok(sibling(source, "one.txt"), sibling(out, "one-out"), &options, NULL);
    lh_dataset *dataset = open_dataset(out);
    assert_int_equal(dataset->splits[0].tokens, 1);
    assert_int_equal(dataset->splits[1].part_count, 0);
    lh_dataset_free(dataset);
    assert_int_equal(scratch_write(at("none.txt"), "", 0), 0);
    lh_prepare_report report;
    lh_error error = {0};
    assert_int_equal(lh_prepare(sibling(source, "none.txt"), sibling(out, "none-out"), &options, &report, &error),
                     LH_E_FORMAT);
    assert_non_null(strstr(error.message, "none.txt is empty"));
    lh_string_free(&report.notes);
    error = (lh_error){0};
    options.input.skip_empty = true;
    assert_int_equal(lh_prepare(source, out, &options, &report, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "holds no text"));
    lh_string_free(&report.notes);
    error = (lh_error){0};
    assert_int_equal(lh_prepare(sibling(source, "missing"), out, &options, &report, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "missing"));
    lh_string_free(&report.notes);
    options.tokenizer = "no-such-tokenizer";
    error = (lh_error){0};
    assert_int_equal(lh_prepare(sibling(source, "one.txt"), out, &options, &report, &error), LH_E_IO);
    lh_string_free(&report.notes);
}

/* Damage to dataset.json: never a crash, always a sentence that names the file. */
static void test_damaged_description(void **state)
{
    (void)state;
    char source[160], out[160];
    put_text("described.txt", 5, 300, false);
    lh_prepare_options options = {0};
    prepare_ok(sibling(source, "described.txt"), sibling(out, "described"), &options, NULL);
    size_t size;
    char *json = scratch_read(at("described/dataset.json"), &size);
    for (size_t keep = 0; keep + 2 < size; keep += 11) {
        assert_int_equal(scratch_write(at("described/dataset.json"), json, keep), 0);
        lh_dataset *dataset;
        lh_error error = {0};
        assert_int_not_equal(lh_dataset_open(&dataset, out, &error), LH_OK);
        assert_non_null(strstr(error.message, "dataset.json"));
    }
    static const struct {
        const char *from, *to, *words;
    } edits[] = {
        {"train-00000.lhs", "../etc/pass.lhs", "name of a file"},
        {"train-00000.lhs", "absent-0000.lhs", "absent-0000.lhs"},
        {"\"version\": 1", "\"version\": 9", "version"},
        {"longhand data set", "longhand date set", "format"},
        {"\"tokens\": 270", "\"tokens\": 271", "do not fit"},
        {"\"vocabulary\": 256", "\"vocabulary\": 255", "do not fit"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *edited = strdup(json), *place = strstr(edited, edits[i].from);
        assert_non_null(place);
        memcpy(place, edits[i].to, strlen(edits[i].to));
        assert_int_equal(scratch_write(at("described/dataset.json"), edited, size), 0);
        lh_dataset *dataset;
        lh_error error = {0};
        assert_int_not_equal(lh_dataset_open(&dataset, out, &error), LH_OK);
        if (!strstr(error.message, edits[i].words)) {
            fail_msg("\"%s\" does not say \"%s\"", error.message, edits[i].words);
        }
        free(edited);
    }
    assert_int_equal(scratch_write(at("described/dataset.json"), json, size), 0);
    lh_dataset_free(open_dataset(out));
    free(json);
    lh_dataset *dataset;
    lh_error error = {0};
    assert_int_equal(lh_dataset_open(&dataset, folder, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "no prepared data set"));
    assert_int_equal(lh_heap_live_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bpe),
        cmocka_unit_test(test_long_document),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_cutting_does_not_matter),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_lost_parts),
        cmocka_unit_test(test_other_inputs_and_options),
        cmocka_unit_test(test_tiny_inputs),
        cmocka_unit_test(test_damaged_description),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
