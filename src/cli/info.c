#include "base/file.h"
#include "base/progress.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "formats/json_util.h"
#include "formats/model_dir.h"
#include "infer/describe.h"
#include "train/keys.h"

#include <stdio.h>
#include <string.h>

static const lh_option options[] = {
    {"presets", 0, LH_OPTION_FLAG, NULL, NULL, "List the presets", NULL},
    {"memories", 0, LH_OPTION_FLAG, NULL, NULL, "List the kinds of memory", NULL},
    {"vocab", 0, LH_OPTION_INTEGER, "N", "0", "Vocabulary of a preset or recipe that leaves it to the tokenizer",
     NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON", NULL},
    {0},
};

/* The vocabulary that a preset or recipe is shown with if neither it nor the user names one: bytes. */
#define DEFAULT_VOCABULARY 256

static lh_status list_presets(bool json, lh_error *error)
{
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    lh_string out = {0};
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (json) {
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", presets[i].name, "help", presets[i].help));
        } else {
            lh_string_print(&out, "%-26s %s\n", presets[i].name, presets[i].help);
        }
    }
    if (json) {
        lh_json_dump(list, &out);
    }
    json_decref(list);
    return lh_print_text(&out, error);
}

static lh_status list_memories(bool json, lh_error *error)
{
    lh_string out = {0};
    json_t *list = json_array();
    for (int i = 0; lh_memory_kinds[i]; i++) {
        const lh_memory_kind *kind = lh_memory_kinds[i];
        if (json) {
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", kind->name, "help", kind->summary));
        } else {
            lh_string_print(&out, "%-16s %s\n", kind->name, kind->summary);
        }
    }
    if (json) {
        lh_json_dump(list, &out);
    }
    json_decref(list);
    return lh_print_text(&out, error);
}

static bool is_preset(const char *name)
{
    size_t count;
    const lh_recipe_preset *presets = lh_model_presets(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What the operand names. */
static lh_status fill(lh_recipe *recipe, const char *what, lh_error *error)
{
    if (is_preset(what)) {
        lh_string text = {0};
        lh_string_print(&text, "preset = %s\n", what);
        lh_status status = text.failed ? lh_fail(error, LH_E_MEMORY, "no memory for the preset")
                                       : lh_recipe_read_text(recipe, "preset", text.data, text.size, error);
        lh_string_free(&text);
        return status;
    }
    if (lh_file_exists(what)) {
        return lh_recipe_read(recipe, what, error);
    }
    return lh_fail(error, LH_E_ARGUMENT,
                   "\"%s\" is no run, no preset and no recipe (longhand info --presets lists the presets)", what);
}

/* A run or model directory, or a file in one; else the recipe of a preset or a file. */
static lh_status open_recipe(lh_recipe **recipe, const char *what, lh_error *error)
{
    size_t length = strlen(what);
    bool weights = length > 12 && strcmp(what + length - 12, ".safetensors") == 0;
    if (weights || lh_directory_exists(what)) {
        lh_model_dir files;
        LH_TRY(lh_model_dir_open(&files, what, NULL, error));
        lh_status status = lh_model_load_config(recipe, files.config, error);
        lh_model_dir_close(&files);
        return status;
    }
    LH_TRY(lh_train_recipe_create(recipe, error)); /* recipes say more than what is told here */
    return fill(*recipe, what, error);
}

static void print_text(lh_string *out, const char *what, const lh_recipe *recipe, int64_t vocab,
                       const lh_model_description *d)
{
    char a[32], b[32];
    lh_string_print(out, "%s: %lld layers, width %lld, %lld heads, memory %s, vocabulary %lld\n\n", what,
                    (long long)lh_recipe_integer(recipe, "model.layers"),
                    (long long)lh_recipe_integer(recipe, "model.width"),
                    (long long)lh_recipe_integer(recipe, "model.heads"), lh_recipe_string(recipe, "memory.kind"),
                    (long long)vocab);
    if (d->note) {
        lh_string_print(out, "%s\n\n", d->note);
    }
    lh_string_print(out, "parameters        %14lld  %s\n", (long long)d->parameters,
                    lh_format_count(a, sizeof a, (double)d->parameters));
    for (int i = 0; i < LH_PARTS; i++) {
        if (d->parts[i] > 0) {
            lh_string_print(out, "  %-16s%14lld  %s\n", lh_parameter_part_name((lh_parameter_part)i),
                            (long long)d->parts[i], lh_format_count(a, sizeof a, (double)d->parts[i]));
        }
    }
    if (d->compressed_own > 0) {
        lh_string_print(out, "                  (positions hold %s of compressed slots' own)\n",
                        lh_format_count(a, sizeof a, (double)d->compressed_own));
    }
    lh_string_print(out, "without vocabulary%14lld  %s\n", (long long)d->body,
                    lh_format_count(a, sizeof a, (double)d->body));
    lh_string_print(out, "active per token  %14lld  %s\n\n", (long long)d->active,
                    lh_format_count(a, sizeof a, (double)d->active));
    lh_string_print(out, "memory of one document  %s, and %s while a segment runs\n",
                    lh_format_bytes(a, sizeof a, (double)d->state_bytes),
                    lh_format_bytes(b, sizeof b, (double)d->running_bytes));
    long long segment = (long long)lh_recipe_integer(recipe, "model.segment");
    if (d->reach >= LH_DISTANCE_ANY) {
        lh_string_print(out, "reaches back            to the beginning, from a segment of %lld, in every layer\n",
                        segment);
    } else {
        lh_string_print(out, "reaches back            %lld tokens before a segment of %lld, in every layer\n",
                        (long long)d->reach, segment);
    }
    if (d->source > 0) {
        lh_string_print(out, "beside a source of      %lld tokens, read by an encoder of %lld layers\n",
                        (long long)d->source, (long long)d->encoder_layers);
    }
    lh_string_print(out, "arithmetic per token    %sflop forward, of it %sflop attention\n",
                    lh_format_count(a, sizeof a, d->flops), lh_format_count(b, sizeof b, d->attention_flops));
}

static lh_status print_json(lh_string *out, const char *what, const lh_recipe *recipe, int64_t vocab,
                            const lh_model_description *d, lh_error *error)
{
    json_t *parts = json_object();
    for (int i = 0; i < LH_PARTS; i++) {
        json_object_set_new(parts, lh_parameter_part_name((lh_parameter_part)i), json_integer(d->parts[i]));
    }
    json_t *root = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:o, s:f, s:f}", "model", what, "memory",
        lh_recipe_string(recipe, "memory.kind"), "layers", (json_int_t)lh_recipe_integer(recipe, "model.layers"),
        "width", (json_int_t)lh_recipe_integer(recipe, "model.width"), "segment",
        (json_int_t)lh_recipe_integer(recipe, "model.segment"), "vocabulary", (json_int_t)vocab, "parameters",
        (json_int_t)d->parameters, "parts", parts, "body", (json_int_t)d->body, "active", (json_int_t)d->active,
        "state_bytes", (json_int_t)d->state_bytes, "reach",
        d->reach < LH_DISTANCE_ANY ? json_integer(d->reach) : json_null(), "forward_flops", d->flops,
        "attention_flops", d->attention_flops);
    if (!root) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the answer");
    }
    if (d->source > 0) {
        json_object_set_new(root, "source", json_integer((json_int_t)d->source));
        json_object_set_new(root, "encoder_layers", json_integer((json_int_t)d->encoder_layers));
    }
    lh_json_dump(root, out);
    json_decref(root);
    return LH_OK;
}

