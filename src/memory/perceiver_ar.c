/* Perceiver AR (Hawthorne et al. 2022): what it is configured by, its parameters and its arithmetic. perceiver.h
 * says what it is; perceiver_cross.c holds its mathematics. */
#include "memory/perceiver.h"

#include "memory/kinds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ONLY "memory.kind=perceiver-ar"

static const lh_recipe_key keys[] = {
    {"memory", "inputs", LH_RECIPE_INTEGER, "2048", 1, 1 << 24, NULL, ONLY,
     "M: tokens that the cross-attention sees, the last model.segment of which are the latents"},
    {"memory", "cross_heads", LH_RECIPE_INTEGER, "0", 0, 1024, NULL, ONLY,
     "heads of the cross-attention, a divisor of model.embedding_width; 0: model.heads"},
    {"memory", "cross_dropout", LH_RECIPE_REAL, "0", 0, 1, NULL, ONLY,
     "part of the inputs that training hides from the cross-attention, from all heads and latents alike"},
    {"memory", "cross_dropout_rule", LH_RECIPE_CHOICE, "all", 0, 0, "all|own|prefix", ONLY,
     "all: any input may be hidden, and a latent that sees none is left as it was; own: each latent sees its own "
     "token; "
     "prefix: an exact share of the tokens before the latents"},
    {"memory", "position_table", LH_RECIPE_CHOICE, "none", 0, 0, "none|sinusoidal|learned|image", ONLY,
     "added to the embeddings, by place in the document: constant sinusoids, a learned table, or learned tables of "
     "an "
     "image's columns, rows and channels (model.positions speaks of rotary positions, and may be none)"},
    {"memory", "position_rows", LH_RECIPE_INTEGER, "0", 0, 1 << 28, NULL,
     ONLY " memory.position_table=sinusoidal,learned", "rows of that table, one more than places; 0: inputs + 1"},
    {"memory", "image_width", LH_RECIPE_INTEGER, "64", 1, 1 << 16, NULL, ONLY " memory.position_table=image",
     "columns of an image"},
    {"memory", "image_height", LH_RECIPE_INTEGER, "64", 1, 1 << 16, NULL, ONLY " memory.position_table=image",
     "rows of an image"},
    {"memory", "image_channels", LH_RECIPE_INTEGER, "3", 1, 1024, NULL, ONLY " memory.position_table=image",
     "tokens of a pixel"},
    {"memory", "image_order", LH_RECIPE_CHOICE, "pixels", 0, 0, "pixels|channels",
     ONLY " memory.position_table=image",
     "all channels of a pixel one after another, or all pixels of a channel; a start token stands before the "
     "first"},
    {"memory", "cross_after", LH_RECIPE_LIST, "", 0, LH_MEMORY_MAX_LAYERS - 1, NULL, ONLY,
     "layers, counted from 0, behind which another cross-attention reads the same inputs, with weights of its own"},
    {"memory", "queries", LH_RECIPE_CHOICE, "tokens", 0, 0, "tokens|shared|indexed", ONLY,
     "what latents start from: their own tokens, one learned vector, or a learned vector for each place in the "
     "segment"},
    {"memory", "latents_per_token", LH_RECIPE_INTEGER, "1", 1, 64, NULL, ONLY,
     "latents of each predicted token, told apart by learned vectors; their mean leaves the model"},
    {"memory", "query_offset", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, ONLY,
     "queries of the cross-attention stand where the token that they predict will be"},
    {"memory", "train_inputs", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, ONLY,
     "training keeps a random subset of so many inputs of each example, in place of memory.cross_dropout; 0: all"},
    {0},
};

static const char *const adjustable[] = {"memory.inputs", "memory.cross_dropout", NULL};

/* ---- configuration ---- */

static int choice(const char *value, const char *const *names)
{
    int i = 0;
    while (names[i] && strcmp(names[i], value) != 0) {
        i++;
    }
    return i;
}

