#include "eval/tally.h"

#include "base/memory.h"

/* The first bin of positions when bins double. */
#define FIRST_BIN 128u

lh_status lh_tally_create(lh_tally **tally, const lh_tally_options *options, const uint32_t *token_bytes,
                          uint64_t documents, lh_error *error)
{
    *tally = NULL;
    size_t bytes;
    lh_tally *t = lh_heap_alloc(sizeof *t);
    if (t && !lh_size_multiply(sizeof *t->documents, (size_t)(documents ? documents : 1), &bytes)) {
        t->documents = lh_heap_alloc(bytes);
    }
    if (!t || !t->documents) {
        lh_tally_free(t);
        return lh_fail(error, LH_E_MEMORY, "no memory for the sums of %llu documents",
                       (unsigned long long)documents);
    }
    t->options = *options;
    t->token_bytes = token_bytes;
    t->document_count = documents;
    *tally = t;
    return LH_OK;
}

void lh_tally_free(lh_tally *tally)
{
    if (tally) {
        lh_heap_free(tally->documents);
        lh_heap_free(tally);
    }
}

static void add(lh_loss_sum *sum, double nats, uint32_t bytes, bool right)
{
    sum->nats += nats;
    sum->tokens++;
    sum->bytes += bytes;
    sum->right += right;
}

uint64_t lh_tally_bin_start(const lh_tally *tally, int64_t bin)
{
    if (tally->options.position_bin > 0) {
        return (uint64_t)bin * (uint64_t)tally->options.position_bin;
    }
    return bin <= 0 ? 0 : bin > 56 ? UINT64_MAX : (uint64_t)FIRST_BIN << (bin - 1);
}

static int64_t bin_of(const lh_tally *tally, uint64_t position)
{
    int64_t bin = 0;
    if (tally->options.position_bin > 0) {
        uint64_t exact = position / (uint64_t)tally->options.position_bin;
        return exact < LH_POSITION_BINS ? (int64_t)exact : LH_POSITION_BINS - 1;
    }
    while (bin + 1 < LH_POSITION_BINS && position >= lh_tally_bin_start(tally, bin + 1)) {
        bin++;
    }
    return bin;
}

const char *lh_tally_bucket_name(int bucket)
{
    static const char *const names[LH_FREQUENCY_BUCKETS] = {">10K", "1K-10K", "100-1K", "<100"};
    return bucket >= 0 && bucket < LH_FREQUENCY_BUCKETS ? names[bucket] : "unknown";
}

static int bucket_of(uint64_t count)
{
    return count > 10000 ? 0 : count >= 1000 ? 1 : count >= 100 ? 2 : 3;
}

static int distance_bin(uint32_t distance)
{
    int bin = 0;
    while (distance >>= 1) {
        bin++;
    }
    return bin;
}

void lh_tally_add(lh_tally *tally, const lh_tally_target *target)
{
    const lh_tally_target *t = target;
    uint32_t bytes = tally->token_bytes[t->token];
    bool right = tally->options.answers && t->best == t->token;
    int64_t bin = bin_of(tally, t->position);
    add(&tally->all, t->nats, bytes, right);
    add(&tally->bins[bin], t->nats, bytes, right);
    tally->bin_count = bin >= tally->bin_count ? bin + 1 : tally->bin_count;
    if (t->document < tally->document_count) {
        add(&tally->documents[t->document], t->nats, bytes, right);
    }
    if (t->before >= tally->options.warm) {
        add(&tally->warm, t->nats, bytes, right);
    }
    if (tally->options.answers && t->answer != 0 && t->answer != LH_ANSWER) {
        add(&tally->distances[distance_bin(t->answer)], t->nats, bytes, right);
    }
    if (tally->options.counts) {
        add(&tally->buckets[bucket_of(tally->options.counts[t->token])], t->nats, bytes, right);
    }
}

void lh_tally_charge(lh_tally *tally, const lh_tally_target *target)
{
    lh_tally_add(tally, target);
    add(&tally->charged, target->nats, tally->token_bytes[target->token], false);
}
