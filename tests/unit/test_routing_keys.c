/* Routing heads whose keys are not their queries (memory.share_keys = false): by their definition, in pieces, who
 * sees the future, differences, padding, and centroids that learn from queries and from keys. */
#include "support/routing_rig.h"

#define PLAIN .distance = 5, .block = 4, .look_back = 4, .scale = 1, .decay = 0.9, .share_keys = false

enum { BATCH = 2, HEADS = 2, LENGTH = 40, WIDTH = 4, CLUSTERS = 5, SIZE = 6, ROW = HEADS * WIDTH };

/* Scores [LENGTH, CLUSTERS] of normed rows of one head, and the best cluster of each. */
static void score(const rig *g, const double *x, int64_t h, double *scores, int *near)
{
    const double *mu = rig_values(g, LH_ROUTING_CENTROIDS) + h * CLUSTERS * WIDTH;
    for (int t = 0; t < LENGTH; t++) {
        near[t] = 0;
        for (int c = 0; c < CLUSTERS; c++) {
            double *s = scores + t * CLUSTERS + c;
            *s = 0;
            for (int i = 0; i < WIDTH; i++) {
                *s += x[t * WIDTH + i] * mu[c * WIDTH + i];
            }
            near[t] = *s > scores[t * CLUSTERS + near[t]] ? c : near[t];
        }
    }
}

/* Is token t of those that `text` allows among the SIZE with the best scores for cluster c? */
static bool among_best(const double *scores, const uint8_t *text, int t, int c)
{
    int before = 0;
    for (int s = 0; s < LENGTH; s++) {
        double other = scores[s * CLUSTERS + c], own = scores[t * CLUSTERS + c];
        before += text[s] && (other > own || (other == own && s < t));
    }
    return text[t] && before < SIZE;
}

/* out += factor times softmax attention of query t over keys 0 .. t that `sees` allows, nothing if it allows none.
 * Returns how many it allows. */
static int add_attention(const double *q, const double *k, const double *v, int t, const bool *sees, double factor,
                         double *out)
{
    double weights[LENGTH], sum = 0;
    int seen = 0;
    for (int s = 0; s <= t; s++) {
        double logit = 0;
        for (int i = 0; i < WIDTH; i++) {
            logit += q[t * WIDTH + i] * k[s * WIDTH + i];
        }
        weights[s] = sees[s] ? exp(logit) : 0;
        sum += weights[s];
        seen += sees[s];
    }
    for (int s = 0; s <= t && seen > 0; s++) {
        for (int i = 0; i < WIDTH; i++) {
            out[i] += factor * weights[s] / sum * v[s * WIDTH + i];
        }
    }
    return seen;
}

/* What one head gives, by the words of the definition; returns how many queries see nothing in a cluster. */
static int define_head(const rig *g, int64_t b, int64_t h, const uint8_t *text, double *out)
{
    double x[2][LENGTH * WIDTH], v[LENGTH * WIDTH], scores[2][LENGTH * CLUSTERS];
    int near[2][LENGTH], blind = 0;
    rig_head(g, g->v, b, h, v);
    for (int keys = 0; keys < 2; keys++) {
        rig_head(g, keys ? g->k : g->q, b, h, x[keys]);
        rig_norm_rows(x[keys], LENGTH, WIDTH, 1e-6 * WIDTH);
        score(g, x[keys], h, scores[keys], near[keys]);
    }
    memset(out, 0, sizeof *out * LENGTH * WIDTH);
    for (int t = 0; t < LENGTH; t++) {
        int copies = 0;
        for (int c = 0; c < CLUSTERS && g->r.mode == LH_ROUTING_FULL; c++) {
            copies += among_best(scores[0], text, t, c);
        }
        for (int c = 0; c < CLUSTERS; c++) {
            bool sees[LENGTH] = {false};
            int latest = 0;
            for (int s = t; s >= 0; s--) {
                sees[s] = g->r.mode == LH_ROUTING_FULL ? among_best(scores[1], text, s, c)
                                                       : near[1][s] == c && text[s] && latest++ < SIZE;
            }
            bool inside =
                g->r.mode == LH_ROUTING_FULL ? among_best(scores[0], text, t, c) : near[0][t] == c && text[t];
            double factor = g->r.mode == LH_ROUTING_FULL ? 1 / (copies + 0.01) : 1;
            if (inside) {
                blind += add_attention(x[0], x[1], v, t, sees, factor, out + t * WIDTH) == 0;
            }
        }
    }
    return blind;
}

