/* The Routing Transformer's further forms against their definitions: clusters by hashing, clusters spread from near
 * to far, classes of images (specification, 3.12 and 3.14). PyTorch: tests/parity/parity_routing.py. */
#include "infer/session.h"
#include "support/routing_rig.h"

#define PLAIN .distance = 5, .block = 4, .look_back = 4, .scale = 1, .decay = 0.999, .share_keys = true

enum { LENGTH = 22, WIDTH = 6, HEADS = 3, BATCH = 2, CLUSTERS = 4, SIZE = 5, ROW = LENGTH * WIDTH };

static bool is_text(const rig *g, int64_t b, int64_t t)
{
    return !g->memory->valid || g->memory->valid[b * LENGTH + t];
}

/* Softmax attention of row i of x over the `count` rows in list, the last of them the nearest, with the tables'
 * rows by rank. */
static void attend_list(const rig *g, const double *x, const double *v, int64_t i, const int *list, int count,
                        double *out)
{
    const double *rk = g->r.cluster_relative ? rig_values(g, LH_ROUTING_CLUSTER_KEYS) : NULL;
    const double *rv = g->r.cluster_relative ? rig_values(g, LH_ROUTING_CLUSTER_VALUES) : NULL;
    double sum = 0;
    memset(out, 0, sizeof *out * WIDTH);
    for (int p = 0; p < count; p++) {
        int64_t apart = count - 1 - p, row = g->r.distance + (apart < g->r.distance ? apart : g->r.distance);
        double logit = 0;
        for (int c = 0; c < WIDTH; c++) {
            logit += x[i * WIDTH + c] * (x[list[p] * WIDTH + c] + (rk ? rk[row * WIDTH + c] : 0));
        }
        sum += exp(logit);
        for (int c = 0; c < WIDTH; c++) {
            out[c] += exp(logit) * (v[list[p] * WIDTH + c] + (rv ? rv[row * WIDTH + c] : 0));
        }
    }
    for (int c = 0; c < WIDTH; c++) {
        out[c] /= sum;
    }
}

/* The average over clusters of fixed members, as published. members [CLUSTERS][SIZE] rise; -1: nobody. */
static void attend_members(const rig *g, const double *x, const double *v, int members[CLUSTERS][SIZE], double *out)
{
    double copies[LENGTH] = {0}, one[WIDTH];
    memset(out, 0, sizeof *out * ROW);
    for (int k = 0; k < CLUSTERS; k++) {
        for (int p = 0; p < SIZE && members[k][p] >= 0; p++) {
            attend_list(g, x, v, members[k][p], members[k], p + 1, one);
            copies[members[k][p]]++;
            for (int c = 0; c < WIDTH; c++) {
                out[members[k][p] * WIDTH + c] += one[c];
            }
        }
    }
    for (int i = 0; i < ROW; i++) {
        out[i] /= copies[i / WIDTH] + 0.01;
    }
}

/* Signs of products with projections that are made orthogonal: [LENGTH] of a head. */
static void buckets_of(const rig *g, int64_t head, const double *x, int *bucket)
{
    enum { BITS = 2 };
    double p[BITS][WIDTH], square = 0, along = 0;
    memcpy(p, rig_values(g, LH_ROUTING_PROJECTIONS) + head * BITS * WIDTH, sizeof p);
    for (int c = 0; c < WIDTH; c++) {
        square += p[0][c] * p[0][c];
        along += p[0][c] * p[1][c];
    }
    for (int c = 0; c < WIDTH; c++) { /* lengths do not matter to signs */
        p[1][c] -= along / square * p[0][c];
    }
    for (int t = 0; t < LENGTH; t++) {
        bucket[t] = 0;
        for (int bit = 0; bit < BITS; bit++) {
            double product = 0;
            for (int c = 0; c < WIDTH; c++) {
                product += p[bit][c] * x[t * WIDTH + c];
            }
            bucket[t] += product > 0 ? 1 << bit : 0;
        }
    }
}

/* A rig's head as clusters see it: normed queries, and values. */
static void rows_of(const rig *g, int64_t lane, double *x, double *v)
{
    rig_head(g, g->q, lane / HEADS, lane % HEADS, x);
    rig_head(g, g->v, lane / HEADS, lane % HEADS, v);
    rig_norm_rows(x, LENGTH, WIDTH, 1e-6 * WIDTH);
}

