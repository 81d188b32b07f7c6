/* Deciding the value of every key of a recipe. */
#include "base/memory.h"
#include "formats/recipe_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static lh_status no_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for the recipe");
}

static lh_status resolve_slot(lh_recipe *recipe, size_t at, lh_error *error);

/* Is `word` one of the comma-separated entries of [values, end)? */
static bool listed(const char *values, const char *end, const char *word)
{
    size_t length = strlen(word);
    while (values <= end) {
        const char *comma = memchr(values, ',', (size_t)(end - values));
        size_t entry = (size_t)((comma ? comma : end) - values);
        if (entry == length && memcmp(values, word, length) == 0) {
            return true;
        }
        values += entry + 1;
    }
    return false;
}

/* Decides the clause "section.key=a,b" in [clause, end). If it fails, *blocker is the slot to blame. */
static lh_status check_clause(lh_recipe *recipe, const char *clause, const char *end, bool *holds, size_t *blocker,
                              lh_error *error)
{
    char name[128];
    const char *equals = memchr(clause, '=', (size_t)(end - clause));
    bool negated = equals && equals > clause && equals[-1] == '!';
    size_t length = equals ? (size_t)(equals - clause) - (negated ? 1 : 0) : sizeof name;
    size_t at = RECIPE_NONE;
    if (length < sizeof name) {
        memcpy(name, clause, length);
        name[length] = '\0';
        at = recipe_find_name(recipe, name);
    }
    if (at == RECIPE_NONE) {
        return lh_fail(error, LH_E_INTERNAL, "the schema has a condition that is not section.key=value: '%.*s'",
                       (int)(end - clause), clause);
    }
    LH_TRY(resolve_slot(recipe, at, error));
    const recipe_slot *slot = &recipe->slots[at];
    *holds = slot->row && listed(equals + 1, end, slot->value.text) != negated;
    if (!*holds) {
        *blocker = at;
    }
    return LH_OK;
}

static lh_status check_condition(lh_recipe *recipe, const char *condition, bool *holds, size_t *blocker,
                                 lh_error *error)
{
    *holds = true;
    while (condition && *condition && *holds) {
        size_t length = strcspn(condition, " ");
        if (length > 0) {
            LH_TRY(check_clause(recipe, condition, condition + length, holds, blocker, error));
        }
        condition += length + (condition[length] == ' ');
    }
    return LH_OK;
}

/* Finds the row whose condition holds. If none does, slot->blocker is what failed the first row. */
static lh_status choose_row(lh_recipe *recipe, recipe_slot *slot, lh_error *error)
{
    slot->row = NULL;
    slot->blocker = RECIPE_NONE;
    for (size_t i = 0; i < slot->row_count && !slot->row; i++) {
        bool holds = false;
        size_t blocker = RECIPE_NONE;
        LH_TRY(check_condition(recipe, slot->rows[i]->condition, &holds, &blocker, error));
        if (holds) {
            slot->row = slot->rows[i];
        } else if (slot->blocker == RECIPE_NONE) {
            slot->blocker = blocker;
        }
    }
    return LH_OK;
}

/* "memory.kind=a or memory.kind=b": the conditions under which the key is legal. */
static void list_conditions(const recipe_slot *slot, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < slot->row_count && used + 1 < size; i++) {
        int more = snprintf(text + used, size - used, "%s%s", i ? " or " : "", slot->rows[i]->condition);
        used += more > 0 ? (size_t)more : 0;
    }
}

static lh_status reject_condition(const lh_recipe *recipe, const recipe_slot *slot, lh_error *error)
{
    char place[512], conditions[256];
    const recipe_slot *blocker = &recipe->slots[slot->blocker];
    recipe_place(slot->given, place, sizeof place);
    list_conditions(slot, conditions, sizeof conditions);
    if (!blocker->row) {
        return lh_fail(error, LH_E_CONFIG, "%s: [%s] %s = %s is legal only with %s, but %s.%s is not in use here",
                       place, slot->section, slot->key, slot->given->value, conditions, blocker->section,
                       blocker->key);
    }
    return lh_fail(error, LH_E_CONFIG, "%s: [%s] %s = %s is legal only with %s, but %s.%s is '%s' (%s)", place,
                   slot->section, slot->key, slot->given->value, conditions, blocker->section, blocker->key,
                   blocker->value.text, blocker->origin ? blocker->origin : "default");
}

static lh_status parse_given(recipe_slot *slot, lh_error *error)
{
    char expected[512] = "", place[512];
    if (recipe_parse_value(slot->row, slot->given->value, &slot->value, expected, sizeof expected)) {
        return LH_OK;
    }
    if (expected[0] == '\0') {
        return no_memory(error);
    }
    recipe_place(slot->given, place, sizeof place);
    return lh_fail(error, LH_E_CONFIG, "%s: [%s] %s = '%s' must be %s", place, slot->section, slot->key,
                   slot->given->value, expected);
}

/* The defaults were checked when the recipe was created. A default of NULL gives the empty value of the type. */
static lh_status parse_default(recipe_slot *slot, const lh_recipe_key *row, lh_error *error)
{
    char expected[512] = "";
    if (!row->fallback) {
        slot->value.text = lh_heap_strdup("");
        return slot->value.text ? LH_OK : no_memory(error);
    }
    return recipe_parse_value(row, row->fallback, &slot->value, expected, sizeof expected) ? LH_OK
                                                                                           : no_memory(error);
}

static lh_status resolve_inactive(lh_recipe *recipe, recipe_slot *slot, lh_error *error)
{
    slot->rank = recipe->slots[slot->blocker].rank;
    if (slot->given && slot->given->rank >= slot->rank) {
        return reject_condition(recipe, slot, error);
    }
    return parse_default(slot, slot->rows[0], error);
}

