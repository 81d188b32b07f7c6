#include "base/memory.h"
#include "base/progress.h"
#include "cli/internal.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "data/reader.h"
#include "formats/json_util.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const lh_option options[] = {
    {"prompt", 'p', LH_OPTION_STRING, "TEXT", NULL, "The text to continue", NULL},
    {"prompt-file", 'f', LH_OPTION_STRING, "FILE", NULL,
     "The text to continue, of any length, plain or compressed; - is standard input", NULL},
    {"source", 0, LH_OPTION_STRING, "TEXT", NULL, "With an encoder: the text to write beside, such as an article",
     NULL},
    {"source-file", 0, LH_OPTION_STRING, "FILE", NULL,
     "With an encoder: the file of that text, plain or compressed; - is standard input", NULL},
    {"tokens", 'n', LH_OPTION_INTEGER, "N", "200", "How many tokens to write", NULL},
    {"temperature", 't', LH_OPTION_REAL, "X", "1",
     "Below 1: nearer to the most probable; 0: always the most probable", NULL},
    {"top-k", 0, LH_OPTION_INTEGER, "K", "0", "Only the K most probable tokens; 0: all", NULL},
    {"top-p", 0, LH_OPTION_REAL, "P", "1", "Only the most probable tokens that hold this share together", NULL},
    {"min-p", 0, LH_OPTION_REAL, "P", "0", "Only tokens at least this fraction as probable as the best", NULL},
    {"repetition-penalty", 0, LH_OPTION_REAL, "X", "1", "Above 1: recent tokens become less probable", NULL},
    {"repetition-window", 0, LH_OPTION_INTEGER, "N", "64", "How many recent tokens that concerns", NULL},
    {"seed", 's', LH_OPTION_INTEGER, "N", "0", "Which random numbers to draw", NULL},
    {"stop", 0, LH_OPTION_STRING, "TEXT", NULL, "End before this text", NULL},
    {"ignore-end", 0, LH_OPTION_FLAG, NULL, NULL, "Go on behind the end-of-text token", NULL},
    {"decode", 0, LH_OPTION_STRING, "HOW", "segment",
     "How a compressive memory moves: with whole segments as in training, or with every token",
     "segment|official_step|step_aligned"},
    {"overlap", 0, LH_OPTION_INTEGER, "N", NULL,
     "Without memory, or with a Perceiver's: tokens to read again when a segment is full (default: half of it)",
     NULL},
    {"class", 0, LH_OPTION_INTEGER, "N", NULL, "Of an image, for models with memory.classes: read in front of it",
     NULL},
    {"save-session", 0, LH_OPTION_STRING, "FILE", NULL, "Save what was read and written, to go on later", NULL},
    {"load-session", 0, LH_OPTION_STRING, "FILE", NULL, "Go on from a saved session", NULL},
    {"checkpoint", 0, LH_OPTION_STRING, "WHICH", NULL,
     "model, best, latest or a step (default: the first there is)", NULL},
    {"threads", 0, LH_OPTION_INTEGER, "N", "0", "Threads; 0: all", NULL},
    {"echo", 'e', LH_OPTION_FLAG, NULL, NULL, "Print the prompt, too", NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print one JSON object at the end", NULL},
    {0},
};

typedef struct task {
    const lh_command *command;
    longhand_model *model;
    longhand_session *session;
    longhand_generator *generator;
    bool json, echo, terminal;
    lh_string text;   /* everything written, for JSON */
    const char *why;  /* it ended */
    const char *note; /* to be said beside the text, or NULL */
    double read_seconds, write_seconds;
} task;

/* Bytes that are no UTF-8 would upset a terminal: there they become U+FFFD. Elsewhere the bytes go out as they are.
 */
static void put(const task *t, const char *bytes, size_t size)
{
    for (size_t at = 0; t->terminal && at < size;) {
        size_t valid = lh_utf8_valid_prefix((const unsigned char *)bytes + at, size - at);
        (void)fwrite(bytes + at, 1, valid, stdout);
        at += valid;
        if (at < size) {
            (void)fputs("\xef\xbf\xbd", stdout);
            at++;
        }
    }
    if (!t->terminal) {
        (void)fwrite(bytes, 1, size, stdout);
    }
    (void)fflush(stdout);
}

