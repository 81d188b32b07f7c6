/* The two loops of evaluation: along streams that carry their state, and over windows that begin from nothing. */
#include "base/memory.h"
#include "eval/run.h"

#include <math.h>
#include <string.h>

/* ---- streams ---- */

static lh_status reset_lanes(lh_eval_run *run, const lh_batch *batch, lh_error *error)
{
    for (int64_t lane = 0; lane < batch->lanes; lane++) {
        if (batch->flags[lane * batch->length] & LH_INPUT_CHAIN_START) {
            LH_TRY(lh_session_reset(run->session, lane, error));
            run->before[lane] = 0;
        }
    }
    return LH_OK;
}

static void count_batch(lh_eval_run *run, const lh_batch *batch, const double *nll, const int32_t *best)
{
    for (int64_t lane = 0; lane < batch->lanes; lane++) {
        for (int64_t i = 0; i < batch->length; i++) {
            int64_t at = lane * batch->length + i;
            run->before[lane]++;
            if (batch->mask[at]) {
                lh_tally_target target = {.document = (uint64_t)batch->documents[at],
                                          .position = (uint64_t)batch->positions[at],
                                          .before = run->before[lane],
                                          .token = batch->targets[at],
                                          .best = best ? best[at] : -1,
                                          .answer = batch->answers ? batch->answers[at] : 0,
                                          .nats = nll[at]};
                lh_tally_add(run->tally, &target);
            }
        }
    }
}

/* best: room for the likeliest tokens, or NULL if nobody asks. */
static lh_status score_batch(lh_eval_run *run, const lh_batch *batch, int32_t *targets, double *nll, int32_t *best,
                             lh_error *error)
{
    int64_t cells = batch->lanes * batch->length;
    LH_TRY(reset_lanes(run, batch, error));
    if (batch->sources) {
        LH_TRY(lh_session_source(run->session, batch->sources, run->model->shape.source, error));
    }
    for (int64_t i = 0; i < cells; i++) {
        targets[i] = batch->mask[i] ? batch->targets[i] : -1;
    }
    LH_TRY(lh_session_score_best(run->session, batch->inputs, targets, batch->length, nll, best, error));
    count_batch(run, batch, nll, best);
    run->read += (uint64_t)cells;
    run->done = lh_token_stream_count(run->stream).total;
    return lh_eval_run_step(run, error);
}

lh_status lh_eval_run_stream(lh_eval_run *run, lh_error *error)
{
    int64_t segment = run->model->config.segment;
    int64_t length = segment >= 256 ? segment : (256 + segment - 1) / segment * segment;
    size_t cells = (size_t)(run->options->lanes * length);
    int32_t *targets = lh_heap_alloc(sizeof *targets * cells);
    double *nll = lh_heap_alloc(sizeof *nll * cells);
    int32_t *best = lh_eval_run_answers(run) ? lh_heap_alloc(sizeof *best * cells) : NULL;
    lh_status status = targets && nll && (best || !lh_eval_run_answers(run))
                           ? LH_OK
                           : lh_fail(error, LH_E_MEMORY, "no memory for %zu targets at a time", cells);
    while (status == LH_OK) {
        const lh_batch *batch;
        status = lh_token_stream_next(run->stream, length, &batch, error);
        if (status != LH_OK || !batch) {
            break;
        }
        status = score_batch(run, batch, targets, nll, best, error);
    }
    lh_heap_free(targets);
    lh_heap_free(nll);
    lh_heap_free(best);
    return status;
}

/* ---- windows ---- */

/* A round: one window per lane, read side by side. */
typedef struct window_round {
    lh_window *windows; /* [lanes] */
    int64_t *inputs;    /* [lanes]: tokens that the lane's window feeds */
    int64_t *first;     /* [lanes]: the input whose target is the first to be scored */
    bool *started;      /* [lanes]: a start token stands before the window */
    int64_t count;      /* windows in this round */
    int64_t length;     /* the longest of inputs */
    int64_t *position;  /* [lanes]: where the lane's window begins in its document */
    int32_t *tokens, *targets, *best, *prefix, *copy;
    uint32_t *answers; /* of the targets */
    double *nll;
} window_round;

static void free_round(window_round *r)
{
    lh_heap_free(r->windows);
    lh_heap_free(r->inputs);
    lh_heap_free(r->position);
    lh_heap_free(r->first);
    lh_heap_free(r->started);
    lh_heap_free(r->tokens);
    lh_heap_free(r->targets);
    lh_heap_free(r->best);
    lh_heap_free(r->answers);
    lh_heap_free(r->prefix);
    lh_heap_free(r->copy);
    lh_heap_free(r->nll);
}

