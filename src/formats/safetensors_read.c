#include "base/memory.h"
#include "formats/json_util.h"
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian and are read in place"
#endif

#define LENGTH_BYTES 8

static const struct {
    const char *name;
    size_t size;
} dtypes[LH_SAFETENSORS_DTYPES] = {
    [LH_SAFETENSORS_F64] = {"F64", 8},   [LH_SAFETENSORS_F32] = {"F32", 4}, [LH_SAFETENSORS_F16] = {"F16", 2},
    [LH_SAFETENSORS_BF16] = {"BF16", 2}, [LH_SAFETENSORS_I64] = {"I64", 8}, [LH_SAFETENSORS_I32] = {"I32", 4},
    [LH_SAFETENSORS_I16] = {"I16", 2},   [LH_SAFETENSORS_I8] = {"I8", 1},   [LH_SAFETENSORS_U64] = {"U64", 8},
    [LH_SAFETENSORS_U32] = {"U32", 4},   [LH_SAFETENSORS_U16] = {"U16", 2}, [LH_SAFETENSORS_U8] = {"U8", 1},
    [LH_SAFETENSORS_BOOL] = {"BOOL", 1},
};

typedef struct name_index {
    const char *name;
    size_t index;
} name_index;

struct lh_safetensors {
    char *path;
    lh_mapping mapping; /* data is NULL when the bytes are borrowed */
    const unsigned char *bytes;
    size_t size, header_size;
    json_t *header;                 /* owns the names and the metadata strings */
    lh_safetensors_tensor *tensors; /* in the order of their bytes */
    size_t count;
    name_index *by_name; /* sorted */
    lh_safetensors_pair *metadata;
    size_t metadata_count;
    void *straightened; /* aligned copies of tensors that lie crooked in the file */
};

/* One entry of the header while its offsets are being checked. */
typedef struct entry {
    lh_safetensors_tensor tensor;
    size_t begin;
} entry;

const char *lh_safetensors_dtype_name(lh_safetensors_dtype dtype)
{
    return (unsigned)dtype < LH_SAFETENSORS_DTYPES ? dtypes[dtype].name : "?";
}

size_t lh_safetensors_dtype_size(lh_safetensors_dtype dtype)
{
    return (unsigned)dtype < LH_SAFETENSORS_DTYPES ? dtypes[dtype].size : 0;
}

bool lh_safetensors_size(lh_safetensors_dtype dtype, int ndim, const int64_t *shape, size_t *bytes)
{
    size_t size = lh_safetensors_dtype_size(dtype);
    if (size == 0 || ndim < 0 || ndim > LH_SAFETENSORS_MAX_DIMS) {
        return false;
    }
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) {
            return false;
        }
        empty = empty || shape[i] == 0;
    }
    for (int i = 0; i < ndim && !empty; i++) {
        if ((uint64_t)shape[i] > SIZE_MAX || lh_size_multiply(size, (size_t)shape[i], &size)) {
            return false;
        }
    }
    *bytes = empty ? 0 : size;
    return true;
}

static lh_status no_memory(const lh_safetensors *file, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "%s: no memory for the safetensors header", file->path);
}

static lh_status read_dtype(const lh_safetensors *file, const char *name, const json_t *value,
                            lh_safetensors_dtype *dtype, lh_error *error)
{
    const char *text = json_string_value(value);
    for (int i = 0; text && i < LH_SAFETENSORS_DTYPES; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *dtype = (lh_safetensors_dtype)i;
            return LH_OK;
        }
    }
    return lh_fail(error, text ? LH_E_UNSUPPORTED : LH_E_FORMAT,
                   "%s: tensor '%s': dtype %s is not one this reader knows", file->path, name,
                   text ? text : "(no string)");
}

static lh_status read_shape(const lh_safetensors *file, const char *name, const json_t *value,
                            lh_safetensors_tensor *tensor, lh_error *error)
{
    size_t ndim = json_array_size(value);
    if (!json_is_array(value) || ndim > LH_SAFETENSORS_MAX_DIMS) {
        return lh_fail(error, LH_E_FORMAT, "%s: tensor '%s': shape must be an array of at most %d sizes",
                       file->path, name, LH_SAFETENSORS_MAX_DIMS);
    }
    tensor->ndim = (int)ndim;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *size = json_array_get(value, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) {
            return lh_fail(error, LH_E_FORMAT, "%s: tensor '%s': size %zu of its shape is no integer of at least 0",
                           file->path, name, i);
        }
        tensor->shape[i] = (int64_t)json_integer_value(size);
    }
    if (!lh_safetensors_size(tensor->dtype, tensor->ndim, tensor->shape, &tensor->bytes)) {
        return lh_fail(error, LH_E_FORMAT, "%s: tensor '%s': its shape needs more bytes than any memory has",
                       file->path, name);
    }
    return LH_OK;
}

