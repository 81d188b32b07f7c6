/* Sessions on disk, in the checkpoint format: every state tensor, the running segment, and where the document
 * stands. What can be computed again from them (projections of the memory) is not written. */
#include "formats/checkpoint.h"
#include "infer/session_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Host copies that a writer borrows until the file is written. */
typedef struct copies {
    void **items;
    size_t count, capacity;
} copies;

static void *copy_to_host(copies *list, const lh_tensor *tensor, const char *path, lh_error *error)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void **items = lh_heap_realloc(list->items, sizeof *items * capacity);
        if (!items) {
            (void)lh_fail(error, LH_E_MEMORY, "%s: no memory to write the session", path);
            return NULL;
        }
        list->items = items;
        list->capacity = capacity;
    }
    void *host = lh_heap_alloc((size_t)lh_tensor_count(tensor) * lh_dtype_size(tensor->dtype));
    if (!host) {
        (void)lh_fail(error, LH_E_MEMORY, "%s: no memory to write the session", path);
        return NULL;
    }
    list->items[list->count++] = host;
    return lh_tensor_read(tensor, host, error) == LH_OK ? host : NULL;
}

static void copies_free(copies *list)
{
    for (size_t i = 0; i < list->count; i++) {
        lh_heap_free(list->items[i]);
    }
    lh_heap_free(list->items);
}

/* Visits every tensor that makes up the state, by name. */
typedef lh_status (*visitor)(void *user, const char *name, lh_tensor *tensor, lh_error *error);

static lh_status visit_state(const lh_session *s, visitor visit, void *user, lh_error *error)
{
    char name[96];
    lh_stream *stream = s->stream;
    for (int i = 0; i < stream->memory->state_count; i++) {
        lh_state_tensor *state = &stream->memory->state[i];
        if (lh_state_saved(state->class, true)) {
            (void)snprintf(name, sizeof name, "state.%s", state->name);
            LH_TRY(visit(user, name, state->stored, error));
        }
    }
    for (int i = 0; i < s->model->config.layers; i++) {
        lh_tensor *list[3] = {stream->keys[i], stream->values[i], stream->inputs[i]};
        static const char *const what[3] = {"keys", "values", "inputs"};
        for (int j = 0; j < 3 && list[j]; j++) {
            (void)snprintf(name, sizeof name, "segment.%d.%s", i, what[j]);
            LH_TRY(visit(user, name, list[j], error));
        }
    }
    return LH_OK;
}

/* Tells one set of weights from another: a hash over the ends of every parameter. */
static void weights_fingerprint(const lh_model *model, char *text, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < model->parameters.count; i++) {
        const lh_tensor *t = model->parameters.items[i].tensor;
        const lh_backend *backend = t->storage->backend;
        size_t bytes = (size_t)lh_tensor_count(t) * lh_dtype_size(t->dtype);
        unsigned char ends[128] = {0};
        size_t part = bytes < 64 ? bytes : 64;
        backend->to_host(backend, ends, lh_tensor_data(t), part);
        backend->to_host(backend, ends + 64, (const char *)lh_tensor_data(t) + (bytes - part), part);
        for (size_t j = 0; j < sizeof ends; j++) {
            hash = (hash ^ ends[j]) * 1099511628211u;
        }
    }
    (void)snprintf(text, size, "%016" PRIx64, hash);
}

/* The resolved configuration, so that a session is not restored under other sizes, distances or visibility. */
static lh_status configuration_fingerprint(const lh_model *model, char *text, size_t size, lh_error *error)
{
    uint64_t hash = 14695981039346656037u;
    lh_string recipe = {0};
    lh_recipe_write(model->recipe, false, &recipe);
    if (recipe.failed) {
        lh_string_free(&recipe);
        return lh_fail(error, LH_E_MEMORY, "no memory for the configuration of a session");
    }
    for (size_t i = 0; i < recipe.size; i++) {
        hash = (hash ^ (unsigned char)recipe.data[i]) * 1099511628211u;
    }
    lh_string_free(&recipe);
    (void)snprintf(text, size, "%016" PRIx64, hash);
    return LH_OK;
}

/* What follows the last token, where that is known. */
static lh_safetensors_tensor logits_entry(const lh_session *s)
{
    return (lh_safetensors_tensor){.name = "logits",
                                   .dtype = LH_SAFETENSORS_F32,
                                   .ndim = 2,
                                   .shape = {s->stream->batch, s->model->config.vocab},
                                   .data = s->logits};
}

typedef struct save_visit {
    lh_checkpoint_writer *writer;
    copies copies;
    const char *path;
} save_visit;

