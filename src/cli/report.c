#include "report/report.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "data/reader.h"
#include "infer/generate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const lh_option options[] = {
    {"data", 'd', LH_OPTION_STRING, "FILE", NULL,
     "A text to read, plain or compressed: where in it the model does well "
     "and what its attention falls on",
     NULL},
    {"limit-bytes", 0, LH_OPTION_INTEGER, "N", "1M", "Read this much of the text at most", NULL},
    {"sample", 'n', LH_OPTION_INTEGER, "N", "400", "Tokens to write behind the text's beginning; 0: none", NULL},
    {"prompt-bytes", 0, LH_OPTION_INTEGER, "N", "2000",
     "How much of the text's beginning to start the writing from", NULL},
    {"temperature", 't', LH_OPTION_REAL, "X", "0.8", "Of the writing", NULL},
    {"seed", 's', LH_OPTION_INTEGER, "N", "0", "Of the writing", NULL},
    {"title", 0, LH_OPTION_STRING, "TEXT", NULL, "Heading of the page (default: the run's name)", NULL},
    {"out", 'o', LH_OPTION_STRING, "FILE", NULL, "Where to write the page (default: report.html in the run)", NULL},
    {"checkpoint", 0, LH_OPTION_STRING, "WHICH", NULL,
     "model, best, latest or a step (default: the first there is)", NULL},
    {"quiet", 'q', LH_OPTION_FLAG, NULL, NULL, "Do not print the passage", NULL},
    {0},
};

typedef struct task {
    const lh_command *command;
    lh_model *model;
    lh_tokenizer *tokenizer;
    int64_t step;
    lh_string text, prompt, passage, page;
    lh_reading reading;
    lh_progress progress;
} task;

static lh_status read_text(task *t, const char *path, lh_error *error)
{
    lh_reader *reader;
    char buffer[1 << 16];
    size_t got = 1, limit = (size_t)lh_command_integer(t->command, "limit-bytes");
    LH_TRY(lh_reader_open(&reader, path, error));
    lh_status status = LH_OK;
    while (status == LH_OK && got > 0 && t->text.size < limit) {
        size_t wanted = limit - t->text.size < sizeof buffer ? limit - t->text.size : sizeof buffer;
        status = lh_reader_read(reader, buffer, wanted, &got, error);
        if (status == LH_OK) {
            lh_string_append(&t->text, buffer, got);
        }
    }
    lh_reader_free(reader);
    if (status == LH_OK && t->text.failed) {
        status = lh_fail(error, LH_E_MEMORY, "%s: no memory for the text", path);
    }
    return status;
}

static int show_progress(void *user, int64_t done, int64_t total)
{
    task *t = user;
    (void)total;
    lh_progress_update(&t->progress, (uint64_t)done, NULL);
    return lh_signals_pending();
}

static lh_status write_passage(task *t, lh_error *error)
{
    int64_t tokens = lh_command_integer(t->command, "sample");
    size_t prompt = (size_t)lh_command_integer(t->command, "prompt-bytes");
    prompt = prompt < t->text.size ? prompt : t->text.size;
    while (prompt > 0 && prompt < t->text.size && ((unsigned char)t->text.data[prompt] & 0xC0u) == 0x80u) {
        prompt--; /* not inside a character */
    }
    lh_generator_options settings = {.sampling = lh_sampler_defaults()};
    settings.sampling.temperature = lh_command_real(t->command, "temperature");
    settings.sampling.top_p = 0.98; /* the paper's own nucleus */
    settings.sampling.seed = (uint64_t)lh_command_integer(t->command, "seed");
    lh_session *session;
    LH_TRY(lh_session_create(&session, t->model, 1, 0, error));
    lh_generator *generator = NULL;
    lh_status status = lh_generator_create(&generator, session, t->tokenizer, &settings, error);
    if (status == LH_OK && prompt > 0) {
        status = lh_generator_read(generator, t->text.data, prompt, error);
    }
    bool ended = false;
    lh_progress_start(&t->progress, "writing", "tokens", (uint64_t)tokens);
    for (int64_t i = 0; i < tokens && status == LH_OK && !ended && !lh_signals_pending(); i++) {
        status = lh_generator_next(generator, &t->passage, &ended, error);
        lh_progress_update(&t->progress, (uint64_t)i + 1, NULL);
    }
    lh_progress_finish(&t->progress, NULL);
    if (status == LH_OK) {
        status = lh_generator_finish(generator, &t->passage, error);
    }
    lh_generator_free(generator);
    lh_session_free(session);
    size_t shown = prompt < 300 ? prompt : 300; /* the page shows the end of what was given */
    while (shown < prompt && ((unsigned char)t->text.data[prompt - shown] & 0xC0u) == 0x80u) {
        shown++;
    }
    lh_string_append(&t->prompt, t->text.data ? t->text.data + (prompt - shown) : "", shown);
    return status;
}

