/* Routing Transformer (Roy, Saffar, Vaswani, Grangier 2021), what its files share. docs/methods/routing.md tells
 * the method.
 *
 * In a layer's heads, in this order: routing heads, whose queries see the members of their k-means cluster;
 * cluster-strided heads, whose clusters are spread over near and far tokens; strided heads, which see the same
 * place of every earlier block; local heads, which see their own block and those before it. Layers before
 * skip_first have local heads only. */
#ifndef LH_MEMORY_ROUTING_H
#define LH_MEMORY_ROUTING_H

#include "memory/memory.h"

/* Who may compete for a place in a cluster. */
typedef enum lh_routing_mode {
    LH_ROUTING_CAUSAL, /* each token belongs to its nearest centroid and sees the latest members */
    LH_ROUTING_PREFIX, /* a centroid takes the best of the tokens so far */
    LH_ROUTING_FULL,   /* as published: a centroid takes the best of the whole window, later tokens included */
} lh_routing_mode;

/* What scores a token for a cluster. */
typedef enum lh_routing_assignment {
    LH_ROUTING_BY_CENTROIDS,
    LH_ROUTING_AT_RANDOM, /* numbers that are drawn, not computed: the paper's baseline */
    LH_ROUTING_BY_HASH,   /* signs of fixed projections: 1 for the bucket of the token, 0 for others */
} lh_routing_assignment;

/* An image: tokens are channel values, in blocks of rows and columns, within a block row by row. */
typedef struct lh_routing_image {
    int64_t height, width, channels;   /* 0: text */
    int64_t values;                    /* of a channel: the model's vocabulary */
    int64_t classes;                   /* of images; the token in front of one is its class. 0: none */
    double scale;                      /* of embeddings */
    int64_t block_height, block_width; /* in pixels times channels along the width; 0: one row after another */
    int64_t look_back_height, look_back_width; /* the same, of what local heads see */
} lh_routing_image;

#define LH_ROUTING_EXTRA 0.01 /* of the published average over a token's copies: their sum / (number + this) */

typedef struct lh_routing {
    lh_routing_mode mode;
    int64_t heads, strided, skip_first; /* routing and strided heads of a layer that has them */
    int64_t spread;                     /* cluster-strided heads */
    int64_t clusters, size;             /* K; w members at most */
    int64_t block, look_back;           /* Q, F in tokens */
    int64_t distance;                   /* R: the farthest distance with an entry of its own in the tables */
    bool relative, cluster_relative;    /* Shaw's tables for local and for routing heads */
    bool mixer;                         /* a linear layer over each head's output, one for all heads */
    bool share_keys;                    /* keys are the queries */
    lh_routing_assignment assignment;
    double commitment, decay, scale;
    lh_centroid_start start;
    lh_routing_image image;
    int64_t encoder_layers, source, source_size; /* of an encoder: layers, tokens, members of a cluster at most */
    bool cross;                                  /* cross attention in clusters and blocks; false: dense */
    int64_t cross_heads, cross_block;            /* heads of it that route; tokens of the source's blocks */
} lh_routing;

/* Parameters of a layer, and of no layer. */
enum {
    LH_ROUTING_LOCAL_KEYS, /* [2 R + 1, .]: row R + d for distance d */
    LH_ROUTING_LOCAL_VALUES,
    LH_ROUTING_CLUSTER_KEYS,
    LH_ROUTING_CLUSTER_VALUES,
    LH_ROUTING_MIXER,           /* [value_width, value_width] */
    LH_ROUTING_CENTROIDS,       /* [heads, clusters, key_width] */
    LH_ROUTING_MEANS,           /* the same */
    LH_ROUTING_COUNTS,          /* [heads, clusters]; -1 before the first step */
    LH_ROUTING_PROJECTIONS,     /* [heads, log2 clusters, key_width] in place of centroids; never changed */
    LH_ROUTING_CROSS_CENTROIDS, /* of cross attention, in the same order and shapes */
    LH_ROUTING_CROSS_MEANS,
    LH_ROUTING_CROSS_COUNTS,
};
enum {
    LH_ROUTING_CHANNELS, /* [256 (channels - 1), width]: the first channel's are the model's embedding */
    LH_ROUTING_ROWS,     /* [max(height, width, channels) channels, width] */
    LH_ROUTING_COLUMNS,
    LH_ROUTING_CLASSES, /* [classes, width] */
};
/* State of no layer: where images have classes, in inference the running image's, i32 [batch, 1]. */
enum { LH_ROUTING_CLASS };
/* State of a layer that routes: statistics in training, what a running window leaves behind in inference. */
enum {
    LH_ROUTING_SUM, /* of queries: [heads, clusters, key_width] */
    LH_ROUTING_TOTAL,
    LH_ROUTING_KEY_SUM, /* the same of keys that are not the queries */
    LH_ROUTING_KEY_TOTAL,
};
enum { LH_ROUTING_CROSS_MEMBERS }; /* of cross attention, inference: i32 [batch, heads, clusters, source_size] */
enum { LH_ROUTING_NEAR };          /* causal: the keys' clusters, i32 [batch, segment, heads] */
enum { LH_ROUTING_SCORES };        /* prefix: [batch, segment, heads clusters] */

