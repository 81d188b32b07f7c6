/* A recipe's schema and what was read into it. */
#include "base/file.h"
#include "base/memory.h"
#include "formats/ini.h"
#include "formats/recipe_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* A recipe is written by people; a megabyte is a wrong file. */
#define LARGEST_RECIPE (1u << 20)

static lh_status no_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for the recipe");
}

size_t recipe_find(const lh_recipe *recipe, const char *section, const char *key)
{
    for (size_t i = 0; i < recipe->slot_count; i++) {
        if (strcmp(recipe->slots[i].section, section) == 0 && strcmp(recipe->slots[i].key, key) == 0) {
            return i;
        }
    }
    return RECIPE_NONE;
}

size_t recipe_find_name(const lh_recipe *recipe, const char *name)
{
    const char *point = strchr(name, '.');
    size_t length = point ? (size_t)(point - name) : 0;
    for (size_t i = 0; point && i < recipe->slot_count; i++) {
        const recipe_slot *slot = &recipe->slots[i];
        if (strlen(slot->section) == length && memcmp(slot->section, name, length) == 0 &&
            strcmp(slot->key, point + 1) == 0) {
            return i;
        }
    }
    return RECIPE_NONE;
}

/* ---- schema ---- */

static bool has_section(const lh_recipe *recipe, const char *section)
{
    for (size_t i = 0; i < recipe->section_count; i++) {
        if (strcmp(recipe->sections[i], section) == 0) {
            return true;
        }
    }
    return false;
}

static size_t count_rows(const lh_recipe_key *const *tables)
{
    size_t rows = 0;
    for (; *tables; tables++) {
        for (const lh_recipe_key *row = *tables; row->section; row++) {
            rows++;
        }
    }
    return rows;
}

static lh_status add_row(lh_recipe *recipe, const lh_recipe_key *row, lh_error *error)
{
    size_t at = recipe_find(recipe, row->section, row->key);
    if (at == RECIPE_NONE) {
        at = recipe->slot_count++;
        recipe->slots[at].section = row->section;
        recipe->slots[at].key = row->key;
    }
    recipe_slot *slot = &recipe->slots[at];
    for (size_t i = 0; i < slot->row_count; i++) {
        const char *condition = slot->rows[i]->condition;
        if (!condition || !row->condition || strcmp(condition, row->condition) == 0 ||
            slot->rows[i]->type != row->type) {
            return lh_fail(error, LH_E_INTERNAL,
                           "the schema has %s.%s twice without different conditions and equal types", row->section,
                           row->key);
        }
    }
    const lh_recipe_key **rows = lh_heap_realloc(slot->rows, (slot->row_count + 1) * sizeof(*rows));
    if (!rows) {
        return no_memory(error);
    }
    rows[slot->row_count++] = row;
    slot->rows = rows;
    return LH_OK;
}

/* Sections are gone through one after the other, so that each one's keys lie together whatever table they are from.
 */
static lh_status add_tables(lh_recipe *recipe, const lh_recipe_key *const *tables, lh_error *error)
{
    for (const lh_recipe_key *const *table = tables; *table; table++) {
        for (const lh_recipe_key *row = *table; row->section; row++) {
            if (!has_section(recipe, row->section)) {
                recipe->sections[recipe->section_count++] = row->section;
            }
        }
    }
    for (size_t i = 0; i < recipe->section_count; i++) {
        for (const lh_recipe_key *const *table = tables; *table; table++) {
            for (const lh_recipe_key *row = *table; row->section; row++) {
                if (strcmp(row->section, recipe->sections[i]) == 0) {
                    LH_TRY(add_row(recipe, row, error));
                }
            }
        }
    }
    return LH_OK;
}

/* Every default must pass its own row, so that a wrong table fails at the first start, not at a user's. */
static lh_status check_defaults(const lh_recipe *recipe, lh_error *error)
{
    for (size_t i = 0; i < recipe->slot_count; i++) {
        for (size_t j = 0; j < recipe->slots[i].row_count; j++) {
            const lh_recipe_key *row = recipe->slots[i].rows[j];
            recipe_value value = {0};
            char expected[512] = "";
            if (row->fallback && !recipe_parse_value(row, row->fallback, &value, expected, sizeof expected)) {
                return expected[0] == '\0'
                           ? no_memory(error)
                           : lh_fail(error, LH_E_INTERNAL, "the schema's default of %s.%s, '%s', is not %s",
                                     row->section, row->key, row->fallback, expected);
            }
            recipe_free_value(&value);
        }
    }
    return LH_OK;
}

