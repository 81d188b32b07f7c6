/* Inputs: layouts are recognised, documents come in order with the right split, and reading can go on anywhere. */
#include "base/memory.h"
#include "base/text.h"
#include "data/input.h"
#include "data/pg19.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

static char folder[64];
static char path[160];

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

static void put(const char *name, const char *text)
{
    char copy[160];
    (void)snprintf(copy, sizeof copy, "%s", at(name));
    for (char *slash = copy + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(copy, 0777);
        *slash = '/';
    }
    assert_int_equal(scratch_write(copy, text, strlen(text)), 0);
}

/* "train|name|label|text\n" for every document; `positions` gets the place before each document and after the last.
 */
static lh_string read_all(const lh_input *input, const lh_input_position *from, size_t step,
                          lh_input_position *positions, size_t *count)
{
    lh_cursor *cursor;
    lh_string all = {0};
    lh_error error = {0};
    assert_int_equal(lh_cursor_open(&cursor, input, from, &error), LH_OK);
    if (count) {
        *count = 0;
        positions[(*count)++] = lh_cursor_position(cursor);
    }
    for (;;) {
        lh_input_document document;
        bool end;
        if (lh_cursor_next(cursor, &document, &end, &error) != LH_OK) {
            fail_msg("%s", error.message);
        }
        if (end) {
            break;
        }
        lh_string_print(&all, "%s|%s|%s|", lh_split_name(document.split), document.name, document.label);
        char buffer[4096];
        size_t got;
        do {
            assert_int_equal(lh_cursor_read(cursor, buffer, step, &got, &error), LH_OK);
            lh_string_append(&all, buffer, got);
        } while (got == step);
        lh_string_append(&all, "\n", 1);
        if (count) {
            positions[(*count)++] = lh_cursor_position(cursor);
        }
    }
    lh_cursor_free(cursor);
    return all;
}

