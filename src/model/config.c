#include "model/config.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

static const lh_recipe_key model_keys[] = {
    {"model", "vocab", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, NULL, "vocabulary size; 0: the tokenizer's"},
    {"model", "layers", LH_RECIPE_INTEGER, "6", 0, 512, NULL, NULL, "decoder layers"},
    {"model", "width", LH_RECIPE_INTEGER, "512", 1, 1 << 16, NULL, NULL, "width of the residual stream (d)"},
    {"model", "heads", LH_RECIPE_INTEGER, "8", 1, 1024, NULL, NULL, "attention heads"},
    {"model", "kv_heads", LH_RECIPE_INTEGER, "0", 0, 1024, NULL, NULL,
     "key and value heads, a divisor of heads; 0: as many as heads"},
    {"model", "key_width", LH_RECIPE_INTEGER, "0", 0, 4096, NULL, NULL, "width of a head's keys; 0: width / heads"},
    {"model", "value_width", LH_RECIPE_INTEGER, "0", 0, 4096, NULL, NULL,
     "width of a head's values; 0: width / heads"},
    {"model", "hidden", LH_RECIPE_INTEGER, "0", 0, 1 << 20, NULL, NULL,
     "width of the MLP's hidden layer; 0: 4 width"},
    {"model", "segment", LH_RECIPE_INTEGER, "512", 1, 1 << 24, NULL, NULL,
     "tokens of one segment (n_s): what is computed at once and, without memory, all that is seen"},
    {"model", "activation", LH_RECIPE_CHOICE, "relu", 0, 0, "relu|relu2|gelu|gelu-tanh|silu|swiglu|geglu", NULL,
     "MLP activation; swiglu and geglu are gated"},
    {"model", "norm", LH_RECIPE_CHOICE, "layer", 0, 0, "layer|rms", NULL, "layer norm or RMS norm"},
    {"model", "norm_layout", LH_RECIPE_CHOICE, "input", 0, 0, "input|output|both", NULL,
     "norms on the input of each sublayer (pre-norm), after its residual (post-norm), or both"},
    {"model", "norm_eps", LH_RECIPE_REAL, "1e-5", 0, 1, NULL, NULL, "epsilon of the norms"},
    {"model", "final_norm", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "a norm after the last layer"},
    {"model", "attention_bias", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL, "biases on query, key and value"},
    {"model", "norm_bias", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, "model.norm=layer", "biases in norms"},
    {"model", "norm_bias", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "model.norm=rms", "biases in norms"},
    {"model", "norm_affine", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "gains (and biases) in norms at all"},
    {"model", "mlp", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "an MLP behind attention in every layer"},
    {"model", "share_attention", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL,
     "all layers attend with the first one's weights"},
    {"model", "qk_norm", LH_RECIPE_CHOICE, "none", 0, 0, "none|l2|rms", NULL,
     "norm of each head's queries and keys: l2 to length 1 (logits are then not divided by sqrt(key_width)), rms "
     "to "
     "root mean square 1"},
    {"model", "head_scale", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL,
     "a learned factor per head on the logits, its absolute value used"},
    {"model", "null_logit", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL,
     "a constant logit of -1000 in every softmax, so that a query may attend to nothing"},
    {"model", "see_self", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "a token attends to itself"},
    {"model", "projection_bias", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL,
     "bias on attention's output projection"},
    {"model", "hidden_bias", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "biases in the MLP"},
    {"model", "positions", LH_RECIPE_CHOICE, "rotary", 0, 0, "none|learned|sinusoidal|rotary|relative|t5|alibi",
     NULL, "how tokens know where they are; relative is Transformer-XL's"},
    {"model", "share_position_biases", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "model.positions=relative",
     "one pair of biases u, v for all layers"},
    {"model", "scale_logits", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "model.positions=relative",
     "scale the whole logit, biases included, instead of the query alone"},
    {"model", "same_length", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL,
     "hide the i oldest keys from query i, so that every query sees the same number"},
    {"model", "clamp", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, "model.positions=relative",
     "distances beyond this count as this; 0: no clamp"},
    {"model", "rope_base", LH_RECIPE_REAL, "10000", 1, 1e12, NULL, "model.positions=rotary",
     "base of the frequencies"},
    {"model", "rope_fraction", LH_RECIPE_REAL, "1", 0, 1, NULL, "model.positions=rotary",
     "part of each head's channels that turns"},
    {"model", "rope_factor", LH_RECIPE_REAL, "1", 1e-3, 1e6, NULL, "model.positions=rotary",
     "positions are divided by this (linear scaling)"},
    {"model", "rope_interleaved", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "model.positions=rotary",
     "pairs of neighbouring channels instead of halves"},
    {"model", "rope_spacing", LH_RECIPE_CHOICE, "open", 0, 0, "open|closed", "model.positions=rotary",
     "frequencies of the pairs i of R turning channels: rope_base^(-2i/R), or, closed, rope_base^(-i/(R/2-1)), the "
     "last of which is 1/rope_base"},
    {"model", "t5_scaled", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "model.positions=t5",
     "the head's logit factor multiplies the position's bias, too"},
    {"model", "t5_buckets", LH_RECIPE_INTEGER, "32", 2, 4096, NULL, "model.positions=t5",
     "relative-position buckets"},
    {"model", "t5_distance", LH_RECIPE_INTEGER, "128", 2, 1 << 24, NULL, "model.positions=t5",
     "distance from which all share the last bucket"},
    {"model", "tied", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "the output layer uses the embedding table"},
    {"model", "embedding_scaled", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL,
     "multiply embeddings by sqrt(width)"},
    {"model", "output_bias", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL, "a bias per output symbol"},
    {"model", "logit_scale", LH_RECIPE_REAL, "1", 1e-6, 1e6, NULL, NULL, "logits are multiplied by this"},
    {"model", "scale_output_bias", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "model.output_bias=true",
     "logit_scale multiplies the output biases, too"},
    {"model", "input_projection", LH_RECIPE_CHOICE, "none", 0, 0, "none|relu|linear", NULL,
     "behind the embedding e: relu is ReLU(Dropout(e W + b)), linear Dropout(e W + b) from embedding_width to "
     "width, "
     "and then the way back to a narrower embedding has a bias, too"},
    {"model", "cutoffs", LH_RECIPE_LIST, "", 1, 1 << 24, NULL, NULL,
     "bands of an adaptive input and softmax: first ids of bands 1, 2, ..; empty: one plain table"},
    {"model", "embedding_width", LH_RECIPE_INTEGER, "0", 0, 1 << 16, NULL, NULL,
     "width of the embeddings (of band 0); 0: width"},
    {"model", "band_divisor", LH_RECIPE_INTEGER, "1", 1, 64, NULL, NULL,
     "each band's embeddings are narrower than the last by this factor"},
    {"model", "dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL, "on sublayer outputs"},
    {"model", "attention_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL, "on attention probabilities"},
    {"model", "attention_input_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL,
     "on what queries, keys and values are projected from"},
    {"model", "attention_output_dropout", LH_RECIPE_REAL, "-1", -1, 0.99, NULL, NULL,
     "on attention's output; -1: dropout"},
    {"model", "hidden_output_dropout", LH_RECIPE_REAL, "-1", -1, 0.99, NULL, NULL,
     "on the MLP's output; -1: dropout"},
    {"model", "final_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL, "behind the final norm"},
    {"model", "token_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL,
     "part of the input tokens that training replaces by token 0"},
    {"model", "hidden_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL,
     "on the MLP's pre-activation; on the product of a gated one"},
    {"model", "embedding_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, NULL, "on embeddings"},
    {"model", "position_dropout", LH_RECIPE_REAL, "0", 0, 0.99, NULL, "model.positions=relative",
     "on the sinusoid table, before its projection"},
    {"model", "init", LH_RECIPE_CHOICE, "gpt2", 0, 0,
     "sonnet|transformer-xl|gpt2|fan-in|fan-in-normal|unit-uniform", NULL,
     "initialisation: variance scaling 2/sqrt(layers), normal 0.02, normal 0.02 with scaled-down residual outputs, "
     "variance 1/fan-in truncated or not, with embeddings of variance 1, or uniform with gain 0.2"},
    {"model", "output_init", LH_RECIPE_CHOICE, "scheme", 0, 0, "scheme|zero", "model.tied=false",
     "zero: an untied output table starts as zeros, so that the first loss is ln(vocabulary)"},
    {"model", "embedding_init", LH_RECIPE_CHOICE, "scheme", 0, 0, "scheme|truncated", NULL,
     "truncated: embeddings start normal with deviation 1, drawn again beyond 2"},
    {0},
};

static const lh_recipe_key memory_keys[] = {
    {"memory", "kind", LH_RECIPE_CHOICE, "none", 0, 0, NULL, NULL, "which memory (docs/methods)"},
    {"memory", "detach", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, "memory.kind!=block-recurrent",
     "cut the gradient between segments that are unrolled in one graph"},
    {"memory", "detach", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "memory.kind=block-recurrent",
     "cut the gradient between segments that are unrolled in one graph"},
    {0},
};

/* The kinds' names joined by | and the list of tables are made once from the registry, on first use. */
static char kind_choices[512];
static lh_recipe_key memory_keys_with_choices[sizeof memory_keys / sizeof memory_keys[0]];
static const lh_recipe_key *tables[64];

__attribute__((constructor)) static void collect_tables(void)
{
    size_t used = 0;
    int count = 0;
    memcpy(memory_keys_with_choices, memory_keys, sizeof memory_keys);
    for (int i = 0; lh_memory_kinds[i]; i++) {
        size_t length = strlen(lh_memory_kinds[i]->name);
        if (used + length + 2 < sizeof kind_choices) {
            if (used) {
                kind_choices[used++] = '|';
            }
            memcpy(kind_choices + used, lh_memory_kinds[i]->name, length);
            used += length;
        }
    }
    memory_keys_with_choices[0].choices = kind_choices;
    tables[count++] = model_keys;
    tables[count++] = memory_keys_with_choices;
    for (int i = 0; lh_memory_kinds[i] && count < 63; i++) {
        if (lh_memory_kinds[i]->keys) {
            tables[count++] = lh_memory_kinds[i]->keys;
        }
    }
}

const lh_recipe_key *const *lh_model_recipe_tables(void)
{
    return tables;
}

int64_t lh_model_band_width(const lh_model_config *config, int band)
{
    int64_t width = config->embedding_width;
    for (int i = 0; i < band; i++) {
        width /= config->band_divisor;
    }
    return width;
}

static int choice(const lh_recipe *recipe, const char *name, const char *const *names)
{
    const char *value = lh_recipe_string(recipe, name);
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], value) == 0) {
            return i;
        }
    }
    return 0;
}

