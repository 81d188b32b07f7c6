#include "memory/block_recurrent_cell.h"

#include <math.h>
#include <stdio.h>

/* Places of a gate's parameters: the fixed gate has a bias only, full has no second pair. */
enum { GATE_BIAS, GATE_WEIGHT, INPUT_BIAS, INPUT_WEIGHT, GATE_PLACES };
enum { OUTPUT, OUTPUT_BIAS, UP, DOWN, DOWN_BIAS, NORM, GATE, GATE_2 = GATE + GATE_PLACES };
_Static_assert(GATE_2 + GATE_PLACES == LH_CELL_PARAMETERS, "room for a cell's parameters");

/* Small random biases and weights, tuned to an optimizer whose steps are relative to a parameter's size: a start of
 * exact zeros would move too slowly, and larger weights would take the gates away from their biases. */
#define GATE_DEVIATION 0.1
#define GATE_VARIANCE 0.1

/* ---- parameters ---- */

typedef struct adder {
    const lh_cell *cell;
    const char *prefix;
    lh_parameters *list;
    lh_status status;
    lh_error *error;
} adder;

static void add(adder *a, lh_tensor **tensor, const char *suffix, int ndim, const int64_t *shape, lh_init_kind init,
                double scale)
{
    char name[96];
    if (a->status == LH_OK) {
        (void)snprintf(name, sizeof name, "%s.%s", a->prefix, suffix);
        a->status =
            lh_parameters_add(a->list, tensor, name, ndim, shape, init, scale, ndim == 2, LH_GROUP_MAIN, a->error);
    }
}

/* [out, in], truncated normal with a variance of `gain` / in. */
static void add_matrix(adder *a, lh_tensor **tensor, const char *suffix, int64_t out, int64_t in, double gain)
{
    add(a, tensor, suffix, 2, (int64_t[]){out, in}, LH_INIT_TRUNCATED_EXACT, sqrt(gain / (double)in));
}

static void add_gate(adder *a, lh_tensor **places, const char *name, int64_t in)
{
    char suffix[48];
    int64_t d = a->cell->width;
    lh_cell_gate gate = a->cell->gate;
    (void)snprintf(suffix, sizeof suffix, "%s.bias", name);
    add(a, &places[GATE_BIAS], suffix, 1, &d, LH_INIT_NORMAL, GATE_DEVIATION);
    if (gate == LH_GATE_FIXED) {
        return;
    }
    (void)snprintf(suffix, sizeof suffix, "%s.weight", name);
    add_matrix(a, &places[GATE_WEIGHT], suffix, d, in, GATE_VARIANCE);
    if (gate == LH_GATE_LSTM) {
        (void)snprintf(suffix, sizeof suffix, "%s.input.bias", name);
        add(a, &places[INPUT_BIAS], suffix, 1, &d, LH_INIT_NORMAL, GATE_DEVIATION);
        (void)snprintf(suffix, sizeof suffix, "%s.input.weight", name);
        add_matrix(a, &places[INPUT_WEIGHT], suffix, d, in, GATE_VARIANCE);
    }
}

static void add_bias(adder *a, lh_tensor **tensor, const char *suffix)
{
    if (a->cell->bias) {
        add(a, tensor, suffix, 1, &a->cell->width, LH_INIT_CONSTANT, 0.0);
    }
}

