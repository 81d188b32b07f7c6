/* Configurations of the Routing Transformer: those of the published code and of its released weights, and small
 * ones for a first try. All were trained with memory.routing = full; here clusters are chosen causally unless a
 * recipe says otherwise. Sources: Roy et al. 2021 and the code that goes with it; the released PG-19 weights'
 * hyper-parameters, which differ from the code's in two places. */
#include "memory/routing.h"

/* Post-norm layers, a linear layer behind the embedding, input and output tables of their own. */
#define LAYERS                                                                                               \
    "positions = none\nnorm_layout = output\nnorm_eps = 1e-6\nfinal_norm = false\nprojection_bias = false\n" \
    "init = unit-uniform\ntied = false\n"
#define TEXT "input_projection = linear\nembedding_scaled = false\n"
#define GEGLU "activation = geglu\nhidden_bias = false\n"
#define MEMORY "[memory]\nkind = routing\n"
#define PAIRS_MEMORY "[memory]\nkind = routing-pairs\n"
#define IMAGE_MEMORY "[memory]\nkind = routing-image\n"
#define LOCAL "routing_heads = 0\n"
#define PG19 "vocab = 98302\nwidth = 1032\nheads = 8\nhidden = 4096\nsegment = 8192\ndropout = 0.1\n"
#define WT103                                                                                         \
    "vocab = 267735\nwidth = 1024\nembedding_width = 256\nheads = 16\nhidden = 3072\ndropout = 0.1\n" \
    "attention_dropout = 0.4\nhidden_dropout = 0.4\nembedding_dropout = 0.4\n" GEGLU
#define ENWIK8 "width = 1024\nheads = 8\nhidden = 3072\ndropout = 0.1\n" GEGLU
#define IMAGE "vocab = 256\nhidden = 2048\ndropout = 0.3\n"
#define NO_TABLES "relative = false\ncluster_relative = false\n"

