#include "train/keys.h"

#include "base/memory.h"
#include "formats/ini.h"
#include "model/config.h"

#include <stdio.h>
#include <string.h>

static const lh_recipe_key data_keys[] = {
    {"data", "path", LH_RECIPE_STRING, "", 0, 0, NULL, NULL,
     "a prepared data set (a folder), or text: a file, plain or compressed, or a folder of them"},
    {"data", "validation_path", LH_RECIPE_STRING, "", 0, 0, NULL, NULL,
     "another data set or text for evaluation during training; empty: the data set's own validation split"},
    {"data", "split", LH_RECIPE_CHOICE, "train", 0, 0, "train|validation|test", NULL, "split that is trained on"},
    {"data", "tokenizer", LH_RECIPE_STRING, "auto", 0, 0, NULL, NULL,
     "tokenizer for text that is not prepared: bytes, words, characters or a tokenizer.json; auto: words for "
     "WikiText, "
     "else bytes (a prepared data set has its own)"},
    {"data", "layout", LH_RECIPE_CHOICE, "lanes", 0, 0, "lanes|documents|crops", "memory.kind!=routing-pairs",
     "lanes: the text cut into batch pieces, each read from end to end; documents: each lane reads whole documents "
     "one "
     "after another; crops: independent random pieces"},
    {"data", "layout", LH_RECIPE_CHOICE, "documents", 0, 0, "documents", "memory.kind=routing-pairs",
     "documents: each lane reads one pair of a source and its target after another"},
    {"data", "batch", LH_RECIPE_INTEGER, "8", 1, 1 << 20, NULL, NULL, "lanes: texts that are read side by side"},
    {"data", "reset_at_document", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL,
     "data.layout=documents memory.kind!=routing-pairs",
     "forget everything where a document begins; the published models never do"},
    {"data", "reset_at_document", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, "memory.kind=routing-pairs",
     "forget everything where a pair begins: it must be so"},
    {"data", "minimum_crop", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, "data.layout=crops",
     "shortest piece: its end is drawn from here to the document's end, and the piece is what is before it; 0: "
     "model.segment if the model's memory takes in what stands before a segment (perceiver-ar), else only full "
     "pieces are drawn"},
    {"data", "crop_documents", LH_RECIPE_CHOICE, "by-length", 0, 0, "by-length|each-once", "data.layout=crops",
     "documents are drawn in proportion to their length, or each is visited once in an epoch"},
    {"data", "shuffle", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, "data.layout=documents",
     "another order of the documents in every epoch"},
    {"data", "scored", LH_RECIPE_CHOICE, "answers", 0, 0, "answers|all", NULL,
     "what the loss is of, where the data says which tokens are answers (longhand data make): answers, or all "
     "tokens"},
    {0},
};

#define MELIAD "meliad-rsqrt-std,meliad-rsqrt,meliad-cosine,meliad-linear"

