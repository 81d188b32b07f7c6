#include "api/handles.h"
#include "eval/result.h"

#include <math.h>

static bool tell(const longhand_evaluation_options *o, const char *phase, uint64_t done, uint64_t total,
                 const lh_loss_sum *sum)
{
    longhand_progress now = {.size = sizeof now,
                             .phase = phase,
                             .done = done,
                             .total = total,
                             .tokens = sum ? (int64_t)sum->tokens : 0,
                             .seconds_left = NAN,
                             .loss = sum && sum->bytes > 0 ? sum->nats / log(2.0) / (double)sum->bytes : NAN,
                             .validation = NAN,
                             .unit = "bits_per_byte"};
    if (o->watch) {
        o->watch(o->user, &now);
    }
    return !o->stop || !o->stop(o->user);
}

/* The storeys below hand their user data back as they got it: not const, but nothing is written to it. */
static bool watch_reading(void *user, const char *phase, uint64_t done, uint64_t total)
{
    return tell(user, phase, done, total, NULL);
}

static bool watch_evaluation(void *user, const lh_tally *tally, uint64_t done, uint64_t total)
{
    return tell(user, "evaluate", done, total, &tally->all);
}

static lh_status choose_protocol(lh_protocol *protocol, const longhand_evaluation_options *o, lh_error *error)
{
    *protocol = (lh_protocol){.window = o->window, .stride = o->stride, .length = o->length};
    LH_TRY(lh_protocol_find(o->protocol ? o->protocol : "stream", &protocol->kind, error));
    return lh_protocol_complete(protocol, error);
}

static lh_status open_corpus(lh_eval_corpus **corpus, const longhand_model *model, longhand_evaluation_options *o,
                             const lh_protocol *protocol, lh_error *error)
{
    const lh_tokenizer *tokenizer = model->tokenizer->tokenizer;
    lh_eval_corpus_options options = {.path = o->data,
                                      .split = o->split,
                                      .limit_tokens = o->limit_tokens,
                                      .document_tokens = (uint64_t)protocol->length,
                                      .watch = watch_reading,
                                      .watch_data = o};
    LH_TRY(lh_eval_corpus_open(corpus, tokenizer, &options, error));
    return protocol->kind == LH_PROTOCOL_LINE
               ? lh_eval_corpus_pack_lines(*corpus, tokenizer, protocol->window,
                                           lh_tokenizer_role(tokenizer, LH_TOKEN_EOS), error)
               : LH_OK;
}

static longhand_evaluation sum_up(const lh_evaluation *e, const lh_eval_corpus *corpus, const lh_protocol *protocol,
                                  bool allow_skipped)
{
    lh_eval_figures f = lh_eval_figures_of(e, corpus, protocol, allow_skipped);
    return (longhand_evaluation){.nats = e->tally->all.nats,
                                 .tokens = e->total,
                                 .scored = e->scored,
                                 .skipped = e->skipped,
                                 .documents = corpus->document_count,
                                 .bytes = corpus->totals.bytes,
                                 .characters = corpus->totals.characters,
                                 .words = f.words,
                                 .nats_per_token = f.nats_per_token,
                                 .bits_per_token = f.bits_per_token,
                                 .token_perplexity = f.token_perplexity,
                                 .bits_per_byte = f.bits_per_byte,
                                 .bits_per_character = f.bits_per_character,
                                 .word_perplexity = f.word_perplexity,
                                 .seconds = e->seconds,
                                 .state_bytes = e->state_bytes,
                                 .complete = f.complete,
                                 .lossless = corpus->lossless,
                                 .accuracy = f.accuracy};
}

static lh_status evaluate(const longhand_model *model, longhand_evaluation_options *o, const lh_protocol *protocol,
                          const lh_eval_corpus *corpus, longhand_evaluation *found, lh_error *error)
{
    const lh_tokenizer *tokenizer = model->tokenizer->tokenizer;
    lh_evaluation evaluation = {0};
    lh_eval_options options = {.protocol = *protocol,
                               .lanes = o->lanes,
                               .threads = o->threads,
                               .resume_path = o->resume_path,
                               .save_seconds = LH_EVAL_SAVE_SECONDS,
                               .watch = watch_evaluation,
                               .watch_data = o};
    LH_TRY(lh_eval_options_complete(&options, o->first, model->model, tokenizer, corpus, error));
    lh_status status = lh_evaluate(&evaluation, model->model, tokenizer, corpus, &options, error);
    if (status == LH_OK) {
        *found = sum_up(&evaluation, corpus, protocol, o->allow_skipped);
    }
    lh_evaluation_free(&evaluation);
    return status;
}

lh_status longhand_evaluate(longhand_model *model, const longhand_evaluation_options *options,
                            longhand_evaluation *evaluation, lh_error *error)
{
    longhand_evaluation_options o = {0};
    longhand_evaluation found;
    lh_protocol protocol;
    lh_eval_corpus *corpus = NULL;
    LH_API_NEED(error, model);
    LH_API_NEED(error, options);
    LH_API_NEED(error, evaluation);
    LH_TRY(lh_api_check(evaluation, "longhand_evaluation", error));
    LH_TRY(lh_api_take(&o, sizeof o, options, "longhand_evaluation_options", error));
    LH_API_NEED(error, options->data);
    if (o.lanes < 0 || o.threads < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "an evaluation of %lld lanes on %d threads is impossible",
                       (long long)o.lanes, o.threads);
    }
    LH_TRY(choose_protocol(&protocol, &o, error));
    lh_status status = open_corpus(&corpus, model, &o, &protocol, error);
    if (status == LH_OK && !o.protocol) {
        protocol.kind = lh_eval_usual_protocol(corpus);
    }
    if (status == LH_OK) {
        status = evaluate(model, &o, &protocol, corpus, &found, error);
    }
    lh_eval_corpus_free(corpus);
    if (status == LH_OK) {
        lh_api_give(evaluation, &found, sizeof found);
    }
    return status;
}
