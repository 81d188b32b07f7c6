#include "base/memory.h"
#include "cli/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const lh_option lh_common_options[] = {
    {"help", 'h', LH_OPTION_FLAG, NULL, NULL, "Print this page and stop", NULL},
    {"quiet", 'q', LH_OPTION_FLAG, NULL, NULL, "Show no progress", NULL},
    {0},
};

int lh_option_count(const lh_option *options)
{
    int count = 0;
    while (options && options[count].name) {
        count++;
    }
    return count;
}

bool lh_choice_allowed(const char *choices, const char *value)
{
    size_t size = strlen(value);
    for (const char *at = choices; *at;) {
        size_t length = strcspn(at, "|");
        if (length == size && strncmp(at, value, size) == 0) {
            return true;
        }
        at += length + (at[length] == '|');
    }
    return false;
}

void lh_command_release(lh_command *command)
{
    lh_heap_free((void *)command->values);
    lh_heap_free((void *)command->operands);
    *command = (lh_command){0};
}

static int find_long(const lh_option *options, const char *name, size_t size)
{
    for (int i = 0; options && options[i].name; i++) {
        if (strlen(options[i].name) == size && strncmp(options[i].name, name, size) == 0) {
            return i;
        }
    }
    return -1;
}

static int find_letter(const lh_option *options, char letter)
{
    for (int i = 0; options && options[i].name; i++) {
        if (options[i].letter == letter) {
            return i;
        }
    }
    return -1;
}

static lh_status unknown_option(const lh_verb *verb, const char *name, size_t size, lh_error *error)
{
    const char *names[128];
    size_t count = 0;
    for (int i = 0; verb->options && verb->options[i].name && count < 120; i++) {
        names[count++] = verb->options[i].name;
    }
    for (int i = 0; lh_common_options[i].name; i++) {
        names[count++] = lh_common_options[i].name;
    }
    char word[64];
    (void)snprintf(word, sizeof word, "%.*s", (int)(size < 60 ? size : 60), name);
    const char *nearest = lh_nearest_name(word, names, count);
    if (nearest) {
        return lh_fail(error, LH_E_ARGUMENT, "unknown option --%s; did you mean --%s?", word, nearest);
    }
    return lh_fail(error, LH_E_ARGUMENT, "unknown option --%s (longhand %s --help lists the options)", word,
                   verb->name);
}

/* Refuses a value that the option's kind or choices do not allow. */
static lh_status check_value(const lh_option *option, const char *value, lh_error *error)
{
    int64_t integer;
    double real;
    bool boolean;
    switch (option->kind) {
    case LH_OPTION_FLAG:
        if (!lh_parse_boolean(value, &boolean)) {
            return lh_fail(error, LH_E_ARGUMENT, "option --%s takes true or false, not \"%s\"", option->name,
                           value);
        }
        break;
    case LH_OPTION_INTEGER:
        if (!lh_parse_integer(value, &integer)) {
            return lh_fail(error, LH_E_ARGUMENT,
                           "option --%s needs a whole number such as 500, 10k or 2M, not \"%s\"", option->name,
                           value);
        }
        break;
    case LH_OPTION_REAL:
        if (!lh_parse_real(value, &real)) {
            return lh_fail(error, LH_E_ARGUMENT, "option --%s needs a number such as 0.8 or 3e-4, not \"%s\"",
                           option->name, value);
        }
        break;
    case LH_OPTION_STRING: break;
    }
    if (option->choices && !lh_choice_allowed(option->choices, value)) {
        return lh_fail(error, LH_E_ARGUMENT, "option --%s is one of %s, not \"%s\"", option->name, option->choices,
                       value);
    }
    return LH_OK;
}

/* The words that are still to be read. */
typedef struct cursor {
    int argc, next;
    char *const *argv;
} cursor;

/* Takes the next word as the value of an option that came without one. */
static lh_status next_value(cursor *words, const lh_option *option, const char **value, lh_error *error)
{
    const char *word = words->next < words->argc ? words->argv[words->next] : NULL;
    if (!word) {
        return lh_fail(error, LH_E_ARGUMENT, "option --%s needs a value: --%s %s", option->name, option->name,
                       option->argument);
    }
    /* "--out --json" is a forgotten value, not a file named --json. */
    if (strncmp(word, "--", 2) == 0) {
        return lh_fail(error, LH_E_ARGUMENT, "option --%s needs a value before %s (write --%s=%s if that is meant)",
                       option->name, word, option->name, word);
    }
    words->next++;
    *value = word;
    return LH_OK;
}

static lh_status parse_long(lh_command *command, cursor *words, const char *text, lh_error *error)
{
    const lh_option *options = command->verb->options;
    size_t size = strcspn(text, "=");
    const char *value = text[size] == '=' ? text + size + 1 : NULL;
    int index = find_long(options, text, size);
    if (index < 0 && !value && find_long(lh_common_options, text, size) >= 0) {
        command->help = command->help || strcmp(text, "help") == 0;
        command->quiet = command->quiet || strcmp(text, "quiet") == 0;
        return LH_OK;
    }
    if (index < 0 && !value && size > 3 && strncmp(text, "no-", 3) == 0) {
        index = find_long(options, text + 3, size - 3);
        if (index >= 0 && options[index].kind == LH_OPTION_FLAG) {
            command->values[index] = "false";
            return LH_OK;
        }
        index = -1;
    }
    if (index < 0) {
        return unknown_option(command->verb, text, size, error);
    }
    if (!value && options[index].kind == LH_OPTION_FLAG) {
        value = "true";
    } else if (!value) {
        LH_TRY(next_value(words, &options[index], &value, error));
    }
    LH_TRY(check_value(&options[index], value, error));
    command->values[index] = value;
    return LH_OK;
}

