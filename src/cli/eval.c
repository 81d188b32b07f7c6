#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/internal.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "eval/frequency.h"
#include "eval/result.h"
#include "formats/model_dir.h"
#include "infer/describe.h"
#include "train/keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const lh_option options[] = {
    {"data", 'd', LH_OPTION_STRING, "PATH", NULL,
     "Text or a prepared data set (default: what the run was trained on)", NULL},
    {"split", 0, LH_OPTION_STRING, "NAME", NULL,
     "train, validation or test (default: test of what has splits, else all of the text)", NULL},
    {"protocol", 'p', LH_OPTION_STRING, "NAME", NULL,
     "What is scored behind which context (default: stream; for tasks of data make: book)",
     "stream|book|trunc|pack|slide|overlap|chunkmean|line|P-stream|P-book|P-trunc|P-pack|P-slide|P-overlap|"
     "P-chunkmean|P-line|strided|P-strided"},
    {"window", 'w', LH_OPTION_INTEGER, "W", "0", "Tokens of a window; 0: the protocol's usual size", NULL},
    {"stride", 's', LH_OPTION_INTEGER, "S", "0", "By how much a window moves; 0: the protocol's usual step", NULL},
    {"length", 0, LH_OPTION_INTEGER, "N", "0", "For trunc: how much of each document", NULL},
    {"lanes", 'b', LH_OPTION_INTEGER, "B", "0",
     "Lanes, documents or windows read side by side; 0: 1 for stream, so that no token is lost, else what is fast",
     NULL},
    {"first", 0, LH_OPTION_STRING, "HOW", NULL,
     "Tokens that nothing precedes: charge ln(vocabulary), skip, or predict them from the end-of-text token "
     "(default: charge; start for pack)",
     "charge|skip|start"},
    {"score", 0, LH_OPTION_STRING, "WHAT", "answers",
     "Of data that says which tokens are answers: those, or all tokens", "answers|all"},
    {"limit-tokens", 0, LH_OPTION_INTEGER, "N", "0", "Only the first N tokens; 0: all", NULL},
    {"warm-start", 0, LH_OPTION_FLAG, NULL, NULL, "Also give the loss over tokens that full memories stand behind",
     NULL},
    {"by-position", 0, LH_OPTION_FLAG, NULL, NULL, "Also give the loss by position in the document", NULL},
    {"position-bin", 0, LH_OPTION_INTEGER, "N", "0",
     "Positions to put together; 0: 128, then twice as many each time", NULL},
    {"by-document", 0, LH_OPTION_FLAG, NULL, NULL, "Also give the loss of each document", NULL},
    {"frequency", 0, LH_OPTION_STRING, "TRAIN", NULL,
     "Also give the loss by how often a token occurs in this data set or text", NULL},
    {"allow-skipped", 0, LH_OPTION_FLAG, NULL, NULL, "Give word perplexity although not every token was scored",
     NULL},
    {"resume", 0, LH_OPTION_STRING, "FILE", NULL,
     "Keep an interrupted evaluation here, and go on with it if the file is there", NULL},
    {"checkpoint", 0, LH_OPTION_STRING, "WHICH", NULL,
     "model, best, latest or a step (default: the first there is)", NULL},
    {"threads", 0, LH_OPTION_INTEGER, "N", "0", "Threads; 0: all", NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON", NULL},
    {0},
};

typedef struct task {
    const lh_command *command;
    lh_model *model;
    lh_tokenizer *tokenizer;
    lh_eval_corpus *corpus;
    int64_t step;
    uint64_t *counts;
    lh_eval_options options;
    lh_evaluation evaluation;
    lh_progress progress;
    bool started;
    const char *phase;
} task;

static bool watch_corpus(void *user, const char *phase, uint64_t done, uint64_t total)
{
    task *t = user;
    if (!t->phase || strcmp(t->phase, phase) != 0) {
        if (t->phase) {
            lh_progress_finish(&t->progress, NULL);
        }
        lh_progress_start(&t->progress, phase, strcmp(phase, "reading") == 0 ? "B" : "tokens", total);
        t->phase = phase;
    }
    lh_progress_update(&t->progress, done, NULL);
    return !lh_signals_pending();
}

static bool watch_evaluation(void *user, const lh_tally *tally, uint64_t done, uint64_t total)
{
    task *t = user;
    char note[64];
    if (!t->started) {
        lh_progress_start(&t->progress, "eval", "tokens", total);
        t->started = true;
    }
    if (tally->options.answers) {
        (void)snprintf(note, sizeof note, "accuracy %.4f",
                       tally->all.tokens ? (double)tally->all.right / (double)tally->all.tokens : 0.0);
        lh_progress_update(&t->progress, done, note);
        return !lh_signals_pending();
    }
    (void)snprintf(note, sizeof note, "%.4f bpb",
                   tally->all.bytes ? tally->all.nats / log(2.0) / (double)tally->all.bytes : 0.0);
    lh_progress_update(&t->progress, done, note);
    return !lh_signals_pending();
}

