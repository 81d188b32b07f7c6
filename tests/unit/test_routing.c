/* The definition of the Routing Transformer's heads, as checks (Roy et al. 2021): equalities, who sees whom, the
 * three ways to choose clusters, centroids, differences, and a case worked out by hand. */
#include "support/routing_rig.h"

#define PLAIN .distance = 5, .block = 4, .look_back = 4, .scale = 1, .decay = 0.999, .share_keys = true

/* Softmax attention of query i over the keys that `sees` allows, entry by entry. With tables: rows by distance,
 * clipped at R; the tables' middle row is distance 0. */
static void attend_row(const rig *g, const double *q, const double *k, const double *v, const double *rel_k,
                       const double *rel_v, double scale, int64_t i, const bool *sees, double *out)
{
    int64_t width = g->width, reach = g->r.distance;
    double sum = 0;
    memset(out, 0, sizeof *out * (size_t)width);
    for (int64_t j = 0; j < g->length; j++) {
        if (!sees[j]) {
            continue;
        }
        int64_t distance = i - j > reach ? reach : i - j;
        const double *rk = rel_k ? rel_k + (reach + distance) * width : NULL;
        const double *rv = rel_v ? rel_v + (reach + distance) * width : NULL;
        double logit = 0;
        for (int64_t c = 0; c < width; c++) {
            logit += scale * q[i * width + c] * (k[j * width + c] + (rk ? rk[c] : 0));
        }
        double weight = exp(logit);
        sum += weight;
        for (int64_t c = 0; c < width; c++) {
            out[c] += weight * (v[j * width + c] + (rv ? rv[c] : 0));
        }
    }
    for (int64_t c = 0; c < width; c++) {
        out[c] /= sum;
    }
}

/* Causal attention with queries and keys LN0(q) and scale 1, for every batch entry and head. */
static void dense_shared(const rig *g, double *out)
{
    int64_t row = g->length * g->width;
    double *x = calloc((size_t)row, sizeof *x), *v = calloc((size_t)row, sizeof *v);
    bool *sees = calloc((size_t)g->length, 1);
    for (int64_t lane = 0; lane < g->batch * g->heads; lane++) {
        rig_head(g, g->q, lane / g->heads, lane % g->heads, x);
        rig_head(g, g->v, lane / g->heads, lane % g->heads, v);
        rig_norm_rows(x, g->length, g->width, 1e-6 * (double)g->width);
        for (int64_t i = 0; i < g->length; i++) {
            for (int64_t j = 0; j < g->length; j++) {
                sees[j] = j <= i;
            }
            attend_row(g, x, x, v, NULL, NULL, 1, i, sees, out + lane * row + i * g->width);
        }
    }
    free(x);
    free(v);
    free(sees);
}

/* 1 and 2: clusters that hold the whole window. */
static void whole_clusters_are_dense_attention(void **state)
{
    (void)state;
    static const int64_t clusters[] = {1, 3, 5};
    double out[2 * 2 * 12 * 6], dense[2 * 2 * 12 * 6];
    for (int i = 0; i < 3; i++) {
        double copies = (double)clusters[i];
        lh_routing r = {.mode = LH_ROUTING_FULL, .heads = 2, .clusters = clusters[i], .size = 12, PLAIN};
        rig *g = rig_create(&r, 2, 2, 12, 6, true);
        rig_run(g, 0, 12, out);
        dense_shared(g, dense);
        for (int j = 0; j < 2 * 2 * 12 * 6; j++) {
            out[j] *= (copies + 0.01) / copies;
        }
        rig_check("full", out, dense, 2 * 2 * 12 * 6, 1e-10);
        rig_free(g);
    }
    /* one cluster, causally: the same without the 0.01 */
    lh_routing r = {.mode = LH_ROUTING_CAUSAL, .heads = 2, .clusters = 1, .size = 12, PLAIN};
    rig *g = rig_create(&r, 2, 2, 12, 6, true);
    rig_run(g, 0, 12, out);
    dense_shared(g, dense);
    rig_check("causal", out, dense, 2 * 2 * 12 * 6, 1e-10);
    rig_free(g);
}

