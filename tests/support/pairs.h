/* Pairs of a source and its target beside tiny_model.h: a routing-pairs model that reads them. */
#ifndef LH_TESTS_PAIRS_H
#define LH_TESTS_PAIRS_H

#include "support/tiny_model.h"

#define PAIRS_SIZES                                                                                              \
    "model.layers=2", "model.width=12", "model.heads=3", "model.hidden=16", "model.segment=10",                  \
        "model.positions=none", "model.norm_layout=output", "model.final_norm=false", "model.init=unit-uniform", \
        "model.tied=false", "model.input_projection=linear", "model.embedding_width=10"
#define PAIRS_MEMORY                                                                                 \
    "memory.kind=routing-pairs", "memory.encoder_layers=2", "memory.source=20", "memory.clusters=3", \
        "memory.cluster_size=8", "memory.block=4", "memory.look_back=4", "memory.distance=6"
#define PAIRS PAIRS_SIZES, PAIRS_MEMORY

enum { PAIRS_SEGMENT = 10, PAIRS_WIDTH = 12, PAIRS_SOURCE = 20 };

/* `lengths[lane]` random tokens of a source each, right-aligned in rows of `columns`. */
static inline void pairs_draw(int32_t *source, int64_t lanes, int64_t columns, const int64_t *lengths,
                              uint64_t seed)
{
    for (int64_t lane = 0; lane < lanes; lane++) {
        for (int64_t i = 0; i < columns; i++) {
            uint32_t words[4];
            int64_t place = i - (columns - lengths[lane]);
            lh_philox(seed, (uint64_t)lane, (uint64_t)(place + 1000), words);
            source[lane * columns + i] = place < 0 ? -1 : (int32_t)(words[0] % 11);
        }
    }
}

/* Forgets everything and takes in the sources. */
static inline void pairs_begin(tiny *t, const int32_t *source, int64_t columns)
{
    lh_error error = {0};
    tiny_check(lh_stream_reset(t->stream, t->context, -1, &error), &error);
    t->model->memory_kind->take_source(t->stream->memory, t->context, source, columns);
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
}

#endif
