#include "kernels/avx512/math.h"

#include <omp.h>

#include "kernels/simd/codes.inc"
