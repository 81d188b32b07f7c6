/* The Memorizing Transformer (memory/memorizing.c): the acceptance checks of its specification. */
#include "base/memory.h"
#include "infer/describe.h"
#include "memory/memorizing.h"
#include "support/tiny_model.h"

#define BASE                                                                                                       \
    "model.layers=2", "model.width=16", "model.heads=4", "model.hidden=12", "model.init=fan-in",                   \
        "model.segment=8", "model.norm=rms", "model.qk_norm=l2", "model.head_scale=true", "model.null_logit=true", \
        "model.see_self=false", "model.t5_scaled=true", "model.positions=t5", "model.t5_buckets=8",                \
        "model.t5_distance=20", "memory.window=8"
#define MEMORIZING BASE, "memory.kind=memorizing"

enum { VOCAB = 11, SEGMENT = 8, WIDTH = 16, HEADS = 4, KEY_WIDTH = 4, BATCH = 2 };
enum { CELLS = BATCH * SEGMENT * WIDTH };

/* The parameters of `from` that `to` also has. */
static void copy_weights(lh_model *to, const lh_model *from)
{
    for (int i = 0; i < from->parameters.count; i++) {
        lh_parameter *p = lh_parameters_find(&to->parameters, from->parameters.items[i].name);
        lh_tensor *t = from->parameters.items[i].tensor;
        assert_non_null(p);
        memcpy(lh_tensor_data(p->tensor), lh_tensor_data(t), sizeof(double) * (size_t)lh_tensor_count(t));
    }
}

static void set_gates(tiny *t, double value)
{
    for (int i = 0; i < t->model->parameters.count; i++) {
        lh_parameter *p = &t->model->parameters.items[i];
        for (int h = 0; strstr(p->name, "memory.gate") && h < HEADS; h++) {
            ((double *)lh_tensor_data(p->tensor))[h] = value;
        }
    }
}

/* ---- check 1: without what is special about it ---- */