static const lh_recipe_key train_keys[] = {
    {"train", "steps", LH_RECIPE_INTEGER, "0", 0, 1e15, NULL, NULL,
     "iterations to train for; 0: no limit (steps, tokens or minutes must be set; the first one reached ends the "
     "run)"},
    {"train", "tokens", LH_RECIPE_INTEGER, "0", 0, 1e18, NULL, NULL, "tokens to train on; 0: no limit"},
    {"train", "minutes", LH_RECIPE_REAL, "0", 0, 1e9, NULL, NULL, "minutes to train for; 0: no limit"},
    {"train", "seed", LH_RECIPE_INTEGER, "1", 0, 9e15, NULL, NULL,
     "seed of initial weights, dropout and order of documents"},
    {"train", "init_from", LH_RECIPE_STRING, "", 0, 0, NULL, NULL,
     "a run or model whose weights this one starts from, by name and shape; what is not there keeps its own start"},
    {"train", "threads", LH_RECIPE_INTEGER, "0", 0, LH_MAX_THREADS, NULL, NULL,
     "threads; 0: one per core. Results do not depend on it"},

    {"train", "optimizer", LH_RECIPE_CHOICE, "adamw", 0, 0, "adamw|adafactor|sgd", NULL, "optimizer"},
    {"train", "beta1", LH_RECIPE_REAL, "0.9", 0, 0.999999, NULL, "train.optimizer=adamw,adafactor",
     "decay of the first moment (adafactor: 0 keeps none)"},
    {"train", "beta2", LH_RECIPE_REAL, "0.999", 0, 0.99999999, NULL, "train.optimizer=adamw",
     "decay of the second moment"},
    {"train", "epsilon", LH_RECIPE_REAL, "1e-8", 0, 1, NULL, "train.optimizer=adamw",
     "added to the root of the second moment"},
    {"train", "momentum", LH_RECIPE_REAL, "0.9", 0, 0.999999, NULL, "train.optimizer=sgd", "momentum"},
    {"train", "nesterov", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "train.optimizer=sgd", "Nesterov's momentum"},
    {"train", "decay_rate", LH_RECIPE_REAL, "0.8", 0.01, 1, NULL, "train.optimizer=adafactor",
     "the second moment's decay in step t is 1 - t^-decay_rate"},
    {"train", "relative_steps", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, "train.optimizer=adafactor",
     "steps are relative to a parameter's RMS (at least 1e-3)"},
    {"train", "factor_from", LH_RECIPE_INTEGER, "128", 2, 1 << 24, NULL, "train.optimizer=adafactor",
     "second moments of matrices are factored if both sides have at least this size"},
    {"train", "weight_decay", LH_RECIPE_REAL, "0", 0, 100, NULL, NULL,
     "of matrices, times the learning rate; gains, biases and (decay_embeddings) embeddings are left out"},
    {"train", "decay_scaled", LH_RECIPE_BOOLEAN, "true", 0, 0, NULL, NULL,
     "multiply weight decay by the learning rate; false: every update takes that part of the weights"},
    {"train", "decay_embeddings", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL,
     "weight decay on embedding tables, too"},
    {"train", "clip", LH_RECIPE_REAL, "0.25", 0, 1e9, NULL, NULL, "greatest norm of the gradient; 0: no clipping"},
    {"train", "clip_rule", LH_RECIPE_CHOICE, "above", 0, 0, "above|always", NULL,
     "always: a gradient whose norm is below clip is lengthened to it, too"},
    {"train", "clip_groups", LH_RECIPE_CHOICE, "separate", 0, 0, "separate|joint", NULL,
     "one norm for the model and one for the compression networks, or one for all"},
    {"train", "compressor_rate", LH_RECIPE_REAL, "1", 0, 1e6, NULL, NULL,
     "times the learning rate for compression networks; 0 freezes them"},
    {"train", "compressor_weight_decay", LH_RECIPE_REAL, "0", 0, 100, NULL, NULL,
     "weight decay of compression networks"},

    {"train", "schedule", LH_RECIPE_CHOICE, "cosine", 0, 0,
     "constant|linear|cosine|inverse-sqrt|compressive|meliad-rsqrt-std|meliad-rsqrt|meliad-cosine|meliad-linear",
     NULL,
     "learning rate after the warm-up; compressive is the paper's: 1e-6 up to 3e-4, along a cosine back to 1e-6; "
     "meliad-.. are those of the released Memorizing and Block-Recurrent Transformers"},
    {"train", "learning_rate", LH_RECIPE_REAL, "5e-4", 0, 1e6, NULL, "train.schedule!=compressive," MELIAD,
     "learning rate at the end of the warm-up"},
    {"train", "learning_rate", LH_RECIPE_REAL, "1", 0, 1e6, NULL, "train.schedule=" MELIAD,
     "factor on the schedule"},
    {"train", "spike", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, "train.schedule=" MELIAD,
     "a higher rate in the first 10000 iterations: at least 0.04, falling to 0"},
    {"train", "learning_rate", LH_RECIPE_REAL, "3e-4", 0, 1e6, NULL, "train.schedule=compressive",
     "learning rate at the end of the warm-up"},
    {"train", "warmup", LH_RECIPE_INTEGER, "200", 0, 1e15, NULL, "train.schedule!=compressive," MELIAD,
     "iterations of linear warm-up"},
    {"train", "warmup", LH_RECIPE_INTEGER, "1000", 0, 1e15, NULL, "train.schedule=" MELIAD,
     "iterations of linear warm-up"},
    {"train", "warmup", LH_RECIPE_INTEGER, "4000", 0, 1e15, NULL, "train.schedule=compressive",
     "iterations of linear warm-up (16000 for words)"},
    {"train", "warmup_from", LH_RECIPE_REAL, "0", 0, 1e6, NULL, "train.schedule!=compressive," MELIAD,
     "learning rate of the first iteration"},
    {"train", "warmup_from", LH_RECIPE_REAL, "1e-6", 0, 1e6, NULL, "train.schedule=compressive",
     "learning rate of the first iteration"},
    {"train", "decay_steps", LH_RECIPE_INTEGER, "0", 0, 1e15, NULL, "train.schedule=linear,cosine",
     "iterations from the highest rate to final_rate; 0: until the run ends"},
    {"train", "decay_steps", LH_RECIPE_INTEGER, "100000", 0, 1e15, NULL, "train.schedule=compressive",
     "iterations from the highest rate to final_rate (500000 for words); 0: until the run ends"},
    {"train", "decay_steps", LH_RECIPE_INTEGER, "500000", 1, 1e15, NULL,
     "train.schedule=meliad-rsqrt,meliad-cosine,meliad-linear", "iterations that the schedule is made for (T)"},
    {"train", "final_rate", LH_RECIPE_REAL, "0", 0, 1e6, NULL, "train.schedule=linear,cosine,inverse-sqrt",
     "lowest learning rate"},
    {"train", "final_rate", LH_RECIPE_REAL, "1e-6", 0, 1e6, NULL, "train.schedule=compressive",
     "lowest learning rate"},

    {"train", "loss", LH_RECIPE_CHOICE, "mean", 0, 0, "mean|sum", NULL,
     "what the gradient is of: the mean over an iteration's tokens or their sum, which makes clip work in every "
     "step"},
    {"train", "z_loss", LH_RECIPE_REAL, "0", 0, 1, NULL, NULL,
     "times the square of each token's log partition function, added to its loss in training"},

    {"train", "accumulate", LH_RECIPE_INTEGER, "1", 1, 1 << 20, NULL, NULL,
     "compute the lanes of a step in so many parts, one after another: less memory, the same update"},
    {"train", "update_period", LH_RECIPE_INTEGER, "1", 1, 1 << 20, NULL, NULL,
     "one update for the mean gradient of so many segments; the memories advance with every segment"},
    {"train", "update_period_after", LH_RECIPE_INTEGER, "0", 0, 1e15, NULL, NULL,
     "update_period counts from this iteration on; before it every segment is an update"},
    {"train", "unroll", LH_RECIPE_INTEGER, "1", 1, 1024, NULL, "memory.kind!=block-recurrent",
     "segments in one graph; with memory.detach = false the task's gradient flows through the memory"},
    {"train", "unroll", LH_RECIPE_INTEGER, "8", 1, 1024, NULL, "memory.kind=block-recurrent",
     "blocks in one graph; the task's gradient flows through the state"},
    {"train", "forget_every", LH_RECIPE_INTEGER, "0", 0, 1e15, NULL, NULL,
     "clear all memories every so many tokens of a lane, a multiple of model.segment times train.unroll; 0: never"},
    {"train", "recompute", LH_RECIPE_BOOLEAN, "false", 0, 0, NULL, NULL,
     "keep only each layer's input and compute the layer again in the backward pass: less memory, a third more "
     "work"},

    {"train", "log_every", LH_RECIPE_INTEGER, "10", 1, 1e15, NULL, NULL,
     "iterations between lines of metrics.jsonl"},
    {"train", "checkpoint_every", LH_RECIPE_INTEGER, "1000", 0, 1e15, NULL, NULL,
     "iterations between checkpoints; 0: only at the end and when interrupted"},
    {"train", "keep", LH_RECIPE_INTEGER, "2", 1, 1 << 20, NULL, NULL,
     "newest checkpoints to keep, beside the best"},
    {"train", "eval_every", LH_RECIPE_INTEGER, "1000", 0, 1e15, NULL, NULL,
     "iterations between evaluations; 0: only at the end"},
    {"train", "eval_tokens", LH_RECIPE_INTEGER, "100k", 0, 1e15, NULL, NULL,
     "tokens of the validation split to evaluate on; 0: all of it"},
    {"train", "unit", LH_RECIPE_CHOICE, "auto", 0, 0, "auto|bpb|bpc|word-ppl|nats", NULL,
     "what the loss is shown in: bits per byte, bits per character, perplexity per word, nats per token; auto: "
     "bpb, but "
     "bpc for characters and word-ppl for words"},
    {0},
};

