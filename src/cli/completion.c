/* Completion scripts. Each is a plain table made from the verbs, so that pressing Tab does not start longhand. */
#include "cli/internal.h"

#include <string.h>

/* "a|b|c" as "a b c". */
static void choices_as_words(lh_string *out, const char *choices)
{
    for (const char *at = choices; *at; at++) {
        lh_string_append(out, *at == '|' ? " " : at, 1);
    }
}

/* For single quotes of a shell; `escape` is how it writes a quote inside them. */
static void quoted(lh_string *out, const char *text, const char *escape)
{
    lh_string_append(out, "'", 1);
    for (const char *at = text; *at; at++) {
        if (*at == '\'') {
            lh_string_print(out, "%s", escape);
        } else {
            lh_string_append(out, at, 1);
        }
    }
    lh_string_append(out, "'", 1);
}

/* The first words of the verbs, each once, and the second words of one group. */
static bool first_of_its_group(const lh_verb *const *verbs, int index)
{
    size_t size = strcspn(verbs[index]->name, " ");
    for (int i = 0; i < index; i++) {
        if (!lh_verb_hidden(verbs[i]) && strcspn(verbs[i]->name, " ") == size &&
            strncmp(verbs[i]->name, verbs[index]->name, size) == 0) {
            return false;
        }
    }
    return true;
}

static void first_words(lh_string *out, const lh_verb *const *verbs)
{
    for (int i = 0; verbs[i]; i++) {
        if (!lh_verb_hidden(verbs[i]) && first_of_its_group(verbs, i)) {
            lh_string_print(out, "%.*s ", (int)strcspn(verbs[i]->name, " "), verbs[i]->name);
        }
    }
}

static void second_words(lh_string *out, const lh_verb *const *verbs, const char *group, size_t size)
{
    for (int i = 0; verbs[i]; i++) {
        const char *name = verbs[i]->name;
        if (!lh_verb_hidden(verbs[i]) && strncmp(name, group, size) == 0 && name[size] == ' ') {
            lh_string_print(out, "%s ", name + size + 1);
        }
    }
}

/* "data|tokenizer": the first words that need a second one, or "" if there are none. */
static void groups(lh_string *out, const lh_verb *const *verbs)
{
    for (int i = 0, count = 0; verbs[i]; i++) {
        size_t size = strcspn(verbs[i]->name, " ");
        if (!lh_verb_hidden(verbs[i]) && verbs[i]->name[size] == ' ' && first_of_its_group(verbs, i)) {
            lh_string_print(out, "%s%.*s", count++ ? "|" : "", (int)size, verbs[i]->name);
        }
    }
}

static void option_words(lh_string *out, const lh_option *options)
{
    for (int i = 0; options && options[i].name; i++) {
        lh_string_print(out, "--%s ", options[i].name);
        if (options[i].kind == LH_OPTION_FLAG && options[i].fallback) {
            lh_string_print(out, "--no-%s ", options[i].name);
        }
    }
}

/* The operands of completion and help are known here; everything else takes files. */
static const char *operand_words(const lh_verb *verb)
{
    return strchr(verb->operands, '|') && !strpbrk(verb->operands, " [") ? verb->operands : NULL;
}

