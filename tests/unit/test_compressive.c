/* The definition of the Compressive Transformer, as checks (Rae et al. 2020): equivalences, positions, zeros,
 * compression, gradient routing, differences, accounting of tokens, cost. */
#include "memory/compression.h"
#include "support/tiny_model.h"

#define BASE                                                                                           \
    "model.layers=2", "model.width=8", "model.heads=2", "model.hidden=12", "model.positions=relative", \
        "model.init=sonnet", "model.segment=8"
#define XL BASE, "memory.kind=transformer-xl"
#define COMPRESSIVE BASE, "memory.kind=compressive"

enum { CELLS = 2 * 8 * 8 };

/* 1. Without compressed slots the method is Transformer-XL: outputs, gradients and state, bit for bit. */
static void compare_models(const char *const *a_arguments, const char *const *b_arguments, int segments,
                           double tolerance, bool compare_grads)
{
    tiny a = tiny_create(a_arguments, 2, 3), b = tiny_create(b_arguments, 2, 3);
    double ha[CELLS], hb[CELLS];
    for (int s = 0; s < segments; s++) {
        tiny_losses la = tiny_step(&a, s, 1.0, 1.0, ha), lb = tiny_step(&b, s, 1.0, 1.0, hb);
        assert_true(fabs(la.task - lb.task) <= tolerance * fabs(la.task));
        for (int i = 0; i < CELLS; i++) {
            if (fabs(ha[i] - hb[i]) > tolerance) {
                fail_msg("segment %d, element %d: %.17g and %.17g", s, i, ha[i], hb[i]);
            }
        }
    }
    for (int i = 0; i < a.model->parameters.count && compare_grads; i++) {
        lh_parameter *p = &a.model->parameters.items[i];
        int64_t count = lh_tensor_count(p->tensor);
        const double *ga = lh_tensor_data(p->tensor->grad), *gb = tiny_grad(&b, p->name);
        for (int64_t j = 0; j < count; j++) {
            assert_true(fabs(ga[j] - gb[j]) <= tolerance * (1.0 + fabs(ga[j])));
        }
    }
    tiny_free(&a);
    tiny_free(&b);
}

static void no_slots_is_transformer_xl(void **state)
{
    (void)state;
    static const char *const layouts[] = {"model.norm_layout=input", "model.norm_layout=output",
                                          "model.norm_layout=both"};
    for (int i = 0; i < 3; i++) {
        const char *xl[] = {XL, "memory.length=8", layouts[i], NULL};
        const char *cm[] = {COMPRESSIVE, "memory.length=8", "memory.compressed=0", layouts[i], NULL};
        compare_models(xl, cm, 4, 0.0, true);
    }
    const char *xl[] = {XL, "memory.length=5", "model.same_length=true", "model.clamp=6", NULL};
    const char *cm[] = {
        COMPRESSIVE, "memory.length=5", "memory.compressed=0", "model.same_length=true", "model.clamp=6", NULL};
    compare_models(xl, cm, 4, 0.0, true);
}

/* Listing every layer is listing none; a layer left out, with a short memory as long as the long one and without
 * slots anywhere, is like the others. */
static void layers_with_long_memory(void **state)
{
    (void)state;
    const char *all[] = {COMPRESSIVE, "memory.length=8", "memory.compressed=6", "memory.rate=2", NULL};
    const char *listed[] = {COMPRESSIVE,     "memory.length=8",   "memory.compressed=6",
                            "memory.rate=2", "memory.layers=0,1", NULL};
    compare_models(all, listed, 4, 0.0, true);
    const char *xl[] = {XL, "memory.length=8", NULL};
    const char *one[] = {XL, "memory.length=8", "memory.layers=1", "memory.short_length=8", NULL};
    compare_models(xl, one, 4, 0.0, true);
}