static const lh_recipe_key eval_keys[] = {
    {"eval", "split", LH_RECIPE_CHOICE, "validation", 0, 0, "train|validation|test", NULL,
     "split of the data set that is evaluated during training"},
    {"eval", "batch", LH_RECIPE_INTEGER, "0", 0, 1 << 20, NULL, NULL, "lanes of that evaluation; 0: data.batch"},
    {0},
};

lh_status lh_train_recipe_create(lh_recipe **recipe, lh_error *error)
{
    const lh_recipe_key *tables[80];
    const lh_recipe_key *const *model = lh_model_recipe_tables();
    size_t count = 0, preset_count;
    tables[count++] = data_keys;
    for (; *model && count < 76; model++) {
        tables[count++] = *model;
    }
    tables[count++] = train_keys;
    tables[count++] = eval_keys;
    tables[count] = NULL;
    const lh_recipe_preset *presets = lh_model_presets(&preset_count);
    return lh_recipe_create(recipe, tables, presets, preset_count, error);
}

static int choice(const lh_recipe *recipe, const char *name, const char *const *names)
{
    const char *value = lh_recipe_string(recipe, name);
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], value) == 0) {
            return i;
        }
    }
    return 0;
}

static void read_optimizer(lh_train_config *c, const lh_recipe *recipe)
{
    static const char *const kinds[] = {"adamw", "adafactor", "sgd", NULL};
    lh_optimizer_options *o = &c->optimizer;
    *o = lh_optimizer_defaults();
    o->kind = (lh_optimizer_kind)choice(recipe, "train.optimizer", kinds);
    o->beta1 = lh_recipe_real(recipe, "train.beta1");
    o->beta2 = lh_recipe_real(recipe, "train.beta2");
    o->epsilon = lh_recipe_real(recipe, "train.epsilon");
    o->momentum = lh_recipe_real(recipe, "train.momentum");
    o->nesterov = lh_recipe_boolean(recipe, "train.nesterov");
    o->decay_rate = lh_recipe_real(recipe, "train.decay_rate");
    o->scale_by_parameter = lh_recipe_boolean(recipe, "train.relative_steps");
    o->factor_from = lh_recipe_integer(recipe, "train.factor_from");
    o->clip = lh_recipe_real(recipe, "train.clip");
    o->clip_always = strcmp(lh_recipe_string(recipe, "train.clip_rule"), "always") == 0;
    o->clip_joint = strcmp(lh_recipe_string(recipe, "train.clip_groups"), "joint") == 0;
    for (int group = 0; group < LH_GROUP_COUNT; group++) {
        o->weight_decay[group] = lh_recipe_real(recipe, "train.weight_decay");
    }
    o->decay_apart = !lh_recipe_boolean(recipe, "train.decay_scaled");
    c->decay_embeddings = lh_recipe_boolean(recipe, "train.decay_embeddings");
    o->weight_decay[LH_GROUP_COMPRESSOR] = lh_recipe_real(recipe, "train.compressor_weight_decay");
    o->rate_scale[LH_GROUP_COMPRESSOR] = lh_recipe_real(recipe, "train.compressor_rate");
}

