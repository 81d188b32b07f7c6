/* data prepare: text in, token shards out. */
#include "cli/data.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "data/pairs.h"
#include "data/prepare.h"

#include <stdio.h>
#include <string.h>

static const lh_option options[] = {
    {"layout", 'l', LH_OPTION_STRING, "KIND", "auto", "How the source is laid out",
     "auto|text|tree|jsonl|splits|pg19|enwik8|text8|wikitext-103|wikitext-2"},
    {"tokenizer", 't', LH_OPTION_STRING, "WHAT", NULL,
     "bytes, words, characters, or the path of a tokenizer (default: words for WikiText, else bytes)", NULL},
    {"split", 's', LH_OPTION_STRING, "SHARES", NULL,
     "Shares of train, validation and test like 90/5/5 (the default), or one of these names for everything", NULL},
    {"by", 0, LH_OPTION_STRING, "WHAT", "auto",
     "What the shares are of: bytes cuts a document at the border, documents keeps them whole",
     "auto|bytes|documents"},
    {"field", 0, LH_OPTION_STRING, "KEY", "text", "JSON Lines: the key of the text", NULL},
    {"pairs", 0, LH_OPTION_FLAG, NULL, NULL,
     "JSON Lines: each line is a source and its target, for models with an encoder", NULL},
    {"source-field", 0, LH_OPTION_STRING, "KEY", "article", "Pairs: the key of the source", NULL},
    {"target-field", 0, LH_OPTION_STRING, "KEY", "abstract", "Pairs: the key of the target", NULL},
    {"source-tokens", 0, LH_OPTION_INTEGER, "N", "0", "Pairs: keep the first N tokens of a source; 0: all", NULL},
    {"include", 0, LH_OPTION_STRING, "PATTERNS", NULL,
     "Folders: the names of files to take, such as '*.txt,*.c' (default: the usual text files)", NULL},
    {"end-documents", 0, LH_OPTION_FLAG, NULL, NULL, "Put the tokenizer's end-of-text token behind every document",
     NULL},
    {"enwik8-drop-lf", 0, LH_OPTION_FLAG, NULL, NULL,
     "Leave out line feeds of enwik8, as the data reader of Transformer-XL does", NULL},
    {"skip-empty", 0, LH_OPTION_FLAG, NULL, NULL, "Leave out empty files instead of failing", NULL},
    {"shard-size", 0, LH_OPTION_INTEGER, "BYTES", "1G", "Begin a new shard behind so many bytes of tokens", NULL},
    {"threads", 0, LH_OPTION_INTEGER, "N", "0", "Threads that encode; 0 takes all cores", NULL},
    {"out", 'o', LH_OPTION_STRING, "DIR", NULL, "The data set's folder, in place of DIR behind SOURCE", NULL},
    {"force", 'f', LH_OPTION_FLAG, NULL, NULL,
     "Replace a finished data set of other options; take benchmark files that are not the published ones", NULL},
    {0},
};

static bool watch(void *data, const char *phase, uint64_t done, uint64_t total)
{
    return lh_phase_line_update(data, phase, "B", done, total, NULL);
}

static lh_status show(const char *folder, lh_error *error)
{
    lh_dataset *dataset;
    lh_string text = {0};
    LH_TRY(lh_dataset_open(&dataset, folder, error));
    lh_describe_dataset(&text, dataset);
    lh_dataset_free(dataset);
    return lh_print_text(&text, error);
}

/* Which options make no sense with pairs. */
static lh_status check_pairs(const lh_command *command, lh_error *error)
{
    static const char *const others[] = {"layout", "by", "field", "include", "end-documents", "enwik8-drop-lf"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (lh_command_given(command, others[i])) {
            return lh_fail(error, LH_E_ARGUMENT, "--%s does not go with --pairs", others[i]);
        }
    }
    return lh_command_integer(command, "source-tokens") >= 0
               ? LH_OK
               : lh_fail(error, LH_E_ARGUMENT, "--source-tokens must not be negative");
}

static lh_status prepare_pairs(const lh_command *command, const char *source, const char *folder, lh_error *error)
{
    LH_TRY(check_pairs(command, error));
    lh_phase_line line = {0};
    lh_pairs_options chosen = {
        .source_field = lh_command_string(command, "source-field"),
        .target_field = lh_command_string(command, "target-field"),
        .split = lh_command_string(command, "split"),
        .tokenizer = lh_command_string(command, "tokenizer"),
        .source_tokens = lh_command_integer(command, "source-tokens"),
        .shard_bytes = (uint64_t)lh_command_integer(command, "shard-size"),
        .force = lh_command_flag(command, "force"),
        .watch = watch,
        .watch_data = &line,
    };
    lh_pairs_report report;
    lh_signals_install();
    lh_status status = lh_prepare_pairs(source, folder, &chosen, &report, error);
    lh_phase_line_finish(&line, NULL);
    if (status != LH_OK) {
        return status;
    }
    if (report.already) {
        (void)fprintf(stderr, "longhand: note: %s is complete already\n", folder);
        return show(folder, error);
    }
    (void)fprintf(stderr,
                  "longhand: note: %llu pairs; the longest source has %llu tokens, the longest target %llu\n",
                  (unsigned long long)report.pairs, (unsigned long long)report.longest_source,
                  (unsigned long long)report.longest_target);
    if (report.cut > 0) {
        (void)fprintf(stderr, "longhand: note: %llu sources were cut to their first %lld tokens\n",
                      (unsigned long long)report.cut, (long long)chosen.source_tokens);
    }
    if (report.alone > 0) {
        (void)fprintf(stderr, "longhand: note: %llu lines without source or without target were left out\n",
                      (unsigned long long)report.alone);
    }
    return show(folder, error);
}

