/* Losses in the units that people compare: bits per byte, bits per character, perplexity per word. */
#ifndef LH_TRAIN_UNITS_H
#define LH_TRAIN_UNITS_H

#include "data/count.h"
#include "text/tokenizer.h"
#include "train/trainer.h"

/* How sums of nats over some targets become a value. Bytes are counted token by token; characters and words have no
 * borders at tokens, so they are taken in proportion to the bytes, by the totals of the whole split. */
typedef struct lh_loss_meter {
    lh_loss_unit unit; /* never LH_UNIT_AUTO */
    double characters_per_byte, words_per_byte;
    bool word_tokens; /* every token is a word, as in WikiText */
} lh_loss_meter;

/* `wanted` as the recipe has it. A unit that the text gives no totals for becomes nats per token. */
lh_loss_meter lh_loss_meter_create(lh_loss_unit wanted, lh_tokenizer_kind kind, const lh_text_totals *totals);

/* NaN if nothing was scored. */
double lh_loss_value(const lh_loss_meter *meter, const lh_loss_sums *sums);

const char *lh_loss_unit_short(lh_loss_unit unit); /* "bpb": for one line */
const char *lh_loss_unit_name(lh_loss_unit unit);  /* "bits_per_byte": a key of metrics */

#endif
