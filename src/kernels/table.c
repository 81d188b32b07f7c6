#include "kernels/table.h"

#include "kernels/attention_register.h"
#include "kernels/kernel.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const kernel_names[LH_KERNEL_COUNT] = {
#define LH_KERNEL_NAME(name, function) #function,
    LH_KERNEL_LIST(LH_KERNEL_NAME)
#undef LH_KERNEL_NAME
};

static const char *const level_names[LH_CPU_LEVEL_COUNT] = {"ref", "avx2", "avx512"};

static lh_kernel_table tables[LH_CPU_LEVEL_COUNT];
static lh_cpu_level best_level;
static bool available[LH_CPU_LEVEL_COUNT]; /* asked once: CPUID is slow, and traps in virtual machines */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void register_ref(lh_kernel_table *table)
{
    lh_register_copy_ref(table);
    lh_register_elementwise_ref(table);
    lh_register_broadcast_ref(table);
    lh_register_gemm(table);
    lh_register_norm_ref(table);
    lh_register_softmax_ref(table);
    lh_register_rope_ref(table);
    lh_register_rows_ref(table);
    lh_register_ring_ref(table);
    lh_register_window_ref(table);
    lh_register_select_ref(table);
    lh_register_group_ref(table);
    lh_register_optimizer_ref(table);
    lh_register_codes_ref(table);
    lh_register_attention_ref(table);
}

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports knows f16c. The other checks cover the operating system's part. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static bool machine_has(lh_cpu_level level)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return level == LH_CPU_REF || (level == LH_CPU_AVX2 && avx2) || (level == LH_CPU_AVX512 && avx512);
}

static void register_avx2(lh_kernel_table *table)
{
    lh_register_elementwise_avx2(table);
    lh_register_flat_avx2(table);
    lh_register_norm_avx2(table);
    lh_register_softmax_avx2(table);
    lh_register_broadcast_avx2(table);
    lh_register_rows_avx2(table);
    lh_register_rope_avx2(table);
    lh_register_adafactor_avx2(table);
    lh_register_gemm_avx2(table);
    lh_register_codes_avx2(table);
    lh_register_select_avx2(table);
    lh_register_group_avx2(table);
    lh_register_attention_avx2(table);
}

static void register_avx512(lh_kernel_table *table)
{
    lh_register_elementwise_avx512(table);
    lh_register_flat_avx512(table);
    lh_register_norm_avx512(table);
    lh_register_softmax_avx512(table);
    lh_register_broadcast_avx512(table);
    lh_register_rows_avx512(table);
    lh_register_rope_avx512(table);
    lh_register_adafactor_avx512(table);
    lh_register_gemm_avx512(table);
    lh_register_codes_avx512(table);
    lh_register_select_avx512(table);
    lh_register_group_avx512(table);
    lh_register_attention_avx512(table);
}
#else
static bool machine_has(lh_cpu_level level)
{
    return level == LH_CPU_REF;
}

static void register_avx2(lh_kernel_table *table)
{
    (void)table;
}

static void register_avx512(lh_kernel_table *table)
{
    (void)table;
}
#endif

static void build_tables(void)
{
    register_ref(&tables[LH_CPU_REF]);
    tables[LH_CPU_AVX2] = tables[LH_CPU_REF];
    register_avx2(&tables[LH_CPU_AVX2]);
    tables[LH_CPU_AVX512] = tables[LH_CPU_AVX2];
    register_avx512(&tables[LH_CPU_AVX512]);

    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        available[level] = machine_has((lh_cpu_level)level);
        if (available[level]) {
            best_level = (lh_cpu_level)level;
        }
    }
    const char *wanted = getenv("LH_CPU");
    for (int level = 0; wanted && level < LH_CPU_LEVEL_COUNT; level++) {
        if (strcmp(wanted, level_names[level]) == 0 && available[level]) {
            best_level = (lh_cpu_level)level;
        }
    }
}

const lh_kernel_table *lh_kernel_table_get(lh_cpu_level level)
{
    pthread_once(&tables_once, build_tables);
    return available[level] ? &tables[level] : NULL;
}

lh_cpu_level lh_cpu_best_level(void)
{
    pthread_once(&tables_once, build_tables);
    return best_level;
}

const char *lh_cpu_level_name(lh_cpu_level level)
{
    return level_names[level];
}

const char *lh_kernel_name(lh_kernel_id id)
{
    return kernel_names[id];
}
