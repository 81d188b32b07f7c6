#include "data/fetch.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/curl.h"
#include "data/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One file on its way. */
typedef struct transfer {
    const lh_fetch_item *item;
    CURL *easy;
    struct fetcher *fetcher;
    char *part; /* PATH.part */
    int fd;
    uint64_t offset; /* bytes in the partial file */
    uint64_t attempt_start;
    int failures;  /* attempts in a row that brought nothing new */
    bool answered; /* the body has begun, and is to be kept */

    bool spoiled;      /* a complete file did not pass its check once */
    lh_status written; /* a failure of writing */
    char server_md5[33];
    char reason[CURL_ERROR_SIZE];
    double wait_until; /* not before this time */
    bool running;
} transfer;

typedef struct fetcher {
    const lh_fetch_item *items;
    size_t count, next, complete;
    lh_fetch_options options;
    lh_curl curl;
    CURLM *multi;
    transfer *transfers; /* [options.parallel] */
    uint64_t received;
    lh_error *error;
} fetcher;

/* ---- what curl calls ---- */

static size_t on_body(char *bytes, size_t unit, size_t size, void *data)
{
    transfer *t = data;
    size *= unit;
    long code = 0;
    (void)t->fetcher->curl.easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206) {
        return size; /* the page that explains an error */
    }
    if (!t->answered) {
        t->answered = true;
        if (code == 200 && t->offset > 0) {
            /* The range was ignored: this is the file from its beginning. */
            if (ftruncate(t->fd, 0) != 0) {
                t->written = lh_fail_errno(t->fetcher->error, "cannot write %s", t->part);
                return 0;
            }
            t->offset = 0;
        }
    }
    for (size_t done = 0; done < size;) {
        ssize_t count = pwrite(t->fd, bytes + done, size - done, (off_t)t->offset);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            t->written = lh_fail_errno(t->fetcher->error, "cannot write %s", t->part);
            return 0;
        }
        done += (size_t)count;
        t->offset += (uint64_t)count;
        t->fetcher->received += (uint64_t)count;
    }
    return size;
}

/* Base64 of 16 bytes into hexadecimal; false if it is something else. */
static bool decode_md5(const char *text, size_t size, char hex[33])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int held = 0, made = 0;
    if (size != 24 || text[22] != '=' || text[23] != '=') {
        return false;
    }
    for (int i = 0; i < 22; i++) {
        const char *digit = strchr(digits, text[i]);
        if (!digit || !*digit) {
            return false;
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        held += 6;
        if (held >= 8 && made < 16) {
            held -= 8;
            (void)snprintf(hex + 2 * made++, 3, "%02x", bits >> held & 255u);
        }
    }
    return made == 16;
}

/* "x-goog-hash: crc32c=..." or "x-goog-hash: md5=...", or both in one line. */
static size_t on_header(char *bytes, size_t unit, size_t size, void *data)
{
    transfer *t = data;
    size *= unit;
    char line[256];
    (void)snprintf(line, sizeof line, "%.*s", (int)(size < sizeof line ? size : sizeof line - 1), bytes);
    if (strncasecmp(line, "HTTP/", 5) == 0) {
        t->server_md5[0] = '\0'; /* a new answer, after a redirection */
    }
    if (strncasecmp(line, "x-goog-hash:", 12) == 0) {
        const char *md5 = strstr(line, "md5=");
        if (md5) {
            md5 += 4;
            if (!decode_md5(md5, strcspn(md5, ", \t\r\n"), t->server_md5)) {
                t->server_md5[0] = '\0';
            }
        }
    }
    return size;
}

/* ---- one transfer ---- */

