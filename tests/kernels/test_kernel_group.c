/* Selection and grouping: every version against counting by the words of the contract. */
#include "kernels/kernel_harness.h"

#define ROUNDS 60

/* Ties, infinities and numbers that are none, in arrays that are otherwise random. */
static void make_awkward(double *x, int64_t n, int round)
{
    for (int64_t i = 0; i < n; i++) {
        if (round % 3 == 0) {
            x[i] = trunc(2 * x[i]); /* zeros of both signs among them */
        }
        if (round % 5 == 0 && pick(0, 20) == 0) {
            static const double odd[] = {INFINITY, -INFINITY, NAN, -0.0, 0.0};
            x[i] = odd[pick(0, 4)];
        }
    }
}

/* Does entry a stand before entry b? A NaN is below everything; of equal entries the earlier wins, or the later. */
static bool stands_before(double a, double b, bool a_is_earlier, bool late)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b) ? a_is_earlier != late : isnan(b);
    }
    return a > b || (a == b && a_is_earlier != late);
}

static void check_with(problem *p, int count, double *const *known)
{
    double *expected[MAX_OPERANDS];
    for (int i = 0; i < count; i++) {
        size_t bytes = ((size_t)p->operands[i].count + 1) * sizeof(double);
        expected[i] = malloc(bytes);
        memcpy(expected[i], known[i] ? known[i] : p->operands[i].values, bytes);
    }
    problem_check_against(p, expected);
    for (int i = 0; i < count; i++) {
        free(expected[i]);
    }
}

static void argmax_finds_the_first_largest(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_argmax_args args = {.outer = pick_size(4), .middle = pick(1, 40), .inner = pick_size(200)};
        args.index_outer = args.inner;
        int64_t n = args.outer * args.middle * args.inner, results = args.outer * args.inner;
        problem p = problem_start(LH_KERNEL_ARGMAX, &args, sizeof args, "argmax");
        double *x = operand_add(&p, IN, offsetof(lh_argmax_args, x), n),
               *best = calloc((size_t)results + 1, sizeof *x);
        make_awkward(x, n, round);
        operand_add(&p, OUT_INT, offsetof(lh_argmax_args, index), results);
        for (int64_t at = 0; at < results; at++) {
            const double *line = x + at / args.inner * args.middle * args.inner + at % args.inner;
            for (int64_t m = 1; m < args.middle; m++) {
                if (stands_before(line[m * args.inner], line[(int64_t)best[at] * args.inner], false, false)) {
                    best[at] = (double)m;
                }
            }
        }
        check_with(&p, 2, (double *[]){NULL, best});
        free(best);
    }
}

/* Long rows, so that the k largest are looked for by way of a sample, which must not be trusted. */
static void top_k_of_long_rows(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_top_k_args args = {.rows = 2, .width = pick(1, 5000), .late_ties = flip()};
        args.k = pick(0, round % 2 || args.width < 40 ? args.width : 40);
        problem p = problem_start(LH_KERNEL_TOP_K, &args, sizeof args, args.late_ties ? "late ties" : "early ties");
        double *x = operand_add(&p, IN, offsetof(lh_top_k_args, x), args.rows * args.width);
        make_awkward(x, args.rows * args.width, round);
        int64_t step = args.width / 1024;
        for (int64_t i = 0; step >= 2 && round % 4 == 1 && i < args.width; i++) {
            x[i] = i % step ? x[i] : 10; /* what a strided sample sees is larger than the rest */
        }
        operand_add(&p, OUT_INT, offsetof(lh_top_k_args, index), args.rows * args.k);
        double *index = calloc((size_t)(args.rows * args.k) + 1, sizeof *index);
        for (int64_t r = 0, at = 0; r < args.rows; r++) {
            const double *row = x + r * args.width;
            for (int64_t i = 0; i < args.width; i++) {
                int64_t before = 0;
                for (int64_t j = 0; j < args.width; j++) {
                    before += j != i && stands_before(row[j], row[i], j < i, args.late_ties);
                }
                if (before < args.k) {
                    index[at++] = (double)i;
                }
            }
        }
        check_with(&p, 2, (double *[]){NULL, index});
        free(index);
    }
}