static void heads_by_definition(void **state)
{
    (void)state;
    /* how much of a window is text: padding ends it; the last time it stands among the text */
    static const int64_t texts[] = {LENGTH, LENGTH - 7, 4, 0, LENGTH};
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode += 2) {
        int blind = 0;
        for (int round = 0; round < 5; round++) {
            lh_routing r = {
                .mode = (lh_routing_mode)mode, .heads = HEADS, .clusters = CLUSTERS, .size = SIZE, PLAIN};
            rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, false);
            double out[BATCH * LENGTH * ROW], wanted[LENGTH * WIDTH];
            uint8_t valid[BATCH * LENGTH];
            for (int i = 0; i < BATCH * LENGTH; i++) {
                valid[i] = (i >= LENGTH || i < texts[round]) && (round < 4 || i % 3 != 1);
            }
            g->memory->valid = valid;
            rig_run(g, 0, LENGTH, out);
            for (int lane = 0; lane < BATCH * HEADS; lane++) {
                blind += define_head(g, lane / HEADS, lane % HEADS, valid + lane / HEADS * LENGTH, wanted);
                rig_check("keys of their own", out + lane * LENGTH * WIDTH, wanted, LENGTH * WIDTH, 1e-10);
            }
            rig_free(g);
        }
        assert_true(blind > 5); /* queries without a key are among them */
    }
}

/* With keys that are the queries the result is that of shared keys, so that what the definition says of padding
 * goes for those, too. */
static void equal_keys_are_shared_keys(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        int mode = round % 2 ? LH_ROUTING_FULL : LH_ROUTING_CAUSAL;
        uint8_t valid[BATCH * LENGTH];
        for (int i = 0; i < BATCH * LENGTH; i++) {
            valid[i] = round < 2 || (i < LENGTH + SIZE - 2 && i % 5 != 2);
        }
        lh_routing r = {.mode = (lh_routing_mode)mode, .heads = HEADS, .clusters = CLUSTERS, .size = SIZE, PLAIN};
        double out[2][BATCH * LENGTH * ROW];
        for (int share = 0; share < 2; share++) {
            r.share_keys = share;
            rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, true);
            memcpy(g->k, g->q, sizeof(double) * BATCH * LENGTH * ROW);
            g->memory->valid = valid;
            rig_run(g, 0, LENGTH, out[share]);
            rig_free(g);
        }
        rig_check("shared", out[0], out[1], BATCH * LENGTH * ROW, 1e-12);
    }
}

static void in_pieces(void **state)
{
    (void)state;
    static const int64_t pieces[] = {3, 20, 1, 5, 1, 1, 9}; /* lists, and windows computed anew */
    for (int random = 0; random < 2; random++) {
        lh_routing r = {.heads = HEADS,
                        .clusters = CLUSTERS,
                        .size = SIZE,
                        .relative = true,
                        .assignment = random ? LH_ROUTING_AT_RANDOM : LH_ROUTING_BY_CENTROIDS,
                        PLAIN};
        rig *g = rig_create(&r, BATCH, HEADS + 1, LENGTH, WIDTH, true);
        enum { ALL = BATCH * LENGTH * (ROW + WIDTH) };
        double whole[ALL], part[ALL];
        rig_run(g, 0, LENGTH, whole);
        for (int64_t fill = 0, call = 0; fill < LENGTH; fill += pieces[call++]) {
            rig_run(g, fill, pieces[call], part);
            for (int64_t lane = 0; lane < BATCH * (HEADS + 1); lane++) {
                rig_check("pieces", part + lane * pieces[call] * WIDTH, whole + (lane * LENGTH + fill) * WIDTH,
                          pieces[call] * WIDTH, 1e-12);
            }
        }
        rig_free(g);
    }
}

/* A change of token AT's query, key and value. */
static void the_future_shows_in_full_mode_only(void **state)
{
    (void)state;
    enum { AT = 23 };
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode += 2) {
        lh_routing r = {.mode = (lh_routing_mode)mode, .heads = 1, .clusters = CLUSTERS, .size = SIZE, PLAIN};
        rig *g = rig_create(&r, 1, 1, LENGTH, WIDTH, true);
        double first[LENGTH * WIDTH], second[LENGTH * WIDTH], *inputs[3] = {g->q, g->k, g->v};
        bool before = false, after[3] = {false};
        rig_run(g, 0, LENGTH, first);
        for (int trial = 0; trial < 30; trial++) {
            rig_draw(inputs[trial % 3] + AT * WIDTH, WIDTH, 1, 900 + (uint64_t)trial);
            rig_run(g, 0, LENGTH, second);
            before |= memcmp(first, second, sizeof(double) * AT * WIDTH) != 0;
            after[trial % 3] |=
                memcmp(first + AT * WIDTH, second + AT * WIDTH, sizeof(double) * (LENGTH - AT) * WIDTH) != 0;
        }
        assert_int_equal(before, mode == LH_ROUTING_FULL);
        assert_true(after[0] && after[1] && after[2]);
        rig_free(g);
    }
}

