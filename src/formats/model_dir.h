/* Model directories and run directories: which file is where. docs/model-directory.md is the user's view.
 *
 * A model directory holds config.json, weights in model.safetensors (or several files listed by
 * model.safetensors.index.json) and usually tokenizer.json: the form of the Hugging Face hub. A run directory is
 * what training writes: the same config.json and tokenizer.json, the resolved recipe, and checkpoints in place of
 * the weights. Whatever loads a model takes either. */
#ifndef LH_FORMATS_MODEL_DIR_H
#define LH_FORMATS_MODEL_DIR_H

#include "base/error.h"

#include <stdbool.h>

#define LH_FILE_CONFIG "config.json"
#define LH_FILE_WEIGHTS "model.safetensors"
#define LH_FILE_WEIGHTS_INDEX "model.safetensors.index.json"
#define LH_FILE_TOKENIZER "tokenizer.json"
#define LH_FILE_GENERATION "generation_config.json"
#define LH_FILE_RECIPE "recipe.ini"
#define LH_FILE_METRICS "metrics.jsonl"
#define LH_FILE_LOG "train.log"
/* Saved sessions (checkpoint format) may have any name; this ending tells people what they are. */
#define LH_FILE_SESSION_ENDING ".session.safetensors"

typedef struct lh_model_dir {
    char *directory;
    char *config;    /* path of config.json */
    char *tokenizer; /* path of tokenizer.json, or NULL if there is none */
    char *recipe;    /* path of recipe.ini, or NULL: then it is no run directory */
    char **weights;  /* paths, NULL-terminated; safetensors or a checkpoint */
    size_t weight_count;
    int64_t step; /* of the checkpoint that weights[0] is; -1: weights of a model */
} lh_model_dir;

/* Finds the files. `path` is a directory, or a checkpoint or model.safetensors inside one. `which` picks among what
 * a run directory has: "model", "best", "latest" or a step number; NULL takes model.safetensors if it is there,
 * else the best checkpoint, else the latest. Opens and checks no weights. LH_E_IO names what is missing; on failure
 * *files is empty. */
lh_status lh_model_dir_open(lh_model_dir *files, const char *path, const char *which, lh_error *error);
void lh_model_dir_close(lh_model_dir *files); /* safe on a zeroed struct */

/* The tokenizer's path; LH_E_IO with a sentence of what it is for if there is none. */
lh_status lh_model_dir_tokenizer(const lh_model_dir *files, const char **path, lh_error *error);

/* Paths of the distinct files that a weights index names, in byte order; release with lh_name_list_free. A file
 * name that leads out of the directory is LH_E_FORMAT. */
lh_status lh_model_dir_read_index(const char *directory, const char *index_path, char ***weights, size_t *count,
                                  lh_error *error);

#endif
