/* A model's parameters: what there is, how it starts, how many there are. */
#include "model/model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Adds parameters and remembers the first failure, so that a layer reads as a list. */
typedef struct builder {
    lh_model *model;
    lh_status status;
    lh_error *error;
    char prefix[32];
} builder;

static void add(builder *b, lh_tensor **tensor, int ndim, const int64_t *shape, lh_init_kind init, double scale,
                bool decay, const char *suffix)
{
    char name[96];
    if (b->status == LH_OK) {
        (void)snprintf(name, sizeof name, "%s%s", b->prefix, suffix);
        b->status = lh_parameters_add(&b->model->parameters, tensor, name, ndim, shape, init, scale, decay,
                                      LH_GROUP_MAIN, b->error);
    }
}

static void add_vector(builder *b, lh_tensor **tensor, int64_t size, double value, const char *suffix)
{
    add(b, tensor, 1, &size, LH_INIT_CONSTANT, value, false, suffix);
}

/* How a table of embeddings of `width` starts. */
static void table_init(const lh_model_config *c, int64_t rows, int64_t width, lh_init_kind *init, double *scale)
{
    if (c->truncated_embedding) {
        *init = LH_INIT_TRUNCATED;
        *scale = 1.0;
        return;
    }
    *init = c->init == LH_SCHEME_UNIT_UNIFORM ? LH_INIT_UNIFORM : LH_INIT_NORMAL;
    *scale = c->init == LH_SCHEME_UNIT_UNIFORM                                   ? lh_init_unit_uniform(rows, width)
             : c->init == LH_SCHEME_FAN_IN || c->init == LH_SCHEME_FAN_IN_NORMAL ? 1.0
                                                                                 : 0.02;
}

typedef enum matrix_role { ROLE_INNER, ROLE_ATTENTION_OUTPUT, ROLE_HIDDEN_OUTPUT } matrix_role;

/* `parts` weight matrices [out, in], one above the other, with the scheme's deviation. Sonnet: variance
 * 2/sqrt(layers) / fan_in for all but attention's output, which has 1/fan_in untruncated-corrected; Transformer-XL:
 * 0.02; GPT-2: 0.02, residual outputs / sqrt(2 layers). */
static void add_joint_matrix(builder *b, lh_tensor **tensor, int64_t parts, int64_t out, int64_t in,
                             matrix_role role, const char *suffix)
{
    const lh_model_config *c = &b->model->config;
    int64_t shape[2] = {parts * out, in};
    double layers = c->layers > 0 ? (double)c->layers : 1.0, deviation = 0.02;
    lh_init_kind init = LH_INIT_NORMAL;
    if (c->init == LH_SCHEME_FAN_IN || c->init == LH_SCHEME_FAN_IN_NORMAL) {
        init = c->init == LH_SCHEME_FAN_IN ? LH_INIT_TRUNCATED_EXACT : LH_INIT_NORMAL;
        deviation = 1.0 / sqrt((double)in);
    } else if (c->init == LH_SCHEME_UNIT_UNIFORM) {
        init = LH_INIT_UNIFORM;
        deviation = lh_init_unit_uniform(in, out);
    } else if (c->init == LH_SCHEME_SONNET) {
        init = role == ROLE_ATTENTION_OUTPUT ? LH_INIT_TRUNCATED : LH_INIT_TRUNCATED_EXACT;
        deviation = role == ROLE_ATTENTION_OUTPUT ? 1.0 / sqrt((double)in) : sqrt(2.0 / sqrt(layers) / (double)in);
    } else if (c->init == LH_SCHEME_GPT2 && role != ROLE_INNER) {
        deviation = 0.02 / sqrt(2.0 * layers);
    }
    add(b, tensor, 2, shape, init, deviation, true, suffix);
}

static void add_matrix(builder *b, lh_tensor **tensor, int64_t out, int64_t in, matrix_role role,
                       const char *suffix)
{
    add_joint_matrix(b, tensor, 1, out, in, role, suffix);
}

