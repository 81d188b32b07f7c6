/* Configurations of the Block-Recurrent Transformer: those of the paper's tables, the sizes of the released code,
 * the baselines that they are compared with, and small ones for a first try. Windows and numbers of states are
 * varied with memory.window (and model.segment, which is the block) and memory.states. */
#include "memory/block_recurrent.h"

/* Dropout of the published runs: on what is projected, on attention, on the MLP's output and behind the last norm.
 */
#define DROPOUT                                                                                                \
    "attention_input_dropout = 0.05\nattention_dropout = 0.05\nhidden_output_dropout = 0.05\nfinal_dropout = " \
    "0.05\n"
#define D512 "width = 512\nlogit_scale = 0.044194173824159\n"
#define D1024 "width = 1024\nlogit_scale = 0.03125\n"
#define D2048 "width = 2048\nlogit_scale = 0.022097086912080\n"
#define MAIN "layers = 12\n" D1024 "heads = 8\nhidden = 4096\n"
#define HEADS_OF_128 "key_width = 128\nvalue_width = 128\n"
#define STATE "[memory]\nkind = block-recurrent\nstates = 512\nwindow = 512\n"
#define CELL_OF(cell, gate) "[memory]\ncell = " cell "\ngate = " gate "\n"

const lh_recipe_preset lh_block_recurrent_presets[] = {
    {"block-recurrent-fixed-skip", "preset = window-small\n[model]\nsegment = 512\n" MAIN DROPOUT STATE,
     "Block-Recurrent Transformer, 12 layers, 160.5 M parameters without embeddings (published on PG-19: 3.53 bits "
     "per token, 0.952 per byte)"},
    {"block-recurrent-fixed-single", "preset = block-recurrent-fixed-skip\n" CELL_OF("single", "fixed"),
     "with an MLP in place of the cell's projection, 171.0 M (published 3.58, 0.966)"},
    {"block-recurrent-fixed-dual", "preset = block-recurrent-fixed-skip\n" CELL_OF("dual", "fixed"),
     "with two gates, 168.9 M (published 3.52, 0.957)"},
    {"block-recurrent-lstm-skip", "preset = block-recurrent-fixed-skip\n" CELL_OF("skip", "lstm"),
     "with computed gates, 164.7 M (published 3.56, 0.969)"},
    {"block-recurrent-lstm-single", "preset = block-recurrent-fixed-skip\n" CELL_OF("single", "lstm"),
     "with an MLP and computed gates, 179.3 M (published 3.54, 0.962)"},
    {"block-recurrent-lstm-dual", "preset = block-recurrent-fixed-skip\n" CELL_OF("dual", "lstm"),
     "with two pairs of computed gates, 181.4 M (published 3.54, 0.985)"},
    {"block-recurrent-feedback-fixed-skip", "preset = block-recurrent-fixed-skip\n[memory]\nfeedback = true\n",
     "every layer reads the state (published 3.49, 0.935)"},
    {"block-recurrent-feedback-lstm-single", "preset = block-recurrent-lstm-single\n[memory]\nfeedback = true\n",
     "every layer reads the state, MLP and computed gates (published 3.50, 0.977)"},
    {"block-recurrent-37m", "preset = block-recurrent-fixed-skip\n[model]\n" D512 "heads = 8\nhidden = 2048\n",
     "12 layers, width 512"},
    {"block-recurrent-75m",
     "preset = block-recurrent-fixed-skip\n[model]\n" D512 "heads = 8\nhidden = 4096\n" HEADS_OF_128,
     "12 layers, width 512, heads of 128, MLP of 4096"},
    {"block-recurrent-150m", "preset = block-recurrent-fixed-skip\n", "the same as block-recurrent-fixed-skip"},
    {"block-recurrent-300m",
     "preset = block-recurrent-fixed-skip\n[model]\n" D1024 "heads = 16\nhidden = 8192\n" HEADS_OF_128,
     "12 layers, width 1024, 16 heads of 128, MLP of 8192"},
    {"block-recurrent-600m", "preset = block-recurrent-fixed-skip\n[model]\n" D2048 "heads = 16\nhidden = 8192\n",
     "12 layers, width 2048"},
    {"block-recurrent-1200m",
     "preset = block-recurrent-fixed-skip\n[model]\n" D2048 "heads = 32\nhidden = 16384\n" HEADS_OF_128,
     "12 layers, width 2048, 32 heads of 128, MLP of 16384"},
    {"block-recurrent-tall",
     "preset = block-recurrent-fixed-skip\n[model]\nlayers = 24\n[memory]\nrecurrent_layers = 9,19\n",
     "24 layers, the tenth and the twentieth recurrent"},
    {"block-recurrent-tall-650m",
     "preset = block-recurrent-300m\n[model]\nlayers = 24\n[memory]\nrecurrent_layers = 9,19\n",
     "24 layers, 650 M with a vocabulary of 32k (published on PG-19: word perplexity 28.46; the shape is inferred "
     "from "
     "the size)"},
    {"block-recurrent-tall-1.3b",
     "preset = block-recurrent-600m\n[model]\nlayers = 24\n[memory]\nrecurrent_layers = 9,19\n",
     "24 layers, 1.3 G with a vocabulary of 32k (published on PG-19: word perplexity 26.50; the shape is inferred "
     "from "
     "the size)"},
    {"sliding-window-12", "preset = window-small\n[model]\nsegment = 512\n" MAIN DROPOUT,
     "the window without a state, 12 layers, 151.0 M without embeddings (published 3.60, 0.989)"},
    {"sliding-window-13", "preset = sliding-window-12\n[model]\nlayers = 13\n",
     "13 layers, 163.6 M: the baseline that costs as much as a recurrent layer (published 3.58, 0.989)"},
    {"block-recurrent-small", "preset = window-small\n" STATE "recurrent_layers = -2\n",
     "Block-Recurrent Transformer, 6 layers, width 512, the fifth recurrent"},
    {"block-recurrent-tiny",
     "[model]\nlayers = 4\nwidth = 256\nheads = 4\nhidden = 1024\nsegment = 128\nlogit_scale = 0.0625\n"
     "norm = rms\nnorm_eps = 1e-6\npositions = t5\nt5_scaled = true\nqk_norm = l2\nhead_scale = true\n"
     "null_logit = true\nsee_self = false\nprojection_bias = false\nhidden_bias = false\noutput_bias = false\n"
     "embedding_scaled = false\ninit = fan-in\n"
     "[memory]\nkind = block-recurrent\nstates = 128\nwindow = 128\nrecurrent_layers = -2\n",
     "Block-Recurrent Transformer, 4 layers, width 256: trains on a book in minutes on two cores"},
    {0},
};
