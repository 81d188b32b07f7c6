/* The verbs that speak about the verbs: help, completion and man. */
#include "base/file.h"
#include "base/memory.h"
#include "cli/internal.h"
#include "cli/verbs.h"

#include <stdio.h>
#include <string.h>

/* The dispatcher answers "help" itself, since it takes the name of a verb apart. This row makes it known to the
 * list of verbs and to completion. */
static lh_status run_help(const lh_command *command, lh_error *error)
{
    (void)command;
    lh_string text = {0};
    lh_help_overview(&text, lh_verbs, NULL);
    return lh_print_text(&text, error);
}

const lh_verb lh_verb_help = {
    .name = "help",
    .summary = "Explain a verb, or list all verbs",
    .operands = "[VERB]",
    .description = "Without a verb, lists all of them. With one, prints how it is used: its options with their "
                   "defaults, and examples.",
    .examples = "longhand help completion\n    explains the verb completion",
    .max_operands = 2,
    .run = run_help,
};

static lh_status run_completion(const lh_command *command, lh_error *error)
{
    lh_string text = {0};
    lh_status status = lh_completion_script(&text, lh_verbs, lh_command_operand(command, 0), error);
    if (status != LH_OK) {
        lh_string_free(&text);
        return status;
    }
    return lh_print_text(&text, error);
}

const lh_verb lh_verb_completion = {
    .name = "completion",
    .summary = "Print a completion script for bash, zsh or fish",
    .operands = "bash|zsh|fish",
    .description = "The script completes verbs, options and the values of options that have a fixed set of them. "
                   "Installing longhand puts the scripts where the shells look for them; this verb is for use "
                   "without installing.",
    .examples = "source <(longhand completion bash)\n    completion in this bash session\n"
                "longhand completion fish > ~/.config/fish/completions/longhand.fish\n    completion in fish",
    .min_operands = 1,
    .max_operands = 1,
    .run = run_completion,
};

/* Writes DIR/longhand-data-prepare.1 for "data prepare", DIR/longhand.1 for NULL. */
static lh_status write_page(const char *directory, const lh_verb *verb, lh_error *error)
{
    char name[128];
    (void)snprintf(name, sizeof name, "longhand%s%.100s.1", verb ? "-" : "", verb ? verb->name : "");
    for (char *at = name; *at; at++) {
        *at = *at == ' ' ? '-' : *at;
    }
    lh_string text = {0};
    lh_man_page(&text, lh_verbs, verb);
    char *path = lh_path_join(directory, name);
    lh_status status;
    if (!path || text.failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory for the manual page %s", name);
    } else {
        status = lh_file_write(path, text.data, text.size, error);
    }
    lh_heap_free(path);
    lh_string_free(&text);
    return status;
}

static lh_status run_man(const lh_command *command, lh_error *error)
{
    const char *directory = lh_command_operand(command, 0);
    LH_TRY(lh_directory_create(directory, error));
    LH_TRY(write_page(directory, NULL, error));
    for (int i = 0; lh_verbs[i]; i++) {
        if (!lh_verb_hidden(lh_verbs[i])) {
            LH_TRY(write_page(directory, lh_verbs[i], error));
        }
    }
    return LH_OK;
}

/* For the build, which installs the pages; without a summary it is not listed. */
const lh_verb lh_verb_man = {
    .name = "man",
    .operands = "DIR",
    .description = "Writes longhand.1 and one manual page per verb into DIR.",
    .min_operands = 1,
    .max_operands = 1,
    .run = run_man,
};