static void add_norm(builder *b, lh_tensor **gain, lh_tensor **bias, const char *gain_name, const char *bias_name)
{
    const lh_model_config *c = &b->model->config;
    if (c->norm_affine) {
        add_vector(b, gain, c->width, 1.0, gain_name);
    }
    if (c->norm_bias) {
        add_vector(b, bias, c->width, 0.0, bias_name);
    }
}

static void add_position_biases(builder *b, lh_layer_parameters *p)
{
    const lh_model_config *c = &b->model->config;
    int64_t shape[2] = {c->heads, c->key_width};
    bool sonnet = c->init == LH_SCHEME_SONNET;
    lh_init_kind init = sonnet ? LH_INIT_UNIFORM : LH_INIT_NORMAL;
    double scale = sonnet ? sqrt(6.0 / (double)(c->heads + c->key_width)) : 0.02;
    add(b, &p->content_bias, 2, shape, init, scale, false, "attention.content_bias");
    add(b, &p->position_bias, 2, shape, init, scale, false, "attention.position_bias");
}

static void add_attention(builder *b, lh_layer_parameters *p, int index)
{
    lh_model *model = b->model;
    const lh_model_config *c = &model->config;
    add_matrix(b, &p->query, c->heads * c->key_width, c->width, ROLE_INNER, "attention.query.weight");
    if (c->key_width == c->value_width) {
        add_joint_matrix(b, &p->key_value, 2, c->kv_heads * c->key_width, c->width, ROLE_INNER,
                         "attention.key_value.weight");
    } else {
        add_matrix(b, &p->key_value, c->kv_heads * (c->key_width + c->value_width), c->width, ROLE_INNER,
                   "attention.key_value.weight");
    }
    if (c->attention_bias) {
        add_vector(b, &p->query_bias, c->heads * c->key_width, 0.0, "attention.query.bias");
        add_vector(b, &p->key_value_bias, c->kv_heads * (c->key_width + c->value_width), 0.0,
                   "attention.key_value.bias");
    }
    add_matrix(b, &p->output, c->width, c->heads * c->value_width, ROLE_ATTENTION_OUTPUT,
               "attention.output.weight");
    if (c->output_projection_bias) {
        add_vector(b, &p->output_bias, c->width, 0.0, "attention.output.bias");
    }
    if (c->positions == LH_POSITIONS_RELATIVE) {
        add_matrix(b, &p->relative, c->heads * c->key_width, c->width, ROLE_INNER, "attention.relative.weight");
        if (!c->share_position_biases || index == 0) {
            add_position_biases(b, p);
        } else {
            p->content_bias = model->layers[0].content_bias;
            p->position_bias = model->layers[0].position_bias;
        }
    } else if (c->positions == LH_POSITIONS_T5) {
        int64_t table[2] = {c->heads, c->t5_buckets};
        add(b, &p->t5, 2, table, LH_INIT_NORMAL, 1.0 / sqrt((double)c->t5_buckets), false, "attention.t5");
    }
    if (c->head_scale) {
        add_vector(b, &p->head_scale, c->heads, 1.0, "attention.head_scale");
    }
}

/* Attention of one layer in all of them; norms, MLPs and what belongs to a memory stay each layer's own. */
static void share_attention(lh_layer_parameters *p, const lh_layer_parameters *first)
{
    p->query = first->query;
    p->query_bias = first->query_bias;
    p->key_value = first->key_value;
    p->key_value_bias = first->key_value_bias;
    p->output = first->output;
    p->output_bias = first->output_bias;
    p->relative = first->relative;
    p->content_bias = first->content_bias;
    p->position_bias = first->position_bias;
    p->t5 = first->t5;
    p->head_scale = first->head_scale;
}