static lh_status read_piece(task *t, const char *bytes, size_t size, lh_error *error)
{
    if (t->echo && !t->json) {
        put(t, bytes, size);
    }
    return longhand_generator_read(t->generator, bytes, size, error);
}

static uint64_t file_size(const char *path)
{
    struct stat about;
    return strcmp(path, "-") != 0 && stat(path, &about) == 0 && S_ISREG(about.st_mode) ? (uint64_t)about.st_size
                                                                                       : 0;
}

#define READ_PIECE ((size_t)16 << 10)

static lh_status read_file(task *t, const char *path, lh_error *error)
{
    lh_reader *reader;
    lh_progress progress;
    LH_TRY(lh_reader_open(&reader, path, error));
    char *buffer = lh_heap_alloc(READ_PIECE);
    lh_status status = buffer ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to read the prompt");
    uint64_t total = file_size(path);
    bool show = total > 4 * READ_PIECE || total == 0;
    if (show) {
        lh_progress_start(&progress, "reading", "B", total);
    }
    size_t got = READ_PIECE;
    while (status == LH_OK && got == READ_PIECE && !lh_signals_pending()) {
        status = lh_reader_read(reader, buffer, READ_PIECE, &got, error);
        if (status == LH_OK) {
            status = read_piece(t, buffer, got, error);
        }
        if (show) {
            char note[64];
            (void)snprintf(note, sizeof note, "%lld tokens",
                           (long long)longhand_generator_tokens_read(t->generator));
            lh_progress_update(&progress, lh_reader_consumed(reader), note);
        }
    }
    if (show) {
        lh_progress_finish(&progress, NULL);
    }
    lh_heap_free(buffer);
    lh_reader_free(reader);
    return status;
}

/* All of a file. */
static lh_status read_whole(const char *path, lh_string *text, lh_error *error)
{
    char buffer[16384];
    size_t got = sizeof buffer;
    lh_reader *reader;
    LH_TRY(lh_reader_open(&reader, path, error));
    lh_status status = LH_OK;
    while (status == LH_OK && got == sizeof buffer && !lh_signals_pending()) {
        status = lh_reader_read(reader, buffer, sizeof buffer, &got, error);
        lh_string_append(text, buffer, status == LH_OK ? got : 0);
    }
    lh_reader_free(reader);
    return status == LH_OK && text->failed ? lh_fail(error, LH_E_MEMORY, "no memory to read %s", path) : status;
}

/* What a model with an encoder writes beside. */
static lh_status read_source(task *t, const longhand_model_info *info, lh_error *error)
{
    const char *given = lh_command_string(t->command, "source");
    const char *path = lh_command_string(t->command, "source-file");
    lh_string text = {0};
    int64_t cut = 0;
    if (given && path) {
        return lh_fail(error, LH_E_ARGUMENT, "give --source or --source-file, not both");
    }
    if (!given && !path) {
        return info->source > 0 && !lh_command_given(t->command, "load-session")
                   ? lh_fail(error, LH_E_ARGUMENT,
                             "this model has an encoder and writes beside a source: give --source-file or --source")
                   : LH_OK;
    }
    if (lh_command_given(t->command, "load-session")) {
        return lh_fail(error, LH_E_ARGUMENT, "a saved session has its source: --load-session takes no other");
    }
    double start = lh_now();
    lh_status status = path ? read_whole(path, &text, error) : LH_OK;
    if (status == LH_OK) {
        status = given ? longhand_generator_source(t->generator, given, strlen(given), &cut, error)
                       : longhand_generator_source(t->generator, text.data, text.size, &cut, error);
    }
    lh_string_free(&text);
    t->read_seconds = lh_now() - start;
    if (status == LH_OK && cut > 0) {
        (void)fprintf(stderr,
                      "generate: the source is longer than the %lld tokens that the encoder reads: %lld are cut\n",
                      (long long)info->source, (long long)cut);
    }
    return status;
}

static lh_status read_prompt(task *t, lh_error *error)
{
    const char *text = lh_command_string(t->command, "prompt");
    const char *path = lh_command_string(t->command, "prompt-file");
    double start = lh_now();
    if (path) {
        LH_TRY(read_file(t, path, error));
    }
    if (text) {
        LH_TRY(read_piece(t, text, strlen(text), error));
    }
    t->read_seconds += lh_now() - start;
    return LH_OK;
}

