/* The kernel table of the CPU backend: plain C first, then whatever the machine's instruction sets offer on top.
 *
 * A kernel is  void kernel(lh_exec *exec, const void *arguments)  for one id and one element type. Files in ref/
 * define every kernel for float and double (one template included twice); files in avx2/ and avx512/ replace some
 * of the float ones. To add a version: write the file, call its register function from the level's list in table.c.
 */
#ifndef LH_KERNELS_TABLE_H
#define LH_KERNELS_TABLE_H

#include "kernels/args.h"
#include "tensor/backend.h"

typedef void (*lh_kernel)(lh_exec *exec, const void *arguments);

typedef enum lh_cpu_level { LH_CPU_REF, LH_CPU_AVX2, LH_CPU_AVX512, LH_CPU_LEVEL_COUNT } lh_cpu_level;

typedef struct lh_kernel_table {
    lh_kernel f32[LH_KERNEL_COUNT], f64[LH_KERNEL_COUNT];
    lh_cpu_level origin[LH_KERNEL_COUNT]; /* which level the float entry comes from */
} lh_kernel_table;

/* The table of one level and everything below it; NULL if this machine cannot run it. Built once. */
const lh_kernel_table *lh_kernel_table_get(lh_cpu_level level);
lh_cpu_level lh_cpu_best_level(void); /* by CPU flags and LH_CPU */
const char *lh_cpu_level_name(lh_cpu_level level);
const char *lh_kernel_name(lh_kernel_id id);

/* A 32-bit integer hash with full avalanche: two multiplications vectorise, a block cipher per element would not.
 */
static inline uint32_t lh_mix32(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= x >> 15;
    x *= 0x735a2d97u;
    x ^= x >> 15;
    return x;
}

/* Element i's 32 random bits for DROPOUT: kept if the word >= lh_dropout_threshold(rate). */
static inline uint32_t lh_dropout_word(uint64_t seed, uint64_t index)
{
    uint32_t low = (uint32_t)index, high = (uint32_t)(index >> 32);
    return lh_mix32(lh_mix32(low ^ (uint32_t)seed) + (high ^ (uint32_t)(seed >> 32)) * 0x9E3779B9u);
}

static inline uint32_t lh_dropout_threshold(double rate)
{
    double scaled = rate * 4294967296.0;
    return scaled >= 4294967295.0 ? 4294967295u : (uint32_t)scaled;
}

/* The row key of attention dropout, once per (batch, head, query, source). */
static inline uint32_t lh_attention_row_key(uint64_t seed, uint64_t offset, int64_t batch_head, int64_t query,
                                            int source)
{
    uint64_t index = offset + ((uint64_t)batch_head << 40) + ((uint64_t)query << 4) + (uint64_t)source;
    return lh_dropout_word(seed, index);
}

static inline bool lh_attention_keep(uint32_t row_key, int64_t key, uint32_t threshold)
{
    return lh_mix32(row_key ^ (uint32_t)key * 0x9E3779B9u) >= threshold;
}

#endif
