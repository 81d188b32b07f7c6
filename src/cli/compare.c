#include "compare/compare.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "compare/methods.h"
#include "compare/results.h"
#include "compare/state.h"
#include "formats/json_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lh_option options[] = {
    {"methods", 'm', LH_OPTION_STRING, "LIST", NULL,
     "Methods, separated by commas, or all (default: the recipe's, else all)", NULL},
    {"budget", 'b', LH_OPTION_STRING, "WHAT=N", NULL,
     "What each run may spend on training: time=2m, tokens=10M or flops=1e15 (default: the recipe's)", NULL},
    {"seeds", 's', LH_OPTION_INTEGER, "N", NULL,
     "Runs of each method, with different seeds (default: the recipe's, else 1)", NULL},
    {"out", 'o', LH_OPTION_STRING, "DIR", NULL,
     "Folder of the comparison; if it holds this very comparison, it goes on (default: runs/NAME of the recipe)",
     NULL},
    {"resume", 0, LH_OPTION_FLAG, NULL, NULL, "The operand is a folder: go on with the comparison in it", NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print the whole report as JSON instead of a table", NULL},
    {"list-keys", 0, LH_OPTION_FLAG, NULL, NULL, "Print the keys of the section [compare]", NULL},
    {"list-methods", 0, LH_OPTION_FLAG, NULL, NULL, "Print the methods and what they set at equal size", NULL},
    {0},
};

typedef struct task {
    const lh_command *command;
    lh_compare_sources sources;
    lh_string directory, title, words;
    json_t *results;
} task;

/* The command line again, for the report: options as they were given, then the operands. */
static void repeat_command(const lh_command *command, lh_string *out)
{
    lh_string_print(out, "longhand compare");
    for (int i = 0; i < lh_command_operand_count(command); i++) {
        const char *word = lh_command_operand(command, i);
        bool plain = word[0] && !strpbrk(word, " \t\"'$*?\\;&|<>()");
        lh_string_print(out, plain ? " %s" : " '%s'", word);
    }
    for (const lh_option *o = options; o->name; o++) {
        if (lh_command_given(command, o->name)) {
            switch (o->kind) {
            case LH_OPTION_FLAG: lh_string_print(out, " --%s", o->name); break;
            case LH_OPTION_INTEGER:
                lh_string_print(out, " --%s %lld", o->name, (long long)lh_command_integer(command, o->name));
                break;
            case LH_OPTION_REAL:
                lh_string_print(out, " --%s %g", o->name, lh_command_real(command, o->name));
                break;
            case LH_OPTION_STRING:
                lh_string_print(out, " --%s %s", o->name, lh_command_string(command, o->name));
                break;
            }
        }
    }
}

/* "books" of "recipes/books.ini". */
static void recipe_name(const char *path, lh_string *name)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    size_t length = strlen(file);
    length -= length > 4 && strcmp(file + length - 4, ".ini") == 0 ? 4 : 0;
    lh_string_print(name, "%.*s", (int)length, file);
}

static lh_status add_option(task *t, const char *option, lh_error *error)
{
    lh_string argument = {0};
    if (!lh_command_given(t->command, option)) {
        return LH_OK;
    }
    if (strcmp(option, "seeds") == 0) {
        lh_string_print(&argument, "compare.seeds=%lld", (long long)lh_command_integer(t->command, option));
    } else {
        lh_string_print(&argument, "compare.%s=%s", option, lh_command_string(t->command, option));
    }
    lh_status status = argument.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the command line")
                                       : lh_compare_sources_argument(&t->sources, argument.data, error);
    lh_string_free(&argument);
    return status;
}

/* Everything that was said: in the folder for --resume, else in the recipe, and then on the command line. */
static lh_status collect(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    const char *base = lh_command_operand(c, 0);
    if (lh_command_flag(c, "resume")) {
        LH_TRY(lh_compare_sources_load(&t->sources, base, error));
    } else {
        LH_TRY(lh_compare_sources_read(&t->sources, base, error));
    }
    for (int i = 1; i < lh_command_operand_count(c); i++) {
        LH_TRY(lh_compare_sources_argument(&t->sources, lh_command_operand(c, i), error));
    }
    LH_TRY(add_option(t, "methods", error));
    LH_TRY(add_option(t, "budget", error));
    LH_TRY(add_option(t, "seeds", error));
    return lh_compare_fix_paths(&t->sources, error);
}

static lh_status name_folder(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    const char *base = lh_command_operand(c, 0), *out = lh_command_string(c, "out");
    recipe_name(base, &t->title);
    if (lh_command_flag(c, "resume")) {
        lh_string_print(&t->directory, "%s", base);
    } else if (out) {
        lh_string_print(&t->directory, "%s", out);
    } else if (!t->title.failed) {
        lh_string_print(&t->directory, "runs/%s", t->title.data);
    }
    repeat_command(c, &t->words);
    return t->title.failed || t->directory.failed || t->words.failed
               ? lh_fail(error, LH_E_MEMORY, "no memory for the command line")
               : LH_OK;
}