/* 2. A rate of 1 with the identity is a longer memory. */
static void rate_one_is_a_longer_memory(void **state)
{
    (void)state;
    const char *xl[] = {XL, "memory.length=24", NULL};
    const char *cm[] = {COMPRESSIVE,
                        "memory.length=8",
                        "memory.compressed=16",
                        "memory.rate=1",
                        "memory.function=mean",
                        "memory.positions=continued",
                        NULL};
    compare_models(xl, cm, 20, 1e-6, true);
    const char *scaled[] = {COMPRESSIVE,
                            "memory.length=8",
                            "memory.compressed=16",
                            "memory.rate=1",
                            "memory.function=max",
                            "memory.positions=scaled",
                            NULL};
    compare_models(xl, scaled, 20, 1e-6, true);
    const char *most[] = {COMPRESSIVE,
                          "memory.length=8",
                          "memory.compressed=16",
                          "memory.rate=1",
                          "memory.function=most-used",
                          "memory.positions=continued",
                          NULL};
    compare_models(xl, most, 20, 1e-6, true);
}

/* 3. Distances: Transformer-XL's shift trick and direct indexing put the same logit at (i, j), in both tables. The
 * attention op's values are one-hot, so its output is the probabilities themselves. */
static void positions_equal_the_shift_trick(void **state)
{
    (void)state;
    static const int segments[] = {1, 3, 8}, memories[] = {0, 5, 8}, slots[] = {0, 4};
    lh_context *context;
    lh_error error = {0};
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    for (int trial = 0; trial < 18; trial++) {
        int n_s = segments[trial % 3], n_m = memories[trial / 3 % 3], n_cm = slots[trial / 9], d = 4;
        int keys = n_cm + n_m + n_s, e_len = n_m + n_s, c_len = n_cm + n_s;
        lh_random random = lh_random_create(9, (uint64_t)trial);
        double q[8 * 4], k[20 * 4], re[16 * 4], rc[12 * 4], u[4], we[4], wc[4], identity[20 * 20] = {0};
        double *all[] = {q, k, re, rc, u, we, wc};
        int sizes[] = {n_s * d, keys * d, e_len * d, c_len * d, d, d, d};
        for (int a = 0; a < 7; a++) {
            for (int i = 0; i < sizes[a]; i++) {
                all[a][i] = lh_random_normal(&random);
            }
        }
        for (int j = 0; j < keys; j++) {
            identity[j * keys + j] = 1.0;
        }
        /* shift trick: row i of (q_i + w) R^T over positions from far to near, moved left by n_s - 1 - i */
        double expected[8 * 20];
        for (int i = 0; i < n_s; i++) {
            double sum = 0.0;
            for (int j = 0; j < keys; j++) {
                bool slot = j < n_cm;
                const double *table = slot ? rc : re, *w = slot ? wc : we;
                int length = slot ? c_len : e_len, column = slot ? j : j - n_cm;
                int shifted = column + (n_s - 1 - i); /* index into the far-to-near row of `length` entries */
                if (shifted >= length) {
                    expected[i * keys + j] = 0.0; /* later than the query */
                    continue;
                }
                const double *r = table + (length - 1 - shifted) * d;
                double logit = 0.0;
                for (int x = 0; x < d; x++) {
                    logit += (q[i * d + x] + u[x]) * k[j * d + x] + (q[i * d + x] + w[x]) * r[x];
                }
                expected[i * keys + j] = exp(logit);
                sum += exp(logit);
            }
            for (int j = 0; j < keys; j++) {
                expected[i * keys + j] /= sum;
            }
        }
        lh_tensor *tk = lh_from_host(context, LH_F64, 4, (int64_t[]){1, 1, keys, d}, k);
        lh_tensor *tv = lh_from_host(context, LH_F64, 4, (int64_t[]){1, 1, keys, keys}, identity);
        lh_tensor *tq = lh_from_host(context, LH_F64, 4, (int64_t[]){1, 1, n_s, d}, q);
        lh_tensor *te = lh_from_host(context, LH_F64, 3, (int64_t[]){1, e_len, d}, re);
        lh_tensor *tc = lh_from_host(context, LH_F64, 3, (int64_t[]){1, c_len, d}, rc);
        lh_tensor *tu = lh_from_host(context, LH_F64, 2, (int64_t[]){1, d}, u);
        lh_tensor *twe = lh_from_host(context, LH_F64, 2, (int64_t[]){1, d}, we);
        lh_tensor *twc = lh_from_host(context, LH_F64, 2, (int64_t[]){1, d}, wc);
        /* the layer's own way of placing sources, as the memories use it */
        lh_layer_io io = {.context = context, .relative = te, .content_bias = tu, .position_bias = twe};
        lh_key_source sources[3];
        int count = 0;
        int lengths[3] = {n_s, n_cm, n_m}, starts[3] = {n_cm + n_m, 0, n_cm};
        for (int s = 0; s < 3; s++) {
            if (lengths[s] == 0) {
                continue;
            }
            lh_tensor *part_k = lh_slice(context, tk, 2, starts[s], lengths[s]);
            lh_tensor *part_v = lh_slice(context, tv, 2, starts[s], lengths[s]);
            sources[count] = s == 0 ? lh_key_source_causal(part_k, part_v, n_s) : lh_key_source_all(part_k, part_v);
            lh_layer_place(&io, &sources[count], s == 0 ? 0 : lengths[s]);
            if (s == 1) {
                sources[count].rel_k = tc;
                sources[count].position_bias = twc;
            }
            count++;
        }
        lh_attention_options options = {.scale = 1.0};
        lh_tensor *out = lh_attention(context, tq, count, sources, &options, NULL);
        double got[8 * 20];
        lh_to_host(context, out, got);
        tiny_check(lh_context_status(context, &error), &error);
        for (int i = 0; i < n_s * keys; i++) {
            if (fabs(got[i] - expected[i]) > 1e-12) {
                fail_msg("n_s %d n_m %d n_cm %d, entry %d: %g, not %g", n_s, n_m, n_cm, i, got[i], expected[i]);
            }
        }
        lh_context_reset(context);
    }
    lh_context_free(context);
}

