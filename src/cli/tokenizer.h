/* What the verbs about tokenizers share. */
#ifndef LH_CLI_TOKENIZER_H
#define LH_CLI_TOKENIZER_H

#include "cli/cli.h"
#include "text/tokenizer.h"

#include <stddef.h>

/* Text files: plain or compressed, "-" for standard input; the files of a directory in byte order. */
typedef struct lh_inputs {
    char **paths;
    size_t count;
    uint64_t bytes; /* size of all files, as far as it is known: for progress */
} lh_inputs;

/* The operands from `first` on; none is standard input. */
lh_status lh_inputs_open(lh_inputs *inputs, const lh_command *command, int first, lh_error *error);
void lh_inputs_free(lh_inputs *inputs);

/* What happens to text. `end` follows the last piece of each file. Either may be NULL. */
typedef struct lh_input_sink {
    lh_status (*piece)(void *data, const void *bytes, size_t size, lh_error *error);
    lh_status (*end)(void *data, lh_error *error);
    void *data;
} lh_input_sink;

/* Reads all files one after the other with a progress line `label`; SIGINT stops with LH_E_INTERRUPTED. */
lh_status lh_inputs_read(const lh_inputs *inputs, const char *label, const lh_input_sink *sink, lh_error *error);

/* Reads the training documents of all operands: files, trees, JSON Lines, data sets in their own layouts, of which
 * only the training split counts. `field` is the key of the text in JSON Lines. */
lh_status lh_corpora_read(const lh_command *command, const char *field, const lh_input_sink *sink, lh_error *error);

/* The names of the roles: "eos", "bos", "pad", "unknown". */
extern const char *const lh_role_names[];

#endif
