/* The kernels' names and argument structs: the whole interface between ops and a backend.
 *
 * Pointers are in the backend's address space. REAL below means float or double, by the dtype passed to run. Unless
 * said otherwise arrays are contiguous, inputs and outputs do not overlap, sizes may be 0, and results do not
 * depend on the number of threads. Outputs called d_* are gradients and are ADDED to what is there. */
#ifndef LH_KERNELS_ARGS_H
#define LH_KERNELS_ARGS_H

#include "tensor/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define LH_KERNEL_LIST(X) \
    X(COPY, copy)                   /* y = x, any strides */ \
    X(CAST, cast)                   /* f32/f64/f16/bf16 conversions */ \
    X(FILL, fill)                   /* y = value */ \
    X(ADD_SCALED, add_scaled)       /* y = alpha x + beta y */ \
    X(UNARY, unary)                 /* y = f(x) */ \
    X(UNARY_BACKWARD, unary_backward) /* d_x += d_y f'(x) */ \
    X(BINARY, binary)               /* y = a op b, strided (broadcast) */ \
    X(REDUCE, reduce)               /* sum or max over the middle of [outer, middle, inner] */ \
    X(GEMM, gemm)                   /* batched C = alpha op(A) op(B) + beta C */ \
    X(NORM, norm)                   /* layer norm or RMS norm over rows, with residual add */ \
    X(NORM_BACKWARD, norm_backward) \
    X(BIAS_ACTIVATION, bias_activation) /* y = f(x + bias) */ \
    X(BIAS_ACTIVATION_BACKWARD, bias_activation_backward) \
    X(GATED, gated)                 /* y = f(a) b */ \
    X(GATED_BACKWARD, gated_backward) \
    X(SOFTMAX, softmax)             /* rows */ \
    X(SOFTMAX_BACKWARD, softmax_backward) \
    X(CROSS_ENTROPY, cross_entropy) /* rows of logits -> nll, and logits -> gradient in place */ \
    X(ROPE, rope) \
    X(DROPOUT, dropout) \
    X(GATHER_ROWS, gather_rows)     /* y[i] = x[index[i]] */ \
    X(SCATTER_ADD_ROWS, scatter_add_rows) /* d_x[index[i]] += d_y[i] */ \
    X(UNFOLD, unfold)               /* im2col along time */ \
    X(FOLD, fold)                   /* its transpose: adds */ \
    X(POOL, pool) \
    X(POOL_BACKWARD, pool_backward) \
    X(TOP_K, top_k) \
    X(NEAREST, nearest)             /* the k rows of a ring with the largest inner products */ \
    X(RING_APPEND, ring_append)     /* rows into a ring */ \
    X(ARGMAX, argmax)               /* over the middle of [outer, middle, inner] */ \
    X(GROUP, group)                 /* counting sort: positions by group */ \
    X(GROUP_GATHER, group_gather)   /* rows picked by index, several from one */ \
    X(GROUP_SUM, group_sum)         /* its transpose: sums or means of rows by index */ \
    X(GROUP_LATEST, group_latest)   /* the last members of each query's group */ \
    X(GROUP_SEEN, group_seen)       /* which members of its group a query's place sees */ \
    X(TOP_SO_FAR, top_so_far)       /* is an entry among the k largest up to itself? */ \
    X(TOP_SO_FAR_LISTS, top_so_far_lists) /* and who are these k? */ \
    X(CENTROIDS, centroids)         /* online k-means: moving averages of sums and counts */ \
    X(ATTENTION, attention) \
    X(ATTENTION_BACKWARD, attention_backward) \
    X(ATTENTION_MASS, attention_mass) \
    X(NEAREST_CODE, nearest_code)   /* vector quantisation: argmin over a codebook */ \
    X(CODE_MEANS, code_means)       /* running means of rows by code */ \
    X(CODE_MEANS_BACKWARD, code_means_backward) \
    X(CODE_SUMS, code_sums)         /* sums of rows by code */ \
    X(SUM_SQUARES, sum_squares) \
    X(ADAMW, adamw) \
    X(SGD, sgd) \
    X(ADAFACTOR, adafactor)