static lh_status read_offsets(const lh_safetensors *file, const char *name, const json_t *value, entry *out,
                              lh_error *error)
{
    const json_t *first = json_array_get(value, 0), *last = json_array_get(value, 1);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(last) || begin < 0 ||
        end < begin) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: tensor '%s': data_offsets must be [begin, end] with 0 <= begin <= end", file->path,
                       name);
    }
    uint64_t data = file->size - LENGTH_BYTES - file->header_size;
    if ((uint64_t)end > data) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: tensor '%s' ends at byte %" PRIu64 " of the data, but the file holds only %" PRIu64
                       "; it is truncated or its header is damaged",
                       file->path, name, (uint64_t)end, data);
    }
    if ((uint64_t)(end - begin) != out->tensor.bytes) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: tensor '%s': its dtype and shape need %zu bytes, but its data_offsets span %" PRIu64,
                       file->path, name, out->tensor.bytes, (uint64_t)(end - begin));
    }
    out->begin = (size_t)begin;
    return LH_OK;
}

static lh_status read_entry(const lh_safetensors *file, const char *name, const json_t *value, entry *out,
                            lh_error *error)
{
    if (!json_is_object(value)) {
        return lh_fail(error, LH_E_FORMAT, "%s: tensor '%s': its header entry must be an object", file->path, name);
    }
    out->tensor.name = name;
    LH_TRY(read_dtype(file, name, json_object_get(value, "dtype"), &out->tensor.dtype, error));
    LH_TRY(read_shape(file, name, json_object_get(value, "shape"), &out->tensor, error));
    return read_offsets(file, name, json_object_get(value, "data_offsets"), out, error);
}

static lh_status read_metadata(lh_safetensors *file, const json_t *value, lh_error *error)
{
    if (!json_is_object(value)) {
        return lh_fail(error, LH_E_FORMAT, "%s: __metadata__ must be an object of strings", file->path);
    }
    file->metadata = lh_heap_alloc(json_object_size(value) * sizeof *file->metadata);
    if (!file->metadata) {
        return no_memory(file, error);
    }
    const char *key;
    json_t *text;
    json_object_foreach((json_t *)value, key, text)
    {
        if (!json_is_string(text)) {
            return lh_fail(error, LH_E_FORMAT, "%s: __metadata__ key '%s' must be a string", file->path, key);
        }
        file->metadata[file->metadata_count++] = (lh_safetensors_pair){key, json_string_value(text)};
    }
    return LH_OK;
}

static int by_offset(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    /* Empty tensors lie before the one that starts at their place. */
    if (x->tensor.bytes != y->tensor.bytes) {
        return x->tensor.bytes < y->tensor.bytes ? -1 : 1;
    }
    return strcmp(x->tensor.name, y->tensor.name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const name_index *)a)->name, ((const name_index *)b)->name);
}

/* The tensors must tile the data: no overlap, no hole, nothing left over. */
static lh_status check_tiling(const lh_safetensors *file, const entry *entries, size_t count, lh_error *error)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].begin != at) {
            return lh_fail(error, LH_E_FORMAT,
                           "%s: tensor '%s' starts at byte %zu of the data, but %s ends at %zu: %s", file->path,
                           entries[i].tensor.name, entries[i].begin, i ? entries[i - 1].tensor.name : "the header",
                           at, entries[i].begin < at ? "they overlap" : "there is a hole between them");
        }
        at += entries[i].tensor.bytes;
    }
    size_t data = file->size - LENGTH_BYTES - file->header_size;
    if (at != data) {
        return lh_fail(error, LH_E_FORMAT, "%s: the tensors end at byte %zu of the data, but the file holds %zu",
                       file->path, at, data);
    }
    return LH_OK;
}

