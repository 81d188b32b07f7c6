#include "data/input.h"

#include "base/memory.h"
#include "data/digest.h"
#include "data/layout.h"
#include "data/reader.h"

#include <lzma.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASS_BUFFER ((size_t)256 * 1024)
#define BENCHMARK_BYTES 100000000u

static const char *const layouts[] = {"auto",   "text",  "tree",         "jsonl",      "splits", "pg19",
                                      "enwik8", "text8", "wikitext-103", "wikitext-2", NULL};

/* ---- options ---- */

static lh_status fail_layout(const char *layout, lh_error *error)
{
    lh_string list = {0};
    for (size_t i = 0; layouts[i]; i++) {
        lh_string_print(&list, "%s%s", i ? ", " : "", layouts[i]);
    }
    lh_status status = lh_fail(error, LH_E_CONFIG, "there is no layout \"%s\"; there are %s", layout,
                               list.failed ? "others" : list.data);
    lh_string_free(&list);
    return status;
}

static lh_status set_layout(lh_input *input, const char *path, const char *layout, lh_error *error)
{
    if (!layout || strcmp(layout, "auto") == 0) {
        return lh_layout_detect(input, path, error);
    }
    for (size_t i = 1; layouts[i]; i++) {
        if (strcmp(layout, layouts[i]) == 0) {
            (void)snprintf(input->layout, sizeof input->layout, "%s", layout);
            return LH_OK;
        }
    }
    return fail_layout(layout, error);
}

