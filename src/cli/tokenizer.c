/* longhand tokenizer train | info */
#include "cli/tokenizer.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "data/count.h"
#include "text/train.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- train ---- */

static const lh_option train_options[] = {
    {"out", 'o', LH_OPTION_STRING, "PATH", "tokenizer.json", "Where to write it; a directory also gets the roles",
     NULL},
    {"kind", 'k', LH_OPTION_STRING, "KIND", "bpe", "What to make", "bpe|words|characters|subwords"},
    {"vocab-size", 'n', LH_OPTION_INTEGER, "N", NULL,
     "How many tokens, special ones included (bpe and subwords: 32768; words and characters: all)", NULL},
    {"min-frequency", 'm', LH_OPTION_INTEGER, "N", NULL,
     "Leave out what is seen less often (bpe: 2, counting pairs; else 1)", NULL},
    {"pattern", 'p', LH_OPTION_STRING, "PATTERN", "gpt2",
     "bpe: how text is cut before merging: gpt2, qwen2, llama3, or a regular expression", NULL},
    {"special", 's', LH_OPTION_STRING, "A,B,...", NULL,
     "Special tokens, parted by commas (bpe: <|endoftext|>, which ends documents; else none)", NULL},
    {"unknown", 'u', LH_OPTION_FLAG, NULL, NULL, "characters: add <unk> for characters that the text does not have",
     NULL},
    {"field", 0, LH_OPTION_STRING, "NAME", "text", "JSON Lines: the key of the text", NULL},
    {0},
};

static lh_tokenizer_kind kind_of(const char *name)
{
    for (int kind = 0; kind <= LH_TOKENIZER_SUBWORDS; kind++) {
        if (strcmp(name, lh_tokenizer_kind_name((lh_tokenizer_kind)kind)) == 0) {
            return (lh_tokenizer_kind)kind;
        }
    }
    return LH_TOKENIZER_BYTES;
}

/* A list parted by commas, in one block of memory: the pointers, then the text. */
static const char *const *split_list(const char *text)
{
    size_t count = 1, size = strlen(text) + 1;
    for (const char *at = text; *at; at++) {
        count += *at == ',';
    }
    char **list = lh_heap_alloc((count + 1) * sizeof *list + size);
    if (!list) {
        return NULL;
    }
    char *copy = memcpy(list + count + 1, text, size);
    size_t used = 0;
    for (char *rest = copy, *word; (word = strsep(&rest, ",")) != NULL;) {
        if (*word) {
            list[used++] = word;
        }
    }
    return (const char *const *)list;
}

static lh_status train_options_of(const lh_command *command, lh_train_options *options, lh_error *error)
{
    lh_tokenizer_kind kind = kind_of(lh_command_string(command, "kind"));
    bool learned = kind == LH_TOKENIZER_BPE || kind == LH_TOKENIZER_SUBWORDS;
    int64_t size = learned ? 32768 : 0;
    if (lh_command_given(command, "vocab-size")) {
        size = lh_command_integer(command, "vocab-size");
    }
    if (size < 0 || size > INT32_MAX) {
        return lh_fail(error, LH_E_ARGUMENT, "--vocab-size %" PRId64 ": no vocabulary has this size", size);
    }
    const char *special = lh_command_string(command, "special");
    if (!special) {
        special = kind == LH_TOKENIZER_BPE ? "<|endoftext|>" : "";
    }
    *options = (lh_train_options){
        .kind = kind,
        .vocab_size = (int32_t)size,
        .min_frequency = kind == LH_TOKENIZER_BPE ? 2 : 1,
        .pattern = lh_command_string(command, "pattern"),
        .special = split_list(special),
        .unknown = lh_command_flag(command, "unknown"),
    };
    if (lh_command_given(command, "min-frequency")) {
        options->min_frequency = lh_command_integer(command, "min-frequency");
    }
    return options->special ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for the special tokens");
}

typedef struct lh_training_text {
    lh_trainer *trainer;
    uint64_t bytes;
} lh_training_text;

static lh_status train_piece(void *data, const void *bytes, size_t size, lh_error *error)
{
    lh_training_text *text = data;
    text->bytes += size;
    return lh_trainer_feed(text->trainer, bytes, size, error);
}

static lh_status train_end(void *data, lh_error *error)
{
    return lh_trainer_finish_document(((lh_training_text *)data)->trainer, error);
}

static bool watch_training(void *data, uint64_t done, uint64_t total)
{
    lh_progress *progress = data;
    progress->total = total;
    lh_progress_update(progress, done, NULL);
    return !lh_signals_pending();
}

