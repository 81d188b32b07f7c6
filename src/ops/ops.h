/* The ops: eager functions on tensors that record themselves on the context's tape.
 *
 * Every op returns a fresh tensor, or NULL after an error (sticky in the context); NULL inputs are passed through.
 * Inputs may be strided views and may be empty. Results are contiguous unless the op says "view". Floating-point
 * ops need all their floating inputs in one dtype, f32 or f64. */
#ifndef LH_OPS_OPS_H
#define LH_OPS_OPS_H

#include "autograd/context.h"

/* ---- shape (ops/shape.c)
 * ------------------------------------------------------------------------------------------ */

/* The same elements in another shape; one entry may be -1. A view if x is contiguous, else a copy. */
lh_tensor *lh_reshape(lh_context *context, lh_tensor *x, int ndim, const int64_t *shape);
/* View with two dimensions exchanged. */
lh_tensor *lh_transpose(lh_context *context, lh_tensor *x, int a, int b);
/* View of positions start .. start+length-1 of dimension `dim`. */
lh_tensor *lh_slice(lh_context *context, lh_tensor *x, int dim, int64_t start, int64_t length);
/* x repeated `times` along a dimension of size 1 (a copy; the gradient is summed). */
lh_tensor *lh_expand(lh_context *context, lh_tensor *x, int dim, int64_t times);
/* Joins tensors along `dim`; the other sizes agree. */
lh_tensor *lh_concat(lh_context *context, int count, lh_tensor *const *xs, int dim);
/* A contiguous copy (the tensor itself if contiguous already). */
lh_tensor *lh_contiguous(lh_context *context, lh_tensor *x);
/* The same values, cut off from the tape: sg(x). A view. */
lh_tensor *lh_detach(lh_context *context, lh_tensor *x);
lh_tensor *lh_cast(lh_context *context, lh_tensor *x,
                   lh_dtype dtype); /* gradient cast back; f32 <-> f64, f16, bf16 */

/* ---- elementwise (ops/elementwise.c)
 * ------------------------------------------------------------------------------- */

/* a op b with broadcasting: shapes are aligned at the last dimension, sizes are equal or 1. */
lh_tensor *lh_binary(lh_context *context, lh_binary_function function, lh_tensor *a, lh_tensor *b);
lh_tensor *lh_add(lh_context *context, lh_tensor *a, lh_tensor *b);
lh_tensor *lh_subtract(lh_context *context, lh_tensor *a, lh_tensor *b);
lh_tensor *lh_multiply(lh_context *context, lh_tensor *a, lh_tensor *b);
lh_tensor *lh_unary(lh_context *context, lh_function function, lh_tensor *x);
lh_tensor *lh_scale(lh_context *context, lh_tensor *x, double factor);
/* Inverted dropout with probability `rate` when the context trains, else x itself. `repeat` neighbouring elements
 * of the flattened tensor share a draw (1: ordinary). */
lh_tensor *lh_dropout(lh_context *context, lh_tensor *x, double rate, int64_t repeat);

/* ---- reductions (ops/reduce.c)
 * ------------------------------------------------------------------------------------- */

lh_tensor *lh_sum(lh_context *context, lh_tensor *x);              /* all elements -> [1] */
lh_tensor *lh_mean(lh_context *context, lh_tensor *x);             /* all elements -> [1]; 0 for an empty tensor */
lh_tensor *lh_sum_dim(lh_context *context, lh_tensor *x, int dim); /* removes the dimension */
lh_tensor *lh_mean_dim(lh_context *context, lh_tensor *x, int dim);
lh_tensor *lh_mean_square_error(lh_context *context, lh_tensor *a, lh_tensor *b); /* mean (a-b)^2 -> [1] */

/* ---- products (ops/linear.c)
 * --------------------------------------------------------------------------------------- */