static void closed_gates_leave_the_window(void **state)
{
    (void)state;
    const char *plain[] = {BASE, "memory.kind=window", NULL};
    const char *const with[][20] = {{MEMORIZING, "memory.size=20", "memory.neighbours=3", NULL},
                                    {MEMORIZING, "memory.size=0", NULL},
                                    {MEMORIZING, "memory.size=20", "memory.layers=0,1", NULL}};
    for (int i = 0; i < 3; i++) {
        tiny a = tiny_create(plain, BATCH, 3), b = tiny_create(with[i], BATCH, 4);
        copy_weights(b.model, a.model);
        set_gates(&b, -40);
        for (int s = 0; s < 5; s++) {
            double x[CELLS], y[CELLS];
            (void)tiny_step(&a, s, 0, 0, x);
            (void)tiny_step(&b, s, 0, 0, y);
            for (int j = 0; j < CELLS; j++) {
                assert_true(fabs(x[j] - y[j]) <= 1e-13 * (1 + fabs(x[j])));
            }
        }
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* ---- check 2: with more neighbours than there are rows, retrieval is attention to all of them ---- */

static lh_tensor *noise(lh_context *c, int ndim, const int64_t *shape, lh_random *random)
{
    lh_tensor *x = lh_new(c, LH_F64, ndim, shape, false);
    double *values = lh_tensor_data(x);
    for (int64_t i = 0; i < lh_tensor_count(x); i++) {
        values[i] = lh_random_normal(random);
    }
    return x;
}

static void all_neighbours_are_dense_attention(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 7, 127, 128, 129, 300};
    lh_error error = {0};
    lh_context *c;
    lh_random random = lh_random_create(11, 0);
    tiny_check(lh_context_create(&c, lh_backend_cpu(), 2, &error), &error);
    for (int i = 0; i < 6; i++) {
        for (int64_t q_len = 1; q_len <= 40; q_len += 39) {
            int64_t n = rows[i], q_shape[4] = {2, 4, q_len, 5}, k_shape[4] = {2, 2, n, 5},
                    v_shape[4] = {2, 2, n, 3};
            lh_tensor *q = noise(c, 4, q_shape, &random), *k = noise(c, 4, k_shape, &random);
            lh_tensor *v = noise(c, 4, v_shape, &random);
            lh_tensor *written = lh_new(c, LH_I32, 1, q_shape, true);
            lh_row_ring ring = {.rows = lh_new(c, LH_F64, 4, k_shape, true), .capacity = n};
            written = lh_ring_append(c, &ring, k, written);
            lh_attention_options options = {.scale = 1};
            lh_key_source dense = lh_key_source_all(k, v), listed = lh_key_source_all(ring.rows, v);
            listed.layout = LH_KEYS_GATHERED;
            listed.stop_gradient = true;
            listed.gather = lh_nearest(c, q, &ring, written, n, n + 3, 0, -1, NULL);
            lh_tensor *a = lh_attention(c, q, 1, &dense, &options, NULL);
            lh_tensor *b = lh_attention(c, q, 1, &listed, &options, NULL);
            tiny_check(lh_context_status(c, &error), &error);
            int64_t count = lh_tensor_count(a);
            double *x = calloc((size_t)count, sizeof *x), *y = calloc((size_t)count, sizeof *y);
            lh_to_host(c, a, x);
            lh_to_host(c, b, y);
            for (int64_t j = 0; j < count; j++) {
                assert_true(fabs(x[j] - y[j]) < 1e-12);
            }
            free(x);
            free(y);
            lh_context_reset(c);
        }
    }
    lh_context_free(c);
}

/* ---- checks 3 and 4: what is found, and what is kept ---- */

enum { TOTAL = 10 * SEGMENT, NEIGHBOURS = 3 };

/* What an observer notes of the memory layer: every key of the document, and whether what was found is right. */
typedef struct witness {
    int64_t size, seen; /* N; tokens of earlier segments */
    double keys[BATCH][HEADS][TOTAL][KEY_WIDTH];
    int64_t queries, empty;
} witness;

static double product(const double *a, const double *b)
{
    double sum = 0;
    for (int c = 0; c < KEY_WIDTH; c++) {
        sum += a[c] * b[c];
    }
    return sum;
}

/* The k best of all visible keys by trying them, in the order in which they must have been found. */
static void check_row(const witness *w, const lh_layer_io *io, int64_t b, int64_t h, const double *q, int64_t row,
                      double factor)
{
    const lh_retrieved *r = io->retrieved;
    int64_t first = w->seen > w->size ? w->seen - w->size : 0, taken[NEIGHBOURS], visible = w->seen - first;
    double weight[NEIGHBOURS], sum = 0;
    for (int64_t n = 0; n < r->k; n++) {
        taken[n] = -1;
        for (int64_t t = first; t < w->seen; t++) {
            bool used = false;
            for (int64_t m = 0; m < n; m++) {
                used |= taken[m] == t;
            }
            if (!used && (taken[n] < 0 || product(q, w->keys[b][h][t]) > product(q, w->keys[b][h][taken[n]]))) {
                taken[n] = t;
            }
        }
        assert_int_equal(r->position[row * r->k + n], taken[n]);
        assert_true((taken[n] >= 0) == (n < visible));
        weight[n] = taken[n] < 0 ? 0 : exp(factor * product(q, w->keys[b][h][taken[n]]));
        sum += weight[n];
    }
    for (int64_t n = 0; n < r->k; n++) {
        assert_true(fabs(r->weight[row * r->k + n] - (sum > 0 ? weight[n] / sum : 0)) < 1e-12);
    }
}

static void observe(void *user, const lh_layer_io *io)
{
    witness *w = user;
    if (io->layer != 1) {
        assert_null(io->retrieved);
        return;
    }
    static double q[BATCH * HEADS * SEGMENT * KEY_WIDTH], k[BATCH * HEADS * SEGMENT * KEY_WIDTH];
    double head_scale[HEADS];
    assert_non_null(io->retrieved);
    assert_int_equal(io->retrieved->k, NEIGHBOURS);
    lh_to_host(io->context, io->q, q);
    lh_to_host(io->context, io->k, k);
    lh_to_host(io->context, io->head_scale, head_scale);
    for (int64_t row = 0; row < BATCH * HEADS * SEGMENT; row++) {
        int64_t h = row / SEGMENT % HEADS, b = row / SEGMENT / HEADS;
        check_row(w, io, b, h, q + row * KEY_WIDTH, row, head_scale[h]);
        w->queries++;
        w->empty += w->seen == 0;
        memcpy(w->keys[b][h][w->seen + row % SEGMENT], k + row * KEY_WIDTH, sizeof(double) * KEY_WIDTH);
    }
    w->seen += SEGMENT;
}

/* The ring holds exactly the last N keys, each once. */
static void check_ring(const tiny *t, const witness *w)
{
    const double *rows = lh_tensor_data(tiny_state(t, "layers.1.store.keys"));
    const int32_t *count = lh_tensor_data(tiny_state(t, "layers.1.store.count"));
    int64_t slots = tiny_state(t, "layers.1.store.keys")->shape[2], capacity = slots - 1;
    int64_t first = w->seen > w->size ? w->seen - w->size : 0;
    for (int64_t lane = 0; lane < BATCH * HEADS; lane++) {
        assert_int_equal(count[lane / HEADS], w->seen);
        for (int64_t n = first; n < w->seen; n++) {
            assert_memory_equal(rows + (lane * slots + n % capacity) * KEY_WIDTH,
                                w->keys[lane / HEADS][lane % HEADS][n], sizeof(double) * KEY_WIDTH);
        }
        for (int c = 0; c < KEY_WIDTH; c++) {
            assert_true(rows[(lane * slots + capacity) * KEY_WIDTH + c] == 0);
        }
    }
}

static void what_is_found_and_kept(void **state)
{
    (void)state;
    /* multiples of the segment and others, larger and smaller than it */
    static const char *const sizes[] = {"memory.size=24", "memory.size=21", "memory.size=5", "memory.size=1000"};
    static const int64_t size[] = {24, 21, 5, 1000};
    static witness w;
    for (int i = 0; i < 4; i++) {
        const char *arguments[] = {MEMORIZING, sizes[i], "memory.neighbours=3", "memory.layers=1", NULL};
        tiny t = tiny_create(arguments, BATCH, 5);
        memset(&w, 0, sizeof w);
        w.size = size[i];
        t.stream->memory->observe = observe;
        t.stream->memory->observe_user = &w;
        for (int s = 0; s < TOTAL / SEGMENT; s++) {
            /* the fourth segment is the third once more: its keys are found among others */
            (void)tiny_step(&t, s == 3 ? 2 : s, 0, 0, NULL);
            check_ring(&t, &w);
        }
        assert_int_equal(w.queries, BATCH * HEADS * TOTAL);
        assert_int_equal(w.empty, BATCH * HEADS * SEGMENT);
        tiny_free(&t);
    }
}

/* In the first segment retrieved attention is exactly zero. */
static void nothing_to_recall_at_first(void **state)
{
    (void)state;
    const char *plain[] = {BASE, "memory.kind=window", NULL};
    const char *const with[][20] = {{MEMORIZING, "memory.combine=add", NULL},
                                    {MEMORIZING, "memory.combine=add", "memory.fewer=zeros", NULL},
                                    {MEMORIZING, "memory.fewer=closed", NULL}};
    for (int i = 0; i < 3; i++) {
        tiny a = tiny_create(plain, BATCH, 3), b = tiny_create(with[i], BATCH, 4);
        copy_weights(b.model, a.model);
        double x[CELLS], y[CELLS], difference[CELLS];
        (void)tiny_step(&a, 0, 0, 0, x);
        (void)tiny_step(&b, 0, 0, 0, y);
        for (int j = 0; j < CELLS; j++) {
            difference[j] = x[j] - y[j];
        }
        assert_true(largest(difference, CELLS) == 0);
        (void)tiny_step(&a, 1, 0, 0, x);
        (void)tiny_step(&b, 1, 0, 0, y);
        for (int j = 0; j < CELLS; j++) {
            difference[j] = x[j] - y[j];
        }
        assert_true(largest(difference, CELLS) > 1e-3);
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* Rotary positions do not reach the memory: a first layer finds and stores what it does without positions. */
typedef struct finds {
    int64_t position[4 * BATCH * HEADS * SEGMENT * NEIGHBOURS], count;
    double weight[4 * BATCH * HEADS * SEGMENT * NEIGHBOURS];
} finds;

static void note_finds(void *user, const lh_layer_io *io)
{
    finds *f = user;
    const lh_retrieved *r = io->retrieved;
    int64_t n = r->batch * r->heads * r->tokens * r->k;
    memcpy(f->position + f->count, r->position, sizeof *r->position * (size_t)n);
    memcpy(f->weight + f->count, r->weight, sizeof *r->weight * (size_t)n);
    f->count += n;
}

static void rotation_is_left_out(void **state)
{
    (void)state;
    static finds found[2];
#define ONE_LAYER                                                                                                 \
    "model.layers=1", "model.width=16", "model.heads=4", "model.hidden=12", "model.segment=8", "memory.window=8", \
        "memory.kind=memorizing", "memory.size=20", "memory.neighbours=3"
    const char *const kinds[2][20] = {{ONE_LAYER, "model.positions=none", NULL},
                                      {ONE_LAYER, "model.positions=rotary", NULL}};
    tiny t[2];
    for (int i = 0; i < 2; i++) {
        t[i] = tiny_create(kinds[i], BATCH, 8);
        found[i].count = 0;
        t[i].stream->memory->observe = note_finds;
        t[i].stream->memory->observe_user = &found[i];
        for (int s = 0; s < 4; s++) {
            (void)tiny_step(&t[i], s, 0, 0, NULL);
        }
    }
    lh_tensor *a = tiny_state(&t[0], "layers.0.store.keys"), *b = tiny_state(&t[1], "layers.0.store.keys");
    assert_memory_equal(lh_tensor_data(a), lh_tensor_data(b), sizeof(double) * (size_t)lh_tensor_count(a));
    assert_int_equal(found[0].count, found[1].count);
    assert_memory_equal(found[0].position, found[1].position, sizeof found[0].position);
    assert_memory_equal(found[0].weight, found[1].weight, sizeof found[0].weight);
    tiny_free(&t[0]);
    tiny_free(&t[1]);
}

/* ---- check 5: lanes ---- */

/* Final states of segments first .. first + count - 1, [count][lanes][SEGMENT * WIDTH]; order[lane] is whose text a
 * lane reads; lane `reset` forgets before segment `at`. */
static void read_lanes(const char *const *arguments, int64_t lanes, const int *order, int first, int count,
                       int reset, int at, double *hidden)
{
    lh_error error = {0};
    tiny t = tiny_create(arguments, lanes, 6);
    for (int s = 0; s < count; s++) {
        int32_t tokens[4 * SEGMENT];
        for (int64_t lane = 0; lane < lanes; lane++) {
            for (int i = 0; i < SEGMENT; i++) {
                uint32_t words[4];
                lh_philox(5, (uint64_t)order[lane], (uint64_t)((first + s) * SEGMENT + i), words);
                tokens[lane * SEGMENT + i] = (int32_t)(words[0] % VOCAB);
            }
        }
        if (s == at && reset >= 0) {
            tiny_check(lh_stream_reset(t.stream, t.context, reset, &error), &error);
        }
        lh_forward forward;
        lh_model_forward(t.context, t.model, t.stream, tokens, SEGMENT, &forward);
        lh_to_host(t.context, forward.hidden, hidden + s * lanes * SEGMENT * WIDTH);
        lh_stream_commit(t.stream, t.context);
        tiny_check(lh_context_status(t.context, &error), &error);
        lh_context_reset(t.context);
    }
    tiny_free(&t);
}

static void lanes_do_not_meet(void **state)
{
    (void)state;
    enum { SEGMENTS = 7, AT = 4, ROW = SEGMENT * WIDTH };
    static double first[SEGMENTS * 3 * ROW], other[SEGMENTS * 3 * ROW];
    const char *arguments[] = {MEMORIZING, "memory.size=19", "memory.neighbours=4", NULL};
    read_lanes(arguments, 3, (int[]){0, 1, 2}, 0, SEGMENTS, -1, 0, first);
    /* permuted lanes give permuted results */
    read_lanes(arguments, 3, (int[]){2, 0, 1}, 0, SEGMENTS, -1, 0, other);
    for (int s = 0; s < SEGMENTS; s++) {
        for (int lane = 0; lane < 3; lane++) {
            assert_memory_equal(first + (s * 3 + lane) * ROW, other + (s * 3 + (lane + 1) % 3) * ROW,
                                sizeof(double) * ROW);
        }
    }
    /* a lane that forgets is as a fresh one from there on, and the others do not notice */
    read_lanes(arguments, 3, (int[]){0, 1, 2}, 0, SEGMENTS, 1, AT, other);
    for (int s = 0; s < SEGMENTS; s++) {
        for (int lane = 0; lane < 3; lane++) {
            bool same =
                memcmp(first + (s * 3 + lane) * ROW, other + (s * 3 + lane) * ROW, sizeof(double) * ROW) == 0;
            assert_int_equal(same, lane != 1 || s < AT);
        }
    }
    static double fresh[(SEGMENTS - AT) * 3 * ROW];
    read_lanes(arguments, 3, (int[]){0, 1, 2}, AT, SEGMENTS - AT, -1, 0, fresh);
    for (int s = AT; s < SEGMENTS; s++) {
        assert_memory_equal(fresh + ((s - AT) * 3 + 1) * ROW, other + (s * 3 + 1) * ROW, sizeof(double) * ROW);
    }
}

/* ---- check 6: nothing looks ahead (test_session.c reads token by token) ---- */

static void nothing_looks_ahead(void **state)
{
    (void)state;
    enum { SEGMENTS = 4 };
    lh_error error = {0};
    const char *arguments[] = {MEMORIZING, "memory.size=32", "memory.neighbours=6", "memory.layers=0,1", NULL};
    static double first[SEGMENTS * SEGMENT * WIDTH], other[SEGMENTS * SEGMENT * WIDTH];
    for (int changed = -1; changed < SEGMENTS * SEGMENT; changed += 3) {
        tiny t = tiny_create(arguments, 1, 6);
        for (int s = 0; s < SEGMENTS; s++) {
            int32_t tokens[SEGMENT], targets[SEGMENT];
            tiny_text(&t, s, tokens, targets);
            if (changed / SEGMENT == s && changed >= 0) {
                tokens[changed % SEGMENT] = (tokens[changed % SEGMENT] + 1) % VOCAB;
            }
            lh_forward forward;
            lh_model_forward(t.context, t.model, t.stream, tokens, SEGMENT, &forward);
            lh_to_host(t.context, forward.hidden, (changed < 0 ? first : other) + s * SEGMENT * WIDTH);
            lh_stream_commit(t.stream, t.context);
            tiny_check(lh_context_status(t.context, &error), &error);
            lh_context_reset(t.context);
        }
        tiny_free(&t);
        for (int i = 0; changed >= 0 && i < SEGMENTS * SEGMENT; i++) {
            bool same = memcmp(first + i * WIDTH, other + i * WIDTH, sizeof(double) * WIDTH) == 0;
            assert_true(i >= changed || same);
            assert_true(i != changed || !same);
        }
    }
}

/* ---- check 7: gradients ---- */

/* Loss of segment `index` from a copy of the stream's state. */
static double loss_of(tiny *t, lh_stream *copy, int64_t index)
{
    lh_error error = {0};
    lh_stream *own = t->stream;
    tiny_check(lh_stream_copy(copy, own, &error), &error);
    t->stream = copy;
    t->context->recording = false;
    double loss = tiny_step(t, index, 0, 0, NULL).task;
    t->context->recording = true;
    t->stream = own;
    return loss;
}

static void gradients(void **state)
{
    (void)state;
    static const char *const kinds[][22] = {
        {MEMORIZING, "memory.size=20", "memory.neighbours=3", NULL},
        {MEMORIZING, "memory.size=20", "memory.neighbours=40", "memory.fewer=zeros", "memory.layers=0,1", NULL},
        {MEMORIZING, "memory.size=20", "memory.combine=add", "memory.store=f16", "model.kv_heads=2", NULL},
        {MEMORIZING, "memory.size=20", "memory.store=int8", "memory.local_bias=false", "memory.cache=false", NULL},
        {MEMORIZING, "memory.size=20", "model.positions=rotary", "memory.fewer=closed", NULL},
        {MEMORIZING, "memory.size=20", "model.positions=relative", "memory.strict=true", NULL},
    };
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        const char *arguments[24] = {NULL};
        int count = 0;
        for (int i = 0; kinds[kind][i]; i++) { /* the T5 keys are legal with T5 positions only */
            bool t5 = strncmp(kinds[kind][i], "model.t5", 8) == 0;
            bool other = kind >= 4 && (t5 || strcmp(kinds[kind][i], "model.positions=t5") == 0);
            if (!other) {
                arguments[count++] = kinds[kind][i];
            }
        }
        lh_error error = {0};
        lh_stream *copy;
        tiny t = tiny_create(arguments, BATCH, 8);
        t.context->training = false;
        tiny_check(lh_stream_create(&copy, t.model, BATCH, false, &error), &error);
        set_gates(&t, 0.4);
        for (int s = 0; s < 3; s++) {
            (void)tiny_step(&t, s, 0, 0, NULL);
        }
        lh_stream *own = t.stream;
        tiny_check(lh_stream_copy(copy, own, &error), &error);
        t.stream = copy;
        (void)tiny_step(&t, 3, 1, 0, NULL);
        t.stream = own;
        for (int i = 0; i < t.model->parameters.count; i++) {
            lh_parameter *p = &t.model->parameters.items[i];
            double *x = lh_tensor_data(p->tensor), *g = lh_tensor_data(p->tensor->grad);
            int64_t n = lh_tensor_count(p->tensor), step = n > 12 ? n / 12 : 1;
            double most = largest(g, n);
            for (int64_t j = 0; j < n; j += step) {
                double kept = x[j], eps = 1e-5;
                x[j] = kept + eps;
                double up = loss_of(&t, copy, 3);
                x[j] = kept - eps;
                double down = loss_of(&t, copy, 3);
                x[j] = kept;
                double numeric = (up - down) / (2 * eps);
                if (!(fabs(numeric - g[j]) <= 1e-6 * (1 + most))) {
                    fail_msg("kind %zu, %s[%lld]: gradient %.9g, difference quotient %.9g", kind, p->name,
                             (long long)j, g[j], numeric);
                }
            }
        }
        lh_stream_free(copy);
        tiny_free(&t);
    }
}

static double *all_gradients(const tiny *t)
{
    int64_t n = 0;
    double *all = calloc((size_t)lh_parameters_elements(&t->model->parameters), sizeof *all);
    for (int i = 0; i < t->model->parameters.count; i++) {
        lh_tensor *g = t->model->parameters.items[i].tensor->grad;
        memcpy(all + n, lh_tensor_data(g), sizeof(double) * (size_t)lh_tensor_count(g));
        n += lh_tensor_count(g);
    }
    return all;
}

/* Two segments in one graph, each with its weight in the loss; then the gradients. `apart`: in two graphs. */
static double *gradients_of_two(const char *const *arguments, bool apart, bool keep_graph, const double *weight)
{
    lh_error error = {0};
    tiny t = tiny_create(arguments, BATCH, 8);
    lh_stream_free(t.stream);
    t.model->unroll = apart ? 1 : 2;
    tiny_check(lh_stream_create(&t.stream, t.model, BATCH, false, &error), &error);
    t.stream->memory->keep_graph = keep_graph;
    set_gates(&t, 0.4);
    lh_tensor *total = NULL;
    for (int s = 0; s < 3; s++) {
        (void)tiny_step(&t, s, 0, 0, NULL); /* each is a step of its own */
    }
    for (int s = 0; s < 2; s++) {
        if (apart) {
            (void)tiny_step(&t, 3 + s, weight[s], 0, NULL);
            continue;
        }
        int32_t tokens[BATCH * SEGMENT], targets[BATCH * SEGMENT];
        lh_forward forward;
        tiny_text(&t, 3 + s, tokens, targets);
        lh_model_forward(t.context, t.model, t.stream, tokens, SEGMENT, &forward);
        lh_tensor *loss =
            lh_scale(t.context, lh_model_loss(t.context, t.model, forward.hidden, targets, NULL, NULL), weight[s]);
        total = total ? lh_add(t.context, total, loss) : loss;
    }
    if (!apart) {
        lh_backward(t.context, total, 1.0);
        lh_stream_commit(t.stream, t.context);
    }
    tiny_check(lh_context_status(t.context, &error), &error);
    double *all = all_gradients(&t);
    tiny_free(&t);
    return all;
}

/* The backward pass of a segment gives the same before and after later segments were stored (the ring is no larger
 * than a segment here, so that they would overwrite what it found), and nothing flows through the store. */
static void rows_survive_until_the_backward_pass(void **state)
{
    (void)state;
    static const char *const kinds[][22] = {
        {MEMORIZING, "memory.size=8", "memory.neighbours=3", NULL},
        {MEMORIZING, "memory.size=11", "memory.neighbours=3", "memory.cache=false", "memory.store=int8", NULL},
    };
    static const double weights[3][2] = {{1, 0}, {0, 1}, {1, 0.5}};
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < 3; i++) {
            double *apart = gradients_of_two(kinds[kind], true, false, weights[i]);
            double *joint = gradients_of_two(kinds[kind], false, false, weights[i]);
            /* with the graph kept, the cache would pass gradients on; the store does not */
            double *kept = kind == 1 ? gradients_of_two(kinds[kind], false, true, weights[i]) : joint;
            int64_t n = 0;
            const char *const *arguments = kinds[kind];
            tiny t = tiny_create(arguments, 1, 8);
            n = lh_parameters_elements(&t.model->parameters);
            tiny_free(&t);
            double most = largest(apart, n);
            assert_true(most > 1e-3);
            for (int64_t j = 0; j < n; j++) {
                assert_true(fabs(apart[j] - joint[j]) <= 1e-12 * most);
                assert_true(fabs(apart[j] - kept[j]) <= 1e-12 * most);
            }
            free(apart);
            if (kept != joint) {
                free(kept);
            }
            free(joint);
        }
    }
}

