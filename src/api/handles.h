/* What is behind the handles of longhand.h, and what its functions share. The public functions only check what they
 * are given and call the storeys below. */
#ifndef LH_API_HANDLES_H
#define LH_API_HANDLES_H

#include "base/error.h"
#include "formats/recipe.h"
#include "infer/describe.h"
#include "infer/generate.h"

#include <stdatomic.h>

/* Handles that others stand on are counted; the last one to leave frees. */
struct longhand_tokenizer {
    atomic_int references;
    lh_tokenizer *tokenizer;
};

struct longhand_model {
    atomic_int references;
    lh_model *model;
    longhand_tokenizer *tokenizer;
    int64_t step;
};

struct longhand_session {
    atomic_int references;
    longhand_model *model;
    lh_session *session;
    const longhand_generator *writer; /* the generator that has it for itself, or NULL */
};

struct longhand_generator {
    longhand_session *session;
    lh_generator *generator;
    lh_string text;
};

struct longhand_recipe {
    lh_recipe *recipe;
};

/* Leaves the function with LH_E_ARGUMENT if the caller left out what must be given. */
#define LH_API_NEED(error, given)                                                                 \
    do {                                                                                          \
        if (!(given)) {                                                                           \
            return lh_fail((error), LH_E_ARGUMENT, "%s was called without %s", __func__, #given); \
        }                                                                                         \
    } while (0)

/* Takes the caller's options, made for this version of the struct or another, into `options` of `known` bytes,
 * which hold the usual ones. `given` may be NULL. LH_E_ARGUMENT if its size makes no sense, LH_E_UNSUPPORTED if it
 * sets fields that are not known here. */
lh_status lh_api_take(void *options, size_t known, const void *given, const char *name, lh_error *error);

/* A list of `count` texts must be there, and none of them NULL: LH_E_ARGUMENT. */
lh_status lh_api_check_texts(const char *const *texts, size_t count, const char *what, lh_error *error);

/* Can results be given into this struct of the caller's? LH_E_ARGUMENT if its size makes no sense. */
lh_status lh_api_check(const void *results, const char *name, lh_error *error);
/* Gives the caller as much of `results` (`known` bytes) as fits into his struct, whose size stays. */
void lh_api_give(void *to, const void *results, size_t known);

/* What a resolved recipe and what was found out about its model amount to. step: -1. */
longhand_model_info lh_api_model_info(const lh_recipe *recipe, int64_t vocabulary,
                                      const lh_model_description *description);

/* Hands a text out to the caller, who releases it with longhand_free. */
lh_status lh_api_text(lh_string *from, char **text, size_t *size, lh_error *error);

#endif