/* The most tokens that a window of this corpus has. */
static int64_t longest_window(const lh_eval_run *run)
{
    lh_protocol_kind protocol = run->options->protocol.kind;
    uint64_t longest = (uint64_t)run->options->protocol.window + (protocol == LH_PROTOCOL_STRIDED), most = 2;
    for (size_t i = 0; i < run->corpus->document_count; i++) {
        most = run->corpus->documents[i].tokens > most ? run->corpus->documents[i].tokens : most;
    }
    bool whole = protocol == LH_PROTOCOL_PACK || protocol == LH_PROTOCOL_OVERLAP;
    most = whole ? run->corpus->split->tokens : most;
    return (int64_t)(protocol != LH_PROTOCOL_LINE && longest < most ? longest : most);
}

static lh_status make_round(window_round *r, const lh_eval_run *run, lh_error *error)
{
    size_t lanes = (size_t)run->options->lanes, cells, bytes, length = (size_t)longest_window(run) + 1;
    *r = (window_round){0};
    if (lh_size_multiply(lanes, length, &cells) || lh_size_multiply(cells, sizeof(double), &bytes)) {
        return lh_fail(error, LH_E_ARGUMENT, "%zu windows of %zu tokens are too many at once", lanes, length);
    }
    r->windows = lh_heap_alloc(sizeof *r->windows * lanes);
    r->inputs = lh_heap_alloc(sizeof *r->inputs * lanes);
    r->first = lh_heap_alloc(sizeof *r->first * lanes);
    r->position = lh_heap_alloc(sizeof *r->position * lanes);
    r->started = lh_heap_alloc(sizeof *r->started * lanes);
    r->tokens = lh_heap_alloc(sizeof *r->tokens * cells);
    r->targets = lh_heap_alloc(sizeof *r->targets * cells);
    r->best = lh_heap_alloc(sizeof *r->best * cells);
    r->answers = lh_heap_alloc(sizeof *r->answers * cells);
    r->prefix = lh_heap_alloc(sizeof *r->prefix * cells);
    r->copy = lh_heap_alloc(sizeof *r->copy * length);
    r->nll = lh_heap_alloc(bytes);
    if (!r->windows || !r->inputs || !r->first || !r->position || !r->started || !r->tokens || !r->targets ||
        !r->best || !r->answers || !r->prefix || !r->copy || !r->nll) {
        free_round(r);
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu windows of %zu tokens", lanes, length);
    }
    return LH_OK;
}

/* The next window: of the whole corpus as one text, or of one document after another. False at the end. */
static bool next_window(lh_eval_run *run, lh_window *window)
{
    const lh_protocol *p = &run->options->protocol;
    const lh_split *split = run->corpus->split;
    if (p->kind == LH_PROTOCOL_PACK || p->kind == LH_PROTOCOL_OVERLAP) {
        if (!lh_protocol_window(p, split->tokens, run->window, window)) {
            return false;
        }
        run->window++;
        window->document = lh_split_find(split, window->start);
        return true;
    }
    for (; run->text < run->corpus->document_count; run->text++, run->window = 0) {
        const lh_eval_document *d = &run->corpus->documents[run->text];
        lh_protocol rows = *p;
        rows.window = p->kind == LH_PROTOCOL_LINE && d->tokens > 0 ? (int64_t)d->tokens : p->window;
        if (lh_protocol_window(&rows, d->tokens, run->window, window)) {
            run->window++;
            window->start += d->start;
            window->document = run->text;
            return true;
        }
    }
    return false;
}

/* A window that begins with its document, though most of it is not scored, has the start token in front, too. */
static bool start_fits(const lh_eval_run *run, const lh_window *w)
{
    const lh_protocol *p = &run->options->protocol;
    return p->kind == LH_PROTOCOL_STRIDED && w->start == run->corpus->documents[w->document].start &&
           w->count <= (uint64_t)p->window;
}

