/* Search with 8-bit products in front (AVX-512 VNNI). A template: attention_nearest.h includes it.
 *
 * Queries and rows are rounded to 8 bits with a factor each. Their products, four times as fast as in single
 * precision, are off by at most
 *     |q' . dk| + |dq . k|  <=  |q'| |dk| + |dq| |k|,        q = q' + dq, k = k' + dk,
 * so a pair whose 8-bit product is below the query's k-th best by more than that cannot be among the best. Only the
 * others, one in hundreds, get an exact product. What is found is exact. */
#ifndef LH_KERNELS_ATTENTION_SCREEN_H
#define LH_KERNELS_ATTENTION_SCREEN_H

#define SCREEN_BLOCK 8
#define SCREEN_LEAST_ROWS 1024 /* fewer are searched exactly at once */
#define SCREEN_LEAST_WIDTH 16

static bool can_screen(void)
{
    return __builtin_cpu_supports("avx512vnni");
}

static void screen_parts(screen *s, int64_t width, int64_t queries, parts *p)
{
    s->quads = (width + 3) / 4;
    s->queries = take(p, (size_t)(queries * s->quads * 4));
    s->plain = take_floats(p, queries * padded(width));
    s->inverse = take_floats(p, queries);
    s->norm = take_floats(p, queries);
    s->slack = take_floats(p, queries);
    s->codes = take(p, (size_t)(NEAREST_ROWS * s->quads * 4 + LANES));
    s->factor = take_floats(p, NEAREST_ROWS);
    s->correction = take(p, NEAREST_ROWS * sizeof *s->correction);
    s->error = take_floats(p, NEAREST_ROWS / SCREEN_BLOCK);
    s->length = take_floats(p, NEAREST_ROWS / SCREEN_BLOCK);
}

/* One row of up to LANES channels after another: codes, and the row's numbers. False if it holds what is no number.
 */
static bool round_row(const float *x, int64_t width, int8_t *codes, int64_t room, float *factor, float *sum,
                      float *error, float *length)
{
    vector most = v_zero(), sums = v_zero(), errors = v_zero(), squares = v_zero();
    for (int64_t c = 0; c < width; c += LANES) {
        vector part = v_load_first(x + c, lh_attention_min(LANES, width - c));
        most = v_max(_mm512_abs_ps(part), most);
        squares = v_fma(part, part, squares); /* carries a NaN, which the maximum may not */
    }
    float largest = v_largest(most), square = v_sum(squares);
    bool finite = square <= FLT_MAX;
    float inverse = finite && largest > 1e-30f ? 127.0f / largest : 0;
    *factor = inverse > 0 ? largest / 127.0f : 0;
    for (int64_t c = 0; c < room; c += LANES) {
        int64_t count = lh_attention_min(LANES, width - c);
        vector part = count > 0 && finite ? v_load_first(x + c, count) : v_zero();
        __m512i whole = _mm512_cvtps_epi32(v_multiply(part, v_set(inverse)));
        vector back = _mm512_cvtepi32_ps(whole);
        vector wrong = _mm512_fnmadd_ps(back, v_set(*factor), part);
        sums = v_add(sums, back);
        errors = v_fma(wrong, wrong, errors);
        __mmask16 there = v_first(lh_attention_min(LANES, room - c));
        _mm_mask_storeu_epi8(codes + c, there, _mm512_cvtsepi32_epi8(whole));
    }
    *sum = v_sum(sums);
    *error = sqrtf(v_sum(errors)) * 1.00001f;
    *length = sqrtf(square) * 1.00001f;
    return finite;
}

/* Query number `query`; false if it holds what is no number: then nothing can be screened. */
static bool screen_query(screen *s, const float *q, int64_t width, int64_t query)
{
    int8_t codes[4];
    int8_t *room = s->codes; /* not in use yet */
    float factor, sum, error, length;
    if (!round_row(q, width, room, s->quads * 4, &factor, &sum, &error, &length)) {
        return false;
    }
    for (int64_t quad = 0; quad < s->quads; quad++) {
        __builtin_memcpy(codes, room + quad * 4, sizeof codes);
        uint8_t *to = s->queries + ((query / PANEL * s->quads + quad) * PANEL + query % PANEL) * 4;
        for (int i = 0; i < 4; i++) {
            to[i] = (uint8_t)(codes[i] + 128);
        }
    }
    copy_rows(q, 0, 1, width, 1, NULL, s->plain + query * padded(width), padded(width));
    /* 0: every product is 0, and the infinite inverse makes the bound's sign decide */
    s->inverse[query] = 1 / factor;
    s->norm[query] = length + error;
    s->slack[query] = error + length * (float)(width + 16) * 1.2e-7f; /* and what the exact product is rounded by */
    return true;
}

/* Lanes behind the last query: their bound will be infinite. */
static void screen_no_query(screen *s, int64_t query)
{
    s->inverse[query] = 1;
    s->norm[query] = s->slack[query] = 0;
}

