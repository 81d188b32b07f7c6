#include "base/random.h"
#include "formats/ini.h"
#include "formats/recipe.h"

#include <inttypes.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/test_folder.h"

/* ---- INI ---- */

static lh_status note_line(void *user, const char *section, const char *key, const char *value, int line,
                           lh_error *error)
{
    (void)error;
    lh_string_print(user, "%d[%s]%s=%s|", line, section, key ? key : "-", value ? value : "-");
    return LH_OK;
}

static void assert_parses(const char *text, const char *expected)
{
    lh_string notes = {0};
    lh_error error = {0};
    lh_string_append(&notes, "", 0);
    if (lh_ini_parse("x", text, strlen(text), note_line, &notes, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_string_equal(notes.data, expected);
    lh_string_free(&notes);
}

static void ini_reads_every_form(void **state)
{
    (void)state;
    assert_parses("", "");
    assert_parses("\n\r\n  \n# c\n ; c\n", "");
    assert_parses("a=1", "1[]a=1|");
    assert_parses("\xEF\xBB\xBF[s]\na = 1\r\n", "1[s]-=-|2[s]a=1|");
    assert_parses("[ s ] # c\n\ta\t=\t1 2 \t; c\n", "1[s]-=-|2[s]a=1 2|");
    assert_parses("a=b=c\nb=#x\nc=1#2;3\nd=\n", "1[]a=b=c|2[]b=|3[]c=1#2;3|4[]d=|");
    assert_parses("a = \" b # ; c \\\"\\\\\\n\\t\\r\" # c\n", "1[]a= b # ; c \"\\\n\t\r|");
    assert_parses("a=\"\"\nb=it's \"here\"", "1[]a=|2[]b=it's \"here\"|");
    /* Indentation is no continuation. */
    assert_parses("[m]\n  layers = 6\n  heads = 8\n", "1[m]-=-|2[m]layers=6|3[m]heads=8|");
}

static void ini_takes_lines_of_any_length(void **state)
{
    (void)state;
    lh_string text = {0}, expected = {0};
    lh_string_print(&text, "a = ");
    lh_string_print(&expected, "1[]a=");
    for (int i = 0; i < 5000; i++) {
        lh_string_print(&text, "/books=%d", i);
        lh_string_print(&expected, "/books=%d", i);
    }
    lh_string_print(&expected, "|");
    assert_parses(text.data, expected.data);
    lh_string_free(&text);
    lh_string_free(&expected);
}

static void ini_names_the_line_at_fault(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"a=1\nnonsense\n", "x:2: expected 'key = value'"},
        {"= 1", "x:1: expected 'key = value'"},
        {"\n[s\n", "x:2: a section line must read [name]"},
        {"[s] t", "x:1: a section line must read [name]"},
        {"a = \"b", "x:1: the quotes around the value of 'a' are not closed"},
        {"a = \"b\\", "x:1: the value of 'a' has a backslash"},
        {"a = \"\\q\"", "x:1: the value of 'a' has a backslash"},
        {"a = \"b\" c", "x:1: there is text after the quoted value of 'a'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lh_string notes = {0};
        lh_error error = {0};
        assert_int_equal(lh_ini_parse("x", wrong[i].text, strlen(wrong[i].text), note_line, &notes, &error),
                         LH_E_CONFIG);
        assert_says(&error, wrong[i].words);
        lh_string_free(&notes);
    }
    lh_error error = {0};
    assert_int_equal(lh_ini_parse("x", "a=\0b", 4, note_line, NULL, &error), LH_E_CONFIG);
    assert_says(&error, "byte 2 is zero");
}

static lh_status keep_value(void *user, const char *section, const char *key, const char *value, int line,
                            lh_error *error)
{
    (void)section, (void)key, (void)line, (void)error;
    lh_string_append(user, value, strlen(value));
    return LH_OK;
}

static void ini_values_come_back(void **state)
{
    (void)state;
    lh_random random = lh_random_create(3, 4);
    for (int round = 0; round < 3000; round++) {
        static const char letters[] = "ab \t\n\r\"\\#;=[]'\x01\xC3\xA4,";
        char value[12] = "";
        size_t size = lh_random_below(&random, sizeof value);
        for (size_t i = 0; i < size; i++) {
            value[i] = letters[lh_random_below(&random, sizeof letters - 1)];
        }
        lh_string text = {0}, back = {0};
        lh_string_append(&back, "", 0);
        lh_string_print(&text, "key = ");
        lh_ini_append_value(&text, value);
        lh_string_print(&text, "  # comment\n");
        assert_int_equal(lh_ini_parse("x", text.data, text.size, keep_value, &back, NULL), LH_OK);
        assert_string_equal(back.data, value);
        lh_string_free(&text);
        lh_string_free(&back);
    }
}

/* ---- a schema like the program's ---- */

static const lh_recipe_key base_keys[] = {
    {.section = "data", .key = "train", .type = LH_RECIPE_STRING, .fallback = "", .help = "what to train on"},
    {.section = "model",
     .key = "layers",
     .type = LH_RECIPE_INTEGER,
     .fallback = "6",
     .min = 1,
     .max = 1000,
     .help = "decoder layers"},
    {.section = "model",
     .key = "heads",
     .type = LH_RECIPE_INTEGER,
     .fallback = "8",
     .min = 1,
     .max = 512,
     .help = "attention heads"},
    {.section = "model",
     .key = "norm",
     .type = LH_RECIPE_CHOICE,
     .fallback = "pre",
     .choices = "pre|post|none",
     .help = "where the norm stands"},
    {.section = "memory",
     .key = "kind",
     .type = LH_RECIPE_CHOICE,
     .fallback = "none",
     .choices = "none|transformer-xl|compressive",
     .help = "where keys beyond the segment come from"},
    {.section = "train",
     .key = "lr",
     .type = LH_RECIPE_REAL,
     .fallback = "3e-4",
     .min = 0,
     .max = 1,
     .help = "peak learning rate"},
    {.section = "train",
     .key = "steps",
     .type = LH_RECIPE_INTEGER,
     .fallback = "10k",
     .min = 0,
     .max = LH_RECIPE_NO_MAX,
     .help = "optimizer steps"},
    {.section = "train", .key = "resume", .type = LH_RECIPE_BOOLEAN, .fallback = "no", .help = "go on"},
    {.section = "train",
     .key = "seed",
     .type = LH_RECIPE_INTEGER,
     .fallback = "0",
     .help = "of the random numbers"},
    {.section = "eval",
     .key = "lengths",
     .type = LH_RECIPE_LIST,
     .fallback = "512, 1024",
     .min = 1,
     .max = 1e9,
     .help = "context lengths"},
    {0},
};

static const lh_recipe_key memory_keys[] = {
    {.section = "memory",
     .key = "length",
     .type = LH_RECIPE_INTEGER,
     .fallback = "512",
     .min = 0,
     .max = 1e6,
     .condition = "memory.kind=transformer-xl,compressive",
     .help = "remembered keys a layer"},
    {.section = "memory",
     .key = "rate",
     .type = LH_RECIPE_INTEGER,
     .fallback = "4",
     .min = 1,
     .max = 64,
     .condition = "memory.kind=compressive",
     .help = "old memories that become one"},
    {.section = "memory",
     .key = "function",
     .type = LH_RECIPE_CHOICE,
     .fallback = "conv",
     .choices = "conv|mean|max",
     .condition = "memory.kind=compressive",
     .help = "the compression"},
    {.section = "memory",
     .key = "dilation",
     .type = LH_RECIPE_LIST,
     .fallback = "",
     .condition = "memory.function=conv memory.kind!=none",
     .help = "of the convolution"},
    {0},
};

static const lh_recipe_key *const tables[] = {base_keys, memory_keys, NULL};

static const lh_recipe_preset presets[] = {
    {"tiny", "[model]\nlayers = 2\nheads = 2\n", "two layers"},
    {"tiny-compressive", "preset = tiny\n[model]\nheads = 4\n[memory]\nkind = compressive\nrate = 3\nlength = 64\n",
     "two layers, compressed memories"},
    {"loop-a", "preset = loop-b\n", "a loop"},
    {"loop-b", "preset = loop-a\n", "a loop"},
    {"broken", "[model]\nlayer = 2\n", "an unknown key"},
};

static lh_recipe *fresh_recipe(void)
{
    lh_recipe *recipe = NULL;
    lh_error error = {0};
    if (lh_recipe_create(&recipe, tables, presets, sizeof presets / sizeof presets[0], &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return recipe;
}

static lh_status try_text(lh_recipe *recipe, const char *text, lh_error *error)
{
    LH_TRY(lh_recipe_read_text(recipe, "a.ini", text, strlen(text), error));
    return lh_recipe_resolve(recipe, error);
}

static lh_recipe *resolved(const char *text)
{
    lh_recipe *recipe = fresh_recipe();
    lh_error error = {0};
    if (try_text(recipe, text, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return recipe;
}

static void assert_rejected(const char *text, const char *words)
{
    lh_recipe *recipe = fresh_recipe();
    lh_error error = {0};
    assert_int_equal(try_text(recipe, text, &error), LH_E_CONFIG);
    assert_says(&error, words);
    lh_recipe_free(recipe);
}

/* ---- values ---- */

static void defaults_hold(void **state)
{
    (void)state;
    lh_recipe *recipe = resolved("");
    size_t count = 0;
    assert_string_equal(lh_recipe_string(recipe, "data.train"), "");
    assert_int_equal(lh_recipe_integer(recipe, "model.layers"), 6);
    assert_string_equal(lh_recipe_string(recipe, "model.norm"), "pre");
    assert_true(lh_recipe_real(recipe, "train.lr") == 3e-4);
    assert_int_equal(lh_recipe_integer(recipe, "train.steps"), 10000);
    assert_false(lh_recipe_boolean(recipe, "train.resume"));
    const int64_t *lengths = lh_recipe_list(recipe, "eval.lengths", &count);
    assert_int_equal(count, 2);
    assert_int_equal(lengths[1], 1024);
    assert_string_equal(lh_recipe_origin(recipe, "model.layers"), "default");
    assert_false(lh_recipe_given(recipe, "model.layers"));
    assert_null(lh_recipe_preset_name(recipe));
    assert_false(lh_recipe_active(recipe, "memory.rate"));
    assert_int_equal(lh_recipe_integer(recipe, "memory.rate"), 4);
    assert_false(lh_recipe_active(recipe, "memory.nonsense"));
    lh_recipe_free(recipe);
}

static void every_type_is_read(void **state)
{
    (void)state;
    lh_recipe *recipe =
        resolved("[data]\ntrain = \"a b;c\" ; books\n[model]\nlayers = 1k\nnorm=post\n[train]\nlr = 1e-5\n"
                 "resume = on\nseed = -9223372036854775808\n[eval]\nlengths = 1 2,3 , 4Ki\t5\n");
    size_t count = 0;
    assert_string_equal(lh_recipe_string(recipe, "data.train"), "a b;c");
    assert_int_equal(lh_recipe_integer(recipe, "model.layers"), 1000);
    assert_string_equal(lh_recipe_string(recipe, "model.norm"), "post");
    assert_true(lh_recipe_real(recipe, "train.lr") == 1e-5);
    assert_true(lh_recipe_boolean(recipe, "train.resume"));
    assert_true(lh_recipe_integer(recipe, "train.seed") == INT64_MIN);
    const int64_t *lengths = lh_recipe_list(recipe, "eval.lengths", &count);
    assert_int_equal(count, 5);
    assert_int_equal(lengths[3], 4096);
    assert_int_equal(lengths[4], 5);
    assert_string_equal(lh_recipe_origin(recipe, "model.norm"), "a.ini:5");
    assert_true(lh_recipe_given(recipe, "model.norm"));
    lh_recipe_free(recipe);
    recipe = resolved("[eval]\nlengths =\n");
    (void)lh_recipe_list(recipe, "eval.lengths", &count);
    assert_int_equal(count, 0);
    lh_recipe_free(recipe);
}

static void wrong_values_are_named(void **state)
{
    (void)state;
    assert_rejected("[model]\n\nlayers = six\n",
                    "a.ini:3: [model] layers = 'six' must be an integer from 1 to 1000");
    assert_rejected("[model]\nlayers = 0\n", "layers = '0' must be an integer from 1 to 1000");
    assert_rejected("[model]\nlayers = 1001\n", "layers = '1001' must be");
    assert_rejected("[model]\nlayers = 6.5\n", "must be an integer");
    assert_rejected("[model]\nlayers =\n", "layers = '' must be an integer");
    assert_rejected("[train]\nlr = fast\n", "lr = 'fast' must be a number from 0 to 1");
    assert_rejected("[train]\nlr = nan\n", "must be a number from 0 to 1");
    assert_rejected("[train]\nlr = inf\n", "must be a number from 0 to 1");
    assert_rejected("[train]\nsteps = -1\n", "must be an integer of at least 0");
    assert_rejected("[train]\nseed = 9223372036854775808\n", "must be an integer");
    assert_rejected("[train]\nresume = maybe\n", "must be true or false");
    assert_rejected("[model]\nnorm = both\n", "norm = 'both' must be one of pre, post, none");
    assert_rejected("[model]\nnorm = pr\n", "must be one of");
    assert_rejected("[model]\nnorm = pre|post\n", "must be one of");
    assert_rejected("[eval]\nlengths = 1,,2\n", "must be a list of integers from 1 to 1000000000");
    assert_rejected("[eval]\nlengths = 1,2,\n", "must be a list of integers");
    assert_rejected("[eval]\nlengths = ,1\n", "must be a list of integers");
    assert_rejected("[eval]\nlengths = 1 two\n", "must be a list of integers");
    assert_rejected("[eval]\nlengths = 5 0\n", "must be a list of integers");
}

static void unknown_names_are_named(void **state)
{
    (void)state;
    assert_rejected("[model]\nlayer = 3\n", "a.ini:2: unknown key 'layer' in [model]; did you mean 'layers'?");
    assert_rejected("[model]\nlr = 3\n", "unknown key 'lr' in [model]; a key of that name is in [train]");
    assert_rejected("[model]\nzzzzzzz = 3\n", "unknown key 'zzzzzzz' in [model]");
    assert_rejected("[modle]\n", "a.ini:1: unknown section [modle]; did you mean [model]?");
    assert_rejected("layers = 3\n", "a.ini:1: key 'layers' stands before the first [section]");
    assert_rejected("[model]\nlayers = 3\nheads = 1\nlayers = 4\n",
                    "a.ini:4: 'layers' is given a second time; line 2");
    assert_rejected("[model]\npreset = tiny\n", "unknown key 'preset'");
    assert_rejected("preset = tinny\n", "a.ini:1: there is no preset 'tinny'; did you mean 'tiny'?");
    assert_rejected("preset = loop-a\n", "presets name each other");
    assert_rejected("preset = broken\n", "preset broken:2: unknown key 'layer' in [model]");
}

/* ---- layers ---- */

static void stronger_sources_win(void **state)
{
    (void)state;
    lh_recipe *recipe = fresh_recipe();
    lh_error error = {0};
    const char text[] = "preset = tiny-compressive\n[memory]\nrate = 5\n[train]\nlr = 0.5\nseed = 1\n";
    assert_int_equal(lh_recipe_read_text(recipe, "a.ini", text, strlen(text), &error), LH_OK);
    assert_int_equal(lh_recipe_read_text(recipe, "b.ini", "[train]\nseed = 2\n", 17, &error), LH_OK);
    assert_int_equal(lh_recipe_override(recipe, "train.lr=0.25", &error), LH_OK);
    assert_int_equal(lh_recipe_override(recipe, "data.train=x # y", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_OK);
    assert_int_equal(lh_recipe_integer(recipe, "model.layers"), 2);   /* the preset's base */
    assert_int_equal(lh_recipe_integer(recipe, "model.heads"), 4);    /* the preset over its base */
    assert_int_equal(lh_recipe_integer(recipe, "memory.length"), 64); /* the preset */
    assert_int_equal(lh_recipe_integer(recipe, "memory.rate"), 5);    /* the file over the preset */
    assert_int_equal(lh_recipe_integer(recipe, "train.seed"), 2);     /* a later file */
    assert_true(lh_recipe_real(recipe, "train.lr") == 0.25);          /* the command line over the file */
    assert_string_equal(lh_recipe_string(recipe, "data.train"), "x # y");
    assert_string_equal(lh_recipe_origin(recipe, "model.layers"), "preset tiny");
    assert_string_equal(lh_recipe_origin(recipe, "model.heads"), "preset tiny-compressive");
    assert_string_equal(lh_recipe_origin(recipe, "memory.rate"), "a.ini:3");
    assert_string_equal(lh_recipe_origin(recipe, "train.seed"), "b.ini:2");
    assert_string_equal(lh_recipe_origin(recipe, "train.lr"), "command line");
    assert_string_equal(lh_recipe_preset_name(recipe), "tiny-compressive");
    /* A preset on the command line takes the file's place; resolving again works. */
    assert_int_equal(lh_recipe_override(recipe, "preset=tiny", &error), LH_OK);
    assert_int_equal(lh_recipe_override(recipe, "memory.kind=compressive", &error), LH_OK);
    assert_int_equal(lh_recipe_override(recipe, "train.lr=0.125", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_OK);
    assert_int_equal(lh_recipe_integer(recipe, "model.heads"), 2);
    assert_int_equal(lh_recipe_integer(recipe, "memory.length"), 512);
    assert_true(lh_recipe_real(recipe, "train.lr") == 0.125);
    lh_recipe_free(recipe);
}

static void overrides_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *argument, *words;
    } wrong[] = {
        {"model.layers", "'model.layers' does not read section.key=value"},
        {"layers=3", "'layers=3' does not read section.key=value"},
        {"model.layer=3", "command line: unknown key 'layer' in [model]; did you mean 'layers'?"},
        {"modle.layers=3", "command line: unknown section [modle]; did you mean [model]?"},
        {"model.layers=x", "command line: [model] layers = 'x' must be an integer"},
        {"=3", "does not read"},
        {".=3", "command line: key '' stands before"},
        {"", "does not read"},
        {"preset=nine", "command line: there is no preset 'nine'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lh_recipe *recipe = fresh_recipe();
        lh_error error = {0};
        lh_status status = lh_recipe_override(recipe, wrong[i].argument, &error);
        if (status == LH_OK) {
            status = lh_recipe_resolve(recipe, &error);
        }
        assert_int_equal(status, LH_E_CONFIG);
        assert_says(&error, wrong[i].words);
        lh_recipe_free(recipe);
    }
}

/* A failed read leaves what was there before it. */
static void a_failed_read_changes_nothing(void **state)
{
    (void)state;
    lh_recipe *recipe = resolved("[model]\nlayers = 3\n");
    const char bad[] = "[model]\nlayers = 4\nlayer = 5\n";
    assert_int_equal(lh_recipe_read_text(recipe, "b.ini", bad, strlen(bad), NULL), LH_E_CONFIG);
    assert_int_equal(lh_recipe_resolve(recipe, NULL), LH_OK);
    assert_int_equal(lh_recipe_integer(recipe, "model.layers"), 3);
    lh_recipe_free(recipe);
}

/* ---- conditions ---- */

static void conditions_are_kept(void **state)
{
    (void)state;
    assert_rejected(
        "[memory]\nrate = 2\n",
        "a.ini:2: [memory] rate = 2 is legal only with memory.kind=compressive, but memory.kind is 'none'");
    assert_rejected("[memory]\nrate = 2\nkind = transformer-xl\n", "memory.kind is 'transformer-xl' (a.ini:3)");
    assert_rejected("[memory]\ndilation = 1\nkind = compressive\nfunction = max\n", "memory.function is 'max'");
    assert_rejected("[memory]\ndilation = 1\n", "memory.function is not in use here");
    lh_recipe *recipe = resolved("[memory]\nkind = transformer-xl\nlength = 3\n");
    assert_true(lh_recipe_active(recipe, "memory.length"));
    assert_false(lh_recipe_active(recipe, "memory.rate"));
    assert_false(lh_recipe_active(recipe, "memory.dilation"));
    lh_recipe_free(recipe);
    recipe = resolved("[memory]\nkind = compressive\ndilation = 1 2 4\n");
    assert_true(lh_recipe_active(recipe, "memory.dilation"));
    lh_recipe_free(recipe);
}

static void a_stronger_source_silences_keys(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_recipe *recipe = fresh_recipe();
    const char text[] = "[memory]\nkind = compressive\nrate = 5\ndilation = 1\n";
    assert_int_equal(lh_recipe_read_text(recipe, "a.ini", text, strlen(text), &error), LH_OK);
    assert_int_equal(lh_recipe_override(recipe, "memory.kind=none", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_OK);
    assert_false(lh_recipe_active(recipe, "memory.rate"));
    assert_false(lh_recipe_given(recipe, "memory.rate"));
    assert_int_equal(lh_recipe_integer(recipe, "memory.rate"), 4);
    assert_string_equal(lh_recipe_origin(recipe, "memory.rate"), "default");
    /* but what is as strong as the switch is a contradiction, */
    assert_int_equal(lh_recipe_override(recipe, "memory.rate=2", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_E_CONFIG);
    assert_says(&error, "command line: [memory] rate = 2 is legal only with memory.kind=compressive");
    lh_recipe_free(recipe);
    /* and a preset does not silence a file. */
    assert_rejected("preset = tiny\n[memory]\nrate = 5\n", "legal only with");
    recipe = resolved("preset = tiny-compressive\n[memory]\nkind = none\n");
    assert_false(lh_recipe_active(recipe, "memory.rate"));
    lh_recipe_free(recipe);
}

/* Two kinds may give one key different ranges and defaults. */
static void rows_of_one_key_take_turns(void **state)
{
    (void)state;
    static const lh_recipe_key kinds[] = {
        {.section = "m", .key = "kind", .type = LH_RECIPE_CHOICE, .fallback = "a", .choices = "a|b|c", .help = "-"},
        {0}};
    static const lh_recipe_key a[] = {{.section = "m",
                                       .key = "size",
                                       .type = LH_RECIPE_INTEGER,
                                       .fallback = "1",
                                       .min = 1,
                                       .max = 9,
                                       .condition = "m.kind=a",
                                       .help = "of a"},
                                      {0}};
    static const lh_recipe_key b[] = {{.section = "m",
                                       .key = "size",
                                       .type = LH_RECIPE_INTEGER,
                                       .fallback = "100",
                                       .min = 100,
                                       .max = 900,
                                       .condition = "m.kind=b",
                                       .help = "of b"},
                                      {0}};
    lh_recipe *recipe = NULL;
    lh_error error = {0};
    assert_int_equal(lh_recipe_create(&recipe, (const lh_recipe_key *const[]){a, kinds, b, NULL}, NULL, 0, &error),
                     LH_OK);
    assert_int_equal(try_text(recipe, "[m]\nkind=b\n", &error), LH_OK);
    assert_int_equal(lh_recipe_integer(recipe, "m.size"), 100);
    assert_int_equal(lh_recipe_override(recipe, "m.size=5", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_E_CONFIG);
    assert_says(&error, "from 100 to 900");
    assert_int_equal(lh_recipe_override(recipe, "m.kind=a", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_OK);
    assert_int_equal(lh_recipe_integer(recipe, "m.size"), 5);
    error = (lh_error){0};
    assert_int_equal(lh_recipe_override(recipe, "m.kind=c", &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_E_CONFIG);
    assert_says(&error, "legal only with m.kind=a or m.kind=b, but m.kind is 'c'");
    lh_recipe_free(recipe);
}

static void required_keys_are_asked_for(void **state)
{
    (void)state;
    static const lh_recipe_key keys[] = {
        {.section = "data", .key = "train", .type = LH_RECIPE_STRING, .help = "the text to train on"}, {0}};
    lh_recipe *recipe = NULL;
    lh_error error = {0};
    assert_int_equal(lh_recipe_create(&recipe, (const lh_recipe_key *const[]){keys, NULL}, NULL, 0, NULL), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_E_CONFIG);
    assert_says(&error, "[data] train must be set: the text to train on");
    assert_int_equal(lh_recipe_override(recipe, "data.train=x", NULL), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, NULL), LH_OK);
    lh_recipe_free(recipe);
}

static void wrong_schemas_are_found(void **state)
{
    (void)state;
#define ROW(...)                                             \
    {                                                        \
        .section = "s", .key = "k", .help = "-", __VA_ARGS__ \
    }
    static const lh_recipe_key twice[] = {ROW(.type = LH_RECIPE_INTEGER, .fallback = "1"),
                                          ROW(.type = LH_RECIPE_INTEGER, .fallback = "1", .condition = "s.k=1"),
                                          {0}};
    static const lh_recipe_key bad_default[] = {ROW(.type = LH_RECIPE_INTEGER, .fallback = "0", .min = 1, .max = 2),
                                                {0}};
    static const lh_recipe_key circle[] = {ROW(.type = LH_RECIPE_INTEGER, .fallback = "1", .condition = "s.k=1"),
                                           {0}};
    static const lh_recipe_key nowhere[] = {ROW(.type = LH_RECIPE_INTEGER, .fallback = "1", .condition = "s.j=1"),
                                            {0}};
    const struct {
        const lh_recipe_key *keys;
        const char *words;
    } wrong[] = {{twice, "twice"}, {bad_default, "default"}, {circle, "depends on itself"}, {nowhere, "condition"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lh_recipe *recipe = NULL;
        lh_error error = {0};
        lh_status status =
            lh_recipe_create(&recipe, (const lh_recipe_key *const[]){wrong[i].keys, NULL}, NULL, 0, &error);
        if (status == LH_OK) {
            status = lh_recipe_resolve(recipe, &error);
        }
        assert_int_equal(status, LH_E_INTERNAL);
        assert_says(&error, wrong[i].words);
        lh_recipe_free(recipe);
    }
}

/* ---- text ---- */

static const char full_text[] =
    "preset = tiny-compressive\n[data]\ntrain = \"  a # b ; \\\"c\\\" \\\\ \\n\"\n[train]\nlr = 0.1\n"
    "steps = 2M\nseed = 7\nresume = yes\n[memory]\ndilation = 1, 2 4\n[eval]\nlengths =\n";

static void assert_reads_back(bool with_origins)
{
    lh_recipe *first = resolved(full_text), *second = fresh_recipe();
    lh_string one = {0}, two = {0};
    lh_error error = {0};
    lh_recipe_write(first, with_origins, &one);
    assert_false(one.failed);
    if (lh_recipe_read_text(second, "resolved.ini", one.data, one.size, &error) != LH_OK ||
        lh_recipe_resolve(second, &error) != LH_OK) {
        fail_msg("%s in\n%s", error.message, one.data);
    }
    lh_string_clear(&one);
    lh_recipe_write(first, false, &one);
    lh_recipe_write(second, false, &two);
    assert_string_equal(one.data, two.data);
    assert_string_equal(lh_recipe_string(second, "data.train"), "  a # b ; \"c\" \\ \n");
    assert_int_equal(lh_recipe_integer(second, "train.steps"), 2000000);
    assert_true(lh_recipe_real(second, "train.lr") == 0.1);
    assert_int_equal(lh_recipe_integer(second, "memory.rate"), 3);
    assert_null(lh_recipe_preset_name(second));
    lh_string_free(&one);
    lh_string_free(&two);
    lh_recipe_free(first);
    lh_recipe_free(second);
}

static void the_resolved_recipe_reads_back(void **state)
{
    (void)state;
    assert_reads_back(false);
    assert_reads_back(true);
}

static void the_resolved_recipe_is_as_documented(void **state)
{
    (void)state;
    lh_recipe *recipe = resolved("[memory]\nkind = transformer-xl\n[train]\nsteps = 5\n");
    lh_string text = {0};
    lh_recipe_write(recipe, false, &text);
    assert_string_equal(text.data, "[data]\ntrain = \"\"\n\n[model]\nlayers = 6\nheads = 8\nnorm = pre\n\n"
                                   "[memory]\nkind = transformer-xl\nlength = 512\n\n"
                                   "[train]\nlr = 0.0003\nsteps = 5\nresume = false\nseed = 0\n\n"
                                   "[eval]\nlengths = 512, 1024\n");
    lh_string_clear(&text);
    lh_recipe_write(recipe, true, &text);
    assert_non_null(strstr(text.data, "# a.ini:4\n"));
    assert_non_null(strstr(text.data, "# default\n"));
    lh_string_free(&text);
    lh_recipe_free(recipe);
}

static void the_schema_is_described(void **state)
{
    (void)state;
    lh_recipe *recipe = fresh_recipe();
    lh_string text = {0};
    lh_recipe_describe(recipe, LH_RECIPE_TEXT, &text);
    assert_non_null(strstr(text.data, "[memory]\n"));
    assert_non_null(strstr(text.data, "  layers = 6\n      decoder layers; an integer from 1 to 1000\n"));
    assert_non_null(strstr(text.data, "only with memory.kind=compressive\n"));
    for (size_t i = 0; base_keys[i].section; i++) {
        assert_non_null(strstr(text.data, base_keys[i].help));
    }
    lh_string_clear(&text);
    lh_recipe_describe(recipe, LH_RECIPE_MARKDOWN, &text);
    assert_non_null(strstr(text.data, "| `layers` | an integer from 1 to 1000 | `6` | decoder layers |\n"));
    assert_non_null(strstr(text.data, "| `train` | text | (empty) | what to train on |\n"));
    lh_string_clear(&text);
    lh_recipe_describe_presets(recipe, LH_RECIPE_TEXT, &text);
    assert_non_null(strstr(text.data, "  tiny\n      two layers\n"));
    lh_string_free(&text);
    lh_recipe_free(recipe);
}

static void rules_over_several_keys_name_the_origin(void **state)
{
    (void)state;
    lh_recipe *recipe = resolved("[model]\nheads = 7\n");
    lh_error error = {0};
    assert_int_equal(lh_recipe_reject(recipe, "model.heads", &error, "must divide the width (%d)", 512),
                     LH_E_CONFIG);
    assert_string_equal(error.message, "a.ini:2: [model] heads = 7 must divide the width (512)");
    lh_recipe_free(recipe);
}

static void reals_ignore_the_locale(void **state)
{
    (void)state;
    lh_recipe *recipe = resolved("[train]\nlr = 0.3\n");
    lh_string text = {0};
    bool changed = setlocale(LC_NUMERIC, "de_DE.UTF-8") || setlocale(LC_NUMERIC, "fr_FR.UTF-8");
    lh_recipe_write(recipe, false, &text);
    (void)setlocale(LC_NUMERIC, "C");
    assert_non_null(strstr(text.data, "lr = 0.3\n"));
    lh_string_free(&text);
    lh_recipe_free(recipe);
    if (!changed) {
        print_message("no locale with a decimal comma is installed; checked in the C locale only\n");
    }
}

/* ---- files and faults ---- */

static void files_are_read(void **state)
{
    (void)state;
    lh_recipe *recipe = fresh_recipe();
    lh_error error = {0};
    put_file("r.ini", "[model]\nlayers = 9\n");
    assert_int_equal(lh_recipe_read(recipe, in_folder("r.ini"), &error), LH_OK);
    assert_int_equal(lh_recipe_resolve(recipe, &error), LH_OK);
    assert_int_equal(lh_recipe_integer(recipe, "model.layers"), 9);
    assert_int_equal(lh_recipe_read(recipe, in_folder("none.ini"), &error), LH_E_IO);
    assert_says(&error, "none.ini");
    error = (lh_error){0};
    assert_int_equal(lh_recipe_read(recipe, "/dev/zero", &error), LH_E_FORMAT);
    lh_recipe_free(recipe);
}

static void damage_never_crashes(void **state)
{
    (void)state;
    size_t size = strlen(full_text);
    char *text = malloc(size + 1);
    for (size_t cut = 0; cut <= size; cut++) {
        char *part = malloc(cut ? cut : 1);
        memcpy(part, full_text, cut);
        lh_recipe *recipe = fresh_recipe();
        if (lh_recipe_read_text(recipe, "cut", part, cut, NULL) == LH_OK) {
            (void)lh_recipe_resolve(recipe, NULL);
        }
        lh_recipe_free(recipe);
        free(part);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        memcpy(text, full_text, size);
        text[bit / 8] ^= (char)(1 << bit % 8);
        lh_recipe *recipe = fresh_recipe();
        lh_error error = {0};
        lh_status status = lh_recipe_read_text(recipe, "flip", text, size, &error);
        if (status == LH_OK) {
            status = lh_recipe_resolve(recipe, &error);
        }
        assert_true(status == LH_OK || (status == LH_E_CONFIG && error.message[0]));
        lh_recipe_free(recipe);
    }
    free(text);
}

static void want_of_memory_is_reported(void **state)
{
    (void)state;
    uint64_t live = lh_heap_live_bytes();
    lh_status status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_recipe *recipe = NULL;
        lh_heap_fail_after(after);
        status = lh_recipe_create(&recipe, tables, presets, sizeof presets / sizeof presets[0], NULL);
        if (status == LH_OK) {
            status = lh_recipe_read_text(recipe, "a.ini", full_text, strlen(full_text), NULL);
        }
        if (status == LH_OK) {
            status = lh_recipe_override(recipe, "train.seed=3", NULL);
        }
        if (status == LH_OK) {
            status = lh_recipe_resolve(recipe, NULL);
        }
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_recipe_free(recipe);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ini_reads_every_form),
        cmocka_unit_test(ini_takes_lines_of_any_length),
        cmocka_unit_test(ini_names_the_line_at_fault),
        cmocka_unit_test(ini_values_come_back),
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(unknown_names_are_named),
        cmocka_unit_test(stronger_sources_win),
        cmocka_unit_test(overrides_are_checked),
        cmocka_unit_test(a_failed_read_changes_nothing),
        cmocka_unit_test(conditions_are_kept),
        cmocka_unit_test(a_stronger_source_silences_keys),
        cmocka_unit_test(rows_of_one_key_take_turns),
        cmocka_unit_test(required_keys_are_asked_for),
        cmocka_unit_test(wrong_schemas_are_found),
        cmocka_unit_test(the_resolved_recipe_reads_back),
        cmocka_unit_test(the_resolved_recipe_is_as_documented),
        cmocka_unit_test(the_schema_is_described),
        cmocka_unit_test(rules_over_several_keys_name_the_origin),
        cmocka_unit_test(reals_ignore_the_locale),
        cmocka_unit_test_setup_teardown(files_are_read, make_folder, remove_folder),
        cmocka_unit_test(damage_never_crashes),
        cmocka_unit_test(want_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
