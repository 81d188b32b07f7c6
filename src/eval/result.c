#include "eval/result.h"

#include "formats/json_util.h"

#include <math.h>

static double ratio(double a, double b)
{
    return b > 0.0 ? a / b : NAN;
}

lh_eval_figures lh_eval_figures_of(const lh_evaluation *evaluation, const lh_eval_corpus *corpus,
                                   const lh_protocol *protocol, bool allow_skipped)
{
    const lh_tally *t = evaluation->tally;
    const double bit = log(2.0);
    lh_eval_figures f = {0};
    f.complete = evaluation->skipped == 0 && t->all.tokens == evaluation->total;
    f.official_words = corpus->published && corpus->published->words > 0;
    f.words = f.official_words ? corpus->published->words : corpus->totals.words;
    f.nats_per_token = ratio(t->all.nats, (double)t->all.tokens);
    f.bits_per_token = f.nats_per_token / bit;
    f.token_perplexity = exp(f.nats_per_token);
    /* The bytes of the text itself where all of it was scored; else the bytes that the scored tokens stand for. */
    double bytes = f.complete ? (double)corpus->totals.bytes : (double)t->all.bytes;
    double characters = bytes * ratio((double)corpus->totals.characters, (double)corpus->totals.bytes);
    f.bits_per_byte = ratio(t->all.nats / bit, bytes);
    f.bits_per_character = ratio(t->all.nats / bit, characters);
    f.accuracy = t->options.answers ? ratio((double)t->all.right, (double)t->all.tokens) : NAN;
    f.chance =
        t->options.answers && corpus->dataset && *corpus->dataset->facts.task ? corpus->dataset->facts.chance : NAN;
    bool once = t->all.tokens <= evaluation->total && protocol->kind != LH_PROTOCOL_OVERLAP;
    f.word_perplexity = once && (f.complete || allow_skipped) ? exp(ratio(t->all.nats, (double)f.words)) : NAN;
    f.warm_bits_per_byte = ratio(t->warm.nats / bit, (double)t->warm.bytes);
    f.warm_token_perplexity = exp(ratio(t->warm.nats, (double)t->warm.tokens));
    f.window_loss = protocol->kind == LH_PROTOCOL_OVERLAP ? ratio(t->window_losses, (double)t->windows) : NAN;
    f.chunk_perplexity =
        protocol->kind == LH_PROTOCOL_CHUNKMEAN ? ratio(t->chunk_perplexities, (double)t->chunk_tokens) : NAN;
    return f;
}

/* ---- text ---- */

static void print_protocol(lh_string *out, const lh_eval_options *o)
{
    lh_string_print(out, "P-%s", lh_protocol_name(o->protocol.kind));
    if (o->protocol.stride > 0) {
        lh_string_print(out, "(%lld,%lld)", (long long)o->protocol.window, (long long)o->protocol.stride);
    } else if (o->protocol.window > 0 || o->protocol.length > 0) {
        lh_string_print(out, "(%lld)", (long long)(o->protocol.window ? o->protocol.window : o->protocol.length));
    }
}

static const char *note_of(const lh_model *m)
{
    return m->memory_kind->note ? m->memory_kind->note(&m->shape) : NULL;
}

static void print_heading(lh_string *out, const lh_eval_heading *h)
{
    const lh_model *m = h->description;
    lh_string_print(out, "%s", h->model);
    if (h->step >= 0) {
        lh_string_print(out, " at step %lld", (long long)h->step);
    }
    lh_string_print(out, " on %s\n", h->corpus->name);
    print_protocol(out, h->options);
    lh_string_print(out, ", %lld %s, segments of %lld, memory %s", (long long)h->options->lanes,
                    h->options->lanes == 1 ? "lane" : "lanes", (long long)m->config.segment, m->memory_kind->name);
    if (lh_recipe_active(m->recipe, "memory.length")) {
        lh_string_print(out, " of %lld", (long long)lh_recipe_integer(m->recipe, "memory.length"));
    }
    if (lh_recipe_active(m->recipe, "memory.compressed")) {
        lh_string_print(out, " + %lld at rate %lld", (long long)lh_recipe_integer(m->recipe, "memory.compressed"),
                        (long long)lh_recipe_integer(m->recipe, "memory.rate"));
    }
    if (note_of(m)) {
        lh_string_print(out, "\n%s", note_of(m));
    }
    lh_string_print(out, "\n\n");
}