static void read_sizes(lh_perceiver *p, const lh_memory_shape *shape)
{
    const lh_recipe *r = shape->recipe;
    p->latents = shape->segment;
    p->inputs = lh_recipe_integer(r, "memory.inputs");
    p->prefix = p->inputs - p->latents;
    p->width = shape->width;
    p->embedding = lh_recipe_integer(r, "model.embedding_width");
    p->embedding = p->embedding ? p->embedding : p->width;
    p->heads = lh_recipe_integer(r, "memory.cross_heads");
    p->heads = p->heads ? p->heads : shape->heads;
    p->hidden = lh_recipe_integer(r, "model.hidden");
    p->hidden = p->hidden ? p->hidden : 4 * p->width;
    p->rows = lh_recipe_integer(r, "memory.position_rows");
    p->offset = lh_recipe_boolean(r, "memory.query_offset");
    p->rows = p->rows ? p->rows : p->inputs + 1 + p->offset;
    p->copies = lh_recipe_integer(r, "memory.latents_per_token");
    p->train_inputs = lh_recipe_integer(r, "memory.train_inputs");
    p->image_width = lh_recipe_integer(r, "memory.image_width");
    p->image_height = lh_recipe_integer(r, "memory.image_height");
    p->image_channels = lh_recipe_integer(r, "memory.image_channels");
}

static double or_dropout(const lh_recipe *r, const char *name)
{
    double rate = lh_recipe_real(r, name);
    return rate < 0 ? lh_recipe_real(r, "model.dropout") : rate;
}

/* The block is made like the model's layers. */
static void read_style(lh_perceiver *p, const lh_memory_shape *shape)
{
    static const char *const rules[] = {"all", "own", "prefix", NULL};
    static const char *const tables[] = {"none", "sinusoidal", "learned", "image", NULL};
    static const char *const queries[] = {"tokens", "shared", "indexed", NULL};
    const lh_recipe *r = shape->recipe;
    (void)lh_activation_find(lh_recipe_string(r, "model.activation"), &p->activation, &p->gated);
    p->rms = strcmp(lh_recipe_string(r, "model.norm"), "rms") == 0;
    p->norm_affine = lh_recipe_boolean(r, "model.norm_affine");
    p->norm_bias = p->norm_affine && lh_recipe_boolean(r, "model.norm_bias");
    p->norm_eps = shape->norm_eps;
    p->attention_bias = lh_recipe_boolean(r, "model.attention_bias");
    p->output_bias = lh_recipe_boolean(r, "model.projection_bias");
    p->hidden_bias = lh_recipe_boolean(r, "model.hidden_bias");
    p->attention_dropout = lh_recipe_real(r, "model.attention_dropout");
    p->output_dropout = or_dropout(r, "model.attention_output_dropout");
    p->hidden_dropout = or_dropout(r, "model.hidden_output_dropout");
    p->drop = lh_recipe_real(r, "memory.cross_dropout");
    p->dropping = (lh_perceiver_dropping)choice(lh_recipe_string(r, "memory.cross_dropout_rule"), rules);
    p->positions = (lh_perceiver_positions)choice(lh_recipe_string(r, "memory.position_table"), tables);
    p->queries = (lh_perceiver_queries)choice(lh_recipe_string(r, "memory.queries"), queries);
    p->planar = strcmp(lh_recipe_string(r, "memory.image_order"), "channels") == 0;
}

/* The cross-attention turns its own heads, as the layers turn theirs. */
static void read_rope(lh_perceiver *p, const lh_recipe *r, int64_t rotated)
{
    p->rotary = strcmp(lh_recipe_string(r, "model.positions"), "rotary") == 0;
    p->rope = (lh_rope_options){.rotated = rotated,
                                .interleaved = lh_recipe_boolean(r, "model.rope_interleaved"),
                                .frequency = p->frequency,
                                .magnitude = 1.0};
    bool closed = strcmp(lh_recipe_string(r, "model.rope_spacing"), "closed") == 0;
    /* A base that is the number of places grows with them. */
    double base = lh_recipe_real(r, "model.rope_base") + (closed ? (double)p->offset : 0.0);
    lh_rope_frequencies(p->frequency, rotated, base, lh_recipe_real(r, "model.rope_factor"), closed);
}