static lh_status run_prepare(const lh_command *command, lh_error *error)
{
    const char *source = lh_command_operand(command, 0), *folder = lh_command_string(command, "out");
    if ((lh_command_operand_count(command) == 2) == lh_command_given(command, "out")) {
        return lh_fail(error, LH_E_ARGUMENT, "say once where the data set goes: longhand data prepare SOURCE DIR");
    }
    folder = folder ? folder : lh_command_operand(command, 1);
    int64_t shard = lh_command_integer(command, "shard-size"), threads = lh_command_integer(command, "threads");
    if (shard < 1 || threads < 0 || threads > 4096) {
        return lh_fail(error, LH_E_ARGUMENT, "--shard-size must be at least 1 and --threads from 0 to 4096");
    }
    if (lh_command_flag(command, "pairs")) {
        return prepare_pairs(command, source, folder, error);
    }
    lh_phase_line line = {0};
    lh_prepare_options chosen = {
        .input =
            {
                .layout = lh_command_string(command, "layout"),
                .field = lh_command_string(command, "field"),
                .include = lh_command_string(command, "include"),
                .split = lh_command_string(command, "split"),
                .by = lh_command_string(command, "by"),
                .force = lh_command_flag(command, "force"),
                .skip_empty = lh_command_flag(command, "skip-empty"),
                .drop_line_feeds = lh_command_flag(command, "enwik8-drop-lf"),
            },
        .tokenizer = lh_command_string(command, "tokenizer"),
        .end_documents = lh_command_flag(command, "end-documents"),
        .force = lh_command_flag(command, "force"),
        .shard_bytes = (uint64_t)shard,
        .threads = (int)threads,
        .watch = watch,
        .watch_data = &line,
    };
    lh_signals_install();
    lh_prepare_report report;
    lh_status status = lh_prepare(source, folder, &chosen, &report, error);
    lh_phase_line_finish(&line, report.resumed ? "(went on where it had stopped)" : NULL);
    lh_print_notes(&report.notes);
    if (status == LH_OK && report.already) {
        (void)fprintf(stderr, "longhand: note: %s is complete already\n", folder);
    }
    lh_string_free(&report.notes);
    return status == LH_OK ? show(folder, error) : status;
}

const lh_verb lh_verb_data_prepare = {
    .name = "data prepare",
    .summary = "Turn text into token shards",
    .operands = "SOURCE [DIR]",
    .description =
        "Reads SOURCE, cuts it into documents, encodes them, and writes the data set DIR: memory-mapped shards of "
        "tokens with the borders of the documents, the tokenizer, and dataset.json, which says what was done. "
        "SOURCE "
        "is a file, a folder, or - for standard input; files may be compressed with gzip, zstd or xz.\n\n"
        "Layouts:\n\n"
        "  text          one file, one document\n"
        "  tree          all text files below a folder, one document each\n"
        "  jsonl         one JSON object a line, one document each\n"
        "  splits        files or folders named train, valid and test\n"
        "  pg19          folders train, validation and test of <id>.txt, with metadata.csv\n"
        "  enwik8 text8  the 10^8 bytes, cut after 90 and 95 million; the checksum must fit\n"
        "  wikitext-103 wikitext-2   wiki.train.tokens and so on; words, with <eos> at each line's end\n\n"
        "The layout is found by names and contents unless it is given. Layouts without splits of their own are "
        "shared "
        "out by --split.\n\n"
        "With --pairs each line of SOURCE, JSON Lines or a folder of them, is a source and its target, such as an "
        "article and its abstract. A pair becomes a document, source, end-of-text token, target, end-of-text "
        "token, of which only the target and its end are scored. That takes a tokenizer with an end-of-text token, "
        "and begins anew if it is interrupted.\n\n"
        "Interrupted or killed, the same command goes on from the last checkpoint, and the result is the same to "
        "the "
        "byte. Memory does not grow with the input.",
    .examples = "longhand data prepare book.txt data/book\n    one book as bytes, 90/5/5\n"
                "longhand data prepare data/pg19 data/pg19-bpe --tokenizer tokenizer.json\n"
                "    PG-19 with a tokenizer of 'longhand tokenizer train'\n"
                "zcat corpus.jsonl.gz | longhand data prepare - data/corpus --layout jsonl --split train\n"
                "    JSON Lines from standard input\n"
                "longhand data prepare arxiv/ data/arxiv --pairs --tokenizer tokenizer.json\n"
                "    train.jsonl, valid.jsonl and test.jsonl of articles and abstracts",
    .min_operands = 1,
    .max_operands = 2,
    .options = options,
    .run = run_prepare,
};
