/* Vectors of 8 floats (AVX2, FMA, F16C) under the names that simd/ is written in. avx512/vector.h is its twin. */
#ifndef LH_KERNELS_AVX2_VECTOR_H
#define LH_KERNELS_AVX2_VECTOR_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VF 8                 /* floats in a vector */
#define VF_LEVEL LH_CPU_AVX2 /* the table level that files of this folder register for */
#define VF_NAME(name) name##_avx2
typedef __m256 vf;
typedef __m256 vmask; /* all ones or all zeros for each float */
typedef __m256i vi;   /* 8 32-bit integers */
typedef __m256d vd;   /* half a vector's worth of doubles */
#define VD 4

static inline vf vf_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_load(const float *x)
{
    return _mm256_loadu_ps(x);
}
static inline void vf_store(float *x, vf v)
{
    _mm256_storeu_ps(x, v);
}
static inline __m256i vf_part_mask(int64_t n)
{
    static const int32_t ones_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones_zeros + 8 - n));
}
/* The first n of a vector, 0 <= n <= VF; the rest reads as zero and is not touched in memory. */
static inline vf vf_load_part(const float *x, int64_t n)
{
    return _mm256_maskload_ps(x, vf_part_mask(n));
}
static inline void vf_store_part(float *x, int64_t n, vf v)
{
    _mm256_maskstore_ps(x, vf_part_mask(n), v);
}
/* v with everything from element n on replaced by `other`. */
static inline vf vf_keep_part(vf v, int64_t n, vf other)
{
    return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(vf_part_mask(n)));
}
/* A whole vector if `left` >= VF elements are left, else the part that is. */
static inline vf vf_load_some(const float *x, int64_t left)
{
    return left >= VF ? vf_load(x) : vf_load_part(x, left);
}
static inline void vf_store_some(float *x, int64_t left, vf v)
{
    if (left >= VF) {
        vf_store(x, v);
    } else {
        vf_store_part(x, left, v);
    }
}
static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c) /* a b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_fms(vf a, vf b, vf c) /* a b - c */
{
    return _mm256_fmsub_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c) /* c - a b */
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) /* b if either is NaN */
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) /* b if either is NaN */
{
    return _mm256_min_ps(a, b);
}
static inline vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf vf_negate(vf a)
{
    return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf vf_copy_sign(vf size, vf sign) /* |size| with the sign of `sign` */
{
    vf bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, size), _mm256_and_ps(bit, sign));
}
/* x1 x0 x3 x2 ... */
static inline vf vf_swap_pairs(vf a)
{
    return _mm256_permute_ps(a, 0xb1);
}
static inline vf vf_round(vf a) /* to the nearest integer, ties to even */
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vmask vf_greater(vf a, vf b) /* false for NaN */
{
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
static inline vmask vf_less(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vmask vf_equal(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
static inline vf vf_select(vmask mask, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, mask);
}
static inline vf vf_keep(vmask mask, vf v) /* v or 0 */
{
    return _mm256_and_ps(mask, v);
}
static inline bool vf_any(vmask mask)
{
    return _mm256_movemask_ps(mask) != 0;
}
static inline uint32_t vf_mask_bits(vmask mask) /* bit i: lane i */
{
    return (uint32_t)_mm256_movemask_ps(mask);
}
static inline int vf_count(vmask mask)
{
    return __builtin_popcount((unsigned)_mm256_movemask_ps(mask));
}
static inline float vf_sum(vf v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline float vf_largest(vf v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
/* 2^n v for integers n held as floats, |n| <= 252: right through the denormals, infinite on overflow. */
static inline vf vf_scale_by_power(vf v, vf n)
{
    vi whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
    vi bias = _mm256_set1_epi32(127);
    vf first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    vf second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(v, first), second);
}
/* For positive normal v: the fraction in [sqrt 1/2, sqrt 2) and the exponent, v = fraction 2^exponent. */
static inline vf vf_split(vf v, vf *exponent)
{
    vi bits = _mm256_sub_epi32(_mm256_castps_si256(v), _mm256_set1_epi32(0x3f3504f3));
    *exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23));
    bits = _mm256_add_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff)), _mm256_set1_epi32(0x3f3504f3));
    return _mm256_castsi256_ps(bits);
}

