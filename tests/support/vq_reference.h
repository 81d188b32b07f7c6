/* Transformer-VQ written down plainly, for one text, in double precision: every query against every token before
 * it, no blocks, no counts, no caches. Reads the library's parameters; what gradients should be comes from central
 * differences of it. */
#ifndef LH_TESTS_VQ_REFERENCE_H
#define LH_TESTS_VQ_REFERENCE_H

#include "memory/vq.h"
#include "support/tiny_model.h"

enum { REF_LAYERS = 4, REF_TOTAL = 64, REF_HEADS = 4, REF_WIDE = 64, REF_VOCAB = 16 };

/* What one layer had for each token. */
typedef struct ref_layer {
    double k[REF_TOTAL][REF_HEADS][REF_WIDE], v[REF_TOTAL][REF_HEADS][REF_WIDE];
    int z[REF_TOTAL][REF_HEADS]; /* codes from 0 on */
} ref_layer;

typedef struct reference {
    const lh_model *model;
    int total;
    bool unquantised;     /* keys as they are */
    bool bias_everywhere; /* positions beyond distance M, too */
    /* What gradients flow through, as a function of the parameters: codes stay those of `base`, quantised keys move
     * with the keys as far as the gradient is to go straight through, that is for tokens which the query's segment
     * finds one by one. detached: what earlier segments left stays as in `base`. */
    const ref_layer *base;
    bool detached;
    /* With memory.codebook = gradient: the codes that attention sees, which are constants; NULL: the parameters. */
    const double *frozen[REF_LAYERS];
    double codebook;             /* sum over layers and heads of the mean squared distance of constant keys */
    ref_layer layer[REF_LAYERS]; /* of the last run */
    double commitment;           /* sum over layers and heads of the mean squared distance */
} reference;

static inline const double *ref_parameter(const reference *r, int layer, const char *name)
{
    char full[128];
    if (layer < 0) {
        (void)snprintf(full, sizeof full, "%s", name);
    } else {
        (void)snprintf(full, sizeof full, "layers.%d.%s", layer, name);
    }
    lh_parameter *p = lh_parameters_find(&r->model->parameters, full);
    return p ? lh_tensor_data(p->tensor) : NULL;
}

/* y = W x with W [out, in] */
static inline void ref_product(const double *w, int out, int in, const double *x, double *y)
{
    for (int o = 0; o < out; o++) {
        y[o] = 0;
        for (int i = 0; i < in; i++) {
            y[o] += w[o * in + i] * x[i];
        }
    }
}

static inline void ref_norm(const double *x, int n, const double *gain, const double *bias, double scale, double *y)
{
    double square = 0;
    for (int i = 0; i < n; i++) {
        square += x[i] * x[i];
    }
    for (int i = 0; i < n; i++) {
        y[i] = x[i] / sqrt(square / n + 1e-6) * scale * (gain ? gain[i] : 1) + (bias ? bias[i] : 0);
    }
}

static inline double ref_silu(double x)
{
    return x / (1 + exp(-x));
}

/* Code s as attention sees it. */
static inline void ref_code(const reference *r, int layer, int head, int s, double *code)
{
    const lh_vq_options *o = r->model->memory_options;
    int codes = (int)o->codes, width = (int)r->model->config.key_width;
    if (o->book == LH_VQ_BOOK_FIXED) {
        double square = 0;
        for (int i = 0; i < width; i++) {
            double angle = s * pow(o->position_base, -2.0 * (i % (width / 2)) / width);
            code[i] = i < width / 2 ? sin(angle) : cos(angle);
            square += code[i] * code[i];
        }
        for (int i = 0; i < width; i++) {
            code[i] *= pow(width, -0.25) / sqrt(square / width + 1e-6);
        }
        return;
    }
    if (o->book == LH_VQ_BOOK_GRADIENT) {
        const double *table =
            r->frozen[layer] ? r->frozen[layer] : ref_parameter(r, layer, "memory.codebook.table");
        memcpy(code, table + (head * codes + s) * width, sizeof *code * (size_t)width);
        return;
    }
    const double *sum = ref_parameter(r, layer, "memory.codebook.sum") + (head * codes + s) * width;
    double count = ref_parameter(r, layer, "memory.codebook.count")[head * codes + s];
    for (int i = 0; i < width; i++) {
        code[i] = sum[i] / fmax(count, 0.01);
    }
}

static inline int ref_nearest(const reference *r, int layer, int head, const double *k)
{
    int codes = (int)((const lh_vq_options *)r->model->memory_options)->codes,
        width = (int)r->model->config.key_width;
    double least = INFINITY, code[REF_WIDE];
    int nearest = 0;
    for (int s = 0; s < codes; s++) {
        double apart = 0;
        ref_code(r, layer, head, s, code);
        for (int i = 0; i < width; i++) {
            apart += (k[i] - code[i]) * (k[i] - code[i]);
        }
        if (apart < least) {
            least = apart;
            nearest = s;
        }
    }
    return nearest;
}

