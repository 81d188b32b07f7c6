/* What a preparation remembers between two runs. */
#ifndef LH_DATA_PREPARE_STATE_H
#define LH_DATA_PREPARE_STATE_H

#include "data/input.h"
#include "data/shard.h"

/* Plain data, as it lies in the file. */
typedef struct lh_prepare_state {
    char magic[8];
    uint64_t identity;             /* of the input with its times, and of the options */
    uint64_t fingerprint;          /* of the tokenizer */
    lh_input_position position;    /* everything before is in complete shards or in the open one */
    lh_input_position shard_start; /* where the open shard's first document begins */
    uint32_t shards[LH_SPLITS];    /* complete ones */
    int32_t open_split;            /* of the open shard, or -1 */
    uint64_t invalid_documents;    /* with bytes that are not UTF-8 */
    lh_shard_progress open;
    uint64_t checksum;
} lh_prepare_state;

/* Reads the state in a folder. *found is false if there is none, if it is damaged, or if it is of other input or
 * options: then the work begins anew. */
lh_status lh_prepare_state_load(const char *folder, uint64_t identity, lh_prepare_state *state, bool *found,
                                lh_error *error);
lh_status lh_prepare_state_save(const char *folder, lh_prepare_state *state, lh_error *error);

/* Makes the folder if it is not there and keeps other processes from working on it until *lock, a file descriptor,
 * is closed. LH_E_CONFIG if one does already. */
lh_status lh_prepare_lock(const char *folder, int *lock, lh_error *error);

/* Removes what an earlier preparation left in a folder: the parts of shards, the state, what a killed write left;
 * with `everything` also dataset.json and the shards. All other files stay. */
lh_status lh_prepare_clean(const char *folder, bool everything, lh_error *error);

#endif
