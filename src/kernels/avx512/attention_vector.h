/* The vectors of the AVX-512 attention: sixteen float lanes, thirty-two registers. The names are those of
 * avx2/attention_vector.h, where they are explained. */
#ifndef LH_KERNELS_AVX512_ATTENTION_VECTOR_H
#define LH_KERNELS_AVX512_ATTENTION_VECTOR_H

#include "kernels/table.h"

#include <immintrin.h>
#include <math.h>

#define LANES 16
#define BLOCK_ROWS 8

typedef __m512 vector;
typedef __m512i vector_int;

static inline vector v_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

static inline void v_store(float *x, vector value)
{
    _mm512_storeu_ps(x, value);
}

static inline vector_int v_load_int(const int32_t *x)
{
    return _mm512_loadu_si512(x);
}

static inline vector v_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vector v_zero(void)
{
    return _mm512_setzero_ps();
}

static inline vector v_add(vector a, vector b)
{
    return _mm512_add_ps(a, b);
}

static inline vector v_subtract(vector a, vector b)
{
    return _mm512_sub_ps(a, b);
}

static inline vector v_multiply(vector a, vector b)
{
    return _mm512_mul_ps(a, b);
}

static inline vector v_fma(vector a, vector b, vector c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vector v_max(vector a, vector b)
{
    return _mm512_max_ps(a, b);
}

static inline uint32_t v_greater(vector a, vector b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

static inline uint32_t v_at_least(vector a, vector b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

static inline vector v_insert(vector x, int place, float value)
{
    return _mm512_mask_expand_ps(_mm512_set1_ps(value), (__mmask16) ~(1u << place), x);
}

static inline vector v_where_greater(vector a, vector b, vector yes, vector no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}

static inline bool v_all_equal(vector a, vector b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) == 0xffff;
}

static inline vector v_load_f16(const uint16_t *x)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
}

static inline void v_store_f16(uint16_t *x, vector value)
{
    _mm256_storeu_si256((__m256i *)(void *)x,
                        _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline vector v_load_i8(const int8_t *x)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)x)));
}

static inline float v_sum(vector x)
{
    return _mm512_reduce_add_ps(x);
}

static inline float v_largest(vector x)
{
    return _mm512_reduce_max_ps(x);
}

/* The sums of four vectors, in the four lanes of each quarter, to be added over the quarters. */
static inline __m512 v_sums_of_four(const vector x[4])
{
    __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
    __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
}

static inline vector v_sums(const vector x[LANES])
{
    __m512 a = v_sums_of_four(x), b = v_sums_of_four(x + 4), c = v_sums_of_four(x + 8), d = v_sums_of_four(x + 12);
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

static inline __mmask16 v_first(int64_t count)
{
    return (__mmask16)((1u << count) - 1);
}

static inline vector v_load_first(const float *x, int64_t count)
{
    return _mm512_maskz_loadu_ps(v_first(count), x);
}

static inline void v_store_first(float *x, int64_t count, vector value)
{
    _mm512_mask_storeu_ps(x, v_first(count), value);
}

static inline vector v_visible(vector x, vector_int low, vector_int high, int32_t key)
{
    __m512i at = _mm512_set1_epi32(key);
    __mmask16 seen = _mm512_mask_cmpgt_epi32_mask(_mm512_cmple_epi32_mask(low, at), high, at);
    return _mm512_mask_blend_ps(seen, _mm512_set1_ps(-INFINITY), x);
}

static inline vector v_exp2(vector x)
{
    const __m512 shifter = _mm512_set1_ps(12582912.0f);
    __m512 shifted = _mm512_add_ps(x, shifter);
    __m512 f = _mm512_sub_ps(x, _mm512_sub_ps(shifted, shifter));
    __m512 y = _mm512_set1_ps(0x1.41fbbcp-13f);
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0x1.5f3e52p-10f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0x1.3b2d4cp-7f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0x1.c6aee8p-5f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0x1.ebfbdcp-3f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0x1.62e430p-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
    __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(normal, _mm512_castps_si512(y), exponent));
}

static inline vector v_shear_fine(const float *row, int64_t stride)
{
    __m512 x = _mm512_loadu_ps(row);
    x = _mm512_mask_loadu_ps(x, 0x2222, row + stride);
    x = _mm512_mask_loadu_ps(x, 0x4444, row + 2 * stride);
    return _mm512_mask_loadu_ps(x, 0x8888, row + 3 * stride);
}

static inline vector v_shear_coarse(const float *row, int64_t stride)
{
    __m512 x = _mm512_loadu_ps(row);
    x = _mm512_mask_loadu_ps(x, 0x00f0, row + 4 * stride);
    x = _mm512_mask_loadu_ps(x, 0x0f00, row + 8 * stride);
    return _mm512_mask_loadu_ps(x, 0xf000, row + 12 * stride);
}

static inline vector v_drop(vector x, vector_int row_key, uint32_t key, uint32_t threshold)
{
    __m512i h = _mm512_xor_si512(row_key, _mm512_set1_epi32((int)(key * 0x9E3779B9u)));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 16));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32(0x21f0aaad));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 15));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32(0x735a2d97));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 15));
    __mmask16 kept = _mm512_cmpge_epu32_mask(h, _mm512_set1_epi32((int)threshold));
    return _mm512_maskz_mov_ps(kept, x);
}

#endif
