#include "base/memory.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_internal.h"

#include <inttypes.h>
#include <lzma.h>
#include <stdio.h>
#include <string.h>

/* How many metadata pairs the writer adds to those of its caller. */
#define OWN_PAIRS 4

struct lh_checkpoint_writer {
    lh_safetensors_tensor *tensors;
    size_t count, capacity;
    lh_safetensors_pair *texts;
    size_t text_count, text_capacity;
    lh_arena arena; /* names, texts and small values */
};

static lh_status no_memory(lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory to gather a checkpoint");
}

lh_status lh_checkpoint_writer_create(lh_checkpoint_writer **writer, lh_error *error)
{
    *writer = lh_heap_alloc(sizeof **writer);
    return *writer ? LH_OK : no_memory(error);
}

void lh_checkpoint_writer_clear(lh_checkpoint_writer *writer)
{
    writer->count = writer->text_count = 0;
    lh_arena_reset(&writer->arena);
}

void lh_checkpoint_writer_free(lh_checkpoint_writer *writer)
{
    if (writer) {
        lh_heap_free(writer->tensors);
        lh_heap_free(writer->texts);
        lh_arena_free(&writer->arena);
        lh_heap_free(writer);
    }
}

/* Grows `*list` so that it holds one more entry than `count`. */
static bool make_room(void **list, size_t *capacity, size_t count, size_t entry)
{
    if (count < *capacity) {
        return true;
    }
    size_t wider = *capacity ? *capacity * 2 : 64;
    void *grown = lh_heap_realloc(*list, wider * entry);
    if (!grown) {
        return false;
    }
    *list = grown;
    *capacity = wider;
    return true;
}

