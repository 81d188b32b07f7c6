#include "data/digest.h"

#include <stdio.h>
#include <string.h>

static uint32_t rotate_left(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t rotate_right(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static uint32_t load_little(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t load_big(const unsigned char *at)
{
    return (uint32_t)at[3] | (uint32_t)at[2] << 8 | (uint32_t)at[1] << 16 | (uint32_t)at[0] << 24;
}

/* RFC 1321, section 3.4: floor(2^32 |sin(i + 1)|). */
static const uint32_t md5_sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

static void md5_block(uint32_t state[8], const unsigned char *block)
{
    static const unsigned char turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], words[16];
    for (int i = 0; i < 16; i++) {
        words[i] = load_little(block + 4 * i);
    }
    for (unsigned i = 0; i < 64; i++) {
        uint32_t f;
        unsigned word;
        switch (i / 16) {
        case 0:
            f = (b & c) | (~b & d);
            word = i;
            break;
        case 1:
            f = (d & b) | (~d & c);
            word = (5 * i + 1) % 16;
            break;
        case 2:
            f = b ^ c ^ d;
            word = (3 * i + 5) % 16;
            break;
        default:
            f = c ^ (b | ~d);
            word = 7 * i % 16;
            break;
        }
        uint32_t next = b + rotate_left(a + f + md5_sines[i] + words[word], turns[i / 16][i % 4]);
        a = d;
        d = c;
        c = b;
        b = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

static void sha1_block(uint32_t state[8], const unsigned char *block)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t words[80];
    for (int i = 0; i < 16; i++) {
        words[i] = load_big(block + 4 * i);
    }
    for (int i = 16; i < 80; i++) {
        words[i] = rotate_left(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        int phase = i / 20;
        uint32_t f = phase == 0 ? ((b & c) | (~b & d)) : phase == 2 ? ((b & c) | (b & d) | (c & d)) : b ^ c ^ d;
        uint32_t next = rotate_left(a, 5) + f + e + constants[phase] + words[i];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* FIPS 180-4, section 4.2.2: the fractions of the cube roots of the first 64 primes. */
static const uint32_t sha256_roots[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void sha256_block(uint32_t state[8], const unsigned char *block)
{
    uint32_t words[64], v[8];
    for (int i = 0; i < 16; i++) {
        words[i] = load_big(block + 4 * i);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t x = words[i - 15], y = words[i - 2];
        uint32_t s0 = rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3;
        uint32_t s1 = rotate_right(y, 17) ^ rotate_right(y, 19) ^ y >> 10;
        words[i] = words[i - 16] + s0 + words[i - 7] + s1;
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + sha256_roots[i] + words[i];
        uint32_t s0 = rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

static void digest_block(lh_digest *digest, const unsigned char *block)
{
    switch (digest->kind) {
    case LH_DIGEST_MD5: md5_block(digest->state, block); break;
    case LH_DIGEST_SHA1: sha1_block(digest->state, block); break;
    case LH_DIGEST_SHA256: sha256_block(digest->state, block); break;
    }
}

lh_digest lh_digest_start(lh_digest_kind kind)
{
    static const uint32_t common[8] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    static const uint32_t sha256[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    lh_digest digest = {.kind = kind};
    memcpy(digest.state, kind == LH_DIGEST_SHA256 ? sha256 : common, sizeof digest.state);
    return digest;
}

void lh_digest_update(lh_digest *digest, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    size_t used = digest->bytes % 64;
    digest->bytes += size;
    if (used > 0) {
        size_t part = size < 64 - used ? size : 64 - used;
        memcpy(digest->block + used, at, part);
        if (used + part < 64) {
            return;
        }
        digest_block(digest, digest->block);
        at += part;
        size -= part;
    }
    for (; size >= 64; at += 64, size -= 64) {
        digest_block(digest, at);
    }
    if (size > 0) {
        memcpy(digest->block, at, size);
    }
}

void lh_digest_finish(lh_digest *digest, char hex[LH_DIGEST_HEX])
{
    static const int word_counts[] = {4, 5, 8};
    static const unsigned char padding[64] = {0x80};
    uint64_t bits = digest->bytes * 8;
    size_t used = digest->bytes % 64;
    lh_digest_update(digest, padding, used < 56 ? 56 - used : 120 - used);
    bool little = digest->kind == LH_DIGEST_MD5;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)(bits >> (little ? 8 * i : 56 - 8 * i));
    }
    lh_digest_update(digest, length, sizeof length);
    char *out = hex;
    for (int i = 0; i < word_counts[digest->kind]; i++) {
        for (int byte = 0; byte < 4; byte++) {
            unsigned value = digest->state[i] >> (little ? 8 * byte : 24 - 8 * byte) & 255;
            *out++ = "0123456789abcdef"[value >> 4];
            *out++ = "0123456789abcdef"[value & 15];
        }
    }
    *out = '\0';
}

bool lh_digest_kind_of(const char *hex, lh_digest_kind *kind)
{
    size_t size = strlen(hex);
    if (strspn(hex, "0123456789abcdef") != size) {
        return false;
    }
    switch (size) {
    case 32: *kind = LH_DIGEST_MD5; return true;
    case 40: *kind = LH_DIGEST_SHA1; return true;
    case 64: *kind = LH_DIGEST_SHA256; return true;
    default: return false;
    }
}

const char *lh_digest_name(lh_digest_kind kind)
{
    static const char *const names[] = {"MD5", "SHA-1", "SHA-256"};
    return names[kind];
}

lh_status lh_digest_file(const char *path, lh_digest_kind kind, char hex[LH_DIGEST_HEX], lh_error *error)
{
    FILE *stream = fopen(path, "rbe");
    if (!stream) {
        return lh_fail_errno(error, "cannot open %s", path);
    }
    lh_digest digest = lh_digest_start(kind);
    unsigned char buffer[16384];
    size_t size;
    while ((size = fread(buffer, 1, sizeof buffer, stream)) > 0) {
        lh_digest_update(&digest, buffer, size);
    }
    lh_status status = ferror(stream) ? lh_fail_errno(error, "cannot read %s", path) : LH_OK;
    (void)fclose(stream);
    lh_digest_finish(&digest, hex);
    return status;
}
