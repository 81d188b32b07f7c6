#include "data/task_make.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/prepare_state.h"

#include <lzma.h>
#include <string.h>
#include <unistd.h>

#define TRAINING_TOKENS ((uint64_t)4 << 20)
#define LEAST_ROWS 16u
#define MOST_ROWS 16384u
/* Counts up when a task's rows change, so that what was made before is not taken for the same. */
#define TASKS_VERSION 1u

typedef struct making {
    const lh_task *task;
    const lh_task_make_options *options;
    const char *folder;
    lh_tokenizer *tokenizer;
    lh_task_row row;
    lh_string text;
    uint64_t done, total; /* tokens; the total may be a little high, since rows differ in length */
    uint64_t identity;
} making;

uint64_t lh_task_usual_rows(const lh_task *task, int split)
{
    uint64_t tokens = split == LH_SPLIT_TRAIN ? TRAINING_TOKENS : TRAINING_TOKENS / 16;
    uint64_t rows = tokens / (uint64_t)task->length;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

lh_status lh_task_tokenizer(const lh_task *task, lh_tokenizer **tokenizer, lh_error *error)
{
    size_t count = (size_t)task->vocab;
    char(*words)[LH_TASK_WORD] = lh_heap_alloc(count * sizeof *words);
    const char **list = lh_heap_alloc(count * sizeof *list);
    lh_status status =
        words && list ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for a vocabulary of %zu symbols", count);
    for (size_t i = 0; i < count && status == LH_OK; i++) {
        task->kind->spell(task, (int32_t)i, words[i]);
        list[i] = words[i];
    }
    *tokenizer = NULL;
    if (status == LH_OK) {
        status = lh_tokenizer_create_words(tokenizer, list, (int32_t)count, error);
    }
    lh_heap_free(words);
    lh_heap_free(list);
    return status;
}

static lh_status write_row(making *m, lh_shard_writer *writer, uint64_t index, lh_error *error)
{
    const lh_task_row *row = &m->row;
    lh_text_counter counter = {0};
    char name[24];
    lh_string_clear(&m->text);
    LH_TRY(lh_tokenizer_decode(m->tokenizer, row->tokens, (size_t)row->size, 0, &m->text, error));
    lh_text_counter_feed(&counter, m->text.data, m->text.size);
    lh_text_counter_finish(&counter);
    (void)snprintf(name, sizeof name, "%llu", (unsigned long long)index);
    LH_TRY(lh_shard_writer_answers(writer, row->tokens, row->answers, (size_t)row->size, error));
    return lh_shard_writer_end_document(writer, name, "", &counter.totals, error);
}

static lh_status write_rows(making *m, lh_shard_writer *writer, int split, lh_error *error)
{
    const lh_task_make_options *o = m->options;
    for (uint64_t i = 0; i < o->rows[split]; i++) {
        lh_task_make_row(m->task, o->seed, split, i, &m->row);
        LH_TRY(write_row(m, writer, i, error));
        m->done += (uint64_t)m->task->length;
        if (o->watch && !o->watch(o->watch_data, m->done, m->total)) {
            return lh_fail(error, LH_E_INTERRUPTED, "stopped; %s is no data set yet", m->folder);
        }
    }
    return LH_OK;
}

static lh_status write_split(making *m, int split, lh_error *error)
{
    char name[LH_SHARD_NAME_SIZE];
    lh_shard_writer writer = {0};
    char *path = lh_path_join(m->folder, lh_dataset_shard_name(name, split, 0));
    lh_status status = path ? lh_shard_writer_open(&writer, path, (uint64_t)m->task->vocab,
                                                   lh_tokenizer_fingerprint(m->tokenizer), NULL, error)
                            : lh_fail(error, LH_E_MEMORY, "no memory to write %s", name);
    lh_heap_free(path);
    LH_TRY(status);
    status = write_rows(m, &writer, split, error);
    if (status == LH_OK) {
        return lh_shard_writer_finish(&writer, error);
    }
    lh_shard_writer_close(&writer);
    return status;
}

static void set_facts(const making *m, const char *options, lh_dataset_facts *facts)
{
    *facts = (lh_dataset_facts){
        .layout = "task",
        .rule = "made",
        .tokenizer_file = "tokenizer.json",
        .vocab_size = (uint64_t)m->task->vocab,
        .fingerprint = lh_tokenizer_fingerprint(m->tokenizer),
        .task_seed = m->options->seed,
        .chance = m->task->chance,
        .identity = m->identity,
    };
    (void)snprintf(facts->tokenizer_kind, sizeof facts->tokenizer_kind, "%s",
                   lh_tokenizer_kind_name(lh_tokenizer_get_kind(m->tokenizer)));
    (void)snprintf(facts->task, sizeof facts->task, "%s", m->task->kind->name);
    (void)snprintf(facts->task_options, sizeof facts->task_options, "%s", options);
}

static lh_status write_all(making *m, const char *options, lh_error *error)
{
    uint32_t shards[LH_SPLITS] = {0};
    lh_dataset_facts facts;
    char source[64];
    LH_TRY(lh_prepare_clean(m->folder, true, error));
    LH_TRY(lh_task_tokenizer(m->task, &m->tokenizer, error));
    LH_TRY(lh_task_row_create(&m->row, m->task, error));
    LH_TRY(lh_tokenizer_save(m->tokenizer, m->folder, error));
    for (int split = 0; split < LH_SPLITS; split++) {
        if (m->options->rows[split] > 0) {
            LH_TRY(write_split(m, split, error));
            shards[split] = 1;
        }
    }
    set_facts(m, options, &facts);
    (void)snprintf(source, sizeof source, "the task %s", m->task->kind->name);
    return lh_dataset_write(m->folder, source, &facts, shards, error);
}

/* The seed and the numbers of rows as text behind the options: equal for equal data sets. */
static lh_status identify(making *m, const char *options, lh_error *error)
{
    const lh_task_make_options *o = m->options;
    lh_string all = {0};
    lh_string_print(&all, "tasks %u %s %s seed %llu", TASKS_VERSION, m->task->kind->name, options,
                    (unsigned long long)o->seed);
    for (int i = 0; i < LH_SPLITS; i++) {
        lh_string_print(&all, " %llu", (unsigned long long)o->rows[i]);
        m->total += o->rows[i] * (uint64_t)m->task->length;
    }
    m->identity = all.failed ? 0 : lzma_crc64((const uint8_t *)all.data, all.size, 0);
    bool failed = all.failed;
    lh_string_free(&all);
    return failed ? lh_fail(error, LH_E_MEMORY, "no memory to make %s", m->folder) : LH_OK;
}

static lh_status check(const lh_task_make_options *o, const lh_task *task, lh_error *error)
{
    bool any = false;
    for (int i = 0; i < LH_SPLITS; i++) {
        any = any || o->rows[i] > 0;
        if (o->rows[i] > INT32_MAX || o->rows[i] > ((uint64_t)1 << 40) / (uint64_t)task->length) {
            return lh_fail(error, LH_E_ARGUMENT, "%llu rows of %lld tokens are too many for a split",
                           (unsigned long long)o->rows[i], (long long)task->length);
        }
    }
    return any ? LH_OK : lh_fail(error, LH_E_ARGUMENT, "a data set without any row is none");
}

/* Is the folder free? Or does the same data set lie in it? */
static lh_status look(const making *m, bool *already, lh_error *error)
{
    uint64_t old = 0;
    char *file = lh_path_join(m->folder, LH_DATASET_FILE);
    if (!file) {
        return lh_fail(error, LH_E_MEMORY, "no memory to make %s", m->folder);
    }
    bool there = lh_file_exists(file);
    lh_heap_free(file);
    *already =
        there && !m->options->force && lh_dataset_identity(m->folder, &old, NULL) == LH_OK && old == m->identity;
    if (there && !*already && !m->options->force) {
        return lh_fail(error, LH_E_CONFIG,
                       "%s holds another data set: name another folder, or replace it with --force", m->folder);
    }
    return LH_OK;
}

lh_status lh_task_make(const lh_task *task, const char *folder, const lh_task_make_options *options, bool *already,
                       lh_error *error)
{
    making m = {.task = task, .options = options, .folder = folder};
    lh_string described = {0};
    int lock = -1;
    *already = false;
    LH_TRY(check(options, task, error));
    LH_TRY(lh_prepare_lock(folder, &lock, error));
    lh_task_describe(task, &described);
    lh_status status = described.failed ? lh_fail(error, LH_E_MEMORY, "no memory to make %s", folder)
                                        : identify(&m, described.data, error);
    if (status == LH_OK) {
        status = look(&m, already, error);
    }
    if (status == LH_OK && !*already) {
        status = write_all(&m, described.data, error);
    }
    lh_string_free(&described);
    lh_string_free(&m.text);
    lh_task_row_free(&m.row);
    lh_tokenizer_free(m.tokenizer);
    (void)close(lock);
    return status;
}
