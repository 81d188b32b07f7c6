/* longhand: models over long context.
 *
 * The public interface, and its manual; docs/api.md is a tour with code.
 *
 *   longhand_model       weights and the tokenizer they were trained with; constant
 *   longhand_tokenizer   bytes to token ids and back; constant
 *   longhand_session     documents being read: feed, score, fork, go back, save, restore
 *   longhand_generator   a session that writes on
 *   longhand_evaluate    how well a model predicts a text
 *   longhand_recipe      everything that a training depends on
 *   longhand_train       a recipe becomes a run directory, which longhand_model_open opens
 *
 * Names: what begins with longhand_ is the interface, with lh_status, lh_error and the two functions beside them.
 *
 * Errors: every call that can fail returns an lh_status and, if the caller passes an lh_error, one sentence that
 * names the file, key, offset or shape at fault. A call that fails leaves its outputs NULL or as they were and its
 * handles good for use. A NULL where a handle or an array must be is LH_E_ARGUMENT, not a crash. The library never
 * prints, never ends the process and installs no signal handlers.
 *
 * Ownership: *_open, *_create and *_fork give the caller a handle, to be released with the matching *_free (NULL is
 * fine). Handles keep alive what they stand on: a model may be freed before its sessions. Arrays and texts that a
 * call hands out through a pointer to a pointer are released with longhand_free; a `const char *` belongs to the
 * handle that it came from, or to the library.
 *
 * Threads: handles share no mutable state. One handle is used by one thread at a time (a generator uses its
 * session); different handles, also sessions of one model, may be used by different threads at once. Models and
 * tokenizers may be shared by any number of threads. Callbacks are called by the thread that made the call, must
 * return (no longjmp, no exception), and must not use the handles of the call.
 *
 * Units: tokens are int32_t ids below the model's vocabulary. Losses are nats unless the name says otherwise; one
 * bit is ln 2 nats. Arrays with several lanes hold one row per lane. Texts are bytes, UTF-8 by custom; paths are as
 * the operating system has them.
 *
 * Versions: structs that cross the border begin with `size`, which the caller sets to sizeof of the struct as it
 * was compiled with it. Fields are only ever added at the end; in options, zero in a field means the usual. A
 * program that was compiled for an older library goes on working with a newer one of the same major version. */
#ifndef LONGHAND_H
#define LONGHAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LH_VERSION_MAJOR 0
#define LH_VERSION_MINOR 1
#define LH_VERSION_PATCH 0
#define LH_VERSION "0.1.0"

#if defined(__GNUC__)
#define LH_API __attribute__((visibility("default")))
#else
#define LH_API
#endif

/* ---- errors ---- */

/* What went wrong, by kind. The command's exit code is the status's number. */
typedef enum lh_status {
    LH_OK = 0,
    LH_E_INTERNAL = 1,     /* a fault of the library itself */
    LH_E_ARGUMENT = 2,     /* a call or a command line that makes no sense */
    LH_E_SHAPE = 3,        /* tensors whose shapes do not fit */
    LH_E_MEMORY = 4,       /* no memory */
    LH_E_IO = 5,           /* the operating system refused: open, read, write, full disk */
    LH_E_FORMAT = 6,       /* a file is truncated, damaged or not of the expected kind */
    LH_E_CONFIG = 7,       /* a recipe or a model configuration with an unknown key or an impossible value */
    LH_E_NUMERIC = 8,      /* NaN or infinity where a number must be */
    LH_E_INTERRUPTED = 9,  /* stopped by a signal or a callback, after saving */
    LH_E_UNSUPPORTED = 10, /* legal, but not built in or not possible with this model */
    LH_E_NETWORK = 11,     /* a download failed */
} lh_status;

/* The first failure of a call. Zero-initialise it, also before it is used again; the library never overwrites a
 * message that is set. */
typedef struct lh_error {
    lh_status status;
    char message[1024];
} lh_error;

/* A short English name of a status, such as "format error". Never NULL. */
LH_API const char *lh_status_name(lh_status status);

