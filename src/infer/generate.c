#include "infer/generate.h"

#include "base/memory.h"

#include <string.h>

struct lh_generator {
    lh_session *session;
    const lh_tokenizer *tokenizer;
    lh_generator_options options;
    char **stops;
    lh_sampler *sampler;
    lh_encoder *encoder;
    lh_decoder *decoder;
    lh_ids queue;   /* tokens that the session has not read yet, such as the last one written */
    float *logits;  /* [vocab] */
    lh_string held; /* text that may become a stop text */
    bool in_prompt; /* the encoder may hold text back */
    bool keep_seed; /* while a file is read */
    int64_t read, written;
    int32_t last;
};

static lh_status copy_stops(lh_generator *g, const lh_generator_options *options, lh_error *error)
{
    g->stops = lh_heap_alloc(sizeof *g->stops * (options->stop_count + 1));
    for (size_t i = 0; g->stops && i < options->stop_count; i++) {
        if (!options->stops[i][0]) {
            return lh_fail(error, LH_E_ARGUMENT, "a stop text must not be empty");
        }
        g->stops[i] = lh_heap_strdup(options->stops[i]);
        if (!g->stops[i]) {
            return lh_fail(error, LH_E_MEMORY, "no memory for stop texts");
        }
    }
    return g->stops ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for stop texts");
}

static lh_status make_parts(lh_generator *g, const lh_generator_options *options, lh_error *error)
{
    const lh_model *model = lh_session_model(g->session);
    int64_t vocab = model->config.vocab;
    if (lh_session_lanes(g->session) != 1) {
        return lh_fail(error, LH_E_ARGUMENT, "writing takes a session of one document, not of %lld",
                       (long long)lh_session_lanes(g->session));
    }
    if (lh_tokenizer_vocab_size(g->tokenizer) > vocab) {
        return lh_fail(error, LH_E_ARGUMENT, "the tokenizer has %d tokens, more than the model's %lld",
                       lh_tokenizer_vocab_size(g->tokenizer), (long long)vocab);
    }
    LH_TRY(copy_stops(g, options, error));
    LH_TRY(lh_sampler_create(&g->sampler, &options->sampling, vocab, error));
    LH_TRY(lh_encoder_create(&g->encoder, g->tokenizer, 0, error));
    unsigned flags = LH_DECODE_WHOLE_CHARACTERS | (options->special ? 0 : LH_DECODE_SKIP_SPECIAL);
    LH_TRY(lh_decoder_create(&g->decoder, g->tokenizer, flags, error));
    g->logits = lh_heap_alloc(sizeof *g->logits * (size_t)vocab);
    return g->logits ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for %lld logits", (long long)vocab);
}

lh_status lh_generator_create(lh_generator **generator, lh_session *session, const lh_tokenizer *tokenizer,
                              const lh_generator_options *options, lh_error *error)
{
    *generator = NULL;
    const lh_model *model = lh_session_model(session);
    const char *why = model->memory_kind->cannot_write ? model->memory_kind->cannot_write(&model->shape) : NULL;
    if (why) {
        return lh_fail(error, LH_E_UNSUPPORTED, "this model cannot write: it %s", why);
    }
    lh_generator *g = lh_heap_alloc(sizeof *g);
    if (!g) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a generator");
    }
    g->session = session;
    g->tokenizer = tokenizer;
    g->options = *options;
    g->last = LH_NO_TOKEN;
    lh_status status = make_parts(g, options, error);
    if (status != LH_OK) {
        lh_generator_free(g);
        return status;
    }
    *generator = g;
    return LH_OK;
}

void lh_generator_free(lh_generator *generator)
{
    if (generator) {
        for (size_t i = 0; generator->stops && i < generator->options.stop_count; i++) {
            lh_heap_free(generator->stops[i]);
        }
        lh_heap_free(generator->stops);
        lh_sampler_free(generator->sampler);
        lh_encoder_free(generator->encoder);
        lh_decoder_free(generator->decoder);
        lh_ids_free(&generator->queue);
        lh_string_free(&generator->held);
        lh_heap_free(generator->logits);
        lh_heap_free(generator);
    }
}

