/* The vocabulary of the tfds SubwordTextEncoder: substrings that start where a subword may start, and that are
 * frequent enough; how frequent is found by bisection, so that there are about as many as were asked for. */
#include "base/memory.h"
#include "text/subword.h"
#include "text/trainer_impl.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define SUBWORD_CHARACTERS 20
#define ITERATIONS 4

typedef struct lh_candidate_subword {
    int64_t count;
    int32_t id;
    int32_t characters;
} lh_candidate_subword;

typedef struct lh_subword_training {
    lh_trainer *trainer;
    const lh_train_progress *progress;
    lh_counts forms;      /* the tokens without "_", a space at the end written as "_" */
    lh_counts substrings; /* of one iteration */
    lh_matcher subwords;  /* the result of the last iteration; its bytes are in `kept` */
    lh_vocab kept;        /* the result in order */
    uint64_t builds;
} lh_subword_training;

/* ---- tokens without underscores ---- */

/* A "_" of the text is written as a byte and is never inside a subword. */
static lh_status collect_forms(lh_subword_training *training, lh_error *error)
{
    const lh_counts *counts = &training->trainer->counts;
    for (int32_t word = 0; word < counts->strings.count; word++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&counts->strings, word, &size);
        unsigned char form[256];
        if (size >= sizeof form) {
            continue;
        }
        memcpy(form, bytes, size);
        size_t start = 0;
        for (size_t at = 0; at < size; at++) {
            if (form[at] == '_') {
                LH_TRY(lh_counts_add(&training->forms, form + start, at - start, counts->count[word], error));
                start = at + 1;
            } else if (form[at] == 0xff) {
                form[at] = '_';
            }
        }
        LH_TRY(lh_counts_add(&training->forms, form + start, size - start, counts->count[word], error));
    }
    return LH_OK;
}

/* ---- one iteration ---- */

static size_t character_size(const unsigned char *bytes, size_t size)
{
    int32_t code_point;
    int length = lh_utf8_decode(bytes, size, &code_point);
    return length > 0 ? (size_t)length : 1;
}

/* Counts all prefixes of the rest of a token. Line feeds and NUL have no place in the file. */
static lh_status count_prefixes(lh_subword_training *training, const unsigned char *bytes, size_t size,
                                uint64_t times, lh_error *error)
{
    size_t end = 0;
    for (int i = 0; i < SUBWORD_CHARACTERS && end < size && bytes[end] != '\n' && bytes[end] != 0; i++) {
        end += character_size(bytes + end, size - end);
        LH_TRY(lh_counts_add(&training->substrings, bytes, end, times, error));
    }
    return LH_OK;
}

static lh_status count_substrings(lh_subword_training *training, lh_error *error)
{
    lh_counts_free(&training->substrings);
    for (int32_t form = 0; form < training->forms.strings.count; form++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&training->forms.strings, form, &size);
        for (size_t at = 0; at < size;) {
            LH_TRY(count_prefixes(training, bytes + at, size - at, training->forms.count[form], error));
            bool open;
            size_t step = lh_matcher_prefix(&training->subwords, bytes + at, size - at, &open).size;
            at += step ? step : character_size(bytes + at, size - at);
        }
    }
    return LH_OK;
}

/* Longest first, so that prefixes lose what a longer subword takes; among equals the order does not matter. */
static int by_length(const void *left, const void *right)
{
    const lh_candidate_subword *a = left, *b = right;
    if (a->characters != b->characters) {
        return a->characters < b->characters ? 1 : -1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

static void take_from_prefixes(lh_subword_training *training, const unsigned char *bytes, size_t size,
                               int64_t count)
{
    size_t end = character_size(bytes, size);
    while (end < size) {
        int32_t prefix = lh_vocab_find(&training->substrings.strings, bytes, end);
        if (prefix >= 0) {
            training->substrings.count[prefix] -= (uint64_t)count;
        }
        end += character_size(bytes + end, size - end);
    }
}

static int by_count(const void *left, const void *right)
{
    const lh_candidate_subword *a = left, *b = right;
    if (a->count != b->count) {
        return a->count < b->count ? 1 : -1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

/* Frequent substrings of more than one byte. Their number, with the accepted ones at the front. */
static size_t choose(lh_subword_training *training, lh_candidate_subword *candidates, int64_t least)
{
    size_t count = 0, accepted = 0;
    for (int32_t id = 0; id < training->substrings.strings.count; id++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&training->substrings.strings, id, &size);
        if ((int64_t)training->substrings.count[id] >= least && size > 1) {
            int32_t characters = 0;
            for (size_t at = 0; at < size; at += character_size(bytes + at, size - at)) {
                characters++;
            }
            candidates[count++] = (lh_candidate_subword){0, id, characters};
        }
    }
    qsort(candidates, count, sizeof *candidates, by_length);
    for (size_t i = 0; i < count; i++) {
        int64_t left = (int64_t)training->substrings.count[candidates[i].id];
        if (left >= least) {
            size_t size;
            const unsigned char *bytes = lh_vocab_get(&training->substrings.strings, candidates[i].id, &size);
            take_from_prefixes(training, bytes, size, left);
            candidates[accepted] = candidates[i];
            candidates[accepted++].count = left;
        }
    }
    qsort(candidates, accepted, sizeof *candidates, by_count);
    return accepted;
}

static lh_status keep(lh_subword_training *training, const lh_candidate_subword *candidates, size_t count,
                      lh_error *error)
{
    lh_vocab_free(&training->kept);
    lh_matcher_free(&training->subwords);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&training->substrings.strings, candidates[i].id, &size);
        LH_TRY(lh_vocab_put(&training->kept, (int32_t)i, bytes, size, true, error));
    }
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&training->kept, (int32_t)i, &size);
        LH_TRY(lh_matcher_add(&training->subwords, bytes, size, (int32_t)i, error));
    }
    lh_matcher_sort(&training->subwords);
    return LH_OK;
}

