#include "kernels/avx2/math.h"

#include <omp.h>

#include "kernels/simd/codes.inc"