static void group_sorts_by_counting(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_group_args args = {
            .batch = pick_size(3), .heads = pick(1, 3), .count = pick_size(90), .groups = pick(1, 12)};
        int64_t lanes = args.batch * args.heads, n = lanes * args.count;
        bool with_keep = flip(), with_bounds = flip();
        problem p = problem_start(LH_KERNEL_GROUP, &args, sizeof args, with_keep ? "some kept" : "all kept");
        double *group = operand_add(&p, IN_INT, offsetof(lh_group_args, group), n), *keep = NULL;
        for (int64_t i = 0; i < n; i++) {
            group[i] = (double)pick(round % 2 ? -1 : 0, args.groups - 1);
        }
        operand_add(&p, OUT_INT, offsetof(lh_group_args, start), lanes * (args.groups + 1));
        operand_add(&p, OUT_INT, offsetof(lh_group_args, order), n);
        if (with_bounds) {
            operand_add(&p, OUT_INT, offsetof(lh_group_args, low), n);
            operand_add(&p, OUT_INT, offsetof(lh_group_args, high), n);
        }
        if (with_keep) {
            keep = operand_add(&p, IN_INT, offsetof(lh_group_args, keep), args.batch * args.count);
            for (int64_t i = 0; i < args.batch * args.count; i++) {
                keep[i] = flip();
            }
        }
        double *start = calloc((size_t)(lanes * (args.groups + 1)) + 1, sizeof *start);
        double *order = calloc((size_t)n + 1, sizeof *order);
        double *low = calloc((size_t)n + 1, sizeof *low), *high = calloc((size_t)n + 1, sizeof *high);
        for (int64_t lane = 0; lane < lanes; lane++) {
            int64_t at = 0, base = lane * args.count;
            for (int64_t g = 0; g <= args.groups; g++) {
                int64_t first = at;
                start[lane * (args.groups + 1) + g] = (double)first;
                for (int64_t i = 0; g < args.groups && i < args.count; i++) {
                    bool kept = !keep || keep[lane / args.heads * args.count + i] != 0;
                    if (kept && group[base + i] == (double)g) {
                        order[base + at++] = (double)i;
                    }
                }
                for (int64_t i = first; i < at; i++) {
                    low[base + i] = (double)first;
                    high[base + i] = (double)at;
                }
            }
            for (; at < args.count; at++) {
                order[base + at] = -1;
            }
        }
        if (with_bounds) {
            check_with(&p, p.count, (double *[]){NULL, start, order, low, high, NULL});
        } else {
            check_with(&p, p.count, (double *[]){NULL, start, order, NULL});
        }
        free(start);
        free(order);
        free(low);
        free(high);
    }
}

/* A random grouping of `count` entries of each lane: index, start and order. */
static void draw_grouping(lh_group_rows_args *args, double **index, double **start, double **order)
{
    int64_t lanes = args->batch * args->heads, count = args->count, groups = args->groups;
    *index = calloc((size_t)(lanes * count) + 1, sizeof **index);
    *start = calloc((size_t)(lanes * (groups + 1)) + 1, sizeof **start);
    *order = calloc((size_t)(lanes * count) + 1, sizeof **order);
    for (int64_t lane = 0; lane < lanes; lane++) {
        int64_t at = 0;
        for (int64_t i = 0; i < count; i++) {
            (*index)[lane * count + i] = groups > 0 ? (double)pick(-1, groups - 1) : -1;
        }
        for (int64_t g = 0; g <= groups; g++) {
            (*start)[lane * (groups + 1) + g] = (double)at;
            for (int64_t i = 0; g < groups && i < count; i++) {
                if ((*index)[lane * count + i] == (double)g) {
                    (*order)[lane * count + at++] = (double)i;
                }
            }
        }
    }
}

static double *copied(problem *p, size_t field, const double *values, int64_t count)
{
    double *to = operand_add(p, IN_INT, field, count);
    memcpy(to, values, (size_t)count * sizeof *to);
    return to;
}

