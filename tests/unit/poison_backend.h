/* A backend for tests: the CPU's kernels on memory that the host cannot touch except while a kernel or a transfer
 * runs. Code that follows a tensor's data pointer on the host crashes; a host address handed to a kernel is
 * counted.
 */
#ifndef LH_TESTS_POISON_BACKEND_H
#define LH_TESTS_POISON_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/args.h"
#include "tensor/backend.h"

enum { POISON_BLOCKS = 8192 };
#define POISON_BYTES ((size_t)256 << 20)

typedef struct poison_state {
    unsigned char *base;
    size_t used;
    struct {
        size_t offset, bytes;
    } free_block[POISON_BLOCKS];
    int free_blocks, live_blocks;
    int64_t runs, foreign; /* kernels run; arguments that point at host memory */
    int foreign_kernel;
} poison_state;

static poison_state poison;

static void poison_open(bool open)
{
    (void)mprotect(poison.base, POISON_BYTES, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static bool poison_owns(const void *address)
{
    uintptr_t at = (uintptr_t)address, base = (uintptr_t)poison.base;
    return at >= base && at <= base + POISON_BYTES;
}

static void *poison_allocate(const lh_backend *backend, size_t bytes)
{
    (void)backend;
    size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096; /* a page between blocks */
    size_t offset = SIZE_MAX;
    for (int i = 0; i < poison.free_blocks && offset == SIZE_MAX; i++) {
        if (poison.free_block[i].bytes == rounded) {
            offset = poison.free_block[i].offset;
            poison.free_block[i] = poison.free_block[--poison.free_blocks];
        }
    }
    if (offset == SIZE_MAX) {
        if (poison.used + rounded > POISON_BYTES) {
            return NULL;
        }
        offset = poison.used;
        poison.used += rounded;
    }
    poison.live_blocks++;
    poison_open(true);
    memset(poison.base + offset, 0, bytes);
    poison_open(false);
    return poison.base + offset;
}

static void poison_release(const lh_backend *backend, void *data, size_t bytes)
{
    (void)backend;
    size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096;
    poison.live_blocks--;
    if (poison.free_blocks < POISON_BLOCKS) {
        poison.free_block[poison.free_blocks].offset = (size_t)((unsigned char *)data - poison.base);
        poison.free_block[poison.free_blocks++].bytes = rounded;
    }
}

static void poison_to_host(const lh_backend *backend, void *host, const void *device, size_t bytes)
{
    (void)backend;
    poison_open(true);
    if (bytes) {
        memcpy(host, device, bytes);
    }
    poison_open(false);
}

static void poison_from_host(const lh_backend *backend, void *device, const void *host, size_t bytes)
{
    (void)backend;
    poison_open(true);
    if (bytes) {
        memcpy(device, host, bytes);
    }
    poison_open(false);
}

/* Counts an address that is neither NULL nor in the arena. */
static int poison_odd(const void *address)
{
    return address && !poison_owns(address);
}

#define POISON_ODD4(x, a, b, c, d) \
    (poison_odd((x)->a) + poison_odd((x)->b) + poison_odd((x)->c) + poison_odd((x)->d))

static int poison_odd_attention(const lh_attention_args *args)
{
    int odd = POISON_ODD4(args, q.data, out.data, lse, head_scale) +
              POISON_ODD4(args, d_out.data, d_lse, d_q.data, d_head_scale);
    for (int s = 0; s < args->source_count; s++) {
        const lh_attention_source *source = &args->source[s];
        odd += POISON_ODD4(source, k.data, v.data, low, high);
        odd += POISON_ODD4(source, content_bias, position_bias, rel_k, distance_bias);
        odd += POISON_ODD4(source, key_bias, gather, tile_row, tile_start);
        odd += POISON_ODD4(source, column_row, column, d_k.data, d_v.data);
        odd += POISON_ODD4(source, d_content_bias, d_position_bias, d_rel_k, d_distance_bias);
        odd += POISON_ODD4(source, d_key_bias, k_scale, v_scale, rel_v) + poison_odd(source->d_rel_v);
    }
    return odd;
}

/* How many addresses in the arguments are not of this backend. What the contract says is on the host (RoPE's
 * frequencies, the results of SUM_SQUARES) is left out. */
static int poison_foreign_pointers(int id, const void *arguments)
{
    switch ((lh_kernel_id)id) {
    case LH_KERNEL_COPY: {
        const lh_copy_args *x = arguments;
        return poison_odd(x->x) + poison_odd(x->y);
    }
    case LH_KERNEL_CAST: {
        const lh_cast_args *x = arguments;
        return poison_odd(x->x) + poison_odd(x->y);
    }
    case LH_KERNEL_FILL: return poison_odd(((const lh_fill_args *)arguments)->y);
    case LH_KERNEL_ADD_SCALED: {
        const lh_add_scaled_args *x = arguments;
        return poison_odd(x->x) + poison_odd(x->y);
    }
    case LH_KERNEL_UNARY:
    case LH_KERNEL_UNARY_BACKWARD: return POISON_ODD4((const lh_unary_args *)arguments, x, y, d_y, d_x);
    case LH_KERNEL_BINARY: return POISON_ODD4((const lh_binary_args *)arguments, a, b, y, y);
    case LH_KERNEL_REDUCE: return POISON_ODD4((const lh_reduce_args *)arguments, x, y, y, y);
    case LH_KERNEL_GEMM: return POISON_ODD4((const lh_gemm_args *)arguments, a, b, c, c);
    case LH_KERNEL_NORM:
    case LH_KERNEL_NORM_BACKWARD: {
        const lh_norm_args *x = arguments;
        return POISON_ODD4(x, x, residual, gain, bias) + POISON_ODD4(x, sum, y, mean, rstd) +
               POISON_ODD4(x, d_y, d_x, d_gain, d_bias);
    }
    case LH_KERNEL_BIAS_ACTIVATION:
    case LH_KERNEL_BIAS_ACTIVATION_BACKWARD: {
        const lh_bias_activation_args *x = arguments;
        return POISON_ODD4(x, x, bias, y, d_y) + POISON_ODD4(x, d_x, d_bias, d_x, d_bias);
    }
    case LH_KERNEL_GATED:
    case LH_KERNEL_GATED_BACKWARD: {
        const lh_gated_args *x = arguments;
        return POISON_ODD4(x, a, b, y, d_y) + POISON_ODD4(x, d_a, d_b, d_a, d_b);
    }
    case LH_KERNEL_SOFTMAX:
    case LH_KERNEL_SOFTMAX_BACKWARD: return POISON_ODD4((const lh_softmax_args *)arguments, x, y, d_y, d_x);
    case LH_KERNEL_CROSS_ENTROPY: {
        const lh_cross_entropy_args *x = arguments;
        return POISON_ODD4(x, logits, targets, weight, nll) + poison_odd(x->lse) + poison_odd(x->best);
    }
    case LH_KERNEL_ROPE: return POISON_ODD4((const lh_rope_args *)arguments, x, y, position, position);
    case LH_KERNEL_DROPOUT: return POISON_ODD4((const lh_dropout_args *)arguments, x, y, x, y);
    case LH_KERNEL_GATHER_ROWS:
    case LH_KERNEL_SCATTER_ADD_ROWS: {
        const lh_gather_args *x = arguments;
        return POISON_ODD4(x, index, x, y, d_y) + poison_odd(x->d_x);
    }
    case LH_KERNEL_UNFOLD:
    case LH_KERNEL_FOLD: return POISON_ODD4((const lh_unfold_args *)arguments, x, y, d_y, d_x);
    case LH_KERNEL_POOL:
    case LH_KERNEL_POOL_BACKWARD: {
        const lh_pool_args *x = arguments;
        return POISON_ODD4(x, x, y, d_y, d_x) + poison_odd(x->argmax);
    }
    case LH_KERNEL_NEAREST: {
        const lh_nearest_args *x = arguments;
        return POISON_ODD4(x, q.data, keys.rows.data, keys.scale, written) +
               POISON_ODD4(x, index, score, index, score);
    }
    case LH_KERNEL_RING_APPEND: {
        const lh_ring_append_args *x = arguments;
        return POISON_ODD4(x, x.data, ring.rows.data, ring.scale, written) + poison_odd(x->written_after);
    }
    case LH_KERNEL_ARGMAX: return POISON_ODD4((const lh_argmax_args *)arguments, x, index, x, index);
    case LH_KERNEL_GROUP: {
        const lh_group_args *x = arguments;
        return POISON_ODD4(x, group, keep, start, order) + poison_odd(x->low) + poison_odd(x->high);
    }
    case LH_KERNEL_GROUP_GATHER:
    case LH_KERNEL_GROUP_SUM: {
        const lh_group_rows_args *x = arguments;
        return POISON_ODD4(x, x.data, y, index, start) + poison_odd(x->order) + poison_odd(x->total);
    }
    case LH_KERNEL_CENTROIDS: {
        const lh_centroids_args *x = arguments;
        return POISON_ODD4(x, sum, total, mean, count) + poison_odd(x->centroid);
    }
    case LH_KERNEL_GROUP_LATEST:
        return POISON_ODD4((const lh_group_latest_args *)arguments, group, own, index, first);
    case LH_KERNEL_GROUP_SEEN: {
        const lh_group_seen_args *x = arguments;
        return POISON_ODD4(x, query_start, query_order, key_start, key_order) + poison_odd(x->low) +
               poison_odd(x->high);
    }
    case LH_KERNEL_TOP_SO_FAR: return POISON_ODD4((const lh_top_so_far_args *)arguments, x, accepted, x, accepted);
    case LH_KERNEL_TOP_SO_FAR_LISTS:
        return POISON_ODD4((const lh_top_so_far_lists_args *)arguments, x, triple, index, first);
    case LH_KERNEL_TOP_K: return POISON_ODD4((const lh_top_k_args *)arguments, x, index, x, index);
    case LH_KERNEL_ATTENTION:
    case LH_KERNEL_ATTENTION_BACKWARD: return poison_odd_attention(arguments);
    case LH_KERNEL_ATTENTION_MASS: {
        const lh_attention_mass_args *x = arguments;
        int odd = poison_odd_attention(&x->attention);
        for (int s = 0; s < x->attention.source_count; s++) {
            odd += poison_odd(x->mass[s]);
        }
        return odd;
    }
    case LH_KERNEL_NEAREST_CODE: {
        const lh_nearest_code_args *x = arguments;
        return POISON_ODD4(x, k.data, codebook, code, distance) + poison_odd(x->quantised.data);
    }
    case LH_KERNEL_CODE_MEANS:
    case LH_KERNEL_CODE_MEANS_BACKWARD: {
        const lh_code_means_args *x = arguments;
        return POISON_ODD4(x, code, count, new_count, v.data) + POISON_ODD4(x, mean, new_mean, d_new_mean, d_mean) +
               poison_odd(x->d_v.data);
    }
    case LH_KERNEL_CODE_SUMS: {
        const lh_code_sums_args *x = arguments;
        return POISON_ODD4(x, code, x.data, weight, sum) + poison_odd(x->total);
    }
    case LH_KERNEL_SUM_SQUARES: return poison_odd(((const lh_sum_squares_args *)arguments)->x);
    case LH_KERNEL_ADAMW: return POISON_ODD4((const lh_adamw_args *)arguments, param, grad, m, v);
    case LH_KERNEL_SGD: return POISON_ODD4((const lh_sgd_args *)arguments, param, grad, buffer, buffer);
    case LH_KERNEL_ADAFACTOR: {
        const lh_adafactor_args *x = arguments;
        return POISON_ODD4(x, param, grad, row, column) + POISON_ODD4(x, v, m, v, m);
    }
    default: return 1; /* a kernel that this list does not know: write down its addresses */
    }
}

static lh_status poison_run(const lh_backend *backend, lh_exec *exec, int id, lh_dtype dtype, const void *arguments)
{
    (void)backend;
    const lh_backend *cpu = lh_backend_cpu();
    poison.runs++;
    int foreign = poison_foreign_pointers(id, arguments);
    if (foreign) {
        poison.foreign += foreign;
        poison.foreign_kernel = id;
    }
    poison_open(true);
    lh_status status = cpu->run(cpu, exec, id, dtype, arguments);
    poison_open(false);
    return status;
}

static const lh_backend *poison_backend(void)
{
    static const lh_backend backend = {.name = "poison",
                                       .allocate = poison_allocate,
                                       .release = poison_release,
                                       .to_host = poison_to_host,
                                       .from_host = poison_from_host,
                                       .run = poison_run};
    if (!poison.base) {
        void *base = mmap(NULL, POISON_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        poison.base = base == MAP_FAILED ? NULL : base;
    }
    return poison.base ? &backend : NULL;
}

#endif
