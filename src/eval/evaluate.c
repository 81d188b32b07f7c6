#include "base/memory.h"
#include "base/progress.h"
#include "eval/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

double lh_eval_run_charge(const lh_eval_run *run)
{
    return log((double)run->model->config.vocab);
}

lh_status lh_eval_run_token(const lh_eval_run *run, uint64_t at, int32_t *token, lh_error *error)
{
    return lh_split_copy(run->corpus->split, at, 1, token, error);
}

bool lh_eval_run_answers(const lh_eval_run *run)
{
    return run->corpus->split->answered && !run->options->every_target;
}

lh_status lh_eval_run_charge_token(const lh_eval_run *run, uint64_t document, uint64_t at, bool *charged,
                                   lh_error *error)
{
    lh_tally_target target = {.document = document,
                              .position = at - run->corpus->documents[document].start,
                              .best = -1,
                              .nats = lh_eval_run_charge(run)};
    lh_split_copy_answers(run->corpus->split, at, 1, &target.answer);
    *charged = !lh_eval_run_answers(run) || target.answer != 0;
    if (*charged) {
        LH_TRY(lh_eval_run_token(run, at, &target.token, error));
        lh_tally_charge(run->tally, &target);
    }
    return LH_OK;
}

lh_status lh_eval_run_step(lh_eval_run *run, lh_error *error)
{
    const lh_eval_options *o = run->options;
    bool go_on = !o->watch || o->watch(o->watch_data, run->tally, run->done, run->corpus->split->tokens);
    double now = lh_now();
    bool due = o->save_seconds > 0.0 && now - run->last_saved >= o->save_seconds;
    if (o->resume_path && (due || !go_on)) {
        LH_TRY(lh_eval_run_save(run, o->resume_path, error));
        run->last_saved = now;
    }
    if (!go_on) {
        return lh_fail(error, LH_E_INTERRUPTED,
                       o->resume_path ? "interrupted; the evaluation goes on from %s" : "interrupted%s",
                       o->resume_path ? o->resume_path : "");
    }
    return LH_OK;
}

static lh_status create_stream(lh_eval_run *run, lh_error *error)
{
    const lh_eval_options *o = run->options;
    lh_token_stream_options stream = lh_token_stream_defaults();
    int64_t segment = run->model->config.segment;
    stream.lanes = o->lanes;
    stream.epochs = 1;
    stream.every_target = o->every_target;
    stream.start_token = o->first == LH_FIRST_STARTED ? o->start_token : -1;
    /* Short segments are read several at a time. */
    stream.source = run->model->shape.source;
    stream.segment = segment >= 256 ? segment : (256 + segment - 1) / segment * segment;
    stream.layout = LH_STREAM_LANES;
    if (o->protocol.kind != LH_PROTOCOL_STREAM) {
        stream.layout = LH_STREAM_DOCUMENTS;
        stream.boundary = LH_BOUNDARY_PAD;
    }
    return lh_token_stream_create(&run->stream, run->corpus->split, &stream, error);
}

/* First tokens of lanes or documents, which the stream leaves out without a start token. */
static lh_status charge_first(lh_eval_run *run, lh_error *error)
{
    const lh_split *split = run->corpus->split;
    uint64_t lanes = (uint64_t)run->options->lanes;
    bool books = run->options->protocol.kind != LH_PROTOCOL_STREAM;
    uint64_t count = books ? split->documents : lanes;
    if (run->options->first != LH_FIRST_CHARGED) {
        return LH_OK;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = books ? run->corpus->documents[i].start : i * (split->tokens / lanes);
        uint64_t document = books ? i : lh_split_find(split, at);
        bool charged;
        if (books && run->corpus->documents[i].tokens == 0) {
            continue;
        }
        LH_TRY(lh_eval_run_charge_token(run, document, at, &charged, error));
    }
    return LH_OK;
}

static lh_status check(const lh_eval_run *run, const lh_tokenizer *tokenizer, lh_error *error)
{
    const lh_eval_options *o = run->options;
    if (o->lanes < 1 || o->lanes > 1 << 20) {
        return lh_fail(error, LH_E_ARGUMENT, "an evaluation needs at least one lane, not %lld",
                       (long long)o->lanes);
    }
    if (run->model->shape.source > 0 &&
        (o->protocol.kind != LH_PROTOCOL_BOOK || !run->corpus->split->answered || o->first == LH_FIRST_STARTED)) {
        return lh_fail(error, LH_E_CONFIG,
                       "a model with memory %s is evaluated on pairs of a source and its target (longhand data "
                       "prepare --pairs), by the protocol book and without a start token",
                       run->model->memory_kind->name);
    }
    if (o->protocol.kind == LH_PROTOCOL_STRIDED && run->model->memory_kind->prime &&
        o->protocol.stride > run->model->config.segment) {
        return lh_fail(error, LH_E_ARGUMENT, "blocks of %lld tokens do not fit a segment of %lld",
                       (long long)o->protocol.stride, (long long)run->model->config.segment);
    }
    if (lh_tokenizer_vocab_size(tokenizer) > run->model->config.vocab) {
        return lh_fail(error, LH_E_CONFIG, "the tokenizer has %d tokens, more than the model's %lld",
                       lh_tokenizer_vocab_size(tokenizer), (long long)run->model->config.vocab);
    }
    if (o->first == LH_FIRST_STARTED && (o->start_token < 0 || o->start_token >= run->model->config.vocab)) {
        return lh_fail(error, LH_E_ARGUMENT, "the start token %d is not below the vocabulary of %lld",
                       o->start_token, (long long)run->model->config.vocab);
    }
    if (run->corpus->split->tokens < 2 * (uint64_t)o->lanes && o->protocol.kind == LH_PROTOCOL_STREAM) {
        return lh_fail(error, LH_E_CONFIG, "%s: %llu tokens are too few for %lld lanes", run->corpus->name,
                       (unsigned long long)run->corpus->split->tokens, (long long)o->lanes);
    }
    return LH_OK;
}