static lh_status save_tensor(void *user, const char *name, lh_tensor *tensor, lh_error *error)
{
    save_visit *v = user;
    void *host = copy_to_host(&v->copies, tensor, v->path, error);
    if (!host) {
        return error ? error->status : LH_E_MEMORY;
    }
    lh_safetensors_tensor entry = {
        .name = name, .dtype = lh_safetensors_dtype_of(tensor->dtype), .ndim = tensor->ndim, .data = host};
    memcpy(entry.shape, tensor->shape, sizeof(int64_t) * (size_t)tensor->ndim);
    return lh_checkpoint_add(v->writer, &entry, error);
}

static lh_status save_all(const lh_session *s, save_visit *v, const char *path, lh_session_add add, void *user,
                          lh_error *error)
{
    char weights[32], configuration[32];
    size_t cells = (size_t)(s->stream->batch * s->model->config.segment);
    weights_fingerprint(s->model, weights, sizeof weights);
    LH_TRY(configuration_fingerprint(s->model, configuration, sizeof configuration, error));
    LH_TRY(lh_checkpoint_add_text(v->writer, "weights", weights, error));
    LH_TRY(lh_checkpoint_add_text(v->writer, "configuration", configuration, error));
    LH_TRY(visit_state(s, save_tensor, v, error));
    if (s->known) {
        lh_safetensors_tensor logits = logits_entry(s);
        LH_TRY(lh_checkpoint_add(v->writer, &logits, error));
    }
    LH_TRY(lh_checkpoint_add_integer(v->writer, "lanes", s->stream->batch, error));
    LH_TRY(lh_checkpoint_add_integer(v->writer, "fill", s->stream->fill, error));
    LH_TRY(lh_checkpoint_add_integer(v->writer, "position", s->stream->position, error));
    LH_TRY(lh_checkpoint_add_integer(v->writer, "segments", s->stream->memory->segments, error));
    LH_TRY(lh_checkpoint_add_integer(v->writer, "overlap", s->overlap, error));
    LH_TRY(lh_checkpoint_add_integer(v->writer, "fresh", s->fresh, error));
    LH_TRY(lh_checkpoint_add_blob(v->writer, "tokens", s->segment, cells * sizeof *s->segment, error));
    if (add) {
        LH_TRY(add(user, v->writer, error));
    }
    return lh_checkpoint_write_file(v->writer, path, s->stream->position, error);
}

lh_status lh_session_save(const lh_session *session, const char *path, lh_error *error)
{
    return lh_session_save_with(session, path, NULL, NULL, error);
}

lh_status lh_session_save_with(const lh_session *session, const char *path, lh_session_add add, void *user,
                               lh_error *error)
{
    lh_error local = {0};
    lh_error *sink = error ? error : &local;
    save_visit v = {.path = path};
    LH_TRY(lh_checkpoint_writer_create(&v.writer, sink));
    lh_status status = save_all(session, &v, path, add, user, sink);
    lh_checkpoint_writer_free(v.writer);
    copies_free(&v.copies);
    return status;
}

typedef struct restore_visit {
    const lh_safetensors *file;
    bool check_only;
} restore_visit;

static lh_status restore_tensor(void *user, const char *name, lh_tensor *tensor, lh_error *error)
{
    const restore_visit *v = user;
    void *host = lh_heap_alloc((size_t)lh_tensor_count(tensor) * lh_dtype_size(tensor->dtype));
    if (!host) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read '%s' of a session", name);
    }
    lh_status status = lh_safetensors_load(v->file, name, lh_safetensors_dtype_of(tensor->dtype), tensor->ndim,
                                           tensor->shape, host, error);
    if (status == LH_OK && !v->check_only) {
        status = lh_tensor_write(tensor, host, error);
    }
    lh_heap_free(host);
    return status;
}

/* The numbers beside the tensors. */
typedef struct session_place {
    int64_t lanes, fill, position, segments, overlap, fresh;
} session_place;

static lh_status check_model(const lh_session *s, const lh_checkpoint *file, const char *path, lh_error *error)
{
    char weights[32], configuration[32];
    const char *saved = lh_safetensors_metadata(lh_checkpoint_file(file), "weights");
    const char *saved_as = lh_safetensors_metadata(lh_checkpoint_file(file), "configuration");
    weights_fingerprint(s->model, weights, sizeof weights);
    LH_TRY(configuration_fingerprint(s->model, configuration, sizeof configuration, error));
    if (!saved || !saved_as) {
        return lh_fail(error, LH_E_FORMAT, "%s: this is a checkpoint, but not a session", path);
    }
    if (strcmp(saved_as, configuration) != 0) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: this session was saved under another configuration of the model (memory, segment or "
                       "positions)",
                       path);
    }
    if (strcmp(saved, weights) != 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: this session was saved with other weights than the model's", path);
    }
    return LH_OK;
}

