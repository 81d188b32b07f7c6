/* vf_exp, vf_tanh, ... on vectors of 8 floats. */
#ifndef LH_KERNELS_AVX2_MATH_H
#define LH_KERNELS_AVX2_MATH_H
#include "kernels/avx2/vector.h"
#include "kernels/simd/math.inc"
#endif