/* clang-format on */

typedef enum lh_kernel_id {
#define LH_KERNEL_ENUM(name, function) LH_KERNEL_##name,
    LH_KERNEL_LIST(LH_KERNEL_ENUM)
#undef LH_KERNEL_ENUM
        LH_KERNEL_COUNT
} lh_kernel_id;

/* y[i0..i4] = x[i0..i4]; the element size may be 1, 2, 4 or 8 bytes (the dtype of run is ignored). y must not
 * repeat. Shapes with fewer dimensions are filled up with leading ones. */
typedef struct lh_copy_args {
    int element_bytes;
    int64_t shape[LH_MAX_DIMS], x_stride[LH_MAX_DIMS], y_stride[LH_MAX_DIMS];
    const void *x;
    void *y;
} lh_copy_args;

/* Rounds to nearest even; the dtype of run is ignored. Types among f32, f64, f16, bf16, and i32 to or from f32/f64.
 */
typedef struct lh_cast_args {
    int64_t n;
    lh_dtype from, to;
    const void *x;
    void *y;
} lh_cast_args;

typedef struct lh_fill_args {
    int64_t n;
    double value;
    void *y;
} lh_fill_args;

typedef struct lh_add_scaled_args {
    int64_t n;
    double alpha, beta; /* beta 0 overwrites y, NaN there or not */
    const void *x;
    void *y;
} lh_add_scaled_args;

typedef enum lh_function {
    LH_IDENTITY,
    LH_RELU,
    LH_RELU_SQUARED,
    LH_GELU,      /* x Phi(x), exact */
    LH_GELU_TANH, /* the tanh approximation */
    LH_SILU,
    LH_SIGMOID,
    LH_TANH,
    LH_EXP,
    LH_LOG,
    LH_SQUARE,
    LH_SQRT,
    LH_ABS,
    LH_NEGATE,
    LH_RECIPROCAL,
    LH_FUNCTION_COUNT
} lh_function;

typedef struct lh_unary_args {
    int64_t n;
    lh_function function;
    const void *x;
    void *y;         /* forward; may be x */
    const void *d_y; /* backward */
    void *d_x;
} lh_unary_args;

typedef enum lh_binary_function {
    LH_ADD,
    LH_SUBTRACT,
    LH_MULTIPLY,
    LH_DIVIDE,
    LH_MAXIMUM,
    LH_MINIMUM
} lh_binary_function;

typedef struct lh_binary_args {
    lh_binary_function function;
    int64_t shape[LH_MAX_DIMS], a_stride[LH_MAX_DIMS], b_stride[LH_MAX_DIMS]; /* 0 repeats */
    const void *a, *b;
    void *y;         /* contiguous; may be a if a is contiguous */
    bool accumulate; /* y += a op b */
} lh_binary_args;

typedef struct lh_reduce_args {
    int64_t outer, middle,
        inner;       /* x [outer, middle, inner] -> y [outer, inner]; sums do not lose digits with length */
    bool maximum;    /* else sum */
    bool accumulate; /* y += (sum only) */
    double scale;    /* times this (1/middle for a mean) */
    const void *x;
    void *y;
} lh_reduce_args;

/* For each batch: C [m, n] = alpha op(A) [m, k] op(B) [k, n] + beta C. Row-major with leading dimensions; the batch
 * stride of A or B may be 0. */
typedef struct lh_gemm_args {
    bool transpose_a, transpose_b; /* A stored [k, m]; B stored [n, k] */
    int64_t batch, m, n, k;
    double alpha, beta; /* beta 0 overwrites */
    const void *a, *b;
    void *c;
    int64_t lda, ldb, ldc, a_batch, b_batch, c_batch;
} lh_gemm_args;

/* s = x + residual (if residual); y = (s - mean) rstd gain + bias (layer norm) or s rstd gain (RMS norm);
 * rstd = 1/sqrt(var + eps) or 1/sqrt(mean(s^2) + eps), biased variance. */
