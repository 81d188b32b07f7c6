/* Standard MIDI files (MIDI Manufacturers Association, RP-001): reading all of their notes and pedals, and writing
 * notes. */
#include "text/performance.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

typedef struct bytes {
    const unsigned char *at, *end;
    const char *name;
    int track; /* for messages; 0: the header */
    bool failed;
} bytes;

static lh_status broken(const bytes *in, const char *what, lh_error *error)
{
    if (in->track == 0) {
        return lh_fail(error, LH_E_FORMAT, "%s: no MIDI file: %s", in->name, what);
    }
    return lh_fail(error, LH_E_FORMAT, "%s: track %d: %s", in->name, in->track, what);
}

static size_t left(const bytes *in)
{
    return (size_t)(in->end - in->at);
}

static uint32_t take(bytes *in, size_t count)
{
    uint32_t value = 0;
    if (left(in) < count) {
        in->failed = true;
        in->at = in->end;
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        value = value << 8 | *in->at++;
    }
    return value;
}

/* A number of up to four bytes of seven bits each. */
static uint32_t take_length(bytes *in)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t byte = take(in, 1);
        value = value << 7 | (byte & 0x7f);
        if (!(byte & 0x80)) {
            return value;
        }
    }
    in->failed = true;
    return 0;
}

typedef struct tempo {
    uint64_t tick;
    double seconds_per_tick;
    double time; /* of the tick */
} tempo;

/* What is read in ticks, before all tempos are known. */
typedef struct ticked {
    uint64_t tick;
    size_t order;
    uint8_t status, key, value; /* status without its channel; pedal: 0xb0 */
    int instrument;
} ticked;

typedef struct midi {
    bytes file;
    int division;            /* ticks of a quarter note */
    double seconds_per_tick; /* of time code; 0: tempos decide */
    tempo *tempos;
    size_t tempo_count, tempo_capacity;
    ticked *events;
    size_t event_count, event_capacity;
} midi;

static lh_status more(void **items, size_t *capacity, size_t count, size_t size, lh_error *error)
{
    if (count < *capacity) {
        return LH_OK;
    }
    size_t wanted = *capacity ? 2 * *capacity : 512;
    void *moved = lh_heap_realloc(*items, wanted * size);
    if (!moved) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu MIDI events", wanted);
    }
    *items = moved;
    *capacity = wanted;
    return LH_OK;
}

static lh_status add_event(midi *m, ticked event, lh_error *error)
{
    void *items = m->events;
    lh_status status = more(&items, &m->event_capacity, m->event_count, sizeof event, error);
    m->events = items;
    if (status == LH_OK) {
        event.order = m->event_count;
        m->events[m->event_count++] = event;
    }
    return status;
}

static lh_status add_tempo(midi *m, uint64_t tick, uint32_t microseconds, lh_error *error)
{
    void *items = m->tempos;
    lh_status status = more(&items, &m->tempo_capacity, m->tempo_count, sizeof(tempo), error);
    m->tempos = items;
    if (status == LH_OK) {
        double per_tick = (double)microseconds * 1e-6 / (double)m->division;
        m->tempos[m->tempo_count++] = (tempo){.tick = tick, .seconds_per_tick = per_tick};
    }
    return status;
}

static lh_status read_meta(midi *m, bytes *in, uint64_t tick, bool *ended, lh_error *error)
{
    uint32_t kind = take(in, 1), size = take_length(in);
    if (in->failed || left(in) < size) {
        return broken(in, "an event reaches beyond the track's end", error);
    }
    bytes inner = {.at = in->at, .end = in->at + size};
    in->at += size;
    *ended = kind == 0x2f;
    if (kind == 0x51 && size == 3 && m->seconds_per_tick == 0.0) {
        return add_tempo(m, tick, take(&inner, 3), error);
    }
    return LH_OK;
}

