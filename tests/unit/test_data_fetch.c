/* Downloads against a server on this machine that cuts, refuses, lies and redirects; and zip archives. */
#include "base/file.h"
#include "base/memory.h"
#include "data/catalog.h"
#include "data/digest.h"
#include "data/fetch.h"
#include "data/zip.h"
#include "support/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <zlib.h>

static char folder[64];
static char path[256];
static pid_t server;
static int port;
static char log_path[160];

static const char *at(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* ---- the server ---- */

static int start_server(void)
{
    int ends[2];
    char served[160];
    (void)snprintf(served, sizeof served, "%s/served", folder);
    (void)snprintf(log_path, sizeof log_path, "%s/requests", folder);
    if (mkdir(served, 0777) != 0 || pipe(ends) != 0) {
        return -1;
    }
    server = fork();
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)execlp("python3", "python3", "-u", "tests/support/http_server.py", served, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    /* The first line is the port; a second process keeps the rest as the list of requests. */
    char digit;
    while (read(ends[0], &digit, 1) == 1 && digit != '\n') {
        port = port * 10 + digit - '0';
    }
    pid_t keeper = fork();
    if (keeper == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        FILE *log = fopen(log_path, "w");
        char byte;
        while (log && read(ends[0], &byte, 1) == 1) {
            (void)fputc(byte, log);
            if (byte == '\n') {
                (void)fflush(log);
            }
        }
        _exit(0);
    }
    (void)close(ends[0]);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    (void)setenv("no_proxy", "127.0.0.1", 1);
    return scratch_make(folder) == 0 ? start_server() : -1;
}

static int tear_down(void **state)
{
    (void)state;
    if (server > 0) {
        (void)kill(server, SIGTERM);
        (void)waitpid(server, NULL, 0);
    }
    scratch_remove(folder);
    return 0;
}

static bool no_server(void)
{
    if (port == 0) {
        print_message("skipped: no python3\n");
    }
    return port == 0;
}

/* How often the server was asked for this, with a Range header or without. */
static int requests(const char *mode_and_name, bool ranged)
{
    size_t size;
    int count = 0;
    usleep(20000); /* the list is written by another process */
    char *log = scratch_read(log_path, &size);
    for (char *line = log ? strtok(log, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        size_t length = strlen(mode_and_name);
        count += strncmp(line, mode_and_name, length) == 0 && line[length] == ' ' &&
                 (strcmp(line + length, " -") != 0) == ranged;
    }
    free(log);
    return count;
}

static unsigned char *serve(const char *name, size_t size)
{
    unsigned char *bytes = malloc(size + 1);
    uint64_t random = size + 17;
    for (size_t i = 0; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (unsigned char)(random >> 56);
    }
    char name_below[96];
    (void)snprintf(name_below, sizeof name_below, "served/%s", name);
    assert_int_equal(scratch_write(at(name_below), bytes, size), 0);
    return bytes;
}

static const char *url(const char *mode, const char *name)
{
    static char text[4][160];
    static int turn;
    char *out = text[turn++ % 4];
    (void)snprintf(out, sizeof text[0], "http://127.0.0.1:%d/%s/%s", port, mode, name);
    return out;
}

static lh_status get(const char *address, const char *to, uint64_t bytes, const char *digest, int retries,
                     lh_error *error)
{
    char target[256];
    (void)snprintf(target, sizeof target, "%s", to);
    lh_fetch_item item = {.url = address, .path = target, .bytes = bytes, .digest = digest};
    lh_fetch_options options = {.retries = retries, .pause = 0.001};
    return lh_fetch(&item, 1, &options, error);
}

static void get_ok(const char *address, const char *to, uint64_t bytes, const char *digest)
{
    lh_error error = {0};
    if (get(address, to, bytes, digest, 0, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
}

static void assert_file(const char *name, const void *bytes, size_t size)
{
    size_t found;
    char *text = scratch_read(name, &found);
    assert_non_null(text);
    assert_int_equal(found, size);
    assert_memory_equal(text, bytes, size);
    free(text);
    char part[300];
    (void)snprintf(part, sizeof part, "%s.part", name);
    assert_int_equal(access(part, F_OK), -1);
}

static void sha256_of(const void *bytes, size_t size, char hex[LH_DIGEST_HEX])
{
    lh_digest digest = lh_digest_start(LH_DIGEST_SHA256);
    lh_digest_update(&digest, bytes, size);
    lh_digest_finish(&digest, hex);
}

static void test_plain(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    unsigned char *bytes = serve("a.bin", 300000);
    char hex[LH_DIGEST_HEX];
    sha256_of(bytes, 300000, hex);
    get_ok(url("plain", "a.bin"), at("new/folder/a.bin"), 300000, hex);
    assert_file(at("new/folder/a.bin"), bytes, 300000);
    /* What is there is not fetched again. */
    get_ok(url("dead", "a.bin"), at("new/folder/a.bin"), 300000, hex);
    assert_int_equal(requests("dead a.bin", false), 0);
    get_ok(url("redirect", "a.bin"), at("redirected.bin"), 0, NULL);
    assert_file(at("redirected.bin"), bytes, 300000);
    get_ok(url("hash", "a.bin"), at("hashed.bin"), 0, NULL);
    assert_file(at("hashed.bin"), bytes, 300000);
    unsigned char *empty = serve("empty", 0);
    get_ok(url("plain", "empty"), at("empty"), 0, NULL);
    assert_file(at("empty"), empty, 0);
    free(empty);
    free(bytes);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void test_resume(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    unsigned char *bytes = serve("b.bin", 5500);
    /* Six answers of at most 1000 bytes: progress each time, so the retries never run out. */
    lh_error error = {0};
    assert_int_equal(get(url("cut", "b.bin"), at("b.bin"), 5500, NULL, 1, &error), LH_OK);
    assert_file(at("b.bin"), bytes, 5500);
    assert_int_equal(requests("cut b.bin", false), 1);
    assert_int_equal(requests("cut b.bin", true), 5);
    /* A part of an earlier process is continued. */
    assert_int_equal(scratch_write(at("c.bin.part"), bytes, 4000), 0);
    get_ok(url("plain", "b.bin"), at("c.bin"), 5500, NULL);
    assert_file(at("c.bin"), bytes, 5500);
    assert_int_equal(requests("plain b.bin", true), 1);
    assert_int_equal(requests("plain b.bin", false), 0);
    /* A server without ranges sends everything: the part is begun anew. */
    assert_int_equal(scratch_write(at("d.bin.part"), "garbage", 7), 0);
    get_ok(url("norange", "b.bin"), at("d.bin"), 0, NULL);
    assert_file(at("d.bin"), bytes, 5500);
    /* Nothing but the rename was missing: the server is not asked. */
    assert_int_equal(scratch_write(at("e.bin.part"), bytes, 5500), 0);
    get_ok(url("dead", "b.bin"), at("e.bin"), 5500, NULL);
    assert_file(at("e.bin"), bytes, 5500);
    /* The same when the size is not known: the server says that nothing follows, the file is fetched once more. */
    assert_int_equal(scratch_write(at("f.bin.part"), bytes, 5500), 0);
    get_ok(url("plain", "b.bin"), at("f.bin"), 0, NULL);
    assert_file(at("f.bin"), bytes, 5500);
    /* A part of something else, found by the checksum. */
    char hex[LH_DIGEST_HEX];
    sha256_of(bytes, 5500, hex);
    assert_int_equal(scratch_write(at("g.bin.part"), "something else", 14), 0);
    get_ok(url("plain", "b.bin"), at("g.bin"), 5500, hex);
    assert_file(at("g.bin"), bytes, 5500);
    /* A part that is too long. */
    assert_int_equal(scratch_write(at("h.bin.part"), bytes, 5500), 0);
    unsigned char *shorter = serve("short.bin", 100);
    get_ok(url("plain", "short.bin"), at("h.bin"), 100, NULL);
    assert_file(at("h.bin"), shorter, 100);
    free(shorter);
    free(bytes);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void assert_fails(const char *address, const char *digest, uint64_t bytes, lh_status expected,
                         const char *words)
{
    lh_error error = {0};
    assert_int_equal(get(address, at("failing.bin"), bytes, digest, 2, &error), expected);
    if (!strstr(error.message, words)) {
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
    assert_int_equal(access(at("failing.bin"), F_OK), -1);
    (void)unlink(at("failing.bin.part"));
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void test_failures(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    unsigned char *bytes = serve("i.bin", 3000);
    char hex[LH_DIGEST_HEX], other[LH_DIGEST_HEX];
    sha256_of(bytes, 3000, hex);
    sha256_of(bytes, 2999, other);
    assert_fails(url("plain", "none.bin"), NULL, 0, LH_E_NETWORK, "the server answers 404");
    assert_int_equal(requests("plain none.bin", false), 1); /* no use in trying again */
    assert_fails(url("dead", "i.bin"), NULL, 0, LH_E_NETWORK, "the server answers 503");
    assert_int_equal(requests("dead i.bin", false), 3);
    get_ok(url("busy", "i.bin"), at("busy.bin"), 3000, hex);
    assert_file(at("busy.bin"), bytes, 3000);
    assert_fails(url("flip", "i.bin"), hex, 0, LH_E_FORMAT, "its SHA-256 is");
    assert_int_equal(requests("flip i.bin", false), 2);
    get_ok(url("fliponce", "i.bin"), at("once.bin"), 3000, hex);
    assert_file(at("once.bin"), bytes, 3000);
    assert_fails(url("plain", "i.bin"), other, 0, LH_E_FORMAT, other);
    assert_fails(url("plain", "i.bin"), NULL, 2999, LH_E_FORMAT, "it has 3000 bytes, 2999 are expected");
    assert_fails(url("badhash", "i.bin"), NULL, 0, LH_E_FORMAT, "its MD5 is");
    assert_fails(url("loop", "i.bin"), NULL, 0, LH_E_NETWORK, "redirects");
    assert_fails("http://127.0.0.1:1/x", NULL, 0, LH_E_NETWORK, "127.0.0.1");
    assert_fails("file:///etc/passwd", NULL, 0, LH_E_NETWORK, "file");
    assert_fails("not an address", NULL, 0, LH_E_NETWORK, "not an address");
    free(bytes);
}

typedef struct watcher {
    int calls, stop_at;
    size_t files;
} watcher;

static bool watch(void *data, size_t files, uint64_t bytes, uint64_t expected)
{
    watcher *w = data;
    (void)bytes;
    (void)expected;
    assert_true(files >= w->files);
    w->files = files;
    return ++w->calls != w->stop_at;
}

static void test_many(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    enum { COUNT = 25 };
    unsigned char *bytes[COUNT];
    char urls[COUNT][128], paths[COUNT][128];
    lh_fetch_item items[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "many%d.bin", i);
        bytes[i] = serve(name, (size_t)(1000 + 137 * i));
        (void)snprintf(urls[i], sizeof urls[i], "%s", url(i % 5 == 0 ? "busy" : i % 3 ? "hash" : "cut", name));
        (void)snprintf(paths[i], sizeof paths[i], "%s/many/%d.bin", folder, i);
        items[i] = (lh_fetch_item){.url = urls[i], .path = paths[i]};
    }
    watcher w = {.stop_at = 5};
    lh_fetch_options options = {.parallel = 4, .pause = 0.001, .watch = watch, .watch_data = &w};
    lh_error error = {0};
    assert_int_equal(lh_fetch(items, COUNT, &options, &error), LH_E_INTERRUPTED);
    w = (watcher){0};
    error = (lh_error){0};
    if (lh_fetch(items, COUNT, &options, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(w.files, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_file(paths[i], bytes[i], (size_t)(1000 + 137 * i));
        free(bytes[i]);
    }
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Killed at random instants: the next call goes on, and the files are right in the end. */
static void test_kills(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    unsigned char *bytes = serve("slow.bin", 200000);
    char address[160], target[160];
    (void)snprintf(address, sizeof address, "%s", url("slow", "slow.bin"));
    (void)snprintf(target, sizeof target, "%s/slow.bin", folder);
    int kills = 0;
    for (useconds_t wait = 60000;; wait += 40000) {
        pid_t child = fork();
        if (child == 0) {
            _exit(get(address, target, 200000, NULL, 0, NULL));
        }
        usleep(wait);
        (void)kill(child, SIGKILL);
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        if (!WIFSIGNALED(result)) {
            assert_int_equal(WEXITSTATUS(result), 0);
            break;
        }
        kills++;
    }
    assert_true(kills > 0);
    assert_file(target, bytes, 200000);
    assert_true(requests("slow slow.bin", true) > 0);
    free(bytes);
}

/* ---- zip ---- */

static void put16(unsigned char *to, unsigned value)
{
    to[0] = (unsigned char)value;
    to[1] = (unsigned char)(value >> 8);
}

static void put32(unsigned char *to, unsigned long value)
{
    put16(to, (unsigned)value & 0xffffu);
    put16(to + 2, (unsigned)(value >> 16) & 0xffffu);
}

/* An archive of two files: the first stored, the second deflated. Returns its size. */
static size_t make_zip(unsigned char *zip, const char *const names[2], const unsigned char *const bytes[2],
                       const size_t sizes[2])
{
    size_t used = 0, headers[2], packed[2];
    for (int i = 0; i < 2; i++) {
        headers[i] = used;
        unsigned char *header = zip + used;
        memset(header, 0, 30);
        put32(header, 0x04034b50);
        put16(header + 8, i ? 8 : 0);
        put32(header + 14, crc32(crc32(0, NULL, 0), bytes[i], (uInt)sizes[i]));
        put32(header + 22, (unsigned long)sizes[i]);
        put16(header + 26, (unsigned)strlen(names[i]));
        memcpy(header + 30, names[i], strlen(names[i]));
        used += 30 + strlen(names[i]);
        if (i == 0) {
            memcpy(zip + used, bytes[i], sizes[i]);
            packed[i] = sizes[i];
        } else {
            z_stream stream = {0};
            assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
            stream.next_in = (unsigned char *)(uintptr_t)bytes[i];
            stream.avail_in = (uInt)sizes[i];
            stream.next_out = zip + used;
            stream.avail_out = (uInt)(sizes[i] + 1000);
            assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
            packed[i] = stream.total_out;
            deflateEnd(&stream);
        }
        put32(header + 18, (unsigned long)packed[i]);
        used += packed[i];
    }
    size_t directory = used;
    for (int i = 0; i < 2; i++) {
        unsigned char *record = zip + used;
        memset(record, 0, 46);
        put32(record, 0x02014b50);
        memcpy(record + 10, zip + headers[i] + 8, 2);
        memcpy(record + 16, zip + headers[i] + 14, 12);
        put16(record + 28, (unsigned)strlen(names[i]));
        put32(record + 42, (unsigned long)headers[i]);
        memcpy(record + 46, names[i], strlen(names[i]));
        used += 46 + strlen(names[i]);
    }
    unsigned char *end = zip + used;
    memset(end, 0, 22);
    put32(end, 0x06054b50);
    put16(end + 8, 2);
    put16(end + 10, 2);
    put32(end + 12, (unsigned long)(used - directory));
    put32(end + 16, (unsigned long)directory);
    put16(end + 20, 7);
    memcpy(end + 22, "comment", 7);
    return used + 29;
}

static lh_status unpack_both(const unsigned char *bytes, size_t size, lh_error *error)
{
    lh_zip zip;
    LH_TRY(lh_zip_read(&zip, bytes, size, "test.zip", error));
    lh_status status = LH_OK;
    for (size_t i = 0; status == LH_OK && i < zip.count; i++) {
        status = lh_zip_extract(&zip, &zip.entries[i], at("unpacked"), error);
    }
    lh_zip_close(&zip);
    return status;
}

static void test_zip(void **state)
{
    (void)state;
    const char *const names[2] = {"dir/stored", "dir/deflated.txt"};
    unsigned char *text = malloc(50000), *zip = malloc(200000);
    for (size_t i = 0; i < 50000; i++) {
        text[i] = (unsigned char)("0123456789 the whale\n"[i * i % 21]);
    }
    const unsigned char *const bytes[2] = {text + 100, text};
    const size_t sizes[2] = {777, 50000};
    size_t size = make_zip(zip, names, bytes, sizes);
    assert_int_equal(scratch_write(at("test.zip"), zip, size), 0);
    lh_zip archive;
    lh_error error = {0};
    if (lh_zip_open(&archive, at("test.zip"), &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(archive.count, 2);
    assert_null(lh_zip_find(&archive, "dir"));
    for (int i = 0; i < 2; i++) {
        const lh_zip_entry *entry = lh_zip_find(&archive, names[i]);
        assert_non_null(entry);
        assert_int_equal(lh_zip_extract(&archive, entry, at("unpacked"), &error), LH_OK);
        size_t found;
        char *out = scratch_read(at("unpacked"), &found);
        assert_int_equal(found, sizes[i]);
        assert_memory_equal(out, bytes[i], found);
        free(out);
    }
    lh_zip_close(&archive);
    /* Cut anywhere, or with any byte of a header changed: an error, or the right files. */
    for (size_t keep = 0; keep<size; keep += keep + 120> size ? 1 : 97) {
        error = (lh_error){0};
        assert_int_equal(unpack_both(zip, keep, &error), LH_E_FORMAT);
        assert_non_null(strstr(error.message, "test.zip"));
    }
    int noticed = 0, changed = 0;
    for (size_t i = 0; i < size; i += i < 60 || i + 250 > size ? 1 : 53) {
        zip[i] ^= 0x41;
        noticed += unpack_both(zip, size, NULL) != LH_OK;
        zip[i] ^= 0x41;
        changed++;
    }
    assert_true(noticed > changed / 2); /* times, versions and names may say anything */
    assert_int_equal(unpack_both(zip, size, NULL), LH_OK);
    free(text);
    free(zip);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* ---- the catalog ---- */

static void test_catalog_archive(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    const char *const names[2] = {"w/one.tokens", "w/two.tokens"};
    unsigned char *text = serve("unused", 30000), *zip = malloc(100000);
    const unsigned char *const bytes[2] = {text, text + 1000};
    const size_t sizes[2] = {1000, 29000};
    size_t size = make_zip(zip, names, bytes, sizes);
    assert_int_equal(scratch_write(at("served/set.zip"), zip, size), 0);
    char hex[LH_DIGEST_HEX], inner[LH_DIGEST_HEX];
    sha256_of(zip, size, hex);
    sha256_of(bytes[1], sizes[1], inner);
    lh_catalog_entry entry = {
        .name = "set",
        .base_url = "http://nowhere.invalid/",
        .archive = {"set.zip", "set.zip", size, hex},
        .files = {{"w/one.tokens", "one.tokens", 0, NULL}, {"w/two.tokens", "two.tokens", 29000, inner}},
    };
    char target[160], base[64];
    (void)snprintf(target, sizeof target, "%s/set", folder);
    (void)snprintf(base, sizeof base, "http://127.0.0.1:%d/cut", port);
    lh_catalog_options options = {.base_url = base, .split = -1, .pause = 0.001};
    lh_catalog_report report;
    lh_error error = {0};
    if (lh_catalog_get(&entry, target, &options, &report, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(report.files, 2);
    assert_int_equal(report.there, 0);
    assert_file(at("set/one.tokens"), bytes[0], sizes[0]);
    assert_file(at("set/two.tokens"), bytes[1], sizes[1]);
    assert_int_equal(access(at("set/set.zip"), F_OK), -1);
    int asked = requests("cut set.zip", false);
    assert_int_equal(lh_catalog_get(&entry, target, &options, &report, &error), LH_OK);
    assert_int_equal(report.there, 2);
    assert_int_equal(requests("cut set.zip", false), asked);
    /* Another file inside than the published one. */
    char wrong[LH_DIGEST_HEX];
    sha256_of("", 0, wrong);
    entry.files[1].digest = wrong;
    assert_int_equal(unlink(at("set/two.tokens")), 0);
    options.keep_archive = true;
    assert_int_equal(lh_catalog_get(&entry, target, &options, &report, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "w/two.tokens"));
    assert_int_equal(access(at("set/two.tokens"), F_OK), -1);
    entry.files[1].digest = inner;
    error = (lh_error){0};
    assert_int_equal(lh_catalog_get(&entry, target, &options, &report, &error), LH_OK);
    assert_int_equal(access(at("set/set.zip"), F_OK), 0);
    free(text);
    free(zip);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void test_catalog_books(void **state)
{
    (void)state;
    if (no_server()) {
        skip();
    }
    static const char list[] = "10146,A by B,1850,http://x\n2383,C by D,1400,http://x\n99,E by F,1900,http://x\n"
                               "100,G by H,1901,http://x\n12204,I by J,1902,http://x\n";
    static const char *const books[] = {"test/10146", "test/12204", "validation/2383", "train/99", "train/100"};
    assert_int_equal(scratch_write(at("served/metadata.csv"), list, sizeof list - 1), 0);
    (void)mkdir(at("served/train"), 0777);
    (void)mkdir(at("served/validation"), 0777);
    (void)mkdir(at("served/test"), 0777);
    unsigned char *bytes[5];
    for (int i = 0; i < 5; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s.txt", books[i]);
        bytes[i] = serve(name, (size_t)(2000 + i));
    }
    const lh_catalog_entry *entry;
    assert_int_equal(lh_catalog_find("pg19", &entry, NULL), LH_OK);
    char target[160], base[64];
    (void)snprintf(target, sizeof target, "%s/pg19", folder);
    (void)snprintf(base, sizeof base, "http://127.0.0.1:%d/hash/", port);
    lh_catalog_options options = {.base_url = base, .split = 2, .books = 1, .pause = 0.001};
    lh_catalog_report report;
    lh_error error = {0};
    if (lh_catalog_get(entry, target, &options, &report, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(report.files, 2);
    assert_non_null(strstr(report.notes.data, "lists 5 books, 28752 are published"));
    lh_string_free(&report.notes);
    assert_file(at("pg19/test/10146.txt"), bytes[0], 2000);
    assert_int_equal(access(at("pg19/test/12204.txt"), F_OK), -1);
    options.split = -1;
    options.books = 0;
    assert_int_equal(lh_catalog_get(entry, target, &options, &report, &error), LH_OK);
    assert_int_equal(report.files, 6);
    assert_int_equal(report.there, 2);
    lh_string_free(&report.notes);
    for (int i = 0; i < 5; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "pg19/%s.txt", books[i]);
        assert_file(at(name), bytes[i], (size_t)(2000 + i));
        free(bytes[i]);
    }
    assert_int_equal(requests("hash test/10146.txt", false), 1);
    assert_int_equal(lh_catalog_find("pg91", &entry, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "pg19"));
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Every entry is complete enough to be fetched and checked. */
static void test_catalog_table(void **state)
{
    (void)state;
    for (const lh_catalog_entry *entry = lh_catalog; entry->name; entry++) {
        assert_non_null(entry->title);
        assert_non_null(entry->licence);
        assert_int_equal(entry->base_url[strlen(entry->base_url) - 1], '/');
        assert_true(entry->bytes > 0);
        assert_true(entry->books || entry->files[0].source);
        const char *digests[] = {entry->archive.digest, entry->files[0].digest, entry->files[1].digest};
        lh_digest_kind kind;
        bool checked = entry->books;
        for (int i = 0; i < 3; i++) {
            assert_true(!digests[i] || lh_digest_kind_of(digests[i], &kind));
            checked = checked || digests[i];
        }
        assert_true(checked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),           cmocka_unit_test(test_resume),
        cmocka_unit_test(test_failures),        cmocka_unit_test(test_many),
        cmocka_unit_test(test_kills),           cmocka_unit_test(test_zip),
        cmocka_unit_test(test_catalog_archive), cmocka_unit_test(test_catalog_books),
        cmocka_unit_test(test_catalog_table),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
