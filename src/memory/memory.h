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
    double norm_eps;                                                /* of the model's norms */
    double head_scale; /* the model scales logits per head: its start */
    bool relative;     /* Transformer-XL positions */
    bool same_length;  /* each query sees the same number of keys: the i-th may not see the i oldest */
    int64_t clamp;     /* distances beyond this count as this; 0: no clamp */
    /* Encoder-decoder models: layers of the encoder, which stand behind the decoder's (layer number `layers` is the
     * encoder's first), and the most tokens that it reads. 0: there is no encoder. What `encoder` said. */
    int64_t encoder_layers, source;
} lh_memory_shape;

typedef struct lh_memory lh_memory;

#define LH_MEMORY_MAX_LAYERS 512

/* One layer's parameters that belong to the method; `tensors` is indexed by the kind's own enum. */
#define LH_MEMORY_MAX_PARAMETERS 32
typedef struct lh_memory_parameters {
    lh_tensor *tensors[LH_MEMORY_MAX_PARAMETERS];
} lh_memory_parameters;

/* What a kind that makes the first layer's input itself is given. */
typedef struct lh_entry_io {
    lh_context *context;
    const int32_t *tokens; /* host, [batch, count] */
    int64_t count, fill;   /* tokens of this call; tokens of the segment that came in earlier calls */
    const void *model;     /* for embed */
    /* Rows of the embedding table for host ids [batch, count] (negative: zeros), scaled as the model's own, in the
     * embedding's width: [batch, count, model.embedding_width]. */
    lh_tensor *(*embed)(lh_context *context, const void *model, const int32_t *tokens, int64_t batch,
                        int64_t count);
} lh_entry_io;

/* What an encoder reads: the sources of all lanes, from column 0 on. On the host, in the context's arena. */
typedef struct lh_source {
    int64_t tokens;       /* columns: as many as the longest source has, at least 1 */
    const int32_t *ids;   /* [batch, tokens]; -1 behind the end of a lane's source */
    const uint8_t *valid; /* [batch, tokens]: 1 for tokens, 0 behind the end */
    const int32_t *count; /* [batch] */
} lh_source;

typedef struct lh_retrieved lh_retrieved;