/* 4. Compressed memory is exactly zero until something has been evicted; its slots take softmax mass all the same.
 */
static void zeros_are_attended(void **state)
{
    (void)state;
    const char *arguments[] = {COMPRESSIVE, "memory.length=16", "memory.compressed=4", "memory.rate=4", NULL};
    const char *masked[] = {XL, "memory.length=16", NULL};
    tiny t = tiny_create(arguments, 2, 4), without = tiny_create(masked, 2, 4);
    double h[CELLS], h_without[CELLS];
    for (int s = 0; s < 2; s++) {
        tiny_step(&t, s, 0.0, 0.0, h);
        tiny_step(&without, s, 0.0, 0.0, h_without);
        for (int layer = 0; layer < 2; layer++) {
            char name[64];
            (void)snprintf(name, sizeof name, "layers.%d.compressed", layer);
            lh_tensor *cm = tiny_state(&t, name);
            assert_true(largest(lh_tensor_data(cm), lh_tensor_count(cm)) == 0.0);
        }
        double difference = 0.0; /* had the zero slots been masked, the two models would agree */
        for (int i = 0; i < CELLS; i++) {
            difference = fmax(difference, fabs(h[i] - h_without[i]));
        }
        assert_true(difference > 1e-3);
    }
    tiny_step(&t, 2, 0.0, 0.0, NULL);
    lh_tensor *cm = tiny_state(&t, "layers.0.compressed");
    assert_true(largest(lh_tensor_data(cm), lh_tensor_count(cm)) > 0.0);
    tiny_free(&t);
    tiny_free(&without);
}

static lh_tensor *random_block(lh_context *context, int64_t batch, int64_t n, int64_t width, double *values)
{
    lh_random random = lh_random_create(31, (uint64_t)n);
    for (int64_t i = 0; i < batch * n * width; i++) {
        values[i] = lh_random_normal(&random);
    }
    return lh_from_host(context, LH_F64, 3, (int64_t[]){batch, n, width}, values);
}

