/* Recipes: everything that a run depends on, in one INI text, checked against a schema.
 *
 * A schema is a list of tables that the parts of the program contribute (the trainer, each model kind, each memory
 * kind). A key may be legal only under a condition, such as memory.kind=compressive, and several rows may give the
 * same key different meaning under different conditions.
 *
 * Where a value comes from, weakest first: the schema's default; a preset (`preset = NAME` before the first
 * section, or preset=NAME on the command line); a file; the command line. Nothing unknown is ever skipped.
 * docs/recipes.md is the user's view. */
#ifndef LH_FORMATS_RECIPE_H
#define LH_FORMATS_RECIPE_H

#include "base/error.h"
#include "base/text.h"

#include <math.h>
#include <stdbool.h>

typedef enum lh_recipe_type {
    LH_RECIPE_STRING,
    LH_RECIPE_INTEGER, /* 64 bits; k, M, G, Ki, Mi, Gi suffixes */
    LH_RECIPE_REAL,    /* finite */
    LH_RECIPE_BOOLEAN,
    LH_RECIPE_LIST,   /* integers, separated by commas or blanks; may be empty */
    LH_RECIPE_CHOICE, /* one of `choices` */
} lh_recipe_type;

#define LH_RECIPE_NO_MIN (-INFINITY)
#define LH_RECIPE_NO_MAX INFINITY

/* One row of a schema table. The row with a NULL section ends the table. Tables are static data: they must outlive
 * the recipe. */
typedef struct lh_recipe_key {
    const char *section, *key;
    lh_recipe_type type;
    const char *fallback;  /* the default as text, or NULL: the key must be set */
    double min, max;       /* integers, reals and each entry of a list, both ends included; min == max: no bounds */
    const char *choices;   /* "adamw|sgd" */
    const char *condition; /* clauses "section.key=a,b" or "section.key!=a,b" separated by blanks, all of which must
                              hold; NULL: always legal */
    const char *help;      /* one line */
} lh_recipe_key;

/* A named recipe text that `preset = NAME` stands for. It may name another preset as its own base. */
typedef struct lh_recipe_preset {
    const char *name, *text, *help;
} lh_recipe_preset;

typedef struct lh_recipe lh_recipe;

/* tables: NULL-terminated list. presets may be NULL if the count is 0. A schema that contradicts itself is
 * LH_E_INTERNAL. The arrays `tables` and `presets` themselves need not outlive the call. */
lh_status lh_recipe_create(lh_recipe **recipe, const lh_recipe_key *const *tables, const lh_recipe_preset *presets,
                           size_t preset_count, lh_error *error);
void lh_recipe_free(lh_recipe *recipe); /* NULL is fine */

/* Adds a file, a text (`name` stands for the file in messages), or one command-line argument "section.key=value".
 * What is read later wins among files; the last argument wins on the command line. Unknown sections and keys, and a
 * key given twice in one file, fail here; values are checked by lh_recipe_resolve. */
lh_status lh_recipe_read(lh_recipe *recipe, const char *path, lh_error *error);
lh_status lh_recipe_read_text(lh_recipe *recipe, const char *name, const char *text, size_t size, lh_error *error);
lh_status lh_recipe_override(lh_recipe *recipe, const char *argument, lh_error *error);

/* Decides every value: expands the preset, checks conditions, types and ranges. Must be called before the getters,
 * and again after more has been read. A key whose condition does not hold is LH_E_CONFIG, unless the condition was
 * switched off by a stronger source: `memory.kind=none` on the command line silences the file's compressive keys.
 */
lh_status lh_recipe_resolve(lh_recipe *recipe, lh_error *error);

/* Getters take "section.key". A name that is not in the schema, or of another type, is a programming fault: debug
 * builds abort. A key whose condition does not hold gives its first default. Strings and lists live until the next
 * resolve. */
const char *lh_recipe_string(const lh_recipe *recipe, const char *name); /* strings and choices */
int64_t lh_recipe_integer(const lh_recipe *recipe, const char *name);
double lh_recipe_real(const lh_recipe *recipe, const char *name);
bool lh_recipe_boolean(const lh_recipe *recipe, const char *name);
const int64_t *lh_recipe_list(const lh_recipe *recipe, const char *name, size_t *count);

/* The value of a key of any type as text that reads back the same; NULL if the key's condition does not hold, or
 * for a name that is not in the schema. Lives until the next resolve. */
const char *lh_recipe_value(const lh_recipe *recipe, const char *name);

/* Is there such a key, whatever its condition? */
bool lh_recipe_known(const lh_recipe *recipe, const char *name);
/* Does the key's condition hold? False for names that are not in the schema. */
bool lh_recipe_active(const lh_recipe *recipe, const char *name);
/* Has someone set it, other than the default? */
bool lh_recipe_given(const lh_recipe *recipe, const char *name);
/* "default", "preset NAME", "FILE:LINE" or "command line". */
const char *lh_recipe_origin(const lh_recipe *recipe, const char *name);
/* The name of the preset in force, or NULL. */
const char *lh_recipe_preset_name(const lh_recipe *recipe);

/* Fails with LH_E_CONFIG and "<origin>: [section] key = value <what>", for rules that tie several keys together. */
lh_status lh_recipe_reject(const lh_recipe *recipe, const char *name, lh_error *error, const char *what, ...)
    LH_PRINTF(4, 5);

/* The resolved recipe as text: every active key, no preset. Read back, it gives the same values and writes the same
 * text. With origins, each line ends in a comment that says where the value is from. */
void lh_recipe_write(const lh_recipe *recipe, bool with_origins, lh_string *out);

/* The schema for people: each key with its kind, range, default, condition and help. */
typedef enum lh_recipe_layout {
    LH_RECIPE_TEXT,
    LH_RECIPE_MARKDOWN,
} lh_recipe_layout;
void lh_recipe_describe(const lh_recipe *recipe, lh_recipe_layout layout, lh_string *out);
/* The schema's index-th row, in the order of lh_recipe_describe; NULL behind the last. */
const lh_recipe_key *lh_recipe_row(const lh_recipe *recipe, size_t index);
/* The presets: name and help line. */
void lh_recipe_describe_presets(const lh_recipe *recipe, lh_recipe_layout layout, lh_string *out);

#endif