typedef struct lh_norm_args {
    int64_t rows, width;
    bool rms;
    double eps;
    const void *x, *residual, *gain, *bias; /* residual, gain, bias [width] may be NULL */
    void *sum;                              /* s, written if residual is given (may be x); may be NULL without */
    void *y;                                /* may be NULL when only s is wanted */
    void *mean, *rstd; /* [rows], written forward, read backward (mean unused for RMS, may be NULL) */
    /* backward: x is s here; residual is ignored */
    const void *d_y;
    void *d_x, *d_gain, *d_bias; /* any may be NULL */
} lh_norm_args;

typedef struct lh_bias_activation_args {
    int64_t rows, width;
    lh_function function;
    const void *x, *bias; /* bias [width] may be NULL */
    void *y;              /* may be x */
    const void *d_y;
    void *d_x, *d_bias; /* backward: d_x is WRITTEN (may be d_y), d_bias is added to; either may be NULL */
} lh_bias_activation_args;

/* y = f(a) * b with a, b rows of `width` at distances a_stride, b_stride (halves of one wide projection, say). */
typedef struct lh_gated_args {
    int64_t rows, width, a_stride, b_stride;
    lh_function function;
    const void *a, *b;
    void *y; /* [rows, width] */
    const void *d_y;
    void *d_a, *d_b; /* rows at a_stride, b_stride; WRITTEN, not added; either may be NULL */
} lh_gated_args;

typedef struct lh_softmax_args {
    int64_t rows, width;
    bool log; /* log-softmax */
    const void *x;
    void *y; /* may be x; backward reads y, not x */
    const void *d_y;
    void *d_x;
} lh_softmax_args;

/* Row by row: nll = lse(logits) - logits[target] + z_loss lse^2. Then, if gradient, in place:
 * logits := weight * ((1 + 2 z_loss lse) softmax - onehot). A target < 0 gives nll 0 and a zero gradient row. best
 * is the index of the row's largest logit, the first of equals, whatever the target; of a row with NaN any index.
 */
typedef struct lh_cross_entropy_args {
    int64_t rows, width, stride;
    void *logits;
    const int32_t *targets; /* [rows] */
    const void *weight;     /* [rows], or NULL for 1 */
    double z_loss;
    bool gradient;
    void *nll, *lse; /* [rows]; either may be NULL */
    int32_t *best;   /* [rows] or NULL */
} lh_cross_entropy_args;

/* Rotary embedding of x [batch, length, heads, width] (last stride 1): the first `rotated` channels of each head
 * are turned by the angle position * frequency[i], i < rotated/2, in pairs (i, i + rotated/2) or, interleaved, (2i,
 * 2i+1); the other channels are copied. inverse turns back (the gradient). */
typedef struct lh_rope_args {
    int64_t batch, length, heads, width, rotated;
    int64_t x_stride[3], y_stride[3]; /* batch, length, heads */
    bool interleaved, inverse, accumulate;
    const void *x;
    void *y;                 /* may be x with equal strides */
    const double *frequency; /* [rotated/2] */
    const int32_t *position; /* [batch, length], or [length] with position_batch 0 */
    int64_t position_batch;  /* distance between lanes in position */
    double magnitude;        /* multiplies the rotated channels (YaRN's attention factor); 1 */
} lh_rope_args;

/* y[i] = keep ? x[i] / (1 - rate) : 0; keep is lh_dropout_word(seed, offset + i / repeat) >= threshold(rate). */
typedef struct lh_dropout_args {
    int64_t n, repeat; /* `repeat` neighbours share a draw; 1 is ordinary */
    double rate;
    uint64_t seed, offset;
    const void *x;
    void *y; /* may be x; WRITTEN unless accumulate */
    bool accumulate;
} lh_dropout_args;

typedef struct lh_gather_args {
    int64_t count, rows, width; /* x [rows, width], y [count, width] */
    const int32_t *index; /* [count]; a negative index gives (gets) zeros; index < rows is the caller's duty */
    double scale;         /* times this, both ways */
    const void *x;
    void *y;
    const void *d_y;
    void *d_x;
} lh_gather_args;

/* y[b, o, k, :] = x[b, o*stride + k*dilation, :] for o < out_length, k < kernel; x [batch, length, width]. FOLD
 * adds d_y back into d_x. */
