#include "train/units.h"

#include <math.h>

static const double ln_2 = 0.69314718055994530942;

lh_loss_meter lh_loss_meter_create(lh_loss_unit wanted, lh_tokenizer_kind kind, const lh_text_totals *totals)
{
    lh_loss_meter meter = {.unit = wanted, .word_tokens = kind == LH_TOKENIZER_WORDS};
    if (wanted == LH_UNIT_AUTO) {
        meter.unit = kind == LH_TOKENIZER_WORDS        ? LH_UNIT_WORD_PERPLEXITY
                     : kind == LH_TOKENIZER_CHARACTERS ? LH_UNIT_BITS_PER_CHARACTER
                                                       : LH_UNIT_BITS_PER_BYTE;
    }
    if (totals->bytes > 0) {
        meter.characters_per_byte = (double)totals->characters / (double)totals->bytes;
        meter.words_per_byte = (double)totals->words / (double)totals->bytes;
    }
    bool possible = meter.unit == LH_UNIT_BITS_PER_CHARACTER ? meter.characters_per_byte > 0
                    : meter.unit == LH_UNIT_WORD_PERPLEXITY  ? meter.word_tokens || meter.words_per_byte > 0
                                                             : true;
    meter.unit = possible ? meter.unit : LH_UNIT_NATS;
    return meter;
}

double lh_loss_value(const lh_loss_meter *meter, const lh_loss_sums *sums)
{
    switch (meter->unit) {
    case LH_UNIT_BITS_PER_BYTE: return sums->bytes > 0 ? sums->nats / sums->bytes / ln_2 : NAN;
    case LH_UNIT_BITS_PER_CHARACTER:
        return sums->bytes > 0 ? sums->nats / (sums->bytes * meter->characters_per_byte) / ln_2 : NAN;
    case LH_UNIT_WORD_PERPLEXITY: {
        double words = meter->word_tokens ? sums->tokens : sums->bytes * meter->words_per_byte;
        return words > 0 ? exp(sums->nats / words) : NAN;
    }
    case LH_UNIT_AUTO:
    case LH_UNIT_NATS: break;
    }
    return sums->tokens > 0 ? sums->nats / sums->tokens : NAN;
}

const char *lh_loss_unit_short(lh_loss_unit unit)
{
    static const char *const names[] = {"", "bpb", "bpc", "word ppl", "nats/token"};
    return names[unit];
}

const char *lh_loss_unit_name(lh_loss_unit unit)
{
    static const char *const names[] = {"", "bits_per_byte", "bits_per_character", "word_perplexity",
                                        "nats_per_token"};
    return names[unit];
}