/* A step that fails leaves no trace: the ring has changed, but only where nobody looks. */
static void a_failed_step_leaves_no_trace(void **state)
{
    (void)state;
    const char *arguments[] = {MEMORIZING, "memory.size=8", "memory.neighbours=3", "memory.layers=0,1", NULL};
    tiny a = tiny_create(arguments, BATCH, 8), b = tiny_create(arguments, BATCH, 8);
    for (int s = 0; s < 6; s++) {
        double x[CELLS], y[CELLS];
        int32_t tokens[BATCH * SEGMENT], targets[BATCH * SEGMENT];
        lh_forward forward;
        tiny_text(&b, 40 + s, tokens, targets);
        lh_model_forward(b.context, b.model, b.stream, tokens, SEGMENT, &forward);
        lh_stream_rollback(b.stream);
        lh_context_reset(b.context);
        (void)tiny_step(&a, s, 0, 0, x);
        (void)tiny_step(&b, s, 0, 0, y);
        assert_memory_equal(x, y, sizeof x);
    }
    tiny_free(&a);
    tiny_free(&b);
}

/* ---- check 8: T5 buckets ---- */

static void t5_buckets(void **state)
{
    (void)state;
    /* first distances of buckets 16 .. 31 (section 3.5 of the specification) */
    static const int64_t first[] = {16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113, 601};
    for (int64_t distance = 0; distance <= 600; distance++) {
        int bucket = (int)distance;
        for (int i = 0; distance >= 16 && i < 16; i++) {
            bucket = distance >= first[i] ? 16 + i : bucket;
        }
        assert_int_equal(lh_t5_bucket(distance, 32, 128), bucket);
    }
    /* nobody is at distance 0 from anybody */
    const char *arguments[] = {MEMORIZING, "memory.size=20", NULL};
    tiny t = tiny_create(arguments, BATCH, 8);
    (void)tiny_step(&t, 0, 1, 0, NULL);
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        (void)snprintf(name, sizeof name, "layers.%d.attention.t5", layer);
        const double *g = tiny_grad(&t, name);
        for (int h = 0; h < HEADS; h++) {
            assert_true(g[h * 8] == 0);
            assert_true(fabs(g[h * 8 + 1]) > 0);
        }
    }
    tiny_free(&t);
}

