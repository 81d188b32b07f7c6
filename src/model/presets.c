/* Published configurations of the methods, and small ones for a first try. Where a paper leaves a size open the
 * value is ours and the help line says so. Sources: Dai et al. 2019 (Transformer-XL, released scripts), Rae et al.
 * 2020. */
#include "model/config.h"

#define XL_BLOCK \
    "positions = relative\ninit = transformer-xl\nnorm_layout = output\nfinal_norm = false\nnorm_eps = 1e-5\n"
#define XL_SHARED "share_position_biases = true\nscale_logits = true\nprojection_bias = false\n"
#define COMPRESSIVE_BLOCK "positions = relative\ninit = sonnet\nnorm_layout = input\n"

static const lh_recipe_preset own[] = {
    {"transformer-xl-enwik8-12", /* 41 M */
     "[model]\nlayers = 12\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 512\ndropout = 0.1\nhidden_dropout = "
     "0.1\n"
     "embedding_dropout = 0.1\n" XL_BLOCK XL_SHARED "[memory]\nkind = transformer-xl\nlength = 512\n",
     "Transformer-XL, 12 layers, 41 M parameters, enwik8 and text8 (published 1.06 bpc)"},
    {"transformer-xl-enwik8-24",
     "[model]\nlayers = 24\nwidth = 1024\nheads = 8\nhidden = 3072\nsegment = 768\ndropout = 0.15\n"
     "hidden_dropout = 0.15\nembedding_dropout = 0.15\nattention_dropout = 0.15\n" XL_BLOCK XL_SHARED
     "[memory]\nkind = transformer-xl\nlength = 768\n",
     "Transformer-XL, 24 layers, 277 M parameters, enwik8 (published 0.99 bpc)"},
    {"transformer-xl-wt103-base",
     "[model]\nvocab = 267735\nlayers = 16\nwidth = 410\nheads = 10\nhidden = 2100\nsegment = 150\ndropout = 0.1\n"
     "hidden_dropout = 0.1\nembedding_dropout = 0.1\ncutoffs = 20000,40000,200000\n" XL_BLOCK XL_SHARED
     "[memory]\nkind = transformer-xl\nlength = 150\n",
     "Transformer-XL, 16 layers, WikiText-103 (published 24.03)"},
    {"transformer-xl-wt103-large",
     "[model]\nvocab = 267735\nlayers = 18\nwidth = 1024\nheads = 16\nhidden = 4096\nsegment = 384\ndropout = 0.2\n"
     "hidden_dropout = 0.2\nembedding_dropout = 0.2\nattention_dropout = 0.2\ncutoffs = 20000,40000,200000\n"
     "band_divisor = 4\n" XL_BLOCK XL_SHARED "[memory]\nkind = transformer-xl\nlength = 384\n",
     "Transformer-XL, 18 layers, WikiText-103 (published 18.3)"},
    {"transformer-xl-pg19",
     "[model]\nlayers = 36\nwidth = 1024\nheads = 16\nhidden = 4096\nsegment = 512\ndropout = 0.1\n"
     "hidden_dropout = 0.1\nembedding_dropout = 0.1\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = transformer-xl\nlength = 512\n",
     "Transformer-XL, 36 layers, PG-19 (published 36.3; the width is ours, the paper gives none)"},
    {"compressive-enwik8",
     "[model]\nlayers = 24\nwidth = 1024\nheads = 8\nhidden = 3072\nsegment = 768\ndropout = 0.15\n"
     "hidden_dropout = 0.15\nembedding_dropout = 0.15\nattention_dropout = 0.15\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 768\ncompressed = 1152\nrate = 3\n",
     "Compressive Transformer, 24 layers, enwik8 (published 0.97 bpc; evaluate with memory.compressed=3072)"},
    {"compressive-wt103",
     "[model]\nvocab = 267735\nlayers = 18\nwidth = 1024\nheads = 16\nhidden = 4096\nsegment = 512\ndropout = 0.2\n"
     "hidden_dropout = 0.2\nembedding_dropout = 0.2\nattention_dropout = 0.2\ncutoffs = 20000,40000,200000\n"
     "band_divisor = 4\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 512\ncompressed = 512\nrate = 4\n",
     "Compressive Transformer, 18 layers, WikiText-103 (published 17.1; evaluate with length 500, compressed "
     "1500)"},
    {"compressive-pg19",
     "[model]\nlayers = 36\nwidth = 1024\nheads = 16\nhidden = 4096\nsegment = 512\ndropout = 0.1\n"
     "hidden_dropout = 0.1\nembedding_dropout = 0.1\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 512\ncompressed = 512\nrate = 2\n",
     "Compressive Transformer, 36 layers, PG-19 (published 33.6; the width is ours, the paper gives none)"},
    {"compressive-speech",
     "[model]\nvocab = 256\nlayers = 20\nwidth = 384\nheads = 8\nhidden = 1536\nsegment = 768\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 768\ncompressed = 768\nrate = 4\n",
     "Compressive Transformer, 20 layers, 8-bit speech samples (about 40 M parameters; the width is ours)"},
    {"compressive-rl",
     "[model]\nvocab = 9\nlayers = 8\nwidth = 256\nheads = 8\nhidden = 1024\nsegment = 1\ninput_projection = "
     "relu\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 64\ncompressed = 64\nrate = 4\nstepping = official\n",
     "Compressive Transformer core of the reinforcement-learning agent, one step at a time (layers and width are "
     "ours)"},
    {"vanilla-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 512\nactivation = gelu\n"
     "positions = rotary\n[memory]\nkind = none\n",
     "plain decoder, 6 layers, 19 M parameters: the baseline of the benchmarks"},
    {"transformer-xl-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 512\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = transformer-xl\nlength = 512\n",
     "Transformer-XL, 6 layers, width 512"},
    {"compressive-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 512\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 512\ncompressed = 512\nrate = 4\n",
     "Compressive Transformer, 6 layers, width 512"},
    {"compressive-tiny",
     "[model]\nlayers = 4\nwidth = 256\nheads = 4\nhidden = 1024\nsegment = 128\n" COMPRESSIVE_BLOCK
     "[memory]\nkind = compressive\nlength = 128\ncompressed = 128\nrate = 4\n",
     "Compressive Transformer, 4 layers, width 256: trains on a book in minutes on two cores"},
};

/* The stack's own and those that the memory kinds bring, made once from the registry. */
#define MAX_PRESETS 256
static lh_recipe_preset presets[MAX_PRESETS];
static size_t preset_count;

__attribute__((constructor)) static void collect_presets(void)
{
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        presets[preset_count++] = own[i];
    }
    for (int i = 0; lh_memory_kinds[i]; i++) {
        const lh_recipe_preset *list = lh_memory_kinds[i]->presets;
        for (; list && list->name && preset_count < MAX_PRESETS; list++) {
            presets[preset_count++] = *list;
        }
    }
}

const lh_recipe_preset *lh_model_presets(size_t *count)
{
    *count = preset_count;
    return presets;
}
