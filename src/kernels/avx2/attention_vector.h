/* The vectors of the AVX2 attention: eight float lanes, sixteen registers. avx512/attention_vector.h has the same
 * names with other sizes. */
#ifndef LH_KERNELS_AVX2_ATTENTION_VECTOR_H
#define LH_KERNELS_AVX2_ATTENTION_VECTOR_H

#include "kernels/table.h"

#include <immintrin.h>
#include <math.h>

#define LANES 8
#define BLOCK_ROWS 6 /* of the products: BLOCK_ROWS x two vectors of sums stay in registers */

typedef __m256 vector;
typedef __m256i vector_int;

static inline vector v_load(const float *x)
{
    return _mm256_loadu_ps(x);
}

static inline void v_store(float *x, vector value)
{
    _mm256_storeu_ps(x, value);
}

static inline vector_int v_load_int(const int32_t *x)
{
    return _mm256_loadu_si256((const __m256i *)x);
}

static inline vector v_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vector v_zero(void)
{
    return _mm256_setzero_ps();
}

static inline vector v_add(vector a, vector b)
{
    return _mm256_add_ps(a, b);
}

static inline vector v_subtract(vector a, vector b)
{
    return _mm256_sub_ps(a, b);
}

static inline vector v_multiply(vector a, vector b)
{
    return _mm256_mul_ps(a, b);
}

/* a b + c */
static inline vector v_fma(vector a, vector b, vector c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* The larger; b where either is NaN. */
static inline vector v_max(vector a, vector b)
{
    return _mm256_max_ps(a, b);
}

/* Bit l is set where lane l of a is greater; not where either is NaN. */
static inline uint32_t v_greater(vector a, vector b)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

/* Bit l is set where lane l of a is greater or equal. */
static inline uint32_t v_at_least(vector a, vector b)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
}

/* x with `value` in lane `place`; what was there and behind moves on by one, the last lane is lost. */
static inline vector v_insert(vector x, int place, float value)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), at = _mm256_set1_epi32(place);
    __m256 moved = _mm256_permutevar8x32_ps(x, _mm256_add_epi32(lane, _mm256_cmpgt_epi32(lane, at)));
    return _mm256_blendv_ps(moved, _mm256_set1_ps(value), _mm256_castsi256_ps(_mm256_cmpeq_epi32(lane, at)));
}

/* yes where a is greater than b, else no */
static inline vector v_where_greater(vector a, vector b, vector yes, vector no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

static inline bool v_all_equal(vector a, vector b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)) == 0xff;
}

/* LANES numbers of the short types */
static inline vector v_load_f16(const uint16_t *x)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
}

static inline void v_store_f16(uint16_t *x, vector value)
{
    _mm_storeu_si128((__m128i *)(void *)x, _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline vector v_load_i8(const int8_t *x)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x)));
}

static inline float v_sum(vector x)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

static inline float v_largest(vector x)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

/* The sums of eight vectors, one in each lane. */
static inline vector v_sums(const vector x[LANES])
{
    __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(x[4], x[5]), _mm256_hadd_ps(x[6], x[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

/* The first `count` lanes, 0 <= count <= LANES, the others zero; and their store. Nothing else is touched. */
static inline __m256i v_first(int64_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vector v_load_first(const float *x, int64_t count)
{
    return _mm256_maskload_ps(x, v_first(count));
}

static inline void v_store_first(float *x, int64_t count, vector value)
{
    _mm256_maskstore_ps(x, v_first(count), value);
}

/* x where low <= key < high, else -infinity */
static inline vector v_visible(vector x, vector_int low, vector_int high, int32_t key)
{
    __m256i at = _mm256_set1_epi32(key);
    __m256i seen = _mm256_andnot_si256(_mm256_cmpgt_epi32(low, at), _mm256_cmpgt_epi32(high, at));
    return _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), x, _mm256_castsi256_ps(seen));
}

/* 2^x for x below about 127, to 1.5 units in the last place; 0 below 2^-126; NaN of NaN. 2^f for |f| <= 1/2 is
 * 1 + f q(f) with q of degree 5, of least greatest relative error (2e-9) by Remez exchange. */
static inline vector v_exp2(vector x)
{
    const __m256 shifter = _mm256_set1_ps(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    __m256 shifted = _mm256_add_ps(x, shifter);
    __m256 f = _mm256_sub_ps(x, _mm256_sub_ps(shifted, shifter));
    __m256 y = _mm256_set1_ps(0x1.41fbbcp-13f);
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0x1.5f3e52p-10f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0x1.3b2d4cp-7f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0x1.c6aee8p-5f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0x1.ebfbdcp-3f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0x1.62e430p-1f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(1.0f));
    __m256i scaled = _mm256_add_epi32(_mm256_castps_si256(y), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23));
    return _mm256_and_ps(_mm256_castsi256_ps(scaled), _mm256_cmp_ps(x, _mm256_set1_ps(-126.0f), _CMP_NLT_UQ));
}

/* Shearing, in two steps. Lane l of the first step's result is lane l of row + (l % 4) * stride; of the second
 * step's, lane l of row + (l / 4 * 4) * stride. Both one after the other: lane l comes from l rows away. */
static inline vector v_shear_fine(const float *row, int64_t stride)
{
    __m256 even = _mm256_blend_ps(_mm256_loadu_ps(row), _mm256_loadu_ps(row + stride), 0x22);
    __m256 odd = _mm256_blend_ps(_mm256_loadu_ps(row + 2 * stride), _mm256_loadu_ps(row + 3 * stride), 0x88);
    return _mm256_blend_ps(even, odd, 0xcc);
}

static inline vector v_shear_coarse(const float *row, int64_t stride)
{
    return _mm256_blend_ps(_mm256_loadu_ps(row), _mm256_loadu_ps(row + 4 * stride), 0xf0);
}

/* Multiplies by 0 the lanes whose key dropout takes: lh_attention_keep for a vector of row keys. */
static inline vector v_drop(vector x, vector_int row_key, uint32_t key, uint32_t threshold)
{
    __m256i h = _mm256_xor_si256(row_key, _mm256_set1_epi32((int)(key * 0x9E3779B9u)));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 16));
    h = _mm256_mullo_epi32(h, _mm256_set1_epi32(0x21f0aaad));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 15));
    h = _mm256_mullo_epi32(h, _mm256_set1_epi32(0x735a2d97));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 15));
    __m256i kept = _mm256_cmpeq_epi32(_mm256_max_epu32(h, _mm256_set1_epi32((int)threshold)), h);
    return _mm256_and_ps(x, _mm256_castsi256_ps(kept));
}

#endif