/* 5. Special kernels: the mean, subsampling; blocks that the rate does not divide; dilated lengths. */
static void convolution_special_cases(void **state)
{
    (void)state;
    lh_context *context;
    lh_error error = {0};
    tiny_check(lh_context_create(&context, lh_backend_cpu(), 1, &error), &error);
    enum { N = 14, D = 3, C = 4 };
    double values[2 * N * D], mean_kernel[D * C * D] = {0}, first_kernel[D * C * D] = {0}, got[2 * 3 * D],
                                                  pool[2 * 3 * D];
    for (int x = 0; x < D; x++) {
        for (int t = 0; t < C; t++) {
            mean_kernel[(x * C + t) * D + x] = 1.0 / C;
        }
        first_kernel[(x * C) * D + x] = 1.0;
    }
    lh_tensor *block = random_block(context, 2, N, D, values);
    lh_tensor *w_mean = lh_from_host(context, LH_F64, 3, (int64_t[]){D, C, D}, mean_kernel);
    lh_tensor *w_first = lh_from_host(context, LH_F64, 3, (int64_t[]){D, C, D}, first_kernel);
    lh_compression conv = {.function = LH_COMPRESS_CONV, .rate = C},
                   mean = {.function = LH_COMPRESS_MEAN, .rate = C};
    assert_int_equal(lh_compression_slots(&conv, N), N / C);
    lh_tensor *a = lh_compress(context, &conv, block, w_mean, NULL, NULL);
    lh_tensor *b = lh_compress(context, &mean, block, NULL, NULL, NULL);
    tiny_check(lh_context_status(context, &error), &error);
    assert_int_equal(a->shape[1], 3);
    lh_to_host(context, a, got);
    lh_to_host(context, b, pool);
    for (int i = 0; i < 2 * 3 * D; i++) {
        assert_true(fabs(got[i] - pool[i]) < 1e-14);
    }
    lh_to_host(context, lh_compress(context, &conv, block, w_first, NULL, NULL), got);
    for (int lane = 0; lane < 2; lane++) {
        for (int g = 0; g < 3; g++) {
            for (int x = 0; x < D; x++) {
                assert_true(got[(lane * 3 + g) * D + x] == values[(lane * N + g * C) * D + x]);
            }
        }
    }
    lh_compression dilated = {
        .function = LH_COMPRESS_DILATED, .rate = 3, .dilations = {1, 2, 4}, .dilation_count = 3};
    assert_int_equal(lh_compression_slots(&dilated, 768), 253);
    lh_compression extra = {.function = LH_COMPRESS_CONV, .rate = 4, .extra = 2};
    assert_int_equal(lh_compression_slots(&extra, 16), 3);
    lh_context_free(context);
}

/* 6. Groups of equal memories lose nothing: the reconstruction loss is zero for the pools and the mean kernel. */
static void equal_groups_are_lossless(void **state)
{
    (void)state;
    const char *arguments[] = {COMPRESSIVE,           "model.layers=1", "memory.length=8",
                               "memory.compressed=4", "memory.rate=4",  NULL};
    tiny t = tiny_create(arguments, 2, 6);
    double *w = tiny_values(&t, "layers.0.compression.weight");
    memset(w, 0, sizeof *w * 8 * 4 * 8);
    for (int x = 0; x < 8; x++) {
        for (int c = 0; c < 4; c++) {
            w[(x * 4 + c) * 8 + x] = 0.25;
        }
    }
    double *m = lh_tensor_data(tiny_state(&t, "layers.0.memory"));
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < 8; i++) {
            for (int x = 0; x < 8; x++) {
                m[(b * 8 + i) * 8 + x] = sin(3.0 * b + i / 4 + x);
            }
        }
    }
    double lossless = tiny_step(&t, 0, 0.0, 1.0, NULL).auxiliary;
    assert_true(fabs(lossless) < 1e-28);
    assert_true(tiny_step(&t, 1, 0.0, 1.0, NULL).auxiliary > 1e-6); /* real memories are not so kind */
    tiny_free(&t);
}

/* 7. Who trains what: the auxiliary loss only the compression, the task everything else; with two segments in one
 * graph the task reaches the compression, too, but never through its input. */
