/* A scratch folder of its own for each cmocka test, and what the tests of file formats do in it. Include after
 * cmocka.h. */
#ifndef LH_TESTS_TEST_FOLDER_H
#define LH_TESTS_TEST_FOLDER_H

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "support/scratch.h"

#include <signal.h>
#include <sys/resource.h>

static char test_folder[64];

/* The path of a file in the folder; good until the fourth call after this one. */
static inline const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", test_folder, name);
    return path;
}

static inline int make_folder(void **state)
{
    (void)state;
    return scratch_make(test_folder);
}

static inline int remove_folder(void **state)
{
    (void)state;
    scratch_remove(test_folder);
    return 0;
}

static inline size_t files_in_folder(void)
{
    char **names = NULL;
    size_t count = 0;
    assert_int_equal(lh_directory_list(test_folder, &names, &count, NULL), LH_OK);
    lh_name_list_free(names);
    return count;
}

static inline void put_file(const char *name, const char *text)
{
    assert_int_equal(lh_file_write(in_folder(name), text, strlen(text), NULL), LH_OK);
}

/* From here on no file of this process may grow past `bytes`: what a full disk looks like to a writer. Lifted with
 * RLIM_INFINITY. */
static inline void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Fails unless the message holds the words. */
static inline void assert_says(const lh_error *error, const char *words)
{
    if (!strstr(error->message, words)) {
        fail_msg("the message \"%s\" does not say \"%s\"", error->message, words);
    }
}

#endif
