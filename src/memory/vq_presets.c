/* Published configurations of Transformer-VQ (Lingle 2023, table 10, and the released scripts), and small ones. */
#include "memory/vq.h"

#define ANY                                                                                         \
    "positions = none\nprojection_bias = false\nhidden_bias = false\nnorm = rms\nnorm_eps = 1e-6\n" \
    "embedding_scaled = false\ninit = fan-in-normal\nactivation = relu2\n"
#define GAU ANY "norm_bias = true\nmlp = false\nheads = 1\n"
#define BARE ANY "norm_affine = false\ntied = false\nvocab = 259\nwidth = 768\nkey_width = 128\nsegment = 512\n"
#define TIED "tied = true\nlogit_scale = 0.005\nscale_output_bias = true\n"
#define UNTIED "tied = false\nfinal_norm = false\n"
#define VQ "[memory]\nkind = transformer-vq\ndetach = false\n"

const lh_recipe_preset lh_vq_presets[] = {
    {"transformer-vq-enwik8",
     "[model]\nvocab = 259\nlayers = 48\nwidth = 768\nkey_width = 128\nvalue_width = 1536\nsegment = 512\n" GAU
         UNTIED "attention_output_dropout = 0.5\n" VQ
     "codes = 512\nlength = 512\nsinusoid_dropout = 0.2\nlayer_dropout = 0.3\nembedding_bias = true\n",
     "Transformer-VQ, 48 gated attention units, 187.7 M parameters, enwik8 (published 0.99 bits per byte)"},
    {"transformer-vq-pg19",
     "[model]\nvocab = 32000\nlayers = 48\nwidth = 2048\nkey_width = 128\nvalue_width = 4096\nsegment = 512\n" GAU
         TIED "attention_output_dropout = 0.1\n" VQ
     "codes = 512\nlength = 512\nsinusoid_dropout = 0.1\nlayer_dropout = 0.1\n",
     "Transformer-VQ, 48 gated attention units, 1.31 G parameters, PG-19 (published perplexity 26.6 per word)"},
    {"transformer-vq-imagenet64",
     "[model]\nvocab = 259\nlayers = 48\nwidth = 2048\nkey_width = 128\nvalue_width = 4096\nsegment = 512\n" GAU
         TIED VQ "codes = 512\nlength = 512\nsinusoid_dropout = 0.1\nlayer_dropout = 0.1\n",
     "Transformer-VQ, 48 gated attention units, 1.25 G parameters, ImageNet64 (published 3.16 bits per byte; the "
     "first "
     "release adds memory.absolute_positions, one parameter more)"},
    {"transformer-vq-shga",
     "[model]\nvalue_width = 1536\nmlp = false\nheads = 1\n" BARE "layers = 48\n" VQ "codes = 512\nlength = 512\n",
     "Transformer-VQ of the published throughputs, single-head gated attention (48 units, no MLP)"},
    {"transformer-vq-mha",
     "[model]\nlayers = 24\nheads = 6\nvalue_width = 128\nhidden = 3072\n" BARE VQ
     "codes = 512\nlength = 512\ngated = false\n",
     "Transformer-VQ of the published throughputs, multi-head attention (24 layers)"},
    {"transformer-vq-mqa",
     "[model]\nlayers = 24\nheads = 6\nkv_heads = 1\nvalue_width = 128\nhidden = 3840\n" BARE VQ
     "codes = 512\nlength = 512\ngated = false\n",
     "Transformer-VQ of the published throughputs, multi-query attention (24 layers)"},
    {"transformer-vq-toy",
     "[model]\nvocab = 259\nlayers = 4\nwidth = 768\nkey_width = 128\nvalue_width = 1536\nsegment = 50\nheads = "
     "1\nmlp = false\nnorm_affine = false\n" ANY UNTIED VQ "codes = 50\nlength = 50\n",
     "Transformer-VQ, the released code's smoke test: 4 gated attention units, blocks and codes of 50"},
    {"transformer-vq-small",
     "[model]\nlayers = 12\nwidth = 512\nkey_width = 128\nvalue_width = 1024\nsegment = 256\n" GAU UNTIED VQ
     "codes = 256\nlength = 256\n",
     "Transformer-VQ, 12 gated attention units, width 512, 25 M parameters"},
    {"transformer-vq-tiny",
     "[model]\nlayers = 8\nwidth = 256\nkey_width = 64\nvalue_width = 512\nsegment = 128\n" GAU UNTIED VQ
     "codes = 64\nlength = 128\n",
     "Transformer-VQ, 8 gated attention units, width 256: trains on a book in minutes on two cores"},
    {0},
};