/* y = x Wᵀ (+ bias): x [..., in], w [out, in], bias [out] or NULL -> [..., out]. */
lh_tensor *lh_linear(lh_context *context, lh_tensor *x, lh_tensor *w, lh_tensor *bias);
/* f(x + bias) Wᵀ (+ out_bias): a bias_activation and a linear whose middle is made again in the backward pass
 * instead of kept (ops/feed_forward.c). x [..., hidden], bias [hidden] or NULL, w [out, hidden]. */
lh_tensor *lh_activation_linear(lh_context *context, lh_tensor *x, lh_tensor *bias, lh_function function,
                                lh_tensor *w, lh_tensor *out_bias);
/* (f(gate) value) Wᵀ: a gated unit and a linear, whose middle is made again, too. gate, value [..., hidden],
 * w [out, hidden]. */
lh_tensor *lh_gated_linear(lh_context *context, lh_tensor *gate, lh_tensor *value, lh_function function,
                           lh_tensor *w);
/* Batched a [..., m, k] times b [..., k, n] (or its transpose [..., n, k] if transpose_b); leading sizes agree. */
lh_tensor *lh_matmul(lh_context *context, lh_tensor *a, lh_tensor *b, bool transpose_b);

/* ---- norms and activations (ops/norm.c, ops/activation.c)
 * ---------------------------------------------------------- */

/* Layer norm over the last dimension (biased variance); gain, bias [width] or NULL. */
lh_tensor *lh_layer_norm(lh_context *context, lh_tensor *x, lh_tensor *gain, lh_tensor *bias, double eps);
lh_tensor *lh_rms_norm(lh_context *context, lh_tensor *x, lh_tensor *gain, double eps);
/* *sum = x + residual; returns norm(*sum). rms selects the RMS norm (bias then NULL). One pass over memory. */
lh_tensor *lh_residual_norm(lh_context *context, lh_tensor *x, lh_tensor *residual, lh_tensor *gain,
                            lh_tensor *bias, double eps, bool rms, lh_tensor **sum);
/* An activation by its name in recipes: relu, relu2, gelu, gelu-tanh, silu, or the gated swiglu and geglu. False if
 * there is none of that name. */
bool lh_activation_find(const char *name, lh_function *function, bool *gated);
/* f(x + bias); bias [width] or NULL. The backward pass needs x only. */
lh_tensor *lh_bias_activation(lh_context *context, lh_tensor *x, lh_tensor *bias, lh_function function);
/* Gated unit on a joint projection x [..., 2 width] = [a | b]: f(a) * b -> [..., width] (SwiGLU, GEGLU). */
lh_tensor *lh_gated(lh_context *context, lh_tensor *x, lh_function function);
lh_tensor *lh_softmax(lh_context *context, lh_tensor *x);     /* last dimension */
lh_tensor *lh_log_softmax(lh_context *context, lh_tensor *x); /* last dimension */

/* ---- embeddings and losses (ops/embedding.c, ops/loss.c)
 * ------------------------------------------------------------ */

/* Rows of table [vocab, width] picked by ids (i32, any shape) -> ids' shape + [width], times `scale`. Negative ids
 * give zeros. ids >= vocab are an error. */
lh_tensor *lh_embedding(lh_context *context, lh_tensor *table, lh_tensor *ids, double scale);
/* Rows of x [rows, width] by index (i32 [count]) -> [count, width]. */
lh_tensor *lh_gather_rows(lh_context *context, lh_tensor *x, lh_tensor *index);

/* The loss of a linear output layer without ever holding more than a tile of logits. h [tokens, width],
 * w [vocab, width], bias [vocab] or NULL, targets i32 [tokens] (negative: not scored), weights [tokens] or NULL (1
 * each). Returns sum_t weight_t (nll_t) as [1], nll_t = lse_t - logit_t[target] + z_loss lse_t^2, logits = scale (h
 * wᵀ) + bias. *nll, if asked for, receives the per-token values [tokens] (no gradient flows through it). When
 * gradients are wanted they are made in the forward pass, tile by tile, so that the logits are computed once. */
