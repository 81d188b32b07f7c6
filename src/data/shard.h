/* Token shards: files of token ids with a document table, made to be memory-mapped.
 *
 * Layout, all little-endian (docs/data-formats.md has the table of offsets):
 *   header     256 bytes: magic, version, counts, offsets, totals, tokenizer fingerprint, checksums
 *   tokens     token_count ids of token_width bytes each, from byte 256
 *   documents  document_count records of 64 bytes, on a multiple of 64
 *   names      the documents' names and labels, one after another, without separators
 *   answers    version 2 only: token_count numbers of 4 bytes, on a multiple of 64; see below
 * The documents lie in the token array one after another without gaps; a document never spans two shards. */
#ifndef LH_DATA_SHARD_H
#define LH_DATA_SHARD_H

#include "base/file.h"
#include "data/count.h"

#include <stdbool.h>
#include <stdint.h>

#define LH_SHARD_VERSION 1u
#define LH_SHARD_VERSION_ANSWERS 2u /* the same with answers */

/* Data whose answers are known says which tokens are answers: only those are scored, all others are only read. 0
 * is an ordinary token; any other number is an answer, and how many tokens before it in its document what it
 * repeats stands; LH_ANSWER is an answer that repeats no one token. */
#define LH_ANSWER UINT32_MAX

/* A record of the document table, as it lies in the file. */
typedef struct lh_shard_document {
    uint64_t start, tokens; /* the document's place in the shard's token array */
    lh_text_totals totals;  /* of its text */
    uint64_t name_offset;   /* into the names; the label follows the name */
    uint32_t name_size, label_size;
} lh_shard_document;

/* The header as it lies in the file. */
typedef struct lh_shard_header {
    char magic[8]; /* "LHSHARD\n" */
    uint32_t version, endian_mark;
    uint32_t token_width, reserved;
    uint64_t token_count, document_count;
    uint64_t token_offset, document_offset, name_offset, name_bytes, file_bytes;
    lh_text_totals totals;
    uint64_t vocab_size, fingerprint;                          /* of the tokenizer */
    uint64_t token_checksum, document_checksum, name_checksum; /* CRC-64/XZ of the three parts */
    /* version 2; else 0: where the answers lie, how many tokens are answers, CRC-64/XZ */
    uint64_t answer_offset, answer_count, answer_checksum;
    uint64_t unused[9];
    uint64_t header_checksum; /* CRC-64/XZ of the 248 bytes before */
} lh_shard_header;

/* An open shard. All pointers lead into the mapping and live until lh_shard_close. */
typedef struct lh_shard {
    char *path;
    lh_mapping mapping;
    lh_shard_header header;
    const void *tokens;                 /* [token_count] of uint8_t, uint16_t or uint32_t by header.token_width */
    const lh_shard_document *documents; /* [document_count] */
    const char *names;
    const uint32_t *answers; /* [token_count], or NULL: version 1 */
    bool borrowed;           /* the bytes are the caller's */
} lh_shard;

/* Maps a shard and checks everything but the tokens themselves: header, sizes and offsets against the file's size,
 * the document table and the names. Any damage is LH_E_FORMAT naming the file and the part. */
lh_status lh_shard_open(lh_shard *shard, const char *path, lh_error *error);

/* The same for the bytes of a shard in memory, 64-byte aligned, which must outlive it; `name` stands for the file
 * in messages. */
lh_status lh_shard_read(lh_shard *shard, const void *bytes, size_t size, const char *name, lh_error *error);
void lh_shard_close(lh_shard *shard); /* safe on a zeroed struct */

/* Reads all tokens: their checksum, and that each is less than the size of the vocabulary; and the answers: their
 * checksum and number, and that what they repeat stands in their document. */
lh_status lh_shard_verify(const lh_shard *shard, lh_error *error);

/* Bytes of the smallest width, 1, 2 or 4, that holds every id of a vocabulary. */
uint32_t lh_shard_width(uint64_t vocab_size);

/* ---- writing ---- */

/* How far a shard has been written: plain data, to be saved and given back after an interruption. */
typedef struct lh_shard_progress {
    uint64_t tokens, documents, name_bytes;
    uint64_t token_checksum, document_checksum, name_checksum;
    lh_text_totals totals;
} lh_shard_progress;

/* A shard that is being written: PATH.part (header and tokens), PATH.docs, PATH.names and, if there are any,
 * PATH.answers grow beside each other and become PATH at the end. Memory is bounded whatever the number of
 * documents. */
typedef struct lh_shard_writer {
    char *path;
    FILE *part, *docs, *names;
    FILE *answers;                                    /* PATH.answers, or NULL: there are none */
    uint64_t answer_count, answered, answer_checksum; /* answers, tokens that have a number, its checksum */
    uint32_t width;
    uint64_t vocab_size, fingerprint;
    lh_shard_progress done;  /* whole documents and the tokens of the open one */
    uint64_t document_start; /* where the open document begins */
} lh_shard_writer;

/* Begins a shard, or goes on with one after `resume` as lh_shard_writer_sync gave it. If the partial files of a
 * shard to be continued are missing or too short, fails with LH_E_IO. */
lh_status lh_shard_writer_open(lh_shard_writer *writer, const char *path, uint64_t vocab_size, uint64_t fingerprint,
                               const lh_shard_progress *resume, lh_error *error);

/* Appends tokens to the open document: ids of `width` bytes as they are, or 32-bit ids to be narrowed. An id
 * outside the vocabulary is LH_E_INTERNAL. */
lh_status lh_shard_writer_bytes(lh_shard_writer *writer, const void *tokens, size_t count, lh_error *error);
lh_status lh_shard_writer_ids(lh_shard_writer *writer, const int32_t *ids, size_t count, lh_error *error);

/* As lh_shard_writer_ids for tokens that are answers or not: answers[count] as above. In a shard either all tokens
 * come this way or none; such a shard cannot be gone on with after an interruption. */
lh_status lh_shard_writer_answers(lh_shard_writer *writer, const int32_t *ids, const uint32_t *answers,
                                  size_t count, lh_error *error);

/* Ends the open document, which may have no tokens. */
lh_status lh_shard_writer_end_document(lh_shard_writer *writer, const char *name, const char *label,
                                       const lh_text_totals *totals, lh_error *error);

/* Brings everything written so far onto the disk. Between documents only. */
lh_status lh_shard_writer_sync(lh_shard_writer *writer, lh_shard_progress *progress, lh_error *error);

/* Completes the file under its final name. The writer is closed in every case. */
lh_status lh_shard_writer_finish(lh_shard_writer *writer, lh_error *error);

/* Closes the writer and leaves the partial files for a later continuation. Safe on a zeroed struct. */
void lh_shard_writer_close(lh_shard_writer *writer);

#endif
