/* The 16-bit floating-point types: f16 (IEEE binary16, 10 fraction bits) and bf16 (7), to and from double, rounding
 * to nearest even once. */
#ifndef LH_KERNELS_HALF_H
#define LH_KERNELS_HALF_H

#include <math.h>
#include <stdint.h>

/* `fraction` bits of fraction, smallest normal exponent `minimum`; infinity has the bits `infinity`. */
static inline uint16_t lh_half_encode(double value, int fraction, int minimum, uint32_t infinity)
{
    uint32_t sign = signbit(value) ? 0x8000u : 0;
    double magnitude = fabs(value);
    if (isnan(value)) {
        return (uint16_t)(sign | infinity | 1u << (fraction - 1));
    }
    if (isinf(value) || magnitude == 0) {
        return (uint16_t)(sign | (magnitude == 0 ? 0 : infinity));
    }
    int exponent = ilogb(magnitude);
    if (exponent < minimum) {
        exponent = minimum;
    }
    if (exponent > 1 - minimum) {
        return (uint16_t)(sign | infinity);
    }
    /* The leading one of a normal number lands on bit `fraction` and so adds one to the exponent field. */
    uint32_t digits = (uint32_t)nearbyint(ldexp(magnitude, fraction - exponent));
    uint32_t bits = ((uint32_t)(exponent - minimum) << fraction) + digits;
    return (uint16_t)(sign | (bits < infinity ? bits : infinity));
}

static inline double lh_half_decode(uint16_t half, int fraction, int minimum, uint32_t infinity)
{
    uint32_t bits = half & 0x7fffu, digits = bits & ((1u << fraction) - 1);
    int field = (int)(bits >> fraction);
    double magnitude;
    if (bits >= infinity) {
        magnitude = bits == infinity ? (double)INFINITY : (double)NAN;
    } else if (field == 0) {
        magnitude = ldexp(digits, minimum - fraction);
    } else {
        magnitude = ldexp(digits + (1u << fraction), field - 1 + minimum - fraction);
    }
    return half & 0x8000u ? -magnitude : magnitude;
}

static inline uint16_t lh_f16_from_double(double value)
{
    return lh_half_encode(value, 10, -14, 0x7c00u);
}

static inline double lh_f16_to_double(uint16_t half)
{
    return lh_half_decode(half, 10, -14, 0x7c00u);
}

static inline uint16_t lh_bf16_from_double(double value)
{
    return lh_half_encode(value, 7, -126, 0x7f80u);
}

static inline double lh_bf16_to_double(uint16_t half)
{
    return lh_half_decode(half, 7, -126, 0x7f80u);
}

#endif
