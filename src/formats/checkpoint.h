/* Checkpoints: everything that a run needs to go on, in one file that is complete and undamaged or refused.
 *
 * A checkpoint is a safetensors file, checkpoint-<step>.safetensors. Arrays are tensors of their own type; a
 * counter is an I64 scalar, a number an F64 scalar, other state (random streams, reader positions) a U8 vector. The
 * metadata holds a CRC-64 of each tensor and one of the header itself, so that any flipped bit is found when the
 * file is opened, and the message says which tensor it is in. The file is written beside its final name, synced and
 * renamed: a process killed at any instant leaves the old checkpoints and, or, the new one, each complete.
 *
 * The same format carries saved sessions, under any name. */
#ifndef LH_FORMATS_CHECKPOINT_H
#define LH_FORMATS_CHECKPOINT_H

#include "formats/safetensors.h"

/* ---- writing ---- */

typedef struct lh_checkpoint_writer lh_checkpoint_writer;

lh_status lh_checkpoint_writer_create(lh_checkpoint_writer **writer, lh_error *error);
void lh_checkpoint_writer_free(lh_checkpoint_writer *writer); /* NULL is fine */
/* Forgets all entries and keeps the memory. */
void lh_checkpoint_writer_clear(lh_checkpoint_writer *writer);

/* Entries. The name is copied; the data of a tensor is borrowed until the write, everything else is copied.
 * All bytes of a blob must be set: a struct with padding between its fields would make files that differ from run
 * to run. */
lh_status lh_checkpoint_add(lh_checkpoint_writer *writer, const lh_safetensors_tensor *tensor, lh_error *error);
lh_status lh_checkpoint_add_integer(lh_checkpoint_writer *writer, const char *name, int64_t value, lh_error *error);
lh_status lh_checkpoint_add_real(lh_checkpoint_writer *writer, const char *name, double value, lh_error *error);
lh_status lh_checkpoint_add_blob(lh_checkpoint_writer *writer, const char *name, const void *data, size_t bytes,
                                 lh_error *error);
/* A metadata pair, such as the resolved recipe. The keys "format", "step", "tensor_checksums" and "header_checksum"
 * are taken. */
lh_status lh_checkpoint_add_text(lh_checkpoint_writer *writer, const char *key, const char *value, lh_error *error);

/* Writes all entries atomically, as <directory>/checkpoint-<step>.safetensors or as any path. */
lh_status lh_checkpoint_write(lh_checkpoint_writer *writer, const char *directory, int64_t step, lh_error *error);
lh_status lh_checkpoint_write_file(lh_checkpoint_writer *writer, const char *path, int64_t step, lh_error *error);

/* ---- reading ---- */

typedef struct lh_checkpoint lh_checkpoint;

/* Opens and verifies every byte. LH_E_FORMAT names the file and, where one is at fault, the tensor. */
lh_status lh_checkpoint_open(lh_checkpoint **checkpoint, const char *path, lh_error *error);
lh_status lh_checkpoint_open_memory(lh_checkpoint **checkpoint, const char *name, const void *data, size_t size,
                                    lh_error *error);
void lh_checkpoint_close(lh_checkpoint *checkpoint); /* NULL is fine */

/* Opens the checkpoint of the highest step below `below` (INT64_MAX: the newest). LH_E_IO if there is none. A
 * damaged one is LH_E_FORMAT, and the message names the checkpoint before it; it is never passed over silently. */
lh_status lh_checkpoint_open_latest(lh_checkpoint **checkpoint, const char *directory, int64_t below,
                                    lh_error *error);

/* Opens the newest checkpoint that is whole. If newer ones are damaged, `skipped` says what is wrong with the
 * newest. */
lh_status lh_checkpoint_open_latest_good(lh_checkpoint **checkpoint, const char *directory, lh_error *skipped,
                                         lh_error *error);

int64_t lh_checkpoint_step(const lh_checkpoint *checkpoint);
/* The tensors, for lh_safetensors_find, _need, _load and _metadata. Belongs to the checkpoint. */
const lh_safetensors *lh_checkpoint_file(const lh_checkpoint *checkpoint);
/* Entries of the kinds above; a missing name is LH_E_FORMAT, another kind LH_E_SHAPE. A blob belongs to the
 * checkpoint. */
lh_status lh_checkpoint_integer(const lh_checkpoint *checkpoint, const char *name, int64_t *value, lh_error *error);
lh_status lh_checkpoint_real(const lh_checkpoint *checkpoint, const char *name, double *value, lh_error *error);
lh_status lh_checkpoint_blob(const lh_checkpoint *checkpoint, const char *name, const void **data, size_t *bytes,
                             lh_error *error);
/* Copies a blob that must have exactly `bytes` bytes. */
lh_status lh_checkpoint_load_blob(const lh_checkpoint *checkpoint, const char *name, void *buffer, size_t bytes,
                                  lh_error *error);

/* ---- the checkpoints of a directory ---- */

/* "<directory>/checkpoint-<step>.safetensors" in fresh memory, or NULL. */
char *lh_checkpoint_path(const char *directory, int64_t step);
/* The step in such a file name (no directory part), or -1. */
int64_t lh_checkpoint_name_step(const char *name);

/* The steps there are, ascending, in fresh memory (lh_heap_free). */
lh_status lh_checkpoint_steps(const char *directory, int64_t **steps, size_t *count, lh_error *error);

/* The best checkpoint so far, noted in best.json together with the measure it is best by. */
typedef struct lh_checkpoint_best {
    int64_t step; /* -1: none yet */
    double value;
    char metric[64]; /* "validation/bits_per_byte" */
} lh_checkpoint_best;
lh_status lh_checkpoint_best_write(const char *directory, const lh_checkpoint_best *best, lh_error *error);
/* A directory without best.json gives step -1. */
lh_status lh_checkpoint_best_read(const char *directory, lh_checkpoint_best *best, lh_error *error);

/* Deletes all checkpoints but the `keep` newest (at least 1) and the best, and what a killed writer left behind. */
lh_status lh_checkpoint_retain(const char *directory, size_t keep, lh_error *error);

#endif