static lh_status read_channel_event(midi *m, bytes *in, int status, uint64_t tick, lh_error *error)
{
    int kind = status & 0xf0, channel = status & 0x0f;
    uint32_t key = take(in, 1), value = kind == 0xc0 || kind == 0xd0 ? 0 : take(in, 1);
    if (in->failed || key > 127 || value > 127) {
        return broken(in, in->failed ? "it ends inside an event" : "a data byte is above 127", error);
    }
    bool note = kind == 0x80 || kind == 0x90, pedal = kind == 0xb0 && key == 64;
    if ((!note && !pedal) || channel == 9) {
        return LH_OK;
    }
    if (kind == 0x90 && value == 0) {
        kind = 0x80;
    }
    ticked event = {.tick = tick,
                    .status = (uint8_t)kind,
                    .key = (uint8_t)key,
                    .value = (uint8_t)value,
                    .instrument = in->track * 16 + channel};
    return add_event(m, event, error);
}

static lh_status read_track(midi *m, bytes *in, lh_error *error)
{
    uint64_t tick = 0;
    int running = 0;
    bool ended = false;
    while (left(in) > 0 && !ended) {
        tick += take_length(in);
        int status = left(in) > 0 && *in->at < 0x80 ? running : (int)take(in, 1);
        if (in->failed || tick > INT64_MAX / 2) {
            return broken(in, "it ends inside an event", error);
        }
        if (status == 0xff) {
            LH_TRY(read_meta(m, in, tick, &ended, error));
        } else if (status == 0xf0 || status == 0xf7) {
            uint32_t size = take_length(in);
            if (in->failed || left(in) < size) {
                return broken(in, "an event reaches beyond the track's end", error);
            }
            in->at += size;
        } else if (status >= 0x80 && status < 0xf0) {
            running = status;
            LH_TRY(read_channel_event(m, in, status, tick, error));
        } else {
            return broken(in, "an event has no status", error);
        }
    }
    return LH_OK;
}

static lh_status read_header(midi *m, uint32_t *tracks, lh_error *error)
{
    bytes *in = &m->file;
    if (left(in) < 14 || memcmp(in->at, "MThd", 4) != 0) {
        return broken(in, "it does not begin with MThd", error);
    }
    in->at += 4;
    uint32_t size = take(in, 4), format = take(in, 2);
    *tracks = take(in, 2);
    uint32_t division = take(in, 2);
    if (size < 6 || left(in) < size - 6) {
        return broken(in, "the header has no room for itself", error);
    }
    in->at += size - 6;
    if (format > 1) {
        return lh_fail(error, LH_E_UNSUPPORTED, "%s: a MIDI file of format %u; 0 and 1 are known", in->name,
                       format);
    }
    if (division & 0x8000) { /* frames of a second, as a negative number, and ticks of a frame */
        uint32_t frames = 256 - (division >> 8), ticks = division & 0xff;
        if (frames == 0 || ticks == 0) {
            return broken(in, "the time code has no ticks", error);
        }
        m->seconds_per_tick = 1.0 / (frames == 29 ? 30.0 * 1000.0 / 1001.0 : (double)frames) / (double)ticks;
        m->division = 1;
    } else {
        m->division = (int)division;
    }
    return m->division > 0 ? LH_OK : broken(in, "a quarter note has no ticks", error);
}

static lh_status read_tracks(midi *m, uint32_t tracks, lh_error *error)
{
    bytes *in = &m->file;
    for (int track = 1; track <= (int)tracks && left(in) >= 8; track++) {
        bool known = memcmp(in->at, "MTrk", 4) == 0;
        in->at += 4;
        uint32_t size = take(in, 4);
        if (left(in) < size) {
            in->track = track;
            return broken(in, "it reaches beyond the file's end", error);
        }
        bytes inner = {.at = in->at, .end = in->at + size, .name = in->name, .track = track};
        in->at += size;
        if (!known) {
            track--; /* chunks of other kinds are passed over */
            continue;
        }
        LH_TRY(read_track(m, &inner, error));
    }
    return LH_OK;
}

