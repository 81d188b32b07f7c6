#include "cli/internal.h"

#include <string.h>

/* Text in roff: backslashes, and dots and quotes that begin a line, must not be taken for requests; a hyphen-minus
 * is written so that options can be copied from the page. */
static void escape(lh_string *out, const char *text, size_t size)
{
    bool line_start = out->size == 0 || out->data[out->size - 1] == '\n';
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (line_start && (c == '.' || c == '\'')) {
            lh_string_print(out, "\\&");
        }
        if (c == '\\') {
            lh_string_print(out, "\\e");
        } else if (c == '-') {
            lh_string_print(out, "\\-");
        } else {
            lh_string_append(out, &c, 1);
        }
        line_start = c == '\n';
    }
}

static void escape_text(lh_string *out, const char *text)
{
    escape(out, text, strlen(text));
}

/* Paragraphs as --help has them: an empty line parts two, lines that begin with a blank stay as they are. */
static void paragraphs(lh_string *out, const char *text)
{
    bool verbatim = false;
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, "\n");
        bool blank_first = *at == ' ';
        if (blank_first != verbatim) {
            lh_string_print(out, blank_first ? ".PP\n.nf\n" : ".fi\n");
            verbatim = blank_first;
        }
        if (length == 0) {
            lh_string_print(out, ".PP\n");
        } else {
            escape(out, at, length);
            lh_string_print(out, "\n");
        }
        at += length + (at[length] == '\n');
    }
    if (verbatim) {
        lh_string_print(out, ".fi\n");
    }
}

static void option_rows(lh_string *out, const lh_option *options)
{
    for (const lh_option *option = options; option && option->name; option++) {
        bool on = option->kind == LH_OPTION_FLAG && option->fallback && strcmp(option->fallback, "true") == 0;
        lh_string_print(out, ".TP\n");
        if (option->letter) {
            lh_string_print(out, "\\fB\\-%c\\fR, ", option->letter);
        }
        lh_string_print(out, "\\fB\\-\\-");
        escape_text(out, on ? "no-" : "");
        escape_text(out, option->name);
        lh_string_print(out, "\\fR");
        if (option->argument) {
            lh_string_print(out, " \\fI");
            escape_text(out, option->argument);
            lh_string_print(out, "\\fR");
        }
        lh_string_print(out, "\n");
        escape_text(out, option->help);
        if (option->choices) {
            lh_string_print(out, "; one of ");
            escape_text(out, option->choices);
        }
        if (option->fallback && option->kind != LH_OPTION_FLAG) {
            lh_string_print(out, " (default: ");
            escape_text(out, option->fallback);
            lh_string_print(out, ")");
        }
        lh_string_print(out, ".\n");
    }
}

static void title(lh_string *out, const char *name)
{
    lh_string_print(out, ".TH \"");
    for (const char *at = name; *at; at++) {
        lh_string_print(out, *at == ' ' ? "\\-" : "%c", *at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
    }
    lh_string_print(out, "\" 1 \"\" \"longhand %s\" \"longhand manual\"\n", lh_version());
}

static void dashed(lh_string *out, const char *name)
{
    for (const char *at = name; *at; at++) {
        lh_string_print(out, *at == ' ' || *at == '-' ? "\\-" : "%c", *at);
    }
}

static void verb_page(lh_string *out, const lh_verb *verb)
{
    lh_string name = {0};
    lh_string_print(&name, "longhand %s", verb->name);
    out->failed = out->failed || name.failed;
    if (out->failed) {
        lh_string_free(&name);
        return;
    }
    title(out, name.data);
    lh_string_print(out, ".SH NAME\n");
    dashed(out, name.data);
    lh_string_print(out, " \\- ");
    escape_text(out, verb->summary ? verb->summary : "");
    lh_string_print(out, "\n.SH SYNOPSIS\n\\fB");
    escape_text(out, name.data);
    lh_string_print(out, "\\fR [options] ");
    escape_text(out, verb->operands);
    lh_string_print(out, "\n.SH DESCRIPTION\n");
    paragraphs(out, verb->description ? verb->description : "");
    lh_string_print(out, ".SH OPTIONS\n");
    option_rows(out, verb->options);
    option_rows(out, lh_common_options);
    if (verb->examples) {
        lh_string_print(out, ".SH EXAMPLES\n.nf\n");
        escape_text(out, verb->examples);
        lh_string_print(out, "\n.fi\n");
    }
    lh_string_print(out,
                    ".SH EXIT STATUS\n0 on success; the reason of a failure is listed in \\fBlonghand\\fR(1).\n");
    lh_string_print(out, ".SH SEE ALSO\n\\fBlonghand\\fR(1)\n");
    lh_string_free(&name);
}

void lh_man_page(lh_string *out, const lh_verb *const *verbs, const lh_verb *verb)
{
    if (verb) {
        verb_page(out, verb);
        return;
    }
    title(out, "longhand");
    lh_string_print(out,
                    ".SH NAME\nlonghand \\- models over long context\n"
                    ".SH SYNOPSIS\n\\fBlonghand\\fR \\fIverb\\fR [options] ...\n"
                    ".SH DESCRIPTION\nTrains, evaluates and runs models over long context. Each verb has a page "
                    "of its own; \\fBlonghand help\\fR \\fIverb\\fR prints the same in short.\n.SH VERBS\n");
    for (int i = 0; verbs[i]; i++) {
        if (!lh_verb_hidden(verbs[i])) {
            lh_string_print(out, ".TP\n\\fBlonghand\\-");
            dashed(out, verbs[i]->name);
            lh_string_print(out, "\\fR(1)\n");
            escape_text(out, verbs[i]->summary);
            lh_string_print(out, ".\n");
        }
    }
    lh_string_print(out, ".SH ENVIRONMENT\n.TP\n\\fBLH_QUIET\\fR\nIf set to 1, no progress is shown.\n"
                         ".SH EXIT STATUS\n");
    lh_string_print(out, ".TP\n0\nsuccess\n");
    for (int status = LH_E_INTERNAL; status <= LH_E_NETWORK; status++) {
        lh_string_print(out, ".TP\n%d\n", status);
        escape_text(out, lh_status_name((lh_status)status));
        lh_string_print(out, "\n");
    }
}
