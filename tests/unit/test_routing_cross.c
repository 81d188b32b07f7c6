/* Cross attention in clusters and blocks: against its definition, where it is dense attention, what its centroids
 * learn, what it counts, what is refused. How it behaves in a whole model, in sessions and under differences:
 * test_routing_pairs.c. */
#include "infer/session.h"
#include "support/pairs.h"

enum { LANES = 2, HEADS = 3, WIDTH = PAIRS_WIDTH / HEADS, TOKENS = PAIRS_SEGMENT, SOURCE = PAIRS_SOURCE };
enum { QUERIES = LANES * HEADS * TOKENS * WIDTH, KEYS = LANES * HEADS * SOURCE * WIDTH };
#define CROSS "memory.cross_attention=blocks"

/* What the hook is given, and what is known of it. */
typedef struct rig {
    tiny t;
    lh_stream *writer; /* the same in inference */
    int32_t count[LANES];
    uint8_t valid[LANES * SOURCE];
    double q[QUERIES], k[KEYS], v[KEYS];
} rig;

static void draw(double *x, int count, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 3);
    for (int i = 0; i < count; i++) {
        x[i] = lh_random_normal(&random);
    }
}

static void rig_create(rig *g, const char *const *arguments, int shorter)
{
    lh_error error = {0};
    *g = (rig){.t = tiny_create(arguments, LANES, 3), .count = {SOURCE, shorter}};
    tiny_check(lh_stream_create(&g->writer, g->t.model, LANES, true, &error), &error);
    g->t.context->recording = g->t.context->training = false;
    for (int i = 0; i < LANES * SOURCE; i++) {
        g->valid[i] = i % SOURCE < g->count[i / SOURCE];
    }
    draw(g->q, QUERIES, 1);
    draw(g->k, KEYS, 2);
    draw(g->v, KEYS, 4);
}

static void rig_free(rig *g)
{
    lh_stream_free(g->writer);
    tiny_free(&g->t);
}

/* Cross attention of layer 1 for target tokens first .. first + tokens - 1 -> their part of out [LANES, HEADS,
 * TOKENS, WIDTH]. */
static void attend(rig *g, lh_memory *memory, int first, int tokens, double *out)
{
    lh_error error = {0};
    lh_context *context = g->t.context;
    const int64_t q[4] = {LANES, HEADS, TOKENS, WIDTH}, k[4] = {LANES, HEADS, SOURCE, WIDTH};
    lh_source source = {.tokens = SOURCE, .valid = g->valid, .count = g->count};
    lh_layer_io io = {.context = context,
                      .layer = 1,
                      .parameters = &g->t.model->layers[1].memory,
                      .q = lh_slice(context, lh_from_host(context, LH_F64, 4, q, g->q), 2, first, tokens),
                      .k = lh_from_host(context, LH_F64, 4, k, g->k),
                      .v = lh_from_host(context, LH_F64, 4, k, g->v),
                      .fill = first,
                      .tokens = tokens,
                      .whole_segment = tokens == TOKENS,
                      .source_tokens = &source,
                      .cross = true,
                      .options = {.scale = 0.5}};
    lh_tensor *y = memory->kind->attend_cross(memory, &io);
    double part[QUERIES];
    tiny_check(lh_context_status(context, &error), &error);
    lh_to_host(context, y, part);
    for (int row = 0; row < LANES * HEADS; row++) {
        memcpy(out + (row * TOKENS + first) * WIDTH, part + row * tokens * WIDTH,
               sizeof *out * (size_t)(tokens * WIDTH));
    }
    tiny_check(lh_context_status(context, &error), &error);
    lh_context_reset(context);
}

/* ---- the definition ------------------------------------------------------------------------------ */

static void norm_row(const double *x, double *y)
{
    double mean = 0, square = 0;
    for (int i = 0; i < WIDTH; i++) {
        mean += x[i] / WIDTH;
    }
    for (int i = 0; i < WIDTH; i++) {
        square += (x[i] - mean) * (x[i] - mean) / WIDTH;
    }
    for (int i = 0; i < WIDTH; i++) { /* of x / sqrt(WIDTH), with 1e-6 */
        y[i] = (x[i] - mean) / sqrt(square + 1e-6 * WIDTH);
    }
}