static bool has_own_splits(const lh_input *input)
{
    static const char *const own[] = {"splits", "pg19", "wikitext-103", "wikitext-2"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (strcmp(input->layout, own[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_benchmark(const lh_input *input)
{
    return strcmp(input->layout, "enwik8") == 0 || strcmp(input->layout, "text8") == 0;
}

/* "90/5/5", "95/5" or the name of one split. */
static lh_status parse_shares(const char *text, double shares[LH_SPLITS], lh_error *error)
{
    int split = lh_split_by_name(text, strlen(text)), count = 0;
    memset(shares, 0, LH_SPLITS * sizeof *shares);
    if (split >= 0) {
        shares[split] = 1;
        return LH_OK;
    }
    double sum = 0;
    const char *at = text;
    for (; count < LH_SPLITS; count++) {
        char *end;
        shares[count] = strtod(at, &end);
        if (end == at || !(shares[count] >= 0) || !isfinite(shares[count])) {
            break;
        }
        sum += shares[count];
        at = end;
        if (*at != '/') {
            count++;
            break;
        }
        at++;
    }
    if (*at != '\0' || count < 2 || !(sum > 0) || !isfinite(sum)) {
        return lh_fail(error, LH_E_CONFIG,
                       "cannot split into \"%s\": shares like 90/5/5 or 95/5, or one of train, validation, test are"
                       " expected",
                       text);
    }
    for (int i = 0; i < LH_SPLITS; i++) {
        shares[i] /= sum;
    }
    return LH_OK;
}

/* ---- passes over everything ---- */

static bool must_be_unpacked(const lh_input *input)
{
    for (size_t i = 0; i < input->count; i++) {
        const lh_input_item *item = &input->items[i];
        if (item->json || lh_layout_plain_length(item->path) != strlen(item->path)) {
            return true;
        }
    }
    return false;
}

/* Counts documents and bytes of text, by reading if there is no other way. */
static lh_status measure(const lh_input *input, uint64_t *documents, uint64_t *bytes, lh_input_watch watch,
                         void *watch_data, lh_error *error)
{
    if (!must_be_unpacked(input)) {
        *documents = 0;
        for (size_t i = 0; i < input->count; i++) {
            *documents += input->items[i].bytes > 0;
        }
        *bytes = lh_input_bytes(input);
        return LH_OK;
    }
    lh_cursor *cursor;
    unsigned char *buffer = lh_heap_alloc(PASS_BUFFER);
    if (!buffer) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read the input");
    }
    lh_status status = lh_cursor_open(&cursor, input, NULL, error);
    uint64_t total = lh_input_bytes(input);
    bool end = false;
    while (status == LH_OK && !end) {
        lh_input_document document;
        status = lh_cursor_next(cursor, &document, &end, error);
        size_t got = PASS_BUFFER;
        while (status == LH_OK && !end && got == PASS_BUFFER) {
            status = lh_cursor_read(cursor, buffer, PASS_BUFFER, &got, error);
            if (status == LH_OK && watch && !watch(watch_data, lh_cursor_consumed(cursor), total)) {
                status = lh_fail(error, LH_E_INTERRUPTED, "stopped while measuring the input");
            }
        }
    }
    if (status == LH_OK) {
        lh_input_position position = lh_cursor_position(cursor);
        *documents = position.documents;
        *bytes = position.bytes;
    }
    lh_cursor_free(cursor);
    lh_heap_free(buffer);
    return status;
}

/* The published checksums: SHA-1 of enwik8 and MD5 of text8, by M. Mahoney. */
static lh_status check_benchmark(const lh_input *input, uint64_t *bytes, bool *published, lh_error *error)
{
    bool enwik8 = strcmp(input->layout, "enwik8") == 0;
    const char *expected = enwik8 ? "57b8363b814821dc9d47aa4d41f58733519076b2" : "3bea1919949baf155f99411df5fada7e";
    lh_digest digest = lh_digest_start(enwik8 ? LH_DIGEST_SHA1 : LH_DIGEST_MD5);
    lh_reader *reader;
    LH_TRY(lh_reader_open(&reader, input->items[0].path, error));
    unsigned char *buffer = lh_heap_alloc(PASS_BUFFER);
    lh_status status = buffer ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to read %s", input->items[0].path);
    size_t got = PASS_BUFFER;
    *bytes = 0;
    while (status == LH_OK && got == PASS_BUFFER) {
        status = lh_reader_read(reader, buffer, PASS_BUFFER, &got, error);
        lh_digest_update(&digest, buffer, got);
        *bytes += got;
    }
    lh_heap_free(buffer);
    lh_reader_free(reader);
    char hex[LH_DIGEST_HEX];
    lh_digest_finish(&digest, hex);
    *published = *bytes == BENCHMARK_BYTES && strcmp(hex, expected) == 0;
    return status;
}

static lh_status plan_benchmark(lh_input *input, const lh_input_options *options, lh_error *error)
{
    uint64_t bytes;
    bool published;
    LH_TRY(check_benchmark(input, &bytes, &published, error));
    const char *path = input->items[0].path, *name = input->layout;
    if (!published && !options->force) {
        return lh_fail(error, LH_E_FORMAT,
                       "%s is not the published %s: %s (--force cuts it 90/5/5 all the same, --layout text takes it"
                       " as any text)",
                       path, name,
                       bytes == BENCHMARK_BYTES ? "its checksum is another" : "it does not have 100000000 bytes");
    }
    if (!published) {
        lh_string_print(&input->notes, "%s is not the published %s: results are not comparable\n", path, name);
    }
    if (options->split && strcmp(options->split, "90/5/5") != 0) {
        return lh_fail(error, LH_E_CONFIG,
                       "%s is split 90/5/5 by bytes, not %s; --layout text splits it in any way", name,
                       options->split);
    }
    input->rule = LH_SPLIT_BY_BYTES;
    input->cut_anywhere = true;
    input->limits[LH_SPLIT_TRAIN] = bytes / 10 * 9 + bytes % 10 * 9 / 10;
    input->limits[LH_SPLIT_VALIDATION] = input->limits[LH_SPLIT_TRAIN] + bytes / 20;
    input->limits[LH_SPLIT_TEST] = UINT64_MAX;
    return LH_OK;
}

/* ---- shares ---- */

static void set_limits(lh_input *input, uint64_t total)
{
    double sum = 0;
    for (int i = 0; i < LH_SPLITS; i++) {
        sum += input->shares[i];
        double limit = floor(sum * (double)total + 0.5);
        input->limits[i] = limit < (double)total ? (uint64_t)limit : total;
    }
    /* The last split that has a share takes what is left, whatever was measured. */
    for (int i = LH_SPLITS - 1; i >= 0; i--) {
        input->limits[i] = UINT64_MAX;
        if (input->shares[i] > 0) {
            break;
        }
    }
}

/* Whole documents if every share gets at least one of them. */
static bool documents_suffice(const lh_input *input, uint64_t documents)
{
    for (int i = 0; i < LH_SPLITS; i++) {
        if (input->shares[i] > 0 && input->shares[i] * (double)documents < 1) {
            return false;
        }
    }
    return true;
}

static lh_status plan_shares(lh_input *input, const lh_input_options *options, lh_input_watch watch,
                             void *watch_data, lh_error *error)
{
    const char *by = options->by && strcmp(options->by, "auto") != 0 ? options->by : NULL;
    LH_TRY(parse_shares(options->split ? options->split : "90/5/5", input->shares, error));
    if (by && strcmp(by, "bytes") != 0 && strcmp(by, "documents") != 0) {
        return lh_fail(error, LH_E_CONFIG, "a split is by bytes or by documents, not by \"%s\"", by);
    }
    bool one_split = input->shares[0] == 1 || input->shares[1] == 1 || input->shares[2] == 1;
    if (one_split) {
        input->rule = LH_SPLIT_BY_LAYOUT;
        for (size_t i = 0; i < input->count; i++) {
            input->items[i].split = input->shares[0] == 1 ? 0 : input->shares[1] == 1 ? 1 : 2;
        }
        return LH_OK;
    }
    if (!input->restartable) {
        return lh_fail(
            error, LH_E_CONFIG,
            "a stream that is read once cannot be shared out, since its length is not known: write it to a"
            " file, or put all of it into one split with --split train");
    }
    uint64_t documents = 0, bytes = 0;
    /* Until the limits are known everything is one split. */
    input->rule = LH_SPLIT_BY_LAYOUT;
    LH_TRY(measure(input, &documents, &bytes, watch, watch_data, error));
    bool whole = by ? strcmp(by, "documents") == 0 : documents_suffice(input, documents);
    input->rule = whole ? LH_SPLIT_BY_DOCUMENTS : LH_SPLIT_BY_BYTES;
    set_limits(input, whole ? documents : bytes);
    return LH_OK;
}

/* ---- opening ---- */

static lh_status open_input(lh_input *input, const char *path, const lh_input_options *options,
                            lh_input_watch watch, void *watch_data, lh_error *error)
{
    const char *field = options->field ? options->field : "text";
    if (strlen(field) >= sizeof input->field) {
        return lh_fail(error, LH_E_CONFIG, "the key \"%.20s...\" is too long", field);
    }
    (void)snprintf(input->field, sizeof input->field, "%s", field);
    input->restartable = true;
    input->skip_empty = options->skip_empty;
    LH_TRY(set_layout(input, path, options->layout, error));
    LH_TRY(lh_layout_list(input, path, options, error));
    if (options->drop_line_feeds && strcmp(input->layout, "enwik8") != 0) {
        return lh_fail(error, LH_E_CONFIG, "line feeds can be dropped from enwik8 only, %s has the layout %s", path,
                       input->layout);
    }
    input->drop_line_feeds = options->drop_line_feeds;
    if (is_benchmark(input)) {
        return plan_benchmark(input, options, error);
    }
    if (!has_own_splits(input)) {
        return plan_shares(input, options, watch, watch_data, error);
    }
    if (options->split) {
        return lh_fail(error, LH_E_CONFIG, "%s has splits of its own (layout %s): --split does not fit", path,
                       input->layout);
    }
    return LH_OK;
}

lh_status lh_input_open(lh_input **input, const char *path, const lh_input_options *options, lh_input_watch watch,
                        void *watch_data, lh_error *error)
{
    *input = NULL;
    lh_input *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory to plan the reading of %s", path);
    }
    lh_status status = open_input(fresh, path, options, watch, watch_data, error);
    if (status == LH_OK && fresh->notes.failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to plan the reading of %s", path);
    }
    if (status != LH_OK) {
        lh_input_free(fresh);
        return status;
    }
    *input = fresh;
    return LH_OK;
}

void lh_input_free(lh_input *input)
{
    if (!input) {
        return;
    }
    for (size_t i = 0; i < input->count; i++) {
        lh_heap_free(input->items[i].path);
        lh_heap_free(input->items[i].name);
        lh_heap_free(input->items[i].label);
    }
    lh_heap_free(input->items);
    lh_string_free(&input->notes);
    lh_heap_free(input);
}

uint64_t lh_input_bytes(const lh_input *input)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < input->count; i++) {
        bytes += input->items[i].bytes;
    }
    return bytes;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return lzma_crc64((const uint8_t *)text, strlen(text) + 1, hash);
}

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
    return lzma_crc64((const uint8_t *)&number, sizeof number, hash);
}

uint64_t lh_input_identity(const lh_input *input, bool times)
{
    uint64_t hash = hash_text(0, input->layout);
    hash = hash_text(hash, input->field);
    hash = hash_number(hash, input->rule);
    hash = hash_number(hash, input->cut_anywhere * 4u + input->drop_line_feeds * 2u + input->skip_empty);
    for (int i = 0; i < LH_SPLITS; i++) {
        hash = hash_number(hash, input->rule == LH_SPLIT_BY_LAYOUT ? 0 : input->limits[i]);
    }
    for (size_t i = 0; i < input->count; i++) {
        const lh_input_item *item = &input->items[i];
        hash = hash_text(hash_text(hash, item->name), item->label);
        hash = hash_number(hash_number(hash, item->bytes), (uint64_t)item->split * 2 + item->json);
        if (times) {
            hash = hash_number(hash_text(hash, item->path), (uint64_t)item->modified);
        }
    }
    return hash;
}
