/* The cell of the Block-Recurrent Transformer: what becomes of the state when a block has been read (Hutchins et
 * al. 2022, section 3.1 and figure 2).
 *
 * With c the state before, a = [self-attention | attention to the tokens] and g a gate:
 *   skip     z = a Wo;  c' = g(c, z)
 *   single   z = tanh(relu(a W1) W2);  c' = g(c, z)
 *   dual     z1 = a Wo;  c1 = g1(c, z1);  z2 = relu(norm(c1) W1) W2;  c' = g2(c1, z2)
 * and, with h the input of the last linear map before z,
 *   fixed    s = sigmoid(b);  c s + z (1 - s)
 *   lstm     c sigmoid(h Wf + bf + 1) + z sigmoid(h Wi + bi - 1)
 *   full     s = sigmoid(h Wg + bg + 1);  c s + z (1 - s)
 * The gate is on the state as it is, not on its norm, and takes the place of a residual connection. */
#ifndef LH_MEMORY_BLOCK_RECURRENT_CELL_H
#define LH_MEMORY_BLOCK_RECURRENT_CELL_H

#include "autograd/parameters.h"
#include "ops/ops.h"

typedef enum lh_cell_form { LH_CELL_SKIP, LH_CELL_SINGLE, LH_CELL_DUAL } lh_cell_form;
typedef enum lh_cell_gate { LH_GATE_FIXED, LH_GATE_LSTM, LH_GATE_FULL } lh_cell_gate;

typedef struct lh_cell {
    lh_cell_form form;
    lh_cell_gate gate;
    bool tanh;       /* z = tanh(..) of every linear map before a gate */
    bool bias;       /* these maps have biases */
    int64_t width;   /* of the state: d */
    int64_t read;    /* of a: twice heads times value width */
    int64_t hidden;  /* of the cell's MLP: f */
    double norm_eps; /* of dual's second norm */
} lh_cell;

#define LH_CELL_PARAMETERS 14 /* room that a cell needs in a list of tensors */

/* Adds the cell's parameters as <prefix>.output.weight and so on; tensors has LH_CELL_PARAMETERS places. */
lh_status lh_cell_parameters(const lh_cell *cell, const char *prefix, lh_parameters *list, lh_tensor **tensors,
                             lh_error *error);

/* c' [batch, states, width] from c and a [batch, states, read]. kept[0 .. 1] receive the factors that c was
 * multiplied with, one after another, each [batch, states, width] or [width]; NULL where there is no second gate.
 */
lh_tensor *lh_cell_step(lh_context *context, const lh_cell *cell, lh_tensor *const *tensors, lh_tensor *c,
                        lh_tensor *a, lh_tensor *kept[2]);

#endif