lh_tensor *lh_linear_cross_entropy(lh_context *context, lh_tensor *h, lh_tensor *w, lh_tensor *bias,
                                   lh_tensor *targets, lh_tensor *weights, double scale, double z_loss,
                                   lh_tensor **nll);
/* The same, and *best (i32 [tokens]) receives the id of the largest logit, the first of equals, of every token,
 * scored or not. */
lh_tensor *lh_linear_cross_entropy_best(lh_context *context, lh_tensor *h, lh_tensor *w, lh_tensor *bias,
                                        lh_tensor *targets, lh_tensor *weights, double scale, double z_loss,
                                        lh_tensor **nll, lh_tensor **best);
/* The same from given logits [rows, classes]: the gradient flows to the logits. */
lh_tensor *lh_cross_entropy(lh_context *context, lh_tensor *logits, lh_tensor *targets, lh_tensor *weights,
                            lh_tensor **nll);

/* ---- positions (ops/rope.c, ops/position.c)
 * -------------------------------------------------------------------------- */

typedef struct lh_rope_options {
    int64_t rotated;         /* channels of each head that turn: even, <= head width */
    bool interleaved;        /* pairs (2i, 2i+1) instead of (i, i + rotated/2) */
    const double *frequency; /* [rotated/2], host, kept alive by the caller until the backward pass */
    double magnitude;        /* 1, or YaRN's factor */
} lh_rope_options;
/* Frequencies [rotated/2] of the pairs, divided by `factor`: base^(-2i/rotated), or, with `closed`,
 * base^(-i/(rotated/2 - 1)), so that the last one is 1/base (Hawthorne et al. 2022's code). */
void lh_rope_frequencies(double *frequency, int64_t rotated, double base, double factor, bool closed);
/* x [batch, length, heads, width]; position i32 [length] or [batch, length]. Su et al. 2021. */
lh_tensor *lh_rope(lh_context *context, lh_tensor *x, lh_tensor *position, const lh_rope_options *options);

/* ---- time (ops/conv.c, ops/pooling.c)
 * --------------------------------------------------------------------------------- */

/* 1-D convolution without padding or bias: x [batch, length, in], w [out, kernel, in] ->
 * [batch, floor((length - dilation (kernel-1) - 1) / stride) + 1, out]; 0 positions if x is too short. */
lh_tensor *lh_conv1d(lh_context *context, lh_tensor *x, lh_tensor *w, int64_t stride, int64_t dilation);
/* Its transpose: x [batch, length, in], w [in, kernel, out] -> [batch, (length-1) stride + kernel, out]. */
lh_tensor *lh_conv1d_transpose(lh_context *context, lh_tensor *x, lh_tensor *w, int64_t stride);
/* Max or mean over windows of time, no padding: [batch, length, width] -> [batch, (length-kernel)/stride + 1,
 * width]. */
lh_tensor *lh_pool1d(lh_context *context, lh_tensor *x, int64_t kernel, int64_t stride, bool maximum);
/* Indices (i32 [rows, k], ascending) of the k largest of each row of x [rows, width]; no gradient. */
lh_tensor *lh_top_k(lh_context *context, lh_tensor *x, int64_t k, bool late_ties);

/* ---- attention (ops/attention.c)
 * --------------------------------------------------------------------------------------- */

