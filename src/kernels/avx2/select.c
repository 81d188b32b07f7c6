#include "kernels/avx2/math.h"

#include "kernels/simd/select.inc"
