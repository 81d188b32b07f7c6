/* The recipe of each method, from the weakest part to the strongest: what its memory says of [memory] at equal
 * size; the shared sections; what its memory says of the other sections, which makes the method what it is and is
 * computed from the shared sizes; what the comparison says of this method alone; the budget. */
#ifndef LH_COMPARE_METHODS_H
#define LH_COMPARE_METHODS_H

#include "compare/settings.h"

/* Replaces the braces of a kind's `compare` text by sizes of the resolved recipe; `memory` is what {memory} stands
 * for. A brace that names no size is LH_E_INTERNAL. */
lh_status lh_compare_expand(const char *text, const lh_recipe *sizes, int64_t memory, lh_string *out,
                            lh_error *error);

/* The resolved training recipe of a method under the comparison's budget, which for LH_BUDGET_FLOPS the caller has
 * turned into `tokens`. `overrides`: NULL-terminated, stronger than everything else; may be NULL. */
lh_status lh_compare_recipe(lh_recipe **recipe, const lh_compare_settings *settings,
                            const lh_compare_sources *sources, const lh_memory_kind *kind, int64_t tokens,
                            const char *const *overrides, lh_error *error);

/* Adds the paths in the recipe as absolute ones, so that a comparison goes on from any folder. LH_E_CONFIG if the
 * data cannot be read a second time. */
lh_status lh_compare_fix_paths(lh_compare_sources *sources, lh_error *error);

/* A shared key that no method has a use for, or that every method sets itself, is an error, as keys without use are
 * in a recipe for one method. recipes[i] is of settings->methods[i]. */
lh_status lh_compare_check_used(const lh_compare_sources *sources, lh_recipe *const *recipes, int count,
                                lh_error *error);

#endif
