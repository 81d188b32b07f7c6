/* The transpose of 8 x 8 floats in registers, for every level from AVX2 on. */
#ifndef LH_KERNELS_TURN_8X8_H
#define LH_KERNELS_TURN_8X8_H

#include "kernels/unroll.h"

#include <immintrin.h>

static ALWAYS_INLINE void turn_8x8(__m256 x[8])
{
    __m256 a[8], b[8];
    UNROLL_ALL
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    UNROLL_ALL
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    UNROLL_ALL
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

#endif