static int rising(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The published form: a bucket takes its members in the order of the text, then others in that order. */
static void hashed_clusters_of_a_window(void **state)
{
    (void)state;
    lh_routing r = {.mode = LH_ROUTING_FULL,
                    .assignment = LH_ROUTING_BY_HASH,
                    .heads = HEADS,
                    .clusters = CLUSTERS,
                    .size = SIZE,
                    .cluster_relative = true,
                    PLAIN};
    rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, true);
    double out[BATCH * HEADS * ROW], wanted[ROW], x[ROW], v[ROW];
    int short_ones = 0, full_ones = 0;
    rig_run(g, 0, LENGTH, out);
    for (int lane = 0; lane < BATCH * HEADS; lane++) {
        int bucket[LENGTH], members[CLUSTERS][SIZE];
        rows_of(g, lane, x, v);
        buckets_of(g, lane % HEADS, x, bucket);
        for (int k = 0; k < CLUSTERS; k++) {
            int count = 0;
            for (int inside = 1; inside >= 0; inside--) {
                for (int t = 0; t < LENGTH && count < SIZE; t++) {
                    if ((bucket[t] == k) == inside) {
                        members[k][count++] = t;
                    }
                }
                short_ones += inside && count < SIZE;
                full_ones += inside && count == SIZE;
            }
            qsort(members[k], SIZE, sizeof(int), rising);
        }
        attend_members(g, x, v, members, wanted);
        rig_check("hashed", out + lane * ROW, wanted, ROW, 1e-10);
    }
    assert_true(short_ones > 0 && full_ones > 0);
    rig_free(g);
}

/* Causal: a token sees the latest of its own bucket, and nothing needs filling up. */
static void hashed_clusters_are_causal(void **state)
{
    (void)state;
    lh_routing r = {.mode = LH_ROUTING_CAUSAL,
                    .assignment = LH_ROUTING_BY_HASH,
                    .heads = HEADS,
                    .clusters = CLUSTERS,
                    .size = SIZE,
                    .cluster_relative = true,
                    PLAIN};
    rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, true);
    double out[BATCH * HEADS * ROW], again[BATCH * HEADS * ROW], one[WIDTH], x[ROW], v[ROW];
    int changed = 0;
    rig_run(g, 0, LENGTH, out);
    for (int lane = 0; lane < BATCH * HEADS; lane++) {
        int bucket[LENGTH];
        rows_of(g, lane, x, v);
        buckets_of(g, lane % HEADS, x, bucket);
        for (int t = 0; t < LENGTH; t++) {
            int list[SIZE], count = 0;
            for (int j = t; j >= 0 && count < SIZE; j--) {
                if (bucket[j] == bucket[t]) {
                    list[count++] = j;
                }
            }
            qsort(list, (size_t)count, sizeof(int), rising);
            attend_list(g, x, v, t, list, count, one);
            rig_check("hashed", out + lane * ROW + (ptrdiff_t)t * WIDTH, one, WIDTH, 1e-10);
        }
    }
    for (int at = 0; at < LENGTH; at += 5) { /* another token changes nothing before it */
        double kept = g->q[at * HEADS * WIDTH];
        g->q[at * HEADS * WIDTH] = -3 * kept - 1;
        rig_run(g, 0, LENGTH, again);
        g->q[at * HEADS * WIDTH] = kept;
        for (int h = 0; h < HEADS; h++) {
            assert_memory_equal(again + (ptrdiff_t)h * ROW, out + (ptrdiff_t)h * ROW,
                                sizeof(double) * (size_t)(at * WIDTH));
        }
        changed += memcmp(again, out, sizeof again) != 0;
    }
    assert_true(changed >= 4); /* a first token sees itself alone, whatever it asks */
    rig_free(g);
}

/* In pieces, in both modes that can be read so: token by token, and by five and one. */
static void hashed_clusters_in_pieces(void **state)
{
    (void)state;
    static const int64_t pieces[][4] = {{1, 1, 1, 1}, {5, 1, 7, 2}};
    for (int mode = LH_ROUTING_CAUSAL; mode <= LH_ROUTING_PREFIX; mode++) {
        lh_routing r = {.mode = (lh_routing_mode)mode,
                        .assignment = LH_ROUTING_BY_HASH,
                        .heads = HEADS,
                        .clusters = CLUSTERS,
                        .size = SIZE,
                        .cluster_relative = true,
                        PLAIN};
        rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, true);
        double whole[BATCH * HEADS * ROW], part[BATCH * HEADS * ROW];
        rig_run(g, 0, LENGTH, whole);
        for (int way = 0; way < 2; way++) {
            for (int64_t at = 0, i = 0, count; at < LENGTH; at += count, i++) {
                count = LENGTH - at < pieces[way][i % 4] ? LENGTH - at : pieces[way][i % 4];
                rig_run(g, at, count, part);
                for (int lane = 0; lane < BATCH * HEADS; lane++) {
                    rig_check("a piece", part + lane * count * WIDTH, whole + lane * ROW + at * WIDTH,
                              count * WIDTH, 1e-10);
                }
            }
        }
        rig_free(g);
    }
}