/* 3: which centroid has which number does not matter. */
static void centroids_have_no_order(void **state)
{
    (void)state;
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode++) {
        lh_routing r = {
            .mode = (lh_routing_mode)mode, .heads = 1, .clusters = 4, .size = 5, .cluster_relative = true, PLAIN};
        rig *g = rig_create(&r, 1, 1, 20, 6, true);
        double first[20 * 6], second[20 * 6], row[6];
        rig_run(g, 0, 20, first);
        double *mu = rig_values(g, LH_ROUTING_CENTROIDS);
        for (int i = 0; i < 3; i++) { /* rotates the rows */
            memcpy(row, mu + i * 6, sizeof row);
            memmove(mu + i * 6, mu + (i + 1) * 6, sizeof row);
            memcpy(mu + (i + 1) * 6, row, sizeof row);
        }
        rig_run(g, 0, 20, second);
        rig_check("rotated centroids", second, first, 20 * 6, 1e-10);
        rig_free(g);
    }
}

/* 5: local heads are dense attention with the mask of blocks, and Shaw's tables. */
static void local_heads_are_masked_dense_attention(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{14, 0}, {4, 0}, {4, 8}, {3, 3}, {1, 5}, {20, 20}};
    enum { LENGTH = 14, WIDTH = 5, HEADS = 2 };
    for (int s = 0; s < 12; s++) {
        lh_routing r = {PLAIN, .relative = s % 2};
        r.block = shapes[s / 2][0];
        r.look_back = shapes[s / 2][1];
        rig *g = rig_create(&r, 2, HEADS, LENGTH, WIDTH, true);
        double out[2 * HEADS * LENGTH * WIDTH], q[LENGTH * WIDTH], k[LENGTH * WIDTH], v[LENGTH * WIDTH],
            wanted[WIDTH];
        rig_run(g, 0, LENGTH, out);
        for (int lane = 0; lane < 2 * HEADS; lane++) {
            rig_head(g, g->q, lane / HEADS, lane % HEADS, q);
            rig_head(g, g->k, lane / HEADS, lane % HEADS, k);
            rig_head(g, g->v, lane / HEADS, lane % HEADS, v);
            for (int64_t i = 0; i < LENGTH; i++) {
                bool sees[LENGTH];
                for (int64_t j = 0; j < LENGTH; j++) {
                    sees[j] = j <= i && j / r.block >= i / r.block - r.look_back / r.block;
                }
                attend_row(g, q, k, v, r.relative ? rig_values(g, LH_ROUTING_LOCAL_KEYS) : NULL,
                           r.relative ? rig_values(g, LH_ROUTING_LOCAL_VALUES) : NULL, 1 / sqrt((double)WIDTH), i,
                           sees, wanted);
                rig_check("local", out + (lane * LENGTH + i) * WIDTH, wanted, WIDTH, 1e-10);
            }
        }
        rig_free(g);
    }
}

/* Local heads of images: blocks above, to the left and above to the right. */
static void image_blocks_see_their_neighbours(void **state)
{
    (void)state;
    enum { ROWS = 4, COLUMNS = 6, WIDTH = 4, LENGTH = ROWS * COLUMNS * 2 };
    lh_routing r = {PLAIN, .image = {.height = ROWS,
                                     .width = COLUMNS,
                                     .channels = 2,
                                     .block_height = 2,
                                     .block_width = 4,
                                     .look_back_height = 2,
                                     .look_back_width = 4}};
    r.block = 8;
    r.look_back = 0;
    rig *g = rig_create(&r, 1, 1, LENGTH, WIDTH, true);
    double out[LENGTH * WIDTH], wanted[WIDTH];
    int seen_places[ROWS][COLUMNS][2] = {{{0}}};
    rig_run(g, 0, LENGTH, out);
    for (int64_t i = 0; i < LENGTH; i++) {
        bool sees[LENGTH];
        int64_t row, column, channel;
        lh_routing_image_place(&r.image, i, &row, &column, &channel);
        seen_places[row][column][channel]++;
        for (int64_t j = 0; j < LENGTH; j++) {
            int64_t other_row, other_column, other_channel;
            lh_routing_image_place(&r.image, j, &other_row, &other_column, &other_channel);
            int64_t down = row / 2 - other_row / 2,
                    across = (column * 2 + channel) / 4 - (other_column * 2 + other_channel) / 4;
            sees[j] = j <= i && down <= 1 && labs((long)across) <= 1;
        }
        attend_row(g, g->q, g->k, g->v, NULL, NULL, 0.5, i, sees, wanted);
        rig_check("image", out + i * WIDTH, wanted, WIDTH, 1e-10);
    }
    for (int i = 0; i < ROWS * COLUMNS * 2; i++) { /* every value of the image has one place */
        assert_int_equal((&seen_places[0][0][0])[i], 1);
    }
    rig_free(g);
}