/* One-letter options: -v, -jv (flags together), -n 5, -n5. */
static lh_status parse_letters(lh_command *command, cursor *words, const char *text, lh_error *error)
{
    const lh_option *options = command->verb->options;
    for (const char *at = text; *at; at++) {
        int index = find_letter(options, *at);
        if (index < 0 && find_letter(lh_common_options, *at) >= 0) {
            command->help = command->help || *at == 'h';
            command->quiet = command->quiet || *at == 'q';
            continue;
        }
        if (index < 0) {
            return lh_fail(error, LH_E_ARGUMENT, "unknown option -%c (longhand %s --help lists the options)", *at,
                           command->verb->name);
        }
        if (options[index].kind == LH_OPTION_FLAG) {
            command->values[index] = "true";
            continue;
        }
        const char *value = at[1] == '=' ? at + 2 : at + 1;
        if (at[1] == '\0') {
            LH_TRY(next_value(words, &options[index], &value, error));
        }
        LH_TRY(check_value(&options[index], value, error));
        command->values[index] = value;
        return LH_OK;
    }
    return LH_OK;
}

static lh_status check_operands(const lh_command *command, lh_error *error)
{
    const lh_verb *verb = command->verb;
    if (command->operand_count < verb->min_operands) {
        return lh_fail(error, LH_E_ARGUMENT, "something is missing: longhand %s %s", verb->name, verb->operands);
    }
    if (verb->max_operands == 0 && command->operand_count > 0) {
        return lh_fail(error, LH_E_ARGUMENT, "longhand %s takes options only, not \"%s\"", verb->name,
                       command->operands[0]);
    }
    if (verb->max_operands >= 0 && command->operand_count > verb->max_operands) {
        return lh_fail(error, LH_E_ARGUMENT, "\"%s\" is one too many: longhand %s %s",
                       command->operands[verb->max_operands], verb->name, verb->operands);
    }
    return LH_OK;
}

lh_status lh_command_parse(lh_command *command, const lh_verb *verb, int argc, char *const *argv, lh_error *error)
{
    *command = (lh_command){.verb = verb};
    command->values = lh_heap_alloc((size_t)lh_option_count(verb->options) * sizeof *command->values);
    command->operands = lh_heap_alloc((size_t)argc * sizeof *command->operands);
    if (!command->values || !command->operands) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the command line");
    }
    cursor words = {.argc = argc, .argv = argv};
    bool only_operands = false;
    lh_error first = {0};
    while (words.next < argc) {
        const char *word = argv[words.next++];
        bool number = word[0] == '-' && ((word[1] >= '0' && word[1] <= '9') || word[1] == '.');
        if (only_operands || word[0] != '-' || word[1] == '\0' ||
            (number && find_letter(verb->options, word[1]) < 0)) {
            command->operands[command->operand_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (word[1] == '-') {
            (void)parse_long(command, &words, word + 2, &first);
        } else {
            (void)parse_letters(command, &words, word + 1, &first);
        }
    }
    if (command->help) {
        return LH_OK;
    }
    if (first.status != LH_OK) {
        return lh_fail(error, first.status, "%s", first.message);
    }
    return check_operands(command, error);
}

static int row_of(const lh_command *command, const char *name)
{
    int index = find_long(command->verb->options, name, strlen(name));
    assert(index >= 0 && "the verb's table has no such option");
    return index;
}

const char *lh_command_string(const lh_command *command, const char *name)
{
    int index = row_of(command, name);
    if (index < 0) {
        return NULL;
    }
    return command->values[index] ? command->values[index] : command->verb->options[index].fallback;
}

/* Texts were checked when they were parsed, and fallbacks by the test over all tables. */
int64_t lh_command_integer(const lh_command *command, const char *name)
{
    int64_t value = 0;
    const char *text = lh_command_string(command, name);
    return text && lh_parse_integer(text, &value) ? value : 0;
}

double lh_command_real(const lh_command *command, const char *name)
{
    double value = 0;
    const char *text = lh_command_string(command, name);
    return text && lh_parse_real(text, &value) ? value : 0;
}

bool lh_command_flag(const lh_command *command, const char *name)
{
    bool value = false;
    const char *text = lh_command_string(command, name);
    return text && lh_parse_boolean(text, &value) && value;
}

bool lh_command_given(const lh_command *command, const char *name)
{
    int index = row_of(command, name);
    return index >= 0 && command->values[index];
}

int lh_command_operand_count(const lh_command *command)
{
    return command->operand_count;
}

const char *lh_command_operand(const lh_command *command, int index)
{
    return index >= 0 && index < command->operand_count ? command->operands[index] : NULL;
}