static lh_status build(lh_trainer *trainer, lh_tokenizer_kind kind, lh_tokenizer **tokenizer, lh_error *error)
{
    lh_progress progress;
    lh_progress_start(&progress, "build", kind == LH_TOKENIZER_SUBWORDS ? "rounds" : "tokens", 0);
    lh_status status = lh_trainer_build(trainer, watch_training, &progress, tokenizer, error);
    lh_progress_finish(&progress, NULL);
    return status;
}

static lh_status train_on(const lh_command *command, lh_trainer *trainer, lh_error *error)
{
    double started = lh_now();
    lh_training_text text = {trainer, 0};
    lh_input_sink sink = {train_piece, train_end, &text};
    lh_tokenizer *tokenizer;
    const char *out = lh_command_string(command, "out");
    LH_TRY(lh_corpora_read(command, lh_command_string(command, "field"), &sink, error));
    uint64_t distinct = lh_trainer_distinct(trainer);
    LH_TRY(build(trainer, kind_of(lh_command_string(command, "kind")), &tokenizer, error));
    lh_status status = lh_tokenizer_save(tokenizer, out, error);
    if (status == LH_OK) {
        char bytes[32], time[32];
        (void)printf("%s: %s, %" PRId32 " tokens from %s with %" PRIu64 " different %s, in %s\n", out,
                     lh_tokenizer_kind_name(lh_tokenizer_get_kind(tokenizer)), lh_tokenizer_vocab_size(tokenizer),
                     lh_format_bytes(bytes, sizeof bytes, (double)text.bytes), distinct,
                     lh_tokenizer_get_kind(tokenizer) == LH_TOKENIZER_CHARACTERS ? "characters" : "words",
                     lh_format_duration(time, sizeof time, lh_now() - started));
    }
    lh_tokenizer_free(tokenizer);
    return status;
}

static lh_status run_train(const lh_command *command, lh_error *error)
{
    lh_train_options options;
    lh_trainer *trainer = NULL;
    LH_TRY(train_options_of(command, &options, error));
    lh_status status = lh_trainer_create(&trainer, &options, error);
    lh_heap_free((void *)(uintptr_t)options.special);
    if (status == LH_OK) {
        status = train_on(command, trainer, error);
    }
    lh_trainer_free(trainer);
    return status;
}

const lh_verb lh_verb_tokenizer_train = {
    .name = "tokenizer train",
    .summary = "Learn a vocabulary from text",
    .operands = "FILE...",
    .description = "Reads text files (plain, gzip, zstd or xz; - is standard input), folders of them, JSON Lines, "
                   "or data sets in "
                   "their own layouts (of which only the training part counts), and writes a tokenizer that "
                   "longhand and other "
                   "programs read.\n\n"
                   "  bpe         byte-level byte pair encoding: any bytes there are and back\n"
                   "  words       words between white space, <eos> for the end of each line, <unk> for the rest\n"
                   "  characters  one token per character\n"
                   "  subwords    the tfds SubwordTextEncoder (written as a .subwords file)\n\n"
                   "The result depends on the text and the options only.",
    .examples = "longhand tokenizer train --vocab-size 32k --out books.json books/*.txt\n"
                "    byte pair encoding with 32,000 tokens\n"
                "longhand tokenizer train --kind words --out wikitext wiki.train.tokens\n"
                "    the closed vocabulary of WikiText, in the directory wikitext if there is one",
    .min_operands = 1,
    .max_operands = -1,
    .options = train_options,
    .run = run_train,
};

/* ---- info ---- */

static const lh_option info_options[] = {
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON", NULL},
    {0},
};

/* What a tokenizer does to texts. */
typedef struct lh_survey {
    const lh_tokenizer *tokenizer;
    lh_encoder *encoder;
    lh_decoder *decoder;
    lh_text_counter counter;
    lh_text_totals totals;
    uint64_t files, tokens, token_bytes, encode_nanoseconds;
    lh_ids ids;
    lh_string expected, decoded; /* text that is still to be compared */
    bool same;
} lh_survey;

static lh_status survey_ids(lh_survey *survey, lh_error *error)
{
    for (size_t i = 0; i < survey->ids.size; i++) {
        survey->token_bytes += lh_tokenizer_token_length(survey->tokenizer, survey->ids.data[i]);
        LH_TRY(lh_decoder_feed(survey->decoder, survey->ids.data[i], &survey->decoded, error));
    }
    survey->tokens += survey->ids.size;
    lh_ids_clear(&survey->ids);
    return LH_OK;
}

