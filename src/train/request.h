/* From what a user names to a recipe that a run can begin with. */
#ifndef LH_TRAIN_REQUEST_H
#define LH_TRAIN_REQUEST_H

#include "train/keys.h"

/* Reads what `base` names: the path of a recipe file, else a preset. LH_E_ARGUMENT, with the nearest preset, if it
 * is neither. */
lh_status lh_train_request_read(lh_recipe *recipe, const char *base, lh_error *error);

/* A fresh, unresolved recipe over what `base` names. */
lh_status lh_train_request_open(lh_recipe **recipe, const char *base, lh_error *error);

/* Resolves the recipe of a run and makes the paths in it absolute, so that the run goes on from any folder.
 * Standard input is LH_E_CONFIG: it cannot be read again. */
lh_status lh_train_request_settle(lh_recipe *recipe, lh_error *error);

#endif