static lh_status read_bands(lh_model_config *c, const lh_recipe *recipe, lh_error *error)
{
    size_t count;
    const int64_t *list = lh_recipe_list(recipe, "model.cutoffs", &count);
    c->embedding_width = lh_recipe_integer(recipe, "model.embedding_width");
    c->embedding_width = c->embedding_width ? c->embedding_width : c->width;
    c->band_divisor = lh_recipe_integer(recipe, "model.band_divisor");
    if (count + 1 > LH_MAX_BANDS) {
        return lh_recipe_reject(recipe, "model.cutoffs", error, "has more than %d entries", LH_MAX_BANDS - 1);
    }
    c->bands = (int)count + 1;
    c->cutoff[0] = 0;
    for (size_t i = 0; i < count; i++) {
        c->cutoff[i + 1] = list[i];
        if (list[i] <= c->cutoff[i] || list[i] >= c->vocab) {
            return lh_recipe_reject(recipe, "model.cutoffs", error,
                                    "must ascend and stay below the vocabulary of %lld", (long long)c->vocab);
        }
    }
    c->cutoff[c->bands] = c->vocab;
    if (lh_model_band_width(c, c->bands - 1) < 1) {
        return lh_recipe_reject(recipe, "model.band_divisor", error, "leaves the last band without width");
    }
    if (c->bands > 1 && c->input_linear) {
        return lh_recipe_reject(recipe, "model.input_projection", error,
                                "is not possible with an adaptive input, which has projections of its own");
    }
    if (c->bands > 1 && !c->tied) {
        return lh_recipe_reject(recipe, "model.tied", error,
                                "is not possible with an adaptive softmax: it is tied");
    }
    return LH_OK;
}

