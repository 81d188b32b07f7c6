/* Images for the Routing Transformer: tokens are channel values, in rows or in blocks of rows and columns. The
 * first layer's input is the embedding of the value before, one table for each channel, and learned positions along
 * both axes, as published. */
#include "memory/routing.h"

#include <math.h>

#define IMAGE "memory.kind=routing-image"

const lh_recipe_key lh_routing_image_keys[] = {
    {"memory", "image_height", LH_RECIPE_INTEGER, "32", 1, 4096, NULL, IMAGE, "rows of an image"},
    {"memory", "image_width", LH_RECIPE_INTEGER, "32", 1, 4096, NULL, IMAGE, "columns of an image"},
    {"memory", "image_channels", LH_RECIPE_INTEGER, "3", 1, 16, NULL, IMAGE, "values of a pixel"},
    {"memory", "classes", LH_RECIPE_INTEGER, "0", 0, 1 << 24, NULL, IMAGE,
     "classes of images, each with a vector that is added everywhere: the token in front of an image is its class; "
     "0: "
     "none"},
    {"memory", "image_block", LH_RECIPE_LIST, "", 1, 1 << 20, NULL, IMAGE,
     "height,width of blocks, the width counting channel values: the order of an image's tokens; empty: row by "
     "row"},
    {"memory", "image_look_back", LH_RECIPE_LIST, "", 0, 1 << 20, NULL, IMAGE,
     "height,width of what local heads see around their block; empty: as much as the block"},
    {0},
};

void lh_routing_image_place(const lh_routing_image *image, int64_t place, int64_t *row, int64_t *column,
                            int64_t *channel)
{
    int64_t across = image->width * image->channels, height = image->block_height, width = image->block_width;
    int64_t y = place / across, x = place % across;
    if (height > 0) {
        int64_t block = place / (height * width), inside = place % (height * width), blocks = across / width;
        y = block / blocks * height + inside / width;
        x = block % blocks * width + inside % width;
    }
    *row = y;
    *column = x / image->channels;
    *channel = x % image->channels;
}

/* height, width of an entry like image_block; absent: the given values. */
static lh_status read_pair(const lh_recipe *recipe, const char *name, int64_t pair[2], lh_error *error)
{
    size_t count;
    const int64_t *list = lh_recipe_list(recipe, name, &count);
    if (count != 0 && count != 2) {
        return lh_recipe_reject(recipe, name, error, "must be a height and a width");
    }
    for (size_t i = 0; i < count; i++) {
        pair[i] = list[i];
    }
    return LH_OK;
}

lh_status lh_routing_image_configure(const lh_memory_shape *shape, lh_routing *r, lh_error *error)
{
    const lh_recipe *recipe = shape->recipe;
    lh_routing_image *g = &r->image;
    int64_t block[2] = {0, 0}, back[2];
    g->height = lh_recipe_integer(recipe, "memory.image_height");
    g->width = lh_recipe_integer(recipe, "memory.image_width");
    g->channels = lh_recipe_integer(recipe, "memory.image_channels");
    g->values = lh_recipe_integer(recipe, "model.vocab");
    g->classes = lh_recipe_integer(recipe, "memory.classes");
    if (g->classes > g->values) {
        return lh_recipe_reject(recipe, "memory.classes", error,
                                "are more than the vocabulary's %lld tokens: a class is the token in front of an "
                                "image",
                                (long long)g->values);
    }
    g->scale = lh_recipe_boolean(recipe, "model.embedding_scaled") ? sqrt((double)shape->width) : 1.0;
    if (g->height * g->width * g->channels != shape->segment) {
        return lh_recipe_reject(recipe, "memory.image_height", error,
                                "makes images of %lld values, model.segment is %lld",
                                (long long)(g->height * g->width * g->channels), (long long)shape->segment);
    }
    LH_TRY(read_pair(recipe, "memory.image_block", block, error));
    back[0] = block[0];
    back[1] = block[1];
    LH_TRY(read_pair(recipe, "memory.image_look_back", back, error));
    if (block[0] == 0) {
        return LH_OK;
    }
    if (g->height % block[0] != 0 || g->width * g->channels % block[1] != 0) {
        return lh_recipe_reject(recipe, "memory.image_block", error, "does not divide %lld rows of %lld values",
                                (long long)g->height, (long long)(g->width * g->channels));
    }
    if (back[0] % block[0] != 0 || back[1] % block[1] != 0 || back[0] / block[0] >= LH_ATTENTION_MAX_SOURCES) {
        return lh_recipe_reject(recipe, "memory.image_look_back", error,
                                "must be multiples of the block, with at most %d rows of blocks",
                                LH_ATTENTION_MAX_SOURCES - 1);
    }
    g->block_height = block[0];
    g->block_width = block[1];
    g->look_back_height = back[0];
    g->look_back_width = back[1];
    r->block = block[0] * block[1];
    r->look_back = 0;
    return LH_OK;
}

