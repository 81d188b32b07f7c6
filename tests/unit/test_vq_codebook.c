/* The codebooks of Transformer-VQ: moving averages against plain sums, pieces and parts, padding, first codes, dead
 * codes (Lingle 2023, 3.3; specification, checks 10 and 11). */
#include "support/vq_reference.h"

#define GAU                                                                                                        \
    "memory.kind=transformer-vq", "model.positions=none", "model.projection_bias=false", "model.norm=rms",         \
        "model.norm_eps=1e-6", "model.init=fan-in-normal", "model.embedding_scaled=false", "model.norm_bias=true", \
        "model.mlp=false", "model.heads=2", "model.key_width=4", "model.value_width=6", "model.layers=2",          \
        "model.width=8", "memory.codes=6", "memory.length=4"

enum { TOTAL = 24, LANES = 2, LAYERS = 2, HEADS = 2, CODES = 6, KEY = 4 };

static void text(int32_t *tokens, uint64_t seed)
{
    lh_random random = lh_random_create(seed, 3);
    for (int i = 0; i < LANES * TOTAL; i++) {
        tokens[i] = (int32_t)lh_random_below(&random, 11);
    }
}

/* Reads lanes first .. first + lanes - 1 of the text in training mode; the last `padding` tokens of each lane are
 * none.
 */
static void read_text(lh_context *context, lh_stream *stream, const int32_t *tokens, int64_t first, int padding)
{
    lh_error error = {0};
    int64_t n = stream->model->config.segment, lanes = stream->batch;
    uint8_t valid[LANES * TOTAL];
    int32_t piece[LANES * TOTAL];
    tiny_check(lh_stream_reset(stream, context, -1, &error), &error);
    for (int64_t at = 0; at < TOTAL; at += n) {
        for (int64_t lane = 0; lane < lanes; lane++) {
            memcpy(piece + lane * n, tokens + (first + lane) * TOTAL + at, sizeof *piece * (size_t)n);
            for (int64_t i = 0; i < n; i++) {
                valid[lane * n + i] = at + i < TOTAL - padding;
            }
        }
        lh_forward forward;
        stream->memory->valid = padding ? valid : NULL;
        lh_model_forward(context, stream->model, stream, piece, n, &forward);
        lh_stream_commit(stream, context);
        tiny_check(lh_context_status(context, &error), &error);
        lh_context_reset(context);
    }
    stream->memory->valid = NULL;
}

static void learn(lh_context *context, lh_stream **streams, int count)
{
    lh_error error = {0};
    lh_memory *memories[LANES];
    for (int i = 0; i < count; i++) {
        memories[i] = streams[i]->memory;
    }
    streams[0]->model->memory_kind->learn(memories, count, context);
    tiny_check(lh_context_status(context, &error), &error);
    lh_context_reset(context);
}

static double *book_of(const lh_model *model, int layer, const char *what)
{
    char name[64];
    (void)snprintf(name, sizeof name, "layers.%d.memory.codebook.%s", layer, what);
    const lh_parameter *p = lh_parameters_find(&model->parameters, name);
    return p ? lh_tensor_data(p->tensor) : NULL;
}

/* Sums and counts of the keys of both lanes by code, from the plain formula. */
static void plain_sums(const lh_model *model, const int32_t *tokens, int padding,
                       double sum[LAYERS][HEADS][CODES][KEY], double count[LAYERS][HEADS][CODES])
{
    static reference r;
    static double logits[TOTAL * 16];
    memset(sum, 0, sizeof(double) * LAYERS * HEADS * CODES * KEY);
    memset(count, 0, sizeof(double) * LAYERS * HEADS * CODES);
    for (int lane = 0; lane < LANES; lane++) {
        memset(&r, 0, sizeof r);
        r.model = model;
        r.total = TOTAL;
        ref_run(&r, tokens + lane * TOTAL, logits);
        for (int layer = 0; layer < LAYERS; layer++) {
            for (int t = 0; t < TOTAL - padding; t++) {
                for (int h = 0; h < HEADS; h++) {
                    int s = r.layer[layer].z[t][h];
                    count[layer][h][s]++;
                    for (int i = 0; i < KEY; i++) {
                        sum[layer][h][s][i] += r.layer[layer].k[t][h][i];
                    }
                }
            }
        }
    }
}