static void read_schedule(lh_train_config *c, const lh_recipe *recipe)
{
    static const char *const kinds[] = {
        "constant",         "linear",       "cosine",        "inverse-sqrt",  "compressive",
        "meliad-rsqrt-std", "meliad-rsqrt", "meliad-cosine", "meliad-linear", NULL};
    static const lh_schedule_kind meaning[] = {
        LH_SCHEDULE_CONSTANT,     LH_SCHEDULE_LINEAR,        LH_SCHEDULE_COSINE,
        LH_SCHEDULE_INVERSE_SQRT, LH_SCHEDULE_COSINE,        LH_SCHEDULE_MELIAD_RSQRT_STD,
        LH_SCHEDULE_MELIAD_RSQRT, LH_SCHEDULE_MELIAD_COSINE, LH_SCHEDULE_MELIAD_LINEAR};
    c->schedule = (lh_schedule){.kind = meaning[choice(recipe, "train.schedule", kinds)],
                                .start = lh_recipe_real(recipe, "train.warmup_from"),
                                .peak = lh_recipe_real(recipe, "train.learning_rate"),
                                .final = lh_recipe_real(recipe, "train.final_rate"),
                                .warmup = lh_recipe_integer(recipe, "train.warmup"),
                                .decay = lh_recipe_integer(recipe, "train.decay_steps"),
                                .spike = lh_recipe_boolean(recipe, "train.spike")};
}

