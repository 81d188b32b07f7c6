/* What Perceiver AR remembers: the ids of the tokens before the segment; and which inputs are keys. */
#include "kernels/table.h"
#include "memory/perceiver.h"

#include <string.h>

lh_status lh_perceiver_create(lh_memory *memory, lh_error *error)
{
    const lh_perceiver *p = memory->shape->options;
    int64_t batch = memory->batch;
    /* A session may go back by up to a segment, and still sees P tokens before it. */
    int64_t tokens[2] = {batch, memory->inference ? p->inputs : p->prefix}, place[2] = {batch, 2};
    int64_t segment[2] = {batch, p->latents}, one[2] = {batch, 1};
    int64_t keys[4] = {batch, p->inputs, p->heads, p->embedding / p->heads};
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, tokens, error, "inputs.tokens"));
    LH_TRY(lh_memory_add(memory, LH_STATE_CARRIED, LH_I32, 2, place, error, "inputs.place"));
    if (memory->inference) {
        LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, LH_I32, 2, segment, error, "inputs.segment"));
        LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, memory->dtype, 4, keys, error, "inputs.keys"));
        LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, memory->dtype, 4, keys, error, "inputs.values"));
        LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, LH_I32, 2, one, error, "inputs.arranged"));
        for (int i = 0; i < p->extras; i++) {
            LH_TRY(lh_memory_add(memory, LH_STATE_RUNNING, memory->dtype, 4, keys, error, "inputs.keys.%d", i + 1));
            LH_TRY(
                lh_memory_add(memory, LH_STATE_RUNNING, memory->dtype, 4, keys, error, "inputs.values.%d", i + 1));
        }
    }
    return LH_OK;
}

/* ---- the queue ---- */

bool lh_perceiver_look(const lh_memory *memory, lh_context *context, lh_perceiver_inputs *inputs)
{
    const lh_tensor *tokens = lh_memory_get(memory, LH_PERCEIVER_TOKENS);
    int64_t batch = memory->batch, capacity = tokens->shape[1], cells = batch * capacity;
    size_t most = (size_t)(cells > 2 * batch ? cells : 2 * batch);
    double *wide = lh_arena_alloc(&context->arena, sizeof *wide * most);
    int32_t *all = lh_arena_alloc(&context->arena, sizeof *all * (size_t)(cells + 2 * batch));
    if (!wide || !all) {
        lh_op_fail(context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld tokens", (long long)cells);
        return false;
    }
    *inputs = (lh_perceiver_inputs){
        .capacity = capacity, .tokens = all, .count = all + cells, .position = all + cells + batch};
    lh_to_host(context, tokens, wide);
    for (int64_t i = 0; i < cells; i++) {
        inputs->tokens[i] = (int32_t)wide[i];
    }
    lh_to_host(context, lh_memory_get(memory, LH_PERCEIVER_PLACE), wide);
    for (int64_t lane = 0; lane < batch; lane++) {
        inputs->count[lane] = (int32_t)wide[2 * lane];
        inputs->position[lane] = (int32_t)wide[2 * lane + 1];
    }
    return !lh_op_stopped(context);
}

static void store(lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs)
{
    int64_t shape[2] = {memory->batch, inputs->capacity}, places[2] = {memory->batch, 2};
    int32_t *place = lh_arena_alloc(&context->arena, sizeof *place * (size_t)(2 * memory->batch));
    if (!place) {
        lh_op_fail(context, LH_E_MEMORY, "perceiver-ar", "no memory for the places of %lld lanes",
                   (long long)memory->batch);
        return;
    }
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        place[2 * lane] = inputs->count[lane];
        place[2 * lane + 1] = inputs->position[lane];
    }
    lh_memory_set(memory, context, LH_PERCEIVER_TOKENS, lh_from_host(context, LH_I32, 2, shape, inputs->tokens));
    lh_memory_set(memory, context, LH_PERCEIVER_PLACE, lh_from_host(context, LH_I32, 2, places, place));
}

/* Where places are not looked at, in training with rotary positions, their count may stop: lanes of a text that
 * never ends. */