static void print_totals(lh_string *out, const lh_evaluation *e, const lh_eval_heading *h, const lh_eval_figures *f)
{
    const lh_tally *t = e->tally;
    lh_string_print(out, "loss          %16.3f nats (L)\n", t->all.nats);
    lh_string_print(out, "tokens        %16llu scored + %llu skipped = %llu\n", (unsigned long long)e->scored,
                    (unsigned long long)e->skipped, (unsigned long long)e->total);
    if (t->charged.tokens > 0) {
        lh_string_print(out, "              %16llu of them first tokens, charged ln(%lld) each\n",
                        (unsigned long long)t->charged.tokens, (long long)h->description->config.vocab);
    }
    if (t->all.tokens != e->scored) {
        lh_string_print(out, "              %16llu scores, since windows overlap\n",
                        (unsigned long long)t->all.tokens);
    }
    if (h->description->shape.source > 0) {
        lh_string_print(out, "sources cut   %16llu longer than the %lld tokens that the encoder reads\n",
                        (unsigned long long)e->sources_cut, (long long)h->description->shape.source);
    }
    lh_string_print(out, "words         %16llu %s\n", (unsigned long long)f->words,
                    f->official_words ? "official count" : "between white space, subset");
    lh_string_print(out, "bytes         %16llu\n", (unsigned long long)h->corpus->totals.bytes);
    lh_string_print(out, "characters    %16llu\n", (unsigned long long)h->corpus->totals.characters);
    lh_string_print(out, "documents     %16zu\n", h->corpus->document_count);
    lh_string_print(out, "tokenizer     %16s lossless=%s\n\n",
                    lh_tokenizer_kind_name(lh_tokenizer_get_kind(h->tokenizer)),
                    h->corpus->lossless ? "yes" : "no");
}

/* A task is no text: what counts is how many of its answers are right. */
static void print_answers(lh_string *out, const lh_tally *t, const lh_eval_figures *f)
{
    lh_string_print(out, "accuracy            %10.4f  (%llu of %llu answers", f->accuracy,
                    (unsigned long long)t->all.right, (unsigned long long)t->all.tokens);
    if (!isnan(f->chance)) {
        lh_string_print(out, "; guessing %.4g", f->chance);
    }
    lh_string_print(out, ")\nnats per answer     %10.4f\n", f->nats_per_token);
    lh_string_print(out, "answer perplexity   %10.4g\n", f->token_perplexity);
}

static void print_text_figures(lh_string *out, const lh_evaluation *e, const lh_eval_heading *h,
                               const lh_eval_figures *f)
{
    lh_string_print(out, "bits per byte       %10.4f\n", f->bits_per_byte);
    lh_string_print(out, "bits per character  %10.4f\n", f->bits_per_character);
    lh_string_print(out, "nats per token      %10.4f\n", f->nats_per_token);
    lh_string_print(out, "bits per token      %10.4f\n", f->bits_per_token);
    const char *note = note_of(h->description);
    lh_string_print(out, "token perplexity    %10.4g%s%s%s\n", f->token_perplexity, note ? "  (" : "",
                    note ? note : "", note ? ")" : "");
    if (!isnan(f->word_perplexity)) {
        lh_string_print(out, "word perplexity     %10.4g%s%s%s%s%s\n", f->word_perplexity,
                        f->official_words ? "" : "  (subset)",
                        f->complete ? "" : "  (although tokens were skipped)", note ? "  (" : "", note ? note : "",
                        note ? ")" : "");
    } else if (h->options->protocol.kind == LH_PROTOCOL_OVERLAP) {
        lh_string_print(out, "word perplexity     not given: tokens are scored several times\n");
    } else if (!f->complete) {
        lh_string_print(out, "word perplexity     not given: %llu tokens were skipped (--allow-skipped gives it)\n",
                        (unsigned long long)e->skipped);
    }
}

