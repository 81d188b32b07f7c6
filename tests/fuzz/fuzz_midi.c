/* Any bytes as a MIDI file: refused with a sentence, or notes that can be encoded, decoded and written. */
#include "text/performance.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lh_performance p = {0}, back = {0};
    lh_error error = {0};
    lh_ids ids = {0};
    lh_string out = {0};
    lh_status status = lh_performance_read_midi(&p, data, size, "fuzz", &error);
    if (status != LH_OK && !error.message[0]) {
        abort();
    }
    /* Ticks may mean centuries, each of which is many shifts: only what plays in an hour goes on. */
    double last = 0;
    for (size_t i = 0; i < p.note_count; i++) {
        last = p.notes[i].end > last ? p.notes[i].end : last;
    }
    for (size_t i = 0; i < p.pedal_count; i++) {
        last = p.pedals[i].time > last ? p.pedals[i].time : last;
    }
    if (status == LH_OK && last < 3600.0) {
        if (lh_performance_sustain(&p, &error) != LH_OK ||
            lh_performance_encode(&p, &lh_events_perceiver, &ids, &error) != LH_OK ||
            lh_performance_decode(&back, &lh_events_perceiver, ids.data, ids.size, &error) != LH_OK ||
            lh_performance_write_midi(&back, &out, &error) != LH_OK || back.note_count > p.note_count) {
            abort();
        }
    }
    lh_performance_free(&p);
    lh_performance_free(&back);
    lh_ids_free(&ids);
    lh_string_free(&out);
    return 0;
}