/* Sets the data pointers; tensors not aligned to their element size get an aligned copy. */
static lh_status place_data(lh_safetensors *file, const entry *entries, lh_error *error)
{
    const unsigned char *data = file->bytes + LENGTH_BYTES + file->header_size;
    size_t crooked = 0;
    for (size_t i = 0; i < file->count; i++) {
        const unsigned char *at = data + entries[i].begin;
        file->tensors[i] = entries[i].tensor;
        file->tensors[i].data = at;
        if ((uintptr_t)at % dtypes[entries[i].tensor.dtype].size != 0) {
            crooked += (entries[i].tensor.bytes + 7) / 8 * 8;
        }
    }
    if (crooked == 0) {
        return LH_OK;
    }
    unsigned char *copy = file->straightened = lh_heap_alloc(crooked);
    if (!copy) {
        return lh_fail(error, LH_E_MEMORY,
                       "%s: no memory for %zu bytes of tensors that are not aligned in the file", file->path,
                       crooked);
    }
    for (size_t i = 0; i < file->count; i++) {
        lh_safetensors_tensor *tensor = &file->tensors[i];
        if ((uintptr_t)tensor->data % dtypes[tensor->dtype].size != 0) {
            memcpy(copy, tensor->data, tensor->bytes);
            tensor->data = copy;
            copy += (tensor->bytes + 7) / 8 * 8;
        }
    }
    return LH_OK;
}

static lh_status index_tensors(lh_safetensors *file, const entry *entries, size_t count, lh_error *error)
{
    file->tensors = lh_heap_alloc(count * sizeof *file->tensors);
    file->by_name = lh_heap_alloc(count * sizeof *file->by_name);
    if (!file->tensors || !file->by_name) {
        return no_memory(file, error);
    }
    file->count = count;
    LH_TRY(place_data(file, entries, error));
    for (size_t i = 0; i < count; i++) {
        file->by_name[i] = (name_index){file->tensors[i].name, i};
    }
    qsort(file->by_name, count, sizeof *file->by_name, by_name);
    return LH_OK;
}

static lh_status read_entries(lh_safetensors *file, entry *entries, lh_error *error)
{
    const char *name;
    json_t *value;
    size_t count = 0;
    json_object_foreach(file->header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            LH_TRY(read_metadata(file, value, error));
        } else {
            LH_TRY(read_entry(file, name, value, &entries[count++], error));
        }
    }
    qsort(entries, count, sizeof *entries, by_offset);
    LH_TRY(check_tiling(file, entries, count, error));
    return index_tensors(file, entries, count, error);
}

static lh_status read_header_length(lh_safetensors *file, lh_error *error)
{
    if (file->size < LENGTH_BYTES) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: a safetensors file starts with 8 bytes of header length, but this one has %zu bytes",
                       file->path, file->size);
    }
    uint64_t length = 0;
    memcpy(&length, file->bytes, LENGTH_BYTES);
    uint64_t left = file->size - LENGTH_BYTES;
    if (length > left || length > LH_SAFETENSORS_MAX_HEADER || length < 2) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s: the header is said to be %" PRIu64 " bytes long, but the file has %" PRIu64
                       " after the length and a header may have 2 to %u; not a safetensors file, or truncated",
                       file->path, length, left, LH_SAFETENSORS_MAX_HEADER);
    }
    file->header_size = (size_t)length;
    if (file->bytes[LENGTH_BYTES] != '{') {
        return lh_fail(error, LH_E_FORMAT, "%s: the safetensors header must start with '{'", file->path);
    }
    return LH_OK;
}

static lh_status read_file(lh_safetensors *file, lh_error *error)
{
    LH_TRY(read_header_length(file, error));
    LH_TRY(lh_json_parse((const char *)file->bytes + LENGTH_BYTES, file->header_size, file->path, &file->header,
                         error));
    entry *entries = lh_heap_alloc(json_object_size(file->header) * sizeof *entries);
    if (!entries) {
        return no_memory(file, error);
    }
    lh_status status = read_entries(file, entries, error);
    lh_heap_free(entries);
    return status;
}

static lh_safetensors *create(const char *name)
{
    lh_safetensors *file = lh_heap_alloc(sizeof *file);
    if (file && !(file->path = lh_heap_strdup(name))) {
        lh_heap_free(file);
        file = NULL;
    }
    return file;
}

lh_status lh_safetensors_open_memory(lh_safetensors **file, const char *name, const void *data, size_t size,
                                     lh_error *error)
{
    *file = NULL;
    lh_safetensors *fresh = create(name);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "%s: no memory to open it", name);
    }
    fresh->bytes = data;
    fresh->size = size;
    lh_status status = read_file(fresh, error);
    if (status != LH_OK) {
        lh_safetensors_close(fresh);
        return status;
    }
    *file = fresh;
    return LH_OK;
}

