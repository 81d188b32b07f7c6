/* Making a data set: text in, token shards out. */
#ifndef LH_DATA_PREPARE_H
#define LH_DATA_PREPARE_H

#include "data/dataset.h"
#include "data/input.h"

typedef struct lh_prepare_options {
    lh_input_options input;
    const char *tokenizer; /* "bytes", "words", "characters" or the path of a tokenizer; NULL: words for WikiText,
                              bytes for everything else */
    bool end_documents;    /* put the tokenizer's end-of-text token behind every document */
    bool force;            /* replace a finished data set that was made differently */
    uint64_t shard_bytes;  /* a shard that has so many bytes of tokens is followed by a new one; 0: 1 GiB */
    uint64_t checkpoint_bytes; /* text between two checkpoints; 0: 64 MiB */
    int threads;               /* that encode; 0: as many as OpenMP takes */
    /* Called often with what is being done ("measure", "vocabulary", "prepare") and bytes of files done and in all;
     * false stops after a checkpoint with LH_E_INTERRUPTED. May be NULL. */
    bool (*watch)(void *data, const char *phase, uint64_t done, uint64_t total);
    void *watch_data;
} lh_prepare_options;

typedef struct lh_prepare_report {
    bool resumed;        /* went on where an earlier run had stopped */
    bool already;        /* was complete already, nothing was done */
    uint64_t text_bytes; /* read in this run */
    lh_string notes;     /* warnings, one sentence a line; release with lh_string_free */
} lh_prepare_report;

/* Reads `source` and writes the data set `folder`. Memory is bounded whatever the input. If it is killed, the same
 * call goes on from the last checkpoint and the folder gets the same bytes as from an undisturbed run. Standard
 * input is always read from its beginning. LH_E_CONFIG if the folder holds a different data set, or if another
 * process is working on it. */
lh_status lh_prepare(const char *source, const char *folder, const lh_prepare_options *options,
                     lh_prepare_report *report, lh_error *error);

#endif
