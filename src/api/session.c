#include "api/handles.h"

#include "base/memory.h"

static longhand_session *wrap(longhand_model *model, lh_error *error)
{
    longhand_session *s = lh_heap_alloc(sizeof *s);
    if (!s) {
        (void)lh_fail(error, LH_E_MEMORY, "no memory for a session");
        return NULL;
    }
    atomic_init(&s->references, 1);
    atomic_fetch_add(&model->references, 1);
    s->model = model;
    return s;
}

/* More side by side than any machine has memory for. */
#define MOST_LANES (1 << 20)

lh_status longhand_session_create(longhand_session **session, longhand_model *model, int64_t lanes, int threads,
                                  lh_error *error)
{
    LH_API_NEED(error, session);
    *session = NULL;
    LH_API_NEED(error, model);
    if (lanes < 1 || lanes > MOST_LANES || threads < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "a session of %lld lanes on %d threads is impossible",
                       (long long)lanes, threads);
    }
    longhand_session *s = wrap(model, error);
    if (!s) {
        return LH_E_MEMORY;
    }
    lh_status status = lh_session_create(&s->session, model->model, lanes, threads, error);
    if (status != LH_OK) {
        longhand_session_free(s);
        return status;
    }
    *session = s;
    return LH_OK;
}

void longhand_session_free(longhand_session *session)
{
    if (session && atomic_fetch_sub(&session->references, 1) == 1) {
        lh_session_free(session->session);
        longhand_model_free(session->model);
        lh_heap_free(session);
    }
}

/* A generator that has begun holds tokens that the session has not read. */
static lh_status check_free(const longhand_session *session, lh_error *error)
{
    return session->writer ? lh_fail(error, LH_E_ARGUMENT,
                                     "a generator is using this session: longhand_generator_finish it first")
                           : LH_OK;
}

static lh_status check_tokens(const longhand_session *session, const int32_t *tokens, int64_t count,
                              const char *what, bool may_be_negative, lh_error *error)
{
    int64_t lanes = lh_session_lanes(session->session), vocabulary = session->model->model->config.vocab;
    if (count < 1 || count > INT64_MAX / 16 / lanes) {
        return lh_fail(error, LH_E_ARGUMENT, "there is nothing to read in %lld tokens", (long long)count);
    }
    for (int64_t i = 0; i < lanes * count; i++) {
        if (tokens[i] >= vocabulary || (tokens[i] < 0 && !may_be_negative)) {
            return lh_fail(error, LH_E_ARGUMENT, "%s %d at %lld of lane %lld is not below the vocabulary of %lld",
                           what, tokens[i], (long long)(i % count), (long long)(i / count), (long long)vocabulary);
        }
    }
    return LH_OK;
}

lh_status longhand_session_feed(longhand_session *session, const int32_t *tokens, int64_t count, float *logits,
                                lh_error *error)
{
    LH_API_NEED(error, session);
    LH_API_NEED(error, tokens);
    LH_TRY(check_free(session, error));
    LH_TRY(check_tokens(session, tokens, count, "token", false, error));
    return logits ? lh_session_feed(session->session, tokens, count, logits, error)
                  : lh_session_read(session->session, tokens, count, error);
}

lh_status longhand_session_score(longhand_session *session, const int32_t *tokens, const int32_t *targets,
                                 int64_t count, double *nats, lh_error *error)
{
    LH_API_NEED(error, session);
    LH_API_NEED(error, tokens);
    LH_API_NEED(error, targets);
    LH_API_NEED(error, nats);
    LH_TRY(check_free(session, error));
    LH_TRY(check_tokens(session, tokens, count, "token", false, error));
    LH_TRY(check_tokens(session, targets, count, "target", true, error));
    return lh_session_score(session->session, tokens, targets, count, nats, error);
}

lh_status longhand_session_reset(longhand_session *session, int64_t lane, lh_error *error)
{
    LH_API_NEED(error, session);
    if (lane < -1 || lane >= lh_session_lanes(session->session)) {
        return lh_fail(error, LH_E_ARGUMENT, "there is no lane %lld of %lld", (long long)lane,
                       (long long)lh_session_lanes(session->session));
    }
    LH_TRY(check_free(session, error));
    return lh_session_reset(session->session, lane, error);
}

lh_status longhand_session_fork(longhand_session **copy, const longhand_session *session, lh_error *error)
{
    LH_API_NEED(error, copy);
    *copy = NULL;
    LH_API_NEED(error, session);
    LH_TRY(check_free(session, error));
    longhand_session *s = wrap(session->model, error);
    if (!s) {
        return LH_E_MEMORY;
    }
    lh_status status = lh_session_fork(&s->session, session->session, error);
    if (status != LH_OK) {
        longhand_session_free(s);
        return status;
    }
    *copy = s;
    return LH_OK;
}

lh_status longhand_session_mark(longhand_session *session, lh_error *error)
{
    LH_API_NEED(error, session);
    LH_TRY(check_free(session, error));
    return lh_session_mark(session->session, error);
}

lh_status longhand_session_rewind(longhand_session *session, lh_error *error)
{
    LH_API_NEED(error, session);
    LH_TRY(check_free(session, error));
    return lh_session_rewind(session->session, error);
}

lh_status longhand_session_save(const longhand_session *session, const char *path, lh_error *error)
{
    LH_API_NEED(error, session);
    LH_API_NEED(error, path);
    LH_TRY(check_free(session, error));
    return lh_session_save(session->session, path, error);
}

lh_status longhand_session_restore(longhand_session *session, const char *path, lh_error *error)
{
    LH_API_NEED(error, session);
    LH_API_NEED(error, path);
    LH_TRY(check_free(session, error));
    return lh_session_restore(session->session, path, error);
}

lh_status longhand_session_set_overlap(longhand_session *session, int64_t overlap, lh_error *error)
{
    LH_API_NEED(error, session);
    if (overlap < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "an overlap of %lld tokens is impossible", (long long)overlap);
    }
    lh_session_set_overlap(session->session, overlap);
    return LH_OK;
}

int64_t longhand_session_lanes(const longhand_session *session)
{
    return session ? lh_session_lanes(session->session) : -1;
}

int64_t longhand_session_position(const longhand_session *session)
{
    return session ? lh_session_position(session->session) : -1;
}

int64_t longhand_session_state_bytes(const longhand_session *session)
{
    return session ? lh_session_state_bytes(session->session) : -1;
}