/* ---- which text ---- */

/* The run's own text: what training prepared in its folder, else what its recipe names. */
static lh_status own_data(const char *run, lh_string *path, lh_error *error)
{
    lh_model_dir files;
    LH_TRY(lh_model_dir_open(&files, run, NULL, error));
    lh_status status = LH_OK;
    lh_string_print(path, "%s/data/text", files.directory);
    if (!path->failed && !lh_directory_exists(path->data)) {
        lh_recipe *recipe = NULL;
        status = files.recipe ? lh_train_recipe_create(&recipe, error)
                              : lh_fail(error, LH_E_ARGUMENT, "%s: --data is needed, this is no run", run);
        if (status == LH_OK) {
            status = lh_recipe_read(recipe, files.recipe, error);
        }
        if (status == LH_OK) {
            status = lh_recipe_resolve(recipe, error);
        }
        if (status == LH_OK) {
            lh_string_clear(path);
            lh_string_print(path, "%s", lh_recipe_string(recipe, "data.path"));
        }
        lh_recipe_free(recipe);
    }
    lh_model_dir_close(&files);
    return status == LH_OK && path->failed ? lh_fail(error, LH_E_MEMORY, "no memory for a path") : status;
}

static lh_status open_corpus(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    lh_string own = {0};
    lh_eval_corpus_options o = {.path = lh_command_string(c, "data"),
                                .split = lh_command_string(c, "split"),
                                .limit_tokens = (uint64_t)lh_command_integer(c, "limit-tokens"),
                                .document_tokens = (uint64_t)t->options.protocol.length,
                                .watch = watch_corpus,
                                .watch_data = t};
    lh_status status = LH_OK;
    if (!o.path) {
        status = own_data(lh_command_operand(c, 0), &own, error);
        o.path = own.data;
    }
    if (status == LH_OK) {
        status = lh_eval_corpus_open(&t->corpus, t->tokenizer, &o, error);
    }
    if (t->phase) {
        lh_progress_finish(&t->progress, NULL);
    }
    lh_string_free(&own);
    if (status == LH_OK && t->options.protocol.kind == LH_PROTOCOL_LINE) {
        status = lh_eval_corpus_pack_lines(t->corpus, t->tokenizer, t->options.protocol.window,
                                           lh_tokenizer_role(t->tokenizer, LH_TOKEN_EOS), error);
    }
    return status;
}

/* ---- how ---- */

static lh_status choose_protocol(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    lh_protocol *p = &t->options.protocol;
    const char *name = lh_command_string(c, "protocol");
    LH_TRY(lh_protocol_find(name ? name : "stream", &p->kind, error));
    p->window = lh_command_integer(c, "window");
    p->stride = lh_command_integer(c, "stride");
    p->length = lh_command_integer(c, "length");
    LH_TRY(lh_protocol_complete(p, error));
    if (lh_command_integer(c, "limit-tokens") < 0 || lh_command_integer(c, "lanes") < 0 ||
        lh_command_integer(c, "position-bin") < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "--limit-tokens, --lanes and --position-bin must not be negative");
    }
    return LH_OK;
}

/* What the model sees, and half of its segment, unless given. */
static lh_status size_strided(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    lh_protocol *p = &t->options.protocol;
    int64_t segment = t->model->config.segment;
    if (p->kind != LH_PROTOCOL_STRIDED) {
        return LH_OK;
    }
    if (!lh_command_integer(c, "window")) {
        int64_t reach = lh_model_reach(t->model);
        if (reach >= LH_DISTANCE_ANY) {
            return lh_fail(error, LH_E_ARGUMENT,
                           "this model remembers from the beginning on, so no window is the usual one: give "
                           "--window N, or use --protocol book");
        }
        p->window = reach + segment;
    }
    p->stride = lh_command_integer(c, "stride") ? p->stride : segment > 1 ? segment / 2 : 1;
    return lh_protocol_complete(p, error);
}

static lh_status count_frequencies(task *t, lh_error *error)
{
    const char *path = lh_command_string(t->command, "frequency");
    if (!path) {
        return LH_OK;
    }
    int64_t vocab = t->model->config.vocab;
    t->counts = lh_heap_alloc(sizeof *t->counts * (size_t)vocab);
    if (!t->counts) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the frequencies of %lld tokens", (long long)vocab);
    }
    t->options.tally.counts = t->counts;
    return lh_eval_count_tokens(path, t->tokenizer, t->counts, vocab, error);
}

