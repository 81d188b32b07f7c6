/* The activation functions and their derivatives: the meaning that every vector version is tested against. */
#ifndef LH_KERNELS_REF_FUNCTION_H
#define LH_KERNELS_REF_FUNCTION_H

#include "kernels/args.h"

#include <math.h>

#define LH_SQRT_HALF 0.70710678118654752440
#define LH_SQRT_2_OVER_PI 0.79788456080286535588
#define LH_INV_SQRT_2PI 0.39894228040143267794
#define LH_GELU_CUBIC 0.044715

static inline double lh_sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static inline double lh_function_value(lh_function function, double x)
{
    switch (function) {
    case LH_RELU: return x > 0 ? x : 0;
    case LH_RELU_SQUARED: return x > 0 ? x * x : 0;
    case LH_GELU: return 0.5 * x * erfc(-x * LH_SQRT_HALF);
    case LH_GELU_TANH: return x * lh_sigmoid(2 * LH_SQRT_2_OVER_PI * (x + LH_GELU_CUBIC * x * x * x));
    case LH_SILU: return x * lh_sigmoid(x);
    case LH_SIGMOID: return lh_sigmoid(x);
    case LH_TANH: return tanh(x);
    case LH_EXP: return exp(x);
    case LH_LOG: return log(x);
    case LH_SQUARE: return x * x;
    case LH_SQRT: return sqrt(x);
    case LH_ABS: return fabs(x);
    case LH_NEGATE: return -x;
    case LH_RECIPROCAL: return 1 / x;
    default: return x;
    }
}

static inline double lh_function_slope(lh_function function, double x)
{
    switch (function) {
    case LH_RELU: return x > 0 ? 1 : 0;
    case LH_RELU_SQUARED: return x > 0 ? 2 * x : 0;
    case LH_GELU: return 0.5 * erfc(-x * LH_SQRT_HALF) + x * LH_INV_SQRT_2PI * exp(-0.5 * x * x);
    case LH_GELU_TANH: {
        /* y = x s(2 u) with s the sigmoid and u the cubic; s' = s (1 - s) */
        double s = lh_sigmoid(2 * LH_SQRT_2_OVER_PI * (x + LH_GELU_CUBIC * x * x * x));
        return s + x * s * (1 - s) * 2 * LH_SQRT_2_OVER_PI * (1 + 3 * LH_GELU_CUBIC * x * x);
    }
    case LH_SILU: {
        double s = lh_sigmoid(x);
        return s + x * s * (1 - s);
    }
    case LH_SIGMOID: {
        double s = lh_sigmoid(x);
        return s * (1 - s);
    }
    case LH_TANH: {
        double t = tanh(x);
        return 1 - t * t;
    }
    case LH_EXP: return exp(x);
    case LH_LOG: return 1 / x;
    case LH_SQUARE: return 2 * x;
    case LH_SQRT: return 0.5 / sqrt(x);
    case LH_ABS: return x > 0 ? 1 : x < 0 ? -1 : 0;
    case LH_NEGATE: return -1;
    case LH_RECIPROCAL: return -1 / (x * x);
    default: return 1;
    }
}

#endif