static void print_figures(lh_string *out, const lh_evaluation *e, const lh_eval_heading *h,
                          const lh_eval_figures *f)
{
    if (e->tally->options.answers) {
        print_answers(out, e->tally, f);
    } else {
        print_text_figures(out, e, h, f);
    }
    if (!isnan(f->window_loss)) {
        lh_string_print(out, "mean window loss    %10.4f  (perplexity %.4g)\n", f->window_loss,
                        exp(f->window_loss));
    }
    if (!isnan(f->chunk_perplexity)) {
        lh_string_print(out, "mean chunk perpl.   %10.4g  (an arithmetic mean: never below token perplexity)\n",
                        f->chunk_perplexity);
    }
    if (h->warm) {
        lh_string_print(out, "with full memories  %10.4f bits per byte, token perplexity %.4g, over %llu tokens\n",
                        f->warm_bits_per_byte, f->warm_token_perplexity, (unsigned long long)e->tally->warm.tokens);
    }
    if (e->seconds > 0.0) {
        lh_string_print(out, "\n%.1f s, %.0f tokens/s\n", e->seconds, (double)e->read / e->seconds);
    }
}

static void print_row(lh_string *out, const char *name, const lh_loss_sum *s)
{
    if (s->tokens > 0) {
        lh_string_print(out, "%-24.24s %12llu %12.4f %12.4f %12.4g\n", name, (unsigned long long)s->tokens,
                        ratio(s->nats / log(2.0), (double)s->bytes), s->nats / (double)s->tokens,
                        exp(s->nats / (double)s->tokens));
    }
}

static void print_header(lh_string *out, const char *what)
{
    lh_string_print(out, "\n%-24s %12s %12s %12s %12s\n", what, "tokens", "bits/byte", "nats/token", "perplexity");
}

static void print_positions(lh_string *out, const lh_tally *t)
{
    print_header(out, "position in document");
    for (int64_t i = 0; i < t->bin_count; i++) {
        char name[48];
        uint64_t start = lh_tally_bin_start(t, i), end = lh_tally_bin_start(t, i + 1);
        if (i == LH_POSITION_BINS - 1) {
            (void)snprintf(name, sizeof name, "from %llu", (unsigned long long)start);
        } else {
            (void)snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)start, (unsigned long long)end - 1);
        }
        print_row(out, name, &t->bins[i]);
    }
}

/* How far back what an answer repeats stands: the longest reach that a model has is where accuracy falls. */
static void print_distances(lh_string *out, const lh_tally *t)
{
    uint64_t known = 0; /* the targets of pairs repeat no one token */
    for (int i = 0; i < LH_DISTANCE_BINS; i++) {
        known += t->distances[i].tokens;
    }
    if (known == 0) {
        return;
    }
    lh_string_print(out, "\n%-24s %12s %12s %12s\n", "tokens back", "answers", "accuracy", "nats/answer");
    for (int i = 0; i < LH_DISTANCE_BINS; i++) {
        const lh_loss_sum *s = &t->distances[i];
        char name[48];
        (void)snprintf(name, sizeof name, i ? "%llu-%llu" : "%llu", 1ull << i, (2ull << i) - 1);
        if (s->tokens > 0) {
            lh_string_print(out, "%-24s %12llu %12.4f %12.4f\n", name, (unsigned long long)s->tokens,
                            (double)s->right / (double)s->tokens, s->nats / (double)s->tokens);
        }
    }
}