static double product(const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < WIDTH; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* out += weight softmax(scale q K^T) V over the keys that are seen. */
static void softmax_over(const double *q, const double *k, const double *v, const bool *seen, double scale,
                         double weight, double *out)
{
    double total = 0, sum[WIDTH] = {0};
    for (int j = 0; j < SOURCE; j++) {
        double p = seen[j] ? exp(scale * product(q, k + j * WIDTH)) : 0;
        total += p;
        for (int i = 0; i < WIDTH; i++) {
            sum[i] += p * v[j * WIDTH + i];
        }
    }
    for (int i = 0; i < WIDTH && total > 0; i++) {
        out[i] += weight * sum[i] / total;
    }
}

/* The `size` of `count` rows that score highest with a centroid, of equal ones the first. */
static void best_rows(const double *rows, int count, const double *centroid, int size, bool *best)
{
    for (int i = 0; i < count; i++) {
        double own = product(rows + i * WIDTH, centroid);
        int better = 0;
        for (int j = 0; j < count; j++) {
            double other = product(rows + j * WIDTH, centroid);
            better += other > own || (other == own && j < i);
        }
        best[i] = better < size;
    }
}

typedef struct plan {
    int routing, clusters, size, queries; /* places of keys, and, in full mode, of queries */
    int block, cross_block, around;
    bool full;
} plan;

/* One head that routes; centroids [clusters, WIDTH]. */
static void route_head(const plan *p, const double *q, const double *k, const double *v, int count,
                       const double *centroids, double *out)
{
    double x[TOKENS * WIDTH], y[SOURCE * WIDTH];
    int near[TOKENS], copies[TOKENS] = {0};
    for (int t = 0; t < TOKENS; t++) {
        norm_row(q + t * WIDTH, x + t * WIDTH);
        near[t] = 0;
        for (int c = 1; c < p->clusters; c++) {
            bool nearer =
                product(x + t * WIDTH, centroids + c * WIDTH) > product(x + t * WIDTH, centroids + near[t] * WIDTH);
            near[t] = nearer ? c : near[t];
        }
    }
    for (int j = 0; j < SOURCE; j++) {
        norm_row(k + j * WIDTH, y + j * WIDTH);
    }
    for (int pass = 0; pass < 2; pass++) { /* numbers of copies, then outputs */
        for (int c = 0; c < p->clusters; c++) {
            bool keys[SOURCE] = {false}, queries[TOKENS];
            best_rows(y, count, centroids + c * WIDTH, p->size, keys);
            best_rows(x, TOKENS, centroids + c * WIDTH, p->queries, queries);
            for (int t = 0; t < TOKENS; t++) {
                bool inside = p->full ? queries[t] : near[t] == c;
                copies[t] += inside && pass == 0;
                if (inside && pass == 1) {
                    softmax_over(x + t * WIDTH, y, v, keys, 1.0, 1.0 / (copies[t] + (p->full ? 0.01 : 0)),
                                 out + t * WIDTH);
                }
            }
        }
    }
}

static void block_head(const plan *p, const double *q, const double *k, const double *v, int count, double *out)
{
    for (int t = 0; t < TOKENS; t++) {
        bool seen[SOURCE];
        for (int j = 0; j < SOURCE; j++) {
            seen[j] = j < count && abs(j / p->cross_block - t / p->block) <= p->around;
        }
        softmax_over(q + t * WIDTH, k, v, seen, 0.5, 1.0, out + t * WIDTH);
    }
}

static void define(const rig *g, const plan *p, double *out)
{
    memset(out, 0, sizeof *out * QUERIES);
    for (int row = 0; row < LANES * HEADS; row++) {
        int head = row % HEADS;
        const double *q = g->q + row * TOKENS * WIDTH, *k = g->k + row * SOURCE * WIDTH,
                     *v = g->v + row * SOURCE * WIDTH;
        if (head < p->routing) {
            const double *centroids = tiny_values(&g->t, "layers.1.memory.cross_centroids");
            route_head(p, q, k, v, g->count[row / HEADS], centroids + head * p->clusters * WIDTH,
                       out + row * TOKENS * WIDTH);
        } else {
            block_head(p, q, k, v, g->count[row / HEADS], out + row * TOKENS * WIDTH);
        }
    }
}

static void same(const double *a, const double *b, int count, double bound)
{
    for (int i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= bound)) {
            fail_msg("element %d: %.12g and %.12g", i, a[i], b[i]);
        }
    }
}

