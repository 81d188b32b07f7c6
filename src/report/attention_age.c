#include "report/attention_age.h"

#include <string.h>

static const char *name_of(const lh_layer_io *io, int source)
{
    return io->source_name[source] ? io->source_name[source] : "keys";
}

/* Sources come with the segment first and then, as read appends them, the oldest first; a report starts with the
 * oldest. */
static int place_of(lh_attention_age *age, const lh_layer_io *io, int source)
{
    const char *name = name_of(io, source);
    if (age->sources == 0) {
        for (int s = 1; s < io->sources; s++) {
            age->source[age->sources++] = name_of(io, s);
        }
        age->source[age->sources++] = name_of(io, 0);
    }
    for (int s = 0; s < age->sources; s++) {
        if (strcmp(age->source[s], name) == 0) {
            return s;
        }
    }
    return -1;
}

void lh_attention_age_observe(void *user, const lh_layer_io *io)
{
    lh_attention_age *age = user;
    lh_context *context = io->context;
    if (!io->whole_segment || !io->lse) {
        return;
    }
    int64_t batch = io->q->shape[0], heads = io->q->shape[1], tokens = io->q->shape[2];
    lh_tensor *mass[LH_ATTENTION_MAX_SOURCES] = {NULL};
    lh_attention_mass(context, io->q, io->sources, io->source, &io->options, io->lse,
                      1.0 / (double)(batch * heads * tokens), mass);
    for (int s = 0; s < io->sources && !lh_op_stopped(context); s++) {
        int64_t keys = mass[s]->shape[1];
        double *host = lh_arena_alloc(&context->arena, sizeof *host * (size_t)(batch * keys + 1));
        int place = place_of(age, io, s);
        if (!host || place < 0) {
            return;
        }
        lh_to_host(context, mass[s], host);
        for (int64_t i = 0; i < batch * keys; i++) {
            age->mass[place][i % keys * LH_AGE_PARTS / keys] += host[i];
        }
    }
    age->layers_seen += 1.0;
}