static void add_mlp(builder *b, lh_layer_parameters *p)
{
    const lh_model_config *c = &b->model->config;
    bool input = c->layout != LH_NORM_OUTPUT, output = c->layout != LH_NORM_INPUT;
    if (input) {
        add_norm(b, &p->norm2_gain, &p->norm2_bias, "hidden_norm.weight", "hidden_norm.bias");
    }
    int64_t up = c->gated ? 2 * c->hidden : c->hidden;
    add_joint_matrix(b, &p->up, c->gated ? 2 : 1, c->hidden, c->width, ROLE_INNER, "hidden.up.weight");
    add_matrix(b, &p->down, c->width, c->hidden, c->init == LH_SCHEME_SONNET ? ROLE_INNER : ROLE_HIDDEN_OUTPUT,
               "hidden.down.weight");
    if (c->hidden_bias) {
        add_vector(b, &p->up_bias, up, 0.0, "hidden.up.bias");
        add_vector(b, &p->down_bias, c->width, 0.0, "hidden.down.bias");
    }
    if (output) {
        add_norm(b, &p->post2_gain, &p->post2_bias, "hidden_post_norm.weight", "hidden_post_norm.bias");
    }
}

/* What a decoder's layer looks at the encoder's result with: projections as attention has them. */
static void add_cross(builder *b, lh_layer_parameters *p)
{
    const lh_model_config *c = &b->model->config;
    int64_t row = c->kv_heads * (c->key_width + c->value_width);
    bool joint = c->key_width == c->value_width;
    if (c->layout != LH_NORM_OUTPUT) {
        add_norm(b, &p->norm_cross_gain, &p->norm_cross_bias, "cross_norm.weight", "cross_norm.bias");
    }
    add_matrix(b, &p->cross_query, c->heads * c->key_width, c->width, ROLE_INNER, "cross_attention.query.weight");
    add_joint_matrix(b, &p->cross_key_value, joint ? 2 : 1, joint ? row / 2 : row, c->width, ROLE_INNER,
                     "cross_attention.key_value.weight");
    add_matrix(b, &p->cross_output, c->width, c->heads * c->value_width, ROLE_ATTENTION_OUTPUT,
               "cross_attention.output.weight");
    if (c->attention_bias) {
        add_vector(b, &p->cross_query_bias, c->heads * c->key_width, 0.0, "cross_attention.query.bias");
        add_vector(b, &p->cross_key_value_bias, row, 0.0, "cross_attention.key_value.bias");
    }
    if (c->output_projection_bias) {
        add_vector(b, &p->cross_output_bias, c->width, 0.0, "cross_attention.output.bias");
    }
    if (c->layout != LH_NORM_INPUT) {
        add_norm(b, &p->post_cross_gain, &p->post_cross_bias, "cross_post_norm.weight", "cross_post_norm.bias");
    }
}

/* Layers from config.layers on are the encoder's. */
static void add_layer(builder *b, int index)
{
    lh_model *model = b->model;
    const lh_model_config *c = &model->config;
    lh_layer_parameters *p = &model->layers[index];
    bool input = c->layout != LH_NORM_OUTPUT, output = c->layout != LH_NORM_INPUT, encodes = index >= c->layers;
    (void)snprintf(b->prefix, sizeof b->prefix, encodes ? "encoder.%d." : "layers.%d.",
                   encodes ? index - (int)c->layers : index);
    if (input) {
        add_norm(b, &p->norm1_gain, &p->norm1_bias, "attention_norm.weight", "attention_norm.bias");
    }
    if (c->share_attention && index > 0) {
        share_attention(p, &model->layers[0]);
    } else if (!model->memory_kind->sublayer) {
        add_attention(b, p, index);
    }
    if (output) {
        add_norm(b, &p->post1_gain, &p->post1_bias, "attention_post_norm.weight", "attention_post_norm.bias");
    }
    if (model->shape.encoder_layers > 0 && !encodes) {
        add_cross(b, p);
    }
    if (c->mlp) {
        add_mlp(b, p);
    }
    if (b->status == LH_OK && model->memory_kind->parameters) {
        b->status = model->memory_kind->parameters(&model->shape, index, &model->parameters, &p->memory, b->error);
    }
}