static void strided_heads_see_their_place_in_every_block(void **state)
{
    (void)state;
    enum { LENGTH = 12, WIDTH = 4 };
    static const int64_t calls[] = {12, 5, 3, 4}; /* the whole window, and three pieces of it */
    lh_routing r = {PLAIN, .strided = 1};
    r.block = 3;
    r.look_back = 3;
    rig *g = rig_create(&r, 1, 1, LENGTH, WIDTH, true);
    double out[LENGTH * WIDTH], pieces[LENGTH * WIDTH], wanted[WIDTH];
    rig_run(g, 0, calls[0], out);
    for (int64_t i = 0; i < LENGTH; i++) {
        bool sees[LENGTH];
        for (int64_t j = 0; j < LENGTH; j++) {
            sees[j] = j <= i && (i - j) % 3 == 0;
        }
        attend_row(g, g->q, g->k, g->v, NULL, NULL, 0.5, i, sees, wanted);
        rig_check("strided", out + i * WIDTH, wanted, WIDTH, 1e-10);
    }
    for (int64_t fill = 0, call = 1; fill < LENGTH; fill += calls[call++]) {
        rig_run(g, fill, calls[call], pieces + fill * WIDTH);
    }
    rig_check("strided pieces", pieces, out, LENGTH * WIDTH, 1e-12);
    rig_free(g);
}

/* 6: how often tokens stand in clusters. With values of 1 the result of a token with c copies is c / (c + 0.01). */
static void places_in_clusters_are_filled(void **state)
{
    (void)state;
    enum { LENGTH = 40, WIDTH = 4 };
    lh_routing r = {.mode = LH_ROUTING_FULL, .heads = 1, .clusters = 5, .size = 7, PLAIN};
    rig *g = rig_create(&r, 2, 1, LENGTH, WIDTH, true);
    double out[2 * LENGTH * WIDTH], all = 0;
    for (int i = 0; i < 2 * LENGTH * WIDTH; i++) {
        g->v[i] = 1;
    }
    rig_run(g, 0, LENGTH, out);
    for (int t = 0; t < 2 * LENGTH; t++) {
        double copies = 0.01 * out[t * WIDTH] / (1 - out[t * WIDTH]);
        assert_true(fabs(copies - round(copies)) < 1e-6 && copies < 5.5);
        all += copies;
    }
    assert_true(fabs(all - 2 * 5 * 7) < 1e-6);
    rig_free(g);
}

/* Causal clusters, by their definition: the latest w of those with the same nearest centroid. */
static void causal_clusters_by_definition(void **state)
{
    (void)state;
    enum { LENGTH = 40, WIDTH = 4, CLUSTERS = 3 };
    for (int relative = 0; relative < 2; relative++) {
        lh_routing r = {.heads = 1, .clusters = CLUSTERS, .size = 6, .cluster_relative = relative, PLAIN};
        rig *g = rig_create(&r, 1, 1, LENGTH, WIDTH, true);
        double out[LENGTH * WIDTH], x[LENGTH * WIDTH], wanted[WIDTH];
        int near[LENGTH];
        rig_head(g, g->q, 0, 0, x);
        rig_norm_rows(x, LENGTH, WIDTH, 1e-6 * WIDTH);
        for (int t = 0; t < LENGTH; t++) {
            double best = -INFINITY;
            for (int c = 0; c < CLUSTERS; c++) {
                double score = 0;
                for (int i = 0; i < WIDTH; i++) {
                    score += x[t * WIDTH + i] * rig_values(g, LH_ROUTING_CENTROIDS)[c * WIDTH + i];
                }
                near[t] = score > best ? c : near[t];
                best = fmax(score, best);
            }
        }
        rig_run(g, 0, LENGTH, out);
        for (int t = 0; t < LENGTH; t++) {
            double members_x[LENGTH * WIDTH], members_v[LENGTH * WIDTH];
            bool sees[LENGTH] = {false};
            int rank = 0;
            for (int s = 0; s <= t; s++) { /* ranks in place of times, as the tables count */
                if (near[s] == near[t]) {
                    memcpy(members_x + rank * WIDTH, x + s * WIDTH, sizeof wanted);
                    memcpy(members_v + rank++ * WIDTH, g->v + s * WIDTH, sizeof wanted);
                }
            }
            for (int s = rank > 6 ? rank - 6 : 0; s < rank; s++) {
                sees[s] = true;
            }
            attend_row(g, members_x, members_x, members_v, relative ? rig_values(g, LH_ROUTING_CLUSTER_KEYS) : NULL,
                       relative ? rig_values(g, LH_ROUTING_CLUSTER_VALUES) : NULL, 1, rank - 1, sees, wanted);
            rig_check("causal", out + t * WIDTH, wanted, WIDTH, 1e-10);
        }
        rig_free(g);
    }
}

