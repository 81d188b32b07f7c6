/* The ceilings that speeds are stated against, measured beside the thing itself. */
#ifndef LH_BENCH_PEAK_H
#define LH_BENCH_PEAK_H

#include "autograd/context.h"
#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, bench_compare);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

/* Flop per second of one large single-precision product on all of the context's threads. */
static inline double bench_peak(lh_context *context)
{
    enum { N = 1536 };
    static float *a, *b, *c;
    if (!a) {
        a = lh_heap_alloc(sizeof(float) * N * N);
        b = lh_heap_alloc(sizeof(float) * N * N);
        c = lh_heap_alloc(sizeof(float) * N * N);
        for (int i = 0; i < N * N; i++) {
            a[i] = (float)(i % 7) - 3.0f;
            b[i] = (float)(i % 5) - 2.0f;
        }
    }
    lh_gemm_args gemm = {
        .batch = 1, .m = N, .n = N, .k = N, .alpha = 1.0, .a = a, .b = b, .c = c, .lda = N, .ldb = N, .ldc = N};
    double best = 1e30;
    for (int i = 0; i < 2; i++) {
        double start = lh_now();
        lh_run(context, LH_KERNEL_GEMM, LH_F32, &gemm);
        double seconds = lh_now() - start;
        best = seconds < best ? seconds : best;
    }
    return 2.0 * N * (double)N * N / best;
}

/* Highest resident size of this process, in bytes. */
static inline double bench_resident_peak(void)
{
    char line[256];
    double kilobytes = 0.0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kilobytes = atof(line + 6);
        }
    }
    if (status) {
        (void)fclose(status);
    }
    return kilobytes * 1024.0;
}

#endif