typedef struct lh_unfold_args {
    int64_t batch, length, width, out_length, kernel, stride, dilation;
    const void *x;
    void *y;
    const void *d_y;
    void *d_x;
} lh_unfold_args;

/* Pools x [batch, length, width] in windows of `kernel` every `stride`: y [batch, out_length, width]. */
typedef struct lh_pool_args {
    int64_t batch, length, width, out_length, kernel, stride;
    bool maximum; /* else mean */
    const void *x;
    void *y;
    int32_t *argmax; /* [batch, out_length, width], position in time in x, ties to the first; NULL for means */
    const void *d_y;
    void *d_x;
} lh_pool_args;

/* The k largest of each row, as indices in ascending order of index; ties go to the higher index if late_ties, else
 * to the lower. k <= width. */
typedef struct lh_top_k_args {
    int64_t rows, width, k;
    bool late_ties;
    const void *x;
    int32_t *index; /* [rows, k] */
} lh_top_k_args;

/* x [outer, middle, inner] -> index [outer, inner] of the largest along the middle; ties go to the lowest index, a
 * NaN is below everything. middle >= 1. Rows of the result are index_outer apart. */
typedef struct lh_argmax_args {
    int64_t outer, middle, inner, index_outer;
    const void *x;
    int32_t *index;
} lh_argmax_args;

/* A [batch, heads, length, width] array; width is contiguous. A batch or head stride of 0 repeats. */
typedef struct lh_strided {
    void *data;
    int64_t batch, head, row; /* strides in elements */
} lh_strided;

/* ---- rings of rows ---------------------------------------------------------------------------------------------
 */

/* A store of key or value rows that is written round and round: a lane's row number n, counted from 0, lies in slot
 * n mod capacity. Elements are REAL, LH_F16, or LH_I8 to be multiplied by their row's scale. */
typedef struct lh_ring {
    lh_dtype stored;  /* LH_F16, LH_I8; anything else: REAL */
    int64_t capacity; /* slots that are written */
    int64_t slots;    /* that there are: >= capacity */
    lh_strided rows;  /* [batch, heads, slots, width] */
    float *scale;     /* LH_I8: [batch, heads, slots] contiguous, else unused */
} lh_ring;

/* For each query the slots of the k rows with the largest inner products (Wu et al. 2022), among the last `window`
 * rows of its lane. Best first; of equal products the older row (the lower slot, until the ring has gone round)
 * comes first; -1 where there are fewer than k. Products that are NaN or -infinity are never chosen. The key head
 * is h / (heads / kv_heads).
 *
 * buckets > 0: the approximation of the released code. Slot s belongs to bucket s mod buckets, only the best row of
 * each bucket takes part; k <= buckets. */
typedef struct lh_nearest_args {
    int64_t batch, heads, kv_heads, q_len, width, k;
    lh_strided q; /* [batch, heads, q_len, width] REAL */
    lh_ring keys;
    const int32_t *written; /* [batch]: rows that were ever appended to each lane */
    int64_t window;         /* <= capacity */
    int64_t buckets;
    int32_t missing;
    int32_t *index; /* [batch, heads, q_len, k] */
    void *score;    /* the same in REAL, -infinity beside `missing`; or NULL */
} lh_nearest_args;

/* Rows x [batch, heads, count, width] become rows written[b] .. written[b] + count - 1 of each lane; count <=
 * capacity. LH_I8: scale = max |x| / 127, elements x (127 / max |x|) rounded to nearest, in single precision. */
typedef struct lh_ring_append_args {
    int64_t batch, heads, count, width;
    lh_strided x; /* REAL */
    lh_ring ring;
    const int32_t *written; /* [batch] */
    int32_t *written_after; /* [batch]: written + count; or NULL. May be `written` */
} lh_ring_append_args;

/* ---- groups of rows
 * ----------------------------------------------------------------------------------------------
 *
 * Entries 0 .. count-1 of a lane (batch entry and head) belong to groups 0 .. groups-1. `start` and `order` say
 * which: the entries of group g are order[start[g]] .. order[start[g + 1] - 1], rising. */

