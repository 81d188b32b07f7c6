/* What the files of the command line share: parsing, help, pages and completion, all driven by the verbs' tables.
 */
#ifndef LH_CLI_INTERNAL_H
#define LH_CLI_INTERNAL_H

#include "base/text.h"
#include "cli/cli.h"

struct lh_command {
    const lh_verb *verb;
    const char **values; /* per row of the option table: the text given (flags: "true" or "false"), or NULL */
    const char **operands;
    int operand_count;
    bool help, quiet; /* the options that every verb has */
};

/* The options that every verb has beside its own: --help and --quiet. */
extern const lh_option lh_common_options[];

/* Parses the words after the verb. Texts stay in argv. LH_E_ARGUMENT with one sentence for whatever is wrong;
 * --help on the line stops the search for faults. Release the command in every case. */
lh_status lh_command_parse(lh_command *command, const lh_verb *verb, int argc, char *const *argv, lh_error *error);
void lh_command_release(lh_command *command);

/* How many rows an option table has. NULL has none. */
int lh_option_count(const lh_option *options);

/* True if `value` is one of "a|b|c". */
bool lh_choice_allowed(const char *choices, const char *value);

/* The verb that the first words name, and how many words that took; NULL if they name none. The longer name wins.
 */
const lh_verb *lh_verb_find(const lh_verb *const *verbs, int argc, char *const *argv, int *used);

/* True if `word` is the first word of at least one two-word verb. */
bool lh_verb_is_group(const lh_verb *const *verbs, const char *word);

/* A verb without a summary works but is not listed anywhere. */
bool lh_verb_hidden(const lh_verb *verb);

/* "longhand data prepare [options] INPUT...". */
void lh_help_usage(lh_string *out, const lh_verb *verb);
/* The whole page of one verb. */
void lh_help_verb(lh_string *out, const lh_verb *verb);
/* The list of verbs; with a group, of those in it. */
void lh_help_overview(lh_string *out, const lh_verb *const *verbs, const char *group);

/* A manual page in roff: of one verb, or longhand.1 if `verb` is NULL. */
void lh_man_page(lh_string *out, const lh_verb *const *verbs, const lh_verb *verb);

/* A completion script for "bash", "zsh" or "fish"; LH_E_ARGUMENT for another shell. */
lh_status lh_completion_script(lh_string *out, const lh_verb *const *verbs, const char *shell, lh_error *error);

/* Writes a finished text to standard output; a text that ran out of memory is an error. Frees it. */
lh_status lh_print_text(lh_string *text, lh_error *error);

/* The whole command over a given list of verbs: lh_cli_main with lh_verbs. */
int lh_cli_run(const lh_verb *const *verbs, int argc, char **argv);

#endif