int64_t lh_generator_tokens_read(const lh_generator *generator)
{
    return generator->read;
}

int64_t lh_generator_tokens_written(const lh_generator *generator)
{
    return generator->written;
}

int32_t lh_generator_last_token(const lh_generator *generator)
{
    return generator->last;
}

static void drop_front(lh_ids *ids, size_t count)
{
    if (count > 0) {
        memmove(ids->data, ids->data + count, sizeof *ids->data * (ids->size - count));
        ids->size -= count;
    }
}

/* Lets the session read whole segments; at least one token stays, so that its logits can be asked for. */
static lh_status read_segments(lh_generator *g, lh_error *error)
{
    size_t done = 0;
    lh_status status = LH_OK;
    while (status == LH_OK) {
        size_t room = (size_t)lh_session_room(g->session);
        if (g->queue.size - done <= room) {
            break;
        }
        status = lh_session_feed(g->session, g->queue.data + done, (int64_t)room, NULL, error);
        done += room;
    }
    drop_front(&g->queue, done);
    return status;
}

static void note_from(lh_generator *g, size_t first)
{
    for (size_t i = first; i < g->queue.size; i++) {
        lh_sampler_note(g->sampler, g->queue.data[i]);
    }
    g->read += (int64_t)(g->queue.size - first);
}

static lh_status begin_from_nothing(lh_generator *g, lh_error *error);

lh_status lh_generator_source(lh_generator *generator, const void *bytes, size_t size, int64_t *cut,
                              lh_error *error)
{
    lh_generator *g = generator;
    lh_ids ids = {0};
    int64_t most = lh_session_source_tokens(g->session), left = 0;
    lh_encoder_reset(g->encoder);
    g->in_prompt = false;
    lh_ids_clear(&g->queue);
    lh_status status = lh_session_reset(g->session, -1, error);
    if (status == LH_OK) {
        status = lh_encoder_feed(g->encoder, bytes, size, &ids, error);
    }
    if (status == LH_OK) {
        status = lh_encoder_finish(g->encoder, &ids, error);
    }
    if (status == LH_OK && most > 0 && ids.size > (size_t)most) {
        left = (int64_t)ids.size - most;
        ids.size = (size_t)most;
    }
    if (status == LH_OK) {
        status = lh_session_source(g->session, ids.data, (int64_t)ids.size, error);
    }
    g->read += status == LH_OK ? (int64_t)ids.size : 0;
    lh_ids_free(&ids);
    LH_TRY(status);
    if (cut) {
        *cut = left;
    }
    /* What an earlier text has left behind does not belong to this one. */
    LH_TRY(lh_decoder_finish(g->decoder, &g->held, error));
    lh_string_clear(&g->held);
    g->last = LH_NO_TOKEN;
    return begin_from_nothing(g, error);
}

/* How much of a text is encoded before the session reads: keeps the queue small. */
#define PROMPT_PIECE ((size_t)16 << 10)

lh_status lh_generator_read(lh_generator *generator, const void *bytes, size_t size, lh_error *error)
{
    lh_generator *g = generator;
    const char *text = bytes;
    g->in_prompt = g->in_prompt || size > 0;
    while (size > 0) {
        size_t part = size < PROMPT_PIECE ? size : PROMPT_PIECE, first = g->queue.size;
        LH_TRY(lh_encoder_feed(g->encoder, text, part, &g->queue, error));
        note_from(g, first);
        LH_TRY(read_segments(g, error));
        text += part;
        size -= part;
    }
    return LH_OK;
}