/* Compares what both sides have, and keeps the rest. */
static void compare(lh_survey *survey, bool end)
{
    lh_string *a = &survey->expected, *b = &survey->decoded;
    size_t size = a->size < b->size ? a->size : b->size;
    survey->same = survey->same && (size == 0 || memcmp(a->data, b->data, size) == 0);
    if (end) {
        survey->same = survey->same && a->size == b->size;
        lh_string_clear(a);
        lh_string_clear(b);
        return;
    }
    if (!survey->same) {
        size = 0;
        lh_string_clear(a);
        lh_string_clear(b);
    }
    lh_string *both[] = {a, b};
    for (int i = 0; i < 2 && size > 0; i++) {
        memmove(both[i]->data, both[i]->data + size, both[i]->size - size);
        both[i]->size -= size;
    }
}

static lh_status survey_piece(void *data, const void *bytes, size_t size, lh_error *error)
{
    lh_survey *survey = data;
    double started = lh_now();
    LH_TRY(lh_encoder_feed(survey->encoder, bytes, size, &survey->ids, error));
    survey->encode_nanoseconds += (uint64_t)(1e9 * (lh_now() - started));
    LH_TRY(survey_ids(survey, error));
    lh_text_counter_feed(&survey->counter, bytes, size);
    lh_string_append(&survey->expected, bytes, size);
    if (survey->expected.failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory to compare texts");
    }
    compare(survey, false);
    return LH_OK;
}

static lh_status survey_end(void *data, lh_error *error)
{
    lh_survey *survey = data;
    LH_TRY(lh_encoder_finish(survey->encoder, &survey->ids, error));
    LH_TRY(survey_ids(survey, error));
    LH_TRY(lh_decoder_finish(survey->decoder, &survey->decoded, error));
    compare(survey, true);
    lh_text_counter_finish(&survey->counter);
    lh_text_totals_add(&survey->totals, &survey->counter.totals);
    survey->counter = (lh_text_counter){0};
    survey->files++;
    return LH_OK;
}

static void print_token(lh_string *out, const lh_tokenizer *tokenizer, int32_t id)
{
    size_t size;
    const unsigned char *bytes = lh_tokenizer_token(tokenizer, id, &size);
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < 0x20 || bytes[i] == 0x7f) {
            lh_string_print(out, "\\x%02x", (unsigned)bytes[i]);
        } else {
            lh_string_append(out, bytes + i, 1);
        }
    }
}

static void print_json_token(lh_string *out, const lh_tokenizer *tokenizer, int32_t id)
{
    size_t size;
    const unsigned char *bytes = lh_tokenizer_token(tokenizer, id, &size);
    lh_string_print(out, "\"");
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < 0x20 || bytes[i] == '"' || bytes[i] == '\\') {
            lh_string_print(out, "\\u%04x", (unsigned)bytes[i]);
        } else {
            lh_string_append(out, bytes + i, 1);
        }
    }
    lh_string_print(out, "\"");
}

static double ratio(uint64_t a, uint64_t b)
{
    return b > 0 ? (double)a / (double)b : 0;
}

static void describe(lh_string *out, const lh_tokenizer *tokenizer)
{
    size_t longest = 0;
    int32_t special = 0;
    for (int32_t id = 0; id < lh_tokenizer_vocab_size(tokenizer); id++) {
        size_t size;
        (void)lh_tokenizer_token(tokenizer, id, &size);
        longest = size > longest ? size : longest;
        special += lh_tokenizer_is_special(tokenizer, id);
    }
    lh_string_print(out, "kind           %s\n", lh_tokenizer_kind_name(lh_tokenizer_get_kind(tokenizer)));
    lh_string_print(out, "tokens         %" PRId32 ", of these %" PRId32 " special\n",
                    lh_tokenizer_vocab_size(tokenizer), special);
    lh_string_print(out, "longest        %zu bytes\n", longest);
    lh_string_print(out, "lossless       %s\n", lh_tokenizer_lossless(tokenizer) ? "yes" : "not by construction");
    lh_string_print(out, "fingerprint    %016" PRIx64 "\n", lh_tokenizer_fingerprint(tokenizer));
    for (int role = 0; role < LH_TOKEN_ROLES; role++) {
        int32_t id = lh_tokenizer_role(tokenizer, (lh_token_role)role);
        if (id != LH_NO_TOKEN) {
            lh_string_print(out, "%-14s %" PRId32 " ", lh_role_names[role], id);
            print_token(out, tokenizer, id);
            lh_string_print(out, "\n");
        }
    }
}

