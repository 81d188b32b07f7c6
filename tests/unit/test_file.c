#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

static char folder[64];
static char path[128];

static const char *at(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/longhand-file-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char **names = NULL;
    if (lh_directory_list(folder, &names, NULL, NULL) != LH_OK) {
        return -1;
    }
    for (char **name = names; *name; name++) {
        char *full = lh_path_join(folder, *name);
        (void)remove(full);
        lh_heap_free(full);
    }
    lh_name_list_free(names);
    return rmdir(folder);
}

static size_t entries(void)
{
    char **names = NULL;
    size_t count = 99;
    assert_int_equal(lh_directory_list(folder, &names, &count, NULL), LH_OK);
    lh_name_list_free(names);
    return count;
}

static void assert_content(const char *name, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(lh_file_read(at(name), 0, &text, &size, NULL), LH_OK);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
    lh_heap_free(text);
}

static void write_and_read(void **state)
{
    (void)state;
    lh_error error = {0};
    assert_int_equal(lh_file_write(at("a"), "hello", 5, &error), LH_OK);
    assert_content("a", "hello");
    assert_int_equal(lh_file_write(at("a"), "", 0, &error), LH_OK);
    assert_content("a", "");
    assert_true(lh_file_exists(at("a")));
    assert_false(lh_file_exists(folder));
    assert_true(lh_directory_exists(folder));
    assert_false(lh_directory_exists(at("a")));
    assert_int_equal(entries(), 1);
}

static void read_limit(void **state)
{
    (void)state;
    lh_error error = {0};
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(lh_file_write(at("a"), "hello", 5, &error), LH_OK);
    assert_int_equal(lh_file_read(at("a"), 5, &text, &size, &error), LH_OK);
    lh_heap_free(text);
    assert_int_equal(lh_file_read(at("a"), 4, &text, &size, &error), LH_E_FORMAT);
    assert_null(text);
    assert_non_null(strstr(error.message, "at most 4"));
    /* A device has no size in advance. */
    error = (lh_error){0};
    assert_int_equal(lh_file_read("/dev/zero", 100000, &text, &size, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "/dev/zero"));
}

static void read_without_known_size(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(lh_file_read("/proc/self/status", 0, &text, &size, NULL), LH_OK);
    assert_true(size > 100 && strlen(text) == size);
    lh_heap_free(text);
}

static void failures_are_sentences(void **state)
{
    (void)state;
    lh_error error = {0};
    char *text = NULL;
    assert_int_equal(lh_file_read(at("absent"), 0, &text, NULL, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "absent: No such file"));
    error = (lh_error){0};
    assert_int_equal(lh_file_read(folder, 0, &text, NULL, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "is a directory"));
    error = (lh_error){0};
    assert_int_equal(lh_file_write(folder, "x", 1, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "is a directory"));
    error = (lh_error){0};
    assert_int_equal(lh_file_write(at("absent/file"), "x", 1, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "absent/file"));
    error = (lh_error){0};
    char **names = NULL;
    assert_int_equal(lh_directory_list(at("absent"), &names, NULL, &error), LH_E_IO);
    assert_int_equal(lh_file_write(at("plain"), "x", 1, NULL), LH_OK);
    error = (lh_error){0};
    assert_int_equal(lh_directory_create(at("plain/sub"), &error), LH_E_IO);
    assert_int_equal(lh_directory_create("", &error), LH_E_ARGUMENT);
}

static void mappings(void **state)
{
    (void)state;
    lh_mapping mapping;
    lh_error error = {0};
    assert_int_equal(lh_file_write(at("a"), "hello", 5, &error), LH_OK);
    assert_int_equal(lh_mapping_open(&mapping, at("a"), &error), LH_OK);
    assert_int_equal(mapping.size, 5);
    assert_memory_equal(mapping.data, "hello", 5);
    lh_mapping_close(&mapping);
    lh_mapping_close(&mapping);
    assert_int_equal(lh_file_write(at("a"), "", 0, &error), LH_OK);
    assert_int_equal(lh_mapping_open(&mapping, at("a"), &error), LH_OK);
    assert_int_equal(mapping.size, 0);
    assert_non_null(mapping.data);
    lh_mapping_close(&mapping);
    assert_int_equal(lh_mapping_open(&mapping, folder, &error), LH_E_IO);
    error = (lh_error){0};
    assert_int_equal(lh_mapping_open(&mapping, "/dev/null", &error), LH_E_IO);
    assert_non_null(strstr(error.message, "not a regular file"));
}

static void atomic_discard_keeps_the_old_file(void **state)
{
    (void)state;
    lh_atomic_file file;
    assert_int_equal(lh_file_write(at("a"), "old", 3, NULL), LH_OK);
    assert_int_equal(lh_atomic_open(&file, at("a"), NULL), LH_OK);
    assert_int_equal(lh_atomic_write(&file, "new", 3, NULL), LH_OK);
    assert_int_equal(entries(), 2);
    assert_content("a", "old");
    lh_atomic_discard(&file);
    lh_atomic_discard(&file);
    assert_int_equal(entries(), 1);
    assert_content("a", "old");
    lh_error error = {0};
    assert_int_equal(lh_atomic_write(&file, "new", 3, &error), LH_E_INTERNAL);
    assert_int_equal(lh_atomic_commit(&file, &error), LH_E_INTERNAL);
}