/* A stable counting sort. Entries with a negative group, or with keep 0, are in no group; order ends with -1 for
 * each of them. If wanted, low and high say for place p of `order` where its group begins and ends (0, 0 for the
 * rest). */
typedef struct lh_group_args {
    int64_t batch, heads, count, groups;
    const int32_t *group; /* [batch, heads, count], < groups */
    const int32_t *keep;  /* [batch, count] or NULL: all */
    int32_t *start;       /* [batch, heads, groups + 1] */
    int32_t *order;       /* [batch, heads, count] */
    int32_t *low, *high;  /* [batch, heads, count] or NULL */
} lh_group_args;

/* GROUP_GATHER: row e of y is row index[e] of x (zeros for a negative index), divided by (members + extra) of that
 * row's group if `start` is given: the way back of a mean.
 * GROUP_SUM: row g of x is, or gains (add), the sum of the rows of y in group g, divided by (members + extra) if
 * `mean`; a group without members gives zeros. With x.batch 0 the lanes of the batch are added up. total[h][g], if
 * given, gains the number of members. */
typedef struct lh_group_rows_args {
    int64_t batch, heads, count, groups, width;
    lh_strided x;         /* [batch, heads, groups, width] */
    void *y;              /* [batch, heads, count, width] */
    const int32_t *index; /* [batch, heads, count], < groups: GROUP_GATHER */
    const int32_t *start; /* [batch, heads, groups + 1]; GROUP_GATHER: or NULL */
    const int32_t *order; /* [batch, heads, count]: GROUP_SUM */
    double extra;
    bool mean, add;
    void *total; /* [heads, groups] or NULL */
} lh_group_rows_args;

/* For queries length - queries .. length - 1 of each lane: the positions of the last `window` members of the
 * query's own group up to itself, rising, in the last places of its row; before them -1. first: how many of these
 * there are. Queries with groups of their own need not be a member where they stand. */
typedef struct lh_group_latest_args {
    int64_t lanes, length, queries, window;
    const int32_t *group; /* [lanes, length]; negative: none, an empty list */
    const int32_t *own;   /* [lanes, queries]: the queries' groups, or NULL: those of the last `queries` entries */
    int32_t *index;       /* [lanes, queries, window] */
    int32_t *first;       /* [lanes, queries] */
} lh_group_latest_args;

/* Queries and keys that were sorted into the same groups, each on their own. The query at a place sees the keys of
 * its group at places low <= place < high: those up to its own time, the latest `window` of them. order says who
 * stands at each place, rising within a group and then, where a group has places to spare, -1. Query t stands at
 * time first + t, key t at time t. A place without a query, and a query without a key, has low = high. */
typedef struct lh_group_seen_args {
    int64_t lanes, queries, keys, groups, first, window;
    const int32_t *query_start, *query_order; /* [lanes, groups + 1], [lanes, queries] */
    const int32_t *key_start, *key_order;     /* [lanes, groups + 1], [lanes, keys] */
    int32_t *low, *high;                      /* [lanes, queries] */
} lh_group_seen_args;

/* accepted[b, q, c] = 1 if x[b, t, c], t = length - queries + q, is among the k largest of x[b, 0 .. t, c], else 0.
 * Of equal entries the earlier count as larger. NaN is below everything. */
typedef struct lh_top_so_far_args {
    int64_t batch, length, queries, columns, k;
    const void *x; /* [batch, length, columns] with x_batch between lanes */
    int64_t x_batch;
    int32_t *accepted; /* [batch, queries, columns] */
} lh_top_so_far_args;

/* For each triple (b, t, c): the positions of the min(k, t + 1) largest of x[b, 0 .. t, c], rising, in the last
 * places of its row of `index` [count, k]; before them -1. first [count]: how many of these there are. */
typedef struct lh_top_so_far_lists_args {
    int64_t count, length, columns, k;
    const void *x;
    int64_t x_batch;
    const int32_t *triple; /* [count, 3] */
    int32_t *index, *first;
} lh_top_so_far_lists_args;

