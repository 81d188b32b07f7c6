/* The section [compare] of a recipe, read and checked: which methods, how often, under which budget, and what is
 * measured of them. */
#ifndef LH_COMPARE_SETTINGS_H
#define LH_COMPARE_SETTINGS_H

#include "compare/sources.h"
#include "formats/recipe.h"
#include "memory/memory.h"

/* What every method may spend on its training. */
typedef enum lh_budget_kind { LH_BUDGET_SECONDS, LH_BUDGET_TOKENS, LH_BUDGET_FLOPS } lh_budget_kind;
typedef struct lh_budget {
    lh_budget_kind kind;
    double amount;
} lh_budget;

/* "time=2m" (s, m, h), "tokens=10M" or "flops=1e15". */
lh_status lh_budget_parse(lh_budget *budget, const char *text, lh_error *error);
void lh_budget_describe(const lh_budget *budget, char *text, size_t size); /* "2m00s of training" */

#define LH_COMPARE_MAX_METHODS 32
#define LH_COMPARE_MAX_LENGTHS 32

typedef struct lh_compare_settings {
    lh_recipe *recipe; /* [compare], resolved; owned */
    const lh_memory_kind *methods[LH_COMPARE_MAX_METHODS];
    int method_count;
    int64_t seeds;
    lh_budget budget;
    int64_t memory;         /* 0: as long as a segment */
    const char *path;       /* other text to evaluate on, or "" */
    const char *split;      /* or NULL: the usual one */
    const char *protocol;   /* "book" or "stream" */
    int64_t eval_tokens;    /* 0: all */
    const int64_t *lengths; /* ascending */
    size_t length_count;
    double length_seconds;
} lh_compare_settings;

/* LH_E_CONFIG names what is wrong and where. Release in every case. */
lh_status lh_compare_settings_read(lh_compare_settings *settings, const lh_compare_sources *sources,
                                   lh_error *error);
void lh_compare_settings_free(lh_compare_settings *settings);

/* The keys of [compare], for lists of keys. */
extern const lh_recipe_key lh_compare_keys[];

/* A method's name in a comparison: the memory's, and "vanilla" for the decoder without one. */
const char *lh_compare_method_name(const lh_memory_kind *kind);
/* The method of a name, or NULL; memories that say nothing of comparisons are none. */
const lh_memory_kind *lh_compare_method_find(const char *name);

#endif