/* ---- what logs say ---- */

static void take(void *user, const char *name, double value)
{
    double *seen = user;
    assert_true(strcmp(name, "layer1/gate_mean") == 0 || strcmp(name, "layer1/gate_most") == 0);
    seen[strcmp(name, "layer1/gate_most") == 0] += value;
}

static void figures_of_gates(void **state)
{
    (void)state;
    const char *arguments[] = {MEMORIZING, "memory.size=20", "memory.layers=1", NULL};
    tiny t = tiny_create(arguments, BATCH, 8);
    double seen[2] = {0};
    set_gates(&t, -log(3)); /* a quarter open */
    lh_parameter *gate = lh_parameters_find(&t.model->parameters, "layers.1.memory.gate");
    ((double *)lh_tensor_data(gate->tensor))[2] = 0;
    t.model->memory_kind->figures(t.stream->memory, t.context, take, seen);
    assert_true(fabs(seen[0] - (3 * 0.25 + 0.5) / 4) < 1e-12 && fabs(seen[1] - 0.5) < 1e-12);
    lh_context_reset(t.context);
    tiny_free(&t);
}

/* ---- check 12: constant memory ---- */

static void memory_does_not_grow(void **state)
{
    (void)state;
    const char *arguments[] = {MEMORIZING, "memory.size=24", "memory.neighbours=3", "memory.store=int8", NULL};
    tiny t = tiny_create(arguments, BATCH, 8);
    int64_t bytes = lh_stream_bytes(t.stream);
    int32_t tokens[BATCH * SEGMENT], targets[BATCH * SEGMENT];
    uint64_t allocations = 0, live = 0;
    for (int s = 0; s < 30; s++) {
        lh_error error = {0};
        lh_forward forward;
        if (s == 8) { /* the store is full since the third */
            allocations = lh_heap_allocations();
            live = lh_heap_live_bytes();
        }
        tiny_text(&t, s, tokens, targets);
        lh_model_forward(t.context, t.model, t.stream, tokens, SEGMENT, &forward);
        lh_backward(t.context, lh_model_loss(t.context, t.model, forward.hidden, targets, NULL, NULL), 1.0);
        lh_stream_commit(t.stream, t.context);
        tiny_check(lh_context_status(t.context, &error), &error);
        lh_context_reset(t.context);
    }
    assert_int_equal(lh_heap_allocations(), allocations);
    assert_int_equal(lh_heap_live_bytes(), live);
    assert_int_equal(lh_stream_bytes(t.stream), bytes);
    tiny_free(&t);
}

