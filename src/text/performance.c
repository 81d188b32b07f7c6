#include "text/performance.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

static lh_status grow(void **items, size_t *capacity, size_t count, size_t item, lh_error *error)
{
    if (count < *capacity) {
        return LH_OK;
    }
    size_t wanted = *capacity ? 2 * *capacity : 256;
    void *moved = lh_heap_realloc(*items, wanted * item);
    if (!moved) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu notes", wanted);
    }
    *items = moved;
    *capacity = wanted;
    return LH_OK;
}

lh_status lh_performance_add_note(lh_performance *p, lh_note note, lh_error *error)
{
    void *items = p->notes;
    lh_status status = grow(&items, &p->note_capacity, p->note_count, sizeof note, error);
    p->notes = items;
    if (status == LH_OK) {
        p->notes[p->note_count++] = note;
    }
    return status;
}

lh_status lh_performance_add_pedal(lh_performance *p, lh_pedal pedal, lh_error *error)
{
    void *items = p->pedals;
    lh_status status = grow(&items, &p->pedal_capacity, p->pedal_count, sizeof pedal, error);
    p->pedals = items;
    if (status == LH_OK) {
        p->pedals[p->pedal_count++] = pedal;
    }
    return status;
}

void lh_performance_free(lh_performance *p)
{
    lh_heap_free(p->notes);
    lh_heap_free(p->pedals);
    *p = (lh_performance){0};
}

/* ---- sustain ---- */

enum { PEDAL_DOWN, PEDAL_UP, NOTE_BEGINS, NOTE_ENDS }; /* in the order in which they count at the same time */

typedef struct moment {
    double time;
    int kind;
    size_t note;  /* of the list of notes */
    size_t order; /* as it came: ties stay in order */
    int instrument;
} moment;

