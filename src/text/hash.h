/* Hashing of short byte strings. */
#ifndef LH_TEXT_HASH_H
#define LH_TEXT_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t lh_hash_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 lh_u128;
    lh_u128 product = (lh_u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* For hash tables in memory only: depends on the byte order of the machine. The secrets are the digits of pi, so
 * that no operand is a power of two. */
static inline uint64_t lh_hash_bytes(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    const uint64_t secret_a = 0x243f6a8885a308d3u, secret_b = 0x13198a2e03707344u;
    uint64_t hash = secret_a ^ size, low = 0, high = 0;
    for (size_t left = size; left > 16; left -= 16, at += 16) {
        memcpy(&low, at, 8);
        memcpy(&high, at + 8, 8);
        hash = lh_hash_mix(low ^ secret_b, high ^ hash);
    }
    size_t left = size - (size_t)(at - (const unsigned char *)bytes);
    low = high = 0;
    if (left >= 8) {
        memcpy(&low, at, 8);
        memcpy(&high, at + left - 8, 8);
    } else if (left >= 4) {
        uint32_t a, b;
        memcpy(&a, at, 4);
        memcpy(&b, at + left - 4, 4);
        low = a;
        high = b;
    } else if (left > 0) {
        low = (uint64_t)at[0] << 16 | (uint64_t)at[left / 2] << 8 | at[left - 1];
    }
    return lh_hash_mix(low ^ secret_b, high ^ hash ^ secret_a);
}

static inline uint64_t lh_hash_word(uint64_t value)
{
    return lh_hash_mix(value ^ 0x13198a2e03707344u, 0x9e3779b97f4a7c15u);
}

/* FNV-1a (Fowler, Noll, Vo), 64 bits: the same on every machine. */
#define LH_FNV_START 0xcbf29ce484222325u
static inline uint64_t lh_fnv(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    return hash;
}

static inline uint64_t lh_fnv_u64(uint64_t hash, uint64_t value)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
    return lh_fnv(hash, bytes, sizeof bytes);
}

#endif