/* 7: a change of token AT's query and value, as a layer's input would make it. */
static void the_future_shows_in_full_mode_only(void **state)
{
    (void)state;
    enum { LENGTH = 32, WIDTH = 4, AT = 20 };
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode++) {
        lh_routing r = {
            .mode = (lh_routing_mode)mode, .heads = 1, .clusters = 4, .size = 8, .cluster_relative = true, PLAIN};
        rig *g = rig_create(&r, 1, 1, LENGTH, WIDTH, true);
        double first[LENGTH * WIDTH], second[LENGTH * WIDTH];
        bool changed_before = false, changed_after = false;
        rig_run(g, 0, LENGTH, first);
        for (int trial = 0; trial < 20; trial++) {
            rig_draw(g->q + AT * WIDTH, WIDTH, 1, 900 + (uint64_t)trial);
            rig_run(g, 0, LENGTH, second);
            changed_before |= memcmp(first, second, sizeof(double) * AT * WIDTH) != 0;
            changed_after |=
                memcmp(first + AT * WIDTH, second + AT * WIDTH, sizeof(double) * (LENGTH - AT) * WIDTH) != 0;
        }
        assert_int_equal(changed_before, mode == LH_ROUTING_FULL);
        assert_true(changed_after);
        rig_free(g);
    }
}

/* 7: what full mode computes from its clusters is causal: no gradient goes to later tokens. */
static void gradients_do_not_look_ahead(void **state)
{
    (void)state;
    enum { LENGTH = 24, WIDTH = 4, AT = 11 };
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode += 2) {
        lh_routing r = {
            .mode = (lh_routing_mode)mode, .heads = 1, .clusters = 3, .size = 8, .cluster_relative = true, PLAIN};
        rig *g = rig_create(&r, 1, 1, LENGTH, WIDTH, false);
        lh_layer_io io;
        lh_tensor *qkv[3];
        g->context->recording = true;
        for (int i = 0; i < 3; i++) {
            qkv[i] = rig_tokens(g, i == 2 ? g->v : g->q, 0, LENGTH);
            qkv[i]->requires_grad = true;
        }
        lh_tensor *out = rig_attend(g, 0, LENGTH, qkv, &io);
        lh_backward(g->context, lh_sum(g->context, lh_slice(g->context, out, 2, 0, AT + 1)), 1.0);
        for (int i = 0; i < 3; i += 2) {
            const double *d = lh_tensor_data(qkv[i]->grad);
            assert_true(largest(d + (AT + 1) * WIDTH, (LENGTH - AT - 1) * WIDTH) == 0);
            assert_true(largest(d, (AT + 1) * WIDTH) > 1e-3);
        }
        lh_context_reset(g->context);
        rig_free(g);
    }
}

