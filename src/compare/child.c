#include "compare/child.h"

#include "base/memory.h"
#include "base/progress.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/* How often the caller looks for a signal while it waits, in milliseconds. */
#define LOOK_EVERY 100

/* Shared with the child: set when it is to stop. A signal sent to the group reaches both, one sent to the caller
 * alone must be handed on, and a second one would end the child at once: so it is told by other means. */
static volatile sig_atomic_t *stop_wanted;

bool lh_child_stopped(void *user)
{
    (void)user;
    return lh_signals_pending() != 0 || (stop_wanted && *stop_wanted);
}

/* What the child says at its end; the answer's bytes follow. */
typedef struct last_words {
    lh_status status;
    char message[sizeof((lh_error *)0)->message];
} last_words;

static bool write_all(int descriptor, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t written = write(descriptor, at, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        at += written;
        size -= (size_t)written;
    }
    return true;
}

static void be_child(lh_child_work work, void *user, int out, pid_t caller)
{
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != caller) {
        _exit(1); /* it died in between */
    }
    lh_string answer = {0};
    lh_error error = {0};
    last_words words = {.status = work(user, &answer, &error)};
    if (words.status == LH_OK && answer.failed) {
        words.status = lh_fail(&error, LH_E_MEMORY, "no memory for a result");
    }
    memcpy(words.message, error.message, sizeof words.message);
    bool told = write_all(out, &words, sizeof words);
    if (told && words.status == LH_OK && answer.size > 0) {
        told = write_all(out, answer.data, answer.size);
    }
    (void)fflush(stderr);
    _exit(told ? 0 : 1);
}

/* Reads until the child closes its end, handing a signal on. */
static bool listen_to(int in, lh_string *heard)
{
    for (;;) {
        char buffer[4096];
        struct pollfd wait = {.fd = in, .events = POLLIN};
        int ready = poll(&wait, 1, LOOK_EVERY);
        if (lh_signals_pending() && stop_wanted) {
            *stop_wanted = 1;
        }
        if (ready == 0 || (ready < 0 && errno == EINTR)) {
            continue;
        }
        ssize_t got = read(in, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0 && !heard->failed;
        }
        lh_string_append(heard, buffer, (size_t)got);
    }
}

static lh_status judge(int state, const lh_string *heard, lh_string *answer, lh_error *error)
{
    last_words words;
    if (WIFSIGNALED(state)) {
        int number = WTERMSIG(state);
        return number == SIGKILL
                   ? lh_fail(error, LH_E_MEMORY, "its process was killed; the usual reason is that memory ran out")
                   : lh_fail(error, LH_E_INTERNAL, "its process ended by signal %d (%s)", number,
                             strsignal(number));
    }
    if (heard->size < sizeof words) {
        return lh_fail(error, LH_E_INTERNAL, "its process ended with code %d and without a word",
                       WIFEXITED(state) ? WEXITSTATUS(state) : -1);
    }
    memcpy(&words, heard->data, sizeof words);
    if (words.status != LH_OK) {
        return lh_fail(error, words.status, "%s", words.message);
    }
    lh_string_append(answer, heard->data + sizeof words, heard->size - sizeof words);
    return answer->failed ? lh_fail(error, LH_E_MEMORY, "no memory for a result") : LH_OK;
}

static lh_status run(lh_child_work work, void *user, lh_string *answer, int64_t *peak_bytes, lh_error *error)
{
    int ends[2];
    pid_t caller = getpid();
    if (pipe(ends) != 0) {
        return lh_fail_errno(error, "cannot make a pipe");
    }
    (void)fflush(NULL); /* else the child would print again what waits to be printed */
    pid_t child = fork();
    if (child < 0) {
        (void)close(ends[0]);
        (void)close(ends[1]);
        return lh_fail_errno(error, "cannot start a process");
    }
    if (child == 0) {
        (void)close(ends[0]);
        be_child(work, user, ends[1], caller);
    }
    (void)close(ends[1]);
    lh_string heard = {0};
    struct rusage usage = {0};
    int state = 0;
    bool whole = listen_to(ends[0], &heard);
    (void)close(ends[0]);
    while (wait4(child, &state, 0, &usage) < 0 && errno == EINTR) {
    }
    if (peak_bytes) {
        *peak_bytes = (int64_t)usage.ru_maxrss * 1024;
    }
    lh_status status = whole ? judge(state, &heard, answer, error)
                             : lh_fail(error, LH_E_INTERNAL, "the result of a process could not be read");
    lh_string_free(&heard);
    return status;
}

lh_status lh_child_run(lh_child_work work, void *user, lh_string *answer, int64_t *peak_bytes, lh_error *error)
{
    void *shared = mmap(NULL, sizeof *stop_wanted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return lh_fail_errno(error, "cannot share memory with a process");
    }
    stop_wanted = shared;
    lh_status status = run(work, user, answer, peak_bytes, error);
    stop_wanted = NULL;
    (void)munmap(shared, sizeof *stop_wanted);
    return status;
}