static void gradients_go_where_they_should(void **state)
{
    (void)state;
    static const char *const losses[] = {"memory.loss=attention", "memory.loss=autoencode"};
    for (int l = 0; l < 2; l++) {
        const char *arguments[] = {COMPRESSIVE,     "memory.length=8", "memory.compressed=4",
                                   "memory.rate=2", losses[l],         NULL};
        tiny t = tiny_create(arguments, 2, 7);
        for (int mode = 0; mode < 2; mode++) {
            lh_stream_reset(t.stream, t.context, -1, NULL);
            tiny_zero_grads(&t);
            for (int s = 0; s < 4; s++) {
                tiny_step(&t, s, mode == 0 ? 1.0 : 0.0, mode == 1 ? 1.0 : 0.0, NULL);
            }
            for (int i = 0; i < t.model->parameters.count; i++) {
                lh_parameter *p = &t.model->parameters.items[i];
                double most = largest(lh_tensor_data(p->tensor->grad), lh_tensor_count(p->tensor));
                bool compressor = strstr(p->name, ".compression.") != NULL;
                assert_int_equal(p->group, compressor ? LH_GROUP_COMPRESSOR : LH_GROUP_MAIN);
                if (compressor != (mode == 1)) {
                    if (most != 0.0) {
                        fail_msg("%s gets gradient %g from the %s loss", p->name, most,
                                 mode ? "auxiliary" : "task");
                    }
                } else if (most == 0.0) {
                    fail_msg("%s gets no gradient from the %s loss", p->name, mode ? "auxiliary" : "task");
                }
            }
        }
        tiny_free(&t);
    }
}

/* Two segments in one graph, for the BPTT variants: task loss of the last one only. */
static void two_segments(tiny *t, int64_t first)
{
    int32_t tokens[16], targets[16];
    lh_forward forward;
    lh_error error = {0};
    lh_tensor *loss = NULL;
    for (int s = 0; s < 2; s++) {
        tiny_text(t, first + s, tokens, targets);
        lh_model_forward(t->context, t->model, t->stream, tokens, 8, &forward);
        loss = lh_model_loss(t->context, t->model, forward.hidden, targets, NULL, NULL);
    }
    lh_backward(t->context, loss, 1.0);
    lh_stream_commit(t->stream, t->context);
    tiny_check(lh_context_status(t->context, &error), &error);
    lh_context_reset(t->context);
}

static void unrolled_segments_reach_the_compression(void **state)
{
    (void)state;
    const char *arguments[] = {COMPRESSIVE,     "memory.length=8",  "memory.compressed=4",
                               "memory.rate=2", "memory.loss=none", NULL};
    tiny t = tiny_create(arguments, 2, 7);
    for (int s = 0; s < 3; s++) {
        tiny_step(&t, s, 0.0, 0.0, NULL);
    }
    tiny_zero_grads(&t);
    t.stream->memory->keep_graph = true;
    two_segments(&t, 3);
    assert_true(largest(tiny_grad(&t, "layers.0.compression.weight"), 8 * 2 * 8) > 0.0);
    assert_true(largest(tiny_grad(&t, "layers.1.compression.weight"), 8 * 2 * 8) > 0.0);

    /* The compression's input is cut off: doubling what flows in through the old memory changes nothing, so the
     * gradient of a parameter that only the first of the two segments' inputs to f_c depend on must not change with
     * f_c's kernel being the only path. With n_m >= 2 n_s nothing of these two segments is evicted, so f_c sees
     * constants only. */
    lh_random random = lh_random_create(1, 2);
    (void)random;
    tiny_zero_grads(&t);
    t.stream->memory->keep_graph = false;
    two_segments(&t, 5);
    assert_true(largest(tiny_grad(&t, "layers.0.compression.weight"), 8 * 2 * 8) == 0.0);
    tiny_free(&t);
}

