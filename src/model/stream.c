/* Streams: the memories of `batch` documents and, for inference, the part of a segment that has been read. */
#include "model/model.h"

lh_memory_options lh_model_memory_options(const lh_model *model, int64_t batch, bool inference)
{
    return (lh_memory_options){.kind = model->memory_kind,
                               .shape = &model->shape,
                               .parameters = model->memory_parameters,
                               .entry_parameters = &model->entry_parameters,
                               .backend = model->backend,
                               .dtype = model->parameters.dtype,
                               .batch = batch,
                               .unroll = inference ? 1 : model->unroll,
                               .inference = inference};
}

int64_t lh_model_copies(const lh_model *model)
{
    const lh_memory_kind *kind = model->memory_kind;
    return kind->copies ? kind->copies(&model->shape) : 1;
}

static lh_status segment_caches(lh_stream *stream, lh_error *error)
{
    const lh_model_config *c = &stream->model->config;
    size_t layers = (size_t)(c->layers ? c->layers : 1);
    stream->keys = lh_heap_alloc(sizeof(lh_tensor *) * layers);
    stream->values = lh_heap_alloc(sizeof(lh_tensor *) * layers);
    stream->inputs = lh_heap_alloc(sizeof(lh_tensor *) * layers);
    stream->relative = lh_heap_alloc(sizeof(lh_tensor *) * layers);
    stream->relative_valid = lh_heap_alloc(sizeof(bool) * layers);
    if (!stream->keys || !stream->values || !stream->inputs || !stream->relative || !stream->relative_valid) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a stream of %lld layers", (long long)c->layers);
    }
    int64_t rows = c->segment * lh_model_copies(stream->model);
    int64_t keys[4] = {stream->batch, rows, c->kv_heads, c->key_width};
    int64_t values[4] = {stream->batch, rows, c->kv_heads, c->value_width};
    int64_t inputs[3] = {stream->batch, rows, c->width};
    int64_t table[2] = {stream->model->distances, c->heads * c->key_width};
    const lh_backend *backend = stream->model->backend;
    lh_dtype dtype = stream->model->parameters.dtype;
    for (int i = 0; i < c->layers && !stream->model->memory_kind->sublayer; i++) {
        LH_TRY(lh_tensor_create(&stream->keys[i], backend, dtype, 4, keys, "segment keys", error));
        LH_TRY(lh_tensor_create(&stream->values[i], backend, dtype, 4, values, "segment values", error));
        LH_TRY(lh_tensor_create(&stream->inputs[i], backend, dtype, 3, inputs, "segment inputs", error));
        if (c->positions == LH_POSITIONS_RELATIVE) {
            LH_TRY(lh_tensor_create(&stream->relative[i], backend, dtype, 2, table, "relative table", error));
        }
    }
    return LH_OK;
}

static lh_status source_caches(lh_stream *stream, lh_error *error)
{
    const lh_model *model = stream->model;
    const lh_model_config *c = &model->config;
    int64_t shape[3] = {stream->batch, model->shape.source, c->kv_heads * (c->key_width + c->value_width)};
    if (model->shape.encoder_layers == 0) {
        return LH_OK;
    }
    stream->cross = lh_heap_alloc(sizeof(lh_tensor *) * (size_t)c->layers);
    if (!stream->cross) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a stream of %lld layers", (long long)c->layers);
    }
    for (int i = 0; i < c->layers; i++) {
        LH_TRY(lh_tensor_create(&stream->cross[i], model->backend, model->parameters.dtype, 3, shape,
                                "keys and values of the source", error));
    }
    return LH_OK;
}

lh_status lh_stream_create(lh_stream **stream, const lh_model *model, int64_t batch, bool inference,
                           lh_error *error)
{
    *stream = NULL;
    if (batch < 1) {
        return lh_fail(error, LH_E_ARGUMENT, "a stream needs at least one document at a time, not %lld",
                       (long long)batch);
    }
    lh_stream *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a stream");
    }
    fresh->model = model;
    fresh->batch = batch;
    fresh->inference = inference;
    lh_memory_options options = lh_model_memory_options(model, batch, inference);
    lh_status status = lh_memory_create(&fresh->memory, &options, error);
    if (status == LH_OK && inference) {
        status = segment_caches(fresh, error);
    }
    if (status == LH_OK && inference) {
        status = source_caches(fresh, error);
    }
    if (status != LH_OK) {
        lh_stream_free(fresh);
        return status;
    }
    *stream = fresh;
    return LH_OK;
}

