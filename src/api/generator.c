#include "api/handles.h"

#include "base/memory.h"

#include <string.h>

void longhand_generator_defaults(longhand_generator_options *options, size_t size)
{
    lh_sampler_options usual = lh_sampler_defaults();
    longhand_generator_options o = {.temperature = usual.temperature,
                                    .top_k = usual.top_k,
                                    .top_p = usual.top_p,
                                    .min_p = usual.min_p,
                                    .repetition_penalty = usual.repetition_penalty,
                                    .repetition_window = usual.repetition_window,
                                    .seed = usual.seed};
    if (options && size >= sizeof options->size) {
        memset(options, 0, size);
        options->size = size;
        lh_api_give(options, &o, sizeof o);
    }
}

lh_status longhand_generator_create(longhand_generator **generator, longhand_session *session,
                                    const longhand_generator_options *options, lh_error *error)
{
    longhand_generator_options o;
    LH_API_NEED(error, generator);
    *generator = NULL;
    LH_API_NEED(error, session);
    longhand_generator_defaults(&o, sizeof o);
    LH_TRY(lh_api_take(&o, sizeof o, options, "longhand_generator_options", error));
    LH_TRY(lh_api_check_texts(o.stops, o.stop_count, "stop text", error));
    lh_generator_options inner = {.sampling = {.temperature = o.temperature,
                                               .top_k = o.top_k,
                                               .top_p = o.top_p,
                                               .min_p = o.min_p,
                                               .repetition_penalty = o.repetition_penalty,
                                               .repetition_window = o.repetition_window,
                                               .seed = o.seed},
                                  .stops = o.stops,
                                  .stop_count = o.stop_count,
                                  .ignore_end = o.ignore_end,
                                  .special = o.special};
    longhand_generator *g = lh_heap_alloc(sizeof *g);
    if (!g) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a generator");
    }
    atomic_fetch_add(&session->references, 1);
    g->session = session;
    lh_status status =
        lh_generator_create(&g->generator, session->session, session->model->tokenizer->tokenizer, &inner, error);
    if (status != LH_OK) {
        longhand_generator_free(g);
        return status;
    }
    *generator = g;
    return LH_OK;
}

void longhand_generator_free(longhand_generator *generator)
{
    if (generator) {
        if (generator->session->writer == generator) {
            generator->session->writer = NULL;
        }
        lh_generator_free(generator->generator);
        longhand_session_free(generator->session);
        lh_string_free(&generator->text);
        lh_heap_free(generator);
    }
}

/* No other generator may be in the middle of the session. */
static lh_status check_mine(const longhand_generator *g, lh_error *error)
{
    return g->session->writer && g->session->writer != g
               ? lh_fail(error, LH_E_ARGUMENT, "another generator is using this session: finish that one first")
               : LH_OK;
}

lh_status longhand_generator_read(longhand_generator *generator, const char *text, size_t size, lh_error *error)
{
    LH_API_NEED(error, generator);
    LH_API_NEED(error, text || size == 0);
    LH_TRY(check_mine(generator, error));
    generator->session->writer = generator;
    return lh_generator_read(generator->generator, text, size, error);
}

lh_status longhand_generator_source(longhand_generator *generator, const char *text, size_t size, int64_t *cut,
                                    lh_error *error)
{
    LH_API_NEED(error, generator);
    LH_API_NEED(error, text || size == 0);
    LH_TRY(check_mine(generator, error));
    LH_TRY(lh_generator_source(generator->generator, text ? text : "", size, cut, error));
    generator->session->writer = generator;
    return LH_OK;
}

static longhand_piece piece_of(const longhand_generator *g, int32_t token, bool ended)
{
    return (longhand_piece){.size = sizeof(longhand_piece),
                            .text = g->text.data ? g->text.data : "",
                            .text_size = g->text.size,
                            .token = token,
                            .ended = ended};
}

static lh_status next(longhand_generator *g, longhand_piece *piece, lh_error *error)
{
    bool ended;
    LH_TRY(check_mine(g, error));
    lh_string_clear(&g->text);
    LH_TRY(lh_generator_next(g->generator, &g->text, &ended, error));
    g->session->writer = g; /* the session has not read this token yet */
    *piece = piece_of(g, lh_generator_last_token(g->generator), ended);
    return LH_OK;
}

static lh_status finish(longhand_generator *g, longhand_piece *piece, lh_error *error)
{
    LH_TRY(check_mine(g, error));
    lh_string_clear(&g->text);
    LH_TRY(lh_generator_settle(g->generator, error));
    LH_TRY(lh_generator_finish(g->generator, &g->text, error));
    g->session->writer = NULL;
    *piece = piece_of(g, LH_NO_TOKEN, false);
    return LH_OK;
}

lh_status longhand_generator_next(longhand_generator *generator, longhand_piece *piece, lh_error *error)
{
    longhand_piece found;
    LH_API_NEED(error, generator);
    LH_API_NEED(error, piece);
    LH_TRY(lh_api_check(piece, "longhand_piece", error));
    LH_TRY(next(generator, &found, error));
    lh_api_give(piece, &found, sizeof found);
    return LH_OK;
}

lh_status longhand_generator_finish(longhand_generator *generator, longhand_piece *piece, lh_error *error)
{
    longhand_piece found;
    LH_API_NEED(error, generator);
    if (piece) {
        LH_TRY(lh_api_check(piece, "longhand_piece", error));
    }
    LH_TRY(finish(generator, &found, error));
    if (piece) {
        lh_api_give(piece, &found, sizeof found);
    }
    return LH_OK;
}

lh_status longhand_generator_write(longhand_generator *generator, int64_t tokens, longhand_writer writer,
                                   void *user, bool *ended, lh_error *error)
{
    longhand_piece piece = {0};
    LH_API_NEED(error, generator);
    if (tokens < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "%lld tokens cannot be written", (long long)tokens);
    }
    bool enough = false, over = false;
    for (int64_t i = 0; i < tokens && !enough && !over; i++) {
        LH_TRY(next(generator, &piece, error));
        over = piece.ended;
        enough = writer && writer(user, &piece);
    }
    LH_TRY(finish(generator, &piece, error));
    if (writer && piece.text_size > 0) {
        (void)writer(user, &piece);
    }
    if (ended) {
        *ended = over;
    }
    return LH_OK;
}

int64_t longhand_generator_tokens_read(const longhand_generator *generator)
{
    return generator ? lh_generator_tokens_read(generator->generator) : -1;
}

int64_t longhand_generator_tokens_written(const longhand_generator *generator)
{
    return generator ? lh_generator_tokens_written(generator->generator) : -1;
}

lh_status longhand_generator_save(longhand_generator *generator, const char *path, lh_error *error)
{
    LH_API_NEED(error, generator);
    LH_API_NEED(error, path);
    LH_TRY(check_mine(generator, error));
    LH_TRY(lh_generator_save(generator->generator, path, error));
    generator->session->writer = NULL;
    return LH_OK;
}

lh_status longhand_generator_restore(longhand_generator *generator, const char *path, bool keep_seed,
                                     lh_error *error)
{
    LH_API_NEED(error, generator);
    LH_API_NEED(error, path);
    LH_TRY(check_mine(generator, error));
    LH_TRY(lh_generator_restore(generator->generator, path, keep_seed, error));
    generator->session->writer = NULL;
    return LH_OK;
}