static void expect_near(const double *got, const double *wanted, int n, double tolerance, const char *what)
{
    for (int i = 0; i < n; i++) {
        if (!(fabs(got[i] - wanted[i]) <= tolerance * (1 + fabs(wanted[i])))) {
            fail_msg("%s: element %d is %.15g, not %.15g", what, i, got[i], wanted[i]);
        }
    }
}

/* One update gives decay old + (1 - decay) new, whether the text comes whole or in segments, in one part or in two;
 * what is padding does not count; nothing is left for the next update. */
static void averages_move(void **state)
{
    (void)state;
    static double sum[LAYERS][HEADS][CODES][KEY], count[LAYERS][HEADS][CODES];
    static const char *const segments[] = {"model.segment=24", "model.segment=4", "model.segment=3"};
    int32_t tokens[LANES * TOTAL];
    text(tokens, 17);
    for (int way = 0; way < 9; way++) {
        int parts = way / 3 == 1 ? 2 : 1, padding = way / 3 == 2 ? 5 : 0;
        const char *arguments[] = {GAU, segments[way % 3], "memory.decay=0.9", NULL};
        tiny t = tiny_create(arguments, LANES / parts, 7);
        lh_error error = {0};
        lh_stream *streams[LANES] = {t.stream};
        if (parts == 2) {
            tiny_check(lh_stream_create(&streams[1], t.model, 1, false, &error), &error);
        }
        double before_sum[LAYERS][HEADS * CODES * KEY], before_count[LAYERS][HEADS * CODES];
        for (int layer = 0; layer < LAYERS; layer++) {
            memcpy(before_sum[layer], book_of(t.model, layer, "sum"), sizeof before_sum[layer]);
            memcpy(before_count[layer], book_of(t.model, layer, "count"), sizeof before_count[layer]);
        }
        plain_sums(t.model, tokens, padding, sum, count);
        for (int i = 0; i < parts; i++) {
            read_text(t.context, streams[i], tokens, i, padding);
        }
        for (int update = 0; update < 2; update++) { /* the second has nothing to add */
            learn(t.context, streams, parts);
            for (int layer = 0; layer < LAYERS; layer++) {
                double *s = before_sum[layer], *c = before_count[layer], share = update == 0 ? 0.1 : 0;
                for (int i = 0; i < HEADS * CODES * KEY; i++) {
                    s[i] = 0.9 * s[i] + share * ((double *)sum[layer])[i];
                }
                for (int i = 0; i < HEADS * CODES; i++) {
                    c[i] = 0.9 * c[i] + share * ((double *)count[layer])[i];
                }
                expect_near(book_of(t.model, layer, "sum"), s, HEADS * CODES * KEY, 1e-12, "sums");
                expect_near(book_of(t.model, layer, "count"), c, HEADS * CODES, 1e-12, "counts");
            }
        }
        if (parts == 2) {
            lh_stream_free(streams[1]);
        }
        tiny_free(&t);
    }
}

/* The counts of each head converge to the tokens of an update; evaluation gathers nothing. */
static void counts_converge(void **state)
{
    (void)state;
    int32_t tokens[LANES * TOTAL];
    const char *arguments[] = {GAU, "model.segment=6", "memory.decay=0.8", NULL};
    tiny t = tiny_create(arguments, LANES, 7);
    text(tokens, 17);
    for (int i = 0; i < 80; i++) {
        read_text(t.context, t.stream, tokens, 0, 0);
        learn(t.context, &t.stream, 1);
    }
    for (int layer = 0; layer < LAYERS; layer++) {
        for (int h = 0; h < HEADS; h++) {
            double total = 0;
            for (int s = 0; s < CODES; s++) {
                total += book_of(t.model, layer, "count")[h * CODES + s];
            }
            assert_true(fabs(total - LANES * TOTAL) < 1e-4);
        }
    }
    t.context->training = false;
    read_text(t.context, t.stream, tokens, 0, 0);
    assert_true(largest(lh_tensor_data(tiny_state(&t, "layers.0.gathered.count")), HEADS * CODES) == 0);
    t.context->training = true;
    tiny_free(&t);
}