static void *keep(lh_checkpoint_writer *writer, const void *data, size_t bytes)
{
    void *copy = lh_arena_alloc(&writer->arena, bytes);
    if (copy && bytes) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

lh_status lh_checkpoint_add(lh_checkpoint_writer *writer, const lh_safetensors_tensor *tensor, lh_error *error)
{
    void *list = writer->tensors;
    if (!make_room(&list, &writer->capacity, writer->count, sizeof *writer->tensors)) {
        return no_memory(error);
    }
    writer->tensors = list;
    lh_safetensors_tensor copy = *tensor;
    copy.name = keep(writer, tensor->name, strlen(tensor->name) + 1);
    if (!copy.name) {
        return no_memory(error);
    }
    writer->tensors[writer->count++] = copy;
    return LH_OK;
}

static lh_status add_copy(lh_checkpoint_writer *writer, const char *name, lh_safetensors_dtype dtype, int ndim,
                          const void *data, size_t bytes, lh_error *error)
{
    lh_safetensors_tensor tensor = {.name = name, .dtype = dtype, .ndim = ndim, .shape = {(int64_t)bytes}};
    tensor.data = keep(writer, data, bytes);
    return tensor.data ? lh_checkpoint_add(writer, &tensor, error) : no_memory(error);
}

lh_status lh_checkpoint_add_integer(lh_checkpoint_writer *writer, const char *name, int64_t value, lh_error *error)
{
    return add_copy(writer, name, LH_SAFETENSORS_I64, 0, &value, sizeof value, error);
}

lh_status lh_checkpoint_add_real(lh_checkpoint_writer *writer, const char *name, double value, lh_error *error)
{
    return add_copy(writer, name, LH_SAFETENSORS_F64, 0, &value, sizeof value, error);
}

lh_status lh_checkpoint_add_blob(lh_checkpoint_writer *writer, const char *name, const void *data, size_t bytes,
                                 lh_error *error)
{
    return add_copy(writer, name, LH_SAFETENSORS_U8, 1, data, bytes, error);
}

lh_status lh_checkpoint_add_text(lh_checkpoint_writer *writer, const char *key, const char *value, lh_error *error)
{
    void *list = writer->texts;
    if (!make_room(&list, &writer->text_capacity, writer->text_count, sizeof *writer->texts)) {
        return no_memory(error);
    }
    writer->texts = list;
    lh_safetensors_pair pair = {keep(writer, key, strlen(key) + 1), keep(writer, value, strlen(value) + 1)};
    if (!pair.key || !pair.value) {
        return no_memory(error);
    }
    writer->texts[writer->text_count++] = pair;
    return LH_OK;
}

/* Sixteen hexadecimal digits a tensor, in the order of the file. */
static lh_status tensor_checksums(const lh_checkpoint_writer *writer, const size_t *order, lh_string *out,
                                  lh_error *error)
{
    for (size_t i = 0; i < writer->count; i++) {
        const lh_safetensors_tensor *tensor = &writer->tensors[order[i]];
        size_t bytes = 0;
        (void)lh_safetensors_size(tensor->dtype, tensor->ndim, tensor->shape, &bytes);
        lh_string_print(out, "%016" PRIx64, lzma_crc64(tensor->data, bytes, 0));
    }
    lh_string_append(out, "", 0);
    return out->failed ? no_memory(error) : LH_OK;
}

/* The header's own checksum is taken with zeros in its place and then put there. */
static lh_status seal_header(const char *path, lh_string *header, lh_error *error)
{
    char digits[CHECKPOINT_DIGITS + 1];
    char *place = checkpoint_find_seal(header->data, header->size);
    if (!place) {
        return lh_fail(error, LH_E_INTERNAL, "%s: the header has no place for its checksum", path);
    }
    (void)snprintf(digits, sizeof digits, "%016" PRIx64,
                   lzma_crc64((const uint8_t *)header->data, header->size, 0));
    memcpy(place, digits, CHECKPOINT_DIGITS);
    return LH_OK;
}

static lh_status build(const lh_checkpoint_writer *writer, const char *path, int64_t step, const size_t *order,
                       lh_safetensors_pair *pairs, lh_string *checksums, lh_string *header, lh_error *error)
{
    char step_text[32];
    (void)snprintf(step_text, sizeof step_text, "%" PRId64, step);
    LH_TRY(tensor_checksums(writer, order, checksums, error));
    pairs[0] = (lh_safetensors_pair){"format", CHECKPOINT_FORMAT};
    pairs[1] = (lh_safetensors_pair){"step", step_text};
    pairs[2] = (lh_safetensors_pair){"header_checksum", CHECKPOINT_UNSEALED};
    pairs[3] = (lh_safetensors_pair){"tensor_checksums", checksums->data};
    for (size_t i = 0; i < writer->text_count; i++) {
        pairs[OWN_PAIRS + i] = writer->texts[i];
    }
    LH_TRY(lh_safetensors_build_header(path, writer->tensors, writer->count, order, pairs,
                                       OWN_PAIRS + writer->text_count, header, error));
    return seal_header(path, header, error);
}

lh_status lh_checkpoint_write_file(lh_checkpoint_writer *writer, const char *path, int64_t step, lh_error *error)
{
    lh_string header = {0}, checksums = {0};
    size_t *order = lh_heap_alloc(writer->count * sizeof *order);
    lh_safetensors_pair *pairs = lh_heap_alloc((OWN_PAIRS + writer->text_count) * sizeof *pairs);
    lh_status status = order && pairs ? LH_OK : no_memory(error);
    if (status == LH_OK) {
        status = lh_safetensors_order(path, writer->tensors, writer->count, order, error);
    }
    if (status == LH_OK) {
        status = build(writer, path, step, order, pairs, &checksums, &header, error);
    }
    if (status == LH_OK) {
        status = lh_safetensors_write_parts(path, &header, writer->tensors, writer->count, order, error);
    }
    lh_string_free(&checksums);
    lh_string_free(&header);
    lh_heap_free(pairs);
    lh_heap_free(order);
    return status;
}

lh_status lh_checkpoint_write(lh_checkpoint_writer *writer, const char *directory, int64_t step, lh_error *error)
{
    if (step < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "a checkpoint's step cannot be %" PRId64, step);
    }
    char *path = lh_checkpoint_path(directory, step);
    if (!path) {
        return no_memory(error);
    }
    lh_status status = lh_checkpoint_write_file(writer, path, step, error);
    lh_heap_free(path);
    return status;
}