static void gradients_are_differences(void **state)
{
    (void)state;
    enum { CELLS = BATCH * LENGTH * ROW };
    static const char *const names[] = {"q", "k", "v"};
    for (int round = 0; round < 4; round++) {
        lh_routing r = {.mode = round % 2 ? LH_ROUTING_FULL : LH_ROUTING_CAUSAL,
                        .heads = HEADS,
                        .clusters = CLUSTERS,
                        .size = SIZE,
                        .commitment = 0.3,
                        PLAIN};
        rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, false);
        double *inputs[3] = {g->q, g->k, g->v}, *gradients = calloc(3 * CELLS, sizeof *gradients);
        lh_tensor *qkv[3], *loss;
        uint8_t valid[BATCH * LENGTH];
        for (int i = 0; i < BATCH * LENGTH; i++) { /* in the second lane less text than a cluster has places */
            valid[i] = round < 2 || i < LENGTH + SIZE - 2;
        }
        g->memory->valid = valid;
        g->context->recording = g->context->training = true;
        for (int i = 0; i < 3; i++) {
            qkv[i] = rig_tokens(g, inputs[i], 0, LENGTH);
            qkv[i]->requires_grad = true;
        }
        rig_objective(g, qkv, &loss);
        lh_backward(g->context, loss, 1.0);
        for (int i = 0; i < 3; i++) {
            memcpy(gradients + i * CELLS, lh_tensor_data(qkv[i]->grad), sizeof(double) * CELLS);
            assert_true(isfinite(largest(gradients + i * CELLS, CELLS)));
        }
        lh_context_reset(g->context);
        g->context->recording = false;
        for (int i = 0; i < 3; i++) {
            rig_check_gradient(g, names[i], inputs[i], gradients + i * CELLS, CELLS);
        }
        free(gradients);
        rig_free(g);
    }
}

/* ---- centroids ---- */

/* Sums and counts of what is nearest to each centroid, text only: of queries or of keys. Returns the mean of their
 * squared distance in each channel. */
static double gather_by_definition(const rig *g, bool keys, const uint8_t *valid, double *sum, double *total)
{
    double off = 0, channels = 0;
    const double *mu = rig_values(g, LH_ROUTING_CENTROIDS);
    double x[LENGTH * WIDTH], scores[LENGTH * CLUSTERS];
    int near[LENGTH];
    for (int lane = 0; lane < BATCH * HEADS; lane++) {
        int b = lane / HEADS, h = lane % HEADS;
        rig_head(g, keys ? g->k : g->q, b, h, x);
        rig_norm_rows(x, LENGTH, WIDTH, 1e-6 * WIDTH);
        score(g, x, h, scores, near);
        for (int t = 0; t < LENGTH; t++) {
            if (valid[b * LENGTH + t]) {
                int c = h * CLUSTERS + near[t];
                total[c] += 1;
                for (int i = 0; i < WIDTH; i++) {
                    double difference = x[t * WIDTH + i] - mu[c * WIDTH + i];
                    sum[c * WIDTH + i] += x[t * WIDTH + i];
                    off += difference * difference;
                    channels++;
                }
            }
        }
    }
    return off / channels;
}

/* Two moves in each iteration, first by queries, then by keys, both assigned by the centroids from before; the
 * commitment is charged once for each. */