/* An output table of its own: a matrix [rows, width] like any other, or zeros. */
static void add_output(builder *b, int band, int64_t rows, int64_t width)
{
    const lh_model_config *c = &b->model->config;
    int64_t table[2] = {rows, width};
    if (c->zero_output) {
        add(b, &b->model->output[band], 2, table, LH_INIT_CONSTANT, 0.0, true, "output.weight");
    } else if (c->init == LH_SCHEME_SONNET || c->init == LH_SCHEME_XL || c->init == LH_SCHEME_GPT2) {
        add(b, &b->model->output[band], 2, table, LH_INIT_NORMAL, 0.02, true, "output.weight");
    } else {
        add_matrix(b, &b->model->output[band], rows, width, ROLE_INNER, "output.weight");
    }
}

/* Tables of the vocabulary. Adaptive (Grave et al. 2017 as Transformer-XL has it): band b holds ids cutoff[b] ..
 * cutoff[b+1]-1; the clusters of the head softmax are rows behind band 0's, zero at the start. */
static void add_vocabulary(builder *b)
{
    lh_model *model = b->model;
    const lh_model_config *c = &model->config;
    bool own_entry = model->memory_kind->enter != NULL; /* the method brings embeddings to the model's width */
    char name[64];
    b->prefix[0] = '\0';
    for (int band = 0; band < c->bands; band++) {
        int64_t rows = c->cutoff[band + 1] - c->cutoff[band], width = lh_model_band_width(c, band);
        int64_t table[2] = {rows, width}, projection[2] = {c->width, width};
        (void)snprintf(name, sizeof name, c->bands > 1 ? "embedding.%d.weight" : "embedding.weight", band);
        lh_init_kind init;
        double scale;
        table_init(c, rows, width, &init, &scale);
        add(b, &model->embedding[band], 2, table, init, scale, false, name);
        model->output[band] = model->embedding[band];
        if (!c->tied) {
            add_output(b, band, rows, own_entry ? c->width : width);
        }
        if (width != c->width && !own_entry && !c->input_linear) {
            (void)snprintf(name, sizeof name, "embedding.%d.projection.weight", band);
            add(b, &model->projection[band], 2, projection, LH_INIT_NORMAL, 0.01, true, name);
        }
        if (c->output_bias) {
            (void)snprintf(name, sizeof name, c->bands > 1 ? "output.%d.bias" : "output.bias", band);
            add_vector(b, &model->output_bias[band], rows + (band == 0 ? c->bands - 1 : 0), 0.0, name);
        }
    }
    if (c->bands > 1) {
        int64_t clusters[2] = {c->bands - 1, c->embedding_width};
        add(b, &model->clusters, 2, clusters, LH_INIT_CONSTANT, 0.0, true, "output.clusters.weight");
    }
    if (c->embedding_width != c->width &&
        (c->tied || !own_entry)) { /* the head's own projection; the tails' are tied to the input's */
        int64_t projection[2] = {c->width, c->embedding_width};
        bool uniform = c->init == LH_SCHEME_UNIT_UNIFORM;
        add(b, &model->head_projection, 2, projection, uniform ? LH_INIT_UNIFORM : LH_INIT_NORMAL,
            uniform ? lh_init_unit_uniform(c->width, c->embedding_width) : 0.01, true, "output.projection.weight");
        if (c->input_linear) {
            add_vector(b, &model->head_projection_bias, c->embedding_width, 0.0, "output.projection.bias");
        }
    }
    if (c->positions == LH_POSITIONS_LEARNED) {
        int64_t table[2] = {c->segment, c->width};
        add(b, &model->positions, 2, table, LH_INIT_NORMAL, 0.02, false, "positions.weight");
    }
    if (c->input_relu || c->input_linear) {
        add_matrix(b, &model->input_weight, c->width, c->input_linear ? c->embedding_width : c->width, ROLE_INNER,
                   "input.weight");
        add_vector(b, &model->input_bias, c->width, 0.0, "input.bias");
    }
    if (c->final_norm) {
        add_norm(b, &model->final_gain, &model->final_bias, "final_norm.weight", "final_norm.bias");
    }
    if (c->final_norm && model->shape.encoder_layers > 0) {
        add_norm(b, &model->encoder_gain, &model->encoder_bias, "encoder.final_norm.weight",
                 "encoder.final_norm.bias");
    }
}