/* One key source, in tensors. Field by field as lh_attention_source (kernels/args.h), where the formula stands. */
typedef struct lh_key_source {
    lh_key_layout layout;
    lh_tensor *k, *v; /* [batch or 1, kv_heads, k_len, qk_width / v_width], any strides with the last one 1; one may
                         repeat over the batch without the other */
    int64_t offset, min_distance, max_distance;
    lh_tensor *low, *high;                   /* i32 [batch or 1, heads or 1, q_len] or NULL */
    lh_tensor *content_bias, *position_bias; /* [heads, qk_width] or NULL */
    lh_tensor *rel_k;                        /* [heads, rel_len, qk_width] or NULL */
    lh_tensor *rel_v;                        /* [heads, rel_len, v_width] or NULL */
    lh_tensor *distance_bias;                /* [heads, rel_len] or NULL */
    int64_t rel_first, rel_step, rel_offset;
    bool rel_clamp, bias_scaled;
    lh_tensor *key_bias; /* [batch or 1, heads or 1, k_len] or NULL */
    lh_tensor *gather;   /* i32 [batch, heads, q_len, gathered], LH_KEYS_GATHERED: k and v may then be f16 or i8 */
    lh_tensor *k_scale, *v_scale; /* f32 [batch, kv_heads, k_len] where k and v are i8 */
    int64_t block_size;           /* LH_KEYS_BLOCKS */
    lh_tensor *tile_row, *tile_start, *column_row, *column;
    bool stop_gradient; /* no gradient into k and v (the biases keep theirs) */
} lh_key_source;

typedef struct lh_attention_options {
    double scale;          /* on the logits; 0 means 1/sqrt(qk_width) */
    lh_tensor *head_scale; /* [heads] or NULL */
    bool has_null;
    double null_logit;
    double dropout; /* on probabilities, when the context trains */
} lh_attention_options;

/* A source whose keys are all visible; fill in the rest. */
lh_key_source lh_key_source_all(lh_tensor *k, lh_tensor *v);
/* Query i sees key j up to the query's own position, the last query standing on the last key. */
lh_key_source lh_key_source_causal(lh_tensor *k, lh_tensor *v, int64_t q_len);

/* One softmax over all sources: q [batch, heads, q_len, qk_width] -> [batch, heads, q_len, v_width], returned as a
 * view of storage laid out [batch, q_len, heads, v_width], so that merging the heads is free. *lse (may be NULL to
 * ask for none) receives [batch, heads, q_len]; gradients may flow through it. */
lh_tensor *lh_attention(lh_context *context, lh_tensor *q, int source_count, const lh_key_source *sources,
                        const lh_attention_options *options, lh_tensor **lse);
/* Merges two partial results over disjoint keys exactly: out = (e^la oa + e^lb ob) / (e^la + e^lb), *lse = log of
 * the denominator. All [batch, heads, q_len, (v_width)]. */
lh_tensor *lh_attention_merge(lh_context *context, lh_tensor *out_a, lh_tensor *lse_a, lh_tensor *out_b,
                              lh_tensor *lse_b, lh_tensor **lse);
/* mass[s] [batch, k_len] = weight * sum over heads and queries of the probabilities of source s's keys. No
 * gradient. */
void lh_attention_mass(lh_context *context, lh_tensor *q, int source_count, const lh_key_source *sources,
                       const lh_attention_options *options, lh_tensor *lse, double weight, lh_tensor **mass);

/* ---- rings of rows (ops/ring.c)
 * ---------------------------------------------------------------------------------------- */

/* A persistent store of rows that is written round and round: a lane's row number n lies in slot n mod capacity. */
typedef struct lh_row_ring {
    lh_tensor *rows;  /* [batch, heads, slots, width], contiguous; f32, f64, f16 or i8 */
    lh_tensor *scale; /* f32 [batch, heads, slots], contiguous: a factor for each row of i8 */
    int64_t capacity; /* slots in use, <= slots */
} lh_row_ring;

/* Slots (i32 [batch, heads, q_len, k]) of the k rows with the largest inner products with each query
 * q [batch, heads, q_len, width], among the last `window` of each lane's `written` (i32 [batch]) rows: exactly, or
 * among the best of each of `buckets` buckets (lh_nearest_args). Best first, the older of equals first; `missing`
 * (-1, or a slot) where there are fewer. *score (may be NULL) receives the products. Wu et al. 2022. No gradient.
 */
lh_tensor *lh_nearest(lh_context *context, lh_tensor *q, const lh_row_ring *ring, lh_tensor *written,
                      int64_t window, int64_t k, int64_t buckets, int32_t missing, lh_tensor **score);