static void bash(lh_string *out, const lh_verb *const *verbs)
{
    lh_string_print(out, "# bash completion for longhand\n"
                         "_longhand() {\n"
                         "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                         "    local verb=${COMP_WORDS[1]} first=2 options= values=\n"
                         "    COMPREPLY=()\n"
                         "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                         "        COMPREPLY=($(compgen -W '");
    first_words(out, verbs);
    lh_string_print(out, "--help --version' -- \"$word\"))\n        return\n    fi\n    case $verb in\n");
    for (int i = 0; verbs[i]; i++) {
        size_t size = strcspn(verbs[i]->name, " ");
        if (!lh_verb_hidden(verbs[i]) && verbs[i]->name[size] == ' ' && first_of_its_group(verbs, i)) {
            lh_string_print(out,
                            "    %.*s)\n        if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
                            "            COMPREPLY=($(compgen -W '",
                            (int)size, verbs[i]->name);
            second_words(out, verbs, verbs[i]->name, size);
            lh_string_print(out, "' -- \"$word\"))\n            return\n        fi\n"
                                 "        verb=\"$verb ${COMP_WORDS[2]}\" first=3 ;;\n");
        }
    }
    lh_string_print(out, "    esac\n    case \"$verb $before\" in\n");
    for (int i = 0; verbs[i]; i++) {
        for (int o = 0; verbs[i]->options && verbs[i]->options[o].name; o++) {
            const lh_option *option = &verbs[i]->options[o];
            if (option->choices) {
                lh_string_print(out, "    '%s --%s') values='", verbs[i]->name, option->name);
                choices_as_words(out, option->choices);
                lh_string_print(out, "' ;;\n");
            }
        }
    }
    lh_string_print(out, "    esac\n    case $verb in\n");
    for (int i = 0; verbs[i]; i++) {
        if (!lh_verb_hidden(verbs[i])) {
            lh_string_print(out, "    '%s') options='", verbs[i]->name);
            option_words(out, verbs[i]->options);
            option_words(out, lh_common_options);
            lh_string_print(out, "'");
            if (operand_words(verbs[i])) {
                lh_string_print(out, "\n        [ \"$COMP_CWORD\" -ne \"$first\" ] || values='");
                choices_as_words(out, operand_words(verbs[i]));
                lh_string_print(out, "'");
            } else if (strcmp(verbs[i]->name, "help") == 0) {
                lh_string_print(out, "\n        [ \"$COMP_CWORD\" -ne 2 ] || values='");
                first_words(out, verbs);
                lh_string_print(out, "'");
            }
            lh_string_print(out, " ;;\n");
        }
    }
    lh_string_print(out, "    esac\n"
                         "    if [[ $word == -* ]]; then\n"
                         "        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
                         "    elif [ -n \"$values\" ]; then\n"
                         "        COMPREPLY=($(compgen -W \"$values\" -- \"$word\"))\n"
                         "    else\n"
                         "        compopt -o filenames 2>/dev/null\n"
                         "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
                         "    fi\n"
                         "}\n"
                         "complete -F _longhand longhand\n");
}

/* In a zsh _arguments row, brackets and colons of the explanation have a meaning. */
static void zsh_text(lh_string *out, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '[' || *at == ']' || *at == ':' || *at == '\\') {
            lh_string_append(out, "\\", 1);
        }
        if (*at == '\'') {
            lh_string_print(out, "'\\''");
        } else {
            lh_string_append(out, at, 1);
        }
    }
}

static void zsh_options(lh_string *out, const lh_option *options)
{
    for (int i = 0; options && options[i].name; i++) {
        const lh_option *option = &options[i];
        bool flag = option->kind == LH_OPTION_FLAG;
        lh_string_print(out, "            '--%s%s[", option->name, flag ? "" : "=");
        zsh_text(out, option->help);
        lh_string_print(out, "]");
        if (option->choices) {
            lh_string_print(out, ":value:(");
            choices_as_words(out, option->choices);
            lh_string_print(out, ")");
        } else if (!flag) {
            lh_string_print(out, ":value:%s", option->kind == LH_OPTION_STRING ? "_files" : "");
        }
        lh_string_print(out, "' \\\n");
        if (flag && option->fallback) {
            lh_string_print(out, "            '--no-%s' \\\n", option->name);
        }
    }
}

static void zsh(lh_string *out, const lh_verb *const *verbs)
{
    lh_string_print(out, "#compdef longhand\n"
                         "_longhand() {\n"
                         "    local -a names\n"
                         "    if (( CURRENT == 2 )); then\n"
                         "        names=(");
    first_words(out, verbs);
    lh_string_print(out, "--help --version)\n        compadd -- $names\n        return\n    fi\n"
                         "    local verb=$words[2]\n");
    lh_string group = {0};
    groups(&group, verbs);
    if (group.size > 0) {
        lh_string_print(
            out, "    case $verb in\n    %s)\n        if (( CURRENT == 3 )); then\n            case $verb in\n",
            group.data);
        for (int i = 0; verbs[i]; i++) {
            size_t size = strcspn(verbs[i]->name, " ");
            if (!lh_verb_hidden(verbs[i]) && verbs[i]->name[size] == ' ' && first_of_its_group(verbs, i)) {
                lh_string_print(out, "            %.*s) names=(", (int)size, verbs[i]->name);
                second_words(out, verbs, verbs[i]->name, size);
                lh_string_print(out, ") ;;\n");
            }
        }
        lh_string_print(out, "            esac\n            compadd -- $names\n            return\n        fi\n"
                             "        verb=\"$verb $words[3]\"\n        shift words\n        (( CURRENT-- )) ;;\n"
                             "    esac\n");
    }
    out->failed = out->failed || group.failed;
    lh_string_free(&group);
    lh_string_print(out, "    shift words\n    (( CURRENT-- ))\n    case $verb in\n");
    for (int i = 0; verbs[i]; i++) {
        if (lh_verb_hidden(verbs[i])) {
            continue;
        }
        lh_string_print(out, "    '%s')\n        _arguments \\\n", verbs[i]->name);
        zsh_options(out, verbs[i]->options);
        zsh_options(out, lh_common_options);
        if (operand_words(verbs[i])) {
            lh_string_print(out, "            '1:operand:(");
            choices_as_words(out, operand_words(verbs[i]));
            lh_string_print(out, ")' ;;\n");
        } else if (strcmp(verbs[i]->name, "help") == 0) {
            lh_string_print(out, "            '1:verb:(");
            first_words(out, verbs);
            lh_string_print(out, ")' ;;\n");
        } else {
            lh_string_print(out, "            '*:operand:_files' ;;\n");
        }
    }
    lh_string_print(out, "    esac\n}\n"
                         "if [ \"$funcstack[1]\" = _longhand ]; then\n    _longhand \"$@\"\nelse\n"
                         "    compdef _longhand longhand\nfi\n");
}

static void fish_condition(lh_string *out, const lh_verb *verb)
{
    size_t size = strcspn(verb->name, " ");
    lh_string_print(out, "'__fish_seen_subcommand_from %.*s", (int)size, verb->name);
    if (verb->name[size] == ' ') {
        lh_string_print(out, "; and __fish_seen_subcommand_from %s", verb->name + size + 1);
    }
    lh_string_print(out, "'");
}

static void fish_options(lh_string *out, const lh_verb *verb, const lh_option *options)
{
    for (int i = 0; options && options[i].name; i++) {
        const lh_option *option = &options[i];
        lh_string_print(out, "complete -c longhand -n ");
        fish_condition(out, verb);
        lh_string_print(out, " -l %s", option->name);
        if (option->letter) {
            lh_string_print(out, " -s %c", option->letter);
        }
        if (option->choices) {
            lh_string_print(out, " -x -a '");
            choices_as_words(out, option->choices);
            lh_string_print(out, "'");
        } else if (option->kind != LH_OPTION_FLAG) {
            lh_string_print(out, option->kind == LH_OPTION_STRING ? " -r -F" : " -x");
        }
        lh_string_print(out, " -d ");
        quoted(out, option->help, "\\'");
        lh_string_print(out, "\n");
    }
}

static void fish(lh_string *out, const lh_verb *const *verbs)
{
    lh_string_print(out, "# fish completion for longhand\n"
                         "complete -c longhand -n __fish_use_subcommand -l version -d 'Print the version'\n"
                         "complete -c longhand -n __fish_use_subcommand -s h -l help -d 'List the verbs'\n");
    for (int i = 0; verbs[i]; i++) {
        const char *name = verbs[i]->name;
        size_t size = strcspn(name, " ");
        if (lh_verb_hidden(verbs[i])) {
            continue;
        }
        if (name[size] == '\0') {
            lh_string_print(out, "complete -c longhand -n __fish_use_subcommand -f -a %s -d ", name);
            quoted(out, verbs[i]->summary, "\\'");
            lh_string_print(out, "\n");
        } else {
            if (first_of_its_group(verbs, i)) {
                lh_string_print(out, "complete -c longhand -n __fish_use_subcommand -f -a %.*s\n", (int)size, name);
            }
            lh_string_print(
                out,
                "complete -c longhand -n '__fish_seen_subcommand_from %.*s; and test (count (commandline "
                "-opc)) -eq 2' -f -a %s -d ",
                (int)size, name, name + size + 1);
            quoted(out, verbs[i]->summary, "\\'");
            lh_string_print(out, "\n");
        }
        if (operand_words(verbs[i]) || strcmp(name, "help") == 0) {
            lh_string_print(out, "complete -c longhand -n ");
            fish_condition(out, verbs[i]);
            lh_string_print(out, " -f -a '");
            if (operand_words(verbs[i])) {
                choices_as_words(out, operand_words(verbs[i]));
            } else {
                first_words(out, verbs);
            }
            lh_string_print(out, "'\n");
        }
        fish_options(out, verbs[i], verbs[i]->options);
        fish_options(out, verbs[i], lh_common_options);
    }
}

lh_status lh_completion_script(lh_string *out, const lh_verb *const *verbs, const char *shell, lh_error *error)
{
    if (strcmp(shell, "bash") == 0) {
        bash(out, verbs);
    } else if (strcmp(shell, "zsh") == 0) {
        zsh(out, verbs);
    } else if (strcmp(shell, "fish") == 0) {
        fish(out, verbs);
    } else {
        return lh_fail(error, LH_E_ARGUMENT, "no completion for \"%s\": the shells are bash, zsh and fish", shell);
    }
    return LH_OK;
}