static lh_status evaluate(task *t, lh_error *error)
{
    const lh_command *c = t->command;
    lh_eval_options *o = &t->options;
    o->every_target = strcmp(lh_command_string(c, "score"), "all") == 0;
    if (!lh_command_given(c, "protocol")) {
        o->protocol.kind = lh_eval_usual_protocol(t->corpus);
    }
    o->lanes = lh_command_integer(c, "lanes");
    o->threads = (int)lh_command_integer(c, "threads");
    o->tally.position_bin = lh_command_integer(c, "position-bin");
    o->resume_path = lh_command_string(c, "resume");
    o->save_seconds = LH_EVAL_SAVE_SECONDS;
    o->watch = watch_evaluation;
    o->watch_data = t;
    LH_TRY(lh_eval_options_complete(o, lh_command_string(c, "first"), t->model, t->tokenizer, t->corpus, error));
    LH_TRY(count_frequencies(t, error));
    lh_status status = lh_evaluate(&t->evaluation, t->model, t->tokenizer, t->corpus, o, error);
    if (t->started) {
        lh_progress_finish(&t->progress, NULL);
    }
    return status;
}

static lh_status print_result(const task *t, lh_error *error)
{
    const lh_command *c = t->command;
    lh_string out = {0};
    lh_eval_heading heading = {.model = lh_command_operand(c, 0),
                               .step = t->step,
                               .description = t->model,
                               .tokenizer = t->tokenizer,
                               .options = &t->options,
                               .corpus = t->corpus,
                               .warm = lh_command_flag(c, "warm-start"),
                               .by_document = lh_command_flag(c, "by-document"),
                               .by_position = lh_command_flag(c, "by-position"),
                               .allow_skipped = lh_command_flag(c, "allow-skipped"),
                               .frequencies = lh_command_string(c, "frequency")};
    if (lh_command_flag(c, "json")) {
        LH_TRY(lh_eval_print_json(&out, &t->evaluation, &heading, error));
    } else {
        lh_eval_print_text(&out, &t->evaluation, &heading);
    }
    return lh_print_text(&out, error);
}

static lh_status work(task *t, lh_error *error)
{
    LH_TRY(choose_protocol(t, error));
    LH_TRY(lh_cli_open_model(t->command, &t->model, &t->tokenizer, &t->step, error));
    LH_TRY(size_strided(t, error));
    LH_TRY(open_corpus(t, error));
    LH_TRY(evaluate(t, error));
    return print_result(t, error);
}

static lh_status run_eval(const lh_command *command, lh_error *error)
{
    task t = {.command = command};
    lh_signals_install();
    lh_status status = work(&t, error);
    lh_evaluation_free(&t.evaluation);
    lh_eval_corpus_free(t.corpus);
    lh_heap_free(t.counts);
    lh_tokenizer_free(t.tokenizer);
    lh_model_free(t.model);
    return status;
}

const lh_verb lh_verb_eval = {
    .name = "eval",
    .summary = "Measure how well a model predicts a text",
    .operands = "RUN [section.key=value ...]",
    .description =
        "Reads a text with a trained model and prints how surprised it was: bits per byte and character, "
        "perplexity "
        "per token and per word, with all the totals that they come from.\n\n"
        "RUN is a run or model directory, or a file of weights in one. The sizes of memories may differ from "
        "training: memory.compressed=3072.\n\n"
        "Protocols:\n"
        "  stream           lanes side by side, memories carried on and never cleared\n"
        "  book             each document from empty memories; several side by side\n"
        "  trunc            as book, with the first --length tokens of each document\n"
        "  pack             rows of W tokens of all documents, each from empty memories\n"
        "  slide            a window W moves by S; its last S tokens are scored\n"
        "  overlap          windows W at every S; all their tokens but the first scored\n"
        "  chunkmean        chunks of S behind W-S of context; mean of their perplexities\n"
        "  strided          blocks of S, each the end of its last W inputs; for models that hold tokens\n"
        "  line             stripped lines packed whole into rows of W tokens\n\n"
        "Word perplexity is exp(L / words), with the published word count if the data is a whole benchmark split. "
        "It "
        "is not given if tokens were skipped, unless --allow-skipped.",
    .examples = "longhand eval runs/first\n    the test split of what the run was trained on\n"
                "longhand eval runs/first --data book.txt --by-position\n    a book\n"
                "longhand eval runs/first --data books --protocol slide --window 2048 --stride 256\n"
                "    windows that slide",
    .min_operands = 1,
    .max_operands = -1,
    .options = options,
    .run = run_eval,
};