static bool take(void *user, const longhand_piece *piece)
{
    task *t = user;
    if (t->json) {
        lh_string_append(&t->text, piece->text, piece->text_size);
    } else {
        put(t, piece->text, piece->text_size);
    }
    return t->text.failed || lh_signals_pending();
}

static lh_status write_on(task *t, lh_error *error)
{
    bool ended;
    double start = lh_now();
    int64_t tokens = lh_signals_pending() ? 0 : lh_command_integer(t->command, "tokens");
    LH_TRY(longhand_generator_write(t->generator, tokens, take, t, &ended, error));
    t->why = ended ? "end" : lh_signals_pending() ? "interrupted" : "tokens";
    t->write_seconds = lh_now() - start;
    return t->text.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the text that is written") : LH_OK;
}

static lh_status print_json(const task *t, lh_error *error)
{
    lh_string out = {0};
    int64_t read = longhand_generator_tokens_read(t->generator);
    int64_t written = longhand_generator_tokens_written(t->generator);
    lh_string_print(&out, "{\n  \"text\": ");
    lh_json_append_string(&out, t->text.data ? t->text.data : "", t->text.size);
    lh_string_print(&out, ",\n  \"ended_by\": \"%s\",\n  \"prompt_tokens\": %lld,\n  \"tokens\": %lld,\n", t->why,
                    (long long)read, (long long)written);
    lh_string_print(&out, "  \"position\": %lld,\n  \"state_bytes\": %lld,\n",
                    (long long)longhand_session_position(t->session),
                    (long long)longhand_session_state_bytes(t->session));
    if (t->note) {
        lh_string_print(&out, "  \"note\": ");
        lh_json_append_string(&out, t->note, strlen(t->note));
        lh_string_print(&out, ",\n");
    }
    lh_string_print(&out, "  \"read_seconds\": %.6f,\n  \"write_seconds\": %.6f\n}\n", t->read_seconds,
                    t->write_seconds);
    return lh_print_text(&out, error);
}

/* The class stands in front of the image. */
static lh_status read_class(task *t, lh_error *error)
{
    longhand_model_info info = {.size = sizeof info};
    int64_t class = lh_command_integer(t->command, "class");
    LH_TRY(longhand_model_get_info(t->model, &info, error));
    if (info.classes == 0) {
        return lh_fail(error, LH_E_ARGUMENT, "--class: the model's texts have no classes (memory.classes)");
    }
    if (class < 0 || class >= info.classes) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "--class: %lld is none of the model's %lld classes, which count from 0", (long long)class,
                       (long long)info.classes);
    }
    if (lh_command_string(t->command, "load-session")) {
        return lh_fail(error, LH_E_ARGUMENT, "--class: a loaded session goes on with its own");
    }
    int32_t token = (int32_t) class;
    float *logits = lh_heap_alloc(sizeof *logits * (size_t)info.vocabulary);
    lh_status status = logits ? longhand_session_feed(t->session, &token, 1, logits, error)
                              : lh_fail(error, LH_E_MEMORY, "no memory for the first scores");
    lh_heap_free(logits);
    return status;
}

static lh_status prepare(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    const char *stop = lh_command_string(c, "stop"), *load = lh_command_string(c, "load-session");
    longhand_generator_options o = {.size = sizeof o,
                                    .temperature = lh_command_real(c, "temperature"),
                                    .top_k = lh_command_integer(c, "top-k"),
                                    .top_p = lh_command_real(c, "top-p"),
                                    .min_p = lh_command_real(c, "min-p"),
                                    .repetition_penalty = lh_command_real(c, "repetition-penalty"),
                                    .repetition_window = lh_command_integer(c, "repetition-window"),
                                    .seed = (uint64_t)lh_command_integer(c, "seed"),
                                    .stops = &stop,
                                    .stop_count = stop ? 1 : 0,
                                    .ignore_end = lh_command_flag(c, "ignore-end")};
    if (lh_command_integer(c, "tokens") < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "--tokens must not be negative");
    }
    LH_TRY(longhand_session_create(&t->session, t->model, 1, (int)lh_command_integer(c, "threads"), error));
    if (lh_command_given(c, "overlap")) {
        LH_TRY(longhand_session_set_overlap(t->session, lh_command_integer(c, "overlap"), error));
    }
    if (lh_command_given(c, "class")) {
        LH_TRY(read_class(t, error));
    }
    LH_TRY(longhand_generator_create(&t->generator, t->session, &o, error));
    return load ? longhand_generator_restore(t->generator, load, lh_command_given(c, "seed"), error) : LH_OK;
}