static int64_t longest_axis(const lh_routing_image *image)
{
    int64_t longest = image->height > image->width ? image->height : image->width;
    return longest > image->channels ? longest : image->channels;
}

lh_status lh_routing_image_parameters(const lh_memory_shape *shape, lh_parameters *list, lh_memory_parameters *out,
                                      lh_error *error)
{
    const lh_routing_image *g = &((const lh_routing *)shape->options)->image;
    if (g->height == 0) {
        return LH_OK;
    }
    int64_t values[2] = {g->values * (g->channels - 1), shape->width};
    int64_t axis[2] = {longest_axis(g) * g->channels, shape->width};
    double deviation = 1.0 / sqrt((double)(g->channels * shape->width));
    if (g->channels > 1) {
        LH_TRY(lh_parameters_add(list, &out->tensors[LH_ROUTING_CHANNELS], "memory.channels.table", 2, values,
                                 LH_INIT_UNIFORM, lh_init_unit_uniform(g->values * g->channels, shape->width),
                                 false, LH_GROUP_MAIN, error));
    }
    if (g->classes > 0) {
        int64_t classes[2] = {g->classes, shape->width};
        LH_TRY(lh_parameters_add(list, &out->tensors[LH_ROUTING_CLASSES], "memory.classes.table", 2, classes,
                                 LH_INIT_UNIFORM, lh_init_unit_uniform(g->classes, shape->width), false,
                                 LH_GROUP_MAIN, error));
    }
    LH_TRY(lh_parameters_add(list, &out->tensors[LH_ROUTING_ROWS], "memory.rows.table", 2, axis, LH_INIT_NORMAL,
                             deviation, false, LH_GROUP_MAIN, error));
    return lh_parameters_add(list, &out->tensors[LH_ROUTING_COLUMNS], "memory.columns.table", 2, axis,
                             LH_INIT_NORMAL, deviation, false, LH_GROUP_MAIN, error);
}

/* What to look up for each token of the call: in the model's embedding, in the other channels' table, and, the same
 * for all lanes, along both axes. */
typedef struct look_up {
    int32_t *first, *others; /* [batch, count]; -1: nothing */
    int32_t *row, *column;   /* [count] */
} look_up;

static bool find_rows(lh_memory *memory, const lh_entry_io *io, look_up *found)
{
    const lh_routing_image *g = &((const lh_routing *)memory->shape->options)->image;
    size_t cells = (size_t)(memory->batch * io->count), count = (size_t)io->count;
    lh_arena *arena = &io->context->arena;
    *found = (look_up){.first = lh_arena_alloc(arena, sizeof(int32_t) * cells),
                       .others = lh_arena_alloc(arena, sizeof(int32_t) * cells),
                       .row = lh_arena_alloc(arena, sizeof(int32_t) * count),
                       .column = lh_arena_alloc(arena, sizeof(int32_t) * count)};
    if (!found->first || !found->others || !found->row || !found->column) {
        lh_op_fail(io->context, LH_E_MEMORY, "routing", "no memory for the places of %lld values",
                   (long long)io->count);
        return false;
    }
    for (int64_t i = 0; i < io->count; i++) {
        int64_t row, column, channel;
        lh_routing_image_place(g, io->fill + i, &row, &column, &channel);
        found->row[i] = (int32_t)(row * g->channels + channel);
        found->column[i] = (int32_t)(column * g->channels + channel);
        for (int64_t b = 0; b < memory->batch; b++) {
            int64_t at = b * io->count + i, value = io->tokens[at];
            bool starts = io->fill + i == 0; /* nothing stands before an image's first value */
            found->first[at] = starts || channel != 0 ? -1 : (int32_t)value;
            found->others[at] = starts || channel == 0 ? -1 : (int32_t)(value + (channel - 1) * g->values);
        }
    }
    return true;
}