typedef enum lh_centroid_start {
    LH_CENTROIDS_COUNTED, /* a centroid counts as one member of its cluster */
    LH_CENTROIDS_DATA,    /* the first sums and counts are taken as they are */
    LH_CENTROIDS_ZERO,    /* as published: it counts as none, so that centroids grow until counts have settled */
} lh_centroid_start;

/* Online k-means (Roy et al. 2021). For each head, with total_c members whose sum is sum_c:
 *     count_c = decay count_c + (1 - decay) total_c        mean_c = decay mean_c + (1 - decay) sum_c
 *     N = sum of count        smooth_c = (count_c + eps) / (N + clusters eps) N        centroid_c = mean_c /
 * smooth_c A negative count means that nothing was ever gathered: first mean_c = centroid_c and count_c = 1, or 0
 * with LH_CENTROIDS_ZERO; with LH_CENTROIDS_DATA a cluster that has members starts with mean_c = sum_c, count_c =
 * total_c instead of averaging. Unless LH_CENTROIDS_ZERO, a cluster without members keeps its centroid. */
typedef struct lh_centroids_args {
    int64_t heads, clusters, width;
    double decay, eps;
    lh_centroid_start start;
    const void *sum, *total; /* [heads, clusters, width], [heads, clusters] */
    void *mean, *count;      /* the same */
    void *centroid;          /* [heads, clusters, width] */
} lh_centroids_args;

/* ---- attention -------------------------------------------------------------------------------------------------
 */

#define LH_DISTANCE_ANY INT64_C(0x3fffffffffffffff)
#define LH_ATTENTION_MAX_SOURCES 8

typedef enum lh_key_layout {
    LH_KEYS_DENSE,    /* k, v [batch, kv_heads, k_len, .] */
    LH_KEYS_BLOCKS,   /* dense storage, but each block of queries visits listed key tiles and single columns */
    LH_KEYS_GATHERED, /* each query has its own list of rows of k, v */
} lh_key_layout;

/* One key source. All sources of a call share one softmax.
 *
 * Query i sees key j when  min_distance <= distance(i, j) <= max_distance  with  distance(i, j) = i - j + offset,
 * and, if intervals are given,  low[i] <= j < high[i].  All keys: min = -LH_DISTANCE_ANY, max = LH_DISTANCE_ANY.
 * Causal with the last query on the last key: offset = k_len - q_len, min = 0, max = ANY. A window of the W tokens
 * before (and not) itself: min 0 (or 1), max W.
 *
 * logit(i, j) = scale * head_scale[h] * ( (q_i + content_bias[h]) . k_j + (q_i + position_bias[h]) . rel_k[h][t]
 *               + (bias_scaled ? distance_bias[h][t] : 0) )
 *             + (bias_scaled ? 0 : distance_bias[h][t]) + key_bias[j]
 * value(i, j) = v_j + rel_v[h][t]
 * with t = rel(i, j) - rel_first,  rel(i, j) = i - rel_step * j + rel_offset.  t outside 0 .. rel_len-1 is clamped
 * into it if rel_clamp, else rel_k, rel_v and distance_bias contribute nothing. */
