#include "base/progress.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "formats/json_util.h"
#include "train/request.h"
#include "train/speed.h"

#include <stdio.h>

static const lh_option options[] = {
    {"lanes", 'b', LH_OPTION_INTEGER, "N", NULL, "Documents read side by side (default: data.batch of the recipe)",
     NULL},
    {"steps", 'n', LH_OPTION_INTEGER, "N", "5", "Steps that are timed, after two of warm-up", NULL},
    {"decode", 0, LH_OPTION_INTEGER, "N", "32", "Tokens that are decoded one by one; 0: none", NULL},
    {"vocab", 0, LH_OPTION_INTEGER, "N", "256", "Vocabulary of a preset or recipe that leaves it to the tokenizer",
     NULL},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON", NULL},
    {0},
};

static bool interrupted(void *user)
{
    (void)user;
    return lh_signals_pending() != 0;
}

static lh_status read_recipe(const lh_command *command, lh_recipe *recipe, lh_error *error)
{
    const char *what = lh_command_operand(command, 0);
    char text[64];
    LH_TRY(lh_train_request_read(recipe, what, error));
    for (int i = 1; i < lh_command_operand_count(command); i++) {
        LH_TRY(lh_recipe_override(recipe, lh_command_operand(command, i), error));
    }
    if (lh_command_given(command, "lanes")) {
        (void)snprintf(text, sizeof text, "data.batch=%lld", (long long)lh_command_integer(command, "lanes"));
        LH_TRY(lh_recipe_override(recipe, text, error));
    }
    LH_TRY(lh_recipe_override(recipe, "train.steps=1000000", error));
    LH_TRY(lh_recipe_override(recipe, "data.path=random", error)); /* demanded, but never opened */
    return lh_recipe_resolve(recipe, error);
}

static void print_text(lh_string *out, const char *what, const lh_speed *s)
{
    char a[32], b[32];
    lh_string_print(out, "%s: %s parameters, %lld lanes, %lld tokens a step\n\n", what,
                    lh_format_count(a, sizeof a, (double)s->parameters), (long long)s->lanes,
                    (long long)s->step_tokens);
    lh_string_print(out, "training     %10.0f tokens/s   %.0f of %.0f GFLOP/s, %.0f %% of a large product's rate\n",
                    s->train, 1e-9 * s->train_flops, 1e-9 * s->gemm, 100 * s->train_share);
    lh_string_print(out, "evaluation   %10.0f tokens/s   %.2f times training\n", s->evaluate,
                    s->evaluate / s->train);
    if (s->decode > 0) {
        lh_string_print(out, "decoding     %10.1f tokens/s   %s a token, %.0f %% of the rate of reading memory\n",
                        s->decode, lh_format_bytes(a, sizeof a, s->decode_bytes), 100 * s->decode_share);
    }
    lh_string_print(out, "memory       %s for the tensors of a step, %s in all\n",
                    lh_format_bytes(a, sizeof a, s->step_bytes), lh_format_bytes(b, sizeof b, s->resident_bytes));
    lh_string_print(out, "             %s of state for each document\n",
                    lh_format_bytes(a, sizeof a, s->state_bytes));
    lh_string_print(out, "allocations  %.3g a step\n", s->allocations);
}

static lh_status print_json(lh_string *out, const char *what, const lh_speed *s, lh_error *error)
{
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "preset",
        what, "parameters", (json_int_t)s->parameters, "lanes", (json_int_t)s->lanes, "segment",
        (json_int_t)s->segment, "step_tokens", (json_int_t)s->step_tokens, "train_tokens_per_s", s->train,
        "eval_tokens_per_s", s->evaluate, "eval_over_train", s->evaluate / s->train, "decode_tokens_per_s",
        s->decode, "train_gflops", 1e-9 * s->train_flops, "gemm_gflops", 1e-9 * s->gemm, "share_of_gemm",
        s->train_share, "read_gb_per_s", 1e-9 * s->read, "decode_mb_per_token", 1e-6 * s->decode_bytes,
        "decode_share_of_reading", s->decode_share, "step_mb", 1e-6 * s->step_bytes, "resident_peak_mb",
        1e-6 * s->resident_bytes, "state_bytes", s->state_bytes, "heap_allocations_per_step", s->allocations);
    if (!root) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the answer");
    }
    lh_json_dump(root, out);
    json_decref(root);
    return LH_OK;
}

static lh_status measure(const lh_command *command, lh_recipe *recipe, lh_error *error)
{
    lh_speed speed;
    lh_string out = {0};
    LH_TRY(read_recipe(command, recipe, error));
    lh_speed_options wanted = {.vocab = lh_command_integer(command, "vocab"),
                               .steps = lh_command_integer(command, "steps"),
                               .decode = lh_command_integer(command, "decode"),
                               .stop = interrupted};
    if (wanted.steps < 1 || wanted.steps > 1 << 20 || wanted.decode < 0 || wanted.vocab < 1) {
        return lh_fail(error, LH_E_ARGUMENT, "--steps and --vocab must be at least 1, and --decode at least 0");
    }
    lh_signals_install();
    LH_TRY(lh_speed_measure(&speed, recipe, &wanted, error));
    if (lh_command_flag(command, "json")) {
        LH_TRY(print_json(&out, lh_command_operand(command, 0), &speed, error));
    } else {
        print_text(&out, lh_command_operand(command, 0), &speed);
    }
    return lh_print_text(&out, error);
}

static lh_status run_bench(const lh_command *command, lh_error *error)
{
    lh_recipe *recipe;
    LH_TRY(lh_train_recipe_create(&recipe, error));
    lh_status status = measure(command, recipe, error);
    lh_recipe_free(recipe);
    return status;
}

const lh_verb lh_verb_bench = {
    .name = "bench",
    .summary = "Measure how fast a model trains, evaluates and decodes here",
    .operands = "PRESET|RECIPE [section.key=value ...]",
    .description =
        "Trains a model on random tokens for a few steps, evaluates as many segments, decodes a few tokens one by "
        "one, and prints the rates beside what this machine can do: the rate of a large matrix product and of "
        "reading memory, measured between the same steps. Numbers are medians, so other work on the machine "
        "disturbs the ratios little.\n\n"
        "Arithmetic is counted as 6 operations per token and active parameter, and attention over the keys that a "
        "query scores on the average.",
    .examples = "longhand bench compressive-small --lanes 4\n    a preset\n"
                "longhand bench vanilla-small model.segment=8192 --lanes 1 --steps 3\n    a long segment\n"
                "longhand bench recipes/compressive-book.ini --json\n    a recipe, for a script",
    .min_operands = 1,
    .max_operands = -1,
    .options = options,
    .run = run_bench,
};
