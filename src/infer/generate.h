/* Writing on: a text is read in pieces of any size, then continued token by token. Memory does not depend on how
 * long the text is. */
#ifndef LH_INFER_GENERATE_H
#define LH_INFER_GENERATE_H

#include "infer/sampler.h"
#include "infer/session.h"
#include "text/tokenizer.h"

typedef struct lh_generator_options {
    lh_sampler_options sampling;
    const char *const *stops; /* writing ends before any of these texts */
    size_t stop_count;
    bool ignore_end; /* goes on behind the tokenizer's end-of-text token */
    bool special;    /* special tokens are written as text, too */
} lh_generator_options;

typedef struct lh_generator lh_generator;

/* A session of one lane. Session and tokenizer must outlive the generator; stops are copied. The tokenizer must
 * have no more tokens than the model. */
lh_status lh_generator_create(lh_generator **generator, lh_session *session, const lh_tokenizer *tokenizer,
                              const lh_generator_options *options, lh_error *error);
void lh_generator_free(lh_generator *generator); /* NULL is fine */

/* Reads the next bytes of the prompt. Any way of cutting it gives the same. */
lh_status lh_generator_read(lh_generator *generator, const void *bytes, size_t size, lh_error *error);

/* For a model with an encoder: begins anew beside this text, of which the encoder reads the beginning. The target
 * begins behind the end-of-text token, as in pairs. *cut (may be NULL): how many tokens were too much for the
 * encoder. LH_E_UNSUPPORTED for other models. */
lh_status lh_generator_source(lh_generator *generator, const void *bytes, size_t size, int64_t *cut,
                              lh_error *error);

/* Writes the next token: appends its text, without what may still become a stop text or the beginning of a
 * character. *ended is set when a stop text or the end-of-text token came up; the rest is then in `text`. The token
 * itself is read by the session when the next one is wanted. A session that has read nothing begins with the
 * tokenizer's end-of-text token, or, if there is none, with a line feed (or token 0). One that scored tokens last
 * (lh_session_score) does not know what comes next: LH_E_ARGUMENT unless something is read first, as is a model
 * with an encoder before it has a source. */
lh_status lh_generator_next(lh_generator *generator, lh_string *text, bool *ended, lh_error *error);

/* Appends what was held back: call when no more tokens are wanted. */
lh_status lh_generator_finish(lh_generator *generator, lh_string *text, lh_error *error);

/* Lets the session read all that was read and written here, so that the session itself can go on from there. */
lh_status lh_generator_settle(lh_generator *generator, lh_error *error);

int64_t lh_generator_tokens_read(const lh_generator *generator);    /* of the prompt, so far */
int64_t lh_generator_tokens_written(const lh_generator *generator); /* by lh_generator_next */
int32_t lh_generator_last_token(const lh_generator *generator);     /* LH_NO_TOKEN before the first */

/* Session, random stream and repetition window in one file: a generator that takes it back writes on, token for
 * token, as this one would have. With `keep_seed` the restored generator keeps its own random stream. What
 * lh_generator_next has held back must have been taken with lh_generator_finish. The file is a session file:
 * lh_session_restore takes it, too. Saving settles. */
lh_status lh_generator_save(lh_generator *generator, const char *path, lh_error *error);
lh_status lh_generator_restore(lh_generator *generator, const char *path, bool keep_seed, lh_error *error);

#endif