typedef struct lh_attention_source {
    lh_key_layout layout;
    int64_t k_len;
    lh_strided k, v;
    int64_t offset, min_distance, max_distance;
    const int32_t *low, *high; /* NULL, or [batch, heads, q_len] with the strides below, of which 0 repeats */
    int64_t interval_batch, interval_head;

    const void *content_bias;  /* [heads, qk_width] or NULL: Transformer-XL's u */
    const void *position_bias; /* [heads, qk_width] or NULL: Transformer-XL's v; only with rel_k */
    const void *rel_k;         /* [heads, rel_len, qk_width], strides rel_k_head and rel_k_row, or NULL */
    int64_t rel_k_head, rel_k_row;
    const void *rel_v; /* [heads, rel_len, v_width], strides rel_v_head and rel_v_row, or NULL: Shaw's */
    int64_t rel_v_head, rel_v_row;
    const void *distance_bias; /* [heads, rel_len] contiguous, or NULL: T5 buckets, ALiBi */
    int64_t rel_len, rel_first, rel_step, rel_offset;
    bool rel_clamp, bias_scaled;

    const void *key_bias; /* additive, or NULL: log-counts, padding as -infinity; strides 0 repeat */
    int64_t key_bias_batch, key_bias_head;

    /* LH_KEYS_GATHERED: rows of k, v for each query; negative entries are skipped. Visibility is the list's own.
     * k and v may then be stored as LH_F16 or, times one number for each row, as LH_I8, and get no gradient. */
    const int32_t *gather; /* [batch, heads, q_len, gathered] */
    int64_t gathered;
    lh_dtype stored;                /* LH_F16, LH_I8; anything else: REAL */
    const float *k_scale, *v_scale; /* LH_I8: [batch, kv_heads, k_len] contiguous */
    /* LH_KEYS_BLOCKS: CSR over (batch, head, query block of block_size): tiles of block_size keys starting
     * anywhere, then single columns. The distance rule applies inside tiles. */
    int64_t block_size;
    const int32_t *tile_row, *tile_start, *column_row, *column;

    /* backward: NULL data or pointer stops the gradient. Gradients of several inputs and sources may share memory
     * (a table used by two sources, one tensor as queries, keys and values). d_rel_k has rel_k's strides, d_rel_v
     * rel_v's. d_key_bias is laid out as key_bias. With a repeated k or v (batch stride 0) the caller gives d_k,
     * d_v room for each batch. */
    lh_strided d_k, d_v;
    void *d_content_bias, *d_position_bias, *d_rel_k, *d_rel_v, *d_distance_bias, *d_key_bias;
} lh_attention_source;

/* out[b,h,i] = sum over sources and visible keys j of p_ij value(i, j), p = softmax over all of them (and the null
 * logit, which has no value). A query that sees no key gives out = 0, lse = -infinity (or the null logit). The
 * key/value head is h / (heads / kv_heads). */
typedef struct lh_attention_args {
    int64_t batch, heads, kv_heads, q_len, qk_width, v_width;
    lh_strided q;   /* [batch, heads, q_len, qk_width] */
    lh_strided out; /* [batch, heads, q_len, v_width] */
    void *lse; /* [batch, heads, q_len] REAL, contiguous: natural log of the sum of exponentials (null included) */
    double scale;
    const void *head_scale; /* [heads] or NULL */
    bool has_null;
    double null_logit;
    double
        dropout; /* on probabilities: key j of source s is kept by lh_attention_keep(row_key(b*heads+h, i, s), j) */
    uint64_t dropout_seed, dropout_offset;
    int source_count;
    lh_attention_source source[LH_ATTENTION_MAX_SOURCES];

    /* backward: out and lse are inputs */
    lh_strided d_out;  /* gradient of out */
    const void *d_lse; /* gradient of lse, [batch, heads, q_len], or NULL */
    lh_strided d_q;    /* added to; NULL data if not wanted */
    void *d_head_scale;
} lh_attention_args;

/* After a forward pass, from its q, sources and lse: mass[s][b, j] += weight * sum over heads and queries of p_ij
 * (dropout ignored) for source s; mass[s] is [batch, k_len] REAL or NULL. Dense sources only. */
typedef struct lh_attention_mass_args {
    lh_attention_args attention;
    double weight;
    void *mass[LH_ATTENTION_MAX_SOURCES];
} lh_attention_mass_args;

/* ---- vector quantisation ---------------------------------------------------------------------------------------
 */

/* Codes are numbered from 1, so that zeroed memory holds none: 0 (or less) is no code.
 *
 * For each row of k the nearest code of its head's codebook by Euclidean distance; equally near codes: the lowest
 * number. With |k - c|^2 = |k|^2 - 2 (k . c - |c|^2 / 2) the search is a product and an argmax; nothing of size
 * length x codes exists. Rows are looked at on their own: the result does not depend on what else is in the call.
 */