/* The rank of a token among those of text, by falling score. */
static int rank_of(const rig *g, int64_t b, const double *score, int t)
{
    int rank = 0;
    for (int other = 0; other < LENGTH; other++) {
        bool before = score[other] > score[t] || (score[other] == score[t] && other < t);
        rank += is_text(g, b, other) && before;
    }
    return rank;
}

/* Of all tokens by their nearness to the centroid every (n / w)-th, the first w; routing heads are as they were. */
static void spread_clusters(void **state)
{
    (void)state;
    for (int padded = 0; padded < 3; padded++) {
        lh_routing r = {.mode = LH_ROUTING_FULL,
                        .heads = 2,
                        .spread = 1,
                        .clusters = CLUSTERS,
                        .size = SIZE,
                        .cluster_relative = true,
                        PLAIN};
        rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, true);
        uint8_t valid[BATCH * LENGTH];
        double out[BATCH * HEADS * ROW], wanted[ROW], x[ROW], v[ROW];
        for (int i = 0; i < BATCH * LENGTH; i++) { /* nothing; the end of a lane; all but three of it */
            valid[i] = i < LENGTH || i % LENGTH < (padded == 1 ? 13 : 3);
        }
        g->memory->valid = padded ? valid : NULL;
        rig_run(g, 0, LENGTH, out);
        for (int lane = 0; lane < BATCH * HEADS; lane++) {
            const double *mu = rig_values(g, LH_ROUTING_CENTROIDS) + (ptrdiff_t)(lane % HEADS) * CLUSTERS * WIDTH;
            int members[CLUSTERS][SIZE], text = 0;
            rows_of(g, lane, x, v);
            for (int t = 0; t < LENGTH; t++) {
                text += is_text(g, lane / HEADS, t);
            }
            bool spread = lane % HEADS == 2;
            int step = spread && text / SIZE > 1 ? text / SIZE : 1;
            for (int k = 0; k < CLUSTERS; k++) {
                double score[LENGTH] = {0};
                int count = 0;
                for (int t = 0; t < ROW; t++) {
                    score[t / WIDTH] += x[t] * mu[k * WIDTH + t % WIDTH];
                }
                for (int t = 0; t < LENGTH; t++) {
                    int rank = rank_of(g, lane / HEADS, score, t);
                    if (is_text(g, lane / HEADS, t) && rank % step == 0 && rank / step < SIZE) {
                        members[k][count++] = t;
                    }
                }
                assert_int_equal(count, text < SIZE ? text : SIZE);
                while (count < SIZE) {
                    members[k][count++] = -1;
                }
            }
            attend_members(g, x, v, members, wanted);
            rig_check(spread ? "spread" : "nearest", out + lane * ROW, wanted, ROW, 1e-10);
        }
        rig_free(g);
    }
}

/* Gradients against differences: hashed in both modes of training, spread clusters, keys of their own. */
static void gradients(void **state)
{
    (void)state;
    enum { CELLS = BATCH * HEADS * ROW };
    static const char *const names[] = {"queries", "keys", "values"};
    for (int which = 0; which < 5; which++) {
        lh_routing r = {.mode = which == 0 || which == 3 ? LH_ROUTING_CAUSAL : LH_ROUTING_FULL,
                        .assignment = which == 2 || which == 4 ? LH_ROUTING_BY_CENTROIDS : LH_ROUTING_BY_HASH,
                        .heads = which == 2 || which == 4 ? 2 : HEADS,
                        .spread = which == 2 || which == 4 ? 1 : 0,
                        .clusters = CLUSTERS,
                        .size = SIZE,
                        .commitment = 0.3,
                        PLAIN};
        r.share_keys = which < 3;
        r.cluster_relative = which < 3;
        rig *g = rig_create(&r, BATCH, HEADS, LENGTH, WIDTH, false);
        double *inputs[3] = {g->q, g->k, g->v}, *d = calloc(3 * CELLS, sizeof *d);
        lh_tensor *qkv[3], *loss;
        g->context->recording = g->context->training = true;
        for (int i = 0; i < 3; i++) {
            qkv[i] = rig_tokens(g, inputs[i], 0, LENGTH);
            qkv[i]->requires_grad = true;
        }
        rig_objective(g, qkv, &loss);
        lh_backward(g->context, loss, 1.0);
        for (int i = 0; i < 3; i++) {
            if (qkv[i]->grad) {
                memcpy(d + (ptrdiff_t)i * CELLS, lh_tensor_data(qkv[i]->grad), sizeof(double) * CELLS);
            }
        }
        lh_context_reset(g->context);
        g->context->recording = false;
        for (int i = 0; i < 3; i++) {
            rig_check_gradient(g, names[i], inputs[i], d + (ptrdiff_t)i * CELLS, CELLS);
        }
        free(d);
        rig_free(g);
    }
}