/* A run of rows in 8 bits. */
static void screen_rows(screen *s, const float *rows, int64_t stride, int64_t width, int64_t count)
{
    for (int64_t r = 0; r < (count + SCREEN_BLOCK - 1) / SCREEN_BLOCK * SCREEN_BLOCK; r++) {
        float sum = 0, error = 0, length = 0;
        float *greatest_error = s->error + r / SCREEN_BLOCK, *greatest_length = s->length + r / SCREEN_BLOCK;
        if (r % SCREEN_BLOCK == 0) {
            *greatest_error = *greatest_length = 0;
        }
        s->factor[r] = 0;
        if (r < count && !round_row(rows + r * stride, width, s->codes + r * s->quads * 4, s->quads * 4,
                                    s->factor + r, &sum, &error, &length)) {
            error = FLT_MAX; /* nothing is known: the whole block gets exact products */
            length = 0;
            sum = 0;
        }
        s->correction[r] = -128 * (int32_t)sum;
        *greatest_error = error > *greatest_error ? error : *greatest_error;
        *greatest_length = length > *greatest_length ? length : *greatest_length;
    }
}

static __attribute__((noinline)) void screen_take(nearest_work *work, int64_t panel, int64_t age, const float *rows,
                                                  int64_t stride, int64_t count, const uint32_t *hits)
{
    int64_t width = work->args->width, full = padded(width);
    for (int64_t r = 0; r < count; r++) {
        for (uint32_t left = hits[r]; left; left &= left - 1) {
            int64_t query = panel * PANEL + __builtin_ctz(left);
            const float *q = work->screen.plain + query * full, *k = rows + r * stride;
            vector sum = v_zero();
            for (int64_t c = 0; c < width; c += LANES) {
                sum = v_fma(v_load(q + c), v_load_first(k + c, lh_attention_min(LANES, width - c)), sum);
            }
            float score = v_sum(sum);
            if (score > work->threshold[query]) {
                take_candidate(work, query, score, age + r);
            }
        }
    }
}

/* Rows r .. r + SCREEN_BLOCK - 1 of the run against a panel. */
__attribute__((target("avx512vnni"))) static ALWAYS_INLINE void screen_block(nearest_work *work, int64_t panel,
                                                                             int64_t age, const float *rows,
                                                                             int64_t stride, int64_t r,
                                                                             int64_t count)
{
    const screen *s = &work->screen;
    const int32_t *line = (const int32_t *)(const void *)(s->queries + panel * s->quads * PANEL * 4);
    const int8_t *codes = s->codes + r * s->quads * 4;
    __m512i sum[SCREEN_BLOCK][2];
    UNROLL_ALL
    for (int i = 0; i < SCREEN_BLOCK; i++) {
        sum[i][0] = sum[i][1] = _mm512_set1_epi32(s->correction[r + i]);
    }
    for (int64_t quad = 0; quad < s->quads; quad++) {
        __m512i low = _mm512_loadu_si512(line + quad * PANEL),
                high = _mm512_loadu_si512(line + quad * PANEL + LANES);
        UNROLL_ALL
        for (int i = 0; i < SCREEN_BLOCK; i++) {
            int32_t four;
            __builtin_memcpy(&four, codes + (i * s->quads + quad) * 4, sizeof four);
            sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], low, _mm512_set1_epi32(four));
            sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], high, _mm512_set1_epi32(four));
        }
    }
    vector bound[2];
    UNROLL_ALL
    for (int x = 0; x < 2; x++) {
        int64_t at = panel * PANEL + x * LANES;
        vector off = v_multiply(v_load(s->norm + at), v_set(s->error[r / SCREEN_BLOCK]));
        off = v_fma(v_load(s->slack + at), v_set(s->length[r / SCREEN_BLOCK]), off);
        bound[x] = v_multiply(v_subtract(v_load(work->threshold + at), off), v_load(s->inverse + at));
    }
    uint32_t hits[SCREEN_BLOCK], any = 0;
    UNROLL_ALL
    for (int i = 0; i < SCREEN_BLOCK; i++) {
        vector factor = v_set(s->factor[r + i]);
        hits[i] = v_greater(v_multiply(_mm512_cvtepi32_ps(sum[i][0]), factor), bound[0]) |
                  v_greater(v_multiply(_mm512_cvtepi32_ps(sum[i][1]), factor), bound[1]) << LANES;
        any |= hits[i];
    }
    if (any) {
        screen_take(work, panel, age + r, rows + r * stride, stride, lh_attention_min(SCREEN_BLOCK, count - r),
                    hits);
    }
}

__attribute__((target("avx512vnni"))) static void screen_panel(nearest_work *work, int64_t panel, int64_t age,
                                                               const float *rows, int64_t stride, int64_t count)
{
    for (int64_t r = 0; r < count; r += SCREEN_BLOCK) {
        screen_block(work, panel, age, rows, stride, r, count);
    }
}

#endif