static lh_status plan_round(lh_eval_run *run, window_round *r, lh_error *error)
{
    r->count = r->length = 0;
    while (r->count < run->options->lanes && next_window(run, &r->windows[r->count])) {
        const lh_window *w = &r->windows[r->count];
        bool whole = w->scored == w->count;
        r->started[r->count] = run->options->first == LH_FIRST_STARTED && (whole || start_fits(run, w));
        r->inputs[r->count] = (int64_t)w->count - (r->started[r->count] ? 0 : 1);
        r->first[r->count] = r->inputs[r->count] - (int64_t)w->scored + (whole && !r->started[r->count] ? 1 : 0);
        r->length = r->inputs[r->count] > r->length ? r->inputs[r->count] : r->length;
        r->count++;
    }
    for (int64_t lane = 0; lane < run->options->lanes && r->length > 0; lane++) {
        int32_t *tokens = r->tokens + lane * r->length, *targets = r->targets + lane * r->length;
        memset(tokens, 0, sizeof *tokens * (size_t)r->length);
        memset(targets, 0xff, sizeof *targets * (size_t)r->length); /* -1: not scored */
        if (lane >= r->count) {
            continue;
        }
        const lh_window *w = &r->windows[lane];
        LH_TRY(lh_split_copy(run->corpus->split, w->start, w->count, r->copy, error));
        int64_t n = r->inputs[lane], shift = r->started[lane] ? 1 : 0;
        for (int64_t i = 0; i < n; i++) {
            tokens[i] = i < shift ? run->options->start_token : r->copy[i - shift];
            targets[i] = i < r->first[lane] ? -1 : r->copy[i - shift + 1];
        }
        /* The first of n targets is the window's token 1 - shift. */
        uint32_t *answers = r->answers + lane * r->length;
        lh_split_copy_answers(run->corpus->split, w->start + (uint64_t)(1 - shift), (uint64_t)n, answers);
        for (int64_t i = 0; i < n && lh_eval_run_answers(run); i++) {
            targets[i] = answers[i] != 0 ? targets[i] : -1;
        }
    }
    return LH_OK;
}

/* How many inputs come before the first that any lane scores, in whole segments: they are only read. */
static int64_t unscored_prefix(const lh_eval_run *run, const window_round *r)
{
    int64_t prefix = r->length, segment = run->model->config.segment;
    for (int64_t lane = 0; lane < r->count; lane++) {
        prefix = r->inputs[lane] > 0 && r->first[lane] < prefix ? r->first[lane] : prefix;
    }
    return prefix / segment * segment;
}

/* For memories that hold tokens: the last tokens of each lane's window are its segment, and what stands before is
 * taken in without computing anything. */
static lh_status read_segments(lh_eval_run *run, window_round *r, lh_error *error)
{
    int64_t lanes = run->options->lanes, segment = run->model->config.segment, length = 0, before = 0;
    for (int64_t lane = 0; lane < r->count; lane++) {
        int64_t part = r->inputs[lane] < segment ? r->inputs[lane] : segment;
        length = part > length ? part : length;
        before = r->inputs[lane] - part > before ? r->inputs[lane] - part : before;
    }
    for (int64_t lane = 0; lane < lanes; lane++) {
        int64_t inputs = lane < r->count ? r->inputs[lane] : 0, part = inputs < segment ? inputs : segment;
        int64_t gap = before - (inputs - part);
        int32_t *tokens = r->tokens + lane * r->length, *targets = r->targets + lane * r->length;
        int32_t *prefix = r->prefix + lane * before;
        memset(prefix, 0xff, sizeof *prefix * (size_t)gap); /* -1: nothing */
        memcpy(prefix + gap, tokens, sizeof *prefix * (size_t)(before - gap));
        /* Lanes go in order and rows become shorter, so nothing is overwritten before it is moved. */
        memmove(r->tokens + lane * length, tokens + inputs - part, sizeof *tokens * (size_t)part);
        memmove(r->targets + lane * length, targets + inputs - part, sizeof *targets * (size_t)part);
        memmove(r->answers + lane * length, r->answers + lane * r->length + inputs - part,
                sizeof *r->answers * (size_t)part);
        memset(r->tokens + lane * length + part, 0, sizeof *tokens * (size_t)(length - part));
        memset(r->targets + lane * length + part, 0xff, sizeof *targets * (size_t)(length - part));
        r->position[lane] = 0;
        if (lane < r->count) {
            const lh_window *w = &r->windows[lane];
            bool shifted = run->options->first == LH_FIRST_STARTED && !r->started[lane];
            r->position[lane] = (int64_t)(w->start - run->corpus->documents[w->document].start) + shifted;
            r->first[lane] -= inputs - part;
            r->inputs[lane] = part;
        }
    }
    r->length = length;
    run->read += (uint64_t)(lanes * (before + length));
    LH_TRY(lh_session_prime(run->session, r->prefix, before, r->position, error));
    int32_t *best = lh_eval_run_answers(run) ? r->best : NULL;
    return lh_session_score_best(run->session, r->tokens, r->targets, length, r->nll, best, error);
}