/* How many heads of a layer have clusters (routing and cluster-strided ones), or are strided. Layers from
 * shape->layers on are an encoder's. */
int64_t lh_routing_heads(const lh_memory_shape *shape, int layer);
int64_t lh_routing_strided(const lh_memory_shape *shape, int layer);
/* Are a layer's queries its keys in clusters? Never in an encoder. */
bool lh_routing_shares_keys(const lh_memory_shape *shape, int layer);
/* "layers.3" or "encoder.1" */
#define LH_ROUTING_STACK 32
const char *lh_routing_layer_name(const lh_memory_shape *shape, int layer, char name[LH_ROUTING_STACK]);

/* Index of a layer's entry, of its own attention or of its cross attention. */
int lh_routing_entry(const lh_memory *memory, int layer, bool cross, int which);

/* What up to three kinds of heads give, one behind the other. */
lh_tensor *lh_routing_join_heads(lh_context *context, lh_tensor **parts, int count);
/* One kind of heads each, [batch, heads, tokens, value_width]. */
lh_tensor *lh_routing_attend_local(lh_memory *memory, lh_layer_io *io, int64_t first, int64_t heads);
lh_tensor *lh_routing_attend_strided(lh_memory *memory, lh_layer_io *io, int64_t first, int64_t heads);
lh_tensor *lh_routing_attend_routing(lh_memory *memory, lh_layer_io *io, int64_t heads);
/* Routing heads with memory.share_keys = false. */
lh_tensor *lh_routing_attend_keys(lh_memory *memory, lh_layer_io *io, int64_t heads);

/* What a head compares with centroids: layer norm over the head's width, without gain and bias. rows
 * [batch, ., ., key_width] -> the same shape. The published code norms q / sqrt(key_width) with an epsilon of 1e-6.
 */
lh_tensor *lh_routing_norm(lh_context *context, lh_tensor *rows);
/* The centroids of the layer's attention (io->cross: of its cross attention) for each lane, a constant:
 * [batch, heads, clusters, key_width]. */
lh_tensor *lh_routing_centroids(lh_memory *memory, lh_layer_io *io);
/* Scores of x [batch, heads, tokens, key_width], tokens from `place` of the window on, a constant:
 * [batch, heads, clusters, tokens]. keys: x are keys that are not the queries. */
lh_tensor *lh_routing_scores(lh_memory *memory, lh_layer_io *io, lh_tensor *x, int64_t place, bool keys);
/* Random scores: the next window of training gets others. */
void lh_routing_draw_anew(const lh_memory *memory, lh_context *context);
/* The nearest centroid of each row, by its score: i32 [batch, heads, tokens]. */
lh_tensor *lh_routing_nearest(lh_memory *memory, lh_layer_io *io, lh_tensor *x, int64_t place, bool keys);
/* Full mode: the tokens of the window x that each centroid takes, i32 [batch, heads, clusters places], rising in
 * each cluster; -1s at its end where there is too little text. In training *near is as from lh_routing_nearest. */
lh_tensor *lh_routing_members(lh_memory *memory, lh_layer_io *io, lh_tensor *x, bool keys, lh_tensor **near);
/* Causal mode, few new tokens behind many: each gathers its own list. Queries, keys and values of which the first
 * holds this call's tokens only; near: the keys' clusters; own: the queries', or NULL: they are the keys. */
lh_tensor *lh_routing_attend_lists(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3], lh_tensor *near,
                                   lh_tensor *own);
/* The same from lists that are known: list i32 [batch, heads, tokens, places], of which the first `first`, i32
 * [batch, heads, tokens], are empty (-1). In cross attention keys are as they come, not yet normed. */
lh_tensor *lh_routing_attend_picked(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3], lh_tensor *list,
                                    lh_tensor *first);
/* Are lists of `size` keys cheaper for so many new tokens than the whole window or source? */
bool lh_routing_lists_pay(int64_t size, int64_t tokens, int64_t length);
/* Attention inside clusters. q, k, v [batch, heads, tokens, .]; `queries` and `keys` say which token stands at each
 * place (the same grouping twice with shared keys); low and high bound the places of keys that a query's place
 * sees. Averages what each token gets: divisor (number + extra). */
lh_tensor *lh_routing_in_clusters(lh_memory *memory, lh_layer_io *io, lh_tensor *const qkv[3],
                                  const lh_grouping *queries, const lh_grouping *keys, lh_tensor *low,
                                  lh_tensor *high, double extra);
/* Queries x and keys y that were sorted into clusters each on their own, attending inside them: by their times, or,
 * beside a source, all of a cluster. Of the groupings, start and order are used. */
