/* Which sources' gradients may be worked on close behind one another: by what must not happen then. In a wave the
 * source ahead is at later queries than the one behind it, with any keys, so no such two pairs may stand for the
 * same row of a common table. */
#include "kernels/attention_common.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { QUERIES = 5, ROWS = 64 };

/* Whether a pair of the source ahead and one of the source behind add to one row. */
static bool rows_meet(const lh_attention_source *ahead, const lh_attention_source *behind)
{
    for (int64_t later = 1; later < QUERIES; later++) {
        for (int64_t query = 0; query < later; query++) {
            for (int64_t a = 0; a < ahead->k_len; a++) {
                for (int64_t b = 0; b < behind->k_len; b++) {
                    if (lh_attention_rel(ahead, later, a) == lh_attention_rel(behind, query, b)) {
                        return true;
                    }
                }
            }
        }
    }
    return false;
}

static lh_attention_source source(int64_t keys, int64_t offset, int64_t first, int64_t step, float *table)
{
    return (lh_attention_source){.k_len = keys,
                                 .rel_offset = offset,
                                 .rel_first = first,
                                 .rel_step = step,
                                 .rel_len = ROWS,
                                 .d_rel_k = table};
}

static void rows_of_a_common_table_never_meet(void **state)
{
    (void)state;
    float table[1];
    int followed = 0, refused = 0;
    static const int64_t steps[] = {-1, 1, 2};
    for (int64_t keys = 1; keys <= 4; keys++) {
        for (int64_t offset = 20; offset < 32; offset++) {
            for (int64_t first = 0; first < 4; first++) {
                for (int which = 0; which < 9; which++) {
                    lh_attention_source ahead = source(keys, 28, 1, steps[which / 3], table);
                    lh_attention_source behind = source(3, offset, first, steps[which % 3], table);
                    bool follows = lh_attention_may_follow(&ahead, &behind);
                    assert_false(follows && rows_meet(&ahead, &behind));
                    followed += follows;
                    refused += !follows;
                }
            }
        }
    }
    assert_true(followed > 0 && refused > 0);
}

/* What the wave is for: a memory of `keys` rows and the segment behind it. */
static void a_segment_follows_its_memory(void **state)
{
    (void)state;
    float table[1];
    for (int64_t keys = 1; keys < 9; keys++) {
        lh_attention_source memory = source(keys, keys, 0, 1, table), segment = source(QUERIES, 0, 0, 1, table);
        assert_true(lh_attention_may_follow(&memory, &segment));
        assert_false(lh_attention_may_follow(&segment, &memory));
    }
}

static void common_places_are_for_one_at_a_time(void **state)
{
    (void)state;
    float one[1], other[1];
    lh_attention_source plain = {.k_len = 3}, biased = {.k_len = 3, .d_key_bias = one};
    assert_true(lh_attention_may_follow(&plain, &plain));
    assert_true(lh_attention_may_follow(&biased, &plain) && lh_attention_may_follow(&plain, &biased));
    assert_false(lh_attention_may_follow(&biased, &biased));
    lh_attention_source table = source(3, 3, 0, 1, one);
    assert_true(lh_attention_may_follow(&table, &plain) && lh_attention_may_follow(&plain, &table));
    /* the gradients of one table and of another: nobody knows whether the others are the same */
    lh_attention_source values = source(3, 0, 0, 1, one), apart = source(3, 0, 0, 1, other), line = values;
    values.d_rel_v = other;
    line.d_distance_bias = other;
    assert_false(lh_attention_may_follow(&table, &values));
    assert_false(lh_attention_may_follow(&table, &apart));
    assert_false(lh_attention_may_follow(&table, &line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_common_table_never_meet),
        cmocka_unit_test(a_segment_follows_its_memory),
        cmocka_unit_test(common_places_are_for_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