/* The library's version, such as "0.1.0". */
LH_API const char *lh_version(void);

/* Releases an array or a text that the library handed out. NULL is fine. */
LH_API void longhand_free(void *memory);

typedef struct longhand_model longhand_model;
typedef struct longhand_tokenizer longhand_tokenizer;
typedef struct longhand_session longhand_session;
typedef struct longhand_generator longhand_generator;
typedef struct longhand_recipe longhand_recipe;

/* ---- long work ---- */

/* Where an evaluation or a training stands. Fields that make no sense yet, or there, are 0 or NaN. */
typedef struct longhand_progress {
    size_t size;
    const char *phase;    /* "train" or "evaluate"; before that, what is being done to the text: "reading", .. */
    uint64_t done, total; /* of the phase: tokens, or bytes of text; total 0: unknown */
    int64_t step;         /* training: iterations done */
    int64_t tokens;       /* targets scored so far */
    double seconds;       /* training: time of all sessions of the run */
    double seconds_left;  /* training: of train.minutes; NaN: there is no such limit */
    double loss;          /* training: over the last train.log_every steps; evaluation: so far */
    double validation;    /* training: at the last evaluation */
    double rate;          /* training: learning rate of the last update */
    const char *unit;     /* of loss and validation: "bits_per_byte", "bits_per_character", "word_perplexity", .. */
} longhand_progress;

typedef void (*longhand_watch)(void *user, const longhand_progress *now);
/* True ends the work as soon as its state is consistent; the call then returns LH_E_INTERRUPTED. */
typedef bool (*longhand_stop)(void *user);

/* ---- models ---- */

typedef struct longhand_model_options {
    size_t size;
    const char *checkpoint;       /* "model", "best", "latest" or a step; NULL: the first there is, in this order */
    const char *const *overrides; /* "section.key=value" of what may differ from training, such as
                                     "memory.compressed=3072"; see docs/verbs/eval.md */
    size_t override_count;
} longhand_model_options;

/* Opens a run directory, a model directory or a file of weights in one of them, with the tokenizer there. options
 * may be NULL. LH_E_IO: nothing there; LH_E_FORMAT: damaged; LH_E_CONFIG: an override that changes parameters. */
LH_API lh_status longhand_model_open(longhand_model **model, const char *path,
                                     const longhand_model_options *options, lh_error *error);
LH_API void longhand_model_free(longhand_model *model);

typedef struct longhand_model_info {
    size_t size;
    const char *memory; /* kind of memory: "none", "transformer-xl", "compressive", .. */
    int64_t step;       /* of the checkpoint; -1: weights that are none */
    int64_t parameters; /* all */
    int64_t body;       /* without the tables of the vocabulary: what papers usually print */
    int64_t vocabulary; /* token ids are below it */
    int64_t layers, width, heads;
    int64_t segment;       /* tokens that are computed together in training */
    int64_t reach;         /* tokens before a segment that memory can hold something of, in one layer */
    int64_t state_bytes;   /* of one document, carried from segment to segment; does not grow with the text */
    int64_t running_bytes; /* of one document, of the running segment */
    double flops;          /* floating-point operations of one token's forward pass */
    const char *note;      /* what must be said beside its figures and texts ("routing causal"), or NULL */
    int64_t source;        /* tokens of a source that the model's encoder reads at most; 0: it has none */
    int64_t classes;       /* of images: the token in front of an image is its class, below this; 0: none */
} longhand_model_info;

/* Set info->size before. */
LH_API lh_status longhand_model_get_info(const longhand_model *model, longhand_model_info *info, lh_error *error);

/* The model's tokenizer as a handle of its own. */
LH_API lh_status longhand_model_tokenizer(longhand_tokenizer **tokenizer, longhand_model *model, lh_error *error);

/* ---- tokenizers ---- */

/* Reads a tokenizer.json, GPT-2's pair of files, a .subwords file, or a directory that holds one, such as a run.
 * "bytes" is the tokenizer of the 256 byte values. */
