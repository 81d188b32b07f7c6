/* The parts of planning an input: which files there are, and which split each belongs to. */
#ifndef LH_DATA_LAYOUT_H
#define LH_DATA_LAYOUT_H

#include "data/input.h"

/* Finds out the layout of "auto" from names and contents. Writes it to input->layout. */
lh_status lh_layout_detect(lh_input *input, const char *path, lh_error *error);

/* Fills input->items, in the order in which they are read, by input->layout. */
lh_status lh_layout_list(lh_input *input, const char *path, const lh_input_options *options, lh_error *error);

/* Appends a file; takes its size and time. `name` and `label` are copied. */
lh_status lh_layout_add(lh_input *input, const char *path, const char *name, const char *label, int split,
                        lh_error *error);

/* The length of a file name without an ending .gz, .zst or .xz. */
size_t lh_layout_plain_length(const char *name);

#endif
