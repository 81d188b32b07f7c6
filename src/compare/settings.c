#include "compare/settings.h"

#include "base/memory.h"
#include "base/progress.h"

#include <stdio.h>
#include <string.h>

const lh_recipe_key lh_compare_keys[] = {
    {"compare", "methods", LH_RECIPE_STRING, "all", 0, 0, NULL, NULL,
     "methods to compare, separated by commas or blanks; all: every one there is"},
    {"compare", "seeds", LH_RECIPE_INTEGER, "1", 1, 1000, NULL, NULL,
     "runs of each method, with seeds train.seed, train.seed + 1, .."},
    {"compare", "budget", LH_RECIPE_STRING, "", 0, 0, NULL, NULL,
     "what each run may spend on training: time=2m, tokens=10M or flops=1e15"},
    {"compare", "memory", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, NULL,
     "keys that a method's memory adds to what a query sees; 0: as many as a segment has tokens"},
    {"compare", "path", LH_RECIPE_STRING, "", 0, 0, NULL, NULL,
     "another text or data set to evaluate on; empty: the held-out part of data.path"},
    {"compare", "split", LH_RECIPE_CHOICE, "auto", 0, 0, "auto|train|validation|test", NULL,
     "what is evaluated; auto: test of what has splits, else all of the text"},
    {"compare", "protocol", LH_RECIPE_CHOICE, "book", 0, 0, "book|stream", NULL,
     "book: each document from empty memories; stream: one text from end to end"},
    {"compare", "eval_tokens", LH_RECIPE_INTEGER, "500k", 0, 1e15, NULL, NULL,
     "tokens of it to evaluate on; 0: all"},
    {"compare", "lengths", LH_RECIPE_LIST, "1Ki,4Ki,16Ki,64Ki,256Ki,1Mi", 1, 1e12, NULL, NULL,
     "lengths of a document at which the cost of a token is measured, ascending"},
    {"compare", "length_seconds", LH_RECIPE_REAL, "60", 0, 1e9, NULL, NULL,
     "seconds that reading up to these lengths may take for each method; longer ones are left out"},
    {0},
};

/* ---- budgets ---- */

static bool parse_seconds(const char *text, double *seconds)
{
    static const struct {
        char letter;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char number[64];
    size_t length = strlen(text);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (length > 1 && length < sizeof number && text[length - 1] == units[i].letter) {
            (void)snprintf(number, sizeof number, "%.*s", (int)(length - 1), text);
            bool good = lh_parse_real(number, seconds);
            *seconds *= units[i].seconds;
            return good;
        }
    }
    return false;
}

static bool parse_count(const char *text, double *count)
{
    int64_t whole;
    if (lh_parse_integer(text, &whole)) {
        *count = (double)whole;
        return true;
    }
    return lh_parse_real(text, count);
}

lh_status lh_budget_parse(lh_budget *budget, const char *text, lh_error *error)
{
    bool good = false;
    *budget = (lh_budget){0};
    if (strncmp(text, "time=", 5) == 0) {
        budget->kind = LH_BUDGET_SECONDS;
        good = parse_seconds(text + 5, &budget->amount);
    } else if (strncmp(text, "tokens=", 7) == 0) {
        budget->kind = LH_BUDGET_TOKENS;
        good = parse_count(text + 7, &budget->amount);
    } else if (strncmp(text, "flops=", 6) == 0) {
        budget->kind = LH_BUDGET_FLOPS;
        good = parse_count(text + 6, &budget->amount);
    }
    if (!good || !(budget->amount > 0) || !(budget->amount < 1e30) ||
        (budget->kind == LH_BUDGET_TOKENS && (budget->amount < 1 || budget->amount > 1e18))) {
        return lh_fail(error, LH_E_CONFIG,
                       "the budget '%s' must read time=2m (s, m, h, d), tokens=10M or flops=1e15", text);
    }
    return LH_OK;
}

void lh_budget_describe(const lh_budget *budget, char *text, size_t size)
{
    char amount[48];
    switch (budget->kind) {
    case LH_BUDGET_SECONDS:
        (void)snprintf(text, size, "%s of training each",
                       lh_format_duration(amount, sizeof amount, budget->amount));
        break;
    case LH_BUDGET_TOKENS:
        (void)snprintf(text, size, "%s tokens of training each",
                       lh_format_count(amount, sizeof amount, budget->amount));
        break;
    case LH_BUDGET_FLOPS:
        (void)snprintf(text, size, "%.3g floating-point operations of training each", budget->amount);
        break;
    }
}

/* ---- methods ---- */

const char *lh_compare_method_name(const lh_memory_kind *kind)
{
    return strcmp(kind->name, "none") == 0 ? "vanilla" : kind->name;
}

const lh_memory_kind *lh_compare_method_find(const char *name)
{
    for (int i = 0; lh_memory_kinds[i]; i++) {
        const lh_memory_kind *kind = lh_memory_kinds[i];
        if (kind->compare && (strcmp(lh_compare_method_name(kind), name) == 0 || strcmp(kind->name, name) == 0)) {
            return kind;
        }
    }
    return NULL;
}