/* Mean squared distance of the text's keys from their codes, over layers and heads. */
static double distance_of(const lh_model *model, const int32_t *tokens)
{
    static reference r;
    static double logits[TOTAL * 16];
    memset(&r, 0, sizeof r);
    r.model = model;
    r.total = TOTAL;
    ref_run(&r, tokens, logits);
    return r.commitment / (LAYERS * HEADS);
}

/* Initial parameters as they are drawn, without the noise of tiny models, which would pass for a trained codebook.
 */
static void draw_parameters(const tiny *t)
{
    lh_error error = {0};
    tiny_check(lh_parameters_initialise(&t->model->parameters, 11, &error), &error);
}

/* Codes that start with keys are keys, all different, and quantise better at once; only the first update does it.
 */
static void first_codes_are_keys(void **state)
{
    (void)state;
    static reference r;
    static double logits[TOTAL * 16];
    int32_t tokens[LANES * TOTAL];
    double distance[2];
    text(tokens, 17);
    for (int keys = 0; keys < 2; keys++) {
        const char *arguments[] = {GAU, "model.segment=24", "model.layers=2",
                                   keys ? "memory.codebook_init=keys" : "memory.codebook_init=random", NULL};
        tiny t = tiny_create(arguments, LANES, 7);
        draw_parameters(&t);
        read_text(t.context, t.stream, tokens, 0, 0);
        learn(t.context, &t.stream, 1);
        distance[keys] = distance_of(t.model, tokens);
        if (keys) {
            memset(&r, 0, sizeof r);
            r.model = t.model;
            r.total = TOTAL;
            double found = 0, counted = 0, code[CODES][KEY];
            for (int s = 0; s < CODES; s++) {
                counted += book_of(t.model, 0, "count")[s];
                ref_code(&r, 0, 0, s, code[s]);
                for (int other = 0; other < s; other++) {
                    assert_memory_not_equal(code[s], code[other], sizeof code[s]);
                }
            }
            for (int lane = 0; lane < LANES; lane++) {
                ref_run(&r, tokens + lane * TOTAL, logits);
                for (int s = 0; s < CODES; s++) {
                    for (int x = 0; x < TOTAL; x++) {
                        double apart = 0;
                        for (int i = 0; i < KEY; i++) {
                            apart = fmax(apart, fabs(code[s][i] - r.layer[0].k[x][0][i]));
                        }
                        found += apart < 1e-12;
                    }
                }
            }
            assert_true(found >= CODES && counted == 4 * CODES);
            read_text(t.context, t.stream, tokens, 0, 0);
            learn(t.context, &t.stream, 1);
            for (int s = 0; s < CODES; s++) { /* moved a little, not drawn anew */
                double now[KEY];
                ref_code(&r, 0, 0, s, now);
                for (int i = 0; i < KEY; i++) {
                    assert_true(fabs(now[i] - code[s][i]) < 0.1);
                }
            }
        }
        tiny_free(&t);
    }
    assert_true(distance[1] < 0.6 * distance[0]);
}

/* Codes that nothing uses fade away, or are moved to keys if the configuration says so. */
static void dead_codes_come_back(void **state)
{
    (void)state;
    int32_t tokens[LANES * TOTAL];
    text(tokens, 17);
    for (int restart = 0; restart < 2; restart++) {
        const char *arguments[] = {GAU, "model.segment=8", "memory.decay=0.5",
                                   restart ? "memory.restart_below=0.3" : "memory.restart_below=0", NULL};
        tiny t = tiny_create(arguments, LANES, 7);
        int dead = 0;
        for (int h = 0; h < HEADS; h++) { /* far away: no key will ever have it */
            for (int i = 0; i < KEY; i++) {
                book_of(t.model, 1, "sum")[(h * CODES + 2) * KEY + i] = 1000;
            }
        }
        for (int i = 0; i < 12; i++) {
            read_text(t.context, t.stream, tokens, 0, 0);
            learn(t.context, &t.stream, 1);
        }
        for (int i = 0; i < HEADS * CODES; i++) {
            dead += book_of(t.model, 1, "count")[i] < 0.2;
        }
        for (int h = 0; h < HEADS; h++) {
            const double *sum = book_of(t.model, 1, "sum") + (h * CODES + 2) * KEY;
            double count = book_of(t.model, 1, "count")[h * CODES + 2], square = 0;
            for (int i = 0; i < KEY; i++) {
                square += sum[i] * sum[i] / fmax(count, 0.01) / fmax(count, 0.01);
            }
            assert_true(restart ? square < 2.5 : square > 1e3); /* keys have the squared length sqrt(KEY) = 2 */
        }
        assert_true(restart ? dead == 0 : dead >= HEADS);
        tiny_free(&t);
    }
}

