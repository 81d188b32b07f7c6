/* What the verbs that read with a model have in common. */
#ifndef LH_CLI_MODEL_H
#define LH_CLI_MODEL_H

#include "cli/cli.h"
#include "infer/load.h"

/* Opens the model that the first operand names, with the others as overrides, and options --checkpoint. Then
 * `extra` (may be NULL-terminated list or NULL) of overrides that options stand for. */
lh_status lh_cli_open_model(const lh_command *command, const char *const *extra, lh_model **model,
                            lh_tokenizer **tokenizer, int64_t *step, lh_error *error);

/* Does standard output go to a terminal? */
bool lh_cli_terminal(void);

#endif
