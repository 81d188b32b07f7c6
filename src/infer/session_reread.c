/* Sessions whose model can read tokens a second time: because nothing of them survives a segment, or because its
 * memory holds the tokens themselves (prime, unread). */
#include "infer/session_internal.h"

#include <string.h>

/* How many of the last tokens are known to the session. */
static int64_t known_tokens(const lh_session *s)
{
    if (s->stream->fill > 0) {
        return s->stream->fill;
    }
    return s->stream->position > 0 && !s->fresh ? s->model->config.segment : 0;
}

int64_t lh_session_overlap(const lh_session *s)
{
    bool begins = s->rereads && s->stream->fill == 0 && known_tokens(s) > 0;
    return begins ? s->overlap : 0;
}

static lh_status commit(lh_session *s, lh_error *error)
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

lh_status lh_session_skip(lh_session *s, const int32_t *tokens, int64_t total, int64_t first, bool wanted,
                          int64_t *taken, lh_error *error)
{
    const lh_memory_kind *kind = s->model->memory_kind;
    int64_t segment = s->model->config.segment, fill = s->stream->fill, overlap = lh_session_overlap(s);
    int64_t part = segment - fill - overlap, left = total - first, count = fill + part;
    *taken = 0;
    if (!kind->prime || left < part || (wanted && left == part)) {
        return LH_OK;
    }
    for (int64_t lane = 0; lane < s->stream->batch; lane++) {
        int32_t *piece = s->piece + lane * count, *row = s->segment + lane * segment;
        memcpy(piece, row, sizeof *piece * (size_t)fill);
        memcpy(piece + fill, tokens + lane * total + first, sizeof *piece * (size_t)part);
    }
    kind->prime(s->stream->memory, s->context, s->piece, count, NULL);
    LH_TRY(commit(s, error));
    for (int64_t lane = 0; lane < s->stream->batch; lane++) {
        int32_t *row = s->segment + lane * segment;
        memmove(row, row + segment - overlap, sizeof *row * (size_t)overlap);
        memcpy(row + segment - part, s->piece + lane * count + fill, sizeof *row * (size_t)part);
    }
    s->stream->fill = 0;
    s->stream->position += part;
    s->stream->memory->segments++;
    s->fresh = s->known = false;
    *taken = part;
    return LH_OK;
}

/* The running segment is given up: the next one begins `back` tokens before here. Sets no state that is not undone
 * when the call fails. */
static void begin_before(lh_session *s, int64_t back)
{
    const lh_memory_kind *kind = s->model->memory_kind;
    int64_t segment = s->model->config.segment, fill = s->stream->fill, ahead = fill - back;
    if (fill > 0 && kind->prime && ahead > 0) {
        for (int64_t lane = 0; lane < s->stream->batch; lane++) {
            memcpy(s->piece + lane * ahead, s->segment + lane * segment, sizeof *s->piece * (size_t)ahead);
        }
        kind->prime(s->stream->memory, s->context, s->piece, ahead, NULL);
    } else if (fill == 0 && kind->unread && back > 0) {
        kind->unread(s->stream->memory, s->context, back);
    }
    s->stream->fill = 0;
    s->stream->position -= back;
}