void lh_eval_print_text(lh_string *out, const lh_evaluation *evaluation, const lh_eval_heading *heading)
{
    const lh_tally *t = evaluation->tally;
    const lh_eval_corpus *corpus = heading->corpus;
    lh_eval_figures f = lh_eval_figures_of(evaluation, corpus, &heading->options->protocol, heading->allow_skipped);
    print_heading(out, heading);
    print_totals(out, evaluation, heading, &f);
    print_figures(out, evaluation, heading, &f);
    if (t->options.answers) {
        print_distances(out, t);
    }
    if (heading->by_position) {
        print_positions(out, t);
    }
    if (heading->frequencies) {
        print_header(out, "times in training");
        for (int i = 0; i < LH_FREQUENCY_BUCKETS; i++) {
            print_row(out, lh_tally_bucket_name(i), &t->buckets[i]);
        }
    }
    if (heading->by_document) {
        print_header(out, "document");
        for (size_t i = 0; i < corpus->document_count; i++) {
            print_row(out, corpus->documents[i].name, &t->documents[i]);
        }
    }
}

/* ---- JSON ---- */

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *sum_json(const lh_tally *t, const lh_loss_sum *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "nats", real(s->nats));
    json_object_set_new(o, "tokens", integer(s->tokens));
    json_object_set_new(o, "bytes", integer(s->bytes));
    json_object_set_new(o, "bits_per_byte", real(ratio(s->nats / log(2.0), (double)s->bytes)));
    json_object_set_new(o, "nats_per_token", real(ratio(s->nats, (double)s->tokens)));
    if (t->options.answers) {
        json_object_set_new(o, "right", integer(s->right));
        json_object_set_new(o, "accuracy", real(ratio((double)s->right, (double)s->tokens)));
    }
    return o;
}

static void set_figures(json_t *o, const lh_eval_figures *f)
{
    json_object_set_new(o, "bits_per_byte", real(f->bits_per_byte));
    json_object_set_new(o, "bits_per_character", real(f->bits_per_character));
    json_object_set_new(o, "nats_per_token", real(f->nats_per_token));
    json_object_set_new(o, "bits_per_token", real(f->bits_per_token));
    json_object_set_new(o, "token_perplexity", real(f->token_perplexity));
    json_object_set_new(o, "word_perplexity", real(f->word_perplexity));
    json_object_set_new(o, "mean_window_loss", real(f->window_loss));
    json_object_set_new(o, "mean_chunk_perplexity", real(f->chunk_perplexity));
    json_object_set_new(o, "complete", json_boolean(f->complete));
    json_object_set_new(o, "words", integer(f->words));
    json_object_set_new(o, "official_words", json_boolean(f->official_words));
}

static void set_protocol(json_t *o, const lh_eval_heading *h)
{
    const lh_eval_options *options = h->options;
    const lh_model *m = h->description;
    static const char *const firsts[] = {"charged", "skipped", "started"};
    json_object_set_new(o, "protocol", json_string(lh_protocol_name(options->protocol.kind)));
    json_object_set_new(o, "window", json_integer((json_int_t)options->protocol.window));
    json_object_set_new(o, "stride", json_integer((json_int_t)options->protocol.stride));
    json_object_set_new(o, "length", json_integer((json_int_t)options->protocol.length));
    json_object_set_new(o, "lanes", json_integer((json_int_t)options->lanes));
    json_object_set_new(o, "first_tokens", json_string(firsts[options->first]));
    json_object_set_new(o, "model", json_string(h->model));
    json_object_set_new(o, "step", h->step >= 0 ? json_integer((json_int_t)h->step) : json_null());
    json_object_set_new(o, "data", json_string(h->corpus->name));
    json_object_set_new(o, "memory", json_string(m->memory_kind->name));
    if (note_of(m)) {
        json_object_set_new(o, "note", json_string(note_of(m)));
    }
    json_object_set_new(o, "segment", json_integer((json_int_t)m->config.segment));
    json_object_set_new(o, "tokenizer", json_string(lh_tokenizer_kind_name(lh_tokenizer_get_kind(h->tokenizer))));
    json_object_set_new(o, "lossless", json_boolean(h->corpus->lossless));
}

