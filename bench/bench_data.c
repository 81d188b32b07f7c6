/* Data: how fast text becomes shards, and how fast a stream gives batches.
 *
 *   bench_data [MEGABYTES [BOOK]]
 *
 * Text is BOOK repeated, or made up, until MEGABYTES (default 128) are reached; it lies in $TMPDIR, else in memory
 * (/dev/shm), so that the disk is not what is measured. Preparing runs on one thread. Ceilings of the same run: a
 * plain copy of the file, and memcpy. All rows are interleaved; medians of five are printed. */
#include "base/file.h"
#include "base/memory.h"
#include "data/prepare.h"
#include "data/stream.h"
#include "text/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 5, LANES = 8, SEGMENT = 512 };

static char folder[64], source[128], lines[128], bpe[128], out[128], copy[128];

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        (void)fprintf(stderr, "bench_data: %s\n", error->message);
        exit((int)status);
    }
}

/* Processor time, so that other work on the machine disturbs less; everything here runs on one thread. */
static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, REPEATS, sizeof *values, compare);
    return values[REPEATS / 2];
}

/* English-like: words by a skewed choice, lines of about 70 characters, an accent here and there. */
static char *make_up(size_t size)
{
    static const char *const words[] = {"the",        "of",          "and",  "whale", "upon", "ship",
                                        "harpooneer", "caf\xc3\xa9", "said", "queer", "sea,", "old",
                                        "man",        "with",        "a",    "I"};
    char *text = malloc(size + 32);
    uint64_t random = 1;
    size_t used = 0, column = 0;
    while (text && used < size) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned word = (unsigned)(random >> 60) & (unsigned)(random >> 40);
        size_t length = strlen(words[word]);
        memcpy(text + used, words[word], length);
        used += length;
        column += length + 1;
        text[used++] = column > 70 ? '\n' : ' ';
        column = column > 70 ? 0 : column;
    }
    return text;
}

static void write_sources(size_t size, const char *book)
{
    char *text = NULL;
    size_t length = 4 << 20;
    lh_error error = {0};
    if (book) {
        check(lh_file_read(book, 0, &text, &length, &error), &error);
    } else {
        text = make_up(length);
    }
    FILE *plain = fopen(source, "wb"), *json = fopen(lines, "wb");
    for (size_t used = 0; text && plain && json && used < size; used += length) {
        size_t part = size - used < length ? size - used : length;
        (void)fwrite(text, 1, part, plain);
        for (size_t at = 0; at + 4096 <= part && used < size / 4; at += 4096) {
            (void)fputs("{\"text\":\"", json);
            for (size_t i = at; i < at + 4096; i++) {
                unsigned char byte = (unsigned char)text[i];
                if (byte == '\n') {
                    (void)fputs("\\n", json);
                } else {
                    (void)fputc(byte < 32 || byte > 126 || byte == '"' || byte == '\\' ? '?' : byte, json);
                }
            }
            (void)fputs("\"}\n", json);
        }
    }
    if (!plain || !json || fclose(plain) != 0 || fclose(json) != 0) {
        perror("bench_data");
        exit(1);
    }
    if (book) {
        lh_heap_free(text);
    } else {
        free(text);
    }
}

static void train_bpe(void)
{
    lh_train_options options = {.kind = LH_TOKENIZER_BPE, .vocab_size = 8000, .min_frequency = 2};
    lh_trainer *trainer;
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    lh_mapping text;
    check(lh_mapping_open(&text, source, &error), &error);
    check(lh_trainer_create(&trainer, &options, &error), &error);
    check(lh_trainer_feed(trainer, text.data, text.size < 4000000 ? text.size : 4000000, &error), &error);
    check(lh_trainer_finish_document(trainer, &error), &error);
    check(lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error), &error);
    check(lh_tokenizer_save(tokenizer, bpe, &error), &error);
    lh_tokenizer_free(tokenizer);
    lh_trainer_free(trainer);
    lh_mapping_close(&text);
}

/* Megabytes of text per second. */
static double time_prepare(const char *from, const char *tokenizer)
{
    lh_prepare_options options = {.input = {.split = "train"}, .tokenizer = tokenizer, .threads = 1, .force = true};
    lh_prepare_report report;
    lh_error error = {0};
    double start = now();
    check(lh_prepare(from, out, &options, &report, &error), &error);
    double seconds = now() - start;
    lh_string_free(&report.notes);
    return (double)report.text_bytes / seconds / 1e6;
}

static double time_copy(void)
{
    static char buffer[1 << 20];
    double start = now();
    FILE *in = fopen(source, "rb"), *to = fopen(copy, "wb");
    size_t size, total = 0;
    while (in && to && (size = fread(buffer, 1, sizeof buffer, in)) > 0) {
        total += fwrite(buffer, 1, size, to);
    }
    if (!in || !to || fclose(in) != 0 || fclose(to) != 0) {
        perror("bench_data");
        exit(1);
    }
    return (double)total / (now() - start) / 1e6;
}