/* The vocabulary for one least count. */
static lh_status build(lh_subword_training *training, int64_t least, lh_error *error)
{
    lh_vocab_free(&training->kept);
    lh_matcher_free(&training->subwords);
    lh_matcher_sort(&training->subwords);
    for (int i = 0; i < ITERATIONS; i++) {
        LH_TRY(count_substrings(training, error));
        lh_candidate_subword *candidates =
            lh_heap_alloc((size_t)training->substrings.strings.count * sizeof *candidates);
        if (!candidates) {
            return lh_fail(error, LH_E_MEMORY, "no memory for %ld subwords",
                           (long)training->substrings.strings.count);
        }
        size_t accepted = choose(training, candidates, least);
        lh_status status = keep(training, candidates, accepted, error);
        lh_heap_free(candidates);
        LH_TRY(status);
        LH_TRY(lh_train_tell(training->progress, ++training->builds, 0, error));
    }
    return LH_OK;
}

/* ---- the search for the least count ---- */

static int64_t distance(int64_t size, int64_t target)
{
    return size < target ? target - size : size - target;
}

/* Leaves the best vocabulary in `kept`. */
static lh_status search(lh_subword_training *training, lh_error *error)
{
    int64_t target = training->trainer->options.vocab_size, low = 1, high = 1, best = 0, best_distance = INT64_MAX;
    for (int32_t i = 0; i < training->forms.strings.count; i++) {
        int64_t count = (int64_t)training->forms.count[i];
        high = count > high ? count : high;
    }
    int64_t middle = 0;
    while (low <= high) {
        middle = low + (high - low) / 2;
        LH_TRY(build(training, middle, error));
        int64_t size = 1 + 256 + (int64_t)training->kept.count;
        if (distance(size, target) < best_distance) {
            best = middle;
            best_distance = distance(size, target);
        }
        if (best_distance * 100 < target) {
            break;
        }
        if (size > target) {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return best == middle ? LH_OK : build(training, best, error);
}

static lh_status finish(lh_subword_training *training, lh_error *error)
{
    size_t count = (size_t)training->kept.count;
    lh_string text = {0};
    size_t *offset = lh_heap_alloc((count + 1) * sizeof *offset);
    const char **list = lh_heap_alloc((count + 1) * sizeof *list);
    for (size_t i = 0; offset && list && i < count; i++) {
        size_t size;
        const unsigned char *bytes = lh_vocab_get(&training->kept, (int32_t)i, &size);
        offset[i] = text.size;
        lh_string_append(&text, bytes, size);
        lh_string_append(&text, "", 1);
    }
    lh_status status;
    if (!offset || !list || text.failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory for %zu subwords", count);
    } else {
        for (size_t i = 0; i < count; i++) {
            list[i] = text.data + offset[i];
        }
        lh_tokenizer *built = NULL;
        status = lh_subword_create(&built, list, error);
        if (status == LH_OK) {
            /* The encoder that collected the tokens looks at the old tokenizer: it goes first. */
            lh_encoder_free(training->trainer->encoder);
            training->trainer->encoder = NULL;
            lh_tokenizer_free(training->trainer->tokenizer);
            training->trainer->tokenizer = built;
        }
    }
    lh_heap_free(offset);
    lh_heap_free(list);
    lh_string_free(&text);
    return status;
}

lh_status lh_train_subwords(lh_trainer *trainer, const lh_train_progress *progress, lh_error *error)
{
    lh_subword_training training = {.trainer = trainer, .progress = progress};
    lh_status status = collect_forms(&training, error);
    status = status == LH_OK ? search(&training, error) : status;
    status = status == LH_OK ? finish(&training, error) : status;
    lh_counts_free(&training.forms);
    lh_counts_free(&training.substrings);
    lh_vocab_free(&training.kept);
    lh_matcher_free(&training.subwords);
    return status;
}
