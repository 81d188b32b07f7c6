#include "base/random.h"

#include <math.h>

void lh_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t out[4])
{
    const uint32_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)m0 * c0, p1 = (uint64_t)m1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

lh_random lh_random_create(uint64_t seed, uint64_t stream)
{
    return (lh_random){.seed = seed, .stream = stream};
}

uint32_t lh_random_u32(lh_random *random)
{
    if (random->left == 0) {
        lh_philox(random->seed, random->stream, random->counter++, random->words);
        random->left = 4;
    }
    return random->words[4 - random->left--];
}

uint64_t lh_random_u64(lh_random *random)
{
    uint64_t high = lh_random_u32(random);
    return high << 32 | lh_random_u32(random);
}

double lh_random_uniform(lh_random *random)
{
    return (double)(lh_random_u64(random) >> 11) * 0x1p-53;
}

double lh_random_normal(lh_random *random)
{
    /* Box-Muller; the second number of the pair is dropped so that the state stays one counter. */
    double u = 1.0 - lh_random_uniform(random), v = lh_random_uniform(random);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t lh_random_below(lh_random *random, uint64_t bound)
{
    uint64_t reject = (0 - bound) % bound; /* the lowest values that would bias the remainder */
    for (;;) {
        uint64_t x = lh_random_u64(random);
        if (x >= reject) {
            return x % bound;
        }
    }
}