static lh_status read_round(lh_eval_run *run, window_round *r, lh_error *error)
{
    if (run->options->protocol.kind == LH_PROTOCOL_STRIDED && run->model->memory_kind->prime) {
        return read_segments(run, r, error);
    }
    int64_t lanes = run->options->lanes, prefix = unscored_prefix(run, r), rest = r->length - prefix;
    LH_TRY(lh_session_reset(run->session, -1, error));
    if (prefix > 0) {
        for (int64_t lane = 0; lane < lanes; lane++) {
            memcpy(r->prefix + lane * prefix, r->tokens + lane * r->length, sizeof *r->tokens * (size_t)prefix);
        }
        LH_TRY(lh_session_feed(run->session, r->prefix, prefix, NULL, error));
        /* What is left moves together; lanes go in order, so nothing is overwritten before it is moved. */
        for (int64_t lane = 0; lane < lanes; lane++) {
            size_t bytes = sizeof *r->tokens * (size_t)rest;
            memmove(r->tokens + lane * rest, r->tokens + lane * r->length + prefix, bytes);
            memmove(r->targets + lane * rest, r->targets + lane * r->length + prefix, bytes);
            memmove(r->answers + lane * rest, r->answers + lane * r->length + prefix, bytes);
        }
    }
    int32_t *best = lh_eval_run_answers(run) ? r->best : NULL;
    LH_TRY(lh_session_score_best(run->session, r->tokens, r->targets, rest, r->nll, best, error));
    for (int64_t lane = 0; lane < r->count; lane++) {
        r->first[lane] -= prefix;
        r->inputs[lane] -= prefix;
    }
    r->length = rest;
    run->read += (uint64_t)(lanes * (prefix + rest));
    return LH_OK;
}

/* Counts what a lane's window scored. Windows may straddle documents. */
static lh_status count_window(lh_eval_run *run, const window_round *r, int64_t lane, lh_error *error)
{
    const lh_window *w = &r->windows[lane];
    uint64_t at = w->start + w->count - w->scored, document = w->document;
    double sum = 0.0, charge = lh_eval_run_charge(run);
    uint64_t counted = 0;
    bool first_is_free = w->scored == w->count && !r->started[lane];
    for (uint64_t i = 0; i < w->scored; i++, at++) {
        while (at >= run->corpus->documents[document].start + run->corpus->documents[document].tokens) {
            document++;
        }
        uint64_t position = at - run->corpus->documents[document].start;
        if (i == 0 && first_is_free) {
            bool charged = run->options->first == LH_FIRST_CHARGED;
            if (charged) {
                LH_TRY(lh_eval_run_charge_token(run, document, at, &charged, error));
            }
            sum += charged ? charge : 0.0;
            counted += charged;
            continue;
        }
        int64_t cell = lane * r->length + r->first[lane] + (int64_t)(i - (first_is_free ? 1 : 0));
        if (r->targets[cell] < 0) {
            continue; /* no answer */
        }
        lh_tally_target target = {.document = document,
                                  .position = position,
                                  .before = at - w->start + (r->started[lane] ? 1 : 0),
                                  .token = r->targets[cell],
                                  .best = lh_eval_run_answers(run) ? r->best[cell] : -1,
                                  .answer = r->answers[cell],
                                  .nats = r->nll[cell]};
        lh_tally_add(run->tally, &target);
        sum += r->nll[cell];
        counted++;
    }
    if (counted > 0) {
        run->tally->windows++;
        run->tally->window_losses += sum / (double)counted;
        run->tally->chunk_perplexities += exp(sum / (double)counted) * (double)counted;
        run->tally->chunk_tokens += counted;
    }
    run->covered = w->start + w->count > run->covered ? w->start + w->count : run->covered;
    return LH_OK;
}

static lh_status run_rounds(lh_eval_run *run, window_round *r, lh_error *error)
{
    for (;;) {
        LH_TRY(plan_round(run, r, error));
        if (r->count == 0) {
            return LH_OK;
        }
        if (r->length > 0) {
            LH_TRY(read_round(run, r, error));
        }
        for (int64_t lane = 0; lane < r->count; lane++) {
            LH_TRY(count_window(run, r, lane, error));
        }
        run->done = run->covered;
        LH_TRY(lh_eval_run_step(run, error));
    }
}

lh_status lh_eval_run_windows(lh_eval_run *run, lh_error *error)
{
    window_round r;
    LH_TRY(make_round(&r, run, error));
    lh_status status = run_rounds(run, &r, error);
    free_round(&r);
    return status;
}
