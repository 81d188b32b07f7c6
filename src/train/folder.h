/* The folder of a run: its recipe, the description of its model, and a lock. */
#ifndef LH_TRAIN_FOLDER_H
#define LH_TRAIN_FOLDER_H

#include "model/model.h"
#include "text/tokenizer.h"

typedef struct lh_run_folder {
    char *path;
    int lock;              /* descriptor of the locked file, 0: none */
    lh_string recipe_text; /* the resolved recipe, as checkpoints carry it */
} lh_run_folder;

/* Makes the folder and writes recipe.ini, or checks that the recipe there is the same and takes over the values
 * that may change. Keeps other processes out until it is closed: a second one gets LH_E_CONFIG. */
lh_status lh_run_folder_open(lh_run_folder *folder, const char *path, const lh_recipe *recipe, bool must_exist,
                             lh_error *error);
/* Writes config.json, and the tokenizer's files if they are not there; else LH_E_FORMAT if they are damaged or
 * another tokenizer's. */
lh_status lh_run_folder_describe(const lh_run_folder *folder, const lh_model *model, const lh_tokenizer *tokenizer,
                                 lh_error *error);
void lh_run_folder_close(lh_run_folder *folder); /* safe on a zeroed struct */

#endif