static bool advance(const lh_memory *memory, lh_context *context, int32_t *position, int64_t count)
{
    const lh_perceiver *p = memory->shape->options;
    int64_t next = *position + count, most = INT32_MAX - p->inputs;
    if (next > most && (memory->inference || p->positions != LH_PERCEIVER_NOTHING)) {
        lh_op_fail(context, LH_E_ARGUMENT, "perceiver-ar", "a document of more than %lld tokens", (long long)most);
        return false;
    }
    *position = (int32_t)(next < most ? next : most);
    return true;
}

void lh_perceiver_push(lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs,
                       const int32_t *tokens, int64_t count)
{
    int64_t capacity = inputs->capacity;
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        int32_t *queue = inputs->tokens + lane * capacity;
        const int32_t *row = tokens + lane * count;
        int64_t first = 0;
        while (first < count && row[first] < 0) {
            first++;
        }
        int64_t fresh = count - first, kept = fresh < capacity ? fresh : capacity;
        if (kept > 0) {
            memmove(queue, queue + kept, sizeof *queue * (size_t)(capacity - kept));
            memcpy(queue + capacity - kept, row + count - kept, sizeof *queue * (size_t)kept);
        }
        int64_t held = inputs->count[lane] + fresh;
        inputs->count[lane] = (int32_t)(held < capacity ? held : capacity);
        if (!advance(memory, context, &inputs->position[lane], fresh)) {
            return;
        }
    }
    store(memory, context, inputs);
}

/* The kept keys are not those of what the memory holds now. */
static void forget_keys(lh_memory *memory, lh_context *context)
{
    int64_t shape[2] = {memory->batch, 1};
    int32_t *unknown = lh_arena_alloc(&context->arena, sizeof *unknown * (size_t)memory->batch);
    if (!unknown || !memory->inference) {
        return;
    }
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        unknown[lane] = -1;
    }
    lh_memory_copy_values(context, lh_from_host(context, LH_I32, 2, shape, unknown),
                          memory->state[LH_PERCEIVER_ARRANGED].stored);
}

void lh_perceiver_prime(lh_memory *memory, lh_context *context, const int32_t *tokens, int64_t count,
                        const int64_t *position)
{
    lh_perceiver_inputs inputs;
    if (lh_op_stopped(context) || !lh_perceiver_look(memory, context, &inputs)) {
        return;
    }
    for (int64_t lane = 0; lane < memory->batch && position; lane++) {
        inputs.position[lane] = 0;
        if (position[lane] < 0 || !advance(memory, context, &inputs.position[lane], position[lane])) {
            lh_op_fail(context, LH_E_ARGUMENT, "perceiver-ar", "a document has no token %lld",
                       (long long)position[lane]);
            return;
        }
    }
    lh_perceiver_push(memory, context, &inputs, tokens, count);
    forget_keys(memory, context);
}

void lh_perceiver_unread(lh_memory *memory, lh_context *context, int64_t count)
{
    lh_perceiver_inputs inputs;
    if (lh_op_stopped(context) || !lh_perceiver_look(memory, context, &inputs)) {
        return;
    }
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        int32_t *queue = inputs.tokens + lane * inputs.capacity;
        if (count < 0 || count > inputs.count[lane]) {
            lh_op_fail(context, LH_E_ARGUMENT, "perceiver-ar",
                       "%lld tokens cannot be taken back of %d that are held", (long long)count,
                       inputs.count[lane]);
            return;
        }
        memmove(queue + count, queue, sizeof *queue * (size_t)(inputs.capacity - count));
        memset(queue, 0, sizeof *queue * (size_t)count);
        inputs.count[lane] -= (int32_t)count;
        inputs.position[lane] -= (int32_t)count;
    }
    store(memory, context, &inputs);
}

/* ---- which inputs are keys ---- */

/* Marks `need` of the true entries of row [count]; each subset is equally likely (Knuth's algorithm S). words: one
 * random number for each entry. */
static void choose(uint8_t *row, int64_t count, int64_t need, const lh_context *context, uint64_t words)
{
    int64_t left = 0;
    for (int64_t j = 0; j < count; j++) {
        left += row[j];
    }
    for (int64_t j = 0; j < count; j++) {
        if (row[j]) {
            uint32_t word = lh_dropout_word(context->seed, words + (uint64_t)j);
            row[j] = (double)word * 0x1p-32 * (double)left < (double)need;
            need -= row[j];
            left--;
        }
    }
}