static lh_status read_place(const lh_session *s, const lh_checkpoint *file, const char *path, session_place *place,
                            lh_error *error)
{
    LH_TRY(lh_checkpoint_integer(file, "lanes", &place->lanes, error));
    LH_TRY(lh_checkpoint_integer(file, "fill", &place->fill, error));
    LH_TRY(lh_checkpoint_integer(file, "position", &place->position, error));
    LH_TRY(lh_checkpoint_integer(file, "segments", &place->segments, error));
    LH_TRY(lh_checkpoint_integer(file, "overlap", &place->overlap, error));
    LH_TRY(lh_checkpoint_integer(file, "fresh", &place->fresh, error));
    if (place->lanes != s->stream->batch) {
        return lh_fail(error, LH_E_FORMAT, "%s: holds %lld documents side by side, not %lld", path,
                       (long long)place->lanes, (long long)s->stream->batch);
    }
    if (place->fill < 0 || place->fill >= s->model->config.segment || place->position < 0 || place->segments < 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: %lld tokens of a segment of %lld at position %lld are impossible",
                       path, (long long)place->fill, (long long)s->model->config.segment,
                       (long long)place->position);
    }
    return LH_OK;
}

static lh_status read_tokens(const lh_session *s, const lh_checkpoint *file, const char *path, int32_t *tokens,
                             lh_error *error)
{
    size_t cells = (size_t)(s->stream->batch * s->model->config.segment);
    LH_TRY(lh_checkpoint_load_blob(file, "tokens", tokens, cells * sizeof *tokens, error));
    for (size_t i = 0; i < cells; i++) {
        if (tokens[i] < 0 || tokens[i] >= s->model->config.vocab) {
            return lh_fail(error, LH_E_FORMAT, "%s: token id %d is not below the vocabulary of %lld", path,
                           tokens[i], (long long)s->model->config.vocab);
        }
    }
    return LH_OK;
}

/* Into s->wide, which nothing else uses meanwhile. */
static lh_status read_logits(const lh_session *s, const lh_checkpoint *file, bool *known, lh_error *error)
{
    const lh_safetensors *tensors = lh_checkpoint_file(file);
    lh_safetensors_tensor logits = logits_entry(s);
    *known = lh_safetensors_find(tensors, logits.name) != NULL;
    return *known
               ? lh_safetensors_load(tensors, logits.name, logits.dtype, logits.ndim, logits.shape, s->wide, error)
               : LH_OK;
}

/* Everything is read and checked once before anything changes. */
static lh_status restore_all(lh_session *s, const lh_checkpoint *file, const char *path, int32_t *tokens,
                             lh_session_take take, void *user, lh_error *error)
{
    session_place place = {0};
    restore_visit v = {.file = lh_checkpoint_file(file), .check_only = true};
    bool known;
    LH_TRY(check_model(s, file, path, error));
    LH_TRY(read_place(s, file, path, &place, error));
    LH_TRY(read_tokens(s, file, path, tokens, error));
    LH_TRY(read_logits(s, file, &known, error));
    LH_TRY(visit_state(s, restore_tensor, &v, error));
    if (take) {
        LH_TRY(take(user, file, error));
    }
    v.check_only = false;
    LH_TRY(visit_state(s, restore_tensor, &v, error));
    memcpy(s->segment, tokens, sizeof *tokens * (size_t)(s->stream->batch * s->model->config.segment));
    memcpy(s->logits, s->wide, sizeof *s->logits * (size_t)(s->stream->batch * s->model->config.vocab));
    s->known = known;
    lh_session_set_overlap(s, place.overlap);
    s->fresh = place.fresh != 0;
    s->stream->fill = place.fill;
    s->stream->position = place.position;
    s->stream->memory->segments = place.segments;
    memset(s->stream->memory->derived_valid, 0, sizeof s->stream->memory->derived_valid);
    return LH_OK;
}

lh_status lh_session_restore(lh_session *session, const char *path, lh_error *error)
{
    return lh_session_restore_with(session, path, NULL, NULL, error);
}

lh_status lh_session_restore_with(lh_session *session, const char *path, lh_session_take take, void *user,
                                  lh_error *error)
{
    lh_checkpoint *file;
    LH_TRY(lh_checkpoint_open(&file, path, error));
    size_t cells = (size_t)(session->stream->batch * session->model->config.segment);
    int32_t *tokens = lh_heap_alloc(sizeof *tokens * cells);
    lh_status status = tokens ? restore_all(session, file, path, tokens, take, user, error)
                              : lh_fail(error, LH_E_MEMORY, "%s: no memory to read the session", path);
    lh_heap_free(tokens);
    lh_checkpoint_close(file);
    return status;
}
