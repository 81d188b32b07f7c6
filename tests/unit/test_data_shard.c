/* Shards: what is written is read back; interrupted writing goes on to the same bytes; any damage is noticed. */
#include "base/memory.h"
#include "data/shard.h"
#include "data/split.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lzma.h>

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

static int32_t token_of(uint64_t document, uint64_t position, uint64_t vocab_size)
{
    return (int32_t)((document * 7919 + position * 31 + (position >> 3)) % vocab_size);
}

static uint64_t length_of(uint64_t document)
{
    static const uint64_t lengths[] = {5, 0, 1, 3000, 17, 64, 2049};
    return lengths[document % 7];
}

static void write_document(lh_shard_writer *writer, uint64_t document)
{
    int32_t ids[64];
    char name[32];
    uint64_t length = length_of(document);
    for (uint64_t i = 0; i < length; i += 64) {
        uint64_t part = length - i < 64 ? length - i : 64;
        for (uint64_t j = 0; j < part; j++) {
            ids[j] = token_of(document, i + j, writer->vocab_size);
        }
        assert_int_equal(lh_shard_writer_ids(writer, ids, part, NULL), LH_OK);
    }
    (void)snprintf(name, sizeof name, "book-%d", (int)document);
    lh_text_totals totals = {.bytes = length * 2, .words = length / 4, .characters = length, .invalid = document};
    assert_int_equal(lh_shard_writer_end_document(writer, name, document % 2 ? "odd" : "", &totals, NULL), LH_OK);
}

