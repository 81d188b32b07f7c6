/* Every verb of the command, one line each: its table lives in cli/<verb>.c. Add it here and in verbs.c. */
#ifndef LH_CLI_VERBS_H
#define LH_CLI_VERBS_H

#include "cli/cli.h"

extern const lh_verb lh_verb_train;
extern const lh_verb lh_verb_eval;
extern const lh_verb lh_verb_generate;
extern const lh_verb lh_verb_compare;
extern const lh_verb lh_verb_info;
extern const lh_verb lh_verb_bench;
extern const lh_verb lh_verb_data_list;
extern const lh_verb lh_verb_data_get;
extern const lh_verb lh_verb_data_make;
extern const lh_verb lh_verb_data_prepare;
extern const lh_verb lh_verb_data_midi;
extern const lh_verb lh_verb_data_info;
extern const lh_verb lh_verb_report;
extern const lh_verb lh_verb_help;
extern const lh_verb lh_verb_completion;
extern const lh_verb lh_verb_man;
extern const lh_verb lh_verb_tokenizer_train;
extern const lh_verb lh_verb_tokenizer_encode;
extern const lh_verb lh_verb_tokenizer_decode;
extern const lh_verb lh_verb_tokenizer_info;

#endif