/* 8: prefix mode, token by token and at once, is full mode on the prefix read at its last token. */
static void prefix_mode_is_full_mode_so_far(void **state)
{
    (void)state;
    enum { LENGTH = 30, WIDTH = 4, HEADS = 2, ROW = HEADS * WIDTH };
    static const int64_t pieces[] = {30, 1, 7, 12, 1, 1, 8}; /* the whole window; pieces of it */
    lh_routing r = {
        .mode = LH_ROUTING_PREFIX, .heads = HEADS, .clusters = 3, .size = 6, .cluster_relative = true, PLAIN};
    rig *g = rig_create(&r, 2, HEADS, LENGTH, WIDTH, true);
    double whole[2 * LENGTH * ROW], part[2 * LENGTH * ROW], so_far[2 * LENGTH * ROW];
    rig_run(g, 0, LENGTH, whole);
    for (int64_t fill = 0, call = 1; fill < LENGTH; fill += pieces[call++]) {
        rig_run(g, fill, pieces[call], part);
        for (int64_t lane = 0; lane < 2 * HEADS; lane++) {
            rig_check("pieces", part + lane * pieces[call] * WIDTH, whole + (lane * LENGTH + fill) * WIDTH,
                      pieces[call] * WIDTH, 1e-12);
        }
    }
    for (int64_t length = 1; length <= LENGTH; length++) {
        lh_routing full = r;
        full.mode = LH_ROUTING_FULL;
        rig *p = rig_create(&full, 2, HEADS, length, WIDTH, true);
        for (int64_t b = 0; b < 2; b++) {
            memcpy(p->q + b * length * ROW, g->q + b * LENGTH * ROW, sizeof(double) * (size_t)(length * ROW));
            memcpy(p->v + b * length * ROW, g->v + b * LENGTH * ROW, sizeof(double) * (size_t)(length * ROW));
        }
        rig_run(p, 0, length, so_far);
        for (int64_t lane = 0; lane < 2 * HEADS; lane++) {
            rig_check("prefix", whole + (lane * LENGTH + length - 1) * WIDTH,
                      so_far + (lane * length + length - 1) * WIDTH, WIDTH, 1e-10);
        }
        rig_free(p);
    }
    rig_free(g);
}

/* 8: causal mode in pieces, with lists and with the window computed anew. */
static void causal_mode_in_pieces(void **state)
{
    (void)state;
    enum { LENGTH = 40, WIDTH = 4, HEADS = 3, ROW = HEADS * WIDTH };
    static const int64_t pieces[] = {40, 3, 20, 1, 5, 1, 10};
    lh_routing r = {.heads = 2, .clusters = 3, .size = 6, .cluster_relative = true, .relative = true, PLAIN};
    rig *g = rig_create(&r, 2, HEADS, LENGTH, WIDTH, true);
    double whole[2 * LENGTH * ROW], part[2 * LENGTH * ROW];
    rig_run(g, 0, LENGTH, whole);
    for (int64_t fill = 0, call = 1; fill < LENGTH; fill += pieces[call++]) {
        rig_run(g, fill, pieces[call], part);
        for (int64_t lane = 0; lane < 2 * HEADS; lane++) {
            rig_check("pieces", part + lane * pieces[call] * WIDTH, whole + (lane * LENGTH + fill) * WIDTH,
                      pieces[call] * WIDTH, 1e-12);
        }
    }
    rig_free(g);
}

/* Modes that cannot do what is asked say so. */
static void refusals(void **state)
{
    (void)state;
    lh_error error = {0};
    lh_layer_io io;
    lh_routing r = {.mode = LH_ROUTING_FULL, .heads = 1, .clusters = 2, .size = 4, PLAIN};
    rig *g = rig_create(&r, 1, 1, 8, 4, true);
    assert_null(rig_attend(g, 4, 2, NULL, &io));
    assert_int_equal(lh_context_status(g->context, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "memory.routing to causal or prefix"));
    rig_free(g);
    error = (lh_error){0};
    r.mode = LH_ROUTING_PREFIX;
    g = rig_create(&r, 1, 1, 8, 4, false);
    g->context->recording = true;
    assert_null(rig_attend(g, 0, 8, NULL, &io));
    assert_int_equal(lh_context_status(g->context, &error), LH_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "train with memory.routing = causal"));
    rig_free(g);
}