static lh_status make_qk_gain(lh_model *model, lh_error *error)
{
    int64_t width = model->config.key_width;
    double value = 1.0 / sqrt((double)width);
    LH_TRY(lh_tensor_create(&model->qk_gain, model->backend, model->parameters.dtype, 1, &width, "qk gain", error));
    lh_context *context;
    LH_TRY(lh_context_create(&context, model->backend, 1, error));
    lh_fill_args fill = {.n = width, .value = value, .y = lh_tensor_data(model->qk_gain)};
    lh_run(context, LH_KERNEL_FILL, model->parameters.dtype, &fill);
    lh_status status = lh_context_status(context, error);
    lh_context_free(context);
    return status;
}

/* Constant tables: sinusoids by distance or position, ALiBi slopes, rotary frequencies. */
static lh_status make_tables(lh_model *model, lh_error *error)
{
    const lh_model_config *c = &model->config;
    lh_status status = LH_OK;
    if (c->positions == LH_POSITIONS_ROTARY) {
        int64_t rotated = 2 * (int64_t)(c->rope_fraction * (double)c->key_width / 2.0);
        model->rope_frequency = lh_heap_alloc(sizeof(double) * (size_t)rotated);
        if (!model->rope_frequency) {
            return lh_fail(error, LH_E_MEMORY, "no memory for rotary frequencies");
        }
        lh_rope_frequencies(model->rope_frequency, rotated, c->rope_base, c->rope_factor, c->rope_closed);
        model->rope = (lh_rope_options){.rotated = rotated,
                                        .interleaved = c->rope_interleaved,
                                        .frequency = model->rope_frequency,
                                        .magnitude = 1.0};
    }
    if (c->qk_norm == LH_QK_L2) {
        LH_TRY(make_qk_gain(model, error));
    }
    bool sinusoids = c->positions == LH_POSITIONS_RELATIVE || c->positions == LH_POSITIONS_SINUSOIDAL;
    if (!sinusoids && c->positions != LH_POSITIONS_ALIBI) {
        return LH_OK;
    }
    lh_context *context;
    LH_TRY(lh_context_create(&context, model->backend, 1, error));
    lh_tensor *table =
        sinusoids ? lh_sinusoids(context, model->parameters.dtype, 0, model->distances, c->width, 10000.0, c->clamp)
                  : lh_alibi(context, model->parameters.dtype, c->heads, 0, model->distances);
    lh_tensor **kept = sinusoids ? &model->sinusoids : &model->alibi;
    if (table) {
        size_t bytes = (size_t)lh_tensor_count(table) * lh_dtype_size(table->dtype);
        void *host = lh_heap_alloc(bytes);
        status = host ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for position tables");
        if (status == LH_OK) {
            status = lh_tensor_create(kept, model->backend, table->dtype, table->ndim, table->shape,
                                      "position table", error);
        }
        if (status == LH_OK) {
            (void)lh_tensor_read(table, host, error);
            status = lh_tensor_write(*kept, host, error);
        }
        lh_heap_free(host);
    } else {
        status = lh_context_status(context, error);
    }
    lh_context_free(context);
    return status;
}

/* The model keeps its own resolved recipe: the sections [model] and [memory] of the caller's, with the vocabulary.
 */
