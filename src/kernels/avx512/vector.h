/* Vectors of 16 floats (AVX-512 F, BW, DQ, VL) under the names that simd/ is written in; comments in avx2/vector.h.
 */
#ifndef LH_KERNELS_AVX512_VECTOR_H
#define LH_KERNELS_AVX512_VECTOR_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VF 16
#define VF_LEVEL LH_CPU_AVX512
#define VF_NAME(name) name##_avx512
typedef __m512 vf;
typedef __mmask16 vmask;
typedef __m512i vi;
typedef __m512d vd;
#define VD 8

static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_load(const float *x)
{
    return _mm512_loadu_ps(x);
}
static inline void vf_store(float *x, vf v)
{
    _mm512_storeu_ps(x, v);
}
static inline vmask vf_part_mask(int64_t n)
{
    return (vmask)((1u << n) - 1);
}
static inline vf vf_load_part(const float *x, int64_t n)
{
    return _mm512_maskz_loadu_ps(vf_part_mask(n), x);
}
static inline void vf_store_part(float *x, int64_t n, vf v)
{
    _mm512_mask_storeu_ps(x, vf_part_mask(n), v);
}
static inline vf vf_keep_part(vf v, int64_t n, vf other)
{
    return _mm512_mask_mov_ps(other, vf_part_mask(n), v);
}
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
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_fms(vf a, vf b, vf c)
{
    return _mm512_fmsub_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
static inline vf vf_negate(vf a)
{
    return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a);
}
static inline vf vf_copy_sign(vf size, vf sign)
{
    vf bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, size), _mm512_and_ps(bit, sign));
}
static inline vf vf_swap_pairs(vf a)
{
    return _mm512_permute_ps(a, 0xb1);
}
static inline vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vmask vf_greater(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
static inline vmask vf_less(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vmask vf_equal(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline vf vf_select(vmask mask, vf yes, vf no)
{
    return _mm512_mask_mov_ps(no, mask, yes);
}
static inline vf vf_keep(vmask mask, vf v)
{
    return _mm512_maskz_mov_ps(mask, v);
}
static inline bool vf_any(vmask mask)
{
    return mask != 0;
}
static inline uint32_t vf_mask_bits(vmask mask)
{
    return mask;
}
static inline int vf_count(vmask mask)
{
    return __builtin_popcount(mask);
}
static inline float vf_sum(vf v)
{
    return _mm512_reduce_add_ps(v);
}
static inline float vf_largest(vf v)
{
    return _mm512_reduce_max_ps(v);
}
static inline vf vf_scale_by_power(vf v, vf n)
{
    return _mm512_scalef_ps(v, n);
}
static inline vf vf_split(vf v, vf *exponent)
{
    vi bits = _mm512_sub_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x3f3504f3));
    *exponent = _mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23));
    bits = _mm512_add_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x007fffff)), _mm512_set1_epi32(0x3f3504f3));
    return _mm512_castsi512_ps(bits);
}

static inline vi vi_set(uint32_t x)
{
    return _mm512_set1_epi32((int)x);
}
static inline vi vi_count_up(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
static inline vi vi_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
static inline vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
static inline vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
static inline vi vi_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
static inline vi vi_shift_right(vi a, int bits)
{
    return _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits));
}
static inline vi vi_load(const int32_t *x)
{
    return _mm512_loadu_si512(x);
}
static inline void vi_store(int32_t *x, vi v)
{
    _mm512_storeu_si512(x, v);
}
static inline vmask vi_equal(vi a, vi b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}
static inline vmask vi_at_least(vi a, vi b)
{
    return _mm512_cmpge_epu32_mask(a, b);
}
static inline vi vi_select(vmask mask, vi yes, vi no)
{
    return _mm512_mask_mov_epi32(no, mask, yes);
}
static inline vi vf_bits(vf v)
{
    return _mm512_castps_si512(v);
}
static inline vf vf_from_bits(vi v)
{
    return _mm512_castsi512_ps(v);
}

static inline vd vd_set(double x)
{
    return _mm512_set1_pd(x);
}
static inline vd vd_load(const double *x)
{
    return _mm512_loadu_pd(x);
}
static inline void vd_store(double *x, vd v)
{
    _mm512_storeu_pd(x, v);
}
static inline vd vd_add(vd a, vd b)
{
    return _mm512_add_pd(a, b);
}
static inline vd vd_mul(vd a, vd b)
{
    return _mm512_mul_pd(a, b);
}
static inline vd vd_fma(vd a, vd b, vd c)
{
    return _mm512_fmadd_pd(a, b, c);
}
static inline vd vd_fnma(vd a, vd b, vd c)
{
    return _mm512_fnmadd_pd(a, b, c);
}
static inline vd vd_round(vd a)
{
    return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vd vd_low(vf v)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}
static inline vd vd_high(vf v)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}
static inline vd vd_turn(vd quadrant, int shift, vd a, vd b)
{
    vi bits = _mm512_castpd_si512(_mm512_add_pd(quadrant, _mm512_set1_pd(6755399441055744.0)));
    __mmask8 odd = _mm512_test_epi64_mask(bits, _mm512_set1_epi64(1));
    vi turned = _mm512_add_epi64(bits, _mm512_set1_epi64(shift));
    vd sign = _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_srli_epi64(turned, 1), 63));
    return _mm512_xor_pd(_mm512_mask_mov_pd(a, odd, b), sign);
}
static inline void vd_store_floats(float *x, vd v)
{
    _mm256_storeu_ps(x, _mm512_cvtpd_ps(v));
}

static inline vf vf_load_f16(const uint16_t *x)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
}
static inline void vf_store_f16(uint16_t *x, vf v)
{
    _mm256_storeu_si256((__m256i *)(void *)x, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline vf vf_load_bf16(const uint16_t *x)
{
    vi wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline void vi_store_low16(uint16_t *x, vi v)
{
    _mm256_storeu_si256((__m256i *)(void *)x, _mm512_cvtepi32_epi16(v));
}

#endif
