/* Performances: MIDI files, note lists, sustain, events. Vectors are those of the Perceiver AR specification. */
#include "base/random.h"
#include "support/scratch.h"
#include "text/performance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

static void check(lh_status status, const lh_error *error)
{
    if (status != LH_OK) {
        fail_msg("%s", error->message);
    }
}

static void add(lh_performance *p, double start, double end, int pitch, int velocity)
{
    lh_error error = {0};
    check(lh_performance_add_note(p, (lh_note){.start = start, .end = end, .pitch = pitch, .velocity = velocity},
                                  &error),
          &error);
}

static void expect_ids(lh_performance *p, const lh_event_vocabulary *v, const int32_t *expected, size_t count)
{
    lh_ids ids = {0};
    lh_error error = {0};
    check(lh_performance_encode(p, v, &ids, &error), &error);
    assert_int_equal(ids.size, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ids.data[i], expected[i]);
    }
    lh_ids_free(&ids);
}

static void vectors(void **state)
{
    (void)state;
    lh_performance p = {0};
    add(&p, 1.75, 1.80, 67, 100); /* in any order */
    add(&p, 0.25, 1.75, 64, 80);
    add(&p, 0.00, 0.50, 60, 80);
    static const int32_t first[] = {2, 378, 63, 283, 67, 283, 191, 358, 283, 195, 383, 70, 263, 198, 1};
    expect_ids(&p, &lh_events_perceiver, first, sizeof first / sizeof *first);
    static const int32_t narrow[] = {297, 41,  202, 45, 202, 129, 277,
                                     202, 133, 302, 48, 182, 136, 1}; /* events + 2 */
    expect_ids(&p, &lh_events_music_transformer, narrow, sizeof narrow / sizeof *narrow);
    lh_performance_free(&p);

    add(&p, 0.0, 1.0, 60, 1);
    add(&p, 1.0, 1.0, 60, 127);
    add(&p, 3.01, 3.5, 62, 127);
    static const int32_t second[] = {356, 60, 355, 188, 387, 60, 256, 188, 355, 355, 62, 304, 190};
    int32_t shifted[15] = {2, [14] = 1};
    for (int i = 0; i < 13; i++) {
        shifted[i + 1] = second[i] + 3;
    }
    expect_ids(&p, &lh_events_perceiver, shifted, 15);
    lh_performance_free(&p);

    assert_int_equal(lh_event_count(&lh_events_perceiver), 391);
    assert_int_equal(lh_event_count(&lh_events_music_transformer), 310);
    /* pitches outside the vocabulary are left out */
    add(&p, 0.0, 1.0, 20, 64);
    add(&p, 0.0, 1.0, 109, 64);
    static const int32_t nothing[] = {1};
    expect_ids(&p, &lh_events_music_transformer, nothing, 1);
    lh_performance_free(&p);
}

static const lh_note *note_of(const lh_performance *p, double start)
{
    for (size_t i = 0; i < p->note_count; i++) {
        if (fabs(p->notes[i].start - start) < 1e-9) {
            return &p->notes[i];
        }
    }
    fail_msg("no note begins at %g", start);
    return NULL;
}

static void pedal(lh_performance *p, double time, bool down, int instrument)
{
    lh_error error = {0};
    check(lh_performance_add_pedal(p, (lh_pedal){.time = time, .down = down, .instrument = instrument}, &error),
          &error);
}