typedef struct lh_nearest_code_args {
    int64_t batch, heads, length, codes, width; /* codes >= 1 */
    lh_strided k;                               /* [batch, heads, length, width] */
    const void *codebook;                       /* [heads, codes, width] */
    int32_t *code;                              /* [batch, heads, length]: 1 .. codes */
    void *distance;       /* [batch, heads, length]: |k - c|^2, summed as it stands, or NULL */
    lh_strided quantised; /* k's shape: the code itself, bit for bit; NULL data if not wanted */
} lh_nearest_code_args;

/* Running means: with n_s = how many rows of v have code s,
 *     new_count[s] = count[s] + n_s
 *     new_mean[s] = (count[s] / max(new_count[s], 1)) mean[s] + sum over those rows of v / max(new_count[s], 1)
 * so that magnitudes stay those of v however long it goes on (Lingle 2023, 3.4). Rows without a code are skipped.
 * new_mean may be mean, new_count may be count. */
typedef struct lh_code_means_args {
    int64_t batch, heads, length, codes, width;
    const int32_t *code;  /* [batch, heads, length], <= codes */
    const int32_t *count; /* [batch, heads, codes] */
    int32_t *new_count;   /* the same; read in the backward pass */
    lh_strided v;         /* [batch, heads, length, width] */
    const void *mean;     /* [batch, heads, codes, width] */
    void *new_mean;
    const void *d_new_mean; /* backward */
    lh_strided d_v;         /* NULL data if not wanted */
    void *d_mean;           /* or NULL */
} lh_code_means_args;

/* sum[h][s] += sum over batch and rows t with code s of weight[b][t] x[b][h][t]; total[h][s] += the weights. Rows
 * of weight 0 or without a code are not looked at. */
typedef struct lh_code_sums_args {
    int64_t batch, heads, length, codes, width;
    const int32_t *code; /* [batch, heads, length], <= codes */
    lh_strided x;        /* [batch, heads, length, width] */
    const void *weight;  /* [batch, length] or NULL: 1 */
    void *sum;           /* [heads, codes, width] */
    void *total;         /* [heads, codes] */
} lh_code_sums_args;

/* ---- optimizer steps: arrays of n REAL, in place
 * ----------------------------------------------------------------- */

/* sum[0] += sum of x^2 in double, in an order that does not depend on threads; nonfinite[0] += how many are NaN or
 * infinite. sum and nonfinite are host addresses. */
typedef struct lh_sum_squares_args {
    int64_t n;
    const void *x;
    double *sum;
    int64_t *nonfinite;
} lh_sum_squares_args;

/* g' = grad_scale g; m = b1 m + (1-b1) g'; v = b2 v + (1-b2) g'^2; p -= lr (mhat / (sqrt(vhat) + eps) + decay p)
 * with bias corrections for `step` >= 1 (Loshchilov & Hutter 2019). Then grad := 0 if clear_grad. */
typedef struct lh_adamw_args {
    int64_t n, step;
    double lr, beta1, beta2, eps, decay, grad_scale;
    bool clear_grad;
    void *param, *grad, *m, *v;
} lh_adamw_args;

/* g' = grad_scale g + decay p; buf = momentum buf + g'; p -= lr (nesterov ? g' + momentum buf : buf). buffer may be
 * NULL if momentum is 0. */
typedef struct lh_sgd_args {
    int64_t n;
    double lr, momentum, decay, grad_scale;
    bool nesterov, clear_grad;
    void *param, *grad, *buffer;
} lh_sgd_args;

/* Adafactor (Shazeer & Stern 2018) for a [rows, columns] parameter: second moments factored into row [rows] and
 * column [columns] means when both are given, else full in `v`. beta2_t = 1 - step^-decay_rate; g'^2 + eps1 is
 * averaged; the update is clipped to RMS clip_threshold, then times lr, times max(eps2, RMS(param)) if
 * scale_by_parameter; optional first moment m with beta1; decay p (times lr) subtracted. */
typedef struct lh_adafactor_args {
    int64_t rows, columns, step;
    double lr, decay_rate, beta1, eps1, eps2, clip_threshold, decay, grad_scale;
    bool scale_by_parameter, clear_grad;
    void *param, *grad, *row, *column, *v, *m;
} lh_adafactor_args;

#endif
