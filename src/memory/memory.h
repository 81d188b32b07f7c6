/* The memory contract: a long-context method is a choice of which keys a query sees and where they come from.
 *
 * A method is one lh_memory_kind: a struct of functions in its own file. The decoder layer asks it for key sources
 * before attention (read) and tells it what was computed after (write); the trainer, the sampler and the evaluator
 * see only the functions at the end of this page. */
#ifndef LH_MEMORY_MEMORY_H
#define LH_MEMORY_MEMORY_H

#include "autograd/parameters.h"
#include "formats/recipe.h"
#include "ops/ops.h"

/* What a memory needs to know of its model. The model fills it in; it outlives its memories. */
typedef struct lh_memory_shape {
    int64_t layers, width, heads, kv_heads, key_width, value_width; /* key_width, value_width are per head */
    int64_t segment;                                                /* n_s: tokens of one segment */
    const lh_recipe *recipe;                                        /* section [memory], resolved */
    const void *options;                                            /* the kind's own parsed configuration */
    bool relative;                                                  /* Transformer-XL positions */
    bool same_length; /* each query sees the same number of keys: the i-th may not see the i oldest */
    int64_t clamp;    /* distances beyond this count as this; 0: no clamp */
} lh_memory_shape;

typedef struct lh_memory lh_memory;

#define LH_MEMORY_MAX_LAYERS 512

/* One layer's parameters that belong to the method; `tensors` is indexed by the kind's own enum. */
#define LH_MEMORY_MAX_PARAMETERS 24
typedef struct lh_memory_parameters {
    lh_tensor *tensors[LH_MEMORY_MAX_PARAMETERS];
} lh_memory_parameters;

/* The traffic between one layer and its memory in one forward pass. */
typedef struct lh_layer_io {
    /* filled by the layer before read */
    lh_context *context;
    int layer;
    const lh_memory_parameters *parameters;
    lh_tensor *z;       /* [batch, tokens, width]: what entered attention (after the input norm, if any) */
    lh_tensor *q;       /* [batch, heads, tokens, key_width], scaled */
    lh_tensor *k, *v;   /* [batch, kv_heads, fill + tokens, .]: this segment so far */
    int64_t fill;       /* tokens of this segment that came in earlier calls */
    bool whole_segment; /* fill is 0 and tokens is the segment's length: training, and most of evaluation */
    lh_tensor *key_value_weight; /* [kv_heads (key_width + value_width), width] */
    lh_tensor *key_value_bias;   /* or NULL */
    /* Relative positions of the layer, or NULL: R[h][distance] for distances 0 .. , u, w. */
    lh_tensor *relative, *content_bias, *position_bias;
    /* Additive bias by distance 0 .. (T5, ALiBi), or NULL. */
    lh_tensor *distance_bias;
    bool distance_bias_scaled;
    const lh_rope_options *rope; /* rotary positions, or NULL */
    double attention_dropout, position_dropout;
    lh_tensor
        *sinusoids; /* [distances, width]: the table that `relative` was projected from, for kinds with their own */

    /* filled by read */
    lh_key_source source[LH_ATTENTION_MAX_SOURCES]; /* source[0] is this segment, made by the layer; read appends */
    const char *source_name[LH_ATTENTION_MAX_SOURCES]; /* for reports: "segment", "memory", "compressed" */
    int sources;
    lh_attention_options options;

    /* filled by the layer before write */
    lh_tensor *lse;       /* [batch, heads, tokens] */
    lh_tensor *segment_z; /* [batch, segment, width] when a segment is complete, else NULL */

    /* filled by write */
    lh_tensor *auxiliary; /* [1]: this layer's auxiliary loss, or NULL */
} lh_layer_io;

/* Projects hidden states [batch, n, width] (memories, say) to keys and values with the layer's own weights and
 * gives keys their position: the first of them stands `distance` tokens before the segment's first token. */
void lh_layer_project(lh_layer_io *io, lh_tensor *hidden, int64_t distance, lh_tensor **k, lh_tensor **v);
/* Places a source: its key j stands `distance` - j tokens before the segment's first token (so distance = length
 * for a memory that ends where the segment begins). Sets the layer's relative, T5 or ALiBi terms; all keys stay
 * visible. */
void lh_layer_place(const lh_layer_io *io, lh_key_source *source, int64_t distance);