static int compare_tempos(const void *a, const void *b)
{
    const tempo *x = a, *y = b;
    return (x->tick > y->tick) - (x->tick < y->tick);
}

static int compare_ticked(const void *a, const void *b)
{
    const ticked *x = a, *y = b;
    if (x->instrument != y->instrument) {
        return x->instrument < y->instrument ? -1 : 1;
    }
    if (x->tick != y->tick) {
        return x->tick < y->tick ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

/* The tempo map: 120 quarter notes a minute until told otherwise; of tempos at one tick the last counts. */
static void settle_tempos(midi *m)
{
    double usual = m->seconds_per_tick > 0 ? m->seconds_per_tick : 0.5 / (double)m->division, time = 0.0;
    uint64_t tick = 0;
    if (m->tempo_count > 0) {
        qsort(m->tempos, m->tempo_count, sizeof *m->tempos, compare_tempos);
    }
    m->seconds_per_tick = usual; /* before the first tempo */
    for (size_t i = 0; i < m->tempo_count; i++) {
        time += (double)(m->tempos[i].tick - tick) * usual;
        tick = m->tempos[i].tick;
        usual = m->tempos[i].seconds_per_tick;
        m->tempos[i].time = time;
    }
}

static double seconds_at(const midi *m, uint64_t tick)
{
    size_t low = 0, high = m->tempo_count; /* the last tempo at or before the tick is low - 1 */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->tempos[middle].tick <= tick) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return (double)tick * m->seconds_per_tick;
    }
    const tempo *t = &m->tempos[low - 1];
    return t->time + (double)(tick - t->tick) * t->seconds_per_tick;
}

/* Notes that have begun, of one instrument. */
typedef struct open_note {
    uint64_t tick;
    uint8_t key, velocity;
} open_note;

static lh_status close_notes(const midi *m, lh_performance *p, open_note *open, size_t *count, const ticked *event,
                             lh_error *error)
{
    size_t kept = 0, closed = 0;
    for (size_t i = 0; i < *count; i++) {
        if (open[i].key == event->key && open[i].tick < event->tick) {
            lh_note note = {.start = seconds_at(m, open[i].tick),
                            .end = seconds_at(m, event->tick),
                            .pitch = open[i].key,
                            .velocity = open[i].velocity,
                            .instrument = event->instrument};
            LH_TRY(lh_performance_add_note(p, note, error));
            closed++;
        } else {
            open[kept++] = open[i];
        }
    }
    *count = kept;
    for (size_t i = kept = 0; i < *count; i++) { /* alone and without length: no note */
        if (closed > 0 || open[i].key != event->key) {
            open[kept++] = open[i];
        }
    }
    *count = kept;
    return LH_OK;
}

static lh_status make_notes(midi *m, lh_performance *p, lh_error *error)
{
    size_t count = 0;
    lh_status status = LH_OK;
    open_note *open = lh_heap_alloc(sizeof *open * (m->event_count + 1));
    if (!open) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu MIDI events", m->event_count);
    }
    if (m->event_count > 0) {
        qsort(m->events, m->event_count, sizeof *m->events, compare_ticked);
    }
    for (size_t i = 0; i < m->event_count && status == LH_OK; i++) {
        const ticked *event = &m->events[i];
        count = i > 0 && m->events[i - 1].instrument != event->instrument ? 0 : count; /* never ended: no note */
        if (event->status == 0x90) {
            open[count++] = (open_note){.tick = event->tick, .key = event->key, .velocity = event->value};
        } else if (event->status == 0x80) {
            status = close_notes(m, p, open, &count, event, error);
        } else {
            lh_pedal pedal = {
                .time = seconds_at(m, event->tick), .down = event->value >= 64, .instrument = event->instrument};
            status = lh_performance_add_pedal(p, pedal, error);
        }
    }
    lh_heap_free(open);
    return status;
}