LH_API lh_status longhand_tokenizer_open(longhand_tokenizer **tokenizer, const char *path, lh_error *error);
LH_API void longhand_tokenizer_free(longhand_tokenizer *tokenizer);

/* "bytes", "bpe", "words", "characters" or "subwords". */
LH_API const char *longhand_tokenizer_kind(const longhand_tokenizer *tokenizer);
/* One more than the greatest id. */
LH_API int32_t longhand_tokenizer_size(const longhand_tokenizer *tokenizer);
/* The end-of-text token, or -1. */
LH_API int32_t longhand_tokenizer_end(const longhand_tokenizer *tokenizer);
/* The bytes that an id decodes to (not NUL-terminated) and how many; NULL if no token has this id. */
LH_API const char *longhand_tokenizer_token(const longhand_tokenizer *tokenizer, int32_t id, size_t *size);

/* Encodes a whole text. Special tokens that are written in it become their ids only if `special`; none is ever
 * added. *ids is to be released with longhand_free, also if *count is 0. */
LH_API lh_status longhand_tokenizer_encode(const longhand_tokenizer *tokenizer, const char *text, size_t size,
                                           bool special, int32_t **ids, size_t *count, lh_error *error);
/* The text of ids, with a NUL behind it that *size does not count; special tokens show only if `special`. An id
 * that no token has is LH_E_ARGUMENT. *text is to be released with longhand_free. */
LH_API lh_status longhand_tokenizer_decode(const longhand_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                           bool special, char **text, size_t *size, lh_error *error);

/* ---- sessions ---- */

/* A session of `lanes` documents, read side by side; all lanes move on together. Memory does not grow with what is
 * read. threads 0: all. Results do not depend on the number of threads, nor on how a text is cut into calls. */
LH_API lh_status longhand_session_create(longhand_session **session, longhand_model *model, int64_t lanes,
                                         int threads, lh_error *error);
LH_API void longhand_session_free(longhand_session *session);

/* Reads tokens [lanes, count]. logits (may be NULL) receives [lanes, vocabulary]: the scores of what follows the
 * last token, before softmax (for an adaptive softmax, log-probabilities). A token outside the vocabulary is
 * LH_E_ARGUMENT, and nothing is read. Where memory gives out in the middle, the position tells how much was. */
LH_API lh_status longhand_session_feed(longhand_session *session, const int32_t *tokens, int64_t count,
                                       float *logits, lh_error *error);

/* Reads tokens [lanes, count] and scores targets [lanes, count]: nats[lanes, count] receives the loss of each, 0
 * where the target is negative. To score a text, targets[i] = tokens[i + 1]. */
LH_API lh_status longhand_session_score(longhand_session *session, const int32_t *tokens, const int32_t *targets,
                                        int64_t count, double *nats, lh_error *error);

/* Forgets all that was read, in all lanes (-1) or in one, which is possible only where a segment begins
 * (LH_E_ARGUMENT elsewhere). */
LH_API lh_status longhand_session_reset(longhand_session *session, int64_t lane, lh_error *error);

/* An independent copy. */
LH_API lh_status longhand_session_fork(longhand_session **copy, const longhand_session *session, lh_error *error);
/* Remembers this point; rewind returns to it, as often as wanted. A session has one mark. */
LH_API lh_status longhand_session_mark(longhand_session *session, lh_error *error);
LH_API lh_status longhand_session_rewind(longhand_session *session, lh_error *error);

/* The state as a file, written atomically, and back, bit for bit, into a session of the same model, overrides and
 * lanes. A file that does not fit or is damaged is LH_E_FORMAT or LH_E_SHAPE, and the session stays as it was. */
LH_API lh_status longhand_session_save(const longhand_session *session, const char *path, lh_error *error);
LH_API lh_status longhand_session_restore(longhand_session *session, const char *path, lh_error *error);

/* A model without memory sees its own segment only, and one whose memory holds tokens (Perceiver AR) has its layers
 * over the segment only. When reading fills that, the last `overlap` tokens are read again at the start of the next
 * one (default: half a segment; at most all but one; 0: none). Scoring never does this, and other models need not.
 */
