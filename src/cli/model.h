/* What the verbs that read with a model have in common. */
#ifndef LH_CLI_MODEL_H
#define LH_CLI_MODEL_H

#include "cli/cli.h"
#include "infer/load.h"

/* What the operands behind the first override, after `extra` (a NULL-terminated list, or NULL) that options stand
 * for. The list is to be released with lh_heap_free. */
lh_status lh_cli_overrides(const lh_command *command, const char *const *extra, const char ***overrides,
                           size_t *count, lh_error *error);

/* Opens the model that the first operand names, with those overrides and the option --checkpoint. */
lh_status lh_cli_open_model(const lh_command *command, lh_model **model, lh_tokenizer **tokenizer, int64_t *step,
                            lh_error *error);

/* Does standard output go to a terminal? */
bool lh_cli_terminal(void);

#endif