static double or_dropout(const lh_model_config *c, double rate)
{
    return rate < 0 ? c->dropout : rate;
}

lh_status lh_model_config_read(lh_model_config *c, const lh_recipe *recipe, lh_error *error)
{
    static const char *const layouts[] = {"input", "output", "both", NULL};
    static const char *const positions[] = {"none",     "learned", "sinusoidal", "rotary",
                                            "relative", "t5",      "alibi",      NULL};
    static const char *const schemes[] = {"sonnet",        "transformer-xl", "gpt2", "fan-in",
                                          "fan-in-normal", "unit-uniform",   NULL};
    static const char *const qk_norms[] = {"none", "l2", "rms", NULL};
    *c = (lh_model_config){0};
    c->vocab = lh_recipe_integer(recipe, "model.vocab");
    c->layers = lh_recipe_integer(recipe, "model.layers");
    c->width = lh_recipe_integer(recipe, "model.width");
    c->heads = lh_recipe_integer(recipe, "model.heads");
    c->kv_heads = lh_recipe_integer(recipe, "model.kv_heads");
    c->kv_heads = c->kv_heads ? c->kv_heads : c->heads;
    c->key_width = lh_recipe_integer(recipe, "model.key_width");
    c->value_width = lh_recipe_integer(recipe, "model.value_width");
    c->hidden = lh_recipe_integer(recipe, "model.hidden");
    c->hidden = c->hidden ? c->hidden : 4 * c->width;
    c->segment = lh_recipe_integer(recipe, "model.segment");
    if ((c->key_width == 0 || c->value_width == 0) && c->width % c->heads != 0) {
        return lh_recipe_reject(recipe, "model.heads", error, "does not divide model.width = %lld",
                                (long long)c->width);
    }
    c->key_width = c->key_width ? c->key_width : c->width / c->heads;
    c->value_width = c->value_width ? c->value_width : c->width / c->heads;
    if (c->heads % c->kv_heads != 0) {
        return lh_recipe_reject(recipe, "model.kv_heads", error, "does not divide model.heads = %lld",
                                (long long)c->heads);
    }
    if (c->vocab < 1) {
        return lh_recipe_reject(recipe, "model.vocab", error, "must be known before the model is built");
    }
    (void)lh_activation_find(lh_recipe_string(recipe, "model.activation"), &c->activation, &c->gated);
    c->rms = strcmp(lh_recipe_string(recipe, "model.norm"), "rms") == 0;
    c->layout = (lh_norm_layout)choice(recipe, "model.norm_layout", layouts);
    c->norm_eps = lh_recipe_real(recipe, "model.norm_eps");
    c->final_norm = lh_recipe_boolean(recipe, "model.final_norm");
    c->attention_bias = lh_recipe_boolean(recipe, "model.attention_bias");
    c->output_projection_bias = lh_recipe_boolean(recipe, "model.projection_bias");
    c->hidden_bias = lh_recipe_boolean(recipe, "model.hidden_bias");
    c->positions = (lh_position_kind)choice(recipe, "model.positions", positions);
    c->share_position_biases = lh_recipe_boolean(recipe, "model.share_position_biases");
    c->scale_logits = lh_recipe_boolean(recipe, "model.scale_logits");
    c->same_length = lh_recipe_boolean(recipe, "model.same_length");
    c->clamp = lh_recipe_integer(recipe, "model.clamp");
    c->rope_base = lh_recipe_real(recipe, "model.rope_base");
    c->rope_fraction = lh_recipe_real(recipe, "model.rope_fraction");
    c->rope_factor = lh_recipe_real(recipe, "model.rope_factor");
    c->rope_interleaved = lh_recipe_boolean(recipe, "model.rope_interleaved");
    c->rope_closed = strcmp(lh_recipe_string(recipe, "model.rope_spacing"), "closed") == 0;
    c->t5_buckets = lh_recipe_integer(recipe, "model.t5_buckets");
    c->t5_distance = lh_recipe_integer(recipe, "model.t5_distance");
    c->tied = lh_recipe_boolean(recipe, "model.tied");
    c->embedding_scaled = lh_recipe_boolean(recipe, "model.embedding_scaled");
    c->output_bias = lh_recipe_boolean(recipe, "model.output_bias");
    c->logit_scale = lh_recipe_real(recipe, "model.logit_scale");
    c->scale_output_bias = c->output_bias && lh_recipe_boolean(recipe, "model.scale_output_bias");
    c->input_relu = strcmp(lh_recipe_string(recipe, "model.input_projection"), "relu") == 0;
    c->input_linear = strcmp(lh_recipe_string(recipe, "model.input_projection"), "linear") == 0;
    c->dropout = lh_recipe_real(recipe, "model.dropout");
    c->attention_dropout = lh_recipe_real(recipe, "model.attention_dropout");
    c->hidden_dropout = lh_recipe_real(recipe, "model.hidden_dropout");
    c->embedding_dropout = lh_recipe_real(recipe, "model.embedding_dropout");
    c->position_dropout = lh_recipe_real(recipe, "model.position_dropout");
    c->attention_input_dropout = lh_recipe_real(recipe, "model.attention_input_dropout");
    c->attention_output_dropout = or_dropout(c, lh_recipe_real(recipe, "model.attention_output_dropout"));
    c->hidden_output_dropout = or_dropout(c, lh_recipe_real(recipe, "model.hidden_output_dropout"));
    c->final_dropout = lh_recipe_real(recipe, "model.final_dropout");
    c->token_dropout = lh_recipe_real(recipe, "model.token_dropout");
    c->norm_affine = lh_recipe_boolean(recipe, "model.norm_affine");
    c->norm_bias = c->norm_affine && lh_recipe_boolean(recipe, "model.norm_bias");
    c->mlp = lh_recipe_boolean(recipe, "model.mlp");
    c->share_attention = lh_recipe_boolean(recipe, "model.share_attention");
    c->qk_norm = (lh_qk_norm)choice(recipe, "model.qk_norm", qk_norms);
    c->head_scale = lh_recipe_boolean(recipe, "model.head_scale");
    c->null_logit = lh_recipe_boolean(recipe, "model.null_logit");
    c->see_self = lh_recipe_boolean(recipe, "model.see_self");
    c->t5_scaled = lh_recipe_boolean(recipe, "model.t5_scaled");
    c->truncated_embedding = strcmp(lh_recipe_string(recipe, "model.embedding_init"), "truncated") == 0;
    c->zero_output = strcmp(lh_recipe_string(recipe, "model.output_init"), "zero") == 0;
    c->init = (lh_init_scheme)choice(recipe, "model.init", schemes);
    if (c->positions == LH_POSITIONS_ROTARY && 2 * (int64_t)(c->rope_fraction * (double)c->key_width / 2.0) < 2) {
        return lh_recipe_reject(recipe, "model.rope_fraction", error,
                                "leaves no channel to turn of key_width = %lld", (long long)c->key_width);
    }
    if ((c->positions == LH_POSITIONS_RELATIVE || c->positions == LH_POSITIONS_SINUSOIDAL) && c->width % 2 != 0) {
        return lh_recipe_reject(recipe, "model.width", error, "must be even for sinusoids");
    }
    return read_bands(c, recipe, error);
}