static void write_shard(const char *file, uint64_t vocab_size, uint64_t first, uint64_t documents)
{
    lh_shard_writer writer;
    lh_error error = {0};
    assert_int_equal(lh_shard_writer_open(&writer, file, vocab_size, 77, NULL, &error), LH_OK);
    for (uint64_t i = 0; i < documents; i++) {
        write_document(&writer, first + i);
    }
    assert_int_equal(lh_shard_writer_finish(&writer, &error), LH_OK);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint64_t vocabularies[] = {1, 2, 256, 257, 65536, 65537, 1000000};
    static const uint32_t widths[] = {1, 1, 1, 2, 2, 4, 4};
    for (size_t v = 0; v < 7; v++) {
        assert_int_equal(lh_shard_width(vocabularies[v]), widths[v]);
        write_shard(at("a.lhs"), vocabularies[v], 0, 20);
        lh_shard shard;
        lh_error error = {0};
        lh_status status = lh_shard_open(&shard, at("a.lhs"), &error);
        if (status != LH_OK) {
            fail_msg("%s", error.message);
        }
        assert_int_equal(shard.header.token_width, widths[v]);
        assert_int_equal(shard.header.document_count, 20);
        assert_int_equal(shard.header.fingerprint, 77);
        assert_int_equal(lh_shard_verify(&shard, &error), LH_OK);
        lh_shard_close(&shard);
        lh_split split;
        const char *paths[] = {at("a.lhs")};
        assert_int_equal(lh_split_open(&split, "train", paths, 1, &error), LH_OK);
        int32_t ids[3000];
        for (uint64_t i = 0; i < 20; i++) {
            lh_document document = lh_split_document(&split, i);
            char name[32];
            (void)snprintf(name, sizeof name, "book-%d", (int)i);
            assert_int_equal(document.name_size, strlen(name));
            assert_memory_equal(document.name, name, strlen(name));
            assert_int_equal(document.label_size, i % 2 ? 3 : 0);
            assert_int_equal(document.tokens, length_of(i));
            assert_int_equal(document.totals.bytes, 2 * length_of(i));
            assert_int_equal(lh_split_copy(&split, document.start, document.tokens, ids, &error), LH_OK);
            for (uint64_t t = 0; t < document.tokens; t++) {
                assert_int_equal(ids[t], token_of(i, t, vocabularies[v]));
            }
        }
        lh_split_close(&split);
    }
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void test_many_shards_are_one_split(void **state)
{
    (void)state;
    /* Ten documents over four shards, one of them without documents and one with an empty document only. */
    write_shard(at("s0"), 300, 0, 3);
    write_shard(at("s1"), 300, 3, 0);
    write_shard(at("s2"), 300, 3, 5);
    write_shard(at("s3"), 300, 8, 1); /* document 8 has no token */
    write_shard(at("s4"), 300, 9, 1);
    char names[5][128];
    const char *paths[5];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/s%d", folder, i);
        paths[i] = names[i];
    }
    lh_split split;
    lh_error error = {0};
    assert_int_equal(lh_split_open(&split, "train", paths, 5, &error), LH_OK);
    assert_int_equal(split.documents, 10);
    int32_t *all = malloc(split.tokens * sizeof *all);
    assert_int_equal(lh_split_copy(&split, 0, split.tokens, all, &error), LH_OK);
    uint64_t token = 0;
    for (uint64_t i = 0; i < 10; i++) {
        lh_document document = lh_split_document(&split, i);
        assert_int_equal(document.start, token);
        for (uint64_t t = 0; t < document.tokens; t++, token++) {
            assert_int_equal(all[token], token_of(i, t, 300));
            assert_int_equal(lh_split_find(&split, token), i);
        }
    }
    assert_int_equal(token, split.tokens);
    int32_t one;
    assert_int_equal(lh_split_copy(&split, split.tokens, 1, &one, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_split_copy(&split, UINT64_MAX, 2, &one, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_split_copy(&split, 1, UINT64_MAX, &one, NULL), LH_E_ARGUMENT);
    free(all);
    lh_split_close(&split);
    write_shard(at("s4"), 301, 9, 1);
    assert_int_equal(lh_split_open(&split, "train", paths, 5, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "another tokenizer"));
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Interrupted after any document, with garbage behind what was synced: the same bytes in the end. */
static void test_continuation_is_identical(void **state)
{
    (void)state;
    enum { DOCUMENTS = 9 };
    write_shard(at("whole"), 256, 0, DOCUMENTS);
    size_t size, again_size;
    char *expected = scratch_read(at("whole"), &size);
    for (uint64_t stop = 0; stop <= DOCUMENTS; stop++) {
        lh_shard_writer writer;
        lh_shard_progress progress;
        assert_int_equal(lh_shard_writer_open(&writer, at("cut"), 256, 77, NULL, NULL), LH_OK);
        for (uint64_t i = 0; i < stop; i++) {
            write_document(&writer, i);
        }
        assert_int_equal(lh_shard_writer_sync(&writer, &progress, NULL), LH_OK);
        int32_t lost[] = {1, 2, 3};
        assert_int_equal(lh_shard_writer_ids(&writer, lost, 3, NULL), LH_OK);
        assert_int_equal(lh_shard_writer_sync(&writer, &progress, NULL), LH_E_INTERNAL);
        write_document(&writer, 5);
        lh_shard_writer_close(&writer);
        assert_int_equal(lh_shard_writer_open(&writer, at("cut"), 256, 77, &progress, NULL), LH_OK);
        for (uint64_t i = stop; i < DOCUMENTS; i++) {
            write_document(&writer, i);
        }
        assert_int_equal(lh_shard_writer_finish(&writer, NULL), LH_OK);
        char *again = scratch_read(at("cut"), &again_size);
        assert_int_equal(again_size, size);
        assert_memory_equal(again, expected, size);
        free(again);
        assert_int_equal(access(at("cut.part"), F_OK), -1);
        assert_int_equal(access(at("cut.docs"), F_OK), -1);
        assert_int_equal(access(at("cut.names"), F_OK), -1);
    }
    lh_shard_writer writer;
    lh_shard_progress missing = {.tokens = 10};
    lh_error error = {0};
    assert_int_equal(lh_shard_writer_open(&writer, at("nothing"), 256, 77, &missing, &error), LH_E_IO);
    assert_non_null(strstr(error.message, "nothing.part"));
    int32_t outside[] = {256};
    assert_int_equal(lh_shard_writer_open(&writer, at("ids"), 256, 77, NULL, NULL), LH_OK);
    assert_int_equal(lh_shard_writer_ids(&writer, outside, 1, NULL), LH_E_INTERNAL);
    outside[0] = -1;
    assert_int_equal(lh_shard_writer_ids(&writer, outside, 1, NULL), LH_E_INTERNAL);
    lh_shard_writer_close(&writer);
    free(expected);
}

static lh_status open_bytes(const char *bytes, size_t size, bool verify, lh_error *error)
{
    lh_shard shard;
    assert_int_equal(scratch_write(at("hurt"), bytes, size), 0);
    lh_status status = lh_shard_open(&shard, at("hurt"), error);
    if (status == LH_OK) {
        if (verify) {
            status = lh_shard_verify(&shard, error);
        }
        lh_shard_close(&shard);
    }
    return status;
}

static void test_damage(void **state)
{
    (void)state;
    write_shard(at("good"), 256, 4, 3); /* documents of 17, 64 and 2049 tokens */
    size_t size;
    char *bytes = scratch_read(at("good"), &size);
    assert_int_equal(open_bytes(bytes, size, true, NULL), LH_OK);
    for (size_t keep = 0; keep < size; keep += keep < 300 ? 1 : 57) {
        lh_error error = {0};
        assert_int_equal(open_bytes(bytes, keep, false, &error), LH_E_FORMAT);
        assert_non_null(strstr(error.message, keep < 256 ? "too short" : "truncated"));
    }
    lh_shard_header header;
    memcpy(&header, bytes, sizeof header);
    for (size_t byte = 0; byte < size; byte += byte < 256 || byte > header.document_offset ? 1 : 19) {
        for (int bit = 0; bit < 8; bit += 3) {
            bytes[byte] = (char)(bytes[byte] ^ (1 << bit));
            lh_error error = {0};
            bool padding = byte >= header.token_offset + header.token_count && byte < header.document_offset;
            bool token = byte >= header.token_offset && !padding && byte < header.document_offset;
            lh_status status = open_bytes(bytes, size, token, &error);
            if (!padding) {
                assert_int_equal(status, LH_E_FORMAT);
                assert_non_null(strstr(error.message, byte < 8    ? "not a token shard"
                                                      : byte < 16 ? "hurt"
                                                                  : "damaged"));
            }
            bytes[byte] = (char)(bytes[byte] ^ (1 << bit));
        }
    }
    char *longer = malloc(size + 1);
    memcpy(longer, bytes, size);
    longer[size] = 0;
    assert_int_equal(open_bytes(longer, size + 1, false, NULL), LH_E_FORMAT);
    free(longer);
    free(bytes);
}

/* Headers with a right checksum but absurd values: no field may lead outside the file. */
static void test_absurd_headers(void **state)
{
    (void)state;
    write_shard(at("good"), 256, 4, 3);
    size_t size;
    char *bytes = scratch_read(at("good"), &size);
    lh_shard_header good, header;
    memcpy(&good, bytes, sizeof good);
    static const uint64_t values[] = {
        0, 1, 63, 255, 256, 257, 1u << 20, UINT32_MAX, INT64_MAX, UINT64_MAX - 63, UINT64_MAX};
    size_t fields[] = {offsetof(lh_shard_header, token_count),   offsetof(lh_shard_header, document_count),
                       offsetof(lh_shard_header, token_offset),  offsetof(lh_shard_header, document_offset),
                       offsetof(lh_shard_header, name_offset),   offsetof(lh_shard_header, name_bytes),
                       offsetof(lh_shard_header, file_bytes),    offsetof(lh_shard_header, vocab_size),
                       offsetof(lh_shard_header, token_checksum)};
    int refused = 0;
    for (size_t a = 0; a < sizeof fields / sizeof *fields; a++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            header = good;
            memcpy((char *)&header + fields[a], &values[v], sizeof values[v]);
            header.header_checksum =
                lzma_crc64((const uint8_t *)&header, offsetof(lh_shard_header, header_checksum), 0);
            memcpy(bytes, &header, sizeof header);
            refused += open_bytes(bytes, size, true, NULL) != LH_OK;
        }
    }
    /* Accepted: the values that are right (vocabulary 256), and vocabularies of one byte that hold all tokens
     * (255). */
    assert_true(refused >= 9 * 11 - 2);
    header = good;
    header.token_width = 0;
    header.header_checksum = lzma_crc64((const uint8_t *)&header, offsetof(lh_shard_header, header_checksum), 0);
    memcpy(bytes, &header, sizeof header);
    assert_int_equal(open_bytes(bytes, size, true, NULL), LH_E_FORMAT);
    header = good;
    header.version = 3;
    header.header_checksum = lzma_crc64((const uint8_t *)&header, offsetof(lh_shard_header, header_checksum), 0);
    memcpy(bytes, &header, sizeof header);
    lh_error error = {0};
    assert_int_equal(open_bytes(bytes, size, true, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "version 3"));
    free(bytes);
}

/* ---- answers ---- */

static uint32_t answer_of(uint64_t document, uint64_t position)
{
    uint64_t turn = (position + document) % 5;
    return turn == 1 ? LH_ANSWER : turn == 4 ? (uint32_t)(position - position / 3) : 0;
}

static void write_answers(lh_shard_writer *writer, uint64_t document)
{
    int32_t ids[64];
    uint32_t answers[64];
    uint64_t length = length_of(document);
    for (uint64_t i = 0; i < length; i += 64) {
        uint64_t part = length - i < 64 ? length - i : 64;
        for (uint64_t j = 0; j < part; j++) {
            ids[j] = token_of(document, i + j, writer->vocab_size);
            answers[j] = answer_of(document, i + j);
        }
        assert_int_equal(lh_shard_writer_answers(writer, ids, answers, part, NULL), LH_OK);
    }
    lh_text_totals totals = {0};
    assert_int_equal(lh_shard_writer_end_document(writer, "row", "", &totals, NULL), LH_OK);
}

static void write_answered_shard(const char *file, uint64_t first, uint64_t documents)
{
    lh_shard_writer writer;
    lh_error error = {0};
    assert_int_equal(lh_shard_writer_open(&writer, file, 300, 77, NULL, &error), LH_OK);
    for (uint64_t i = 0; i < documents; i++) {
        write_answers(&writer, first + i);
    }
    assert_int_equal(lh_shard_writer_finish(&writer, &error), LH_OK);
}

static void test_answers_come_back(void **state)
{
    (void)state;
    write_answered_shard(at("a0"), 0, 6);
    write_answered_shard(at("a1"), 6, 3);
    assert_int_equal(access(at("a0.answers"), F_OK), -1);
    char names[2][128];
    const char *paths[] = {names[0], names[1]};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/a%d", folder, i);
    }
    lh_split split;
    lh_error error = {0};
    assert_int_equal(lh_split_open(&split, "train", paths, 2, &error), LH_OK);
    assert_true(split.answered);
    uint32_t *answers = malloc(split.tokens * sizeof *answers);
    lh_split_copy_answers(&split, 0, split.tokens, answers);
    uint64_t token = 0, count = 0;
    for (uint64_t i = 0; i < 9; i++) {
        for (uint64_t t = 0; t < length_of(i); t++, token++) {
            uint32_t one;
            lh_split_copy_answers(&split, token, 1, &one);
            assert_int_equal(one, answer_of(i, t));
            assert_int_equal(answers[token], one);
            count += one != 0;
        }
    }
    assert_int_equal(token, split.tokens);
    assert_int_equal(count, split.answers);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(split.shards[i].header.version, LH_SHARD_VERSION_ANSWERS);
        assert_int_equal(lh_shard_verify(&split.shards[i], &error), LH_OK);
    }
    lh_split_close(&split);
    free(answers);
    write_shard(at("a1"), 300, 6, 3);
    assert_int_equal(lh_split_open(&split, "train", paths, 2, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "only one says"));
    /* All tokens or none, in one go. */
    lh_shard_writer writer;
    lh_shard_progress progress;
    assert_int_equal(lh_shard_writer_open(&writer, at("half"), 300, 77, NULL, NULL), LH_OK);
    write_answers(&writer, 0);
    assert_int_equal(lh_shard_writer_sync(&writer, &progress, NULL), LH_E_INTERNAL);
    write_document(&writer, 4);
    error = (lh_error){0};
    assert_int_equal(lh_shard_writer_finish(&writer, &error), LH_E_INTERNAL);
    assert_non_null(strstr(error.message, "5 of 22 tokens"));
    assert_int_equal(lh_heap_live_bytes(), 0);
}