static lh_status measure_tokens(lh_eval_run *run, const lh_tokenizer *tokenizer, lh_error *error)
{
    int64_t vocab = run->model->config.vocab;
    run->token_bytes = lh_heap_alloc(sizeof *run->token_bytes * (size_t)vocab);
    run->before = lh_heap_alloc(sizeof *run->before * (size_t)run->options->lanes);
    if (!run->token_bytes || !run->before) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the lengths of %lld tokens", (long long)vocab);
    }
    for (int32_t id = 0; id < lh_tokenizer_vocab_size(tokenizer); id++) {
        run->token_bytes[id] = lh_tokenizer_token_length(tokenizer, id);
    }
    return LH_OK;
}

static lh_status prepare(lh_eval_run *run, const lh_tokenizer *tokenizer, bool *resumed, lh_error *error)
{
    const lh_eval_options *o = run->options;
    bool windows = lh_protocol_has_windows(o->protocol.kind);
    LH_TRY(check(run, tokenizer, error));
    LH_TRY(measure_tokens(run, tokenizer, error));
    lh_tally_options tally = o->tally;
    tally.answers = lh_eval_run_answers(run);
    LH_TRY(lh_tally_create(&run->tally, &tally, run->token_bytes, run->corpus->split->documents, error));
    LH_TRY(lh_session_create(&run->session, run->model, o->lanes, o->threads, error));
    lh_session_set_overlap(run->session, 0);
    if (!windows) {
        LH_TRY(create_stream(run, error));
    }
    *resumed = o->resume_path && access(o->resume_path, F_OK) == 0;
    if (*resumed) {
        return lh_eval_run_restore(run, o->resume_path, error);
    }
    return windows ? LH_OK : charge_first(run, error);
}

/* Answers among the tokens first .. end-1. */
static uint64_t count_answers(const lh_split *split, uint64_t first, uint64_t end)
{
    uint64_t count = 0;
    for (uint64_t at = first; at < end; at += 1024) {
        uint32_t answers[1024];
        uint64_t part = end - at < 1024 ? end - at : 1024;
        lh_split_copy_answers(split, at, part, answers);
        for (uint64_t i = 0; i < part; i++) {
            count += answers[i] != 0;
        }
    }
    return count;
}

/* Tokens that were scored at least once. */
static uint64_t distinct(const lh_eval_run *run)
{
    const lh_protocol *p = &run->options->protocol;
    if (p->kind != LH_PROTOCOL_OVERLAP || run->tally->windows == 0) {
        return run->tally->all.tokens;
    }
    /* With S < W all but the very first up to the last window's end; with S = W none of the windows' first. */
    if (p->stride < p->window) {
        return lh_eval_run_answers(run) ? count_answers(run->corpus->split, 1, run->covered) : run->covered - 1;
    }
    return run->tally->all.tokens;
}

/* Pairs whose source is longer than the encoder reads. */
static uint64_t count_cut(const lh_eval_run *run)
{
    uint64_t most = (uint64_t)run->model->shape.source, cut = 0;
    for (uint64_t i = 0; i < run->corpus->split->documents && most > 0; i++) {
        cut += lh_split_source(run->corpus->split, i) > most + 1;
    }
    return cut;
}

static void finish(lh_evaluation *e, lh_eval_run *run)
{
    e->sources_cut = count_cut(run);
    e->tally = run->tally;
    run->tally = NULL;
    e->total = run->corpus->split->tokens;
    e->read = run->read;
    e->state_bytes = lh_session_state_bytes(run->session);
    if (run->options->resume_path) {
        (void)remove(run->options->resume_path);
    }
}

lh_status lh_evaluate(lh_evaluation *evaluation, const lh_model *model, const lh_tokenizer *tokenizer,
                      const lh_eval_corpus *corpus, const lh_eval_options *options, lh_error *error)
{
    *evaluation = (lh_evaluation){0};
    lh_eval_run run = {.model = model, .corpus = corpus, .options = options, .last_saved = lh_now()};
    lh_status status = prepare(&run, tokenizer, &evaluation->resumed, error);
    double start = lh_now();
    if (status == LH_OK) {
        status = run.stream ? lh_eval_run_stream(&run, error) : lh_eval_run_windows(&run, error);
    }
    if (status == LH_OK) {
        evaluation->seconds = lh_now() - start;
        evaluation->scored = distinct(&run);
        evaluation->skipped = corpus->split->tokens - evaluation->scored;
        finish(evaluation, &run);
        /* The sums go on living with the evaluation; the lengths of tokens were only for counting. */
        evaluation->tally->token_bytes = NULL;
        evaluation->tally->options.counts = NULL;
    }
    lh_token_stream_free(run.stream);
    lh_session_free(run.session);
    lh_tally_free(run.tally);
    lh_heap_free(run.token_bytes);
    lh_heap_free(run.before);
    return status;
}

void lh_evaluation_free(lh_evaluation *evaluation)
{
    lh_tally_free(evaluation->tally);
    *evaluation = (lh_evaluation){0};
}