void lh_stream_free(lh_stream *stream)
{
    if (!stream) {
        return;
    }
    for (int i = 0; i < stream->model->config.layers && stream->keys; i++) {
        lh_tensor_free(stream->keys[i]);
        lh_tensor_free(stream->values ? stream->values[i] : NULL);
        lh_tensor_free(stream->inputs ? stream->inputs[i] : NULL);
        lh_tensor_free(stream->relative ? stream->relative[i] : NULL);
        lh_tensor_free(stream->cross ? stream->cross[i] : NULL);
    }
    lh_heap_free(stream->cross);
    lh_heap_free(stream->keys);
    lh_heap_free(stream->values);
    lh_heap_free(stream->inputs);
    lh_heap_free(stream->relative);
    lh_heap_free(stream->relative_valid);
    lh_memory_free(stream->memory);
    lh_heap_free(stream);
}

lh_status lh_stream_reset(lh_stream *stream, lh_context *context, int64_t lane, lh_error *error)
{
    if (lane >= stream->batch) {
        return lh_fail(error, LH_E_ARGUMENT, "there is no stream %lld among %lld", (long long)lane,
                       (long long)stream->batch);
    }
    if (lane >= 0 && stream->fill != 0 && stream->batch > 1) {
        return lh_fail(error, LH_E_ARGUMENT, "one of several streams can be reset only where a segment begins");
    }
    lh_memory_reset(stream->memory, context, stream->batch == 1 ? -1 : lane);
    if (lane < 0 || stream->batch == 1) {
        stream->fill = 0;
        stream->position = 0;
    }
    return lh_context_status(context, error);
}

static lh_status copy_tensor(lh_tensor *to, const lh_tensor *from, lh_error *error)
{
    if (!to || !from) {
        return LH_OK;
    }
    void *host = lh_heap_alloc((size_t)lh_tensor_count(from) * lh_dtype_size(from->dtype));
    if (!host) {
        return lh_fail(error, LH_E_MEMORY, "no memory to copy a stream");
    }
    lh_status status = lh_tensor_read(from, host, error);
    if (status == LH_OK) {
        status = lh_tensor_write(to, host, error);
    }
    lh_heap_free(host);
    return status;
}

lh_status lh_stream_copy(lh_stream *to, const lh_stream *from, lh_error *error)
{
    if (to->model != from->model || to->batch != from->batch || to->inference != from->inference) {
        return lh_fail(error, LH_E_ARGUMENT, "a stream can be copied only to one of the same model and batch");
    }
    LH_TRY(lh_memory_copy(to->memory, from->memory, error));
    for (int i = 0; i < from->model->config.layers && from->inference; i++) {
        LH_TRY(copy_tensor(to->keys[i], from->keys[i], error));
        LH_TRY(copy_tensor(to->values[i], from->values[i], error));
        LH_TRY(copy_tensor(to->inputs[i], from->inputs[i], error));
        LH_TRY(copy_tensor(to->relative[i], from->relative[i], error));
        to->relative_valid[i] = from->relative_valid[i];
        LH_TRY(from->cross ? copy_tensor(to->cross[i], from->cross[i], error) : LH_OK);
    }
    to->fill = from->fill;
    to->position = from->position;
    return LH_OK;
}

int64_t lh_stream_bytes(const lh_stream *stream)
{
    const lh_model_config *c = &stream->model->config;
    int64_t element = (int64_t)lh_dtype_size(stream->model->parameters.dtype);
    int64_t row = c->kv_heads * (c->key_width + c->value_width) + c->width;
    bool own = stream->inference && !stream->model->memory_kind->sublayer;
    int64_t segment = own ? c->layers * c->segment * lh_model_copies(stream->model) * row * element : 0;
    int64_t source = stream->cross ? c->layers * stream->model->shape.source * (row - c->width) * element : 0;
    return lh_memory_stream_bytes(stream->memory) + lh_memory_running_bytes(stream->memory) + segment + source;
}

void lh_stream_commit(lh_stream *stream, lh_context *context)
{
    lh_memory_commit(stream->memory, context);
}

void lh_stream_rollback(lh_stream *stream)
{
    lh_memory_rollback(stream->memory);
}