static void rows_by_group(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        lh_group_rows_args args = {.batch = pick_size(3),
                                   .heads = pick(1, 3),
                                   .count = pick_size(60),
                                   .groups = pick(1, 20),
                                   .width = round % 8 == 0 ? 300 : pick_size(70),
                                   .extra = flip() ? 0.01 : 0,
                                   .mean = flip(),
                                   .add = flip()};
        bool gather = round % 2, divided = flip();
        int64_t lanes = args.batch * args.heads, gap = pick(0, 5);
        args.x.row = args.width + gap;
        args.x.head = args.x.row * args.groups;
        args.x.batch = !gather && flip() && args.batch > 0 ? 0 : args.x.head * args.heads;
        int64_t room = args.x.head * args.heads * (args.x.batch ? args.batch : 1);
        double *index, *start, *order;
        draw_grouping(&args, &index, &start, &order);
        problem p = problem_start(gather ? LH_KERNEL_GROUP_GATHER : LH_KERNEL_GROUP_SUM, &args, sizeof args,
                                  args.x.batch ? "each lane" : "lanes added up");
        if (gather) {
            operand_add(&p, IN, offsetof(lh_group_rows_args, x.data), room);
            operand_add(&p, OUT, offsetof(lh_group_rows_args, y), lanes * args.count * args.width);
            copied(&p, offsetof(lh_group_rows_args, index), index, lanes * args.count);
            if (divided) {
                copied(&p, offsetof(lh_group_rows_args, start), start, lanes * (args.groups + 1));
            }
        } else {
            operand_add(&p, IN, offsetof(lh_group_rows_args, y), lanes * args.count * args.width);
            operand_add(&p, INOUT, offsetof(lh_group_rows_args, x.data), room);
            copied(&p, offsetof(lh_group_rows_args, start), start, lanes * (args.groups + 1));
            copied(&p, offsetof(lh_group_rows_args, order), order, lanes * args.count);
            if (flip()) {
                operand_add(&p, INOUT, offsetof(lh_group_rows_args, total), args.heads * args.groups);
            }
        }
        p.scale = 6;
        free(index);
        free(start);
        free(order);
        problem_check(&p);
    }
}

/* The plain C version itself: entry by entry. */
static void rows_by_group_have_known_values(void **state)
{
    (void)state;
    float x[3][2] = {{1, 2}, {3, 4}, {5, 6}}, y[4][2] = {{0}}, sums[3][2] = {{0}}, total[3] = {10, 10, 10};
    int32_t index[4] = {2, 0, 2, -1}, start[4] = {0, 1, 1, 3}, order[4] = {1, 0, 2, -1};
    lh_exec exec = {.threads = 1};
    for (int level = 0; level < LH_CPU_LEVEL_COUNT; level++) {
        const lh_kernel_table *table = lh_kernel_table_get((lh_cpu_level)level);
        if (!table) {
            continue;
        }
        lh_group_rows_args args = {.batch = 1,
                                   .heads = 1,
                                   .count = 4,
                                   .groups = 3,
                                   .width = 2,
                                   .extra = 2,
                                   .x = {x, 6, 6, 2},
                                   .y = y,
                                   .index = index,
                                   .start = start,
                                   .order = order};
        table->f32[LH_KERNEL_GROUP_GATHER](&exec, &args);
        const float wanted[4][2] = {{1.25f, 1.5f}, {1.0f / 3, 2.0f / 3}, {1.25f, 1.5f}, {0, 0}};
        for (int i = 0; i < 8; i++) {
            assert_true(fabsf(y[i / 2][i % 2] - wanted[i / 2][i % 2]) < 1e-6f);
        }
        float entries[4][2] = {{1, 1}, {2, 3}, {4, 5}, {100, 100}};
        args.x.data = sums;
        args.y = entries;
        args.mean = true;
        args.extra = 0;
        args.total = total;
        table->f32[LH_KERNEL_GROUP_SUM](&exec, &args);
        const float means[3][2] = {{2, 3}, {0, 0}, {2.5f, 3}};
        for (int i = 0; i < 6; i++) {
            assert_true(sums[i / 2][i % 2] == means[i / 2][i % 2]);
        }
    }
    assert_true(total[0] > 10 && total[1] == 10 && total[2] - 10 == 2 * (total[0] - 10));
    lh_exec_free(&exec);
}

