#include "kernels/avx2/math.h"

#include "kernels/simd/gemm_turned.inc"

#include "kernels/simd/gemm_thin.inc"