lh_status lh_routing_image_create(lh_memory *memory, lh_error *error)
{
    int64_t one[2] = {memory->batch, 1};
    if (((const lh_routing *)memory->shape->options)->image.classes == 0 || !memory->inference) {
        return LH_OK;
    }
    return lh_memory_add(memory, LH_STATE_RUNNING, LH_I32, 2, one, error, "class");
}

/* The vector of each lane's class, [batch, 1, width]. Pieces of an image keep the class that its first one gave. */
static lh_tensor *class_vectors(lh_memory *memory, const lh_entry_io *io)
{
    const lh_routing_image *g = &((const lh_routing *)memory->shape->options)->image;
    lh_context *context = io->context;
    int64_t one[2] = {memory->batch, 1};
    lh_tensor *classes;
    if (io->fill > 0) {
        classes = lh_alias(context, memory->state[LH_ROUTING_CLASS].stored);
    } else {
        int32_t *first = lh_arena_alloc(&context->arena, sizeof *first * (size_t)memory->batch);
        if (!first) {
            return lh_op_fail(context, LH_E_MEMORY, "routing", "no memory for %lld classes",
                              (long long)memory->batch);
        }
        for (int64_t b = 0; b < memory->batch; b++) {
            first[b] = io->tokens[b * io->count];
            if (first[b] >= g->classes) {
                return lh_op_fail(context, LH_E_ARGUMENT, "routing",
                                  "an image begins with token %d in front of it, which is none of %lld classes "
                                  "(memory.classes)",
                                  first[b], (long long)g->classes);
            }
        }
        classes = lh_from_host(context, LH_I32, 2, one, first);
        if (memory->inference) {
            classes = lh_memory_extend(memory, context, LH_ROUTING_CLASS, 0, classes);
        }
    }
    return lh_embedding(context, memory->entry_parameters->tensors[LH_ROUTING_CLASSES], classes, 1.0);
}

lh_tensor *lh_routing_enter_image(lh_memory *memory, lh_entry_io *io)
{
    const lh_routing_image *g = &((const lh_routing *)memory->shape->options)->image;
    lh_context *context = io->context;
    lh_tensor *const *tables = memory->entry_parameters->tensors;
    double scale = sqrt((double)(g->channels * memory->shape->width));
    int64_t cells[2] = {memory->batch, io->count}, line[2] = {1, io->count};
    look_up found;
    if (!find_rows(memory, io, &found)) {
        return NULL;
    }
    lh_tensor *x = io->embed(context, io->model, found.first, memory->batch, io->count);
    if (tables[LH_ROUTING_CHANNELS]) {
        lh_tensor *ids = lh_from_host(context, LH_I32, 2, cells, found.others);
        x = lh_add(context, x, lh_embedding(context, tables[LH_ROUTING_CHANNELS], ids, g->scale));
    }
    lh_tensor *rows =
        lh_embedding(context, tables[LH_ROUTING_ROWS], lh_from_host(context, LH_I32, 2, line, found.row), scale);
    lh_tensor *columns = lh_embedding(context, tables[LH_ROUTING_COLUMNS],
                                      lh_from_host(context, LH_I32, 2, line, found.column), scale);
    x = lh_add(context, x, lh_add(context, rows, columns));
    return g->classes > 0 ? lh_add(context, x, class_vectors(memory, io)) : x;
}