LH_API lh_status longhand_session_set_overlap(longhand_session *session, int64_t overlap, lh_error *error);

/* Of a NULL session: -1. */
LH_API int64_t longhand_session_lanes(const longhand_session *session);
LH_API int64_t longhand_session_position(const longhand_session *session); /* tokens read since the last reset */
/* Of one lane, the running segment included. It does not grow with the position. */
LH_API int64_t longhand_session_state_bytes(const longhand_session *session);

/* ---- generation ---- */

typedef struct longhand_generator_options {
    size_t size;
    double temperature;        /* 0: always the most probable token */
    int64_t top_k;             /* only the k most probable tokens; 0: all */
    double top_p;              /* only the most probable tokens that hold this share together; 1: all */
    double min_p;              /* only tokens at least this fraction as probable as the best; 0: all */
    double repetition_penalty; /* logits of recent tokens are divided (if positive) or multiplied by it; 1: off */
    int64_t repetition_window; /* how many recent tokens that concerns */
    uint64_t seed;
    const char *const *stops; /* writing ends before any of these texts */
    size_t stop_count;
    bool ignore_end; /* go on behind the end-of-text token */
    bool special;    /* special tokens are written as text, too */
} longhand_generator_options;

/* Fills in the usual options: temperature 1, everything else off. Here zeros do not mean the usual, so call this
 * first; `size` is sizeof(longhand_generator_options). */
LH_API void longhand_generator_defaults(longhand_generator_options *options, size_t size);

/* What a step of writing gave. Set `size` before a call that fills one in. */
typedef struct longhand_piece {
    size_t size;
    const char *text; /* belongs to the generator and lives until the next call with it; NUL-terminated */
    size_t text_size; /* may be 0: the beginning of a character or of a stop text is held back */
    int32_t token;    /* the token that was drawn; -1: none was */
    bool ended;       /* a stop text or the end-of-text token came up */
} longhand_piece;

/* A session of one lane writes on from where it stands, with its model's tokenizer. A session that has read nothing
 * begins with the end-of-text token, or a line feed. From its first read or step on until
 * longhand_generator_finish or _save, the generator has the session for itself: what would change, copy or save the
 * session is LH_E_ARGUMENT meanwhile. options may be NULL. */
LH_API lh_status longhand_generator_create(longhand_generator **generator, longhand_session *session,
                                           const longhand_generator_options *options, lh_error *error);
LH_API void longhand_generator_free(longhand_generator *generator);

/* Reads the next bytes of a prompt of any length. Any way of cutting it gives the same. */
LH_API lh_status longhand_generator_read(longhand_generator *generator, const char *text, size_t size,
                                         lh_error *error);
/* For a model with an encoder: forgets what was read and written, and begins anew beside this text, whose beginning
 * the encoder reads. *cut (may be NULL): tokens that were too much for it. LH_E_UNSUPPORTED for other models. */
LH_API lh_status longhand_generator_source(longhand_generator *generator, const char *text, size_t size,
                                           int64_t *cut, lh_error *error);
/* Draws the next token. */
LH_API lh_status longhand_generator_next(longhand_generator *generator, longhand_piece *piece, lh_error *error);
/* Gives what text was held back, and lets the session read all that was read and written: it can then be used by
 * itself, and the generator can go on from it. */
LH_API lh_status longhand_generator_finish(longhand_generator *generator, longhand_piece *piece, lh_error *error);

/* Takes a piece of what is written; true ends the writing after it. */
typedef bool (*longhand_writer)(void *user, const longhand_piece *piece);
/* Up to `tokens` steps of longhand_generator_next, each given to the writer, and longhand_generator_finish, whose
 * piece is given to it, too, if it holds text. *ended (may be NULL): a stop text or the end-of-text token came up.
 */
LH_API lh_status longhand_generator_write(longhand_generator *generator, int64_t tokens, longhand_writer writer,
                                          void *user, bool *ended, lh_error *error);

