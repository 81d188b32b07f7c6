/* Performances: notes in time, from MIDI files or JSON, and as a text of events.
 *
 * The events are those of the Music Transformer (Huang et al. 2019; magenta's note-seq): a note begins or ends,
 * time moves by 10 ms to 1 s, the velocity of what follows changes. Each is a word, so that a performance is a text
 * over a closed vocabulary like any other: "<s> vel20 on60 shift25 on64 off60 </s>". */
#ifndef LH_TEXT_PERFORMANCE_H
#define LH_TEXT_PERFORMANCE_H

#include "text/tokenizer.h"

typedef struct lh_note {
    double start, end;   /* seconds */
    int pitch, velocity; /* 0..127, 1..127 */
    int instrument;      /* whatever shares a pedal: track and channel of a file */
} lh_note;

typedef struct lh_pedal { /* the sustain pedal goes down or comes up */
    double time;
    bool down;
    int instrument;
} lh_pedal;

/* Zero-initialise; release with lh_performance_free. */
typedef struct lh_performance {
    lh_note *notes;
    lh_pedal *pedals;
    size_t note_count, note_capacity, pedal_count, pedal_capacity;
} lh_performance;

lh_status lh_performance_add_note(lh_performance *performance, lh_note note, lh_error *error);
lh_status lh_performance_add_pedal(lh_performance *performance, lh_pedal pedal, lh_error *error);
void lh_performance_free(lh_performance *performance);

/* Appends the notes and pedals of a standard MIDI file of format 0 or 1: all tracks, without the percussion of
 * channel
 * 10. A note's end closes the notes of its track, channel and pitch that began before it; one that began at that
 * very instant and is alone is no note. `name` stands for the file in messages: LH_E_FORMAT, or LH_E_UNSUPPORTED
 * for format 2. (midi_file.c) */
lh_status lh_performance_read_midi(lh_performance *performance, const void *bytes, size_t size, const char *name,
                                   lh_error *error);
/* Writes the notes as a MIDI file of one track, a tick being a millisecond; pedals are left out. */
lh_status lh_performance_write_midi(const lh_performance *performance, lh_string *out, lh_error *error);

/* Appends notes from JSON: a list of [start, end, pitch, velocity], or an object with that list as "notes" and
 * [time, value] pairs of the pedal (value >= 64 is down) as "pedal". (performance_json.c) */
lh_status lh_performance_read_json(lh_performance *performance, const char *text, size_t size, const char *name,
                                   lh_error *error);

/* Lets notes sound as long as the pedal holds them, instrument by instrument, and forgets the pedals. */
lh_status lh_performance_sustain(lh_performance *performance, lh_error *error);

/* Which events there are. ids: `reserved` words first, then NOTE_ON for each pitch, NOTE_OFF, 100 shifts, 32
 * velocities. */
typedef struct lh_event_vocabulary {
    int first_pitch, last_pitch; /* notes outside are left out */
    const char *const *reserved; /* "<pad>", "</s>", "<s>" */
    int reserved_count;
    int32_t begin, end; /* ids around a performance, or LH_NO_TOKEN */
} lh_event_vocabulary;

extern const lh_event_vocabulary lh_events_perceiver;         /* all 128 pitches, 391 ids */
extern const lh_event_vocabulary lh_events_music_transformer; /* pitches 21..108, 310 ids, no start */

int32_t lh_event_count(const lh_event_vocabulary *vocabulary);
/* The word of an id, such as "on60", "off60", "shift25" (250 ms), "vel20" (velocities 77..80). */
void lh_event_word(const lh_event_vocabulary *vocabulary, int32_t id, char word[16]);
/* tokenizer.json of the vocabulary. */
lh_status lh_event_tokenizer(const lh_event_vocabulary *vocabulary, lh_string *json, lh_error *error);

/* Appends the ids of a performance without its pedals. Its notes are sorted by start and pitch. */
lh_status lh_performance_encode(lh_performance *performance, const lh_event_vocabulary *vocabulary, lh_ids *ids,
                                lh_error *error);
/* Appends the notes of ids: an end closes the oldest open note of its pitch; notes without length are dropped; what
 * is open at the end ends there; velocity 100 before any is given. Ids that are no events are passed over. */
lh_status lh_performance_decode(lh_performance *performance, const lh_event_vocabulary *vocabulary,
                                const int32_t *ids, size_t count, lh_error *error);

#endif
