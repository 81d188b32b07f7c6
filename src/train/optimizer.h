/* Optimizers over a list of named parameters: AdamW, Adafactor, SGD with momentum.
 *
 * Parameters belong to groups. Each group has its own factor on the learning rate and its own weight decay, and the
 * gradient's norm is clipped group by group or jointly: the Compressive Transformer's compression networks have a
 * loss of their own, whose size must not change the step of everything else. */
#ifndef LH_TRAIN_OPTIMIZER_H
#define LH_TRAIN_OPTIMIZER_H

#include "autograd/context.h"
#include "autograd/parameters.h"

typedef enum lh_optimizer_kind { LH_OPTIMIZER_ADAMW, LH_OPTIMIZER_ADAFACTOR, LH_OPTIMIZER_SGD } lh_optimizer_kind;

typedef struct lh_optimizer_options {
    lh_optimizer_kind kind;
    double beta1, beta2, epsilon; /* AdamW; Adafactor takes beta1 (0: no first moment) */
    double momentum;              /* SGD */
    bool nesterov;
    /* Adafactor: decay exponent of the second moment, floor of the squared gradient, floor of the parameter's RMS,
     * RMS an update is clipped to, relative steps; matrices are factored if both sides have at least factor_from
     * rows. */
    double decay_rate, epsilon1, epsilon2, clip_update;
    bool scale_by_parameter;
    int64_t factor_from;

    double rate_scale[LH_GROUP_COUNT];   /* times the learning rate */
    double weight_decay[LH_GROUP_COUNT]; /* of parameters whose `decay` is set; times the rate (decoupled) */
    bool decay_apart; /* weight decay is not multiplied by the rate: p -= decay p in every update */
    double clip;      /* greatest norm of the gradient; 0: no clipping */
    bool clip_always; /* a shorter gradient is lengthened to that norm, too */
    bool clip_joint;  /* one norm over all groups, else one for each */
} lh_optimizer_options;

/* AdamW as most papers use it, no decay, no clipping. */
lh_optimizer_options lh_optimizer_defaults(void);

/* One parameter's state. Tensors that the optimizer's kind does not need are NULL. */
typedef struct lh_optimizer_slot {
    lh_parameter *parameter;
    lh_tensor *first, *second; /* first moment or momentum; second moment */
    lh_tensor *row, *column;   /* factored second moment */
    bool awake;                /* has ever had a gradient other than zero */
} lh_optimizer_slot;

typedef struct lh_optimizer {
    lh_optimizer_options options;
    lh_parameters *parameters;
    lh_optimizer_slot *slots; /* one per parameter, in their order */
    int64_t updates;          /* steps taken */
} lh_optimizer;

/* The parameters must outlive the optimizer and must not change in number. Those that want no gradient are left
 * alone. */
lh_status lh_optimizer_create(lh_optimizer **optimizer, lh_parameters *parameters,
                              const lh_optimizer_options *options, lh_error *error);
void lh_optimizer_free(lh_optimizer *optimizer); /* NULL is fine */

/* What a step saw: norms of the gradient before clipping, after `scale`. */
typedef struct lh_gradient_norms {
    double total, group[LH_GROUP_COUNT];
} lh_gradient_norms;

/* One update with gradients times `scale` (1/p after p accumulated segments), which are zeroed afterwards. A
 * gradient with a NaN or an infinity is LH_E_NUMERIC, names the tensor, and changes nothing. A parameter that never
 * had a gradient other than zero, such as a compression network before anything was evicted, is left as it is,
 * weight decay included. No heap allocation after the first call. */
lh_status lh_optimizer_step(lh_optimizer *optimizer, lh_context *context, double rate, double scale,
                            lh_gradient_norms *norms, lh_error *error);

/* The state tensors one after another: index 0, 1, ... until NULL. The name,
 * "<parameter>.<first|second|..>", is written to `name`. */
#define LH_OPTIMIZER_NAME_SIZE 112
lh_tensor *lh_optimizer_state(const lh_optimizer *optimizer, int index, char name[LH_OPTIMIZER_NAME_SIZE]);

#endif