typedef struct told {
    double entropy, least, dead, length;
    int count;
} told;

static void take(void *user, const char *name, double value)
{
    told *t = user;
    *(strcmp(name, "code_entropy") == 0         ? &t->entropy
      : strcmp(name, "code_entropy_least") == 0 ? &t->least
      : strcmp(name, "dead_codes") == 0         ? &t->dead
                                                : &t->length) = value;
    t->count++;
}

/* Figures of codebooks whose use is known: one layer uses its codes evenly, the other one of six. */
static void figures_of_use(void **state)
{
    (void)state;
    const char *arguments[] = {GAU, "model.segment=8", NULL};
    tiny t = tiny_create(arguments, 1, 7);
    told all = {0};
    for (int layer = 0; layer < LAYERS; layer++) {
        for (int i = 0; i < HEADS * CODES; i++) {
            double count = layer == 0 || i % CODES == 1 ? 5 : 0;
            book_of(t.model, layer, "count")[i] = count;
            for (int x = 0; x < KEY; x++) {
                book_of(t.model, layer, "sum")[i * KEY + x] = x == 0 ? count * sqrt(2.0) : 0; /* as long as keys */
            }
        }
    }
    t.model->memory_kind->figures(t.stream->memory, t.context, take, &all);
    assert_int_equal(all.count, 4);
    assert_true(fabs(all.entropy - 0.5) < 1e-12 && fabs(all.least) < 1e-12);
    assert_true(fabs(all.dead - 5.0 / 12) < 1e-12 && fabs(all.length - 1) < 1e-12);
    lh_context_reset(t.context);
    tiny_free(&t);
}

/* Who learns a codebook: averages no optimizer (no gradient), the table of codes by its own loss alone, fixed
 * codes nobody. Counts of use are kept for all of them, and only averages move in learn. */
static void who_learns(void **state)
{
    (void)state;
    static const char *const books[] = {"memory.codebook=ema", "memory.codebook=gradient", "memory.codebook=fixed"};
    int32_t tokens[LANES * TOTAL];
    text(tokens, 17);
    for (int book = 0; book < 3; book++) {
        const char *arguments[] = {GAU, "model.segment=8", books[book], "memory.commitment=0", NULL};
        tiny t = tiny_create(arguments, LANES, 7);
        assert_int_equal(book_of(t.model, 0, "sum") != NULL, book == 0);
        assert_int_equal(book_of(t.model, 0, "table") != NULL, book == 1);
        double before[HEADS * CODES * KEY], counted = book_of(t.model, 0, "count")[0];
        double *codes = book == 2 ? NULL : book_of(t.model, 0, book == 0 ? "sum" : "table");
        if (codes) {
            memcpy(before, codes, sizeof before);
        }
        for (int loss = 0; loss < 2 && book == 1; loss++) { /* the text's loss says nothing to the codes */
            tiny_zero_grads(&t);
            tiny_losses losses = tiny_step(&t, 0, loss == 0, loss == 1, NULL);
            lh_parameter *p = lh_parameters_find(&t.model->parameters, "layers.0.memory.codebook.table");
            assert_int_equal(p->group, LH_GROUP_COMPRESSOR);
            assert_int_equal(largest(lh_tensor_data(p->tensor->grad), HEADS * CODES * KEY) > 0, loss == 1);
            p = lh_parameters_find(&t.model->parameters, "layers.0.attention.key.weight");
            assert_int_equal(largest(lh_tensor_data(p->tensor->grad), HEADS * KEY * 8) > 0, loss == 0);
            assert_true(losses.auxiliary > 0);
        }
        for (int i = 0; i < t.model->parameters.count; i++) {
            const lh_parameter *p = &t.model->parameters.items[i];
            assert_int_equal(p->tensor->grad == NULL, p->group == LH_GROUP_STATISTICS);
        }
        read_text(t.context, t.stream, tokens, 0, 0);
        learn(t.context, &t.stream, 1);
        assert_true(book_of(t.model, 0, "count")[0] != counted);
        if (codes) {
            assert_int_equal(memcmp(before, codes, sizeof before) == 0, book == 1);
        }
        told all = {0};
        t.model->memory_kind->figures(t.stream->memory, t.context, take, &all);
        assert_int_equal(all.count, 4);
        assert_true(book != 2 || fabs(all.length - 1) < 1e-5); /* fixed codes are as long as keys */
        lh_context_reset(t.context);
        tiny_free(&t);
    }
}

