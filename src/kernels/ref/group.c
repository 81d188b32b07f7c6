/* GROUP, GROUP_LATEST, GROUP_SEEN: integers only, for every level. GROUP_GATHER, GROUP_SUM, CENTROIDS: plain C. */
#include "kernels/kernel.h"

#include <omp.h>
#include <string.h>

#define LH_TEMPLATE "kernels/ref/group.inc"
#include "kernels/ref/both.inc"

/* One lane: counts, their running sum, then each entry to its place. */
static void group_lane(const lh_group_args *args, int64_t lane)
{
    int64_t count = args->count, groups = args->groups;
    const int32_t *group = args->group + lane * count;
    const int32_t *keep = args->keep ? args->keep + lane / args->heads * count : NULL;
    int32_t *start = args->start + lane * (groups + 1), *order = args->order + lane * count;
    memset(start, 0, (size_t)(groups + 1) * sizeof *start);
    for (int64_t i = 0; i < count; i++) {
        if (group[i] >= 0 && (!keep || keep[i])) {
            start[group[i]]++;
        }
    }
    int32_t total = 0;
    for (int64_t g = 0; g <= groups; g++) { /* start[g]: where group g ends, for now */
        total += start[g];
        start[g] = total;
    }
    for (int64_t i = count - 1; i >= 0; i--) {
        if (group[i] >= 0 && (!keep || keep[i])) {
            order[--start[group[i]]] = (int32_t)i;
        }
    }
    for (int64_t at = total; at < count; at++) {
        order[at] = -1;
    }
    if (!args->low || !args->high) {
        return;
    }
    int32_t *low = args->low + lane * count, *high = args->high + lane * count;
    memset(low, 0, (size_t)count * sizeof *low);
    memset(high, 0, (size_t)count * sizeof *high);
    for (int64_t g = 0; g < groups; g++) {
        for (int64_t at = start[g]; at < start[g + 1]; at++) {
            low[at] = start[g];
            high[at] = start[g + 1];
        }
    }
}

static void group(lh_exec *exec, const void *arguments)
{
    const lh_group_args *args = arguments;
    int64_t lanes = args->batch * args->heads;
#pragma omp parallel for schedule(static) \
    num_threads(lh_kernel_threads(exec, lanes *(args->count + args->groups) * 4))
    for (int64_t lane = 0; lane < lanes; lane++) {
        group_lane(args, lane);
    }
}

static void group_latest(lh_exec *exec, const void *arguments)
{
    const lh_group_latest_args *args = arguments;
    int64_t window = args->window, rows = args->lanes * args->queries;
#pragma omp parallel for schedule(static) num_threads(lh_kernel_threads(exec, rows * args->length))
    for (int64_t row = 0; row < rows; row++) {
        int64_t lane = row / args->queries, own = args->length - args->queries + row % args->queries;
        const int32_t *group = args->group + lane * args->length;
        int32_t *index = args->index + row * window, wanted = args->own ? args->own[row] : group[own];
        int64_t left = window;
        for (int64_t t = own; t >= 0 && left > 0 && wanted >= 0; t--) {
            if (group[t] == wanted) {
                index[--left] = (int32_t)t;
            }
        }
        args->first[row] = (int32_t)left;
        while (left > 0) {
            index[--left] = -1;
        }
    }
}

/* One lane: both lists of a group are gone through once, side by side. */
static void seen_lane(const lh_group_seen_args *args, int64_t lane)
{
    const int32_t *query_start = args->query_start + lane * (args->groups + 1);
    const int32_t *key_start = args->key_start + lane * (args->groups + 1);
    const int32_t *query = args->query_order + lane * args->queries, *key = args->key_order + lane * args->keys;
    int32_t *low = args->low + lane * args->queries, *high = args->high + lane * args->queries;
    memset(low, 0, (size_t)args->queries * sizeof *low);
    memset(high, 0, (size_t)args->queries * sizeof *high);
    for (int64_t g = 0; g < args->groups; g++) {
        int64_t begin = key_start[g], end = begin;
        for (int64_t at = query_start[g]; at < query_start[g + 1] && query[at] >= 0; at++) {
            while (end < key_start[g + 1] && key[end] >= 0 && key[end] <= args->first + query[at]) {
                end++;
            }
            low[at] = (int32_t)(end - begin > args->window ? end - args->window : begin);
            high[at] = (int32_t)end;
        }
    }
}

static void group_seen(lh_exec *exec, const void *arguments)
{
    const lh_group_seen_args *args = arguments;
#pragma omp parallel for schedule(static) \
    num_threads(lh_kernel_threads(exec, args->lanes *(args->queries + args->keys + args->groups) * 4))
    for (int64_t lane = 0; lane < args->lanes; lane++) {
        seen_lane(args, lane);
    }
}

void lh_register_group_ref(lh_kernel_table *table)
{
    table->f32[LH_KERNEL_GROUP] = table->f64[LH_KERNEL_GROUP] = group;
    table->f32[LH_KERNEL_GROUP_LATEST] = table->f64[LH_KERNEL_GROUP_LATEST] = group_latest;
    table->f32[LH_KERNEL_GROUP_SEEN] = table->f64[LH_KERNEL_GROUP_SEEN] = group_seen;
    LH_SET_BOTH(table, GROUP_GATHER, group_gather);
    LH_SET_BOTH(table, GROUP_SUM, group_sum);
    LH_SET_BOTH(table, CENTROIDS, centroids);
}