static lh_status read_extras(lh_perceiver *p, const lh_memory_shape *shape, lh_error *error)
{
    size_t count;
    const int64_t *layers = lh_recipe_list(shape->recipe, "memory.cross_after", &count);
    for (size_t i = 0; i < count; i++) {
        if (layers[i] >= shape->layers) {
            return lh_recipe_reject(shape->recipe, "memory.cross_after", error,
                                    "names layer %lld of a model whose last layer is %lld", (long long)layers[i],
                                    (long long)shape->layers - 1);
        }
        if (p->after[layers[i]]) {
            return lh_recipe_reject(shape->recipe, "memory.cross_after", error, "names layer %lld twice",
                                    (long long)layers[i]);
        }
        p->after[layers[i]] = true;
        p->extras++;
    }
    return LH_OK;
}

static lh_status check_copies(const lh_perceiver *p, const lh_recipe *r, lh_error *error)
{
    const char *positions = lh_recipe_string(r, "model.positions");
    if (p->copies == 1) {
        return LH_OK;
    }
    if (strcmp(positions, "none") != 0 && strcmp(positions, "rotary") != 0) {
        return lh_recipe_reject(r, "model.positions", error,
                                "must be rotary or none with memory.latents_per_token = %lld",
                                (long long)p->copies);
    }
    if (!lh_recipe_boolean(r, "model.see_self")) {
        return lh_recipe_reject(r, "model.see_self", error,
                                "must be true with memory.latents_per_token = %lld: latents of a token see each "
                                "other",
                                (long long)p->copies);
    }
    return LH_OK;
}

static lh_status check(const lh_perceiver *p, const lh_recipe *r, lh_error *error)
{
    const char *positions = lh_recipe_string(r, "model.positions");
    size_t bands;
    if (p->prefix < 0) {
        return lh_recipe_reject(r, "memory.inputs", error, "is less than the latents, model.segment = %lld",
                                (long long)p->latents);
    }
    if (p->embedding % p->heads != 0) {
        return lh_recipe_reject(r, "memory.cross_heads", error,
                                "(%lld heads) does not divide the embedding's width of %lld", (long long)p->heads,
                                (long long)p->embedding);
    }
    if (strcmp(positions, "learned") == 0 || strcmp(positions, "sinusoidal") == 0) {
        return lh_recipe_reject(
            r, "model.positions", error,
            "counts from the segment: give memory.position_table = %s and model.positions = none", positions);
    }
    if (p->positions == LH_PERCEIVER_SINUSOIDAL && p->embedding % 2 != 0) {
        return lh_recipe_reject(r, "memory.position_table", error, "needs embeddings of even width, not %lld",
                                (long long)p->embedding);
    }
    if (p->train_inputs > 0 && p->drop > 0.0) {
        return lh_recipe_reject(r, "memory.train_inputs", error,
                                "does not go with memory.cross_dropout: both hide inputs in training");
    }
    (void)lh_recipe_list(r, "model.cutoffs", &bands);
    if (bands > 0) {
        return lh_recipe_reject(r, "model.cutoffs", error,
                                "is not possible with memory.kind = perceiver-ar: it embeds with one table");
    }
    return LH_OK;
}

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    const lh_recipe *r = shape->recipe;
    lh_perceiver sizes = {0};
    *options = NULL;
    read_sizes(&sizes, shape);
    read_style(&sizes, shape);
    LH_TRY(check(&sizes, r, error));
    LH_TRY(check_copies(&sizes, r, error));
    LH_TRY(read_extras(&sizes, shape, error));
    int64_t head = sizes.embedding / sizes.heads;
    int64_t rotated = 2 * (int64_t)(lh_recipe_real(r, "model.rope_fraction") * (double)head / 2.0);
    lh_perceiver *p = lh_heap_alloc(sizeof *p + sizeof(double) * (size_t)(rotated / 2));
    if (!p) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the memory's configuration");
    }
    *p = sizes;
    read_rope(p, r, rotated);
    *options = p;
    return LH_OK;
}