static lh_status open_model(task *t, lh_error *error)
{
    const char *decode = lh_command_string(t->command, "decode");
    const char *stepped[3] = {"model.segment=1", NULL, NULL};
    stepped[1] = strcmp(decode, "official_step") == 0 ? "memory.stepping=official" : "memory.stepping=aligned";
    longhand_model_options o = {.size = sizeof o, .checkpoint = lh_command_string(t->command, "checkpoint")};
    const char **overrides;
    LH_TRY(lh_cli_overrides(t->command, strcmp(decode, "segment") == 0 ? NULL : stepped, &overrides,
                            &o.override_count, error));
    o.overrides = overrides;
    lh_status status = longhand_model_open(&t->model, lh_command_operand(t->command, 0), &o, error);
    lh_heap_free(overrides);
    return status;
}

static lh_status work(task *t, lh_error *error)
{
    LH_TRY(open_model(t, error));
    LH_TRY(prepare(t, error));
    longhand_model_info info = {.size = sizeof info};
    LH_TRY(longhand_model_get_info(t->model, &info, error));
    t->note = info.note;
    if (t->note && !t->json) {
        (void)fprintf(stderr, "generate: %s\n", t->note);
    }
    LH_TRY(read_source(t, &info, error));
    LH_TRY(read_prompt(t, error));
    LH_TRY(write_on(t, error));
    if (t->json) {
        LH_TRY(print_json(t, error));
    } else if (t->terminal) {
        (void)putchar('\n');
    }
    const char *save = lh_command_string(t->command, "save-session");
    if (save) {
        LH_TRY(longhand_generator_save(t->generator, save, error));
    }
    return lh_signals_pending()
               ? lh_fail(error, LH_E_INTERRUPTED, save ? "interrupted; the session is in %s" : "interrupted%s",
                         save ? save : "")
               : LH_OK;
}

static lh_status run_generate(const lh_command *command, lh_error *error)
{
    task t = {.command = command,
              .json = lh_command_flag(command, "json"),
              .echo = lh_command_flag(command, "echo"),
              .terminal = lh_cli_terminal()};
    lh_signals_install();
    lh_status status = work(&t, error);
    longhand_generator_free(t.generator);
    longhand_session_free(t.session);
    longhand_model_free(t.model);
    lh_string_free(&t.text);
    return status;
}

const lh_verb lh_verb_generate = {
    .name = "generate",
    .summary = "Continue a text",
    .operands = "RUN [section.key=value ...]",
    .description =
        "Reads a prompt of any length with a trained model and writes on. The memory taken does not depend on the "
        "length of the prompt; what is written appears token by token.\n\n"
        "RUN is a run or model directory, or a file of weights in one. Sizes that do not change the weights, such "
        "as memory.compressed, may differ from training.\n\n"
        "Ctrl-C ends after the current token; with --save-session the session is saved then, too. A session that "
        "is loaded goes on exactly where it was saved, random numbers included, unless --seed is given; more "
        "prompt may follow it.\n\n"
        "A model with an encoder, trained on pairs, writes beside a source: --source-file gives the article, and "
        "what is written is its abstract. A prompt is then the abstract's beginning.\n\n"
        "The Compressive Transformer was published with nucleus sampling at --top-p 0.98.",
    .examples = "longhand generate runs/first --prompt \"It was a\" --tokens 500 --top-p 0.98\n"
                "    continues a line\n"
                "longhand generate runs/first -f book.txt --save-session book.session.safetensors\n"
                "    reads a book, writes on, and keeps the place\n"
                "longhand generate runs/arxiv --source-file article.txt --temperature 0\n    writes its abstract\n"
                "longhand generate runs/first --load-session book.session.safetensors\n    goes on from there",
    .min_operands = 1,
    .max_operands = -1,
    .options = options,
    .run = run_generate,
};