static void latest_members(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_group_latest_args args = {.lanes = pick_size(4), .length = pick(1, 80), .window = pick(1, 12)};
        args.queries = pick(0, args.length);
        int64_t rows = args.lanes * args.queries;
        problem p = problem_start(LH_KERNEL_GROUP_LATEST, &args, sizeof args, "latest");
        double *group = operand_add(&p, IN_INT, offsetof(lh_group_latest_args, group), args.lanes * args.length);
        for (int64_t i = 0; i < args.lanes * args.length; i++) {
            group[i] = (double)pick(-1, 5);
        }
        operand_add(&p, OUT_INT, offsetof(lh_group_latest_args, index), rows * args.window);
        operand_add(&p, OUT_INT, offsetof(lh_group_latest_args, first), rows);
        double *asked = round % 2 ? operand_add(&p, IN_INT, offsetof(lh_group_latest_args, own), rows) : NULL;
        for (int64_t row = 0; asked && row < rows; row++) {
            asked[row] = (double)pick(-1, 6);
        }
        double *index = calloc((size_t)(rows * args.window) + 1, sizeof *index);
        double *first = calloc((size_t)rows + 1, sizeof *first);
        for (int64_t row = 0; row < rows; row++) {
            const double *own = group + row / args.queries * args.length;
            int64_t t = args.length - args.queries + row % args.queries, members = 0, left;
            double wanted = asked ? asked[row] : own[t];
            for (int64_t s = 0; s <= t; s++) {
                members += wanted >= 0 && own[s] == wanted;
            }
            left = members > args.window ? members - args.window : 0;
            int64_t at = members > args.window ? 0 : args.window - members;
            first[row] = (double)at;
            for (int64_t i = 0; i < at; i++) {
                index[row * args.window + i] = -1;
            }
            for (int64_t s = 0; s <= t; s++) {
                if (wanted >= 0 && own[s] == wanted && left-- <= 0) {
                    index[row * args.window + at++] = (double)s;
                }
            }
        }
        check_with(&p, p.count, (double *[]){NULL, index, first, NULL});
        free(index);
        free(first);
    }
}

/* Random members of `groups` groups of `places` places in all: rising within a group, then, if `gaps`, -1s. */
static void draw_sorted(double *start, double *order, int64_t groups, int64_t places, bool gaps)
{
    int64_t at = 0;
    for (int64_t g = 0; g <= groups; g++) {
        start[g] = (double)at;
        int64_t end = g < groups ? pick(at, places) : places, last = -1;
        for (; at < end; at++) {
            last += last >= -1 ? 1 + pick(0, 3) : 0;
            last = g == groups || (gaps && pick(0, 9) == 0) ? -2 : last;
            order[at] = last < 0 ? -1 : (double)last;
        }
    }
}

static void keys_that_queries_see(void **state)
{
    (void)state;
    int64_t seen = 0, blind = 0;
    for (int round = 0; round < ROUNDS; round++) {
        lh_group_seen_args args = {.lanes = pick_size(4),
                                   .queries = pick(0, 60),
                                   .keys = pick(0, 90),
                                   .groups = pick(1, 5),
                                   .first = pick(0, 30),
                                   .window = pick(1, 12)};
        int64_t starts = args.lanes * (args.groups + 1), rows = args.lanes * args.queries;
        problem p = problem_start(LH_KERNEL_GROUP_SEEN, &args, sizeof args, "seen");
        double *q_start = operand_add(&p, IN_INT, offsetof(lh_group_seen_args, query_start), starts);
        double *q_order = operand_add(&p, IN_INT, offsetof(lh_group_seen_args, query_order), rows);
        double *k_start = operand_add(&p, IN_INT, offsetof(lh_group_seen_args, key_start), starts);
        double *k_order = operand_add(&p, IN_INT, offsetof(lh_group_seen_args, key_order), args.lanes * args.keys);
        operand_add(&p, OUT_INT, offsetof(lh_group_seen_args, low), rows);
        operand_add(&p, OUT_INT, offsetof(lh_group_seen_args, high), rows);
        double *low = calloc((size_t)rows + 1, sizeof *low), *high = calloc((size_t)rows + 1, sizeof *high);
        for (int64_t lane = 0; lane < args.lanes; lane++) {
            const double *starts_of[2] = {q_start + lane * (args.groups + 1), k_start + lane * (args.groups + 1)};
            const double *query = q_order + lane * args.queries, *key = k_order + lane * args.keys;
            draw_sorted(q_start + lane * (args.groups + 1), q_order + lane * args.queries, args.groups,
                        args.queries, round % 2);
            draw_sorted(k_start + lane * (args.groups + 1), k_order + lane * args.keys, args.groups, args.keys,
                        round % 2);
            for (int64_t g = 0; g < args.groups; g++) {
                for (int64_t i = (int64_t)starts_of[0][g]; i < (int64_t)starts_of[0][g + 1]; i++) {
                    int64_t begin = (int64_t)starts_of[1][g], visible = 0;
                    for (int64_t j = begin; j < (int64_t)starts_of[1][g + 1]; j++) {
                        visible += key[j] >= 0 && key[j] <= (double)args.first + query[i];
                    }
                    if (query[i] >= 0) {
                        int64_t most = visible < args.window ? visible : args.window;
                        low[lane * args.queries + i] = (double)(begin + visible - most);
                        high[lane * args.queries + i] = (double)(begin + visible);
                        seen += most > 0;
                        blind += most == 0;
                    }
                }
            }
        }
        check_with(&p, 6, (double *[]){NULL, NULL, NULL, NULL, low, high});
        free(low);
        free(high);
    }
    assert_true(seen > 100 && blind > 100);
}

