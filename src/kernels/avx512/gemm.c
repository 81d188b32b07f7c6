#include "kernels/avx512/math.h"

#include "kernels/simd/gemm_turned.inc"

#include "kernels/simd/gemm_thin.inc"