/* Writes x [batch, heads, count, width] behind what each lane has written; count <= capacity. In place and off the
 * tape: what the last `capacity` - count rows hold stays. Returns the new `written`. */
lh_tensor *lh_ring_append(lh_context *context, const lh_row_ring *ring, lh_tensor *x, lh_tensor *written);

/* ---- vector quantisation (ops/codes.c)
 * --------------------------------------------------------------------------------- */

/* k [batch, heads, length, width] with each row replaced by the nearest code of codebook [heads, codes, width]
 * (ties: the lowest number), bit for bit; the gradient goes straight through to k, none to the codebook (van den
 * Oord et al. 2017). *codes, if asked for, receives their numbers from 1 on, i32 [batch, heads, length]; *distance
 * |k - code|^2, [batch, heads, length], whose gradient, 2 (k - code), reaches k: the commitment loss is made of it.
 */
lh_tensor *lh_quantise(lh_context *context, lh_tensor *k, lh_tensor *codebook, lh_tensor **codes,
                       lh_tensor **distance);
/* Running means by code (Lingle 2023, 3.4): mean [batch, heads, codes, width] and count i32 [batch, heads, codes],
 * with the rows of v [batch, heads, length, width] taken in under their codes, i32 [batch, heads, length] (0 or
 * less: left out). Returns the new means, *new_count the new counts. Gradients reach mean and v, not the counts. */
lh_tensor *lh_code_means(lh_context *context, lh_tensor *mean, lh_tensor *count, lh_tensor *codes, lh_tensor *v,
                         lh_tensor **new_count);
/* Adds to sum [heads, codes, width] the rows of x [batch, heads, length, width] under their codes, and to total
 * [heads, codes] how many there were; weight [batch, length] or NULL: rows of weight 0 are left out, others count
 * so much. sum and total are contiguous and changed in place; nothing is recorded. */
void lh_code_sums(lh_context *context, lh_tensor *x, lh_tensor *codes, lh_tensor *weight, lh_tensor *sum,
                  lh_tensor *total);

/* ---- groups of rows (ops/group.c)
 * -------------------------------------------------------------------------------------- */

/* Index of the largest entry along a dimension, i32 in x's shape without it; of equal ones the first. No gradient.
 */
lh_tensor *lh_argmax(lh_context *context, lh_tensor *x, int dim);

/* Which entries 0 .. count-1 of each lane (batch entry and head) belong to which group. Made once, used for all
 * tensors that are sorted, picked or averaged that way. Tensors of the context. */
typedef struct lh_grouping {
    int64_t groups;
    lh_tensor *index; /* i32 [batch, heads, count]: each entry's group, or negative: none */
    lh_tensor *start; /* i32 [batch, heads, groups + 1]: where a group begins in order */
    lh_tensor *order; /* i32 [batch, heads, count]: entries by group, rising within it; then -1s */
    lh_tensor *low,
        *high; /* i32 [batch, heads, count]: where the group at a place of order begins and ends; or NULL */
} lh_grouping;
/* Sorts `index` (i32 [batch, heads, count], < groups) by counting. keep: i32 [batch, count], entries with 0 belong
 * to no group, or NULL. bounds: low and high are wanted. False after an error. */
bool lh_group(lh_context *context, lh_tensor *index, int64_t groups, lh_tensor *keep, bool bounds,
              lh_grouping *grouping);
/* Row index[e] of x [batch, heads, groups, width] for each entry e (zeros for a negative one) ->
 * [batch, heads, count, width]. The gradient of a row is the sum over its entries, in their order. Without a
 * gradient a grouping of nothing but `groups` and `index` will do, whose indices are the caller's duty. */
lh_tensor *lh_group_gather(lh_context *context, lh_tensor *x, const lh_grouping *grouping);
/* The transpose, as a mean: for each group the sum of its entries y [batch, heads, count, width] divided by (their
 * number + extra); zeros for a group without entries -> [batch, heads, groups, width], stored as
 * [batch, groups, heads, width] as attention's output is. */
