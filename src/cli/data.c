#include "cli/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool lh_phase_line_update(lh_phase_line *line, const char *label, const char *unit, uint64_t done, uint64_t total,
                          const char *note)
{
    if (strcmp(line->label, label) != 0) {
        lh_phase_line_finish(line, NULL);
        (void)snprintf(line->label, sizeof line->label, "%s", label);
        lh_progress_start(&line->progress, line->label, unit, total);
        line->drawn = true;
    }
    line->progress.total = total;
    lh_progress_update(&line->progress, done, note);
    return lh_signals_pending() == 0;
}

void lh_phase_line_finish(lh_phase_line *line, const char *note)
{
    if (line->drawn) {
        lh_progress_finish(&line->progress, note);
    }
    line->drawn = false;
    line->label[0] = '\0';
}

void lh_print_notes(const lh_string *notes)
{
    for (const char *at = notes->data; at && *at;) {
        size_t size = strcspn(at, "\n");
        (void)fprintf(stderr, "longhand: note: %.*s\n", (int)size, at);
        at += size + (at[size] == '\n');
    }
}

/* ---- tables ---- */

/* "6,966,499" */
static const char *grouped(char *buffer, uint64_t number)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, number), used = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0) {
            buffer[used++] = ',';
        }
        buffer[used++] = digits[i];
    }
    buffer[used] = '\0';
    return buffer;
}

static void add_row(lh_string *out, const char *name, uint64_t documents, uint64_t tokens,
                    const lh_text_totals *totals)
{
    char text[5][40];
    lh_string_print(out, "%-12s%12s%18s%17s%18s%18s", name, grouped(text[0], documents), grouped(text[1], tokens),
                    grouped(text[2], totals->words), grouped(text[3], totals->bytes),
                    grouped(text[4], totals->characters));
    if (totals->words > 0) {
        lh_string_print(out, "%12.4f%12.4f", (double)totals->bytes / (double)totals->words,
                        (double)tokens / (double)totals->words);
    }
    lh_string_append(out, "\n", 1);
}

static void add_published(lh_string *out, const lh_dataset *dataset, const lh_split *split)
{
    bool full;
    const lh_published *published = lh_dataset_published(dataset, split, &full);
    char text[40];
    if (!published) {
        return;
    }
    lh_string_print(out, "  %-12s", split->name);
    if (published->documents > 0) {
        lh_string_print(out, "%s documents, ", grouped(text, published->documents));
    }
    if (published->words > 0) {
        lh_string_print(out, "%s words, ", grouped(text, published->words));
    }
    if (published->tokens > 0) {
        lh_string_print(out, "%s tokens, ", grouped(text, published->tokens));
    }
    if (published->bytes > 0) {
        lh_string_print(out, "%s bytes, ", grouped(text, published->bytes));
    }
    lh_string_print(out, "(%s): this is %s\n", published->source, full ? "the full split" : "a subset");
}

static void add_answers(lh_string *out, const lh_dataset *dataset)
{
    const char *before = "\nanswers: ";
    for (int i = 0; i < LH_SPLITS; i++) {
        const lh_split *split = &dataset->splits[i];
        char text[40];
        if (split->answered) {
            lh_string_print(out, "%s%s of %s", before, grouped(text, split->answers), split->name);
            before = ", ";
        }
    }
    lh_string_print(out, "%s", *before == ',' ? "; only these are scored\n" : "");
}

void lh_describe_dataset(lh_string *out, const lh_dataset *dataset)
{
    const lh_dataset_facts *facts = &dataset->facts;
    lh_string_print(out, "data set   %s\nsource     %s (layout %s, split %s)\n", dataset->path, dataset->source,
                    facts->layout, facts->rule);
    lh_string_print(out, "tokenizer  %s, %" PRIu64 " ids, fingerprint %016" PRIx64 "%s%s\n", facts->tokenizer_kind,
                    facts->vocab_size, facts->fingerprint, facts->line_feeds_dropped ? ", line feeds dropped" : "",
                    facts->documents_ended ? ", end-of-text token behind every document" : "");
    if (*facts->task) {
        lh_string_print(out, "task       %s, %s, seed %" PRIu64 ", guessing is right %.4g%% of the time\n",
                        facts->task, facts->task_options, facts->task_seed, 100 * facts->chance);
    }
    lh_string_print(out, "\n%-12s%12s%18s%17s%18s%18s%12s%12s\n", "split", "documents", "tokens", "words", "bytes",
                    "characters", "bytes/word", "tokens/word");
    uint64_t documents = 0, tokens = 0;
    lh_text_totals totals = {0};
    int splits = 0;
    bool published = false, full;
    for (int i = 0; i < LH_SPLITS; i++) {
        const lh_split *split = &dataset->splits[i];
        if (split->part_count > 0) {
            add_row(out, split->name, split->documents, split->tokens, &split->totals);
            documents += split->documents;
            tokens += split->tokens;
            lh_text_totals_add(&totals, &split->totals);
            published = published || lh_dataset_published(dataset, split, &full);
            splits++;
        }
    }
    if (splits > 1) {
        add_row(out, "all", documents, tokens, &totals);
    }
    add_answers(out, dataset);
    if (totals.invalid > 0) {
        lh_string_print(out, "\n%" PRIu64 " bytes are not UTF-8\n", totals.invalid);
    }
    if (facts->empty_documents > 0) {
        lh_string_print(out, "\n%" PRIu64 " empty documents were left out\n", facts->empty_documents);
    }
    if (published) {
        lh_string_print(out, "\npublished:\n");
        for (int i = 0; i < LH_SPLITS; i++) {
            if (dataset->splits[i].part_count > 0) {
                add_published(out, dataset, &dataset->splits[i]);
            }
        }
    }
}
