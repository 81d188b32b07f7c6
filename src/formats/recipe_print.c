/* A recipe as text: resolved, and its schema for people. */
#include "formats/ini.h"
#include "formats/recipe_internal.h"

#include <stdio.h>
#include <string.h>

static void append(lh_string *out, const char *text)
{
    lh_string_append(out, text, strlen(text));
}

static void write_slot(const recipe_slot *slot, bool with_origin, lh_string *out)
{
    size_t start = out->size;
    lh_string_print(out, "%s = ", slot->key);
    lh_ini_append_value(out, slot->value.text);
    if (with_origin) {
        size_t used = out->size - start;
        lh_string_print(out, "%*s  # ", (int)(used < 40 ? 40 - used : 0), "");
        /* A file's name may hold a line feed; a comment may not. */
        for (const char *c = slot->origin ? slot->origin : "default"; *c; c++) {
            lh_string_append(out, *c == '\n' ? "?" : c, 1);
        }
    }
    append(out, "\n");
}

void lh_recipe_write(const lh_recipe *recipe, bool with_origins, lh_string *out)
{
    const char *section = NULL;
    for (size_t i = 0; i < recipe->slot_count; i++) {
        const recipe_slot *slot = &recipe->slots[i];
        if (!slot->row) {
            continue;
        }
        if (!section || strcmp(section, slot->section) != 0) {
            lh_string_print(out, "%s[%s]\n", section ? "\n" : "", slot->section);
            section = slot->section;
        }
        write_slot(slot, with_origins, out);
    }
}

static void describe_row_text(const lh_recipe_key *row, lh_string *out)
{
    char expected[512];
    recipe_expectation(row, expected, sizeof expected);
    if (row->fallback) {
        lh_string_print(out, "  %s = ", row->key);
        lh_ini_append_value(out, row->fallback);
        append(out, "\n");
    } else {
        lh_string_print(out, "  %s    (must be set)\n", row->key);
    }
    lh_string_print(out, "      %s; %s\n", row->help, expected);
    if (row->condition) {
        lh_string_print(out, "      only with %s\n", row->condition);
    }
}

/* A bar would end the cell of the table. */
static void append_cell(lh_string *out, const char *text)
{
    for (; *text; text++) {
        append(out, *text == '|' ? "\\" : "");
        lh_string_append(out, text, 1);
    }
}

static void describe_row_markdown(const lh_recipe_key *row, lh_string *out)
{
    char expected[512];
    recipe_expectation(row, expected, sizeof expected);
    lh_string_print(out, "| `%s` | ", row->key);
    append_cell(out, expected);
    append(out, " | ");
    if (row->fallback && row->fallback[0]) {
        append(out, "`");
        append_cell(out, row->fallback);
        append(out, "`");
    } else {
        append(out, row->fallback ? "(empty)" : "must be set");
    }
    append(out, " | ");
    append_cell(out, row->help);
    if (row->condition) {
        append(out, " (only with `");
        append_cell(out, row->condition);
        append(out, "`)");
    }
    append(out, " |\n");
}

void lh_recipe_describe(const lh_recipe *recipe, lh_recipe_layout layout, lh_string *out)
{
    const char *section = NULL;
    for (size_t i = 0; i < recipe->slot_count; i++) {
        const recipe_slot *slot = &recipe->slots[i];
        if (!section || strcmp(section, slot->section) != 0) {
            append(out, section ? "\n" : "");
            section = slot->section;
            lh_string_print(out, layout == LH_RECIPE_TEXT ? "[%s]\n" : "### [%s]\n\n", section);
            append(out, layout == LH_RECIPE_TEXT ? "" : "| key | value | default | meaning |\n|---|---|---|---|\n");
        }
        for (size_t j = 0; j < slot->row_count; j++) {
            if (layout == LH_RECIPE_TEXT) {
                describe_row_text(slot->rows[j], out);
            } else {
                describe_row_markdown(slot->rows[j], out);
            }
        }
    }
}

const lh_recipe_key *lh_recipe_row(const lh_recipe *recipe, size_t index)
{
    for (size_t i = 0; i < recipe->slot_count; i++) {
        if (index < recipe->slots[i].row_count) {
            return recipe->slots[i].rows[index];
        }
        index -= recipe->slots[i].row_count;
    }
    return NULL;
}

void lh_recipe_describe_presets(const lh_recipe *recipe, lh_recipe_layout layout, lh_string *out)
{
    append(out, layout == LH_RECIPE_TEXT ? "" : "| preset | what it is |\n|---|---|\n");
    for (size_t i = 0; i < recipe->preset_count; i++) {
        const lh_recipe_preset *preset = &recipe->presets[i];
        if (layout == LH_RECIPE_TEXT) {
            lh_string_print(out, "  %s\n      %s\n", preset->name, preset->help);
        } else {
            lh_string_print(out, "| `%s` | ", preset->name);
            append_cell(out, preset->help);
            append(out, " |\n");
        }
    }
}