lh_status lh_cell_parameters(const lh_cell *cell, const char *prefix, lh_parameters *list, lh_tensor **tensors,
                             lh_error *error)
{
    adder a = {.cell = cell, .prefix = prefix, .list = list, .status = LH_OK, .error = error};
    bool mlp = cell->form != LH_CELL_SKIP;
    if (cell->form != LH_CELL_SINGLE) {
        add_matrix(&a, &tensors[OUTPUT], "output.weight", cell->width, cell->read, 1.0);
        add_bias(&a, &tensors[OUTPUT_BIAS], "output.bias");
        add_gate(&a, &tensors[GATE], "gate", cell->read);
    }
    if (mlp) {
        int64_t in = cell->form == LH_CELL_DUAL ? cell->width : cell->read;
        if (cell->form == LH_CELL_DUAL) {
            add(&a, &tensors[NORM], "hidden_norm.weight", 1, &cell->width, LH_INIT_CONSTANT, 1.0);
        }
        add_matrix(&a, &tensors[UP], "hidden.up.weight", cell->hidden, in, 1.0);
        add_matrix(&a, &tensors[DOWN], "hidden.down.weight", cell->width, cell->hidden, 1.0);
        add_bias(&a, &tensors[DOWN_BIAS], "hidden.down.bias");
        add_gate(&a, &tensors[GATE_2], "hidden_gate", cell->hidden);
    }
    return a.status;
}

/* ---- the step ---- */

/* x + shift. */
static lh_tensor *shifted(lh_context *context, lh_tensor *x, double shift)
{
    int64_t one = 1;
    float narrow = (float)shift;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    const void *value = x->dtype == LH_F64 ? (const void *)&shift : &narrow;
    return lh_add(context, x, lh_from_host(context, x->dtype, 1, &one, value));
}

/* The two factors of a gate: what is kept of the state and what is taken of z. */
static void factors(lh_context *context, const lh_cell *cell, lh_tensor *const *places, lh_tensor *h,
                    lh_tensor **keep, lh_tensor **take)
{
    lh_tensor *x = places[GATE_BIAS];
    if (cell->gate != LH_GATE_FIXED) {
        x = lh_linear(context, h, places[GATE_WEIGHT], shifted(context, x, 1.0));
    }
    *keep = lh_unary(context, LH_SIGMOID, x);
    if (cell->gate == LH_GATE_LSTM) {
        x = lh_linear(context, h, places[INPUT_WEIGHT], shifted(context, places[INPUT_BIAS], -1.0));
        *take = lh_unary(context, LH_SIGMOID, x);
    } else {
        *take = shifted(context, lh_scale(context, *keep, -1.0), 1.0);
    }
}

/* c keep + z take. Not z + keep (c - z): a gate that is fully open keeps the state bit for bit. */
static lh_tensor *gated(lh_context *context, const lh_cell *cell, lh_tensor *const *places, lh_tensor *c,
                        lh_tensor *z, lh_tensor *h, lh_tensor **keep)
{
    lh_tensor *take = NULL;
    factors(context, cell, places, h, keep, &take);
    z = cell->tanh ? lh_unary(context, LH_TANH, z) : z;
    return lh_add(context, lh_multiply(context, c, *keep), lh_multiply(context, z, take));
}

lh_tensor *lh_cell_step(lh_context *context, const lh_cell *cell, lh_tensor *const *tensors, lh_tensor *c,
                        lh_tensor *a, lh_tensor *kept[2])
{
    int gates = 0;
    kept[0] = kept[1] = NULL;
    if (lh_op_stopped(context)) {
        return NULL;
    }
    lh_tensor *in = a;
    if (cell->form != LH_CELL_SINGLE) {
        lh_tensor *z = lh_linear(context, a, tensors[OUTPUT], tensors[OUTPUT_BIAS]);
        c = gated(context, cell, &tensors[GATE], c, z, a, &kept[gates++]);
    }
    if (cell->form == LH_CELL_DUAL) {
        in = lh_rms_norm(context, c, tensors[NORM], cell->norm_eps);
    }
    if (cell->form != LH_CELL_SKIP) {
        lh_tensor *h = lh_unary(context, LH_RELU, lh_linear(context, in, tensors[UP], NULL));
        lh_tensor *z = lh_linear(context, h, tensors[DOWN], tensors[DOWN_BIAS]);
        c = gated(context, cell, &tensors[GATE_2], c, z, h, &kept[gates]);
    }
    return c;
}