/* The key and value of token j as query i finds them. */
static inline void ref_key(const reference *r, int layer, int head, int i, int j, double *key, const double **value)
{
    const lh_model_config *c = &r->model->config;
    const lh_vq_options *o = r->model->memory_options;
    const ref_layer *now = &r->layer[layer], *base = r->base ? &r->base[layer] : NULL;
    int segment = (int)c->segment, begin = i / segment * segment;
    bool one_by_one = j >= begin - o->length, here = j >= begin;
    *value = base && r->detached && !here ? base->v[j][head] : now->v[j][head];
    if (r->unquantised) {
        memcpy(key, now->k[j][head], sizeof *key * (size_t)c->key_width);
        return;
    }
    ref_code(r, layer, head, now->z[j][head], key);
    for (int x = 0; x < c->key_width && base && one_by_one && (here || !r->detached); x++) {
        key[x] += now->k[j][head][x] - base->k[j][head][x];
    }
}

static inline void ref_attend(reference *r, int layer, int head, int i, const double *q, double *out)
{
    const lh_model_config *c = &r->model->config;
    const lh_vq_options *o = r->model->memory_options;
    int width = (int)c->key_width, wide = (int)c->value_width, d = (int)c->width;
    int kv = head * (int)c->kv_heads / (int)c->heads;
    double scale = pow(width, -0.25), weight[REF_TOTAL], most = -INFINITY, sum = 0, key[REF_WIDE];
    const double *u = ref_parameter(r, layer, "attention.content_bias") + head * width, *value;
    const double *w = ref_parameter(r, layer, "attention.position_bias") + head * width;
    const double *relative = ref_parameter(r, layer, "attention.relative.weight") + kv * width * d;
    for (int j = 0; j <= i; j++) {
        bool near = i - j <= o->length;
        weight[j] = -INFINITY;
        if (!near && !o->aggregate) {
            continue;
        }
        ref_key(r, layer, kv, i, j, key, &value);
        double logit = 0;
        for (int x = 0; x < width; x++) {
            logit += (q[x] + scale * u[x]) * key[x];
        }
        if (near || r->bias_everywhere) {
            double sine[REF_WIDE], place[REF_WIDE];
            for (int x = 0; x < d / 2; x++) {
                double angle = (i - j) * pow(o->position_base, -2.0 * x / d);
                sine[x] = sin(angle);
                sine[d / 2 + x] = cos(angle);
            }
            ref_product(relative, width, d, sine, place);
            for (int x = 0; x < width; x++) {
                logit += (q[x] + scale * w[x]) * scale * place[x];
            }
        }
        weight[j] = logit;
        most = fmax(most, logit);
    }
    memset(out, 0, sizeof *out * (size_t)wide);
    for (int j = 0; j <= i; j++) {
        sum += exp(weight[j] - most);
    }
    for (int j = 0; j <= i; j++) {
        ref_key(r, layer, kv, i, j, key, &value);
        for (int x = 0; x < wide; x++) {
            out[x] += exp(weight[j] - most) / sum * value[x];
        }
    }
}

/* x [total][width] += the sublayer of it */
static inline void ref_sublayer(reference *r, int layer, double (*x)[REF_WIDE])
{
    const lh_model_config *c = &r->model->config;
    const lh_vq_options *o = r->model->memory_options;
    int d = (int)c->width, width = (int)c->key_width, wide = (int)c->value_width, heads = (int)c->heads;
    static double z[REF_TOTAL][REF_WIDE], line[REF_HEADS * REF_WIDE], q[REF_HEADS * REF_WIDE];
    static double out[REF_HEADS * REF_WIDE], gate[REF_HEADS * REF_WIDE], y[REF_WIDE];
    ref_layer *now = &r->layer[layer];
    for (int t = 0; t < r->total; t++) {
        ref_norm(x[t], d, ref_parameter(r, layer, "attention_norm.weight"),
                 ref_parameter(r, layer, "attention_norm.bias"), 1, z[t]);
        ref_product(ref_parameter(r, layer, "attention.key.weight"), (int)c->kv_heads * width, d, z[t], line);
        for (int h = 0; h < c->kv_heads; h++) {
            double code[REF_WIDE];
            ref_norm(line + h * width, width, NULL, NULL, pow(width, -0.25), now->k[t][h]);
            now->z[t][h] = r->base ? r->base[layer].z[t][h] : ref_nearest(r, layer, h, now->k[t][h]);
            ref_code(r, layer, h, now->z[t][h], code);
            for (int i = 0; i < width; i++) {
                r->commitment += (now->k[t][h][i] - code[i]) * (now->k[t][h][i] - code[i]) / r->total;
            }
            const double *table = ref_parameter(r, layer, "memory.codebook.table");
            const double *still = r->base ? r->base[layer].k[t][h] : now->k[t][h];
            for (int i = 0; table && i < width; i++) {
                double apart = still[i] - table[(h * o->codes + now->z[t][h]) * width + i];
                r->codebook += apart * apart / r->total;
            }
        }
        ref_product(ref_parameter(r, layer, "attention.value.weight"), (int)c->kv_heads * wide, d, z[t], line);
        for (int h = 0; h < c->kv_heads; h++) {
            for (int i = 0; i < wide; i++) {
                now->v[t][h][i] = o->gated ? ref_silu(line[h * wide + i]) : line[h * wide + i];
            }
        }
    }
    for (int t = 0; t < r->total; t++) {
        ref_product(ref_parameter(r, layer, "attention.query.weight"), heads * width, d, z[t], q);
        for (int h = 0; h < heads; h++) {
            double normed[REF_WIDE];
            ref_norm(q + h * width, width, NULL, NULL, pow(width, -0.25), normed);
            ref_attend(r, layer, h, t, normed, out + h * wide);
        }
        if (o->gated) {
            ref_product(ref_parameter(r, layer, "attention.gate.weight"), heads * wide, d, z[t], gate);
            for (int i = 0; i < heads * wide; i++) {
                out[i] *= ref_silu(gate[i]);
            }
        }
        ref_product(ref_parameter(r, layer, "attention.output.weight"), d, heads * wide, out, y);
        for (int i = 0; i < d; i++) {
            x[t][i] += y[i];
        }
    }
}

