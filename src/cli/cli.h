/* The command line: one table per verb makes the parser, --help, the man page and the shell completion. */
#ifndef LH_CLI_CLI_H
#define LH_CLI_CLI_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum lh_option_kind {
    LH_OPTION_FLAG,    /* --json */
    LH_OPTION_STRING,  /* --out DIR */
    LH_OPTION_INTEGER, /* --tokens N, with k/M/G suffixes */
    LH_OPTION_REAL,    /* --temperature X */
} lh_option_kind;

typedef struct lh_option {
    const char *name; /* long name without dashes; a row with a NULL name ends the table */
    char letter;      /* one-letter form, or 0 */
    lh_option_kind kind;
    const char *argument; /* how help names the value: "DIR"; NULL for flags */
    const char *fallback; /* default value as text, or NULL for none */
    const char *help;     /* one sentence, no final full stop needed */
    const char *choices;  /* "json|text": anything else is an error; or NULL */
} lh_option;

typedef struct lh_command lh_command; /* a parsed command line */

/* One verb. Two-word verbs ("data prepare") have a space in their name. */
typedef struct lh_verb {
    const char *name;
    const char *summary;            /* one line for the list of verbs */
    const char *operands;           /* "RUN [section.key=value ...]" for the usage line, or "" */
    const char *description;        /* paragraphs for --help and the man page */
    const char *examples;           /* lines "command\n    what it does" for the end of --help, or NULL */
    int min_operands, max_operands; /* max -1: any number */
    const lh_option *options;
    lh_status (*run)(const lh_command *command, lh_error *error);
} lh_verb;

/* Values: what was given, else the table's fallback. Asking for a name that is not in the table is a programming
 * fault and aborts in debug builds. */
const char *lh_command_string(const lh_command *command, const char *name); /* NULL if absent */
int64_t lh_command_integer(const lh_command *command, const char *name);
double lh_command_real(const lh_command *command, const char *name);
bool lh_command_flag(const lh_command *command, const char *name);
bool lh_command_given(const lh_command *command, const char *name); /* was it on the command line? */
int lh_command_operand_count(const lh_command *command);
const char *lh_command_operand(const lh_command *command, int index);

/* All verbs, in the order help lists them; ends with NULL. Each verb lives in its own file cli/<verb>.c. */
extern const lh_verb *const lh_verbs[];

/* Parses, runs, prints errors as "longhand: <sentence>" on standard error, and returns the exit code. */
int lh_cli_main(int argc, char **argv);

#endif