static void centroids_move_twice(void **state)
{
    (void)state;
    enum { ALL = HEADS * CLUSTERS, STEPS = 3 };
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode += 2) {
        lh_routing r = {.mode = (lh_routing_mode)mode,
                        .heads = HEADS,
                        .clusters = CLUSTERS,
                        .size = SIZE,
                        .commitment = 0.25,
                        PLAIN};
        rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, false);
        double means[ALL * WIDTH], counts[ALL], *mu = rig_values(g, LH_ROUTING_CENTROIDS);
        uint8_t valid[BATCH * LENGTH];
        for (int i = 0; i < BATCH * LENGTH; i++) {
            valid[i] = i % LENGTH < LENGTH - 9;
        }
        g->memory->valid = valid;
        g->context->training = true;
        memcpy(means, mu, sizeof means);
        for (int i = 0; i < ALL; i++) {
            counts[i] = 1;
        }
        for (int step = 0; step < STEPS; step++) {
            double sum[2][ALL * WIDTH] = {{0}}, total[2][ALL] = {{0}}, wanted[ALL * WIDTH], charge = 0;
            lh_layer_io io;
            for (int keys = 0; keys < 2; keys++) {
                charge += 0.25 * gather_by_definition(g, keys, valid, sum[keys], total[keys]);
            }
            memcpy(wanted, mu, sizeof wanted);
            for (int keys = 0; keys < 2; keys++) {
                for (int i = 0; i < ALL * WIDTH; i++) {
                    int c = i / WIDTH;
                    counts[c] = i % WIDTH == 0 ? 0.9 * counts[c] + 0.1 * total[keys][c] : counts[c];
                    means[i] = 0.9 * means[i] + 0.1 * sum[keys][i];
                    wanted[i] = total[keys][c] > 0 ? means[i] / counts[c] : wanted[i];
                }
            }
            (void)rig_attend(g, 0, LENGTH, NULL, &io);
            assert_true(fabs(lh_scalar(g->context, io.auxiliary) - charge) < 1e-10);
            lh_context_reset(g->context);
            lh_memory_routing.learn((lh_memory *const[]){g->memory}, 1, g->context);
            rig_check("counts", rig_values(g, LH_ROUTING_COUNTS), counts, ALL, 1e-12);
            rig_check("means", rig_values(g, LH_ROUTING_MEANS), means, ALL * WIDTH, 1e-12);
            rig_check("centroids", mu, wanted, ALL * WIDTH, 1e-3); /* 1e-5 of smoothing on small counts */
        }
        rig_free(g);
    }
}

/* With keys that are the queries both charges together are the shared one's. */
static void commitment_is_charged_for_both(void **state)
{
    (void)state;
    double charged[2];
    for (int share = 0; share < 2; share++) {
        lh_routing r = {.heads = HEADS, .clusters = CLUSTERS, .size = SIZE, .commitment = 0.25, PLAIN};
        r.share_keys = share;
        rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, false);
        lh_layer_io io;
        g->context->training = true;
        memcpy(g->k, g->q, sizeof(double) * BATCH * LENGTH * ROW);
        (void)rig_attend(g, 0, LENGTH, NULL, &io);
        charged[share] = lh_scalar(g->context, io.auxiliary);
        rig_free(g);
    }
    assert_true(charged[1] > 0.1 && fabs(charged[0] - charged[1]) < 1e-12);
}

/* Two parts of a batch teach what the batch does. */
static void parts_teach_what_the_whole_does(void **state)
{
    (void)state;
    enum { ALL = HEADS * CLUSTERS * WIDTH };
    lh_routing r = {.heads = HEADS, .clusters = CLUSTERS, .size = SIZE, PLAIN};
    rig *whole = rig_create(&r, 2, HEADS, LENGTH, WIDTH, false), *parts[2];
    lh_memory *memories[2];
    lh_layer_io io;
    whole->context->training = true;
    (void)rig_attend(whole, 0, LENGTH, NULL, &io);
    lh_context_reset(whole->context);
    for (int p = 0; p < 2; p++) {
        parts[p] = rig_create(&r, 1, HEADS, LENGTH, WIDTH, false);
        memcpy(parts[p]->q, whole->q + p * LENGTH * ROW, sizeof(double) * LENGTH * ROW);
        memcpy(parts[p]->k, whole->k + p * LENGTH * ROW, sizeof(double) * LENGTH * ROW);
        parts[p]->context->training = true;
        (void)rig_attend(parts[p], 0, LENGTH, NULL, &io);
        lh_context_reset(parts[p]->context);
        memories[p] = parts[p]->memory;
    }
    lh_memory_routing.learn((lh_memory *const[]){whole->memory}, 1, whole->context);
    lh_memory_routing.learn(memories, 2, parts[0]->context);
    rig_check("centroids", rig_values(parts[0], LH_ROUTING_CENTROIDS), rig_values(whole, LH_ROUTING_CENTROIDS), ALL,
              1e-12);
    for (int i = 0; i < whole->memory->state_count; i++) { /* nothing is left for the next iteration */
        lh_tensor *left = whole->memory->state[i].stored;
        assert_true(largest(lh_tensor_data(left), lh_tensor_count(left)) == 0);
    }
    rig_free(whole);
    rig_free(parts[0]);
    rig_free(parts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_by_definition),
        cmocka_unit_test(equal_keys_are_shared_keys),
        cmocka_unit_test(in_pieces),
        cmocka_unit_test(the_future_shows_in_full_mode_only),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(centroids_move_twice),
        cmocka_unit_test(commitment_is_charged_for_both),
        cmocka_unit_test(parts_teach_what_the_whole_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
