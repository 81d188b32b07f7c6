#include "eval/frequency.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/corpus.h"

#define PIECE ((uint64_t)64 << 10)

static lh_status count_split(const lh_split *split, uint64_t *counts, int64_t vocab, lh_error *error)
{
    int32_t *buffer = lh_heap_alloc(sizeof *buffer * PIECE);
    lh_status status = buffer ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to count tokens");
    for (uint64_t at = 0; at < split->tokens && status == LH_OK; at += PIECE) {
        uint64_t part = split->tokens - at < PIECE ? split->tokens - at : PIECE;
        status = lh_split_copy(split, at, part, buffer, error);
        for (uint64_t i = 0; i < part && status == LH_OK; i++) {
            counts[buffer[i]] += buffer[i] < vocab ? 1 : 0;
        }
    }
    lh_heap_free(buffer);
    return status;
}

static lh_status count_dataset(const char *path, const lh_tokenizer *tokenizer, uint64_t *counts, int64_t vocab,
                               lh_error *error)
{
    lh_dataset *dataset;
    const lh_split *split;
    LH_TRY(lh_dataset_open(&dataset, path, error));
    lh_status status = LH_OK;
    if (dataset->facts.fingerprint != lh_tokenizer_fingerprint(tokenizer)) {
        status = lh_fail(error, LH_E_CONFIG, "%s was prepared with another tokenizer than the model's", path);
    }
    if (status == LH_OK) {
        status = lh_dataset_split(dataset, "train", &split, error);
    }
    if (status == LH_OK) {
        status = count_split(split, counts, vocab, error);
    }
    lh_dataset_free(dataset);
    return status;
}

lh_status lh_eval_count_tokens(const char *path, const lh_tokenizer *tokenizer, uint64_t *counts, int64_t vocab,
                               lh_error *error)
{
    char *file = lh_path_join(path, LH_DATASET_FILE);
    bool dataset = file && lh_file_exists(file);
    lh_heap_free(file);
    if (dataset) {
        return count_dataset(path, tokenizer, counts, vocab, error);
    }
    lh_eval_corpus *corpus;
    lh_eval_corpus_options options = {.path = path};
    LH_TRY(lh_eval_corpus_open(&corpus, tokenizer, &options, error));
    lh_status status = count_split(corpus->split, counts, vocab, error);
    lh_eval_corpus_free(corpus);
    return status;
}