static void set_totals(json_t *o, const lh_evaluation *e, const lh_eval_heading *h)
{
    if (h->description->shape.source > 0) {
        json_object_set_new(o, "sources_cut", json_integer((json_int_t)e->sources_cut));
    }
    const lh_eval_corpus *c = h->corpus;
    json_object_set_new(o, "nats", real(e->tally->all.nats));
    json_object_set_new(o, "tokens", integer(e->total));
    json_object_set_new(o, "scored", integer(e->scored));
    json_object_set_new(o, "skipped", integer(e->skipped));
    json_object_set_new(o, "scores", integer(e->tally->all.tokens));
    json_object_set_new(o, "charged", sum_json(e->tally, &e->tally->charged));
    json_object_set_new(o, "bytes", integer(c->totals.bytes));
    json_object_set_new(o, "characters", integer(c->totals.characters));
    json_object_set_new(o, "documents", integer(c->document_count));
    json_object_set_new(o, "seconds", real(e->seconds));
    json_object_set_new(o, "tokens_per_second", real(ratio((double)e->read, e->seconds)));
    json_object_set_new(o, "state_bytes", json_integer((json_int_t)e->state_bytes));
    if (h->warm) {
        json_object_set_new(o, "with_full_memories", sum_json(e->tally, &e->tally->warm));
    }
}

static void set_tables(json_t *o, const lh_evaluation *e, const lh_eval_heading *h)
{
    const lh_tally *t = e->tally;
    json_t *list = json_array();
    for (int64_t i = 0; i < t->bin_count && h->by_position; i++) {
        json_t *row = sum_json(t, &t->bins[i]);
        json_object_set_new(row, "from", integer(lh_tally_bin_start(t, i)));
        json_array_append_new(list, row);
    }
    if (h->by_position) {
        json_object_set(o, "by_position", list);
    }
    json_decref(list);
    list = json_array();
    for (size_t i = 0; i < h->corpus->document_count && h->by_document; i++) {
        json_t *row = sum_json(t, &t->documents[i]);
        json_object_set_new(row, "name", json_string(h->corpus->documents[i].name));
        json_object_set_new(row, "words", integer(h->corpus->documents[i].totals.words));
        json_array_append_new(list, row);
    }
    if (h->by_document) {
        json_object_set(o, "by_document", list);
    }
    json_decref(list);
    if (h->frequencies) {
        json_t *buckets = json_object();
        for (int i = 0; i < LH_FREQUENCY_BUCKETS; i++) {
            json_object_set_new(buckets, lh_tally_bucket_name(i), sum_json(t, &t->buckets[i]));
        }
        json_object_set_new(o, "by_frequency", buckets);
    }
}

static void set_answers(json_t *o, const lh_evaluation *e, const lh_eval_figures *f)
{
    const lh_tally *t = e->tally;
    json_t *list = json_array();
    json_object_set_new(o, "accuracy", real(f->accuracy));
    json_object_set_new(o, "right", integer(t->all.right));
    json_object_set_new(o, "chance", real(f->chance));
    for (int i = 0; i < LH_DISTANCE_BINS; i++) {
        if (t->distances[i].tokens > 0) {
            json_t *row = sum_json(t, &t->distances[i]);
            json_object_set_new(row, "from", integer((uint64_t)1 << i));
            json_array_append_new(list, row);
        }
    }
    json_object_set_new(o, "by_distance", list);
}

lh_status lh_eval_print_json(lh_string *out, const lh_evaluation *evaluation, const lh_eval_heading *heading,
                             lh_error *error)
{
    lh_eval_figures f =
        lh_eval_figures_of(evaluation, heading->corpus, &heading->options->protocol, heading->allow_skipped);
    json_t *root = json_object();
    if (!root) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the result");
    }
    set_protocol(root, heading);
    set_totals(root, evaluation, heading);
    set_figures(root, &f);
    if (evaluation->tally->options.answers) {
        set_answers(root, evaluation, &f);
    }
    set_tables(root, evaluation, heading);
    lh_json_dump(root, out);
    json_decref(root);
    return out->failed ? lh_fail(error, LH_E_MEMORY, "no memory for the result") : LH_OK;
}