static lh_status set_up(transfer *t, lh_error *error)
{
    CURL *easy = t->easy;
    const lh_curl *curl = &t->fetcher->curl;
    curl->easy_reset(easy);
    CURLcode code = CURLE_OK;
#define LH_SET(option, value) code = code != CURLE_OK ? code : curl->easy_setopt(easy, option, value)
    LH_SET(CURLOPT_URL, t->item->url);
    LH_SET(CURLOPT_PROTOCOLS_STR, "http,https");
    LH_SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    LH_SET(CURLOPT_FOLLOWLOCATION, 1L);
    LH_SET(CURLOPT_MAXREDIRS, 10L);
    LH_SET(CURLOPT_USERAGENT, "longhand/" LH_VERSION);
    LH_SET(CURLOPT_NOSIGNAL, 1L);
    LH_SET(CURLOPT_CONNECTTIMEOUT, 30L);
    LH_SET(CURLOPT_LOW_SPEED_LIMIT, 100L);
    LH_SET(CURLOPT_LOW_SPEED_TIME, 60L);
    LH_SET(CURLOPT_ERRORBUFFER, t->reason);
    LH_SET(CURLOPT_WRITEFUNCTION, on_body);
    LH_SET(CURLOPT_WRITEDATA, t);
    LH_SET(CURLOPT_HEADERFUNCTION, on_header);
    LH_SET(CURLOPT_HEADERDATA, t);
    LH_SET(CURLOPT_PRIVATE, t);
    if (t->offset > 0) {
        /* Not CURLOPT_RESUME_FROM, which fails when a server sends the whole file instead. */
        char range[32];
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)t->offset);
        LH_SET(CURLOPT_RANGE, range);
    }
#undef LH_SET
    t->reason[0] = t->server_md5[0] = '\0';
    t->answered = false;
    t->attempt_start = t->offset;
    return code == CURLE_OK
               ? LH_OK
               : lh_fail(error, LH_E_ARGUMENT, "cannot fetch %s: %s", t->item->url, curl->easy_strerror(code));
}

static lh_status launch(fetcher *f, transfer *t)
{
    LH_TRY(set_up(t, f->error));
    if (f->curl.multi_add_handle(f->multi, t->easy) != CURLM_OK) {
        return lh_fail(f->error, LH_E_INTERNAL, "cannot start to fetch %s", t->item->url);
    }
    t->running = true;
    return LH_OK;
}

static lh_status create_folder_of(const char *path, lh_error *error)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) {
        return LH_OK;
    }
    char *folder = lh_heap_strdup(path);
    if (!folder) {
        return lh_fail(error, LH_E_MEMORY, "no memory to fetch %s", path);
    }
    folder[slash - path] = '\0';
    lh_status status = lh_directory_create(folder, error);
    lh_heap_free(folder);
    return status;
}

static lh_status open_part(transfer *t, lh_error *error)
{
    lh_string name = {0};
    lh_string_print(&name, "%s.part", t->item->path);
    if (name.failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory to fetch %s", t->item->path);
    }
    t->part = name.data;
    LH_TRY(create_folder_of(t->item->path, error));
    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct stat about;
    if (t->fd < 0 || fstat(t->fd, &about) != 0) {
        return lh_fail_errno(error, "cannot write %s", t->part);
    }
    t->offset = (uint64_t)about.st_size;
    if (t->item->bytes > 0 && t->offset > t->item->bytes) {
        t->offset = 0; /* not a beginning of this file */
        if (ftruncate(t->fd, 0) != 0) {
            return lh_fail_errno(error, "cannot write %s", t->part);
        }
    }
    return LH_OK;
}

static void release(transfer *t)
{
    if (t->fd >= 0) {
        (void)close(t->fd);
    }
    lh_heap_free(t->part);
    CURL *easy = t->easy;
    fetcher *f = t->fetcher;
    *t = (transfer){.easy = easy, .fetcher = f, .fd = -1};
}

/* Why a complete file is not the expected one; empty if it is. */
static lh_status examine(const transfer *t, lh_string *why, lh_error *error)
{
    const lh_fetch_item *item = t->item;
    if (item->bytes > 0 && t->offset != item->bytes) {
        lh_string_print(why, "it has %llu bytes, %llu are expected", (unsigned long long)t->offset,
                        (unsigned long long)item->bytes);
        return LH_OK;
    }
    const char *digests[] = {item->digest, t->server_md5};
    for (int i = 0; i < 2; i++) {
        lh_digest_kind kind;
        char hex[LH_DIGEST_HEX];
        if (!digests[i] || !*digests[i]) {
            continue;
        }
        if (!lh_digest_kind_of(digests[i], &kind)) {
            return lh_fail(error, LH_E_ARGUMENT, "\"%s\" is no checksum", digests[i]);
        }
        LH_TRY(lh_digest_file(t->part, kind, hex, error));
        if (strcmp(hex, digests[i]) != 0) {
            lh_string_print(why, "its %s is %s, %s is expected", lh_digest_name(kind), hex, digests[i]);
            return LH_OK;
        }
    }
    return LH_OK;
}

