#include "cli/internal.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define HELP_WIDTH 80
#define HELP_COLUMN 26

bool lh_verb_hidden(const lh_verb *verb)
{
    return !verb->summary;
}

void lh_help_usage(lh_string *out, const lh_verb *verb)
{
    lh_string_print(out, "longhand %s [options]", verb->name);
    if (*verb->operands) {
        lh_string_print(out, " %s", verb->operands);
    }
}

/* Writes `text` word by word, with every line but the first indented, no wider than the page. `column` is where the
 * first line stands now. Lines that begin with a blank are kept as they are. */
static void wrap(lh_string *out, const char *text, int column, int indent)
{
    bool line_start = true;
    for (const char *at = text; *at;) {
        if (line_start && (*at == ' ' || *at == '\n')) {
            /* A verbatim line or the gap between two paragraphs. */
            size_t length = strcspn(at, "\n");
            if (column > indent) {
                lh_string_print(out, "\n");
            }
            lh_string_print(out, "%*s%.*s\n", length ? indent : 0, "", (int)length, at);
            at += length + (at[length] == '\n');
            if (*at && *at != ' ' && *at != '\n') {
                lh_string_print(out, "%*s", indent, "");
            }
            column = indent;
            continue;
        }
        size_t length = strcspn(at, " \n");
        if (column > indent && column + 1 + (int)length > HELP_WIDTH) {
            lh_string_print(out, "\n%*s", indent, "");
            column = indent;
        }
        if (column > indent) {
            lh_string_append(out, " ", 1);
            column++;
        }
        lh_string_append(out, at, length);
        column += (int)length;
        at += length;
        line_start = *at == '\n';
        at += *at != '\0';
    }
    if (column > indent) {
        lh_string_print(out, "\n");
    }
}

static void option_row(lh_string *out, const lh_option *option)
{
    char left[128], letter[8] = "    ";
    if (option->letter) {
        (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    bool on = option->kind == LH_OPTION_FLAG && option->fallback && strcmp(option->fallback, "true") == 0;
    (void)snprintf(left, sizeof left, "  %s--%s%s%s%s", letter, on ? "no-" : "", option->name,
                   option->argument ? " " : "", option->argument ? option->argument : "");
    lh_string text = {0};
    lh_string_print(&text, "%s", option->help);
    if (option->choices) {
        lh_string_print(&text, "; one of %s", option->choices);
    }
    if (option->fallback && option->kind != LH_OPTION_FLAG) {
        lh_string_print(&text, " (default: %s)", option->fallback);
    }
    out->failed = out->failed || text.failed;
    if ((int)strlen(left) > HELP_COLUMN - 2) {
        lh_string_print(out, "%s\n%*s", left, HELP_COLUMN, "");
    } else {
        lh_string_print(out, "%-*s", HELP_COLUMN, left);
    }
    if (text.data) {
        wrap(out, text.data, HELP_COLUMN, HELP_COLUMN);
    }
    lh_string_free(&text);
}

static void examples(lh_string *out, const char *lines)
{
    lh_string_print(out, "\nExamples:\n");
    for (const char *at = lines; *at;) {
        size_t length = strcspn(at, "\n");
        if (length > 0) {
            lh_string_print(out, "  %.*s\n", (int)length, at);
        }
        at += length + (at[length] == '\n');
    }
}

void lh_help_verb(lh_string *out, const lh_verb *verb)
{
    lh_string_print(out, "Usage: ");
    lh_help_usage(out, verb);
    lh_string_print(out, "\n");
    if (verb->summary) {
        lh_string_print(out, "\n%s.\n", verb->summary);
    }
    if (verb->description && *verb->description) {
        lh_string_print(out, "\n");
        wrap(out, verb->description, 0, 0);
    }
    lh_string_print(out, "\nOptions:\n");
    for (int i = 0; verb->options && verb->options[i].name; i++) {
        option_row(out, &verb->options[i]);
    }
    for (int i = 0; lh_common_options[i].name; i++) {
        option_row(out, &lh_common_options[i]);
    }
    if (verb->examples) {
        examples(out, verb->examples);
    }
}

void lh_help_overview(lh_string *out, const lh_verb *const *verbs, const char *group)
{
    size_t group_size = group ? strlen(group) : 0;
    if (!group) {
        lh_string_print(out, "longhand: train, evaluate and run models over long context.\n\n");
    }
    lh_string_print(out, "Usage: longhand %s%s [options] ...\n\nVerbs:\n", group ? group : "VERB",
                    group ? " VERB" : "");
    for (int i = 0; verbs[i]; i++) {
        const lh_verb *verb = verbs[i];
        bool inside = !group || (strncmp(verb->name, group, group_size) == 0 && verb->name[group_size] == ' ');
        if (!lh_verb_hidden(verb) && inside) {
            lh_string_print(out, "  %-18s ", verb->name);
            wrap(out, verb->summary, 21, 21);
        }
    }
    lh_string_print(out,
                    "\n\"longhand help VERB\" explains one verb. \"longhand --version\" prints the version.\n");
}

lh_status lh_print_text(lh_string *text, lh_error *error)
{
    lh_status status = LH_OK;
    if (text->failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory for the text to print");
    } else if (text->size > 0 && fwrite(text->data, 1, text->size, stdout) != text->size) {
        status = lh_fail_errno(error, "cannot write to standard output");
    }
    lh_string_free(text);
    return status;
}