/* ---- parameters ---- */

typedef struct builder {
    lh_parameters *list;
    lh_memory_parameters *out;
    char prefix[32]; /* of names */
    lh_status status;
    lh_error *error;
} builder;

static void add(builder *b, int which, int ndim, int64_t rows, int64_t columns, lh_init_kind init, double scale,
                lh_parameter_group group, const char *name)
{
    char text[96];
    int64_t shape[2] = {rows, columns};
    bool decay = ndim == 2 && which < LH_PERCEIVER_TABLE;
    if (b->status == LH_OK) {
        (void)snprintf(text, sizeof text, "%s%s", b->prefix, name);
        b->status = lh_parameters_add(b->list, &b->out->tensors[which], text, ndim, shape, init, scale, decay,
                                      group, b->error);
    }
}

/* A weight [out, in] that keeps the variance of what it is given, and its bias, which stands behind it. */
static void add_linear(builder *b, int which, int64_t out, int64_t in, bool bias, const char *name)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s.weight", name);
    add(b, which, 2, out, in, LH_INIT_TRUNCATED_EXACT, 1.0 / sqrt((double)in), LH_GROUP_MAIN, text);
    if (bias) {
        (void)snprintf(text, sizeof text, "%s.bias", name);
        add(b, which + 1, 1, out, 0, LH_INIT_CONSTANT, 0.0, LH_GROUP_MAIN, text);
    }
}

static void add_norm(builder *b, const lh_perceiver *p, int which, int64_t width, const char *name)
{
    char text[64];
    if (p->norm_affine) {
        (void)snprintf(text, sizeof text, "%s.weight", name);
        add(b, which, 1, width, 0, LH_INIT_CONSTANT, 1.0, LH_GROUP_MAIN, text);
    }
    if (p->norm_bias) {
        (void)snprintf(text, sizeof text, "%s.bias", name);
        add(b, which + 1, 1, width, 0, LH_INIT_CONSTANT, 0.0, LH_GROUP_MAIN, text);
    }
}

static void add_tables(builder *b, const lh_perceiver *p)
{
    static const char *const names[3] = {"columns.table", "rows.table", "channels.table"};
    const int64_t rows[3] = {p->image_width + 2, p->image_height + 2, p->image_channels + 2};
    switch (p->positions) {
    case LH_PERCEIVER_NOTHING: break;
    case LH_PERCEIVER_SINUSOIDAL: /* constant, but stored, as the released model has it */
        add(b, LH_PERCEIVER_TABLE, 2, p->rows, p->embedding, LH_INIT_SINUSOIDS, 10000.0, LH_GROUP_STATISTICS,
            "positions.table");
        break;
    case LH_PERCEIVER_LEARNED:
        add(b, LH_PERCEIVER_TABLE, 2, p->rows, p->embedding, LH_INIT_TRUNCATED, 1.0, LH_GROUP_MAIN,
            "positions.table");
        break;
    case LH_PERCEIVER_IMAGE:
        for (int i = 0; i < 3; i++) {
            add(b, LH_PERCEIVER_TABLE + i, 2, rows[i], p->embedding, LH_INIT_TRUNCATED, 1.0, LH_GROUP_MAIN,
                names[i]);
        }
        break;
    }
}