lh_tensor *lh_routing_attend_sorted(lh_memory *memory, lh_layer_io *io, lh_tensor *const xyv[3],
                                    const lh_grouping *queries, const lh_grouping *keys, double extra);
/* Where clusters begin in members [batch, heads, clusters places]: i32 [batch, heads, clusters + 1]. */
lh_tensor *lh_routing_fixed_starts(lh_layer_io *io, const lh_tensor *members, int64_t clusters);
/* A place's keys stand at distances 0 .. longest - 1 in the layer's cluster tables, for `heads` heads. */
void lh_routing_place(lh_memory *memory, lh_layer_io *io, int keys, int64_t heads, int64_t longest,
                      lh_key_source *source);
/* Prefix mode on a window of which io->tokens tokens are new: x, v [batch, heads, fill + tokens, .]. */
lh_tensor *lh_routing_attend_prefix(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *v);

/* Cluster-strided heads, full mode: of all tokens by falling score every (tokens / size)-th, as lh_routing_members
 * gives members. scores [batch, heads, clusters, tokens] -> i32 [batch, heads, clusters, size]. */
lh_tensor *lh_routing_spread(lh_memory *memory, lh_context *context, lh_tensor *scores, int64_t size);

/* Assignment by hash (memory/routing_hash.c): configuration, projections, and each row's bucket, i32 [batch, heads,
 * tokens], or 1 for it and 0 for the others, [batch, heads, clusters, tokens]. */
lh_status lh_routing_hash_check(const lh_memory_shape *shape, const lh_routing *r, lh_error *error);
int64_t lh_routing_hash_bits(const lh_routing *r);
lh_tensor *lh_routing_hash_buckets(lh_memory *memory, lh_layer_io *io, lh_tensor *x);
lh_tensor *lh_routing_hash_scores(lh_memory *memory, lh_layer_io *io, lh_tensor *x);

/* Which tokens of this call are text: i32 [batch, tokens], 1 for text; NULL if no token is padding. *share: how
 * many of all. */
lh_tensor *lh_routing_text(lh_memory *memory, lh_context *context, int64_t tokens, double *share);
/* Training: gathers sums and counts of the clusters, and adds to the commitment loss. x [batch, heads, tokens,
 * key_width], queries or keys of their own, belong to clusters near, i32 [batch, heads, tokens]. */
void lh_routing_gather_statistics(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *near, bool keys);
void lh_routing_add_commitment(lh_memory *memory, lh_layer_io *io, lh_tensor *x, lh_tensor *near);
void lh_routing_learn(lh_memory *const *memories, int count, lh_context *context);
/* How evenly clusters are filled, and how tight they are, for logs. */
void lh_routing_figures(const lh_memory *memory, lh_context *context,
                        void (*tell)(void *user, const char *name, double value), void *user);

/* Images: configuration, parameters and state of no layer, and the first layer's input. */
lh_status lh_routing_image_create(lh_memory *memory, lh_error *error);
extern const lh_recipe_key lh_routing_image_keys[];
lh_status lh_routing_image_configure(const lh_memory_shape *shape, lh_routing *r, lh_error *error);
lh_status lh_routing_image_parameters(const lh_memory_shape *shape, lh_parameters *list, lh_memory_parameters *out,
                                      lh_error *error);
lh_tensor *lh_routing_enter_image(lh_memory *memory, lh_entry_io *io);
/* Row, column and channel of a place in the window. */
void lh_routing_image_place(const lh_routing_image *image, int64_t place, int64_t *row, int64_t *column,
                            int64_t *channel);

/* An encoder's layers and the source that they read: routing_pairs.c. */
extern const lh_recipe_key lh_routing_pairs_keys[];
lh_status lh_routing_pairs_configure(const lh_memory_shape *shape, lh_routing *r, lh_error *error);
void lh_routing_encoder(const lh_memory_shape *shape, int64_t *layers, int64_t *source);
/* Local heads of an encoder's layer: each token sees its own block and look_back tokens on either side of it. */
lh_tensor *lh_routing_attend_both_sides(lh_memory *memory, lh_layer_io *io, int64_t first, int64_t heads);
double lh_routing_encoder_flops(const lh_memory_shape *shape);

/* Cross attention in clusters and blocks: routing_cross.c. */
lh_status lh_routing_cross_configure(const lh_memory_shape *shape, lh_routing *r, lh_error *error);
int64_t lh_routing_cross_heads(const lh_memory_shape *shape, int layer); /* that route */
lh_status lh_routing_cross_create(lh_memory *memory, int layer, lh_error *error);
lh_tensor *lh_routing_attend_cross(lh_memory *memory, lh_layer_io *io);
/* Mean number of tokens of the source that a query of the target sees. */
double lh_routing_cross_keys_seen(const lh_memory_shape *shape, int layer);

extern const lh_recipe_preset lh_routing_presets[];

#endif