static lh_status describe(const lh_command *command, lh_recipe *recipe, lh_error *error)
{
    const char *what = lh_command_operand(command, 0);
    for (int i = 1; i < lh_command_operand_count(command); i++) {
        LH_TRY(lh_recipe_override(recipe, lh_command_operand(command, i), error));
    }
    LH_TRY(lh_recipe_resolve(recipe, error));
    int64_t vocab = lh_command_integer(command, "vocab");
    vocab = vocab > 0 ? vocab : lh_recipe_integer(recipe, "model.vocab");
    vocab = vocab > 0 ? vocab : DEFAULT_VOCABULARY;
    lh_model_description description;
    LH_TRY(lh_recipe_describe_model(&description, recipe, vocab, error));
    lh_string out = {0};
    if (lh_command_flag(command, "json")) {
        LH_TRY(print_json(&out, what, recipe, vocab, &description, error));
    } else {
        print_text(&out, what, recipe, vocab, &description);
    }
    return lh_print_text(&out, error);
}

static lh_status run_info(const lh_command *command, lh_error *error)
{
    bool json = lh_command_flag(command, "json");
    if (lh_command_flag(command, "presets")) {
        return list_presets(json, error);
    }
    if (lh_command_flag(command, "memories")) {
        return list_memories(json, error);
    }
    if (lh_command_operand_count(command) < 1) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "info needs a run, a preset or a recipe (or --presets, or --memories)");
    }
    lh_recipe *recipe = NULL;
    lh_status status = open_recipe(&recipe, lh_command_operand(command, 0), error);
    if (status == LH_OK) {
        status = describe(command, recipe, error);
    }
    lh_recipe_free(recipe);
    return status;
}

const lh_verb lh_verb_info = {
    .name = "info",
    .summary = "Say what a model is and what it costs",
    .operands = "RUN|PRESET|RECIPE [section.key=value ...]",
    .description =
        "Prints the parameters of a model by what they are for, the bytes of memory that one document takes, how "
        "far "
        "back that reaches, and the arithmetic of one token.\n\n"
        "The model is a run or model directory, a preset, or a recipe file. Sizes can be varied with "
        "section.key=value. No weights are read and none are made, so the largest published models can be "
        "described on any machine.\n\n"
        "\"without vocabulary\" leaves out embeddings and output tables: the count that papers usually print.",
    .examples = "longhand info compressive-enwik8\n    a published configuration\n"
                "longhand info runs/first memory.compressed=3072\n    a trained model with a longer memory\n"
                "longhand info --presets\n    all presets",
    .min_operands = 0,
    .max_operands = -1,
    .options = options,
    .run = run_info,
};
