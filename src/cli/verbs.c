#include "cli/verbs.h"

#include <stddef.h>

/* clang-format off */
const lh_verb *const lh_verbs[] = {
    &lh_verb_train,
    &lh_verb_eval,
    &lh_verb_generate,
    &lh_verb_info,
    &lh_verb_bench,
    &lh_verb_data_list,
    &lh_verb_data_get,
    &lh_verb_data_prepare,
    &lh_verb_data_make,
    &lh_verb_data_midi,
    &lh_verb_data_info,
    &lh_verb_report,
    &lh_verb_compare,
    &lh_verb_tokenizer_train,
    &lh_verb_tokenizer_encode,
    &lh_verb_tokenizer_decode,
    &lh_verb_tokenizer_info,
    &lh_verb_help,
    &lh_verb_completion,
    &lh_verb_man,
    NULL,
};
/* clang-format on */
