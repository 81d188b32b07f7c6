/* The command line over a table of its own, and the rules that every real table must keep. */
#include "base/file.h"
#include "base/memory.h"
#include "cli/internal.h"
#include "cli/verbs.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Prints what it was given, so that a test can read it. */
static lh_status run_show(const lh_command *command, lh_error *error)
{
    if (lh_command_flag(command, "fail")) {
        return lh_fail(error, LH_E_FORMAT, "book.txt: byte 17 is wrong");
    }
    (void)printf("tokens=%lld given=%d rate=%g out=%s mode=%s json=%d fast=%d",
                 (long long)lh_command_integer(command, "tokens"), lh_command_given(command, "tokens"),
                 lh_command_real(command, "rate"),
                 lh_command_string(command, "out") ? lh_command_string(command, "out") : "(none)",
                 lh_command_string(command, "mode"), lh_command_flag(command, "json"),
                 lh_command_flag(command, "fast"));
    for (int i = 0; i < lh_command_operand_count(command); i++) {
        (void)printf(" [%s]", lh_command_operand(command, i));
    }
    (void)printf(lh_command_operand(command, 99) ? "?" : "\n");
    return LH_OK;
}

static const lh_option show_options[] = {
    {"tokens", 'n', LH_OPTION_INTEGER, "N", "100", "How many tokens", NULL},
    {"rate", 0, LH_OPTION_REAL, "X", "0.5", "A rate", NULL},
    {"out", 'o', LH_OPTION_STRING, "DIR", NULL, "Where to write, with [brackets]: and 'quotes'", NULL},
    {"mode", 0, LH_OPTION_STRING, "MODE", "fast", "How", "fast|slow|very-slow"},
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON", NULL},
    {"fast", 'f', LH_OPTION_FLAG, NULL, "true", "Be fast", NULL},
    {"fail", 0, LH_OPTION_FLAG, NULL, NULL, "Fail", NULL},
    {0},
};

static const lh_verb show = {
    .name = "show",
    .summary = "Show what was given",
    .operands = "FIRST [SECOND]",
    .description =
        "A paragraph that is long enough to be wrapped at the eightieth column of the page, as one would "
        "expect of it.\n\nA second one.\n  kept   as it is\n.hidden",
    .examples = "longhand show -n 5 a\n    shows five",
    .min_operands = 1,
    .max_operands = 2,
    .options = show_options,
    .run = run_show,
};

static lh_status run_nothing(const lh_command *command, lh_error *error)
{
    (void)command;
    (void)error;
    (void)printf("nothing, quiet=%s\n", getenv("LH_QUIET") ? getenv("LH_QUIET") : "");
    return LH_OK;
}

static const lh_verb data_prepare = {
    .name = "data prepare", .summary = "Prepare data", .operands = "", .description = "", .run = run_nothing};
static const lh_verb data_info = {
    .name = "data info", .summary = "Count data", .operands = "", .description = "", .run = run_nothing};
static const lh_verb secret = {.name = "secret", .operands = "", .max_operands = -1, .run = run_nothing};

static const lh_verb *const verbs[] = {&show, &data_prepare, &data_info, &secret, NULL};

typedef struct outcome {
    int code;
    char *out, *err;
} outcome;

static char *take_file(const char *name)
{
    char *text = NULL;
    assert_int_equal(lh_file_read(name, 0, &text, NULL, NULL), LH_OK);
    (void)unlink(name);
    return text;
}