static lh_status copy_recipe(lh_recipe **copy, const lh_recipe *recipe, int64_t vocab, lh_error *error)
{
    lh_string text = {0};
    lh_recipe_write(recipe, false, &text);
    if (text.failed) {
        lh_string_free(&text);
        return lh_fail(error, LH_E_MEMORY, "no memory for the recipe");
    }
    /* Only the two sections are the model's: drop the others. */
    lh_string kept = {0};
    bool keep = false;
    for (char *line = text.data; line && *line;) {
        char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) + 1 : strlen(line);
        if (line[0] == '[') {
            keep = strncmp(line, "[model]", 7) == 0 || strncmp(line, "[memory]", 8) == 0;
        }
        if (keep && strncmp(line, "vocab", 5) != 0) {
            lh_string_append(&kept, line, length);
        }
        line += length;
    }
    lh_status status = kept.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the recipe")
                                   : lh_recipe_create(copy, lh_model_recipe_tables(), NULL, 0, error);
    if (status == LH_OK) {
        status = lh_recipe_read_text(*copy, "model", kept.data ? kept.data : "", kept.size, error);
    }
    if (status == LH_OK) {
        char argument[64];
        (void)snprintf(argument, sizeof argument, "model.vocab=%lld", (long long)vocab);
        status = lh_recipe_override(*copy, argument, error);
    }
    if (status == LH_OK) {
        status = lh_recipe_resolve(*copy, error);
    }
    lh_string_free(&text);
    lh_string_free(&kept);
    return status;
}

/* What stands in the way of an encoder: its layers are the decoder's own, run in both directions. */
static lh_status check_encoder(const lh_model *model, lh_error *error)
{
    const lh_model_config *c = &model->config;
    const lh_memory_shape *shape = &model->shape;
    if (shape->encoder_layers == 0) {
        return LH_OK;
    }
    if (c->layers + shape->encoder_layers > LH_MEMORY_MAX_LAYERS) {
        return lh_recipe_reject(model->recipe, "model.layers", error, "and %lld of the encoder are more than %d",
                                (long long)shape->encoder_layers, LH_MEMORY_MAX_LAYERS);
    }
    if (c->positions != LH_POSITIONS_NONE && c->positions != LH_POSITIONS_ROTARY) {
        return lh_recipe_reject(model->recipe, "model.positions", error,
                                "does not reach over a source: set none or rotary for a model with an encoder");
    }
    static const char *const absent[] = {"model.null_logit", "model.share_attention", "model.head_scale"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        if (lh_recipe_boolean(model->recipe, absent[i])) {
            return lh_recipe_reject(model->recipe, absent[i], error, "does not go with an encoder");
        }
    }
    return c->mlp ? LH_OK
                  : lh_recipe_reject(model->recipe, "model.mlp", error, "must be true for a model with an encoder");
}

static lh_status build(lh_model *model, const lh_recipe *recipe, int64_t vocab, lh_error *error)
{
    LH_TRY(copy_recipe(&model->recipe, recipe, vocab, error));
    LH_TRY(lh_model_config_read(&model->config, model->recipe, error));
    const lh_model_config *c = &model->config;
    model->memory_kind = lh_memory_kind_find(lh_recipe_string(model->recipe, "memory.kind"));
    if (!model->memory_kind) {
        return lh_fail(error, LH_E_CONFIG, "memory.kind = %s is not a memory",
                       lh_recipe_string(model->recipe, "memory.kind"));
    }
    model->shape = (lh_memory_shape){.layers = c->layers,
                                     .width = c->width,
                                     .heads = c->heads,
                                     .kv_heads = c->kv_heads,
                                     .key_width = c->key_width,
                                     .value_width = c->value_width,
                                     .segment = c->segment,
                                     .recipe = model->recipe,
                                     .norm_eps = c->norm_eps,
                                     .relative = c->positions == LH_POSITIONS_RELATIVE,
                                     .same_length = c->same_length,
                                     .clamp = c->clamp};
    LH_TRY(model->memory_kind->configure(&model->shape, &model->memory_options, error));
    model->shape.options = model->memory_options;
    model->distances = model->memory_kind->history(&model->shape) + c->segment;
    if (model->memory_kind->encoder) {
        model->memory_kind->encoder(&model->shape, &model->shape.encoder_layers, &model->shape.source);
    }
    LH_TRY(check_encoder(model, error));
    int64_t layers = c->layers + model->shape.encoder_layers;
    model->layers = lh_heap_alloc(sizeof *model->layers * (size_t)(layers ? layers : 1));
    if (!model->layers) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %lld layers", (long long)layers);
    }
    model->memory_parameters = lh_heap_alloc(sizeof(void *) * (size_t)(layers ? layers : 1));
    if (!model->memory_parameters) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %lld layers", (long long)layers);
    }
    for (int i = 0; i < layers; i++) {
        model->memory_parameters[i] = &model->layers[i].memory;
    }
    builder b = {.model = model, .status = LH_OK, .error = error};
    add_vocabulary(&b);
    if (b.status == LH_OK && model->memory_kind->parameters) {
        b.status =
            model->memory_kind->parameters(&model->shape, -1, &model->parameters, &model->entry_parameters, error);
    }
    for (int i = 0; i < layers && b.status == LH_OK; i++) {
        add_layer(&b, i);
    }
    LH_TRY(b.status);
    return make_tables(model, error);
}