#define MODEL                                                                                                      \
    "model.layers=2", "model.width=16", "model.heads=4", "model.hidden=16", "model.segment=24",                    \
        "model.positions=none", "model.init=unit-uniform", "model.tied=false", "memory.kind=routing",              \
        "memory.clusters=4", "memory.cluster_size=8", "memory.block=4", "memory.look_back=4", "memory.distance=6", \
        "memory.routing_heads=2"

/* Projections are drawn once, for each head, and stay; there are no centroids, no statistics, no commitment. */
static void projections_stay(void **state)
{
    (void)state;
    const char *arguments[] = {MODEL, "memory.assignment=lsh", NULL};
    tiny t = tiny_create(arguments, 2, 3);
    const lh_parameter *p = lh_parameters_find(&t.model->parameters, "layers.1.memory.projections");
    assert_non_null(p);
    assert_int_equal(p->group, LH_GROUP_STATISTICS);
    assert_int_equal(lh_tensor_count(p->tensor), 2 * 2 * 4);
    assert_null(lh_parameters_find(&t.model->parameters, "layers.1.memory.centroids"));
    double before[16];
    memcpy(before, lh_tensor_data(p->tensor), sizeof before);
    for (int64_t i = 0; i < 3; i++) {
        tiny_losses losses = tiny_step(&t, i, 1, 1, NULL);
        assert_true(losses.auxiliary == 0);
        t.model->memory_kind->learn(&t.stream->memory, 1, t.context);
        t.model->memory_kind->figures(t.stream->memory, t.context, NULL, NULL); /* has nothing to tell */
    }
    assert_memory_equal(before, lh_tensor_data(p->tensor), sizeof before);
    assert_null(p->tensor->grad);
    tiny_free(&t);
}