const lh_recipe_preset lh_routing_presets[] = {
    {"routing-pg19",
     "[model]\nlayers = 22\n" PG19 LAYERS TEXT MEMORY
     "routing_heads = 2\nskip_first = 20\nclusters = 16\ncluster_size = 512\n",
     "Routing Transformer, 22 layers, PG-19: the released weights' 490,710,140 parameters (published 33.2 with "
     "routing = full)"},
    {"routing-pg19-code",
     "[model]\nlayers = 22\n" PG19 GEGLU LAYERS TEXT MEMORY
     "routing_heads = 2\nskip_first = 21\nclusters = 16\ncluster_size = 512\n",
     "Routing Transformer, PG-19 as the published code configures it: GEGLU, routing in the last layer only"},
    {"routing-pg19-local", "[model]\nlayers = 24\n" PG19 GEGLU LAYERS TEXT MEMORY LOCAL,
     "the local Transformer of the Routing Transformer's comparison, 24 layers, PG-19 (published 39.3)"},
    {"routing-wt103",
     "[model]\nlayers = 14\nsegment = 4096\ntoken_dropout = 0.25\n" WT103 LAYERS TEXT MEMORY
     "routing_heads = 8\nclusters = 8\ncluster_size = 512\n",
     "Routing Transformer, 14 layers, WikiText-103 in windows of 4096 (published 15.8 with 10 layers, routing = "
     "full)"},
    {"routing-wt103-1k",
     "[model]\nlayers = 20\nsegment = 1024\ntoken_dropout = 0.2\n" WT103 LAYERS TEXT MEMORY
     "routing_heads = 8\nclusters = 2\ncluster_size = 512\n",
     "Routing Transformer, 20 layers, WikiText-103 in windows of 1024"},
    {"routing-wt103-local",
     "[model]\nlayers = 14\nsegment = 4096\ntoken_dropout = 0.25\n" WT103 LAYERS TEXT MEMORY LOCAL,
     "local Transformer, 14 layers, WikiText-103"},
    {"routing-enwik8",
     "[model]\nlayers = 12\nsegment = 8192\n" ENWIK8 LAYERS TEXT MEMORY
     "routing_heads = 4\nclusters = 16\ncluster_size = 512\n",
     "Routing Transformer, 12 layers, enwik8 in windows of 8192 (published 0.99 bpc, routing = full)"},
    {"routing-enwik8-12k",
     "[model]\nlayers = 12\nsegment = 12288\n" ENWIK8 LAYERS TEXT MEMORY
     "routing_heads = 4\nclusters = 48\ncluster_size = 256\nblock = 128\nlook_back = 128\ndistance = 257\n",
     "Routing Transformer, 12 layers, enwik8 in windows of 12288"},
    {"routing-enwik8-local",
     "[model]\nlayers = 22\nsegment = 8192\nattention_dropout = 0.4\nhidden_dropout = 0.4\n" ENWIK8 LAYERS TEXT
         MEMORY LOCAL,
     "local Transformer, 22 layers, enwik8"},
    {"routing-cifar10",
     "[model]\nlayers = 12\nwidth = 1024\nheads = 8\nsegment = 3072\n" IMAGE LAYERS IMAGE_MEMORY
     "routing_heads = 4\nclusters = 6\ncluster_size = 512\nimage_height = 32\nimage_width = 32\n" NO_TABLES,
     "Routing Transformer, 12 layers, CIFAR-10 images (published 2.971 bits/dim with 4 of 8 heads in 8 layers "
     "and routing = full)"},
    {"routing-cifar10-dense",
     "[model]\nlayers = 12\nwidth = 1024\nheads = 8\nsegment = 3072\n" IMAGE LAYERS IMAGE_MEMORY LOCAL
     "block = 3072\nlook_back = 0\nimage_height = 32\nimage_width = 32\n" NO_TABLES,
     "full attention on CIFAR-10 images (published 2.983 bits/dim)"},
    {"routing-imagenet64",
     "[model]\nlayers = 24\nwidth = 1024\nheads = 16\nsegment = 12288\n" IMAGE LAYERS IMAGE_MEMORY
     "routing_heads = 4\nclusters = 8\ncluster_size = 2048\nimage_height = 64\nimage_width = 64\n" NO_TABLES,
     "Routing Transformer, 24 layers, ImageNet at 64 x 64 (published 3.43 bits/dim, routing = full)"},
    {"routing-mnist",
     "[model]\nlayers = 12\nwidth = 512\nheads = 4\nsegment = 784\n" IMAGE LAYERS IMAGE_MEMORY
     "routing_heads = 2\nclusters = 7\ncluster_size = 112\nblock = 56\nlook_back = 56\nimage_height = 28\n"
     "image_width = 28\nimage_channels = 1\n" NO_TABLES,
     "Routing Transformer, 12 layers, MNIST images"},
    {"routing-arxiv-24k",
     "[model]\nlayers = 8\nwidth = 1024\nheads = 8\nhidden = 4096\nsegment = 512\ndropout = 0.1\n" GEGLU LAYERS TEXT
         PAIRS_MEMORY
     "encoder_layers = 4\nsource = 24064\nrouting_heads = 2\nclusters = 47\ncluster_size = 512\ndistance = 257\n",
     "Routing Transformer, encoder of 4 and decoder of 8 layers, arXiv articles of 24064 tokens and their "
     "abstracts"},
    {"routing-pubmed-10k",
     "[model]\nlayers = 10\nwidth = 256\nheads = 8\nhidden = 3072\nsegment = 512\ndropout = 0.1\n" GEGLU LAYERS TEXT
         PAIRS_MEMORY
     "encoder_layers = 4\nsource = 10240\nrouting_heads = 4\nskip_first = 2\nclusters = 40\ncluster_size = 256\n"
     "block = 128\nlook_back = 128\ndistance = 257\n",
     "Routing Transformer, encoder of 4 and decoder of 10 layers, PubMed articles of 10240 tokens and their "
     "abstracts"},
    {"routing-pairs-tiny",
     "[model]\nlayers = 2\nwidth = 256\nheads = 4\nhidden = 1024\nsegment = 128\n" LAYERS TEXT PAIRS_MEMORY
     "encoder_layers = 2\nsource = 1024\nrouting_heads = 2\nskip_first = 1\nclusters = 8\nblock = 64\n"
     "look_back = 64\ndistance = 127\n",
     "Routing Transformer, encoder and decoder of 2 layers, width 256: sources of 1024 tokens on two cores"},
    {"routing-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\nsegment = 2048\n" LAYERS TEXT MEMORY
     "routing_heads = 4\nskip_first = 3\nclusters = 16\ncluster_size = 128\nblock = 128\nlook_back = 128\n"
     "distance = 255\n",
     "Routing Transformer, 6 layers, width 512, routing in the upper three"},
    {"routing-tiny",
     "[model]\nlayers = 4\nwidth = 256\nheads = 4\nhidden = 1024\nsegment = 1024\n" LAYERS TEXT MEMORY
     "routing_heads = 2\nskip_first = 2\nclusters = 8\ncluster_size = 128\nblock = 64\nlook_back = 64\n"
     "distance = 127\n",
     "Routing Transformer, 4 layers, width 256: trains on a book in minutes on two cores"},
    {0},
};