/* Rules that tie keys together. */
static lh_status check(const lh_train_config *c, const lh_recipe *recipe, lh_error *error)
{
    if (!c->path[0]) {
        return lh_fail(error, LH_E_CONFIG,
                       "there is nothing to train on: set data.path to a prepared data set or a text (for example "
                       "data.path=book.txt)");
    }
    if (c->steps == 0 && c->tokens == 0 && c->minutes == 0) {
        return lh_fail(error, LH_E_CONFIG,
                       "the run has no end: set train.steps, train.tokens or train.minutes (for example "
                       "train.minutes=10)");
    }
    if (c->batch % c->accumulate != 0) {
        return lh_recipe_reject(recipe, "train.accumulate", error, "does not divide data.batch = %lld",
                                (long long)c->batch);
    }
    if (c->keep_graph && c->recompute) {
        return lh_recipe_reject(recipe, "train.recompute", error,
                                "does not go together with memory.detach = false and train.unroll = %lld",
                                (long long)c->unroll);
    }
    return LH_OK;
}

lh_status lh_train_config_read(lh_train_config *c, const lh_recipe *recipe, lh_error *error)
{
    static const char *const layouts[] = {"lanes", "documents", "crops", NULL};
    static const char *const units[] = {"auto", "bpb", "bpc", "word-ppl", "nats", NULL};
    *c = (lh_train_config){0};
    c->path = lh_recipe_string(recipe, "data.path");
    c->split = lh_recipe_string(recipe, "data.split");
    c->tokenizer = lh_recipe_string(recipe, "data.tokenizer");
    c->validation_path = lh_recipe_string(recipe, "data.validation_path");
    c->layout = (lh_token_stream_layout)choice(recipe, "data.layout", layouts);
    c->batch = lh_recipe_integer(recipe, "data.batch");
    c->reset_at_document = c->layout == LH_STREAM_DOCUMENTS && lh_recipe_boolean(recipe, "data.reset_at_document");
    c->every_target = strcmp(lh_recipe_string(recipe, "data.scored"), "all") == 0;
    c->shuffle = c->layout == LH_STREAM_DOCUMENTS && lh_recipe_boolean(recipe, "data.shuffle");
    c->steps = lh_recipe_integer(recipe, "train.steps");
    c->tokens = lh_recipe_integer(recipe, "train.tokens");
    c->minutes = lh_recipe_real(recipe, "train.minutes");
    read_optimizer(c, recipe);
    read_schedule(c, recipe);
    c->minimum_crop = lh_recipe_integer(recipe, "data.minimum_crop");
    c->crop_each_document = strcmp(lh_recipe_string(recipe, "data.crop_documents"), "each-once") == 0;
    c->loss_sum = strcmp(lh_recipe_string(recipe, "train.loss"), "sum") == 0;
    c->z_loss = lh_recipe_real(recipe, "train.z_loss");
    c->accumulate = lh_recipe_integer(recipe, "train.accumulate");
    c->period = lh_recipe_integer(recipe, "train.update_period");
    c->period_after = lh_recipe_integer(recipe, "train.update_period_after");
    c->unroll = lh_recipe_integer(recipe, "train.unroll");
    c->forget_every = lh_recipe_integer(recipe, "train.forget_every");
    c->keep_graph = c->unroll > 1 && !lh_recipe_boolean(recipe, "memory.detach");
    c->recompute = lh_recipe_boolean(recipe, "train.recompute");
    c->seed = (uint64_t)lh_recipe_integer(recipe, "train.seed");
    c->init_from = lh_recipe_string(recipe, "train.init_from");
    c->threads = (int)lh_recipe_integer(recipe, "train.threads");
    c->log_every = lh_recipe_integer(recipe, "train.log_every");
    c->checkpoint_every = lh_recipe_integer(recipe, "train.checkpoint_every");
    c->keep = lh_recipe_integer(recipe, "train.keep");
    c->eval_every = lh_recipe_integer(recipe, "train.eval_every");
    c->eval_tokens = lh_recipe_integer(recipe, "train.eval_tokens");
    c->eval_split = lh_recipe_string(recipe, "eval.split");
    c->eval_batch = lh_recipe_integer(recipe, "eval.batch");
    c->eval_batch = c->eval_batch ? c->eval_batch : c->batch;
    c->unit = (lh_loss_unit)choice(recipe, "train.unit", units);
    return check(c, recipe, error);
}

