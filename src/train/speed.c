#include "train/speed.h"

#include "base/memory.h"
#include "base/progress.h"
#include "infer/session.h"
#include "train/trainer.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GEMM_SIZE = 1536, READ_FLOATS = 1 << 25 };

/* The ceilings: operands of a large product, and memory to read that no cache holds. */
typedef struct ceilings {
    lh_context *context;
    float *a, *b, *c, *memory;
} ceilings;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

static void close_ceilings(ceilings *c)
{
    lh_context_free(c->context);
    lh_heap_free(c->a);
    lh_heap_free(c->b);
    lh_heap_free(c->c);
    lh_heap_free(c->memory);
}

static lh_status open_ceilings(ceilings *c, int threads, bool reading, lh_error *error)
{
    size_t cells = (size_t)GEMM_SIZE * GEMM_SIZE;
    *c = (ceilings){0};
    LH_TRY(lh_context_create(&c->context, lh_backend_cpu(), threads, error));
    c->a = lh_heap_alloc(sizeof(float) * cells);
    c->b = lh_heap_alloc(sizeof(float) * cells);
    c->c = lh_heap_alloc(sizeof(float) * cells);
    c->memory = reading ? lh_heap_alloc(sizeof(float) * READ_FLOATS) : NULL;
    if (!c->a || !c->b || !c->c || (reading && !c->memory)) {
        close_ceilings(c);
        return lh_fail(error, LH_E_MEMORY, "no memory to measure this machine's limits");
    }
    for (size_t i = 0; i < cells; i++) {
        c->a[i] = (float)(i % 7) - 3.0f;
        c->b[i] = (float)(i % 5) - 2.0f;
    }
    for (size_t i = 0; reading && i < READ_FLOATS; i++) {
        c->memory[i] = 1.0f;
    }
    return LH_OK;
}

static double gemm_rate(const ceilings *c)
{
    lh_gemm_args gemm = {.batch = 1,
                         .m = GEMM_SIZE,
                         .n = GEMM_SIZE,
                         .k = GEMM_SIZE,
                         .alpha = 1.0,
                         .a = c->a,
                         .b = c->b,
                         .c = c->c,
                         .lda = GEMM_SIZE,
                         .ldb = GEMM_SIZE,
                         .ldc = GEMM_SIZE};
    double best = 1e30;
    for (int i = 0; i < 2; i++) {
        double start = lh_now();
        lh_run(c->context, LH_KERNEL_GEMM, LH_F32, &gemm);
        double seconds = lh_now() - start;
        best = seconds < best ? seconds : best;
    }
    return 2.0 * GEMM_SIZE * (double)GEMM_SIZE * GEMM_SIZE / best;
}

static double read_rate(const ceilings *c)
{
    const float *memory = c->memory;
    double sum = 0, start = lh_now();
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < READ_FLOATS; i++) {
        sum += memory[i];
    }
    double seconds = lh_now() - start;
    return sum > 0 ? 4.0 * READ_FLOATS / seconds : 0.0; /* the sum is used, so that it is computed */
}

static double resident_peak(void)
{
    char line[256];
    double kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kilobytes = strtod(line + 6, NULL);
        }
    }
    if (status) {
        (void)fclose(status);
    }
    return 1024 * kilobytes;
}

lh_status lh_speed_gemm(double *rate, int threads, lh_error *error)
{
    ceilings c;
    LH_TRY(open_ceilings(&c, threads, false, error));
    *rate = gemm_rate(&c);
    close_ceilings(&c);
    return LH_OK;
}

static bool stopped(const lh_speed_options *options)
{
    return options->stop && options->stop(options->user);
}