/* 9 */
static void gradients_are_differences(void **state)
{
    (void)state;
    enum { LENGTH = 24, WIDTH = 4, HEADS = 3, CELLS = 2 * LENGTH * HEADS * WIDTH };
    static const char *const names[] = {"q", "k", "v"};
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_FULL; mode += 2) {
        lh_routing r = {.mode = (lh_routing_mode)mode,
                        .heads = 2,
                        .clusters = 3,
                        .size = 8,
                        .cluster_relative = true,
                        .relative = true,
                        .commitment = 0.3,
                        PLAIN};
        rig *g = rig_create(&r, 2, HEADS, LENGTH, WIDTH, false);
        double *inputs[3] = {g->q, g->k, g->v}, *gradients = calloc(3 * CELLS, sizeof *gradients);
        lh_error error = {0};
        lh_tensor *qkv[3], *loss;
        uint8_t valid[2 * LENGTH];
        for (int i = 0; i < 2 * LENGTH; i++) {
            valid[i] = mode == LH_ROUTING_FULL || i % 7 != 5;
        }
        g->memory->valid = valid; /* some tokens are padding: no commitment */
        g->context->recording = g->context->training = true;
        for (int which = 0; which <= LH_ROUTING_CLUSTER_VALUES; which++) {
            tiny_check(lh_tensor_create_grad(g->parameters.tensors[which], &error), &error);
        }
        for (int i = 0; i < 3; i++) {
            qkv[i] = rig_tokens(g, inputs[i], 0, LENGTH);
            qkv[i]->requires_grad = true;
        }
        rig_objective(g, qkv, &loss);
        lh_backward(g->context, loss, 1.0);
        for (int i = 0; i < 3; i++) {
            memcpy(gradients + i * CELLS, lh_tensor_data(qkv[i]->grad), sizeof(double) * CELLS);
        }
        lh_context_reset(g->context);
        g->context->recording = false;
        for (int i = 0; i < 3; i++) {
            rig_check_gradient(g, names[i], inputs[i], gradients + i * CELLS, CELLS);
        }
        for (int which = 0; which <= LH_ROUTING_CLUSTER_VALUES; which++) {
            lh_tensor *table = g->parameters.tensors[which];
            const double *d = lh_tensor_data(table->grad);
            rig_check_gradient(g, "a table", lh_tensor_data(table), d, lh_tensor_count(table));
            assert_true(largest(d, lh_tensor_count(table)) > 1e-3);
        }
        free(gradients);
        rig_free(g);
    }
}

/* ---- centroids ---- */

/* Gathers as training does, on windows first .. first + count - 1 of the rig's batch. */
static void gather(rig *g)
{
    lh_layer_io io;
    lh_error error = {0};
    g->context->training = true;
    (void)rig_attend(g, 0, g->length, NULL, &io);
    tiny_check(lh_context_status(g->context, &error), &error);
    lh_context_reset(g->context);
}

/* 10: with the same counts and sums each time the averages have a closed form. */
static void moving_averages_have_a_closed_form(void **state)
{
    (void)state;
    enum { CLUSTERS = 2, WIDTH = 3, STEPS = 40 };
    double sums[CLUSTERS * WIDTH] = {6, -3, 2, 1, 8, -4}, totals[CLUSTERS] = {4, 2}, start[CLUSTERS * WIDTH];
    lh_error error = {0};
    for (int kind = LH_CENTROIDS_COUNTED; kind <= LH_CENTROIDS_ZERO; kind++) {
        lh_routing r = {.heads = 1, .clusters = CLUSTERS, .size = 4, PLAIN};
        rig *g = rig_create(&r, 1, 1, 4, WIDTH, false);
        double *mu = rig_values(g, LH_ROUTING_CENTROIDS);
        memcpy(start, mu, sizeof start);
        for (int step = 0; step < STEPS; step++) {
            lh_tensor *sum = lh_from_host(g->context, LH_F64, 3, (int64_t[]){1, CLUSTERS, WIDTH}, sums);
            lh_tensor *total = lh_from_host(g->context, LH_F64, 2, (int64_t[]){1, CLUSTERS}, totals);
            lh_centroid_step(g->context, sum, total, g->parameters.tensors[LH_ROUTING_MEANS],
                             g->parameters.tensors[LH_ROUTING_COUNTS], g->parameters.tensors[LH_ROUTING_CENTROIDS],
                             0.9, (lh_centroid_start)kind);
            tiny_check(lh_context_status(g->context, &error), &error);
            lh_context_reset(g->context);
        }
        double left = pow(0.9, STEPS);
        for (int i = 0; i < CLUSTERS * WIDTH; i++) {
            double c = totals[i / WIDTH], wanted = sums[i] / c; /* LH_CENTROIDS_DATA: from the first step on */
            if (kind == LH_CENTROIDS_ZERO) {
                wanted += start[i] * left / ((1 - left) * c);
            } else if (kind == LH_CENTROIDS_COUNTED) {
                wanted = (left * start[i] + (1 - left) * sums[i]) / (left + (1 - left) * c);
            }
            assert_true(fabs(mu[i] - wanted) < 1e-4 * fmax(1, fabs(wanted))); /* 1e-5 of smoothing */
        }
        rig_free(g);
    }
}

