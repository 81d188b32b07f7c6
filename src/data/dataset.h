/* A prepared data set: a folder with dataset.json, the token shards <split>-NNNNN.lhs and the tokenizer's file. */
#ifndef LH_DATA_DATASET_H
#define LH_DATA_DATASET_H

#include "data/input.h"
#include "data/published.h"
#include "data/split.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

#define LH_DATASET_FILE "dataset.json"
#define LH_PAIRS_LAYOUT "pairs" /* facts.layout of pairs of a source and its target */

/* What dataset.json says about how the data set was made. */
typedef struct lh_dataset_facts {
    char layout[24]; /* of the input: "pg19", "text", ... */
    char rule[64];   /* "as in the source", "90/5/5 by bytes" */
    char tokenizer_kind[24];
    char tokenizer_file[32]; /* in the folder; empty for bytes */
    uint64_t vocab_size, fingerprint;
    bool line_feeds_dropped;  /* enwik8 without line feeds */
    bool documents_ended;     /* the end-of-text token follows every document */
    uint64_t empty_documents; /* left out */
    char task[24];            /* "recall"; empty for text */
    char task_options[200];   /* "pairs=8 queries=0 ..." */
    uint64_t task_seed;
    double chance;     /* accuracy of guessing an answer of the task */
    uint64_t identity; /* hash of the options and the input's names and sizes */
} lh_dataset_facts;

typedef struct lh_dataset {
    char *path;   /* of the folder */
    char *source; /* what it was made from, as it was named then */
    lh_dataset_facts facts;
    lh_split splits[LH_SPLITS]; /* those without a shard have part_count 0 */
} lh_dataset;

/* Opens all shards and checks that they fit what dataset.json says. Damage is LH_E_FORMAT naming the file. */
lh_status lh_dataset_open(lh_dataset **dataset, const char *path, lh_error *error);
void lh_dataset_free(lh_dataset *dataset);

/* The split of a name such as "train" or "valid". LH_E_CONFIG with the splits there are, if it is not among them.
 */
lh_status lh_dataset_split(const lh_dataset *dataset, const char *name, const lh_split **split, lh_error *error);

/* Opens the data set's tokenizer and checks its fingerprint. Release it with lh_tokenizer_free. */
lh_status lh_dataset_tokenizer(const lh_dataset *dataset, lh_tokenizer **tokenizer, lh_error *error);

/* Published totals of a split if its data set is a known benchmark, or NULL; *full says whether it is all of it.
 * Word-level perplexity of a full PG-19 split divides by published->words, of a subset by split->totals.words. */
const lh_published *lh_dataset_published(const lh_dataset *dataset, const lh_split *split, bool *full);

/* Reads every token of every shard: checksums and vocabulary. `watch` (or NULL) gets bytes done and in all. */
lh_status lh_dataset_verify(const lh_dataset *dataset, lh_input_watch watch, void *watch_data, lh_error *error);

/* Writes dataset.json for the shards that lie complete in the folder: shard_counts[split] of each split. The same
 * input gives the same bytes. */
lh_status lh_dataset_write(const char *path, const char *source, const lh_dataset_facts *facts,
                           const uint32_t shard_counts[LH_SPLITS], lh_error *error);

/* "train-00000.lhs" */
#define LH_SHARD_NAME_SIZE 48
char *lh_dataset_shard_name(char name[LH_SHARD_NAME_SIZE], int split, uint32_t index);

/* The identity in a folder's dataset.json without opening its shards; LH_E_IO if there is none. */
lh_status lh_dataset_identity(const char *path, uint64_t *identity, lh_error *error);

#endif