static lh_status write_page(task *t, const char *data, lh_error *error)
{
    const char *run = lh_command_operand(t->command, 0), *out = lh_command_string(t->command, "out");
    const char *title = lh_command_string(t->command, "title");
    char *path = out ? lh_heap_strdup(out) : lh_path_join(run, "report.html");
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the report");
    }
    lh_report report = {.run = run,
                        .title = title ? title : run,
                        .data = data ? data : "",
                        .reading = data ? &t->reading : NULL,
                        .prompt = t->prompt.data,
                        .passage = t->passage.data,
                        .model = t->model,
                        .step = t->step};
    lh_status status = lh_report_html(&report, &t->page, error);
    if (status == LH_OK) {
        status = lh_file_write(path, t->page.data, t->page.size, error);
    }
    if (status == LH_OK) {
        if (data && t->reading.bytes > 0.0) {
            (void)printf("%s: %.4f bits per byte over %.0f bytes\n", data,
                         t->reading.nats / log(2.0) / t->reading.bytes, t->reading.bytes);
        }
        (void)printf("report: %s\n", path);
    }
    lh_heap_free(path);
    return status;
}

static lh_status work(task *t, lh_error *error)
{
    const char *data = lh_command_string(t->command, "data");
    LH_TRY(lh_cli_open_model(t->command, &t->model, &t->tokenizer, &t->step, error));
    lh_signals_install();
    if (data) {
        LH_TRY(read_text(t, data, error));
        lh_progress_start(&t->progress, "reading", "tokens", 0);
        LH_TRY(lh_reading_measure(&t->reading, t->model, t->tokenizer, t->text.data ? t->text.data : "",
                                  t->text.size, show_progress, t, error));
        lh_progress_finish(&t->progress, NULL);
    }
    if (lh_command_integer(t->command, "sample") > 0) {
        LH_TRY(write_passage(t, error));
        if (!lh_command_flag(t->command, "quiet") && t->passage.data) {
            (void)printf("---\n%s|%s\n---\n", t->prompt.data ? t->prompt.data : "", t->passage.data);
        }
    }
    return write_page(t, data, error);
}

static lh_status run(const lh_command *command, lh_error *error)
{
    task t = {.command = command};
    if (lh_command_integer(command, "limit-bytes") < 1 || lh_command_integer(command, "sample") < 0 ||
        lh_command_integer(command, "prompt-bytes") < 0) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "--limit-bytes must be positive, --sample and --prompt-bytes not negative");
    }
    lh_status status = work(&t, error);
    lh_string_free(&t.text);
    lh_string_free(&t.prompt);
    lh_string_free(&t.passage);
    lh_string_free(&t.page);
    lh_tokenizer_free(t.tokenizer);
    lh_model_free(t.model);
    return status;
}

const lh_verb lh_verb_report = {
    .name = "report",
    .summary = "Write a page about a run: curves, attention, a passage",
    .operands = "RUN [memory.key=value ...]",
    .description =
        "Reads a text with the model of a run and writes a self-contained HTML page: how the run learned, how many "
        "bits per byte the text costs by position, how attention is spread over the age of what is remembered "
        "(recent, memory, compressed), and a passage that the model writes behind the text's beginning.\n\n"
        "Charts are drawn by gnuplot; without it the page keeps its tables.",
    .examples =
        "longhand report runs/book --data book.txt\n    runs/book/report.html, with a passage of 400 tokens\n"
        "longhand report runs/book --data book.txt memory.compressed=1024 --out wider.html\n    the same with a "
        "larger compressed memory than in training\n",
    .min_operands = 1,
    .max_operands = -1,
    .options = options,
    .run = run,
};
