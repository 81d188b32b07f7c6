#include "infer/session_internal.h"

#include <string.h>

lh_status lh_session_create(lh_session **session, const lh_model *model, int64_t lanes, int threads,
                            lh_error *error)
{
    *session = NULL;
    lh_session *s = lh_heap_alloc(sizeof *s);
    if (!s) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a session");
    }
    s->model = model;
    s->threads = threads;
    s->rereads = model->memory_kind->forgets || (model->memory_kind->prime && model->memory_kind->unread);
    s->overlap = s->rereads ? model->config.segment / 2 : 0;
    lh_status status = lh_context_create(&s->context, model->backend, threads, error);
    if (status == LH_OK) {
        status = lh_stream_create(&s->stream, model, lanes, true, error);
    }
    if (status == LH_OK) {
        size_t cells = (size_t)(lanes * model->config.segment);
        s->segment = lh_heap_alloc(sizeof *s->segment * cells);
        s->piece = lh_heap_alloc(sizeof *s->piece * cells);
        s->targets = lh_heap_alloc(sizeof *s->targets * cells);
        s->best = lh_heap_alloc(sizeof *s->best * cells);
        s->nll = lh_heap_alloc(sizeof *s->nll * cells);
        s->wide = lh_heap_alloc(sizeof *s->wide * (size_t)(lanes * model->config.vocab));
        s->logits = lh_heap_alloc(sizeof *s->logits * (size_t)(lanes * model->config.vocab));
        if (!s->segment || !s->piece || !s->targets || !s->best || !s->nll || !s->wide || !s->logits) {
            status = lh_fail(error, LH_E_MEMORY, "no memory for a session of %lld documents", (long long)lanes);
        }
    }
    if (status != LH_OK) {
        lh_session_free(s);
        return status;
    }
    *session = s;
    return LH_OK;
}

void lh_session_free(lh_session *session)
{
    if (session) {
        lh_session_free(session->mark);
        lh_context_free(session->context);
        lh_stream_free(session->stream);
        lh_heap_free(session->segment);
        lh_heap_free(session->piece);
        lh_heap_free(session->targets);
        lh_heap_free(session->best);
        lh_heap_free(session->nll);
        lh_heap_free(session->wide);
        lh_heap_free(session->logits);
        lh_heap_free(session);
    }
}

const lh_model *lh_session_model(const lh_session *session)
{
    return session->model;
}

int64_t lh_session_lanes(const lh_session *session)
{
    return session->stream->batch;
}

int64_t lh_session_position(const lh_session *session)
{
    return session->stream->position;
}

int64_t lh_session_fill(const lh_session *session)
{
    return session->stream->fill;
}

int64_t lh_session_state_bytes(const lh_session *session)
{
    return lh_stream_bytes(session->stream);
}

void lh_session_set_overlap(lh_session *session, int64_t overlap)
{
    int64_t most = session->model->config.segment - 1;
    session->overlap = overlap < 0 ? 0 : overlap > most ? most : overlap;
}

int64_t lh_session_room(const lh_session *session)
{
    return session->model->config.segment - session->stream->fill - lh_session_overlap(session);
}

void lh_session_observe(lh_session *session, void (*observe)(void *user, const lh_layer_io *io), void *user)
{
    session->stream->memory->observe = observe;
    session->stream->memory->observe_user = user;
}

lh_status lh_session_reset(lh_session *session, int64_t lane, lh_error *error)
{
    lh_status status = lh_stream_reset(session->stream, session->context, lane, error);
    session->known = session->known && status != LH_OK;
    lh_context_reset(session->context);
    session->fresh = session->fresh || status == LH_OK;
    return status;
}

/* Copies columns first .. first+count-1 of tokens [lanes, total] into piece [lanes, count]. */
static void take_columns(const lh_session *s, const int32_t *tokens, int64_t total, int64_t first, int64_t count,
                         int32_t *piece)
{
    for (int64_t lane = 0; lane < s->stream->batch; lane++) {
        memcpy(piece + lane * count, tokens + lane * total + first, sizeof *piece * (size_t)count);
    }
}

static lh_status finish_call(lh_session *s, lh_error *error)
{
    lh_status status = lh_context_status(s->context, error);
    if (status == LH_OK) {
        lh_stream_commit(s->stream, s->context);
    } else {
        lh_stream_rollback(s->stream);
    }
    lh_context_reset(s->context);
    return status;
}

/* Remembers this segment's tokens, which may have to be read again. */
static void remember(lh_session *s, int64_t fill, int64_t count)
{
    int64_t segment = s->model->config.segment;
    for (int64_t lane = 0; lane < s->stream->batch; lane++) {
        memcpy(s->segment + lane * segment + fill, s->piece + lane * count, sizeof *s->piece * (size_t)count);
    }
    s->fresh = false;
}

static lh_status run_piece(lh_session *s, int64_t count, bool want_logits, lh_error *error)
{
    lh_forward forward;
    int64_t fill = s->stream->fill, lanes = s->stream->batch, vocab = s->model->config.vocab;
    s->known = false;
    lh_model_forward(s->context, s->model, s->stream, s->piece, count, &forward);
    if (want_logits && forward.hidden) {
        lh_tensor *last = lh_slice(s->context, forward.hidden, 1, count - 1, 1);
        lh_tensor *scores = lh_model_logits(s->context, s->model, lh_contiguous(s->context, last));
        if (scores) {
            lh_to_host(s->context, scores, s->wide);
            for (int64_t i = 0; i < lanes * vocab; i++) {
                s->logits[i] = (float)s->wide[i];
            }
        }
    }
    remember(s, fill, count);
    LH_TRY(finish_call(s, error));
    s->known = want_logits;
    return LH_OK;
}

