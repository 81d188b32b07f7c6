#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"

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

static void bytes_for_people(void **state)
{
    (void)state;
    char text[40];
    assert_string_equal(lh_format_bytes(text, sizeof text, 0), "0 B");
    assert_string_equal(lh_format_bytes(text, sizeof text, 999), "999 B");
    assert_string_equal(lh_format_bytes(text, sizeof text, 1000), "1.0 kB");
    assert_string_equal(lh_format_bytes(text, sizeof text, 12345678), "12.3 MB");
    assert_string_equal(lh_format_bytes(text, sizeof text, 999990), "1.0 MB");
    assert_string_equal(lh_format_bytes(text, sizeof text, 5e12), "5.0 TB");
}

static void counts_for_people(void **state)
{
    (void)state;
    char text[40];
    assert_string_equal(lh_format_count(text, sizeof text, 7), "7");
    assert_string_equal(lh_format_count(text, sizeof text, 0.25), "0.25");
    assert_string_equal(lh_format_count(text, sizeof text, 4500), "4.5 k");
    assert_string_equal(lh_format_count(text, sizeof text, 1250000), "1.2 M");
}

static void durations_for_people(void **state)
{
    (void)state;
    char text[40];
    assert_string_equal(lh_format_duration(text, sizeof text, 0.25), "250ms");
    assert_string_equal(lh_format_duration(text, sizeof text, 12.34), "12.3s");
    assert_string_equal(lh_format_duration(text, sizeof text, 59.99), "1m00s");
    assert_string_equal(lh_format_duration(text, sizeof text, 185), "3m05s");
    assert_string_equal(lh_format_duration(text, sizeof text, 3720), "1h02m");
    assert_string_equal(lh_format_duration(text, sizeof text, 2 * 86400 + 3 * 3600), "2d03h");
    assert_string_equal(lh_format_duration(text, sizeof text, -1), "?");
}

/* What `work` writes to standard error, run in a child process. */
static char *standard_error_of(void (*work)(void))
{
    char name[] = "/tmp/longhand-progress-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(fd, STDERR_FILENO);
        work();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    char *text = NULL;
    assert_int_equal(lh_file_read(name, 0, &text, NULL, NULL), LH_OK);
    (void)close(fd);
    (void)unlink(name);
    return text;
}

static void count_to_ten(void)
{
    lh_progress progress;
    lh_progress_start(&progress, "prepare", "B", 2000000);
    for (int i = 1; i <= 10; i++) {
        lh_progress_update(&progress, (uint64_t)i * 200000, NULL);
    }
    lh_progress_finish(&progress, "loss 2.31 bpb");
}

static void plain_lines_in_a_log(void **state)
{
    (void)state;
    (void)unsetenv("LH_QUIET");
    char *text = standard_error_of(count_to_ten);
    assert_non_null(strstr(text, "prepare: 2.0 MB of 2.0 MB (100%)"));
    assert_non_null(strstr(text, "loss 2.31 bpb\n"));
    assert_null(strchr(text, '\r'));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    lh_heap_free(text);
}

static void quiet(void **state)
{
    (void)state;
    assert_int_equal(setenv("LH_QUIET", "1", 1), 0);
    char *text = standard_error_of(count_to_ten);
    (void)unsetenv("LH_QUIET");
    assert_string_equal(text, "");
    lh_heap_free(text);
}

/* The exit status of a child that signals itself `times` times. */
static int after_signals(int number, int times)
{
    pid_t child = fork();
    if (child == 0) {
        lh_signals_install();
        for (int i = 0; i < times; i++) {
            (void)kill(getpid(), number);
        }
        _exit(lh_signals_pending());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void signals_set_a_flag(void **state)
{
    (void)state;
    assert_int_equal(after_signals(SIGTERM, 0), 0);
    assert_int_equal(after_signals(SIGTERM, 1), SIGTERM);
    assert_int_equal(after_signals(SIGINT, 1), SIGINT);
    assert_int_equal(after_signals(SIGINT, 2), 128 + SIGINT);
}

static void time_moves_forward(void **state)
{
    (void)state;
    double before = lh_now();
    assert_true(lh_now() >= before && before > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_for_people),
        cmocka_unit_test(counts_for_people),
        cmocka_unit_test(durations_for_people),
        cmocka_unit_test(plain_lines_in_a_log),
        cmocka_unit_test(quiet),
        cmocka_unit_test(signals_set_a_flag),
        cmocka_unit_test(time_moves_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