lh_status lh_safetensors_open(lh_safetensors **file, const char *path, lh_error *error)
{
    *file = NULL;
    lh_mapping mapping = {0};
    LH_TRY(lh_mapping_open(&mapping, path, error));
    lh_status status = lh_safetensors_open_memory(file, path, mapping.data, mapping.size, error);
    if (status != LH_OK) {
        lh_mapping_close(&mapping);
        return status;
    }
    (*file)->mapping = mapping;
    return LH_OK;
}

void lh_safetensors_close(lh_safetensors *file)
{
    if (!file) {
        return;
    }
    lh_heap_free(file->straightened);
    lh_heap_free(file->metadata);
    lh_heap_free(file->by_name);
    lh_heap_free(file->tensors);
    json_decref(file->header);
    if (file->mapping.data) {
        lh_mapping_close(&file->mapping);
    }
    lh_heap_free(file->path);
    lh_heap_free(file);
}

size_t lh_safetensors_count(const lh_safetensors *file)
{
    return file->count;
}

const lh_safetensors_tensor *lh_safetensors_at(const lh_safetensors *file, size_t index)
{
    return index < file->count ? &file->tensors[index] : NULL;
}

const lh_safetensors_tensor *lh_safetensors_find(const lh_safetensors *file, const char *name)
{
    name_index wanted = {name, 0};
    name_index *found =
        file->count ? bsearch(&wanted, file->by_name, file->count, sizeof *file->by_name, by_name) : NULL;
    return found ? &file->tensors[found->index] : NULL;
}

lh_status lh_safetensors_need(const lh_safetensors *file, const char *name, const lh_safetensors_tensor **tensor,
                              lh_error *error)
{
    *tensor = lh_safetensors_find(file, name);
    if (*tensor) {
        return LH_OK;
    }
    const char **names = lh_heap_alloc(file->count * sizeof *names);
    for (size_t i = 0; names && i < file->count; i++) {
        names[i] = file->by_name[i].name;
    }
    const char *near = names ? lh_nearest_name(name, names, file->count) : NULL;
    lh_heap_free(names);
    return lh_fail(error, LH_E_FORMAT, "%s: there is no tensor '%s' among its %zu%s%s%s", file->path, name,
                   file->count, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

char *lh_safetensors_describe(lh_safetensors_dtype dtype, int ndim, const int64_t *shape, char *text, size_t size)
{
    int used = snprintf(text, size, "%s [", lh_safetensors_dtype_name(dtype));
    for (int i = 0; i < ndim && (size_t)used < size; i++) {
        used += snprintf(text + used, size - (size_t)used, "%s%" PRId64, i ? ", " : "", shape[i]);
    }
    if ((size_t)used < size) {
        (void)snprintf(text + used, size - (size_t)used, "]");
    }
    return text;
}

lh_status lh_safetensors_load(const lh_safetensors *file, const char *name, lh_safetensors_dtype dtype, int ndim,
                              const int64_t *shape, void *buffer, lh_error *error)
{
    const lh_safetensors_tensor *tensor = NULL;
    LH_TRY(lh_safetensors_need(file, name, &tensor, error));
    bool same = tensor->dtype == dtype && tensor->ndim == ndim;
    for (int i = 0; i < ndim && same; i++) {
        same = tensor->shape[i] == shape[i];
    }
    if (!same) {
        char found[256], wanted[256];
        return lh_fail(error, LH_E_SHAPE, "%s: tensor '%s' is %s, but %s is expected", file->path, name,
                       lh_safetensors_describe(tensor->dtype, tensor->ndim, tensor->shape, found, sizeof found),
                       lh_safetensors_describe(dtype, ndim, shape, wanted, sizeof wanted));
    }
    if (tensor->bytes) {
        memcpy(buffer, tensor->data, tensor->bytes);
    }
    return LH_OK;
}

const char *lh_safetensors_metadata(const lh_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

size_t lh_safetensors_metadata_count(const lh_safetensors *file)
{
    return file->metadata_count;
}

lh_safetensors_pair lh_safetensors_metadata_at(const lh_safetensors *file, size_t index)
{
    return index < file->metadata_count ? file->metadata[index] : (lh_safetensors_pair){0};
}

const char *lh_safetensors_header(const lh_safetensors *file, size_t *size)
{
    *size = file->header_size;
    return (const char *)file->bytes + LENGTH_BYTES;
}
