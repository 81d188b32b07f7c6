#include "compare/child.h"
#include "compare/stages.h"

#include "base/memory.h"
#include "base/progress.h"
#include "eval/corpus.h"
#include "infer/load.h"
#include "infer/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The cost at a length is the median over up to so many segments before it, so that disturbed ones do not count. */
#define MOST_SEGMENTS 4096
/* Segments that are read before anything counts: pages and threads come into being in them. */
#define WARM_UP 2
/* Text that is read again and again: more would say nothing else about the cost. */
#define MOST_TEXT (1 << 20)

typedef struct meter {
    const lh_reading_stage *stage;
    lh_model *model;
    lh_tokenizer *tokenizer;
    lh_eval_corpus *corpus;
    lh_session *session;
    int32_t *tokens, *text; /* one segment and the token behind it; all of the text */
    double *nats;
    int64_t segment, text_tokens;
    double recent[MOST_SEGMENTS], sorted[MOST_SEGMENTS]; /* seconds of the last segments, in a ring */
    int64_t read;                                        /* segments since the last reset */
    lh_progress progress;
    char label[128];
} meter;

static bool watch_text(void *user, const char *phase, uint64_t done, uint64_t total)
{
    (void)user;
    (void)phase;
    (void)done;
    (void)total;
    return !lh_child_stopped(NULL);
}

static lh_status open_all(meter *m, lh_error *error)
{
    const lh_reading_stage *stage = m->stage;
    lh_load_options load = {.dtype = LH_F32};
    lh_eval_corpus_options corpus = {
        .path = stage->path, .split = stage->settings->split, .limit_tokens = MOST_TEXT, .watch = watch_text};
    LH_TRY(lh_load_model(&m->model, &m->tokenizer, NULL, stage->directory, &load, error));
    LH_TRY(lh_eval_corpus_open(&m->corpus, m->tokenizer, &corpus, error));
    LH_TRY(lh_session_create(&m->session, m->model, 1, stage->threads, error));
    m->segment = m->model->config.segment;
    m->text_tokens = (int64_t)m->corpus->split->tokens;
    m->tokens = lh_heap_alloc(sizeof *m->tokens * (size_t)(m->segment + 1));
    m->nats = lh_heap_alloc(sizeof *m->nats * (size_t)m->segment);
    m->text = lh_heap_alloc(sizeof *m->text * (size_t)m->text_tokens);
    if (!m->tokens || !m->nats || !m->text) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read %lld tokens", (long long)m->text_tokens);
    }
    if (m->text_tokens < 1) {
        return lh_fail(error, LH_E_CONFIG, "%s holds no text", m->corpus->name);
    }
    return lh_split_copy(m->corpus->split, 0, (uint64_t)m->text_tokens, m->text, error);
}

/* Reads and scores the next segment of the document. */
static lh_status read_segment(meter *m, lh_error *error)
{
    int64_t start = m->read * m->segment;
    for (int64_t i = 0; i <= m->segment; i++) {
        m->tokens[i] = m->text[(start + i) % m->text_tokens];
    }
    double before = lh_now();
    LH_TRY(lh_session_score(m->session, m->tokens, m->tokens + 1, m->segment, m->nats, error));
    m->recent[m->read++ % MOST_SEGMENTS] = lh_now() - before;
    return LH_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Milliseconds per token: the median of the segments in the second half of the document so far. */
static double recent_cost(meter *m)
{
    int64_t half = (m->read + 1) / 2, count = half < MOST_SEGMENTS ? half : MOST_SEGMENTS;
    for (int64_t i = 0; i < count; i++) {
        m->sorted[i] = m->recent[(m->read - 1 - i) % MOST_SEGMENTS];
    }
    qsort(m->sorted, (size_t)count, sizeof *m->sorted, ascending);
    double median = count % 2 ? m->sorted[count / 2] : (m->sorted[count / 2 - 1] + m->sorted[count / 2]) / 2;
    return 1e3 * median / (double)m->segment;
}

static json_t *point(meter *m)
{
    return json_pack("{s:I, s:f, s:I}", "length", (json_int_t)(m->read * m->segment), "milliseconds_per_token",
                     recent_cost(m), "state_bytes", (json_int_t)lh_session_state_bytes(m->session));
}

/* Reads on to the next length, or as far as the time allows. */
static lh_status read_up_to(meter *m, int64_t segments, double deadline, bool *reached, lh_error *error)
{
    char note[64];
    *reached = false;
    while (m->read < segments) {
        if (lh_child_stopped(NULL)) {
            return lh_fail(error, LH_E_INTERRUPTED, "interrupted");
        }
        if (lh_now() > deadline) {
            return LH_OK;
        }
        LH_TRY(read_segment(m, error));
        (void)snprintf(note, sizeof note, "%.3g ms/token",
                       1e3 * m->recent[(m->read - 1) % MOST_SEGMENTS] / (double)m->segment);
        lh_progress_update(&m->progress, (uint64_t)(m->read * m->segment), note);
    }
    *reached = true;
    return LH_OK;
}

static lh_status warm_up(meter *m, lh_error *error)
{
    for (int i = 0; i < WARM_UP; i++) {
        LH_TRY(read_segment(m, error));
    }
    m->read = 0;
    return lh_session_reset(m->session, -1, error);
}

static lh_status measure(meter *m, json_t *points, lh_error *error)
{
    const lh_compare_settings *s = m->stage->settings;
    LH_TRY(warm_up(m, error));
    double deadline = lh_now() + s->length_seconds;
    lh_status status = LH_OK;
    int64_t longest = s->length_count ? s->lengths[s->length_count - 1] : 0;
    lh_progress_start(&m->progress, m->label, "tokens",
                      (uint64_t)((longest + m->segment - 1) / m->segment * m->segment));
    bool reached = true;
    for (size_t i = 0; i < s->length_count && status == LH_OK && reached; i++) {
        int64_t segments = (s->lengths[i] + m->segment - 1) / m->segment;
        if (segments > m->read) { /* else a length below a segment, which is measured as one */
            status = read_up_to(m, segments, deadline, &reached, error);
            if (status == LH_OK && reached) {
                json_array_append_new(points, point(m));
            }
        }
    }
    lh_progress_finish(&m->progress, reached ? NULL : "as far as the time allows");
    return status;
}

lh_status lh_stage_cost(void *user, lh_string *answer, lh_error *error)
{
    meter *m = lh_heap_alloc(sizeof *m);
    json_t *points = json_array();
    double started = lh_now();
    if (!m) {
        json_decref(points);
        return lh_fail(error, LH_E_MEMORY, "no memory to measure costs");
    }
    m->stage = user;
    (void)snprintf(m->label, sizeof m->label, "%.90s costs", m->stage->label);
    lh_status status = open_all(m, error);
    if (status == LH_OK) {
        status = measure(m, points, error);
    }
    if (status == LH_OK) {
        json_t *root = json_pack("{s:I, s:I, s:O, s:f, s:I}", "segment", (json_int_t)m->segment, "reached",
                                 (json_int_t)(m->read * m->segment), "points", points, "wall_seconds",
                                 lh_now() - started, "heap_peak_bytes", (json_int_t)lh_heap_peak_bytes());
        status = lh_stage_answer(root, answer, error);
    }
    json_decref(points);
    lh_session_free(m->session);
    lh_eval_corpus_free(m->corpus);
    lh_tokenizer_free(m->tokenizer);
    lh_model_free(m->model);
    lh_heap_free(m->tokens);
    lh_heap_free(m->nats);
    lh_heap_free(m->text);
    lh_heap_free(m);
    return status;
}