/* Text for the trainer: random tokens in documents long enough for a few steps. */
static lh_status random_text(lh_split **split, uint32_t **token_bytes, int64_t vocab, int64_t tokens,
                             lh_error *error)
{
    enum { DOCUMENTS = 4 };
    int64_t each = tokens / DOCUMENTS + 1;
    int32_t *text = lh_heap_alloc(sizeof *text * (size_t)(each * DOCUMENTS));
    *token_bytes = lh_heap_alloc(sizeof **token_bytes * (size_t)vocab);
    if (!text || !*token_bytes) {
        lh_heap_free(text);
        return lh_fail(error, LH_E_MEMORY, "no memory for %lld random tokens", (long long)tokens);
    }
    lh_random random = lh_random_create(3, 1);
    for (int64_t i = 0; i < each * DOCUMENTS; i++) {
        text[i] = (int32_t)lh_random_below(&random, (uint64_t)vocab);
    }
    for (int64_t i = 0; i < vocab; i++) {
        (*token_bytes)[i] = 1;
    }
    uint64_t lengths[DOCUMENTS];
    for (int i = 0; i < DOCUMENTS; i++) {
        lengths[i] = (uint64_t)each;
    }
    lh_status status = lh_split_create(split, text, lengths, DOCUMENTS, (uint64_t)vocab, error);
    lh_heap_free(text);
    return status;
}

static lh_status measure_training(lh_speed *s, lh_training *t, const ceilings *c, const lh_speed_options *options,
                                  double *room, lh_error *error)
{
    enum { WARM_UP = 2 };
    double *seconds = room, *share = room + options->steps, *peak = share + options->steps;
    double flops = lh_training_token_flops(t) * (double)s->step_tokens, before = gemm_rate(c);
    uint64_t allocations = 0;
    for (int64_t i = -WARM_UP; i < options->steps; i++) {
        lh_iteration result;
        uint64_t begin = lh_heap_allocations();
        double start = lh_now();
        LH_TRY(lh_training_step(t, 0.0, &result, error));
        double took = lh_now() - start;
        begin = lh_heap_allocations() - begin;
        if (stopped(options)) {
            return lh_fail(error, LH_E_INTERRUPTED, "stopped");
        }
        double after = gemm_rate(c);
        if (i >= 0) {
            seconds[i] = took;
            peak[i] = 0.5 * (before + after);
            share[i] = flops / took / peak[i];
            allocations += begin;
        }
        before = after;
    }
    double middle = median(seconds, options->steps);
    s->train = (double)s->step_tokens / middle;
    s->train_flops = flops / middle;
    s->train_share = median(share, options->steps);
    s->gemm = median(peak, options->steps);
    s->allocations = (double)allocations / (double)options->steps;
    s->step_bytes = (double)t->context->peak_bytes;
    s->resident_bytes = resident_peak();
    return LH_OK;
}

/* Segments of all lanes without gradients, as evaluation reads them. */
static lh_status measure_evaluation(lh_speed *s, lh_training *t, const lh_speed_options *options, double *seconds,
                                    lh_error *error)
{
    lh_context *context = t->context;
    lh_stream *stream;
    t->context->recording = t->context->training = false;
    LH_TRY(lh_stream_create(&stream, t->model, t->config.batch, true, error));
    lh_status status = LH_OK;
    for (int64_t i = -1; i < options->steps && status == LH_OK; i++) {
        lh_forward forward;
        double start = lh_now();
        lh_model_forward(context, t->model, stream, t->inputs, s->segment, &forward);
        (void)lh_model_loss(context, t->model, forward.hidden, t->targets, NULL, NULL);
        lh_stream_commit(stream, context);
        status = lh_context_status(context, error);
        lh_context_reset(context);
        seconds[i < 0 ? 0 : i] = lh_now() - start;
        if (status == LH_OK && stopped(options)) {
            status = lh_fail(error, LH_E_INTERRUPTED, "stopped");
        }
    }
    s->evaluate = (double)(t->config.batch * s->segment) / median(seconds, options->steps);
    s->state_bytes = (double)lh_stream_bytes(stream);
    lh_stream_free(stream);
    return status;
}

/* Keys that a decoded token scores, times their size, and the weights. */
static double decoded_bytes(const lh_model *model)
{
    double key_flops = lh_model_attention_flops(model); /* 2 (key_width + value_width) a key and head */
    double groups = (double)model->config.heads / (double)model->config.kv_heads;
    return 4.0 * (double)lh_model_active_parameters(model) + 4.0 * key_flops / 2.0 / groups;
}

