/* data info: what is in a data set. */
#include "cli/data.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "formats/json_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const lh_option options[] = {
    {"documents", 'd', LH_OPTION_FLAG, NULL, NULL, "List every document with its counts", NULL},
    {"split", 's', LH_OPTION_STRING, "NAME", NULL, "Only this split's documents", NULL},
    {"verify", 0, LH_OPTION_FLAG, NULL, NULL, "Read all tokens and check the checksums", NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON instead of tables", NULL},
    {0},
};

static bool watch(void *data, uint64_t done, uint64_t total)
{
    return lh_phase_line_update(data, "verify", "B", done, total, NULL);
}

/* ---- text ---- */

static void list_documents(lh_string *out, const lh_split *split)
{
    lh_string_print(out, "\n%s\n%10s%14s%13s%14s%14s  name\n", split->name, "document", "tokens", "words", "bytes",
                    "characters");
    for (uint64_t i = 0; i < split->documents; i++) {
        lh_document document = lh_split_document(split, i);
        lh_string_print(out, "%10" PRIu64 "%14" PRIu64 "%13" PRIu64 "%14" PRIu64 "%14" PRIu64 "  %.*s", i,
                        document.tokens, document.totals.words, document.totals.bytes, document.totals.characters,
                        (int)document.name_size, document.name);
        if (document.label_size > 0) {
            lh_string_print(out, "  %.*s", (int)document.label_size, document.label);
        }
        lh_string_append(out, "\n", 1);
    }
}

/* ---- JSON ---- */

static void add_totals(lh_string *out, uint64_t tokens, const lh_text_totals *totals)
{
    lh_string_print(out,
                    "\"tokens\": %" PRIu64 ", \"words\": %" PRIu64 ", \"bytes\": %" PRIu64
                    ", \"characters\": %" PRIu64 ", \"invalid_bytes\": %" PRIu64,
                    tokens, totals->words, totals->bytes, totals->characters, totals->invalid);
}

static void add_documents(lh_string *out, const lh_split *split)
{
    lh_string_print(out, ",\n      \"document_list\": [");
    for (uint64_t i = 0; i < split->documents; i++) {
        lh_document document = lh_split_document(split, i);
        lh_string_print(out, "%s\n        {\"name\": ", i ? "," : "");
        lh_json_append_string(out, document.name, document.name_size);
        lh_string_print(out, ", \"label\": ");
        lh_json_append_string(out, document.label, document.label_size);
        lh_string_print(out, ", ");
        add_totals(out, document.tokens, &document.totals);
        lh_string_print(out, "}");
    }
    lh_string_print(out, "\n      ]");
}

static void add_published(lh_string *out, const lh_dataset *dataset, const lh_split *split)
{
    bool full;
    const lh_published *published = lh_dataset_published(dataset, split, &full);
    if (published) {
        lh_string_print(out,
                        ",\n      \"full\": %s,\n      \"published\": {\"documents\": %" PRIu64
                        ", \"words\": %" PRIu64 ", \"tokens\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"source\": ",
                        full ? "true" : "false", published->documents, published->words, published->tokens,
                        published->bytes);
        lh_json_append_string(out, published->source, strlen(published->source));
        lh_string_print(out, "}");
    }
}

static bool wants_documents(const lh_command *command, const lh_split *only, const lh_split *split)
{
    return lh_command_flag(command, "documents") && (!only || only == split);
}

static void add_task(lh_string *out, const lh_dataset_facts *facts)
{
    char chance[LH_JSON_REAL_SIZE];
    if (!*facts->task) {
        return;
    }
    lh_string_print(out, "  \"task\": {\"name\": ");
    lh_json_append_string(out, facts->task, strlen(facts->task));
    lh_string_print(out, ", \"options\": ");
    lh_json_append_string(out, facts->task_options, strlen(facts->task_options));
    lh_string_print(out, ", \"seed\": %" PRIu64 ", \"chance\": %s},\n", facts->task_seed,
                    lh_json_format_real(chance, facts->chance));
}