static int compare_moments(const void *a, const void *b)
{
    const moment *x = a, *y = b;
    if (x->instrument != y->instrument) {
        return x->instrument < y->instrument ? -1 : 1;
    }
    if (x->time != y->time) {
        return x->time < y->time ? -1 : 1;
    }
    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

/* The notes that sound now. */
typedef struct sounding {
    size_t *notes;
    size_t count;
    bool pedal;
} sounding;

static void remove_at(sounding *now, size_t i)
{
    now->notes[i] = now->notes[--now->count];
}

static void pedal_up(lh_performance *p, sounding *now, double time)
{
    now->pedal = false;
    for (size_t i = 0; i < now->count;) {
        lh_note *note = &p->notes[now->notes[i]];
        if (note->end < time) {
            note->end = time;
            remove_at(now, i);
        } else {
            i++;
        }
    }
}

/* Under the pedal a key that is struck again ends its note; what began at this very instant was no note. */
static void strike(lh_performance *p, sounding *now, size_t struck, double time)
{
    for (size_t i = 0; now->pedal && i < now->count;) {
        lh_note *note = &p->notes[now->notes[i]];
        if (note->pitch == p->notes[struck].pitch) {
            note->end = time;
            note->velocity = note->start == time ? 0 : note->velocity; /* 0: to be left out */
            remove_at(now, i);
        } else {
            i++;
        }
    }
    now->notes[now->count++] = struck;
}

static void release(sounding *now, size_t note)
{
    for (size_t i = 0; !now->pedal && i < now->count; i++) {
        if (now->notes[i] == note) {
            remove_at(now, i);
            return;
        }
    }
}

static void play(lh_performance *p, const moment *moments, size_t count, sounding *now)
{
    for (size_t i = 0; i < count; i++) {
        const moment *m = &moments[i];
        switch (m->kind) {
        case PEDAL_DOWN: now->pedal = true; break;
        case PEDAL_UP: pedal_up(p, now, m->time); break;
        case NOTE_BEGINS: strike(p, now, m->note, m->time); break;
        default: release(now, m->note); break;
        }
        if (i + 1 == count || moments[i + 1].instrument != m->instrument) {
            while (now->count > 0) { /* what still sounds ends with the last event */
                p->notes[now->notes[--now->count]].end = m->time;
            }
            now->pedal = false;
        }
    }
}

lh_status lh_performance_sustain(lh_performance *p, lh_error *error)
{
    size_t count = 2 * p->note_count + p->pedal_count, kept = 0;
    moment *moments = lh_heap_alloc(sizeof *moments * (count + 1));
    sounding now = {.notes = lh_heap_alloc(sizeof *now.notes * (p->note_count + 1))};
    if (!moments || !now.notes) {
        lh_heap_free(moments);
        lh_heap_free(now.notes);
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu notes", p->note_count);
    }
    size_t used = 0;
    for (size_t i = 0; i < p->pedal_count; i++, used++) {
        const lh_pedal *pedal = &p->pedals[i];
        moments[used] = (moment){.time = pedal->time,
                                 .kind = pedal->down ? PEDAL_DOWN : PEDAL_UP,
                                 .order = used,
                                 .instrument = pedal->instrument};
    }
    for (size_t i = 0; i < p->note_count; i++) {
        const lh_note *note = &p->notes[i];
        for (int end = 0; end < 2; end++, used++) {
            moments[used] = (moment){.time = end ? note->end : note->start,
                                     .kind = end ? NOTE_ENDS : NOTE_BEGINS,
                                     .note = i,
                                     .order = used,
                                     .instrument = note->instrument};
        }
    }
    qsort(moments, count, sizeof *moments, compare_moments);
    play(p, moments, count, &now);
    for (size_t i = 0; i < p->note_count; i++) {
        if (p->notes[i].velocity > 0) {
            p->notes[kept++] = p->notes[i];
        }
    }
    p->note_count = kept;
    p->pedal_count = 0;
    lh_heap_free(moments);
    lh_heap_free(now.notes);
    return LH_OK;
}

/* ---- vocabulary ---- */

enum { SHIFTS = 100, VELOCITIES = 32, STEPS_PER_SECOND = 100 };

static const char *const perceiver_reserved[] = {"<pad>", "</s>", "<s>"};
const lh_event_vocabulary lh_events_perceiver = {
    .first_pitch = 0, .last_pitch = 127, .reserved = perceiver_reserved, .reserved_count = 3, .begin = 2, .end = 1};
const lh_event_vocabulary lh_events_music_transformer = {.first_pitch = 21,
                                                         .last_pitch = 108,
                                                         .reserved = perceiver_reserved,
                                                         .reserved_count = 2,
                                                         .begin = LH_NO_TOKEN,
                                                         .end = 1};

typedef enum event_kind { EVENT_ON, EVENT_OFF, EVENT_SHIFT, EVENT_VELOCITY, EVENT_NONE } event_kind;

static int pitches(const lh_event_vocabulary *v)
{
    return v->last_pitch - v->first_pitch + 1;
}

/* value: a pitch, 1..100 steps, 1..32 bins */
static int32_t event_id(const lh_event_vocabulary *v, event_kind kind, int value)
{
    int n = pitches(v), first = v->reserved_count;
    switch (kind) {
    case EVENT_ON: return first + value - v->first_pitch;
    case EVENT_OFF: return first + n + value - v->first_pitch;
    case EVENT_SHIFT: return first + 2 * n + value - 1;
    default: return first + 2 * n + SHIFTS + value - 1;
    }
}

static event_kind event_of(const lh_event_vocabulary *v, int32_t id, int *value)
{
    int n = pitches(v), at = id - v->reserved_count;
    if (at < 0 || id >= lh_event_count(v)) {
        return EVENT_NONE;
    }
    if (at < 2 * n) {
        *value = at % n + v->first_pitch;
        return at < n ? EVENT_ON : EVENT_OFF;
    }
    at -= 2 * n;
    *value = at % SHIFTS + 1;
    return at < SHIFTS ? EVENT_SHIFT : EVENT_VELOCITY;
}

int32_t lh_event_count(const lh_event_vocabulary *v)
{
    return v->reserved_count + 2 * pitches(v) + SHIFTS + VELOCITIES;
}

void lh_event_word(const lh_event_vocabulary *v, int32_t id, char word[16])
{
    static const char *const names[] = {"on", "off", "shift", "vel"};
    int value = 0;
    event_kind kind = event_of(v, id, &value);
    if (kind == EVENT_NONE) {
        (void)snprintf(word, 16, "%s", id >= 0 && id < v->reserved_count ? v->reserved[id] : "?");
    } else {
        (void)snprintf(word, 16, "%s%d", names[kind], value);
    }
}

lh_status lh_event_tokenizer(const lh_event_vocabulary *v, lh_string *json, lh_error *error)
{
    lh_string_print(json,
                    "{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n \"added_tokens\": "
                    "[],\n \"normalizer\": null,\n \"pre_tokenizer\": {\n  \"type\": \"WhitespaceSplit\"\n },\n "
                    "\"post_processor\": null,\n \"decoder\": null,\n \"model\": {\n  \"type\": \"WordLevel\",\n  "
                    "\"vocab\": {\n");
    for (int32_t id = 0; id < lh_event_count(v); id++) {
        char word[16];
        lh_event_word(v, id, word);
        lh_string_print(json, "   \"%s\": %d%s\n", word, id, id + 1 < lh_event_count(v) ? "," : "");
    }
    lh_string_print(json, "  },\n  \"unk_token\": \"\"\n }\n}\n");
    return json->failed ? lh_fail(error, LH_E_MEMORY, "no memory for a vocabulary of events") : LH_OK;
}

/* ---- encoding ---- */

static int compare_notes(const void *a, const void *b)
{
    const lh_note *x = a, *y = b;
    if (x->start != y->start) {
        return x->start < y->start ? -1 : 1;
    }
    if (x->pitch != y->pitch) {
        return x->pitch < y->pitch ? -1 : 1;
    }
    if (x->end != y->end) {
        return x->end < y->end ? -1 : 1;
    }
    return (x->velocity > y->velocity) - (x->velocity < y->velocity);
}

/* One end of a note on the grid; at equal steps the note that comes first in order goes first, its beginning before
 * its end. */
typedef struct edge {
    int64_t step;
    size_t note;
    bool off;
} edge;

static int compare_edges(const void *a, const void *b)
{
    const edge *x = a, *y = b;
    if (x->step != y->step) {
        return x->step < y->step ? -1 : 1;
    }
    if (x->note != y->note) {
        return x->note < y->note ? -1 : 1;
    }
    return (int)x->off - (int)y->off;
}

static lh_status emit(const lh_event_vocabulary *v, lh_ids *ids, event_kind kind, int value, lh_error *error)
{
    int32_t id = event_id(v, kind, value);
    return lh_ids_append(ids, &id, 1, error);
}

static lh_status emit_edges(const lh_performance *p, const lh_event_vocabulary *v, const edge *edges, size_t count,
                            lh_ids *ids, lh_error *error)
{
    int64_t now = 0;
    int velocity = 0;
    for (size_t i = 0; i < count; i++) {
        const lh_note *note = &p->notes[edges[i].note];
        while (edges[i].step > now) {
            int64_t gap = edges[i].step - now < SHIFTS ? edges[i].step - now : SHIFTS;
            LH_TRY(emit(v, ids, EVENT_SHIFT, (int)gap, error));
            now += gap;
        }
        int bin = (note->velocity - 1) / 4 + 1;
        if (!edges[i].off && bin != velocity) {
            LH_TRY(emit(v, ids, EVENT_VELOCITY, bin, error));
            velocity = bin;
        }
        LH_TRY(emit(v, ids, edges[i].off ? EVENT_OFF : EVENT_ON, note->pitch, error));
    }
    return LH_OK;
}

lh_status lh_performance_encode(lh_performance *p, const lh_event_vocabulary *v, lh_ids *ids, lh_error *error)
{
    size_t used = 0;
    edge *edges = lh_heap_alloc(sizeof *edges * (2 * p->note_count + 1));
    if (!edges) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu notes", p->note_count);
    }
    if (p->note_count > 0) { /* the list of none has no address */
        qsort(p->notes, p->note_count, sizeof *p->notes, compare_notes);
    }
    for (size_t i = 0; i < p->note_count; i++) {
        const lh_note *note = &p->notes[i];
        if (note->pitch >= v->first_pitch && note->pitch <= v->last_pitch) {
            int64_t start = (int64_t)floor(STEPS_PER_SECOND * note->start + 0.5);
            int64_t end = (int64_t)floor(STEPS_PER_SECOND * note->end + 0.5);
            edges[used++] = (edge){.step = start, .note = i};
            edges[used++] = (edge){.step = end == start ? end + 1 : end, .note = i, .off = true};
        }
    }
    qsort(edges, used, sizeof *edges, compare_edges);
    lh_status status = v->begin != LH_NO_TOKEN ? lh_ids_append(ids, &v->begin, 1, error) : LH_OK;
    status = status == LH_OK ? emit_edges(p, v, edges, used, ids, error) : status;
    lh_heap_free(edges);
    return status == LH_OK && v->end != LH_NO_TOKEN ? lh_ids_append(ids, &v->end, 1, error) : status;
}