bool lh_train_key_free(const char *section, const char *key)
{
    static const char *const names[] = {
        "data.path",     "data.validation_path", "data.tokenizer",  "train.steps",       "train.tokens",
        "train.minutes", "train.threads",        "train.log_every", "train.recompute",   "train.checkpoint_every",
        "train.keep",    "train.eval_every",     "train.unit",      "train.eval_tokens", NULL};
    if (strcmp(section, "eval") == 0) {
        return true;
    }
    size_t length = strlen(section);
    for (int i = 0; names[i]; i++) {
        if (strncmp(names[i], section, length) == 0 && names[i][length] == '.' &&
            strcmp(names[i] + length + 1, key) == 0) {
            return true;
        }
    }
    return false;
}

/* The lines of a resolved recipe, for comparison. */
typedef struct recipe_line {
    char section[32], key[64], *value;
} recipe_line;

typedef struct recipe_lines {
    recipe_line *items;
    size_t count, capacity;
} recipe_lines;

static lh_status take_line(void *user, const char *section, const char *key, const char *value, int line,
                           lh_error *error)
{
    recipe_lines *lines = user;
    (void)line;
    if (!key) {
        return LH_OK;
    }
    if (lines->count == lines->capacity) {
        size_t capacity = lines->capacity ? 2 * lines->capacity : 64;
        recipe_line *items = lh_heap_realloc(lines->items, sizeof *items * capacity);
        if (!items) {
            return lh_fail(error, LH_E_MEMORY, "no memory to compare recipes");
        }
        lines->items = items;
        lines->capacity = capacity;
    }
    recipe_line *item = &lines->items[lines->count];
    (void)snprintf(item->section, sizeof item->section, "%s", section);
    (void)snprintf(item->key, sizeof item->key, "%s", key);
    item->value = lh_heap_strdup(value);
    if (!item->value) {
        return lh_fail(error, LH_E_MEMORY, "no memory to compare recipes");
    }
    lines->count++;
    return LH_OK;
}

static lh_status collect(recipe_lines *lines, const lh_recipe *recipe, lh_error *error)
{
    lh_string text = {0};
    lh_recipe_write(recipe, false, &text);
    lh_status status = text.failed || !text.data
                           ? lh_fail(error, LH_E_MEMORY, "no memory to compare recipes")
                           : lh_ini_parse("recipe", text.data, text.size, take_line, lines, error);
    lh_string_free(&text);
    return status;
}

static void release(recipe_lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        lh_heap_free(lines->items[i].value);
    }
    lh_heap_free(lines->items);
}

static const recipe_line *find(const recipe_lines *lines, const recipe_line *like)
{
    for (size_t i = 0; i < lines->count; i++) {
        const recipe_line *item = &lines->items[i];
        if (strcmp(item->section, like->section) == 0 && strcmp(item->key, like->key) == 0) {
            return item;
        }
    }
    return NULL;
}

/* Complains about the first line of `a` that is not in `b` as it is; `a_is_run` says whose `a` is. */
static lh_status compare(const recipe_lines *a, const recipe_lines *b, bool a_is_run, const char *run_name,
                         lh_error *error)
{
    for (size_t i = 0; i < a->count; i++) {
        const recipe_line *line = &a->items[i], *other = find(b, line);
        if (lh_train_key_free(line->section, line->key) || (other && strcmp(other->value, line->value) == 0)) {
            continue;
        }
        const char *run = a_is_run ? line->value : other ? other->value : NULL;
        const char *wanted = a_is_run ? (other ? other->value : NULL) : line->value;
        return lh_fail(
            error, LH_E_CONFIG,
            "%s was begun with %s.%s = %s, not %s; a run goes on with the recipe it began with: leave the key "
            "as it was or give another --out",
            run_name, line->section, line->key, run ? run : "(not set)", wanted ? wanted : "(not set)");
    }
    return LH_OK;
}

lh_status lh_train_recipe_same(const lh_recipe *run, const lh_recipe *wanted, const char *run_name, lh_error *error)
{
    recipe_lines a = {0}, b = {0};
    lh_status status = collect(&a, run, error);
    if (status == LH_OK) {
        status = collect(&b, wanted, error);
    }
    if (status == LH_OK) {
        status = compare(&a, &b, true, run_name, error);
    }
    if (status == LH_OK) {
        status = compare(&b, &a, false, run_name, error);
    }
    release(&a);
    release(&b);
    return status;
}