/* Runs the command in a child process. `words` ends with NULL. */
static outcome run_words(const char *const *words, const char *out_path)
{
    char out_name[] = "/tmp/longhand-out-XXXXXX", err_name[] = "/tmp/longhand-err-XXXXXX";
    int out = mkstemp(out_name), err = mkstemp(err_name);
    assert_true(out >= 0 && err >= 0);
    char *argv[32] = {(char *)(uintptr_t) "longhand"};
    int argc = 1;
    for (; words[argc - 1]; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    pid_t child = fork();
    if (child == 0) {
        /* A crash must end the child: cmocka's handlers would go on with the next test in it. */
        static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
        for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
            (void)signal(crashes[i], SIG_DFL);
        }
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(err, STDERR_FILENO);
        if (out_path && !freopen(out_path, "w", stdout)) {
            _exit(99);
        }
        int code = lh_cli_run(verbs, argc, argv);
        (void)fflush(NULL);
        _exit(code);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    (void)close(out);
    (void)close(err);
    return (outcome){WEXITSTATUS(status), take_file(out_name), take_file(err_name)};
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect(const char *const *words, int code, const char *out, const char *err)
{
    outcome got = run_words(words, NULL);
    if (got.code != code || !strstr(got.out, out) || !strstr(got.err, err)) {
        print_error("exit code %d\n%s%s", got.code, got.out, got.err);
    }
    assert_int_equal(got.code, code);
    assert_non_null(strstr(got.out, out));
    assert_non_null(strstr(got.err, err));
    if (code == 0) {
        assert_string_equal(got.err, "");
    } else {
        /* One sentence on one line, with the command's name before it. */
        assert_int_equal(strncmp(got.err, "longhand: ", 10), 0);
        assert_ptr_equal(strchr(got.err, '\n'), got.err + strlen(got.err) - 1);
        assert_string_equal(got.out, "");
    }
    lh_heap_free(got.out);
    lh_heap_free(got.err);
}

static void values(void **state)
{
    (void)state;
    expect(WORDS("show", "a"), 0, "tokens=100 given=0 rate=0.5 out=(none) mode=fast json=0 fast=1 [a]\n", "");
    expect(WORDS("show", "--tokens", "10k", "a", "--rate=-3e-1", "b", "--json", "--no-fast"), 0,
           "tokens=10000 given=1 rate=-0.3 out=(none) mode=fast json=1 fast=0 [a] [b]\n", "");
    expect(WORDS("show", "-n5", "-jo", "dir", "a", "--mode", "very-slow"), 0,
           "tokens=5 given=1 rate=0.5 out=dir mode=very-slow json=1 fast=1 [a]\n", "");
    expect(WORDS("show", "-n=7", "-n", "-8", "--fast=off", "-", "--", "--json"), 0,
           "tokens=-8 given=1 rate=0.5 out=(none) mode=fast json=0 fast=0 [-] [--json]\n", "");
    expect(WORDS("show", "-5", "--out=--json"), 0, "out=--json mode=fast json=0 fast=1 [-5]", "");
    expect(WORDS("show", "--out=", "a"), 0, "out= mode", "");
}

static void faults_in_options(void **state)
{
    (void)state;
    expect(WORDS("show", "a", "--tokns", "5"), 2, "", "unknown option --tokns; did you mean --tokens?\n");
    expect(WORDS("show", "a", "--tok"), 2, "", "unknown option --tok; did you mean --tokens?\n");
    expect(WORDS("show", "a", "--zzz=1"), 2, "", "unknown option --zzz (longhand show --help");
    expect(WORDS("show", "a", "-x"), 2, "", "unknown option -x (");
    expect(WORDS("show", "a", "--tokens"), 2, "", "option --tokens needs a value: --tokens N\n");
    expect(WORDS("show", "a", "--out", "--json"), 2, "", "option --out needs a value before --json");
    expect(WORDS("show", "a", "-o"), 2, "", "option --out needs a value");
    expect(WORDS("show", "a", "--tokens", "many"), 2, "",
           "option --tokens needs a whole number such as 500, 10k or 2M, not \"many\"\n");
    expect(WORDS("show", "a", "--tokens=1.5"), 2, "", "not \"1.5\"");
    expect(WORDS("show", "a", "--rate", "x"), 2, "",
           "option --rate needs a number such as 0.8 or 3e-4, not \"x\"\n");
    expect(WORDS("show", "a", "--mode=medium"), 2, "",
           "option --mode is one of fast|slow|very-slow, not \"medium\"\n");
    expect(WORDS("show", "a", "--mode=fas"), 2, "", "not \"fas\"");
    expect(WORDS("show", "a", "--json=maybe"), 2, "", "option --json takes true or false");
    expect(WORDS("show", "a", "--no-tokens"), 2, "", "unknown option --no-tokens");
}

static void faults_in_operands(void **state)
{
    (void)state;
    expect(WORDS("show"), 2, "", "something is missing: longhand show FIRST [SECOND]\n");
    expect(WORDS("show", "a", "b", "c"), 2, "", "\"c\" is one too many: longhand show FIRST [SECOND]\n");
    expect(WORDS("data", "prepare", "x"), 2, "", "longhand data prepare takes options only, not \"x\"\n");
}

static void finding_verbs(void **state)
{
    (void)state;
    expect(WORDS("data", "prepare"), 0, "nothing", "");
    expect(WORDS("data", "info", "-q"), 0, "quiet=1", "");
    expect(WORDS("secret", "x", "y"), 0, "nothing", "");
    expect(WORDS("shwo"), 2, "", "unknown verb \"shwo\"; did you mean \"show\"?\n");
    expect(WORDS("data", "prepair"), 2, "", "unknown verb \"data prepair\"; did you mean \"data prepare\"?\n");
    expect(WORDS("dta", "prepare"), 2, "", "did you mean \"data prepare\"?\n");
    expect(WORDS("data"), 2, "", "longhand data needs another word (longhand help data lists them)\n");
    expect(WORDS("qqqqqq"), 2, "", "unknown verb \"qqqqqq\" (longhand --help lists the verbs)\n");
    expect(WORDS("secrt"), 2, "", "unknown verb \"secrt\" (");
    expect(WORDS("--json", "show"), 2, "", "the verb comes before options such as --json");
    outcome none = run_words((const char *const[]){NULL}, NULL);
    assert_int_equal(none.code, 2);
    lh_heap_free(none.out);
    lh_heap_free(none.err);
}

static void failures_become_exit_codes(void **state)
{
    (void)state;
    expect(WORDS("show", "a", "--fail"), LH_E_FORMAT, "", "longhand: book.txt: byte 17 is wrong\n");
    if (access("/dev/full", W_OK) != 0) {
        skip();
    }
    outcome full = run_words(WORDS("show", "a"), "/dev/full");
    assert_int_equal(full.code, LH_E_IO);
    assert_non_null(strstr(full.err, "cannot write to standard output: No space left"));
    lh_heap_free(full.out);
    lh_heap_free(full.err);
}

static void version_and_help(void **state)
{
    (void)state;
    expect(WORDS("--version"), 0, "longhand " LH_VERSION "\n", "");
    expect(WORDS("-V"), 0, "longhand " LH_VERSION "\n", "");
    expect(WORDS("--help"), 0, "  data prepare       Prepare data\n", "");
    expect(WORDS("help"), 0, "  show               Show what was given\n", "");
    expect(WORDS("help", "show"), 0, "Usage: longhand show [options] FIRST [SECOND]\n", "");
    expect(WORDS("help", "data", "info"), 0, "Usage: longhand data info [options]\n", "");
    expect(WORDS("help", "data"), 0, "  data info          Count data\n", "");
    expect(WORDS("data", "--help"), 0, "  data info          Count data\n", "");
    expect(WORDS("help", "shwo"), 2, "", "did you mean \"show\"?");
    /* Help is wanted even if the rest of the line is wrong. */
    expect(WORDS("show", "--nonsense", "--help"), 0, "Usage: longhand show", "");
    outcome page = run_words(WORDS("show", "-h"), NULL);
    static const char *const parts[] = {
        "  -n, --tokens N          How many tokens (default: 100)\n",
        "      --mode MODE         How; one of fast|slow|very-slow (default: fast)\n",
        "      --rate X            A rate (default: 0.5)\n",
        "  -f, --no-fast           Be fast\n",
        "  -h, --help              Print this page and stop\n",
        "A paragraph that is long enough to be wrapped at the eightieth column of the\npage, as one would expect",
        "\n\nA second one.\n  kept   as it is\n",
        "Examples:\n  longhand show -n 5 a\n      shows five\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!strstr(page.out, parts[i])) {
            print_error("missing: %s\nin: %s", parts[i], page.out);
        }
        assert_non_null(strstr(page.out, parts[i]));
    }
    for (const char *line = page.out; *line; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 80);
    }
    assert_null(strstr(page.out, "secret"));
    lh_heap_free(page.out);
    lh_heap_free(page.err);
}