/* ---- decoding ---- */

/* from[pitch]: no open note of this pitch stands before. */
static void close_oldest(lh_performance *p, size_t from[128], int pitch, int64_t step)
{
    for (size_t i = from[pitch]; i < p->note_count; i++) {
        if (p->notes[i].pitch == pitch && p->notes[i].end < 0) {
            p->notes[i].end = (double)step / STEPS_PER_SECOND;
            from[pitch] = i + 1;
            return;
        }
    }
    from[pitch] = p->note_count;
}

lh_status lh_performance_decode(lh_performance *p, const lh_event_vocabulary *v, const int32_t *ids, size_t count,
                                lh_error *error)
{
    size_t first = p->note_count, kept = first, from[128];
    int64_t step = 0;
    int velocity = 100, value = 0;
    for (int pitch = 0; pitch < 128; pitch++) {
        from[pitch] = first;
    }
    for (size_t i = 0; i < count; i++) {
        switch (event_of(v, ids[i], &value)) {
        case EVENT_ON: {
            lh_note note = {
                .start = (double)step / STEPS_PER_SECOND, .end = -1.0, .pitch = value, .velocity = velocity};
            LH_TRY(lh_performance_add_note(p, note, error));
            break;
        }
        case EVENT_OFF: close_oldest(p, from, value, step); break;
        case EVENT_SHIFT: step += value; break;
        case EVENT_VELOCITY: velocity = 1 + 4 * (value - 1); break;
        case EVENT_NONE: break;
        }
    }
    for (size_t i = first; i < p->note_count; i++) {
        lh_note note = p->notes[i];
        note.end = note.end < 0 ? (double)step / STEPS_PER_SECOND : note.end;
        if (note.end > note.start) {
            p->notes[kept++] = note;
        }
    }
    p->note_count = kept;
    return LH_OK;
}