static void sustain(void **state)
{
    (void)state;
    lh_performance p = {0};
    lh_error error = {0};
    add(&p, 0.1, 0.3, 60, 80);
    add(&p, 0.5, 0.6, 60, 80);
    add(&p, 0.7, 1.5, 64, 80);
    pedal(&p, 0.0, true, 0);
    pedal(&p, 1.0, false, 0);
    check(lh_performance_sustain(&p, &error), &error);
    assert_int_equal(p.note_count, 3);
    assert_true(note_of(&p, 0.1)->end == 0.5 && note_of(&p, 0.5)->end == 1.0 && note_of(&p, 0.7)->end == 1.5);
    lh_performance_free(&p);

    /* The pedal never comes up: what it holds ends with the last event. Another instrument does not notice. */
    add(&p, 0.0, 0.2, 60, 80);
    add(&p, 1.0, 2.5, 64, 80);
    p.notes[0].instrument = p.notes[1].instrument = 1;
    add(&p, 0.3, 0.4, 60, 80);
    pedal(&p, 0.1, true, 1);
    check(lh_performance_sustain(&p, &error), &error);
    assert_true(note_of(&p, 0.0)->end == 2.5 && note_of(&p, 0.3)->end == 0.4);
    lh_performance_free(&p);

    /* Struck twice at one instant under the pedal: the first was no note. A value at the border: down from 64. */
    add(&p, 0.5, 0.6, 60, 80);
    add(&p, 0.5, 0.9, 60, 90);
    pedal(&p, 0.0, true, 0);
    check(lh_performance_sustain(&p, &error), &error);
    assert_int_equal(p.note_count, 1);
    assert_int_equal(p.notes[0].velocity, 90);
    lh_performance_free(&p);
}

/* Random notes, none over another of its pitch. Those that begin in the same step of 10 ms begin together, since
 * within a step the order of beginnings would be lost. */
static void random_notes(lh_performance *p, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 2);
    double free_from[128] = {0};
    int count = (int)lh_random_below(&random, 200);
    double now = 0.0;
    for (int i = 0; i < count; i++) {
        int pitch = (int)lh_random_below(&random, 128);
        double step = lh_random_below(&random, 4) == 0 ? 0.0 : floor(lh_random_uniform(&random) * 70.0) / 100.0;
        now += step;
        if (now >= free_from[pitch]) {
            double end = now + 0.011 + lh_random_uniform(&random) * 3.0;
            double jitter = 0.0049 * sin(1000.0 * floor(now * 100.0 + 0.5)); /* the same in a step */
            add(p, now + (now > 0.0 ? jitter : 0.0), end, pitch, 1 + (int)lh_random_below(&random, 127));
            free_from[pitch] = end + 0.03;
        }
    }
}

static void there_and_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        lh_performance p = {0}, back = {0};
        lh_ids ids = {0}, again = {0};
        lh_error error = {0};
        random_notes(&p, seed);
        check(lh_performance_encode(&p, &lh_events_perceiver, &ids, &error), &error);
        check(lh_performance_decode(&back, &lh_events_perceiver, ids.data, ids.size, &error), &error);
        assert_int_equal(back.note_count, p.note_count);
        check(lh_performance_encode(&back, &lh_events_perceiver, &again, &error), &error);
        assert_int_equal(again.size, ids.size);
        assert_memory_equal(again.data, ids.data, sizeof *ids.data * ids.size);
        for (size_t i = 0; i < p.note_count; i++) {
            const lh_note *a = &p.notes[i];
            bool found = false;
            for (size_t j = 0; j < back.note_count && !found; j++) {
                const lh_note *b = &back.notes[j];
                found = a->pitch == b->pitch && fabs(a->start - b->start) <= 0.005 + 1e-9;
                if (found) {
                    assert_true(fabs(a->end - b->end) <= 0.005 + 1e-9);
                    assert_in_range(a->velocity - b->velocity, 0, 3);
                }
            }
            assert_true(found);
        }
        lh_performance_free(&p);
        lh_performance_free(&back);
        lh_ids_free(&ids);
        lh_ids_free(&again);
    }
}