/* A cross block but for what makes its queries of tokens. */
static void add_block(builder *b, const lh_perceiver *p)
{
    add_norm(b, p, LH_PERCEIVER_QUERY_GAIN, p->width, "query_norm");
    add_norm(b, p, LH_PERCEIVER_INPUT_GAIN, p->embedding, "input_norm");
    add_linear(b, LH_PERCEIVER_QUERY, p->embedding, p->width, p->attention_bias, "query");
    add_linear(b, LH_PERCEIVER_KEY, p->embedding, p->embedding, p->attention_bias, "key");
    add_linear(b, LH_PERCEIVER_VALUE, p->embedding, p->embedding, p->attention_bias, "value");
    add_linear(b, LH_PERCEIVER_OUTPUT, p->width, p->embedding, p->output_bias, "output");
    add_norm(b, p, LH_PERCEIVER_HIDDEN_GAIN, p->width, "hidden_norm");
    add_linear(b, LH_PERCEIVER_UP, p->gated ? 2 * p->hidden : p->hidden, p->width, p->hidden_bias, "up");
    add_linear(b, LH_PERCEIVER_DOWN, p->width, p->hidden, p->hidden_bias, "down");
}

static lh_status parameters(const lh_memory_shape *shape, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error)
{
    const lh_perceiver *p = shape->options;
    builder b = {.list = list, .out = out, .prefix = "memory.", .status = LH_OK, .error = error};
    if (layer >= 0) {
        (void)snprintf(b.prefix, sizeof b.prefix, "layers.%d.memory.", layer);
        if (p->after[layer]) {
            add_block(&b, p);
        }
        return b.status;
    }
    add_linear(&b, LH_PERCEIVER_LATENT, p->width, p->embedding, true, "latent");
    add_block(&b, p);
    add_tables(&b, p);
    if (p->queries != LH_PERCEIVER_QUERIES_TOKENS) {
        int64_t rows = p->queries == LH_PERCEIVER_QUERIES_SHARED ? 1 : p->latents;
        add(&b, LH_PERCEIVER_QUERY_TABLE, 2, rows, p->embedding, LH_INIT_TRUNCATED, 1.0, LH_GROUP_MAIN,
            "queries.table");
    }
    if (p->copies > 1) {
        add(&b, LH_PERCEIVER_COPY_TABLE, 2, p->copies, p->width, LH_INIT_TRUNCATED, 0.02, LH_GROUP_MAIN,
            "copies.table");
    }
    return b.status;
}

/* ---- how much it is ---- */

/* The layers see nothing but the segment. */
static int64_t history(const lh_memory_shape *shape)
{
    (void)shape;
    return 0;
}

static int64_t reach(const lh_memory_shape *shape)
{
    return ((const lh_perceiver *)shape->options)->prefix;
}

/* For each token: with several latents each of them sees all of theirs. */
static double keys_seen(const lh_memory_shape *shape, int layer)
{
    double copies = (double)((const lh_perceiver *)shape->options)->copies;
    (void)layer;
    return copies * copies * ((double)shape->segment + 1.0) / 2.0;
}

/* Products of a token's other latents with the layers' weights. */
static double copies_flops(const lh_memory_shape *shape, const lh_perceiver *p)
{
    double width = (double)p->width, head = (double)(shape->key_width + shape->value_width);
    double layer =
        width * head * (double)(shape->heads + shape->kv_heads) + (double)((p->gated ? 3 : 2) * p->hidden) * width;
    double block = 2.0 * (double)p->embedding * width + (double)((p->gated ? 3 : 2) * p->hidden) * width;
    return 2.0 * (double)(p->copies - 1) * (layer * (double)shape->layers + block * (1.0 + p->extras));
}

/* Keys and values of the inputs before the segment, shared by its tokens, and the cross-attentions themselves. */
static double entry_flops(const lh_memory_shape *shape)
{
    const lh_perceiver *p = shape->options;
    double e = (double)p->embedding, before = (double)p->prefix, n = (double)p->latents;
    double block = 4.0 * e * e * before / n + 4.0 * e * (before + (n + 1.0) / 2.0) * (double)p->copies;
    return block * (1.0 + p->extras) + copies_flops(shape, p);
}

static int64_t copies(const lh_memory_shape *shape)
{
    return ((const lh_perceiver *)shape->options)->copies;
}

/* ---- published configurations ---- */