static const struct {
    const char *arguments[4];
    plan plan;
} forms[] = {
    {{"memory.cross_routing_heads=2"}, {2, 3, 8, 8, 4, 7, 1, false}},
    {{"memory.cross_routing_heads=3", "memory.clusters=5"}, {3, 5, 8, 8, 4, 7, 1, false}},
    {{"memory.cross_routing_heads=1", "memory.cluster_size=20"}, {1, 3, 20, 20, 4, 7, 1, false}},
    {{"memory.cross_routing_heads=0", "memory.look_back=0", "memory.block=5"}, {0, 3, 8, 8, 5, 10, 0, false}},
    {{"memory.cross_routing_heads=1", "memory.cross_block=6", "memory.look_back=8"}, {1, 3, 8, 8, 4, 6, 2, false}},
    {{"memory.cross_routing_heads=2", "memory.routing=full"}, {2, 3, 8, 8, 4, 7, 1, true}},
    {{"memory.cross_routing_heads=3", "memory.routing=full", "memory.cluster_size=0"}, {3, 3, 7, 4, 4, 7, 1, true}},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void rig_of_form(rig *g, int form, int shorter)
{
    const char *const *more = forms[form].arguments;
    const char *arguments[] = {PAIRS, CROSS, more[0], more[1], more[2], NULL};
    rig_create(g, arguments, shorter);
}

/* A window at once, with centroids of a model; the second lane's source is shorter: than a cluster has places, than
 * the first block, or there is none. */
static void equals_its_definition(void **state)
{
    (void)state;
    static const int shorter[] = {13, 5, 0};
    for (int form = 0; form < FORMS; form++) {
        for (int i = 0; i < 3; i++) {
            rig g;
            double expected[QUERIES], got[QUERIES];
            rig_of_form(&g, form, shorter[i]);
            define(&g, &forms[form].plan, expected);
            attend(&g, g.t.stream->memory, 0, TOKENS, got);
            same(expected, got, QUERIES, 1e-12);
            attend(&g, g.writer->memory, 0, TOKENS, got); /* members of clusters are kept */
            same(expected, got, QUERIES, 1e-12);
            attend(&g, g.writer->memory, 0, TOKENS, got);
            same(expected, got, QUERIES, 1e-12);
            assert_int_equal(g.writer->memory->derived_valid[1], forms[form].plan.routing > 0);
            assert_true(largest(expected, QUERIES) > 0.1);
            rig_free(&g);
        }
    }
}

/* In pieces of all sizes, with lists of single queries and without. */
static void pieces_are_the_whole(void **state)
{
    (void)state;
    for (int form = 0; form < FORMS; form++) {
        rig g;
        double expected[QUERIES], got[QUERIES];
        rig_of_form(&g, form, 13);
        define(&g, &forms[form].plan, expected);
        for (int piece = 1; piece < TOKENS && !forms[form].plan.full; piece++) {
            memset(got, 0, sizeof got);
            for (int first = 0; first < TOKENS; first += piece) {
                attend(&g, g.writer->memory, first, first + piece < TOKENS ? piece : TOKENS - first, got);
            }
            same(expected, got, QUERIES, 1e-12);
        }
        rig_free(&g);
    }
}

/* Clusters at random: drawn by place, not by call. */
static void random_clusters_come_in_pieces(void **state)
{
    (void)state;
    const char *arguments[] = {PAIRS, CROSS, "memory.cross_routing_heads=2", "memory.assignment=random", NULL};
    rig g;
    double whole[QUERIES], got[QUERIES];
    rig_create(&g, arguments, 13);
    attend(&g, g.t.stream->memory, 0, TOKENS, whole);
    for (int first = 0; first < TOKENS; first += 5) {
        attend(&g, g.writer->memory, first, 5, got);
    }
    same(whole, got, QUERIES, 1e-12);
    for (int at = 0; at < TOKENS; at++) {
        attend(&g, g.writer->memory, at, 1, got);
    }
    same(whole, got, QUERIES, 1e-12);
    rig_free(&g);
}

/* Of keys with equal scores the first are taken. */
static void ties_go_to_the_first(void **state)
{
    (void)state;
    const char *arguments[] = {
        PAIRS, CROSS, "memory.cross_routing_heads=3", "memory.clusters=1", "memory.cluster_size=4", NULL};
    rig g;
    double got[QUERIES];
    rig_create(&g, arguments, 13);
    for (int i = 0; i < KEYS; i++) {
        g.k[i] = i % WIDTH; /* all the same */
        g.v[i] = i / WIDTH % SOURCE < 4 ? 1 : 100;
    }
    attend(&g, g.t.stream->memory, 0, TOKENS, got);
    for (int i = 0; i < QUERIES; i++) {
        assert_true(fabs(got[i] - 1) < 1e-12);
    }
    rig_free(&g);
}

/* One cluster that holds the whole source: dense attention on normed queries and keys, logits as they are. */
static void one_cluster_is_dense(void **state)
{
    (void)state;
    const char *arguments[] = {
        PAIRS, CROSS, "memory.cross_routing_heads=3", "memory.clusters=1", "memory.cluster_size=20", NULL};
    rig g;
    double got[QUERIES], dense[QUERIES];
    rig_create(&g, arguments, 13);
    attend(&g, g.t.stream->memory, 0, TOKENS, got);
    for (int i = 0; i < QUERIES; i += WIDTH) {
        norm_row(g.q + i, g.q + i);
    }
    for (int i = 0; i < KEYS; i += WIDTH) {
        norm_row(g.k + i, g.k + i);
    }
    memset(dense, 0, sizeof dense);
    for (int i = 0; i < LANES * HEADS * TOKENS; i++) {
        int row = i / TOKENS;
        bool seen[SOURCE];
        for (int j = 0; j < SOURCE; j++) {
            seen[j] = j < g.count[row / HEADS];
        }
        softmax_over(g.q + i * WIDTH, g.k + row * SOURCE * WIDTH, g.v + row * SOURCE * WIDTH, seen, 1.0, 1.0,
                     dense + i * WIDTH);
    }
    same(dense, got, QUERIES, 1e-12);
    rig_free(&g);
}

/* One block that is the whole window, beside the whole source: the dense model, to its gradients. */
static void one_block_is_dense(void **state)
{
    (void)state;
    static const int64_t lengths[LANES] = {20, 13};
    const char *blocks[] = {PAIRS,
                            "memory.block=10",
                            "memory.look_back=0",
                            "memory.routing_heads=1",
                            CROSS,
                            "memory.cross_routing_heads=0",
                            NULL};
    const char *dense[] = {PAIRS, "memory.block=10", "memory.look_back=0", "memory.routing_heads=1", NULL};
    tiny t[2] = {tiny_create(blocks, LANES, 3), tiny_create(dense, LANES, 3)};
    double hidden[2][LANES * PAIRS_SEGMENT * PAIRS_WIDTH];
    int32_t source[LANES * PAIRS_SOURCE];
    pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
    assert_int_equal(t[0].model->parameters.count, t[1].model->parameters.count);
    for (int i = 0; i < 2; i++) {
        tiny_zero_grads(&t[i]);
        pairs_begin(&t[i], source, PAIRS_SOURCE);
        tiny_step(&t[i], 0, 1.0, 1.0, hidden[i]);
    }
    same(hidden[0], hidden[1], LANES * PAIRS_SEGMENT * PAIRS_WIDTH, 1e-12);
    for (int i = 0; i < t[0].model->parameters.count; i++) {
        lh_tensor *a = t[0].model->parameters.items[i].tensor, *b = t[1].model->parameters.items[i].tensor;
        if (a->grad) {
            same(lh_tensor_data(a->grad), lh_tensor_data(b->grad), (int)lh_tensor_count(a), 1e-12);
        }
    }
    tiny_free(&t[0]);
    tiny_free(&t[1]);
}

/* ---- learning -------------------------------------------------------------------------------------- */

static const char *const learner[] = {
    PAIRS, CROSS, "memory.cross_routing_heads=2", "memory.skip_first=1", "memory.centroid_decay=0.5", NULL};

/* Each iteration counts every token of the target and of the source once for each head, also when layers run
 * again, and padding of neither; and moves the centroids. Evaluation does neither. */
static void centroids_learn_in_training_alone(void **state)
{
    (void)state;
    static const int64_t lengths[LANES] = {20, 13};
    for (int round = 0; round < 4; round++) {
        tiny t = tiny_create(learner, LANES, 3);
        uint8_t valid[LANES * PAIRS_SEGMENT];
        int padding = round / 2 * 3;
        enum { CLUSTERS = 3, COUNT = 2 * CLUSTERS * WIDTH };
        double *centroids = tiny_values(&t, "layers.1.memory.cross_centroids"), before[COUNT];
        double *queries = lh_tensor_data(tiny_state(&t, "layers.1.cross_cluster_totals"));
        double *keys = lh_tensor_data(tiny_state(&t, "layers.1.cross_cluster_key_totals"));
        int32_t source[LANES * PAIRS_SOURCE];
        pairs_draw(source, LANES, PAIRS_SOURCE, lengths, 1);
        assert_null(lh_parameters_find(&t.model->parameters, "layers.0.memory.cross_centroids"));
        t.model->checkpoint_layers = round % 2;
        for (int i = 0; i < LANES * PAIRS_SEGMENT; i++) {
            valid[i] = i >= padding;
        }
        memcpy(before, centroids, sizeof before);
        pairs_begin(&t, source, PAIRS_SOURCE);
        t.context->training = false;
        tiny_step(&t, 0, 0.0, 0.0, NULL);
        assert_true(largest(queries, 2 * CLUSTERS) == 0 && largest(keys, 2 * CLUSTERS) == 0);
        t.context->training = true;
        t.stream->memory->valid = valid;
        tiny_step(&t, 0, 1.0, 1.0, NULL);
        for (int head = 0; head < 2; head++) {
            double sum[2] = {0, 0};
            for (int c = 0; c < CLUSTERS; c++) {
                sum[0] += queries[head * CLUSTERS + c];
                sum[1] += keys[head * CLUSTERS + c];
            }
            assert_true(sum[0] == LANES * PAIRS_SEGMENT - padding && sum[1] == 20 + 13);
        }
        assert_memory_equal(before, centroids, sizeof before);
        t.model->memory_kind->learn(&t.stream->memory, 1, t.context);
        assert_memory_not_equal(before, centroids, sizeof before);
        assert_true(largest(queries, 2 * CLUSTERS) == 0 && largest(keys, 2 * CLUSTERS) == 0);
        lh_context_reset(t.context);
        tiny_free(&t);
    }
}

static void note_figure(void *user, const char *name, double value)
{
    *(int *)user += strncmp(name, "layer1/cross_clusters_", 22) == 0 && isfinite(value);
    assert_null(strstr(name, "layer0/cross"));
}

static void figures_tell_of_it(void **state)
{
    (void)state;
    tiny t = tiny_create(learner, LANES, 3);
    int told = 0;
    t.model->memory_kind->figures(t.stream->memory, t.context, note_figure, &told);
    assert_int_equal(told, 3);
    tiny_free(&t);
}

/* ---- counts and refusals ------------------------------------------------------------------------ */

/* Keys that a query sees, counted one by one beside a whole source, against what the arithmetic count says. */
static void keys_are_counted(void **state)
{
    (void)state;
    for (int form = 0; form < FORMS; form++) {
        const plan *p = &forms[form].plan;
        rig g, dense;
        const char *const *more = forms[form].arguments;
        const char *arguments[] = {PAIRS, NULL, NULL, NULL, NULL, NULL};
        int count = (int)(sizeof arguments / sizeof *arguments) - 5;
        for (int i = 0; i < 3 && more[i]; i++) { /* those that a dense cross attention has, too */
            if (!strstr(more[i], "cross_")) {
                arguments[count++] = more[i];
            }
        }
        double seen = 0;
        rig_of_form(&g, form, 13);
        rig_create(&dense, arguments, 13);
        for (int t = 0; t < TOKENS; t++) {
            int local = 0;
            for (int j = 0; j < SOURCE; j++) {
                local += abs(j / p->cross_block - t / p->block) <= p->around;
            }
            double inside = p->full ? (double)(p->clusters * p->queries) / TOKENS * p->size : p->size;
            seen += (p->routing * inside + (HEADS - p->routing) * local) / HEADS / TOKENS;
        }
        double difference = lh_model_attention_flops(g.t.model) - lh_model_attention_flops(dense.t.model);
        /* two layers; a product with a key and one with a value: 2 (WIDTH + WIDTH) for each head */
        same(&difference, &(double){2.0 * HEADS * 4 * WIDTH * (seen - SOURCE)}, 1, 1e-6);
        rig_free(&g);
        rig_free(&dense);
    }
}

static void refusals_name_the_matter(void **state)
{
    (void)state;
    static const char *const wrong[][4] = {
        {CROSS, "memory.cross_routing_heads=4", "memory.block=4", "more than the 3 heads"},
        {CROSS, "memory.cross_routing_heads=1", "memory.routing=prefix", "set it to causal"},
        {CROSS, "memory.cross_block=3", "memory.look_back=4", "beside 3 blocks of the target stand its first 12"},
        {"memory.block=4", "memory.cross_routing_heads=1", "memory.look_back=4", "memory.cross_attention"},
        {"memory.block=4", "memory.cross_block=9", "memory.look_back=4", "memory.cross_attention"},
        {CROSS, "memory.assignment=lsh", "memory.clusters=4", "not built for an encoder"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *arguments[] = {PAIRS, wrong[i][0], wrong[i][1], wrong[i][2], NULL};
        lh_model *model = NULL;
        lh_error error = {0};
        assert_int_equal(tiny_model(&model, arguments, 3, &error), LH_E_CONFIG);
        if (!strstr(error.message, wrong[i][3])) {
            fail_msg("%s", error.message);
        }
    }
}

/* The published way of choosing writes nothing, also if it is the cross attention's alone. */
static void full_mode_cannot_write(void **state)
{
    (void)state;
    const char *arguments[] = {PAIRS, CROSS, "memory.routing_heads=0", "memory.routing=full", NULL};
    tiny t = tiny_create(arguments, LANES, 3);
    const lh_memory_kind *kind = t.model->memory_kind;
    assert_non_null(strstr(kind->cannot_write(&t.model->shape), "set memory.routing to causal"));
    assert_null(strstr(kind->cannot_write(&t.model->shape), "prefix"));
    assert_non_null(strstr(kind->note(&t.model->shape), "no causal likelihood"));
    tiny_free(&t);
    arguments[sizeof arguments / sizeof *arguments - 2] = "memory.routing=causal";
    t = tiny_create(arguments, LANES, 3);
    assert_null(kind->cannot_write(&t.model->shape));
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_its_definition),
        cmocka_unit_test(pieces_are_the_whole),
        cmocka_unit_test(random_clusters_come_in_pieces),
        cmocka_unit_test(ties_go_to_the_first),
        cmocka_unit_test(one_cluster_is_dense),
        cmocka_unit_test(one_block_is_dense),
        cmocka_unit_test(centroids_learn_in_training_alone),
        cmocka_unit_test(figures_tell_of_it),
        cmocka_unit_test(keys_are_counted),
        cmocka_unit_test(refusals_name_the_matter),
        cmocka_unit_test(full_mode_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
