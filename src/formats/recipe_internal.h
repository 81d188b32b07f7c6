/* What the files of the recipe share. */
#ifndef LH_FORMATS_RECIPE_INTERNAL_H
#define LH_FORMATS_RECIPE_INTERNAL_H

#include "formats/recipe.h"

/* How strong a source is. A preset's base is one weaker than the preset; files grow stronger in the order of
 * reading. */
enum {
    RECIPE_RANK_DEFAULT = 0,
    RECIPE_RANK_PRESET = 100,
    RECIPE_RANK_FILE = 1000,
    RECIPE_RANK_COMMAND_LINE = 1000000000,
    RECIPE_PRESET_DEPTH = 8,
};

/* One `key = value` that was read. Borrows nothing. */
typedef struct recipe_assignment {
    size_t slot; /* index into slots, or SIZE_MAX for `preset = value` */
    char *value;
    int rank, line;
    const char *source; /* owned by the recipe's list of sources */
} recipe_assignment;

typedef enum recipe_state {
    RECIPE_UNRESOLVED,
    RECIPE_IN_PROGRESS,
    RECIPE_RESOLVED,
} recipe_state;

/* A value in its type. text is canonical: reading it gives the same value, and equal values have equal texts. */
typedef struct recipe_value {
    char *text;
    int64_t integer;
    double real;
    bool boolean;
    int64_t *list;
    size_t list_count;
} recipe_value;

/* One section.key with all the rows that the tables have for it. */
typedef struct recipe_slot {
    const char *section, *key;
    const lh_recipe_key **rows;
    size_t row_count;
    recipe_state state;
    const lh_recipe_key *row;       /* the row whose condition holds, or NULL */
    const recipe_assignment *given; /* the strongest assignment, or NULL: the default */
    char *origin;                   /* where the value is from; NULL: the default */
    int rank;                       /* how strong that is; if row is NULL, of what switched the key off */
    size_t blocker;                 /* if row is NULL: the slot that switched the key off */
    recipe_value value;
} recipe_slot;

struct lh_recipe {
    recipe_slot *slots; /* sections together, in the order of the tables */
    size_t slot_count;
    const char **sections; /* distinct */
    size_t section_count;
    lh_recipe_preset *presets;
    size_t preset_count;
    recipe_assignment *assignments;
    size_t assignment_count, assignment_capacity;
    size_t read_count; /* assignments[0 .. read_count) were read; the rest come from presets and are redone */
    char **sources;
    size_t source_count, source_capacity;
    int files;
    const char *preset; /* name of the preset in force */
    bool resolved;
};

#define RECIPE_NONE SIZE_MAX

/* Index of the slot, or RECIPE_NONE. */
size_t recipe_find(const lh_recipe *recipe, const char *section, const char *key);
/* As above from "section.key". */
size_t recipe_find_name(const lh_recipe *recipe, const char *name);

/* Reads a text whose assignments get the given rank. */
lh_status recipe_read_ranked(lh_recipe *recipe, const char *name, const char *text, size_t size, int rank,
                             lh_error *error);
const lh_recipe_preset *recipe_find_preset(const lh_recipe *recipe, const char *name);
/* Drops assignments from `count` on. */
void recipe_forget(lh_recipe *recipe, size_t count);

/* Parses `text` as the row demands. On failure `expected` says what was expected, and the value is empty. False
 * with an empty `expected` means that there was no memory. */
bool recipe_parse_value(const lh_recipe_key *row, const char *text, recipe_value *value, char *expected,
                        size_t expected_size);
void recipe_free_value(recipe_value *value);
/* "an integer from 1 to 8": the kind and the range of a row. */
void recipe_expectation(const lh_recipe_key *row, char *text, size_t size);

/* "FILE:LINE" or "command line" */
void recipe_place(const recipe_assignment *assignment, char *text, size_t size);

#endif