LH_API int64_t longhand_generator_tokens_read(const longhand_generator *generator);    /* of prompts */
LH_API int64_t longhand_generator_tokens_written(const longhand_generator *generator); /* by steps */

/* Session, random numbers and repetition window in one file, which longhand_session_restore takes, too. A generator
 * that takes it back writes on, token for token, as this one would have; with `keep_seed` it keeps its own random
 * numbers. Text that was held back must have been taken with longhand_generator_finish or _write. */
LH_API lh_status longhand_generator_save(longhand_generator *generator, const char *path, lh_error *error);
LH_API lh_status longhand_generator_restore(longhand_generator *generator, const char *path, bool keep_seed,
                                            lh_error *error);

/* ---- evaluation ---- */

typedef struct longhand_evaluation_options {
    size_t size;
    const char *data;        /* a prepared data set, or text: a file, plain or compressed, or a folder of them */
    const char *split;       /* "train", "validation", "test"; NULL: test of what has splits, else all */
    const char *protocol;    /* what is scored behind which context, docs/verbs/eval.md; NULL: "stream",
                                but "book" for the tasks of longhand data make */
    int64_t window, stride;  /* of the protocols that have them; 0: the protocol's usual */
    int64_t length;          /* trunc: how much of each document */
    int64_t lanes;           /* documents or windows side by side; 0: 1 for stream, else what is fast */
    const char *first;       /* tokens that nothing precedes: "charge" ln(vocabulary), "skip", or predict them from
                                the end-of-text token, "start"; NULL: charge, for pack start */
    uint64_t limit_tokens;   /* only the first so many tokens; 0: all */
    int threads;             /* 0: all */
    const char *resume_path; /* an interrupted evaluation is kept here, and gone on with if the file is there */
    bool allow_skipped;      /* word perplexity although not every token was scored */
    longhand_watch watch;    /* may be NULL */
    longhand_stop stop;      /* may be NULL */
    void *user;              /* for both */
} longhand_evaluation_options;

/* Totals, and the figures that come from them; NaN where a figure makes no sense. docs/verbs/eval.md has the
 * formulas. */
typedef struct longhand_evaluation {
    size_t size;
    double nats;                           /* of all scored targets */
    uint64_t tokens, scored, skipped;      /* of the text; tokens = scored + skipped */
    uint64_t documents, bytes, characters; /* of the text */
    uint64_t words;                        /* between white space, or a benchmark's published count */
    double nats_per_token, bits_per_token, token_perplexity;
    double bits_per_byte, bits_per_character;
    double word_perplexity; /* exp(nats / words) */
    double seconds;
    int64_t state_bytes; /* of one document */
    bool complete;       /* every token was scored exactly once */
    bool lossless;       /* every document's text comes back from its tokens */
    double accuracy;     /* of answers, of data that says which tokens are (longhand data make); else NaN */
} longhand_evaluation;

/* Reads a text by a protocol. Set options->size and evaluation->size before. LH_E_INTERRUPTED after a stop. */
LH_API lh_status longhand_evaluate(longhand_model *model, const longhand_evaluation_options *options,
                                   longhand_evaluation *evaluation, lh_error *error);

/* ---- recipes ---- */

/* A configuration with a name. Texts live for ever. */
typedef struct longhand_preset {
    size_t size;
    const char *name, *help;
} longhand_preset;

/* The index-th preset, counted from 0; LH_E_ARGUMENT behind the last. */
LH_API lh_status longhand_preset_get(size_t index, longhand_preset *preset, lh_error *error);

/* A recipe over a base: the name of a preset or the path of a recipe file; NULL: all defaults. LH_E_ARGUMENT if
 * there is neither. docs/recipes.md has the format. */
LH_API lh_status longhand_recipe_create(longhand_recipe **recipe, const char *base, lh_error *error);
/* The recipe of a run, to go on with it. */
LH_API lh_status longhand_recipe_open_run(longhand_recipe **recipe, const char *directory, lh_error *error);
LH_API void longhand_recipe_free(longhand_recipe *recipe);

