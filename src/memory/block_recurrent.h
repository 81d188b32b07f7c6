/* The Block-Recurrent Transformer's configuration, and what its files share. */
#ifndef LH_MEMORY_BLOCK_RECURRENT_H
#define LH_MEMORY_BLOCK_RECURRENT_H

#include "memory/block_recurrent_cell.h"
#include "memory/window.h"

typedef struct lh_recurrence {
    lh_window window; /* of every layer; its length W is that of a block */
    int64_t states;   /* S */
    int64_t clear_every;
    bool feedback, head_scale;
    bool fan_in; /* the model starts with deviations by fan-in */
    bool silent; /* what is read from the state counts for nothing at first */
    lh_cell cell;
    int count;                       /* of states: recurrent layers */
    int home[LH_MEMORY_SCRATCH];     /* the layer that carries each */
    int state[LH_MEMORY_MAX_LAYERS]; /* the state that each layer carries, or -1 */
    int reads[LH_MEMORY_MAX_LAYERS]; /* the state that each layer's tokens read, or -1 */
} lh_recurrence;

/* What the layers of one forward pass share of a state, in lh_memory.scratch. */
enum { CURRENT, NORMED, KEYS, VALUES, SLOTS };

/* Parameters of a layer: of one whose tokens read a state, then of one that carries a state. */
enum {
    QUERY,
    QUERY_SCALE,
    OUTPUT,
    STATE_NORM,
    STATE_IDENTITY,
    STATE_START,
    STATE_QUERY,
    STATE_SCALE,
    TOKEN_QUERY,
    TOKEN_SCALE,
    STATE_KEY_VALUE,
    CELL
};
_Static_assert(CELL + LH_CELL_PARAMETERS <= LH_MEMORY_MAX_PARAMETERS, "room for a layer's parameters");

extern const lh_recipe_key lh_block_recurrent_keys[];
/* Published configurations and baselines; ends with a NULL name. */
extern const lh_recipe_preset lh_block_recurrent_presets[];

/* The hooks of the kind that read and build (memory.h). */
lh_status lh_block_recurrent_configure(const lh_memory_shape *shape, void **options, lh_error *error);
lh_status lh_block_recurrent_parameters(const lh_memory_shape *shape, int layer, lh_parameters *list,
                                        lh_memory_parameters *out, lh_error *error);

#endif
