#include "infer/sampler.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    double value; /* logit, then probability */
    int32_t token;
} candidate;

struct lh_sampler {
    lh_sampler_options options;
    lh_random random;
    int64_t vocab;
    candidate *candidates;
    int32_t *recent; /* ring of the last repetition_window tokens */
    int64_t recent_count, recent_next;
    int32_t *times; /* [vocab]: occurrences in the ring */
};

lh_sampler_options lh_sampler_defaults(void)
{
    return (lh_sampler_options){
        .temperature = 1.0, .top_p = 1.0, .repetition_penalty = 1.0, .repetition_window = 64};
}

lh_status lh_sampler_create(lh_sampler **sampler, const lh_sampler_options *options, int64_t vocab, lh_error *error)
{
    *sampler = NULL;
    const lh_sampler_options *o = options;
    if (!(o->temperature >= 0.0) || !(o->top_p > 0.0 && o->top_p <= 1.0) || !(o->min_p >= 0.0 && o->min_p <= 1.0) ||
        !(o->repetition_penalty > 0.0) || o->top_k < 0 || o->repetition_window < 0) {
        return lh_fail(
            error, LH_E_ARGUMENT,
            "sampling: temperature %g must be >= 0, top-k %lld >= 0, top-p %g in (0, 1], min-p %g in [0, 1], "
            "repetition penalty %g > 0",
            o->temperature, (long long)o->top_k, o->top_p, o->min_p, o->repetition_penalty);
    }
    lh_sampler *s = lh_heap_alloc(sizeof *s);
    if (s) {
        s->options = *options;
        s->vocab = vocab;
        s->random = lh_random_create(options->seed, 0x73616d70);
        s->candidates = lh_heap_alloc(sizeof *s->candidates * (size_t)vocab);
        s->recent = lh_heap_alloc(sizeof *s->recent * (size_t)(options->repetition_window + 1));
        s->times = lh_heap_alloc(sizeof *s->times * (size_t)vocab);
    }
    if (!s || !s->candidates || !s->recent || !s->times) {
        lh_sampler_free(s);
        return lh_fail(error, LH_E_MEMORY, "no memory for sampling from %lld tokens", (long long)vocab);
    }
    *sampler = s;
    return LH_OK;
}

void lh_sampler_free(lh_sampler *sampler)
{
    if (sampler) {
        lh_heap_free(sampler->candidates);
        lh_heap_free(sampler->recent);
        lh_heap_free(sampler->times);
        lh_heap_free(sampler);
    }
}

void lh_sampler_note(lh_sampler *sampler, int32_t token)
{
    int64_t window = sampler->options.repetition_window;
    if (window == 0 || token < 0 || token >= sampler->vocab) {
        return;
    }
    if (sampler->recent_count == window) {
        sampler->times[sampler->recent[sampler->recent_next]]--;
    } else {
        sampler->recent_count++;
    }
    sampler->recent[sampler->recent_next] = token;
    sampler->recent_next = (sampler->recent_next + 1) % window;
    sampler->times[token]++;
}

static int by_value(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? 1 : -1;
    }
    return (x->token > y->token) - (x->token < y->token);
}

static double penalised(const lh_sampler *s, double logit, int64_t token)
{
    if (s->options.repetition_penalty == 1.0 || s->times[token] == 0) {
        return logit;
    }
    return logit > 0.0 ? logit / s->options.repetition_penalty : logit * s->options.repetition_penalty;
}

/* Sums of float probabilities miss a round top-p by a little, which must not let one token more in: the nucleus
 * holds this much less (as in Transformer-VQ's released code). */
#define NUCLEUS_SLACK 1e-4

/* How many of the candidates, sorted by falling probability, survive the filters. */
static int64_t survivors(const lh_sampler *s, double total)
{
    const lh_sampler_options *o = &s->options;
    int64_t count = o->top_k > 0 && o->top_k < s->vocab ? o->top_k : s->vocab;
    double mass = 0.0, kept = 0.0, nucleus = o->top_p < 1.0 ? o->top_p - NUCLEUS_SLACK : INFINITY;
    for (int64_t i = 0; i < count; i++) {
        kept += s->candidates[i].value;
    }
    total = count < s->vocab ? kept : total;
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && (mass >= nucleus * total || s->candidates[i].value < o->min_p * s->candidates[0].value)) {
            return i;
        }
        mass += s->candidates[i].value;
    }
    return count;
}