static void decoding(void **state)
{
    (void)state;
    lh_performance p = {0};
    lh_error error = {0};
    /* on60, shift100, on60, shift50, off60 (the older one), off61 (none), shift10; then on62 without length */
    static const int32_t ids[] = {2, 63, 358, 63, 308, 191, 192, 268, 65, 193, 1};
    check(lh_performance_decode(&p, &lh_events_perceiver, ids, sizeof ids / sizeof *ids, &error), &error);
    assert_int_equal(p.note_count, 2);
    assert_true(p.notes[0].start == 0.0 && p.notes[0].end == 1.5 && p.notes[0].velocity == 100);
    assert_true(p.notes[1].start == 1.0 && fabs(p.notes[1].end - 1.6) < 1e-12); /* open to the end */
    lh_performance_free(&p);
    static const int32_t loud[] = {359 + 19, 63, 300, 191}; /* vel20 */
    check(lh_performance_decode(&p, &lh_events_perceiver, loud, 4, &error), &error);
    assert_int_equal(p.notes[0].velocity, 77);
    lh_performance_free(&p);
}

/* ---- files ---- */

/* Two tracks; tempo 500000, later 250000 us; running status, a note-on of velocity 0, a pedal, a sysex, percussion.
 */
static const unsigned char file[] = {
    'M',  'T',  'h',  'd',  0,    0,    0,    6,  0, 1,    0,    2,  0,    100, /* 100 ticks of a quarter note */
    'M',  'T',  'r',  'k',  0,    0,    0,    19, 0, 0xff, 0x51, 3,  0x07, 0xa1, 0x20, /* 500000 */
    0x64, 0xff, 0x51, 3,    0x03, 0xd0, 0x90,                                          /* at tick 100: 250000 */
    0x81, 0x00, 0xff, 0x2f, 0,                                                         /* 128 ticks later */
    'M',  'T',  'r',  'k',  0,    0,    0,    41, 0, 0x90, 60,   80,                   /* on */
    50,   64,   90,               /* running status: on at tick 50 */
    0,    0xf0, 2,    1,    0xf7, /* sysex */
    50,   0x90, 60,   0,          /* off at tick 100 */
    0,    0xb0, 64,   127,        /* pedal down */
    0,    0x99, 40,   90,         /* percussion */
    40,   0x80, 64,   64,         /* off at tick 140 */
    60,   0xb0, 64,   0,          /* pedal up at tick 200 */
    0,    0xc0, 5,                /* a program */
    0,    0xff, 0x2f, 0,    0,    0,
};

static void midi_files(void **state)
{
    (void)state;
    lh_performance p = {0};
    lh_error error = {0};
    check(lh_performance_read_midi(&p, file, sizeof file, "small.mid", &error), &error);
    assert_int_equal(p.note_count, 2);
    assert_int_equal(p.pedal_count, 2);
    const lh_note *low = note_of(&p, 0.0), *high = note_of(&p, 0.25);
    assert_true(low->pitch == 60 && low->velocity == 80 && fabs(low->end - 0.5) < 1e-12);
    assert_true(high->pitch == 64 && fabs(high->end - 0.6) < 1e-12); /* 40 ticks at double speed */
    assert_true(fabs(p.pedals[1].time - 0.75) < 1e-12 && !p.pedals[1].down && p.pedals[0].down);
    check(lh_performance_sustain(&p, &error), &error);
    assert_true(fabs(note_of(&p, 0.25)->end - 0.75) < 1e-12);
    assert_true(fabs(note_of(&p, 0.0)->end - 0.75) <
                1e-12); /* it ended when the pedal went down: that counts first */

    /* Written and read again it is the same to the millisecond. */
    lh_string out = {0};
    lh_performance again = {0};
    check(lh_performance_write_midi(&p, &out, &error), &error);
    check(lh_performance_read_midi(&again, out.data, out.size, "written", &error), &error);
    assert_int_equal(again.note_count, 2);
    for (int i = 0; i < 2; i++) {
        const lh_note *a = note_of(&p, i * 0.25), *b = note_of(&again, i * 0.25);
        assert_true(a->pitch == b->pitch && a->velocity == b->velocity && fabs(a->end - b->end) < 1e-9);
    }
    lh_string_free(&out);
    lh_performance_free(&again);
    lh_performance_free(&p);

    /* Damage is named. Every truncation is refused or gives fewer notes, and nothing is read beyond the end. */
    for (size_t size = 0; size < sizeof file; size++) {
        unsigned char *copy = malloc(size + 1);
        memcpy(copy, file, size);
        lh_error broken = {0};
        lh_status status = lh_performance_read_midi(&p, copy, size, "cut.mid", &broken);
        assert_true(status == LH_OK || (status == LH_E_FORMAT && strstr(broken.message, "cut.mid")));
        assert_true(status != LH_OK || p.note_count <= 2);
        lh_performance_free(&p);
        free(copy);
    }
    unsigned char other[sizeof file];
    memcpy(other, file, sizeof file);
    other[9] = 2;
    error = (lh_error){0};
    assert_int_equal(lh_performance_read_midi(&p, other, sizeof other, "two.mid", &error), LH_E_UNSUPPORTED);
    lh_performance_free(&p);
}