/* 8. Finite differences of the whole model, auxiliary loss included. */
static void check_differences(const char *const *arguments, const char *what)
{
    tiny t = tiny_create(arguments, 2, 11);
    enum { SEGMENTS = 3 };
    /* State feeds forward without gradient, so differences are taken with the state of the first segments fixed. */
    for (int s = 0; s < SEGMENTS; s++) {
        tiny_step(&t, s, 0.0, 0.0, NULL);
    }
    lh_stream *fixed;
    lh_error error = {0};
    tiny_check(lh_stream_create(&fixed, t.model, 2, false, &error), &error);
    tiny_check(lh_stream_copy(fixed, t.stream, &error), &error);
    tiny_zero_grads(&t);
    t.context->random_offset = 0; /* the same dropout each time */
    tiny_step(&t, SEGMENTS, 1.0, 1.0, NULL);
    for (int i = 0; i < t.model->parameters.count; i++) {
        lh_parameter *p = &t.model->parameters.items[i];
        double *x = lh_tensor_data(p->tensor), *g = lh_tensor_data(p->tensor->grad);
        int64_t count = lh_tensor_count(p->tensor);
        bool compressor = p->group == LH_GROUP_COMPRESSOR;
        for (int64_t trial = 0; trial < 3; trial++) {
            int64_t j = (trial * 7919 + 13 * i) % count;
            double kept = x[j], h = 1e-5, value[2];
            for (int side = 0; side < 2; side++) {
                x[j] = kept + (side ? -h : h);
                tiny_check(lh_stream_copy(t.stream, fixed, &error), &error);
                t.context->random_offset = 0;
                tiny_losses l = tiny_step(&t, SEGMENTS, 0.0, 0.0, NULL);
                value[side] = compressor ? l.auxiliary : l.task;
            }
            x[j] = kept;
            double difference = (value[0] - value[1]) / (2.0 * h);
            double scale = fmax(fmax(fabs(difference), fabs(g[j])), 1e-2);
            if (fabs(difference - g[j]) > 1e-6 * scale) {
                fail_msg("%s: %s[%lld]: gradient %.12g, difference %.12g", what, p->name, (long long)j, g[j],
                         difference);
            }
        }
    }
    lh_stream_free(fixed);
    tiny_free(&t);
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    static const char *const variants[][3] = {
        {"memory.function=conv", "memory.loss=attention", "model.norm_layout=input"},
        {"memory.function=conv", "memory.loss=autoencode", "model.norm_layout=output"},
        {"memory.function=dilated", "memory.dilations=1,2", "model.norm_layout=both"},
        {"memory.function=mean", "memory.positions=continued", "model.same_length=true"},
        {"memory.function=max", "memory.positions=scaled", "model.scale_logits=true"},
        {"memory.function=most-used", "model.share_position_biases=true", "model.clamp=9"},
        {"memory.kernel_extra=1", "model.activation=swiglu", "model.norm=rms"},
        {"model.kv_heads=1", "model.activation=gelu", "model.dropout=0.2"},
    };
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        const char *arguments[] = {COMPRESSIVE,    "memory.length=8", "memory.compressed=6", "memory.rate=2",
                                   variants[i][0], variants[i][1],    variants[i][2],        NULL};
        check_differences(arguments, variants[i][0]);
    }
    static const char *const others[][3] = {
        {"model.positions=rotary", "model.rope_fraction=0.5", NULL},
        {"model.positions=t5", "model.t5_buckets=8", "model.t5_distance=16"},
        {"model.positions=alibi", "model.attention_bias=true", NULL},
        {"model.positions=learned", "model.tied=false", NULL},
        {"model.positions=sinusoidal", "model.cutoffs=3,6", "model.band_divisor=2"},
        {"model.positions=relative", "model.share_attention=true", NULL},
        {"model.positions=relative", "memory.layers=1", "memory.short_length=3"},
        {"model.qk_norm=l2", "model.head_scale=true", "model.null_logit=true"},
        {"model.qk_norm=rms", "model.norm=rms", "model.norm_bias=true"},
        {"model.mlp=false", "model.see_self=false", "model.norm_layout=output"},
        {"model.attention_input_dropout=0.3", "model.final_dropout=0.3", "model.token_dropout=0.3"}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const char *arguments[] = {COMPRESSIVE,
                                   "memory.length=8",
                                   "memory.compressed=6",
                                   "memory.rate=2",
                                   "model.activation=gelu", /* no kinks where a difference could straddle one */
                                   others[i][0],
                                   others[i][1],
                                   others[i][2],
                                   NULL};
        check_differences(arguments, others[i][0]);
    }
}

