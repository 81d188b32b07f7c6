/* The folder of a run: its recipe, the description of its model, and a lock. */
#ifndef LH_TRAIN_FOLDER_H
#define LH_TRAIN_FOLDER_H

#include "model/model.h"
#include "text/tokenizer.h"

typedef struct lh_run_folder {
    char *path;
    bool begun;            /* there is a checkpoint: from here on the recipe stays */
    int lock;              /* descriptor of the locked file, 0: none */
    lh_string recipe_text; /* the resolved recipe, as checkpoints carry it */
} lh_run_folder;

/* Makes the folder and writes recipe.ini. Once there is a checkpoint the recipe must be the one it was begun with,
 * apart from keys that may change. Keeps other processes out until it is closed: a second one gets LH_E_CONFIG. */
lh_status lh_run_folder_open(lh_run_folder *folder, const char *path, const lh_recipe *recipe, bool must_exist,
                             lh_error *error);
/* Writes config.json and, before the first checkpoint, the tokenizer's files; later they must be whole and this
 * tokenizer's, else LH_E_FORMAT. */
lh_status lh_run_folder_describe(const lh_run_folder *folder, const lh_model *model, const lh_tokenizer *tokenizer,
                                 lh_error *error);
void lh_run_folder_close(lh_run_folder *folder); /* safe on a zeroed struct */

#endif