/* x += Wd relu(Wu norm(x))^2 */
static inline void ref_mlp(const reference *r, int layer, double *x)
{
    const lh_model_config *c = &r->model->config;
    int d = (int)c->width, hidden = (int)c->hidden;
    double z[REF_WIDE], h[REF_HEADS * REF_WIDE], y[REF_WIDE];
    ref_norm(x, d, ref_parameter(r, layer, "hidden_norm.weight"), ref_parameter(r, layer, "hidden_norm.bias"), 1,
             z);
    ref_product(ref_parameter(r, layer, "hidden.up.weight"), hidden, d, z, h);
    for (int i = 0; i < hidden; i++) {
        h[i] = h[i] > 0 ? h[i] * h[i] : 0;
    }
    ref_product(ref_parameter(r, layer, "hidden.down.weight"), d, hidden, h, y);
    for (int i = 0; i < d; i++) {
        x[i] += y[i];
    }
}

/* Logits [total, vocab]. */
static inline void ref_run(reference *r, const int32_t *tokens, double *logits)
{
    const lh_model_config *c = &r->model->config;
    static double x[REF_TOTAL][REF_WIDE];
    int d = (int)c->width, vocab = (int)c->vocab;
    const double *embedding = ref_parameter(r, -1, "embedding.weight"),
                 *output = ref_parameter(r, -1, "output.weight");
    const double *bias = ref_parameter(r, -1, "output.bias"),
                 *scale = ref_parameter(r, -1, "memory.position_scale");
    double base = ((const lh_vq_options *)r->model->memory_options)->position_base;
    r->commitment = r->codebook = 0;
    for (int t = 0; t < r->total; t++) {
        for (int i = 0; i < d; i++) {
            double angle = t * pow(base, -2.0 * (i % (d / 2)) / d);
            x[t][i] = embedding[tokens[t] * d + i] + (scale ? *scale * (i < d / 2 ? sin(angle) : cos(angle)) : 0);
        }
    }
    for (int layer = 0; layer < c->layers; layer++) {
        ref_sublayer(r, layer, x);
        for (int t = 0; t < r->total && c->mlp; t++) {
            ref_mlp(r, layer, x[t]);
        }
    }
    for (int t = 0; t < r->total; t++) {
        double h[REF_WIDE];
        if (c->final_norm) {
            ref_norm(x[t], d, ref_parameter(r, -1, "final_norm.weight"), ref_parameter(r, -1, "final_norm.bias"), 1,
                     h);
        } else {
            memcpy(h, x[t], sizeof h);
        }
        ref_product(output ? output : embedding, vocab, d, h, logits + t * vocab);
        for (int s = 0; s < vocab; s++) {
            logits[t * vocab + s] = logits[t * vocab + s] * c->logit_scale + (bias ? bias[s] : 0);
        }
    }
}

/* Sum over tokens of the loss, the weighted commitment loss, and what a codebook learns from. */
static inline double ref_loss(reference *r, const int32_t *tokens, const int32_t *targets)
{
    static double logits[REF_TOTAL * REF_VOCAB];
    double loss = 0;
    int vocab = (int)r->model->config.vocab;
    ref_run(r, tokens, logits);
    for (int t = 0; t < r->total; t++) {
        double sum = 0;
        for (int s = 0; s < vocab; s++) {
            sum += exp(logits[t * vocab + s]);
        }
        loss += log(sum) - logits[t * vocab + targets[t]];
    }
    return loss + ((const lh_vq_options *)r->model->memory_options)->commitment * r->commitment + r->codebook;
}

#endif