/* Adds an INI text, stronger than what was there before. Unknown sections and keys are LH_E_CONFIG at once, values
 * are checked when the recipe is used. */
LH_API lh_status longhand_recipe_add(longhand_recipe *recipe, const char *text, size_t size, lh_error *error);
/* Sets one key, as on a command line: "train.minutes=10". Stronger than every text. */
LH_API lh_status longhand_recipe_set(longhand_recipe *recipe, const char *assignment, lh_error *error);
/* The value that "section.key" has now, as text, until the next call with the recipe; NULL if a condition switches
 * the key off. LH_E_ARGUMENT: there is no such key. LH_E_CONFIG: the recipe contradicts itself. */
LH_API lh_status longhand_recipe_get(longhand_recipe *recipe, const char *key, const char **value, lh_error *error);
/* The whole recipe as INI text with every value, and where each is from if `origins`. Release with longhand_free.
 */
LH_API lh_status longhand_recipe_text(longhand_recipe *recipe, bool origins, char **text, lh_error *error);

/* A key that recipes may have. A key whose meaning depends on a condition comes once for each. Texts live for ever.
 */
typedef struct longhand_key {
    size_t size;
    const char *section, *key;
    const char *kind;        /* "string", "integer", "real", "boolean", "list" (of integers) or "choice" */
    const char *usual;       /* the default as text; NULL: the key must be set */
    const char *choices;     /* "adamw|sgd", or NULL */
    const char *condition;   /* "memory.kind=compressive", or NULL: always legal */
    const char *help;        /* one line */
    double minimum, maximum; /* of numbers, both included; infinite: no bound */
} longhand_key;

/* The index-th key, counted from 0; LH_E_ARGUMENT behind the last. */
LH_API lh_status longhand_recipe_key(const longhand_recipe *recipe, size_t index, longhand_key *key,
                                     lh_error *error);

/* What the recipe's model would be, without making it: also the largest ones can be asked about. vocabulary: of the
 * tokenizer, or 0 if the recipe has model.vocab. */
LH_API lh_status longhand_recipe_model_info(longhand_recipe *recipe, int64_t vocabulary, longhand_model_info *info,
                                            lh_error *error);

/* ---- training ---- */

typedef struct longhand_training_options {
    size_t size;
    bool must_exist;      /* go on with a run; never begin one */
    longhand_watch watch; /* after every step, and while text is prepared. May be NULL */
    longhand_stop stop;   /* asked between steps: true saves and ends. May be NULL */
    void *user;           /* for both */
} longhand_training_options;

/* Where the run stands. Losses are in `unit`, NaN if there is none. */
typedef struct longhand_training_report {
    size_t size;
    int64_t step, tokens, parameters;
    double seconds;           /* training time of all sessions of the run */
    double tokens_per_second; /* of this call */
    const char *unit;         /* "bits_per_byte", .. */
    double loss;              /* over the last train.log_every steps */
    double validation;        /* at the last evaluation */
    double best;              /* lowest validation */
    int64_t best_step;        /* and the step of its checkpoint; -1: none */
    bool resumed, finished;
    double accuracy; /* of answers, at the last evaluation of this call; NaN: the text has none */
} longhand_training_report;

/* Trains what the recipe says into a run directory, which keeps recipe, checkpoints and logs. If the directory
 * holds this very run already, it goes on, bit for bit as if it had never stopped; a run by another recipe is
 * LH_E_CONFIG. recipe NULL: goes on with the run there by its own recipe. options may be NULL; report (may be NULL;
 * set its size before) is filled in whatever the status. LH_E_INTERRUPTED: stopped, everything is saved.
 * LH_E_NUMERIC: a NaN or infinity; the last checkpoint stands. */
LH_API lh_status longhand_train(longhand_recipe *recipe, const char *directory,
                                const longhand_training_options *options, longhand_training_report *report,
                                lh_error *error);

#ifdef __cplusplus
}
#endif
#endif