lh_status lh_performance_read_midi(lh_performance *performance, const void *data, size_t size, const char *name,
                                   lh_error *error)
{
    const unsigned char *at = data;
    midi m = {.file = {.at = at, .end = at + size, .name = name}};
    uint32_t tracks = 0;
    lh_status status = read_header(&m, &tracks, error);
    if (status == LH_OK) {
        status = read_tracks(&m, tracks, error);
    }
    if (status == LH_OK) {
        settle_tempos(&m);
        status = make_notes(&m, performance, error);
    }
    lh_heap_free(m.tempos);
    lh_heap_free(m.events);
    return status;
}

/* ---- writing ---- */

typedef struct key_event {
    int64_t tick;
    int order; /* ends before beginnings */
    size_t note;
} key_event;

static int compare_key_events(const void *a, const void *b)
{
    const key_event *x = a, *y = b;
    if (x->tick != y->tick) {
        return x->tick < y->tick ? -1 : 1;
    }
    if (x->order != y->order) {
        return x->order - y->order;
    }
    return (x->note > y->note) - (x->note < y->note);
}

static void put(lh_string *out, uint32_t value, int count)
{
    while (count-- > 0) {
        unsigned char byte = (unsigned char)(value >> (8 * count));
        lh_string_append(out, &byte, 1);
    }
}

static void put_length(lh_string *out, uint32_t value)
{
    for (int shift = 21; shift >= 0; shift -= 7) {
        if (shift == 0 || value >> shift) {
            put(out, (value >> shift & 0x7f) | (shift ? 0x80u : 0u), 1);
        }
    }
}

enum { TICKS_PER_QUARTER = 500, LONGEST_GAP = (1 << 28) - 1 };

lh_status lh_performance_write_midi(const lh_performance *p, lh_string *out, lh_error *error)
{
    key_event *events = lh_heap_alloc(sizeof *events * (2 * p->note_count + 1));
    lh_string track = {0};
    int64_t now = 0;
    if (!events) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu notes", p->note_count);
    }
    for (size_t i = 0; i < 2 * p->note_count; i++) {
        const lh_note *note = &p->notes[i / 2];
        double time = i % 2 ? note->end : note->start;
        events[i] = (key_event){.tick = (int64_t)floor(time * 1000.0 + 0.5), .order = i % 2 ? 0 : 1, .note = i / 2};
    }
    qsort(events, 2 * p->note_count, sizeof *events, compare_key_events);
    put(&track, 0x00ff5103, 4); /* tempo: 500 ticks of 1 ms */
    put(&track, 500000, 3);
    for (size_t i = 0; i < 2 * p->note_count; i++) {
        const lh_note *note = &p->notes[events[i].note];
        int64_t gap = events[i].tick - now;
        put_length(&track, (uint32_t)(gap < 0 ? 0 : gap < LONGEST_GAP ? gap : LONGEST_GAP));
        put(&track, events[i].order ? 0x90 : 0x80, 1);
        put(&track, (uint32_t)note->pitch, 1);
        put(&track, events[i].order ? (uint32_t)note->velocity : 64, 1);
        now = events[i].tick;
    }
    put(&track, 0x00ff2f00, 4);
    lh_string_append(out, "MThd", 4);
    put(out, 6, 4);
    put(out, 0, 2);
    put(out, 1, 2);
    put(out, TICKS_PER_QUARTER, 2);
    lh_string_append(out, "MTrk", 4);
    put(out, (uint32_t)track.size, 4);
    lh_string_append(out, track.data, track.size);
    bool failed = track.failed || out->failed;
    lh_string_free(&track);
    lh_heap_free(events);
    return failed ? lh_fail(error, LH_E_MEMORY, "no memory for a MIDI file of %zu notes", p->note_count) : LH_OK;
}