static lh_status end_prompt(lh_generator *g, lh_error *error)
{
    if (g->in_prompt) {
        size_t first = g->queue.size;
        g->in_prompt = false;
        LH_TRY(lh_encoder_finish(g->encoder, &g->queue, error));
        note_from(g, first);
        LH_TRY(read_segments(g, error));
    }
    return LH_OK;
}

/* Where nothing was read: the end of the text before, or the end of a line. */
static lh_status begin_from_nothing(lh_generator *g, lh_error *error)
{
    int32_t token = lh_tokenizer_role(g->tokenizer, LH_TOKEN_EOS);
    token = token == LH_NO_TOKEN ? lh_tokenizer_role(g->tokenizer, LH_TOKEN_BOS) : token;
    token = token == LH_NO_TOKEN ? lh_tokenizer_find(g->tokenizer, "\n", 1) : token;
    token = token == LH_NO_TOKEN ? 0 : token;
    return lh_ids_append(&g->queue, &token, 1, error);
}

static bool is_end(const lh_generator *g, int32_t token)
{
    return !g->options.ignore_end && lh_tokenizer_get_kind(g->tokenizer) != LH_TOKENIZER_WORDS &&
           token == lh_tokenizer_role(g->tokenizer, LH_TOKEN_EOS);
}

/* Looks for a stop text in what is held. Returns true if there is one, after cutting it and what follows off;
 * otherwise *keep is how many bytes at the end may be the beginning of one. */
static bool find_stop(lh_generator *g, size_t *keep)
{
    size_t best = SIZE_MAX;
    *keep = 0;
    for (size_t i = 0; i < g->options.stop_count; i++) {
        size_t size = strlen(g->stops[i]);
        for (size_t at = 0; at < g->held.size; at++) {
            size_t left = g->held.size - at, compare = left < size ? left : size;
            if (memcmp(g->held.data + at, g->stops[i], compare) != 0) {
                continue;
            }
            if (compare == size) {
                best = at < best ? at : best;
            } else {
                *keep = left > *keep ? left : *keep;
            }
            break;
        }
    }
    if (best == SIZE_MAX) {
        return false;
    }
    g->held.size = best;
    g->held.data[best] = '\0';
    return true;
}

/* Moves all but the last `keep` bytes of what is held into the text. */
static lh_status release(lh_generator *g, size_t keep, lh_string *text, lh_error *error)
{
    size_t count = g->held.size - keep;
    if (g->held.failed || text->failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the text that is written");
    }
    if (count > 0) {
        lh_string_append(text, g->held.data, count);
        memmove(g->held.data, g->held.data + count, keep);
        g->held.size = keep;
        g->held.data[keep] = '\0';
    }
    return text->failed ? lh_fail(error, LH_E_MEMORY, "no memory for the text that is written") : LH_OK;
}

/* An id of the model's that the tokenizer has no token for must not be drawn. */
static void forbid_unknown(const lh_generator *g)
{
    const lh_model *model = lh_session_model(g->session);
    for (int64_t i = lh_tokenizer_vocab_size(g->tokenizer); i < model->config.vocab; i++) {
        g->logits[i] = -1e30f;
    }
}

lh_status lh_generator_settle(lh_generator *generator, lh_error *error)
{
    LH_TRY(end_prompt(generator, error));
    if (generator->queue.size > 0) {
        LH_TRY(lh_session_read(generator->session, generator->queue.data, (int64_t)generator->queue.size, error));
        lh_ids_clear(&generator->queue);
    }
    return LH_OK;
}

/* What may come next, for all tokens. */
static lh_status find_logits(lh_generator *g, lh_error *error)
{
    LH_TRY(lh_generator_settle(g, error));
    if (!lh_session_logits(g->session) && lh_session_position(g->session) > 0) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "the session scored tokens last and does not know what comes next: let it read something");
    }
    if (!lh_session_logits(g->session) && lh_session_source_tokens(g->session) > 0) {
        return lh_fail(error, LH_E_ARGUMENT, "a model with an encoder writes beside a source: give it one first");
    }
    if (!lh_session_logits(g->session)) {
        LH_TRY(begin_from_nothing(g, error));
        LH_TRY(lh_generator_settle(g, error));
    }
    memcpy(g->logits, lh_session_logits(g->session),
           sizeof *g->logits * (size_t)lh_session_model(g->session)->config.vocab);
    forbid_unknown(g);
    return LH_OK;
}

