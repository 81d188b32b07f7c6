/* Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011). A number is a pure function of (seed, stream,
 * counter), so masks can be drawn again instead of stored, and a stream is restored by restoring its counter. */
#ifndef LH_BASE_RANDOM_H
#define LH_BASE_RANDOM_H

#include <stdint.h>

/* Four 32-bit words from a 64-bit key and a 128-bit counter. */
void lh_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t out[4]);

/* A stream of random numbers. Plain data: copy it to save it. */
typedef struct lh_random {
    uint64_t seed, stream, counter;
    uint32_t words[4];
    uint32_t left;   /* unread entries of words */
    uint32_t filler; /* 0: without it the struct would end in padding, and its bytes could not be saved */
} lh_random;

lh_random lh_random_create(uint64_t seed, uint64_t stream);
uint32_t lh_random_u32(lh_random *random);
uint64_t lh_random_u64(lh_random *random);
double lh_random_uniform(lh_random *random);                 /* [0, 1), 53 bits */
double lh_random_normal(lh_random *random);                  /* mean 0, variance 1 */
uint64_t lh_random_below(lh_random *random, uint64_t bound); /* 0 .. bound-1, unbiased; bound >= 1 */

#endif