static void write_json(lh_string *out, const lh_dataset *dataset, const lh_command *command, const lh_split *only)
{
    const lh_dataset_facts *facts = &dataset->facts;
    lh_string_print(out, "{\n  \"path\": ");
    lh_json_append_string(out, dataset->path, strlen(dataset->path));
    lh_string_print(out, ",\n  \"source\": ");
    lh_json_append_string(out, dataset->source, strlen(dataset->source));
    lh_string_print(out,
                    ",\n  \"layout\": \"%s\",\n  \"split\": \"%s\",\n  \"line_feeds_dropped\": %s,\n"
                    "  \"documents_ended\": %s,\n  \"empty_documents\": %" PRIu64 ",\n",
                    facts->layout, facts->rule, facts->line_feeds_dropped ? "true" : "false",
                    facts->documents_ended ? "true" : "false", facts->empty_documents);
    lh_string_print(out,
                    "  \"tokenizer\": {\"kind\": \"%s\", \"vocabulary\": %" PRIu64
                    ", \"fingerprint\": \"%016" PRIx64 "\"},\n",
                    facts->tokenizer_kind, facts->vocab_size, facts->fingerprint);
    add_task(out, facts);
    lh_string_print(out, "  \"splits\": {");
    bool first = true;
    for (int i = 0; i < LH_SPLITS; i++) {
        const lh_split *split = &dataset->splits[i];
        if (split->part_count == 0) {
            continue;
        }
        lh_string_print(out, "%s\n    \"%s\": {\n      \"shards\": %zu, \"documents\": %" PRIu64 ", ",
                        first ? "" : ",", split->name, split->part_count, split->documents);
        add_totals(out, split->tokens, &split->totals);
        if (split->answered) {
            lh_string_print(out, ", \"answers\": %" PRIu64, split->answers);
        }
        add_published(out, dataset, split);
        if (wants_documents(command, only, split)) {
            add_documents(out, split);
        }
        lh_string_print(out, "\n    }");
        first = false;
    }
    lh_string_print(out, "\n  }\n}\n");
}

static lh_status describe(const lh_command *command, const lh_dataset *dataset, lh_error *error)
{
    const char *name = lh_command_string(command, "split");
    const lh_split *only = NULL;
    if (name) {
        LH_TRY(lh_dataset_split(dataset, name, &only, error));
    }
    if (lh_command_flag(command, "verify")) {
        lh_phase_line line = {0};
        lh_signals_install();
        lh_status status = lh_dataset_verify(dataset, watch, &line, error);
        lh_phase_line_finish(&line, status == LH_OK ? "all checksums fit" : NULL);
        LH_TRY(status);
    }
    lh_string text = {0};
    if (lh_command_flag(command, "json")) {
        write_json(&text, dataset, command, only);
        return lh_print_text(&text, error);
    }
    lh_describe_dataset(&text, dataset);
    for (int i = 0; i < LH_SPLITS; i++) {
        const lh_split *split = &dataset->splits[i];
        if (split->part_count > 0 && wants_documents(command, only, split)) {
            list_documents(&text, split);
        }
    }
    return lh_print_text(&text, error);
}

static lh_status run_info(const lh_command *command, lh_error *error)
{
    lh_dataset *dataset;
    LH_TRY(lh_dataset_open(&dataset, lh_command_operand(command, 0), error));
    lh_status status = describe(command, dataset, error);
    lh_dataset_free(dataset);
    return status;
}

const lh_verb lh_verb_data_info = {
    .name = "data info",
    .summary = "Count what is in a prepared data set",
    .operands = "DIR",
    .description =
        "Prints documents, tokens, words, bytes and characters of each split. Words are runs of characters between "
        "white space. Beside the splits of known benchmarks stand the published totals, with the remark whether "
        "this "
        "is the full split or a subset: word-level perplexity of a full PG-19 split divides by the published "
        "words.\n\n"
        "Opening always checks headers, document tables and sizes; --verify also reads every token.",
    .examples = "longhand data info data/pg19-bytes\n    the totals of each split\n"
                "longhand data info data/pg19-bytes --documents --split test\n    every test book\n"
                "longhand data info data/pg19-bytes --verify --json\n    checks everything, prints JSON",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
    .run = run_info,
};
