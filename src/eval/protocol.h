/* Evaluation protocols: which tokens are scored, and what a model may have read before each. docs/verbs/eval.md is
 * the user's view.
 *
 * stream: contiguous lanes, state carried from segment to segment and never reset (Dai et al. 2019; Rae et al.
 * 2020).
 *
 * book: each lane reads one document after another; the state is cleared where a document begins (Wu et al. 2022).
 *
 * trunc: as book, each document cut to its first N tokens.
 *
 * pack: all documents one after another in rows of W tokens; each row begins from nothing behind a start token.
 *
 * slide: a window of W tokens moves by S; the last S of it are scored (Press et al. 2021).
 *
 * overlap: windows of W at 0, S, 2S, ..; everything but their first tokens is scored, so most tokens count W/S
 * times; the mean of the windows' losses (Chen et al. 2023).
 *
 * chunkmean: chunks of S tokens behind what fits of W; the mean of the chunks' perplexities (Wang et al. 2024).
 *
 * strided: each document in blocks of S tokens, the first of them short if need be; each is scored as the end of
 * its last W inputs, all in one segment where the model's memory holds tokens (Hawthorne et al. 2022).
 *
 * line: lines without white space around them, packed whole into rows of at most W tokens (Roy et al. 2021). */
#ifndef LH_EVAL_PROTOCOL_H
#define LH_EVAL_PROTOCOL_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum lh_protocol_kind {
    LH_PROTOCOL_STREAM,
    LH_PROTOCOL_BOOK,
    LH_PROTOCOL_TRUNC,
    LH_PROTOCOL_PACK,
    LH_PROTOCOL_SLIDE,
    LH_PROTOCOL_OVERLAP,
    LH_PROTOCOL_CHUNKMEAN,
    LH_PROTOCOL_STRIDED,
    LH_PROTOCOL_LINE,
} lh_protocol_kind;

typedef struct lh_protocol {
    lh_protocol_kind kind;
    int64_t window, stride; /* 0: the protocol's usual size */
    int64_t length;         /* trunc: tokens of each document */
} lh_protocol;

/* "stream" or "P-stream"; LH_E_ARGUMENT with the names there are. */
lh_status lh_protocol_find(const char *name, lh_protocol_kind *kind, lh_error *error);
const char *lh_protocol_name(lh_protocol_kind kind); /* "stream" */

/* Fills in the usual sizes and refuses impossible ones (LH_E_ARGUMENT). */
lh_status lh_protocol_complete(lh_protocol *protocol, lh_error *error);

/* Do windows begin from nothing, so that the model's state never outlives one? */
bool lh_protocol_has_windows(lh_protocol_kind kind);

/* One window: reads tokens start .. start+count-1 of the split from an empty state and scores the last `scored` of
 * them. `first` says that nothing stands before its first token, so that if it is to be scored, that is by a start
 * token or a flat charge. */
typedef struct lh_window {
    uint64_t start, count, scored;
    uint64_t document; /* of its first token */
} lh_window;

/* The windows of a protocol over a text of `tokens` tokens in a row (a document, or all of them): the index-th, or
 * false behind the last. `start` and `document` are left alone but for start, which counts from the text's first
 * token. */
bool lh_protocol_window(const lh_protocol *protocol, uint64_t tokens, uint64_t index, lh_window *window);
uint64_t lh_protocol_window_count(const lh_protocol *protocol, uint64_t tokens);

#endif
