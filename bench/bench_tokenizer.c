/* Tokenizers: bytes per second of one core, and the time to train. All times are processor time of this one thread,
 * so that other work on the machine counts little. Texts are made here, so that the figures need no data;
 * LH_BENCH_TEXT names a file to use instead. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "text/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 5

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void stop(const lh_error *error)
{
    (void)fprintf(stderr, "bench_tokenizer: %s\n", error->message);
    exit(1);
}

/* Words of letters with the frequencies of English, drawn by Zipf's law from a list of `kinds`, with punctuation
 * and line breaks: about as hard for a tokenizer as a book. */
static char *make_text(size_t size, uint32_t kinds)
{
    static const char letters[] =
        "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddlllluuucccmmm"
        "wwffggyyppbbvvk";
    char(*words)[16] = calloc(kinds, sizeof *words), *text = malloc(size + 32);
    if (!words || !text) {
        (void)fprintf(stderr, "bench_tokenizer: no memory\n");
        exit(1);
    }
    lh_random random = lh_random_create(1, 0);
    for (uint32_t i = 0; i < kinds; i++) {
        uint64_t length = 2 + lh_random_below(&random, 4) + lh_random_below(&random, 6);
        for (uint64_t j = 0; j < length; j++) {
            words[i][j] = letters[lh_random_below(&random, sizeof letters - 1)];
        }
    }
    size_t at = 0;
    while (at < size) {
        /* The inverse of the distribution function of 1/x. */
        const char *word = words[(uint32_t)(exp(lh_random_uniform(&random) * log(kinds)) - 1)];
        size_t length = strlen(word);
        memcpy(text + at, word, length);
        at += length;
        uint64_t mark = lh_random_below(&random, 60);
        at += (size_t)sprintf(text + at, "%s", mark == 0 ? ".\n" : mark < 4 ? ", " : mark == 4 ? "'s " : " ");
    }
    free(words);
    return text;
}

static lh_tokenizer *train(lh_tokenizer_kind kind, int32_t size, const char *text, size_t bytes)
{
    lh_train_options options = {.kind = kind, .vocab_size = size, .min_frequency = 1, .unknown = true};
    lh_trainer *trainer;
    lh_tokenizer *tokenizer;
    lh_error error = {0};
    double started = seconds();
    if (lh_trainer_create(&trainer, &options, &error) != LH_OK ||
        lh_trainer_feed(trainer, text, bytes, &error) != LH_OK ||
        lh_trainer_finish_document(trainer, &error) != LH_OK) {
        stop(&error);
    }
    double counted = seconds();
    unsigned long long distinct = lh_trainer_distinct(trainer);
    if (lh_trainer_build(trainer, NULL, NULL, &tokenizer, &error) != LH_OK) {
        stop(&error);
    }
    (void)printf(
        "train %-10s %6d tokens from %5.1f MB (%llu different words): %5.1f s counting, %5.1f s building\n",
        lh_tokenizer_kind_name(kind), (int)lh_tokenizer_vocab_size(tokenizer), (double)bytes / 1e6, distinct,
        counted - started, seconds() - counted);
    lh_trainer_free(trainer);
    return tokenizer;
}

static int ascending(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* The median of some rounds. The first round also fills the encoder's memory of words. */
static double encode_rate(const lh_tokenizer *tokenizer, const char *text, size_t bytes, size_t *tokens)
{
    double rates[ROUNDS];
    lh_ids ids = {0};
    lh_error error = {0};
    for (int i = 0; i < ROUNDS; i++) {
        lh_ids_clear(&ids);
        double started = seconds();
        if (lh_tokenizer_encode(tokenizer, text, bytes, 0, &ids, &error) != LH_OK) {
            stop(&error);
        }
        rates[i] = (double)bytes / 1e6 / (seconds() - started);
    }
    *tokens = ids.size;
    lh_ids_free(&ids);
    qsort(rates, ROUNDS, sizeof *rates, ascending);
    return rates[ROUNDS / 2];
}

static void report(const char *what, const lh_tokenizer *tokenizer, const char *text, size_t bytes, double target)
{
    size_t tokens;
    double rate = encode_rate(tokenizer, text, bytes, &tokens);
    (void)printf("encode %-28s %8.1f MB/s, %.2f bytes/token", what, rate, (double)bytes / (double)tokens);
    if (target > 0) {
        (void)printf(" (target %.0f MB/s: %s)", target, rate >= target ? "met" : "missed");
    }
    (void)printf("\n");
}

/* The cost per byte of a text without borders must not grow with its size. */
static void hostile(const lh_tokenizer *tokenizer)
{
    size_t size = 8000000;
    char *text = malloc(size);
    if (!text) {
        return;
    }
    lh_random random = lh_random_create(2, 0);
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)('a' + lh_random_below(&random, 26));
    }
    report("no spaces, 1 MB", tokenizer, text, 1000000, 0);
    report("no spaces, 8 MB", tokenizer, text, size, 0);
    memset(text, 'a', size);
    report("one letter, 1 MB", tokenizer, text, 1000000, 0);
    report("one letter, 8 MB", tokenizer, text, size, 0);
    memset(text, ' ', size);
    report("spaces, 8 MB", tokenizer, text, size, 0);
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)lh_random_below(&random, 256);
    }
    report("random bytes, 8 MB", tokenizer, text, size, 0);
    free(text);
}

int main(void)
{
    size_t bytes = 40000000;
    char *text, *file = NULL;
    const char *path = getenv("LH_BENCH_TEXT");
    lh_error error = {0};
    if (path) {
        if (lh_file_read(path, 0, &file, &bytes, &error) != LH_OK) {
            stop(&error);
        }
        text = file;
    } else {
        text = make_text(bytes, 60000);
    }
    lh_tokenizer *bpe = train(LH_TOKENIZER_BPE, 32768, text, bytes);
    lh_tokenizer *words = train(LH_TOKENIZER_WORDS, 0, text, bytes);
    lh_tokenizer *characters = train(LH_TOKENIZER_CHARACTERS, 0, text, bytes);
    size_t part = bytes < 16000000 ? bytes : 16000000;
    report("bpe, 32 k", bpe, text, part, 5);
    report("words", words, text, part, 0);
    report("characters", characters, text, part, 0);
    hostile(bpe);
    lh_tokenizer_free(bpe);
    lh_tokenizer_free(words);
    lh_tokenizer_free(characters);
    if (file) {
        lh_heap_free(file);
    } else {
        free(text);
    }
    return 0;
}
