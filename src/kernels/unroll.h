/* What the inner kernels ask of the compiler. */
#ifndef LH_KERNELS_UNROLL_H
#define LH_KERNELS_UNROLL_H

/* Loops of constant length are unrolled, so that the sums are registers. */
#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#define UNROLL_DEPTH _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 16")
#define UNROLL_DEPTH _Pragma("GCC unroll 4")
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

#endif
