#include "infer/describe.h"

#include "base/memory.h"

#include <string.h>
#include <sys/mman.h>

const char *lh_parameter_part_name(lh_parameter_part part)
{
    static const char *const names[LH_PARTS] = {"vocabulary", "attention",   "positions", "mlp",
                                                "norms",      "compression", "memory"};
    return part >= 0 && part < LH_PARTS ? names[part] : "unknown";
}

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static lh_parameter_part part_of(const char *name)
{
    if (begins(name, "embedding.") || begins(name, "output.")) {
        return LH_PART_VOCABULARY;
    }
    if (strstr(name, "memory.")) {
        return LH_PART_MEMORY;
    }
    if (strstr(name, "compression.")) {
        return LH_PART_COMPRESSION;
    }
    if (strstr(name, "norm")) {
        return LH_PART_NORMS;
    }
    if (begins(name, "positions.") || strstr(name, "relative") || strstr(name, "content_bias") ||
        strstr(name, "position_bias") || strstr(name, ".t5")) {
        return LH_PART_POSITIONS;
    }
    return strstr(name, "attention.") ? LH_PART_ATTENTION : LH_PART_MLP;
}

int64_t lh_model_reach(const lh_model *model)
{
    const lh_memory_kind *kind = model->memory_kind;
    return kind->reach ? kind->reach(&model->shape) : kind->history(&model->shape);
}

int64_t lh_model_fill(const lh_model *model)
{
    int64_t reach = lh_model_reach(model);
    return reach < LH_DISTANCE_ANY ? reach : model->memory_kind->history(&model->shape);
}

static lh_status count_state(lh_model_description *d, const lh_model *model, lh_error *error)
{
    lh_memory *memory;
    lh_memory_options options = lh_model_memory_options(model, 1, true);
    LH_TRY(lh_memory_create(&memory, &options, error));
    d->state_bytes = lh_memory_stream_bytes(memory);
    d->running_bytes = lh_memory_running_bytes(memory);
    lh_memory_free(memory);
    const lh_model_config *c = &model->config;
    int64_t row = c->kv_heads * (c->key_width + c->value_width) + c->width;
    row = model->memory_kind->sublayer ? 0 : row;
    int64_t source = c->kv_heads * (c->key_width + c->value_width) * model->shape.source; /* 0: no encoder */
    d->running_bytes += c->layers * source * (int64_t)lh_dtype_size(model->parameters.dtype);
    d->running_bytes +=
        c->layers * c->segment * lh_model_copies(model) * row * (int64_t)lh_dtype_size(model->parameters.dtype);
    return LH_OK;
}

lh_status lh_model_describe(lh_model_description *description, const lh_model *model, lh_error *error)
{
    lh_model_description d = {0};
    for (int i = 0; i < model->parameters.count; i++) {
        const lh_parameter *p = &model->parameters.items[i];
        int64_t count = lh_tensor_count(p->tensor);
        d.parameters += count;
        d.parts[part_of(p->name)] += count;
        d.compressed_own += strstr(p->name, "attention.compressed_") ? count : 0;
    }
    d.body = d.parameters - d.parts[LH_PART_VOCABULARY];
    d.active = lh_model_active_parameters(model);
    d.attention_flops = lh_model_attention_flops(model);
    d.flops = 2.0 * (double)d.active + d.attention_flops;
    d.training_flops = lh_model_training_flops(model);
    d.reach = lh_model_reach(model);
    d.source = model->shape.source;
    d.encoder_layers = model->shape.encoder_layers;
    d.note = model->memory_kind->note ? model->memory_kind->note(&model->shape) : NULL;
    LH_TRY(count_state(&d, model, error));
    *description = d;
    return LH_OK;
}

/* A backend whose memory is address space only: pages that nobody writes to cost nothing. */
static void *lazy_allocate(const lh_backend *backend, size_t bytes)
{
    (void)backend;
    size_t size = bytes > 0 ? bytes : 1;
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return data == MAP_FAILED ? NULL : data;
}

static void lazy_release(const lh_backend *backend, void *data, size_t bytes)
{
    (void)backend;
    if (data) {
        (void)munmap(data, bytes > 0 ? bytes : 1);
    }
}

lh_status lh_recipe_describe_model(lh_model_description *description, const lh_recipe *recipe, int64_t vocab,
                                   lh_error *error)
{
    lh_model *model;
    lh_backend backend = *lh_backend_cpu();
    backend.name = "description";
    backend.allocate = lazy_allocate;
    backend.release = lazy_release;
    LH_TRY(lh_model_create(&model, recipe, vocab, &backend, LH_F32, error));
    lh_status status = lh_model_describe(description, model, error);
    lh_model_free(model);
    return status;
}
