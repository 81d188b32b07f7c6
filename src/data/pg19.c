#include "data/pg19.h"

#include "base/memory.h"
#include "base/text.h"
#include "data/reader.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Ascending. The ids of the official folders. */
static const uint32_t validation_ids[50] = {
    356,   555,   1022,  1925,  2383,  4024,  4533,  5195,  5321,  6404,  7510,  8545,  11155,
    13089, 16959, 23956, 24360, 25066, 27688, 28213, 28776, 29981, 32629, 34016, 34056, 34100,
    35816, 36402, 37833, 38214, 38403, 41074, 42067, 42142, 42306, 43423, 44896, 44912, 48089,
    48461, 48677, 49091, 50355, 51859, 53682, 54098, 55658, 56719, 57843, 58093,
};

static const uint32_t test_ids[100] = {
    860,   2544,  3129,  3247,  3340,  3608,  3754,  3890,  4047,  4128,  5396,  5734,  5770,  5956,  5962,
    6412,  6941,  7412,  7987,  8197,  8559,  8788,  9315,  9931,  10146, 10321, 10356, 10762, 12204, 15562,
    22424, 24553, 25646, 25773, 25830, 26183, 26239, 26493, 26618, 27454, 28444, 28988, 29594, 29973, 30312,
    30752, 30754, 30909, 30981, 31065, 31974, 32761, 33426, 33756, 34467, 35205, 35246, 36256, 37006, 37328,
    37403, 37443, 37702, 38106, 38929, 38955, 40579, 40700, 41603, 41607, 42081, 42655, 43536, 43845, 44099,
    44557, 45313, 45881, 45888, 46915, 47068, 47558, 47581, 47676, 48693, 49078, 49529, 49596, 50287, 51410,
    53345, 54537, 54624, 55339, 55871, 56410, 57791, 58473, 58553, 58598,
};

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

lh_pg19_split lh_pg19_split_of(uint32_t id)
{
    if (bsearch(&id, validation_ids, LH_PG19_VALIDATION, sizeof id, compare_ids)) {
        return LH_PG19_SPLIT_VALIDATION;
    }
    if (bsearch(&id, test_ids, LH_PG19_TEST, sizeof id, compare_ids)) {
        return LH_PG19_SPLIT_TEST;
    }
    return LH_PG19_SPLIT_TRAIN;
}

/* The whole text of a small, possibly compressed file. */
static lh_status read_whole(const char *path, lh_string *text, lh_error *error)
{
    enum { LIMIT = 64 << 20, STEP = 1 << 16 };
    lh_reader *reader;
    LH_TRY(lh_reader_open(&reader, path, error));
    char *buffer = lh_heap_alloc(STEP);
    lh_status status = buffer ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to read %s", path);
    size_t got = STEP;
    while (status == LH_OK && got == STEP) {
        status = lh_reader_read(reader, buffer, STEP, &got, error);
        if (status == LH_OK) {
            lh_string_append(text, buffer, got);
        }
        if (text->failed) {
            status = lh_fail(error, LH_E_MEMORY, "no memory to read %s", path);
        } else if (text->size > LIMIT) {
            status = lh_fail(error, LH_E_FORMAT, "%s is no list of books: it is longer than %d bytes", path, LIMIT);
        }
    }
    lh_heap_free(buffer);
    lh_reader_free(reader);
    return status;
}

/* A whole number below 10^9 that fills the text between two places. */
static bool parse_number(const char *from, const char *to, uint32_t *value)
{
    if (from == to || to - from > 9) {
        return false;
    }
    uint32_t number = 0;
    for (; from < to; from++) {
        if (*from < '0' || *from > '9') {
            return false;
        }
        number = number * 10 + (uint32_t)(*from - '0');
    }
    *value = number;
    return true;
}

/* Cuts a line in place. A comma inside a title would be tolerated: the id is before the first one, the year and the
 * address behind the last two. */
static bool parse_line(char *line, lh_pg19_book *book)
{
    char *first = strchr(line, ','), *last = strrchr(line, ',');
    if (!first || last == first) {
        return false;
    }
    char *middle = last - 1;
    while (middle > first && *middle != ',') {
        middle--;
    }
    if (middle == first || middle == first + 1 || last[1] == '\0' || !parse_number(line, first, &book->id) ||
        !parse_number(middle + 1, last, &book->year)) {
        return false;
    }
    *middle = *last = '\0';
    book->title = first + 1;
    book->address = last + 1;
    return true;
}

static int compare_books(const void *a, const void *b)
{
    return compare_ids(&((const lh_pg19_book *)a)->id, &((const lh_pg19_book *)b)->id);
}

static lh_status parse_lines(lh_pg19_metadata *metadata, const char *path, lh_error *error)
{
    size_t lines = 1;
    for (const char *at = metadata->text; (at = strchr(at, '\n')); at++) {
        lines++;
    }
    metadata->books = lh_heap_alloc(lines * sizeof *metadata->books);
    if (!metadata->books) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the books of %s", path);
    }
    char *line = metadata->text;
    for (size_t number = 1; *line; number++) {
        char *end = strchr(line, '\n'), *next = end ? end + 1 : line + strlen(line);
        if (end) {
            *end = '\0';
        }
        if (!parse_line(line, &metadata->books[metadata->count])) {
            return lh_fail(error, LH_E_FORMAT, "%s line %zu is not id,title,year,address", path, number);
        }
        metadata->count++;
        line = next;
    }
    qsort(metadata->books, metadata->count, sizeof *metadata->books, compare_books);
    for (size_t i = 1; i < metadata->count; i++) {
        if (metadata->books[i].id == metadata->books[i - 1].id) {
            return lh_fail(error, LH_E_FORMAT, "%s lists the book %u twice", path, metadata->books[i].id);
        }
    }
    return LH_OK;
}

lh_status lh_pg19_metadata_read(lh_pg19_metadata *metadata, const char *path, lh_error *error)
{
    *metadata = (lh_pg19_metadata){0};
    lh_string text = {0};
    lh_status status = read_whole(path, &text, error);
    if (status == LH_OK && (text.size == 0 || strlen(text.data) != text.size)) {
        status = lh_fail(error, LH_E_FORMAT, "%s is no list of books: it is %s", path,
                         text.size == 0 ? "empty" : "not a text");
    }
    metadata->text = text.data;
    if (status == LH_OK) {
        status = parse_lines(metadata, path, error);
    }
    if (status != LH_OK) {
        lh_pg19_metadata_free(metadata);
    }
    return status;
}

void lh_pg19_metadata_free(lh_pg19_metadata *metadata)
{
    lh_heap_free(metadata->books);
    lh_heap_free(metadata->text);
    *metadata = (lh_pg19_metadata){0};
}

const lh_pg19_book *lh_pg19_find(const lh_pg19_metadata *metadata, uint32_t id)
{
    lh_pg19_book key = {.id = id};
    return metadata->count > 0
               ? bsearch(&key, metadata->books, metadata->count, sizeof *metadata->books, compare_books)
               : NULL;
}