lh_status lh_generator_next(lh_generator *generator, lh_string *text, bool *ended, lh_error *error)
{
    lh_generator *g = generator;
    int32_t token;
    *ended = false;
    LH_TRY(find_logits(g, error));
    LH_TRY(lh_sampler_pick(g->sampler, g->logits, &token, error));
    LH_TRY(lh_ids_append(&g->queue, &token, 1, error));
    lh_sampler_note(g->sampler, token);
    g->last = token;
    g->written++;
    size_t keep = 0;
    if (is_end(g, token)) {
        *ended = true;
        LH_TRY(lh_decoder_finish(g->decoder, &g->held, error));
        (void)find_stop(g, &keep);
        return release(g, 0, text, error);
    }
    LH_TRY(lh_decoder_feed(g->decoder, token, &g->held, error));
    *ended = find_stop(g, &keep);
    return release(g, *ended ? 0 : keep, text, error);
}

lh_status lh_generator_finish(lh_generator *generator, lh_string *text, lh_error *error)
{
    LH_TRY(lh_decoder_finish(generator->decoder, &generator->held, error));
    return release(generator, 0, text, error);
}

static lh_status add_entries(void *user, lh_checkpoint_writer *writer, lh_error *error)
{
    const lh_generator *g = user;
    int64_t *numbers = lh_heap_alloc(sizeof *numbers * lh_sampler_state_size(g->sampler));
    if (!numbers) {
        return lh_fail(error, LH_E_MEMORY, "no memory to save a generator");
    }
    size_t count = lh_sampler_state(g->sampler, numbers);
    lh_status status = lh_checkpoint_add_blob(writer, "generator.sampler", numbers, count * sizeof *numbers, error);
    lh_heap_free(numbers);
    return status;
}

lh_status lh_generator_save(lh_generator *generator, const char *path, lh_error *error)
{
    LH_TRY(lh_generator_settle(generator, error));
    return lh_session_save_with(generator->session, path, add_entries, generator, error);
}

static lh_status take_entries(void *user, const lh_checkpoint *file, lh_error *error)
{
    lh_generator *g = user;
    const void *numbers;
    size_t bytes;
    LH_TRY(lh_checkpoint_blob(file, "generator.sampler", &numbers, &bytes, error));
    int64_t *state = lh_heap_alloc(bytes);
    if (!state) {
        return lh_fail(error, LH_E_MEMORY, "no memory to restore a generator");
    }
    if (bytes > 0) {
        memcpy(state, numbers, bytes);
    }
    bool good =
        bytes % sizeof *state == 0 && lh_sampler_restore(g->sampler, state, bytes / sizeof *state, !g->keep_seed);
    lh_heap_free(state);
    if (!good) {
        return lh_fail(error, LH_E_FORMAT, "the saved generator's sampling state makes no sense");
    }
    lh_ids_clear(&g->queue);
    g->last = LH_NO_TOKEN;
    return LH_OK;
}

lh_status lh_generator_restore(lh_generator *generator, const char *path, bool keep_seed, lh_error *error)
{
    generator->keep_seed = keep_seed;
    lh_encoder_reset(generator->encoder);
    generator->in_prompt = false;
    /* What an earlier text has left behind does not belong to this one. */
    LH_TRY(lh_decoder_finish(generator->decoder, &generator->held, error));
    lh_string_clear(&generator->held);
    return lh_session_restore_with(generator->session, path, take_entries, generator, error);
}