lh_status lh_model_create(lh_model **model, const lh_recipe *recipe, int64_t vocab, const lh_backend *backend,
                          lh_dtype dtype, lh_error *error)
{
    *model = NULL;
    lh_model *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a model");
    }
    fresh->backend = backend;
    fresh->parameters.backend = backend;
    fresh->parameters.dtype = dtype;
    lh_status status = build(fresh, recipe, vocab, error);
    if (status != LH_OK) {
        lh_model_free(fresh);
        return status;
    }
    *model = fresh;
    return LH_OK;
}

void lh_model_free(lh_model *model)
{
    if (model) {
        lh_parameters_free(&model->parameters);
        lh_tensor_free(model->sinusoids);
        lh_tensor_free(model->alibi);
        lh_heap_free(model->rope_frequency);
        lh_heap_free(model->memory_options);
        lh_heap_free(model->layers);
        lh_heap_free(model->memory_parameters);
        lh_tensor_free(model->qk_gain);
        lh_recipe_free(model->recipe);
        lh_heap_free(model);
    }
}

/* Does a token's forward pass multiply with this matrix? Not with look-up tables, biases, positions, what is
 * learned without gradients, and what only a source's tokens meet. */
static bool multiplied(const lh_model *model, const lh_parameter *p)
{
    size_t length = strlen(p->name);
    bool table = strncmp(p->name, "embedding.", 10) == 0 && strstr(p->name, "projection") == NULL;
    bool source = strncmp(p->name, "encoder.", 8) == 0 || strstr(p->name, "cross_attention.key_value") != NULL;
    return !source && p->tensor->ndim >= 2 && p->group != LH_GROUP_STATISTICS && strstr(p->name, "bias") == NULL &&
           strncmp(p->name, "positions", 9) != 0 && strstr(p->name, ".t5") == NULL &&
           !(length > 6 && strcmp(p->name + length - 6, ".table") == 0) && (!table || model->config.tied);
}

int64_t lh_model_active_parameters(const lh_model *model)
{
    int64_t total = 0;
    for (int i = 0; i < model->parameters.count; i++) {
        if (multiplied(model, &model->parameters.items[i])) {
            total += lh_tensor_count(model->parameters.items[i].tensor);
        }
    }
    for (int layer = 0; model->memory_kind->idle_keys && layer < model->config.layers; layer++) {
        total -=
            model->memory_kind->idle_keys(&model->shape, layer) * model->config.key_width * model->config.width;
    }
    return total;
}

double lh_model_attention_flops(const lh_model *model)
{
    const lh_model_config *c = &model->config;
    const lh_memory_kind *kind = model->memory_kind;
    double keys = 0;
    for (int layer = 0; layer < c->layers; layer++) {
        keys += kind->keys_seen ? kind->keys_seen(&model->shape, layer)
                                : ((double)c->segment + 1.0) / 2.0 + (double)kind->history(&model->shape);
    }
    double entry = kind->entry_flops ? kind->entry_flops(&model->shape) : 0.0;
    return entry + 2.0 * keys * (double)c->heads * (double)(c->key_width + c->value_width);
}

double lh_model_training_flops(const lh_model *model)
{
    return 6.0 * (double)lh_model_active_parameters(model) + 3.0 * lh_model_attention_flops(model);
}