static void note_lists(void **state)
{
    (void)state;
    static const char *const wrong[] = {"{}",
                                        "[[0, 1, 60]]",
                                        "[[1, 0, 60, 80]]",
                                        "[[0, 1, 128, 80]]",
                                        "[[0, 1, 60, 0]]",
                                        "{\"notes\": [], \"pedal\": [[0]]}",
                                        "nonsense"};
    static const char text[] =
        "{\"notes\": [[0.1, 0.3, 60, 80], [0.5, 0.6, 60, 80], [0.7, 1.5, 64, 80]], \"pedal\": [[0, 64], [1, 63]]}";
    lh_performance p = {0};
    lh_error error = {0};
    check(lh_performance_read_json(&p, text, strlen(text), "list.json", &error), &error);
    check(lh_performance_sustain(&p, &error), &error);
    assert_true(note_of(&p, 0.1)->end == 0.5 && note_of(&p, 0.5)->end == 1.0);
    lh_performance_free(&p);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        error = (lh_error){0};
        assert_int_not_equal(lh_performance_read_json(&p, wrong[i], strlen(wrong[i]), "list.json", &error), LH_OK);
        assert_non_null(strstr(error.message, "list.json"));
        lh_performance_free(&p);
    }
}

/* The words are a tokenizer's, and give the ids back. */
static void words(void **state)
{
    (void)state;
    static const lh_event_vocabulary *const all[] = {&lh_events_perceiver, &lh_events_music_transformer};
    for (int i = 0; i < 2; i++) {
        lh_string json = {0}, text = {0};
        lh_error error = {0};
        lh_tokenizer *tokenizer;
        lh_ids ids = {0};
        check(lh_event_tokenizer(all[i], &json, &error), &error);
        check(lh_tokenizer_read(&tokenizer, json.data, json.size, "events", &error), &error);
        assert_int_equal(lh_tokenizer_vocab_size(tokenizer), lh_event_count(all[i]));
        for (int32_t id = 0; id < lh_event_count(all[i]); id++) {
            char word[16];
            lh_event_word(all[i], id, word);
            lh_string_print(&text, "%s ", word);
        }
        check(lh_tokenizer_encode(tokenizer, text.data, text.size, 0, &ids, &error), &error);
        assert_int_equal(ids.size, lh_event_count(all[i]));
        for (size_t k = 0; k < ids.size; k++) {
            assert_int_equal(ids.data[k], k);
        }
        lh_ids_free(&ids);
        lh_tokenizer_free(tokenizer);
        lh_string_free(&json);
        lh_string_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),  cmocka_unit_test(sustain),    cmocka_unit_test(there_and_back),
        cmocka_unit_test(decoding), cmocka_unit_test(midi_files), cmocka_unit_test(note_lists),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
