/* Models from disk: the weights of a model or run directory, ready to read with. */
#ifndef LH_INFER_LOAD_H
#define LH_INFER_LOAD_H

#include "model/model.h"
#include "text/tokenizer.h"

/* What to take, beside the path. */
typedef struct lh_load_options {
    const char *which; /* "model", "best", "latest" or a step; NULL: model, else best, else latest */
    const char *const
        *overrides; /* "section.key=value" of what may differ from training; see lh_load_override_names */
    size_t override_count;
    lh_dtype dtype; /* the arithmetic; LH_F32 unless a test wants more */
} lh_load_options;

/* What a trained model may be evaluated with, other than what it was trained with: sizes of its memories and of its
 * segment, visibility, distances. None of them changes a parameter (Dai et al. 2019, section 4; Rae et al. 2020,
 * tables 8 and 9). NULL-terminated. */
const char *const *lh_load_override_names(void);

/* Opens a model from a model directory, a run directory, or a file of weights in one of them. With `tokenizer`, its
 * tokenizer, too (LH_E_CONFIG if it has more tokens than the model). Either both are there or neither. Release with
 * lh_model_free and lh_tokenizer_free. `step` (may be NULL) receives the checkpoint's step, -1 for weights that are
 * none. */
lh_status lh_load_model(lh_model **model, lh_tokenizer **tokenizer, int64_t *step, const char *path,
                        const lh_load_options *options, lh_error *error);

#endif
