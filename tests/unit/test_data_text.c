/* Checksums of streams, counting of text, and reading of plain and compressed files. */
#include "base/memory.h"
#include "data/count.h"
#include "data/digest.h"
#include "data/reader.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

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
    return scratch_make(folder);
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void assert_digest(lh_digest_kind kind, const char *text, size_t size, const char *expected)
{
    /* All at once and cut into pieces of every small size. */
    for (size_t step = 0; step < 70; step++) {
        lh_digest digest = lh_digest_start(kind);
        for (size_t i = 0; i < size; i += step ? step : size) {
            size_t part = step == 0 ? size : size - i < step ? size - i : step;
            lh_digest_update(&digest, text + i, part);
        }
        char hex[LH_DIGEST_HEX];
        lh_digest_finish(&digest, hex);
        assert_string_equal(hex, expected);
    }
}

static void test_digest_vectors(void **state)
{
    (void)state;
    /* RFC 1321 appendix A.5; FIPS 180-4 example texts. */
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_digest(LH_DIGEST_MD5, "abc", 3, "900150983cd24fb0d6963f7d28e17f72");
    assert_digest(LH_DIGEST_MD5, "message digest", 14, "f96b697d7cb7938d525a2f31aaf161d0");
    assert_digest(LH_DIGEST_SHA1, "abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_digest(LH_DIGEST_SHA1, two_blocks, 56, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    assert_digest(LH_DIGEST_SHA256, "abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest(LH_DIGEST_SHA256, two_blocks, 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    lh_digest empty = lh_digest_start(LH_DIGEST_SHA256);
    char hex[LH_DIGEST_HEX];
    lh_digest_finish(&empty, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /* Every length around the block boundaries, against the one-byte-at-a-time order of the same text. */
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    lh_digest digest = lh_digest_start(LH_DIGEST_SHA1);
    lh_digest_update(&digest, million, 1000000);
    lh_digest_finish(&digest, hex);
    assert_string_equal(hex, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    assert_int_equal(scratch_write(at("million"), million, 1000000), 0);
    free(million);
    assert_int_equal(lh_digest_file(at("million"), LH_DIGEST_SHA1, hex, NULL), LH_OK);
    assert_string_equal(hex, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    lh_error error = {0};
    assert_int_equal(lh_digest_file(at("missing"), LH_DIGEST_SHA1, hex, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "missing"));
    lh_digest_kind kind;
    assert_true(lh_digest_kind_of("900150983cd24fb0d6963f7d28e17f72", &kind));
    assert_int_equal(kind, LH_DIGEST_MD5);
    assert_false(lh_digest_kind_of("900150983cd24fb0d6963f7d28e17f7", &kind));
    assert_false(lh_digest_kind_of("x00150983cd24fb0d6963f7d28e17f72", &kind));
}

static lh_text_counter count_in_steps(const char *text, size_t size, size_t step)
{
    lh_text_counter counter = {0};
    for (size_t i = 0; i < size; i += step) {
        lh_text_counter_feed(&counter, text + i, size - i < step ? size - i : step);
    }
    lh_text_counter_finish(&counter);
    return counter;
}

static void assert_counts(const char *text, size_t size, uint64_t words, uint64_t characters, uint64_t invalid)
{
    for (size_t step = 1; step <= size + 1; step += step < 8 ? 1 : 97) {
        lh_text_counter counter = count_in_steps(text, size, step);
        assert_int_equal(counter.totals.bytes, size);
        assert_int_equal(counter.totals.words, words);
        assert_int_equal(counter.totals.characters, characters);
        assert_int_equal(counter.totals.invalid, invalid);
    }
}

static void test_counts(void **state)
{
    (void)state;
    assert_counts("", 0, 0, 0, 0);
    assert_counts("one", 3, 1, 3, 0);
    assert_counts("  a\tb\nc\v\f\rd  ", 13, 4, 13, 0);
    assert_counts("a\x1c"
                  "b\x1f"
                  "c",
                  5, 3, 5, 0); /* separators of the ASCII kind */
    assert_counts("a\xc2\xa0"
                  "b",
                  4, 2, 3, 0); /* no-break space */
    assert_counts("a\xe2\x80\x8b"
                  "b",
                  5, 1, 3, 0); /* zero-width space is no white space */
    assert_counts("\xe3\x80\x80x\xe2\x80\xa8y", 8, 2, 4, 0);
    assert_counts("na\xc3\xafve \xf0\x9f\x98\x80", 11, 2, 7, 0);
    assert_counts("a\xff"
                  "b \x80",
                  5, 2, 5, 2);
    assert_counts("a \xe2\x82", 4, 2, 4, 2); /* cut off at the end */
    assert_counts("\xe2\x82"
                  "A",
                  3, 1, 3, 2);                 /* cut off before an ASCII byte */
    assert_counts("\xc0\x80", 2, 1, 2, 2);     /* overlong */
    assert_counts("\xed\xa0\x80", 3, 1, 3, 3); /* surrogate */
    lh_text_counter counter = count_in_steps("abc\xff\xfe", 5, 2);
    assert_int_equal(counter.first_invalid, 3);
    counter = count_in_steps("ab\xe2\x82"
                             "A\xff",
                             6, 3);
    assert_int_equal(counter.first_invalid, 2);
}

/* A long random text: the block-wise fast path against a count of one character at a time. */
static void test_counts_long(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    static const char *const pieces[] = {"word", " ", "\n", "x", "\xc3\xa9", "\xe2\x80\x94", "\xc2\xa0", "\t"};
    char *text = malloc(SIZE + 16);
    size_t size = 0;
    uint64_t random = 12345, words = 0, characters = 0;
    int inside = 0;
    while (size < SIZE) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        /* Long stretches without a byte above 127, then mixed ones. */
        unsigned piece = (unsigned)(random >> 40) % (size / 4096 % 2 ? 8 : 4);
        int space = piece == 1 || piece == 2 || piece == 6 || piece == 7;
        words += !space && !inside;
        inside = !space;
        characters += piece == 0 ? 4 : 1;
        memcpy(text + size, pieces[piece], strlen(pieces[piece]));
        size += strlen(pieces[piece]);
    }
    assert_counts(text, size, words, characters, 0);
    free(text);
}

/* ---- readers ---- */

static char *sample(size_t size)
{
    char *text = malloc(size + 1);
    uint64_t random = 99;
    for (size_t i = 0; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        text[i] = (char)('a' + (random >> 60));
    }
    return text;
}

static size_t pack_gzip(const char *text, size_t size, unsigned char *packed, size_t room)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)text;
    stream.avail_in = (unsigned)size;
    stream.next_out = packed;
    stream.avail_out = (unsigned)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t used = stream.total_out;
    deflateEnd(&stream);
    return used;
}

static size_t pack_zstd(const char *text, size_t size, unsigned char *packed, size_t room)
{
    size_t used = ZSTD_compress(packed, room, text, size, 3);
    assert_false(ZSTD_isError(used));
    return used;
}

static size_t pack_xz(const char *text, size_t size, unsigned char *packed, size_t room)
{
    size_t used = 0;
    assert_int_equal(
        lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, (const uint8_t *)text, size, packed, &used, room),
        LZMA_OK);
    return used;
}

static const struct packer {
    const char *format, *suffix;
    size_t (*pack)(const char *text, size_t size, unsigned char *packed, size_t room);
} packers[] = {{"gzip", ".gz", pack_gzip}, {"zstd", ".zst", pack_zstd}, {"xz", ".xz", pack_xz}};

/* Reads everything with reads of `step` bytes; the text in malloc'ed memory. */
static lh_status read_text(const char *name, size_t step, char **text, size_t *size, lh_error *error)
{
    lh_reader *reader = NULL;
    *text = malloc(1 << 20);
    *size = 0;
    LH_TRY(lh_reader_open(&reader, name, error));
    lh_status status;
    size_t got;
    do {
        status = lh_reader_read(reader, *text + *size, step, &got, error);
        *size += got;
    } while (status == LH_OK && got == step);
    lh_reader_free(reader);
    return status;
}

static void assert_file_is(const char *name, const char *expected, size_t expected_size)
{
    static const size_t steps[] = {1000, 4096, 65536, 400000};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char *text;
        size_t size;
        lh_error error = {0};
        lh_status status = read_text(name, steps[i], &text, &size, &error);
        if (status != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_int_equal(size, expected_size);
        assert_memory_equal(text, expected, expected_size);
        free(text);
    }
}

static void test_reader_formats(void **state)
{
    (void)state;
    enum { SIZE = 300000, ROOM = 400000 };
    char *text = sample(SIZE);
    unsigned char *packed = malloc(2 * ROOM);
    assert_int_equal(scratch_write(at("plain.txt"), text, SIZE), 0);
    assert_file_is(at("plain.txt"), text, SIZE);
    for (size_t i = 0; i < 3; i++) {
        size_t size = packers[i].pack(text, SIZE, packed, ROOM);
        assert_int_equal(scratch_write(at("whole"), packed, size), 0); /* found by its magic, not by its name */
        assert_file_is(at("whole"), text, SIZE);
        lh_reader *reader;
        assert_int_equal(lh_reader_open(&reader, at("whole"), NULL), LH_OK);
        assert_string_equal(lh_reader_format(reader), packers[i].format);
        char tail[8];
        size_t got;
        assert_int_equal(lh_reader_skip(reader, SIZE - 5, NULL), LH_OK);
        assert_int_equal(lh_reader_read(reader, tail, sizeof tail, &got, NULL), LH_OK);
        assert_int_equal(got, 5);
        assert_memory_equal(tail, text + SIZE - 5, 5);
        lh_reader_free(reader);
        /* Two streams one after another are one text. */
        size = packers[i].pack(text, 1000, packed, ROOM);
        size += packers[i].pack(text + 1000, SIZE - 1000, packed + size, ROOM);
        assert_int_equal(scratch_write(at("joined"), packed, size), 0);
        assert_file_is(at("joined"), text, SIZE);
        /* So is a stream with an empty one before it. */
        size = packers[i].pack(text, 0, packed, ROOM);
        size += packers[i].pack(text, SIZE, packed + size, ROOM);
        assert_int_equal(scratch_write(at("empty-first"), packed, size), 0);
        assert_file_is(at("empty-first"), text, SIZE);
    }
    free(text);
    free(packed);
}

/* Every truncation and every flipped bit (of a small stream) is either noticed or leaves the text as it was. */
static void test_reader_damage(void **state)
{
    (void)state;
    enum { SIZE = 5000, ROOM = 8000 };
    char *text = sample(SIZE);
    unsigned char *packed = malloc(ROOM);
    for (size_t i = 0; i < 3; i++) {
        size_t size = packers[i].pack(text, SIZE, packed, ROOM);
        char name[32];
        (void)snprintf(name, sizeof name, "damaged%s", packers[i].suffix);
        for (size_t keep = 1; keep < size; keep += keep < 40 || keep > size - 40 ? 1 : 131) {
            assert_int_equal(scratch_write(at(name), packed, keep), 0);
            char *read;
            size_t read_size;
            lh_error error = {0};
            assert_int_equal(read_text(at(name), 4096, &read, &read_size, &error), LH_E_FORMAT);
            assert_non_null(strstr(error.message, name));
            if (keep >= 20) {
                assert_non_null(strstr(error.message, "truncated"));
            }
            free(read);
        }
        if (i == 1) {
            continue; /* a zstd frame of the simple interface carries no checksum */
        }
        for (size_t byte = 0; byte < size; byte += 7) {
            packed[byte] ^= 0x10;
            assert_int_equal(scratch_write(at(name), packed, size), 0);
            char *read;
            size_t read_size;
            if (read_text(at(name), 4096, &read, &read_size, NULL) == LH_OK) {
                assert_int_equal(read_size, SIZE);
                assert_memory_equal(read, text, SIZE);
            }
            free(read);
            packed[byte] ^= 0x10;
        }
        memcpy(packed + size, "trailing", 8);
        assert_int_equal(scratch_write(at(name), packed, size + 8), 0);
        char *read;
        size_t read_size;
        lh_error error = {0};
        assert_int_equal(read_text(at(name), 4096, &read, &read_size, &error), LH_E_FORMAT);
        assert_non_null(strstr(error.message, i == 0 ? "follows" : "damaged"));
        free(read);
    }
    free(text);
    free(packed);
}

static void assert_open_fails(const char *name, lh_status expected, const char *words)
{
    lh_reader *reader;
    lh_error error = {0};
    assert_int_equal(lh_reader_open(&reader, name, &error), expected);
    assert_null(reader);
    assert_non_null(strstr(error.message, name));
    assert_non_null(strstr(error.message, words));
}

static void test_reader_refusals(void **state)
{
    (void)state;
    assert_open_fails(at("missing.txt"), LH_E_IO, "No such file");
    assert_open_fails(folder, LH_E_IO, "directory");
    assert_int_equal(scratch_write(at("text.gz"), "just text", 9), 0);
    assert_open_fails(at("text.gz"), LH_E_FORMAT, "gzip");
    assert_int_equal(scratch_write(at("secret"), "x", 1), 0);
    (void)chmod(at("secret"), 0);
    if (geteuid() != 0) {
        assert_open_fails(at("secret"), LH_E_IO, "ermission");
    }
    assert_int_equal(scratch_write(at("short"), "abc", 3), 0);
    lh_reader *reader;
    lh_error error = {0};
    assert_int_equal(lh_reader_open(&reader, at("short"), NULL), LH_OK);
    assert_int_equal(lh_reader_skip(reader, 4, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "1 bytes"));
    lh_reader_free(reader);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* A pipe that gives one byte at a time is still recognised as compressed. */
static void test_reader_pipe(void **state)
{
    (void)state;
    unsigned char packed[200];
    size_t size = pack_gzip("hello from a pipe", 17, packed, sizeof packed);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < size; i++) {
            if (write(ends[1], packed + i, 1) != 1) {
                _exit(1);
            }
            usleep(i < 8 ? 2000 : 0);
        }
        _exit(0);
    }
    (void)close(ends[1]);
    int saved = dup(STDIN_FILENO);
    assert_true(dup2(ends[0], STDIN_FILENO) >= 0);
    char text[64];
    size_t got = 0;
    lh_reader *reader;
    assert_int_equal(lh_reader_open(&reader, "-", NULL), LH_OK);
    assert_int_equal(lh_reader_read(reader, text, sizeof text, &got, NULL), LH_OK);
    lh_reader_free(reader);
    (void)dup2(saved, STDIN_FILENO);
    (void)close(saved);
    (void)close(ends[0]);
    assert_int_equal(got, 17);
    assert_memory_equal(text, "hello from a pipe", 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_vectors), cmocka_unit_test(test_counts),
        cmocka_unit_test(test_counts_long),    cmocka_unit_test(test_reader_formats),
        cmocka_unit_test(test_reader_damage),  cmocka_unit_test(test_reader_refusals),
        cmocka_unit_test(test_reader_pipe),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
