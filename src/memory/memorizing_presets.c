/* Published configurations of the Memorizing Transformer (Wu et al. 2022), and smaller ones. */
#include "memory/memorizing.h"
#include "memory/window.h"

#define BLOCK                                                                                   \
    LH_WINDOW_BLOCK "vocab = 32128\nattention_input_dropout = 0.05\nattention_dropout = 0.05\n" \
                    "attention_output_dropout = 0\nhidden_output_dropout = 0.05\nfinal_dropout = 0.05\n"
#define SIZE(layers, width, heads, key_width, hidden, scale)                                         \
    "[model]\nlayers = " #layers "\nwidth = " #width "\nheads = " #heads "\nkey_width = " #key_width \
    "\nvalue_width = " #key_width "\nhidden = " #hidden "\nlogit_scale = " #scale "\n"
#define STORE(window, size, k) \
    "[memory]\nkind = memorizing\nwindow = " #window "\nsize = " #size "\nneighbours = " #k "\n"
#define MELIAD "segment = 512\n" BLOCK STORE(512, 8192, 128)

const lh_recipe_preset lh_memorizing_presets[] = {
    {"memorizing-200m", SIZE(12, 1024, 8, 128, 4096, 0.03125) "segment = 512\n" BLOCK STORE(512, 8192, 32),
     "Memorizing Transformer, 151 M parameters without embeddings, context 512, memory of 8192 (published PG-19 "
     "11.93, "
     "arXiv 2.37)"},
    {"memorizing-200m-1536",
     SIZE(12, 1024, 8, 128, 4096, 0.03125) "segment = 512\n" BLOCK STORE(512, 1536, 32) "cache = false\n",
     "the same without a cache, memory of 1536 (published PG-19 12.50; 12.29 with memory.size=8192)"},
    {"memorizing-200m-65k", SIZE(12, 1024, 8, 128, 4096, 0.03125) "segment = 512\n" BLOCK STORE(512, 65536, 32),
     "the same with cache, memory of 65536 (published PG-19 11.62, arXiv 2.31)"},
    {"memorizing-200m-2048", SIZE(12, 1024, 8, 128, 4096, 0.03125) "segment = 2048\n" BLOCK STORE(2048, 8192, 32),
     "the same with context 2048, memory of 8192 (published PG-19 11.84; 11.37 with memory.size=65536)"},
    {"memorizing-1b",
     SIZE(8, 2048, 32, 128, 16384, 0.02209708691) "segment = 2048\n" BLOCK STORE(2048, 8192, 32) "cache = false\n",
     "Memorizing Transformer, 8 layers, 0.81 G parameters without embeddings (the scaling runs' 1B)"},
    {"memorizing-8b",
     SIZE(16, 4096, 64, 128, 32768, 0.015625) "segment = 2048\n" BLOCK STORE(2048, 8192, 32) "cache = false\n",
     "Memorizing Transformer, 16 layers, 6.4 G parameters without embeddings (the scaling runs' 8B)"},
    {"memorizing-37m", SIZE(12, 512, 8, 64, 2048, 0.04419417382) MELIAD "layers = 8\n",
     "Memorizing Transformer, the released code's 37M size, 128 neighbours"},
    {"memorizing-75m", SIZE(12, 512, 8, 128, 4096, 0.04419417382) MELIAD "layers = 8\n",
     "Memorizing Transformer, the released code's 75M size"},
    {"memorizing-150m", SIZE(12, 1024, 8, 128, 4096, 0.03125) MELIAD "layers = 8\n",
     "Memorizing Transformer, the released code's 150M size"},
    {"memorizing-300m", SIZE(12, 1024, 16, 128, 8192, 0.03125) MELIAD "layers = 8\n",
     "Memorizing Transformer, the released code's 300M size"},
    {"memorizing-600m", SIZE(12, 2048, 16, 128, 8192, 0.02209708691) MELIAD "layers = 8\n",
     "Memorizing Transformer, the released code's 600M size"},
    {"memorizing-1200m", SIZE(12, 2048, 32, 128, 16384, 0.02209708691) MELIAD "layers = 8\n",
     "Memorizing Transformer, the released code's 1200M size"},
    {"memorizing-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 512\nlogit_scale = "
     "0.04419417382\n" LH_WINDOW_BLOCK STORE(512, 8192, 32),
     "Memorizing Transformer, 6 layers, width 512, memory of 8192 in layer 4"},
    {"memorizing-tiny",
     "[model]\nlayers = 4\nwidth = 256\nheads = 4\nhidden = 1024\nsegment = 128\nlogit_scale = "
     "0.0625\n" LH_WINDOW_BLOCK STORE(128, 4096, 32),
     "Memorizing Transformer, 4 layers, width 256: trains on a book in minutes on two cores"},
    {0},
};