/* Starts over, or gives up, with a file that is wrong although it is complete. */
static lh_status handle_spoiled(fetcher *f, transfer *t, const char *why)
{
    if (ftruncate(t->fd, 0) != 0) {
        return lh_fail_errno(f->error, "cannot write %s", t->part);
    }
    if (t->spoiled) {
        (void)unlink(t->part);
        return lh_fail(f->error, LH_E_FORMAT, "what %s sends is not the file wanted: %s", t->item->url, why);
    }
    t->spoiled = true; /* perhaps the old part was bad: once more from the beginning */
    t->offset = 0;
    t->wait_until = 0;
    return LH_OK;
}

static lh_status complete(fetcher *f, transfer *t)
{
    lh_string why = {0};
    lh_status status = examine(t, &why, f->error);
    if (status == LH_OK && why.size > 0) {
        status = handle_spoiled(f, t, why.data);
        lh_string_free(&why);
        return status;
    }
    lh_string_free(&why);
    LH_TRY(status);
    if (fsync(t->fd) != 0 || rename(t->part, t->item->path) != 0) {
        return lh_fail_errno(f->error, "cannot complete %s", t->item->path);
    }
    f->complete++;
    release(t);
    return LH_OK;
}

static int allowed_retries(const fetcher *f)
{
    return f->options.retries < 0 ? 0 : f->options.retries > 0 ? f->options.retries : 5;
}

/* An attempt failed in a way that may pass: waits and tries again, unless that has been done often enough. */
static lh_status retry(fetcher *f, transfer *t, long code)
{
    t->failures = t->offset > t->attempt_start ? 1 : t->failures + 1;
    if (t->failures > allowed_retries(f)) {
        char answer[64];
        (void)snprintf(answer, sizeof answer, "the server answers %ld", code);
        return lh_fail(f->error, LH_E_NETWORK, "cannot fetch %s: %s", t->item->url,
                       code >= 400  ? answer
                       : *t->reason ? t->reason
                                    : "no answer");
    }
    double pause = f->options.pause > 0 ? f->options.pause : 0.5;
    curl_off_t asked = 0;
    (void)t->fetcher->curl.easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &asked);
    for (int i = 1; i < t->failures && pause < 30; i++) {
        pause *= 2;
    }
    if (asked > 0) {
        pause = asked < 120 ? (double)asked : 120;
    }
    t->wait_until = lh_now() + pause;
    return LH_OK;
}

static bool may_pass(CURLcode result, long code)
{
    switch (result) {
    case CURLE_OK:
    case CURLE_HTTP_RETURNED_ERROR: return code == 408 || code == 429 || code >= 500;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_OUT_OF_MEMORY: return false;
    default: return true;
    }
}

/* An attempt has ended. */
static lh_status finish_attempt(fetcher *f, transfer *t, CURLcode result)
{
    long code = 0;
    (void)t->fetcher->curl.easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    t->running = false;
    if (t->written != LH_OK) {
        return t->written;
    }
    if (result == CURLE_OK && (code == 200 || code == 206)) {
        if (code == 200 && !t->answered && t->offset > 0) {
            return handle_spoiled(f, t, "it is empty"); /* an empty file in place of the rest */
        }
        return complete(f, t);
    }
    if (code == 416 && t->attempt_start > 0) {
        /* Nothing lies behind the part: it is complete, or of another file. */
        return t->item->bytes > 0 || t->item->digest ? complete(f, t)
                                                     : handle_spoiled(f, t, "its length has changed");
    }
    if (may_pass(result, code)) {
        return retry(f, t, code);
    }
    if (result == CURLE_OK || code >= 400) {
        return lh_fail(f->error, LH_E_NETWORK, "cannot fetch %s: the server answers %ld", t->item->url, code);
    }
    return lh_fail(f->error, LH_E_NETWORK, "cannot fetch %s: %s", t->item->url,
                   *t->reason ? t->reason : f->curl.easy_strerror(result));
}

/* ---- all of them ---- */

/* Gives a free transfer the next file that is not there yet. */
static lh_status assign(fetcher *f, transfer *t)
{
    while (f->next < f->count && lh_file_exists(f->items[f->next].path)) {
        f->next++;
        f->complete++;
    }
    if (f->next == f->count) {
        return LH_OK;
    }
    t->item = &f->items[f->next++];
    LH_TRY(open_part(t, f->error));
    if (t->item->bytes > 0 && t->offset == t->item->bytes) {
        return complete(f, t); /* only the rename was missing */
    }
    return LH_OK;
}

