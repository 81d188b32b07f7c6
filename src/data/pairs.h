/* Making a data set of pairs, a source and its target each: articles and their abstracts. From JSON Lines with two
 * named texts in a line. A pair becomes one document, source, end-of-text token, target, end-of-text token, in
 * which the target and its end are the answers (shard.h): a model with an encoder reads the one beside the other
 * (lh_token_stream_options.source), any other model reads on from source to target. */
#ifndef LH_DATA_PAIRS_H
#define LH_DATA_PAIRS_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct lh_pairs_options {
    const char *source_field, *target_field; /* NULL: "article" and "abstract" */
    const char *split;     /* as of lh_input_options; sources with splits of their own have none */
    const char *tokenizer; /* the path of a tokenizer with an end-of-text token */
    int64_t source_tokens; /* only the first so many tokens of a source are kept; 0: all */
    uint64_t shard_bytes;  /* a shard that has so many bytes of tokens is followed by a new one; 0: 1 GiB */
    bool force;            /* replace another data set */
    /* As in lh_prepare_options. */
    bool (*watch)(void *data, const char *phase, uint64_t done, uint64_t total);
    void *watch_data;
} lh_pairs_options;

typedef struct lh_pairs_report {
    bool already;                            /* was complete already, nothing was done */
    uint64_t pairs;                          /* written */
    uint64_t alone;                          /* left out: their source or their target is empty */
    uint64_t cut;                            /* sources of more than source_tokens tokens */
    uint64_t longest_source, longest_target; /* in tokens, as written */
} lh_pairs_report;

/* Reads `source`, a file of JSON Lines or a folder of them, and writes the data set `folder`. Begins from the first
 * line in every run. LH_E_FORMAT with file and line if a line is no JSON object with two texts; LH_E_CONFIG if the
 * tokenizer has no end-of-text token, or the folder holds another data set. */
lh_status lh_prepare_pairs(const char *source, const char *folder, const lh_pairs_options *options,
                           lh_pairs_report *report, lh_error *error);

#endif
