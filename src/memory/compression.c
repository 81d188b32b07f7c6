#include "memory/compression.h"

static int64_t conv_length(int64_t n, int64_t kernel, int64_t stride)
{
    return n < kernel ? 0 : (n - kernel) / stride + 1;
}

int64_t lh_compression_slots(const lh_compression *compression, int64_t n)
{
    for (int i = 0; i < compression->dilation_count && compression->function == LH_COMPRESS_DILATED; i++) {
        n -= compression->dilations[i];
    }
    if (compression->function == LH_COMPRESS_MOST_USED) {
        return n / compression->rate;
    }
    return conv_length(n, compression->rate + compression->extra, compression->rate);
}

static lh_tensor *most_used(lh_context *context, const lh_compression *compression, lh_tensor *block,
                            lh_tensor *usage)
{
    int64_t batch = block->shape[0], n = block->shape[1], width = block->shape[2], slots = n / compression->rate;
    /* Ties go to the newer memory; the indices come back in time order. */
    lh_tensor *index = lh_top_k(context, lh_contiguous(context, usage), slots, true);
    if (!index) {
        return NULL;
    }
    size_t count = (size_t)(batch * slots);
    int32_t *rows = lh_arena_alloc(&context->arena, count * sizeof *rows);
    if (!rows || lh_tensor_read(index, rows, &context->error) != LH_OK) {
        return lh_op_fail(context, LH_E_MEMORY, "most-used compression", "no memory for %zu indices", count);
    }
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t s = 0; s < slots; s++) {
            rows[b * slots + s] += (int32_t)(b * n);
        }
    }
    int64_t flat = batch * slots;
    lh_tensor *flat_index = lh_from_host(context, LH_I32, 1, &flat, rows);
    lh_tensor *kept = lh_gather_rows(
        context, lh_reshape(context, lh_contiguous(context, block), 2, (int64_t[]){batch * n, width}), flat_index);
    return lh_reshape(context, kept, 3, (int64_t[]){batch, slots, width});
}

lh_tensor *lh_compress(lh_context *context, const lh_compression *compression, lh_tensor *block, lh_tensor *weight,
                       lh_tensor *const *dilated, lh_tensor *usage)
{
    int64_t kernel = compression->rate + compression->extra;
    switch (compression->function) {
    case LH_COMPRESS_MOST_USED: return most_used(context, compression, block, usage);
    case LH_COMPRESS_MAX: return lh_pool1d(context, block, kernel, compression->rate, true);
    case LH_COMPRESS_MEAN: return lh_pool1d(context, block, kernel, compression->rate, false);
    case LH_COMPRESS_DILATED:
        for (int i = 0; i < compression->dilation_count; i++) {
            block = lh_unary(context, LH_RELU, lh_conv1d(context, block, dilated[i], 1, compression->dilations[i]));
        }
        break;
    case LH_COMPRESS_CONV: break;
    }
    return lh_conv1d(context, block, weight, compression->rate, 1);
}