/* Starts what can be started; *busy tells whether anything is left to wait for. */
static lh_status start_transfers(fetcher *f, bool *busy)
{
    *busy = false;
    for (int i = 0; i < f->options.parallel; i++) {
        transfer *t = &f->transfers[i];
        while (!t->item && f->next < f->count) {
            LH_TRY(assign(f, t));
        }
        if (t->item && !t->running && lh_now() >= t->wait_until) {
            LH_TRY(launch(f, t));
        }
        *busy = *busy || t->item;
    }
    return LH_OK;
}

static lh_status collect(fetcher *f)
{
    CURLMsg *message;
    int left;
    while ((message = f->curl.multi_info_read(f->multi, &left))) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        transfer *t = NULL;
        CURLcode result = message->data.result;
        CURL *easy = message->easy_handle;
        (void)f->curl.easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
        (void)f->curl.multi_remove_handle(f->multi, easy);
        LH_TRY(finish_attempt(f, t, result));
    }
    return LH_OK;
}

static bool report(const fetcher *f)
{
    uint64_t expected = 0;
    for (int i = 0; i < f->options.parallel; i++) {
        const transfer *t = &f->transfers[i];
        if (t->item && t->item->bytes > t->offset) {
            expected += t->item->bytes - t->offset;
        }
    }
    for (size_t i = f->next; i < f->count; i++) {
        expected += f->items[i].bytes;
    }
    return !f->options.watch || f->options.watch(f->options.watch_data, f->complete, f->received, expected);
}

/* Milliseconds until something is to be done without the network: the next retry, or the next report. */
static int milliseconds_to_wait(const fetcher *f)
{
    double wait = 0.1, now = lh_now();
    for (int i = 0; i < f->options.parallel; i++) {
        const transfer *t = &f->transfers[i];
        if ((t->item && !t->running) || (!t->item && f->next < f->count)) {
            double left = t->item ? t->wait_until - now : 0;
            wait = left < wait ? left : wait;
        }
    }
    return wait > 0 ? (int)(wait * 1000) + 1 : 0;
}

static lh_status run(fetcher *f)
{
    for (;;) {
        bool busy;
        int running;
        LH_TRY(start_transfers(f, &busy));
        if (!report(f)) {
            return lh_fail(f->error, LH_E_INTERRUPTED, "stopped; the same command goes on from here");
        }
        if (!busy) {
            return LH_OK;
        }
        if (f->curl.multi_perform(f->multi, &running) != CURLM_OK) {
            return lh_fail(f->error, LH_E_NETWORK, "the network library fails");
        }
        LH_TRY(collect(f));
        if (f->curl.multi_poll(f->multi, NULL, 0, milliseconds_to_wait(f), NULL) != CURLM_OK) {
            return lh_fail(f->error, LH_E_NETWORK, "the network library fails");
        }
    }
}

static lh_status prepare(fetcher *f)
{
    f->multi = f->curl.multi_init();
    f->transfers = lh_heap_alloc((size_t)f->options.parallel * sizeof *f->transfers);
    if (!f->multi || !f->transfers) {
        return lh_fail(f->error, LH_E_MEMORY, "no memory for %d downloads", f->options.parallel);
    }
    for (int i = 0; i < f->options.parallel; i++) {
        f->transfers[i] = (transfer){.fetcher = f, .fd = -1, .easy = f->curl.easy_init()};
        if (!f->transfers[i].easy) {
            return lh_fail(f->error, LH_E_MEMORY, "no memory for %d downloads", f->options.parallel);
        }
    }
    return LH_OK;
}

lh_status lh_fetch(const lh_fetch_item *items, size_t count, const lh_fetch_options *options, lh_error *error)
{
    fetcher f = {.items = items, .count = count, .options = *options, .error = error};
    if (f.options.parallel < 1) {
        f.options.parallel = 1;
    }
    LH_TRY(lh_curl_load(&f.curl, error));
    lh_status status = prepare(&f);
    if (status == LH_OK) {
        status = run(&f);
    }
    for (int i = 0; f.transfers && i < f.options.parallel; i++) {
        if (f.transfers[i].easy) {
            (void)f.curl.multi_remove_handle(f.multi, f.transfers[i].easy);
            f.curl.easy_cleanup(f.transfers[i].easy);
        }
        if (f.transfers[i].fetcher) {
            release(&f.transfers[i]);
        }
    }
    if (f.multi) {
        (void)f.curl.multi_cleanup(f.multi);
    }
    lh_heap_free(f.transfers);
    return status;
}