typedef struct lh_memory_kind {
    const char *name;          /* the value of memory.kind */
    const char *summary;       /* one line */
    const lh_recipe_key *keys; /* the [memory] keys that this kind adds, with their condition; or NULL */

    /* Reads and checks the configuration; *options (heap memory, freed with lh_heap_free) is handed back in the
     * shape. */
    lh_status (*configure)(const lh_memory_shape *shape, void **options, lh_error *error);
    /* Adds one layer's parameters. May be NULL. */
    lh_status (*parameters)(const lh_memory_shape *shape, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error);
    /* How many positions before the segment a query can look back to in distances: sizes the relative table. */
    int64_t (*history)(const lh_memory_shape *shape);
    /* Adds the state tensors with lh_memory_add_state. May be NULL. */
    lh_status (*create)(lh_memory *memory, lh_error *error);
    /* Appends key sources to io->source. */
    void (*read)(lh_memory *memory, lh_layer_io *io);
    /* Replaces lh_attention over io->source for kinds that need more than one softmax; NULL: the usual. Returns
     * [batch, heads, tokens, value_width]. */
    lh_tensor *(*attend)(lh_memory *memory, lh_layer_io *io);
    /* After attention. When io->segment_z is there: takes the segment in and may set io->auxiliary. Must not change
     * state while io->context->recomputing. May be NULL. */
    void (*write)(lh_memory *memory, lh_layer_io *io);
} lh_memory_kind;

/* NULL-terminated; in memory/registry.c. */
extern const lh_memory_kind *const lh_memory_kinds[];
const lh_memory_kind *lh_memory_kind_find(const char *name); /* NULL if there is none */

/* A memory's non-parameter state for `batch` streams. */
typedef struct lh_state_tensor {
    char name[64];
    lh_tensor *stored; /* [batch, ...], persistent */
    lh_tensor *live;   /* newer value of the running step, a context tensor, or NULL */
    lh_tensor *base;   /* the value as the running segment found it */
    bool derived;      /* can be made again from the rest: not saved */
} lh_state_tensor;

struct lh_memory {
    const lh_memory_kind *kind;
    const lh_memory_shape *shape;
    const lh_backend *backend;
    lh_dtype dtype;
    int64_t batch;
    lh_state_tensor *state;
    int state_count, state_capacity;
    int state_per_layer; /* set by create when every layer has the same entries, in order of layers */
    bool inference;      /* weights will not change: projections of the memory may be kept between calls */
    bool keep_graph;     /* new memories keep their gradient path within the step (several segments in one graph) */
    bool derived_valid[LH_MEMORY_MAX_LAYERS]; /* per layer: its derived entries are up to date */
    int64_t segments; /* segments taken in since creation or the last reset of all streams */
    /* Attention statistics for reports, or NULL: called after each layer's attention with its sources and lse. */
    void (*observe)(void *user, const lh_layer_io *io);
    void *observe_user;
};

/* `shape` must outlive the memory. All state starts as zeros. inference: the weights will not change while this
 * memory lives, so that projections of what is remembered are kept between calls. */
lh_status lh_memory_create(lh_memory **memory, const lh_memory_kind *kind, const lh_memory_shape *shape,
                           const lh_backend *backend, lh_dtype dtype, int64_t batch, bool inference,
                           lh_error *error);
void lh_memory_free(lh_memory *memory);
/* For kinds: adds [batch, rows, columns] (columns 0: [batch, rows]) of zeros. Entries of a layer follow each other
 * and every layer adds the same ones. */
lh_status lh_memory_add_state(lh_memory *memory, int64_t rows, int64_t columns, lh_error *error, const char *name,
                              ...) LH_PRINTF(5, 6);
/* The same for a tensor of any shape that can be made again from the state and the weights: never saved. */
lh_status lh_memory_add_derived(lh_memory *memory, int ndim, const int64_t *shape, lh_error *error,
                                const char *name, ...) LH_PRINTF(5, 6);
/* A segment begins: what read and write see from now on is the state as it is here, also when a checkpointed span
 * runs a second time. The model calls this. */
void lh_memory_begin(lh_memory *memory);
/* For kinds: the value that the segment found (of a derived entry: the newest), and its replacement. */
lh_tensor *lh_memory_get(const lh_memory *memory, int index);
void lh_memory_set(lh_memory *memory, lh_context *context, int index, lh_tensor *value);

/* End of an optimizer step or of a call: what is live is copied into the stored tensors and detached. Call before
 * lh_context_reset. */
void lh_memory_commit(lh_memory *memory, lh_context *context);
/* Forgets the live values (the step failed): the stored state stands. */
void lh_memory_rollback(lh_memory *memory);
/* Zeroes one stream (a document begins), or all for stream -1. */
void lh_memory_reset(lh_memory *memory, lh_context *context, int64_t stream);
/* Copies the whole state of one memory into another of the same kind, shape and batch. */
lh_status lh_memory_copy(lh_memory *to, const lh_memory *from, lh_error *error);
/* Bytes of state of one stream, derived tensors not counted. */
int64_t lh_memory_stream_bytes(const lh_memory *memory);

#endif