/* Puts the bytes' own checksums right, so that what they cover is looked at. */
static void sign(char *bytes)
{
    lh_shard_header header;
    memcpy(&header, bytes, sizeof header);
    header.answer_checksum = lzma_crc64((const uint8_t *)bytes + header.answer_offset, header.token_count * 4, 0);
    header.header_checksum = lzma_crc64((const uint8_t *)&header, offsetof(lh_shard_header, header_checksum), 0);
    memcpy(bytes, &header, sizeof header);
}

static lh_status open_header(char *bytes, size_t size, const lh_shard_header *header)
{
    lh_shard_header copy = *header;
    copy.header_checksum = lzma_crc64((const uint8_t *)&copy, offsetof(lh_shard_header, header_checksum), 0);
    memcpy(bytes, &copy, sizeof copy);
    return open_bytes(bytes, size, true, NULL);
}

static void test_hostile_answers(void **state)
{
    (void)state;
    write_answered_shard(at("good"), 4, 2); /* documents of 17 and 64 tokens */
    size_t size;
    char *bytes = scratch_read(at("good"), &size);
    lh_shard_header good;
    memcpy(&good, bytes, sizeof good);
    assert_int_equal(open_bytes(bytes, size, true, NULL), LH_OK);
    for (size_t keep = 256; keep < size; keep++) {
        assert_int_equal(open_bytes(bytes, keep, false, NULL), LH_E_FORMAT);
    }
    lh_error error = {0};
    for (size_t byte = good.answer_offset; byte < size; byte++) {
        error = (lh_error){0};
        bytes[byte] = (char)(bytes[byte] ^ 16);
        assert_int_equal(open_bytes(bytes, size, true, &error), LH_E_FORMAT);
        assert_non_null(strstr(error.message, "checksum of its answers"));
        bytes[byte] = (char)(bytes[byte] ^ 16);
    }
    /* The first token of the second document cannot repeat what stands in the first. */
    uint32_t before[] = {1, 17, UINT32_MAX - 1};
    uint32_t *first = (uint32_t *)(void *)(bytes + good.answer_offset) + 17, kept = *first;
    for (int i = 0; i < 3; i++) {
        *first = before[i];
        error = (lh_error){0};
        sign(bytes);
        assert_int_equal(open_bytes(bytes, size, false, NULL), LH_OK);
        assert_int_equal(open_bytes(bytes, size, true, &error), LH_E_FORMAT);
        assert_non_null(strstr(error.message, "token 0 of document 1"));
    }
    *first = kept ? 0 : LH_ANSWER;
    error = (lh_error){0};
    sign(bytes);
    assert_int_equal(open_bytes(bytes, size, true, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "its header says"));
    *first = kept;
    static const uint64_t values[] = {
        0, 1, 63, 255, 256, 257, 1u << 20, UINT32_MAX, INT64_MAX, UINT64_MAX - 63, UINT64_MAX};
    size_t fields[] = {offsetof(lh_shard_header, answer_offset), offsetof(lh_shard_header, answer_count),
                       offsetof(lh_shard_header, answer_checksum), offsetof(lh_shard_header, token_count),
                       offsetof(lh_shard_header, name_bytes)};
    for (size_t a = 0; a < sizeof fields / sizeof *fields; a++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            lh_shard_header header = good;
            memcpy((char *)&header + fields[a], &values[v], sizeof values[v]);
            assert_int_equal(open_header(bytes, size, &header), LH_E_FORMAT);
        }
    }
    lh_shard_header header = good;
    header.version = LH_SHARD_VERSION; /* the answers would be too much */
    assert_int_equal(open_header(bytes, size, &header), LH_E_FORMAT);
    assert_int_equal(open_header(bytes, size, &good), LH_OK);
    free(bytes);
    write_shard(at("good"), 300, 4, 2);
    bytes = scratch_read(at("good"), &size);
    memcpy(&header, bytes, sizeof header);
    header.version = LH_SHARD_VERSION_ANSWERS; /* there are none */
    assert_int_equal(open_header(bytes, size, &header), LH_E_FORMAT);
    free(bytes);
}

/* A token outside the vocabulary is found when it is read, even if nobody verified the file. */
static void test_bad_token_is_found_when_read(void **state)
{
    (void)state;
    write_shard(at("tokens"), 300, 3, 1);
    size_t size;
    char *bytes = scratch_read(at("tokens"), &size);
    bytes[256 + 2 * 100 + 1] = 0x7f;
    assert_int_equal(scratch_write(at("tokens"), bytes, size), 0);
    free(bytes);
    lh_split split;
    const char *paths[] = {at("tokens")};
    assert_int_equal(lh_split_open(&split, "train", paths, 1, NULL), LH_OK);
    int32_t ids[3000];
    lh_error error = {0};
    assert_int_equal(lh_split_copy(&split, 0, 100, ids, NULL), LH_OK);
    assert_int_equal(lh_split_copy(&split, 0, 3000, ids, &error), LH_E_FORMAT);
    assert_non_null(strstr(error.message, "tokens"));
    lh_split_close(&split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_many_shards_are_one_split),
        cmocka_unit_test(test_continuation_is_identical),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_absurd_headers),
        cmocka_unit_test(test_bad_token_is_found_when_read),
        cmocka_unit_test(test_answers_come_back),
        cmocka_unit_test(test_hostile_answers),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
