/* What the folder of a comparison remembers of it, in compare.json: what was asked for, and the recipe of every
 * method, so that a second call goes on with the same comparison or says what is different. */
#ifndef LH_COMPARE_STATE_H
#define LH_COMPARE_STATE_H

#include "compare/settings.h"

#include <jansson.h>

#define LH_COMPARE_STATE "compare.json"

/* Makes a file's path of a folder, or fails with LH_E_MEMORY. */
lh_status lh_compare_path(char **path, const char *directory, const char *name, lh_error *error);

bool lh_compare_begun(const char *directory);
/* What was asked for. LH_E_IO if the folder holds no comparison. */
lh_status lh_compare_sources_load(lh_compare_sources *sources, const char *directory, lh_error *error);

/* Compares with what is there, if anything, and writes the new state. Methods and seeds may have been added; any
 * other difference is LH_E_CONFIG with the key and both values. recipes[i] is of settings->methods[i]; `identity`
 * is that of the data. */
lh_status lh_compare_state_update(const char *directory, const lh_compare_sources *sources,
                                  const lh_compare_settings *settings, lh_recipe *const *recipes,
                                  const char *identity, lh_error *error);

#endif
