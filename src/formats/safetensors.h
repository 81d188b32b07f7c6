/* safetensors: a little-endian 64-bit header length, a JSON header, and the bytes of the tensors.
 *
 * The header maps each name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the end of
 * the header; "__metadata__" maps strings to strings. The tensors fill the rest of the file without holes. (Format
 * description of the safetensors project, version 0.4.)
 *
 * A handle is read-only after opening, so several threads may read its views. The bytes of a mapped file must not
 * be changed by others while it is open; files written by this project are replaced as a whole, never changed. */
#ifndef LH_FORMATS_SAFETENSORS_H
#define LH_FORMATS_SAFETENSORS_H

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "tensor/tensor.h"

#define LH_SAFETENSORS_MAX_DIMS 8
#define LH_SAFETENSORS_MAX_HEADER (100u * 1024 * 1024) /* the reference implementation's limit */

typedef enum lh_safetensors_dtype {
    LH_SAFETENSORS_F64,
    LH_SAFETENSORS_F32,
    LH_SAFETENSORS_F16,
    LH_SAFETENSORS_BF16,
    LH_SAFETENSORS_I64,
    LH_SAFETENSORS_I32,
    LH_SAFETENSORS_I16,
    LH_SAFETENSORS_I8,
    LH_SAFETENSORS_U64,
    LH_SAFETENSORS_U32,
    LH_SAFETENSORS_U16,
    LH_SAFETENSORS_U8,
    LH_SAFETENSORS_BOOL,
    LH_SAFETENSORS_DTYPES /* how many there are */
} lh_safetensors_dtype;

/* "F32", or "?" for a value that is none. */
const char *lh_safetensors_dtype_name(lh_safetensors_dtype dtype);
/* Bytes of one element, or 0 for a value that is none. */
size_t lh_safetensors_dtype_size(lh_safetensors_dtype dtype);

/* How a tensor of this element type is written. */
lh_safetensors_dtype lh_safetensors_dtype_of(lh_dtype dtype);

/* A named array, row-major, last dimension fastest. A scalar has ndim 0; a dimension may be 0. */
typedef struct lh_safetensors_tensor {
    const char *name;
    lh_safetensors_dtype dtype;
    int ndim;
    int64_t shape[LH_SAFETENSORS_MAX_DIMS];
    const void *data;
    size_t bytes; /* elements times element size; the writer works it out and does not read this */
} lh_safetensors_tensor;

/* Bytes of a tensor of this dtype and shape. False if a dimension is negative, ndim is out of range, the dtype is
 * none, or the size does not fit. */
bool lh_safetensors_size(lh_safetensors_dtype dtype, int ndim, const int64_t *shape, size_t *bytes);

typedef struct lh_safetensors_pair {
    const char *key, *value;
} lh_safetensors_pair;

/* ---- reading ---- */

typedef struct lh_safetensors lh_safetensors;

/* Maps and checks a file; LH_E_FORMAT if anything in it does not add up. The views point into the mapping and are
 * valid until lh_safetensors_close. Each data pointer is aligned to its element size: a tensor that lies crooked in
 * the file, as in files of other writers, is copied once. On failure *file is NULL. */
lh_status lh_safetensors_open(lh_safetensors **file, const char *path, lh_error *error);

/* As above on bytes in memory, which must outlive the handle; `name` stands for the file in messages. */
lh_status lh_safetensors_open_memory(lh_safetensors **file, const char *name, const void *data, size_t size,
                                     lh_error *error);
void lh_safetensors_close(lh_safetensors *file); /* NULL is fine */

/* Tensors in the order of their bytes in the file. */
size_t lh_safetensors_count(const lh_safetensors *file);
const lh_safetensors_tensor *lh_safetensors_at(const lh_safetensors *file, size_t index);
/* NULL if there is none of that name. */
const lh_safetensors_tensor *lh_safetensors_find(const lh_safetensors *file, const char *name);
/* As find, but a missing name is LH_E_FORMAT and the message offers the nearest one. */
lh_status lh_safetensors_need(const lh_safetensors *file, const char *name, const lh_safetensors_tensor **tensor,
                              lh_error *error);

/* Copies a tensor to `buffer`. LH_E_SHAPE, naming both, unless dtype and shape are the expected ones. */
lh_status lh_safetensors_load(const lh_safetensors *file, const char *name, lh_safetensors_dtype dtype, int ndim,
                              const int64_t *shape, void *buffer, lh_error *error);
/* Writes "F32 [2, 3]" for messages; returns text. */
char *lh_safetensors_describe(lh_safetensors_dtype dtype, int ndim, const int64_t *shape, char *text, size_t size);

/* The metadata value, or NULL. Pairs come in the order of the file. */
const char *lh_safetensors_metadata(const lh_safetensors *file, const char *key);
size_t lh_safetensors_metadata_count(const lh_safetensors *file);
lh_safetensors_pair lh_safetensors_metadata_at(const lh_safetensors *file, size_t index);

/* The JSON header as it stands in the file, padding included, without a NUL. */
const char *lh_safetensors_header(const lh_safetensors *file, size_t *size);

/* ---- writing ---- */

/* Writes one file atomically. So that every tensor is aligned to its element size without holes between them,
 * tensors with larger elements come first; within one element size the given order stays. The data starts at a
 * multiple of 8. Names must be distinct, valid UTF-8 and not "__metadata__". A tensor of 0 bytes may have data
 * NULL. */
lh_status lh_safetensors_write(const char *path, const lh_safetensors_tensor *tensors, size_t count,
                               const lh_safetensors_pair *metadata, size_t metadata_count, lh_error *error);

/* The same in two steps, for a writer whose metadata depends on the order and on the header itself (checkpoints).
 * order: room for `count` indices, filled with the order of the bytes. */
lh_status lh_safetensors_order(const char *path, const lh_safetensors_tensor *tensors, size_t count, size_t *order,
                               lh_error *error);
/* header: everything up to the first byte of data. */
lh_status lh_safetensors_build_header(const char *path, const lh_safetensors_tensor *tensors, size_t count,
                                      const size_t *order, const lh_safetensors_pair *metadata,
                                      size_t metadata_count, lh_string *header, lh_error *error);
lh_status lh_safetensors_write_parts(const char *path, const lh_string *header,
                                     const lh_safetensors_tensor *tensors, size_t count, const size_t *order,
                                     lh_error *error);

#endif