static void describe_survey(lh_string *out, const lh_survey *survey)
{
    const lh_text_totals *totals = &survey->totals;
    lh_string_print(out, "\nfiles          %" PRIu64 "\nbytes          %" PRIu64 "\nwords          %" PRIu64 "\n",
                    survey->files, totals->bytes, totals->words);
    lh_string_print(out, "tokens         %" PRIu64 "\n", survey->tokens);
    lh_string_print(out, "bytes/token    %.4f\ntokens/word    %.4f\n", ratio(totals->bytes, survey->tokens),
                    ratio(survey->tokens, totals->words));
    lh_string_print(out, "comes back     %s\n", survey->same ? "yes, every byte" : "no");
    lh_string_print(out, "encoding       %.1f MB/s\n", 1e3 * ratio(totals->bytes, survey->encode_nanoseconds));
}

static void describe_json(lh_string *out, const lh_tokenizer *tokenizer, const lh_survey *survey)
{
    lh_string_print(
        out, "{\"kind\": \"%s\", \"tokens\": %" PRId32 ", \"lossless\": %s, \"fingerprint\": \"%016" PRIx64 "\"",
        lh_tokenizer_kind_name(lh_tokenizer_get_kind(tokenizer)), lh_tokenizer_vocab_size(tokenizer),
        lh_tokenizer_lossless(tokenizer) ? "true" : "false", lh_tokenizer_fingerprint(tokenizer));
    for (int role = 0; role < LH_TOKEN_ROLES; role++) {
        int32_t id = lh_tokenizer_role(tokenizer, (lh_token_role)role);
        if (id != LH_NO_TOKEN) {
            lh_string_print(out, ", \"%s\": {\"id\": %" PRId32 ", \"text\": ", lh_role_names[role], id);
            print_json_token(out, tokenizer, id);
            lh_string_print(out, "}");
        }
    }
    if (survey) {
        lh_string_print(out,
                        ", \"text\": {\"files\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"words\": %" PRIu64
                        ", \"tokens\": %" PRIu64 ", \"bytes_per_token\": %.6f, \"tokens_per_word\": %.6f, "
                        "\"comes_back\": %s}",
                        survey->files, survey->totals.bytes, survey->totals.words, survey->tokens,
                        ratio(survey->totals.bytes, survey->tokens), ratio(survey->tokens, survey->totals.words),
                        survey->same ? "true" : "false");
    }
    lh_string_print(out, "}\n");
}

static lh_status survey_files(const lh_command *command, lh_survey *survey, lh_error *error)
{
    lh_inputs inputs;
    LH_TRY(lh_encoder_create(&survey->encoder, survey->tokenizer, 0, error));
    LH_TRY(lh_decoder_create(&survey->decoder, survey->tokenizer, 0, error));
    LH_TRY(lh_inputs_open(&inputs, command, 1, error));
    lh_input_sink sink = {survey_piece, survey_end, survey};
    lh_status status = lh_inputs_read(&inputs, "encode", &sink, error);
    lh_inputs_free(&inputs);
    return status;
}

static lh_status run_info(const lh_command *command, lh_error *error)
{
    lh_tokenizer *tokenizer;
    LH_TRY(lh_tokenizer_open(&tokenizer, lh_command_operand(command, 0), error));
    lh_survey survey = {.tokenizer = tokenizer, .same = true};
    bool texts = lh_command_operand_count(command) > 1;
    lh_status status = texts ? survey_files(command, &survey, error) : LH_OK;
    if (status == LH_OK) {
        lh_string out = {0};
        if (lh_command_flag(command, "json")) {
            describe_json(&out, tokenizer, texts ? &survey : NULL);
        } else {
            describe(&out, tokenizer);
            if (texts) {
                describe_survey(&out, &survey);
            }
        }
        status = lh_print_text(&out, error);
    }
    lh_encoder_free(survey.encoder);
    lh_decoder_free(survey.decoder);
    lh_ids_free(&survey.ids);
    lh_string_free(&survey.expected);
    lh_string_free(&survey.decoded);
    lh_tokenizer_free(tokenizer);
    return status;
}

const lh_verb lh_verb_tokenizer_info = {
    .name = "tokenizer info",
    .summary = "Say what a tokenizer is and what it does to texts",
    .operands = "TOKENIZER [FILE...]",
    .description =
        "Prints the kind, the size, the tokens with a task, and the fingerprint by which shards and models "
        "know their tokenizer. With files, encodes them and prints how many tokens they have, and decodes "
        "them again to see whether every byte comes back.\n\n"
        "TOKENIZER is a tokenizer.json, a .subwords file, a directory with one of them or with GPT-2's "
        "encoder.json and vocab.bpe, or the word bytes.",
    .examples = "longhand tokenizer info books.json\n    kind, size, special tokens\n"
                "longhand tokenizer info books.json book.txt\n    bytes per token, and whether the text comes back",
    .min_operands = 1,
    .max_operands = -1,
    .options = info_options,
    .run = run_info,
};
