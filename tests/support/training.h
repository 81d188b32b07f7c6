/* Small trainings on made-up text, for the tests of the trainer. */
#ifndef LH_TESTS_TRAINING_H
#define LH_TESTS_TRAINING_H

#include "base/memory.h"
#include "train/trainer.h"

#include <string.h>

enum { TINY_VOCAB = 11, TINY_TOKENS = 1500, TINY_DOCUMENTS = 30 };

typedef struct tiny {
    lh_recipe *recipe;
    lh_split *split;
    uint32_t token_bytes[TINY_VOCAB];
    lh_training *training;
    lh_error error;
} tiny;

static const char tiny_text[] = "[data]\npath = nowhere\nbatch = 2\n"
                                "[model]\nlayers = 2\nwidth = 16\nheads = 2\nhidden = 32\nsegment = 8\n"
                                "positions = relative\ninit = sonnet\n"
                                "[train]\nsteps = 1000\nthreads = 1\nseed = 7\nwarmup = 0\nschedule = constant\n";

/* Settings beside tiny_text, as on a command line. */
#define TINY_XL "memory.kind=transformer-xl", "memory.length=8"
#define TINY_COMPRESSIVE "memory.kind=compressive", "memory.length=8", "memory.compressed=4", "memory.rate=2"
#define TINY_MEMORIZING                                                                                      \
    "memory.kind=memorizing", "memory.window=8", "memory.size=20", "memory.neighbours=3", "memory.layers=1", \
        "model.positions=t5", "model.t5_buckets=8", "model.t5_distance=16", "model.qk_norm=l2"
#define TINY_VQ                                                                                \
    "memory.kind=transformer-vq", "memory.codes=7", "memory.length=8", "model.positions=none", \
        "model.projection_bias=false", "model.norm=rms", "model.norm_bias=true"
#define TINY_VQ_DROPOUT "model.dropout=0.2", "memory.sinusoid_dropout=0.2", "memory.layer_dropout=0.3"
#define TINY_ROUTING                                                                                               \
    "memory.kind=routing", "model.positions=none", "memory.clusters=3", "memory.cluster_size=4", "memory.block=4", \
        "memory.look_back=4", "memory.distance=5"
#define TINY_BLOCKS                                                                                    \
    "memory.kind=block-recurrent", "memory.window=8", "memory.states=4", "memory.recurrent_layers=-1", \
        "model.positions=t5", "model.t5_buckets=8", "model.t5_distance=16", "model.qk_norm=l2", "train.unroll=2"
#define TINY_DROPOUT                                                                                               \
    "model.dropout=0.2", "model.attention_dropout=0.1", "model.hidden_dropout=0.1", "model.embedding_dropout=0.1", \
        "model.position_dropout=0.1"

/* A text that can be learned: each token follows from the one before, but for a jump now and then (about 0.3 nats
 * per token). Documents of different lengths. */
static inline lh_status tiny_split(lh_split **split, lh_error *error)
{
    static int32_t tokens[TINY_TOKENS];
    uint64_t lengths[TINY_DOCUMENTS], left = TINY_TOKENS;
    uint32_t noise = 12345;
    for (int i = 0; i < TINY_TOKENS; i++) {
        noise = noise * 1664525u + 1013904223u;
        bool jump = i == 0 || noise >> 28 == 0;
        tokens[i] = jump ? (int32_t)(noise >> 16) % TINY_VOCAB : (tokens[i - 1] + 4) % TINY_VOCAB;
    }
    for (int i = 0; i < TINY_DOCUMENTS; i++) {
        lengths[i] = i + 1 < TINY_DOCUMENTS ? 20 + (uint64_t)(i * 7 % 41) : left;
        left -= lengths[i];
    }
    return lh_split_create(split, tokens, lengths, TINY_DOCUMENTS, TINY_VOCAB, error);
}

/* Which tokens of the text are answers, or NULL: it is an ordinary one. */
static const uint32_t *tiny_answers;

/* settings: NULL-terminated "section.key=value". */
static inline lh_status tiny_open_on(tiny *t, const char *const *settings, lh_dtype dtype,
                                     const lh_backend *backend)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < TINY_VOCAB; i++) {
        t->token_bytes[i] = (uint32_t)(i % 3);
    }
    LH_TRY(tiny_split(&t->split, &t->error));
    if (tiny_answers) {
        LH_TRY(lh_split_set_answers(t->split, tiny_answers, &t->error));
    }
    LH_TRY(lh_train_recipe_create(&t->recipe, &t->error));
    LH_TRY(lh_recipe_read_text(t->recipe, "tiny", tiny_text, strlen(tiny_text), &t->error));
    for (int i = 0; settings && settings[i]; i++) {
        LH_TRY(lh_recipe_override(t->recipe, settings[i], &t->error));
    }
    LH_TRY(lh_recipe_resolve(t->recipe, &t->error));
    lh_train_source source = {.split = t->split, .token_bytes = t->token_bytes, .vocab = TINY_VOCAB};
    return lh_training_create(&t->training, t->recipe, &source, backend, dtype, &t->error);
}

static inline lh_status tiny_open(tiny *t, const char *const *settings, lh_dtype dtype)
{
    return tiny_open_on(t, settings, dtype, lh_backend_cpu());
}

static inline void tiny_close(tiny *t)
{
    lh_training_free(t->training);
    lh_recipe_free(t->recipe);
    lh_split_free(t->split);
}

#endif