/* Recomputing the layers in the backward pass changes no gradient, dropout and auxiliary loss included. */
static void recomputation_changes_nothing(void **state)
{
    (void)state;
    const char *arguments[] = {COMPRESSIVE,
                               "memory.length=8",
                               "memory.compressed=4",
                               "memory.rate=2",
                               "model.dropout=0.3",
                               "model.attention_dropout=0.2",
                               "model.hidden_dropout=0.1",
                               NULL};
    tiny a = tiny_create(arguments, 2, 8), b = tiny_create(arguments, 2, 8);
    b.model->checkpoint_layers = true;
    for (int s = 0; s < 4; s++) {
        tiny_losses la = tiny_step(&a, s, 1.0, 1.0, NULL), lb = tiny_step(&b, s, 1.0, 1.0, NULL);
        assert_true(la.task == lb.task && la.auxiliary == lb.auxiliary);
    }
    for (int i = 0; i < a.model->parameters.count; i++) {
        lh_parameter *p = &a.model->parameters.items[i];
        const double *ga = lh_tensor_data(p->tensor->grad), *gb = tiny_grad(&b, p->name);
        for (int64_t j = 0; j < lh_tensor_count(p->tensor); j++) {
            if (fabs(ga[j] - gb[j]) > 1e-12 * (1.0 + fabs(ga[j]))) {
                fail_msg("%s[%lld]: %.17g with recomputation, %.17g without", p->name, (long long)j, gb[j], ga[j]);
            }
        }
    }
    tiny_free(&a);
    tiny_free(&b);
}

/* 9. What layer 1 remembers depends on the tokens alone, not on how they were cut into segments. */
static void first_memory_does_not_depend_on_segments(void **state)
{
    (void)state;
    const char *eight[] = {COMPRESSIVE, "memory.length=8", "memory.compressed=8", "memory.rate=2", NULL};
    const char *four[] = {COMPRESSIVE,     "memory.length=8", "memory.compressed=8",
                          "memory.rate=2", "model.segment=4", NULL};
    tiny a = tiny_create(eight, 1, 12), b = tiny_create(four, 1, 12);
    for (int s = 0; s < 5; s++) {
        tiny_step(&a, s, 0.0, 0.0, NULL);
        tiny_step(&b, 2 * s, 0.0, 0.0, NULL);
        tiny_step(&b, 2 * s + 1, 0.0, 0.0, NULL);
    }
    static const char *const names[] = {"layers.0.memory", "layers.0.compressed"};
    for (int n = 0; n < 2; n++) {
        const double *x = lh_tensor_data(tiny_state(&a, names[n])), *y = lh_tensor_data(tiny_state(&b, names[n]));
        for (int i = 0; i < 64; i++) {
            assert_true(fabs(x[i] - y[i]) < 1e-12);
        }
    }
    /* deeper layers see different contexts, and so they should */
    const double *x = lh_tensor_data(tiny_state(&a, "layers.1.memory")),
                 *y = lh_tensor_data(tiny_state(&b, "layers.1.memory"));
    double difference = 0.0;
    for (int i = 0; i < 64; i++) {
        difference = fmax(difference, fabs(x[i] - y[i]));
    }
    assert_true(difference > 1e-6);
    tiny_free(&a);
    tiny_free(&b);
}

/* 10. Which tokens a slot covers: the newest slot after T tokens covers T-n_m-c .. T-n_m-1, slot s from the newest
 * T-n_m-(s+1)c .. T-n_m-sc-1. Read off one-hot inputs that are pooled by their mean. */
static void slots_cover_the_right_tokens(void **state)
{
    (void)state;
    for (int n_s = 2; n_s <= 6; n_s += 2) {
        for (int n_m = n_s; n_m <= 9; n_m++) {
            for (int c = 1; c <= n_s; c++) {
                if (n_s % c != 0) {
                    continue;
                }
                char segment[32], length[32], rate[32];
                (void)snprintf(segment, sizeof segment, "model.segment=%d", n_s);
                (void)snprintf(length, sizeof length, "memory.length=%d", n_m);
                (void)snprintf(rate, sizeof rate, "memory.rate=%d", c);
                const char *arguments[] = {COMPRESSIVE,
                                           segment,
                                           length,
                                           rate,
                                           "memory.compressed=5",
                                           "memory.function=mean",
                                           "model.layers=1",
                                           "model.width=64",
                                           "model.norm_layout=output",
                                           NULL};
                tiny t = tiny_create(arguments, 1, 13);
                lh_memory *memory = t.stream->memory;
                int total = 60 / n_s * n_s;
                for (int start = 0; start < total; start += n_s) {
                    double z[6 * 64] = {0}, dummy[6 * 64] = {0};
                    for (int i = 0; i < n_s; i++) {
                        z[i * 64 + start + i] = 1.0; /* token number as a one-hot vector */
                    }
                    lh_layer_io io = {.context = t.context, .parameters = &t.model->layers[0].memory};
                    t.context->recording = false;
                    lh_memory_begin(memory);
                    io.segment_z = lh_from_host(t.context, LH_F64, 3, (int64_t[]){1, n_s, 64}, z);
                    io.z = io.segment_z;
                    io.q = lh_from_host(t.context, LH_F64, 4, (int64_t[]){1, 1, n_s, 64}, dummy);
                    memory->kind->write(memory, &io);
                    lh_stream_commit(t.stream, t.context);
                    lh_error error = {0};
                    tiny_check(lh_context_status(t.context, &error), &error);
                    lh_context_reset(t.context);
                    int now = start + n_s;
                    const double *cm = lh_tensor_data(tiny_state(&t, "layers.0.compressed"));
                    for (int s = 0; s < 5; s++) {
                        for (int token = 0; token < 64; token++) {
                            bool covered = token >= now - n_m - (s + 1) * c && token <= now - n_m - s * c - 1;
                            bool found = cm[(4 - s) * 64 + token] != 0.0;
                            if (covered != found) {
                                fail_msg("n_s %d n_m %d c %d after %d: slot %d %s token %d", n_s, n_m, c, now, s,
                                         found ? "covers" : "lacks", token);
                            }
                        }
                    }
                }
                tiny_free(&t);
            }
        }
    }
}