static lh_status print_results(const task *t, lh_error *error)
{
    lh_string text = {0};
    if (lh_command_flag(t->command, "json")) {
        lh_json_dump(t->results, &text);
    } else {
        lh_compare_table(t->results, &text);
        lh_string_print(&text, "report: %s/report.html\n", t->directory.data);
    }
    return lh_print_text(&text, error);
}

static lh_status work(task *t, lh_error *error)
{
    LH_TRY(collect(t, error));
    LH_TRY(name_folder(t, error));
    lh_compare_options options_of = {
        .sources = &t->sources, .directory = t->directory.data, .title = t->title.data, .command = t->words.data};
    lh_signals_install();
    lh_status status = lh_compare(&options_of, &t->results, error);
    if (t->results) {
        lh_status printed = print_results(t, error);
        status = status == LH_OK ? printed : status;
    }
    return status;
}

static lh_status list_keys(lh_error *error)
{
    static const lh_recipe_key *const tables[] = {lh_compare_keys, NULL};
    lh_recipe *recipe;
    lh_string text = {0};
    LH_TRY(lh_recipe_create(&recipe, tables, NULL, 0, error));
    lh_recipe_describe(recipe, LH_RECIPE_TEXT, &text);
    lh_recipe_free(recipe);
    return lh_print_text(&text, error);
}

static lh_status list_methods(lh_error *error)
{
    lh_string text = {0};
    for (int i = 0; lh_memory_kinds[i]; i++) {
        const lh_memory_kind *kind = lh_memory_kinds[i];
        if (kind->compare) {
            lh_string_print(&text, "%s: %s\n", lh_compare_method_name(kind), kind->summary);
            for (const char *line = kind->compare; *line;) {
                size_t length = strcspn(line, "\n");
                lh_string_print(&text, "    %.*s\n", (int)length, line);
                line += length + (line[length] == '\n');
            }
        }
    }
    return lh_print_text(&text, error);
}

static lh_status run_compare(const lh_command *command, lh_error *error)
{
    task t = {.command = command};
    if (lh_command_flag(command, "list-keys")) {
        return list_keys(error);
    }
    if (lh_command_flag(command, "list-methods")) {
        return list_methods(error);
    }
    if (lh_command_operand_count(command) < 1) {
        return lh_fail(error, LH_E_ARGUMENT, "compare needs a recipe, or with --resume the folder of a comparison");
    }
    if (lh_command_flag(command, "resume") && lh_command_given(command, "out")) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "--resume goes on in the comparison's own folder: longhand compare %s --resume",
                       lh_command_string(command, "out"));
    }
    lh_status status = work(&t, error);
    lh_compare_sources_free(&t.sources);
    lh_string_free(&t.directory);
    lh_string_free(&t.title);
    lh_string_free(&t.words);
    json_decref(t.results);
    return status;
}

const lh_verb lh_verb_compare = {
    .name = "compare",
    .summary = "Compare methods on the same data and budget",
    .operands = "RECIPE|DIR [section.key=value ...]",
    .description =
        "Trains each method (the plain decoder, Transformer-XL, and every other memory) on the same data under the "
        "same "
        "budget, and measures them in the same ways: loss on held-out text, and by position in a document; tokens "
        "per "
        "second; bytes of state; peak memory; and what a token costs in documents of up to a million tokens.\n\n"
        "The recipe is as for training, with sizes that all methods share, and a section [compare] "
        "(--list-keys). METHOD:section.key=value, or a section [METHOD:memory] in the recipe, is for one method "
        "alone.\n\n"
        "Writes report.html, report.csv and report.json into the folder, and keeps each run in runs/METHOD-SEED as "
        "an "
        "ordinary run. A comparison that was stopped or killed goes on when it is called again, or with --resume: "
        "what is "
        "finished is not done again. A method that fails stands in the report with the reason; the others go on, "
        "and the "
        "exit code says that something failed.\n\n"
        "Methods and seeds can be added to a comparison that is there; everything else has to stay.",
    .examples =
        "longhand compare recipes/compare-books.ini data.path=books/ --budget time=5m\n"
        "    all methods on a folder of books, five minutes each\n"
        "longhand compare small.ini --methods vanilla,compressive --seeds 3 --budget tokens=5M --out runs/two\n"
        "    two methods, three times each\n"
        "longhand compare runs/two --resume\n"
        "    goes on after a stop\n"
        "longhand compare small.ini compressive:memory.rate=2 --budget flops=1e15\n"
        "    a key for one method, and equal arithmetic for all",
    .min_operands = 0,
    .max_operands = -1,
    .options = options,
    .run = run_compare,
};