static lh_status fill(lh_recipe *recipe, const lh_recipe_key *const *tables, const lh_recipe_preset *presets,
                      size_t preset_count, lh_error *error)
{
    size_t rows = count_rows(tables);
    recipe->slots = lh_heap_alloc(rows * sizeof *recipe->slots);
    recipe->sections = lh_heap_alloc(rows * sizeof(*recipe->sections));
    recipe->presets = lh_heap_alloc(preset_count * sizeof *recipe->presets);
    if (!recipe->slots || !recipe->sections || !recipe->presets) {
        return no_memory(error);
    }
    if (preset_count) {
        memcpy(recipe->presets, presets, preset_count * sizeof *presets);
    }
    recipe->preset_count = preset_count;
    LH_TRY(add_tables(recipe, tables, error));
    return check_defaults(recipe, error);
}

lh_status lh_recipe_create(lh_recipe **recipe, const lh_recipe_key *const *tables, const lh_recipe_preset *presets,
                           size_t preset_count, lh_error *error)
{
    lh_recipe *fresh = lh_heap_alloc(sizeof *fresh);
    lh_status status = fresh ? fill(fresh, tables, presets, preset_count, error) : no_memory(error);
    if (status != LH_OK) {
        lh_recipe_free(fresh);
        fresh = NULL;
    }
    *recipe = fresh;
    return status;
}

void recipe_forget(lh_recipe *recipe, size_t count)
{
    while (recipe->assignment_count > count) {
        lh_heap_free(recipe->assignments[--recipe->assignment_count].value);
    }
}

/* What was resolved no longer holds, and what presets added is to be added again. */
static void invalidate(lh_recipe *recipe)
{
    recipe_forget(recipe, recipe->read_count);
    recipe->resolved = false;
    for (size_t i = 0; i < recipe->slot_count; i++) {
        recipe->slots[i].given = NULL;
    }
}

void lh_recipe_free(lh_recipe *recipe)
{
    if (!recipe) {
        return;
    }
    recipe_forget(recipe, 0);
    for (size_t i = 0; i < recipe->slot_count; i++) {
        lh_heap_free(recipe->slots[i].rows);
        lh_heap_free(recipe->slots[i].origin);
        recipe_free_value(&recipe->slots[i].value);
    }
    for (size_t i = 0; i < recipe->source_count; i++) {
        lh_heap_free(recipe->sources[i]);
    }
    lh_heap_free(recipe->sources);
    lh_heap_free(recipe->assignments);
    lh_heap_free(recipe->slots);
    lh_heap_free(recipe->sections);
    lh_heap_free(recipe->presets);
    lh_heap_free(recipe);
}

/* ---- reading ---- */

void recipe_place(const recipe_assignment *assignment, char *text, size_t size)
{
    if (assignment->line > 0) {
        (void)snprintf(text, size, "%s:%d", assignment->source, assignment->line);
    } else {
        (void)snprintf(text, size, "%s", assignment->source);
    }
}

const lh_recipe_preset *recipe_find_preset(const lh_recipe *recipe, const char *name)
{
    for (size_t i = 0; i < recipe->preset_count; i++) {
        if (strcmp(recipe->presets[i].name, name) == 0) {
            return &recipe->presets[i];
        }
    }
    return NULL;
}

/* Grows a list to hold one more entry; false if there is no memory. */
static bool make_room(void **list, size_t *capacity, size_t count, size_t entry)
{
    if (count < *capacity) {
        return true;
    }
    size_t wider = *capacity ? *capacity * 2 : 16;
    void *grown = lh_heap_realloc(*list, wider * entry);
    if (!grown) {
        return false;
    }
    *list = grown;
    *capacity = wider;
    return true;
}

/* A copy of the source's name that lives as long as the recipe, or NULL. */
static const char *keep_source(lh_recipe *recipe, const char *name)
{
    for (size_t i = 0; i < recipe->source_count; i++) {
        if (strcmp(recipe->sources[i], name) == 0) {
            return recipe->sources[i];
        }
    }
    void *list = recipe->sources;
    if (!make_room(&list, &recipe->source_capacity, recipe->source_count, sizeof *recipe->sources)) {
        return NULL;
    }
    recipe->sources = list;
    char *copy = lh_heap_strdup(name);
    if (copy) {
        recipe->sources[recipe->source_count++] = copy;
    }
    return copy;
}

static lh_status assign(lh_recipe *recipe, recipe_assignment assignment, const char *value, lh_error *error)
{
    void *list = recipe->assignments;
    if (!make_room(&list, &recipe->assignment_capacity, recipe->assignment_count, sizeof *recipe->assignments)) {
        return no_memory(error);
    }
    recipe->assignments = list;
    assignment.value = lh_heap_strdup(value);
    if (!assignment.value) {
        return no_memory(error);
    }
    recipe->assignments[recipe->assignment_count++] = assignment;
    return LH_OK;
}

