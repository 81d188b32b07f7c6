/* What the tokenizer tests share. Include after cmocka.h. */
#ifndef LH_TESTS_TOKENIZER_SUPPORT_H
#define LH_TESTS_TOKENIZER_SUPPORT_H

#include "base/memory.h"
#include "base/random.h"
#include "support/scratch.h"
#include "text/tokenizer.h"

/* The path of a file of the data collection in `path`, or false with a message that says that the case is skipped.
 */
static inline bool data_file(char *path, size_t size, const char *name)
{
    const char *folder = scratch_real_data();
    (void)snprintf(path, size, "%s/%s", folder ? folder : "../shared/data", name);
    if (folder && access(path, R_OK) == 0) {
        return true;
    }
    print_message("skipped: %s is not there; LH_DATA names the folder of the data collection\n", path);
    return false;
}

/* Unpacks a .tar.xz or .xz file of the data collection into the folder: 0, or -1. */
static inline int unpack(const char *archive, const char *folder, const char *members)
{
    char command[1024];
    const char *slash = strrchr(archive, '/');
    size_t length = strlen(archive);
    if (length > 7 && strcmp(archive + length - 7, ".tar.xz") == 0) {
        (void)snprintf(command, sizeof command, "xz -dc '%s' | tar -x -C '%s' %s", archive, folder, members);
    } else {
        (void)snprintf(command, sizeof command, "xz -dc '%s' > '%s/%.*s'", archive, folder,
                       (int)(length - (size_t)(slash + 1 - archive) - 3), slash + 1);
    }
    return system(command);
}

static inline lh_ids encode(const lh_tokenizer *tokenizer, const void *text, size_t size, unsigned flags)
{
    lh_ids ids = {0};
    lh_error error = {0};
    if (lh_tokenizer_encode(tokenizer, text, size, flags, &ids, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return ids;
}

/* The ids when the text comes in random pieces of up to `most` bytes. */
static inline lh_ids encode_in_pieces(lh_encoder *encoder, const char *text, size_t size, size_t most,
                                      lh_random *random)
{
    lh_ids ids = {0};
    lh_error error = {0};
    for (size_t at = 0; at < size;) {
        size_t piece = 1 + (size_t)lh_random_below(random, most);
        piece = piece < size - at ? piece : size - at;
        if (lh_encoder_feed(encoder, text + at, piece, &ids, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        at += piece;
    }
    if (lh_encoder_finish(encoder, &ids, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return ids;
}

static inline void assert_same_ids(const lh_ids *got, const lh_ids *expected)
{
    for (size_t i = 0; i < got->size && i < expected->size; i++) {
        if (got->data[i] != expected->data[i]) {
            fail_msg("token %zu is %ld instead of %ld", i, (long)got->data[i], (long)expected->data[i]);
        }
    }
    assert_int_equal(got->size, expected->size);
}

static inline void assert_ids(const lh_tokenizer *tokenizer, const char *text, unsigned flags,
                              const int32_t *expected, size_t count)
{
    lh_ids got = encode(tokenizer, text, strlen(text), flags);
    lh_ids wanted = {(int32_t *)(uintptr_t)expected, count, count};
    assert_same_ids(&got, &wanted);
    lh_ids_free(&got);
}

#define ASSERT_IDS(tokenizer, text, flags, ...)                        \
    assert_ids(tokenizer, text, flags, (const int32_t[]){__VA_ARGS__}, \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* Encodes, decodes, compares; the sum of the tokens' lengths is the size of the text. */
static inline void assert_round_trip(const lh_tokenizer *tokenizer, const void *text, size_t size)
{
    lh_ids ids = encode(tokenizer, text, size, 0);
    lh_string back = {0};
    lh_error error = {0};
    if (lh_tokenizer_decode(tokenizer, ids.data, ids.size, 0, &back, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(back.size, size);
    if (size > 0) {
        assert_memory_equal(back.data, text, size);
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < ids.size; i++) {
        bytes += lh_tokenizer_token_length(tokenizer, ids.data[i]);
    }
    assert_int_equal(bytes, size);
    lh_ids_free(&ids);
    lh_string_free(&back);
}

/* Text of many kinds: ASCII words, runs of spaces and line feeds, letters of other scripts, combining marks, emoji,
 * markup, and, if asked for, bytes that are no UTF-8. Some runs are long. */
static inline char *random_text(lh_random *random, size_t size, bool invalid)
{
    static const char *const parts[] = {
        " the",
        " of",
        "and ",
        "It's",
        " we'll",
        "\n",
        "\n\n",
        "  ",
        "   ",
        "\t",
        " 1234567",
        "3.14",
        "...",
        "?!",
        "_",
        "\\&undsc",
        "<|endoftext|>",
        "<eos>",
        "\xc3\xa9",
        "e\xcc\x81",
        "\xe4\xbd\xa0\xe5\xa5\xbd",
        "\xd0\xb6\xd1\x83",
        "\xf0\x9f\xa6\x99",
        "\xe2\x80\x83",
        "\xc2\xa0",
        "\xe1\xa0\x8e",
        "\xd9\xa3",
        "\xe0\xb8\x81\xe0\xb8\xb3",
        "Antidisestablishmentarianism",
        "a",
        "B",
        " x",
        "\r\n",
        "'S",
        "=",
        "&amp;",
        "\xcc\x80\xcc\x81\xcc\xa3",
        "\x01",
    };
    char *text = malloc(size + 64);
    size_t at = 0;
    while (text && at < size) {
        uint64_t choice = lh_random_below(random, 100);
        if (choice < 90 || !invalid) {
            const char *part = parts[lh_random_below(random, sizeof parts / sizeof *parts)];
            size_t times = lh_random_below(random, 400) == 0 ? 60 : 1;
            for (; times > 0 && at < size; times--) {
                memcpy(text + at, part, strlen(part));
                at += strlen(part);
            }
        } else {
            for (uint64_t i = 1 + lh_random_below(random, 5); i > 0; i--) {
                text[at++] = (char)lh_random_below(random, 256);
            }
        }
        at = at < size ? at : size;
    }
    return text;
}

#endif