static lh_input *open_input(const char *source, const lh_input_options *options)
{
    lh_input *input;
    lh_error error = {0};
    if (lh_input_open(&input, source, options, NULL, NULL, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return input;
}

/* Reads with several buffer sizes, and again from every place between two documents: always the same. */
static void assert_reads(const char *source, lh_input_options options, const char *layout, const char *expected)
{
    lh_input *input = open_input(source, &options);
    assert_string_equal(input->layout, layout);
    lh_input_position positions[64];
    size_t count;
    static const size_t steps[] = {4096, 1, 7};
    for (size_t s = 0; s < 3; s++) {
        lh_string all = read_all(input, NULL, steps[s], positions, &count);
        assert_string_equal(all.data, expected);
        lh_string_free(&all);
    }
    const char *rest = expected;
    for (size_t i = 0; i < count; i++) {
        lh_string again = read_all(input, &positions[i], 100, NULL, NULL);
        size_t length = strlen(expected);
        assert_true(again.size <= length);
        rest = expected + length - again.size;
        assert_string_equal(again.data ? again.data : "", rest);
        /* One document fewer each time. */
        assert_true(i == 0 ? rest == expected : rest > expected);
        lh_string_free(&again);
    }
    assert_string_equal(rest, "");
    lh_input_free(input);
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void assert_fails(const char *source, lh_input_options options, lh_status expected, const char *words)
{
    lh_input *input;
    lh_error error = {0};
    lh_status status = lh_input_open(&input, source, &options, NULL, NULL, &error);
    if (status == LH_OK) {
        lh_cursor *cursor;
        lh_input_document document;
        bool end = false;
        status = lh_cursor_open(&cursor, input, NULL, &error);
        while (status == LH_OK && !end) {
            status = lh_cursor_next(cursor, &document, &end, &error);
        }
        lh_cursor_free(cursor);
        lh_input_free(input);
    }
    assert_int_equal(status, expected);
    if (!strstr(error.message, words)) {
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
    assert_int_equal(lh_heap_live_bytes(), 0);
}

static void test_one_file(void **state)
{
    (void)state;
    lh_input_options options = {0};
    put("book.txt", "0123456789abcdefghij");
    assert_reads(at("book.txt"), options, "text",
                 "train|book.txt||0123456789abcdefgh\nvalidation|book.txt||i\ntest|book.txt||j\n");
    options.split = "1/1";
    assert_reads(at("book.txt"), options, "text", "train|book.txt||0123456789\nvalidation|book.txt||abcdefghij\n");
    options.split = "0/0/1";
    assert_reads(at("book.txt"), options, "text", "test|book.txt||0123456789abcdefghij\n");
    options.split = "1/0/1";
    assert_reads(at("book.txt"), options, "text", "train|book.txt||0123456789\ntest|book.txt||abcdefghij\n");
    options.split = "valid";
    assert_reads(at("book.txt"), options, "text", "validation|book.txt||0123456789abcdefghij\n");
    /* A character is never cut: the cut moves behind it. */
    put("accents.txt", "12345678\xe2\x82\xac"
                       "ABCDEFGHI");
    options.split = "1/1";
    for (const char *share = "8/12"; share; share = strcmp(share, "8/12") == 0   ? "9/11"
                                                    : strcmp(share, "9/11") == 0 ? "10/10"
                                                                                 : NULL) {
        options.split = share;
        const char *expected = strcmp(share, "8/12") == 0
                                   ? "train|accents.txt||12345678\nvalidation|accents.txt||\xe2\x82\xac"
                                     "ABCDEFGHI\n"
                                   : "train|accents.txt||12345678\xe2\x82\xac\nvalidation|accents.txt||ABCDEFGHI\n";
        assert_reads(at("accents.txt"), options, "text", expected);
    }
    /* One byte: it belongs to one split, the others have nothing. */
    put("tiny.txt", "x");
    options.split = NULL;
    assert_reads(at("tiny.txt"), options, "text", "train|tiny.txt||x\n");
}

static void test_compressed(void **state)
{
    (void)state;
    lh_input_options options = {.split = "1/1"};
    gzFile file = gzopen(at("packed.txt.gz"), "wb");
    assert_int_equal(gzwrite(file, "0123456789", 10), 10);
    assert_int_equal(gzclose(file), Z_OK);
    assert_reads(at("packed.txt.gz"), options, "text", "train|packed.txt||01234\nvalidation|packed.txt||56789\n");
    file = gzopen(at("lines.jsonl.gz"), "wb");
    assert_true(gzputs(file, "{\"text\":\"one\"}\n{\"text\":\"two\"}\n") > 0);
    assert_int_equal(gzclose(file), Z_OK);
    assert_reads(at("lines.jsonl.gz"), options, "jsonl",
                 "train|lines.jsonl:1||one\nvalidation|lines.jsonl:2||two\n");
}

static void test_tree(void **state)
{
    (void)state;
    lh_input_options options = {.split = "train"};
    put("tree/b.txt", "second");
    put("tree/a.txt", "first");
    put("tree/c/d.md", "fourth");
    put("tree/c/a.txt", "third");
    put("tree/.hidden.txt", "no");
    put("tree/image.png", "no");
    put("tree/more.jsonl", "{\"text\":\"fifth\"}\n\n{\"text\":\"sixth\"}");
    assert_reads(at("tree"), options, "tree",
                 "train|a.txt||first\ntrain|b.txt||second\ntrain|c/a.txt||third\ntrain|c/d.md||fourth\n"
                 "train|more.jsonl:1||fifth\ntrain|more.jsonl:3||sixth\n");
    options.split = "4/1/1";
    assert_reads(at("tree"), options, "tree",
                 "train|a.txt||first\ntrain|b.txt||second\ntrain|c/a.txt||third\ntrain|c/d.md||fourth\n"
                 "validation|more.jsonl:1||fifth\ntest|more.jsonl:3||sixth\n");
    options.split = "1/1";
    options.by =
        "bytes"; /* 5 + 6 of 32 bytes, then 5 of c/a.txt; the sixth byte of c/d.md is the last of the half */
    assert_reads(at("tree"), options, "tree",
                 "train|a.txt||first\ntrain|b.txt||second\ntrain|c/a.txt||third\nvalidation|c/d.md||fourth\n"
                 "validation|more.jsonl:1||fifth\nvalidation|more.jsonl:3||sixth\n");
    options.split = "30/3"; /* cuts the last line's text after its third byte */
    assert_reads(at("tree"), options, "tree",
                 "train|a.txt||first\ntrain|b.txt||second\ntrain|c/a.txt||third\ntrain|c/d.md||fourth\n"
                 "train|more.jsonl:1||fifth\ntrain|more.jsonl:3||si\nvalidation|more.jsonl:3||xth\n");
    options.include = "*.png";
    options.split = "train";
    assert_reads(at("tree"), options, "tree", "train|image.png||no\n");
    options.include = "*.none";
    assert_fails(at("tree"), options, LH_E_CONFIG, "*.none");
    options.include = NULL;
    put("tree/c/empty.txt", "");
    assert_fails(at("tree"), options, LH_E_FORMAT, "c/empty.txt is empty");
    options.skip_empty = true;
    options.include = "*.txt";
    assert_reads(at("tree"), options, "tree", "train|a.txt||first\ntrain|b.txt||second\ntrain|c/a.txt||third\n");
}

static void test_json_lines(void **state)
{
    (void)state;
    lh_input_options options = {.split = "train"};
    put("x.jsonl", "{\"text\":\"a\\u00e9\\n\",\"title\":\"T\"}\n  "
                   "\n{\"id\":3,\"text\":\"\"}\r\n{\"body\":\"B\",\"text\":\"z\"}");
    assert_reads(at("x.jsonl"), options, "jsonl", "train|x.jsonl:1|T|a\xc3\xa9\n\ntrain|x.jsonl:4||z\n");
    lh_input *input = open_input(at("x.jsonl"), &options);
    lh_input_position positions[8];
    size_t count;
    lh_string all = read_all(input, NULL, 100, positions, &count);
    assert_int_equal(positions[count - 1].empty, 1);
    assert_int_equal(positions[count - 1].documents, 2);
    assert_int_equal(positions[count - 1].bytes, 5);
    lh_string_free(&all);
    lh_input_free(input);
    options.field = "body";
    assert_fails(at("x.jsonl"), options, LH_E_FORMAT, "line 1 of");
    assert_fails(at("x.jsonl"), options, LH_E_FORMAT, "\"body\"");
    options.field = NULL;
    put("bad.jsonl", "{\"text\":\"fine\"}\n{\"text\":\"not closed}\n");
    assert_fails(at("bad.jsonl"), options, LH_E_FORMAT, "line 2 of");
    put("bad.jsonl", "[1,2]\n");
    assert_fails(at("bad.jsonl"), options, LH_E_FORMAT, "no JSON object");
    put("bad.jsonl", "{\"text\":\"\xff\"}\n");
    assert_fails(at("bad.jsonl"), options, LH_E_FORMAT, "line 1 of");
    put("bad.jsonl", "{\"text\":17}\n");
    assert_fails(at("bad.jsonl"), options, LH_E_FORMAT, "no string");
    put("bad.jsonl", "");
    assert_fails(at("bad.jsonl"), options, LH_E_FORMAT, "is empty");
    /* As plain text a JSON Lines file is one document. */
    options.layout = "text";
    put("raw.jsonl", "{}\n");
    assert_reads(at("raw.jsonl"), options, "text", "train|raw.jsonl||{}\n\n");
    options.layout = "jsonl";
    put("lines.data", "{\"text\":\"q\"}\n");
    assert_reads(at("lines.data"), options, "jsonl", "train|lines.data:1||q\n");
}

static void test_long_json_lines(void **state)
{
    (void)state;
    /* Longer than every buffer on the way. */
    enum { SIZE = 700000 };
    char *line = malloc(SIZE + 32);
    size_t used = (size_t)sprintf(line, "{\"text\":\"");
    memset(line + used, 'a', SIZE);
    (void)sprintf(line + used + SIZE, "\"}\n");
    put("long.jsonl", line);
    free(line);
    lh_input_options options = {.split = "1/1", .by = "bytes"};
    lh_input *input = open_input(at("long.jsonl"), &options);
    lh_input_position positions[4];
    size_t count;
    lh_string all = read_all(input, NULL, 4096, positions, &count);
    assert_int_equal(count, 3);
    assert_int_equal(positions[1].bytes, SIZE / 2);
    assert_int_equal(positions[2].bytes, SIZE);
    lh_string rest = read_all(input, &positions[1], 4096, NULL, NULL);
    assert_string_equal(rest.data, all.data + all.size - rest.size);
    assert_int_equal(rest.size, SIZE / 2 + strlen("validation|long.jsonl:1||\n"));
    lh_string_free(&rest);
    lh_string_free(&all);
    lh_input_free(input);
}

static void test_splits(void **state)
{
    (void)state;
    lh_input_options options = {0};
    put("files/test.txt", "T");
    put("files/train.txt", "A");
    put("files/valid.txt", "V");
    put("files/README", "no");
    assert_reads(at("files"), options, "splits", "train|train.txt||A\nvalidation|valid.txt||V\ntest|test.txt||T\n");
    put("folders/train/2.md", "A2");
    put("folders/train/1.md", "A1");
    put("folders/dev/1.md", "V");
    put("folders/extra/1.md", "no");
    assert_reads(at("folders"), options, "splits", "train|1.md||A1\ntrain|2.md||A2\nvalidation|1.md||V\n");
    put("wiki/wiki.train.tokens", " = A = \n");
    put("wiki/wiki.valid.tokens", "v\n");
    put("wiki/wiki.test.tokens", "t\n");
    assert_reads(
        at("wiki"), options, "wikitext-2",
        "train|wiki.train.tokens|| = A = \n\nvalidation|wiki.valid.tokens||v\n\ntest|wiki.test.tokens||t\n\n");
    options.layout = "wikitext-103";
    assert_reads(
        at("wiki"), options, "wikitext-103",
        "train|wiki.train.tokens|| = A = \n\nvalidation|wiki.valid.tokens||v\n\ntest|wiki.test.tokens||t\n\n");
    options.split = "90/5/5";
    assert_fails(at("wiki"), options, LH_E_CONFIG, "splits of its own");
    /* A folder with other texts beside a train file is a tree. */
    options = (lh_input_options){.split = "train"};
    put("mixed/train.txt", "A");
    put("mixed/other.txt", "B");
    assert_reads(at("mixed"), options, "tree", "train|other.txt||B\ntrain|train.txt||A\n");
    options.split = NULL;
    options.layout = "splits";
    assert_fails(at("tree"), options, LH_E_CONFIG, "named train");
}

static void test_pg19(void **state)
{
    (void)state;
    lh_input_options options = {0};
    put("pg19/train/100.txt", "hundred");
    put("pg19/train/99.txt", "ninety-nine");
    put("pg19/validation/2383.txt", "tales");
    put("pg19/test/10146.txt", "first");
    put("pg19/metadata.csv", "100,A Title by An Author,1850,http://x/100\n10146,Test by Y,1900,http://x\n"
                             "2383,Canterbury, with a comma,1400,http://y\n");
    assert_reads(at("pg19"), options, "pg19",
                 "train|99||ninety-nine\ntrain|100|A Title by An Author (1850)|hundred\n"
                 "validation|2383|Canterbury, with a comma (1400)|tales\ntest|10146|Test by Y (1900)|first\n");
    lh_input *input = open_input(at("pg19"), &options);
    assert_non_null(strstr(input->notes.data, "does not list 1 of the 4 books"));
    lh_input_free(input);
    /* All in one folder: the known numbers decide. */
    put("flat/100.txt", "hundred");
    put("flat/10146.txt", "first");
    options.layout = "pg19";
    assert_reads(at("flat"), options, "pg19", "train|100||hundred\ntest|10146||first\n");
    put("pg19/train/12204.txt", "a test book");
    options.layout = NULL;
    assert_fails(at("pg19"), options, LH_E_CONFIG, "train/12204.txt: this book belongs to the test split");
    options.force = true;
    input = open_input(at("pg19"), &options);
    lh_input_free(input);
    options.force = false;
    put("pg19/metadata.csv", "100,only,three\n");
    (void)unlink(at("pg19/train/12204.txt"));
    assert_fails(at("pg19"), options, LH_E_FORMAT, "line 1");
    put("pg19/metadata.csv", "100,a,1,b\n99,a,1,b\n100,a,1,b\n");
    assert_fails(at("pg19"), options, LH_E_FORMAT, "book 100 twice");
    assert_int_equal(lh_pg19_split_of(10146), LH_PG19_SPLIT_TEST);
    assert_int_equal(lh_pg19_split_of(12204), LH_PG19_SPLIT_TEST);
    assert_int_equal(lh_pg19_split_of(2383), LH_PG19_SPLIT_VALIDATION);
    assert_int_equal(lh_pg19_split_of(11155), LH_PG19_SPLIT_VALIDATION);
    assert_int_equal(lh_pg19_split_of(11), LH_PG19_SPLIT_TRAIN);
}

static void test_enwik8(void **state)
{
    (void)state;
    lh_input_options options = {0};
    char text[201];
    for (int i = 0; i < 200; i++) {
        text[i] = (char)(i % 10 == 9 ? '\n' : 'a' + i % 26);
    }
    text[178] = '\xc3'; /* the cut of enwik8 is at the byte, whatever stands there */
    text[179] = '\xa9';
    text[180] = '\xa9';
    text[200] = '\0';
    put("wp/enwik8", text);
    assert_fails(at("wp"), options, LH_E_FORMAT, "is not the published enwik8");
    options.force = true;
    char expected[300];
    (void)snprintf(expected, sizeof expected,
                   "train|enwik8||%.180s\nvalidation|enwik8||%.10s\ntest|enwik8||%.10s\n", text, text + 180,
                   text + 190);
    assert_reads(at("wp/enwik8"), options, "enwik8", expected);
    assert_reads(at("wp"), options, "enwik8", expected);
    lh_input *input = open_input(at("wp"), &options);
    assert_non_null(strstr(input->notes.data, "not comparable"));
    lh_input_free(input);
    options.drop_line_feeds = true;
    input = open_input(at("wp"), &options);
    lh_input_position positions[8];
    size_t count;
    lh_string all = read_all(input, NULL, 3, positions, &count);
    const char *train = strchr(all.data, '|') + 9; /* behind "|enwik8||" */
    assert_int_equal(strchr(train, '\n') - train, 180 - 17);
    assert_int_equal(positions[1].bytes, 180);
    lh_string_free(&all);
    lh_input_free(input);
    options.drop_line_feeds = false;
    options.split = "80/20";
    assert_fails(at("wp"), options, LH_E_CONFIG, "90/5/5");
    put("wp2/text8", "abc");
    options.force = false;
    options.split = NULL;
    assert_fails(at("wp2"), options, LH_E_FORMAT, "does not have 100000000 bytes");
    options.drop_line_feeds = true;
    assert_fails(at("book.txt"), options, LH_E_CONFIG, "enwik8 only");
}

static void test_refusals(void **state)
{
    (void)state;
    lh_input_options options = {0};
    assert_fails(at("nowhere.txt"), options, LH_E_IO, "nowhere.txt");
    put("empty.txt", "");
    assert_fails(at("empty.txt"), options, LH_E_FORMAT, "empty.txt is empty");
    options.layout = "text";
    assert_fails(at("tree"), options, LH_E_IO, "is a directory");
    options.layout = "texts";
    assert_fails(at("book.txt"), options, LH_E_CONFIG, "wikitext-103");
    options.layout = "tree";
    assert_fails(at("book.txt"), options, LH_E_IO, "book.txt");
    options.layout = NULL;
    static const char *const shares[] = {"90",      "90/",   "a/b",   "0/0",  "-1/2",
                                         "1/2/3/4", "nan/1", "inf/1", "1/2x", ""};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        options.split = shares[i];
        assert_fails(at("book.txt"), options, LH_E_CONFIG, "cannot split");
    }
    options.split = NULL;
    options.by = "words";
    assert_fails(at("book.txt"), options, LH_E_CONFIG, "\"words\"");
    if (geteuid() != 0) {
        put("closed/a.txt", "x");
        (void)chmod(at("closed"), 0);
        options.by = NULL;
        assert_fails(at("closed"), options, LH_E_IO, "closed");
        (void)chmod(at("closed"), 0700);
    }
}

static void test_identity(void **state)
{
    (void)state;
    lh_input_options options = {0};
    put("id/a.txt", "first");
    put("id/b.txt", "second");
    lh_input *input = open_input(at("id"), &options);
    uint64_t plain = lh_input_identity(input, false), timed = lh_input_identity(input, true);
    lh_input_free(input);
    input = open_input(at("id"), &options);
    assert_int_equal(lh_input_identity(input, false), plain);
    assert_int_equal(lh_input_identity(input, true), timed);
    lh_input_free(input);
    options.split = "50/50";
    input = open_input(at("id"), &options);
    assert_int_not_equal(lh_input_identity(input, false), plain);
    lh_input_free(input);
    options.split = NULL;
    put("id/b.txt", "seconds");
    input = open_input(at("id"), &options);
    assert_int_not_equal(lh_input_identity(input, false), plain);
    lh_input_free(input);
}

/* The public list of all books (skipped when the shared data is not there). */
static void test_real_metadata(void **state)
{
    (void)state;
    const char *real = scratch_real_data();
    char list[512];
    (void)snprintf(list, sizeof list, "%s/pg19/metadata.csv.xz", real ? real : "");
    if (!real || access(list, R_OK) != 0) {
        print_message("skipped: no shared data\n");
        skip();
    }
    lh_pg19_metadata metadata;
    lh_error error = {0};
    if (lh_pg19_metadata_read(&metadata, list, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(metadata.count, LH_PG19_BOOKS);
    assert_int_equal(metadata.books[0].id, 10);
    assert_int_equal(metadata.books[metadata.count - 1].id, 58857);
    uint32_t first_year = UINT32_MAX, last_year = 0;
    size_t counts[3] = {0}, longest = 0;
    for (size_t i = 0; i < metadata.count; i++) {
        const lh_pg19_book *book = &metadata.books[i];
        first_year = book->year < first_year ? book->year : first_year;
        last_year = book->year > last_year ? book->year : last_year;
        counts[lh_pg19_split_of(book->id)]++;
        longest = strlen(book->title) > longest ? strlen(book->title) : longest;
        char address[64];
        (void)snprintf(address, sizeof address, "http://www.gutenberg.org/ebooks/%u", book->id);
        assert_string_equal(book->address, address);
    }
    assert_int_equal(first_year, 1483);
    assert_int_equal(last_year, 1918);
    assert_int_equal(longest, 74);
    assert_int_equal(counts[LH_PG19_SPLIT_TRAIN], 28602);
    assert_int_equal(counts[LH_PG19_SPLIT_VALIDATION], 50);
    assert_int_equal(counts[LH_PG19_SPLIT_TEST], 100);
    lh_pg19_metadata_free(&metadata);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file),   cmocka_unit_test(test_compressed),      cmocka_unit_test(test_tree),
        cmocka_unit_test(test_json_lines), cmocka_unit_test(test_long_json_lines), cmocka_unit_test(test_splits),
        cmocka_unit_test(test_pg19),       cmocka_unit_test(test_enwik8),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_identity),   cmocka_unit_test(test_real_metadata),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