/* The traffic between one layer and its memory in one forward pass. */
typedef struct lh_layer_io {
    /* filled by the layer before project */
    lh_context *context;
    int layer;
    const lh_memory_parameters *parameters;
    lh_tensor *z;     /* [batch, tokens, width]: what entered attention (after the input norm, if any) */
    lh_tensor *input; /* z after its dropout: what q, k and v are projected from */
    lh_tensor *q;     /* [batch, heads, tokens, key_width], scaled; in project [batch, tokens, heads, key_width] */
    lh_tensor *k, *v; /* [batch, kv_heads, fill + tokens, .]: this segment so far; in project this call's, as q */
    int64_t first_key_head; /* k has no heads before this one (idle_keys); 0 but in whole segments */
    int64_t fill;           /* tokens of this segment that came in earlier calls */
    int64_t tokens;         /* tokens of this call */
    bool whole_segment;     /* fill is 0 and tokens is the segment's length: training, and most of evaluation */
    bool segment_ends;      /* fill + tokens is the segment's length: state may be set */
    /* Of the encoder's layers, and of attend_cross: what is read; else NULL. */
    const lh_source *source_tokens;
    bool cross; /* attend_cross: q are the tokens', k and v [batch, kv_heads, source_tokens->tokens, .] the source's
                 */
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

    lh_tensor *head_scale; /* [heads], not negative, on this layer's logits; or NULL. Also in options */
    bool head_norm;        /* each head's queries and keys are normed (lh_layer_norm_heads), with this epsilon */
    double head_eps;       /* and this */
    lh_tensor *head_gain;  /* constant gain [key_width], or NULL */

    /* filled by read */
    lh_key_source source[LH_ATTENTION_MAX_SOURCES]; /* source[0] is this segment, made by the layer; read appends */
    const char *source_name[LH_ATTENTION_MAX_SOURCES]; /* for reports: "segment", "memory", "compressed" */
    int sources;
    lh_attention_options options;

    /* filled by attend when someone observes, or NULL: which old keys each query picked (memory/memorizing.h) */
    const lh_retrieved *retrieved;

    /* filled by attend, or NULL: [batch, tokens, width], added to what attention's output projection gives */
    lh_tensor *extra;
    /* filled by attend, or NULL: [value_width, value_width], a linear layer over what each head gives, before the
     * output projection */
    lh_tensor *head_mixer;
    /* filled by sublayer, or NULL: [batch, 1, 1], what the layer's feed-forward part is multiplied by */
    lh_tensor *hidden_scale;

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
/* Dense attention of io->q on the keys and values of a source: every query sees all tokens of its lane's
 * source_tokens, and none behind their end. With io->options. [batch, heads, tokens, value_width]. */
lh_tensor *lh_layer_attend_source(const lh_layer_io *io);
/* Norms each head's vector [.., key_width] as the layer does with its queries and keys; x itself if it does not. */
lh_tensor *lh_layer_norm_heads(const lh_layer_io *io, lh_tensor *x);

/* Hooks that may be NULL say so. In the order in which one forward pass calls them: enter once, then for each layer
 * project, read, attend (or sublayer in place of these three) and write. After a training iteration: learn. */
typedef struct lh_memory_kind {
    const char *name;                /* the value of memory.kind */
    const char *summary;             /* one line */
    const lh_recipe_key *keys;       /* the [memory] keys that this kind adds, with their condition; or NULL */
    const lh_recipe_preset *presets; /* ends with a NULL name; or NULL */
    const char *const *adjustable;   /* keys that may differ from training when a model is used, NULL-terminated; or
                                        NULL: memory.length and what every model allows */
    bool forgets;                    /* nothing survives a segment: documents are read in windows */
    bool whole_layers_only; /* layers share tensors beside the residual stream: no recomputation of layers */
    bool learns_across;     /* parameters that only gradients between segments reach: training needs
                               train.unroll > 1 and memory.detach = false */
    /* The method in `longhand compare`: what it sets at equal size, as recipe text. In braces stand the sizes that
     * all methods share: {segment}, {width}, {heads}, {layers}, {hidden}, {batch}, and {memory}, how many keys a
     * query may see beyond its segment; with factors and sums, as in {memory/2}, {segment+2*memory}, {layers-1}.
     * What it says of [memory] is weaker than the recipe that is compared by, what it says of other sections is
     * stronger. NULL: the method is not compared. */
    const char *compare;

    /* Reads and checks the configuration; *options (heap memory, freed with lh_heap_free) is handed back in the
     * shape. */
    lh_status (*configure)(const lh_memory_shape *shape, void **options, lh_error *error);
    /* Adds one layer's parameters; layer -1: those that belong to no layer. Values that are learned without
     * gradients (codebooks, centroids) belong to LH_GROUP_STATISTICS. May be NULL. */
    lh_status (*parameters)(const lh_memory_shape *shape, int layer, lh_parameters *list, lh_memory_parameters *out,
                            lh_error *error);
    /* How many of a layer's first heads make no use of their keys: in whole segments these are not computed. NULL:
     * none. */
    int64_t (*idle_keys)(const lh_memory_shape *shape, int layer);
    /* How many positions before the segment a query can look back to in distances: sizes the relative table. */
    int64_t (*history)(const lh_memory_shape *shape);
    /* How many tokens before a segment its state can hold something of; LH_DISTANCE_ANY: all. NULL: history. */
    int64_t (*reach)(const lh_memory_shape *shape);
    /* Mean number of keys that a query of this layer scores, for the arithmetic count. NULL: half the segment plus
     * history. */
    double (*keys_seen)(const lh_memory_shape *shape, int layer);
    /* Floating-point operations of enter for one token, beside one product with each of its parameters. NULL: none.
     */
    double (*entry_flops)(const lh_memory_shape *shape);
    /* Adds the state tensors, layer by layer (lh_memory_layer, lh_memory_add). May be NULL. */
    lh_status (*create)(lh_memory *memory, lh_error *error);
    /* Makes the first layer's input [batch, count, width] in place of embedding and positions. May be NULL. */
    lh_tensor *(*enter)(lh_memory *memory, lh_entry_io *io);
    /* May replace this call's q, k, v [batch, tokens, heads, .] before they are kept. May be NULL. */
    void (*project)(lh_memory *memory, lh_layer_io *io);
    /* Appends key sources to io->source, and may restrict source[0]. May be NULL only with sublayer. */
    void (*read)(lh_memory *memory, lh_layer_io *io);
    /* Replaces lh_attention over io->source for kinds that need more than one softmax; NULL: the usual. Returns
     * [batch, heads, tokens, value_width]; may set io->extra. */
    lh_tensor *(*attend)(lh_memory *memory, lh_layer_io *io);
    /* Replaces the whole sublayer: from io->z (normed) to what joins the residual stream, [batch, tokens, width].
     * io->q, k, v are not made, and the layer has no projections of its own. May be NULL. */
    lh_tensor *(*sublayer)(lh_memory *memory, lh_layer_io *io);
    /* After a whole layer, feed-forward part included: x [batch, rows, width] -> what goes on. Never runs a second
     * time. May be NULL. */
    lh_tensor *(*between)(lh_memory *memory, lh_context *context, int layer, lh_tensor *x);
    /* How many rows each token has in the layers, side by side; enter makes them, and their mean after the final
     * norm leaves the model. NULL: 1. */
    int64_t (*copies)(const lh_memory_shape *shape);
    /* After attention. When io->segment_ends: takes the segment in and may set io->auxiliary. Must not change state
     * while io->context->recomputing. May be NULL. */
    void (*write)(lh_memory *memory, lh_layer_io *io);
    /* Once per training iteration, after its backward pass, with the memories of all parts of the lanes: updates
     * parameters of LH_GROUP_STATISTICS from what the memories gathered in their LH_STATE_STATISTIC entries, and
     * zeroes these. May be NULL. */
    void (*learn)(lh_memory *const *memories, int count, lh_context *context);
    /* Numbers that show whether the method does its work, for logs and reports: calls tell once for each, with a
     * name such as "layer3/kept_p50". Context memory of the call is the caller's to reset. May be NULL. */
    void (*figures)(const lh_memory *memory, lh_context *context,
                    void (*tell)(void *user, const char *name, double value), void *user);
    /* Takes in tokens that stand before the segment without computing anything: tokens [batch, count] (host; a lane
     * with fewer has -1 in front). After a reset, the first of them stands at position[lane] of its document; with
     * position NULL they follow what was taken in before. For kinds that remember tokens; others are NULL. Only
     * where a segment begins. */
    void (*prime)(lh_memory *memory, lh_context *context, const int32_t *tokens, int64_t count,
                  const int64_t *position);
    /* What must be said beside every figure and text of such a model, a few words that live for ever, or NULL. May
     * be NULL. */
    const char *(*note)(const lh_memory_shape *shape);
    /* Why such a model cannot write, as the end of a sentence ("it ..."), or NULL if it can. May be NULL. */
    const char *(*cannot_write)(const lh_memory_shape *shape);
    /* The last `count` tokens that were taken in (at most a segment) will be read again. NULL with carried state:
     * that is impossible. Only where a segment begins, and not in training. */
    void (*unread)(lh_memory *memory, lh_context *context, int64_t count);
    /* Encoder-decoder models; all of these or, but for the two attentions, none. The model runs its layers over the
     * source without a causal mask, once where a segment begins (in inference: once for a source), and each of its
     * other layers looks at the result between attention and feed-forward (docs/adding-a-memory.md). */
    /* How many layers the encoder has, and the most tokens of a source. */
    void (*encoder)(const lh_memory_shape *shape, int64_t *layers, int64_t *source);
    /* Puts tokens [batch, count] (host; -1 in front: none) behind what the lanes' sources have; what is too much is
     * left out. A reset empties a lane's. Only where a segment begins. */
    void (*take_source)(lh_memory *memory, lh_context *context, const int32_t *tokens, int64_t count);
    /* The sources of the running segment. False after an error. */
    bool (*source)(lh_memory *memory, lh_context *context, lh_source *source);
    /* Attention of an encoder's layer: as attend, without a causal mask; memory->valid says what is no padding.
     * NULL: every token sees all of its lane's source. */
    lh_tensor *(*attend_source)(lh_memory *memory, lh_layer_io *io);
    /* What a decoder's layer sees of the source (io->cross): from io->q of this call's tokens and io->k, v of the
     * whole source to [batch, heads, tokens, value_width]; may set io->auxiliary. In inference, what a layer makes
     * of the source alone may be kept in derived entries: derived_valid of the layer falls when a source changes.
     * NULL: dense, lh_layer_attend_source. */
    lh_tensor *(*attend_cross)(lh_memory *memory, lh_layer_io *io);
} lh_memory_kind;

/* NULL-terminated; in memory/registry.c. */
extern const lh_memory_kind *const lh_memory_kinds[];
const lh_memory_kind *lh_memory_kind_find(const char *name); /* NULL if there is none */

typedef enum lh_state_class {
    LH_STATE_CARRIED,   /* from segment to segment: lh_memory_get and _set; f32, f64 or i32; zeroed where a document
                           begins */
    LH_STATE_DERIVED,   /* can be made again from the rest and the weights: never saved */
    LH_STATE_RUNNING,   /* of the running segment, in inference: lh_memory_extend; saved with sessions */
    LH_STATE_STORE,     /* written in place and guarded by a carried counter: neither zeroed nor rolled back */
    LH_STATE_STATISTIC, /* gathered during an iteration for learn: never saved, not of a lane */
} lh_state_class;

/* A memory's non-parameter state for `batch` streams. */
typedef struct lh_state_tensor {
    char name[64];
    lh_state_class class;
    lh_tensor *stored; /* [batch, ...], persistent */
    lh_tensor *live;   /* newer value of the running step, a context tensor, or NULL */
    lh_tensor *base;   /* the value as the running segment found it */
} lh_state_tensor;

#define LH_MEMORY_SCRATCH 64

struct lh_memory {
    const lh_memory_kind *kind;
    const lh_memory_shape *shape;
    const lh_backend *backend;
    lh_dtype dtype;
    int64_t batch;
    lh_state_tensor *state;
    int state_count, state_capacity;
    int layer_first[LH_MEMORY_MAX_LAYERS + 1]; /* index of each layer's first entry */
    /* The method's parameters: of the layers, and those of no layer. The model's; set before create. */
    const lh_memory_parameters *const *parameters;
    const lh_memory_parameters *entry_parameters;
    bool inference;  /* weights will not change: projections of the memory may be kept between calls */
    bool keep_graph; /* new memories keep their gradient path within the step (several segments in one graph) */
    bool derived_valid[LH_MEMORY_MAX_LAYERS]; /* per layer: its derived entries are up to date */
    int64_t segments; /* segments taken in since creation or the last reset of all streams */
    int64_t unroll;   /* segments of one graph, at most; 1 in inference */
    /* [batch, count] of the running call, host, or NULL: 0 where the token is padding, which statistics and
     * auxiliary losses leave out. Set by the caller of lh_model_forward. */
    const uint8_t *valid;
    /* Tensors that one layer of a forward pass leaves for later ones; the kind pins them. Cleared when a segment
     * begins. Kinds that use them are whole_layers_only. */
    lh_tensor *scratch[LH_MEMORY_SCRATCH];
    void *passing; /* what enter leaves for between, in the context's arena; NULL where a forward pass begins */
    /* Attention statistics for reports, or NULL: called after each layer's attention with its sources and lse. */
    void (*observe)(void *user, const lh_layer_io *io);
    void *observe_user;
};

/* What a memory is made for. The pointers must outlive it. */
typedef struct lh_memory_options {
    const lh_memory_kind *kind;
    const lh_memory_shape *shape;
    const lh_memory_parameters *const *parameters; /* one for each layer, and of no layer: NULL for kinds that do */
    const lh_memory_parameters *entry_parameters;  /* not look at them */
    const lh_backend *backend;
    lh_dtype dtype;
    int64_t batch;
    int64_t unroll; /* segments of one graph; 0 counts as 1 */
    bool inference; /* the weights will not change while it lives: projections of what is remembered are kept */
} lh_memory_options;

/* All state starts as zeros. */
lh_status lh_memory_create(lh_memory **memory, const lh_memory_options *options, lh_error *error);
void lh_memory_free(lh_memory *memory);
/* For kinds, in create: the entries that are added from here on are this layer's. */
void lh_memory_layer(lh_memory *memory, int layer);
/* Adds an entry of zeros; shape[0] is memory->batch but for statistics. */
lh_status lh_memory_add(lh_memory *memory, lh_state_class class, lh_dtype dtype, int ndim, const int64_t *shape,
                        lh_error *error, const char *name, ...) LH_PRINTF(7, 8);
/* Adds carried state [batch, rows, columns] (columns 0: [batch, rows]) of the memory's dtype. */
lh_status lh_memory_add_state(lh_memory *memory, int64_t rows, int64_t columns, lh_error *error, const char *name,
                              ...) LH_PRINTF(5, 6);
/* Adds a derived tensor of any shape. */
lh_status lh_memory_add_derived(lh_memory *memory, int ndim, const int64_t *shape, lh_error *error,
                                const char *name, ...) LH_PRINTF(5, 6);
/* The index of a layer's entry number `which`, counted in the order in which it was added. */
int lh_memory_entry(const lh_memory *memory, int layer, int which);
/* A segment begins: what read and write see from now on is the state as it is here, also when a checkpointed span
 * runs a second time. The model calls this. */
void lh_memory_begin(lh_memory *memory);
/* What a segment found, for the second run of its checkpointed spans: several segments of one graph may have run by
 * then. `seen` (NULL: no memory) lives in the context's arena until the step ends. */
typedef struct lh_memory_seen {
    lh_tensor **base;
    const uint8_t *valid;
    int64_t segments; /* once the segment is over */
} lh_memory_seen;
lh_memory_seen *lh_memory_look(const lh_memory *memory, lh_context *context);
/* Exchanges what the memory shows with `seen`; a second call undoes it. */
void lh_memory_swap(lh_memory *memory, lh_memory_seen *seen);
/* For kinds: the value that the segment found (of a derived entry: the newest), and its replacement. */
lh_tensor *lh_memory_get(const lh_memory *memory, int index);
void lh_memory_set(lh_memory *memory, lh_context *context, int index, lh_tensor *value);
/* For kinds: appends rows [batch, tokens, ...] to a running entry [batch, segment, ...] behind its first `fill`
 * rows and returns the view of all fill + tokens rows. Where the segment came whole (training) there is no entry to
 * write to: index -1 gives the rows back. */
lh_tensor *lh_memory_extend(lh_memory *memory, lh_context *context, int index, int64_t fill, lh_tensor *rows);
/* Copies one tensor's values into another of the same shape and dtype, both strided, off the tape. */
void lh_memory_copy_values(lh_context *context, const lh_tensor *from, const lh_tensor *to);

/* End of an optimizer step or of a call: what is live is copied into the stored tensors and detached. Call before
 * lh_context_reset. */
void lh_memory_commit(lh_memory *memory, lh_context *context);
/* Forgets the live values (the step failed): the stored state stands. */
void lh_memory_rollback(lh_memory *memory);
/* Zeroes one stream (a document begins), or all for stream -1. */
void lh_memory_reset(lh_memory *memory, lh_context *context, int64_t stream);
/* Copies the whole state of one memory into another of the same kind, shape and batch. */
lh_status lh_memory_copy(lh_memory *to, const lh_memory *from, lh_error *error);
/* Is an entry of this class part of a checkpoint (session false) or of a session file (true)? */
bool lh_state_saved(lh_state_class class, bool session);
/* Bytes of state of one stream: what is carried and stored. */
int64_t lh_memory_stream_bytes(const lh_memory *memory);
/* Bytes that the running segment of one stream takes in inference, beside what the stack keeps itself. */
int64_t lh_memory_running_bytes(const lh_memory *memory);

#endif