/* A cluster that nobody joined keeps its centroid; with the published start it does not. */
static void empty_clusters_keep_their_centroid(void **state)
{
    (void)state;
    for (int kind = LH_CENTROIDS_COUNTED; kind <= LH_CENTROIDS_ZERO; kind++) {
        lh_routing r = {.heads = 1, .clusters = 2, .size = 4, PLAIN, .start = (lh_centroid_start)kind};
        rig *g = rig_create(&r, 1, 1, 6, 4, false);
        double *mu = rig_values(g, LH_ROUTING_CENTROIDS), before[4];
        for (int i = 0; i < 6; i++) { /* all tokens are alike, and like centroid 0 */
            memcpy(g->q + 4 * i, mu, 4 * sizeof *mu);
        }
        memcpy(before, mu + 4, sizeof before);
        gather(g);
        lh_memory_routing.learn((lh_memory *const[]){g->memory}, 1, g->context);
        bool kept = memcmp(before, mu + 4, sizeof before) == 0;
        assert_int_equal(kept, kind != LH_CENTROIDS_ZERO);
        assert_true(kept || largest(mu + 4, 4) > 1e3); /* ... which is what makes it dangerous */
        rig_free(g);
    }
}

/* 11: two parts of a batch teach what the batch does. Padding teaches nothing. */
static void parts_teach_what_the_whole_does(void **state)
{
    (void)state;
    enum { LENGTH = 16, WIDTH = 4, HEADS = 2, ROW = HEADS * WIDTH, SIZE = HEADS * 3 * WIDTH };
    lh_routing r = {.heads = HEADS, .clusters = 3, .size = 8, PLAIN};
    rig *whole = rig_create(&r, 2, HEADS, LENGTH, WIDTH, false);
    rig *parts[2] = {rig_create(&r, 1, HEADS, LENGTH, WIDTH, false),
                     rig_create(&r, 1, HEADS, LENGTH, WIDTH, false)};
    uint8_t valid[2 * LENGTH];
    for (int i = 0; i < 2 * LENGTH; i++) {
        valid[i] = i % 5 != 3;
    }
    for (int round = 0; round < 3; round++) {
        whole->memory->valid = round ? valid : NULL;
        gather(whole);
        for (int p = 0; p < 2; p++) {
            memcpy(parts[p]->q, whole->q + p * LENGTH * ROW, sizeof(double) * LENGTH * ROW);
            parts[p]->memory->valid = round ? valid + p * LENGTH : NULL;
            gather(parts[p]);
        }
        lh_memory_routing.learn((lh_memory *const[]){whole->memory}, 1, whole->context);
        lh_memory_routing.learn((lh_memory *const[]){parts[0]->memory, parts[1]->memory}, 2, parts[0]->context);
        /* both parts have the same weights */
        memcpy(rig_values(parts[1], LH_ROUTING_CENTROIDS), rig_values(parts[0], LH_ROUTING_CENTROIDS),
               sizeof(double) * SIZE);
        rig_check("centroids", rig_values(parts[0], LH_ROUTING_CENTROIDS), rig_values(whole, LH_ROUTING_CENTROIDS),
                  SIZE, 1e-12);
        rig_check("counts", rig_values(parts[0], LH_ROUTING_COUNTS), rig_values(whole, LH_ROUTING_COUNTS),
                  HEADS * 3, 1e-12);
        double counted = 0; /* started with 1 each, then text tokens */
        for (int c = 0; c < 3; c++) {
            counted += rig_values(whole, LH_ROUTING_COUNTS)[c];
        }
        double expected = round == 0 ? 0.999 * 3 + 0.001 * 2 * LENGTH : 0;
        assert_true(round > 0 || fabs(counted - expected) < 1e-12);
    }
    rig_free(whole);
    rig_free(parts[0]);
    rig_free(parts[1]);
}

/* ---- the case that was worked out by hand ---- */

static rig *worked_case(bool relative, lh_centroid_start start)
{
    lh_routing r = {.mode = LH_ROUTING_FULL,
                    .heads = 1,
                    .clusters = 2,
                    .size = 3,
                    .distance = 2,
                    .block = 6,
                    .scale = 1,
                    .decay = 0.999,
                    .commitment = 0.25,
                    .cluster_relative = relative,
                    .share_keys = true,
                    .start = start};
    rig *g = rig_create(&r, 1, 1, 6, 4, false);
    for (int i = 0; i < 24; i++) {
        g->q[i] = sin(1 + 0.9 * (i / 4) + 1.7 * (i % 4));
        g->v[i] = cos(0.5 * (i / 4) - 0.8 * (i % 4));
    }
    double *mu = rig_values(g, LH_ROUTING_CENTROIDS);
    for (int i = 0; i < 8; i++) {
        mu[i] = sin(2.1 * (i / 4) + 1.1 * (i % 4) + 0.3);
    }
    rig_norm_rows(mu, 2, 4, 1e-6);
    for (int i = 0; relative && i < 20;
         i++) { /* the published tables run from R back to R ahead: here the other way */
        double row = 4 - i / 4, column = i % 4;
        rig_values(g, LH_ROUTING_CLUSTER_KEYS)[i] = 0.1 * sin(0.3 * row + column);
        rig_values(g, LH_ROUTING_CLUSTER_VALUES)[i] = 0.1 * cos(0.3 * row - column);
    }
    return g;
}