/* Tokens one by one in PARTS parts, the rate of reading measured around each. */
static lh_status decode_parts(lh_speed *s, lh_session *session, const int32_t *tokens, const ceilings *c,
                              const lh_speed_options *options, float *logits, lh_error *error)
{
    enum { PARTS = 8 };
    double share[PARTS], rate[PARTS], read[PARTS], before = read_rate(c);
    int64_t each = options->decode / PARTS > 0 ? options->decode / PARTS : 1;
    for (int part = 0; part < PARTS; part++) {
        double start = lh_now();
        for (int64_t i = 0; i < each; i++) {
            if (stopped(options)) {
                return lh_fail(error, LH_E_INTERRUPTED, "stopped");
            }
            LH_TRY(lh_session_feed(session, tokens + i % s->segment, 1, logits, error));
        }
        double seconds = (lh_now() - start) / (double)each, after = read_rate(c);
        rate[part] = 1 / seconds;
        read[part] = 0.5 * (before + after);
        share[part] = s->decode_bytes / seconds / read[part];
        before = after;
    }
    s->decode = median(rate, PARTS);
    s->read = median(read, PARTS);
    s->decode_share = median(share, PARTS);
    return LH_OK;
}

static lh_status measure_decoding(lh_speed *s, lh_training *t, const ceilings *c, const lh_speed_options *options,
                                  lh_error *error)
{
    lh_session *session;
    int64_t vocab = t->model->config.vocab;
    float *logits = lh_heap_alloc(sizeof *logits * (size_t)vocab);
    if (!logits) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %lld logits", (long long)vocab);
    }
    lh_status status = lh_session_create(&session, t->model, 1, t->config.threads, error);
    if (status == LH_OK) {
        int64_t prompt = s->segment + s->segment / 2; /* the memory is filled and the segment half read */
        int32_t *tokens = t->inputs;
        for (int64_t done = 0; done < prompt && status == LH_OK; done += s->segment / 2 + 1) {
            status = lh_session_feed(session, tokens, s->segment / 2 + 1, NULL, error);
        }
        s->decode_bytes = decoded_bytes(t->model);
        status = status == LH_OK ? decode_parts(s, session, tokens, c, options, logits, error) : status;
        lh_session_free(session);
    }
    lh_heap_free(logits);
    return status;
}

static lh_status measure(lh_speed *s, lh_training *t, const lh_speed_options *options, lh_error *error)
{
    ceilings c;
    double *room = lh_heap_alloc(sizeof *room * (size_t)(3 * options->steps));
    if (!room) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %lld timings", (long long)options->steps);
    }
    lh_status status = open_ceilings(&c, t->config.threads, options->decode > 0, error);
    if (status == LH_OK) {
        s->parameters = lh_parameters_elements(&t->model->parameters);
        s->lanes = t->config.batch;
        s->segment = t->model->config.segment;
        s->step_tokens = lh_training_step_tokens(t);
        status = measure_training(s, t, &c, options, room, error);
        if (status == LH_OK) {
            status = measure_evaluation(s, t, options, room, error);
        }
        if (status == LH_OK && options->decode > 0) {
            status = measure_decoding(s, t, &c, options, error);
        }
        close_ceilings(&c);
    }
    lh_heap_free(room);
    return status;
}

lh_status lh_speed_measure(lh_speed *speed, const lh_recipe *recipe, const lh_speed_options *options,
                           lh_error *error)
{
    lh_train_config config;
    lh_split *split = NULL;
    uint32_t *token_bytes = NULL;
    lh_training *training = NULL;
    *speed = (lh_speed){0};
    if (options->steps < 1) {
        return lh_fail(error, LH_E_ARGUMENT, "there must be at least one step to time");
    }
    LH_TRY(lh_train_config_read(&config, recipe, error));
    int64_t vocab = lh_recipe_integer(recipe, "model.vocab");
    vocab = vocab > 0 ? vocab : options->vocab;
    int64_t row = lh_recipe_integer(recipe, "model.segment") * config.unroll + 1;
    lh_status status = random_text(&split, &token_bytes, vocab, 4 * config.batch * row, error);
    if (status == LH_OK) {
        lh_train_source source = {.split = split, .token_bytes = token_bytes, .vocab = vocab};
        status = lh_training_create(&training, recipe, &source, lh_backend_cpu(), LH_F32, error);
    }
    if (status == LH_OK) {
        status = measure(speed, training, options, error);
    }
    lh_training_free(training);
    lh_split_free(split);
    lh_heap_free(token_bytes);
    return status;
}