lh_tensor *lh_group_mean(lh_context *context, lh_tensor *y, const lh_grouping *grouping, double extra);
/* sum [heads, groups, width] += the entries of each group over all lanes of the batch, total [heads, groups] += how
 * many there are. Both contiguous, changed in place; nothing is recorded. */
void lh_group_totals(lh_context *context, lh_tensor *y, const lh_grouping *grouping, lh_tensor *sum,
                     lh_tensor *total);
/* A step of online k-means with the totals of a batch: formula and cases at lh_centroids_args. sum, mean, centroid
 * [heads, clusters, width], total, count [heads, clusters]; mean, count and centroid change in place. */
void lh_centroid_step(lh_context *context, lh_tensor *sum, lh_tensor *total, lh_tensor *mean, lh_tensor *count,
                      lh_tensor *centroid, double decay, lh_centroid_start start);
/* For the last `queries` entries of each lane: the last `window` members of the entry's own group up to itself ->
 * i32 [batch, heads, queries, window], rising, -1 in front; *first, i32 [batch, heads, queries], counts the -1s.
 * own: i32 [batch, heads, queries], the groups of queries that have others than the entries, or NULL. */
lh_tensor *lh_group_latest(lh_context *context, lh_tensor *index, lh_tensor *own, int64_t queries, int64_t window,
                           lh_tensor **first);
/* Queries and keys in the same groups, each sorted on its own: which places of the keys' order each place of the
 * queries' order sees, low <= place < high, i32 [batch, heads, places of queries] twice. It sees keys of its group
 * up to its time, the latest `window` of them; query t stands `first` later than key t. Of the groupings, start and
 * order are used: -1s may also stand at the end of a group. False after an error. */
bool lh_group_seen(lh_context *context, const lh_grouping *queries, const lh_grouping *keys, int64_t first,
                   int64_t window, lh_tensor **low, lh_tensor **high);
/* For the last `queries` rows t of each lane of x [batch, length, columns]: 1 if x[t, c] is among the k largest of
 * x[0 .. t, c] (of equal ones the earlier stand first), else 0 -> i32 [batch, queries, columns]. */
lh_tensor *lh_top_so_far(lh_context *context, lh_tensor *x, int64_t queries, int64_t k);
/* For each triple (lane, row t, column c), host [count, 3]: where the k largest of x[0 .. t, c] stand -> i32
 * [count, k], rising, -1 in front; *first, i32 [count], counts the -1s. */
lh_tensor *lh_top_so_far_lists(lh_context *context, lh_tensor *x, int64_t count, const int32_t *triples, int64_t k,
                               lh_tensor **first);

/* ---- position tables on the host (ops/position.c)
 * -------------------------------------------------------------------- */

/* Sinusoids P[t] = [sin(d w_0..), cos(d w_0..)] for d = first .. first+count-1 (clamped to `clamp` if > 0),
 * w_i = base^(-2i/width) [count, width]; Vaswani et al. 2017 with concatenated halves. */
lh_tensor *lh_sinusoids(lh_context *context, lh_dtype dtype, int64_t first, int64_t count, int64_t width,
                        double base, int64_t clamp);
/* distance_bias [heads, count] for distances first .. first+count-1 from a T5 bucket table [heads, buckets];
 * gradients flow to the table. Raffel et al. 2020, unidirectional buckets. */
lh_tensor *lh_t5_bias(lh_context *context, lh_tensor *table, int64_t first, int64_t count, int64_t max_distance);
int32_t lh_t5_bucket(int64_t distance, int32_t buckets, int64_t max_distance);
/* distance_bias [heads, count] of ALiBi: -slope_h * distance, slopes 2^(-8(h+1)/heads). Press et al. 2022. */
lh_tensor *lh_alibi(lh_context *context, lh_dtype dtype, int64_t heads, int64_t first, int64_t count);

#endif