static void the_worked_case(void **state)
{
    (void)state;
    static const double mu[8] = {-0.121698, 1.196192,  0.456995,  -1.531488,
                                 1.602000,  -0.074936, -1.125478, -0.401586};
    static const double wanted[24] = {0.995025, 0.693241,  -0.029054, -0.733725, 0.891712,  0.897670,
                                      0.359113, -0.397277, 0.612003,  0.962619,  0.729323,  0.053629,
                                      0,        0,         0,         0,         -0.411299, 0.358942,
                                      0.911454, 0.911090,  -0.701776, -0.017813, 0.676955,  0.961091};
    static const double relative[3][4] = {{1.077148, 0.784888, -0.012142, -0.807098},
                                          {0.698537, 1.049745, 0.736855, -0.026031},
                                          {-0.616951, 0.070151, 0.687285, 0.884365}};
    static const int rows[3] = {0, 2, 5};
    double out[24];
    rig *g = worked_case(false, LH_CENTROIDS_ZERO);
    rig_check("centroids", rig_values(g, LH_ROUTING_CENTROIDS), mu, 8, 2e-6);
    rig_run(g, 0, 6, out);
    rig_check("output", out, wanted, 24, 2e-6);
    /* the mean of (x - m)^2 is 1.171194: charged 2 beta = 0.5 times, for each of one layer */
    lh_layer_io io;
    g->context->training = true;
    (void)rig_attend(g, 0, 6, NULL, &io);
    assert_true(fabs(lh_scalar(g->context, io.auxiliary) / 0.5 - 1.171194) < 2e-6);
    lh_context_reset(g->context);
    /* three members each; the published start blows centroids up */
    rig_check("counts", lh_tensor_data(g->memory->state[LH_ROUTING_TOTAL].stored), (double[]){3, 3}, 2, 0);
    lh_memory_routing.learn((lh_memory *const[]){g->memory}, 1, g->context);
    rig_check("next centroid", rig_values(g, LH_ROUTING_CENTROIDS),
              (double[]){-41.5085, 398.3733, 153.3016, -510.1664}, 4, 0.2);
    rig_free(g);
    g = worked_case(true, LH_CENTROIDS_COUNTED);
    rig_run(g, 0, 6, out);
    for (int i = 0; i < 3; i++) {
        rig_check("with tables", out + rows[i] * 4, relative[i], 4, 2e-6);
    }
    rig_free(g);
    /* token 5 becomes token 0: token 2 loses its place though it came before */
    g = worked_case(false, LH_CENTROIDS_COUNTED);
    memcpy(g->q + 20, g->q, 4 * sizeof *g->q);
    rig_run(g, 0, 6, out);
    rig_check("the leak", out + 8, (double[]){0, 0, 0, 0}, 4, 0);
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_case),
        cmocka_unit_test(whole_clusters_are_dense_attention),
        cmocka_unit_test(centroids_have_no_order),
        cmocka_unit_test(local_heads_are_masked_dense_attention),
        cmocka_unit_test(image_blocks_see_their_neighbours),
        cmocka_unit_test(strided_heads_see_their_place_in_every_block),
        cmocka_unit_test(places_in_clusters_are_filled),
        cmocka_unit_test(causal_clusters_by_definition),
        cmocka_unit_test(the_future_shows_in_full_mode_only),
        cmocka_unit_test(gradients_do_not_look_ahead),
        cmocka_unit_test(prefix_mode_is_full_mode_so_far),
        cmocka_unit_test(causal_mode_in_pieces),
        cmocka_unit_test(refusals),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(moving_averages_have_a_closed_form),
        cmocka_unit_test(empty_clusters_keep_their_centroid),
        cmocka_unit_test(parts_teach_what_the_whole_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
