#include "compare/child.h"
#include "compare/stages.h"

#include "base/memory.h"
#include "base/progress.h"
#include "eval/result.h"
#include "infer/describe.h"
#include "infer/load.h"

#include <math.h>
#include <stdio.h>

typedef struct reader {
    const lh_reading_stage *stage;
    lh_model *model;
    lh_tokenizer *tokenizer;
    lh_eval_corpus *corpus;
    int64_t step;
    lh_eval_options options;
    lh_evaluation evaluation;
    lh_progress progress;
    char label[128];
} reader;

static bool watch_text(void *user, const char *phase, uint64_t done, uint64_t total)
{
    (void)user;
    (void)phase;
    (void)done;
    (void)total;
    return !lh_child_stopped(NULL);
}

static double share(uint64_t part, uint64_t all)
{
    return all ? (double)part / (double)all : NAN;
}

static bool watch_tokens(void *user, const lh_tally *tally, uint64_t done, uint64_t total)
{
    reader *r = user;
    char note[64];
    if (!r->progress.label) {
        lh_progress_start(&r->progress, r->label, "tokens", total);
    }
    if (tally->options.answers) {
        (void)snprintf(note, sizeof note, "accuracy %.4f", share(tally->all.right, tally->all.tokens));
    } else {
        (void)snprintf(note, sizeof note, "%.4f bpb",
                       tally->all.bytes ? tally->all.nats / log(2.0) / (double)tally->all.bytes : 0.0);
    }
    lh_progress_update(&r->progress, done, note);
    return !lh_child_stopped(NULL);
}

static lh_status open_all(reader *r, lh_error *error)
{
    const lh_compare_settings *s = r->stage->settings;
    lh_load_options load = {.dtype = LH_F32};
    lh_eval_corpus_options corpus = {
        .path = r->stage->path, .split = s->split, .limit_tokens = (uint64_t)s->eval_tokens, .watch = watch_text};
    LH_TRY(lh_load_model(&r->model, &r->tokenizer, &r->step, r->stage->directory, &load, error));
    return lh_eval_corpus_open(&r->corpus, r->tokenizer, &corpus, error);
}

static lh_status evaluate(reader *r, lh_error *error)
{
    lh_eval_options *o = &r->options;
    LH_TRY(lh_protocol_find(r->stage->settings->protocol, &o->protocol.kind, error));
    LH_TRY(lh_protocol_complete(&o->protocol, error));
    o->threads = r->stage->threads;
    LH_TRY(lh_eval_options_complete(o, "charge", r->model, r->tokenizer, r->corpus, error));
    o->watch = watch_tokens;
    o->watch_data = r;
    lh_status status = lh_evaluate(&r->evaluation, r->model, r->tokenizer, r->corpus, o, error);
    if (r->progress.label) {
        lh_progress_finish(&r->progress, NULL);
    }
    return status;
}

static json_t *positions_json(const lh_tally *tally)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < tally->bin_count; i++) {
        const lh_loss_sum *bin = &tally->bins[i];
        double nats = bin->tokens ? bin->nats / (double)bin->tokens : NAN;
        double bits = bin->bytes ? bin->nats / log(2.0) / (double)bin->bytes : NAN;
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:o, s:o}", "from", (json_int_t)lh_tally_bin_start(tally, i),
                                        "tokens", (json_int_t)bin->tokens, "bits_per_byte", lh_json_number(bits),
                                        "nats_per_token", lh_json_number(nats)));
    }
    return list;
}

/* Of answers, by how far back what they repeat stands: bins from 1, 2, 4, .. tokens on. */
static json_t *distances_json(const lh_tally *tally)
{
    json_t *list = json_array();
    for (int i = 0; i < LH_DISTANCE_BINS; i++) {
        const lh_loss_sum *bin = &tally->distances[i];
        if (bin->tokens > 0) {
            json_array_append_new(list,
                                  json_pack("{s:I, s:I, s:f}", "from", (json_int_t)1 << i, "tokens",
                                            (json_int_t)bin->tokens, "accuracy", share(bin->right, bin->tokens)));
        }
    }
    return list;
}

static lh_status tell(const reader *r, double wall, lh_string *answer, lh_error *error)
{
    const lh_evaluation *e = &r->evaluation;
    lh_eval_figures f = lh_eval_figures_of(e, r->corpus, &r->options.protocol, false);
    json_t *root =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "data", r->corpus->name,
                  "protocol", lh_protocol_name(r->options.protocol.kind), "lanes", (json_int_t)r->options.lanes,
                  "step", (json_int_t)r->step, "tokens", (json_int_t)e->total, "scored", (json_int_t)e->scored,
                  "documents", (json_int_t)r->corpus->document_count, "seconds", e->seconds, "tokens_per_second",
                  lh_json_number(e->seconds > 0 ? (double)e->read / e->seconds : NAN), "bits_per_byte",
                  lh_json_number(f.bits_per_byte), "bits_per_character", lh_json_number(f.bits_per_character),
                  "nats_per_token", lh_json_number(f.nats_per_token), "word_perplexity",
                  lh_json_number(f.word_perplexity), "warm_bits_per_byte", lh_json_number(f.warm_bits_per_byte));
    if (root) {
        json_object_set_new(root, "state_bytes", json_integer((json_int_t)e->state_bytes));
        json_object_set_new(root, "heap_peak_bytes", json_integer((json_int_t)lh_heap_peak_bytes()));
        json_object_set_new(root, "by_position", positions_json(e->tally));
        if (e->tally->options.answers) {
            json_object_set_new(root, "accuracy", lh_json_number(f.accuracy));
            json_object_set_new(root, "chance", lh_json_number(f.chance));
            json_object_set_new(root, "by_distance", distances_json(e->tally));
        }
        json_object_set_new(root, "wall_seconds", json_real(wall));
    }
    return lh_stage_answer(root, answer, error);
}

lh_status lh_stage_evaluation(void *user, lh_string *answer, lh_error *error)
{
    reader r = {.stage = user};
    double started = lh_now();
    (void)snprintf(r.label, sizeof r.label, "%.90s reads", r.stage->label);
    lh_status status = open_all(&r, error);
    if (status == LH_OK) {
        status = evaluate(&r, error);
    }
    if (status == LH_OK) {
        status = tell(&r, lh_now() - started, answer, error);
    }
    lh_evaluation_free(&r.evaluation);
    lh_eval_corpus_free(r.corpus);
    lh_tokenizer_free(r.tokenizer);
    lh_model_free(r.model);
    return status;
}
