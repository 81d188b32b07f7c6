#include "kernels/avx512/math.h"

#include "kernels/simd/group.inc"
