#include "train/corpus.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/prepare.h"

#include <string.h>

typedef struct opening {
    lh_corpus_watch watch;
    void *watch_data;
    const char *cache;
    bool replace;
} opening;

static bool is_dataset(const char *path)
{
    char *file = lh_path_join(path, LH_DATASET_FILE);
    bool found = file && lh_file_exists(file);
    lh_heap_free(file);
    return found;
}

static lh_status prepare(const opening *how, const char *path, const char *folder, const char *tokenizer,
                         const char *split, lh_error *error)
{
    lh_prepare_options options = {.input = {.split = split},
                                  .force = how->replace,
                                  .tokenizer = strcmp(tokenizer, "auto") == 0 ? NULL : tokenizer,
                                  .watch = how->watch,
                                  .watch_data = how->watch_data};
    lh_prepare_report report = {0};
    lh_status status = lh_prepare(path, folder, &options, &report, error);
    lh_string_free(&report.notes);
    return status;
}

/* Every byte is looked at before training begins: checksums run at gigabytes a second, and a flipped bit in a token
 * would train something else without a word. */
static lh_status open_whole(lh_dataset **dataset, const char *path, lh_error *error)
{
    LH_TRY(lh_dataset_open(dataset, path, error));
    lh_status status = lh_dataset_verify(*dataset, NULL, NULL, error);
    if (status != LH_OK) {
        lh_dataset_free(*dataset);
        *dataset = NULL;
    }
    return status;
}

/* Opens a data set, or makes one of raw text in the folder cache/<name>. `split`: which split all of the text goes
 * to, or NULL to share it out. */
static lh_status open_dataset(lh_dataset **dataset, const opening *how, const char *path, const char *name,
                              const char *tokenizer, const char *split, lh_error *error)
{
    if (is_dataset(path)) {
        return open_whole(dataset, path, error);
    }
    char *folder = lh_path_join(how->cache, name);
    if (!folder) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    }
    lh_error own = {0};
    bool made = is_dataset(folder) && !how->replace;
    /* What lies there is looked at first, so that damage is called damage. */
    lh_status status = made ? open_whole(dataset, folder, &own) : LH_OK;
    if (status == LH_OK) {
        status = prepare(how, path, folder, tokenizer, split, &own);
        if (status == LH_E_CONFIG && made) {
            status =
                lh_fail(error, LH_E_CONFIG,
                        "%s, or the tokenizer, is not what it was when it was prepared in %s: begin another run",
                        path, folder);
        }
    }
    if (status == LH_OK && !made) {
        status = open_whole(dataset, folder, &own);
    }
    if (status != LH_OK) {
        (void)lh_fail(error, status, "%s", own.message);
    }
    lh_heap_free(folder);
    return status;
}

static lh_status open_validation(lh_corpus *c, const opening *how, const lh_train_config *config, lh_error *error)
{
    if (!config->validation_path[0]) {
        int split = lh_split_by_name(config->eval_split, strlen(config->eval_split));
        c->validation = split >= 0 && c->dataset->splits[split].tokens >= 2 ? &c->dataset->splits[split] : NULL;
        return LH_OK;
    }
    /* Raw text gets the tokenizer of what is trained on. */
    char *tokenizer = c->dataset->facts.tokenizer_file[0]
                          ? lh_path_join(c->dataset->path, c->dataset->facts.tokenizer_file)
                          : lh_heap_strdup("bytes");
    if (!tokenizer) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", config->validation_path);
    }
    lh_status status =
        open_dataset(&c->other, how, config->validation_path, "validation", tokenizer, config->eval_split, error);
    lh_heap_free(tokenizer);
    LH_TRY(status);
    if (c->other->facts.fingerprint != c->dataset->facts.fingerprint) {
        return lh_fail(error, LH_E_CONFIG, "%s was prepared with another tokenizer than %s",
                       config->validation_path, config->path);
    }
    return lh_dataset_split(c->other, config->eval_split, &c->validation, error);
}

static lh_status measure_tokens(lh_corpus *c, lh_error *error)
{
    c->vocab = lh_tokenizer_vocab_size(c->tokenizer);
    c->token_bytes = lh_heap_alloc(sizeof *c->token_bytes * (size_t)c->vocab);
    if (!c->token_bytes) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the lengths of %lld tokens", (long long)c->vocab);
    }
    for (int64_t id = 0; id < c->vocab; id++) {
        c->token_bytes[id] = lh_tokenizer_token_length(c->tokenizer, (int32_t)id);
    }
    return LH_OK;
}

static lh_status open_all(lh_corpus *c, const opening *how, const lh_train_config *config, lh_error *error)
{
    LH_TRY(open_dataset(&c->dataset, how, config->path, "text", config->tokenizer, NULL, error));
    LH_TRY(lh_dataset_split(c->dataset, config->split, &c->train, error));
    LH_TRY(lh_dataset_tokenizer(c->dataset, &c->tokenizer, error));
    LH_TRY(measure_tokens(c, error));
    return open_validation(c, how, config, error);
}

lh_status lh_corpus_open(lh_corpus **corpus, const lh_train_config *config, const char *cache, bool replace,
                         lh_corpus_watch watch, void *watch_data, lh_error *error)
{
    *corpus = NULL;
    lh_corpus *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", config->path);
    }
    opening how = {.watch = watch, .watch_data = watch_data, .cache = cache, .replace = replace};
    lh_status status = open_all(fresh, &how, config, error);
    if (status != LH_OK) {
        lh_corpus_free(fresh);
        return status;
    }
    *corpus = fresh;
    return LH_OK;
}

void lh_corpus_free(lh_corpus *corpus)
{
    if (corpus) {
        lh_heap_free(corpus->token_bytes);
        lh_tokenizer_free(corpus->tokenizer);
        lh_dataset_free(corpus->other);
        lh_dataset_free(corpus->dataset);
        lh_heap_free(corpus);
    }
}
