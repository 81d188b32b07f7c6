#include "kernels/avx2/math.h"

#include "kernels/simd/group.inc"