static lh_status resolve_active(recipe_slot *slot, lh_error *error)
{
    if (slot->given) {
        slot->rank = slot->given->rank;
        return parse_given(slot, error);
    }
    slot->rank = RECIPE_RANK_DEFAULT;
    if (!slot->row->fallback) {
        return lh_fail(error, LH_E_CONFIG, "[%s] %s must be set: %s", slot->section, slot->key, slot->row->help);
    }
    return parse_default(slot, slot->row, error);
}

static lh_status keep_origin(recipe_slot *slot, lh_error *error)
{
    char place[512];
    lh_heap_free(slot->origin);
    slot->origin = NULL;
    if (slot->given) {
        if (slot->given->rank < RECIPE_RANK_FILE) {
            (void)snprintf(place, sizeof place, "%s", slot->given->source);
        } else {
            recipe_place(slot->given, place, sizeof place);
        }
        slot->origin = lh_heap_strdup(place);
        return slot->origin ? LH_OK : no_memory(error);
    }
    return LH_OK;
}

static lh_status resolve_slot(lh_recipe *recipe, size_t at, lh_error *error)
{
    recipe_slot *slot = &recipe->slots[at];
    if (slot->state == RECIPE_RESOLVED) {
        return LH_OK;
    }
    if (slot->state == RECIPE_IN_PROGRESS) {
        return lh_fail(error, LH_E_INTERNAL, "the condition of %s.%s depends on itself", slot->section, slot->key);
    }
    slot->state = RECIPE_IN_PROGRESS;
    recipe_free_value(&slot->value);
    LH_TRY(keep_origin(slot, error));
    LH_TRY(choose_row(recipe, slot, error));
    LH_TRY(slot->row ? resolve_active(slot, error) : resolve_inactive(recipe, slot, error));
    slot->state = RECIPE_RESOLVED;
    return LH_OK;
}

/* ---- presets ---- */

static const recipe_assignment *strongest(const lh_recipe *recipe, size_t slot, size_t first)
{
    const recipe_assignment *best = NULL;
    for (size_t i = first; i < recipe->assignment_count; i++) {
        const recipe_assignment *candidate = &recipe->assignments[i];
        if (candidate->slot == slot && (!best || candidate->rank >= best->rank)) {
            best = candidate;
        }
    }
    return best;
}

static lh_status unknown_preset(const lh_recipe *recipe, const recipe_assignment *asked, lh_error *error)
{
    char place[512];
    const char *near = NULL;
    const char **names = lh_heap_alloc(recipe->preset_count * sizeof *names);
    for (size_t i = 0; names && i < recipe->preset_count; i++) {
        names[i] = recipe->presets[i].name;
    }
    near = names ? lh_nearest_name(asked->value, names, recipe->preset_count) : NULL;
    lh_heap_free(names);
    recipe_place(asked, place, sizeof place);
    return lh_fail(error, LH_E_CONFIG, "%s: there is no preset '%s'%s%s%s", place, asked->value,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Adds the keys of the preset in force, then those of its base, and so on, each weaker than the one before. */
static lh_status expand_presets(lh_recipe *recipe, lh_error *error)
{
    const recipe_assignment *asked = strongest(recipe, RECIPE_NONE, 0);
    recipe->preset = NULL;
    for (int depth = 0; asked && asked->value[0]; depth++) {
        const lh_recipe_preset *preset = recipe_find_preset(recipe, asked->value);
        if (!preset) {
            return unknown_preset(recipe, asked, error);
        }
        if (depth == RECIPE_PRESET_DEPTH) {
            return lh_fail(error, LH_E_CONFIG, "preset %s: presets name each other as base more than %d deep",
                           preset->name, RECIPE_PRESET_DEPTH);
        }
        char source[256];
        (void)snprintf(source, sizeof source, "preset %s", preset->name);
        recipe->preset = recipe->preset ? recipe->preset : preset->name;
        size_t first = recipe->assignment_count;
        LH_TRY(recipe_read_ranked(recipe, source, preset->text, strlen(preset->text), RECIPE_RANK_PRESET - depth,
                                  error));
        asked = strongest(recipe, RECIPE_NONE, first);
    }
    return LH_OK;
}

static lh_status resolve_all(lh_recipe *recipe, lh_error *error)
{
    LH_TRY(expand_presets(recipe, error));
    for (size_t i = 0; i < recipe->slot_count; i++) {
        recipe->slots[i].state = RECIPE_UNRESOLVED;
        recipe->slots[i].given = strongest(recipe, i, 0);
    }
    for (size_t i = 0; i < recipe->slot_count; i++) {
        LH_TRY(resolve_slot(recipe, i, error));
    }
    return LH_OK;
}

lh_status lh_recipe_resolve(lh_recipe *recipe, lh_error *error)
{
    recipe_forget(recipe, recipe->read_count);
    lh_status status = resolve_all(recipe, error);
    recipe->resolved = status == LH_OK;
    return status;
}

lh_status lh_recipe_reject(const lh_recipe *recipe, const char *name, lh_error *error, const char *what, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, what);
    (void)vsnprintf(sentence, sizeof sentence, what, arguments);
    va_end(arguments);
    size_t at = recipe_find_name(recipe, name);
    if (at == RECIPE_NONE) {
        return lh_fail(error, LH_E_CONFIG, "%s %s", name, sentence);
    }
    const recipe_slot *slot = &recipe->slots[at];
    return lh_fail(error, LH_E_CONFIG, "%s: [%s] %s = %s %s", lh_recipe_origin(recipe, name), slot->section,
                   slot->key, slot->value.text ? slot->value.text : "", sentence);
}