static lh_status unknown_method(const char *where, const char *name, lh_error *error)
{
    const char *names[LH_COMPARE_MAX_METHODS];
    size_t count = 0;
    lh_string list = {0};
    for (int i = 0; lh_memory_kinds[i] && count < LH_COMPARE_MAX_METHODS; i++) {
        if (lh_memory_kinds[i]->compare) {
            names[count] = lh_compare_method_name(lh_memory_kinds[i]);
            lh_string_print(&list, "%s%s", count ? ", " : "", names[count]);
            count++;
        }
    }
    const char *nearest = lh_nearest_name(name, names, count);
    lh_status status = lh_fail(error, LH_E_CONFIG, "%s: there is no method '%s'%s%s%s to compare; there are %s",
                               where, name, nearest ? " (did you mean '" : "", nearest ? nearest : "",
                               nearest ? "'?)" : "", list.failed || !list.data ? "none" : list.data);
    lh_string_free(&list);
    return status;
}

static lh_status add_method(lh_compare_settings *s, const lh_memory_kind *kind, lh_error *error)
{
    for (int i = 0; i < s->method_count; i++) {
        if (s->methods[i] == kind) {
            return lh_recipe_reject(s->recipe, "compare.methods", error, "names %s twice",
                                    lh_compare_method_name(kind));
        }
    }
    if (s->method_count == LH_COMPARE_MAX_METHODS) {
        return lh_recipe_reject(s->recipe, "compare.methods", error, "has more than %d entries",
                                LH_COMPARE_MAX_METHODS);
    }
    s->methods[s->method_count++] = kind;
    return LH_OK;
}

static lh_status read_methods(lh_compare_settings *s, lh_error *error)
{
    static const char separators[] = ", \t";
    const char *list = lh_recipe_string(s->recipe, "compare.methods");
    if (strcmp(list, "all") == 0) {
        for (int i = 0; lh_memory_kinds[i]; i++) {
            LH_TRY(lh_memory_kinds[i]->compare ? add_method(s, lh_memory_kinds[i], error) : LH_OK);
        }
        return LH_OK;
    }
    for (const char *at = list + strspn(list, separators); *at; at += strspn(at, separators)) {
        char name[64];
        size_t length = strcspn(at, separators);
        (void)snprintf(name, sizeof name, "%.*s", (int)(length < 64 ? length : 63), at);
        const lh_memory_kind *kind = lh_compare_method_find(name);
        LH_TRY(kind ? add_method(s, kind, error) : unknown_method("compare.methods", name, error));
        at += length;
    }
    return s->method_count > 0 ? LH_OK : lh_recipe_reject(s->recipe, "compare.methods", error, "names no method");
}

/* ---- the section ---- */

static lh_status check_method_section(void *user, const char *method, int line, lh_error *error)
{
    const lh_compare_source *source = user;
    char where[300];
    const lh_memory_kind *kind = lh_compare_method_find(method);
    (void)snprintf(where, sizeof where, "%.200s:%d", source->name, line);
    /* One spelling only, the one that the sections are picked by. */
    return kind && strcmp(lh_compare_method_name(kind), method) == 0 ? LH_OK : unknown_method(where, method, error);
}

static lh_status read_section(lh_compare_settings *s, const lh_compare_sources *sources, lh_error *error)
{
    static const lh_recipe_key *const tables[] = {lh_compare_keys, NULL};
    lh_string text = {0};
    LH_TRY(lh_recipe_create(&s->recipe, tables, NULL, 0, error));
    lh_status status = LH_OK;
    for (size_t i = 0; i < sources->count && status == LH_OK; i++) {
        lh_compare_source *source = &sources->items[i];
        status = lh_compare_method_sections(source, check_method_section, source, error);
        lh_string_clear(&text);
        lh_compare_pick(source->text, LH_READER_COMPARE, &text);
        if (status == LH_OK) {
            status = text.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe of a comparison")
                                 : lh_recipe_read_text(s->recipe, source->name, text.data ? text.data : "",
                                                       text.size, error);
        }
    }
    lh_string_free(&text);
    return status == LH_OK ? lh_recipe_resolve(s->recipe, error) : status;
}

lh_status lh_compare_settings_read(lh_compare_settings *s, const lh_compare_sources *sources, lh_error *error)
{
    *s = (lh_compare_settings){0};
    LH_TRY(read_section(s, sources, error));
    const lh_recipe *r = s->recipe;
    LH_TRY(read_methods(s, error));
    s->seeds = lh_recipe_integer(r, "compare.seeds");
    s->memory = lh_recipe_integer(r, "compare.memory");
    s->path = lh_recipe_string(r, "compare.path");
    s->split = lh_recipe_string(r, "compare.split");
    s->split = strcmp(s->split, "auto") == 0 ? NULL : s->split;
    s->protocol = lh_recipe_string(r, "compare.protocol");
    s->eval_tokens = lh_recipe_integer(r, "compare.eval_tokens");
    s->length_seconds = lh_recipe_real(r, "compare.length_seconds");
    s->lengths = lh_recipe_list(r, "compare.lengths", &s->length_count);
    if (s->length_count > LH_COMPARE_MAX_LENGTHS) {
        return lh_recipe_reject(r, "compare.lengths", error, "has more than %d entries", LH_COMPARE_MAX_LENGTHS);
    }
    for (size_t i = 1; i < s->length_count; i++) {
        if (s->lengths[i] <= s->lengths[i - 1]) {
            return lh_recipe_reject(r, "compare.lengths", error, "must ascend");
        }
    }
    const char *budget = lh_recipe_string(r, "compare.budget");
    if (!budget[0]) {
        return lh_fail(error, LH_E_CONFIG,
                       "a comparison needs a budget: --budget time=2m, tokens=10M or flops=1e15 for each method");
    }
    return lh_budget_parse(&s->budget, budget, error);
}

void lh_compare_settings_free(lh_compare_settings *settings)
{
    lh_recipe_free(settings->recipe);
    *settings = (lh_compare_settings){0};
}