/* 14. Cost: state does not grow with the text, and grows by the row with the slots. */
static void state_is_constant(void **state)
{
    (void)state;
    const char *small[] = {COMPRESSIVE, "memory.length=8", "memory.compressed=4", NULL};
    const char *large[] = {COMPRESSIVE, "memory.length=8", "memory.compressed=104", NULL};
    tiny a = tiny_create(small, 3, 1), b = tiny_create(large, 3, 1);
    int64_t before = lh_stream_bytes(a.stream);
    for (int s = 0; s < 10; s++) {
        tiny_step(&a, s, 1.0, 1.0, NULL);
    }
    assert_int_equal(lh_stream_bytes(a.stream), before);
    assert_int_equal(before, 2 * (8 + 4) * 8 * 8);
    assert_int_equal(lh_stream_bytes(b.stream) - before, 2 * 100 * 8 * 8);
    double more = lh_model_attention_flops(b.model) - lh_model_attention_flops(a.model);
    assert_true(fabs(more - 2.0 * 100.0 * 2.0 * 2.0 * (4.0 + 4.0)) < 1e-9);
    tiny_free(&a);
    tiny_free(&b);
}

/* Impossible combinations are refused with the key's name. */
static void impossible_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *argument[2], *message;
    } cases[] = {
        {{"memory.function=mean", "memory.loss=attention"}, "memory"},
        {{"memory.function=dilated", "memory.loss=autoencode"}, "loss"},
        {{"memory.rate=4000", "memory.length=4"}, "rate"},
        {{"memory.function=most-used", "memory.kernel_extra=1"}, "kernel_extra"},
        {{"model.heads=3", "memory.rate=2"}, "heads"},
        {{"model.kv_heads=3", "model.heads=4"}, "kv_heads"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *arguments[] = {COMPRESSIVE, cases[i].argument[0], cases[i].argument[1], NULL};
        lh_model *model = NULL;
        lh_error error = {0};
        assert_int_equal(tiny_model(&model, arguments, 1, &error), LH_E_CONFIG);
        if (!strstr(error.message, cases[i].message)) {
            fail_msg("case %zu: %s", i, error.message);
        }
        assert_null(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_slots_is_transformer_xl),
        cmocka_unit_test(layers_with_long_memory),
        cmocka_unit_test(rate_one_is_a_longer_memory),
        cmocka_unit_test(positions_equal_the_shift_trick),
        cmocka_unit_test(zeros_are_attended),
        cmocka_unit_test(convolution_special_cases),
        cmocka_unit_test(equal_groups_are_lossless),
        cmocka_unit_test(gradients_go_where_they_should),
        cmocka_unit_test(unrolled_segments_reach_the_compression),
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(recomputation_changes_nothing),
        cmocka_unit_test(first_memory_does_not_depend_on_segments),
        cmocka_unit_test(slots_cover_the_right_tokens),
        cmocka_unit_test(state_is_constant),
        cmocka_unit_test(impossible_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