static void manual_pages(void **state)
{
    (void)state;
    lh_string page = {0};
    lh_man_page(&page, verbs, &show);
    assert_false(page.failed);
    static const char *const parts[] = {
        ".TH \"LONGHAND\\-SHOW\" 1",
        "longhand\\-show \\- Show what was given\n",
        "\\fB\\-n\\fR, \\fB\\-\\-tokens\\fR \\fIN\\fR\nHow many tokens (default: 100).\n",
        "\n\\&.hidden\n",
        ".nf\n  kept   as it is\n.fi\n",
        ".SH EXAMPLES\n.nf\nlonghand show \\-n 5 a\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!strstr(page.data, parts[i])) {
            print_error("missing: %s\nin: %s", parts[i], page.data);
        }
        assert_non_null(strstr(page.data, parts[i]));
    }
    lh_string_clear(&page);
    lh_man_page(&page, verbs, NULL);
    assert_non_null(strstr(page.data, "\\fBlonghand\\-data\\-prepare\\fR(1)\nPrepare data.\n"));
    assert_non_null(strstr(page.data, ".TP\n6\nformat error\n"));
    assert_null(strstr(page.data, "secret"));
    lh_string_free(&page);
}

static void memory_failures_are_clean(void **state)
{
    (void)state;
    uint64_t live = lh_heap_live_bytes();
    for (int64_t n = 0; n < 6; n++) {
        lh_command command;
        lh_error error = {0};
        char *argv[] = {(char *)(uintptr_t) "a"};
        lh_heap_fail_after(n);
        lh_status status = lh_command_parse(&command, &show, 1, argv, &error);
        lh_heap_fail_after(-1);
        assert_true(status == (n < 2 ? LH_E_MEMORY : LH_OK));
        lh_command_release(&command);
        lh_string page = {0};
        lh_heap_fail_after(n);
        lh_man_page(&page, verbs, &show);
        lh_help_verb(&page, &show);
        (void)lh_completion_script(&page, verbs, "zsh", NULL);
        lh_heap_fail_after(-1);
        lh_string_free(&page);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
}

static void completion_knows_the_shells(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (int i = 0; i < 3; i++) {
        lh_string script = {0};
        assert_int_equal(lh_completion_script(&script, verbs, shells[i], NULL), LH_OK);
        assert_non_null(strstr(script.data, "very-slow"));
        assert_non_null(strstr(script.data, "prepare"));
        assert_non_null(strstr(script.data, "tokens"));
        assert_null(strstr(script.data, "secret"));
        lh_string_free(&script);
    }
    lh_string script = {0};
    lh_error error = {0};
    assert_int_equal(lh_completion_script(&script, verbs, "tcsh", &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "tcsh"));
    lh_string_free(&script);
}

static void check_option(const lh_verb *verb, int index)
{
    const lh_option *option = &verb->options[index];
    bool flag = option->kind == LH_OPTION_FLAG;
    int64_t integer;
    double real;
    bool boolean, good = option->help && *option->help && option->help[strlen(option->help) - 1] != '.';
    good = good && flag == !option->argument &&
           strspn(option->name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(option->name);
    if (option->fallback) {
        good = good && (option->kind != LH_OPTION_INTEGER || lh_parse_integer(option->fallback, &integer));
        good = good && (option->kind != LH_OPTION_REAL || lh_parse_real(option->fallback, &real));
        good = good && (!flag || lh_parse_boolean(option->fallback, &boolean));
        good = good && (!option->choices || lh_choice_allowed(option->choices, option->fallback));
    }
    for (int other = 0; other < index; other++) {
        good = good && strcmp(option->name, verb->options[other].name) != 0;
        good = good && (!option->letter || option->letter != verb->options[other].letter);
    }
    if (!good) {
        print_error("the table of \"%s\" has a fault at --%s\n", verb->name, option->name);
    }
    assert_true(good);
}

/* The real tables: fallbacks that parse, no name twice, no full stops that help adds itself. */
static void real_tables(void **state)
{
    (void)state;
    for (int i = 0; lh_verbs[i]; i++) {
        const lh_verb *verb = lh_verbs[i];
        assert_non_null(verb->run);
        assert_non_null(verb->operands);
        assert_non_null(verb->description);
        assert_true(verb->max_operands == -1 || verb->max_operands >= verb->min_operands);
        assert_true((*verb->operands == '\0') == (verb->max_operands == 0));
        if (!lh_verb_hidden(verb)) {
            assert_true(verb->summary[strlen(verb->summary) - 1] != '.');
            assert_true(verb->examples && strstr(verb->examples, "longhand"));
        }
        for (int other = 0; other < i; other++) {
            assert_string_not_equal(verb->name, lh_verbs[other]->name);
        }
        for (int o = 0; o < lh_option_count(verb->options); o++) {
            check_option(verb, o);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(faults_in_options),
        cmocka_unit_test(faults_in_operands),
        cmocka_unit_test(finding_verbs),
        cmocka_unit_test(failures_become_exit_codes),
        cmocka_unit_test(version_and_help),
        cmocka_unit_test(manual_pages),
        cmocka_unit_test(memory_failures_are_clean),
        cmocka_unit_test(completion_knows_the_shells),
        cmocka_unit_test(real_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