/* The next segment starts with the end of the last one. */
static lh_status read_overlap(lh_session *s, lh_error *error)
{
    int64_t segment = s->model->config.segment, position = s->stream->position;
    take_columns(s, s->segment, segment, segment - s->overlap, s->overlap, s->piece);
    if (s->model->memory_kind->unread) {
        s->model->memory_kind->unread(s->stream->memory, s->context, s->overlap);
    }
    LH_TRY(run_piece(s, s->overlap, false, error));
    s->stream->position = position;
    return LH_OK;
}

static lh_status read_all(lh_session *s, const int32_t *tokens, int64_t count, bool want_logits, lh_error *error)
{
    int64_t segment = s->model->config.segment;
    if (count < 1) {
        return lh_fail(error, LH_E_ARGUMENT, "nothing to read: %lld tokens", (long long)count);
    }
    for (int64_t done = 0; done < count;) {
        int64_t skipped;
        LH_TRY(lh_session_skip(s, tokens, count, done, want_logits, &skipped, error));
        done += skipped;
        if (skipped > 0) {
            continue;
        }
        if (lh_session_overlap(s) > 0) {
            LH_TRY(read_overlap(s, error));
        }
        int64_t room = segment - s->stream->fill, part = count - done < room ? count - done : room;
        take_columns(s, tokens, count, done, part, s->piece);
        done += part;
        LH_TRY(run_piece(s, part, want_logits && done == count, error));
    }
    return LH_OK;
}

lh_status lh_session_feed(lh_session *session, const int32_t *tokens, int64_t count, float *logits, lh_error *error)
{
    LH_TRY(read_all(session, tokens, count, logits != NULL, error));
    if (logits) {
        memcpy(logits, session->logits,
               sizeof *logits * (size_t)(session->stream->batch * session->model->config.vocab));
    }
    return LH_OK;
}

lh_status lh_session_read(lh_session *session, const int32_t *tokens, int64_t count, lh_error *error)
{
    return read_all(session, tokens, count, true, error);
}

const float *lh_session_logits(const lh_session *session)
{
    return session->known ? session->logits : NULL;
}

/* Scores the piece's targets into s->nll and s->best. The output layer is left out where there is none: it may cost
 * more than all others together. */
static void score_piece(lh_session *s, lh_tensor *hidden, int64_t cells, bool best)
{
    bool any = false;
    for (int64_t i = 0; i < cells; i++) {
        any = any || s->targets[i] >= 0;
        s->nll[i] = 0.0;
        s->best[i] = -1;
    }
    if (any) {
        (void)lh_model_loss_best(s->context, s->model, hidden, s->targets, NULL, s->nll, best ? s->best : NULL);
    }
}

lh_status lh_session_score(lh_session *session, const int32_t *tokens, const int32_t *targets, int64_t count,
                           double *nll, lh_error *error)
{
    return lh_session_score_best(session, tokens, targets, count, nll, NULL, error);
}

lh_status lh_session_score_best(lh_session *session, const int32_t *tokens, const int32_t *targets, int64_t count,
                                double *nll, int32_t *best, lh_error *error)
{
    lh_session *s = session;
    int64_t segment = s->model->config.segment, lanes = s->stream->batch;
    for (int64_t done = 0; done < count;) {
        int64_t room = segment - s->stream->fill, part = count - done < room ? count - done : room;
        int64_t fill = s->stream->fill;
        lh_forward forward;
        take_columns(s, tokens, count, done, part, s->piece);
        take_columns(s, targets, count, done, part, s->targets);
        s->known = false;
        lh_model_forward(s->context, s->model, s->stream, s->piece, part, &forward);
        score_piece(s, forward.hidden, lanes * part, best != NULL);
        remember(s, fill, part);
        LH_TRY(finish_call(s, error));
        for (int64_t lane = 0; lane < lanes; lane++) {
            memcpy(nll + lane * count + done, s->nll + lane * part, sizeof *nll * (size_t)part);
            if (best) {
                memcpy(best + lane * count + done, s->best + lane * part, sizeof *best * (size_t)part);
            }
        }
        done += part;
    }
    return LH_OK;
}

static lh_status copy_state(lh_session *to, const lh_session *from, lh_error *error)
{
    size_t cells = (size_t)(from->stream->batch * from->model->config.segment);
    LH_TRY(lh_stream_copy(to->stream, from->stream, error));
    memcpy(to->segment, from->segment, sizeof *to->segment * cells);
    memcpy(to->logits, from->logits,
           sizeof *to->logits * (size_t)(from->stream->batch * from->model->config.vocab));
    to->known = from->known;
    to->overlap = from->overlap;
    to->fresh = from->fresh;
    return LH_OK;
}

lh_status lh_session_fork(lh_session **copy, const lh_session *session, lh_error *error)
{
    LH_TRY(lh_session_create(copy, session->model, session->stream->batch, session->threads, error));
    lh_status status = copy_state(*copy, session, error);
    if (status != LH_OK) {
        lh_session_free(*copy);
        *copy = NULL;
    }
    return status;
}

lh_status lh_session_mark(lh_session *session, lh_error *error)
{
    if (!session->mark) {
        return lh_session_fork(&session->mark, session, error);
    }
    return copy_state(session->mark, session, error);
}

lh_status lh_session_rewind(lh_session *session, lh_error *error)
{
    if (!session->mark) {
        return lh_fail(error, LH_E_ARGUMENT, "there is no marked point to go back to");
    }
    return copy_state(session, session->mark, error);
}