/* Draws which inputs of a lane stay: row [P + N] over the slots before the segment and the segment. */
static void draw_lane(const lh_memory *memory, const lh_context *context, int64_t lane, int64_t held, uint8_t *row)
{
    const lh_perceiver *p = memory->shape->options;
    uint64_t words = context->random_offset + (uint64_t)(lane * p->inputs);
    uint32_t threshold = lh_dropout_threshold(p->drop);
    bool before = p->dropping == LH_PERCEIVER_DROP_PREFIX;
    for (int64_t j = 0; j < p->inputs; j++) {
        row[j] = j >= p->prefix - held;
        if (p->train_inputs > 0 && memory->valid && j >= p->prefix) { /* what fills a crop up is no input */
            row[j] = memory->valid[lane * p->latents + j - p->prefix];
        } else if (p->train_inputs == 0 && !before && row[j]) {
            row[j] = lh_dropout_word(context->seed, words + (uint64_t)j) >= threshold;
        }
    }
    if (p->train_inputs > 0) {
        choose(row, before ? p->prefix : p->inputs, p->train_inputs, context, words);
    } else if (before) {
        choose(row, p->prefix, held - (int64_t)(p->drop * (double)held), context, words);
    }
    for (int64_t j = p->prefix; j < p->inputs && before; j++) {
        row[j] = 1;
    }
}

/* keep [B, P + N]: 1 or 0 */
static void draw(const lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs, uint8_t *keep)
{
    const lh_perceiver *p = memory->shape->options;
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        draw_lane(memory, context, lane, inputs->count[lane], keep + lane * p->inputs);
    }
    context->random_offset += (uint64_t)(memory->batch * p->inputs);
}