static void impossible_settings(void **state)
{
    (void)state;
    static const char *const wrong[][4] = {
        {"memory.assignment=lsh", "memory.clusters=6", "model.layers=2", "2, 4, 8"},
        {"memory.assignment=lsh", "memory.clusters=32", "model.layers=2", "5 orthogonal projections"},
        {"memory.cluster_strided_heads=1", "memory.routing=causal", "model.layers=2", "memory.routing = full"},
        {"memory.cluster_strided_heads=1", "memory.routing=prefix", "model.layers=2", "memory.routing = full"},
        {"memory.cluster_strided_heads=3", "memory.routing=full", "model.heads=8",
         "more than memory.routing_heads"},
        {"memory.cluster_strided_heads=2", "memory.routing=full", "memory.strided_heads=1", "than the 4 heads"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *arguments[] = {MODEL, wrong[i][0], wrong[i][1], wrong[i][2], NULL};
        lh_error error = {0};
        lh_model *model = NULL;
        assert_int_equal(tiny_model(&model, arguments, 3, &error), LH_E_CONFIG);
        if (!strstr(error.message, wrong[i][3])) {
            fail_msg("%s", error.message);
        }
    }
    const char *arguments[] = {MODEL, "memory.cluster_strided_heads=1", "memory.routing=full", NULL};
    tiny t = tiny_create(arguments, 1, 3);
    assert_non_null(strstr(t.model->memory_kind->cannot_write(&t.model->shape), "no other way"));
    assert_non_null(strstr(t.model->memory_kind->note(&t.model->shape), "no causal likelihood"));
    tiny_free(&t);
}

/* ---- classes of images ---- */

#define IMAGE                                                                                               \
    "model.layers=1", "model.width=8", "model.heads=2", "model.hidden=8", "model.segment=48",               \
        "model.positions=none", "model.init=unit-uniform", "model.tied=false", "memory.kind=routing-image", \
        "memory.clusters=2", "memory.cluster_size=24", "memory.image_height=4", "memory.image_width=4",     \
        "memory.relative=false", "memory.cluster_relative=false", "memory.block=8", "memory.look_back=8"

enum { CELLS = 48 };

/* The class of each lane is added everywhere, the token in front of the image tells it, and that is all it does. */
static void classes_are_added_everywhere(void **state)
{
    (void)state;
    const char *with[] = {IMAGE, "memory.classes=5", "model.layers=0", "model.final_norm=false", NULL};
    const char *without[] = {IMAGE, "model.layers=0", "model.final_norm=false", NULL};
    tiny t = tiny_create(with, 2, 3), plain = tiny_create(without, 2, 3);
    int32_t tokens[2 * CELLS], targets[2 * CELLS];
    double hidden[2][2 * CELLS * 8];
    lh_error error = {0};
    lh_forward forward;
    tiny_text(&t, 0, tokens, targets);
    tokens[0] = 4;
    tokens[CELLS] = 1;
    for (int i = 0; i < plain.model->parameters.count; i++) {
        const lh_parameter *p = &plain.model->parameters.items[i];
        memcpy(lh_tensor_data(p->tensor), tiny_values(&t, p->name),
               sizeof(double) * (size_t)lh_tensor_count(p->tensor));
    }
    for (int which = 0; which < 2; which++) {
        tiny *one = which ? &plain : &t;
        lh_model_forward(one->context, one->model, one->stream, tokens, CELLS, &forward);
        lh_to_host(one->context, forward.hidden, hidden[which]);
        lh_backward(one->context, lh_sum(one->context, forward.hidden), 1.0);
        lh_stream_commit(one->stream, one->context);
        tiny_check(lh_context_status(one->context, &error), &error);
        lh_context_reset(one->context);
    }
    const double *classes = tiny_values(&t, "memory.classes.table"), *d = tiny_grad(&t, "memory.classes.table");
    for (int i = 0; i < 2 * CELLS * 8; i++) {
        int class = i < CELLS * 8 ? 4 : 1;
        assert_true(fabs(hidden[0][i] - hidden[1][i] - classes[class * 8 + i % 8]) < 1e-12);
    }
    for (int i = 0; i < 5 * 8; i++) {
        assert_true(d[i] == (i / 8 == 4 || i / 8 == 1 ? CELLS : 0));
    }
    tiny_free(&t);
    tiny_free(&plain);
}

/* Value by value as at once, also where an image follows another. */
static void classes_in_pieces(void **state)
{
    (void)state;
    static const int64_t pieces[] = {1, 7, 48};
    const char *arguments[] = {IMAGE, "memory.classes=5", NULL};
    lh_error error = {0};
    lh_model *model;
    int32_t tokens[2 * CELLS], targets[2 * CELLS];
    double whole[2 * CELLS], nll[2 * CELLS];
    tiny_check(tiny_model(&model, arguments, 3, &error), &error);
    lh_random random = lh_random_create(5, 3);
    for (int i = 0; i < 2 * CELLS; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, 11);
        targets[i] = (int32_t)lh_random_below(&random, 11);
    }
    tokens[0] = 2;
    tokens[CELLS] = 3;
    for (int way = 2; way >= 0; way--) {
        lh_session *s;
        tiny_check(lh_session_create(&s, model, 1, 1, &error), &error);
        for (int64_t at = 0, count; at < 2 * CELLS; at += count) {
            count = 2 * CELLS - at < pieces[way] ? 2 * CELLS - at : pieces[way];
            tiny_check(lh_session_score(s, tokens + at, targets + at, count, nll + at, &error), &error);
        }
        lh_session_free(s);
        if (way == 2) {
            memcpy(whole, nll, sizeof whole);
        }
        rig_check("scores", nll, whole, 2 * CELLS, 1e-10);
    }
    lh_session *s;
    tokens[0] = 6; /* no class */
    tiny_check(lh_session_create(&s, model, 1, 1, &error), &error);
    assert_int_equal(lh_session_score(s, tokens, targets, 1, nll, &error), LH_E_ARGUMENT);
    assert_non_null(strstr(error.message, "token 6"));
    assert_non_null(strstr(error.message, "5 classes"));
    lh_session_free(s);
    lh_model_free(model);
    const char *many[] = {IMAGE, "memory.classes=12", NULL};
    error = (lh_error){0};
    assert_int_equal(tiny_model(&model, many, 3, &error), LH_E_CONFIG);
    assert_non_null(strstr(error.message, "vocabulary's 11"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashed_clusters_of_a_window),
        cmocka_unit_test(hashed_clusters_are_causal),
        cmocka_unit_test(hashed_clusters_in_pieces),
        cmocka_unit_test(spread_clusters),
        cmocka_unit_test(gradients),
        cmocka_unit_test(projections_stay),
        cmocka_unit_test(impossible_settings),
        cmocka_unit_test(classes_are_added_everywhere),
        cmocka_unit_test(classes_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
