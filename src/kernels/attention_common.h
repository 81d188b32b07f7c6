/* What all attention kernels share: which keys a query sees, and which units of work write the same gradients. */
#ifndef LH_KERNELS_ATTENTION_COMMON_H
#define LH_KERNELS_ATTENTION_COMMON_H

#include "kernels/args.h"
#include "kernels/table.h"

static inline int64_t lh_attention_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t lh_attention_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The keys [*begin, *end) that the distance rule and the intervals let query i see; *begin >= *end if none. */
static inline void lh_attention_interval(const lh_attention_source *source, int64_t b, int64_t h, int64_t i,
                                         int64_t *begin, int64_t *end)
{
    *begin = lh_attention_max(0, i + source->offset - source->max_distance);
    *end = lh_attention_min(source->k_len, i + source->offset - source->min_distance + 1);
    int64_t at = b * source->interval_batch + h * source->interval_head + i;
    if (source->low) {
        *begin = lh_attention_max(*begin, source->low[at]);
    }
    if (source->high) {
        *end = lh_attention_min(*end, source->high[at]);
    }
}

/* A walk over the keys of one source that one query sees, as runs of neighbouring keys. */
typedef struct lh_key_walk {
    const lh_attention_source *source;
    int64_t begin, end;    /* of the distance rule and the intervals */
    int64_t at, tiles_end; /* next tile, or list entry */
    int64_t column, columns_end;
} lh_key_walk;

static inline lh_key_walk lh_key_walk_start(const lh_attention_args *args, const lh_attention_source *source,
                                            int64_t b, int64_t h, int64_t i)
{
    lh_key_walk walk = {.source = source};
    int64_t lane = b * args->heads + h;
    if (source->layout == LH_KEYS_GATHERED) {
        walk.at = (lane * args->q_len + i) * source->gathered;
        walk.tiles_end = walk.at + source->gathered;
        return walk;
    }
    lh_attention_interval(source, b, h, i, &walk.begin, &walk.end);
    walk.tiles_end = 1;
    if (source->layout == LH_KEYS_BLOCKS) {
        int64_t blocks = (args->q_len + source->block_size - 1) / source->block_size;
        int64_t block = lane * blocks + i / source->block_size;
        walk.at = source->tile_row ? source->tile_row[block] : 0;
        walk.tiles_end = source->tile_row ? source->tile_row[block + 1] : 0;
        walk.column = source->column_row ? source->column_row[block] : 0;
        walk.columns_end = source->column_row ? source->column_row[block + 1] : 0;
    }
    return walk;
}

/* The next run of keys [*begin, *end), never empty; false when there is none left. */
static inline bool lh_key_walk_next(lh_key_walk *walk, int64_t *begin, int64_t *end)
{
    const lh_attention_source *source = walk->source;
    while (walk->at < walk->tiles_end) {
        int64_t at = walk->at++;
        if (source->layout == LH_KEYS_GATHERED) {
            *begin = source->gather[at];
            *end = *begin + 1;
            if (*begin >= 0) {
                return true;
            }
        } else {
            *begin = walk->begin;
            *end = walk->end;
            if (source->layout == LH_KEYS_BLOCKS) {
                *begin = lh_attention_max(*begin, source->tile_start[at]);
                *end = lh_attention_min(*end, (int64_t)source->tile_start[at] + source->block_size);
            }
            if (*begin < *end) {
                return true;
            }
        }
    }
    if (walk->column < walk->columns_end) {
        *begin = source->column[walk->column++];
        *end = *begin + 1;
        return true;
    }
    return false;
}

/* The row of rel_k and distance_bias for query i and key j, or -1 if there is none. */
static inline int64_t lh_attention_rel(const lh_attention_source *source, int64_t i, int64_t j)
{
    int64_t t = i - source->rel_step * j + source->rel_offset - source->rel_first;
    if (t >= 0 && t < source->rel_len) {
        return t;
    }
    if (!source->rel_clamp || source->rel_len <= 0) {
        return -1;
    }
    return t < 0 ? 0 : source->rel_len - 1;
}

/* Whether gradients of different batch entries, or of different key/value heads, are added to the same place. */
static inline void lh_attention_shares(const lh_attention_args *args, bool *across_batch, bool *across_heads)
{
    bool batch = args->d_head_scale != NULL, heads = false;
    batch |= args->d_q.data && args->d_q.batch == 0;
    heads |= args->d_q.data && args->d_q.head == 0;
    for (int s = 0; s < args->source_count; s++) {
        const lh_attention_source *source = &args->source[s];
        batch |= (source->d_k.data && source->d_k.batch == 0) || (source->d_v.data && source->d_v.batch == 0);
        heads |= (source->d_k.data && source->d_k.head == 0) || (source->d_v.data && source->d_v.head == 0);
        batch |= source->d_content_bias || source->d_position_bias || source->d_distance_bias;
        batch |= source->d_rel_k || source->d_rel_v;
        heads |= source->d_rel_k && source->rel_k_head == 0;
        heads |= source->d_rel_v && source->rel_v_head == 0;
        batch |= source->d_key_bias && source->key_bias_batch == 0;
        heads |= source->d_key_bias && source->key_bias_head == 0;
    }
    *across_batch = batch && args->batch > 1;
    *across_heads = heads && args->kv_heads > 1;
}

/* What a kept probability is multiplied by. */
static inline double lh_attention_keep_scale(double dropout)
{
    return dropout < 1 ? 1 / (1 - dropout) : 0;
}

/* Whether gradients of tables by relative position are wanted. */
static inline bool lh_attention_table_gradients(const lh_attention_source *source)
{
    return source->d_rel_k || source->d_rel_v || source->d_distance_bias;
}

/* Whether work on a source's gradients may follow close behind that of the source before, in the wave of
 * attention_order.h: nothing but d_q may be added to by both, or rows of one table whose distances do not meet,
 * because the later source's keys come after the earlier one's. */
static inline bool lh_attention_may_follow(const lh_attention_source *before, const lh_attention_source *source)
{
    if (before->d_key_bias && source->d_key_bias) {
        return false;
    }
    if (!lh_attention_table_gradients(before) || !lh_attention_table_gradients(source)) {
        return true;
    }
    return before->d_rel_k == source->d_rel_k && before->d_rel_v == source->d_rel_v &&
           before->d_distance_bias == source->d_distance_bias && before->rel_step == 1 && source->rel_step == 1 &&
           source->rel_offset - source->rel_first <= before->rel_offset - before->rel_first - before->k_len;
}

#endif