lh_status lh_sampler_pick(lh_sampler *sampler, const float *logits, int32_t *token, lh_error *error)
{
    lh_sampler *s = sampler;
    const lh_sampler_options *o = &s->options;
    int64_t best = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        if (isnan(logits[i])) {
            return lh_fail(error, LH_E_NUMERIC, "the model's score of token %lld is not a number", (long long)i);
        }
        s->candidates[i] = (candidate){.value = penalised(s, (double)logits[i], i), .token = (int32_t)i};
        best = s->candidates[i].value > s->candidates[best].value ? i : best;
    }
    if (o->temperature == 0.0) {
        *token = (int32_t)best;
        return LH_OK;
    }
    double top = s->candidates[best].value, total = 0.0;
    for (int64_t i = 0; i < s->vocab; i++) {
        s->candidates[i].value = exp((s->candidates[i].value - top) / o->temperature);
        total += s->candidates[i].value;
    }
    int64_t count = s->vocab;
    if (o->top_k > 0 || o->top_p < 1.0 || o->min_p > 0.0) {
        qsort(s->candidates, (size_t)s->vocab, sizeof *s->candidates, by_value);
        count = survivors(s, total);
    }
    double mass = 0.0;
    for (int64_t i = 0; i < count; i++) {
        mass += s->candidates[i].value;
    }
    double draw = lh_random_uniform(&s->random) * mass;
    int64_t i = 0;
    while (i + 1 < count && (draw -= s->candidates[i].value) >= 0.0) {
        i++;
    }
    *token = s->candidates[i].token;
    return LH_OK;
}

/* seed, stream, counter, four words, words left, then the tokens of the window, oldest first. */
enum { STATE_HEAD = 8 };

size_t lh_sampler_state_size(const lh_sampler *sampler)
{
    return STATE_HEAD + (size_t)sampler->options.repetition_window;
}

size_t lh_sampler_state(const lh_sampler *sampler, int64_t *numbers)
{
    const lh_random *r = &sampler->random;
    int64_t window = sampler->options.repetition_window, count = sampler->recent_count;
    numbers[0] = (int64_t)r->seed;
    numbers[1] = (int64_t)r->stream;
    numbers[2] = (int64_t)r->counter;
    for (int i = 0; i < 4; i++) {
        numbers[3 + i] = r->words[i];
    }
    numbers[7] = r->left;
    for (int64_t i = 0; i < count; i++) {
        numbers[STATE_HEAD + i] = sampler->recent[(sampler->recent_next + window - count + i) % window];
    }
    return STATE_HEAD + (size_t)count;
}

bool lh_sampler_restore(lh_sampler *sampler, const int64_t *numbers, size_t count, bool with_random)
{
    if (count < STATE_HEAD || numbers[7] < 0 || numbers[7] > 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        if (numbers[3 + i] < 0 || numbers[3 + i] > UINT32_MAX) {
            return false;
        }
    }
    for (size_t i = STATE_HEAD; i < count; i++) {
        if (numbers[i] < 0 || numbers[i] >= sampler->vocab) {
            return false;
        }
    }
    if (with_random) {
        lh_random *r = &sampler->random;
        r->seed = (uint64_t)numbers[0];
        r->stream = (uint64_t)numbers[1];
        r->counter = (uint64_t)numbers[2];
        for (int i = 0; i < 4; i++) {
            r->words[i] = (uint32_t)numbers[3 + i];
        }
        r->left = (uint32_t)numbers[7];
    }
    sampler->recent_count = sampler->recent_next = 0;
    memset(sampler->times, 0, sizeof *sampler->times * (size_t)sampler->vocab);
    for (size_t i = STATE_HEAD; i < count; i++) {
        lh_sampler_note(sampler, (int32_t)numbers[i]);
    }
    return true;
}
