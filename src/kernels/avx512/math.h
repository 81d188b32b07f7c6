/* vf_exp, vf_tanh, ... on vectors of 16 floats. */
#ifndef LH_KERNELS_AVX512_MATH_H
#define LH_KERNELS_AVX512_MATH_H
#include "kernels/avx512/vector.h"
#include "kernels/simd/math.inc"
#endif
