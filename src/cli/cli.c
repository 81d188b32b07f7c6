#include "cli/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const lh_verb *lh_verb_find(const lh_verb *const *verbs, int argc, char *const *argv, int *used)
{
    const lh_verb *found = NULL;
    *used = 0;
    for (int i = 0; verbs[i]; i++) {
        const char *name = verbs[i]->name;
        const char *space = strchr(name, ' ');
        if (argc >= 1 && !space && strcmp(name, argv[0]) == 0 && *used < 1) {
            found = verbs[i];
            *used = 1;
        } else if (argc >= 2 && space && strlen(argv[0]) == (size_t)(space - name) &&
                   strncmp(name, argv[0], (size_t)(space - name)) == 0 && strcmp(space + 1, argv[1]) == 0) {
            found = verbs[i];
            *used = 2;
        }
    }
    return found;
}

bool lh_verb_is_group(const lh_verb *const *verbs, const char *word)
{
    size_t size = strlen(word);
    for (int i = 0; verbs[i]; i++) {
        if (strncmp(verbs[i]->name, word, size) == 0 && verbs[i]->name[size] == ' ') {
            return true;
        }
    }
    return false;
}

static lh_status unknown_verb(const lh_verb *const *verbs, int argc, char *const *argv, lh_error *error)
{
    char word[128];
    bool group = lh_verb_is_group(verbs, argv[0]);
    if (group && argc == 1) {
        return lh_fail(error, LH_E_ARGUMENT, "longhand %s needs another word (longhand help %s lists them)",
                       argv[0], argv[0]);
    }
    (void)snprintf(word, sizeof word, group ? "%.60s %.60s" : "%.60s", argv[0], argc > 1 ? argv[1] : "");
    const char *names[128];
    size_t count = 0;
    for (int i = 0; verbs[i] && count < 128; i++) {
        if (!lh_verb_hidden(verbs[i])) {
            names[count++] = verbs[i]->name;
        }
    }
    const char *nearest = lh_nearest_name(word, names, count);
    if (!nearest && argc > 1) {
        char both[128];
        (void)snprintf(both, sizeof both, "%.60s %.60s", argv[0], argv[1]);
        nearest = lh_nearest_name(both, names, count);
    }
    if (nearest) {
        return lh_fail(error, LH_E_ARGUMENT, "unknown verb \"%s\"; did you mean \"%s\"?", word, nearest);
    }
    return lh_fail(error, LH_E_ARGUMENT, "unknown verb \"%s\" (longhand --help lists the verbs)", word);
}

/* help, and VERB --help: one page, or the list of verbs. */
static lh_status help(const lh_verb *const *verbs, int argc, char *const *argv, lh_error *error)
{
    lh_string text = {0};
    int used = 0;
    const lh_verb *verb = lh_verb_find(verbs, argc, argv, &used);
    if (argc == 0) {
        lh_help_overview(&text, verbs, NULL);
    } else if (verb) {
        lh_help_verb(&text, verb);
    } else if (argc == 1 && lh_verb_is_group(verbs, argv[0])) {
        lh_help_overview(&text, verbs, argv[0]);
    } else {
        return unknown_verb(verbs, argc, argv, error);
    }
    return lh_print_text(&text, error);
}

static lh_status run_verb(const lh_verb *verb, int argc, char *const *argv, lh_error *error)
{
    lh_command command;
    lh_status status = lh_command_parse(&command, verb, argc, argv, error);
    if (status == LH_OK && command.help) {
        lh_string text = {0};
        lh_help_verb(&text, verb);
        status = lh_print_text(&text, error);
    } else if (status == LH_OK) {
        if (command.quiet) {
            (void)setenv("LH_QUIET", "1", 1);
        }
        status = verb->run(&command, error);
    }
    lh_command_release(&command);
    return status;
}

static bool is_word(const char *word, const char *name, const char *letter)
{
    return strcmp(word, name) == 0 || strcmp(word, letter) == 0;
}

static lh_status dispatch(const lh_verb *const *verbs, int argc, char *const *argv, lh_error *error)
{
    if (argc == 0) {
        return lh_fail(error, LH_E_ARGUMENT, "a verb is needed (longhand --help lists them)");
    }
    if (is_word(argv[0], "--version", "-V")) {
        (void)printf("longhand %s\n", lh_version());
        return LH_OK;
    }
    if (is_word(argv[0], "--help", "-h")) {
        return help(verbs, 0, NULL, error);
    }
    if (strcmp(argv[0], "help") == 0 && (argc == 1 || argv[1][0] != '-')) {
        return help(verbs, argc - 1, argv + 1, error);
    }
    if (argc == 2 && lh_verb_is_group(verbs, argv[0]) && is_word(argv[1], "--help", "-h")) {
        return help(verbs, 1, argv, error);
    }
    if (argv[0][0] == '-') {
        return lh_fail(error, LH_E_ARGUMENT, "the verb comes before options such as %s (longhand --help)", argv[0]);
    }
    int used = 0;
    const lh_verb *verb = lh_verb_find(verbs, argc, argv, &used);
    if (!verb) {
        return unknown_verb(verbs, argc, argv, error);
    }
    return run_verb(verb, argc - used, argv + used, error);
}

int lh_cli_run(const lh_verb *const *verbs, int argc, char **argv)
{
    lh_error error = {0};
    lh_status status = dispatch(verbs, argc > 0 ? argc - 1 : 0, argv + 1, &error);
    /* Output that did not arrive is a failure: a full disk must not end with exit code 0. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        lh_status lost = lh_fail_errno(&error, "cannot write to standard output");
        status = status == LH_OK ? lost : status;
    }
    if (status != LH_OK) {
        (void)fprintf(stderr, "longhand: %s\n", error.message[0] ? error.message : lh_status_name(status));
    }
    return (int)status;
}

int lh_cli_main(int argc, char **argv)
{
    return lh_cli_run(lh_verbs, argc, argv);
}
