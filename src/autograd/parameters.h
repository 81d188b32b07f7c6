/* Named trainable tensors: what an optimizer updates and a checkpoint stores. */
#ifndef LH_AUTOGRAD_PARAMETERS_H
#define LH_AUTOGRAD_PARAMETERS_H

#include "base/random.h"
#include "tensor/tensor.h"

typedef enum lh_init_kind {
    LH_INIT_CONSTANT,  /* every element = scale */
    LH_INIT_NORMAL,    /* mean 0, standard deviation = scale */
    LH_INIT_TRUNCATED, /* normal with sigma = scale, redrawn outside 2 sigma (its deviation is then 0.88 scale) */
    LH_INIT_TRUNCATED_EXACT, /* the same with sigma = scale / 0.87962566, so that the deviation is scale */
    LH_INIT_UNIFORM,         /* in [-scale, scale] */
    LH_INIT_SINUSOIDS,       /* of a table [rows, width]: [sin | cos] of row * scale^(-j / (width/2 - 1)) */
    LH_INIT_NORMED_ROWS, /* normal; then each row (last dimension) less its mean, over its deviation, times scale */
} lh_init_kind;

/* Groups let the trainer treat parameters apart: clipping norms, optimizers, freezing. */
typedef enum lh_parameter_group {
    LH_GROUP_MAIN,
    LH_GROUP_COMPRESSOR, /* trained by an auxiliary loss alone */
    LH_GROUP_ADAPTER,
    LH_GROUP_STATISTICS, /* learned without gradients (codebooks, centroids): no optimizer ever touches it */
    LH_GROUP_COUNT
} lh_parameter_group;

typedef struct lh_parameter {
    char name[96];
    lh_tensor *tensor;
    lh_init_kind init;
    double scale;
    bool decay; /* weight decay applies: matrices, not gains, biases or embeddings */
    lh_parameter_group group;
} lh_parameter;

typedef struct lh_parameters {
    const lh_backend *backend;
    lh_dtype dtype;
    lh_parameter *items;
    int count, capacity;
} lh_parameters;

/* Adds a parameter and stores its tensor (owned by the list) in *tensor. The name is printf-formatted by the caller
 * and must be new. */
lh_status lh_parameters_add(lh_parameters *list, lh_tensor **tensor, const char *name, int ndim,
                            const int64_t *shape, lh_init_kind init, double scale, bool decay,
                            lh_parameter_group group, lh_error *error);
void lh_parameters_free(lh_parameters *list);

/* The bound of a uniform draw with variance 0.2 / ((in + out) / 2): unit scaling with gain 0.2. */
double lh_init_unit_uniform(int64_t in, int64_t out);

/* Draws every parameter from its own random stream, so that adding one does not change the others. */
lh_status lh_parameters_initialise(lh_parameters *list, uint64_t seed, lh_error *error);
/* Gives every parameter (of the groups in the bit mask, ~0u for all) a gradient; others stop wanting one. */
lh_status lh_parameters_want_grads(lh_parameters *list, unsigned groups, lh_error *error);
lh_parameter *lh_parameters_find(const lh_parameters *list, const char *name); /* NULL if absent */
int64_t lh_parameters_elements(const lh_parameters *list);

#endif