#define LAYER                                                                                           \
    "activation = relu2\nnorm = layer\nnorm_layout = input\nfinal_norm = true\nattention_bias = true\n" \
    "tied = false\nembedding_scaled = false\nembedding_init = truncated\ninit = fan-in\noutput_init = zero\n"
#define BLOCK LAYER "dropout = 0.1\n"
#define ROTARY "positions = rotary\nrope_interleaved = true\nrope_spacing = closed\n"
#define ABSOLUTE "positions = none\n"
#define BIG "width = 1024\nheads = 16\nsegment = 1024\n"
#define KIND "[memory]\nkind = perceiver-ar\n"

static const lh_recipe_preset presets[] = {
    {"perceiver-ar-copy-32",
     "[model]\nvocab = 259\nlayers = 1\nwidth = 1024\nheads = 16\nsegment = 16\n" ABSOLUTE BLOCK KIND
     "inputs = 32\nposition_table = sinusoidal\n",
     "Perceiver AR, copy task of 32 tokens, 1 layer, 16 latents, 26.8 M parameters"},
    {"perceiver-ar-copy-131072",
     "[model]\nvocab = 259\nlayers = 6\n" BIG ABSOLUTE BLOCK KIND "inputs = 131072\nposition_table = sinusoidal\n",
     "Perceiver AR, copy task of 131072 tokens, 6 layers, 1024 latents: 224.0 M parameters, of which 134.2 M are a "
     "constant table (published: 100 % of the second half)"},
    {"perceiver-ar-imagenet64",
     "[model]\nvocab = 259\nlayers = 60\n" BIG ABSOLUTE BLOCK KIND "inputs = 12416\nposition_table = image\n",
     "Perceiver AR, ImageNet 64 x 64, 60 layers, 770.1 M parameters (published 3.40 bits per dimension)"},
    {"perceiver-ar-pg19",
     "[model]\nvocab = 32000\nlayers = 60\n" BIG "embedding_width = 4096\nrope_base = 2048\nrope_fraction = "
     "0.5\n" ROTARY BLOCK KIND "inputs = 2048\ncross_heads = 128\ncross_dropout = 0.875\n",
     "Perceiver AR, PG-19, 60 layers, 974.2 M parameters (published 45.9 on validation, 28.9 on test)"},
    {"perceiver-ar-pg19-4096",
     "preset = perceiver-ar-pg19\n[model]\nrope_base = 4096\n[memory]\ninputs = 4096\ncross_dropout = 0.96875\n",
     "the same with 4096 inputs (published 29.0 on test)"},
    {"perceiver-ar-wt103",
     "[model]\nlayers = 18\n" BIG "rope_base = 2048\nrope_fraction = 0.5\n" ROTARY BLOCK KIND
     "inputs = 2048\ncross_dropout = 0.875\n",
     "Perceiver AR, WikiText-103, 18 layers (published 18.35 with 2048 inputs; cross-attend dropout is ours)"},
    {"perceiver-ar-books",
     "[model]\nvocab = 32000\nlayers = 36\n" BIG
     "embedding_width = 4096\nrope_base = 16384\nrope_fraction = 0.5\n" ROTARY BLOCK KIND
     "inputs = 16384\ncross_heads = 128\ncross_dropout = 0.96875\n",
     "Perceiver AR, the paper's internal books, 36 layers (published 14.56; vocabulary, embedding width and "
     "dropout "
     "are those of PG-19)"},
    {"perceiver-ar-books-60",
     "preset = perceiver-ar-books\n[model]\nlayers = 60\nrope_base = 8192\n[memory]\ninputs = 8192\n",
     "the same with 60 layers and 8192 inputs (published 12.66)"},
    {"perceiver-ar-maestro",
     "[model]\nvocab = 391\nlayers = 12\nwidth = 1024\nheads = 4\nsegment = 2048\nrope_base = 4096\nrope_fraction "
     "= "
     "0.25\n" ROTARY BLOCK KIND "inputs = 4096\ncross_heads = 1\ncross_dropout = 0.7\n",
     "Perceiver AR, MAESTRO piano events, 12 layers, 165.6 M parameters (published 1.82 nats on v1, 1.91 on v3)"},
    {"perceiver-ar-piano",
     "[model]\nvocab = 391\nlayers = 24\n" BIG "rope_base = 32768\nrope_fraction = 0.25\n" ROTARY BLOCK KIND
     "inputs = 32768\n",
     "Perceiver AR, transcribed piano, 24 layers, 316.8 M parameters (published 1.2418 nats)"},
    {"perceiver-ar-soundstream-12k",
     "[model]\nvocab = 24579\nlayers = 12\n" BIG "rope_base = 65536\nrope_fraction = 0.25\n" ROTARY BLOCK KIND
     "inputs = 65536\n",
     "Perceiver AR, audio codes of 12 kbit/s, 12 layers, 215.2 M parameters (published 2.49 nats)"},
    {"perceiver-ar-soundstream-18k", "preset = perceiver-ar-soundstream-12k\n[model]\nvocab = 36867\n",
     "the same for 18 kbit/s (published 2.60 nats; the depth is ours)"},
    {"perceiver-ar-soundstream-22k", "preset = perceiver-ar-soundstream-12k\n[model]\nvocab = 45059\nlayers = 24\n",
     "the same for 22 kbit/s, 24 layers, 408.3 M parameters (published 2.65 nats)"},
    {"perceiver-ar-c4-base",
     "[model]\nvocab = 32128\nlayers = 12\nwidth = 768\nheads = 12\nhidden = 3072\nsegment = 1024\nactivation = "
     "geglu\nnorm = rms\nnorm_eps = 1e-6\nprojection_bias = false\nhidden_bias = false\noutput_bias = false\n"
     "tied = false\nembedding_scaled = false\ninit = fan-in\npositions = rotary\n" KIND "inputs = 8192\n",
     "Perceiver AR in the form of the second released code: RMS norms, no biases, ordinary rotary positions"},
    {"perceiver-ar-c4-small",
     "preset = perceiver-ar-c4-base\n[model]\nlayers = 6\nwidth = 512\nheads = 8\nhidden = 2048\n",
     "the same with 6 layers, width 512"},
    {"perceiver-ar-small",
     "[model]\nlayers = 6\nwidth = 512\nheads = 8\nsegment = 512\nrope_base = 4096\nrope_fraction = 0.5\n" ROTARY
         LAYER KIND "inputs = 4096\n",
     "Perceiver AR, 6 layers, width 512, 512 latents of 4096 inputs"},
    {"perceiver-ar-tiny",
     "[model]\nlayers = 4\nwidth = 256\nheads = 4\nsegment = 256\nrope_base = 2048\nrope_fraction = 0.5\n" ROTARY
         LAYER KIND "inputs = 2048\n",
     "Perceiver AR, 4 layers, width 256, 256 latents of 2048 inputs: trains on a book in minutes on two cores"},
    {0},
};

const lh_memory_kind lh_memory_perceiver_ar = {
    .name = "perceiver-ar",
    .summary = "one cross-attention from the segment to all inputs, and layers over the segment alone",
    .keys = keys,
    .presets = presets,
    .adjustable = adjustable,
    .compare = "[model]\nlayers = {layers-1}\npositions = rotary\nrope_interleaved = true\nrope_spacing = closed\n"
               "rope_base = {segment+memory}\nrope_fraction = 0.5\n[memory]\ninputs = {segment+memory}\n",
    .configure = configure,
    .parameters = parameters,
    .history = history,
    .reach = reach,
    .keys_seen = keys_seen,
    .entry_flops = entry_flops,
    .create = lh_perceiver_create,
    .enter = lh_perceiver_enter,
    .between = lh_perceiver_between,
    .copies = copies,
    .read = lh_perceiver_read,
    .prime = lh_perceiver_prime,
    .unread = lh_perceiver_unread,
};
