/* Where text comes from: files and folders in the layouts people have them, as a sequence of documents with splits.
 *
 * lh_input_open looks at the source and makes a plan; a cursor then walks through the documents, in the order
 * train, validation, test, in bounded memory, and can start again at any document. */
#ifndef LH_DATA_INPUT_H
#define LH_DATA_INPUT_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { LH_SPLIT_TRAIN, LH_SPLIT_VALIDATION, LH_SPLIT_TEST, LH_SPLITS };

/* "train", "validation", "test". */
const char *lh_split_name(int split);

/* The split a name stands for: train, training, valid, validation, val, dev, test; -1 for any other. */
int lh_split_by_name(const char *name, size_t size);

typedef struct lh_input_options {
    /* "auto", or one of
     *   text      one file, or "-" for standard input: one document
     *   tree      all files below a folder, by path in byte order: one document each
     *   jsonl     JSON Lines: one document per line
     *   splits    a folder with files or folders named train, valid, test
     *   pg19      folders train, validation, test of <id>.txt, or <id>.txt in one folder; metadata.csv for the
     * titles enwik8, text8     10^8 bytes, cut after 90 and 95 million wikitext-103, wikitext-2
     * wiki.{train,valid,test}.tokens or the like "auto" finds all but the last two apart by names and contents, and
     * those by their size. */
    const char *layout;
    const char *field;    /* JSON Lines: the key of the text; NULL is "text" */
    const char *include;  /* trees: file name patterns, comma-separated; NULL: the usual text files */
    const char *split;    /* "90/5/5": shares; "train", "validation", "test": all into one; NULL: 90/5/5 */
    const char *by;       /* what shares are of: "bytes" (cuts a document), "documents", or NULL to choose */
    bool force;           /* take benchmark files that are not the published ones */
    bool skip_empty;      /* leave out empty files instead of failing */
    bool drop_line_feeds; /* enwik8 as some readers of it see it: without any line feed */
} lh_input_options;

/* One file of the plan. */
typedef struct lh_input_item {
    char *path, *name, *label;
    int split;        /* if the layout has splits of its own */
    bool json;        /* JSON Lines */
    uint64_t bytes;   /* of the file as it lies on the disk; 0 for standard input */
    int64_t modified; /* nanoseconds since 1970 */
} lh_input_item;

typedef enum lh_input_rule { LH_SPLIT_BY_LAYOUT, LH_SPLIT_BY_BYTES, LH_SPLIT_BY_DOCUMENTS } lh_input_rule;

typedef struct lh_input {
    char layout[24]; /* never "auto" */
    lh_input_item *items;
    size_t count, capacity;
    lh_input_rule rule;
    uint64_t limits[LH_SPLITS]; /* bytes of text or documents before the end of each split; the last has no end */
    double shares[LH_SPLITS];   /* as asked for, sum 1; meaningless with LH_SPLIT_BY_LAYOUT */
    bool cut_anywhere;          /* by bytes: also inside a UTF-8 character */
    bool drop_line_feeds, skip_empty, restartable;
    char field[64];
    lh_string notes; /* warnings, one sentence a line */
} lh_input;

/* Called with the bytes of files read so far while a pass over the source is needed; false stops with
 * LH_E_INTERRUPTED. May be NULL. */
typedef bool (*lh_input_watch)(void *data, uint64_t done, uint64_t total);

/* Plans the reading of `path`. Sharing out by bytes or documents needs a pass over everything first if files are
 * compressed or JSON Lines. Errors name the file: LH_E_IO (missing, unreadable), LH_E_FORMAT (empty, damaged, not
 * the published one), LH_E_CONFIG (options that do not fit the source). */
lh_status lh_input_open(lh_input **input, const char *path, const lh_input_options *options, lh_input_watch watch,
                        void *watch_data, lh_error *error);
void lh_input_free(lh_input *input);

/* The size of all files. */
uint64_t lh_input_bytes(const lh_input *input);

/* A hash of the plan: paths, sizes and rules; with `times`, also of the files' times of change. */
uint64_t lh_input_identity(const lh_input *input, bool times);

/* ---- reading ---- */

/* A place between two documents. Plain data; all zero is the beginning. */
typedef struct lh_input_position {
    uint64_t item, offset;     /* bytes of the item's text before this place; JSON Lines: before this line */
    uint64_t line;             /* JSON Lines: lines before this one */
    uint64_t inner;            /* JSON Lines: bytes of this line's text that belong to the split before */
    uint64_t documents, bytes; /* seen so far, empty ones left out */
    uint64_t empty;            /* documents without text that were left out */
    uint64_t consumed;         /* bytes of files before this item: for progress */
} lh_input_position;

typedef struct lh_input_document {
    const char *name, *label; /* live until the next call of lh_cursor_next */
    int split;
} lh_input_document;

typedef struct lh_cursor lh_cursor;

/* The input must outlive the cursor. `from` NULL is the beginning. */
lh_status lh_cursor_open(lh_cursor **cursor, const lh_input *input, const lh_input_position *from, lh_error *error);

/* Moves to the next document, over what was not read of this one; *end is set if there is none. */
lh_status lh_cursor_next(lh_cursor *cursor, lh_input_document *document, bool *end, lh_error *error);

/* The document's text, as much as fits; *got < capacity only at its end. */
lh_status lh_cursor_read(lh_cursor *cursor, void *buffer, size_t capacity, size_t *got, lh_error *error);

/* The place behind the current document, once it is read to the end. */
lh_input_position lh_cursor_position(const lh_cursor *cursor);

/* Bytes of files taken so far. */
uint64_t lh_cursor_consumed(const lh_cursor *cursor);

void lh_cursor_free(lh_cursor *cursor);

#endif
