/* An interrupted evaluation in a file: the session, the place in the corpus, and all sums. */
#include "base/memory.h"
#include "eval/run.h"

#include <stdio.h>
#include <string.h>

/* The sums of a tally that lie in the struct itself, in one piece. */
typedef struct saved_sums {
    lh_loss_sum all, charged, warm, bins[LH_POSITION_BINS], buckets[LH_FREQUENCY_BUCKETS];
    lh_loss_sum distances[LH_DISTANCE_BINS];
    double window_losses, chunk_perplexities;
    uint64_t windows, chunk_tokens, text, window, done, covered, read;
    int64_t bin_count;
} saved_sums;

/* What must be the same for an evaluation to go on. */
static lh_status describe(const lh_eval_run *run, lh_string *text, lh_error *error)
{
    const lh_eval_options *o = run->options;
    const lh_split *split = run->corpus->split;
    lh_string_print(text, "%s window %lld stride %lld length %lld lanes %lld first %d start %d bin %lld warm %llu ",
                    lh_protocol_name(o->protocol.kind), (long long)o->protocol.window,
                    (long long)o->protocol.stride, (long long)o->protocol.length, (long long)o->lanes,
                    (int)o->first, o->first == LH_FIRST_STARTED ? o->start_token : -1,
                    (long long)o->tally.position_bin, (unsigned long long)o->tally.warm);
    lh_string_print(text, "frequencies %d documents %llu tokens %llu bytes %llu words %llu",
                    o->tally.counts != NULL, (unsigned long long)split->documents,
                    (unsigned long long)split->tokens, (unsigned long long)run->corpus->totals.bytes,
                    (unsigned long long)run->corpus->totals.words);
    if (split->answered) {
        lh_string_print(text, " answers %llu%s", (unsigned long long)split->answers,
                        o->every_target ? " and all other tokens" : "");
    }
    return text->failed ? lh_fail(error, LH_E_MEMORY, "no memory to save the evaluation") : LH_OK;
}

static void gather(const lh_eval_run *run, saved_sums *s)
{
    const lh_tally *t = run->tally;
    memset(s, 0, sizeof *s);
    s->all = t->all;
    s->charged = t->charged;
    s->warm = t->warm;
    memcpy(s->bins, t->bins, sizeof s->bins);
    memcpy(s->buckets, t->buckets, sizeof s->buckets);
    memcpy(s->distances, t->distances, sizeof s->distances);
    s->window_losses = t->window_losses;
    s->chunk_perplexities = t->chunk_perplexities;
    s->windows = t->windows;
    s->chunk_tokens = t->chunk_tokens;
    s->text = run->text;
    s->window = run->window;
    s->done = run->done;
    s->covered = run->covered;
    s->read = run->read;
    s->bin_count = t->bin_count;
}

static void scatter(lh_eval_run *run, const saved_sums *s)
{
    lh_tally *t = run->tally;
    t->all = s->all;
    t->charged = s->charged;
    t->warm = s->warm;
    memcpy(t->bins, s->bins, sizeof s->bins);
    memcpy(t->buckets, s->buckets, sizeof s->buckets);
    memcpy(t->distances, s->distances, sizeof s->distances);
    t->window_losses = s->window_losses;
    t->chunk_perplexities = s->chunk_perplexities;
    t->windows = s->windows;
    t->chunk_tokens = s->chunk_tokens;
    run->text = s->text;
    run->window = s->window;
    run->done = s->done;
    run->covered = s->covered;
    run->read = s->read;
    t->bin_count = s->bin_count < 0 ? 0 : s->bin_count > LH_POSITION_BINS ? LH_POSITION_BINS : s->bin_count;
}

static lh_status add_stream(const lh_eval_run *run, lh_checkpoint_writer *writer, lh_error *error)
{
    if (!run->stream) {
        return LH_OK;
    }
    size_t size = lh_token_stream_state_size(run->stream);
    void *blob = lh_heap_alloc(size);
    if (!blob) {
        return lh_fail(error, LH_E_MEMORY, "no memory to save the evaluation");
    }
    lh_token_stream_save(run->stream, blob);
    lh_status status = lh_checkpoint_add_blob(writer, "eval.stream", blob, size, error);
    lh_heap_free(blob);
    return status;
}

static lh_status add_entries(void *user, lh_checkpoint_writer *writer, lh_error *error)
{
    const lh_eval_run *run = user;
    lh_string text = {0};
    saved_sums *sums = lh_heap_alloc(sizeof *sums);
    lh_status status = sums ? describe(run, &text, error) : lh_fail(error, LH_E_MEMORY, "no memory to save");
    if (status == LH_OK) {
        gather(run, sums);
        status = lh_checkpoint_add_text(writer, "evaluation", text.data, error);
    }
    if (status == LH_OK) {
        status = lh_checkpoint_add_blob(writer, "eval.sums", sums, sizeof *sums, error);
    }
    if (status == LH_OK) {
        size_t bytes = sizeof *run->tally->documents * (size_t)run->tally->document_count;
        status = lh_checkpoint_add_blob(writer, "eval.documents", run->tally->documents, bytes, error);
    }
    if (status == LH_OK) {
        size_t bytes = sizeof *run->before * (size_t)run->options->lanes;
        status = lh_checkpoint_add_blob(writer, "eval.before", run->before, bytes, error);
    }
    if (status == LH_OK) {
        status = add_stream(run, writer, error);
    }
    lh_heap_free(sums);
    lh_string_free(&text);
    return status;
}

lh_status lh_eval_run_save(lh_eval_run *run, const char *path, lh_error *error)
{
    return lh_session_save_with(run->session, path, add_entries, run, error);
}

static lh_status take_sums(lh_eval_run *run, const lh_checkpoint *file, lh_error *error)
{
    saved_sums *sums = lh_heap_alloc(sizeof *sums);
    if (!sums) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read the evaluation");
    }
    lh_status status = lh_checkpoint_load_blob(file, "eval.sums", sums, sizeof *sums, error);
    if (status == LH_OK) {
        scatter(run, sums);
    }
    lh_heap_free(sums);
    return status;
}

static lh_status take_entries(void *user, const lh_checkpoint *file, lh_error *error)
{
    lh_eval_run *run = user;
    lh_string text = {0};
    const char *saved = lh_safetensors_metadata(lh_checkpoint_file(file), "evaluation");
    LH_TRY(describe(run, &text, error));
    bool same = saved && strcmp(saved, text.data) == 0;
    lh_string_free(&text);
    if (!same) {
        return lh_fail(error, LH_E_CONFIG, "the file holds another evaluation (%s); remove it to begin anew",
                       saved ? saved : "none at all");
    }
    LH_TRY(take_sums(run, file, error));
    LH_TRY(lh_checkpoint_load_blob(file, "eval.documents", run->tally->documents,
                                   sizeof *run->tally->documents * (size_t)run->tally->document_count, error));
    LH_TRY(lh_checkpoint_load_blob(file, "eval.before", run->before,
                                   sizeof *run->before * (size_t)run->options->lanes, error));
    if (run->stream) {
        const void *blob;
        size_t size;
        LH_TRY(lh_checkpoint_blob(file, "eval.stream", &blob, &size, error));
        return lh_token_stream_restore(run->stream, blob, size, error);
    }
    return LH_OK;
}

lh_status lh_eval_run_restore(lh_eval_run *run, const char *path, lh_error *error)
{
    return lh_session_restore_with(run->session, path, take_entries, run, error);
}