/* Millions of tokens per second. */
static double time_stream(const lh_split *split, lh_token_stream_layout layout)
{
    lh_token_stream_options options = lh_token_stream_defaults();
    options.layout = layout;
    options.lanes = LANES;
    options.segment = SEGMENT;
    lh_token_stream *stream;
    const lh_batch *batch;
    lh_error error = {0};
    check(lh_token_stream_create(&stream, split, &options, &error), &error);
    double start = now();
    int64_t tokens = 0;
    for (int i = 0; i < 4000; i++) {
        check(lh_token_stream_next(stream, SEGMENT, &batch, &error), &error);
        tokens += batch->scored;
    }
    double seconds = now() - start;
    lh_token_stream_free(stream);
    return (double)tokens / seconds / 1e6;
}

static double time_memcpy(void)
{
    enum { SIZE = 64 << 20 };
    static char *from, *to;
    if (!from) {
        from = malloc(SIZE);
        to = malloc(SIZE);
        if (!from || !to) {
            exit(1);
        }
        memset(from, 1, SIZE);
        memset(to, 2, SIZE);
    }
    double start = now();
    for (int i = 0; i < 4; i++) {
        from[i] = (char)i;
        memcpy(to, from, SIZE);
    }
    return 4.0 * SIZE / (now() - start) / 1e6;
}

static void remove_all(void)
{
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) {
        (void)fprintf(stderr, "bench_data: cannot remove %s\n", folder);
    }
}

int main(int argc, char **argv)
{
    size_t megabytes = argc > 1 ? (size_t)atol(argv[1]) : 128;
    const char *place = getenv("TMPDIR");
    place = place && strlen(place) < 40 ? place : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(folder, sizeof folder, "%s/bench-data-XXXXXX", place);
    if (!mkdtemp(folder)) {
        perror("bench_data");
        return 1;
    }
    (void)atexit(remove_all);
    (void)snprintf(source, sizeof source, "%s/text.txt", folder);
    (void)snprintf(lines, sizeof lines, "%s/lines.jsonl", folder);
    (void)snprintf(bpe, sizeof bpe, "%s/bpe.json", folder);
    (void)snprintf(out, sizeof out, "%s/out", folder);
    (void)snprintf(copy, sizeof copy, "%s/copy", folder);
    write_sources(megabytes * 1000000, argc > 2 ? argv[2] : NULL);
    train_bpe();
    double rows[8][REPEATS];
    size_t peak = 0;
    for (int i = 0; i < REPEATS; i++) {
        lh_error error = {0};
        lh_dataset *dataset;
        rows[0][i] = time_copy();
        lh_heap_reset_peak();
        size_t before = lh_heap_live_bytes();
        rows[1][i] = time_prepare(source, "bytes");
        peak = lh_heap_peak_bytes() - before > peak ? lh_heap_peak_bytes() - before : peak;
        check(lh_dataset_open(&dataset, out, &error), &error);
        rows[4][i] = time_memcpy();
        rows[5][i] = time_stream(&dataset->splits[0], LH_STREAM_LANES);
        rows[6][i] = time_stream(&dataset->splits[0], LH_STREAM_CROPS);
        lh_dataset_free(dataset);
        rows[2][i] = time_prepare(lines, "bytes");
        check(lh_dataset_open(&dataset, out, &error), &error);
        rows[7][i] = time_stream(&dataset->splits[0], LH_STREAM_DOCUMENTS);
        lh_dataset_free(dataset);
        rows[3][i] = i < 1 ? time_prepare(lines, bpe) : rows[3][0];
    }
    double bytes = median(rows[1]);
    (void)printf("%zu MB of text, one thread, processor time, medians of %d\n", megabytes, REPEATS);
    (void)printf("prepare bytes, plain text   %8.1f MB/s   (plain copy of the file %.0f MB/s; target 20: %s; heap "
                 "%.1f MB)\n",
                 bytes, median(rows[0]), bytes >= 20 ? "met" : "missed", (double)peak / 1e6);
    (void)printf("prepare bytes, JSON Lines   %8.1f MB/s\n", median(rows[2]));
    (void)printf("prepare bpe, JSON Lines     %8.1f MB/s   (once)\n", rows[3][0]);
    (void)printf("stream, lanes %dx%d        %8.1f Mtok/s (memcpy %.0f MB/s)\n", LANES, SEGMENT, median(rows[5]),
                 median(rows[4]));
    (void)printf("stream, crops               %8.1f Mtok/s\n", median(rows[6]));
    (void)printf("stream, documents of 4 kB   %8.1f Mtok/s\n", median(rows[7]));
    return 0;
}