static inline vi vi_set(uint32_t x)
{
    return _mm256_set1_epi32((int)x);
}
static inline vi vi_count_up(void) /* 0 1 2 ... */
{
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
static inline vi vi_xor(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}
static inline vi vi_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
static inline vi vi_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}
static inline vi vi_mul(vi a, vi b)
{
    return _mm256_mullo_epi32(a, b);
}
static inline vi vi_shift_right(vi a, int bits) /* unsigned */
{
    return _mm256_srli_epi32(a, bits);
}
static inline vi vi_load(const int32_t *x)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)x);
}
static inline void vi_store(int32_t *x, vi v)
{
    _mm256_storeu_si256((__m256i *)(void *)x, v);
}
static inline vmask vi_equal(vi a, vi b)
{
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b));
}
static inline vmask vi_at_least(vi a, vi b) /* a >= b, unsigned */
{
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a));
}
static inline vi vi_select(vmask mask, vi yes, vi no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask));
}
static inline vi vf_bits(vf v)
{
    return _mm256_castps_si256(v);
}
static inline vf vf_from_bits(vi v)
{
    return _mm256_castsi256_ps(v);
}

static inline vd vd_set(double x)
{
    return _mm256_set1_pd(x);
}
static inline vd vd_load(const double *x)
{
    return _mm256_loadu_pd(x);
}
static inline void vd_store(double *x, vd v)
{
    _mm256_storeu_pd(x, v);
}
static inline vd vd_add(vd a, vd b)
{
    return _mm256_add_pd(a, b);
}
static inline vd vd_mul(vd a, vd b)
{
    return _mm256_mul_pd(a, b);
}
static inline vd vd_fma(vd a, vd b, vd c)
{
    return _mm256_fmadd_pd(a, b, c);
}
static inline vd vd_fnma(vd a, vd b, vd c)
{
    return _mm256_fnmadd_pd(a, b, c);
}
static inline vd vd_round(vd a)
{
    return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vd vd_low(vf v) /* the first VD floats */
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}
static inline vd vd_high(vf v)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}
/* quadrant is an integer-valued double, |quadrant| < 2^51: chooses b over a where its lowest bit is set, and flips
 * the sign where its second bit, after adding `shift`, is set. */
static inline vd vd_turn(vd quadrant, int shift, vd a, vd b)
{
    /* 1.5 * 2^52 puts the integer into the low bits */
    vi bits = _mm256_castpd_si256(_mm256_add_pd(quadrant, _mm256_set1_pd(6755399441055744.0)));
    vd odd = _mm256_castsi256_pd(_mm256_slli_epi64(bits, 63));
    vi turned = _mm256_add_epi64(bits, _mm256_set1_epi64x(shift));
    vd sign = _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_srli_epi64(turned, 1), 63));
    return _mm256_xor_pd(_mm256_blendv_pd(a, b, odd), sign);
}
static inline void vd_store_floats(float *x, vd v)
{
    _mm_storeu_ps(x, _mm256_cvtpd_ps(v));
}

/* f16 to and from float, one vector. */
static inline vf vf_load_f16(const uint16_t *x)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
}
static inline void vf_store_f16(uint16_t *x, vf v)
{
    _mm_storeu_si128((__m128i *)(void *)x, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline vf vf_load_bf16(const uint16_t *x)
{
    vi wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
/* The low halves of the 32-bit integers. */
static inline void vi_store_low16(uint16_t *x, vi v)
{
    vi packed = _mm256_packus_epi32(v, v);
    packed = _mm256_permute4x64_epi64(packed, 0x08);
    _mm_storeu_si128((__m128i *)(void *)x, _mm256_castsi256_si128(packed));
}

#endif