/* One block: the last `count` tokens of a segment of their own. */
static lh_status score_block(lh_session *s, const int32_t *tokens, const int32_t *targets, int64_t total,
                             int64_t first, int64_t count, double *nll, lh_error *error)
{
    int64_t segment = s->model->config.segment, lanes = s->stream->batch, known = known_tokens(s);
    int64_t back = known < segment - count ? known : segment - count, whole = back + count;
    lh_forward forward;
    s->known = false;
    begin_before(s, back);
    for (int64_t lane = 0; lane < lanes; lane++) {
        int32_t *piece = s->piece + lane * whole, *row = s->segment + lane * segment;
        int32_t *aims = s->targets + lane * whole;
        memcpy(piece, row + known - back, sizeof *piece * (size_t)back);
        memcpy(piece + back, tokens + lane * total + first, sizeof *piece * (size_t)count);
        memset(aims, 0xff, sizeof *aims * (size_t)back); /* -1: not scored */
        memcpy(aims + back, targets + lane * total + first, sizeof *aims * (size_t)count);
    }
    lh_model_forward(s->context, s->model, s->stream, s->piece, whole, &forward);
    (void)lh_model_loss(s->context, s->model, forward.hidden, s->targets, NULL, s->nll);
    lh_status status = commit(s, error);
    if (status != LH_OK) {
        (void)lh_session_reset(s, -1, NULL);
        return status;
    }
    for (int64_t lane = 0; lane < lanes; lane++) {
        memcpy(s->segment + lane * segment, s->piece + lane * whole, sizeof *s->piece * (size_t)whole);
        memcpy(nll + lane * total + first, s->nll + lane * whole + back, sizeof *nll * (size_t)count);
    }
    s->fresh = false;
    return LH_OK;
}

lh_status lh_session_score_blocks(lh_session *session, const int32_t *tokens, const int32_t *targets, int64_t count,
                                  int64_t stride, double *nll, lh_error *error)
{
    lh_session *s = session;
    const lh_memory_kind *kind = s->model->memory_kind;
    if (!kind->forgets && !(kind->prime && kind->unread)) {
        return lh_fail(error, LH_E_UNSUPPORTED, "a model with memory %s cannot read tokens a second time",
                       kind->name);
    }
    if (stride < 1 || stride > s->model->config.segment) {
        return lh_fail(error, LH_E_ARGUMENT, "blocks of %lld tokens do not fit a segment of %lld",
                       (long long)stride, (long long)s->model->config.segment);
    }
    for (int64_t done = 0; done < count;) {
        int64_t part = done == 0 && count % stride != 0 ? count % stride : stride;
        LH_TRY(score_block(s, tokens, targets, count, done, part, nll, error));
        done += part;
    }
    return LH_OK;
}

/* Are tokens [lanes, count] ids of the model, with -1s only in front? */
static lh_status check_prefix(const lh_session *session, const int32_t *tokens, int64_t count, lh_error *error)
{
    for (int64_t lane = 0; lane < session->stream->batch; lane++) {
        bool begun = false;
        for (int64_t i = 0; i < count; i++) {
            int32_t token = tokens[lane * count + i];
            begun = begun || token >= 0;
            if (token >= session->model->config.vocab || (begun && token < 0)) {
                return lh_fail(error, LH_E_ARGUMENT, "token id %d is not below the vocabulary of %lld", token,
                               (long long)session->model->config.vocab);
            }
        }
    }
    return LH_OK;
}

lh_status lh_session_prime(lh_session *session, const int32_t *tokens, int64_t count, const int64_t *position,
                           lh_error *error)
{
    const lh_memory_kind *kind = session->model->memory_kind;
    if (!kind->prime) {
        return lh_fail(error, LH_E_UNSUPPORTED, "a model with memory %s must read what stands before", kind->name);
    }
    LH_TRY(check_prefix(session, tokens, count, error));
    LH_TRY(lh_session_reset(session, -1, error));
    kind->prime(session->stream->memory, session->context, tokens, count, position);
    LH_TRY(commit(session, error));
    session->fresh = true;
    return LH_OK;
}

int64_t lh_session_source_tokens(const lh_session *session)
{
    return session->model->shape.source;
}

lh_status lh_session_source(lh_session *session, const int32_t *tokens, int64_t count, lh_error *error)
{
    const lh_memory_kind *kind = session->model->memory_kind;
    if (!kind->take_source) {
        return lh_fail(error, LH_E_UNSUPPORTED, "a model with memory %s has no encoder to read a source with",
                       kind->name);
    }
    if (session->stream->fill != 0) {
        return lh_fail(error, LH_E_ARGUMENT, "a source can be given only where a segment begins");
    }
    LH_TRY(check_prefix(session, tokens, count, error));
    kind->take_source(session->stream->memory, session->context, tokens, count);
    session->known = false;
    return commit(session, error);
}