static int32_t *integers(lh_context *context, int64_t count)
{
    int32_t *x = lh_arena_alloc(&context->arena, sizeof *x * (size_t)(count ? count : 1));
    if (!x) {
        lh_op_fail(context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld inputs", (long long)count);
    }
    return x;
}

/* All inputs: as many columns before the segment as the longest prefix has. */
static bool plan_all(const lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs,
                     const int32_t *segment, lh_perceiver_plan *plan)
{
    const lh_perceiver *p = memory->shape->options;
    int64_t batch = memory->batch, n = p->latents, longest = 0;
    bool even = p->copies == 1; /* several latents of a token: what each sees is always said */
    for (int64_t lane = 0; lane < batch; lane++) {
        longest = inputs->count[lane] > longest ? inputs->count[lane] : longest;
        even = even && inputs->count[lane] == inputs->count[0];
    }
    *plan = (lh_perceiver_plan){.keys = longest + n, .segment = longest, .same_places = true};
    plan->ids = integers(context, batch * plan->keys);
    plan->place = integers(context, batch * plan->keys);
    plan->low = even ? NULL : integers(context, batch * n);
    plan->high = even ? NULL : integers(context, batch * n);
    if (lh_op_stopped(context)) {
        return false;
    }
    for (int64_t lane = 0; lane < batch; lane++) {
        const int32_t *queue = inputs->tokens + (lane + 1) * inputs->capacity - longest;
        for (int64_t j = 0; j < plan->keys; j++) {
            bool held = j >= longest - inputs->count[lane];
            plan->ids[lane * plan->keys + j] = !held         ? -1
                                               : j < longest ? queue[j]
                                                             : segment[lane * n + j - longest];
            plan->place[lane * plan->keys + j] = (int32_t)(j - longest);
        }
        for (int64_t i = 0; !even && i < n; i++) {
            plan->low[lane * n + i] = (int32_t)(longest - inputs->count[lane]);
            plan->high[lane * n + i] = (int32_t)(longest + i + 1);
        }
    }
    return true;
}

/* Columns of a plan with dropped inputs: what stays before the segment, right-aligned; what stays of the segment;
 * and the dropped tokens of the segment, if their own latents see them. */
static void fill_kept(const lh_memory *memory, const lh_perceiver_inputs *inputs, const int32_t *segment,
                      const uint8_t *keep, int64_t before, lh_perceiver_plan *plan)
{
    const lh_perceiver *p = memory->shape->options;
    int64_t n = p->latents, columns = plan->keys + plan->own;
    for (int64_t lane = 0; lane < memory->batch; lane++) {
        int32_t *ids = plan->ids + lane * columns, *place = plan->place + lane * columns;
        const int32_t *queue = inputs->tokens + lane * inputs->capacity;
        const uint8_t *row = keep + lane * p->inputs;
        int64_t at = before, next = before, own = plan->keys;
        for (int64_t j = 0; j < columns; j++) {
            ids[j] = -1;
            place[j] = 0;
        }
        for (int64_t j = p->prefix; j-- > 0;) {
            if (row[j]) {
                ids[--at] = queue[j];
                place[at] = (int32_t)(j - p->prefix);
            }
        }
        for (int64_t i = 0; i < n; i++) {
            int64_t cell = lane * n + i, column = row[p->prefix + i] ? next++ : plan->own > 0 ? own++ : -1;
            if (column >= 0) {
                ids[column] = segment[cell];
                place[column] = (int32_t)i;
            }
            plan->low[cell] = (int32_t)at;
            plan->high[cell] = (int32_t)next;
            bool alone = column >= plan->keys;
            plan->own_low[cell] = alone ? (int32_t)(column - plan->keys) : 0;
            plan->own_high[cell] = alone ? plan->own_low[cell] + 1 : 0;
            plan->sees[cell] = next > at || alone;
        }
    }
}

static bool plan_kept(const lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs,
                      const int32_t *segment, lh_perceiver_plan *plan)
{
    const lh_perceiver *p = memory->shape->options;
    int64_t batch = memory->batch, n = p->latents, before = 0, inside = 0, own = 0;
    uint8_t *keep = lh_arena_alloc(&context->arena, (size_t)(batch * p->inputs));
    if (!keep) {
        lh_op_fail(context, LH_E_MEMORY, "perceiver-ar", "no memory for %lld inputs",
                   (long long)(batch * p->inputs));
        return false;
    }
    draw(memory, context, inputs, keep);
    for (int64_t lane = 0; lane < batch; lane++) {
        int64_t counts[2] = {0, 0};
        for (int64_t j = 0; j < p->inputs; j++) {
            counts[j >= p->prefix] += keep[lane * p->inputs + j];
        }
        before = counts[0] > before ? counts[0] : before;
        inside = counts[1] > inside ? counts[1] : inside;
        own = n - counts[1] > own ? n - counts[1] : own;
    }
    *plan = (lh_perceiver_plan){
        .keys = before + inside, .own = p->dropping == LH_PERCEIVER_DROP_OWN ? own : 0, .segment = -1};
    plan->ids = integers(context, batch * (plan->keys + plan->own));
    plan->place = integers(context, batch * (plan->keys + plan->own));
    plan->low = integers(context, batch * n);
    plan->high = integers(context, batch * n);
    plan->own_low = integers(context, batch * n);
    plan->own_high = integers(context, batch * n);
    plan->sees = lh_arena_alloc(&context->arena, sizeof *plan->sees * (size_t)(batch * n));
    if (lh_op_stopped(context) || !plan->sees) {
        return false;
    }
    fill_kept(memory, inputs, segment, keep, before, plan);
    bool all = true;
    for (int64_t i = 0; i < batch * n; i++) {
        all = all && plan->sees[i] != 0.0;
    }
    plan->sees = all ? NULL : plan->sees;
    return true;
}

bool lh_perceiver_make_plan(const lh_memory *memory, lh_context *context, const lh_perceiver_inputs *inputs,
                            const int32_t *segment, lh_perceiver_plan *plan)
{
    const lh_perceiver *p = memory->shape->options;
    bool dropping = (p->drop > 0.0 || p->train_inputs > 0) && context->training;
    return dropping ? plan_kept(memory, context, inputs, segment, plan)
                    : plan_all(memory, context, inputs, segment, plan);
}