static int64_t standing_before(const double *x, int64_t columns, int64_t t, int64_t i)
{
    int64_t before = 0;
    for (int64_t s = 0; s <= t; s++) {
        before += s != i && stands_before(x[s * columns], x[i * columns], s < i, false);
    }
    return before;
}

static void top_so_far(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        lh_top_so_far_args args = {
            .batch = pick_size(3), .length = pick(1, 90), .columns = pick(1, 40), .k = pick(1, 30)};
        args.queries = pick(0, args.length);
        args.x_batch = args.length * args.columns + pick(0, 3);
        int64_t n = args.batch * args.x_batch, results = args.batch * args.queries * args.columns;
        problem p = problem_start(LH_KERNEL_TOP_SO_FAR, &args, sizeof args, "accepted");
        double *x = operand_add(&p, IN, offsetof(lh_top_so_far_args, x), n);
        make_awkward(x, n, round);
        operand_add(&p, OUT_INT, offsetof(lh_top_so_far_args, accepted), results);
        double *accepted = calloc((size_t)results + 1, sizeof *accepted);
        double *triples = calloc((size_t)results * 3 + 1, sizeof *triples);
        for (int64_t at = 0; at < results; at++) {
            int64_t c = at % args.columns, t = args.length - args.queries + at / args.columns % args.queries;
            int64_t b = at / args.columns / args.queries;
            accepted[at] = standing_before(x + b * args.x_batch + c, args.columns, t, t) < args.k;
            triples[3 * at] = (double)b;
            triples[3 * at + 1] = (double)t;
            triples[3 * at + 2] = (double)c;
        }
        lh_top_so_far_lists_args lists = {.count = results > 30 ? 30 : results,
                                          .length = args.length,
                                          .columns = args.columns,
                                          .k = args.k,
                                          .x_batch = args.x_batch};
        problem q = problem_start(LH_KERNEL_TOP_SO_FAR_LISTS, &lists, sizeof lists, "lists");
        memcpy(operand_add(&q, IN, offsetof(lh_top_so_far_lists_args, x), n), x, (size_t)n * sizeof *x);
        check_with(&p, 2, (double *[]){NULL, accepted});
        copied(&q, offsetof(lh_top_so_far_lists_args, triple), triples, lists.count * 3);
        operand_add(&q, OUT_INT, offsetof(lh_top_so_far_lists_args, index), lists.count * lists.k);
        operand_add(&q, OUT_INT, offsetof(lh_top_so_far_lists_args, first), lists.count);
        double *index = calloc((size_t)(lists.count * lists.k) + 1, sizeof *index);
        double *first = calloc((size_t)lists.count + 1, sizeof *first);
        for (int64_t i = 0; i < lists.count; i++) {
            int64_t t = (int64_t)triples[3 * i + 1], place = 0;
            const double *column =
                q.operands[0].values + (int64_t)triples[3 * i] * lists.x_batch + (int64_t)triples[3 * i + 2];
            first[i] = (double)(t + 1 < lists.k ? lists.k - t - 1 : 0);
            for (; place < (int64_t)first[i]; place++) {
                index[i * lists.k + place] = -1;
            }
            for (int64_t s = 0; s <= t; s++) {
                if (standing_before(column, lists.columns, t, s) < lists.k) {
                    index[i * lists.k + place++] = (double)s;
                }
            }
            assert_int_equal(place, lists.k);
        }
        check_with(&q, 4, (double *[]){NULL, NULL, index, first});
        free(accepted);
        free(triples);
        free(index);
        free(first);
    }
}

int main(void)
{
    harness_random = lh_random_create(5, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(argmax_finds_the_first_largest),  cmocka_unit_test(top_k_of_long_rows),
        cmocka_unit_test(group_sorts_by_counting),         cmocka_unit_test(rows_by_group),
        cmocka_unit_test(rows_by_group_have_known_values), cmocka_unit_test(latest_members),
        cmocka_unit_test(keys_that_queries_see),           cmocka_unit_test(top_so_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