static lh_status unknown_section(const lh_recipe *recipe, const char *place, const char *section, lh_error *error)
{
    const char *near = lh_nearest_name(section, recipe->sections, recipe->section_count);
    return lh_fail(error, LH_E_CONFIG, "%s: unknown section [%s]%s%s%s", place, section,
                   near ? "; did you mean [" : "", near ? near : "", near ? "]?" : "");
}

/* Offers the nearest key of the section, or else another section that has a key of that name. */
static lh_status unknown_key(const lh_recipe *recipe, const char *place, const char *section, const char *key,
                             lh_error *error)
{
    const char *near = NULL, *elsewhere = NULL;
    const char **names = lh_heap_alloc(recipe->slot_count * sizeof *names);
    size_t count = 0;
    for (size_t i = 0; names && i < recipe->slot_count; i++) {
        if (strcmp(recipe->slots[i].section, section) == 0) {
            names[count++] = recipe->slots[i].key;
        } else if (strcmp(recipe->slots[i].key, key) == 0) {
            elsewhere = recipe->slots[i].section;
        }
    }
    near = names ? lh_nearest_name(key, names, count) : NULL;
    lh_heap_free(names);
    if (elsewhere) {
        return lh_fail(error, LH_E_CONFIG, "%s: unknown key '%s' in [%s]; a key of that name is in [%s]", place,
                       key, section, elsewhere);
    }
    return lh_fail(error, LH_E_CONFIG, "%s: unknown key '%s' in [%s]%s%s%s", place, key, section,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static lh_status check_known(const lh_recipe *recipe, const char *place, const char *section, const char *key,
                             size_t *slot, lh_error *error)
{
    if (section[0] == '\0' && strcmp(key, "preset") == 0) {
        *slot = RECIPE_NONE;
        return LH_OK;
    }
    if (section[0] == '\0') {
        return lh_fail(error, LH_E_CONFIG, "%s: key '%s' stands before the first [section]; only 'preset' may",
                       place, key);
    }
    if (!has_section(recipe, section)) {
        return unknown_section(recipe, place, section, error);
    }
    *slot = recipe_find(recipe, section, key);
    return *slot == RECIPE_NONE ? unknown_key(recipe, place, section, key, error) : LH_OK;
}

typedef struct text_reader {
    lh_recipe *recipe;
    const char *source;
    size_t first; /* the first assignment of this text */
    int rank;
} text_reader;

static lh_status read_line(void *user, const char *section, const char *key, const char *value, int line,
                           lh_error *error)
{
    text_reader *reader = user;
    lh_recipe *recipe = reader->recipe;
    recipe_assignment fresh = {.rank = reader->rank, .line = line, .source = reader->source};
    char place[512];
    recipe_place(&fresh, place, sizeof place);
    if (!key) {
        return has_section(recipe, section) ? LH_OK : unknown_section(recipe, place, section, error);
    }
    LH_TRY(check_known(recipe, place, section, key, &fresh.slot, error));
    for (size_t i = reader->first; i < recipe->assignment_count; i++) {
        if (recipe->assignments[i].slot == fresh.slot) {
            return lh_fail(error, LH_E_CONFIG, "%s: '%s' is given a second time; line %d has it already", place,
                           key, recipe->assignments[i].line);
        }
    }
    return assign(recipe, fresh, value, error);
}

lh_status recipe_read_ranked(lh_recipe *recipe, const char *name, const char *text, size_t size, int rank,
                             lh_error *error)
{
    text_reader reader = {.recipe = recipe, .first = recipe->assignment_count, .rank = rank};
    reader.source = keep_source(recipe, name);
    if (!reader.source) {
        return no_memory(error);
    }
    return lh_ini_parse(name, text, size, read_line, &reader, error);
}

lh_status lh_recipe_read_text(lh_recipe *recipe, const char *name, const char *text, size_t size, lh_error *error)
{
    invalidate(recipe);
    lh_status status = recipe_read_ranked(recipe, name, text, size, RECIPE_RANK_FILE + recipe->files, error);
    recipe->files++;
    if (status != LH_OK) {
        recipe_forget(recipe, recipe->read_count);
    }
    recipe->read_count = recipe->assignment_count;
    return status;
}

lh_status lh_recipe_read(lh_recipe *recipe, const char *path, lh_error *error)
{
    char *text = NULL;
    size_t size = 0;
    LH_TRY(lh_file_read(path, LARGEST_RECIPE, &text, &size, error));
    lh_status status = lh_recipe_read_text(recipe, path, text, size, error);
    lh_heap_free(text);
    return status;
}

static lh_status split_and_assign(lh_recipe *recipe, char *copy, const char *argument, lh_error *error)
{
    static const char place[] = "command line";
    recipe_assignment fresh = {.rank = RECIPE_RANK_COMMAND_LINE, .source = keep_source(recipe, place)};
    if (!fresh.source) {
        return no_memory(error);
    }
    char *equals = strchr(copy, '=');
    if (!equals) {
        return lh_fail(error, LH_E_CONFIG, "%s: '%s' does not read section.key=value", place, argument);
    }
    *equals = '\0';
    char *point = strchr(copy, '.');
    if (!point && strcmp(copy, "preset") != 0) {
        return lh_fail(error, LH_E_CONFIG, "%s: '%s' does not read section.key=value", place, argument);
    }
    if (point) {
        *point = '\0';
    }
    LH_TRY(check_known(recipe, place, point ? copy : "", point ? point + 1 : copy, &fresh.slot, error));
    return assign(recipe, fresh, equals + 1, error);
}

lh_status lh_recipe_override(lh_recipe *recipe, const char *argument, lh_error *error)
{
    invalidate(recipe);
    char *copy = lh_heap_strdup(argument);
    lh_status status = copy ? split_and_assign(recipe, copy, argument, error) : no_memory(error);
    lh_heap_free(copy);
    recipe->read_count = recipe->assignment_count;
    return status;
}

/* ---- getters ---- */

static const recipe_slot *get(const lh_recipe *recipe, const char *name)
{
    assert(recipe->resolved);
    size_t slot = recipe_find_name(recipe, name);
    assert(slot != RECIPE_NONE);
    return slot != RECIPE_NONE ? &recipe->slots[slot] : NULL;
}

static const recipe_slot *get_typed(const lh_recipe *recipe, const char *name, lh_recipe_type type)
{
    const recipe_slot *slot = get(recipe, name);
    assert(slot && slot->rows[0]->type == type);
    return slot && slot->rows[0]->type == type ? slot : NULL;
}

const char *lh_recipe_string(const lh_recipe *recipe, const char *name)
{
    const recipe_slot *slot = get(recipe, name);
    assert(slot && (slot->rows[0]->type == LH_RECIPE_STRING || slot->rows[0]->type == LH_RECIPE_CHOICE));
    return slot && slot->value.text ? slot->value.text : "";
}

int64_t lh_recipe_integer(const lh_recipe *recipe, const char *name)
{
    const recipe_slot *slot = get_typed(recipe, name, LH_RECIPE_INTEGER);
    return slot ? slot->value.integer : 0;
}

double lh_recipe_real(const lh_recipe *recipe, const char *name)
{
    const recipe_slot *slot = get_typed(recipe, name, LH_RECIPE_REAL);
    return slot ? slot->value.real : 0.0;
}

bool lh_recipe_boolean(const lh_recipe *recipe, const char *name)
{
    const recipe_slot *slot = get_typed(recipe, name, LH_RECIPE_BOOLEAN);
    return slot && slot->value.boolean;
}

const int64_t *lh_recipe_list(const lh_recipe *recipe, const char *name, size_t *count)
{
    const recipe_slot *slot = get_typed(recipe, name, LH_RECIPE_LIST);
    *count = slot ? slot->value.list_count : 0;
    return slot ? slot->value.list : NULL;
}

bool lh_recipe_active(const lh_recipe *recipe, const char *name)
{
    assert(recipe->resolved);
    size_t slot = recipe_find_name(recipe, name);
    return slot != RECIPE_NONE && recipe->slots[slot].row != NULL;
}

const char *lh_recipe_value(const lh_recipe *recipe, const char *name)
{
    size_t index = recipe_find_name(recipe, name);
    const recipe_slot *slot = index == RECIPE_NONE ? NULL : &recipe->slots[index];
    return slot && slot->row ? slot->value.text : NULL;
}

bool lh_recipe_known(const lh_recipe *recipe, const char *name)
{
    return recipe_find_name(recipe, name) != RECIPE_NONE;
}

bool lh_recipe_given(const lh_recipe *recipe, const char *name)
{
    const recipe_slot *slot = get(recipe, name);
    return slot && slot->row && slot->given;
}

const char *lh_recipe_origin(const lh_recipe *recipe, const char *name)
{
    const recipe_slot *slot = get(recipe, name);
    return slot && slot->row && slot->origin ? slot->origin : "default";
}

const char *lh_recipe_preset_name(const lh_recipe *recipe)
{
    return recipe->preset;
}