/* Steps against the gradient of its loss bring a codebook to its keys; padding does not count; codes can start with
 * keys. */
static void gradients_move_codes(void **state)
{
    (void)state;
    int32_t tokens[LANES * TOTAL];
    text(tokens, 17);
    for (int seeded = 0; seeded < 2; seeded++) {
        const char *arguments[] = {GAU,
                                   "model.segment=24",
                                   "memory.codebook=gradient",
                                   "memory.commitment=0",
                                   seeded ? "memory.codebook_init=keys" : "memory.codebook_init=random",
                                   NULL};
        tiny t = tiny_create(arguments, LANES, 7);
        draw_parameters(&t);
        double first = distance_of(t.model, tokens);
        if (seeded) {
            read_text(t.context, t.stream, tokens, 0, 0);
            learn(t.context, &t.stream, 1);
            assert_true(distance_of(t.model, tokens) < 0.6 * first);
            tiny_free(&t);
            continue;
        }
        for (int i = 0; i < 60; i++) {
            tiny_zero_grads(&t);
            lh_error error = {0};
            lh_forward forward;
            tiny_check(lh_stream_reset(t.stream, t.context, -1, &error), &error);
            lh_model_forward(t.context, t.model, t.stream, tokens, TOTAL, &forward);
            lh_backward(t.context, forward.auxiliary, 1.0);
            lh_stream_commit(t.stream, t.context);
            tiny_check(lh_context_status(t.context, &error), &error);
            lh_context_reset(t.context);
            for (int layer = 0; layer < LAYERS; layer++) {
                char name[64];
                (void)snprintf(name, sizeof name, "layers.%d.memory.codebook.table", layer);
                lh_tensor *table = lh_parameters_find(&t.model->parameters, name)->tensor;
                double *x = lh_tensor_data(table), *g = lh_tensor_data(table->grad);
                for (int j = 0; j < HEADS * CODES * KEY; j++) {
                    x[j] -= 0.5 * g[j];
                }
            }
        }
        assert_true(distance_of(t.model, tokens) < 0.7 * first);
        tiny_free(&t);
    }
}

/* What would be made of keys is refused for codes that stay as they are. */
static void fixed_codes_refuse(void **state)
{
    (void)state;
    static const char *const settings[] = {"memory.codebook_init=keys", "memory.restart_below=0.5",
                                           "model.key_width=5"};
    for (int i = 0; i < 3; i++) {
        const char *arguments[] = {GAU, "model.segment=4", "memory.codebook=fixed", settings[i], NULL};
        lh_error error = {0};
        lh_model *model = NULL;
        assert_int_equal(tiny_model(&model, arguments, 7, &error), LH_E_CONFIG);
        assert_non_null(strstr(error.message, i == 2 ? "even" : "memory.codebook = fixed"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_move),        cmocka_unit_test(counts_converge),
        cmocka_unit_test(first_codes_are_keys), cmocka_unit_test(dead_codes_come_back),
        cmocka_unit_test(figures_of_use),       cmocka_unit_test(who_learns),
        cmocka_unit_test(gradients_move_codes), cmocka_unit_test(fixed_codes_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
