/* No memory: a query sees its own segment only. */
#include "memory/kinds.h"

static lh_status configure(const lh_memory_shape *shape, void **options, lh_error *error)
{
    (void)shape;
    (void)error;
    *options = NULL;
    return LH_OK;
}

static int64_t history(const lh_memory_shape *shape)
{
    (void)shape;
    return 0;
}

static void read(lh_memory *memory, lh_layer_io *io)
{
    (void)memory;
    (void)io;
}

const lh_memory_kind lh_memory_none = {
    .name = "none",
    .summary = "each segment on its own",
    .forgets = true,
    .compare = "[model]\npositions = rotary\n",
    .configure = configure,
    .history = history,
    .read = read,
};
