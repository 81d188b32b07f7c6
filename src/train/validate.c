#include "train/validate.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

double lh_validation_accuracy(const lh_validation *validation)
{
    return validation->sums.tokens > 0 ? validation->right / validation->sums.tokens : NAN;
}

/* Of the beginning of a split. */
static lh_status take_answers(lh_split *head, const lh_split *split, lh_error *error)
{
    uint32_t *answers = lh_heap_alloc(sizeof *answers * (size_t)head->tokens);
    lh_status status = LH_E_MEMORY;
    if (answers) {
        lh_split_copy_answers(split, 0, head->tokens, answers);
        status = lh_split_set_answers(head, answers, error);
    } else {
        (void)lh_fail(error, LH_E_MEMORY, "no memory for %llu tokens of validation text",
                      (unsigned long long)head->tokens);
    }
    lh_heap_free(answers);
    return status;
}

/* The split's first `count` tokens with their documents, in memory. */
static lh_status take_head(lh_split **head, const lh_split *split, uint64_t count, lh_error *error)
{
    uint64_t documents = lh_split_find(split, count - 1) + 1;
    int32_t *tokens = lh_heap_alloc(sizeof *tokens * (size_t)count);
    uint64_t *lengths = lh_heap_alloc(sizeof *lengths * (size_t)documents);
    lh_status status = tokens && lengths
                           ? lh_split_copy(split, 0, count, tokens, error)
                           : lh_fail(error, LH_E_MEMORY, "no memory for %llu tokens of validation text",
                                     (unsigned long long)count);
    uint64_t left = count;
    for (uint64_t i = 0; i < documents && status == LH_OK; i++) {
        uint64_t length = lh_split_document(split, i).tokens;
        lengths[i] = length < left ? length : left;
        left -= lengths[i];
    }
    if (status == LH_OK) {
        status = lh_split_create(head, tokens, lengths, documents, split->vocab_size, error);
    }
    if (status == LH_OK && split->answered) {
        status = take_answers(*head, split, error);
    }
    lh_heap_free(tokens);
    lh_heap_free(lengths);
    return status;
}

typedef struct pass {
    lh_training *training;
    lh_token_stream *source;
    lh_stream *stream;
    int32_t *targets, *best;
    int64_t lanes, segment;
    bool documents; /* each is read from its beginning: as trained, or where training sees single documents only */
} pass;

static lh_status score(pass *p, const lh_batch *batch, lh_validation *result, lh_error *error)
{
    lh_loss_sums *sums = &result->sums;
    lh_training *t = p->training;
    lh_context *context = t->context;
    lh_forward forward;
    int64_t count = p->lanes * p->segment;
    for (int64_t lane = 0; lane < p->lanes && p->documents; lane++) {
        if (batch->flags[lane * p->segment] & LH_INPUT_CHAIN_START) {
            LH_TRY(lh_stream_reset(p->stream, context, lane, error));
        }
    }
    if (batch->sources) {
        t->model->memory_kind->take_source(p->stream->memory, context, batch->sources, t->source_tokens);
    }
    for (int64_t i = 0; i < count; i++) {
        p->targets[i] = batch->mask[i] ? batch->targets[i] : -1;
        sums->bytes += batch->mask[i] ? t->source.token_bytes[batch->targets[i]] : 0;
    }
    p->stream->memory->valid = batch->valid;
    lh_model_forward(context, t->model, p->stream, batch->inputs, p->segment, &forward);
    lh_tensor *loss = batch->scored > 0 ? lh_model_loss_best(context, t->model, forward.hidden, p->targets, NULL,
                                                             NULL, result->answered ? p->best : NULL)
                                        : NULL;
    sums->nats += loss ? lh_scalar(context, loss) : 0;
    for (int64_t i = 0; i < count && result->answered && loss; i++) {
        result->right += p->targets[i] >= 0 && p->best[i] == p->targets[i];
    }
    sums->tokens += (double)batch->scored;
    lh_stream_commit(p->stream, context);
    LH_TRY(lh_context_status(context, error));
    lh_context_reset(context);
    return LH_OK;
}

static lh_status run_pass(pass *p, const lh_split *split, bool (*stop)(void *user), void *user,
                          lh_validation *result, lh_error *error)
{
    lh_training *t = p->training;
    lh_token_stream_options options = lh_token_stream_defaults();
    /* Crops of tasks are pieces of rows that have nothing to do with each other. */
    p->documents =
        t->config.reset_at_document || t->before > 0 || (split->answered && t->config.layout == LH_STREAM_CROPS);
    options.layout = p->documents ? LH_STREAM_DOCUMENTS : LH_STREAM_LANES;
    options.boundary = p->documents ? LH_BOUNDARY_PAD : LH_BOUNDARY_CONTINUE;
    options.lanes = p->lanes;
    options.segment = p->segment;
    options.epochs = 1;
    options.shuffle = false;
    options.source = t->source_tokens;
    LH_TRY(lh_token_stream_create(&p->source, split, &options, error));
    LH_TRY(lh_stream_create(&p->stream, t->model, p->lanes, true, error));
    p->targets = lh_heap_alloc(sizeof *p->targets * (size_t)(p->lanes * p->segment));
    p->best = lh_heap_alloc(sizeof *p->best * (size_t)(p->lanes * p->segment));
    if (!p->targets || !p->best) {
        return lh_fail(error, LH_E_MEMORY, "no memory for an evaluation");
    }
    for (;;) {
        const lh_batch *batch;
        LH_TRY(lh_token_stream_next(p->source, p->segment, &batch, error));
        if (!batch) {
            return LH_OK;
        }
        if (stop && stop(user)) {
            return lh_fail(error, LH_E_INTERRUPTED, "the evaluation was interrupted");
        }
        LH_TRY(score(p, batch, result, error));
    }
}

lh_status lh_validate(lh_training *training, const lh_split *split, int64_t tokens, int64_t lanes,
                      bool (*stop)(void *user), void *user, lh_validation *result, lh_error *error)
{
    lh_context *context = training->context;
    lh_split *head = NULL;
    *result = (lh_validation){.answered = split->answered};
    uint64_t count = tokens > 0 && (uint64_t)tokens < split->tokens ? (uint64_t)tokens : split->tokens;
    pass p = {.training = training, .segment = training->model->config.segment};
    int64_t useful = (int64_t)(count / (uint64_t)(2 * p.segment));
    p.lanes = useful < 1 ? 1 : useful < lanes ? useful : lanes;
    if (count < split->tokens) {
        LH_TRY(take_head(&head, split, count, error));
        split = head;
    }
    bool recording = context->recording, dropout = context->training;
    uint64_t random_offset = context->random_offset;
    context->recording = context->training = false;
    lh_status status = run_pass(&p, split, stop, user, result, error);
    if (p.stream) {
        lh_stream_rollback(p.stream);
    }
    lh_context_reset(context);
    context->recording = recording;
    context->training = dropout;
    context->random_offset = random_offset;
    lh_stream_free(p.stream);
    lh_token_stream_free(p.source);
    lh_heap_free(p.targets);
    lh_heap_free(p.best);
    lh_split_free(head);
    return status;
}