/* ---- configuration ---- */

static void refused(const char *const *arguments, const char *word)
{
    lh_error error = {0};
    lh_model *model = NULL;
    lh_status status = tiny_model(&model, arguments, 1, &error);
    assert_int_equal(status, LH_E_CONFIG);
    if (!strstr(error.message, word)) {
        fail_msg("\"%s\" does not say \"%s\"", error.message, word);
    }
}

static void impossible_settings(void **state)
{
    (void)state;
    const char *layer[] = {MEMORIZING, "memory.layers=2", NULL};
    const char *buckets[] = {MEMORIZING, "memory.buckets=16", "memory.neighbours=32", NULL};
    const char *closed[] = {MEMORIZING, "memory.fewer=closed", "memory.combine=add", NULL};
    refused(layer, "names layer 2 of layers 0 to 1");
    refused(buckets, "fewer than memory.neighbours = 32");
    refused(closed, "needs memory.combine = gate");
}

/* Published numbers of parameters, in millions: without embeddings where the paper counts so. */
static void published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        double millions;
    } sizes[] = {{"preset=memorizing-200m", 151.0},     {"preset=memorizing-200m-1536", 151.0},
                 {"preset=memorizing-200m-65k", 151.0}, {"preset=memorizing-200m-2048", 151.0},
                 {"preset=memorizing-1b", 805.3},       {"preset=memorizing-37m", 37.8},
                 {"preset=memorizing-75m", 75.5},       {"preset=memorizing-150m", 151.0},
                 {"preset=memorizing-300m", 302.0},     {"preset=memorizing-600m", 604.0},
                 {"preset=memorizing-1200m", 1208.0},   {"preset=memorizing-small", 18.9}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lh_error error = {0};
        lh_recipe *recipe;
        lh_model_description d;
        size_t count;
        const lh_recipe_preset *presets = lh_model_presets(&count);
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), presets, count, &error), &error);
        tiny_check(lh_recipe_override(recipe, sizes[i].preset, &error), &error);
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_recipe_describe_model(&d, recipe, 32128, &error), &error);
        if (!(fabs((double)d.body * 1e-6 - sizes[i].millions) < 0.06)) {
            fail_msg("%s: %.2f M parameters", sizes[i].preset, (double)d.body * 1e-6);
        }
        lh_recipe_free(recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_gates_leave_the_window),
        cmocka_unit_test(all_neighbours_are_dense_attention),
        cmocka_unit_test(what_is_found_and_kept),
        cmocka_unit_test(nothing_to_recall_at_first),
        cmocka_unit_test(rotation_is_left_out),
        cmocka_unit_test(lanes_do_not_meet),
        cmocka_unit_test(nothing_looks_ahead),
        cmocka_unit_test(gradients),
        cmocka_unit_test(rows_survive_until_the_backward_pass),
        cmocka_unit_test(a_failed_step_leaves_no_trace),
        cmocka_unit_test(t5_buckets),
        cmocka_unit_test(figures_of_gates),
        cmocka_unit_test(memory_does_not_grow),
        cmocka_unit_test(impossible_settings),
        cmocka_unit_test(published_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