static void atomic_follows_links_and_keeps_modes(void **state)
{
    (void)state;
    assert_int_equal(lh_file_write(at("target"), "old", 3, NULL), LH_OK);
    assert_int_equal(chmod(at("target"), 0640), 0);
    assert_int_equal(symlink("target", at("link")), 0);
    assert_int_equal(lh_file_write(at("link"), "new", 3, NULL), LH_OK);
    assert_content("target", "new");
    struct stat about;
    assert_int_equal(lstat(at("link"), &about), 0);
    assert_true(S_ISLNK(about.st_mode));
    assert_int_equal(stat(at("target"), &about), 0);
    assert_int_equal(about.st_mode & 0777, 0640);
    /* A device is written to, not replaced. */
    assert_int_equal(lh_file_write("/dev/null", "new", 3, NULL), LH_OK);
    assert_int_equal(stat("/dev/null", &about), 0);
    assert_true(S_ISCHR(about.st_mode));
}

/* A file size limit makes writes fail as a full disk does. */
static void failed_write_keeps_the_old_file(void **state)
{
    (void)state;
    assert_int_equal(lh_file_write(at("a"), "old", 3, NULL), LH_OK);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {1000, 1000};
        lh_error error = {0};
        static char big[100000];
        (void)signal(SIGXFSZ, SIG_IGN);
        bool good = setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                    lh_file_write(at("a"), big, sizeof big, &error) == LH_E_IO && strstr(error.message, "/a") &&
                    strstr(error.message, strerror(EFBIG));
        /* A caller that goes on after a failed write cannot commit a file with a hole. */
        lh_atomic_file file;
        good = good && lh_atomic_open(&file, at("a"), NULL) == LH_OK &&
               lh_atomic_write(&file, big, sizeof big, NULL) == LH_E_IO && lh_atomic_commit(&file, NULL) == LH_E_IO;
        _exit(good ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_content("a", "old");
    assert_int_equal(entries(), 1);
}

static void memory_failures_leak_nothing(void **state)
{
    (void)state;
    assert_int_equal(lh_file_write(at("a"), "old", 3, NULL), LH_OK);
    uint64_t live = lh_heap_live_bytes();
    for (int64_t n = 0; n < 8; n++) {
        char *text = NULL;
        char **names = NULL;
        lh_heap_fail_after(n);
        lh_status status = lh_file_write(at("a"), "new", 3, NULL);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_heap_fail_after(n);
        if (lh_file_read(at("a"), 0, &text, NULL, NULL) == LH_OK) {
            lh_heap_free(text);
        }
        lh_heap_fail_after(n);
        if (lh_directory_list(folder, &names, NULL, NULL) == LH_OK) {
            lh_name_list_free(names);
        }
        lh_heap_fail_after(-1);
        assert_int_equal(lh_heap_live_bytes(), live);
        assert_int_equal(entries(), 1);
    }
}

static void directories(void **state)
{
    (void)state;
    char *deep = lh_path_join(folder, "x/y//z/");
    assert_int_equal(lh_directory_create(deep, NULL), LH_OK);
    assert_int_equal(lh_directory_create(deep, NULL), LH_OK);
    assert_true(lh_directory_exists(deep));
    (void)rmdir(deep);
    lh_heap_free(deep);
    (void)rmdir(at("x/y"));
    (void)rmdir(at("x"));
    static const char *const unsorted[] = {"b", "a", "B", "a10", "a9"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(lh_file_write(at(unsorted[i]), "", 0, NULL), LH_OK);
    }
    char **names = NULL;
    size_t count = 0;
    assert_int_equal(lh_directory_list(folder, &names, &count, NULL), LH_OK);
    static const char *const sorted[] = {"B", "a", "a10", "a9", "b"};
    assert_int_equal(count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(names[i], sorted[i]);
    }
    assert_null(names[5]);
    lh_name_list_free(names);
    lh_name_list_free(NULL);
}

static void join(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < 4; i++) {
        char *joined = lh_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        lh_heap_free(joined);
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(write_and_read),
        WITH_FOLDER(read_limit),
        WITH_FOLDER(read_without_known_size),
        WITH_FOLDER(failures_are_sentences),
        WITH_FOLDER(mappings),
        WITH_FOLDER(atomic_discard_keeps_the_old_file),
        WITH_FOLDER(atomic_follows_links_and_keeps_modes),
        WITH_FOLDER(failed_write_keeps_the_old_file),
        WITH_FOLDER(memory_failures_leak_nothing),
        WITH_FOLDER(directories),
        cmocka_unit_test(join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
