#include "autograd/parameters.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

lh_status lh_parameters_add(lh_parameters *list, lh_tensor **tensor, const char *name, int ndim,
                            const int64_t *shape, lh_init_kind init, double scale, bool decay,
                            lh_parameter_group group, lh_error *error)
{
    *tensor = NULL;
    if (lh_parameters_find(list, name) || strlen(name) >= sizeof list->items[0].name) {
        return lh_fail(error, LH_E_INTERNAL, "parameter name '%s' is taken or too long", name);
    }
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 64;
        lh_parameter *items = lh_heap_realloc(list->items, sizeof *items * (size_t)capacity);
        if (!items) {
            return lh_fail(error, LH_E_MEMORY, "no memory for parameter '%s'", name);
        }
        /* Tensors point at their names: they must follow when the list moves. */
        list->items = items;
        list->capacity = capacity;
        for (int i = 0; i < list->count; i++) {
            items[i].tensor->name = items[i].name;
        }
    }
    lh_parameter *item = &list->items[list->count];
    memset(item, 0, sizeof *item);
    (void)snprintf(item->name, sizeof item->name, "%s", name);
    LH_TRY(lh_tensor_create(&item->tensor, list->backend, list->dtype, ndim, shape, item->name, error));
    item->init = init;
    item->scale = scale;
    item->decay = decay;
    item->group = group;
    list->count++;
    *tensor = item->tensor;
    return LH_OK;
}

void lh_parameters_free(lh_parameters *list)
{
    for (int i = 0; i < list->count; i++) {
        lh_tensor_free(list->items[i].tensor);
    }
    lh_heap_free(list->items);
    list->items = NULL;
    list->count = list->capacity = 0;
}

static uint64_t name_hash(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a: the stream number of a parameter is its name's hash */
    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    }
    return hash;
}

/* The last frequency is 1/scale: half the width, less one, is in the exponent. */
static double sinusoid(const lh_parameter *item, size_t index)
{
    size_t width = (size_t)item->tensor->shape[item->tensor->ndim - 1], half = width / 2;
    size_t row = index / width, j = index % width;
    double step = half > 1 ? -log(item->scale) / (double)(half - 1) : 0.0;
    double angle = (double)row * exp((double)(j % half) * step);
    return j < half ? sin(angle) : cos(angle);
}

static double draw(lh_random *random, const lh_parameter *item, size_t index)
{
    double z;
    switch (item->init) {
    case LH_INIT_CONSTANT: return item->scale;
    case LH_INIT_NORMAL: return lh_random_normal(random) * item->scale;
    case LH_INIT_NORMED_ROWS: return lh_random_normal(random);
    case LH_INIT_UNIFORM: return (2.0 * lh_random_uniform(random) - 1.0) * item->scale;
    case LH_INIT_SINUSOIDS: return sinusoid(item, index);
    case LH_INIT_TRUNCATED:
    case LH_INIT_TRUNCATED_EXACT: break;
    }
    do {
        z = lh_random_normal(random);
    } while (z < -2.0 || z > 2.0);
    return z * (item->init == LH_INIT_TRUNCATED_EXACT ? item->scale / 0.87962566103423978 : item->scale);
}

static double value_at(const void *host, lh_dtype dtype, size_t i)
{
    return dtype == LH_F64 ? ((const double *)host)[i] : (double)((const float *)host)[i];
}

static void set_value(void *host, lh_dtype dtype, size_t i, double value)
{
    if (dtype == LH_F64) {
        ((double *)host)[i] = value;
    } else {
        ((float *)host)[i] = (float)value;
    }
}

/* Gives rows of `width` the mean 0 and the deviation `scale`. */
static void norm_rows(void *host, lh_dtype dtype, size_t count, size_t width, double scale)
{
    for (size_t row = 0; width > 0 && row + width <= count; row += width) {
        double mean = 0, square = 0;
        for (size_t i = row; i < row + width; i++) {
            mean += value_at(host, dtype, i) / (double)width;
        }
        for (size_t i = row; i < row + width; i++) {
            double off = value_at(host, dtype, i) - mean;
            square += off * off / (double)width;
        }
        for (size_t i = row; i < row + width && square > 0; i++) {
            set_value(host, dtype, i, (value_at(host, dtype, i) - mean) * scale / sqrt(square));
        }
    }
}

lh_status lh_parameters_initialise(lh_parameters *list, uint64_t seed, lh_error *error)
{
    for (int i = 0; i < list->count; i++) {
        lh_parameter *item = &list->items[i];
        size_t count = (size_t)lh_tensor_count(item->tensor), element = lh_dtype_size(list->dtype);
        void *host = lh_heap_alloc(count * element);
        if (!host) {
            return lh_fail(error, LH_E_MEMORY, "no memory to initialise '%s'", item->name);
        }
        lh_random random = lh_random_create(seed, name_hash(item->name));
        for (size_t j = 0; j < count; j++) {
            set_value(host, list->dtype, j, draw(&random, item, j));
        }
        if (item->init == LH_INIT_NORMED_ROWS) {
            norm_rows(host, list->dtype, count, (size_t)item->tensor->shape[item->tensor->ndim - 1], item->scale);
        }
        lh_status status = lh_tensor_write(item->tensor, host, error);
        lh_heap_free(host);
        LH_TRY(status);
    }
    return LH_OK;
}

lh_status lh_parameters_want_grads(lh_parameters *list, unsigned groups, lh_error *error)
{
    for (int i = 0; i < list->count; i++) {
        lh_parameter *item = &list->items[i];
        if (item->group != LH_GROUP_STATISTICS && (groups >> item->group & 1u)) {
            LH_TRY(lh_tensor_create_grad(item->tensor, error));
        } else {
            item->tensor->requires_grad = false;
        }
    }
    return LH_OK;
}

lh_parameter *lh_parameters_find(const lh_parameters *list, const char *name)
{
    for (int i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

int64_t lh_parameters_elements(const lh_parameters *list)
{
    int64_t total = 0;
    for (int i = 0; i < list->count; i++) {
        total += lh_tensor_count(list->items[i].tensor);
    }
    return total;
}

double lh_init_unit_uniform(int64_t in, int64_t out)
{
    return sqrt(3.0 * 0.2 / (((double)in + (double)out) / 2.0));
}
